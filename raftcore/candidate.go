package raftcore

// campaign is a candidate's, or a pre-candidate's, count of the votes.
type campaign struct {
	number   uint64
	votes    []vote
	before   []vote // of the last campaign that was given up; empty once somebody leads
	transfer bool   // the leader asked for it
}

type vote struct {
	from   NodeID
	ballot ballot
}

// begin starts a new count.
func (c *campaign) begin() {
	c.number++
	c.votes = c.votes[:0]
	c.transfer = false
}

// note counts a voter's answer, once.
func (c *campaign) note(from NodeID, b ballot) {
	if c.ballot(from) == silent {
		c.votes = append(c.votes, vote{from, b})
	}
}

func (c *campaign) ballot(from NodeID) ballot { return ballotOf(c.votes, from) }

func ballotOf(votes []vote, from NodeID) ballot {
	for _, v := range votes {
		if v.from == from {
			return v.ballot
		}
	}
	return silent
}

// silentVoters returns the voters who have answered neither the last campaign, in
// all the time it took, nor the present one yet.
func (n *Node) silentVoters() (ids []NodeID) {
	c, conf := &n.campaign, n.members.current()
	if len(c.before) == 0 {
		return nil
	}
	for _, id := range conf.Members() {
		if id != n.cfg.ID && conf.Votes(id) && c.ballot(id) == silent && ballotOf(c.before, id) == silent {
			ids = append(ids, id)
		}
	}
	return ids
}

// mayCampaign reports whether this node could lead: only voters do, and no
// newcomers or witnesses. Who was a voter until the configuration in force is one until that
// is committed: its log may be the only one that has it, and those who lack it
// need it to (thesis §4.2.2). It does not count its own vote.
func (n *Node) mayCampaign() bool {
	votes := n.members.current().Votes(n.cfg.ID)
	if h := n.members.history; !votes && len(h) > 1 && n.members.at() > n.log.commit {
		votes = h[len(h)-2].Conf.Votes(n.cfg.ID)
	}
	return votes && !n.witness() && n.mayVoteFor(n.log.lastID())
}

// becomePreCandidate asks the voters whether they would elect this node. No
// term rises and nothing is written, so asking in vain harms nobody.
func (n *Node) becomePreCandidate() {
	n.setRole(PreCandidate, Nobody)
	n.resetElection()
	n.campaign.before = append(n.campaign.before[:0], n.campaign.votes...)
	n.campaign.begin()
	n.askForVotes(true)
}

// becomeCandidate opens a new term with a vote for itself. The others are asked
// when that is durable: a candidate that was elected and then forgot its own
// term could be elected in it a second time.
func (n *Node) becomeCandidate() {
	if !n.mayCampaign() {
		n.broken(RuleLeaderVotes, "campaigned as a non-voter")
	}
	n.hard.Term++
	n.hard.Vote = n.cfg.ID
	n.hardDirty = true
	n.join()
	n.following = following{}
	n.promises = promises{candidacy: true}
	n.setRole(Candidate, Nobody)
	n.resetElection()
	n.campaign.begin()
}

// askForVotes sends the question and counts this node's own vote.
func (n *Node) askForVotes(pre bool) {
	request := VoteRequest{Pre: pre, Transfer: n.campaign.transfer, Priority: n.cfg.Priority, Last: n.log.lastID(), Campaign: n.campaign.number}
	for _, id := range n.members.current().Members() {
		if id != n.cfg.ID && n.members.current().Votes(id) {
			n.sendVoteRequest(id, request)
		}
	}
	n.campaign.note(n.cfg.ID, granted)
	n.tally()
}

// answerPreVote says whether this node would vote for the asker. It must not
// change anything: no term, no vote, no timer.
func (n *Node) answerPreVote(m *Message, r *VoteRequest) {
	yes := m.Term >= n.hard.Term && !n.leaderAlive() && r.Last.AtLeast(n.log.lastID()) && n.mayVoteFor(r.Last) && !n.deserves(r)
	n.sendVoteReply(m.From, VoteReply{Pre: true, Granted: yes, Campaign: r.Campaign})
}

// deserves reports whether this node should lead rather than who asks: its
// priority is higher, and its log as good. It is given a few election timeouts
// to come forward; nobody waits longer for it.
func (n *Node) deserves(r *VoteRequest) bool {
	lonelyFrom := n.lonelyFrom
	if n.leaderID != Nobody {
		lonelyFrom = n.following.heardAt
	}
	return n.cfg.Priority > r.Priority && n.mayCampaign() && n.log.lastID().AtLeast(r.Last) && n.now < lonelyFrom.Add(4*n.cfg.ElectionTimeout)
}

// campaignNow starts an election by hand.
func (n *Node) campaignNow() {
	if n.role == Follower && n.mayCampaign() && !n.stalled && !n.leaderAlive() && !n.promises.candidacy {
		n.becomePreCandidate()
	}
}

// campaignOnDemand starts one because somebody needs a leader, though not more
// often than every election timeout.
func (n *Node) campaignOnDemand() {
	if n.cfg.CampaignOnDemand && n.leaderID == Nobody && (n.demandedAt == 0 || n.now >= n.demandedAt.Add(n.cfg.ElectionTimeout)) {
		n.demandedAt = n.now
		n.campaignNow()
	}
}

// voteRequest decides about a vote in the current term (Raft §5.2, §5.4.1).
// A learner decides, too: the asker may know of a promotion that has not
// reached it.
func (n *Node) voteRequest(m *Message, r *VoteRequest) {
	if n.leaderID != Nobody || n.leaderAlive() && !r.Transfer || n.hard.Vote != Nobody && n.hard.Vote != m.From || !r.Last.AtLeast(n.log.lastID()) || !n.mayVoteFor(r.Last) {
		if n.hardDurable() {
			n.sendVoteReply(m.From, VoteReply{Campaign: r.Campaign})
		}
		return
	}
	if n.hard.Vote == Nobody {
		n.hard.Vote = m.From
		n.hardDirty = true
		n.join()
	}
	if n.role != Follower {
		n.setRole(Follower, Nobody)
	}
	n.resetElection()
	n.promises.voteTo = m.From
	n.promises.vote = VoteReply{Granted: true, Campaign: r.Campaign}
	n.keepPromises()
}

func (n *Node) preVoteReply(m *Message, r *VoteReply) {
	if n.role == PreCandidate && r.Campaign == n.campaign.number {
		n.count(m.From, r.Granted)
	}
}

func (n *Node) voteReply(m *Message, r *VoteReply) {
	if n.role == Candidate && !r.Pre && r.Campaign == n.campaign.number {
		n.count(m.From, r.Granted)
	}
}

func (n *Node) count(from NodeID, yes bool) {
	if !n.members.current().Votes(from) {
		return
	}
	b := refused
	if yes {
		b = granted
	}
	n.campaign.note(from, b)
	n.tally()
}

// tally acts when the votes decide.
func (n *Node) tally() {
	won, lost := electionResult(n.members.current(), n.campaign.ballot)
	switch {
	case won && n.role == PreCandidate && n.mayCampaign():
		n.becomeCandidate()
	case n.role == PreCandidate && !n.mayCampaign():
		n.setRole(Follower, Nobody) // it has learnt meanwhile that it is no voter
	case won:
		n.becomeLeader()
	case lost:
		n.setRole(Follower, Nobody) // until the next timeout
	}
}
