package badgerstore

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

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

func equalEntries(got, want []raftcore.Entry) error {
	if len(got) != len(want) {
		return fmt.Errorf("there are %d entries, %d were saved", len(got), len(want))
	}
	for i := range got {
		g, w := &got[i], &want[i]
		same := g.EntryID == w.EntryID && g.Time == w.Time && g.Kind == w.Kind &&
			bytes.Equal(g.Data, w.Data) && (g.Data == nil) == (w.Data == nil) &&
			(g.Config == nil) == (w.Config == nil) && (g.Config == nil || g.Config.Equal(*w.Config))
		if !same {
			return fmt.Errorf("entry %d is %+v, saved was %+v", w.Index, *g, *w)
		}
	}
	return nil
}
