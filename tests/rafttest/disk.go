package rafttest

import (
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// disk is a simulated disk: Saves take effect in order, each one whole; the
// ones that have not completed may or may not survive a crash.
type disk struct {
	kept        contents
	incarnation raftcore.Incarnation
	pending     []raftcore.Save
}

// contents is what a disk holds.
type contents struct {
	hard    raftcore.HardState
	entries []raftcore.Entry // entries[i] has index i+1
}

func (c *contents) apply(s raftcore.Save) {
	c.hard = s.HardState
	if len(s.Entries) == 0 {
		return
	}
	if keep := int(s.Entries[0].Index - 1); keep < len(c.entries) {
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

// load reads saved entries.
func (d *disk) load(l raftcore.Load) []raftcore.Entry {
	var out []raftcore.Entry
	bytes := 0
	for i := l.From; i <= l.To && int(i) <= len(d.kept.entries); i++ {
		e := d.kept.entries[i-1]
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
	r := raftcore.Recovered{HardState: d.kept.hard, Incarnation: d.incarnation}
	for i := range d.kept.entries {
		r.Note(&d.kept.entries[i])
	}
	r.Tail = slices.Clone(d.kept.entries[max(0, len(d.kept.entries)-tail):])
	return r
}
