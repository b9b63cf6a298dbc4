package rafttest

import (
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// disk is a simulated disk: Saves take effect in order, each one whole; the
// ones that have not completed may or may not survive a crash.
type disk struct {
	kept        contents
	files       map[raftcore.Index]machine // snapshots, by their last index
	incarnation raftcore.Incarnation
	damaged     bool // it has lost its end, and its node has not joined again
	pending     []raftcore.Save
}

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
	return s.Token
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
