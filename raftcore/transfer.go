package raftcore

// transferring is a hand-over of the leader's office (thesis §3.10). It outlives
// the office itself: only when the next leader shows itself is it known how it
// went.
type transferring struct {
	to       NodeID // Nobody: none is under way
	tags     []Tag
	deadline Instant
	toldAt   Instant // when the target was last told to campaign
}

// active reports whether a transfer is under way.
func (t *transferring) active() bool { return t.to != Nobody }

func (n *Node) transferRequest(in Transfer) {
	t := &n.transfer
	to := in.To
	if heir := n.heir(); to == Nobody && heir != nil {
		to = heir.id
	}
	switch {
	case n.role != Leader:
		n.reply(in.Tag, NotLeader)
	case to == n.cfg.ID:
		n.endTransfer(CalledOff)
		n.reply(in.Tag, Done)
	case t.active() && t.to == to:
		t.tags = append(t.tags, in.Tag) // asked for again
	case t.active():
		n.reply(in.Tag, Transferring)
	case n.peer(to) == nil || !n.mayLead(n.peer(to)):
		n.reply(in.Tag, NotVoter)
	case n.leader.change != nil || n.members.current().Joint():
		n.reply(in.Tag, ChangeInProgress)
	default:
		n.beginTransfer(to, in.Tag)
		n.advanceTransfer()
	}
}

func (n *Node) beginTransfer(to NodeID, tags ...Tag) {
	n.transfer = transferring{to: to, tags: tags, deadline: n.now.Add(n.cfg.ElectionTimeout)}
}

// heir returns who should lead next: the transfer's target if there is one, or
// the voter that is furthest.
func (n *Node) heir() *progress {
	if n.transfer.active() {
		return n.peer(n.transfer.to)
	}
	return n.furthest()
}

// advanceTransfer tells the target to campaign once its disk has the whole log.
// Until then nothing is added to that.
func (n *Node) advanceTransfer() {
	t := &n.transfer
	if !t.active() {
		return
	}
	p := n.peer(t.to)
	switch {
	case p == nil || p.departing || !n.mayLead(p):
		n.endTransfer(CalledOff)
	case p.match == n.log.last && (t.toldAt == 0 || n.now >= t.toldAt.Add(n.cfg.HeartbeatInterval)):
		t.toldAt = n.now
		n.leader.urged = true
		n.send(t.to, &TimeoutNow{})
	}
}

// expireTransfer calls off a transfer that takes too long: the office must not be
// vacant because of it.
func (n *Node) expireTransfer() {
	if n.transfer.active() && n.now >= n.transfer.deadline {
		n.endTransfer(TimedOut)
	}
}

// transferEnded looks whether a new leader ends a transfer.
func (n *Node) transferEnded() {
	switch {
	case !n.transfer.active() || n.leaderID == Nobody:
	case n.leaderID == n.transfer.to:
		n.endTransfer(Done)
	default:
		n.endTransfer(LeadershipLost) // to somebody else, or to the same again in another term
	}
}

func (n *Node) endTransfer(outcome Outcome) {
	t := n.transfer
	n.transfer = transferring{}
	for _, tag := range t.tags {
		n.refuse(Reply{Tag: tag, Outcome: outcome, MaybeHappened: outcome != Done && t.toldAt != 0})
	}
}

// timeoutNow campaigns because the leader wants to be succeeded. There is no
// pre-vote: the leader itself says that an election is due. An order of an
// earlier term, or of who does not lead, has been refused before or means
// nothing.
func (n *Node) timeoutNow(m *Message) {
	if n.role != Follower || n.leaderID != m.From || !n.mayCampaign() || n.stalled || n.applying.restore != nil {
		n.refused++
		return
	}
	n.becomeCandidate()
	n.campaign.transfer = true
}
