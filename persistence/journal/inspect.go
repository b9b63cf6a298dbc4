package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/castaway-go/castaway/persistence"
)

// This file is for who looks at a journal from outside: castaway-disk. Nothing in
// it creates or changes a file, or keeps a lock. There are two ways to look: they
// answer two questions:
//
//	Rehearse  what would Open do?  The code is Open's, and stops where Open stops.
//	Inspect   what is there?       It goes on behind what is damaged, and says of
//	                               each damage how far it reaches.

// InUse reports whether somebody has the journal, or the store, of a directory
// open. It lets go of the lock at once: who looks must not keep a member from
// starting. So that may happen at any moment after.
func InUse(dir string) (bool, error) { return locked(filepath.Join(dir, lockName)) }

// Plan is what Open would do to a journal that is in order.
type Plan struct {
	Segment  uint32 // the segment that it would begin
	Replaces bool   // in the place of the one that has this number now

	Copied *PlannedCopy // the last batch, which it would write again; nil if there is none
	Torn   *Torn        // the torn tail, which it would cut off; nil if there is none
	CutTo  int64        // the size of the file with the last batch afterwards, if it would be cut
	Cut    int64        // by so many bytes
	Spares []string     // the files that it would remove
}

// PlannedCopy is the last batch of a journal.
type PlannedCopy struct {
	File     string
	Offset   int64
	Bytes    int64
	Sequence uint64
	Records  int
}

// Torn is what follows the last whole batch of a journal, if it is not just space
// that was never written, or what the file had before it was used again.
type Torn struct {
	File     string
	Offset   int64
	Bytes    int64 // as far as the batch's header tells; else up to the end of the block
	Sequence uint64
	Records  int // as the header announces; 0 if it is damaged
}

// Rehearse does what Open does up to the point where that would change something.
// Its error is Open's, and the replay is the same but for the last batch, which is
// found where it lies now.
func Rehearse(dir string, o Options, replay func(p Position, record []byte) error) (*Journal, *Plan, error) {
	if err := o.Validate(); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	o.FS = readOnly(o.FS)
	o = o.withDefaults()
	j := &Journal{o: o, dir: dir, lock: io.NopCloser(nil), sequence: 1, offset: block}
	_ = j.fail(errReadOnly)
	plan, err := j.rehearse(replay)
	if err != nil {
		j.Close()
		return nil, nil, err
	}
	return j, plan, nil
}

func (j *Journal) rehearse(replay func(Position, []byte) error) (*Plan, error) {
	numbers, spares, err := j.list()
	if err != nil {
		return nil, err
	}
	r := replayer{j: j, replay: replay}
	if err := r.read(numbers); err != nil {
		return nil, err
	}
	if err := r.deliver(); err != nil {
		return nil, err
	}
	replaced, number, err := r.place()
	if err != nil {
		return nil, err
	}
	plan := &Plan{Segment: number, Replaces: replaced != nil, Spares: spares}
	if r.heldIn != nil {
		plan.Copied = &PlannedCopy{
			File: r.heldIn.name, Offset: r.heldAt, Bytes: r.held.size(), Records: r.held.Len(),
			Sequence: binary.LittleEndian.Uint64(r.held.buf[16:]),
		}
		if r.heldIn != replaced {
			plan.CutTo, plan.Cut = r.heldAt, r.heldIn.size-r.heldAt
		}
	}
	if n := len(j.segments); n > 0 {
		last, end := j.segments[n-1], int64(block)
		if r.heldIn == last {
			end = r.heldAt + r.held.size()
		}
		if plan.Torn, err = tornAt(last, end, j.sequence); err != nil {
			return nil, err
		}
	}
	if replaced == nil {
		j.segments = append(j.segments, &segment{number: number, name: j.File(number), file: nothing{}})
	}
	return plan, nil
}

// tornAt looks at what follows the last whole batch of a segment. If its header is
// damaged, it is told by the life in it from what the file held before it was used
// again; a file that was never used before has nothing but zeros there.
func tornAt(s *segment, at int64, sequence uint64) (*Torn, error) {
	if at >= s.size {
		return nil, nil
	}
	in := scanner{file: s.file, size: s.size}
	head, err := in.bytes(at, min(block, s.size-at))
	if err != nil || len(head) < batchHeaderSize || zero(head) {
		return nil, err
	}
	t := &Torn{File: s.name, Offset: at, Bytes: int64(len(head)), Sequence: sequence}
	var h batchHeader
	if h.parse(head, s.life) {
		t.Bytes, t.Records = min(roundUp(batchHeaderSize+int64(h.length), block), s.size-at), int(h.count)
		return t, nil
	}
	if binary.LittleEndian.Uint64(head[8:]) == s.life {
		return t, nil
	}
	for later := at; later < s.size; later += block {
		head, err := in.bytes(later, batchHeaderSize)
		if err != nil {
			return nil, err
		}
		if head != nil && h.parse(head, binary.LittleEndian.Uint64(head[8:])) {
			return nil, nil // a batch of an earlier use of the file
		}
	}
	return t, nil
}

// InspectOptions says what an inspection is of, and who hears of it.
type InspectOptions struct {
	// ID names the journal; 0 if that is not known. Then the oldest segment says it.
	ID uint64
	// Record is handed every whole record that counts, in order, damaged places
	// left out. An error says that the record makes no sense.
	Record func(p Position, record []byte) error
	// Fragment is handed what is left of a record that is damaged, or that is part
	// of a damaged batch, with the index of the damage. Its bytes may be anything.
	Fragment func(damage int, record []byte)
	// Progress is told of bytes that were read.
	Progress func(bytes int64)
	// FS is where the journal is. Default OS. It is only read.
	FS FS
}

// Inspection is what is in a journal.
type Inspection struct {
	ID       uint64
	Segments []SegmentInfo
	Spares   []FileInfo
	Strays   []FileInfo // files that do not belong there
	Damage   []Damage
	Torn     *Torn  // what follows the last whole batch
	Next     uint64 // the sequence number of the next batch
	// Watermark is the last batch that the watermark knows to have been durable; nil if
	// that says nothing.
	Watermark *uint64

	j *Journal
}

// FileInfo is a file and its size in bytes.
type FileInfo struct {
	Name string
	Size int64
}

// SegmentInfo is a segment of a journal.
type SegmentInfo struct {
	Number  uint32
	File    string
	Size    int64
	Life    uint64
	First   uint64 // the sequence number of its first batch
	Last    uint64 // of its last one that counts; First-1 if there is none
	Batches int    // that count, and are whole
	Records int    // in those
	End     int64  // where the last of those ends; what follows is void, or was never written
}

// Damage is something that was durable once, and is not there any more.
type Damage struct {
	persistence.CorruptError
	Bytes       int64 // how far it reaches; 0 if that is not a part of a file
	First, Last uint64
	Batches     bool // the batches First to Last are lost
}

// Inspect reads a journal, whatever state it is in. The error is that of a
// directory that cannot be read; what is damaged is in the Inspection. It is to be
// closed.
func Inspect(dir string, o InspectOptions) (*Inspection, error) {
	if o.Record == nil {
		o.Record = func(Position, []byte) error { return nil }
	}
	if o.Fragment == nil {
		o.Fragment = func(int, []byte) {}
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	i := &inspector{o: o, in: &Inspection{ID: o.ID}}
	i.j = &Journal{o: Options{ID: o.ID, FS: readOnly(o.FS)}.withDefaults(), dir: dir, lock: io.NopCloser(nil)}
	i.in.j = i.j
	_ = i.j.fail(errReadOnly)
	if err := i.run(); err != nil {
		i.j.Close()
		return nil, err
	}
	return i.in, nil
}

// Journal returns the journal, to Read from. Nothing can be appended to it.
func (in *Inspection) Journal() *Journal { return in.j }

// Close closes the files.
func (in *Inspection) Close() error { return in.j.Close() }

// inspector reads on behind what is damaged.
type inspector struct {
	o  InspectOptions
	in *Inspection
	j  *Journal

	// What must come next. The chain is not known behind a damage.
	sequence uint64
	chain    uint32
	chained  bool
	apart    bool // something is missing before the next segment, and was reported
}

func (i *inspector) damage(file string, offset, bytes int64, format string, args ...any) *Damage {
	d := Damage{CorruptError: persistence.CorruptError{File: file, Offset: offset, Detail: fmt.Sprintf(format, args...)}, Bytes: bytes}
	i.in.Damage = append(i.in.Damage, d)
	return &i.in.Damage[len(i.in.Damage)-1]
}

func (i *inspector) run() error {
	numbers, err := i.list()
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		i.damage(i.j.dir, 0, 0, "the journal is gone: there is no segment")
		return nil
	}
	headers := make([]*segmentHeader, len(numbers))
	segments := make([]*segment, len(numbers))
	for k, number := range numbers {
		if segments[k], headers[k], err = i.open(number); err != nil {
			return err
		}
		i.j.segments = append(i.j.segments, segments[k])
	}
	for k, s := range segments {
		var next *segmentHeader // the next one that can be read
		for _, h := range headers[k+1:] {
			if next = h; h != nil {
				break
			}
		}
		if k > 0 && numbers[k] != numbers[k-1]+1 {
			i.damage(i.j.File(numbers[k-1]+1), 0, 0, "the segment is missing")
			i.apart = true
		}
		i.in.Segments = append(i.in.Segments, SegmentInfo{Number: s.number, File: s.name, Size: s.size, Life: s.life, End: min(block, s.size)})
		if headers[k] == nil {
			i.apart = true
			continue
		}
		last := k == len(segments)-1
		if err := i.segment(s, headers[k], next, last); err != nil {
			return err
		}
	}
	i.in.Next = i.sequence
	return i.checkMark()
}

// checkMark compares where the journal ends with where it has been.
func (i *inspector) checkMark() error {
	i.j.o.ID = i.in.ID
	w, found, err := i.j.readMark()
	var corrupt *persistence.CorruptError
	if errors.As(err, &corrupt) {
		i.damage(corrupt.File, 0, watermarkSize, "%s", corrupt.Detail)
		return nil
	}
	if err != nil || !found {
		return err
	}
	i.in.Watermark = &w.sequence
	last := i.j.segments[len(i.j.segments)-1]
	if w.segment > last.number {
		d := i.damage(i.j.File(last.number+1), 0, 0, "%s", w.missing("the segment is missing", i.sequence))
		d.Batches, d.First, d.Last = w.sequence >= i.sequence, i.sequence, w.sequence
		return nil
	}
	if n := len(i.in.Damage); w.sequence < i.sequence || i.apart {
		return nil
	} else if n > 0 && i.in.Damage[n-1].Batches && i.in.Damage[n-1].First == i.sequence { // a header has said so, but knew less
		i.in.Damage[n-1].Last = w.sequence
		return nil
	}
	at := i.in.Segments[len(i.in.Segments)-1].End
	i.in.Torn = nil
	i.lost(last, at, last.size-at, w.sequence, "%s", w.missing("the end of the journal is lost", i.sequence))
	in := scanner{file: last.file, size: last.size}
	return i.fragments(&in, last, at, min(last.size, at+maxSpanBytes))
}

// list finds the segments, and notes what else is there.
func (i *inspector) list() (numbers []uint32, err error) {
	names, err := i.j.o.FS.List(i.j.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		stem, isSegment := strings.CutSuffix(name, segmentSuffix)
		number, err := strconv.ParseUint(stem, 10, 32)
		switch info := (FileInfo{Name: name, Size: i.size(name)}); {
		case isSegment && err == nil && segmentName(uint32(number)) == name:
			numbers = append(numbers, uint32(number))
		case isSegment:
			i.damage(i.j.path(name), 0, 0, "this is not the name of a segment")
		case strings.HasSuffix(name, spareSuffix):
			i.in.Spares = append(i.in.Spares, info)
		case name != lockName && name != watermarkName:
			i.in.Strays = append(i.in.Strays, info)
		}
	}
	return numbers, nil
}

func (i *inspector) size(name string) int64 {
	f, err := i.j.o.FS.Open(i.j.path(name))
	if err != nil {
		return 0
	}
	defer f.Close()
	size, _ := f.Size()
	return size
}

// open opens a segment. Of one whose header is damaged it takes what the first
// batch says in its place. The header is nil if that does not help.
func (i *inspector) open(number uint32) (*segment, *segmentHeader, error) {
	s := &segment{number: number, name: i.j.File(number), file: nothing{}}
	f, err := i.j.o.FS.Open(s.name)
	if err != nil {
		return nil, nil, err
	}
	s.file = f
	if s.size, err = f.Size(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	in := scanner{file: f, size: s.size}
	b, err := in.bytes(0, min(2*block, s.size))
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	h := &segmentHeader{}
	wrong := h.parse(b[:min(block, len(b))])
	if err := in.unreadable(0, block); err != nil {
		wrong = fmt.Sprintf("the segment header cannot be read: %v", err)
	}
	switch {
	case wrong != "":
		h = nil
		if first := (batchHeader{}); len(b) == 2*block && first.parse(b[block:], binary.LittleEndian.Uint64(b[block+8:])) {
			h = &segmentHeader{number: number, life: first.life, first: first.sequence, durable: first.sequence - 1, chain: first.chain}
		}
		i.damage(s.name, 0, min(block, s.size), "%s", wrong)
	case h.version != formatVersion:
		return nil, nil, errors.Join(fmt.Errorf("%s has format version %d; this program reads version %d only", s.name, h.version, formatVersion), f.Close())
	case h.number != number:
		i.damage(s.name, 0, block, "by its header this is segment %d", h.number)
		h = nil
	case i.in.ID == 0:
		i.in.ID = h.journal
	case h.journal != i.in.ID:
		i.damage(s.name, 0, block, "it belongs to journal %016x, not to %016x", h.journal, i.in.ID)
		h = nil
	}
	if h != nil {
		s.life = h.life
	}
	return s, h, nil
}

// segment reads one segment, up to where the next one takes over.
func (i *inspector) segment(s *segment, h, next *segmentHeader, last bool) error {
	info := &i.in.Segments[len(i.in.Segments)-1]
	info.First, info.Last = h.first, h.first-1
	if len(i.in.Segments) > 1 && !i.apart && (h.first != i.sequence || i.chained && h.chain != i.chain) {
		d := i.damage(s.name, 0, block, "the segment does not continue the one before it: it begins with batch %d after %08x, expected is %d after %08x", h.first, h.chain, i.sequence, i.chain)
		d.Batches, d.First, d.Last = h.first > i.sequence, i.sequence, h.first-1
	} else if i.apart && h.first > i.sequence && i.sequence > 0 {
		d := &i.in.Damage[len(i.in.Damage)-1]
		d.Batches, d.First, d.Last = true, i.sequence, h.first-1
	}
	i.sequence, i.chain, i.chained, i.apart = h.first, h.chain, true, false
	in := scanner{file: s.file, size: s.size}
	at := int64(block)
	for next == nil || i.sequence < next.first {
		size, err := i.batch(&in, s, at)
		if err != nil {
			return err
		}
		if size > 0 {
			i.o.Progress(size)
			at += size
			info.End = at
			continue
		}
		later, sequence, err := i.resume(&in, s, at)
		if err != nil {
			return err
		}
		if later == 0 || next != nil && sequence >= next.first {
			break
		}
		i.lost(s, at, later-at, sequence-1, "batch %d does not check out, but batch %d at offset %d was written after it", i.sequence, sequence, later)
		if err := i.fragments(&in, s, at, later); err != nil {
			return err
		}
		at, i.sequence, i.chained = later, sequence, false
	}
	i.o.Progress(s.size - at)
	return i.end(&in, s, at, h, next, last)
}

// end judges what follows the last batch of a segment.
func (i *inspector) end(in *scanner, s *segment, at int64, h, next *segmentHeader, last bool) (err error) {
	switch {
	case next != nil && i.sequence < next.first:
		i.lost(s, at, s.size-at, next.first-1, "batch %d was durable and does not check out", i.sequence)
		err = i.fragments(in, s, at, s.size)
		i.sequence, i.chain, i.chained = next.first, next.chain, true
	case next == nil && last && i.sequence <= h.durable:
		i.lost(s, at, s.size-at, h.durable, "batch %d was durable and does not check out", i.sequence)
		err = i.fragments(in, s, at, s.size)
	case next == nil && last && in.unreadable(at, block) != nil:
		i.damage(s.name, at, block, "it cannot be read: %v", in.unreadable(at, block))
	case next == nil && last:
		i.in.Torn, err = tornAt(s, at, i.sequence)
	}
	return err
}

// lost notes that the batches from the next one to last are damaged.
func (i *inspector) lost(s *segment, at, bytes int64, last uint64, format string, args ...any) {
	d := i.damage(s.name, at, bytes, format, args...)
	d.Batches, d.First, d.Last = true, i.sequence, last
}

// batch reads the batch at an offset, hands out its records, and returns what it
// takes; 0 if it is not there, or not whole.
func (i *inspector) batch(in *scanner, s *segment, at int64) (int64, error) {
	head, err := in.bytes(at, batchHeaderSize)
	if err != nil {
		return 0, err
	}
	var h batchHeader
	if !h.parse(head, s.life) || h.sequence != i.sequence {
		return 0, nil
	}
	if i.chained && h.chain != i.chain {
		i.damage(s.name, at, block, "batch %d does not follow from what is before it", h.sequence)
	}
	if h.length > maxBatchBytes {
		i.damage(s.name, at, block, "batch %d claims to have %d bytes", h.sequence, h.length)
		return 0, nil
	}
	size := batchHeaderSize + int64(h.length)
	batch, err := in.bytes(at, roundUp(size, block))
	if err != nil || batch == nil {
		return 0, err
	}
	if !zero(batch[size:]) || !intact(batch[:size], &h) {
		return 0, nil
	}
	i.records(s, at, batch[:size], &h)
	i.sequence++
	i.chain, i.chained = link(batch[:size]), true
	return int64(len(batch)), nil
}

// records hands out the records of a whole batch.
func (i *inspector) records(s *segment, at int64, batch []byte, h *batchHeader) {
	info := &i.in.Segments[len(i.in.Segments)-1]
	info.Batches++
	info.Records += int(h.count)
	info.Last = h.sequence
	m := mask(h.life, h.sequence)
	for k := batchHeaderSize; k < len(batch); {
		p := Position{
			Segment: s.number, Offset: uint32(at) + uint32(k), Length: binary.LittleEndian.Uint32(batch[k+4:]),
			Sum: binary.LittleEndian.Uint32(batch[k:]) ^ m,
		}
		end := k + recordHeaderSize + int(p.Length)
		if err := i.o.Record(p, batch[k+recordHeaderSize:end]); err != nil {
			i.damage(s.name, int64(p.Offset), int64(end-k), "%v", err)
		}
		k = end
	}
}

// resume finds the first batch behind an offset that was written later than the
// one that should be there.
func (i *inspector) resume(in *scanner, s *segment, at int64) (later int64, sequence uint64, err error) {
	for later = at; later < s.size; later += block {
		head, err := in.bytes(later, batchHeaderSize)
		if err != nil {
			return 0, 0, err
		}
		var h batchHeader
		if head != nil && h.parse(head, s.life) && h.sequence > i.sequence {
			return later, h.sequence, nil
		}
	}
	return 0, 0, nil
}

// fragments hands out what can be made out of the damaged batches in a part of a
// segment.
func (i *inspector) fragments(in *scanner, s *segment, from, to int64) error {
	for at := from; at < to; at += block {
		head, err := in.bytes(at, batchHeaderSize)
		if err != nil || head == nil {
			return err
		}
		if h := (batchHeader{}); at > from && !h.parse(head, s.life) {
			continue
		}
		for k := at + batchHeaderSize; k+recordHeaderSize < to; {
			b, err := in.bytes(k, recordHeaderSize)
			if err != nil || b == nil {
				return err
			}
			length := int64(binary.LittleEndian.Uint32(b[4:]))
			if length == 0 || length > to-k {
				break // the length is damaged, or this is where the records end
			}
			b, err = in.bytes(k+recordHeaderSize, min(length, to-k-recordHeaderSize))
			if err != nil || b == nil {
				return err
			}
			i.o.Fragment(len(i.in.Damage)-1, b)
			k += recordHeaderSize + length
		}
	}
	return nil
}

// readOnly returns a file system on which nothing can be changed.
func readOnly(fsys FS) FS {
	if fsys == nil {
		fsys = OS
	}
	return readOnlyFS{fsys}
}

type readOnlyFS struct{ FS }

var errReadOnly = errors.New("the journal is only looked at")

func (r readOnlyFS) Open(name string) (File, error) {
	if r.FS != OS {
		return r.FS.Open(name)
	}
	f, err := os.Open(name) // who may only read must be able to look
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (readOnlyFS) MkdirAll(string) error              { return errReadOnly }
func (readOnlyFS) Create(string, int64) (File, error) { return nil, errReadOnly }
func (readOnlyFS) Rename(string, string) error        { return errReadOnly }
func (readOnlyFS) Remove(string) error                { return errReadOnly }
func (readOnlyFS) SyncDir(string) error               { return errReadOnly }
func (readOnlyFS) Lock(string) (io.Closer, error)     { return nil, errReadOnly }

// nothing is the file of a segment that is not there.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error)  { return 0, io.EOF }
func (nothing) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (nothing) Size() (int64, error)               { return 0, nil }
func (nothing) Truncate(int64) error               { return errReadOnly }
func (nothing) Sync() error                        { return errReadOnly }
func (nothing) Close() error                       { return nil }
