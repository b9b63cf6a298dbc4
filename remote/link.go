package remote

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// link is the channel to one other host.
//
// protoactor remote neither bounds what it is given nor says what became of it.
// So the link keeps credit: the packets of a session are numbered, the other
// side tells the newest number that it has taken, and when Config.WindowBytes lie
// between, no more are sent. A host that is stopped, or slow, costs that much
// memory and a packet's, and a heartbeat never waits behind more.
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

	greeting bool // a greeting waits for a connection

	spoken     speech   // what is spoken on the connection
	names      []string // that the other side has proved to have, when it was dialled last
	unwanted   bool     // one of the two does not want to speak to the other
	rejections uint64   // how often

	// The other direction: what of the other side's session was taken here.
	theirs  uint64
	renewed bool // this side's session is newer: if theirs changes, it was for the same reason
	taken   uint64
	untold  int // packets taken since they were last told
	untoldB int // bytes of them, roughly

	again *time.Timer // greets again while the link is down
}

const (
	greetAfter    = 50 * time.Millisecond // after a connection broke
	greetUnwanted = time.Second           // if it was ended because of who, or how, one of the two is
	greetAgain    = time.Minute           // while there is none, should the first have been lost
	tellAfter     = 16                    // packets taken
)

func newLink(t *Transport, address string, notify func(actors.LinkEvent)) *link {
	l := &link{t: t, address: address, pid: actor.NewPID(address, inboxName), notify: notify}
	l.life, l.end = context.WithCancel(t.life)
	return l
}

// Send takes a packet, or refuses it. See actors.Link.
func (l *link) Send(p *actors.Packet) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full() {
		return false
	}
	packet := encode(p)
	size := proto.Size(packet)
	switch {
	case size > l.t.cfg.MaxPacketBytes:
		l.t.cfg.Logger.Error("a packet is too large to be sent", "address", l.address, "bytes", size, "max", l.t.cfg.MaxPacketBytes)
		return false
	}
	l.sequence++
	l.bytes += size
	l.underWay = append(l.underWay, size)
	packet.Sequence = l.sequence
	l.post(packet)
	return true
}

// full reports whether nothing can be sent now. A window that is not full takes
// any packet, whole: else a large one would starve beside many small ones.
func (l *link) full() bool {
	if l.up && l.bytes >= l.t.cfg.WindowBytes {
		l.blocked = true
	}
	return !l.up || l.blocked
}

// post hands a packet to protoactor, with what this side has taken.
func (l *link) post(packet *raftpb.Packet) {
	packet.Version = max(l.spoken.newest, 1)
	packet.Address = l.t.Address()
	packet.Session = l.session
	packet.TakenSession, packet.Taken = l.theirs, l.taken
	l.untold, l.untoldB = 0, 0
	l.t.system.Root.Send(l.pid, packet)
}

// greet sends a packet that says nothing: protoactor makes a connection for it,
// however long that takes, and meanwhile keeps what it is given. So it is given
// one greeting, not another for each sign of life from the other side.
func (l *link) greet() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up || l.life.Err() != nil {
		return
	}
	l.greeting = true
	l.tell()
	l.greetIn(greetAgain)
}

// tell sends a packet that says only what was taken.
func (l *link) tell() { l.post(&raftpb.Packet{From: uint64(l.t.self)}) }

func (l *link) greetIn(d time.Duration) {
	if l.again == nil {
		l.again = time.AfterFunc(d, l.greet)
	} else {
		l.again.Reset(d)
	}
}

// met notes who is at the other side of a new connection, and what is spoken there.
func (l *link) met(spoken speech, names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoken, l.names, l.unwanted = spoken, names, false
}

// leadsTo reports whether it may be a host that this is the link to. Without TLS.HostName
// nobody knows; and before it was dialled nothing can be done to a link.
func (l *link) leadsTo(host raftcore.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.names) == 0 || l.t.cfg.TLS.speaksFor(l.names, host)
}

// connected opens a session.
func (l *link) connected() {
	l.mu.Lock()
	if l.up || l.life.Err() != nil {
		l.mu.Unlock()
		return
	}
	l.up, l.greeting = true, false
	l.begin()
	if l.untold > 0 {
		l.tell()
	}
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
	l.up, l.greeting, l.renewed = false, false, true
	l.begin()
	l.greetIn(l.pause())
	l.mu.Unlock()
	if wasUp {
		l.notify(actors.LinkDown)
	}
}

// pause returns after how long a broken link greets again.
func (l *link) pause() time.Duration {
	if l.unwanted {
		l.unwanted = false
		return greetUnwanted
	}
	return greetAfter
}

// heard takes the credit that a packet gives back. It is also a sign that the
// other side is there: if this link is down, now is the time to try.
func (l *link) heard(packet *raftpb.Packet) {
	l.mu.Lock()
	if !l.up && !l.greeting && l.life.Err() == nil {
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
	lost := false
	if packet.Session != l.theirs {
		lost = l.up && l.theirs != 0 && !l.renewed
		l.theirs, l.taken, l.untold, l.untoldB, l.renewed = packet.Session, 0, 0, 0, false
	}
	l.taken = max(l.taken, packet.Sequence)
	l.untold++
	l.untoldB += 64 * (len(packet.Messages) + len(packet.Requests) + len(packet.Responses) + len(packet.Snapshots))
	for _, m := range packet.Messages {
		l.untoldB += len(m.GetAppendRequest().GetEntries())
	}
	for _, r := range packet.Requests {
		l.untoldB += len(r.Data)
	}
	for _, r := range packet.Responses {
		l.untoldB += len(r.Data) + len(r.Message)
	}
	for _, s := range packet.Snapshots {
		l.untoldB += len(s.GetChunk().GetData())
	}
	l.untoldB += 16 * len(packet.Beat.GetGroups())
	if l.up && (l.untold >= tellAfter || l.untoldB >= l.t.cfg.WindowBytes/8) {
		l.tell()
	}
	l.mu.Unlock()
	if lost { // with the other side's connection: answers, say
		l.notify(actors.LinkDown)
		l.notify(actors.LinkUp)
	}
}

// missed notes what was taken before there was this link: the other side has come to another
// address before SetPeers has said so, say, and waits for the credit.
func (l *link) missed(session, taken uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.theirs != 0 {
		return
	}
	l.theirs, l.taken = session, taken
	if l.untold++; l.up {
		l.tell()
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
