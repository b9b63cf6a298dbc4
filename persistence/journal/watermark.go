package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/castaway-go/castaway/persistence"
)

// The watermark is a small file beside the segments. It says which batch was the
// last to be durable, and which segment the newest: a journal that ends before it
// has lost its end.
//
// It is written after every batch, which takes a microsecond, and synced only when a
// segment begins and when the journal is opened and closed. So it survives whatever
// happens to the process; after a loss of power it may be an older one. It never says
// too much: what it says was durable before it was said. One that is missing or damaged
// says nothing, and that alone loses nothing.
//
// A block that was being written when the power failed may be damaged. So there are
// three slots, a block for each: the first is written after every batch, and the others
// in turn when there is to be a sync. The one with the greatest number counts.
const (
	watermarkName    = "watermark"
	watermarkMagic   = "castmark"
	watermarkVersion = 1
	watermarkSlots   = 3
	watermarkSize    = 36 // of what is in a slot
)

// watermark is what the file says.
type watermark struct {
	segment  uint32 // the newest
	journal  uint64 // which journal this belongs to
	sequence uint64 // the last durable batch
}

func (w *watermark) put(b []byte) {
	copy(b, watermarkMagic)
	binary.LittleEndian.PutUint32(b[8:], watermarkVersion)
	binary.LittleEndian.PutUint32(b[12:], w.segment)
	binary.LittleEndian.PutUint64(b[16:], w.journal)
	binary.LittleEndian.PutUint64(b[24:], w.sequence)
	binary.LittleEndian.PutUint32(b[32:], checksum(b[:32]))
}

// parse reports whether b begins with a whole watermark, and takes it.
func (w *watermark) parse(b []byte) (version uint32, ok bool) {
	if len(b) < watermarkSize || string(b[:8]) != watermarkMagic || binary.LittleEndian.Uint32(b[32:]) != checksum(b[:32]) {
		return 0, false
	}
	*w = watermark{
		segment:  binary.LittleEndian.Uint32(b[12:]),
		journal:  binary.LittleEndian.Uint64(b[16:]),
		sequence: binary.LittleEndian.Uint64(b[24:]),
	}
	return binary.LittleEndian.Uint32(b[8:]), true
}

// markDurable writes that everything up to the last batch, and the active segment,
// are durable.
func (j *Journal) markDurable(active *segment) error { return j.writeMark(active, 0) }

// syncMark does the same, durably.
func (j *Journal) syncMark(active *segment) error {
	j.markSlot = 3 - j.markSlot
	if err := j.writeMark(active, j.markSlot); err != nil {
		return err
	}
	return j.mark.Sync()
}

func (j *Journal) writeMark(active *segment, slot int64) error {
	w := watermark{segment: active.number, journal: j.o.ID, sequence: j.sequence - 1}
	w.put(j.markBuf[:])
	_, err := j.mark.WriteAt(j.markBuf[:], slot*block)
	return err
}

// openMark makes the watermark, or goes on with the one that there is.
func (j *Journal) openMark(active *segment) (err error) {
	name := j.path(watermarkName)
	j.mark, err = j.o.FS.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		j.mark, err = j.o.FS.Create(name, watermarkSlots*block)
	}
	if err != nil {
		return err
	}
	j.markSlot = 1
	for range 2 { // nobody knows which of the two is good
		if err := j.syncMark(active); err != nil {
			return err
		}
	}
	return j.o.FS.SyncDir(j.dir)
}

// readMark returns what the watermark says. It is not found if there is none, or one
// that says nothing.
func (j *Journal) readMark() (w watermark, found bool, err error) {
	name := j.path(watermarkName)
	file, err := j.o.FS.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return w, false, nil
	}
	if err != nil {
		return w, false, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return w, false, err
	}
	in := scanner{file: file, size: size}
	for slot := range int64(watermarkSlots) {
		b, err := in.bytes(slot*block, watermarkSize)
		if err != nil {
			return w, false, err
		}
		var says watermark
		version, whole := says.parse(b)
		switch {
		case !whole: // it was never written, or is torn
		case version != watermarkVersion:
			return w, false, fmt.Errorf("%s has format version %d; this program reads version %d only", name, version, watermarkVersion)
		case says.journal != j.o.ID:
			return w, false, &persistence.CorruptError{File: name, Offset: slot * block, Detail: fmt.Sprintf("it belongs to journal %016x, not to %016x", says.journal, j.o.ID)}
		case !found || says.sequence >= w.sequence:
			w, found = says, true
		}
	}
	return w, found, nil
}

// checkMark compares where the journal ends with where it has been.
func (r *replayer) checkMark() error {
	j := r.j
	w, found, err := j.readMark()
	if err != nil || !found {
		return err
	}
	n := len(j.segments)
	switch {
	case n == 0:
		return &persistence.CorruptError{File: j.dir, Detail: w.missing("the journal is gone: there is no segment", j.sequence)}
	case w.segment > j.segments[n-1].number:
		return &persistence.CorruptError{File: j.File(j.segments[n-1].number + 1), Detail: w.missing("the segment is missing", j.sequence)}
	case w.sequence >= j.sequence:
		return j.corrupt(j.segments[n-1], r.end, "%s", w.missing("the end of the journal is lost", j.sequence))
	}
	return nil
}

// missing adds to what is wrong which batches are missing: those from next on.
func (w *watermark) missing(wrong string, next uint64) string {
	switch {
	case w.sequence > next:
		return fmt.Sprintf("%s: batches %d to %d were durable", wrong, next, w.sequence)
	case w.sequence == next:
		return fmt.Sprintf("%s: batch %d was durable", wrong, next)
	}
	return wrong
}

// forgetMark removes the watermark of a journal that is about to be cut off, with whose
// names this becomes durable.
func forgetMark(fsys FS, dir string) error {
	err := fsys.Remove(filepath.Join(dir, watermarkName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
