package remote

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// lanesUp returns how many lanes are up, in all links.
func (t *Transport) lanesUp() (n int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.links {
		l.mu.Lock()
		for i := range l.lanes {
			if l.lanes[i].up {
				n++
			}
		}
		l.mu.Unlock()
	}
	return n
}

// The conversations in testdata are what a host at 127.0.0.1:70002 said to one at
// 127.0.0.1:70001, a protoactor message a line. The first was recorded when there was no version
// but the first, and begins with the connect request; the second when there was no version but
// the second, and has the lane in front of each line. The addresses are of the length of those
// that a test gets.
func conversation(t *testing.T, file, from, to string) (lanes [actors.Lanes][]*protoremote.RemoteMessage) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		at := strings.LastIndex(line, " ")
		b, err := hex.DecodeString(line[at+1:])
		lane := slices.Index([]string{"", "#log", "#snapshots"}, strings.TrimSpace(line[:at+1]))
		if err != nil || lane < 0 {
			t.Fatal(lane, err)
		}
		b = bytes.ReplaceAll(b, []byte("127.0.0.1:70002"), []byte(from))
		b = bytes.ReplaceAll(b, []byte("127.0.0.1:70001"), []byte(to))
		m := &protoremote.RemoteMessage{}
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		lanes[lane] = append(lanes[lane], m)
	}
	return lanes
}

func conversationV1(t *testing.T, from, to string) []*protoremote.RemoteMessage {
	t.Helper()
	return conversation(t, "testdata/conversation-v1.hex", from, to)[actors.LaneControl]
}

// said are the packets of the conversation.
func said() []*actors.Packet {
	return []*actors.Packet{everything(), snapshotParts(), beats(), tombstones()}
}

func packetOf(t *testing.T, m *protoremote.RemoteMessage) *raftpb.Packet {
	t.Helper()
	p := &raftpb.Packet{}
	if err := proto.Unmarshal(m.GetMessageBatch().GetEnvelopes()[0].MessageData, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// O3: a host of version 1 opens a stream to this one.
func TestO3_AHostOfVersion1IsUnderstood(t *testing.T) {
	v := newVictim(t)
	for _, says := range []metadata.MD{{}, metadata.Pairs(versionsKey, "1-1")} {
		o := (&other{says: says}).listen(t, "127.0.0.1:0")
		events := make(chan actors.LinkEvent, 100)
		l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
		await(t, events, actors.LinkUp)
		<-o.peers
		stream, err := protoremote.NewRemotingClient(newStranger(t, v).conn).Receive(metadata.NewOutgoingContext(t.Context(), says))
		if err != nil {
			t.Fatal(err)
		}
		messages := conversationV1(t, o.address, v.Address())
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range said() {
			got := <-v.delivered
			if want.Names = got.Names; !reflect.DeepEqual(got, want) {
				t.Errorf("packet %d is taken for %+v", i, got)
			}
		}
		// It is given its credit on the one lane that it has.
		for told, last := false, packetOf(t, messages[len(messages)-1]); !told; { // what is delivered may not be taken yet
			if !l.Send(everything()) {
				t.Fatal("nothing can be said to it")
			}
			p := <-o.packets
			if p.Version != 1 {
				t.Errorf("it is told something of version %d", p.Version)
			}
			told = p.TakenSession == last.Session && p.Taken == last.Sequence
		}
		if len(o.peers) > 0 {
			t.Error("a second connection was made")
		}
		l.Close()
		<-o.ended
	}
}

// sameAgain demands that what is said is what was recorded, but for the session.
func sameAgain(t *testing.T, what string, got, want *protoremote.RemoteMessage) {
	t.Helper()
	p := packetOf(t, got)
	p.Session = packetOf(t, want).Session // which is drawn anew
	var err error
	if got.GetMessageBatch().Envelopes[0].MessageData, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	a, errA := proto.Marshal(got)
	b, errB := proto.Marshal(want)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("%s is\n%x, and was\n%x", what, a, b)
	}
}

// O3: this host opens a stream to one of version 1. What it sends is, byte for byte, what one
// of version 1 would.
func TestO3_AHostOfVersion1IsSpokenTo(t *testing.T) {
	v := newVictim(t)
	o := (&other{says: metadata.Pairs(versionsKey, "1-1"), raw: make(chan *protoremote.RemoteMessage, 100)}).listen(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 100)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	packets := append([]*actors.Packet{nil}, said()...)                  // the greeting goes by itself
	for i, want := range conversationV1(t, v.Address(), o.address)[1:] { // after the connect request
		if p := packets[i]; p != nil {
			if p.Lane = actors.Lane(i) % actors.Lanes; !l.Send(p) {
				t.Fatal("it takes no packet")
			}
		}
		got := <-o.raw
		sameAgain(t, fmt.Sprintf("packet %d", i), got, want)
	}
	<-o.peers
	if len(o.peers) > 0 {
		t.Error("a second connection was made")
	}
}

// saidV2 are the packets of the second conversation. They have what came with version 2, and is
// not in the first.
func saidV2() []*actors.Packet {
	message := func(body raftcore.Body) actors.GroupMessage {
		return actors.GroupMessage{Group: 5, Message: raftcore.Message{From: 1, To: 2, Term: 7, Cluster: 0xC0FFEE, Incarnation: 0xBEEF, Body: body}}
	}
	signs := &actors.Packet{From: 1, Lane: actors.LaneControl, Messages: []actors.GroupMessage{
		message(&raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 6, Index: 41}, Commit: 40, Round: 9, Urgent: true}),
		message(&raftcore.AppendReply{Match: 41, Round: 9, Ahead: 3}),
	}}
	orders := &actors.Packet{From: 1, Lane: actors.LaneLog,
		Messages: []actors.GroupMessage{message(&raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 6, Index: 41}, Commit: 40, Round: 9, Entries: []raftcore.Entry{
			{EntryID: raftcore.EntryID{Term: 7, Index: 42}, Time: 1700000000000, Kind: raftcore.EntryHost, Data: []byte{3, 1, 1}},
		}})},
		Requests: []actors.GroupRequest{{Group: 5, ID: 77, Operation: actors.Propose, Data: []byte("+1"), Span: []byte("sixteen bytes...8 bytes.f")}},
	}
	all, parts, witnesses := everything(), snapshotParts(), witnessed()
	all.Lane, parts.Lane, witnesses.Lane = actors.LaneLog, actors.LaneSnapshots, actors.LaneLog
	return []*actors.Packet{signs, orders, all, witnesses, parts}
}

// metaV2 is what a stream of version 2 begins with.
func metaV2(lane actors.Lane, from string) metadata.MD {
	md := metadata.Pairs("castaway-versions", "1-2", "castaway-address", from)
	if lane > 0 {
		md.Set("castaway-lane", []string{"", "#log", "#snapshots"}[lane])
	}
	return md
}

// O3: a host of version 2 opens its streams to this one.
func TestO3_AHostOfVersion2IsUnderstood(t *testing.T) {
	v := newVictim(t)
	o := (&other{says: metaV2(0, "")}).listen(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 100)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	for lane, messages := range conversation(t, "testdata/conversation-v2.hex", o.address, v.Address()) {
		stream, err := newStranger(t, v).try(metadata.NewOutgoingContext(t.Context(), metaV2(actors.Lane(lane), o.address)))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error, 1)
		go func() {
			_, err := stream.Recv()
			ended <- err
		}()
		for i, want := range saidV2() {
			if want.Lane != actors.Lane(lane) {
				continue
			}
			var got *actors.Packet
			select {
			case got = <-v.delivered:
			case err := <-ended:
				t.Fatalf("lane %d: the stream ends with %v", lane, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("packet %d is taken for\n%+v, and was\n%+v", i, got, want)
			}
		}
		// It is given its credit.
		for told, last := false, packetOf(t, messages[len(messages)-1]); !told; {
			sign := everything()
			if sign.Lane = actors.LaneLog; !l.Send(sign) {
				t.Fatal("nothing can be said to it")
			}
			p := <-o.packets
			told = p.TakenSession == last.Session && p.Taken == last.Sequence
		}
	}
}

// O3: this host opens its streams to one of version 2. What it sends is, byte for byte, what
// one of version 2 would.
func TestO3_AHostOfVersion2IsSpokenTo(t *testing.T) {
	v := newVictim(t)
	o := (&other{says: metaV2(0, ""), raw: make(chan *protoremote.RemoteMessage, 100), metas: make(chan metadata.MD, 10)}).listen(t, "127.0.0.1:0")
	events, changes := make(chan actors.LinkEvent, 100), v.changes(t, o.address)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	awaitAll(t, changes)
	var opened [actors.Lanes]bool
	for range actors.Lanes {
		md := <-o.metas
		for lane := range actors.Lanes {
			says := true
			want := metaV2(lane, v.Address())
			for _, key := range []string{"castaway-versions", "castaway-address", "castaway-lane"} {
				says = says && slices.Equal(md.Get(key), want.Get(key))
			}
			opened[lane] = opened[lane] || says
		}
	}
	if opened != [actors.Lanes]bool{true, true, true} {
		t.Errorf("these lanes were opened as they were: %v", opened)
	}
	l.took(actors.LaneLog, &raftpb.Packet{Session: 7, Sequence: 3}) // which the first packet tells
	for _, p := range saidV2() {
		l.mu.Lock()
		before := l.lanes[actors.LaneLog].bytes
		if p.Lane == actors.LaneControl {
			l.lanes[actors.LaneLog].bytes = l.t.cfg.WindowBytes // as if the log would have it wait
		}
		l.mu.Unlock()
		if !l.Send(p) {
			t.Fatal("it takes no packet")
		}
		if p.Lane == actors.LaneControl {
			l.mu.Lock()
			l.lanes[actors.LaneLog].bytes = before
			l.mu.Unlock()
		}
	}
	var said [actors.Lanes][]*protoremote.RemoteMessage
	for left := len(saidV2()) + int(actors.Lanes); left > 0; { // and a greeting on each
		b := (<-o.raw).GetMessageBatch()
		left -= len(b.Envelopes)
		for i := range b.Envelopes { // protoactor sends together what comes together
			alone := proto.CloneOf(b)
			alone.Envelopes = alone.Envelopes[i : i+1]
			_, suffix, _ := strings.Cut(b.Targets[0].Address, "#")
			lane := slices.Index([]string{"", "log", "snapshots"}, suffix)
			said[lane] = append(said[lane], batch(alone))
		}
	}
	const file = "testdata/conversation-v2.hex"
	if _, err := os.Stat(file); os.IsNotExist(err) && os.Getenv("CASTAWAY_GOLDEN") == "write" {
		writeConversation(t, file, said, v.Address(), o.address)
	}
	for lane, all := range conversation(t, file, v.Address(), o.address) {
		for i, want := range all {
			if i >= len(said[lane]) {
				t.Errorf("on lane %d less is said than was", lane)
				break
			}
			sameAgain(t, fmt.Sprintf("on lane %d packet %d", lane, i), said[lane][i], want)
		}
	}
}

func writeConversation(t *testing.T, file string, said [actors.Lanes][]*protoremote.RemoteMessage, from, to string) {
	t.Helper()
	var text strings.Builder
	for lane, all := range said {
		for _, m := range all {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			b = bytes.ReplaceAll(b, []byte(from), []byte("127.0.0.1:70002"))
			b = bytes.ReplaceAll(b, []byte(to), []byte("127.0.0.1:70001"))
			fmt.Fprintln(&text, strings.TrimSpace(fmt.Sprintf("%s %x", laneSuffixes[lane], b)))
		}
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// laneChange is that one of the connections to another host has come up, or has broken.
type laneChange struct {
	lane actors.Lane
	up   bool
}

// changes tells what becomes of the lanes to an address, when the link has been told. It is
// called before there is a link.
func (v *victim) changes(t *testing.T, address string) <-chan laneChange {
	changes := make(chan laneChange, 1000)
	sub := v.system.EventStream.Subscribe(func(e any) { // after the Transport, which has subscribed before
		at, up := "", false
		switch e := e.(type) {
		case *protoremote.EndpointConnectedEvent:
			at, up = e.Address, true
		case *protoremote.EndpointTerminatedEvent:
			at = e.Address
		}
		if w := v.lane(at); w != nil && w.l.address == address {
			changes <- laneChange{w.is, up}
		}
	})
	t.Cleanup(func() { v.system.EventStream.Unsubscribe(sub) })
	return changes
}

// awaitAll waits until each of the lanes has come up.
func awaitAll(t *testing.T, changes <-chan laneChange) {
	t.Helper()
	late := time.After(time.Minute)
	for up := map[actors.Lane]bool{}; len(up) < int(actors.Lanes); {
		select {
		case c := <-changes:
			if up[c.lane] = true; !c.up {
				delete(up, c.lane)
			}
		case <-late:
			t.Fatalf("of the lanes these are up: %v", up)
		}
	}
}

// A host of this version is given a connection for each lane, and each has its own credit:
// what is not taken on one keeps nothing from another.
func TestWhatIsOnOneLaneDoesNotWaitForAnother(t *testing.T) {
	v := newVictim(t)
	o := (&other{says: ours.metadata(), lanes: make(chan string, 10)}).listen(t, "127.0.0.1:0")
	events, changes := make(chan actors.LinkEvent, 100), v.changes(t, o.address)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	var opened []string
	for range actors.Lanes {
		opened = append(opened, <-o.lanes)
	}
	if slices.Sort(opened); !slices.Equal(opened, laneSuffixes[:]) {
		t.Errorf("there are streams for the lanes %q", opened)
	}
	awaitAll(t, changes) // who waits for the link does not wait for that of snapshots
	bulk := &actors.Packet{From: 1, Requests: []actors.GroupRequest{{Operation: actors.Propose, Data: make([]byte, 100<<10)}}}
	parts := snapshotParts()
	for _, p := range []*actors.Packet{bulk, parts} {
		p.Lane = actors.LaneLog
		if p == parts {
			p.Lane = actors.LaneSnapshots
			p.Snapshots[1].Chunk.Data = make([]byte, 100<<10)
		}
		sent := 0
		for ; l.Send(p); sent++ {
			if sent > 100 {
				t.Fatalf("10 MB are under way on lane %d, and it takes more", p.Lane)
			}
		}
		if sent < 10 {
			t.Errorf("lane %d takes %d packets of 100 KiB", p.Lane, sent)
		}
	}
	sign := everything()
	sign.Lane = actors.LaneControl
	if !l.Send(sign) {
		t.Error("what keeps leaders in office waits for the others")
	}
	// Credit for one lane is none for another, whatever it comes on.
	l.mu.Lock()
	session, sequence := l.lanes[actors.LaneSnapshots].session, l.lanes[actors.LaneSnapshots].sequence
	l.mu.Unlock()
	s := newStranger(t, v)
	if err := s.stream().Send(batch(s.of(&raftpb.Packet{From: 2, Address: o.address, TakenSession: session, Taken: sequence}))); err != nil {
		t.Fatal(err)
	}
	await(t, events, actors.LinkWritable)
	if l.Send(bulk) || !l.Send(parts) {
		t.Error("credit for snapshots is given to the log")
	}
}

// A lane that breaks alone is there again soon, and the others do not notice.
func TestALaneBreaksAlone(t *testing.T) {
	v := newVictim(t)
	breaks := map[string]chan error{}
	for _, suffix := range laneSuffixes {
		breaks[suffix] = make(chan error)
	}
	o := (&other{says: ours.metadata(), breaks: breaks}).listen(t, "127.0.0.1:0")
	events, changes := make(chan actors.LinkEvent, 100), v.changes(t, o.address)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	awaitAll(t, changes)
	sessions := func() (s [actors.Lanes]uint64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := range l.lanes {
			s[i] = l.lanes[i].session
		}
		return s
	}
	before := sessions()
	broken := status.Error(codes.Unavailable, "broken")
	breaks["#snapshots"] <- broken
	for _, up := range []bool{false, true} {
		if c := <-changes; c != (laneChange{actors.LaneSnapshots, up}) {
			t.Fatalf("after that lane %d is up: %v", c.lane, c.up)
		}
	}
	if now := sessions(); now[actors.LaneSnapshots] == before[actors.LaneSnapshots] || now[actors.LaneControl] != before[actors.LaneControl] || now[actors.LaneLog] != before[actors.LaneLog] {
		t.Errorf("the sessions were %d, and are %d", before, now)
	}
	if len(events) > 0 {
		t.Error("it is said that requests may be lost")
	}
	breaks["#log"] <- broken
	await(t, events, actors.LinkDown) // with requests, or the answers to them
	await(t, events, actors.LinkUp)
}

// A stream of a lane that makes no sense is refused.
func TestALaneThatNobodyKnowsIsRefused(t *testing.T) {
	v := newVictim(t)
	s := newStranger(t, v)
	for _, test := range [][2]string{{"1-2", "#nobody"}, {"1-1", "#log"}, {"1-2", "log"}} {
		before := v.Refused()
		_, err := s.try(metadata.AppendToOutgoingContext(saying(t, test[0]), laneKey, test[1]))
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "lane") {
			t.Errorf("%v: %v", test, err)
		}
		if after := v.Refused(); after.Versions != before.Versions+1 {
			t.Errorf("%v: refused %+v, then %+v", test, before, after)
		}
	}
	// The target is of the stream's lane.
	for _, test := range [][2]string{{"#log", ""}, {"", "#log"}, {"#log", "#snapshots"}} {
		stream, err := s.try(metadata.AppendToOutgoingContext(saying(t, "1-2"), laneKey, test[0]))
		if err != nil {
			t.Fatal(err)
		}
		b := s.clean()
		b.Targets[0].Address += test[1]
		if err := stream.Send(batch(b)); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("on a stream of lane %q, a packet for %q: %v", test[0], test[1], err)
		}
	}
	if len(v.delivered) > 0 {
		t.Error("something was heard")
	}
}

// O3: the hosts of a group are upgraded one after the other, from version 1, and one of them
// back. It goes on all the time, and in the end there are lanes.
func TestO3_AGroupIsUpgradedHostByHost(t *testing.T) {
	hosts := threeHosts(t)
	disks := make([]string, len(hosts))
	for i, h := range hosts {
		disks[i] = diskEnv + "=" + t.TempDir()
		h.env = []string{disks[i], speaksEnv + "=1"}
		h.start()
		defer h.kill()
	}
	sum, unknown := 0, 0
	adds := func() {
		t.Helper()
		for _, h := range hosts {
			if answer := h.ask("add 1"); strings.Contains(answer, "unknown") {
				unknown++
			} else if sum++; !strings.HasSuffix(answer, "<nil>") {
				t.Fatalf("adding ends with %q", answer)
			}
		}
	}
	adds()
	for _, step := range []struct {
		host   int
		speaks string
	}{{0, "2"}, {1, "2"}, {1, "1"}, {1, "2"}, {2, "2"}} {
		h := hosts[step.host]
		h.kill()
		h.env = []string{disks[step.host], speaksEnv + "=" + step.speaks}
		h.start()
		adds()
		adds()
	}
	for _, h := range hosts {
		for want := fmt.Sprint(2 * actors.Lanes); h.ask("lanes") != want; {
			<-time.After(10 * time.Millisecond)
		}
		var n int
		if _, err := fmt.Sscanf(h.ask("read"), "%d <nil>", &n); err != nil || n < sum || n > sum+unknown {
			t.Errorf("a host reads %d, %v, not from %d to %d", n, err, sum, sum+unknown)
		}
	}
	if unknown > 5 {
		t.Errorf("%d of %d ended unknown: one at each restart was to be expected", unknown, sum)
	}
}

// What may overtake entries crosses the wire as such.
func TestUrgentMessagesCross(t *testing.T) {
	message := func(body raftcore.Body) actors.GroupMessage {
		return actors.GroupMessage{Group: 5, Message: raftcore.Message{From: 1, To: 2, Term: 7, Body: body}}
	}
	p := &actors.Packet{From: 1, Messages: []actors.GroupMessage{
		message(&raftcore.AppendRequest{Commit: 40, Round: 9, Urgent: true}), message(&raftcore.AppendReply{Match: 41, Round: 9, Ahead: 3}),
	}}
	if got := roundTrip(t, p); !reflect.DeepEqual(got.Messages, p.Messages) {
		t.Errorf("%+v", got.Messages)
	}
	if !slices.Equal(laneSuffixes[:], []string{"", "#log", "#snapshots"}) {
		t.Error("the lanes have other names than in PROTOCOL.md")
	}
}
