package actors

import (
	"sync"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// pace is how fast the host sends snapshots: all its couriers together.
type pace struct {
	mu   sync.Mutex
	free raftcore.Instant // when the next chunk may leave
}

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
