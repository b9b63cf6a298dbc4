package raftcore

// following is what a follower knows of its log in the light of the current
// leader. It begins anew with every term.
type following struct {
	// verified: all entries up to here are known to equal the leader's. What
	// lies after it may be left over from other leaders, so neither a commit nor
	// an acknowledgement goes beyond it.
	verified Index
	acked    Index // the newest Match told
	round    uint64
	inOrder  uint64  // the newest round of a message that is not Urgent
	heardAt  Instant // when round came
	owes     bool    // a reply is owed, even if Match has not grown
	flooded  bool    // of the newest request nothing could be said
	doubtful bool    // the leader's host is said to be gone, and no new round has come since

	rejecting bool // rejection waits to be sent
	rejection AppendReply
}

// becomeFollower enters a term, or gives up an office in the present one.
func (n *Node) becomeFollower(term Term) {
	if term > n.hard.Term {
		n.hard.Term = term
		n.hard.Vote = Nobody
		n.hardDirty = true
		n.following = following{}
		n.promises = promises{}
	}
	led := n.role == Leader
	n.setRole(Follower, Nobody)
	if led {
		n.abandonChange(LeadershipLost)
		n.leader = leading{}
		n.resetElection()
	}
}

// setRole notes who this node is, and who leads.
func (n *Node) setRole(role Role, leader NodeID) {
	if leader == Nobody && n.leaderID != Nobody {
		n.lonelyFrom = n.now
	}
	if leader != Nobody {
		n.campaign.votes, n.campaign.before = n.campaign.votes[:0], n.campaign.before[:0]
	}
	before := n.leaderID
	n.role = role
	n.leaderID = leader
	n.quiet = false
	n.out.StatusChanged = true
	n.traced(TraceRole, nil)
	if before != leader {
		n.refuseReads() // whoever was to confirm them does not lead any more
	}
	n.transferEnded()
}

// adopt puts the configuration of an appended entry in force.
func (n *Node) adopt(index Index, conf *ConfState) {
	n.members.adopt(index, conf)
	n.out.StatusChanged = true
	n.traced(TraceConfig, nil)
}

// leaderAlive reports whether this node has a sign of life of a leader that is
// younger than the shortest election timeout: then nobody needs an election.
// A leader is alive to itself: it steps down by itself when it loses its quorum.
//
// With leases there is more to it: see holdUntil.
func (n *Node) leaderAlive() bool {
	return n.role == Leader || n.leaderID != Nobody && n.now < n.following.heardAt.Add(n.cfg.ElectionTimeout) ||
		n.cfg.LeaseReads && n.now < n.holdUntil
}

// appendRequest takes entries, or a heartbeat, from the leader of this term
// (Raft §5.3, Figure 2 "AppendEntries RPC").
func (n *Node) appendRequest(m *Message, r *AppendRequest) {
	if n.role == Leader || n.leaderID != Nobody && n.leaderID != m.From || !n.suits(r.Entries) {
		n.refused++ // a term has one leader: this is forged, or garbage; or not for such a one
		return
	}
	f := &n.following
	fresh := r.Round > f.round
	if n.leaderID == Nobody && (fresh || n.role != PreCandidate) {
		n.setRole(Follower, m.From) // a candidate yields, too (Raft §5.2)
	}
	if fresh {
		// Only a new round is a sign of life: a repeated old heartbeat must not
		// keep a dead leader in office.
		f.round = r.Round
		f.heardAt, f.doubtful = n.now, false
		n.holdUntil = n.now.Add(n.cfg.ElectionTimeout)
		n.resetElection()
	}
	// Entries ask for nothing but their acknowledgement, which echoes the round.
	asked := len(r.Entries) == 0 && (fresh || r.Round > f.inOrder && !r.Urgent)
	if !r.Urgent {
		f.inOrder = max(f.inOrder, r.Round)
	}
	flooded := n.flooded()
	if flooded && !n.log.has(r.Prev) {
		// It follows what was dropped. To say so now would have it sent, and dropped,
		// over and over.
		f.owes, f.flooded = f.owes || asked, true
		return
	}
	// What is urgent may have come before others that were sent earlier: what those had the
	// follower say stays to be said.
	f.flooded = f.flooded && r.Urgent
	if !n.log.has(r.Prev) || n.late(m) {
		f.owes = f.owes || asked
		if !r.Urgent || !f.rejecting {
			f.rejecting = true
			f.rejection = AppendReply{Rejected: true, Probed: r.Prev, Hint: n.log.newestUpTo(r.Prev)}
		}
		return
	}
	f.rejecting = f.rejecting && r.Urgent
	entries := r.Entries
	if flooded {
		entries = nil // as if they had been lost: the leader finds out, and sends them again
	}
	n.accept(entries)
	last := r.Prev.Index + Index(len(entries))
	f.verified = max(f.verified, last)
	n.commitTo(min(r.Commit, f.verified))
	n.joinIfComplete(m, r)
	// A question is answered at once, whatever the disk does: reads and the
	// leader's office hang on it. Entries are acknowledged when they are durable,
	// and again if they come again.
	if asked || len(entries) > 0 && last <= f.acked {
		f.owes = true
	}
	if r.Quiesce && r.Round == f.round && !f.owes && !f.doubtful && n.log.saved == n.log.last && n.log.commit == n.log.last && last == n.log.last {
		n.quiet = true
	}
}

// flooded reports whether more waits for the disk than may.
func (n *Node) flooded() bool {
	return n.log.window.bytes > n.cfg.MaxUnsavedBytes && n.log.unsavedBytes() > n.cfg.MaxUnsavedBytes
}

// wellFormed reports whether m can be what a node says.
func (m *Message) wellFormed() bool {
	if m.Term > maxTerm {
		return false
	}
	switch b := m.Body.(type) {
	case *VoteRequest:
		return b != nil && (b.Pre || m.Term > 0) // nobody stands for election in term 0
	case *VoteReply:
		return b != nil && (b.Pre || m.Term > 0)
	case *AppendRequest:
		return b != nil && m.Term > 0 && b.wellFormed(m.Term) // nor leads
	case *AppendReply:
		return b != nil
	case *SnapshotRequest:
		return b != nil && b.Snapshot.valid() && b.Snapshot.Last.Term <= m.Term
	case *TimeoutNow:
		return b != nil
	case *ReadRequest:
		return b != nil
	case *ReadReply:
		return b != nil && b.Index <= maxIndex
	}
	return false
}

// wellFormed reports whether a request's entries follow Prev and one another,
// and are of no later term than the leader's.
func (r *AppendRequest) wellFormed(term Term) bool {
	before := r.Prev
	for i := range r.Entries {
		e := &r.Entries[i]
		if e.Index != before.Index+1 || e.Term < before.Term || e.Term == 0 || !e.Kind.Valid() || (e.Kind == EntryConfig) != (e.Config != nil) || e.Config != nil && !e.Config.valid() {
			return false
		}
		before = e.EntryID
	}
	return before.Term <= term && before.Index <= maxIndex && !(r.Urgent && len(r.Entries) > 0)
}

// accept appends what is new of entries that follow an entry of this log. What
// is there already stays, even if entries end before it: they may be an old
// message. Only an entry that contradicts the log cuts it off.
func (n *Node) accept(entries []Entry) {
	for len(entries) > 0 && n.log.has(entries[0].EntryID) {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return
	}
	if first := entries[0].Index; first <= n.log.last {
		n.truncate(first)
	}
	n.log.append(entries)
	n.appendedAt = n.now
	for i := range entries {
		if e := &entries[i]; e.Kind == EntryConfig {
			n.adopt(e.Index, e.Config)
		}
	}
	n.traced(TraceAppend, nil)
}

// truncate cuts off entries that another leader has overruled.
func (n *Node) truncate(from Index) {
	if from <= n.log.commit {
		n.broken(RuleCommittedKept, "asked to cut off %d, committed %d", from, n.log.commit)
	}
	if from <= n.following.verified {
		n.broken(RuleLeaderAppendOnly, "asked to cut off %d, and %d was verified in this term", from, n.following.verified)
	}
	n.cutOff(from)
	n.log.truncate(from)
	if n.members.truncate(from) {
		n.out.StatusChanged = true
		n.traced(TraceConfig, nil)
	}
}

// commitTo moves the commit index, which never goes back.
func (n *Node) commitTo(index Index) {
	if index > n.log.commit {
		if at := n.members.at(); n.log.commit < at && at <= index {
			n.out.StatusChanged = true
		}
		n.log.commit = index
		n.traced(TraceCommit, nil)
	}
}
