package raftcore

// A disk may stall: a Save neither ends nor fails. The group can do without it,
// but not well with a leader who has it: entries are committed with the help of
// the others' disks, while this node applies nothing, and answers nobody. So after
// Config.SaveTimeout a leader takes no more proposals, and hands its office over
// when a quorum has shown that it gets on without it; and nobody with a stalled
// disk stands for election.

// noteStall notes, in Drain, whether the disk has owed a Save for too long: an
// answer that waited beside the inputs of this batch has been heard by then.
func (n *Node) noteStall() {
	since := n.log.savingSince()
	n.stalled = since != 0 && n.now >= since.Add(n.cfg.SaveTimeout)
}

// stallAt returns when the disk will count as stalled if it does not answer; zero
// for never.
func (n *Node) stallAt() Instant {
	if since := n.log.savingSince(); since != 0 && n.role == Leader {
		return since.Add(n.cfg.SaveTimeout)
	}
	return 0
}

// yieldIfStalled has a leader whose disk stalls hand over, to one after the other of
// those who have the whole log, until somebody takes over or the disk answers. If
// the disks of a quorum stall, nobody could do better.
func (n *Node) yieldIfStalled() {
	if n.transfer.active() || n.leader.change != nil || n.members.current().Joint() || !n.stalled {
		return
	}
	others := Index(quorumValue(n.members.current(), func(id NodeID) uint64 {
		if p := n.peer(id); p != nil && !p.newcomer {
			return uint64(p.match)
		}
		return 0
	}))
	if others < n.log.last {
		return
	}
	var heir NodeID // the next after yieldedTo, or the first: its disk may stall, too
	for i := range n.leader.peers {
		p := &n.leader.peers[i]
		if !n.mayLead(p) || p.match < n.log.last || n.now >= p.heardAt.Add(n.cfg.ElectionTimeout) {
			continue
		}
		if heir == Nobody || heir <= n.leader.yieldedTo && p.id > n.leader.yieldedTo {
			heir = p.id
		}
	}
	if heir != Nobody {
		n.leader.yieldedTo = heir
		n.beginTransfer(heir)
	}
}
