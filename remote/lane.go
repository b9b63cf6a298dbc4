package remote

import (
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// lane is one of the ways to a host: a connection of its own, so that no packet on it waits
// for one on another. protoactor remote has one connection for an address; so each lane has
// an address of its own for it, which leads to the same host: what follows the # is not
// dialled, and the guard over there takes it away.
//
// protoactor remote neither bounds what it is given nor says what became of it.
// So a lane keeps credit: the packets of a session are numbered, the other
// side tells the newest number that it has taken, and when a window of bytes lies
// between, no more are sent. A host that is stopped, or slow, costs that much
// memory and a packet's, and nothing on the lane ever waits behind more.
//
// A session lasts as long as a connection. When that breaks, what was under way
// is lost, and the count begins anew. All is guarded by the link's mu.
type lane struct {
	l      *link
	is     actors.Lane
	pid    *actor.PID
	window int // what may be under way, in bytes

	up       bool
	session  uint64
	sequence uint64 // of the newest packet sent
	underWay []int  // the sizes of the packets not taken, the oldest first
	bytes    int    // their sum
	blocked  bool   // Send has refused a packet since the window was full

	greeting bool        // a greeting waits for a connection
	unwanted bool        // one of the two does not want to speak to the other
	again    *time.Timer // greets again while the lane is down

	// The other direction: what of the other side's session was taken here.
	theirs  uint64
	renewed bool // this side's session is newer: if theirs changes, it was for the same reason
	taken   uint64
	untold  int // packets taken since they were last told
	untoldB int // bytes of them, roughly
}

// laneSuffixes follow the address, for each lane.
var laneSuffixes = [actors.Lanes]string{actors.LaneControl: "", actors.LaneLog: "#log", actors.LaneSnapshots: "#snapshots"}

const (
	greetAfter    = 50 * time.Millisecond // after a connection broke
	greetUnwanted = time.Second           // if it was ended because of who, or how, one of the two is
	greetAgain    = time.Minute           // while there is none, should the first have been lost
	tellAfter     = 16                    // packets taken
	maxTells      = 16                    // packets that only say so, and are not written
)

// full reports whether nothing can be sent now. A window that is not full takes
// any packet, whole: else a large one would starve beside many small ones.
func (w *lane) full() bool {
	if w.up && w.bytes >= w.window {
		w.blocked = true
	}
	return !w.up || w.blocked
}

// post hands a packet to protoactor, with what this side has taken of a lane.
func (w *lane) post(packet *parcel, from *lane) {
	packet.Version = max(w.l.spoken.newest, 1)
	packet.Address = w.l.t.Address()
	packet.Session = w.session
	packet.TakenSession, packet.Taken = from.theirs, from.taken
	from.untold, from.untoldB = 0, 0
	w.l.t.system.Root.Send(w.pid, packet)
}

// tellTaken sends a packet that says only what was taken of this lane, where nothing is in
// front of it. No credit holds these packets back: so there are a few at most that are not
// written yet, and the others are told in one when these are.
func (w *lane) tellTaken() {
	if first := &w.l.lanes[actors.LaneControl]; first.up && w.l.tells < maxTells {
		w.l.tells++
		first.post(&parcel{Packet: &raftpb.Packet{From: uint64(w.l.t.self)}}, w)
	}
}

// written notes that protoactor has written something on the first lane.
func (l *link) written() {
	l.mu.Lock()
	defer l.mu.Unlock()
	waited := l.tells == maxTells
	l.tells = 0
	for i := range l.lanes {
		if waited && l.lanes[i].untold > 0 {
			l.lanes[i].tellTaken()
		}
	}
}

// greet sends a packet that says nothing: protoactor makes a connection for it,
// however long that takes, and meanwhile keeps what it is given. So it is given
// one greeting, not another for each sign of life from the other side.
func (w *lane) greet() {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.up || w.l.life.Err() != nil || !w.l.wanted(w.is) {
		return
	}
	w.greeting = true
	w.post(&parcel{Packet: &raftpb.Packet{From: uint64(w.l.t.self)}}, w)
	w.greetIn(greetAgain)
}

func (w *lane) greetIn(d time.Duration) {
	if w.again == nil {
		w.again = time.AfterFunc(d, w.greet)
	} else {
		w.again.Reset(d)
	}
}

// connected opens a session.
func (w *lane) connected() {
	w.l.mu.Lock()
	if w.up || w.l.life.Err() != nil {
		w.l.mu.Unlock()
		return
	}
	w.up, w.greeting = true, false
	w.begin()
	for i := range w.l.lanes {
		if other := &w.l.lanes[i]; other.untold > 0 {
			other.tellTaken()
		}
	}
	event := w.l.settle()
	w.l.mu.Unlock()
	w.l.tell(event)
}

// begin starts the count anew.
func (w *lane) begin() {
	w.session = rand.Uint64()
	w.sequence, w.bytes, w.blocked = 0, 0, false
	w.underWay = w.underWay[:0]
	if w.is == actors.LaneControl {
		w.l.tells = 0
	}
}

// disconnected ends the session; the lane greets until there is another.
func (w *lane) disconnected() {
	w.l.mu.Lock()
	if w.l.life.Err() != nil {
		w.l.mu.Unlock()
		return
	}
	w.up, w.greeting, w.renewed = false, false, true
	w.begin()
	if w.l.wanted(w.is) {
		w.greetIn(w.pause())
	}
	event := w.l.settle()
	w.l.mu.Unlock()
	w.l.tell(event)
}

// pause returns after how long a broken lane greets again.
func (w *lane) pause() time.Duration {
	if w.unwanted {
		w.unwanted = false
		return greetUnwanted
	}
	return greetAfter
}

// free takes credit back, and reports whether who was refused can be told that it may send
// again.
func (w *lane) free(taken uint64) bool {
	if taken > w.sequence {
		return false
	}
	for w.sequence-uint64(len(w.underWay)) < taken {
		w.bytes -= w.underWay[0]
		w.underWay = w.underWay[1:]
	}
	freed := w.blocked && w.bytes < w.window
	if freed {
		w.blocked = false
	}
	return freed
}

// took counts a packet that was dealt with, and reports whether something may be lost that
// was sent before.
func (w *lane) took(packet *raftpb.Packet) (lost bool) {
	if packet.Session != w.theirs {
		lost = w.up && w.theirs != 0 && !w.renewed
		w.theirs, w.taken, w.untold, w.untoldB, w.renewed = packet.Session, 0, 0, 0, false
	}
	w.taken = max(w.taken, packet.Sequence)
	w.untold++
	w.untoldB += roughSize(packet)
	return lost
}

// roughSize returns about how large a packet is.
func roughSize(packet *raftpb.Packet) int {
	n := 64 * (len(packet.Messages) + len(packet.Requests) + len(packet.Responses) + len(packet.Snapshots))
	for _, m := range packet.Messages {
		n += len(m.GetAppendRequest().GetEntries())
	}
	for _, r := range packet.Requests {
		n += len(r.Data)
	}
	for _, r := range packet.Responses {
		n += len(r.Data) + len(r.Message)
	}
	for _, s := range packet.Snapshots {
		n += len(s.GetChunk().GetData())
	}
	return n + 16*len(packet.Beat.GetGroups())
}
