package seeds

import (
	"context"
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// stagesOf follows what happens in a group, until the context ends.
func stagesOf(ctx context.Context, h *hostUp) (all func() []actors.Event) {
	var mu sync.Mutex
	var seen []actors.Event
	go func() {
		for e := range h.group.Events(ctx, 0) {
			mu.Lock()
			seen = append(seen, e)
			mu.Unlock()
		}
	}()
	synctest.Wait()
	return func() []actors.Event {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func kinds(events []actors.Event, entry raftcore.EntryID) (all []string) {
	for _, e := range events {
		if e.Entry == entry && e.Kind != actors.EventLeader {
			all = append(all, e.Kind.String())
		}
	}
	return all
}

func TestL1_EachStageOfACommandIsTold(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		events := stagesOf(ctx, l)
		r, err := l.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Data: []byte("1")})
		want(t, "error", err, nil)
		entry := raftcore.EntryID{Term: l.status().Term, Index: r.Index}
		want(t, "stages", fmt.Sprint(kinds(events(), entry)), "[queued saved committed applied]")

		// One that another leader's takes the place of is abandoned, and so is who has asked.
		w.net.Isolate(w.peers[l.id])
		errs := make(chan error)
		short, end := context.WithTimeout(w.ctx, time.Second)
		defer end()
		go func() {
			_, err := l.group.Propose(short, []byte("lost"))
			errs <- err
		}()
		synctest.Wait()
		lost := raftcore.EntryID{Term: entry.Term, Index: entry.Index + 1}
		w.leader(l).propose("instead")
		w.net.Heal()
		w.until("it is abandoned", func() bool { return slices.Contains(kinds(events(), lost), "abandoned") })
		for _, e := range events() {
			if e.Kind == actors.EventAbandoned && !errors.Is(e.Err, actors.ErrRejected) && !errors.Is(e.Err, actors.ErrUnknown) {
				t.Errorf("it is abandoned with %v", e.Err)
			}
		}
		if err := <-errs; err != nil && !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrRejected) {
			t.Errorf("who has asked is told %v", err)
		}
	})
}

// The kit says whether a machine does the same wherever it is.
func TestL2_AMachineIsDeterministic(t *testing.T) {
	t.Setenv("RAFTTEST_SEED", "2")
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New:     func() actors.StateMachine { return &ledger{} },
		Command: func(r *rand.Rand) []byte { return fmt.Append(nil, r.IntN(10)) },
	})
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		for i := range 20 {
			w.hosts[i%3].propose(fmt.Sprint(i))
		}
		log := l.read("")
		for _, h := range w.hosts {
			w.until("all machines are in the same state", func() bool { return h.local() == log })
		}
	})
}

func TestL3_CommandsArePushedOnAnyHostAndNoneIsDiscarded(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.start()
		for i, h := range w.hosts {
			want(t, "answer", h.propose(fmt.Sprint(i)), fmt.Sprintf("%d:%d", i+1, i))
		}
	})
	// A bare node that does not lead says so.
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	n.Step(raftcore.Propose{Tag: 5, Data: []byte("x")})
	out := drain(n)
	want(t, "reply", out.Replies[0], raftcore.Reply{Tag: 5, Outcome: raftcore.NotLeader})
}

func TestL4_WhoProposesNamesHisCommands(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	for _, tag := range []raftcore.Tag{1 << 60, 7, 42} {
		l.Step(raftcore.Propose{Tag: tag, Data: []byte("x")})
		g.settle()
		want(t, "the command of that name", l.done[tag], l.Status().Last)
	}
	inWorld(t, 3, func(t *testing.T, w *world) {
		h := w.start()
		opened, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.OpenSession})
		want(t, "error", err, nil)
		for _, sequence := range []uint64{9, 3, 9, 3} { // in any order, and again
			r := &actors.Request{Operation: actors.Propose, Data: fmt.Append(nil, sequence), Session: actors.InSession{ID: opened.Session, Sequence: sequence}}
			answer, err := h.group.Do(w.ctx, r)
			want(t, "error", err, nil)
			want(t, "answer to that number", strings.HasSuffix(string(answer.Data), fmt.Sprint(":", sequence)), true)
		}
		want(t, "carried out", h.read(""), "9 3")
	})
}

// album is a machine that counts its snapshots.
type album struct {
	ledger
	mu              sync.Mutex
	taken, restored int
}

func (p *album) Snapshot() (io.WriterTo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken++
	return p.ledger.Snapshot()
}

func (p *album) Restore(r io.Reader) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restored++
	return p.ledger.Restore(r)
}

func (p *album) counts() (taken, restored int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, p.restored
}

func TestL5_SnapshotsAreTakenAndSet(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.host = func(c *actors.HostConfig) { c.Raft.SnapshotEntries, c.Raft.KeepEntries = 10, -1 }
		var m *album
		w.group = func(c *actors.GroupConfig) {
			c.Machine = func() actors.StateMachine { m = &album{}; return m }
		}
		h := w.start()
		for i := range 45 {
			h.propose(fmt.Sprint(i))
			synctest.Wait()
		}
		w.until("the log begins later", func() bool { return h.status().First > 30 })
		taken, restored := m.counts()
		want(t, "taken, one for ten", taken >= 3 && taken <= 5, true)
		want(t, "restored", restored, 0)
		h.stop()
		h.start()
		want(t, "commands", len(strings.Fields(h.read(""))), 45)
		_, restored = m.counts()
		want(t, "restored", restored, 1)
	})
}

func TestL6_SendingDoesNotBlockAndMayFailSilently(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		session, err := w.other(l).group.OpenSession(w.ctx, time.Hour)
		want(t, "error", err, nil)
		w.net.SetFaults(0.25, 0)
		for i := range 20 { // what is lost is sent again, and carried out once
			_, err := session.Propose(w.ctx, fmt.Append(nil, i))
			want(t, "error", err, nil)
		}
		w.net.SetFaults(0, 0)
		log := l.read("")
		want(t, "commands", len(strings.Fields(log)), 20)
		for _, h := range w.hosts {
			w.until("all is there", func() bool { return h.local() == log })
		}
		// A wire that takes nothing holds nobody up: the other one is a majority.
		l = w.leader()
		slow := w.other(l)
		w.net.Refuse(w.peers[l.id], w.peers[slow.id], true)
		l.propose("without it")
		want(t, "who is refused", strings.HasSuffix(slow.local(), "without it"), false)
		w.net.Refuse(w.peers[l.id], w.peers[slow.id], false)
		w.until("it has it", func() bool { return strings.HasSuffix(slow.local(), "without it") })
		want(t, "closed", session.Close(w.ctx), nil)
	})
}

func TestL7_ReceivingDoesNotWaitForAMachineThatIsBusy(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		busy := make(chan struct{})
		w.group = func(c *actors.GroupConfig) {
			c.Machine = func() actors.StateMachine { return &stalled{busy: busy} }
		}
		l := w.start()
		follower := w.other(l)
		m := follower.machine.(*stalled)
		m.stop.Lock()
		m.on = true
		m.stop.Unlock()
		for i := range 10 {
			l.propose(fmt.Sprint(i))
		}
		w.until("it has received all, and applied nothing", func() bool {
			s := follower.status()
			return s.Last == l.status().Last && s.Commit == l.status().Commit && s.Applied < s.Commit
		})
		close(busy)
		w.until("it has applied each once", func() bool { return follower.local() == "0 1 2 3 4 5 6 7 8 9" })
	})
}

// stalled is a machine that does not apply, while it is told so.
type stalled struct {
	ledger
	stop sync.Mutex
	on   bool
	busy chan struct{}
}

func (s *stalled) Apply(e actors.Entry) []byte {
	s.stop.Lock()
	on := s.on
	s.stop.Unlock()
	if on {
		<-s.busy
	}
	return s.ledger.Apply(e)
}

func TestL8_AReplicaIsHalted(t *testing.T) {
	for what, halt := range map[string]func(w *world, h *hostUp) error{
		"by its handle": func(w *world, h *hostUp) error { return h.group.Stop(w.ctx) },
		"as an actor":   func(w *world, h *hostUp) error { return h.System().Root.PoisonFuture(h.group.PID()).Wait() },
		"by its host":   func(w *world, h *hostUp) error { return h.Host.Stop(w.ctx) },
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				l := w.start()
				l.propose("1")
				want(t, "error", halt(w, l), nil)
				_, err := l.group.Propose(w.ctx, []byte("2"))
				want(t, "it is stopped", errors.Is(err, actors.ErrStopped), true)
				halted := l.Host
				l.Host = nil // to the others it is gone
				want(t, "the others go on", w.leader().propose("3"), "2:3")
				l.Host = halted
			})
		})
	}
}

func TestL9_ChangesOfTheLeaderAreTold(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		h := w.other(l)
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		events := stagesOf(ctx, h)
		type office struct {
			term raftcore.Term
			over bool
		}
		offices := make(chan office, 10)
		go h.group.Lead(ctx, func(ctx context.Context, term raftcore.Term) {
			offices <- office{term, false}
			<-ctx.Done()
			offices <- office{term, true}
		})
		l.stop()
		w.leader()
		var leaders []raftcore.NodeID
		for _, e := range events() {
			if e.Kind == actors.EventLeader {
				leaders = append(leaders, e.Leader)
			}
		}
		want(t, "first", leaders[0], l.id)
		want(t, "then nobody", slices.Contains(leaders, raftcore.Nobody), true)
		want(t, "and then", leaders[len(leaders)-1], w.leader().id)
		// Who leads himself is told when that begins, and when it is over.
		l.start()
		w.settled()
		if w.leader() != h {
			want(t, "error", h.group.Transfer(w.ctx, h.id), nil)
		}
		began := <-offices
		want(t, "term", began.term, h.status().Term)
		want(t, "error", h.group.Transfer(w.ctx, raftcore.Nobody), nil)
		want(t, "it is over", <-offices, office{began.term, true})
	})
}

func TestL10_AMachineIsGivenCommandsAndNothingElse(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("1")
		for range 3 { // three leaders open their terms
			want(t, "error", w.leader().group.Transfer(w.ctx, raftcore.Nobody), nil)
		}
		w.leader().propose("2")
		for _, h := range w.hosts {
			w.until("it was given two commands", func() bool { return h.local() == "1 2" })
		}
		want(t, "entries of the log", w.leader().status().Last >= 7, true) // founding, openings, commands
	})
}

func TestL11_ItRunsUntilItIsStoppedAndIsNotPolled(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var mu sync.Mutex
		spoken := 0
		w.host = func(c *actors.HostConfig) {
			c.Transport = tap{c.Transport, func(p *actors.Packet) {
				mu.Lock()
				defer mu.Unlock()
				spoken += len(p.Messages)
			}}
		}
		l := w.start()
		// To wait as long as it runs is to watch it.
		running := make(chan struct{})
		go func() {
			for range l.group.Watch(w.ctx) {
			}
			close(running)
		}()
		l.propose("1")
		time.Sleep(10 * electionTimeout) // fake
		mu.Lock()
		spoken = 0
		mu.Unlock()
		time.Sleep(1000 * electionTimeout) // fake
		mu.Lock()
		want(t, "messages of Raft without anything to do", spoken, 0)
		mu.Unlock()
		select {
		case <-running:
			t.Fatal("it has stopped by itself")
		default:
		}
		want(t, "it is woken by a command", l.propose("2"), "2:2")
		l.stop()
		<-running
	})
}

func TestL12_TimeoutsThatDoNotFitAreRefused(t *testing.T) {
	for ratio, fits := range map[time.Duration]bool{1: false, 2: false, 3: true, 10: true} {
		c := raftcore.Config{ID: 1, Boot: 1, ElectionTimeout: ratio * 50 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond}
		_, err := raftcore.New(c, raftcore.Recovered{})
		want(t, fmt.Sprintf("%d heartbeats in an election timeout are taken", ratio), err == nil, fits)
	}
}

func TestL13_ACommandIsSentAtOnceAndNotWithTheNextHeartbeat(t *testing.T) {
	n := leads(t, nil)
	n.Step(raftcore.Propose{Data: []byte("x")})
	out := drain(n) // no Tick since
	want(t, "messages", len(out.Send), 2)
	want(t, "entries", len(out.Send[0].Body.(*raftcore.AppendRequest).Entries), 1)
	// Whole hosts take no time either, where the network and the disk take none.
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		w.until("all is quiet", func() bool { s := l.status(); return s.Applied == s.Last })
		began := time.Now() // fake
		for i := range 10 {
			l.propose(fmt.Sprint(i))
		}
		want(t, "time that ten commands take", time.Since(began), 0)
	})
}

func TestL14_AStrayRejectionChangesNothing(t *testing.T) {
	n := leads(t, nil)
	peer := func() string {
		p := n.Status().Peers[0]
		return fmt.Sprintf("%s %d %d", p.State, p.Match, p.Next)
	}
	stray := func(what string, probed ...raftcore.Index) {
		t.Helper()
		before := peer()
		for _, i := range probed {
			hears(n, 2, 2, &raftcore.AppendReply{Rejected: true, Round: 1, Probed: raftcore.EntryID{Term: 2, Index: i}})
			drain(n)
			want(t, fmt.Sprintf("%s: state, match and next, when %d was rejected", what, i), peer(), before)
		}
	}
	// It has three entries of six, and the others are on their way.
	for range 5 {
		n.Step(raftcore.Propose{Data: []byte("x")})
	}
	out := drain(n)
	round := out.Send[0].Body.(*raftcore.AppendRequest).Round
	n.Step(raftcore.Saved{Token: out.Save.Token})
	hears(n, 2, 2, &raftcore.AppendReply{Match: 3, Round: round})
	drain(n)
	want(t, "state, match and next", peer(), "replicate 3 7")
	stray("who follows", 0, 1, 3, 7, 99)

	// Of a new leader with a log it is not known yet what it has: one question is asked.
	r := raftcore.Recovered{
		HardState: raftcore.HardState{Term: 1, Cluster: 7, Joined: true}, Incarnation: 101,
		BaseConf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: ids(3)}},
	}
	for i := range raftcore.Index(9) {
		r.Note(&raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: i + 1}, Kind: raftcore.EntryCommand})
	}
	again, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1, ElectionTimeout: electionTimeout}, r)
	want(t, "error", err, nil)
	n = again
	n.Step(raftcore.Tick{Now: 1})
	n.Step(raftcore.Campaign{})
	for _, pre := range []bool{true, false} {
		out := drain(n)
		for out.Save.Token.Sequence != 0 {
			n.Step(raftcore.Saved{Token: out.Save.Token})
			out = drain(n)
		}
		hears(n, 3, n.Status().Term, &raftcore.VoteReply{Pre: pre, Granted: true, Campaign: out.Send[0].Body.(*raftcore.VoteRequest).Campaign})
	}
	drain(n)
	want(t, "state, match and next", peer(), "probe 0 10")
	stray("who is asked", 3, 5, 8, 10)
	hears(n, 2, 2, &raftcore.AppendReply{Rejected: true, Round: 1, Probed: raftcore.EntryID{Term: 1, Index: 9}, Hint: raftcore.EntryID{Term: 1, Index: 4}})
	drain(n)
	want(t, "state, match and next, when the question is answered", peer(), "probe 0 5")
}

func TestL15_AGroupOfOneWorks(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		h := w.start()
		want(t, "answer", h.propose("1"), "1:1")
		want(t, "read", h.read(""), "1")
		h.stop()
		h.start()
		want(t, "answer", h.propose("2"), "2:2")
	})
}

func TestL16_AStableGroupAndAnUnstableOne(t *testing.T) {
	for _, unstable := range []bool{false, true} {
		t.Run(fmt.Sprintf("unstable %v", unstable), func(t *testing.T) {
			g := newCores(t, 3, 3, nil)
			g.settled()
			r := rand.New(rand.NewPCG(16, 16))
			lost := 0
			if unstable { // a quarter is lost, and the rest comes in any order
				g.lost = func(raftcore.Message) bool {
					if r.IntN(4) == 0 {
						lost++
						return true
					}
					return false
				}
				g.post = func(mail []raftcore.Message) []raftcore.Message {
					r.Shuffle(len(mail), func(i, j int) { mail[i], mail[j] = mail[j], mail[i] })
					return mail
				}
			}
			answered := 0
			for i := range 60 {
				l, tag := g.leader(), g.tag()
				l.Step(raftcore.Propose{Tag: tag, Data: fmt.Append(nil, i)})
				g.until("it is applied, or refused", func() bool { return l.done[tag] != 0 || l.replies[tag].Tag != 0 })
				if l.done[tag] != 0 {
					answered++
				}
			}
			want(t, "lost", lost > 0, unstable)
			g.heal()
			log := g.same()
			want(t, "all that were answered are there", len(log) >= answered && answered > 40, true)
			if !unstable {
				want(t, "answered", answered, 60)
			}
		})
	}
}

// What little-raft could do in a thousand lines takes fewer here; and what it could not has
// files of its own. See the end of raftcore/doc.go for which is which.
func TestL17_TheCoreIsSmallEnoughToBeRead(t *testing.T) {
	files, err := filepath.Glob("../../raftcore/*.go")
	want(t, "error", err, nil)
	elections := []string{"follower.go", "candidate.go", "leader.go", "quorum.go", "promise.go"} // and replication, and commitment
	guide := read(t, "../../raftcore/doc.go")
	all, small := 0, 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		lines, name := code(t, file), filepath.Base(file)
		want(t, name+" has fewer than 500 lines", lines < 500, true)
		all += lines
		if slices.Contains(elections, name) {
			small += lines
			want(t, "the guide names "+name, strings.Contains(guide, name), true)
		}
	}
	t.Logf("%d lines, of which elections and replication are %d", all, small)
	want(t, "elections and replication have fewer than 1,000 lines", small > 0 && small < 1000, true)
	want(t, "the core has fewer than 4,500 lines", all < 4500, true)
}

// code counts the lines of a file on which there is more than a comment.
func code(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	f := set.AddFile(file, -1, len(text))
	var s scanner.Scanner
	s.Init(f, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue
		}
		lines[set.Position(pos).Line] = true
	}
}
