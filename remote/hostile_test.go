package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip" // as exporters of telemetry link it into a host
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// lone starts a host that is alone, with these bounds for its clients.
func lone(t *testing.T, bounds string) *process {
	t.Helper()
	host := &process{t: t, spec: "1," + freeAddresses(t, 1)[0], env: []string{boundsEnv + "=" + bounds}}
	host.start()
	t.Cleanup(host.kill)
	return host
}

// bareStream is what a client of no good will opens.
func bareStream(t *testing.T, address string, connect *protoremote.ConnectRequest) protoremote.Remoting_ReceiveClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := protoremote.NewRemotingClient(conn).Receive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectRequest{ConnectRequest: connect}})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

var asClient = &protoremote.ConnectRequest{ConnectionType: &protoremote.ConnectRequest_ClientConnection{ClientConnection: &protoremote.ClientConnection{}}}

func asHost(address string) *protoremote.ConnectRequest {
	return &protoremote.ConnectRequest{ConnectionType: &protoremote.ConnectRequest_ServerConnection{ServerConnection: &protoremote.ServerConnection{SystemId: "x", Address: address}}}
}

func connected(t *testing.T, stream protoremote.Remoting_ReceiveClient) protoremote.Remoting_ReceiveClient {
	t.Helper()
	if m, err := stream.Recv(); err != nil || m.GetConnectResponse() == nil {
		t.Fatal(m, err)
	}
	return stream
}

// asked returns a batch with these requests, as a client sends it.
func asked(t *testing.T, requests ...*raftpb.ClientRequest) *protoremote.MessageBatch {
	t.Helper()
	b := &protoremote.MessageBatch{TypeNames: []string{clientRequestType}, Targets: []*actor.PID{{Address: "any", Id: gatewayName}}}
	for _, r := range requests {
		data, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b.Envelopes = append(b.Envelopes, &protoremote.MessageEnvelope{MessageData: data})
	}
	return b
}

// answers reads the next answers.
func answers(t *testing.T, stream protoremote.Remoting_ReceiveClient) (out []*raftpb.ClientResponse) {
	t.Helper()
	m, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.GetMessageBatch().GetEnvelopes() {
		r := new(raftpb.ClientResponse)
		if err := proto.Unmarshal(e.MessageData, r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func propose(id uint64) *raftpb.ClientRequest {
	return &raftpb.ClientRequest{Version: 1, Id: id, Group: "sum", Operation: 1, Data: []byte("1")}
}

// A host that was not told to serve clients has no gateway.
func TestWithoutMaxClientsThereIsNoGateway(t *testing.T) {
	v := newVictim(t)
	for name, send := range map[string]func(protoremote.Remoting_ReceiveClient){
		"a client's connect request": func(protoremote.Remoting_ReceiveClient) {},
		"a client's request from an actor": func(s protoremote.Remoting_ReceiveClient) {
			b := asked(t, propose(1))
			b.Targets[0].Address = v.Address()
			b.Senders, b.Envelopes[0].Sender = []*actor.PID{{Address: "127.0.0.1:1", Id: "x"}}, 1
			_ = connected(t, s).Send(batch(b))
		},
	} {
		before := v.Refused()
		connect := asClient
		if strings.Contains(name, "actor") {
			connect = asHost("127.0.0.1:1")
		}
		stream := bareStream(t, v.Address(), connect)
		send(stream)
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: the stream ends with %v", name, err)
		}
		if v.Refused() == before {
			t.Errorf("%s was not counted", name)
		}
	}
}

// P6: whatever a client sends that ours do not, its stream ends, it is counted, and
// nothing has changed.
func TestP6_ClientsOfNoGoodWillChangeNothing(t *testing.T) {
	host := lone(t, "100 1000000")
	gateway := host.address()
	changed := func(change func(*protoremote.MessageBatch)) *protoremote.MessageBatch {
		b := asked(t, propose(1))
		change(b)
		return b
	}
	client := map[string]*protoremote.MessageBatch{
		"another type":        changed(func(b *protoremote.MessageBatch) { b.TypeNames[0] = "castaway.v1.Packet" }),
		"no type":             changed(func(b *protoremote.MessageBatch) { b.TypeNames = nil }),
		"the inbox":           changed(func(b *protoremote.MessageBatch) { b.Targets[0].Id = "castaway" }),
		"no target":           changed(func(b *protoremote.MessageBatch) { b.Targets[0] = nil }),
		"a sender":            changed(func(b *protoremote.MessageBatch) { b.Senders = []*actor.PID{{Address: "127.0.0.1:1", Id: "x"}} }),
		"type out of range":   changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].TypeId = 1 }),
		"target out of range": changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].Target = -1 }),
		"sender out of range": changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].Sender = 1 }),
		"json":                changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].SerializerId = 1 }),
		"a header": changed(func(b *protoremote.MessageBatch) {
			b.Envelopes[0].MessageHeader = &protoremote.MessageHeader{HeaderData: map[string]string{"a": "b"}}
		}),
		"too many": changed(func(b *protoremote.MessageBatch) {
			for len(b.Envelopes) <= maxBatch {
				b.Envelopes = append(b.Envelopes, b.Envelopes[0])
			}
		}),
		"no protobuf": changed(func(b *protoremote.MessageBatch) { b.Envelopes[0].MessageData = []byte{0xff, 1, 2} }),
	}
	refused := 0
	counts := func(name string, stream protoremote.Remoting_ReceiveClient, b *protoremote.MessageBatch) {
		t.Helper()
		_ = stream.Send(batch(b)) // what Recv says counts
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: the stream ends with %v", name, err)
		}
		var n int
		if _, _ = fmt.Sscan(host.ask("refused"), &n); n <= refused {
			t.Errorf("%s: it was not counted", name)
		}
		refused = n
	}
	for name, b := range client {
		counts(name, connected(t, bareStream(t, gateway, asClient)), b)
	}
	const own = "127.0.0.1:1"
	asActor := func(change func(*protoremote.MessageBatch)) *protoremote.MessageBatch {
		return changed(func(b *protoremote.MessageBatch) {
			b.Targets[0].Address = gateway
			b.Senders, b.Envelopes[0].Sender = []*actor.PID{{Address: own, Id: "x"}}, 1
			change(b)
		})
	}
	for name, b := range map[string]*protoremote.MessageBatch{
		"nobody to be answered":           asActor(func(b *protoremote.MessageBatch) { b.Envelopes[0].Sender = 0 }),
		"an answer for a third":           asActor(func(b *protoremote.MessageBatch) { b.Senders[0].Address = "127.0.0.1:2" }),
		"an answer for the host":          asActor(func(b *protoremote.MessageBatch) { b.Senders[0].Address = gateway }),
		"a sender out of range, of actor": asActor(func(b *protoremote.MessageBatch) { b.Envelopes[0].Sender = 2 }),
		"a request for the inbox":         asActor(func(b *protoremote.MessageBatch) { b.Targets[0].Id = "castaway" }),
		"a packet for the gateway":        asActor(func(b *protoremote.MessageBatch) { b.TypeNames[0] = "castaway.v1.Packet" }),
		"an actor's no protobuf":          asActor(func(b *protoremote.MessageBatch) { b.Envelopes[0].MessageData = []byte{0xff, 1, 2} }),
	} {
		counts(name, connected(t, bareStream(t, gateway, asHost(own))), b)
	}
	counts("a client with the host's address", connected(t, bareStream(t, gateway, asHost(gateway))), asActor(func(b *protoremote.MessageBatch) { b.Senders[0].Address = gateway }))

	// What is ours, and makes no sense, has an answer.
	stream := connected(t, bareStream(t, gateway, asClient))
	for name, r := range map[string]*raftpb.ClientRequest{
		"another version":               {Version: 2, Id: 1},
		"no operation":                  {Version: 1, Id: 1, Group: "sum"},
		"an unknown operation":          {Version: 1, Id: 1, Group: "sum", Operation: 1 << 31},
		"an order of hosts":             {Version: 1, Id: 1, Group: "sum", Operation: 35, Data: []byte{1, 1}},
		"effects":                       {Version: 1, Id: 1, Group: "sum", Operation: 48, Data: []byte{16, 1, 1}},
		"versions":                      {Version: 1, Id: 1, Group: "sum", Operation: 49},
		"candidates":                    {Version: 1, Id: 1, Group: "sum", Operation: 50},
		"an absurd age":                 {Version: 1, Id: 1, Group: "sum", Operation: 2, Consistency: 2, MaxAge: 1 << 63},
		"an absurd timeout":             {Version: 1, Id: 1, Group: "sum", Operation: 32, SessionTimeout: 1 << 62},
		"an unknown consistency":        {Version: 1, Id: 1, Group: "sum", Operation: 2, Consistency: 77},
		"a session, and no place in it": {Version: 1, Id: 1, Group: "sum", Operation: 1, Session: 1},
		"too many members":              {Version: 1, Id: 1, Group: "sum", Operation: 16, Voters: make([]uint64, 5000)},
	} {
		if err := stream.Send(batch(asked(t, r))); err != nil {
			t.Fatal(name, err)
		}
		a := answers(t, stream)
		if len(a) != 1 || a[0].Id != 1 || a[0].Outcome != outcomeRejected || a[0].Failure.GetReasons()[0] != outcomeBadRequest {
			t.Errorf("%s is answered with %v", name, a)
		}
	}
	if err := stream.Send(batch(asked(t, &raftpb.ClientRequest{Version: 1, Id: 1, Group: "sum", Cluster: "other", Operation: 1}))); err != nil {
		t.Fatal(err)
	}
	if a := answers(t, stream); len(a) != 1 || a[0].Failure.GetReasons()[0] != outcomeNoGroup {
		t.Errorf("a request of another cluster is answered with %v", a)
	}
	waits := &raftpb.ClientRequest{Version: 1, Id: 5, Group: "sum", Operation: 2, Consistency: 3, After: 1 << 40}
	if err := stream.Send(batch(asked(t, waits, waits))); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("two requests with one ID: the stream ends with %v", err)
	}
	if answer, err := dial(t, gateway).Read(context.Background(), nil); err != nil || string(answer) != "0" {
		t.Errorf("after all that the sum is %q, %v", answer, err)
	}
}

// P5: a client has more under way than the host takes, and more connections than it
// serves. What is beyond the bounds is refused, and with the client all that it had goes.
func TestP5_WhatClientsHaveUnderWayIsBounded(t *testing.T) {
	host := lone(t, "200 2000000")
	flood := connected(t, bareStream(t, host.address(), asClient))
	var requests []*raftpb.ClientRequest
	for id := range uint64(300) { // none of them is ever answered
		requests = append(requests, &raftpb.ClientRequest{Version: 1, Id: id + 1, Group: "sum", Operation: 2, Consistency: 3, After: 1 << 40})
	}
	for _, some := range [][]*raftpb.ClientRequest{requests[:150], requests[150:]} {
		if err := flood.Send(batch(asked(t, some...))); err != nil {
			t.Fatal(err)
		}
	}
	busy := map[uint64]bool{}
	for len(busy) < 200 {
		for _, a := range answers(t, flood) {
			if a.Outcome != outcomeRejected || a.Busy.GetLimit() != 100 || a.Busy.GetRetryAfter() == 0 {
				t.Fatalf("request %d is answered with %v", a.Id, a)
			}
			busy[a.Id] = true
		}
	}
	sum := dial(t, host.address())
	if _, err := sum.Propose(context.Background(), []byte("1")); err != nil {
		t.Errorf("a client beside a flood: %v", err)
	}
	second := connected(t, bareStream(t, host.address(), asClient))
	if err := second.Send(batch(asked(t, requests[:100]...))); err != nil {
		t.Fatal(err)
	}
	// All are under way when the next is refused.
	if err := second.Send(batch(asked(t, requests[200]))); err != nil {
		t.Fatal(err)
	}
	if a := answers(t, second); len(a) != 1 || a[0].Busy == nil {
		t.Fatalf("answered is %v", a)
	}
	_, err := sum.Propose(context.Background(), []byte("1"))
	var full *actors.BusyError
	if !errors.Is(err, actors.ErrBusy) || !errors.Is(err, actors.ErrRejected) || !errors.As(err, &full) || full.Limit != 200 {
		t.Errorf("a client beside two floods: %v", err)
	}
	// What is withdrawn makes room.
	if err := flood.Send(batch(asked(t, &raftpb.ClientRequest{Version: 1, Id: 7, Cancel: true}))); err != nil {
		t.Fatal(err)
	}
	if a := answers(t, flood); len(a) != 1 || a[0].Id != 7 || a[0].Outcome != outcomeRejected {
		t.Errorf("a request that is withdrawn is answered with %v", a)
	}
	if err := flood.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for { // the last of the flood may just be going
		_, err := flood.Recv()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for err = actors.ErrBusy; errors.Is(err, actors.ErrBusy); {
		_, err = sum.Propose(ctx, []byte("1"))
	}
	if err != nil {
		t.Errorf("when the flood has gone a command ends with %v", err)
	}
	if _, err := sum.Propose(ctx, make([]byte, 1<<20)); !errors.Is(err, actors.ErrBusy) { // more bytes than all together may have
		t.Errorf("a command larger than MaxClientBytes ends with %v", err)
	}

	var streams []protoremote.Remoting_ReceiveClient
	for range 6 { // with that of sum, and the second, eight
		streams = append(streams, connected(t, bareStream(t, host.address(), asClient)))
	}
	if _, err := bareStream(t, host.address(), asClient).Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the ninth client: %v", err)
	}
	if err := streams[0].CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := streams[0].Recv(); err != io.EOF {
		t.Errorf("a client that goes is told %v", err)
	}
	for connectedNow := false; !connectedNow && ctx.Err() == nil; {
		_, err := bareStream(t, host.address(), asClient).Recv()
		connectedNow = err == nil
	}
	if ctx.Err() != nil {
		t.Error("one that has gone keeps its place")
	}
}

// P5: a client asks on and on, and takes no answers. It is held up by its own stream, the
// host's memory stays small, and then it is cut off.
func TestP5_AClientThatTakesNoAnswersIsCutOff(t *testing.T) {
	host := lone(t, "100000 64000000")
	stream := connected(t, bareStream(t, host.address(), asClient))
	var sent atomic.Int64
	go func() {
		for {
			var requests []*raftpb.ClientRequest
			for range 100 {
				requests = append(requests, &raftpb.ClientRequest{Version: 1, Id: uint64(sent.Add(1)), Group: strings.Repeat("x", 1000), Operation: 1})
			}
			if stream.Send(batch(asked(t, requests...))) != nil {
				return
			}
		}
	}()
	if got := host.ask("why"); got != "a client that takes no answers" {
		t.Errorf("refused is %s", got)
	}
	var heap, all int
	if _, err := fmt.Sscan(host.ask("memory"), &heap, &all); err != nil || all > 150 {
		t.Errorf("after %d requests the host has %d MiB, of which %d are used, %v", sent.Load(), all, heap, err)
	}
	t.Logf("%d requests were sent; the host has %d MiB, of which %d are used", sent.Load(), all, heap)
	var err error
	for err == nil { // takes what was sent until then
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the stream ends with %v", err)
	}
	if _, err := dial(t, host.address()).Propose(context.Background(), []byte("1")); err != nil {
		t.Errorf("another client: %v", err)
	}
}

// bare writes and reads the bytes of messages.
type bare struct{}

func (bare) Name() string                    { return "proto" }
func (bare) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (bare) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }

// P5: what has two bytes on the wire has a hundred in memory, and what is compressed has next to
// none on the wire. Neither is read, but counted.
func TestP5_FewBytesDoNotBecomeMany(t *testing.T) {
	field := func(number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	many := func(number protowire.Number) []byte { return bytes.Repeat(field(number, nil), 4<<20) }
	const envelopes, batches, messages, requests = 3, 1, 8, 9 // in a MessageBatch, a RemoteMessage, a Packet
	client, err := proto.Marshal(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectRequest{ConnectRequest: asClient}})
	if err != nil {
		t.Fatal(err)
	}
	host := lone(t, "")
	for _, test := range []struct {
		name string
		says []byte
		opts []grpc.CallOption
		want codes.Code
	}{
		{"empty envelopes", field(batches, many(envelopes)), nil, codes.Internal},
		{"envelopes, in batches that protobuf puts together", bytes.Repeat(field(batches, bytes.Repeat(field(envelopes, nil), 10)), 200_000), nil, codes.Internal},
		{"compressed", field(batches, many(envelopes)), []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, codes.Unimplemented},
	} {
		before := host.ask("refusals")
		conn, err := grpc.NewClient(host.address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, streamMethod, append(test.opts, grpc.ForceCodec(bare{}))...)
		if err != nil {
			t.Fatal(err)
		}
		var heard []byte
		_ = stream.SendMsg(client)
		if err := stream.RecvMsg(&heard); err == nil { // it is a client, and no stranger
			_ = stream.SendMsg(test.says)
		}
		for err = nil; err == nil; err = stream.RecvMsg(&heard) {
		}
		if status.Code(err) != test.want {
			t.Errorf("%s: the stream ends with %v", test.name, err)
		}
		for gaveUp := time.Now().Add(30 * time.Second); host.ask("refusals") == before; { // gRPC tells who says it first
			if time.Now().After(gaveUp) {
				t.Fatalf("%s: it was not counted", test.name)
			}
		}
	}
	if most := resident(t, host); most > floodResident && !raceDetector {
		t.Errorf("the host has had %d MiB", most)
	}
	for _, number := range []protowire.Number{messages, requests} {
		if p, err := open(many(number)); err == nil {
			t.Errorf("a packet with %d messages and %d requests is read", len(p.Messages), len(p.Requests))
		}
	}
}

// lavish is a host that answers a client with very many empty envelopes.
type lavish struct {
	protoremote.UnimplementedRemotingServer
}

func (lavish) Receive(stream protoremote.Remoting_ReceiveServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	_ = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectResponse{ConnectResponse: &protoremote.ConnectResponse{}}})
	empty := make([]*protoremote.MessageEnvelope, maxFields+1)
	for i := range empty {
		empty[i] = new(protoremote.MessageEnvelope)
	}
	_ = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_MessageBatch{MessageBatch: &protoremote.MessageBatch{Envelopes: empty}}})
	<-stream.Context().Done()
	return nil
}

// P5: nor does a client read from a host what would become much.
func TestP5_AClientDoesNotReadWhatBecomesMuch(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	protoremote.RegisterRemotingServer(server, lavish{})
	go server.Serve(l)
	defer server.Stop()
	far, err := Dial(ClientConfig{Seeds: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	_, err = far.Ask(t.Context(), &actors.ClientRequest{Group: "sum", Request: actors.Request{Operation: actors.GetStatus}})
	if !errors.Is(err, actors.ErrUnreachable) || !strings.Contains(err.Error(), errManyFields.Error()) {
		t.Errorf("it ends with %v", err)
	}
}
