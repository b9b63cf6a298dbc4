package badgerstore

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// The decoders below read what a disk gave back, and trust nothing of it: they
// return errMalformed on any input that no encoder has written, and allocate no
// more than a small multiple of what they are given.
var errMalformed = errors.New("malformed")

// reader takes values from the front of a buffer. After the first that is not
// there, it is failed, and returns zeros.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) fail() {
	r.b, r.failed = nil, true
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes takes n bytes. They share memory with the buffer.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// count takes a number of things that take at least size bytes each, which
// bounds what is allocated for them.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// end returns whether everything was there, and nothing more.
func (r *reader) end() error {
	if r.failed || len(r.b) > 0 {
		return errMalformed
	}
	return nil
}

const (
	hardJoined  = 0x01
	hardDamaged = 0x02
	hardWitness = 0x04
)

// appendHardState appends a hard state, and whether the disk has been damaged since
// its node last counted.
func appendHardState(b []byte, h raftcore.HardState, damaged bool) []byte {
	b = binary.AppendUvarint(b, uint64(h.Term))
	b = binary.AppendUvarint(b, uint64(h.Vote))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Cluster))
	flags := byte(0)
	switch {
	case h.Joined:
		flags = hardJoined
	case damaged:
		flags = hardDamaged
	}
	if h.Witness {
		flags |= hardWitness
	}
	return append(b, flags)
}

func (r *reader) hardState() (h raftcore.HardState, damaged bool) {
	h = raftcore.HardState{
		Term:    raftcore.Term(r.uvarint()),
		Vote:    raftcore.NodeID(r.uvarint()),
		Cluster: raftcore.ClusterID(r.fixed64()),
	}
	flags := r.byte()
	h.Witness = flags&hardWitness != 0
	flags &^= hardWitness
	h.Joined, damaged = flags == hardJoined, flags == hardDamaged
	if flags > hardDamaged {
		r.fail()
	}
	return h, damaged
}

// appendConf appends a configuration. Witnesses, if there are any, follow the learners in
// their list, behind a zero: nobody who does not know of them takes it for a configuration.
func appendConf(b []byte, c *raftcore.ConfState) []byte {
	learners := c.Learners
	if len(c.Witnesses) > 0 {
		learners = slices.Concat(c.Learners, []raftcore.NodeID{raftcore.Nobody}, c.Witnesses)
	}
	for _, list := range [][]raftcore.NodeID{c.Voters, c.Outgoing, learners} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, id := range list {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	return b
}

// conf takes a configuration. An empty list comes back as nil.
func (r *reader) conf() raftcore.ConfState {
	var lists [3][]raftcore.NodeID
	for i := range lists {
		n := r.count(1)
		if n == 0 {
			continue
		}
		lists[i] = make([]raftcore.NodeID, n)
		for k := range lists[i] {
			lists[i][k] = raftcore.NodeID(r.uvarint())
		}
	}
	c := raftcore.ConfState{Voters: lists[0], Outgoing: lists[1], Learners: lists[2]}
	if at := slices.Index(c.Learners, raftcore.Nobody); at >= 0 {
		c.Learners, c.Witnesses = lists[2][:at:at], lists[2][at+1:]
		if at == 0 {
			c.Learners = nil
		}
		if len(c.Witnesses) == 0 {
			r.fail()
		}
	}
	return c
}

func appendConfigAt(b []byte, c *raftcore.ConfigAt) []byte {
	return appendConf(binary.AppendUvarint(b, uint64(c.Index)), &c.Conf)
}

func (r *reader) configAt() raftcore.ConfigAt {
	return raftcore.ConfigAt{Index: raftcore.Index(r.uvarint()), Conf: r.conf()}
}

func appendSnapshot(b []byte, c *raftcore.SnapshotMeta) []byte {
	b = binary.AppendUvarint(b, uint64(c.Last.Index))
	b = binary.AppendUvarint(b, uint64(c.Last.Term))
	b = binary.AppendVarint(b, c.Time)
	return appendConfigAt(b, &c.Conf)
}

func (r *reader) snapshot() raftcore.SnapshotMeta {
	return raftcore.SnapshotMeta{
		Last: raftcore.EntryID{Index: raftcore.Index(r.uvarint()), Term: raftcore.Term(r.uvarint())},
		Time: r.varint(),
		Conf: r.configAt(),
	}
}

// The tag of an entry: its kind, and what follows.
const (
	tagKind   = 0x0f
	tagTerm   = 0x10 // a term, because it is not that of the entry before
	tagData   = 0x20 // data, though maybe of length zero: nil is something else
	tagConfig = 0x40

	minEntryBytes = 2 // a tag and a time
)

// appendEntries encodes entries that follow one another: first, how many, and
// then each with what sets it apart from the one before. A command of 128 bytes
// takes 132.
func appendEntries(b []byte, entries []raftcore.Entry) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	if len(entries) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(entries[0].Index))
	var term raftcore.Term
	var time int64
	for i := range entries {
		e := &entries[i]
		tag := byte(e.Kind) & tagKind
		if e.Term != term {
			tag |= tagTerm
		}
		if e.Data != nil {
			tag |= tagData
		}
		if e.Config != nil {
			tag |= tagConfig
		}
		b = append(b, tag)
		if e.Term != term {
			b = binary.AppendUvarint(b, uint64(e.Term))
		}
		b = binary.AppendVarint(b, e.Time-time)
		if e.Data != nil {
			b = binary.AppendUvarint(b, uint64(len(e.Data)))
			b = append(b, e.Data...)
		}
		if e.Config != nil {
			b = appendConf(b, e.Config)
		}
		term, time = e.Term, e.Time
	}
	return b
}

// entryBytes is a little more than what an entry takes when it is encoded.
func entryBytes(e *raftcore.Entry) int { return len(e.Data) + 32 }

// decodeEntries reads what appendEntries has written, to the end of the buffer.
// It hands each entry to visit, whose Data shares memory with the buffer. It
// returns the first error that visit does.
func decodeEntries(b []byte, visit func(e *raftcore.Entry) error) error {
	r := reader{b: b}
	n := r.count(minEntryBytes)
	if n == 0 {
		return r.end()
	}
	var e raftcore.Entry
	first := r.uvarint()
	if first == 0 || first > math.MaxUint64-uint64(n) {
		return errMalformed
	}
	for i := range n {
		e.Index = raftcore.Index(first) + raftcore.Index(i)
		r.entry(&e)
		if r.failed {
			return errMalformed
		}
		if err := visit(&e); err != nil {
			return err
		}
	}
	return r.end()
}

// rangeOf returns the first and the last index of encoded entries; zeros if there
// are none.
func rangeOf(b []byte) (first, last raftcore.Index, err error) {
	r := reader{b: b}
	n := r.count(minEntryBytes)
	if n == 0 {
		return 0, 0, r.end()
	}
	from := r.uvarint()
	if from == 0 || from > math.MaxUint64-uint64(n) {
		return 0, 0, errMalformed
	}
	return raftcore.Index(from), raftcore.Index(from) + raftcore.Index(n) - 1, nil
}

// entry takes an entry. On the way in, e is the one before it.
func (r *reader) entry(e *raftcore.Entry) {
	tag := r.byte()
	e.Kind = raftcore.EntryKind(tag & tagKind)
	e.Data, e.Config = nil, nil
	if tag&tagTerm != 0 {
		e.Term = raftcore.Term(r.uvarint())
	}
	e.Time += r.varint()
	if tag&tagData != 0 {
		e.Data = r.bytes(r.uvarint())
	}
	if tag&tagConfig != 0 {
		conf := r.conf()
		e.Config = &conf
	}
	if tag&^(tagKind|tagTerm|tagData|tagConfig) != 0 || !e.Kind.Valid() ||
		(e.Kind == raftcore.EntryConfig) != (e.Config != nil) {
		r.fail()
	}
}
