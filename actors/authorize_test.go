package actors_test

import (
	"errors"
	"fmt"
	"reflect"
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
