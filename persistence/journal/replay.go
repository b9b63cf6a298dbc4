package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/castaway-go/castaway/persistence"
)

// Open opens the journal in a directory, and hands every record in it, in
// order, to replay. What replay is given belongs to it only until it returns; an
// error from it says that the record makes no sense, and is reported as
// corruption with the place where it lies.
//
// If somebody else has the directory open, the error is persistence.ErrLocked.
func Open(dir string, o Options, replay func(p Position, record []byte) error) (*Journal, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	o = o.withDefaults()
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, err
	}
	lock, err := o.FS.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	j := &Journal{o: o, dir: dir, lock: lock, sequence: 1, offset: block}
	if err := j.open(replay); err != nil {
		j.closeFiles()
		lock.Close()
		return nil, err
	}
	return j, nil
}

func (j *Journal) open(replay func(Position, []byte) error) error {
	numbers, spares, err := j.list()
	if err != nil {
		return err
	}
	for _, name := range spares {
		if err := j.o.FS.Remove(j.path(name)); err != nil {
			return err
		}
	}
	r := replayer{j: j, replay: replay}
	if err := r.read(numbers); err != nil {
		return err
	}
	return r.finish()
}

// read reads these segments, and changes nothing.
func (r *replayer) read(numbers []uint32) error {
	j := r.j
	if len(numbers) == 0 && !j.o.Create {
		return &persistence.CorruptError{File: j.dir, Detail: "the journal is gone: there is no segment"}
	}
	headers := make([]segmentHeader, len(numbers))
	for i, number := range numbers {
		if i > 0 && number != numbers[i-1]+1 {
			return &persistence.CorruptError{File: j.File(numbers[i-1] + 1), Detail: "the segment is missing"}
		}
		if err := j.openSegment(number, &headers[i]); err != nil {
			return err
		}
		if i > 0 && headers[i].first < headers[i-1].first {
			return j.corrupt(j.segments[i], 0, "the segment begins with batch %d, the one before it with %d", headers[i].first, headers[i-1].first)
		}
	}
	if len(headers) > 0 {
		j.sequence, j.chain = headers[0].first, headers[0].chain
	}
	for _, s := range j.segments {
		r.total += s.size
	}
	r.say(0)
	for i, s := range j.segments {
		var next *segmentHeader
		if i+1 < len(headers) {
			next = &headers[i+1]
		}
		if err := r.segment(s, &headers[i], next); err != nil {
			return err
		}
		r.past += s.size
	}
	r.say(r.past)
	return r.checkMark()
}

// passed tells whoever wants to know, now and then, how much of a segment was read.
func (r *replayer) passed(at int64) {
	if r.past+at >= r.said+sayEvery {
		r.say(r.past + at)
	}
}

// say tells whoever wants to know how much was read.
func (r *replayer) say(done int64) {
	if reading := r.j.o.Reading; reading != nil {
		r.said = done
		reading(done, r.total)
	}
}

// list finds the segments, ascending, and the spares. Those are removed: only
// whoever retired a segment knows for certain that its file is none any more, and
// it costs little to begin with a new one.
func (j *Journal) list() (numbers []uint32, spares []string, err error) {
	names, err := j.o.FS.List(j.dir)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if stem, ok := strings.CutSuffix(name, segmentSuffix); ok {
			number, err := strconv.ParseUint(stem, 10, 32)
			if err != nil || segmentName(uint32(number)) != name {
				return nil, nil, &persistence.CorruptError{File: j.path(name), Detail: "this is not the name of a segment"}
			}
			numbers = append(numbers, uint32(number))
		} else if strings.HasSuffix(name, spareSuffix) {
			spares = append(spares, name)
		}
	}
	// What was done to the names, here and by a process that was killed, may not
	// be durable yet. It will be before anything is built upon it: with the
	// segment that Open begins.
	return numbers, spares, nil
}

// openSegment opens a segment and reads its header.
func (j *Journal) openSegment(number uint32, h *segmentHeader) error {
	s := &segment{number: number, name: j.File(number)}
	var err error
	if s.file, err = j.o.FS.Open(s.name); err != nil {
		return err
	}
	j.segments = append(j.segments, s)
	if s.size, err = s.file.Size(); err != nil {
		return err
	}
	in := scanner{file: s.file, size: s.size}
	b, err := in.bytes(0, min(block, s.size))
	if err != nil {
		return err
	}
	if err := in.unreadable(0, block); err != nil {
		return j.unreadable(s, 0, err)
	}
	if wrong := h.parse(b); wrong != "" {
		return j.corrupt(s, 0, "%s", wrong)
	}
	switch {
	case h.version != formatVersion:
		return fmt.Errorf("%s has format version %d; this program reads version %d only", s.name, h.version, formatVersion)
	case h.number != number:
		return j.corrupt(s, 0, "by its header this is segment %d", h.number)
	case h.journal != j.o.ID:
		return j.corrupt(s, 0, "it belongs to journal %016x, not to %016x", h.journal, j.o.ID)
	}
	s.life = h.life
	return nil
}

func (j *Journal) corrupt(s *segment, offset int64, format string, args ...any) error {
	return &persistence.CorruptError{File: s.name, Offset: offset, Detail: fmt.Sprintf(format, args...)}
}

// unreadable says that something cannot be read.
func (j *Journal) unreadable(s *segment, offset int64, err error) error {
	return &persistence.CorruptError{File: s.name, Offset: offset, Detail: "it cannot be read", Err: err}
}

// sayEvery is after how many bytes Options.Reading is told.
const sayEvery = 1 << 20

// replayer walks through the segments. It is one batch ahead of what it hands
// out: the last batch is not handed out before it lies where it will stay.
type replayer struct {
	j      *Journal
	replay func(Position, []byte) error

	held   Batch // the newest whole batch, as it lies in the file
	heldIn *segment
	heldAt int64
	before uint32 // the chain before it

	past, said, total int64 // bytes of the segments that were read, were said to be, and are there
	end               int64 // of the last whole batch, in the last segment
}

// segment reads one segment, up to where the next one takes over.
func (r *replayer) segment(s *segment, h, next *segmentHeader) error {
	j := r.j
	if h.first != j.sequence || h.chain != j.chain {
		return j.corrupt(s, 0, "the segment does not continue the one before it: it begins with batch %d after %08x, expected is %d after %08x", h.first, h.chain, j.sequence, j.chain)
	}
	in := scanner{file: s.file, size: s.size}
	at := int64(block)
	for next == nil || j.sequence < next.first {
		batch, err := r.batch(&in, s, at)
		if err != nil {
			return err
		}
		if batch == nil {
			break
		}
		if err := r.deliver(); err != nil {
			return err
		}
		r.hold(s, at, batch)
		j.sequence++
		at += roundUp(int64(len(batch)), block)
		r.passed(at)
	}
	r.end = at
	if next != nil && j.sequence < next.first || next == nil && j.sequence <= h.durable {
		return j.corrupt(s, at, "batch %d was durable and does not check out", j.sequence)
	}
	if next == nil {
		return r.checkTail(&in, s, at)
	}
	return nil
}

// batch reads the batch at an offset. It returns nil if there is none, or a
// damaged one.
func (r *replayer) batch(in *scanner, s *segment, at int64) ([]byte, error) {
	head, err := in.bytes(at, batchHeaderSize)
	if err != nil {
		return nil, err
	}
	var h batchHeader
	if !h.parse(head, s.life) || h.sequence != r.j.sequence {
		return nil, r.checkRead(in, s, at, block)
	}
	if h.chain != r.j.chain {
		return nil, r.j.corrupt(s, at, "batch %d does not follow from what is before it", h.sequence)
	}
	size := batchHeaderSize + int64(h.length)
	if h.length > maxBatchBytes {
		return nil, r.j.corrupt(s, at, "batch %d claims to have %d bytes", h.sequence, h.length)
	}
	batch, err := in.bytes(at, roundUp(size, block))
	if err != nil || batch == nil {
		return nil, err
	}
	if !zero(batch[size:]) || !intact(batch[:size], &h) {
		return nil, r.checkRead(in, s, at, size)
	}
	return batch[:size], nil
}

// checkRead reports what cannot be read: it may be anything, so it is not taken for a
// torn tail.
func (r *replayer) checkRead(in *scanner, s *segment, at, size int64) error {
	if err := in.unreadable(at, size); err != nil {
		return r.j.unreadable(s, at, err)
	}
	return nil
}

// intact reports whether the records of a batch are what its header announces.
func intact(batch []byte, h *batchHeader) bool {
	m := mask(h.life, h.sequence)
	records := batch[batchHeaderSize:]
	for range h.count {
		if len(records) < recordHeaderSize {
			return false
		}
		length := int64(binary.LittleEndian.Uint32(records[4:]))
		if length > int64(len(records)-recordHeaderSize) {
			return false
		}
		record := records[:recordHeaderSize+length]
		if checksum(record[4:])^m != binary.LittleEndian.Uint32(record) {
			return false
		}
		records = records[len(record):]
	}
	return len(records) == 0
}

// checkTail looks for anything in the last segment that was written after the
// batch that is missing, or damaged, at an offset. If there is something, that
// batch was durable once.
func (r *replayer) checkTail(in *scanner, s *segment, at int64) error {
	for later := at; later < s.size; later += block {
		r.passed(later)
		head, err := in.bytes(later, batchHeaderSize)
		if err != nil {
			return err
		}
		var h batchHeader
		if head != nil && h.parse(head, s.life) && h.sequence > r.j.sequence {
			return r.j.corrupt(s, at, "batch %d does not check out, but batch %d at offset %d was written after it", r.j.sequence, h.sequence, later)
		}
	}
	return nil
}

// hold takes a whole batch.
func (r *replayer) hold(s *segment, at int64, batch []byte) {
	b := &r.held
	b.Reset()
	b.buf = append(b.buf, batch...)
	for i := batchHeaderSize; i < len(b.buf); {
		length := binary.LittleEndian.Uint32(b.buf[i+4:])
		b.positions = append(b.positions, Position{Offset: uint32(i), Length: length})
		i += recordHeaderSize + int(length)
	}
	r.heldIn, r.heldAt, r.before = s, at, r.j.chain
	r.j.chain = link(b.buf)
}

// deliver hands out the batch that is held.
func (r *replayer) deliver() error {
	if r.heldIn == nil {
		return nil
	}
	m := mask(r.heldIn.life, binary.LittleEndian.Uint64(r.held.buf[16:]))
	for _, p := range r.held.positions {
		record := r.held.buf[p.Offset:][:recordHeaderSize+p.Length]
		p.Segment = r.heldIn.number
		p.Offset += uint32(r.heldAt)
		p.Sum = binary.LittleEndian.Uint32(record) ^ m
		if err := r.replay(p, record[recordHeaderSize:]); err != nil {
			return r.j.corrupt(r.heldIn, int64(p.Offset), "%v", err)
		}
	}
	return nil
}

// finish begins a new segment with a copy of the last batch, hands that out, and
// cuts off what the copy replaces, with the torn tail behind it. See "Opening
// never writes over anything" in the package documentation.
func (r *replayer) finish() error {
	j := r.j
	h := segmentHeader{life: random(), first: j.sequence, durable: j.sequence - 1, chain: j.chain}
	var batch *Batch
	if r.heldIn != nil {
		h.first, h.chain = j.sequence-1, r.before
		batch = &r.held
		j.chain = batch.seal(h.life, h.first, h.chain)
	}

	replaced, number, err := r.place()
	if err != nil {
		return err
	}
	h.number = number
	if replaced != nil {
		j.segments = j.segments[:len(j.segments)-1]
		if err := replaced.file.Close(); err != nil {
			return err
		}
	}
	least := int64(block)
	if batch != nil {
		least += batch.size()
	}
	s, filled, err := j.begin(h, batch, max(j.o.SegmentBytes, least))
	if errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned) {
		// Whoever cannot open it cannot read either. A small one has to do.
		s, filled, err = j.begin(h, batch, max(minSegmentBytes, roundUp(least, block)))
	}
	if err != nil {
		return err
	}
	old, oldEnd := r.heldIn, r.heldAt
	j.segments = append(j.segments, s)
	j.offset, j.filled = block, filled
	if batch != nil {
		j.offset += batch.size()
		r.heldIn, r.heldAt = s, block
		if err := r.deliver(); err != nil {
			return err
		}
	}
	if old != nil && old != replaced && oldEnd < old.size {
		// This gives space back. It need not be durable: what is cut off is void.
		if err := old.file.Truncate(oldEnd); err != nil {
			return err
		}
		old.size = oldEnd
	}
	return j.openMark(s)
}

// place says where the new segment goes. A last segment that has nothing beside
// what is void now is replaced, so that opening a journal many times does not fill
// the directory. Elsewhere the new one takes the next number.
func (r *replayer) place() (replaced *segment, number uint32, err error) {
	n := len(r.j.segments)
	if n == 0 {
		return nil, max(r.j.o.First, 1), nil
	}
	last := r.j.segments[n-1]
	if (r.heldIn != last || r.heldAt == block) && last.number >= r.j.o.First {
		return last, last.number, nil
	}
	if last.number == math.MaxUint32 {
		return nil, 0, fmt.Errorf("%s: %w", r.j.dir, errNumbersUsedUp)
	}
	return nil, last.number + 1, nil
}

// scanner reads a file from front to back with large reads. Blocks that the disk
// cannot read come as zeros, which no batch has; unreadable tells of them.
type scanner struct {
	file  File
	size  int64
	buf   []byte
	start int64 // of buf, in the file
	holes []hole
}

// hole is a block that cannot be read.
type hole struct {
	at  int64
	err error
}

// bytes returns n bytes at an offset, or nil if the file ends before them. They
// are valid until the next call.
func (s *scanner) bytes(at int64, n int64) ([]byte, error) {
	if at+n > s.size {
		return nil, nil
	}
	if at < s.start || at+n > s.start+int64(len(s.buf)) {
		want := min(max(n, maxSpanBytes), s.size-at)
		s.buf = slices.Grow(s.buf[:0], int(want))[:want]
		s.start = at
		if err := s.read(s.buf, at); err != nil {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	return s.buf[at-s.start:][:n], nil
}

// read fills b with what is at an offset.
func (s *scanner) read(b []byte, at int64) error {
	_, err := s.file.ReadAt(b, at)
	if !isUnreadable(err) {
		return err
	}
	for len(b) > 0 {
		n := min(roundUp(at+1, block)-at, int64(len(b)))
		_, err := s.file.ReadAt(b[:n], at)
		switch {
		case isUnreadable(err):
			clear(b[:n])
			s.holes = append(s.holes, hole{at, err})
		case err != nil:
			return err
		}
		b, at = b[n:], at+n
	}
	return nil
}

// unreadable returns why a part of what was read could not be, if that is so.
func (s *scanner) unreadable(at, size int64) error {
	for _, h := range s.holes {
		if at-block < h.at && h.at < at+size {
			return h.err
		}
	}
	return nil
}

// isUnreadable reports whether the disk could not read what it has.
func isUnreadable(err error) bool { return errors.Is(err, syscall.EIO) }
