package raftcore

import "slices"

// window holds the newest entries of a log, contiguous. Slices of it are handed
// out, to be kept: so its arrays are only ever appended to. For the same reason
// it need not copy entries that were handed in.
type window struct {
	entries []Entry
	bytes   int // of entries
	spent   int // bytes that have left entries and are still in its array
	length  int // of the present array, or of the one before
}

// An array that is used up is followed by one of twice the length, within these
// bounds, if that is enough. The upper one is the largest that Go's allocator
// keeps at hand: 32 KiB.
const (
	minLength = 64
	maxLength = 512
)

// maxSpent is how many bytes may stay in an array after they have left the
// window. It is of no use to go below what the entries take.
const maxSpent = 64 << 10

// push adds an entry.
func (w *window) push(e *Entry) {
	w.grow(1)
	w.entries = append(w.entries, *e)
	w.bytes += e.Size()
}

// append adds entries. If there is no room for them, and nothing to keep them
// together with, their slice becomes the window's: no copy, no new array.
func (w *window) append(entries []Entry) {
	for i := range entries {
		w.bytes += entries[i].Size()
	}
	if len(w.entries) == 0 && len(entries) > cap(w.entries) {
		w.entries, w.spent = slices.Clip(entries), 0
		return
	}
	w.grow(len(entries))
	w.entries = append(w.entries, entries...)
}

// grow makes room for n entries more.
func (w *window) grow(n int) {
	if need := len(w.entries) + n; need > cap(w.entries) {
		w.length = min(max(2*w.length, minLength), maxLength)
		w.move(max(w.length, need+need/2))
	}
}

// move takes the entries to an array of their own.
func (w *window) move(capacity int) {
	w.entries = append(make([]Entry, 0, capacity), w.entries...)
	w.spent = 0
}

// clear forgets the entries, and lets go of their array.
func (w *window) clear() { *w = window{} }

// cut forgets all entries but the first n. Their array has been handed out, so
// the next one must not be written over them.
func (w *window) cut(n int) {
	for i := n; i < len(w.entries); i++ {
		w.bytes -= w.entries[i].Size()
	}
	w.entries = w.entries[:n:n]
}

// drop forgets the n oldest entries.
func (w *window) drop(n int) {
	if n <= 0 {
		return
	}
	before := w.bytes
	if n >= len(w.entries) {
		n, w.bytes = len(w.entries), 0
	} else {
		for i := range n {
			w.bytes -= w.entries[i].Size()
		}
	}
	w.spent += before - w.bytes
	w.entries = w.entries[n:]
	switch {
	case len(w.entries) == 0 && (cap(w.entries) == 0 || w.spent > maxSpent):
		w.entries, w.spent = nil, 0
	case w.spent > max(maxSpent, w.bytes):
		w.move(max(w.length, len(w.entries)+len(w.entries)/2))
	}
}

// excess returns how many of the oldest entries have to go for the others to fit
// maxBytes, if no more than limit can.
func (w *window) excess(limit, maxBytes int) int {
	n := 0
	for bytes := w.bytes; bytes > maxBytes && n < limit; n++ {
		bytes -= w.entries[n].Size()
	}
	return n
}
