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

// Changes of the members (Raft §6, thesis §4). The log of a stage that leads
// begins with the entry that opened its term, at 1; the configuration it started
// with is of index 0.

func conf(voters []NodeID, learners ...NodeID) ConfState {
	return ConfState{Voters: voters, Learners: learners}
}

// setting returns the entry that sets a configuration.
func setting(term Term, index Index, c ConfState) Entry {
	return Entry{EntryID: id(term, index), Kind: EntryConfig, Config: &c}
}

// changes asks the member for a configuration.
func (n *stage) changes(tag Tag, c ConfState) {
	n.t.Helper()
	n.steps(ChangeConfig{Tag: tag, Conf: c})
}

// replied demands that these were the replies since the last time, whatever else
// the member wanted.
func (n *stage) replied(want ...string) {
	n.t.Helper()
	got := slices.DeleteFunc(slices.Clone(n.said), func(s string) bool { return !strings.HasPrefix(s, "Reply") })
	if !slices.Equal(got, want) {
		n.t.Fatalf("node %d replies %q, it should %q", n.id, got, want)
	}
	n.said = nil
}

// has demands a configuration, and the index that set it.
func (n *stage) has(index Index, want ConfState) {
	n.t.Helper()
	if n.state.ConfIndex != index || !n.state.Conf.Equal(want) {
		n.t.Fatalf("node %d has %v of %d, it should have %v of %d", n.id, &n.state.Conf, n.state.ConfIndex, &want, index)
	}
}

// keep has so many heartbeats pass, which these peers answer, and with what they
// have.
func (n *stage) keep(beats int, peers ...NodeID) {
	n.t.Helper()
	for range beats {
		n.waits(heartbeatInterval)
		n.accepted(peers...)
	}
}

// told reports whether a peer was sent such a message.
func (n *stage) told(peer NodeID, such func(*Message) bool) bool {
	return slices.ContainsFunc(n.mail, func(m Message) bool { return m.To == peer && such(&m) })
}

func isTimeoutNow(m *Message) bool { _, yes := m.Body.(*TimeoutNow); return yes }

// jointLeader is a leader in a joint configuration that is committed, whose
// opening entry is not.
func jointLeader(t *testing.T, old, new []NodeID) *stage {
	n := start(t, given{Voters: new, Outgoing: old})
	n.wins()
	n.saves()
	n.ignore()
	return n
}

// grown returns a group of founders and pristine nodes.
func grown(t testing.TB, founders, all int) *group {
	t.Helper()
	return grownWith(t, founders, all, nil)
}

func grownWith(t testing.TB, founders, all int, limits func(*Config)) *group {
	t.Helper()
	var first []NodeID
	for i := range founders {
		first = append(first, NodeID(i+1))
	}
	var givens []given
	for i := range all {
		joins := i >= founders
		givens = append(givens, given{Voters: first, Pristine: joins, Limits: func(c *Config) {
			c.Joins = joins
			if limits != nil {
				limits(c)
			}
		}})
	}
	return assemble(t, givens...)
}

// changes has a member asked for a configuration, and returns the tag.
func (g *group) changes(id NodeID, c ConfState) Tag {
	g.t.Helper()
	g.lastTag++
	g.step(g.member(id), ChangeConfig{Tag: g.lastTag, Conf: c})
	return g.lastTag
}

// replied demands the outcome of a request.
func (g *group) replied(id NodeID, tag Tag, want Outcome) {
	g.t.Helper()
	if got, told := g.member(id).replies[tag]; !told || got != want {
		g.t.Fatalf("node %d replied %v (told %v), it should have %v", id, got, told, want)
	}
}

// leader returns who leads in the latest term.
func (g *group) leader() *groupMember {
	var best *groupMember
	for _, m := range g.members {
		if !m.down && m.state.Role == Leader && (best == nil || m.state.Term > best.state.Term) {
			best = m
		}
	}
	if best == nil {
		g.t.Helper()
		g.t.Fatal("nobody leads")
	}
	return best
}

// united demands that the members of a configuration have it, and the same log,
// committed.
func (g *group) united(want ConfState) {
	g.t.Helper()
	leader := g.leader()
	for _, id := range want.Members() {
		m := g.member(id)
		if m.down {
			continue
		}
		if !m.state.Conf.Equal(want) {
			g.t.Fatalf("%v has the configuration %v, it should have %v", m.node, &m.state.Conf, &want)
		}
		if m.applied != leader.state.Last || m.state.Last != leader.state.Last {
			g.t.Fatalf("%v has not all that %v has", m.node, leader.node) // that it is the same, history knows
		}
	}
}

// wipes replaces a member's disk by a fresh one.
func (g *group) wipes(id NodeID) {
	g.t.Helper()
	m := g.member(id)
	m.disk, m.life, m.cfg.Joins = disk{}, m.life+1000, true // see newcomer.go: it must not found the group again
	g.crash(id, 0)
}

// leaves reports whether a message carries an entry that ends a joint phase, or
// follows one.
func leaves(m *Message) bool {
	r, yes := m.Body.(*AppendRequest)
	return yes && slices.ContainsFunc(r.Entries, func(e Entry) bool {
		return e.Kind == EntryConfig && !e.Config.Joint() && len(e.Config.Learners) == 0
	})
}

// --- M1: not before an entry of the term is committed ---

func TestM1_NoChangeBeforeTheFirstCommitOfTheTerm(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	n.wins()
	n.saves()
	n.changes(7, conf(voters(1, 2)))
	n.replied("Reply tag=7 not ready leader=1")
	n.has(0, conf(voters(1, 2, 3)))
	n.accepted(2)
	n.changes(8, conf(voters(1, 2)))
	n.replied()
	n.has(3, ConfState{Voters: voters(1, 2), Outgoing: voters(1, 2, 3)})
}

// What a leader did not begin it does not go on with either, before it may.
func TestM1_AJointConfigurationIsNotLeftBeforeTheFirstCommitOfTheTerm(t *testing.T) {
	n := jointLeader(t, voters(1, 2, 3), voters(1, 4, 5))
	n.accepted(2)
	n.has(0, ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3)})
	n.accepted(4)
	n.hasCommitted(1)
	n.has(2, conf(voters(1, 4, 5)))
}

// The story of "bug in single-server membership changes" (raft-dev, July 2015):
// two leaders, each with a change that the other does not know.
func TestM1_OfTwoLeadersChangesOneIsCommitted(t *testing.T) {
	g := newGroup(t, 4)
	g.elects(1)
	g.isolate(1)
	first := g.changes(1, conf(voters(1, 2, 3)))
	g.settle()
	g.filter(func(m *Message) fate {
		if _, reply := m.Body.(*AppendReply); reply && m.To == 2 {
			return hold
		}
		return pass
	})
	g.elects(2)
	g.replied(2, g.changes(2, conf(voters(1, 2, 4))), NotReady)
	g.connected()
	g.release()
	g.settle()
	second := g.changes(2, conf(voters(1, 2, 4)))
	g.passes(electionTimeout)
	g.replied(2, second, Done)
	g.replied(1, first, LeadershipLost)
	g.united(conf(voters(1, 2, 4)))
}

func TestM1_NoChangeBeforeTheOneInForceIsCommitted(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2, 3), 4))
	n.saves()
	n.changes(8, conf(voters(1, 2)))
	n.replied("Reply tag=8 a change is in progress leader=1")
	n.has(2, conf(voters(1, 2, 3), 4))
}

// --- M2: campaigning with an unapplied configuration ---

// A configuration is in force from the moment it is in the log (Raft §6), so
// nobody campaigns with an older one.
func TestM2_ACandidateAsksTheVotersOfTheNewestConfigurationInItsLog(t *testing.T) {
	n := start(t, given{})
	joint := ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3)}
	n.hears(2, 1, &AppendRequest{Entries: []Entry{setting(1, 1, joint)}, Round: 1})
	n.timesOut() // before it is durable, let alone committed
	for _, id := range voters(2, 3, 4, 5) {
		if _, asked := n.sentTo(id).Body.(*VoteRequest); !asked {
			t.Errorf("node %d is not asked", id)
		}
	}
	n.granted(2, 3)
	n.is(PreCandidate, 1)
	n.granted(4)
	n.is(Candidate, 2)
}

// The last words of a leader may reach somebody who has given it up already.
func TestM2_APreCandidateThatLearnsOfItsRemovalDoesNotCampaign(t *testing.T) {
	defer func() {
		if r := recover(); r != nil {
			t.Error(r)
		}
	}()
	for _, left := range [][]NodeID{voters(3), voters(2, 3, 4)} {
		n := start(t, given{Voters: left, Outgoing: voters(1, 2, 3), Term: 1})
		n.hears(2, 1, &AppendRequest{Round: 5})
		n.timesOut()
		n.is(PreCandidate, 1)
		campaign := n.sentTo(3).Body.(*VoteRequest).Campaign
		n.hears(2, 1, &AppendRequest{Entries: []Entry{setting(1, 1, conf(left))}, Commit: 1, Round: 5})
		for _, id := range voters(3, 4) {
			n.hears(id, 1, &VoteReply{Pre: true, Granted: true, Campaign: campaign})
		}
		n.is(Follower, 1)
	}
}

func TestM2_WhoWaitsForASnapshotDoesNotTakeOver(t *testing.T) {
	n := alone(t, Recovered{HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, BaseConf: ConfigAt{Conf: founders}})
	n.unsaved = true
	n.hears(2, 1, &SnapshotRequest{Snapshot: SnapshotMeta{Last: id(1, 9), Conf: ConfigAt{Conf: founders}}})
	n.hears(2, 1, &TimeoutNow{})
	if st := n.node.Status(); st.Role != Follower || st.Term != 1 {
		t.Error(st)
	}
}

// solitary is a node whose disk and machine do everything at once, snapshots too.
type solitary struct {
	t       testing.TB
	node    *Node
	now     Instant
	unsaved bool // the disk has stopped
	sent    []Message
	saved   []Save
}

func alone(t testing.TB, r Recovered) *solitary {
	t.Helper()
	r.Incarnation = lifeOf(1)
	node, err := New(Config{ID: 1, Boot: 1, ElectionTimeout: electionTimeout, HeartbeatInterval: heartbeatInterval, KeepEntries: -1}, r)
	if err != nil {
		t.Fatal(err)
	}
	n := &solitary{t: t, node: node, now: Instant(time.Hour)}
	n.steps()
	return n
}

func (n *solitary) steps(inputs ...Input) {
	inputs = append([]Input{Tick{Now: n.now}}, inputs...)
	for len(inputs) > 0 {
		for _, in := range inputs {
			n.node.Step(in)
		}
		inputs = nil
		var out Output
		n.node.Drain(&out)
		n.sent = append(n.sent, out.Send...)
		if out.Save.Token.Sequence != 0 {
			n.saved = append(n.saved, out.Save)
			if !n.unsaved {
				inputs = append(inputs, Saved{out.Save.Token})
			}
		}
		if out.Restore != nil {
			inputs = append(inputs, Applied{Index: out.Restore.Last.Index})
		}
		if k := len(out.Apply.Entries); k > 0 {
			inputs = append(inputs, Applied{Index: out.Apply.Entries[k-1].Index})
		}
	}
}

func (n *solitary) hears(from NodeID, term Term, body Body) {
	n.steps(Receive{Message{From: from, To: 1, Term: term, Cluster: cluster, Incarnation: lifeOf(from), ToIncarnation: lifeOf(1), Body: body}})
}

// --- M3: the joint phase survives restarts and snapshots ---

func TestM3_AJointConfigurationSurvivesARestart(t *testing.T) {
	joint := ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3), Learners: voters(3)}
	n := start(t, given{})
	n.hears(2, 1, &AppendRequest{Entries: []Entry{setting(1, 1, joint)}, Round: 1})
	n.saves()
	n.crashes(0)
	n.has(1, joint)
	n.timesOut()
	n.granted(4, 5)
	n.is(PreCandidate, 1)
	n.granted(2)
	n.is(Candidate, 2)
}

func TestM3_AJointConfigurationSurvivesASnapshot(t *testing.T) {
	joint := ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3)}
	n := alone(t, Recovered{HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, BaseConf: ConfigAt{Conf: founders}})
	n.hears(2, 1, &AppendRequest{Entries: append(append(commands(1, 1), setting(1, 2, joint)), commands(3, 1)...), Commit: 3, Round: 1})
	n.steps(SnapshotTaken{Index: 3})
	s := n.saved[len(n.saved)-1].Snapshot
	if s == nil || s.Conf.Index != 2 || !s.Conf.Conf.Equal(joint) {
		t.Fatalf("the snapshot holds %v", s)
	}
	// Its owner after a restart, and somebody whom it was sent.
	again := alone(t, Recovered{
		HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, Snapshot: *s, Base: s.Last, BaseConf: s.Conf, Last: 3,
	})
	other := alone(t, Recovered{})
	other.hears(2, 1, &SnapshotRequest{Snapshot: *s})
	for _, b := range []*solitary{again, other} {
		if st := b.node.Status(); st.ConfIndex != 2 || !st.Conf.Equal(joint) {
			t.Errorf("%v of %d", &st.Conf, st.ConfIndex)
		}
	}
}

// A snapshot of before the joint entry must not take the joint phase back.
func TestM3_ASnapshotCarriesTheConfigurationOfItsIndex(t *testing.T) {
	joint := ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3)}
	n := alone(t, Recovered{HardState: HardState{Term: 1, Cluster: cluster, Joined: true}, BaseConf: ConfigAt{Conf: founders}})
	n.hears(2, 1, &AppendRequest{Entries: append(commands(1, 1, 1), setting(1, 3, joint)), Commit: 3, Round: 1})
	n.steps(SnapshotTaken{Index: 2})
	if s := n.saved[len(n.saved)-1].Snapshot; s == nil || !s.Conf.Conf.Equal(founders) {
		t.Errorf("the snapshot holds %v", s)
	}
	if st := n.node.Status(); !st.Conf.Equal(joint) {
		t.Errorf("in force is %v", &st.Conf)
	}
}

// --- M4: any leader leaves the joint phase ---

func TestM4_ANewLeaderLeavesTheJointPhase(t *testing.T) {
	for heir := NodeID(2); heir <= 6; heir++ {
		t.Run(fmt.Sprint(heir), func(t *testing.T) {
			g := grown(t, 3, 6)
			g.elects(1)
			g.filter(func(m *Message) fate {
				if leaves(m) {
					return drop
				}
				return pass
			})
			target := conf(voters(2, 4, 5, 6))
			tag := g.changes(1, target)
			g.passes(electionTimeout)
			if st := g.member(heir).state; !st.Conf.Joint() {
				t.Fatalf("the stage is not set: %v", &st.Conf)
			}
			g.stops(1)
			g.connected()
			g.loseSight()
			g.timesOut(heir)
			g.settle()
			if g.history.leaders[2] != heir {
				t.Fatalf("%v; it should lead, 3 only until it has removed itself", g.member(heir).node)
			}
			g.passes(2 * electionTimeout)
			g.united(target)
			if _, told := g.member(1).replies[tag]; told {
				t.Error("who has died has nothing to say")
			}
			again := g.changes(g.leader().id, target) // whoever asked asks again
			g.replied(g.leader().id, again, Done)
		})
	}
}

// The entry is not a proposal: no bound on those refuses it.
func TestM4_LeavingTheJointPhaseIsNotRefusedByABound(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxUncommittedBytes = 1; c.MaxUnapplied = 1 }})
	n.changes(7, conf(voters(1, 2)))
	n.steps(Propose{Tag: 8}, Propose{Tag: 9})
	n.saves()
	n.accepted(2)
	n.has(3, conf(voters(1, 2)))
}

// --- M5: who is removed does not count itself ---

func TestM5_ARemovedLeaderDoesNotCountItself(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(2, 3)))
	n.saves()
	n.accepted(2, 3)
	n.has(3, conf(voters(2, 3)))
	n.saves()
	n.accepted(2) // with the leader itself it would be two of three
	n.hasCommitted(2)
	n.is(Leader, 1)
	n.accepted(3)
	n.hasCommitted(3)
	n.is(Follower, 1)
	n.replied("Reply tag=7 done")
}

// Who demotes itself does not either.
func TestM5_ADemotedLeaderDoesNotCountItself(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(2, 3), 1))
	n.saves()
	n.accepted(2, 3)
	n.has(3, conf(voters(2, 3), 1))
	n.saves()
	n.accepted(2)
	n.hasCommitted(2)
	n.accepted(3)
	n.hasCommitted(3)
	n.is(Follower, 1)
}

// --- M6: a removed leader stays until the removal is committed, and told ---

func TestM6_ARemovedLeaderTellsTheOthersHandsOverAndStepsDown(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(2, 3)))
	n.saves()
	n.accepted(2, 3)
	n.saves()
	n.accepted(2, 3)
	for _, id := range voters(2, 3) {
		if !n.told(id, func(m *Message) bool { r, yes := m.Body.(*AppendRequest); return yes && r.Commit == 3 }) {
			t.Errorf("node %d does not know that it is committed", id)
		}
	}
	heirs := 0
	for _, id := range voters(2, 3) {
		if n.told(id, isTimeoutNow) {
			heirs++
		}
	}
	if heirs != 1 {
		t.Errorf("%d are to campaign", heirs)
	}
	n.is(Follower, 1)
	n.waits(time.Hour)
	n.is(Follower, 1)
}

// The heir is the one that is furthest.
func TestM6_TheFurthestTakesOver(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4)})
	n.changes(7, conf(voters(2, 3, 4)))
	n.saves()
	n.acknowledged(2, 2)
	n.acknowledged(3, 2)
	n.steps(Propose{Tag: 8})
	n.saves()
	n.acknowledged(4, 4)
	n.acknowledged(3, 3)
	if !n.told(4, isTimeoutNow) || n.told(2, isTimeoutNow) || n.told(3, isTimeoutNow) {
		t.Error(n.mail)
	}
}

func TestM6_OfTwoTheLeaderIsRemoved(t *testing.T) {
	for name, lost := range map[string]func(*Message) bool{
		"nothing":              func(*Message) bool { return false },
		"the word to campaign": isTimeoutNow,
		"all that is said last": func(m *Message) bool {
			r, yes := m.Body.(*AppendRequest)
			return isTimeoutNow(m) || yes && r.Commit == 3
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 2)
			g.elects(1)
			g.filter(func(m *Message) fate {
				if m.From == 1 && lost(m) {
					return drop
				}
				return pass
			})
			tag := g.changes(1, conf(voters(2)))
			g.passes(3 * electionTimeout)
			g.replied(1, tag, Done)
			g.united(conf(voters(2)))
			done := g.proposes(2, "on")
			g.settle()
			if g.member(2).done[done] == 0 {
				t.Error("the one that is left does not go on")
			}
		})
	}
}

// A follower that is removed is sent the news, too.
func TestM6_ARemovedFollowerIsTold(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.changes(1, conf(voters(1, 2)))
	g.settle()
	if st := g.member(3).state; st.Conf.Contains(3) || st.Commit < st.ConfIndex {
		t.Errorf("%v: %v", st, &st.Conf)
	}
	g.passes(2 * heartbeatInterval)
	if st := g.member(1).state; len(st.Peers) != 1 {
		t.Errorf("the leader goes on sending: %+v", st.Peers)
	}
}

// The news is repeated, if it gets lost.
func TestM6_ARemovedFollowerIsToldAgain(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	lost := 0
	g.filter(func(m *Message) fate {
		if r, is := m.Body.(*AppendRequest); is && m.To == 3 && r.Commit >= 3 && lost < 4 {
			lost++
			return drop
		}
		return pass
	})
	g.changes(1, conf(voters(1, 2)))
	g.passes(electionTimeout)
	if st := g.member(3).state; lost < 4 || st.Commit < st.ConfIndex {
		t.Errorf("%d times it was lost, and then: %v", lost, st)
	}
	if st := g.member(1).state; len(st.Peers) != 1 {
		t.Errorf("the leader goes on sending: %+v", st.Peers)
	}
}

// The next leader tells it, if that is how the one that has removed it ends.
func TestM6_ARemovedFollowerIsToldByTheNextLeader(t *testing.T) {
	for _, known := range []bool{false, true} { // the next leader knows that it is committed
		g := newGroup(t, 4)
		g.elects(1)
		g.filter(func(m *Message) fate {
			if r, is := m.Body.(*AppendRequest); is && (m.To == 3 || !known) && r.Commit >= 3 {
				return drop
			}
			return pass
		})
		g.changes(1, conf(voters(1, 2, 4)))
		g.settle()
		if got := g.member(2).state.Commit >= 3; got != known || g.member(3).state.Commit >= 3 {
			t.Fatalf("member 2 knows: %v; member 3: %v", got, g.member(3).state)
		}
		g.stops(1)
		g.connected()
		g.elects(2)
		g.passes(2 * heartbeatInterval)
		if st := g.member(3).state; st.Conf.Contains(3) || st.Commit < st.ConfIndex {
			t.Errorf("it does not know: %v", st)
		}
		if st := g.member(2).state; len(st.Peers) != 2 {
			t.Errorf("the leader goes on sending: %+v", st.Peers)
		}
	}
}

// Who comes back with another disk has nothing to be told: it would be sent the whole log,
// admitted, and call itself removed, while it waits to be added.
func TestM6_ARemovedFollowerThatComesBackFreshIsNotTold(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{})
	n.saves()
	n.accepted(2)
	n.changes(7, conf(voters(1, 2)))
	n.saves()
	n.accepted(2)
	n.saves()
	n.accepted(2)
	n.replied("Reply tag=7 done leader=1")
	last := n.state.Last
	n.waits(heartbeatInterval)
	m := n.message(3, n.state.Term, &AppendReply{Rejected: true, Probed: n.askedOf(3).Prev, Round: n.askedOf(3).Round, Newcomer: true})
	m.Incarnation = lifeOf(9)
	n.steps(Receive{Message: m})
	if n.state.Last != last || len(n.state.Peers) != 1 {
		t.Errorf("the log ends at %d, and did at %d; the peers are %+v", n.state.Last, last, n.state.Peers)
	}
}

// Also if it is a little behind.
func TestM6_ARemovedFollowerThatLagsIsTold(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxInflight = 1 }})
	n.steps(Propose{})
	n.saves()
	n.accepted(2)
	n.changes(7, conf(voters(1, 2)))
	n.saves()
	n.accepted(2)
	n.saves()
	n.accepted(2)
	n.replied("Reply tag=7 done leader=1")
	n.keep(1, 2)
	n.acknowledged(3, 2)
	if !n.told(3, leaves) {
		t.Errorf("the newest that it heard is %v", n.sentTo(3))
	}
	n.keep(25, 2) // but not for ever
	if len(n.state.Peers) != 1 {
		t.Errorf("%+v", n.state.Peers)
	}
}

// Whoever had asked the removed leader for something is told how it ended.
func TestM6_ARemovedLeaderAnswersWhoeverWaits(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(2, 3)))
	n.saves()
	n.accepted(2, 3)
	n.saves()
	removal := n.askedOf(2)
	if removal.Prev.Index+Index(len(removal.Entries)) != 3 {
		t.Fatal(removal)
	}
	n.steps(Propose{Tag: 8}, Propose{Tag: 9})
	n.steps(Read{Tag: 10})
	n.saves()
	n.ignore()
	for _, id := range voters(2, 3) {
		n.acknowledged(id, 3)
	}
	n.is(Follower, 1)
	answered := 0
	for _, s := range n.said {
		for _, tag := range []Tag{8, 9, 10} {
			if strings.HasPrefix(s, fmt.Sprintf("Reply tag=%d ", tag)) || strings.HasPrefix(s, fmt.Sprintf("Read tag=%d ", tag)) {
				answered++
			}
		}
	}
	if answered != 3 {
		t.Errorf("nobody will ever tell it more, and of three that wait %d are told:\n\t%s", answered, strings.Join(n.said, "\n\t"))
	}
}

// --- M7: a smaller quorum commits at once ---

func TestM7_ASmallerQuorumCommitsAtOnce(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
	n.changes(7, conf(voters(1, 2)))
	n.steps(Propose{Tag: 8})
	n.saves()
	n.acknowledged(2, 3)
	n.hasCommitted(1)
	n.acknowledged(3, 2) // the joint entry is committed; the proposal has both of the new voters
	n.has(4, conf(voters(1, 2)))
	n.hasCommitted(3)
}

// --- M8: who demotes itself votes as long as it counts ---

func TestM8_WhoIsBeingDemotedVotesForItselfInTheJointPhase(t *testing.T) {
	n := start(t, given{Voters: voters(2, 3), Outgoing: voters(1, 2), Learners: voters(1)})
	n.timesOut()
	n.is(PreCandidate, 0)
	n.granted(2, 3)
	n.saves()
	n.granted(2, 3)
	n.is(Leader, 1) // 2 and itself of the old ones, 2 and 3 of the new ones
}

// And its disk counts in the old half.
func TestM8_WhoIsBeingDemotedCountsItsDiskInTheJointPhase(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2)})
	n.changes(7, conf(voters(2), 1))
	n.has(2, ConfState{Voters: voters(2), Outgoing: voters(1, 2), Learners: voters(1)})
	n.accepted(2)
	n.hasCommitted(1)
	n.saves()
	n.hasCommitted(2)
}

// Thesis §4.2.2: who is not in the newest configuration of its log may have to
// start an election all the same: nobody else may have that entry.
func TestM8_WhoWasRemovedCampaignsUntilThatIsCommitted(t *testing.T) {
	removal := setting(1, 1, conf(voters(2, 3)))
	n := start(t, given{Voters: voters(2, 3), Outgoing: voters(1, 2)})
	n.hears(2, 1, &AppendRequest{Entries: []Entry{removal}, Round: 1})
	n.saves()
	n.timesOut()
	n.granted(2)
	n.is(PreCandidate, 1) // its own vote is no vote of the new ones
	n.granted(3)
	n.is(Candidate, 2)
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Commit: 1, Round: 1})
	n.saves()
	n.waits(time.Hour)
	n.is(Follower, 2)
}

// --- M9: learners vote when they are asked, and never campaign ---

func TestM9_ALearnerThatIsAskedAnswers(t *testing.T) {
	n := start(t, given{ID: 4, Learners: voters(4)})
	n.hears(2, 0, &VoteRequest{Pre: true, Campaign: 1})
	n.wants("4->2 term=0 PreVoteReply granted")
	n.hears(2, 1, &VoteRequest{Campaign: 2})
	n.saves()
	n.wants("Save #1 term=1 vote=2", "4->2 term=1 VoteReply granted")
}

// etcd's campaign_learner_must_vote: of 1, 2 and the learner 3, which was
// promoted and does not know it, 1 has died. Without 3's vote there is no leader.
func TestM9_AnElectionNeedsALearnerThatDoesNotKnowOfItsPromotion(t *testing.T) {
	g := assemble(t, given{Voters: voters(1, 2), Learners: voters(3)}, given{Voters: voters(1, 2), Learners: voters(3)}, given{Voters: voters(1, 2), Learners: voters(3)})
	g.elects(1)
	g.filter(func(m *Message) fate {
		if r, yes := m.Body.(*AppendRequest); yes && m.To == 3 && len(r.Entries) > 0 {
			return drop
		}
		return pass
	})
	g.changes(1, conf(voters(1, 2, 3)))
	g.settle()
	if g.member(3).state.Conf.Votes(3) || !g.member(2).state.Conf.Votes(3) {
		t.Fatal("the stage is not set")
	}
	g.stops(1)
	g.connected()
	g.member(3).now = g.member(3).now.Add(electionTimeout)
	g.elects(2)
	g.passes(electionTimeout)
	g.united(conf(voters(1, 2, 3)))
}

func TestM9_NothingMakesALearnerCampaign(t *testing.T) {
	n := start(t, given{Voters: voters(2, 3), Learners: voters(1), Limits: func(c *Config) { c.CampaignOnDemand = true }})
	n.hears(2, 1, &AppendRequest{Round: 1})
	n.saves()
	n.hears(2, 1, &TimeoutNow{})
	n.waits(time.Hour)
	n.steps(Campaign{}, Propose{Tag: 1}, Read{Tag: 2})
	n.waits(time.Hour)
	n.is(Follower, 1)
}

// A learner that was promoted, cut off: it is a learner again.
func TestM9_APromotionThatWasCutOffIsNone(t *testing.T) {
	n := start(t, given{Voters: voters(2, 3, 4), Learners: voters(1), Log: terms(1)})
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: []Entry{setting(1, 2, ConfState{Voters: voters(1, 2, 3, 4), Outgoing: voters(2, 3, 4)})}, Round: 1})
	if n.out.Deadline == 0 {
		t.Fatal("it votes now, and waits for no election")
	}
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	n.has(0, conf(voters(2, 3, 4), 1))
	n.saves()
	n.waits(time.Hour)
	n.is(Follower, 2)
}

// --- M10: a snapshot of before one was added ---

func TestM10_ALearnerWhoseSnapshotDoesNotKnowItFollowsOn(t *testing.T) {
	n := alone(t, Recovered{})
	n.hears(2, 3, &SnapshotRequest{Snapshot: SnapshotMeta{Last: id(3, 9), Conf: ConfigAt{Index: 1, Conf: conf(voters(2, 3))}}})
	n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Entries: []Entry{setting(3, 10, conf(voters(2, 3), 1))}, Commit: 10, Round: 2})
	if st := n.node.Status(); !st.Conf.Contains(1) || st.Commit != 10 || st.Applied != 10 || st.Leader != 2 {
		t.Errorf("%v: %v", st, &st.Conf)
	}
	if got := n.sent[len(n.sent)-1].String(); got != "1->2 term=3 AppendReply match=10 round=2 newcomer" {
		t.Error(got)
	}
	// The same snapshot again takes nothing back.
	n.hears(2, 3, &SnapshotRequest{Snapshot: SnapshotMeta{Last: id(3, 9), Conf: ConfigAt{Index: 1, Conf: conf(voters(2, 3))}}})
	if st := n.node.Status(); !st.Conf.Contains(1) || st.Last != 10 {
		t.Errorf("%v: %v", st, &st.Conf)
	}
}

// --- M11: who is to vote has caught up first ---

func TestM11_ANewVoterIsALearnerUntilItHasCaughtUp(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.has(2, conf(voters(1, 2, 3), 4))
	n.saves()
	n.accepted(2, 3)
	n.hasCommitted(2)
	n.has(2, conf(voters(1, 2, 3), 4))
	n.accepted(4)
	n.has(3, ConfState{Voters: voters(1, 2, 3, 4), Outgoing: voters(1, 2, 3)})
	n.saves()
	n.accepted(2)
	n.hasCommitted(2)
	n.accepted(3) // three of four, two of three
	n.has(4, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 4)
	n.replied("Reply tag=7 done leader=1")
}

func TestM11_OfSeveralNewVotersAllHaveCaughtUpFirst(t *testing.T) {
	n := lead(t, given{Voters: voters(1, 2)})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.has(2, conf(voters(1, 2), 3, 4))
	n.accepted(4)
	n.has(3, ConfState{Voters: voters(1, 2, 3, 4), Outgoing: voters(1, 2)})
}

// Thesis §4.2.1: a round replicates what the leader had when the round began; who
// needs less than an election timeout for one would not hold up the others.
func TestM11_ALearnerCatchesUpByRounds(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1, 1)})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	target := Index(5) // what the log had when 4 became a learner
	joint := func() bool { return n.state.Conf.Joint() }
	for round := range 4 {
		for range 12 { // longer than an election timeout
			n.steps(Propose{})
			n.saves()
			n.keep(1, 2, 3)
		}
		if joint() {
			t.Fatalf("round %d was too long", round)
		}
		last := n.state.Last
		n.acknowledged(4, target)
		target = last
		if joint() {
			t.Fatalf("round %d was too long, and counted", round)
		}
	}
	n.steps(Propose{})
	n.saves()
	n.keep(2, 2, 3)
	n.acknowledged(4, target) // at once
	if !joint() {
		t.Fatalf("%v: it has caught up", &n.state.Conf)
	}
}

func TestM11_WhoDoesNotCatchUpStaysALearner(t *testing.T) {
	n := lead(t, given{Log: terms(1, 1, 1)})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.ignore()
	target := Index(5)
	for round := 0; len(n.said) == 0 || !slices.Contains(n.said, "Reply tag=7 not caught up leader=1"); round++ {
		if round > 12 {
			t.Fatal("it may take as long as it likes")
		}
		for range 12 {
			n.steps(Propose{})
			n.saves()
			n.keep(1, 2, 3)
		}
		last := n.state.Last
		n.acknowledged(4, target)
		target = last
	}
	n.has(5, conf(voters(1, 2, 3), 4))
	n.is(Leader, 2)
}

// Somebody who is not there at all is not waited for for ever, however busy the
// others are.
func TestM11_ADeadNewVoterIsGivenUp(t *testing.T) {
	for name, busy := range map[string]int{"an idle group": 0, "a busy group": 1, "a busy group, one of it slow": 15} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, given{})
			n.changes(7, conf(voters(1, 2, 3, 4)))
			n.saves()
			n.accepted(2, 3)
			n.ignore()
			for beat := range 150 {
				if busy > 0 {
					n.steps(Propose{})
					n.saves()
				}
				n.keep(1, 2)
				if busy == 0 || beat%busy == 0 {
					n.accepted(3)
				}
			}
			n.replied("Reply tag=7 not caught up leader=1")
			n.has(2, conf(voters(1, 2, 3), 4))
			n.changes(8, conf(voters(1, 2, 3))) // and may be taken out again
			n.saves()
			n.accepted(2, 3)
			n.replied("Reply tag=8 done leader=1")
		})
	}
}

// A learner that was quick once is not quick for ever: its disk has stalled since.
func TestM11_ALearnerWhoseDiskStallsIsNotPromoted(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Learners: voters(2)})
	n.keep(3, 2)
	has := n.state.Last
	for range 30 { // it answers, and its disk does not
		n.steps(Propose{})
		n.saves()
		n.waits(heartbeatInterval)
		n.acknowledged(2, has)
	}
	n.changes(7, conf(voters(1, 2)))
	n.has(0, conf(voters(1), 2))
	n.acknowledged(2, n.state.Last) // the disk is back
	n.waits(heartbeatInterval)
	n.acknowledged(2, n.state.Last)
	n.has(n.state.Last, ConfState{Voters: voters(1, 2), Outgoing: voters(1)})
}

// A learner that has been one for long, and is out for a moment, is waited for:
// the rounds of its past are no reason to give it up.
func TestM11_ALearnerThatIsOutForAMomentIsWaitedFor(t *testing.T) {
	n := lead(t, given{Learners: voters(4)})
	for range 30 {
		n.steps(Propose{})
		n.saves()
		n.keep(1, 2, 3, 4)
	}
	n.keep(15, 2, 3)
	n.ignore()
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.replied()
	n.keep(2, 2, 3, 4)
	n.has(n.state.Last, ConfState{Voters: voters(1, 2, 3, 4), Outgoing: voters(1, 2, 3)})
}

// Nor are those of one that has caught up and waits for another.
func TestM11_WhoHasCaughtUpIsWaitedForIfItIsOutForAMoment(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2, 3, 4, 5)))
	n.saves()
	n.accepted(2, 3)
	n.ignore()
	for range 30 {
		n.steps(Propose{})
		n.saves()
		n.keep(1, 2, 3, 4)
	}
	n.keep(12, 2, 3)
	n.replied()
	n.keep(2, 2, 3, 4, 5)
	n.has(n.state.Last, ConfState{Voters: voters(1, 2, 3, 4, 5), Outgoing: voters(1, 2, 3)})
}

// Nor is it if nothing has been proposed for long, so that it could not come any
// further.
func TestM11_WhoHasNothingToCatchUpWithIsWaitedForIfItIsOutForAMoment(t *testing.T) {
	n := lead(t, given{Log: slices.Repeat(terms(1), 20), Learners: voters(4)})
	n.changes(7, conf(voters(1, 2, 3, 4, 5)))
	n.saves()
	n.accepted(2, 3, 4)
	n.ignore()
	for has := range Index(12) { // 5 has a slow disk
		n.hears(5, n.state.Term, &AppendReply{Match: has, Round: n.askedOf(5).Round})
		n.keep(11, 2, 3, 4)
	}
	n.keep(12, 2, 3)
	n.replied()
}

// A large snapshot takes its time; as long as it moves, its receiver comes further.
func TestM11_WhoReceivesALargeSnapshotIsWaitedFor(t *testing.T) {
	n := lead(t, given{Snapshot: id(1, 10), Log: terms(1, 1), Limits: func(c *Config) { c.KeepEntries = -1 }})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.rejected(4, id(0, 0))
	n.keep(1, 2, 3)
	if r, asked := n.sentTo(4).Body.(*AppendRequest); asked {
		n.hears(4, n.state.Term, &AppendReply{Rejected: true, Probed: r.Prev, Round: r.Round})
	}
	if !n.told(4, func(m *Message) bool { _, yes := m.Body.(*SnapshotRequest); return yes }) {
		t.Fatalf("the stage is not set: %v", n.sentTo(4))
	}
	n.ignore()
	for range 150 {
		n.steps(SnapshotSent{Peer: 4, Index: 10, Status: SnapshotMoving})
		n.keep(1, 2, 3)
	}
	n.replied()
}

// A busy leader hears of many rounds before it can admit a newcomer.
func TestM11_ANewcomerIsWaitedForHoweverBusyTheGroupIs(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.saves()
	n.accepted(2, 3)
	n.ignore()
	newcomer := func() {
		r := n.askedOf(4)
		n.hears(4, n.state.Term, &AppendReply{Match: r.Prev.Index + Index(len(r.Entries)), Round: r.Round, Newcomer: true})
	}
	for range 30 {
		n.steps(Propose{})
		n.saves()
		n.accepted(2, 3)
		newcomer()
	}
	n.replied()
	n.has(2, conf(voters(1, 2, 3), 4))
	n.keep(1, 2, 3, 4) // it is admitted
	n.has(n.state.Last, ConfState{Voters: voters(1, 2, 3, 4), Outgoing: voters(1, 2, 3)})
}

// A node on a fresh disk that does not vote yet is not made a voter, whatever it
// has acknowledged.
func TestM11_ANewcomerIsNotPromoted(t *testing.T) {
	n := lead(t, given{Learners: voters(4)})
	n.waits(heartbeatInterval)
	n.accepted(2, 3)
	n.hears(4, n.state.Term, &AppendReply{Match: 1, Round: n.askedOf(4).Round, Newcomer: true})
	n.changes(7, conf(voters(1, 2, 3, 4)))
	n.has(0, conf(voters(1, 2, 3), 4))
	n.waits(heartbeatInterval)
	n.accepted(4)
	n.has(3, ConfState{Voters: voters(1, 2, 3, 4), Outgoing: voters(1, 2, 3)})
}

// A voter that is to go is demoted first, or removed at once: either way it
// counts until the new configuration alone is in force.
func TestM11_DemoteAndRemove(t *testing.T) {
	g := newGroup(t, 4)
	g.elects(1)
	for _, target := range []ConfState{conf(voters(1, 2, 3), 4), conf(voters(1, 2, 3)), conf(voters(1, 2))} {
		tag := g.changes(1, target)
		g.settle()
		g.replied(1, tag, Done)
		g.united(target)
	}
}

// --- M12: a configuration that is cut off was never in force ---

func TestM12_AConfigurationThatIsCutOffIsRevertedOnAFollower(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	joint := ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3)}
	n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: []Entry{setting(1, 2, joint)}, Round: 1})
	n.has(2, joint)
	n.saves()
	n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
	n.has(0, conf(voters(1, 2, 3)))
	if !n.out.StatusChanged {
		t.Error("nobody is told")
	}
	n.saves()
	n.crashes(0)
	n.has(0, conf(voters(1, 2, 3)))
}

// It is in force again if the disk lost what was to take its place, and gone if
// the disk lost the entry itself.
func TestM12_AfterACrashTheConfigurationIsTheDisks(t *testing.T) {
	joint := ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3)}
	for kept, want := range map[int]ConfState{0: conf(voters(1, 2, 3)), 1: joint, 2: conf(voters(1, 2, 3))} {
		n := start(t, given{Log: terms(1)})
		n.hears(2, 1, &AppendRequest{Prev: id(1, 1), Entries: []Entry{setting(1, 2, joint)}, Round: 1})
		n.hears(3, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Round: 1})
		n.crashes(kept)
		if !n.state.Conf.Equal(want) {
			t.Errorf("of the Saves %d were kept: %v, should be %v", kept, &n.state.Conf, &want)
		}
	}
}

func TestM12_AChangeOfADeposedLeaderIsReverted(t *testing.T) {
	g := newGroup(t, 5)
	g.elects(1)
	g.isolate(1, 2)
	tag := g.changes(1, conf(voters(1, 2)))
	g.settle()
	for _, id := range voters(1, 2) {
		if !g.member(id).state.Conf.Joint() {
			t.Fatal("the stage is not set")
		}
	}
	g.elects(3)
	g.connected()
	g.passes(2 * electionTimeout)
	g.replied(1, tag, LeadershipLost)
	g.united(conf(voters(1, 2, 3, 4, 5)))
}

// --- M13: removed, and added again under the same ID ---

// readded is a leader that has removed 4, which had acknowledged everything, and
// added it again as a learner. It returns what 4 said last in its former life, in
// which it may have heard of its removal.
func readded(t *testing.T, told bool) (*stage, Message) {
	t.Helper()
	n := lead(t, given{Voters: voters(1, 2, 3, 4)})
	n.steps(Propose{Tag: 1}, Propose{Tag: 2}, Propose{Tag: 3})
	n.saves()
	n.keep(1, 2, 3, 4)
	others := voters(2, 3)
	if told {
		others = voters(2, 3, 4)
	}
	n.changes(7, conf(voters(1, 2, 3)))
	for range 2 {
		n.saves()
		n.accepted(others...)
	}
	n.replied("Reply tag=7 done leader=1")
	late := n.message(4, n.state.Term, &AppendReply{Match: n.state.Last, Round: n.askedOf(4).Round})
	n.changes(8, conf(voters(1, 2, 3), 4))
	n.saves()
	n.accepted(2, 3)
	n.replied("Reply tag=8 done leader=1")
	return n, late
}

func (n *stage) peer(id NodeID) PeerStatus {
	for _, p := range n.state.Peers {
		if p.ID == id {
			return p
		}
	}
	return PeerStatus{}
}

// Within one term, when the new life has not been heard of, ...
func TestM13_ALateAcknowledgementOfTheFormerMembershipIsNotCounted(t *testing.T) {
	for _, told := range []bool{true, false} {
		n, late := readded(t, told)
		if p := n.peer(4); p.Match != 0 {
			t.Fatalf("told %v: %+v", told, p)
		}
		n.steps(Receive{late})
		if p := n.peer(4); p.Match != 0 || n.state.Refused != 1 {
			t.Errorf("told %v: %+v", told, p)
		}
	}
}

// ... and when it has.
func TestM13_ALateAcknowledgementOfTheFormerLifeIsNotCounted(t *testing.T) {
	n, late := readded(t, true)
	fresh := func(body *AppendReply) {
		m := n.message(4, n.state.Term, body)
		m.Incarnation = 999
		body.Newcomer = true
		n.steps(Receive{m})
	}
	r := n.askedOf(4)
	fresh(&AppendReply{Rejected: true, Probed: r.Prev, Round: r.Round})
	n.steps(Receive{late})
	if p := n.peer(4); p.Match != 0 || n.state.Refused != 1 {
		t.Fatalf("%+v", p)
	}
	n.waits(heartbeatInterval)
	r = n.askedOf(4)
	fresh(&AppendReply{Match: r.Prev.Index, Round: r.Round})
	n.steps(Receive{late})
	if p := n.peer(4); p.Match != r.Prev.Index || n.state.Refused != 2 {
		t.Errorf("%+v", p)
	}
	if to := n.sentTo(4).ToIncarnation; to != 999 {
		t.Errorf("it is sent to life %d", to)
	}
}

// What was said to the former life is not for the new one. A question is answered,
// so that the leader learns of it; what came with the question is not taken.
func TestM13_TheNewLifeDoesNotTakeWhatWasSaidToTheFormer(t *testing.T) {
	for _, body := range []Body{
		&AppendRequest{Entries: commands(1, 1), Commit: 1, Round: 1}, &TimeoutNow{},
		&SnapshotRequest{Snapshot: SnapshotMeta{Last: id(1, 1), Conf: ConfigAt{Conf: founders}}},
	} {
		n := start(t, given{Pristine: true})
		m := n.message(2, 1, body)
		m.ToIncarnation = n.life + 1
		n.steps(Receive{m})
		n.saves()
		if n.state.Last != 0 || n.state.Commit != 0 || n.state.Role != Follower || n.state.Joined {
			t.Errorf("%v: %v", body, n.node)
		}
		for i := range n.mail {
			if r, reply := n.mail[i].Body.(*AppendReply); reply && !r.Rejected && r.Match > 0 {
				t.Errorf("%v: %v", body, n.mail[i])
			}
		}
	}
}

func TestM13_RemovedAndAddedAgainWithAFreshDisk(t *testing.T) {
	g := newGroup(t, 3)
	g.elects(1)
	g.proposes(1, "a")
	g.settle()
	var late []Message
	g.filter(func(m *Message) fate {
		if _, reply := m.Body.(*AppendReply); reply && m.From == 3 && m.Incarnation == lifeOf(3) {
			late = append(late, *m)
		}
		return pass
	})
	g.proposes(1, "b")
	g.changes(1, conf(voters(1, 2)))
	g.settle()
	g.wipes(3)
	g.stops(3)
	tag := g.changes(1, conf(voters(1, 2, 3)))
	g.settle()
	g.stops(2)
	x := g.proposes(1, "x")
	for _, m := range late {
		g.step(g.member(1), Receive{m})
	}
	g.settle()
	if g.member(1).done[x] != 0 {
		t.Fatal("x is on one disk of two")
	}
	g.starts(2, 3)
	g.passes(2 * electionTimeout)
	g.replied(1, tag, Done)
	g.united(conf(voters(1, 2, 3)))
}

// --- M14, M18: lineages ---

// Both sides refuse; what a recovery founded anew, under a lineage of its own,
// and what it left behind do not meet.
func TestM18_TwoLineagesRefuseEachOtherInBothDirections(t *testing.T) {
	old := start(t, given{ID: 3, Log: terms(1, 1), Term: 9}) // was not there when the others were recovered
	recovered := alone(t, Recovered{HardState: HardState{Term: 1, Cluster: 2, Joined: true}, BaseConf: ConfigAt{Conf: conf(voters(1))}})
	recovered.now = recovered.now.Add(2 * electionTimeout)
	recovered.steps()
	if recovered.node.Status().Role != Leader {
		t.Fatal(recovered.node)
	}
	bodies := []Body{
		&VoteRequest{Last: id(9, 9)}, &VoteRequest{Pre: true, Last: id(9, 9)}, &VoteReply{Granted: true}, &AppendRequest{Round: 1},
		&AppendReply{Match: 1, Round: 1}, &TimeoutNow{}, &ReadRequest{Sequence: 1}, &ReadReply{Sequence: 1},
		&SnapshotRequest{Snapshot: SnapshotMeta{Last: id(9, 9), Conf: ConfigAt{Conf: founders}}},
	}
	before := recovered.node.Status()
	sent := len(recovered.sent)
	for _, body := range bodies {
		recovered.hears(3, 10, body)                                                                          // of lineage 1, to 2
		old.steps(Receive{Message{From: 1, To: 3, Term: 10, Cluster: 2, Incarnation: lifeOf(1), Body: body}}) // of 2, to 1
	}
	old.wantsNothing()
	old.is(Follower, 9)
	if old.state.Refused != uint64(len(bodies)) {
		t.Errorf("the old one refused %d of %d", old.state.Refused, len(bodies))
	}
	if st := recovered.node.Status(); st.Term != before.Term || st.Role != Leader || st.Refused != uint64(len(bodies)) || len(recovered.sent) != sent {
		t.Errorf("the recovered one: %v, refused %d", st, st.Refused)
	}
}

// A member of two groups by mistake, by ID and by address.
func TestM14_TwoGroupsThatReachEachOtherDoNotMerge(t *testing.T) {
	g := newGroupOf(t, 4, given{Pristine: true})
	for _, m := range g.members {
		lineage := ClusterID(1 + m.id%2)
		g.step(m, Bootstrap{Cluster: lineage, Conf: conf(voters(1, 2, 3, 4))})
	}
	g.passes(5 * electionTimeout)
	for _, m := range g.members {
		if m.state.Leader != Nobody || m.state.Term > 1 || m.state.Commit > 0 {
			t.Errorf("half of a group has a leader: %v", m.node)
		}
	}
}

// --- M15: a change that would leave no quorum ---

func TestM15_AChangeToVotersWhoAreNotThereIsHeldAndGivenUp(t *testing.T) {
	for name, busy := range map[string]bool{"an idle group": false, "a busy group": true} {
		for which, target := range map[string][]NodeID{"dead ones only": voters(4, 5), "a majority of dead ones": voters(2, 4, 5), "itself and dead ones": voters(1, 4, 5)} {
			t.Run(name+", "+which, func(t *testing.T) {
				n := lead(t, given{Voters: voters(1, 2, 3, 4, 5)})
				n.keep(15, 2, 3) // 4 and 5 have died
				n.changes(7, conf(target))
				n.ignore()
				for range 150 {
					if busy {
						n.steps(Propose{})
						n.saves()
					}
					n.keep(1, 2, 3)
				}
				n.replied("Reply tag=7 not caught up leader=1")
				n.has(0, conf(voters(1, 2, 3, 4, 5)))
				n.hasCommitted(n.state.Last)
			})
		}
	}
}

// The dead may be removed, though: all at once.
func TestM15_TheDeadAreRemoved(t *testing.T) {
	g := newGroup(t, 5)
	g.elects(1)
	g.stops(4, 5)
	g.passes(2 * electionTimeout)
	tag := g.changes(1, conf(voters(1, 2, 3)))
	g.passes(electionTimeout)
	g.replied(1, tag, Done)
	g.united(conf(voters(1, 2, 3)))
}

// --- M16: founding twice ---

func TestM16_BootstrapOnAUsedNodeIsRefused(t *testing.T) {
	n := start(t, given{Log: terms(1, 1)})
	n.steps(Bootstrap{Tag: 7, Cluster: 99, Conf: founders})
	n.wants("Reply tag=7 not pristine")
	if n.state.Cluster != cluster || n.state.Last != 2 {
		t.Error(n.node)
	}
}

// Done would be a lie: the node is founded, and not with these.
func TestM16_ASecondBootstrapWithOtherVotersIsRefused(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.steps(Bootstrap{Cluster: cluster, Conf: founders})
	n.saves()
	n.ignore()
	n.steps(Bootstrap{Tag: 7, Cluster: cluster, Conf: conf(voters(1, 2, 4))})
	n.has(1, founders)
	n.wants("Reply tag=7 not pristine")
}

// --- M17: who knows only a dead configuration ---

func TestM17_WhoKnowsOnlyADeadConfigurationFollowsALeader(t *testing.T) {
	n := start(t, given{Voters: voters(1, 8, 9), Log: terms(1)})
	n.waits(10 * electionTimeout) // it looks for 8 and 9
	n.saves()
	n.ignore()
	n.hears(2, 5, &AppendRequest{Prev: id(1, 1), Entries: []Entry{setting(5, 2, conf(voters(2, 3), 1))}, Commit: 2, Round: 1})
	n.saves()
	n.is(Follower, 5)
	n.has(2, conf(voters(2, 3), 1))
	if n.state.Leader != 2 || n.state.Commit != 2 {
		t.Error(n.node)
	}
}

// Of 1, 2 and 3 only 1 was down while 4, 5 and 6 took the places of all.
func TestM17_ARollingReplacementIsSurvivedByWhoSleptThroughIt(t *testing.T) {
	g := grown(t, 3, 6)
	g.elects(2)
	g.stops(1)
	for _, target := range []ConfState{conf(voters(2, 3, 4)), conf(voters(3, 4, 5)), conf(voters(4, 5, 6))} {
		g.changes(g.leader().id, target)
		g.passes(2 * electionTimeout)
		g.united(target)
	}
	g.stops(2, 3)
	g.starts(1)
	g.passes(5 * electionTimeout) // it finds nobody, and disturbs nobody
	g.united(conf(voters(4, 5, 6)))
	tag := g.changes(g.leader().id, conf(voters(1, 4, 5, 6)))
	g.passes(2 * electionTimeout)
	g.replied(g.leader().id, tag, Done)
	g.united(conf(voters(1, 4, 5, 6)))
}

// --- refusals, and asking again ---

func TestAChangeIsRefusedByWhoDoesNotLead(t *testing.T) {
	n := start(t, given{})
	n.changes(7, conf(voters(1)))
	n.replied("Reply tag=7 not leader")
	n.hears(2, 1, &AppendRequest{Round: 1})
	n.saves()
	n.ignore()
	n.changes(7, conf(voters(1)))
	n.replied("Reply tag=7 not leader leader=2")
}

func TestAChangeToWhatIsNoConfigurationIsRefused(t *testing.T) {
	for name, c := range map[string]ConfState{
		"no voters":            {Learners: voters(1)},
		"a voter twice":        {Voters: voters(1, 1)},
		"in disorder":          {Voters: voters(2, 1)},
		"nobody":               {Voters: voters(0, 1)},
		"a learner that votes": {Voters: voters(1, 2), Learners: voters(2)},
		"joint":                {Voters: voters(1), Outgoing: voters(2)},
	} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, given{})
			n.changes(7, c)
			n.wants("Reply tag=7 bad configuration leader=1")
			n.has(0, conf(voters(1, 2, 3)))
		})
	}
}

func TestAChangeIsRefusedWhileAnotherIsUnderWay(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2)))
	n.changes(8, conf(voters(1, 3)))
	n.replied("Reply tag=8 a change is in progress leader=1")
	// One that another leader began is under way, too.
	n = jointLeader(t, voters(1, 2, 3), voters(1, 2))
	n.changes(8, conf(voters(1, 3)))
	n.replied("Reply tag=8 a change is in progress leader=1")
}

// Compare and set.
func TestAChangeIsRefusedIfTheConfigurationIsAnotherThanExpected(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2, 3), 4))
	n.saves()
	n.accepted(2, 3)
	n.replied("Reply tag=7 done leader=1")
	at := n.state.ConfIndex
	n.steps(ChangeConfig{Tag: 8, Conf: conf(voters(1, 2)), Expect: at + 1})
	n.replied("Reply tag=8 the configuration has changed leader=1")
	n.steps(ChangeConfig{Tag: 9, Conf: conf(voters(1, 2)), Expect: at})
	n.replied()
	n.has(at+1, ConfState{Voters: voters(1, 2), Outgoing: voters(1, 2, 3)})
}

func TestAChangeIsRefusedWhileTheOfficeIsHandedOver(t *testing.T) {
	n := lead(t, given{})
	n.steps(Transfer{Tag: 1, To: 2})
	n.ignore()
	n.changes(7, conf(voters(1, 2)))
	n.replied("Reply tag=7 transferring leader=1")
	n.has(0, conf(voters(1, 2, 3)))
}

func TestTheOfficeIsNotHandedOverWhileTheMembersChange(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2)))
	n.steps(Transfer{Tag: 1, To: 2})
	n.replied("Reply tag=1 a change is in progress leader=1")
}

func TestAskingAgainForTheSameIsHarmless(t *testing.T) {
	n := lead(t, given{})
	target := conf(voters(1, 2, 3, 4))
	n.changes(1, target)
	n.changes(2, target) // while the newcomer is a learner
	n.saves()
	n.accepted(2, 3, 4)
	n.changes(3, target) // in the joint phase
	n.saves()
	n.accepted(2, 3, 4)
	n.changes(4, target) // while the last step is not committed
	last := n.state.Last
	n.replied()
	n.saves()
	n.accepted(2, 3, 4)
	n.replied("Reply tag=1 done leader=1", "Reply tag=2 done leader=1", "Reply tag=3 done leader=1", "Reply tag=4 done leader=1")
	n.changes(5, target)
	n.replied("Reply tag=5 done leader=1")
	if n.state.Last != last {
		t.Errorf("it appended %d entries for nothing", n.state.Last-last)
	}
}

// Whoever asked the leader before asks the next one, which is on its way there.
func TestAskingTheNextLeaderForWhatIsUnderWayIsHarmless(t *testing.T) {
	n := jointLeader(t, voters(1, 2, 3), voters(1, 2))
	n.changes(7, conf(voters(1, 2)))
	n.replied()
	n.accepted(2)
	n.has(2, conf(voters(1, 2)))
	n.saves()
	n.accepted(2)
	n.replied("Reply tag=7 done leader=1")
}

func TestAChangeEndsWithTheOffice(t *testing.T) {
	n := lead(t, given{})
	n.changes(7, conf(voters(1, 2)))
	n.ignore()
	n.hears(3, 9, &AppendRequest{Round: 1})
	n.replied("Reply tag=7 leadership lost (may have happened) leader=3")
}

// --- a joint configuration decides by both majorities ---

func TestJointConsensus6_EntriesAreCommittedByBothMajorities(t *testing.T) {
	n := jointLeader(t, voters(1, 2, 3), voters(4, 5, 6))
	n.accepted(2, 3)
	n.hasCommitted(0)
	n.accepted(4)
	n.hasCommitted(0)
	n.accepted(5)
	n.hasCommitted(1)
}

func TestJointConsensus6_ALeaderThatHearsOneHalfOnlyStepsDown(t *testing.T) {
	n := jointLeader(t, voters(1, 2, 3), voters(4, 5, 6))
	for range 15 {
		if n.state.Role == Leader {
			n.keep(1, 2, 3)
		}
	}
	n.is(Follower, 1)
}

func TestOnlyLearnersChangeInOneStep(t *testing.T) {
	n := lead(t, given{Learners: voters(4, 5)})
	n.changes(7, conf(voters(1, 2, 3), 5, 6))
	n.has(2, conf(voters(1, 2, 3), 5, 6))
	n.saves()
	n.accepted(2)
	n.replied("Reply tag=7 done leader=1")
}

// --- whole stories ---

// Every kind of change, up to nine members, the leader itself included.
func TestChangesFromEndToEnd(t *testing.T) {
	g := grown(t, 3, 9)
	g.elects(1)
	for i, target := range []ConfState{
		conf(voters(1, 2, 3, 4)),                // add
		conf(voters(1, 2, 3, 4, 5, 6, 7), 8, 9), // several
		conf(voters(1, 2, 3, 4, 5, 6, 7, 8, 9)), // promote
		conf(voters(1, 2, 3, 4, 5), 6, 7),       // demote and remove
		conf(voters(1, 6, 7, 8, 9), 2),          // replace several, demote, promote
		conf(voters(6)),                         // all but one, the leader among them
		conf(voters(1, 2, 3, 4, 5)),             // everybody by others
		conf(voters(1, 2, 3, 4, 5, 6, 7, 8, 9)), // and all of them
		conf(voters(2, 4, 6, 8), 1, 3, 5, 7, 9), // half of them
		conf(voters(9), 1),                      // one that was a learner
		conf(voters(1, 2, 3)),                   // as it was
	} {
		leader := g.leader().id
		tag := g.changes(leader, target)
		g.proposes(leader, fmt.Sprint(i))
		g.passes(3 * electionTimeout)
		g.replied(leader, tag, Done)
		g.united(target)
	}
}

// The old leader dies at every step of the way; a new one is elected, whoever
// asked asks again, and the change ends.
func TestALeaderThatDiesAnywhereOnTheWayHoldsNothingUp(t *testing.T) {
	for dies := range 300 {
		g := grown(t, 3, 6)
		g.elects(1)
		g.proposes(1, "before")
		g.settle()
		target := conf(voters(3, 4, 5, 6))
		tag := g.changes(1, target)
		count := 0
		g.filter(func(m *Message) fate { // the first so many of its messages arrive
			if m.From == 1 {
				if count++; count > dies {
					return drop
				}
			}
			return pass
		})
		g.passes(electionTimeout / 2)
		_, told := g.member(1).replies[tag]
		g.stops(1)
		g.connected()
		for range 40 {
			g.passes(electionTimeout)
			if l := g.leads(); l != nil && l.state.Conf.Equal(target) && l.state.Commit == l.state.Last {
				break
			} else if l != nil {
				g.changes(l.id, target)
			}
		}
		g.passes(electionTimeout)
		g.united(target)
		if told {
			if dies < 10 {
				t.Fatalf("done after %d messages", dies)
			}
			return
		}
	}
	t.Error("the change never ended while the leader was alive")
}

// leads is leader, and nil if there is none.
func (g *group) leads() *groupMember {
	for _, m := range g.members {
		if !m.down && m.state.Role == Leader {
			return m
		}
	}
	return nil
}

// Thesis §4.2.3: who was removed, and does not know it, cannot disturb.
func TestARemovedNodeDoesNotDisturb(t *testing.T) {
	g := newGroup(t, 4)
	g.elects(1)
	g.isolate(4)
	tag := g.changes(1, conf(voters(1, 2, 3)))
	g.passes(2 * electionTimeout)
	g.replied(1, tag, Done)
	g.connected()
	term := g.member(1).state.Term
	g.passes(20 * electionTimeout)
	if m := g.member(4); m.state.Term != term || m.state.Role == Leader {
		t.Error(m.node)
	}
	// Even one with a later term, from wherever, deposes nobody.
	for _, body := range []Body{&VoteRequest{Last: id(99, 99)}, &VoteRequest{Pre: true, Last: id(99, 99)}} {
		for _, to := range voters(1, 2, 3) {
			g.step(g.member(to), Receive{Message{From: 4, To: to, Term: 50, Cluster: cluster, Incarnation: lifeOf(4), Body: body}})
		}
	}
	g.settle()
	if m := g.member(1); m.state.Role != Leader || m.state.Term != term {
		t.Error(m.node)
	}
	g.united(conf(voters(1, 2, 3)))
}

// A removed node that was started again does not know that its removal is
// committed. It asks, and gets nowhere.
func TestARemovedNodeThatRestartsDoesNotDisturb(t *testing.T) {
	g := newGroup(t, 4)
	g.elects(4)
	g.changes(4, conf(voters(1, 2, 3)))
	g.passes(2 * electionTimeout)
	term := g.leader().state.Term
	g.crash(4, 0)
	g.passes(20 * electionTimeout)
	if m := g.member(4); m.state.Role == Leader || m.state.Term > term {
		t.Error(m.node)
	}
	if g.leader().state.Term != term {
		t.Errorf("%v, its term was %d", g.leader().node, term)
	}
}

// A node that was removed knows of no leader any more, and keeps nobody waiting.
func TestWhoDoesNotCampaignLosesSightOfADeadLeader(t *testing.T) {
	n := start(t, given{Voters: voters(2, 3), Learners: voters(1)})
	n.hears(2, 1, &AppendRequest{Round: 1})
	n.saves()
	n.steps(Read{Tag: 7})
	n.ignore()
	for range 100 {
		n.waits(heartbeatInterval)
	}
	if n.state.Leader != Nobody || !slices.Contains(n.said, "Reply tag=7 not leader") {
		t.Errorf("ten timeouts after its leader's last word: %v, and it was told %q", n.node, n.out.Replies)
	}
}

// Chance: members come and go, crash, lose sight of one another, and lose their
// disks when they are members no more. The history demands what Raft promises.
func TestAnyChurnOfMembersKeepsWhatWasCommitted(t *testing.T) {
	for seed := range uint64(churns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { churn(t, rand.New(rand.NewPCG(seed, 6))) })
	}
}

const churns = 20

func churn(t *testing.T, r *rand.Rand) {
	const all = 7
	g := grownWith(t, 3, all, []func(*Config){nil, func(c *Config) { c.SnapshotEntries, c.KeepEntries = 7, -1 }}[r.IntN(2)])
	some := func(most int) []NodeID {
		var ids []NodeID
		for id := NodeID(1); id <= all; id++ {
			if r.IntN(all) < most {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for range 60 {
		switch r.IntN(10) {
		case 0, 1, 2:
			if l := g.leads(); l != nil {
				target := ConfState{Voters: some(4)}
				for _, id := range some(2) {
					if !slices.Contains(target.Voters, id) {
						target.Learners = append(target.Learners, id)
					}
				}
				g.changes(l.id, target)
			}
		case 3, 4:
			for _, m := range g.members {
				g.proposes(m.id, "x")
			}
		case 5:
			id := NodeID(1 + r.IntN(all))
			g.crash(id, r.IntN(1+len(g.member(id).disk.pending)))
		case 6:
			g.connected()
			g.isolate(some(2)...)
		case 7:
			g.connected()
			g.release()
			g.filter(func(*Message) fate { return []fate{pass, pass, pass, drop, hold, twice}[r.IntN(6)] })
		case 8:
			if l := g.leads(); l != nil && l.state.Commit >= l.state.ConfIndex && l.state.Readable {
				id := NodeID(1 + r.IntN(all))
				if !l.state.Conf.Contains(id) && g.newestConf(l) {
					g.wipes(id)
				}
			}
		case 9:
			g.connected()
			g.release()
		}
		g.passes(time.Duration(r.IntN(15)) * heartbeatInterval)
	}
	g.connected()
	g.parked = nil
	g.passes(30 * electionTimeout)
	l := g.leader()
	tag := g.proposes(l.id, "last")
	g.passes(2 * electionTimeout)
	if l.done[tag] == 0 {
		t.Fatalf("%v goes nowhere: %v", l.node, &l.state.Conf)
	}
	g.united(l.state.Conf)
}

// newestConf reports whether nobody has been elected since a leader.
func (g *group) newestConf(l *groupMember) bool {
	return !slices.ContainsFunc(g.members, func(m *groupMember) bool { return m.state.Term > l.state.Term })
}
