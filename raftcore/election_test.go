package raftcore_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// lastEntries are all the relations that the last entries of two logs can be
// in, and whether the candidate's is at least as up to date (Raft §5.4.1).
var lastEntries = []struct {
	name    string
	voter   []Term  // the voter's log
	last    EntryID // the candidate's last entry
	granted bool
}{
	{"both logs are empty", nil, id(0, 0), true},
	{"the candidate's log is empty", terms(1), id(0, 0), false},
	{"the voter's log is empty", nil, id(1, 1), true},
	{"the last entries are the same", terms(1, 1, 2), id(2, 3), true},
	{"same term, the candidate's log is longer", terms(1, 1), id(1, 3), true},
	{"same term, the candidate's log is shorter", terms(1, 1, 1), id(1, 2), false},
	{"later term, longer", terms(1), id(2, 2), true},
	{"later term, as long", terms(1, 1), id(2, 2), true},
	{"later term, shorter", terms(1, 1, 1), id(2, 1), true},
	{"earlier term, longer", terms(1, 2), id(1, 9), false},
	{"earlier term, as long", terms(1, 2), id(1, 2), false},
	{"earlier term, shorter", terms(1, 2), id(1, 1), false},
}

func TestE1_AVoteComparesTermsFirstAndThenIndexes(t *testing.T) {
	for _, c := range lastEntries {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, given{Log: c.voter, Term: 5})
			n.hears(2, 6, &VoteRequest{Last: c.last, Campaign: 1})
			if c.granted {
				n.wants("Save #1 term=6 vote=2")
				n.saves()
				n.wants("1->2 term=6 VoteReply granted")
			} else {
				n.wants("Save #1 term=6")
				n.hears(2, 6, &VoteRequest{Last: c.last, Campaign: 1})
				n.wantsNothing() // a refusal names the term, too
				n.saves()
				n.hears(2, 6, &VoteRequest{Last: c.last, Campaign: 1})
				n.wants("1->2 term=6 VoteReply refused")
			}
		})
	}
}

func TestE1_APreVoteIsGivenLikeAVote(t *testing.T) {
	for _, c := range lastEntries {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, given{Log: c.voter, Term: 5})
			n.hears(2, 5, &VoteRequest{Pre: true, Last: c.last, Campaign: 1})
			if c.granted {
				n.wants("1->2 term=5 PreVoteReply granted")
			} else {
				n.wants("1->2 term=5 PreVoteReply refused")
			}
		})
	}
}

// A vector comparison (both the term and the index must be at least as great)
// would leave these three without a leader: each log is "less" than another.
func TestE2_ALaterTermWinsAgainstALongerLog(t *testing.T) {
	g := assemble(t,
		given{Log: terms(1, 1, 1, 1, 1), Term: 2},
		given{Log: terms(1, 1, 2), Term: 2},
		given{Log: terms(1, 1, 1, 1), Term: 2},
	)
	g.elects(2)
	g.settle()
	g.agree()
}

func TestE4_AVoteLeavesOnlyWhenItIsDurable(t *testing.T) {
	n := start(t, given{})
	n.hears(2, 5, &VoteRequest{})
	n.wants("Save #1 term=5 vote=2")
	n.waits(time.Millisecond)
	n.wantsNothing()
	n.saves()
	n.wants("1->2 term=5 VoteReply granted")
}

func TestE4_AVoteInATermThatIsDurableIsSavedAllTheSame(t *testing.T) {
	n := start(t, given{Term: 5})
	n.hears(2, 5, &VoteRequest{})
	n.wants("Save #1 term=5 vote=2")
	n.saves()
	n.wants("1->2 term=5 VoteReply granted")
}

func TestE4_AVoteThatTheDiskLostWasNeverGiven(t *testing.T) {
	n := start(t, given{})
	n.hears(2, 5, &VoteRequest{})
	n.wants("Save #1 term=5 vote=2") // and nothing to node 2
	n.crashes(0)
	n.is(Follower, 0)
	n.hears(3, 5, &VoteRequest{})
	n.wants("Save #1 term=5 vote=3")
	n.saves()
	n.wants("1->3 term=5 VoteReply granted")
}

func TestE4_AVoteThatTheDiskKeptIsNotGivenTwice(t *testing.T) {
	n := start(t, given{})
	n.hears(2, 5, &VoteRequest{})
	n.crashes(1)
	n.is(Follower, 5)
	n.hears(3, 5, &VoteRequest{})
	n.wants("1->3 term=5 VoteReply refused")
	n.hears(2, 5, &VoteRequest{})
	n.wants("1->2 term=5 VoteReply granted") // once more, to whom it was given
}

func TestE4_ACandidateAsksForVotesOnlyWhenItsOwnIsDurable(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.timesOut()
	n.wants("1->2 term=1 PreVoteRequest last=1/1", "1->3 term=1 PreVoteRequest last=1/1")
	n.granted(2)
	n.wants("Save #1 term=2 vote=1")
	n.saves()
	n.wants("1->2 term=2 VoteRequest last=1/1", "1->3 term=2 VoteRequest last=1/1")
}

// A candidate that is asked for its vote before its own is on the disk has
// voted all the same.
func TestE4_ACandidateHasVotedEvenBeforeItsVoteIsDurable(t *testing.T) {
	n := start(t, given{})
	n.timesOut()
	n.granted(2)
	n.ignore()
	n.hears(3, 1, &VoteRequest{Last: id(1, 9)})
	n.wantsNothing()
	n.is(Candidate, 1)
}

// Whatever a node becomes within a term, its vote in that term stays where it is.
func TestE5_AVoteIsKeptWhileTheTermLasts(t *testing.T) {
	for name, live := range map[string]func(n *stage){
		"it heard from a leader": func(n *stage) {
			n.hears(2, n.state.Term, &AppendRequest{Round: 1})
		},
		"it lost sight of its leader": func(n *stage) {
			n.hears(2, n.state.Term, &AppendRequest{Round: 1})
			n.timesOut()
		},
		"it asked for pre-votes": func(n *stage) {
			n.timesOut()
		},
		"it was refused pre-votes": func(n *stage) {
			n.timesOut()
			n.refused(2, 3)
		},
		"it heard messages of earlier terms": func(n *stage) {
			n.hears(3, 1, &AppendRequest{Round: 1})
			n.hears(3, 1, &VoteRequest{})
		},
		"it restarted": func(n *stage) { n.crashes(0) },
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Term: 5, Vote: 2})
			live(n)
			n.ignore()
			n.hears(3, 5, &VoteRequest{Last: id(5, 100)})
			n.wants("1->3 term=5 VoteReply refused")
			if n.state.Vote != 2 {
				t.Errorf("%v; it voted for 2", n.node)
			}
		})
	}
}

func TestE5_ALeaderThatStepsDownHasVotedForItself(t *testing.T) {
	n := lead(t, given{})
	n.waits(electionTimeout)
	n.is(Follower, 1)
	n.ignore()
	n.hears(3, 1, &VoteRequest{Last: id(1, 100)})
	n.wants("1->3 term=1 VoteReply refused")
}

func TestE5_ACandidateThatYieldsHasVotedForItself(t *testing.T) {
	n := start(t, given{})
	n.timesOut()
	n.granted(2)
	n.saves()
	n.hears(2, 1, &AppendRequest{Round: 1})
	n.is(Follower, 1)
	n.ignore()
	n.hears(3, 1, &VoteRequest{Last: id(1, 100)})
	n.wants("1->3 term=1 VoteReply refused")
}

func TestE6_NoMessageLowersTheTerm(t *testing.T) {
	for _, body := range []Body{
		&VoteRequest{Last: id(9, 9)}, &VoteRequest{Pre: true, Last: id(9, 9)}, &VoteReply{Granted: true}, &VoteReply{Pre: true},
		&AppendRequest{Round: 1}, &AppendReply{Match: 1, Round: 1}, &AppendReply{Rejected: true},
	} {
		n := start(t, given{Term: 5, Vote: 3})
		for term := range Term(5) {
			n.hears(2, term, body)
		}
		n.is(Follower, 5)
		if n.state.Vote != 3 {
			t.Errorf("%v took the vote back: %v", body, n.node)
		}
		if len(n.disk.pending) > 0 {
			t.Errorf("%v wrote to the disk: %v", body, n.disk.pending)
		}
	}
}

func TestE6_ARestartKeepsTermAndVote(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 2)})
	n.hears(2, 7, &VoteRequest{Last: id(2, 3)})
	n.saves()
	n.crashes(0)
	n.is(Follower, 7)
	if n.state.Vote != 2 || n.state.Last != 3 {
		t.Errorf("%v; it voted for 2", n.node)
	}
}

func TestE7_AVoteCountsOnceHoweverOftenItArrives(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.timesOut()
	for range 5 {
		n.granted(2)
	}
	n.is(PreCandidate, 0)
	n.granted(3)
	n.saves()
	for range 5 {
		n.granted(2)
	}
	n.is(Candidate, 1)
	n.granted(3)
	n.is(Leader, 1)
}

func TestE7_ARefusalCountsOnceToo(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.timesOut()
	for range 5 {
		n.refused(2)
	}
	n.granted(3, 4)
	n.is(Candidate, 1)
}

func TestE7_VotesOfNonVotersDoNotCount(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3), Learners: voters(4)})
	n.timesOut()
	campaign := n.sentTo(2).Body.(*VoteRequest).Campaign
	for _, stranger := range voters(4, 5, 6) {
		n.hears(stranger, 0, &VoteReply{Pre: true, Granted: true, Campaign: campaign})
	}
	n.is(PreCandidate, 0)
}

func TestE8_ACandidateYieldsToTheLeaderOfItsTerm(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.timesOut()
	n.granted(2)
	n.saves()
	n.is(Candidate, 2)
	n.ignore()
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	n.is(Follower, 2)
	n.wants(`Save #2 term=2 vote=1 [2/2 ""]`, "1->3 term=2 AppendReply match=1 round=1")
	n.saves()
	n.wants("1->3 term=2 AppendReply match=2 round=1")
	n.grantedAnyway(2, 2) // too late
	n.is(Follower, 2)
}

// grantedAnyway delivers grants of a vote in a term, whatever the campaign was.
func (n *stage) grantedAnyway(peer NodeID, term Term) {
	n.t.Helper()
	for c := range uint64(10) {
		n.hears(peer, term, &VoteReply{Granted: true, Campaign: c})
	}
}

func TestE9_WhoVotedForTheLoserFollowsTheWinner(t *testing.T) {
	n := start(t, given{})
	n.hears(2, 4, &VoteRequest{})
	n.saves()
	n.wants("Save #1 term=4 vote=2", "1->2 term=4 VoteReply granted")
	n.hears(3, 4, &AppendRequest{Entries: commands(1, 4), Commit: 0, Round: 1})
	n.wants(`Save #2 term=4 vote=2 [4/1 ""]`)
	n.saves()
	n.wants("1->3 term=4 AppendReply match=1 round=1")
	if n.state.Leader != 3 {
		t.Error(n.node)
	}
}

func TestE10_AnAnswerToAnEarlierCampaignIsNotCounted(t *testing.T) {
	n := start(t, given{})
	n.timesOut()
	late := *n.sentTo(2).Body.(*VoteRequest)
	n.timesOut()
	if now := n.sentTo(2).Body.(*VoteRequest); now.Campaign == late.Campaign {
		t.Fatal("two campaigns have the same number")
	}
	n.hears(2, 0, &VoteReply{Pre: true, Granted: true, Campaign: late.Campaign})
	n.is(PreCandidate, 0)
	n.granted(2)
	n.is(Candidate, 1)
	n.saves()
	n.hears(2, 1, &VoteReply{Granted: true, Campaign: late.Campaign})
	n.is(Candidate, 1)
}

func TestE10_PreVotesAreNotVotes(t *testing.T) {
	n := start(t, given{})
	n.timesOut()
	n.granted(2)
	n.saves()
	n.is(Candidate, 1)
	real := n.sentTo(2).Body.(*VoteRequest)
	for _, term := range []Term{0, 1} {
		n.hears(3, term, &VoteReply{Pre: true, Granted: true, Campaign: real.Campaign})
		n.hears(3, term, &VoteReply{Pre: true, Granted: true, Campaign: real.Campaign - 1})
	}
	n.is(Candidate, 1)
}

func TestE10_AnswersAfterTheVictoryChangeNothing(t *testing.T) {
	n := lead(t, given{})
	for campaign := range uint64(5) {
		n.hears(3, 0, &VoteReply{Pre: true, Granted: true, Campaign: campaign})
		n.hears(3, 1, &VoteReply{Granted: false, Campaign: campaign})
		n.hears(2, 1, &VoteReply{Granted: false, Campaign: campaign})
	}
	n.is(Leader, 1)
	n.wantsNothing()
}

// TestE11_APreVoteIsAPureQuestion asks nodes in every role, at lower, equal and
// later terms, and finds them as they were.
func TestE11_APreVoteIsAPureQuestion(t *testing.T) {
	for name, prepare := range map[string]func(n *stage){
		"a follower without a leader": func(n *stage) {},
		"a follower with a leader":    func(n *stage) { n.hears(3, 2, &AppendRequest{Round: 1}) },
		"a pre-candidate":             func(n *stage) { n.timesOut() },
		"a candidate":                 func(n *stage) { n.timesOut(); n.granted(3); n.saves() },
		"a leader":                    func(n *stage) { n.wins() },
	} {
		for term := range Term(9) {
			n := start(t, given{Log: terms(1, 2)})
			prepare(n)
			n.saves()
			n.ignore()
			before, deadline := n.node.Status(), n.out.Deadline
			for range 3 {
				n.hears(2, term, &VoteRequest{Pre: true, Last: id(term, 100), Campaign: 9})
				n.hears(2, term, &VoteRequest{Pre: true, Last: id(0, 0), Campaign: 9})
			}
			if after := n.node.Status(); !reflect.DeepEqual(before, after) || n.out.Deadline != deadline || n.out.StatusChanged {
				t.Errorf("%s was asked in term %d, and is\n\t%+v\nand was\n\t%+v", name, term, after, before)
			}
			if len(n.disk.pending) > 0 || len(n.said) != 6 {
				t.Errorf("%s was asked in term %d, and wants %v", name, term, n.said)
			}
		}
	}
}

// TestPreVoteIsGrantedToWhoWouldWin is the table of thesis §9.6.
func TestPreVoteIsGrantedToWhoWouldWin(t *testing.T) {
	for _, c := range []struct {
		name    string
		term    Term // the asker's; the voter is at 5
		last    EntryID
		leader  time.Duration // ago
		granted bool
	}{
		{"the same term, no leader", 5, id(2, 2), electionTimeout, true},
		{"a later term, no leader", 6, id(2, 2), electionTimeout, true},
		{"an earlier term", 4, id(2, 2), electionTimeout, false},
		{"a worse log", 5, id(1, 2), electionTimeout, false},
		{"a leader has just been heard", 5, id(2, 2), 0, false},
		{"a leader has been heard within the timeout", 9, id(9, 9), electionTimeout - 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, given{Log: terms(1, 2), Term: 5})
			n.hears(3, 5, &AppendRequest{Prev: id(2, 2), Round: 1})
			n.waits(c.leader)
			n.ignore()
			n.hears(2, c.term, &VoteRequest{Pre: true, Last: c.last})
			if c.granted {
				n.wants("1->2 term=5 PreVoteReply granted")
			} else {
				n.wants("1->2 term=5 PreVoteReply refused")
			}
		})
	}
}

func TestE12_WhoeverIsBehindIsToldTheTerm(t *testing.T) {
	for _, c := range []struct {
		body Body
		want []string
	}{
		{&VoteRequest{Pre: true, Last: id(9, 9)}, []string{"1->2 term=5 PreVoteReply refused"}},
		{&VoteRequest{Last: id(9, 9)}, []string{"1->2 term=5 VoteReply refused"}},
		{&AppendRequest{Prev: id(1, 1), Round: 3}, []string{"1->2 term=5 AppendReply rejected probed=1/1 hint=0/0 round=0"}},
		{&VoteReply{Granted: true}, nil},
		{&AppendReply{Match: 4, Round: 9}, nil},
	} {
		n := start(t, given{Log: terms(1, 2), Term: 5})
		n.hears(2, 4, c.body)
		n.wants(c.want...)
		n.is(Follower, 5)
	}
}

func TestE12_ATermIsTaughtOnlyWhenItIsDurable(t *testing.T) {
	n := start(t, given{})
	n.hears(3, 5, &VoteReply{})
	n.wants("Save #1 term=5")
	n.hears(2, 4, &VoteRequest{Last: id(9, 9)})
	n.hears(2, 4, &AppendRequest{Prev: id(1, 1), Round: 3})
	n.wantsNothing()
	n.saves()
	n.hears(2, 4, &VoteRequest{Last: id(9, 9)})
	n.wants("1->2 term=5 VoteReply refused")
}

func TestE12_TheNodeWithTheBestLogCatchesUpWithTheTermAndWins(t *testing.T) {
	g := assemble(t,
		given{Log: terms(1, 1, 2), Term: 2},
		given{Log: terms(1), Term: 9},
		given{Log: terms(1), Term: 9},
	)
	g.loseSight()
	g.timesOut(1)
	g.settle()
	if m := g.member(1); m.state.Role != Follower || m.state.Term != 9 {
		t.Fatalf("%v; it should have learned of term 9", m.node)
	}
	g.elects(1)
	g.agree()
}

func TestE13_APeerAtALaterTermIsReunited(t *testing.T) {
	g := assemble(t,
		given{Log: terms(1, 1), Term: 1},
		given{Log: terms(1, 1), Term: 1},
		given{Log: terms(1), Term: 30, Vote: 3},
	)
	g.isolate(3)
	g.elects(1)
	g.connected()
	g.passes(6 * electionTimeout)
	var leaders []NodeID
	for _, m := range g.members {
		if m.state.Role == Leader {
			leaders = append(leaders, m.id)
		}
		if m.state.Term < 30 || m.state.Leader == Nobody {
			t.Errorf("%v; all should follow a leader in a term after 30", m.node)
		}
	}
	if len(leaders) != 1 {
		t.Errorf("leaders: %v", leaders)
	}
	g.agree()
}

// Four voters, so three decide. The leader 1 only reaches the bridge 2, which
// keeps hearing its heartbeats. 2, 3 and 4 reach one another: they must get a
// leader, and for that 1 must stop.
func TestE14_ALeaderWithoutAQuorumLetsGoOfABridge(t *testing.T) {
	g := newGroup(t, 4)
	g.elects(1)
	g.filter(func(m *Message) fate {
		if m.From == 1 && m.To != 2 || m.To == 1 && m.From != 2 {
			return drop
		}
		return pass
	})
	g.passes(5 * electionTimeout)
	if m := g.member(1); m.state.Role == Leader {
		t.Fatalf("%v", m.node)
	}
	leader := g.member(2).state.Leader
	if leader == Nobody || leader == 1 {
		t.Fatalf("%v; it should follow 3 or 4, or lead", g.member(2).node)
	}
	tag := g.proposes(leader, "x")
	g.settle()
	if g.member(leader).done[tag] == 0 {
		t.Error("the majority makes no progress")
	}
}

// A peer that has lost its disk is not heard any more, and never was.
func TestE15_ALeaderWhoseQuorumHasLostItsDiskStepsDownAtOnce(t *testing.T) {
	n := lead(t, given{})
	for range 12 { // node 2 answers late, node 3 never
		n.timesOut()
		n.waits(30 * time.Millisecond)
		n.acknowledged(2, n.state.Last)
	}
	n.timesOut()
	n.comesAnew(2, 1)
	for range 20 { // each of its deadlines lies in the future: else its host would spin
		n.timesOut()
		if n.state.Role != Leader {
			return
		}
	}
	t.Errorf("%v", n.node)
}

func TestE15_ALeaderThatHearsNobodyStepsDown(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.filter(func(m *Message) fate {
		if m.To == 1 {
			return drop
		}
		return pass
	})
	g.passes(electionTimeout - heartbeatInterval)
	if m := g.member(1); m.state.Role != Leader {
		t.Fatalf("%v stepped down too soon", m.node)
	}
	g.passes(heartbeatInterval)
	if m := g.member(1); m.state.Role != Follower {
		t.Fatalf("%v; it has heard nobody for an election timeout", m.node)
	}
	g.passes(5 * electionTimeout)
	if a, b := g.member(2).state, g.member(3).state; a.Leader == Nobody || a.Leader == 1 || a.Leader != b.Leader {
		t.Errorf("%v, %v; one of them should lead", a, b)
	}
}

func TestE16_ALonelyNodeRaisesNoTerm(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.isolate(3)
	g.passes(20 * electionTimeout)
	if m := g.member(3); m.state.Term != 1 {
		t.Errorf("%v; nobody was there to vote", m.node)
	}
	g.connected()
	g.passes(3 * electionTimeout)
	if m := g.member(1); m.state.Role != Leader || m.state.Term != 1 {
		t.Errorf("%v; the return of node 3 should not disturb it", m.node)
	}
	if m := g.member(3); m.state.Leader != 1 {
		t.Errorf("%v; it should follow 1", m.node)
	}
}

// Stickiness (thesis §4.2.3): whoever lost sight of the leader, or was removed,
// does not depose it, be its term ever so late.
func TestE16_AStrangerDoesNotDeposeALivingLeader(t *testing.T) {
	follower := start(t, given{Term: 1})
	follower.hears(2, 1, &AppendRequest{Round: 1})
	follower.ignore()
	follower.waits(electionTimeout - 1)
	follower.hears(9, 50, &VoteRequest{Last: id(49, 1000)})
	follower.is(Follower, 1)
	follower.wantsNothing()
	follower.waits(1)
	follower.hears(9, 50, &VoteRequest{Last: id(49, 1000)})
	follower.wants("Save #1 term=50 vote=9")

	leader := lead(t, given{})
	leader.hears(9, 50, &VoteRequest{Last: id(49, 1000)})
	leader.is(Leader, 1)
	leader.wantsNothing()
}

func TestE17_ARestartedNodeCampaignsAfterAnElectionTimeout(t *testing.T) {
	for seed := range uint64(200) {
		n := start(t, given{Log: terms(1), Limits: func(c *Config) { c.Seed = seed }})
		wait := n.out.Deadline.Sub(n.now)
		if wait < electionTimeout || wait > electionTimeout*3/2 {
			t.Fatalf("seed %d: it waits %v", seed, wait)
		}
	}
}

func TestE17_TimeoutsDifferBetweenNodesAndTries(t *testing.T) {
	seen := map[time.Duration]bool{}
	for node := NodeID(1); node <= 5; node++ {
		n := start(t, given{ID: node, Voters: voters(1, 2, 3, 4, 5)})
		for range 10 {
			seen[n.out.Deadline.Sub(n.now)] = true
			n.timesOut()
		}
	}
	if len(seen) < 50 {
		t.Errorf("fifty timeouts have only %d lengths", len(seen))
	}
}

func TestE17_OnlySignsOfALeaderAndOwnVotesResetTheTimer(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   Body
		term   Term
		resets bool
	}{
		{"a heartbeat", &AppendRequest{Prev: id(1, 2), Round: 2}, 3, true},
		{"a heartbeat that does not match the log", &AppendRequest{Prev: id(3, 9), Round: 2}, 3, true},
		{"the same heartbeat again", &AppendRequest{Prev: id(1, 2), Round: 1}, 3, false},
		{"an earlier leader's heartbeat", &AppendRequest{Prev: id(1, 2), Round: 9}, 2, false},
		{"a pre-vote request", &VoteRequest{Pre: true, Last: id(9, 9)}, 3, false},
		{"a vote request that is refused", &VoteRequest{Last: id(0, 0)}, 3, false},
		{"a vote request that stickiness ignores", &VoteRequest{Last: id(9, 9)}, 9, false},
		{"an append reply", &AppendReply{Match: 1, Round: 5}, 3, false},
		{"a vote reply", &VoteReply{Granted: true, Campaign: 1}, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, given{Log: terms(1, 1), Term: 3, Vote: 2})
			n.hears(2, 3, &AppendRequest{Prev: id(1, 2), Round: 1})
			n.waits(electionTimeout / 2)
			before := n.out.Deadline
			n.hears(2, c.term, c.body)
			if got := n.out.Deadline != before; got != c.resets {
				t.Errorf("the timer was reset: %v", got)
			}
		})
	}
	n := start(t, given{})
	n.waits(electionTimeout / 2)
	before := n.out.Deadline
	n.hears(2, 3, &VoteRequest{})
	if n.out.Deadline <= before {
		t.Error("a vote that is given should reset the timer")
	}
}

func TestE18_AStallFiresOneElectionNotMany(t *testing.T) {
	n := start(t, given{})
	for i := range 50 { // fifty ticks that waited, then one Drain
		n.node.Step(Tick{Now: n.now.Add(time.Duration(i) * electionTimeout)})
	}
	n.now = n.now.Add(50 * electionTimeout)
	n.steps()
	n.wants("1->2 term=0 PreVoteRequest last=0/0", "1->3 term=0 PreVoteRequest last=0/0")
	n.steps()
	n.wantsNothing()
}

func TestE18_ATickOfThePastIsIgnored(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Round: 1})
	var out Output
	for i, past := range []time.Duration{0, time.Nanosecond, time.Minute, 59 * time.Minute} {
		n.node.Step(Tick{Now: n.now.Add(-past)})
		n.node.Step(Receive{n.message(2, 1, &AppendRequest{Round: uint64(i + 2)})})
		n.node.Drain(&out)
		if wait := out.Deadline.Sub(n.now); wait < electionTimeout {
			t.Errorf("after a tick %v ago it waits %v", past, wait)
		}
	}
}

func TestE18_AHeartbeatInTheMailboxBeatsTheTimeoutThatPassedMeanwhile(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Round: 1})
	n.now = n.now.Add(10 * electionTimeout)
	n.ignore()
	n.steps(Receive{n.message(2, 1, &AppendRequest{Round: 2})})
	n.is(Follower, 1)
	n.wants("1->2 term=1 AppendReply match=0 round=2")
}

func TestE19_ARepeatedOldHeartbeatDoesNotKeepADeadLeaderAlive(t *testing.T) {
	n := start(t, given{Term: 1})
	old := &AppendRequest{Round: 3}
	n.hears(2, 1, old)
	deadline := n.out.Deadline
	for n.now < deadline-Instant(heartbeatInterval) {
		n.waits(heartbeatInterval)
		n.hears(2, 1, old)
		n.hears(2, 1, &AppendRequest{Round: 2})
	}
	n.now = deadline
	n.steps(Receive{n.message(2, 1, old)})
	n.is(PreCandidate, 1)
}

func TestE19_ARepeatedOldReplyDoesNotKeepALeaderInOffice(t *testing.T) {
	n := lead(t, given{})
	old := &AppendReply{Match: 1, Round: n.askedOf(2).Round}
	n.hears(2, 1, old)
	for range 9 {
		n.waits(heartbeatInterval)
		n.hears(2, 1, old)
		n.is(Leader, 1)
	}
	n.waits(heartbeatInterval)
	n.is(Follower, 1)
}

func TestE20_ALeaderRefusesItsVoteToOthersOfItsTerm(t *testing.T) {
	n := lead(t, given{})
	n.hears(2, 1, &VoteRequest{Last: id(1, 100), Campaign: 1})
	n.is(Leader, 1)
	n.wants("1->2 term=1 VoteReply refused")
}

func TestE21_AStalledLeaderStepsDownTheMomentItWakes(t *testing.T) {
	n := lead(t, given{})
	n.waits(10 * electionTimeout)
	n.is(Follower, 1)
}

func TestE21_AStalledLeaderWhoseMailboxHoldsAQuorumGoesOn(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	reply := n.message(2, 1, &AppendReply{Match: 1, Round: n.askedOf(2).Round})
	n.now = n.now.Add(10 * electionTimeout)
	n.steps(Receive{reply})
	n.is(Leader, 1)
}

// --- check-quorum (thesis §6.2) ---

func TestCheckQuorumCountsTheLeaderItselfAndVotersOnly(t *testing.T) {
	for _, c := range []struct {
		name   string
		given  given
		answer []NodeID
		stays  bool
	}{
		{"one voter", given{Voters: voters(1)}, nil, true},
		{"one voter and a silent learner", given{Voters: voters(1), Learners: voters(2)}, nil, true},
		{"one of two", given{Voters: voters(1, 2)}, nil, false},
		{"two of two", given{Voters: voters(1, 2)}, voters(2), true},
		{"two of three", given{}, voters(3), true},
		{"two of four", given{Voters: voters(1, 2, 3, 4)}, voters(2), false},
		{"three of four", given{Voters: voters(1, 2, 3, 4)}, voters(2, 4), true},
		{"two of five and a learner", given{Voters: voters(1, 2, 3, 4, 5), Learners: voters(6)}, voters(2, 6), false},
		{"three of five", given{Voters: voters(1, 2, 3, 4, 5)}, voters(2, 4), true},
		{"joint: a majority of one set only", given{Voters: voters(1, 2, 3), Outgoing: voters(1, 4, 5)}, voters(2, 3), false},
		{"joint: a majority of both sets", given{Voters: voters(1, 2, 3), Outgoing: voters(1, 4, 5)}, voters(2, 5), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, c.given) // and nothing is committed, so that it does not leave a joint configuration
			n.wins()
			n.saves()
			for range 12 {
				n.waits(heartbeatInterval)
				for _, p := range c.answer {
					if n.state.Role == Leader {
						n.acknowledged(p, 0)
					}
				}
			}
			if got := n.state.Role == Leader; got != c.stays {
				t.Errorf("it leads on: %v", got)
			}
		})
	}
}

// --- elections of every size (Raft §5.2) ---

func TestE3_AMajorityElects(t *testing.T) {
	for size := 1; size <= 9; size++ {
		var all []NodeID
		for i := range size {
			all = append(all, NodeID(i+1))
		}
		needed := map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4, 8: 5, 9: 5}[size]
		for votes := 1; votes <= size; votes++ {
			n := start(t, given{Voters: all})
			n.timesOut()
			n.granted(all[1:min(needed, size)]...) // pre-votes
			n.saves()
			if n.state.Role == Candidate {
				for _, p := range all[1:votes] {
					if n.state.Role == Candidate {
						n.granted(p)
					}
				}
			}
			if got, want := n.state.Role == Leader, votes >= needed; got != want {
				t.Errorf("%d of %d votes: leads %v, should be %v", votes, size, got, want)
			}
		}
	}
}

func TestE3_AMajorityOfBothSetsElectsInAJointConfiguration(t *testing.T) {
	joint := given{Voters: voters(1, 2, 3), Outgoing: voters(1, 4, 5)}
	for _, c := range []struct {
		votes []NodeID
		wins  bool
	}{
		{voters(2), false}, {voters(4), false}, {voters(2, 3), false}, {voters(4, 5), false}, {voters(2, 4), true}, {voters(3, 5), true},
	} {
		n := start(t, joint)
		n.timesOut()
		n.granted(2, 4)
		n.saves()
		n.is(Candidate, 1)
		n.granted(c.votes...)
		if got := n.state.Role == Leader; got != c.wins {
			t.Errorf("with votes of 1 and %v: leads %v", c.votes, got)
		}
	}
}

func TestAnElectionIsGivenUpWhenItCannotBeWonAnyMore(t *testing.T) {
	for size, refusals := range map[int]int{2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4} {
		var all []NodeID
		for i := range size {
			all = append(all, NodeID(i+1))
		}
		n := start(t, given{Voters: all})
		n.timesOut()
		n.refused(all[1:refusals]...)
		n.is(PreCandidate, 0)
		n.refused(all[refusals])
		n.is(Follower, 0)
		if wait := n.out.Deadline.Sub(n.now); wait < electionTimeout || wait > 2*electionTimeout {
			t.Errorf("of %d voters %d refused; the next election is in %v", size, refusals, wait)
		}
	}
}

func TestASplitVoteIsTriedAgain(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3, 4)})
	n.timesOut()
	n.granted(2, 3)
	n.saves()
	n.granted(2)
	n.refused(3)
	n.is(Candidate, 1)
	n.timesOut()
	n.is(PreCandidate, 1)
	n.elected()
	n.is(Leader, 2)
}

func TestASingleVoterElectsItselfWhenItsDiskHasSpoken(t *testing.T) {
	n := start(t, given{Voters: voters(1)})
	n.timesOut()
	n.wants("Save #1 term=1 vote=1")
	n.is(Candidate, 1)
	n.saves()
	n.is(Leader, 1)
	n.wants("Save #2 term=1 vote=1 [1/1 noop]", "Apply [1/1 noop]")
}

func TestNodesThatDoNotVoteDoNotCampaign(t *testing.T) {
	for name, g := range map[string]given{
		"a learner":       {Voters: voters(2, 3), Learners: voters(1)},
		"not a member":    {Voters: voters(2, 3)},
		"a pristine node": {Pristine: true},
	} {
		n := start(t, g)
		if n.out.Deadline != 0 {
			t.Errorf("%s waits for a deadline", name)
		}
		n.waits(time.Hour)
		n.is(Follower, 0)
		n.wantsNothing()
	}
}

// The candidate may know of a promotion that has not reached the learner.
func TestALearnerVotesWhenItIsAsked(t *testing.T) {
	n := start(t, given{Voters: voters(2, 3), Learners: voters(1)})
	n.hears(2, 1, &VoteRequest{})
	n.saves()
	n.wants("Save #1 term=1 vote=2", "1->2 term=1 VoteReply granted")
}

func TestEveryGroupSizeElectsOneLeader(t *testing.T) {
	for size := 1; size <= 9; size++ {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			g := newGroup(t, size)
			g.passes(20 * electionTimeout)
			leaders := 0
			for _, m := range g.members {
				if m.state.Role == Leader {
					leaders++
				}
			}
			if leaders != 1 {
				t.Errorf("%d leaders", leaders)
			}
			g.agree()
		})
	}
}
