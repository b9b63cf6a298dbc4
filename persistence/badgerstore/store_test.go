package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// wantPoisoned checks that nothing is answered any more, and why.
func wantPoisoned(t *testing.T, s persistence.Store, o persistence.Opened, cause error) {
	t.Helper()
	_, open := s.Open("another")
	_, load := s.Load(o.Group, raftcore.Load{From: 1, To: 1})
	for name, err := range map[string]error{
		"Save": s.Save([]persistence.Save{saveOf(o, 1)}), "an empty Save": s.Save(nil),
		"Open": open, "Load": load, "CloseGroup": s.CloseGroup(o.Group), "Close": s.Close(),
	} {
		if !errors.Is(err, persistence.ErrPoisoned) || !errors.Is(err, cause) {
			t.Errorf("%s ended with %v", name, err)
		}
	}
}

func TestD6_FailedSyncPoisonsTheStoreUntilItIsOpenedAgain(t *testing.T) {
	for n, what := range []string{"write", "sync"} {
		t.Run(what, func(t *testing.T) {
			disk := journaltest.New(1)
			s := mustOpen(t, simulated(disk))
			a := mustOpenGroup(t, s, "a")
			mustSave(t, s, saveOf(a, 1, commands(1, 1, 3)...))
			disk.FailAt(n + 1)
			if err := s.Save([]persistence.Save{saveOf(a, 2, commands(2, 2, 9)...)}); !errors.Is(err, persistence.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("the Save that failed ended with %v", err)
			}
			wantPoisoned(t, s, a, syscall.EIO)
			disk.Crash(false)
			s = mustOpen(t, simulated(disk))
			a = mustOpenGroup(t, s, "a")
			if a.Recovered.HardState.Term == 1 {
				wantLog(t, s, a, commands(1, 1, 3))
			} else {
				wantLog(t, s, a, append(commands(1, 1, 1), commands(2, 2, 9)...))
			}
		})
	}
}

// TestD7_ASaveThatFailedHasNotMovedTheEndOfTheLog: the entries were to replace
// others, and neither is known to be there; the store must not believe in
// either, and does not answer.
func TestD7_ASaveThatFailedHasNotMovedTheEndOfTheLog(t *testing.T) {
	disk := journaltest.New(1)
	opened := mustOpen(t, simulated(disk))
	a := mustOpenGroup(t, opened, "a")
	mustSave(t, opened, saveOf(a, 1, commands(1, 1, 9)...))
	disk.FailAt(2)
	if err := opened.Save([]persistence.Save{saveOf(a, 2, commands(2, 3, 3)...)}); !errors.Is(err, persistence.ErrPoisoned) {
		t.Fatal(err)
	}
	if g := opened.(*store).groups[0]; g.log.Last != 9 || g.log.HardState.Term != 1 || len(g.log.Runs) != 1 {
		t.Errorf("the group is %+v", g.log)
	}
}

// failingTable fails in commit, or hangs in close, when it is told to.
type failingTable struct {
	table
	mu      sync.Mutex
	commit_ func() error
	hang    chan struct{}
	hanging chan struct{} // closed when it does
	closing error
}

func (f *failingTable) commit(writes []write) error {
	f.mu.Lock()
	fail := f.commit_
	f.mu.Unlock()
	if fail != nil {
		if err := fail(); err != nil {
			return err
		}
	}
	return f.table.commit(writes)
}

func (f *failingTable) onCommit(do func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commit_ = do
}

func (f *failingTable) close() error {
	if f.hang != nil {
		close(f.hanging)
		<-f.hang
	}
	return errors.Join(f.table.close(), f.closing)
}

// withFailingTable puts a failingTable around the store's.
func withFailingTable(o Options) (Options, *failingTable) {
	f := &failingTable{}
	open := o.withDefaults().hooks.openTable
	o.hooks.openTable = func(dir string, logger *slog.Logger, failed func(error)) (table, error) {
		t, err := open(dir, logger, failed)
		f.table = t
		return f, err
	}
	return o, f
}

// saveUntil saves until the store says that it is enough.
func saveUntil(t *testing.T, s persistence.Store, o persistence.Opened, enough func() bool) raftcore.Index {
	t.Helper()
	last := o.Recovered.Last
	for !enough() {
		if err := s.Save([]persistence.Save{saveOf(o, 1, commands(1, last+1, last+50)...)}); err != nil {
			if errors.Is(err, persistence.ErrPoisoned) {
				return last
			}
			t.Fatal(err)
		}
		last += 50
	}
	return last
}

func TestD14_AFailedHandoverPoisonsTheStoreAndWakesWhoWaits(t *testing.T) {
	o, f := withFailingTable(quiet(t.TempDir()))
	waits := make(chan struct{})
	var once sync.Once
	o.hooks.onWait = func() { once.Do(func() { close(waits) }) }
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	broken := errors.New("the table is broken")
	f.onCommit(func() error {
		<-waits
		return broken
	})
	hangs := time.AfterFunc(time.Minute, func() { panic("a Save waits for room, and nobody tells it that the store has failed") })
	defer hangs.Stop()
	last := saveUntil(t, s, a, func() bool { return false }) // ends when it is poisoned
	wantPoisoned(t, s, a, broken)
	s = mustOpen(t, quiet(o.Dir))
	a = mustOpenGroup(t, s, "a")
	wantLog(t, s, a, commands(1, 1, last))
}

func TestWhatBadgerComplainsOfInTheBackgroundPoisonsTheStore(t *testing.T) {
	s := mustOpen(t, quiet(t.TempDir()))
	a := mustOpenGroup(t, s, "a")
	s.(*store).table.(*restingTable).table.(*badgerTable).log.Errorf("error flushing memtable to disk: %v, retrying", syscall.EIO)
	if err := s.Save(nil); !errors.Is(err, persistence.ErrPoisoned) || !strings.Contains(err.Error(), "flushing memtable") {
		t.Errorf("Save ended with %v", err)
	}
	_ = a
}

// TestSavesWaitForRoomWhenBadgerDoesNotKeepUp holds the first transaction up
// until a Save waits.
func TestSavesWaitForRoomWhenBadgerDoesNotKeepUp(t *testing.T) {
	o, f := withFailingTable(quiet(t.TempDir()))
	waits := make(chan struct{})
	var once sync.Once
	o.hooks.onWait = func() { once.Do(func() { close(waits) }) }
	s := mustOpen(t, o)
	a := mustOpenGroup(t, s, "a")
	f.onCommit(func() error { <-waits; return nil })
	most := 0
	n := 0
	last := saveUntil(t, s, a, func() bool {
		most = max(most, s.(*store).sealed())
		n++
		return n > 400
	})
	select {
	case <-waits:
	default:
		t.Fatal("no Save has waited")
	}
	if most > o.MaxSegments+2 {
		t.Errorf("there were %d full segments, allowed are %d", most, o.MaxSegments)
	}
	wantLog(t, s, a, commands(1, 1, last))
}

func TestCloseDoesNotHangOnADeadDisk(t *testing.T) {
	o, f := withFailingTable(quiet(t.TempDir()))
	o.hooks.closeWait = time.Millisecond
	s := mustOpen(t, o)
	f.hang, f.hanging = make(chan struct{}), make(chan struct{})
	if err := s.Close(); !errors.Is(err, errStillOpen) {
		t.Errorf("Close ended with %v", err)
	}
	<-f.hanging
	if _, err := quiet(o.Dir).Open(); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("the directory is open to others: %v", err)
	}
	for _, lock := range []string{lockName, filepath.Join(journalName, "lock")} { // not Badger's alone
		if _, err := journal.OS.Lock(filepath.Join(o.Dir, lock)); !errors.Is(err, persistence.ErrLocked) {
			t.Errorf("%s is open to others: %v", lock, err)
		}
	}
	close(f.hang)
}

func TestCloseInterruptsAHandoverAndHarmsNothing(t *testing.T) {
	o, f := withFailingTable(quiet(t.TempDir()))
	o.hooks.commitBytes = 1
	opened := mustOpen(t, o)
	s := opened.(*store)
	begun := make(chan struct{})
	var once sync.Once
	f.onCommit(func() error {
		once.Do(func() { close(begun) })
		<-s.quit
		return nil
	})
	a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
	mustSave(t, s, saveOf(b, 1, commands(1, 1, 300)...))
	last := saveUntil(t, s, a, func() bool {
		select {
		case <-begun:
			return true
		default:
			return false
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, quiet(o.Dir))
	wantLog(t, again, mustOpenGroup(t, again, "a"), commands(1, 1, last))
	wantLog(t, again, mustOpenGroup(t, again, "b"), commands(1, 1, 300))
}

// handedOver returns a store with a few groups of which most is in Badger, and
// what must be in it.
func handedOver(t *testing.T, dir string) (s persistence.Store, logs map[string][]raftcore.Entry) {
	t.Helper()
	s = mustOpen(t, quiet(dir))
	logs = map[string][]raftcore.Entry{}
	for _, name := range []string{"a", "b", "c"} {
		o := mustOpenGroup(t, s, name)
		last := saveUntil(t, s, o, func() bool {
			oldest, _ := s.(*store).journal.Segments()
			return oldest > uint32(3*len(logs)+3)
		})
		logs[name] = commands(1, 1, last)
	}
	for s.(*store).sealed() > 1 { // what is under way comes to its end
		runtime.Gosched()
	}
	return s, logs
}

func wantLogs(t *testing.T, s persistence.Store, logs map[string][]raftcore.Entry) {
	t.Helper()
	for name, log := range logs {
		o := mustOpenGroup(t, s, name)
		if o.Recovered.Last != log[len(log)-1].Index || len(o.Recovered.Runs) != 1 || o.Recovered.HardState.Term != 1 {
			t.Errorf("%s was recovered as %v", name, &o.Recovered)
		}
		wantLog(t, s, o, log)
	}
}

func TestWhatWasHandedOverIsReadFromBadger(t *testing.T) {
	dir := t.TempDir()
	s, logs := handedOver(t, dir)
	for _, g := range s.(*store).groups[:2] {
		if g.held < 100 {
			t.Errorf("group %s: Badger has entries up to %d only", g.name, g.held)
		}
	}
	s.Close()
	s = mustOpen(t, quiet(dir))
	wantLogs(t, s, logs)
}

// TestP1_WhatBadgerForgetsIsNoticed damages Badger's write-ahead log in a copy
// of the directory, as if the process had died: Badger cuts it off at the first
// bad record without a word. What was in it had been handed over, and the
// journal has it no more.
func TestP1_WhatBadgerForgetsIsNoticed(t *testing.T) {
	dir := t.TempDir()
	_, logs := handedOver(t, dir)
	whole := filepath.Join(t.TempDir(), "whole")
	copyDir(t, dir, whole)
	s := mustOpen(t, quiet(whole))
	wantLogs(t, s, logs) // the copy as such is good
	s.Close()

	logged, err := filepath.Glob(filepath.Join(dir, badgerName, "*.mem"))
	if err != nil || len(logged) != 1 {
		t.Fatalf("the logs are %q, %v", logged, err)
	}
	b, err := os.ReadFile(logged[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(b, "\x00"))
	for _, at := range []int{30, end / 4, end / 2, end - 20} {
		damaged := filepath.Join(t.TempDir(), "damaged")
		copyDir(t, dir, damaged)
		spoilt := bytes.Clone(b)
		spoilt[at] ^= 0x40
		if err := os.WriteFile(filepath.Join(damaged, badgerName, filepath.Base(logged[0])), spoilt, 0o644); err != nil {
			t.Fatal(err)
		}
		opened, err := quiet(damaged).Open()
		var corrupt *persistence.CorruptError
		if !errors.As(err, &corrupt) || !strings.Contains(corrupt.File, badgerName) {
			t.Errorf("with a flipped bit at %d of %d it was opened with %v", at, end, err)
		}
		if opened != nil {
			opened.Close()
		}
	}
}

// TestP1_ATransactionLostInTheMiddleIsNoticed: with several memtables Badger may
// forget some transactions and know later ones.
func TestP1_ATransactionLostInTheMiddleIsNoticed(t *testing.T) {
	for seed := range uint64(20) {
		disk := journaltest.New(seed)
		m := rafttest.NewStoreModel(seed)
		opened, err := simulated(disk).Open()
		if err != nil {
			t.Fatal(err)
		}
		s := opened.(*store)
		var history [][]write
		for range 3 {
			for s.sealed() < 2 {
				if err := m.Step(s); err != nil {
					t.Fatal(err)
				}
			}
			f := &recordingTable{table: s.table}
			s.table = f
			oldest, _ := s.journal.Segments()
			if err := s.handOver(oldest); err != nil {
				t.Fatal(err)
			}
			s.table = f.table
			history = append(history, f.transactions...)
		}
		s.Close()
		lost := 1 + m.Rand.IntN(len(history)-2)
		// Badger as it is without one of them.
		tab := logTableOf(s)
		clear(tab.data)
		var kept []write
		first := ticketKey(1)
		kept = append(kept, write{key: first, value: encodeTicket(first, 1)})
		for i, writes := range history {
			if i != lost {
				kept = append(kept, writes...)
			}
		}
		tab.apply(kept)
		var all []write
		for _, key := range tab.keys {
			all = append(all, write{key: []byte(key), value: tab.data[key]})
		}
		disk.Put("d/badger/log", encodeTransaction(all))
		var corrupt *persistence.CorruptError
		if _, err := simulated(disk).Open(); !errors.As(err, &corrupt) {
			t.Errorf("seed %d: transaction %d of %d is lost, and the store was opened with %v", seed, lost, len(history), err)
		}
	}
}

type recordingTable struct {
	table
	transactions [][]write
}

func (r *recordingTable) commit(writes []write) error {
	r.transactions = append(r.transactions, append([]write(nil), writes...))
	return r.table.commit(writes)
}

// TestP2_ATransactionThatIsTooBigIsRefusedNotSplit: Badger's WriteBatch would make
// several of it.
func TestP2_ATransactionThatIsTooBigIsRefusedNotSplit(t *testing.T) {
	s := mustOpen(t, quiet(t.TempDir())).(*store)
	var writes []write
	for i := range uint64(40) {
		key := groupKey(i + 1)
		writes = append(writes, write{key: key, value: seal(key, make([]byte, 64<<10))})
	}
	if err := s.table.commit(writes); err == nil {
		t.Error("it was accepted")
	}
	err := s.table.scan([]byte{prefixGroup}, []byte{prefixGroup}, func(key, _ []byte) (bool, error) {
		return false, fmt.Errorf("%x is there", key)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestMissingPartsOfAStoreAreReported(t *testing.T) {
	dir := t.TempDir()
	s, _ := handedOver(t, dir)
	s.Close()
	older := filepath.Join(t.TempDir(), "older")
	copyDir(t, dir, older)
	s = mustOpen(t, quiet(dir))
	a := mustOpenGroup(t, s, "a")
	oldest, _ := s.(*store).journal.Segments()
	saveUntil(t, s, a, func() bool { now, _ := s.(*store).journal.Segments(); return now > oldest+6 })
	s.Close()

	for name, spoil := range map[string]func(dir string) error{
		"no journal": func(dir string) error { return os.RemoveAll(filepath.Join(dir, journalName)) },
		"no badger":  func(dir string) error { return os.RemoveAll(filepath.Join(dir, badgerName)) },
		"an older badger": func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, badgerName)); err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(dir, badgerName), os.DirFS(filepath.Join(older, badgerName)))
		},
		"an older journal": func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, journalName)); err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(dir, journalName), os.DirFS(filepath.Join(older, journalName)))
		},
		"the oldest segment": func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, journalName, "*.segment"))
			if err != nil {
				return err
			}
			return os.Remove(names[0])
		},
		"another store's marker": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, markerName), (&marker{format: storeFormat, id: 4711}).encode(), 0o644)
		},
		"a damaged marker": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, markerName), []byte("castaway store\nformat 1\n"), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := filepath.Join(t.TempDir(), "spoilt")
			copyDir(t, dir, spoilt)
			if err := spoil(spoilt); err != nil {
				t.Fatal(err)
			}
			s, err := quiet(spoilt).Open()
			var corrupt *persistence.CorruptError
			if !errors.As(err, &corrupt) || !strings.HasPrefix(corrupt.File, spoilt) {
				t.Errorf("it was opened with %v", err)
			}
			if s != nil {
				s.Close()
			}
		})
	}
}

func TestDirectoriesThatAreNotOursAreLeftAlone(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(full, "thesis.txt")
	later := t.TempDir()
	if err := os.WriteFile(filepath.Join(later, markerName), (&marker{format: storeFormat + 1, id: 1}).encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, mention := range map[string]string{full: "thesis.txt", file: "file", filepath.Join(file, "below"): "not a directory", later: fmt.Sprintf("format %d;", storeFormat+1), "": "Dir is empty"} {
		_, err := quiet(dir).Open()
		if err == nil || !strings.Contains(err.Error(), mention) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q was opened with %v", dir, err)
		}
	}
	left, err := os.ReadDir(full)
	if err != nil || len(left) != 2 { // ours is the lock
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestOptionsAreValidatedAllAtOnce(t *testing.T) {
	_, err := Options{SegmentBytes: 5, RetainSegments: -1, MaxSegments: -2}.Open()
	for _, field := range []string{"Dir", "SegmentBytes", "RetainSegments", "MaxSegments"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not mentioned in %v", field, err)
		}
	}
}

func TestNamesOfGroupsAreBounded(t *testing.T) {
	s := mustOpen(t, quiet(t.TempDir()))
	mustOpenGroup(t, s, "")
	mustOpenGroup(t, s, strings.Repeat("n", maxNameBytes))
	if _, err := s.Open(strings.Repeat("n", maxNameBytes+1)); err == nil {
		t.Error("a name that is too long was taken")
	}
}

// TestACorruptRecordIsReportedWithFileGroupAndRange flips a bit under an open
// store.
func TestACorruptRecordIsReportedWithFileGroupAndRange(t *testing.T) {
	disk := journaltest.New(1)
	s := mustOpen(t, simulated(disk))
	a := mustOpenGroup(t, s, "orders")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 9)...))
	e := s.(*store).groups[0].extents[0]
	file := s.(*store).journal.File(e.at.Segment)
	disk.Flip(file, int(e.at.Offset)+40, 1)
	_, err := s.Load(a.Group, raftcore.Load{From: 3, To: 5, MaxBytes: 1000})
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != file || !strings.Contains(err.Error(), `"orders"`) || !strings.Contains(err.Error(), "3 to 5") {
		t.Errorf("Load ended with %v", err)
	}
	if errors.Is(err, persistence.ErrPoisoned) {
		t.Error("a bad read has poisoned the store")
	}
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := copyAll(from, to); err != nil {
		t.Fatal(err)
	}
}

func copyAll(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return copySparse(path, filepath.Join(to, rel))
	})
}

// copySparse copies a file, but for what is zeros in it.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	var b, zeros [64 << 10]byte
	for at := int64(0); ; {
		n, err := io.ReadFull(in, b[:])
		if !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := out.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return out.Truncate(at)
		default:
			return err
		}
	}
}

// TestD10_AStoreIsOneHosts: two hosts whose disks are mistaken for each other would vote in
// terms in which the other's vote, under their own name, was given.
func TestD10_AStoreIsOneHosts(t *testing.T) {
	o := quiet(filepath.Join(t.TempDir(), "store"))
	for _, c := range []struct {
		host raftcore.NodeID
		ours bool
	}{{7, true}, {7, true}, {8, false}, {7, true}} {
		s := mustOpen(t, o)
		err := s.(persistence.Owned).Own(c.host)
		if c.ours && err != nil || !c.ours && !errors.Is(err, persistence.ErrOtherHost) {
			t.Errorf("host %d owns it: %v", c.host, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if in := wantFormat(t, o.Dir, storeFormat); in.Host != 7 {
			t.Errorf("an inspection finds that it is host %d's", in.Host)
		}
	}
}

func TestOpenSaysHowFarItHasCome(t *testing.T) {
	o := quiet(t.TempDir())
	s := mustOpen(t, o)
	group := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(group, 1, commands(1, 1, 100)...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var said [][2]int64
	o.Opening = func(done, total int64) { said = append(said, [2]int64{done, total}) }
	mustOpen(t, o)
	if n := len(said); n < 2 || said[0][0] != 0 || said[n-1][0] != said[n-1][1] || said[0][1] == 0 {
		t.Errorf("it has said %v", said)
	}
}
