package actors_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// breakRule tells a host's node of what never was, and waits until its member has
// come back from that. It returns the fault.
func (h *hostUp) breakRule(message any) error {
	h.world.t.Helper()
	before := h.status().Change
	node := actor.NewPID(h.group.PID().Address, h.group.PID().Id+"/node-1")
	h.host.System().Root.Send(node, message)
	var fault error
	for s := range h.group.Watch(h.world.ctx) {
		if s.Change > before && s.State == actors.Pausing {
			fault = s.Fault
		}
		if fault != nil && s.State == actors.Running {
			break
		}
	}
	return fault
}

// Every member writes down how its node came to break a rule, and that can be played
// back: also by another program, to the same fault.
func TestABrokenInvariantLeavesAStory(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.compacting(50)
		for range 200 {
			w.hosts[1].propose("a secret")
		}
		for _, h := range []*hostUp{w.leader(), w.hosts[0]} {
			s := h.status()
			fault := h.breakRule(raftcore.Applied{Index: 1 << 40})
			if !errors.Is(fault, actors.ErrInvariantFault) || !strings.Contains(fault.Error(), ".story") {
				t.Fatalf("the fault is %v", fault)
			}
			found, err := filepath.Glob(filepath.Join(h.storyDir(), "*", "*.story"))
			if err != nil || len(found) == 0 || !strings.Contains(fault.Error(), found[len(found)-1]) {
				t.Fatalf("there are %v, %v, and the fault is %v", found, err, fault)
			}
			file, err := os.ReadFile(found[len(found)-1])
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(file, []byte("secret")) {
				t.Error("the story tells what was proposed")
			}
			story, err := flight.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			if story.Group != "group" || story.Node != h.id || story.Boot == 0 {
				t.Errorf("it is of %+v", story)
			}
			var last []string
			end := story.Replay(func(line string) { last = append(last, line) })
			var broken *raftcore.InvariantError
			if !errors.As(end, &broken) || broken.Rule != raftcore.RuleAppliedCommitted || broken.Node != h.id || !story.Same(end) {
				t.Errorf("played back, it ends with %v", end)
			}
			if !strings.HasPrefix(last[len(last)-1], "Applied{Index:1099511627776") || s.Term != 0 && len(last) < 10 {
				t.Errorf("it is told as %q", last)
			}
		}
		if got := w.hosts[2].propose("b"); got != "201:b" {
			t.Errorf("afterwards: %q", got)
		}
		for _, h := range w.hosts { // what is beside them is not in the way of snapshots
			w.until("it has them", func() bool { return len(h.snapshotFiles()) > 0 })
		}
	})
}

func (h *hostUp) storyDir() string {
	dir, _ := h.disk.(interface {
		Snapshots() (string, snapshots.Options)
	}).Snapshots()
	return dir
}

// lines is a handler for slog's text that keeps it.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Without a directory the log has the story.
func TestAStoryWithoutADirectoryIsLogged(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.stop()
		cfg, log := h.config(), &lines{}
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		h.startWith(cfg)
		h.propose("a")
		h.breakRule(raftcore.Applied{Index: 1 << 40})
		if text := log.String(); !strings.Contains(text, "castaway story 1") || !strings.Contains(text, "it ends in the same fault") {
			t.Errorf("the log is %s", text)
		}
	})
}

// Nothing is recorded on demand, and then there is no story.
func TestWithoutARecordingThereIsNoStory(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(50)
		h := w.hosts[0]
		h.stop()
		cfg := h.config()
		cfg.RecordBytes = -1
		h.startWith(cfg)
		h.propose("a")
		if fault := h.breakRule(raftcore.Applied{Index: 1 << 40}); !errors.Is(fault, actors.ErrInvariantFault) || strings.Contains(fault.Error(), "story") {
			t.Errorf("the fault is %v", fault)
		}
	})
}

// A machine that panics is the user's, and no story of the core.
func TestAMachineThatPanicsIsNoStory(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(50)
		h := w.hosts[0]
		w.panicAt("boom")
		_, _ = h.group.Propose(w.ctx, []byte("boom"))
		w.until("it has failed", func() bool { return h.status().Fault != nil })
		time.Sleep(time.Second) // fake
		if found, _ := filepath.Glob(filepath.Join(h.storyDir(), "*", "*.story")); len(found) > 0 {
			t.Errorf("there are %v", found)
		}
	})
}

// Thousands of groups that sleep keep nothing, and those that are stopped do not, either.
func TestWhoSleepsKeepsNoRecording(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled().propose("a")
		other := w.hosts[0].open("other")
		for _, h := range w.hosts[1:] {
			h.open("other")
		}
		if _, err := other.Propose(w.ctx, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got := w.leader().host.Recording(); got == 0 {
			t.Error("nobody keeps anything")
		}
		for _, h := range w.hosts {
			w.until("all sleep, and keep nothing", func() bool { return h.host.Recording() == 0 })
		}
		l := w.leader()
		l.propose("b")
		if got := l.host.Recording(); got != 1 {
			t.Errorf("%d keep something when one has been woken", got)
		}
		if err := l.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		if got := l.host.Recording(); got != 0 {
			t.Errorf("%d keep something when it was stopped", got)
		}
		l.group = l.open("group")
	})
}
