package actors_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// The tests of this package run whole actor systems with fake time: in a
// synctest bubble, over a simulated network. A goroutine that outlives its host
// ends the test with a deadlock.

// register is a state machine that remembers its commands. "panic" panics,
// unless it was told not to any more.
type register struct {
	world *world
	on    raftcore.NodeID
	log   []string
}

func (r *register) Apply(e actors.Entry) []byte {
	command := string(e.Data)
	if r.world.panics(command, r.on) {
		panic("the machine does not like " + command)
	}
	if r.world.slow.Load() {
		time.Sleep(time.Millisecond) // fake
	}
	if command == "stall" {
		<-r.world.stalled
	}
	r.log = append(r.log, command)
	return fmt.Appendf(nil, "%d:%s", len(r.log), command)
}

func (r *register) Query(ctx context.Context, question []byte) ([]byte, error) {
	switch string(question) {
	case "error":
		return nil, errors.New("no such thing")
	case "panic":
		panic("what a question")
	case "stall":
		<-r.world.stalled
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "wait to be freed":
		<-r.world.freed
		return nil, nil
	case "all":
		return []byte(strings.Join(r.log, "\n")), nil
	case "len":
		return fmt.Append(nil, len(r.log)), nil
	}
	if len(r.log) == 0 {
		return nil, nil
	}
	return []byte(r.log[len(r.log)-1]), nil
}

func (r *register) Snapshot() (io.WriterTo, error) {
	if r.world.fails("Snapshot") {
		return nil, errors.New("no snapshot now")
	}
	if r.world.fails("WriteTo") {
		return failingImage{}, nil
	}
	var b bytes.Buffer
	return &b, json.NewEncoder(&b).Encode(r.log)
}

type failingImage struct{}

func (failingImage) WriteTo(w io.Writer) (int64, error) {
	n, _ := w.Write([]byte("half of "))
	return int64(n), errors.New("no more now")
}

func (r *register) Restore(from io.Reader) error { return json.NewDecoder(from).Decode(&r.log) }

// world is some hosts, their disks, and the network between them.
type world struct {
	t     *testing.T
	ctx   context.Context
	net   *rafttest.Network
	hosts []*hostUp // by ID - 1
	peers map[raftcore.NodeID]string

	mu        sync.Mutex
	panicking string          // the command that machines panic at; and all that begin with it and "-"
	panicOn   raftcore.NodeID // on this host alone, if it is not zero
	spared    raftcore.NodeID // not on this host
	failing   string          // the method that fails
	takenBack bool            // what was applied may be taken back
	stalled   chan struct{}   // until it is closed, who is told "stall" waits

	freed chan struct{} // who is asked to wait does until it is closed

	slow   atomic.Bool  // machines take their time to apply
	chunks atomic.Int64 // bytes of snapshots that were sent

	machine func(*hostUp) actors.StateMachine // nil: a register
	batches bool                              // all machines with disks apply in batches

	founders  []raftcore.NodeID // nil: all
	witnesses []raftcore.NodeID // of the founders
	autopilot *actors.Autopilot // of the groups that are opened from now on

	beats  atomic.Int64 // that were sent
	spoken sync.Map     // the groups of which a message was sent
}

type hostUp struct {
	world *world
	id    raftcore.NodeID
	disk  persistence.Opener
	host  *actors.Host
	group *actors.Group
	addr  string
	every int  // entries between two snapshots; 0: it takes none
	pace  int  // bytes of snapshots that it sends in a second; 0: any number
	join  bool // it is not among the founders

	witness bool // it has no machine

	versions actors.Versions // of its program
	priority int             // in all groups that it opens
	balances time.Duration   // HostConfig.BalanceInterval
}

// inWorld runs f with n hosts, all up, in a bubble of fake time.
func inWorld(t *testing.T, n int, f func(w *world)) { inWorldWith(t, n, nil, f) }

// inWorldWith is inWorld, where some of the founders are witnesses.
func inWorldWith(t *testing.T, n int, witnesses []raftcore.NodeID, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		w := &world{t: t, ctx: ctx, net: rafttest.NewNetwork(1), peers: map[raftcore.NodeID]string{}, stalled: make(chan struct{}), freed: make(chan struct{}), witnesses: witnesses}
		for i := range n {
			w.peers[raftcore.NodeID(i+1)] = fmt.Sprintf("host-%d", i+1)
		}
		for i := range n {
			id := raftcore.NodeID(i + 1)
			h := &hostUp{world: w, id: id, disk: persistence.Memory(), addr: w.peers[id], witness: slices.Contains(witnesses, id)}
			w.hosts = append(w.hosts, h)
			h.start()
		}
		defer time.Sleep(time.Minute) // fake: protoactor's dead-letter throttle outlives what it counts
		defer func() {
			for _, h := range w.hosts {
				h.stop()
			}
		}()
		f(w)
	})
}

func (w *world) panics(command string, on raftcore.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.panicking != "" && (command == w.panicking || strings.HasPrefix(command, w.panicking+"-")) && (w.panicOn == 0 || w.panicOn == on) && (w.spared == 0 || w.spared != on)
}

func (w *world) fails(method string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing == method
}

func (w *world) failAt(method string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = method
}

func (w *world) panicAt(command string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.panicking = command
}

func (h *hostUp) config() actors.HostConfig {
	cfg := actors.HostConfig{
		ID: h.id, Store: h.disk, Transport: countingTransport{h.world.net.Transport(h.addr), h.world}, Peers: h.world.peers,
		Raft: raftcore.Config{ElectionTimeout: 100 * time.Millisecond, Seed: uint64(h.id)},
	}
	cfg.BalanceInterval, cfg.MaxSnapshotBytesPerSecond = h.balances, h.pace
	if h.every > 0 {
		cfg.Raft.SnapshotEntries, cfg.Raft.KeepEntries = h.every, -1
	}
	return cfg
}

// countingTransport counts what is sent.
type countingTransport struct {
	actors.Transport
	world *world
}

func (c countingTransport) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	return countingLink{c.Transport.Link(address, notify), c.world}
}

type countingLink struct {
	actors.Link
	world *world
}

func (c countingLink) Send(p *actors.Packet) bool {
	for i := range p.Snapshots {
		if chunk := p.Snapshots[i].Chunk; chunk != nil {
			c.world.chunks.Add(int64(len(chunk.Data)))
		}
	}
	for i := range p.Messages {
		c.world.spoken.Store(p.Messages[i].Group, true)
	}
	if p.Beat != nil {
		c.world.beats.Add(1)
	}
	return c.Link.Send(p)
}

// start brings the host up, with its group.
func (h *hostUp) start() {
	h.world.t.Helper()
	h.startWith(h.config())
}

func (h *hostUp) startWith(cfg actors.HostConfig) {
	h.world.t.Helper()
	h.startHost(cfg)
	h.group = h.open("group")
}

func (h *hostUp) startHost(cfg actors.HostConfig) {
	h.world.t.Helper()
	host, err := actors.Start(newSystem(), cfg)
	if err != nil {
		h.world.t.Fatal(err)
	}
	h.host = host
}

func (h *hostUp) machine() actors.StateMachine { return &register{world: h.world, on: h.id} }

func (h *hostUp) open(name string) *actors.Group {
	h.world.t.Helper()
	machine := h.machine
	if make := h.world.machine; make != nil {
		machine = func() actors.StateMachine { return make(h) }
	}
	cfg := actors.GroupConfig{Name: name, Join: h.join, Machine: machine, Versions: h.versions, Members: h.world.founders, Autopilot: h.world.autopilot, Priority: h.priority}
	if h.witness {
		cfg.Machine, cfg.Witness, cfg.Versions = nil, true, actors.Versions{}
	}
	if !h.join {
		cfg.Witnesses = h.world.witnesses
	}
	g, err := h.host.Open(h.world.ctx, cfg)
	if err != nil {
		h.world.t.Fatal(err)
	}
	return g
}

func (h *hostUp) stop() {
	h.world.t.Helper()
	if h.host == nil {
		return
	}
	if err := h.host.Stop(h.world.ctx); err != nil {
		h.world.t.Fatal(err)
	}
	synctest.Wait() // what comes from another host at this moment is counted, and then refused
	if calls, saves := h.host.Waiting(); calls != 0 || saves != 0 || h.host.Tables() != 0 {
		h.world.t.Errorf("host %d has stopped, and counts %d bytes of requests, %d of entries, %d of results and effects", h.id, calls, saves, h.host.Tables())
	}
	h.host = nil
}

func init() { slog.SetLogLoggerLevel(slog.LevelError + 1) } // tests say what they miss

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
}

// leader waits for a host that leads the group, and that the others of its side
// follow. Hosts in not do not count.
func (w *world) leader(not ...*hostUp) *hostUp {
	w.t.Helper()
	for range 10000 {
		for _, h := range w.hosts {
			if h.host == nil || slices.Contains(not, h) {
				continue
			}
			if s := h.status(); s.Role == raftcore.Leader && s.Readable {
				return h
			}
		}
		time.Sleep(time.Millisecond) // fake
	}
	w.t.Fatal("nobody leads")
	return nil
}

// settled waits until every member counts: founders whose disks are fresh elect
// nobody without the first leader.
func (w *world) settled() *hostUp {
	w.t.Helper()
	for _, h := range w.hosts {
		w.until("it has joined", func() bool { return h.status().Joined })
	}
	return w.leader()
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
		h.world.t.Fatalf("reading %q on host %d: %v", question, h.id, err)
	}
	return string(answer)
}

// ask asks the host's member, and nobody else has to be asked.
func (h *hostUp) ask(ctx context.Context, c actors.Consistency, maxAge time.Duration, after raftcore.Index, question string) (*actors.Response, error) {
	return h.group.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: c, MaxAge: maxAge, After: after, Data: []byte(question)})
}

// local asks for what the host's member has applied.
func (h *hostUp) local(ctx context.Context, question string) ([]byte, error) {
	r, err := h.ask(ctx, actors.Local, 0, 0, question)
	return r.Data, err
}
