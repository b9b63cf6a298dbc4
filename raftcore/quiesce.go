package raftcore

// A group in which nothing happens need not send heartbeats: its leader tells
// the others that it will be silent, and everybody who has everything waits
// without a clock. What ends the silence is a request, a message, or the news
// that the leader's host is gone.
//
// Somebody who missed the word times out, and asks for votes; that wakes the
// others, who believe in their leader for one more election timeout, and say a
// word to it. If it is alive, it speaks up.

// idleHeartbeats is after how many intervals of idleness a leader falls silent.
const idleHeartbeats = 3

// fallSilent ends the heartbeats of a leader that has had nothing to do.
func (n *Node) fallSilent() {
	if n.role != Leader || n.quiet || !n.cfg.Quiesce {
		return
	}
	if !n.idle() {
		n.leader.idleSince = n.now
		return
	}
	echoes := n.anyPeer(func(p *progress) bool { return p.round != n.leader.round }) // one that is still to come would end it
	if n.now < n.silentAt() || echoes {
		return
	}
	for i := range n.leader.peers {
		p := &n.leader.peers[i]
		n.sendAppendRequest(p.id, AppendRequest{Prev: n.log.lastID(), Commit: n.log.commit, Round: p.round, Quiesce: true, Urgent: true})
	}
	n.quiet = true
}

// silentAt returns when this leader falls silent, if nothing happens.
func (n *Node) silentAt() Instant {
	return n.leader.idleSince.Add(idleHeartbeats * n.cfg.HeartbeatInterval)
}

// idle reports whether everybody has everything, and nobody waits.
func (n *Node) idle() bool {
	l := &n.log
	if l.commit != l.last || l.saved != l.last || n.applying.done != l.last || n.snapshots.unsaved ||
		len(n.reads.waiting)+len(n.reads.confirming) > 0 || n.leader.change != nil || n.transfer.active() || n.members.current().Joint() {
		return false
	}
	return !n.anyPeer(func(p *progress) bool {
		return p.departing || p.state != ProgressReplicate || p.match != l.last || p.sentCommit != l.commit
	})
}

// wakes reports whether an input is a request, which ends the silence. A message
// may end it, too, if it is not refused.
func wakes(in Input) bool {
	switch in.(type) {
	case Tick, Receive, Unreachable, Saved, Loaded, Applied, SnapshotTaken, SnapshotSent:
		return false
	}
	return true
}

// wake ends the silence. From now on signs of life are expected again; until the
// first one would be late, the others are taken to be alive.
func (n *Node) wake(believe bool) {
	n.quiet = false
	if n.role == Leader {
		n.leader.idleSince = n.now
		for i := range n.leader.peers {
			p := &n.leader.peers[i]
			p.heardAt, p.reachedAt, p.heartbeatAt = n.now, n.now, n.now
			p.catchUp.began = n.now // the silence was not a round that took long
		}
		return
	}
	n.resetElection()
	n.following.doubtful = !believe
	if believe && n.leaderID != Nobody {
		n.following.heardAt = n.now
		n.following.owes = true // a word to the leader: it wakes up, too
	}
}
