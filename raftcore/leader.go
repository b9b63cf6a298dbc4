package raftcore

import (
	"cmp"
	"math"
	"slices"
)

// leading is what a leader knows, beside its log. It is made anew for every
// term.
type leading struct {
	peers []progress // everybody but this node, ascending
	start Index      // the no-op that opened the term
	// uncommittedBytes counts this term's entries after released: those that are
	// not committed, or not durable here.
	uncommittedBytes int
	released         Index

	committedAt Instant // when the commit index last grew
	crowded     bool    // it did for many proposals together
	round       uint64  // the newest round
	// quorumUntil is until when a quorum is known to have shown itself recently
	// enough; by now it may be longer.
	quorumUntil Instant
	retiring    bool            // a peer is departing, or this node does not vote any more
	farewell    uint64          // a round that tells them that their departure is committed, and all after it; 0: it is not
	opened      [rounds]Instant // when the newest rounds were opened

	change    *change // a change of the configuration that is under way
	urged     bool    // somebody was told to campaign: no lease holds any more in this term
	yieldedTo NodeID  // whom a leader with a stalled disk has asked to take over
	idleSince Instant // since when there has been nothing to do

	witnessed  bool  // witnesses are needed: see witness.go
	lastBefore Index // the last entry at the newest heartbeat
}

// rounds is of how many of its newest rounds a leader knows when they were
// opened.
const rounds = 64

// becomeLeader opens the term with an entry of its own: only its commit can
// tell what of the earlier entries is committed (Raft §5.4.2, §8).
func (n *Node) becomeLeader() {
	if !n.mayCampaign() {
		n.broken(RuleLeaderVotes, "won an election as a non-voter")
	}
	n.setRole(Leader, n.cfg.ID)
	n.leader = leading{start: n.log.last + 1, released: n.log.last}
	if old := n.members.previous(); old != nil {
		n.leader.peers = n.meet(nil, old) // the leader that left some behind may not have come to say so
	}
	n.reconfigure()
	n.leader.lastBefore = n.appendOwn(Entry{Kind: EntryNoop})
}

// reconfigure makes the peers those of the configuration in force. Who has been
// left behind is told so.
func (n *Node) reconfigure() {
	var peers []progress
	conf := n.members.current()
	members := conf.Members()
	for i := range n.leader.peers {
		p := n.leader.peers[i]
		stays, departed := slices.Contains(members, p.id), p.departing
		p.departing = !stays
		if !stays && !departed {
			p.departBy = n.now.Add(2 * n.cfg.ElectionTimeout)
		}
		if stays && !departed || !stays {
			peers = append(peers, p) // who comes back begins anew: its disk may be another
		}
	}
	peers = n.meet(peers, conf)
	slices.SortFunc(peers, func(a, b progress) int { return cmp.Compare(a.id, b.id) })
	n.leader.peers = peers
	n.leader.quorumUntil = 0 // it is another quorum
	n.leader.retiring = !conf.Votes(n.cfg.ID) || slices.ContainsFunc(peers, func(p progress) bool { return p.departing })
}

// meet adds those of the members that are not among the peers.
func (n *Node) meet(peers []progress, conf *ConfState) []progress {
	for _, id := range conf.Members() {
		if id != n.cfg.ID && !slices.ContainsFunc(peers, func(p progress) bool { return p.id == id }) {
			peers = append(peers, progress{
				id: id, witness: conf.Witness(id), next: n.log.last + 1, heardAt: n.now, reachedAt: n.now, since: n.leader.round,
				heartbeatAt: n.now.Add(n.cfg.HeartbeatInterval),
				catchUp:     catchUp{target: n.log.last, began: n.now, grewAt: n.now},
			})
		}
	}
	return peers
}

// appendOwn appends an entry of this leader.
func (n *Node) appendOwn(e Entry) Index {
	e.EntryID = EntryID{Term: n.hard.Term, Index: n.log.last + 1}
	e.Time = max(n.time, n.log.lastTime)
	n.log.push(&e)
	n.appendedAt = n.now
	n.leader.uncommittedBytes += e.Size()
	n.traced(TraceAppend, nil)
	return e.Index
}

// propose takes a command into the log, or refuses it before it has a place
// there.
func (n *Node) propose(in Propose) {
	switch {
	case n.role != Leader:
		n.reply(in.Tag, NotLeader)
		n.campaignOnDemand()
	case len(in.Data) > n.cfg.MaxCommandBytes:
		n.reply(in.Tag, TooLarge)
	case n.transfer.active():
		n.reply(in.Tag, Transferring)
	case n.stalled:
		n.busy(in.Tag, "SaveTimeout")
	case n.leader.uncommittedBytes > n.cfg.MaxUncommittedBytes:
		n.busy(in.Tag, "MaxUncommittedBytes")
	case n.log.last-n.applying.done >= Index(n.cfg.MaxUnapplied):
		n.busy(in.Tag, "MaxUnapplied")
	default:
		kind := EntryCommand
		if in.Host {
			kind = EntryHost
		}
		index := n.appendOwn(Entry{Kind: kind, Data: in.Data})
		if in.Tag != 0 {
			n.tags = append(n.tags, TagAt{Tag: in.Tag, Index: index})
			if in.Watch {
				n.watch(in.Tag, EntryID{Term: n.hard.Term, Index: index})
			}
		}
	}
}

// replicateAll sends what each peer needs. Entries take a round along, now and then: who
// acknowledges them in time need not be sent heartbeats.
func (n *Node) replicateAll() {
	if n.now >= n.leader.opened[n.leader.round%rounds].Add(n.cfg.HeartbeatInterval/2) && n.anyPeer(n.takesEntries) {
		n.openedRound()
	}
	for i := range n.leader.peers {
		n.replicate(&n.leader.peers[i])
	}
}

func (n *Node) replicate(p *progress) {
	p.next = max(p.next, n.log.base.Index+1) // who needs what is before it needs a snapshot
	last := n.lastFor(p)
	switch p.state {
	case ProgressProbe:
		if !p.probed && !p.loading {
			p.probed = true
			n.openedRound() // a new round, because only that is answered at once
			var entries []Entry
			if p.sentRound == 0 {
				// The first question of a term carries the no-op, in the hope that
				// the logs agree. Later ones go empty: nobody may be listening.
				entries = n.log.slice(p.next, last, n.cfg.MaxAppendBytes)
			}
			n.sendEntries(p, entries)
		}
	case ProgressReplicate:
		for p.next <= last && !p.loading && !p.inflight.full(n.cfg.MaxInflight, n.cfg.MaxInflightBytes) {
			entries := n.log.slice(p.next, last, n.cfg.MaxAppendBytes)
			if entries == nil {
				n.load(p)
				break
			}
			n.sendOptimistically(p, entries)
		}
	case ProgressSnapshot:
		if n.now >= p.snapshotBy {
			p.becomeProbe(p.next) // lost, or arrived and not reported: ask
		}
	}
	welcome := p.newcomer && !p.welcomed && n.mayAdmit(p)
	if p.question || welcome || n.commitIsNews(p) {
		n.sendEntries(p, nil)
	}
}

// takesEntries reports whether there are entries that can be sent to a peer now.
func (n *Node) takesEntries(p *progress) bool {
	return p.state == ProgressReplicate && !p.loading && p.next <= n.lastFor(p) && p.next >= n.log.windowFirst() &&
		!p.inflight.full(n.cfg.MaxInflight, n.cfg.MaxInflightBytes)
}

// commitIsNews reports whether a peer is to be told the commit index now, without entries.
// Where there are many clients it can wait, for the next of their entries will be there soon.
// But not where somebody reads who needs it.
func (n *Node) commitIsNews(p *progress) bool {
	return p.state == ProgressReplicate && p.sentCommit < n.log.commit &&
		(!n.leader.crowded || n.now >= n.tellBy() || p.sentCommit < p.reads || n.leader.retiring)
}

// crowd is how many proposals that are committed together, and answered, have others follow
// them soon.
const crowd = 4

// tellBy returns when peers are told what was committed last, if nothing else is sent.
func (n *Node) tellBy() Instant { return n.leader.committedAt.Add(n.cfg.HeartbeatInterval / 2) }

// sendOptimistically sends entries from next on, and counts on their arrival.
func (n *Node) sendOptimistically(p *progress, entries []Entry) {
	n.sendEntries(p, entries)
	bytes := 0
	for i := range entries {
		bytes += p.size(&entries[i])
	}
	p.next += Index(len(entries))
	p.inflight.add(p.next-1, bytes)
}

// sendEntries sends entries from next on, or none.
func (n *Node) sendEntries(p *progress, entries []Entry) {
	prev := p.next - 1
	term, known := n.log.term(prev)
	if !known {
		n.broken(RuleLogContiguous, "entry %d, before those for %d, has no term", prev, p.id)
	}
	if len(entries) == 0 {
		p.question = false
	}
	p.sentRound = n.leader.round
	n.postponeHeartbeat(p)
	if p.state == ProgressProbe && p.asked == 0 {
		p.asked = n.leader.round
	}
	p.sentCommit = n.log.commit
	if p.witness {
		entries = withoutData(entries)
	}
	n.sendAppendRequest(p.id, AppendRequest{
		Prev: EntryID{Term: term, Index: prev}, Entries: entries, Commit: n.log.commit, Round: n.leader.round,
		Admit: p.newcomer && n.mayAdmit(p), Urgent: len(entries) == 0 && p.inflight.count == 0 && p.state != ProgressProbe,
	})
	p.welcomed = p.newcomer && n.mayAdmit(p)
}

// showSign sends a sign of life to a peer to which entries are, or may be, on their way. The
// heartbeat itself waits behind them, because it asks whether they have arrived. This asks
// nothing, and may overtake them.
func (n *Node) showSign(p *progress) {
	n.sendAppendRequest(p.id, AppendRequest{Commit: n.log.commit, Round: n.leader.round, Urgent: true})
}

// sendLoaded sends entries that were read from the disk, if they are still
// what the peer needs.
func (n *Node) sendLoaded(in Loaded) {
	p := n.peer(in.Load.For)
	if n.role != Leader || in.Load.Term != n.hard.Term || p == nil || !p.loading {
		return
	}
	p.loading = false
	if p.state == ProgressReplicate && p.next == in.Load.From && p.next > n.log.base.Index && n.follows(&in) {
		n.sendOptimistically(p, within(in.Entries, n.cfg.MaxAppendBytes))
	} else if len(in.Entries) == 0 {
		p.becomeProbe(p.next) // the disk could not answer: the next heartbeat tries again
		p.probed = true
	}
}

// appendReply learns how far a peer's log equals this one, and advances the
// commit index.
func (n *Node) appendReply(m *Message, r *AppendReply) {
	p := n.peer(m.From)
	if n.role != Leader || p == nil {
		return
	}
	if r.Round > n.leader.round || !p.fromPresentLife(m.Incarnation, r.Round, n.leader.round, n.log.last+1) {
		n.refused++
		return
	}
	if r.Newcomer && !p.newcomer {
		n.leader.quorumUntil = 0 // what it showed before is not counted any more
	}
	if p.newcomer = r.Newcomer; p.newcomer && p.departing {
		p.departBy = n.now // it was never one of those who count, or has forgotten it: there is nothing to tell
		return
	}
	if p.newcomer && n.log.last == p.metAt {
		n.appendOwn(Entry{Kind: EntryNoop}) // which admits it when it is committed
	}
	if r.Round > p.round {
		p.round = r.Round
		p.heardAt = n.now
		if n.leader.round-r.Round < rounds {
			p.leaseFrom = max(p.leaseFrom, n.leader.opened[r.Round%rounds])
			n.postponeHeartbeat(p)
		}
		n.confirmReads()
	}
	if r.Ahead <= r.Round && r.Round-r.Ahead > p.inOrder {
		p.inOrder, p.reachedAt = r.Round-r.Ahead, n.now
	}
	if r.Rejected {
		if r.Probed.Index <= p.match && r.Hint.Index < r.Probed.Index && r.Round > p.matchedIn {
			p.match = 0 // it says so after it had acknowledged it: its disk has lost its end
		}
		n.rejected(p, r)
		return
	}
	if r.Match > n.log.last {
		n.refused++ // it cannot have what this leader never sent
		return
	}
	if r.Match > p.match {
		if p.match < p.snapshot && p.snapshot <= r.Match {
			p.behind = n.log.last - r.Match // it has arrived
		}
		p.match, p.matchedIn = r.Match, n.leader.round
		p.reachedAt = n.now
		p.catchUp.grewAt = n.now
	}
	p.catchUp.note(p.match, n.log.last, n.now, n.cfg.ElectionTimeout)
	p.inflight.free(p.match)
	p.next = max(p.next, p.match+1)
	if p.state == ProgressProbe && p.asked != 0 && r.Ahead <= r.Round && r.Round-r.Ahead >= p.asked && !r.Flooded {
		p.becomeReplicate() // it agreed with this question
	}
	if p.state == ProgressSnapshot && p.match >= p.snapshot {
		p.becomeReplicate() // it has arrived
	}
	n.advanceCommit()
}

// rejected finds an earlier place to ask about. A rejection that speaks of
// another place than the one in question is old, and says nothing new.
func (n *Node) rejected(p *progress, r *AppendReply) {
	if p.state == ProgressSnapshot || r.Probed.Index <= p.match || r.Probed.Index >= p.next {
		return
	}
	if p.state == ProgressProbe && r.Probed.Index != p.next-1 {
		return
	}
	if r.Probed.Index <= n.log.base.Index && p.departing {
		return // so much only to say goodbye
	}
	if r.Probed.Index <= n.log.base.Index {
		n.sendSnapshot(p) // what comes before is not here any more
		return
	}
	guess := n.log.newestUpTo(r.Hint)
	if guess.Index >= r.Probed.Index {
		return // not an answer that a follower gives: asking again would not get further
	}
	p.becomeProbe(guess.Index + 1)
}

// advanceCommit commits what a quorum holds durably, this node's own disk
// included only as far as it has spoken. Only an entry of this term is
// committed by counting; those before it are committed with it (Raft §5.4.2,
// Figure 8).
func (n *Node) advanceCommit() {
	l := &n.log
	quorum := Index(quorumValue(n.members.current(), func(id NodeID) uint64 {
		if id == n.cfg.ID {
			return uint64(l.saved)
		}
		if p := n.peer(id); p != nil && !p.newcomer {
			return uint64(p.match)
		}
		return 0
	}))
	if quorum >= n.leader.start {
		if l.commit < n.leader.start {
			n.out.StatusChanged = true // it can answer reads from now on
		}
		if quorum > l.commit {
			n.leader.committedAt = n.now
			n.leader.crowded = len(n.tags) >= crowd && n.tags[crowd-1].Index <= quorum
		}
		n.commitTo(min(quorum, l.last))
	}
	n.release()
}

// release stops counting what is committed and durable here: nothing holds it
// in memory any more.
func (n *Node) release() {
	upTo := min(n.log.commit, n.log.saved)
	entries := n.log.slice(n.leader.released+1, upTo, math.MaxInt)
	for i := range entries {
		n.leader.uncommittedBytes -= entries[i].Size()
	}
	n.leader.released = max(n.leader.released, upTo)
}

// unreachable takes the news that messages to a peer are lost: what was sent
// ahead of its acknowledgement has to be asked about again.
func (n *Node) unreachable(id NodeID) {
	p := n.peer(id)
	if n.quiet && (p != nil || id == n.leaderID) {
		n.wake(false)
	}
	if p != nil && p.state == ProgressReplicate {
		p.becomeProbe(p.match + 1)
		p.probed = true // wait for the next heartbeat: it asks the question
	}
}

// expireLeader shows this leader to its followers when it is time to, and
// steps down if it has not heard from a quorum for an election timeout
// (check-quorum, thesis §6.2): the others are then free to elect another, and
// its clients should not wait here.
func (n *Node) expireLeader() {
	if n.now >= n.leader.quorumUntil {
		n.leader.quorumUntil = n.quorumHeardAt().Add(n.cfg.ElectionTimeout)
		if n.now >= n.leader.quorumUntil {
			n.becomeFollower(n.hard.Term)
			return
		}
	}
	if n.anyPeer(n.heartbeatDue) {
		n.openedRound()
		n.needWitnesses() // first: whether entries are about to be sent to one depends on it
		for i := range n.leader.peers {
			// Whose heartbeat would be next is sent it at the same time.
			p := &n.leader.peers[i]
			if n.now.Add(n.cfg.HeartbeatInterval/2) >= p.heartbeatAt && !n.entriesShow(p) {
				n.heartbeat(p)
			}
		}
		if n.unheeded() {
			n.becomeFollower(n.hard.Term)
		}
	}
}

// heartbeatDue reports whether a peer has to be sent a heartbeat now.
func (n *Node) heartbeatDue(p *progress) bool { return n.now >= p.heartbeatAt && !n.entriesShow(p) }

// entriesShow reports whether entries are about to be sent to a peer, and will do for a
// heartbeat, because it has acknowledged others in time.
func (n *Node) entriesShow(p *progress) bool { return n.takesEntries(p) && n.now < n.showBy(p) }

// showBy returns until when a peer need not be sent a heartbeat, as long as entries are: it
// has echoed a round that was opened so long before.
func (n *Node) showBy(p *progress) Instant { return p.leaseFrom.Add(n.cfg.ElectionTimeout / 3) }

// heartbeat asks a peer to show itself.
func (n *Node) heartbeat(p *progress) {
	p.heartbeatAt = n.now.Add(n.cfg.HeartbeatInterval)
	p.question = true
	p.probed = false // the question may have been lost
	if p.state == ProgressProbe || p.inflight.count > 0 {
		n.showSign(p)
	} else {
		p.reachedAt = n.now
	}
}

// postponeHeartbeat notes that a peer has been sent, or has echoed, a round. A heartbeat is
// due an interval after the round that was sent last, with whatever it was: provided that
// the peer echoes them. Where entries are slow, on the wire or on the peer's disk, it must
// not wait for them.
func (n *Node) postponeHeartbeat(p *progress) {
	if p.state == ProgressReplicate && n.leader.round-p.sentRound < rounds {
		sent := n.leader.opened[p.sentRound%rounds]
		p.heartbeatAt = max(p.heartbeatAt, min(sent.Add(n.cfg.HeartbeatInterval), n.showBy(p)))
	}
}

// reachTimeouts is for how many election timeouts a leader stays in office whose entries
// reach no quorum: large ones may be long on their way.
const reachTimeouts = 10

// unheeded reports whether a quorum hears signs of life alone, and has for long: they go
// another way than entries. Such a leader can commit nothing, and keeps others from it.
func (n *Node) unheeded() bool {
	return n.log.commit < n.log.last &&
		n.now >= n.quorumOf(func(p *progress) Instant { return p.reachedAt }).Add(reachTimeouts*n.cfg.ElectionTimeout)
}

// newRound opens a round that every peer has to answer, and returns it.
func (n *Node) newRound() uint64 {
	for i := range n.leader.peers {
		n.leader.peers[i].question = true
	}
	return n.openedRound()
}

// openedRound opens a round, and notes when.
func (n *Node) openedRound() uint64 {
	n.leader.round++
	n.leader.opened[n.leader.round%rounds] = n.now
	return n.leader.round
}

// quorumHeardAt returns the latest instant at which a quorum had shown itself.
func (n *Node) quorumHeardAt() Instant {
	return n.quorumOf(func(p *progress) Instant { return p.heardAt })
}

// quorumOf returns the latest instant that a quorum has reached, of those of its peers.
func (n *Node) quorumOf(at func(*progress) Instant) Instant {
	return Instant(quorumValue(n.members.current(), func(id NodeID) uint64 {
		if id == n.cfg.ID {
			return uint64(n.now)
		}
		if p := n.peer(id); p != nil && !p.newcomer {
			return uint64(at(p))
		}
		return 0
	}))
}

func (n *Node) leaderDeadline() Instant {
	switch {
	case len(n.leader.peers) == 0 && n.cfg.Quiesce:
		return n.silentAt() // alone it has nobody to tell, and an array to give back
	case len(n.leader.peers) == 0:
		return 0
	}
	at := n.leader.peers[0].heartbeatAt
	for i := range n.leader.peers {
		p := &n.leader.peers[i]
		at = min(at, p.heartbeatAt)
		if p.state == ProgressReplicate && p.sentCommit < n.log.commit {
			at = min(at, n.tellBy())
		}
		if p.loads.rests > n.now && !p.loading {
			at = min(at, p.loads.rests)
		}
	}
	if at > n.leader.quorumUntil {
		n.leader.quorumUntil = n.quorumHeardAt().Add(n.cfg.ElectionTimeout)
	}
	return min(at, n.leader.quorumUntil)
}

// anyPeer reports whether something is true of a peer.
func (n *Node) anyPeer(is func(*progress) bool) bool {
	for i := range n.leader.peers {
		if is(&n.leader.peers[i]) {
			return true
		}
	}
	return false
}

// peer returns this leader's view of id, or nil.
func (n *Node) peer(id NodeID) *progress {
	for i := range n.leader.peers {
		if n.leader.peers[i].id == id {
			return &n.leader.peers[i]
		}
	}
	return nil
}
