package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// machine owns the user's StateMachine: it applies, queries, and answers those
// who asked, straight back.
//
//	node    → machine      work
//	machine → node         raftcore.Applied, raftcore.SnapshotTaken: that it cannot be
//	machine → snapshotter  takeOrder
//	machine → effector     leadsOrder, effectsAdded
type machine struct {
	group       *Group
	host        *Host
	node        ref // set with the first work
	snapshotter ref
	effector    ref
	files       *files
	box         *mailbox
	life        context.Context // ends when the member stops, whatever the machine does
	sm          StateMachine
	batches     BatchStateMachine   // the same, if it is one
	ends        SessionStateMachine // the same, if it is one
	disk        *ownDisk            // of its own, if it has one
	batch       batch
	suspect     raftcore.Index // where it has panicked: the commands from there on are applied alone
	sessions    *sessions
	effects     *effects
	done        []Effect              // of the entry that is being applied
	told        bool                  // of the end of a session, at that entry, and it is not settled
	leads       raftcore.Term         // in which this member leads; 0: it does not
	acting      bool                  // the effector has the table
	version     uint64                // which it has to be of
	applied     raftcore.SnapshotMeta // what a snapshot would stand for now
	hurry       *atomic.Bool          // the node is to know at once how far this has come
	working     *atomic.Int64         // counts the calls that were handed over and are not answered
	recovered   *raftcore.Recovered   // what this member has started with

	// Neither the entry poison is applied nor what follows; 0: all are. Up to passed that
	// has been looked at. anew: the member is about to start again.
	poison, passed raftcore.Index
	anew           bool
	parent         *actor.PID
}

// work is everything that one Drain had for the machine. It is restored first; reads
// come after the entries that it also brings, and need no later one; then comes the
// snapshot to take.
type work struct {
	node    ref
	hurry   *atomic.Bool
	working *atomic.Int64
	leads   raftcore.Term // in which this member leads; 0: it does not
	restore *raftcore.SnapshotMeta
	compact bool
	whole   bool               // the same, with the state in it
	told    waiting            // who waits for the snapshot
	named   raftcore.Index     // the snapshot that the log is known to follow, durably; 0: no news
	cluster raftcore.ClusterID // for the snapshot
	entries []raftcore.Entry
	callers []appliedCall // proposals of this node among the entries, in order
	reads   []*call

	answered int         // of the callers; the machine's own
	done     atomic.Bool // by the machine
}

type appliedCall struct {
	index raftcore.Index
	call  *call
}

func (m *machine) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.parent = ctx.Parent()
		m.sessions, m.effects = newSessions(), newEffects()
		m.group.holds(&m.group.results, 0)
		m.group.holds(&m.group.outbox, 0)
		m.use(m.fresh())
		m.disk = m.openDisk(m.sm)
	case *delivery:
		before := raftcore.Applied{Index: m.applied.Last.Index, Passed: m.passed}
		for _, message := range msg.Messages {
			m.do(message.(*work))
		}
		if now := (raftcore.Applied{Index: m.applied.Last.Index, Passed: m.passed}); now != before {
			m.node.box.lay(now)
			if m.hurry.Load() {
				m.node.box.schedule()
			}
		}
	case *actor.Stopping:
		m.box.abandonBatch()
	case *actor.Stopped:
		m.box.close()
	}
}

func (m *machine) do(w *work) {
	m.node, m.hurry, m.working = w.node, w.hurry, w.working
	if w.restore != nil || len(w.entries) > 0 {
		m.beginDisk(w)
	}
	if w.restore != nil {
		m.restore(w.restore)
	}
	if m.disk != nil {
		m.disk.forget(w.named)
	}
	began := m.host.meters.now()
	for rest := w.entries; len(rest) > 0; {
		n := m.together(rest)
		if n > 1 {
			m.applyTogether(w, rest[:n])
		} else {
			n = 1
			m.apply(w, &rest[0])
		}
		rest = rest[n:]
		m.saveDisk(len(rest) == 0)
	}
	if len(w.entries) > 0 {
		m.host.meters.done(m.group, began)
	}
	m.act(w.leads)
	for _, c := range w.reads {
		m.query(c)
	}
	if w.compact || w.whole {
		m.snapshot(w)
	}
	w.entries = nil // the node may hold on to w for a while
	w.done.Store(true)
}

// restore begins anew with a snapshot. If that cannot be read nothing can be applied
// any more, and the member starts again.
func (m *machine) restore(meta *raftcore.SnapshotMeta) {
	var sm StateMachine
	var head head
	var err error
	if m.disk != nil {
		sm = m.disk.DiskStateMachine
		head, err = m.restoreDisk(meta)
	} else {
		sm = m.fresh()
		head, err = m.files.restore(sm, meta.Last, m.group.cfg.Versions)
	}
	if err == nil {
		err = m.skippedApplied(meta.Last.Index, head.skips)
	}
	if err != nil && !errors.Is(err, ErrMachineFault) {
		err = fmt.Errorf("%w: %w", ErrStorageFault, err)
	}
	if err != nil {
		panic(fmt.Errorf("restoring the snapshot of entry %d: %w", meta.Last.Index, m.lost(meta.Last, err)))
	}
	m.group.skips.add(head.skips...)
	m.act(0) // the table of effects is another one
	m.use(sm)
	m.sessions, m.effects, m.applied, m.passed = head.sessions, head.effects, *meta, 0
	m.setVersion(head.version)
	m.group.holds(&m.group.outbox, m.effects.size())
	m.group.holds(&m.group.results, m.sessions.bytes)
	m.saveDisk(true)
	if m.poison != 0 && meta.Last.Index >= m.poison { // others had no trouble with it
		m.poison = 0
		m.group.quarantine.Store(nil)
		m.host.system.Root.Send(m.parent, &released{})
	}
}

// act has the effector begin when this member has come to lead, and has applied all that
// former leaders have noted; and end when it leads no more.
func (m *machine) act(leads raftcore.Term) {
	if leads != m.leads && m.acting {
		m.acting = false
		m.effects.leads(false)
		m.effector.tell(leadsOrder{})
	}
	m.leads = leads
	if leads != 0 && !m.acting && m.applied.Last.Term == leads {
		m.acting = true
		m.watchSessions()
		m.effects.leads(true)
		m.effector.tell(leadsOrder{m.effects})
	}
}

// snapshot has the state written as it is now, or made durable where it is.
func (m *machine) snapshot(w *work) {
	o := &takeOrder{from: m.node, group: m.group, cluster: w.cluster, meta: m.applied, told: w.told}
	// What is to be skipped may follow; or the group has not begun.
	if m.applied.Last.Index < m.recovered.Last || m.anew || m.catchingUp() || !m.group.cfg.Versions.includes(m.version) {
		o.done(errNotApplied)
		return
	}
	var err error
	if m.disk != nil && !w.whole && !m.group.wholes.Load() {
		m.syncDisk()
	} else {
		o.state, err = m.image()
	}
	if err != nil {
		m.host.logger.Error("the machine takes no snapshot, it will be asked again", "group", m.group.name, "index", uint64(m.applied.Last.Index), "err", err)
		o.done(err)
		return
	}
	o.head = m.encodeHead(o.state != nil)
	m.snapshotter.tell(o)
}

// use goes on with a StateMachine.
func (m *machine) use(sm StateMachine) {
	m.sm = sm
	m.batches, _ = sm.(BatchStateMachine)
	m.ends, _ = sm.(SessionStateMachine)
}

// fresh makes a StateMachine.
func (m *machine) fresh() StateMachine {
	defer panicsAt(0)
	return m.group.cfg.Machine()
}

func (m *machine) image() (io.WriterTo, error) {
	defer panicsAt(0)
	return m.sm.Snapshot()
}

func (m *machine) apply(w *work, e *raftcore.Entry) {
	if m.anew || m.poison != 0 && e.Index >= m.poison {
		m.pass(w, e)
		return
	}
	if m.behind(e.Index) {
		m.passBehind(w, e)
	}
	var answer []byte
	var err error
	switch entry, decides := skipDecision(e); {
	case decides:
		if m.decide(e, entry); m.anew {
			m.pass(w, e)
			return
		}
	case e.Kind == raftcore.EntryCommand:
		result := m.run(e, Entry{Data: e.Data})
		answer, err = result.outcome()
	case e.Kind == raftcore.EntryHost:
		answer, err = m.applyHost(e)
	}
	m.applied.Last, m.applied.Time = e.EntryID, e.Time
	if e.Kind == raftcore.EntryConfig {
		m.applied.Conf = raftcore.ConfigAt{Index: e.Index, Conf: *e.Config}
	}
	m.answer(w, e.Index, outcome{data: answer, index: e.Index, err: err})
}

// pass looks at an entry that this machine cannot apply: it may be the decision to skip the
// one that it has come to.
func (m *machine) pass(w *work, e *raftcore.Entry) {
	m.passed = e.Index
	if entry, decides := skipDecision(e); decides {
		m.decide(e, entry)
		m.answer(w, e.Index, outcome{index: e.Index})
		return
	}
	err := errLeft // it begins anew, without an entry that is skipped
	if !m.anew {
		err = fmt.Errorf("%w: %w", ErrUnknown, ErrQuarantined)
	}
	m.answer(w, e.Index, outcome{err: err})
}

// answer tells whoever has proposed an entry here.
func (m *machine) answer(w *work, index raftcore.Index, o outcome) {
	if k := w.answered; k < len(w.callers) && w.callers[k].index == index {
		w.answered++
		m.working.Add(-1)
		w.callers[k].call.end(o)
	}
}

// applyHost applies what is for one of the tables that the host keeps beside the machine.
func (m *machine) applyHost(e *raftcore.Entry) ([]byte, error) {
	if isUpgrade(e.Data) {
		m.upgrade(e)
		return nil, nil
	}
	if isEffectOrder(e.Data) {
		m.effects.apply(e, func(event Entry) { m.run(e, event) })
		m.group.holds(&m.group.outbox, m.effects.size())
		return nil, nil
	}
	answer, err := m.sessions.apply(e, func(command Entry) result { return m.run(e, command) }, func(id SessionID) { m.ended(e, id) })
	m.group.holds(&m.group.results, m.sessions.bytes)
	if m.told { // and no command has come after that
		m.told = false
		if m.behind(e.Index) {
			m.replay(e.Index)
		} else {
			m.settle(e, nil)
		}
	}
	m.watchSessions()
	return answer, err
}

// ended tells the user's machine that a session has ended, if it wants to know. What it does
// then is one with what the command of that entry does.
func (m *machine) ended(e *raftcore.Entry, id SessionID) {
	if m.ends == nil || m.group.skips.has(e.Index) {
		return
	}
	if m.told = true; m.behind(e.Index) {
		return
	}
	defer panicsAt(e.Index)
	m.ends.SessionEnded(m.entry(e, Entry{Session: id}))
}

// watchSessions has the effector see to it that sessions end when their time has come, if the
// machine wants to know. Otherwise nobody can tell the difference.
func (m *machine) watchSessions() {
	if m.ends == nil || !m.acting {
		return
	}
	if at := m.sessions.mayEnd(); m.group.sessionEnds.Swap(at) != at {
		m.effector.tell(effectsAdded{})
	}
}

// run has the user's machine apply what an entry says, unless it is to be skipped, and
// notes the effects.
func (m *machine) run(e *raftcore.Entry, entry Entry) result {
	if m.group.skips.has(e.Index) {
		return result{skipped: true}
	}
	m.told = false
	if m.behind(e.Index) {
		return m.replay(e.Index)
	}
	defer panicsAt(e.Index)
	entry = m.entry(e, entry)
	var answer []byte
	if m.batches != nil {
		answers := m.batches.ApplyBatch([]Entry{entry})
		if len(answers) != 1 {
			panic(fmt.Sprintf("ApplyBatch has answered %d of 1 commands", len(answers)))
		}
		answer = answers[0]
	} else {
		answer = m.sm.Apply(entry)
	}
	m.settle(e, answer)
	return result{answer: answer}
}

// entry says of what the user's machine is told where it is in the log.
func (m *machine) entry(e *raftcore.Entry, entry Entry) Entry {
	if able := m.group.cfg.Versions; !able.includes(m.version) {
		panic(&VersionError{m.version, able})
	}
	entry.Index, entry.Term, entry.Time = e.Index, e.Term, time.UnixMilli(e.Time).UTC()
	entry.Version, entry.Effects = m.version, &m.done
	return entry
}

// settle notes what an entry has come to.
func (m *machine) settle(e *raftcore.Entry, answer []byte) {
	m.did(e.Index, m.done)
	m.ran(e, answer, m.done)
	clear(m.done)
	m.done = m.done[:0]
}

// did notes the effects of an entry.
func (m *machine) did(index raftcore.Index, effects []Effect) {
	if len(effects) == 0 {
		return
	}
	m.effects.add(index, effects)
	m.group.holds(&m.group.outbox, m.effects.size())
	if m.acting {
		m.effector.tell(effectsAdded{})
	}
}

func (m *machine) query(c *call) {
	o := outcome{err: ErrRejected} // nobody waits for it any more
	switch {
	case m.anew:
		o.err = errGone
	case m.catchingUp():
		o.err = errCatchingUp
	case m.poison != 0 && c.index >= m.poison:
		o.err = fmt.Errorf("%w: %w", ErrRejected, ErrQuarantined)
	case c.ctx == nil || c.ctx.Err() == nil:
		o = m.ask(c)
	}
	m.working.Add(-1)
	c.end(o)
}

// ask queries, unless the answer would be too old by now.
func (m *machine) ask(c *call) outcome {
	o := outcome{index: m.applied.Last.Index}
	if c.consistency == BoundedStale {
		if o.age, o.err = c.age(m.group.host.now()); o.err != nil {
			return o
		}
	}
	ctx := c.ctx
	if ctx == nil {
		ctx = m.life
	}
	defer panicsAt(0)
	o.data, o.err = m.sm.Query(ctx, c.data)
	return o
}

// panicsAt is deferred around what is the user's: it says whose panic it is. Where a
// DiskStateMachine could not read its disk, no entry is to blame.
func panicsAt(index raftcore.Index) {
	if reason := recover(); reason != nil {
		if err, is := reason.(error); is && errors.Is(err, ErrStorageFault) {
			panic(err)
		}
		panic(&machinePanic{index, reason, debug.Stack()})
	}
}

// orphaned ends the calls of work that will not be done, or not by this machine, or not
// before whoever stops the member has lost his patience. Proposals among them are
// committed: they happen, but their results are lost.
func (w *work) orphaned() {
	for _, a := range w.callers {
		a.call.abandon()
	}
	for _, c := range w.reads {
		c.abandon()
	}
	w.told.end(errGone)
}
