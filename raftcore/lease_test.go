package raftcore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// Lease reads (thesis §6.4.1), and what leases and transfers must not do to
// reads. The reads that ask a quorum are in read_test.go.

func leases(c *Config) { c.LeaseReads = true }

// leased is a leader that has opened a round at the instant opened, and nobody
// has answered it.
func leased(t testing.TB, g given) (n *stage, opened Instant) {
	t.Helper()
	limits := g.Limits
	g.Limits = func(c *Config) {
		leases(c)
		if limits != nil {
			limits(c)
		}
	}
	n = lead(t, g)
	n.waits(heartbeatInterval)
	return n, n.now
}

// reading has the member read, and reports whether it may at once, without
// asking anybody.
func (n *stage) reading() bool {
	n.t.Helper()
	n.steps(Read{Tag: 77})
	atOnce := len(n.out.Reads) == 1
	if asks := slices.ContainsFunc(n.out.Send, func(m Message) bool { return m.Body.(*AppendRequest).Round > 0 }); atOnce && asks {
		n.t.Fatalf("it reads, and asks all the same: %v", n.said)
	}
	return atOnce
}

// expires finds out when a lease ends: the time from when its round was opened
// until a read is not answered at once any more. The echoes of rounds that are
// opened meanwhile are lost.
func (n *stage) expires(opened Instant) time.Duration {
	n.t.Helper()
	for n.reading() {
		n.waits(time.Millisecond)
		if n.now > opened.Add(2*electionTimeout) {
			n.t.Fatal("the lease does not end")
		}
	}
	return n.now.Sub(opened)
}

func TestLeasesAreOffByDefault(t *testing.T) {
	n := lead(t, given{})
	n.waits(heartbeatInterval)
	n.accepted(2, 3)
	if n.reading() {
		t.Error("it reads without asking anybody")
	}
	if n.accepted(2); len(n.out.Reads) != 1 {
		t.Error("it asked, was answered, and does not read")
	}
}

func TestALeaderWithALeaseReadsAtOnceAndAsksNobody(t *testing.T) {
	n, _ := leased(t, given{})
	n.accepted(2)
	n.ignore()
	n.steps(Read{Tag: 1}, Read{Tag: 2})
	n.wants("Read tag=1 at 1", "Read tag=2 at 1")
	n.hears(3, 1, &ReadRequest{Sequence: 9})
	n.wants("1->3 term=1 ReadReply #9 at 1")
}

func TestALeaseDoesNotExcuseFromTheFirstCommitOfTheTerm(t *testing.T) {
	n := start(t, given{Log: terms(1, 1), Limits: leases})
	n.wins()
	n.saves()
	n.acknowledged(2, 2) // a sign of life, and not the opening entry
	n.acknowledged(3, 2)
	if n.reading() {
		t.Error("it reads, and nothing of its term is committed")
	}
}

func TestQ4_ALeaseCountsFromWhenItsRoundWasOpenedNotFromTheEcho(t *testing.T) {
	n, opened := leased(t, given{})
	round := n.asked(2).Round
	n.waits(800 * time.Millisecond)
	n.hears(2, 1, &AppendReply{Match: 1, Round: round})
	if !n.reading() {
		t.Fatal("the lease is good")
	}
	if held := n.expires(opened); held > electionTimeout*950/1050+time.Millisecond {
		t.Errorf("the lease held for %v since the round was opened", held)
	}
}

func TestQ4_ALeaseIsCutByWhatClocksMayDiffer(t *testing.T) {
	for _, drift := range []int{0, 1, 50, 200, 500, 999} {
		n, opened := leased(t, given{Limits: func(c *Config) { c.MaxClockDrift = drift }})
		n.accepted(2)
		if drift == 0 {
			drift = 50 // the default
		}
		// This clock runs slow, and theirs fast.
		slow, fast := 1000-float64(drift), 1000+float64(drift)
		want := time.Duration(float64(electionTimeout) * slow / fast)
		if held := n.expires(opened); held > want+time.Millisecond || held < want-time.Millisecond {
			t.Errorf("a drift of %d/1000: the lease held for %v, and should for %v", drift, held, want)
		}
	}
}

func TestALeaseEndsWithoutAQuorum(t *testing.T) {
	n, opened := leased(t, given{Voters: voters(1, 2, 3, 4, 5), Learners: voters(6, 7)})
	n.accepted(2, 3)
	round := n.asked(2).Round
	for n.now < opened.Add(electionTimeout*950/1050+time.Millisecond) {
		n.waits(10 * time.Millisecond)
		n.hears(2, 1, &AppendReply{Match: 1, Round: n.asked(2).Round}) // one of four
		n.hears(6, 1, &AppendReply{Match: 1, Round: n.asked(6).Round}) // they do not vote
		n.hears(7, 1, &AppendReply{Match: 1, Round: n.asked(7).Round})
		n.hears(3, 1, &AppendReply{Match: 1, Round: round})  // it says what it said before
		n.hears(4, 1, &AppendReply{Match: 1, Round: 0})      // it has heard of no round
		n.hears(99, 1, &AppendReply{Match: 1, Round: round}) // a stranger
	}
	if n.reading() {
		t.Error("it reads, and may have been succeeded")
	}
	n.accepted(2, 5)
	if len(n.out.Reads) != 1 {
		t.Error("a quorum has echoed by now")
	}
}

func TestASingleVoterNeedsNoLease(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Learners: voters(2), Limits: leases})
	n.waits(time.Hour)
	if !n.reading() {
		t.Error("who else could lead?")
	}
}

func TestQ9_ALeaseNeedsBothHalvesOfAJointConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		echo []NodeID
		good bool
	}{
		"the old half":   {voters(2, 3), false},
		"the new half":   {voters(4, 5), false},
		"both halves":    {voters(3, 5), true},
		"half of a half": {voters(2), false},
	} {
		n := lead(t, given{Voters: voters(1, 2, 3), Learners: voters(4, 5), Limits: leases})
		n.steps(ChangeConfig{Conf: ConfState{Voters: voters(1, 4, 5)}})
		if !n.state.Conf.Joint() {
			t.Fatalf("%v", &n.state.Conf)
		}
		n.waits(electionTimeout - 1) // the lease of before is over, the office is not
		for _, p := range c.echo {
			n.hears(p, 1, &AppendReply{Match: 1, Round: n.asked(p).Round}) // and not the entry: it stays joint
		}
		if got := n.reading(); got != c.good {
			t.Errorf("%s echoed: reads at once: %v", name, got)
		}
	}
}

// --- Q3, Q8: transfers ---

func TestQ3_ALeaseIsNotTrustedOnceATransferHasBegun(t *testing.T) {
	n, _ := leased(t, given{})
	n.accepted(2, 3)
	if !n.reading() {
		t.Fatal("the lease is good")
	}
	n.steps(Transfer{To: 2})
	if n.urged(2) != 1 {
		t.Fatal("2 should have been told")
	}
	if n.reading() {
		t.Error("it reads, and 2 may lead by now")
	}
}

func TestQ3_ALeaseIsNotTrustedInTheTermOfATransferEvenWhenThatIsOver(t *testing.T) {
	for name, end := range map[string]func(n *stage){
		"timed out":  func(n *stage) { n.keeps(electionTimeout, 1, 2, 3) },
		"called off": func(n *stage) { n.steps(Transfer{To: 1}) },
	} {
		n, _ := leased(t, given{})
		n.accepted(2, 3)
		n.steps(Transfer{To: 2})
		end(n)
		n.keeps(2*electionTimeout, 1, 2, 3)
		if n.is(Leader, 1); n.reading() {
			t.Errorf("%s: it reads, and the order may still be followed", name)
		}
		n.accepted(3)
		if len(n.out.Reads) != 1 {
			t.Errorf("%s: a quorum has echoed by now", name)
		}
	}
}

func TestALeaseIsTrustedAgainIfTheTargetWasNeverTold(t *testing.T) {
	n, _ := leased(t, given{})
	n.steps(Propose{})
	n.saves()
	n.acknowledged(3, 2)
	n.steps(Transfer{To: 2}) // it lacks an entry
	n.hears(3, 1, &AppendReply{Match: 2, Round: n.asked(3).Round})
	if n.reading() {
		t.Error("it reads while it hands over")
	}
	n.steps(Transfer{To: 1})
	n.waits(heartbeatInterval)
	n.hears(3, 1, &AppendReply{Match: 2, Round: n.asked(3).Round})
	if n.urged(2) > 0 || !n.reading() {
		t.Error("nobody was told to campaign")
	}
}

func TestQ8_AReadDuringATransferIsConfirmedByAQuorumOrRefused(t *testing.T) {
	for _, limits := range []func(*Config){nil, leases} {
		n := lead(t, given{Limits: limits})
		n.waits(heartbeatInterval)
		n.accepted(2, 3)
		n.steps(Transfer{To: 2})
		if n.reading() {
			t.Fatal("it reads, and nobody was asked")
		}
		n.hears(3, 1, &AppendReply{Match: 1, Round: n.asked(3).Round})
		if len(n.out.Reads) != 1 {
			t.Error("nobody else led when the round was opened")
		}
		n.ignore()
		n.steps(Read{Tag: 2})
		n.hears(2, 2, &VoteRequest{Last: id(1, 1), Transfer: true})
		n.gave("Reply tag=2 not leader")
	}
}

func TestQ8_ReadsEndWhileAnOfficeIsHandedOver(t *testing.T) {
	for _, limits := range []func(*Config){nil, leases} {
		g := newGroupOf(t, 3, given{Limits: limits})
		g.elects(1)
		g.passes(heartbeatInterval)
		var tags []Tag
		for range 10 {
			tags = append(tags, g.reads(1))
		}
		g.step(g.member(1), Transfer{To: 2})
		for range 10 {
			tags = append(tags, g.reads(1))
		}
		g.settle()
		for _, tag := range tags {
			_, read := g.member(1).reads[tag]
			if _, refused := g.member(1).replies[tag]; read == refused {
				t.Errorf("read %d: answered %v, refused %v", tag, read, refused)
			}
		}
	}
}

// --- the other side of a lease: who promised, holds still ---

func TestAVoterWithLeasesDoesNotVoteSoonAfterItsStart(t *testing.T) {
	request := &VoteRequest{Last: id(2, 9), Campaign: 1}
	pre := &VoteRequest{Pre: true, Last: id(2, 9), Campaign: 1}
	n := start(t, given{Log: terms(1, 1), Limits: leases})
	n.waits(electionTimeout - 1)
	n.hears(3, 2, request)
	n.wantsNothing()
	n.hears(3, 2, pre)
	n.wants("1->3 term=1 PreVoteReply refused")
	n.steps(Campaign{})
	n.wantsNothing()
	n.waits(1)
	n.hears(3, 2, pre)
	n.wants("1->3 term=1 PreVoteReply granted")
	n.hears(3, 2, request)
	n.saves()
	n.wants("Save #1 term=2 vote=3", "1->3 term=2 VoteReply granted")

	n = start(t, given{Log: terms(1, 1)}) // without leases nothing was promised
	n.hears(3, 2, request)
	n.saves()
	n.wants("Save #1 term=2 vote=3", "1->3 term=2 VoteReply granted")

	n = start(t, given{Log: terms(1, 1), Limits: leases}) // the leader itself wants it
	n.hears(3, 2, &VoteRequest{Last: id(2, 9), Transfer: true})
	n.saves()
	n.wants("Save #1 term=2 vote=3", "1->3 term=2 VoteReply granted")
}

func TestAPristineVoterWithLeasesHasPromisedNothing(t *testing.T) {
	n := start(t, given{Pristine: true, Limits: leases})
	n.steps(Bootstrap{Cluster: cluster, Conf: ConfState{Voters: voters(1, 2, 3)}})
	n.saves()
	n.ignore()
	n.hears(3, 1, &VoteRequest{Pre: true, Last: id(1, 1), Campaign: 1})
	n.wants("1->3 term=1 PreVoteReply granted")
}

// A voter may have echoed the rounds of a leader, and so be part of its lease,
// before its slow disk had any of the leader's entries.
func TestAVoterWithLeasesHoldsStillAfterARestartThoughItsLogIsYoung(t *testing.T) {
	n := start(t, given{Log: terms(1), Limits: leases})
	n.waits(electionTimeout)
	n.hears(2, 2, &VoteRequest{Last: id(1, 1)})
	n.saves()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 1, Round: 1})
	n.wants("Save #1 term=2 vote=2", "1->2 term=2 VoteReply granted", "Save #2 term=2 vote=2 [2/2 \"\"]",
		"1->2 term=2 AppendReply match=1 round=1", "Apply [1/1 \"\"]")
	n.crashes(0)
	n.hears(3, 3, &VoteRequest{Last: id(2, 2)})
	n.saves()
	for _, line := range n.said {
		if strings.Contains(line, "granted") {
			t.Errorf("2 may have a lease, and this node is part of it: %s", line)
		}
	}
}

// Node 1 has echoed round 1 of node 2, which may read until an election timeout
// later. That node 1 learns of a later term, from an old answer say, does not
// end the lease: node 2 knows nothing of it.
func TestAPromiseToHoldStillOutlivesTheTerm(t *testing.T) {
	teach := func(t *testing.T, body Body) *stage {
		n := followed(t, given{Limits: leases})
		n.waits(electionTimeout) // its start does not matter any more
		n.is(Follower, 1)
		n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2})
		n.hears(3, 2, body)
		n.saves()
		n.ignore()
		return n
	}
	for name, body := range map[string]Body{
		"an answer to an old pre-vote": &VoteReply{Pre: true, Campaign: 1},
		"an answer to an old campaign": &VoteReply{Campaign: 1},
		"an answer to an old append":   &AppendReply{},
		"a request to read":            &ReadRequest{Sequence: 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := teach(t, body)
			n.hears(3, 2, &VoteRequest{Last: id(1, 2), Campaign: 2})
			n.saves()
			for _, line := range n.said {
				if strings.Contains(line, "VoteReply granted") {
					t.Errorf("it votes within a lease: %s", line)
				}
			}
			n = teach(t, body)
			n.steps(Campaign{})
			if n.state.Role != Follower {
				t.Errorf("it campaigns within a lease: %v", n.node)
			}
			n.waits(electionTimeout)
			n.steps(Campaign{})
			if n.state.Role == Follower {
				t.Errorf("the lease is over: %v", n.node)
			}
		})
	}
}

// --- Q5, Q6, Q7: the index of a read ---

// A read is tied to an index of the log, and that is at or above everything that
// was acknowledged before it was asked for.
func TestQ5_AReadIsNeverBelowWhatWasAcknowledgedBefore(t *testing.T) {
	for seed := range uint64(30) {
		for _, limits := range []func(*Config){nil, leases} {
			r := rand.New(rand.NewPCG(seed, 5))
			c := newCourt(t, r, limits)
			for range 400 {
				c.act()
			}
		}
	}
}

// court is a group whose network does what it likes, and a judge of its reads.
type court struct {
	*group
	r     *rand.Rand
	floor map[Tag]Index // what had been acknowledged when a read was asked for
	acked Index
	rate  []time.Duration    // how fast each clock runs, in thousandths
	sees  func(*groupMember) // is shown every Output, if set
}

func (c *court) step(m *groupMember, inputs ...Input) {
	c.t.Helper()
	c.group.step(m, inputs...)
	if c.sees != nil && !m.down {
		c.sees(m)
	}
}

// calms lets everything through that is under way, and time pass.
func (c *court) calms(d time.Duration) {
	c.t.Helper()
	c.connected()
	c.release()
	for ; d > 0; d -= heartbeatInterval / 2 {
		for _, m := range c.members {
			m.now = m.now.Add(heartbeatInterval / 2)
			c.step(m)
		}
		for busy := true; busy; {
			busy = false
			for _, m := range c.members {
				if len(m.disk.pending) > 0 {
					busy = true
					c.step(m, Saved{Token: m.disk.completeOldest()})
				}
				if inbox := m.inbox; len(inbox) > 0 {
					busy, m.inbox = true, nil
					c.step(m, inbox...)
				}
			}
			if len(c.wire) > 0 {
				busy = true
				m := c.wire[0]
				c.wire = c.wire[1:]
				c.step(c.member(m.To), Receive{m})
			}
		}
	}
}

func newCourt(t *testing.T, r *rand.Rand, limits func(*Config)) *court {
	c := &court{r: r, floor: map[Tag]Index{}}
	c.group = newGroupOf(t, 3, given{Limits: limits})
	for range 3 {
		c.rate = append(c.rate, time.Duration(960+r.IntN(80)))
	}
	c.elects(1)
	return c
}

func (c *court) act() {
	m := c.members[c.r.IntN(3)]
	switch c.r.IntN(14) {
	case 0, 1:
		d := time.Duration(c.r.IntN(int(electionTimeout / 4)))
		for i, m := range c.members {
			m.now = m.now.Add(d * c.rate[i] / 1000)
		}
	case 2:
		c.lastTag++
		c.step(m, Propose{Tag: c.lastTag, Data: []byte("x"), Watch: true})
	case 3, 4:
		c.lastTag++
		c.floor[c.lastTag] = c.acked
		c.step(m, Read{Tag: c.lastTag})
	case 5:
		if c.r.IntN(8) == 0 {
			c.crash(m.id, len(m.disk.pending))
		}
	case 6:
		if c.r.IntN(8) == 0 {
			c.step(m, Transfer{To: NodeID(1 + c.r.IntN(3))})
		} else if c.r.IntN(3) == 0 {
			c.step(m, Campaign{})
		}
	case 7:
		if len(c.wire) > 0 { // one is lost
			c.wire = c.wire[1:]
		}
	case 8:
		cut := NodeID(1 + c.r.IntN(3))
		c.connected()
		if c.r.IntN(2) == 0 {
			c.isolate(cut)
		}
	default:
		c.moves()
	}
	for _, m := range c.members {
		c.step(m)
	}
	c.judges()
}

// moves delivers a few messages, not always in their order, and completes Saves.
func (c *court) moves() {
	for range c.r.IntN(12) {
		if len(c.wire) == 0 {
			break
		}
		at := 0
		if c.r.IntN(3) == 0 {
			at = c.r.IntN(len(c.wire))
		}
		m := c.wire[at]
		c.wire = slices.Delete(slices.Clone(c.wire), at, at+1)
		if c.r.IntN(6) == 0 {
			c.parked = append(c.parked, m) // it takes its time
			continue
		}
		c.step(c.member(m.To), Receive{m})
	}
	if c.r.IntN(4) == 0 && len(c.parked) > 0 {
		c.wire = append(c.wire, c.parked[0])
		c.parked = c.parked[1:]
	}
	for _, m := range c.members {
		if len(m.disk.pending) > 0 && c.r.IntN(5) > 0 {
			c.step(m, Saved{Token: m.disk.completeOldest()})
		}
		if inbox := m.inbox; len(inbox) > 0 {
			m.inbox = nil
			c.step(m, inbox...)
		}
	}
}

func (c *court) judges() {
	c.t.Helper()
	for _, m := range c.members {
		for tag, index := range m.reads {
			if floor, known := c.floor[tag]; known && index < floor {
				c.t.Fatalf("node %d reads at %d, and %d was acknowledged before it was asked", m.id, index, floor)
			}
			delete(m.reads, tag)
		}
		for _, index := range m.done {
			c.acked = max(c.acked, index)
		}
	}
}

func TestQ6_AReadThatIsRetriedIsNotAnsweredFromBeforeIt(t *testing.T) {
	n := followed(t, given{})
	n.steps(Read{Tag: 1})
	first := n.sentTo(2).Body.(*ReadRequest).Sequence
	n.hears(3, 2, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1}) // another leads: refused
	n.saves()
	n.gave("Reply tag=1 not leader leader=3")
	n.steps(Read{Tag: 2})
	second := n.sentTo(3).Body.(*ReadRequest).Sequence
	n.ignore()
	n.hears(2, 1, &ReadReply{Sequence: first, Index: 1})
	n.hears(3, 2, &ReadReply{Sequence: first, Index: 1})
	n.wantsNothing()
	n.hears(3, 2, &ReadReply{Sequence: second, Index: 2})
	n.wants("Read tag=2 at 2")
}

// The leader and its term are the same as before the restart; only the number
// of the question tells the answers apart.
func TestQ6_AnAnswerToTheLifeBeforeDoesNotAnswerAReadOfThisOne(t *testing.T) {
	n := followed(t, given{})
	n.steps(Read{Tag: 1})
	before := n.sentTo(2).Body.(*ReadRequest).Sequence
	n.crashes(0)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 7})
	n.steps(Read{Tag: 2}) // entry 3 has been committed and acknowledged meanwhile
	n.ignore()
	n.hears(2, 1, &ReadReply{Sequence: before, Index: 2}) // a late answer
	n.wantsNothing()
	n.hears(2, 1, &ReadReply{Sequence: n.sentTo(2).Body.(*ReadRequest).Sequence, Index: 3})
	n.wants("Read tag=2 at 3")
}

func TestQ7_AReadElsewhereEndsWhoeverDies(t *testing.T) {
	for name, g := range map[string]given{
		"a voter":   {},
		"a learner": {Voters: voters(2, 3), Learners: voters(1)},
	} {
		t.Run(name, func(t *testing.T) {
			n := followed(t, g)
			n.steps(Read{Tag: 1})
			for range 30 {
				n.waits(heartbeatInterval) // nobody answers
			}
			n.gave("Reply tag=1 not leader")
		})
	}
}

func TestQ7_ALeaderThatHasTooManyReadsSaysSoToWhoAsks(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxReads = 1 }})
	n.steps(Read{Tag: 1}, Read{Tag: 2})
	n.hears(2, 1, &ReadRequest{Sequence: 3})
	n.gave("Reply tag=2 busy MaxReads leader=1")
	if r, ok := n.sentTo(2).Body.(*ReadReply); !ok || !r.Refused || r.Sequence != 3 {
		t.Errorf("%v", n.sentTo(2))
	}
}

func TestQ7_ALeaderThatStepsDownRefusesTheReadsOfOthersToo(t *testing.T) {
	n := lead(t, given{})
	n.hears(2, 1, &ReadRequest{Sequence: 3})
	n.ignore()
	n.waits(electionTimeout)
	n.wants("1->2 term=1 ReadReply #3 refused")
}

func TestAReadIsAnsweredByWhomeverItWasAskedOf(t *testing.T) {
	g := assemble(t, given{}, given{}, given{})
	g.elects(1)
	for i := range 5 {
		g.proposes(1, fmt.Sprint(i))
	}
	g.settle()
	for _, m := range g.members {
		tag := g.reads(m.id)
		g.settle()
		if index, ok := m.reads[tag]; !ok || index != 6 {
			t.Errorf("node %d reads at %d, answered %v", m.id, index, ok)
		}
	}
}
