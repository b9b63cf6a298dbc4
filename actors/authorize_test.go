package actors_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// named is a transport that knows who sends.
type named struct{ actors.Transport }

func (n named) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	return n.Transport.Start(system, self, func(p *actors.Packet) {
		p.Names = []string{fmt.Sprintf("host-%d.test", p.From)}
		deliver(p)
	})
}

// warden says who may do what, and notes what it was asked.
type warden struct {
	mu     sync.Mutex
	asked  []actors.Asked
	answer func(actors.Asked) error // nil: everything may be done
}

func (w *warden) authorize(a actors.Asked) error {
	w.mu.Lock()
	w.asked = append(w.asked, a)
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		return answer(a)
	}
	return nil
}

func (w *warden) set(answer func(actors.Asked) error) (asked []actors.Asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, w.asked, w.answer = w.asked, nil, answer
	return asked
}

func TestWhatIsNotAllowedIsNotDone(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		var all warden
		wires := map[*hostUp]*narrow{}
		for _, h := range w.hosts {
			h.stop()
			cfg := h.config()
			wires[h] = &narrow{Transport: named{cfg.Transport}}
			cfg.Transport, cfg.Authorize = wires[h], all.authorize
			h.startWith(cfg)
		}
		leader := w.leader()
		other := w.hosts[leader.id%3]
		w.until("it knows the leader", func() bool { return other.status().Leader == leader.id })
		session, err := other.group.OpenSession(w.ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Propose(w.ctx, []byte("before")); err != nil {
			t.Fatal(err)
		}
		operations := map[string]func(*hostUp) error{
			"propose": func(h *hostUp) error { _, err := h.group.Propose(w.ctx, []byte("not this")); return err },
			"lease":   func(h *hostUp) error { return h.do(actors.Request{Operation: actors.OpenSession}) },
			"in a session": func(h *hostUp) error {
				return h.do(actors.Request{Operation: actors.Propose, Data: []byte("nor this"), Session: actors.InSession{ID: session.ID(), Sequence: 2}})
			},
			"keep": func(h *hostUp) error {
				return h.do(actors.Request{Operation: actors.KeepSession, Session: actors.InSession{ID: session.ID()}})
			},
			"close": func(h *hostUp) error {
				return h.do(actors.Request{Operation: actors.CloseSession, Session: actors.InSession{ID: session.ID()}})
			},
			"change": func(h *hostUp) error {
				return h.group.ChangeMembers(w.ctx, actors.Members{Voters: []raftcore.NodeID{leader.id, other.id}})
			},
			"transfer": func(h *hostUp) error { return h.group.Transfer(w.ctx, other.id) },
			"skip":     func(h *hostUp) error { return h.group.SkipEntry(w.ctx, 1) },
		}
		want := map[string]actors.Operation{
			"propose": actors.Propose, "lease": actors.OpenSession, "in a session": actors.Propose, "keep": actors.KeepSession,
			"close": actors.CloseSession, "change": actors.ChangeMembers, "transfer": actors.Transfer, "skip": actors.SkipEntry,
		}
		no := func(actors.Asked) error { return errors.New("it is Sunday") }
		for name, operation := range operations {
			all.set(no)
			err := operation(other)
			if !errors.Is(err, actors.ErrNotAllowed) || !errors.Is(err, actors.ErrRejected) || !strings.Contains(err.Error(), "it is Sunday") {
				t.Errorf("%s ends with %v", name, err)
			}
			if asked, one := all.set(nil), (actors.Asked{Group: "group", Operation: want[name], Host: other.id, Names: []string{fmt.Sprintf("host-%d.test", other.id)}}); len(asked) != 1 || !reflect.DeepEqual(asked[0], one) {
				t.Errorf("%s: asked about %+v, not %+v", name, asked, one)
			}
		}
		// Nothing of that has happened: not the changes, not the commands, nor has the session ended.
		if s := other.status(); s.Leader != leader.id || len(s.Conf.Voters) != 3 {
			t.Errorf("what was refused has happened: %+v", s)
		}
		if got, err := other.group.Read(w.ctx, []byte("all")); err != nil || string(got) != "before" {
			t.Errorf("the machine has %q, %v", got, err)
		}
		if _, err := session.Propose(w.ctx, []byte("after")); err != nil {
			t.Errorf("the session: %v", err)
		}
		// Who leads asks for himself.
		all.set(no)
		if _, err := leader.group.Propose(w.ctx, []byte("local")); err != nil {
			t.Errorf("the leader's own client: %v", err)
		}
		if asked := all.set(nil); len(asked) > 0 {
			t.Errorf("about a client in its own process it was asked %+v", asked)
		}
		// Nor is it asked about what hosts ask each other.
		all.set(no)
		wire := wires[leader]
		wire.arrive(&actors.Packet{From: other.id, Requests: []actors.GroupRequest{{Group: wire.heard(), ID: 1, Operation: 49}}})
		time.Sleep(10 * time.Millisecond) // fake
		if asked := all.set(nil); len(asked) > 0 {
			t.Errorf("about what hosts ask each other it was asked %+v", asked)
		}
		// One may be refused, and others not; and who panics has not said yes.
		all.set(func(a actors.Asked) error {
			if a.Operation == actors.Propose {
				panic("who knows")
			}
			return nil
		})
		if _, err := other.group.Propose(w.ctx, []byte("panic")); !errors.Is(err, actors.ErrNotAllowed) {
			t.Errorf("when Authorize panics a proposal ends with %v", err)
		}
		if err := other.group.Transfer(w.ctx, other.id); err != nil {
			t.Errorf("what is allowed ends with %v", err)
		}
	})
}

// do makes one try.
func (h *hostUp) do(r actors.Request) error {
	_, err := h.group.Do(h.world.ctx, &r)
	return err
}

// kinds are all that a client can ask a group for. Of each: whether a member answers it that
// does not lead.
func kinds(session actors.SessionID, to raftcore.NodeID) map[string]struct {
	actors.Request
	anywhere bool
} {
	type kind = struct {
		actors.Request
		anywhere bool
	}
	read := func(c actors.Consistency, maxAge time.Duration) kind {
		return kind{actors.Request{Operation: actors.Read, Data: []byte("all"), Consistency: c, MaxAge: maxAge}, true}
	}
	after := read(actors.Local, 0)
	after.After = 1
	in := func(o actors.Operation, sequence uint64) kind {
		return kind{actors.Request{Operation: o, Session: actors.InSession{ID: session, Sequence: sequence}}, false}
	}
	return map[string]kind{
		"linearizable":  read(actors.Linearizable, 0),
		"lease":         read(actors.Lease, 0),
		"bounded stale": read(actors.BoundedStale, time.Hour),
		"local":         read(actors.Local, 0),
		"after":         after,
		"status":        {actors.Request{Operation: actors.GetStatus}, true},
		"change":        {actors.Request{Operation: actors.AwaitChange}, true},
		"propose":       {actors.Request{Operation: actors.Propose, Data: []byte("secret")}, false},
		"in a session":  in(actors.Propose, 1),
		"open":          {actors.Request{Operation: actors.OpenSession}, false},
		"keep":          in(actors.KeepSession, 0),
		"close":         in(actors.CloseSession, 0),
		"members":       {actors.Request{Operation: actors.ChangeMembers, Members: actors.Members{Voters: []raftcore.NodeID{to}}}, false},
		"transfer":      {actors.Request{Operation: actors.Transfer, To: to}, false},
		"skip":          {actors.Request{Operation: actors.SkipEntry, Entry: 1}, false},
	}
}

// A host asks its own hook about whatever a client in another process asks of it, before
// anything else happens: for the reads that a follower answers itself nobody else is asked,
// nor has the leader's say to be waited for. What then goes to the leader is asked about there
// again, in the name of the host that it comes from.
func TestEachHostAsksItsOwnHookForItsOwnClients(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		wardens := map[*hostUp]*warden{}
		for _, h := range w.hosts {
			h.stop()
			wardens[h] = new(warden)
			cfg := h.config()
			cfg.Transport, cfg.Authorize, cfg.Raft.LeaseReads = named{cfg.Transport}, wardens[h].authorize, true
			h.startWith(cfg)
		}
		leader := w.settled()
		follower := w.hosts[leader.id%3]
		w.until("it knows the leader", func() bool { return follower.status().Leader == leader.id })
		leader.propose("secret")
		all := func(answer func(actors.Asked) error) map[*hostUp][]actors.Asked {
			asked := map[*hostUp][]actors.Asked{}
			for h, warden := range wardens {
				if a := warden.set(answer); len(a) > 0 {
					asked[h] = a
				}
			}
			return asked
		}
		ask := func(h *hostUp, r actors.Request) *actors.ClientResponse {
			answer := make(chan *actors.ClientResponse, 1)
			h.host.Ask(w.ctx, &actors.ClientRequest{Group: "group", Request: r, Names: []string{"client.test"}}, func(c *actors.ClientResponse) { answer <- c })
			return <-answer
		}
		never := func(actors.Asked) error { return errors.New("never") }
		session, err := leader.group.OpenSession(w.ctx, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []*hostUp{leader, follower} {
			for name, kind := range kinds(session.ID(), follower.id) {
				own := actors.Asked{Group: "group", Operation: kind.Operation, Names: []string{"client.test"}}
				all(nil)
				wardens[h].set(never)
				refused := ask(h, kind.Request)
				if refused.Outcome != actors.ResponseRejected || !slices.Contains(refused.Failure.Reasons, actors.ResponseNotAllowed) || refused.Data != nil || refused.Status != nil || refused.Index != 0 || refused.Session != 0 {
					t.Errorf("%s at host %d: %+v", name, h.id, refused)
				}
				if asked, want := all(nil), (map[*hostUp][]actors.Asked{h: {own}}); !reflect.DeepEqual(asked, want) {
					t.Errorf("%s, refused by host %d: asked %+v", name, h.id, asked)
				}
				if h == leader && !kind.anywhere {
					continue // what is asked of it was done above, and some of it ends its term
				}
				// The host lets it, and no other one would.
				all(never)
				wardens[h].set(nil)
				outcome, want := ask(h, kind.Request), map[*hostUp][]actors.Asked{h: {own}}
				if kind.anywhere {
					if outcome.Outcome != actors.ResponseOK || kind.Operation == actors.Read && string(outcome.Data) != "secret" {
						t.Errorf("%s at host %d, which allows it: %+v", name, h.id, outcome)
					}
				} else {
					there := own
					there.Host, there.Names = h.id, []string{fmt.Sprintf("host-%d.test", h.id)}
					want[leader] = []actors.Asked{there}
					if !slices.Contains(outcome.Failure.Reasons, actors.ResponseNotAllowed) {
						t.Errorf("%s at host %d, which allows it, and the leader does not: %+v", name, h.id, outcome)
					}
				}
				if asked := all(nil); !reflect.DeepEqual(asked, want) {
					t.Errorf("%s, allowed by host %d: asked %+v", name, h.id, asked)
				}
			}
		}
		// The program of a host has what its member has: nobody is asked what it may read.
		for name, kind := range kinds(session.ID(), follower.id) {
			if kind.Operation != actors.Read {
				continue
			}
			all(never)
			if r, err := follower.group.Do(w.ctx, &kind.Request); err != nil || string(r.Data) != "secret" {
				t.Errorf("%s in the host's own program: %q, %v", name, r.Data, err)
			}
			if asked := all(nil); len(asked) > 0 {
				t.Errorf("%s in the host's own program: asked %+v", name, asked)
			}
		}
		if s := leader.status(); s.Role != raftcore.Leader || len(s.Conf.Voters) != 3 {
			t.Errorf("what was refused has happened: %+v", s)
		}
		if got := leader.read("all"); got != "secret" {
			t.Errorf("the machine has %q", got)
		}
		// Who asks for no more than where the hosts are is told.
		all(never)
		answer := make(chan *actors.ClientResponse, 1)
		follower.host.Ask(w.ctx, &actors.ClientRequest{Group: "group", Hosts: true}, func(c *actors.ClientResponse) { answer <- c })
		if c := <-answer; c.Outcome != actors.ResponseOK || len(c.Hosts) != 3 || c.Leader != leader.id || c.Data != nil || c.Status != nil {
			t.Errorf("where the hosts are: %+v", c)
		}
	})
}

// A read that a member hands to the leader's host, because it is behind itself, is asked about
// there, like all that comes from another process.
func TestAReadOfAMemberThatIsBehindIsAskedAboutWhereItIsAnswered(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		var there warden
		disks := map[*hostUp]*stuckDisk{}
		for _, h := range w.hosts {
			h.stop()
			disks[h] = &stuckDisk{Opener: h.disk}
			h.disk = disks[h]
			cfg := h.config()
			cfg.Authorize = there.authorize
			h.startWith(cfg)
		}
		leader := w.settled()
		h := w.hosts[leader.id%3]
		leader.write("a")
		w.until("it has applied that", func() bool { got, err := h.local(w.ctx, ""); return err == nil && string(got) == "a" })
		gate := make(chan struct{})
		disks[h].gate.Store(&gate)
		defer close(gate)
		leader.write("b")
		for _, c := range []actors.Consistency{actors.Linearizable, actors.BoundedStale} {
			maxAge := map[actors.Consistency]time.Duration{actors.BoundedStale: 50 * time.Millisecond}[c]
			there.set(nil)
			if r, err := h.ask(w.ctx, c, maxAge, 0, ""); err != nil || string(r.Data) != "b" {
				t.Errorf("%v: %q, %v", c, r.Data, err)
			}
			if asked, want := there.set(func(actors.Asked) error { return errors.New("never") }), []actors.Asked{{Group: "group", Operation: actors.Read, Host: h.id}}; !reflect.DeepEqual(asked, want) {
				t.Errorf("%v: asked about %+v", c, asked)
			}
			if r, err := h.ask(w.ctx, c, maxAge, 0, ""); !errors.Is(err, actors.ErrNotAllowed) || r.Data != nil {
				t.Errorf("%v, refused: %q, %v", c, r.Data, err)
			}
		}
	})
}
