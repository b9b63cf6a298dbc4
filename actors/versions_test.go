package actors_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// versioned is a register whose log says of which version it was at each command.
type versioned struct{ register }

func (v *versioned) Apply(e actors.Entry) []byte {
	e.Data = fmt.Appendf(nil, "%s in %d", e.Data, e.Version)
	return v.register.Apply(e)
}

// run has a host start anew with a program that has these versions.
func (h *hostUp) run(oldest, newest uint64) {
	h.world.t.Helper()
	h.stop()
	h.versions = actors.Versions{Oldest: oldest, Newest: newest}
	h.start()
}

func (w *world) versioned() {
	w.machine = func(h *hostUp) actors.StateMachine { return &versioned{register{world: w, on: h.id}} }
}

// TestA4_AVersionIsInForceWhenEveryMemberHasIt, learners, too, and not before.
func TestA4_AVersionIsInForceWhenEveryMemberHasIt(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.versioned()
		w.settled()
		for i, h := range w.hosts {
			h.run(0, 7)
			w.leader()
			time.Sleep(3 * time.Second) // fake
			h.propose(fmt.Sprint("command ", i))
			if s := h.status(); i < 2 && s.Version != 0 {
				t.Errorf("%d hosts run the new program, and the version is %d", i+1, s.Version)
			}
		}
		for _, h := range w.hosts {
			w.until("the version is 7", func() bool { return h.status().Version == 7 })
		}
		w.hosts[0].propose("last")
		want := []string{"command 0 in 0", "command 1 in 0", "command 2 in 7", "last in 7"}
		for _, h := range w.hosts {
			if got := h.read("all"); got != strings.Join(want, "\n") {
				t.Errorf("host %d has %q", h.id, got)
			}
		}
	})
}

// TestA4_AMemberThatIsDownIsWaitedFor, for it may run the program from before.
func TestA4_AMemberThatIsDownIsWaitedFor(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.versioned()
		w.settled()
		w.hosts[0].run(0, 1)
		w.hosts[1].run(0, 1)
		w.hosts[2].stop()
		l := w.leader()
		time.Sleep(10 * time.Second) // fake
		if s := l.status(); s.Version != 0 {
			t.Errorf("a member is down, and the version is %d", s.Version)
		}
		w.hosts[2].run(0, 1)
		w.until("the version is 1", func() bool { return w.hosts[2].status().Version == 1 })
	})
}

// TestA4_AGroupThatHasNotBegunBeginsWithAMajority: a founder never comes.
func TestA4_AGroupThatHasNotBegunBeginsWithAMajority(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.versioned()
		for _, h := range w.hosts {
			h.stop()
		}
		w.hosts[0].versions = actors.Versions{Oldest: 2, Newest: 3}
		w.hosts[1].versions = actors.Versions{Oldest: 1, Newest: 2}
		w.hosts[0].start()
		w.hosts[1].start()
		w.hosts[0].propose("command")
		if got := w.hosts[1].read("all"); got != "command in 2" {
			t.Errorf("the log is %q", got)
		}
	})
}

// TestA4S5_AProgramThatIsTooOldAppliesNothing, and harms nobody: from the log, and from a
// snapshot.
func TestA4S5_AProgramThatIsTooOldAppliesNothing(t *testing.T) {
	for _, every := range []int{1000, 5} {
		inWorld(t, 3, func(w *world) {
			w.versioned()
			for _, h := range w.hosts {
				h.versions = actors.Versions{Newest: 2}
			}
			w.compacting(every)
			w.settled()
			for _, h := range w.hosts {
				w.until("the version is 2", func() bool { return h.status().Version == 2 })
			}
			for i := range 20 {
				w.hosts[0].propose(fmt.Sprint(i))
			}
			h := w.hosts[2]
			w.until("the third has all", func() bool {
				s := h.status()
				return s.Applied == w.leader().status().Last && (every > 20 || s.First > 10)
			})
			h.stop()
			h.versions = actors.Versions{Newest: 1}
			h.startHost(h.config())
			h.group, _ = h.host.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return w.machine(h) }, Versions: h.versions})
			var why *actors.VersionError
			w.until("it says why", func() bool {
				return errors.As(h.status().Fault, &why) || strings.Contains(fmt.Sprint(h.status().Fault), "version 2")
			})
			w.leader(h)
			w.hosts[0].propose("more")
			h.run(0, 2)
			w.until("it has all", func() bool { return h.status().Applied == w.leader().status().Last })
			if got, want := h.read("all"), w.hosts[0].read("all"); got != want {
				t.Errorf("it has %q instead of %q", got, want)
			}
		})
	}
}

// TestA4_WhoIsAddedIsAsked: the version is not raised for members that were.
func TestA4_WhoIsAddedIsAsked(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.versioned()
		w.settled()
		h := w.newcomer()
		w.hosts[0].change(actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}})
		for _, old := range w.hosts[:3] {
			old.run(0, 1)
			w.leader(h)
		}
		time.Sleep(10 * time.Second) // fake
		if s := w.leader(h).status(); s.Version != 0 {
			t.Errorf("the learner runs the program from before, and the version is %d", s.Version)
		}
		h.run(0, 1)
		w.until("the version is 1", func() bool { return h.status().Version == 1 })
	})
}

// TestA4A2_AnUpgradeIsNotSkipped: all programs are older than before. It is not the entry's
// fault.
func TestA4A2_AnUpgradeIsNotSkipped(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.versioned()
		w.settled()
		for _, h := range w.hosts {
			h.run(0, 2)
		}
		for _, h := range w.hosts {
			w.until("the version is 2", func() bool { return h.status().Version == 2 })
		}
		w.hosts[0].propose("command")
		for _, h := range w.hosts {
			h.run(0, 0)
		}
		var q *actors.QuarantineError
		for _, h := range w.hosts {
			w.until("it is quarantined", func() bool { return errors.As(h.status().Fault, &q) })
		}
		if err := w.hosts[0].group.SkipEntry(w.ctx, q.Entry); !errors.Is(err, actors.ErrNotQuarantined) {
			t.Errorf("skipping the upgrade ends with %v", err)
		}
		for _, h := range w.hosts {
			h.run(0, 2)
		}
		if got := w.hosts[0].read("all"); got != "command in 2" {
			t.Errorf("the log is %q", got)
		}
	})
}
