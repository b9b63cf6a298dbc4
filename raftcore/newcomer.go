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
// A leader admits a newcomer when an entry that it appended after it first heard of
// this life is committed, by a quorum that newcomers do not count in. The life before
// may have voted for a candidate of a later term, who may still be waiting with that
// vote: but whoever helped to commit the entry has it from then on, and does not vote
// for one whose log lacks it; and that candidate's is from before. Without any of
// them, and without the newcomer, there is no majority. In the leader's own term a
// newcomer does not vote either: it notes a vote for the leader when it joins. So no
// vote of the life before can still matter when this one votes, and whatever that one
// helped to commit is in the leader's log.
//
// So however many disks are lost or damaged, at once or one after the other, nothing
// that was acknowledged is overruled; but while fewer than a majority of the voters
// count, nobody can lead.
//
// There is one exception, because somebody has to be first: in an election of
// nodes that hold nothing but the founding entry, newcomers vote, and so become
// founders; but not those who wait to be added to a group (Config.Joins). It
// leaves a gap that nobody inside the group can close: if a majority of the
// founders are fresh, one of them because its disk was lost and the others because
// they have never heard from a leader, they found the group a second time, unless
// somebody who remembers is there to win the election.
//
// One thing it does notice: when a founder leads already, in another lineage that
// this node is in (hearOther). That is how it is when a group was begun anew (Lineage),
// and a host that should join it founds the old one instead.
//
// A disk that has lost only the end of what it held (Recovered.Damaged) is a fresh
// one in all of this. What is left of its log spares the leader to send it.

// founding is the index of the entry that Bootstrap writes.
const founding Index = 1

// mayVoteFor reports whether this node may vote for one whose log ends in last.
func (n *Node) mayVoteFor(last EntryID) bool {
	return n.hard.Joined || !n.cfg.Joins && last.Index <= founding && n.log.last <= founding
}

// hearOther takes note of another lineage, whose message is refused. If it is one
// of this node's founders who leads there, nothing is left to found here: two who
// did it all the same would be a second group, empty, that answers clients.
// It is not kept on the disk: whoever leads says it again.
func (n *Node) hearOther(m *Message) {
	n.other = m.Cluster
	if _, leads := m.Body.(*AppendRequest); leads && n.members.current().Votes(m.From) {
		n.cfg.Joins = true
	}
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
		if n.hard.Vote == Nobody { // its former life may have voted in this term
			n.hard.Vote, n.hardDirty = m.From, true
		}
		n.join()
		n.following.owes = true // the leader counts it from its next word on
	}
}

// mayAdmit reports whether this leader may admit a newcomer: it has committed an
// entry that it appended later than it met it.
func (n *Node) mayAdmit(p *progress) bool {
	return p.met != 0 && n.log.commit > p.metAt
}
