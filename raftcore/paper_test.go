package raftcore_test

import (
	"fmt"
	"slices"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// The scenes of the paper ("In Search of an Understandable Consensus
// Algorithm", extended version) and of the thesis ("Consensus: Bridging Theory
// and Practice"), by their section.

// --- §5.1: the term rule ---

func TestTermRule51_ALaterTermMakesAFollowerOfEverybody(t *testing.T) {
	for role, prepare := range map[string]func(n *stage){
		"follower":      func(n *stage) {},
		"pre-candidate": func(n *stage) { n.timesOut() },
		"candidate":     func(n *stage) { n.timesOut(); n.granted(2); n.saves() },
		"leader":        func(n *stage) { n.wins() },
	} {
		for name, body := range map[string]Body{
			"a vote that was refused": &VoteReply{},
			"a pre-vote refused":      &VoteReply{Pre: true},
			"a rejection":             &AppendReply{Rejected: true},
			"an acknowledgement":      &AppendReply{Match: 1, Round: 1},
			"a heartbeat":             &AppendRequest{Round: 1},
		} {
			n := start(t, given{})
			prepare(n)
			n.hears(2, 9, body)
			if n.state.Role != Follower || n.state.Term != 9 || n.state.Vote != Nobody {
				t.Errorf("a %s heard %s of term 9: %v", role, name, n.node)
			}
			if n.out.Save.HardState.Term != 9 {
				t.Errorf("a %s heard %s of term 9, and saves %v", role, name, n.out.Save)
			}
		}
	}
}

func TestTermRule51_ALaterVoteRequestMakesAFollowerOfWhoeverHasNoLeader(t *testing.T) {
	for role, prepare := range map[string]func(n *stage){
		"follower":      func(n *stage) {},
		"pre-candidate": func(n *stage) { n.timesOut() },
		"candidate":     func(n *stage) { n.timesOut(); n.granted(2); n.saves() },
	} {
		n := start(t, given{})
		prepare(n)
		n.hears(2, 9, &VoteRequest{Last: id(8, 8)})
		if n.state.Role != Follower || n.state.Term != 9 || n.state.Vote != 2 {
			t.Errorf("a %s: %v", role, n.node)
		}
	}
}

func TestTermRule51_ADeposedLeaderForgetsItsOffice(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 1})
	n.hears(2, 9, &AppendReply{})
	n.saves()
	n.ignore()
	n.waits(heartbeatInterval)
	n.wantsNothing() // no heartbeats
	n.steps(Propose{Tag: 2}, Read{Tag: 3})
	n.wants("Reply tag=2 not leader", "Reply tag=3 not leader")
	n.hears(2, 1, &AppendReply{Match: 2, Round: 3})
	n.hasCommitted(1)
}

// --- §5.2: votes ---

// TestVotes52 has a voter in every state that matters asked for its vote.
func TestVotes52(t *testing.T) {
	for _, c := range []struct {
		name    string
		voter   given
		from    NodeID
		term    Term
		granted bool
		silent  bool
	}{
		{name: "it has not voted", voter: given{Term: 5}, from: 2, term: 5, granted: true},
		{name: "it has voted for the asker", voter: given{Term: 5, Vote: 2}, from: 2, term: 5, granted: true},
		{name: "it has voted for another", voter: given{Term: 5, Vote: 3}, from: 2, term: 5},
		{name: "it has voted for itself", voter: given{Term: 5, Vote: 1}, from: 2, term: 5},
		{name: "its vote was for an earlier term", voter: given{Term: 5, Vote: 3}, from: 2, term: 6, granted: true},
		{name: "the candidate's term has passed", voter: given{Term: 5}, from: 2, term: 4},
		{name: "the candidate is far ahead", voter: given{Term: 5, Vote: 5}, from: 2, term: 5000, granted: true},
		{name: "the candidate is unknown here", voter: given{Term: 5}, from: 77, term: 6, granted: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, c.voter)
			n.hears(c.from, c.term, &VoteRequest{Campaign: 3})
			n.saves()
			if r, ok := n.sentTo(c.from).Body.(*VoteReply); !ok || r.Granted != c.granted || r.Campaign != 3 {
				t.Errorf("it answers %v", n.sentTo(c.from))
			}
		})
	}
}

// --- §5.3: log matching, leader append-only ---

func TestLeaderAppendOnly53(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1)})
	n.steps(Propose{Tag: 1})
	n.saves()
	n.ignore()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 9, Round: 9}) // a second leader of term 2: forged
	n.is(Leader, 2)
	n.wantsNothing()
	if n.state.Last != 4 || n.state.Refused != 1 {
		t.Errorf("%v, refused %d", n.node, n.state.Refused)
	}
}

// A new leader keeps what it inherited, conflicting or not, and sends it on.
func TestLeaderAppendOnly53_InheritedEntriesStay(t *testing.T) {
	g := assemble(t,
		given{Log: terms(1, 1, 2, 3, 3), Term: 4},
		given{Log: terms(1), Term: 4},
		given{Log: terms(1, 1, 1, 1, 1, 1), Term: 4},
	)
	g.elects(1)
	g.agree()
	want := []EntryID{id(1, 1), id(1, 2), id(2, 3), id(3, 4), id(3, 5), id(5, 6)}
	if got := ids(g.member(3).disk.entries); !slices.Equal(got, want) {
		t.Errorf("%v, should be %v", got, want)
	}
}

// figure7 is Figure 7 of the paper: logs that a new leader of term 8 may meet.
var figure7 = []struct {
	name string
	log  []Term
}{
	{"the leader", terms(1, 1, 1, 4, 4, 5, 5, 6, 6, 6)},
	{"(a) one entry is missing", terms(1, 1, 1, 4, 4, 5, 5, 6, 6)},
	{"(b) six are missing", terms(1, 1, 1, 4)},
	{"(c) one too many", terms(1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6)},
	{"(d) two too many", terms(1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7)},
	{"(e) some missing, some too many", terms(1, 1, 1, 4, 4, 4, 4)},
	{"(f) many missing, many too many", terms(1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3)},
}

func TestFigure7_ANewLeaderRepairsEveryLog(t *testing.T) {
	var all []given
	for _, f := range figure7 {
		all = append(all, given{Log: f.log, Term: 7})
	}
	g := assemble(t, all...)
	g.elects(1)
	g.agree()
	want := append(ids(commands(1, figure7[0].log...)), id(8, 11))
	if got := ids(g.member(1).disk.entries); !slices.Equal(got, want) {
		t.Errorf("%v, should be %v", got, want)
	}
	if g.member(7).applied != 11 {
		t.Errorf("node 7 has applied %d", g.member(7).applied)
	}
}

// TestFigure7_WordForWord follows what each follower says to the leader's first
// question, and what the leader asks then.
func TestFigure7_WordForWord(t *testing.T) {
	first := `AppendRequest prev=6/10 commit=0 round=1 [8/11 noop]`
	for i, c := range []struct{ answer, next string }{
		{"AppendReply rejected probed=6/10 hint=6/9 round=1", "AppendRequest prev=6/9 commit=0 round=2"},
		{"AppendReply rejected probed=6/10 hint=4/4 round=1", "AppendRequest prev=4/4 commit=0 round=2"},
		{"AppendReply match=10 round=1", `AppendRequest prev=6/10 commit=0 round=1 [8/11 noop]`},
		{"AppendReply match=10 round=1", `AppendRequest prev=6/10 commit=0 round=1 [8/11 noop]`},
		{"AppendReply rejected probed=6/10 hint=4/7 round=1", "AppendRequest prev=4/5 commit=0 round=2"},
		{"AppendReply rejected probed=6/10 hint=3/10 round=1", "AppendRequest prev=1/3 commit=0 round=2"},
	} {
		f := figure7[i+1]
		t.Run(f.name, func(t *testing.T) {
			leader := start(t, given{ID: 1, Voters: voters(1, 2), Log: figure7[0].log, Term: 7})
			leader.wins()
			ask := leader.askedOf(2)
			if ask.String() != first {
				t.Fatalf("the leader asks %v", ask)
			}
			follower := start(t, given{ID: 2, Voters: voters(1, 2), Log: f.log, Term: 8, Vote: 1})
			follower.hears(1, 8, ask)
			if got := follower.sentTo(1).Body.(*AppendReply); got.String() != c.answer {
				t.Fatalf("the follower answers %v, should be %s", got, c.answer)
			}
			leader.hears(2, 8, follower.sentTo(1).Body)
			if got := leader.askedOf(2); got.String() != c.next {
				t.Fatalf("the leader goes on with %v, should be %s", got, c.next)
			}
		})
	}
}

// --- §5.4.1: who may be elected ---

// TestElectionRestriction541 pits logs of every relation against one another:
// of two voters with different logs and a third, only those with the better log
// can win against the worse.
func TestElectionRestriction541(t *testing.T) {
	for _, c := range []struct {
		name   string
		logs   [3][]Term
		winner []NodeID // who can be elected by all three
	}{
		{"all the same", [3][]Term{terms(1, 1), terms(1, 1), terms(1, 1)}, voters(1, 2, 3)},
		{"one is longer", [3][]Term{terms(1, 1), terms(1), terms(1)}, voters(1, 2, 3)},
		{"one is shorter", [3][]Term{terms(1), terms(1, 1), terms(1, 1)}, voters(2, 3)},
		{"one has the later term", [3][]Term{terms(2), terms(1, 1, 1), terms(1, 1, 1)}, voters(1, 2, 3)},
		{"two have the later term", [3][]Term{terms(1, 1, 1), terms(1, 2), terms(1, 2)}, voters(2, 3)},
		{"each is better than the one before", [3][]Term{terms(1, 1, 1), terms(1, 2), terms(3)}, voters(2, 3)},
	} {
		for candidate := NodeID(1); candidate <= 3; candidate++ {
			t.Run(fmt.Sprintf("%s, node %d asks", c.name, candidate), func(t *testing.T) {
				var all []given
				for _, log := range c.logs {
					all = append(all, given{Log: log, Term: 5})
				}
				g := assemble(t, all...)
				g.loseSight()
				g.timesOut(candidate)
				g.settle()
				if got, want := g.member(candidate).state.Role == Leader, slices.Contains(c.winner, candidate); got != want {
					t.Errorf("leads: %v", got)
				}
			})
		}
	}
}

// --- §5.4.2: committing entries of earlier terms ---

// figure8 plays Figure 8 of the paper up to (c): S1 leads term 4 and has
// brought its entry of term 2 to a majority; of its own term nothing has
// arrived anywhere. S5 holds an entry of term 3 in the same place.
func figure8(t *testing.T) *group {
	g := newGroupOf(t, 5, given{Log: terms(1), Limits: func(c *Config) { c.MaxAppendBytes = 1 }})
	for _, m := range g.members { // (a) S1 led term 2, S2 has its entry; (b) S5 led term 3, with votes of S3 and S4
		m.disk.hard = HardState{Term: 3, Vote: 5, Cluster: cluster, Joined: true}
		switch m.id {
		case 1, 2:
			m.disk.entries = commands(1, 1, 2)
			m.disk.hard.Vote = Nobody
		case 5:
			m.disk.entries = commands(1, 1, 3)
		}
		m.open(2)
		g.history.restarted(m.member)
		g.step(m)
	}
	g.stops(5)
	g.filter(func(m *Message) fate {
		r, ok := m.Body.(*AppendRequest)
		if ok && len(r.Entries) > 0 && r.Entries[0].Term == 4 || m.To == 4 && ok {
			return drop
		}
		return pass
	})
	g.elects(1) // (c)
	for range 3 {
		g.member(1).now = g.member(1).now.Add(heartbeatInterval)
		g.step(g.member(1))
		g.settle()
	}
	return g
}

func TestFigure8_AnEntryOfAnEarlierTermOnAMajorityIsNotCommitted(t *testing.T) {
	g := figure8(t)
	for _, id := range voters(1, 2, 3) {
		m := g.member(id)
		if log := ids(m.disk.entries); len(log) < 2 || log[1] != (EntryID{Term: 2, Index: 2}) {
			t.Fatalf("node %d has %v", id, log)
		}
		if m.state.Commit != 0 {
			t.Fatalf("%v has committed", m.node)
		}
	}
	// (d) S1 goes, S5 comes back and is elected by S2, S3 and S4: the entry of
	// term 2 is overwritten on all of them.
	g.stops(1)
	g.starts(5)
	g.connected()
	g.loseSight()
	g.timesOut(5) // it learns of term 4
	g.settle()
	g.elects(5)
	g.starts(1)
	g.passes(electionTimeout)
	g.agree()
	want := []EntryID{id(1, 1), id(3, 2)}
	if got := ids(g.member(1).disk.entries); !slices.Equal(got[:2], want) {
		t.Errorf("%v, should begin %v", got, want)
	}
}

func TestFigure8_AnEntryOfTheOwnTermOnAMajorityCommitsAll(t *testing.T) {
	g := figure8(t)
	g.connected()
	g.passes(2 * heartbeatInterval) // (e)
	if m := g.member(1); m.state.Commit != 3 {
		t.Fatalf("%v", m.node)
	}
	// S5 cannot win any more.
	g.starts(5)
	g.stops(1)
	g.loseSight()
	g.timesOut(5)
	g.settle()
	if m := g.member(5); m.state.Role == Leader {
		t.Errorf("%v", m.node)
	}
	g.starts(1)
	g.passes(5 * electionTimeout)
	g.agree()
}

// --- §8: the leader's opening entry ---

func TestNoop8_ALeaderOpensItsTermWithAnEntryOfItsOwn(t *testing.T) {
	n := start(t, given{Log: terms(1, 2)})
	n.timesOut()
	n.granted(2)
	n.saves()
	n.ignore()
	n.granted(3)
	n.wants("Save #2 term=3 vote=1 [3/3 noop]",
		"1->2 term=3 AppendRequest prev=2/2 commit=0 round=1 [3/3 noop]",
		"1->3 term=3 AppendRequest prev=2/2 commit=0 round=2 [3/3 noop]")
	if n.state.Readable {
		t.Error("it is readable before that entry is committed")
	}
	n.accepted(2)
	n.saves()
	if !n.state.Readable {
		t.Error("it is not readable although that entry is committed")
	}
}
