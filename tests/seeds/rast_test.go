package seeds

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// bare returns node 1 of three voters, or more, as a disk has kept it: with an empty log.
func bare(t *testing.T, change func(*raftcore.Config)) *raftcore.Node {
	t.Helper()
	cfg := raftcore.Config{ID: 1, Boot: 1, ElectionTimeout: electionTimeout}
	if change != nil {
		change(&cfg)
	}
	n, err := raftcore.New(cfg, raftcore.Recovered{
		HardState: raftcore.HardState{Term: 1, Cluster: 7, Joined: true}, Incarnation: 101,
		BaseConf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: ids(3)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hears has a node receive a message of another one.
func hears(n *raftcore.Node, from raftcore.NodeID, term raftcore.Term, b raftcore.Body) {
	n.Step(raftcore.Receive{Message: raftcore.Message{From: from, To: 1, Term: term, Cluster: 7, Incarnation: raftcore.Incarnation(100 + from), Body: b}})
}

// drain returns what a node wants, in an Output of its own.
func drain(n *raftcore.Node) *raftcore.Output {
	var out raftcore.Output
	n.Drain(&out)
	return &out
}

// leads makes a bare node the leader of term 2, with its opening entry on a quorum's disks.
func leads(t *testing.T, change func(*raftcore.Config)) *raftcore.Node {
	t.Helper()
	n := bare(t, change)
	n.Step(raftcore.Tick{Now: 1})
	drain(n)
	n.Step(raftcore.Tick{Now: raftcore.Instant(2 * electionTimeout)})
	for range 10 {
		out := drain(n)
		if out.Save.Token.Sequence != 0 {
			n.Step(raftcore.Saved{Token: out.Save.Token})
		}
		for _, m := range out.Send {
			switch b := m.Body.(type) {
			case *raftcore.VoteRequest:
				hears(n, m.To, m.Term, &raftcore.VoteReply{Pre: b.Pre, Granted: true, Campaign: b.Campaign})
			case *raftcore.AppendRequest:
				hears(n, m.To, m.Term, &raftcore.AppendReply{Match: b.Prev.Index + raftcore.Index(len(b.Entries)), Round: b.Round})
			}
		}
		if out.Apply.Entries != nil {
			n.Step(raftcore.Applied{Index: 1})
		}
	}
	s := n.Status()
	want(t, "it leads, and has committed", s.Readable && s.Applied == 1 && s.Commit == 1, true)
	return n
}

// The published example: a node of a group of one, and its first tick.
func TestR1_ANodeIsBuiltFromAConfigAndIsToldTheTime(t *testing.T) {
	n, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1}, raftcore.Recovered{})
	if err != nil {
		t.Fatal(err)
	}
	n.Step(raftcore.Bootstrap{Cluster: 7, Conf: raftcore.ConfState{Voters: ids(1)}})
	n.Step(raftcore.Tick{Now: 1})
	var out raftcore.Output
	for range 10 { // it knows no time but what it is told
		if n.Drain(&out); out.Save.Token.Sequence != 0 {
			n.Step(raftcore.Saved{Token: out.Save.Token})
		}
	}
	want(t, "leader, without time", n.Leader(), raftcore.Nobody)
	n.Step(raftcore.Tick{Now: out.Deadline})
	for range 3 {
		if n.Drain(&out); out.Save.Token.Sequence != 0 {
			n.Step(raftcore.Saved{Token: out.Save.Token})
		}
	}
	want(t, "leader, when the time has come", n.Leader(), 1)

	if _, err := raftcore.New(raftcore.Config{}, raftcore.Recovered{}); err == nil {
		t.Fatal("a node without an ID is made")
	}
}

func TestR2_StepIsTheOnlyDoorAndBuffersAreTheCallers(t *testing.T) {
	n := leads(t, nil)
	var out raftcore.Output
	arrays := map[*raftcore.Message]bool{}
	for range 20 {
		n.Step(raftcore.Propose{Data: []byte("a")})
		n.Drain(&out)
		want(t, "messages", len(out.Send), 2)
		arrays[&out.Send[0]] = true
	}
	// The node has one, and the caller the other: they are exchanged.
	want(t, "arrays that twenty rounds took", len(arrays) <= 2, true)
}

func TestR3_TicksThatRepeatOrComeFromThePastAreIgnored(t *testing.T) {
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1000})
	deadline := drain(n).Deadline
	for _, now := range []raftcore.Instant{1000, 1, 999, 1000} {
		n.Step(raftcore.Tick{Now: now})
		out := drain(n)
		want(t, "it wants something", !out.Empty(), false)
		want(t, "deadline", out.Deadline, deadline)
	}
	n.Step(raftcore.Tick{Now: deadline})
	want(t, "role, at the deadline", n.Status().Role, raftcore.Follower)
	drain(n)
	want(t, "role, after it", n.Status().Role, raftcore.PreCandidate)
}

func TestR4_AWriteComesBackWithItsTermAndIndex(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	tag := g.tag()
	l.Step(raftcore.Propose{Tag: tag, Data: []byte("1"), Watch: true})
	g.until("it is applied", func() bool { return l.done[tag] != 0 })
	last := l.stages[len(l.stages)-1]
	want(t, "stage", last.Stage, raftcore.StageApplied)
	want(t, "entry", last.Entry, raftcore.EntryID{Term: l.Status().Term, Index: l.done[tag]})
	want(t, "the bytes", l.log[0], "1")
}

func TestR5_AReadSeesWhatWasWrittenBefore(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("1")
		for _, h := range w.hosts {
			r, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.Read})
			if err != nil || string(r.Data) != "1" {
				t.Fatalf("on host %d: %q %v", h.id, r.Data, err)
			}
			if s := l.status(); r.Index != s.Applied {
				t.Errorf("the answer is of entry %d, not %d", r.Index, s.Applied)
			}
		}
	})
}

func TestR6_MessagesMayBeLostRepeatedAndReordered(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	g.settled()
	r := rand.New(rand.NewPCG(6, 6))
	lost, repeated := 0, 0
	g.post = func(mail []raftcore.Message) (out []raftcore.Message) {
		for _, m := range mail {
			switch r.IntN(10) {
			case 0, 1:
				lost++
			case 2, 3:
				repeated++
				out = append(out, m, m)
			case 4:
				g.mail = append(g.mail, m) // later
			default:
				out = append(out, m)
			}
		}
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	for i := range 100 {
		g.leader().Step(raftcore.Propose{Data: []byte(strconv.Itoa(i))})
		g.pass(5 * time.Millisecond)
	}
	g.post = nil
	all := g.same()
	if lost == 0 || repeated == 0 || len(all) < 50 {
		t.Fatalf("%d lost, %d repeated, %d applied", lost, repeated, len(all))
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	want(t, "applied once each", len(slices.Compact(sorted)), len(all))
}

func TestR7_TheDiskIsAskedAndAnswersLaterInOrder(t *testing.T) {
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	entry := func(term raftcore.Term, i raftcore.Index) raftcore.Entry {
		return raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: i}, Kind: raftcore.EntryCommand}
	}
	// The leader of term 2 sends two entries, that of term 3 others in their place.
	hears(n, 2, 2, &raftcore.AppendRequest{Entries: []raftcore.Entry{entry(2, 1), entry(2, 2)}, Round: 1})
	first := drain(n)
	hears(n, 3, 3, &raftcore.AppendRequest{Round: 1})
	term := drain(n)
	hears(n, 3, 3, &raftcore.AppendRequest{Entries: []raftcore.Entry{entry(3, 1)}, Round: 2})
	second := drain(n)
	want(t, "saves", first.Save.Token.Sequence+2, second.Save.Token.Sequence)
	for _, m := range slices.Concat(first.Send, term.Send, second.Send) {
		if a, is := m.Body.(*raftcore.AppendReply); is && a.Match > 0 {
			t.Fatalf("it acknowledges what is not on its disk: %v", m)
		}
	}
	matched := func(out *raftcore.Output) (match raftcore.Index) {
		for _, m := range out.Send {
			if a, is := m.Body.(*raftcore.AppendReply); is && m.To == 3 {
				match = max(match, a.Match)
			}
		}
		return match
	}
	// The first completes: that is the disk's word for entries which are gone.
	n.Step(raftcore.Saved{Token: first.Save.Token})
	want(t, "acknowledged after the first Save", matched(drain(n)), 0)
	n.Step(raftcore.Saved{Token: term.Save.Token})
	want(t, "acknowledged after that of the term", matched(drain(n)), 0)
	n.Step(raftcore.Saved{Token: raftcore.Token{Boot: 9, Sequence: second.Save.Token.Sequence}})
	want(t, "acknowledged for another start of the node", matched(drain(n)), 0)
	n.Step(raftcore.Saved{Token: second.Save.Token})
	want(t, "acknowledged after the second Save", matched(drain(n)), 1)

	// The node goes on while its disk works.
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	l.slow = true
	l.Step(raftcore.Propose{Data: []byte("1")})
	g.pass(electionTimeout)
	want(t, "it leads", l.Status().Readable, true)
	want(t, "saves under way", len(l.saves) > 0, true)
	want(t, "committed, by the disks of the others", l.Status().Commit, l.Status().Last)

	// Without others its own disk is what it waits for.
	g = newCores(t, 1, 1, nil)
	l = g.settled()
	l.slow = true
	tag := g.tag()
	l.Step(raftcore.Propose{Tag: tag, Data: []byte("1")})
	g.pass(electionTimeout)
	want(t, "applied before it is durable", l.done[tag], 0)
	g.saved(l)
	g.settle()
	want(t, "applied when it is", l.done[tag], l.Status().Last)
}

func TestR8_WhatIsCommittedIsHandedOutToBeAppliedInOrder(t *testing.T) {
	g := newCores(t, 3, 3, nil) // it fails if an entry is left out, or comes twice
	l := g.settled()
	for i := range 10 {
		l.Step(raftcore.Propose{Data: []byte(strconv.Itoa(i))})
	}
	g.isolate(l)
	g.settle()
	want(t, "in the log, and not committed", l.Status().Last-l.Status().Commit, 10)
	want(t, "applied before it is committed", len(l.log), 0)
	g.heal()
	want(t, "all", strings.Join(g.same(), ""), "0123456789")
	want(t, "applied", l.Status().Applied, l.Status().Commit)
}

// gate is a machine whose questions take until it is opened.
type gate struct {
	ledger
	mu      sync.Mutex
	asked   chan struct{}
	answer  chan struct{}
	applied int
}

func (g *gate) Apply(e actors.Entry) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied++
	return g.ledger.Apply(e)
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.applied
}

func (g *gate) Query(ctx context.Context, question []byte) ([]byte, error) {
	close(g.asked)
	<-g.answer
	return g.ledger.Query(ctx, question)
}

func TestR9_NothingIsAppliedWhileTheStateIsRead(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		m := &gate{asked: make(chan struct{}), answer: make(chan struct{})}
		w.group = func(c *actors.GroupConfig) { c.Machine = func() actors.StateMachine { return m } }
		h := w.start()
		h.propose("before")
		read, written := make(chan string), make(chan error)
		go func() {
			b, err := h.group.Read(w.ctx, nil)
			read <- fmt.Sprint(string(b), err)
		}()
		<-m.asked
		go func() {
			_, err := h.group.Propose(w.ctx, []byte("after"))
			written <- err
		}()
		synctest.Wait()
		want(t, "applied while it is read", m.count(), 1)
		close(m.answer)
		want(t, "the answer", <-read, "before<nil>")
		want(t, "the command", <-written, nil)
		want(t, "applied", m.count(), 2)
	})
}

func TestR10_MessagesSayToWhomTheyAre(t *testing.T) {
	n := leads(t, nil)
	n.Step(raftcore.Propose{Data: []byte("1")})
	var to []raftcore.NodeID
	for _, m := range drain(n).Send {
		want(t, "from", m.From, 1)
		to = append(to, m.To)
	}
	slices.Sort(to)
	want(t, "to", fmt.Sprint(to), "[2 3]")
}

func TestR11_OneRoundConfirmsAllReadsThatWait(t *testing.T) {
	n := leads(t, nil)
	commit := n.Status().Commit
	for tag := range raftcore.Tag(100) {
		n.Step(raftcore.Read{Tag: tag + 1})
	}
	out := drain(n)
	want(t, "messages for a hundred reads", len(out.Send), 2)
	round := out.Send[0].Body.(*raftcore.AppendRequest).Round
	hears(n, 2, 2, &raftcore.AppendReply{Match: commit, Round: round - 1})
	want(t, "confirmed by an older round", len(drain(n).Reads), 0)
	hears(n, 2, 2, &raftcore.AppendReply{Match: commit, Round: round})
	reads := drain(n).Reads
	want(t, "confirmed", len(reads), 100)
	for _, r := range reads {
		want(t, "read at", r.Index, commit)
	}
}

// collector is an actor that counts the answers to each request.
func collector(w *world, h *hostUp) (ask func(*actors.Request), answers func() map[*actors.Request][]error) {
	var mu sync.Mutex
	all := map[*actors.Request][]error{}
	pid := h.System().Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if r, is := c.Message().(*actors.Response); is {
			mu.Lock()
			defer mu.Unlock()
			all[r.Request] = append(all[r.Request], r.Err)
		}
	}))
	ask = func(r *actors.Request) { h.System().Root.RequestWithCustomSender(h.group.PID(), r, pid) }
	return ask, func() map[*actors.Request][]error {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestR12_EveryRequestIsAnsweredOnceAlsoByAShutdown(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		ask, answers := collector(w, l)
		l.propose("1")
		w.net.Isolate(w.peers[l.id]) // so that they cannot be carried out
		var requests []*actors.Request
		for range 100 {
			requests = append(requests, &actors.Request{Operation: actors.Propose, Data: []byte("x")}, &actors.Request{Operation: actors.Read})
		}
		for _, r := range requests {
			ask(r)
		}
		want(t, "answered before it stops", len(answers()), 0)
		l.stop()
		got := answers()
		for _, r := range requests {
			errs := got[r]
			if len(errs) != 1 {
				t.Fatalf("%v was answered %d times", r.Operation, len(errs))
			}
			if err := errs[0]; !errors.Is(err, actors.ErrRejected) && !errors.Is(err, actors.ErrUnknown) {
				t.Fatalf("%v ends with %v", r.Operation, err)
			}
		}
	})
}

func TestR13_WhoDoesNotLeadSaysWhoDoes(t *testing.T) {
	t.Run("a follower names the leader", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		l := g.settled()
		r := g.reply(g.other(l), func(tag raftcore.Tag) raftcore.Input { return raftcore.Propose{Tag: tag} })
		want(t, "outcome", r.Outcome, raftcore.NotLeader)
		want(t, "leader", r.Leader, l.cfg.ID)
		want(t, "it may have happened", r.MaybeHappened, false)
	})
	t.Run("who loses the leadership fails what waits", func(t *testing.T) {
		n := leads(t, nil)
		n.Step(raftcore.Read{Tag: 8})
		drain(n)
		hears(n, 3, 5, &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 4, Index: 9}, Round: 1})
		replies := drain(n).Replies
		want(t, "replies", len(replies), 1)
		want(t, "outcome", replies[0].Outcome, raftcore.NotLeader)
		want(t, "leader", replies[0].Leader, 3)
	})
	t.Run("and a host that knows of none says that", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			l := w.start()
			w.net.Isolate(w.peers[l.id])
			ctx, cancel := context.WithTimeout(w.ctx, 10*electionTimeout)
			defer cancel()
			w.until("it leads no more", func() bool { return l.status().Role != raftcore.Leader })
			_, err := l.group.Propose(ctx, []byte("1"))
			var not *actors.NotLeaderError
			if !errors.Is(err, actors.ErrRejected) || !errors.As(err, &not) || not.Leader != raftcore.Nobody {
				t.Fatalf("it ends with %v", err)
			}
		})
	})
	t.Run("a shutdown has no hint", func(t *testing.T) {
		inWorld(t, 1, func(t *testing.T, w *world) {
			h := w.start()
			if err := h.group.Stop(w.ctx); err != nil {
				t.Fatal(err)
			}
			_, err := h.group.Propose(w.ctx, []byte("1"))
			var not *actors.NotLeaderError
			if !errors.Is(err, actors.ErrStopped) || errors.As(err, &not) {
				t.Fatalf("it ends with %v", err)
			}
		})
	})
}

func TestR14_LeadershipIsHandedOver(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.start()
		to := w.other(l)
		term := l.status().Term
		if err := l.group.Transfer(w.ctx, to.id); err != nil {
			t.Fatal(err)
		}
		want(t, "leader", w.leader().id, to.id)
		want(t, "terms that it took", to.status().Term, term+1)
		want(t, "answer", l.propose("1"), "1:1")
	})
}

func TestR15_ARequestWithoutALeaderStartsAnElection(t *testing.T) {
	for _, in := range []raftcore.Input{raftcore.Propose{Tag: 1}, raftcore.Read{Tag: 1}} {
		for _, demand := range []bool{false, true} {
			n := bare(t, func(c *raftcore.Config) { c.CampaignOnDemand = demand })
			n.Step(raftcore.Tick{Now: 1})
			n.Step(in)
			votes := 0
			for _, m := range drain(n).Send {
				if v, is := m.Body.(*raftcore.VoteRequest); is && v.Pre {
					votes++
				}
			}
			want(t, fmt.Sprintf("asked for their votes after %T, on demand %v", in, demand), votes == 2, demand)
		}
	}
}

func TestR16_TimeoutsAreTunedAndHaveDefaults(t *testing.T) {
	d := raftcore.Config{ID: 1}.WithDefaults()
	want(t, "election", d.ElectionTimeout, time.Second)
	want(t, "heartbeat", d.HeartbeatInterval, d.ElectionTimeout/10)
	want(t, "valid", d.Validate(), nil)
	c := raftcore.Config{ID: 1, ElectionTimeout: 100 * time.Millisecond, HeartbeatInterval: 10 * time.Millisecond}.WithDefaults()
	want(t, "valid", c.Validate(), nil)
	// They are what counts: a leader shows itself once in an interval.
	for _, every := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond} {
		n := leads(t, func(c *raftcore.Config) { c.HeartbeatInterval = every })
		n.Step(raftcore.Tick{Now: raftcore.Instant(2*electionTimeout + every)})
		out := drain(n)
		want(t, "heartbeats", len(out.Send), 2)
		want(t, "the next one after", out.Deadline.Sub(raftcore.Instant(2*electionTimeout+every)), every)
	}
}

func TestR17_NumbersOfDifferentKindsHaveDifferentTypes(t *testing.T) {
	e := reflect.TypeFor[raftcore.Entry]()
	m := reflect.TypeFor[raftcore.Message]()
	kinds := map[reflect.Type]string{}
	for typ, fields := range map[reflect.Type][]string{e: {"Term", "Index", "Kind"}, m: {"From", "Cluster", "Incarnation"}} {
		for _, f := range fields {
			field, ok := typ.FieldByName(f)
			if !ok || field.Type.PkgPath() == "" {
				t.Fatalf("%s.%s has no type of its own", typ, f)
			}
			if other, taken := kinds[field.Type]; taken {
				t.Errorf("%s and %s have the same type", f, other)
			}
			kinds[field.Type] = f
		}
	}
	id := raftcore.EntryID{Term: 2, Index: 3}
	want(t, "text", id.String(), "2/3")
	want(t, "a later term", raftcore.EntryID{Term: 3, Index: 1}.AtLeast(id), true)
	want(t, "a shorter log", raftcore.EntryID{Term: 2, Index: 2}.AtLeast(id), false)
}

func TestR18_TheCoreKeepsTermsAndNoPayloads(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	for range 300 {
		l.Step(raftcore.Propose{}) // who calls keeps the data, by index
	}
	g.pass(50 * time.Millisecond)
	want(t, "commands", len(g.same()), 300)
	g.crash(l)
	store, err := l.disk.Open()
	if err != nil {
		t.Fatal(err)
	}
	o, err := store.Open("group")
	if err != nil {
		t.Fatal(err)
	}
	r := o.Recovered
	want(t, "entries", r.Last > 300, true)
	want(t, "runs of terms", len(r.Runs), 2) // the founding, and the one leader
	// With that alone, and no entry in memory, it goes on, and names the term of each.
	r.Tail = nil
	n, err := raftcore.New(l.cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	last := r.Runs[len(r.Runs)-1]
	want(t, "the last entry's term", n.CommitStatus(raftcore.EntryID{Term: last.Term, Index: r.Last}), raftcore.CommitInProgress)
	want(t, "another term there", n.CommitStatus(raftcore.EntryID{Term: last.Term + 1, Index: r.Last}), raftcore.CommitUnknown)
}

// The core reads a few numbers of an entry; the payload is the same bytes, at the same
// place in memory, from who proposes to the disk, the wire and the machine.
func TestR19_PayloadsAreNeverCopiedByTheCore(t *testing.T) {
	n := leads(t, nil)
	data := []byte("a payload that nobody looks at \xff\x00")
	n.Step(raftcore.Propose{Tag: 1, Data: data})
	out := drain(n)
	same := func(where string, e raftcore.Entry) {
		t.Helper()
		if len(e.Data) != len(data) || &e.Data[0] != &data[0] {
			t.Errorf("%s has a copy", where)
		}
	}
	same("the disk", out.Save.Entries[0])
	for _, m := range out.Send {
		same("the wire", m.Body.(*raftcore.AppendRequest).Entries[0])
	}
	round := out.Send[0].Body.(*raftcore.AppendRequest).Round
	n.Step(raftcore.Saved{Token: out.Save.Token})
	hears(n, 2, 2, &raftcore.AppendReply{Match: 2, Round: round})
	same("the machine", drain(n).Apply.Entries[0])
}

// The published example: write "1", read "1", with everything that comes with the library.
func TestR20_BatteriesAreIncluded(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		system := newSystem()
		host, err := actors.Start(system, actors.HostConfig{ID: 1, Store: persistence.Memory()})
		if err != nil {
			t.Fatal(err)
		}
		group, err := host.Open(w.ctx, actors.GroupConfig{Name: "one", Machine: func() actors.StateMachine { return &ledger{} }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := group.Propose(w.ctx, []byte("1")); err != nil {
			t.Fatal(err)
		}
		answer, err := group.Read(w.ctx, nil)
		want(t, "error", err, nil)
		want(t, "answer", string(answer), "1")
		want(t, "stopped", host.Stop(w.ctx), nil)
	})
}

func TestR21_ANetworkAndADiskInMemory(t *testing.T) {
	t.Run("the network delivers to who is registered", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			l := w.start()
			l.propose("1")
			w.net.Isolate(w.peers[l.id])
			next := w.leader(l)
			next.propose("2")
			want(t, "who is cut off has", l.local(), "1")
			w.net.Heal()
			w.until("it has all", func() bool { return l.local() == "1 2" })
		})
	})
	t.Run("the disk truncates, and keeps what was saved", func(t *testing.T) {
		opener := persistence.Memory()
		store, err := opener.Open()
		if err != nil {
			t.Fatal(err)
		}
		o, err := store.Open("group")
		if err != nil {
			t.Fatal(err)
		}
		save := func(term raftcore.Term, first, last raftcore.Index) {
			t.Helper()
			s := raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: raftcore.HardState{Term: term, Cluster: 7}}
			for i := first; i <= last; i++ {
				s.Entries = append(s.Entries, raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: i}, Kind: raftcore.EntryCommand})
			}
			if err := store.Save([]persistence.Save{{Group: o.Group, Save: s}}); err != nil {
				t.Fatal(err)
			}
		}
		save(1, 1, 3)
		save(2, 2, 2)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if store, err = opener.Open(); err != nil {
			t.Fatal(err)
		}
		if o, err = store.Open("group"); err != nil {
			t.Fatal(err)
		}
		want(t, "highest index", o.Recovered.Last, 2)
		want(t, "runs", fmt.Sprint(o.Recovered.Runs), "[{1 1} {2 2}]")
	})
}

func TestR22_AGroupIsAClientForAnyNumberOfGoroutines(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.start()
		var all sync.WaitGroup
		for i := range 30 {
			group := w.hosts[i%3].group
			all.Go(func() {
				if _, err := group.Propose(w.ctx, fmt.Append(nil, i)); err != nil {
					t.Error(err)
				}
				if b, err := group.Read(w.ctx, nil); err != nil || !slices.Contains(strings.Fields(string(b)), fmt.Sprint(i)) {
					t.Errorf("%d is not in %q, %v", i, b, err)
				}
			})
		}
		all.Wait()
		want(t, "commands", len(strings.Fields(w.hosts[0].read(""))), 30)
	})
}

// The first program of the README, which another test runs, needs one package, beside the
// one that says which disk.
func TestR23_OnePackageIsImported(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(readme), "```go\n")
	program, _, _ = strings.Cut(program, "\n```")
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", program, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for _, i := range f.Imports {
		if path, _ := strconv.Unquote(i.Path.Value); strings.HasPrefix(path, "github.com/castaway-go/") {
			ours = append(ours, strings.TrimPrefix(path, "github.com/castaway-go/castaway/"))
		}
	}
	want(t, "imports", fmt.Sprint(ours), "[actors persistence/badgerstore]")
}

func TestR24_ADeterministicGroupAndAJudgeOfItsHistory(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("a group of %d elects one", n), func(t *testing.T) {
			g := newCores(t, n, n, nil)
			l := g.settled()
			for _, c := range g.nodes {
				want(t, "leader", c.Leader(), l.cfg.ID)
			}
			g.propose(l, "written")
			tag := g.tag()
			l.Step(raftcore.Read{Tag: tag})
			g.settle()
			want(t, "read at", l.reads[tag], l.done[tag-1])
		})
	}
	t.Run("a leader without a quorum steps down", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		l := g.settled()
		g.isolate(l)
		g.until("it steps down", func() bool { return l.Status().Role != raftcore.Leader })
	})
	t.Run("entries of a leader that was cut off are overwritten", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		old := g.settled()
		g.propose(old, "kept")
		g.isolate(old)
		tag := g.tag()
		old.Step(raftcore.Propose{Tag: tag, Data: []byte("lost")})
		g.settle()
		next := g.leader(old)
		g.propose(next, "instead")
		g.heal()
		want(t, "the log", strings.Join(g.same(), " "), "kept instead")
		g.until("who has asked is told", func() bool { return old.replies[tag].Tag != 0 })
		want(t, "outcome", old.replies[tag].Outcome, raftcore.Overwritten)
	})
	t.Run("half of a group is no majority", func(t *testing.T) {
		for n := 2; n <= 6; n++ {
			g := newCores(t, n, n, nil)
			g.settled()
			for _, c := range g.nodes[:(n+1)/2] { // the rest is less than a majority, or half
				g.crash(c)
			}
			g.pass(20 * electionTimeout)
			for _, c := range g.nodes[(n+1)/2:] {
				want(t, fmt.Sprintf("role of %d among %d", c.cfg.ID, n), c.Status().Role == raftcore.Leader, false)
			}
		}
	})
	t.Run("a vote that comes twice is one", func(t *testing.T) {
		five, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1, ElectionTimeout: electionTimeout}, raftcore.Recovered{
			HardState: raftcore.HardState{Term: 1, Cluster: 7, Joined: true}, Incarnation: 101,
			BaseConf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: ids(5)}},
		})
		want(t, "error", err, nil)
		five.Step(raftcore.Tick{Now: 1})
		drain(five)
		five.Step(raftcore.Tick{Now: raftcore.Instant(2 * electionTimeout)})
		campaign := drain(five).Send[0].Body.(*raftcore.VoteRequest).Campaign
		for range 4 {
			hears(five, 2, 1, &raftcore.VoteReply{Pre: true, Granted: true, Campaign: campaign})
		}
		drain(five)
		want(t, "role", five.Status().Role, raftcore.PreCandidate)
		hears(five, 9, 1, &raftcore.VoteReply{Pre: true, Granted: true, Campaign: campaign}) // who is none of them
		drain(five)
		want(t, "role, with a stranger", five.Status().Role, raftcore.PreCandidate)
		hears(five, 3, 1, &raftcore.VoteReply{Pre: true, Granted: true, Campaign: campaign})
		drain(five)
		want(t, "role, with a third one", five.Status().Role, raftcore.Candidate)
	})
	t.Run("a candidate follows who has won its term", func(t *testing.T) {
		n := bare(t, nil)
		n.Step(raftcore.Tick{Now: 1})
		n.Step(raftcore.Campaign{})
		campaign := drain(n).Send[0].Body.(*raftcore.VoteRequest).Campaign
		hears(n, 2, 1, &raftcore.VoteReply{Pre: true, Granted: true, Campaign: campaign})
		n.Step(raftcore.Saved{Token: drain(n).Save.Token})
		drain(n)
		want(t, "role", n.Status().Role, raftcore.Candidate)
		hears(n, 3, 2, &raftcore.AppendRequest{Round: 1})
		drain(n)
		want(t, "role, and leader", fmt.Sprint(n.Status().Role, n.Leader()), "follower 3")
	})
	t.Run("a vote goes to a later term, however short its log, and to no earlier one", func(t *testing.T) {
		for last, granted := range map[raftcore.EntryID]bool{
			{Term: 3, Index: 1}: true, {Term: 2, Index: 3}: true, {Term: 2, Index: 2}: false, {Term: 1, Index: 99}: false,
		} {
			n := bare(t, nil)
			n.Step(raftcore.Tick{Now: 1})
			hears(n, 2, 2, &raftcore.AppendRequest{Round: 1, Entries: []raftcore.Entry{
				{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryNoop}, {EntryID: raftcore.EntryID{Term: 2, Index: 2}, Kind: raftcore.EntryNoop}, {EntryID: raftcore.EntryID{Term: 2, Index: 3}, Kind: raftcore.EntryNoop},
			}})
			n.Step(raftcore.Saved{Token: drain(n).Save.Token})
			drain(n)
			n.Step(raftcore.Tick{Now: raftcore.Instant(4 * electionTimeout)})
			drain(n)
			hears(n, 3, 9, &raftcore.VoteRequest{Last: last, Campaign: 1})
			want(t, fmt.Sprint("a vote for ", last), drain(n).Save.HardState.Vote == 3, granted)
		}
	})
	t.Run("the same seed is the same history", func(t *testing.T) {
		history := func() (lines []string) {
			plan := rafttest.DrawPlan(24)
			plan.Faults = 2 * time.Second
			if _, err := rafttest.Run(plan, func(line string) { lines = append(lines, line) }); err != nil {
				t.Fatal(err)
			}
			return lines
		}
		first := history()
		want(t, "events", len(first) > 1000, true)
		want(t, "the same again", slices.Equal(first, history()), true)
	})
	t.Run("clients among faults are told nothing that is not so", func(t *testing.T) {
		plan := rafttest.DrawStackPlan(24)
		plan.Faults = 5 * time.Second
		run, err := rafttest.RunStack(t, plan, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := run.Stats; s.Sets == 0 || s.Linearizable == 0 || len(run.History) == 0 {
			t.Fatalf("nothing was judged: %+v", s)
		}
	})
}

// What rast's own list had still to be done.
func TestR25_WhatWasLeftToBeDoneIsDone(t *testing.T) {
	t.Run("hard state, and restarts", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		l := g.settled()
		g.propose(l, "1")
		before := l.Status()
		g.restart(l)
		after := l.Status()
		want(t, "term and vote", fmt.Sprint(after.Term, after.Vote), fmt.Sprint(before.Term, before.Vote))
		want(t, "log", strings.Join(g.same(), " "), "1")
	})
	t.Run("a message that comes twice does nothing twice", func(t *testing.T) {
		n := bare(t, nil)
		n.Step(raftcore.Tick{Now: 1})
		m := &raftcore.AppendRequest{Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 2, Index: 1}, Kind: raftcore.EntryCommand}}, Round: 1}
		hears(n, 2, 2, m)
		want(t, "entries to save", len(drain(n).Save.Entries), 1)
		hears(n, 2, 2, m)
		want(t, "entries to save again", len(drain(n).Save.Entries), 0)
		// One that was under way for long cuts off nothing that came after it.
		hears(n, 2, 2, &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 2, Index: 1}, Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 2, Index: 2}, Kind: raftcore.EntryCommand}}, Round: 2})
		hears(n, 2, 2, m)
		drain(n)
		want(t, "last", n.Status().Last, 2)
	})
	t.Run("read, modify, write", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			w.group = func(c *actors.GroupConfig) { c.Machine = func() actors.StateMachine { return &cell{} } }
			l := w.start()
			want(t, "from nothing to 1", l.propose(" 1"), "1")
			want(t, "from 1 to 2", l.propose("1 2"), "2")
			want(t, "from 1 to 3", l.propose("1 3"), "2") // it was 2 already
			want(t, "value", l.read(""), "2")
		})
	})
	t.Run("a machine that panics", func(t *testing.T) {
		inWorld(t, 1, func(t *testing.T, w *world) {
			panics := true
			w.group = func(c *actors.GroupConfig) {
				c.Machine = func() actors.StateMachine { return &poisoned{panics: panics} }
			}
			h := w.start()
			h.propose("1")
			_, err := h.group.Propose(w.ctx, []byte("poison"))
			if !errors.Is(err, actors.ErrUnknown) && !errors.Is(err, actors.ErrQuarantined) {
				t.Fatalf("it ends with %v", err)
			}
			w.until("it is quarantined", func() bool { return errors.Is(h.status().Fault, actors.ErrQuarantined) })
			if err := h.group.Stop(w.ctx); err != nil {
				t.Fatal(err)
			}
			panics = false // the machine is mended
			h.open()
			want(t, "state", h.read(""), "1 poison")
		})
	})
	t.Run("failures", func(t *testing.T) {
		plan := rafttest.DrawPlan(25)
		plan.Crash, plan.Restart, plan.Partition, plan.Heal, plan.Loss = 500*time.Millisecond, 200*time.Millisecond, 500*time.Millisecond, 200*time.Millisecond, 0.05
		stats, err := rafttest.Run(plan, nil)
		if err != nil {
			t.Fatal(err)
		}
		if stats.Crashes == 0 || stats.Partitions == 0 || stats.Lost == 0 || stats.Acknowledged == 0 {
			t.Fatalf("nothing was tested: %+v", stats)
		}
	})
	t.Run("members", func(t *testing.T) {
		g := newCores(t, 3, 2, nil)
		l := g.settled()
		r := g.reply(l, func(tag raftcore.Tag) raftcore.Input {
			return raftcore.ChangeConfig{Tag: tag, Conf: raftcore.ConfState{Voters: ids(3)}}
		})
		want(t, "outcome", r.Outcome, raftcore.Done)
	})
	t.Run("snapshots", func(t *testing.T) {
		g := newCores(t, 3, 3, func(c *raftcore.Config) { c.SnapshotEntries, c.KeepEntries = 10, -1 })
		l := g.settled()
		for i := range 50 {
			g.propose(l, strconv.Itoa(i))
		}
		want(t, "the log begins later", l.Status().First > 10, true)
		before := g.same()
		g.restart(l)
		want(t, "all of it is there", slices.Equal(g.same(), before), true)
	})
	// A workbench of which others judge the histories: what Maelstrom is to be asked for.
	t.Run("a workbench for histories", func(t *testing.T) {
		plan := rafttest.DrawStackPlan(25)
		plan.Faults, plan.Kill, plan.Down, plan.Partition = 5*time.Second, time.Second, 300*time.Millisecond, time.Second
		run, err := rafttest.RunStack(t, plan, nil)
		if err != nil {
			t.Fatal(err)
		}
		linearizable := 0
		for _, op := range run.History {
			if op.Outcome == rafttest.Happened && op.Linearizable() && op.Call < op.Return {
				linearizable++
			}
		}
		want(t, "operations to be judged", linearizable > 100, true)
	})
	// Maelstrom speaks to examples/maelstrom, one line at a time; more of it is tested there.
	t.Run("maelstrom", func(t *testing.T) {
		binary := filepath.Join(t.TempDir(), "maelstrom")
		if out, err := exec.Command("go", "build", "-o", binary, "../../examples/maelstrom").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		node := exec.Command(binary)
		in, err := node.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := node.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i, step := range [][2]string{
			{`"type":"init","node_id":"n0","node_ids":["n0"]`, "init_ok"},
			{`"type":"write","key":0,"value":1`, "write_ok"},
			{`"type":"read","key":0`, "read_ok 1"},
			{`"type":"cas","key":0,"from":1,"to":2`, "cas_ok"},
			{`"type":"cas","key":0,"from":1,"to":3`, "error 22"},
			{`"type":"read","key":0`, "read_ok 2"},
			{`"type":"read","key":1`, "error 20"},
		} {
			fmt.Fprintf(in, `{"src":"c1","dest":"n0","body":{"msg_id":%d,%s}}`+"\n", i, step[0])
			lines.Scan()
			var answer struct {
				Src, Dest string
				Body      struct {
					Type  string
					To    int  `json:"in_reply_to"`
					Value *int `json:"value"`
					Code  *int `json:"code"`
				}
			}
			if err := json.Unmarshal(lines.Bytes(), &answer); err != nil || answer.Src != "n0" || answer.Dest != "c1" || answer.Body.To != i {
				t.Fatalf("%v: %s", err, lines.Bytes())
			}
			got := answer.Body.Type
			for _, n := range []*int{answer.Body.Value, answer.Body.Code} {
				if n != nil {
					got += fmt.Sprint(" ", *n)
				}
			}
			want(t, step[0], got, step[1])
		}
		want(t, "nobody speaks to it any more", errors.Join(in.Close(), node.Wait()), nil)
	})
}

// cell is a machine with one value. A command is what it must be, and what it becomes.
type cell struct{ ledger }

func (c *cell) Apply(e actors.Entry) []byte {
	was, to, _ := strings.Cut(string(e.Data), " ")
	if now := strings.Join(c.log, ""); now == was {
		c.log = []string{to}
	}
	return []byte(c.log[0])
}

// poisoned is a machine that panics at a command, until it is mended.
type poisoned struct {
	ledger
	panics bool
}

func (p *poisoned) Apply(e actors.Entry) []byte {
	if p.panics && string(e.Data) == "poison" {
		panic("poison")
	}
	return p.ledger.Apply(e)
}
