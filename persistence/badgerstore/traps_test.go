package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// Scenarios of TRAPS.md for which mutations of the code found no test, or only
// one of another line.

// No test can cut the power, and a process that is killed loses nothing that
// Badger did not sync; so this one looks at what Badger was told. By default it
// does not sync.
func TestP1_BadgerIsToldToSync(t *testing.T) {
	s := mustOpen(t, quiet(t.TempDir())).(*store)
	if !s.table.(*restingTable).table.(*badgerTable).db.Opts().SyncWrites {
		t.Error("it is not: transactions that were handed over can be lost")
	}
}

// Badger has everything but the newest state of one group, which nothing has
// been written to since: entries of it are nowhere any more, and nothing else
// shows that they were there.
func TestP1_AGroupInAnOlderStateIsNoticed(t *testing.T) {
	disk := journaltest.New(1)
	s := mustOpen(t, simulated(disk)).(*store)
	tab := logTableOf(s)
	a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
	key := string(groupKey(1))
	var states [][]byte
	for last := raftcore.Index(50); last <= 100; last += 50 {
		mustSave(t, s, saveOf(a, 1, commands(1, last-49, last)...))
		b.Recovered.Last = saveUntil(t, s, b, func() bool { return s.sealed() > 2 })
		for s.sealed() > 0 {
			oldest, _ := s.journal.Segments()
			if err := s.handOver(oldest); err != nil {
				t.Fatal(err)
			}
		}
		if g := s.groups[0]; g.held != last {
			t.Fatalf("Badger has entries up to %d of %d", g.held, last)
		}
		states = append(states, tab.data[key])
	}
	s.Close()
	tab.data[key] = states[0]
	var all []write
	for _, key := range tab.keys {
		all = append(all, write{key: []byte(key), value: tab.data[key]})
	}
	disk.Put("d/badger/log", encodeTransaction(all))
	opened, err := simulated(disk).Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != filepath.Join("d", badgerName) {
		t.Errorf("it was opened with %v", err)
	}
	if opened != nil {
		opened.Close()
	}
}

// A Save of several groups, with a term, a vote and entries for each, crashes at
// any operation of the disk: there is all of it afterwards, or nothing.
func TestP2_ASaveIsThereAsAWholeOrNotAtAll(t *testing.T) {
	for at := 1; ; at++ {
		for _, power := range []bool{false, true} {
			disk := journaltest.New(uint64(at))
			s := mustOpen(t, simulated(disk))
			names := []string{"a", "b", "c"}
			var before, saves []persistence.Save
			for _, name := range names {
				o := mustOpenGroup(t, s, name)
				before = append(before, saveOf(o, 1, commands(1, 1, 3)...))
				save := saveOf(o, 2, commands(2, 2, 9)...)
				save.HardState.Vote = 3
				saves = append(saves, save)
			}
			mustSave(t, s, before...)
			disk.CrashAt(at)
			err := s.Save(saves)
			disk.Crash(power)
			s = mustOpen(t, simulated(disk))
			terms := map[raftcore.Term]int{}
			for _, name := range names {
				o := mustOpenGroup(t, s, name)
				h := o.Recovered.HardState
				terms[h.Term]++
				if h.Term == 2 && h.Vote == 3 {
					wantLog(t, s, o, append(commands(1, 1, 1), commands(2, 2, 9)...))
				} else {
					wantLog(t, s, o, commands(1, 1, 3))
				}
			}
			if len(terms) != 1 || err == nil && terms[2] == 0 {
				t.Fatalf("crashed at operation %d: groups by term %v, Save ended with %v", at, terms, err)
			}
			if err == nil && power {
				return // the Save has no operation of that number any more
			}
		}
	}
}

// Badger logs that it could not write, and tries again. That is a failure of the
// disk, not damage, while it is opened and later.
func TestP3_WhatBadgerCouldNotWriteIsNotTakenForDamage(t *testing.T) {
	var told error
	l := &badgerLog{logger: quiet("").Logger, failed: func(err error) { told = err }}
	complain := func() {
		l.Errorf("error flushing memtable to disk: %v, retrying", &fs.PathError{Op: "write", Path: "MANIFEST", Err: syscall.EIO})
	}
	if err := l.opened(); err != nil {
		t.Fatal(err)
	}
	complain()
	if !errors.Is(told, syscall.EIO) {
		t.Errorf("the store was told %v", told)
	}
	l.open = false
	complain()
	if err := l.opened(); !errors.As(err, new(*fs.PathError)) || !strings.Contains(err.Error(), "retrying") {
		t.Errorf("opening ended with %v", err)
	}
}

// Badger makes a file before it gives it a size, and cuts it off before it removes
// it. A process may be killed in between.
func TestP3_AnEmptyLogOfBadgerDoesNoHarm(t *testing.T) {
	for _, name := range []string{"00077.mem", "000077.vlog"} {
		o := quiet(t.TempDir())
		s := mustOpen(t, o)
		g := mustOpenGroup(t, s, "a")
		want := commands(1, 1, 2000)
		for part := range slices.Chunk(want, 100) {
			mustSave(t, s, saveOf(g, 1, part...))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(o.Dir, badgerName, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		wantLog(t, s, mustOpenGroup(t, s, "a"), want)
	}
}

func TestP8_ADirectoryHasOneStore(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, quiet(dir))
	if _, err := quiet(dir).Open(); !errors.Is(err, persistence.ErrLocked) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second Store: %v", err)
	}
	// Badger has a lock of its own; ours must hold without it.
	if _, err := journal.OS.Lock(filepath.Join(dir, lockName)); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, quiet(dir))
}
