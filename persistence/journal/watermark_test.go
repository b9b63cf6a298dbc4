package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

// TestD9_ALostTailIsNoticed: the process ends, in peace or not, and then something
// happens to the end of its journal: a bit flips, or the end of a file or the last
// files are gone. Nobody may take that for a batch that was never acknowledged.
func TestD9_ALostTailIsNoticed(t *testing.T) {
	rounds(t, func(seed uint64) error {
		disk := journaltest.New(seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		h := &history{rng: rng, disk: disk}
		for range 1 + rng.IntN(3) {
			if err := liveInPeace(h, disk); err != nil {
				return err
			}
		}
		if len(h.records) == 0 || h.records[len(h.records)-1].at.Segment <= h.retired {
			return nil // the journal is empty
		}
		what, err := loseTail(h, disk)
		if err != nil {
			return err
		}
		_, _, err = open("d", small(disk))
		var corrupt *persistence.CorruptError
		if !errors.As(err, &corrupt) {
			return fmt.Errorf("%s: %v", what, err)
		}
		if damage, err := journal.Damaged("d", small(disk)); damage == nil || damage.Error() != corrupt.Error() {
			return fmt.Errorf("%s is %v when it is looked at, %w, and %v when it is opened", what, damage, err, corrupt)
		}
		if err := salvageAtLast(h, disk); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// liveInPeace opens the journal, uses it, and ends the process, or closes the journal
// and then fails the power.
func liveInPeace(h *history, disk *journaltest.Disk) error {
	var got []record
	j, err := journal.Open("d", small(disk), func(p journal.Position, data []byte) error {
		got = append(got, record{data: bytes.Clone(data), at: p})
		return nil
	})
	if err == nil {
		err = h.replayed(got)
	}
	if err == nil {
		err = h.use(j)
	}
	power := h.rng.IntN(2) == 0
	if err == nil && power {
		err = j.Close()
	}
	disk.Crash(power)
	return err
}

// loseTail damages the last batch, with what was before it perhaps.
func loseTail(h *history, disk *journaltest.Disk) (what string, err error) {
	last := h.records[len(h.records)-1]
	name := func(r record) string { return fmt.Sprintf("d/%010d.segment", r.at.Segment) }
	switch h.rng.IntN(3) {
	case 0:
		at := int(last.at.Offset) + h.rng.IntN(8+int(last.at.Length))
		disk.Flip(name(last), at, 1<<h.rng.IntN(8))
		return fmt.Sprintf("a flipped bit in %s at offset %d", name(last), at), nil
	case 1:
		end := int(last.at.Offset) + 8 + int(last.at.Length)
		kept := journal.Block + h.rng.IntN(end-journal.Block)
		disk.Put(name(last), disk.Contents(name(last))[:kept])
		return fmt.Sprintf("%s cut off after %d bytes", name(last), kept), nil
	default:
		from := h.records[h.rng.IntN(len(h.records))]
		for _, file := range disk.Files() {
			if strings.HasSuffix(file, ".segment") && file >= name(from) {
				disk.Delete(file)
			}
		}
		return fmt.Sprintf("%s and those after it are removed", name(from)), nil
	}
}

// salvageAtLast cuts the journal off, though interrupted at first, and opens it.
func salvageAtLast(h *history, disk *journaltest.Disk) error {
	disk.CrashAt(1 + h.rng.IntN(12))
	_, err := journal.Salvage("d", small(disk))
	if err != nil && !errors.Is(err, journaltest.ErrCrashed) {
		return err
	}
	disk.Crash(h.rng.IntN(2) == 0)
	if _, err := journal.Salvage("d", small(disk)); err != nil {
		return fmt.Errorf("salvaged again: %w", err)
	}
	j, got, err := open("d", small(disk))
	if err != nil {
		return fmt.Errorf("salvaged, and opened: %w", err)
	}
	for _, r := range got {
		number := binary.LittleEndian.Uint64([]byte(r))
		if number >= uint64(len(h.records)) || string(h.records[number].data) != r {
			return fmt.Errorf("salvaged: record %d is none that was written", number)
		}
	}
	if _, err := write(j, "goes on"); err != nil {
		return err
	}
	disk.Crash(false)
	_, again, err := open("d", small(disk))
	if err != nil || !slices.Equal(again, append(got, "goes on")) {
		return fmt.Errorf("salvaged, and opened once more, it has %d records, had %d, and one was added: %w", len(again), len(got), err)
	}
	return nil
}

// TestD9_TheWatermarkIsDurableFromTimeToTime: when the journal is opened, when a segment
// begins, and when it is closed, the watermark knows what is durable, and a loss of
// power takes none of that.
func TestD9_TheWatermarkIsDurableFromTimeToTime(t *testing.T) {
	for seed := range uint64(30) {
		disk := journaltest.New(seed)
		wantMark := func(when string, least uint64) {
			t.Helper()
			disk.Crash(true)
			in, err := journal.Inspect("d", journal.InspectOptions{FS: disk})
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if in.Watermark == nil || *in.Watermark < least {
				t.Fatalf("seed %d: %s, batch %d is durable, and the watermark says %v", seed, when, least, in.Watermark)
			}
		}
		mustOpen(t, "d", small(disk))
		wantMark("the journal was made", 0)
		j, _ := mustOpen(t, "d", small(disk))
		mustWrite(t, j, "one")
		mustWrite(t, j, "two")
		disk.Crash(false)
		mustOpen(t, "d", small(disk))
		wantMark("it was opened", 2)
		j, _ = mustOpen(t, "d", small(disk))
		n := len(fill(t, j, 1))
		wantMark("a segment begins", uint64(2+n-1))
		j, _ = mustOpen(t, "d", small(disk))
		mustWrite(t, j, "three")
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		wantMark("it was closed", uint64(2+n+1))
	}
}

// The newest segment is gone, with batches that the watermark has not been told of, for
// want of power. It knows the segment, though.
func TestD9_AMissingNewestSegmentIsNoticed(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	fill(t, j, 1)
	disk.Crash(false)
	mark := disk.Contents(watermark)
	clear(mark[:journal.Block]) // as it was when the segment began
	disk.Put(watermark, mark)
	disk.Delete(j.File(2))
	wantCorrupt(t, disk, j.File(2))
	in, err := journal.Inspect("d", journal.InspectOptions{FS: disk})
	if err != nil || len(in.Damage) != 1 || in.Damage[0].File != j.File(2) {
		t.Errorf("looking finds %+v, %v", in, err)
	}
}

// A power failure may take of the watermark what was not synced, and a bit in it may
// flip. That alone loses nothing.
func TestD15_AWatermarkThatSaysNothingIsHarmless(t *testing.T) {
	for what, harm := range map[string]func(*journaltest.Disk){
		"missing": func(d *journaltest.Disk) { d.Delete(watermark) },
		"empty":   func(d *journaltest.Disk) { d.Put(watermark, nil) },
		"short":   func(d *journaltest.Disk) { d.Put(watermark, d.Contents(watermark)[:30]) },
		"torn":    unmark,
		"flipped": func(d *journaltest.Disk) { d.Flip(watermark, 26, 4) },
	} {
		disk := journaltest.New(1)
		j, _ := mustOpen(t, "d", small(disk))
		mustWrite(t, j, "one")
		disk.Crash(false)
		harm(disk)
		j, got, err := open("d", small(disk))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		wantRecords(t, got, "one")
		mustWrite(t, j, "two")
		disk.Crash(false)
		disk.Flip(j.File(1), 2*journal.Block+45, 1)
		wantCorrupt(t, disk, j.File(1)) // there is a good one again
	}
}

func TestAWatermarkOfAnotherJournalOrVersionIsRefused(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	j.Close()
	other := journaltest.New(1)
	o := small(other)
	o.ID = 8
	j, _ = mustOpen(t, "d", o)
	j.Close()
	ours := disk.Contents(watermark)
	disk.Put(watermark, other.Contents(watermark))
	wantCorrupt(t, disk, watermark)

	ours[journal.Block+8] = 9
	journal.FixWatermark(ours[journal.Block:])
	disk.Put(watermark, ours)
	if _, _, err := open("d", small(disk)); err == nil || !strings.Contains(err.Error(), "format version 9") {
		t.Errorf("version 9: %v", err)
	}
}

// unreadableFS is a disk of which some sectors of a file cannot be read.
type unreadableFS struct {
	*journaltest.Disk
	name     string
	from, to int64
}

func (d *unreadableFS) Open(name string) (journal.File, error) {
	f, err := d.Disk.Open(name)
	if name == d.name && err == nil {
		f = &unreadableFile{f, d}
	}
	return f, err
}

type unreadableFile struct {
	journal.File
	d *unreadableFS
}

func (f *unreadableFile) ReadAt(b []byte, at int64) (int, error) {
	if at < f.d.to && f.d.from < at+int64(len(b)) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, at)
}

// TestD15_AnUnreadableSectorIsDamage: what the disk cannot read is damaged, the
// last batch too: it may have been durable. What is before it is kept when the
// journal is cut off, and the file is set aside as far as it can be read.
func TestD15_AnUnreadableSectorIsDamage(t *testing.T) {
	for _, sector := range []int64{0, 512, 4096 + 512, 2*4096 + 1024, 3*4096 + 512} {
		disk := journaltest.New(1)
		j, _ := mustOpen(t, "d", small(disk))
		all := []string{"one", strings.Repeat("2", 2000), strings.Repeat("3", 2000)}
		for _, r := range all {
			mustWrite(t, j, r)
		}
		disk.Crash(false)
		unmark(disk)
		file := j.File(1)
		fs := &unreadableFS{disk, file, sector, sector + 512}
		_, _, err := open("d", small(fs))
		var corrupt *persistence.CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != file || corrupt.Offset != sector/4096*4096 || !errors.Is(err, syscall.EIO) {
			t.Fatalf("sector at %d: %v", sector, err)
		}
		cut, err := journal.Salvage("d", small(fs))
		if err != nil || len(cut.Aside) != 1 || !errors.Is(cut.Damage, syscall.EIO) {
			t.Fatalf("sector at %d: salvaged with %+v, %v", sector, cut, err)
		}
		kept := max(sector/4096, 1) - 1
		if sector > 4096 {
			aside := disk.Contents(cut.Aside[0])
			want := bytes.Clone(aside)
			clear(want[sector/4096*4096:][:4096])
			if !bytes.Equal(aside, want) || !bytes.Contains(aside, []byte("one")) && kept > 0 {
				t.Errorf("sector at %d: it was set aside with %.100q", sector, aside[4096:])
			}
		}
		fs.name = "" // the file is another one now
		_, got := mustOpen(t, "d", small(fs))
		wantRecords(t, got, all[:kept]...)
	}
}

// A sector that cannot be read where nothing was ever written is nobody's loss.
func TestAnUnreadableSectorInFreeSpaceIsHarmless(t *testing.T) {
	disk := journaltest.New(1)
	j, _ := mustOpen(t, "d", small(disk))
	mustWrite(t, j, "one")
	disk.Crash(false)
	fs := &unreadableFS{disk, j.File(1), 40000, 40512}
	_, got := mustOpen(t, "d", small(fs))
	wantRecords(t, got, "one")
}
