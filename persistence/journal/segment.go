package journal

import (
	"errors"
	"fmt"
	"math"

	"github.com/castaway-go/castaway/persistence"
)

// maxSpares is how many retired files are kept to be used again. One is in
// demand at a time; the second covers for two retirements in a row.
const maxSpares = 2

// errNumbersUsedUp: four thousand million segments, of 64 MiB each, have been
// filled. At 200 MB/s that takes 40 years.
var errNumbersUsedUp = errors.New("the segment numbers are used up")

// roll seals the active segment and begins the next one, with room for a batch
// of this size at least.
func (j *Journal) roll(need int64, urgent bool) (*segment, error) {
	size := max(j.o.SegmentBytes, block+need)
	if !urgent {
		if err := j.roomFor(size); err != nil {
			return nil, err
		}
	}
	last := j.active()
	if last.number == math.MaxUint32 {
		return nil, fmt.Errorf("%s: %w", j.dir, errNumbersUsedUp)
	}
	s, filled, err := j.begin(segmentHeader{
		number:  last.number + 1,
		first:   j.sequence,
		durable: j.sequence - 1,
		chain:   j.chain,
	}, nil, size)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.segments = append(j.segments, s)
	j.mu.Unlock()
	j.offset, j.filled = block, filled
	if err := j.syncMark(s); err != nil {
		return nil, fmt.Errorf("%w: %w", persistence.ErrPoisoned, err)
	}
	return s, nil
}

// roomFor reports with persistence.ErrDiskFull if a segment of this size would
// leave less free than Options.KeepFree. A spare takes nothing.
func (j *Journal) roomFor(size int64) error {
	if j.o.KeepFree == 0 || size == j.o.SegmentBytes && j.hasSpare() {
		return nil
	}
	free, err := j.o.FS.Free(j.dir)
	if err == nil && free < size+j.o.KeepFree {
		err = fmt.Errorf("%w: %d bytes are free in %s, another segment takes %d, and must leave %d", persistence.ErrDiskFull, free, j.dir, size, j.o.KeepFree)
	}
	return err
}

// begin makes a segment of this size, which is enough for what it is to hold, out
// of a spare file, or a new one, with this header, and a batch behind it if one is
// given. It takes the place of a segment of the same number. filled tells how much
// of the file was written before.
//
// The file gets its name after its header is durable, so that there is never a
// segment without a whole header, whatever fails in between; what is left of
// an attempt that failed is a spare.
func (j *Journal) begin(h segmentHeader, batch *Batch, size int64) (s *segment, filled int64, err error) {
	if h.life == 0 {
		h.life = random()
	}
	h.version, h.journal = formatVersion, j.o.ID
	image := h.append(make([]byte, 0, block))
	image = appendZeros(image, block-len(image))
	if batch != nil {
		image = append(image, batch.buf...)
		image = appendZeros(image, int(batch.size())-len(batch.buf))
	}

	s = &segment{number: h.number, life: h.life, size: size, name: j.path(segmentName(h.number))}
	spare, used := "", false
	if size == j.o.SegmentBytes {
		spare, used = j.takeSpare()
	}
	if used {
		s.file, err = j.o.FS.Open(spare)
	} else {
		spare = j.path(spareName(h.number))
		s.file, err = j.o.FS.Create(spare, s.size)
	}
	if err != nil {
		return nil, 0, err
	}
	if _, err := s.file.WriteAt(image, 0); err != nil {
		s.file.Close()
		if errors.Is(err, persistence.ErrDiskFull) {
			err = errors.Join(err, j.o.FS.Remove(spare)) // so that it does not take up what is left
		}
		return nil, 0, err
	}
	if err := j.christen(s, spare); err != nil {
		s.file.Close()
		return nil, 0, fmt.Errorf("%w: %w", persistence.ErrPoisoned, err)
	}
	if used {
		return s, s.size, nil
	}
	return s, int64(len(image)), nil
}

// christen makes the beginning of a segment durable and gives it its name. When that
// fails, it may have it or not.
func (j *Journal) christen(s *segment, spare string) error {
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := j.o.FS.Rename(spare, s.name); err != nil {
		return err
	}
	return j.o.FS.SyncDir(j.dir)
}

func (j *Journal) hasSpare() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return len(j.spares) > 0
}

func (j *Journal) takeSpare() (name string, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.spares)
	if n == 0 {
		return "", false
	}
	name = j.spares[n-1]
	j.spares = j.spares[:n-1]
	return name, true
}

// Retire takes the oldest segment out of the stream: its owner needs nothing of
// it any more, and has made that durable elsewhere. Positions in it end with
// ErrRetired from then on. It waits for those who are reading.
func (j *Journal) Retire(number uint32) error {
	j.retiring.Lock()
	defer j.retiring.Unlock()
	if err := j.usable(); err != nil {
		return err
	}
	j.mu.RLock()
	s, sealed := j.segments[0], len(j.segments) > 1
	recycle := s.size == j.o.SegmentBytes && len(j.spares) < maxSpares
	j.mu.RUnlock()
	if s.number != number || !sealed {
		return fmt.Errorf("segment %d cannot be retired: it is not the oldest sealed one", number)
	}
	s.reading.Lock()
	s.gone = true
	s.reading.Unlock()

	// The name must be gone for certain before the file is written again: else a
	// crash could bring back the old segment with new contents.
	err := s.file.Close()
	spare := j.path(spareName(number))
	if err == nil && recycle {
		err = j.o.FS.Rename(s.name, spare)
	} else if err == nil {
		err = j.o.FS.Remove(s.name)
	}
	if err == nil {
		err = j.o.FS.SyncDir(j.dir)
	}
	if err != nil {
		return j.fail(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = append([]*segment(nil), j.segments[1:]...)
	if recycle {
		j.spares = append(j.spares, spare)
	}
	return nil
}
