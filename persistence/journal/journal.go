package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/castaway-go/castaway/persistence"
)

// Options says how to open a journal. Zero fields mean the default.
type Options struct {
	// ID names the journal: every segment carries it, and one that carries
	// another is refused.
	ID uint64
	// Create makes a journal out of a directory without one. Otherwise that is
	// an error: a journal that was there is missing.
	Create bool
	// First is the oldest segment that is needed. Default: the oldest that there is.
	// Salvage and Damaged say that it is missing if it is, and Open begins none with
	// a smaller number.
	First uint32
	// SegmentBytes is the size of a segment file. Default 64 MiB; at least
	// 64 KiB, at most 1 GiB. A batch that is larger gets a file of its own size.
	SegmentBytes int64
	// KeepFree is how many bytes another segment must leave free on the disk; else an
	// Append that needs one ends with persistence.ErrDiskFull. Opening a journal may
	// use them. Default 0.
	KeepFree int64
	// Reading hears how far Open has come: so many bytes of its segments, of all that they
	// have. It is called by Open, at the beginning, for every MiB or so, and at the end.
	Reading func(done, total int64)
	// FS is where the journal is. Default OS.
	FS FS
}

// Validate returns every mistake in o at once, or nil.
func (o Options) Validate() error {
	if n := o.SegmentBytes; n != 0 && (n < minSegmentBytes || n > 1<<30 || n%block != 0) {
		return fmt.Errorf("SegmentBytes is %d, not a multiple of 4096 between 64 KiB and 1 GiB", n)
	}
	if o.KeepFree < 0 {
		return fmt.Errorf("KeepFree is %d, negative", o.KeepFree)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.FS == nil {
		o.FS = OS
	}
	return o
}

// Position says where a record lies, and what it is: a record that was read
// back is the one that was appended, or an error.
type Position struct {
	Segment uint32
	Offset  uint32 // in the segment's file, in bytes
	Length  uint32 // of the record, in bytes
	Sum     uint32 // checksum of the record
}

// Journal is an open journal. See the package documentation for what may
// overlap.
type Journal struct {
	o    Options
	dir  string
	lock io.Closer

	// One Append at a time. These are its state: where the next batch goes.
	appending sync.Mutex
	sequence  uint64
	chain     uint32
	offset    int64
	filled    int64 // up to here the active segment's file was written before
	mark      File  // the watermark
	markSlot  int64 // of it, in which the last sync was
	markBuf   [watermarkSize]byte

	retiring sync.Mutex // one Retire at a time

	mu       sync.RWMutex
	segments []*segment // ascending, without gaps; the last is the active one
	spares   []string   // files to use again

	failure atomic.Pointer[error] // the first failed write or sync
	closed  atomic.Bool
}

// segment is one file of the stream.
type segment struct {
	number uint32
	life   uint64
	size   int64
	name   string
	file   File

	// reading is held shared while the file is read, and exclusively to take
	// it away.
	reading sync.RWMutex
	gone    bool
}

// The errors of a journal, beside those of package persistence.
var (
	// ErrRetired: the record's segment has been retired.
	ErrRetired = errors.New("the journal segment has been retired")
	// ErrTooLarge: the batch exceeds 1 GiB. Nothing was written.
	ErrTooLarge = errors.New("the batch exceeds 1 GiB")
)

// Segments returns the numbers of the oldest segment and of the active one.
// Those between them, and the oldest unless it is the active one, are sealed.
func (j *Journal) Segments() (oldest, active uint32) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.segments[0].number, j.segments[len(j.segments)-1].number
}

// Sequence returns the number of the last batch that is durable. It waits for the
// Append that is under way.
func (j *Journal) Sequence() uint64 {
	j.appending.Lock()
	defer j.appending.Unlock()
	return j.sequence - 1
}

// File returns the name of a segment's file, for messages.
func (j *Journal) File(segment uint32) string { return j.path(segmentName(segment)) }

// Close closes the journal. What was appended is durable already.
func (j *Journal) Close() error {
	if j.closed.Swap(true) {
		return persistence.ErrClosed
	}
	j.appending.Lock()
	defer j.appending.Unlock()
	var err error
	if j.failure.Load() == nil {
		if err = j.syncMark(j.active()); err != nil {
			err = j.fail(err)
		}
	}
	return errors.Join(err, j.closeFiles(), j.lock.Close())
}

// closeFiles closes what is open beside the lock.
func (j *Journal) closeFiles() (err error) {
	for _, s := range j.segments {
		err = errors.Join(err, s.file.Close())
	}
	if j.mark != nil {
		err = errors.Join(err, j.mark.Close())
	}
	return err
}

// usable returns why nothing can be appended any more, if that is so.
func (j *Journal) usable() error {
	if j.closed.Load() {
		return persistence.ErrClosed
	}
	if p := j.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail poisons the journal: after a failed write or sync nobody knows what the
// disk holds, and trying again could report as durable what the kernel has
// given up.
func (j *Journal) fail(err error) error {
	poisoned := fmt.Errorf("%w: %w", persistence.ErrPoisoned, err)
	j.failure.CompareAndSwap(nil, &poisoned)
	return *j.failure.Load()
}

func (j *Journal) active() *segment {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.segments[len(j.segments)-1]
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

const (
	segmentSuffix = ".segment"
	spareSuffix   = ".spare"
	lockName      = "lock"
)

// segmentName returns the file name of a segment: names sort like numbers.
func segmentName(number uint32) string { return fmt.Sprintf("%010d%s", number, segmentSuffix) }

func spareName(number uint32) string { return fmt.Sprintf("%010d%s", number, spareSuffix) }

// random draws a life. It is a variable for the test that pins the format.
var random = func() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint64(b[:])
}
