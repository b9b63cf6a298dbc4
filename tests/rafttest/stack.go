package rafttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// StackRun is what came of a StackPlan.
type StackRun struct {
	Stats   StackStats
	History []StackOp
	Hash    uint64   // of every event: the same plan has the same
	Tail    []string // the newest events
}

// RunStack carries out a plan: whole hosts with their actors, and clients that are
// actors, too, in one Queue; then calm, in which all of it must come to rest, with every
// member in the same state. Then what the clients were told is held against what was
// carried out, for each of the groups. It returns the first thing that is wrong. trace may be nil.
func RunStack(t *testing.T, plan StackPlan, trace func(string)) (StackRun, error) {
	return runStack(t, plan, nil, trace)
}

// runStack runs a plan, with a group of somebody else's machine if there is one.
func runStack(t *testing.T, plan StackPlan, theirs *StateMachine, trace func(string)) (run StackRun, err error) {
	ended := false
	defer func() { // testing/synctest notices goroutines that are left
		p := recover()
		switch {
		case p != nil && (!ended || !strings.Contains(fmt.Sprint(p), "deadlock")):
			panic(p)
		case p != nil && err == nil:
			err = fmt.Errorf("hosts that have ended leave goroutines behind, or something waits for what never comes: %v", p)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		s := newStack(plan, theirs, trace)
		defer func() {
			s.stats.Events, s.stats.Overtakes = int(s.queue.ran), s.net.overtakes
			run = StackRun{s.stats, s.main().history, s.queue.trace.hash, s.queue.trace.newest(60)}
		}()
		err = s.run()
		s.abandon()
		time.Sleep(5 * time.Second) // fake: protoactor's dead-letter throttle outlives what it counts
		ended = true
	})
	return run, err
}

// stack is a simulated installation.
type stack struct {
	plan    StackPlan
	theirs  *StateMachine // that somebody wants to see here, or nil
	queue   *Queue
	net     *Network
	groups  []*stackGroup
	byKey   map[actors.GroupKey]*stackGroup
	hosts   []*stackHost // by ID - 1
	peers   map[raftcore.NodeID]string
	clients []*stackClient
	tries   map[*actors.Request]*stackTry
	calm    bool // no faults any more
	quiet   bool // and no clients
	mended  bool // no machine panics at poison any more
	extinct bool // the actors that are monitored are gone

	log   []byte // what all have carried out, in the end
	err   error  // the first thing that was wrong
	stats StackStats
}

func newStack(plan StackPlan, theirs *StateMachine, trace func(string)) *stack {
	s := &stack{
		plan: plan, theirs: theirs, queue: NewQueue(plan.Seed), byKey: map[actors.GroupKey]*stackGroup{},
		tries: map[*actors.Request]*stackTry{}, peers: map[raftcore.NodeID]string{},
	}
	s.queue.trace.tell = trace
	s.net = s.queue.Network()
	s.net.SetFaults(plan.Loss, plan.Delay)
	s.addGroups()
	for i := range plan.Hosts {
		id := raftcore.NodeID(i + 1)
		h := &stackHost{stack: s, id: id, address: fmt.Sprintf("host-%d", id), clock: queueClock{rate: 1}}
		if d := plan.Drift; d > 0 {
			h.clock = queueClock{rate: 1 + float64(s.queue.rng.IntN(2*d+1)-d)/1000, shown: s.queue.between(0, 200*time.Millisecond)}
		}
		for _, g := range s.groups {
			h.members = append(h.members, &stackMember{host: h, of: g, joins: i >= plan.Founders})
		}
		h.disk = newStackDisk(h, s.queue.rng.Uint64())
		s.peers[id] = h.address
		s.hosts = append(s.hosts, h)
	}
	return s
}

// fail notes the first thing that is wrong; nothing happens after it.
func (s *stack) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
		s.queue.note(nil, s.err.Error(), "IT IS WRONG")
	}
}

// until runs until done says so. It fails if that takes too long.
func (s *stack) until(what string, limit time.Duration, done func() bool) {
	end := s.queue.now + limit
	for s.err == nil && !done() {
		if s.queue.now >= end {
			s.fail("%w: it never happened that %s: %s", ErrLiveness, what, strings.Join(s.states(), "; "))
			return
		}
		s.queue.Run(min(end, s.queue.now+10*time.Millisecond), func() bool { return s.err != nil || done() })
	}
}

func (s *stack) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			b := make([]byte, 4<<10)
			err = fmt.Errorf("panic: %v\n%s", r, b[:runtime.Stack(b, false)])
		}
	}()
	for _, h := range s.hosts {
		s.queue.At(0, "start", h.start)
	}
	s.addClients()
	s.scheduleFaults()
	s.queue.Run(s.plan.Faults, func() bool { return s.err != nil })
	if s.err == nil {
		s.settle()
	}
	if s.err == nil {
		s.check()
	}
	return s.err
}

// abandon ends what is left.
func (s *stack) abandon() {
	for _, h := range s.hosts {
		for range 100 { // one that is just starting cannot be killed
			if !h.starting {
				break
			}
			s.queue.Run(s.queue.now+100*time.Millisecond, nil)
		}
		h.kill(true)
	}
}

// stackHost is a host of the simulation, over all its lives.
type stackHost struct {
	stack   *stack
	id      raftcore.NodeID
	address string
	disk    *stackDisk
	members []*stackMember // of the groups, in their order
	clock   queueClock

	// Of this life.
	process  *Process // nil: it is down
	starting bool     // and cannot be killed, because actors.Start waits
	opened   bool     // all its groups, once
	stopping bool
	system   *actor.ActorSystem
	host     *actors.Host
	life     context.Context
	end      context.CancelFunc
	doors    []*actor.PID          // the actors of the clients
	beings   map[string]*actor.PID // those that are monitored; nil: not there now
	bear     func(name string)
}

func (h *stackHost) String() string { return h.address }

func (h *stackHost) config() actors.HostConfig {
	p := h.stack.plan
	q := h.stack.queue
	c := actors.HostConfig{
		ID:         h.id,
		Store:      snapshots.Beside(h.disk, "snapshots", snapshots.Options{FS: h.disk.files}),
		Transport:  stackTransport{h.stack.net.Transport(h.address).(*endpoint), h.stack},
		Peers:      h.stack.peers,
		MaxPending: p.MaxPending, BalanceInterval: p.Balance,
		Logger:  slog.New(&stackLog{host: h, process: h.process}),
		Runtime: h.process,
		Raft: raftcore.Config{
			Seed: q.rng.Uint64() | 1, ElectionTimeout: p.ElectionTimeout,
			SnapshotEntries: p.Snapshots, KeepEntries: p.Keep, LeaseReads: p.Leases,
		},
	}
	if p.TinyLimit {
		c.Raft.MaxAppendBytes = 300
		c.Raft.MaxInflight = 3
		c.Raft.MaxInflightBytes = 1000
		c.Raft.MaxUncommittedBytes = 4000
		c.Raft.MaxApplyBytes = 500
		c.Raft.MaxWindowBytes = 1000
		c.Raft.MaxUnapplied = 50
		c.Raft.MaxUnsavedBytes = 2000
	}
	return c
}

// stackTransport does not tell the others that it stops: Host.Stop does that from a
// goroutine that must do nothing. They hear of it when the process ends.
type stackTransport struct {
	*endpoint
	stack *stack
}

func (t stackTransport) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	return t.endpoint.Start(system, self, func(p *actors.Packet) {
		for i := range p.Snapshots {
			if a := p.Snapshots[i].Answer; a != nil && a.Outcome == actors.SnapshotArrived {
				t.stack.stats.Installs++
			}
		}
		deliver(p)
	})
}

func (t stackTransport) Stop(context.Context) error {
	t.network.mu.Lock()
	defer t.network.mu.Unlock()
	t.gone = true
	return nil
}

func (t stackTransport) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	return stackLink{t.endpoint.Link(address, notify), t}
}

// stackLink looks at what a host says: it must not go beyond what is on its disk, and no
// two may lead in a term. A member that was removed says nothing any more that it had not
// said before: its disk was of that incarnation, and is what it was then.
type stackLink struct {
	actors.Link
	from stackTransport
}

func (l stackLink) Send(p *actors.Packet) bool {
	s := l.from.stack
	for i := range p.Messages {
		m := &p.Messages[i].Message
		if err := s.says(s.byKey[p.Messages[i].Group], m); err != nil {
			s.fail("%w", err)
		}
	}
	for i := range p.Snapshots {
		if a := p.Snapshots[i].Answer; a != nil && a.Outcome == actors.SnapshotArrived {
			s.hosts[p.From-1].aim()
		}
	}
	return l.Link.Send(p)
}

// says checks what a member says.
func (s *stack) says(g *stackGroup, m *raftcore.Message) error {
	if g == nil {
		return fmt.Errorf("node %d speaks of a group that nobody has: %v", m.From, m)
	}
	kept := s.hosts[m.From-1].disk.kept[life{g.name, m.Incarnation}]
	if kept == nil {
		return fmt.Errorf("node %d speaks as if it was another in group %s: %v", m.From, g.name, m)
	}
	if err := promised(m, kept.hard, kept.longest); err != nil {
		return fmt.Errorf("group %s: %w", g.name, err)
	}
	if err := g.checker.voted(m); err != nil {
		return fmt.Errorf("group %s: %w", g.name, err)
	}
	if _, leads := m.Body.(*raftcore.AppendRequest); leads {
		if other := g.checker.leaders[m.Term]; other != raftcore.Nobody && other != m.From {
			return fmt.Errorf("election safety: nodes %d and %d both lead term %d of group %s", other, m.From, m.Term, g.name)
		}
		g.checker.leaders[m.Term] = m.From
		g.led = max(g.led, m.Term)
	}
	return nil
}

// start begins a life.
func (h *stackHost) start() {
	s := h.stack
	if h.process != nil {
		return
	}
	p := s.queue.Process(h.address)
	p.pace, p.clock = s.pace, &h.clock
	h.process, h.starting, h.stopping, h.opened = p, true, false, false
	for _, m := range h.members {
		m.opening, m.stopping = false, false
	}
	h.system = quietSystem()
	h.life, h.end = context.WithCancel(context.Background())
	system, cfg := h.system, h.config()
	var host *actors.Host
	var err error
	s.queue.Go(func() { host, err = actors.Start(system, cfg) }, func() {
		h.starting = false
		if err == nil {
			h.host = host
			h.spawn()
			h.openNext()
			return
		}
		s.queue.note(p, err.Error(), "it cannot start")
		s.queue.At(s.queue.now+100*time.Millisecond, "start again", func() { h.kill(true); h.start() })
	})
}

// quietSystem is an actor system that logs nothing.
func quietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
}

// openNext opens the groups, one after the other.
func (h *stackHost) openNext() {
	p := h.process
	for _, m := range h.members {
		if m.group == nil && !m.away() && !m.stopping {
			m.open(func() {
				if h.process == p {
					h.openNext()
				}
			})
			return
		}
	}
	h.opened = true
}

// clocks returns what the clocks of the hosts show, at least and at most.
func (s *stack) clocks() (earliest, latest time.Duration) {
	earliest = math.MaxInt64
	for _, h := range s.hosts {
		shows := h.clock.shows(s.queue.now)
		earliest, latest = min(earliest, shows), max(latest, shows)
	}
	return earliest, latest
}

func founders(n int) (ids []raftcore.NodeID) {
	for i := range n {
		ids = append(ids, raftcore.NodeID(i+1))
	}
	return ids
}

// up reports whether clients can ask here.
func (h *stackHost) up() bool { return h.process != nil && h.opened && !h.stopping }

// kill ends the process as kill -9 does.
func (h *stackHost) kill(told bool) {
	p := h.process
	if p == nil || h.starting {
		return
	}
	p.Kill()
	h.end()
	h.stack.queue.hear() // Open has noticed
	h.process, h.host, h.doors, h.beings, h.bear, h.opened = nil, nil, nil, nil, nil, false
	for _, m := range h.members {
		m.group = nil
	}
	h.stack.net.Vanish(h.address, told)
	h.disk.killed()
}

// stop ends the process as its owner does. All who have asked it are answered before.
func (h *stackHost) stop(then func()) {
	s, p, host := h.stack, h.process, h.host
	h.stopping = true
	ctx := h.life
	var err error
	s.queue.Go(func() { err = host.Stop(ctx) }, func() {
		if p.dead {
			return
		}
		if err != nil {
			s.fail("stopping %v: %v", h, err)
		}
		p.Release()
		s.queue.At(s.queue.now+50*time.Millisecond, "has stopped", func() {
			if p.dead {
				return
			}
			s.answeredBy(p, nil)
			h.kill(true)
			then()
		})
	})
}

// saved notes what a disk was told.
func (h *stackHost) saved(group string, save *raftcore.Save, err error) {
	first, last := raftcore.EntryID{}, raftcore.EntryID{}
	if n := len(save.Entries); n > 0 {
		first, last = save.Entries[0].EntryID, save.Entries[n-1].EntryID
	}
	h.stack.queue.note(h.process, "", "%s saves term %d vote %d entries %v-%v %v", group, save.HardState.Term, save.HardState.Vote, first, last, err)
}

func (s *stack) states() (out []string) {
	for _, h := range s.hosts {
		if h.process == nil || !h.opened {
			out = append(out, fmt.Sprintf("%v is down, or starting", h))
			continue
		}
		for _, m := range h.members {
			switch {
			case m.group != nil:
				out = append(out, fmt.Sprint(h.address, " ", m.status()))
			default:
				out = append(out, fmt.Sprintf("%v is not open (removed: %v)", m, m.removed != 0))
			}
		}
	}
	return out
}

// pace draws how long an actor waits for its turn: the log and who writes snapshots for
// the disk, the others for the processor.
func (s *stack) pace(kind string) time.Duration {
	switch kind {
	case "log", "snapshots":
		return s.queue.between(time.Microsecond, 2*s.plan.Disk+20*time.Microsecond)
	}
	if s.queue.rng.IntN(500) == 0 {
		return s.queue.between(0, time.Millisecond)
	}
	return s.queue.between(0, 20*time.Microsecond)
}

// stackLog takes what a host logs: into the trace; and what must never be fails the run.
type stackLog struct {
	host    *stackHost
	process *Process
}

func (l *stackLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *stackLog) Handle(_ context.Context, r slog.Record) error {
	var detail strings.Builder
	var reason error
	var version, index uint64
	of := l.host.stack.main()
	take := func(a slog.Attr) bool {
		if a.Key != "stack" {
			fmt.Fprintf(&detail, "%s=%v ", a.Key, a.Value)
		}
		switch a.Key {
		case "version":
			version = a.Value.Uint64()
		case "index":
			index = a.Value.Uint64()
		}
		for _, g := range l.host.stack.groups {
			if a.Key == "group" && a.Value.String() == g.name {
				of = g
			}
		}
		var broken *raftcore.InvariantError
		var fault runtime.Error
		if err, is := a.Value.Any().(error); is {
			if reason = err; errors.As(err, &broken) || errors.As(err, &fault) {
				l.host.stack.fail("%v: %s: %w", l.host, r.Message, err)
			}
		}
		return true
	}
	r.Attrs(take)
	if r.Message == "the autopilot takes a step" {
		l.host.stack.stats.Steps++
	}
	if strings.Contains(r.Message, "is of another version") {
		l.host.stack.stats.Raised++
		l.host.members[of.number].raised(version, raftcore.Index(index))
	}
	gaveUp := strings.Contains(r.Message, "faulted") || strings.Contains(r.Message, "stays closed")
	if m := l.host.members[of.number]; (gaveUp || strings.Contains(r.Message, "is quarantined")) && !m.expects(r.Message, reason) {
		l.host.stack.fail("%v: %s: %s: there was no reason for it", m, r.Message, detail.String()) // no plan has as many failures
	}
	l.host.stack.queue.note(l.process, detail.String(), "log: %s of %s", r.Message, of.name)
	return nil
}

func (l *stackLog) WithAttrs(attrs []slog.Attr) slog.Handler { return l }
func (l *stackLog) WithGroup(string) slog.Handler            { return l }
