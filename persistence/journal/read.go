package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/castaway-go/castaway/persistence"
)

const (
	// A gap of up to this many bytes between two wanted records is read along,
	// because it costs less than another system call.
	maxGapBytes = 16 << 10
	// One read takes in at most this much, unless one record is larger.
	maxSpanBytes = 1 << 20
)

// Read reads records back, in the order of their positions, which should be that
// of the stream: neighbours are read together. The results share memory with
// each other and with nobody else.
//
// A record that is not what was appended is a *persistence.CorruptError. If one
// has been retired, the error is ErrRetired.
func (j *Journal) Read(positions []Position) ([][]byte, error) {
	if j.closed.Load() {
		return nil, persistence.ErrClosed
	}
	records := make([][]byte, 0, len(positions))
	for len(positions) > 0 {
		n, bytes := 0, int64(0)
		for n < len(positions) { // the spans that share a buffer: one for each costs a tenth of the time
			m, size := span(positions[n:])
			if bytes > 0 && bytes+size > maxSpanBytes {
				break
			}
			n, bytes = n+m, bytes+size
		}
		var err error
		if records, err = j.readSpans(records, positions[:n], make([]byte, bytes)); err != nil {
			return nil, err
		}
		positions = positions[n:]
	}
	return records, nil
}

func (p Position) end() int64 { return int64(p.Offset) + recordHeaderSize + int64(p.Length) }

// span returns how many of the positions are worth reading together, and how many
// bytes that takes.
func span(positions []Position) (n int, size int64) {
	first := positions[0]
	for n = 1; n < len(positions); n++ {
		before, p := positions[n-1], positions[n]
		gap := int64(p.Offset) - before.end()
		if p.Segment != first.Segment || gap < 0 || gap > maxGapBytes || p.end()-int64(first.Offset) > maxSpanBytes {
			break
		}
	}
	return n, positions[n-1].end() - int64(first.Offset)
}

// readSpans reads spans of records into buf, which is as large as they are.
func (j *Journal) readSpans(records [][]byte, positions []Position, buf []byte) ([][]byte, error) {
	wanted, bytes, before := 0, len(buf), len(records)
	for len(positions) > 0 {
		n, size := span(positions)
		if err := j.readSpan(positions[:n], buf[:size]); err != nil {
			return nil, err
		}
		for _, p := range positions[:n] {
			at := int64(p.Offset) - int64(positions[0].Offset) + recordHeaderSize
			records = append(records, buf[at:at+int64(p.Length):at+int64(p.Length)])
			wanted += int(p.Length)
		}
		positions, buf = positions[n:], buf[size:]
	}
	if wanted < bytes/2 {
		// Small records far apart: whoever keeps them must not keep the padding.
		compact(records[before:], wanted)
	}
	return records, nil
}

// readSpan reads neighbours with one read, and checks them.
func (j *Journal) readSpan(positions []Position, buf []byte) error {
	s, err := j.acquire(positions[0].Segment)
	if err != nil {
		return err
	}
	start := int64(positions[0].Offset)
	beyond := start+int64(len(buf)) > s.size
	if !beyond {
		_, err = s.file.ReadAt(buf, start)
	}
	s.reading.RUnlock()
	if beyond || errors.Is(err, io.EOF) {
		return &persistence.CorruptError{File: s.name, Offset: start, Detail: "a record is wanted from beyond the segment's end"}
	}
	if err != nil {
		return err
	}
	for _, p := range positions {
		at := int64(p.Offset) - start
		record := buf[at : at+recordHeaderSize+int64(p.Length)]
		if binary.LittleEndian.Uint32(record[4:]) != p.Length || checksum(record[4:]) != p.Sum {
			return &persistence.CorruptError{File: s.name, Offset: int64(p.Offset), Detail: fmt.Sprintf("the record of %d bytes that was written here has changed", p.Length)}
		}
	}
	return nil
}

// compact moves the records into memory of their own.
func compact(records [][]byte, bytes int) {
	buf := make([]byte, 0, bytes)
	for i, r := range records {
		start := len(buf)
		buf = append(buf, r...)
		records[i] = buf[start:len(buf):len(buf)]
	}
}

// acquire finds a segment and keeps it from being taken away until its reading
// lock is released.
func (j *Journal) acquire(number uint32) (*segment, error) {
	j.mu.RLock()
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].number >= number })
	var s *segment
	if i < len(j.segments) && j.segments[i].number == number {
		s = j.segments[i]
	}
	j.mu.RUnlock()
	if s == nil {
		return nil, ErrRetired
	}
	s.reading.RLock()
	if s.gone {
		s.reading.RUnlock()
		return nil, ErrRetired
	}
	return s, nil
}
