package actors

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Event is something that happened in a group, as this host's member saw it.
type Event struct {
	Kind EventKind
	At   time.Time // by this host's clock
	// Entry is what a proposal has become, or, of an EventLeader, has no Index, and the
	// term.
	Entry  raftcore.EntryID
	Leader raftcore.NodeID // of an EventLeader; Nobody if none is known
	Err    error           // of an EventAbandoned: what its caller is told
	Missed uint64          // of an EventMissed
}

// EventKind is what an Event tells of.
type EventKind uint8

// The kinds of events. Each proposal is told of on the host that leads and has taken it:
//
//	queued → saved → committed → applied
//	   └───────┴──→ abandoned
//
// A member that starts anew abandons what was not committed, and tells no more of the rest.
const (
	EventMissed    EventKind = iota + 1 // who listens was slow: Missed events are left out here
	EventLeader                         // the leader, or the term, is another one; also the first event
	EventQueued                         // a proposal has a place in the leader's log
	EventSaved                          // it is on the leader's disk
	EventCommitted                      // it is on a quorum's, and will be applied everywhere
	EventApplied                        // the leader's state machine has applied it
	EventAbandoned                      // it is not committed here, and Err says what that means
)

func (k EventKind) String() string {
	names := [...]string{"none", "missed", "leader", "queued", "saved", "committed", "applied", "abandoned"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event-%d", uint8(k))
}

func (e Event) String() string {
	switch e.Kind {
	case EventMissed:
		return fmt.Sprintf("%v %d", e.Kind, e.Missed)
	case EventLeader:
		return fmt.Sprintf("%v %d in term %d", e.Kind, e.Leader, e.Entry.Term)
	case EventAbandoned:
		return fmt.Sprintf("%v %v: %v", e.Kind, e.Entry, e.Err)
	}
	return fmt.Sprintf("%v %v", e.Kind, e.Entry)
}

// defaultRoom is how many events wait for who listens.
const defaultRoom = 4096

// Events returns what happens in the group, from the first step of the loop on, until ctx
// ends or the member is stopped; with the leader as it is first. Nobody waits for who
// listens: when room events wait (0: 4096), those that follow are left out, and an
// EventMissed says how many. While nobody listens it costs nothing.
func (g *Group) Events(ctx context.Context, room int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		l := &listener{room: max(room, 0), news: make(chan struct{}, 1)}
		if l.room == 0 {
			l.room = defaultRoom
		}
		g.listeners.add(l)
		defer g.listeners.remove(l)
		s, _ := g.board.latest()
		if s.State == Stopped || !yield(Event{Kind: EventLeader, At: time.Now(), Entry: raftcore.EntryID{Term: s.Term}, Leader: s.Leader}) {
			return
		}
		for {
			events, missed, over := l.take()
			for _, e := range events {
				if !yield(e) {
					return
				}
			}
			if missed > 0 && !yield(Event{Kind: EventMissed, At: time.Now(), Missed: missed}) || over {
				return
			}
			select {
			case <-l.news:
			case <-ctx.Done():
				return
			}
		}
	}
}

// listener is where the events wait for one who listens.
type listener struct {
	room int
	news chan struct{} // has room for one: there is something to take

	mu      sync.Mutex
	waiting []Event
	taken   []Event // the other buffer
	missed  uint64  // after those that wait
	over    bool
}

// tell never waits: mu is held for a copy at most.
func (l *listener) tell(e Event) {
	l.mu.Lock()
	if len(l.waiting) < l.room && l.missed == 0 {
		l.waiting = append(l.waiting, e)
	} else {
		l.missed++
	}
	l.mu.Unlock()
	l.wake()
}

func (l *listener) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// take returns what waits, until the next take.
func (l *listener) take() (events []Event, missed uint64, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting, l.taken = l.taken[:0], l.waiting
	missed, l.missed = l.missed, 0
	return l.taken, missed, l.over
}

// listeners are those of a group. Whoever tells takes no lock to see that there is nobody.
type listeners struct {
	mu  sync.Mutex
	all atomic.Pointer[[]*listener] // replaced as a whole; nil: nobody
}

func (s *listeners) any() bool { return s.all.Load() != nil }

func (s *listeners) add(l *listener) {
	s.change(func(all []*listener) []*listener { return append(all, l) })
}

func (s *listeners) remove(l *listener) {
	s.change(func(all []*listener) []*listener {
		return slices.DeleteFunc(all, func(other *listener) bool { return other == l })
	})
}

func (s *listeners) change(change func([]*listener) []*listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*listener
	if now := s.all.Load(); now != nil {
		all = slices.Clone(*now)
	}
	if all = change(all); len(all) == 0 {
		s.all.Store(nil)
		return
	}
	s.all.Store(&all)
}

func (s *listeners) tell(e Event) {
	if all := s.all.Load(); all != nil {
		for _, l := range *all {
			l.tell(e)
		}
	}
}

// end ends the loops of all that listen: the member has stopped.
func (s *listeners) end() {
	if all := s.all.Load(); all != nil {
		for _, l := range *all {
			l.mu.Lock()
			l.over = true
			l.mu.Unlock()
			l.wake()
		}
	}
}

// watched reports whether somebody wants to know how far a proposal comes.
func (n *node) watched(c *call) bool { return n.group.listeners.any() || n.host.traced(c) }

// stages tells how far proposals have come.
func (n *node) stages(stages []raftcore.StageAt) {
	now := time.Now()
	for _, s := range stages {
		p := n.proposals[s.Entry]
		if p == nil {
			p = &proposal{}
		}
		switch s.Stage {
		case raftcore.StageQueued:
			if n.proposals == nil {
				n.proposals = map[raftcore.EntryID]*proposal{}
			}
			n.proposals[s.Entry] = p
			p.tag, p.queued = s.Tag, now
			if c := n.calls.rows[s.Tag-1]; n.host.traced(c) {
				p.ctx = c.ctx
			}
		case raftcore.StageSaved:
			p.saved = now
		case raftcore.StageCommitted:
			p.committed, p.tag = now, 0 // which may be another's now
		case raftcore.StageApplied:
			delete(n.proposals, s.Entry)
			n.trace(p, s.Entry, now, nil)
		}
		n.group.listeners.tell(Event{Kind: EventQueued + EventKind(s.Stage-raftcore.StageQueued), At: now, Entry: s.Entry})
	}
}

// abandoned tells that a proposal ends with an error of its caller.
func (n *node) abandoned(tag raftcore.Tag, err error) {
	for entry, p := range n.proposals {
		if p.tag == tag {
			n.abandon(p, entry, err)
			return
		}
	}
}

// abandonProposals tells that this node knows no more of what was proposed to it.
func (n *node) abandonProposals() {
	for entry, p := range n.proposals {
		n.abandon(p, entry, errLeft)
	}
}

func (n *node) abandon(p *proposal, entry raftcore.EntryID, err error) {
	now := time.Now()
	delete(n.proposals, entry)
	n.trace(p, entry, now, err)
	if p.tag != 0 { // else it is committed
		n.group.listeners.tell(Event{Kind: EventAbandoned, At: now, Entry: entry, Err: err})
	}
}

// Lead calls f each time this host's member has come to lead the group, and can answer
// reads, until ctx ends or the member is stopped. The context that f is given ends when the
// member does not lead in that term any more; f is not called again before it has
// returned. Others may lead by the time that f notices: what must happen once belongs in
// the log, or in the effects of a machine. For the state as it is, begin with a Read.
func (g *Group) Lead(ctx context.Context, f func(ctx context.Context, term raftcore.Term)) {
	var leads raftcore.Term
	end := func() {}
	defer func() { end() }()
	for s := range g.Watch(ctx) {
		term := raftcore.Term(0)
		if s.State == Running && s.Role == raftcore.Leader && s.Readable {
			term = s.Term
		}
		if term == leads {
			continue
		}
		end()
		if leads, end = term, func() {}; term == 0 {
			continue
		}
		inTerm, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f(inTerm, term)
		}()
		end = func() {
			cancel()
			<-done
		}
	}
}
