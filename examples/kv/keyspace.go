package main

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
)

// keyspace is what the machine remembers: strings by key. It knows one clock,
// the log's.
type keyspace struct {
	shards   []map[string]*entry // by the first bits of place
	size     int
	volatile deadlines // the entries with a deadline
	now      int64     // log time, Unix milliseconds

	// asOf is what the asker of a query takes the time for, and overdue whether
	// the answer depends on a key that is there by log time, and gone by asOf.
	asOf    int64
	overdue bool

	// lot is what RANDOMKEY draws. What is answered through the log must be drawn from
	// the log.
	lot uint64

	image *image // that is being written, or the last one
}

// entry is one key and its value.
type entry struct {
	key      string
	value    []byte
	deadline int64 // log time at which it is gone; 0: never
	slot     int   // in keyspace.volatile, if it has a deadline
}

// The keys are spread over many small maps, in the order of their hashes, so
// that SCAN can walk along the hashes, and none of them takes long to grow.
const (
	placeBits = 48 // some clients keep a cursor in a float64
	shardBits = 12
)

// place is a key's position in the order of SCAN. It is the same on all members
// and in all runs, so that a client can go on with a SCAN anywhere.
func place[T string | []byte](key T) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= h >> 33 // FNV leaves the high bits of short keys much alike
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h >> (64 - placeBits)
}

func shardOf[T string | []byte](key T) int { return int(place(key) >> (placeBits - shardBits)) }

func newKeyspace() *keyspace {
	return &keyspace{shards: make([]map[string]*entry, 1<<shardBits)}
}

// changing comes before every change of an entry.
func (k *keyspace) changing(e *entry) {
	if k.image != nil {
		k.image.save(shardOf(e.key))
	}
}

// get returns the entry of a key, or nil. It may be read.
func (k *keyspace) get(key []byte) *entry {
	e := k.shards[shardOf(key)][string(key)]
	if e != nil && e.deadline != 0 && e.deadline <= k.asOf {
		k.overdue = true
	}
	return e
}

// all notes that an answer depends on every key.
func (k *keyspace) all() {
	if k.earliest() != 0 && k.earliest() <= k.asOf {
		k.overdue = true
	}
}

// set gives a key a value, and takes its deadline away.
func (k *keyspace) set(key, value []byte) *entry {
	e := k.make(key)
	k.assign(e, value)
	k.persist(e)
	return e
}

// make returns the entry of a key; a new one is empty. Its value may be changed.
func (k *keyspace) make(key []byte) *entry {
	shard := shardOf(key)
	k.image.save(shard)
	if e := k.shards[shard][string(key)]; e != nil {
		return e
	}
	if k.shards[shard] == nil {
		k.shards[shard] = map[string]*entry{}
	}
	e := &entry{key: string(key)}
	k.shards[shard][e.key] = e
	k.size++
	return e
}

// assign copies value: it is part of a log entry. The old value's memory is used
// again unless that would waste much of it.
func (k *keyspace) assign(e *entry, value []byte) {
	k.changing(e)
	if c := cap(e.value); c < len(value) || c > 2*len(value)+64 {
		e.value = make([]byte, 0, len(value))
	}
	e.value = append(e.value[:0], value...)
}

func (k *keyspace) remove(e *entry) {
	k.changing(e)
	k.persist(e)
	delete(k.shards[shardOf(e.key)], e.key)
	k.size--
}

func (k *keyspace) clear() {
	k.shards = make([]map[string]*entry, len(k.shards)) // an image may have the old ones
	k.size = 0
	k.volatile = nil
}

// expire gives an entry a deadline. One that has passed removes it at once.
func (k *keyspace) expire(e *entry, deadline int64) {
	switch {
	case deadline <= k.now:
		k.remove(e)
	case e.deadline == 0:
		k.changing(e)
		e.deadline = deadline
		heap.Push(&k.volatile, e)
	default:
		k.changing(e)
		e.deadline = deadline
		heap.Fix(&k.volatile, e.slot)
	}
}

// persist takes an entry's deadline away, and reports whether it had one.
func (k *keyspace) persist(e *entry) bool {
	if e.deadline == 0 {
		return false
	}
	k.changing(e)
	heap.Remove(&k.volatile, e.slot)
	e.deadline = 0
	return true
}

// advance moves the clock. Whatever reaches its deadline is gone, before
// anything else happens at that time.
func (k *keyspace) advance(now int64) {
	k.now = max(k.now, now)
	for len(k.volatile) > 0 && k.volatile[0].deadline <= k.now {
		k.remove(k.volatile[0])
	}
}

// earliest returns the first deadline to come, or zero.
func (k *keyspace) earliest() int64 {
	if len(k.volatile) == 0 {
		return 0
	}
	return k.volatile[0].deadline
}

// scan visits the keys in the order of their places, from cursor on, until visit
// returns false. It returns the cursor to go on with, or zero at the end.
//
// Nothing is remembered between calls, and a key's place never changes. So
// whoever follows the cursors from zero to zero passes every place once, and
// meets every key that was there the whole time exactly once, whatever else came
// and went meanwhile.
func (k *keyspace) scan(cursor uint64, visit func(*entry) bool) (next uint64) {
	type placed struct {
		at uint64
		*entry
	}
	var found []placed
	more, last := true, uint64(0)
	for shard := cursor >> (placeBits - shardBits); shard < uint64(len(k.shards)); shard++ {
		found = found[:0]
		for key, e := range k.shards[shard] {
			if at := place(key); at >= cursor {
				found = append(found, placed{at, e})
			}
		}
		slices.SortFunc(found, func(a, b placed) int {
			return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key))
		})
		for _, f := range found {
			// Keys of one place go together: a cursor could not tell them apart.
			if !more && f.at != last {
				return f.at
			}
			more = visit(f.entry) && more
			last = f.at
		}
	}
	return 0
}

// random returns some entry, or nil: the next one from where the lot falls.
func (k *keyspace) random() (e *entry) {
	k.lot = k.lot*6364136223846793005 + 1442695040888963407
	first := func(found *entry) bool {
		e = found
		return false
	}
	k.scan(k.lot>>(64-placeBits), first)
	if e == nil {
		k.scan(0, first)
	}
	return e
}

// deadlines is a heap of the volatile entries, the earliest first.
type deadlines []*entry

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline < d[j].deadline }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].slot, d[j].slot = i, j
}

func (d *deadlines) Push(e any) {
	e.(*entry).slot = len(*d)
	*d = append(*d, e.(*entry))
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return e
}
