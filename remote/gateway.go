package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// gateway lets clients in other processes ask the host. There is none unless
// Config.MaxClients says how many may come: a port that is there for the other hosts should
// not come to serve everybody who can reach it because a library was updated.
//
// A client that says so in its connect request (Dial's do) is answered down its own
// stream, so it needs no port, no address, and no actor system. protoactor's reader knows
// nothing of that, and never sees such a stream: the guard hands it over. Actors of other
// systems are answered as protoactor does it: see foreign.go.
//
// Clients are bounded together, by the number and the bytes of what they have asked and not
// been sent the answer to, and none has more than half of that; beyond it the answer is
// ErrBusy. How many of those wait for a client to take them is bounded by not reading on. A client that takes no answers is cut off.
type gateway struct {
	t    *Transport
	host atomic.Pointer[actors.Host]

	clients atomic.Int64
	usage   usage
	foreign foreign
	ended   sync.WaitGroup
}

const (
	gatewayName = "castaway-gateway"
	clientName  = "castaway-client" // whom the gateway's answers are for, on a stream of its own

	maxUnsentAnswers = 1024 // of one client; then it is not read on
)

var clientRequestType = string((*raftpb.ClientRequest)(nil).ProtoReflect().Descriptor().FullName())
var clientResponseType = string((*raftpb.ClientResponse)(nil).ProtoReflect().Descriptor().FullName())

// Serve lets clients in. See actors.Gateway.
func (t *Transport) Serve(h *actors.Host) { t.gateway.host.Store(h) }

// usage is what clients, or one of them, have asked and not been sent the answer to.
type usage struct{ requests, bytes atomic.Int64 }

// count counts with the client, and with all of them.
func (c *client) count(requests, bytes int64) {
	for _, u := range []*usage{&c.usage, &c.g.usage} {
		u.requests.Add(requests)
		u.bytes.Add(bytes)
	}
}

// admit counts a request of so many bytes, or returns why it is not taken. No client has
// more than half of what there is for all.
func (c *client) admit(bytes int64) error {
	c.count(1, bytes)
	requests, most := int64(c.g.t.cfg.MaxClientRequests), int64(c.g.t.cfg.MaxClientBytes)
	for _, b := range []struct {
		used  *atomic.Int64
		limit int64
		what  string
	}{
		{&c.g.usage.requests, requests, "requests of all clients on the host"},
		{&c.usage.requests, (requests + 1) / 2, "requests of this client on the host"},
		{&c.g.usage.bytes, most, "bytes of all clients on the host"},
		{&c.usage.bytes, (most + 1) / 2, "bytes of this client on the host"},
	} {
		if used := b.used.Load(); used > b.limit {
			c.count(-1, -bytes)
			return &actors.BusyError{What: b.what, Used: used, Limit: b.limit, RetryAfter: retryAfter}
		}
	}
	return nil
}

const retryAfter = 100 * time.Millisecond

// client is a client, and its stream.
type client struct {
	g     *gateway
	names []string // those of its certificate
	ctx   context.Context
	end   context.CancelCauseFunc
	send  func([]answer) error

	usage usage

	mu       sync.Mutex
	underWay map[uint64]context.CancelFunc // by the client's ID
	unsent   []answer
	gone     bool          // nothing is sent any more
	wake     chan struct{} // something is unsent
	taken    chan struct{} // something was sent

	// Of one that is answered by protoactor:
	toPass int           // answers that it was given, and has not written
	passed chan struct{} // it has written some
}

// answer is one that waits to be sent.
type answer struct {
	*raftpb.ClientResponse
	to      *actor.PID // nil: down the client's stream
	bytes   int64      // that count with the gateway
	request bool       // it counts as one
}

// serve serves a client until it goes.
func (g *gateway) serve(stream grpc.ServerStream) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.clients.Add(-1)
	defer g.t.door.know(socketOf(stream.Context()), "")()
	err := stream.SendMsg(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectResponse{
		ConnectResponse: &protoremote.ConnectResponse{MemberId: g.t.system.ID},
	}})
	if err != nil {
		return err
	}
	c := g.newClient(stream.Context())
	c.send = func(answers []answer) error { return sendDown(stream, answers) }
	g.ended.Add(2)
	go c.run(func() error { return c.read(stream) })
	go c.run(c.write)
	<-c.ctx.Done() // what it has asked and not begun is withdrawn
	if err := context.Cause(c.ctx); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// enter counts a client, or returns why it is not let in.
func (g *gateway) enter() error {
	if g.host.Load() == nil {
		return status.Error(codes.Unavailable, "castaway: this host is starting")
	}
	if n := g.clients.Add(1); n > int64(g.t.cfg.MaxClients) {
		g.clients.Add(-1)
		g.t.refuse(badMessage, "a client too many")
		return status.Errorf(codes.ResourceExhausted, "castaway: this host serves %d clients", g.t.cfg.MaxClients)
	}
	return nil
}

func (g *gateway) newClient(ctx context.Context) *client {
	c := &client{g: g, names: peerNames(ctx), underWay: map[uint64]context.CancelFunc{}, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
	c.ctx, c.end = context.WithCancelCause(ctx)
	return c
}

// run ends the client when f does. What gets past the checks is survived.
func (c *client) run(f func() error) {
	defer c.g.ended.Done()
	defer func() {
		if reason := recover(); reason != nil {
			c.g.t.refuse(badMessage, fmt.Sprintf("a client's message that made the gateway panic: %v", reason))
			c.end(status.Error(codes.InvalidArgument, "castaway: malformed"))
		}
	}()
	c.end(f())
}

// read takes what the client asks.
func (c *client) read(stream grpc.ServerStream) error {
	for {
		m := new(protoremote.RemoteMessage)
		if err := stream.RecvMsg(m); err != nil {
			return c.g.t.unread(err, socketOf(stream.Context()))
		}
		batch := m.GetMessageBatch()
		why := "not a batch of messages, of a client"
		if batch != nil {
			why = uncleanOfClient(batch)
		}
		for i := 0; why == "" && i < len(batch.Envelopes); i++ {
			if err := c.data(batch.Envelopes[i].MessageData, nil); err != nil {
				return err
			}
		}
		if why != "" {
			c.g.t.refuse(badMessage, why)
			return status.Error(codes.PermissionDenied, "castaway: "+why)
		}
	}
}

// data takes one request, as it came. It waits while too many answers wait.
func (c *client) data(data []byte, to *actor.PID) error {
	in := new(raftpb.ClientRequest)
	if err := proto.Unmarshal(data, in); err != nil {
		c.g.t.refuse(badMessage, "a client's request that is not protobuf")
		return status.Error(codes.PermissionDenied, "castaway: a request that is not protobuf")
	}
	return c.request(in, int64(len(data)), to)
}

// request takes one request, to be answered to an actor, or down the stream.
func (c *client) request(in *raftpb.ClientRequest, bytes int64, to *actor.PID) error {
	if in.Cancel && to == nil {
		c.mu.Lock()
		withdraw := c.underWay[in.Id]
		c.mu.Unlock()
		if withdraw != nil {
			withdraw()
		}
		return nil
	}
	if err := c.awaitRoom(); err != nil {
		return err
	}
	bytes += requestOverhead
	r, err := decodeClientRequest(in)
	if err != nil {
		c.g.t.refuse(badMessage, err.Error())
		err = fmt.Errorf("%w: %w", actors.ErrBadRequest, err)
	} else {
		r.Names = c.names
		err = c.admit(bytes)
	}
	if err != nil {
		c.answer(in.Id, actors.Refused(err), answer{to: to})
		return nil
	}
	ctx, withdraw := context.WithCancel(c.ctx)
	if !c.begin(in.Id, withdraw, to) {
		withdraw()
		c.g.t.refuse(badMessage, "a client's request with the ID of another")
		c.count(-1, -bytes)
		return status.Error(codes.InvalidArgument, "castaway: two requests have one ID")
	}
	c.g.host.Load().Ask(ctx, r, func(response *actors.ClientResponse) {
		if withdraw(); to == nil {
			c.mu.Lock()
			delete(c.underWay, in.Id)
			c.mu.Unlock()
		}
		if _, member := response.Hosts[c.g.t.self]; member {
			response.Hosts[c.g.t.self] = c.g.t.Address()
		}
		c.answer(in.Id, response, answer{to: to, bytes: bytes, request: true})
	})
	return nil
}

// begin notes how a request is withdrawn, unless one with the same ID is under way. Actors
// count their IDs each for itself, and withdraw nothing.
func (c *client) begin(id uint64, withdraw context.CancelFunc, to *actor.PID) bool {
	if to != nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay[id] != nil {
		return false
	}
	c.underWay[id] = withdraw
	return true
}

const requestOverhead = 512 // what one takes beside its data, about

// answer has a response be sent. In place of the request, the response counts.
func (c *client) answer(id uint64, r *actors.ClientResponse, a answer) {
	a.ClientResponse = encodeClientResponse(id, r)
	more := int64(len(a.Data))
	a.bytes += more
	c.count(0, more)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		c.release(a)
		return
	}
	c.unsent = append(c.unsent, a)
	signal(c.wake)
}

func (c *client) release(a answer) {
	requests := int64(0)
	if a.request {
		requests = 1
	}
	c.count(-requests, -a.bytes)
}

func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// awaitRoom waits until not too many answers are unsent.
func (c *client) awaitRoom() error {
	for {
		c.mu.Lock()
		full := len(c.unsent) >= maxUnsentAnswers
		c.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-c.taken:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// write sends the answers, and ends the client if it does not take them.
func (c *client) write() error {
	defer c.releaseUnsent()
	stalled := time.AfterFunc(time.Hour, func() {
		c.g.t.refuse(badMessage, "a client that takes no answers")
		c.end(status.Error(codes.ResourceExhausted, "castaway: answers are not taken"))
	})
	stalled.Stop()
	defer stalled.Stop()
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
		for {
			answers := c.take()
			if len(answers) == 0 {
				break
			}
			stalled.Reset(stalledAfter)
			err := c.send(answers)
			stalled.Stop()
			for _, a := range answers {
				c.release(a)
			}
			if err != nil {
				return err
			}
			signal(c.taken)
		}
	}
}

// take returns the next answers that are sent together.
func (c *client) take() (answers []answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for n < len(c.unsent) && n < maxBatch && (n == 0 || bytes+len(c.unsent[n].Data) <= maxBatchBytes) {
		bytes += len(c.unsent[n].Data)
		n++
	}
	answers = c.unsent[:n:n]
	if c.unsent = c.unsent[n:]; len(c.unsent) == 0 {
		c.unsent = nil
	}
	return answers
}

// A message has no more requests or answers in it than these; a single one may be larger.
const (
	maxBatch      = 256
	maxBatchBytes = 256 << 10
	clientWindow  = 4 * maxBatchBytes // of a stream, in HTTP/2
)

// sendDown sends answers down the client's own stream.
func sendDown(stream grpc.ServerStream, answers []answer) error {
	batch := &protoremote.MessageBatch{TypeNames: []string{clientResponseType}, Targets: []*actor.PID{{Id: clientName}}}
	for _, a := range answers {
		data, err := proto.Marshal(a.ClientResponse)
		if err != nil {
			return err
		}
		batch.Envelopes = append(batch.Envelopes, &protoremote.MessageEnvelope{MessageData: data})
	}
	return stream.SendMsg(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_MessageBatch{MessageBatch: batch}})
}

// releaseUnsent lets go of what is not sent any more.
func (c *client) releaseUnsent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.unsent {
		c.release(a)
	}
	c.unsent, c.gone = nil, true
}

// uncleanOfClient says what is wrong with a batch on a client's stream, or nothing. The
// address of the target is not looked at: who comes through a gateway of another kind
// knows the host by another name.
func uncleanOfClient(b *protoremote.MessageBatch) string {
	switch {
	case len(b.Senders) > 0:
		return "a sender to reply to, on a client's stream"
	case len(b.TypeNames) != 1 || b.TypeNames[0] != clientRequestType:
		return "a client's message that is no request"
	case len(b.Targets) != 1 || b.Targets[0].GetId() != gatewayName:
		return "a client's message that is not for the gateway"
	case len(b.Envelopes) > maxBatch:
		return "too many requests of a client in one message"
	}
	for _, e := range b.Envelopes {
		if e == nil || e.TypeId != 0 || e.Target != 0 || e.Sender != 0 || e.SenderRequestId != 0 || e.TargetRequestId != 0 || e.SerializerId != 0 || e.MessageHeader != nil {
			return "a client's envelope with more than a request"
		}
	}
	return ""
}
