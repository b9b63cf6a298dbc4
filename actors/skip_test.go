package actors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// quarantined waits until the hosts are quarantined, and returns the entry that they are at.
func (w *world) quarantined(hosts ...*hostUp) (entry raftcore.Index) {
	w.t.Helper()
	for _, h := range hosts {
		w.until("it is quarantined", func() bool {
			s := h.status()
			var q *actors.QuarantineError
			if s.State != actors.Running || !errors.As(s.Fault, &q) || !errors.Is(s.Fault, actors.ErrQuarantined) {
				return false
			}
			entry = q.Entry
			return true
		})
	}
	return entry
}

// poison has all machines panic at boom, and returns the entry that it has become.
func (w *world) poison() raftcore.Index {
	w.t.Helper()
	w.panicAt("boom")
	boom := w.leader().proposing("boom")
	entry := w.quarantined(w.hosts...)
	if err := <-boom; !errors.Is(err, actors.ErrUnknown) {
		w.t.Errorf("a command at which the machine panics ends with %v", err)
	}
	return entry
}

func (h *hostUp) skip(entry raftcore.Index) {
	h.world.t.Helper()
	if err := h.group.SkipEntry(h.world.ctx, entry); err != nil {
		h.world.t.Fatalf("skipping entry %d by way of host %d: %v", entry, h.id, err)
	}
}

// again proposes a command until the group takes one again.
func (h *hostUp) again(command string) (answer string) {
	h.world.t.Helper()
	for range 10000 {
		b, err := h.group.Propose(h.world.ctx, []byte(command))
		if err == nil {
			return string(b)
		}
		if !errors.Is(err, actors.ErrQuarantined) || !errors.Is(err, actors.ErrRejected) {
			h.world.t.Fatalf("proposing %q on host %d: %v", command, h.id, err)
		}
		time.Sleep(time.Millisecond) // fake
	}
	h.world.t.Fatal("the group takes no commands any more")
	return ""
}

// have waits until the hosts have applied these commands, and no others.
func (w *world) have(want string, hosts ...*hostUp) {
	w.t.Helper()
	for _, h := range hosts {
		var got []byte
		for range 20000 {
			if got, _ = h.local(w.ctx, "all"); string(got) == strings.ReplaceAll(want, " ", "\n") {
				break
			}
			time.Sleep(time.Millisecond) // fake
		}
		if got := strings.ReplaceAll(string(got), "\n", " "); got != want {
			w.t.Fatalf("host %d has applied %q, not %q (%v)", h.id, got, want, h.status())
		}
		w.until("nothing is wrong with it any more", func() bool { s := h.status(); return s.State == actors.Running && s.Fault == nil })
	}
}

// restart stops all hosts, and starts them again.
func (w *world) restart() {
	w.t.Helper()
	for _, h := range w.hosts {
		h.stop()
	}
	for _, h := range w.hosts {
		h.start()
	}
}

// TestA2_AGroupGoesOnWithoutAnEntryThatIsSkipped: the decision is in the log, so all of
// them skip it, whatever happens to their hosts and their machines afterwards.
func TestA2_AGroupGoesOnWithoutAnEntryThatIsSkipped(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("before")
		entry := w.poison()
		w.hosts[1].skip(entry)
		if got := w.hosts[2].again("after"); got != "2:after" {
			t.Errorf("afterwards it is answered %q", got)
		}
		w.have("before after", w.hosts...)
		w.hosts[0].skip(entry) // again: it is what was wanted
		w.restart()            // without a snapshot: they panic again, and find the decision
		w.have("before after", w.hosts...)
		w.hosts[0].propose("more")
		w.panicAt("") // a machine that was mended must not apply it either
		w.restart()
		w.have("before after more", w.hosts...)
		if got := w.hosts[1].propose("boom"); got != "4:boom" {
			t.Errorf("the same command at another place is answered %q", got)
		}
	})
}

// poisonBefore is poison with so many commands behind it in the log. It returns what is to
// be applied.
func (w *world) poisonBefore(commands int) (entry raftcore.Index, want string) {
	w.t.Helper()
	l := w.leader()
	l.propose("before")
	w.panicAt("boom")
	w.net.Isolate(l.addr)
	last := l.status().Last
	ends := []chan error{l.proposing("boom")}
	w.until("it is in the log", func() bool { return l.status().Last > last })
	want = "before"
	for i := range commands {
		want += fmt.Sprintf(" %d", i)
		ends = append(ends, l.proposing(fmt.Sprint(i)))
		w.until("it is in the log", func() bool { return l.status().Last > last+1+raftcore.Index(i) })
	}
	w.net.Heal()
	entry = w.quarantined(w.hosts...)
	for _, end := range ends {
		if err := <-end; !errors.Is(err, actors.ErrUnknown) {
			w.t.Errorf("a command at the entry, or behind it, ends with %v", err)
		}
	}
	return entry, want
}

// What follows the entry is in the log already, and has its effect; the machine looks at
// more of it than it could ever hold.
func TestA2_WhatFollowsASkippedEntryIsApplied(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for _, h := range w.hosts {
			h.stop()
			cfg := h.config()
			cfg.Raft.MaxApplyBytes = 512
			h.startWith(cfg)
		}
		entry, want := w.poisonBefore(50)
		w.leader().skip(entry)
		w.hosts[0].again("after")
		w.have(want+" after", w.hosts...)
	})
}

// Nothing else can be skipped: a leader whose machine has applied an entry has told so.
func TestA2_OnlyTheEntryThatTheLeaderIsQuarantinedAtIsSkipped(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("before")
		applied := w.leader().status().Applied
		refused := func(h *hostUp, entry raftcore.Index, want error) {
			t.Helper()
			if err := h.group.SkipEntry(w.ctx, entry); !errors.Is(err, want) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d: skipping entry %d ends with %v, want %v", h.id, entry, err, want)
			}
		}
		for _, h := range w.hosts {
			refused(h, applied, actors.ErrNotQuarantined)
			refused(h, applied+100, actors.ErrNotQuarantined)
			refused(h, 0, actors.ErrBadRequest)
		}
		if _, err := w.hosts[0].group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Entry: 5}); !errors.Is(err, actors.ErrBadRequest) {
			t.Errorf("a proposal with an Entry ends with %v", err)
		}
		entry := w.poison()
		time.Sleep(5 * time.Second) // fake: each that leads hands over once
		for _, h := range w.hosts {
			refused(h, entry-1, actors.ErrNotQuarantined)
			refused(h, entry+1, actors.ErrNotQuarantined)
			_, err := h.group.Propose(w.ctx, nil)
			var q *actors.QuarantineError
			if !errors.As(err, &q) || q.Entry != entry || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("host %d: a proposal ends with %v, which does not say that it is entry %d", h.id, err, entry)
			}
		}
	})
}

// Actors ask for it with a message.
func TestAnActorHasAnEntrySkipped(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		entry := w.poison()
		w.leader()
		if r := h.request(&actors.Request{Operation: actors.SkipEntry, Entry: entry}); r.Err != nil || r.Index <= entry {
			t.Errorf("it is answered %+v", r)
		}
		w.have("", h)
		w.leader()
		if r := h.request(&actors.Request{Operation: actors.SkipEntry, Entry: entry + 1}); !errors.Is(r.Err, actors.ErrNotQuarantined) {
			t.Errorf("another is answered with %v", r.Err)
		}
	})
}

// request has an actor ask the host's member.
func (h *hostUp) request(r *actors.Request) *actors.Response {
	answers := make(chan *actors.Response, 1)
	asker := h.host.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
			ctx.Request(h.group.PID(), r)
		case *actors.Response:
			answers <- m
		}
	}))
	defer h.host.System().Root.Stop(asker)
	return <-answers
}

// A member whose machine has no trouble with the entry has applied it when it hears of the
// decision. It must not keep what the others do not have.
func TestA2_AMachineThatHasAppliedASkippedEntryTakesItBack(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprint("snapshot=", snapshot), func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				lucky, others, want := w.lucky(snapshot)
				entry := w.quarantined(others...)
				w.leader(lucky).skip(entry)
				others[0].again("after")
				w.have(want+" after", others...)
				if !snapshot {
					lucky.start()
					w.have(want+" after", lucky)
					return
				}
				lucky.startHost(lucky.config())
				lucky.group, _ = lucky.host.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: lucky.machine})
				// Its snapshot has the entry in it.
				w.until("it is faulted", func() bool { return lucky.status().State == actors.Faulted })
				var skipped *actors.SkippedError
				_, err := lucky.group.Propose(w.ctx, nil)
				if !errors.Is(err, actors.ErrFaulted) || !errors.As(err, &skipped) || skipped.Entry != entry || skipped.Snapshot < entry {
					t.Errorf("it answers %v", err)
				}
				lucky.stop()
				lucky.disk, lucky.every = snapshots.Beside(persistence.Memory(), t.TempDir(), snapshots.Options{}), 0
				lucky.start()
				w.have(want+" after", lucky)
			})
		})
	}
}

// lucky has one host apply an entry, alone, at which the machines of the others panic, and
// stops it; with a snapshot that has the entry in it, or with none. It returns what else
// was applied.
func (w *world) lucky(snapshot bool) (lucky *hostUp, others []*hostUp, want string) {
	w.t.Helper()
	lucky, others = w.hosts[0], w.hosts[1:]
	if snapshot {
		w.compacting(0)
		lucky.stop()
		lucky.every = 3
		lucky.start()
	}
	w.settled()
	lucky.propose("before")
	if err := lucky.group.Transfer(w.ctx, lucky.id); err != nil {
		w.t.Fatal(err)
	}
	want = "before"
	w.have(want, w.hosts...)
	w.mu.Lock()
	w.panicking, w.spared = "boom", lucky.id
	w.mu.Unlock()
	lucky.propose("boom")
	entry := w.quarantined(others...)
	for snapshot && lucky.status().First <= entry {
		lucky.propose("more")
		want += " more"
	}
	lucky.propose("more") // what is acknowledged is saved, and with it what was to be saved before
	want += " more"
	lucky.stop()
	return lucky, others, want
}

// A session's command that was skipped is not carried out when it is sent again: it would
// be the same trouble again.
func TestA2_ASkippedCommandOfASessionIsNotCarriedOutAgain(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		opened := l.request(&actors.Request{Operation: actors.OpenSession})
		if opened.Err != nil {
			t.Fatal(opened.Err)
		}
		w.panicAt("boom")
		in := actors.InSession{ID: opened.Session, Sequence: 1}
		boom := &actors.Request{Operation: actors.Propose, Data: []byte("boom"), Session: in}
		if r := l.request(boom); !errors.Is(r.Err, actors.ErrUnknown) {
			t.Errorf("it ends with %v", r.Err)
		}
		w.leader().skip(w.quarantined(w.hosts...))
		w.have("", w.hosts...)
		again := func() {
			t.Helper()
			for _, h := range w.hosts {
				_, err := h.group.Do(w.ctx, boom)
				if !errors.Is(err, actors.ErrSkipped) || !errors.Is(err, actors.ErrRejected) {
					t.Errorf("host %d: sent again, it ends with %v", h.id, err)
				}
			}
		}
		again()
		in.Sequence = 2
		for _, h := range w.hosts {
			if r, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Data: []byte("next"), Session: in}); err != nil || string(r.Data) != "1:next" {
				t.Errorf("host %d: the next is answered %q, %v", h.id, r.Data, err)
			}
		}
		w.compacting(5)
		w.have("next", w.hosts...) // they have panicked at it once more, and found that it is skipped
		for i := range 10 {
			w.hosts[0].propose(fmt.Sprint(i))
		}
		w.restart() // from a snapshot
		again()
	})
}

// Session.Propose asks again by itself, and has the same answer.
func TestA2_ASessionIsToldThatItsCommandWasSkipped(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		s, err := w.hosts[0].group.OpenSession(w.ctx, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.panicAt("boom")
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		if _, err := s.Propose(ctx, []byte("boom")); !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrQuarantined) {
			t.Errorf("it ends with %v", err)
		}
		for range 10 { // as often as it was sent
			w.leader().skip(w.quarantined(w.hosts...))
			time.Sleep(5 * time.Second) // fake
			if w.hosts[0].status().Fault == nil {
				break
			}
			t.Error("it was skipped, and comes again")
		}
		if got, err := s.Propose(ctx, []byte("next")); err != nil || string(got) != "1:next" {
			t.Errorf("the next is answered %q, %v", got, err)
		}
		if err := s.Close(w.ctx); err != nil {
			t.Error(err)
		}
	})
}

// A snapshot holds no entry that the log takes back further on.
func TestA2_NoSnapshotIsTakenBeforeTheLogHasSpoken(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		entry, want := w.poisonBefore(50)
		w.leader().skip(entry)
		w.have(want, w.hosts...)
		w.panicAt("") // mended: it applies the entry, and would have it in a snapshot before the decision
		w.slow.Store(true)
		for _, h := range w.hosts {
			h.stop()
			h.disk, h.every = snapshots.Beside(h.disk, t.TempDir(), snapshots.Options{}), 1
		}
		for _, h := range w.hosts {
			cfg := h.config()
			cfg.Raft.MaxApplyBytes = 1 // one entry at a time, and a snapshot after each
			h.startWith(cfg)
		}
		w.have(want, w.hosts...)
		for _, h := range w.hosts {
			w.until("it has a snapshot of all", func() bool { s := h.status(); return s.First > s.Last })
		}
		w.restart()
		w.have(want, w.hosts...)
		w.leader()
		w.hosts[0].skip(entry) // the snapshots say that it is
	})
}

// Each of them takes two panics to be found again; that is no failure.
func TestA2_AsManyEntriesAreSkippedAsThereAre(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		for range 12 {
			entry := w.poison()
			w.leader().skip(entry)
			w.have("", h)
		}
		w.restart()
		w.have("", h)
		w.until("it has applied all", func() bool { s := h.status(); return s.Applied == s.Last })
		if got := h.again("a"); got != "1:a" {
			t.Errorf("it answers %q", got)
		}
	})
}
