package raftcore

import (
	"math"
	"slices"
)

// log is what a node knows of its log: the term of every entry, and the newest
// entries themselves. It reads no disk: what has left the window is asked for
// with a Load.
//
//	base ≤ saved ≤ handed ≤ last         commit ≤ last
//	  |───────|───────|──────|
//	  |  on disk      |      not yet in a Save
//	          in a Save
//
// handed counts only what the disk will agree with: after a truncation the
// entries that take the place of others are on no Save yet.
type log struct {
	base     EntryID // the entry before the first one that has a term here
	runs     []TermRun
	last     Index
	lastTime int64
	commit   Index

	window window // ends in last

	handed Index
	saved  Index
	saving []saving // Saves that were handed out and not completed, oldest first
	// replaced, if not zero, is the first entry that a snapshot has replaced which
	// is in no Save yet.
	replaced Index
}

// saving is a Save under way: entries first to last, or none (last is zero).
type saving struct {
	sequence    uint64
	first, last Index
	since       Instant // when it was handed out
}

func newLog(r *Recovered) log {
	l := log{base: r.Base, runs: slices.Clone(r.Runs), last: r.Last, lastTime: r.LastTime, commit: max(r.Base.Index, r.Snapshot.Last.Index), handed: r.Last, saved: r.Last}
	l.window.append(r.Tail)
	return l
}

// lastID returns the identity of the last entry.
func (l *log) lastID() EntryID { return EntryID{Term: l.lastTerm(), Index: l.last} }

func (l *log) lastTerm() Term {
	if len(l.runs) == 0 {
		return l.base.Term
	}
	return l.runs[len(l.runs)-1].Term
}

// term returns the term of entry i. It is unknown before base and after last.
func (l *log) term(i Index) (t Term, known bool) {
	if i == l.base.Index {
		return l.base.Term, true
	}
	if i < l.base.Index || i > l.last {
		return 0, false
	}
	// Nearly always asked about the end of the log.
	k := len(l.runs) - 1
	for l.runs[k].First > i {
		k--
	}
	return l.runs[k].Term, true
}

// has reports whether the log holds this very entry. Entries before base are
// committed, and were cut off because of that: what a leader says of them is
// taken as it is.
func (l *log) has(id EntryID) bool {
	if id.Index < l.base.Index {
		return true
	}
	t, known := l.term(id.Index)
	return known && t == id.Term
}

// newestUpTo returns the newest entry that might equal one with identity id or
// an ancestor of it: its index is at most id.Index and its term at most
// id.Term. A follower answers a mismatch with it, and the leader looks the
// answer up in its own log the same way: each round trip skips at least one
// whole term on one of the two sides.
func (l *log) newestUpTo(id EntryID) EntryID {
	i := min(id.Index, l.last)
	for k := len(l.runs) - 1; k >= 0; k-- {
		run := l.runs[k]
		if run.First > i {
			continue
		}
		if run.Term <= id.Term {
			return EntryID{Term: run.Term, Index: i}
		}
		i = run.First - 1
	}
	return l.base
}

// push adds an entry, which follows last.
func (l *log) push(e *Entry) {
	l.note(e)
	l.window.push(e)
}

// append adds entries, which follow last. It keeps their slice.
func (l *log) append(entries []Entry) {
	for i := range entries {
		l.note(&entries[i])
	}
	l.window.append(entries)
}

// note takes down what stays known of an entry when it has left the window.
func (l *log) note(e *Entry) {
	if n := len(l.runs); n == 0 || l.runs[n-1].Term != e.Term {
		l.runs = append(l.runs, TermRun{First: e.Index, Term: e.Term})
	}
	l.last = e.Index
	l.lastTime = max(l.lastTime, e.Time)
}

// truncate cuts off entry i and all after it.
func (l *log) truncate(i Index) {
	for n := len(l.runs); n > 0 && l.runs[n-1].First >= i; n-- {
		l.runs = l.runs[:n-1]
	}
	if first := l.windowFirst(); i <= first {
		l.window.clear()
	} else {
		l.window.cut(int(i - first))
	}
	l.last = i - 1
	l.handed = min(l.handed, l.last)
	l.saved = min(l.saved, l.last)
}

// windowFirst returns the index of the first entry in the window.
func (l *log) windowFirst() Index { return l.last + 1 - Index(len(l.window.entries)) }

// slice returns entries from on, as far as to, that are in the window: at most
// maxBytes of them, but at least one. It returns nil if from has left the window.
func (l *log) slice(from, to Index, maxBytes int) []Entry {
	first := l.windowFirst()
	to = min(to, l.last)
	if from < first || from > to {
		return nil
	}
	lo, hi := int(from-first), int(to-first)+1
	if l.window.bytes <= maxBytes {
		return l.window.entries[lo:hi:hi]
	}
	return within(l.window.entries[lo:hi], maxBytes)
}

// within returns the first of some entries: at most maxBytes of them, but at
// least one.
func within(entries []Entry, maxBytes int) []Entry {
	n, bytes := 0, 0
	for n < len(entries) {
		bytes += entries[n].Size()
		if bytes > maxBytes && n > 0 {
			break
		}
		n++
	}
	return entries[:n:n]
}

// forget lets go of the entries up to needless, and of older ones than the rest
// until it fits maxBytes, but of none after safe.
func (l *log) forget(needless, safe Index, maxBytes int) {
	w := &l.window
	before := func(i Index) int { return max(int(i+1)-int(l.windowFirst()), 0) }
	w.drop(max(before(min(needless, safe)), w.excess(before(safe), maxBytes)))
}

// unsavedBytes returns the size of what the disk does not have yet.
func (l *log) unsavedBytes() int {
	bytes := 0
	w := l.window.entries
	for k := len(w) - 1; k >= 0 && w[k].Index > l.saved; k-- {
		bytes += w[k].Size()
	}
	return bytes
}

// compact forgets the entries up to a new base, which is in the log.
func (l *log) compact(base EntryID) {
	first := base.Index + 1
	n := 0
	for n < len(l.runs) && (n+1 < len(l.runs) && l.runs[n+1].First <= first || n+1 == len(l.runs) && l.last < first) {
		n++
	}
	l.runs = slices.Clone(l.runs[n:])
	if len(l.runs) > 0 {
		l.runs[0].First = max(l.runs[0].First, first)
	}
	l.window.drop(int(first) - int(l.windowFirst()))
	l.base = base
}

// reset puts a snapshot in the place of the whole log. Of what the disk has,
// what is committed still counts until the Save of the snapshot is done; what
// comes after it has been overruled.
func (l *log) reset(s *SnapshotMeta) {
	l.saved = min(l.saved, l.commit)
	if l.replaced == 0 || l.saved < l.replaced {
		l.replaced = l.saved + 1
	}
	l.base, l.runs = s.Last, nil
	l.last, l.lastTime = s.Last.Index, s.Time
	l.window.clear()
	l.commit = s.Last.Index
	l.handed = s.Last.Index
}

// savingSince returns when the oldest Save under way was handed out; zero if none
// is.
func (l *log) savingSince() Instant {
	if len(l.saving) == 0 {
		return 0
	}
	return l.saving[0].since
}

// toSave returns the entries that are in no Save yet, and notes that the Save
// with this sequence number carries them.
func (l *log) toSave(sequence uint64, now Instant) []Entry {
	s := saving{sequence: sequence, since: now}
	var entries []Entry
	if l.handed < l.last {
		entries = l.slice(l.handed+1, l.last, math.MaxInt)
		s.first, s.last = l.handed+1, l.last
		l.handed = l.last
	}
	if l.replaced > 0 {
		s.first, s.last = l.replaced, l.last
		l.replaced = 0
	}
	l.saving = append(l.saving, s)
	return entries
}

// complete notes that all Saves up to sequence are durable.
//
// It is not enough that an entry was written once: if a later Save that is
// still under way replaces it, a crash may leave either, even when a third Save
// brings the very same entry back (the ABA trap). So nothing from the first
// entry of a Save under way on counts as saved.
func (l *log) complete(sequence uint64) {
	durable := l.saved
	n := 0
	for ; n < len(l.saving) && l.saving[n].sequence <= sequence; n++ {
		if l.saving[n].last > 0 {
			durable = l.saving[n].last
		}
	}
	l.saving = slices.Delete(l.saving, 0, n)
	durable = min(durable, l.handed)
	if l.replaced > 0 {
		durable = min(durable, l.replaced-1)
	}
	for _, s := range l.saving {
		if s.last > 0 {
			durable = min(durable, s.first-1)
		}
	}
	l.saved = durable
}
