package actors

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// peer is the channel to one other process. It gathers what all groups have to
// say to it and sends it as one packet. It holds no queue of messages: what the
// link does not take is dropped, and the nodes are told, because Raft repeats
// itself better than a queue would. So an unreachable peer costs no memory, and
// never delays another.
//
//	node    → peer   outbound
//	node    → peer   forward: a client's request, for the leader over there
//	any     → peer   sweepCalls
//	node    → peer   deposed: it leads no more; member → peer: it stops
//	courier → peer   *SnapshotPart
//	any     → peer   GroupResponse: the answer to a request that came from there
//	host    → peer   removedHere
//	host    → peer   []GroupResponse: answers to requests that were sent there
//	liveness → peer  *Beat
//	link    → peer   LinkEvent
//	peer    → node   raftcore.Unreachable
//	host    → peer → hostActor  *moved
type peer struct {
	host *Host
	boss *actor.PID // hostActor
	id   raftcore.NodeID
	addr string
	box  *mailbox
	link Link
	up   bool // the link is

	open    [Lanes]parcel    // what is to be sent
	asked   map[uint64]asked // requests that were sent and not answered
	deposed []GroupKey       // that it leads no more, of this batch
	lastID  uint64           // begins anywhere: a late answer to an earlier life fits nobody
	swept   raftcore.Instant // when asked was last searched for calls that were given up
	unsent  []GroupResponse  // the link was not writable
	unsentB int              // bytes in unsent, roughly
}

// parcel is a packet that is being filled.
type parcel struct {
	packet  *Packet
	bytes   int // in packet, roughly
	senders []ref
}

// The messages of the peer.
type (
	outbound struct {
		group    GroupKey
		from     ref
		messages []raftcore.Message
	}
	forward struct {
		group GroupKey
		call  *call
	}
	// deposed: somebody else leads the group now, and what was forwarded here may
	// never be answered; or nobody waits for it any more, because this member stops.
	deposed struct{ group GroupKey }
	// sweepCalls: requests that nobody waits for any more take up room.
	sweepCalls struct{}
)

type asked struct {
	group GroupKey
	call  *call
}

// refuse makes forwards bounded like all requests.
func (f *forward) refuse(err error) {
	if errors.Is(err, errGone) {
		err = ErrUnreachable // it is the peer that is gone, not a member
	}
	f.call.refuse(err)
}

func (f *forward) orphaned() { f.call.orphaned() }

const (
	maxPacketBytes = 256 << 10 // a packet is closed when it is larger
	maxUnsent      = 1 << 14   // responses that wait for the link
	maxUnsentBytes = 16 << 20  // in them; a single one may be larger
)

func (p *peer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		p.asked = map[uint64]asked{}
		p.lastID = rand.Uint64()
		p.boss = ctx.Parent()
		self := ref{ctx.Self(), p.box}
		p.link = p.host.cfg.Transport.Link(p.addr, func(e LinkEvent) { self.tell(e) })
	case *delivery:
		p.batch(m.Messages)
	case *actor.Stopping:
		p.abandonAsked(func(GroupKey) bool { return true })
		p.box.abandonBatch()
		if p.link != nil {
			p.link.Close()
		}
	case *actor.Stopped:
		p.box.close()
	}
}

func (p *peer) batch(messages []any) {
	for _, message := range messages {
		p.receive(message)
	}
	p.flush()
	p.abandonDeposed()
}

func (p *peer) receive(message any) {
	switch m := message.(type) {
	case *outbound:
		for i := range m.messages {
			p.add(GroupMessage{Group: m.group, Message: m.messages[i]}, m.from)
		}
	case *forward:
		p.forward(m)
	case *SnapshotPart: // if it is lost it is sent again
		size := 256
		if m.Chunk != nil {
			size += len(m.Chunk.Data)
		}
		packet := p.room(LaneSnapshots, size)
		packet.Snapshots = append(packet.Snapshots, *m)
	case *Beat: // if it is lost the other side will say so
		if packet := p.open[LaneControl].packet; packet != nil && packet.Beat != nil {
			p.send(LaneControl)
		}
		p.room(LaneControl, 64+16*len(m.Changes)).Beat = m
	case GroupResponse:
		p.respond(m)
	case removedHere:
		packet := p.room(LaneControl, 16*len(m))
		packet.Removed = append(packet.Removed, m...)
	case []GroupResponse:
		p.answered(m)
	case LinkEvent:
		p.linkChanged(m)
	case deposed:
		p.deposed = append(p.deposed, m.group)
	case sweepCalls:
		p.sweep()
	case *moved:
		if !p.up { // else two claim to be the same host, and this one is there
			p.host.system.Root.Send(p.boss, m)
		}
	}
}

// abandonDeposed ends what was forwarded before this host was deposed. That is when the
// batch has been dealt with: forwards come last in it, also those that came before.
func (p *peer) abandonDeposed() {
	if len(p.deposed) > 0 {
		p.abandonAsked(func(group GroupKey) bool { return slices.Contains(p.deposed, group) })
		p.deposed = p.deposed[:0]
	}
}

// add puts a message into a packet. What may not overtake entries goes with them.
func (p *peer) add(m GroupMessage, from ref) {
	lane, size := LaneControl, 64
	if a, ok := m.Message.Body.(*raftcore.AppendRequest); ok && !a.Urgent {
		lane = LaneLog
		for i := range a.Entries {
			size += len(a.Entries[i].Data) + 16
		}
	}
	packet := p.room(lane, size)
	packet.Messages = append(packet.Messages, m)
	if o := &p.open[lane]; len(o.senders) == 0 || o.senders[len(o.senders)-1] != from {
		o.senders = append(o.senders, from)
	}
}

// room returns a packet with room for so much. One that would grow too large is sent.
func (p *peer) room(lane Lane, size int) *Packet {
	o := &p.open[lane]
	if o.packet != nil && o.bytes+size > maxPacketBytes {
		p.send(lane)
	}
	if o.packet == nil {
		o.packet = &Packet{From: p.host.cfg.ID, Lane: lane}
		o.bytes = 0
	}
	o.bytes += size
	return o.packet
}

func (p *peer) forward(f *forward) {
	if !f.call.start() {
		f.call.release()
		return
	}
	if len(p.asked) >= p.host.cfg.MaxPending {
		p.sweep()
	}
	if len(p.asked) >= p.host.cfg.MaxPending {
		f.call.finish(nil, &BusyError{What: "requests for another host", Used: int64(len(p.asked)), Limit: int64(p.host.cfg.MaxPending)})
		return
	}
	packet := p.room(LaneLog, 64+len(f.call.data))
	p.lastID++
	p.asked[p.lastID] = asked{f.group, f.call}
	packet.Requests = append(packet.Requests, GroupRequest{
		Group: f.group, ID: p.lastID, Operation: f.call.operation, Data: f.call.data, Members: f.call.its().members, To: f.call.its().to, Span: p.host.spanOf(f.call),
	})
}

// sweep forgets calls that were given up and never answered: their answers may
// have been lost. It takes time, so not for every forward.
func (p *peer) sweep() {
	now := p.host.now()
	if now < p.swept.Add(p.host.cfg.Raft.HeartbeatInterval) {
		return
	}
	p.swept = now
	maps.DeleteFunc(p.asked, func(_ uint64, a asked) bool {
		given := a.call.state.Load() == callAnswered
		if given {
			a.call.release()
		}
		return given
	})
}

func (p *peer) respond(r GroupResponse) {
	if len(p.unsent) > 0 {
		p.keep(r)
		return
	}
	packet := p.room(LaneLog, 64+len(r.Data))
	packet.Responses = append(packet.Responses, r)
}

// keep holds a response until the link takes it. Over the bound the oldest goes:
// its asker will have given up first.
func (p *peer) keep(r GroupResponse) {
	p.unsent = append(p.unsent, r)
	p.unsentB += len(r.Data)
	for len(p.unsent) > maxUnsent || p.unsentB > maxUnsentBytes && len(p.unsent) > 1 {
		p.unsentB -= len(p.unsent[0].Data)
		p.unsent[0] = GroupResponse{}
		p.unsent = p.unsent[1:]
	}
}

// flush sends the packets. What is urgent goes with the log in one, unless it would wait there:
// a packet more is work for both sides.
func (p *peer) flush() {
	if waits, is := p.link.(interface{ LogWaits() bool }); !is || !waits.LogWaits() {
		p.merge()
	}
	for lane := range Lanes {
		p.send(lane)
	}
}

// merge puts what is for the first lane into the packet for the log, if there is one.
func (p *peer) merge() {
	urgent, log := &p.open[LaneControl], &p.open[LaneLog]
	if urgent.packet == nil || log.packet == nil || urgent.bytes+log.bytes > maxPacketBytes {
		return
	}
	from, to := urgent.packet, log.packet
	to.Messages = append(to.Messages, from.Messages...)
	to.Removed = append(to.Removed, from.Removed...)
	to.Beat = from.Beat
	log.bytes += urgent.bytes
	log.senders = append(log.senders, urgent.senders...)
	clear(urgent.senders)
	urgent.packet, urgent.senders = nil, urgent.senders[:0]
}

// send sends the packet of a lane. If the link refuses it, everything in it is dealt with
// here and now.
func (p *peer) send(lane Lane) {
	o := &p.open[lane]
	packet := o.packet
	if packet == nil {
		return
	}
	o.packet = nil
	if !p.link.Send(packet) {
		for _, node := range o.senders {
			node.tell(raftcore.Unreachable{Peer: p.id})
		}
		for _, r := range packet.Requests {
			a := p.asked[r.ID]
			delete(p.asked, r.ID)
			a.call.finish(nil, ErrUnreachable) // it never left
		}
		for _, r := range packet.Responses {
			p.keep(r)
		}
	}
	clear(o.senders)
	o.senders = o.senders[:0]
}

// answered takes the answers to requests that were sent.
func (p *peer) answered(responses []GroupResponse) {
	for i := range responses {
		r := &responses[i]
		if a, waiting := p.asked[r.ID]; waiting { // else it was given up
			delete(p.asked, r.ID)
			a.call.end(a.call.judge(responseOutcome(r), p.host.now()))
		}
	}
}

func (p *peer) linkChanged(e LinkEvent) {
	p.up = e != LinkDown
	switch e {
	case LinkDown:
		p.abandonAsked(func(GroupKey) bool { return true })
		p.host.eachNode(func(node ref) { node.tell(raftcore.Unreachable{Peer: p.id}) })
	case LinkUp, LinkWritable:
		waiting := p.unsent
		p.unsent, p.unsentB = nil, 0
		for _, r := range waiting {
			p.respond(r)
		}
	}
}

// abandonAsked ends the requests of some groups whose answers may not come.
func (p *peer) abandonAsked(of func(GroupKey) bool) {
	for _, id := range slices.Sorted(maps.Keys(p.asked)) { // as they were asked
		if a := p.asked[id]; of(a.group) {
			delete(p.asked, id)
			a.call.abandon()
		}
	}
}
