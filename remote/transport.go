package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
	protoremote "github.com/asynkron/protoactor-go/remote"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// Config is what a Transport is told. Zero fields mean the default.
type Config struct {
	// Listen is the host:port to listen on. Port 0 chooses a free one. Required.
	Listen string
	// Advertise is the host:port by which the other hosts know this one: the very
	// string that stands in their HostConfig.Peers. Default: Listen, or with port
	// 0 the address that was chosen.
	Advertise string
	// Insecure allows to listen on other addresses than loopback without TLS:
	// whoever can reach the port can then speak as any host.
	Insecure bool
	// MaxPacketBytes bounds one packet, and so the largest command. Larger ones
	// are not sent, and refused on arrival. Default 8 MiB.
	MaxPacketBytes int
	// WindowBytes bounds what is under way to one host and not yet taken by it.
	// More of it makes heartbeats wait longer behind bulk. Default 1 MiB.
	WindowBytes int
	// MaxClients is how many clients in other processes (Dial) this host serves at a time.
	// Default: none.
	MaxClients int
	// MaxClientRequests and MaxClientBytes bound what all clients have asked and not been
	// sent the answer to, one of them half as much; beyond it they are told ErrBusy.
	// Default: 8,192, and 64 MiB.
	MaxClientRequests, MaxClientBytes int
	// Logger is told what an operator wants to know. Default: nobody.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxPacketBytes == 0 {
		c.MaxPacketBytes = 8 << 20
	}
	if c.WindowBytes == 0 {
		c.WindowBytes = 1 << 20
	}
	if c.MaxClientRequests == 0 {
		c.MaxClientRequests = 8192
	}
	if c.MaxClientBytes == 0 {
		c.MaxClientBytes = 64 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return c
}

// inboxName is the only process of this system that the outside can reach.
const inboxName = "castaway"

// Transport carries the packets of one host over protoactor remote. Give it to
// actors.HostConfig; it is started and stopped with the host, once.
type Transport struct {
	cfg     Config
	system  *actor.ActorSystem
	remote  *protoremote.Remote
	events  *eventstream.Subscription
	address atomic.Pointer[string]
	self    raftcore.NodeID
	deliver func(*actors.Packet)

	life context.Context // ends with Stop
	end  context.CancelFunc

	mu    sync.RWMutex
	links map[string]*link // by address

	gateway gateway
	refused atomic.Uint64
}

// New returns a Transport. It does not listen before the host starts it.
func New(cfg Config) *Transport {
	t := &Transport{cfg: cfg.withDefaults(), links: map[string]*link{}}
	t.gateway.t = t
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

// Address returns the address that the other hosts use, once the host has
// started.
func (t *Transport) Address() string {
	if a := t.address.Load(); a != nil {
		return *a
	}
	return ""
}

// PacketLimit returns the size of the largest packet that is sent.
func (t *Transport) PacketLimit() int { return t.cfg.MaxPacketBytes }

// Refused counts what arrived and was not let in: forged, malformed, of
// another version, or not for this host.
func (t *Transport) Refused() uint64 { return t.refused.Load() }

// Start listens. See actors.Transport.
func (t *Transport) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	host, port, err := t.listenOn()
	if err != nil {
		return err
	}
	// protoactor panics if it cannot listen, after it has half started.
	probe, err := net.Listen("tcp", net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)))
	if err != nil {
		return err
	}
	probe.Close()
	t.system, t.self, t.deliver = system, self, deliver
	t.remote = protoremote.NewRemote(system, protoremote.Configure(host, port, t.options()...))
	if err := start(t.remote); err != nil {
		return fmt.Errorf("listening on %s: %w", t.cfg.Listen, err)
	}
	address := system.Address()
	t.address.Store(&address)
	system.ProcessRegistry.Add(&inbox{t}, inboxName)
	t.events = system.EventStream.SubscribeWithPredicate(t.endpointChanged, func(e any) bool {
		switch e.(type) {
		case *protoremote.EndpointConnectedEvent, *protoremote.EndpointTerminatedEvent:
			return true
		}
		return false
	})
	return nil
}

// listenOn takes cfg.Listen apart, and refuses what would be open to everybody.
func (t *Transport) listenOn() (host string, port int, err error) {
	host, p, err := net.SplitHostPort(t.cfg.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("the address to listen on: %w", err)
	}
	if port, err = strconv.Atoi(p); err != nil {
		return "", 0, fmt.Errorf("the address to listen on, %s: the port is not a number", t.cfg.Listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && !t.cfg.Insecure {
		return "", 0, fmt.Errorf("%s is not loopback, and there is no TLS: whoever reaches it could speak as any host; say Insecure to allow that", t.cfg.Listen)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() && t.cfg.Advertise == "" {
		return "", 0, errors.New("listening on all addresses: Advertise must say by which one the other hosts know this one")
	}
	if port != 0 && t.cfg.Advertise == "" {
		t.cfg.Advertise = t.cfg.Listen
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]" // protoactor joins host and port with a colon
	}
	return host, port, nil
}

// start starts protoactor's remote. Somebody else may have taken the port just
// now.
func start(r *protoremote.Remote) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%v", reason)
		}
	}()
	r.Start()
	return nil
}

// Link returns the channel to the host at an address. See actors.Transport.
func (t *Transport) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	l := newLink(t, address, notify)
	t.mu.Lock()
	if old := t.links[address]; old != nil {
		defer old.Close()
	}
	t.links[address] = l
	t.mu.Unlock()
	t.gateway.lost(address)
	l.greet()
	return l
}

// Stop lets go of everything. See actors.Transport.
func (t *Transport) Stop(context.Context) error {
	t.end()
	t.mu.Lock()
	links := t.links
	t.links = map[string]*link{}
	t.mu.Unlock()
	for _, l := range links {
		l.Close()
	}
	if t.remote == nil {
		return nil
	}
	if t.events != nil {
		t.system.EventStream.Unsubscribe(t.events)
		t.system.ProcessRegistry.Remove(actor.NewPID(t.Address(), inboxName))
	}
	// Not gracefully: that would wait for the streams of hosts that stay.
	t.remote.Shutdown(false)
	t.gateway.ended.Wait()
	return nil
}

func (t *Transport) link(address string) *link {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.links[address]
}

// endpointChanged is told by protoactor of connections that came and went. Only
// those that this host dialled have events.
func (t *Transport) endpointChanged(e any) {
	switch e := e.(type) {
	case *protoremote.EndpointConnectedEvent:
		if l := t.link(e.Address); l != nil {
			l.connected()
		}
	case *protoremote.EndpointTerminatedEvent:
		if l := t.link(e.Address); l != nil {
			l.disconnected()
		}
		t.gateway.lost(e.Address)
	}
}

// refuse counts something that was not let in.
func (t *Transport) refuse(why string, args ...any) {
	if n := t.refused.Add(1); n&(n-1) == 0 { // the 1st, 2nd, 4th, 8th …: a flood does not flood the log
		t.cfg.Logger.With("why", why, "refused", n).Warn("refused a packet", args...)
	}
}

// inbox is where packets arrive. It is a protoactor process, but no actor: it
// runs in the goroutine of the connection, so a host that sends faster than it
// is heard is held back by its own connection, and fills no mailbox here.
type inbox struct{ *Transport }

func (in *inbox) SendUserMessage(_ *actor.PID, message any) {
	packet, ok := actor.UnwrapEnvelopeMessage(message).(*raftpb.Packet)
	if !ok {
		in.refuse("not a packet", "type", fmt.Sprintf("%T", message))
		return
	}
	p, err := decode(packet)
	if err != nil {
		in.refuse(err.Error(), "address", packet.GetAddress())
		return
	}
	l := in.link(packet.Address)
	if l != nil {
		l.heard(packet)
	}
	if packet.Sequence > 0 {
		in.deliver(p)
	}
	if l != nil {
		l.took(packet)
	}
}

// SendSystemMessage ignores what could stop an actor: nothing here can be
// stopped from outside.
func (in *inbox) SendSystemMessage(*actor.PID, any) {}

func (in *inbox) Stop(*actor.PID) {}
