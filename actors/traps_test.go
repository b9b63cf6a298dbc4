package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// Scenarios of TRAPS.md inside single actors: in a whole system a second line of
// defence hides that the first is gone.

// idle is an actor that never runs: what it is told stays in its mailbox.
func idle(bound int) ref {
	box := newMailbox(bound)
	box.scheduled.Store(true)
	return ref{box: box}
}

// manyCalls makes n proposals that note how they end.
func manyCalls(n int, ends *[]error) (all []*call) {
	for range n {
		all = append(all, &call{operation: Propose, ctx: context.Background(), answer: func(o outcome) { *ends = append(*ends, o.err) }})
	}
	return all
}

// wantBusy checks that all calls over a bound have been refused, and no others.
func wantBusy(t *testing.T, ends []error, refused int) {
	t.Helper()
	busy := func(err error) bool { return errors.Is(err, ErrBusy) }
	if len(ends) != refused || slices.ContainsFunc(ends, func(err error) bool { return !busy(err) }) {
		t.Errorf("the calls ended with %v; %d should be refused, for want of room", ends, refused)
	}
}

func TestP5_AMailboxTakesNoMoreRequestsThanItsBound(t *testing.T) {
	var ends []error
	r := idle(3)
	for _, c := range manyCalls(10, &ends) {
		r.tell(c)
		r.tell(raftcore.Applied{}) // Raft's own traffic is not refused
	}
	wantBusy(t, ends, 7)
	if n := r.box.UserMessageCount(); n != 3+10 {
		t.Errorf("%d messages wait", n)
	}
}

func TestP5_APeerWaitsForNoMoreForwardsThanItsBound(t *testing.T) {
	var ends []error
	p := &peer{host: &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}, MaxPending: 3}}, asked: map[uint64]asked{}}
	for _, c := range manyCalls(10, &ends) {
		p.receive(&forward{call: c})
	}
	wantBusy(t, ends, 7)
	if len(p.asked) != 3 || len(p.open[LaneLog].packet.Requests) != 3 {
		t.Errorf("%d forwards wait, %d are sent", len(p.asked), len(p.open[LaneLog].packet.Requests))
	}
}

func TestP5_ANodeHoldsNoMoreCallsThanItsBound(t *testing.T) {
	table := calls{limit: 3}
	for round := range 3 {
		var tags []raftcore.Tag
		for _, c := range manyCalls(10, new([]error)) {
			if tag := table.add(c); tag != 0 {
				tags = append(tags, tag)
			}
		}
		if len(tags) != 3 {
			t.Fatalf("round %d: it took %d calls", round, len(tags))
		}
		for _, tag := range tags {
			table.take(tag)
		}
	}
}

// Over the bound the oldest response goes.
func TestP5_ResponsesThatWaitForTheLinkAreBounded(t *testing.T) {
	p := &peer{host: &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}}, unsent: []GroupResponse{{ID: 1}}}
	const last = maxUnsent + 100
	for id := range uint64(last) {
		p.receive(GroupResponse{ID: id + 1})
	}
	if n := len(p.unsent); n != maxUnsent || p.unsent[n-1].ID != last {
		t.Errorf("%d responses wait, the newest is %d", n, p.unsent[n-1].ID)
	}
}

// A node that is being stopped may still order something, after the member has
// closed the group and even after its successor has opened it: that must neither
// reach the disk nor break the batch that it lies in.
func TestP7_TheLogDropsOrdersOfANodeThatWasStopped(t *testing.T) {
	store, err := persistence.Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	l := &log{host: &Host{cfg: HostConfig{Runtime: &dispatcher{}}}, store: store, open: map[persistence.GroupID]uint64{}}
	open := func() (o persistence.Opened, to *closeGroup) {
		order := &openGroup{name: "g", reply: func(r *groupOpened) {
			if o = r.opened; r.err != nil {
				t.Fatal(r.err)
			}
		}}
		l.receive(nil, order)
		l.openGroups(nil)
		return o, &closeGroup{order}
	}
	order := func(from ref, o persistence.Opened, term raftcore.Term) *saveOrder {
		return &saveOrder{from: from, group: o.Group, save: raftcore.Save{
			Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: raftcore.HardState{Term: term},
		}}
	}
	dead, alive := idle(0), idle(0)
	first, closeFirst := open()
	l.receive(nil, closeFirst)
	l.receive(nil, order(dead, first, 8))
	second, closeSecond := open()
	l.receive(nil, order(dead, first, 9))
	l.receive(nil, order(alive, second, 1))
	l.flush(nil)
	if l.failed != nil {
		t.Errorf("it broke the store: %v", l.failed)
	}
	if n := dead.box.UserMessageCount(); n > 0 {
		t.Errorf("the stopped node was told %v", dead.box.facts)
	}
	if got, want := alive.box.facts, []any{raftcore.Saved{Token: raftcore.Token{Boot: second.Boot, Sequence: 1}}}; !slices.Equal(got, want) {
		t.Errorf("its successor was told %v", got)
	}
	l.receive(nil, closeFirst) // again: it closes what it opened, and not its successor
	l.receive(nil, closeSecond)
	if third, _ := open(); third.Recovered.HardState.Term != 1 {
		t.Errorf("the disk knows term %d", third.Recovered.HardState.Term)
	}
}

// overhearing is the context of an actor that notes what is sent.
type overhearing struct {
	actor.Context
	sent []any
}

func (c *overhearing) Send(_ *actor.PID, message any) { c.sent = append(c.sent, message) }

// moody is a store whose first Save fails, and the others do not: one that would say
// that all is well if it were asked again.
type moody struct {
	persistence.Store
	saves int
}

func (m *moody) Save(saves []persistence.Save) error {
	if m.saves++; m.saves == 1 {
		return fmt.Errorf("%w: input/output error", persistence.ErrPoisoned)
	}
	return m.Store.Save(saves)
}

// After a failed Save nothing is saved any more, nothing acknowledged, and nobody
// left waiting who opens a group.
func TestD6D14_ALogThatHasFailedSavesNothingAndAnswers(t *testing.T) {
	memory, err := persistence.Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	store, ctx := &moody{Store: memory}, &overhearing{}
	l := &log{host: &Host{cfg: HostConfig{Runtime: &dispatcher{}}}, store: store, open: map[persistence.GroupID]uint64{}}
	var answers []*groupOpened
	open := func(name string) {
		l.receive(ctx, &openGroup{name: name, reply: func(o *groupOpened) { answers = append(answers, o) }})
		l.openGroups(ctx)
	}
	node := idle(0)
	save := func(sequence uint64) {
		o := answers[0].opened
		l.receive(ctx, &saveOrder{from: node, group: o.Group, save: raftcore.Save{
			Token: raftcore.Token{Boot: o.Boot, Sequence: sequence}, HardState: raftcore.HardState{Term: 1},
		}})
	}
	open("g")
	save(1)
	open("h") // which has the log save first
	open("i")
	save(2)
	l.flush(ctx)
	if store.saves != 1 {
		t.Errorf("after a Save that failed there were %d more", store.saves-1)
	}
	if n := node.box.UserMessageCount(); n > 0 {
		t.Errorf("the node was told %v", node.box.facts)
	}
	if len(answers) != 3 || answers[0].err != nil || !errors.Is(answers[1].err, persistence.ErrPoisoned) || !errors.Is(answers[2].err, persistence.ErrPoisoned) {
		t.Errorf("who opened a group was told %+v", answers)
	}
	if len(ctx.sent) != 1 {
		t.Errorf("the host was told %v", ctx.sent)
	}
}

// A log that is gone opens no group, whether it was asked before or after.
func TestD14_WhoAsksALogThatIsGoneIsToldSo(t *testing.T) {
	r, told := idle(0), 0
	order := &openGroup{name: "g", reply: func(o *groupOpened) {
		if told++; !errors.Is(o.err, persistence.ErrClosed) {
			t.Errorf("it was told %v", o.err)
		}
	}}
	r.tell(order)
	r.box.close()
	if told != 1 {
		t.Errorf("who asked before was told %d times", told)
	}
	r.tell(order)
	if told != 2 {
		t.Error("who asks afterwards is told nothing")
	}
}

// The peers carry a node's messages out while it goes on, into other campaigns
// and other terms.
func TestR11_TheNodeDoesNotTouchMessagesThatThePeersHold(t *testing.T) {
	to := idle(0)
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults(), epoch: time.Now().Add(-time.Hour)}
	h.peers.Store(h.nextPeers(map[raftcore.NodeID]string{2: "two", 3: "three"}))
	h.peer(2).put(to)
	h.peer(3).put(idle(0))
	cfg := h.cfg.Raft
	cfg.Boot = 1
	core, err := raftcore.New(cfg, raftcore.Recovered{Incarnation: 5})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{group: &Group{board: newBoard("g")}, host: h, self: idle(0), log: idle(0), machine: idle(0), core: core}
	now := raftcore.Instant(time.Hour)
	wait := func(inputs ...raftcore.Input) {
		now = now.Add(10 * time.Second)
		n.core.Step(raftcore.Tick{Now: now})
		for _, in := range inputs {
			n.core.Step(in)
		}
		n.drain()
	}
	said := func() (all []string) {
		for _, m := range to.box.facts {
			for i := range m.(*outbound).messages {
				m := &m.(*outbound).messages[i]
				all = append(all, fmt.Sprintf("%v %+v", m, m.Body))
			}
		}
		return all
	}
	wait(raftcore.Bootstrap{Cluster: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}})
	n.core.Step(raftcore.Saved{Token: raftcore.Token{Boot: 1, Sequence: 1}})
	var before []string
	for range 5 { // one campaign after the other
		wait()
		after := said()
		if len(after) <= len(before) {
			t.Fatalf("it asks nobody: %v", core)
		}
		if !slices.Equal(after[:len(before)], before) {
			t.Fatalf("what the peer holds has become\n\t%q\nand was\n\t%q", after, before)
		}
		before = after
	}
}
