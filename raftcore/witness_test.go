package raftcore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// Witnesses: voters without data. In these tests 3 is one, unless they say otherwise.

func witnessed(voters []NodeID, witnesses ...NodeID) ConfState {
	return ConfState{Voters: voters, Witnesses: witnesses}
}

// withWitness is a group of 1, 2 and 3, of whom 3 is a witness.
var withWitness = given{Witnesses: voters(3)}

// sentEntries returns the entries that a peer was sent since the start, each once.
func (n *stage) sentEntries(peer NodeID) []Entry {
	var all []Entry
	for i := range n.mail {
		if r, ok := n.mail[i].Body.(*AppendRequest); ok && n.mail[i].To == peer {
			for _, e := range r.Entries {
				if len(all) == 0 || e.Index > all[len(all)-1].Index {
					all = append(all, e)
				}
			}
		}
	}
	return all
}

// lastSent returns the index of the last entry that a peer was sent.
func (n *stage) lastSent(peer NodeID) Index {
	if all := n.sentEntries(peer); len(all) > 0 {
		return all[len(all)-1].Index
	}
	return 0
}

func TestWitnessConfigurations(t *testing.T) {
	for name, c := range map[string]struct {
		conf  ConfState
		valid bool
	}{
		"one of three":                    {witnessed(voters(1, 2, 3), 3), true},
		"one of two":                      {witnessed(voters(1, 2), 2), true},
		"two of five":                     {witnessed(voters(1, 2, 3, 4, 5), 4, 5), true},
		"two of four":                     {witnessed(voters(1, 2, 3, 4), 3, 4), true},
		"a learner that is to become one": {ConfState{Voters: voters(1), Learners: voters(2), Witnesses: voters(2)}, true},
		"all":                             {witnessed(voters(1, 2), 1, 2), false},
		"the only voter":                  {witnessed(voters(1), 1), false},
		"two of three: a majority":        {witnessed(voters(1, 2, 3), 2, 3), false},
		"three of five: a majority":       {witnessed(voters(1, 2, 3, 4, 5), 3, 4, 5), false},
		"who is no member":                {witnessed(voters(1, 2, 3), 4), false},
		"twice":                           {witnessed(voters(1, 2, 3), 3, 3), false},
		"not in order":                    {witnessed(voters(1, 2, 3, 4, 5), 5, 4), false},
		"the only voter, with a learner":  {ConfState{Voters: voters(1), Learners: voters(2), Witnesses: voters(1, 2)}, false},
		"nobody":                          {witnessed(voters(1, 2, 3), Nobody), false},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{ID: 9, Pristine: true})
			n.steps(Bootstrap{Tag: 1, Cluster: cluster, Conf: c.conf})
			if done := slices.Contains(n.said, "Reply tag=1 done"); done != c.valid {
				t.Fatalf("founding a group of %v: %v", &c.conf, n.said)
			}
			m := start(t, withWitness)
			m.hears(2, 3, &AppendRequest{Entries: []Entry{setting(3, 1, c.conf)}, Round: 1})
			if took := m.state.Last == 1; took != c.valid {
				t.Fatalf("an entry with %v: took it %v", &c.conf, took)
			}
		})
	}
	t.Run("a majority of the outgoing voters", func(t *testing.T) {
		n := start(t, withWitness)
		n.hears(2, 3, &AppendRequest{Entries: []Entry{setting(3, 1, ConfState{Voters: voters(1, 2, 3), Outgoing: voters(3, 4), Witnesses: voters(3, 4)})}, Round: 1})
		if n.state.Last != 0 {
			t.Fatalf("it took an entry with a configuration in which witnesses alone decide: %v", n.node)
		}
	})
}

// Founders must be what the configuration says they are.
func TestWitnessFoundsAsWhatItIs(t *testing.T) {
	for id, want := range map[NodeID]string{1: "done", 3: "bad configuration"} {
		n := start(t, given{ID: id, Pristine: true})
		n.steps(Bootstrap{Tag: 1, Cluster: cluster, Conf: witnessed(voters(1, 2, 3), 3)})
		n.replied("Reply tag=1 " + want)
	}
	for id, want := range map[NodeID]string{1: "bad configuration", 3: "done"} {
		n := start(t, given{ID: id, Pristine: true, Witnesses: voters(1, 3)})
		n.steps(Bootstrap{Tag: 1, Cluster: cluster, Conf: witnessed(voters(1, 2, 3), 3)})
		n.replied("Reply tag=1 " + want)
	}
}

// A witness is sent the places of commands alone, and everything else as it is.
func TestWitnessIsSentNoData(t *testing.T) {
	n := lead(t, withWitness)
	n.steps(Propose{Tag: 1, Data: []byte("secret")}, Propose{Tag: 2, Data: []byte("hosts'"), Host: true})
	n.saves()
	n.accepted(2)
	n.hasCommitted(3)
	got, want := n.sentEntries(3), n.sentEntries(2)
	if len(got) != 3 || len(want) != 3 {
		t.Fatalf("sent %v to the witness, and %v to 2", got, want)
	}
	for i, e := range got {
		if e.EntryID != want[i].EntryID || e.Time != want[i].Time || len(e.Data) > 0 {
			t.Errorf("sent %v for %v", e, want[i])
		}
	}
	if got[0].Kind != EntryNoop || got[1].Kind != EntryMeta || got[2].Kind != EntryMeta {
		t.Errorf("the witness was sent %v", got)
	}
	if string(want[1].Data) != "secret" || want[1].Kind != EntryCommand {
		t.Errorf("2 was sent %v", want)
	}
}

// What has left memory is read from the disk with its data, and sent without.
func TestWitnessIsSentNoDataFromTheDisk(t *testing.T) {
	n := start(t, given{Witnesses: voters(3), Log: terms(1, 1, 1, 1), Forgets: true})
	n.wins()
	n.saves()
	n.accepted(2)
	n.rejected(3, EntryID{})
	n.accepted(3)
	for len(n.loads) > 0 {
		n.readsDisk()
	}
	n.accepted(2)
	got := n.sentEntries(3)
	if len(got) < 4 {
		t.Fatalf("the witness was sent %v", got)
	}
	for _, e := range got[:4] {
		if e.Kind != EntryMeta || e.Data != nil {
			t.Errorf("the witness was sent %v of kind %v", e, e.Kind)
		}
	}
}

// As long as all is well a witness has nothing that one with data has not got: then any
// of these can take over.
func TestWitnessIsSentWhatAllWithDataHave(t *testing.T) {
	n := lead(t, withWitness)
	n.keep(2, 2, 3)
	n.steps(Propose{Tag: 1, Data: []byte("a")})
	n.saves()
	if n.lastSent(2) != 2 || n.lastSent(3) != 1 {
		t.Fatalf("sent up to %d to 2, up to %d to the witness", n.lastSent(2), n.lastSent(3))
	}
	n.accepted(2)
	n.hasCommitted(2)
	if n.lastSent(3) != 2 || n.state.WitnessesNeeded {
		t.Fatalf("2 has it, and the witness was sent up to %d", n.lastSent(3))
	}
}

// A witness is needed when one with data has not kept up for a heartbeat's time.
func TestWitnessIsNeeded(t *testing.T) {
	n := lead(t, withWitness)
	n.keep(2, 2, 3)
	n.steps(Propose{Tag: 1, Data: []byte("a")})
	n.saves()
	n.waits(heartbeatInterval)
	if n.lastSent(3) != 1 || n.state.WitnessesNeeded {
		t.Fatalf("after less than a heartbeat's time the witness was sent up to %d", n.lastSent(3))
	}
	n.waits(heartbeatInterval)
	if n.lastSent(3) != 2 || !n.state.WitnessesNeeded {
		t.Fatalf("2 does not keep up, and the witness was sent up to %d", n.lastSent(3))
	}
	n.acknowledged(3, 2)
	n.hasCommitted(2)
	n.steps(Propose{Tag: 2, Data: []byte("b")})
	n.saves()
	n.acknowledged(3, 3)
	n.hasCommitted(3)
	n.acknowledged(2, 3) // it is back
	n.waits(heartbeatInterval)
	if n.state.WitnessesNeeded {
		t.Fatal("2 has caught up, and witnesses are needed all the same")
	}
	n.steps(Propose{Tag: 3, Data: []byte("c")})
	n.saves()
	if n.lastSent(3) != 3 {
		t.Fatalf("2 keeps up again, and the witness was sent up to %d", n.lastSent(3))
	}
}

// A witness never has what is on no disk: if the leader crashed then, nobody could be
// elected any more.
func TestWitnessIsSentWhatADiskHas(t *testing.T) {
	n := lead(t, withWitness)
	n.steps(Propose{Tag: 1, Data: []byte("a")})
	n.saves()
	n.keep(1, 3)
	n.keep(3, 3)
	n.hasCommitted(2)
	n.steps(Propose{Tag: 2, Data: []byte("b")})
	if n.lastSent(3) != 2 || !n.state.WitnessesNeeded {
		t.Fatalf("the leader's own disk has not got it, and the witness was sent up to %d", n.lastSent(3))
	}
	n.saves()
	if n.lastSent(3) != 3 {
		t.Fatalf("it is on the leader's disk, and the witness was sent up to %d", n.lastSent(3))
	}
}

// The same with one voter with data alone.
func TestWitnessOfOne(t *testing.T) {
	n := start(t, given{Voters: voters(1, 3), Witnesses: voters(3)})
	n.wins()
	n.saves()
	n.accepted(3)
	n.accepted(3)
	n.hasCommitted(1)
	n.steps(Propose{Tag: 1, Data: []byte("a")})
	if n.lastSent(3) != 1 {
		t.Fatalf("the witness was sent up to %d before the disk has it", n.lastSent(3))
	}
	n.saves()
	n.accepted(3)
	n.hasCommitted(2)
}

// A leader that leaves does not count: what it alone has, witnesses are not sent. It would
// be gone, and nobody who stays could be elected.
func TestWitnessIsNotSentWhatOnlyALeavingLeaderHas(t *testing.T) {
	n := lead(t, withWitness)
	n.steps(Propose{Tag: 1})
	n.saves()
	n.keep(3, 3) // 2 is away: the witness is needed
	n.acknowledged(2, 2)
	n.hasCommitted(2)
	n.changes(9, witnessed(voters(2, 3), 3))
	n.saves()
	n.keep(3, 3)
	n.steps(Propose{Tag: 2})
	n.saves()
	n.keep(3, 3)
	if !n.state.WitnessesNeeded || n.lastSent(3) != 2 {
		t.Fatalf("2, who stays, has entries up to 2, and the witness was sent up to %d (needed: %v)", n.lastSent(3), n.state.WitnessesNeeded)
	}
	n.acknowledged(2, n.state.Last)
	if n.lastSent(3) != n.state.Last {
		t.Fatalf("2 has all %d, and the witness was sent up to %d", n.state.Last, n.lastSent(3))
	}
}

// Its vote and its acknowledgements count like anybody's.
func TestWitnessCounts(t *testing.T) {
	t.Run("in an election", func(t *testing.T) {
		n := start(t, withWitness)
		n.timesOut()
		n.granted(3)
		n.saves()
		n.granted(3)
		n.is(Leader, 1)
	})
	t.Run("for the leader's office, and a round of reads", func(t *testing.T) {
		n := lead(t, withWitness)
		n.keep(30, 3)
		n.is(Leader, 1)
		n.ignore()
		n.steps(Read{Tag: 7})
		n.acknowledged(3, 1)
		if !slices.Contains(n.said, "Read tag=7 at 1") {
			t.Fatalf("a quorum has echoed the round: %v", n.said)
		}
	})
	t.Run("without it and 2 the office ends", func(t *testing.T) {
		n := lead(t, withWitness)
		n.waits(2 * electionTimeout)
		n.is(Follower, 1)
	})
}

// It votes by the rules for everybody, and never stands itself, whoever asks it to.
func TestWitnessVotesAndNeverStands(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3), Log: terms(1, 2), Term: 2})
	n.waits(2 * electionTimeout)
	n.steps(Campaign{})
	n.hears(1, 2, &VoteRequest{Pre: true, Last: id(1, 9), Campaign: 1})
	n.hears(1, 2, &VoteRequest{Pre: true, Last: id(2, 2), Campaign: 2})
	n.wants("3->1 term=2 PreVoteReply refused", "3->1 term=2 PreVoteReply granted")
	n.hears(1, 3, &VoteRequest{Last: id(2, 1), Campaign: 3})
	n.saves()
	n.ignore()
	n.hears(2, 3, &VoteRequest{Last: id(2, 2), Campaign: 1})
	n.wants("Save #2 term=3 vote=2")
	n.saves()
	n.wants("3->2 term=3 VoteReply granted")
	n.hears(2, 3, &AppendRequest{Prev: id(2, 2), Commit: 2, Round: 1})
	n.hears(2, 3, &TimeoutNow{})
	n.is(Follower, 3)
	if n.state.Refused == 0 {
		t.Fatal("a witness was told to campaign, and did not refuse it")
	}
	for range 10 {
		n.waits(2 * electionTimeout)
		n.is(Follower, 3)
	}
	for _, m := range n.mail {
		if _, stands := m.Body.(*VoteRequest); stands {
			t.Fatalf("a witness asks for votes: %v", &m)
		}
	}
	if !n.state.Witness || !strings.HasSuffix(n.state.String(), " witness") {
		t.Fatalf("its status does not say that it is a witness: %v", n.state)
	}
}

// It acknowledges what is on its disk, applies nothing, and asks for nothing.
func TestWitnessAcknowledges(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3), Limits: compacts(2, 0)})
	n.hears(1, 1, &AppendRequest{Entries: append([]Entry{{EntryID: id(1, 1), Kind: EntryNoop}}, metas(2, 1)...), Commit: 1, Round: 1})
	n.saves()
	n.wants("Save #1 term=1 [1/1 noop 1/2 meta]", "3->1 term=1 AppendReply match=2 round=1")
	n.hears(1, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2})
	n.waits(electionTimeout / 2)
	n.saves()
	for _, s := range n.said {
		if strings.HasPrefix(s, "Apply") || strings.HasPrefix(s, "Compact") || strings.HasPrefix(s, "Restore") || strings.HasPrefix(s, "Load") {
			t.Errorf("a witness wants %s", s)
		}
	}
}

// What was proposed or is to be read is another's business.
func TestWitnessTakesNoRequests(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3)})
	n.hears(1, 1, &AppendRequest{Round: 1})
	n.saves()
	n.ignore()
	n.steps(Propose{Tag: 1}, Read{Tag: 2}, Transfer{Tag: 3, To: 3}, ChangeConfig{Tag: 4, Conf: conf(voters(1))})
	for tag := 1; tag <= 4; tag++ {
		if want := fmt.Sprintf("Reply tag=%d not leader leader=1", tag); !slices.Contains(n.said, want) {
			t.Errorf("it should say %q: %q", want, n.said)
		}
	}
}

// A witness takes nothing with data, and others take nothing without.
func TestWitnessIsTheOnlyOneWithoutData(t *testing.T) {
	for name, c := range map[string]struct {
		to   NodeID
		body Body
	}{
		"a command for a witness":             {3, &AppendRequest{Entries: commands(1, 1), Round: 1}},
		"a host's for a witness":              {3, &AppendRequest{Entries: []Entry{{EntryID: id(1, 1), Kind: EntryHost}}, Round: 1}},
		"a snapshot for a witness":            {3, &SnapshotRequest{Snapshot: snap(1, 5)}},
		"data in what stands for none":        {3, &AppendRequest{Entries: []Entry{{EntryID: id(1, 1), Kind: EntryMeta, Data: []byte("x")}}, Round: 1}},
		"an entry without data for a member":  {2, &AppendRequest{Entries: metas(1, 1), Round: 1}},
		"a snapshot that is none, for one":    {2, &SnapshotRequest{Snapshot: snap(1, 5), Bare: true}},
		"a command, after one without, for 2": {2, &AppendRequest{Entries: append(commands(1, 1), metas(2, 1)...), Round: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{ID: c.to, Witnesses: voters(3)})
			n.hears(1, 1, c.body)
			n.saves()
			if n.state.Last != 0 || n.state.Refused != 1 {
				t.Fatalf("it took it: %v, refused %d", n.node, n.state.Refused)
			}
		})
	}
}

// It forgets what is committed by itself, and starts again from what is left.
func TestWitnessKeepsItsLogSmall(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3), Limits: compacts(4, 50)})
	c := witnessed(voters(1, 2, 3), 3)
	n.hears(1, 1, &AppendRequest{Entries: []Entry{setting(1, 1, c)}, Commit: 1, Round: 1})
	for i := Index(2); i <= 10; i++ {
		e := metas(i, 1)
		e[0].Time = int64(i)
		n.hears(1, 1, &AppendRequest{Prev: id(1, i-1), Entries: e, Commit: i, Round: uint64(i)})
		n.saves()
		n.saves()
	}
	s := n.disk.snapshot
	if n.state.First != 9 || s.Last != id(1, 8) || s.Time != 8 || s.Conf.Index != 1 || !s.Conf.Conf.Equal(c) || n.disk.base.Last != s.Last {
		t.Fatalf("its log begins at %d, its snapshot is of %v (time %d)", n.state.First, &s, s.Time)
	}
	n.crashes(0)
	if st := n.state; st.First != 9 || st.Last != 10 || st.Commit != 8 || st.Applied != 8 || n.restoring != nil {
		t.Fatalf("after a restart: %v, from %d", n.node, st.First)
	}
	n.hears(1, 1, &AppendRequest{Prev: id(1, 10), Commit: 10, Round: 20})
	if n.state.Applied != 10 || n.state.Commit != 10 {
		t.Fatalf("%v", n.node)
	}
}

// Nobody has to be asked for a snapshot, so no time comes when one is due.
func TestWitnessHasNoSnapshotDue(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3), Limits: func(c *Config) { c.SnapshotAge = electionTimeout / 4 }})
	n.hears(1, 1, &AppendRequest{Entries: metas(1, 1), Commit: 1, Round: 1})
	n.saves()
	if n.state.Applied != 1 || n.out.Deadline < n.now.Add(electionTimeout) {
		t.Fatalf("%v, and it wants to be woken at %d, now is %d", n.node, n.out.Deadline, n.now)
	}
}

// What is not committed, or not on its disk, it keeps.
func TestWitnessKeepsWhatMayChange(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3), Limits: compacts(1, 0)})
	n.hears(1, 1, &AppendRequest{Entries: metas(1, 1, 1, 1), Round: 1})
	n.saves()
	if n.state.First != 1 {
		t.Fatalf("nothing is committed, and its log begins at %d", n.state.First)
	}
	n.hears(1, 1, &AppendRequest{Prev: id(1, 3), Entries: metas(4, 1), Commit: 4, Round: 2})
	if n.state.First != 4 || n.state.Applied != 3 {
		t.Fatalf("its disk ends at 3, and its log begins at %d", n.state.First)
	}
	n.saves()
	n.saves()
	if n.state.First != 5 {
		t.Fatalf("its log begins at %d", n.state.First)
	}
}

// Behind the leader's log it is sent the metadata of a snapshot, and that is all.
func TestWitnessIsSentABareSnapshot(t *testing.T) {
	n := start(t, given{Witnesses: voters(3), Snapshot: id(1, 10), Log: terms(1, 1)})
	n.restored()
	n.wins()
	n.saves()
	n.accepted(2)
	n.rejected(3, EntryID{})
	n.rejected(3, EntryID{})
	r, ok := n.sentTo(3).Body.(*SnapshotRequest)
	if !ok || !r.Bare || r.Snapshot.Last != id(1, 10) {
		t.Fatalf("the witness is sent %v", n.sentTo(3))
	}
	w := start(t, given{ID: 3, Witnesses: voters(3)})
	w.hears(1, 2, r)
	w.saves()
	w.saves()
	if w.state.First != 11 || w.state.Commit != 10 || w.restoring != nil || w.disk.snapshot.Last != id(1, 10) {
		t.Fatalf("the witness has %v, from %d", w.node, w.state.First)
	}
	if a, ok := w.sentTo(1).Body.(*AppendReply); !ok || a.Match != 10 {
		t.Fatalf("the witness answers %v", w.sentTo(1))
	}
	// Lost, it is not waited for as long as for one that has to be carried.
	before := n.snapshotsTo(3)
	n.keeps(3*electionTimeout, n.state.Last, 2)
	n.rejected(3, EntryID{})
	if n.snapshotsTo(3) != before+1 {
		t.Fatalf("the witness was sent %d snapshots", n.snapshotsTo(3))
	}
}

// Others are sent whole ones.
func TestWitnessAloneIsSentABareSnapshot(t *testing.T) {
	n := start(t, given{Witnesses: voters(3), Snapshot: id(1, 10), Log: terms(1, 1)})
	n.restored()
	n.wins()
	n.saves()
	n.accepted(3)
	n.rejected(2, EntryID{})
	n.rejected(2, EntryID{})
	if r, ok := n.sentTo(2).Body.(*SnapshotRequest); !ok || r.Bare {
		t.Fatalf("2 is sent %v", n.sentTo(2))
	}
}

// It is nobody's heir.
func TestWitnessIsNoHeir(t *testing.T) {
	t.Run("asked for by name", func(t *testing.T) {
		n := lead(t, withWitness)
		n.steps(Transfer{Tag: 1, To: 3})
		n.replied("Reply tag=1 not a voter leader=1")
	})
	t.Run("nor chosen", func(t *testing.T) {
		n := lead(t, withWitness)
		n.keep(1, 3) // of 2 nothing was heard lately
		n.keep(12, 3)
		n.steps(Transfer{Tag: 1})
		n.replied("Reply tag=1 not a voter leader=1")
		if n.told(3, isTimeoutNow) {
			t.Fatal("the witness was told to campaign")
		}
	})
	t.Run("when the leader leaves", func(t *testing.T) {
		n := lead(t, withWitness)
		n.changes(9, witnessed(voters(2, 3), 3))
		for n.state.Role == Leader {
			n.saves()
			n.keep(1, 2, 3)
		}
		n.is(Follower, 1)
		if n.told(3, isTimeoutNow) || !n.told(2, isTimeoutNow) {
			t.Fatal("it is 2 that should be told to campaign")
		}
	})
	t.Run("when the leader's disk stalls", func(t *testing.T) {
		n := lead(t, withWitness)
		n.steps(Propose{Tag: 1})
		for range 120 {
			n.keep(1, 2, 3)
		}
		if n.told(3, isTimeoutNow) || !n.told(2, isTimeoutNow) {
			t.Fatal("it is 2 that should be told to campaign")
		}
	})
}

// Nobody becomes a witness, or stops being one, in place.
func TestWitnessStaysWhatItIs(t *testing.T) {
	for name, c := range map[string]ConfState{
		"a witness as a voter":                   conf(voters(1, 2, 3)),
		"a witness as a learner":                 conf(voters(1, 2), 3),
		"a voter as a witness":                   witnessed(voters(1, 2, 3), 2),
		"a voter as a learner without data":      {Voters: voters(1, 3), Learners: voters(2), Witnesses: voters(2, 3)},
		"the leader as a witness":                witnessed(voters(1, 2, 3), 1),
		"a witness as a voter, beside newcomers": conf(voters(1, 2, 3, 4, 5)),
	} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, withWitness)
			n.changes(1, c)
			n.replied("Reply tag=1 not in place leader=1")
			if n.state.Last != 1 {
				t.Fatalf("the log has %d entries", n.state.Last)
			}
		})
	}
}

// A new witness learns first, as anybody does, and is never sent data, also not while it
// learns; then it votes. And it can be removed, and be there anew as something else.
func TestWitnessIsAdded(t *testing.T) {
	g := grownWith(t, 2, 4, nil)
	for _, id := range voters(3) {
		m := g.member(id)
		m.cfg.Witness = true
		m.open(0)
	}
	g.elects(1)
	g.proposes(1, "before")
	g.settle()
	tag := g.changes(1, witnessed(voters(1, 2, 3), 3))
	g.passes(2 * electionTimeout)
	g.replied(1, tag, Done)
	g.proposes(1, "after")
	g.passes(electionTimeout)
	w := g.member(3)
	if w.disk.last() != g.member(1).disk.last() || !w.disk.hard.Joined || !w.disk.hard.Witness || w.applied != 0 {
		t.Fatalf("%v, its disk ends at %d", w.node, w.disk.last())
	}
	for _, e := range w.disk.entries {
		if e.Kind == EntryCommand || len(e.Data) > 0 {
			t.Errorf("the witness has %v", e)
		}
	}
	// With its help 2 leads when 1 is gone.
	g.stops(1)
	g.elects(2)
	tag = g.proposes(2, "without 1")
	g.passes(electionTimeout)
	if g.member(2).done[tag] == 0 {
		t.Fatalf("2 and the witness commit nothing: %v", g.member(2).node)
	}
	g.starts(1)
	g.passes(electionTimeout)
	// Removed, and there anew, on a fresh disk, as a member with data.
	tag = g.changes(2, conf(voters(1, 2)))
	g.passes(2 * electionTimeout)
	g.replied(2, tag, Done)
	w.disk, w.cfg.Witness, w.life = disk{}, false, w.life+1000
	g.crash(3, 0)
	tag = g.changes(2, conf(voters(1, 2, 3)))
	g.passes(3 * electionTimeout)
	g.replied(2, tag, Done)
	if w.applied != g.member(2).applied {
		t.Fatalf("it has applied %d, 2 has %d", w.applied, g.member(2).applied)
	}
}

// A joint configuration knows who of the outgoing voters is a witness; behind it only
// those who stay are named.
func TestWitnessLeavesWithTheOutgoing(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5), Witnesses: voters(4, 5)})
	n.changes(1, witnessed(voters(1, 2, 4), 4))
	n.has(2, ConfState{Voters: voters(1, 2, 4), Outgoing: voters(1, 2, 3, 4, 5), Witnesses: voters(4, 5)})
	n.saves()
	n.keep(3, 2, 3, 4, 5)
	n.has(3, witnessed(voters(1, 2, 4), 4))
	n.saves()
	n.steps(Propose{Tag: 5, Data: []byte("x")})
	for _, m := range n.mail {
		if r, ok := m.Body.(*AppendRequest); ok && (m.To == 4 || m.To == 5) {
			for _, e := range r.Entries {
				if e.Kind == EntryCommand {
					t.Errorf("%d was sent %v", m.To, e)
				}
			}
		}
	}
}

// A disk is a witness's for good, or never.
func TestWitnessDisks(t *testing.T) {
	w := start(t, given{ID: 3, Pristine: true, Witnesses: voters(3)})
	w.hears(1, 1, &AppendRequest{Entries: metas(1, 1), Round: 1})
	w.saves()
	if !w.disk.hard.Witness {
		t.Fatal("its disk does not say that it is a witness's")
	}
	cfg := w.cfg
	cfg.Witness = false
	_, err := New(cfg, w.disk.recovered(w.life, 0))
	if e := (*WitnessError)(nil); !errors.As(err, &e) || !e.Disk || !strings.Contains(err.Error(), "the disk of a witness") {
		t.Fatalf("a member with data starts from a witness's disk: %v", err)
	}
	r := w.disk.recovered(w.life, 0)
	if _, err := (Lineage{Cluster: 9, Voter: 3}).Begin(&r); !errors.As(err, new(*WitnessError)) {
		t.Fatalf("a lineage begins from a witness's disk: %v", err)
	}
	n := start(t, given{Log: terms(1)})
	cfg = n.cfg
	cfg.Witness = true
	_, err = New(cfg, n.disk.recovered(n.life, 0))
	if e := (*WitnessError)(nil); !errors.As(err, &e) || e.Disk || !strings.Contains(err.Error(), "not of a witness") {
		t.Fatalf("a witness starts from the disk of a member with data: %v", err)
	}
}

// Who is named as a witness does not lead, even if it does not know that it is one.
func TestWitnessByTheConfigurationAlone(t *testing.T) {
	n := start(t, given{ID: 3, Witnesses: voters(3), Limits: func(c *Config) { c.Witness = true }})
	n.cfg.Witness = false
	n.disk.hard.Witness = false
	n.open(0)
	for range 3 {
		n.waits(2 * electionTimeout)
		n.is(Follower, 0)
	}
}
