package seeds

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// The published example: a single node elects itself, and commits.
func TestI1_ASingleNodeElectsItselfAndCommits(t *testing.T) {
	opener := persistence.Memory()
	run := func(wantLast raftcore.Index) raftcore.Index {
		store, err := opener.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		log, err := store.Open("example")
		if err != nil {
			t.Fatal(err)
		}
		want(t, "the log that it is given", log.Recovered.Last, wantLast)
		n, err := raftcore.New(raftcore.Config{ID: 1, Boot: log.Boot}, log.Recovered)
		if err != nil {
			t.Fatal(err)
		}
		var out raftcore.Output
		applied := 0
		act := func() {
			n.Drain(&out)
			for _, e := range out.Apply.Entries {
				applied++
				n.Step(raftcore.Applied{Index: e.Index})
			}
			if out.Save.Token.Sequence != 0 {
				want(t, "saved", store.Save([]persistence.Save{{Group: log.Group, Save: out.Save}}), nil)
				n.Step(raftcore.Saved{Token: out.Save.Token})
			}
		}
		n.Step(raftcore.Bootstrap{Cluster: 7, Conf: raftcore.ConfState{Voters: ids(1)}})
		now := raftcore.Instant(1)
		for ; n.Leader() != 1; now = now.Add(100 * time.Millisecond) {
			n.Step(raftcore.Tick{Now: now})
			act()
		}
		n.Step(raftcore.Propose{Data: []byte("set x = 1")})
		for range 3 {
			act()
		}
		s := n.Status()
		want(t, "committed, and applied", s.Commit == s.Last && applied == int(s.Last), true)
		return s.Last
	}
	run(run(0)) // the second one goes on with the log of the first
}

func TestI2_TheInputsAreAClosedSet(t *testing.T) {
	input := reflect.TypeFor[raftcore.Input]()
	for i := range input.NumMethod() {
		want(t, "a method that others could have", input.Method(i).IsExported(), false)
	}
	g := newCores(t, 3, 2, nil)
	l := g.settled() // Tick and Receive
	other := g.other(l)
	settledOn := func(n int) bool {
		s := g.leader().Status()
		return len(s.Conf.Voters) == n && !s.Conf.Joint() && s.ConfIndex <= s.Commit
	}
	for _, step := range []struct {
		what string
		in   raftcore.Input
		then func() bool
	}{
		{"a command", raftcore.Propose{Data: []byte("x")}, func() bool { return slices.Equal(other.log, []string{"x"}) }},
		{"a snapshot", raftcore.SnapshotTaken{Index: 2, Time: 1}, func() bool { return l.Status().Last > 2 }},
		{"a member more", raftcore.ChangeConfig{Conf: raftcore.ConfState{Voters: ids(3)}}, func() bool { return settledOn(3) }},
		{"a member less", raftcore.ChangeConfig{Conf: raftcore.ConfState{Voters: ids(2)}}, func() bool { return settledOn(2) }},
		{"a hand-over", raftcore.Transfer{To: other.cfg.ID}, func() bool { return g.leader() == other }},
	} {
		l.Step(step.in)
		g.until("it has taken "+step.what, step.then)
	}
}

func TestI3_AppliedOnceInOrderAndMembersKnownWhenAppended(t *testing.T) {
	g := newCores(t, 4, 3, func(c *raftcore.Config) { c.SnapshotEntries, c.KeepEntries = 10, -1 })
	l := g.settled()
	for i := range 30 { // each machine fails the test if an entry is left out, or comes twice
		g.propose(l, strconv.Itoa(i))
	}
	want(t, "the hint that a snapshot is due was followed", len(l.images) > 0, true)
	var appended, committed bool
	l.Trace(func(e raftcore.TraceEvent) {
		switch {
		case e.Kind == raftcore.TraceConfig && e.Conf.Contains(4):
			appended = true
			want(t, "committed when it is told of the first time", committed || e.Commit < e.Last.Index, true)
		case e.Kind == raftcore.TraceCommit && e.Conf.Contains(4):
			committed = true
		}
	})
	l.Step(raftcore.ChangeConfig{Conf: raftcore.ConfState{Voters: ids(4)}})
	g.until("it is committed", func() bool { return committed })
	want(t, "appended first", appended, true)
	g.until("the new one was given the snapshot, and all after it", func() bool { return slices.Equal(g.node(4).log, l.log) })
}

func TestI4_MistakesInAConfigurationAreNamedAllAtOnce(t *testing.T) {
	err := raftcore.Config{
		ElectionTimeout: 100 * time.Millisecond, HeartbeatInterval: 90 * time.Millisecond, MaxAppendBytes: -1, MaxInflight: -1, SnapshotEntries: -1, MaxClockDrift: 5000,
	}.WithDefaults().Validate()
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, name := range []string{"ID", "HeartbeatInterval", "MaxAppendBytes", "MaxInflight", "SnapshotEntries", "MaxClockDrift"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
	if err := (actors.HostConfig{}).Validate(); err == nil || !strings.Contains(err.Error(), "ID") || !strings.Contains(err.Error(), "Store") {
		t.Errorf("of a host: %v", err)
	}
	// The same seed draws the same timeouts, within their bounds, another one others.
	deadline := func(seed uint64) time.Duration {
		n := bare(t, func(c *raftcore.Config) { c.Seed = seed })
		n.Step(raftcore.Tick{Now: 1})
		return drain(n).Deadline.Sub(1)
	}
	drawn := map[time.Duration]bool{}
	for seed := range uint64(20) {
		d := deadline(seed)
		want(t, "the same again", deadline(seed), d)
		if d < electionTimeout || d > electionTimeout*3/2+time.Millisecond {
			t.Errorf("seed %d draws %v", seed, d)
		}
		drawn[d] = true
	}
	want(t, "they differ", len(drawn) > 10, true)
}

func TestI5_RolesAreSeenAsTheyChange(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	c := g.node(1)
	var roles []raftcore.Role
	c.Trace(func(e raftcore.TraceEvent) {
		if len(roles) == 0 || roles[len(roles)-1] != e.Role {
			roles = append(roles, e.Role)
		}
	})
	want(t, "role", c.Status().Role, raftcore.Follower)
	c.Step(raftcore.Campaign{})
	g.until("it leads", func() bool { return c.Leader() == 1 })
	g.isolate(c)
	g.until("it follows", func() bool { return c.Status().Role == raftcore.Follower })
	want(t, "roles", fmt.Sprint(roles[:5]), "[follower pre-candidate candidate leader follower]")
	want(t, "leader", c.Leader(), raftcore.Nobody)
}

func TestI6_AVoteThatTheLeaderWantedIsNotHeldUpByIt(t *testing.T) {
	ask := func(transfer bool) bool {
		n := bare(t, nil)
		n.Step(raftcore.Tick{Now: 1})
		hears(n, 2, 2, &raftcore.AppendRequest{Round: 1}) // 2 leads, and is alive
		drain(n)
		hears(n, 3, 3, &raftcore.VoteRequest{Transfer: transfer, Last: raftcore.EntryID{Term: 2, Index: 1}, Campaign: 1})
		out := drain(n)
		if out.Save.Token.Sequence != 0 {
			n.Step(raftcore.Saved{Token: out.Save.Token})
			out = drain(n)
		}
		return slices.ContainsFunc(out.Send, func(m raftcore.Message) bool {
			v, is := m.Body.(*raftcore.VoteReply)
			return is && v.Granted
		})
	}
	want(t, "a vote against a leader that is alive", ask(false), false)
	want(t, "one that it asked for itself", ask(true), true)

	// Who rejects says what it has there instead.
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	hears(n, 2, 2, &raftcore.AppendRequest{Round: 1, Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 2, Index: 1}, Kind: raftcore.EntryNoop}}})
	n.Step(raftcore.Saved{Token: drain(n).Save.Token})
	drain(n)
	hears(n, 2, 2, &raftcore.AppendRequest{Round: 2, Prev: raftcore.EntryID{Term: 2, Index: 9}})
	reply := drain(n).Send[0].Body.(*raftcore.AppendReply)
	want(t, "rejected", reply.Rejected, true)
	want(t, "asked about", reply.Probed, raftcore.EntryID{Term: 2, Index: 9})
	want(t, "hint", reply.Hint, raftcore.EntryID{Term: 2, Index: 1})
}

func TestI7_WhoComesBackNeitherRaisesTermsNorDeposesALeader(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	away, term := g.other(l), l.Status().Term
	g.isolate(away)
	away.sent = nil
	g.pass(30 * electionTimeout)
	asked := 0
	for _, m := range away.sent {
		if v, is := m.Body.(*raftcore.VoteRequest); is {
			want(t, "only asked whether", v.Pre, true)
			asked++
		}
	}
	want(t, "it asks", asked > 10, true)
	want(t, "its term", away.Status().Term, term)
	g.heal()
	g.pass(10 * electionTimeout)
	want(t, "the leader, and its term", fmt.Sprint(g.leader().cfg.ID, g.leader().Status().Term), fmt.Sprint(l.cfg.ID, term))

	// Who is asked answers as he would vote, and nothing comes of it.
	for last, granted := range map[raftcore.EntryID]bool{{Term: 2, Index: 1}: true, {Term: 1, Index: 9}: false} {
		n := bare(t, nil)
		n.Step(raftcore.Tick{Now: 1})
		hears(n, 2, 2, &raftcore.AppendRequest{Round: 1, Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 2, Index: 1}, Kind: raftcore.EntryNoop}}})
		n.Step(raftcore.Saved{Token: drain(n).Save.Token})
		n.Step(raftcore.Tick{Now: raftcore.Instant(5 * electionTimeout)})
		drain(n)
		hears(n, 3, 5, &raftcore.VoteRequest{Pre: true, Last: last, Campaign: 1})
		out := drain(n)
		want(t, "messages", len(out.Send), 1)
		want(t, fmt.Sprint("a pre-vote for ", last), out.Send[0].Body.(*raftcore.VoteReply).Granted, granted)
		want(t, "vote", n.Status().Vote == 3, false)
	}

	// An answer to an earlier question is not counted.
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	drain(n)
	n.Step(raftcore.Tick{Now: raftcore.Instant(2 * electionTimeout)})
	campaign := drain(n).Send[0].Body.(*raftcore.VoteRequest).Campaign
	n.Step(raftcore.Tick{Now: raftcore.Instant(5 * electionTimeout)})
	drain(n)
	hears(n, 2, 1, &raftcore.VoteReply{Pre: true, Granted: true, Campaign: campaign})
	drain(n)
	want(t, "role", n.Status().Role, raftcore.PreCandidate)
}

func TestI8_AVoteIsOnTheDiskBeforeItIsGiven(t *testing.T) {
	n := bare(t, nil)
	n.Step(raftcore.Tick{Now: 1})
	hears(n, 2, 2, &raftcore.VoteRequest{Last: raftcore.EntryID{Term: 1, Index: 1}, Campaign: 1})
	out := drain(n)
	want(t, "to be saved", fmt.Sprint(out.Save.HardState.Term, out.Save.HardState.Vote), "2 2")
	want(t, "said before it is", len(out.Send), 0)
	n.Step(raftcore.Saved{Token: out.Save.Token})
	want(t, "given then", drain(n).Send[0].Body.(*raftcore.VoteReply).Granted, true)
	// After a crash it votes for nobody else in that term.
	again, err := raftcore.New(raftcore.Config{ID: 1, Boot: 2, ElectionTimeout: electionTimeout}, raftcore.Recovered{
		HardState: out.Save.HardState, Incarnation: 101, BaseConf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: ids(3)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	again.Step(raftcore.Tick{Now: 1})
	hears(again, 3, 2, &raftcore.VoteRequest{Last: raftcore.EntryID{Term: 1, Index: 5}, Campaign: 1})
	want(t, "granted to another", drain(again).Send[0].Body.(*raftcore.VoteReply).Granted, false)
}

// tally is somebody's own Store: it counts, on top of another one.
type tally struct {
	persistence.Opener
	mu      sync.Mutex
	durable int // entries, when Save has returned
}

func (c *tally) Open() (persistence.Store, error) {
	s, err := c.Opener.Open()
	return &tallied{s, c}, err
}

type tallied struct {
	persistence.Store
	tally *tally
}

func (c *tallied) Save(saves []persistence.Save) error {
	if err := c.Store.Save(saves); err != nil {
		return err
	}
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	for i := range saves {
		c.tally.durable += len(saves[i].Entries)
	}
	return nil
}

func TestI9_ALogOfOnesOwnHasOneMomentOfDurability(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		mine := &tally{Opener: persistence.Memory()}
		w.hosts[0].disk = mine
		h := w.start()
		for i := range 10 {
			h.propose(strconv.Itoa(i))
			mine.mu.Lock()
			if want := int(h.status().Last); mine.durable < want {
				t.Errorf("command %d is answered, and %d entries of %d are durable", i, mine.durable, want)
			}
			mine.mu.Unlock()
		}
	})
	// The kit says whether it keeps the contract.
	t.Setenv("RAFTTEST_SEED", "9")
	rafttest.TestStore(t, func(testing.TB, uint64) rafttest.StorePlace {
		return rafttest.StorePlace{Opener: &tally{Opener: persistence.Memory()}}
	})
}

// post is somebody's own Transport: packets are handed over, and with an rng a third of them
// is lost. (Not each third one: that may always be the same host's.)
type post struct {
	mu    sync.Mutex
	boxes map[string]func(*actors.Packet)
	links map[string][]func(actors.LinkEvent)
	rng   *rand.Rand
}

type box struct {
	post    *post
	address string
}

func (b box) Start(_ *actor.ActorSystem, _ raftcore.NodeID, deliver func(*actors.Packet)) error {
	b.post.mu.Lock()
	defer b.post.mu.Unlock()
	b.post.boxes[b.address] = deliver
	for _, notify := range b.post.links[b.address] {
		notify(actors.LinkUp)
	}
	return nil
}

func (b box) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	b.post.mu.Lock()
	defer b.post.mu.Unlock()
	b.post.links[address] = append(b.post.links[address], notify)
	if b.post.boxes[address] != nil {
		notify(actors.LinkUp)
	}
	return box{b.post, address}
}

func (b box) Send(p *actors.Packet) bool {
	b.post.mu.Lock()
	deliver, lost := b.post.boxes[b.address], b.post.rng != nil && b.post.rng.IntN(3) == 0
	b.post.mu.Unlock()
	if deliver != nil && !lost {
		deliver(p)
	}
	return deliver != nil
}

func (b box) Close() {}

func (b box) Stop(context.Context) error {
	b.post.mu.Lock()
	defer b.post.mu.Unlock()
	delete(b.post.boxes, b.address)
	return nil
}

func TestI10_ATransportOfOnesOwnSendsAndMayLose(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		p := &post{boxes: map[string]func(*actors.Packet){}, links: map[string][]func(actors.LinkEvent){}, rng: rand.New(rand.NewPCG(10, 1))}
		w.host = func(c *actors.HostConfig) { c.Transport = box{p, w.peers[c.ID]} }
		l := w.start()
		for i := range 20 {
			l.propose(strconv.Itoa(i))
		}
		for _, h := range w.hosts {
			w.until("all of it is there", func() bool { return len(strings.Fields(h.local())) == 20 })
		}
	})
}

func TestI11_DoublesInMemory(t *testing.T) {
	// What a node wants to send can be taken, and looked at.
	n := leads(t, nil)
	want(t, "pending", len(drain(n).Send), 0)
	n.Step(raftcore.Propose{})
	want(t, "pending", len(drain(n).Send), 2)
	want(t, "pending, when it was taken", len(drain(n).Send), 0)
	// And a disk in memory outlives its host.
	inWorld(t, 1, func(t *testing.T, w *world) {
		h := w.start()
		h.propose("1")
		h.stop()
		h.start()
		want(t, "after a restart", h.read(""), "1")
	})
}

// onDisk runs f with a host of one member on a real disk.
func onDisk(t *testing.T, dir string, f func(g *actors.Group)) {
	t.Helper()
	host, err := actors.Start(newSystem(), actors.HostConfig{ID: 1, Store: badgerstore.Dir(dir)})
	if err != nil {
		t.Fatal(err)
	}
	g, err := host.Open(t.Context(), actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &ledger{} }})
	if err != nil {
		t.Fatal(err)
	}
	f(g)
	want(t, "stopped", host.Stop(context.Background()), nil)
}

func mustPropose(t *testing.T, g *actors.Group, command string) {
	t.Helper()
	if _, err := g.Propose(t.Context(), []byte(command)); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, g *actors.Group) string {
	t.Helper()
	b, err := g.Read(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestI12_ADiskKeepsWhatWasAcknowledged(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	onDisk(t, dir, func(g *actors.Group) { mustPropose(t, g, "1") })
	onDisk(t, dir, func(g *actors.Group) {
		want(t, "after a restart", mustRead(t, g), "1")
		mustPropose(t, g, "2")
		// What lies there now is what a killed process leaves.
		want(t, "copied", os.CopyFS(killed, os.DirFS(dir)), nil)
	})
	onDisk(t, killed, func(g *actors.Group) { want(t, "after a kill", mustRead(t, g), "1 2") })

	// A record that is damaged is an error that names the file: nothing is left out silently.
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	harmed := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) <= 16384 {
			continue // the watermark
		}
		for at := 4096; at < 16384; at += 64 {
			b[at] ^= 0x55
		}
		harmed++
		want(t, "written", os.WriteFile(file, b, 0o644), nil)
	}
	want(t, "something was harmed", harmed > 0, true)
	store, err := badgerstore.Dir(dir).Open()
	if err == nil {
		store.Close()
	}
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File == "" {
		t.Errorf("it opens with %v", err)
	}
}

// packets are what the wire must carry unchanged.
func packets(r *rand.Rand) (all []*actors.Packet) {
	bodies := []raftcore.Body{
		&raftcore.VoteRequest{Pre: true, Priority: -1, Last: raftcore.EntryID{Term: 6, Index: 41}, Campaign: 4},
		&raftcore.VoteRequest{Transfer: true, Last: raftcore.EntryID{Term: 6, Index: 41}, Campaign: 5},
		&raftcore.VoteReply{Pre: true, Granted: true, Campaign: 4},
		&raftcore.AppendReply{Match: 41, Round: 9, Newcomer: true},
		&raftcore.AppendReply{Round: 9, Rejected: true, Probed: raftcore.EntryID{Term: 6, Index: 41}, Hint: raftcore.EntryID{Term: 5, Index: 30}},
		&raftcore.TimeoutNow{}, &raftcore.ReadRequest{Sequence: 5}, &raftcore.ReadReply{Sequence: 5, Index: 41},
	}
	for range 20 {
		a := &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 3, Index: raftcore.Index(r.IntN(1000))}, Round: r.Uint64N(1000), Commit: 7}
		for i := range raftcore.Index(r.IntN(5)) {
			e := raftcore.Entry{EntryID: raftcore.EntryID{Term: 3 + raftcore.Term(i), Index: a.Prev.Index + 1 + i}, Kind: raftcore.EntryCommand, Time: r.Int64N(1 << 40), Data: make([]byte, r.IntN(3000))}
			for j := range e.Data {
				e.Data[j] = byte(r.Uint32())
			}
			a.Entries = append(a.Entries, e)
		}
		bodies = append(bodies, a)
	}
	for i, b := range bodies {
		all = append(all, &actors.Packet{From: 1, Messages: []actors.GroupMessage{{Group: actors.GroupKey(i), Message: raftcore.Message{From: 1, To: 2, Term: 9, Cluster: 7, Incarnation: 8, Body: b}}}})
	}
	return all
}

// TestI13 has another process send back what it is sent, over the real wire.
func TestI13_WhatIsDecodedIsWhatWasEncodedAndGarbageIsHarmless(t *testing.T) {
	received := make(chan *actors.Packet, 100)
	up := make(chan bool, 10)
	r := remote.New(remote.Config{Listen: "127.0.0.1:0"})
	home := os.Getenv("CASTAWAY_SEEDS_HOME")
	if err := r.Start(newSystem(), map[bool]raftcore.NodeID{true: 1, false: 2}[home == ""], func(p *actors.Packet) { received <- p }); err != nil {
		t.Fatal(err)
	}
	defer r.Stop(context.Background())
	link := func(address string) actors.Link {
		return r.Link(address, func(e actors.LinkEvent) {
			if e == actors.LinkUp || e == actors.LinkWritable {
				up <- true
			}
		})
	}
	send := func(l actors.Link, p *actors.Packet) {
		for !l.Send(p) {
			<-up
		}
	}
	if home != "" { // the other process
		back := link(home)
		defer back.Close()
		fmt.Println("address", r.Address())
		go func() {
			for p := range received {
				p.From = 2
				send(back, p)
			}
		}()
		io.Copy(io.Discard, os.Stdin) // until the first one is done
		return
	}

	other := exec.Command(os.Args[0], "-test.run=^TestI13_", "-test.v")
	other.Env = append(os.Environ(), "CASTAWAY_SEEDS_HOME="+r.Address())
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		io.Copy(io.Discard, out)
		want(t, "the other process", other.Wait(), nil)
	}()
	address := ""
	for line := make([]byte, 4096); address == ""; {
		n, err := out.Read(line)
		if m := regexp.MustCompile(`address (\S+)`).FindSubmatch(line[:n]); m != nil {
			address = string(m[1])
		} else if err != nil {
			t.Fatal(err)
		}
	}

	garbage := rand.New(rand.NewPCG(13, 13))
	for range 20 { // strangers who say what comes to their minds
		c, err := net.Dial("tcp", r.Address())
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, garbage.IntN(2000))
		for i := range b {
			b[i] = byte(garbage.Uint32())
		}
		c.Write(b)
		c.Close()
	}
	l := link(address)
	defer l.Close()
	for _, p := range packets(garbage) {
		send(l, p)
		got := <-received
		want(t, "from", got.From, 2)
		if !reflect.DeepEqual(got.Messages, p.Messages) {
			t.Fatalf("there: %v\n back: %v", p.Messages, got.Messages)
		}
	}
}

func TestI14_FormatsOfThePastAreReadAndDocumented(t *testing.T) {
	old, err := filepath.Glob("../../persistence/badgerstore/testdata/format-*/*.tar.gz")
	if err != nil || len(old) < 3 {
		t.Fatal(old, err)
	}
	for _, file := range old {
		t.Run(strings.TrimPrefix(file, "../../persistence/badgerstore/testdata/"), func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, file, dir)
			store, err := badgerstore.Dir(dir).Open()
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			o, err := store.Open("orders")
			if err != nil {
				t.Fatal(err)
			}
			r := o.Recovered
			want(t, "term, vote, snapshot", fmt.Sprint(r.HardState.Term, r.HardState.Vote, r.Snapshot.Last), "3 2 1/20")
			entries, err := store.Load(o.Group, raftcore.Load{From: r.Base.Index + 1, To: r.Last, MaxBytes: 1 << 20})
			want(t, "error", err, nil)
			want(t, "entries", raftcore.Index(len(entries)), r.Last-r.Base.Index)
		})
	}
	// Each field of a packet is in the document, with its number and its type.
	proto, protocol := read(t, "../../remote/raftpb/castaway.proto"), read(t, "../../remote/PROTOCOL.md")
	_, packet, _ := strings.Cut(proto, "message Packet {")
	packet, _, _ = strings.Cut(packet, "\n}")
	fields := regexp.MustCompile(`(?m)^\s+(?:repeated )?(\w+) (\w+) = (\d+);`).FindAllStringSubmatch(packet, -1)
	want(t, "fields", len(fields) > 10, true)
	for _, f := range fields {
		if row := fmt.Sprintf("| %s %s | %s |", f[3], f[2], f[1]); !strings.Contains(protocol, row) {
			t.Errorf("PROTOCOL.md has no row %q", row)
		}
	}
	format := read(t, "../../persistence/FORMAT.md")
	for _, words := range []string{"## The journal, version", "## In Badger, version", "## Snapshots, version"} {
		want(t, words, strings.Contains(format, words), true)
	}
	for _, golden := range []string{"remote/testdata/packet-v1.hex", "persistence/journal/testdata/journal.txt", "persistence/badgerstore/testdata/store.txt", "persistence/snapshots/testdata/snapshot.txt"} {
		want(t, golden, len(read(t, "../../"+golden)) > 100, true)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(to, 0o755)
		} else {
			var b []byte
			if b, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestI15_ThreeTiers(t *testing.T) {
	tier := func(what string, n int, host func(*world, *actors.HostConfig)) {
		t.Run(what, func(t *testing.T) {
			inWorld(t, n, func(t *testing.T, w *world) {
				w.host = func(c *actors.HostConfig) { host(w, c) }
				want(t, "answer", w.start().propose("1"), "1:1")
			})
		})
	}
	tier("a handful of calls", 1, func(_ *world, c *actors.HostConfig) { c.Raft, c.Transport, c.Peers = raftcore.Config{}, nil, nil })
	tier("a struct of settings", 3, func(_ *world, c *actors.HostConfig) {
		c.Raft = raftcore.Config{ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond, MaxAppendBytes: 1 << 10}
	})
	p := &post{boxes: map[string]func(*actors.Packet){}, links: map[string][]func(actors.LinkEvent){}, rng: rand.New(rand.NewPCG(10, 1))}
	tier("a store and a transport of one's own", 3, func(w *world, c *actors.HostConfig) {
		c.Store, c.Transport = &tally{Opener: persistence.Memory()}, box{p, w.peers[c.ID]}
	})
	t.Run("the bare core", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		g.propose(g.settled(), "1")
	})
}

func TestI16_ErrorsSayWhetherToTryAgain(t *testing.T) {
	for err, family := range map[error]error{
		actors.ErrNotLeader: actors.ErrRejected, actors.ErrBusy: actors.ErrRejected, actors.ErrDiskFull: actors.ErrRejected, actors.ErrTooLarge: actors.ErrRejected,
		actors.ErrOverwritten: actors.ErrRejected, actors.ErrStopped: actors.ErrRejected, actors.ErrFaulted: actors.ErrRejected, actors.ErrBadRequest: actors.ErrRejected,
		actors.ErrChangeInProgress: actors.ErrRejected, actors.ErrConfigChanged: actors.ErrRejected, actors.ErrTransferFailed: actors.ErrUnknown,
		&actors.NotLeaderError{Leader: 2}: actors.ErrNotLeader, &actors.BusyError{What: "requests"}: actors.ErrBusy,
	} {
		if !errors.Is(err, family) || errors.Is(err, actors.ErrRejected) == errors.Is(err, actors.ErrUnknown) {
			t.Errorf("%v is of no family, or of both", err)
		}
	}
	// A bound is one of them, and a command that is too large; neither takes a place in the log.
	g := newCores(t, 1, 1, func(c *raftcore.Config) { c.MaxCommandBytes, c.MaxUncommittedBytes = 100, 300 })
	l := g.settled()
	last := l.Status().Last
	r := g.reply(l, func(tag raftcore.Tag) raftcore.Input { return raftcore.Propose{Tag: tag, Data: make([]byte, 101)} })
	want(t, "outcome", r.Outcome, raftcore.TooLarge)
	l.slow = true
	tags := []raftcore.Tag{g.tag(), g.tag(), g.tag(), g.tag()}
	for _, tag := range tags {
		l.Step(raftcore.Propose{Tag: tag, Data: make([]byte, 99)})
	}
	g.settle()
	refused := l.replies[tags[3]]
	want(t, "outcome", refused.Outcome, raftcore.Busy)
	want(t, "the bound", refused.Limit, "MaxUncommittedBytes")
	want(t, "it may have happened", refused.MaybeHappened, false)
	want(t, "entries", l.Status().Last < last+4, true)
}

func TestI17_MembersAreAddedAndRemovedAndTwiceIsAsGoodAsOnce(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Members, c.Join = ids(3), false }
		for _, h := range w.hosts[:3] {
			h.start()
		}
		w.group = func(c *actors.GroupConfig) { c.Join = true }
		w.hosts[3].start()
		w.until("there is a leader", func() bool { return w.hosts[0].status().Leader != raftcore.Nobody })
		change := func(m ...raftcore.NodeID) raftcore.Index {
			t.Helper()
			if err := w.hosts[0].group.ChangeMembers(w.ctx, actors.Members{Voters: m}); err != nil {
				t.Fatal(err)
			}
			return w.leader().status().ConfIndex
		}
		w.hosts[0].propose("before")
		added := change(1, 2, 3, 4)
		want(t, "asked again, nothing is appended", change(1, 2, 3, 4), added)
		want(t, "it has what came before", w.hosts[3].read(""), "before")
		removed := change(1, 2, 4)
		want(t, "asked again, nothing is appended", change(1, 2, 4), removed)
		w.until("who was removed knows", func() bool { return w.hosts[2].status().Removed() })
	})
}

func TestI18_AHandOverEndsAlsoIfItFails(t *testing.T) {
	g := newCores(t, 3, 3, nil)
	l := g.settled()
	to := g.other(l)
	g.isolate(to)
	for i := range 20 {
		g.propose(l, strconv.Itoa(i))
	}
	transfer := func(c *core, id raftcore.NodeID) raftcore.Reply {
		t.Helper()
		return g.reply(c, func(tag raftcore.Tag) raftcore.Input { return raftcore.Transfer{Tag: tag, To: id} })
	}
	r := transfer(l, to.cfg.ID)
	want(t, "outcome, of one that is away", r.Outcome, raftcore.TimedOut)
	g.propose(l, "the leader goes on")
	g.heal()
	want(t, "outcome", transfer(l, to.cfg.ID).Outcome, raftcore.Done)
	want(t, "leader", g.leader(), to)
	want(t, "it has caught up first", len(g.same()), 21)
	want(t, "outcome, of one that does not vote", transfer(to, 9).Outcome, raftcore.NotVoter)
}

func TestI19_SnapshotsAreHintedAtTakenAndRestored(t *testing.T) {
	g := newCores(t, 4, 3, func(c *raftcore.Config) { c.SnapshotEntries, c.KeepEntries = 20, -1 })
	l := g.settled()
	for i := range 19 - l.Status().Applied {
		g.propose(l, fmt.Sprint(i))
	}
	want(t, "snapshots before the threshold", len(l.images), 0)
	g.propose(l, "one more")
	want(t, "snapshots", len(l.images), 1)
	// It carries the members: who has nothing else knows them.
	g.reply(l, func(tag raftcore.Tag) raftcore.Input {
		return raftcore.ChangeConfig{Tag: tag, Conf: raftcore.ConfState{Voters: ids(4)}}
	})
	g.until("the new one has all", func() bool { return slices.Equal(g.node(4).log, l.log) })
	want(t, "it was restored", g.node(4).Status().First > 1, true)
	want(t, "it knows the members", len(g.node(4).members()), 4)
	before := g.same()
	g.restart(g.node(4))
	g.until("restored from its own disk", func() bool { return slices.Equal(g.node(4).log, before) })
}

func TestI20_WhoLagsIsProbedAndWhoFollowsIsFed(t *testing.T) {
	g := newCores(t, 3, 3, func(c *raftcore.Config) { c.MaxInflight = 4 })
	l := g.settled()
	behind := g.other(l)
	state := func() string {
		for _, p := range l.Status().Peers {
			if p.ID == behind.cfg.ID {
				return p.State.String()
			}
		}
		return ""
	}
	g.pass(electionTimeout)
	want(t, "state", state(), "replicate")
	// Without an answer it is sent a few messages, and no more.
	g.isolate(behind)
	l.sent = nil
	for range 30 {
		l.Step(raftcore.Propose{Data: []byte("x")})
		g.settle()
	}
	fed := 0
	for _, m := range l.sent {
		if a, is := m.Body.(*raftcore.AppendRequest); is && m.To == behind.cfg.ID && len(a.Entries) > 0 {
			fed++
		}
	}
	want(t, "messages under way", fed, 4)
	l.Step(raftcore.Unreachable{Peer: behind.cfg.ID})
	g.settle()
	want(t, "state", state(), "probe")
	g.heal()
	g.until("it is fed again", func() bool { return state() == "replicate" })
	want(t, "all of it", len(g.same()), 30)
}

func TestI21_AllFaultsAtOnceAndTheApplicationConverges(t *testing.T) {
	t.Run("the five properties", func(t *testing.T) {
		var sum rafttest.Stats
		for seed := range uint64(5) {
			p := rafttest.DrawPlan(seed)
			p.Voters, p.Spares, p.Faults, p.Proposals, p.Burst = 5, 2, 5*time.Second, 300, 5
			p.Loss, p.Duplicate, p.Delay, p.Straggler = 0.05, 0.05, 5*time.Millisecond, 0.02
			p.Partition, p.Heal, p.Crash, p.Restart = 500*time.Millisecond, 300*time.Millisecond, time.Second, 200*time.Millisecond
			p.Change, p.Transfer, p.Snapshots, p.Keep, p.ElectionTimeout = 500*time.Millisecond, time.Second, 20, -1, 200*time.Millisecond
			stats, err := rafttest.Run(p, nil)
			if err != nil {
				t.Fatalf("%v: %v", p, err)
			}
			sum = sum.Add(stats)
		}
		for what, n := range map[string]int{"lost": sum.Lost, "partitions": sum.Partitions, "changes": sum.ChangesDone, "snapshots sent": sum.Installs, "crashes": sum.Crashes, "acknowledged": sum.Acknowledged} {
			want(t, what, n > 0, true)
		}
	})
	t.Run("an application", func(t *testing.T) {
		happened := 0
		for seed := uint64(0); happened < 2 && seed < 10; seed++ {
			p := rafttest.DrawStackPlan(seed)
			p.Faults, p.Loss, p.Kill, p.Down, p.Partition, p.Heal, p.Change = 5*time.Second, 0.02, time.Second, 200*time.Millisecond, time.Second, 300*time.Millisecond, time.Second
			run, err := rafttest.RunStack(t, p, nil)
			if err != nil {
				t.Fatalf("%v: %v", p, err)
			}
			if run.Stats.Kills > 0 && run.Stats.Sets > 0 {
				happened++
			}
		}
		want(t, "it has happened", happened, 2)
	})
}

func TestI22_TheExamples(t *testing.T) {
	example := func(name string, n int, f func(t *testing.T, w *world)) {
		t.Run(name, func(t *testing.T) { inWorld(t, n, f) })
	}
	example("a single node", 1, func(t *testing.T, w *world) { want(t, "answer", w.start().propose("1"), "1:1") })
	example("a group in memory", 3, func(t *testing.T, w *world) {
		w.start().propose("1")
		for _, h := range w.hosts {
			want(t, "read", h.read(""), "1")
		}
	})
	example("a replicated log", 3, func(t *testing.T, w *world) {
		l := w.start()
		for i := range 10 {
			want(t, "answer", l.propose(fmt.Sprint(i)), fmt.Sprintf("%d:%d", i+1, i))
		}
		for _, h := range w.hosts {
			want(t, "log", h.read(""), "0 1 2 3 4 5 6 7 8 9")
		}
	})
	example("a store of keys and values", 3, func(t *testing.T, w *world) {
		w.group = func(c *actors.GroupConfig) { c.Machine = func() actors.StateMachine { return table{} } }
		l := w.start()
		l.propose("color=red")
		l.propose("size=7")
		l.propose("color=blue")
		want(t, "color", w.other(l).read("color"), "blue")
		want(t, "size", l.read("size"), "7")
	})
	example("members", 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("1")
		other := w.other(l)
		want(t, "removed", l.group.ChangeMembers(w.ctx, actors.Members{Voters: []raftcore.NodeID{l.id, w.other(l, other).id}}), nil)
		w.until("it knows", func() bool { return other.status().Removed() })
		want(t, "added", l.group.ChangeMembers(w.ctx, actors.Members{Voters: ids(3)}), nil)
		want(t, "read", other.read(""), "1")
	})
	example("a partition is survived", 3, func(t *testing.T, w *world) {
		l := w.start()
		l.propose("before")
		w.net.Isolate(w.peers[l.id])
		w.leader(l).propose("meanwhile")
		w.net.Heal()
		w.until("it has all", func() bool { return l.local() == "before meanwhile" })
	})
	example("a snapshot has a node catch up", 3, func(t *testing.T, w *world) {
		w.host = func(c *actors.HostConfig) { c.Raft.SnapshotEntries, c.Raft.KeepEntries = 10, -1 }
		l := w.start()
		behind := w.other(l)
		behind.stop()
		for i := range 50 {
			l.propose(fmt.Sprint(i))
		}
		w.until("the log begins later", func() bool { return l.status().First > 20 })
		first := l.status().First
		behind.start()
		w.until("it has all", func() bool { return len(strings.Fields(behind.local())) == 50 })
		want(t, "from a snapshot", behind.status().First >= first, true)
	})
	t.Run("a node with a disk", func(t *testing.T) {
		dir := t.TempDir()
		onDisk(t, dir, func(g *actors.Group) { mustPropose(t, g, "1") })
		onDisk(t, dir, func(g *actors.Group) { want(t, "read", mustRead(t, g), "1") })
	})
}

// table is a state machine of keys and values.
type table map[string]string

func (k table) Apply(e actors.Entry) []byte {
	key, value, _ := strings.Cut(string(e.Data), "=")
	k[key] = value
	return nil
}

func (k table) Query(_ context.Context, key []byte) ([]byte, error) {
	return []byte(k[string(key)]), nil
}

func (k table) Snapshot() (io.WriterTo, error) {
	var b bytes.Buffer
	for key, value := range k {
		fmt.Fprintf(&b, "%s=%s\n", key, value)
	}
	return &b, nil
}

func (k table) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		k[key] = value
	}
	return err
}

func TestI23_WhatItLeftOutIsHere(t *testing.T) {
	t.Run("reads without a write, by a round or a lease", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			w.host = func(c *actors.HostConfig) { c.Raft.LeaseReads = true }
			l := w.start()
			l.propose("1")
			last := l.status().Last
			for _, c := range []actors.Consistency{actors.Linearizable, actors.Lease} {
				for _, h := range w.hosts {
					r, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.Read, Consistency: c})
					if err != nil || string(r.Data) != "1" {
						t.Fatalf("%v on host %d: %q %v", c, h.id, r.Data, err)
					}
				}
			}
			want(t, "entries that it took", l.status().Last-last, 0)
		})
	})
	t.Run("learners", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			l := w.start()
			learner := w.other(l)
			want(t, "error", l.group.ChangeMembers(w.ctx, actors.Members{Voters: []raftcore.NodeID{l.id, w.other(l, learner).id}, Learners: []raftcore.NodeID{learner.id}}), nil)
			l.propose("1")
			want(t, "a learner reads", learner.read(""), "1")
		})
	})
	t.Run("witnesses", func(t *testing.T) {
		g := newCores(t, 3, 2, func(c *raftcore.Config) { c.Witness = c.ID == 3 })
		l := g.settled()
		l.Step(raftcore.ChangeConfig{Tag: 1, Conf: raftcore.ConfState{Voters: ids(3), Witnesses: []raftcore.NodeID{3}}})
		g.until("the witness votes", func() bool { r, replied := l.replies[1]; return replied && r.Outcome == raftcore.Done })
		gone := g.node(3 - l.cfg.ID) // of 1 and 2 the other one
		g.lost = func(m raftcore.Message) bool { return m.From == gone.cfg.ID || m.To == gone.cfg.ID }
		l.Step(raftcore.Propose{Tag: 2, Data: []byte("with its help")})
		g.until("it is committed", func() bool { return l.done[2] > 0 })
		want(t, "what the witness has applied", len(g.node(3).log), 0)
		want(t, "what the leader has", l.log[len(l.log)-1], "with its help")
	})
	t.Run("a leader that hears of no quorum leads no more", func(t *testing.T) {
		g := newCores(t, 3, 3, nil)
		l := g.settled()
		g.lost = func(m raftcore.Message) bool { return m.To == l.cfg.ID } // it is heard, and hears nothing
		g.until("it steps down", func() bool { return l.Status().Role != raftcore.Leader })
		g.until("another leads", func() bool { next := g.leader(l); return next != nil })
	})
}
