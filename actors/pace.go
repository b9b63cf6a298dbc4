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

// logBusy reports whether the log has something to do, or has had since it had begun so many saves.
func (h *Host) logBusy(since uint64) bool {
	return h.saving.Load() != 0 || h.pace.saves.Load() != since
}

// yielding is how much longer than a window of chunks takes a snapshot rests after it, or than
// it takes to write a megabyte, while the log has something to do. Whatever it is that the two share, disk, processor or wire, a
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

// share is what the writing of a snapshot takes of the disk and the processor.
type share struct {
	host  *Host
	began raftcore.Instant // when it rested last
	saves uint64
	bytes int // written since
}

func (s *share) begin() { s.began, s.saves, s.bytes = s.host.now(), s.host.pace.saves.Load(), 0 }

// wrote rests after some bytes, if the log has something to do: see yielding. Where turns must
// not block, because they all have one goroutine, there is no rest.
func (s *share) wrote(bytes int) {
	if s.bytes += bytes; s.bytes < shareBytes {
		return
	}
	if s.host.cfg.Runtime == s.host.dispatcher && s.host.logBusy(s.saves) {
		time.Sleep(min(yielding*s.host.now().Sub(s.began), s.host.cfg.Raft.ElectionTimeout/2))
	}
	s.begin()
}

// shareBytes are written between two rests: now and then one of them has the disk write.
const shareBytes = 1 << 20
