package raftcore_test

import (
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// far is a leader of three whose log of a thousand entries is on its disk alone: node 2 has all
// of it, and node 3 nothing. Ten entries cross at a time.
func far(t *testing.T) *stage {
	t.Helper()
	log := make([]Term, 1000)
	for i := range log {
		log[i] = 1
	}
	n := start(t, given{Log: log, Forgets: true, Limits: func(c *Config) { c.MaxAppendBytes = 10 * (commands(1, 1)[0].Size()); c.MaxInflight = 2 }})
	n.wins()
	n.saves()
	n.acknowledged(2, 1001)
	n.rejected(3, id(0, 0))
	n.acknowledged(3, 0)
	n.hasCommitted(1001)
	return n
}

// brings has the disk answer, and after some milliseconds node 3 take what it brought, while the
// others commit so many entries. It returns when node 3 will have taken it.
func (n *stage) brings(took time.Duration, commit int) {
	n.t.Helper()
	n.readsDisk()
	n.now = n.now.Add(took)
	for range commit {
		n.steps(Propose{})
	}
	n.saves()
	n.acknowledged(2, n.state.Last)
	n.hasCommitted(n.state.Last)
	for len(n.loads) > 0 { // what it was free to ask for meanwhile
		n.readsDisk()
	}
	n.accepted(3)
}

// While others commit, who has to be read to from the disk gets a fifth of the time.
func TestAPeerThatIsFarBehindYieldsToTheOthers(t *testing.T) {
	n := far(t)
	n.brings(time.Millisecond, 1)
	n.brings(time.Millisecond, 1) // it gains
	for range 5 {
		n.readsDisk()
		began := n.now
		n.now = n.now.Add(3 * time.Millisecond)
		n.steps(Propose{})
		n.saves()
		n.acknowledged(2, n.state.Last)
		if len(n.loads) > 0 {
			t.Fatal("the next load did not wait for the answer to the one before")
		}
		n.accepted(3)
		if len(n.loads) > 0 {
			t.Fatal("there was no rest")
		}
		if want := n.now.Add(4 * n.now.Sub(began)); n.out.Deadline != want {
			t.Fatalf("the rest ends at %d, and not at %d", n.out.Deadline, want)
		}
		n.timesOut()
		if len(n.loads) != 1 {
			t.Fatalf("%d loads after the rest", len(n.loads))
		}
	}
}

// Nobody rests for longer than a heartbeat, however long a load has taken.
func TestARestIsShort(t *testing.T) {
	n := far(t)
	n.brings(time.Millisecond, 1)
	n.brings(time.Millisecond, 1)
	n.brings(electionTimeout/4, 1)
	if want := n.now.Add(heartbeatInterval); n.peer(3).Next == 0 || len(n.loads) > 0 || n.out.Deadline > want {
		t.Errorf("%d loads, and the next deadline is %d, after %d", len(n.loads), n.out.Deadline, want)
	}
	for range 3 {
		n.waits(heartbeatInterval / 2)
	}
	if len(n.loads) != 1 {
		t.Errorf("%d loads after the rest", len(n.loads))
	}
}

// Where nothing is committed without the peer there is nobody to yield to.
func TestAPeerDoesNotYieldWhereNobodyCommits(t *testing.T) {
	n := far(t)
	n.brings(time.Millisecond, 1)
	n.brings(time.Millisecond, 1)
	for range 5 {
		n.brings(time.Millisecond, 0)
		if len(n.loads) == 0 {
			t.Fatal("it rests, and nobody commits")
		}
	}
}

// A peer that would not catch up if it rested does not: it comes twice as far as the others.
func TestAPeerThatHardlyCatchesUpDoesNotYield(t *testing.T) {
	n := far(t)
	for range 5 {
		n.brings(time.Millisecond, 12) // and twenty at most come
		if len(n.loads) == 0 {
			t.Fatal("it rests, and falls behind")
		}
	}
}
