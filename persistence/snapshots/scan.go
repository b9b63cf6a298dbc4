package snapshots

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/castaway-go/castaway/persistence"
)

// scanner checks a snapshot file from its first byte to its last, unit by unit.
// It does no reading: whoever has the bytes shows it a unit and says next.
type scanner struct {
	file string // for errors
	want *Info  // what it must be, if it is not nil

	head    header // once head.bytes is not 0
	at      int64  // where the unit begins that comes next
	sum     uint32 // checksum of the unit before
	content int64  // bytes so far
	whole   uint32 // checksum of those
	short   bool   // there was a block that was not full: the trailer comes next
	done    bool   // the trailer was there
}

// need returns how many bytes the unit has that begins with b. As long as that is
// more than b has, it may turn out to be yet more.
func (s *scanner) need(b []byte) (int, error) {
	switch {
	case s.done:
		return 0, s.corrupt("something follows its trailer")
	case s.head.bytes == 0 && len(b) < 16:
		return 16, nil
	case s.head.bytes == 0:
		n, err := headerLength(b)
		return n, s.damage(err)
	case len(b) < frameBytes:
		return frameBytes, nil
	}
	length := binary.LittleEndian.Uint32(b[4:])
	switch {
	case length == trailerMark:
		return trailerBytes, nil
	case length == 0 || length > uint32(s.head.block) || s.short:
		return 0, s.corrupt(fmt.Sprintf("no block of %d bytes can be here", length))
	}
	return frameBytes + int(length), nil
}

// take checks a whole unit, and moves on to the one after it. It returns the
// content in it. After an error it is where it was.
func (s *scanner) take(unit []byte) (content []byte, err error) {
	switch {
	case s.head.bytes == 0:
		err = s.takeHeader(unit)
	case binary.LittleEndian.Uint32(unit[4:]) == trailerMark:
		err = s.takeTrailer(unit)
	default:
		if crc32.Update(s.sum, castagnoli, unit[4:]) != binary.LittleEndian.Uint32(unit) {
			return nil, s.corrupt("a block has a wrong checksum, or is not in its place")
		}
		content = unit[frameBytes:]
		s.short = len(content) < s.head.block
		s.content += int64(len(content))
		s.whole = crc32.Update(s.whole, castagnoli, content)
		s.sum = binary.LittleEndian.Uint32(unit)
	}
	if err != nil {
		return nil, err
	}
	s.at += int64(len(unit))
	return content, nil
}

func (s *scanner) takeHeader(unit []byte) error {
	h, err := decodeHeader(unit)
	if err != nil {
		return s.damage(err)
	}
	if s.want != nil && !s.want.same(&h.info) {
		return s.corrupt(fmt.Sprintf("it is snapshot %v of %v, not %v of %v", h.info.ID, h.info.Meta.Last, s.want.ID, s.want.Meta.Last))
	}
	s.head, s.sum = h, checksum(unit[:len(unit)-4])
	return nil
}

func (s *scanner) takeTrailer(unit []byte) error {
	t, err := decodeTrailer(unit, s.sum)
	if err != nil {
		return s.damage(err)
	}
	if t.content != s.content || t.whole != s.whole {
		return s.corrupt("its content is not what its trailer says")
	}
	s.done = true
	return nil
}

// read reads the next unit from src, which is there exactly. It returns the
// content in it, and the unit's bytes: buf, or larger.
func (s *scanner) read(src io.Reader, buf []byte) (content, unit []byte, err error) {
	unit = buf[:0]
	for {
		n, err := s.need(unit)
		if err != nil {
			return nil, unit, err
		}
		have := len(unit)
		if n == have {
			content, err = s.take(unit)
			return content, unit, err
		}
		if n > cap(unit) {
			unit = append(make([]byte, 0, n), unit...)
		}
		unit = unit[:n]
		if _, err := io.ReadFull(src, unit[have:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, unit[:0], s.corrupt("it is cut off")
			}
			return nil, unit[:0], fmt.Errorf("%s: %w", s.file, err)
		}
	}
}

// feeder checks a file whose bytes come in pieces of any size.
type feeder struct {
	scanner
	unit []byte // the beginning of the unit that comes next
}

// feed takes the next piece. After an error, everything up to the scanner's
// position is good.
func (f *feeder) feed(p []byte) error {
	for len(p) > 0 {
		n, err := f.need(f.unit)
		if err != nil {
			return err
		}
		k := min(n-len(f.unit), len(p))
		f.unit, p = append(f.unit, p[:k]...), p[k:]
		if len(f.unit) < n {
			return nil
		}
		if n, err = f.need(f.unit); err != nil {
			return err
		}
		if n == len(f.unit) {
			if _, err := f.take(f.unit); err != nil {
				return err
			}
			f.unit = f.unit[:0]
		}
	}
	return nil
}

func (s *scanner) corrupt(detail string) error {
	return &persistence.CorruptError{File: s.file, Offset: s.at, Detail: detail}
}

// damage is corrupt for what a decoder says: but another version is no damage.
func (s *scanner) damage(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrVersion) {
		return fmt.Errorf("%s: %w", s.file, err)
	}
	return s.corrupt(err.Error())
}

// inspect checks the header and the trailer of a file, and that its size is what
// they say. It reads no content.
func inspect(f io.ReaderAt, size int64, file string, want *Info) (header, error) {
	s := scanner{file: file, want: want}
	if _, _, err := s.read(io.NewSectionReader(f, 0, size), nil); err != nil {
		return header{}, err
	}
	h := s.head
	s.at = size - trailerBytes
	if s.at < int64(h.bytes) {
		s.at = size
		return h, s.corrupt("it is cut off")
	}
	b := make([]byte, trailerBytes)
	if err := readAt(f, b, s.at, file); err != nil {
		return h, err
	}
	// The trailer continues the checksum of the last block, wherever that begins.
	content := int64(binary.LittleEndian.Uint64(b[8:]))
	if content < 0 || content > size || h.fileBytes(content) != size || !bytes.Equal(b[24:], []byte(endMagic)) {
		return h, s.corrupt("its trailer is missing, or its size is not what that says")
	}
	if content > 0 {
		sum, err := sumBefore(f, &h, (content-1)/int64(h.block)+1, file)
		if err != nil {
			return h, err
		}
		s.sum = sum
	}
	if _, err := decodeTrailer(b, s.sum); err != nil {
		return h, s.corrupt(err.Error())
	}
	h.info.Size = size
	return h, nil
}

// sumBefore reads the checksum of what comes before a block, or before the
// trailer.
func sumBefore(f io.ReaderAt, h *header, block int64, file string) (uint32, error) {
	at := int64(h.bytes) - 4
	if block > 0 {
		at = int64(h.bytes) + (block-1)*int64(frameBytes+h.block)
	}
	b := make([]byte, 4)
	if err := readAt(f, b, at, file); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// readAt reads bytes that must be there.
func readAt(f io.ReaderAt, b []byte, at int64, file string) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return &persistence.CorruptError{File: file, Offset: at, Detail: "it is cut off"}
	}
	return fmt.Errorf("%s: %w", file, err)
}
