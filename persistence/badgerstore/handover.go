package badgerstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// retire hands over full segments until the store is closed. It is a goroutine.
func (s *store) retire() {
	defer close(s.retired)
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		for s.usable() == nil {
			// First, or the handover deletes the keys, and the room comes back only when
			// Badger compacts.
			if err := s.drop(); err != nil && !errors.Is(err, errNoRoomYet) {
				s.fail(fmt.Errorf("making room of removed groups: %w", s.notice(err)))
				return
			}
			if !s.spent() {
				break
			}
			oldest, _ := s.journal.Segments()
			err := s.handOver(oldest)
			if errors.Is(err, errNoRoomYet) {
				s.setRoom(err)
				break
			}
			if err != nil {
				if !errors.Is(err, errQuit) {
					s.fail(fmt.Errorf("handing over %s: %w", s.journal.File(oldest), s.notice(err)))
				}
				return
			}
			s.makeRoom()
		}
	}
}

// errQuit: the store is being closed. What was handed over is handed over again
// another time.
var errQuit = errors.New("the store is being closed")

// errNoRoomYet: the disk is too full. What was done is done again another time.
var errNoRoomYet = errors.New("not yet")

// handOver brings what is still needed of the oldest segment to Badger, and
// retires it. The order is what makes it safe:
//
//  1. Transactions, each durable before the next. Each is consistent by itself
//     with the journal from this segment on replayed over it; so a crash between
//     any two loses nothing, and all of it is done again. A group's value may
//     follow from later records, too, so each says how much of the journal must be
//     there.
//  2. A mark in the journal: Badger must have this many transactions. Badger
//     forgets the end of its log without a word if that is damaged (TRAPS.md,
//     P1); from here on we would notice.
//  3. Only then the segment is gone.
func (s *store) handOver(segment uint32) error {
	s.mu.RLock()
	groups := slices.Clone(s.touched[segment])
	t := transaction{s: s, root: s.root}
	bytes := int64(0)
	for _, g := range groups {
		n, _ := g.upTo(segment)
		for _, e := range g.extents[:n] {
			bytes += int64(e.at.Length)
		}
	}
	s.mu.RUnlock()
	if err := s.roomForBadger(bytes); err != nil {
		return noRoomYet(err)
	}
	for _, g := range groups {
		h := handover{s: s, t: &t, g: g, segment: segment}
		if err := h.run(); err != nil {
			return fmt.Errorf("group %q: %w", g.name, err)
		}
	}
	t.root.next = segment + 1
	if err := t.commit(); err != nil {
		return err
	}
	if err := s.table.sync(); err != nil {
		return err
	}
	b := journal.Batch{Urgent: true} // or nothing could ever be retired when the disk is full
	b.Add(func(b []byte) []byte { return appendMarkRecord(b, t.root.generation) })
	if _, err := s.journal.Append(&b); err != nil {
		return noRoomYet(err)
	}
	if err := s.journal.Retire(segment); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.touched, segment)
	s.mu.Unlock()
	return nil
}

// noRoomYet says of an error that it will pass, if nothing is wrong but that the disk
// is full.
func noRoomYet(err error) error {
	if errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned) {
		return fmt.Errorf("%w: %w", errNoRoomYet, err)
	}
	return err
}

// handover is one group's share of a segment.
type handover struct {
	s       *store
	t       *transaction
	g       *group
	segment uint32

	base    raftcore.Index
	held    raftcore.Index   // Badger has the entries up to here that are to stay
	extents []extent         // what comes behind
	last    raftcore.Index   // the last entry of those
	pending []raftcore.Entry // for the next chunk
	bytes   int
}

func (h *handover) run() error {
	h.s.mu.RLock()
	n, last := h.g.upTo(h.segment)
	h.base, h.held, h.last = h.g.log.Base.Index, h.g.held, last
	h.extents = slices.Clone(h.g.extents[:n])
	h.s.mu.RUnlock()

	if err := h.clean(); err != nil {
		return err
	}
	for i := range h.extents {
		if err := h.extent(i); err != nil {
			return err
		}
	}
	if err := h.flush(); err != nil {
		return err
	}
	return h.t.done(h.g, h.last, h.segment)
}

// clean deletes the chunks that are not the log's any more: those of entries
// that have been replaced, or compacted. What stays of the newest chunk is taken
// out to be written again if entries of it were replaced, or if it is small.
func (h *handover) clean() error {
	var doomed [][]byte
	var newest []byte // the body of the newest chunk that stays
	var newestFirst raftcore.Index
	var newestPieces bool
	number := h.g.number
	err := h.s.table.scan(chunksOf(number), chunksOf(number), func(key, value []byte) (bool, error) {
		first := firstOf(key)
		if first > h.held || h.held == h.base {
			doomed = append(doomed, slices.Clone(key))
			return true, nil
		}
		c, err := decodeChunk(key, value)
		if err != nil {
			return false, h.s.corruptChunk(number, first, err.Error())
		}
		newest, newestFirst, newestPieces = slices.Clone(c.body), first, c.pieces > 0
		return false, nil
	})
	if err != nil {
		return err
	}
	if newestFirst == 0 && h.held > h.base {
		return h.s.corruptChunk(number, h.held, "it is missing")
	}
	if newestPieces && newestFirst != h.held {
		return h.s.corruptChunk(number, newestFirst, fmt.Sprintf("it does not reach entry %d", h.held))
	}
	if !newestPieces && newestFirst > 0 {
		if err := h.reopen(newest); err != nil {
			return h.s.corruptChunk(number, newestFirst, err.Error())
		}
	}
	if doomed, err = h.compacted(doomed); err != nil {
		return err
	}
	if doomed, err = h.pieces(doomed); err != nil {
		return err
	}
	for _, key := range doomed {
		if err := h.t.add(write{key: key}); err != nil {
			return err
		}
	}
	return nil
}

// compacted adds the chunks that lie before the base as a whole.
func (h *handover) compacted(doomed [][]byte) ([][]byte, error) {
	if h.base == 0 || h.held == h.base {
		return doomed, nil
	}
	wanted := true // by the chunk that has the entry after the base
	prefix := chunksOf(h.g.number)
	err := h.s.table.scan(prefix, chunkKey(h.g.number, h.base+1), func(key, _ []byte) (bool, error) {
		if !wanted {
			doomed = append(doomed, slices.Clone(key))
		}
		wanted = false
		return true, nil
	})
	return doomed, err
}

// pieces adds the pieces of chunks that are not the log's any more. They are
// looked for by themselves: an attempt that was interrupted may have left some
// without a chunk.
func (h *handover) pieces(doomed [][]byte) ([][]byte, error) {
	prefix := piecesOf(h.g.number)
	collect := func(key, _ []byte) (bool, error) {
		if first := firstOf(key); first <= h.held && first > h.base {
			return false, nil
		}
		doomed = append(doomed, slices.Clone(key))
		return true, nil
	}
	err := h.s.table.scan(prefix, prefix, collect) // those that are too new
	if err == nil && h.base > 0 && h.held > h.base {
		err = h.s.table.scan(prefix, pieceKey(h.g.number, h.base, 0), collect) // and too old
	}
	return doomed, err
}

// reopen takes the newest chunk up again, if it is not to stay as it is.
func (h *handover) reopen(body []byte) error {
	var entries []raftcore.Entry
	bytes, beyond := 0, false
	err := decodeEntries(body, func(e *raftcore.Entry) error {
		if e.Index > h.held {
			beyond = true
			return errEnough
		}
		entries = append(entries, *e)
		bytes += entryBytes(e)
		return nil
	})
	if err != nil && err != errEnough {
		return err
	}
	if n := len(entries); n == 0 || entries[n-1].Index != h.held {
		return fmt.Errorf("it does not reach entry %d", h.held)
	}
	small := len(entries) < smallChunkEntries && bytes < smallChunkBytes && len(h.extents) > 0
	if beyond || small {
		h.pending, h.bytes = entries, bytes
	}
	return nil
}

// extent moves the entries of an extent into chunks.
func (h *handover) extent(i int) error {
	e, end := h.extents[i], h.last
	if i+1 < len(h.extents) {
		end = h.extents[i+1].first - 1
	}
	records, err := h.s.journal.Read([]journal.Position{e.at})
	if err != nil {
		return err
	}
	next := e.first
	err = h.s.visit(h.g, e.at, records[0], func(entry *raftcore.Entry) error {
		if entry.Index < e.first {
			return nil
		}
		if entry.Index > end {
			return errEnough
		}
		next++
		return h.add(entry)
	})
	if err != nil && err != errEnough {
		return err
	}
	if next != end+1 {
		return &persistence.CorruptError{File: h.s.journal.File(e.at.Segment), Offset: int64(e.at.Offset), Detail: fmt.Sprintf("the record ends before entry %d", end)}
	}
	return nil
}

// add puts an entry into the pending chunk.
func (h *handover) add(e *raftcore.Entry) error {
	if n := len(h.pending); n > 0 && (n >= maxChunkEntries || h.bytes+entryBytes(e) > maxChunkBytes) {
		if err := h.flush(); err != nil {
			return err
		}
	}
	h.pending = append(h.pending, *e)
	h.bytes += entryBytes(e)
	return nil
}

// flush writes the pending chunk.
func (h *handover) flush() error {
	if len(h.pending) == 0 {
		return nil
	}
	number, first := h.g.number, h.pending[0].Index
	last := h.pending[len(h.pending)-1].Index
	c := chunkValue{body: appendEntries(make([]byte, 0, h.bytes), h.pending)}
	clear(h.pending)
	h.pending, h.bytes = h.pending[:0], 0
	if len(c.body) > maxPieceBytes {
		// The pieces mean nothing before the chunk is there, so they may be in
		// earlier transactions.
		c.length, c.sum = uint64(len(c.body)), bodySum(c.body)
		for part := range slices.Chunk(c.body, maxPieceBytes) {
			key := pieceKey(number, first, c.pieces)
			if err := h.t.add(write{key: key, value: encodePiece(key, part)}); err != nil {
				return err
			}
			c.pieces++
		}
		c.body = nil
	}
	key := chunkKey(number, first)
	return h.t.addChunk(h.g, write{key: key, value: c.encode(key)}, last)
}

// transaction collects writes, and commits them when there are enough.
type transaction struct {
	s      *store
	root   root
	writes []write
	bytes  int
	groups []groupWrite // whose values have to be written, too
}

// groupWrite is a group that a transaction touches.
type groupWrite struct {
	g       *group
	last    raftcore.Index // the last entry that is in Badger with it
	settled uint32         // the segment of which Badger has everything then, or 0
}

// add adds a write that may be in any transaction.
func (t *transaction) add(w write) error {
	if t.full() {
		if err := t.commit(); err != nil {
			return err
		}
	}
	t.writes = append(t.writes, w)
	t.bytes += len(w.key) + len(w.value) + 16
	return nil
}

// addChunk adds a chunk that ends with an entry; its group's value goes into the
// same transaction.
func (t *transaction) addChunk(g *group, w write, last raftcore.Index) error {
	if err := t.add(w); err != nil {
		return err
	}
	t.of(g).last = last
	return nil
}

// done adds the end of a group's share of a segment.
func (t *transaction) done(g *group, last raftcore.Index, segment uint32) error {
	if t.full() {
		if err := t.commit(); err != nil {
			return err
		}
	}
	w := t.of(g)
	w.last, w.settled = last, segment
	return nil
}

// of returns the group's place in the transaction.
func (t *transaction) of(g *group) *groupWrite {
	if n := len(t.groups); n == 0 || t.groups[n-1].g != g {
		t.groups = append(t.groups, groupWrite{g: g})
		t.s.mu.RLock()
		t.bytes += g.valueBytes()
		t.s.mu.RUnlock()
	}
	return &t.groups[len(t.groups)-1]
}

func (t *transaction) full() bool {
	return t.bytes > t.s.o.hooks.commitBytes || len(t.writes)+len(t.groups) >= maxCommitKeys
}

// commit makes what was collected durable, and lets the groups know.
func (t *transaction) commit() error {
	select {
	case <-t.s.quit:
		return errQuit
	default:
	}
	s := t.s
	s.mu.RLock()
	for i := range t.groups {
		w := &t.groups[i]
		v := w.g.value(w.last)
		key := groupKey(w.g.number)
		t.writes = append(t.writes, write{key: key, value: v.encode(key)})
		t.root.versions++
		if v.version == 1 {
			t.root.groups++
		}
	}
	s.mu.RUnlock()
	t.root.sequence = s.journal.Sequence()
	if err := s.commitRoot(&t.root, t.writes); err != nil {
		return err
	}
	s.mu.Lock()
	s.root = t.root
	for i := range t.groups {
		w := &t.groups[i]
		w.g.version++
		if w.settled != 0 {
			w.g.settle(w.settled)
		}
	}
	s.mu.Unlock()
	clear(t.writes)
	t.writes, t.groups, t.bytes = t.writes[:0], t.groups[:0], 0
	return nil
}

// commitRoot commits writes, with the next generation of the root and its ticket.
func (s *store) commitRoot(r *root, writes []write) error {
	r.generation++
	ticket := ticketKey(r.generation)
	writes = append(writes, write{key: rootKey, value: r.encode()}, write{key: ticket, value: encodeTicket(ticket, r.generation)})
	return s.table.commit(writes)
}
