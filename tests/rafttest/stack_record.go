package rafttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// checkRecord holds what the members of a group have applied, and what its clients were
// told, against what a group promises. It needs not know what the machine does:
//
//   - a machine that is given all of it anew comes to the same answers, effects and
//     answers to questions;
//   - every command that was acknowledged was applied once, one that was rejected never,
//     and no other at all;
//   - the version never goes back;
//   - the effects were carried out: see following.
//
// Entries up to calm are those whose effects have had all the time in the world.
func (g *stackGroup) checkRecord(calm raftcore.Index) error {
	if err := g.replay(); err != nil {
		return err
	}
	if err := g.placed(); err != nil {
		return err
	}
	f, err := g.follow(calm)
	if err != nil {
		return err
	}
	if err := f.counts(g.history); err != nil {
		return err
	}
	return f.sendings(g.sent)
}

// replay has a fresh machine do all of it once more.
func (g *stackGroup) replay() error {
	m := g.machine()
	var last *appliedEntry
	reads := slices.Clone(g.reads)
	slices.SortStableFunc(reads, func(a, b stackRead) int { return int(a.index) - int(b.index) })
	ask := func(until raftcore.Index) error {
		for len(reads) > 0 && reads[0].index < until {
			r := reads[0]
			reads = reads[1:]
			answer, err := m.Query(context.Background(), bytes.Clone(r.question))
			if (err != nil) != r.failed || !bytes.Equal(answer, r.answer) {
				return fmt.Errorf("group %s: at entry %d the question %q was answered %q on %v; a machine that was given all commands up to there answers %q", g.name, r.index, r.question, r.answer, r.by, answer)
			}
		}
		return nil
	}
	for _, index := range g.record.indexes() {
		if err := ask(index); err != nil {
			return err
		}
		e := g.record.entries[index]
		before := raftcore.Index(0)
		if last != nil {
			before = last.Index
		}
		if e.before != before {
			return fmt.Errorf("state machine safety: %v of group %s applies entry %d after %d; the one before it is %d", e.by, g.name, index, e.before, before)
		}
		if last != nil && e.Version < last.Version {
			return fmt.Errorf("versions: group %s has entry %d in version %d, after entry %d in version %d", g.name, index, e.Version, before, last.Version)
		}
		again := &appliedEntry{Entry: e.Entry, before: e.before}
		entry := e.Entry
		entry.Data, entry.Effects = bytes.Clone(e.Data), &again.effects
		if again.answer = applyAll(m, []actors.Entry{entry})[0]; again.says() != e.says() {
			return fmt.Errorf("group %s: a machine that is given all commands anew applies entry %d %s; %v has applied it %s", g.name, index, again.says(), e.by, e.says())
		}
		last = e
	}
	if err := ask(^raftcore.Index(0)); err != nil {
		return err
	}
	image, err := m.Snapshot()
	if err != nil {
		return fmt.Errorf("group %s: its snapshot: %w", g.name, err)
	}
	_, err = image.WriteTo(io.Discard)
	return err
}

// placed demands that what was answered with its entry stands in the order of time.
func (g *stackGroup) placed() error {
	var placed []placedOp
	taken := map[raftcore.Index]bool{}
	for _, o := range g.history {
		if o.Outcome != Happened || o.inSession || !o.Linearizable() {
			continue
		}
		if o.read() == 0 {
			e := g.record.entries[o.Index]
			switch {
			case e == nil || !bytes.Equal(e.Data, o.command()) || e.Timer != "" || e.Down != "":
				return fmt.Errorf("group %s: %v was acknowledged at entry %d, and is not there", g.name, o, o.Index)
			case string(e.answer) != o.Answer:
				return fmt.Errorf("group %s: %v was answered otherwise than it was applied: %q", g.name, o, e.answer)
			case taken[o.Index]:
				return fmt.Errorf("exactly once: group %s: two commands were acknowledged at entry %d, one of them %v", g.name, o.Index, o)
			}
			taken[o.Index] = true
		}
		placed = append(placed, placedOp{o, o.Index})
	}
	return inOrder(placed)
}

// following is what the effects of a record come to.
type following struct {
	*stackGroup
	sends    map[actors.EffectID]actors.Send
	timers   map[string]setTimer
	monitors map[string]raftcore.Index
	appends  map[string][2]int // how many there are of a command: in all, and up to the calm
	applied  map[string]int    // how often a command was applied
	calm     raftcore.Index
}

type setTimer struct {
	at  int64
	set raftcore.Index
}

// follow goes through all that was applied. Timers and Downs must come where somebody
// has asked for them and nobody has taken that back, and be gone then; timers not before
// their time.
func (g *stackGroup) follow(calm raftcore.Index) (*following, error) {
	f := &following{
		stackGroup: g, sends: map[actors.EffectID]actors.Send{}, timers: map[string]setTimer{},
		monitors: map[string]raftcore.Index{}, appends: map[string][2]int{}, applied: map[string]int{}, calm: calm,
	}
	for _, index := range g.record.indexes() {
		e := g.record.entries[index]
		switch {
		case e.Timer != "":
			t, set := f.timers[e.Timer]
			if !set {
				return nil, fmt.Errorf("timers: group %s: entry %d says that %q has gone off, which is not set", g.name, index, e.Timer)
			}
			if e.Time.UnixMilli() < t.at {
				return nil, fmt.Errorf("timers: group %s: entry %d says that %q has gone off, %d ms before its time", g.name, index, e.Timer, t.at-e.Time.UnixMilli())
			}
			delete(f.timers, e.Timer)
		case e.Down != "":
			if f.monitors[e.Down] == 0 {
				return nil, fmt.Errorf("monitors: group %s: entry %d says that %q is gone, and nobody has asked", g.name, index, e.Down)
			}
			if e.Down == immortal && index <= g.before {
				return nil, fmt.Errorf("monitors: group %s: entry %d says that %q is gone, and it has always been there", g.name, index, e.Down)
			}
			delete(f.monitors, e.Down)
		default:
			f.applied[string(e.Data)]++
		}
		for n, effect := range e.effects {
			f.take(actors.EffectID{Index: index, N: uint64(n)}, effect)
		}
	}
	return f, nil
}

func (f *following) take(id actors.EffectID, effect actors.Effect) {
	switch e := effect.(type) {
	case actors.Send:
		f.sends[id] = e
	case actors.Append:
		n := f.appends[string(e.Data)]
		if n[0]++; id.Index <= f.calm {
			n[1]++
		}
		f.appends[string(e.Data)] = n
	case actors.SetTimer:
		f.timers[e.Name] = setTimer{e.At.UnixMilli(), id.Index}
	case actors.StopTimer:
		delete(f.timers, e.Name)
	case actors.Monitor:
		f.monitors[e.Actor] = id.Index
	case actors.Demonitor:
		delete(f.monitors, e.Actor)
	}
}

// waits says what has not happened yet that must, when it is some time, and no actor is
// there any more; "": nothing.
func (f *following) waits(now time.Time) string {
	for _, name := range sortedKeys(f.timers) {
		if t := f.timers[name]; t.set <= f.calm && t.at <= now.UnixMilli() {
			return fmt.Sprintf("timer %q of entry %d goes off", name, t.set)
		}
	}
	for _, name := range sortedKeys(f.monitors) {
		if set := f.monitors[name]; set <= f.calm {
			return fmt.Sprintf("it is told that %q is gone, for entry %d", name, set)
		}
	}
	for _, data := range sortedKeys(f.appends) {
		if f.applied[data] < f.appends[data][1] {
			return fmt.Sprintf("the command %q is appended", data)
		}
	}
	for id := range f.sends {
		if id.Index <= f.calm && f.sent[id] == nil {
			return "everything is sent"
		}
	}
	return ""
}

// counts demands that each command was applied as often as somebody wanted it.
func (f *following) counts(history []StackOp) error {
	type count struct{ least, most int }
	asked := map[string]count{}
	for _, o := range history {
		if o.read() == 1 {
			continue
		}
		n := asked[string(o.command())]
		if o.Outcome != Rejected {
			n.most++
		}
		if o.Outcome == Happened {
			n.least++
		}
		asked[string(o.command())] = n
	}
	for data, appended := range f.appends {
		n := asked[data]
		asked[data] = count{n.least + appended[1], n.most + appended[0]}
	}
	for _, data := range sortedKeys(f.applied) {
		if n, times := asked[data], f.applied[data]; times > n.most {
			return fmt.Errorf("exactly once: group %s: %q was applied %d times, and asked for %d times", f.name, data, times, n.most)
		}
	}
	for _, data := range sortedKeys(asked) {
		if n, times := asked[data], f.applied[data]; times < n.least {
			return fmt.Errorf("exactly once: group %s: %q was applied %d times, and acknowledged, or appended, %d times", f.name, data, times, n.least)
		}
	}
	return nil
}

// sendings demands that all that was to be sent was, and nothing else.
func (f *following) sendings(sent map[actors.EffectID]*sending) error {
	for id, s := range sent {
		want, is := f.sends[id]
		if !is || want.To != s.to || !bytes.Equal(want.Data, s.data) {
			return fmt.Errorf("effects: group %s: %v was sent to %q, %q; the machine wanted %q to be sent to %q", f.name, id, s.to, s.data, want.Data, want.To)
		}
	}
	for id, want := range f.sends {
		if id.Index <= f.calm && sent[id] == nil {
			return fmt.Errorf("effects: group %s: %v was never sent to %q: %q", f.name, id, want.To, want.Data)
		}
	}
	return nil
}

// sending is a Send that was carried out.
type sending struct {
	to    string
	data  []byte
	times int
}

// hasSent notes what the leader's host hands to an actor.
func (h *stackHost) hasSent(to string, m *actors.Sent) {
	s := h.stack
	for _, g := range s.groups {
		if g.name != m.Group {
			continue
		}
		s.queue.note(h.process, "", "sends %v of %s to %s", m.ID, g.name, to)
		s.stats.Sends++
		before := g.sent[m.ID]
		if before == nil {
			g.sent[m.ID] = &sending{to, bytes.Clone(m.Data), 1}
			return
		}
		if before.times++; before.to != to || !bytes.Equal(before.data, m.Data) {
			s.fail("effects: group %s: %v is sent to %q, %q, and was sent to %q, %q", g.name, m.ID, to, m.Data, before.to, before.data)
		}
		s.stats.SentAgain++
		return
	}
	s.fail("effects: %v sends something of a group %q", h, m.Group)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
