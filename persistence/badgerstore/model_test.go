package badgerstore

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// model is what a store must hold, kept in memory.
type model struct {
	rng    *rand.Rand
	groups map[string]*modelGroup
	flight []modelSave // the Save that failed, if any: all of it may be there, or nothing
}

type modelGroup struct {
	name        string
	incarnation raftcore.Incarnation // 0: was never opened for certain
	hard        raftcore.HardState
	snapshot    raftcore.SnapshotMeta
	base        raftcore.SnapshotMeta
	entries     []raftcore.Entry // after the base

	opened persistence.Opened // if it is open
}

// modelSave is one group's part of a Save.
type modelSave struct {
	group *modelGroup
	hard  raftcore.HardState
	compaction
	entries []raftcore.Entry
}

func newModel(seed uint64) *model {
	return &model{rng: rand.New(rand.NewPCG(seed, 2)), groups: map[string]*modelGroup{}}
}

func (g *modelGroup) last() raftcore.Index {
	return g.base.Last.Index + raftcore.Index(len(g.entries))
}

func (g *modelGroup) id(i raftcore.Index) raftcore.EntryID {
	if i == g.base.Last.Index {
		return g.base.Last
	}
	return g.entries[i-g.base.Last.Index-1].EntryID
}

// apply is a Save as the contract says it.
func (m *model) apply(saves []modelSave) {
	for _, s := range saves {
		g := s.group
		g.hard = s.hard
		if s.snapshot != nil {
			g.snapshot = *s.snapshot
		}
		if s.reset {
			g.base, g.entries = *s.base, nil
		} else if s.base != nil {
			g.entries = slices.Clone(g.entries[s.base.Last.Index-g.base.Last.Index:])
			g.base = *s.base
		}
		if len(s.entries) > 0 {
			keep := s.entries[0].Index - g.base.Last.Index - 1
			g.entries = append(slices.Clip(g.entries[:keep]), s.entries...)
		}
	}
}

// recovered is what the group must be opened with, but for the tail.
func (g *modelGroup) recovered() raftcore.Recovered {
	r := raftcore.Recovered{HardState: g.hard, Snapshot: g.snapshot, Base: g.base.Last, BaseConf: g.base.Conf, Last: g.base.Last.Index, LastTime: g.base.Time}
	for i := range g.entries {
		r.Note(&g.entries[i])
	}
	return r
}

// check compares what a group was opened with.
func (g *modelGroup) check(o persistence.Opened) error {
	want, got := g.recovered(), o.Recovered
	if g.incarnation != 0 && got.Incarnation != g.incarnation || got.Incarnation == 0 {
		return fmt.Errorf("the incarnation is %x, was %x", got.Incarnation, g.incarnation)
	}
	tail := got.Tail
	got.Tail, got.Incarnation = nil, 0
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
		return fmt.Errorf("recovered is\n  %s, saved was\n  %s", a, b)
	}
	if len(tail) > len(g.entries) || len(tail) == 0 && len(g.entries) > 0 {
		return fmt.Errorf("the tail has %d entries, the log %d", len(tail), len(g.entries))
	}
	return equalEntries(tail, g.entries[len(g.entries)-len(tail):])
}

func equalEntries(got, want []raftcore.Entry) error {
	if len(got) != len(want) {
		return fmt.Errorf("there are %d entries, %d were saved", len(got), len(want))
	}
	for i := range got {
		g, w := &got[i], &want[i]
		same := g.EntryID == w.EntryID && g.Time == w.Time && g.Kind == w.Kind &&
			bytes.Equal(g.Data, w.Data) && (g.Data == nil) == (w.Data == nil) &&
			(g.Config == nil) == (w.Config == nil) && (g.Config == nil || g.Config.Equal(w.Config))
		if !same {
			return fmt.Errorf("entry %d is %+v, saved was %+v", w.Index, *g, *w)
		}
	}
	return nil
}

// draw makes a random Save for some of the open groups.
func (m *model) draw() []modelSave {
	var open []*modelGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		if g := m.groups[name]; g != nil && g.opened.Group != 0 {
			open = append(open, g)
		}
	}
	var saves []modelSave
	for _, g := range open {
		if m.rng.IntN(2) == 0 {
			if m.rng.IntN(12) == 0 {
				saves = append(saves, m.compact(g))
			} else {
				saves = append(saves, m.part(g))
			}
		}
	}
	return saves
}

// part makes a random part of a Save.
func (m *model) part(g *modelGroup) modelSave {
	s := modelSave{group: g, hard: g.hard}
	if s.hard.Term == 0 || m.rng.IntN(6) == 0 {
		s.hard.Term++
		s.hard.Vote = raftcore.NodeID(m.rng.IntN(4))
		s.hard.Cluster = 99
		s.hard.Joined = s.hard.Joined || m.rng.IntN(4) == 0
	}
	first := g.last() + 1
	n := m.rng.IntN(1 + m.rng.IntN(40))
	if m.rng.IntN(4) == 0 {
		first -= raftcore.Index(m.rng.IntN(min(30, int(g.last()-max(g.base.Last.Index, g.snapshot.Last.Index))+1))) // cut off some
	}
	term := g.id(first - 1).Term
	if term == 0 || m.rng.IntN(3) == 0 {
		term = s.hard.Term
	}
	time := g.base.Time
	if first-1 > g.base.Last.Index {
		time = g.entries[first-2-g.base.Last.Index].Time
	}
	for i := range n {
		if m.rng.IntN(20) == 0 {
			term = s.hard.Term
		}
		time += int64(m.rng.IntN(3))
		s.entries = append(s.entries, m.entry(raftcore.EntryID{Term: term, Index: first + raftcore.Index(i)}, time))
	}
	return s
}

func (m *model) entry(id raftcore.EntryID, time int64) raftcore.Entry {
	e := raftcore.Entry{EntryID: id, Time: time, Kind: raftcore.EntryCommand}
	switch m.rng.IntN(20) {
	case 0:
		e.Kind = raftcore.EntryNoop
	case 1:
		e.Kind = raftcore.EntryConfig
		e.Config = &raftcore.ConfState{Voters: []raftcore.NodeID{1, raftcore.NodeID(2 + m.rng.IntN(9))}}
		if m.rng.IntN(2) == 0 {
			e.Config.Learners = []raftcore.NodeID{math.MaxUint64}
		}
	case 2:
		e.Data = []byte{}
	default:
		size := 300
		if m.rng.IntN(300) == 0 {
			size = 2 * maxPieceBytes
		}
		e.Data = make([]byte, m.rng.IntN(size))
		for i := range e.Data[:min(len(e.Data), 50)] {
			e.Data[i] = byte(m.rng.Uint32())
		}
	}
	return e
}

// compact makes a part that says that there is a snapshot: one of the group's own
// state, for which a prefix of the log goes, or one that takes the place of all
// of it, with entries after it or not.
func (m *model) compact(g *modelGroup) modelSave {
	s := modelSave{group: g, hard: g.hard}
	n := len(g.entries)
	if s.hard.Term == 0 {
		return m.part(g)
	}
	if m.rng.IntN(3) == 0 || n == 0 {
		last := raftcore.EntryID{Term: s.hard.Term, Index: g.snapshot.Last.Index + 1 + raftcore.Index(m.rng.IntN(n+20))}
		meta := &raftcore.SnapshotMeta{Last: last, Time: int64(m.rng.IntN(1000)), Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}}}}
		s.compaction = compaction{meta, meta, true}
		for i := range m.rng.IntN(5) {
			s.entries = append(s.entries, m.entry(raftcore.EntryID{Term: s.hard.Term, Index: last.Index + 1 + raftcore.Index(i)}, meta.Time))
		}
		return s
	}
	at := g.base.Last.Index + 1 + raftcore.Index(m.rng.IntN(n))
	at = max(at, g.snapshot.Last.Index)
	conf := func(at raftcore.Index) raftcore.ConfigAt {
		c := g.base.Conf
		for _, e := range g.entries {
			if e.Index <= at && e.Config != nil {
				c = raftcore.ConfigAt{Index: e.Index, Conf: *e.Config}
			}
		}
		return c
	}
	time := g.base.Time
	if at > g.base.Last.Index {
		time = g.entries[at-g.base.Last.Index-1].Time
	}
	s.snapshot = &raftcore.SnapshotMeta{Last: g.id(at), Time: time, Conf: conf(at)}
	if first := at - raftcore.Index(m.rng.IntN(int(at-g.base.Last.Index)+1)); first > g.base.Last.Index {
		s.base = &raftcore.SnapshotMeta{Last: g.id(first), Time: time, Conf: conf(first)}
	}
	return s
}

// calls makes of the parts what Save is called with.
func calls(saves []modelSave) []persistence.Save {
	var out []persistence.Save
	for _, s := range saves {
		out = append(out, persistence.Save{Group: s.group.opened.Group, Save: raftcore.Save{
			Token: raftcore.Token{Boot: s.group.opened.Boot, Sequence: 1}, HardState: s.hard, Entries: s.entries,
			Snapshot: s.snapshot, Base: s.base, Reset: s.reset,
		}})
	}
	return out
}

// load reads a random range and compares it.
func (m *model) load(s persistence.Store, g *modelGroup) error {
	if len(g.entries) == 0 {
		return nil
	}
	from := g.base.Last.Index + 1 + raftcore.Index(m.rng.IntN(len(g.entries)))
	to := from + raftcore.Index(m.rng.IntN(int(g.last()-from)+1))
	maxBytes := []int{0, 100, 5000, 1 << 20, math.MaxInt}[m.rng.IntN(5)]
	return m.loadRange(s, g, from, to, maxBytes)
}

func (m *model) loadRange(s persistence.Store, g *modelGroup, from, to raftcore.Index, maxBytes int) error {
	got, err := s.Load(g.opened.Group, raftcore.Load{From: from, To: to, MaxBytes: maxBytes})
	if err != nil {
		return err
	}
	want := g.entries[from-g.base.Last.Index-1 : to-g.base.Last.Index]
	if len(got) == 0 || len(got) > len(want) {
		return fmt.Errorf("group %s: %d entries were loaded, %d to %d were wanted", g.name, len(got), from, to)
	}
	bytes := 0
	for i := range got {
		bytes += len(got[i].Data)
	}
	if bytes > maxBytes && len(got) > 1 {
		return fmt.Errorf("group %s: %d bytes were loaded, %d allowed", g.name, bytes, maxBytes)
	}
	if len(got) < len(want) && maxBytes >= 1<<20 && bytes+len(want[len(got)].Data) < maxBytes/4 {
		return fmt.Errorf("group %s: %d bytes were loaded, many more would fit %d", g.name, bytes, maxBytes)
	}
	if err := equalEntries(got, want[:len(got)]); err != nil {
		return fmt.Errorf("group %s: %w", g.name, err)
	}
	return nil
}
