package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// parent is an application's own actor, whose child is a member.
type parent struct {
	props *actor.Props
	mu    sync.Mutex
	child *actor.PID
	ended []*actor.PID // the children that have stopped
	spawn int
	err   error // of the last spawn
}

type spawnAgain struct{}

func (p *parent) Receive(ctx actor.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := ctx.Message().(type) {
	case *actor.Started, *spawnAgain:
		p.spawn++
		if pid, err := ctx.SpawnNamed(p.props, fmt.Sprint("member-", p.spawn)); err != nil {
			p.err = err
		} else {
			p.child, p.err = pid, nil
		}
	case *actor.Terminated:
		p.ended = append(p.ended, m.Who)
	}
}

func (p *parent) stopped() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ended)
}

// adopted has the host's member be a child of an actor with a strategy of its own. The
// reasons of its failures go to the decider.
func (h *hostUp) adopted(restarts actors.Restarts, strategy actor.SupervisorStrategy) (*parent, *actor.PID) {
	h.world.t.Helper()
	if err := h.group.Stop(h.world.ctx); err != nil {
		h.world.t.Fatal(err)
	}
	group, props, err := h.host.Props(actors.GroupConfig{Name: "group", Machine: h.machine, Restarts: restarts})
	if err != nil {
		h.world.t.Fatal(err)
	}
	if _, err := group.Propose(h.world.ctx, nil); !errors.Is(err, actors.ErrStopped) || group.PID() != nil {
		h.world.t.Errorf("before it is spawned it answers %v", err)
	}
	h.group = group
	p := &parent{props: props}
	pid := h.host.System().Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return p }, actor.WithSupervisor(strategy)))
	synctest.Wait()
	return p, pid
}

// reasons collects why members failed, and decides.
type reasons struct {
	mu    sync.Mutex
	all   []error
	under func(n int) actor.Directive
}

func (r *reasons) decide(reason any) actor.Directive {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, reason.(error))
	return r.under(len(r.all))
}

func (r *reasons) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

var everyFailure = actors.Restarts{Max: -1}

// fail has the member's machine panic, once, with nothing of the log to blame.
func (h *hostUp) fail() {
	node := h.group.PID()
	h.host.System().Root.Send(node, &actors.Request{Operation: actors.Read, Consistency: actors.Local, Data: []byte("panic")})
	synctest.Wait()
}

// TestAMemberUnderAUsersStrategy: whatever the strategy decides, and however often, what
// was acknowledged is there, once.
func TestAMemberUnderAUsersStrategy(t *testing.T) {
	always := func(d actor.Directive) func(int) actor.Directive { return func(int) actor.Directive { return d } }
	t.Run("restart", func(t *testing.T) {
		inWorld(t, 3, func(w *world) {
			h := w.hosts[0]
			h.propose("a")
			r := &reasons{under: always(actor.RestartDirective)}
			p, _ := h.adopted(everyFailure, actor.NewOneForOneStrategy(1000, time.Hour, r.decide))
			for i := range 20 {
				h.fail()
				w.until("its parent has been told", func() bool { return r.count() > i })
				if got := h.propose(fmt.Sprint(i)); got != fmt.Sprintf("%d:%d", i+2, i) {
					t.Errorf("after restart %d it answers %q", i, got)
				}
			}
			for _, err := range r.all {
				if !errors.Is(err, actors.ErrFaulted) || !errors.Is(err, actors.ErrMachineFault) {
					t.Errorf("its parent was told %v", err)
				}
			}
			if p.stopped() != 0 || p.spawn != 1 {
				t.Errorf("it was stopped %d times, and spawned %d times", p.stopped(), p.spawn)
			}
		})
	})
	t.Run("restart and stop", func(t *testing.T) {
		inWorld(t, 3, func(w *world) {
			h := w.hosts[0]
			h.propose("a")
			r := &reasons{under: always(actor.RestartDirective)}
			p, parent := h.adopted(everyFailure, actor.NewOneForOneStrategy(2, time.Hour, r.decide))
			for range 2 {
				h.fail()
				h.propose("b")
			}
			h.fail()
			w.until("its parent knows that it has stopped", func() bool { return p.stopped() == 1 })
			if s := h.status(); s.State != actors.Stopped || !errors.Is(s.Fault, actors.ErrMachineFault) {
				t.Errorf("it is %v", s)
			}
			if _, err := h.group.Propose(w.ctx, nil); !errors.Is(err, actors.ErrStopped) {
				t.Errorf("it answers %v", err)
			}
			h.host.System().Root.Send(parent, &spawnAgain{}) // the same Props, and the same Group
			synctest.Wait()
			if got := h.propose("c"); got != "4:c" {
				t.Errorf("when it is spawned again it answers %q", got)
			}
			h.host.System().Root.Send(parent, &spawnAgain{}) // while it lives
			synctest.Wait()
			if p.err == nil {
				t.Error("two of one group live on a host")
			}
			if got := h.propose("d"); got != "5:d" {
				t.Errorf("afterwards it answers %q", got)
			}
		})
	})
	t.Run("backoff", func(t *testing.T) {
		inWorld(t, 3, func(w *world) {
			h := w.hosts[0]
			h.propose("a")
			h.adopted(everyFailure, actor.NewExponentialBackoffStrategy(time.Minute, time.Second))
			for i := range 5 {
				h.fail()
				if s := h.status(); s.State != actors.Faulted || !errors.Is(s.Fault, actors.ErrMachineFault) {
					t.Errorf("until it is restarted it is %v", s)
				}
				w.until("it is back", func() bool { return h.status().State == actors.Running })
				if got := h.propose(fmt.Sprint(i)); got != fmt.Sprintf("%d:%d", i+2, i) {
					t.Errorf("after restart %d it answers %q", i, got)
				}
			}
			// Stopped while a restart is under way, it stays stopped.
			h.fail()
			if err := h.group.Stop(w.ctx); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute) // fake
			if s := h.status(); s.State != actors.Stopped {
				t.Errorf("a restart that came late has made it %v", s)
			}
			h.group = h.open("group")
			if got := h.propose("b"); got != "7:b" {
				t.Errorf("opened again it answers %q", got)
			}
		})
	})
	t.Run("resume", func(t *testing.T) {
		inWorld(t, 3, func(w *world) {
			h := w.hosts[0]
			h.propose("a")
			r := &reasons{under: always(actor.ResumeDirective)}
			h.adopted(everyFailure, actor.NewOneForOneStrategy(10, time.Hour, r.decide))
			h.fail()
			time.Sleep(time.Minute) // fake
			if s := h.status(); s.State != actors.Faulted {
				t.Errorf("it is %v", s)
			}
			if _, err := h.group.Propose(w.ctx, nil); !errors.Is(err, actors.ErrFaulted) || !errors.Is(err, actors.ErrMachineFault) {
				t.Errorf("it answers %v", err)
			}
			if r := h.request(&actors.Request{Operation: actors.Read}); !errors.Is(r.Err, actors.ErrFaulted) {
				t.Errorf("it answers an actor %v", r.Err)
			}
			if got := w.hosts[1].propose("b"); got != "2:b" {
				t.Errorf("the others answer %q", got)
			}
		})
	})
	t.Run("escalate", func(t *testing.T) {
		inWorld(t, 3, func(w *world) {
			h := w.hosts[0]
			h.propose("a")
			r := &reasons{under: always(actor.EscalateDirective)}
			// The parent is restarted by protoactor's root, and spawns the member again.
			p, _ := h.adopted(everyFailure, actor.NewOneForOneStrategy(10, time.Hour, r.decide))
			for i := range 3 {
				h.fail()
				w.until("the parent was restarted", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.spawn == i+2 })
				if p.err != nil {
					t.Errorf("the member is not spawned again: %v", p.err)
				}
				if got := h.propose(fmt.Sprint(i)); got != fmt.Sprintf("%d:%d", i+2, i) {
					t.Errorf("after restart %d it answers %q", i, got)
				}
			}
		})
	})
	t.Run("restart without a failure", func(t *testing.T) {
		inWorld(t, 3, func(w *world) {
			h := w.hosts[0]
			h.propose("a")
			h.adopted(actors.Restarts{}, actor.DefaultSupervisorStrategy())
			for i := range 20 {
				pending := h.proposing(fmt.Sprint(i))
				h.restart(h.group.PID()) // as AllForOne does to siblings of one that failed
				synctest.Wait()
				if err := <-pending; err != nil && !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrRejected) {
					t.Errorf("what waited ended with %v", err)
				}
			}
			h.propose("b")
			for _, other := range w.hosts {
				if got, want := other.read("all"), h.read("all"); got != want {
					t.Errorf("host %d has %q, not %q", other.id, got, want)
				}
			}
		})
	})
}

// A member's own budget comes first.
func TestAMemberTellsItsParentWhenItGivesUp(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		r := &reasons{under: func(int) actor.Directive { return actor.StopDirective }}
		p, _ := h.adopted(actors.Restarts{Max: 3, FirstPause: time.Millisecond, LongestPause: 2 * time.Millisecond}, actor.NewOneForOneStrategy(10, time.Hour, r.decide))
		for range 3 {
			h.fail()
			if got := h.read(""); got != "a" || r.count() != 0 {
				t.Errorf("it answers %q, and its parent was told %v", got, r.all)
			}
		}
		h.fail()
		w.until("it was stopped", func() bool { return p.stopped() == 1 })
		if r.count() != 1 || !errors.Is(r.all[0], actors.ErrMachineFault) {
			t.Errorf("its parent was told %v", r.all)
		}
	})
}

// A store that is gone for good is the parent's affair, too: it comes back as often as the
// strategy allows, to find the same.
func TestAParentIsToldThatTheStoreIsGone(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := faultyDisks(h)[h]
		h.propose("a")
		r := &reasons{under: func(int) actor.Directive { return actor.RestartDirective }}
		p, _ := h.adopted(actors.Restarts{}, actor.NewOneForOneStrategy(3, time.Hour, r.decide))
		w.leader()
		disk.failSave.Store(true)
		disk.failOpen.Store(true)
		if err := <-h.proposing("x"); !errors.Is(err, actors.ErrUnknown) {
			t.Errorf("it ends with %v", err)
		}
		w.until("it was given up", func() bool { return p.stopped() == 1 })
		if r.count() != 4 {
			t.Errorf("its parent was told %d times", r.count())
		}
		for _, err := range r.all {
			if !errors.Is(err, actors.ErrStorageFault) {
				t.Errorf("its parent was told %v", err)
			}
		}
	})
}

// An entry at which the machine panics is noticed although every restart is the parent's.
func TestAQuarantineUnderAUsersStrategy(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		r := &reasons{under: func(int) actor.Directive { return actor.RestartDirective }}
		h.adopted(everyFailure, actor.NewOneForOneStrategy(10, time.Hour, r.decide))
		entry := w.poison()
		if r.count() != 1 {
			t.Errorf("its parent was told %v", r.all)
		}
		w.leader().skip(entry)
		w.have("a", h)
		h.propose("b")
	})
}

// The host stops its members wherever they are, and its clients are answered.
func TestAHostStopsMembersThatAreNotItsChildren(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		p, parent := h.adopted(actors.Restarts{}, actor.DefaultSupervisorStrategy())
		h.propose("a")
		if err := h.host.Stop(w.ctx); err != nil {
			t.Error(err)
		}
		if s, err := h.group.Status(w.ctx); err != nil || s.State != actors.Stopped {
			t.Errorf("it is %v, %v", s, err)
		}
		if _, err := h.group.Propose(w.ctx, nil); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("it answers %v", err)
		}
		h.host.System().Root.Send(parent, &spawnAgain{})
		synctest.Wait()
		if !errors.Is(p.err, actors.ErrStopped) {
			t.Errorf("spawning it on a host that was stopped: %v", p.err)
		}
		h.host.System().Root.Stop(parent)
		h.host = nil
		time.Sleep(time.Minute) // fake
		if left := leftBehind(); len(left) > 0 {
			t.Errorf("%d goroutines are left:\n%s", len(left), left)
		}
	})
}

// TestActorsSeeHowAMemberIs: all that Status and Watch tell, they are told by messages.
func TestActorsSeeHowAMemberIs(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		if r := h.request(&actors.Request{Operation: actors.GetStatus}); r.Err != nil || r.Status.Applied != h.status().Applied || r.Status.Role != raftcore.Leader {
			t.Errorf("the status is %v, %v", r.Status, r.Err)
		}
		var mu sync.Mutex
		var states []actors.MemberState
		var last uint64
		h.host.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Request(h.group.PID(), &actors.Request{Operation: actors.AwaitChange})
			case *actors.Response:
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(m.Err, actors.ErrStopped) { // it has stopped before it looked at the question
					ctx.Stop(ctx.Self())
					return
				}
				if m.Err != nil || m.Status.Change <= last {
					t.Errorf("change %d: it is told %v, %v", last, m.Status, m.Err)
				}
				last = m.Status.Change
				if n := len(states); n == 0 || states[n-1] != m.Status.State {
					states = append(states, m.Status.State)
				}
				if m.Status.State == actors.Stopped {
					ctx.Stop(ctx.Self())
					return
				}
				ctx.Request(h.group.PID(), &actors.Request{Operation: actors.AwaitChange, Seen: last})
			case *actor.DeadLetterResponse: // it had stopped before it was asked
				ctx.Stop(ctx.Self())
			}
		}))
		synctest.Wait()
		h.fail()
		w.until("it is back", func() bool { return h.status().State == actors.Running })
		h.propose("b")
		pid := h.group.PID()
		h.host.System().Root.Stop(pid) // what Group.Stop does
		w.until("it has stopped", func() bool { return h.status().State == actors.Stopped })
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []actors.MemberState{actors.Running, actors.Pausing, actors.Recovering, actors.Running}
		if len(states) < 4 || !slices.Equal(states[:4], want) {
			t.Errorf("the states are %v, not %v", states, want)
		}
	})
}

// TestEveryChangeOfStateIsPublished: on the event stream, by whoever's members they are; a
// subscriber who panics harms nobody.
func TestEveryChangeOfStateIsPublished(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		var mu sync.Mutex
		var states []string
		h.host.System().EventStream.Subscribe(func(event any) {
			if s, is := event.(*actors.Status); is {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, fmt.Sprint(s.State, " ", s.Fault != nil, " ", errors.Is(s.Fault, actors.ErrQuarantined)))
				panic("a subscriber")
			}
		})
		entry := w.poison()
		w.leader().skip(entry)
		w.have("a", h)
		if err := h.group.Stop(w.ctx); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		want := []string{
			"pausing true false", "recovering true false", "running false false",
			"pausing true true", "recovering true true", "running true true",
			"pausing true false", "recovering true false", "running false false",
		}
		if len(states) != len(want)+1 || !slices.Equal(states[:len(want)], want) {
			t.Errorf("%q were published, not %q", states, want)
		}
	})
}

// TestEveryFaultHasAClass: and the class says what came of it.
func TestEveryFaultHasAClass(t *testing.T) {
	classes := []error{actors.ErrMachineFault, actors.ErrStorageFault, actors.ErrInvariantFault}
	for _, test := range []struct {
		name  string
		class error
		state actors.MemberState
		bring func(*world, *hostUp, *faultyDisk)
	}{
		{"a panic in Query", actors.ErrMachineFault, actors.Pausing, func(w *world, h *hostUp, _ *faultyDisk) { h.fail() }},
		{"a panic in Apply", actors.ErrMachineFault, actors.Pausing, func(w *world, h *hostUp, _ *faultyDisk) {
			w.panicAt("boom")
			h.proposing("boom")
		}},
		{"a second one", actors.ErrMachineFault, actors.Running, func(w *world, h *hostUp, _ *faultyDisk) { w.poison() }},
		{"a write that fails", actors.ErrStorageFault, actors.Pausing, func(w *world, h *hostUp, disk *faultyDisk) {
			disk.failSave.Store(true)
			h.proposing("x")
		}},
		{"a store that is gone", actors.ErrStorageFault, actors.Faulted, func(w *world, h *hostUp, disk *faultyDisk) {
			disk.failSave.Store(true)
			disk.failOpen.Store(true)
			h.proposing("x")
		}},
		{"a full disk", actors.ErrStorageFault, actors.Running, func(w *world, h *hostUp, disk *faultyDisk) {
			disk.full.Store(true)
			h.proposing("x")
		}},
		{"a damaged log", actors.ErrStorageFault, actors.Faulted, func(w *world, h *hostUp, disk *faultyDisk) {
			h.propose("x")
			disk.damaged.Store(true)
			h.restart(h.group.PID())
		}},
		{"a rule that is broken", actors.ErrInvariantFault, actors.Pausing, func(w *world, h *hostUp, _ *faultyDisk) {
			node := actor.NewPID(h.group.PID().Address, h.group.PID().Id+"/node-1")
			h.host.System().Root.Send(node, raftcore.Applied{Index: 1 << 40})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				h := w.hosts[0]
				disk := faultyDisks(h)[h]
				h.propose("a")
				var s actors.Status
				test.bring(w, h, disk)
				w.until("it is so", func() bool {
					s = h.status()
					return s.State == test.state && s.Fault != nil
				})
				for _, class := range classes {
					if errors.Is(s.Fault, class) != (class == test.class) {
						t.Errorf("the fault is %v: %v, which should be %v", s.Fault, errors.Is(s.Fault, class), class == test.class)
					}
				}
				if strings.Contains(s.Fault.Error(), "gave up") {
					t.Errorf("the fault is %v: to try again could not help", s.Fault)
				}
				var invariant *raftcore.InvariantError
				if test.class == actors.ErrInvariantFault && (!errors.As(s.Fault, &invariant) || invariant.Rule != raftcore.RuleAppliedCommitted) {
					t.Errorf("the fault is %v, which does not name the rule", s.Fault)
				}
				if errors.Is(s.Fault, persistence.ErrDiskFull) != (test.name == "a full disk") {
					t.Errorf("the fault is %v", s.Fault)
				}
				disk.failSave.Store(false)
				disk.full.Store(false)
			})
		})
	}
}

// What Query returns is the application's, and no fault.
func TestAnErrorOfAQueryIsNoFault(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		if _, err := h.group.Read(w.ctx, []byte("error")); err == nil || err.Error() != "no such thing" {
			t.Errorf("it is %v", err)
		}
		if s := h.status(); s.State != actors.Running || s.Fault != nil {
			t.Errorf("the member is %v", s)
		}
	})
}

func TestBadRestartsAreRefused(t *testing.T) {
	for _, bad := range []actors.Restarts{{Within: -1}, {FirstPause: -1}, {FirstPause: time.Second, LongestPause: time.Millisecond}} {
		if err := (actors.HostConfig{ID: 1, Store: persistence.Memory(), Restarts: bad}).Validate(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := (actors.HostConfig{ID: 1, Store: persistence.Memory(), Restarts: actors.Restarts{FirstPause: time.Hour}}).Validate(); err != nil {
		t.Error(err)
	}
}
