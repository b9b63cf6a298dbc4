package actors

import (
	"sync"
	"testing"
	"time"
)

// Waiting returns how many bytes of requests a host counts that are not answered, and of
// entries that wait for its disk. What has stopped counts none.
func (h *Host) Waiting() (calls, saves int64) { return h.budget.calls.Load(), h.unsaved.Load() }

// Tables returns how many bytes of results and effects a host counts.
func (h *Host) Tables() int64 { return h.budget.tables.Load() }

// TestF4_WhoComesAtTheSameTimeIsCounted: two come at once where there is room for one.
func TestF4_WhoComesAtTheSameTimeIsCounted(t *testing.T) {
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults(), epoch: time.Now()}
	h.peers.Store(&peers{})
	const room = callOverhead + 100
	h.budget.limit = room
	for range 20_000 {
		g := &Group{host: h, budget: budget{limit: room}}
		calls := [2]*call{}
		var both sync.WaitGroup
		for i := range calls {
			calls[i] = &call{operation: Propose, data: make([]byte, 100)}
			both.Go(func() { g.admit(calls[i]) })
		}
		both.Wait()
		if calls[0].counts.Load() == calls[1].counts.Load() || g.budget.calls.Load() != room || h.budget.calls.Load() != room {
			t.Fatalf("taken: %v and %v, %d bytes in the group and %d on the host", calls[0].counts.Load(), calls[1].counts.Load(), g.budget.calls.Load(), h.budget.calls.Load())
		}
		for _, c := range calls {
			c.release()
		}
	}
}
