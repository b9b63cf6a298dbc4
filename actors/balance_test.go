package actors_test

import (
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
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

// terms returns the sum of the terms of all groups: each handover adds one.
func (b *balancing) terms(on *hostUp) (sum raftcore.Term) {
	b.t.Helper()
	for _, g := range b.groups[on.id-1] {
		s, err := g.Status(b.ctx)
		if err != nil {
			b.t.Fatal(err)
		}
		sum += s.Term
	}
	return sum
}

// inFleet has 3 hosts, and so many groups, in which everybody counts.
func inFleet(t *testing.T, groups int, balances time.Duration, f func(b *balancing)) {
	inWorld(t, 3, func(w *world) {
		b := &balancing{w, make([][]*actors.Group, 3)}
		for _, h := range w.hosts {
			h.stop()
			h.balances = balances
		}
		for _, h := range w.hosts {
			h.start()
			b.openAll(h, groups-1)
		}
		b.leads(w.hosts...)
		for _, h := range w.hosts {
			for _, g := range b.groups[h.id-1] {
				w.until("it counts", func() bool { s, _ := g.Status(w.ctx); return s.Joined })
			}
		}
		f(b)
	})
}

// One of three hosts is away, and comes back. Some intervals later it leads its share, and
// from then on nothing is handed over any more.
func TestL6_HostsBalanceByThemselvesAndComeToRest(t *testing.T) {
	const interval, groups = 5 * time.Second, 60 / slowdown
	inFleet(t, groups, interval, func(b *balancing) {
		b.hosts[0].stop()
		b.leads(b.hosts[1:]...)
		time.Sleep(10 * interval) // fake: the others share what it has led
		if n := b.leads(b.hosts[1:]...); n[2] < groups/2-1 || n[3] < groups/2-1 {
			t.Errorf("without it the others lead %v", n)
		}
		b.hosts[0].start()
		b.openAll(b.hosts[0], groups-1)
		if n := b.leads(b.hosts...); n[1] > 5 {
			t.Fatalf("the story needs a host that leads little: %v", n)
		}
		time.Sleep(12 * interval)
		leads := b.leads(b.hosts...)
		for _, h := range b.hosts {
			if n := leads[h.id]; n < groups/3-1 || n > groups/3+1 {
				t.Errorf("after 12 intervals they lead %v", leads)
			}
		}
		before := b.terms(b.hosts[0])
		time.Sleep(30 * interval)
		if after := b.terms(b.hosts[0]); after != before || !maps.Equal(b.leads(b.hosts...), leads) {
			t.Errorf("in 30 intervals more %d leaders have changed: %v, before %v", after-before, b.leads(b.hosts...), leads)
		}
	})
}

// One host leads everything. It hands over no more than some in each interval.
func TestL6_NoMoreThanSomeAreHandedOverAtATime(t *testing.T) {
	const interval = 20 * time.Second
	inFleet(t, 90, interval, func(b *balancing) {
		for _, g := range b.groups[1] {
			if err := g.Transfer(b.ctx, 2); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.leads(b.hosts...); n[2] != 90 {
			t.Fatalf("the story needs a host that leads all: %v", n)
		}
		last, rounds := b.terms(b.hosts[1]), 0
		for range 12 {
			time.Sleep(interval / 2) // no two rounds begin in this time
			now := b.terms(b.hosts[1])
			if now-last > 16 {
				t.Errorf("%d were handed over", now-last)
			}
			if now > last {
				rounds++
			}
			last = now
		}
		if n := b.leads(b.hosts...); n[2] > 31 || rounds < 4 {
			t.Errorf("in %d rounds it has come to %v", rounds, n)
		}
	})
}

// The host that is preferred leads, and nobody evens that out. When it has been away it
// leads again, and not before it has what the others have.
func TestL6_AHigherPriorityLeadsWhenItCan(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		b := &balancing{w, make([][]*actors.Group, 3)}
		w.settled()
		high := w.hosts[2]
		high.priority = 5
		for _, h := range w.hosts {
			b.openAll(h, 9) // without the first, in which all are alike
		}
		b.leads(w.hosts...)
		time.Sleep(10 * election) // fake: until everybody counts
		for range 2 {
			for _, h := range w.hosts {
				b.balance(h)
			}
			b.leads(w.hosts...)
		}
		preferred := func() (n int) {
			for _, g := range b.groups[0][1:] {
				if s, _ := g.Status(w.ctx); s.Leader == high.id {
					n++
				}
			}
			return n
		}
		if n := preferred(); n != 9 {
			t.Errorf("of 9 groups it leads %d", n)
		}
		if s := w.hosts[0].status(); s.Leader == high.id {
			t.Error("it leads one more, in which all are alike")
		}
		before := b.terms(w.hosts[0])
		for _, h := range w.hosts {
			if n := b.balance(h); n > 0 {
				t.Errorf("host %d hands over %d more", h.id, n)
			}
		}
		if after := b.terms(w.hosts[0]); after != before {
			t.Errorf("%d leaders have changed", after-before)
		}

		high.stop()
		b.leads(w.hosts[:2]...)
		for _, g := range b.groups[0] {
			if _, err := g.Propose(w.ctx, []byte("meanwhile")); err != nil {
				t.Fatal(err)
			}
		}
		high.start()
		b.openAll(high, 9)
		w.net.Isolate("host-3")
		handed := b.balance(w.hosts[0]) + b.balance(w.hosts[1])
		for _, g := range b.groups[0][1:] {
			if s, _ := g.Status(w.ctx); s.Leader == high.id {
				t.Error("it leads without what the others have")
			}
		}
		w.net.Heal()
		b.leads(w.hosts...)
		w.until("it has everything", func() bool {
			for _, g := range b.groups[2] {
				if s, _ := g.Status(w.ctx); s.Commit < s.Last || s.Applied < 2 {
					return false
				}
			}
			return true
		})
		w.until("it leads all of them again", func() bool { // who tried in vain waits a little
			time.Sleep(2 * election)
			handed += b.balance(w.hosts[0]) + b.balance(w.hosts[1])
			return preferred() == 9
		})
		if handed < 1 {
			t.Error("nothing was handed over")
		}
	})
}

// Somebody takes the leadership back, each time that it is handed over: that is tried less
// and less often.
func TestL6_WhoDoesNotKeepALeadershipIsLeftAlone(t *testing.T) {
	const interval = time.Second
	inWorld(t, 3, func(w *world) {
		w.settled()
		for _, h := range w.hosts {
			h.stop()
			h.balances = interval
		}
		w.hosts[2].priority = 5
		for _, h := range w.hosts {
			h.start()
		}
		w.settled()
		taken := 0
		for deadline := time.Now().Add(200 * interval); time.Now().Before(deadline); {
			time.Sleep(interval / 4) // fake
			if s := w.hosts[0].status(); s.Leader == 3 {
				taken++
				if err := w.hosts[0].group.Transfer(w.ctx, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if taken < 3 || taken > 12 {
			t.Errorf("in 200 intervals it was handed over %d times", taken)
		}
	})
}

// stallingStore is a Store of which the Saves stall.
type stallingStore struct {
	persistence.Store
	stalled *atomic.Pointer[chan struct{}]
}

func (s stallingStore) Save(saves []persistence.Save) error {
	if until := s.stalled.Load(); until != nil {
		<-*until
	}
	return s.Store.Save(saves)
}

type stallingOpener struct {
	persistence.Opener
	stalled *atomic.Pointer[chan struct{}]
}

func (o stallingOpener) Open() (persistence.Store, error) {
	s, err := o.Opener.Open()
	return stallingStore{s, o.stalled}, err
}

// A host whose disk stalls is handed nothing, though it has everything that its groups have,
// and answers; and hands nothing over itself.
func TestD12L6_WhoseDiskStallsIsHandedNothing(t *testing.T) {
	for _, victim := range []raftcore.NodeID{1, 2} {
		inBalancing(t, func(b *balancing) {
			h := b.hosts[victim-1]
			h.stop()
			var stalled atomic.Pointer[chan struct{}]
			h.disk = stallingOpener{h.disk, &stalled}
			h.start()
			b.openAll(h, 19)
			b.leads(b.hosts...)
			if victim == 2 {
				for _, g := range b.groups[1] {
					if err := g.Transfer(b.ctx, 2); err != nil {
						b.t.Fatal(err)
					}
				}
				b.leads(b.hosts...)
			}
			goOn := make(chan struct{})
			stalled.Store(&goOn)
			go h.group.Propose(b.ctx, []byte("which is never saved")) // wherever it is led, this host has to save it
			time.Sleep(2 * election)                                  // fake: a leader goes on for longer
			if victim == 2 {
				if n := b.balance(h); n > 0 {
					b.t.Errorf("it hands over %d", n)
				}
			} else {
				start := time.Now()
				b.balance(b.hosts[1])
				b.balance(b.hosts[2])
				if d := time.Since(start); d >= election {
					b.t.Errorf("it was waited for: %v", d)
				}
				for _, g := range b.groups[0] {
					if s, _ := g.Status(b.ctx); s.Leader == victim {
						b.t.Errorf("it leads %q", s.Group)
					}
				}
			}
			stalled.Store(nil)
			close(goOn)
			time.Sleep(5 * election)
			n := 0
			for _, h := range b.hosts {
				n += b.balance(h)
			}
			if leads := b.leads(b.hosts...); n < 5 || leads[1] < 5 {
				b.t.Errorf("when it works again %d are handed over, to come to %v", n, leads)
			}
		})
	}
}

// The preferred host lacks an entry, because its disk is slow: it is not handed anything,
// and the group does not wait for it. It leads when it has what the others have.
func TestL6_WhoIsBehindIsHandedNothing(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		slow := w.hosts[2]
		slow.stop()
		leader := w.leader()
		var stalled atomic.Pointer[chan struct{}]
		slow.disk, slow.priority = stallingOpener{slow.disk, &stalled}, 5
		slow.start()
		w.until("it is there", func() bool { return slow.status().Leader == leader.id })
		leader.propose("a")
		w.until("it has everything", func() bool { return slow.applied() == "1" })
		goOn := make(chan struct{})
		stalled.Store(&goOn)
		leader.propose("b")
		start := time.Now()
		if n, err := leader.host.Balance(w.ctx); n > 0 || err != nil || time.Since(start) >= election/2 {
			t.Errorf("%d were handed over, after %v, with %v", n, time.Since(start), err)
		}
		stalled.Store(nil)
		close(goOn)
		w.until("it has everything", func() bool { return slow.applied() == "2" })
		w.until("it leads", func() bool {
			if _, err := leader.host.Balance(w.ctx); err != nil {
				t.Fatal(err)
			}
			return slow.status().Role == raftcore.Leader
		})
	})
}
