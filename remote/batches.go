package remote

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/runtime/protoiface"

	"github.com/castaway-go/castaway/remote/raftpb"
)

// How a packet gets through protoactor and gRPC and out of them, with the same bytes on the
// wire as if they did all of it, and less work. Left to them each byte of an entry is copied
// four times on its way out, and four times on its way in, into a buffer made for it each
// time. It is not the copying that costs, but the buffers: to make one of 36 KiB takes
// several times as long as to fill it.
//
//	Link.Send    entries      → a buffer of ours, which the packet borrows
//	protoactor   the packet   → another, and the first comes back: see parcel
//	gRPC         the batch    → another, and the second comes back: see batchCodec
//	             the socket, and the third comes back
//	             …
//	gRPC         the batch    → a buffer of ours
//	             the packet   → one made for it, and the batch's comes back
//	guard        many entries stay in that one: see open

// buffers are used again, and are as they were left.
var buffers bufferPool

type bufferPool struct {
	tiers [maxBufferBits + 1]sync.Pool // of *[]byte with a capacity of 1 << i
}

// Buffers smaller or larger than that are made anew. A batch of packets has a window of bytes.
const (
	minBufferBits = 11
	maxBufferBits = 22
)

// Get returns a buffer of so many bytes.
func (p *bufferPool) Get(size int) *[]byte {
	tier := max(bits.Len(uint(max(size-1, 0))), minBufferBits)
	if tier > maxBufferBits {
		b := make([]byte, size)
		return &b
	}
	b, is := p.tiers[tier].Get().(*[]byte)
	if !is {
		made := make([]byte, 1<<tier)
		b = &made
	}
	*b = (*b)[:size]
	return b
}

// Put gives a buffer back, which nobody looks at any more.
func (p *bufferPool) Put(b *[]byte) {
	if tier := bits.Len(uint(cap(*b))) - 1; tier >= minBufferBits && tier <= maxBufferBits && cap(*b) == 1<<tier {
		p.tiers[tier].Put(b)
	}
}

// parcel is a packet that waits to be written. protoactor marshals what it is given in the
// goroutine that writes, and would make a buffer for it.
type parcel struct {
	*raftpb.Packet
	borrowed []*[]byte // its entries are in them
}

// ProtoReflect has package proto come to marshalParcel.
func (p *parcel) ProtoReflect() protoreflect.Message {
	return sealed{p.Packet.ProtoReflect(), p}
}

type sealed struct {
	protoreflect.Message
	parcel *parcel
}

func (sealed) ProtoMethods() *protoiface.Methods { return &parcelMethods }

var parcelMethods = protoiface.Methods{Marshal: marshalParcel}

var errWritten = errors.New("a packet that was written before")

// marshalParcel marshals a packet once.
func marshalParcel(in protoiface.MarshalInput) (out protoiface.MarshalOutput, err error) {
	p := in.Message.(sealed).parcel
	if p.Packet == nil {
		return out, errWritten
	}
	size := proto.Size(p.Packet)
	if in.Buf == nil {
		in.Buf = (*buffers.Get(size))[:0]
	}
	out.Buf, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(in.Buf, p.Packet)
	for _, b := range p.borrowed {
		buffers.Put(b)
	}
	p.Packet, p.borrowed = nil, nil
	return out, err
}

// batchCodec is gRPC's codec for what protoactor sends and receives.
type batchCodec struct{ encoding.CodecV2 }

func newBatchCodec() batchCodec { return batchCodec{encoding.GetCodecV2(encodingproto.Name)} }

// Marshal writes a message into a buffer of ours, and takes back those that its packets are in.
func (c batchCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, is := v.(*protoremote.RemoteMessage)
	if !is {
		return c.CodecV2.Marshal(v)
	}
	buf := buffers.Get(proto.Size(m))
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buf)[:0], m)
	if err != nil {
		return nil, err
	}
	b := m.GetMessageBatch()
	for _, e := range b.GetEnvelopes() {
		if b.TypeNames[e.TypeId] == packetType {
			data := e.MessageData
			e.MessageData = nil
			buffers.Put(&data)
		}
	}
	return mem.BufferSlice{mem.NewBuffer(&out, &buffers)}, nil
}

// Unmarshal reads a message out of a buffer of ours. What is left in it was copied.
func (c batchCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, is := v.(*protoremote.RemoteMessage)
	if !is {
		return c.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(&buffers)
	defer buf.Free()
	if fields(buf.ReadOnlyData(), true) > maxFields {
		return errManyFields
	}
	return proto.Unmarshal(buf.ReadOnlyData(), m)
}

// maxFields bounds the fields of a batch, and those of a packet. One with nothing in it has two
// bytes on the wire, and more than a hundred when it has been read: a message of 10 MiB could
// take a gigabyte before anybody has looked at it. A packet of ours has four thousand at most,
// a batch of protoactor's three.
const maxFields = 1 << 14

var errManyFields = fmt.Errorf("it has more than %d fields", maxFields)

// fields counts the fields of a message, and if it is deep, those in them as well. It stops
// where protobuf will, or soon after there are too many.
func fields(b []byte, deep bool) (n int) {
	for len(b) > 0 && n <= maxFields {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			break
		}
		size := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if size < 0 {
			break
		}
		if deep && kind == protowire.BytesType {
			inner, _ := protowire.ConsumeBytes(b[tag:])
			n += fields(inner, false)
		}
		n++
		b = b[tag+size:]
	}
	return n
}

// open reads a packet. Entries that are the most of it stay where they are in data; fewer
// would keep what is more from being freed.
func open(data []byte) (*raftpb.Packet, error) {
	if fields(data, false) > maxFields {
		return nil, errManyFields
	}
	if len(data) >= minShared {
		if p, err := openLifted(data); p != nil || err != nil {
			return p, err
		}
	}
	p := new(raftpb.Packet)
	return p, proto.Unmarshal(data, p)
}

// openLifted reads a packet whose entries stay where they are, or returns nothing if they do not.
func openLifted(data []byte) (*raftpb.Packet, error) {
	buf := buffers.Get(len(data))
	defer buffers.Put(buf)
	rest, entries, at := lift((*buf)[:0], data, len(data)/2+1, entriesPath)
	if entries == nil {
		return nil, nil
	}
	p := new(raftpb.Packet)
	if err := proto.Unmarshal(rest, p); err != nil {
		return nil, err
	}
	a := p.Messages[at].GetAppendRequest()
	if a == nil {
		return nil, nil
	}
	a.Entries = entries
	return p, nil
}

const minShared = 2 << 10

// entriesPath are the fields that lead to entries: messages of a packet, append_request, entries.
var entriesPath = []protowire.Number{8, 9, 4}

// lift appends a message to out, but for the bytes that a path of fields leads to, and that
// are so many at least: data. They are in the at-th of the fields that the path begins with.
// The others are there once, or protobuf would put together what they say.
func lift(out, b []byte, least int, path []protowire.Number) (rest, data []byte, at int) {
	before, value, after := find(b, least, path[0], &at)
	if value == nil {
		return nil, nil, 0
	}
	out = append(out, before...)
	if len(path) == 1 {
		return append(out, after...), value, at
	}
	others := 0
	if _, _, more := find(value, least, path[1], &others); more == nil || others > 0 || has(more, path[1]) {
		return nil, nil, 0
	}
	buf := buffers.Get(len(value))
	defer buffers.Put(buf)
	inner, data, _ := lift((*buf)[:0], value, least, path[1:])
	if data == nil {
		return nil, nil, 0
	}
	out = protowire.AppendBytes(protowire.AppendTag(out, path[0], protowire.BytesType), inner)
	return append(out, after...), data, at
}

func has(b []byte, number protowire.Number) bool {
	_, v, _ := find(b, 0, number, new(int))
	return v != nil
}

// find returns the value of the first field of a number that has so many bytes at least, and
// what is before and after it. It counts the smaller ones before.
func find(b []byte, least int, number protowire.Number, smaller *int) (before, value, after []byte) {
	for at := 0; at < len(b); {
		n, kind, tag := protowire.ConsumeTag(b[at:])
		if tag < 0 {
			break // protobuf will say what is wrong
		}
		size := protowire.ConsumeFieldValue(n, kind, b[at+tag:])
		if size < 0 {
			break
		}
		end := at + tag + size
		if n == number && kind == protowire.BytesType {
			if v, _ := protowire.ConsumeBytes(b[at+tag : end]); len(v) >= least {
				return b[:at], v[:len(v):len(v)], b[end:]
			}
			*smaller++
		}
		at = end
	}
	return nil, nil, nil
}
