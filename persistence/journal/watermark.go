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
// happens to the process; after a loss of power it may be an older one, or a torn
// one. It never says too much: what it says was durable before it was said. One that
// is missing or damaged says nothing, and that alone loses nothing.
const (
	watermarkName    = "watermark"
	watermarkMagic   = "castmark"
	watermarkVersion = 1
	watermarkSize    = 36
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
func (j *Journal) markDurable(active *segment) error {
	w := watermark{segment: active.number, journal: j.o.ID, sequence: j.sequence - 1}
	w.put(j.markBuf[:])
	_, err := j.mark.WriteAt(j.markBuf[:], 0)
	return err
}

// syncMark makes the watermark itself durable, and what it says now.
func (j *Journal) syncMark(active *segment) error {
	if err := j.markDurable(active); err != nil {
		return err
	}
	return j.mark.Sync()
}

// openMark makes the watermark, or goes on with the one that there is.
func (j *Journal) openMark(active *segment) (err error) {
	name := j.path(watermarkName)
	j.mark, err = j.o.FS.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		j.mark, err = j.o.FS.Create(name, block)
	}
	if err != nil {
		return err
	}
	if err := j.syncMark(active); err != nil {
		return err
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
	if err != nil || size < watermarkSize {
		return w, false, err
	}
	b := make([]byte, watermarkSize)
	if _, err := file.ReadAt(b, 0); err != nil && !isUnreadable(err) {
		return w, false, err
	}
	version, found := w.parse(b)
	switch {
	case found && version != watermarkVersion:
		return w, false, fmt.Errorf("%s has format version %d; this program reads version %d only", name, version, watermarkVersion)
	case found && w.journal != j.o.ID:
		return w, false, &persistence.CorruptError{File: name, Detail: fmt.Sprintf("it belongs to journal %016x, not to %016x", w.journal, j.o.ID)}
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

// forgetMark removes the watermark of a journal that is to become shorter.
func forgetMark(fsys FS, dir string) error {
	err := fsys.Remove(filepath.Join(dir, watermarkName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
