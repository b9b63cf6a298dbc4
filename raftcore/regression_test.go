package raftcore_test

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	. "github.com/castaway-go/castaway/raftcore"
)

// What is in this file fails today. Each test is the smallest story of one bug;
// when it is mended the test belongs to the file of its subject.

// TestBugAPeerFurtherAwayThanAHeartbeatIsNeverReplicatedTo: in probe a leader
// wants the answer to its *newest* question, and asks anew with every heartbeat.
// If a round trip takes longer than that, every answer comes one question late,
// for ever: the peer's heartbeats are answered, and it gets no entries.
func TestBugAPeerFurtherAwayThanAHeartbeatIsNeverReplicatedTo(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2)})
	n.wins()
	n.saves()
	const roundTrip = heartbeatInterval + heartbeatInterval/2
	type arrival struct {
		at   Instant
		body AppendReply
	}
	var wire []arrival
	var log Index // what the peer has
	heard := 0
	n.steps(Propose{Tag: 1})
	for range 200 {
		n.saves()
		for ; heard < len(n.mail); heard++ {
			if r, ok := n.mail[heard].Body.(*AppendRequest); ok && r.Prev.Index <= log {
				log = max(log, r.Prev.Index+Index(len(r.Entries)))
				wire = append(wire, arrival{n.now.Add(roundTrip), AppendReply{Match: log, Round: r.Round}})
			}
		}
		n.waits(10 * time.Millisecond)
		for len(wire) > 0 && wire[0].at <= n.now {
			n.hears(2, n.state.Term, &wire[0].body)
			wire = wire[1:]
		}
	}
	n.is(Leader, 1)
	n.hasCommitted(2)
}

// TestBugR5_ALateReplyOfALifeThatTheLeaderNeverMetIsTakenForANewOne: node 2
// acknowledges 4 in its first life, loses its disk, and answers from its second
// life. Then the acknowledgement of the first arrives. The leader, which meets
// that life for the first time, takes it for the newest: it counts entries that
// are gone, and from then on refuses the life that is really there.
func TestBugR5_ALateReplyOfALifeThatTheLeaderNeverMetIsTakenForANewOne(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1), Term: 1})
	n.wins()
	n.saves()
	late := n.message(2, 2, &AppendReply{Match: 4, Round: n.askedOf(2).Round})
	second := n.message(2, 2, &AppendReply{Rejected: true, Probed: n.askedOf(2).Prev, Round: n.askedOf(2).Round})
	second.Incarnation = 999
	n.steps(Receive{Message: second})
	n.steps(Receive{Message: late})
	if got := n.state.Commit; got != 0 {
		t.Errorf("the leader committed %d, and only its own disk has it", got)
	}
	refused := n.state.Refused
	n.waits(heartbeatInterval)
	second.Body = &AppendReply{Match: 1, Round: n.askedOf(2).Round}
	n.steps(Receive{Message: second})
	if n.state.Refused != refused {
		t.Error("the leader refuses the life that is there")
	}
}

// TestBugD10_AWipedNodeVotesAgain: 1 and 2 have committed "x". Node 2 loses its
// disk; it comes back as a pristine node with the same ID, and votes for node 3,
// which has missed "x".
func TestBugD10_AWipedNodeVotesAgain(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.proposes(1, "w")
	g.settle()
	g.isolate(3)
	tag := g.proposes(1, "x")
	g.settle()
	if g.member(1).done[tag] == 0 {
		t.Fatal("x should be committed by 1 and 2")
	}
	wiped := g.member(2)
	wiped.disk, wiped.life = disk{}, 999
	g.crash(2, 0)
	g.connected()
	g.isolate(1)
	g.loseSight()
	g.timesOut(3)
	g.settle() // history.observe notices a leader without "x"
}

// TestBugE16_ANodeWhoseDiskStallsRaisesItsTermForEver: a candidacy waits for the
// disk. While it waits the node times out, asks for pre-votes again, gets them
// again, and opens yet another term, with yet another Save behind the first.
func TestBugE16_ANodeWhoseDiskStallsRaisesItsTermForEver(t *testing.T) {
	n := start(t, given{})
	for range 20 {
		n.timesOut()
		if n.state.Role == PreCandidate {
			n.granted(2)
		}
	}
	if n.state.Term > 1 || len(n.disk.pending) > 1 {
		t.Errorf("%v, with %d Saves under way", n.node, len(n.disk.pending))
	}
}

// TestBugTrimmedEntriesStayInMemory: the window is a slice that moves through an
// array which is only copied when its *capacity in entries* runs out. After many
// small entries that is tens of thousands of places; then every large command
// stays in the array long after it has left the window.
func TestBugTrimmedEntriesStayInMemory(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.MaxWindowBytes = 64 << 10 }})
	for range 20_000 { // the array has thousands of places more then
		n.node.Step(Propose{})
	}
	n.steps()
	n.saves()
	n.steps(Applied{Index: n.applied})
	var commands []weak.Pointer[byte]
	for range 100 {
		data := make([]byte, 64<<10)
		commands = append(commands, weak.Make(&data[0]))
		n.steps(Propose{Data: data})
		n.saves()
		n.steps(Applied{Index: n.applied})
	}
	n.member.disk = disk{} // the test's own copies
	n.steps()
	n.out = Output{}
	n.steps()
	n.out = Output{}
	runtime.GC()
	runtime.GC()
	alive := 0
	for _, p := range commands {
		if p.Value() != nil {
			alive++
		}
	}
	if alive > 10 {
		t.Errorf("of 100 commands of 64 KiB that were applied, the window of 64 KiB keeps %d alive", alive)
	}
	runtime.KeepAlive(n)
}

// TestBugALoadedAnswerIsPassedOnWholeHoweverLarge: the core counts 64 bytes for
// an entry beside its data, stores count the data alone. Of small commands, or
// in metadata-only mode, one answer is the whole rest of the log, and travels in
// one request.
func TestBugALoadedAnswerIsPassedOnWholeHoweverLarge(t *testing.T) {
	n := behind(t, 1000)
	n.mail = nil
	n.steps(Loaded{Load: n.loads[0], Entries: n.disk.entries[:1000]})
	for _, r := range n.requests(2) {
		if got := size(r.Entries); got > n.cfg.MaxAppendBytes {
			t.Errorf("a request of %d entries counts %d bytes, the bound is %d", len(r.Entries), got, n.cfg.MaxAppendBytes)
		}
	}
}

// TestBugAnEntryOfALaterTermThanItsMessageIsTaken: such a log cannot be: no
// leader has entries of terms to come. It is written to the disk, and New
// refuses to start from it ever after.
func TestBugAnEntryOfALaterTermThanItsMessageIsTaken(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 9), Round: 1})
	n.saves()
	if _, err := New(n.cfg, n.disk.recovered(n.life, 0)); err != nil {
		t.Errorf("the node wrote a log that it cannot start from: %v", err)
	}
}

// TestBugAnEntryOfNoKindIsTaken: zero is no kind "so that a forgotten kind is
// noticed". Nobody notices.
func TestBugAnEntryOfNoKindIsTaken(t *testing.T) {
	for _, kind := range []EntryKind{0, 5, 255} {
		n := start(t, given{Term: 1})
		n.hears(2, 1, &AppendRequest{Entries: []Entry{{EntryID: id(1, 1), Kind: kind}}, Round: 1})
		if n.state.Last != 0 {
			t.Errorf("an entry of kind %d was taken", kind)
		}
	}
}

// TestBugALeaderThatContradictsItselfIsBelieved: a leader only appends, so what
// one of its requests verified, no other can contradict: RuleLeaderAppendOnly
// says so, and is checked nowhere. The node cuts verified entries off, goes on
// taking them for verified, and breaks RuleCommitInLog a little later.
func TestBugALeaderThatContradictsItselfIsBelieved(t *testing.T) {
	n := start(t, given{Term: 5})
	n.hears(2, 5, &AppendRequest{Entries: commands(1, 4, 4, 5), Round: 1})
	n.saves()
	defer func() {
		if r := recover(); r != nil {
			if broken, ok := r.(*InvariantError); !ok || broken.Rule != RuleLeaderAppendOnly {
				t.Errorf("%v", r)
			}
		}
	}()
	n.hears(2, 5, &AppendRequest{Entries: commands(1, 4, 5), Commit: 3, Round: 2}) // refused, or the rule broken by name
	if n.state.Refused != 1 {
		t.Errorf("%v, refused %d", n.node, n.state.Refused)
	}
}

// TestBugRefusedMessagesChangeTheTerm: a message that is no message is counted
// as refused, but its term has been adopted by then.
func TestBugRefusedMessagesChangeTheTerm(t *testing.T) {
	for name, body := range map[string]Body{
		"no body":            nil,
		"a gap in the log":   &AppendRequest{Prev: id(1, 1), Entries: commands(3, 1), Round: 1},
		"a config without c": &AppendRequest{Entries: []Entry{{EntryID: id(1, 1), Kind: EntryConfig}}, Round: 1},
	} {
		n := start(t, given{Term: 1})
		n.hears(2, 50, body)
		if n.state.Term != 1 || n.state.Refused != 1 {
			t.Errorf("%s: %v, refused %d", name, n.node, n.state.Refused)
		}
	}
}

// TestBugATypedNilBodyPanics: what a decoder hands over for an empty field.
func TestBugATypedNilBodyPanics(t *testing.T) {
	for _, body := range []Body{(*VoteRequest)(nil), (*VoteReply)(nil), (*AppendRequest)(nil), (*AppendReply)(nil)} {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%T(nil): %v", body, r)
				}
			}()
			n := start(t, given{Term: 1})
			n.hears(2, 1, body)
		}()
	}
}

// TestBugTheLastTermIsTheEndOfTheNode: one message with the greatest term there
// is, and the node panics at its next candidacy, after each restart anew.
func TestBugTheLastTermIsTheEndOfTheNode(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2)})
	n.hears(2, math.MaxUint64, &VoteReply{})
	n.saves()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%v", r)
		}
	}()
	n.timesOut()
	n.granted(2)
}

// TestBugALeaderWithASnapshotPanicsWhenAPeerIsBehindIt: a follower may hold the
// entry at the leader's base, and acknowledge less because its disk is slow.
// The leader then goes back to before its base, where it knows no terms.
func TestBugALeaderWithASnapshotPanicsWhenAPeerIsBehindIt(t *testing.T) {
	r := Recovered{
		HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, Incarnation: lifeOf(1),
		Base: id(1, 100), Last: 100, BaseConf: ConfigAt{Index: 1, Conf: ConfState{Voters: voters(1, 2)}},
	}
	for name, input := range map[string]func(n *Node){
		"an acknowledgement below the base": func(n *Node) {
			n.Step(Receive{Message{From: 2, To: 1, Term: 2, Cluster: cluster, Incarnation: 102, Body: &AppendReply{Match: 50, Round: 1}}})
			n.Step(Loaded{Load: Load{For: 2, Term: 2, From: 51, To: 100}})
			n.Drain(new(Output))
			n.Step(Loaded{Load: Load{For: 2, Term: 2, From: 51, To: 100}}) // the disk has no such entries
			n.Step(Tick{Now: Instant(3*time.Hour + time.Second/2)})
		},
		"a peer that became unreachable before it acknowledged anything": func(n *Node) {
			n.Step(Receive{Message{From: 2, To: 1, Term: 2, Cluster: cluster, Incarnation: 102, Body: &AppendReply{Match: 0, Round: 1}}})
			n.Step(Unreachable{Peer: 2})
			n.Step(Tick{Now: Instant(3*time.Hour + time.Second/2)})
		},
	} {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: %v", name, r)
				}
			}()
			r.Snapshot = SnapshotMeta{Last: r.Base, Conf: r.BaseConf}
			n, err := New(Config{ID: 1, Boot: 1}, r)
			if err != nil {
				t.Fatal(err)
			}
			var out Output
			n.Step(Tick{Now: Instant(time.Hour)})
			n.Step(Tick{Now: Instant(3 * time.Hour)})
			n.Drain(&out)
			n.Step(Receive{Message{From: 2, To: 1, Term: 1, Cluster: cluster, Incarnation: 102, Body: &VoteReply{Pre: true, Granted: true, Campaign: 1<<32 + 1}}})
			n.Drain(&out)
			n.Step(Saved{Token: out.Save.Token})
			n.Drain(&out)
			n.Step(Receive{Message{From: 2, To: 1, Term: 2, Cluster: cluster, Incarnation: 102, Body: &VoteReply{Granted: true, Campaign: 1<<32 + 2}}})
			n.Drain(&out)
			if n.Status().Role != Leader {
				t.Fatal(n)
			}
			input(n)
			n.Drain(&out)
		}()
	}
}

// TestBugALeaderWithAStalledDiskAcceptsForEver: the others commit without it, so
// what is uncommitted stays small; what is not saved has no bound.
func TestBugALeaderWithAStalledDiskAcceptsForEver(t *testing.T) {
	const limit = 64 << 10
	n := lead(t, given{Limits: func(c *Config) { c.MaxUncommittedBytes = limit }})
	accepted := 0
	for tag := Tag(1); tag <= 1000; tag++ {
		n.steps(Propose{Tag: tag, Data: make([]byte, 1024)})
		if len(n.out.Replies) > 0 {
			break
		}
		accepted += 1024
		n.accepted(2, 3) // not its own disk
	}
	if accepted > 4*limit {
		t.Errorf("a leader whose disk does not answer holds %d bytes in memory; the bound is %d", accepted, limit)
	}
}

// TestBugE19_ARepeatedOldHeartbeatStopsACampaign: a node that has lost sight of
// its leader asks for pre-votes. A heartbeat that it heard before comes once
// more; it proves nothing, and yet the campaign is over.
func TestBugE19_ARepeatedOldHeartbeatStopsACampaign(t *testing.T) {
	n := start(t, given{Log: terms(1), Term: 1})
	heartbeat := &AppendRequest{Prev: id(1, 1), Round: 5}
	n.hears(2, 1, heartbeat)
	n.timesOut()
	n.is(PreCandidate, 1)
	n.hears(2, 1, heartbeat)
	n.is(PreCandidate, 1)
}

// TestBugAFreshRoundGoesUnanswered: a probe that does not fit is to be rejected
// at once, and its round echoed. An old message in the same batch takes the
// rejection back, and nothing is said at all.
func TestBugAFreshRoundGoesUnanswered(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Round: 1})
	n.ignore()
	n.steps(
		Receive{n.message(2, 1, &AppendRequest{Prev: id(1, 9), Round: 2})},
		Receive{n.message(2, 1, &AppendRequest{Prev: id(1, 1), Round: 1})}, // again
	)
	if len(n.said) == 0 {
		t.Error("round 2 was heard and not answered")
	}
}

// TestBugALeaderThatStepsDownRefersItsReadsToItself: "Leader is where to ask
// instead". The refusals are written before the office is given up.
func TestBugALeaderThatStepsDownRefersItsReadsToItself(t *testing.T) {
	n := lead(t, given{})
	n.steps(Read{Tag: 1})
	n.ignore()
	n.waits(electionTimeout)
	n.wants("Reply tag=1 not leader")
}

// TestBugABystanderOfTheFoundingIsNeverFounded: node 2 hears a vote request of
// the first founder before it is told to found the group itself. It belongs to
// the lineage then, so Bootstrap says Done and writes nothing. If the first
// founder dies now, 2 and 3 are a majority that knows no configuration, however
// often they are told.
func TestBugABystanderOfTheFoundingIsNeverFounded(t *testing.T) {
	n := start(t, given{ID: 2, Pristine: true})
	n.hears(1, 2, &VoteRequest{Last: id(1, 1)})
	n.steps(Bootstrap{Tag: 1, Cluster: cluster, Conf: ConfState{Voters: voters(1, 2, 3)}})
	n.saves()
	if n.out.Deadline == 0 {
		t.Errorf("%v waits for nothing, and its configuration is {%v}", n.node, &n.state.Conf)
	}
}

// TestBugASteadyReaderStarvesAPeerInProbe: every round of reads counts as a
// newer question to every peer. While the fast peers confirm one round after
// the other, a slower one that is in probe never answers the newest.
func TestBugASteadyReaderStarvesAPeerInProbe(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{}, Unreachable{Peer: 3})
	n.saves()
	n.waits(heartbeatInterval)
	n.accepted(2)
	for tag := Tag(1); tag <= 100; tag++ {
		n.steps(Read{Tag: tag})
		late := n.askedOf(3).Round
		n.accepted(2)                  // confirms the round …
		n.steps(Read{Tag: 1000 + tag}) // … and the next one opens
		n.hears(3, 1, &AppendReply{Match: 1, Round: late})
		n.accepted(2)
	}
	if p := n.state.Peers[1]; p.State != ProgressReplicate {
		t.Errorf("peer 3 has agreed a hundred times: %+v", p)
	}
}

// TestBugStatusSharesItsConfiguration: "the slices are the caller's".
func TestBugStatusSharesItsConfiguration(t *testing.T) {
	n := start(t, given{})
	st := n.node.Status()
	st.Conf.Voters[0] = 77
	if got := n.node.Status().Conf.Voters; !slices.Equal(got, voters(1, 2, 3)) {
		t.Errorf("whoever holds a Status can change the configuration: %v", got)
	}
}

// TestBugMaxReadsIsExceeded: the bound is on the reads that wait for the next
// round; those that the present round confirms come on top.
func TestBugMaxReadsIsExceeded(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxReads = 4 }})
	waiting := 0
	for tag := Tag(1); tag <= 20; tag++ {
		n.steps(Read{Tag: tag})
		if len(n.out.Replies) == 0 {
			waiting++
		}
	}
	if waiting > 4 {
		t.Errorf("%d reads wait, the bound is 4", waiting)
	}
}

// TestBugE10_APreVoteOfTheLifeBeforeIsCounted: campaigns are numbered from one in
// every life of the process, so an answer from before the restart fits.
func TestBugE10_APreVoteOfTheLifeBeforeIsCounted(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.timesOut()
	answer := &VoteReply{Pre: true, Granted: true, Campaign: n.sentTo(2).Body.(*VoteRequest).Campaign}
	n.crashes(0)
	n.timesOut()
	n.hears(2, 1, answer)
	n.is(PreCandidate, 1)
}

// TestBugRecoveredStatesThatCannotBeAreAccepted: a store that reads its disk
// wrong must be noticed here; later it is a leader that sends wrong entries.
func TestBugRecoveredStatesThatCannotBeAreAccepted(t *testing.T) {
	conf := ConfState{Voters: voters(1, 2, 3)}
	good := func() Recovered {
		r := Recovered{HardState: HardState{Term: 3, Cluster: cluster}, BaseConf: ConfigAt{Conf: conf}}
		for _, e := range commands(1, 1, 1, 2, 3, 3) {
			r.Note(&e)
			r.Tail = append(r.Tail, e)
		}
		return r
	}
	for name, spoil := range map[string]func(r *Recovered){
		"a tail with a hole":                       func(r *Recovered) { r.Tail[2].Index = 9 },
		"a tail of other terms":                    func(r *Recovered) { r.Tail[2].Term = 1 },
		"a tail whose last entry has another term": func(r *Recovered) { r.Tail[4].Term = 2 },
		"entries of term zero":                     func(r *Recovered) { r.Runs[0].Term = 0; r.Tail = nil },
		"a base with an index and no term":         func(r *Recovered) { *r = Recovered{HardState: r.HardState, Base: id(0, 5), Last: 5} },
		"a base with a term and no index":          func(r *Recovered) { *r = Recovered{HardState: r.HardState, Base: id(2, 0)} },
		"a configuration beyond the log":           func(r *Recovered) { r.Configs = []ConfigAt{{Index: 6, Conf: conf}} },
		"configurations in disorder":               func(r *Recovered) { r.Configs = []ConfigAt{{Index: 3, Conf: conf}, {Index: 2, Conf: conf}} },
		"a configuration without voters":           func(r *Recovered) { r.Configs = []ConfigAt{{Index: 3}} },
		"a configuration that names a voter twice": func(r *Recovered) { r.BaseConf.Conf = ConfState{Voters: voters(1, 1)} },
		"the base's configuration after the base":  func(r *Recovered) { r.BaseConf.Index = 4 },
		"the log ends where indexes end":           func(r *Recovered) { r.Last = math.MaxUint64; r.Tail = nil },
		"a vote in no term":                        func(r *Recovered) { *r = Recovered{HardState: HardState{Vote: 2}} },
	} {
		r := good()
		spoil(&r)
		if _, err := New(Config{ID: 1, Boot: 1}, r); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
