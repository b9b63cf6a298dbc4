package actors

import (
	"fmt"
	"math"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// BatchStateMachine is a StateMachine that would rather apply many commands at once: one
// transaction, one lock, one call.
type BatchStateMachine interface {
	StateMachine
	// ApplyBatch is called instead of Apply, with one entry or more, and returns an answer
	// for each. It must do what Apply would have done one by one, wherever the bounds of the
	// batches are: those are others on every member, and when the log is applied anew. All
	// that is said of Apply is true of it. The entries are in its hands until it returns;
	// Do is each entry's own. Where a batch panics the commands from its first on are
	// applied alone the next time, to find the one at fault: that is one panic more before the
	// machine is quarantined, so Restarts.Max should allow for two.
	ApplyBatch(entries []Entry) [][]byte
}

// maxApplied bounds the commands of an ApplyBatch.
const maxApplied = 1024

// batch is what a BatchStateMachine is given, used again.
type batch struct {
	entries []Entry
	effects [][]Effect
}

// together returns how many of the entries can be applied at once: commands of no session,
// at which nothing is known to be the matter.
func (m *machine) together(entries []raftcore.Entry) (n int) {
	if m.batches == nil || m.anew {
		return 0
	}
	most, bytes := maxApplied, math.MaxInt
	if d := m.disk; d != nil {
		most, bytes = maxUnsaved-d.many, maxUnsavedBytes-d.size
	}
	for n < min(len(entries), most) && bytes > 0 {
		e := &entries[n]
		if e.Kind != raftcore.EntryCommand || m.behind(e.Index) || m.poison != 0 && e.Index >= m.poison || m.group.skips.has(e.Index) ||
			m.suspect != 0 && e.Index >= m.suspect && e.Index < m.suspect+maxApplied {
			break
		}
		n++
		bytes -= len(e.Data)
	}
	return n
}

// applyTogether applies commands at once.
func (m *machine) applyTogether(w *work, entries []raftcore.Entry) {
	answers := m.runTogether(entries)
	for i := range entries {
		e := &entries[i]
		m.did(e.Index, m.batch.effects[i])
		m.ran(e, nil, m.batch.effects[i])
		m.applied.Last, m.applied.Time = e.EntryID, e.Time
		m.answer(w, e.Index, outcome{data: answers[i], index: e.Index})
	}
	clear(m.batch.entries)
	clear(m.batch.effects)
}

func (m *machine) runTogether(entries []raftcore.Entry) [][]byte {
	defer panicsAt(entries[0].Index)
	if able := m.group.cfg.Versions; !able.includes(m.version) {
		panic(&VersionError{m.version, able})
	}
	b := &m.batch
	b.entries, b.effects = b.entries[:0], append(b.effects[:0], make([][]Effect, len(entries))...)
	for i := range entries {
		e := &entries[i]
		b.entries = append(b.entries, Entry{
			Index: e.Index, Term: e.Term, Time: time.UnixMilli(e.Time).UTC(), Data: e.Data,
			Version: m.version, Effects: &b.effects[i],
		})
	}
	answers := m.batches.ApplyBatch(b.entries)
	if len(answers) != len(entries) {
		panic(fmt.Sprintf("ApplyBatch has answered %d of %d commands", len(answers), len(entries)))
	}
	return answers
}
