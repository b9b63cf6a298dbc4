package actors

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/raftcore"
)

// node hosts the core: it turns messages into inputs, and outputs into
// messages. It takes everything that waits, and then drains once.
//
//	clients     → node     *call, snapshotOrder
//	host, peers → node     *raftcore.Message, raftcore.Unreachable, removedThere, peersChanged
//	log         → node     raftcore.Saved, raftcore.Loaded, loadDamaged
//	machine     → node     raftcore.Applied
//	snapshotter → node     raftcore.SnapshotTaken, tookSnapshot
//	courier     → node     raftcore.SnapshotSent; *raftcore.Message, with a snapshot; wholeWanted
//	clock       → node     woken
//	liveness    → node     raftcore.Unreachable, tellSleep
//	pilot       → node     lookOrder
//	node        → log      saveOrder, loadOrder
//	node        → peers    outbound, forward
//	node        → machine  work
//	node        → clock    wakeOrder
//	node        → liveness     asleep, awake
//	node        → snapshotter  keepOrder
//	node        → courier      sendOrder
//	node        → pilot        news, looked
type node struct {
	group       *Group
	host        *Host
	box         *mailbox
	self        ref
	log         ref
	machine     ref
	snapshotter ref
	courier     ref
	pilot       ref // if the group has an Autopilot
	stored      persistence.GroupID
	core        *raftcore.Node
	recorder    *flight.Recorder // of the core; nil: there is none

	out        raftcore.Output
	calls      calls
	hurry      atomic.Bool     // what the machine has applied is not to wait for the next turn
	leader     raftcore.NodeID // the last one known
	leads      raftcore.Term   // in which this node leads; 0: it does not
	reads      reads
	now        raftcore.Instant  // of this batch
	alarm      alarm             // when the clock is to wake this node
	asleep     bool              // it is silent, and the liveness knows
	yielded    bool              // it has led with a machine that is quarantined, and wanted another to
	naming     []namingSave      // Saves that name a snapshot, and are not durable yet
	promised   []tookSnapshot    // somebody waits until such a Save is
	named      raftcore.Index    // the snapshot of the last of them that is
	handed     []*work           // with calls in it, and not done when last looked at
	step       bool              // of the group's autopilot: one is under way
	looks      bool              // the autopilot does
	tombstones []raftcore.NodeID // hosts that have removed their members

	proposals map[raftcore.EntryID]*proposal // that are watched, until they are applied
	told      Event                          // of the leader, the last one
}

// namingSave is a Save from which on a member starts from another snapshot.
type namingSave struct {
	sequence uint64
	last     raftcore.EntryID
}

// askStatus asks a node for its status.
type askStatus struct{ reply chan raftcore.Status }

// orphaned closes the channel: there is no answer, unless it has one already.
func (a askStatus) orphaned() { close(a.reply) }

func (n *node) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		n.self = ref{ctx.Self(), n.box}
		n.tick()
		if conf := n.group.founders; conf.Votes(n.host.cfg.ID) {
			n.core.Step(raftcore.Bootstrap{Cluster: n.group.cluster, Conf: conf})
		}
		n.drain()
		n.publish()
	case *delivery:
		n.tick()
		for _, message := range m.Messages {
			n.receive(message)
		}
		if n.group.quarantine.Load() != nil && !n.yielded && n.core.Leader() == n.host.cfg.ID {
			n.yielded = true // once: the others may have the same trouble
			n.core.Step(raftcore.Transfer{})
		}
		n.drain()
		for _, message := range m.Messages {
			if a, is := message.(*arrived); is {
				a.done()
			}
		}
		if n.looks { // only now: the pilot is to know first whether the core has woken
			n.looks = false
			n.pilot.tell(looked{n.core.Status()})
		}
	case *actor.Stopping:
		// After a panic this is the same node, with the requests it had taken.
		n.calls.abandon()
		n.reads.abandon()
		n.abandonProposals()
		for _, s := range n.promised {
			s.orphaned()
		}
		n.promised = nil
		n.box.abandonBatch()
		if n.group.ending() {
			n.group.abandon()
			for _, w := range n.handed { // the machine may take long, or stall
				if !w.done.Load() {
					w.orphaned()
				}
			}
		}
	case *actor.Stopped:
		n.rest()
		n.box.close()
	}
}

func (n *node) tick() {
	n.now = n.host.now()
	n.core.Step(raftcore.Tick{Now: n.now, Time: n.host.cfg.Runtime.Now().UnixMilli()})
}

// hear takes a message from another node.
func (n *node) hear(m *raftcore.Message) {
	n.core.Step(raftcore.Receive{Message: *m})
	if len(n.tombstones) > 0 {
		n.heardFrom(m.From)
	}
}

func (n *node) receive(message any) {
	switch m := message.(type) {
	case *raftcore.Message:
		n.hear(m)
	case *arrived:
		n.hear(m.message)
	case *call:
		n.request(m)
	case woken:
		if m.at == 0 {
			n.alarm.forget()
		}
	case raftcore.Saved:
		n.core.Step(m)
		n.saved(m)
	case raftcore.Loaded:
		n.core.Step(m)
	case loadDamaged:
		panic(m.err) // the member deals with it
	case raftcore.Applied:
		n.forgetDone()
		n.core.Step(m)
	case raftcore.SnapshotTaken:
		n.core.Step(m)
	case tookSnapshot:
		n.core.Step(m.taken)
		n.promised = append(n.promised, m)
		n.keepPromises()
	case raftcore.SnapshotSent:
		n.core.Step(m)
	case wholeWanted:
		n.machine.tell(&work{node: n.self, hurry: &n.hurry, working: &n.calls.working, leads: n.leads, whole: true, cluster: n.core.Status().Cluster})
	case snapshotOrder:
		n.machine.tell(&work{node: n.self, hurry: &n.hurry, working: &n.calls.working, leads: n.leads, compact: true, told: m.told, cluster: n.core.Status().Cluster})
	case raftcore.Unreachable:
		n.core.Step(m)
	case removedThere:
		n.removedThere(m.peer)
	case peersChanged:
		n.tellPilot(false)
	case tellSleep:
		n.tellSleep()
	case lookOrder:
		n.looks = true
	case askStatus:
		m.reply <- n.core.Status() // has room for one
	}
}

// request takes a client's request.
func (n *node) request(c *call) {
	if c.operation == Read {
		n.read(c)
		return
	}
	if c.operation == GetStatus && !c.foreign {
		s, _ := n.group.board.latest()
		c.end(outcome{status: n.group.newest(s, n.core.Status())})
		return
	}
	if err := c.mistake(n.host); err != nil {
		c.finish(nil, err)
		return
	}
	switch c.operation {
	case askVersions:
		if n.group.cfg.Witness {
			c.finish(nil, ErrWitness) // it has no machine, and is no learner for an autopilot
			return
		}
		c.finish(n.group.cfg.Versions.encode(), nil)
		return
	case askCandidate:
		c.finish(n.candidacy().encode(), nil)
		return
	}
	if len(c.data) > n.host.cfg.Raft.MaxCommandBytes {
		c.finish(nil, n.tooLarge(c)) // before it travels: no link might take it
		return
	}
	if leader := n.core.Leader(); leader != n.host.cfg.ID {
		if c.operation == orderEffects {
			c.finish(nil, n.notLeader(leader)) // the next leader sees to it
			return
		}
		n.redirect(c, leader)
		return
	}
	if err, answered := n.atTheDoor(c); answered {
		c.finish(nil, err)
		return
	}
	if own := c.its().own; own != 0 && own != n.leads {
		c.finish(nil, errNotReady) // it leads anew, and its autopilot knows nothing yet
		return
	}
	if !c.start() {
		c.release()
		return
	}
	tag := n.calls.add(c)
	if tag == 0 {
		c.finish(nil, n.calls.busy())
		return
	}
	n.step = n.step || c.its().own != 0
	switch c.operation {
	case Propose:
		n.core.Step(raftcore.Propose{Tag: tag, Data: c.data, Watch: n.watched(c)})
	case orderSessions, orderEffects, SkipEntry:
		n.core.Step(raftcore.Propose{Tag: tag, Data: c.data, Host: true, Watch: n.watched(c)})
	case ChangeMembers:
		n.core.Step(raftcore.ChangeConfig{Tag: tag, Conf: c.its().members.conf(), Expect: c.its().members.Expect})
	case Transfer:
		n.core.Step(raftcore.Transfer{Tag: tag, To: c.its().to})
	}
}

// atTheDoor returns what the leader answers at once, if it does.
func (n *node) atTheDoor(c *call) (err error, answered bool) {
	if c.operation == CheckLearners {
		return n.learnersCaughtUp(c.its().members), true
	}
	if c.operation.writes() && n.host.full.Load() != nil {
		return ErrDiskFull, true
	}
	if c.operation == SkipEntry {
		return n.maySkip(c)
	}
	if q := n.group.quarantine.Load(); q != nil && !c.operation.leads() {
		return fmt.Errorf("%w: %w", ErrRejected, q), true
	}
	if c.operation == Propose || c.operation == orderSessions {
		if n.group.version.Load() < n.group.cfg.Versions.Oldest {
			return errNotReady, true // the members have yet to agree on a version
		}
		if n.group.outbox.Load() > maxOutbox {
			return errOutbox, true
		}
	}
	return nil, false
}

// redirect sends a request on to the leader, unless it has travelled already:
// then whoever sent it learns who leads.
func (n *node) redirect(c *call, leader raftcore.NodeID) {
	if p := n.host.peer(leader); p != nil && !c.foreign {
		p.tell(&forward{group: n.group.key, call: c})
		return
	}
	c.finish(nil, n.notLeader(leader))
}

// notLeader returns who leads instead, or if nobody is known to, what this node knows:
// maybe that it is no member any more.
func (n *node) notLeader(leader raftcore.NodeID) error {
	e := &NotLeaderError{Group: n.group.name, Leader: leader}
	if leader == raftcore.Nobody {
		s := n.core.Status()
		if removed(s) {
			return ErrRemoved
		}
		e.Node = &s
	}
	return e
}

// drain carries out what the core wants. The order of the fields is of no
// consequence: the core has held back what must wait.
func (n *node) drain() {
	out := &n.out
	n.askTogether()
	n.confirm()
	n.core.Drain(out)
	if out.Save.Token.Sequence != 0 {
		if s := out.Save.Snapshot; s != nil {
			n.naming = append(n.naming, namingSave{out.Save.Token.Sequence, s.Last})
		}
		order := &saveOrder{from: n.self, group: n.stored, save: out.Save}
		order.count(n.host)
		n.log.tell(order)
	}
	for _, l := range out.Load {
		n.log.tell(&loadOrder{from: n.self, group: n.stored, load: l})
	}
	if len(out.Stages) > 0 {
		n.stages(out.Stages)
	}
	n.answer(out.Replies)
	n.readsAt(out.Reads)
	n.feedMachine(out)
	n.sweepReads()
	if out.Quiescent {
		n.rest()
	}
	n.sleep(out.Quiescent, out.StatusChanged)
	if out.StatusChanged {
		n.publish()
	}
	n.hurry.Store(out.AwaitsApplied)
	n.wakeAt(out.Deadline)
	if len(out.Send) > 0 {
		n.send(out.Send)
		*out = raftcore.Output{} // the peers hold what the messages point to
	}
	if n.reads.wanted && n.reads.askedAt == 0 { // the last confirmation did not do for all
		n.drain()
	}
}

// rest forgets what the core was told: nobody will want to know.
func (n *node) rest() {
	if n.recorder != nil {
		n.recorder.Rest()
	}
}

// wakeAt has the clock wake this node, at this instant if not before.
func (n *node) wakeAt(at raftcore.Instant) {
	if look := n.reads.lookAt; len(n.reads.held) > 0 && (at == 0 || look < at) {
		at = look
	}
	if n.alarm.put(at) {
		n.host.clock.tell(wakeOrder{at, n.self, &n.alarm})
	}
}

// saved has the snapshots removed that nothing starts from any more.
func (n *node) saved(s raftcore.Saved) {
	last := raftcore.EntryID{}
	for len(n.naming) > 0 && n.naming[0].sequence <= s.Token.Sequence {
		last = n.naming[0].last
		n.naming = n.naming[1:]
	}
	if last.Index != 0 {
		n.snapshotter.tell(keepOrder{last})
		n.named = last.Index
		n.keepPromises()
	}
}

// keepPromises tells who waits for a snapshot from which the member would start by now.
func (n *node) keepPromises() {
	n.promised = slices.DeleteFunc(n.promised, func(s tookSnapshot) bool {
		if s.taken.Index <= n.named {
			s.told.end(nil)
		}
		return s.taken.Index <= n.named
	})
}

// send hands the peers their messages.
func (n *node) send(messages []raftcore.Message) {
	// Messages to one peer mostly stand together.
	for len(messages) > 0 {
		to, k := messages[0].To, 1
		if isSnapshot(&messages[0]) {
			n.courier.tell(&sendOrder{messages[0]})
			messages = messages[1:]
			continue
		}
		for k < len(messages) && messages[k].To == to && !isSnapshot(&messages[k]) {
			k++
		}
		if p := n.host.peer(to); p != nil {
			p.tell(&outbound{group: n.group.key, from: n.self, messages: messages[:k:k]})
		}
		messages = messages[k:]
	}
}

// isSnapshot reports whether a snapshot goes with a message.
func isSnapshot(m *raftcore.Message) bool {
	r, is := m.Body.(*raftcore.SnapshotRequest)
	return is && !r.Bare
}

// answer ends the requests that the core refused.
func (n *node) answer(replies []raftcore.Reply) {
	for _, r := range replies {
		switch {
		case r.Tag == confirmTag:
			n.notConfirmed(r)
		case r.Tag > firstRound:
			round := n.reads.takeRound(r.Tag)
			n.calls.working.Add(-int64(len(round.calls)))
			for _, c := range round.calls {
				n.refused(c, r)
			}
			n.reads.reuse(round)
		default:
			n.refused(n.calls.take(r.Tag), r)
		}
	}
}

// refused ends a request that the core refused.
func (n *node) refused(c *call, r raftcore.Reply) {
	if c.operation.leads() {
		n.step = n.step && c.its().own == 0
		c.finish(nil, n.leadOutcome(c.operation, r))
		return
	}
	err := n.refusal(r)
	if len(n.proposals) > 0 && r.Tag < firstRound {
		n.abandoned(r.Tag, err)
	}
	c.finish(nil, err)
}

// tooLarge is what a caller is told whose command, or query, is larger than the bound.
func (n *node) tooLarge(c *call) error {
	return fmt.Errorf("%w: it has %d bytes, and HostConfig.Raft.MaxCommandBytes is %d", ErrTooLarge, len(c.data), n.host.cfg.Raft.MaxCommandBytes)
}

// refusal is what a caller is told whose request the core refused.
func (n *node) refusal(r raftcore.Reply) error {
	switch {
	case r.Outcome == raftcore.Busy:
		return n.notCommitted()
	case r.Outcome == raftcore.TooLarge:
		return ErrTooLarge
	case r.Outcome == raftcore.Overwritten:
		return ErrOverwritten
	case r.MaybeHappened:
		return errLostLead
	}
	return n.notLeader(r.Leader)
}

// notCommitted: the core takes no more before some of what it has is committed, or no more
// reads.
func (n *node) notCommitted() error {
	return &BusyError{What: "what the leader has taken in is not committed yet", RetryAfter: n.host.cfg.Raft.HeartbeatInterval}
}

// feedMachine hands the machine what is committed, and the reads.
func (n *node) feedMachine(out *raftcore.Output) {
	if r := out.Restore; r != nil {
		n.gave(r.Last.Index)
	}
	if k := len(out.Apply.Entries); k > 0 {
		n.gave(out.Apply.Entries[k-1].Index)
	}
	if len(out.Apply.Entries) == 0 && len(n.reads.ready) == 0 && out.Restore == nil && !out.Compact {
		return
	}
	w := &work{node: n.self, hurry: &n.hurry, working: &n.calls.working, leads: n.leads, restore: out.Restore, compact: out.Compact, entries: out.Apply.Entries, reads: n.reads.ready}
	w.named = n.named
	if w.compact {
		w.cluster = n.core.Status().Cluster
	}
	n.reads.ready = nil
	if len(out.Apply.Tags) > 0 {
		w.callers = make([]appliedCall, len(out.Apply.Tags))
		for i, t := range out.Apply.Tags {
			w.callers[i] = appliedCall{t.Index, n.calls.take(t.Tag)}
		}
	}
	n.calls.working.Add(int64(len(w.callers)))
	if len(w.callers)+len(w.reads) > 0 {
		n.forgetDone()
		n.handed = append(n.handed, w)
	}
	n.machine.tell(w)
}

// forgetDone forgets the work that the machine has done.
func (n *node) forgetDone() {
	n.handed = slices.DeleteFunc(n.handed, func(w *work) bool { return w.done.Load() })
}

// publish shows the node's status to who watches. If the leader is another one,
// what was forwarded to the last is not waited for any longer.
func (n *node) publish() {
	s := n.core.Status()
	n.group.board.publish(s, n.tombstonesIn(&s.Conf))
	n.tellPilot(false)
	if s.Leader != n.told.Leader || s.Term != n.told.Entry.Term {
		n.told = Event{Kind: EventLeader, At: time.Now(), Entry: raftcore.EntryID{Term: s.Term}, Leader: s.Leader}
		n.group.listeners.tell(n.told)
	}
	leads := raftcore.Term(0)
	if s.Role == raftcore.Leader {
		leads = s.Term
	}
	if leads != n.leads {
		n.leads = leads
		n.machine.tell(&work{node: n.self, hurry: &n.hurry, working: &n.calls.working, leads: leads})
	}
	if s.Leader == n.leader || s.Leader == raftcore.Nobody {
		return
	}
	if p := n.host.peer(n.leader); p != nil {
		p.tell(deposed{n.group.key})
	}
	n.leader = s.Leader
}

// tellPilot has the group's autopilot look.
func (n *node) tellPilot(woke bool) {
	if n.pilot.box != nil {
		n.pilot.tell(news{woke})
	}
}
