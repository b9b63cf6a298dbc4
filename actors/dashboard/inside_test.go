package dashboard

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// What waits for a visitor is bounded, and it is told how much it has missed.
func TestWhatWaitsForAVisitorIsBounded(t *testing.T) {
	v := &visitor{news: make(chan struct{}, 1)}
	for i := range 100 {
		lines := make([]eventView, 10)
		lines[0].N = 5 // a gap of five
		lines[9].Text = fmt.Sprint(i)
		v.offer(fmt.Append(nil, i), lines)
	}
	view, lines := v.take()
	if string(view) != "99" || len(lines) != maxWaiting+1 || lines[maxWaiting].Text != "99" {
		t.Errorf("view %s, %d lines", view, len(lines))
	}
	if lines[0].Kind != "missed" || lines[0].N != 1000-maxWaiting+4*75 {
		t.Errorf("the gap is %+v", lines[0])
	}
	if view, lines := v.take(); view != nil || len(lines) > 0 {
		t.Errorf("it is taken twice: %s, %v", view, lines)
	}
}

// While nobody looks at the page, it does not look at the hosts.
func TestNobodyIsAskedWhileNobodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		h := &hub{visitors: map[*visitor]struct{}{}, cfg: Config{Interval: time.Second, MaxVisitors: 2, Hosts: func() []*actors.Host {
			asked.Add(1)
			return nil
		}}}
		for range 2 {
			one, other := &visitor{news: make(chan struct{}, 1)}, &visitor{news: make(chan struct{}, 1)}
			before := asked.Load()
			h.enter(one)
			h.enter(other)
			time.Sleep(10*time.Second + time.Millisecond) // fake
			if n := asked.Load() - before; n != 11 {
				t.Errorf("in ten seconds the hosts are asked %d times, for two", n)
			}
			h.leave(one)
			time.Sleep(10 * time.Second)
			if n := asked.Load() - before; n != 21 {
				t.Errorf("in twenty seconds the hosts are asked %d times", n)
			}
			h.leave(other)
			before = asked.Load()
			time.Sleep(10 * time.Second)
			if n := asked.Load() - before; n != 0 {
				t.Errorf("nobody looks, and the hosts are asked %d times", n)
			}
		}
	})
}

// Who has failed while it read its disk says no more of it: then its members tell whether it is
// at it still.
func TestWhoHasFailedDoesNotReadItsDisk(t *testing.T) {
	host := &actors.Host{}
	for state, want := range map[actors.MemberState]int{actors.Recovering: 1, actors.Pausing: 1, actors.Running: 0, actors.Faulted: 0, actors.Stopped: 0} {
		m := seen{host: host}
		m.State = state
		s := &sample{opening: map[raftcore.NodeID]read{host.ID(): {1, 2}, 7: {1, 2}}, groups: map[string][]seen{"group": {m}}}
		if ids := s.starting(); len(ids) != 1+want || ids[want] != 7 {
			t.Errorf("%v: those that read are %v", state, ids)
		}
	}
}

func at(ms int) time.Time { return time.UnixMilli(int64(ms)) }

func newEar() *ear { return &ear{journeys: map[earKey]journey{}} }

func TestLatencyIsThatOfWholeJourneys(t *testing.T) {
	e := newEar()
	tell := func(ms int, kind actors.EventKind, index raftcore.Index) {
		e.hear(1, actors.Event{Kind: kind, At: at(ms), Entry: raftcore.EntryID{Term: 1, Index: index}})
	}
	tell(0, actors.EventApplied, 1) // queued before anybody listened
	tell(0, actors.EventQueued, 2)
	tell(3, actors.EventSaved, 2)
	tell(4, actors.EventCommitted, 2)
	tell(6, actors.EventApplied, 2)
	tell(0, actors.EventQueued, 3)
	tell(2, actors.EventCommitted, 3) // by the others' disks
	tell(20, actors.EventApplied, 3)
	tell(0, actors.EventQueued, 4)
	e.hear(1, actors.Event{Kind: actors.EventMissed, Missed: 7})
	tell(50, actors.EventApplied, 4) // its other events may be among the seven
	latency, lines := e.take()
	if want := (latencyView{N: 2, P50: 6, P99: 6, Max: 20, Saved: 3, Committed: 2}); latency == nil || *latency != want {
		t.Errorf("%+v, want %+v", latency, want)
	}
	gaps := 0
	for _, l := range lines {
		if l.Kind == "missed" && l.N == 7 {
			gaps++
		}
	}
	if gaps != 1 || len(lines) != 11 {
		t.Errorf("%d gaps in %+v", gaps, lines)
	}
	if latency, lines := e.take(); latency != nil || lines != nil {
		t.Errorf("it is told twice: %+v, %v", latency, lines)
	}
}

// However much happens, there are so many lines; what is rare is not pushed out by what is
// frequent, and what has no line is counted.
func TestLinesAreBoundedAndCounted(t *testing.T) {
	e := newEar()
	for i := range 5000 {
		e.hear(1, actors.Event{Kind: actors.EventQueued, At: at(i), Entry: raftcore.EntryID{Index: raftcore.Index(i)}})
		if i%50 == 0 {
			e.hear(2, actors.Event{Kind: actors.EventLeader, At: at(i), Leader: 2})
		}
	}
	_, lines := e.take()
	count, sum := map[string]int{}, map[string]int{}
	for _, l := range lines {
		count[l.Kind]++
		sum[l.Kind] += int(l.N)
	}
	if count["queued"] != maxProposals || count["leader"] != maxNews || sum["more"] != 5000-maxProposals || sum["missed"] != 100-maxNews {
		t.Errorf("%v lines, of %v", count, sum)
	}
	for i := range 2 * maxJourneys {
		e.hear(1, actors.Event{Kind: actors.EventQueued, Entry: raftcore.EntryID{Term: 2, Index: raftcore.Index(i)}})
	}
	if len(e.journeys) > maxJourneys {
		t.Errorf("%d journeys are remembered", len(e.journeys))
	}
}

func TestPaces(t *testing.T) {
	all := paces{}
	if p := all.move("x", at(0), 100); p.perSecond() != nil {
		t.Error("a rate after one look")
	}
	all.move("x", at(500), 150)
	if r := all.move("x", at(500), 150).perSecond(); r == nil || *r != 100 {
		t.Errorf("the rate is %v", r)
	}
	for i := range 100 {
		all.move("x", at(1000+500*i), float64(200+100*i))
	}
	if r := all["x"].rate; math.Abs(r-200) > 0.1 {
		t.Errorf("after a while the rate is %v", r)
	}
	if p := all.move("x", at(100_000), 3); p.perSecond() != nil {
		t.Error("it began anew, and has a rate")
	}
	all.sweep()
	if all.sweep(); len(all) > 0 {
		t.Error("what nobody tells is remembered")
	}
	if s := left(30, 10); s == nil || *s != 3 {
		t.Errorf("3 seconds are left, it says %v", s)
	}
	if left(30, 0) != nil || left(30, -1) != nil || left(1e9, 1) != nil {
		t.Error("it never ends, and a time is told")
	}
}

// Each kind of trouble has words, the bad ones first.
func TestTroublesHaveWords(t *testing.T) {
	h := &actors.Host{} // without an ID: 0
	second := raftcore.Instant(time.Second)
	member := func(change func(m *seen)) seen {
		m := seen{host: h, now: 100 * second, Status: actors.Status{State: actors.Running}}
		m.ID, m.Joined, m.Leader, m.Conf = 1, true, 1, raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}
		change(&m)
		return m
	}
	leads := func(m *seen) {
		m.Role = raftcore.Leader
		for id := raftcore.NodeID(2); id <= 3; id++ {
			m.Peers = append(m.Peers, raftcore.PeerStatus{ID: id, CaughtUp: true, Heard: m.now})
		}
	}
	for _, c := range []struct {
		bad  bool
		want string
		is   func(m *seen)
	}{
		{true, "out of service: the storage failed", func(m *seen) { m.State, m.Fault = actors.Faulted, actors.ErrStorageFault }},
		{false, "starts again from its disk", func(m *seen) { m.State, m.Fault = actors.Pausing, actors.ErrMachineFault }},
		{false, "reads its disk", func(m *seen) { m.State = actors.Recovering }},
		{true, "does not answer", func(m *seen) { m.mute = true }},
		{true, "the disk is full", func(m *seen) { m.Fault = fmt.Errorf("%w: %w", actors.ErrStorageFault, persistence.ErrDiskFull) }},
		{true, "applies nothing any more", func(m *seen) { m.Fault = &actors.QuarantineError{Entry: 7} }},
		{true, "has not saved anything for 20s", func(m *seen) { m.Stalled, m.SavingSince = true, 80*second }},
		{false, "the disk takes 2s, so far", func(m *seen) { m.SavingSince = 98 * second }},
		{true, "hears nothing from 2 and 3", func(m *seen) { m.Silent = []raftcore.NodeID{2, 3} }},
		{true, "no leader is known", func(m *seen) { m.Leader = raftcore.Nobody }},
		{false, "waits for a leader that adds or admits it", func(m *seen) { m.Leader, m.Joined = raftcore.Nobody, false }},
		{false, "is no member any more", func(m *seen) { m.Conf.Voters = []raftcore.NodeID{9} }},
		{false, "the voters are being changed, from 1 and 2 to 1, 2 and 3", func(m *seen) { leads(m); m.Conf.Outgoing = []raftcore.NodeID{1, 2} }},
		{false, "heard nothing from member 3 for 5s", func(m *seen) { leads(m); m.Peers[1].CaughtUp, m.Peers[1].Heard = false, 95*second }},
		{false, "witnesses stand in", func(m *seen) { leads(m); m.WitnessesNeeded = true }},
		{false, "handed over to member 2", func(m *seen) { leads(m); m.HandingTo = 2 }},
		{true, "silent voters: 1 of 3", func(m *seen) { leads(m); m.Peers[1].CaughtUp, m.Peers[1].Heard = false, 95*second }},
		{true, "member 2 was removed from its host, and still counts", func(m *seen) { leads(m); m.Tombstones = []raftcore.NodeID{2} }},
	} {
		all := troubles([]seen{member(c.is)})
		found, good := false, false
		for _, x := range all {
			found = found || x.Bad == c.bad && strings.Contains(x.Text, c.want)
			if good = good || !x.Bad; x.Bad && good {
				t.Errorf("the bad is not first: %+v", all)
			}
		}
		if !found {
			t.Errorf("%q is not in %+v", c.want, all)
		}
	}
	for name, is := range map[string]func(m *seen){
		"follows":               func(m *seen) {},
		"leads":                 leads,
		"leads, and all sleeps": func(m *seen) { leads(m); m.Quiescent, m.Peers[1].Heard, m.Peers[1].CaughtUp = true, 1, false },
	} {
		if all := troubles([]seen{member(is)}); len(all) > 0 {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

func TestMembersAreCalledWhatTheyAre(t *testing.T) {
	c := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Outgoing: []raftcore.NodeID{1, 3}, Learners: []raftcore.NodeID{4}, Witnesses: []raftcore.NodeID{2}}
	for id, want := range map[raftcore.NodeID]string{1: "voter", 2: "witness", 3: "leaving voter", 4: "learner", 5: "no member"} {
		if got := kind(c, id); got != want {
			t.Errorf("member %d is called a %s, and is a %s", id, got, want)
		}
	}
}
