package raftcore

// A disk that is fresh may be one that was lost: its node may have voted, and
// acknowledged entries that were then committed, and remembers nothing of it.
// If it voted again it could help to elect somebody who has missed those
// entries. Nobody can tell the two apart, so every fresh node is a newcomer: it
// neither votes nor campaigns until it has heard from a leader, and holds
// everything that was committed when that leader spoke. From then on it is as
// good as anybody.
//
// There is one exception, because somebody has to be first: in an election of
// nodes that hold nothing but the founding entry, newcomers vote, and so become
// founders. It leaves a gap that nobody inside the group can close: if a
// majority of the founders are fresh, one of them because its disk was lost and
// the others because they have never heard from a leader, they found the group
// a second time, unless somebody who remembers is there to win the election.

// founding is the index of the entry that Bootstrap writes.
const founding Index = 1

// mayVoteFor reports whether this node may vote for one whose log ends in last.
func (n *Node) mayVoteFor(last EntryID) bool {
	return n.hard.Joined || last.Index <= founding && n.log.last <= founding
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
// in. The message must speak to this very life of the disk, so that it is no
// echo of what the leader told the one before; and the leader must have
// committed an entry of its own term, so that it knows what is committed.
func (n *Node) joinIfComplete(m *Message, r *AppendRequest) {
	if n.hard.Joined || m.ToIncarnation != n.incarnation || n.following.verified < r.Commit {
		return
	}
	if term, known := n.log.term(r.Commit); known && term == m.Term {
		n.join()
	}
}
