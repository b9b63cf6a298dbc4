package raftcore_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	. "github.com/castaway-go/castaway/raftcore"
)

// What generic mutations of the code have shown that no other test notices. Each
// comment says what would go wrong.

// --- newcomers ---

// founded is a log that names its founders, for disks that are fresh.
func founded(t ...Term) []Entry {
	return append([]Entry{setting(1, 1, conf(voters(1, 2, 3)))}, commands(2, t...)...)
}

// toThisLife gives the member a message that was meant for its present disk.
func (n *stage) toThisLife(from NodeID, term Term, body Body) {
	n.t.Helper()
	m := n.message(from, term, body)
	m.ToIncarnation = n.life
	n.steps(Receive{m})
}

// Its log may be as long as everybody's, and its disk have helped to commit what
// it has lost.
func TestD10_ANewcomerDoesNotCampaign(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.hears(2, 1, &AppendRequest{Entries: founded(1, 1), Commit: 3, Round: 1})
	n.saves()
	n.ignore()
	n.waits(2 * electionTimeout)
	n.steps(Campaign{})
	n.wantsNothing()
	n.is(Follower, 1)
}

// Nor does it say that it would vote: who asks would come with a new term, for
// nothing.
func TestD10_ANewcomerRefusesAPreVote(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.hears(2, 1, &AppendRequest{Entries: founded(1, 1), Commit: 3, Round: 1})
	n.saves()
	n.waits(2 * electionTimeout)
	n.ignore()
	n.hears(3, 1, &VoteRequest{Pre: true, Last: id(1, 3)})
	n.wants("1->3 term=1 PreVoteReply refused")
}

// Its office would hang on somebody who may elect another.
func TestD10_ANewcomerKeepsNobodyInOffice(t *testing.T) {
	n := lead(t, given{})
	for range electionTimeout/heartbeatInterval + 1 {
		n.waits(heartbeatInterval)
		if n.state.Role == Leader {
			n.comesAnew(2, 1)
		}
	}
	n.is(Follower, 1)
}

// Only a leader knows whether there may be another one.
func TestD10_ANewcomerDoesNotAdmitItself(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.toThisLife(2, 1, &AppendRequest{Entries: founded(1, 1), Commit: 3, Round: 1})
	n.saves()
	if n.state.Joined {
		t.Errorf("%v counts, and nobody has said that it may", n.node)
	}
}

// Otherwise it would be a newcomer again after every restart, and the host would
// not learn that it votes.
func TestD10_WhoWasAdmittedStaysSo(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.toThisLife(2, 1, &AppendRequest{Entries: founded(1, 1), Commit: 3, Round: 1})
	n.saves()
	n.toThisLife(2, 1, &AppendRequest{Prev: id(1, 3), Commit: 3, Round: 2, Admit: true})
	if !n.state.Joined || !n.out.StatusChanged {
		t.Errorf("joined: %v, and the status changed: %v", n.state.Joined, n.out.StatusChanged)
	}
	n.saves()
	n.crashes(0)
	if !n.state.Joined {
		t.Error("its disk does not know")
	}
}

// comesAnew has a peer speak from a fresh disk.
func (n *stage) comesAnew(peer NodeID, match Index) {
	n.t.Helper()
	m := n.message(peer, n.state.Term, &AppendReply{Match: match, Round: n.asked(peer).Round, Newcomer: true})
	m.Incarnation = lifeOf(peer + 7)
	n.steps(Receive{m})
}

// The disk before may have helped to elect somebody.
func TestD10_ANewcomersEchoExtendsNoLease(t *testing.T) {
	n := lead(t, given{Limits: leases})
	n.waits(heartbeatInterval)
	n.comesAnew(2, 1)
	n.waits(electionTimeout - heartbeatInterval - 50*time.Millisecond) // still in office
	n.is(Leader, 1)
	if n.reading() {
		t.Error("it reads, by the word of a newcomer")
	}
}

// It would refuse, and nobody lead.
func TestL2_TheHeirIsNoNewcomer(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.comesAnew(2, 1)
	n.accepted(3)
	n.steps(Transfer{Tag: 1})
	if !n.told(3, isTimeoutNow) {
		t.Errorf("%q", n.said)
	}
}

// Whoever leaves the choice to the leader is content with the target that it has.
func TestWhoAsksForAnyHeirJoinsTheTransferUnderWay(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.accepted(3)
	n.steps(Transfer{Tag: 1, To: 2})
	n.ignore()
	n.steps(Transfer{Tag: 2})
	n.wantsNothing()
}

func TestL2_ANewcomerIsNoTarget(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.comesAnew(2, 1)
	n.ignore()
	n.steps(Transfer{Tag: 1, To: 2})
	n.wants("Reply tag=1 not a voter leader=1")
}

// Heartbeats repeat it.
func TestD10_ANewcomerIsWelcomedOnce(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.comesAnew(2, 1)
	n.saves()
	n.ignore()
	n.steps()
	n.wantsNothing() // it is not welcome yet
	n.accepted(3)
	if !n.askedOf(2).Admit {
		t.Fatal("it is not welcome")
	}
	n.ignore()
	n.steps()
	n.wantsNothing()
}

// A life of a disk is a later one if it knows of a round that was opened after the
// present one was heard of. Otherwise it may be the one before, and what it says
// long out of date.
func TestR5_ALifeThatMayBeTheOneBeforeIsNotBelieved(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.accepted(2)
	n.comesAnew(2, 0) // by an echo of the same round
	if n.state.Refused != 1 || n.state.Peers[0].Match != 1 {
		t.Errorf("refused %d messages; %+v", n.state.Refused, n.state.Peers[0])
	}
}

// What another life has is not known, and what was sent to the one before is lost.
func TestR5_ALeaderAsksAnotherLifeWhatItHas(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{}, Propose{})
	n.waits(heartbeatInterval)
	n.comesAnew(2, 0)
	if state := n.peerState(2); state != "probe" {
		t.Errorf("it is in %s", state)
	}
}

// --- leases ---

// A leader knows of its newest 64 rounds when they were opened. An echo of an
// earlier one says nothing of the round that has taken its place.
func TestQ4_AnEchoOfARoundLongForgottenExtendsNoLease(t *testing.T) {
	const interval = 15 * time.Millisecond
	n := lead(t, given{Limits: func(c *Config) { leases(c); c.HeartbeatInterval = interval }})
	n.waits(interval)
	round := n.asked(2).Round
	for range 64 {
		n.waits(interval)
	}
	n.is(Leader, 1)
	if newest := n.asked(2).Round; newest != round+64 {
		t.Fatalf("the newest round is %d, and the first was %d", newest, round)
	}
	n.hears(2, 1, &AppendReply{Match: 1, Round: round})
	if n.reading() {
		t.Errorf("it reads, by an echo of what it said %v ago", 64*interval)
	}
}

// --- the disk ---

// Entries of another leader were handed to the disk, a snapshot takes their
// place, and that they are durable is heard before the snapshot is in a Save.
// They are not this leader's.
func TestD3_ACompletionThatMeetsASnapshotAcknowledgesNothingOfTheOldLog(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1, 1), Round: 1})
	n.hears(3, 2, &AppendRequest{Prev: id(2, 9), Round: 1})
	n.ignore()
	n.disk.completeOldest()
	n.steps(Receive{n.message(3, 2, gives(2, 9))}, Saved{n.disk.completeOldest()})
	if n.state.Saved != 0 {
		t.Errorf("%v; nothing of its log is known to be the leader's", n.node)
	}
	for _, m := range n.mail {
		if r, ok := m.Body.(*AppendReply); ok && m.To == 3 && r.Match > 0 {
			t.Errorf("%v", &m)
		}
	}
	n.saves()
	if r := n.sentTo(3).Body.(*AppendReply); r.Match != 9 {
		t.Errorf("%v", n.sentTo(3))
	}
}

// Whoever hears of the completions may hear of them in any order.
func TestACompletionThatComesAfterALaterOneTakesNothingBack(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.hears(2, 5, &AppendRequest{Prev: id(1, 1), Round: 1})
	n.hears(3, 6, &AppendRequest{Prev: id(1, 1), Round: 1})
	first, second := n.disk.completeOldest(), n.disk.completeOldest()
	n.steps(Saved{second})
	n.steps(Saved{first})
	n.ignore()
	n.hears(3, 6, &AppendRequest{Prev: id(1, 1), Round: 2})
	n.wants("1->3 term=6 AppendReply match=1 round=2")
}

func TestWhatWasAppliedStaysSo(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.accepted(2)
	n.applies()
	n.steps(Applied{Index: 1})
	if n.state.Applied != 2 {
		t.Errorf("%v", n.node)
	}
}

// --- messages ---

// Reordered, an old answer would hide that a quorum has what it has.
func TestR5_AnOldAnswerTakesNothingBack(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.steps(Propose{})
	n.saves()
	n.accepted(2)
	n.acknowledged(2, 1)
	n.accepted(3)
	n.hasCommitted(2)
}

// Nobody has what this leader never sent: it would commit what others lack.
func TestR5_AnAnswerBeyondTheLogCommitsNothing(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.hears(2, 1, &AppendReply{Match: 9, Round: n.askedOf(2).Round})
	n.hasCommitted(1)
	if n.state.Refused != 1 {
		t.Errorf("refused %d messages", n.state.Refused)
	}
}

// A new round, an old message that does not fit, and one that does: the round is
// still to be echoed.
func TestAnEchoIsNotForgottenOverARejectionThatIsVoid(t *testing.T) {
	n := followed(t, given{})
	request := func(prev EntryID, round uint64) Input {
		return Receive{n.message(2, 1, &AppendRequest{Prev: prev, Commit: 2, Round: round})}
	}
	n.steps(request(id(1, 2), 2), request(id(1, 7), 2), request(id(1, 2), 2))
	n.wants("1->2 term=1 AppendReply match=2 round=2")
}

// A new round comes while the disk is behind, and then more entries.
func TestAnEchoIsNotForgottenOverAFlood(t *testing.T) {
	n := followed(t, given{Limits: func(c *Config) { c.MaxUnsavedBytes = 100 }})
	request := func(prev EntryID, round uint64, entries ...Entry) Input {
		return Receive{n.message(2, 1, &AppendRequest{Prev: prev, Entries: entries, Commit: 2, Round: round})}
	}
	n.steps(request(id(1, 2), 1, commands(3, 1, 1, 1)...))
	n.ignore()
	n.steps(request(id(1, 7), 2), request(id(1, 8), 2))
	n.wants("1->2 term=1 AppendReply match=2 round=2 flooded")
	n.steps(request(id(1, 7), 2)) // to answer that would have it sent over and over
	n.wantsNothing()
}

// A disk that is behind is no reason not to hear what is committed.
func TestAFloodedFollowerCommitsWhatItHas(t *testing.T) {
	n := followed(t, given{Limits: func(c *Config) { c.MaxUnsavedBytes = 100 }})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1, 1, 1), Commit: 2, Round: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 5), Entries: commands(6, 1), Commit: 5, Round: 1})
	n.hasCommitted(5)
}

// It says nothing of the question: to send without waiting would be too early.
func TestAnAnswerFromBeforeTheQuestionDoesNotAnswerIt(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1)})
	n.wins()
	n.saves()
	before := n.askedOf(2).Round
	n.rejected(2, id(1, 1))
	n.hears(2, 2, &AppendReply{Round: before})
	if state := n.peerState(2); state != "probe" {
		t.Errorf("it is in %s", state)
	}
	n.accepted(2)
	if state := n.peerState(2); state != "replicate" {
		t.Errorf("it is in %s, after an answer", state)
	}
}

// What was sent is said to be lost; an answer that was under way says nothing of it.
func TestAnAnswerThatWasUnderWayDoesNotMakeAPeerReachable(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.steps(Propose{})
	n.steps(Unreachable{Peer: 2})
	n.acknowledged(2, 1)
	if state := n.peerState(2); state != "probe" {
		t.Errorf("it is in %s, and entry 2 may be lost", state)
	}
}

// Whoever carries a snapshot says itself when it is lost.
func TestASnapshotGoesOnThoughAMessageIsLost(t *testing.T) {
	n := lead(t, given{Snapshot: id(1, 5)})
	n.waits(heartbeatInterval)
	n.comesAnew(2, 0)
	for range 2 {
		m := n.message(2, n.state.Term, &AppendReply{Rejected: true, Probed: n.askedOf(2).Prev, Round: n.askedOf(2).Round, Newcomer: true})
		m.Incarnation = lifeOf(9)
		n.steps(Receive{m})
	}
	for range 2 {
		if state := n.peerState(2); state != "snapshot" {
			t.Fatalf("it is in %s", state)
		}
		n.steps(Unreachable{Peer: 2})
	}
}

// To ask the same again would be answered the same.
func TestARejectionThatSaysNothingNewIsNotAskedAboutAgain(t *testing.T) {
	n := start(t, given{Log: terms(1, 1)})
	n.wins()
	n.saves()
	n.ignore()
	for _, hint := range []EntryID{id(1, 2), id(1, 9)} {
		n.rejected(2, hint)
		n.wantsNothing()
	}
}

func TestMessagesThatNobodySendsAreRefused(t *testing.T) {
	const beyond = Index(1<<62 + 1)
	later, far := gives(6, 9), gives(5, beyond)
	for name, body := range map[string]Body{
		"no vote request":                       (*VoteRequest)(nil),
		"no vote":                               (*VoteReply)(nil),
		"no entries":                            (*AppendRequest)(nil),
		"no answer":                             (*AppendReply)(nil),
		"an entry of no term":                   &AppendRequest{Entries: commands(1, 0), Round: 1},
		"no snapshot request":                   (*SnapshotRequest)(nil),
		"no order":                              (*TimeoutNow)(nil),
		"no read":                               (*ReadRequest)(nil),
		"no answer to a read":                   (*ReadReply)(nil),
		"no snapshot":                           &SnapshotRequest{},
		"a snapshot of a term to come":          later,
		"a snapshot beyond all indexes":         far,
		"a snapshot without voters":             &SnapshotRequest{Snapshot: SnapshotMeta{Last: id(5, 9)}},
		"a point to read at beyond all indexes": &ReadReply{Index: beyond},
		"entries beyond all indexes":            &AppendRequest{Prev: EntryID{Term: 5, Index: beyond}, Round: 1},
	} {
		n := start(t, given{Log: terms(1)})
		n.node.Step(Receive{n.message(2, 5, body)})
		n.steps()
		n.wantsNothing()
		n.is(Follower, 1)
		if n.state.Refused != 1 {
			t.Errorf("%s: refused %d messages", name, n.state.Refused)
		}
	}
}

// It does not know its lineage before somebody tells it. Without its answer a
// group is not founded while one of three is down.
func TestWhoHasNoLineageYetAnswersAPreVote(t *testing.T) {
	pristine := start(t, given{ID: 2, Pristine: true})
	n := start(t, given{Log: terms(1)})
	n.timesOut()
	pristine.steps(Receive{*n.sentTo(2)})
	answer := *pristine.sentTo(1)
	if answer.Cluster != 0 {
		t.Fatalf("%v; it has learnt of a lineage", &answer)
	}
	n.steps(Receive{answer})
	n.is(Candidate, 2)
}

// A leader that says two things of one entry is broken, or forged: what this node
// has acknowledged may be committed.
func TestAnEntryThatWasVerifiedIsNotReplacedInItsTerm(t *testing.T) {
	n := start(t, given{Term: 3})
	n.hears(2, 3, &AppendRequest{Entries: commands(1, 1, 1), Round: 1})
	defer func() {
		if broken, ok := recover().(*InvariantError); !ok || broken.Rule != RuleLeaderAppendOnly {
			t.Errorf("%v", broken)
		}
	}()
	n.hears(2, 3, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
}

func TestAnInputThatIsNoneIsNotIgnored(t *testing.T) {
	n := start(t, given{})
	defer func() {
		if broken, ok := recover().(*InvariantError); !ok || broken.Rule != RuleKnownInput {
			t.Errorf("%v", broken)
		}
	}()
	n.node.Step(nil)
}

// --- elections ---

// Another campaign would only wait behind the one that the disk has not answered.
func TestNobodyCampaignsByHandWhileACandidacyWaitsForTheDisk(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.timesOut()
	n.granted(2)
	n.is(Candidate, 2)
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Round: 1}) // somebody else has won
	n.waits(electionTimeout)                                // and is lost
	n.ignore()
	n.steps(Campaign{})
	n.wantsNothing()
	n.is(Follower, 2)
}

func TestNobodyCampaignsByHandWhoDoesAlready(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.timesOut()
	n.ignore()
	n.steps(Campaign{})
	n.wantsNothing()
}

// A leader is known, and may only be late.
func TestNobodyCampaignsOnDemandWhoKnowsALeader(t *testing.T) {
	n := followed(t, given{Limits: func(c *Config) { c.CampaignOnDemand = true }})
	n.waits(electionTimeout)
	n.wantsNothing()
	n.steps(Propose{Tag: 1})
	n.wants("Reply tag=1 not leader leader=2")
}

// --- proposals ---

// A snapshot stands for the place of a proposal that had been cut off. What became
// of it nobody here knows; but whoever waits must be told that.
func TestAnOverruledProposalWhosePlaceASnapshotTakesIsAnswered(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Data: []byte("x"), Watch: true})
	n.saves()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 1, Round: 1})
	n.saves()
	n.ignore()
	n.hears(2, 2, &AppendRequest{Prev: id(2, 9), Commit: 9, Round: 1})
	n.hears(3, 3, gives(3, 9))
	if r := n.out.Replies; len(r) != 1 || r[0].Tag != 7 || r[0].Outcome != Compacted || !r[0].MaybeHappened {
		t.Errorf("%v", r)
	}
	n.saves()
	n.restored()
	if len(n.out.Stages) > 0 {
		t.Errorf("it has ended, and comes to %v", n.out.Stages)
	}
}

func TestAProposalWhosePlaceASnapshotTakesComesToNoMoreStages(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Watch: true})
	n.saves()
	n.hears(3, 2, gives(2, 9))
	if r := n.out.Replies; len(r) != 1 || r[0].Outcome != Compacted {
		t.Errorf("%v", r)
	}
	n.saves()
	n.restored()
	if len(n.out.Stages) > 0 {
		t.Errorf("it has ended, and comes to %v", n.out.Stages)
	}
}

// --- time ---

// The clocks of leaders differ; that of the log never goes back.
func TestATimeHeardFromAnotherLeaderIsNotGoneBackBehind(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.wall = 10
	late := commands(2, 1)
	late[0].Time = 5000
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: late, Round: 1})
	n.saves()
	n.waits(electionTimeout)
	n.wins()
	n.saves()
	if own := n.disk.entries[2]; own.Kind != EntryNoop || own.Time != 5000 {
		t.Errorf("%v has the time %d, after 5000", own, own.Time)
	}
}

// --- changes of the members ---

// A learner that answers every heartbeat, and does not come any further, is not
// waited for either.
func TestM11_WhoAnswersAndDoesNotComeAnyFurtherIsGivenUp(t *testing.T) {
	n := lead(t, given{})
	n.changes(9, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.ignore()
	for range 11 * electionTimeout / heartbeatInterval {
		n.waits(heartbeatInterval)
		n.accepted(2, 3)
		n.acknowledged(4, 0)
	}
	n.replied("Reply tag=9 not caught up leader=1")
}

// A snapshot that never arrives brings nobody any further, however often it is
// sent again.
func TestM11_WhomNoSnapshotReachesIsGivenUp(t *testing.T) {
	n := lead(t, given{Snapshot: id(1, 5)})
	n.changes(9, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.ignore()
	failed := 0
	for range 11 * electionTimeout / heartbeatInterval {
		n.waits(heartbeatInterval)
		n.accepted(2, 3)
		for range 3 {
			if _, asked := n.sentTo(4).Body.(*AppendRequest); asked {
				n.rejected(4, EntryID{})
			}
		}
		if n.peerState(4) == "snapshot" {
			n.steps(SnapshotSent{Peer: 4, Index: 5, Status: SnapshotFailed})
			failed++
		}
	}
	if failed < 10 {
		t.Fatalf("%d snapshots failed", failed)
	}
	n.replied("Reply tag=9 not caught up leader=1")
}

// It has all that the log had a moment ago, and needs a snapshot since.
func TestM11_WhoNeedsASnapshotHasNotCaughtUp(t *testing.T) {
	n := lead(t, given{Learners: voters(4), Limits: compacts(1000, 0)})
	n.steps(Propose{}, Propose{})
	n.saves()
	n.accepted(2, 3)
	n.applies()
	n.snapshotted(3)
	n.changes(9, conf(voters(1, 2, 3, 4)))
	n.has(0, conf(voters(1, 2, 3), 4))
}

// A majority of the voters-to-be is needed; as long as one of them comes on, it is
// waited for, though another is dead.
func TestM11_OneThatComesOnIsWaitedForBesideOneThatIsDead(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
	for range 300 {
		n.node.Step(Propose{})
	}
	n.waits(heartbeatInterval)
	n.saves()
	n.acknowledged(2, 1)
	n.waits(2 * heartbeatInterval)
	n.acknowledged(4, 301)
	n.acknowledged(5, 301)
	match := Index(1)
	wait := func(d time.Duration) {
		for range d / heartbeatInterval {
			n.waits(heartbeatInterval)
			n.acknowledged(4, n.state.Last)
			n.acknowledged(5, n.state.Last)
			match++
			n.acknowledged(2, match)
		}
	}
	wait(2 * electionTimeout)
	n.changes(9, conf(voters(1, 2, 3)))
	n.ignore()
	wait(12 * electionTimeout)
	n.has(0, conf(voters(1, 2, 3, 4, 5)))
	n.replied()
}

// The voters are those that the joint configuration leads to, the learners are not.
func TestAnotherTargetThanThatOfAJointConfigurationIsRefused(t *testing.T) {
	n := jointLeader(t, voters(1, 2, 3), voters(1, 2, 4))
	n.changes(9, conf(voters(1, 2, 4), 5))
	n.replied("Reply tag=9 a change is in progress leader=1")
}

// The office is handed over with a log that does not grow, and a change makes it.
func TestL2_NoTransferWhileAChangeWaitsOrIsLeft(t *testing.T) {
	n := lead(t, given{})
	n.changes(9, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.ignore()
	n.steps(Transfer{Tag: 8, To: 2})
	n.replied("Reply tag=8 a change is in progress leader=1")

	n = jointLeader(t, voters(1, 2, 3), voters(1, 2, 4)) // which another has begun
	n.steps(Transfer{Tag: 8, To: 2})
	n.replied("Reply tag=8 a change is in progress leader=1")
}

// Who asks again has seen what it asked for come, or not.
func TestAskingAgainForWhatIsInForceExpectsNothing(t *testing.T) {
	n := lead(t, given{})
	n.steps(ChangeConfig{Tag: 9, Conf: conf(voters(1, 2, 3)), Expect: 77})
	n.replied("Reply tag=9 done leader=1")
	n.steps(Transfer{Tag: 8, To: 2})
	n.ignore()
	n.changes(10, conf(voters(1, 2, 3)))
	n.replied("Reply tag=10 done leader=1")
}

// The last step of an earlier leader's change is under way.
func TestAChangeIsNotBegunWhileAConfigurationIsNotCommitted(t *testing.T) {
	n := jointLeader(t, voters(1, 2, 3), voters(1, 2, 4))
	n.accepted(2, 3, 4)
	n.saves()
	if n.state.Conf.Joint() || n.state.ConfIndex <= n.state.Commit {
		t.Fatalf("%v", n.node)
	}
	n.ignore()
	n.changes(9, conf(voters(1, 2, 3)))
	n.replied("Reply tag=9 not ready leader=1")
}

// Whoever asks this leader for what an earlier one has begun is answered when it
// is committed, and not before.
func TestWhatAnEarlierLeaderHasBegunIsDoneWhenItIsCommitted(t *testing.T) {
	larger := conf(voters(1, 2, 3), 4)
	n := start(t, given{Log: terms(1)})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: []Entry{setting(1, 2, larger)}, Round: 1})
	n.saves()
	n.waits(electionTimeout)
	n.wins()
	n.saves()
	n.ignore()
	n.changes(9, larger)
	n.replied()
	n.accepted(2)
	n.replied("Reply tag=9 done leader=1")
}

// The configuration on the way to another is not what the group ends with.
func TestAStepOfAChangeIsNotItsTarget(t *testing.T) {
	n := lead(t, given{})
	n.changes(9, conf(voters(1, 2, 3, 4)))
	n.has(2, conf(voters(1, 2, 3), 4))
	for range 2 { // before it is committed, and after
		n.ignore()
		n.changes(10, conf(voters(1, 2, 3), 4))
		n.replied("Reply tag=10 a change is in progress leader=1")
		n.saves()
		n.accepted(2, 3)
	}
	n.ignore()
	for range 4 {
		n.waits(heartbeatInterval)
		n.accepted(2, 3, 4)
		n.saves()
	}
	n.replied("Reply tag=9 done leader=1")
}

// The disk answers when the peer is gone.
func TestM6_ALoadForAPeerThatWasRemovedMeanwhileSendsNothing(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 1), Forgets: true})
	n.wins()
	n.saves()
	n.accepted(3)
	n.readsDisk()
	n.applies()
	n.rejected(2, id(1, 1))
	n.acknowledged(2, 1)
	load := n.loads[0]
	if load.For != 2 {
		t.Fatalf("%v", load)
	}
	n.changes(9, conf(voters(1, 3)))
	for range 3 * electionTimeout / heartbeatInterval {
		n.saves()
		n.applies()
		n.waits(heartbeatInterval)
		n.accepted(3)
	}
	n.has(7, conf(voters(1, 3)))
	n.ignore()
	n.steps(Loaded{Load: load, Entries: n.disk.load(load)})
	n.wantsNothing()
}

// Who was removed is told so, if its log allows; nobody carries a snapshot to it.
func TestM6_WhoWasRemovedIsSentNoSnapshot(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1, 1, 1), Limits: compacts(100, 0)})
	n.changes(9, conf(voters(1, 2)))
	n.saves()
	n.accepted(2)
	n.saves()
	n.accepted(2)
	n.has(7, conf(voters(1, 2)))
	n.applies()
	n.snapshotted(7)
	n.steps(Unreachable{Peer: 3})
	n.waits(heartbeatInterval)
	n.rejected(3, id(1, 1))
	if n.told(3, func(m *Message) bool { _, yes := m.Body.(*SnapshotRequest); return yes }) {
		t.Errorf("%q", n.said)
	}
}

// It has the entry that removes it, and what was sent to it since is said to be
// lost.
func TestM6_ARemovedFollowerThatWasUnreachableIsTold(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4)})
	n.changes(9, conf(voters(1, 2, 3)))
	n.saves()
	n.accepted(2, 3, 4)
	n.saves()
	n.has(3, conf(voters(1, 2, 3)))
	n.accepted(4)
	n.steps(Unreachable{Peer: 4})
	n.accepted(2)
	n.hasCommitted(3)
	n.waits(heartbeatInterval)
	if r := n.askedOf(4); r.Commit < 3 {
		t.Errorf("it was only told of %d", r.Commit)
	}
}

// What is in the log of a removed leader, and not committed, the next one may
// have, and commit. Nobody will tell this one.
func TestM6_ARemovedLeaderDoesNotKnowWhatBecomesOfTheRest(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(2, 3)))
	n.saves()
	n.accepted(2, 3)
	n.saves()
	n.steps(Propose{Tag: 8, Watch: true})
	n.ignore()
	n.acknowledged(2, 3)
	n.acknowledged(3, 3)
	n.is(Follower, 1)
	n.replied("Reply tag=7 done", "Reply tag=8 leadership lost (may have happened)")
	n.saves()
	if len(n.out.Stages) > 0 {
		t.Errorf("it has ended, and comes to %v", n.out.Stages)
	}
	n.hears(2, 2, &AppendRequest{Prev: id(1, 4), Commit: 4, Round: 1})
	n.saves()
	if n.applied != 4 || slices.ContainsFunc(n.said, func(s string) bool { return strings.Contains(s, "tag=8") }) {
		t.Errorf("it has been answered, and %q", n.said)
	}
}

// What is committed it applies, and answers.
func TestM6_ARemovedLeaderAnswersWhatIsCommitted(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(2, 3)))
	n.steps(Propose{Tag: 8})
	n.saves()
	n.acknowledged(2, 2)
	n.acknowledged(3, 2)
	n.steps(Propose{Tag: 9})
	n.saves()
	n.acknowledged(2, 5)
	n.ignore()
	n.acknowledged(3, 5)
	n.is(Follower, 1)
	n.replied("Reply tag=7 done")
	if got, want := n.out.Apply.Tags, []TagAt{{8, 3}, {9, 5}}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// Another change does not prolong the goodbye.
func TestM6_WhoWasRemovedAndIsDeadIsForgottenInTime(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4)})
	n.changes(7, conf(voters(1, 2, 3)))
	for range 2 {
		n.saves()
		n.accepted(2, 3)
	}
	n.has(3, conf(voters(1, 2, 3)))
	n.keep(int(electionTimeout/heartbeatInterval), 2, 3)
	n.changes(8, conf(voters(1, 2, 3), 5))
	n.saves()
	n.keep(int(electionTimeout/heartbeatInterval)+1, 2, 3)
	if n.peerState(4) != "no peer" {
		t.Errorf("%+v", n.state.Peers)
	}
}

// Whoever shows the configuration must hear that it is another again.
func TestM12_TheHostIsToldThatAConfigurationWasCutOff(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: []Entry{setting(1, 2, conf(voters(1, 2, 3, 4)))}, Round: 1})
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Round: 1})
	n.saves()
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	if !n.out.StatusChanged {
		t.Errorf("%v", &n.state.Conf)
	}
}

// --- reads ---

// Everybody counts from the number of its start: the numbers of two are often the
// same.
func TestQ7_TwoWhoAskAlikeAreBothAnswered(t *testing.T) {
	n := lead(t, given{})
	n.steps(Receive{n.message(2, 1, &ReadRequest{Sequence: 5})}, Receive{n.message(3, 1, &ReadRequest{Sequence: 5})}, Receive{n.message(2, 1, &ReadRequest{Sequence: 6})})
	n.ignore()
	n.accepted(2)
	n.wants("1->2 term=1 ReadReply #5 at 1", "1->3 term=1 ReadReply #5 at 1", "1->2 term=1 ReadReply #6 at 1")
}

// It was removed, or never belonged to the group.
func TestQ7_AStrangerIsNotTold(t *testing.T) {
	n := lead(t, given{})
	n.hears(9, 1, &ReadRequest{Sequence: 5})
	n.wants("1->9 term=1 ReadReply #5 refused")
}

// --- silence ---

// Alone, too, it has something to do until its disk and its machine have spoken.
func TestASingleVoterIsNotSilentWhileItWorks(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: quiesces})
	n.steps(Propose{})
	for i, finish := range []func(){n.saves, n.applies} {
		if n.out.Quiescent {
			t.Errorf("%d: it is silent, and %v", i, n.node)
		}
		finish()
	}
	if n.out.Quiescent || n.out.Deadline == 0 {
		t.Errorf("%v; it should wait for more to do", n.node)
	}
	n.waits(3 * heartbeatInterval)
	if !n.out.Quiescent {
		t.Errorf("%v; it should be silent", n.node)
	}
}

// What was sent to a peer is said to be lost: it may have missed something, and
// has to be asked before the group falls silent.
func TestALeaderDoesNotFallSilentOverAPeerThatWasUnreachable(t *testing.T) {
	n := lead(t, given{Limits: quiesces})
	for range 2 {
		n.waits(heartbeatInterval)
		n.accepted(2, 3)
	}
	n.waits(heartbeatInterval)
	n.accepted(3)
	n.ignore()
	n.steps(Receive{n.message(2, 1, &AppendReply{Match: 1, Round: n.askedOf(2).Round})}, Unreachable{Peer: 2})
	if n.out.Quiescent {
		t.Errorf("%q", n.said)
	}
	for range 4 {
		n.waits(heartbeatInterval)
		if !n.out.Quiescent {
			n.accepted(2, 3)
		}
	}
	if !n.out.Quiescent {
		t.Errorf("everybody has answered, and it does not fall silent: %q", n.said)
	}
}

// Otherwise a group that has something to do once in a while would wake and fall
// silent all the time.
func TestALeaderFallsSilentAfterThreeIntervalsOfIdleness(t *testing.T) {
	n := lead(t, given{Limits: quiesces})
	for range 5 {
		n.waits(heartbeatInterval)
		n.steps(Propose{})
		n.saves()
		n.accepted(2, 3)
		n.applies()
	}
	for beat := 1; beat <= 3; beat++ {
		n.waits(heartbeatInterval)
		n.accepted(2, 3)
		if n.out.Quiescent != (beat == 3) {
			t.Errorf("after %d intervals it is silent: %v", beat, n.out.Quiescent)
		}
	}
}

// The host of the leader is gone: whoever notices first needs the others' votes,
// and they have not heard from it for long.
func TestWhoIsWokenByTheLossOfTheLeadersHostVotes(t *testing.T) {
	n := asleep(t, given{})
	n.waits(time.Minute)
	n.steps(Unreachable{Peer: 2})
	n.hears(3, 1, &VoteRequest{Pre: true, Last: id(1, 2)})
	n.wants("1->3 term=1 PreVoteReply granted")
}

// The leader sleeps, too: without a word it would be taken to be dead.
func TestWhoIsWokenByARequestSaysAWordToItsLeader(t *testing.T) {
	n := asleep(t, given{})
	n.waits(time.Minute)
	n.steps(Propose{Tag: 1})
	n.wants("1->2 term=1 AppendReply match=2 round=1", "Reply tag=1 not leader leader=2")
}

// --- bounds ---

// What everybody has, and the machine, needs no memory; what somebody lacks stays.
func TestTheWindowKeepsWhatAPeerLacksAndNothingElse(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.accepted(2)
	n.applies()
	if n.node.WindowBytes() != overhead {
		t.Errorf("%d bytes, and 3 lacks an entry", n.node.WindowBytes())
	}
	n.accepted(3)
	if n.node.WindowBytes() != 0 {
		t.Errorf("%d bytes that nobody lacks", n.node.WindowBytes())
	}
}

// The window keeps its array, and what has left it with it, only as long as that
// is less than what it holds.
func TestWhatHasLeftTheWindowIsLetGoWhileOthersStay(t *testing.T) {
	const large, all, some = 64 << 10, 60, 45
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) {
		c.MaxWindowBytes, c.MaxApplyBytes = 1<<30, some*large
	}})
	var left []weak.Pointer[byte]
	for i := range all {
		data := make([]byte, large)
		if i < some-5 {
			left = append(left, weak.Make(&data[0]))
		}
		n.node.Step(Propose{Data: data})
	}
	n.steps()
	n.saves()
	n.steps()
	if n.applied != some+1 || n.node.WindowBytes() < 10*large {
		t.Fatalf("%v; %d applied, %d bytes in the window", n.node, n.applied, n.node.WindowBytes())
	}
	n.member.disk = disk{} // the test's own copies
	for range 2 {
		n.out = Output{}
		n.steps()
	}
	n.out = Output{}
	runtime.GC()
	runtime.GC()
	if alive := slices.IndexFunc(left, func(p weak.Pointer[byte]) bool { return p.Value() != nil }); alive >= 0 {
		t.Errorf("command %d has left the window, and is kept", alive)
	}
	runtime.KeepAlive(n)
}

// --- what a disk kept ---

func TestSnapshotsAndConfigurationsThatCannotBeAreRefused(t *testing.T) {
	all := conf(voters(1, 2, 3))
	for name, spoil := range map[string]func(*Recovered){
		"a snapshot without voters":                  func(r *Recovered) { r.Snapshot.Last = id(1, 2) },
		"a term that falls":                          func(r *Recovered) { r.Runs[1].Term, r.Runs[2].Term = 3, 2 },
		"the same term twice":                        func(r *Recovered) { r.Runs[1].Term = 1 },
		"two runs in one place":                      func(r *Recovered) { r.Runs[2].First = 3 },
		"an entry twice":                             func(r *Recovered) { r.Tail = commands(1, 1, 1, 2, 3, 3); r.Tail[1].Index = 1 },
		"more applied than there is":                 func(r *Recovered) { r.Applied = 6 },
		"two configurations in one entry":            func(r *Recovered) { r.Configs = []ConfigAt{{3, all}, {3, all}} },
		"a snapshot in a log without a beginning":    func(r *Recovered) { r.Snapshot = snap(1, 1); r.Runs[0].First = 2 },
		"a configuration where the log begins after": func(r *Recovered) { r.Configs = []ConfigAt{{0, all}} },
	} {
		r := Recovered{HardState: HardState{Term: 3, Cluster: cluster}, BaseConf: ConfigAt{Conf: all}}
		for _, e := range commands(1, 1, 1, 2, 3, 3) {
			r.Note(&e)
		}
		if _, err := New(Config{ID: 1, Boot: 1}, r); err != nil {
			t.Fatalf("a good one was refused: %v", err)
		}
		spoil(&r)
		if _, err := New(Config{ID: 1, Boot: 1}, r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
