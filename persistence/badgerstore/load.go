package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

const (
	// maxTailBytes bounds the newest entries that a group is opened with.
	maxTailBytes = 1 << 20
	// allTailBytes is what the tails of all groups may take together.
	allTailBytes = 64 << 20
	// minTailBytes is what each gets however many there are.
	minTailBytes = 16 << 10
)

// Load reads saved entries. It may run beside anything but Close.
func (s *store) Load(id persistence.GroupID, l raftcore.Load) ([]raftcore.Entry, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	g, err := s.group(id)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	entries, err := s.load(g, l.From, l.To, l.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("group %q: entries %d to %d: %w", g.name, l.From, l.To, s.notice(err))
	}
	return entries, nil
}

// loading is the reading of a range of entries, planned under the lock and
// carried out without it.
type loading struct {
	s        *store
	g        *group
	from, to raftcore.Index
	maxBytes int

	changes uint64
	held    raftcore.Index
	extents []extent       // those that are wanted
	end     raftcore.Index // the last entry of the last one

	entries []raftcore.Entry
	bytes   int
}

// load reads entries without holding a lock, and again if what it planned with
// did not last: a segment was retired, or entries were cut off.
func (s *store) load(g *group, from, to raftcore.Index, maxBytes int) ([]raftcore.Entry, error) {
	for {
		l := &loading{s: s, g: g, from: from, to: to, maxBytes: max(maxBytes, 0)}
		if err := l.plan(); err != nil {
			return nil, err
		}
		err := l.read()
		lasted, checkErr := l.check(err == nil)
		if lasted && !errors.Is(err, journal.ErrRetired) {
			return l.entries, errors.Join(err, checkErr)
		}
	}
}

// maxPrepared is for how many entries there is room before it is known how many
// there will be.
const maxPrepared = 1024

// plan takes note of where the entries are.
func (l *loading) plan() error {
	l.s.mu.RLock()
	defer l.s.mu.RUnlock()
	g := l.g
	if l.from <= g.log.Base.Index || l.from > l.to || l.to > g.log.Last {
		return fmt.Errorf("they are not all in the log, which goes from %d to %d", g.log.Base.Index+1, g.log.Last)
	}
	l.changes, l.held = g.changes, g.held
	l.entries = make([]raftcore.Entry, 0, min(l.to-l.from+1, maxPrepared))
	// Twice as many bytes of records as of entries: small entries may be more than
	// half framing, and then fewer are returned than would fit. The first record
	// does not count: of that maybe only the last entry is wanted.
	limit := 2 * min(l.maxBytes, math.MaxInt/2)
	at := sort.Search(len(g.extents), func(i int) bool { return g.end(i) >= l.from })
	for bytes := 0; at < len(g.extents) && g.extents[at].first <= l.to && bytes <= limit; at++ {
		if len(l.extents) > 0 {
			bytes += int(g.extents[at].at.Length)
		}
		l.extents = append(l.extents, g.extents[at])
		l.end = g.end(at)
	}
	return nil
}

// check reports whether the entries of the plan are still the log's, and looks
// whether what was read is what the log says: an entry is told by its index and
// its term.
func (l *loading) check(read bool) (lasted bool, err error) {
	l.s.mu.RLock()
	defer l.s.mu.RUnlock()
	if l.changes != l.g.changes {
		return false, nil
	}
	if !read {
		return true, nil
	}
	if len(l.entries) == 0 {
		return true, &persistence.CorruptError{File: l.s.o.Dir, Detail: "none of them was found"}
	}
	for i := range l.entries {
		e := &l.entries[i]
		if want := l.g.term(e.Index); e.Term != want || e.Index != l.from+raftcore.Index(i) {
			l.entries = nil
			return true, &persistence.CorruptError{File: l.s.o.Dir, Detail: fmt.Sprintf("where entry %d of term %d should be, entry %d of term %d was found", l.from+raftcore.Index(i), want, e.Index, e.Term)}
		}
	}
	return true, nil
}

// read carries the plan out.
func (l *loading) read() error {
	if l.from <= l.held {
		if more, err := l.fromTable(); err != nil || !more {
			return err
		}
	}
	// A few records at a time: entries may be larger in memory than thought.
	for i := 0; i < len(l.extents); {
		n, bytes := i, 0
		for n < len(l.extents) && (n == i || bytes < 256<<10) {
			bytes += int(l.extents[n].at.Length)
			n++
		}
		if more, err := l.fromJournal(i, n); err != nil || !more {
			return err
		}
		i = n
	}
	return nil
}

// take adds an entry if it is the next one that is wanted. It returns false if
// no more are.
func (l *loading) take(e *raftcore.Entry) (more bool) {
	next := l.next()
	if e.Index != next {
		return e.Index < next
	}
	if l.bytes += len(e.Data); l.bytes > l.maxBytes && len(l.entries) > 0 {
		return false
	}
	l.entries = append(l.entries, *e)
	return e.Index < l.to
}

var errEnough = errors.New("enough")

// fromJournal reads the records of extents i to n-1.
func (l *loading) fromJournal(i, n int) (more bool, err error) {
	positions := make([]journal.Position, 0, n-i)
	for _, e := range l.extents[i:n] {
		positions = append(positions, e.at)
	}
	records, err := l.s.journal.Read(positions)
	if err != nil {
		return false, err
	}
	for k, record := range records {
		e := l.extents[i+k]
		end := l.end
		if i+k+1 < len(l.extents) {
			end = l.extents[i+k+1].first - 1
		}
		err := l.s.visit(l.g, e.at, record, func(entry *raftcore.Entry) error {
			if entry.Index >= e.first && (entry.Index > end || !l.take(entry)) {
				return errEnough
			}
			return nil
		})
		if err == errEnough && l.next() <= min(end, l.to) {
			return false, nil
		}
		if err != nil && err != errEnough {
			return false, err
		}
	}
	return l.next() <= l.to, nil
}

// visit decodes the entries of a journal record of a group.
func (s *store) visit(g *group, at journal.Position, record []byte, visit func(*raftcore.Entry) error) error {
	r := reader{b: record}
	if r.byte() == recordSave {
		save, err := r.saveRecord()
		if err == nil && save.number == g.number {
			if err = decodeEntries(save.body, visit); !errors.Is(err, errMalformed) {
				return err
			}
		}
	}
	return &persistence.CorruptError{File: s.journal.File(at.Segment), Offset: int64(at.Offset), Detail: fmt.Sprintf("this is not a record of group %d", g.number)}
}

// fromTable reads the entries that Badger has.
func (l *loading) fromTable() (more bool, err error) {
	to := min(l.to, l.held)
	for {
		next := l.next()
		if next > to {
			return next <= l.to, nil
		}
		left := max(0, min(l.maxBytes-l.bytes, readAheadBytes))
		chunks, err := l.s.chunks(l.g.number, next, next+min(to-next, l.ahead(left)), 2*left+maxChunkBytes)
		if err != nil {
			return false, err
		}
		for i := range chunks {
			if more, err := l.fromChunk(&chunks[i], to); err != nil || !more {
				return false, err
			}
		}
	}
}

// next is the entry that is wanted next.
func (l *loading) next() raftcore.Index { return l.from + raftcore.Index(len(l.entries)) }

const (
	// readAheadBytes is how much is read of Badger at a time.
	readAheadBytes = 256 << 10
	// entryMemory is what an entry takes in memory beside its data, in bytes.
	entryMemory = 64
	// usualEntryBytes is what an entry is taken to have before one is there.
	usualEntryBytes = 128
)

// ahead guesses how many entries behind the next one are worth reading together
// with it for so many bytes: by the size of the one before.
func (l *loading) ahead(bytes int) raftcore.Index {
	each := usualEntryBytes
	if n := len(l.entries); n > 0 {
		each = len(l.entries[n-1].Data)
	}
	return raftcore.Index(bytes / (each + entryMemory))
}

// fromChunk takes what is wanted of a chunk, of which no entry after to counts. It
// returns false if no more fits.
func (l *loading) fromChunk(c *chunk, to raftcore.Index) (more bool, err error) {
	next := l.next()
	if c.first > next {
		return false, l.s.corruptChunk(l.g.number, next, "it is missing")
	}
	body, err := l.s.body(l.g.number, c)
	if err != nil {
		return false, err
	}
	err = decodeEntries(body, func(e *raftcore.Entry) error {
		if e.Index > to || !l.take(e) {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errMalformed):
		return false, l.s.corruptChunk(l.g.number, next, "it is malformed")
	case err == errEnough && l.next() <= to:
		return false, nil
	case l.next() == next && next <= to:
		return false, l.s.corruptChunk(l.g.number, next, "it has ended before")
	}
	return true, nil
}

// chunk is a chunk as it was found.
type chunk struct {
	first raftcore.Index
	chunkValue
}

// chunks reads the chunks that have the entries from one to another, oldest first,
// or only the oldest one if those have more than so many bytes. They are the
// caller's.
func (s *store) chunks(number uint64, from, to raftcore.Index, maxBytes int) (found []chunk, err error) {
	bytes := 0
	err = s.table.scan(chunksOf(number), chunkKey(number, to), func(key, value []byte) (bool, error) {
		c := chunk{first: firstOf(key)}
		if bytes += len(value); bytes > maxBytes && c.first > from {
			return false, errEnough
		}
		if c.chunkValue, err = decodeChunk(key, value); err != nil {
			return false, s.corruptChunk(number, max(from, c.first), err.Error())
		}
		c.body, c.sum = slices.Clone(c.body), slices.Clone(c.sum)
		found = append(found, c)
		return c.first > from, nil
	})
	if err == errEnough { // they come newest first: the oldest has to be looked for by itself
		return s.chunks(number, from, from, maxBytes)
	}
	if err != nil {
		return nil, err
	}
	if n := len(found); n == 0 {
		return nil, s.corruptChunk(number, to, "it is missing")
	} else if oldest := found[n-1].first; oldest > from { // the scan came to a block that cannot be read
		return nil, s.corruptChunk(number, oldest-1, "it is missing")
	}
	slices.Reverse(found)
	return found, nil
}

// chunk reads the chunk that has an entry, and returns its body, which is the
// caller's, and its first index.
func (s *store) chunk(number uint64, index raftcore.Index) (body []byte, first raftcore.Index, err error) {
	found, err := s.chunks(number, index, index, 0)
	if err != nil {
		return nil, 0, err
	}
	body, err = s.body(number, &found[0])
	return body, found[0].first, err
}

// body returns the entries of a chunk, as they are encoded.
func (s *store) body(number uint64, c *chunk) ([]byte, error) {
	if c.pieces == 0 {
		return c.body, nil
	}
	return s.joinPieces(number, c.first, &c.chunkValue)
}

// joinPieces puts a chunk together that was too large for one value.
func (s *store) joinPieces(number uint64, first raftcore.Index, c *chunkValue) ([]byte, error) {
	var body []byte
	piece := uint32(0)
	prefix := pieceKey(number, first, 0)
	err := s.table.scan(prefix[:17], prefix, func(key, value []byte) (bool, error) {
		if len(key) != 21 || binary.BigEndian.Uint32(key[17:]) != piece {
			return false, s.corruptChunk(number, first, fmt.Sprintf("piece %d of it is missing", piece))
		}
		part, err := decodePiece(key, value)
		if err != nil {
			return false, s.corruptChunk(number, first, err.Error())
		}
		body = append(body, part...)
		piece++
		return piece < c.pieces, nil
	})
	if err == nil && (piece != c.pieces || uint64(len(body)) != c.length) {
		err = s.corruptChunk(number, first, fmt.Sprintf("it has %d pieces of %d", piece, c.pieces))
	}
	if err == nil && c.sum != nil && !bytes.Equal(bodySum(body), c.sum) {
		err = s.corruptChunk(number, first, "its pieces are not all of the same entry")
	}
	return body, err
}

// corruptChunk says that the chunk with an entry is damaged. castaway-disk verify finds
// the file and the offset, which Badger does not tell.
func (s *store) corruptChunk(number uint64, index raftcore.Index, what string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err := &persistence.CorruptError{File: s.path(badgerName), Detail: fmt.Sprintf("the chunk of group %d with entry %d: %s", number, index, what)}
	if number <= uint64(len(s.groups)) {
		err.Concerns = []persistence.EntryRange{{Group: s.groups[number-1].name, From: index, To: index}}
	}
	return err
}

// tail reads the newest entries of a group.
func (s *store) tail(g *group) ([]raftcore.Entry, error) {
	s.mu.RLock()
	budget := max(minTailBytes, min(maxTailBytes, allTailBytes/len(s.groups)))
	last, held, base := g.log.Last, g.held, g.log.Base.Index
	from, bytes := last+1, 0
	for i := len(g.extents) - 1; i >= 0 && (bytes < budget || from > last); i-- {
		from = g.extents[i].first
		bytes += int(g.extents[i].at.Length)
	}
	s.mu.RUnlock()
	if last == base {
		return nil, nil
	}
	if from == held+1 && held > base && (bytes < budget || from > last) {
		// Chunks come newest first.
		err := s.table.scan(chunksOf(g.number), chunkKey(g.number, held), func(key, value []byte) (bool, error) {
			from = max(firstOf(key), base+1)
			bytes += len(value)
			return bytes < budget && from > base+1, nil
		})
		if err != nil {
			return nil, err
		}
	}
	if from > last {
		return nil, s.corruptChunk(g.number, last, "it is missing")
	}
	entries, err := s.load(g, from, last, math.MaxInt)
	if err != nil {
		return nil, fmt.Errorf("entries %d to %d: %w", from, last, err)
	}
	// The oldest record or chunk may have brought more than was wanted.
	bytes = 0
	n := len(entries)
	for n > 0 && (n == len(entries) || bytes+entryBytes(&entries[n-1]) <= budget) {
		n--
		bytes += entryBytes(&entries[n])
	}
	return entries[n:], nil
}
