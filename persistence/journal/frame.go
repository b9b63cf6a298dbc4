package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// The sizes of what a segment is made of, in bytes. FORMAT.md has the fields.
const (
	block             = 4096 // the segment header has the first one; batches begin at multiples of it
	segmentHeaderSize = 64
	batchHeaderSize   = 36
	recordHeaderSize  = 8

	formatVersion = 1
	segmentMagic  = "castaway"
	batchMagic    = 0x68637462 // "btch"

	minSegmentBytes = 64 << 10

	// maxBatchBytes bounds a batch, so that offsets fit their fields with room to
	// spare.
	maxBatchBytes = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// segmentHeader opens a segment.
type segmentHeader struct {
	version uint32 // formatVersion
	number  uint32
	journal uint64 // which journal this belongs to
	life    uint64 // which use of the file this is
	first   uint64 // the sequence number of the first batch here; void in earlier segments from there on
	durable uint64 // the last batch that was known to be whole and durable when this was written
	chain   uint32 // over all batches before first
}

func (h *segmentHeader) append(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, segmentMagic...)
	buf = binary.LittleEndian.AppendUint32(buf, h.version)
	buf = binary.LittleEndian.AppendUint32(buf, h.number)
	buf = binary.LittleEndian.AppendUint64(buf, h.journal)
	buf = binary.LittleEndian.AppendUint64(buf, h.life)
	buf = binary.LittleEndian.AppendUint64(buf, h.first)
	buf = binary.LittleEndian.AppendUint64(buf, h.durable)
	buf = binary.LittleEndian.AppendUint32(buf, h.chain)
	buf = binary.LittleEndian.AppendUint64(buf, 0)
	return binary.LittleEndian.AppendUint32(buf, checksum(buf[start:]))
}

// parse takes the header from the first block of a segment. It returns what is
// wrong with it, or nothing.
func (h *segmentHeader) parse(b []byte) (wrong string) {
	switch {
	case len(b) < block:
		return "the file is shorter than a segment header"
	case string(b[:8]) != segmentMagic:
		return "this is not a segment: the magic number is missing"
	case checksum(b[:60]) != binary.LittleEndian.Uint32(b[60:]):
		return "the segment header has a wrong checksum"
	case !zero(b[segmentHeaderSize:block]) || !zero(b[52:60]):
		return "the rest of the segment header's block is not zero"
	}
	*h = segmentHeader{
		version: binary.LittleEndian.Uint32(b[8:]),
		number:  binary.LittleEndian.Uint32(b[12:]),
		journal: binary.LittleEndian.Uint64(b[16:]),
		life:    binary.LittleEndian.Uint64(b[24:]),
		first:   binary.LittleEndian.Uint64(b[32:]),
		durable: binary.LittleEndian.Uint64(b[40:]),
		chain:   binary.LittleEndian.Uint32(b[48:]),
	}
	return ""
}

// batchHeader opens a batch.
type batchHeader struct {
	life     uint64
	sequence uint64
	length   uint32 // of the records together, in bytes
	count    uint32 // of records
	chain    uint32 // over all batches before
}

func (h *batchHeader) put(b []byte) {
	binary.LittleEndian.PutUint32(b[0:], batchMagic)
	binary.LittleEndian.PutUint64(b[8:], h.life)
	binary.LittleEndian.PutUint64(b[16:], h.sequence)
	binary.LittleEndian.PutUint32(b[24:], h.length)
	binary.LittleEndian.PutUint32(b[28:], h.count)
	binary.LittleEndian.PutUint32(b[32:], h.chain)
	binary.LittleEndian.PutUint32(b[4:], checksum(b[8:batchHeaderSize]))
}

// parse reports whether b begins with the header of a batch of this life.
func (h *batchHeader) parse(b []byte, life uint64) bool {
	if len(b) < batchHeaderSize || binary.LittleEndian.Uint32(b) != batchMagic ||
		binary.LittleEndian.Uint64(b[8:]) != life ||
		binary.LittleEndian.Uint32(b[4:]) != checksum(b[8:batchHeaderSize]) {
		return false
	}
	*h = batchHeader{
		life:     life,
		sequence: binary.LittleEndian.Uint64(b[16:]),
		length:   binary.LittleEndian.Uint32(b[24:]),
		count:    binary.LittleEndian.Uint32(b[28:]),
		chain:    binary.LittleEndian.Uint32(b[32:]),
	}
	return true
}

// mask is what the checksums of a batch's records are masked with. Within a
// life no two are equal: sequence numbers that differ in their lower 32 bits
// alone are told apart by a checksum of 32 bits for certain.
func mask(life, sequence uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], life)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	return checksum(b[:])
}

// link returns the chain after the batch with these bytes, its header and its
// records. It covers the records through their checksums, so that no byte is
// read twice.
func link(batch []byte) uint32 {
	chain := binary.LittleEndian.Uint32(batch[32:])
	chain = crc32.Update(chain, castagnoli, batch[:batchHeaderSize])
	for at := batchHeaderSize; at < len(batch); {
		chain = crc32.Update(chain, castagnoli, batch[at:at+recordHeaderSize])
		at += recordHeaderSize + int(binary.LittleEndian.Uint32(batch[at+4:]))
	}
	return chain
}

// roundUp returns n, or the next multiple of unit after it.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
