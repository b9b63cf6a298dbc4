package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// The contract allows Load to return less than fits. We do not: a follower that is
// far behind would take many more round trips.
func TestLoadReturnsAsManyEntriesAsFit(t *testing.T) {
	for name, opener := range map[string]persistence.Opener{"disk": quiet(t.TempDir()), "simulated": simulated(journaltest.New(1))} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, opener)
			a := mustOpenGroup(t, s, "a")
			var log []raftcore.Entry
			for i := range raftcore.Index(20) {
				log = append(log, command(1, i+1, strings.Repeat("x", 100)))
			}
			mustSave(t, s, saveOf(a, 1, log...))
			for _, c := range []struct{ from, to, maxBytes, want int }{
				{1, 20, 0, 1}, {1, 20, 100, 1}, {1, 20, 199, 1}, {1, 20, 200, 2}, {5, 20, 1050, 10}, {5, 7, 1 << 20, 3}, {20, 20, -5, 1},
			} {
				got, err := s.Load(a.Group, raftcore.Load{From: raftcore.Index(c.from), To: raftcore.Index(c.to), MaxBytes: c.maxBytes})
				if err != nil || len(got) != c.want || got[0].Index != raftcore.Index(c.from) {
					t.Errorf("%+v: %d entries, %v", c, len(got), err)
				}
			}
			if got, err := s.Load(a.Group, raftcore.Load{From: 1, To: 21}); err == nil {
				t.Errorf("of 21 entries, when there are 20, it returned %d", len(got))
			}
		})
	}
}

func TestLoadsRunBesideSavesAndHandovers(t *testing.T) {
	s := mustOpen(t, quiet(t.TempDir()))
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 100)...))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				// The first 100 are never cut off, the next 100 again and again.
				from := raftcore.Index(1 + (n*7+r)%100)
				got, err := s.Load(a.Group, raftcore.Load{From: from, To: 100, MaxBytes: 1 << 20})
				if err == nil {
					err = equalEntries(got, commands(1, from, 100))
				}
				if err != nil {
					t.Error(err)
					return
				}
				s.Load(a.Group, raftcore.Load{From: 90, To: 150, MaxBytes: 1 << 20}) // must not crash
			}
		})
	}
	for term := raftcore.Term(2); term < 120; term++ {
		mustSave(t, s, saveOf(a, term, commands(term, 101, 200)...))
	}
	close(done)
	readers.Wait()
	wantLog(t, s, a, append(commands(1, 1, 100), commands(119, 101, 200)...))
}

// Chunks are read several at a time, newest first. What is found there must not
// depend on it.
func TestLoadReadsChunksOfAllSizes(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a := mustOpenGroup(t, s, "a")
	var log []raftcore.Entry
	for _, part := range []struct{ entries, bytes int }{{700, 0}, {300, 100}, {40, 60 << 10}, {3, maxPieceBytes + 5}, {600, 10}} {
		first := raftcore.Index(len(log) + 1)
		for i := range raftcore.Index(part.entries) {
			log = append(log, command(1, first+i, strings.Repeat("x", part.bytes)))
		}
		mustSave(t, s, saveOf(a, 1, log[first-1:]...))
	}
	handAllOver(t, s, a)
	for from := 1; from <= len(log); from += 37 {
		for _, maxBytes := range []int{0, 1, 1000, 100 << 10, 10 << 20} {
			want, bytes := log[from-1:from-1], 0
			for _, e := range log[from-1:] {
				if bytes += len(e.Data); bytes > maxBytes && len(want) > 0 {
					break
				}
				want = append(want, e)
			}
			got, err := s.Load(a.Group, raftcore.Load{From: raftcore.Index(from), To: raftcore.Index(len(log)), MaxBytes: maxBytes})
			if err == nil {
				err = equalEntries(got, want)
			}
			if err != nil {
				t.Fatalf("from %d, at most %d bytes: %v", from, maxBytes, err)
			}
		}
	}
}

// handAllOver hands over what a group has so far, with all full segments.
func handAllOver(t *testing.T, s *store, o persistence.Opened) {
	t.Helper()
	last := s.groups[o.Group-1].log.Last
	for other := mustOpenGroup(t, s, "other"); s.groups[o.Group-1].held < last; {
		other.Recovered.Last = saveUntil(t, s, other, func() bool { return s.sealed() > 0 })
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil {
			t.Fatal(err)
		}
	}
}

// A chunk in the middle is gone, and the ones around it are read together with it.
func TestLoadMissesAChunkBetweenOthers(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 4*maxChunkEntries)...))
	handAllOver(t, s, a)
	if err := s.table.commit([]write{{key: chunkKey(1, 1+2*maxChunkEntries)}}); err != nil {
		t.Fatal(err)
	}
	for _, from := range []raftcore.Index{1, maxChunkEntries, 2 * maxChunkEntries, 1 + 2*maxChunkEntries, 3 * maxChunkEntries} {
		got, err := s.Load(a.Group, raftcore.Load{From: from, To: 4 * maxChunkEntries, MaxBytes: math.MaxInt})
		var corrupt *persistence.CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("from %d: %d entries, %v", from, len(got), err)
		} else if want := fmt.Sprintf("entry %d of group %q", max(from, 1+2*maxChunkEntries), "a"); !strings.HasSuffix(err.Error(), want) {
			t.Errorf("from %d: the error does not say that %s is missing: %v", from, want, err)
		}
	}
}

// TestABlockThatCannotBeReadIsNotTakenForAnother: a scan of Badger ends there, and what
// is behind it is not missing.
func TestABlockThatCannotBeReadIsNotTakenForAnother(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 4*maxChunkEntries)...))
	handAllOver(t, s, a)
	s.table = &endingTable{s.table, chunkKey(1, 1+2*maxChunkEntries)}
	_, err := s.Load(a.Group, raftcore.Load{From: 1, To: 4 * maxChunkEntries, MaxBytes: math.MaxInt})
	want := []persistence.EntryRange{{Group: "a", From: 3 * maxChunkEntries, To: 3 * maxChunkEntries}}
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || !slices.Equal(corrupt.Concerns, want) {
		t.Errorf("the error does not name %v: %v", want, err)
	}
}

// endingTable ends every scan before a key, as if its block could not be read.
type endingTable struct {
	table
	at []byte
}

func (e *endingTable) scan(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	return e.table.scan(prefix, from, func(key, value []byte) (bool, error) {
		if bytes.Equal(key, e.at) {
			return false, nil
		}
		return visit(key, value)
	})
}

// countingTable counts the bytes of values that are looked at.
type countingTable struct {
	table
	bytes int
}

func (c *countingTable) scan(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	return c.table.scan(prefix, from, func(key, value []byte) (bool, error) {
		c.bytes += len(value)
		return visit(key, value)
	})
}

// Behind small entries there are large ones, and only few of them fit.
func TestLoadDoesNotReadMuchThatDoesNotFit(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a := mustOpenGroup(t, s, "a")
	log := commands(1, 1, 100)
	for i := range raftcore.Index(200) {
		log = append(log, command(1, 101+i, strings.Repeat("x", maxChunkBytes)))
	}
	for part := range slices.Chunk(log, 20) {
		mustSave(t, s, saveOf(a, 1, part...))
	}
	handAllOver(t, s, a)
	counting := &countingTable{table: s.table}
	s.table = counting
	defer func() { s.table = counting.table }()
	for _, maxBytes := range []int{0, 2 << 10, 512 << 10, 1 << 20} {
		for _, from := range []raftcore.Index{1, 50, 150} {
			counting.bytes = 0
			got, err := s.Load(a.Group, raftcore.Load{From: from, To: 300, MaxBytes: maxBytes})
			if err == nil {
				err = equalEntries(got, log[from-1:][:len(got)])
			}
			if err != nil {
				t.Fatal(err)
			}
			if most := 3*maxBytes + 4*maxChunkBytes; counting.bytes > most {
				t.Errorf("for %d bytes from entry %d on, %d were read", maxBytes, from, counting.bytes)
			}
		}
	}
}
