package raftcore_test

import (
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// What a busy leader need not say: its entries are signs of life, and take the commit index
// along.

// lone returns the messages to a peer without entries, from the first-th on.
func (n *stage) lone(peer NodeID, first int) (lone []*AppendRequest) {
	for _, m := range n.mail[first:] {
		if r, is := m.Body.(*AppendRequest); is && m.To == peer && len(r.Entries) == 0 {
			lone = append(lone, r)
		}
	}
	return lone
}

// works has a leader take a proposal now and then for a while, and those peers acknowledge
// it that answer, as soon as its disk has it.
func (n *stage) works(d, pause time.Duration, peers ...NodeID) {
	n.t.Helper()
	for until := n.now.Add(d); n.now < until; {
		n.waits(pause)
		n.steps(Propose{Data: []byte("x")})
		last := n.state.Last
		n.saves()
		for _, p := range peers {
			n.acknowledged(p, last)
		}
	}
}

func TestEntriesThatAreAcknowledgedTakeThePlaceOfHeartbeats(t *testing.T) {
	n := lead(t, given{})
	n.works(electionTimeout, heartbeatInterval/3, 2, 3)
	first, before := len(n.mail), n.state.Last
	shown, round := n.now, n.askedOf(2).Round
	for until := n.now.Add(5 * electionTimeout); n.now < until; {
		n.works(heartbeatInterval/3, heartbeatInterval/3, 2, 3)
		if r := n.askedOf(2).Round; r != round {
			shown, round = n.now, r
		}
		if n.now.Sub(shown) > heartbeatInterval {
			t.Fatalf("nothing new is heard of the leader for %v", n.now.Sub(shown))
		}
	}
	n.is(Leader, 1)
	if got, want := len(n.lone(2, first)), int(n.state.Last-before); got != want { // one proposal at a time: each commit is told
		t.Errorf("%d messages without entries, for %d proposals", got, want)
	}
	signs := 0
	for _, m := range n.mail[first:] {
		if r := m.Body.(*AppendRequest); r.Prev == (EntryID{}) {
			signs++
		}
	}
	if signs > 0 {
		t.Errorf("%d signs of life are sent beside entries", signs)
	}
	first = len(n.mail) // and when there is nothing more to be sent, the heartbeat comes in time
	n.waits(heartbeatInterval)
	if len(n.lone(2, first)) != 1 || len(n.lone(3, first)) != 1 {
		t.Errorf("an interval after the last entries it sends %v", n.mail[first:])
	}
}

// Entries may be slow, on the wire or on a disk: then they are no sign of life, and one is
// sent that may overtake them. The others need none.
func TestEntriesThatAreNotAcknowledgedAreNoSignsOfLife(t *testing.T) {
	n := lead(t, given{})
	n.works(electionTimeout, heartbeatInterval/3, 2, 3)
	began, heard := n.now, n.now
	var longest time.Duration
	first := len(n.mail)
	for until := n.now.Add(3 * electionTimeout); n.now < until; {
		before := len(n.mail)
		n.works(heartbeatInterval/3, heartbeatInterval/3, 2)
		for _, r := range n.lone(3, before) {
			if r.Urgent {
				heard = n.now
			}
		}
		longest = max(longest, n.now.Sub(heard))
	}
	if longest > electionTimeout/2 {
		t.Errorf("node 3 hears nothing for %v, although signs of life reach it", longest)
	}
	if heard == began {
		t.Error("it is sent none")
	}
	for _, r := range n.lone(2, first) {
		if r.Prev == (EntryID{}) {
			t.Fatalf("node 2, which acknowledges everything, is sent %v", r)
		}
	}
	n.is(Leader, 1)
}

// The round that goes with entries is echoed when they are durable. A question about the
// same round is answered at once.
func TestEntriesAskForTheirAcknowledgementAlone(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1), Round: 4})
	n.wants(`Save #1 term=1 [1/1 ""]`)
	n.saves()
	n.wants("1->2 term=1 AppendReply match=1 round=4")
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 1), Round: 5})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Round: 5})
	n.wants(`Save #2 term=1 [1/2 ""]`)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Round: 6})
	n.wants("1->2 term=1 AppendReply match=1 round=6")
}

// A sign of life is one, whether it comes with entries or not.
func TestEntriesOfANewRoundKeepALeaderInOffice(t *testing.T) {
	n := start(t, given{Term: 1})
	last := Index(0)
	var prev EntryID
	for round := uint64(1); round < 40; round++ { // its disk never answers
		last++
		n.hears(2, 1, &AppendRequest{Prev: prev, Entries: commands(last, 1), Round: round})
		prev = id(1, last)
		n.waits(heartbeatInterval)
	}
	n.is(Follower, 1)
}

// A read does not wait for the disks of followers, however many entries are on their way.
func TestAReadBesideEntriesAsksAtOnce(t *testing.T) {
	n := lead(t, given{})
	n.works(electionTimeout, heartbeatInterval/3, 2, 3)
	n.waits(heartbeatInterval / 2)
	first := len(n.mail)
	n.steps(Propose{Data: []byte("x")}, Read{Tag: 5})
	lone := n.lone(2, first)
	if len(lone) != 1 || lone[0].Round != n.askedOf(2).Round || lone[0].Prev.Index != n.state.Last {
		t.Fatalf("of node 2 it asks %v", lone)
	}
	n.hears(2, 1, &AppendReply{Match: n.state.Commit, Round: lone[0].Round})
	if len(n.out.Reads) != 1 {
		t.Error("a quorum has echoed its round, and it does not read")
	}
}

// A lease counts from when the round was opened that went with the entries, not from when
// they were acknowledged.
func TestALeaseCountsFromTheRoundThatWentWithEntries(t *testing.T) {
	n, _ := leased(t, given{})
	n.accepted(2, 3)
	n.waits(heartbeatInterval * 3 / 4)
	opened := n.now
	n.steps(Propose{Data: []byte("x")})
	if r := n.askedOf(2); len(r.Entries) != 1 {
		t.Fatalf("it sends %v", r)
	}
	round := n.askedOf(2).Round
	n.saves()
	n.waits(electionTimeout / 4)
	n.hears(2, 1, &AppendReply{Match: n.state.Last, Round: round})
	if got := n.expires(opened); got < electionTimeout*85/100 || got > electionTimeout*95/100 {
		t.Errorf("it ends %v after the round was opened", got)
	}
}

func TestTheCommitIndexGoesWithTheNextEntriesOfACrowd(t *testing.T) {
	n := lead(t, given{})
	n.commits(3)
	if r := n.askedOf(2); r.Commit != n.state.Last {
		t.Errorf("three clients, and it leaves it at %v", r)
	}
	first := len(n.mail)
	for range 10 {
		n.commits(4)
		if lone := n.lone(2, first); len(lone) > 0 {
			t.Fatalf("it sends %v, and more proposals are about to come", lone)
		}
	}
	if r := n.askedOf(3); r.Commit != n.state.Last-4 {
		t.Errorf("with the entries it sends %v", r)
	}
	waits := n.out.Deadline.Sub(n.now)
	n.timesOut()
	if lone := n.lone(2, first); len(lone) != 1 || lone[0].Commit != n.state.Commit || waits > heartbeatInterval/2 {
		t.Errorf("no more proposals come, and after %v it sends %v", waits, lone)
	}
	if lone := n.lone(3, first); len(lone) != 1 || lone[0].Commit != n.state.Commit {
		t.Errorf("no more proposals come, and it sends %v", lone)
	}
}

// Who reads on a follower is not to wait for the proposals of others, with a lease either,
// when nobody is asked.
func TestWhoReadsElsewhereIsToldTheCommitIndexAtOnce(t *testing.T) {
	for _, lease := range []bool{false, true} {
		n := lead(t, given{Limits: func(c *Config) { c.LeaseReads = lease }})
		n.commits(8)
		first := len(n.mail)
		n.hears(3, 1, &ReadRequest{Sequence: 1})
		if !lease {
			n.acknowledged(2, n.state.Last)
		}
		told := false
		for _, m := range n.mail[first:] {
			if r, is := m.Body.(*ReadReply); is {
				told = r.Index == n.state.Commit
			}
		}
		lone := n.lone(3, first)
		if !told || len(lone) != 1 || lone[0].Commit != n.state.Commit {
			t.Errorf("it is told where to read: %v, and %v", told, lone)
		}
	}
}
