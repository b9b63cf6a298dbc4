package remote

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// Outcomes, as PROTOCOL.md numbers them.
const (
	outcomeOK           = 1
	outcomeNotLeader    = 2
	outcomeRejected     = 3
	outcomeBusy         = 4
	outcomeUnknown      = 6
	outcomeQueryError   = 7
	outcomeBadMembers   = 16
	outcomeNotVoter     = 20
	outcomeNotInPlace   = 24
	outcomeBadRequest   = 68
	outcomeNoGroup      = 73
	outcomeStorageFault = 75
)

// everything is a packet with one of each.
func everything() *actors.Packet {
	message := func(body raftcore.Body) actors.GroupMessage {
		return actors.GroupMessage{Group: 0x1122334455667788, Message: raftcore.Message{
			From: 1, To: 2, Term: 7, Cluster: 0xC0FFEE, Incarnation: 0xBEEF, ToIncarnation: 0xFEED, Body: body,
		}}
	}
	return &actors.Packet{
		From: 1,
		Messages: []actors.GroupMessage{
			message(&raftcore.VoteRequest{Pre: true, Last: raftcore.EntryID{Term: 6, Index: 41}, Campaign: 3}),
			message(&raftcore.VoteReply{Pre: true, Granted: true, Campaign: 3}),
			message(&raftcore.AppendRequest{
				Prev: raftcore.EntryID{Term: 6, Index: 41}, Commit: 40, Round: 9,
				Entries: []raftcore.Entry{
					{EntryID: raftcore.EntryID{Term: 7, Index: 42}, Time: 1700000000000, Kind: raftcore.EntryNoop},
					{EntryID: raftcore.EntryID{Term: 7, Index: 43}, Time: 1700000000000, Kind: raftcore.EntryCommand, Data: []byte("x=1")},
					{EntryID: raftcore.EntryID{Term: 7, Index: 44}, Time: 1700000000005, Kind: raftcore.EntryCommand, Data: []byte{}},
					{EntryID: raftcore.EntryID{Term: 8, Index: 45}, Time: 1700000000005, Kind: raftcore.EntryCommand},
					{EntryID: raftcore.EntryID{Term: 8, Index: 46}, Time: 1700000000900, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{
						Voters: []raftcore.NodeID{1, 2, 300}, Outgoing: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{9},
					}},
				},
			}),
			message(&raftcore.AppendReply{Match: 41, Round: 9, Flooded: true}),
			message(&raftcore.AppendReply{Round: 9, Rejected: true, Probed: raftcore.EntryID{Term: 6, Index: 41}, Hint: raftcore.EntryID{Term: 5, Index: 30}, Newcomer: true}),
			message(&raftcore.VoteRequest{Transfer: true, Priority: -2, Last: raftcore.EntryID{Term: 6, Index: 41}, Campaign: 4}),
			message(&raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 6, Index: 41}, Commit: 41, Round: 10, Admit: true, Quiesce: true}),
			message(&raftcore.TimeoutNow{}),
			message(&raftcore.ReadRequest{Sequence: 1<<32 + 5}),
			message(&raftcore.ReadReply{Sequence: 1<<32 + 5, Index: 41}),
			message(&raftcore.ReadReply{Sequence: 1<<32 + 6, Refused: true}),
		},
		Requests: []actors.GroupRequest{
			{Group: 5, ID: 77, Operation: actors.Propose, Data: []byte("+1")},
			{Group: 5, ID: 80, Operation: actors.ChangeMembers, Members: &actors.Members{
				Voters: []raftcore.NodeID{1, 2, 300}, Learners: []raftcore.NodeID{9}, Expect: 46,
			}},
			{Group: 5, ID: 81, Operation: actors.Transfer, To: 300},
			{Group: 5, ID: 82, Operation: 255}, // the host will refuse it
		},
		Responses: []actors.GroupResponse{
			{ID: 77, Outcome: outcomeOK, Data: []byte("2"), Index: 43},
			{ID: 78, Outcome: outcomeNotLeader, Leader: 3},
			{ID: 79, Outcome: outcomeQueryError, Message: "no such key"},
			{ID: 80, Outcome: outcomeBadMembers, Message: "nobody votes"},
			{ID: 81, Outcome: outcomeNotVoter},
		},
	}
}

// snapshotParts is a packet with one part of a snapshot's way of each kind.
func snapshotParts() *actors.Packet {
	return &actors.Packet{From: 1, Messages: []actors.GroupMessage{}, Snapshots: []actors.SnapshotPart{
		{Group: 5, Offer: &actors.SnapshotOffer{
			Message: raftcore.Message{From: 1, To: 2, Term: 7, Cluster: 0xC0FFEE, Incarnation: 0xBEEF, ToIncarnation: 0xFEED, Body: &raftcore.SnapshotRequest{
				Snapshot: raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 6, Index: 41}, Time: 1700000000000, Conf: raftcore.ConfigAt{Index: 9, Conf: raftcore.ConfState{
					Voters: []raftcore.NodeID{1, 2, 300}, Outgoing: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{9},
				}}},
			}},
			ID: 0xAABB, Cluster: 0xC0FFEF, Size: 1 << 40,
		}},
		{Group: 5, Chunk: &snapshots.Chunk{ID: 0xAABB, Offset: 1 << 20, Data: []byte("part of a file"), Sum: 0x12345678}},
		{Group: 5, Answer: &actors.SnapshotAnswer{ID: 0xAABB, Offset: 1<<20 + 14, Outcome: actors.SnapshotTaken}},
		{Group: 5, Answer: &actors.SnapshotAnswer{ID: 0xAABB, Outcome: actors.SnapshotRefused, Message: "the disk is full"}},
	}}
}

// witnessed is a packet with what is for witnesses, and about them.
func witnessed() *actors.Packet {
	message := func(body raftcore.Body) actors.GroupMessage {
		return actors.GroupMessage{Group: 5, Message: raftcore.Message{From: 1, To: 3, Term: 7, Cluster: 0xC0FFEE, Incarnation: 0xBEEF, Body: body}}
	}
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{9, 300}, Witnesses: []raftcore.NodeID{3, 300}}
	return &actors.Packet{
		From: 1,
		Messages: []actors.GroupMessage{
			message(&raftcore.AppendRequest{
				Prev: raftcore.EntryID{Term: 6, Index: 41}, Commit: 40, Round: 9,
				Entries: []raftcore.Entry{
					{EntryID: raftcore.EntryID{Term: 7, Index: 42}, Time: 1700000000000, Kind: raftcore.EntryMeta},
					{EntryID: raftcore.EntryID{Term: 7, Index: 43}, Time: 1700000000001, Kind: raftcore.EntryConfig, Config: &conf},
					{EntryID: raftcore.EntryID{Term: 7, Index: 44}, Time: 1700000000002, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{
						Voters: []raftcore.NodeID{1, 3}, Outgoing: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{3},
					}},
				},
			}),
			message(&raftcore.SnapshotRequest{Bare: true, Snapshot: raftcore.SnapshotMeta{
				Last: raftcore.EntryID{Term: 6, Index: 41}, Time: 1700000000000, Conf: raftcore.ConfigAt{Index: 9, Conf: conf},
			}}),
		},
		Requests: []actors.GroupRequest{{Group: 5, ID: 80, Operation: actors.ChangeMembers, Members: &actors.Members{
			Voters: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{3}, Expect: 46,
		}}},
		Responses: []actors.GroupResponse{{ID: 80, Outcome: outcomeNotInPlace}},
	}
}

// beats is a packet with a beat: a group has fallen silent, and one speaks again.
func beats() *actors.Packet {
	return &actors.Packet{From: 1, Messages: []actors.GroupMessage{}, Beat: &actors.Beat{
		First: true, Resend: true, Changes: []actors.BeatChange{{Group: 0x1122334455667788, Term: 7}, {Group: 6}},
		Count: 2, Sum: 0x9190a438d412f8e3, // the other is group 5, in term 1
	}}
}

// tombstones is a packet that says which groups were removed.
func tombstones() *actors.Packet {
	return &actors.Packet{From: 1, Messages: []actors.GroupMessage{}, Removed: []actors.GroupKey{5, 1 << 63}}
}

// encoded is a packet whose buffers nobody takes back.
func encoded(p *actors.Packet) *raftpb.Packet { return encode(p).Packet }

// roundTrip sends a packet through the bytes of the wire, as protoactor and gRPC do it.
func roundTrip(t *testing.T, p *actors.Packet) *actors.Packet {
	t.Helper()
	batch := through(t, batchOf(t, encode(p)))
	in, err := open(batch.Envelopes[0].MessageData)
	if err != nil {
		t.Fatal(err)
	}
	out, err := decode(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// batchOf is what protoactor makes of packets.
func batchOf(t *testing.T, packets ...*parcel) *protoremote.MessageBatch {
	t.Helper()
	batch := &protoremote.MessageBatch{TypeNames: []string{packetType}, Targets: []*actor.PID{{Id: inboxName}}}
	for _, p := range packets {
		data, name, err := protoremote.Serialize(p, 0)
		if err != nil || name != packetType {
			t.Fatal(name, err)
		}
		batch.Envelopes = append(batch.Envelopes, &protoremote.MessageEnvelope{MessageData: data})
	}
	return batch
}

// through returns what gRPC makes of a batch at the other side. It checks that the bytes are
// those that protobuf would have sent.
func through(t *testing.T, batch *protoremote.MessageBatch) *protoremote.MessageBatch {
	t.Helper()
	m := &protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_MessageBatch{MessageBatch: batch}}
	want, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := newBatchCodec().Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Materialize(), want) {
		t.Fatal("a batch has other bytes than protobuf would give it")
	}
	out := new(protoremote.RemoteMessage)
	if err := newBatchCodec().Unmarshal(wire, out); err != nil {
		t.Fatal(err)
	}
	wire.Free()
	return out.GetMessageBatch()
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	for _, want := range []*actors.Packet{everything(), snapshotParts(), witnessed(), beats(), tombstones(), {From: 1, Messages: []actors.GroupMessage{}, Beat: &actors.Beat{}}} {
		if got := roundTrip(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	span := []byte("sixteen bytes...8 bytes.f")
	traced := &actors.Packet{From: 1, Requests: []actors.GroupRequest{{Group: 5, ID: 77, Operation: actors.Propose, Span: span}}}
	if got := roundTrip(t, traced).Requests[0].Span; !bytes.Equal(got, span) {
		t.Errorf("the span arrives as %q", got)
	}
	learners := &actors.Packet{From: 1, Requests: []actors.GroupRequest{{Group: 5, ID: 77, Operation: actors.CheckLearners, Members: &actors.Members{Learners: []raftcore.NodeID{9}}}}}
	if got := roundTrip(t, learners).Requests[0]; !reflect.DeepEqual(got, learners.Requests[0]) {
		t.Errorf("a question for learners arrives as %+v", got)
	}
}

// protobuf does not write a text that is not UTF-8: one such error of a Query
// would take along everything else in its packet.
func TestAnErrorMayHoldAnyBytes(t *testing.T) {
	p := &actors.Packet{From: 1, Responses: []actors.GroupResponse{{ID: 1, Outcome: outcomeQueryError, Message: "no key \xff"}}}
	if got := roundTrip(t, p).Responses[0].Message; got != "no key \uFFFD" {
		t.Errorf("it arrives as %q", got)
	}
}

// P10: nil and empty data are different things, and stay so.
func TestP10_NilAndEmptyDataAreTold(t *testing.T) {
	entries := roundTrip(t, everything()).Messages[2].Message.Body.(*raftcore.AppendRequest).Entries
	if entries[2].Data == nil || entries[3].Data != nil {
		t.Errorf("empty data arrives as %#v, nil as %#v", entries[2].Data, entries[3].Data)
	}
}

// The bytes of the wire are pinned: when this test fails, other versions do not
// understand this one. Raise the version, and keep the old bytes readable.
func TestP10_GoldenPacket(t *testing.T) {
	golden(t, "testdata/packet-v1.hex", everything())
	golden(t, "testdata/snapshots-v1.hex", snapshotParts())
	golden(t, "testdata/beats-v1.hex", beats())
	golden(t, "testdata/removed-v1.hex", tombstones())
	golden(t, "testdata/witness-v1.hex", witnessed())
}

func golden(t *testing.T, file string, pinned *actors.Packet) {
	t.Helper()
	var m raftpb.Packet
	if err := proto.Unmarshal(goldenBytes(t, file, encoded(pinned)), &m); err != nil {
		t.Fatal(err)
	}
	p, err := decode(&m)
	if err != nil || !reflect.DeepEqual(p, pinned) {
		t.Errorf("the golden packet decodes to %+v, %v", p, err)
	}
}

// goldenBytes returns what a file pins, which is what a message is encoded to.
func goldenBytes(t *testing.T, file string, pinned proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(pinned)
	if err != nil {
		t.Fatal(err)
	}
	got := wrapped(hex.EncodeToString(b))
	want, err := os.ReadFile(file)
	if os.IsNotExist(err) && os.Getenv("CASTAWAY_GOLDEN") == "write" {
		err = os.WriteFile(file, []byte(got), 0o644)
		want = []byte(got)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the bytes have changed:\n%s\nthey were\n%s", got, want)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(string(want), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func wrapped(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s + "\n"
}

func TestPacketsThatAreNotOursAreRefused(t *testing.T) {
	for name, change := range map[string]func(*raftpb.Packet){
		"message without body": func(p *raftpb.Packet) { p.Messages[0].Body = nil },
		"nil message":          func(p *raftpb.Packet) { p.Messages[0] = nil },
		"truncated entries": func(p *raftpb.Packet) {
			a := p.Messages[2].GetAppendRequest()
			a.Entries = a.Entries[:len(a.Entries)-1]
		},
		"entry of a later kind": func(p *raftpb.Packet) { p.Messages[2].GetAppendRequest().Entries[0] = 99 },
		"huge configuration": func(p *raftpb.Packet) {
			p.Messages[2].GetAppendRequest().Entries = []byte{3, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0x0f}
		},
		"garbage after the end":    func(p *raftpb.Packet) { a := p.Messages[2].GetAppendRequest(); a.Entries = append(a.Entries, 2) },
		"a configuration too long": func(p *raftpb.Packet) { p.Messages[2].GetAppendRequest().Entries = []byte{3, 0, 0, 5, 0, 0, 0, 0} },
	} {
		p := encoded(everything())
		change(p)
		if out, err := decode(p); err == nil {
			t.Errorf("%s: accepted as %+v", name, out)
		}
	}
	p := encoded(beats())
	p.Beat.Terms = p.Beat.Terms[:1]
	if out, err := decode(p); err == nil {
		t.Errorf("a beat with fewer terms than groups: accepted as %+v", out)
	}
	for name, change := range map[string]func(*raftpb.Packet){
		"nil part":                 func(p *raftpb.Packet) { p.Snapshots[0] = nil },
		"empty part":               func(p *raftpb.Packet) { p.Snapshots[1].Part = nil },
		"offer of nothing":         func(p *raftpb.Packet) { p.Snapshots[0].GetOffer().Message = nil },
		"offer of another message": func(p *raftpb.Packet) { p.Snapshots[0].GetOffer().Message.Body = &raftpb.Message_TimeoutNow{} },
		"offer without members":    func(p *raftpb.Packet) { p.Snapshots[0].GetOffer().Message.GetSnapshotRequest().Conf = []byte{1} },
		"size beyond everything":   func(p *raftpb.Packet) { p.Snapshots[0].GetOffer().Size = 1 << 63 },
		"offset beyond everything": func(p *raftpb.Packet) { p.Snapshots[1].GetChunk().Offset = 1<<64 - 1 },
		"answer beyond everything": func(p *raftpb.Packet) { p.Snapshots[2].GetAnswer().Offset = 1 << 62 },
		"snapshot in a message":    func(p *raftpb.Packet) { p.Messages = []*raftpb.Message{p.Snapshots[0].GetOffer().Message} },
	} {
		p := encoded(snapshotParts())
		change(p)
		if out, err := decode(p); err == nil {
			t.Errorf("%s: accepted as %+v", name, out)
		}
	}
}

// The host answers it with a refusal; the rest of the packet is heard.
func TestAnOperationOfALaterVersionHarmsNothingElse(t *testing.T) {
	in := encoded(everything())
	in.Requests[3].Operation = 1 << 30
	in.Requests[2].Voters = []uint64{7} // which mean nothing there
	out, err := decode(in)
	if err != nil || !reflect.DeepEqual(out, everything()) {
		t.Errorf("it becomes %+v, %v", out, err)
	}
}

func TestEntriesCostFewBytes(t *testing.T) {
	entries := make([]raftcore.Entry, 256)
	for i := range entries {
		entries[i] = raftcore.Entry{
			EntryID: raftcore.EntryID{Term: 1000, Index: raftcore.Index(1e9 + i)}, Time: 1700000000000 + int64(i),
			Kind: raftcore.EntryCommand, Data: make([]byte, 128),
		}
	}
	p := &actors.Packet{From: 1, Messages: []actors.GroupMessage{{Message: raftcore.Message{
		From: 1, To: 2, Term: 1000, Cluster: 1 << 60, Incarnation: 1 << 60,
		Body: &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 1000, Index: 1e9 - 1}, Entries: entries, Commit: 1e9, Round: 1e6},
	}}}}
	size, payload := proto.Size(encoded(p)), 256*128
	if ratio := float64(size) / float64(payload); ratio > 1.06 {
		t.Errorf("256 entries of 128 B take %d bytes, %.3f of their payload", size, ratio)
	}
}

// FuzzDecode: whatever arrives, decoding does not panic, does not allocate
// without bound, and what it accepts is encoded the same way again.
func FuzzDecode(f *testing.F) {
	good, err := proto.Marshal(encoded(everything()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	beat, err := proto.Marshal(encoded(beats()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(beat)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m raftpb.Packet
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		p, err := decode(&m)
		if err != nil {
			return
		}
		again, err := decode(encoded(p))
		if err != nil {
			t.Fatalf("what was accepted is refused when it is encoded again: %v", err)
		}
		if !reflect.DeepEqual(p, again) {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}

func FuzzDecodeEntries(f *testing.F) {
	prev := raftcore.EntryID{Term: 6, Index: 41}
	f.Add(appendEntries(nil, prev, everything().Messages[2].Message.Body.(*raftcore.AppendRequest).Entries))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeEntries(b, prev)
		if err != nil {
			return
		}
		again, err := decodeEntries(appendEntries(nil, prev, entries), prev)
		if err != nil || !reflect.DeepEqual(entries, again) {
			t.Fatalf("%v became %v, %v", entries, again, err)
		}
	})
}

func TestRandomEntriesSurviveTheWire(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		prev := raftcore.EntryID{Term: raftcore.Term(rng.Uint64N(1000)), Index: raftcore.Index(rng.Uint64N(1 << 40))}
		id, time := prev, rng.Int64N(1<<42)
		var entries []raftcore.Entry
		for range rng.IntN(50) {
			id.Index++
			id.Term += raftcore.Term(rng.Uint64N(3))
			time += rng.Int64N(1000)
			e := raftcore.Entry{EntryID: id, Time: time, Kind: raftcore.EntryCommand}
			if rng.IntN(3) > 0 {
				e.Data = bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(300))
			}
			entries = append(entries, e)
		}
		got, err := decodeEntries(appendEntries(nil, prev, entries), prev)
		if err != nil || !reflect.DeepEqual(got, entries) {
			t.Fatalf("%v became %v, %v", entries, got, err)
		}
	}
}

// goldenBatch is goldenBytes for several messages, in one batch of protoactor remote.
func goldenBatch(t *testing.T, file string, pinned []proto.Message) (raw [][]byte) {
	t.Helper()
	batch := &protoremote.MessageBatch{}
	for _, m := range pinned {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		batch.Envelopes = append(batch.Envelopes, &protoremote.MessageEnvelope{MessageData: b})
	}
	var read protoremote.MessageBatch
	if err := proto.Unmarshal(goldenBytes(t, file, batch), &read); err != nil {
		t.Fatal(err)
	}
	for _, e := range read.Envelopes {
		raw = append(raw, e.MessageData)
	}
	return raw
}
