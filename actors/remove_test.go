package actors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// removed returns the tombstone that an error speaks of.
func removed(t *testing.T, err error) persistence.Tombstone {
	t.Helper()
	var removed *persistence.RemovedError
	if !errors.As(err, &removed) || !errors.Is(err, actors.ErrRemoved) || !errors.Is(err, actors.ErrRejected) {
		t.Fatalf("it ended with %v", err)
	}
	return removed.Tombstone
}

// reopen tries to open the group on a host.
func (h *hostUp) reopen(replaces raftcore.Incarnation, join bool) (*actors.Group, error) {
	return h.host.Open(h.world.ctx, actors.GroupConfig{Name: "group", Join: join, Replaces: replaces, Machine: h.machine})
}

// A host leaves the group, and its member is removed, with all that it had. It comes back
// when that is asked for, as a newcomer.
func TestO5_ARemovedMemberStaysSoUntilItIsAskedBack(t *testing.T) {
	inWorld(t, 4, func(w *world) {
		w.compacting(10)
		for i := range 40 {
			w.hosts[i%4].propose(fmt.Sprint(i))
		}
		w.settled()
		gone := w.hosts[3]
		w.until("it has a snapshot", func() bool { return len(gone.snapshotFiles()) > 0 })
		if err := gone.host.Remove(w.ctx, "group"); !errors.Is(err, actors.ErrStillVoter) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("a voter is removed with %v", err)
		}
		gone.propose("it goes on")
		before := gone.status()
		w.hosts[0].change(voters(1, 2, 3))
		w.until("it is told", func() bool { return gone.status().Removed() })
		if err := gone.host.Remove(w.ctx, "group"); err != nil {
			t.Fatal(err)
		}
		if files := gone.snapshotFiles(); len(files) > 0 {
			t.Errorf("it has left %v", files)
		}
		for range 2 {
			_, err := gone.reopen(0, false)
			stone := removed(t, err)
			if stone.Incarnation != before.Incarnation || stone.HardState.Term < before.Term || !stone.HardState.Joined || stone.Group != "group" {
				t.Errorf("the tombstone is %+v", stone)
			}
			for _, join := range []bool{false, true} {
				for _, replaces := range []raftcore.Incarnation{0, 77} {
					if replaces != 0 && !join {
						continue
					}
					_, err := gone.reopen(replaces, join)
					removed(t, err)
				}
			}
			if _, props, err := gone.host.Props(actors.GroupConfig{Name: "group", Machine: gone.machine}); err != nil {
				t.Error(err)
			} else if _, err := gone.host.System().Root.SpawnNamed(props, "again"); !errors.Is(err, actors.ErrRemoved) {
				t.Errorf("its Props are spawned with %v", err)
			}
			if err := gone.host.Remove(w.ctx, "group"); err != nil {
				t.Errorf("again: %v", err)
			}
			gone.stop()
			gone.startHost(gone.config())
		}
		if _, err := gone.reopen(before.Incarnation, false); err == nil || errors.Is(err, actors.ErrRemoved) {
			t.Errorf("without Join it is opened with %v", err)
		}

		stones := gone.host.Tombstones()
		if len(stones) != 1 {
			t.Fatalf("there are %v", stones)
		}
		g, err := gone.reopen(stones[0].Incarnation, true)
		if err != nil {
			t.Fatal(err)
		}
		gone.group, gone.join = g, true
		if s := gone.status(); s.Joined || s.Last != 0 || s.Incarnation == before.Incarnation || s.Term > 0 {
			t.Errorf("it comes back as %v, joined %v", s, s.Joined)
		}
		if len(gone.host.Tombstones()) > 0 {
			t.Error("the tombstone is still there")
		}
		w.hosts[1].change(voters(1, 2, 3, 4))
		gone.propose("it is back")
		gone.stop()
		gone.start() // that Replaces is not needed any more
		gone.read("len")
		if got := gone.read("len"); got != "42" {
			t.Errorf("it has %s of 42 commands", got)
		}
	})
}

// Who has yet to hear that it votes no more may be needed, and is not removed.
func TestM13_AMemberThatMayStillVoteIsNotRemoved(t *testing.T) {
	inWorld(t, 4, func(w *world) {
		w.settled()
		l := w.leader()
		var others []raftcore.NodeID
		for _, h := range w.hosts {
			if h != l {
				others = append(others, h.id)
			}
		}
		w.net.SetFaults(0, 5*time.Millisecond)
		changed := make(chan error, 1)
		go func() { changed <- l.group.ChangeMembers(w.ctx, voters(others...)) }()
		for s := l.status(); s.Conf.Votes(l.id); s = l.status() {
			time.Sleep(time.Millisecond) // fake
		}
		w.net.Isolate(l.addr)
		if s := l.status(); s.ConfIndex <= s.Commit {
			t.Fatalf("the change is committed: %v", s)
		}
		if err := l.host.Remove(w.ctx, "group"); !errors.Is(err, actors.ErrStillVoter) {
			t.Errorf("it is removed with %v", err)
		}
		w.leader(l).propose("without it")
		w.net.Heal()
		if err := <-changed; err != nil {
			t.Errorf("the next leader has told it, and the change ends with %v", err)
		}
		if err := l.host.Remove(w.ctx, "group"); err != nil {
			t.Error(err)
		}
	})
}

// One that votes is removed all the same. The others go on, know of it, and a fresh member
// of the name does not vote: two of four are no majority.
func TestM13_AVoterThatWasRemovedByForceDoesNotVoteAgain(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		w.hosts[0].propose("a")
		leader := w.leader()
		gone := w.hosts[leader.id%3]
		other := w.hosts[gone.id%3]
		if err := gone.host.ForceRemove(w.ctx, "group"); err != nil {
			t.Fatal(err)
		}
		w.until("the leader knows", func() bool { return slices.Equal(leader.status().Tombstones, []raftcore.NodeID{gone.id}) })
		leader.propose("b")
		stone := gone.host.Tombstones()[0]
		other.stop()
		g, err := gone.reopen(stone.Incarnation, true)
		if err != nil {
			t.Fatal(err)
		}
		gone.group = g
		ctx, cancel := context.WithTimeout(w.ctx, 100*election)
		defer cancel()
		if _, err := leader.group.Propose(ctx, []byte("c")); err == nil {
			t.Error("a command was acknowledged by one of three who has all of the log")
		}
		if s := gone.status(); s.Joined {
			t.Errorf("it counts: %v", s)
		}
		other.start()
		w.until("it is admitted", func() bool { return gone.status().Joined })
		w.until("it is not taken for removed", func() bool { return len(w.leader().status().Tombstones) == 0 })
		gone.propose("d")
	})
}

// Nobody waits for a host that says that it has removed the group.
func TestWhoAsksARemovedLeaderIsToldToLookElsewhere(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		leader := w.leader()
		if err := leader.host.ForceRemove(w.ctx, "group"); err != nil {
			t.Fatal(err)
		}
		rest := slices.DeleteFunc(slices.Clone(w.hosts), func(h *hostUp) bool { return h == leader })
		for _, h := range rest {
			h.propose("x")
		}
		w.until("they know", func() bool {
			return slices.ContainsFunc(rest, func(h *hostUp) bool { return len(h.status().Tombstones) == 1 })
		})
		rest[0].change(voters(rest[0].id, rest[1].id))
		w.until("it is no member any more", func() bool {
			return !slices.ContainsFunc(rest, func(h *hostUp) bool { return len(h.status().Tombstones) > 0 })
		})
	})
}

func TestWhatIsNotThereIsNotRemoved(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		err := h.host.Remove(w.ctx, "nobody")
		if !errors.Is(err, actors.ErrNoGroup) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("it ended with %v", err)
		}
		if _, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "nobody", Machine: h.machine}); err != nil {
			t.Errorf("and was founded with %v", err)
		}
	})
}

// A host that is down when it is taken out has a configuration on its disk in which it
// votes. One that has the newest is removed without being opened.
func TestAMemberThatIsNotOpenIsJudgedByItsDisk(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		gone := w.hosts[2]
		gone.stop()
		w.hosts[0].change(voters(1, 2))
		gone.startHost(gone.config())
		if err := gone.host.Remove(w.ctx, "group"); !errors.Is(err, actors.ErrStillVoter) {
			t.Errorf("it ended with %v", err)
		}
		gone.stop()
		gone.join = true
		gone.start()
		w.hosts[0].change(voters(1, 2, 3))
		w.hosts[0].change(voters(1, 2))
		w.until("it is told", func() bool { return gone.status().Removed() })
		gone.stop()
		gone.startHost(gone.config())
		if err := gone.host.Remove(w.ctx, "group"); err != nil {
			t.Error(err)
		}
	})
}

// removingStore is a Store that does something before it removes.
type removingStore struct {
	persistence.Store
	before func() error
}

func (s removingStore) Remove(r persistence.Removal) error {
	if err := s.before(); err != nil {
		return err
	}
	return s.Store.Remove(r)
}

type removingOpener struct {
	persistence.Opener
	before func() error
}

func (o removingOpener) Open() (persistence.Store, error) {
	s, err := o.Opener.Open()
	return removingStore{s, o.before}, err
}

// The disk stalls, is full, or fails.
func TestD12D13_ARemovalThatTheDiskDoesNotCarryOutSaysSo(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		h.stop()
		stalled := make(chan struct{})
		var answers sync.Map
		h.disk = removingOpener{h.disk, func() error {
			if _, stalls := answers.Load("stall"); stalls {
				<-stalled
			}
			if err, fails := answers.Load("fail"); fails {
				return err.(error)
			}
			return nil
		}}
		h.start()
		full := fmt.Errorf("no room: %w", persistence.ErrDiskFull)
		answers.Store("fail", full)
		if err := h.host.ForceRemove(w.ctx, "group"); !errors.Is(err, persistence.ErrDiskFull) || !errors.Is(err, actors.ErrRejected) || !errors.Is(err, actors.ErrStorageFault) {
			t.Errorf("with a full disk it ended with %v", err)
		}
		h.group = h.open("group")
		h.propose("b") // it is as it was
		answers.Delete("fail")

		answers.Store("stall", true)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := h.host.ForceRemove(ctx, "group"); !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a disk that stalls it ended with %v", err)
		}
		answers.Store("fail", fmt.Errorf("%w: EIO", persistence.ErrPoisoned))
		answers.Delete("stall")
		close(stalled)
		if err := h.host.ForceRemove(w.ctx, "group"); !errors.Is(err, persistence.ErrPoisoned) && !errors.Is(err, persistence.ErrClosed) || !errors.Is(err, actors.ErrStorageFault) {
			t.Errorf("with a disk that fails it ended with %v", err)
		}
		answers.Delete("fail")
		w.until("it is removed by who asks again", func() bool { return h.host.ForceRemove(w.ctx, "group") == nil })
		_, err := h.reopen(0, false)
		removed(t, err)
	})
}

// The process ends when the tombstone is there, and the snapshots are, too. Who starts the
// host again finishes it, or who asks again.
func TestD4_ARemovalThatWasInterruptedIsFinished(t *testing.T) {
	for _, asked := range []bool{false, true} {
		inWorld(t, 1, func(w *world) {
			w.compacting(5)
			h := w.hosts[0]
			for i := range 20 {
				h.propose(fmt.Sprint(i))
			}
			w.until("it has a snapshot", func() bool { return len(h.snapshotFiles()) > 0 })
			time.Sleep(time.Second) // fake: until it makes no other
			dir, _ := h.disk.(interface {
				Snapshots() (string, snapshots.Options)
			}).Snapshots()
			kept := filepath.Join(t.TempDir(), "kept")
			file := h.snapshotFiles()[0]
			if err := os.CopyFS(kept, os.DirFS(filepath.Dir(file))); err != nil {
				t.Fatal(err)
			}
			if err := h.host.ForceRemove(w.ctx, "group"); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Fatalf("it has left %v, %v", left, err)
			}
			if err := os.CopyFS(filepath.Dir(file), os.DirFS(kept)); err != nil { // as if it had not got that far
				t.Fatal(err)
			}
			if asked {
				if err := h.host.Remove(w.ctx, "group"); err != nil {
					t.Fatal(err)
				}
			} else {
				h.stop()
				h.startHost(h.config())
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("asked %v: there is %v, %v", asked, left, err)
			}
		})
	}
}

// While it is removed nobody opens it, nor removes it.
func TestARemovalIsAlone(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		h.stop()
		began, goOn := make(chan struct{}), make(chan struct{})
		h.disk = removingOpener{h.disk, func() error { close(began); <-goOn; return nil }}
		h.start()
		ends := make(chan error, 1)
		go func() { ends <- h.host.ForceRemove(w.ctx, "group") }()
		<-began
		if _, err := h.reopen(0, false); !errors.Is(err, actors.ErrChangeInProgress) {
			t.Errorf("it is opened with %v", err)
		}
		if err := h.host.ForceRemove(w.ctx, "group"); !errors.Is(err, actors.ErrChangeInProgress) {
			t.Errorf("it is removed a second time with %v", err)
		}
		close(goOn)
		if err := <-ends; err != nil {
			t.Error(err)
		}
	})
}

// Names that differ in case, or in what may not stand in the name of a folder, are others.
func TestOnlyTheNamedGroupIsRemoved(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		for _, name := range []string{"Group", "gr/oup", "gr_oup"} {
			h.open(name)
		}
		if err := h.host.ForceRemove(w.ctx, "gr/oup"); err != nil {
			t.Fatal(err)
		}
		if all := h.host.Tombstones(); len(all) != 1 || all[0].Group != "gr/oup" {
			t.Errorf("the tombstones are %v", all)
		}
		for _, name := range []string{"Group", "gr_oup"} {
			if err := h.host.Remove(w.ctx, name); !errors.Is(err, actors.ErrStillVoter) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
