package remote

import (
	"context"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// link is the channel to one other host. It has lanes: see lane.go. A host that speaks
// version 1 has one for everything, the first; what the others are for goes there, too.
//
// It is up when requests and responses can cross: when the first lane is up, and that of
// the log, if there is one.
type link struct {
	t       *Transport
	address string
	notify  func(actors.LinkEvent)
	life    context.Context // ends with Close
	end     context.CancelFunc

	mu         sync.Mutex
	up         bool
	lanes      [actors.Lanes]lane
	spoken     speech   // what is spoken, as the first lane was told when it was opened last
	names      []string // that the other side has proved to have, when it was dialled last
	rejections uint64   // how often one of the two did not want to speak to the other
	unknown    string   // by which address the other side does not know this one, and has not been heard since
	tells      int      // packets that only say what was taken, and are not written
	lost       bool     // something is, and losses is to tell it
	losses     *time.Timer
}

func newLink(t *Transport, address string, notify func(actors.LinkEvent)) *link {
	l := &link{t: t, address: address, notify: notify}
	l.life, l.end = context.WithCancel(t.life)
	for i := range l.lanes {
		l.lanes[i] = lane{l: l, is: actors.Lane(i), pid: actor.NewPID(address+laneSuffixes[i], inboxName), window: t.cfg.WindowBytes}
	}
	return l
}

// forked reports whether each lane has a way of its own.
func (l *link) forked() bool { return l.spoken.newest >= lanesVersion }

// wanted reports whether there is to be a connection for a lane.
func (l *link) wanted(is actors.Lane) bool { return is == actors.LaneControl || l.forked() }

// carrier returns the lane on which what is for another one goes.
func (l *link) carrier(of actors.Lane) *lane {
	if !l.wanted(of) {
		of = actors.LaneControl
	}
	return &l.lanes[of]
}

// way returns the lane for a packet. While there is next to nothing on that of the log, the
// first one has no use: what is sent in one go on one connection costs half as much.
func (l *link) way(of actors.Lane) *lane {
	if of == actors.LaneControl && l.forked() && !l.logWaits() {
		of = actors.LaneLog
	}
	return l.carrier(of)
}

func (l *link) logWaits() bool {
	log := l.carrier(actors.LaneLog)
	return !log.up || log.bytes > log.window/16
}

// LogWaits reports whether what is sent on the lane of the log would wait there.
func (l *link) LogWaits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forked() && l.logWaits()
}

// Send takes a packet, or refuses it. See actors.Link.
func (l *link) Send(p *actors.Packet) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	way := l.way(p.Lane)
	if way.full() {
		return false
	}
	packet := encode(p)
	size := proto.Size(packet.Packet)
	if size > l.t.cfg.MaxPacketBytes {
		l.t.cfg.Logger.Error("a packet is too large to be sent", "address", l.address, "bytes", size, "max", l.t.cfg.MaxPacketBytes)
		return false
	}
	way.sequence++
	way.bytes += size
	way.underWay = append(way.underWay, size)
	packet.Sequence = way.sequence
	way.post(packet, l.mostUntold(way))
	return true
}

// mostUntold returns the lane of which most is to be told that it was taken, or if there is
// none, this.
func (l *link) mostUntold(most *lane) *lane {
	if !l.forked() {
		return most
	}
	for i := range l.lanes {
		if other := &l.lanes[i]; other.untold > most.untold {
			most = other
		}
	}
	return most
}

// settle notes whether the link is up, and returns what is to be told, or 0.
func (l *link) settle() actors.LinkEvent {
	up := l.lanes[actors.LaneControl].up && l.carrier(actors.LaneLog).up
	switch {
	case up == l.up:
		return 0
	case up:
		l.up = true
		return actors.LinkUp
	}
	l.up = false
	return actors.LinkDown
}

// tell notifies who has the link, if there is something.
func (l *link) tell(e actors.LinkEvent) {
	if e != 0 {
		l.notify(e)
	}
}

// met notes who is at the other side of a new connection, and what is spoken there. The
// first lane is opened first: it says whether there are others.
func (l *link) met(on *lane, spoken speech, names []string, unknown string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names, l.unknown, on.unwanted = names, unknown, false
	if on.is != actors.LaneControl {
		return
	}
	l.spoken = spoken
	for i := range l.lanes {
		if other := &l.lanes[i]; other != on && !other.greeting && l.forked() {
			other.greetIn(0)
		}
	}
}

// leadsTo reports whether it may be a host that this is the link to. Without TLS.HostName
// nobody knows; and before it was dialled nothing can be done to a link.
func (l *link) leadsTo(host raftcore.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.names) == 0 || l.t.cfg.TLS.speaksFor(l.names, host)
}

// heard takes the credit that a packet gives back, for whichever lane. It is also a sign that
// the other side is there: if the lane that it came on is down, now is the time to try.
func (l *link) heard(on actors.Lane, packet *raftpb.Packet) {
	l.mu.Lock()
	l.unknown = "" // it speaks to that address
	if way := &l.lanes[on]; !way.up && !way.greeting && l.life.Err() == nil && l.wanted(on) {
		way.greetIn(0)
	}
	freed := false
	for i := range l.lanes {
		if way := &l.lanes[i]; way.session == packet.TakenSession {
			freed = way.free(packet.Taken)
		}
	}
	l.mu.Unlock()
	if freed {
		l.notify(actors.LinkWritable)
	}
}

// took notes that a packet has been dealt with. Mostly that is told with the next packet of
// this direction; if there is none, in one of its own.
func (l *link) took(on actors.Lane, packet *raftpb.Packet) {
	if packet.Sequence == 0 {
		return
	}
	l.mu.Lock()
	way := &l.lanes[on]
	lost := way.took(packet) && l.up && on == l.carrier(actors.LaneLog).is
	if lost && l.losses == nil {
		l.losses = time.AfterFunc(greetAfter, l.tellLater)
	} else if lost {
		l.lost, lost = true, false
	}
	if way.untold >= tellAfter || way.untoldB >= way.window/8 {
		way.tellTaken()
	}
	l.mu.Unlock()
	if lost {
		l.tellLost()
	}
}

// tellLost tells that something is lost, with the other side's connection: answers, say.
func (l *link) tellLost() {
	l.notify(actors.LinkDown)
	l.notify(actors.LinkUp)
}

// tellLater tells what was lost soon after something else was. To the members each loss is
// work, and whoever makes up sessions could have one with each packet.
func (l *link) tellLater() {
	l.mu.Lock()
	lost := l.lost && l.up
	l.lost, l.losses = false, nil
	if lost {
		l.losses = time.AfterFunc(greetAfter, l.tellLater)
	}
	l.mu.Unlock()
	if lost {
		l.tellLost()
	}
}

// missed notes what was taken before there was this link: the other side has come to another
// address before SetPeers has said so, say, and waits for the credit.
func (l *link) missed(on actors.Lane, session, taken uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	way := &l.lanes[on]
	if way.theirs != 0 {
		return
	}
	way.theirs, way.taken = session, taken
	way.untold++
	way.tellTaken()
}

// Close lets go of the link. See actors.Link.
func (l *link) Close() {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = false
	if l.losses != nil {
		l.losses.Stop()
	}
	for i := range l.lanes {
		l.lanes[i].up = false
		if again := l.lanes[i].again; again != nil {
			again.Stop()
		}
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.t.links[l.address] == l {
		delete(l.t.links, l.address)
	}
}
