package remote

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// Buffers are used again while what was in them is on its way, or was taken: nothing that
// was read may change. The packets of a batch go out together.
func TestP10_NoBufferIsUsedWhileSomebodyLooksAtIt(t *testing.T) {
	kept := map[*actors.Packet]*actors.Packet{} // what was read, and what it was
	for round := range 50 {
		var sent []*actors.Packet
		var parcels []*parcel
		for i := range 1 + round%5 {
			p := &actors.Packet{From: 1}
			for g := range 3 {
				request := &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 1, Index: 1}}
				for e := range 1 + 40*i*g {
					request.Entries = append(request.Entries, raftcore.Entry{
						EntryID: raftcore.EntryID{Term: 1, Index: 2 + raftcore.Index(e)}, Kind: raftcore.EntryCommand,
						Data: fmt.Append(nil, "round ", round, " packet ", i, " group ", g, " entry ", e),
					})
				}
				p.Messages = append(p.Messages, actors.GroupMessage{Group: actors.GroupKey(g), Message: raftcore.Message{From: 1, To: 2, Body: request}})
			}
			p.Requests = []actors.GroupRequest{{Group: 1, Operation: actors.Propose, Data: fmt.Append(nil, "request of round ", round)}}
			p.Responses = []actors.GroupResponse{{ID: 1, Data: fmt.Append(nil, "response of round ", round)}}
			sent, parcels = append(sent, p), append(parcels, encode(p))
		}
		batch := through(t, batchOf(t, parcels...))
		for i, e := range batch.Envelopes {
			in, err := open(e.MessageData)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode(in)
			if err != nil {
				t.Fatal(err)
			}
			kept[got] = sent[i]
		}
	}
	for got, want := range kept {
		for g, m := range want.Messages {
			a, b := m.Message.Body.(*raftcore.AppendRequest), got.Messages[g].Message.Body.(*raftcore.AppendRequest)
			if !slices.EqualFunc(a.Entries, b.Entries, func(a, b raftcore.Entry) bool { return bytes.Equal(a.Data, b.Data) }) {
				t.Fatalf("entries have changed: %.200q, and not %.200q", b.Entries[0].Data, a.Entries[0].Data)
			}
		}
		if !bytes.Equal(got.Requests[0].Data, want.Requests[0].Data) || !bytes.Equal(got.Responses[0].Data, want.Responses[0].Data) {
			t.Fatalf("%q, %q have changed", got.Requests[0].Data, got.Responses[0].Data)
		}
	}
}

// Entries share the buffer of their packet where they are the most of it, and else do not
// keep it from being freed.
func TestF1_AFewEntriesKeepNoLargePacket(t *testing.T) {
	many, few := appends(), appends()
	body := few.Messages[0].Message.Body.(*raftcore.AppendRequest)
	body.Entries = body.Entries[:2]
	few.Messages = append(few.Messages, many.Messages...)
	few.Messages = append(few.Messages, many.Messages...)
	many.Messages = append(slices.Clone(few.Messages[:1]), many.Messages...)
	for name, c := range map[string]struct {
		packet *actors.Packet
		shared []bool
	}{
		"two entries, and many":       {many, []bool{false, true}},
		"two entries, and twice many": {few, []bool{false, false, false}},
	} {
		data, _, err := protoremote.Serialize(encode(c.packet), 0)
		if err != nil {
			t.Fatal(err)
		}
		in, err := open(data)
		if err != nil {
			t.Fatal(err)
		}
		before, err := decode(in)
		if err != nil || !reflect.DeepEqual(before.Messages, c.packet.Messages) {
			t.Fatal(name, "other entries than were sent", err)
		}
		for i, shared := range c.shared {
			entries := in.Messages[i].GetAppendRequest().Entries
			entries[len(entries)-1] ^= 0xff
			again, err := open(data)
			if err != nil {
				t.Fatal(err)
			}
			if changed := bytes.Equal(again.Messages[i].GetAppendRequest().Entries, entries); changed != shared {
				t.Errorf("%s: the entries of %d share the packet's buffer: %v", name, i, changed)
			}
		}
	}
}

// What is unusual is read as protobuf reads it: fields that are there twice, or cut off. Small
// packets are read as if they were large: they can be tried a thousand times as often.
func FuzzOpen(f *testing.F) {
	data, err := proto.Marshal(encode(everything()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	twice := protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), []byte("short"))
	for _, entries := range [][]byte{[]byte("entries that are the most of it, also if it is there twice, and a bit more"), nil} {
		large := protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), entries)
		for _, request := range [][]byte{append(slices.Clone(twice), large...), append(slices.Clone(large), twice...), large} {
			append9 := protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), request)
			reply := protowire.AppendBytes(protowire.AppendTag(nil, 10, protowire.BytesType), nil)
			for _, m := range [][]byte{append9, append(slices.Clone(append9), reply...), append(slices.Clone(reply), append9...)} {
				packet := protowire.AppendBytes(protowire.AppendTag([]byte{8, 1}, 8, protowire.BytesType), m)
				f.Add(packet)
				f.Add(packet[:len(packet)-1])
				f.Add(append(slices.Clone(packet), packet...))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := new(raftpb.Packet)
		wantErr := proto.Unmarshal(data, want)
		for _, read := range []func([]byte) (*raftpb.Packet, error){open, openLifted} {
			got, err := read(slices.Clone(data))
			if err == errManyFields || got == nil && err == nil {
				continue
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%v, and protobuf says %v", err, wantErr)
			}
			if err == nil && !proto.Equal(got, want) {
				t.Fatalf("another packet than protobuf's: %.300v, not %.300v", got, want)
			}
		}
	})
}

// protoactor tries what it could not write once more. What was in the buffers then is no
// packet any more.
func TestAPacketIsWrittenOnce(t *testing.T) {
	p := encode(everything())
	if _, err := proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := protoremote.Serialize(p, 0); err != errWritten {
		t.Errorf("a second time: %v", err)
	}
}

func TestBuffersAreOfTheSizeThatWasAsked(t *testing.T) {
	var pool bufferPool
	for _, size := range []int{0, 1, 2047, 2048, 2049, 36_000, 1 << maxBufferBits, 1<<maxBufferBits + 1} {
		for range 3 {
			b := pool.Get(size)
			if len(*b) != size || cap(*b) > max(2*size, 1<<minBufferBits) {
				t.Errorf("a buffer of %d has %d bytes of %d", size, len(*b), cap(*b))
			}
			pool.Put(b)
		}
	}
	odd := make([]byte, 5000)
	pool.Put(&odd)
	if b := pool.Get(8192); len(*b) != 8192 {
		t.Error("a buffer of no tier is used again")
	}
}
