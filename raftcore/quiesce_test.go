package raftcore_test

import (
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// A group in which nothing happens falls silent, and wakes.

func quiesces(c *Config) { c.Quiesce = true }

// silent is a group of n that node 1 leads, and that has fallen silent.
func silent(t testing.TB, n int) *group {
	t.Helper()
	g := newGroupOf(t, n, given{Limits: quiesces})
	g.elects(1)
	g.proposes(1, "x")
	g.settle()
	g.passes(2 * electionTimeout)
	g.isSilent()
	return g
}

// isSilent demands that everybody who is up waits for nothing, not even time.
func (g *group) isSilent() {
	g.t.Helper()
	for _, m := range g.members {
		if !m.down && (!m.out.Quiescent || m.out.Deadline != 0) {
			g.t.Fatalf("%v; it should be silent, and has the deadline %d", m.node, m.out.Deadline)
		}
	}
}

// noTick lets time pass and gives nobody a tick but those who asked for one.
func (g *group) noTick(d time.Duration) {
	g.t.Helper()
	const step = heartbeatInterval / 2
	for ; d > 0; d -= step {
		for _, m := range g.members {
			m.now = m.now.Add(step)
			if at := m.out.Deadline; at != 0 && at <= m.now {
				g.step(m)
			}
		}
		g.settle()
	}
}

// isLed demands that a member leads, and that nobody is in a later term.
func (g *group) isLed(id NodeID) {
	g.t.Helper()
	leader := g.member(id)
	if leader.state.Role != Leader {
		g.t.Fatalf("%v; it should lead", leader.node)
	}
	for _, m := range g.members {
		if !m.down && m.state.Term != leader.state.Term {
			g.t.Fatalf("%v; the leader's term is %d", m.node, leader.state.Term)
		}
	}
}

// asleep is a follower of node 2 that was told to be silent in round 1.
func asleep(t testing.TB, g given) *stage {
	t.Helper()
	n := followed(t, g)
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1, Quiesce: true})
	if !n.out.Quiescent || n.out.Deadline != 0 {
		t.Fatalf("%v; it should be silent", n.node)
	}
	n.ignore()
	return n
}

func TestAnIdleGroupFallsSilentAndStaysSo(t *testing.T) {
	for n := 2; n <= 5; n++ {
		g := silent(t, n)
		g.filter(func(m *Message) fate {
			t.Fatalf("a silent group says %v", m)
			return drop
		})
		for range 3600 {
			for _, m := range g.members {
				m.now = m.now.Add(time.Second)
				g.step(m)
				if !m.out.Empty() {
					t.Fatalf("%v; it wants %q", m.node, lines(&m.out))
				}
			}
			g.isSilent()
		}
		g.isLed(1)
	}
}

func TestAGroupFallsSilentThoughItIsTickedOnlyWhenItAsks(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: quiesces})
	g.elects(1)
	g.noTick(2 * electionTimeout)
	g.isSilent()
	g.isLed(1)
}

func TestASingleVoterFallsSilentToo(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: quiesces})
	n.waits(3 * heartbeatInterval)
	if !n.out.Quiescent || n.out.Deadline != 0 {
		t.Errorf("quiescent: %v, deadline %d", n.out.Quiescent, n.out.Deadline)
	}
}

func TestNobodyFallsSilentUnlessToldTo(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.passes(5 * electionTimeout)
	for _, m := range g.members {
		if m.out.Quiescent || m.out.Deadline == 0 {
			t.Errorf("%v; it is silent", m.node)
		}
	}
}

func TestALeaderDoesNotFallSilentWhileSomebodyWaits(t *testing.T) {
	for name, busy := range map[string]func(g *group){
		"an entry is not committed": func(g *group) {
			g.member(2).stalled, g.member(3).stalled = true, true
			g.proposes(1, "x")
		},
		"its own disk is slow": func(g *group) {
			g.member(1).stalled = true
			g.proposes(1, "x")
		},
		"its machine is slow": func(g *group) {
			g.member(1).lazy = true
			g.proposes(1, "x")
		},
		"a follower lacks an entry": func(g *group) {
			g.member(3).stalled = true
			g.proposes(1, "x")
		},
		"a follower is not there": func(g *group) { g.stops(3) },
		"the office is handed over": func(g *group) {
			g.filter(func(m *Message) fate {
				if _, ok := m.Body.(*TimeoutNow); ok {
					return drop
				}
				return pass
			})
			g.step(g.member(1), Transfer{To: 3})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroupOf(t, 3, given{Limits: quiesces})
			g.elects(1)
			busy(g)
			g.settle()
			for range electionTimeout/(heartbeatInterval/2) - 1 {
				g.passes(heartbeatInterval / 2)
				if g.member(1).out.Quiescent || g.member(1).out.Deadline == 0 {
					t.Fatalf("%v; it is silent", g.member(1).node)
				}
			}
		})
	}
}

func TestAFollowerThatLacksSomethingDoesNotFallSilent(t *testing.T) {
	for name, c := range map[string]struct {
		request AppendRequest
		spoil   func(n *stage)
	}{
		"it lacks an entry":     {AppendRequest{Prev: id(1, 3), Commit: 3, Round: 1}, nil},
		"it has an entry more":  {AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1}, nil},
		"it has missed a round": {AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2}, nil},
		"an earlier round":      {AppendRequest{Prev: id(1, 2), Commit: 2, Round: 0}, nil},
		"its disk lags": {AppendRequest{Prev: id(1, 3), Commit: 3, Round: 1}, func(n *stage) {
			n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1), Commit: 2, Round: 1})
		}},
		"it does not know what is committed": {AppendRequest{Prev: id(1, 3), Commit: 2, Round: 1}, func(n *stage) {
			n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1), Commit: 2, Round: 1})
			n.saves()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := followed(t, given{Limits: quiesces})
			if c.spoil != nil {
				c.spoil(n)
			}
			c.request.Quiesce = true
			n.hears(2, 1, &c.request)
			if n.out.Quiescent || n.out.Deadline == 0 {
				t.Errorf("%v; it is silent", n.node)
			}
		})
	}
}

// --- what wakes ---

func TestASilentGroupCarriesOutAProposal(t *testing.T) {
	g := silent(t, 3)
	tag := g.proposes(1, "y")
	g.settle()
	if g.member(1).done[tag] == 0 {
		t.Error("the proposal did not come out")
	}
	g.noTick(2 * electionTimeout)
	g.isSilent() // again
	g.isLed(1)
	g.agree()
}

func TestAProposalElsewhereWakesAndIsToldWhoLeads(t *testing.T) {
	g := silent(t, 3)
	tag := g.proposes(2, "y")
	if got := g.member(2).replies[tag]; got != NotLeader || g.member(2).out.Quiescent {
		t.Errorf("%v; quiescent: %v", got, g.member(2).out.Quiescent)
	}
	g.settle()
	g.noTick(2 * electionTimeout)
	g.isSilent()
	g.isLed(1)
}

func TestASilentGroupReads(t *testing.T) {
	for _, at := range []NodeID{1, 2} {
		g := silent(t, 3)
		tag := g.reads(at)
		g.settle()
		if index, ok := g.member(at).reads[tag]; !ok || index != g.member(1).state.Commit {
			t.Errorf("node %d reads at %d, answered %v", at, index, ok)
		}
		g.noTick(2 * electionTimeout)
		g.isSilent()
		g.isLed(1)
	}
}

func TestASilentLeaderThatWasReplacedDoesNotRead(t *testing.T) {
	for _, limits := range []func(*Config){quiesces, func(c *Config) { quiesces(c); leases(c) }} {
		g := newGroupOf(t, 3, given{Limits: limits})
		g.elects(1)
		g.passes(2 * electionTimeout)
		g.isSilent()
		g.isolate(1)
		for _, m := range g.members {
			m.now = m.now.Add(time.Hour)
		}
		g.step(g.member(2), Unreachable{Peer: 1})
		g.step(g.member(3), Unreachable{Peer: 1})
		g.passes(3 * electionTimeout)
		tag := g.reads(1)
		g.settle()
		if index, ok := g.member(1).reads[tag]; ok {
			t.Errorf("it reads at %d", index)
		}
	}
}

func TestAnyMessageWakes(t *testing.T) {
	for name, body := range map[string]Body{
		"a heartbeat": &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2},
		"a question":  &VoteRequest{Pre: true, Last: id(1, 2)},
		"a late word": &AppendReply{},
	} {
		n := asleep(t, given{})
		n.waits(time.Hour)
		n.hears(2, 1, body)
		if n.out.Quiescent || n.out.Deadline == 0 {
			t.Errorf("%s: it is silent still", name)
		}
	}
}

func TestCompletionsAndTimeDoNotWake(t *testing.T) {
	n := asleep(t, given{})
	n.waits(time.Hour)
	n.steps(Applied{Index: 2}, Saved{}, Loaded{}, Unreachable{Peer: 3})
	n.wantsNothing()
	if !n.out.Quiescent || n.out.Deadline != 0 {
		t.Errorf("%v; it should be silent", n.node)
	}
}

// Who is woken believes in the leader until that has had time to show itself,
// and says a word to it.
func TestWhoIsWokenByAQuestionDeposesNobody(t *testing.T) {
	n := asleep(t, given{})
	n.waits(time.Hour)
	n.hears(3, 1, &VoteRequest{Pre: true, Last: id(1, 2)})
	n.wants("1->3 term=1 PreVoteReply refused", "1->2 term=1 AppendReply match=2 round=1")
	n.hears(3, 2, &VoteRequest{Last: id(1, 2)})
	n.is(Follower, 1)
	n.waits(electionTimeout)
	n.hears(3, 1, &VoteRequest{Pre: true, Last: id(1, 2)})
	if r := n.sentTo(3).Body.(*VoteReply); !r.Granted {
		t.Errorf("the leader was silent for an election timeout: %v", n.sentTo(3))
	}
}

func TestASilentLeaderThatIsAskedShowsItself(t *testing.T) {
	g := silent(t, 3)
	for _, m := range g.members {
		m.now = m.now.Add(time.Hour)
	}
	g.crash(3, 0)
	g.timesOut(3)
	g.settle()
	if m := g.member(3); m.state.Role != Follower || m.state.Leader != 1 {
		t.Errorf("%v; it should follow 1", m.node)
	}
	g.noTick(2 * electionTimeout)
	g.isSilent()
	g.isLed(1)
}

// --- L7: a leader that dies in silence ---

func TestL7_ASilentGroupWhoseLeadersHostIsGoneElectsAnother(t *testing.T) {
	g := silent(t, 3)
	g.stops(1)
	for _, m := range g.members {
		m.now = m.now.Add(time.Hour)
	}
	for _, m := range g.members[1:] {
		g.step(m, Unreachable{Peer: 1})
		if m.out.Quiescent || m.out.Deadline == 0 || m.out.Deadline > m.now.Add(electionTimeout*3/2) {
			t.Errorf("%v; it should campaign soon, not at %d", m.node, m.out.Deadline)
		}
	}
	g.noTick(3 * electionTimeout)
	leader := g.member(2).state.Leader
	if leader != 2 && leader != 3 {
		t.Fatalf("%v; there should be a leader", g.member(2).node)
	}
	tag := g.proposes(leader, "y")
	g.settle()
	if g.member(leader).done[tag] == 0 {
		t.Error("the proposal did not come out")
	}
}

func TestL7_TheNewsThatAnotherHostIsGoneConcernsTheLeaderAlone(t *testing.T) {
	g := silent(t, 3)
	g.step(g.member(2), Unreachable{Peer: 3})
	if !g.member(2).out.Quiescent {
		t.Errorf("%v; its leader is alive", g.member(2).node)
	}
	g.step(g.member(1), Unreachable{Peer: 4})
	if !g.member(1).out.Quiescent {
		t.Errorf("%v; 4 is none of its peers", g.member(1).node)
	}
	g.step(g.member(1), Unreachable{Peer: 3})
	if g.member(1).out.Quiescent {
		t.Errorf("%v; it may have lost its quorum", g.member(1).node)
	}
	g.stops(2, 3)
	g.noTick(2 * electionTimeout)
	if g.member(1).state.Role == Leader {
		t.Errorf("%v; it should step down", g.member(1).node)
	}
}

func TestL7_WhenOneOfTheSilentHearsTheNewsAllWake(t *testing.T) {
	g := silent(t, 5)
	g.stops(1)
	g.step(g.member(4), Unreachable{Peer: 1})
	g.noTick(5 * electionTimeout)
	for _, m := range g.members[1:] {
		if m.state.Leader == 1 || m.state.Leader == Nobody {
			t.Errorf("%v; it should follow another", m.node)
		}
	}
}

func TestL7_AFalseAlarmDeposesNobody(t *testing.T) {
	g := silent(t, 3)
	for _, m := range g.members {
		m.now = m.now.Add(time.Hour)
	}
	g.step(g.member(2), Unreachable{Peer: 1})
	g.noTick(3 * electionTimeout)
	g.isSilent()
	g.isLed(1)
}

func TestL7_ARequestFindsOutThatTheLeaderDiedInSilence(t *testing.T) {
	for name, ask := range map[string]func(g *group){
		"a proposal": func(g *group) { g.proposes(2, "y") },
		"a read":     func(g *group) { g.reads(2) },
	} {
		t.Run(name, func(t *testing.T) {
			g := silent(t, 3)
			g.stops(1)
			g.noTick(10 * electionTimeout)
			ask(g)
			g.noTick(4 * electionTimeout)
			if l := g.member(3).state.Leader; l != 2 && l != 3 {
				t.Errorf("%v; there should be another leader", g.member(3).node)
			}
			if m := g.member(2); name == "a read" && len(m.replies) == 0 {
				t.Error("the read has no end")
			}
		})
	}
}

func TestL7_AMemberThatComesBackFindsOutThatTheLeaderDiedInSilence(t *testing.T) {
	g := silent(t, 3)
	g.stops(1, 3)
	g.noTick(10 * electionTimeout)
	g.starts(3)
	g.noTick(5 * electionTimeout)
	if l := g.member(3).state.Leader; l != 2 && l != 3 {
		t.Errorf("%v; there should be a leader", g.member(3).node)
	}
}

func TestL7_ALeaderThatCrashedInSilenceAndComesBackIsReplacedOrReelected(t *testing.T) {
	g := silent(t, 3)
	g.crash(1, 0)
	g.noTick(5 * electionTimeout)
	leader := g.member(1).state.Leader
	if leader == Nobody {
		t.Fatalf("%v; there should be a leader", g.member(1).node)
	}
	g.isLed(leader)
	g.isSilent()
}

// --- words that are lost, and late ones ---

func TestAWordOfSilenceThatIsLostIsMadeUpFor(t *testing.T) {
	for name, lost := range map[string][]NodeID{"one": {3}, "all": {2, 3}} {
		t.Run(name, func(t *testing.T) {
			g := newGroupOf(t, 3, given{Limits: quiesces})
			g.elects(1)
			missed := map[NodeID]bool{}
			g.filter(func(m *Message) fate {
				if r, ok := m.Body.(*AppendRequest); ok && r.Quiesce && !missed[m.To] {
					for _, id := range lost {
						if m.To == id {
							missed[id] = true
							return drop
						}
					}
				}
				return pass
			})
			g.noTick(10 * electionTimeout)
			if len(missed) != len(lost) {
				t.Fatalf("the story needs words that are lost: %v", missed)
			}
			g.isSilent()
			g.isLed(1)
		})
	}
}

func TestAWordOfSilenceThatComesTwiceDoesNotKeepTheGroupAwake(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: quiesces})
	g.elects(1)
	seen := 0
	g.filter(func(m *Message) fate {
		if r, ok := m.Body.(*AppendRequest); ok && r.Quiesce {
			seen++
			return twice
		}
		return pass
	})
	g.noTick(10 * electionTimeout)
	g.isSilent()
	if g.isLed(1); seen > 4 {
		t.Errorf("%d words of silence in ten seconds without a request", seen)
	}
}

func TestALateWordOfSilenceWhileTheLeaderWorksIsMadeUpFor(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: quiesces})
	g.elects(1)
	g.filter(func(m *Message) fate {
		if r, ok := m.Body.(*AppendRequest); ok && r.Quiesce && m.To == 3 {
			return hold
		}
		return pass
	})
	for range 100 {
		g.noTick(heartbeatInterval / 2)
		if len(g.parked) > 0 {
			break
		}
	}
	if len(g.parked) == 0 {
		t.Fatal("the story needs a word of silence")
	}
	g.proposes(1, "y")
	g.settle()
	g.release()
	g.settle()
	g.connected()
	g.noTick(5 * electionTimeout)
	g.isSilent()
	g.isLed(1)
	g.agree()
}

// The host of the leader is gone, and has said so only once. A word of silence
// that was under way for long must not put anybody to sleep who was woken by
// that: nobody would wake him again.
func TestL7_ALateWordOfSilenceOfADeadLeaderPutsNobodyToSleep(t *testing.T) {
	n := asleep(t, given{})
	n.waits(time.Hour)
	n.steps(Unreachable{Peer: 2})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1, Quiesce: true})
	if n.out.Quiescent || n.out.Deadline == 0 {
		t.Fatalf("%v; it sleeps, and its leader is dead", n.node)
	}
	n.timesOut()
	n.is(PreCandidate, 1)
}

func TestAWordOfSilenceInANewRoundPutsToSleepWhoWasWoken(t *testing.T) {
	n := asleep(t, given{})
	n.waits(time.Hour)
	n.steps(Unreachable{Peer: 2})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2, Quiesce: true})
	if !n.out.Quiescent {
		t.Errorf("%v; it should be silent", n.node)
	}
}

// A leader says of everybody whether it could vote. Who is silent can, for he has everything;
// and the silence was not a round of catching up that has taken long.
func TestM11_WhoHasSleptHasCaughtUp(t *testing.T) {
	g := silent(t, 3)
	leader := g.member(1)
	caughtUp := func(when string, want bool) {
		t.Helper()
		for _, p := range leader.node.Status().Peers {
			if p.CaughtUp != want || p.Newcomer {
				t.Errorf("%s: %+v", when, p)
			}
		}
	}
	g.passes(10 * electionTimeout)
	if s := leader.node.Status(); !s.Quiescent {
		t.Fatalf("%+v", s)
	}
	caughtUp("in the silence", true)
	answers := map[NodeID]int{}
	g.filter(func(m *Message) fate {
		if answers[m.From]++; m.From != 1 && answers[m.From] > 1 {
			return drop
		}
		return pass
	})
	g.proposes(1, "y")
	if s := leader.node.Status(); s.Quiescent {
		t.Fatalf("%+v", s)
	}
	g.settle()
	caughtUp("when they have answered once", true)
	g.filter(func(*Message) fate { return drop })
	leader.now = leader.now.Add(electionTimeout - 1)
	g.step(leader)
	caughtUp("they are late", true)
	leader.now = leader.now.Add(electionTimeout)
	g.step(leader)
	caughtUp("they are gone", false)
}
