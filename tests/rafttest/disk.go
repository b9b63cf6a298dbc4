package rafttest

import (
	"maps"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// disk is a simulated disk: Saves take effect in order, each one whole; the
// ones that have not completed may or may not survive a crash.
type disk struct {
	kept contents
	// journal are the newest Saves that have made kept of early.
	early       contents
	journal     []raftcore.Save
	rot         int                        // which Save of the journal cannot be read any more, from 1; 0: none
	files       map[raftcore.Index]machine // snapshots, by their last index
	incarnation raftcore.Incarnation
	damaged     bool // it has lost something, and its node has not joined again
	pending     []raftcore.Save
}

// journalLength is how many Saves a journal has at least, if there were so many:
// so far back a disk can be thrown by damage.
const journalLength = 50

// contents is what a disk holds.
type contents struct {
	hard     raftcore.HardState
	snapshot raftcore.SnapshotMeta
	base     raftcore.SnapshotMeta
	entries  []raftcore.Entry // after the base
}

func (c *contents) last() raftcore.Index {
	return c.base.Last.Index + raftcore.Index(len(c.entries))
}

// lastID returns the identity of the last entry.
func (c *contents) lastID() raftcore.EntryID {
	if n := len(c.entries); n > 0 {
		return c.entries[n-1].EntryID
	}
	return c.base.Last
}

// has reports whether the log, its base included, has an entry.
func (c *contents) has(id raftcore.EntryID) bool {
	if id.Index <= c.base.Last.Index || id.Index > c.last() {
		return id == c.base.Last
	}
	return c.entries[id.Index-c.base.Last.Index-1].EntryID == id
}

func (c *contents) apply(s raftcore.Save) {
	c.hard = s.HardState
	if s.Snapshot != nil {
		c.snapshot = *s.Snapshot
	}
	if s.Reset {
		c.base, c.entries = *s.Base, nil
	} else if s.Base != nil && s.Base.Last.Index > c.base.Last.Index {
		c.entries = slices.Clone(c.entries[s.Base.Last.Index-c.base.Last.Index:])
		c.base = *s.Base
	}
	if len(s.Entries) == 0 {
		return
	}
	if keep := int(s.Entries[0].Index - c.base.Last.Index - 1); keep < len(c.entries) {
		c.entries = slices.Clip(c.entries[:keep]) // slices of the rest have been handed out
	}
	c.entries = append(c.entries, s.Entries...)
}

// complete makes the oldest pending Save durable.
func (d *disk) complete() raftcore.Token {
	s := d.pending[0]
	d.pending = d.pending[1:]
	d.kept.apply(s)
	d.journal = append(d.journal, s)
	if s.Snapshot != nil { // nothing needs those before it any more
		maps.DeleteFunc(d.files, func(last raftcore.Index, _ machine) bool { return last < s.Snapshot.Last.Index })
	}
	if len(d.journal) >= 2*journalLength && d.rot == 0 {
		for _, old := range d.journal[:journalLength] {
			d.early.apply(old)
		}
		d.journal = slices.Clone(d.journal[journalLength:])
	}
	return s.Token
}

// cutOff has a disk go on with the first n Saves of its journal, as a Store does
// that repairs itself: under another incarnation, without a vote, and not joined.
// ahead: what is kept beside the journal is newer than that: the term, and the
// snapshot, which stands for all of a log that does not have its entry. Without that,
// too, the newest snapshot takes the place of all if the one that is named is gone.
func (d *disk) cutOff(n int, ahead bool, incarnation raftcore.Incarnation) {
	c := d.early
	c.entries = slices.Clone(c.entries)
	for _, s := range d.journal[:n] {
		c.apply(s)
	}
	newest := d.kept.snapshot
	_, there := d.files[c.snapshot.Last.Index]
	gone := c.snapshot.Last.Index > 0 && !there && !d.kept.hard.Witness // who has none that could be gone
	if ahead {
		c.hard = d.kept.hard
	}
	if ahead || gone {
		c.snapshot, c.hard.Term = newest, max(c.hard.Term, newest.Last.Term)
	}
	if ahead && newest.Last.Index > 0 && !c.has(newest.Last) || gone {
		c.base, c.entries = newest, nil
	}
	c.hard.Vote, c.hard.Joined = raftcore.Nobody, false
	d.kept, d.early, d.journal, d.rot = c, c, nil, 0
	d.early.entries = slices.Clone(c.entries)
	d.incarnation, d.damaged = incarnation, true
}

// rotten reports whether one of some saved entries cannot be read.
func (d *disk) rotten(entries []raftcore.Entry) bool {
	if d.rot == 0 {
		return false
	}
	lost := d.journal[d.rot-1].Entries
	return slices.ContainsFunc(entries, func(e raftcore.Entry) bool {
		return len(lost) > 0 && e.Index >= lost[0].Index && e.Index <= lost[len(lost)-1].Index && e.EntryID == lost[e.Index-lost[0].Index].EntryID
	})
}

// crash keeps the first n of the pending Saves and loses the others.
func (d *disk) crash(n int) {
	for range n {
		d.complete()
	}
	d.pending = nil
}

// keepFile keeps a snapshot.
func (d *disk) keepFile(m machine) {
	if d.files == nil {
		d.files = map[raftcore.Index]machine{}
	}
	d.files[m.applied] = m
}

// load reads saved entries.
func (d *disk) load(l raftcore.Load) []raftcore.Entry {
	var out []raftcore.Entry
	bytes := 0
	for i := l.From; i <= l.To && i > d.kept.base.Last.Index && i <= d.kept.last(); i++ {
		e := d.kept.entries[i-d.kept.base.Last.Index-1]
		if bytes += e.Size(); bytes > l.MaxBytes && len(out) > 0 {
			break
		}
		out = append(out, e)
	}
	return out
}

// recovered returns what a node that starts from this disk is told, with the
// newest tail entries.
func (d *disk) recovered(tail int) raftcore.Recovered {
	k := &d.kept
	r := raftcore.Recovered{
		HardState: k.hard, Incarnation: d.incarnation, Damaged: d.damaged && !k.hard.Joined, Snapshot: k.snapshot,
		Base: k.base.Last, BaseConf: k.base.Conf, Last: k.base.Last.Index, LastTime: k.base.Time,
	}
	for i := range k.entries {
		r.Note(&k.entries[i])
	}
	r.Tail = slices.Clone(k.entries[max(0, len(k.entries)-tail):])
	return r
}
