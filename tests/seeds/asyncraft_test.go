package seeds

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

func TestA1_AHandleIsSharedFreely(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		ask, answers := collector(w, l)
		requests := []*actors.Request{{Operation: actors.Propose, Data: []byte("by an actor")}, {Operation: actors.GetStatus}}
		for _, r := range requests {
			ask(r)
		}
		var all sync.WaitGroup
		for i := range 10 {
			group := l.group // a copy of the handle for each
			all.Go(func() {
				if _, err := group.Propose(w.ctx, fmt.Append(nil, i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		w.until("the actor is answered", func() bool { return len(answers()) == len(requests) })
		want(t, "commands", len(strings.Fields(strings.ReplaceAll(l.read(""), "by an actor", "x"))), 11)
		for _, r := range requests {
			want(t, "answers", len(answers()[r]), 1)
			want(t, "error", answers()[r][0], nil)
		}
	})
}

func TestA2_AHostRunsWhenItIsStartedAndKeepsItsID(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("1")
		before := l.status()
		l.stop()
		l.start() // it runs; nobody has to poll it
		w.until("it follows", func() bool { return l.status().Leader != raftcore.Nobody })
		after := l.status()
		want(t, "ID", after.ID, before.ID)
		want(t, "lineage, and life", fmt.Sprint(after.Cluster, after.Incarnation), fmt.Sprint(before.Cluster, before.Incarnation))
		want(t, "it votes", after.Joined, true)
	})
	_, err := actors.Start(newSystem(), actors.HostConfig{Store: persistence.Memory()})
	want(t, "a host without an ID is started", err == nil, false)
}

// TestA3 plays the other member of a group of two by hand.
func TestA3_MessagesAreDeliveredByWhoHasTheWire(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := &post{boxes: map[string]func(*actors.Packet){}, links: map[string][]func(actors.LinkEvent){}}
		w.peers = map[raftcore.NodeID]string{1: "host-1", 2: "host-2"}
		w.host = func(c *actors.HostConfig) { c.Transport, c.Peers = box{p, "host-1"}, w.peers }
		heard := make(chan actors.GroupMessage, 100)
		box{p, "host-2"}.Start(nil, 2, func(packet *actors.Packet) {
			for _, m := range packet.Messages {
				select {
				case heard <- m:
				default: // nobody listens any more
				}
			}
		})
		next := func(is func(raftcore.Body) bool) actors.GroupMessage {
			for m := range heard {
				if is(m.Message.Body) {
					return m
				}
			}
			panic("closed")
		}
		say := func(to actors.GroupMessage, term raftcore.Term, b raftcore.Body) {
			p.boxes["host-1"](&actors.Packet{From: 2, Messages: []actors.GroupMessage{{Group: to.Group, Message: raftcore.Message{
				From: 2, To: 1, Term: term, Cluster: to.Message.Cluster, Incarnation: 22, ToIncarnation: to.Message.Incarnation, Body: b,
			}}}})
		}
		w.hosts[0].start()
		for _, pre := range []bool{true, false} { // vote
			m := next(func(b raftcore.Body) bool { v, is := b.(*raftcore.VoteRequest); return is && v.Pre == pre })
			v := m.Message.Body.(*raftcore.VoteRequest)
			say(m, m.Message.Term, &raftcore.VoteReply{Pre: v.Pre, Granted: true, Campaign: v.Campaign})
		}
		// append_entries, to us: it leads.
		m := next(func(b raftcore.Body) bool { _, is := b.(*raftcore.AppendRequest); return is })
		w.until("it leads", func() bool { return w.hosts[0].status().Leader == 1 })
		// append_entries, from us: another leads, in a later term.
		say(m, m.Message.Term+1, &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 1, Index: 1}, Round: 1, Entries: []raftcore.Entry{
			{EntryID: raftcore.EntryID{Term: m.Message.Term + 1, Index: 2}, Kind: raftcore.EntryNoop},
		}})
		m = next(func(b raftcore.Body) bool { a, is := b.(*raftcore.AppendReply); return is && a.Match == 2 })
		want(t, "leader", w.hosts[0].status().Leader, 2)
		// install_snapshot: it is offered, and asks for all of it.
		parts := make(chan actors.SnapshotPart, 10)
		p.mu.Lock()
		p.boxes["host-2"] = func(packet *actors.Packet) {
			for _, part := range packet.Snapshots {
				parts <- part
			}
		}
		p.mu.Unlock()
		p.boxes["host-1"](&actors.Packet{From: 2, Snapshots: []actors.SnapshotPart{{Group: m.Group, Offer: &actors.SnapshotOffer{
			ID: 99, Cluster: m.Message.Cluster, Size: 4096,
			Message: raftcore.Message{From: 2, To: 1, Term: m.Message.Term, Cluster: m.Message.Cluster, Incarnation: 22, ToIncarnation: m.Message.Incarnation, Body: &raftcore.SnapshotRequest{
				Snapshot: raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: m.Message.Term, Index: 9}, Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: ids(2)}}},
			}},
		}}}})
		answer := (<-parts).Answer
		want(t, "it answers", answer != nil && answer.Outcome == actors.SnapshotFrom && answer.Offset == 0, true)
	})
}

func TestA4_TheLeaderIsKnownForRoutingAndMayBeUnknown(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.hosts[0].start()
		want(t, "leader, of one who is alone", w.hosts[0].status().Leader, raftcore.Nobody)
		w.hosts[1].start()
		w.hosts[2].start()
		l := w.settled()
		for _, h := range w.hosts {
			want(t, "leader", h.status().Leader, l.id)
		}
		// It is no proof: who was cut off believes in himself for a while.
		w.net.Isolate(w.peers[l.id])
		want(t, "leader, as it believes", l.status().Leader, l.id)
		w.until("it knows better", func() bool { return l.status().Leader == raftcore.Nobody })
	})
}

func TestA5_ALeaderConfirmsThatItLeadsAndNotByItself(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("1")
		confirm := func(ctx context.Context) (raftcore.Index, error) {
			r, err := l.group.Do(ctx, &actors.Request{Operation: actors.Read})
			return r.Index, err
		}
		index, err := confirm(w.ctx)
		want(t, "error", err, nil)
		want(t, "the point to read at", index, l.status().Commit)
		w.net.Isolate(w.peers[l.id])
		ctx, cancel := context.WithTimeout(w.ctx, electionTimeout/2) // it leads, as far as it knows
		defer cancel()
		_, err = confirm(ctx)
		want(t, "it still believes that it leads", l.status().Role, raftcore.Leader)
		if !errors.Is(err, actors.ErrRejected) {
			t.Fatalf("it confirms itself: %v", err)
		}
	})
}

func TestA6_AWriteReturnsItsIndexAndAnswerAndIsCarriedOutOnce(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		r, err := l.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Data: []byte("a")})
		want(t, "error", err, nil)
		want(t, "answer", string(r.Data), "1:a")
		want(t, "index", r.Index, l.status().Applied)
		// Serial numbers are part of the library: the same one again has the same answer.
		opened, err := l.group.Do(w.ctx, &actors.Request{Operation: actors.OpenSession})
		want(t, "error", err, nil)
		for range 3 {
			again := &actors.Request{Operation: actors.Propose, Data: []byte("b"), Session: actors.InSession{ID: opened.Session, Sequence: 1}}
			r, err = w.leader().group.Do(w.ctx, again)
			want(t, "error", err, nil)
			want(t, "answer", string(r.Data), "2:b")
			if err := w.other().group.Transfer(w.ctx, raftcore.Nobody); err != nil {
				t.Fatal(err)
			}
		}
		want(t, "carried out", l.read(""), "a b")
	})
}

func TestA7_AllMembersFoundTheGroupAtOnceAndOneIsFounded(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for _, h := range w.hosts {
			h.startHost()
		}
		errs := make(chan error, 6)
		for _, h := range w.hosts {
			go func() {
				g, err := h.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &ledger{} }})
				h.group = g
				errs <- err
			}()
		}
		for range w.hosts {
			want(t, "error", <-errs, nil)
		}
		l := w.settled()
		l.propose("1")
		for _, h := range w.hosts {
			want(t, "lineage", h.status().Cluster, l.status().Cluster)
			want(t, "members", fmt.Sprint(h.status().Conf.Voters), "[1 2 3]")
		}
		// To do it again, with the group in motion, does nothing.
		h := w.other(l)
		want(t, "stopped", h.group.Stop(w.ctx), nil)
		h.open()
		want(t, "read", h.read(""), "1")
	})
}

func TestA8_WhoIsAddedIsWaitedForUntilItHasEverything(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members = ids(2) }
		w.hosts[0].start()
		w.hosts[1].start()
		l := w.settled()
		for i := range 50 {
			l.propose(fmt.Sprint(i))
		}
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		learner := w.hosts[2]
		learner.start()
		// On any host; it goes to the leader.
		add := func(ctx context.Context) error {
			return w.other(l, learner).group.ChangeMembers(ctx, actors.Members{Voters: ids(2), Learners: []raftcore.NodeID{3}, WaitCaughtUp: true})
		}
		want(t, "error", add(w.ctx), nil)
		want(t, "the leader says so, too", slices.ContainsFunc(l.status().Peers, func(p raftcore.PeerStatus) bool { return p.ID == 3 && p.CaughtUp && p.Match == l.status().Last }), true)
		want(t, "it votes", slices.Contains(l.status().Conf.Voters, 3), false)
		r, err := learner.group.Do(w.ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local, After: l.status().Commit})
		want(t, "error", err, nil)
		want(t, "commands", len(strings.Fields(string(r.Data))), 50)
		// The end of the waiting is not the end of the learner.
		w.net.Isolate(w.peers[3])
		l.propose("more")
		time.Sleep(time.Second) // fake: it is not heard of any more
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		err = add(ctx)
		want(t, "it waits in vain", errors.Is(err, context.DeadlineExceeded) && errors.Is(err, actors.ErrNotCaughtUp), true)
		want(t, "it learns", fmt.Sprint(l.status().Conf.Learners), "[3]")
	})
}

func TestA9_AnyMembersForAnyOthersInOneCall(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) {
			c.Members = ids(3)
		}
		for _, h := range w.hosts[:3] {
			h.start()
		}
		l := w.settled()
		l.propose("1")
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		w.hosts[3].start()
		w.hosts[4].start()
		// The leader is one of those who go, and nobody knows the new ones yet.
		kept := w.other(l)
		voters := []raftcore.NodeID{kept.id, 4, 5}
		want(t, "error", l.group.ChangeMembers(w.ctx, actors.Members{Voters: voters}), nil)
		w.until("the leader has stepped down, and knows why", func() bool { s := l.status(); return s.Role != raftcore.Leader && s.Removed() })
		next := w.leader(l)
		want(t, "voters", fmt.Sprint(next.status().Conf.Voters), fmt.Sprint(voters))
		want(t, "answer", next.propose("2"), "2:2")
		want(t, "read, by a new one", w.hosts[4].read(""), "1 2")
	})
}

func TestA10_TheNewestStatusIsWatched(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		h := w.other(l)
		var seen []raftcore.NodeID
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		for s := range h.group.Watch(ctx) {
			want(t, "ID", s.ID, h.id)
			if s.Leader != raftcore.Nobody {
				seen = append(seen, s.Leader)
			}
			if len(seen) == 1 { // whoever watches may take his time: nobody waits for him
				l.propose("1")
				want(t, "error", l.group.Transfer(w.ctx, h.id), nil)
			}
			if s.Role == raftcore.Leader {
				break
			}
		}
		want(t, "leaders", fmt.Sprint(seen[0], seen[len(seen)-1]), fmt.Sprint(l.id, h.id))
		s := h.status()
		want(t, "role, term, voters", fmt.Sprint(s.Role, s.Term > 1, s.Conf.Voters), "leader true [1 2 3]")
		w.until("all of it is applied", func() bool { s := h.status(); return s.Applied == s.Last && s.Last > 2 })
	})
}

// failing is a disk whose next Save fails, when it is told so, and all after it.
type failing struct {
	persistence.Opener
	mu   sync.Mutex
	fail bool
}

func (f *failing) set(fail bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *failing) Open() (persistence.Store, error) {
	s, err := f.Opener.Open()
	return &failingStore{s, f}, err
}

type failingStore struct {
	persistence.Store
	disk *failing
}

func (f *failingStore) Save(saves []persistence.Save) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.fail {
		return persistence.ErrPoisoned
	}
	return f.Store.Save(saves)
}

func TestA11_AMemberStopsWhenAskedAndWhenItsDiskFails(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		disk := &failing{Opener: persistence.Memory()}
		w.hosts[0].disk = disk
		w.host = func(c *actors.HostConfig) { c.Restarts = actors.Restarts{Max: 2} }
		h := w.start()
		h.propose("1")
		disk.set(true)
		_, err := h.group.Propose(w.ctx, []byte("2"))
		if !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrRejected) {
			t.Fatalf("it ends with %v", err)
		}
		w.until("it is out of service, and says why", func() bool {
			s := h.status()
			return s.State == actors.Faulted && errors.Is(s.Fault, actors.ErrStorageFault)
		})
		_, err = h.group.Propose(w.ctx, []byte("3"))
		want(t, "it is told", errors.Is(err, actors.ErrFaulted) && errors.Is(err, actors.ErrStorageFault), true)
		h.stop()
		disk.set(false)
		h.start()
		want(t, "what was acknowledged is there", strings.HasPrefix(h.read(""), "1"), true)
		h.stop()
		_, err = h.group.Propose(w.ctx, []byte("4"))
		want(t, "shut down", errors.Is(err, actors.ErrStopped), true)
	})
}

func TestA12_WhatIsRefusedComesBackWithItsReason(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members = ids(3) }
		for _, h := range w.hosts[:3] {
			h.start()
		}
		l := w.settled()
		// The request is handed back, with what is in it.
		w.net.Isolate(w.peers[l.id])
		w.until("it does not lead any more", func() bool { return l.status().Role != raftcore.Leader })
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		mine := &actors.Request{Operation: actors.Propose, Data: []byte("payload")}
		r, err := l.group.Do(ctx, mine)
		want(t, "not the leader", errors.Is(err, actors.ErrNotLeader) && errors.Is(r.Err, actors.ErrNotLeader), true)
		want(t, "the request", r.Request == mine && string(r.Request.Data) == "payload", true)
		w.net.Heal()
		l = w.settled()
		// Changes of the members.
		change := func(m actors.Members) error { return l.group.ChangeMembers(w.ctx, m) }
		want(t, "nobody votes", errors.Is(change(actors.Members{}), actors.ErrBadMembers), true)
		want(t, "a stranger", errors.Is(change(actors.Members{Voters: []raftcore.NodeID{1, 99}}), actors.ErrBadMembers), true)
		want(t, "another configuration", errors.Is(change(actors.Members{Voters: ids(2), Expect: 999}), actors.ErrConfigChanged), true)
		want(t, "nothing to change", change(actors.Members{Voters: ids(3)}), nil)
		want(t, "one that is not there", errors.Is(change(actors.Members{Voters: ids(4)}), actors.ErrNotCaughtUp), true)
		_, err = l.group.Do(w.ctx, &actors.Request{Operation: 200})
		want(t, "nonsense", errors.Is(err, actors.ErrBadRequest), true)
	})
}

func TestA13_SettingsForEverythingAndInstallationsApart(t *testing.T) {
	for what, change := range map[string]func(*raftcore.Config){
		"entries": func(c *raftcore.Config) { c.SnapshotEntries = 10 },
		"bytes":   func(c *raftcore.Config) { c.SnapshotBytes = 1000 },
		"age":     func(c *raftcore.Config) { c.SnapshotAge = 300 * time.Millisecond },
	} {
		g := newCores(t, 1, 1, func(c *raftcore.Config) { c.KeepEntries = -1; change(c) })
		l := g.settled()
		g.propose(l, "1")
		g.settle()
		want(t, "snapshots at once, by "+what, len(l.images), 0)
		for range 20 {
			g.propose(l, strings.Repeat("x", 100))
			g.pass(20 * time.Millisecond)
		}
		want(t, "a snapshot by "+what, len(l.images) > 0, true)
	}
	// The name of the installation keeps hosts apart that reach each other by mistake.
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.host = func(c *actors.HostConfig) { c.Cluster = fmt.Sprint("installation-", c.ID) }
		for _, h := range w.hosts {
			h.start()
		}
		time.Sleep(20 * electionTimeout) // fake
		for _, h := range w.hosts {
			want(t, "leader", h.status().Leader, raftcore.Nobody)
		}
	})
}

func TestA14_WhatAStorageDoes(t *testing.T) {
	dir := t.TempDir()
	open := func() (persistence.Store, persistence.Opened) {
		t.Helper()
		s, err := badgerstore.Dir(dir).Open()
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.Open("group")
		if err != nil {
			t.Fatal(err)
		}
		return s, o
	}
	s, o := open()
	want(t, "the initial state is pristine", o.Recovered.Pristine(), true)
	sequence := uint64(0)
	save := func(change func(*raftcore.Save)) {
		t.Helper()
		sequence++
		part := raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: sequence}, HardState: raftcore.HardState{Term: 2, Vote: 3, Cluster: 7}}
		change(&part)
		if err := s.Save([]persistence.Save{{Group: o.Group, Save: part}}); err != nil {
			t.Fatal(err)
		}
	}
	entries := func(term raftcore.Term, from, to raftcore.Index) (all []raftcore.Entry) {
		for i := from; i <= to; i++ {
			all = append(all, raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: i}, Kind: raftcore.EntryCommand, Data: fmt.Append(nil, i)})
		}
		return all
	}
	conf := raftcore.ConfState{Voters: ids(3)}
	save(func(p *raftcore.Save) {
		p.Entries = []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryConfig, Config: &conf}}
	})
	save(func(p *raftcore.Save) { p.Entries = entries(1, 2, 10) })
	save(func(p *raftcore.Save) { p.Entries = entries(2, 6, 7) }) // deletes what was there from 6 on
	meta := raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 4}, Conf: raftcore.ConfigAt{Index: 1, Conf: conf}}
	save(func(p *raftcore.Save) { p.Snapshot, p.Base = &meta, &meta }) // a compaction
	want(t, "closed", s.Close(), nil)

	s, o = open()
	defer s.Close()
	r := o.Recovered
	want(t, "hard state", fmt.Sprint(r.HardState.Term, r.HardState.Vote), "2 3")
	want(t, "members", r.BaseConf.Conf.Equal(conf), true)
	want(t, "snapshot", r.Snapshot.Last, meta.Last)
	want(t, "last", r.Last, 7)
	log, err := s.Load(o.Group, raftcore.Load{From: 5, To: 7, MaxBytes: 1 << 20})
	want(t, "error", err, nil)
	want(t, "log", fmt.Sprint(log[0].EntryID, log[1].EntryID, log[2].EntryID), "1/5 2/6 2/7")
	want(t, "data", string(log[2].Data), "7")
	_, err = s.Load(o.Group, raftcore.Load{From: 3, To: 7, MaxBytes: 1 << 20})
	want(t, "what was compacted is not there", err == nil, false)
}

// tap is a transport that shows what is sent.
type tap struct {
	actors.Transport
	see func(*actors.Packet)
}

func (p tap) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	return tapLink{p.Transport.Link(address, notify), p.see}
}

type tapLink struct {
	actors.Link
	see func(*actors.Packet)
}

func (l tapLink) Send(p *actors.Packet) bool {
	l.see(p)
	return l.Link.Send(p)
}

func TestA15_WhatCrossesTheNetwork(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var mu sync.Mutex
		seen := map[string]int{}
		w.host = func(c *actors.HostConfig) {
			c.Raft.SnapshotEntries, c.Raft.KeepEntries = 10, -1
			c.Transport = tap{c.Transport, func(p *actors.Packet) {
				mu.Lock()
				defer mu.Unlock()
				for i := range p.Messages {
					seen[strings.TrimPrefix(fmt.Sprintf("%T", p.Messages[i].Message.Body), "*raftcore.")]++
				}
				for i := range p.Snapshots {
					if p.Snapshots[i].Chunk != nil {
						seen["snapshot"]++
					}
				}
				seen["requests"] += len(p.Requests)
			}}
		}
		l := w.start()
		behind := w.other(l)
		behind.stop()
		for i := range 30 {
			w.other(l).propose(fmt.Sprint(i))
		}
		w.until("the log begins later", func() bool { return l.status().First > 10 })
		behind.start()
		w.until("it has all", func() bool { return len(strings.Fields(behind.local())) == 30 })
		mu.Lock()
		defer mu.Unlock()
		for _, what := range []string{"VoteRequest", "VoteReply", "AppendRequest", "AppendReply", "snapshot", "requests"} {
			want(t, what, seen[what] > 0, true)
		}
	})
}

func TestA16_StatesAndANonVoterStaysOne(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members = ids(2) }
		w.hosts[0].start()
		w.hosts[1].start()
		l := w.settled()
		l.propose("1")
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		learner := w.hosts[2]
		learner.start()
		want(t, "state, before it is added", learner.status().State, actors.Running)
		want(t, "error", l.group.ChangeMembers(w.ctx, actors.Members{Voters: ids(2), Learners: []raftcore.NodeID{3}}), nil)
		w.until("it learns", func() bool { return learner.local() == "1" })
		learner.stop()
		learner.start()
		w.until("it learns again", func() bool { return learner.local() == "1" && learner.status().Leader == l.id })
		s := learner.status()
		want(t, "role", s.Role, raftcore.Follower)
		want(t, "it votes", s.Conf.Votes(3), false)
		// Whatever it is told, it does not stand for election.
		w.hosts[0].stop()
		w.hosts[1].stop()
		time.Sleep(20 * electionTimeout) // fake
		want(t, "role and term", fmt.Sprint(learner.status().Role, learner.status().Term), fmt.Sprint(s.Role, s.Term))
		want(t, "stopped", learner.group.Stop(w.ctx), nil)
		_, err := learner.group.Propose(w.ctx, nil)
		want(t, "shut down", errors.Is(err, actors.ErrStopped), true)
	})
}

func TestA17_ALeaderHasAStreamForEachFollower(t *testing.T) {
	g := newCores(t, 3, 3, func(c *raftcore.Config) { c.SnapshotEntries, c.KeepEntries = 10, -1 })
	l := g.settled()
	behind := g.other(l)
	well := g.other(l, behind)
	state := func(id raftcore.NodeID) string {
		for _, p := range l.Status().Peers {
			if p.ID == id {
				return p.State.String()
			}
		}
		return ""
	}
	g.isolate(behind)
	l.Step(raftcore.Unreachable{Peer: behind.cfg.ID})
	for i := range 40 {
		g.propose(l, fmt.Sprint(i))
	}
	want(t, "who follows", state(well.cfg.ID), "replicate")
	want(t, "who lags", state(behind.cfg.ID), "probe")
	var states []string
	l.Trace(func(raftcore.TraceEvent) {
		if s := state(behind.cfg.ID); len(states) == 0 || states[len(states)-1] != s {
			states = append(states, s)
		}
	})
	g.heal()
	g.same()
	g.pass(electionTimeout)
	if all := strings.Join(states, " "); !strings.Contains(all, "snapshot") || !strings.HasSuffix(all, "replicate") {
		t.Errorf("it was %s", all)
	}
}

func TestA18_ASnapshotIsStreamedInChunksAndGoesOnWhereItWas(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var offsets []int64
		largest := 0
		var cut func()
		w.host = func(c *actors.HostConfig) {
			c.Raft.SnapshotEntries, c.Raft.KeepEntries = 5, -1
			c.Transport = tap{c.Transport, func(p *actors.Packet) {
				mu.Lock()
				defer mu.Unlock()
				for i := range p.Snapshots {
					if c := p.Snapshots[i].Chunk; c != nil {
						offsets, largest = append(offsets, c.Offset), max(largest, len(c.Data))
						if cut != nil && c.Offset > 1<<20 {
							cut()
							cut = nil
						}
					}
				}
			}}
		}
		l := w.start()
		behind := w.other(l)
		behind.stop()
		for i := range 20 {
			l.propose(fmt.Sprint(i) + strings.Repeat("x", 200<<10))
		}
		w.until("the log begins later", func() bool { return l.status().First > 10 })
		first := l.status().First
		mu.Lock()
		offsets = nil
		cutAt := 0
		cut = func() { cutAt = len(offsets); go w.net.Break(w.peers[l.id], w.peers[behind.id]) }
		mu.Unlock()
		behind.start()
		w.until("it has all", func() bool { return len(strings.Fields(behind.local())) == 20 })
		want(t, "from a snapshot", behind.status().First >= first, true)
		mu.Lock()
		defer mu.Unlock()
		want(t, "chunks", len(offsets) > 5, true)
		want(t, "they are small", largest <= 256<<10, true)
		want(t, "it was interrupted", cutAt > 0, true)
		begun := 0
		for _, o := range offsets {
			if o == 0 {
				begun++
			}
		}
		want(t, "times that it began", begun, 1)
	})
}

// strict is a machine that does not take every command.
type strict struct{ ledger }

func (s *strict) Apply(e actors.Entry) []byte {
	if strings.HasPrefix(string(e.Data), "bad") {
		return []byte("error: no such command")
	}
	return s.ledger.Apply(e)
}

func (s *strict) Query(ctx context.Context, q []byte) ([]byte, error) {
	if string(q) == "bad" {
		return nil, errNoSuch
	}
	return s.ledger.Query(ctx, q)
}

var errNoSuch = errors.New("no such question")

func TestA19_AnErrorOfTheApplicationIsAnAnswer(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Machine = func() actors.StateMachine { return &strict{} } }
		l := w.start()
		want(t, "answer", l.propose("bad"), "error: no such command")
		for _, h := range w.hosts {
			_, err := h.group.Read(w.ctx, []byte("bad"))
			want(t, "error", errors.Is(err, errNoSuch), true)
		}
		want(t, "it goes on", l.propose("good"), "1:good")
		for _, h := range w.hosts {
			want(t, "fault", h.status().Fault, nil)
		}
	})
}

// spans is a tracer that notes what it is asked to trace, and under what.
type spans struct {
	noop.TracerProvider
	mu    sync.Mutex
	ended map[string]string // the name of each span, and that of the one above it
	count uint64
}

type span struct {
	noop.Span
	spans       *spans
	name, above string
	id          trace.SpanContext
}

func (s *spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{s: s} }

type tracer struct {
	noop.Tracer
	s *spans
}

func (t tracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.count++
	own := &span{spans: t.s, name: name}
	if above, is := trace.SpanFromContext(ctx).(*span); is {
		own.above = above.name
	}
	c := trace.SpanContextConfig{TraceID: trace.TraceID{1}, TraceFlags: trace.FlagsSampled}
	binary.BigEndian.PutUint64(c.SpanID[:], t.s.count)
	own.id = trace.NewSpanContext(c)
	return trace.ContextWithSpan(ctx, own), own
}

func (s *span) SpanContext() trace.SpanContext { return s.id }
func (s *span) IsRecording() bool              { return true }

func (s *span) End(...trace.SpanEndOption) {
	s.spans.mu.Lock()
	defer s.spans.mu.Unlock()
	s.spans.ended[s.name] = s.above
}

func TestA20_AProposalIsTracedOnItsWholeWay(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		seen := &spans{ended: map[string]string{}}
		w.host = func(c *actors.HostConfig) { c.Telemetry.Tracers = seen }
		l := w.start()
		l.propose("1")
		synctest.Wait()
		seen.mu.Lock()
		defer seen.mu.Unlock()
		for name, above := range map[string]string{
			"castaway.propose": "", "castaway.commit": "castaway.propose", "castaway.save": "castaway.commit",
			"castaway.replicate": "castaway.commit", "castaway.apply": "castaway.propose",
		} {
			got, ended := seen.ended[name]
			if !ended || got != above {
				t.Errorf("%s is under %q (%v), not under %q", name, got, ended, above)
			}
		}
	})
}

func TestA21_TheScenarios(t *testing.T) {
	scenario := func(name string, n int, f func(t *testing.T, w *world)) {
		t.Run(name, func(t *testing.T) { inWorld(t, n, f) })
	}
	scenario("initialization", 3, func(t *testing.T, w *world) {
		for _, h := range w.hosts {
			h.startHost()
			_, err := h.Open(w.ctx, actors.GroupConfig{Name: "group", Join: true, Machine: func() actors.StateMachine { return &ledger{} }})
			want(t, "error", err, nil)
		}
		time.Sleep(20 * electionTimeout) // fake: nobody has founded it, and so nothing happens
		for _, h := range w.hosts {
			h.stop()
		}
		l := w.start()
		want(t, "voters", fmt.Sprint(l.status().Conf.Voters), "[1 2 3]")
	})
	scenario("a single node", 1, func(t *testing.T, w *world) {
		h := w.start()
		h.propose("1")
		h.stop()
		h.start()
		want(t, "read", h.read(""), "1")
	})
	scenario("reads", 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("1")
		for _, h := range w.hosts {
			want(t, "read", h.read("last"), "1")
		}
	})
	scenario("writes", 3, func(t *testing.T, w *world) {
		l := w.start()
		var all sync.WaitGroup
		for c := range 6 {
			h := w.hosts[c%3]
			all.Go(func() {
				for i := range 50 {
					if _, err := h.group.Propose(w.ctx, fmt.Appendf(nil, "%d-%d", c, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		log := l.read("")
		want(t, "commands", len(strings.Fields(log)), 300)
		for _, h := range w.hosts {
			w.until("all have the same", func() bool { return h.local() == log })
		}
	})
	scenario("the current leader", 3, func(t *testing.T, w *world) {
		l := w.start()
		l.stop()
		next := w.leader()
		w.until("the other one knows", func() bool { return w.other(next).status().Leader == next.id })
	})
	scenario("compaction", 4, func(t *testing.T, w *world) {
		w.host = func(c *actors.HostConfig) { c.Raft.SnapshotEntries, c.Raft.KeepEntries = 20, -1 }
		w.group = func(c *actors.GroupConfig) { c.Members = ids(3) }
		for _, h := range w.hosts[:3] {
			h.start()
		}
		l := w.settled()
		for i := range 50 {
			l.propose(fmt.Sprint(i))
		}
		w.until("the log begins later", func() bool { return l.status().First > 20 })
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		w.hosts[3].start()
		want(t, "error", l.group.ChangeMembers(w.ctx, actors.Members{Voters: ids(4)}), nil)
		want(t, "the new one has all", len(strings.Fields(w.hosts[3].read(""))), 50)
	})
	scenario("members change while clients write", 5, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members = ids(1) }
		w.hosts[0].start()
		w.settled()
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		for _, h := range w.hosts[1:] {
			h.start()
		}
		var all sync.WaitGroup
		all.Go(func() {
			for i := range 50 {
				w.hosts[0].propose(fmt.Sprint(i))
				time.Sleep(5 * time.Millisecond) // fake
			}
		})
		for n := 2; n <= 5; n++ {
			want(t, "error", w.hosts[0].group.ChangeMembers(w.ctx, actors.Members{Voters: ids(n)}), nil)
		}
		all.Wait()
		want(t, "the last one has all", len(strings.Fields(w.hosts[4].read(""))), 50)
		// The leader and another one are gone: three of five go on.
		l := w.leader()
		l.stop()
		w.other(l).stop()
		w.leader().propose("more")
	})
	scenario("a leader that is removed steps down", 4, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members = ids(2) }
		w.hosts[0].start()
		w.hosts[1].start()
		l := w.settled()
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		w.hosts[2].start()
		w.hosts[3].start()
		want(t, "error", l.group.ChangeMembers(w.ctx, actors.Members{Voters: []raftcore.NodeID{3, 4}}), nil)
		w.until("it is removed", func() bool { return l.status().Removed() && l.status().Role == raftcore.Follower })
		next := w.leader(w.hosts[0], w.hosts[1])
		want(t, "answer", next.propose("1"), "1:1")
	})
	scenario("a learner restarts", 2, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members = ids(1) }
		w.hosts[0].start()
		l := w.settled()
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		w.hosts[1].start()
		want(t, "error", l.group.ChangeMembers(w.ctx, actors.Members{Voters: ids(1), Learners: []raftcore.NodeID{2}}), nil)
		l.propose("1")
		w.hosts[1].stop()
		w.hosts[1].start()
		l.propose("2")
		w.until("it follows", func() bool { return w.hosts[1].local() == "1 2" })
		want(t, "learners", fmt.Sprint(w.hosts[1].status().Conf.Learners), "[2]")
	})
	scenario("shutdown", 3, func(t *testing.T, w *world) {
		w.start()
		for _, h := range w.hosts {
			h.stop()
			_, err := h.group.Propose(w.ctx, nil)
			want(t, "error", errors.Is(err, actors.ErrStopped), true)
		}
	})
	scenario("a serial number is carried out once", 3, func(t *testing.T, w *world) {
		l := w.start()
		s, err := l.group.OpenSession(w.ctx, 0)
		want(t, "error", err, nil)
		// The leader is lost while the command is under way: it is sent again, as often as it takes.
		done := make(chan error)
		go func() {
			_, err := s.Propose(w.ctx, []byte("once"))
			done <- err
		}()
		w.net.Isolate(w.peers[l.id])
		w.leader(l)
		w.net.Heal()
		want(t, "error", <-done, nil)
		want(t, "log", l.read(""), "once")
		want(t, "closed", s.Close(w.ctx), nil)
	})
}

// The guide is the README, and the essentials of Raft are the stories: both lead to what
// is there.
func TestA22_TheGuideLeadsSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, doc := range []string{"README.md", "tests/story/README.md"} {
		links := link.FindAllStringSubmatch(read(t, filepath.Join("../..", doc)), -1)
		want(t, "links in "+doc, len(links) > 10, true)
		for _, l := range links {
			if strings.HasPrefix(l[1], "http") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(doc), l[1])); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
	guide := read(t, "../../README.md")
	for _, chapter := range []string{"A program", "Three members", "Other members", "Your state machine", "Reads", "When things fail", "How it works"} {
		want(t, chapter, strings.Contains(guide, "\n## "+chapter+"\n"), true)
	}
	stories, err := filepath.Glob("../story/stories/*.txt")
	want(t, "error", err, nil)
	contents := read(t, "../story/README.md")
	want(t, "stories", len(stories) >= 10, true)
	for _, s := range stories {
		want(t, s, strings.Contains(contents, filepath.Base(s)), true)
	}
}
