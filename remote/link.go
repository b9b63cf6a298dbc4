package remote

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// link is the channel to one other host.
//
// protoactor remote neither bounds what it is given nor says what became of it.
// So the link keeps credit: the packets of a session are numbered, the other
// side tells the newest number that it has taken, and no more than
// Config.WindowBytes may lie between. A host that is stopped, or slow, costs
// that much memory, and a heartbeat never waits behind more.
//
// A session lasts as long as a connection. When that breaks, what was under way
// is lost, and the count begins anew.
type link struct {
	t       *Transport
	address string
	pid     *actor.PID
	notify  func(actors.LinkEvent)
	life    context.Context // ends with Close
	end     context.CancelFunc

	mu       sync.Mutex
	up       bool
	session  uint64
	sequence uint64 // of the newest packet sent
	underWay []int  // the sizes of the packets not taken, the oldest first
	bytes    int    // their sum
	blocked  bool   // Send has refused a packet since the window was full

	// The other direction: what of the other side's session was taken here.
	theirs  uint64
	taken   uint64
	untold  int // packets taken since they were last told
	untoldB int // bytes of them, roughly

	again *time.Timer // greets again while the link is down
}

const (
	greetAfter = 50 * time.Millisecond // after a connection broke
	greetEvery = 3 * time.Second       // while there is none
	tellAfter  = 16                    // packets taken
	tellBytes  = 128 << 10             // of data taken
)

func newLink(t *Transport, address string, notify func(actors.LinkEvent)) *link {
	l := &link{t: t, address: address, pid: actor.NewPID(address, inboxName), notify: notify}
	l.life, l.end = context.WithCancel(t.life)
	return l
}

// Send takes a packet, or refuses it. See actors.Link.
func (l *link) Send(p *actors.Packet) bool {
	packet := encode(p)
	size := proto.Size(packet)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.up:
		return false
	case size > l.t.cfg.MaxPacketBytes:
		l.t.cfg.Logger.Error("a packet is too large to be sent", "peer", l.address, "bytes", size, "max", l.t.cfg.MaxPacketBytes)
		return false
	case l.bytes > 0 && l.bytes+size > l.t.cfg.WindowBytes:
		l.blocked = true
		return false
	}
	l.sequence++
	l.bytes += size
	l.underWay = append(l.underWay, size)
	packet.Sequence = l.sequence
	l.post(packet)
	return true
}

// post hands a packet to protoactor, with what this side has taken.
func (l *link) post(packet *raftpb.Packet) {
	packet.Address = l.t.Address()
	packet.Session = l.session
	packet.TakenSession, packet.Taken = l.theirs, l.taken
	l.untold, l.untoldB = 0, 0
	l.t.system.Root.Send(l.pid, packet)
}

// greet sends a packet that says nothing. While there is no connection it has
// protoactor make one.
func (l *link) greet() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up || l.life.Err() != nil {
		return
	}
	l.post(&raftpb.Packet{Version: wireVersion, From: uint64(l.t.self)})
	l.greetIn(greetEvery)
}

func (l *link) greetIn(d time.Duration) {
	if l.again == nil {
		l.again = time.AfterFunc(d, l.greet)
	} else {
		l.again.Reset(d)
	}
}

// connected opens a session.
func (l *link) connected() {
	l.mu.Lock()
	if l.up || l.life.Err() != nil {
		l.mu.Unlock()
		return
	}
	l.up = true
	l.begin()
	l.mu.Unlock()
	l.notify(actors.LinkUp)
}

// begin starts the count anew.
func (l *link) begin() {
	l.session = rand.Uint64()
	l.sequence, l.bytes, l.blocked = 0, 0, false
	l.underWay = l.underWay[:0]
}

// disconnected ends the session; the link greets until there is another.
func (l *link) disconnected() {
	l.mu.Lock()
	if l.life.Err() != nil {
		l.mu.Unlock()
		return
	}
	wasUp := l.up
	l.up = false
	l.begin()
	l.greetIn(greetAfter)
	l.mu.Unlock()
	if wasUp {
		l.notify(actors.LinkDown)
	}
}

// heard takes the credit that a packet gives back. It is also a sign that the
// other side is there: if this link is down, now is the time to try.
func (l *link) heard(packet *raftpb.Packet) {
	l.mu.Lock()
	if !l.up && l.life.Err() == nil {
		l.greetIn(0)
	}
	freed := false
	if packet.TakenSession == l.session && packet.Taken <= l.sequence {
		for l.sequence-uint64(len(l.underWay)) < packet.Taken {
			l.bytes -= l.underWay[0]
			l.underWay = l.underWay[1:]
		}
		freed = l.blocked && l.bytes < l.t.cfg.WindowBytes
		if freed {
			l.blocked = false
		}
	}
	l.mu.Unlock()
	if freed {
		l.notify(actors.LinkWritable)
	}
}

// took notes that a packet has been dealt with. Mostly that is told with the
// next packet of this direction; if there is none, in one of its own.
func (l *link) took(packet *raftpb.Packet) {
	if packet.Sequence == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if packet.Session != l.theirs {
		l.theirs, l.taken, l.untold, l.untoldB = packet.Session, 0, 0, 0
	}
	l.taken = max(l.taken, packet.Sequence)
	l.untold++
	for _, m := range packet.Messages {
		l.untoldB += len(m.GetAppendRequest().GetEntries())
	}
	for _, r := range packet.Requests {
		l.untoldB += len(r.Data)
	}
	for _, r := range packet.Responses {
		l.untoldB += len(r.Data)
	}
	if l.up && (l.untold >= tellAfter || l.untoldB >= tellBytes) {
		l.post(&raftpb.Packet{Version: wireVersion, From: uint64(l.t.self)})
	}
}

// Close lets go of the link. See actors.Link.
func (l *link) Close() {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = false
	if l.again != nil {
		l.again.Stop()
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.t.links[l.address] == l {
		delete(l.t.links, l.address)
	}
}
