package badgerstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// Many groups are made with one sync, and are as durable as those that are made alone.
func TestManyGroupsAreFoundTogether(t *testing.T) {
	disk := journaltest.New(1)
	s := mustOpen(t, simulated(disk)).(*store)
	incarnations := map[string]raftcore.Incarnation{"a": mustOpenGroup(t, s, "a").Recovered.Incarnation}
	alone := disk.Ops()
	mustOpenGroup(t, s, "b")
	alone = disk.Ops() - alone
	names := []string{"a"}
	for i := range 100 {
		names = append(names, fmt.Sprint("many-", i), fmt.Sprint("many-", i/2))
	}
	before := disk.Ops()
	if err := s.Found(names...); err != nil {
		t.Fatal(err)
	}
	if n := disk.Ops() - before; n != alone {
		t.Errorf("a hundred groups take %d operations of the disk, one takes %d", n, alone)
	}
	before = disk.Ops()
	for _, name := range names[1:] {
		if incarnations[name] == 0 {
			incarnations[name] = mustOpenGroup(t, s, name).Recovered.Incarnation
		}
	}
	if err := s.Found(names...); err != nil || disk.Ops() != before {
		t.Errorf("to open them, and to found them again, takes %d more: %v", disk.Ops()-before, err)
	}
	if err := s.Found("new", strings.Repeat("x", maxNameBytes+1)); err == nil || s.names["new"] != nil || disk.Ops() != before {
		t.Errorf("a name that is too long: %v", err)
	}
	disk.Crash(true)
	s = mustOpen(t, simulated(disk)).(*store)
	if len(s.groups) != len(incarnations)+1 {
		t.Errorf("%d groups are left of %d", len(s.groups), len(incarnations)+1)
	}
	for name, want := range incarnations {
		if got := mustOpenGroup(t, s, name).Recovered.Incarnation; got != want {
			t.Errorf("group %q has incarnation %x, and had %x", name, got, want)
		}
	}
	s.Close()
	if err := s.Found("late"); !errors.Is(err, persistence.ErrClosed) {
		t.Errorf("a store that is closed: %v", err)
	}
}

// After a crash in the middle there are all of them, or none.
func TestD2_GroupsAreFoundTogetherOrNot(t *testing.T) {
	some := map[int]bool{}
	for op := 1; op <= 6; op++ {
		for seed := range uint64(20) {
			disk := journaltest.New(seed)
			s := mustOpen(t, simulated(disk)).(*store)
			disk.CrashAt(op)
			err := s.Found("a", "b", "c")
			disk.Crash(true)
			s = mustOpen(t, simulated(disk)).(*store)
			n := len(s.groups)
			if some[n] = true; n != 0 && n != 3 || err == nil && n != 3 {
				t.Fatalf("seed %d, a crash at operation %d: %d groups are left, founding them ended with %v", seed, op, n, err)
			}
		}
	}
	if !some[0] || !some[3] {
		t.Errorf("the story needs crashes before and after: %v", some)
	}
}
