package snapshots

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
)

// Chunk is a piece of a snapshot's file, on its way to another member. Sum is
// checked by Incoming.Write, and must be carried along with the rest, not
// computed anew: it was computed where the bytes were last known to be good.
type Chunk struct {
	ID     ID
	Offset int64 // in the file, in bytes
	Data   []byte
	Sum    uint32 // CRC-32C of ID and Offset, 8 bytes each, little-endian, and Data
}

func (c *Chunk) sum() uint32 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), uint64(c.ID))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Offset))
	return crc32.Update(checksum(b), castagnoli, c.Data)
}

// Outgoing is a snapshot that is being sent. It is for one goroutine at a time,
// but there may be any number for one snapshot. The snapshot stays on the disk
// until the last is closed, so that a receiver that comes back can go on.
type Outgoing struct {
	dir   *Dir
	entry *entry
	f     journal.File
	head  header
	err   error

	unit []byte // checked, or empty
	at   int64  // of unit
}

// Send opens a snapshot for sending it: its Info, as the offer that the other
// side passes to Receive, then chunks from the offset on that it answers. It
// fails with its Damage if it is known to be damaged.
func (d *Dir) Send(id ID) (*Outgoing, error) {
	e, f, err := d.hold(id)
	if err != nil {
		return nil, err
	}
	h, err := inspect(f, e.info.Size, d.file(e.name), &e.info)
	if err != nil {
		d.note(e, err)
		d.letGo(e, f)
		return nil, err
	}
	return &Outgoing{dir: d, entry: e, f: f, head: h}, nil
}

// Info returns what the snapshot is.
func (o *Outgoing) Info() Info { return o.head.info }

// Chunk returns as many bytes from an offset on as fit buf, which becomes its
// Data; at the end fewer, and after it io.EOF. Every byte has been checked: damage
// is a *persistence.CorruptError, and nothing of that block is sent to anybody.
func (o *Outgoing) Chunk(offset int64, buf []byte) (Chunk, error) {
	size := o.head.info.Size
	if offset < 0 || offset > size {
		return Chunk{}, fmt.Errorf("snapshot %v has %d bytes, there is no chunk at %d: %w", o.head.info.ID, size, offset, ErrMismatch)
	}
	if offset == size {
		return Chunk{}, io.EOF
	}
	c := Chunk{ID: o.head.info.ID, Offset: offset, Data: buf[:0]}
	for at := offset; at < size && len(c.Data) < len(buf); {
		if err := o.load(at); err != nil {
			return Chunk{}, err
		}
		part := o.unit[at-o.at:]
		part = part[:min(len(part), len(buf)-len(c.Data))]
		c.Data = append(c.Data, part...)
		at += int64(len(part))
	}
	c.Sum = c.sum()
	return c, nil
}

// load reads and checks the unit that a byte belongs to: the header, a block, or
// the trailer.
func (o *Outgoing) load(at int64) error {
	if o.err != nil {
		return o.err
	}
	if at >= o.at && at < o.at+int64(len(o.unit)) {
		return nil
	}
	first, end := int64(o.head.bytes), o.head.info.Size-trailerBytes
	stride := int64(frameBytes + o.head.block)
	from, to, block := int64(0), first, int64(-1)
	switch {
	case at >= end:
		from, to, block = end, o.head.info.Size, (end-first+stride-1)/stride
	case at >= first:
		block = (at - first) / stride
		from = first + block*stride
		to = min(from+stride, end)
	}
	o.unit = slices.Grow(o.unit[:0], int(to-from))[:to-from]
	err := readAt(o.f, o.unit, from, o.dir.file(o.entry.name))
	if err == nil {
		err = o.check(from, block)
	}
	if err != nil {
		o.unit = o.unit[:0]
		return o.fail(err)
	}
	o.at = from
	return nil
}

// check checks the unit at an offset: the header if block is -1, else a block or
// the trailer, which continue the checksum before them.
func (o *Outgoing) check(from, block int64) error {
	file, good := o.dir.file(o.entry.name), false
	if block < 0 {
		h, err := decodeHeader(o.unit)
		good = err == nil && h.info.same(&o.entry.info)
	} else {
		sum, err := sumBefore(o.f, &o.head, block, file)
		if err != nil {
			return err
		}
		good = crc32.Update(sum, castagnoli, o.unit[4:]) == binary.LittleEndian.Uint32(o.unit)
	}
	if !good {
		return &persistence.CorruptError{File: file, Offset: from, Detail: "it has a wrong checksum, or is not in its place"}
	}
	return nil
}

// fail ends the sending: what is damaged stays so.
func (o *Outgoing) fail(err error) error {
	o.err = err
	o.dir.note(o.entry, err)
	return err
}

// Close ends the sending.
func (o *Outgoing) Close() error {
	if o.f == nil {
		return nil
	}
	f := o.f
	o.f, o.err, o.unit = nil, errOver, nil
	return o.dir.letGo(o.entry, f)
}
