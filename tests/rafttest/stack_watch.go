package rafttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// record is what the members of a group have applied, all of them together. What one has
// applied all others must: the same entries, each once and in the same version, with the
// same answers and effects; and their snapshots of one entry must show the same state.
type record struct {
	entries map[raftcore.Index]*appliedEntry
	views   map[raftcore.Index][]string // what a machine says there of its state
	images  map[raftcore.Index][]byte   // snapshots there, of machines that write the same ones
}

// appliedEntry is an entry as the first has applied it.
type appliedEntry struct {
	actors.Entry                // without the place for effects
	before       raftcore.Index // what was applied before it
	answer       []byte
	effects      []actors.Effect
	by           *stackHost
}

func newRecord() *record {
	return &record{entries: map[raftcore.Index]*appliedEntry{}, views: map[raftcore.Index][]string{}, images: map[raftcore.Index][]byte{}}
}

// indexes are those that were applied, in order.
func (r *record) indexes() []raftcore.Index { return slices.Sorted(maps.Keys(r.entries)) }

// hash tells one record from another.
func (r *record) hash() uint64 {
	h := fnv.New64a()
	for _, index := range r.indexes() {
		fmt.Fprintln(h, index, r.entries[index].says())
	}
	return h.Sum64()
}

// says is what must be the same of an entry, whoever applies it.
func (e *appliedEntry) says() string {
	return fmt.Sprintf("after entry %d, in term %d at %d, in version %d: %q, timer %q, down %q; answered %q, with effects [%s]",
		e.before, e.Term, e.Time.UnixMilli(), e.Version, e.Data, e.Timer, e.Down, e.answer, showEffects(e.effects))
}

// watched is a machine of a group that is simulated: it takes part in the record.
type watched struct {
	actors.StateMachine
	member *stackMember
	last   raftcore.Index // applied, or restored
}

// watchedBatch is one that takes commands together.
type watchedBatch struct{ *watched }

// watch returns a machine for a member. Some take commands together, and would not have to.
func (m *stackMember) watch() actors.StateMachine {
	w := &watched{StateMachine: m.of.machine(), member: m}
	if _, together := w.StateMachine.(actors.BatchStateMachine); together || m.batches {
		return watchedBatch{w}
	}
	return w
}

func (w *watched) Apply(e actors.Entry) []byte {
	w.mayPanic([]actors.Entry{e})
	answer := w.StateMachine.Apply(e)
	w.note(e, answer)
	return answer
}

func (w watchedBatch) ApplyBatch(entries []actors.Entry) (answers [][]byte) {
	w.mayPanic(entries)
	if len(entries) > 1 {
		w.member.of.stack.stats.Batches++
	}
	if inner, together := w.StateMachine.(actors.BatchStateMachine); together {
		answers = inner.ApplyBatch(entries)
	} else {
		for _, e := range entries {
			answers = append(answers, w.StateMachine.Apply(e))
		}
	}
	for i := range min(len(entries), len(answers)) { // the host notices when there are not as many
		w.note(entries[i], answers[i])
	}
	return answers
}

// mayPanic has a machine panic if it is to: before it applies anything.
func (w *watched) mayPanic(entries []actors.Entry) {
	m := w.member
	s, first := m.of.stack, entries[0].Index
	for _, e := range entries {
		if bytes.HasPrefix(e.Data, []byte("poison")) && m.of == s.main() && !s.mended {
			s.stats.Poisoned++
			m.panicAt = first
			panic("a machine does not like " + string(e.Data))
		}
	}
	if m.panics && first != m.panicAt { // twice at the same entry would be another matter
		m.panics, m.panicAt = false, first
		s.stats.Panics++
		panic("a machine panics")
	}
}

// note holds what was applied against what others have.
func (w *watched) note(e actors.Entry, answer []byte) {
	m := w.member
	s, r := m.of.stack, m.of.record
	now := &appliedEntry{Entry: e, before: w.last, answer: bytes.Clone(answer), by: m.host}
	if e.Effects != nil {
		now.effects = cloneEffects(*e.Effects)
	}
	now.Effects, now.Data = nil, bytes.Clone(e.Data)
	w.last = e.Index
	if kept := m.host.disk.current[m.of.name]; kept == nil || e.Index > kept.longest {
		s.fail("durability: %v applies entry %d, and its disk does not hold it", m, e.Index)
	}
	first, before := r.entries[e.Index], r.entries[now.before]
	switch {
	case before != nil && e.Time.Before(before.Time):
		s.fail("log time: %v applies entry %d, of %v, after entry %d, of %v", m, e.Index, e.Time, now.before, before.Time)
	case first == nil:
		r.entries[e.Index] = now
	case first.Version != now.Version:
		s.fail("versions: %v applies entry %d in version %d, and %v in version %d", m, e.Index, now.Version, first.by, first.Version)
	case first.says() != now.says():
		s.fail("state machine safety: %v applies entry %d %s; %v has applied it %s", m, e.Index, now.says(), first.by, first.says())
	}
}

func cloneEffects(effects []actors.Effect) (all []actors.Effect) {
	for _, effect := range effects {
		switch e := effect.(type) {
		case actors.Send:
			e.Data = bytes.Clone(e.Data)
			effect = e
		case actors.Append:
			e.Data = bytes.Clone(e.Data)
			effect = e
		}
		all = append(all, effect)
	}
	return all
}

// look compares what the machine says of its state with what others say at that entry.
func (w *watched) look(when string) {
	g := w.member.of
	var view []string
	for _, question := range g.views {
		answer, err := w.Query(context.Background(), bytes.Clone(question))
		view = append(view, fmt.Sprintf("%q %v", answer, err != nil))
	}
	if others := g.record.views[w.last]; others == nil {
		g.record.views[w.last] = view
	} else if !slices.Equal(view, others) {
		g.stack.fail("state machine safety: %v, %s at entry %d, says of its state %v, and others there say %v", w.member, when, w.last, view, others)
	}
}

// Snapshot writes which entry it is of, too.
func (w *watched) Snapshot() (io.WriterTo, error) {
	state, err := w.StateMachine.Snapshot()
	if err != nil || state == nil {
		return state, err
	}
	w.look("with a snapshot")
	return watchedImage{w.member, w.last, state}, nil
}

// watchedImage is a snapshot that is written. Ballast makes it larger than a chunk.
type watchedImage struct {
	member *stackMember
	last   raftcore.Index
	state  io.WriterTo
}

func (i watchedImage) WriteTo(w io.Writer) (int64, error) {
	g := i.member.of
	head := append(binary.BigEndian.AppendUint64(nil, uint64(i.last)), g.ballast()...)
	n, err := w.Write(head)
	if err != nil {
		return int64(n), err
	}
	var image bytes.Buffer
	if g.canonical {
		w = io.MultiWriter(w, &image)
	}
	wrote, err := i.state.WriteTo(w)
	if err == nil {
		g.stack.stats.Snapshots++
		i.member.host.aim()
		if other, there := g.record.images[i.last]; g.canonical && !there {
			g.record.images[i.last] = image.Bytes()
		} else if g.canonical && !bytes.Equal(other, image.Bytes()) {
			g.stack.fail("%v has written the snapshot %s at entry %d", i.member, apart(image.Bytes(), other), i.last)
		}
	}
	return int64(n) + wrote, err
}

// ballast are so many bytes, and the same in every snapshot.
func (g *stackGroup) ballast() []byte {
	if g.number > 0 {
		return nil
	}
	n := g.stack.plan.Ballast
	return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
}

func (w *watched) Restore(r io.Reader) error {
	g := w.member.of
	want := g.ballast()
	head := make([]byte, 8+len(want))
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	if !bytes.Equal(head[8:], want) {
		g.stack.fail("%v restores a snapshot that nobody has written", w.member)
	}
	if err := w.StateMachine.Restore(r); err != nil {
		return err
	}
	w.last = raftcore.Index(binary.BigEndian.Uint64(head))
	w.look("restored")
	g.stack.stats.Restores++
	return nil
}
