package actors_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// listen listens to a host's group, until the test ends, and returns what gives the
// next event.
func (h *hostUp) listen(room int) func() actors.Event {
	h.world.t.Helper()
	next, stop := iter.Pull(h.group.Events(h.world.ctx, room))
	h.world.t.Cleanup(stop)
	return func() actors.Event {
		h.world.t.Helper()
		e, ok := next()
		if !ok {
			h.world.t.Fatal("there are no more events")
		}
		return e
	}
}

func TestO1_TheLifeOfAProposalIsToldInOrder(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		next := l.listen(0)
		s := l.status()
		if e := next(); e.Kind != actors.EventLeader || e.Leader != l.id || e.Entry.Term != s.Term {
			t.Errorf("the first event is %v", e)
		}
		for i := range 3 {
			r, err := w.hosts[i].group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Data: []byte("x")}) // by way of any host
			if err != nil {
				t.Fatal(err)
			}
			at := time.Time{}
			for _, kind := range []actors.EventKind{actors.EventQueued, actors.EventSaved, actors.EventCommitted, actors.EventApplied} {
				e := next()
				if e.Kind != kind || e.Entry != (raftcore.EntryID{Term: s.Term, Index: r.Index}) || e.At.Before(at) {
					t.Errorf("proposal %d: the event is %v at %v, not that it is %v", r.Index, e, e.At, kind)
				}
				at = e.At
			}
		}
	})
}

// Who listens and does not take what comes holds nobody up, and learns how much he has
// missed, and where.
func TestO1_WhoIsSlowMissesEventsAndIsTold(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		next := l.listen(6)
		next() // he listens
		const proposals = 50
		for i := range proposals {
			l.propose(fmt.Sprint(i))
			time.Sleep(10 * time.Millisecond) // fake: until the node knows that it is applied
		}
		first := l.status().Applied - proposals + 1
		for i, kind := range []actors.EventKind{actors.EventQueued, actors.EventSaved, actors.EventCommitted, actors.EventApplied, actors.EventQueued, actors.EventSaved} {
			if e := next(); e.Kind != kind || e.Entry.Index != first+raftcore.Index(i/4) {
				t.Errorf("event %d is %v, not that %d is %v", i, e, first+raftcore.Index(i/4), kind)
			}
		}
		if e := next(); e.Kind != actors.EventMissed || e.Missed != 4*proposals-6 {
			t.Errorf("%v is the next, and %d are missed", e, 4*proposals-6)
		}
		l.propose("after")
		if e := next(); e.Kind != actors.EventQueued || e.Entry.Index != first+proposals {
			t.Errorf("the first after the gap is %v", e)
		}
	})
}

func TestO1_WhatIsOverwrittenIsAbandoned(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.settled()
		next := l.listen(0)
		next()
		for _, h := range w.hosts {
			if h != l {
				w.net.Cut(l.addr, h.addr)
				w.net.Cut(h.addr, l.addr)
			}
		}
		last := l.status().Last
		answered := l.proposing("overwritten")
		queued := next()
		if queued.Kind != actors.EventQueued || queued.Entry.Index != last+1 {
			t.Fatalf("the event is %v", queued)
		}
		other := w.leader(l)
		other.propose("another")
		w.net.Heal()
		err := <-answered
		var kinds []actors.EventKind
		for {
			e := next()
			if e.Kind == actors.EventAbandoned {
				if e.Entry != queued.Entry || !errors.Is(e.Err, actors.ErrOverwritten) || !errors.Is(err, actors.ErrOverwritten) {
					t.Errorf("it is %v, and its caller is told %v", e, err)
				}
				break
			}
			kinds = append(kinds, e.Kind)
		}
		if slices.Contains(kinds, actors.EventCommitted) || !slices.Contains(kinds, actors.EventLeader) {
			t.Errorf("before it was abandoned there was %v", kinds)
		}
	})
}

// What a member knew of that has failed since is abandoned, too: it may have happened.
func TestO1_AMemberThatFailsAbandonsWhatItHasTaken(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		next := l.listen(0)
		next()
		for _, h := range w.hosts {
			if h != l {
				w.net.Cut(l.addr, h.addr)
			}
		}
		answered := l.proposing("x")
		queued := next()
		l.breakRule(raftcore.Applied{Index: 1 << 40})
		for {
			if e := next(); e.Kind == actors.EventAbandoned {
				if e.Entry != queued.Entry || !errors.Is(e.Err, actors.ErrUnknown) {
					t.Errorf("it is %v", e)
				}
				break
			}
		}
		w.net.Heal()
		<-answered
	})
}

func TestO1_TheEventsEndWithTheMemberOrTheContext(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		ctx, cancel := context.WithCancel(w.ctx)
		ended := make(chan bool)
		listen := func(ctx context.Context) {
			for range h.group.Events(ctx, 0) {
				ended <- false
			}
			ended <- true
		}
		go listen(ctx)
		if <-ended || !h.group.Heard() {
			t.Error("nobody listens")
		}
		cancel()
		if !<-ended {
			t.Error("it goes on")
		}
		if h.group.Heard() {
			t.Error("somebody listens still")
		}
		go listen(w.ctx)
		<-ended
		go func() {
			if err := h.group.Stop(w.ctx); err != nil {
				t.Error(err)
			}
		}()
		for !<-ended {
		}
		for range h.group.Events(w.ctx, 0) {
			t.Error("of a member that has stopped there is an event")
		}
	})
}

// Lead: each office begins and ends once, and no two are held at a time.
func TestLeadIsCalledForEachOffice(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		type office struct {
			host raftcore.NodeID
			term raftcore.Term
		}
		begun, ended := make(chan office, 10), make(chan office, 10)
		ctx, cancel := context.WithCancel(w.ctx)
		returned := make(chan raftcore.NodeID)
		for _, h := range w.hosts {
			go func() {
				h.group.Lead(ctx, func(ctx context.Context, term raftcore.Term) {
					begun <- office{h.id, term}
					<-ctx.Done()
					ended <- office{h.id, term}
				})
				returned <- h.id
			}()
		}
		l := w.settled()
		now := <-begun
		for now.host != l.id { // an election before may have come to nothing
			now = <-begun
		}
		for range 3 {
			if err := l.group.Transfer(w.ctx, raftcore.Nobody); err != nil {
				t.Fatal(err)
			}
			if got := <-ended; got != now {
				t.Errorf("%v has ended, not %v", got, now)
			}
			l = w.leader(l)
			next := <-begun
			if next.host != l.id || next.term <= now.term {
				t.Errorf("%v has begun after %v, and %d leads", next, now, l.id)
			}
			now = next
		}
		l.breakRule(raftcore.Applied{Index: 1 << 40})
		if got := <-ended; got != now {
			t.Errorf("%v has ended, not %v", got, now)
		}
		<-begun
		cancel()
		<-ended
		for range w.hosts {
			<-returned
		}
	})
}
