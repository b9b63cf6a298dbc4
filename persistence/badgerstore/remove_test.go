package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

func mustRemove(t *testing.T, s persistence.Store, o persistence.Opened, name string) {
	t.Helper()
	if err := s.CloseGroup(o.Group); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(persistence.Removal{Group: name, Time: 1}); err != nil {
		t.Fatal(err)
	}
}

// handFullOver hands all segments over that are full.
func handFullOver(t *testing.T, s *store) {
	t.Helper()
	for s.sealed() > 0 {
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil {
			t.Fatal(err)
		}
	}
}

// keysOf returns how many keys of entries Badger has of a group.
func keysOf(t *testing.T, s *store, number uint64) (n int) {
	t.Helper()
	for _, prefix := range [][]byte{chunksOf(number), piecesOf(number)} {
		if err := s.table.scan(prefix, prefix, func([]byte, []byte) (bool, error) { n++; return true, nil }); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// In Badger it has entries by the time it is removed, of which one is in pieces. They are
// gone when its segment is handed over, or before, if that is asked for.
func TestWhatBadgerHasOfARemovedGroupIsForgotten(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		s := mustOpen(t, simulated(journaltest.New(1))).(*store)
		a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
		mustSave(t, s, saveOf(a, 1, command(1, 1, strings.Repeat("z", 300<<10)), command(1, 2, "x")))
		b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 2 })
		handFullOver(t, s)
		if keysOf(t, s, 1) < 4 {
			t.Fatal("the story needs pieces")
		}
		mustRemove(t, s, a, "a")
		if dropped {
			if err := s.drop(); err != nil {
				t.Fatal(err)
			}
		} else {
			saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
			handFullOver(t, s)
		}
		if n := keysOf(t, s, 1); n > 0 {
			t.Errorf("dropped %v: %d keys are left", dropped, n)
		}
		if keysOf(t, s, 2) == 0 {
			t.Errorf("dropped %v: another group has lost what it had", dropped)
		}
		if err := s.CloseGroup(b.Group); err != nil {
			t.Fatal(err)
		}
		b = mustOpenGroup(t, s, "b")
		wantLog(t, s, b, commands(1, 1, b.Recovered.Last))
	}
}

// It was removed and has come back before what it had was thrown out of Badger: what it
// has there now is its own.
func TestWhatARevivedGroupHasSinceStays(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 900)...))
	b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
	handFullOver(t, s)
	mustRemove(t, s, a, "a")
	if err := s.Revive("a", a.Recovered.Incarnation); err != nil {
		t.Fatal(err)
	}
	a = mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 7, commands(7, 1, 400)...))
	saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
	handFullOver(t, s)
	if err := s.drop(); err != nil {
		t.Fatal(err)
	}
	wantLog(t, s, a, commands(7, 1, 400))
	if s.groups[0].held != 400 {
		t.Error("the story needs entries in Badger")
	}
}

// What Badger has is from after the removal, and the journal that is replayed over it
// begins before: with a group of the same number that lives.
func TestAReplayKnowsWhoseANumberIs(t *testing.T) {
	for _, revived := range []bool{false, true} {
		disk := journaltest.New(1)
		s := mustOpen(t, simulated(disk)).(*store)
		a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
		b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
		mustSave(t, s, saveOf(a, 3, commands(3, 1, 50)...))
		mustRemove(t, s, a, "a")
		if revived {
			if err := s.Revive("a", a.Recovered.Incarnation); err != nil {
				t.Fatal(err)
			}
			mustSave(t, s, saveOf(mustOpenGroup(t, s, "a"), 9, commands(9, 1, 5)...))
		}
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil { // in which the group was founded
			t.Fatal(err)
		}
		if v := s.groups[0].version; v != 1 {
			t.Fatalf("the story needs a value in Badger: %d", v)
		}
		disk.Crash(true)
		s = mustOpen(t, simulated(disk)).(*store)
		if !revived {
			if _, err := s.Open("a"); !errors.As(err, new(*persistence.RemovedError)) {
				t.Errorf("it is opened with %v", err)
			}
			continue
		}
		o := mustOpenGroup(t, s, "a")
		wantLog(t, s, o, commands(9, 1, 5))
		if o.Recovered.Incarnation == a.Recovered.Incarnation {
			t.Error("it has the incarnation of before")
		}
	}
}

// The end of the journal is lost, and Badger: who was removed stays so.
func TestM18_ARemovedGroupStaysSoWhenTheStoreIsRepaired(t *testing.T) {
	for _, lost := range []string{"journal", "badger", "both"} {
		t.Run(lost, func(t *testing.T) {
			disk := journaltest.New(1)
			s := mustOpen(t, simulated(disk)).(*store)
			a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
			mustSave(t, s, saveOf(a, 3, commands(3, 1, 50)...))
			mustRemove(t, s, a, "a")
			b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
			handFullOver(t, s)
			last := saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
			_, active := s.journal.Segments()
			file := s.journal.File(active - 1)
			s.Close()
			if lost != "badger" {
				disk.Flip(file, 5000, 1)
			}
			if lost != "journal" {
				disk.Delete("d/badger/log")
				disk.Put("d/badger/log", encodeTransaction([]write{{key: groupKey(1), value: logTableOf(s).data[string(groupKey(1))]}}))
			}
			o := simulated(disk)
			o.Repair = true
			repaired := mustOpen(t, o)
			if _, err := repaired.Open("a"); !errors.As(err, new(*persistence.RemovedError)) {
				t.Errorf("it is opened with %v", err)
			}
			if o, err := repaired.Open("b"); err != nil || !o.Recovered.Damaged || o.Recovered.Last > last {
				t.Errorf("the other one is opened with %+v, %v", o.Recovered, err)
			}
			repaired.Close()
			repaired = mustOpen(t, simulated(disk))
			if all, err := repaired.Tombstones(); err != nil || len(all) != 1 || all[0].Incarnation != a.Recovered.Incarnation {
				t.Errorf("%+v, %v", all, err)
			}
		})
	}
}

// Badger knows of a removal, and the journal has lost the record of it, but not what came
// before.
func TestM18_ARemovalThatOnlyBadgerKnowsOfCounts(t *testing.T) {
	disk := journaltest.New(1)
	s := mustOpen(t, simulated(disk)).(*store)
	a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
	mustSave(t, s, saveOf(a, 3, commands(3, 1, 50)...))
	b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 0 })
	mustSave(t, s, saveOf(a, 3, commands(3, 51, 60)...))
	b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 1 })
	mustRemove(t, s, a, "a")
	oldest, _ := s.journal.Segments()
	if err := s.handOver(oldest); err != nil {
		t.Fatal(err)
	}
	saveUntil(t, s, b, func() bool { return s.sealed() > 1 })
	_, active := s.journal.Segments()
	file := s.journal.File(active - 1) // that has the removal
	s.Close()
	disk.Flip(file, 4200, 1)
	o := simulated(disk)
	o.Repair = true
	for range 2 {
		s = mustOpen(t, o).(*store)
		if _, err := s.Open("a"); !errors.As(err, new(*persistence.RemovedError)) {
			t.Errorf("it is opened with %v", err)
		}
		if g := s.groups[0]; g.log.Last > 0 || len(g.extents) > 0 {
			t.Errorf("it has a log up to %d", g.log.Last)
		}
		s.Close()
		o.Repair = false
	}
}

// A removal needs little room, and gives back much: it may take what is kept free.
func TestD13_AGroupIsRemovedFromAFullDisk(t *testing.T) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o).(*store)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 3)...))
	disk.Limit(o.keepFree())
	last := raftcore.Index(3)
	for _, size := range []int{9000, 1} { // to the last block of the segment
		for {
			err := s.Save([]persistence.Save{saveOf(a, 1, command(1, last+1, strings.Repeat("z", size)))})
			if errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			last++
		}
	}
	mustRemove(t, s, a, "a")
	disk.Crash(true)
	disk.Limit(-1)
	if _, err := mustOpen(t, simulated(disk)).Open("a"); !errors.As(err, new(*persistence.RemovedError)) {
		t.Errorf("it is opened with %v", err)
	}
}

func TestD6_AFailedRemovalPoisonsTheStore(t *testing.T) {
	disk := journaltest.New(1)
	s := mustOpen(t, simulated(disk))
	a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
	if err := s.CloseGroup(a.Group); err != nil {
		t.Fatal(err)
	}
	disk.FailAt(1)
	if err := s.Remove(persistence.Removal{Group: "a"}); !errors.Is(err, persistence.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("it ended with %v", err)
	}
	if err := s.Remove(persistence.Removal{Group: "a"}); !errors.Is(err, persistence.ErrPoisoned) {
		t.Errorf("and again with %v", err)
	}
	wantPoisoned(t, s, b, syscall.EIO)
}

// On a real disk, with Badger: 60 groups of 400 KiB, of which 50 are removed.
func TestP4_TheSpaceOfRemovedGroupsComesBack(t *testing.T) {
	o := quiet(filepath.Join(t.TempDir(), "store"))
	o.hooks.dropBytes = 1 << 20
	s := mustOpen(t, o).(*store)
	groups := map[string]persistence.Opened{}
	data := strings.Repeat("0123456789abcdef", 256)
	for i := range 60 {
		name := fmt.Sprint("group-", i)
		groups[name] = mustOpenGroup(t, s, name)
		for part := range raftcore.Index(10) {
			entries := commands(1, part*10+1, part*10+10)
			for k := range entries {
				entries[k].Data = []byte(data)
			}
			mustSave(t, s, saveOf(groups[name], 1, entries...))
		}
	}
	settled := func(s *store) { // a full segment is handed over in the background
		for s.usable() == nil && (s.sealed() > s.o.RetainSegments || !s.idle()) {
			s.wakeRetirer()
			runtime.Gosched()
		}
	}
	settled(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := bytesIn(t, o.Dir)
	s = mustOpen(t, o).(*store)
	for i := range 50 {
		if err := s.Remove(persistence.Removal{Group: fmt.Sprint("group-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	settled(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := bytesIn(t, o.Dir)
	t.Logf("%d KiB before, %d KiB after", before>>10, after>>10)
	if before < 60*400<<10 || after > before/60*15 {
		t.Errorf("60 groups take %d KiB, and when 50 of them have been removed %d KiB", before>>10, after>>10)
	}
	s = mustOpen(t, o).(*store)
	for i := range 60 {
		name := fmt.Sprint("group-", i)
		if i >= 50 {
			o := mustOpenGroup(t, s, name)
			got, err := s.Load(o.Group, raftcore.Load{From: 1, To: 100, MaxBytes: 1 << 20})
			if err != nil || len(got) != 100 || string(got[99].Data) != data {
				t.Errorf("group %d is read with %d entries, %v", i, len(got), err)
			}
			continue
		}
		if _, err := s.Open(name); !errors.As(err, new(*persistence.RemovedError)) {
			t.Errorf("group %d was removed, and is opened with %v", i, err)
		}
	}
}

// idle reports whether what was removed has been dealt with.
func (s *store) idle() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.doomed) == 0
}

// bytesIn returns what the files of a directory take on the disk.
func bytesIn(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// A tombstone is small, in Badger and in memory, however large the group was.
func TestTombstonesAreSmall(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	stays := mustOpenGroup(t, s, "stays")
	for i := range 50 {
		name := fmt.Sprint("group-", i)
		o := mustOpenGroup(t, s, name)
		mustSave(t, s, saveOf(o, 1, commands(1, 1, 200)...))
		mustRemove(t, s, o, name)
	}
	saveUntil(t, s, stays, func() bool { return s.sealed() > 0 })
	handFullOver(t, s)
	for _, g := range s.groups[1:] {
		key := groupKey(g.number)
		if value := logTableOf(s).data[string(key)]; len(value) == 0 || len(value) > 80 {
			t.Fatalf("the value of group %d has %d bytes", g.number, len(value))
		}
		if g.extents != nil || g.log.Runs != nil || g.log.Configs != nil {
			t.Fatalf("group %d has %+v in memory", g.number, g.log)
		}
	}
}
