package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

var update = flag.Bool("update", false, "write the golden files anew")

// maker makes a store with something of everything, the same each time but for
// what is drawn at random.
type maker struct {
	t      *testing.T
	dir    string
	store  persistence.Store
	groups map[string]persistence.Opened
	hard   map[string]raftcore.HardState
}

func newMaker(t *testing.T, dir string) *maker {
	t.Helper()
	m := &maker{t: t, dir: dir, groups: map[string]persistence.Opened{}, hard: map[string]raftcore.HardState{}}
	o := badgerstore.Options{Dir: dir, SegmentBytes: 64 << 10, RetainSegments: 1, MaxSegments: 1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	var err error
	if m.store, err = o.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.store.Close() })
	return m
}

func (m *maker) open(names ...string) {
	m.t.Helper()
	for _, name := range names {
		o, err := m.store.Open(name)
		if err != nil {
			m.t.Fatal(err)
		}
		m.groups[name] = o
	}
}

// save saves. With MaxSegments as it is, every Save waits until Badger has what it
// is to have: so the same is in it each time.
func (m *maker) save(name string, s raftcore.Save) {
	m.t.Helper()
	o := m.groups[name]
	s.Token = raftcore.Token{Boot: o.Boot, Sequence: 1}
	if s.HardState == (raftcore.HardState{}) {
		s.HardState = m.hard[name]
	}
	m.hard[name] = s.HardState
	if err := m.store.Save([]persistence.Save{{Group: o.Group, Save: s}}); err != nil {
		m.t.Fatal(err)
	}
}

// snapshot writes the file of a snapshot, as a host does before the Save that names it.
func (m *maker) snapshot(name string, meta raftcore.SnapshotMeta) {
	m.t.Helper()
	under, o := badgerstore.Options{Dir: m.dir}.Snapshots()
	dir, err := snapshots.Open(filepath.Join(under, snapshots.Folder(name)), o)
	if err != nil {
		m.t.Fatal(err)
	}
	defer dir.Close()
	w, err := dir.Create(m.hard[name].Cluster, meta)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := io.WriteString(w, strings.Repeat("stock of all things\n", 30_000)); err != nil {
		m.t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		m.t.Fatal(err)
	}
}

// settle waits for the last one.
func (m *maker) settle() {
	for len(segmentsOf(m.t, m.dir)) > 2 {
		runtime.Gosched()
	}
}

func segmentsOf(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// copy returns a copy of the store as it is now: as if its process were killed.
// Badger's files end in megabytes of zeros, which are not written.
func (m *maker) copy() string {
	m.settle()
	return copyOf(m.t, m.dir)
}

// close ends the life of the store in good order.
func (m *maker) close() {
	m.t.Helper()
	m.settle()
	if err := m.store.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func copyOf(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(target, 0o755))
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(target, bytes.TrimRight(b, "\x00"), 0o644), os.Truncate(target, int64(len(b))))
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

var three = raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}

func hard(term raftcore.Term, vote raftcore.NodeID) raftcore.HardState {
	return raftcore.HardState{Term: term, Vote: vote, Cluster: 0xc1, Joined: true}
}

const start = 1_764_037_680_000 // 2025-11-25

func entry(term raftcore.Term, index raftcore.Index, kind raftcore.EntryKind, data string) raftcore.Entry {
	e := raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: index}, Time: start + 1000*int64(index), Kind: kind}
	switch kind {
	case raftcore.EntryConfig:
		e.Config = &three
	case raftcore.EntryCommand:
		e.Data = []byte(data)
	}
	return e
}

func sets(term raftcore.Term, first, last raftcore.Index, size int) (entries []raftcore.Entry) {
	for i := first; i <= last; i++ {
		entries = append(entries, entry(term, i, raftcore.EntryCommand, fmt.Sprintf("set key%d \"%s\"", i, strings.Repeat("v", size))))
	}
	return entries
}

// full makes a store whose groups have been through all that can happen to a log.
func full(t *testing.T) *maker {
	m := newMaker(t, t.TempDir())
	m.open("orders", "stock", "idle", "large")
	m.save("orders", raftcore.Save{HardState: hard(1, 1), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, ""), entry(1, 2, raftcore.EntryNoop, "")}})
	m.save("stock", raftcore.Save{HardState: hard(3, raftcore.Nobody), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, ""), entry(3, 2, raftcore.EntryNoop, "")}})
	for first := raftcore.Index(3); first < 103; first += 10 {
		m.save("orders", raftcore.Save{Entries: sets(1, first, first+9, 1000)})
	}
	// A leader of term 2 replaces the last ones.
	m.save("orders", raftcore.Save{HardState: hard(2, 3), Entries: append([]raftcore.Entry{entry(2, 98, raftcore.EntryNoop, "")}, sets(2, 99, 110, 1000)...)})
	// A snapshot, and the log begins later.
	at := raftcore.ConfigAt{Index: 1, Conf: three}
	m.save("orders", raftcore.Save{
		Snapshot: &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 60}, Time: start + 60_000, Conf: at},
		Base:     &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 20}, Time: start + 60_000, Conf: at},
	})
	m.snapshot("orders", raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 60}, Time: start + 60_000, Conf: at})
	m.save("large", raftcore.Save{HardState: hard(1, 2), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, ""), entry(1, 2, raftcore.EntryCommand, strings.Repeat("x", 300_000))}})
	for first := raftcore.Index(111); first < 151; first += 10 {
		m.save("orders", raftcore.Save{Entries: sets(2, first, first+9, 1500)})
	}
	m.save("stock", raftcore.Save{HardState: hard(4, 1), Entries: sets(4, 3, 12, 10)})
	return m
}

// result is what a run has come to.
type result struct {
	stdout, stderr string
	status         int
}

func run(stdin string, args ...string) result {
	var out, err bytes.Buffer
	p := program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &err}
	status := p.run(args)
	return result{out.String(), err.String(), status}
}

// files is what the files of a directory are, down to their times.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := uint32(0)
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = crc32.Checksum(b, castagnoli)
		}
		out[path] = fmt.Sprint(info.Size(), info.Mode(), info.ModTime().UnixNano(), sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// transcript runs read-only commands, and checks that they are.
func transcript(t *testing.T, dir string, lines ...string) string {
	t.Helper()
	var text strings.Builder
	before := files(t, dir)
	for _, line := range lines {
		args := strings.Fields(line)
		args = append([]string{args[0], dir}, args[1:]...)
		r := run("", args...)
		if after := files(t, dir); !reflect.DeepEqual(before, after) {
			t.Errorf("%s has changed the files from %v to %v", line, before, after)
		}
		fmt.Fprintf(&text, "$ castaway-disk %s\n%s", strings.Join(args, " "), r.stdout)
		if r.stderr != "" {
			fmt.Fprintf(&text, "(stderr) %s", r.stderr)
		}
		fmt.Fprintf(&text, "(exit %d)\n\n", r.status)
	}
	return text.String()
}

var (
	drawn    = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	chains   = regexp.MustCompile(`after [0-9a-f]{8}\b`)
	inTables = regexp.MustCompile(`(?m)^.*\.sst.*$`)
	numbers  = regexp.MustCompile(`(offset )?\d+ (KiB|bytes?|B)|offset \d+`)
)

// masked returns a text without what is drawn at random: a checksum in a table of Badger
// takes a byte more or less, so places in it differ, too.
func masked(text string) string {
	text = drawn.ReplaceAllString(text, "0123456789abcdef")
	text = chains.ReplaceAllString(text, "after 01234567")
	return inTables.ReplaceAllStringFunc(text, func(line string) string {
		return numbers.ReplaceAllStringFunc(line, func(n string) string { return regexp.MustCompile(`\d+`).ReplaceAllString(n, "N") })
	})
}

// golden compares a text with what was written once, but for what is drawn at
// random.
func golden(t *testing.T, name, dir, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, dir, "DIR")
	text = strings.ReplaceAll(text, filepath.Dir(dir), "ABOVE")
	text = masked(text)
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: the texts have changed (go test ./persistence/cmd/castaway-disk -update writes them anew); it is now\n%s", file, text)
	}
}

func flip(t *testing.T, file string, offset int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[offset] ^= 0x10
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
