package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// StoreModel is what a Store must hold, kept in memory. TestStore compares Stores
// with it. Use it yourself for random tests from the inside of a Store, which
// know what it does in the background:
//
//	m := rafttest.NewStoreModel(seed)
//	for {
//		s, err := … // open the Store, let it crash somewhere
//		err = m.Step(s), again and again, until something fails
//		m.Restarted()
//	}
//
// It draws from its seed alone, so that the same seed does the same. What an
// entry holds follows from its group, term and index, as in Raft.
type StoreModel struct {
	// Rand is the model's source of chance, for what the test draws beside it.
	Rand *rand.Rand

	seed   uint64
	lives  map[raftcore.Incarnation]bool // all that ever were
	groups []*modelGroup                 // all that were ever opened, in the order of that
	boots  map[uint64]bool
	late   []persistence.Opened // openings that are over
}

// modelGroup is what the Store must hold of a group.
type modelGroup struct {
	name        string
	incarnation raftcore.Incarnation // 0: it was never opened for certain
	kept        contents
	flight      []raftcore.Save // parts of a Save that failed: there are all of them, or none
	damaged     bool            // it was revived, and has not joined since

	tombstone *persistence.Tombstone // it was removed
	// A Remove, or a Revive, that failed: it has happened, or not.
	removing *persistence.Tombstone
	reviving bool // with a tombstone or without

	open   bool
	opened persistence.Opened
}

// NewStoreModel returns the model of a Store in which nothing is.
func NewStoreModel(seed uint64) *StoreModel {
	return &StoreModel{Rand: rand.New(rand.NewPCG(seed, 2)), seed: seed, boots: map[uint64]bool{}, lives: map[raftcore.Incarnation]bool{}}
}

// What the contract says. Whoever writes a Store reads these when it does not.
const (
	cKept        = "what a Save that returned nil has saved is there from then on, every field of it, until a later Save replaces it"
	cWhole       = "of a Save that failed or never returned, each group has all of its parts afterwards, or none; and of what was saved before, everything"
	cBoot        = "Boot is not zero, and no two openings share it: it tells late Saves from new ones"
	cIncarnation = "a group's incarnation is drawn at random when it is first opened, is not zero, and stays the same for ever: it tells this disk from one that was wiped"
	cGroupID     = "a GroupID is one open group's alone until CloseGroup"
	cRecovered   = "Open returns what a node starts from: see raftcore.Recovered, Note does most of it"
	cTail        = "Recovered.Tail may be empty; if it is not, it holds the newest entries, contiguous and up to Last"
	cLoad        = "Load returns entries from From on, at least one, none after To, exactly as they were saved"
	cMaxBytes    = "the Data of what Load returns fits MaxBytes, but for a single entry, which is returned however large"
	cLoadNone    = "Load fails rather than return what is not in the log"
	cBad         = "a Save is refused with ErrBadSave if a part does not follow from what is saved, as persistence.Log says, and nothing of it is kept"
	cGroupOpen   = "a group that is open is not opened again: ErrGroupOpen"
	cGroupName   = "groups are told apart by every byte of their names, and one that CloseGroup has closed can be opened again"
	cGroupClosed = "what is meant for a group that is not open, or for an earlier opening of it, is refused with ErrGroupClosed, and nothing of it is kept"
	cGood        = "a Save that follows from what is saved is executed"
	cRemoved     = "a group that Remove has removed is not there any more: Open ends with a *RemovedError that has its Tombstone, for ever"
	cTombstone   = "a Tombstone has the name, the time that Remove was told, and the last incarnation and hard state of the group; Tombstones returns all of them, by name"
	cRemove      = "Remove refuses a group that is open (ErrGroupOpen), one that was never there (ErrNoGroup), and one in which the member votes by the newest configuration in the log (ErrStillVoter), and nothing has happened then"
	cRevive      = "Revive takes nothing but the incarnation of the Tombstone, or of a group that is not open; then the group is empty, has a new incarnation, and is Damaged until a Save says that it has joined"
	cOpens       = "a Store opens, and its groups do, whatever happened to it, as long as nothing was damaged that was durable"
)

func (g *modelGroup) log() persistence.Log {
	k := &g.kept
	return persistence.Log{HardState: k.hard, Snapshot: k.snapshot.Last.Index, Base: k.base.Last.Index, Last: k.id(k.last())}
}

// id returns which entry of the log, or base, an index is.
func (c *contents) id(i raftcore.Index) raftcore.EntryID {
	if i == c.base.Last.Index {
		return c.base.Last
	}
	return c.entries[i-c.base.Last.Index-1].EntryID
}

// group returns the group of a name, a new one if need be.
func (m *StoreModel) group(name string) *modelGroup {
	for _, g := range m.groups {
		if g.name == name {
			return g
		}
	}
	g := &modelGroup{name: name}
	m.groups = append(m.groups, g)
	return g
}

// byID returns the open group of a number.
func (m *StoreModel) byID(id persistence.GroupID) *modelGroup {
	for _, g := range m.groups {
		if g.open && g.opened.Group == id {
			return g
		}
	}
	return nil
}

// Restarted says that the Store was closed, or has crashed: no group is open.
func (m *StoreModel) Restarted() {
	for _, g := range m.groups {
		m.closed(g)
	}
}

func (m *StoreModel) closed(g *modelGroup) {
	if g.open {
		m.late = append(m.late, g.opened)
	}
	g.open = false
}

// Open opens a group and compares it with what was saved.
func (m *StoreModel) Open(s persistence.Store, name string) error {
	g := m.group(name)
	o, err := s.Open(name)
	if g.open {
		if !errors.Is(err, persistence.ErrGroupOpen) && !errors.Is(err, persistence.ErrPoisoned) {
			return broken(cGroupOpen, "Open of group %.30q, which is open, ended with %v", name, err)
		}
		return nil
	}
	if errors.Is(err, persistence.ErrGroupOpen) {
		return broken(cGroupName, "Open of group %.30q, which is not open, ended with %v", name, err)
	}
	if removed := (*persistence.RemovedError)(nil); errors.As(err, &removed) {
		return g.isRemoved(&removed.Tombstone)
	}
	if err != nil {
		return fmt.Errorf("opening group %.30q: %w", name, err)
	}
	if err := g.isThere(o.Recovered.Incarnation); err != nil {
		return err
	}
	if o.Boot == 0 || m.boots[o.Boot] {
		return broken(cBoot, "group %.30q was opened with Boot %d, which is zero or that of another opening", name, o.Boot)
	}
	if other := m.byID(o.Group); other != nil {
		return broken(cGroupID, "group %.30q was opened as number %d, which group %.30q is, too", name, o.Group, other.name)
	}
	if err := m.checkIncarnation(g, o.Recovered.Incarnation); err != nil {
		return err
	}
	if err := g.settle(&o.Recovered); err != nil {
		return err
	}
	m.boots[o.Boot], m.lives[o.Recovered.Incarnation] = true, true
	g.open, g.opened, g.incarnation = true, o, o.Recovered.Incarnation
	return nil
}

func (m *StoreModel) checkIncarnation(g *modelGroup, got raftcore.Incarnation) error {
	if got == 0 || g.incarnation != 0 && got != g.incarnation {
		return broken(cIncarnation, "group %.30q has incarnation %x, and had %x", g.name, uint64(got), uint64(g.incarnation))
	}
	if g.incarnation == 0 && m.lives[got] {
		return broken(cIncarnation, "group %.30q has incarnation %x, which another has, or one that was removed", g.name, uint64(got))
	}
	return nil
}

// settle compares what the group was opened with, and finds out whether the Save
// that failed is there.
func (g *modelGroup) settle(r *raftcore.Recovered) error {
	flight := g.flight
	g.flight = nil
	without := g.compare(r)
	if without == nil || len(flight) == 0 {
		return without
	}
	kept, damaged := g.kept, g.damaged
	for i := range flight {
		g.apply(flight[i])
	}
	if with := g.compare(r); with != nil {
		g.kept, g.damaged = kept, damaged
		return broken(cWhole, "neither is group %.30q as it was before the Save that failed (%v), nor as after it (%v)", g.name, found(without), found(with))
	}
	return nil
}

// apply takes note of what was saved.
func (g *modelGroup) apply(s raftcore.Save) {
	g.kept.apply(s)
	g.damaged = g.damaged && !g.kept.hard.Joined
}

// found is what was found, without what the contract says.
func found(err error) string {
	var e *contractError
	if errors.As(err, &e) {
		return e.found
	}
	return err.Error()
}

// compare compares every field of what a group was opened with.
func (g *modelGroup) compare(r *raftcore.Recovered) error {
	k := &g.kept
	want := raftcore.Recovered{
		HardState: k.hard, Snapshot: k.snapshot, Base: k.base.Last, BaseConf: k.base.Conf,
		Last: k.base.Last.Index, LastTime: k.base.Time,
	}
	for i := range k.entries {
		want.Note(&k.entries[i])
	}
	sameConf := func(a, b raftcore.ConfigAt) bool { return a.Index == b.Index && a.Conf.Equal(b.Conf) }
	a, b := &r.Snapshot, &want.Snapshot
	damage := cDamage
	if g.damaged {
		damage = cRevive
	}
	for _, f := range []struct {
		field     string
		same      bool
		got, want any
		contract  string
	}{
		{"HardState", r.HardState == want.HardState, r.HardState, want.HardState, cKept},
		{"Snapshot", a.Last == b.Last && a.Time == b.Time && sameConf(a.Conf, b.Conf), *a, *b, cKept},
		{"Base", r.Base == want.Base, r.Base, want.Base, cKept},
		{"BaseConf", sameConf(r.BaseConf, want.BaseConf), r.BaseConf, want.BaseConf, cKept},
		{"Last", r.Last == want.Last, r.Last, want.Last, cKept},
		{"LastTime", r.LastTime == want.LastTime, r.LastTime, want.LastTime, cRecovered},
		{"Runs", slices.Equal(r.Runs, want.Runs), r.Runs, want.Runs, cRecovered},
		{"Configs", slices.EqualFunc(r.Configs, want.Configs, sameConf), r.Configs, want.Configs, cRecovered},
		{"Applied", r.Applied == 0, r.Applied, 0, cRecovered},
		{"Damaged", r.Damaged == g.damaged, r.Damaged, g.damaged, damage},
	} {
		if !f.same {
			return broken(f.contract, "group %.30q was opened with %s %s, saved was %s", g.name, f.field, short(f.got), short(f.want))
		}
	}
	if len(r.Tail) > len(k.entries) {
		return broken(cTail, "the tail of group %.30q has %d entries, its log %d", g.name, len(r.Tail), len(k.entries))
	}
	if err := sameEntries(r.Tail, k.entries[len(k.entries)-len(r.Tail):]); err != "" {
		return broken(cTail, "the tail of group %.30q: %s", g.name, err)
	}
	return nil
}

// short is a value in a few words.
func short(v any) string {
	s := fmt.Sprintf("%+v", v)
	if len(s) > 300 {
		s = s[:200] + " … " + s[len(s)-100:]
	}
	return s
}

// sameEntries returns the first difference, or "".
func sameEntries(got, want []raftcore.Entry) string {
	for i := range min(len(got), len(want)) {
		if !sameEntry(&got[i], &want[i]) {
			return fmt.Sprintf("where %s should be, there is %s", describe(&want[i]), describe(&got[i]))
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("there are %d entries, and should be %d", len(got), len(want))
	}
	return ""
}

// sameEntry compares every field. Data that is nil stays nil, and empty stays
// empty: what an entry holds must be the same on every member.
func sameEntry(a, b *raftcore.Entry) bool {
	return a.EntryID == b.EntryID && a.Time == b.Time && a.Kind == b.Kind &&
		bytes.Equal(a.Data, b.Data) && (a.Data == nil) == (b.Data == nil) &&
		(a.Config == nil) == (b.Config == nil) && (a.Config == nil || a.Config.Equal(*b.Config))
}

func describe(e *raftcore.Entry) string {
	s := fmt.Sprintf("entry %d (term %d, time %d, kind %d, ", e.Index, e.Term, e.Time, e.Kind)
	switch {
	case e.Config != nil:
		return s + fmt.Sprintf("configuration %+v)", *e.Config)
	case e.Data == nil:
		return s + "nil data)"
	default:
		return s + fmt.Sprintf("%d bytes of data: %.24q)", len(e.Data), e.Data)
	}
}

// Save saves, and takes note of what must be there then. What must be refused is
// expected to be.
func (m *StoreModel) Save(s persistence.Store, saves []persistence.Save) error {
	bad, closed := m.verdict(saves)
	call := slices.Clone(saves)
	err := s.Save(call)
	clear(call) // the slice is the caller's, who uses it again; what it points to may be kept
	switch {
	case err != nil && errors.Is(err, persistence.ErrPoisoned):
	case bad == nil && !closed && (errors.Is(err, persistence.ErrBadSave) || errors.Is(err, persistence.ErrGroupClosed)):
		return broken(cGood, "a good Save was refused: %v", err)
	case bad != nil && !closed && !errors.Is(err, persistence.ErrBadSave):
		return broken(cBad, "Save ended with %v where it must refuse (%v)", err, bad)
	case bad == nil && closed && !errors.Is(err, persistence.ErrGroupClosed):
		return broken(cGroupClosed, "Save ended with %v for a group that is not open, or not by this boot", err)
	case bad != nil && closed && !errors.Is(err, persistence.ErrBadSave) && !errors.Is(err, persistence.ErrGroupClosed):
		return broken(cBad, "Save ended with %v where it must refuse", err)
	}
	if bad != nil || closed {
		if errors.Is(err, persistence.ErrPoisoned) {
			return err
		}
		return nil
	}
	for i := range saves {
		g := m.byID(saves[i].Group)
		if full(err) {
			break // nothing of it was written
		}
		if err != nil {
			g.flight = append(g.flight, saves[i].Save)
		} else {
			g.apply(saves[i].Save)
		}
	}
	if err != nil {
		return fmt.Errorf("saving: %w", err)
	}
	return nil
}

// full reports whether an error says that there was no room, and that nothing has
// happened.
func full(err error) bool {
	return errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned)
}

// verdict returns whether the contract wants these refused: why they are bad, if
// they are, and whether one is for a group that is not open.
func (m *StoreModel) verdict(saves []persistence.Save) (bad error, closed bool) {
	logs := map[persistence.GroupID]*persistence.Log{}
	for i := range saves {
		save := &saves[i]
		g := m.byID(save.Group)
		if g == nil || save.Token.Boot != g.opened.Boot {
			closed = true
			continue
		}
		l := logs[save.Group]
		if l == nil {
			log := g.log()
			l = &log
			logs[save.Group] = l
		}
		if err := l.Follow(&save.Save); err != nil && bad == nil {
			bad = err
		}
	}
	return bad, closed
}

// Close closes a group.
func (m *StoreModel) Close(s persistence.Store, name string) error {
	g := m.group(name)
	if err := s.CloseGroup(g.opened.Group); err != nil {
		return fmt.Errorf("closing group %.30q: %w", name, err)
	}
	m.closed(g)
	return nil
}

// Load reads entries and compares them.
func (m *StoreModel) Load(s persistence.Store, name string, l raftcore.Load) error {
	_, err := m.load(s, m.group(name), l)
	return err
}

func (m *StoreModel) load(s persistence.Store, g *modelGroup, l raftcore.Load) (int, error) {
	k := &g.kept
	got, err := s.Load(g.opened.Group, l)
	if l.From <= k.base.Last.Index || l.From > k.last() || l.From > l.To {
		if err == nil {
			return 0, broken(cLoadNone, "Load of %d to %d returned %d entries; the log of group %.30q goes from %d to %d", l.From, l.To, len(got), g.name, k.base.Last.Index+1, k.last())
		}
		if errors.Is(err, persistence.ErrPoisoned) {
			return 0, err
		}
		return 0, nil
	}
	if err != nil {
		if l.To > k.last() && !errors.Is(err, persistence.ErrPoisoned) {
			return 0, nil // refusing it altogether is as good
		}
		return 0, fmt.Errorf("loading entries %d to %d of group %.30q, which has %d to %d: %w", l.From, l.To, g.name, k.base.Last.Index+1, k.last(), err)
	}
	first := l.From - k.base.Last.Index - 1
	want := k.entries[first:min(l.To-k.base.Last.Index, raftcore.Index(len(k.entries)))]
	if len(got) == 0 || len(got) > len(want) {
		return 0, broken(cLoad, "Load of %d to %d of group %.30q, with MaxBytes %d, returned %d entries", l.From, l.To, g.name, l.MaxBytes, len(got))
	}
	if d := sameEntries(got, want[:len(got)]); d != "" {
		return 0, broken(cLoad, "Load of %d to %d of group %.30q: %s", l.From, l.To, g.name, d)
	}
	size := 0
	for i := range got {
		size += len(got[i].Data)
	}
	if size > max(l.MaxBytes, 0) && len(got) > 1 {
		return 0, broken(cMaxBytes, "Load returned %d entries with %d bytes of data, MaxBytes was %d", len(got), size, l.MaxBytes)
	}
	return len(got), nil
}

// CheckAll opens what is not open, and compares every entry of every group, and all
// tombstones.
func (m *StoreModel) CheckAll(s persistence.Store) error {
	if err := m.checkGroups(s); err != nil {
		return err
	}
	return m.checkTombstones(s)
}

func (m *StoreModel) checkGroups(s persistence.Store) error {
	for _, g := range m.groups {
		if !g.open {
			if err := m.Open(s, g.name); err != nil {
				return err
			}
		}
		if !g.open { // it was removed
			continue
		}
		first, last := g.kept.base.Last.Index+1, g.kept.last()
		for from := first; from <= last; {
			n, err := m.load(s, g, raftcore.Load{From: from, To: last, MaxBytes: math.MaxInt})
			if err != nil {
				return err
			}
			from += raftcore.Index(n)
		}
		for _, none := range []raftcore.Index{first - 1, last + 1} {
			if _, err := m.load(s, g, raftcore.Load{From: none, To: last + 1, MaxBytes: math.MaxInt}); err != nil {
				return err
			}
		}
	}
	return nil
}
