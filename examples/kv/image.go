package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// image is the keyspace as it was when a snapshot was asked for. It is written while
// commands go on changing the keys: whoever is about to change a shard that is not
// written yet has it encoded first. So a snapshot holds up a command for as long as it
// takes to encode those of the 4,096 shards that it changes, and one more; and it takes
// the memory of those that are changed meanwhile.
//
//	image    = version now entry … 0 count
//	entry    = 1 size key size value deadline
//	version, size, count = uvarint; now, deadline = varint
type image struct {
	shards []map[string]*entry // as they were, until they are saved
	now    int64

	mu    sync.Mutex
	saved []bool
	left  int // not saved
	gone  bool
	early [][]byte // encoded because they were about to change
	count uint64   // of the entries
}

const imageVersion = 1

// image returns the keyspace as it is now, to be written.
func (k *keyspace) snapshot() *image {
	k.image.drop()
	k.image = &image{shards: k.shards, now: k.now, saved: make([]bool, len(k.shards)), left: len(k.shards)}
	if k.size == 0 {
		k.image.shards, k.image.left = nil, 0
	}
	return k.image
}

// save encodes a shard that is about to change.
func (i *image) save(shard int) {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if b := i.encode(nil, shard); len(b) > 0 {
		i.early = append(i.early, b)
	}
}

// encode appends a shard, unless that has been done. The caller holds mu.
func (i *image) encode(b []byte, shard int) []byte {
	if i.left == 0 || i.saved[shard] {
		return b
	}
	i.saved[shard] = true
	i.left--
	for _, e := range i.shards[shard] {
		b = append(b, 1)
		b = binary.AppendUvarint(b, uint64(len(e.key)))
		b = append(b, e.key...)
		b = binary.AppendUvarint(b, uint64(len(e.value)))
		b = append(b, e.value...)
		b = binary.AppendVarint(b, e.deadline)
		i.count++
	}
	return b
}

// drop lets go of what is not written yet. It cannot be written any more.
func (i *image) drop() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.left, i.early, i.gone = 0, nil, true
}

// WriteTo writes the image, beside whoever changes the keys.
func (i *image) WriteTo(to io.Writer) (int64, error) {
	defer i.drop()
	w := &counting{w: to}
	b := binary.AppendUvarint(nil, imageVersion)
	_, err := w.Write(binary.AppendVarint(b, i.now))
	for shard := 0; shard < len(i.shards) && err == nil; shard++ {
		i.mu.Lock()
		early := i.early
		i.early = nil
		b = i.encode(b[:0], shard)
		if i.gone {
			err = errGone
		}
		i.mu.Unlock()
		for _, e := range append(early, b) {
			if err == nil && len(e) > 0 {
				_, err = w.Write(e)
			}
		}
	}
	if err == nil {
		_, err = w.Write(binary.AppendUvarint([]byte{0}, i.count))
	}
	return w.n, err
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

var errGone = errors.New("a later snapshot was asked for before this one was written")

var errBadImage = errors.New("this is no image of a keyspace")

// readImage returns the keyspace that an image holds.
func readImage(from io.Reader) (*keyspace, error) {
	r := &imageReader{r: bufio.NewReaderSize(from, 1<<16)}
	k := newKeyspace()
	if v := r.uvarint(); r.err == nil && v != imageVersion {
		return nil, fmt.Errorf("the image has version %d, this program reads %d", v, imageVersion)
	}
	k.now = r.varint()
	for r.byte() == 1 {
		key, value, deadline := r.bytes(), r.bytes(), r.varint()
		if r.err != nil {
			break
		}
		e := k.make(key)
		e.value = value
		if deadline != 0 {
			k.expire(e, deadline)
		}
	}
	if n := r.uvarint(); r.err == nil && n != uint64(k.size) {
		r.err = errBadImage
	}
	return k, r.err
}

// imageReader reads the parts of an image; after an error it reads zeros.
type imageReader struct {
	r   *bufio.Reader
	err error
}

func (r *imageReader) failed(err error) bool {
	if err != nil && r.err == nil {
		if r.err = err; errors.Is(err, io.EOF) {
			r.err = io.ErrUnexpectedEOF
		}
	}
	return r.err != nil
}

func (r *imageReader) byte() byte {
	b, err := r.r.ReadByte()
	if r.failed(err) {
		return 0
	}
	return b
}

func (r *imageReader) uvarint() uint64 {
	n, err := binary.ReadUvarint(r.r)
	if r.failed(err) {
		return 0
	}
	return n
}

func (r *imageReader) varint() int64 {
	n, err := binary.ReadVarint(r.r)
	if r.failed(err) {
		return 0
	}
	return n
}

func (r *imageReader) bytes() []byte {
	n := r.uvarint()
	if r.err == nil && n > maxImagePart {
		r.err = errBadImage
	}
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r.r, b)
	r.failed(err)
	return b
}

// maxImagePart is more than a key or a value may have.
const maxImagePart = 1 << 30
