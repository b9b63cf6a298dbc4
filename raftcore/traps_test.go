package raftcore_test

import (
	"slices"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// Scenarios of TRAPS.md for which mutations of the code found no test, or only
// one of another line.

// 1, 2 and 3 come, 1, 4 and 5 go: the leader with one of each set decides
// nothing, with one more of both it does.
func TestE3_AMajorityOfBothSetsCommitsInAJointConfiguration(t *testing.T) {
	for _, c := range [][]NodeID{{2, 4}, {4, 2}, {3, 5}, {5, 3}} {
		n := lead(t, given{Voters: voters(1, 2, 3), Outgoing: voters(1, 4, 5)})
		n.steps(Propose{Tag: 1})
		n.saves()
		n.accepted(c[0])
		n.hasCommitted(1)
		n.accepted(c[1])
		n.hasCommitted(2)
	}
}

func TestE3_ALeaderStepsDownWithoutAMajorityOfTheOutgoingSet(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3), Outgoing: voters(1, 4, 5)})
	for range electionTimeout / heartbeatInterval {
		n.waits(heartbeatInterval)
		if n.state.Role == Leader {
			n.accepted(2, 3)
		}
	}
	n.is(Follower, 1)
}

// While the entries of Save #1 are on their way another leader replaces them,
// and the completion arrives before the replacement is in a Save.
func TestD3_ACompletionThatMeetsTheReplacementAcknowledgesNothingOfIt(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1, 1), Round: 1})
	n.ignore()
	replacement := n.message(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2, 2), Round: 1})
	n.steps(Receive{replacement}, Saved{Token: n.disk.completeOldest()})
	n.wants(`Save #2 term=2 [2/2 "" 2/3 ""]`)
	if n.state.Saved != 1 {
		t.Errorf("%v; only entry 1 is durable", n.node)
	}
	n.saves()
	n.wants("1->3 term=2 AppendReply match=3 round=1")
}

// What peers say to the disk that was lost is not for the one that took its
// place: no vote counts there, no entry, no answer.
func TestR5_AMessageToALifeThatHasEndedIsNotForTheNextOne(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	for i, body := range []Body{
		&VoteRequest{Last: id(9, 9)}, &VoteRequest{Pre: true, Last: id(9, 9)}, &VoteReply{Granted: true}, &VoteReply{Pre: true, Granted: true},
		&AppendRequest{Prev: id(1, 1), Entries: commands(2, 4), Round: 1}, &AppendReply{Match: 1, Round: 1},
	} {
		m := n.message(2, 4, body)
		m.ToIncarnation = lifeOf(7)
		n.steps(Receive{m})
		n.wantsNothing()
		n.is(Follower, 1)
		if n.state.Refused != uint64(i+1) {
			t.Errorf("%v was taken", body)
		}
	}
	m := n.message(2, 4, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 4), Round: 1})
	m.ToIncarnation = lifeOf(1)
	n.steps(Receive{m})
	n.wants(`Save #1 term=4 [4/2 ""]`)
}

// Whoever carries an Output out does so while the node goes on: into another
// term, and over the entries that the Output still speaks of.
func TestR11_WhatWasDrainedStaysAsItWasWhenTheNodeGoesOn(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 1, Data: []byte("x")}, Propose{Tag: 2, Data: []byte("y")})
	drained := n.out
	n.out = Output{}
	want := lines(&drained)
	n.saves()
	n.hears(3, 5, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 5, 5), Round: 1})
	n.hears(2, 6, &AppendRequest{Prev: id(5, 2), Entries: commands(3, 6), Commit: 3, Round: 1})
	n.saves()
	if got := lines(&drained); !slices.Equal(got, want) {
		t.Errorf("it has become\n\t%q\nand was\n\t%q", got, want)
	}
	if got := ids(n.disk.entries); !slices.Equal(got, []EntryID{id(1, 1), id(5, 2), id(6, 3)}) {
		t.Error(got)
	}
}

// The node had five entries and had said so; its disk lost three of them. It
// must not believe that it has what is committed.
func TestD9_ACommitIndexBeyondALostTailIsNotBelieved(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 5), Commit: 5, Round: 1})
	n.wants("1->2 term=1 AppendReply rejected probed=1/5 hint=1/2 round=1")
	n.hasCommitted(0)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1, 1, 1), Commit: 5, Round: 2})
	n.saves()
	n.hasCommitted(5)
	if n.applied != 5 {
		t.Errorf("it has applied %d", n.applied)
	}
}

// A fresh disk may be one that was lost. Its node counts again from when it holds
// everything that was committed, by the word of a leader who knows what was, and
// who speaks to this disk and not to the one before.
func TestD10_ANewcomerCountsWhenItHasEverythingThatWasCommitted(t *testing.T) {
	log := append([]Entry{{EntryID: id(1, 1), Kind: EntryConfig, Config: &ConfState{Voters: voters(1, 2, 3)}}}, commands(2, 1, 3, 3)...)
	for _, c := range []struct {
		name    string
		life    Incarnation
		entries []Entry
		commit  Index
		joined  bool
	}{
		{"all that is committed", lifeOf(1), log[:3], 3, true},
		{"more than is committed", lifeOf(1), log, 3, true},
		{"less than is committed", lifeOf(1), log[:3], 4, false},
		{"nothing of the leader's term is committed yet", lifeOf(1), log, 2, false},
		{"nothing is committed yet", lifeOf(1), log, 0, false},
		{"by the word to whoever is there", 0, log, 3, false},
		{"by the word to the disk before", lifeOf(9), log, 3, false},
	} {
		n := start(t, given{Pristine: true})
		m := n.message(2, 3, &AppendRequest{Entries: c.entries, Commit: c.commit, Round: 1})
		m.ToIncarnation = c.life
		n.steps(Receive{m})
		n.saves()
		n.ignore()
		n.hears(3, 4, &VoteRequest{Last: id(3, 9)})
		n.saves()
		if voted := n.state.Vote == 3; n.state.Joined != c.joined || voted {
			t.Errorf("%s: joined %v, should be %v; voted %v beside a living leader", c.name, n.state.Joined, c.joined, voted)
		}
		n.waits(2 * electionTimeout)
		n.hears(3, 9, &VoteRequest{Last: id(3, 9)})
		n.saves()
		if voted := n.state.Vote == 3; voted != c.joined {
			t.Errorf("%s: voted %v", c.name, voted)
		}
	}
}

// A configuration is in force from when it is appended, and until it is cut off.
func TestM12_AConfigurationThatIsCutOffIsNotInForce(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	before := n.state.Conf
	larger := &ConfState{Voters: voters(1, 2, 3, 4)}
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: []Entry{{EntryID: id(1, 2), Kind: EntryConfig, Config: larger}}, Round: 1})
	n.saves()
	if !n.state.Conf.Equal(larger) || n.state.ConfIndex != 2 {
		t.Errorf("in force is %v of %d", &n.state.Conf, n.state.ConfIndex)
	}
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	for range 2 {
		if !n.state.Conf.Equal(&before) || n.state.ConfIndex != 0 {
			t.Errorf("in force is %v of %d, after entry 2 was replaced", &n.state.Conf, n.state.ConfIndex)
		}
		n.saves()
		n.crashes(0)
	}
}

// The numbers begin anew with every start: the first Save of this one has the
// number of the first Save of the one before.
func TestP7_AnswersToAnEarlierStartAreNotForThisOne(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1, Forgets: true})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1), Commit: 2, Round: 1})
	save, load := n.saved, n.loads[0]
	n.crashes(0)
	n.steps(Saved{Token: save}, Loaded{Load: load, Entries: n.disk.load(load)})
	n.wantsNothing()
	n.hears(3, 2, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 2), Round: 1})
	n.wants(`Save #1 term=2 [2/3 ""]`)
	n.steps(Saved{Token: save})
	n.wantsNothing()
	n.saves()
	n.wants("1->3 term=2 AppendReply match=3 round=1")
}
