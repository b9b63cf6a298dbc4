package badgerstore

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// The stores in testdata/format-1 were written by a program that knew format 1 only,
// with the calls in formatStory. One was closed, of the other the process ended. That in
// testdata/format-2 was written by one that knew nothing of removals, that in
// testdata/format-3 by one that did not know whose store it was. Before
// the format changes again, add one of today's:
//
//	go test ./persistence/badgerstore -run TestAStoreOfEveryFormatOpens -args -write-format DIR
//	tar -czf persistence/badgerstore/testdata/format-4/closed.tar.gz -C DIR .
var writeFormat = flag.String("write-format", "", "leave a store of today's format in this directory")

// formatStory makes a store with one of each thing in it.
func formatStory(t *testing.T, s *store) {
	t.Helper()
	orders, payments, idle := mustOpenGroup(t, s, "orders"), mustOpenGroup(t, s, "payments"), mustOpenGroup(t, s, "idle")
	mustSave(t, s, saveOf(idle, 3))
	for i := raftcore.Index(1); i <= 50; i++ {
		mustSave(t, s, saveOf(orders, 1, commands(1, i, i)...))
	}
	mustSave(t, s, saveOf(payments, 7, command(7, 1, strings.Repeat("z", 300<<10)), formatConfig()))
	mustSave(t, s, saveOf(orders, 2, commands(2, 41, 45)...)) // in the place of others
	meta := formatMeta()
	compact := saveOf(orders, 2)
	compact.Snapshot, compact.Base = &meta, &meta
	mustSave(t, s, compact)
	for i := raftcore.Index(46); i <= 80; i++ {
		mustSave(t, s, saveOf(orders, 2, commands(2, i, i)...))
	}
	for s.sealed() > 1 {
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil {
			t.Fatal(err)
		}
	}
	mustSave(t, s, saveOf(payments, 8, commands(8, 3, 9)...))
	last := saveOf(orders, 3, commands(3, 81, 84)...)
	last.HardState.Vote = 2
	mustSave(t, s, last)
}

// formatMeta is the snapshot that the group "orders" has.
func formatMeta() raftcore.SnapshotMeta {
	return raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 20}, Time: 20, Conf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}}}
}

// formatConfig is an entry of the group "payments".
func formatConfig() raftcore.Entry {
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}}
	return raftcore.Entry{EntryID: raftcore.EntryID{Term: 7, Index: 2}, Kind: raftcore.EntryConfig, Time: 2, Config: &conf}
}

// wantFormatStory checks that a store has what formatStory has saved, and what was
// added since.
func wantFormatStory(t *testing.T, s persistence.Store, added raftcore.Index) (orders persistence.Opened) {
	t.Helper()
	orders = mustOpenGroup(t, s, "orders")
	payments, idle := mustOpenGroup(t, s, "payments"), mustOpenGroup(t, s, "idle")
	log := append(commands(1, 21, 40), commands(2, 41, 80)...)
	wantLog(t, s, orders, append(log, commands(3, 81, 84+added)...))
	wantLog(t, s, payments, append([]raftcore.Entry{command(7, 1, strings.Repeat("z", 300<<10)), formatConfig()}, commands(8, 3, 9)...))
	if added > 0 {
		if _, err := s.Open("another"); !errors.As(err, new(*persistence.RemovedError)) {
			t.Errorf("what was removed is opened with %v", err)
		}
	}
	for _, g := range []struct {
		persistence.Opened
		hard     raftcore.HardState
		snapshot raftcore.Index
	}{
		{orders, raftcore.HardState{Term: 3, Vote: 2, Cluster: 5, Joined: true}, 20},
		{payments, raftcore.HardState{Term: 8, Cluster: 5, Joined: true}, 0},
		{idle, raftcore.HardState{Term: 3, Cluster: 5, Joined: true}, 0},
	} {
		if r := &g.Recovered; r.HardState != g.hard || r.Snapshot.Last.Index != g.snapshot || r.Damaged || r.Incarnation == 0 {
			t.Errorf("the group is %+v", *r)
		}
	}
	meta := formatMeta()
	if r := &orders.Recovered; !reflect.DeepEqual(r.Snapshot, meta) || r.Base != meta.Last {
		t.Errorf("the snapshot is %+v, the base %+v", r.Snapshot, r.Base)
	}
	if n := len(payments.Recovered.Configs); n != 1 {
		t.Errorf("%d configurations are in the log", n)
	}
	return orders
}

// wantRemovable makes a group, and removes it.
func wantRemovable(t *testing.T, s persistence.Store) {
	t.Helper()
	o := mustOpenGroup(t, s, "another")
	mustSave(t, s, saveOf(o, 1, commands(1, 1, 3)...))
	if err := s.CloseGroup(o.Group); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(persistence.Removal{Group: "another"}); err != nil {
		t.Fatal(err)
	}
}

// TestAStoreOfEveryFormatOpens: it is read whole, becomes one of today's format, and
// notices a lost tail from then on.
func TestAStoreOfEveryFormatOpens(t *testing.T) {
	for _, c := range []struct {
		name   string
		format int
		make   func(t *testing.T, dir string)
	}{
		{"1, closed", 1, func(t *testing.T, dir string) { unpack(t, "testdata/format-1/closed.tar.gz", dir) }},
		{"1, killed", 1, func(t *testing.T, dir string) { unpack(t, "testdata/format-1/killed.tar.gz", dir) }},
		{"2, closed", 2, func(t *testing.T, dir string) { unpack(t, "testdata/format-2/closed.tar.gz", dir) }},
		{"3, closed", 3, func(t *testing.T, dir string) { unpack(t, "testdata/format-3/closed.tar.gz", dir) }},
		{"today's", storeFormat, func(t *testing.T, dir string) {
			o := handedOverByHand(dir)
			s := mustOpen(t, o)
			formatStory(t, s.(*store))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if *writeFormat != "" {
				copyDir(t, dir, *writeFormat)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			c.make(t, dir)
			wantFormat(t, dir, c.format)
			s := mustOpen(t, handedOverByHand(dir))
			orders := wantFormatStory(t, s, 0)
			wantRemovable(t, s)
			add := saveOf(orders, 3, command(3, 85, "3/85"))
			add.HardState.Vote = 2
			mustSave(t, s, add)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, handedOverByHand(dir))
			wantFormatStory(t, s, 1)
			s.Close()
			in := wantFormat(t, dir, storeFormat)
			last := in.Journal.Segments[len(in.Journal.Segments)-1]
			if err := os.Truncate(last.File, last.End-1); err != nil {
				t.Fatal(err)
			}
			var corrupt *persistence.CorruptError
			if s, err := handedOverByHand(dir).Open(); !errors.As(err, &corrupt) {
				t.Errorf("its end is lost, and it was opened with %v, %v", s, err)
			}
		})
	}
}

// handedOverByHand are the options of a store that hands no segment over by itself.
func handedOverByHand(dir string) Options {
	o := quiet(dir)
	o.MaxSegments, o.hooks.noRetirer = 1<<20, true
	return o
}

// A process that ends anywhere in between leaves a store of one format or the other.
func TestAStoreOfFormat1SurvivesTheEndOfTheProcessThatOpensIt(t *testing.T) {
	for at := 1; ; at += slowdown {
		dir := filepath.Join(t.TempDir(), "store")
		unpack(t, "testdata/format-1/killed.tar.gz", dir)
		o := handedOverByHand(dir)
		dying := o
		dying.hooks.fs = &dyingFS{FS: journal.OS, left: at}
		s, err := dying.Open()
		if err == nil {
			s.Close()
			if at < 10 {
				t.Errorf("it was opened with %d changes", at)
			}
			return
		}
		if !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		wantFormatStory(t, s, 0)
		s.Close()
	}
}

// wantFormat looks at a store that is whole.
func wantFormat(t *testing.T, dir string, format int) *Inspection {
	t.Helper()
	in, err := Inspect(dir, InspectOptions{Chunks: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	if in.Format != format || len(in.Damage) > 0 {
		t.Fatalf("it has format %d, and %+v", in.Format, in.Damage)
	}
	return in
}

func unpack(t *testing.T, from, dir string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(name, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

var errDied = errors.New("the process has ended")

// dyingFS does as many changes as are left, and nothing from then on.
type dyingFS struct {
	journal.FS
	left int
}

func (d *dyingFS) change() error {
	if d.left--; d.left < 0 {
		return errDied
	}
	return nil
}

func (d *dyingFS) Create(name string, size int64) (journal.File, error) {
	if err := d.change(); err != nil {
		return nil, err
	}
	f, err := d.FS.Create(name, size)
	return &dyingFile{f, d}, err
}

func (d *dyingFS) Open(name string) (journal.File, error) {
	f, err := d.FS.Open(name)
	return &dyingFile{f, d}, err
}

func (d *dyingFS) Rename(from, to string) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *dyingFS) Remove(name string) error {
	if err := d.change(); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

type dyingFile struct {
	journal.File
	d *dyingFS
}

func (f *dyingFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.d.change(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f *dyingFile) Truncate(size int64) error {
	if err := f.d.change(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}
