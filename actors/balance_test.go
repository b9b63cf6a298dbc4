package actors_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// balancing is a world of groups, on all hosts.
type balancing struct {
	*world
	groups [][]*actors.Group // by host, then by number
}

func (b *balancing) openAll(h *hostUp, n int) {
	b.t.Helper()
	b.groups[h.id-1] = []*actors.Group{h.group}
	for i := range n {
		b.groups[h.id-1] = append(b.groups[h.id-1], h.open(fmt.Sprint("group-", i)))
	}
}

// leads waits until every group has a leader among the hosts in on, which all of them know,
// and returns how many each leads.
func (b *balancing) leads(on ...*hostUp) map[raftcore.NodeID]int {
	b.t.Helper()
	leads := map[raftcore.NodeID]int{}
	for i := range b.groups[on[0].id-1] {
		b.until("everybody knows the leader", func() bool {
			leader, leads := raftcore.Nobody, false
			for _, h := range on {
				s, err := b.groups[h.id-1][i].Status(b.ctx)
				if err != nil {
					b.t.Fatal(err)
				}
				if s.Leader == raftcore.Nobody || leader != raftcore.Nobody && s.Leader != leader {
					return false
				}
				leader = s.Leader
				leads = leads || s.Readable
			}
			return leads
		})
		s, _ := b.groups[on[0].id-1][i].Status(b.ctx)
		leads[s.Leader]++
	}
	return leads
}

func (b *balancing) balance(h *hostUp) int {
	b.t.Helper()
	n, err := h.host.Balance(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// inBalancing has 3 hosts, and 20 groups, which is no multiple of 3. Host 1 leads none of
// them, because it has been away.
func inBalancing(t *testing.T, f func(b *balancing)) {
	inWorld(t, 3, func(w *world) {
		b := &balancing{w, make([][]*actors.Group, 3)}
		for _, h := range w.hosts {
			b.openAll(h, 19)
		}
		b.leads(w.hosts...)
		w.settled()
		time.Sleep(10 * election) // fake: until everybody counts in all groups
		w.hosts[0].stop()
		b.leads(w.hosts[1:]...)
		w.hosts[0].start()
		b.openAll(w.hosts[0], 19)
		if n := b.leads(w.hosts...); n[1] > 0 {
			t.Fatalf("the story needs a host that leads nothing: %v", n)
		}
		f(b)
	})
}

func TestL6_LeadersAreSpreadEvenlyAndStayWhereTheyAre(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		inBalancing(t, func(b *balancing) {
			if asleep {
				b.silent()
			}
			handed := 0
			for range 3 {
				for _, h := range b.hosts {
					handed += b.balance(h)
				}
				b.leads(b.hosts...)
			}
			leads := b.leads(b.hosts...)
			for _, h := range b.hosts {
				if n := leads[h.id]; n < 6 || n > 8 {
					b.t.Errorf("asleep %v: %v", asleep, leads)
				}
			}
			if handed < 6 || handed > 14 {
				b.t.Errorf("%d were handed over, to come to %v", handed, leads)
			}
			for _, h := range b.hosts {
				if n := b.balance(h); n != 0 {
					b.t.Errorf("host %d hands over %d more of %v", h.id, n, leads)
				}
			}
		})
	}
}

// Its members are stopped, and the host lives: nothing is handed to it, and nobody waits
// for it.
func TestL6_NothingIsHandedToWhoIsGone(t *testing.T) {
	inBalancing(t, func(b *balancing) {
		for _, g := range b.groups[0] {
			if err := g.Stop(b.ctx); err != nil {
				b.t.Fatal(err)
			}
		}
		time.Sleep(5 * election) // fake: until its leaders have missed it
		before := b.leads(b.hosts[1:]...)
		start := time.Now()
		handed := b.balance(b.hosts[1]) + b.balance(b.hosts[2])
		if d := time.Since(start); d > time.Duration(handed+1)*election/2 {
			b.t.Errorf("%d were handed over in %v: somebody was waited for", handed, d)
		}
		if after := b.leads(b.hosts[1:]...); after[1] != 0 || after[2]-after[3] > 1 || after[3]-after[2] > 1 {
			b.t.Errorf("%v, before %v", after, before)
		}
	})
}
