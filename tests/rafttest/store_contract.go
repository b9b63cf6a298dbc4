package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// The tests of the contract as long as nothing fails. They say what is done; what
// must come of it the model knows, and compares whenever a group is opened.

func keepsWhatIsSaved(r *storeRun) {
	p := r.fresh("a", "b", "c")
	vote := p.term("a", 1, commands(1, 1, 4)...)
	vote.HardState.Vote = 3
	p.save(vote, p.term("b", 7))
	p.save(p.term("a", 9, commands(9, 4, 6)...))
	must(p.CheckAll(p.s))
	p.restart()
	p.save(p.term("a", 9, commands(9, 7, 7)...), p.term("c", 1))
	p.save()
	p.restart()
	p.restart() // opening it has changed nothing
}

// The cluster of a group is another one from there on, and only there: nothing goes
// back to the old one.
func beginsLineages(r *storeRun) {
	p := r.fresh("a", "b")
	p.save(p.term("a", 4, commands(4, 1, 7)...), p.term("b", 1, commands(1, 1, 3)...))
	for cluster := range raftcore.ClusterID(3) {
		begun := begins(&p.group("a").kept, 50+cluster, 2)
		save := p.term("a", 0)
		begun.Token = save.Token
		save.Save = begun
		p.save(save, p.term("b", 1))
		back := save
		back.HardState.Cluster, back.Lineage, back.Entries = 5, false, nil
		err := p.s.Save([]persistence.Save{back})
		demand(errors.Is(err, persistence.ErrBadSave), cBad, "a Save of the old lineage ended with %v", err)
		must(p.CheckAll(p.s))
		p.restart()
	}
}

// Every field counts: one that the disk forgets is noticed by nobody until a
// member restarts. A field that is added to HardState is checked as soon as it is
// there.
func keepsTheHardState(r *storeRun) {
	p := r.fresh()
	fields := reflect.TypeFor[raftcore.HardState]()
	for i := range fields.NumField() + 1 {
		name := "all"
		if i < fields.NumField() {
			name = fields.Field(i).Name
		}
		p.enter(name)
		save := p.term(name, 7)
		save.HardState = raftcore.HardState{Term: 7}
		h := reflect.ValueOf(&save.HardState).Elem()
		for k := range fields.NumField() {
			if name != "all" && i != k {
				continue
			}
			switch f := h.Field(k); f.Kind() {
			case reflect.Uint64:
				f.SetUint(math.MaxUint64 - uint64(k)<<40)
			case reflect.Bool:
				f.SetBool(true)
			default:
				must(fmt.Errorf("HardState.%s is of kind %v: teach TestStore what to save in it", fields.Field(k).Name, f.Kind()))
			}
		}
		p.save(save)
	}
	p.restart()
}

func keepsEveryKindOfEntry(r *storeRun) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	some := func(ids ...raftcore.NodeID) []raftcore.NodeID { return ids }
	kinds := []raftcore.Entry{
		{Kind: raftcore.EntryNoop},
		{Kind: raftcore.EntryCommand},
		{Kind: raftcore.EntryCommand, Data: []byte{}},
		{Kind: raftcore.EntryCommand, Data: []byte{0}},
		{Kind: raftcore.EntryCommand, Data: all},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(1)}},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(1, 2, math.MaxUint64)}},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(1, 2, 3), Learners: some(4, 5)}},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(3, 4), Outgoing: some(1, 2, 3), Learners: some(2)}},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(1, 2, 3), Witnesses: some(3)}},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(1, 2, 4), Outgoing: some(1, 2, 3), Learners: some(5, 6), Witnesses: some(3, 4, math.MaxUint64)}},
		{Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: some(1)}, Data: []byte("why")},
		{Kind: raftcore.EntryNoop, Data: []byte("data")},
		{Kind: raftcore.EntryHost, Data: []byte{1, 0}},
		{Kind: raftcore.EntryMeta},
	}
	p := r.fresh("together", "one by one")
	for i := range kinds {
		kinds[i].EntryID = raftcore.EntryID{Term: 1 + raftcore.Term(i/4), Index: raftcore.Index(i + 1)}
		kinds[i].Time = int64(i) << 50
		p.save(p.term("one by one", 9, kinds[i]))
	}
	p.save(p.term("together", 9, kinds...))
	must(p.CheckAll(p.s))
	p.restart()
}

func keepsLargeNumbers(r *storeRun) {
	p := r.fresh("far")
	far := p.term("far", 1<<41, commands(1<<41, 1<<40+1, 1<<40+9)...)
	far.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1 << 40, Index: 1 << 40}, Time: 5}
	far.Base, far.Reset = far.Snapshot, true
	p.save(far)
	p.restart()
}

// New entries take the place of those with their indexes, and of all behind
// them, also when there are fewer of them, and when they are ones that were
// there before.
func replacesEntries(r *storeRun) {
	p := r.fresh("fewer", "all", "again", "middle", "conf")
	for _, group := range []string{"fewer", "all", "again", "middle"} {
		p.save(p.term(group, 1, commands(1, 1, 9)...))
	}
	conf := commands(1, 1, 9)
	for i := range conf {
		if i%2 == 0 {
			conf[i] = raftcore.Entry{EntryID: conf[i].EntryID, Time: conf[i].Time, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1, raftcore.NodeID(2 + i)}}}
		}
	}
	p.save(p.term("conf", 1, conf...))
	p.save(
		p.term("fewer", 2, commands(2, 4, 4)...),
		p.term("all", 2, commands(2, 1, 3)...),
		p.term("again", 2, commands(2, 5, 7)...),
		p.term("middle", 2, commands(2, 9, 12)...),
		p.term("conf", 2, commands(2, 6, 6)...),
	)
	must(p.CheckAll(p.s))
	p.save(p.term("again", 3, commands(1, 5, 6)...)) // the third leader has kept the first one's
	p.save(p.term("middle", 3, commands(3, 3, 3)...))
	p.save(p.term("middle", 4, commands(4, 4, 20)...))
	must(p.CheckAll(p.s))
	for _, group := range []string{"fewer", "again", "middle", "conf"} { // as it is known without reading the disk
		must(p.Close(p.s, group))
		p.enter(group)
	}
	p.restart()
	p.save(p.term("fewer", 3, commands(3, 5, 5)...)) // nothing comes back behind it
	p.restart()
}

func executesPartsInOrder(r *storeRun) {
	p := r.fresh("a", "b")
	p.save(
		p.term("a", 1, commands(1, 1, 9)...), p.term("b", 1, commands(1, 1, 2)...),
		p.term("a", 2, commands(2, 5, 6)...), p.term("a", 2),
		p.term("b", 3, commands(3, 3, 3)...), p.term("a", 3, commands(3, 7, 7)...),
	)
	must(p.CheckAll(p.s))
	p.restart()
}

// compacted adds to a part that there is a snapshot of the group's own state up to
// one entry, and that those up to another may go.
func (p *place) compacted(save persistence.Save, upTo, base raftcore.Index) persistence.Save {
	k := &p.byID(save.Group).kept
	at := k.entries[upTo-k.base.Last.Index-1]
	save.Snapshot = &raftcore.SnapshotMeta{Last: at.EntryID, Time: at.Time, Conf: k.conf(upTo)}
	if base > 0 {
		save.Base = &raftcore.SnapshotMeta{Last: k.id(base), Time: at.Time, Conf: k.conf(base)}
	}
	return save
}

func compacts(r *storeRun) {
	p := r.fresh("a", "with entries", "bare", "all", "back")
	log := commands(2, 1, 9)
	log[1] = raftcore.Entry{EntryID: log[1].EntryID, Time: 2, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Outgoing: []raftcore.NodeID{3}}}
	log[5] = raftcore.Entry{EntryID: log[5].EntryID, Time: 6, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Learners: []raftcore.NodeID{3}}}
	for _, g := range p.groups {
		p.save(p.term(g.name, 2, log...))
	}
	p.save(
		p.compacted(p.term("a", 2), 7, 4),
		p.compacted(p.term("with entries", 3, commands(3, 8, 12)...), 7, 7),
		p.compacted(p.term("bare", 2), 7, 0),
		p.compacted(p.term("all", 2), 9, 9),
		p.compacted(p.term("back", 2), 7, 6),
	)
	must(p.CheckAll(p.s))
	cut := p.term("a", 3, commands(3, 7, 7)...)
	demand(errors.Is(p.s.Save([]persistence.Save{cut}), persistence.ErrBadSave), cBad, "entry 7, which a snapshot covers, could be replaced")
	p.restart()

	later := p.term("a", 2) // the base alone
	later.Base = &raftcore.SnapshotMeta{Last: log[6].EntryID, Time: 7, Conf: p.group("a").kept.conf(7)}
	back := p.term("back", 2) // a base that lies behind is none
	back.Base = &raftcore.SnapshotMeta{Last: log[2].EntryID, Time: 7, Conf: p.group("back").kept.base.Conf}
	p.save(later, back, p.term("all", 3, commands(3, 10, 11)...))
	must(p.CheckAll(p.s))
	p.restart()
	p.save(p.compacted(p.term("all", 3), 11, 10))
	p.restart()
}

func resets(r *storeRun) {
	p := r.fresh("ahead", "behind", "inside", "empty", "bare")
	conf := raftcore.ConfigAt{Index: 3, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{4, 5}, Outgoing: []raftcore.NodeID{5, 6}, Learners: []raftcore.NodeID{7}, Witnesses: []raftcore.NodeID{6}}}
	sent := func(group string, last raftcore.Index, entries ...raftcore.Entry) persistence.Save {
		save := p.term(group, 5, entries...)
		save.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 4, Index: last}, Time: int64(last), Conf: conf}
		save.Base, save.Reset = save.Snapshot, true
		return save
	}
	for _, group := range []string{"ahead", "behind", "inside"} {
		log := commands(2, 1, 30)
		log[11] = raftcore.Entry{EntryID: log[11].EntryID, Time: 12, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1}}}
		p.save(p.term(group, 2, log...))
	}
	p.save(p.compacted(p.term("inside", 2), 8, 5))
	p.save(
		sent("ahead", 40, commands(5, 41, 42)...), sent("behind", 20), sent("inside", 9, commands(5, 10, 11)...),
		sent("empty", 100, commands(4, 101, 101)...), sent("bare", 7),
	)
	must(p.CheckAll(p.s))
	p.restart()
	p.save(p.term("behind", 6, commands(6, 21, 22)...)) // what was there before does not come back behind it
	must(p.CheckAll(p.s))
	p.restart()
	p.save(sent("ahead", 50), sent("bare", 8, commands(5, 9, 40)...))
	p.restart()
}

func refusesBadSaves(r *storeRun) {
	p := r.fresh("a", "b")
	log := commands(2, 1, 5)
	first := p.term("a", 2, log...)
	first.HardState.Vote, first.HardState.Witness = 1, true
	p.save(first, p.term("b", 1, commands(1, 1, 1)...))
	hard := first.HardState
	for _, c := range badSaves(hard, log) {
		save := p.term("a", 0, c.save.Entries...)
		c.save.Token = save.Token
		save.Save = c.save
		for _, saves := range [][]persistence.Save{
			{p.term("b", 1, commands(1, 2, 3)...), save},
			{save, p.term("b", 1, commands(1, 2, 3)...)},
		} {
			err := p.s.Save(slices.Clone(saves))
			demand(errors.Is(err, persistence.ErrBadSave), cBad, "a Save with %s ended with %v", c.what, err)
			if err := p.CheckAll(p.s); err != nil {
				must(broken(cBad, "after a Save with %s, which was refused, %s", c.what, found(err)))
			}
		}
	}
	for _, saves := range [][]persistence.Save{
		{p.term("b", 1, commands(1, 2, 2)...), p.term("b", 1, commands(1, 4, 4)...)},
		{p.term("a", 3, commands(3, 2, 2)...), p.term("a", 3, commands(3, 4, 4)...)},
		{p.term("b", 3), p.term("b", 2)},
		{p.term("b", 1, commands(1, 4, 4)...)}, // would follow, had a refused one been kept
	} {
		err := p.s.Save(slices.Clone(saves))
		demand(errors.Is(err, persistence.ErrBadSave), cBad, "a Save of two parts of which the second does not follow from the first ended with %v", err)
	}
	must(p.CheckAll(p.s))
	good := p.term("a", 2, commands(2, 6, 6)...)
	good.HardState = hard
	p.save(good) // it is as well as before
	p.restart()
}

type badSave struct {
	what string
	save raftcore.Save
}

// badSaves are parts that cannot follow a log of five entries of term 2, with this
// hard state: what no node orders.
func badSaves(hard raftcore.HardState, log []raftcore.Entry) []badSave {
	with := func(change func(h *raftcore.HardState), entries ...raftcore.Entry) raftcore.Save {
		s := raftcore.Save{HardState: hard, Entries: entries}
		if change != nil {
			change(&s.HardState)
		}
		return s
	}
	spoilt := func(change func(e []raftcore.Entry)) raftcore.Save {
		entries := commands(2, 6, 8)
		change(entries)
		return with(nil, entries...)
	}
	snapshot := func(snapshot, base *raftcore.SnapshotMeta, reset bool, entries ...raftcore.Entry) raftcore.Save {
		s := with(nil, entries...)
		s.Snapshot, s.Base, s.Reset = snapshot, base, reset
		return s
	}
	meta := func(term raftcore.Term, index raftcore.Index) *raftcore.SnapshotMeta {
		return &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: term, Index: index}}
	}
	lineage := func(change func(*raftcore.Save)) raftcore.Save {
		s := begins(&contents{hard: hard, entries: log}, hard.Cluster+1, 2)
		change(&s)
		return s
	}
	return []badSave{
		{"a gap before its entries", with(nil, commands(2, 7, 7)...)},
		{"entry zero", with(nil, commands(2, 0, 1)...)},
		{"a gap among its entries", spoilt(func(e []raftcore.Entry) { e[1].Index++ })},
		{"an entry twice", spoilt(func(e []raftcore.Entry) { e[1].Index-- })},
		{"entries whose term is less than the last one's", with(nil, commands(1, 6, 6)...)},
		{"a term that falls among its entries", with(func(h *raftcore.HardState) { h.Term = 3 }, append(commands(3, 6, 6), commands(2, 7, 7)...)...)},
		{"an entry of a later term than the hard state's", with(nil, commands(3, 6, 6)...)},
		{"a hard state whose term falls", with(func(h *raftcore.HardState) { h.Term = 1 })},
		{"a second vote in a term", with(func(h *raftcore.HardState) { h.Vote = 2 })},
		{"a vote that is taken back", with(func(h *raftcore.HardState) { h.Vote = raftcore.Nobody })},
		{"another cluster", with(func(h *raftcore.HardState) { h.Cluster = 6 })},
		{"no cluster any more", with(func(h *raftcore.HardState) { h.Cluster = 0 })},
		{"a member that is a newcomer again", with(func(h *raftcore.HardState) { h.Joined = false })}, {"a witness's disk that is another's", with(func(h *raftcore.HardState) { h.Witness = false })},
		{"an EntryConfig without a Config", spoilt(func(e []raftcore.Entry) { e[0].Kind = raftcore.EntryConfig })},
		{"a command with a Config", spoilt(func(e []raftcore.Entry) { e[2].Config = &raftcore.ConfState{} })},
		{"an entry of no kind", spoilt(func(e []raftcore.Entry) { e[0].Kind = 0 })},
		{"an entry of an unknown kind", spoilt(func(e []raftcore.Entry) { e[0].Kind = 77 })},
		{"a base behind the end of the log, and no Reset", snapshot(meta(2, 9), meta(2, 9), false)},
		{"a snapshot behind the end of the log, and no Reset", snapshot(meta(2, 9), nil, false)},
		{"a base and no snapshot that covers it", snapshot(nil, meta(2, 4), false)},
		{"a base behind its snapshot", snapshot(meta(2, 3), meta(2, 4), false)},
		{"a snapshot of a later term than the hard state's", snapshot(meta(3, 9), meta(3, 9), true)},
		{"a Reset without a base", snapshot(nil, nil, true)},
		{"a snapshot that covers the entries that come with it", snapshot(&raftcore.SnapshotMeta{Last: log[4].EntryID}, nil, false, commands(2, 5, 6)...)},
		{"a gap after the snapshot that takes the log's place", snapshot(meta(2, 9), meta(2, 9), true, commands(2, 11, 11)...)},
		{"entries before the snapshot that takes the log's place", snapshot(meta(2, 9), meta(2, 9), true, commands(2, 9, 10)...)},
		{"a new lineage with the name of the old one", lineage(func(s *raftcore.Save) { s.HardState.Cluster = hard.Cluster })},
		{"a new lineage without a name", lineage(func(s *raftcore.Save) { s.HardState.Cluster = 0 })},
		{"a new lineage in the term of the old one", lineage(func(s *raftcore.Save) {
			s.HardState.Term, s.HardState.Vote, s.Entries[0].Term = 2, 1, 2
			s.Entries[0].Config.Voters[0] = 1
		})},
		{"a new lineage of a newcomer", lineage(func(s *raftcore.Save) { s.HardState.Joined = false })},
		{"a new lineage whose voter has not voted for itself", lineage(func(s *raftcore.Save) { s.HardState.Vote = 3 })},
		{"a new lineage of two voters", lineage(func(s *raftcore.Save) { s.Entries[0].Config.Voters = []raftcore.NodeID{2, 3} })},
		{"a new lineage of a joint configuration", lineage(func(s *raftcore.Save) { s.Entries[0].Config.Outgoing = []raftcore.NodeID{1} })},
		{"a new lineage without a configuration", lineage(func(s *raftcore.Save) { s.Entries[0].Config, s.Entries[0].Kind = nil, raftcore.EntryNoop })},
		{"a new lineage that begins with two entries", lineage(func(s *raftcore.Save) { s.Entries = append(s.Entries, commands(3, 7, 7)...) })},
		{"a new lineage that cuts off the last entry", lineage(func(s *raftcore.Save) { s.Entries[0].Index = 5 })},
		{"a new lineage whose configuration is of the old term", lineage(func(s *raftcore.Save) { s.Entries[0].Term = 2 })},
		{"a new lineage and a snapshot", lineage(func(s *raftcore.Save) { s.Snapshot = &raftcore.SnapshotMeta{Last: log[4].EntryID} })},
	}
}

func loadsWithinBounds(r *storeRun) {
	p := r.fresh("a", "empty", "based")
	var log []raftcore.Entry
	for _, e := range commands(1, 1, 20) {
		e.Data = bytes.Repeat([]byte("x"), 100)
		log = append(log, e)
	}
	p.save(p.term("a", 1, log...), p.term("based", 1, log...))
	p.save(p.compacted(p.term("based", 1), 10, 8))
	check := func() {
		for _, c := range []struct{ from, to, maxBytes int }{
			{1, 20, 0}, {1, 20, 1}, {1, 20, 100}, {1, 20, 199}, {1, 20, 200}, {5, 20, 1050}, {5, 7, 1 << 20}, {1, 20, math.MaxInt}, {20, 20, -5}, {3, 3, 99}, {9, 9, 100},
			{0, 1, 100}, {2, 1, 100}, {1, 21, 1 << 20}, {21, 21, 100}, {20, 30, 1 << 20}, {0, 0, 0}, {8, 9, 100}, {9, 8, 100}, {9, 20, 1 << 20},
		} {
			for _, group := range []string{"a", "empty", "based"} {
				must(p.Load(p.s, group, raftcore.Load{From: raftcore.Index(c.from), To: raftcore.Index(c.to), MaxBytes: c.maxBytes}))
			}
		}
		must(p.Load(p.s, "a", raftcore.Load{From: 1, To: math.MaxUint64, MaxBytes: math.MaxInt}))
		must(p.Load(p.s, "a", raftcore.Load{From: math.MaxUint64, To: math.MaxUint64, MaxBytes: math.MaxInt}))
	}
	check()
	p.restart()
	check()
	must(p.CheckAll(p.s))
}

// Whoever has entries may keep them: they are immutable.
func handsOutWhatStays(r *storeRun) {
	p := r.fresh("a")
	log := commands(1, 1, 20)
	p.save(p.term("a", 1, log...))
	p.restart()
	tail := p.opened("a").Recovered.Tail
	loaded, err := p.s.Load(p.opened("a").Group, raftcore.Load{From: 1, To: 20, MaxBytes: math.MaxInt})
	must(err)
	p.save(p.term("a", 2, commands(2, 3, 25)...))
	p.save(p.compacted(p.term("a", 2), 24, 24))
	p.save(p.term("a", 3, commands(3, 25, 60)...))
	const immutable = "entries are immutable: what Load and Open have returned stays as it is"
	d := sameEntries(loaded, log[:len(loaded)])
	demand(d == "", immutable, "what Load had returned is different after later Saves: %s", d)
	d = sameEntries(tail, log[len(log)-len(tail):])
	demand(d == "", immutable, "the tail that Open had returned is different after later Saves: %s", d)
}

func refusesLateSaves(r *storeRun) {
	p := r.fresh("a", "b")
	must(p.Open(p.s, "a")) // ErrGroupOpen
	p.save(p.term("a", 1, commands(1, 1, 1)...))
	first := p.opened("a")
	late := func() []persistence.Save {
		return []persistence.Save{
			p.term("b", 1, commands(1, 1, 1)...),
			{Group: first.Group, Save: raftcore.Save{Token: raftcore.Token{Boot: first.Boot, Sequence: 2}, HardState: raftcore.HardState{Term: 1, Cluster: 5, Joined: true}, Entries: commands(1, 2, 2)}},
		}
	}
	must(p.Close(p.s, "a"))
	must(p.Save(p.s, late())) // ErrGroupClosed
	_, err := p.s.Load(first.Group, raftcore.Load{From: 1, To: 1})
	demand(errors.Is(err, persistence.ErrGroupClosed), cGroupClosed, "a Load of a group that was closed ended with %v", err)
	err = p.s.CloseGroup(first.Group)
	demand(errors.Is(err, persistence.ErrGroupClosed), cGroupClosed, "closing a group twice ended with %v", err)
	p.enter("a")
	must(p.Save(p.s, late()))
	unknown := []persistence.GroupID{0, 4711, math.MaxUint64}
	for _, id := range unknown {
		if p.byID(id) != nil {
			continue
		}
		must(p.Save(p.s, []persistence.Save{{Group: id}}))
		_, err := p.s.Load(id, raftcore.Load{From: 1, To: 1})
		demand(errors.Is(err, persistence.ErrGroupClosed), cGroupClosed, "a Load of group number %d, which there is not, ended with %v", id, err)
	}
	must(p.CheckAll(p.s))
	p.restart()
	must(p.Save(p.s, late()))
	p.restart()
}

func numbersDisksAndStarts(r *storeRun) {
	p := r.fresh("a", "b")
	for _, name := range []string{"a", "b"} {
		recovered := p.opened(name).Recovered
		demand(recovered.Pristine(), "a group whose name is new is opened as a fresh one", "it was opened with %v", &recovered)
	}
	for range 3 {
		must(p.Close(p.s, "a"))
		p.enter("a")
		p.restart()
	}
	other := r.place(r.seed + 1)
	other.start()
	other.enter("a", "b")
	for _, name := range []string{"a", "b"} {
		one, two := p.opened(name).Recovered.Incarnation, other.opened(name).Recovered.Incarnation
		demand(one != two, cIncarnation, "group %q has incarnation %x in two places", name, uint64(one))
	}
	demand(!p.boots[other.opened("a").Boot], cBoot, "two places have given the same Boot")
}

func tellsNamesApart(r *storeRun) {
	names := []string{"a", "A", "a ", "a/b", "a\x00", "../a", "ä", "\n", "1", "01", strings.Repeat("n", 300), strings.Repeat("n", 300) + "m", "\xff"}
	p := r.fresh(names...)
	for i, name := range names {
		p.save(p.term(name, raftcore.Term(i+1), commands(raftcore.Term(i+1), 1, raftcore.Index(i+1))...))
	}
	must(p.CheckAll(p.s))
	p.restart()
}

func savesManyGroups(r *storeRun) {
	p := r.fresh()
	save := func(first raftcore.Index) {
		var saves []persistence.Save
		for i, g := range p.groups {
			term := raftcore.Term(first) + raftcore.Term(i%3)
			saves = append(saves, p.term(g.name, term, commands(term, first, first+raftcore.Index(i%5))...))
		}
		p.save(saves...)
	}
	for i := range 50 {
		p.enter(fmt.Sprintf("group-%d", i))
	}
	save(1)
	save(2)
	must(p.CheckAll(p.s))
	p.stop()
	p.start()
	slices.Reverse(p.groups) // they come in another order next time
	must(p.CheckAll(p.s))
	save(2)
	p.restart()
}

func keepsMuch(r *storeRun) {
	p := r.fresh("large", "many")
	large := commands(1, 1, 4)
	for i, size := range []int{4<<20 + 1, 100, 0, 1 << 20} { // more than raftcore.Config allows one command by default
		large[i].Data = bytes.Repeat([]byte{byte('a' + i), 0, 255}, size/3+1)[:size]
	}
	p.save(p.term("large", 1, large...), p.term("many", 1, commands(1, 1, 3000)...))
	must(p.CheckAll(p.s))
	must(p.Load(p.s, "large", raftcore.Load{From: 1, To: 4, MaxBytes: 1000}))
	p.restart()
	p.save(p.term("many", 2, commands(2, 2500, 2501)...))
	p.restart()
}

func isOpenOnce(r *storeRun) {
	const once = "Opener.Open refuses with ErrLocked while somebody else has the Store open"
	const closed = "a Store that is closed answers everything with ErrClosed"
	p := r.fresh("a")
	p.save(p.term("a", 1, commands(1, 1, 3)...))
	_, err := p.Opener.Open()
	demand(errors.Is(err, persistence.ErrLocked), once, "opening it twice ended with %v", err)
	must(p.CheckAll(p.s)) // the first one is as it was
	old, group := p.s, p.opened("a").Group
	save := p.term("a", 1)
	p.stop()
	answers := func() {
		_, open := old.Open("b")
		_, load := old.Load(group, raftcore.Load{From: 1, To: 1, MaxBytes: 1})
		for _, c := range []struct {
			call string
			err  error
		}{
			{"Open", open}, {"Load", load}, {"Save", old.Save([]persistence.Save{save})}, {"an empty Save", old.Save(nil)},
			{"CloseGroup", old.CloseGroup(group)}, {"Close", old.Close()},
		} {
			demand(errors.Is(c.err, persistence.ErrClosed), closed, "%s after Close ended with %v", c.call, c.err)
		}
	}
	answers()
	p.start()
	must(p.CheckAll(p.s))
	answers() // also while the next one is open, which this does not harm
	must(p.CheckAll(p.s))
	p.restart()
}

// One goroutine saves, opens and closes, as a host's log actor does; others load.
func loadsBesideTheRest(r *storeRun) {
	p := r.fresh("a", "b")
	// The first 100 entries stay, the next 100 are replaced again and again.
	p.save(p.term("a", 1, commands(1, 1, 200)...), p.term("b", 1, commands(1, 1, 9)...))
	group, done := p.opened("a").Group, make(chan struct{})
	var loads, failed atomic.Int64
	errs := make(chan error, 2)
	var readers sync.WaitGroup
	for n := range 2 {
		readers.Go(func() {
			for ; ; n += 7 {
				select {
				case <-done:
					return
				default:
				}
				if err := loadBoth(p.s, group, raftcore.Index(1+n%100)); err != nil {
					failed.Add(1)
					errs <- err
					return
				}
				loads.Add(1)
			}
		})
	}
	err := p.saveBeside(func() bool { return loads.Load() >= 300 || failed.Load() > 0 })
	close(done)
	readers.Wait()
	must(err)
	select {
	case err := <-errs:
		must(broken("Load may run beside everything but Close, and returns entries that were in the log together", "beside Saves, a Load came to this: %s", found(err)))
	default:
	}
	must(p.CheckAll(p.s))
	p.restart()
}

// saveBeside replaces entries, and opens and closes other groups, until enough has
// been loaded beside it.
func (p *place) saveBeside(enough func() bool) error {
	for term := raftcore.Term(2); term < 30 || !enough(); term++ {
		runtime.Gosched()
		err := p.Save(p.s, []persistence.Save{p.term("a", term, commands(term, 101, 200)...)})
		switch {
		case err != nil:
		case term%10 == 3:
			err = p.Close(p.s, "b")
		case term%10 == 5:
			err = p.Open(p.s, "b")
		case term%10 == 7 && term < 100:
			err = p.Open(p.s, fmt.Sprint("new ", term))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadBoth loads entries that stay, and a range of which the end is replaced
// meanwhile: all of that is of one term.
func loadBoth(s persistence.Store, group persistence.GroupID, from raftcore.Index) error {
	got, err := s.Load(group, raftcore.Load{From: from, To: 100, MaxBytes: 1 << 20})
	if err != nil {
		return err
	}
	if d := sameEntries(got, commands(1, from, from+raftcore.Index(len(got))-1)); d != "" {
		return errors.New(d)
	}
	got, err = s.Load(group, raftcore.Load{From: 91, To: 150, MaxBytes: 1 << 20})
	if err != nil {
		return err
	}
	want := commands(1, 91, 100)
	if len(got) > 10 {
		want = append(want, commands(got[10].Term, 101, 150)...)
	}
	if d := sameEntries(got, want[:min(len(got), len(want))]); d != "" {
		return errors.New(d)
	}
	return nil
}
