package disk

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

var flipsFlag = flag.Int("flips", 0, "in how many random places of every file to flip a bit, beside every kind of place; 0: some kinds of places")

// TestD15P1_DamageIsNamedOrHarmless flips a bit in every file of a store, or cuts
// one off. Then a process opens it and reads everything. What it serves is what was
// acknowledged; if that is not all, it says where the damage is, and opened with Repair
// the store goes on with a part of that, and every group knows.
func TestD15P1_DamageIsNamedOrHarmless(t *testing.T) {
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	im := takeImage(t, seed)
	var mu sync.Mutex
	tally := map[string]map[string]int{}
	t.Cleanup(func() {
		for kind, outcomes := range tally {
			t.Logf("%-12s %v", kind, outcomes)
		}
	})
	for _, f := range im.files {
		for _, d := range f.damages(rng) {
			t.Run(fmt.Sprintf("%s-%s", f.name, d), func(t *testing.T) {
				t.Parallel() // it is mostly waiting for the disk
				outcome := im.suffer(t, f, d)
				mu.Lock()
				defer mu.Unlock()
				if tally[f.kind()] == nil {
					tally[f.kind()] = map[string]int{}
				}
				tally[f.kind()][outcome]++
			})
		}
	}
}

// image is a store whose process was killed, and what was acknowledged.
type image struct {
	files []*file
	saved contents
}

// file is a file of an image: it has a size, and zeros from the end of its data on.
type file struct {
	name string
	data []byte
	size int64
}

// contents are what a store has of its groups.
type contents map[string]group

type group struct {
	recovered raftcore.Recovered
	entries   []raftcore.Entry
}

// takeImage makes a store that has files of all kinds.
func takeImage(t *testing.T, seed uint64) *image {
	t.Helper()
	dir, m := t.TempDir(), rafttest.NewStoreModel(seed)
	use := func(steps int) *process {
		p := start(t, dir)
		err := p.open()
		for n := 0; n < steps && err == nil; n++ {
			err = m.Step(p)
		}
		if err == nil {
			err = m.CheckAll(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := use(300)
	fillKept(t, p)
	if err := p.Close(); err != nil { // Badger makes tables of what is in its memory
		t.Fatal(err)
	}
	m.Restarted()
	p = use(300)
	if err := m.ReviveAll(p); err != nil {
		t.Fatal(err)
	}
	for _, name := range groupNames {
		if err := m.Close(p, name); err != nil {
			t.Fatal(err)
		}
	}
	im := &image{saved: contents{}}
	var saves []persistence.Save
	for _, name := range allNames {
		g, o, err := readGroup(p, name)
		if err != nil {
			t.Fatal(err)
		}
		e := raftcore.Entry{
			EntryID: raftcore.EntryID{Term: g.recovered.HardState.Term, Index: g.recovered.Last + 1},
			Time:    g.recovered.LastTime, Kind: raftcore.EntryCommand, Data: []byte("the last of group " + name),
		}
		saves = append(saves, persistence.Save{Group: o.Group, Save: raftcore.Save{
			Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: g.recovered.HardState, Entries: []raftcore.Entry{e},
		}})
		g.entries = append(slices.Clone(g.entries), e)
		g.recovered.Runs = slices.Clone(g.recovered.Runs)
		g.recovered.Note(&e)
		im.saved[name] = g
	}
	if err := p.Save(saves); err != nil {
		t.Fatal(err)
	}
	p.end()
	im.read(t, dir)
	return im
}

// groupNames are those of rafttest.StoreModel.
var groupNames = []string{"a", "b", "c", "d"}

// keptName is the group that fillKept makes.
const keptName = "kept"

var allNames = append(slices.Clone(groupNames), keptName)

// fillKept saves a group that compacts nothing: what the tables of Badger have of the
// others is mostly void.
func fillKept(t *testing.T, p *process) {
	t.Helper()
	o, err := p.Open(keptName)
	for first := raftcore.Index(1); first < 500 && err == nil; first += 10 {
		var entries []raftcore.Entry
		for i := first; i < first+10; i++ {
			entries = append(entries, raftcore.Entry{
				EntryID: raftcore.EntryID{Term: 1, Index: i}, Time: int64(i), Kind: raftcore.EntryCommand,
				Data: bytes.Repeat(fmt.Appendf(nil, "%d ", i), 200),
			})
		}
		err = p.Save([]persistence.Save{{Group: o.Group, Save: raftcore.Save{
			Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: raftcore.HardState{Term: 1}, Entries: entries,
		}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readFiles reads the files below a directory, but for locks.
func readFiles(t *testing.T, dir string) (files []*file) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.EqualFold(d.Name(), "lock") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, &file{name: name, data: bytes.TrimRight(data, "\x00"), size: int64(len(data))})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// read reads the files of a store.
func (im *image) read(t *testing.T, dir string) {
	t.Helper()
	im.files = readFiles(t, dir)
	for _, kind := range []string{"marker", "segment", "MANIFEST", "watermark", "KEYREGISTRY", "DISCARD", "sst", "mem", "vlog"} {
		if !slices.ContainsFunc(im.files, func(f *file) bool { return f.kind() == kind }) {
			t.Fatalf("the store has no %s", kind)
		}
	}
}

// kind is what a file is for.
func (f *file) kind() string {
	if f.name == "castaway-store" {
		return "marker"
	}
	if ext := filepath.Ext(f.name); ext != "" {
		return ext[1:]
	}
	return filepath.Base(f.name)
}

// damage is what happens to a file: it is cut off, or a bit of it is flipped.
type damage struct {
	at    int64
	bit   int
	cut   bool
	place string
}

func (d damage) String() string {
	if d.cut {
		return fmt.Sprintf("cut-%s-%d", d.place, d.at)
	}
	return fmt.Sprintf("flip-%s-%d.%d", d.place, d.at, d.bit)
}

// damages draws what is done to a file.
func (f *file) damages(rng *rand.Rand) (all []damage) {
	end := int64(len(f.data))
	if end == 0 {
		end = f.size
	}
	bit := func(at int64, place string) {
		if at < f.size {
			all = append(all, damage{at: at, bit: rng.IntN(8), place: place})
		}
	}
	bit(rng.Int64N(16), "head")
	bit(end/3+rng.Int64N(end/3+1), "middle")
	bit(end-1-rng.Int64N(min(end, 8)), "tail")
	for _, at := range []int64{0, end/3 + rng.Int64N(end/3+1), end - 1} {
		all = append(all, damage{at: at, cut: true, place: "end"})
	}
	if *flipsFlag == 0 {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:2]
	}
	for range *flipsFlag {
		bit(rng.Int64N(end), "data")
		bit(rng.Int64N(f.size), "anywhere")
	}
	return all
}

// suffer restores the image in a new directory, with a damage, and looks what comes
// of it.
func (im *image) suffer(t *testing.T, f *file, d damage) (outcome string) {
	dir := t.TempDir()
	im.restore(t, dir, f, d)
	p := start(t, dir)
	errs, served := im.look(p)
	p.end()
	if served != nil {
		t.Fatalf("something else was served than was acknowledged: %v", served)
	}
	if len(errs) == 0 {
		return "harmless"
	}
	err := errs[0]
	if errors.Is(err, errGone) {
		t.Fatalf("the process died:\n%s", &p.stderr)
	}
	t.Log(err)
	if f.kind() != "marker" { // which store that was nobody knows then
		im.repair(t, dir)
	}
	switch {
	case strings.Contains(err.Error(), filepath.Base(f.name)):
		return "named"
	case strings.HasPrefix(f.name, "badger") && strings.Contains(err.Error(), "badger"):
		return "named as badger's"
	}
	t.Errorf("the error does not name %s: %v", f.name, err)
	return "not named"
}

// repair opens a damaged store with Repair, and looks what has become of its groups.
func (im *image) repair(t *testing.T, dir string) {
	t.Helper()
	for _, call := range []string{"repair", "open"} { // then it is whole
		p := start(t, dir)
		_, err := p.call(message{Call: call})
		if errors.Is(err, errGone) {
			p.end()
			t.Fatalf("with %q the process died:\n%s", call, &p.stderr)
		}
		if err != nil {
			t.Fatalf("with %q: %v", call, err)
		}
		for _, name := range allNames {
			g, _, err := readGroup(p, name)
			if errors.As(err, new(*persistence.RemovedError)) && name != keptName {
				continue // it was removed once, and that it came back is lost with the rest
			}
			if err != nil {
				t.Fatalf("with %q: group %q: %v", call, name, err)
			}
			saved := im.saved[name]
			if r := &g.recovered; !r.Damaged || r.HardState.Joined || r.Incarnation == saved.recovered.Incarnation {
				t.Errorf("with %q group %q does not know that it is damaged: %+v", call, name, r)
			}
			if name != keptName {
				continue // in the model's an entry may come back with other data, unlike in Raft
			}
			if err := g.beganAs(&saved); err != nil {
				t.Errorf("with %q group %q: %v", call, name, err)
			}
		}
		p.end()
	}
}

// beganAs returns how the log of g differs from the beginning of another, or nil. Its end
// may be from before somebody replaced that.
func (g *group) beganAs(want *group) error {
	replaced := false
	for i := range g.entries {
		e := &g.entries[i]
		if e.Index <= want.recovered.Base.Index {
			continue
		}
		n := int(e.Index - want.recovered.Base.Index - 1)
		if n >= len(want.entries) || want.entries[n].Term != e.Term {
			replaced = true
			continue
		}
		if replaced || !sameEntry(*e, want.entries[n]) {
			return fmt.Errorf("entry %v is not what was saved", e.EntryID)
		}
	}
	return nil
}

func (im *image) restore(t *testing.T, dir string, damaged *file, d damage) {
	t.Helper()
	for _, f := range im.files {
		name, data, size := filepath.Join(dir, f.name), f.data, f.size
		if f == damaged && d.cut {
			size = d.at
			data = data[:min(int64(len(data)), size)]
		} else if f == damaged {
			data = append(slices.Clone(data), make([]byte, max(0, d.at+1-int64(len(data))))...)
			data[d.at] ^= 1 << d.bit
		}
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.WriteFile(name, data, 0o644)
		}
		if err == nil {
			err = os.Truncate(name, size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// look reads all there is. It returns what failed, and what was served that must
// not be.
func (im *image) look(p *process) (errs []error, served error) {
	if err := p.open(); err != nil {
		return []error{err}, nil
	}
	for _, name := range allNames {
		g, _, err := readGroup(p, name)
		if err != nil {
			errs = append(errs, err)
		}
		saved := im.saved[name]
		if served := g.within(&saved, err != nil); served != nil {
			return errs, fmt.Errorf("group %q: %w", name, served)
		}
	}
	return errs, nil
}

// readGroup opens a group and reads what it has, as far as that is possible.
func readGroup(p *process, name string) (g group, o persistence.Opened, err error) {
	if o, err = p.Open(name); err != nil {
		return g, o, err
	}
	g.recovered = o.Recovered
	for next := o.Recovered.Base.Index + 1; next <= o.Recovered.Last; {
		entries, err := p.Load(o.Group, raftcore.Load{From: next, To: o.Recovered.Last, MaxBytes: math.MaxInt})
		if err != nil {
			return g, o, err
		}
		g.entries = append(g.entries, entries...)
		next += raftcore.Index(len(entries))
	}
	return g, o, nil
}

// within returns how g differs from what it should be, or nil. It may be a part of
// that if the rest could not be read.
func (g *group) within(want *group, part bool) error {
	if part && g.recovered.Incarnation == 0 {
		return nil // nothing was served
	}
	got, should := g.recovered, want.recovered
	tail := got.Tail
	got.Tail, should.Tail = nil, nil
	if got, should := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", should); got != should {
		return fmt.Errorf("it was opened with %s, and is %s", got, should)
	}
	if n := len(want.entries) - len(tail); n < 0 || !slices.EqualFunc(tail, want.entries[n:], sameEntry) {
		return fmt.Errorf("its tail of %d entries is not what was saved", len(tail))
	}
	for i := range g.entries {
		if i >= len(want.entries) || !sameEntry(g.entries[i], want.entries[i]) {
			return fmt.Errorf("entry %v is not what was saved", g.entries[i].EntryID)
		}
	}
	if !part && len(g.entries) != len(want.entries) {
		return fmt.Errorf("it has %d entries of %d", len(g.entries), len(want.entries))
	}
	return nil
}

func sameEntry(a, b raftcore.Entry) bool {
	return a.EntryID == b.EntryID && a.Time == b.Time && a.Kind == b.Kind &&
		bytes.Equal(a.Data, b.Data) && (a.Data == nil) == (b.Data == nil) &&
		(a.Config == nil) == (b.Config == nil) && (a.Config == nil || a.Config.Equal(*b.Config))
}

// TestD15_DamageOfASnapshotIsNamedOrHarmless does the same to the file of a
// snapshot.
func TestD15_DamageOfASnapshotIsNamedOrHarmless(t *testing.T) {
	rng := rand.New(rand.NewPCG(newSeed(t), 2))
	whole := t.TempDir()
	d, err := snapshots.Open(whole, snapshots.Options{})
	if err != nil {
		t.Fatal(err)
	}
	last := raftcore.EntryID{Term: 3, Index: 1000}
	w, err := d.Create(7, raftcore.SnapshotMeta{Last: last, Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}}})
	if err != nil {
		t.Fatal(err)
	}
	state := make([]byte, 600<<10)
	for i := range state {
		state[i] = byte(rng.Uint32())
	}
	if _, err := w.Write(state); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	im := &image{}
	im.files = readFiles(t, whole)
	f := im.files[0]
	damages := f.damages(rng)
	for range 20 {
		damages = append(damages, damage{at: rng.Int64N(f.size), bit: rng.IntN(8), place: "anywhere"})
	}
	for _, damage := range damages {
		dir := t.TempDir()
		im.restore(t, dir, f, damage)
		got, err := readSnapshot(dir, last)
		if !bytes.HasPrefix(state, got) {
			t.Errorf("%v: something else was served than was written", damage)
		}
		if err == nil && len(got) < len(state) {
			t.Errorf("%v: %d bytes were served of %d, without an error", damage, len(got), len(state))
		}
		if err != nil && !strings.Contains(err.Error(), f.name) {
			t.Errorf("%v: the error does not name %s: %v", damage, f.name, err)
		}
		if err == nil && !damage.cut {
			t.Errorf("%v: nobody took notice", damage) // there is a checksum over every byte
		}
	}
}

func readSnapshot(dir string, last raftcore.EntryID) ([]byte, error) {
	d, err := snapshots.Open(dir, snapshots.Options{})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	info, err := d.Find(last)
	if err != nil {
		return nil, err
	}
	r, err := d.Read(info.ID)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
