package raftcore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// The trace: one event for every transition, enough to check a run against a
// specification.

// traced has every event of a stage written down.
func (n *stage) traced() *[]TraceEvent {
	events := &[]TraceEvent{}
	n.node.Trace(func(e TraceEvent) {
		if e.Message != nil {
			m := cloneMessage(e.Message)
			e.Message = &m
		}
		*events = append(*events, e)
	})
	return events
}

// plot tells events in short: kind, role and term, and what else there is.
func plot(events []TraceEvent) []string {
	var all []string
	for _, e := range events {
		s := fmt.Sprintf("%v %v %d commit=%d saved=%d last=%v", e.Kind, e.Role, e.Term, e.Commit, e.Saved, e.Last)
		if e.Message != nil {
			s = fmt.Sprintf("%v %v", e.Kind, e.Message)
		}
		all = append(all, s)
	}
	return all
}

func tells(t *testing.T, events *[]TraceEvent, want ...string) {
	t.Helper()
	if got := plot(*events); !slices.Equal(got, want) {
		t.Fatalf("the trace is\n\t%q\nand should be\n\t%q", got, want)
	}
	*events = nil
}

func TestATraceOfAnElection(t *testing.T) {
	n := start(t, given{Log: terms(1)})
	events := n.traced()
	tells(t, events, "init follower 1 commit=0 saved=1 last=1/1")
	n.timesOut()
	tells(t, events, "role pre-candidate 1 commit=0 saved=1 last=1/1",
		"send 1->2 term=1 PreVoteRequest last=1/1", "send 1->3 term=1 PreVoteRequest last=1/1")
	n.granted(2)
	tells(t, events, "receive 2->1 term=1 PreVoteReply granted", "role candidate 2 commit=0 saved=1 last=1/1")
	n.saves()
	tells(t, events, "saved candidate 2 commit=0 saved=1 last=1/1",
		"send 1->2 term=2 VoteRequest last=1/1", "send 1->3 term=2 VoteRequest last=1/1")
	n.granted(2)
	tells(t, events, "receive 2->1 term=2 VoteReply granted", "role leader 2 commit=0 saved=1 last=1/1", "append leader 2 commit=0 saved=1 last=2/2",
		"send 1->2 term=2 AppendRequest prev=1/1 commit=0 round=1 [2/2 noop]", "send 1->3 term=2 AppendRequest prev=1/1 commit=0 round=2 [2/2 noop]")
	n.saves()
	tells(t, events, "saved leader 2 commit=0 saved=2 last=2/2")
	n.hears(2, 2, &AppendReply{Match: 2, Round: 1})
	if got := plot(*events); len(got) < 2 || got[0] != "receive 2->1 term=2 AppendReply match=2 round=1" || got[1] != "commit leader 2 commit=2 saved=2 last=2/2" {
		t.Errorf("%q", got)
	}
}

func TestATraceOfAFollower(t *testing.T) {
	n := followed(t, given{})
	events := n.traced()
	*events = nil
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 1), Commit: 2, Round: 1})
	tells(t, events, `receive 2->1 term=1 AppendRequest prev=1/2 commit=2 round=1 [1/3 ""]`, "append follower 1 commit=2 saved=2 last=1/3")
	n.saves()
	tells(t, events, "saved follower 1 commit=2 saved=3 last=1/3", "send 1->2 term=1 AppendReply match=3 round=1")
	n.hears(2, 1, &AppendRequest{Prev: id(1, 3), Commit: 3, Round: 1})
	tells(t, events, "receive 2->1 term=1 AppendRequest prev=1/3 commit=3 round=1", "commit follower 1 commit=3 saved=3 last=1/3")
	n.hears(3, 2, &AppendRequest{Prev: id(1, 3), Entries: commands(4, 2), Commit: 3, Round: 1})
	got := plot(*events)
	if len(got) < 3 || got[1] != "role follower 2 commit=3 saved=3 last=1/3" || got[len(got)-1] != "append follower 2 commit=3 saved=3 last=2/4" {
		t.Errorf("%q", got)
	}
}

func TestATraceOfAChangeOfTheMembers(t *testing.T) {
	n := lead(t, given{Learners: voters(4)})
	events := n.traced()
	*events = nil
	n.steps(ChangeConfig{Conf: ConfState{Voters: voters(1, 2, 3)}})
	at := slices.IndexFunc(*events, func(e TraceEvent) bool { return e.Kind == TraceConfig })
	if at < 0 || (*events)[at].Conf.Contains(4) {
		t.Errorf("%q", plot(*events))
	}
}

func TestATraceOfAFoundation(t *testing.T) {
	n := start(t, given{Pristine: true})
	events := n.traced()
	n.steps(Bootstrap{Cluster: cluster, Conf: ConfState{Voters: voters(1, 2, 3)}})
	got := map[TraceKind]bool{}
	for _, e := range *events {
		got[e.Kind] = true
	}
	if !got[TraceAppend] || !got[TraceConfig] {
		t.Errorf("an entry was appended, and a configuration is in force: %q", plot(*events))
	}
}

// The state of a message that was received is the one before it.
func TestAReceivedMessageComesWithTheStateBeforeIt(t *testing.T) {
	n := start(t, given{Log: terms(1, 1)})
	events := n.traced()
	*events = nil
	n.hears(2, 5, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 5), Commit: 3, Round: 1})
	e := (*events)[0]
	if e.Kind != TraceReceive || e.Term != 1 || e.Leader != Nobody || e.Commit != 0 || e.Last != id(1, 2) || e.Message.Term != 5 {
		t.Errorf("%+v", e)
	}
}

func TestATraceCanBeEnded(t *testing.T) {
	n := lead(t, given{})
	events := n.traced()
	n.node.Trace(nil)
	*events = nil
	n.steps(Propose{})
	if len(*events) > 0 {
		t.Errorf("%q", plot(*events))
	}
}

func TestATraceThatIsOffAllocatesNothing(t *testing.T) {
	f := followed(t, given{})
	follower := bare{node: f.node, now: f.now}
	heard := 0
	f.node.Trace(func(TraceEvent) { heard++ })
	f.node.Trace(nil)
	heard = 0
	request := &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 1}
	message := f.message(2, 1, request)
	answer := func() {
		follower.now = follower.now.Add(heartbeatInterval)
		request.Round++
		follower.node.Step(Tick{Now: follower.now})
		follower.node.Step(Receive{message})
		follower.node.Drain(&follower.out)
		if len(follower.out.Send) != 1 {
			t.Fatalf("the follower sends %v", follower.out.Send)
		}
	}
	answer()
	answer()
	if got := allocs(answer); got > 0 || heard > 0 {
		t.Errorf("%.3f allocations for a heartbeat, and %d events", got, heard)
	}
}

func TestTraceKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for k := TraceInit; k <= TraceReceive; k++ {
		if s := k.String(); strings.HasPrefix(s, "trace") || s == "none" || seen[s] {
			t.Errorf("%d is %q", k, s)
		} else {
			seen[s] = true
		}
	}
	if TraceKind(99).String() != "trace-99" {
		t.Error(TraceKind(99))
	}
}

// clerk follows the trace of one node, and demands that every event explains
// what has changed since the one before it.
type clerk struct {
	t    *testing.T
	seed uint64
	last map[NodeID]TraceEvent
	term map[NodeID]Term // whatever the restarts
	seen map[TraceKind]int
}

func (k *clerk) follows(m *groupMember) {
	m.node.Trace(func(e TraceEvent) { k.event(m, e) })
}

func (k *clerk) event(m *groupMember, e TraceEvent) {
	k.t.Helper()
	bad := func(why string) {
		k.t.Helper()
		k.t.Fatalf("seed %d: %s:\n\t%q\nafter\n\t%q", k.seed, why, plot([]TraceEvent{e}), plot([]TraceEvent{k.last[m.id]}))
	}
	before, known := k.last[m.id]
	k.seen[e.Kind]++
	is := func(kinds ...TraceKind) bool { return slices.Contains(kinds, e.Kind) }
	switch {
	case e.Node != m.id:
		bad("of another node")
	case is(TraceInit) == known:
		bad("a trace begins with init, once")
	case e.Term < k.term[m.id]:
		bad("the term falls")
	case e.Saved > e.Last.Index || e.Commit > e.Last.Index || e.Base.Index > e.Commit:
		bad("base, commit, saved and last are in disorder")
	case e.Conf == nil || len(e.Conf.Voters) == 0:
		bad("no configuration")
	case (e.Message != nil) != is(TraceSend, TraceReceive):
		bad("a message, or none")
	}
	if known {
		switch {
		case e.Commit < before.Commit:
			bad("the commit index falls")
		case e.Commit != before.Commit && !is(TraceCommit, TraceSnapshot):
			bad("the commit index has changed")
		case (e.Role != before.Role || e.Term != before.Term || e.Leader != before.Leader) && !is(TraceRole):
			bad("role, term or leader have changed")
		case e.Last != before.Last && !is(TraceAppend, TraceSnapshot, TraceConfig):
			bad("the log has changed")
		case e.Saved > before.Saved && !is(TraceSaved):
			bad("more is saved")
		case e.Saved < before.Saved && !is(TraceAppend, TraceSnapshot, TraceConfig):
			bad("less is saved")
		case e.Base != before.Base && !is(TraceCompact, TraceSnapshot):
			bad("the base has changed")
		}
	}
	switch {
	case is(TraceReceive) && e.Message.To != m.id, is(TraceSend) && (e.Message.From != m.id || e.Message.Term != e.Term):
		bad("not its message")
	case is(TraceSend):
		switch b := e.Message.Body.(type) {
		case *VoteReply:
			if b.Granted && !b.Pre && e.Vote != e.Message.To {
				bad("a vote for another")
			}
		case *VoteRequest:
			if b.Last != e.Last || b.Pre != (e.Role == PreCandidate) || !b.Pre && e.Vote != m.id {
				bad("not a candidacy of this node")
			}
		case *AppendRequest:
			if e.Role != Leader || b.Commit > e.Commit {
				bad("not a leader's")
			}
		case *AppendReply:
			if b.Match > e.Saved {
				bad("an acknowledgement of what the disk may lose")
			}
		}
	}
	e.Message = nil // it is valid until now
	k.last[m.id], k.term[m.id] = e, e.Term
}

func TestEveryEventOfATraceExplainsWhatHasChanged(t *testing.T) {
	seen := map[TraceKind]int{}
	for seed := range uint64(30) {
		c := newCourt(t, rand.New(rand.NewPCG(seed, 10)), nil)
		k := &clerk{t: t, seed: seed, last: map[NodeID]TraceEvent{}, term: map[NodeID]Term{}, seen: seen}
		for _, m := range c.members {
			k.follows(m)
		}
		boots := []uint64{1, 1, 1}
		for range 300 {
			c.act()
			for i, m := range c.members {
				if m.cfg.Boot != boots[i] { // it was restarted
					boots[i] = m.cfg.Boot
					delete(k.last, m.id)
					k.follows(m)
				}
			}
		}
		c.calms(4 * electionTimeout)
	}
	for _, kind := range []TraceKind{TraceInit, TraceRole, TraceAppend, TraceCommit, TraceSaved, TraceSend, TraceReceive} {
		if seen[kind] == 0 {
			t.Errorf("the test is too tame: no %v", kind)
		}
	}
}

// Who waits for a leader that can answer reads is told when it can.
func TestTheStatusChangesWhenALeaderIsReadable(t *testing.T) {
	n := start(t, given{})
	n.timesOut()
	n.granted(2)
	n.saves()
	n.granted(2)
	n.saves()
	if s := n.node.Status(); s.Role != Leader || s.Readable {
		t.Fatalf("it is %v, readable: %v", s, s.Readable)
	}
	s := n.node.Status()
	n.node.Step(Receive{n.message(2, s.Term, &AppendReply{Match: s.Last, Round: 1})})
	var out Output
	n.node.Drain(&out)
	if !n.node.Status().Readable || !out.StatusChanged {
		t.Errorf("readable: %v, and that it has changed is said: %v", n.node.Status().Readable, out.StatusChanged)
	}
}
