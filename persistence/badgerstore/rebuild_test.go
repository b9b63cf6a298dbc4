package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// TestP1D9D15_ADamagedBadgerIsMadeAnewAndItsGroupsKnow loses values of Badger's, so that
// older ones come up, or none, has the store repaired, with crashes in the middle of that,
// and demands that every group has what it had at some time, knows that more may be lost,
// and goes on.
func TestP1D9D15_ADamagedBadgerIsMadeAnewAndItsGroupsKnow(t *testing.T) {
	rounds(t, func(seed uint64) error {
		h := newHistory(seed)
		disk := journaltest.New(seed)
		for range 2 {
			if err := h.loseAndRepair(disk); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *history) loseAndRepair(disk *journaltest.Disk) error {
	o := simulated(disk)
	s, err := o.Open()
	if err != nil {
		return err
	}
	if err := h.open(s); err != nil {
		return err
	}
	if err := h.use(s.(*store), 20+h.rng.IntN(200)); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	onlyEntries := h.loseValues(disk)
	if h.rng.IntN(4) == 0 {
		h.damage(disk)
	}
	if onlyEntries {
		disk.Put("d/badger/"+onlyEntriesName, nil)
	}
	disk.Put("d/"+noteName, nil)
	return h.repair(disk, o, 80)
}

// loseValues takes values away that Badger has had since it was opened. It reports
// whether those were only of chunks and pieces.
func (h *history) loseValues(disk *journaltest.Disk) (onlyEntries bool) {
	const name = "d/badger/log"
	contents := disk.Contents(name)
	var history [][]write
	for {
		writes, n := parseTransaction(contents)
		if n == 0 {
			break
		}
		history, contents = append(history, writes), contents[n:]
	}
	from := h.rng.IntN(len(history))
	to := from + h.rng.IntN(len(history)-from)
	kind, odds := h.rng.IntN(6), 1+h.rng.IntN(4)
	blocks := "cgprt"
	at := h.rng.IntN(len(blocks))
	lost := func(i int, key []byte) bool {
		switch entries := key[0] == prefixChunk || key[0] == prefixPiece; kind {
		case 0: // blocks that have nothing else
			return entries && h.rng.IntN(odds) == 0
		case 1: // a table that is missing
			return from <= i && i <= to
		case 2: // the end of a log
			return i >= from
		case 3: // a table that ends too early
			return from <= i && i <= to && key[0] >= blocks[at]
		case 4: // any
			return h.rng.IntN(odds+1) == 0
		}
		return true // all
	}
	var left []byte
	for i, writes := range history {
		var kept []write
		for _, w := range writes {
			switch {
			case !lost(i, w.key):
				kept = append(kept, w)
			case kind != 2 && h.rng.IntN(8) == 0 && len(w.value) > 0: // there, and not what it was
				spoilt := slices.Clone(w.value)
				spoilt[h.rng.IntN(len(spoilt))] ^= 1 << h.rng.IntN(8)
				kept = append(kept, write{key: w.key, value: spoilt})
			}
		}
		left = append(left, encodeTransaction(kept)...)
	}
	disk.Put(name, left)
	return kind == 0 || kind == 2 // Badger's own files do not tell of a lost end
}

// chunkPlace returns where the value of a chunk lies in Badger's tables.
func chunkPlace(t *testing.T, dir string, number uint64, first raftcore.Index) (file string, offset int64) {
	t.Helper()
	in, err := Inspect(dir, InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c, ok := in.files.cells[string(chunkKey(number, first))]
	if !ok {
		t.Fatalf("there is no chunk from entry %d on", first)
	}
	return in.files.path(c.file), c.offset
}

func flipByte(t *testing.T, name string, offset int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[offset] ^= 0x10
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// firstChunks returns where the chunks of a group begin, ascending.
func firstChunks(t *testing.T, dir string, number uint64) (firsts []raftcore.Index) {
	t.Helper()
	in, err := Inspect(dir, InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, key := range in.files.keys {
		if strings.HasPrefix(key, string(chunksOf(number))) {
			firsts = append(firsts, firstOf([]byte(key)))
		}
	}
	slices.Sort(firsts)
	return firsts
}

// TestD15_DamageThatALoadMeetsIsRepairedWhenTheStoreIsOpenedAgain: opening does not read
// all of Badger, so whoever meets damage leaves a note.
func TestD15_DamageThatALoadMeetsIsRepairedWhenTheStoreIsOpenedAgain(t *testing.T) {
	dir, log := tabled(t)
	s := mustOpen(t, handedOverByHand(dir))
	incarnation := mustOpenGroup(t, s, "orders").Recovered.Incarnation
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	firsts := firstChunks(t, dir, 1)
	hole := firsts[len(firsts)/2]
	name, offset := chunkPlace(t, dir, 1, hole)
	flipByte(t, name, offset+20)
	o := handedOverByHand(dir)
	o.Repair = true
	s = mustOpen(t, o)         // nobody has met it
	_, err := s.Open("orders") // which reads the newest entries
	if !errors.As(err, new(*persistence.CorruptError)) || !strings.Contains(err.Error(), "Options.Repair") {
		t.Fatalf("the damage was read with %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damaged, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	in := wantRepair(t, dir)
	in.Close()
	s = mustOpen(t, o)
	again := mustOpenGroup(t, s, "orders")
	r := &again.Recovered
	if !r.Damaged || r.HardState != (raftcore.HardState{Term: 1, Cluster: 5}) || r.Incarnation == incarnation {
		t.Errorf("it has come back as %+v", r)
	}
	if next := firsts[len(firsts)/2+1]; r.Last >= next || r.Last < hole-1 { // an older value of the chunk may come up
		t.Errorf("the chunk from entry %d on is damaged, and the log ends at %d", hole, r.Last)
	}
	wantLog(t, s, again, log[:r.Last])
	aside, err := os.ReadFile(filepath.Join(dir, asideName, filepath.Base(name)))
	if err != nil || !bytes.Equal(aside, damaged) {
		t.Errorf("the damaged file was not kept as it was: %v", err)
	}
	mustSave(t, s, saveOf(again, 2, commands(2, r.Last+1, r.Last+3)...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o) // once is enough
	joined := mustOpenGroup(t, s, "orders")
	if joined.Recovered.Damaged || joined.Recovered.Incarnation != r.Incarnation {
		t.Errorf("opened again it is %+v", &joined.Recovered)
	}
	wantLog(t, s, joined, append(log[:r.Last:r.Last], commands(2, r.Last+1, r.Last+3)...))
	s.Close()
	wantFormat(t, dir, storeFormat)
}

// wantRepair checks that whoever looks says that Badger would be made anew, and changes
// nothing.
func wantRepair(t *testing.T, dir string) *Inspection {
	t.Helper()
	before := state(t, dir)
	in, err := Inspect(dir, InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	r, err := in.Rehearse()
	if err != nil {
		t.Fatal(err)
	}
	if r.Repair == nil || !r.Repair.Badger {
		t.Errorf("who looks says that a repair would do %+v, because of %v", r.Repair, r.Err)
	}
	if after := state(t, dir); !reflect.DeepEqual(after, before) {
		t.Errorf("looking has changed the files")
	}
	return in
}

// twoGroups makes a closed store like tabled, with another group, of which the journal
// has everything.
func twoGroups(t *testing.T) (dir string, log, others []raftcore.Entry) {
	t.Helper()
	dir, log = tabled(t)
	s := mustOpen(t, handedOverByHand(dir))
	orders, stock := mustOpenGroup(t, s, "orders"), mustOpenGroup(t, s, "stock")
	last := raftcore.Index(len(log))
	log, others = append(log, commands(1, last+1, last+3)...), commands(1, 1, 9)
	mustSave(t, s, saveOf(orders, 1, log[last:]...), saveOf(stock, 1, others...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, log, others
}

// TestP1D9_ABadgerThatDoesNotOpenIsMadeAnew: whatever is damaged, or missing.
func TestP1D9_ABadgerThatDoesNotOpenIsMadeAnew(t *testing.T) {
	whole, log, others := twoGroups(t)
	in := func(dir, name string) string { return filepath.Join(dir, badgerName, name) }
	table := filepath.Base(tablesIn(t, whole)[0])
	flip := func(fromEnd int64) func(string) error {
		return func(name string) error {
			b, err := os.ReadFile(name)
			if err == nil {
				b[int64(len(b))-fromEnd] ^= 0x10
				err = os.WriteFile(name, b, 0o600)
			}
			return err
		}
	}
	cut := func(size int64) func(string) error {
		return func(name string) error { return os.Truncate(name, size) }
	}
	values, err := filepath.Glob(in(whole, "*.vlog"))
	if err != nil || len(values) == 0 {
		t.Fatal(values, err)
	}
	key := func(name string) error { // its head names one
		b := make([]byte, 100)
		b[7] = 1
		return os.WriteFile(name, b, 0o600)
	}
	for what, c := range map[string]struct {
		name string
		harm func(name string) error
	}{
		"a table's checksum":       {table, flip(5)},
		"a table's index":          {table, flip(60)},
		"a table is empty":         {table, cut(0)},
		"a table is half":          {table, cut(40 << 10)},
		"a table is missing":       {table, os.Remove},
		"the list of tables":       {"MANIFEST", flip(2)},
		"the list is missing":      {"MANIFEST", os.Remove},
		"the key registry":         {"KEYREGISTRY", flip(1)},
		"the head of the values":   {filepath.Base(values[0]), key},
		"all of Badger is missing": {"", os.RemoveAll},
		"the head of a log":        {"00077.mem", key},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			copyDir(t, whole, dir)
			if err := c.harm(in(dir, c.name)); err != nil {
				t.Fatal(err)
			}
			wantRepair(t, dir)
			o := handedOverByHand(dir)
			o.Repair = true
			s := mustOpen(t, o)
			wantPrefixes(t, s, log, others)
			if g := s.(*store).names["orders"]; strings.HasPrefix(what, "the ") && g.log.Last < 110 {
				t.Errorf("all tables can be read, and of what was in them it has %d entries", g.log.Last)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, handedOverByHand(dir))
			wantPrefixes(t, s, log, others)
			s.Close()
			wantFormat(t, dir, storeFormat)
		})
	}
}

// wantPrefixes checks that two groups are damaged, and have what they had, up to some
// entry; of the second one the journal has everything.
func wantPrefixes(t *testing.T, s persistence.Store, log, others []raftcore.Entry) {
	t.Helper()
	for name, all := range map[string][]raftcore.Entry{"orders": log, "stock": others} {
		g := mustOpenGroup(t, s, name)
		r := &g.Recovered
		if !r.Damaged || r.HardState.Joined || r.HardState.Vote != raftcore.Nobody {
			t.Errorf("group %q does not know: %+v", name, r)
		}
		if r.Last > 0 {
			wantLog(t, s, g, all[:r.Last])
		}
		if name == "stock" && int(r.Last) != len(all) {
			t.Errorf("group %q has %d entries of the %d that the journal has", name, r.Last, len(all))
		}
		if err := s.CloseGroup(g.Group); err != nil {
			t.Fatal(err)
		}
	}
}

// putTable writes what Badger's stand-in has.
func putTable(disk *journaltest.Disk, tab *logTable) {
	var all []write
	for _, key := range tab.keys {
		all = append(all, write{key: []byte(key), value: tab.data[key]})
	}
	disk.Put("d/badger/log", encodeTransaction(all))
}

// TestP1D9_TheJournalIsNotReplayedOverAnOldValue: what Badger has of a group is from
// before a leader replaced its entries, and the count of versions happens to be right. The
// journal goes on behind what came in their place. Or all of Badger is from before.
func TestP1D9_TheJournalIsNotReplayedOverAnOldValue(t *testing.T) {
	for _, lostEnd := range []bool{false, true} {
		replayOverAnOldValue(t, lostEnd)
	}
}

func replayOverAnOldValue(t *testing.T, lostEnd bool) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o).(*store)
	tab := logTableOf(s)
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 100)...))
	handAllOver(t, s, a)
	old := map[string][]byte{}
	for _, key := range tab.keys {
		if lostEnd || key == string(groupKey(1)) || strings.HasPrefix(key, string(chunksOf(1))) {
			old[key] = tab.data[key]
		}
	}
	mustSave(t, s, saveOf(a, 2, commands(2, 51, 100)...))
	other := s.groups[1]
	for next := other.log.Last + 1; s.sealed() == 0 || s.groups[0].touched == s.segment; next += 50 {
		mustSave(t, s, persistence.Save{Group: 2, Save: raftcore.Save{Token: raftcore.Token{Boot: other.boot, Sequence: 1}, HardState: other.log.HardState, Entries: commands(1, next, next+49)}})
	}
	for s.sealed() > 0 {
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil {
			t.Fatal(err)
		}
	}
	mustSave(t, s, saveOf(a, 2, commands(2, 101, 110)...))
	lost := s.groups[0].version
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, v, err := decodeGroup(groupKey(1), old[string(groupKey(1))])
	if err != nil {
		t.Fatal(err)
	}
	for key := range tab.data {
		if lostEnd || strings.HasPrefix(key, string(chunksOf(1))) {
			delete(tab.data, key)
		}
	}
	for key, value := range old {
		tab.data[key] = value
	}
	var writes []write
	if r := s.root; lostEnd {
		disk.Put("d/badger/"+onlyEntriesName, nil)
	} else {
		r.versions -= lost - v.version
		writes = []write{{key: rootKey, value: r.encode()}}
	}
	tab.apply(writes)
	putTable(disk, tab)
	disk.Put("d/"+noteName, nil)

	o.Repair = true
	again := mustOpen(t, o)
	g := mustOpenGroup(t, again, "a")
	if !g.Recovered.Damaged || g.Recovered.Last > 100 {
		t.Errorf("entries 51 to 100 are lost, and it has come back as %+v", &g.Recovered)
	}
	if g.Recovered.Last > 0 {
		wantLog(t, again, g, commands(1, 1, g.Recovered.Last))
	}
}

// halfTable is a table in which one commit fails.
type halfTable struct {
	table
	left int // commits before that
}

func (t *halfTable) commit(writes []write) error {
	if t.left--; t.left < 0 {
		return errors.New("the disk is gone")
	}
	return t.table.commit(writes)
}

// TestD15_AHalfOfABadgerIsNotTakenForWhole: the damaged one was noted, and then somebody
// has removed it; and making it anew is interrupted.
func TestD15_AHalfOfABadgerIsNotTakenForWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, handedOverByHand(dir))
	names := []string{"first", "second", "third"}
	for _, name := range names {
		mustSave(t, s, saveOf(mustOpenGroup(t, s, name), 1, commands(1, 1, 9)...))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, badgerName)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, noteName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := handedOverByHand(dir)
	o.Repair = true
	interrupted := o
	interrupted.hooks.commitBytes = 10
	interrupted.hooks.openTable = func(dir string, logger *slog.Logger, failed func(error)) (table, error) {
		t, err := openBadger(dir, logger, failed)
		return &halfTable{t, 1}, err
	}
	if s, err := interrupted.Open(); err == nil {
		s.Close()
		t.Fatal("it was not interrupted")
	}
	s = mustOpen(t, o)
	for _, name := range names {
		if g := mustOpenGroup(t, s, name); g.Recovered.Last != 9 || !g.Recovered.Damaged {
			t.Errorf("the journal has 9 entries of group %q, and it has come back as %+v", name, &g.Recovered)
		}
	}
	s.Close()
}

// TestP1_PiecesOfTwoEntriesMakeNone: another leader's entry took the place of a large one,
// both were in pieces of the same size, and where a piece of the newer one is lost that of
// the older one comes up.
func TestP1_PiecesOfTwoEntriesMakeNone(t *testing.T) {
	disk := journaltest.New(1)
	o := simulated(disk)
	s := mustOpen(t, o).(*store)
	tab := logTableOf(s)
	a := mustOpenGroup(t, s, "a")
	large := func(term raftcore.Term, text string) raftcore.Entry {
		return command(term, 4, strings.Repeat(text, 2*maxPieceBytes))
	}
	mustSave(t, s, saveOf(a, 1, append(commands(1, 1, 3), large(1, "x"))...))
	handAllOver(t, s, a)
	lost := string(pieceKey(1, 4, 1))
	old := tab.data[lost]
	mustSave(t, s, saveOf(a, 2, large(2, "y")))
	for g, other := s.groups[0], s.groups[1]; g.held < 4; {
		next := other.log.Last + 1
		mustSave(t, s, saveOf(persistence.Opened{Group: 2, Boot: other.boot}, 1, commands(1, next, next+49)...))
		for s.sealed() > 0 {
			oldest, _ := s.journal.Segments()
			if err := s.handOver(oldest); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(old) == 0 || len(tab.data[lost]) != len(old) || bytes.Equal(tab.data[lost], old) {
		t.Fatalf("the pieces have %d bytes and %d", len(old), len(tab.data[lost]))
	}
	tab.data[lost] = old
	putTable(disk, tab)
	disk.Put("d/badger/"+onlyEntriesName, nil)
	disk.Put("d/"+noteName, nil)
	o.Repair = true
	again := mustOpen(t, o)
	g := mustOpenGroup(t, again, "a")
	if g.Recovered.Last != 3 {
		t.Errorf("it has come back with entries up to %d", g.Recovered.Last)
	}
	wantLog(t, again, g, commands(1, 1, 3))
}

// TestD15_ARepairThatIsInterruptedLosesNoMore: wherever that is, what is kept in the end
// is the same, and the damaged Badger is there as it was.
func TestD15_ARepairThatIsInterruptedLosesNoMore(t *testing.T) {
	prepare := func() (*journaltest.Disk, Options, []byte) {
		disk := journaltest.New(1)
		o := simulated(disk)
		s := mustOpen(t, o).(*store)
		a := mustOpenGroup(t, s, "a")
		mustSave(t, s, saveOf(a, 1, commands(1, 1, 4*maxChunkEntries)...))
		handAllOver(t, s, a)
		mustSave(t, s, saveOf(a, 1, commands(1, 4*maxChunkEntries+1, 4*maxChunkEntries+5)...))
		if err := s.table.commit([]write{{key: chunkKey(1, 1+2*maxChunkEntries)}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		disk.Put("d/badger/"+onlyEntriesName, nil)
		disk.Put("d/"+noteName, nil)
		o.Repair = true
		return disk, o, disk.Contents("d/badger/log")
	}
	for at := 1; ; at++ {
		for _, power := range []bool{false, true} {
			disk, o, damaged := prepare()
			disk.CrashAt(at)
			s, err := o.Open()
			if err == nil {
				s.Close()
			}
			disk.Crash(power)
			o.Repair = slices.Contains(disk.Files(), "d/"+noteName)
			again := mustOpen(t, o)
			g := mustOpenGroup(t, again, "a")
			if !g.Recovered.Damaged || g.Recovered.Last != 2*maxChunkEntries {
				t.Fatalf("interrupted at operation %d, power lost: %v: it has come back as %+v", at, power, &g.Recovered)
			}
			wantLog(t, again, g, commands(1, 1, 2*maxChunkEntries))
			if files := disk.Files(); !slices.Contains(files, "d/badger.damaged/log") || slices.Contains(files, "d/badger.damaged.2/log") {
				t.Fatalf("interrupted at operation %d, power lost: %v: there are %q", at, power, files)
			}
			if kept := disk.Contents("d/badger.damaged/log"); !bytes.Equal(kept, damaged) {
				t.Fatalf("interrupted at operation %d, power lost: %v: the damaged Badger is not what it was", at, power)
			}
			again.Close()
			if err == nil && power {
				return // the repair has no operation of that number any more
			}
		}
	}
}

// TestD9P1_GroupsAreNotMixedUpByASecondRepair: a group was lost, so that those behind it
// have other numbers in the new Badger; before that was open, it was damaged as well. The
// journal of the first speaks of the old numbers.
func TestD9P1_GroupsAreNotMixedUpByASecondRepair(t *testing.T) {
	prepare := func() (*journaltest.Disk, Options) {
		disk := journaltest.New(1)
		o := simulated(disk)
		s := mustOpen(t, o).(*store)
		var groups []persistence.Opened
		for _, name := range []string{"a", "lost", "c"} {
			g := mustOpenGroup(t, s, name)
			mustSave(t, s, saveOf(g, 1, commands(1, 1, 9)...))
			groups = append(groups, g)
		}
		handAllOver(t, s, groups[0])
		for _, g := range groups {
			mustSave(t, s, saveOf(g, 1, commands(1, 10, 20)...))
		}
		compacted := saveOf(groups[1], 1, commands(1, 21, 50)...)
		compacted.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Index: 20, Term: 1}}
		compacted.Base = compacted.Snapshot
		mustSave(t, s, compacted) // the journal alone has all that was left of it
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		tab := logTableOf(s)
		if err := tab.commit([]write{{key: groupKey(2)}}); err != nil {
			t.Fatal(err)
		}
		disk.Put("d/"+noteName, nil)
		o.Repair = true
		return disk, o
	}
	for at := 1; ; at++ {
		disk, o := prepare()
		disk.CrashAt(at)
		s, err := o.Open()
		if err == nil {
			s.Close()
		}
		disk.Crash(false)
		disk.Put("d/"+noteName, nil) // what is Badger's now is damaged, too
		again := mustOpen(t, o)
		for _, name := range []string{"a", "c"} {
			g := mustOpenGroup(t, again, name)
			if last := g.Recovered.Last; !g.Recovered.Damaged || last != 9 && last != 20 {
				t.Fatalf("interrupted at operation %d: group %q has come back as %+v", at, name, &g.Recovered)
			}
			wantLog(t, again, g, commands(1, 1, g.Recovered.Last))
		}
		again.Close()
		if err == nil {
			return // the repair has no operation of that number any more
		}
	}
}

// TestP1_ABlockThatMayHaveHadMoreThanEntriesIsNotPassedOver: a flipped bit anywhere in
// the value of a group, the root or a ticket.
func TestP1_ABlockThatMayHaveHadMoreThanEntriesIsNotPassedOver(t *testing.T) {
	dir, _, _ := twoGroups(t)
	s := mustOpen(t, handedOverByHand(dir)).(*store)
	for i := range 50 { // so that they fill several blocks
		mustOpenGroup(t, s, fmt.Sprint(i, strings.Repeat("x", 3000)))
	}
	for s.sealed() > 0 {
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	in, err := Inspect(dir, InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	badger := filepath.Join(dir, badgerName)
	if r, err := readBadger(badger); err != nil || r.damage != nil || r.partial {
		t.Fatalf("what is whole is read as %+v, %v", r, err)
	}
	tables, kinds := 0, map[byte]map[bool]int{}
	for key, c := range in.files.cells {
		if in.Table.Files[c.file].Kind != "table" || key[0] == prefixTicket && tables > 40 {
			continue
		}
		tables++
		name := in.files.path(c.file)
		flipByte(t, name, c.offset+1)
		r, err := readBadger(badger)
		if err != nil || r.damage == nil {
			t.Fatalf("%s was damaged, and is read as %+v, %v", describe([]byte(key)), r, err)
		}
		if kinds[key[0]] == nil {
			kinds[key[0]] = map[bool]int{}
		}
		kinds[key[0]][r.partial]++
		flipByte(t, name, c.offset+1)
		r.close()
	}
	for _, kind := range []byte{prefixRoot, prefixTicket, prefixGroup} {
		if kinds[kind][false] > 0 || kinds[kind][true] == 0 {
			t.Errorf("of the damages of keys %q %d were taken for lost entries, %d were not", kind, kinds[kind][false], kinds[kind][true])
		}
	}
	if kinds[prefixChunk][false] == 0 {
		t.Errorf("no damage of a chunk was taken for lost entries: %v", kinds)
	}
}
