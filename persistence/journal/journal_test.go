package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

// small are the options of most tests: segments of 64 KiB.
func small(fs journal.FS) journal.Options {
	return journal.Options{ID: 7, Create: true, SegmentBytes: 64 << 10, FS: fs}
}

// mustOpen opens a journal and returns what it replayed.
func mustOpen(t *testing.T, dir string, o journal.Options) (*journal.Journal, []string) {
	t.Helper()
	j, got, err := open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, got
}

func open(dir string, o journal.Options) (*journal.Journal, []string, error) {
	var got []string
	j, err := journal.Open(dir, o, func(_ journal.Position, record []byte) error {
		got = append(got, string(record))
		return nil
	})
	return j, got, err
}

// write appends records as one batch.
func write(j *journal.Journal, records ...string) ([]journal.Position, error) {
	var b journal.Batch
	for _, r := range records {
		b.Add(func(buf []byte) []byte { return append(buf, r...) })
	}
	return j.Append(&b)
}

func mustWrite(t *testing.T, j *journal.Journal, records ...string) []journal.Position {
	t.Helper()
	positions, err := write(j, records...)
	if err != nil {
		t.Fatal(err)
	}
	return positions
}

// fill appends batches until the active segment has changed n times.
func fill(t *testing.T, j *journal.Journal, n int) (records []string) {
	t.Helper()
	_, from := j.Segments()
	for i := 0; ; i++ {
		if _, active := j.Segments(); active >= from+uint32(n) {
			return records
		}
		r := fmt.Sprintf("%d %s", i, strings.Repeat("x", 3000))
		mustWrite(t, j, r)
		records = append(records, r)
	}
}

func wantRecords(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records were replayed, %d were appended", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("record %d is %.40q, appended was %.40q", i, got[i], want[i])
		}
	}
}

func TestWhatWasAppendedIsReplayedAndReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "some", "where")
	j, _ := mustOpen(t, dir, small(nil))
	large := strings.Repeat("y", 200<<10) // more than a segment
	want := []string{"one", "", "three", large, "five"}
	positions := append([]journal.Position(nil), mustWrite(t, j, want[:3]...)...)
	positions = append(positions, mustWrite(t, j, large)...)
	positions = append(positions, mustWrite(t, j, "five")...)
	got, err := j.Read(positions)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if string(got[i]) != want[i] {
			t.Errorf("record %d was read as %.40q", i, got[i])
		}
	}
	for range 3 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		var replayed []string
		j, replayed = mustOpen(t, dir, small(nil))
		wantRecords(t, replayed, want...)
	}
	if _, err := j.Append(&journal.Batch{}); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}

func TestOpeningManyTimesDoesNotFillTheDirectory(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		j, _ := mustOpen(t, dir, small(nil))
		j.Close()
	}
	j, _ := mustOpen(t, dir, small(nil))
	mustWrite(t, j, "a", "b")
	mustWrite(t, j, "c")
	j.Close()
	for range 10 {
		j, got := mustOpen(t, dir, small(nil))
		wantRecords(t, got, "a", "b", "c")
		j.Close()
	}
	names, err := journal.OS.List(dir)
	if err != nil || len(names) != 4 { // two segments, the watermark and the lock
		t.Errorf("there are %q, %v", names, err)
	}
}

func TestRetiredSegmentsAreUsedAgainAndTheirNumberIsBounded(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	first := mustWrite(t, j, "first")
	fill(t, j, 1)
	for range 20 {
		fill(t, j, 1)
		oldest, active := j.Segments()
		if err := j.Retire(active); err == nil {
			t.Error("the active segment was retired")
		}
		if err := j.Retire(oldest + 1); err == nil {
			t.Error("a segment that is not the oldest was retired")
		}
		if err := j.Retire(oldest); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(disk.Files()); n > 5 { // two segments, up to two spares; the lock is no file here
		t.Errorf("there are %q", disk.Files())
	}
	if j.Spares() == 0 {
		t.Error("no file is kept to be used again")
	}
	if _, err := j.Read(first); !errors.Is(err, journal.ErrRetired) {
		t.Errorf("reading from a retired segment ended with %v", err)
	}
}

func TestD6_FailedSyncPoisonsTheJournalForGood(t *testing.T) {
	for _, change := range []string{"write", "sync", "watermark"} {
		t.Run(change, func(t *testing.T) {
			disk := journaltest.New(1)
			j, _ := mustOpen(t, "d", small(disk))
			kept := append([]journal.Position(nil), mustWrite(t, j, "kept")...)
			disk.FailAt(map[string]int{"write": 1, "sync": 2, "watermark": 3}[change])
			for range 3 { // the disk is well again after the first
				_, err := write(j, "lost")
				if !errors.Is(err, persistence.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
					t.Fatalf("Append ended with %v", err)
				}
			}
			if got, err := j.Read(kept); err != nil || string(got[0]) != "kept" {
				t.Errorf("what was acknowledged was read as %q, %v", got, err)
			}
			if err := j.Retire(1); !errors.Is(err, persistence.ErrPoisoned) {
				t.Errorf("Retire ended with %v", err)
			}
		})
	}
}

// TestD6_WhatTheCacheShowsAfterAFailedSyncIsMadeDurableBeforeItCounts: after a
// failed sync the page cache holds the batch, the disk may not, and no sync
// will ever write it. A journal that is opened from the cache must not build
// upon it as it is.
func TestD6_WhatTheCacheShowsAfterAFailedSyncIsMadeDurableBeforeItCounts(t *testing.T) {
	shown := 0
	for seed := range uint64(200) {
		disk := journaltest.New(seed)
		j, _ := mustOpen(t, "d", small(disk))
		mustWrite(t, j, "kept")
		disk.FailAt(2)
		write(j, "doubtful", strings.Repeat("z", 5000))
		disk.Crash(false) // the process alone
		j, got := mustOpen(t, "d", small(disk))
		mustWrite(t, j, "later")
		disk.Crash(true) // the power
		_, after := mustOpen(t, "d", small(disk))
		wantRecords(t, after, append(got, "later")...)
		if len(got) == 3 {
			shown++
		}
	}
	if shown == 0 {
		t.Error("the cache never showed the batch: nothing was tested")
	}
}

func TestD15_AFlippedBitBeforeTheTailIsReported(t *testing.T) {
	t.Run("as it was left", func(t *testing.T) { flipBits(t, false) })
	t.Run("opened once more", func(t *testing.T) { flipBits(t, true) })
}

const watermark = "d/watermark"

// unmark makes the watermark what a loss of power may leave of it, so that nothing
// vouches for the last batch.
func unmark(disk *journaltest.Disk) { disk.Put(watermark, make([]byte, journal.Block)) }

// flipBits flips bits in a journal that was opened several times, so that some of
// its segments end early. Opened at last, it has its last batch in a segment whose
// header vouches for it; else it is for the watermark to do that.
func flipBits(t *testing.T, openedAtLast bool) {
	disk := journaltest.New(1)
	h := &history{rng: rand.New(rand.NewPCG(1, 1))}
	var batches [][]journal.Position // where they lie at last
	j, _ := mustOpen(t, "d", small(disk))
	reopen := func() {
		j.Close()
		var moved []journal.Position
		var err error
		j, err = journal.Open("d", small(disk), func(p journal.Position, _ []byte) error {
			moved = append(moved, p)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		last := &batches[len(batches)-1]
		*last = moved[len(moved)-len(*last):]
	}
	for i := range 70 {
		before := len(h.records)
		if err := h.append(j); err != nil {
			t.Fatal(err)
		}
		var b []journal.Position
		for _, r := range h.records[before:] {
			b = append(b, r.at)
		}
		batches = append(batches, b)
		if i == 20 || i == 40 || i == 60 {
			reopen()
		}
	}
	if openedAtLast {
		reopen()
	}
	j.Close()
	if openedAtLast {
		unmark(disk)
	}

	used := map[string][][2]int{} // by file: what is covered
	for _, name := range disk.Files() {
		if name != watermark {
			used[name] = append(used[name], [2]int{0, journal.Block})
		}
	}
	name := func(b []journal.Position) string {
		return filepath.Join("d", fmt.Sprintf("%010d.segment", b[0].Segment))
	}
	bounds := func(b []journal.Position) (from, to int) {
		end := b[len(b)-1]
		return int(b[0].Offset) - journal.BatchHeaderBytes, (int(end.Offset+end.Length) + 8 + journal.Block - 1) / journal.Block * journal.Block
	}
	for _, b := range batches {
		from, to := bounds(b)
		used[name(b)] = append(used[name(b)], [2]int{from, to})
	}
	flips := map[string]int{}
	for range 1000 / slowdown {
		name := disk.Files()[h.rng.IntN(len(disk.Files()))]
		at := h.rng.IntN(len(disk.Contents(name)))
		covered := false
		for _, r := range used[name] {
			covered = covered || at >= r[0] && at < r[1]
		}
		copied := journaltest.New(2)
		for _, f := range disk.Files() {
			copied.Put(f, disk.Contents(f))
		}
		copied.Flip(name, at, 1<<h.rng.IntN(8))
		j, _, err := open("d", small(copied))
		if j != nil {
			j.Close()
		}
		var corrupt *persistence.CorruptError
		switch {
		case covered && !errors.As(err, &corrupt):
			t.Fatalf("a flipped bit in %s at offset %d: %v", name, at, err)
		case covered && filepath.Dir(corrupt.File) != "d":
			t.Fatalf("the report does not name a file: %v", err)
		case !covered && err != nil:
			t.Fatalf("a flipped bit in %s at offset %d, which nobody uses: %v", name, at, err)
		}
		if covered {
			flips[name]++
		} else {
			flips["harmless"]++
		}
	}
	if len(flips) != len(disk.Files()) { // those of the watermark are harmless
		t.Errorf("%v of %q: too few to tell", flips, disk.Files())
	}
}

func TestATornTailIsCutOffAndDoesNotComeBack(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	mustWrite(t, j, "kept")
	p := append([]journal.Position(nil), mustWrite(t, j, strings.Repeat("t", 9000))...)
	j.Close()
	unmark(disk)
	name := j.File(p[0].Segment)
	disk.Flip(name, int(p[0].Offset)+5000, 1)
	j, got := mustOpen(t, "d", small(disk))
	wantRecords(t, got, "kept")
	j.Close()
	disk.Flip(name, int(p[0].Offset)+5000, 1) // as if the sector had come after all
	_, got = mustOpen(t, "d", small(disk))
	wantRecords(t, got, "kept")
}

// TestOldRecordsAreNotAdopted: of a batch in a recycled file only the sector with
// its header arrives, and where its other records should be there are old
// ones of the same shape, with good checksums.
func TestOldRecordsAreNotAdopted(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	batch := func(c string) []journal.Position {
		var records []string
		for range 10 {
			records = append(records, strings.Repeat(c, 400))
		}
		return append([]journal.Position(nil), mustWrite(t, j, records...)...)
	}
	fillWith := func(c string) {
		for _, active := j.Segments(); ; batch(c) {
			if _, now := j.Segments(); now != active {
				return
			}
		}
	}
	fillWith("o")
	if err := j.Retire(1); err != nil {
		t.Fatal(err)
	}
	fillWith("p") // up to the first batch of segment 3
	if j.Spares() != 0 {
		t.Fatal("the file was not used again")
	}
	_, active := j.Segments()
	file := j.File(active)
	old := disk.Contents(file) // one batch of p, and behind it what was there before
	positions := batch("n")
	mixed := disk.Contents(file)
	second := int(positions[1].Offset)
	copy(mixed[second:], old[second:])
	if old[second+8] != 'o' {
		t.Fatal("the old batch does not lie where the new one does")
	}
	disk.Crash(false)
	unmark(disk)
	disk.Put(file, mixed)
	_, got := mustOpen(t, "d", small(disk))
	if last := got[len(got)-1]; !strings.HasPrefix(last, "p") {
		t.Fatalf("%.10q was replayed", last)
	}
}

// TestBatchesOfAnotherLifeAreNotSeen: behind the last batch lie whole ones that
// would follow, but were written in another life of the file.
func TestBatchesOfAnotherLifeAreNotSeen(t *testing.T) {
	history := func() (*journaltest.Disk, *journal.Journal) {
		disk := journaltest.New(1)
		j, _ := mustOpen(t, "d", small(disk))
		mustWrite(t, j, "one")
		mustWrite(t, j, "two")
		return disk, j
	}
	ours, j := history()
	theirs, other := history()
	mustWrite(t, other, "three")
	mustWrite(t, other, "four")
	file := j.File(1)
	mixed := append(ours.Contents(file)[:3*journal.Block], theirs.Contents(file)[3*journal.Block:]...)
	ours.Crash(false)
	ours.Put(file, mixed)
	_, got := mustOpen(t, "d", small(ours))
	wantRecords(t, got, "one", "two")
}

func TestASecondOpenerIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, dir, small(nil))
	_, _, err := open(dir, small(nil))
	if !errors.Is(err, persistence.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second opener got %v", err)
	}
	j.Close()
	if err := j.Close(); !errors.Is(err, persistence.ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := write(j, "x"); !errors.Is(err, persistence.ErrClosed) {
		t.Errorf("appending after Close: %v", err)
	}
	mustOpen(t, dir, small(nil))
}

func TestMissingAndForeignSegmentsAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(t *testing.T, disk *journaltest.Disk)
		o       func(o journal.Options) journal.Options
		mention string
	}{
		"all":    {spoil: func(_ *testing.T, d *journaltest.Disk) { *d = *journaltest.New(9) }, o: func(o journal.Options) journal.Options { o.Create = false; return o }, mention: "gone"},
		"middle": {spoil: func(_ *testing.T, d *journaltest.Disk) { d.Delete("d/0000000002.segment") }, mention: "0000000002.segment"},
		"swapped": {spoil: func(_ *testing.T, d *journaltest.Disk) {
			d.Put("d/0000000002.segment", d.Contents("d/0000000001.segment"))
		}, mention: "segment 1"},
		"foreign": {spoil: func(*testing.T, *journaltest.Disk) {}, o: func(o journal.Options) journal.Options { o.ID = 8; return o }, mention: "journal"},
		"named":   {spoil: func(_ *testing.T, d *journaltest.Disk) { d.Put("d/two.segment", nil) }, mention: "two.segment"},
		"empty":   {spoil: func(_ *testing.T, d *journaltest.Disk) { d.Put("d/0000000003.segment", nil) }, mention: "shorter"},
		"cut": {spoil: func(_ *testing.T, d *journaltest.Disk) {
			d.Put("d/0000000002.segment", d.Contents("d/0000000002.segment")[:9000])
		}, mention: "0000000002.segment"},
		"twins": {spoil: func(t *testing.T, d *journaltest.Disk) {
			// Another journal of the same ID, with other batches of the same numbers.
			twin := journaltest.New(2)
			j, _ := mustOpen(t, "d", small(twin))
			mustWrite(t, j, "other")
			fill(t, j, 2)
			j.Close()
			d.Put("d/0000000002.segment", twin.Contents("d/0000000002.segment"))
		}, mention: "does not"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := journaltest.New(1)
			j, _ := mustOpen(t, "d", small(disk))
			fill(t, j, 2)
			mustWrite(t, j, "end")
			j.Close()
			c.spoil(t, disk)
			unmark(disk)
			o := small(disk)
			if c.o != nil {
				o = c.o(o)
			}
			_, _, err := open("d", o)
			var corrupt *persistence.CorruptError
			if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), c.mention) {
				t.Errorf("opening ended with %v", err)
			}
			if _, _, err := open("d", o); errors.Is(err, persistence.ErrLocked) {
				t.Error("the lock was kept")
			}
		})
	}
}

func TestARecordThatMakesNoSenseIsReportedWithItsPlace(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	mustWrite(t, j, "a")
	p := append([]journal.Position(nil), mustWrite(t, j, "b", "nonsense")...)
	mustWrite(t, j, "c")
	j.Close()
	_, err := journal.Open("d", small(disk), func(_ journal.Position, record []byte) error {
		if string(record) == "nonsense" {
			return errors.New("it makes no sense")
		}
		return nil
	})
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != j.File(1) || corrupt.Offset != int64(p[1].Offset) {
		t.Errorf("opening ended with %v", err)
	}
}

func TestALaterFormatIsRefusedByName(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	j.Close()
	b := disk.Contents(j.File(1))
	b[8] = 2
	journal.FixChecksums(b)
	disk.Put(j.File(1), b)
	_, _, err := open("d", small(disk))
	var corrupt *persistence.CorruptError
	if err == nil || errors.As(err, &corrupt) || !strings.Contains(err.Error(), "format version 2") {
		t.Errorf("opening ended with %v", err)
	}
}

func TestATooLargeBatchIsRefusedAndHarmsNothing(t *testing.T) {
	j, _ := mustOpen(t, "d", small(journaltest.New(1)))
	var b journal.Batch
	b.Pretend(journal.MaxBatchBytes + 1)
	if _, err := j.Append(&b); !errors.Is(err, journal.ErrTooLarge) || errors.Is(err, persistence.ErrPoisoned) {
		t.Errorf("Append ended with %v", err)
	}
	b = journal.Batch{}
	b.Grow(10)
	if _, err := j.Append(&b); err != nil {
		t.Error(err)
	}
	if _, err := j.Append(&b); err == nil {
		t.Error("the same batch was appended twice")
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for _, n := range []int64{-1, 1, 4096, 64<<10 + 1, 2 << 30} {
		if _, err := journal.Open(t.TempDir(), journal.Options{SegmentBytes: n}, nil); err == nil {
			t.Errorf("SegmentBytes %d was taken", n)
		}
	}
}

// TestASegmentIsNotTakenAwayFromUnderAReader stops a reader in the middle and
// looks in which order things happen.
func TestASegmentIsNotTakenAwayFromUnderAReader(t *testing.T) {
	fs := &slowFS{FS: journaltest.New(1), reading: make(chan struct{}), goOn: make(chan struct{})}
	j, _ := mustOpen(t, "d", small(fs))
	p := append([]journal.Position(nil), mustWrite(t, j, "first")...)
	fill(t, j, 1)
	fs.slow.Store(j.File(1), true)

	var reader, retirer sync.WaitGroup
	reader.Go(func() {
		if got, err := j.Read(p); err != nil || string(got[0]) != "first" {
			t.Errorf("the reader got %q, %v", got, err)
		}
		fs.note("read")
	})
	<-fs.reading
	begun := make(chan struct{})
	retirer.Go(func() {
		close(begun)
		if err := j.Retire(1); err != nil {
			t.Error(err)
		}
	})
	<-begun
	fill(t, j, 3) // others go on meanwhile
	fs.note("filled")
	close(fs.goOn)
	reader.Wait()
	retirer.Wait()
	if got := strings.Join(fs.notes, " "); got != "filled readat read rename" && got != "filled readat rename read" {
		t.Errorf("the order was %s", got)
	}
}

type slowFS struct {
	journal.FS
	slow          sync.Map
	reading, goOn chan struct{}
	mu            sync.Mutex
	notes         []string
}

func (f *slowFS) note(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, s)
}

func (f *slowFS) Create(name string, size int64) (journal.File, error) {
	file, err := f.FS.Create(name, size)
	return &slowFile{File: file, fs: f}, err
}

func (f *slowFS) Rename(from, to string) error {
	if _, slow := f.slow.Load(from); slow {
		f.note("rename")
	}
	return f.FS.Rename(from, to)
}

type slowFile struct {
	journal.File
	fs *slowFS
}

func (f *slowFile) ReadAt(p []byte, offset int64) (int, error) {
	close(f.fs.reading)
	<-f.fs.goOn
	n, err := f.File.ReadAt(p, offset)
	f.fs.note("readat")
	return n, err
}

func TestARecordThatHasChangedIsNotServed(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	p := append([]journal.Position(nil), mustWrite(t, j, "aaaa", "bbbb")...)
	disk.Flip(j.File(1), int(p[1].Offset)+9, 4)
	if got, err := j.Read(p[:1]); err != nil || string(got[0]) != "aaaa" {
		t.Errorf("the whole one was read as %q, %v", got, err)
	}
	_, err := j.Read(p)
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != j.File(1) || corrupt.Offset != int64(p[1].Offset) {
		t.Errorf("the changed one: %v", err)
	}
	p[1].Offset = 1 << 20
	if _, err := j.Read(p); !errors.As(err, &corrupt) {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestTheFormatIsPinned(t *testing.T) {
	journal.FixLives(t)
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	mustWrite(t, j, "a record", "", "another one")
	mustWrite(t, j, strings.Repeat("32 bytes, again and again and..\n", 150))
	mustWrite(t, j, "the last one")
	j.Close()
	mustOpen(t, "d", small(disk))
	var got bytes.Buffer
	for _, name := range disk.Files() {
		dump(&got, name, disk.Contents(name))
	}
	golden(t, "journal.txt", got.Bytes())
}

// dump writes the blocks of a file that are not zero, in hexadecimal; runs of
// equal lines as one.
func dump(w io.Writer, name string, b []byte) {
	fmt.Fprintf(w, "%s, %d bytes\n", name, len(b))
	before := ""
	for at := 0; at < len(b); at += 32 {
		line := b[at:min(at+32, len(b))]
		if hex := fmt.Sprintf("%x", line); hex != before && !(before == "" && bytes.Count(line, []byte{0}) == len(line)) {
			fmt.Fprintf(w, "%06x  %s\n", at, hex)
			before = hex
		}
	}
}

// golden compares with a file under testdata. UPDATE_GOLDEN=1 writes it: only
// commit that if you understand why the format has changed, have raised its
// version, and keep a way to read the old one.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format has changed; it is now\n%s", got)
	}
}

// TestD13_AFullDiskTakesNothingAndLosesNothing: what there is no room for can be
// appended when there is, and nothing else has to be done about it.
func TestD13_AFullDiskTakesNothingAndLosesNothing(t *testing.T) {
	for _, keep := range []int64{0, 100_000} {
		t.Run(fmt.Sprintf("keeping %d free", keep), func(t *testing.T) {
			disk := journaltest.New(1)
			o := small(disk)
			o.KeepFree = keep
			j, _ := mustOpen(t, "d", o)
			fill(t, j, 2)
			disk.Limit(o.SegmentBytes - 1 + keep)
			var b journal.Batch
			b.Grow(int(o.SegmentBytes) - 2*journal.Block)
			b.Add(func(buf []byte) []byte { return append(buf, "last"...) })
			for range 3 {
				if _, err := j.Append(&b); !errors.Is(err, persistence.ErrDiskFull) || errors.Is(err, persistence.ErrPoisoned) {
					t.Fatalf("an Append without room ended with %v", err)
				}
			}
			if free, _ := disk.Free("d"); free != o.SegmentBytes-1+keep {
				t.Errorf("%d bytes are free, it was %d before nothing was done", free, o.SegmentBytes-1+keep)
			}
			disk.Limit(o.SegmentBytes + keep)
			positions, err := j.Append(&b)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := j.Read(positions[1:]); err != nil || string(got[0]) != "last" {
				t.Errorf("read back: %q, %v", got, err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}

			// Opening takes no more than it must.
			disk.Limit(3 * o.SegmentBytes / 2)
			if j, got := mustOpen(t, "d", o); got[len(got)-1] != "last" {
				t.Errorf("replayed last: %q", got[len(got)-1])
			} else if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestD13_AFullDiskIsNoReasonNotToOpen: a small segment has to do.
func TestD13_AFullDiskIsNoReasonNotToOpen(t *testing.T) {
	disk := journaltest.New(1)
	o := small(disk)
	o.SegmentBytes = 256 << 10
	j, _ := mustOpen(t, "d", o)
	mustWrite(t, j, "one", "two")
	mustWrite(t, j, "three")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	disk.Limit(64<<10 - 1)
	if _, _, err := open("d", o); !errors.Is(err, persistence.ErrDiskFull) {
		t.Fatalf("without any room it opened with %v", err)
	}
	disk.Limit(64 << 10)
	j, got := mustOpen(t, "d", o)
	if strings.Join(got, " ") != "one two three" {
		t.Errorf("replayed: %q", got)
	}
	mustWrite(t, j, "four")
	var b journal.Batch
	b.Grow(64 << 10)
	if _, err := j.Append(&b); !errors.Is(err, persistence.ErrDiskFull) {
		t.Fatalf("beyond the small segment: %v", err)
	}
	disk.Limit(-1)
	if _, err := j.Append(&b); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, got := mustOpen(t, "d", o); len(got) != 5 || got[3] != "four" {
		t.Errorf("replayed %d records", len(got))
	}
}

func TestOpenSaysHowFarItHasCome(t *testing.T) {
	dir, disk := "d", journaltest.New(1)
	o := journal.Options{ID: 7, Create: true, SegmentBytes: 2 << 20, FS: disk}
	j, _ := mustOpen(t, dir, o)
	fill(t, j, 3)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	type said struct{ done, total int64 }
	var all []said
	replayed := 0
	o.Reading = func(done, total int64) { all = append(all, said{done, total}) }
	j, err := journal.Open(dir, o, func(journal.Position, []byte) error {
		if len(all) == 0 {
			t.Error("a record comes before Open has said anything")
		}
		replayed++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	first, last := all[0], all[len(all)-1]
	if first.done != 0 || last.done != last.total || last.total < 6<<20 || replayed == 0 {
		t.Errorf("of %d records it has said %v", replayed, all)
	}
	if len(all) < 6 || len(all) > 20 { // of eight MiB, some
		t.Errorf("it has said %d times how far it has come", len(all))
	}
	for i, s := range all[1:] {
		if s.done <= all[i].done || s.done > all[i].done+3<<19 || s.total != first.total { // the empty end of the last segment is read, too
			t.Errorf("after %v it has said %v", all[i], s)
		}
	}
}
