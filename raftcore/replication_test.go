package raftcore_test

import (
	"fmt"
	"slices"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// TestAppendRequestReceiver is the table of Raft Figure 2, "AppendEntries RPC,
// receiver implementation": a log, a request of the leader 2 in term 5, and
// what the follower 1 wants before and after its disk has spoken.
func TestAppendRequestReceiver(t *testing.T) {
	for _, c := range []struct {
		name    string
		log     []Term
		request AppendRequest
		wants   []string
		saved   []string
		commit  Index
	}{
		{
			name:    "a heartbeat to an empty log",
			request: AppendRequest{Round: 1},
			wants:   []string{"1->2 term=5 AppendReply match=0 round=1"},
		},
		{
			name:    "the first entries",
			request: AppendRequest{Entries: commands(1, 5, 5), Round: 1},
			wants:   []string{`Save #1 term=5 [5/1 "" 5/2 ""]`},
			saved:   []string{"1->2 term=5 AppendReply match=2 round=1"},
		},
		{
			name:    "entries that follow the log",
			log:     terms(1, 1),
			request: AppendRequest{Prev: id(1, 2), Entries: commands(3, 5), Commit: 1, Round: 1},
			wants:   []string{`Save #1 term=5 [5/3 ""]`, "1->2 term=5 AppendReply match=2 round=1", `Apply [1/1 ""]`},
			saved:   []string{"1->2 term=5 AppendReply match=3 round=1"},
			commit:  1,
		},
		{
			name:    "nothing at prev",
			log:     terms(1, 1),
			request: AppendRequest{Prev: id(4, 7), Entries: commands(8, 5), Commit: 8, Round: 1},
			wants:   []string{"1->2 term=5 AppendReply rejected probed=4/7 hint=1/2 round=1"},
		},
		{
			name:    "another entry at prev",
			log:     terms(1, 1, 2, 2),
			request: AppendRequest{Prev: id(1, 4), Entries: commands(5, 5), Commit: 5, Round: 1},
			wants:   []string{"1->2 term=5 AppendReply rejected probed=1/4 hint=1/2 round=1"},
		},
		{
			name:    "a conflict: everything from there on is replaced",
			log:     terms(1, 2, 2, 3),
			request: AppendRequest{Prev: id(1, 1), Entries: commands(2, 4), Commit: 9, Round: 1},
			wants:   []string{`Save #1 term=5 [4/2 ""]`, "1->2 term=5 AppendReply match=1 round=1", `Apply [1/1 ""]`},
			saved:   []string{"1->2 term=5 AppendReply match=2 round=1", `Apply [4/2 ""]`},
			commit:  2,
		},
		{
			name:    "a conflict after entries that match",
			log:     terms(1, 2, 3, 3),
			request: AppendRequest{Prev: id(1, 1), Entries: commands(2, 2, 4), Round: 1},
			wants:   []string{`Save #1 term=5 [4/3 ""]`, "1->2 term=5 AppendReply match=2 round=1"},
			saved:   []string{"1->2 term=5 AppendReply match=3 round=1"},
		},
		{
			name:    "entries that are there already: the rest stays",
			log:     terms(1, 2, 2, 3),
			request: AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 4, Round: 1},
			wants:   []string{"1->2 term=5 AppendReply match=2 round=1", `Apply [1/1 "" 2/2 ""]`},
			commit:  2,
		},
		{
			name:    "entries that overlap the end",
			log:     terms(1, 2),
			request: AppendRequest{Prev: id(0, 0), Entries: commands(1, 1, 2, 2, 4), Round: 1},
			wants:   []string{`Save #1 term=5 [2/3 "" 4/4 ""]`, "1->2 term=5 AppendReply match=2 round=1"},
			saved:   []string{"1->2 term=5 AppendReply match=4 round=1"},
		},
		{
			name:    "a commit index beyond the leader's own entries",
			log:     terms(1, 2, 2),
			request: AppendRequest{Prev: id(1, 1), Commit: 3, Round: 1},
			wants:   []string{"1->2 term=5 AppendReply match=1 round=1", `Apply [1/1 ""]`},
			commit:  1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, given{Log: c.log, Term: 5})
			n.hears(2, 5, &c.request)
			n.wants(c.wants...)
			n.saves()
			n.wants(c.saved...)
			n.hasCommitted(c.commit)
		})
	}
}

func TestMalformedAppendRequestsAreRefused(t *testing.T) {
	conf := &ConfState{Voters: voters(1, 2)}
	command := func(term Term, index Index) Entry { return Entry{EntryID: id(term, index), Kind: EntryCommand} }
	config := func(kind EntryKind, c *ConfState) Entry { return Entry{EntryID: id(1, 3), Kind: kind, Config: c} }
	for name, entries := range map[string][]Entry{
		"a gap after prev":               {command(1, 4)},
		"a gap between entries (D8)":     {command(1, 3), command(1, 5)},
		"an entry twice":                 {command(1, 3), command(1, 3)},
		"entries backwards":              {command(1, 4), command(1, 3)},
		"a term that falls":              {command(3, 3), command(2, 4)},
		"a term before that of prev":     {command(0, 3)},
		"a configuration that is absent": {config(EntryConfig, nil)},
		"a command with a configuration": {config(EntryCommand, conf)},
		"a configuration without voters": {config(EntryConfig, &ConfState{})},
		"a voter twice":                  {config(EntryConfig, &ConfState{Voters: voters(1, 1)})},
		"voters in disorder":             {config(EntryConfig, &ConfState{Voters: voters(2, 1)})},
		"nobody as a voter":              {config(EntryConfig, &ConfState{Voters: voters(0, 1)})},
		"a learner that votes":           {config(EntryConfig, &ConfState{Voters: voters(1, 2), Learners: voters(2)})},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Log: terms(1, 1), Term: 5})
			n.hears(2, 5, &AppendRequest{Prev: id(1, 2), Entries: entries, Round: 1})
			n.wantsNothing()
			if n.state.Refused != 1 || n.state.Last != 2 {
				t.Errorf("refused %d messages; %v", n.state.Refused, n.node)
			}
		})
	}
}

func TestMisdirectedMessagesAreRefused(t *testing.T) {
	request := &AppendRequest{Round: 1}
	for name, m := range map[string]Message{
		"to somebody else":      {From: 2, To: 3, Term: 5, Cluster: cluster, Body: request},
		"from itself":           {From: 1, To: 1, Term: 5, Cluster: cluster, Body: request},
		"from nobody":           {From: 0, To: 1, Term: 5, Cluster: cluster, Body: request},
		"of another cluster":    {From: 2, To: 1, Term: 5, Cluster: 2, Body: request},
		"another leader's, too": {From: 3, To: 1, Term: 1, Cluster: cluster, Body: request},
	} {
		n := start(t, given{Term: 1})
		n.hears(2, 1, request)
		n.ignore()
		n.steps(Receive{Message: m})
		n.wantsNothing()
		n.is(Follower, 1)
		if n.state.Refused != 1 || n.state.Leader != 2 {
			t.Errorf("%s: %v, refused %d", name, n.node, n.state.Refused)
		}
	}
}

// --- R1: counting replicas ---

func TestR1_EntriesOfEarlierTermsAreNotCommittedByCounting(t *testing.T) {
	n := start(t, given{Log: terms(1, 2), Term: 3})
	n.wins()
	n.saves()
	n.acknowledged(2, 2)
	n.acknowledged(3, 2)
	n.hasCommitted(0)
	n.accepted(2)
	n.hasCommitted(3)
}

// --- R2: a follower's commit index ---

// What lies after the last verified entry may be left over from other leaders.
func TestR2_AFollowerCommitsNothingThatIsNotVerified(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 1), Term: 5})
	n.hears(2, 5, &AppendRequest{Prev: id(1, 2), Commit: 4, Round: 1})
	n.hasCommitted(2)
	n.hears(2, 5, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1), Commit: 4, Round: 2})
	n.hasCommitted(3)
	n.hears(2, 5, &AppendRequest{Prev: id(3, 3), Commit: 9, Round: 3}) // does not match
	n.hasCommitted(3)
}

func TestR2_WhatWasVerifiedUnderAnEarlierLeaderIsNotVerifiedAnyMore(t *testing.T) {
	n := start(t, given{Log: terms(1), Term: 5})
	n.hears(2, 5, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 5, 5, 5), Round: 1})
	n.hears(3, 6, &AppendRequest{Prev: id(1, 1), Commit: 4, Round: 1})
	n.hasCommitted(1)
}

func TestAFollowersCommitIndexNeverFalls(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1), Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 3), Commit: 3, Round: 2})
	n.hasCommitted(3)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1})
	n.hears(3, 4, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
	n.hasCommitted(3)
}

// --- R3: heartbeats ---

func TestR3_AHeartbeatAcknowledgesOnlyWhatItChecked(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 1), Term: 5})
	n.hears(2, 5, &AppendRequest{Prev: id(1, 2), Round: 1})
	n.wants("1->2 term=5 AppendReply match=2 round=1")
	n.hears(2, 5, &AppendRequest{Prev: id(2, 4), Round: 2})
	n.wants("1->2 term=5 AppendReply rejected probed=2/4 hint=1/4 round=2")
}

func TestR3_AnEchoedRoundDoesNotAdvanceAPeersMatch(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1, 1)})
	n.steps(Propose{Tag: 1})
	n.saves()
	n.waits(heartbeatInterval)
	n.acknowledged(2, 4)
	n.acknowledged(3, 4)
	n.hasCommitted(4)
	for _, p := range n.state.Peers {
		if p.Match != 4 {
			t.Errorf("peer %d: match %d", p.ID, p.Match)
		}
	}
}

// --- R4: delayed and repeated requests ---

func TestR4_ADelayedRequestCutsNothingOff(t *testing.T) {
	for name, delayed := range map[string]*AppendRequest{
		"a heartbeat":                   {Prev: id(1, 1), Round: 1},
		"entries that are there":        {Prev: id(1, 1), Entries: commands(2, 5), Round: 1},
		"entries from the beginning":    {Entries: commands(1, 1, 5, 5), Round: 1},
		"one that begins before them":   {Prev: id(5, 2), Entries: commands(3, 5), Commit: 2, Round: 1},
		"one with an older commit":      {Prev: id(5, 4), Commit: 1, Round: 1},
		"one that ends where they do":   {Prev: id(5, 3), Entries: commands(4, 5), Round: 1},
		"the whole log, sent once more": {Entries: commands(1, 1, 5, 5, 5), Round: 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Log: terms(1), Term: 5})
			n.hears(2, 5, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 5, 5, 5), Commit: 3, Round: 3})
			n.saves()
			n.ignore()
			n.hears(2, 5, delayed)
			n.hears(2, 5, delayed)
			if n.state.Last != 4 || n.state.Commit != 3 || n.state.Saved != 4 {
				t.Errorf("%v", n.node)
			}
			if len(n.disk.pending) > 0 {
				t.Errorf("it writes again: %v", n.disk.pending)
			}
			n.waits(0)
			n.hears(2, 5, &AppendRequest{Prev: id(5, 4), Round: 4})
			if n.said[len(n.said)-1] != "1->2 term=5 AppendReply match=4 round=4" {
				t.Error(n.said)
			}
		})
	}
}

// The leader 1 of term 1 wrote entries 2 and 3; its request is on the way for a
// very long time. Meanwhile 2 leads term 2 and has replaced them.
func TestR4_ARequestOfADeposedLeaderIsRefused(t *testing.T) {
	n := start(t, given{ID: 3, Log: terms(1, 2, 2), Term: 2})
	n.hears(1, 1, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1, 1), Commit: 3, Round: 9})
	n.wants("3->1 term=2 AppendReply rejected probed=1/1 hint=0/0 round=0")
	if got := ids(n.disk.entries); !slices.Equal(got, []EntryID{id(1, 1), id(2, 2), id(2, 3)}) || n.state.Commit != 0 {
		t.Error(got, n.node)
	}
}

// --- R5: stale acknowledgements ---

// Node 1 led term 1 and node 2 acknowledged its entries 2 and 3. Node 1 was
// deposed, its entries replaced, and it leads again: the old acknowledgement
// speaks of entries that are gone.
func TestR5_AnAcknowledgementOfAnEarlierTermIsNotCounted(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 1}, Propose{Tag: 2})
	n.saves()
	late := n.message(2, 1, &AppendReply{Match: 3, Round: n.askedOf(2).Round})
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	n.saves()
	n.timesOut()
	n.elected()
	n.saves()
	n.is(Leader, 3)
	n.hasCommitted(1)
	n.steps(Receive{late})
	n.hasCommitted(1)
	n.accepted(2)
	n.hasCommitted(3)
}

func TestR5_ANewLifeOfAPeersDiskBeginsWithNothing(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2)})
	n.steps(Propose{Tag: 1}, Propose{Tag: 2})
	n.saves()
	n.acknowledged(2, 2)
	n.hasCommitted(2)
	late := &AppendReply{Match: 3, Round: n.askedOf(2).Round}
	n.waits(heartbeatInterval)
	n.ignore()
	reborn := n.message(2, 1, &AppendReply{Rejected: true, Probed: id(1, 3), Round: n.askedOf(2).Round})
	reborn.Incarnation = 999
	n.steps(Receive{reborn})
	if p := n.state.Peers[0]; p.Match != 0 || p.State != ProgressProbe {
		t.Errorf("%+v", p)
	}
	n.hears(2, 1, late) // of the former life
	n.hasCommitted(2)
	if p := n.state.Peers[0]; p.Match != 0 || n.state.Refused != 1 {
		t.Errorf("%+v, refused %d", p, n.state.Refused)
	}
}

func TestR5_AReplyThatClaimsMoreThanTheLeaderHasIsRefused(t *testing.T) {
	n := lead(t, given{})
	n.hears(2, 1, &AppendReply{Match: 100, Round: n.askedOf(2).Round})
	n.hears(3, 1, &AppendReply{Match: 100, Round: n.askedOf(3).Round})
	n.hasCommitted(1)
	if n.state.Refused != 2 {
		t.Errorf("refused %d", n.state.Refused)
	}
}

func TestR5_ARoundThatWasNeverOpenedIsNotEchoed(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1})
	n.ignore()
	n.hears(2, 1, &AppendReply{Match: 1, Round: 1 << 40})
	n.wantsNothing()
}

// --- R6: the base of the log ---

func TestR6_AMissingEntryDoesNotMatchTermZero(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(0, 5), Entries: commands(6, 1), Round: 1})
	n.wants("1->2 term=1 AppendReply rejected probed=0/5 hint=0/0 round=1")
}

// A log that begins with a snapshot at 3/10: what is before it is committed, so
// it matches whatever the leader says of it; the base itself must match.
func TestR6_WhatTheSnapshotStandsForMatches(t *testing.T) {
	for _, c := range []struct {
		request AppendRequest
		want    string
	}{
		{AppendRequest{Prev: id(3, 10), Round: 1}, "AppendReply match=10 round=1"},
		{AppendRequest{Prev: id(2, 8), Entries: commands(9, 3, 3), Round: 1}, "AppendReply match=10 round=1"},
		{AppendRequest{Prev: id(2, 5), Entries: commands(6, 2, 2), Round: 1}, "AppendReply match=7 round=1"},
		{AppendRequest{Prev: id(2, 5), Entries: commands(6, 2, 2, 2, 3, 3, 4), Round: 1}, "AppendReply match=11 round=1"},
		{AppendRequest{Prev: id(4, 12), Round: 1}, "AppendReply rejected probed=4/12 hint=4/11 round=1"},
		{AppendRequest{Prev: id(2, 10), Round: 1}, "AppendReply rejected probed=2/10 hint=3/10 round=1"},
	} {
		node, err := New(Config{ID: 1, Boot: 1}, Recovered{
			HardState: HardState{Term: 5, Cluster: cluster, Joined: true}, Base: id(3, 10), Runs: []TermRun{{First: 11, Term: 4}}, Last: 11,
			BaseConf: ConfigAt{Index: 1, Conf: ConfState{Voters: voters(1, 2)}},
			Snapshot: SnapshotMeta{Last: id(3, 10), Conf: ConfigAt{Index: 1, Conf: ConfState{Voters: voters(1, 2)}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var out Output
		node.Step(Receive{Message{From: 2, To: 1, Term: 5, Cluster: cluster, Body: &c.request}})
		node.Drain(&out)
		if got := fmt.Sprint(out.Send); got != "[1->2 term=5 "+c.want+"]" {
			t.Errorf("%v:\n\t%s, should be %s", &c.request, got, c.want)
		}
	}
}

// --- R7: the leader's own reads ---

// behind starts a leader that holds no old entries in memory, and a peer that
// has none of them.
func behind(t *testing.T, length int) *stage {
	t.Helper()
	log := make([]Term, length)
	for i := range log {
		log[i] = 1
	}
	n := start(t, given{Voters: voters(1, 2), Log: log, Forgets: true, Limits: func(c *Config) { c.MaxAppendBytes = 200; c.MaxInflight = 2 }})
	n.wins()
	n.saves()
	n.rejected(2, id(0, 0))
	n.ignore()
	n.acknowledged(2, 0)
	return n
}

func TestR7_OldEntriesComeFromTheDisk(t *testing.T) {
	n := behind(t, 10)
	n.wants("Load 1..10 for 2")
	n.readsDisk()
	n.wants("Load 4..10 for 2", `1->2 term=2 AppendRequest prev=0/0 commit=0 round=2 [1/1 "" 1/2 "" 1/3 ""]`)
	n.readsDisk()
	n.wants(`1->2 term=2 AppendRequest prev=1/3 commit=0 round=2 [1/4 "" 1/5 "" 1/6 ""]`) // and the window is full
	n.acknowledged(2, 3)
	n.wants("Load 7..10 for 2")
	n.readsDisk()
	n.acknowledged(2, 9)
	n.readsDisk()
	n.acknowledged(2, 10)
	n.ignore()
	n.accepted(2)
	n.hasCommitted(11)
}

func TestR7_AFailedReadSendsNothing(t *testing.T) {
	n := behind(t, 10)
	load := n.loads[0]
	n.ignore()
	n.steps(Loaded{Load: load})
	n.wantsNothing()
	n.waits(heartbeatInterval)
	n.wants("1->2 term=2 AppendRequest prev=0/0 commit=0 round=3", "1->2 term=2 AppendRequest prev=0/0 commit=0 round=4")
	n.acknowledged(2, 0)
	n.wants("Load 1..10 for 2")
}

func TestR7_EntriesThatAreNotTheLogsOwnAreNotSent(t *testing.T) {
	for name, entries := range map[string][]Entry{
		"of another term":           commands(1, 7, 7),
		"of another term, later on": commands(1, 1, 2),
		"of other indexes":          commands(2, 1, 1),
		"with a gap":                {commands(1, 1)[0], commands(3, 1)[0]},
		"beyond the end":            commands(11, 1),
	} {
		t.Run(name, func(t *testing.T) {
			n := behind(t, 10)
			n.mail = nil
			n.steps(Loaded{Load: n.loads[0], Entries: entries})
			for _, m := range n.mail {
				if r, ok := m.Body.(*AppendRequest); ok && len(r.Entries) > 0 {
					t.Errorf("it sent %v", m)
				}
			}
		})
	}
}

func TestR7_AnAnswerToALoadOfAnEarlierTermSendsNothing(t *testing.T) {
	n := behind(t, 10)
	old := n.loads[0]
	n.hears(2, 5, &VoteReply{})
	n.saves()
	n.timesOut()
	n.elected()
	n.mail = nil
	n.steps(Loaded{Load: old, Entries: n.disk.load(old)})
	if len(n.mail) > 0 {
		t.Errorf("it sent %v", n.mail)
	}
}

func TestR7_AnAnswerThatComesTwiceIsSentOnce(t *testing.T) {
	n := behind(t, 10)
	load := n.loads[0]
	answer := Loaded{Load: load, Entries: n.disk.load(load)}
	n.steps(answer)
	n.mail = nil
	n.steps(answer)
	if len(n.mail) > 0 {
		t.Errorf("it sent %v", n.mail)
	}
}

// --- R8: the quorum index ---

func TestR8_TheCommitIndexIsTheMedianInWhateverOrderPeersAre(t *testing.T) {
	matches := []Index{1, 2, 3, 4}
	var permute func(k int)
	permute = func(k int) {
		if k < len(matches) {
			for i := k; i < len(matches); i++ {
				matches[k], matches[i] = matches[i], matches[k]
				permute(k + 1)
				matches[k], matches[i] = matches[i], matches[k]
			}
			return
		}
		n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
		for range 4 {
			n.steps(Propose{})
		}
		n.saves() // 5 here, 1 to 4 there: three of five have 3
		for i, match := range matches {
			n.acknowledged(NodeID(i+2), match)
		}
		n.hasCommitted(3)
	}
	permute(0)
}

// --- R9, R10: finding where logs depart ---

func TestR9_AStrayRejectionMovesNothingBack(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1, 1, 1)})
	n.ignore()
	for probed := Index(0); probed <= 9; probed++ {
		n.hears(2, 2, &AppendReply{Rejected: true, Probed: id(1, probed), Hint: id(0, 0), Round: 1})
	}
	n.wantsNothing()
	if p := n.state.Peers[0]; p.State != ProgressReplicate || p.Match != 5 || p.Next != 6 {
		t.Errorf("%+v", p)
	}
}

func TestR9_ARejectionOfAnEarlierQuestionIsNotAnAnswerToThisOne(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 2, 2)})
	n.wins()
	n.rejected(2, id(1, 2))
	n.ignore()
	if r := n.askedOf(2); r.Prev != id(1, 2) {
		t.Fatal(r)
	}
	n.hears(2, 3, &AppendReply{Rejected: true, Probed: id(2, 4), Hint: id(0, 0), Round: 1})
	n.hears(2, 3, &AppendReply{Rejected: true, Probed: id(1, 1), Hint: id(0, 0), Round: 1})
	n.wantsNothing()
}

func TestR9_ARejectionThatHintsForwardIsIgnored(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 2, 2)})
	n.wins()
	n.ignore()
	n.rejected(2, id(9, 1000))
	n.wantsNothing()
}

// conversation counts the questions that a leader with one log needs until a
// follower with another one agrees.
func conversation(t *testing.T, leader, follower []Term) int {
	t.Helper()
	last := max(leader[len(leader)-1], follower[len(follower)-1])
	g := assemble(t, given{Log: leader, Term: last}, given{Log: follower, Term: last}, given{Log: leader, Term: last})
	questions := 0
	g.filter(func(m *Message) fate {
		if m.From == 3 || m.To == 3 {
			return pass
		}
		if r, ok := m.Body.(*AppendReply); ok && r.Rejected {
			questions++
		}
		return pass
	})
	g.elects(1)
	g.agree()
	return questions
}

func many(times int, t Term) []Term {
	return slices.Repeat([]Term{t}, times)
}

func TestR10_ALongDivergenceIsSkippedTermByTerm(t *testing.T) {
	var stairs, mine, other []Term
	for term := Term(1); term <= 100; term++ {
		stairs = append(stairs, many(10, term)...)
	}
	for term := Term(2); term <= 100; term += 2 {
		mine = append(mine, many(20, term)...)
		other = append(other, many(20, term-1)...)
	}
	for _, c := range []struct {
		name             string
		leader, follower []Term
		most             int
	}{
		{"the follower is a thousand entries behind", many(1001, 1), terms(1), 1},
		{"the follower is a thousand entries ahead", terms(1, 5), append(terms(1), many(1000, 4)...), 2},
		{"a thousand entries of another term", append(terms(1), many(1000, 5)...), append(terms(1), many(1000, 4)...), 2},
		{"the follower is hundreds of terms behind", stairs, terms(1), 1},
		{"the follower missed the end of every term", stairs, append(many(10, 1), many(990, 2)...), 3},
		{"no term in common, fifty each", append(terms(1), mine...), append(terms(1), other...), 51},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := conversation(t, c.leader, c.follower); got > c.most {
				t.Errorf("%d questions, %d are enough", got, c.most)
			}
		})
	}
}

// --- R13, R14: pages and windows ---

func TestR13_SmallPagesArriveWholeAndInOrder(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: func(c *Config) {
		c.MaxAppendBytes, c.MaxInflight, c.MaxInflightBytes, c.MaxApplyBytes, c.MaxWindowBytes = 1, 2, 300, 1, 1
	}})
	g.elects(1)
	g.isolate(3)
	commits := make([]Index, 3)
	for i := range 100 {
		g.proposes(1, fmt.Sprint(i))
		if i%7 == 0 {
			g.settle()
		}
		for k, m := range g.members {
			if m.state.Commit < commits[k] {
				t.Fatalf("the commit index of node %d fell from %d to %d", m.id, commits[k], m.state.Commit)
			}
			commits[k] = m.state.Commit
		}
	}
	g.connected()
	g.passes(2 * heartbeatInterval)
	g.agree()
	if g.member(3).applied != 101 {
		t.Errorf("node 3 has applied %d", g.member(3).applied)
	}
}

// burst counts the requests with entries that a leader sends to a peer at once.
func (n *stage) burst(peer NodeID) int {
	n.mail = nil
	n.steps()
	count := 0
	for _, m := range n.mail {
		if r, ok := m.Body.(*AppendRequest); ok && m.To == peer && len(r.Entries) > 0 {
			count++
		}
	}
	return count
}

func TestR14_TheWindowIsWholeAgainAfterEveryKindOfSetback(t *testing.T) {
	limits := func(c *Config) { c.MaxInflight, c.MaxAppendBytes = 4, 1 }
	propose := func(n *stage) {
		for range 20 {
			n.node.Step(Propose{})
		}
	}
	for name, setback := range map[string]func(n *stage){
		"a rejection": func(n *stage) {
			n.rejected(2, id(1, 1))
			n.acknowledged(2, 1)
		},
		"an unreachable peer": func(n *stage) {
			n.steps(Unreachable{Peer: 2})
			n.waits(heartbeatInterval)
			n.acknowledged(2, 1)
		},
		"a new life of the peer": func(n *stage) {
			n.waits(heartbeatInterval)
			m := n.message(2, 1, &AppendReply{Rejected: true, Round: n.askedOf(2).Round})
			m.Incarnation = 99
			n.steps(Receive{m})
			m.Body = &AppendReply{Rejected: true, Probed: n.askedOf(2).Prev, Round: n.askedOf(2).Round}
			n.steps(Receive{m})
			m.Body = &AppendReply{Match: 0, Round: n.askedOf(2).Round}
			n.steps(Receive{m})
			for len(n.loads) > 0 { // entries that everybody had are in memory no more
				n.readsDisk()
			}
		},
		"an acknowledgement of everything": func(n *stage) {
			n.accepted(2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, given{Voters: voters(1, 2, 3), Limits: limits})
			for range 3 {
				propose(n)
				if got := n.burst(2); got > 4 {
					t.Fatalf("%d requests are under way, the bound is 4", got)
				}
				n.mail = slices.DeleteFunc(n.mail, func(m Message) bool { return m.To != 2 })
				if len(n.mail) == 0 {
					n.waits(heartbeatInterval)
				}
				before := len(n.mail)
				setback(n)
				count := 0
				for _, m := range n.mail[before:] {
					if r, ok := m.Body.(*AppendRequest); ok && m.To == 2 && len(r.Entries) > 0 {
						count++
					}
				}
				if count != 4 {
					t.Fatalf("%d requests follow, the window holds 4", count)
				}
			}
		})
	}
}

// --- R15, R16 ---

func TestR15_ReorderedRequestsEndInTheSameLog(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.MaxAppendBytes = 1 }})
	g.elects(1)
	g.filter(func(m *Message) fate {
		if r, ok := m.Body.(*AppendRequest); ok && len(r.Entries) > 0 {
			return hold
		}
		return pass
	})
	for i := range 10 {
		g.proposes(1, fmt.Sprint(i))
	}
	g.settle()
	g.connected()
	slices.Reverse(g.parked)
	g.release()
	g.settle()
	g.passes(2 * heartbeatInterval)
	g.agree()
	if g.member(1).applied != 11 {
		t.Errorf("node 1 has applied %d", g.member(1).applied)
	}
}

func TestR16_AProposalIsAnsweredWhenItIsCommittedNotBefore(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Data: []byte("x")})
	n.wants(`Save #3 term=1 vote=1 [1/2 "x"]`,
		`1->2 term=1 AppendRequest prev=1/1 commit=1 round=2 [1/2 "x"]`,
		`1->3 term=1 AppendRequest prev=1/1 commit=1 round=2 [1/2 "x"]`)
	n.saves()
	n.wantsNothing()
	n.accepted(3)
	n.wants("1->2 term=1 AppendRequest prev=1/2 commit=2 round=2", "1->3 term=1 AppendRequest prev=1/2 commit=2 round=2", `Apply [1/2 "x"] tag=7@2`)
}

func TestAnOverwrittenProposalIsToldSo(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7}, Propose{Tag: 8}, Propose{})
	n.saves()
	n.ignore()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 2), Commit: 2, Round: 1})
	n.wants(`Save #4 term=2 [2/3 ""]`, `Apply [1/2 ""] tag=7@2`)
	n.saves()
	n.ignore()
	n.hears(2, 2, &AppendRequest{Prev: id(2, 3), Commit: 3, Round: 2}) // now it is certain
	n.wants("1->2 term=2 AppendReply match=3 round=2", `Apply [2/3 ""]`, "Reply tag=8 overwritten leader=2")
}

// What one leader has overruled is in another's log, who commits it: an answer
// that it never happens would be a lie.
func TestR16_AnOverruledProposalThatComesBackIsAnsweredByItsResult(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.steps(Propose{Tag: 7, Data: []byte("x")})
	lost := n.disk.pending[len(n.disk.pending)-1].Entries[0]
	n.saves()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 1, Round: 1})
	n.saves()
	if len(n.out.Replies) > 0 {
		t.Fatalf("%v", n.out.Replies)
	}
	n.ignore()
	n.hears(3, 3, &AppendRequest{Prev: id(1, 1), Entries: []Entry{lost, {EntryID: id(3, 3), Kind: EntryNoop}}, Commit: 1, Round: 1})
	n.saves()
	n.ignore()
	n.hears(3, 3, &AppendRequest{Prev: id(3, 3), Commit: 3, Round: 2})
	n.wants("1->3 term=3 AppendReply match=3 round=2", `Apply [1/2 "x" 3/3 noop] tag=7@2`)
}

func TestAProposalThatAnotherLeaderCommitsIsStillAnswered(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7})
	n.saves()
	n.ignore()
	n.hears(3, 2, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1})
	n.wants("Save #4 term=2", `Apply [1/2 ""] tag=7@2`)
}

func TestAProposalElsewhereIsRefusedWithTheLeadersName(t *testing.T) {
	n := start(t, given{Term: 1})
	n.steps(Propose{Tag: 1})
	n.wants("Reply tag=1 not leader")
	n.hears(3, 1, &AppendRequest{Round: 1})
	n.ignore()
	n.steps(Propose{Tag: 2}, Propose{})
	n.wants("Reply tag=2 not leader leader=3")
}

// --- heartbeats and commit indexes ---

func TestAnIdleLeaderShowsItselfEveryHeartbeat(t *testing.T) {
	n := lead(t, given{})
	for i := range 20 {
		if wait := n.out.Deadline.Sub(n.now); wait != heartbeatInterval {
			t.Fatalf("the next heartbeat is in %v", wait)
		}
		n.timesOut()
		want := fmt.Sprintf("AppendRequest prev=1/1 commit=1 round=%d", i+3)
		n.wants("1->2 term=1 "+want, "1->3 term=1 "+want)
		n.accepted(2, 3)
		n.wantsNothing()
	}
}

func TestABusyLeaderSendsItsCommitIndexWithTheNextEntries(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2)})
	n.steps(Propose{})
	n.saves()
	n.accepted(2)
	n.ignore()
	n.steps(Propose{})
	n.wants(`Save #4 term=1 vote=1 [1/3 ""]`, `1->2 term=1 AppendRequest prev=1/2 commit=2 round=1 [1/3 ""]`)
}

// An acknowledgement that was lost is repeated when the leader shows itself.
func TestALostAcknowledgementIsRepeated(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1), Round: 1})
	n.saves()
	n.ignore()
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1), Round: 1})
	n.wants("1->2 term=1 AppendReply match=1 round=1")
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Round: 2})
	n.wants("1->2 term=1 AppendReply match=1 round=2")
}

func TestLostEntriesAreSentAgainAfterAHeartbeat(t *testing.T) {
	g := newGroup(t, 2)
	g.elects(1)
	g.filter(func(*Message) fate { return drop })
	tag := g.proposes(1, "x")
	g.settle()
	g.connected()
	g.passes(2 * heartbeatInterval)
	if g.member(1).done[tag] == 0 {
		t.Errorf("%v", g.member(1).node)
	}
	g.agree()
}

func TestAnUnreachablePeerIsAskedAgainWithTheNextHeartbeat(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2)})
	n.steps(Propose{}, Unreachable{Peer: 2}, Unreachable{Peer: 9})
	n.wants(`Save #3 term=1 vote=1 [1/2 ""]`)
	n.waits(heartbeatInterval)
	n.wants("1->2 term=1 AppendRequest prev=0/0 commit=1 round=2", "1->2 term=1 AppendRequest prev=1/1 commit=1 round=3")
	n.accepted(2)
	n.wants(`1->2 term=1 AppendRequest prev=1/1 commit=1 round=3 [1/2 ""]`)
}

func TestALeaderIgnoresRepliesOfStrangers(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3)})
	n.steps(Propose{})
	n.saves()
	n.ignore()
	for _, stranger := range voters(4, 5) {
		n.hears(stranger, 1, &AppendReply{Match: 2, Round: 1})
	}
	n.hasCommitted(1)
	n.wantsNothing()
}

func TestLearnersReceiveTheLogAndDoNotCount(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3), Learners: voters(4, 5)})
	n.wins()
	n.saves()
	n.accepted(4, 5)
	n.hasCommitted(0)
	n.accepted(3)
	n.hasCommitted(1)
	n.steps(Propose{})
	if r := n.askedOf(4); len(r.Entries) != 1 {
		t.Errorf("learner 4 got %v", r)
	}
}

func TestTheTimeOfEntriesNeverFalls(t *testing.T) {
	n := lead(t, given{Voters: voters(1)})
	var stamps []int64
	for _, wall := range []int64{1000, 500, 2000, 0, -7, 1999, 2001} {
		n.wall = wall
		n.steps(Propose{})
		stamps = append(stamps, n.out.Save.Entries[0].Time)
	}
	if want := []int64{1000, 1000, 2000, 2000, 2000, 2000, 2001}; !slices.Equal(stamps, want) {
		t.Errorf("%v, should be %v", stamps, want)
	}
	n.saves()
	n.crashes(0)
	n.wall = 1
	n.wins()
	if got := n.disk.entries[len(n.disk.entries)-1].Time; got != 2001 {
		t.Errorf("after a restart the clock shows %d", got)
	}
}

func TestAGroupOfTwoNeedsBoth(t *testing.T) {
	g := newGroup(t, 2)
	g.elects(1)
	g.isolate(2)
	tag := g.proposes(1, "x")
	g.settle()
	if g.member(1).done[tag] != 0 {
		t.Fatal("committed by one of two")
	}
	g.passes(2 * electionTimeout)
	if g.member(1).state.Role == Leader {
		t.Errorf("%v; it has no quorum", g.member(1).node)
	}
	g.connected()
	g.passes(5 * electionTimeout)
	g.agree()
	if g.member(1).done[tag] == 0 && g.member(1).replies[tag] != Overwritten {
		t.Error("the proposal came to no end")
	}
}
