package badgerstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// What is in Badger. Every value begins with the version of its format and
// ends with a checksum of key and value: whatever happens to a value on its
// way, or to the order of keys, is noticed. FORMAT.md has the bytes.
//
//	'r'                              the root: what Badger must hold
//	't' slot                         a ticket: which transaction came last here
//	'g' number                       a group
//	'c' number ^first                a chunk of its entries, by the index of the first
//	'p' number ^first piece          a piece of a chunk that is too large for one value
//
// Numbers are 8 bytes, big-endian (4 for a piece). Indices are inverted, so that
// seeking index i forwards finds the chunk with the greatest first index ≤ i,
// and a scan meets the newest chunk first.
const (
	prefixRoot   = 'r'
	prefixTicket = 't'
	prefixGroup  = 'g'
	prefixChunk  = 'c'
	prefixPiece  = 'p'

	valueVersion = 1

	// A chunk has at most as many entries, and about as many bytes of them: a block of
	// Badger. While it builds a table, Badger makes room for a whole block for every
	// chunk of more than half of one, and keeps that memory; and who reads a few
	// entries reads the chunk.
	maxChunkEntries = 256
	maxChunkBytes   = blockBytes
	// A chunk with less than that takes in the next entries.
	smallChunkEntries = 128
	smallChunkBytes   = maxChunkBytes / 2
	// A chunk of one large entry is cut into pieces of this size. Badger would
	// put larger values into its value log, where a failed sync goes unreported.
	maxPieceBytes = 256 << 10
	// As many hold the largest entry that fits a batch of the journal.
	maxPieces = 1<<30/maxPieceBytes + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bodySum is the checksum of entries that are in pieces.
func bodySum(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli))
}

func checksum(s string) uint32 { return crc32.Checksum([]byte(s), castagnoli) }

// errValue: the bytes are not those that were written under this key.
var errValue = errors.New("the value has a wrong checksum, or is malformed")

// seal puts the checksum behind a value.
func seal(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.LittleEndian.AppendUint32(value, sum)
}

// unseal checks a value and returns a reader of what is between the version and
// the checksum.
func unseal(key, value []byte) (reader, error) {
	n := len(value) - 4
	if n < 1 || value[0] != valueVersion {
		return reader{}, errValue
	}
	if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:n]) != binary.LittleEndian.Uint32(value[n:]) {
		return reader{}, errValue
	}
	return reader{b: value[1:n:n]}, nil
}

// root is what Badger must hold. Every transaction writes it, and a ticket.
type root struct {
	store      uint64 // which store this is
	generation uint64 // counts the transactions
	groups     uint64 // how many groups there are
	versions   uint64 // the versions of all groups together
	next       uint32 // the journal has every segment from this one on
	sequence   uint64 // and every batch up to this one: what is here may follow from it
}

var rootKey = []byte{prefixRoot}

func (r *root) encode() []byte {
	b := []byte{valueVersion}
	b = binary.LittleEndian.AppendUint64(b, r.store)
	b = binary.AppendUvarint(b, r.generation)
	b = binary.AppendUvarint(b, r.groups)
	b = binary.AppendUvarint(b, r.versions)
	b = binary.LittleEndian.AppendUint32(b, r.next)
	b = binary.AppendUvarint(b, r.sequence)
	return seal(rootKey, b)
}

func decodeRoot(value []byte) (root, error) {
	r, err := unseal(rootKey, value)
	if err != nil {
		return root{}, err
	}
	d := root{store: r.fixed64(), generation: r.uvarint(), groups: r.uvarint(), versions: r.uvarint()}
	if next := r.bytes(4); next != nil {
		d.next = binary.LittleEndian.Uint32(next)
	}
	if len(r.b) > 0 { // it is not in format 1
		d.sequence = r.uvarint()
	}
	if r.end() != nil {
		return root{}, errValue
	}
	return d, nil
}

// Every transaction leaves a ticket with its generation, in a ring of slots: by
// those that are missing we notice a transaction that was lost although later
// ones are there. Badger has 24 MiB at the most in logs that it may cut off
// short. Transactions with entries are hundreds of KiB, so those are within the
// last 4096 by far; smaller ones have groups only, which the root counts.
const tickets = 4096

func ticketKey(generation uint64) []byte {
	return binary.BigEndian.AppendUint16([]byte{prefixTicket}, uint16(generation%tickets))
}

func encodeTicket(key []byte, generation uint64) []byte {
	return seal(key, binary.AppendUvarint([]byte{valueVersion}, generation))
}

func decodeTicket(key, value []byte) (generation uint64, err error) {
	r, err := unseal(key, value)
	if err != nil {
		return 0, err
	}
	if generation = r.uvarint(); r.end() != nil {
		return 0, errValue
	}
	return generation, nil
}

func groupKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixGroup}, number)
}

// groupValue is what Badger keeps of a group beside its entries.
type groupValue struct {
	name        string
	incarnation raftcore.Incarnation
	version     uint64 // counts how often this was written
	hard        raftcore.HardState
	damaged     bool
	snapshot    raftcore.SnapshotMeta
	base        raftcore.SnapshotMeta
	last        raftcore.Index // of the entries that are in Badger; base.Last.Index if there are none
	runs        []raftcore.TermRun
	configs     []raftcore.ConfigAt
	removed     *persistence.Tombstone // all that is left: name, incarnation and hard count then
}

func (g *groupValue) encode(key []byte) []byte {
	b := []byte{valueVersion}
	b = binary.AppendUvarint(b, uint64(len(g.name)))
	b = append(b, g.name...)
	b = binary.LittleEndian.AppendUint64(b, uint64(g.incarnation))
	b = binary.AppendUvarint(b, g.version)
	b = appendHardState(b, g.hard, g.damaged)
	b = appendSnapshot(b, &g.snapshot)
	b = appendSnapshot(b, &g.base)
	b = binary.AppendUvarint(b, uint64(g.last))
	b = binary.AppendUvarint(b, uint64(len(g.runs)))
	var before raftcore.TermRun
	for _, run := range g.runs { // both ascend: small numbers
		b = binary.AppendUvarint(b, uint64(run.First-before.First))
		b = binary.AppendUvarint(b, uint64(run.Term-before.Term))
		before = run
	}
	b = binary.AppendUvarint(b, uint64(len(g.configs)))
	for i := range g.configs {
		b = appendConfigAt(b, &g.configs[i])
	}
	if g.removed != nil {
		b = binary.AppendVarint(b, g.removed.Time)
	}
	return seal(key, b)
}

func decodeGroup(key, value []byte) (number uint64, g groupValue, err error) {
	if len(key) != 9 || key[0] != prefixGroup {
		return 0, g, errValue
	}
	r, err := unseal(key, value)
	if err != nil {
		return 0, g, err
	}
	g.name = string(r.bytes(r.uvarint()))
	g.incarnation = raftcore.Incarnation(r.fixed64())
	g.version = r.uvarint()
	g.hard, g.damaged = r.hardState()
	g.snapshot = r.snapshot()
	g.base = r.snapshot()
	g.last = raftcore.Index(r.uvarint())
	if n := r.count(2); n > 0 {
		g.runs = make([]raftcore.TermRun, n)
		var before raftcore.TermRun
		for i := range g.runs {
			before = raftcore.TermRun{First: before.First + raftcore.Index(r.uvarint()), Term: before.Term + raftcore.Term(r.uvarint())}
			g.runs[i] = before
		}
	}
	if n := r.count(4); n > 0 {
		g.configs = make([]raftcore.ConfigAt, n)
		for i := range g.configs {
			g.configs[i] = r.configAt()
		}
	}
	if len(r.b) > 0 { // it is not in a group that is there, nor in format 2
		g.removed = &persistence.Tombstone{Group: g.name, Time: r.varint(), Incarnation: g.incarnation, HardState: g.hard}
		if g.last > 0 {
			return 0, groupValue{}, errValue
		}
	}
	number = binary.BigEndian.Uint64(key[1:])
	if r.end() != nil || number == 0 {
		return 0, groupValue{}, errValue
	}
	return number, g, nil
}

func chunksOf(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixChunk}, number)
}

func piecesOf(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixPiece}, number)
}

func chunkKey(number uint64, first raftcore.Index) []byte {
	return binary.BigEndian.AppendUint64(chunksOf(number), ^uint64(first))
}

func pieceKey(number uint64, first raftcore.Index, piece uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(piecesOf(number), ^uint64(first)), piece)
}

// firstOf returns the first index that the key of a chunk or piece names.
func firstOf(key []byte) raftcore.Index {
	if len(key) < 17 {
		return 0
	}
	return raftcore.Index(^binary.BigEndian.Uint64(key[9:]))
}

// chunkValue is a run of entries.
type chunkValue struct {
	body   []byte // as appendEntries wrote it; nil if it is in pieces
	pieces uint32
	length uint64 // of the body in pieces, in bytes
	// sum is the checksum of that: a piece of what was here before, of the same size, has
	// a good one of its own. Nil in format 1.
	sum []byte
}

func (c *chunkValue) encode(key []byte) []byte {
	b := append(make([]byte, 0, len(c.body)+32), valueVersion)
	b = binary.AppendUvarint(b, uint64(c.pieces))
	if c.pieces > 0 {
		b = append(binary.AppendUvarint(b, c.length), c.sum...)
	} else {
		b = append(b, c.body...)
	}
	return seal(key, b)
}

// decodeChunk decodes a chunk. Its body and sum share memory with the value.
func decodeChunk(key, value []byte) (c chunkValue, err error) {
	r, err := unseal(key, value)
	if err != nil {
		return c, err
	}
	pieces := r.uvarint()
	if pieces > maxPieces {
		return c, errValue
	}
	c.pieces = uint32(pieces)
	if pieces == 0 {
		c.body = r.b
		if r.failed {
			return c, errValue
		}
		return c, nil
	}
	c.length = r.uvarint()
	if len(r.b) > 0 { // it is not in format 1
		c.sum = r.bytes(4)
	}
	if r.end() != nil || c.length > pieces*maxPieceBytes {
		return c, errValue
	}
	return c, nil
}

func encodePiece(key, part []byte) []byte {
	return seal(key, append([]byte{valueVersion}, part...))
}

func decodePiece(key, value []byte) ([]byte, error) {
	r, err := unseal(key, value)
	return r.b, err
}
