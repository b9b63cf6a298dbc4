package raftcore

// A disk that is fresh may be one that was lost: its node may have voted, and
// acknowledged entries that were then committed, and remembers nothing of it.
// If it voted again it could help to elect somebody who has missed those
// entries; if its acknowledgements and echoes counted, it could help a leader
// that was deposed with its own former vote to commit something else. Nobody can
// tell a lost disk from a new one, so every fresh node is a newcomer: it neither
// votes nor campaigns, and leaders count nothing that it says, until one of them
// admits it and it holds everything that was committed then.
//
// A leader admits a newcomer when a round that it opened after it first heard of
// this life has been echoed by a quorum, newcomers not counted. Whoever was
// elected, at a later term, with the help of the life before, was elected by a
// quorum, too, before that life ended; the two have a member in common, which is
// not the newcomer, and which would not have echoed. So there was no such leader:
// this one knows everything that the life before helped to commit.
//
// There is one exception, because somebody has to be first: in an election of
// nodes that hold nothing but the founding entry, newcomers vote, and so become
// founders; but not those who wait to be added to a group (Config.Joins). It
// leaves a gap that nobody inside the group can close: if a majority of the
// founders are fresh, one of them because its disk was lost and the others because
// they have never heard from a leader, they found the group a second time, unless
// somebody who remembers is there to win the election.
//
// A disk that has lost only the end of what it held (Recovered.Damaged) is a fresh
// one in all of this. What is left of its log spares the leader to send it.

// founding is the index of the entry that Bootstrap writes.
const founding Index = 1

// mayVoteFor reports whether this node may vote for one whose log ends in last.
func (n *Node) mayVoteFor(last EntryID) bool {
	return n.hard.Joined || !n.cfg.Joins && last.Index <= founding && n.log.last <= founding
}

// join notes that this node is one of those who count.
func (n *Node) join() {
	if !n.hard.Joined {
		n.hard.Joined = true
		n.hardDirty = true
		n.out.StatusChanged = true
	}
}

// joinIfComplete ends a newcomer's time, after it has taken a leader's message
// in: the leader has admitted it, by a message to this very life of the disk.
func (n *Node) joinIfComplete(m *Message, r *AppendRequest) {
	if !n.hard.Joined && r.Admit && m.ToIncarnation == n.incarnation && n.following.verified >= r.Commit {
		n.join()
		n.following.owes = true // the leader counts it from its next word on
	}
}

// mayAdmit reports whether this leader may admit a newcomer. It must have
// committed an entry of its own term, so that it knows what is committed.
func (n *Node) mayAdmit(p *progress) bool {
	return p.met != 0 && n.log.commit >= n.leader.start && n.echoed() > p.metIn
}
