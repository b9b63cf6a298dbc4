package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// Groups in which nothing happens are silent, and wake when they are asked, or when
// somebody is gone.

const election = 100 * time.Millisecond // the timeout of all worlds

// speaking returns how many groups say something while time passes.
func (w *world) speaking(d time.Duration) (groups int) {
	w.spoken.Clear()
	time.Sleep(d) // fake
	w.spoken.Range(func(any, any) bool { groups++; return true })
	return groups
}

// silent waits until every group is silent.
func (w *world) silent() {
	w.t.Helper()
	for range 100 {
		if w.speaking(election) == 0 {
			return
		}
	}
	w.t.Fatal("somebody always says something")
}

// sleeping brings everybody to sleep, and returns who leads the first group.
func (w *world) sleeping() *hostUp {
	w.t.Helper()
	w.hosts[0].propose("something")
	leader := w.settled()
	w.silent()
	return leader
}

// term is the term of the group on the host, without asking the node, which could wake.
func (h *hostUp) term() raftcore.Term { return h.status().Term }

func TestAnIdleGroupIsSilentBetweenHosts(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.sleeping()
		term := leader.term()
		w.beats.Store(0)
		if n := w.speaking(1000 * election); n != 0 {
			t.Errorf("%d groups have said something", n)
		}
		// The leader and two others, both ways, three times an election timeout.
		if n := w.beats.Load(); n < 11500 || n > 12500 {
			t.Errorf("%d beats", n)
		}
		for _, h := range w.hosts {
			if s := h.status(); s.Term != term || s.Leader != leader.id {
				t.Errorf("%v", s)
			}
		}
	})
}

func TestThereAreNoBeatsWhereNothingIsSilent(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.sleeping()
		for _, h := range w.hosts {
			if err := h.group.Stop(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * election) // fake
		w.beats.Store(0)
		time.Sleep(100 * election) // fake
		if n := w.beats.Load(); n != 0 {
			t.Errorf("%d beats for no group", n)
		}
	})
}

// A Local read wakes nobody; everything else wakes the group, wherever it is asked.
func TestASilentGroupAnswers(t *testing.T) {
	ask := func(r actors.Request) func(h *hostUp) error {
		return func(h *hostUp) error {
			r := r
			_, err := h.group.Do(h.world.ctx, &r)
			return err
		}
	}
	for name, c := range map[string]struct {
		wakes bool
		ask   func(h *hostUp) error
	}{
		"a proposal":              {true, ask(actors.Request{Operation: actors.Propose, Data: []byte("x")})},
		"a read":                  {true, ask(actors.Request{Operation: actors.Read})},
		"a read with a lease":     {true, ask(actors.Request{Operation: actors.Read, Consistency: actors.Lease})},
		"a read of a bounded age": {true, ask(actors.Request{Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: election})},
		"a local read":            {false, ask(actors.Request{Operation: actors.Read, Consistency: actors.Local})},
		"a change of members": {true, func(h *hostUp) error {
			leader := h.status().Leader
			next := leader%3 + 1
			return h.group.ChangeMembers(h.world.ctx, actors.Members{Voters: []raftcore.NodeID{leader, next}, Learners: []raftcore.NodeID{next%3 + 1}})
		}},
		"a transfer": {true, func(h *hostUp) error { return h.group.Transfer(h.world.ctx, h.world.hosts[h.leader().id%3].id) }},
		"a session": {true, func(h *hostUp) error {
			s, err := h.group.OpenSession(h.world.ctx, time.Hour)
			if err == nil {
				err = s.Close(h.world.ctx)
			}
			return err
		}},
	} {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/elsewhere=%v", name, elsewhere), func(t *testing.T) {
				inWorld(t, 3, func(w *world) {
					for _, h := range w.hosts {
						h.stop()
					}
					for _, h := range w.hosts {
						cfg := h.config()
						cfg.Raft.LeaseReads = true
						h.startWith(cfg)
					}
					leader := w.sleeping()
					term := leader.term()
					h := leader
					if elsewhere {
						h = w.hosts[leader.id%3]
					}
					time.Sleep(100 * election) // fake
					w.spoken.Clear()
					start := time.Now()
					if err := c.ask(h); err != nil {
						t.Fatal(err)
					}
					if d := time.Since(start); d > election {
						t.Errorf("it took %v: somebody waited for a timeout", d)
					}
					if woke := w.speaking(0) > 0 || w.speaking(election) > 0; woke != c.wakes {
						t.Errorf("the group woke: %v", woke)
					}
					w.silent() // again
					if s := h.status(); name != "a transfer" && s.Term != term {
						t.Errorf("%v; it was term %d", s, term)
					}
				})
			})
		}
	}
}

// leader returns the host that this one knows to lead.
func (h *hostUp) leader() *hostUp { return h.world.hosts[h.status().Leader-1] }

// Nobody is told that the packets of the leader's host vanish, one way or both.
func TestL7_ALeaderThatIsCutOffWhileItSleepsIsReplaced(t *testing.T) {
	for name, cut := range map[string]func(w *world, leader *hostUp){
		"both ways": func(w *world, leader *hostUp) { w.net.Isolate(leader.addr) },
		"it is not heard": func(w *world, leader *hostUp) {
			for _, h := range w.hosts {
				w.net.Cut(leader.addr, h.addr)
			}
		},
		"it hears nobody": func(w *world, leader *hostUp) {
			for _, h := range w.hosts {
				w.net.Cut(h.addr, leader.addr)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				old := w.sleeping()
				cut(w, old)
				start := time.Now()
				next := w.leader(old)
				if d := time.Since(start); d > 4*election {
					t.Errorf("it took %v", d)
				}
				next.propose("more")
				w.until("the old leader knows, or has stepped down", func() bool { return old.status().Role != raftcore.Leader })
				if d := time.Since(start); d > 5*election {
					t.Errorf("the old leader took %v", d)
				}
				w.net.Heal()
				w.silent()
				if got := old.stale("len"); got != "2" {
					t.Errorf("it has %s commands", got)
				}
			})
		})
	}
}

// The leader's process is gone, and comes back at once: before anybody could have missed
// a beat.
func TestL7_ALeaderThatIsRestartedWhileItSleepsIsReplaced(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		old := w.sleeping()
		old.stop()
		old.start()
		w.leader().propose("more")
		w.silent()
		for _, h := range w.hosts {
			if got := h.stale("len"); got != "2" {
				t.Errorf("host %d has %s commands", h.id, got)
			}
		}
	})
}

// Its host lives, and sends beats for other groups.
func TestL8_AMemberThatIsGoneDoesNotHideBehindItsHost(t *testing.T) {
	for name, end := range map[string]func(w *world, h *hostUp){
		"stopped": func(w *world, h *hostUp) {
			if err := h.group.Stop(w.ctx); err != nil {
				w.t.Fatal(err)
			}
		},
		"faulted": func(w *world, h *hostUp) {
			for h.status().State != actors.Faulted {
				h.local(w.ctx, "panic")
				time.Sleep(time.Millisecond) // fake
			}
		},
		"its machine does not end": func(w *world, h *hostUp) {
			go h.local(w.ctx, "wait to be freed")
			time.Sleep(time.Millisecond) // fake
			ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
			defer cancel()
			if err := h.group.Stop(ctx); err == nil {
				w.t.Fatal("the story needs a machine that does not end")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				var others []*actors.Group
				for _, h := range w.hosts {
					others = append(others, h.open("other"))
				}
				if _, err := others[0].Propose(w.ctx, []byte("x")); err != nil {
					t.Fatal(err)
				}
				leader := w.sleeping()
				terms := func() (out []raftcore.Term) {
					for _, g := range others {
						s, err := g.Status(w.ctx)
						if err != nil {
							t.Fatal(err)
						}
						out = append(out, s.Term)
					}
					return out
				}
				before := terms()
				defer close(w.freed)
				end(w, leader)
				start := time.Now()
				w.spoken.Clear()
				next := w.leader(leader)
				if d := time.Since(start); d > 4*election {
					t.Errorf("it took %v", d)
				}
				next.propose("more")
				if n := w.speaking(election); n != 1 {
					t.Errorf("%d groups speak, one has lost a member", n)
				}
				if after := terms(); !slices.Equal(before, after) {
					t.Errorf("the other group was disturbed: terms %v, before %v", after, before)
				}
			})
		})
	}
}

// A leader that has lost its followers steps down, though nobody asks it for anything.
func TestL8_ALeaderIsToldThatItsFollowersAreGone(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.sleeping()
		for _, h := range w.hosts {
			if h != leader {
				if err := h.group.Stop(w.ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.until("it has stepped down", func() bool {
			s := leader.status()
			return s.Role != raftcore.Leader
		})
	})
}

// Everybody wakes and falls silent all the time, and packets are lost.
func TestAGroupThatIsSilentNowAndThenLosesNoLeader(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.sleeping()
		term := leader.term()
		w.net.SetFaults(0.05, time.Millisecond)
		for round := range 300 {
			ctx, cancel := context.WithTimeout(w.ctx, 10*election)
			_, err := w.hosts[round%3].group.Propose(ctx, fmt.Append(nil, "v", round))
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, actors.ErrUnknown) { // the answer was lost, or the leader
				t.Fatal(err)
			}
			time.Sleep(time.Duration(round%100) * election / 10) // fake
		}
		w.net.SetFaults(0, 0)
		w.silent()
		want := leader.stale("all")
		for _, h := range w.hosts {
			if got := h.stale("all"); got != want {
				t.Errorf("host %d has %q, host %d %q", h.id, got, leader.id, want)
			}
			// Packets are lost, and so a leader is now and then. Followers that took up the
			// count where they fell asleep would lose a dozen, and more.
			if s := h.status(); s.Term > term+7 {
				t.Errorf("%v; it was term %d", s, term)
			}
		}
	})
}

// A group that has lost a member does not fall silent, and is when it is back.
func TestAGroupIsSilentAgainWhenAMemberIsBack(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.sleeping()
		other := w.hosts[leader.id%3]
		other.stop()
		for range 20 {
			if w.speaking(election) == 0 {
				t.Fatal("it is silent, and a member is down")
			}
		}
		leader.propose("more")
		other.start()
		w.silent()
		if got := other.stale("len"); got != "2" {
			t.Errorf("it has %s commands", got)
		}
	})
}

// A host that is taken out of the peers is not spoken to any more.
func TestL7_AHostThatIsTakenOutWakesWhoSleepsWithIt(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		old := w.sleeping()
		peers := map[raftcore.NodeID]string{}
		for _, h := range w.hosts {
			if h != old {
				peers[h.id] = h.addr
			}
		}
		for _, h := range w.hosts {
			if h != old {
				if err := h.host.SetPeers(w.ctx, peers); err != nil {
					t.Fatal(err)
				}
			}
		}
		next := w.leader(old)
		if _, err := next.group.Propose(context.WithoutCancel(w.ctx), []byte("more")); err != nil {
			t.Fatal(err)
		}
		for _, h := range w.hosts {
			if err := h.host.SetPeers(w.ctx, w.peers); err != nil {
				t.Fatal(err)
			}
		}
		w.silent()
		if got := old.stale("len"); got != "2" {
			t.Errorf("it has %s commands", got)
		}
	})
}

// What silence rests on may fail, too: it has a successor that is told everything.
func TestL7_TheLivenessAndTheClockHaveSuccessors(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		old := w.sleeping()
		for _, name := range []string{"clock-1", "liveness-2"} {
			for _, h := range w.hosts {
				pid := actor.NewPID(h.host.System().Address(), fmt.Sprintf("castaway-%d/%s", h.id, name))
				if _, there := h.host.System().ProcessRegistry.GetLocal(pid.Id); !there {
					t.Fatalf("there is no %s", name)
				}
				h.host.System().Root.Stop(pid)
			}
			if n := w.speaking(20 * election); n != 0 {
				t.Errorf("%d groups wake when the %s has a successor", n, name)
			}
		}
		w.net.Isolate(old.addr)
		w.leader(old).propose("more")
	})
}
