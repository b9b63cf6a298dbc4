package remote

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

func TestTheLowerOfBothVersionsIsSpoken(t *testing.T) {
	two := speech{oldest: 1, newest: 2, capabilities: []string{"a", "b"}}
	for _, test := range []struct{ here, there, want speech }{
		{two, two, speech{2, 2, []string{"a", "b"}}},
		{two, speech{1, 1, nil}, speech{1, 1, nil}},
		{two, speech{1, 9, []string{"c", "b"}}, speech{2, 2, []string{"b"}}},
		{two, speech{2, 3, nil}, speech{2, 2, nil}},
		{two, speech{3, 3, nil}, speech{}},
		{speech{2, 3, nil}, speech{1, 1, nil}, speech{}},
	} {
		got, err := test.here.with(test.there)
		if !reflect.DeepEqual(got, test.want) || (err == nil) != (test.want.newest > 0) {
			t.Errorf("%v with %v is %v, %v", test.here, test.there, got, err)
		}
		back, _ := test.there.with(test.here)
		if back.newest != got.newest {
			t.Errorf("%v with %v is version %d, and the other way round %d", test.here, test.there, got.newest, back.newest)
		}
	}
	for _, s := range []speech{ours, two} {
		if got, err := readSpeech(s.metadata()); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%v is told as %v, %v", s, got, err)
		}
	}
	if got, err := readSpeech(nil); err != nil || got.oldest != 1 || got.newest != 1 {
		t.Errorf("who says nothing speaks %v, %v", got, err)
	}
}

// saying has a stream say what its host speaks.
func saying(t *testing.T, versions string) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, versionsKey, versions)
}

// A host of a later version comes, as in a rolling upgrade; or one that is too late, or
// makes no sense.
func TestAHostOfAnotherVersionIsTold(t *testing.T) {
	v := newVictim(t)
	s := newStranger(t, v)
	for versions, spoken := range map[string]uint32{"1-1": 1, "1-2": 2, "2-9": 2, "1-4294967295": 2} {
		stream, err := s.try(saying(t, versions))
		if err != nil {
			t.Fatalf("%s: %v", versions, err)
		}
		if md, err := stream.Header(); err != nil || !reflect.DeepEqual(md.Get(versionsKey), []string{"1-2"}) {
			t.Errorf("%s: it hears %v, %v", versions, md, err)
		}
		p := encoded(everything())
		p.Sequence, p.Version = 1, spoken
		if err := stream.Send(batch(s.of(p))); err != nil {
			t.Fatal(err)
		}
		<-v.delivered
	}
	for versions, want := range map[string]string{
		"3-3": "speaks 1 to 2, the other one 3 to 3", "3-9": "speaks 1 to 2",
		"": "no sense", "1": "no sense", "2-1": "no sense", "0-1": "no sense", "1-x": "no sense", "-1-2": "no sense", "1-99999999999": "no sense",
	} {
		before := v.Refused()
		stream, err := s.try(saying(t, versions))
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", versions, err)
		}
		if md, err := stream.Header(); err != nil || !reflect.DeepEqual(md.Get(versionsKey), []string{"1-2"}) {
			t.Errorf("%q: it hears %v, %v", versions, md, err)
		}
		if after := v.Refused(); after.Versions != before.Versions+1 {
			t.Errorf("%q: refused %+v, then %+v", versions, before, after)
		}
	}
}

// Whatever was agreed, a packet may say that it is of another version.
func TestAPacketOfAnotherVersionEndsTheStream(t *testing.T) {
	v := newVictim(t)
	s := newStranger(t, v)
	for _, version := range []uint32{0, 1, 3, 1 << 31} {
		before := v.Refused()
		p := encoded(everything())
		p.Sequence, p.Version = 1, version
		stream, err := s.try(saying(t, "1-2"))
		if err != nil {
			t.Fatal(err)
		}
		b := s.of(p)
		good := encoded(everything())
		good.Sequence, good.Version = 2, 2
		b.Envelopes = append(b.Envelopes, s.of(good).Envelopes...) // is not heard either
		if err := stream.Send(batch(b)); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "where 2 is spoken") {
			t.Errorf("version %d: the stream ends with %v", version, err)
		}
		if after := v.Refused(); after.Versions != before.Versions+1 {
			t.Errorf("version %d: refused %+v, then %+v", version, before, after)
		}
		if len(v.delivered) > 0 {
			t.Errorf("version %d: it was heard", version)
		}
	}
}

// What a packet with sequence 0 says is the same in all versions.
func TestWhatWasTakenIsToldInAnyVersion(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	large := &actors.Packet{From: 1, Requests: []actors.GroupRequest{{Operation: actors.Propose, Data: make([]byte, 2<<20)}}}
	if !l.Send(large) || l.Send(large) {
		t.Fatal("the window is not as it was")
	}
	var sent *raftpb.Packet
	for sent.GetSequence() == 0 {
		sent = <-o.packets
	}
	s := newStranger(t, v)
	if err := s.stream().Send(batch(s.of(&raftpb.Packet{Version: 7, From: 2, Address: o.address, TakenSession: sent.Session, Taken: sent.Sequence}))); err != nil {
		t.Fatal(err)
	}
	await(t, events, actors.LinkWritable)
}

// The other side of a link is of a later version: first one that is too late, then one that
// can still speak with this.
func TestALinkToALaterVersionSpeaksTheEarlier(t *testing.T) {
	o := (&other{says: metadata.Pairs(versionsKey, "3-4")}).listen(t, "127.0.0.1:0")
	address := o.address
	w := startWire(t, wireConfig{})
	w.tell("link %s", address)
	line := w.await("cannot speak to another host", address)
	if !strings.Contains(line, "this host speaks 1 to 2, the other one 3 to 4") {
		t.Errorf("it says %s", line)
	}
	w.tell("send %s", address)
	w.await("sent false")
	<-o.peers
	<-o.peers // it tries again
	if len(o.packets) > 0 {
		t.Error("it speaks to whom it has nothing to say")
	}
	o.server.Stop()
	o = (&other{says: metadata.Pairs(versionsKey, "1-3", capabilitiesKey, "what nobody knows")}).listen(t, address)
	w.await("link to " + address + ": 1")
	w.tell("send %s", address)
	w.await("sent true")
	for {
		if p := <-o.packets; p.Sequence > 0 {
			if p.Version != 2 || !proto.Equal(p.Messages[0], encoded(everything()).Messages[0]) {
				t.Errorf("it sends version %d", p.Version)
			}
			return
		}
	}
}

// What was agreed is what is written.
func TestALinkWritesTheVersionThatIsSpoken(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	for _, version := range []uint32{1, 2} {
		if version > 1 { // as if this side spoke it, too
			l.met(&l.lanes[0], speech{oldest: version, newest: version}, nil, "")
		}
		if !l.Send(everything()) {
			t.Fatal("the link takes no packet")
		}
		for p := range o.packets {
			if p.Sequence > 0 {
				if p.Version != version {
					t.Errorf("where %d is spoken it writes %d", version, p.Version)
				}
				break
			}
		}
	}
}

// The other side ends the stream, because of what it was sent: it is told, and goes on
// without haste.
func TestARefusalIsLogged(t *testing.T) {
	o := (&other{refuses: status.Error(codes.PermissionDenied, "castaway: because I say so")}).listen(t, "127.0.0.1:0")
	w := startWire(t, wireConfig{})
	w.tell("link %s", o.address)
	w.await("link to " + o.address + ": 1")
	w.tell("send %s", o.address)
	w.await("cannot speak to another host", o.address, "because I say so")
	w.await("link to " + o.address + ": 2")
	w.await("link to " + o.address + ": 1") // it tries again
}

// Who is not wanted comes again, but not in haste.
func TestAHostThatIsNotWantedIsInNoHaste(t *testing.T) {
	v := newVictim(t)
	l := newLink(v.Transport, "127.0.0.1:1", func(actors.LinkEvent) {})
	v.mu.Lock()
	v.links[l.address] = l
	v.mu.Unlock()
	defer l.Close()
	if got := l.lanes[0].pause(); got != greetAfter {
		t.Errorf("after a connection broke it waits for %v", got)
	}
	for code, want := range map[codes.Code]time.Duration{
		codes.Unavailable: greetAfter, codes.PermissionDenied: greetUnwanted, codes.FailedPrecondition: greetUnwanted, codes.InvalidArgument: greetUnwanted,
	} {
		s := &clientStream{t: v.Transport, address: l.address}
		if got := s.lost(status.Error(code, "")); got != want {
			t.Errorf("after %v the handshake begins again after %v", code, got)
		}
		if got := l.lanes[0].pause(); got != want {
			t.Errorf("after %v the link waits for %v", code, got)
		}
	}
	v.rejected(l.address, context.Canceled)
	l.met(&l.lanes[0], ours, nil, "")
	if got := l.lanes[0].pause(); got != greetAfter {
		t.Errorf("after a good connection it waits for %v", got)
	}
}
