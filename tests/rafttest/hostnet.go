package rafttest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// Network connects hosts of one process, without sockets: for tests of whole
// actor systems, with fake time (testing/synctest) or without. Packets between
// two hosts arrive in order on each lane, or not at all; where there is a delay, those on one
// lane may overtake those on another. Its methods may be called concurrently.
type Network struct {
	mu    sync.Mutex
	rng   *rand.Rand
	loss  float64
	delay time.Duration
	cut   map[[2]string]bool
	ends  map[string]*endpoint
	links map[[2]string]*hostLink
	queue *Queue // where packets arrive, if there is one

	overtakes int // packets that arrive before one that was sent earlier, on another lane
}

// NewNetwork returns a network that neither loses nor delays anything.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rng: rand.New(rand.NewPCG(seed, 0x6e_65_74)), cut: map[[2]string]bool{},
		ends: map[string]*endpoint{}, links: map[[2]string]*hostLink{},
	}
}

// Network returns a network whose packets arrive as events of the queue.
func (q *Queue) Network() *Network {
	n := NewNetwork(q.rng.Uint64())
	n.queue = q
	return n
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

// Break breaks the connection from one address to another, and makes a new one: what is
// under way is lost, and the sender knows.
func (n *Network) Break(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[[2]string{from, to}]; l != nil {
		l.session++
		if n.ends[to] != nil {
			l.notify(actors.LinkDown)
			l.notify(actors.LinkUp)
		}
	}
}

// Refuse has the sender's side take no packets on the way from one address to another,
// as if the other side took none, or all it has waiting.
func (n *Network) Refuse(from, to string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[[2]string{from, to}]; l != nil {
		if l.refuses && !yes && n.ends[to] != nil {
			l.notify(actors.LinkWritable)
		}
		l.refuses = yes
	}
}

// Vanish takes an address off the network, as the death of its process does. The others
// are told, or they are not: then they learn of it when somebody is there again.
func (n *Network) Vanish(address string, told bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ends := range n.ways() {
		if ends[0] == address {
			delete(n.links, ends)
		}
	}
	if e := n.ends[address]; e != nil {
		if e.gone = true; told {
			delete(n.ends, address)
			n.tell(address, actors.LinkDown)
		}
	}
}

// ways returns who has a link to whom, in the same order each time.
func (n *Network) ways() [][2]string {
	return slices.SortedFunc(maps.Keys(n.links), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
}

// endpoint is a host's transport.
type endpoint struct {
	network *Network
	address string
	deliver func(*actors.Packet)
	gone    bool // its process is dead, and not everybody knows
}

func (e *endpoint) Start(_ *actor.ActorSystem, _ raftcore.NodeID, deliver func(*actors.Packet)) error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.ends[e.address]; old != nil && !old.gone {
		return fmt.Errorf("address %s is in use", e.address)
	} else if old != nil {
		n.tell(e.address, actors.LinkDown)
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
	for _, ends := range n.ways() {
		if l := n.links[ends]; ends[1] == address {
			if event == actors.LinkDown {
				l.session++
			}
			l.notify(event)
		}
	}
}

// hostLink is one way between two hosts.
type hostLink struct {
	network  *Network
	from, to string
	notify   func(actors.LinkEvent)
	last     [actors.Lanes]time.Time // when the newest packet of a lane arrives, so that none overtakes
	session  int                     // of the connection: what is under way when it breaks is lost
	refuses  bool                    // it takes no packets
}

// LogWaits reports whether something is under way on the lane of the log: what goes on
// another one may arrive before.
func (l *hostLink) LogWaits() bool {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	return l.last[actors.LaneLog].After(time.Now())
}

func (l *hostLink) Send(p *actors.Packet) bool {
	n := l.network
	n.mu.Lock()
	end := n.ends[l.to]
	if end == nil || l.refuses {
		n.mu.Unlock()
		return false
	}
	lost := n.cut[[2]string{l.from, l.to}] || n.loss > 0 && n.rng.Float64() < n.loss
	var delay time.Duration
	if n.delay > 0 || n.queue != nil {
		at := time.Now().Add(time.Duration(n.rng.Int64N(2*int64(n.delay) + 1)))
		if last := &l.last[p.Lane]; at.After(*last) {
			*last = at
		} else {
			*last = last.Add(time.Nanosecond)
			at = *last
		}
		if !lost && slices.ContainsFunc(l.last[:], at.Before) {
			n.overtakes++
		}
		delay = time.Until(at)
	}
	session := l.session
	n.mu.Unlock()
	arrive := func() { n.arrive(l, session, end, p) }
	switch {
	case lost:
	case n.queue != nil:
		q := n.queue
		q.At(q.now+delay, fmt.Sprintf("%s -> %s  lane %d, %d messages, %d requests, %d responses, %d parts", l.from, l.to, p.Lane, len(p.Messages), len(p.Requests), len(p.Responses), len(p.Snapshots)), arrive)
	case delay > 0:
		time.AfterFunc(delay, arrive)
	default:
		end.deliver(p)
	}
	return true
}

// arrive delivers a delayed packet, unless the host or the connection has gone meanwhile.
func (n *Network) arrive(l *hostLink, session int, end *endpoint, p *actors.Packet) {
	n.mu.Lock()
	there := n.ends[l.to] == end && !end.gone && l.session == session
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
