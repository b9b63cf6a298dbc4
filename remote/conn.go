package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// conn is a client's connection to the gateway of one host: one stream, on which requests
// go one way and answers come back. When it breaks it is over, and the next request makes
// another.
type conn struct {
	h       *Hosts
	address string
	life    context.Context
	end     context.CancelFunc
	ended   chan struct{} // closed when its goroutines are gone

	up   chan struct{} // closed when it is connected, or broken
	wake chan struct{} // something is to be sent

	mu      sync.Mutex
	broken  error
	id      uint64
	waiting map[uint64]*asking // all that are not answered
	queue   []queued           // to be sent
	heard   time.Time
	probed  bool // it was silent, and was asked whether it is there
	watch   *time.Timer
}

// asking is a request whose answer somebody waits for.
type asking struct {
	acts bool
	sent bool // or about to be: it may arrive
	done chan told
}

// told is how it ended.
type told struct {
	response *actors.ClientResponse
	err      error
}

// queued is a message that waits to be sent.
type queued struct {
	*raftpb.ClientRequest
	asking *asking // nil: nobody waits for its answer
}

// errBroken: the host is not there any more, and has been asked.
var errBroken = errors.New("the connection to the host broke")

var errSilent = errors.New("it says nothing any more")

func newConn(h *Hosts, address string) *conn {
	c := &conn{
		h: h, address: address, ended: make(chan struct{}), up: make(chan struct{}), wake: make(chan struct{}, 1),
		waiting: map[uint64]*asking{}, heard: time.Now(),
	}
	c.life, c.end = context.WithCancel(h.life)
	c.watch = time.AfterFunc(h.cfg.ConnectTimeout, c.look)
	go c.run()
	return c
}

// call asks, and waits for the answer.
func (c *conn) call(ctx context.Context, r *actors.ClientRequest) (*actors.ClientResponse, error) {
	a := &asking{acts: r.Acts(), done: make(chan told, 1)}
	id, err := c.ask(r, a)
	if err != nil {
		return nil, err
	}
	select {
	case t := <-a.done:
		return t.response, t.err
	case <-ctx.Done():
		if c.giveUp(id, a) {
			if a.acts && a.sent {
				return nil, fmt.Errorf("%w: %w", actors.ErrUnknown, ctx.Err())
			}
			return nil, fmt.Errorf("%w: %w", actors.ErrRejected, ctx.Err())
		}
		t := <-a.done
		return t.response, t.err
	}
}

// ask queues a request.
func (c *conn) ask(r *actors.ClientRequest, a *asking) (id uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return 0, fmt.Errorf("%w: %s: %w", actors.ErrUnreachable, c.address, c.broken)
	}
	c.id++
	c.waiting[c.id] = a
	c.queue = append(c.queue, queued{encodeClientRequest(c.id, r), a})
	signal(c.wake)
	return c.id, nil
}

// giveUp has nobody wait for an answer any more, unless it is there. The host is told.
func (c *conn) giveUp(id uint64, a *asking) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[id] != a {
		return false
	}
	delete(c.waiting, id)
	if a.sent && c.broken == nil {
		c.queue = append(c.queue, queued{&raftpb.ClientRequest{Version: clientVersion, Id: id, Cancel: true}, nil})
		signal(c.wake)
	}
	return true
}

// fail ends the connection, and everything that waits for it.
func (c *conn) fail(why error) {
	c.h.forget(c)
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return
	}
	c.broken = why
	c.watch.Stop()
	for _, a := range c.waiting {
		switch {
		case a.sent && a.acts:
			a.done <- told{err: fmt.Errorf("%w: %w, %s: %w", actors.ErrUnknown, errBroken, c.address, why)}
		default:
			a.done <- told{err: fmt.Errorf("%w: %s: %w", actors.ErrUnreachable, c.address, why)}
		}
	}
	c.waiting, c.queue = nil, nil
	select {
	case <-c.up:
	default:
		close(c.up)
	}
}

// look finds out whether the host is silent: it is asked for a sign of life after a third
// of the time in which it has to give one.
func (c *conn) look() {
	c.mu.Lock()
	third := c.h.cfg.SilenceTimeout / 3
	silent := time.Since(c.heard)
	connected := false
	select {
	case <-c.up:
		connected = true
	default:
	}
	switch {
	case c.broken != nil:
	case !connected && silent >= c.h.cfg.ConnectTimeout, connected && c.probed && silent >= c.h.cfg.SilenceTimeout:
		c.mu.Unlock()
		c.fail(errSilent)
		return
	case connected && len(c.waiting) > 0 && silent >= third && !c.probed:
		c.probed = true
		c.queue = append(c.queue, queued{&raftpb.ClientRequest{Version: clientVersion, Hosts: true, Cluster: c.h.cfg.Cluster}, nil})
		signal(c.wake)
		fallthrough
	default:
		c.watch.Reset(third)
	}
	c.mu.Unlock()
}

// run connects, and sends what is queued until the connection breaks.
func (c *conn) run() {
	defer close(c.ended)
	client, err := grpc.NewClient("passthrough:///"+c.address,
		grpc.WithTransportCredentials(c.h.creds),
		grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(c.h.cfg.MaxPacketBytes+maxBatchBytes+1<<20), grpc.ForceCodecV2(newBatchCodec())),
		grpc.WithStaticStreamWindowSize(clientWindow), // as in Transport.options,
		grpc.WithStaticConnWindowSize(clientWindow),
	)
	if err != nil {
		c.fail(err)
		return
	}
	defer client.Close()
	stream, err := protoremote.NewRemotingClient(client).Receive(c.life)
	if err == nil {
		err = c.introduce(stream)
	}
	if err != nil {
		c.fail(err)
		return
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		c.fail(c.receive(stream))
	}()
	c.fail(c.send(stream))
	<-received
}

// introduce says that this is a client, which is answered down its own stream.
func (c *conn) introduce(stream protoremote.Remoting_ReceiveClient) error {
	// If Send fails Recv knows why.
	_ = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectRequest{ConnectRequest: &protoremote.ConnectRequest{
		ConnectionType: &protoremote.ConnectRequest_ClientConnection{ClientConnection: &protoremote.ClientConnection{}},
	}}})
	m, err := stream.Recv()
	if err == nil && m.GetConnectResponse() == nil {
		err = errors.New("it does not answer as a host does")
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	c.heard = time.Now()
	close(c.up)
	return nil
}

// send sends what is queued.
func (c *conn) send(stream protoremote.Remoting_ReceiveClient) error {
	for {
		select {
		case <-c.wake:
		case <-c.life.Done():
			return c.life.Err()
		}
		for {
			batch, err := c.next()
			if err != nil {
				return err
			}
			if len(batch.Envelopes) == 0 {
				break
			}
			err = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_MessageBatch{MessageBatch: batch}})
			if err != nil {
				return err
			}
		}
	}
}

// next returns the next requests that are sent together. From here on they may arrive.
func (c *conn) next() (*protoremote.MessageBatch, error) {
	batch := &protoremote.MessageBatch{TypeNames: []string{clientRequestType}, Targets: []*actor.PID{{Address: c.address, Id: gatewayName}}}
	var requests []*raftpb.ClientRequest
	c.mu.Lock()
	for bytes := 0; len(c.queue) > 0 && len(requests) < maxBatch; {
		q := c.queue[0]
		if bytes += len(q.Data); bytes > maxBatchBytes && len(requests) > 0 {
			break
		}
		c.queue[0] = queued{}
		c.queue = c.queue[1:]
		if q.asking != nil {
			if c.waiting[q.Id] == nil {
				continue // given up
			}
			q.asking.sent = true
		}
		requests = append(requests, q.ClientRequest)
	}
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.mu.Unlock()
	for _, r := range requests {
		data, err := proto.Marshal(r)
		if err != nil {
			return nil, err
		}
		batch.Envelopes = append(batch.Envelopes, &protoremote.MessageEnvelope{MessageData: data})
	}
	return batch, nil
}

// receive takes the answers.
func (c *conn) receive(stream protoremote.Remoting_ReceiveClient) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		batch := m.GetMessageBatch()
		if batch == nil || len(batch.TypeNames) != 1 || batch.TypeNames[0] != clientResponseType {
			return errors.New("it sends something that is no answer")
		}
		for _, e := range batch.Envelopes {
			in := new(raftpb.ClientResponse)
			if err := proto.Unmarshal(e.GetMessageData(), in); err != nil {
				return fmt.Errorf("it sends an answer that is not protobuf: %w", err)
			}
			response, err := decodeClientResponse(in)
			if err != nil {
				return err
			}
			c.answered(in.Id, response)
		}
	}
}

func (c *conn) answered(id uint64, response *actors.ClientResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard, c.probed = time.Now(), false
	if a := c.waiting[id]; a != nil { // else it was given up, or a sign of life
		delete(c.waiting, id)
		a.done <- told{response: response}
	}
}
