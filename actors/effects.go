package actors

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/castaway-go/castaway/raftcore"
)

// effects is the table of what the machine wants done and nobody is known to have done,
// of a group. It is part of the replicated state, like the table of sessions: every member
// has the same, and it is in every snapshot. What has been done, or has happened, is an
// entry of kind raftcore.EntryHost:
//
//	sent    = 16 id            the Sends up to this one have been sent
//	appends = 17 id            the Append: its command is in the table
//	rings   = 18 set name      the timer that was set at this entry has gone off
//	down    = 19 set name      the actor that was to be monitored from this entry on is gone
//	id = index n; index, n, set = uvarint
//
// The machine writes the table, and the effector reads it when this member leads.
type effects struct {
	mu       sync.Mutex
	sends    []queuedEffect // ascending
	appends  []queuedEffect // ascending
	timers   map[string]timer
	monitors map[string]raftcore.Index // the entries that asked for it
	bytes    int                       // of sends and appends

	armed bool     // rings is kept
	rings timerSet // of timers, the earliest first; some of them may be there no more
}

// queuedEffect is a Send or an Append.
type queuedEffect struct {
	id   EffectID
	to   string
	data []byte
}

type timer struct {
	at  int64          // ms
	set raftcore.Index // the entry that set it: one that is set again is another one
}

// The kinds of what the table is told.
const (
	effectSent byte = iota + 16
	effectAppends
	effectRings
	effectDown
)

// maxOutbox bounds the Sends and Appends that wait to be carried out: beyond it nothing is
// proposed.
const (
	maxOutbox      = 64 << 20
	queuedOverhead = 64
)

var errOutbox = &BusyError{What: "bytes of effects that wait to be carried out", Used: maxOutbox, Limit: maxOutbox}

func newEffects() *effects {
	return &effects{timers: map[string]timer{}, monitors: map[string]raftcore.Index{}}
}

// orderEffects is an order for the table of effects, or lookAtSessions. The effector alone
// gives it, to its own node.
const orderEffects Operation = 48

// isEffectOrder reports whether data, of an entry of kind raftcore.EntryHost, is for this
// table.
func isEffectOrder(data []byte) bool {
	return len(data) > 0 && data[0] >= effectSent && data[0] <= effectDown
}

// effectOrder is an entry for the table, decoded.
type effectOrder struct {
	kind byte
	id   EffectID
	set  raftcore.Index
	name string // of the timer, or the actor
}

func (o effectOrder) encode() []byte {
	b := append(make([]byte, 0, 32+len(o.name)), o.kind)
	switch o.kind {
	case effectSent, effectAppends:
		b = binary.AppendUvarint(b, uint64(o.id.Index))
		b = binary.AppendUvarint(b, o.id.N)
	case effectRings, effectDown:
		b = binary.AppendUvarint(b, uint64(o.set))
		b = append(b, o.name...)
	}
	return b
}

var errNoEffectOrder = errors.New("it is no order for the table of effects")

// decodeEffectOrder decodes what encode has made.
func decodeEffectOrder(b []byte) (o effectOrder, err error) {
	if len(b) == 0 {
		return o, errNoEffectOrder
	}
	r := tableReader{b: b[1:]}
	switch o.kind = b[0]; o.kind {
	case effectSent, effectAppends:
		o.id = EffectID{raftcore.Index(r.uvarint()), r.uvarint()}
	case effectRings, effectDown:
		o.set = raftcore.Index(r.uvarint())
		o.name, r.b = string(r.b), nil
	default:
		return o, errNoEffectOrder
	}
	if r.bad || len(r.b) > 0 {
		return o, errNoEffectOrder
	}
	return o, nil
}

// apply carries out an order; run has the state machine apply what comes of it.
func (t *effects) apply(e *raftcore.Entry, run func(Entry)) {
	o, err := decodeEffectOrder(e.Data)
	if err != nil {
		// To skip it is to have another state than members of a later version.
		panic(fmt.Errorf("entry %d: %w, or one of a later version", e.Index, err))
	}
	if event, is := t.take(&o); is {
		run(event)
	}
}

// take takes out of the table what has been done, and returns what the machine is told.
// What is not there was done before.
func (t *effects) take(o *effectOrder) (event Entry, is bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch o.kind {
	case effectSent:
		n := sort.Search(len(t.sends), func(i int) bool { return o.id.Before(t.sends[i].id) })
		for i := range n {
			t.bytes -= t.sends[i].size()
		}
		t.sends = slices.Delete(t.sends, 0, n)
	case effectAppends:
		i, found := slices.BinarySearchFunc(t.appends, o.id, compareEffect)
		if !found {
			return event, false
		}
		data := t.appends[i].data
		t.bytes -= t.appends[i].size()
		t.appends = slices.Delete(t.appends, i, i+1)
		return Entry{Data: data}, true
	case effectRings:
		if now, is := t.timers[o.name]; !is || now.set != o.set {
			return event, false
		}
		delete(t.timers, o.name)
		return Entry{Timer: o.name}, true
	case effectDown:
		if now, is := t.monitors[o.name]; !is || now != o.set {
			return event, false
		}
		delete(t.monitors, o.name)
		return Entry{Down: o.name}, true
	}
	return event, false
}

func compareEffect(q queuedEffect, id EffectID) int {
	switch {
	case q.id.Before(id):
		return -1
	case id.Before(q.id):
		return 1
	}
	return 0
}

func (q *queuedEffect) size() int {
	return len(q.data) + len(q.to) + queuedOverhead
}

// add notes the effects that an entry had.
func (t *effects) add(index raftcore.Index, done []Effect) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, e := range done {
		id := EffectID{index, uint64(n)}
		switch e := e.(type) {
		case Send:
			t.sends = append(t.sends, t.queued(id, e.To, e.Data))
		case Append:
			t.appends = append(t.appends, t.queued(id, "", e.Data))
		case SetTimer:
			t.timers[e.Name] = timer{e.At.UnixMilli(), index}
			t.arm(e.Name)
		case StopTimer:
			delete(t.timers, e.Name)
		case Monitor:
			t.monitors[e.Actor] = index
		case Demonitor:
			delete(t.monitors, e.Actor)
		}
	}
}

// queued makes data the table's own: the machine may hold on to it.
func (t *effects) queued(id EffectID, to string, data []byte) queuedEffect {
	q := queuedEffect{id, to, slices.Clone(data)}
	t.bytes += q.size()
	return q
}

// size returns how many bytes wait to be carried out.
func (t *effects) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// sendsAfter returns the Sends that come after one.
func (t *effects) sendsAfter(id EffectID) []queuedEffect {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := sort.Search(len(t.sends), func(i int) bool { return id.Before(t.sends[i].id) })
	return slices.Clone(t.sends[n:])
}

// unsaid reports whether a Send up to this one has been sent, and the log does not say so.
func (t *effects) unsaid(id EffectID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sends) > 0 && !id.Before(t.sends[0].id)
}

// appendsNow returns the first Appends.
func (t *effects) appendsNow(most int) []queuedEffect {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.appends[:min(most, len(t.appends))])
}

// monitored returns the actors that are monitored.
func (t *effects) monitored() map[string]raftcore.Index {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.monitors)
}

// ring is a timer in the order of time.
type ring struct {
	timer
	name string
}

type timerSet []ring

func (s timerSet) Len() int { return len(s) }
func (s timerSet) Less(i, k int) bool {
	return s[i].at < s[k].at || s[i].at == s[k].at && s[i].name < s[k].name
}
func (s timerSet) Swap(i, k int) { s[i], s[k] = s[k], s[i] }
func (s *timerSet) Push(x any)   { *s = append(*s, x.(ring)) }
func (s *timerSet) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

// arm keeps a timer in order, if this member leads.
func (t *effects) arm(name string) {
	if !t.armed {
		return
	}
	if len(t.rings) > 2*len(t.timers)+64 { // most were set again, or stopped
		t.sort()
		return
	}
	heap.Push(&t.rings, ring{t.timers[name], name})
}

func (t *effects) sort() {
	t.rings = t.rings[:0]
	for _, name := range slices.Sorted(maps.Keys(t.timers)) {
		t.rings = append(t.rings, ring{t.timers[name], name})
	}
	heap.Init(&t.rings)
}

// leads begins to keep the timers in order, or ends it.
func (t *effects) leads(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed, t.rings = yes, nil
	if yes {
		t.sort()
	}
}

// due takes the timers that have gone off out of their order, and returns them, and when
// the next one will; 0: there is none.
func (t *effects) due(now int64) (due []ring, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.rings) > 0 {
		first := t.rings[0]
		if t.timers[first.name] == first.timer {
			if first.at > now {
				return due, first.at
			}
			due = append(due, first)
		}
		heap.Pop(&t.rings)
	}
	return due, 0
}

// isSet reports whether a timer that has gone off is still to be told.
func (t *effects) isSet(r ring) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.timers[r.name] == r.timer
}

// encode returns the table as it is in a snapshot:
//
//	table   = count queued …  count queued …  count timer …  count monitor …
//	queued  = index n size to size data                 Sends, then Appends: ascending
//	timer   = size name at set                          by name
//	monitor = size actor set                            ascending
//	all numbers are uvarint, but for at, which is varint
func (t *effects) encode() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := func(b []byte, s string) []byte {
		return append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b := make([]byte, 0, t.bytes+64*(len(t.timers)+len(t.monitors))+16)
	for _, queue := range [][]queuedEffect{t.sends, t.appends} {
		b = binary.AppendUvarint(b, uint64(len(queue)))
		for i := range queue {
			q := &queue[i]
			b = binary.AppendUvarint(b, uint64(q.id.Index))
			b = binary.AppendUvarint(b, q.id.N)
			b = text(b, q.to)
			b = append(binary.AppendUvarint(b, uint64(len(q.data))), q.data...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(t.timers)))
	for _, name := range slices.Sorted(maps.Keys(t.timers)) {
		b = text(b, name)
		b = binary.AppendVarint(b, t.timers[name].at)
		b = binary.AppendUvarint(b, uint64(t.timers[name].set))
	}
	b = binary.AppendUvarint(b, uint64(len(t.monitors)))
	for _, a := range sorted(t.monitors) {
		b = text(b, a)
		b = binary.AppendUvarint(b, uint64(t.monitors[a]))
	}
	return b
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

var errBadEffects = errors.New("the table of effects cannot be read")

func decodeEffects(b []byte) (*effects, error) {
	t := newEffects()
	r := tableReader{b: b}
	for _, queue := range []*[]queuedEffect{&t.sends, &t.appends} {
		for range r.count() {
			q := queuedEffect{
				id: EffectID{raftcore.Index(r.uvarint()), r.uvarint()},
				to: string(r.bytes()), data: r.bytes(),
			}
			if n := len(*queue); n > 0 && !(*queue)[n-1].id.Before(q.id) {
				return nil, errBadEffects
			}
			*queue = append(*queue, q)
			t.bytes += q.size()
		}
	}
	for range r.count() {
		name := string(r.bytes())
		t.timers[name] = timer{r.varint(), raftcore.Index(r.uvarint())}
	}
	for range r.count() {
		actor := string(r.bytes())
		t.monitors[actor] = raftcore.Index(r.uvarint())
	}
	if r.bad || len(r.b) > 0 {
		return nil, errBadEffects
	}
	return t, nil
}
