package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// eachStore runs a test of the contract with every Store there is.
func eachStore(t *testing.T, test func(t *testing.T, opener persistence.Opener)) {
	t.Run("memory", func(t *testing.T) { test(t, persistence.Memory()) })
	t.Run("badger", func(t *testing.T) { test(t, quiet(t.TempDir())) })
	t.Run("simulated", func(t *testing.T) { test(t, simulated(journaltest.New(1))) })
}

// quiet are the options of a store on the real disk, with small segments.
func quiet(dir string) Options {
	o := simulated(nil)
	return Options{Dir: dir, SegmentBytes: 64 << 10, RetainSegments: 1, MaxSegments: 4, Logger: o.Logger}
}

func mustOpen(t *testing.T, opener persistence.Opener) persistence.Store {
	t.Helper()
	s, err := opener.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustOpenGroup(t *testing.T, s persistence.Store, name string) persistence.Opened {
	t.Helper()
	o, err := s.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// command is an entry with some data.
func command(term raftcore.Term, index raftcore.Index, data string) raftcore.Entry {
	return raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: index}, Kind: raftcore.EntryCommand, Time: int64(index), Data: []byte(data)}
}

// commands are entries first to last of a term.
func commands(term raftcore.Term, first, last raftcore.Index) (entries []raftcore.Entry) {
	for i := first; i <= last; i++ {
		entries = append(entries, command(term, i, fmt.Sprintf("%d/%d", term, i)))
	}
	return entries
}

func saveOf(o persistence.Opened, term raftcore.Term, entries ...raftcore.Entry) persistence.Save {
	return persistence.Save{Group: o.Group, Save: raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: raftcore.HardState{Term: term, Cluster: 5, Joined: true}, Entries: entries}}
}

func mustSave(t *testing.T, s persistence.Store, saves ...persistence.Save) {
	t.Helper()
	if err := s.Save(saves); err != nil {
		t.Fatal(err)
	}
}

// wantLog compares the whole log of a group.
func wantLog(t *testing.T, s persistence.Store, o persistence.Opened, want []raftcore.Entry) {
	t.Helper()
	got, err := s.Load(o.Group, raftcore.Load{From: want[0].Index, To: want[len(want)-1].Index, MaxBytes: math.MaxInt})
	if err == nil {
		err = equalEntries(got, want)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(o.Group, raftcore.Load{From: 1, To: want[len(want)-1].Index + 1, MaxBytes: math.MaxInt}); err == nil {
		t.Fatalf("there is more in the log: %d entries", len(got))
	}
}

func TestWhatIsSavedIsThereWhenTheStoreIsOpenedAgain(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
		if !a.Recovered.Pristine() || a.Recovered.Incarnation == 0 || a.Recovered.Incarnation == b.Recovered.Incarnation {
			t.Errorf("two fresh groups were opened with %v and %v", &a.Recovered, &b.Recovered)
		}
		log := commands(1, 1, 4)
		log[1] = raftcore.Entry{EntryID: log[1].EntryID, Kind: raftcore.EntryConfig, Time: 2, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, math.MaxUint64}, Outgoing: []raftcore.NodeID{2}, Learners: []raftcore.NodeID{9}}}
		log[2] = raftcore.Entry{EntryID: log[2].EntryID, Kind: raftcore.EntryNoop, Time: 3}
		log[3].Data = []byte{}
		vote := saveOf(a, 1, log...)
		vote.HardState.Vote = 3
		mustSave(t, s, vote, saveOf(b, 7))
		log = append(log[:3], commands(9, 4, 6)...)
		mustSave(t, s, saveOf(a, 9, log[3:]...))
		wantLog(t, s, a, log)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		s = mustOpen(t, opener)
		again := mustOpenGroup(t, s, "a")
		if again.Boot == a.Boot || again.Boot == 0 {
			t.Errorf("the boots are %d and %d", a.Boot, again.Boot)
		}
		want := raftcore.Recovered{HardState: raftcore.HardState{Term: 9, Cluster: 5, Joined: true}, Incarnation: a.Recovered.Incarnation}
		for i := range log {
			want.Note(&log[i])
		}
		tail := again.Recovered.Tail
		again.Recovered.Tail = nil
		if got, want := fmt.Sprintf("%+v", again.Recovered), fmt.Sprintf("%+v", want); got != want {
			t.Errorf("recovered is %s, want %s", got, want)
		}
		if err := equalEntries(tail, log); err != nil {
			t.Errorf("the tail: %v", err)
		}
		if r := mustOpenGroup(t, s, "b").Recovered; r.HardState.Term != 7 || r.Last != 0 {
			t.Errorf("b was recovered as %v", &r)
		}
		wantLog(t, s, again, log)
	})
}

func TestD8_GapsAndOtherImpossibleSavesAreRefusedAsAWhole(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		a, b := mustOpenGroup(t, s, "a"), mustOpenGroup(t, s, "b")
		log := commands(2, 1, 5)
		before := saveOf(a, 2, log...)
		before.HardState.Vote = 1
		mustSave(t, s, before, saveOf(b, 1, commands(1, 1, 1)...))
		with := func(h raftcore.HardState, entries ...raftcore.Entry) persistence.Save {
			save := saveOf(a, 0, entries...)
			save.HardState = h
			return save
		}
		hard := raftcore.HardState{Term: 2, Vote: 1, Cluster: 5, Joined: true}
		compacted := func(s *raftcore.SnapshotMeta, reset bool) persistence.Save {
			save := with(hard)
			save.Snapshot, save.Base, save.Reset = s, s, reset
			return save
		}
		broken := commands(2, 6, 8)
		broken[1].Index++
		noConfig := commands(2, 6, 6)
		noConfig[0].Kind = raftcore.EntryConfig
		noKind := commands(2, 6, 6)
		noKind[0].Kind = 0
		for name, save := range map[string]persistence.Save{
			"a gap":                              with(hard, commands(2, 7, 7)...),
			"entry zero":                         with(hard, commands(2, 0, 1)...),
			"a gap inside":                       with(hard, broken...),
			"a falling term in the log":          with(hard, commands(1, 6, 6)...),
			"an entry of a term to come":         with(hard, commands(3, 6, 6)...),
			"a falling term":                     with(raftcore.HardState{Term: 1, Cluster: 5, Joined: true}),
			"a second vote in a term":            with(raftcore.HardState{Term: 2, Vote: 2, Cluster: 5, Joined: true}),
			"a vote that is taken back":          with(raftcore.HardState{Term: 2, Cluster: 5, Joined: true}),
			"a newcomer again":                   with(raftcore.HardState{Term: 2, Vote: 1, Cluster: 5}),
			"another cluster":                    with(raftcore.HardState{Term: 2, Vote: 1, Cluster: 6, Joined: true}),
			"a configuration without one":        with(hard, noConfig...),
			"an entry of no kind":                with(hard, noKind...),
			"a log that begins after its end":    compacted(&raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 2, Index: 9}}, false),
			"a log that begins after a snapshot": {Group: a.Group, Save: raftcore.Save{Token: before.Token, HardState: hard, Base: &raftcore.SnapshotMeta{Last: log[3].EntryID}}},
			"a snapshot of a term to come":       compacted(&raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 3, Index: 9}}, true),
			"a snapshot of what, nobody knows":   compacted(nil, true),
			"a gap that was filled in part":      with(hard, append(commands(2, 6, 6), commands(2, 8, 8)...)...),
		} {
			good := saveOf(b, 1, commands(1, 2, 3)...)
			if err := s.Save([]persistence.Save{good, save}); !errors.Is(err, persistence.ErrBadSave) || !strings.Contains(err.Error(), "") {
				t.Errorf("%s: Save ended with %v", name, err)
			}
		}
		if err := s.Save([]persistence.Save{saveOf(b, 1, commands(1, 2, 2)...), saveOf(b, 1, commands(1, 4, 4)...)}); !errors.Is(err, persistence.ErrBadSave) {
			t.Errorf("a gap between two parts of a group: %v", err)
		}
		wantLog(t, s, a, log)
		wantLog(t, s, b, commands(1, 1, 1))
		mustSave(t, s, with(hard, commands(2, 6, 6)...)) // it is as well as before
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, opener)
		wantLog(t, s, mustOpenGroup(t, s, "a"), append(log, commands(2, 6, 6)...))
		wantLog(t, s, mustOpenGroup(t, s, "b"), commands(1, 1, 1))
	})
}

// Every field counts: one that the disk forgets is noticed by nobody until a
// member restarts. A field that is added to HardState must be added to the
// format, and this test fails until it is.
func TestD4_NoFieldOfTheHardStateIsForgotten(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		opened := mustOpenGroup(t, s, "a")
		var want raftcore.HardState
		fields := reflect.ValueOf(&want).Elem()
		for i := range fields.NumField() {
			switch f := fields.Field(i); f.Kind() {
			case reflect.Uint64:
				f.SetUint(uint64(i) + 7)
			case reflect.Bool:
				f.SetBool(true)
			default:
				t.Fatalf("a field of kind %v", f.Kind())
			}
		}
		save := saveOf(opened, 0)
		save.HardState = want
		mustSave(t, s, save)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := mustOpenGroup(t, mustOpen(t, opener), "a").Recovered.HardState; got != want {
			t.Errorf("saved was %+v, the disk has %+v", want, got)
		}
	})
}

// A snapshot of the group's own state lets a prefix of the log go; one that a
// leader sent takes the place of all of it.
func TestS2S14_WhatASnapshotStandsForGoesAndNothingElse(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		a := mustOpenGroup(t, s, "a")
		log := commands(2, 1, 9)
		mustSave(t, s, saveOf(a, 2, log...))
		conf := raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Outgoing: []raftcore.NodeID{3}}}
		own := saveOf(a, 2)
		own.Snapshot = &raftcore.SnapshotMeta{Last: log[6].EntryID, Time: 7, Conf: conf}
		own.Base = &raftcore.SnapshotMeta{Last: log[3].EntryID, Time: 7, Conf: conf}
		mustSave(t, s, own)
		wantLog(t, s, a, log[4:])
		if _, err := s.Load(a.Group, raftcore.Load{From: 4, To: 5, MaxBytes: 1}); err == nil {
			t.Error("entry 4 is still there")
		}
		if err := s.Save([]persistence.Save{saveOf(a, 3, commands(3, 7, 7)...)}); !errors.Is(err, persistence.ErrBadSave) {
			t.Errorf("cutting off what a snapshot covers: %v", err)
		}
		reopened := func() persistence.Opened {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, opener)
			return mustOpenGroup(t, s, "a")
		}
		a = reopened()
		if r := a.Recovered; r.Snapshot.Last != log[6].EntryID || r.Snapshot.Time != 7 || !r.Snapshot.Conf.Conf.Equal(&conf.Conf) || r.Base != log[3].EntryID || !r.BaseConf.Conf.Joint() || r.Last != 9 {
			t.Errorf("recovered is %+v", r)
		}

		sent := saveOf(a, 5, commands(5, 21, 22)...)
		sent.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 4, Index: 20}, Time: 30, Conf: conf}
		sent.Base, sent.Reset = sent.Snapshot, true
		mustSave(t, s, sent)
		wantLog(t, s, a, commands(5, 21, 22))
		a = reopened()
		if r := a.Recovered; r.Snapshot.Last != sent.Base.Last || r.Base != sent.Base.Last || r.Last != 22 || len(r.Runs) != 1 || len(r.Tail) != 2 {
			t.Errorf("recovered is %+v", r)
		}
		wantLog(t, s, a, commands(5, 21, 22))
	})
}

func TestP8_OnlyTheLatestOpeningOfAGroupMaySave(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		first := mustOpenGroup(t, s, "a")
		other := mustOpenGroup(t, s, "b")
		if _, err := s.Open("a"); !errors.Is(err, persistence.ErrGroupOpen) {
			t.Errorf("opening it twice: %v", err)
		}
		mustSave(t, s, saveOf(first, 1, commands(1, 1, 1)...))
		if err := s.CloseGroup(first.Group); err != nil {
			t.Fatal(err)
		}
		late := []persistence.Save{saveOf(other, 1, commands(1, 1, 1)...), saveOf(first, 1, commands(1, 2, 2)...)}
		if err := s.Save(late); !errors.Is(err, persistence.ErrGroupClosed) {
			t.Errorf("a late Save: %v", err)
		}
		if _, err := s.Load(first.Group, raftcore.Load{From: 1, To: 1}); !errors.Is(err, persistence.ErrGroupClosed) {
			t.Errorf("a late Load: %v", err)
		}
		if err := s.CloseGroup(first.Group); !errors.Is(err, persistence.ErrGroupClosed) {
			t.Errorf("closing it twice: %v", err)
		}
		second := mustOpenGroup(t, s, "a")
		if err := s.Save(late); !errors.Is(err, persistence.ErrGroupClosed) {
			t.Errorf("a late Save after it was opened again: %v", err)
		}
		for _, id := range []persistence.GroupID{0, 3, math.MaxUint64} {
			if err := s.Save([]persistence.Save{{Group: id}}); !errors.Is(err, persistence.ErrGroupClosed) {
				t.Errorf("a Save of group %d: %v", id, err)
			}
		}
		if second.Recovered.Incarnation != first.Recovered.Incarnation || second.Recovered.Last != 1 {
			t.Errorf("it was opened again as %v", &second.Recovered)
		}
		if _, err := s.Load(other.Group, raftcore.Load{From: 1, To: 1}); err == nil {
			t.Error("part of a refused Save is there")
		}
	})
}

func TestPartsOfOneGroupInOneSaveTakeEffectInOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		a := mustOpenGroup(t, s, "a")
		mustSave(t, s, saveOf(a, 1, commands(1, 1, 9)...), saveOf(a, 2, commands(2, 5, 6)...), saveOf(a, 2), saveOf(a, 3, commands(3, 7, 7)...))
		want := append(append(commands(1, 1, 4), commands(2, 5, 6)...), commands(3, 7, 7)...)
		wantLog(t, s, a, want)
		s.Close()
		s = mustOpen(t, opener)
		wantLog(t, s, mustOpenGroup(t, s, "a"), want)
	})
}

func TestLoadReturnsWhatFitsAndFailsOnWhatIsNotThere(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
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
		for _, l := range []raftcore.Load{{From: 0, To: 1}, {From: 2, To: 1}, {From: 1, To: 21}, {From: 21, To: 21}, {From: 1, To: math.MaxUint64}, {}} {
			if got, err := s.Load(a.Group, l); err == nil {
				t.Errorf("%+v returned %d entries", l, len(got))
			}
		}
	})
}

func TestAStoreIsOpenOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
		_, err := opener.Open()
		if !errors.Is(err, persistence.ErrLocked) || strings.Contains(err.Error(), "\n") {
			t.Errorf("opening it twice: %v", err)
		}
		if o, ok := opener.(Options); ok && !strings.Contains(err.Error(), o.Dir) {
			t.Errorf("the error does not name the directory: %v", err)
		}
		a := mustOpenGroup(t, s, "a")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"Save": s.Save(nil), "Close": s.Close(), "CloseGroup": s.CloseGroup(a.Group),
			"Open": func() error { _, err := s.Open("b"); return err }(),
			"Load": func() error { _, err := s.Load(a.Group, raftcore.Load{From: 1, To: 1}); return err }(),
		} {
			if !errors.Is(err, persistence.ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
		mustOpen(t, opener)
	})
}

func TestLoadsRunBesideSavesAndHandovers(t *testing.T) {
	eachStore(t, func(t *testing.T, opener persistence.Opener) {
		s := mustOpen(t, opener)
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
	})
}
