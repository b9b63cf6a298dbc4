package raftcore_test

import (
	"fmt"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

var founders = ConfState{Voters: voters(1, 2, 3)}

func TestBootstrapWritesTheFirstEntry(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.steps(Bootstrap{Tag: 7, Cluster: cluster, Conf: founders})
	n.wants("Save #1 term=1 [1/1 config voters=[1 2 3]]", "Reply tag=7 done")
	if s := n.out.Save; s.HardState != (HardState{Term: 1, Cluster: cluster}) {
		t.Errorf("%+v", s.HardState)
	}
	if !n.out.StatusChanged || !n.state.Conf.Equal(founders) || n.state.ConfIndex != 1 {
		t.Errorf("%+v", n.state)
	}
}

func TestBootstrapIsIdempotent(t *testing.T) {
	n := start(t, given{Pristine: true})
	again := Bootstrap{Tag: 7, Cluster: cluster, Conf: founders}
	n.steps(again, again)
	n.ignore()
	n.steps(again)
	n.wants("Reply tag=7 done")
	n.saves()
	n.crashes(0)
	n.steps(again)
	n.wants("Reply tag=7 done")
	n.wins()
	n.ignore()
	n.steps(again)
	n.wants("Reply tag=7 done leader=1")
	n.is(Leader, 2)
}

func TestABootstrapThatTheDiskLostIsRepeated(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.steps(Bootstrap{Tag: 7, Cluster: cluster, Conf: founders})
	n.crashes(0)
	n.steps(Bootstrap{Tag: 7, Cluster: cluster, Conf: founders})
	n.wants("Save #1 term=1 [1/1 config voters=[1 2 3]]", "Reply tag=7 done")
}

// Founders need not know of one another: the entry that each of them writes is
// the same to the last byte, its time included.
func TestFoundersAgreeWithoutHavingSpoken(t *testing.T) {
	for mask := 1; mask < 8; mask++ { // which of the three are told
		t.Run(fmt.Sprintf("%03b", mask), func(t *testing.T) {
			g := newGroupOf(t, 3, given{Pristine: true})
			for i, m := range g.members {
				m.wall = int64(1000 * (i + 1))
				if mask&(1<<i) != 0 {
					g.step(m, Bootstrap{Tag: 7, Cluster: cluster, Conf: founders})
					if m.replies[7] != Done {
						t.Fatal(m.replies)
					}
				}
			}
			g.passes(6 * electionTimeout)
			g.agree()
			for _, m := range g.members {
				if m.state.Leader == Nobody || m.state.Cluster != cluster || !m.state.Conf.Equal(founders) || m.applied < 2 {
					t.Errorf("%v: %v, applied %d", m.node, &m.state.Conf, m.applied)
				}
			}
			for i, m := range g.members { // and all are told once more
				g.step(m, Bootstrap{Tag: Tag(100 + i), Cluster: cluster, Conf: founders})
				if outcome, ok := m.replies[Tag(100+i)]; !ok || outcome != Done {
					t.Errorf("node %d: %v", m.id, outcome)
				}
			}
		})
	}
}

func TestBootstrapRefusesAnotherLineage(t *testing.T) {
	for name, g := range map[string]given{
		"a group that was founded":     {Log: terms(1)},
		"a node that joined and voted": {Term: 3},
	} {
		n := start(t, g)
		n.steps(Bootstrap{Tag: 7, Cluster: 99, Conf: founders})
		n.wants("Reply tag=7 not pristine")
		if n.state.Cluster != cluster {
			t.Errorf("%s: cluster %d", name, n.state.Cluster)
		}
	}
}

func TestBootstrapRefusesConfigurationsThatAreNone(t *testing.T) {
	for name, b := range map[string]Bootstrap{
		"no cluster":           {Conf: founders},
		"no voters":            {Cluster: 1},
		"learners only":        {Cluster: 1, Conf: ConfState{Learners: voters(1)}},
		"a voter twice":        {Cluster: 1, Conf: ConfState{Voters: voters(1, 1)}},
		"in disorder":          {Cluster: 1, Conf: ConfState{Voters: voters(2, 1)}},
		"nobody":               {Cluster: 1, Conf: ConfState{Voters: voters(0, 1)}},
		"a learner that votes": {Cluster: 1, Conf: ConfState{Voters: voters(1, 2), Learners: voters(1)}},
		"joint":                {Cluster: 1, Conf: ConfState{Voters: voters(1), Outgoing: voters(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Pristine: true})
			b.Tag = 7
			n.steps(b)
			n.wants("Reply tag=7 bad configuration")
			n.is(Follower, 0)
			n.steps(Bootstrap{Tag: 8, Cluster: cluster, Conf: founders}) // the mistake left nothing behind
			if n.out.Replies[0].Outcome != Done {
				t.Error(n.out.Replies)
			}
		})
	}
}

func TestAFounderAloneLeadsAtOnce(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.steps(Bootstrap{Cluster: cluster, Conf: ConfState{Voters: voters(1)}})
	n.is(Candidate, 2)
	n.saves()
	n.is(Leader, 2)
	if n.applied != 2 {
		t.Errorf("applied %d", n.applied)
	}
}

func TestANodeThatIsNoFounderMayFoundForTheOthers(t *testing.T) {
	n := start(t, given{ID: 9, Pristine: true})
	n.steps(Bootstrap{Tag: 1, Cluster: cluster, Conf: founders})
	if n.out.Deadline != 0 {
		t.Error("it waits for an election, and does not vote")
	}
}

// --- lineages ---

func TestAPristineNodeJoinsTheFirstLineageItHearsOf(t *testing.T) {
	n := start(t, given{Pristine: true})
	m := n.message(2, 4, &AppendRequest{Entries: commands(1, 1), Round: 1})
	m.Cluster = 77
	n.steps(Receive{m})
	if s := n.out.Save; s.HardState.Cluster != 77 {
		t.Fatalf("%+v", s)
	}
	n.saves()
	n.crashes(0)
	if n.state.Cluster != 77 {
		t.Errorf("cluster %d after a restart", n.state.Cluster)
	}
	n.hears(2, 9, &VoteRequest{Last: id(9, 9)}) // of the cluster 1
	n.is(Follower, 4)
	if n.state.Refused != 1 {
		t.Errorf("refused %d", n.state.Refused)
	}
}

func TestM14_MessagesOfAnotherClusterAreRefused(t *testing.T) {
	for _, body := range []Body{
		&VoteRequest{Last: id(9, 9)}, &VoteRequest{Pre: true, Last: id(9, 9)}, &VoteReply{}, &VoteReply{Pre: true},
		&AppendRequest{Round: 1}, &AppendReply{Match: 1, Round: 1},
	} {
		n := start(t, given{Log: terms(1)})
		m := n.message(2, 9, body)
		m.Cluster = 99
		n.steps(Receive{m})
		n.wantsNothing()
		n.is(Follower, 1)
		if n.state.Refused != 1 {
			t.Errorf("%v was taken", body)
		}
	}
}

func TestM14_APreVoteQuestionDoesNotDecideTheLineage(t *testing.T) {
	n := start(t, given{Pristine: true})
	m := n.message(2, 0, &VoteRequest{Pre: true})
	m.Cluster = 77
	n.steps(Receive{m})
	if n.state.Cluster != 0 || len(n.disk.pending) > 0 {
		t.Errorf("cluster %d", n.state.Cluster)
	}
}

func TestEveryMessageCarriesLineageAndIncarnation(t *testing.T) {
	g := newGroupOf(t, 3, given{Pristine: true})
	count := 0
	g.filter(func(m *Message) fate {
		count++
		if m.Incarnation != lifeOf(m.From) || m.Cluster != cluster && m.Cluster != 0 || m.Cluster == 0 && m.Term > 0 {
			t.Errorf("%+v", m)
		}
		return pass
	})
	g.step(g.member(1), Bootstrap{Cluster: cluster, Conf: founders})
	g.passes(3 * electionTimeout)
	if count == 0 {
		t.Error("nobody said anything")
	}
}
