package rafttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// Network connects hosts of one process, without sockets: for tests of whole
// actor systems, with fake time (testing/synctest) or without. Packets between
// two hosts arrive in order, or not at all. Its methods may be called
// concurrently.
type Network struct {
	mu    sync.Mutex
	rng   *rand.Rand
	loss  float64
	delay time.Duration
	cut   map[[2]string]bool
	ends  map[string]*endpoint
	links map[[2]string]*hostLink
}

// NewNetwork returns a network that neither loses nor delays anything.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rng: rand.New(rand.NewPCG(seed, 0x6e_65_74)), cut: map[[2]string]bool{},
		ends: map[string]*endpoint{}, links: map[[2]string]*hostLink{},
	}
}

// Transport returns the transport of the host at an address.
func (n *Network) Transport(address string) actors.Transport {
	return &endpoint{network: n, address: address}
}

// SetFaults has the network lose packets with a probability, and delay each by
// about as much (up to twice).
func (n *Network) SetFaults(loss float64, delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss, n.delay = loss, delay
}

// Cut severs the way from one address to another. The sender is not told: the
// packets vanish.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = true
}

// Isolate severs an address from all others, both ways.
func (n *Network) Isolate(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.ends {
		n.cut[[2]string{address, other}] = true
		n.cut[[2]string{other, address}] = true
	}
}

// Heal mends every way.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// endpoint is a host's transport.
type endpoint struct {
	network *Network
	address string
	deliver func(*actors.Packet)
}

func (e *endpoint) Start(_ *actor.ActorSystem, _ raftcore.NodeID, deliver func(*actors.Packet)) error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends[e.address] != nil {
		return fmt.Errorf("address %s is in use", e.address)
	}
	e.deliver = deliver
	n.ends[e.address] = e
	n.tell(e.address, actors.LinkUp)
	return nil
}

func (e *endpoint) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &hostLink{network: n, from: e.address, to: address, notify: notify}
	n.links[[2]string{e.address, address}] = l
	if n.ends[address] != nil {
		notify(actors.LinkUp)
	}
	return l
}

func (e *endpoint) Stop(context.Context) error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends[e.address] == e {
		delete(n.ends, e.address)
		n.tell(e.address, actors.LinkDown)
	}
	return nil
}

// tell notifies the links to an address.
func (n *Network) tell(address string, event actors.LinkEvent) {
	for ends, l := range n.links {
		if ends[1] == address {
			l.notify(event)
		}
	}
}

// hostLink is one way between two hosts.
type hostLink struct {
	network  *Network
	from, to string
	notify   func(actors.LinkEvent)
	last     time.Time // when the newest packet arrives, so that none overtakes
}

func (l *hostLink) Send(p *actors.Packet) bool {
	n := l.network
	n.mu.Lock()
	end := n.ends[l.to]
	if end == nil {
		n.mu.Unlock()
		return false
	}
	lost := n.cut[[2]string{l.from, l.to}] || n.loss > 0 && n.rng.Float64() < n.loss
	var delay time.Duration
	if n.delay > 0 {
		at := time.Now().Add(time.Duration(n.rng.Int64N(2 * int64(n.delay))))
		if at.Before(l.last) {
			at = l.last.Add(time.Nanosecond)
		}
		l.last = at
		delay = time.Until(at)
	}
	n.mu.Unlock()
	switch {
	case lost:
	case delay > 0:
		time.AfterFunc(delay, func() { n.arrive(l.to, end, p) })
	default:
		end.deliver(p)
	}
	return true
}

// arrive delivers a delayed packet, unless the host has gone meanwhile.
func (n *Network) arrive(address string, end *endpoint, p *actors.Packet) {
	n.mu.Lock()
	there := n.ends[address] == end
	n.mu.Unlock()
	if there {
		end.deliver(p)
	}
}

func (l *hostLink) Close() {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links[[2]string{l.from, l.to}] == l {
		delete(n.links, [2]string{l.from, l.to})
	}
}
