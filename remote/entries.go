package remote

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// Entries are encoded by hand: one allocation for all of them on arrival, where
// protobuf makes two for each, and a few bytes of overhead for each. They
// follow the request's Prev, so their indexes are not written, and terms and
// times only as differences.
//
//	entry   = kind term time size data        kind is one byte
//	term    = uvarint: the term less that of the entry before
//	time    = varint: milliseconds less that of the entry before (0 before the first)
//	size    = uvarint: 0 for no data at all, else length + 1
//	data    = as many bytes; for a configuration:
//	conf    = voters outgoing learners
//	voters, outgoing, learners = uvarint count, then each ID as uvarint
//
// Witnesses, if there are any, follow the learners in their list, behind a zero.

func appendEntries(b []byte, prev raftcore.EntryID, entries []raftcore.Entry) []byte {
	term, time := prev.Term, int64(0)
	for i := range entries {
		e := &entries[i]
		b = append(b, byte(e.Kind))
		b = binary.AppendUvarint(b, uint64(e.Term-term))
		b = binary.AppendVarint(b, e.Time-time)
		term, time = e.Term, e.Time
		switch {
		case e.Kind == raftcore.EntryConfig:
			conf := appendConf(nil, e.Config)
			b = binary.AppendUvarint(b, uint64(len(conf))+1)
			b = append(b, conf...)
		case e.Data == nil:
			b = append(b, 0)
		default:
			b = binary.AppendUvarint(b, uint64(len(e.Data))+1)
			b = append(b, e.Data...)
		}
	}
	return b
}

func appendConf(b []byte, c *raftcore.ConfState) []byte {
	learners := c.Learners
	if len(c.Witnesses) > 0 {
		learners = slices.Concat(c.Learners, []raftcore.NodeID{raftcore.Nobody}, c.Witnesses)
	}
	for _, ids := range [][]raftcore.NodeID{c.Voters, c.Outgoing, learners} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	return b
}

var errTruncated = errors.New("it ends in the middle of an entry")

// decodeEntries decodes what appendEntries encoded. The data of the entries
// points into b.
func decodeEntries(b []byte, prev raftcore.EntryID) ([]raftcore.Entry, error) {
	if len(b) == 0 {
		return nil, nil
	}
	d := decoder{b: b}
	entries := make([]raftcore.Entry, 0, guessEntries(b))
	id, time := prev, int64(0)
	for d.left() > 0 {
		entries = slices.Grow(entries, 1)[:len(entries)+1]
		e := &entries[len(entries)-1]
		e.Kind = raftcore.EntryKind(d.byte())
		id.Term += raftcore.Term(d.uvarint())
		id.Index++
		time += d.varint()
		e.EntryID, e.Time = id, time
		data := d.data()
		if d.err != nil {
			return nil, fmt.Errorf("entry %d: %w", id.Index, d.err)
		}
		switch e.Kind {
		case raftcore.EntryNoop, raftcore.EntryCommand, raftcore.EntryHost, raftcore.EntryMeta:
			e.Data = data
		case raftcore.EntryConfig:
			conf, err := decodeConf(data)
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", id.Index, err)
			}
			e.Config = conf
		default:
			// Skipping it would let members apply different logs.
			return nil, fmt.Errorf("entry %d: kind %d is of a later version", id.Index, e.Kind)
		}
	}
	return entries, nil
}

func decodeConf(b []byte) (*raftcore.ConfState, error) {
	d := decoder{b: b}
	c := &raftcore.ConfState{}
	for _, ids := range []*[]raftcore.NodeID{&c.Voters, &c.Outgoing, &c.Learners} {
		n := d.uvarint()
		if n > uint64(d.left()) { // each takes a byte at least
			return nil, errTruncated
		}
		for range n {
			*ids = append(*ids, raftcore.NodeID(d.uvarint()))
		}
	}
	if at := slices.Index(c.Learners, raftcore.Nobody); at >= 0 {
		c.Learners, c.Witnesses = slices.Clip(c.Learners[:at]), c.Learners[at+1:]
		if at == 0 {
			c.Learners = nil
		}
		if len(c.Witnesses) == 0 && d.err == nil {
			d.err = errors.New("a configuration has a member zero")
		}
	}
	if d.err == nil && d.left() > 0 {
		d.err = errors.New("a configuration has bytes left over")
	}
	return c, d.err
}

// decoder reads values off b; after an error it reads zeros. It counts, and does not cut b:
// to write a pointer costs much while the garbage collector runs.
type decoder struct {
	b   []byte
	at  int
	err error
}

func (d *decoder) fail() {
	d.at, d.err = len(d.b), errTruncated
}

func (d *decoder) left() int { return len(d.b) - d.at }

func (d *decoder) byte() byte {
	if d.at >= len(d.b) {
		d.fail()
		return 0
	}
	d.at++
	return d.b[d.at-1]
}

func (d *decoder) uvarint() uint64 {
	if d.at < len(d.b) {
		if v := d.b[d.at]; v < 0x80 { // most are as small
			d.at++
			return uint64(v)
		}
	}
	return d.large()
}

func (d *decoder) large() uint64 {
	v, n := binary.Uvarint(d.b[d.at:])
	if n <= 0 {
		d.fail()
		return 0
	}
	d.at += n
	return v
}

func (d *decoder) varint() int64 {
	v := d.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// data reads a size and as many bytes; nil if there was no data at all.
func (d *decoder) data() []byte {
	size := d.uvarint()
	if size == 0 {
		return nil
	}
	size--
	if size > uint64(d.left()) {
		d.fail()
		return nil
	}
	from := d.at
	d.at += int(size)
	return d.b[from:d.at:d.at]
}

// guessEntries returns how many entries there are if all but the first, which has the whole
// time, are as large as the second: then their slice is allocated once. To count them takes
// longer.
func guessEntries(b []byte) int {
	d := decoder{b: b}
	d.skip()
	if d.left() == 0 {
		return 1
	}
	first := d.at
	d.skip()
	others, size := len(b)-first, d.at-first
	return min(1+(others+size-1)/size, maxGuess)
}

// skip reads an entry, and forgets it.
func (d *decoder) skip() {
	d.byte()
	d.uvarint()
	d.uvarint()
	d.data()
}

// maxGuess bounds what a second entry with nothing in it can lead to.
const maxGuess = 1024
