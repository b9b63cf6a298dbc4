package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// known has all hosts that are up know of one more, which is not up yet.
func (w *world) known() *hostUp {
	w.t.Helper()
	id := raftcore.NodeID(len(w.hosts) + 1)
	h := &hostUp{world: w, id: id, disk: persistence.Memory(), addr: fmt.Sprintf("host-%d", id), join: true}
	w.peers[id] = h.addr
	for _, other := range w.hosts {
		if other.host != nil {
			w.setPeers(other)
		}
	}
	w.hosts = append(w.hosts, h)
	return h
}

// newcomer starts one more host, which waits to be added.
func (w *world) newcomer() *hostUp {
	w.t.Helper()
	h := w.known()
	h.start()
	return h
}

func voters(ids ...raftcore.NodeID) actors.Members { return actors.Members{Voters: ids} }

// change changes the members, from this host.
func (h *hostUp) change(m actors.Members) {
	h.world.t.Helper()
	if err := h.group.ChangeMembers(h.world.ctx, m); err != nil {
		h.world.t.Fatalf("host %d: changing to %+v: %v", h.id, m, err)
	}
}

func (h *hostUp) applied() string {
	answer, err := h.local(h.world.ctx, "len")
	if err != nil {
		h.world.t.Fatal(err)
	}
	return string(answer)
}

// One host takes the place of another, in one call, whoever makes it: nothing that was
// acknowledged is lost, and nobody waits long.
func TestAHostIsReplacedInOneCallFromAnyHost(t *testing.T) {
	for asker := range 4 {
		t.Run(fmt.Sprint("asked of host ", asker+1), func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				for i := range 20 {
					w.hosts[i%3].propose(fmt.Sprint(i))
				}
				w.newcomer()
				gone := w.hosts[2]
				told := make(chan actors.Status, 1)
				go func() {
					for s := range gone.group.Watch(w.ctx) {
						if s.Removed() && s.Leader == raftcore.Nobody { // before that it is served
							told <- s
							return
						}
					}
				}()
				if asker == 3 { // it can ask only when it knows of the leader
					w.leader().change(actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}})
				}
				w.hosts[asker].change(voters(4, 2, 1)) // in any order
				for i := range 20 {
					w.hosts[[]int{0, 1, 3}[i%3]].propose(fmt.Sprint("more ", i))
				}

				s := <-told
				if s.Conf.Contains(3) || !slices.Equal(s.Conf.Voters, []raftcore.NodeID{1, 2, 4}) {
					t.Errorf("the removed host is shown %v", &s.Conf)
				}
				for what, err := range map[string]error{
					"a proposal": second(gone.group.Propose(w.ctx, []byte("x"))),
					"a read":     second(gone.group.Read(w.ctx, nil)),
					"a change":   gone.group.ChangeMembers(w.ctx, voters(1, 2, 3)),
					"a transfer": gone.group.Transfer(w.ctx, raftcore.Nobody),
				} {
					if !errors.Is(err, actors.ErrRemoved) || !errors.Is(err, actors.ErrRejected) {
						t.Errorf("%s on the removed host ends with %v", what, err)
					}
				}
				if got := gone.applied(); got < "20" {
					t.Errorf("it has applied %s commands", got)
				}

				// The new host counts: without one of the others it is needed.
				w.hosts[0].stop()
				gone.stop()
				w.hosts[3].propose("last")
				if got := w.hosts[1].read("len"); got != "41" {
					t.Errorf("%s of 41 commands are there", got)
				}
				for _, h := range w.hosts[1:4] {
					h.stop()
				}
				for _, h := range w.hosts {
					if h != gone {
						h.start()
					}
				}
				if got := w.hosts[3].read("len"); got != "41" {
					t.Errorf("after a restart %s of 41 commands are there", got)
				}
			})
		})
	}
}

func second[T any](_ T, err error) error { return err }

// A learner has everything, and nobody waits for it, until it is made a voter.
func TestALearnerIsAddedAndPromoted(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		learner := w.newcomer()
		learning := actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}}
		w.hosts[1].change(learning)
		learner.propose("b")
		w.until("the learner has everything", func() bool { return learner.applied() == "2" })
		if err := w.hosts[0].group.Transfer(w.ctx, 4); !errors.Is(err, actors.ErrNotVoter) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("handing over to a learner ends with %v", err)
		}
		w.leader().change(learning) // again: nothing to do
		learner.change(voters(1, 2, 3, 4))
		if err := learner.group.Transfer(w.ctx, 4); err != nil {
			t.Errorf("handing over to it when it votes: %v", err)
		}
		if s := learner.status(); s.Role != raftcore.Leader {
			t.Errorf("it is %v", s)
		}
		// And back: a leader that shall only learn.
		learner.change(learning)
		w.until("somebody else leads", func() bool { s := learner.status(); return s.Leader != 4 && s.Leader != raftcore.Nobody })
		w.hosts[0].propose("c")
		w.until("the learner has everything", func() bool { return learner.applied() == "3" })
	})
}

// learning are three voters, and a learner that is waited for.
func learning() actors.Members {
	return actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}, WaitCaughtUp: true}
}

// A learner is waited for, on any host, also the learner's own, and through a change of the leader.
func TestALearnerIsWaitedForUntilItHasCaughtUp(t *testing.T) {
	for asker := range 4 {
		t.Run(fmt.Sprint("asked of host ", asker+1), func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				old := w.settled()
				learner := w.newcomer()
				for i := range 100 {
					old.propose(fmt.Sprint(i))
				}
				if asker == 3 { // it can ask only when it knows of the leader
					m := learning()
					m.WaitCaughtUp = false
					old.change(m)
				}
				w.net.Isolate(learner.addr)
				w.hosts[0].propose("which it lacks")
				time.Sleep(time.Second) // fake: it is not heard of any more
				ends := make(chan error, 1)
				go func() { ends <- w.hosts[asker].group.ChangeMembers(w.ctx, learning()) }()
				w.until("the members are changed", func() bool { s := old.status(); return s.Conf.Contains(4) && s.ConfIndex <= s.Commit })
				if err := old.group.Transfer(w.ctx, raftcore.Nobody); err != nil {
					t.Fatal(err)
				}
				w.leader(old)
				time.Sleep(time.Second) // fake
				select {
				case err := <-ends:
					t.Fatalf("it ends before the learner has anything, with %v", err)
				default:
				}
				w.net.Heal()
				if err := <-ends; err != nil {
					t.Fatalf("it ends with %v", err)
				}
				s := w.leader().status()
				if i := slices.IndexFunc(s.Peers, func(p raftcore.PeerStatus) bool { return p.ID == 4 }); i < 0 || !s.Peers[i].CaughtUp || s.Peers[i].Match < s.Commit {
					t.Errorf("the leader says %+v of its peers, and has committed %d", s.Peers, s.Commit)
				}
				if s.Conf.Votes(4) {
					t.Error("it votes")
				}
			})
		})
	}
}

// What ends the waiting changes nothing: neither the end of the context, nor that somebody else
// has changed the members meanwhile, which is not undone.
func TestTheEndOfWaitingForALearnerIsNotItsEnd(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		w.known() // and is down
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		err := w.hosts[0].group.ChangeMembers(ctx, learning())
		if !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, actors.ErrNotCaughtUp) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
		if s := w.leader().status(); !slices.Equal(s.Conf.Learners, []raftcore.NodeID{4}) {
			t.Errorf("the members are %v", &s.Conf)
		}
		ends := make(chan error, 1)
		go func() { ends <- w.hosts[1].group.ChangeMembers(w.ctx, learning()) }()
		time.Sleep(time.Second) // fake
		w.hosts[2].change(voters(1, 2, 3))
		if err := <-ends; !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, actors.ErrConfigChanged) {
			t.Errorf("when it is removed meanwhile it ends with %v", err)
		}
		if s := w.leader().status(); s.Conf.Contains(4) {
			t.Errorf("the members are %v", &s.Conf)
		}
		w.hosts[0].change(actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, WaitCaughtUp: true}) // for nobody
	})
}

// An actor asks for itself, and is told so if it wants to be waited for.
func TestAnActorAsksWhetherLearnersHaveCaughtUp(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		learner := w.known()
		answers := make(chan *actors.Response, 1)
		ask := func(h *hostUp, r *actors.Request) error {
			root := h.host.System().Root
			root.RequestWithCustomSender(h.group.PID(), r, root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
				if r, is := ctx.Message().(*actors.Response); is {
					answers <- r
					ctx.Stop(ctx.Self())
				}
			})))
			return (<-answers).Err
		}
		if err := ask(w.hosts[0], &actors.Request{Operation: actors.ChangeMembers, Members: learning()}); !errors.Is(err, actors.ErrBadRequest) {
			t.Errorf("a change that waits ends with %v", err)
		}
		check := &actors.Request{Operation: actors.CheckLearners, Members: actors.Members{Learners: []raftcore.NodeID{4}}}
		for _, h := range w.hosts[:3] {
			if err := ask(h, check); !errors.Is(err, actors.ErrConfigChanged) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d says of a stranger: %v", h.id, err)
			}
		}
		m := learning()
		m.WaitCaughtUp = false
		w.hosts[0].change(m)
		for _, h := range w.hosts[:3] {
			if err := ask(h, check); !errors.Is(err, actors.ErrNotCaughtUp) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d says of one that is down: %v", h.id, err)
			}
			if err := ask(h, &actors.Request{Operation: actors.CheckLearners}); !errors.Is(err, actors.ErrBadMembers) {
				t.Errorf("host %d says of nobody: %v", h.id, err)
			}
		}
		learner.start()
		w.hosts[1].change(learning())
		for _, h := range w.hosts {
			if err := ask(h, check); err != nil {
				t.Errorf("host %d says: %v", h.id, err)
			}
		}
		if _, err := w.hosts[0].group.Do(w.ctx, &actors.Request{Operation: actors.Transfer, Members: learning()}); !errors.Is(err, actors.ErrBadRequest) {
			t.Errorf("a transfer that is to wait for learners ends with %v", err)
		}
	})
}

// The host that shall vote is down. That is said, and the group goes on.
func TestM11_AHostThatIsDownDoesNotBecomeAVoter(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		down := w.known()
		for _, h := range w.hosts[:3] {
			err := h.group.ChangeMembers(w.ctx, voters(1, 2, 4))
			if !errors.Is(err, actors.ErrNotCaughtUp) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d: it ends with %v", h.id, err)
			}
		}
		w.hosts[2].propose("b") // which would have been removed
		if s := w.leader().status(); s.Conf.Joint() || !slices.Equal(s.Conf.Voters, []raftcore.NodeID{1, 2, 3}) || !slices.Equal(s.Conf.Learners, []raftcore.NodeID{4}) {
			t.Errorf("the members are %v", &s.Conf)
		}
		down.start() // a learner by now
		w.until("it has everything", func() bool { return down.applied() == "2" })
		down.change(voters(1, 2, 4))
	})
}

func TestM5M6_ALeaderRemovesItself(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		old := w.leader()
		var rest []raftcore.NodeID
		for _, h := range w.hosts {
			if h != old {
				rest = append(rest, h.id)
			}
		}
		old.change(actors.Members{Voters: rest})
		next := w.leader(old)
		next.propose("b")
		w.until("it is told, and has lost sight of the leader", func() bool {
			s := old.status()
			return s.Removed() && s.Leader == raftcore.Nobody
		})
		if _, err := old.group.Propose(w.ctx, []byte("x")); !errors.Is(err, actors.ErrRemoved) {
			t.Errorf("a proposal on it ends with %v", err)
		}
		old.stop()
		next.propose("c")
		if got := next.read("len"); got != "3" {
			t.Errorf("%s of 3 commands are there", got)
		}
		// It comes back, with the disk that it had.
		old.join = true
		old.start()
		next.change(voters(1, 2, 3))
		w.until("it has caught up", func() bool { return old.applied() == "3" })
		old.propose("d")
		if old.status().Removed() {
			t.Error("it takes itself for removed")
		}
	})
}

// The context ends, and the change does not.
func TestAChangeThatNobodyWaitsForAnyMoreGoesOn(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		down := w.known()
		for _, h := range w.hosts[:3] {
			ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
			defer cancel()
			err := h.group.ChangeMembers(ctx, voters(1, 2, 4))
			if !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("host %d: it ends with %v", h.id, err)
			}
		}
		down.start()
		leader := w.leader()
		w.until("it is a voter", func() bool {
			s := leader.status()
			return slices.Equal(s.Conf.Voters, []raftcore.NodeID{1, 2, 4}) && !s.Conf.Joint()
		})
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		if err := leader.group.ChangeMembers(ctx, voters(1, 2)); !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended it ends with %v", err)
		}
	})
}

// The leader is lost on the way, and the next one cannot do it: whether the first had, the
// asker does not know, and is not told that it had not.
func TestAfterALostLeaderNothingIsCalledRejected(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		w.known()
		asker := w.hosts[leader.id%3]
		ends := make(chan error, 1)
		go func() { ends <- asker.group.ChangeMembers(w.ctx, voters(1, 2, 3, 4)) }()
		w.until("it has begun", func() bool { s := leader.status(); return s.Conf.Contains(4) })
		leader.stop()
		err := <-ends
		if !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, actors.ErrNotCaughtUp) {
			t.Errorf("it ends with %v", err)
		}
		leader.start()
		w.hosts[0].propose("a")
	})
}

// Nobody tells a host that is down when it is removed. When it is up again it waits, and
// says what it can.
func TestAHostThatWasDownWhenItWasRemovedSaysWhatItKnows(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		gone := w.hosts[2]
		gone.stop()
		w.hosts[0].change(voters(1, 2))
		time.Sleep(time.Second) // fake: for a while it would have been told
		gone.start()
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		defer cancel()
		_, err := gone.group.Propose(ctx, []byte("x"))
		if !errors.Is(err, actors.ErrNotLeader) || !errors.Is(err, actors.ErrRejected) || gone.status().Removed() {
			t.Errorf("a proposal on it ends with %v", err)
		}
		w.hosts[0].propose("b") // and it disturbs nobody
		if got := w.hosts[1].read("len"); got != "2" {
			t.Errorf("%s of 2 commands are there", got)
		}
	})
}

// Without a leader nobody begins with it.
func TestAChangeWithoutAQuorumIsRejectedWhenTheContextEnds(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.leader()
		w.hosts[0].stop()
		w.hosts[1].stop()
		h := w.hosts[2]
		w.until("it knows of no leader", func() bool { return h.status().Leader == raftcore.Nobody })
		for what, do := range map[string]func(context.Context) error{
			"a change":   func(ctx context.Context) error { return h.group.ChangeMembers(ctx, voters(3)) },
			"a transfer": func(ctx context.Context) error { return h.group.Transfer(ctx, 3) },
			"another":    func(ctx context.Context) error { return h.group.Transfer(ctx, raftcore.Nobody) },
		} {
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			defer cancel()
			if err := do(ctx); !errors.Is(err, actors.ErrNotLeader) || !errors.Is(err, actors.ErrRejected) || errors.Is(err, actors.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s ends with %v", what, err)
			}
		}
	})
}

// Of two who change at the same time one is told, in good time; and who asks for the
// same as another is served with it.
func TestOfTwoChangesAtOnceOneIsTold(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		w.newcomer()
		w.newcomer()
		seen := w.leader().status().ConfIndex
		all := []actors.Members{voters(1, 2, 4), voters(1, 2, 5), voters(1, 2, 4)}
		errs := make([]error, len(all))
		var both sync.WaitGroup
		for i, m := range all {
			m.Expect = seen
			both.Go(func() { errs[i] = w.hosts[i].group.ChangeMembers(w.ctx, m) })
		}
		both.Wait()
		told := func(err error) bool {
			return errors.Is(err, actors.ErrRejected) && (errors.Is(err, actors.ErrChangeInProgress) || errors.Is(err, actors.ErrConfigChanged))
		}
		first := errs[0] == nil && told(errs[1]) && errs[2] == nil
		second := told(errs[0]) && errs[1] == nil && told(errs[2])
		if !first && !second {
			t.Errorf("they end with %v", errs)
		}
		want := all[0].Voters
		if second {
			want = all[1].Voters
		}
		if s := w.leader().status(); !slices.Equal(s.Conf.Voters, want) || s.Conf.Joint() {
			t.Errorf("the members are %v", &s.Conf)
		}
		late := voters(1, 2)
		late.Expect = seen
		if err := w.hosts[0].group.ChangeMembers(w.ctx, late); !errors.Is(err, actors.ErrConfigChanged) {
			t.Errorf("who has not seen the change is told %v", err)
		}
	})
}

func TestBadMembersAreRefusedByName(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		before := w.leader().status().ConfIndex
		for want, m := range map[string]actors.Members{
			"nobody votes":                          {Learners: []raftcore.NodeID{1}},
			"host 2 is named twice":                 voters(1, 2, 2),
			"host 3 is named twice":                 {Voters: []raftcore.NodeID{1, 3}, Learners: []raftcore.NodeID{3}},
			"host 9 is not among the peers":         voters(1, 2, 9),
			"host 0 is not among the peers":         voters(0),
			"these are 4 hosts":                     voters(1, 2, 3, 3),
			"host 4 is not among the peers of host": {Voters: []raftcore.NodeID{1}, Learners: []raftcore.NodeID{4}},
		} {
			for _, h := range w.hosts {
				err := h.group.ChangeMembers(w.ctx, m)
				if !errors.Is(err, actors.ErrBadMembers) || !errors.Is(err, actors.ErrRejected) || !strings.Contains(err.Error(), want) {
					t.Errorf("host %d: %+v are refused with %v", h.id, m, err)
				}
			}
		}
		// The host that asks knows the new one, and the leader's does not.
		leader := w.leader()
		h := w.hosts[leader.id%3]
		w.peers[4] = "host-4"
		w.setPeers(h)
		err := h.group.ChangeMembers(w.ctx, voters(1, 2, 3, 4))
		if !errors.Is(err, actors.ErrBadMembers) || !strings.Contains(err.Error(), fmt.Sprintf("these are 4 hosts, and host %d knows of 3", leader.id)) {
			t.Errorf("the leader's host says %v", err)
		}
		if after := w.leader().status().ConfIndex; after != before {
			t.Errorf("the configuration is that of %d, it was %d", after, before)
		}
	})
}

// From every host to every host; calls go on meanwhile.
func TestLeadershipIsHandedOverFromAnyHost(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		n := 0
		for _, asker := range w.hosts {
			for _, to := range w.hosts {
				w.leader()
				if err := asker.group.Transfer(w.ctx, to.id); err != nil {
					t.Fatalf("host %d hands over to %d: %v", asker.id, to.id, err)
				}
				w.until("it leads", func() bool { return to.status().Role == raftcore.Leader })
				n++
				if got, want := asker.propose("x"), fmt.Sprintf("%d:x", n); got != want {
					t.Errorf("afterwards: %q", got)
				}
			}
			old := w.leader()
			w.until("the asker knows", func() bool {
				old = w.leader() // the one before may not know yet that it does not
				return asker.status().Leader == old.id
			})
			if err := asker.group.Transfer(w.ctx, raftcore.Nobody); err != nil {
				t.Fatalf("host %d hands over to whoever can: %v", asker.id, err)
			}
			w.until("another leads", func() bool { return w.leader() != old })
		}
		for _, h := range w.hosts {
			if err := h.group.Transfer(w.ctx, 9); !errors.Is(err, actors.ErrNotVoter) {
				t.Errorf("host %d: handing over to a stranger: %v", h.id, err)
			}
		}
	})
}

func TestNobodyElseCanLeadAGroupOfOne(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		if err := h.group.Transfer(w.ctx, raftcore.Nobody); !errors.Is(err, actors.ErrNotVoter) {
			t.Errorf("handing over to nobody: %v", err)
		}
		if err := h.group.Transfer(w.ctx, 1); err != nil {
			t.Errorf("handing over to itself: %v", err)
		}
	})
}

// Who shall lead is down, or cut off: the leader stays, and it is said.
func TestATransferThatFailsIsCalledOff(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		to, third := w.hosts[leader.id%3], w.hosts[(leader.id+1)%3]
		leader.propose("a")
		w.until("all have it", func() bool { return to.status().Last == leader.status().Last })
		w.net.Cut(leader.addr, to.addr) // it is as far as the leader, and will not hear that it shall lead
		if err := third.group.Transfer(w.ctx, to.id); !errors.Is(err, actors.ErrTransferFailed) || !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) {
			t.Errorf("handing over to who does not hear of it ends with %v", err)
		}
		w.net.Heal()
		to.stop()
		leader = w.leader()
		leader.propose("b") // which it lacks
		for _, h := range []*hostUp{leader, w.hosts[6-int(leader.id)-int(to.id)-1]} {
			if err := h.group.Transfer(w.ctx, to.id); !errors.Is(err, actors.ErrNotCaughtUp) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d: handing over to who is down ends with %v", h.id, err)
			}
		}
		leader.propose("c")
	})
}

// Actors ask by message, and are answered by message.
func TestActorsChangeMembersAndLeader(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.leader().propose("a")
		w.newcomer()
		for _, h := range w.hosts[:3] {
			w.until("it follows", func() bool { return h.status().Leader != raftcore.Nobody })
			ask := func(r *actors.Request) error {
				answers := make(chan any, 1)
				asker := h.host.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
					if m, ok := ctx.Message().(*actors.Response); ok {
						answers <- m
					}
				}))
				defer h.host.System().Root.Stop(asker)
				h.host.System().Root.RequestWithCustomSender(h.group.PID(), r, asker)
				m := (<-answers).(*actors.Response)
				if m.Request != r || m.Data != nil {
					t.Errorf("host %d: %+v is answered with %+v", h.id, r, m)
				}
				return m.Err
			}
			to := w.hosts[w.leader().id%3]
			if err := ask(&actors.Request{Operation: actors.Transfer, To: to.id}); err != nil && !errors.Is(err, actors.ErrUnknown) {
				t.Errorf("host %d: a transfer is answered with %v", h.id, err)
			}
			w.until("it leads", func() bool { s := to.status(); return s.Role == raftcore.Leader && s.Readable })
			w.until("it follows", func() bool { return h.status().Leader == to.id })
			if err := ask(&actors.Request{Operation: actors.ChangeMembers, Members: voters(1, 2, 3, 4)}); err != nil {
				t.Errorf("host %d: a change is answered with %v", h.id, err)
			}
			if err := ask(&actors.Request{Operation: actors.ChangeMembers}); !errors.Is(err, actors.ErrBadMembers) {
				t.Errorf("host %d: members that are none are answered with %v", h.id, err)
			}
			if err := ask(&actors.Request{Operation: 99}); !errors.Is(err, actors.ErrRejected) || !strings.Contains(err.Error(), "operation 99 is unknown") {
				t.Errorf("host %d: what nobody knows is answered with %v", h.id, err)
			}
		}
	})
}

// What another host asks for, and this one does not know, is refused.
func TestWhatIsNotKnownIsRefusedToOtherHosts(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		other := w.hosts[leader.id%3]
		transport := leader.through()
		w.until("it is heard", func() bool { return transport.heard() != 0 })
		responses := make(chan actors.GroupResponse, 3)
		w.hosts[(leader.id+1)%3].stop()
		other.stop()
		there := w.net.Transport(other.addr) // in the other's place
		if err := there.Start(nil, other.id, func(p *actors.Packet) {
			for _, r := range p.Responses {
				responses <- r
			}
		}); err != nil {
			t.Fatal(err)
		}
		defer there.Stop(w.ctx)
		transport.arrive(&actors.Packet{From: other.id, Requests: []actors.GroupRequest{
			{Group: transport.heard(), ID: 1, Operation: 99},
			{Group: transport.heard(), ID: 2, Operation: actors.ChangeMembers}, // without members
		}})
		for range 2 {
			r := <-responses
			if want := map[uint64]actors.ResponseOutcome{1: actors.ResponseRejected, 2: actors.ResponseBadMembers}[r.ID]; r.Outcome != want {
				t.Errorf("request %d is answered with %+v", r.ID, r)
			}
		}
	})
}

// Leaders change all the time while the members do: whoever asks is served all the same.
func TestM4_ChangesGoOnWhileLeadersChange(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.newcomer()
		w.newcomer()
		w.leader().change(voters(1, 2, 3, 4, 5))
		done := make(chan bool)
		var rest sync.WaitGroup
		rest.Go(func() {
			rng := rand.New(rand.NewPCG(1, 1))
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Duration(rng.IntN(30)) * time.Millisecond): // fake
				}
				ctx, cancel := context.WithTimeout(w.ctx, time.Second)
				w.hosts[rng.IntN(5)].group.Transfer(ctx, raftcore.NodeID(1+rng.IntN(5)))
				cancel()
			}
		})
		sets := [][]raftcore.NodeID{{1, 2, 3}, {3, 4, 5}, {1, 2, 3, 4, 5}, {2, 4, 5}, {1, 3, 5}}
		for i := range 40 {
			m := actors.Members{Voters: sets[i%len(sets)]}
			for id := raftcore.NodeID(1); id <= 5; id++ {
				if !slices.Contains(m.Voters, id) {
					m.Learners = append(m.Learners, id) // so that every host hears of every leader
				}
			}
			h := w.hosts[(i*3)%5]
			// A transfer that somebody else has begun passes, and a change of this one's that
			// an earlier leader had begun is taken up.
			if err := h.group.ChangeMembers(w.ctx, m); err != nil {
				t.Fatalf("change %d, to %+v, asked of host %d: %v", i, m, h.id, err)
			}
			if s := w.leader().status(); !slices.Equal(s.Conf.Voters, m.Voters) || s.Conf.Joint() {
				t.Fatalf("after it was done the members are %v, not %+v", &s.Conf, m)
			}
		}
		close(done)
		rest.Wait()
		w.hosts[0].propose("x")
	})
}

// Who watches is told of a new configuration, and again when it is committed, though
// nothing else happens then.
func TestWatchTellsThatAConfigurationIsCommitted(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.leader().change(voters(1, 2))
		for _, h := range w.hosts[:2] {
			committed := false
			for s := range h.group.Watch(w.ctx) {
				if committed = len(s.Conf.Voters) == 2 && !s.Conf.Joint() && s.ConfIndex <= s.Commit; committed {
					break
				}
			}
			if !committed {
				t.Error("nobody was told")
			}
		}
	})
}
