package rafttest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// stackGroup is a group of the simulation. Every host has a member of it.
type stackGroup struct {
	stack     *stack
	number    int
	name      string
	machine   func() actors.StateMachine
	newest    uint64          // version of the machine, in the end
	canonical bool            // its machines write the same snapshots
	theirs    bool            // the machine is somebody else's
	witness   raftcore.NodeID // the host whose member has no data; 0: there is none

	// What its clients say. The main group's say what a ledger understands.
	command func(r *rand.Rand, name string) []byte
	query   func(r *rand.Rand) []byte
	views   [][]byte // the questions by which its states are compared

	checker *checker
	record  *record
	sent    map[actors.EffectID]*sending
	history []StackOp
	reads   []stackRead
	seen    seen
	leaves  *stackMember   // who is about to be removed
	led     raftcore.Term  // the newest in which somebody was heard to lead
	calm    raftcore.Index // what was applied up to here had time to have its effects
	before  raftcore.Index // up to here the actors were there that do not come and go
}

// stackRead is an answer to a question.
type stackRead struct {
	index    raftcore.Index
	question []byte
	answer   []byte
	failed   bool
	by       *stackMember
}

func (s *stack) main() *stackGroup { return s.groups[0] }

// addGroups makes the groups of a plan.
func (s *stack) addGroups() {
	add := func(g *stackGroup) *stackGroup {
		g.stack, g.number = s, len(s.groups)
		g.checker, g.record, g.sent = newChecker(), newRecord(), map[actors.EffectID]*sending{}
		s.groups = append(s.groups, g)
		s.byKey[groupKey(g.name)] = g
		return g
	}
	add(&stackGroup{name: "stack", canonical: true, machine: func() actors.StateMachine { return &ledger{stack: s, registers: newRegisters()} }})
	named := func(kind string) func(*rand.Rand, string) []byte {
		return func(_ *rand.Rand, name string) []byte { return []byte(kind + " " + name) }
	}
	state := func(*rand.Rand) []byte { return []byte("state") }
	if s.plan.Effects {
		g := add(&stackGroup{name: "effects", canonical: true, machine: func() actors.StateMachine { return newForeman() }})
		g.command, g.query, g.views = named("job"), state, [][]byte{[]byte("state")}
	}
	if s.plan.Upgrades {
		g := add(&stackGroup{name: "versions", canonical: true, newest: newest, machine: func() actors.StateMachine { return &revised{} }})
		g.command, g.query, g.views = named("revise"), state, [][]byte{[]byte("state")}
	}
	if s.plan.Witness {
		g := add(&stackGroup{name: "witnessed", canonical: true, machine: func() actors.StateMachine { return &revised{} }})
		g.command, g.query, g.views = named("revise"), state, [][]byte{[]byte("state")}
		g.witness = raftcore.NodeID(1 + s.plan.Seed%uint64(s.plan.Founders))
		s.stats.Witnesses++
	}
	if s.theirs != nil {
		g := add(&stackGroup{name: "yours", theirs: true, canonical: s.theirs.Canonical, machine: s.theirs.New})
		g.command = func(r *rand.Rand, _ string) []byte { return s.theirs.Command(r) }
		g.query = func(r *rand.Rand) []byte {
			if s.theirs.Query == nil {
				return nil
			}
			return s.theirs.Query(r)
		}
		for range 6 {
			g.views = append(g.views, g.query(s.queue.rng))
		}
	}
}

// groupKey is a group's name on the wire, as PROTOCOL.md says.
func groupKey(name string) actors.GroupKey {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q", "", name)
	return actors.GroupKey(h.Sum64())
}

// stackMember is a host's member of a group, over all its lives.
type stackMember struct {
	host *stackHost
	of   *stackGroup

	joins    bool // it waits to be added, or is a founder
	joined   bool // it was seen to count, with this disk
	removed  raftcore.Incarnation
	back     bool // it was removed, and is to come back
	group    *actors.Group
	opening  bool
	stopping bool
	program  uint64 // the newest version that it can be of
	runs     uint64 // that of the program it was opened with: a newer one may have come meanwhile
	batches  bool   // its machine takes commands together

	panics  bool           // the machine panics at the next command
	panicAt raftcore.Index // where it did last
}

func (m *stackMember) String() string { return m.host.address + "/" + m.of.name }

// up reports whether clients can ask it.
func (m *stackMember) up() bool {
	return m.host.process != nil && m.group != nil && !m.stopping && !m.host.stopping
}

// away reports whether it was removed, and is not to come back yet.
func (m *stackMember) away() bool { return m.removed != 0 && !m.back }

// open opens the group on the host. then is called in any case, if the process is alive.
func (m *stackMember) open(then func()) {
	h, s := m.host, m.of.stack
	host, ctx, p := h.host, h.life, h.process
	m.opening, m.panics, m.panicAt = true, false, 0
	m.batches = s.plan.Batches && s.queue.rng.IntN(2) == 0
	if s.calm {
		m.program = m.of.newest
	}
	m.runs = m.program
	cfg := actors.GroupConfig{
		Name: m.of.name, Machine: m.watch, Versions: actors.Versions{Newest: m.runs},
		Members: founders(s.plan.Founders), Join: m.joins || m.removed != 0, Replaces: m.removed,
	}
	if !cfg.Join {
		cfg.Witnesses = m.of.witnesses(cfg.Members)
	}
	if cfg.Witness = m.isWitness(); cfg.Witness {
		cfg.Machine, cfg.Versions = nil, actors.Versions{}
	}
	if p := s.plan; p.Autopilot > 0 && m.of == s.main() {
		cfg.Autopilot = &actors.Autopilot{Voters: p.Autopilot, DeadAfter: 5 * p.ElectionTimeout, StableFor: 2 * p.ElectionTimeout, KeepDead: p.Seed%2 == 0}
	}
	var g *actors.Group
	var err error
	s.queue.Go(func() { g, err = host.Open(ctx, cfg) }, func() {
		if p.dead {
			return
		}
		m.opening = false
		var removed *persistence.RemovedError
		switch {
		case err == nil:
			if m.removed != 0 {
				s.stats.CameBack++
			}
			m.group, m.joins, m.removed, m.back = g, cfg.Join, 0, false
			s.queue.note(p, "", "group %s is open", m.of.name)
		case errors.As(err, &removed) && removed.Incarnation != m.removed:
			m.gone(removed.Incarnation)
		case h.stopping && errors.Is(err, actors.ErrRejected): // it was told to stop meanwhile
		default:
			s.fail("%v cannot open its group: %v", m, err)
		}
		then()
	})
}

// reopen stops the group and opens it again. All who have asked it are answered before.
func (m *stackMember) reopen() {
	m.stopping = true
	g, ctx := m.group, m.host.life
	var err error
	m.ends(func() { err = g.Stop(ctx) }, func() {
		if err != nil {
			m.of.stack.fail("stopping %v: %v", m, err)
		}
	}, func() { m.open(func() {}) })
}

// ends makes a call that stops the member. Later all who have asked it have to have been
// answered.
func (m *stackMember) ends(call, returned, then func()) {
	s, p := m.of.stack, m.host.process
	m.stopping = true
	s.queue.Go(call, func() {
		if p.dead {
			return
		}
		returned()
		p.Release()
		s.queue.At(s.queue.now+20*time.Millisecond, "has stopped its group", func() {
			if p.dead || m.host.stopping {
				return
			}
			s.answeredBy(p, m.of)
			m.group, m.stopping = nil, false
			then()
		})
	})
}

// remove takes the member out for good, if it may go.
func (m *stackMember) remove() {
	s, h := m.of.stack, m.host
	host, ctx, g := h.host, h.life, m.group
	removed := false
	kept := h.disk.current[m.of.name]
	m.stopping = true
	p := h.process
	var err error
	s.queue.Go(func() { err = host.Remove(ctx, m.of.name) }, func() {
		if p.dead {
			return
		}
		m.stopping = false
		switch {
		case err == nil:
			removed = true
		case errors.Is(err, actors.ErrRejected) || errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrStillVoter):
			s.stats.NotRemoved++
			s.queue.note(p, err.Error(), "does not remove %s", m.of.name)
		case errors.Is(err, actors.ErrStorageFault): // alone
			removed = true
			s.queue.note(p, err.Error(), "has not removed the files of %s", m.of.name)
		default:
			s.fail("removing %v: %v", m, err)
		}
		if !removed {
			m.reopenIfStopped(g)
			return
		}
		s.stats.Removed++
		s.queue.note(p, "", "has removed %s", m.of.name)
		m.ends(func() {}, func() {}, func() { m.gone(kept.incarnation) })
	})
}

// reopenIfStopped opens the group again if a removal that failed has stopped it.
func (m *stackMember) reopenIfStopped(g *actors.Group) {
	for _, open := range m.host.host.Groups() {
		if open == g {
			return
		}
	}
	m.reopen()
}

// gone notes that the member was removed; later it comes back.
func (m *stackMember) gone(incarnation raftcore.Incarnation) {
	s := m.of.stack
	m.group, m.removed, m.back = nil, incarnation, s.calm
	if s.calm {
		s.queue.At(s.queue.now, "comes back", m.comeBack)
		return
	}
	wait := s.around(s.plan.Remove / 2)
	if m.of.leaves != nil {
		wait = time.Millisecond
	}
	s.queue.At(s.queue.now+wait, "comes back", m.comeBack)
}

// comeBack has a member that was removed come back, with nothing.
func (m *stackMember) comeBack() {
	if m.removed == 0 {
		return
	}
	m.back = true
	if h := m.host; h.up() && m.group == nil && !m.opening && !m.stopping {
		m.open(func() {})
	}
}

// status returns what the member says of itself.
func (m *stackMember) status() (st actors.Status) {
	for st = range m.group.Watch(m.host.life) {
		break
	}
	return st
}

// leads returns the term that the member says it leads in, or 0.
func (m *stackMember) leads() raftcore.Term {
	if m.up() {
		if st := m.status(); st.State == actors.Running && st.Role == raftcore.Leader {
			return st.Term
		}
	}
	return 0
}

// raised demands of a member that goes on to a version at an entry that all who are members
// there have a program for it.
func (m *stackMember) raised(version uint64, index raftcore.Index) {
	conf := m.host.disk.current[m.of.name].confAt(index)
	for _, id := range conf.Members() {
		if other := m.of.members()[id-1]; !conf.Witness(id) && other.runs < version {
			m.of.stack.fail("versions: %v goes on to version %d at entry %d, and %v, which is a member there, can be of version %d at most", m, version, index, other, other.runs)
		}
	}
}

// isWitness reports whether the member has no data.
func (m *stackMember) isWitness() bool { return m.host.id == m.of.witness }

// witnesses returns who of some members has none.
func (g *stackGroup) witnesses(members ...[]raftcore.NodeID) []raftcore.NodeID {
	if g.witness != 0 && slices.Contains(slices.Concat(members...), g.witness) {
		return []raftcore.NodeID{g.witness}
	}
	return nil
}

// some draws a member; now and then it is one that is down.
func (g *stackGroup) some() *stackMember {
	hosts := g.stack.hosts
	for range 3 {
		if m := hosts[g.stack.queue.rng.IntN(len(hosts))].members[g.number]; m.up() {
			return m
		}
	}
	return g.any()
}

// any draws a member.
func (g *stackGroup) any() *stackMember { return g.stack.host().members[g.number] }

// members are those of all hosts.
func (g *stackGroup) members() (all []*stackMember) {
	for _, h := range g.stack.hosts {
		all = append(all, h.members[g.number])
	}
	return all
}

// spawn spawns the actors of a host: a door for each client, the sink, and those that
// come and go.
func (h *stackHost) spawn() {
	s, p := h.stack, h.process
	spawn := func(name string, options []actor.PropsOption, produce func() actor.Actor) *actor.PID {
		options = append(options, actor.WithDispatcher(p.Dispatcher(name)))
		pid, err := h.system.Root.SpawnNamed(actor.PropsFromProducer(produce, options...), name)
		if err != nil {
			return nil // the last one of that name is not gone yet
		}
		return pid
	}
	for _, c := range s.clients {
		h.doors = append(h.doors, spawn(c.name, nil, func() actor.Actor { return &door{h, p, c} }))
	}
	nothing := func() actor.Actor { return actor.ReceiveFunc(func(actor.Context) {}) }
	spawn(sink, []actor.PropsOption{actor.WithMailbox(actor.Unbounded(sinkMailbox{h}))}, nothing)
	h.system.EventStream.Subscribe(func(event any) {
		if letter, dead := event.(*actor.DeadLetterEvent); dead {
			if m, is := letter.Message.(*actors.Sent); is {
				h.hasSent(letter.PID.Id, m)
			}
		}
	})
	h.beings = map[string]*actor.PID{}
	if s.extinct {
		return
	}
	h.beings[immortal] = spawn(immortal, nil, nothing)
	h.bear = func(name string) { h.beings[name] = spawn(name, nil, nothing) }
	for i := range mortals {
		h.bear(fmt.Sprint("mortal-", i))
	}
}

// sinkMailbox notes what is put into it, in the moment in which it is.
type sinkMailbox struct{ host *stackHost }

func (b sinkMailbox) MessagePosted(message any) {
	if m, is := message.(*actors.Sent); is {
		b.host.hasSent(sink, m)
	}
}
func (sinkMailbox) MailboxStarted()     {}
func (sinkMailbox) MessageReceived(any) {}
func (sinkMailbox) MailboxEmpty()       {}

// beOrNotBe ends one of the actors that come and go, or begins it.
func (h *stackHost) beOrNotBe() {
	if h.process == nil || h.beings == nil || h.bear == nil {
		return
	}
	name := fmt.Sprint("mortal-", h.stack.queue.rng.IntN(mortals))
	if pid := h.beings[name]; pid != nil {
		h.beings[name] = nil
		h.stack.stats.Mortals++
		h.system.Root.Stop(pid)
		return
	}
	h.bear(name)
}

// dieOut ends all of them, for good.
func (h *stackHost) dieOut() {
	for _, name := range sortedKeys(h.beings) {
		if pid := h.beings[name]; pid != nil {
			h.system.Root.Stop(pid)
		}
	}
	h.beings, h.bear = nil, nil
}

// expects reports whether it was to be that a member is quarantined or faulted.
func (m *stackMember) expects(message string, err error) bool {
	var version *actors.VersionError
	if p := m.of.stack.plan; errors.As(err, &version) && version.Needed > m.runs && p.Change+p.Remove+p.Split > 0 {
		return true // nobody has asked one that was no member at that time: an operator has to bring the new program
	}
	return strings.Contains(message, "is quarantined") && m.of.stack.plan.Poison && m.of == m.of.stack.main()
}
