package raftcore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// ReadIndex, thesis §6.4.

func TestManyReadsShareOneRound(t *testing.T) {
	n := lead(t, given{})
	var want []string
	for tag := range Tag(100) {
		n.node.Step(Read{Tag: tag + 1})
		want = append(want, fmt.Sprintf("Read tag=%d at 1", tag+1))
	}
	n.steps()
	n.wants("1->2 term=1 AppendRequest prev=1/1 commit=1 round=3", "1->3 term=1 AppendRequest prev=1/1 commit=1 round=3")
	n.accepted(3)
	n.wants(want...)
	n.accepted(2)
	n.wantsNothing()
}

func TestReadsThatComeWhileARoundIsOpenWaitForTheNext(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1})
	n.ignore()
	n.steps(Read{Tag: 2}, Read{Tag: 3})
	n.wantsNothing()
	n.accepted(2)
	n.wants("1->2 term=1 AppendRequest prev=1/1 commit=1 round=4", "1->3 term=1 AppendRequest prev=1/1 commit=1 round=4", "Read tag=1 at 1")
	n.accepted(3)
	n.wants("Read tag=2 at 1", "Read tag=3 at 1")
}

func TestAReadIsAtTheCommitIndexOfWhenItsRoundOpened(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1}, Propose{Tag: 2})
	n.saves()
	n.ignore()
	n.acknowledged(2, 2) // commits 2 and confirms the round in one
	n.wants("1->2 term=1 AppendRequest prev=1/2 commit=2 round=3", "1->3 term=1 AppendRequest prev=1/2 commit=2 round=3",
		`Apply [1/2 ""] tag=2@2`, "Read tag=1 at 1")
	n.steps(Read{Tag: 3})
	n.accepted(2)
	if got := n.out.Reads; !slices.Equal(got, []ReadReady{{Tag: 3, Index: 2}}) {
		t.Errorf("%v", got)
	}
}

// --- Q1 ---

// The leader's commit index may lag behind what its predecessor answered, until
// an entry of its own term is committed.
func TestQ1_NoReadBeforeTheFirstCommitOfTheTerm(t *testing.T) {
	n := start(t, given{Log: terms(1, 1)})
	n.wins()
	n.saves()
	n.ignore()
	n.steps(Read{Tag: 1})
	n.wantsNothing()
	n.acknowledged(2, 2)
	n.acknowledged(3, 2)
	n.ignore()
	n.waits(heartbeatInterval)
	n.acknowledged(2, 2)
	n.acknowledged(3, 2)
	if n.said = slices.DeleteFunc(n.said, func(s string) bool { return s[0] != 'R' }); len(n.said) > 0 {
		t.Fatalf("%v, and nothing of this term is committed: %v", n.said, n.node)
	}
	n.acknowledged(2, 3)
	n.hasCommitted(3)
	n.ignore()
	n.acknowledged(3, 3)
	n.wants("Read tag=1 at 3")
}

func TestQ1_ASingleVoterDoesNotReadBeforeTheFirstCommitOfItsTermEither(t *testing.T) {
	n := start(t, given{Voters: voters(1), Log: terms(1, 1)})
	n.timesOut()
	n.savesOne()
	n.is(Leader, 2)
	n.ignore()
	n.steps(Read{Tag: 1})
	n.wantsNothing()
	n.saves()
	n.wants(`Apply [1/1 "" 1/2 "" 2/3 noop]`, "Read tag=1 at 3")
}

func TestASingleVoterReadsAtOnce(t *testing.T) {
	n := lead(t, given{Voters: voters(1)})
	n.steps(Read{Tag: 1}, Propose{}, Read{Tag: 2})
	n.wants(`Save #3 term=1 vote=1 [1/2 ""]`, "Read tag=1 at 1", "Read tag=2 at 1")
}

func TestASingleVoterReadsWithoutItsLearners(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Learners: voters(2, 3)})
	n.steps(Read{Tag: 1})
	n.wants("1->2 term=1 AppendRequest prev=1/1 commit=1 round=3", "1->3 term=1 AppendRequest prev=1/1 commit=1 round=3", "Read tag=1 at 1")
}

// --- Q2, Q9 ---

func TestQ2_OnlyRepliesToThisRoundOrLaterOnesConfirm(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5), Learners: voters(6, 7, 8)})
	n.steps(Read{Tag: 1})
	round := n.askedOf(2).Round
	n.ignore()
	for _, c := range []struct {
		why  string
		from NodeID
		term Term
		body AppendReply
	}{
		{"an earlier round", 3, 1, AppendReply{Match: 1, Round: round - 1}},
		{"a voter's echo, the first of two that are needed", 2, 1, AppendReply{Match: 1, Round: round}},
		{"the same echo again", 2, 1, AppendReply{Match: 1, Round: round}},
		{"a learner's echo", 6, 1, AppendReply{Match: 1, Round: round}},
		{"another learner's echo", 7, 1, AppendReply{Match: 1, Round: round}},
		{"a stranger's echo", 99, 1, AppendReply{Match: 1, Round: round}},
		{"an echo of another term", 4, 0, AppendReply{Match: 1, Round: round}},
		{"a round to come", 5, 1, AppendReply{Match: 1, Round: round + 1}},
	} {
		n.hears(c.from, c.term, &c.body)
		if len(n.said) > 0 {
			t.Fatalf("%s: %v", c.why, n.said)
		}
	}
	n.hears(4, 1, &AppendReply{Match: 1, Round: round})
	n.wants("Read tag=1 at 1")
}

// A follower whose log does not match follows the leader all the same.
func TestARejectionConfirmsARound(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1})
	n.ignore()
	n.hears(2, 1, &AppendReply{Rejected: true, Probed: id(1, 2), Round: n.askedOf(2).Round})
	n.wants("Read tag=1 at 1")
}

func TestALaterHeartbeatConfirmsARoundThatWasLost(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1})
	n.waits(heartbeatInterval)
	n.ignore()
	n.accepted(3)
	n.wants("Read tag=1 at 1")
}

func TestQ2_EveryGroupSizeNeedsAMajority(t *testing.T) {
	for size := 2; size <= 9; size++ {
		var all []NodeID
		for i := range size {
			all = append(all, NodeID(i+1))
		}
		n := lead(t, given{Voters: all})
		n.steps(Read{Tag: 1})
		n.ignore()
		for i, p := range all[1 : size/2] {
			n.accepted(p)
			if len(n.said) > 0 {
				t.Fatalf("%d of %d confirmed: %v", i+2, size, n.said)
			}
		}
		n.accepted(all[size/2])
		n.wants("Read tag=1 at 1")
	}
}

func TestQ9_AJointConfigurationConfirmsInBothHalves(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3), Learners: voters(4, 5)})
	n.steps(ChangeConfig{Conf: ConfState{Voters: voters(1, 4, 5)}}, Read{Tag: 1})
	if !n.state.Conf.Joint() {
		t.Fatalf("%v", &n.state.Conf)
	}
	n.ignore()
	n.acknowledged(2, 1) // the round, but not the entry: the configuration stays joint
	n.acknowledged(3, 1)
	n.wantsNothing()
	n.acknowledged(5, 1)
	n.wants("Read tag=1 at 1")
}

// A leader on the wrong side of a partition must not read what the others have
// long replaced.
func TestADeposedLeaderDoesNotRead(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.isolate(1)
	g.elects(2)
	g.proposes(2, "x")
	g.settle()
	tag := g.reads(1)
	g.settle()
	if index, done := g.member(1).reads[tag]; done {
		t.Fatalf("it reads at %d", index)
	}
	g.passes(2 * electionTimeout)
	if outcome, done := g.member(1).replies[tag]; !done || outcome != NotLeader {
		t.Errorf("outcome %v, answered: %v", outcome, done)
	}
}

// --- Q7: every read is answered ---

func TestQ7_ReadsAreRefusedWhenTheLeaderStepsDown(t *testing.T) {
	for name, end := range map[string]func(n *stage){
		"it heard of a later term":  func(n *stage) { n.hears(2, 9, &AppendReply{Rejected: true}) },
		"another leads now":         func(n *stage) { n.hears(2, 9, &AppendRequest{Round: 1}) },
		"it lost sight of a quorum": func(n *stage) { n.waits(electionTimeout) },
	} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, given{})
			n.steps(Read{Tag: 1}, Read{Tag: 2}) // being confirmed
			n.steps(Read{Tag: 3})               // waiting for the next round
			end(n)
			got := map[Tag]Outcome{}
			for _, r := range n.out.Replies {
				got[r.Tag] = r.Outcome
			}
			for tag := Tag(1); tag <= 3; tag++ {
				if outcome, ok := got[tag]; !ok || outcome != NotLeader {
					t.Errorf("read %d: %v, answered %v", tag, outcome, ok)
				}
			}
			if len(got) != 3 || len(n.out.Reads) > 0 {
				t.Errorf("%v %v", n.out.Replies, n.out.Reads)
			}
		})
	}
}

func TestQ7_ReadsThatWaitForTheFirstCommitAreRefusedToo(t *testing.T) {
	n := start(t, given{})
	n.wins()
	n.steps(Read{Tag: 1})
	n.waits(electionTimeout)
	if got := n.out.Replies; len(got) != 1 || got[0].Tag != 1 || got[0].Outcome != NotLeader {
		t.Errorf("%v", got)
	}
}

func TestQ7_WhoKnowsNoLeaderRefusesAtOnce(t *testing.T) {
	n := start(t, given{})
	n.steps(Read{Tag: 1})
	n.wants("Reply tag=1 not leader")
	n.hears(3, 1, &AppendRequest{Round: 1})
	n.saves()
	n.timesOut()
	n.ignore()
	n.steps(Read{Tag: 3})
	n.wants("Reply tag=3 not leader")
}

func TestAFollowerAsksItsLeaderWhereToRead(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1})
	n.hears(3, 1, &AppendRequest{Prev: id(1, 2), Round: 1})
	n.ignore()
	n.steps(Read{Tag: 1}, Read{Tag: 2})
	n.wants("1->3 term=1 ReadRequest #1")
	n.steps(Read{Tag: 3}) // waits for the next request
	n.wantsNothing()
	n.hears(2, 1, &ReadReply{Sequence: 1<<32 + 1, Index: 1}) // it does not lead
	n.hears(3, 1, &ReadReply{Sequence: 1<<32 + 0, Index: 1}) // not the answer to this
	n.wantsNothing()
	n.hears(3, 1, &ReadReply{Sequence: 1<<32 + 1, Index: 2})
	n.wants("1->3 term=1 ReadRequest #2", "Read tag=1 at 2", "Read tag=2 at 2")
	n.hears(3, 1, &ReadReply{Sequence: 1<<32 + 1, Index: 2}) // again
	n.wantsNothing()
	n.waits(2 * heartbeatInterval) // the answer was lost
	n.wants("1->3 term=1 ReadRequest #2")
	n.hears(3, 1, &ReadReply{Sequence: 1<<32 + 2, Refused: true})
	n.wants("Reply tag=3 not leader leader=3")
}

func TestQ7_AReadThatWasAskedForElsewhereEndsWithTheLeader(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1})
	n.hears(3, 1, &AppendRequest{Prev: id(1, 2), Round: 1})
	n.steps(Read{Tag: 1})
	n.steps(Read{Tag: 2})
	n.ignore()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 2), Round: 1})
	n.saves()
	replies := 0
	for _, line := range n.said {
		if line == "Reply tag=1 not leader leader=2" || line == "Reply tag=2 not leader leader=2" {
			replies++
		}
	}
	if replies != 2 {
		t.Errorf("%q", n.said)
	}
}

func TestALeaderAnswersAFollowersReadWhenAQuorumHasEchoed(t *testing.T) {
	n := lead(t, given{})
	n.hears(2, 1, &ReadRequest{Sequence: 7})
	n.hears(2, 1, &ReadRequest{Sequence: 7}) // it was impatient
	n.ignore()
	n.accepted(3)
	n.wants("1->2 term=1 ReadReply #7 at 1")
}

func TestReadsOfAFormerOfficeAreNotConfirmedInTheNext(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1})
	n.waits(electionTimeout)
	n.timesOut()
	n.elected()
	n.saves()
	n.accepted(2, 3)
	for range 5 {
		n.waits(heartbeatInterval)
		n.accepted(2, 3)
		if len(n.out.Reads) > 0 {
			t.Fatal(n.out.Reads)
		}
	}
}

func TestReadsGoOnUnderAStreamOfProposals(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	var tags []Tag
	for i := range 50 {
		g.proposes(1, fmt.Sprint(i))
		tags = append(tags, g.reads(1))
		if i%5 == 0 {
			g.settle()
		}
	}
	g.settle()
	before := Index(0)
	for _, tag := range tags {
		index, done := g.member(1).reads[tag]
		if !done || index < before {
			t.Fatalf("read %d: at %d after %d, answered %v", tag, index, before, done)
		}
		before = index
	}
}

func TestReadsDoNotKeepALeaderWithoutAQuorum(t *testing.T) {
	n := lead(t, given{})
	for range 20 {
		n.waits(heartbeatInterval / 2)
		n.steps(Read{Tag: 1})
	}
	n.is(Follower, 1)
	n.waits(time.Second / 2)
}
