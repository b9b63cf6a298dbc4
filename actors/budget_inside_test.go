package actors

import (
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Waiting returns how many bytes of requests a host counts that are not answered, and of
// entries that wait for its disk. What has stopped counts none.
func (h *Host) Waiting() (calls, saves int64) { return h.budget.calls.Load(), h.unsaved.Load() }

// Tables returns how many bytes of results and effects a host counts.
func (h *Host) Tables() int64 { return h.budget.tables.Load() }

// TestF4_WhoComesAtTheSameTimeIsCounted: two come at once where there is room for one, in
// their group or on their host.
func TestF4_WhoComesAtTheSameTimeIsCounted(t *testing.T) {
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults(), epoch: time.Now()}
	h.peers.Store(&peers{})
	const room = callOverhead + 100
	for i := range 20_000 {
		groups := [2]*Group{{host: h, budget: budget{limit: room}}, {host: h, budget: budget{limit: room}}}
		if h.budget.limit = room; i%2 == 0 {
			groups[1], h.budget.limit = groups[0], 2*room
		}
		calls := [2]*call{}
		var both sync.WaitGroup
		for i := range calls {
			calls[i] = &call{operation: Propose, data: make([]byte, 100)}
			both.Go(func() { groups[i].admit(calls[i]) })
		}
		both.Wait()
		if calls[0].counts.Load() == calls[1].counts.Load() || h.budget.calls.Load() != room {
			t.Fatalf("taken: %v and %v, %d bytes on the host", calls[0].counts.Load(), calls[1].counts.Load(), h.budget.calls.Load())
		}
		for i, c := range calls {
			want := int64(0)
			if c.counts.Load() || groups[0] == groups[1] {
				want = room
			}
			if used := groups[i].budget.calls.Load(); used != want {
				t.Fatalf("%d bytes in the group, of %d", used, want)
			}
		}
		for _, c := range calls {
			c.release()
		}
	}
}

// TestF1_EntriesThatWaitForANodeAreBounded: many come before it has its turn.
func TestF1_EntriesThatWaitForANodeAreBounded(t *testing.T) {
	box := newMailbox(0)
	box.dispatcher = neverRuns{}
	g := &Group{key: 5}
	g.node.Store(&ref{box: box})
	h := &Host{cfg: HostConfig{ID: 2, Runtime: &dispatcher{}, MaxBytes: 200_000}, groups: map[GroupKey]*Group{5: g}}
	h.peers.Store(&peers{1: &channel{}})
	deliver := func(body raftcore.Body) {
		h.deliver(&Packet{From: 1, Messages: []GroupMessage{{Group: 5, Message: raftcore.Message{From: 1, To: 2, Body: body}}}})
	}
	entry := raftcore.Entry{Data: make([]byte, 10_000)}
	for range 1000 {
		deliver(&raftcore.AppendRequest{Entries: []raftcore.Entry{entry}})
	}
	taken := 100_000/entry.Size() + 1
	if n := box.UserMessageCount(); n != taken || h.unsaved.Load() != int64(taken*entry.Size()) {
		t.Errorf("%d messages wait, with %d bytes", n, h.unsaved.Load())
	}
	deliver(&raftcore.AppendRequest{})
	if n := box.UserMessageCount(); n != taken+1 {
		t.Errorf("a heartbeat is lost")
	}
	box.close()
	if n := h.unsaved.Load(); n != 0 {
		t.Errorf("%d bytes wait for a node that has stopped", n)
	}
}
