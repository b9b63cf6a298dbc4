package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// compacting has the hosts of a world take snapshots, every so many entries, and keep
// nothing of the log before them.
func (w *world) compacting(every int) {
	for _, h := range w.hosts {
		h.stop()
		h.disk = snapshots.Beside(h.disk, filepath.Join(w.t.TempDir(), h.addr), snapshots.Options{})
		h.every = every
		h.start()
	}
}

func (h *hostUp) snapshotFiles() []string {
	dir, _ := h.disk.(interface {
		Snapshots() (string, snapshots.Options)
	}).Snapshots()
	files, err := filepath.Glob(filepath.Join(dir, "group-*", "*.snapshot"))
	if err != nil {
		h.world.t.Fatal(err)
	}
	return files
}

// A log is cut where a snapshot stands for it, one snapshot is kept, and a member
// comes back from that.
func TestAMemberComesBackFromItsSnapshot(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(10)
		h := w.hosts[0]
		for i := range 95 {
			h.propose(fmt.Sprint(i))
		}
		all := h.read("all")
		w.until("the log is short", func() bool { return h.status().First > 80 })
		w.until("one snapshot is left", func() bool { return len(h.snapshotFiles()) == 1 })
		h.stop()
		h.start()
		w.leader()
		if got := h.read("all"); got != all {
			t.Errorf("after the restart there is %q", got)
		}
		if first := h.status().First; first <= 80 {
			t.Errorf("the log begins at %d", first)
		}
		if got := h.propose("more"); got != "96:more" {
			t.Errorf("it goes on with %q", got)
		}
	})
}

// TestS1S14_AFollowerFarBehindIsSentASnapshot: and then goes on with the log.
func TestS1S14_AFollowerFarBehindIsSentASnapshot(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.compacting(10)
		l := w.leader()
		f := w.hosts[l.id%3]
		l.propose("first")
		f.stop()
		l = w.leader(f)
		big := strings.Repeat("x", 100_000) // more than are under way at a time
		for i := range 60 {
			l.propose(fmt.Sprint(i, big))
		}
		f.start()
		w.until("it has caught up", func() bool { return f.status().Applied >= l.status().Commit })
		if got := f.stale("len"); got != "61" {
			t.Errorf("it has %s commands", got)
		}
		if f.status().First < 50 {
			t.Errorf("its log begins at %d: it was not sent a snapshot", f.status().First)
		}
		l.propose("last")
		w.until("it follows", func() bool { return f.stale("last") == "last" })
		f.stop()
		f.start()
		w.until("it is back", func() bool { return f.stale("len") == "62" })
	})
}

// stale reads what this member has applied.
func (h *hostUp) stale(question string) string {
	answer, err := h.local(h.world.ctx, question)
	if err != nil {
		return err.Error()
	}
	return string(answer)
}

// TestS12_ASnapshotGoesOnWhereItWas: with packets lost, links cut, and either side
// stopped in the middle. What has arrived need not be sent again.
func TestS12_ASnapshotArrivesThroughWhateverHappens(t *testing.T) {
	for _, disturb := range []struct {
		what string
		do   func(w *world, leader, follower *hostUp)
	}{
		{"loss", func(w *world, _, _ *hostUp) { w.net.SetFaults(0.2, 5*time.Millisecond) }},
		{"a cut", func(w *world, _, f *hostUp) {
			time.Sleep(30 * time.Millisecond) // fake
			w.net.Isolate(f.addr)
			time.Sleep(400 * time.Millisecond)
			w.net.Heal()
		}},
		{"the follower restarts", func(w *world, _, f *hostUp) {
			time.Sleep(30 * time.Millisecond)
			f.stop()
			f.start()
		}},
		{"the leader restarts", func(w *world, l, _ *hostUp) {
			time.Sleep(30 * time.Millisecond)
			l.stop()
			l.start()
		}},
	} {
		t.Run(disturb.what, func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				l, f := w.leftBehind(40, 100_000)
				w.net.SetFaults(0, 5*time.Millisecond) // so that it takes a while
				f.start()
				disturb.do(w, l, f)
				w.until("it has caught up", func() bool { return f.stale("len") == "40" })
				w.net.SetFaults(0, 0)
				l = w.leader()
				l.propose("last")
				w.until("it follows", func() bool { return f.stale("last") == "last" })
			})
		})
	}
}

// A machine that fails to take snapshots, or to write them, goes on, and is asked
// again; nothing is cut off meanwhile.
func TestASnapshotThatFailsIsTriedAgain(t *testing.T) {
	for _, where := range []string{"Snapshot", "WriteTo"} {
		t.Run(where, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.compacting(10)
				h := w.hosts[0]
				w.failAt(where)
				for i := range 30 {
					h.propose(fmt.Sprint(i))
				}
				time.Sleep(time.Second) // fake
				if s := h.status(); s.First != 1 || len(h.snapshotFiles()) != 0 || s.State != actors.Running {
					t.Fatalf("the log begins at %d, there are %v, the member is %v", s.First, h.snapshotFiles(), s.State)
				}
				w.failAt("")
				w.until("one is taken", func() bool { return h.status().First > 20 })
			})
		})
	}
}

// A snapshot is taken when somebody says so, once for what has been applied; and whoever
// waits for one that comes to nothing is told.
func TestASnapshotIsTakenOnDemand(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(1000)
		h := w.hosts[0]
		for i := range 5 {
			h.propose(fmt.Sprint(i))
		}
		for range 2 {
			if err := h.group.TakeSnapshot(w.ctx); err != nil {
				t.Fatal(err)
			}
			if files := h.snapshotFiles(); len(files) != 1 {
				t.Fatalf("there are %v", files)
			}
		}
		w.until("the log is cut", func() bool { return h.status().First > 5 })
		h.propose("more")
		for _, where := range []string{"Snapshot", "WriteTo"} {
			w.failAt(where)
			if err := h.group.TakeSnapshot(w.ctx); !errors.Is(err, actors.ErrRejected) {
				t.Errorf("when %s fails it ends with %v", where, err)
			}
		}
		w.failAt("")
		if err := h.group.TakeSnapshot(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.until("the log is cut again", func() bool { return h.status().First > 6 && len(h.snapshotFiles()) == 1 })
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		if err := h.group.TakeSnapshot(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("when nobody waits for it, it ends with %v", err)
		}
		group := h.group
		h.stop()
		if err := group.TakeSnapshot(w.ctx); !errors.Is(err, actors.ErrStopped) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("of a member that has stopped: %v", err)
		}
		h.start()
		if got := h.stale("len"); got != "6" {
			t.Errorf("it comes back with %s commands", got)
		}
	})
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		if err := h.group.TakeSnapshot(w.ctx); !errors.Is(err, actors.ErrRejected) || !strings.Contains(err.Error(), "snapshots.Beside") {
			t.Errorf("without a place for it: %v", err)
		}
	})
}

// Who is told that a snapshot was taken can rely on it: the member starts from it, whatever
// happens next.
func TestWhoHasASnapshotTakenIsToldWhenTheMemberStartsFromIt(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(1000)
		h := w.hosts[0]
		h.stop()
		var stalled atomic.Pointer[chan struct{}]
		h.disk = snapshots.Beside(stallingOpener{persistence.Memory(), &stalled}, t.TempDir(), snapshots.Options{})
		h.start()
		for range 3 {
			h.propose("a")
			gate := make(chan struct{})
			stalled.Store(&gate)
			done := make(chan error, 2)
			for range 2 { // the second one has nothing to take
				go func() { done <- h.group.TakeSnapshot(w.ctx) }()
				time.Sleep(time.Second) // fake: it is written
			}
			if len(done) > 0 {
				t.Error("its log does not begin there, and yet it is said to be taken")
			}
			stalled.Store(nil)
			close(gate)
			for range 2 {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			last := h.status().Last
			h.stop()
			h.start()
			if first := h.status().First; first <= last {
				t.Errorf("the log begins at %d, and the snapshot was of %d", first, last)
			}
			if err := h.group.TakeSnapshot(w.ctx); err != nil { // of the same again, and of what opens the term
				t.Fatal(err)
			}
		}
	})
}

// A snapshot that is damaged, or gone, is noticed before anything of it is restored:
// the member does not run, and says why.
func TestD15_ADamagedSnapshotIsNotRestored(t *testing.T) {
	for _, c := range []struct {
		what   string
		damage func(t *testing.T, file string)
	}{
		{"damaged", func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"gone", func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.compacting(10)
				h := w.hosts[0]
				for i := range 30 {
					h.propose(fmt.Sprint(i))
				}
				w.until("one is taken", func() bool { return h.status().First > 20 && len(h.snapshotFiles()) == 1 })
				h.stop()
				for _, file := range h.snapshotFiles() { // another may have been taken meanwhile
					c.damage(t, file)
				}
				host, err := actors.Start(newSystem(), h.config())
				if err != nil {
					t.Fatal(err)
				}
				h.host = host
				group, err := host.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &register{world: w} }})
				if err != nil && !errors.Is(err, actors.ErrFaulted) { // it may have given up already
					t.Fatal(err)
				}
				var s actors.Status
				w.until("it gives up", func() bool { s, _ = group.Status(w.ctx); return s.State == actors.Faulted })
				if !errors.As(s.Fault, new(*persistence.CorruptError)) && !errors.Is(s.Fault, snapshots.ErrNotFound) {
					t.Errorf("it is faulted because of: %v", s.Fault)
				}
				h.group = group
				if _, err := h.local(w.ctx, "len"); !errors.Is(err, actors.ErrFaulted) {
					t.Errorf("a read ends with %v", err)
				}
			})
		})
	}
}

// slowImage writes until it is told not to.
type slowImage struct {
	register
	begun chan struct{}
}

func (s *slowImage) Snapshot() (io.WriterTo, error) { return s, nil }

func (s *slowImage) WriteTo(w io.Writer) (int64, error) {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	for n := int64(0); ; n++ {
		if _, err := w.Write([]byte{1}); err != nil {
			return n, err
		}
		time.Sleep(time.Millisecond) // fake
	}
}

// A member that stops does not wait for a snapshot, and proposals do not either.
func TestAMemberThatStopsDoesNotWaitForASnapshot(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(10)
		h := w.hosts[0]
		begun := make(chan struct{}, 1)
		g, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "slow", Machine: func() actors.StateMachine {
			return &slowImage{register{world: w}, begun}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			if _, err := g.Propose(w.ctx, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		<-begun
		if _, err := g.Propose(w.ctx, []byte("meanwhile")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Errorf("Stop ends with %v", err)
		}
	})
}

// countingImages is a register that counts the snapshots that are taken of it.
type countingImages struct {
	*register
	taken *atomic.Int64
}

func (c countingImages) Snapshot() (io.WriterTo, error) {
	c.taken.Add(1)
	return c.register.Snapshot()
}

// What a machine has applied is told to the node with its next input, and at once if there is
// something to be done about it: nothing more may come.
func TestASnapshotIsTakenAlsoWhenNothingMoreHappens(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var taken atomic.Int64
		w.machine = func(h *hostUp) actors.StateMachine {
			return countingImages{&register{world: h.world, on: h.id}, &taken}
		}
		w.compacting(10)
		for index := raftcore.Index(0); index < 10; {
			r, err := w.hosts[0].group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Data: []byte("x")})
			if err != nil {
				t.Fatal(err)
			}
			index = r.Index
			if synctest.Wait(); taken.Load() != int64(index/10) {
				t.Errorf("after entry %d %d snapshots were taken", index, taken.Load())
			}
		}
	})
}

// Hosts whose Store knows no place for snapshots take none, and say so if they are
// asked to.
func TestAStoreWithoutAPlaceForSnapshots(t *testing.T) {
	cfg := actors.HostConfig{ID: 1, Store: persistence.Memory(), Raft: raftcore.Config{SnapshotEntries: 10}}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "snapshots.Beside") {
		t.Errorf("Validate returns %v", err)
	}
	cfg.Store = snapshots.Beside(cfg.Store, t.TempDir(), snapshots.Options{})
	if err := cfg.Validate(); err != nil {
		t.Errorf("with a place it returns %v", err)
	}
}

// TestS4_TheLastSnapshotIsThereUntilAnotherIsNamed: the file of the next one is durable, and
// then the Save that names it fails. What the disk names is what there must be.
func TestS4_TheLastSnapshotIsThereUntilAnotherIsNamed(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := &faultyDisk{Opener: h.disk}
		h.disk = disk
		w.compacting(10)
		for i := range 25 {
			h.propose(fmt.Sprint(i))
		}
		w.until("a snapshot is named", func() bool { return h.status().First > 10 })
		acknowledged := "24"
		for n := range 5 {
			more := fmt.Sprint("more ", n)
			disk.failName.Store(true)
			w.until("a Save that names one has failed", func() bool {
				ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
				defer cancel()
				if _, err := h.group.Propose(ctx, []byte(more)); err == nil {
					acknowledged = more
				}
				return !disk.failName.Load()
			})
			w.until("it is back", func() bool { return h.status().State == actors.Running })
			// The first of them may have failed already.
			if got := h.read("last"); got != acknowledged && got != more {
				t.Errorf("after the store came back it has %q, and %q was acknowledged", got, acknowledged)
			}
		}
	})
}

// TestS5_ASnapshotHasTheMembersOfItsTime: who is sent one knows who they are.
func TestS5_ASnapshotHasTheMembersOfItsTime(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.compacting(10)
		w.leader()
		if err := w.hosts[0].group.ChangeMembers(w.ctx, actors.Members{Voters: []raftcore.NodeID{1, 2}, Learners: []raftcore.NodeID{3}}); err != nil {
			t.Fatal(err)
		}
		f := w.hosts[2]
		f.stop()
		for i := range 40 {
			w.hosts[0].propose(fmt.Sprint(i))
		}
		f.start()
		w.until("it has caught up", func() bool { return f.stale("len") == "40" })
		f.stop()
		f.start()
		w.until("it is back", func() bool { return f.stale("len") == "40" })
		s := f.status()
		if want := (&raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Learners: []raftcore.NodeID{3}}); !s.Conf.Equal(*want) || s.First < 20 {
			t.Errorf("it knows of %v, and its log begins at %d", &s.Conf, s.First)
		}
	})
}

// leftBehind stops a follower, and has the leader go on for so many commands of so many bytes
// that the log cannot help the follower any more.
func (w *world) leftBehind(commands, bytes int) (l, f *hostUp) {
	w.compacting(10)
	l = w.leader()
	f = w.hosts[l.id%3]
	f.stop()
	l = w.leader(f)
	for i := range commands {
		l.propose(fmt.Sprint(i, strings.Repeat("x", bytes)))
	}
	return l, f
}

// TestS12_WhatHasArrivedIsNotSentAgain: after the receiver has started again, twice.
func TestS12_WhatHasArrivedIsNotSentAgain(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l, f := w.leftBehind(80, 100_000)
		w.until("the snapshot is there", func() bool { return l.status().First > 70 })
		w.net.SetFaults(0, 20*time.Millisecond) // so that it takes a while
		w.chunks.Store(0)
		const size = 80 * 100_000
		f.start()
		for range 2 {
			before := w.chunks.Load()
			w.until("some of it has arrived", func() bool { return w.chunks.Load() > before+size*2/5 })
			f.stop()
			f.start()
		}
		w.until("it has caught up", func() bool { return f.stale("len") == "80" })
		if sent := w.chunks.Load(); sent > size*3/2 {
			t.Errorf("%d bytes were sent of a snapshot of %d", sent, size)
		}
	})
}

// A snapshot of six megabytes takes six seconds at one a second, about; and arrives.
func TestSnapshotsAreSentNoFasterThanTheyMay(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for _, h := range w.hosts {
			h.pace = 1 << 20
		}
		l, f := w.leftBehind(63, 100_000)
		f.start()
		began := time.Now() // in the bubble, where time is exact
		w.until("it has the snapshot", func() bool { return f.status().First > 40 })
		if took := time.Since(began); took < 4*time.Second || took > 9*time.Second {
			t.Errorf("it took %v", took)
		}
		l.propose("last")
		w.until("it follows", func() bool { return f.stale("last") == "last" })
	})
}

// A member whose disk has no room for a snapshot is offered it seldom: not as often as the
// leader hears of it. When there is room it has it soon.
func TestD13_WhoCannotTakeASnapshotIsOfferedItSeldom(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		_, f := w.leftBehind(40, 0)
		dir, o := f.disk.(interface {
			Snapshots() (string, snapshots.Options)
		}).Snapshots()
		room := f.disk
		o.KeepFree = 1 << 60 // nobody has so much
		f.disk = snapshots.Beside(f.disk, dir, o)
		cfg, log := f.config(), &lines{}
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		f.startWith(cfg)
		refused := func() int { return strings.Count(log.String(), "a snapshot cannot be taken in") }
		w.until("it refuses", func() bool { return refused() > 0 })
		timeout := f.config().Raft.ElectionTimeout
		if timeout == 0 {
			t.Fatal("the election timeout is not known")
		}
		time.Sleep(200 * timeout) // fake
		if n := refused(); n < 5 || n > 22 {
			t.Errorf("it has refused %d times in 200 election timeouts:\n%s", n, log)
		}
		f.stop()
		f.disk = room
		f.start()
		w.until("it has caught up", func() bool { return f.stale("len") == "40" })
	})
}
