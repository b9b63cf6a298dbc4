package raftcore_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// Leadership transfer (thesis §3.10), and elections by priority, by hand and on
// demand.

// gave demands that the member has given exactly these replies since the last
// time, and forgets what else it wanted.
func (n *stage) gave(want ...string) {
	n.t.Helper()
	got := slices.DeleteFunc(slices.Clone(n.said), func(s string) bool { return !strings.HasPrefix(s, "Reply ") })
	if !slices.Equal(got, want) {
		n.t.Fatalf("node %d replies\n\t%s\nand should reply\n\t%s", n.id, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	n.said = nil
}

// urged returns how often a peer was told to campaign.
func (n *stage) urged(peer NodeID) int {
	count := 0
	for i := range n.mail {
		if _, ok := n.mail[i].Body.(*TimeoutNow); ok && n.mail[i].To == peer {
			count++
		}
	}
	return count
}

// asked returns the newest AppendRequest to a peer, whatever else was sent since.
func (n *stage) asked(peer NodeID) *AppendRequest {
	n.t.Helper()
	for i := len(n.mail) - 1; i >= 0; i-- {
		if r, ok := n.mail[i].Body.(*AppendRequest); ok && n.mail[i].To == peer {
			return r
		}
	}
	n.t.Fatalf("node %d has asked nothing of %d", n.id, peer)
	return nil
}

// keeps lets time pass, while peers echo every heartbeat with a log that ends
// in match.
func (n *stage) keeps(d time.Duration, match Index, peers ...NodeID) {
	n.t.Helper()
	for ; d > 0; d -= heartbeatInterval {
		n.waits(min(d, heartbeatInterval))
		for _, p := range peers {
			n.hears(p, n.state.Term, &AppendReply{Match: match, Round: n.asked(p).Round})
		}
	}
}

// followed starts a member that follows node 2 in term 1, with a log of two
// entries, both committed and known to be the leader's.
func followed(t testing.TB, g given) *stage {
	t.Helper()
	g.Log, g.Term = terms(1, 1), 1
	n := start(t, g)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
	n.steps(Applied{Index: n.applied})
	n.ignore()
	return n
}

// --- L1: a transfer has a deadline, and nothing is written meanwhile ---

func TestL1_ATransferThatIsNotOverInTimeIsCalledOffAndWritesGoOn(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 1})
	n.saves()
	n.steps(Transfer{Tag: 2, To: 2})
	n.keeps(electionTimeout-1, 1, 2, 3)
	n.gave()
	n.steps(Propose{Tag: 3})
	n.gave("Reply tag=3 transferring leader=1")
	if n.state.HandingTo != 2 {
		t.Errorf("the status has it hand over to %d", n.state.HandingTo)
	}
	n.waits(1)
	n.gave("Reply tag=2 timed out leader=1")
	if n.state.HandingTo != Nobody {
		t.Errorf("it was called off, and the status has it hand over to %d", n.state.HandingTo)
	}
	last := n.state.Last
	n.steps(Propose{Tag: 4})
	n.gave()
	if n.is(Leader, 1); n.state.Last != last+1 {
		t.Errorf("%v; it should accept proposals again", n.node)
	}
}

func TestL1_ATransferAwakensTheLeaderAtItsDeadline(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.steps(Transfer{Tag: 1, To: 2})
	deadline := n.now.Add(electionTimeout)
	for n.out.Deadline < deadline {
		n.timesOut()
		n.hears(3, 1, &AppendReply{Match: 1, Round: n.asked(3).Round})
		n.hears(2, 1, &AppendReply{Match: 1, Round: n.asked(2).Round})
	}
	if n.out.Deadline != deadline {
		t.Errorf("the next tick is wanted %v after the deadline", n.out.Deadline.Sub(deadline))
	}
}

func TestL1_AnOrderThatWasGivenMayStillBeFollowedAfterTheDeadline(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.keeps(electionTimeout, 1, 2, 3)
	n.gave("Reply tag=1 timed out (may have happened) leader=1")
	if n.urged(2) < 2 {
		t.Error("the order may have been lost, and was not repeated")
	}
}

func TestL1_AGroupWhoseTargetIsDeadWritesOn(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.stops(3)
	g.step(g.member(1), Transfer{Tag: 1000, To: 3})
	g.passes(2 * electionTimeout)
	if got, ok := g.member(1).replies[1000]; !ok || got != TimedOut {
		t.Errorf("the transfer: %v, %v", got, ok)
	}
	tag := g.proposes(1, "x")
	g.settle()
	if g.member(1).done[tag] == 0 {
		t.Errorf("%v; the proposal did not come out", g.member(1).node)
	}
}

func TestL1_NothingIsAddedToTheLogWhileTheOfficeIsHandedOver(t *testing.T) {
	n := lead(t, given{Learners: voters(4)})
	n.steps(Transfer{Tag: 1, To: 2})
	last := n.state.Last
	n.ignore()
	n.steps(
		Propose{Tag: 2},
		ChangeConfig{Tag: 3, Conf: ConfState{Voters: voters(1, 3), Learners: voters(2, 4)}},
		Transfer{Tag: 4, To: 3},
	)
	n.gave("Reply tag=2 transferring leader=1", "Reply tag=3 transferring leader=1", "Reply tag=4 transferring leader=1")
	if n.state.Last != last {
		t.Errorf("%v; nothing should have been appended", n.node)
	}
}

// --- L2: a target that cannot lead ---

func TestL2_OnlyAVoterCanBeTheTarget(t *testing.T) {
	for name, to := range map[string]NodeID{"a learner": 4, "a stranger": 9} {
		n := lead(t, given{Learners: voters(4)})
		n.steps(Transfer{Tag: 1, To: to})
		n.gave("Reply tag=1 not a voter leader=1")
		n.steps(Propose{Tag: 2})
		if n.gave(); n.urged(to) > 0 {
			t.Errorf("%s was told to campaign", name)
		}
	}
	n := lead(t, given{Voters: voters(1), Learners: voters(2)})
	n.steps(Transfer{Tag: 1})
	n.gave("Reply tag=1 not a voter leader=1") // there is nobody to choose
}

func TestL2_ATargetThatIsBehindIsNotTold(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.acknowledged(3, 2) // committed without the target
	n.steps(Transfer{Tag: 1, To: 2})
	n.keeps(electionTimeout, 1, 2, 3)
	n.gave("Reply tag=1 timed out leader=1")
	if n.urged(2) > 0 {
		t.Error("it was told to campaign with a log that cannot win")
	}
}

func TestL2_ATransferWaitsForAChangeOfTheMembersAndAChangeForATransfer(t *testing.T) {
	n := lead(t, given{Learners: voters(4)})
	n.steps(ChangeConfig{Conf: ConfState{Voters: voters(1, 3), Learners: voters(2, 4)}})
	n.steps(Transfer{Tag: 1, To: 2})
	n.gave("Reply tag=1 a change is in progress leader=1")

	n = lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2}, ChangeConfig{Tag: 2, Conf: ConfState{Voters: voters(1, 3), Learners: voters(2)}})
	n.gave("Reply tag=2 transferring leader=1")
	if !n.state.Conf.Votes(2) {
		t.Errorf("%v: the target was demoted", &n.state.Conf)
	}
}

// --- L3: no pre-vote and no stickiness ---

func TestL3_TheTargetOfATransferCampaignsAtOnceThoughTheLeaderLives(t *testing.T) {
	n := followed(t, given{})
	n.hears(2, 1, &TimeoutNow{})
	n.wants("Save #1 term=2 vote=1") // no pre-vote
	n.is(Candidate, 2)
	n.saves()
	n.wants("1->2 term=2 VoteRequest last=1/2 transfer", "1->3 term=2 VoteRequest last=1/2 transfer")
}

func TestL3_AVoterThatSeesALivingLeaderVotesForItsHeir(t *testing.T) {
	n := followed(t, given{Limits: func(c *Config) { c.LeaseReads = true }})
	n.hears(3, 2, &VoteRequest{Last: id(1, 2)})
	n.wantsNothing() // it is sticky
	n.hears(3, 2, &VoteRequest{Last: id(1, 2), Transfer: true})
	n.saves()
	n.wants("Save #1 term=2 vote=3", "1->3 term=2 VoteReply granted")
}

func TestL3_AnHeirMustHaveEverythingAllTheSame(t *testing.T) {
	n := followed(t, given{})
	n.hears(3, 2, &VoteRequest{Last: id(1, 1), Transfer: true})
	n.saves()
	for _, m := range n.mail {
		if r, ok := m.Body.(*VoteReply); ok && r.Granted {
			t.Errorf("it grants %v", m)
		}
	}
}

func TestL3_TheSecondTryOfAnHeirIsAnElectionLikeAnyOther(t *testing.T) {
	n := followed(t, given{})
	n.hears(2, 1, &TimeoutNow{})
	n.saves()
	n.ignore()
	n.timesOut()
	n.wants("1->2 term=2 PreVoteRequest last=1/2", "1->3 term=2 PreVoteRequest last=1/2")
}

func TestL3_AnOfficeIsHandedOverWithinOneRoundTrip(t *testing.T) {
	g := newGroup(t, 5)
	g.elects(1)
	g.proposes(1, "x")
	g.settle()
	g.step(g.member(1), Transfer{Tag: 1000, To: 4})
	g.settle() // time stands still
	if m := g.member(4); m.state.Role != Leader || m.state.Term != g.history.termOf(1)+1 {
		t.Fatalf("%v; it should lead the next term", m.node)
	}
	if got, ok := g.member(1).replies[1000]; !ok || got != Done {
		t.Errorf("the transfer: %v, %v", got, ok)
	}
	g.proposes(4, "y")
	g.settle()
	g.passes(2 * heartbeatInterval)
	g.agree()
}

// termOf returns the first term that a node led.
func (h *history) termOf(id NodeID) Term {
	first := Term(0)
	for term, leader := range h.leaders {
		if leader == id && (first == 0 || term < first) {
			first = term
		}
	}
	return first
}

// --- L4: an order that is not for this node, or not any more ---

func TestL4_AnOrderThatIsNotTheLeadersOfThisTermStartsNoElection(t *testing.T) {
	for name, order := range map[string]func(n *stage){
		"of an earlier term":               func(n *stage) { n.hears(2, 0, &TimeoutNow{}) },
		"of who does not lead":             func(n *stage) { n.hears(3, 1, &TimeoutNow{}) },
		"of a later term without a leader": func(n *stage) { n.hears(3, 9, &TimeoutNow{}) },
		"of a stranger":                    func(n *stage) { n.hears(99, 1, &TimeoutNow{}) },
		"to the life before this one": func(n *stage) {
			m := n.message(2, 1, &TimeoutNow{})
			m.ToIncarnation = lifeOf(77)
			n.steps(Receive{m})
		},
		"to who has learnt of a later term": func(n *stage) {
			n.hears(3, 5, &AppendReply{})
			n.hears(2, 1, &TimeoutNow{})
		},
		"to who follows another by now": func(n *stage) {
			n.hears(3, 5, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
			n.hears(2, 5, &TimeoutNow{})
			n.hears(2, 1, &TimeoutNow{})
		},
		"to who is not alive any more": func(n *stage) {
			n.crashes(0)
			n.hears(2, 1, &TimeoutNow{}) // it does not know yet who leads
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := followed(t, given{})
			order(n)
			if n.state.Role != Follower || n.state.Vote == 1 {
				t.Errorf("%v; it should not campaign", n.node)
			}
		})
	}
}

func TestL4_WhoCannotLeadDoesNotCampaignOnAnOrder(t *testing.T) {
	learner := followed(t, given{Voters: voters(2, 3), Learners: voters(1)})
	learner.hears(2, 1, &TimeoutNow{})
	learner.is(Follower, 1)

	newcomer := start(t, given{Pristine: true})
	newcomer.hears(2, 1, &AppendRequest{Round: 1})
	newcomer.saves()
	newcomer.hears(2, 1, &TimeoutNow{})
	newcomer.is(Follower, 1)

	l := lead(t, given{})
	l.hears(2, 1, &TimeoutNow{})
	l.is(Leader, 1)
}

func TestL4_AnOrderComesTwiceAndStartsOneElection(t *testing.T) {
	n := followed(t, given{})
	n.hears(2, 1, &TimeoutNow{})
	n.hears(2, 1, &TimeoutNow{})
	n.saves()
	n.hears(2, 1, &TimeoutNow{})
	n.is(Candidate, 2)
}

// --- L5: the target is judged by its disk ---

func TestL5_TheTargetIsToldWhenItsDiskHasEverything(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.steps(Transfer{Tag: 1, To: 2})
	n.hears(2, 1, &AppendReply{Match: 1, Round: n.asked(2).Round}) // it was sent everything
	n.waits(heartbeatInterval)
	n.acknowledged(3, 2) // somebody else has it
	n.hasCommitted(2)
	if n.urged(2) > 0 {
		t.Fatal("it was told before it has everything")
	}
	n.hears(2, 1, &AppendReply{Match: 2, Round: n.asked(2).Round})
	if n.urged(2) != 1 {
		t.Errorf("it was told %d times", n.urged(2))
	}
}

func TestL5_ATargetWithASlowDiskCampaignsWhenTheDiskHasSpoken(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.member(2).stalled = true
	tag := g.proposes(1, "x")
	g.settle()
	g.step(g.member(1), Transfer{Tag: 1000, To: 2})
	g.passes(electionTimeout / 2)
	if m := g.member(1); m.state.Role != Leader || m.done[tag] == 0 {
		t.Fatalf("%v; it should lead until the target is ready", m.node)
	}
	g.member(2).stalled = false
	g.passes(2 * heartbeatInterval)
	if m := g.member(2); m.state.Role != Leader {
		t.Errorf("%v; it should lead", m.node)
	}
	if got, ok := g.member(1).replies[1000]; !ok || got != Done {
		t.Errorf("the transfer: %v, %v", got, ok)
	}
}

// --- L6: priorities do not fight ---

// ranked returns givens with these priorities.
func ranked(priorities ...int) []given {
	var all []given
	for _, p := range priorities {
		all = append(all, given{Limits: func(c *Config) { c.Priority = p }})
	}
	return all
}

func TestL6_AHealthyLeaderStaysHoweverLowItsPriority(t *testing.T) {
	g := assemble(t, ranked(0, 9, 9)...)
	g.elects(2)
	g.step(g.member(2), Transfer{To: 1})
	g.settle()
	g.step(g.member(2), Campaign{})
	g.step(g.member(3), Campaign{})
	g.passes(20 * electionTimeout)
	if m := g.member(1); m.state.Role != Leader || m.state.Term != 2 {
		t.Errorf("%v; it should still lead in its first term", m.node)
	}
}

func TestL6_AnOfficeIsHandedDownToALowerPriorityAndStaysThere(t *testing.T) {
	g := assemble(t, ranked(9, 0, 5)...)
	g.elects(1)
	g.step(g.member(1), Transfer{Tag: 1000, To: 2})
	g.settle()
	g.passes(20 * electionTimeout)
	if m := g.member(2); m.state.Role != Leader || m.state.Term != g.history.termOf(1)+1 {
		t.Errorf("%v; it should lead since it was asked to", m.node)
	}
}

// --- L8: every group speaks for itself ---

func TestL8_AHeartbeatIsEchoedByWhomItIsForAndByNobodyElse(t *testing.T) {
	n := followed(t, given{})
	deadline := n.out.Deadline
	n.waits(heartbeatInterval)
	for name, m := range map[string]Message{
		"to another node":   {From: 2, To: 3, Term: 1, Cluster: cluster},
		"of another group":  {From: 2, To: 1, Term: 1, Cluster: cluster + 1},
		"of an earlier one": {From: 2, To: 1, Term: 0, Cluster: cluster},
	} {
		m.Body = &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2}
		n.steps(Receive{m})
		for _, line := range n.said {
			if strings.Contains(line, "round=2") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if n.out.Deadline != deadline {
			t.Errorf("%s: it is a sign of life of a leader", name)
		}
		n.ignore()
	}
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2})
	n.wants("1->2 term=1 AppendReply match=2 round=2")
}

// The hosts live and their connections stand; only the group's own nodes are
// dead.
func TestL8_ALeaderWhosePeersAreDeadStepsDown(t *testing.T) {
	n := lead(t, given{})
	began := n.now
	for n.state.Role == Leader && n.now < began.Add(2*electionTimeout) {
		n.waits(heartbeatInterval)
		for _, peer := range []NodeID{2, 3} {
			round := n.asked(peer).Round
			n.steps(
				Receive{Message{From: peer, To: 9, Term: 1, Cluster: cluster, Body: &AppendReply{Match: 1, Round: round}}},
				Receive{Message{From: peer, To: 1, Term: 1, Cluster: cluster + 1, Body: &AppendReply{Match: 1, Round: round}}},
			)
			n.hears(peer+10, 1, &AppendReply{Match: 1, Round: round})
		}
	}
	if n.is(Follower, 1); n.now > began.Add(electionTimeout+heartbeatInterval) {
		t.Errorf("it led on for %v", n.now.Sub(began))
	}
}

// --- how a transfer ends ---

func TestATransferIsDoneWhenTheTargetLeads(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.wants("1->2 term=1 TimeoutNow")
	n.hears(2, 2, &VoteRequest{Last: id(1, 1), Transfer: true})
	n.saves()
	n.gave() // nobody knows yet
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1})
	n.gave("Reply tag=1 done leader=2")
}

func TestATransferThatEndsWithAnotherLeaderSaysSo(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.steps(Transfer{Tag: 1, To: 2}) // it lacks an entry
	n.ignore()
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1})
	n.gave("Reply tag=1 leadership lost leader=3")
}

// The target may have led in between, and lost the office to another.
func TestATransferMayHaveHappenedIfTheTargetWasToldAndAnotherLeadsInTheEnd(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.ignore()
	n.hears(3, 3, &AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1})
	n.gave("Reply tag=1 leadership lost (may have happened) leader=3")
}

func TestALeaderThatIsReelectedIsNotHandingOverAnyMore(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.hears(3, 5, &AppendReply{}) // it hears of a later term
	n.is(Follower, 5)
	n.ignore()
	n.steps(Campaign{})
	n.elected()
	n.is(Leader, 6)
	n.gave("Reply tag=1 leadership lost (may have happened) leader=1")
	n.steps(Propose{Tag: 2})
	n.gave()
}

func TestATransferIsCalledOffByRequest(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.steps(Transfer{Tag: 1, To: 2})
	n.ignore()
	n.steps(Transfer{Tag: 2, To: 1})
	n.gave("Reply tag=1 called off leader=1", "Reply tag=2 done leader=1")
	n.steps(Propose{Tag: 3})
	n.acknowledged(2, n.state.Last)
	n.gave()
	if n.urged(2) > 0 {
		t.Error("the target was told to campaign all the same")
	}
	n.steps(Transfer{Tag: 4, To: 1}) // there is none to call off
	n.gave("Reply tag=4 done leader=1")
}

func TestATransferThatIsCalledOffMayHaveHappenedIfTheTargetWasTold(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.steps(Transfer{Tag: 2, To: 1})
	n.gave("Reply tag=1 called off (may have happened) leader=1", "Reply tag=2 done leader=1")
}

func TestATransferMayBeAskedForTwice(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.steps(Transfer{Tag: 2, To: 2})
	n.steps(Transfer{Tag: 3}) // whoever it is
	n.gave()
	if n.urged(2) != 1 {
		t.Errorf("it was told %d times", n.urged(2))
	}
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1})
	n.gave("Reply tag=1 done leader=2", "Reply tag=2 done leader=2", "Reply tag=3 done leader=2")
}

func TestTheLeaderChoosesWhoIsFurthest(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5), Learners: voters(6)})
	n.steps(Propose{}, Propose{}, Propose{})
	n.saves()
	for peer, match := range map[NodeID]Index{2: 2, 3: 1, 4: 3, 5: 1, 6: 4} {
		n.acknowledged(peer, match)
	}
	n.steps(Transfer{Tag: 1})
	n.acknowledged(4, 4)
	if n.urged(4) != 1 || n.urged(2)+n.urged(3)+n.urged(5)+n.urged(6) > 0 {
		t.Errorf("2, 3, 4, 5 and 6 were told %d, %d, %d, %d and %d times", n.urged(2), n.urged(3), n.urged(4), n.urged(5), n.urged(6))
	}
}

func TestTheLeaderDoesNotChooseWhoIsSilent(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.acknowledged(2, 2)
	n.keeps(electionTimeout, 1, 3)
	n.steps(Transfer{Tag: 1})
	n.hears(3, 1, &AppendReply{Match: 2, Round: n.asked(3).Round})
	if n.urged(3) != 1 || n.urged(2) > 0 {
		t.Errorf("2 and 3 were told %d and %d times", n.urged(2), n.urged(3))
	}
}

func TestOnlyALeaderHandsOver(t *testing.T) {
	n := followed(t, given{})
	n.steps(Transfer{Tag: 1, To: 3}, Transfer{Tag: 2}, Transfer{Tag: 3, To: 1})
	n.gave("Reply tag=1 not leader leader=2", "Reply tag=2 not leader leader=2", "Reply tag=3 not leader leader=2")
}

// --- priorities ---

// A pre-vote is asked of a voter with priority 5 that has lost its leader.
func TestAVoterDefersToItselfOnlyIfItsPriorityIsHigherAndItsLogAsGood(t *testing.T) {
	for name, c := range map[string]struct {
		priority int
		last     EntryID
		granted  bool
	}{
		"a lower priority, an equal log":  {4, id(1, 2), false},
		"a lower priority, a better log":  {4, id(1, 3), true},
		"a lower priority, a later term":  {4, id(2, 1), true},
		"an equal priority, an equal log": {5, id(1, 2), true},
		"a higher priority":               {6, id(1, 2), true},
		"a higher priority, a worse log":  {6, id(1, 1), false},
	} {
		n := followed(t, given{Limits: func(c *Config) { c.Priority = 5 }})
		n.waits(electionTimeout)
		n.mail = nil
		n.hears(3, 2, &VoteRequest{Pre: true, Priority: c.priority, Last: c.last, Campaign: 1})
		if r, ok := n.sentTo(3).Body.(*VoteReply); !ok || r.Granted != c.granted {
			t.Errorf("%s: %v", name, n.sentTo(3))
		}
	}
}

func TestAPriorityIsDeferredToForAFewElectionTimeouts(t *testing.T) {
	n := followed(t, given{Limits: func(c *Config) { c.Priority = 5 }})
	began := n.now
	for {
		n.waits(heartbeatInterval)
		n.mail = nil
		n.hears(3, n.state.Term, &VoteRequest{Pre: true, Last: id(1, 2), Campaign: 1})
		if r := n.sentTo(3).Body.(*VoteReply); r.Granted {
			break
		}
		if n.now > began.Add(20*electionTimeout) {
			t.Fatal("it waits for ever")
		}
	}
	if waited := n.now.Sub(began); waited < 2*electionTimeout || waited > 6*electionTimeout {
		t.Errorf("it deferred to itself for %v", waited)
	}
}

func TestWhoCannotLeadClaimsNoPriority(t *testing.T) {
	n := followed(t, given{Voters: voters(2, 3), Learners: voters(1), Limits: func(c *Config) { c.Priority = 5 }})
	n.waits(electionTimeout)
	n.hears(3, 1, &VoteRequest{Pre: true, Last: id(1, 2), Campaign: 1})
	if r, ok := n.sentTo(3).Body.(*VoteReply); !ok || !r.Granted {
		t.Errorf("%v", n.sentTo(3))
	}
}

func TestTheMemberWithTheHighestPriorityLeadsAfterTheLeadersDeath(t *testing.T) {
	g := assemble(t, ranked(5, 0, 9)...)
	g.elects(3)
	g.proposes(3, "x")
	g.settle()
	g.stops(3)
	g.loseSight()
	g.timesOut(2) // it is the first to notice
	g.settle()
	if m := g.member(2); m.state.Role == Leader {
		t.Fatalf("%v; it should have waited for 1", m.node)
	}
	g.passes(2 * electionTimeout)
	if m := g.member(1); m.state.Role != Leader {
		t.Errorf("%v; it should lead", m.node)
	}
}

func TestAPriorityWithAWorseLogIsNotWaitedFor(t *testing.T) {
	g := assemble(t, ranked(5, 0, 9)...)
	g.elects(3)
	g.isolate(1)
	g.proposes(3, "x")
	g.settle()
	g.connected()
	g.stops(3)
	g.elects(2)
}

func TestAPriorityThatDoesNotComeForwardIsNotWaitedForForEver(t *testing.T) {
	g := assemble(t, ranked(5, 0, 9)...)
	g.elects(3)
	g.settle()
	g.stops(3)
	// What 1 asks is lost, what it answers is not.
	g.filter(func(m *Message) fate {
		if r, ok := m.Body.(*VoteRequest); ok && r != nil && m.From == 1 {
			return drop
		}
		return pass
	})
	g.passes(10 * electionTimeout)
	if m := g.member(2); m.state.Role != Leader {
		t.Errorf("%v; it should lead by now", m.node)
	}
}

// --- by hand and on demand ---

func TestACampaignByHandAsksAtOnceWhenNobodyLeads(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.steps(Campaign{})
	n.wants("1->2 term=1 PreVoteRequest last=1/1", "1->3 term=1 PreVoteRequest last=1/1")
	n.is(PreCandidate, 1)
}

func TestACampaignByHandDeposesNobody(t *testing.T) {
	n := followed(t, given{})
	n.steps(Campaign{})
	n.waits(electionTimeout - 1)
	n.steps(Campaign{})
	n.wantsNothing()
	n.waits(1) // nothing has been heard for an election timeout
	n.steps(Campaign{})
	n.wants("1->2 term=1 PreVoteRequest last=1/2", "1->3 term=1 PreVoteRequest last=1/2")

	l := lead(t, given{})
	l.steps(Campaign{})
	l.wantsNothing()
	l.is(Leader, 1)

	g := newGroup(t, 3)
	g.elects(1)
	g.step(g.member(2), Campaign{})
	g.settle()
	if m := g.member(1); m.state.Role != Leader || m.state.Term != 1 {
		t.Errorf("%v; it should lead on", m.node)
	}
}

func TestACampaignByHandIsForVoters(t *testing.T) {
	for name, g := range map[string]given{
		"a learner":   {Voters: voters(2, 3), Learners: voters(1)},
		"a stranger":  {Voters: voters(2, 3)},
		"a pristine ": {Pristine: true},
	} {
		n := start(t, g)
		n.steps(Campaign{})
		if n.is(Follower, 0); len(n.said) > 0 {
			t.Errorf("%s: %v", name, n.said)
		}
	}
}

// A candidacy that waits for the disk is the answer to the second request, too.
func TestACampaignByHandDoesNotRaiseTheTermWhileTheDiskIsSlow(t *testing.T) {
	n := start(t, given{})
	n.steps(Campaign{})
	n.granted(2)
	n.is(Candidate, 1)
	n.steps(Campaign{})
	n.refused(2, 3)
	n.steps(Campaign{})
	n.is(Candidate, 1)
}

func TestNobodyCampaignsOnDemandUnlessToldTo(t *testing.T) {
	n := start(t, given{})
	n.steps(Propose{Tag: 1}, Read{Tag: 2})
	n.wants("Reply tag=1 not leader", "Reply tag=2 not leader")
}

func TestACampaignOnDemandHappensOnceInAnElectionTimeout(t *testing.T) {
	for name, demand := range map[string]Input{"a proposal": Propose{Tag: 1}, "a read": Read{Tag: 1}} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Limits: func(c *Config) { c.CampaignOnDemand = true }})
			n.steps(demand)
			n.wants("1->2 term=0 PreVoteRequest last=0/0", "1->3 term=0 PreVoteRequest last=0/0", "Reply tag=1 not leader")
			n.refused(2, 3)
			n.is(Follower, 0)
			n.ignore()
			for range 9 {
				n.waits(electionTimeout/10 - 1)
				n.steps(demand)
				n.wants("Reply tag=1 not leader")
			}
			n.waits(electionTimeout/10 + 9)
			n.steps(demand)
			n.wants("1->2 term=0 PreVoteRequest last=0/0", "1->3 term=0 PreVoteRequest last=0/0", "Reply tag=1 not leader")
		})
	}
}

func TestADemandThatFindsALeaderStartsNoElection(t *testing.T) {
	n := followed(t, given{Limits: func(c *Config) { c.CampaignOnDemand = true }})
	n.steps(Propose{Tag: 1})
	n.wants("Reply tag=1 not leader leader=2")
	n.steps(Read{Tag: 2})
	if _, ok := n.sentTo(2).Body.(*ReadRequest); !ok || len(n.said) != 1 {
		t.Errorf("%v", n.said)
	}
	n.is(Follower, 1)
}
