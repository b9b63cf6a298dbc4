package raftcore

import "slices"

// reads are the linearizable reads that wait (thesis §6.4). They go in rounds:
// all that wait share the next one. When a round opens, the commit index is the
// point they will read at; when a quorum has echoed the round, nobody else can
// have led, and committed more, by the time it opened.
//
// Who does not lead asks the leader for such a point, for all reads that wait
// here together. A leader that is deposed or lost ends all of them with a Reply.
type reads struct {
	waiting    []waitingRead
	confirming []waitingRead
	round      uint64 // the round that confirms them; 0 if none is open
	index      Index

	// Of one who does not lead: confirming waits for the answer to this request.
	sequence   uint64
	askAgainAt Instant // zero: nothing was asked
}

// waitingRead is a read of this node, or a peer's request for a point to read at.
type waitingRead struct {
	tag      Tag
	from     NodeID // Nobody: a read of this node
	sequence uint64
}

func (n *Node) read(in Read) {
	switch {
	case n.leaderID == Nobody || n.cfg.Witness: // nothing can be read here
		n.reply(in.Tag, NotLeader)
		n.campaignOnDemand()
	case len(n.reads.waiting)+len(n.reads.confirming) >= n.cfg.MaxReads:
		n.busy(in.Tag, "MaxReads")
	default:
		n.reads.waiting = append(n.reads.waiting, waitingRead{tag: in.Tag})
	}
}

// openRound starts to confirm the reads that wait. Not before this leader has
// committed an entry of its own term: until then its commit index may lag
// behind what its predecessor had answered.
func (n *Node) openRound() {
	r := &n.reads
	if len(r.waiting) == 0 || r.round != 0 || n.log.commit < n.leader.start {
		return
	}
	r.index = n.log.commit
	r.waiting, r.confirming = r.confirming[:0], r.waiting
	if n.now < n.leaseUntil() {
		n.answerReads()
		return
	}
	r.round = n.newRound()
	n.confirmReads()
}

// leaseUntil returns until when nobody else can lead, because a quorum echoed a
// round that was opened so recently that they all still refuse to vote. It
// counts from when the round was sent, not from when the echo came, and assumes
// the worst of the clocks that is allowed. Once somebody was told to campaign
// there is no lease: the vote for that is refused by nobody.
func (n *Node) leaseUntil() Instant {
	if !n.cfg.LeaseReads || n.leader.urged || n.transfer.active() {
		return 0
	}
	from := Instant(quorumValue(n.members.current(), func(id NodeID) uint64 {
		if id == n.cfg.ID {
			return uint64(n.now)
		}
		if p := n.peer(id); p != nil && !p.newcomer {
			return uint64(p.leaseFrom)
		}
		return 0
	}))
	if from == 0 {
		return 0
	}
	// This clock may run slow, and theirs fast.
	drift := int64(n.cfg.MaxClockDrift)
	return from + Instant(int64(n.cfg.ElectionTimeout)/(1000+drift)*(1000-drift))
}

// confirmReads lets the reads go when a quorum has echoed their round.
func (n *Node) confirmReads() {
	r := &n.reads
	if n.role != Leader || r.round == 0 {
		return
	}
	if n.echoed() >= r.round {
		n.answerReads()
	}
}

// echoed returns the newest round that a quorum has echoed: nobody else can have
// been elected before it was opened.
func (n *Node) echoed() uint64 {
	return quorumValue(n.members.current(), func(id NodeID) uint64 {
		if id == n.cfg.ID {
			return n.leader.round
		}
		if p := n.peer(id); p != nil && !p.newcomer {
			return p.round
		}
		return 0
	})
}

// answerReads tells the reads that are being confirmed where to read.
func (n *Node) answerReads() {
	r := &n.reads
	for _, w := range r.confirming {
		if w.from != Nobody {
			n.send(w.from, &ReadReply{Sequence: w.sequence, Index: r.index})
			if p := n.peer(w.from); p != nil {
				p.reads = r.index
			}
		} else {
			n.out.Reads = append(n.out.Reads, ReadReady{Tag: w.tag, Index: r.index})
		}
	}
	r.confirming = r.confirming[:0]
	r.round, r.askAgainAt = 0, 0
}

// askLeader asks for a point to read at, and again if no answer comes.
func (n *Node) askLeader() {
	r := &n.reads
	if n.leaderID == Nobody {
		return
	}
	if len(r.confirming) == 0 && len(r.waiting) > 0 {
		r.waiting, r.confirming = r.confirming[:0], r.waiting
		r.sequence++
		r.askAgainAt = n.now
	}
	if len(r.confirming) > 0 && n.now >= r.askAgainAt && n.hardDurable() {
		r.askAgainAt = n.now.Add(2 * n.cfg.HeartbeatInterval)
		n.send(n.leaderID, &ReadRequest{Sequence: r.sequence})
	}
}

// readRequest takes a peer's request.
func (n *Node) readRequest(m *Message, r *ReadRequest) {
	again := func(w waitingRead) bool { return w.from == m.From && w.sequence == r.Sequence }
	switch {
	case n.role != Leader || n.peer(m.From) == nil || len(n.reads.waiting)+len(n.reads.confirming) >= n.cfg.MaxReads:
		if n.hardDurable() {
			n.send(m.From, &ReadReply{Sequence: r.Sequence, Refused: true})
		}
	case slices.ContainsFunc(n.reads.waiting, again) || slices.ContainsFunc(n.reads.confirming, again):
	default:
		n.reads.waiting = append(n.reads.waiting, waitingRead{from: m.From, sequence: r.Sequence})
	}
}

// readReply takes the leader's answer.
func (n *Node) readReply(m *Message, reply *ReadReply) {
	r := &n.reads
	if n.role == Leader || m.From != n.leaderID || r.askAgainAt == 0 || reply.Sequence != r.sequence {
		return // to an earlier request, or a repeated one
	}
	if reply.Refused {
		n.refuseReads()
		return
	}
	r.index = reply.Index
	n.answerReads()
}

// refuseReads ends every read that waits: whoever could have confirmed it does
// not lead any more.
func (n *Node) refuseReads() {
	r := &n.reads
	for _, w := range slices.Concat(r.confirming, r.waiting) {
		if w.from == Nobody {
			n.reply(w.tag, NotLeader)
		} else if n.hardDurable() { // else it asks again, or has learnt of the later term
			n.send(w.from, &ReadReply{Sequence: w.sequence, Refused: true})
		}
	}
	*r = reads{sequence: r.sequence}
}
