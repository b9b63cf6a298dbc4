package raftcore_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// Every test in this package also passes through member.obeysTheRules, which
// compares what a node says with what its disk holds at that moment.

// --- D1: a leader's own entry ---

func TestD1_ASingleVoterCommitsWhenItsDiskHasSpoken(t *testing.T) {
	n := lead(t, given{Voters: voters(1)})
	n.steps(Propose{Tag: 7, Data: []byte("x")})
	n.wants(`Save #3 term=1 vote=1 [1/2 "x"]`)
	n.waits(time.Hour)
	n.wantsNothing()
	n.hasCommitted(1)
	n.saves()
	n.wants(`Apply [1/2 "x"] tag=7@2`)
}

func TestD1_ALeaderDoesNotCountItselfBeforeItsDiskHasSpoken(t *testing.T) {
	for _, c := range []struct {
		voters []NodeID
		with   []NodeID // who, with the leader's disk, makes a quorum
		beside []NodeID // who makes a quorum without it
	}{
		{voters(1, 2), voters(2), nil},
		{voters(1, 2, 3), voters(2), voters(2, 3)},
		{voters(1, 2, 3, 4), voters(2, 3), voters(2, 3, 4)},
		{voters(1, 2, 3, 4, 5), voters(2, 3), voters(2, 3, 4)},
	} {
		n := lead(t, given{Voters: c.voters})
		n.steps(Propose{})
		n.accepted(c.with...)
		n.hasCommitted(1)
		n.saves()
		n.hasCommitted(2)
		if c.beside == nil {
			continue
		}
		n.steps(Propose{})
		n.accepted(c.beside...)
		n.hasCommitted(3)
		if n.state.Saved != 2 {
			t.Errorf("%v", n.node)
		}
	}
}

// D5: the opening entry is an entry like any other.
func TestD5_ANewLeaderDoesNotCountItselfForItsOpeningEntry(t *testing.T) {
	n := start(t, given{})
	n.wins()
	n.savesOne()
	n.hasCommitted(0)
	n.is(Leader, 1)
	n.accepted(2)
	n.hasCommitted(1)

	n = start(t, given{Voters: voters(1, 2)})
	n.timesOut()
	n.granted(2)
	n.saves()
	n.granted(2) // now it leads, and its opening entry is under way to the disk
	n.accepted(2)
	n.hasCommitted(0)
	n.saves()
	n.hasCommitted(1)
}

// --- D2: answers before the disk ---

func TestD2_AFollowerAcknowledgesEntriesWhenTheyAreDurable(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1, 1), Round: 1})
	n.wants(`Save #1 term=1 [1/1 "" 1/2 ""]`)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1), Round: 1})
	n.wants(`Save #2 term=1 [1/3 ""]`)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 3), Round: 2})
	n.wants("1->2 term=1 AppendReply match=0 round=2")
	n.savesOne()
	n.wants("1->2 term=1 AppendReply match=2 round=2")
	n.savesOne()
	n.wants("1->2 term=1 AppendReply match=3 round=2")
}

func TestD2_NothingIsAppliedBeforeItIsDurableHere(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1, 1), Commit: 2, Round: 1})
	n.hasCommitted(2)
	n.wants(`Save #1 term=1 [1/1 "" 1/2 ""]`)
	n.saves()
	n.wants("1->2 term=1 AppendReply match=2 round=1", `Apply [1/1 "" 1/2 ""]`)
}

// stalls has a disk count as stalled early.
func stalls(c *Config) { c.SaveTimeout = 2 * electionTimeout }

// D12: the others commit without a leader whose disk stalls, and it shows itself;
// but it cannot say so to its clients, so it hands its office over.
func TestD12_ALeaderWithAStalledDiskHandsOver(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: stalls})
	g.elects(1)
	g.member(1).stalled = true
	tag := g.proposes(1, "x")
	g.passes(electionTimeout)
	if m := g.member(1); m.state.Role != Leader || m.state.Commit != 2 || m.done[tag] != 0 || m.state.SavingSince == 0 || m.state.Stalled {
		t.Errorf("%v; done at %d", m.node, m.done[tag])
	}
	if m := g.member(2); m.applied != 2 {
		t.Errorf("node 2 has applied %d", m.applied)
	}
	g.passes(2 * electionTimeout)
	if s := g.member(1).node.Status(); s.Role == Leader || s.Leader == 1 || s.Leader == Nobody || !s.Stalled {
		t.Fatalf("%v", s)
	}
	g.member(1).stalled = false
	g.settle()
	if m := g.member(1); m.done[tag] != 2 || m.state.SavingSince != 0 || m.state.Stalled {
		t.Errorf("%v; done at %d", m.node, m.done[tag])
	}
}

func TestD12_ALeaderWithAStalledDiskTakesNoProposals(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.SaveTimeout = heartbeatInterval }})
	n.steps(Propose{Tag: 1})
	n.waits(heartbeatInterval - 1)
	n.acknowledged(2, n.state.Last)
	n.acknowledged(3, 1) // without it only node 2 has the whole log
	n.ignore()
	n.steps(Propose{Tag: 2})
	if len(n.out.Replies) > 0 {
		t.Fatalf("too early: %v", n.out.Replies)
	}
	n.ignore()
	n.waits(1)
	n.ignore()
	n.steps(Propose{Tag: 3})
	n.wants("Reply tag=3 busy SaveTimeout leader=1")
	n.waits(electionTimeout / 2)
	n.is(Leader, 1)
	for i := range n.mail {
		if _, told := n.mail[i].Body.(*TimeoutNow); told {
			t.Errorf("nobody can do better, and it says %v", &n.mail[i])
		}
	}
	n.saves()
	n.steps(Propose{Tag: 4})
	if len(n.out.Replies) > 0 {
		t.Errorf("the disk has answered: %v", n.out.Replies)
	}
}

// The first heir may have a stalled disk, too: it says nothing, and another is asked.
func TestD12_AStalledHeirIsNotUrgedForEver(t *testing.T) {
	g := newGroupOf(t, 5, given{Limits: func(c *Config) { compacts(1, 0)(c); stalls(c) }})
	for _, m := range g.members {
		m.lazy = true // no machine asks for a snapshot yet
	}
	g.elects(1)
	g.proposes(1, "x")
	g.settle()
	g.passes(heartbeatInterval)
	// Everybody has everything. The disks of 1 and 2 stall over the Save of a snapshot.
	g.member(1).stalled, g.member(2).stalled = true, true
	for _, m := range g.members {
		m.lazy = false
		m.inbox = append(m.inbox, Applied{Index: m.applied})
	}
	g.settle()
	for _, id := range []NodeID{1, 2} {
		if g.member(id).state.SavingSince == 0 {
			t.Fatalf("no Save of %d is under way", id)
		}
	}
	g.passes(10 * electionTimeout)
	if s := g.member(3).state; s.Leader < 3 {
		t.Errorf("three of five disks are well, and %d leads", s.Leader)
	}
}

// A process that was stopped for long finds the disk's answer beside the proposals
// that waited.
func TestD12_ADiskThatHasAnsweredDoesNotStall(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: stalls})
	n.steps(Propose{Tag: 1})
	n.now = n.now.Add(3 * electionTimeout)
	n.ignore()
	n.steps(Propose{Tag: 2}, Saved{Token: n.disk.completeOldest()})
	if len(n.out.Replies) > 0 {
		t.Errorf("%v", n.out.Replies)
	}
}

// The deadline of a leader names the instant at which it has to do something about
// its disk.
func TestD12_AStallIsNoticedThoughNothingHappens(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.SaveTimeout = heartbeatInterval / 2 }})
	n.steps(Propose{})
	n.accepted(2, 3)
	if at := n.now.Add(heartbeatInterval / 2); n.out.Deadline != at {
		t.Errorf("it wants a tick at %v, not %v", n.out.Deadline, at)
	}
	n.timesOut()
	if m := n.mail[len(n.mail)-1]; m.String() != "1->2 term=1 TimeoutNow" {
		t.Errorf("it says %v", &m)
	}
}

func TestD12_NobodyWithAStalledDiskStandsForElection(t *testing.T) {
	stand := func(t *testing.T) *stage {
		n := start(t, given{Log: terms(1), Term: 1, Limits: func(c *Config) { c.CampaignOnDemand = true; stalls(c) }})
		n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1), Round: 1})
		n.waits(2 * electionTimeout)
		n.ignore()
		return n
	}
	for name, cause := range map[string]func(n *stage){
		"time":           func(n *stage) { n.waits(2 * electionTimeout) },
		"Campaign":       func(n *stage) { n.waits(electionTimeout); n.steps(Campaign{}) },
		"a demand":       func(n *stage) { n.waits(electionTimeout); n.steps(Propose{Tag: 1}) },
		"its leader":     func(n *stage) { n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Round: 2}); n.hears(2, 1, &TimeoutNow{}) },
		"time and again": func(n *stage) { n.waits(2 * electionTimeout); n.waits(2 * electionTimeout) },
	} {
		n := stand(t)
		cause(n)
		if n.state.Role != Follower || n.out.Deadline != 0 && n.out.Deadline <= n.now {
			t.Errorf("%s: %v, deadline %v at %v", name, n.state, n.out.Deadline, n.now)
		}
		n.saves()
		n.waits(2 * electionTimeout)
		n.waits(2 * electionTimeout)
		if n.state.Role == Follower {
			t.Errorf("%s: the disk has answered, and it does not stand", name)
		}
	}
}

func TestD12_AGroupWithoutAQuorumOfDisksCommitsNothing(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: stalls})
	g.elects(1)
	g.member(1).stalled, g.member(2).stalled = true, true
	tag := g.proposes(1, "x")
	g.passes(5 * electionTimeout)
	if m := g.member(1); m.state.Role != Leader || m.state.Commit != 1 || m.done[tag] != 0 {
		t.Errorf("%v; done at %d", m.node, m.done[tag])
	}
}

// --- D3: the ABA of completions ---

// The very entry that a first Save wrote comes back in a third, after a second
// one replaced it. While the second is under way a crash may leave either; so
// the completion of the first, or of the second, acknowledges nothing of it.
//
//	Save #1   1/1 1/2 1/3      leader 2, term 1
//	Save #2       2/2          leader 3, term 2
//	Save #3       1/2 1/3      leader 2, term 3
func TestD3_TheCompletionOfAReplacedSaveAcknowledgesNothing(t *testing.T) {
	n := aba(t)
	n.savesOne() // #1: the disk holds 1/1 1/2 1/3, and #2 is about to overwrite them
	n.wantsNothing()
	n.savesOne() // #2: the disk holds 1/1 2/2; now it knows term 2, not yet term 3
	n.wantsNothing()
	n.savesOne() // #3
	n.wants("1->2 term=3 AppendReply match=3 round=2")
}

// The same with the terms durable, so that only the entries are in question.
func TestD3_TheCompletionOfAReplacedSaveAcknowledgesOnlyWhatComesBefore(t *testing.T) {
	n := start(t, given{Log: terms(1), Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1, 1), Round: 1})
	n.hears(3, 2, &VoteReply{})
	n.hears(3, 3, &VoteReply{})
	n.saves()
	n.ignore()
	// In term 3 the leader 2 brings entry 2/2 in place of 1/2 …
	n.hears(2, 3, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	n.wants(`Save #4 term=3 [2/2 ""]`, "1->2 term=3 AppendReply match=1 round=1")
	// … and a late message of the same leader cannot bring 1/2 back; a later leader can.
	n.hears(3, 4, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1, 1), Round: 1})
	n.wants(`Save #5 term=4 [1/2 "" 1/3 ""]`)
	n.savesOne()
	n.wantsNothing()
	if n.state.Saved != 1 {
		t.Errorf("%v; entry 2 of the disk is about to be replaced", n.node)
	}
	n.savesOne()
	n.wants("1->3 term=4 AppendReply match=3 round=1")
}

func TestD3_ACrashAmidTheThreeSavesLeavesWhatWasPromised(t *testing.T) {
	for kept, want := range [][]EntryID{{}, ids(commands(1, 1, 1, 1)), ids(commands(1, 1, 2)), ids(commands(1, 1, 1, 1))} {
		n := aba(t)
		n.crashes(kept)
		if got := ids(n.disk.entries); !slices.Equal(got, want) {
			t.Errorf("%d Saves kept: %v, should be %v", kept, got, want)
		}
		if n.state.Saved != Index(len(want)) || n.state.Last != Index(len(want)) {
			t.Errorf("%d Saves kept: %v", kept, n.node)
		}
	}
}

func aba(t *testing.T) *stage {
	n := start(t, given{})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1, 1, 1), Round: 1})
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	n.hears(2, 3, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1, 1), Round: 2})
	n.wants(`Save #1 term=1 [1/1 "" 1/2 "" 1/3 ""]`, `Save #2 term=2 [2/2 ""]`, `Save #3 term=3 [1/2 "" 1/3 ""]`)
	return n
}

func TestD3_CompletionsOfAnEarlierStartAreIgnored(t *testing.T) {
	n := start(t, given{})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1), Round: 1})
	old := n.saved
	n.crashes(0)
	n.hears(3, 1, &AppendRequest{Entries: commands(1, 1, 1), Round: 1})
	n.ignore()
	n.steps(Saved{Token: old})
	n.wantsNothing()
	n.saves()
	n.wants("1->3 term=1 AppendReply match=2 round=1")
}

func TestACompletionStandsForAllBefore(t *testing.T) {
	n := start(t, given{Term: 1})
	for i := range Index(3) {
		n.hears(2, 1, &AppendRequest{Prev: id(min(1, Term(i)), i), Entries: commands(i+1, 1), Round: uint64(i + 1)})
	}
	n.ignore()
	for range 3 {
		n.disk.completeOldest()
	}
	n.steps(Saved{Token: n.saved})
	n.wants("1->2 term=1 AppendReply match=3 round=3")
	for sequence := range n.saved.Sequence { // and those that it stood for say nothing new
		n.steps(Saved{Token: Token{Boot: 1, Sequence: sequence}})
	}
	n.wantsNothing()
}

func TestACompletionOfASaveThatWasNeverOrderedBreaksARule(t *testing.T) {
	n := start(t, given{})
	breaks(t, RuleSaveCompletes, func() { n.node.Step(Saved{Token: Token{Boot: 1, Sequence: 1}}) })
}

func TestAnApplyThatWasNeverOrderedBreaksARule(t *testing.T) {
	n := start(t, given{})
	breaks(t, RuleAppliedCommitted, func() { n.node.Step(Applied{Index: 1}) })
}

func TestALeaderThatContradictsCommittedEntriesBreaksARule(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
	breaks(t, RuleCommittedKept, func() {
		n.node.Step(Receive{n.message(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})})
	})
}

// breaks demands that f breaks a rule.
func breaks(t *testing.T, rule Rule, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		r := recover()
		broken, ok := r.(*InvariantError)
		if !ok || broken.Rule != rule {
			t.Errorf("it should break the rule %q: %v", rule, r)
			return
		}
		var err *InvariantError
		if !errors.As(fmt.Errorf("wrapped: %w", broken), &err) || err.Node != 1 {
			t.Errorf("%v", broken)
		}
	}()
	f()
}

// --- D4: terms and entries ---

func TestD4_ASaveBringsTheTermWithTheEntries(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1})
	n.hears(2, 4, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 3, 4), Round: 1})
	if s := n.out.Save; s.HardState.Term != 4 || len(s.Entries) != 2 {
		t.Errorf("%v", s)
	}
}

// The entries have been durable for long; the term in which they are now
// acknowledged is not. A node that acknowledged, crashed and came back in the
// earlier term would take an earlier leader's word and give them up.
func TestD4_AnAcknowledgementWaitsForItsTerm(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1), Term: 1})
	n.hears(2, 2, &AppendRequest{Prev: id(1, 3), Round: 1})
	n.wants("Save #1 term=2")
	n.hears(2, 2, &AppendRequest{Prev: id(1, 3), Round: 2})
	n.wantsNothing()
	n.saves()
	n.wants("1->2 term=2 AppendReply match=3 round=2")
}

func TestD4_ARejectionWaitsForItsTerm(t *testing.T) {
	n := start(t, given{Log: terms(1), Term: 1})
	n.hears(2, 2, &AppendRequest{Prev: id(1, 3), Round: 1})
	n.wants("Save #1 term=2")
	n.saves()
	n.wants("1->2 term=2 AppendReply rejected probed=1/3 hint=1/1 round=1")
}

func TestAPromiseOfAnEarlierTermIsVoid(t *testing.T) {
	n := start(t, given{})
	n.hears(2, 5, &VoteRequest{})
	n.hears(3, 6, &VoteRequest{})
	n.ignore()
	n.savesOne()
	n.wantsNothing()
	n.savesOne()
	n.wants("1->3 term=6 VoteReply granted")
}

func TestACandidacyThatWasOvertakenIsVoid(t *testing.T) {
	n := start(t, given{})
	n.timesOut()
	n.granted(2)
	n.hears(3, 9, &VoteRequest{})
	n.ignore()
	n.saves()
	n.wants("1->3 term=9 VoteReply granted")
	n.is(Follower, 9)
}

// --- Load and Loaded: entries that have left the memory ---

func TestAfterARestartEntriesAreAppliedThroughLoads(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 1, 1), Term: 1, Forgets: true, Limits: func(c *Config) { c.MaxApplyBytes = 128 }})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 5), Commit: 5, Round: 1})
	n.wants("Load 1..5 for 1", "1->2 term=1 AppendReply match=5 round=1")
	n.hears(2, 1, &AppendRequest{Prev: id(1, 5), Commit: 5, Round: 2})
	n.wants("1->2 term=1 AppendReply match=5 round=2") // one Load at a time
	n.readsDisk()
	n.wants(`Apply [1/1 "" 1/2 ""]`) // as much as there is room for
	n.steps(Applied{Index: 2})
	n.wants("Load 3..5 for 1")
	n.readsDisk()
	n.steps(Applied{Index: 4})
	n.wants(`Apply [1/3 "" 1/4 ""]`, "Load 5..5 for 1")
	n.readsDisk()
	n.wants(`Apply [1/5 ""]`)
	n.steps(Applied{Index: 5})
	n.wantsNothing()
}

// A machine that can apply no more looks at what comes, and keeps nothing of it: it
// has room for all of it, and has not applied it.
func TestF4_WhatAMachinePassesOverIsApplyingNoMore(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 1, 1), Term: 1, Forgets: true, Limits: func(c *Config) { c.MaxApplyBytes = 128 }})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 5), Commit: 5, Round: 1})
	n.ignore()
	n.readsDisk()
	n.wants(`Apply [1/1 "" 1/2 ""]`)
	n.steps(Applied{Index: 1, Passed: 2})
	n.wants("Load 3..5 for 1")
	n.readsDisk()
	n.wants(`Apply [1/3 "" 1/4 ""]`)
	n.steps(Applied{Index: 1, Passed: 4})
	n.wants("Load 5..5 for 1")
	n.readsDisk()
	n.wants(`Apply [1/5 ""]`)
	n.steps(Applied{Index: 1, Passed: 5})
	n.wantsNothing()
	if s := n.node.Status(); s.Applied != 1 {
		t.Errorf("%v: it has applied one entry", s)
	}
	breaks(t, RuleAppliedCommitted, func() { n.node.Step(Applied{Index: 1, Passed: 6}) })
}

func TestLoadedEntriesMeetThoseInMemory(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1), Term: 1, Forgets: true})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 3), Entries: commands(4, 1, 1), Commit: 5, Round: 1})
	n.saves()
	n.ignore()
	n.readsDisk()
	n.wants(`Apply [1/1 "" 1/2 "" 1/3 ""]`)
	n.steps()
	n.wants(`Apply [1/4 "" 1/5 ""]`)
}

func TestAnswersThatAreNotWhatWasAskedAreNotApplied(t *testing.T) {
	for name, answer := range map[string]Loaded{
		"nothing":                 {Load: Load{For: 1, From: 1, To: 3}},
		"another place":           {Load: Load{For: 1, From: 2, To: 3}, Entries: commands(2, 1, 1)},
		"entries of another term": {Load: Load{For: 1, From: 1, To: 3}, Entries: commands(1, 2, 2)},
		"other indexes":           {Load: Load{For: 1, From: 1, To: 3}, Entries: commands(2, 1, 1)},
		"more than is committed":  {Load: Load{For: 1, From: 1, To: 4}, Entries: commands(1, 1, 1, 1, 1)},
		"more than there is":      {Load: Load{For: 1, From: 1, To: 9}, Entries: commands(1, 1, 1, 1, 1, 1, 1)},
		"somebody else's":         {Load: Load{For: 3, From: 1, To: 3}, Entries: commands(1, 1, 1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Log: terms(1, 1, 1, 1), Term: 1, Forgets: true})
			n.hears(2, 1, &AppendRequest{Prev: id(1, 4), Commit: 3, Round: 1})
			n.steps(answer)
			if n.applied != 0 {
				t.Fatalf("it applied up to %d", n.applied)
			}
			for range 5 { // it asks again, in its own time
				n.waits(heartbeatInterval)
				n.hears(2, 1, &AppendRequest{Prev: id(1, 4), Commit: 3, Round: 2})
			}
			n.steps(Loaded{Load: n.loads[0], Entries: n.disk.load(n.loads[0])})
			if n.applied != 3 {
				t.Errorf("it applied up to %d, and asked for %v", n.applied, n.loads)
			}
		})
	}
}

func TestAFailingDiskIsNotAskedInABusyLoop(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1, Forgets: true})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
	for range 100 {
		for len(n.loads) > 0 {
			load := n.loads[0]
			n.loads = n.loads[1:]
			n.steps(Loaded{Load: load})
			if len(n.loads) > 0 {
				t.Fatal("it asks again at once")
			}
		}
		n.now = n.out.Deadline
		n.steps(Receive{n.message(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: uint64(n.now)})})
	}
	n.timesOut()
	n.readsDisk()
	if n.applied != 2 {
		t.Errorf("it applied up to %d", n.applied)
	}
}

func TestALoadThatWasAnsweredTwiceIsAppliedOnce(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1, Forgets: true})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
	answer := Loaded{Load: n.loads[0], Entries: n.disk.load(n.loads[0])}
	n.ignore()
	n.steps(answer, answer)
	n.steps(answer)
	n.wants(`Apply [1/1 "" 1/2 ""]`)
}
