package raftcore

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a log that keeps everything and thinks about nothing: a list of
// entries, and a disk as the list of Saves that were ordered.
type model struct {
	base    EntryID
	entries []Entry // after base
	disk    []Entry // what is on the disk
	pending []modelSave
}

type modelSave struct {
	sequence uint64
	entries  []Entry
}

func (m *model) last() Index { return m.base.Index + Index(len(m.entries)) }

func (m *model) term(i Index) (Term, bool) {
	switch {
	case i == m.base.Index:
		return m.base.Term, true
	case i < m.base.Index || i > m.last():
		return 0, false
	}
	return m.entries[i-m.base.Index-1].Term, true
}

// newestUpTo walks down from the end.
func (m *model) newestUpTo(id EntryID) EntryID {
	for i := min(id.Index, m.last()); i > m.base.Index; i-- {
		if t, _ := m.term(i); t <= id.Term {
			return EntryID{t, i}
		}
	}
	return m.base
}

// overwrite is what a Save does to a disk.
func overwrite(base Index, disk, entries []Entry) []Entry {
	if len(entries) == 0 {
		return disk
	}
	return append(slices.Clone(disk[:entries[0].Index-base-1]), entries...)
}

func (m *model) complete(sequence uint64) {
	for len(m.pending) > 0 && m.pending[0].sequence <= sequence {
		m.disk = overwrite(m.base.Index, m.disk, m.pending[0].entries)
		m.pending = m.pending[1:]
	}
}

// durable is how far a crash leaves the log as it is, whichever of the pending
// Saves make it: the longest prefix that all possible disks share with the log.
func (m *model) durable() Index {
	agreed := func(disk []Entry) Index {
		n := 0
		for n < len(disk) && n < len(m.entries) && disk[n].EntryID == m.entries[n].EntryID {
			n++
		}
		return m.base.Index + Index(n)
	}
	disk := m.disk
	least := agreed(disk)
	for _, s := range m.pending {
		disk = overwrite(m.base.Index, disk, s.entries)
		least = min(least, agreed(disk))
	}
	return least
}

// held is a slice that the log handed out, and what it looked like then.
type held struct {
	slice, copy []Entry
	where       string
}

// play runs a log and the model through random operations.
type play struct {
	t     *testing.T
	r     *rand.Rand
	log   log
	model model
	term  Term
	seq   uint64
	held  []held
	names int
	bound int

	cutOff   []Entry // what the last truncation cut off, and after which entry
	cutAfter EntryID
}

func newPlay(t *testing.T, seed uint64) *play {
	r := rand.New(rand.NewPCG(seed, 17))
	p := &play{t: t, r: r, bound: 500 + r.IntN(3000)}
	rec := Recovered{}
	if r.IntN(2) == 0 {
		p.term = 2
		p.model.base = EntryID{2, Index(1 + r.IntN(20))}
		rec.Base, rec.Last = p.model.base, p.model.base.Index
	}
	for range r.IntN(30) {
		e := p.entry(p.model.last() + 1)
		p.model.entries = append(p.model.entries, e)
		rec.Note(&e)
	}
	p.model.disk = slices.Clone(p.model.entries)
	if n := len(p.model.entries); n > 0 {
		rec.Tail = slices.Clone(p.model.entries[r.IntN(n+1):])
	}
	p.log = newLog(&rec)
	return p
}

// entry returns one that nobody has seen before, now and then of a later term.
func (p *play) entry(i Index) Entry {
	if p.term == 0 || p.r.IntN(4) == 0 {
		p.term++
	}
	p.names++
	return Entry{EntryID: EntryID{p.term, i}, Kind: EntryCommand, Data: fmt.Appendf(nil, "%d%0*d", p.names, p.r.IntN(100), 0)}
}

func (p *play) hold(where string, s []Entry) {
	if len(s) > 0 {
		p.held = append(p.held, held{s, slices.Clone(s), where})
	}
}

func (p *play) step() {
	l, m, r := &p.log, &p.model, p.r
	switch r.IntN(10) {
	case 0, 1, 2: // append
		var entries []Entry
		for range 1 + r.IntN(8) {
			entries = append(entries, p.entry(m.last()+1+Index(len(entries))))
		}
		l.append(entries)
		m.entries = append(m.entries, entries...)
	case 3: // another leader truncates, and appends at once
		if m.last() > max(m.base.Index, l.commit) {
			cut := max(m.base.Index, l.commit) + 1 + Index(r.IntN(int(m.last()-max(m.base.Index, l.commit))))
			before, _ := m.term(cut - 1)
			old, after := slices.Clone(m.entries[cut-m.base.Index-1:]), EntryID{before, cut - 1}
			l.truncate(cut)
			m.entries = slices.Clone(m.entries[:cut-m.base.Index-1])
			replacement := []Entry{p.entry(cut)}
			if p.cutOff != nil && p.cutAfter == after && r.IntN(2) == 0 {
				replacement = p.cutOff // the very same entries come back
			}
			p.cutOff, p.cutAfter = old, after
			l.append(replacement)
			m.entries = append(m.entries, replacement...)
		}
	case 4, 5: // a Save is ordered
		if l.handed < l.last || r.IntN(3) == 0 {
			p.seq++
			entries := l.toSave(p.seq, 0)
			p.hold("a Save", entries)
			m.pending = append(m.pending, modelSave{p.seq, slices.Clone(entries)})
		}
	case 6, 7: // some complete
		if len(m.pending) > 0 {
			done := m.pending[r.IntN(len(m.pending))].sequence
			l.complete(done)
			m.complete(done)
		}
	case 8: // commit
		if m.last() > 0 {
			if c := Index(r.IntN(int(m.last() + 1))); c > l.commit {
				l.commit = c
			}
		}
	case 9:
		l.forget(0, min(l.saved, l.commit), p.bound)
	}
	p.compare()
}

func (p *play) compare() {
	p.t.Helper()
	l, m, r := &p.log, &p.model, p.r
	if l.last != m.last() {
		p.t.Fatalf("the last entry is %d, should be %d", l.last, m.last())
	}
	if got, want := l.saved, m.durable(); got > want {
		p.t.Fatalf("%d counts as durable, a crash may leave the log only as far as %d", got, want)
	}
	if len(m.pending) == 0 && l.handed == l.last && l.saved != l.last {
		p.t.Fatalf("every Save is durable, and only %d of %d count", l.saved, l.last)
	}
	if l.handed > l.last || l.saved > l.handed {
		p.t.Fatalf("saved %d, handed %d, last %d", l.saved, l.handed, l.last)
	}
	lastTerm, _ := m.term(m.last())
	if l.lastID() != (EntryID{lastTerm, m.last()}) {
		p.t.Fatalf("the last entry is %v", l.lastID())
	}
	for i := Index(0); i <= m.last()+2; i++ {
		got, known := l.term(i)
		want, wantKnown := m.term(i)
		if got != want || known != wantKnown {
			p.t.Fatalf("the term of %d is %d (%v), should be %d (%v)", i, got, known, want, wantKnown)
		}
		if has := l.has(EntryID{want, i}); has != (wantKnown || i < m.base.Index) {
			p.t.Fatalf("has %d/%d: %v", want, i, has)
		}
		if wantKnown && l.has(EntryID{want + 1, i}) {
			p.t.Fatalf("has %d/%d, which is of term %d", want+1, i, want)
		}
	}
	for range 5 {
		id := EntryID{Term(r.IntN(int(p.term) + 3)), Index(r.IntN(int(m.last()) + 3))}
		if got, want := l.newestUpTo(id), m.newestUpTo(id); got != want {
			p.t.Fatalf("the newest up to %v is %v, should be %v", id, got, want)
		}
	}
	p.compareSlices()
	for _, h := range p.held {
		if !slices.EqualFunc(h.slice, h.copy, func(a, b Entry) bool { return a.EntryID == b.EntryID && string(a.Data) == string(b.Data) }) {
			p.t.Fatalf("%s was handed out as %v and is now %v", h.where, h.copy, h.slice)
		}
	}
}

func (p *play) compareSlices() {
	p.t.Helper()
	l, m, r := &p.log, &p.model, p.r
	bytes := 0
	for i := range l.window.entries {
		bytes += l.window.entries[i].Size()
	}
	if bytes != l.window.bytes {
		p.t.Fatalf("the window has %d bytes, and counts %d", bytes, l.window.bytes)
	}
	first := l.windowFirst()
	from := Index(r.IntN(int(m.last()) + 2))
	to := from + Index(r.IntN(10))
	limit := r.IntN(600)
	got := l.slice(from, to, limit)
	p.hold("a slice", got)
	if (got == nil) != (from < first || from > min(to, m.last())) {
		p.t.Fatalf("slice(%d, %d) of a window from %d on: %v", from, to, first, got)
	}
	if got == nil {
		return
	}
	size := 0
	for i := range got {
		if e := &m.entries[from-m.base.Index-1+Index(i)]; got[i].EntryID != e.EntryID || string(got[i].Data) != string(e.Data) {
			p.t.Fatalf("slice(%d, %d)[%d] is %v, should be %v", from, to, i, got[i], e)
		}
		size += got[i].Size()
	}
	end := from + Index(len(got)) - 1
	if size > limit && len(got) > 1 || end > to {
		p.t.Fatalf("slice(%d, %d, %d) has %d entries of %d bytes", from, to, limit, len(got), size)
	}
	if next := end + 1; next <= min(to, m.last()) && size+m.entries[next-m.base.Index-1].Size() <= limit {
		p.t.Fatalf("slice(%d, %d, %d) ends at %d, and the next entry has room", from, to, limit, end)
	}
	if cap(got) != len(got) {
		p.t.Fatal("whoever appends to a slice would write into the log")
	}
}

func TestTheLogIsWhatTheModelSays(t *testing.T) {
	runs := 300
	if testing.Short() {
		runs = 50
	}
	for seed := range uint64(runs) {
		p := newPlay(t, seed)
		for range 150 {
			p.step()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// D3, step by step on the log alone.
//
//  1. Save #1 takes entries 1 2 3 of term 1.
//  2. A leader of term 2 replaces 2 and 3 with its own 2; Save #2 takes it.
//  3. The very entries 1/2 and 1/3 come back; Save #3 takes them.
//  4. Save #1 completes: 1/2 and 1/3 are on the disk, and Save #2 is about to
//     wipe them out. Only entry 1 is safe.
//  5. Save #2 completes: the disk holds 1/1 2/2.
//  6. Save #3 completes: all are safe.
func TestD3_OnlyWhatNoSaveUnderWayTouchesIsDurable(t *testing.T) {
	var l log
	e := func(t Term, i Index) Entry { return Entry{EntryID: EntryID{t, i}, Kind: EntryCommand} }
	saved := func(want Index, when string) {
		t.Helper()
		if l.saved != want {
			t.Fatalf("%s: %d counts as durable, should be %d", when, l.saved, want)
		}
	}
	l.append([]Entry{e(1, 1), e(1, 2), e(1, 3)})
	l.toSave(1, 0)
	l.truncate(2)
	l.append([]Entry{e(2, 2)})
	l.toSave(2, 0)
	l.truncate(2)
	l.append([]Entry{e(1, 2), e(1, 3)})
	l.toSave(3, 0)
	saved(0, "before anything completes")
	l.complete(1)
	saved(1, "after #1")
	l.complete(2)
	saved(1, "after #2")
	l.complete(3)
	saved(3, "after #3")
}

func TestD3_ASaveWithoutEntriesHidesNothing(t *testing.T) {
	var l log
	l.push(&Entry{EntryID: EntryID{1, 1}})
	l.toSave(1, 0)
	l.toSave(2, 0) // the hard state only
	l.toSave(3, 0)
	l.complete(2)
	if l.saved != 1 {
		t.Errorf("saved %d", l.saved)
	}
	l.truncate(1)
	l.complete(3)
	if l.saved != 0 || l.handed != 0 {
		t.Errorf("saved %d, handed %d, and the log is empty", l.saved, l.handed)
	}
}

func TestATruncationBeforeItsReplacementIsSavedLowersWhatIsDurable(t *testing.T) {
	var l log
	for i := Index(1); i <= 5; i++ {
		l.push(&Entry{EntryID: EntryID{1, i}})
	}
	l.toSave(1, 0)
	l.truncate(3)
	l.complete(1)
	if l.saved != 2 {
		t.Errorf("saved %d; the disk holds five, the log two", l.saved)
	}
	l.push(&Entry{EntryID: EntryID{2, 3}})
	if s := l.toSave(2, 0); len(s) != 1 || s[0].Index != 3 {
		t.Errorf("the next Save takes %v", s)
	}
}

func TestAnEmptyLogKnowsItsBase(t *testing.T) {
	l := newLog(&Recovered{Base: EntryID{3, 10}, Last: 10})
	if l.lastID() != (EntryID{3, 10}) || l.commit != 10 || l.windowFirst() != 11 {
		t.Errorf("last %v, commit %d, window from %d", l.lastID(), l.commit, l.windowFirst())
	}
	for id, want := range map[EntryID]bool{{3, 10}: true, {2, 10}: false, {1, 9}: true, {0, 0}: true, {3, 11}: false, {0, 11}: false} {
		if got := l.has(id); got != want {
			t.Errorf("has %v: %v", id, got)
		}
	}
	if got := l.newestUpTo(EntryID{1, 5}); got != (EntryID{3, 10}) {
		t.Errorf("the newest up to 1/5 is %v", got)
	}
}

func TestTermLookupsAtTheEndsOfIndexes(t *testing.T) {
	l := newLog(&Recovered{Base: EntryID{3, 10}, Last: 12, Runs: []TermRun{{11, 4}}})
	for _, i := range []Index{0, 9, 13, math.MaxUint64} {
		if term, known := l.term(i); known {
			t.Errorf("the term of %d is %d", i, term)
		}
	}
	if got := l.newestUpTo(EntryID{math.MaxUint64, math.MaxUint64}); got != (EntryID{4, 12}) {
		t.Error(got)
	}
	if l.slice(0, math.MaxUint64, math.MaxInt) != nil || l.slice(math.MaxUint64, math.MaxUint64, 1) != nil {
		t.Error("there is nothing in the window")
	}
}

func TestR11_TheArrayOfEntriesThatWereHandedInIsNotWrittenOn(t *testing.T) {
	array := make([]Entry, 10)
	for i := range array {
		array[i] = Entry{EntryID: EntryID{1, Index(i + 1)}, Kind: EntryNoop}
	}
	handed, rest := array[:5], slices.Clone(array[5:])
	var l log
	l.append(handed)
	if &l.window.entries[0] != &handed[0] {
		t.Error("they were copied, for nothing")
	}
	l.append([]Entry{{EntryID: EntryID{2, 6}, Kind: EntryNoop}})
	if l.last != 6 || !slices.EqualFunc(rest, array[5:], func(a, b Entry) bool { return a.EntryID == b.EntryID }) {
		t.Errorf("behind them there is %v now", array[5:])
	}
}
