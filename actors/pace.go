package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// pace is how fast the host sends snapshots: all its couriers together.
type pace struct {
	mu   sync.Mutex
	free raftcore.Instant // when the next chunk may leave

	saves atomic.Uint64 // that the host's log has begun: while there are some, snapshots yield
}

// yielding is how much longer than a window of chunks takes a snapshot rests after it, while
// the log has something to do. Whatever it is that the two share, disk, processor or wire, a
// fifth of it is the most that the snapshot takes.
const yielding = 4

// take takes the time for a chunk of so many bytes, or returns how long to wait and ask again.
func (p *pace) take(bytes, perSecond int, now raftcore.Instant) (wait time.Duration) {
	if perSecond == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now < p.free {
		return p.free.Sub(now)
	}
	p.free = max(p.free, now.Add(-paceSlack)).Add(time.Duration(float64(bytes) / float64(perSecond) * float64(time.Second)))
	return 0
}

// paceSlack is how much time that was not taken can be taken later: timers are not exact.
const paceSlack = 10 * time.Millisecond
