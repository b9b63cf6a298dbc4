package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// keeper is an agent that notes when a session ends, and sends word of it.
type keeper struct{ agent }

func (k *keeper) SessionEnded(e actors.Entry) {
	if k.world.panics("ended", k.on) {
		panic("the machine does not like the end of a session")
	}
	if e.Data != nil || e.Index == 0 || e.Time.IsZero() {
		k.world.t.Errorf("the end of a session comes as %+v", e)
	}
	text := fmt.Sprint("ended ", e.Session)
	k.log = append(k.log, text)
	e.Do(actors.Send{To: "inbox", Data: []byte(text)})
}

// diskKeeper is one whose state is on a disk.
type diskKeeper struct{ *diskMachine }

func (k *diskKeeper) SessionEnded(e actors.Entry) {
	k.unsaved++
	k.p.applied.Add(1)
	k.logged.(*keeper).SessionEnded(e)
}

func newKeeper(h *hostUp) actors.StateMachine {
	return &keeper{agent{register{world: h.world, on: h.id}}}
}

// keepers has all hosts start anew with keepers, which take a snapshot every so many entries.
func (w *world) keepers(every int) *inbox {
	w.machine = newKeeper
	w.compacting(every)
	return (&inbox{got: map[string][]string{}, ids: map[actors.EffectID]string{}}).everywhere(w)
}

// leave opens a session of which nothing is heard afterwards.
func (h *hostUp) leave(timeout time.Duration) actors.SessionID {
	h.world.t.Helper()
	r, err := h.group.Do(h.world.ctx, &actors.Request{Operation: actors.OpenSession, Timeout: timeout})
	if err != nil {
		h.world.t.Fatal(err)
	}
	return r.Session
}

// hears waits until the machines have been told of the end of sessions.
func (w *world) hears(ids ...actors.SessionID) {
	w.t.Helper()
	for _, id := range ids {
		w.until("the end is told", func() bool { return slices.Contains(w.leader().log(), fmt.Sprint("ended ", id)) })
	}
}

// A machine that wants to know is told when a session ends: in good time, also when nobody says
// anything, with another leader, and when it is closed; once, and every machine the same.
func TestAMachineIsToldThatASessionHasEnded(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		in := w.keepers(10)
		leader := w.settled()
		alive := w.hosts[0].session(3 * time.Second) // gives signs of life, and so wakes the table now and then
		begun := time.Now()
		silent := leader.leave(2 * time.Second)
		w.hears(silent)
		if took := time.Since(begun); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("after %v it is told that a session of two seconds has ended", took)
		}
		if err := alive.Close(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.hears(alive.ID())

		begun = time.Now()
		before := leader.leave(2 * time.Second) // and there is no other any more
		if err := leader.group.Transfer(w.ctx, raftcore.Nobody); err != nil {
			t.Fatal(err)
		}
		w.hears(before)
		if took := time.Since(begun); took > 2200*time.Millisecond {
			t.Errorf("with another leader that takes %v", took)
		}
		together := []actors.SessionID{w.leader().leave(time.Second), w.leader().leave(time.Second), w.leader().leave(time.Second)}
		w.hears(together...)

		want := w.leader().log()
		for _, id := range append(together, silent, alive.ID(), before) {
			if n := count(want, fmt.Sprint("ended ", id)); n != 1 {
				t.Errorf("of the end of session %d it is told %d times", id, n)
			}
		}
		for range 2 { // as they were told, and as they come back
			for _, h := range w.hosts {
				h.read("len")
				if all, err := h.local(w.ctx, "all"); err != nil || string(all) != strings.Join(want, "\n") {
					t.Errorf("host %d has %q, %v; want %q", h.id, all, err, want)
				}
			}
			for _, h := range w.hosts {
				h.stop()
			}
			for _, h := range w.hosts {
				h.start()
				in.on(h)
			}
		}
		w.until("all effects are carried out", func() bool {
			in.mu.Lock()
			defer in.mu.Unlock()
			return len(in.ids) == len(want)
		})
		if len(in.mess) > 0 {
			t.Error(in.mess)
		}
	})
}

// A machine that does not want to know costs the log nothing.
func TestSessionsThatNobodyAsksForEndInSilence(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.settled()
		h.leave(time.Second)
		last := h.status().Last
		time.Sleep(time.Minute) // fake
		if now := h.status().Last; now != last {
			t.Errorf("the log goes from entry %d to %d", last, now)
		}
	})
}

// TestA1C1_TheEndOfASessionIsKeptWithTheState: a machine with a disk is told what its disk has
// lost, and nothing that it has; and what it did then is done.
func TestA1C1_TheEndOfASessionIsKeptWithTheState(t *testing.T) {
	for _, every := range []int{1000, 7} {
		for _, seed := range []uint64{0, 1, 2, 3} {
			t.Run(fmt.Sprint(every, " ", seed), func(t *testing.T) {
				inWorld(t, 1, func(w *world) {
					w.machine = newKeeper
					platters := w.onDisks(seed, every)
					disks := w.machine
					w.machine = func(h *hostUp) actors.StateMachine { return &diskKeeper{disks(h).(*diskMachine)} }
					h := w.hosts[0]
					h.stop()
					h.start()
					in := (&inbox{got: map[string][]string{}, ids: map[actors.EffectID]string{}}).everywhere(w)
					want := []string{}
					for range 6 {
						w.leader()
						first, second := h.leave(time.Second), h.leave(time.Second)
						alive := h.session(time.Hour)
						h.propose("a")
						w.hears(first, second)
						answer, err := alive.Propose(w.ctx, []byte("b"))
						if err != nil {
							t.Fatal(err)
						}
						want = append(want, "a", fmt.Sprint("ended ", first), fmt.Sprint("ended ", second), "b", fmt.Sprint("ended ", alive.ID()))
						if err := alive.Close(w.ctx); err != nil {
							t.Fatal(err)
						}
						h.stop()
						told := platters[0].applied.Load()
						h.start()
						in.on(h)
						w.leader()
						if got := h.log(); !slices.Equal(got, want) {
							t.Fatalf("after the restart it has %q, not %q; b was answered %q", got, want, answer)
						}
						if again := platters[0].applied.Load() - told; seed == 0 && again > 0 {
							t.Errorf("it is told %d things again", again)
						}
					}
					w.until("all effects are carried out", func() bool {
						in.mu.Lock()
						defer in.mu.Unlock()
						return len(in.ids) == 6*3
					})
					if len(in.mess) > 0 {
						t.Error(in.mess)
					}
				})
			})
		}
	}
}

// TestA2_AMachineThatPanicsAtTheEndOfASession is quarantined there, and goes on when that is
// skipped.
func TestA2_AMachineThatPanicsAtTheEndOfASession(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.keepers(10)
		h := w.settled()
		h.propose("before")
		w.panicAt("ended")
		id := h.leave(time.Second)
		w.hosts[0].skip(w.quarantined(w.hosts...))
		w.hosts[1].again("after")
		w.have("before after", w.hosts...)
		if _, err := w.hosts[0].group.Do(w.ctx, &actors.Request{Operation: actors.KeepSession, Session: actors.InSession{ID: id}}); !errors.Is(err, actors.ErrSessionExpired) {
			t.Errorf("and the session ends with %v", err)
		}
	})
}
