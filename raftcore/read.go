package raftcore

// reads are the linearizable reads that wait (thesis §6.4). They go in rounds:
// all that wait share the next one. When a round opens, the commit index is the
// point they will read at; when a quorum has echoed the round, nobody else can
// have led, and committed more, by the time it opened.
type reads struct {
	waiting    []Tag
	confirming []Tag
	round      uint64 // the round that confirms them; 0 if none is open
	index      Index
}

func (n *Node) read(in Read) {
	switch {
	case n.role != Leader:
		n.reply(in.Tag, NotLeader)
	case len(n.reads.waiting)+len(n.reads.confirming) >= n.cfg.MaxReads:
		n.reply(in.Tag, Busy)
	default:
		n.reads.waiting = append(n.reads.waiting, in.Tag)
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
	r.round = n.newRound()
	r.index = n.log.commit
	r.waiting, r.confirming = r.confirming[:0], r.waiting
	n.confirmReads()
}

// confirmReads lets the reads go when a quorum has echoed their round.
func (n *Node) confirmReads() {
	r := &n.reads
	if r.round == 0 {
		return
	}
	echoed := quorumValue(n.members.current(), func(id NodeID) uint64 {
		if id == n.cfg.ID {
			return n.leader.round
		}
		if p := n.peer(id); p != nil {
			return p.round
		}
		return 0
	})
	if echoed < r.round {
		return
	}
	for _, tag := range r.confirming {
		n.out.Reads = append(n.out.Reads, ReadReady{Tag: tag, Index: r.index})
	}
	r.confirming = r.confirming[:0]
	r.round = 0
}

// refuseReads answers every read that a lost leadership leaves unconfirmed.
func (n *Node) refuseReads() {
	for _, tag := range n.reads.confirming {
		n.reply(tag, NotLeader)
	}
	for _, tag := range n.reads.waiting {
		n.reply(tag, NotLeader)
	}
	n.reads = reads{}
}
