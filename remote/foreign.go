package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/actors"
)

// foreign are clients that are actors of other systems on protoactor remote. They ask the
// gateway as they would ask any actor, with Request, or RequestFuture. protoactor answers
// on a connection of its own, which this host opens to the address that the asker's stream
// has begun with; nothing else is dialled, and it is closed when that stream ends. So there
// are as many as there are streams, which count as clients.
type foreign struct {
	mu sync.Mutex
	at map[string]*client // by address
}

// client returns the one at an address, or nil.
func (f *foreign) client(address string) *client {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[address]
}

// ask gives the gateway a request, which is in a batch that is clean.
func (s *guardedStream) ask(b *protoremote.MessageBatch, e *protoremote.MessageEnvelope) error {
	if s.client == nil || s.client.ctx.Err() != nil {
		c, err := s.gateway.foreigner(s.Context(), s.from)
		if err != nil {
			return err
		}
		s.client = c
		context.AfterFunc(c.ctx, s.door.know(s.socket, ""))
	}
	to := &actor.PID{Address: s.from, Id: b.Senders[e.Sender-1].Id, RequestId: e.SenderRequestId}
	return s.client.data(e.MessageData, to)
}

// foreigner lets in the actors at an address. Who was there before is gone: his stream has
// yet to break.
func (g *gateway) foreigner(ctx context.Context, address string) (*client, error) {
	if address == "" || address == g.t.Address() || g.t.link(address) != nil || strings.Contains(address, "#") {
		g.t.refuse(badMessage, "a client at the address of a host", "address", address)
		return nil, status.Error(codes.PermissionDenied, "castaway: a host is no client")
	}
	if err := g.enter(); err != nil {
		return nil, err
	}
	c := g.newClient(ctx)
	c.passed = make(chan struct{}, 1)
	c.send = c.sendForeign
	g.foreign.mu.Lock()
	if g.foreign.at == nil {
		g.foreign.at = map[string]*client{}
	}
	before := g.foreign.at[address]
	g.foreign.at[address] = c
	g.foreign.mu.Unlock()
	if before != nil {
		before.end(errors.New("it has come anew"))
	}
	g.ended.Add(1)
	go func() {
		c.run(c.write)
		g.foreign.mu.Lock()
		if g.foreign.at[address] == c {
			delete(g.foreign.at, address)
		}
		g.foreign.mu.Unlock()
		g.clients.Add(-1)
	}()
	return c, nil
}

// lost ends the client at an address, whose connection has broken, or belongs to a host.
func (g *gateway) lost(address string) {
	if c := g.foreign.client(address); c != nil {
		c.end(io.EOF)
	}
}

// sendForeign gives answers to protoactor, and waits until it has written them: it would
// keep any number.
func (c *client) sendForeign(answers []answer) error {
	c.mu.Lock()
	c.toPass += len(answers)
	c.mu.Unlock()
	for _, a := range answers {
		c.g.t.system.Root.Send(a.to, a.ClientResponse)
	}
	for {
		c.mu.Lock()
		left := c.toPass
		c.mu.Unlock()
		if left <= 0 {
			return nil
		}
		select {
		case <-c.passed:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// pass notes that protoactor has written something to a client.
func (c *client) pass(m any) {
	message, _ := m.(*protoremote.RemoteMessage)
	if n := len(message.GetMessageBatch().GetEnvelopes()); n > 0 {
		c.mu.Lock()
		c.toPass -= n
		c.mu.Unlock()
		signal(c.passed)
	}
}

// errNobody: protoactor wants a connection to somebody who was a client.
var errNobody = fmt.Errorf("nobody is there who could be answered: %w", actors.ErrUnreachable)

const stalledAfter = 10 * time.Second
