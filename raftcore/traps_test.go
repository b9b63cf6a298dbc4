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
		n := inJoint(t)
		n.saves()
		n.accepted(c[0])
		n.hasCommitted(1)
		n.accepted(c[1])
		n.hasCommitted(2)
	}
}

// inJoint is a leader of 1, 4 and 5 whose change to 1, 2 and 3 is not committed.
func inJoint(t *testing.T) *stage {
	n := lead(t, given{Voters: voters(1, 4, 5), Learners: voters(2, 3)})
	n.steps(ChangeConfig{Conf: ConfState{Voters: voters(1, 2, 3)}})
	if !n.state.Conf.Joint() {
		t.Fatalf("%v", &n.state.Conf)
	}
	return n
}

func TestE3_ALeaderStepsDownWithoutAMajorityOfTheOutgoingSet(t *testing.T) {
	n := inJoint(t)
	for range electionTimeout / heartbeatInterval {
		n.waits(heartbeatInterval)
		for _, p := range voters(2, 3) {
			if n.state.Role == Leader {
				n.acknowledged(p, 1)
			}
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
		&AppendReply{Match: 1, Round: 1}, &SnapshotRequest{Snapshot: SnapshotMeta{Last: id(3, 9), Conf: ConfigAt{Conf: ConfState{Voters: voters(1)}}}}, &TimeoutNow{},
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
	// A leader's request is answered, so that it learns of this life, and not
	// obeyed.
	m := n.message(2, 4, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 4), Commit: 2, Round: 1})
	m.ToIncarnation = lifeOf(7)
	n.steps(Receive{m})
	n.saves()
	n.wants("Save #1 term=4", "1->2 term=4 AppendReply rejected probed=1/1 hint=1/1 round=1")
	m = n.message(2, 4, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 4), Round: 1})
	m.ToIncarnation = lifeOf(1)
	n.steps(Receive{m})
	n.wants(`Save #2 term=4 [4/2 ""]`, "1->2 term=4 AppendReply match=1 round=1")
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

// What a peer says it lacks, after it had acknowledged it, its disk has lost. It
// used to be taken for an old message, and the peer was asked the same for ever.
func TestD9_WhoLostWhatItHadAcknowledgedIsSentItAgain(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1, 1)})
	n.steps(Propose{})
	n.saves()
	n.accepted(2, 3)
	old := n.askedOf(3)
	n.hears(3, n.state.Term, &AppendReply{Rejected: true, Probed: old.Prev, Hint: id(1, 2), Round: old.Round})
	if got := n.state.Peers[1]; got.Match != 5 {
		t.Fatalf("it may be an old message: %v", got)
	}
	n.waits(heartbeatInterval)
	n.rejected(3, id(1, 2))
	if got := n.state.Peers[1]; got.Match != 0 || got.State != ProgressProbe {
		t.Fatalf("%v", got)
	}
	n.waits(heartbeatInterval)
	if got := n.askedOf(3).Prev; got != id(1, 2) {
		t.Fatalf("it is asked about %v", got)
	}
	n.acknowledged(3, 2)
	for len(n.loads) > 0 {
		n.readsDisk()
	}
	if r := n.askedOf(3); r.Prev != id(1, 2) || len(r.Entries) == 0 {
		t.Errorf("it is sent %v", r)
	}
}

// The leader counts it from when it hears of it, so it hears of it at once.
func TestD10_WhoIsAdmittedWhenItHasEverythingSaysThatItCounts(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.hears(2, 3, &AppendRequest{Entries: commands(1, 1, 3), Commit: 2, Round: 1})
	n.saves()
	n.ignore()
	m := n.message(2, 3, &AppendRequest{Prev: id(3, 2), Commit: 2, Round: 1, Admit: true})
	m.ToIncarnation = lifeOf(1)
	n.steps(Receive{m})
	n.wants("Save #2 term=3 vote=2") // the life before may have voted for somebody else in this term
	n.saves()
	n.wants("1->2 term=3 AppendReply match=2 round=1")
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
		{"by the word to whoever is there", 0, log, 3, false},
		{"by the word to the disk before", lifeOf(9), log, 3, false},
	} {
		n := start(t, given{Pristine: true})
		m := n.message(2, 3, &AppendRequest{Entries: c.entries, Commit: c.commit, Round: 1, Admit: true})
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

// A leader admits a life of a disk when a quorum of the others has echoed a round
// that was opened after it had heard of that life; and counts nothing before.
func TestD10_ALeaderAdmitsANewcomerWhenAQuorumOfTheOthersHasEchoed(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.steps(Propose{Data: []byte("x")})
	n.saves()
	reply := func(match Index) {
		m := n.message(2, 1, &AppendReply{Match: match, Round: n.askedOf(2).Round, Newcomer: true})
		m.Incarnation = lifeOf(9)
		n.steps(Receive{m})
	}
	n.waits(heartbeatInterval) // a round that the new disk can echo
	open := n.askedOf(3).Round
	reply(0)
	n.saves()
	reply(2)
	for _, p := range voters(3, 4) { // the round that was open when the new disk came
		n.hears(p, 1, &AppendReply{Match: 1, Round: open})
	}
	n.hears(3, 1, &AppendReply{Match: 2, Round: open})
	n.hasCommitted(1) // 1 and 3: what the newcomer has does not count
	n.hears(4, 1, &AppendReply{Match: 2, Round: open})
	n.hasCommitted(2) // and what was appended before the new disk came does not admit it
	if n.askedOf(2).Admit {
		t.Error("admitted by an echo of a round that was open when the new disk came")
	}
	n.accepted(3)
	if n.askedOf(2).Admit {
		t.Error("admitted before anybody could say that there is no other leader")
	}
	n.accepted(4)
	n.hasCommitted(3)
	if !n.askedOf(2).Admit {
		t.Error("not admitted at once, although a quorum of the others has echoed")
	}
}

// A leader that has committed nothing of its own term does not know yet what the
// life before has helped to commit.
func TestD10_ALeaderThatDoesNotKnowWhatIsCommittedAdmitsNobody(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.wins()
	n.saves()
	n.waits(heartbeatInterval)
	m := n.message(2, 1, &AppendReply{Round: n.askedOf(2).Round, Newcomer: true})
	m.Incarnation = lifeOf(9)
	n.steps(Receive{m})
	n.saves()
	n.acknowledged(3, 0)
	n.acknowledged(4, 0)
	n.waits(heartbeatInterval)
	if n.askedOf(2).Admit {
		t.Error("admitted")
	}
	n.acknowledged(3, 1)
	n.acknowledged(4, 1)
	n.waits(heartbeatInterval)
	if n.askedOf(2).Admit {
		t.Error("admitted by what was there before it came")
	}
	n.acknowledged(3, 2)
	n.acknowledged(4, 2)
	if !n.askedOf(2).Admit {
		t.Error("not admitted, although it is known now")
	}
}

// What a newcomer echoes proves nothing: the life before may have elected another.
func TestD10_ANewcomersEchoConfirmsNoRead(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	m := n.message(2, 1, &AppendReply{Match: 0, Round: n.askedOf(2).Round, Newcomer: true})
	m.Incarnation = lifeOf(9)
	n.steps(Receive{m})
	n.saves()
	n.steps(Read{Tag: 1})
	n.ignore()
	m = n.message(2, 1, &AppendReply{Match: 1, Round: n.askedOf(2).Round, Newcomer: true})
	m.Incarnation = lifeOf(9)
	n.steps(Receive{m})
	for _, line := range n.said {
		if line == "Read tag=1 at 1" {
			t.Errorf("%q", n.said)
		}
	}
	n.ignore()
	n.accepted(3)
	if !slices.Contains(n.said, "Read tag=1 at 1") || !n.askedOf(2).Admit { // the newcomer is admitted, too
		t.Errorf("%q", n.said)
	}
}

// Who waits to be added does not vote in a founding election.
func TestD10_WhoIsToJoinDoesNotFound(t *testing.T) {
	for _, joins := range []bool{false, true} {
		n := start(t, given{Pristine: true, Limits: func(c *Config) { c.Joins = joins }})
		n.hears(2, 1, &VoteRequest{Last: id(1, 1)})
		n.saves()
		if voted := n.state.Vote == 2; voted == joins {
			t.Errorf("joins %v: voted %v", joins, voted)
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
	if !n.state.Conf.Equal(*larger) || n.state.ConfIndex != 2 {
		t.Errorf("in force is %v of %d", &n.state.Conf, n.state.ConfIndex)
	}
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	for range 2 {
		if !n.state.Conf.Equal(before) || n.state.ConfIndex != 0 {
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

// The target of a transfer comes back with a fresh disk: it could not lead.
func TestL2_ATransferToWhoLostItsDiskIsCalledOff(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.steps(Propose{Data: []byte("x")}, Transfer{Tag: 1, To: 2})
	m := n.message(2, 1, &AppendReply{Round: n.askedOf(2).Round, Newcomer: true})
	m.Incarnation = lifeOf(9)
	n.steps(Receive{m})
	if r := n.out.Replies; len(r) != 1 || r[0].Tag != 1 || r[0].Outcome != CalledOff {
		t.Errorf("%v", r)
	}
}

// A late message to the disk before is rejected, though the entry is there, and in
// the newest round.
func TestD9_WhoHasTheEntryHasLostNothing(t *testing.T) {
	n := leading(t, nil) // node 2 has acknowledged 12
	n.waits(heartbeatInterval)
	n.acknowledged(2, 12)
	n.ignore()
	n.hears(2, 2, &AppendReply{Rejected: true, Probed: id(1, 10), Hint: id(1, 10), Round: n.askedOf(2).Round})
	if p := n.state.Peers[0]; p.Match != 12 || p.State != ProgressReplicate {
		t.Errorf("%v", p)
	}
}

// A disk that has lost its end may have held a vote and acknowledged entries that
// it knows nothing of now. Its node is a newcomer, though it has a log; it was a
// founder, and does not help to found the group again.
func TestD9_ADamagedDiskCountsForNothingUntilItIsRepaired(t *testing.T) {
	for _, log := range [][]Entry{
		{setting(1, 1, conf(voters(1, 2, 3)))},
		append([]Entry{setting(1, 1, conf(voters(1, 2, 3)))}, commands(2, 1, 1)...),
	} {
		r := Recovered{HardState: HardState{Term: 1, Cluster: 1}, Incarnation: 7, Damaged: true}
		for i := range log {
			r.Note(&log[i])
		}
		n := alone(t, r)
		n.hears(2, 5, &VoteRequest{Last: id(1, 1)})
		n.hears(2, 5, &VoteRequest{Last: id(4, 9)})
		n.hears(2, 5, &VoteRequest{Pre: true, Last: id(4, 9)})
		for range 20 {
			n.now = n.now.Add(2 * electionTimeout)
			n.steps()
		}
		for _, m := range n.sent {
			if r, ok := m.Body.(*VoteReply); !ok || r.Granted {
				t.Errorf("with a log of %d it says %v", len(log), m)
			}
		}
	}
	if _, err := New(Config{ID: 1, Boot: 1}, Recovered{HardState: HardState{Term: 1, Cluster: 1, Joined: true}, Damaged: true}); err == nil {
		t.Error("a damaged disk was taken for a whole one")
	}
}

// What a damaged disk has kept may be what others have overruled. A log that is long
// enough is not one that has what was committed.
func TestD9_ADamagedLogCountsForWhatTheLeaderHasSeenOfIt(t *testing.T) {
	r := Recovered{HardState: HardState{Term: 2, Cluster: cluster}, Damaged: true}
	log := append([]Entry{setting(1, 1, conf(voters(1, 2, 3)))}, commands(2, 1, 2, 2)...)
	for i := range log {
		r.Note(&log[i])
	}
	n := alone(t, r)
	n.hears(2, 3, &AppendRequest{Prev: id(1, 2), Commit: 4, Round: 1, Admit: true})
	if n.node.Status().Joined {
		t.Error("it counts, with entries that were overruled")
	}
	n.hears(2, 3, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 3, 3), Commit: 4, Round: 2, Admit: true})
	if !n.node.Status().Joined {
		t.Error("it does not count, though it has everything")
	}
}
