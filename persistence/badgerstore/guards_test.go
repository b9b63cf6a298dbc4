package badgerstore

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// witness notes in which order a store does what must not be done in another.
type witness struct{ events []string }

func (w *witness) note(what string) { w.events = append(w.events, what) }

// of returns the options of a store that the witness sees.
func (w *witness) of(o Options) Options {
	open := o.hooks.openTable
	o.hooks.openTable = func(dir string, logger *slog.Logger, failed func(error)) (table, error) {
		t, err := open(dir, logger, failed)
		return &seenTable{t, w}, err
	}
	o.hooks.fs = &seenFS{o.hooks.fs, w}
	return o
}

type seenTable struct {
	table
	w *witness
}

func (t *seenTable) commit(writes []write) error {
	t.w.note("commit")
	return t.table.commit(writes)
}

func (t *seenTable) sync() error {
	t.w.note("sync")
	return t.table.sync()
}

type seenFS struct {
	journal.FS
	w *witness
}

func (f *seenFS) Rename(from, to string) error {
	switch {
	case filepath.Base(to) == markerName:
		f.w.note("marker")
	case strings.HasSuffix(from, ".segment"):
		f.w.note("retire")
	}
	return f.FS.Rename(from, to)
}

// Badger forgets to sync its directory, so that a file which it has just made can
// vanish with everything in it. That must have been done before anybody relies on
// Badger: no simulated disk shows it, because Badger does not run on one.
func TestD2_TheDirectoryOfBadgerIsSyncedBeforeAnybodyReliesOnIt(t *testing.T) {
	w := &witness{}
	opened := mustOpen(t, w.of(simulated(journaltest.New(1))))
	s := opened.(*store)
	a := mustOpenGroup(t, s, "a")
	saveUntil(t, s, a, func() bool { return s.sealed() > 2 })
	oldest, _ := s.journal.Segments()
	if err := s.handOver(oldest); err != nil {
		t.Fatal(err)
	}
	order := regexp.MustCompile(`^marker commit sync marker( commit)+ sync retire$`)
	if got := strings.Join(w.events, " "); !order.MatchString(got) {
		t.Errorf("the order was: %s", got)
	}
}

// Badger is that of another store, which happens to be in the same state: nothing
// but the root tells.
func TestP1_TheBadgerOfAnotherStoreIsNoticed(t *testing.T) {
	disks := []*journaltest.Disk{journaltest.New(1), journaltest.New(2)}
	for _, disk := range disks {
		if err := mustOpen(t, simulated(disk)).Close(); err != nil {
			t.Fatal(err)
		}
	}
	disks[0].Put("d/badger/log", disks[1].Contents("d/badger/log"))
	_, err := simulated(disks[0]).Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != filepath.Join("d", badgerName) {
		t.Errorf("it was opened with %v", err)
	}
}

// A log grows, is compacted, cut off and replaced by snapshots, for ever. What it
// has no more, Badger has no more, and neither has the memory.
func TestP4_BadgerForgetsWhatTheLogHasForgotten(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 0))
		s := mustOpen(t, simulated(journaltest.New(seed))).(*store)
		a := mustOpenGroup(t, s, "a")
		g := s.groups[0]
		term, pieces := raftcore.Term(1), 0
		snapshot := func(at raftcore.EntryID) *raftcore.SnapshotMeta {
			return &raftcore.SnapshotMeta{Last: at, Conf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}}
		}
		for range 150 {
			base, last := g.log.Base.Index, g.log.Last
			some := base
			if last > base {
				some += 1 + raftcore.Index(rng.Uint64N(uint64(last-base)))
			}
			var save raftcore.Save
			switch n := rng.IntN(60); {
			case n < 6 && some > base: // compacted
				save.Snapshot = snapshot(raftcore.EntryID{Index: some, Term: g.term(some)})
				save.Base = save.Snapshot
			case n < 10 && some > base: // replaced
				term++
				save.Entries = commands(term, some, some+raftcore.Index(rng.IntN(10)))
			case n == 10: // a snapshot in the place of all
				save.Snapshot = snapshot(raftcore.EntryID{Index: last + 5, Term: term})
				save.Base, save.Reset = save.Snapshot, true
			case n < 16: // too large for a value
				save.Entries = []raftcore.Entry{command(term, last+1, strings.Repeat("x", maxPieceBytes+1000))}
			default:
				save.Entries = commands(term, last+1, last+1+raftcore.Index(rng.IntN(100)))
			}
			save.Token = raftcore.Token{Boot: a.Boot, Sequence: 1}
			save.HardState = raftcore.HardState{Term: term, Cluster: 5, Joined: true}
			mustSave(t, s, persistence.Save{Group: a.Group, Save: save})
			for s.sealed() > 1 {
				oldest, _ := s.journal.Segments()
				if err := s.handOver(oldest); err != nil {
					t.Fatal(err)
				}
				pieces += wantNothingElse(t, s, g)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		if pieces == 0 {
			t.Error("no entry was ever in pieces")
		}
		s.Close()
	}
}

// The pieces of a large entry go when it is compacted, though later ones stay.
func TestP4_PiecesThatWereCompactedAreForgotten(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a := mustOpenGroup(t, s, "a")
	handOver := func() {
		a.Recovered.Last = saveUntil(t, s, a, func() bool { return s.sealed() > 1 })
		for s.sealed() > 0 {
			oldest, _ := s.journal.Segments()
			if err := s.handOver(oldest); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustSave(t, s, saveOf(a, 1, command(1, 1, strings.Repeat("x", 2*maxPieceBytes))))
	a.Recovered.Last = 1
	handOver()
	next := a.Recovered.Last + 1
	mustSave(t, s, saveOf(a, 1, command(1, next, strings.Repeat("x", 2*maxPieceBytes))))
	a.Recovered.Last = next
	handOver()
	both := wantNothingElse(t, s, s.groups[0])
	save := saveOf(a, 1)
	save.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 2}, Conf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}}
	save.Base = save.Snapshot
	mustSave(t, s, save)
	handOver()
	if left := wantNothingElse(t, s, s.groups[0]); both == 0 || left != both/2 {
		t.Errorf("two large entries were in %d pieces, what is left of them in %d", both, left)
	}
}

// wantNothingElse checks that a group has no chunks and pieces in Badger but
// those of its log, and returns how many pieces it has.
func wantNothingElse(t *testing.T, s *store, g *group) (pieces int) {
	t.Helper()
	base, held := g.log.Base.Index, g.held
	var chunks []raftcore.Index
	for _, key := range logTableOf(s).keys {
		switch first := firstOf([]byte(key)); {
		case strings.HasPrefix(key, string(chunksOf(g.number))):
			chunks = append(chunks, first)
		case !strings.HasPrefix(key, string(piecesOf(g.number))):
		case first <= base || first > held:
			t.Errorf("there are pieces of entry %d, Badger needs %d to %d", first, base+1, held)
		default:
			pieces++
		}
	}
	slices.Sort(chunks)
	if n := len(chunks); n > 0 && held == base || n > 0 && chunks[n-1] > held || n > 1 && chunks[1] <= base+1 {
		t.Errorf("there are chunks from %d on, Badger needs entries %d to %d", chunks, base+1, held)
	}
	oldest, _ := s.journal.Segments()
	for segment := range s.touched {
		if segment < oldest {
			t.Errorf("it is remembered what segment %d told of, the oldest is %d", segment, oldest)
		}
	}
	return pieces
}

// A group that writes little has a few entries in every segment. They do not
// become as many chunks.
func TestP4_SmallChunksArePutTogether(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
	for i := range raftcore.Index(30) {
		mustSave(t, s, saveOf(a, 1, commands(1, 3*i+1, 3*i+3)...))
		b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 1 })
		for s.sealed() > 0 {
			oldest, _ := s.journal.Segments()
			if err := s.handOver(oldest); err != nil {
				t.Fatal(err)
			}
		}
	}
	chunks := 0
	for _, key := range logTableOf(s).keys {
		if strings.HasPrefix(key, string(chunksOf(1))) {
			chunks++
		}
	}
	if chunks == 0 || chunks > 2 {
		t.Errorf("90 small entries are in %d chunks", chunks)
	}
}

// TestD8_ALogWithAGapIsNotWhole: while a journal is replayed there may be one, which
// later records fill; not at its end.
func TestD8_ALogWithAGapIsNotWhole(t *testing.T) {
	entries := func(g *group, term raftcore.Term, first, last raftcore.Index, segment uint32) {
		g.append(first, last, journal.Position{Segment: segment})
		for i := first; i <= last; i++ {
			g.log.Note(&raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: i}, Kind: raftcore.EntryCommand})
		}
	}
	g := &group{number: 1, name: "orders"}
	g.log.HardState.Term = 2
	entries(g, 1, 1, 2, 1)
	entries(g, 1, 5, 6, 2)
	if err := g.whole(); err == nil || !strings.Contains(err.Error(), "entries 3 to 4 are missing") {
		t.Errorf("a log without entries 3 and 4 is whole: %v", err)
	}
	entries(g, 2, 3, 6, 3)
	if err := g.whole(); err != nil {
		t.Error(err)
	}
}

// TestD15_ARecordThatDoesNotFitIsReported: it is whole, and speaks of a group that
// nobody has told of.
func TestD15_ARecordThatDoesNotFitIsReported(t *testing.T) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o)
	mustOpenGroup(t, s, "orders")
	var b journal.Batch
	b.Add(func(b []byte) []byte { return appendMarkRecord(b, 1) })
	b.Add(func(b []byte) []byte {
		return appendSaveRecord(b, 99, raftcore.HardState{Term: 1}, false, compaction{}, nil)
	})
	j := s.(*store).journal
	positions, err := j.Append(&b)
	if err != nil {
		t.Fatal(err)
	}
	file, at := j.File(positions[1].Segment), positions[1].Offset
	mustSave(t, s, saveOf(mustOpenGroup(t, s, "others"), 1, commands(1, 1, 3)...)) // so that it is not the last batch, which moves
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = o.Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != file || corrupt.Offset != int64(at) || !strings.Contains(err.Error(), "group 99") {
		t.Errorf("opened with %v; it should name %s and %d", err, file, at)
	}
	o.Repair = true // that is for what is damaged, not for what makes no sense
	if _, err := o.Open(); !errors.As(err, &corrupt) {
		t.Errorf("with Repair it was opened with %v", err)
	}
}

// TestP1_ATicketOfAnEarlierRoundIsNoticed: the ticket that should be in its slot is
// lost, and with it a transaction.
func TestP1_ATicketOfAnEarlierRoundIsNoticed(t *testing.T) {
	s := mustOpen(t, simulated(journaltest.New(1))).(*store)
	for range tickets + 10 {
		if err := s.commitRoot(&s.root, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.checkTickets(); err != nil {
		t.Fatal(err)
	}
	lost := s.root.generation - 3
	key := ticketKey(lost)
	if err := s.table.commit([]write{{key: key, value: encodeTicket(key, lost-tickets)}}); err != nil {
		t.Fatal(err)
	}
	var corrupt *persistence.CorruptError
	if err := s.checkTickets(); !errors.As(err, &corrupt) {
		t.Errorf("transaction %d is lost, and the check says %v", lost, err)
	}
}

// TestP1_WhatIsMissingIsNamed: a segment of the journal, and a group in Badger.
func TestP1_WhatIsMissingIsNamed(t *testing.T) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	mustOpenGroup(t, s, "b")
	saveUntil(t, s, a, func() bool { return s.(*store).sealed() == 3 })
	if err := s.(*store).handOver(1); err != nil {
		t.Fatal(err)
	}
	oldest := s.(*store).journal.File(2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segment := disk.Contents(oldest)
	disk.Delete(oldest)
	_, err := o.Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != oldest {
		t.Errorf("without %s it was opened with %v", oldest, err)
	}
	disk.Put(oldest, segment)

	s = mustOpen(t, o)
	if err := s.(*store).table.commit([]write{{key: groupKey(1)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open(); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "the value of group 1 is missing") {
		t.Errorf("without the value of group 1 it was opened with %v", err)
	}
}
