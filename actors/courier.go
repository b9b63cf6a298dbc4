package actors

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// courier carries the snapshots of a member to others that the log cannot help any
// more, and takes in those that a leader sends. The file crosses in chunks, of which
// some are under way at a time; the receiver says how far it is, and so it goes on
// where it was after whatever has happened to either side or between them.
//
//	node    → courier  sendOrder
//	host    → courier  arrivedPart
//	machine, snapshotter → courier  wholeTaken
//	courier → peer     *SnapshotPart
//	courier → node     raftcore.SnapshotSent; *raftcore.Message: its snapshot is here; wholeWanted
//
//	the sender                     the receiver
//	Offer                     ──→
//	                          ←──  SnapshotFrom, where its disk is
//	Chunk, Chunk, …           ──→
//	                          ←──  SnapshotTaken, …, SnapshotArrived: durable
type courier struct {
	group *Group
	host  *Host
	box   *mailbox
	files *files

	self  ref
	out   map[raftcore.NodeID]*departing
	wait  map[raftcore.NodeID]raftcore.Index // who is to be sent this snapshot, which has no state in it
	until raftcore.Instant                   // so long snapshots have the state in them
	no    map[raftcore.NodeID]*refusal       // who did not take the last one in
	in    *arriving
	nudge Timer
	paced Timer // more may be sent then
}

// The messages of the courier.
type (
	// sendOrder has a snapshot brought to a peer, with the message that it goes with.
	sendOrder struct{ message raftcore.Message }
	// arrivedPart is what another host has sent.
	arrivedPart struct {
		from raftcore.NodeID
		part *SnapshotPart
	}
	// nudged is the timer: who has not been heard of for long is asked again.
	nudged struct{}
	// goOn is a timer, too: chunks may leave that had to wait.
	goOn struct{}
	// wholeWanted asks for a snapshot with the state in it, which wholeTaken says there
	// is now, or that it has come to nothing.
	wholeWanted struct{}
	wholeTaken  struct{}
)

// departing is a snapshot on its way to a peer.
type departing struct {
	message raftcore.Message
	last    raftcore.Index
	file    *snapshots.Outgoing
	begun   bool             // the receiver has said where
	next    int64            // what is sent next
	taken   int64            // the receiver has so much
	heard   raftcore.Instant // when it last said so
	offered raftcore.Instant // when it was last asked
	sent    raftcore.Instant // when the chunks that are under way were
	rests   raftcore.Instant // until then it lets the log go first
	saves   uint64           // of the log, when they were sent
	moving  *moving
}

// refusal is of a peer that could not take a snapshot in: its disk may be full for hours.
// It is offered the next one after a pause that grows, as long as none arrives.
type refusal struct {
	index raftcore.Index // of the snapshot that the node believes to be on its way
	pause time.Duration
	until raftcore.Instant // 0: nothing waits
}

// arriving is a snapshot on its way to this member.
type arriving struct {
	from    raftcore.NodeID
	message raftcore.Message
	file    *snapshots.Incoming
	owed    bool  // the sender is to be told how far it is
	asked   int64 // for the chunk from here on, because one before it was lost; -1: no
	moving  *moving
}

const (
	chunkBytes  = 128 << 10
	chunkWindow = 512 << 10 // so much is under way at a time

	// maxChunksWaiting bounds what of that waits for the disk: more comes from nobody who
	// keeps to the window, and is lost.
	maxChunksWaiting = 64

	// maxPause is for how many election timeouts nothing is offered to who refuses.
	maxPause = 16
)

func (c *courier) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		c.self = ref{ctx.Self(), c.box}
		c.out, c.wait, c.no = map[raftcore.NodeID]*departing{}, map[raftcore.NodeID]raftcore.Index{}, map[raftcore.NodeID]*refusal{}
	case *delivery:
		for _, message := range m.Messages {
			c.receive(message)
		}
		c.settle()
	case *actor.Stopping:
		for id := range c.out {
			c.drop(id)
		}
		c.group.wholes.Store(false)
		c.lay()
		for _, t := range []Timer{c.nudge, c.paced} {
			if t != nil {
				t.Stop()
			}
		}
	case *actor.Stopped:
		c.box.close()
	}
}

func (c *courier) receive(message any) {
	switch m := message.(type) {
	case *sendOrder:
		c.send(m)
	case *arrivedPart:
		switch p := m.part; {
		case p.Offer != nil:
			c.offered(m.from, p.Offer)
		case p.Chunk != nil:
			c.chunk(m.from, p.Chunk)
		case p.Answer != nil:
			c.answered(m.from, p.Answer)
		}
	case nudged:
		c.nudge = nil
		c.ask()
	case goOn:
		c.paced = nil
		for _, id := range slices.Sorted(maps.Keys(c.out)) {
			c.fill(id, c.out[id])
		}
	case wholeTaken:
		for _, id := range slices.Sorted(maps.Keys(c.wait)) { // the node sends the newest
			c.tellNode(raftcore.SnapshotSent{Peer: id, Index: c.wait[id], Status: raftcore.SnapshotFailed})
		}
		clear(c.wait)
		c.until = c.host.now().Add(10 * c.host.cfg.Raft.ElectionTimeout)
	}
}

func (c *courier) tell(to raftcore.NodeID, p *SnapshotPart) {
	p.Group = c.group.key
	if peer := c.host.peer(to); peer != nil {
		peer.tell(p)
	}
}

func (c *courier) tellNode(message any) {
	if node := c.group.node.Load(); node != nil {
		node.tell(message)
	}
}

// send begins to send a snapshot, or goes on if it is under way already.
func (c *courier) send(o *sendOrder) {
	m := o.message
	last := m.Body.(*raftcore.SnapshotRequest).Snapshot.Last
	if no := c.no[m.To]; no != nil && c.host.now() < no.until {
		no.index = last.Index
		return
	}
	d := c.out[m.To]
	if d == nil || d.file.Info().Meta.Last != last {
		c.drop(m.To)
		delete(c.wait, m.To)
		file, err := c.open(last)
		if errors.Is(err, errBare) {
			c.waitForWhole(m.To, last.Index)
			return
		}
		if err != nil {
			c.host.logger.Error("a snapshot cannot be sent", "group", c.group.name, "peer", uint64(m.To), "index", uint64(last.Index), "err", err)
			c.tellNode(raftcore.SnapshotSent{Peer: m.To, Index: last.Index, Status: raftcore.SnapshotFailed})
			return
		}
		d = &departing{last: last.Index, file: file, moving: c.moves(SnapshotSending, m.To, file.Info(), 0)}
		c.out[m.To] = d
	}
	d.message = m
	d.heard = c.host.now()
	c.offer(d)
}

// errBare: a snapshot has no state in it.
var errBare = errors.New("the state is on the state machine's own disk")

func (c *courier) open(last raftcore.EntryID) (*snapshots.Outgoing, error) {
	if c.files == nil {
		return nil, errNoPlace
	}
	info, bare, err := c.files.find(last)
	if err != nil {
		return nil, err
	}
	if bare {
		return nil, errBare
	}
	return c.files.dir.Send(info.ID)
}

// waitForWhole has a snapshot taken that can be sent. Until it is sent all snapshots can be,
// or the next one might take its place before.
func (c *courier) waitForWhole(to raftcore.NodeID, index raftcore.Index) {
	c.wait[to] = index
	c.until = c.host.now().Add(10 * c.host.cfg.Raft.ElectionTimeout)
	c.group.wholes.Store(true)
	if len(c.wait) == 1 {
		c.tellNode(wholeWanted{})
	}
}

func (c *courier) offer(d *departing) {
	d.offered = c.host.now()
	info := d.file.Info()
	c.tell(d.message.To, &SnapshotPart{Offer: &SnapshotOffer{Message: d.message, ID: info.ID, Cluster: info.Cluster, Size: info.Size}})
}

// ask offers again what nothing has been heard of: parts may be lost. In the end it
// is given up.
func (c *courier) ask() {
	now, patience := c.host.now(), c.host.cfg.Raft.ElectionTimeout
	for _, id := range slices.Sorted(maps.Keys(c.wait)) {
		c.tellNode(raftcore.SnapshotSent{Peer: id, Index: c.wait[id], Status: raftcore.SnapshotMoving})
	}
	if len(c.wait) == 0 && now > c.until {
		c.group.wholes.Store(false)
	}
	for _, id := range slices.Sorted(maps.Keys(c.no)) {
		if no := c.no[id]; no.until != 0 && now >= no.until {
			no.until = 0
			c.tellNode(raftcore.SnapshotSent{Peer: id, Index: no.index, Status: raftcore.SnapshotFailed}) // the node sends the newest
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.out)) {
		d := c.out[id]
		if now.Sub(d.heard) > 10*patience {
			c.fail(id)
		} else if now.Sub(d.heard) >= patience && now.Sub(d.offered) >= patience {
			c.offer(d)
		}
	}
}

// answered goes on with what the receiver wants next.
func (c *courier) answered(from raftcore.NodeID, a *SnapshotAnswer) {
	d := c.out[from]
	if d == nil || d.file.Info().ID != a.ID || a.Offset < 0 || a.Offset > d.file.Info().Size {
		return
	}
	d.heard = c.host.now()
	switch a.Outcome {
	case SnapshotFrom:
		d.next, d.taken = a.Offset, a.Offset
		d.begun = true
	case SnapshotTaken:
		d.taken = max(d.taken, a.Offset)
	case SnapshotArrived:
		delete(c.no, from)
		c.report(from, d, raftcore.SnapshotDelivered)
		c.drop(from)
		return
	default:
		c.host.logger.Error("a snapshot was not taken in", "group", c.group.name, "peer", uint64(from), "index", uint64(d.last), "err", a.Message)
		c.pause(from, d.last)
		return
	}
	if a.Outcome == SnapshotTaken && d.taken == d.next && c.host.logBusy(d.saves) {
		now := c.host.now()
		d.rests = now.Add(min(yielding*now.Sub(d.sent), c.host.cfg.Raft.ElectionTimeout/2))
	}
	d.moving.done.Store(d.taken)
	c.report(from, d, raftcore.SnapshotMoving)
	c.fill(from, d)
}

// fill sends what may be under way.
func (c *courier) fill(from raftcore.NodeID, d *departing) {
	if !d.begun {
		return
	}
	now := c.host.now()
	if busy := c.host.logBusy(d.saves); busy && d.taken < d.next {
		return // a window at a time
	} else if busy && now < d.rests {
		c.goOnIn(d.rests.Sub(now))
		return
	}
	if d.taken == d.next {
		d.sent, d.saves = now, c.host.pace.saves.Load()
	}
	for d.next < d.file.Info().Size && d.next-d.taken < chunkWindow {
		if wait := c.host.pace.take(chunkBytes, c.host.cfg.MaxSnapshotBytesPerSecond, c.host.now()); wait > 0 {
			c.goOnIn(wait)
			return
		}
		chunk, err := d.file.Chunk(d.next, make([]byte, chunkBytes))
		if err != nil {
			c.host.logger.Error("a snapshot cannot be sent to its end", "group", c.group.name, "peer", uint64(from), "index", uint64(d.last), "err", err)
			c.fail(from)
			return
		}
		d.next += int64(len(chunk.Data))
		c.tell(from, &SnapshotPart{Chunk: &chunk})
	}
}

// goOnIn has more be sent when it may be.
func (c *courier) goOnIn(wait time.Duration) {
	if c.paced == nil {
		c.paced = c.host.cfg.Runtime.AfterFunc(wait, func() { c.self.tell(goOn{}) })
	}
}

func (c *courier) report(to raftcore.NodeID, d *departing, s raftcore.SnapshotStatus) {
	c.tellNode(raftcore.SnapshotSent{Peer: to, Index: d.last, Status: s})
}

// fail gives a snapshot up that is on its way.
func (c *courier) fail(to raftcore.NodeID) {
	c.report(to, c.out[to], raftcore.SnapshotFailed)
	c.drop(to)
}

// pause leaves a peer alone that has refused a snapshot: the first time not at all.
func (c *courier) pause(to raftcore.NodeID, index raftcore.Index) {
	no, timeout := c.no[to], c.host.cfg.Raft.ElectionTimeout
	if no == nil {
		c.no[to] = &refusal{}
		c.fail(to)
		return
	}
	no.pause = min(max(timeout, 2*no.pause), maxPause*timeout)
	no.index, no.until = index, c.host.now().Add(no.pause)
	c.drop(to)
}

func (c *courier) drop(to raftcore.NodeID) {
	if d := c.out[to]; d != nil {
		c.group.board.snapshots.end(d.moving)
		d.file.Close()
		delete(c.out, to)
	}
}

// offered takes an offer from a leader, and says from where on.
func (c *courier) offered(from raftcore.NodeID, o *SnapshotOffer) {
	if s, _ := c.group.board.latest(); o.Message.Term < s.Term || s.Cluster != 0 && o.Message.Cluster != s.Cluster {
		return // the node would not take it
	}
	info := snapshots.Info{ID: o.ID, Cluster: o.Cluster, Meta: o.Message.Body.(*raftcore.SnapshotRequest).Snapshot, Size: o.Size}
	if in := c.in; in != nil {
		if o.Message.Term < in.message.Term {
			return
		}
		if in.from == from && in.file.Info().ID == o.ID {
			in.message = o.Message
			c.from(in)
			return
		}
		c.lay() // a newer leader, or a newer snapshot
	}
	if c.files == nil {
		c.refuse(from, o.ID, errNoPlace)
		return
	}
	file, err := c.files.dir.Receive(info)
	switch {
	case errors.Is(err, snapshots.ErrExists):
		c.arrived(from, info, o.Message)
	case err != nil:
		c.refuse(from, o.ID, err)
	default:
		c.in = &arriving{from: from, message: o.Message, file: file}
		c.in.moving = c.moves(SnapshotReceiving, from, info, file.Offset())
		c.from(c.in)
		c.commit()
	}
}

// from has the sender begin, or begin again, where the disk is.
func (c *courier) from(in *arriving) {
	in.owed, in.asked = false, -1
	c.tell(in.from, &SnapshotPart{Answer: &SnapshotAnswer{ID: in.file.Info().ID, Offset: in.file.Offset(), Outcome: SnapshotFrom}})
}

func (c *courier) chunk(from raftcore.NodeID, chunk *snapshots.Chunk) {
	in := c.in
	if in == nil || in.from != from || in.file.Info().ID != chunk.ID {
		return // the sender will offer it again
	}
	switch err := in.file.Write(*chunk); {
	case err == nil:
		in.owed, in.asked = true, -1
		in.moving.done.Store(in.file.Offset())
		c.commit()
	case errors.Is(err, snapshots.ErrGap), errors.Is(err, snapshots.ErrChunk):
		if at := in.file.Offset(); in.asked != at { // once is enough for all that follow it
			c.from(in)
			in.asked = at
		}
	default:
		c.abort(err)
	}
}

// commit makes a snapshot of what has arrived, when all of it has.
func (c *courier) commit() {
	in := c.in
	if in.file.Offset() < in.file.Info().Size {
		return
	}
	info, err := in.file.Commit()
	if err != nil {
		c.abort(err)
		return
	}
	in.file.Close()
	c.rid()
	c.arrived(in.from, info, in.message)
}

// arrived tells both sides. For the sender's node its peer has it when that says so
// itself.
func (c *courier) arrived(from raftcore.NodeID, info snapshots.Info, message raftcore.Message) {
	c.tellNode(&message)
	c.tell(from, &SnapshotPart{Answer: &SnapshotAnswer{ID: info.ID, Offset: info.Size, Outcome: SnapshotArrived}})
}

// abort gives up what is arriving.
func (c *courier) abort(err error) {
	in := c.in
	c.rid()
	in.file.Abort()
	c.refuse(in.from, in.file.Info().ID, err)
}

func (c *courier) refuse(to raftcore.NodeID, id snapshots.ID, err error) {
	c.host.logger.Error("a snapshot cannot be taken in", "group", c.group.name, "peer", uint64(to), "err", err)
	c.tell(to, &SnapshotPart{Answer: &SnapshotAnswer{ID: id, Outcome: SnapshotRefused, Message: err.Error()}})
}

// rid is when nothing is arriving any more.
func (c *courier) rid() {
	c.group.board.snapshots.end(c.in.moving)
	c.in = nil
}

// moves shows that a snapshot is on its way.
func (c *courier) moves(stage SnapshotStage, peer raftcore.NodeID, info snapshots.Info, done int64) *moving {
	return c.group.board.snapshots.begin(SnapshotProgress{
		Stage: stage, Peer: peer, Index: info.Meta.Last.Index, Done: done, Size: info.Size, At: c.host.now(),
	})
}

// lay lays what is arriving aside: it is kept, to go on with.
func (c *courier) lay() {
	if in := c.in; in != nil {
		c.rid()
		if err := in.file.Close(); err != nil {
			c.host.logger.Warn("what has arrived of a snapshot is not kept", "group", c.group.name, "err", err)
		}
	}
}

// settle tells the sender how far it is, and sets the timer while there is something
// to wait for.
func (c *courier) settle() {
	if in := c.in; in != nil && in.owed {
		in.owed = false
		c.tell(in.from, &SnapshotPart{Answer: &SnapshotAnswer{ID: in.file.Info().ID, Offset: in.file.Offset(), Outcome: SnapshotTaken}})
	}
	if (len(c.out) > 0 || c.group.wholes.Load() || c.waits()) && c.nudge == nil {
		c.nudge = c.host.cfg.Runtime.AfterFunc(c.host.cfg.Raft.ElectionTimeout, func() { c.self.tell(nudged{}) })
	}
}

// waits reports whether somebody is left alone for a while.
func (c *courier) waits() bool {
	for _, no := range c.no {
		if no.until != 0 {
			return true
		}
	}
	return false
}
