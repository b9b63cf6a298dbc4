// Package seeds holds Castaway to what the systems promised that it grew from: rast,
// raftbare, raft-io, async-raft and little-raft. Each published example, and each
// capability that their documents name, is a test that does the same thing with this
// library, in its own words.
//
// A file for each system: R1 to R25 are rast, B1 to B23 raftbare, I1 to I23 raft-io, A1 to
// A22 async-raft, L1 to L17 little-raft. What was a core there is tested with package
// raftcore, what ran by itself with whole hosts, what was a disk with real ones.
package seeds

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// cores is a group of bare cores in one goroutine. Each has a Store in memory, and a
// machine that remembers its commands. The clock is the test's, and so is the post.
type cores struct {
	t     testing.TB
	now   raftcore.Instant
	nodes []*core // by ID - 1
	mail  []raftcore.Message
	// lost says which messages do not arrive. Nil: all do.
	lost func(raftcore.Message) bool
	// post, if it is set, may repeat and reorder what waits.
	post func([]raftcore.Message) []raftcore.Message
}

// core is a node, and its neighbours.
type core struct {
	*raftcore.Node
	cfg  raftcore.Config
	disk persistence.Opener

	store persistence.Store
	group persistence.GroupID
	slow  bool            // Saves wait until saved is called
	saves []raftcore.Save // that are under way
	sent  []raftcore.Message

	log     []string // the commands that the machine has applied
	applied raftcore.Index
	time    int64 // of that entry
	images  map[raftcore.Index][]string

	done    map[raftcore.Tag]raftcore.Index // proposals that were applied
	reads   map[raftcore.Tag]raftcore.Index
	replies map[raftcore.Tag]raftcore.Reply
	stages  []raftcore.StageAt
}

const electionTimeout = 100 * time.Millisecond

// newCores returns n nodes. The first founders of them have founded a group; the others
// wait to be added.
func newCores(t testing.TB, n, founders int, change func(*raftcore.Config)) *cores {
	t.Helper()
	g := &cores{t: t, now: 1}
	for i := range n {
		cfg := raftcore.Config{ID: raftcore.NodeID(i + 1), Seed: uint64(i + 1), ElectionTimeout: electionTimeout, Joins: i >= founders}
		if change != nil {
			change(&cfg)
		}
		c := &core{cfg: cfg, disk: persistence.Memory(), images: map[raftcore.Index][]string{}}
		g.nodes = append(g.nodes, c)
		g.start(c)
		if i < founders {
			c.Step(raftcore.Bootstrap{Cluster: 7, Conf: raftcore.ConfState{Voters: ids(founders)}})
		}
	}
	return g
}

// ids returns 1 to n.
func ids(n int) (all []raftcore.NodeID) {
	for i := range n {
		all = append(all, raftcore.NodeID(i+1))
	}
	return all
}

func (c *core) members() []raftcore.NodeID {
	conf := c.Status().Conf
	return conf.Members()
}

func (g *cores) node(id raftcore.NodeID) *core { return g.nodes[id-1] }

// start starts a node from its disk.
func (g *cores) start(c *core) {
	g.t.Helper()
	store, err := c.disk.Open()
	if err != nil {
		g.t.Fatal(err)
	}
	opened, err := store.Open("group")
	if err != nil {
		g.t.Fatal(err)
	}
	c.cfg.Boot = opened.Boot
	node, err := raftcore.New(c.cfg, opened.Recovered)
	if err != nil {
		g.t.Fatal(err)
	}
	c.Node, c.store, c.group = node, store, opened.Group
	c.slow, c.saves, c.log, c.applied = false, nil, nil, 0
	c.done, c.reads, c.replies = map[raftcore.Tag]raftcore.Index{}, map[raftcore.Tag]raftcore.Index{}, map[raftcore.Tag]raftcore.Reply{}
}

// crash ends a node with all that it had in memory.
func (g *cores) crash(c *core) {
	g.t.Helper()
	if err := c.store.Close(); err != nil {
		g.t.Fatal(err)
	}
	c.Node = nil
}

func (g *cores) restart(c *core) {
	g.t.Helper()
	g.crash(c)
	g.start(c)
}

// act does what a node wants, and reports whether that was anything.
func (g *cores) act(c *core) bool {
	var out raftcore.Output // a fresh one, so that what it says may be kept
	c.Drain(&out)
	if out.Empty() {
		return false
	}
	c.sent = append(c.sent, out.Send...)
	g.mail = append(g.mail, out.Send...)
	c.stages = append(c.stages, out.Stages...)
	for _, r := range out.Replies {
		c.replies[r.Tag] = r
	}
	for _, r := range out.Reads {
		c.reads[r.Tag] = r.Index
	}
	if out.Restore != nil {
		c.log, c.applied, c.time = slices.Clone(c.images[out.Restore.Last.Index]), out.Restore.Last.Index, out.Restore.Time
		c.Step(raftcore.Applied{Index: c.applied})
	}
	g.apply(c, out.Apply)
	if out.Compact {
		c.images[c.applied] = slices.Clone(c.log)
		c.Step(raftcore.SnapshotTaken{Index: c.applied, Time: c.time})
	}
	for _, l := range out.Load {
		entries, err := c.store.Load(c.group, l)
		if err != nil {
			g.t.Fatal(err)
		}
		c.Step(raftcore.Loaded{Load: l, Entries: entries})
	}
	if out.Save.Token.Sequence != 0 {
		if c.saves = append(c.saves, out.Save); !c.slow {
			g.saved(c)
		}
	}
	return true
}

func (g *cores) apply(c *core, a raftcore.Apply) {
	for _, e := range a.Entries {
		if e.Index != c.applied+1 {
			g.t.Fatalf("node %d applies entry %d after %d", c.cfg.ID, e.Index, c.applied)
		}
		if e.Kind == raftcore.EntryCommand {
			c.log = append(c.log, string(e.Data))
		}
		c.applied, c.time = e.Index, e.Time
	}
	for _, tag := range a.Tags {
		c.done[tag.Tag] = tag.Index
	}
	if len(a.Entries) > 0 {
		c.Step(raftcore.Applied{Index: c.applied})
	}
}

// saved completes the Saves that are under way.
func (g *cores) saved(c *core) {
	g.t.Helper()
	for _, s := range c.saves {
		if err := c.store.Save([]persistence.Save{{Group: c.group, Save: s}}); err != nil {
			g.t.Fatal(err)
		}
		c.Step(raftcore.Saved{Token: s.Token})
	}
	c.saves = nil
}

// settle lets everybody act until nothing is left to be done at this instant.
func (g *cores) settle() {
	g.t.Helper()
	for range 10000 {
		busy := false
		for _, c := range g.nodes {
			busy = c.Node != nil && g.act(c) || busy
		}
		mail := g.mail
		if g.mail = nil; g.post != nil {
			mail = g.post(mail)
		}
		for _, m := range mail {
			g.deliver(m)
		}
		if !busy && len(mail) == 0 {
			return
		}
	}
	g.t.Fatal("they do not come to rest")
}

func (g *cores) deliver(m raftcore.Message) {
	to, from := g.node(m.To), g.node(m.From)
	if to.Node == nil || g.lost != nil && g.lost(m) {
		return
	}
	if s, is := m.Body.(*raftcore.SnapshotRequest); is { // the snapshot comes with it
		to.images[s.Snapshot.Last.Index] = from.images[s.Snapshot.Last.Index]
		if from.Node != nil {
			from.Step(raftcore.SnapshotSent{Peer: m.To, Index: s.Snapshot.Last.Index, Status: raftcore.SnapshotDelivered})
		}
	}
	to.Step(raftcore.Receive{Message: m})
}

// pass lets time pass.
func (g *cores) pass(d time.Duration) {
	g.t.Helper()
	for end := g.now.Add(d); g.now < end; {
		g.now = g.now.Add(5 * time.Millisecond)
		for _, c := range g.nodes {
			if c.Node != nil {
				c.Step(raftcore.Tick{Now: g.now, Time: int64(g.now) / 1e6})
			}
		}
		g.settle()
	}
}

// until lets time pass until a condition holds.
func (g *cores) until(what string, condition func() bool) {
	g.t.Helper()
	for range 10000 {
		if condition() {
			return
		}
		g.pass(5 * time.Millisecond)
	}
	g.t.Fatalf("it never happened that %s", what)
}

// leader waits for a leader that all who are up follow, but for those in not.
func (g *cores) leader(not ...*core) (leader *core) {
	g.t.Helper()
	g.until("somebody leads", func() bool {
		leader = nil
		for _, c := range g.nodes {
			if c.Node == nil || slices.Contains(not, c) {
				continue
			}
			if s := c.Status(); s.Readable {
				leader = c
			}
		}
		return leader != nil
	})
	return leader
}

// settled waits for a leader, and until all who are to vote do.
func (g *cores) settled() *core {
	g.t.Helper()
	l := g.leader()
	g.until("all have joined", func() bool {
		for _, id := range l.members() {
			if !g.node(id).Status().Joined {
				return false
			}
		}
		return true
	})
	return g.leader()
}

// other returns a voter that is none of these.
func (g *cores) other(not ...*core) *core {
	for _, c := range g.nodes {
		if c.Node != nil && !slices.Contains(not, c) {
			return c
		}
	}
	return nil
}

// propose has a node take a command, and returns where that has its place when it is
// applied there.
func (g *cores) propose(c *core, command string) raftcore.Index {
	g.t.Helper()
	tag := g.tag()
	c.Step(raftcore.Propose{Tag: tag, Data: []byte(command)})
	g.until(command+" is applied", func() bool { return c.done[tag] != 0 || c.replies[tag].Tag != 0 })
	if r := c.replies[tag]; r.Tag != 0 {
		g.t.Fatalf("%s: %v", command, r)
	}
	return c.done[tag]
}

var lastTag raftcore.Tag

func (g *cores) tag() raftcore.Tag { lastTag++; return lastTag }

// reply has a node be asked for something that ends in a Reply, and returns that.
func (g *cores) reply(c *core, ask func(raftcore.Tag) raftcore.Input) raftcore.Reply {
	g.t.Helper()
	tag := g.tag()
	c.Step(ask(tag))
	g.until("it is answered", func() bool { return c.replies[tag].Tag != 0 })
	return c.replies[tag]
}

// isolate loses all messages from and to a node, until heal.
func (g *cores) isolate(c *core) {
	g.lost = func(m raftcore.Message) bool { return m.From == c.cfg.ID || m.To == c.cfg.ID }
}

func (g *cores) heal() { g.lost = nil }

// same waits until all who are up, and take part, have applied the same, and returns it.
func (g *cores) same() []string {
	g.t.Helper()
	l := g.leader()
	g.until("all have applied the same", func() bool {
		for _, id := range l.members() {
			if c := g.node(id); c.Node != nil && !slices.Equal(c.log, l.log) {
				return false
			}
		}
		return l.Status().Applied == l.Status().Last
	})
	return l.log
}

// ledger is a state machine that remembers its commands, and answers how many there were
// and the last one.
type ledger struct{ log []string }

func (l *ledger) Apply(e actors.Entry) []byte {
	l.log = append(l.log, string(e.Data))
	return fmt.Appendf(nil, "%d:%s", len(l.log), e.Data)
}

func (l *ledger) Query(_ context.Context, question []byte) ([]byte, error) {
	if string(question) == "last" && len(l.log) > 0 {
		return []byte(l.log[len(l.log)-1]), nil
	}
	return []byte(strings.Join(l.log, " ")), nil
}

func (l *ledger) Snapshot() (io.WriterTo, error) {
	var b bytes.Buffer
	return &b, gob.NewEncoder(&b).Encode(l.log)
}

func (l *ledger) Restore(r io.Reader) error { return gob.NewDecoder(r).Decode(&l.log) }

// world is some hosts in a bubble of fake time, and the network between them.
type world struct {
	t     *testing.T
	ctx   context.Context
	net   *rafttest.Network
	hosts []*hostUp // by ID - 1
	peers map[raftcore.NodeID]string
	// Before a host starts, or opens its group, these may change how.
	host  func(*actors.HostConfig)
	group func(*actors.GroupConfig)
}

type hostUp struct {
	world *world
	id    raftcore.NodeID
	disk  persistence.Opener
	*actors.Host
	group *actors.Group
	// machine is the newest that was made for its group.
	machine actors.StateMachine
}

// newWorld returns n hosts that are down.
func newWorld(t *testing.T, n int) *world {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, net: rafttest.NewNetwork(1), peers: map[raftcore.NodeID]string{}}
	for _, id := range ids(n) {
		w.peers[id] = fmt.Sprintf("host-%d", id)
		w.hosts = append(w.hosts, &hostUp{world: w, id: id, disk: snapshots.Beside(persistence.Memory(), t.TempDir(), snapshots.Options{})})
	}
	return w
}

// inWorld runs f with n hosts in a bubble of fake time; who is up in the end is stopped.
// f starts them.
func inWorld(t *testing.T, n int, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n)
		defer time.Sleep(time.Minute) // fake: protoactor's dead-letter throttle outlives what it counts
		defer func() {
			for _, h := range w.hosts {
				h.stop()
			}
		}()
		f(t, w)
	})
}

// start starts all hosts, opens the group on each, and returns the leader's when all count.
func (w *world) start() *hostUp {
	w.t.Helper()
	for _, h := range w.hosts {
		h.start()
	}
	return w.settled()
}

func (h *hostUp) start() {
	h.world.t.Helper()
	h.startHost()
	h.open()
}

func (h *hostUp) startHost() {
	h.world.t.Helper()
	cfg := actors.HostConfig{
		ID: h.id, Store: h.disk, Transport: h.world.net.Transport(h.world.peers[h.id]), Peers: h.world.peers,
		Raft: raftcore.Config{ElectionTimeout: electionTimeout, Seed: uint64(h.id)},
	}
	if h.world.host != nil {
		h.world.host(&cfg)
	}
	host, err := actors.Start(newSystem(), cfg)
	if err != nil {
		h.world.t.Fatal(err)
	}
	h.Host = host
}

func (h *hostUp) open() {
	h.world.t.Helper()
	cfg := actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &ledger{} }}
	if h.world.group != nil {
		h.world.group(&cfg)
	}
	made := cfg.Machine
	cfg.Machine = func() actors.StateMachine {
		h.machine = made()
		return h.machine
	}
	group, err := h.Open(h.world.ctx, cfg)
	if err != nil {
		h.world.t.Fatal(err)
	}
	h.group = group
}

func (h *hostUp) stop() {
	h.world.t.Helper()
	if h.Host == nil {
		return
	}
	if err := h.Host.Stop(h.world.ctx); err != nil {
		h.world.t.Fatal(err)
	}
	h.Host = nil
}

func init() { slog.SetLogLoggerLevel(slog.LevelError + 1) } // tests say what they miss

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

func (h *hostUp) status() actors.Status {
	h.world.t.Helper()
	s, err := h.group.Status(h.world.ctx)
	if err != nil {
		h.world.t.Fatal(err)
	}
	return s
}

// until waits for a condition, in fake time.
func (w *world) until(what string, condition func() bool) {
	w.t.Helper()
	for range 100000 {
		if condition() {
			return
		}
		time.Sleep(time.Millisecond) // fake
	}
	w.t.Fatalf("it never happened that %s", what)
}

// leader waits for a host that leads, and is none of these.
func (w *world) leader(not ...*hostUp) (leader *hostUp) {
	w.t.Helper()
	w.until("somebody leads", func() bool {
		for _, h := range w.hosts {
			if h.Host != nil && !slices.Contains(not, h) && h.status().Readable {
				leader = h
			}
		}
		return leader != nil
	})
	return leader
}

// settled waits until every member that is up counts.
func (w *world) settled() *hostUp {
	w.t.Helper()
	for _, h := range w.hosts {
		if h.Host != nil {
			w.until("it has joined", func() bool { return h.status().Joined })
		}
	}
	return w.leader()
}

// other returns a host that is up, and none of these.
func (w *world) other(not ...*hostUp) *hostUp {
	for _, h := range w.hosts {
		if h.Host != nil && !slices.Contains(not, h) {
			return h
		}
	}
	return nil
}

func (h *hostUp) propose(command string) string {
	h.world.t.Helper()
	answer, err := h.group.Propose(h.world.ctx, []byte(command))
	if err != nil {
		h.world.t.Fatalf("proposing %q on host %d: %v", command, h.id, err)
	}
	return string(answer)
}

func (h *hostUp) read(question string) string {
	h.world.t.Helper()
	answer, err := h.group.Read(h.world.ctx, []byte(question))
	if err != nil {
		h.world.t.Fatalf("reading on host %d: %v", h.id, err)
	}
	return string(answer)
}

// local asks for what the host's member has applied, whatever the others have.
func (h *hostUp) local() string {
	h.world.t.Helper()
	r, err := h.group.Do(h.world.ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local})
	if err != nil {
		h.world.t.Fatal(err)
	}
	return string(r.Data)
}

// want checks that two values are equal.
func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, not %v", what, got, want)
	}
}
