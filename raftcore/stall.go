package raftcore

// A disk may stall: a Save neither ends nor fails. The group can do without it,
// but not well with a leader who has it: entries are committed with the help of
// the others' disks, while this node applies nothing, and answers nobody. So after
// Config.SaveTimeout a leader takes no more proposals, and hands its office over
// when a quorum has shown that it gets on without it; and nobody with a stalled
// disk stands for election.

// stalled reports whether the disk has owed a Save for too long.
func (n *Node) stalled() bool {
	since := n.log.savingSince()
	return since != 0 && n.now >= since.Add(n.cfg.SaveTimeout)
}

// stallAt returns when the disk will count as stalled if it does not answer; zero
// for never.
func (n *Node) stallAt() Instant {
	if since := n.log.savingSince(); since != 0 && n.role == Leader {
		return since.Add(n.cfg.SaveTimeout)
	}
	return 0
}

// yieldIfStalled has a leader whose disk stalls hand over to whoever is furthest,
// again and again until somebody takes over or the disk answers. If the disks of
// a quorum stall, nobody could do better.
func (n *Node) yieldIfStalled() {
	if n.transfer.active() || n.leader.change != nil || n.members.current().Joint() || !n.stalled() {
		return
	}
	others := Index(quorumValue(n.members.current(), func(id NodeID) uint64 {
		if p := n.peer(id); p != nil && !p.newcomer {
			return uint64(p.match)
		}
		return 0
	}))
	if heir := n.furthest(); heir != nil && others >= n.log.last {
		n.beginTransfer(heir.id)
	}
}
