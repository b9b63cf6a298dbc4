package badgerstore

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// group is what the store holds of a group in memory: where its entries are,
// not the entries. A log is in two parts, because segments are handed over to
// Badger oldest first, and entries that replace others are always newer:
//
//	Base < … in Badger … ≤ held < … in the journal, by extents … ≤ Last
type group struct {
	number uint64
	name   string
	boot   uint64 // 0: not open

	// log has everything but LastTime, which is known when the last entry is read.
	log      raftcore.Recovered
	baseTime int64

	held    raftcore.Index // Badger has the entries up to here
	extents []extent       // the others; ascending, and so are their positions

	// changes counts how often entries went away: cut off, or compacted. Who
	// reads without a lock looks whether it is still the same afterwards.
	changes uint64

	// tombstone is all that is left, if the group was removed: nothing else counts then.
	tombstone *persistence.Tombstone
	revived   bool // since this store was opened

	// While the journal is replayed: the incarnation that Badger has, if a damage that
	// is still to come has given it.
	awaited raftcore.Incarnation

	touched uint32 // the newest journal segment that says something of the group
	version uint64 // of its value in Badger; 0 if there is none

	// The Save that is being checked, and the log as it will be then.
	checking uint64
	checked  persistence.Log
}

// extent is a record of the journal, and the first of the entries in it that
// count. They end where the next extent begins. A gap, which only a replay that
// is not over has, is an extent without a position.
type extent struct {
	first raftcore.Index
	at    journal.Position
}

func (e *extent) gap() bool { return e.at.Segment == 0 }

// end returns the last entry of an extent.
func (g *group) end(i int) raftcore.Index {
	if i+1 < len(g.extents) {
		return g.extents[i+1].first - 1
	}
	return g.log.Last
}

// truncate cuts off entry first and all after it.
func (g *group) truncate(first raftcore.Index) {
	if first > g.log.Last {
		return
	}
	g.changes++
	l := &g.log
	for n := len(l.Runs); n > 0 && l.Runs[n-1].First >= first; n-- {
		l.Runs = l.Runs[:n-1]
	}
	for n := len(l.Configs); n > 0 && l.Configs[n-1].Index >= first; n-- {
		l.Configs = l.Configs[:n-1]
	}
	for n := len(g.extents); n > 0 && g.extents[n-1].first >= first; n-- {
		g.extents = g.extents[:n-1]
	}
	l.Last = first - 1
	g.held = min(g.held, l.Last)
}

// append notes that a record has the entries from first to last, which replace
// what was there. The caller then notes the entries themselves, those after the
// base. Two things happen only when a journal is replayed over what Badger has
// received since. Entries may lie before the base, and yet cut off some behind
// it. And there may be a gap before first: what it held has been replaced by
// entries that are still to come.
func (g *group) append(first, last raftcore.Index, at journal.Position) {
	first = max(first, g.log.Base.Index+1)
	g.truncate(first)
	if last < first {
		return
	}
	if first > g.log.Last+1 {
		g.extents = append(g.extents, extent{first: g.log.Last + 1})
	}
	g.extents = append(g.extents, extent{first: first, at: at})
}

// begin notes what a Save says of snapshots, and of where the log begins.
func (g *group) begin(c *compaction) {
	if c.snapshot != nil && c.snapshot.Last.Index > g.log.Snapshot.Last.Index {
		g.log.Snapshot = *c.snapshot
	}
	if c.reset {
		g.truncate(g.log.Base.Index + 1)
	}
	if c.base != nil {
		g.compact(c.base)
	}
}

// compact forgets the entries up to a new base. It never goes back.
func (g *group) compact(b *raftcore.SnapshotMeta) {
	l := &g.log
	if b.Last.Index <= l.Base.Index {
		return
	}
	g.changes++
	first := b.Last.Index + 1
	// The run that holds first begins there now, unless the log ends before.
	n := 0
	for n+1 < len(l.Runs) && l.Runs[n+1].First <= first {
		n++
	}
	l.Runs = l.Runs[n:]
	if len(l.Runs) > 0 && l.Runs[0].First < first {
		l.Runs = slices.Clone(l.Runs)
		l.Runs[0].First = first
	}
	n = 0
	for n < len(l.Configs) && l.Configs[n].Index < first {
		n++
	}
	l.Configs = l.Configs[n:]
	n = 0
	for n < len(g.extents) && g.end(n) < first {
		n++
	}
	g.extents = g.extents[n:]
	if len(g.extents) > 0 {
		g.extents[0].first = max(g.extents[0].first, first)
	}
	l.Base, l.BaseConf, g.baseTime = b.Last, b.Conf, b.Time
	if l.Last <= b.Last.Index { // a snapshot took the place of the whole log
		l.Last = b.Last.Index
		l.Runs, l.Configs, g.extents = nil, nil, nil
	}
	g.held = max(g.held, b.Last.Index)
}

// damage is what becomes of a group when the end of the journal is lost.
type damage struct {
	number      uint64
	incarnation raftcore.Incarnation // the new one
	last        raftcore.Index       // the entries up to here are left
	base        *raftcore.SnapshotMeta
}

// assess returns what is left of a group whose journal was cut off, and whose log
// can be read. What Badger has of it may be newer than where the cut is: the newest
// snapshot may be of an entry that the log does not have yet, or has not any more.
// Then it is not known that the rest of the log follows from the snapshot, and all
// of it goes.
func (g *group) assess() damage {
	l := &g.log
	d := damage{number: g.number, last: l.Last}
	s := &l.Snapshot
	if at := s.Last.Index; at > 0 && (at == l.Base.Index && d.last > at || at > d.last || g.term(at) != s.Last.Term) {
		base := *s
		d.last, d.base = at, &base
	}
	return d
}

// damage has a group go on with what is left of it, under a new incarnation, and
// forget what it cannot vouch for. See raftcore.Recovered.Damaged.
func (g *group) damage(d *damage) {
	l := &g.log
	if d.base != nil {
		g.begin(&compaction{base: d.base, reset: true})
	}
	g.truncate(max(d.last, l.Base.Index) + 1) // Badger may have a later base when this is replayed
	if g.awaited == d.incarnation {
		g.awaited = 0
	}
	l.Incarnation, l.Damaged = d.incarnation, true
	l.HardState.Vote, l.HardState.Joined = raftcore.Nobody, false
	l.HardState.Term = max(l.HardState.Term, g.lastID().Term, l.Snapshot.Last.Term)
}

// whole returns whether every entry is somewhere.
func (g *group) whole() error {
	for i := range g.extents {
		if g.extents[i].gap() {
			return fmt.Errorf("entries %d to %d are missing", g.extents[i].first, g.end(i))
		}
	}
	if h := g.log.HardState.Term; h < g.lastID().Term || h < g.log.Snapshot.Last.Term {
		return fmt.Errorf("the hard state is of term %d, the log ends at %v, the newest snapshot is of %v", h, g.lastID(), g.log.Snapshot.Last)
	}
	if s := g.log.Snapshot.Last; s.Index > g.log.Last || g.term(s.Index) != s.Term {
		return fmt.Errorf("the newest snapshot is of %v, and the log ends at %v", s, g.lastID())
	}
	if g.tombstone != nil && g.log.Last > 0 {
		return errors.New("it was removed, and yet goes on")
	}
	if g.awaited != 0 {
		return fmt.Errorf("it has incarnation %x in the journal, and %x in Badger", uint64(g.log.Incarnation), uint64(g.awaited))
	}
	return nil
}

// term returns the term of an entry that is in the log.
func (g *group) term(i raftcore.Index) raftcore.Term {
	runs := g.log.Runs
	n := sort.Search(len(runs), func(k int) bool { return runs[k].First > i })
	if n == 0 {
		return g.log.Base.Term
	}
	return runs[n-1].Term
}

// lastID returns the last entry, or the base.
func (g *group) lastID() raftcore.EntryID {
	return raftcore.EntryID{Index: g.log.Last, Term: g.term(g.log.Last)}
}

// upTo returns how many extents lie in segments up to k, and the last entry of
// them, or held if there are none.
func (g *group) upTo(k uint32) (n int, last raftcore.Index) {
	n = sort.Search(len(g.extents), func(i int) bool { return g.extents[i].at.Segment > k })
	if n == 0 {
		return 0, g.held
	}
	return n, g.end(n - 1)
}

// settle notes that what lies in segments up to k is in Badger. Some of it may
// have been cut off since; then it is not looked at there.
func (g *group) settle(k uint32) {
	n, last := g.upTo(k)
	g.held = last
	g.extents = slices.Clone(g.extents[n:]) // a slice would keep the memory of all
}

// value returns what Badger is to keep of the group, with the entries up to last.
// The log may have changed since these were read: by records of the journal that
// will be replayed over this.
func (g *group) value(last raftcore.Index) groupValue {
	l := &g.log
	if g.tombstone != nil {
		return groupValue{name: g.name, incarnation: l.Incarnation, version: g.version + 1, hard: l.HardState, removed: g.tombstone}
	}
	last = max(last, l.Base.Index)
	runs := sort.Search(len(l.Runs), func(i int) bool { return l.Runs[i].First > last })
	configs := sort.Search(len(l.Configs), func(i int) bool { return l.Configs[i].Index > last })
	return groupValue{
		name:        g.name,
		incarnation: l.Incarnation,
		version:     g.version + 1,
		hard:        l.HardState,
		damaged:     l.Damaged,
		snapshot:    l.Snapshot,
		base:        raftcore.SnapshotMeta{Last: l.Base, Time: g.baseTime, Conf: l.BaseConf},
		last:        last,
		runs:        l.Runs[:runs],
		configs:     l.Configs[:configs],
	}
}

// valueBytes is about what value takes when it is encoded, rather more.
func (g *group) valueBytes() int {
	n := 128 + len(g.name) + 8*len(g.log.Runs) + confBytes(&g.log.BaseConf.Conf) + confBytes(&g.log.Snapshot.Conf.Conf)
	for i := range g.log.Configs {
		n += confBytes(&g.log.Configs[i].Conf)
	}
	return n
}

func confBytes(c *raftcore.ConfState) int {
	return 26 + 10*(len(c.Voters)+len(c.Outgoing)+len(c.Learners)+len(c.Witnesses))
}

// newGroup is a group as Badger has it.
func newGroup(number uint64, v *groupValue) *group {
	return &group{
		number: number,
		name:   v.name,
		log: raftcore.Recovered{
			HardState:   v.hard,
			Damaged:     v.damaged,
			Snapshot:    v.snapshot,
			Incarnation: v.incarnation,
			Base:        v.base.Last,
			BaseConf:    v.base.Conf,
			Runs:        v.runs,
			Last:        v.last,
			Configs:     v.configs,
		},
		baseTime:  v.base.Time,
		held:      v.last,
		version:   v.version,
		tombstone: v.removed,
	}
}
