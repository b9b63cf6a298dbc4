package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
	protoremote "github.com/asynkron/protoactor-go/remote"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// Config is what a Transport is told. Zero fields mean the default.
type Config struct {
	// Listen is the host:port to listen on. Port 0 chooses a free one. Required.
	Listen string
	// Advertise is the host:port by which the other hosts know this one: the very
	// string that stands in their HostConfig.Peers. Default: Listen, or with port
	// 0 the address that was chosen.
	Advertise string
	// TLS has hosts prove to one another who they are, and encrypts what they say.
	TLS *TLS
	// Insecure allows to listen on other addresses than loopback without TLS:
	// whoever can reach the port can then speak as any host.
	Insecure bool
	// MaxPacketBytes bounds one packet, and so the largest command. Larger ones
	// are not sent, and refused on arrival. Default 8 MiB.
	MaxPacketBytes int
	// WindowBytes bounds what is under way to one host and not yet taken by it, on each of
	// the lanes: see actors.Lane. More than so much in a round trip does not cross. Default 2 MiB.
	WindowBytes int
	// MaxClients is how many clients in other processes (Dial) this host serves at a time.
	// With TLS they have certificates as hosts do; so there must be a TLS.HostName, which
	// tells a host from a client. Default: none.
	MaxClients int
	// MaxClientRequests and MaxClientBytes bound what all clients have asked and not been
	// sent the answer to, one of them half as much; beyond it they are told ErrBusy.
	// Default: 8,192, and 64 MiB.
	MaxClientRequests, MaxClientBytes int
	// Logger is told what an operator wants to know. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxPacketBytes == 0 {
		c.MaxPacketBytes = 8 << 20
	}
	if c.WindowBytes == 0 {
		c.WindowBytes = 2 << 20
	}
	if c.MaxClientRequests == 0 {
		c.MaxClientRequests = 8192
	}
	if c.MaxClientBytes == 0 {
		c.MaxClientBytes = 64 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// ErrBadConfig: the Config makes no sense, or a file of its TLS does not. The text says why.
var ErrBadConfig = errors.New("bad configuration of the wire")

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

	door    *door
	gateway gateway
	speaks  speech
	started chan struct{} // closed when packets can be taken
	refused [reasons]atomic.Uint64
}

// New returns a Transport. It does not listen before the host starts it.
func New(cfg Config) *Transport {
	t := &Transport{cfg: cfg.withDefaults(), links: map[string]*link{}, speaks: ours, started: make(chan struct{})}
	t.door, t.gateway.t = newDoor(t), t
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

// Start listens. See actors.Transport.
func (t *Transport) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	host, port, err := t.listenOn()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadConfig, err)
	}
	options, err := t.options()
	if err != nil {
		return fmt.Errorf("%w: TLS: %w", ErrBadConfig, err)
	}
	// protoactor panics if it cannot listen, after it has half started.
	probe, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	probe.Close()
	t.system, t.self, t.deliver = system, self, deliver
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]" // protoactor joins host and port with a colon
	}
	t.remote = protoremote.NewRemote(system, protoremote.Configure(host, port, options...))
	if err := start(t.remote); err != nil {
		return fmt.Errorf("listening on %s: %w", t.cfg.Listen, err)
	}
	address := system.Address()
	t.address.Store(&address)
	t.events = system.EventStream.SubscribeWithPredicate(t.endpointChanged, func(e any) bool {
		switch e.(type) {
		case *protoremote.EndpointConnectedEvent, *protoremote.EndpointTerminatedEvent:
			return true
		}
		return false
	})
	close(t.started)
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
	ip := net.ParseIP(host)
	everywhere := host == "" || ip != nil && ip.IsUnspecified()
	switch {
	case t.cfg.TLS != nil && t.cfg.TLS.HostName == nil && t.cfg.MaxClients > 0:
		return "", 0, errors.New("there are clients, and no TLS.HostName: whoever has a client's certificate could speak as any host")
	case t.cfg.TLS != nil && t.cfg.Insecure:
		return "", 0, errors.New("there is TLS, and Insecure is said")
	case t.cfg.TLS == nil && !t.cfg.Insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return "", 0, fmt.Errorf("%s is not loopback, and there is no TLS: whoever reaches it could speak as any host; say Insecure to allow that", t.cfg.Listen)
	case t.cfg.Advertise != "":
		return host, port, checkAdvertised(t.cfg.Advertise)
	case everywhere:
		return "", 0, errors.New("listening on all addresses: Advertise must say by which one the other hosts know this one")
	}
	if port != 0 {
		t.cfg.Advertise = t.cfg.Listen
	}
	return host, port, nil
}

// checkAdvertised says why nobody could reach a host at an address.
func checkAdvertised(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("the address to advertise: %w", err)
	}
	ip := net.ParseIP(host)
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("the address to advertise, %s, is none that others can reach", address)
	}
	return nil
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
	l.lanes[actors.LaneControl].greet()
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

// lane returns the lane with an address of its own, or nil.
func (t *Transport) lane(address string) *lane {
	host, _, _ := strings.Cut(address, "#")
	if l := t.link(host); l != nil {
		if i := slices.Index(laneSuffixes[:], address[len(host):]); i >= 0 {
			return &l.lanes[i]
		}
	}
	return nil
}

// endpointChanged is told by protoactor of connections that came and went. Only
// those that this host dialled have events.
func (t *Transport) endpointChanged(e any) {
	switch e := e.(type) {
	case *protoremote.EndpointConnectedEvent:
		if w := t.lane(e.Address); w != nil {
			w.connected()
		}
	case *protoremote.EndpointTerminatedEvent:
		if w := t.lane(e.Address); w != nil {
			w.disconnected()
		}
		t.gateway.lost(e.Address)
	}
}
