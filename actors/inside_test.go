package actors

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// picky is a machine that panics when it is asked.
type picky struct{}

func (picky) Apply(Entry) []byte                            { return nil }
func (picky) Query(context.Context, []byte) ([]byte, error) { panic("what a question") }
func (picky) Snapshot() (io.WriterTo, error)                { return nil, errors.New("no") }
func (picky) Restore(io.Reader) error                       { return errors.New("no") }

// The first of two reads is the one at which the machine panics.
func TestC5_AQueryThatPanicsLeavesNoOtherReadWaiting(t *testing.T) {
	m := &machine{host: &Host{cfg: HostConfig{Runtime: &dispatcher{}}}, box: newMailbox(0), sm: picky{}}
	var ends []error
	read := func() *call {
		return &call{operation: Read, ctx: context.Background(), answer: func(o outcome) { ends = append(ends, o.err) }}
	}
	w := &work{working: new(atomic.Int64), reads: []*call{read(), read()}}
	m.box.batch.Messages = []any{w}
	func() {
		defer func() { _ = recover() }()
		m.do(w)
	}()
	m.box.abandonBatch()
	if len(ends) != 2 || !errors.Is(ends[0], ErrRejected) || !errors.Is(ends[1], ErrRejected) {
		t.Errorf("2 reads waited; they end with %v", ends)
	}
}

// The clock is asked for one instant at a time. What is put off costs the node nothing, and
// what is brought forward is not missed, whatever the clock still has.
func TestP5_TheClockIsAskedForOneInstantAtATime(t *testing.T) {
	var a alarm
	put := func(at raftcore.Instant, wants bool) {
		t.Helper()
		if asks := a.put(at); asks != wants {
			t.Fatalf("putting it to %d has the clock told: %v", at, asks)
		}
	}
	look := func(at, now raftcore.Instant, wants bool, wantsAgain raftcore.Instant) {
		t.Helper()
		if rings, again := a.rings(at, now); rings != wants || again != wantsAgain {
			t.Fatalf("of %d, at %d, it rings: %v, and is looked at again at %d", at, now, rings, again)
		}
	}
	put(0, false)
	put(9, true)
	put(12, false)
	put(5, true)
	put(7, false)
	look(5, 6, false, 7) // put off meanwhile
	look(9, 9, false, 0) // from before: 7 is asked for
	look(7, 9, true, 0)
	look(7, 9, false, 0) // once
	put(20, true)
	put(0, false)
	look(20, 21, false, 0) // nobody wants it any more
	put(30, true)
	a.forget()
	put(40, true)
	look(30, 30, false, 0) // of the clock before
	look(40, 40, true, 0)
}

// Answers may be lost with the connection of the other side. Who asked gives up,
// and makes room for others.
func TestP5_ForwardsThatWereGivenUpMakeRoom(t *testing.T) {
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}, MaxPending: 3}.withDefaults(), epoch: time.Now().Add(-time.Hour)}
	p := &peer{host: h, asked: map[uint64]asked{}}
	for i := range 10 {
		c := &call{operation: Propose, ctx: context.Background(), done: make(chan outcome, 1)}
		p.forward(&forward{call: c})
		if _, gaveUp := c.giveUp(); !gaveUp {
			t.Errorf("forward %d ended with %v", i, <-c.done)
		}
		p.swept = 0 // a heartbeat later
	}
}

// takesAll is a link that takes every packet.
type takesAll struct{}

func (takesAll) Send(*Packet) bool { return true }
func (takesAll) Close()            {}

// Of a batch the forwards come last. One that came before the news that its leader leads
// no more is not to wait for an answer of that.
func TestC5_AForwardThatWaitsBehindTheNewsOfAnotherLeaderEnds(t *testing.T) {
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults(), epoch: time.Now()}
	p := &peer{host: h, asked: map[uint64]asked{}, link: takesAll{}, box: newMailbox(10)}
	p.box.scheduled.Store(true) // it does not run by itself
	c := &call{operation: Propose, ctx: context.Background(), done: make(chan outcome, 1)}
	p.box.PostUserMessage(&forward{group: 7, call: c})
	p.box.PostUserMessage(deposed{7})
	p.box.takeBatch()
	p.batch(p.box.batch.Messages)
	select {
	case o := <-c.done:
		if !errors.Is(o.err, ErrUnknown) {
			t.Errorf("it ends with %v", o.err)
		}
	default:
		t.Error("it waits for an answer of a host that leads no more")
	}
}

func TestP5_MessagesOfOtherProcessesAreDroppedWhenTooManyWait(t *testing.T) {
	box := newMailbox(1)
	box.scheduled.Store(true) // it never runs
	for range maxFacts + 100 {
		box.offer(&raftcore.Message{})
	}
	if n := box.UserMessageCount(); n != maxFacts {
		t.Errorf("%d wait", n)
	}
	box.PostUserMessage(raftcore.Saved{})
	if n := box.UserMessageCount(); n != maxFacts+1 {
		t.Error("a fact of our own was dropped")
	}
}

func TestM14_AGroupOfAnotherClusterIsAnotherGroup(t *testing.T) {
	if groupKey("a", "g") == groupKey("b", "g") || groupKey("a", "g") == groupKey("a", "h") {
		t.Error("they have the same key")
	}
}

func TestP5_LargeResponsesThatWaitForTheLinkAreBounded(t *testing.T) {
	p := &peer{}
	for id := range uint64(100) {
		p.keep(GroupResponse{ID: id, Data: make([]byte, 1<<20)})
	}
	if n := len(p.unsent); n != 16 || p.unsent[n-1].ID != 99 {
		t.Errorf("%d responses of 1 MiB wait, the newest is %d", n, p.unsent[n-1].ID)
	}
}

// TestD14_AMailboxThatIsClosedAnswersWhatWaits: nobody else would.
func TestD14_AMailboxThatIsClosedAnswersWhatWaits(t *testing.T) {
	box := newMailbox(2)
	c := &call{operation: Propose, done: make(chan outcome, 1)}
	opened := make(chan *groupOpened, 1)
	box.requests = append(box.requests, c)
	box.facts = append(box.facts, &openGroup{reply: func(o *groupOpened) { opened <- o }})
	box.close()
	select {
	case o := <-c.done:
		if !errors.Is(o.err, ErrRejected) {
			t.Errorf("a call that waited ends with %v", o.err)
		}
	default:
		t.Error("a call that waited is not answered")
	}
	select {
	case o := <-opened:
		if o.err == nil {
			t.Error("an order that waited was carried out")
		}
	default:
		t.Error("an order that waited is not answered")
	}
}

// TestP7_AnAnswerThatWasOvertakenStartsNothing: the store has been opened anew since,
// and what the answer says of the disk is not true any more.
func TestP7_AnAnswerThatWasOvertakenStartsNothing(t *testing.T) {
	m := &member{order: &openGroup{name: "the later one"}}
	m.start(nil, &groupOpened{order: &openGroup{}})
	if len(m.children) > 0 || m.state != Recovering {
		t.Errorf("it has started something: %v", m.state)
	}
}

// portionedStore notes how many saves it is given at a time.
type portionedStore struct {
	persistence.Store
	portions []int
}

func (s *portionedStore) Save(saves []persistence.Save) error {
	s.portions = append(s.portions, len(saves))
	return s.Store.Save(saves)
}

// TestF1_WhatAStallHasGatheredIsSavedInPortions: all of it together would be more than
// a Store takes, and the store would be given up.
func TestF1_WhatAStallHasGatheredIsSavedInPortions(t *testing.T) {
	memory, err := persistence.Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	store := &portionedStore{Store: memory}
	l := &log{host: &Host{cfg: HostConfig{Runtime: &dispatcher{}}}, store: store}
	box := newMailbox(0)
	box.dispatcher = neverRuns{}
	data := make([]byte, 10<<20)
	for g := range 20 {
		o, err := store.Open(string(rune('a' + g)))
		if err != nil {
			t.Fatal(err)
		}
		save := persistence.Save{Group: o.Group, Save: raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: raftcore.HardState{Term: 1, Cluster: 1}}}
		for i := range raftcore.Index(2) {
			save.Entries = append(save.Entries, raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: i + 1}, Kind: raftcore.EntryCommand, Data: data})
		}
		l.saves, l.owed = append(l.saves, save), append(l.owed, &saveOrder{from: ref{box: box}, save: save.Save})
	}
	l.flush(nil)
	if want := []int{3, 3, 3, 3, 3, 3, 2}; !slices.Equal(store.portions, want) {
		t.Errorf("20 saves of 20 MiB are saved in portions of %v, want %v", store.portions, want)
	}
	if len(l.saves)+len(l.owed) > 0 || box.UserMessageCount() != 7 {
		t.Errorf("%d saves are left, %d were said to be durable", len(l.saves), box.UserMessageCount())
	}
}

// foundedStore notes what groups are made together, and cannot make one of them.
type foundedStore struct {
	persistence.Store
	founded  []int
	poisoned bool
}

func (s *foundedStore) Found(names ...string) error {
	s.founded = append(s.founded, len(names))
	if s.poisoned {
		return persistence.ErrPoisoned
	}
	if slices.Contains(names, "bad") {
		return errors.New("a bad name")
	}
	return nil
}

func (s *foundedStore) Open(name string) (persistence.Opened, error) {
	if name == "bad" {
		return persistence.Opened{}, errors.New("a bad name")
	}
	return s.Store.Open(name)
}

// Groups that are opened at a time are made together, and one that cannot be is no matter
// to the others. Who closes what is not open yet closes it.
func TestD14_GroupsThatAreOpenedTogetherAreAllAnswered(t *testing.T) {
	memory, err := persistence.Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	store := &foundedStore{Store: memory}
	l := &log{host: &Host{cfg: HostConfig{Runtime: &dispatcher{}}}, store: store, open: map[persistence.GroupID]uint64{}}
	answers := map[string]error{}
	order := func(name string) *openGroup {
		return &openGroup{name: name, reply: func(o *groupOpened) { answers[o.order.name] = o.err }}
	}
	for i := range maxOpens + 2 {
		name := string(rune('a' + i))
		if i == 1 {
			name = "bad"
		}
		l.receive(nil, order(name))
	}
	l.openGroups(nil)
	if len(answers) != maxOpens+2 || answers["bad"] == nil || len(l.open) != maxOpens+1 {
		t.Errorf("%d answers, bad: %v, %d are open", len(answers), answers["bad"], len(l.open))
	}
	for name, err := range answers {
		if err != nil && name != "bad" {
			t.Errorf("%q: %v", name, err)
		}
	}
	early := order("early")
	l.receive(nil, early)
	l.receive(nil, &closeGroup{early})
	again := order("early")
	l.receive(nil, again)
	l.openGroups(nil)
	if err := answers["early"]; err != nil || early.isOpen || !again.isOpen {
		t.Errorf("closed before it was open, and opened again: %v", err)
	}
	if want := []int{maxOpens, 2}; !slices.Equal(store.founded, want) {
		t.Errorf("%v were made together, want %v", store.founded, want)
	}
}

// neverRuns is a dispatcher that runs nothing.
type neverRuns struct{}

func (neverRuns) Schedule(func()) {}
func (neverRuns) Throughput() int { return 1 }

// TestF1_ChunksThatWaitForTheDiskAreBounded: whoever sends them.
func TestF1_ChunksThatWaitForTheDiskAreBounded(t *testing.T) {
	box := newMailbox(0)
	box.dispatcher = neverRuns{}
	g := &Group{key: 5}
	g.courier.Store(&ref{box: box})
	h := &Host{cfg: HostConfig{ID: 2, Runtime: &dispatcher{}}, groups: map[GroupKey]*Group{5: g}}
	h.peers.Store(&peers{1: &channel{}})
	for range 1000 {
		h.deliver(&Packet{From: 1, Snapshots: []SnapshotPart{{Group: 5, Chunk: &snapshots.Chunk{Data: make([]byte, 100)}}}})
	}
	if n := box.UserMessageCount(); n != maxChunksWaiting {
		t.Errorf("%d chunks wait", n)
	}
	h.deliver(&Packet{From: 1, Snapshots: []SnapshotPart{{Group: 5, Answer: &SnapshotAnswer{}}}})
	if n := box.UserMessageCount(); n != maxChunksWaiting+1 {
		t.Errorf("an answer is lost")
	}
}
