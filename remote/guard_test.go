package remote

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// protoactor's remote sets gRPC's logger whenever it starts, which the race
// detector reports if a connection lives: so the tests of this package share
// one Transport, and play the other side with bare gRPC. Two hosts that talk
// are two processes: see process_test.go, and tests/e2e.

func quietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
}

// victim is a Transport that is listening, and what was delivered to it.
type victim struct {
	*Transport
	system    *actor.ActorSystem
	delivered chan *actors.Packet
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	v, err := sharedVictim()
	if err != nil {
		t.Fatal(err)
	}
	for len(v.delivered) > 0 {
		<-v.delivered
	}
	return v
}

var sharedVictim = sync.OnceValues(func() (*victim, error) {
	v := &victim{Transport: New(Config{Listen: "127.0.0.1:0"}), system: quietSystem(), delivered: make(chan *actors.Packet, 1000)}
	return v, v.Start(v.system, 1, func(p *actors.Packet) { v.delivered <- p })
})

// stranger is somebody who has found the port.
type stranger struct {
	t    *testing.T
	v    interface{ Address() string }
	conn *grpc.ClientConn
}

func newStranger(t *testing.T, v interface{ Address() string }, options ...grpc.DialOption) *stranger {
	t.Helper()
	conn, err := grpc.NewClient(v.Address(), append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &stranger{t, v, conn}
}

// stream opens a stream and introduces itself, as a host does.
func (s *stranger) stream() protoremote.Remoting_ReceiveClient {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.t.Cleanup(cancel)
	stream, err := s.try(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return stream
}

// try is for a stream that may be refused.
func (s *stranger) try(ctx context.Context) (protoremote.Remoting_ReceiveClient, error) {
	stream, err := protoremote.NewRemotingClient(s.conn).Receive(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectRequest{ConnectRequest: &protoremote.ConnectRequest{
		ConnectionType: &protoremote.ConnectRequest_ServerConnection{ServerConnection: &protoremote.ServerConnection{SystemId: "x", Address: "127.0.0.1:1"}},
	}}})
	_, err = stream.Recv()
	return stream, err
}

func batch(b *protoremote.MessageBatch) *protoremote.RemoteMessage {
	return &protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_MessageBatch{MessageBatch: b}}
}

// clean returns the batch that a host of ours sends.
func (s *stranger) clean() *protoremote.MessageBatch {
	p := encoded(everything())
	p.Sequence = 1
	return s.of(p)
}

// of returns the batch with a packet.
func (s *stranger) of(p *raftpb.Packet) *protoremote.MessageBatch {
	b, err := proto.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	return &protoremote.MessageBatch{
		TypeNames: []string{"castaway.v1.Packet"},
		Targets:   []*actor.PID{{Address: s.v.Address(), Id: "castaway"}},
		Envelopes: []*protoremote.MessageEnvelope{{MessageData: b}},
	}
}

// system returns a batch with one of protoactor's own messages, for a target.
func (s *stranger) system(m proto.Message, target string) *protoremote.MessageBatch {
	b, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return &protoremote.MessageBatch{
		TypeNames: []string{string(m.ProtoReflect().Descriptor().FullName())},
		Targets:   []*actor.PID{{Address: s.v.Address(), Id: target}},
		Envelopes: []*protoremote.MessageEnvelope{{MessageData: b}},
	}
}

// P6, and everything that protoactor remote would let a stranger do: one
// message ends the process, stops an actor, or makes it a relay. Here each is
// refused and counted, and the host goes on.
func TestP6_MessagesOfStrangersChangeNothing(t *testing.T) {
	v := newVictim(t)
	s := newStranger(t, v)
	var stopped atomic.Bool
	bystander, err := v.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Stopping, *actor.Restarting:
			stopped.Store(true)
		}
	}), "bystander")
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*protoremote.MessageBatch)) *protoremote.MessageBatch {
		b := s.clean()
		change(b)
		return b
	}
	other := actor.NewPID("127.0.0.1:1", "x")
	for name, b := range map[string]*protoremote.MessageBatch{
		"unknown type":        changed(func(b *protoremote.MessageBatch) { b.TypeNames[0] = "no.such.Type" }),
		"type out of range":   changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].TypeId = 7 }),
		"negative type":       changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].TypeId = -1 }),
		"target out of range": changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].Target = 7 }),
		"negative target":     changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].Target = -1 }),
		"sender out of range": changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].Sender = 7 }),
		"a sender":            changed(func(b *protoremote.MessageBatch) { b.Senders = []*actor.PID{other}; b.Envelopes[0].Sender = 1 }),
		"serializer 99":       changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].SerializerId = 99 }),
		"json":                changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].SerializerId = 1 }),
		"third party":         changed(func(b *protoremote.MessageBatch) { b.Targets[0].Address = "127.0.0.1:1" }),
		"itself by a nickname": changed(func(b *protoremote.MessageBatch) {
			b.Targets[0].Address = strings.Replace(v.Address(), "127.0.0.1", "localhost", 1)
		}),
		"another actor":         changed(func(b *protoremote.MessageBatch) { b.Targets[0].Id = "bystander" }),
		"a guardian":            changed(func(b *protoremote.MessageBatch) { b.Targets[0].Id = "guardian$1" }),
		"the event stream":      changed(func(b *protoremote.MessageBatch) { b.Targets[0].Id = "eventstream" }),
		"a request":             changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].TargetRequestId = 1 }),
		"nil target":            changed(func(b *protoremote.MessageBatch) { b.Targets[0] = nil }),
		"stop":                  s.system(&actor.Stop{}, "bystander"),
		"poison":                s.system(&actor.PoisonPill{}, "bystander"),
		"stop the inbox":        s.system(&actor.Stop{}, "castaway"),
		"stop the activator":    s.system(&actor.Stop{}, "activator"),
		"watch without watcher": s.system(&actor.Watch{}, "bystander"),
		"terminated":            s.system(&actor.Terminated{}, "bystander"),
		"spawn":                 s.system(&protoremote.ActorPidRequest{Name: "x", Kind: "y"}, "activator"),
	} {
		before := v.Refused()
		stream := s.stream()
		if err := stream.Send(batch(b)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: the stream ends with %v", name, err)
		}
		if v.Refused() == before {
			t.Errorf("%s: it was not counted", name)
		}
	}
	if stopped.Load() {
		t.Error("an actor was stopped from outside")
	}
	if len(v.delivered) > 0 {
		t.Errorf("%d packets were let through", len(v.delivered))
	}

	// After all that a clean message passes.
	if err := s.stream().Send(batch(s.clean())); err != nil {
		t.Fatal(err)
	}
	<-v.delivered
	if err := v.system.Root.StopFuture(bystander).Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestP6_CallsOfStrangersAreRefused(t *testing.T) {
	v := newVictim(t)
	client := protoremote.NewRemotingClient(newStranger(t, v).conn)
	_, err := client.ListProcesses(context.Background(), &protoremote.ListProcessesRequest{})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("listing processes: %v", err)
	}
	_, err = client.GetProcessDiagnostics(context.Background(), &protoremote.GetProcessDiagnosticsRequest{Pid: actor.NewPID(v.Address(), "x")})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("diagnostics: %v", err)
	}
}

func TestP6_GarbageInOurEnvelopeIsRefused(t *testing.T) {
	v := newVictim(t)
	s := newStranger(t, v)
	for name, change := range map[string]func(*protoremote.MessageBatch){
		"not protobuf": func(b *protoremote.MessageBatch) { b.Envelopes[0].MessageData = []byte{0xff, 0xff, 0xff} },
		"cut short": func(b *protoremote.MessageBatch) {
			e := b.Envelopes[0]
			e.MessageData = e.MessageData[:len(e.MessageData)-3]
		},
		"empty": func(b *protoremote.MessageBatch) { b.Envelopes[0].MessageData = nil },
		"from nobody": func(b *protoremote.MessageBatch) {
			b.Envelopes = s.of(&raftpb.Packet{Version: 1, Address: v.Address()}).Envelopes
		},
	} {
		b := s.clean()
		change(b)
		before, stream := v.Refused(), s.stream()
		if err := stream.Send(batch(b)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: the stream ends with %v", name, err)
		}
		if after := v.Refused(); after.Messages != before.Messages+1 {
			t.Errorf("%s: refused %+v, then %+v", name, before, after)
		}
	}
	if err := s.stream().Send(batch(s.clean())); err != nil {
		t.Fatal(err)
	}
	<-v.delivered
	if len(v.delivered) > 0 {
		t.Error("garbage was let through")
	}
}

func TestTooLargeAMessageEndsTheStreamAndNothingElse(t *testing.T) {
	v := newVictim(t)
	s := newStranger(t, v)
	defer v.Link("127.0.0.1:1", func(actors.LinkEvent) {}).Close()
	p := encoded(everything())
	p.Sequence, p.Address = 1, "127.0.0.1:1" // of a stranger not so much would be read
	stream := s.stream()
	if err := stream.Send(batch(s.of(p))); err != nil {
		t.Fatal(err)
	}
	<-v.delivered
	b := s.clean()
	b.Envelopes[0].MessageData = make([]byte, 64<<20)
	_ = stream.Send(batch(b)) // it may be refused while it is being sent
	// When the stream has ended the connection is a stranger's again, and what is still on its
	// way may be more than he may say: then that is closed, perhaps before the reason is read.
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted && status.Code(err) != codes.Unavailable {
		t.Errorf("64 MiB end with %v", err)
	}
	s = newStranger(t, v)
	if err := s.stream().Send(batch(s.clean())); err != nil {
		t.Fatal(err)
	}
	<-v.delivered
}

func TestWithoutTLSOnlyLoopbackIsListenedOn(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:0":     "not loopback",
		"192.0.2.1:0":   "not loopback",
		"example.org:0": "not loopback",
		"127.0.0.1":     "missing port",
		"127.0.0.1:x":   "not a number",
	} {
		err := New(Config{Listen: listen}).Start(quietSystem(), 1, func(*actors.Packet) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", listen, err)
		}
	}
	err := New(Config{Listen: "0.0.0.0:0", Insecure: true}).Start(quietSystem(), 1, func(*actors.Packet) {})
	if err == nil || !strings.Contains(err.Error(), "Advertise") {
		t.Errorf("all addresses, without one that others know: %v", err)
	}
}

func TestAPortInUseIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = New(Config{Listen: l.Addr().String()}).Start(quietSystem(), 1, func(*actors.Packet) {})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the error is %v", err)
	}
}

// other is the other side of a link, in bare gRPC: it takes packets, and gives
// credit back only when told to.
type other struct {
	protoremote.UnimplementedRemotingServer
	server  *grpc.Server
	says    metadata.MD   // in the header of streams
	refuses error         // what it answers to any packet with a sequence
	peers   chan []string // the names of who has opened a stream
	address string
	packets chan *raftpb.Packet
	ended   chan bool // a stream has

	raw    chan *protoremote.RemoteMessage // if not nil, gets what comes on the streams
	lanes  chan string                     // if not nil, gets the lanes of the streams
	metas  chan metadata.MD                // if not nil, gets what the streams begin with
	breaks map[string]chan error           // ends the streams of a lane
}

func listenAs(t *testing.T, address string, options ...grpc.ServerOption) *other {
	t.Helper()
	return new(other).listen(t, address, options...)
}

func (o *other) listen(t *testing.T, address string, options ...grpc.ServerOption) *other {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	o.server, o.address = grpc.NewServer(append(options, grpc.MaxRecvMsgSize(64<<20))...), l.Addr().String()
	o.packets, o.peers, o.ended = make(chan *raftpb.Packet, 10000), make(chan []string, 100), make(chan bool, 100)
	protoremote.RegisterRemotingServer(o.server, o)
	go o.server.Serve(l)
	t.Cleanup(o.server.Stop)
	return o
}

func (o *other) Receive(stream protoremote.Remoting_ReceiveServer) error {
	defer func() { o.ended <- true }()
	if _, err := stream.Recv(); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	lane := strings.Join(md.Get(laneKey), " ")
	if o.lanes != nil {
		o.lanes <- lane
	}
	if o.metas != nil {
		o.metas <- md
	}
	o.peers <- peerNames(stream.Context())
	if err := stream.SetHeader(o.says); err != nil {
		return err
	}
	err := stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectResponse{ConnectResponse: &protoremote.ConnectResponse{}}})
	if err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() { read <- o.read(stream) }()
	select {
	case err = <-read:
	case err = <-o.breaks[lane]:
	}
	return err
}

func (o *other) read(stream protoremote.Remoting_ReceiveServer) (err error) {
	for err == nil {
		var m *protoremote.RemoteMessage
		if m, err = stream.Recv(); err != nil {
			break
		}
		if o.raw != nil {
			o.raw <- m
			continue
		}
		for _, e := range m.GetMessageBatch().GetEnvelopes() {
			p := &raftpb.Packet{}
			if err := proto.Unmarshal(e.MessageData, p); err != nil {
				return err
			}
			o.packets <- p
			if p.Sequence > 0 && o.refuses != nil {
				return o.refuses
			}
		}
	}
	return err
}

// await returns the next event of a link.
func await(t *testing.T, events chan actors.LinkEvent, want actors.LinkEvent) {
	t.Helper()
	select {
	case got := <-events:
		if got != want {
			t.Fatalf("the link says %d, not %d", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the link does not say %d", want)
	}
}

// P5: a host that takes nothing costs a window's worth of memory, and no more.
func TestP5_WhatIsUnderWayToAHostIsBounded(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)

	p := &actors.Packet{From: 1, Requests: []actors.GroupRequest{{Operation: actors.Propose, Data: make([]byte, 100<<10)}}}
	sent := 0
	for l.Send(p) {
		if sent++; sent > 100 {
			t.Fatal("10 MB are under way, and the link takes more")
		}
	}
	if sent != 21 { // of 100 KiB, the last of them begins in a window of 2 MiB
		t.Errorf("%d packets were taken", sent)
	}
	// The other side tells that it has taken some: there is room again.
	var newest *raftpb.Packet
	for newest.GetSequence() < 5 {
		newest = <-o.packets
	}
	s := newStranger(t, v)
	b, err := proto.Marshal(&raftpb.Packet{Version: 1, From: 2, Address: o.address, TakenSession: newest.Session, Taken: newest.Sequence})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stream().Send(batch(&protoremote.MessageBatch{
		TypeNames: []string{"castaway.v1.Packet"}, Targets: []*actor.PID{{Address: v.Address(), Id: "castaway"}},
		Envelopes: []*protoremote.MessageEnvelope{{MessageData: b}},
	})); err != nil {
		t.Fatal(err)
	}
	await(t, events, actors.LinkWritable)
	for sent = 0; l.Send(p); sent++ {
	}
	if sent != 5 {
		t.Errorf("after credit for 5 packets, %d were taken", sent)
	}
	// Credit of another session is none.
	l.(*link).heard(actors.LaneControl, &raftpb.Packet{TakenSession: newest.Session + 1, Taken: 100})
	l.(*link).heard(actors.LaneControl, &raftpb.Packet{TakenSession: newest.Session, Taken: 100})
	if l.Send(p) {
		t.Error("credit was given for packets that were never sent")
	}
}

// The other side is told what was taken, so that it gets its credit back even
// if this side has nothing to say.
func TestWhatWasTakenIsTold(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	stream := newStranger(t, v).stream()
	for i := range 40 {
		p := encoded(&actors.Packet{From: 2, Requests: everything().Requests})
		p.Address, p.Session, p.Sequence = o.address, 99, uint64(i+1)
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(batch(&protoremote.MessageBatch{
			TypeNames: []string{"castaway.v1.Packet"}, Targets: []*actor.PID{{Address: v.Address(), Id: "castaway"}},
			Envelopes: []*protoremote.MessageEnvelope{{MessageData: b}},
		})); err != nil {
			t.Fatal(err)
		}
	}
	for {
		select {
		case p := <-o.packets:
			if p.TakenSession == 99 && p.Taken >= 32 {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatal("it is not told")
		}
	}
}

// P5: a host that sends and sends, and reads nothing, does not have what it is told pile up;
// when it reads again it is told the newest.
func TestP5_WhatIsToldToWhoReadsNothingIsBounded(t *testing.T) {
	v := newVictim(t)
	o := (&other{raw: make(chan *protoremote.RemoteMessage)}).listen(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	const sent = 400_000
	for sequence := range uint64(sent) {
		l.took(actors.LaneControl, &raftpb.Packet{Session: 7, Sequence: sequence + 1})
	}
	told := 0
	for taken := uint64(0); taken < sent; {
		for _, e := range (<-o.raw).GetMessageBatch().GetEnvelopes() {
			p := &raftpb.Packet{}
			if err := proto.Unmarshal(e.MessageData, p); err != nil {
				t.Fatal(err)
			}
			taken = p.Taken
			told++
		}
	}
	if told > sent/tellAfter/2 {
		t.Errorf("it was told %d times", told)
	}
}

// A host that goes away and comes back is connected again within two seconds.
func TestP6_ALinkComesBackByItself(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	for round := range 3 {
		o.server.Stop()
		await(t, events, actors.LinkDown)
		if l.Send(everything()) {
			t.Error("a link that is down takes a packet")
		}
		away := time.NewTimer(time.Duration(round) * 700 * time.Millisecond)
		<-away.C
		back := time.Now()
		o = listenAs(t, o.address)
		await(t, events, actors.LinkUp)
		took := time.Since(back)
		t.Logf("connected again after %v", took)
		if took > 2*time.Second {
			t.Errorf("it took %v to connect again", took)
		}
		if !l.Send(everything()) {
			t.Error("a link that is up again takes no packet")
		}
		for p := range o.packets {
			if len(p.Messages) > 0 {
				break
			}
		}
	}
}

// A link to a host that was never there can be closed, and so can the
// transport: nothing goes on in the background.
func TestALinkThatNeverCameUpCanBeClosed(t *testing.T) {
	v := newVictim(t)
	l := v.Link("127.0.0.1:1", func(e actors.LinkEvent) { t.Errorf("it says %d", e) })
	if l.Send(everything()) {
		t.Error("it takes a packet")
	}
	l.Close()
	if v.link("127.0.0.1:1") != nil {
		t.Error("it is still there")
	}
}

// While the way to a host is barred, that host may still be heard from. Each of
// its packets is a sign that it is there, and none of them may cost memory.
func TestP5_AHostThatIsHeardAndNotReachedIsGreetedOnce(t *testing.T) {
	v := newVictim(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	events := make(chan actors.LinkEvent, 10)
	link := v.Link(address, func(e actors.LinkEvent) { events <- e })
	defer link.Close()
	s := newStranger(t, v)
	stream := s.stream()
	for i := range 500 {
		p := encoded(&actors.Packet{From: 2, Requests: everything().Requests})
		p.Address, p.Session, p.Sequence = address, 7, uint64(i+1)
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		batched := s.clean()
		batched.Envelopes[0].MessageData = b
		if err := stream.Send(batch(batched)); err != nil {
			t.Fatal(err)
		}
		<-v.delivered
	}
	o := listenAs(t, address)
	await(t, events, actors.LinkUp)
	if !link.Send(&actors.Packet{From: 1, Requests: everything().Requests}) {
		t.Fatal("the link is up and takes no packet")
	}
	greetings, taken := 0, uint64(0)
	for {
		p := <-o.packets
		taken = max(taken, p.Taken)
		if p.Sequence > 0 {
			break
		}
		greetings++
	}
	if greetings > 3 {
		t.Errorf("it was greeted %d times", greetings)
	}
	if taken != 500 {
		t.Errorf("it was told that %d of its 500 packets were taken", taken)
	}
}

// A large packet is not kept out by small ones that come and go.
func TestAWindowThatIsNotFullTakesALargePacket(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	request := func(size int) *actors.Packet {
		return &actors.Packet{From: 1, Requests: []actors.GroupRequest{{Operation: actors.Propose, Data: make([]byte, size)}}}
	}
	if !l.Send(request(1000)) || !l.Send(request(4<<20)) {
		t.Error("4 MiB are refused because of 1000 bytes")
	}
	if l.Send(request(1)) {
		t.Error("beside 4 MiB it takes more")
	}
}

// The other side's connection breaks, and this one does not: answers may be lost.
func TestC5_WhatIsLostInTheOtherDirectionIsTold(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	for sequence := range uint64(3) {
		l.took(actors.LaneControl, &raftpb.Packet{Session: 7, Sequence: sequence + 1})
	}
	if len(events) > 0 {
		t.Error("nothing is lost, and it says so")
	}
	l.took(actors.LaneControl, &raftpb.Packet{Session: 8, Sequence: 1})
	await(t, events, actors.LinkDown)
	await(t, events, actors.LinkUp)
	// When both break, that is told once, and what was taken is not forgotten.
	l.lanes[0].disconnected()
	await(t, events, actors.LinkDown)
	if l.lanes[0].theirs != 8 || l.lanes[0].taken != 1 {
		t.Error("the other side will not get its credit back")
	}
	l.lanes[0].connected()
	await(t, events, actors.LinkUp)
	l.took(actors.LaneControl, &raftpb.Packet{Session: 9, Sequence: 1})
	if len(events) > 0 {
		t.Error("it is told twice")
	}
}

// Whoever says to be the other side makes up a session for each packet. That is told, but not
// each time.
func TestP5_SessionsWithoutEndCostLittle(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	events := make(chan actors.LinkEvent, 10000)
	l := v.Link(o.address, func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	began := time.Now()
	for session := range uint64(4000) {
		l.took(actors.LaneControl, &raftpb.Packet{Session: session + 1, Sequence: 1})
	}
	if most := 2 * (2 + int(time.Since(began)/greetAfter)); len(events) > most {
		t.Errorf("%d times it is said that something is lost, or is not", len(events))
	}
	for range 2 { // the first one, and the last
		await(t, events, actors.LinkDown)
		await(t, events, actors.LinkUp)
	}
}

// Peers are taken out and come back, or another host comes at their address: its link is
// not kept waiting for a connection that is there already.
func TestALinkToAnAddressThatHadOneComesUp(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	arrives := func(l actors.Link, events chan actors.LinkEvent) {
		t.Helper()
		for !l.Send(everything()) {
			select {
			case <-events:
			case <-time.After(30 * time.Second):
				t.Fatal("the link does not come up")
			}
		}
		for p := range o.packets {
			if len(p.Messages) > 0 {
				return
			}
		}
	}
	link := func() (actors.Link, chan actors.LinkEvent) {
		events := make(chan actors.LinkEvent, 100)
		return v.Link(o.address, func(e actors.LinkEvent) { events <- e }), events
	}
	first, events := link()
	arrives(first, events)
	first.Close()
	select {
	case <-o.ended: // nobody keeps a connection to a host that is gone
	case <-time.After(30 * time.Second):
		t.Fatal("the link is closed, and its connection is not")
	}
	second, events := link()
	arrives(second, events)
	third, events := link() // in the place of the second
	defer third.Close()
	if second.Send(everything()) {
		t.Error("a link whose place another has taken takes a packet")
	}
	arrives(third, events)
	second.Close()
	arrives(third, events)
}
