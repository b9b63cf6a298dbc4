package journal

import (
	"encoding/binary"
	"testing"
)

// What tests in package journal_test need to know of the insides.
const (
	Block            = block
	BatchHeaderBytes = batchHeaderSize
	MaxBatchBytes    = maxBatchBytes
)

// Spares returns how many files wait to be used again.
func (j *Journal) Spares() int { return len(j.spares) }

// Grow adds a record of n zeros.
func (b *Batch) Grow(n int) {
	b.Add(func(buf []byte) []byte { return append(buf, make([]byte, n)...) })
}

// Pretend makes the batch one of n bytes, which are never looked at.
func (b *Batch) Pretend(n int) { b.buf, b.positions = make([]byte, n), make([]Position, 1) }

// FixLives makes the lives of segments 1, 2, 3, … for the time of a test.
func FixLives(t *testing.T) {
	old, n := random, uint64(0)
	random = func() uint64 { n++; return n }
	t.Cleanup(func() { random = old })
}

// FixChecksums makes the headers in a segment pass for whole, as far as their
// checksums go, so that what is behind these is reached as well.
func FixChecksums(segment []byte) {
	if len(segment) < block {
		return
	}
	binary.LittleEndian.PutUint32(segment[60:], checksum(segment[:60]))
	life := segment[24:32]
	for at := block; at+batchHeaderSize <= len(segment); at += block {
		h := segment[at:]
		if binary.LittleEndian.Uint32(h) != batchMagic {
			continue
		}
		copy(h[8:16], life)
		binary.LittleEndian.PutUint32(h[4:], checksum(h[8:batchHeaderSize]))
		m := mask(binary.LittleEndian.Uint64(life), binary.LittleEndian.Uint64(h[16:]))
		for r := h[batchHeaderSize:]; len(r) >= recordHeaderSize; {
			n := uint64(binary.LittleEndian.Uint32(r[4:])) + recordHeaderSize
			if n > uint64(len(r)) {
				break
			}
			binary.LittleEndian.PutUint32(r, checksum(r[4:n])^m)
			r = r[n:]
		}
	}
}

// FixWatermark makes a watermark pass for whole.
func FixWatermark(b []byte) { binary.LittleEndian.PutUint32(b[32:], checksum(b[:32])) }
