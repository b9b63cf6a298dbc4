package journal_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

// Scenarios of TRAPS.md for which mutations of the code found no test, or only a
// random one.

// spliced writes two journals that differ in their first record alone, down to the
// lives of their segments, and returns the disk of the first and a file of both.
func spliced(t *testing.T, segments int) (disk *journaltest.Disk, file string, ours, theirs []byte) {
	history := func(first string) *journaltest.Disk {
		journal.FixLives(t)
		disk := journaltest.New(1)
		j, _ := mustOpen(t, "d", small(disk))
		mustWrite(t, j, first)
		mustWrite(t, j, "two")
		fill(t, j, segments-1)
		mustWrite(t, j, "the last")
		_, active := j.Segments()
		file = j.File(active)
		disk.Crash(false)
		return disk
	}
	disk = history("one")
	other := history("eno")
	return disk, file, disk.Contents(file), other.Contents(file)
}

// wantCorrupt checks that a journal does not open, and which file is named.
func wantCorrupt(t *testing.T, disk *journaltest.Disk, file string) {
	t.Helper()
	_, got, err := open("d", small(disk))
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != file {
		t.Errorf("it was opened with %.200q, %v", got, err)
	}
}

// A block comes back as it was in another history of the same disk, say after half
// of a backup was restored. It is whole, and has the right number; it does not
// follow from what is before it.
func TestD15_ABatchThatFollowsFromSomethingElseIsReported(t *testing.T) {
	disk, file, ours, theirs := spliced(t, 1)
	copy(ours[2*journal.Block:3*journal.Block], theirs[2*journal.Block:3*journal.Block])
	disk.Put(file, ours)
	wantCorrupt(t, disk, file)
}

func TestD15_ASegmentThatFollowsFromSomethingElseIsReported(t *testing.T) {
	disk, file, _, theirs := spliced(t, 2)
	disk.Put(file, theirs)
	wantCorrupt(t, disk, file)
}

// The last batch, of which nobody knows that it was durable, is cut off whatever in
// its header is damaged: nothing in that is believed, not even what would be called
// corruption.
func TestD15_ADamagedHeaderOfTheLastBatchIsATornTail(t *testing.T) {
	for at := range journal.BatchHeaderBytes {
		for _, bits := range []byte{1, 0x80} {
			disk := journaltest.New(1)
			j, _ := mustOpen(t, "d", small(disk))
			mustWrite(t, j, "kept")
			mustWrite(t, j, "torn")
			disk.Crash(false)
			unmark(disk)
			disk.Flip(j.File(1), 2*journal.Block+at, bits)
			_, got, err := open("d", small(disk))
			if err != nil {
				t.Fatalf("byte %d of the header is damaged: %v", at, err)
			}
			wantRecords(t, got, "kept")
		}
	}
}

// The write, the sync, the rename or the sync of the directory fails with which the
// next segment begins. Tried again, they would be told that all is well.
func TestD6_AFailureWhileASegmentBeginsPoisonsTheJournal(t *testing.T) {
	large := strings.Repeat("z", 100<<10) // needs a segment of its own
	failures := 0
	for at := 1; ; at++ {
		disk := journaltest.New(uint64(at))
		j, _ := mustOpen(t, "d", small(disk))
		mustWrite(t, j, "kept")
		disk.FailAt(at)
		_, err := write(j, large)
		if err == nil {
			break
		}
		failures++
		for range 2 { // the disk is well again
			if _, later := write(j, "lost"); !errors.Is(err, persistence.ErrPoisoned) || !errors.Is(err, syscall.EIO) || !errors.Is(later, persistence.ErrPoisoned) {
				t.Fatalf("change %d failed: Append ended with %v, and the next one with %v", at, err, later)
			}
		}
		disk.Crash(true)
		_, got := mustOpen(t, "d", small(disk))
		if got[0] != "kept" || len(got) > 2 || len(got) == 2 && got[1] != large {
			t.Fatalf("change %d failed, and %d records are replayed", at, len(got))
		}
	}
	if failures < 7 {
		t.Errorf("only %d changes could fail", failures)
	}
}

// What a process has left to be used again may have the name of a segment after a
// loss of power: it was the process that died before, and what it did to the names
// is not durable.
func TestD2_WhatAnEarlierProcessLeftIsNotWrittenOver(t *testing.T) {
	interrupted := 0
	for seed := range uint64(20) {
		for retiring := 1; retiring <= 3; retiring++ {
			for opening := 1; opening <= 8; opening++ {
				disk := journaltest.New(seed)
				j, _ := mustOpen(t, "d", small(disk))
				fill(t, j, 2)
				disk.CrashAt(retiring)
				j.Retire(1)
				disk.Crash(false) // the process alone
				disk.CrashAt(opening)
				if _, _, err := open("d", small(disk)); err != nil {
					interrupted++
				}
				disk.Crash(true) // the power
				if _, _, err := open("d", small(disk)); err != nil {
					t.Fatalf("seed %d, crashed at change %d of Retire and %d of Open: %v", seed, retiring, opening, err)
				}
			}
		}
	}
	if interrupted == 0 {
		t.Error("no Open was interrupted")
	}
}

// creations counts the files that are made.
type creations struct {
	journal.FS
	n atomic.Int32
}

func (c *creations) Create(name string, size int64) (journal.File, error) {
	c.n.Add(1)
	return c.FS.Create(name, size)
}

func TestP4_FilesOfRetiredSegmentsAreUsedAgain(t *testing.T) {
	fs := &creations{FS: journaltest.New(1)}
	j, _ := mustOpen(t, "d", small(fs))
	for range 12 {
		fill(t, j, 1)
		oldest, _ := j.Segments()
		if err := j.Retire(oldest); err != nil {
			t.Fatal(err)
		}
	}
	if n := fs.n.Load(); n > 3 {
		t.Errorf("12 segments were filled and retired one by one, and %d files were made", n)
	}
}

func TestP4_FewFilesOfRetiredSegmentsAreKept(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	fill(t, j, 10)
	for oldest, active := j.Segments(); oldest < active; oldest++ {
		if err := j.Retire(oldest); err != nil {
			t.Fatal(err)
		}
	}
	if files := disk.Files(); len(files) > 4 { // the active one, two to be used again, and the watermark
		t.Errorf("all but one segment were retired, and there are %q", files)
	}
}

// A file that is larger than a segment is not used again; it must not stay, either.
func TestP4_FilesThatCannotBeUsedAgainAreRemoved(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	mustWrite(t, j, "first")
	for range 5 {
		mustWrite(t, j, strings.Repeat("z", 100<<10))
	}
	for oldest, active := j.Segments(); oldest < active; oldest++ {
		if err := j.Retire(oldest); err != nil {
			t.Fatal(err)
		}
	}
	if files := disk.Files(); len(files) > 3 { // the active one, the first, to be used again, and the watermark
		t.Errorf("all but one segment were retired, and there are %q", files)
	}
}

func TestP4_WhatIsCutOffGivesItsSpaceBack(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	mustWrite(t, j, "one")
	mustWrite(t, j, "two")
	name := j.File(1)
	j.Close()
	mustOpen(t, "d", small(disk))
	if n := len(disk.Contents(name)); n > 2*journal.Block { // its header, and the first batch
		t.Errorf("the segment that ended early has %d bytes", n)
	}
}

// A repair is interrupted by a loss of power at any operation: what it cuts off is
// there, as it was, under one name or another.
func TestD15_ARepairLosesNothingOfWhatItCutsOff(t *testing.T) {
	for at, over := 1, false; !over; at++ {
		for seed := range uint64(12) {
			disk := journaltest.New(seed)
			j, _ := mustOpen(t, "d", small(disk))
			fill(t, j, 3)
			j.Close()
			disk.Flip(j.File(2), 5*journal.Block+100, 1)
			before := map[string][]byte{}
			for n := uint32(2); n <= 4; n++ {
				before[j.File(n)] = disk.Contents(j.File(n))
			}
			disk.CrashAt(at)
			cut, err := journal.Salvage("d", small(disk))
			if over = err == nil; over && len(cut.Aside) != len(before) {
				t.Fatalf("it was repaired like this: %+v", cut)
			}
			disk.Crash(true)
			for name, contents := range before {
				if !found(disk, name, contents) {
					t.Fatalf("seed %d, the power fails at change %d: %s as it was is nowhere", seed, at, filepath.Base(name))
				}
			}
			if _, err := journal.Salvage("d", small(disk)); err != nil {
				t.Fatal(err)
			}
			if _, got := mustOpen(t, "d", small(disk)); len(got) < 10 {
				t.Fatalf("%d records are left", len(got))
			}
		}
	}
}

// found reports whether a file, or one that was set aside for it, has these
// contents.
func found(disk *journaltest.Disk, name string, contents []byte) bool {
	for _, f := range disk.Files() {
		if strings.HasPrefix(f, name) && bytes.Equal(disk.Contents(f), contents) {
			return true
		}
	}
	return false
}

func TestP8_AJournalThatIsOpenIsNotRepaired(t *testing.T) {
	disk := journaltest.New(1)
	mustOpen(t, "d", small(disk))
	if _, err := journal.Salvage("d", small(disk)); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("it ended with %v", err)
	}
}
