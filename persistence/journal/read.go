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
		n := span(positions)
		var err error
		if records, err = j.readSpan(records, positions[:n]); err != nil {
			return nil, err
		}
		positions = positions[n:]
	}
	return records, nil
}

func (p Position) end() int64 { return int64(p.Offset) + recordHeaderSize + int64(p.Length) }

// span returns how many of the positions are worth reading together.
func span(positions []Position) int {
	first := positions[0]
	n := 1
	for ; n < len(positions); n++ {
		before, p := positions[n-1], positions[n]
		gap := int64(p.Offset) - before.end()
		if p.Segment != first.Segment || gap < 0 || gap > maxGapBytes || p.end()-int64(first.Offset) > maxSpanBytes {
			break
		}
	}
	return n
}

// readSpan reads neighbours with one read.
func (j *Journal) readSpan(records [][]byte, positions []Position) ([][]byte, error) {
	s, err := j.acquire(positions[0].Segment)
	if err != nil {
		return nil, err
	}
	start, end := int64(positions[0].Offset), positions[len(positions)-1].end()
	var buf []byte
	if end <= s.size {
		buf = make([]byte, end-start)
		_, err = s.file.ReadAt(buf, start)
	}
	s.reading.RUnlock()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if buf == nil || err != nil {
		return nil, &persistence.CorruptError{File: s.name, Offset: start, Detail: "a record is wanted from beyond the segment's end"}
	}
	wanted := 0
	for _, p := range positions {
		at := int64(p.Offset) - start
		record := buf[at : at+recordHeaderSize+int64(p.Length)]
		if binary.LittleEndian.Uint32(record[4:]) != p.Length || checksum(record[4:]) != p.Sum {
			return nil, &persistence.CorruptError{File: s.name, Offset: int64(p.Offset), Detail: fmt.Sprintf("the record of %d bytes that was written here has changed", p.Length)}
		}
		records = append(records, record[recordHeaderSize:len(record):len(record)])
		wanted += int(p.Length)
	}
	if wanted < len(buf)/2 {
		// Small records far apart: whoever keeps them must not keep the padding.
		compact(records[len(records)-len(positions):], wanted)
	}
	return records, nil
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
