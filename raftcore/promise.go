package raftcore

// promises are the messages that may leave only when the disk holds what they
// say. Nobody waits for them: they are kept in saved, or in Drain.
//
//   - a vote, until the vote is durable (otherwise a restart could cast another);
//   - a candidacy, with the candidate's vote for itself, until the term is;
//   - an acknowledgement of entries, until they are: that one is not stored but
//     derived, as min(verified, saved), in acknowledge;
//   - the leader's own share in a commit: likewise, in advanceCommit.
//
// A promise made in one term is void in the next.
type promises struct {
	voteTo    NodeID // whom a vote is owed to
	vote      VoteReply
	candidacy bool
}

// keepPromises sends what waited for the hard state to be durable.
func (n *Node) keepPromises() {
	if !n.hardDurable() {
		return
	}
	p := n.promises
	n.promises = promises{}
	if p.voteTo != Nobody {
		n.sendVoteReply(p.voteTo, p.vote)
	}
	if p.candidacy && n.role == Candidate {
		n.askForVotes(false)
	}
}

// acknowledge tells the leader how far this log equals its own, durably.
func (n *Node) acknowledge() {
	f := &n.following
	if n.role != Follower || n.leaderID == Nobody || !n.hardDurable() {
		return
	}
	if f.rejecting {
		f.rejecting, f.owes = false, false
		f.rejection.Round, f.rejection.Ahead = f.round, f.round-f.inOrder
		n.sendAppendReply(n.leaderID, f.rejection)
	}
	match := min(f.verified, n.log.saved)
	if f.owes || match > f.acked {
		f.owes = false
		f.acked = match
		n.sendAppendReply(n.leaderID, AppendReply{Match: match, Round: f.round, Ahead: f.round - f.inOrder, Flooded: f.flooded})
	}
}
