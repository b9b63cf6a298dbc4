package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// faultyDisk is a disk that can be told to fail. A Store of it that has failed
// stays poisoned until it is opened again.
type faultyDisk struct {
	persistence.Opener
	failSave atomic.Bool
	panics   atomic.Bool
	failOpen atomic.Bool
	full     atomic.Bool
	damaged  atomic.Bool                   // entries that are wanted again are
	failName atomic.Bool                   // once: the next Save that names a snapshot
	stall    atomic.Pointer[chan struct{}] // until it is closed, nothing is opened or saved
	opened   atomic.Int32
}

func (d *faultyDisk) Open() (persistence.Store, error) {
	if d.failOpen.Load() {
		return nil, errors.New("the disk is not there")
	}
	s, err := d.Opener.Open()
	if err == nil {
		d.opened.Add(1)
		s = &faultyStore{Store: s, disk: d}
	}
	return s, err
}

func (d *faultyDisk) wait() {
	if stall := d.stall.Load(); stall != nil {
		<-*stall
	}
}

type faultyStore struct {
	persistence.Store
	disk     *faultyDisk
	poisoned atomic.Bool
}

// Open has the node load all of the log that it wants again.
func (s *faultyStore) Open(name string) (persistence.Opened, error) {
	s.disk.wait()
	o, err := s.Store.Open(name)
	if n := len(o.Recovered.Tail); n > 1 {
		o.Recovered.Tail = o.Recovered.Tail[n-1:]
	}
	return o, err
}

func (s *faultyStore) Load(group persistence.GroupID, l raftcore.Load) ([]raftcore.Entry, error) {
	if s.disk.damaged.Load() {
		return nil, fmt.Errorf("group %d: %w", group, &persistence.CorruptError{File: "badger/000001.sst", Offset: 4711, Detail: "a block"})
	}
	return s.Store.Load(group, l)
}

func (s *faultyStore) Save(saves []persistence.Save) error {
	s.disk.wait()
	if s.disk.full.Load() {
		return persistence.ErrDiskFull
	}
	if s.disk.panics.Load() {
		panic("a disk that nobody has thought of")
	}
	names := slices.ContainsFunc(saves, func(s persistence.Save) bool { return s.Snapshot != nil })
	if names && s.disk.failName.CompareAndSwap(true, false) || s.disk.failSave.Load() || s.poisoned.Load() {
		s.poisoned.Store(true)
		return fmt.Errorf("%w: input/output error", persistence.ErrPoisoned)
	}
	return s.Store.Save(saves)
}

func TestP7_AMachineThatPanicsComesBackFromTheDisk(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		leader := w.leader()
		other := leader.open("other") // another group on the same host
		for _, h := range w.hosts {
			if h != leader {
				h.open("other")
			}
		}
		w.panicAt("boom")
		_, err := leader.group.Propose(w.ctx, []byte("boom"))
		if !errors.Is(err, actors.ErrUnknown) {
			t.Errorf("a command at which the machine panics ends with %v", err)
		}
		w.until("the member pauses", func() bool {
			s := leader.status()
			return s.State == actors.Pausing && s.Fault != nil
		})
		w.panicAt("") // at the second time it would be quarantined
		if _, err := other.Propose(w.ctx, []byte("x")); err != nil {
			t.Errorf("another group on the host: %v", err)
		}
		if got := leader.propose("b"); got != "3:b" {
			t.Errorf("after the restart the machine answers %q: it must have applied the log once, in order", got)
		}
		for _, h := range w.hosts {
			if got := h.read("len"); got != "3" {
				t.Errorf("host %d has applied %s commands, not 3", h.id, got)
			}
		}
	})
}

func TestAMemberThatFailsTooOftenIsFaulted(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		other := h.open("other")
		h.propose("before")
		w.until("the member is faulted", func() bool {
			ctx, cancel := context.WithTimeout(w.ctx, 10*time.Millisecond)
			defer cancel()
			_, _ = h.local(ctx, "panic")
			return h.status().State == actors.Faulted
		})
		if _, err := h.group.Propose(w.ctx, []byte("x")); !errors.Is(err, actors.ErrFaulted) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("a faulted member answers %v", err)
		}
		if _, err := other.Propose(w.ctx, []byte("x")); err != nil {
			t.Errorf("another group on the host: %v", err)
		}
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		h.group = h.open("group")
		if got := h.propose("after"); got != "2:after" {
			t.Errorf("after it was opened anew it answers %q", got)
		}
	})
}

func TestAQueryThatPanicsCostsNothingButARestart(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
		defer cancel()
		if _, err := h.local(ctx, "panic"); !errors.Is(err, actors.ErrRejected) {
			t.Errorf("a query that panics ends with %v", err)
		}
		if got := h.read(""); got != "a" {
			t.Errorf("afterwards a read sees %q", got)
		}
	})
}

// A write that fails poisons the store: nothing on it is acknowledged any more,
// until it has been opened again.
func TestD6_AfterAFailedSaveNothingIsAcknowledgedUntilTheStoreWasOpenedAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := faultyDisks(h)[h]
		h.propose("a")

		disk.failSave.Store(true)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if _, err := h.group.Propose(ctx, []byte("lost")); !errors.Is(err, actors.ErrUnknown) {
			t.Errorf("a proposal whose save failed ends with %v", err)
		}
		disk.failSave.Store(false)
		if got := h.propose("b"); got != "2:b" {
			t.Errorf("after the store came back: %q", got)
		}
		if n := disk.opened.Load(); n < 2 {
			t.Errorf("the store was opened %d times: it was not opened again", n)
		}
	})
}

// faultyDisks gives hosts that are up disks that can be told to fail.
func faultyDisks(hosts ...*hostUp) (disks map[*hostUp]*faultyDisk) {
	disks = map[*hostUp]*faultyDisk{}
	for _, h := range hosts {
		h.stop()
		disks[h] = &faultyDisk{Opener: h.disk}
		h.disk = disks[h]
		h.start()
	}
	return disks
}

// proposing proposes and does not wait for the answer.
func (h *hostUp) proposing(command string) (answered chan error) {
	answered = make(chan error, 1)
	go func() {
		_, err := h.group.Propose(h.world.ctx, []byte(command))
		answered <- err
	}()
	return answered
}

// A full disk is no failure: reads go on, what is proposed is refused with the
// reason, and when there is room everything goes on from where it was.
func TestD13_AFullDiskIsWaitedOut(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := faultyDisks(h)[h]
		h.propose("a")
		disk.full.Store(true)
		pending := h.proposing("b")
		w.until("it says so", func() bool { return errors.Is(h.status().Fault, persistence.ErrDiskFull) })
		if s := h.status(); s.State != actors.Running {
			t.Errorf("the member is %v", s)
		}
		for range 100 {
			if _, err := h.group.Propose(w.ctx, []byte("refused")); !errors.Is(err, actors.ErrDiskFull) || !errors.Is(err, actors.ErrRejected) {
				t.Fatalf("a proposal ends with %v", err)
			}
			if got := h.read(""); got != "a" {
				t.Fatalf("a read sees %q", got)
			}
			time.Sleep(100 * time.Millisecond) // fake
		}
		disk.full.Store(false)
		if err := <-pending; err != nil {
			t.Errorf("what waited ended with %v", err)
		}
		w.until("it says that it is over", func() bool { return h.status().Fault == nil })
		if got := h.propose("c"); got != "3:c" {
			t.Errorf("afterwards: %q", got)
		}
		if n := disk.opened.Load(); n != 1 {
			t.Errorf("the store was opened %d times", n)
		}
	})
}

// A group that is stopped while its disk is full leaves the others' saves in order.
func TestD13_AGroupCanBeStoppedWhileTheDiskIsFull(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := faultyDisks(h)[h]
		h.propose("a")
		other := h.open("other")
		if _, err := other.Propose(w.ctx, []byte("x")); err != nil {
			t.Fatal(err)
		}
		disk.full.Store(true)
		answered := make(chan error, 1)
		go func() {
			_, err := other.Propose(w.ctx, []byte("y"))
			answered <- err
		}()
		w.until("it says so", func() bool { return errors.Is(h.status().Fault, persistence.ErrDiskFull) })
		if err := other.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrRejected) {
			t.Errorf("what the stopped group was asked ended with %v", err)
		}
		time.Sleep(time.Second) // fake
		disk.full.Store(false)
		w.until("it says that it is over", func() bool { return h.status().Fault == nil })
		h.propose("b")
		other = h.open("other")
		if _, err := other.Propose(w.ctx, []byte("z")); err != nil {
			t.Error(err)
		}
		if n := disk.opened.Load(); n != 1 {
			t.Errorf("the store was opened %d times", n)
		}
	})
}

func TestD12D13_ALeaderWhoseDiskIsFullHandsOver(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		disks := faultyDisks(w.hosts...)
		w.hosts[0].propose("a")
		h := w.leader()
		disks[h].full.Store(true)
		pending := h.proposing("b")
		next := w.leader(h)
		if got := next.propose("c"); got != "3:c" && got != "2:c" {
			t.Errorf("the next leader answers %q", got)
		}
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
		defer cancel()
		if _, err := h.group.Propose(ctx, []byte("d")); err != nil {
			t.Errorf("a proposal by way of the host whose disk is full: %v", err)
		}
		disks[h].full.Store(false)
		if err := <-pending; err != nil { // it was committed with the help of the others
			t.Errorf("what waited ended with %v", err)
		}
		w.until("it has caught up", func() bool { return h.status().Applied == next.status().Applied && h.status().Fault == nil })
		if n := disks[h].opened.Load(); n != 1 {
			t.Errorf("the store was opened %d times", n)
		}
	})
}

// A store that panics takes the log with it. It is opened again, too.
func TestD14_ALogThatPanicsLeavesNobodyWaiting(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := faultyDisks(h)[h]
		h.propose("a")

		disk.panics.Store(true)
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		defer cancel()
		if _, err := h.group.Propose(ctx, []byte("lost")); !errors.Is(err, actors.ErrUnknown) || ctx.Err() != nil {
			t.Errorf("a proposal at which the store panics ends with %v", err)
		}
		disk.panics.Store(false)
		if got := h.propose("b"); got != "2:b" {
			t.Errorf("after the store came back: %q", got)
		}
	})
}

// TestD15_WhoCannotReadItsLogLeadsNobody: the log of a leader turns out to be damaged when
// its machine starts again. It could not apply anything any more; the others do without
// it, until the disk is whole.
func TestD15_WhoCannotReadItsLogLeadsNobody(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.leader()
		disk := faultyDisks(h)[h]
		for i := range 5 {
			h.propose(fmt.Sprint(i))
		}
		disk.damaged.Store(true)
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		h.group = h.open("group")
		w.until("the member is faulted", func() bool { return h.status().State == actors.Faulted })
		var corrupt *persistence.CorruptError
		if _, err := h.group.Propose(w.ctx, nil); !errors.Is(err, actors.ErrFaulted) || !errors.As(err, &corrupt) || corrupt.Offset != 4711 {
			t.Errorf("its group answers %v", err)
		}
		other := w.leader(h)
		if got := other.propose("without it"); got != "6:without it" {
			t.Errorf("the others answer %q", got)
		}
		disk.damaged.Store(false)
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		h.group = h.open("group")
		if got := h.read("len"); got != "6" {
			t.Errorf("with a whole disk again, %s commands are applied", got)
		}
	})
}

func TestAStoreThatStaysBrokenFaultsItsMembersAndNobodyElse(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].propose("a")
		h := w.leader()
		disk := faultyDisks(h)[h]
		w.until("it follows", func() bool { return h.status().Leader != raftcore.Nobody })
		disk.failSave.Store(true)
		disk.failOpen.Store(true)
		for _, other := range w.hosts {
			if other != h {
				other.propose("b") // makes h save
			}
		}
		w.until("the member is faulted", func() bool { return h.status().State == actors.Faulted })
		if _, err := h.group.Propose(w.ctx, nil); !errors.Is(err, actors.ErrFaulted) {
			t.Errorf("its group answers %v", err)
		}
		if _, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "another", Machine: func() actors.StateMachine { return &register{world: w} }}); !errors.Is(err, actors.ErrFaulted) {
			t.Errorf("opening another group on it: %v", err)
		}
		for _, other := range w.hosts {
			if other != h {
				if got := other.read("len"); got != "3" {
					t.Errorf("host %d has %s commands", other.id, got)
				}
			}
		}
	})
}

func TestAHostWhoseStoreDoesNotOpenDoesNotStart(t *testing.T) {
	disk := &faultyDisk{Opener: persistence.Memory()}
	disk.failOpen.Store(true)
	_, err := actors.Start(newSystem(), actors.HostConfig{ID: 1, Store: disk})
	if err == nil || err.Error() != "castaway: the disk is not there" {
		t.Errorf("the error is %v", err)
	}
}

// P7: completions that are addressed to a node that was stopped since do not
// reach its successor, and its late saves do not reach the disk.
func TestP7_LateSavesOfAStoppedNodeAreRefused(t *testing.T) {
	store, err := persistence.Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	first, err := store.Open("g")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open("g"); !errors.Is(err, persistence.ErrGroupOpen) {
		t.Errorf("opening a group twice: %v", err)
	}
	if err := store.CloseGroup(first.Group); err != nil {
		t.Fatal(err)
	}
	second, err := store.Open("g")
	if err != nil {
		t.Fatal(err)
	}
	late := persistence.Save{Group: second.Group}
	late.Token.Boot, late.Token.Sequence = first.Boot, 9
	late.HardState = raftcore.HardState{Term: 9, Vote: 9}
	if err := store.Save([]persistence.Save{late}); !errors.Is(err, persistence.ErrGroupClosed) {
		t.Errorf("a late save: %v", err)
	}
}

// Actors ask with messages, and are answered with messages.
func TestActorsAskWithMessages(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		answers := make(chan *actors.Response, 2)
		asker := h.host.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Request(h.group.PID(), &actors.Request{Operation: actors.Propose, Data: []byte("b")})
			case *actors.Response:
				answers <- m
				if m.Request.Operation == actors.Propose {
					ctx.Request(h.group.PID(), &actors.Request{Operation: actors.Read})
				}
			}
		}))
		if r := <-answers; r.Err != nil || string(r.Data) != "2:b" {
			t.Errorf("the proposal is answered with %q, %v", r.Data, r.Err)
		}
		if r := <-answers; r.Err != nil || string(r.Data) != "b" {
			t.Errorf("the read is answered with %q, %v", r.Data, r.Err)
		}
		h.host.System().Root.Stop(asker)
	})
}

// TestA2_AMachineThatPanicsTwiceAtAnEntryIsQuarantined: on every member, as it would
// again and again. The log and the votes live, reads of what was before are answered,
// proposals are refused, and who has proposed it knows no more than there is to know.
func TestA2_AMachineThatPanicsTwiceAtAnEntryIsQuarantined(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		l.propose("before")
		w.panicAt("boom")
		w.net.Isolate(l.addr) // until both are in its log, one after the other
		last := l.status().Last
		boom := l.proposing("boom")
		w.until("it is in the log", func() bool { return l.status().Last > last })
		later := l.proposing("later")
		w.until("both are", func() bool { return l.status().Last > last+1 })
		w.net.Heal()
		for _, outcome := range []chan error{boom, later} {
			if err := <-outcome; !errors.Is(err, actors.ErrUnknown) {
				t.Errorf("a command at which the machine panics, or one behind it, ends with %v", err)
			}
		}
		for _, h := range w.hosts {
			w.until("it is quarantined", func() bool {
				s := h.status()
				return s.State == actors.Running && errors.Is(s.Fault, actors.ErrQuarantined)
			})
		}
		terms := func() (terms []raftcore.Term) {
			for _, h := range w.hosts {
				terms = append(terms, h.status().Term)
			}
			return terms
		}
		time.Sleep(5 * time.Second) // fake: each that leads hands over once
		before := terms()
		time.Sleep(10 * time.Minute)
		if now := terms(); !slices.Equal(now, before) {
			t.Errorf("the terms went from %v to %v", before, now)
		}
		l = w.leader()
		for _, h := range w.hosts {
			if _, err := h.group.Propose(w.ctx, []byte("x")); !errors.Is(err, actors.ErrQuarantined) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("on host %d a proposal ends with %v", h.id, err)
			}
			if _, err := h.group.OpenSession(w.ctx, 0); !errors.Is(err, actors.ErrQuarantined) {
				t.Errorf("on host %d OpenSession ends with %v", h.id, err)
			}
			if _, err := h.group.Read(w.ctx, []byte("len")); !errors.Is(err, actors.ErrQuarantined) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("on host %d a read ends with %v", h.id, err)
			}
			if got, err := h.local(w.ctx, "last"); string(got) != "before" {
				t.Errorf("on host %d a local read is answered with %q, %v", h.id, got, err)
			}
			if h.status().State != actors.Running {
				t.Errorf("host %d is %v", h.id, h.status().State)
			}
		}
		// The votes are alive: the leader may change, and members, too.
		if err := l.group.Transfer(w.ctx, raftcore.Nobody); err != nil {
			t.Errorf("the leadership cannot be handed over: %v", err)
		}
		// The operator mends the machine, and opens the group anew: one host after the other.
		w.panicAt("")
		for _, h := range w.hosts {
			if err := h.group.Stop(w.ctx); err != nil {
				t.Fatal(err)
			}
			h.group = h.open("group")
			w.leader()
		}
		if got := w.hosts[0].propose("after"); got != "4:after" {
			t.Errorf("after it was mended it answers %q", got)
		}
	})
}

// A machine that fails alone is left alone: the others lead and answer, and it is sent
// their snapshot.
func TestA2_AMachineThatFailsAloneIsLeftAlone(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.compacting(10)
		l := w.leader()
		l.propose("before")
		w.mu.Lock()
		w.panicking, w.panicOn = "boom", l.id
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		if _, err := l.group.Propose(ctx, []byte("boom")); err != nil && !errors.Is(err, actors.ErrUnknown) {
			t.Errorf("it ends with %v", err)
		}
		f := w.leader(l)
		for i := range 4 { // no snapshot yet, which would mend it
			f.propose(fmt.Sprint(i))
		}
		w.until("it is quarantined, and does not lead", func() bool {
			s := l.status()
			return errors.Is(s.Fault, actors.ErrQuarantined) && s.Role != raftcore.Leader
		})
		if got := l.propose("by way of it"); got != "7:by way of it" {
			t.Errorf("a proposal by way of its host is answered with %q", got)
		}
		for i := range 40 {
			f.propose(fmt.Sprint(i))
		}
		l.stop() // its log ends before what the others still have
		for i := range 40 {
			f.propose(fmt.Sprint(i))
		}
		l.start()
		w.until("it has what the others have", func() bool {
			got, _ := l.local(w.ctx, "len")
			return string(got) == "87" && l.status().Fault == nil
		})
	})
}
