package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

func TestOneHostServesAlone(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		if got := h.propose("a"); got != "1:a" {
			t.Errorf("the first command answers %q", got)
		}
		if got := h.read(""); got != "a" {
			t.Errorf("a read sees %q", got)
		}
	})
}

func TestAnyHostServesEveryRequest(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for i := range 9 {
			h := w.hosts[i%3]
			if got, want := h.propose(fmt.Sprint("c", i)), fmt.Sprintf("%d:c%d", i+1, i); got != want {
				t.Errorf("host %d: proposing answers %q, not %q", h.id, got, want)
			}
			for _, other := range w.hosts {
				if got, want := other.read(""), fmt.Sprint("c", i); got != want {
					t.Errorf("host %d reads %q, %q was acknowledged before", other.id, got, want)
				}
			}
		}
	})
}

func TestAHostThatWasStoppedCatchesUp(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		down := w.hosts[2]
		down.stop()
		for i := range 50 {
			w.hosts[0].propose(fmt.Sprint("b", i))
		}
		down.start()
		w.until("the host has caught up", func() bool {
			answer, err := down.local(w.ctx, "len")
			return err == nil && string(answer) == "51"
		})
	})
}

func TestEverythingAcknowledgedSurvivesARestartOfAllHosts(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for i := range 20 {
			w.hosts[i%3].propose(fmt.Sprint(i))
		}
		for _, h := range w.hosts {
			h.stop()
		}
		for _, h := range w.hosts {
			h.start()
		}
		if got := w.hosts[1].read("len"); got != "20" {
			t.Errorf("%s of 20 commands are there", got)
		}
	})
}

// A leader that is cut off: it steps down (E15), the others elect another, and
// what it had accepted alone is overwritten and says so.
func TestE15_AnIsolatedLeaderStepsDownAndItsProposalsEndHonestly(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("before")
		old := w.settled()
		w.net.Isolate(old.addr)

		outcome := make(chan error, 1)
		go func() {
			_, err := old.group.Propose(w.ctx, []byte("lost"))
			outcome <- err
		}()
		next := w.leader(old)
		next.propose("after")
		w.until("the old leader has stepped down", func() bool { return old.status().Role != raftcore.Leader })

		w.net.Heal()
		err := <-outcome
		if !errors.Is(err, actors.ErrOverwritten) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("the proposal of the isolated leader ends with %v", err)
		}
		if got := old.read("len"); got != "2" {
			t.Errorf("%s commands were applied, 2 were acknowledged", got)
		}
	})
}

// A majority is lost: whoever asks is told who does not answer, and how far the log
// of the one that is left goes, which is what there is to decide by.
func TestWithoutAQuorumACallNamesWhoIsMissing(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		leader.propose("kept")
		for _, h := range w.hosts {
			if h != leader {
				h.stop()
			}
		}
		w.until("it knows who is missing", func() bool { return len(leader.status().Silent) == 2 })
		for _, do := range []func(context.Context, []byte) ([]byte, error){leader.group.Propose, leader.group.Read} {
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			defer cancel()
			_, err := do(ctx, []byte("x"))
			var e *actors.NotLeaderError
			if !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Node == nil {
				t.Fatalf("it ends with %v", err)
			}
			s := e.Node
			want := fmt.Sprintf(`group "group": rejected: not the leader, and no leader is known to node %d, whose log ends at entry %d, committed up to %d at least; of voters=[1 2 3], these do not answer: %v`, leader.id, s.Last, s.Commit, s.Silent)
			if e.Error() != want || len(s.Silent) != 2 || s.Last < 3 || s.Commit < 3 {
				t.Errorf("it says %q, and should say %q", e, want)
			}
		}
		// With one of them there is a quorum again, and nobody is missed.
		w.hosts[leader.id%3].start()
		leader.propose("more")
		w.until("nobody is missed", func() bool { return len(leader.status().Silent) == 0 })
	})
}

func TestACallThatEndsWithItsContextSaysWhatMayHaveHappened(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		w.net.Isolate(leader.addr)
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Millisecond)
		defer cancel()
		_, err := leader.group.Propose(ctx, []byte("x"))
		if !errors.Is(err, actors.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a proposal that was taken in and not answered ends with %v", err)
		}
		ctx, cancel = context.WithTimeout(w.ctx, 10*time.Millisecond)
		defer cancel()
		_, err = leader.group.Read(ctx, nil)
		if !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a read that was not answered ends with %v", err)
		}
		cancelled, cancel := context.WithCancel(w.ctx)
		cancel()
		_, err = leader.group.Propose(cancelled, []byte("x"))
		if !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.Canceled) {
			t.Errorf("a proposal with a context that has ended ends with %v", err)
		}
	})
}

func TestQ1_AReadWaitsForTheLeadersFirstCommit(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for round := range 5 {
			old := w.leader()
			old.propose(fmt.Sprint("v", round))
			old.stop()
			// Whoever leads next has the entry, and may not know yet that it is
			// committed. It must not answer before it does.
			for _, h := range w.hosts {
				if h.host != nil {
					if got, want := h.read(""), fmt.Sprint("v", round); got != want {
						t.Fatalf("host %d reads %q after %q was acknowledged", h.id, got, want)
					}
				}
			}
			old.start()
		}
	})
}

func TestErrorsOfQueriesReachTheAsker(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for _, h := range w.hosts {
			_, err := h.group.Read(w.ctx, []byte("error"))
			if err == nil || err.Error() != "no such thing" || errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d: the error of Query arrives as %v", h.id, err)
			}
		}
	})
}

func TestTooLargeACommandIsRefusedAtTheDoor(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for _, h := range w.hosts {
			_, err := h.group.Propose(w.ctx, make([]byte, 5<<20))
			if !errors.Is(err, actors.ErrTooLarge) || !strings.Contains(err.Error(), "5242880 bytes") || !strings.Contains(err.Error(), "MaxCommandBytes is 4194304") {
				t.Errorf("host %d: 5 MiB are refused with %v", h.id, err)
			}
		}
	})
}

func TestP5_PendingRequestsAreBounded(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		leader.stop()
		cfg := leader.config()
		cfg.MaxPending = 10
		leader.startWith(cfg)
		// Cut off, it cannot answer anything that it forwards or takes in.
		w.net.Isolate(leader.addr)
		w.until("it leads no more", func() bool { return leader.status().Role != raftcore.Leader })
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		outcomes := make(chan error, 100)
		for range cap(outcomes) {
			go func() {
				_, err := leader.group.Propose(ctx, []byte("x"))
				outcomes <- err
			}()
		}
		busy := 0
		for range cap(outcomes) {
			if err := <-outcomes; errors.Is(err, actors.ErrBusy) {
				busy++
			} else if err == nil {
				t.Error("a proposal of an isolated host was acknowledged")
			}
		}
		if busy == 0 {
			t.Error("100 requests at once, and none of them was refused by a host that holds 10")
		}
	})
}

func TestP8_AGroupIsOpenedOnceOnAHost(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		_, err := w.hosts[0].host.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &register{world: w} }})
		if err == nil || !strings.Contains(err.Error(), "open on this host already") {
			t.Errorf("opening a group twice: %v", err)
		}
		_, err = actors.Start(newSystem(), actors.HostConfig{ID: 2, Store: w.hosts[0].disk})
		if !errors.Is(err, persistence.ErrLocked) {
			t.Errorf("a second host on one store: %v", err)
		}
	})
}

// Two hosts whose disks are mistaken for each other do not start: one of them has voted, and
// acknowledged, under the other's name. Nothing happens to the disk.
func TestD10_AHostDoesNotStartOnAnothersDisk(t *testing.T) {
	for name, disk := range map[string]persistence.Opener{
		"in memory": persistence.Memory(), "with a journal": badgerstore.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				id   raftcore.NodeID
				ours bool
			}{{1, true}, {2, false}, {1, true}} {
				host, err := actors.Start(newSystem(), actors.HostConfig{ID: c.id, Store: disk})
				switch {
				case c.ours && err != nil:
					t.Fatalf("host %d does not start on its disk: %v", c.id, err)
				case !c.ours && !errors.Is(err, persistence.ErrOtherHost):
					t.Fatalf("host %d starts on another's disk: %v", c.id, err)
				case c.ours:
					if err := host.Stop(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func TestAGroupCanBeStoppedAndOpenedAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := h.group.Propose(w.ctx, []byte("b")); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("a stopped group answers %v", err)
		}
		h.group = h.open("group")
		if got := h.propose("b"); got != "2:b" {
			t.Errorf("after it was opened again it answers %q", got)
		}
	})
}

func TestStoppingAHostEndsEveryCall(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		w.net.Isolate(leader.addr)
		outcomes := make(chan error, 20)
		for i := range cap(outcomes) {
			go func() {
				var err error
				if i%2 == 0 {
					_, err = leader.group.Propose(w.ctx, []byte("x"))
				} else {
					_, err = leader.group.Read(w.ctx, nil)
				}
				outcomes <- err
			}()
		}
		time.Sleep(10 * time.Millisecond) // fake
		leader.stop()
		for range cap(outcomes) {
			if err := <-outcomes; !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrStopped) {
				t.Errorf("a call that waited ends with %v", err)
			}
		}
	})
}

// Who is asked on another host may never answer: the way there is cut, and nobody says so.
func TestC5_StoppingAGroupEndsTheCallsThatWereSentToTheLeader(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		h := w.hosts[leader.id%3]
		h.propose("a")
		w.net.Cut(leader.addr, h.addr)
		outcome := make(chan error, 1)
		go func() {
			_, err := h.group.Propose(w.ctx, []byte("b"))
			outcome <- err
		}()
		synctest.Wait()
		begun := time.Now()
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-outcome; !errors.Is(err, actors.ErrUnknown) || time.Since(begun) > 0 {
			t.Errorf("after %v the call ends with %v", time.Since(begun), err)
		}
		w.net.Heal()
		h.group = h.open("group")
		if got := h.propose("c"); got != "3:c" {
			t.Errorf("the leader has carried out what it was sent, and then answers %q", got)
		}
	})
}

func TestBadConfigurationsAreRefusedWithEveryMistake(t *testing.T) {
	_, err := actors.Start(newSystem(), actors.HostConfig{
		Peers: map[raftcore.NodeID]string{7: ""},
		Raft:  raftcore.Config{ElectionTimeout: time.Second, HeartbeatInterval: time.Second},
	})
	for _, want := range []string{"ID is zero", "no Store", "peer 7 has no address", "HeartbeatInterval"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q: %v", want, err)
		}
	}
}

func TestWatchShowsTheLatestLeader(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		old := w.leader()
		watcher := w.hosts[old.id%3]
		seen := make(chan raftcore.NodeID, 1)
		go func() {
			for s := range watcher.group.Watch(w.ctx) {
				if s.Leader != raftcore.Nobody && s.Leader != old.id {
					seen <- s.Leader
					return
				}
			}
		}()
		old.stop()
		if got, want := <-seen, w.leader().id; got != want {
			t.Errorf("the watch shows leader %d, it is %d", got, want)
		}
	})
}
