package badgerstore

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// resting reports whether Badger is closed.
func (r *restingTable) resting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table == nil
}

// rests waits until Badger is closed, because nobody needs it.
func rests(t *testing.T, s persistence.Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !s.(*store).table.(*restingTable).resting(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not rest")
		}
	}
}

// drowsy is a store on a disk that others fill, whose Badger rests as soon as it can, with
// a group that has entries there.
func drowsy(t *testing.T) (Options, *crowdedFS, persistence.Store, persistence.Opened, []raftcore.Entry) {
	t.Helper()
	o, disk := crowded(quiet(t.TempDir()))
	o.hooks.restAfter = time.Millisecond
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	last := saveUntil(t, s, a, func() bool {
		oldest, _ := s.(*store).journal.Segments()
		return oldest > 3
	})
	return o, disk, s, a, commands(1, 1, last)
}

// TestBadgerRestsWhileNobodyNeedsIt: and is there for whoever does.
func TestBadgerRestsWhileNobodyNeedsIt(t *testing.T) {
	o, _, s, a, log := drowsy(t)
	for range 3 {
		rests(t, s)
		if entries, err := os.ReadDir(filepath.Join(o.Dir, badgerName)); err != nil || len(entries) == 0 {
			t.Fatalf("%d files, %v", len(entries), err)
		}
		wantLog(t, s, a, log)
		before, _ := s.(*store).journal.Segments()
		a.Recovered.Last = raftcore.Index(len(log))
		last := saveUntil(t, s, a, func() bool {
			oldest, _ := s.(*store).journal.Segments()
			return oldest > before+3
		})
		log = commands(1, 1, last)
	}
	rests(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	wantLog(t, s, mustOpenGroup(t, s, "a"), log)
}

func TestABadgerThatIsInUseDoesNotRest(t *testing.T) {
	_, _, s, _, _ := drowsy(t)
	r := s.(*store).table.(*restingTable)
	seen := 0
	if err := r.scan(chunksOf(1), chunksOf(1), func(_, _ []byte) (bool, error) {
		r.rest()
		if r.resting() {
			t.Fatal("it rests while it is read")
		}
		seen++
		return true, r.scan(rootKey, rootKey, func(_, _ []byte) (bool, error) { return false, nil })
	}); err != nil || seen == 0 {
		t.Fatalf("%d chunks, %v", seen, err)
	}
	rests(t, s)
}

// TestABadgerThatTakesLongToOpenRestsLater: else it would be opened more than it rests.
func TestABadgerThatTakesLongToOpenRestsLater(t *testing.T) {
	o, failing := withFailingTable(quiet(t.TempDir()))
	o.hooks.restAfter = time.Microsecond
	s := mustOpen(t, o)
	if failing.table == nil {
		t.Fatal("it was not opened")
	}
	if after := s.(*store).table.(*restingTable).after; after < 100*time.Microsecond {
		t.Errorf("it rests after %v", after)
	}
}

// TestD13_ABadgerThatRestsOnAFullDisk has neither reads nor handovers harm anything, and
// goes on when there is room.
func TestD13_ABadgerThatRestsOnAFullDisk(t *testing.T) {
	_, disk, s, a, log := drowsy(t)
	rests(t, s)
	disk.free.Store(badgerRoom - 1)
	if _, err := s.Load(a.Group, raftcore.Load{From: 1, To: 1, MaxBytes: 1}); !errors.Is(err, persistence.ErrDiskFull) || errors.Is(err, persistence.ErrPoisoned) {
		t.Errorf("what Badger has is read with %v", err)
	}
	if err := s.(*store).drop(); err != nil {
		t.Errorf("there is nothing to drop, and yet %v", err)
	}
	if err := s.(*store).table.drop([][]byte{chunksOf(99)}); !errors.Is(err, errNoRoomYet) {
		t.Errorf("the retirer gives up: %v", err)
	}
	disk.free.Store(math.MaxInt64)
	wantLog(t, s, a, log)
	disk.free.Store(badgerRoom - 1) // it cannot be closed now
	r := s.(*store).table.(*restingTable)
	r.use(func(table) error { return nil })
	r.rest()
	if r.resting() {
		t.Error("it was closed on a full disk")
	}
	wantLog(t, s, a, log)
	disk.free.Store(math.MaxInt64)
	rests(t, s) // it looks again by itself
}

// TestD9_ABadgerThatWasDamagedWhileItRestedPoisonsTheStore: and opening it with Repair
// knows of it.
func TestD9_ABadgerThatWasDamagedWhileItRestedPoisonsTheStore(t *testing.T) {
	o, _, s, a, _ := drowsy(t)
	rests(t, s)
	tables, err := filepath.Glob(filepath.Join(o.Dir, badgerName, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		if err := os.Truncate(name, 10); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Load(a.Group, raftcore.Load{From: 1, To: 1, MaxBytes: 1})
	if !errors.As(err, new(*persistence.CorruptError)) || !errors.Is(err, persistence.ErrPoisoned) {
		t.Errorf("what Badger has is read with %v", err)
	}
	wantPoisoned(t, s, a, persistence.ErrPoisoned)
	o.Repair = true
	s = mustOpen(t, o)
	if a := mustOpenGroup(t, s, "a"); !a.Recovered.Damaged {
		t.Error("the group is not said to be damaged")
	}
}

func TestABadgerThatCannotBeClosedPoisonsTheStore(t *testing.T) {
	o, f := withFailingTable(quiet(t.TempDir()))
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	broken := errors.New("it does not close")
	f.closing = broken
	s.(*store).table.(*restingTable).rest()
	wantPoisoned(t, s, a, broken)
}
