package actors

import (
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// machine owns the user's StateMachine: it applies, queries, and answers those
// who asked, straight back.
//
//	node    → machine  work
//	machine → node     raftcore.Applied
type machine struct {
	group   *Group
	node    ref // set with the first work
	box     *mailbox
	sm      StateMachine
	applied raftcore.Index
	working *atomic.Int64 // counts the calls that were handed over and are not answered

	waiting []readyCall // reads at an index that is not applied yet, ascending
}

// work is everything that one Drain had for the machine. Reads come after the
// entries that it also brings.
type work struct {
	node    ref
	working *atomic.Int64
	entries []raftcore.Entry
	callers []appliedCall // proposals of this node among the entries, in order
	reads   []readyCall
	stale   []*call
}

type appliedCall struct {
	index raftcore.Index
	call  *call
}

type readyCall struct {
	index raftcore.Index
	call  *call
}

func (m *machine) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.sm = m.group.cfg.Machine()
	case *Batch:
		before := m.applied
		for _, message := range msg.Messages {
			m.do(message.(*work))
		}
		if m.applied > before {
			m.node.tell(raftcore.Applied{Index: m.applied})
		}
	case *actor.Stopping:
		m.abandon()
	case *actor.Stopped:
		m.box.close()
	}
}

func (m *machine) do(w *work) {
	m.node, m.working = w.node, w.working
	for i := range w.entries {
		m.apply(w, &w.entries[i])
	}
	for _, r := range w.reads {
		if r.index > m.applied {
			m.waiting = append(m.waiting, r)
		} else {
			m.query(r.call)
		}
	}
	for _, c := range w.stale {
		m.query(c)
	}
}

func (m *machine) apply(w *work, e *raftcore.Entry) {
	var answer []byte
	if e.Kind == raftcore.EntryCommand {
		answer = m.sm.Apply(Entry{Index: e.Index, Term: e.Term, Time: time.UnixMilli(e.Time), Data: e.Data})
	}
	m.applied = e.Index
	if len(w.callers) > 0 && w.callers[0].index == e.Index {
		c := w.callers[0].call
		w.callers = w.callers[1:]
		m.working.Add(-1)
		c.finish(answer, nil)
	}
	for len(m.waiting) > 0 && m.waiting[0].index <= m.applied {
		m.query(m.waiting[0].call)
		m.waiting = m.waiting[1:] // not before: a Query that panics leaves nobody waiting
	}
}

func (m *machine) query(c *call) {
	var answer []byte
	err := ErrRejected // nobody waits for it any more
	if c.ctx.Err() == nil {
		answer, err = m.sm.Query(c.ctx, c.data)
	}
	m.working.Add(-1)
	c.finish(answer, err)
}

// abandon ends what this machine still had to answer.
func (m *machine) abandon() {
	m.box.abandonBatch()
	for _, r := range m.waiting {
		r.call.abandon()
	}
}

// orphaned ends the calls of work that will not be done, or not by this machine.
// Proposals among them are committed: they happen, but their results are lost.
func (w *work) orphaned() {
	for _, a := range w.callers {
		a.call.abandon()
	}
	for _, r := range w.reads {
		r.call.abandon()
	}
	for _, c := range w.stale {
		c.abandon()
	}
}
