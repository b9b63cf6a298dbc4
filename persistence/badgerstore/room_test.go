package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// crowdedFS is the real file system, on a disk that others fill and empty.
type crowdedFS struct {
	journal.FS
	free atomic.Int64
}

func crowded(o Options) (Options, *crowdedFS) {
	f := &crowdedFS{FS: journal.OS}
	f.free.Store(math.MaxInt64)
	o.hooks.fs = f
	return o, f
}

func (f *crowdedFS) Free(string) (int64, error) { return f.free.Load(), nil }

// saveUntilFull saves entries until there is no room, and returns the Save that was
// refused.
func saveUntilFull(t *testing.T, s persistence.Store, o persistence.Opened, next raftcore.Index, entries func(term raftcore.Term, first, last raftcore.Index) []raftcore.Entry) persistence.Save {
	t.Helper()
	for range 100_000 {
		save := saveOf(o, 1, entries(1, next, next+9)...)
		err := s.Save([]persistence.Save{save})
		if errors.Is(err, persistence.ErrDiskFull) {
			if errors.Is(err, persistence.ErrPoisoned) {
				t.Fatalf("a full disk poisons the store: %v", err)
			}
			return save
		}
		if err != nil {
			t.Fatal(err)
		}
		next += 10
	}
	t.Fatal("the disk was never full")
	return persistence.Save{}
}

// saveWhenThereIsRoom makes a Save again and again, as its owner would, until the
// retirer has made room.
func saveWhenThereIsRoom(t *testing.T, s persistence.Store, save persistence.Save) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		err := s.Save([]persistence.Save{save})
		if err == nil {
			return
		}
		if !errors.Is(err, persistence.ErrDiskFull) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestD13_ASaveWithoutRoomHasNotHappened: everything can be read, nothing changes, new
// groups are refused; and when others leave room, it goes on.
func TestD13_ASaveWithoutRoomHasNotHappened(t *testing.T) {
	o, disk := crowded(quiet(t.TempDir()))
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 10)...))
	disk.free.Store(1 << 20)
	save := saveUntilFull(t, s, a, 11, commands)
	last := save.Entries[0].Index - 1
	wantLog(t, s, a, commands(1, 1, last))
	if _, err := s.Load(a.Group, raftcore.Load{From: last + 1, To: last + 1, MaxBytes: 1}); err == nil {
		t.Fatal("there is something of the Save that was refused")
	}
	// A small one may find room in the segment that there is; a new group needs none
	// that a Save does not.
	for n := 0; ; n++ {
		if _, err := s.Open(strings.Repeat("x", 4000) + string(rune('a'+n))); errors.Is(err, persistence.ErrDiskFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save([]persistence.Save{save}); !errors.Is(err, persistence.ErrDiskFull) {
		t.Fatalf("made again, the Save ended with %v", err)
	}
	disk.free.Store(math.MaxInt64)
	saveWhenThereIsRoom(t, s, save)
	wantLog(t, s, a, commands(1, 1, last+10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, quiet(o.Dir))
	wantLog(t, s, mustOpenGroup(t, s, "a"), commands(1, 1, last+10))
}

// TestD13_AFullDiskIsNotOpened: Badger would end the process where it finds no room.
func TestD13_AFullDiskIsNotOpened(t *testing.T) {
	o, disk := crowded(quiet(t.TempDir()))
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 10)...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(badgerRoom - 1)
	if _, err := o.Open(); !errors.Is(err, persistence.ErrDiskFull) {
		t.Fatalf("it was opened with %v", err)
	}
	disk.free.Store(badgerRoom)
	s = mustOpen(t, o)
	wantLog(t, s, mustOpenGroup(t, s, "a"), commands(1, 1, 10))
}

// TestD13_AStoreThatWasClosedOnAFullDiskOpensWhenThereIsRoom: Badger cannot be closed
// there, and is as soon as it can be.
func TestD13_AStoreThatWasClosedOnAFullDiskOpensWhenThereIsRoom(t *testing.T) {
	o, disk := crowded(quiet(t.TempDir()))
	o.hooks.roomPause = time.Millisecond
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 10)...))
	disk.free.Store(badgerRoom - 1)
	if err := s.Close(); !errors.Is(err, errStillOpen) || !errors.Is(err, persistence.ErrDiskFull) {
		t.Errorf("it was closed with %v", err)
	}
	// A host that opens its store again does not give up for want of room.
	if _, err := o.Open(); !errors.Is(err, persistence.ErrLocked) || !errors.Is(err, persistence.ErrDiskFull) {
		t.Errorf("it was opened with %v", err)
	}
	disk.free.Store(badgerRoom)
	again, err := o.Open()
	for deadline := time.Now().Add(time.Minute); errors.Is(err, persistence.ErrLocked) && time.Now().Before(deadline); again, err = o.Open() {
		runtime.Gosched()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	wantLog(t, again, mustOpenGroup(t, again, "a"), commands(1, 1, 10))
}

// TestD13_WhatIsCompactedMakesRoom: where the disk is full, segments are given up as
// soon as they can be, and used again.
func TestD13_WhatIsCompactedMakesRoom(t *testing.T) {
	o, disk := crowded(quiet(t.TempDir()))
	o.RetainSegments, o.MaxSegments = 6, 12
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	next := raftcore.Index(1)
	for s.(*store).sealed() < 3 {
		mustSave(t, s, saveOf(a, 1, commands(1, next, next+9)...))
		next += 10
	}
	disk.free.Store(badgerRoom + 10*o.SegmentBytes) // none of it for another segment
	for range 200 {
		save := saveOf(a, 1, commands(1, next, next+9)...)
		base := raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: next - 1}, Time: int64(next - 1)}
		save.Snapshot, save.Base = &base, &base
		saveWhenThereIsRoom(t, s, save)
		next += 10
	}
	// A Save has begun one since, and so has the retirer with what it noted last.
	if n := s.(*store).sealed(); n > o.RetainSegments+2 {
		t.Errorf("there are %d full segments", n)
	}
}

// TestD13_OnADiskThatIsReallyFull fills a small file system to the last byte.
func TestD13_OnADiskThatIsReallyFull(t *testing.T) {
	mount := smallDisk(t, "128m")
	o := quiet(filepath.Join(mount, "store"))
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 10)...))
	ballast := filepath.Join(mount, "ballast")
	fillDisk(t, ballast)
	save := saveUntilFull(t, s, a, 11, commands)
	last := save.Entries[0].Index - 1
	wantLog(t, s, a, commands(1, 1, last))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	saveWhenThereIsRoom(t, s, save)
	last += 10
	wantLog(t, s, a, commands(1, 1, last))

	// Now it fills the disk itself; what it keeps free is enough to open it again.
	bulky := func(term raftcore.Term, first, last raftcore.Index) (entries []raftcore.Entry) {
		for i := first; i <= last; i++ {
			entries = append(entries, command(term, i, strings.Repeat(fmt.Sprint(i), 4000)))
		}
		return entries
	}
	begun := last + 1
	save = saveUntilFull(t, s, a, begun, bulky)
	last = save.Entries[0].Index - 1
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		a = mustOpenGroup(t, s, "a")
		wantLog(t, s, a, append(commands(1, 1, begun-1), bulky(1, begun, last)...))
	}
}

// smallDisk mounts a file system of its own in memory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small tmpfs cannot be mounted here, which takes root on Linux: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// fillDisk writes a file until there is no room for another byte.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for buf := make([]byte, 1<<20); len(buf) > 0; {
		if _, err := f.Write(buf); err != nil {
			buf = buf[:len(buf)/2]
		}
	}
}
