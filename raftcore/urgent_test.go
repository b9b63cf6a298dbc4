package raftcore_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// While entries are on their way a heartbeat is two messages: a sign of life, which may
// overtake them, and the question whether they have arrived, which may not.
func TestASignOfLifeMayOvertakeEntries(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3)})
	n.waits(heartbeatInterval)
	for _, m := range n.mail {
		if r, is := m.Body.(*AppendRequest); is && len(r.Entries) == 0 && !r.Urgent {
			t.Errorf("nothing is on its way, and %v waits for it", r)
		}
	}
	n.accepted(2, 3)
	n.steps(Propose{Data: []byte("x")})
	before := len(n.mail)
	n.waits(heartbeatInterval)
	urgent := map[bool]int{}
	for _, m := range n.mail[before:] {
		r := m.Body.(*AppendRequest)
		urgent[r.Urgent]++
		if r.Urgent && r.Prev != (EntryID{}) {
			t.Errorf("%v asks about what may still be on its way", r)
		}
	}
	if urgent[true] != 2 || urgent[false] != 2 {
		t.Errorf("%d signs of life, and %d questions, for two peers", urgent[true], urgent[false])
	}
}

// The answer to a sign of life is none to the question that it has overtaken: else all that
// is under way would be sent a second time, over and over.
func TestTheAnswerToASignOfLifeSendsNothingAgain(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2)})
	n.steps(Propose{Data: []byte("x")}, Unreachable{Peer: 2})
	n.waits(heartbeatInterval) // the sign, and the question whether the logs agree
	asked := n.askedOf(2).Round
	n.waits(heartbeatInterval)
	n.ignore()
	n.hears(2, 1, &AppendReply{Match: 1, Round: asked + 1, Ahead: 2})
	n.wantsNothing()
	n.hears(2, 1, &AppendReply{Match: 1, Round: asked + 1, Ahead: 1}) // now it has come
	if r := n.askedOf(2); len(r.Entries) != 1 {
		t.Errorf("it sends %v", r)
	}
}

// A follower that is asked, and then given a sign of life that was sent before, says what it
// would have said; and how much it knows from signs of life alone.
func TestASignOfLifeHidesNoAnswer(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3), Log: terms(1), Term: 1})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Round: 1})
	n.ignore()
	n.steps(
		Receive{Message: n.message(2, 1, &AppendRequest{Prev: id(1, 5), Round: 3})},
		Receive{Message: n.message(2, 1, &AppendRequest{Round: 2, Urgent: true})},
	)
	if said := fmt.Sprint(n.said); !strings.Contains(said, "rejected probed=1/5") {
		t.Errorf("it says %v", said)
	}
	n.ignore()
	n.hears(2, 1, &AppendRequest{Round: 9, Urgent: true})
	if r := n.mail[len(n.mail)-1].Body.(*AppendReply); r.Round != 9 || r.Ahead != 6 || r.Rejected {
		t.Errorf("it says %+v", r)
	}
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Round: 9}) // what was overtaken has come, and is a question
	if r := n.mail[len(n.mail)-1].Body.(*AppendReply); r.Round != 9 || r.Ahead != 0 {
		t.Errorf("it says %+v", r)
	}
}

// Who heeds signs of life alone starts no election, and a stale one keeps no leader in office.
func TestASignOfLifeIsOne(t *testing.T) {
	n := start(t, given{Voters: voters(1, 2, 3), Log: terms(1), Term: 1})
	for round := uint64(1); round < 40; round++ {
		n.hears(2, 1, &AppendRequest{Round: round, Urgent: true})
		n.waits(heartbeatInterval)
	}
	n.is(Follower, 1)
	for range 40 {
		n.hears(2, 1, &AppendRequest{Round: 39, Urgent: true})
		n.waits(heartbeatInterval)
	}
	if n.state.Role == Follower {
		t.Error("the same sign of life, repeated, keeps a dead leader in office")
	}
}

// onlySigns drops what a node sends its peers but for signs of life.
func onlySigns(from NodeID) func(*Message) fate {
	return func(m *Message) fate {
		if r, is := m.Body.(*AppendRequest); is && m.From == from && !r.Urgent {
			return drop
		}
		return pass
	}
}

// Signs of life go another way than entries. A leader whose entries reach nobody is heard by
// all, so nobody stands against it: it gives up by itself, and another can commit.
func TestE14_ALeaderWhoseEntriesReachNobodyStepsDown(t *testing.T) {
	for _, told := range []bool{false, true} { // whether it is told that they are lost
		g := newGroup(t, 3)
		g.elects(1)
		g.filter(onlySigns(1))
		g.passes(30 * electionTimeout) // with nothing to be sent
		g.isLed(1)
		tag := g.proposes(1, "x")
		for range 9 {
			g.passes(electionTimeout)
			if told {
				g.step(g.member(1), Unreachable{Peer: 2}, Unreachable{Peer: 3})
			}
		}
		if g.member(1).state.Role != Leader {
			t.Fatal("it gives up while they may still be on their way")
		}
		for range 30 {
			g.passes(electionTimeout)
		}
		l := g.leader()
		if l.id == 1 {
			t.Fatal("it leads on, and nothing is committed")
		}
		if g.member(1).done[tag] != 0 {
			t.Error("what reached nobody is done")
		}
		after := g.proposes(l.id, "y")
		g.settle()
		if l.done[after] == 0 {
			t.Error("nothing is committed under the next leader either")
		}
	}
}

// As long as a quorum shows that entries reach it, however slowly, the leader stays.
func TestALeaderWhoseEntriesAreSlowStays(t *testing.T) {
	for name, way := range map[string]func(*Message) fate{
		"to all, after a while": func(m *Message) fate {
			if r, is := m.Body.(*AppendRequest); is && !r.Urgent {
				return hold
			}
			return pass
		},
		"to one of two": func(m *Message) fate {
			if m.To == 3 {
				return onlySigns(1)(m)
			}
			return pass
		},
		"questions alone": func(m *Message) fate { // a disk that has no room drops entries, and answers
			if r, is := m.Body.(*AppendRequest); is && len(r.Entries) > 0 {
				return drop
			}
			return pass
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 3)
			g.elects(1)
			g.filter(way)
			for range 60 {
				g.proposes(1, "x")
				g.passes(electionTimeout / 2)
				g.isLed(1)
				if len(g.parked) > 200 {
					g.release()
				}
			}
		})
	}
}

// A silence in which nobody was asked anything is not held against a leader.
func TestALeaderThatWakesHasTimeToReachOthers(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.Quiesce = true }})
	g.elects(1)
	g.passes(2 * electionTimeout)
	g.isSilent()
	g.noTick(100 * electionTimeout)
	g.filter(onlySigns(1))
	g.step(g.member(1), Tick{Now: g.member(1).now}, Unreachable{Peer: 2}, Unreachable{Peer: 3}, Propose{Data: []byte("x")})
	g.isLed(1)
	g.passes(5 * electionTimeout)
	g.isLed(1)
}
