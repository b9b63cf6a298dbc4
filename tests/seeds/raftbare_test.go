package seeds

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func pristine(t *testing.T, id raftcore.NodeID) *raftcore.Node {
	t.Helper()
	n, err := raftcore.New(raftcore.Config{ID: id, Boot: 1}, raftcore.Recovered{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestB1_AFreshNodeDoesNothing(t *testing.T) {
	n := pristine(t, 1)
	n.Step(raftcore.Tick{Now: raftcore.Instant(time.Hour)})
	out := drain(n)
	want(t, "it wants something", !out.Empty(), false)
	want(t, "deadline", out.Deadline, 0)
	want(t, "status", n.Status().String(), "node 1 follower term=0 vote=0 leader=0 commit=0 applied=0 saved=0 last=0")
}

func TestB2_ANodeGoesOnFromWhatItsDiskHasKept(t *testing.T) {
	r := raftcore.Recovered{
		HardState: raftcore.HardState{Term: 5, Vote: 2, Cluster: 7, Joined: true}, Incarnation: 9,
		BaseConf: raftcore.ConfigAt{Index: 3, Conf: raftcore.ConfState{Voters: ids(3)}},
		Base:     raftcore.EntryID{Term: 2, Index: 10}, Last: 10,
		Snapshot: raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 2, Index: 10}, Conf: raftcore.ConfigAt{Index: 3, Conf: raftcore.ConfState{Voters: ids(3)}}},
	}
	for i := range raftcore.Index(5) {
		r.Note(&raftcore.Entry{EntryID: raftcore.EntryID{Term: 4, Index: 11 + i}, Kind: raftcore.EntryCommand})
	}
	n, err := raftcore.New(raftcore.Config{ID: 1, Boot: 2}, r)
	if err != nil {
		t.Fatal(err)
	}
	s := n.Status()
	want(t, "term and vote", fmt.Sprint(s.Term, s.Vote), "5 2")
	want(t, "log", fmt.Sprint(s.First, s.Saved, s.Last), "11 15 15")
	want(t, "commit: the snapshot's", s.Commit, 10)
	n.Step(raftcore.Tick{Now: 1})
	out := drain(n)
	want(t, "an election is due", out.Deadline > 1, true)
	want(t, "to be restored", out.Restore != nil && out.Restore.Last == r.Base, true)

	r.HardState.Term = 3 // of an entry that is newer
	if _, err := raftcore.New(raftcore.Config{ID: 1, Boot: 3}, r); err == nil {
		t.Error("a disk that contradicts itself is taken")
	}
}

func TestB3_AGroupIsFoundedOnPristineNodesOnly(t *testing.T) {
	conf := raftcore.ConfState{Voters: ids(3)}
	outcome := func(n *raftcore.Node, cluster raftcore.ClusterID, c raftcore.ConfState) raftcore.Outcome {
		t.Helper()
		n.Step(raftcore.Bootstrap{Tag: 1, Cluster: cluster, Conf: c})
		out := drain(n)
		want(t, "replies", len(out.Replies), 1)
		return out.Replies[0].Outcome
	}
	n := pristine(t, 1)
	want(t, "nobody votes", outcome(n, 7, raftcore.ConfState{}), raftcore.BadConfig)
	want(t, "no name", outcome(n, 0, conf), raftcore.BadConfig)
	want(t, "the first time", outcome(n, 7, conf), raftcore.Done)
	want(t, "again", outcome(n, 7, conf), raftcore.Done)
	want(t, "with others", outcome(n, 7, raftcore.ConfState{Voters: ids(2)}), raftcore.NotPristine)
	want(t, "another one", outcome(n, 8, conf), raftcore.NotPristine)
	want(t, "the position", n.CommitStatus(raftcore.EntryID{Term: 1, Index: 1}), raftcore.CommitInProgress)
	// Who founds it need not be a member: he knows of it, and stands for nothing.
	outside := pristine(t, 9)
	want(t, "outside", outcome(outside, 7, conf), raftcore.Done)
	outside.Step(raftcore.Tick{Now: raftcore.Instant(time.Hour)})
	drain(outside)
	outside.Step(raftcore.Tick{Now: raftcore.Instant(2 * time.Hour)})
	want(t, "messages of who is outside", len(drain(outside).Send), 0)

	// The published example: one node founds a group of three, is asked until that is
	// committed, and takes a command. The others hear of it from that one alone.
	g := newCores(t, 3, 0, func(c *raftcore.Config) { c.Joins = false })
	first := g.node(1)
	first.Step(raftcore.Bootstrap{Cluster: 7, Conf: conf})
	g.settle()
	founding := raftcore.EntryID{Term: 1, Index: 1}
	want(t, "status", first.CommitStatus(founding), raftcore.CommitInProgress)
	for first.CommitStatus(founding) == raftcore.CommitInProgress {
		g.pass(5 * time.Millisecond)
	}
	want(t, "status", first.CommitStatus(founding), raftcore.CommitCommitted)
	g.propose(first, "a command")
	want(t, "log", strings.Join(g.same(), ","), "a command")
}

func TestB4_ACommandGetsAPositionAndItsPayloadStaysOutside(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	payloads := map[raftcore.EntryID]string{}
	for _, command := range []string{"a", "b"} {
		tag := g.tag()
		l.stages = nil
		l.Step(raftcore.Propose{Tag: tag, Watch: true})
		g.settle()
		want(t, "the first stage", l.stages[0].Stage, raftcore.StageQueued)
		payloads[l.stages[0].Entry] = command
	}
	s := l.Status()
	for i, command := range []string{"a", "b"} {
		at := raftcore.EntryID{Term: s.Term, Index: s.Last - 1 + raftcore.Index(i)}
		want(t, "payload", payloads[at], command)
		want(t, "status", l.CommitStatus(at), raftcore.CommitCommitted)
	}
}

func TestB5_AConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	g := newCores(t, 4, 3, nil)
	l := g.settled()
	change := func(c *core, conf raftcore.ConfState, expect raftcore.Index) raftcore.Outcome {
		t.Helper()
		return g.reply(c, func(tag raftcore.Tag) raftcore.Input {
			return raftcore.ChangeConfig{Tag: tag, Conf: conf, Expect: expect}
		}).Outcome
	}
	four := raftcore.ConfState{Voters: ids(4)}
	want(t, "not the leader", change(g.other(l), four, 0), raftcore.NotLeader)
	want(t, "no voters", change(l, raftcore.ConfState{Learners: ids(3)}, 0), raftcore.BadConfig)
	want(t, "voter and learner", change(l, raftcore.ConfState{Voters: ids(3), Learners: ids(1)}, 0), raftcore.BadConfig)
	want(t, "twice", change(l, raftcore.ConfState{Voters: []raftcore.NodeID{1, 1, 2}}, 0), raftcore.BadConfig)
	want(t, "a joint one", change(l, raftcore.ConfState{Voters: ids(3), Outgoing: ids(2)}, 0), raftcore.BadConfig)
	want(t, "another one is expected", change(l, four, 99), raftcore.ConfigChanged)
	g.lost = func(m raftcore.Message) bool { return m.To == 4 } // so that it is not over at once
	l.Step(raftcore.ChangeConfig{Conf: four})
	g.settle()
	want(t, "another one is under way", change(l, raftcore.ConfState{Voters: ids(2)}, 0), raftcore.ChangeInProgress)
	g.heal()
	want(t, "the same again", change(l, four, 0), raftcore.Done)

	// Of a leader that has committed nothing yet nobody knows which members are the newest.
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	n.Step(raftcore.Campaign{})
	for _, pre := range []bool{true, false} {
		out := drain(n)
		for out.Save.Token.Sequence != 0 {
			n.Step(raftcore.Saved{Token: out.Save.Token})
			out = drain(n)
		}
		v := out.Send[0].Body.(*raftcore.VoteRequest)
		hears(n, 2, n.Status().Term, &raftcore.VoteReply{Pre: pre, Granted: true, Campaign: v.Campaign})
	}
	n.Step(raftcore.ChangeConfig{Tag: 1, Conf: four})
	want(t, "role", n.Status().Role, raftcore.Leader)
	want(t, "not ready", drain(n).Replies[0].Outcome, raftcore.NotReady)
}

func TestB6_JointConsensusEndsByItself(t *testing.T) {
	g := newCores(t, 5, 3, nil)
	l := g.settled()
	var seen []string
	l.Trace(func(e raftcore.TraceEvent) {
		if e.Kind == raftcore.TraceConfig {
			seen = append(seen, e.Conf.String())
		}
	})
	// 4 and 5 for the leader and another one, in one call.
	kept := g.other(l)
	target := raftcore.ConfState{Voters: []raftcore.NodeID{kept.cfg.ID, 4, 5}}
	tag := g.tag()
	l.Step(raftcore.ChangeConfig{Tag: tag, Conf: target})
	g.until("it is done", func() bool { return l.replies[tag].Tag != 0 })
	want(t, "outcome", l.replies[tag].Outcome, raftcore.Done)
	join := func(ids []raftcore.NodeID) string { return fmt.Sprint(ids) }
	want(t, "steps", strings.Join(seen, ", "), fmt.Sprintf("voters=[1 2 3] learners=[4 5], voters=%s outgoing=[1 2 3], voters=%s", join(target.Voters), join(target.Voters)))
	g.until("the leader, who is none any more, has stepped down", func() bool { return l.Status().Role != raftcore.Leader })
	next := g.leader(l)
	conf := next.Status().Conf
	want(t, "members", conf.Equal(target), true)

	t.Run("both majorities decide, as long as there are two", func(t *testing.T) {
		g := newCores(t, 5, 3, nil)
		l := g.settled()
		old := func(id raftcore.NodeID) bool { return id <= 3 && id != l.cfg.ID }
		var joint raftcore.Index
		l.Trace(func(e raftcore.TraceEvent) {
			if e.Kind == raftcore.TraceConfig && e.Conf.Joint() && joint == 0 {
				joint = e.Last.Index
				g.lost = func(m raftcore.Message) bool { return old(m.From) || old(m.To) }
			}
		})
		target := raftcore.ConfState{Voters: []raftcore.NodeID{l.cfg.ID, 4, 5}}
		l.Step(raftcore.ChangeConfig{Conf: target})
		g.until("it is joint", func() bool { return joint != 0 })
		g.pass(5 * electionTimeout)
		for _, c := range g.nodes {
			want(t, "committed by the new majority alone", c.Status().Commit >= joint, false)
		}
		g.heal()
		g.until("it is left", func() bool { conf := g.leader().Status().Conf; return conf.Equal(target) })
	})
	t.Run("those who do not vote come and go without it", func(t *testing.T) {
		with := raftcore.ConfState{Voters: target.Voters, Learners: []raftcore.NodeID{l.cfg.ID}}
		joint := false
		next.Trace(func(e raftcore.TraceEvent) { joint = joint || e.Conf != nil && e.Conf.Joint() })
		want(t, "outcome", g.reply(next, func(tag raftcore.Tag) raftcore.Input { return raftcore.ChangeConfig{Tag: tag, Conf: with} }).Outcome, raftcore.Done)
		want(t, "joint", joint, false)
	})
	t.Run("and whoever leads ends what another one has begun", func(t *testing.T) {
		g := newCores(t, 4, 3, nil)
		l := g.settled()
		l.Trace(func(e raftcore.TraceEvent) {
			if e.Kind == raftcore.TraceCommit && e.Conf.Joint() {
				g.isolate(l) // it has committed the joint one, and never says so
			}
		})
		l.Step(raftcore.ChangeConfig{Conf: raftcore.ConfState{Voters: ids(4)}})
		g.until("it is cut off", func() bool { return g.lost != nil })
		next := g.leader(l)
		g.until("the joint one is left", func() bool { s := next.Status(); return !s.Conf.Joint() && s.ConfIndex <= s.Commit })
		want(t, "voters", len(next.Status().Conf.Voters), 4)
	})
}

func TestB7_WhatBecameOfAPosition(t *testing.T) {
	g := newCores(t, 3, 3, func(c *raftcore.Config) { c.SnapshotEntries, c.KeepEntries = 20, -1 })
	l := g.settled()
	g.isolate(l)
	l.Step(raftcore.Propose{Data: []byte("lost")})
	g.settle()
	s := l.Status()
	at := raftcore.EntryID{Term: s.Term, Index: s.Last}
	want(t, "on one disk", l.CommitStatus(at), raftcore.CommitInProgress)
	next := g.leader(l)
	index := g.propose(next, "instead")
	instead := raftcore.EntryID{Term: next.Status().Term, Index: index}
	g.heal()
	g.same()
	want(t, "overwritten", l.CommitStatus(at), raftcore.CommitRejected)
	want(t, "committed", l.CommitStatus(instead), raftcore.CommitCommitted)
	want(t, "not here yet", l.CommitStatus(raftcore.EntryID{Term: instead.Term, Index: index + 100}), raftcore.CommitUnknown)
	for i := range 40 {
		g.propose(next, strconv.Itoa(i))
	}
	want(t, "a snapshot has its place", next.CommitStatus(instead), raftcore.CommitUnknown)
}

// A query is consistent when a majority has answered a heartbeat that was sent after it.
func TestB8_AQueryIsConfirmedByAHeartbeatThatWasSentAfterIt(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	index := g.propose(l, "1")
	g.isolate(l)
	first := g.tag()
	l.Step(raftcore.Read{Tag: first})
	g.settle()
	want(t, "confirmed by nobody", l.reads[first], 0)
	g.heal()
	g.until("it is confirmed", func() bool { return l.reads[first] != 0 })
	want(t, "read at", l.reads[first], index)
	// A leader that another has replaced, without knowing it, confirms nothing.
	g.isolate(l)
	stale := g.tag()
	l.Step(raftcore.Read{Tag: stale})
	g.propose(g.leader(l), "2")
	g.heal()
	g.until("it is answered", func() bool { return l.replies[stale].Tag != 0 || l.reads[stale] != 0 })
	want(t, "read at", l.reads[stale], 0)
	want(t, "outcome", l.replies[stale].Outcome, raftcore.NotLeader)
}

func TestB9_EveryMessageIsHandledAndNonsenseIsCounted(t *testing.T) {
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	drain(n)
	answer := func(b raftcore.Body) string {
		hears(n, 2, n.Status().Term, b)
		for range 5 {
			out := drain(n)
			if out.Save.Token.Sequence != 0 {
				n.Step(raftcore.Saved{Token: out.Save.Token})
			}
			if out.Restore != nil {
				n.Step(raftcore.Applied{Index: out.Restore.Last.Index})
			}
			if len(out.Send) > 0 {
				return fmt.Sprintf("%T", out.Send[0].Body)
			}
		}
		return ""
	}
	want(t, "a vote", answer(&raftcore.VoteRequest{Last: raftcore.EntryID{Term: 1, Index: 1}}), "*raftcore.VoteReply")
	want(t, "entries", answer(&raftcore.AppendRequest{Round: 1}), "*raftcore.AppendReply")
	snapshot := raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 5}, Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: ids(3)}}}
	want(t, "a snapshot", answer(&raftcore.SnapshotRequest{Snapshot: snapshot}), "*raftcore.AppendReply")
	want(t, "a read", answer(&raftcore.ReadRequest{Sequence: 1}), "*raftcore.ReadReply")
	want(t, "refused", n.Status().Refused, 0)
	want(t, "nonsense", answer(&raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 9, Index: 1}, Round: 2}), "")
	n.Step(raftcore.Receive{Message: raftcore.Message{From: 2, To: 3, Term: 1, Cluster: 7, Body: &raftcore.TimeoutNow{}}})
	want(t, "for somebody else", len(drain(n).Send), 0)
	want(t, "refused", n.Status().Refused >= 1, true)
	want(t, "a hand-over", answer(&raftcore.TimeoutNow{}), "*raftcore.VoteRequest")
}

func TestB10_AnElectionCanBeForcedByHand(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	c := g.node(2)
	c.Step(raftcore.Campaign{})
	g.settle()
	want(t, "leader, before any time has passed", g.node(1).Leader(), 2)
	// A leader that is alive is not deposed by it, nor does it depose itself.
	term := c.Status().Term
	for _, c := range g.nodes {
		c.Step(raftcore.Campaign{})
	}
	g.pass(electionTimeout)
	want(t, "leader", g.leader().cfg.ID, 2)
	want(t, "term", g.leader().Status().Term, term)
}

func TestB11_ASnapshotTakesThePlaceOfTheLogAlsoOfWhatIsUnderWay(t *testing.T) {
	g := newCores(t, 3, 3, func(c *raftcore.Config) {
		c.SnapshotEntries, c.KeepEntries, c.MaxWindowBytes = 10, -1, 1
	})
	l := g.settled()
	behind := g.other(l)
	g.isolate(behind)
	for i := range 30 {
		g.propose(l, strconv.Itoa(i))
	}
	first := l.Status().First
	want(t, "compacted", first > 20, true)
	// What was asked of the disk before is gone: to be told that changes nothing.
	l.Step(raftcore.Loaded{Load: raftcore.Load{For: behind.cfg.ID, Term: l.Status().Term, From: 2, To: 5}})
	l.sent = nil
	g.heal()
	g.same()
	sent := 0
	for _, m := range l.sent {
		switch a := m.Body.(type) {
		case *raftcore.SnapshotRequest:
			sent++
		case *raftcore.AppendRequest:
			if m.To == behind.cfg.ID && len(a.Entries) > 0 && a.Entries[0].Index < first {
				t.Errorf("it was sent what is no more: %v", m)
			}
		}
	}
	want(t, "snapshots that were sent", sent, 1)
	want(t, "it begins where the snapshot ends", behind.Status().First >= first, true)

	// One of what was never handed out would be a lie.
	defer func() {
		var broken *raftcore.InvariantError
		if err, _ := recover().(error); !errors.As(err, &broken) || broken.Rule != raftcore.RuleAppliedCommitted {
			t.Errorf("it takes the lie: %v", err)
		}
	}()
	l.Step(raftcore.SnapshotTaken{Index: 999})
}

func TestB12_EverythingThatIsToBeDoneIsData(t *testing.T) {
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	out := drain(n)
	want(t, "the election timeout", out.Deadline > 1, true)
	n.Step(raftcore.Tick{Now: out.Deadline + 1})
	out = drain(n)
	want(t, "a broadcast", len(out.Send), 2)
	campaign := out.Send[0].Body.(*raftcore.VoteRequest).Campaign
	hears(n, 2, 1, &raftcore.VoteReply{Pre: true, Granted: true, Campaign: campaign})
	out = drain(n)
	want(t, "term and vote are saved", fmt.Sprint(out.Save.HardState.Term, out.Save.HardState.Vote), "2 1")
	n.Step(raftcore.Saved{Token: out.Save.Token})
	campaign = drain(n).Send[0].Body.(*raftcore.VoteRequest).Campaign
	hears(n, 2, 2, &raftcore.VoteReply{Granted: true, Campaign: campaign})
	out = drain(n)
	want(t, "entries are saved", len(out.Save.Entries), 1)
	n.Step(raftcore.Saved{Token: out.Save.Token})
	round := out.Send[0].Body.(*raftcore.AppendRequest).Round
	hears(n, 2, 2, &raftcore.AppendReply{Match: 1, Round: round})
	want(t, "entries are applied", len(drain(n).Apply.Entries), 1)
	n.Step(raftcore.Applied{Index: 1})
	n.Step(raftcore.SnapshotTaken{Index: 1})
	out = drain(n)
	want(t, "a snapshot is saved", out.Save.Snapshot != nil, true)
}

func TestB13_WhatWaitsIsMerged(t *testing.T) {
	n := leads(t, nil)
	for range 10 {
		n.Step(raftcore.Propose{Data: []byte("x")})
	}
	out := drain(n)
	want(t, "entries of one Save", len(out.Save.Entries), 10)
	want(t, "messages", len(out.Send), 2)
	for _, m := range out.Send {
		want(t, "entries of one message", len(m.Body.(*raftcore.AppendRequest).Entries), 10)
	}
	// Of two terms one is saved, and not the older one.
	n = bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	hears(n, 2, 4, &raftcore.VoteRequest{Last: raftcore.EntryID{Term: 1, Index: 1}})
	hears(n, 3, 6, &raftcore.VoteRequest{Last: raftcore.EntryID{Term: 1, Index: 1}})
	out = drain(n)
	want(t, "term and vote", fmt.Sprint(out.Save.HardState.Term, out.Save.HardState.Vote), "6 3")
	n.Step(raftcore.Saved{Token: out.Save.Token})
	granted := 0
	for _, m := range drain(n).Send {
		if v, is := m.Body.(*raftcore.VoteReply); is && v.Granted {
			want(t, "granted to", m.To, 3)
			granted++
		}
	}
	want(t, "votes", granted, 1)
}

func TestB14_TheLogIsTermsAndConfigurations(t *testing.T) {
	var r raftcore.Recovered
	conf := raftcore.ConfState{Voters: ids(1)}
	for i := range raftcore.Index(1000) {
		e := raftcore.Entry{EntryID: raftcore.EntryID{Term: 1 + raftcore.Term(i/400), Index: i + 1}, Kind: raftcore.EntryCommand, Time: int64(i)}
		if i%500 == 0 {
			e.Kind, e.Config = raftcore.EntryConfig, &conf
		}
		r.Note(&e)
	}
	want(t, "terms", fmt.Sprint(r.Runs), "[{1 1} {401 2} {801 3}]")
	want(t, "configurations", fmt.Sprint(r.Configs[0].Index, r.Configs[1].Index, len(r.Configs)), "1 501 2")
	want(t, "last", r.Last, 1000)
	r.HardState, r.Incarnation = raftcore.HardState{Term: 3, Cluster: 7, Joined: true}, 1
	n, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1}, r)
	if err != nil {
		t.Fatal(err)
	}
	for index, term := range map[raftcore.Index]raftcore.Term{400: 1, 401: 2, 1000: 3} {
		want(t, "it is in the log", n.CommitStatus(raftcore.EntryID{Term: term, Index: index}), raftcore.CommitInProgress)
	}
	want(t, "what it holds in memory is what it asks for", len(drainAfter(n).Load), 0)
}

// drainAfter lets time begin, and returns what a node wants then.
func drainAfter(n *raftcore.Node) *raftcore.Output {
	n.Step(raftcore.Tick{Now: 1})
	return drain(n)
}

func TestB15_EntriesAreOfKindsAndALeaderOpensItsTermWithOne(t *testing.T) {
	n := leads(t, nil)
	want(t, "opening entry", n.Status().Last, 1)
	g := newCores(t, 3, 3, nil)
	kinds := map[raftcore.EntryKind]int{}
	l := g.settled()
	g.propose(l, "1")
	store := l.store
	entries, err := store.Load(l.group, raftcore.Load{From: 1, To: l.Status().Last, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		kinds[e.Kind]++
	}
	want(t, "kinds", fmt.Sprint(kinds[raftcore.EntryConfig], kinds[raftcore.EntryNoop] > 0, kinds[raftcore.EntryCommand]), "1 true 1")
	// What is of a kind that nobody knows is refused, and not skipped.
	n = bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	hears(n, 2, 2, &raftcore.AppendRequest{Round: 1, Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 2, Index: 1}, Kind: 99}}})
	out := drain(n)
	want(t, "entries", len(out.Save.Entries), 0)
	want(t, "last", n.Status().Last, 0)
}

func TestB16_PositionsAreOrderedByTermAndThenByIndex(t *testing.T) {
	at := func(term raftcore.Term, index raftcore.Index) raftcore.EntryID {
		return raftcore.EntryID{Term: term, Index: index}
	}
	ascending := []raftcore.EntryID{{}, at(1, 1), at(1, 9), at(2, 2), at(2, 3), at(7, 1)}
	for i, a := range ascending {
		for j, b := range ascending {
			want(t, fmt.Sprintf("%v at least %v", a, b), a.AtLeast(b), i >= j)
		}
	}
	// There is no invalid position: what is refused is a Reply that says why.
	r := raftcore.Reply{Tag: 1, Outcome: raftcore.NotLeader, Leader: 2}
	want(t, "a refusal names its reason", strings.Contains(r.String(), raftcore.NotLeader.String()), true)
}

func TestB17_AFollowerThatLagsIsFoundInOneStep(t *testing.T) {
	rejected := func(g *cores, c *core) (n int) {
		for _, m := range c.sent {
			if a, is := m.Body.(*raftcore.AppendReply); is && a.Rejected {
				n++
			}
		}
		c.sent = nil
		return n
	}
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	behind := g.other(l)
	g.isolate(behind)
	for i := range 100 {
		g.propose(l, strconv.Itoa(i))
	}
	behind.sent = nil
	g.heal()
	g.same()
	want(t, "rejections before a log that lacks a hundred goes on", rejected(g, behind) <= 1, true)

	// A tail that went astray is left in one step, too, however long it is.
	old := g.leader()
	g.isolate(old)
	for range 100 {
		old.Step(raftcore.Propose{Data: []byte("astray")})
	}
	g.settle()
	for range 100 {
		g.propose(g.leader(old), "instead")
	}
	old.sent = nil
	g.heal()
	g.same()
	if n := rejected(g, old); n > 2 {
		t.Errorf("%d rejections before a log that went astray goes on", n)
	}
}

func TestB18_AMessageIsAsLongAsIsAllowed(t *testing.T) {
	const bytes = 1000
	g := newCores(t, 3, 3, func(c *raftcore.Config) { c.MaxAppendBytes = bytes })
	l := g.settled()
	for range 50 {
		l.Step(raftcore.Propose{Data: make([]byte, 100)})
	}
	l.sent = nil
	g.settle()
	messages := 0
	for _, m := range l.sent {
		if a, is := m.Body.(*raftcore.AppendRequest); is && len(a.Entries) > 1 {
			size := 0
			for i := range a.Entries {
				size += a.Entries[i].Size()
			}
			if messages++; size > bytes {
				t.Errorf("%d bytes in one message", size)
			}
		}
	}
	want(t, "it takes several", messages > 5, true)
	want(t, "all arrive", len(g.same()), 50)
	// And who carries a message may leave the end of it out: it is sent again.
	g.post = func(mail []raftcore.Message) []raftcore.Message {
		for _, m := range mail {
			if a, is := m.Body.(*raftcore.AppendRequest); is && len(a.Entries) > 1 {
				a.Entries = a.Entries[:1]
			}
		}
		return mail
	}
	for range 20 {
		l.Step(raftcore.Propose{Data: []byte("x")})
	}
	g.pass(electionTimeout)
	want(t, "all arrive", len(g.same()), 70)
}

func TestB19_LearnersFollowAndDoNotVote(t *testing.T) {
	g := newCores(t, 3, 2, nil)
	l := g.settled()
	learner := g.node(3)
	conf := raftcore.ConfState{Voters: ids(2), Learners: []raftcore.NodeID{3}}
	want(t, "outcome", g.reply(l, func(tag raftcore.Tag) raftcore.Input { return raftcore.ChangeConfig{Tag: tag, Conf: conf} }).Outcome, raftcore.Done)
	g.propose(l, "1")
	g.until("it has everything", func() bool { return slices.Equal(learner.log, []string{"1"}) })
	// With one voter of two nothing is committed, whatever the learner has.
	other := g.other(l, learner)
	g.crash(other)
	index := l.Status().Last + 1
	l.Step(raftcore.Propose{Data: []byte("2")})
	g.pass(10 * time.Millisecond)
	want(t, "the learner has it", learner.Status().Last, index)
	want(t, "committed", l.Status().Commit, index-1)
	// And without both it does not stand for election.
	g.crash(l)
	learner.sent = nil
	g.pass(20 * electionTimeout)
	want(t, "messages", len(learner.sent), 0)
}

func TestB20_AVoteThatWouldOnlyDisturbIsNotHeard(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	follower := g.other(l)
	before := l.Status()
	follower.Step(raftcore.Receive{Message: raftcore.Message{
		From: g.other(l, follower).cfg.ID, To: follower.cfg.ID, Term: before.Term + 10, Cluster: 7,
		Incarnation: g.other(l, follower).Status().Incarnation,
		Body:        &raftcore.VoteRequest{Last: raftcore.EntryID{Term: before.Term, Index: 99}, Campaign: 1},
	}})
	g.pass(electionTimeout)
	want(t, "leader and term", fmt.Sprint(g.leader().cfg.ID, g.leader().Status().Term), fmt.Sprint(l.cfg.ID, before.Term))
}

func TestB21_EverythingCanBeLookedAt(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	g.propose(l, "1")
	g.pass(50 * time.Millisecond)
	s, f := l.Status(), g.other(l).Status()
	want(t, "id", s.ID, l.cfg.ID)
	want(t, "roles", fmt.Sprint(s.Role, f.Role), "leader follower")
	want(t, "terms", s.Term, f.Term)
	want(t, "voted for", s.Vote, s.ID)
	want(t, "leader", f.Leader, s.ID)
	want(t, "log", fmt.Sprint(s.First, s.Last, s.Saved, s.Commit, s.Applied), fmt.Sprint(1, s.Last, s.Last, s.Last, s.Last))
	want(t, "members", fmt.Sprint(s.Conf.Voters), fmt.Sprint(ids(3)))
	want(t, "peers", len(s.Peers), 2)
	for _, p := range s.Peers {
		want(t, "match", p.Match, s.Last)
		want(t, "state", p.State.String(), "replicate")
	}
	want(t, "incarnations differ", s.Incarnation != 0 && s.Incarnation != f.Incarnation, true)
}

func TestB22_WhoLostItsDiskComesBackAndCountsWhenItIsRepaired(t *testing.T) {
	for _, snapshot := range []int{0, 10} {
		t.Run(fmt.Sprintf("a snapshot every %d entries", snapshot), func(t *testing.T) {
			g := newCores(t, 3, 3, func(c *raftcore.Config) { c.SnapshotEntries, c.KeepEntries = snapshot, -1 })
			l := g.settled()
			for i := range 25 {
				g.propose(l, strconv.Itoa(i))
			}
			lost := g.other(l)
			life := lost.Status().Incarnation
			g.crash(lost)
			lost.disk, lost.cfg.Joins, lost.images = persistence.Memory(), true, map[raftcore.Index][]string{}
			g.start(lost)
			want(t, "another life", lost.Status().Incarnation != life, true)
			want(t, "it counts", lost.Status().Joined, false)
			// Before it is repaired it votes for nobody.
			lost.sent = nil
			lost.Step(raftcore.Receive{Message: raftcore.Message{From: l.cfg.ID, To: lost.cfg.ID, Term: 99, Cluster: 7, Incarnation: l.Status().Incarnation, Body: &raftcore.VoteRequest{Last: raftcore.EntryID{Term: 98, Index: 99}}}})
			g.act(lost)
			for _, m := range lost.sent {
				if v, is := m.Body.(*raftcore.VoteReply); is && v.Granted {
					t.Fatal("it votes, and does not know whether it has voted before")
				}
			}
			g.propose(g.leader(), "more")
			g.until("it counts", func() bool { return lost.Status().Joined })
			want(t, "commands", len(g.same()), 26)
			want(t, "its own", len(lost.log), 26)
		})
	}
}

func TestB23_ScenariosAndRandomOnes(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprintf("a group of %d is founded, elects, and takes a command", n), func(t *testing.T) {
			g := newCores(t, n, n, nil)
			g.propose(g.settled(), "1")
			for _, c := range g.nodes {
				g.until("it is there", func() bool { return slices.Equal(c.log, []string{"1"}) })
			}
		})
	}
	t.Run("all restart", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		g.propose(g.settled(), "1")
		for _, c := range g.nodes {
			g.restart(c)
		}
		g.propose(g.leader(), "2")
		want(t, "log", strings.Join(g.same(), " "), "1 2")
	})
	t.Run("who was cut off for long disturbs nobody", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		l := g.settled()
		term := l.Status().Term
		g.isolate(g.other(l))
		g.pass(50 * electionTimeout)
		g.heal()
		g.pass(5 * electionTimeout)
		want(t, "leader and term", fmt.Sprint(g.leader().cfg.ID, g.leader().Status().Term), fmt.Sprint(l.cfg.ID, term))
	})
	// A seed that fails can be run again: go test ./tests/sim -run TestSim -seed N.
	random := func(what string, change func(*rafttest.Plan), happened func(rafttest.Stats) int) {
		t.Run(what, func(t *testing.T) {
			var sum rafttest.Stats
			r := rand.New(rand.NewPCG(23, 23))
			for n := 0; n < 3 || happened(sum) == 0 && n < 50; n++ {
				plan := rafttest.DrawPlan(r.Uint64())
				plan.Voters, plan.Faults = max(plan.Voters, 3), 5*time.Second
				plan.Crash, plan.Partition, plan.Rot, plan.Change, plan.Transfer = 0, 0, 0, 0, 0 // but for what follows
				change(&plan)
				stats, err := rafttest.Run(plan, nil)
				if err != nil {
					t.Fatalf("%v: %v", plan, err)
				}
				sum = sum.Add(stats)
			}
			if happened(sum) == 0 {
				t.Errorf("it never happened: %+v", sum)
			}
		})
	}
	random("commands, pipelined", func(p *rafttest.Plan) { p.Proposals, p.Burst = 300, 20 }, func(s rafttest.Stats) int { return s.Acknowledged })
	random("a network that cannot be relied on", func(p *rafttest.Plan) { p.Loss, p.Duplicate, p.Straggler = 0.1, 0.1, 0.05 }, func(s rafttest.Stats) int { return s.Lost })
	random("nodes that restart", func(p *rafttest.Plan) { p.Crash, p.Restart = 300*time.Millisecond, 100*time.Millisecond }, func(s rafttest.Stats) int { return s.Crashes })
	random("disks that are lost, and repaired", func(p *rafttest.Plan) {
		p.Crash, p.Restart, p.Wipe, p.Damage = 300*time.Millisecond, 100*time.Millisecond, 0.5, 0.3
	}, func(s rafttest.Stats) int { return s.Repaired })
	random("the same with snapshots", func(p *rafttest.Plan) {
		p.Crash, p.Restart, p.Wipe, p.Snapshots, p.Keep = 300*time.Millisecond, 100*time.Millisecond, 0.5, 10, -1
	}, func(s rafttest.Stats) int { return min(s.Repaired, s.Installs) })
	random("members that come and go", func(p *rafttest.Plan) { p.Change, p.Spares = 200*time.Millisecond, 2 }, func(s rafttest.Stats) int { return s.ChangesDone })
	random("logs that go astray", func(p *rafttest.Plan) {
		p.Partition, p.Heal, p.Proposals, p.Burst = 300*time.Millisecond, 500*time.Millisecond, 500, 10
	}, func(s rafttest.Stats) int { return s.Overwritten })
}
