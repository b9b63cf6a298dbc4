package raftcore

// snapshots is what a node knows of the snapshots of its state machine
// (Raft §7). It never sees one: it says when to take one, what of the log is
// not needed any more, and who needs one in the log's place.
type snapshots struct {
	newest  SnapshotMeta
	unsaved bool // newest, and the log's base, are in no Save yet

	asked   bool    // the machine is taking one
	retryAt Instant // after one that failed
	at      Instant // when newest was taken, or when this node started
	bytes   int     // handed to the machine since
	// before is how many of them were handed out before the machine was asked: those
	// are in the snapshot that it is taking.
	before int
}

// askForSnapshot asks the state machine for a snapshot when it is time for one.
func (n *Node) askForSnapshot() {
	if s := &n.snapshots; n.snapshotWanted() && !s.asked && n.now >= s.retryAt {
		s.asked, s.before = true, s.bytes
		n.out.Compact = true
	}
}

func (n *Node) snapshotWanted() bool {
	s, c := &n.snapshots, &n.cfg
	applied := n.applying.done
	if n.cfg.Witness || applied <= s.newest.Last.Index || n.applying.restore != nil || n.applying.restoring {
		return false
	}
	return c.SnapshotEntries > 0 && applied-s.newest.Last.Index >= Index(c.SnapshotEntries) ||
		c.SnapshotBytes > 0 && s.bytes >= c.SnapshotBytes ||
		c.SnapshotAge > 0 && n.now >= s.at.Add(c.SnapshotAge)
}

// snapshotDue returns when one is due although nothing happens; zero for never.
func (n *Node) snapshotDue() Instant {
	s := &n.snapshots
	switch {
	case n.cfg.Witness || s.asked || n.applying.done <= s.newest.Last.Index:
		return 0
	case s.retryAt > n.now && n.snapshotWanted():
		return s.retryAt
	case n.cfg.SnapshotAge > 0:
		return max(s.at.Add(n.cfg.SnapshotAge), s.retryAt)
	}
	return 0
}

// snapshotTaken takes the news of a snapshot of this node's own state machine,
// and forgets the part of the log that it stands for.
func (n *Node) snapshotTaken(in SnapshotTaken) {
	s := &n.snapshots
	bytes := s.bytes
	if s.asked {
		bytes = s.before
	}
	s.asked = false
	if in.Index == 0 {
		s.retryAt = n.now.Add(n.cfg.ElectionTimeout)
		return
	}
	if in.Index <= s.newest.Last.Index {
		return // one that a leader sent has overtaken it
	}
	if in.Index > n.applying.sent {
		n.broken(RuleAppliedCommitted, "a snapshot of %d, handed out %d", in.Index, n.applying.sent)
	}
	term, known := n.log.term(in.Index)
	if !known {
		n.broken(RuleLogContiguous, "a snapshot of entry %d, which has no term", in.Index)
	}
	newest := SnapshotMeta{Last: EntryID{Term: term, Index: in.Index}, Time: in.Time, Conf: n.members.asOf(in.Index)}
	if !newest.valid() {
		s.retryAt = n.now.Add(n.cfg.ElectionTimeout)
		return // of a log without members: nobody founds such a group, so it is forged
	}
	s.newest = newest
	s.unsaved, s.at, s.bytes, s.retryAt = true, n.now, s.bytes-bytes, 0
	keep := Index(max(n.cfg.KeepEntries, 0))
	base := n.log.base.Index
	if in.Index > keep {
		base = max(base, in.Index-keep)
	}
	for i := range n.leader.peers {
		switch p := &n.leader.peers[i]; {
		case p.state == ProgressSnapshot:
			base = min(base, p.snapshot) // it needs what follows, or yet another snapshot
		case n.log.last-p.match < p.behind: // the same: and it comes nearer, so the log does not grow
			p.behind = n.log.last - p.match
			base = min(base, p.match)
		default:
			p.behind = 0
		}
	}
	n.compact(min(base, n.applying.sent, n.log.saved))
}

// compact makes an entry the base of the log.
func (n *Node) compact(base Index) {
	if base <= n.log.base.Index {
		return
	}
	term, _ := n.log.term(base)
	n.log.compact(EntryID{Term: term, Index: base})
	n.members.compact(base)
	n.traced(TraceCompact, nil)
}

// sendSnapshot gives a peer the newest snapshot. The transport carries it, and
// tells how it goes; a transfer of which nothing is heard for long is taken to
// be lost.
func (n *Node) sendSnapshot(p *progress) {
	if n.snapshots.newest.Last.Index < n.log.base.Index {
		n.broken(RuleSnapshotCoversBase, "the log begins after %v, the newest snapshot is of %v", n.log.base, n.snapshots.newest.Last)
	}
	patience := snapshotPatience * n.cfg.ElectionTimeout
	if p.witness {
		patience = n.cfg.ElectionTimeout // it is one small message
	}
	p.becomeSnapshot(n.snapshots.newest.Last.Index, n.now.Add(patience))
	n.send(p.id, &SnapshotRequest{Snapshot: n.snapshots.newest, Bare: p.witness})
}

// snapshotPatience is for how many election timeouts nothing need be heard of a
// snapshot that is under way.
const snapshotPatience = 10

// snapshotSent takes the transport's news of a snapshot that is under way.
func (n *Node) snapshotSent(in SnapshotSent) {
	p := n.peer(in.Peer)
	if p == nil || p.state != ProgressSnapshot || in.Index != p.snapshot {
		return
	}
	if in.Status == SnapshotFailed {
		p.becomeProbe(p.next)
		p.probed = true // wait for the next heartbeat: it asks the question
		return
	}
	p.snapshotBy = n.now.Add(snapshotPatience * n.cfg.ElectionTimeout)
	p.catchUp.grewAt = n.now
}

// snapshotRequest takes a snapshot from the leader in the place of the log, or of
// its beginning.
func (n *Node) snapshotRequest(m *Message, r *SnapshotRequest) {
	if n.role == Leader || n.leaderID != Nobody && n.leaderID != m.From || r.Bare != n.cfg.Witness {
		n.refused++
		return
	}
	if n.leaderID == Nobody {
		n.setRole(Follower, m.From) // a candidate yields, too
	}
	f, s := &n.following, r.Snapshot
	f.owes, f.rejecting = true, false
	if s.Last.Index <= n.log.commit || n.log.has(s.Last) {
		// The log has all that it stands for, and maybe more: that stays.
		f.verified = max(f.verified, s.Last.Index)
		n.commitTo(s.Last.Index)
		return
	}
	n.install(s)
}

// install begins anew with a snapshot. The log is another one at that index, or
// ends before it: nothing of it is needed any more.
func (n *Node) install(s SnapshotMeta) {
	if n.following.verified >= s.Last.Index {
		n.broken(RuleLeaderAppendOnly, "a snapshot of %v, and %d was verified in this term", s.Last, n.following.verified)
	}
	passed := 0
	for passed < len(n.tags) && n.tags[passed].Index <= s.Last.Index {
		n.refuse(Reply{Tag: n.tags[passed].Tag, Outcome: Compacted, MaybeHappened: true})
		n.unwatch(n.tags[passed].Tag)
		passed++
	}
	n.tags = n.tags[passed:]
	n.cutOff(s.Last.Index + 1)
	n.log.reset(&s)
	n.members.reset(s.Conf)
	n.following.verified = s.Last.Index
	n.snapshots = snapshots{newest: s, unsaved: true, at: n.now, asked: n.snapshots.asked} // the machine may be busy with its own
	n.restoreFrom(&n.snapshots.newest)
	n.out.StatusChanged = true
	n.traced(TraceSnapshot, nil)
}
