package raftcore_test

import (
	"slices"
	"strings"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// A new lineage, begun from what one member has kept (lineage.go).

const other = ClusterID(77)

// begins has a member that is down begin a new lineage.
func begins(t testing.TB, m *member, l Lineage) Save {
	t.Helper()
	r := m.disk.recovered(m.life, 1)
	s, err := l.Begin(&r)
	if err != nil {
		t.Fatal(err)
	}
	m.disk.apply(&s)
	return s
}

func TestANewLineageKeepsTheWholeLogAndItsVoterElectsItself(t *testing.T) {
	n := start(t, given{ID: 2, Log: terms(1, 1, 3, 3), Term: 6, Vote: 3})
	n.steps()
	s := begins(t, n.member, Lineage{Cluster: other, Voter: 2, Learners: voters(4, 7), Time: 5})
	if s.HardState != (HardState{Term: 7, Vote: 2, Cluster: other, Joined: true}) || !s.Lineage {
		t.Errorf("it saves %+v", s)
	}
	if got := s.String(); got != "Save #0 term=7 vote=2 begins lineage 4d [7/5 config voters=[2] learners=[4 7]]" {
		t.Errorf("it saves %q", got)
	}
	n.crashes(0)
	n.has(5, conf(voters(2), 4, 7))
	n.hasCommitted(0)
	n.timesOut()
	n.saves()
	n.saves()
	n.is(Leader, 8)
	n.hasCommitted(6) // what nobody knew to be committed, the configuration, and its own
}

// An unfinished change of the members ends with the lineage in which it was begun.
func TestANewLineageEndsAJointConfiguration(t *testing.T) {
	n := start(t, given{Voters: voters(4, 5), Outgoing: voters(1, 2, 3), Learners: voters(2), Log: terms(1, 2)})
	begins(t, n.member, Lineage{Cluster: other, Voter: 1})
	n.crashes(0)
	n.timesOut()
	n.saves()
	n.saves()
	n.is(Leader, 4)
	n.has(3, conf(voters(1)))
	n.hasCommitted(4)
}

// A disk that has lost its end counts again: in its lineage nobody knows more.
func TestANewLineageCanBeginFromADamagedDisk(t *testing.T) {
	r := Recovered{HardState: HardState{Term: 2, Cluster: cluster}, Damaged: true, BaseConf: ConfigAt{Conf: founders}}
	for _, e := range commands(1, 1, 2) {
		r.Note(&e)
	}
	s, err := Lineage{Cluster: other, Voter: 1}.Begin(&r)
	if err != nil || !s.HardState.Joined || s.HardState.Term != 3 {
		t.Errorf("it saves %v, %v", s, err)
	}
}

func TestTheTimeOfTheLogDoesNotFallWhereALineageBegins(t *testing.T) {
	r := Recovered{HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, BaseConf: ConfigAt{Conf: founders}}
	r.Note(&Entry{EntryID: id(1, 1), Kind: EntryNoop, Time: 100})
	for now, want := range map[int64]int64{5: 100, 500: 500} {
		s, err := Lineage{Cluster: other, Voter: 1, Time: now}.Begin(&r)
		if err != nil || s.Entries[0].Time != want {
			t.Errorf("at %d it begins at %d, not at %d (%v)", now, s.Entries[0].Time, want, err)
		}
	}
}

func TestLineagesThatCannotBeAreRefused(t *testing.T) {
	good := Lineage{Cluster: other, Voter: 1}
	kept := func(change func(*Recovered)) *Recovered {
		r := &Recovered{HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, BaseConf: ConfigAt{Conf: founders}}
		r.Note(&Entry{EntryID: id(1, 1), Kind: EntryNoop})
		change(r)
		return r
	}
	same := func(*Recovered) {}
	for name, c := range map[string]struct {
		l    Lineage
		r    *Recovered
		want string
	}{
		"no voter":                    {Lineage{Cluster: other}, kept(same), "cannot be"},
		"the voter learns":            {Lineage{Cluster: other, Voter: 1, Learners: voters(1)}, kept(same), "cannot be"},
		"learners out of order":       {Lineage{Cluster: other, Voter: 1, Learners: voters(3, 2)}, kept(same), "cannot be"},
		"no name":                     {Lineage{Voter: 1}, kept(same), "the cluster 0"},
		"the name of the old lineage": {Lineage{Cluster: cluster, Voter: 1}, kept(same), "the cluster 1"},
		"an empty log":                {good, kept(func(r *Recovered) { r.Last, r.Runs = 0, nil }), "empty"},
		"the last term":               {good, kept(func(r *Recovered) { r.HardState.Term = 1 << 62 }), "no term comes after"},
		"what cannot be":              {good, kept(func(r *Recovered) { r.HardState.Term = 0 }), "hard state"},
	} {
		if s, err := c.l.Begin(c.r); err == nil || !strings.Contains(err.Error(), c.want) || s.Lineage {
			t.Errorf("%s: it says %v", name, err)
		}
	}
	if _, err := good.Begin(kept(same)); err != nil {
		t.Error(err) // or the cases above prove nothing
	}
}

// TestM18_NobodyOfTheOldLineageIsHeardOrHears lets the worst happen: the two that
// were thought to be lost are alive, and go on without the survivor, from whose
// disk the group has been begun anew.
func TestM18_NobodyOfTheOldLineageIsHeardOrHears(t *testing.T) {
	old := newGroup(t, 3)
	old.elects(1)
	old.proposes(1, "a")
	old.settle()
	old.isolate(1)
	old.proposes(1, "the tail")
	old.settle()
	old.stops(1)
	old.connected()

	joins := given{Pristine: true, Limits: func(c *Config) { c.Joins = true }}
	anew := assemble(t, given{Pristine: true}, joins, joins)
	anew.stops(1)
	survivor := anew.member(1)
	survivor.disk = old.member(1).disk
	tail := survivor.disk.last()
	begins(t, survivor.member, Lineage{Cluster: other, Voter: 1, Learners: voters(2, 3)})
	anew.starts(1)

	var toOld, toNew []Message
	old.filter(func(m *Message) fate {
		if m.To == 1 {
			toNew = append(toNew, cloneMessage(m))
			return drop
		}
		return pass
	})
	anew.filter(func(m *Message) fate {
		if m.From == 1 {
			toOld = append(toOld, cloneMessage(m))
		}
		return pass
	})
	var refused [4]uint64
	heard := func(g *group, messages []Message) {
		for _, m := range messages {
			to := g.member(m.To)
			before := to.state.Refused
			g.step(to, Receive{Message: m})
			if to.state.Refused != before+1 {
				t.Fatalf("node %d of cluster %d heard %v of cluster %d", m.To, to.state.Cluster, &m, m.Cluster)
			}
			refused[m.To]++
		}
	}
	for round := range 8 {
		old.passes(electionTimeout)
		anew.passes(electionTimeout)
		if round == 3 {
			old.elects(2) // a majority of the old lineage, and so a leader
		}
		if round > 3 {
			old.proposes(2, "b")
			anew.proposes(1, "c")
		}
		heard(anew, toNew)
		heard(old, toOld)
		toOld, toNew = nil, nil
	}
	if refused[1] == 0 || refused[2] == 0 || refused[3] == 0 {
		t.Fatalf("refused were %v: they have not met", refused)
	}
	anew.passes(electionTimeout)
	anew.agree()
	if survivor.state.Role != Leader || survivor.applied < tail+5 || string(survivor.disk.entries[tail-1].Data) != "the tail" {
		t.Errorf("the survivor: %v", survivor.node)
	}
	for _, id := range voters(2, 3) {
		if st := old.member(id).state; st.Cluster != cluster || st.Conf.Equal(survivor.state.Conf) {
			t.Errorf("the old one: %v", st)
		}
		if st := anew.member(id).state; st.Cluster != other || !st.Joined {
			t.Errorf("who joined anew: %v, joined %v", st, st.Joined)
		}
	}
}

// TestM18_FoundersWhoHearOfANewLineageFoundNothing: two wiped disks come back as the
// founders that they were once, and not as who joins.
func TestM18_FoundersWhoHearOfANewLineageFoundNothing(t *testing.T) {
	g := newGroupOf(t, 3, given{Pristine: true})
	survivor := g.member(1)
	g.step(survivor, Bootstrap{Cluster: cluster, Conf: founders})
	g.settle()
	g.stops(1)
	begins(t, survivor.member, Lineage{Cluster: other, Voter: 1, Learners: voters(2, 3)})
	for _, id := range voters(2, 3) {
		g.step(g.member(id), Bootstrap{Cluster: cluster, Conf: founders})
	}
	g.starts(1)
	g.passes(6 * electionTimeout)
	for _, id := range voters(2, 3) {
		if st := g.member(id).state; st.Leader != Nobody || st.Joined || st.Vote != Nobody || st.OtherCluster != other {
			t.Errorf("it has founded: %v, joined %v, other cluster %x", st, st.Joined, uint64(st.OtherCluster))
		}
	}
	if st := survivor.state; st.Role != Leader || st.Cluster != other || st.Commit < 3 {
		t.Errorf("the survivor: %v", st)
	}
}

// Only who leads in another lineage has founded it. The words of others must keep
// nobody from founding: of those who were told of other founders, say.
func TestOnlyAFounderWhoLeadsKeepsOthersFromFounding(t *testing.T) {
	for _, c := range []struct {
		from   NodeID
		body   Body
		founds bool
	}{
		{2, &VoteRequest{Pre: true, Last: id(1, 1)}, true},
		{9, &AppendRequest{Round: 1}, true},
		{2, &AppendRequest{Round: 1}, false},
	} {
		n := start(t, given{Pristine: true})
		n.steps(Bootstrap{Cluster: cluster, Conf: founders})
		n.saves()
		m := n.message(c.from, 1, c.body)
		m.Cluster = other
		n.steps(Receive{Message: m})
		if n.state.OtherCluster != other || n.state.Refused != 1 {
			t.Errorf("%v: %+v", &m, n.state)
		}
		if n.ignore(); n.out.Deadline == 0 != !c.founds {
			t.Errorf("%v: it campaigns at %v", &m, n.out.Deadline)
		}
		n.steps(Receive{Message: n.message(3, 1, &VoteRequest{Pre: true, Last: id(1, 1)})})
		if got := len(n.out.Send) == 1 && n.out.Send[0].Body.(*VoteReply).Granted; got != c.founds {
			t.Errorf("%v: it would vote: %v", &m, got)
		}
	}
}

func TestStatusNamesWhoDoesNotAnswer(t *testing.T) {
	g := newGroup(t, 5)
	g.elects(1)
	silent := func(want ...NodeID) {
		t.Helper()
		if st := g.member(1).state; !slices.Equal(st.Silent, want) {
			t.Errorf("%v: silent are %v, and should be %v", st, st.Silent, want)
		}
	}
	stops := func(ids ...NodeID) {
		g.stops(ids...)
		for g.member(1).state.Role != PreCandidate {
			g.timesOut(1)
			g.settle()
		}
	}
	silent()
	stops(3, 4, 5)
	silent() // it has just begun to ask
	g.timesOut(1)
	silent(3, 4, 5) // though 2 has not answered again yet
	g.settle()
	silent(3, 4, 5)
	g.starts(4)
	g.passes(electionTimeout)
	g.elects(1)
	silent()
	stops(2, 4)
	silent() // what was found out before there was a leader is not said again
}
