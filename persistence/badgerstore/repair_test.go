package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// history is what groups have saved: as in Raft, an entry's identity tells what it
// says, and which entry is before it.
type history struct {
	rng    *rand.Rand
	names  []string
	logs   map[string]*historyOf
	before map[string]map[raftcore.EntryID]raftcore.EntryID
}

type historyOf struct {
	opened   persistence.Opened
	term     raftcore.Term
	snapshot raftcore.SnapshotMeta
	base     raftcore.EntryID
	entries  []raftcore.EntryID // after base
}

func newHistory(seed uint64) *history {
	h := &history{rng: rand.New(rand.NewPCG(seed, 0)), names: []string{"a", "b", "c"}, logs: map[string]*historyOf{}, before: map[string]map[raftcore.EntryID]raftcore.EntryID{}}
	for _, name := range h.names {
		h.before[name] = map[raftcore.EntryID]raftcore.EntryID{}
	}
	return h
}

// open opens the groups, and goes on from what they have.
func (h *history) open(s persistence.Store) error {
	for _, name := range h.names {
		o, err := s.Open(name)
		if err != nil {
			return err
		}
		g := &historyOf{opened: o, term: o.Recovered.HardState.Term + 1, snapshot: o.Recovered.Snapshot, base: o.Recovered.Base}
		if h.logs[name] != nil {
			g.term = max(g.term, h.logs[name].term+1) // others have gone on
		}
		if g.entries, err = h.check(s, name, o); err != nil {
			return fmt.Errorf("group %s: %w", name, err)
		}
		h.logs[name] = g
	}
	return nil
}

// check says whether a group has what it has saved at some time, and returns it.
func (h *history) check(s persistence.Store, name string, o persistence.Opened) (ids []raftcore.EntryID, err error) {
	r := &o.Recovered
	if _, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1}, *r); err != nil {
		return nil, err
	}
	before := r.Base
	for len(ids) < int(r.Last-r.Base.Index) {
		entries, err := s.Load(o.Group, raftcore.Load{From: before.Index + 1, To: r.Last, MaxBytes: math.MaxInt})
		if err != nil {
			return nil, err
		}
		for i := range entries {
			e := &entries[i]
			if was, known := h.before[name][e.EntryID]; !known || was != before || string(e.Data) != textOf(name, e.EntryID) {
				return nil, fmt.Errorf("entry %v after %v, with %q, was never saved so", e.EntryID, before, e.Data)
			}
			ids, before = append(ids, e.EntryID), e.EntryID
		}
	}
	return ids, nil
}

func textOf(name string, id raftcore.EntryID) string {
	return fmt.Sprintf("%s %v %s", name, id, strings.Repeat("x", int(id.Index*37%700)))
}

func (g *historyOf) last() raftcore.EntryID {
	if n := len(g.entries); n > 0 {
		return g.entries[n-1]
	}
	return g.base
}

// save has a group save something.
func (h *history) save(s persistence.Store) error {
	name := h.names[h.rng.IntN(len(h.names))]
	g := h.logs[name]
	save := raftcore.Save{Token: raftcore.Token{Boot: g.opened.Boot, Sequence: 1}}
	least := 0
	switch h.rng.IntN(12) {
	case 0: // another leader overwrites
		least = 1
		g.term++
		keep := int(g.snapshot.Last.Index - g.base.Index)
		g.entries = slices.Clone(g.entries[:keep+h.rng.IntN(len(g.entries)-keep+1)])
	case 1: // a snapshot of its own
		if n := len(g.entries); n > 0 && g.entries[n-1].Index > g.snapshot.Last.Index+1 {
			at := int(g.snapshot.Last.Index-g.base.Index) + h.rng.IntN(n-int(g.snapshot.Last.Index-g.base.Index))
			g.snapshot = raftcore.SnapshotMeta{Last: g.entries[at], Time: 1, Conf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}}
			snapshot, base := g.snapshot, g.snapshot
			base.Last = g.entries[h.rng.IntN(at+1)]
			save.Snapshot, save.Base = &snapshot, &base
			g.entries = slices.Clone(g.entries[base.Last.Index-g.base.Index:])
			g.base = base.Last
		}
	case 2: // one that a leader sent
		if h.rng.IntN(4) == 0 {
			g.snapshot = raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: g.term, Index: g.last().Index + 5}, Time: 1, Conf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}}
			snapshot := g.snapshot
			save.Snapshot, save.Base, save.Reset = &snapshot, &snapshot, true
			g.base, g.entries = snapshot.Last, nil
		}
	}
	for range least + h.rng.IntN(30) {
		id := raftcore.EntryID{Term: g.term, Index: g.last().Index + 1}
		h.before[name][id] = g.last()
		save.Entries = append(save.Entries, raftcore.Entry{EntryID: id, Kind: raftcore.EntryCommand, Data: []byte(textOf(name, id))})
		g.entries = append(g.entries, id)
	}
	save.HardState = raftcore.HardState{Term: g.term, Vote: 3, Cluster: 5, Joined: true}
	return s.Save([]persistence.Save{{Group: g.opened.Group, Save: save}})
}

// use saves and hands over.
func (h *history) use(s *store, n int) error {
	for range n {
		if err := h.save(s); err != nil {
			return err
		}
		if s.sealed() > s.o.RetainSegments && h.rng.IntN(3) == 0 {
			if err := h.handOver(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// handOver hands a segment over. Others save between its transactions, and now and
// then it ends between two of them, as when the store is closed.
func (h *history) handOver(s *store) error {
	stop := h.rng.IntN(4) == 0
	logTableOf(s).between = func() error {
		for range h.rng.IntN(3) {
			if err := h.save(s); err != nil {
				return err
			}
		}
		if stop && h.rng.IntN(2) == 0 {
			return errQuit
		}
		return nil
	}
	defer func() { logTableOf(s).between = nil }()
	oldest, _ := s.journal.Segments()
	if err := s.handOver(oldest); err != nil && !errors.Is(err, errQuit) {
		return err
	}
	return nil
}

// TestD9D15_ADamagedJournalIsCutOffAndItsGroupsKnow damages the journal of a store
// anywhere, has it repaired, with crashes in the middle of that, and demands that
// every group has what it had at some time, knows that more may be lost, and goes on.
func TestD9D15_ADamagedJournalIsCutOffAndItsGroupsKnow(t *testing.T) {
	damages := 0
	rounds(t, func(seed uint64) error {
		h := newHistory(seed)
		disk := journaltest.New(seed)
		for range 3 {
			damaged, err := h.damageAndRepair(disk)
			if err != nil {
				return err
			}
			damages += damaged
		}
		return nil
	})
	if damages == 0 {
		t.Error("nothing was ever damaged")
	}
}

func (h *history) damageAndRepair(disk *journaltest.Disk) (damages int, err error) {
	o := simulated(disk)
	s, err := o.Open()
	if err != nil {
		return 0, err
	}
	if err := h.open(s); err != nil {
		return 0, err
	}
	if err := h.use(s.(*store), 20+h.rng.IntN(150)); err != nil {
		return 0, err
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	h.damage(disk)

	s, err = o.Open()
	var corrupt *persistence.CorruptError
	switch {
	case err == nil:
		return 0, s.Close() // where it does no harm
	case !errors.As(err, &corrupt):
		return 0, err
	}
	return 1, h.repair(disk, o, 25)
}

// repair has a store repaired, with crashes in the middle of that, within so many
// operations of the disk, and uses it then.
func (h *history) repair(disk *journaltest.Disk, o Options, ops int) error {
	before := map[string]raftcore.Incarnation{}
	for name, g := range h.logs {
		before[name] = g.opened.Recovered.Incarnation
	}
	o.Repair = true
	for h.rng.IntN(3) > 0 { // it is interrupted
		disk.CrashAt(1 + h.rng.IntN(ops))
		if s, err := o.Open(); err == nil {
			s.Close()
		}
		disk.Crash(h.rng.IntN(2) == 0)
	}
	o.Repair = h.rng.IntN(2) == 0 || slices.Contains(disk.Files(), "d/"+noteName) // if it has begun, it is finished whatever is said now
	s, err := o.Open()
	if errors.As(err, new(*persistence.CorruptError)) {
		o.Repair = true
		s, err = o.Open()
	}
	if err != nil {
		return fmt.Errorf("it is not repaired: %w", err)
	}
	for range 2 { // also when it is opened once more
		if err := h.open(s); err != nil {
			return err
		}
		for name, g := range h.logs {
			r := &g.opened.Recovered
			if !r.Damaged || r.HardState.Joined || r.HardState.Vote != raftcore.Nobody || r.Incarnation == before[name] {
				return fmt.Errorf("group %s does not know: %v damaged=%v, incarnation %x before and %x now", name, r, r.Damaged, before[name], r.Incarnation)
			}
		}
		if err := s.Close(); err != nil {
			return err
		}
		o.Repair = false
		if s, err = o.Open(); err != nil {
			return err
		}
	}
	// They join again, and that is kept.
	if err := h.open(s); err != nil {
		return err
	}
	for _, g := range h.logs {
		save := raftcore.Save{Token: raftcore.Token{Boot: g.opened.Boot, Sequence: 1}, HardState: raftcore.HardState{Term: g.term, Cluster: 5, Joined: true}}
		if err := s.Save([]persistence.Save{{Group: g.opened.Group, Save: save}}); err != nil {
			return err
		}
	}
	if err := h.use(s.(*store), h.rng.IntN(100)); err != nil {
		return err
	}
	want := map[string][]raftcore.EntryID{}
	for name, g := range h.logs {
		want[name] = g.entries
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = o.Open(); err != nil {
		return err
	}
	if err := h.open(s); err != nil {
		return err
	}
	for name, g := range h.logs {
		// A replay that finds a newer snapshot in Badger than there was at the time of
		// the damage may let more go that it stands for.
		kept := want[name]
		for len(kept) > 0 && kept[0].Index <= g.base.Index {
			kept = kept[1:]
		}
		if r := &g.opened.Recovered; r.Damaged || r.Base.Index > r.Snapshot.Last.Index || !slices.Equal(g.entries, kept) {
			return fmt.Errorf("group %s: %v damaged=%v, it should have %v", name, r, r.Damaged, kept)
		}
	}
	return s.Close()
}

// damage spoils a file of the journal.
func (h *history) damage(disk *journaltest.Disk) {
	segments := slices.DeleteFunc(disk.Files(), func(name string) bool { return !strings.HasSuffix(name, ".segment") })
	name := segments[h.rng.IntN(len(segments))]
	switch contents := disk.Contents(name); h.rng.IntN(8) {
	case 0:
		disk.Delete(name)
	case 1:
		disk.Put(name, contents[:h.rng.IntN(len(contents)+1)])
	case 2:
		for _, name := range segments {
			disk.Delete(name)
		}
	case 3:
		disk.Flip(name, h.rng.IntN(64), 1<<h.rng.IntN(8)) // in the header
	default:
		disk.Flip(name, h.rng.IntN(len(contents)), 1<<h.rng.IntN(8))
	}
}

// What Badger has may follow from records at the end of the journal. If these are lost
// without a trace, the journal looks whole, and what Badger has must not be taken for
// what was saved.
func TestD9_AJournalThatIsShorterThanBadgerKnowsIsNoticed(t *testing.T) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o)
	g := mustOpenGroup(t, s, "orders")
	last := saveUntil(t, s, g, func() bool { return s.(*store).sealed() == 2 })
	mustSave(t, s, saveOf(g, 2, commands(2, last-200, last)...)) // replaces what is about to be handed over
	if err := s.(*store).handOver(1); err != nil {
		t.Fatal(err)
	}
	_, active := s.(*store).journal.Segments()
	name := s.(*store).journal.File(active)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.Put(name, disk.Contents(name)[:4096])
	disk.Delete("d/journal/watermark") // and nothing else tells

	_, err := o.Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != name || !strings.Contains(err.Error(), "the end of the journal is lost") {
		t.Fatalf("it was opened with %v", err)
	}
	o.Repair = true
	s = mustOpen(t, o)
	r := mustOpenGroup(t, s, "orders").Recovered
	if !r.Damaged || r.HardState.Joined || r.Incarnation == g.Recovered.Incarnation {
		t.Errorf("it has come back as %v", &r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Repair = false // once is enough
	s = mustOpen(t, o)
	if again := mustOpenGroup(t, s, "orders").Recovered; again.Incarnation != r.Incarnation {
		t.Errorf("opened again it is %v", &again)
	}
}

// A bit of the last batch flips after the process has ended. It was acknowledged, so it
// is not taken for a torn tail: who it concerns is said, and if it is to be repaired,
// every group knows.
func TestD9_ADamagedLastBatchIsReportedWithItsGroups(t *testing.T) {
	dir := t.TempDir()
	o := handedOverByHand(dir)
	opened := mustOpen(t, o)
	orders, stock := mustOpenGroup(t, opened, "orders"), mustOpenGroup(t, opened, "stock")
	mustSave(t, opened, saveOf(orders, 1, commands(1, 1, 3)...), saveOf(stock, 1, commands(1, 1, 1)...))
	mustSave(t, opened, saveOf(stock, 2, commands(2, 2, 9)...))
	s := opened.(*store)
	position := s.groups[1].extents[len(s.groups[1].extents)-1].at
	name := s.journal.File(position.Segment)
	s.table.close()
	s.journal.Close()
	s.unlock() // it was not closed: as if the process had ended
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[position.Offset+position.Length] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}

	_, err = o.Open()
	var corrupt *persistence.CorruptError
	want := []persistence.EntryRange{{Group: "stock", From: 2, To: 9}}
	if !errors.As(err, &corrupt) || corrupt.File != name || !slices.Equal(corrupt.Concerns, want) || !strings.HasSuffix(err.Error(), `it concerns entries 2 to 9 of group "stock"`) {
		t.Fatalf("it was opened with %v", err)
	}
	o.Repair = true
	repaired := mustOpen(t, o)
	for g, last := range map[*persistence.Opened]raftcore.Index{&orders: 3, &stock: 1} {
		name := map[*persistence.Opened]string{&orders: "orders", &stock: "stock"}[g]
		r := mustOpenGroup(t, repaired, name).Recovered
		if !r.Damaged || r.HardState.Joined || r.Incarnation == g.Recovered.Incarnation || r.Last != last {
			t.Errorf("group %s has come back as %v", name, &r)
		}
	}
}

// That a group is damaged is not forgotten with the segment that tells of it, though
// the group saves nothing.
func TestD9_ADamagedGroupStaysSoWhenTheSegmentThatTellsOfItIsRetired(t *testing.T) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o)
	quiet := mustOpenGroup(t, s, "quiet")
	mustSave(t, s, saveOf(quiet, 1, commands(1, 1, 10)...))
	busy := mustOpenGroup(t, s, "busy")
	last := saveUntil(t, s, busy, func() bool { return s.(*store).sealed() == 1 })
	if err := s.(*store).handOver(1); err != nil { // the journal has nothing of the quiet one any more
		t.Fatal(err)
	}
	for range 4 {
		mustSave(t, s, saveOf(busy, 1, commands(1, last+1, last+10)...))
		last += 10
	}
	name := s.(*store).journal.File(2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.Flip(name, 4096*3+100, 1) // not the last batch
	o.Repair = true
	s = mustOpen(t, o)
	quiet = mustOpenGroup(t, s, "quiet")
	if !quiet.Recovered.Damaged {
		t.Fatal("it is not damaged")
	}
	if lost := mustOpenGroup(t, s, "perhaps lost with the rest").Recovered; !lost.Damaged {
		t.Error("a group that nobody knows is taken for a new one")
	}
	busy = mustOpenGroup(t, s, "busy")
	_, told := s.(*store).journal.Segments()
	saveUntil(t, s, busy, func() bool {
		_, active := s.(*store).journal.Segments()
		return active > told+1
	})
	for oldest, _ := s.(*store).journal.Segments(); oldest <= told; oldest++ {
		if err := s.(*store).handOver(oldest); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Repair = false
	s = mustOpen(t, o)
	again := mustOpenGroup(t, s, "quiet").Recovered
	if !again.Damaged || again.Incarnation != quiet.Recovered.Incarnation || again.HardState.Joined {
		t.Errorf("it has come back as %v, damaged=%v", &again, again.Damaged)
	}
}

// With real files: what was before the damage is there, and what was cut off is
// kept aside as it was.
func TestARepairedStoreKeepsTheDamagedFilesAside(t *testing.T) {
	dir := t.TempDir()
	o := quiet(dir)
	o.RetainSegments, o.MaxSegments = 8, 8
	s := mustOpen(t, o)
	g := mustOpenGroup(t, s, "orders")
	log := commands(2, 1, 40)
	for i := range log {
		mustSave(t, s, saveOf(g, 2, log[i]))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err != nil || len(segments) < 3 {
		t.Fatal(segments, err)
	}
	damaged := segments[1]
	contents, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	contents[5*4096+100] ^= 4 // the fifth batch
	if err := os.WriteFile(damaged, contents, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = o.Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != damaged || corrupt.Offset != 5*4096 {
		t.Fatalf("%v; it should name %s and %d", err, damaged, 5*4096)
	}
	o.Repair = true
	s = mustOpen(t, o)
	again := mustOpenGroup(t, s, "orders")
	r := &again.Recovered
	if !r.Damaged || r.HardState != (raftcore.HardState{Term: 2, Cluster: 5}) || r.Incarnation == g.Recovered.Incarnation || r.Last < 10 || r.Last > 30 {
		t.Errorf("it has come back as %v, damaged=%v, incarnation %x", r, r.Damaged, r.Incarnation)
	}
	wantLog(t, s, again, log[:r.Last])
	aside, err := os.ReadFile(damaged + ".damaged")
	if err != nil || string(aside) != string(contents) {
		t.Errorf("the damaged file was not kept as it was: %v", err)
	}
	if _, err := os.Stat(segments[2] + ".damaged"); err != nil {
		t.Error(err)
	}
	mustSave(t, s, saveOf(again, 3, commands(3, r.Last+1, r.Last+3)...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Repair = false
	s = mustOpen(t, o)
	joined := mustOpenGroup(t, s, "orders")
	if joined.Recovered.Damaged || joined.Recovered.Incarnation != r.Incarnation {
		t.Errorf("%v", &joined.Recovered)
	}
	wantLog(t, s, joined, append(log[:r.Last:r.Last], commands(3, r.Last+1, r.Last+3)...))
}
