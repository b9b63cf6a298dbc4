package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/raftcore"
)

// member is one participant of a group: it recovers from the disk, spawns its
// machine and its node, and supervises them.
//
//	           groupOpened          a child failed, storeLost
//	Recovering ───────────→ Running ────────────────────────→ Pausing ─→ Recovering …
//	                                                              └────→ Faulted
//
// Whatever fails, the whole member starts anew from the disk: a core or a
// machine that broke a rule is not to be trusted with its memory. protoactor's
// own Restart is of no use for that: it keeps the mailbox of the dead, and can
// revive an actor that has been stopped. So the children are stopped one after the
// other, the node last because the others report to it, and fresh ones are spawned
// after a pause. A member that a user's strategy restarts comes back the same
// way. When it gives up it fails itself: its parent is told, and decides.
type member struct {
	host  *Host
	group *Group
	life  *life
	self  *actor.PID
	state MemberState

	order    *openGroup // the latest that was given to the log; nil: it was closed
	children []ref      // in the order in which they are to stop
	ordered  bool       // protoactor has told all of them to stop
	spawned  int        // generations of children, for their names
	endLife  func()     // of the machine's queries
	boot     uint64
	recorder *flight.Recorder // of the node; nil: there is none

	resumeIn  time.Duration // once the children are gone
	pauses    int
	restarts  restarts
	lastFault error
	rejoin    *rejoining // it is to begin again; nil: it is not
}

// The messages of a member.
type (
	childFailed struct {
		child  *actor.PID
		reason any
	}
	resume    struct{ pause int } // the pause of this number is over
	storeLost struct{ err error } // stop: the store is being opened again
	storeGone struct{ err error } // stop: it stays closed until somebody helps
	released  struct{}            // the machine is quarantined no more
	giveUp    struct{}            // all is stopped: tell the parent
)

func (m *member) Receive(ctx actor.Context) {
	if m.life.over() {
		// protoactor carries out a Restart that comes late. Another life may have begun.
		if _, revived := ctx.Message().(*actor.Started); revived {
			ctx.Stop(ctx.Self())
		}
		return // lastWord answers requests
	}
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.self = ctx.Self()
		m.life.pid.Store(m.self)  // before the log has heard of it: it may have news for everybody
		if m.life.ending.Load() { // a restart that overtook a stop must not undo it
			ctx.Stop(m.self)
			return
		}
		m.recover(ctx)
	case *groupOpened:
		m.start(ctx, msg)
	case *childFailed:
		m.childFailed(ctx, msg)
	case *actor.Terminated:
		m.childGone(ctx, msg.Who)
	case *resume:
		if m.state == Pausing && msg.pause == m.pauses {
			m.recover(ctx)
		}
	case *beginAnew:
		m.beginAnew(ctx, msg)
	case *fitness:
		m.heardFrom(msg)
	case *askAgain:
		if m.rejoin != nil && msg.round == m.rejoin.round && m.state == Recovering {
			m.askOthers(ctx)
		}
	case *storeLost:
		m.lastFault = fmt.Errorf("%w: %w", ErrStorageFault, msg.err)
		m.down(ctx, m.host.cfg.Restarts.FirstPause)
	case *storeGone:
		m.fault(ctx, msg.err)
	case *released:
		if m.state == Running {
			m.set(Running, nil)
		}
	case *giveUp:
		if m.state == Faulted && !m.life.ending.Load() {
			panic(fmt.Errorf("group %q: %w: %w", m.group.name, ErrFaulted, m.lastFault)) // the parent decides
		}
	case *Request:
		m.ask(ctx, msg)
	case *actor.Restarting:
		// protoactor stops the children next; what they still tell the log is
		// refused, because the group is closed first.
		m.ordered = true
		m.leave()
		m.set(Recovering, m.lastFault)
		m.closeOrder()
	case *actor.Stopping:
		m.ordered = true
		m.life.ending.Store(true)
		m.leave()
		m.group.abandon()
		m.group.board.update(func(*Status) {}) // who awaits a change is not to wait for the machine
	case *actor.Stopped:
		m.closeGroup()
		m.set(Stopped, m.lastFault)
		m.group.listeners.end()
		m.host.exit(m.group, m.life)
	}
}

// lastWord answers the requests that still waited in the mailbox of a member
// when it stopped: protoactor drops them without a word.
type lastWord struct {
	system *actor.ActorSystem
	life   *life
}

// MessageReceived is called after each message, also after one that was dropped.
func (l lastWord) MessageReceived(message any) {
	_, message, sender := actor.UnwrapEnvelope(message)
	if r, ok := message.(*Request); ok && l.life.over() {
		requestCall(l.system, r, sender).finish(nil, ErrStopped)
	}
}

func (lastWord) MailboxStarted()   {}
func (lastWord) MessagePosted(any) {}
func (lastWord) MailboxEmpty()     {}

// recover asks the log for what the disk holds.
func (m *member) recover(ctx actor.Context) {
	m.set(Recovering, m.lastFault)
	if m.rejoin != nil {
		m.askOthers(ctx)
		return
	}
	m.open(0)
}

// open has the log open the group, and end this life of it before, unless it is 0.
func (m *member) open(former raftcore.Incarnation) {
	system, self := m.host.system, m.self
	m.order = &openGroup{
		name: m.group.name, replaces: m.group.cfg.Replaces, former: former, log: m.host.log.ref(),
		reply: func(o *groupOpened) { system.Root.Send(self, o) },
	}
	m.order.log.tell(m.order)
}

// start brings the member up from what the disk held.
func (m *member) start(ctx actor.Context, o *groupOpened) {
	if o.order != m.order {
		return // overtaken by events: it has been closed
	}
	if errors.Is(o.err, persistence.ErrPoisoned) || errors.Is(o.err, persistence.ErrClosed) {
		if gone := m.host.gone.Load(); gone != nil {
			m.fault(ctx, *gone)
			return
		}
		m.down(ctx, m.host.cfg.Restarts.FirstPause) // the host is about to open it again, or to give it up
		return
	}
	if errors.Is(o.err, persistence.ErrDiskFull) { // a new group; it passes
		m.lastFault = fmt.Errorf("%w: %w", ErrStorageFault, o.err)
		m.host.logger.Error("the disk is full, the group cannot be opened yet", "group", m.group.name, "err", o.err)
		m.down(ctx, m.host.cfg.Restarts.LongestPause)
		return
	}
	if removed := (*persistence.RemovedError)(nil); errors.As(o.err, &removed) {
		m.fault(ctx, removedError(removed.Tombstone)) // by somebody who was not told that he has
		return
	}
	if o.err == nil {
		m.rejoin = nil
	}
	cfg := m.host.cfg.Raft
	cfg.ID, cfg.Boot, cfg.Seed = m.host.cfg.ID, o.opened.Boot, m.host.seed(m.group.key)
	cfg.Joins, cfg.Witness, cfg.Priority = m.group.cfg.Join, m.group.cfg.Witness, m.group.priority()
	var core *raftcore.Node
	err := o.err
	if err == nil {
		err = m.openFiles()
	}
	if err == nil {
		m.replaceSnapshot(o)
		core, err = raftcore.New(cfg, o.opened.Recovered)
	}
	if err != nil {
		m.failed(ctx, fmt.Errorf("%w: %w", ErrStorageFault, err))
		return
	}
	fault := m.spawn(ctx, o, core)
	if last := o.opened.Recovered.Snapshot.Last; last.Index > 0 {
		m.children[2].tell(keepOrder{last}) // nobody may have been left to do it the last time
	}
	m.set(Running, fault)
	m.host.logger.Info("member started", "group", m.group.name, "term", uint64(o.opened.Recovered.HardState.Term), "last", uint64(o.opened.Recovered.Last))
	if c := o.opened.Recovered.HardState.Cluster; c != 0 && m.group.cluster != 0 && c != m.group.cluster {
		m.host.logger.Info("the disk has a lineage that these founders have not founded: it goes on", "group", m.group.name, "cluster", fmt.Sprintf("%016x", uint64(c)))
	}
}

// spawn spawns the children, and returns why the machine applies nothing, if it does not.
func (m *member) spawn(ctx actor.Context, o *groupOpened, core *raftcore.Node) (fault error) {
	m.spawned++
	files, poison := m.group.files, raftcore.Index(0)
	if q := m.group.quarantine.Load(); q != nil && m.group.skips.has(q.Entry) {
		m.group.quarantine.Store(nil)
	} else if q != nil {
		poison, fault = q.Entry, q
	}
	life, endLife := context.WithCancel(context.Background())
	m.endLife = endLife
	if m.boot, m.recorder = o.opened.Boot, nil; m.host.cfg.RecordBytes > 0 {
		m.recorder = flight.Record(core, m.host.recording)
	}
	snapshots := m.host.spawn(ctx, fmt.Sprintf("snapshots-%d", m.spawned), 0, func(box *mailbox) actor.Actor {
		return &snapshotter{group: m.group, host: m.host, box: box, files: files}
	})
	effectors := m.host.spawn(ctx, fmt.Sprintf("effector-%d", m.spawned), 0, func(box *mailbox) actor.Actor {
		return &effector{group: m.group, host: m.host, box: box}
	})
	machines := m.host.spawn(ctx, fmt.Sprintf("machine-%d", m.spawned), 0, func(box *mailbox) actor.Actor {
		return &machine{group: m.group, host: m.host, box: box, life: life, snapshotter: snapshots, effector: effectors, files: files, poison: poison, suspect: m.group.poison, recovered: &o.opened.Recovered}
	})
	couriers := m.host.spawn(ctx, fmt.Sprintf("courier-%d", m.spawned), 0, func(box *mailbox) actor.Actor {
		return &courier{group: m.group, host: m.host, box: box, files: files}
	})
	var pilots ref
	if target := m.group.target; target != nil {
		pilots = m.host.spawn(ctx, fmt.Sprintf("pilot-%d", m.spawned), 0, func(box *mailbox) actor.Actor {
			return &pilot{group: m.group, host: m.host, target: target, box: box}
		})
	}
	nodes := m.host.spawn(ctx, fmt.Sprintf("node-%d", m.spawned), m.host.cfg.MaxPending, func(box *mailbox) actor.Actor {
		return &node{
			group: m.group, host: m.host, box: box, log: o.order.log, machine: machines, snapshotter: snapshots, courier: couriers,
			stored: o.opened.Group, core: core, recorder: m.recorder, calls: calls{limit: m.host.cfg.MaxPending}, pilot: pilots,
			named: o.opened.Recovered.Snapshot.Last.Index,
		}
	})
	m.children = []ref{machines, effectors, snapshots, couriers}
	if pilots.box != nil {
		m.children = append(m.children, pilots)
	}
	m.children = append(m.children, nodes)
	m.group.node.Store(&nodes)
	m.group.courier.Store(&couriers)
	return fault
}

// replaceSnapshot has a member whose disk was damaged go on from a snapshot that is
// there, if the one that its log follows is not. The node orders nothing before this is
// ordered.
func (m *member) replaceSnapshot(o *groupOpened) {
	lost := o.opened.Recovered.Snapshot.Last
	save := m.group.files.replacement(&o.opened.Recovered)
	if save == nil {
		return
	}
	save.Token.Boot = o.opened.Boot
	o.order.log.tell(&saveOrder{group: o.opened.Group, save: *save})
	m.host.logger.Warn("the snapshot that the log follows is gone, as is the end of the log: a newer snapshot takes the place of both",
		"group", m.group.name, "index", uint64(lost.Index), "newer", uint64(save.Base.Last.Index))
}

// HandleFailure makes the member its children's supervisor. The child stays
// suspended; what becomes of it is decided in Receive.
func (m *member) HandleFailure(system *actor.ActorSystem, _ actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	system.Root.Send(m.self, &childFailed{child: child, reason: reason})
}

func (m *member) childFailed(ctx actor.Context, f *childFailed) {
	err, isError := f.reason.(error)
	if !isError {
		err = fmt.Errorf("panic: %v", f.reason)
	}
	var p *machinePanic
	if errors.As(err, &p) {
		m.host.logger.Error("the state machine has panicked", "group", m.group.name, "index", uint64(p.index), "err", p.reason, "stack", string(p.stack))
		if m.quarantined(p) {
			m.lastFault = m.group.quarantine.Load()
			m.down(ctx, m.host.cfg.Restarts.FirstPause)
			return
		}
	}
	err = classify(fmt.Errorf("%s: %w", f.child.Id, err))
	if n := len(m.children); errors.Is(err, ErrInvariantFault) && n > 0 && f.child.Equal(m.children[n-1].pid) {
		err = m.tellStory(err, f.reason)
	}
	m.failed(ctx, err)
}

// quarantined reports whether a panic is the second one at an entry. Then the machine is
// quarantined, and that is not a failure any more: it does not come to that entry again.
func (m *member) quarantined(p *machinePanic) bool {
	g := m.group
	if p.index == 0 || m.state != Running || g.quarantine.Load() != nil {
		return false
	}
	_, hopeless := p.reason.(*VersionError)
	if !hopeless && p.index != g.poison {
		g.poison = p.index
		return false
	}
	g.poison = p.index
	m.restarts = restarts{}
	g.quarantine.Store(&QuarantineError{Entry: p.index, Reason: fmt.Sprint(p.reason), program: hopeless})
	text := "the state machine is quarantined: open the group anew when it is mended, or have the entry skipped"
	if hopeless {
		text = "the state machine is quarantined: open the group anew with a program that has the version"
	}
	m.host.logger.Error(text, "group", g.name, "index", uint64(p.index), "err", p.reason)
	return true
}

// failed has the member come back after a pause, or not at all if it has failed
// too often, or will for ever: whoever leads with a log that it cannot read holds up
// everybody else.
func (m *member) failed(ctx actor.Context, err error) {
	if m.state == Pausing || m.state == Faulted {
		return // two children failed together
	}
	m.lastFault = err
	if lost := (*lostSnapshot)(nil); errors.As(err, &lost) && m.rejoins(ctx, lost) {
		return
	}
	if errors.As(err, new(*persistence.CorruptError)) || errors.As(err, new(*SkippedError)) || errors.As(err, new(*VersionError)) || errors.As(err, new(*StateError)) || errors.As(err, new(*raftcore.WitnessError)) {
		m.fault(ctx, err)
		return
	}
	pause, ok := m.restarts.next(m.group.restarts, m.host.now())
	if !ok {
		m.fault(ctx, fmt.Errorf("gave up after %d restarts: %w", len(m.restarts.recent), err))
		return
	}
	m.host.logger.Error("member failed, it will start again from the disk", "group", m.group.name, "err", err, "in", pause)
	m.down(ctx, pause)
}

// beginAnew ends a quarantine, or a state that others do not have.
func (m *member) beginAnew(ctx actor.Context, b *beginAnew) {
	if m.state == Running && len(m.children) > 0 && m.children[0].box == b.machine { // else it has failed meanwhile
		m.lastFault = fmt.Errorf("%w: what it has applied, or stands before, is to be skipped", ErrMachineFault)
		m.down(ctx, 0)
	}
}

// down stops the children, and has the member come back after a pause.
func (m *member) down(ctx actor.Context, resumeIn time.Duration) {
	if m.state == Faulted {
		return
	}
	m.set(Pausing, m.lastFault)
	m.host.meters.restarted(m.group, m.lastFault)
	m.resumeIn = resumeIn
	m.pauses++
	m.stopChildren(ctx)
	m.awaitResume(ctx)
}

func (m *member) stopChildren(ctx actor.Context) {
	m.leave()
	if len(m.children) > 0 {
		if !m.ordered { // or it may be gone already, and that would be a dead letter
			ctx.Stop(m.children[0].pid)
		}
		return
	}
	m.closeGroup()
	if m.state == Faulted {
		ctx.Send(m.self, &giveUp{})
	}
}

// leave takes no more requests, and has nothing long go on.
func (m *member) leave() {
	m.group.node.Store(nil)
	m.group.courier.Store(nil)
	if m.endLife != nil {
		m.endLife()
	}
	m.host.liveness.tell(awake{m.group.key})
	if f := m.group.files; f != nil {
		f.leaving.Store(true)
	}
}

func (m *member) childGone(ctx actor.Context, who *actor.PID) {
	m.children = slices.DeleteFunc(m.children, func(c ref) bool { return c.pid.Equal(who) })
	if m.state == Running && !m.life.ending.Load() {
		m.failed(ctx, classify(fmt.Errorf("%s was stopped", who.Id))) // by a stranger
		return
	}
	m.stopChildren(ctx)
	if m.state == Pausing {
		m.awaitResume(ctx)
	}
}

// awaitResume waits out the pause, when nothing else is to be waited for.
func (m *member) awaitResume(ctx actor.Context) {
	if len(m.children) > 0 {
		return
	}
	system, self, r := ctx.ActorSystem(), ctx.Self(), &resume{pause: m.pauses}
	m.host.cfg.Runtime.AfterFunc(m.resumeIn, func() { system.Root.Send(self, r) })
}

// fault takes the member out of service, until its parent decides otherwise.
func (m *member) fault(ctx actor.Context, err error) {
	m.lastFault = err
	m.set(Faulted, err)
	m.host.logger.Error("member faulted", "group", m.group.name, "err", err)
	m.stopChildren(ctx)
}

// openFiles opens the snapshots, which a life before this one may have had open that
// a user's strategy has ended.
func (m *member) openFiles() error {
	m.closeDisk()
	err := m.closeFiles()
	if err == nil {
		m.group.files, err = m.host.openFiles(m.group)
	}
	return err
}

func (m *member) closeFiles() error {
	err := m.group.files.close()
	m.group.files = nil
	return err
}

// closeGroup closes what the children had in use. They are gone.
func (m *member) closeGroup() {
	m.closeDisk()
	if err := m.closeFiles(); err != nil {
		m.host.logger.Error("closing the snapshots", "group", m.group.name, "err", err)
	}
	m.closeOrder()
}

// closeDisk closes the disk of the state machine, of which nobody writes a snapshot any more.
func (m *member) closeDisk() {
	d := m.group.disk
	if d == nil {
		return
	}
	m.group.disk = nil
	defer func() {
		if reason := recover(); reason != nil {
			m.host.logger.Error("closing the state machine has panicked", "group", m.group.name, "err", reason)
		}
	}()
	if err := d.Close(); err != nil {
		m.host.logger.Error("closing the state machine", "group", m.group.name, "err", err)
	}
}

func (m *member) closeOrder() {
	if m.order != nil {
		m.order.log.tell(&closeGroup{m.order})
		m.order = nil
	}
}

// ask hands an actor's request to the node.
func (m *member) ask(ctx actor.Context, r *Request) {
	c := requestCall(ctx.ActorSystem(), r, ctx.Sender())
	if headers := ctx.MessageHeader(); r.Operation == Propose && headers.Length() > 0 {
		c.ctx = m.host.inSpan(context.Background(), headers.ToMap())
	}
	c.answer = m.group.observeCall(c, r.Operation, c.answer)
	m.group.take(c, r)
}

// set enters a state, and tells of it.
func (m *member) set(s MemberState, err error) {
	m.state = s
	status := m.group.board.enter(s, err)
	defer func() {
		if reason := recover(); reason != nil { // of somebody who has subscribed
			m.host.logger.Error("a subscriber of the event stream has panicked", "group", m.group.name, "err", reason)
		}
	}()
	m.host.system.EventStream.Publish(&status)
}
