package snapshots

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

const cluster = 0x1122334455667788

func meta(index raftcore.Index) raftcore.SnapshotMeta {
	return raftcore.SnapshotMeta{
		Last: raftcore.EntryID{Term: 3, Index: index},
		Time: 1_700_000_000_000 + int64(index),
		Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{9}}},
	}
}

// random returns content that is different for each seed.
func random(seed uint64, n int) []byte {
	rng, b := rand.New(rand.NewPCG(seed, 7)), make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// small makes files of many units out of little content.
func small(disk journal.FS) Options {
	return Options{FS: disk, blockBytes: 100, syncBytes: 250, newID: func() ID { return ID(ids.Add(1)) }}
}

var ids atomic.Uint64

func mustOpen(t testing.TB, dir string, o Options) *Dir {
	t.Helper()
	d, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func commit(t testing.TB, d *Dir, m raftcore.SnapshotMeta, content []byte) Info {
	t.Helper()
	w, err := d.Create(cluster, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// read returns what a snapshot gives before it ends, and how it ends: nil if all
// was there.
func read(d *Dir, id ID) ([]byte, error) {
	r, err := d.Read(id)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func mustHold(t testing.TB, d *Dir, id ID, content []byte) {
	t.Helper()
	if got, err := read(d, id); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("snapshot %v has %d bytes, %v; it should have %d", id, len(got), err, len(content))
	}
}

func isCorrupt(err error) bool {
	var c *persistence.CorruptError
	return errors.As(err, &c) && c.File != "" && c.Offset >= 0
}

func names(t testing.TB, d *Dir) []string {
	t.Helper()
	list, err := d.fs.List(d.path)
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(n string) bool { return n == "lock" })
	slices.Sort(list)
	return list
}

// disks are a simulated and a real one.
func disks(t *testing.T, test func(t *testing.T, dir string, fs journal.FS)) {
	t.Run("simulated", func(t *testing.T) { test(t, "d", journaltest.New(1)) })
	t.Run("real", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "a", "b"), journal.OS) })
}

func TestWhatIsWrittenIsReadWhateverItsSizeAndPieces(t *testing.T) {
	disks(t, func(t *testing.T, dir string, fs journal.FS) {
		o := small(fs)
		d := mustOpen(t, dir, o)
		contents := map[ID][]byte{}
		for i, size := range []int{0, 1, 99, 100, 101, 199, 200, 201, 1000, 12345} {
			for k, piece := range []int{1, 7, 100, 1 << 20} {
				if fs == journal.OS && (i+k)%4 > 0 {
					continue // each is two syncs
				}
				m, content := meta(raftcore.Index(100*i+k+1)), random(uint64(size), size)
				w, err := d.Create(cluster, m)
				if err != nil {
					t.Fatal(err)
				}
				for at := 0; at < size; at += piece {
					p := content[at:min(at+piece, size)]
					if n, err := w.Write(p); n != len(p) || err != nil {
						t.Fatal(n, err)
					}
				}
				info, err := w.Commit()
				if err != nil {
					t.Fatal(err)
				}
				w.Abort() // does nothing
				if _, err := w.Write([]byte("more")); err == nil {
					t.Error("a snapshot could be written after Commit")
				}
				if found, err := d.Find(m.Last); err != nil || !found.same(&info) || found.Size != info.Size {
					t.Fatalf("found %+v, %v, not %+v", found, err, info)
				}
				contents[info.ID] = content
			}
		}
		for range 2 {
			list := d.List()
			if len(list) != len(contents) {
				t.Fatalf("there are %d snapshots, not %d", len(list), len(contents))
			}
			for i, f := range list {
				if f.Damage != nil || i > 0 && f.Meta.Last.Index >= list[i-1].Meta.Last.Index {
					t.Errorf("%+v comes after %+v", f, list[max(i-1, 0)])
				}
				mustHold(t, d, f.ID, contents[f.ID])
				if err := d.Verify(f.ID); err != nil {
					t.Error(err)
				}
			}
			d.Close()
			d = mustOpen(t, dir, o)
		}
		d.Close()
	})
}

func TestBlocksOfProductionSize(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir, Options{syncBytes: 1 << 20})
	defer d.Close()
	content := random(5, 3<<20+17)
	info := commit(t, d, meta(5), content)
	if overhead := info.Size - int64(len(content)); overhead*1000 > info.Size {
		t.Errorf("%d bytes of overhead", overhead)
	}
	mustHold(t, d, info.ID, content)
	other := mustOpen(t, t.TempDir(), Options{syncBytes: 1 << 20})
	defer other.Close()
	transfer(t, d, other, info.ID, 256<<10)
	mustHold(t, other, info.ID, content)
}

func TestADirectoryIsOpenOnce(t *testing.T) {
	disks(t, func(t *testing.T, dir string, fs journal.FS) {
		dir = filepath.Join(dir, "group")
		early := mustOpen(t, dir, small(fs))
		unused := mustOpen(t, dir, small(fs))
		if err := unused.Close(); err != nil {
			t.Error(err)
		}
		d := mustOpen(t, dir, small(fs))
		if names, _ := fs.List(filepath.Dir(dir)); len(names) > 0 {
			t.Errorf("before anything is written there is %v", names)
		}
		info := commit(t, d, meta(5), nil)
		if _, err := Open(dir, small(fs)); !errors.Is(err, persistence.ErrLocked) {
			t.Errorf("a second one ended with %v", err)
		}
		if _, err := early.Create(cluster, meta(6)); !errors.Is(err, persistence.ErrLocked) || !errors.Is(err, ErrFailed) {
			t.Errorf("one that was opened before there was anything writes, with %v", err)
		}
		if _, err := early.Receive(info); !errors.Is(err, persistence.ErrLocked) || !errors.Is(err, ErrFailed) {
			t.Errorf("one that was opened before there was anything receives, with %v", err)
		}
		d.Close()
		if _, err := early.Receive(info); !errors.Is(err, ErrExists) {
			t.Errorf("what was written meanwhile is taken in: %v", err)
		}
		early.Close()
		_, create := d.Create(cluster, meta(6))
		_, read := d.Read(info.ID)
		_, send := d.Send(info.ID)
		_, receive := d.Receive(info)
		for i, err := range []error{create, read, send, receive, d.Keep(info.ID), d.Verify(info.ID), d.Close()} {
			if !errors.Is(err, persistence.ErrClosed) {
				t.Errorf("%d: after Close it was %v", i, err)
			}
		}
		mustOpen(t, dir, small(fs)).Close()
	})
}

func TestMetadataThatCannotBeIsRefused(t *testing.T) {
	d := mustOpen(t, "d", small(journaltest.New(1)))
	for name, change := range map[string]func(m *raftcore.SnapshotMeta){
		"nothing":                  func(m *raftcore.SnapshotMeta) { *m = raftcore.SnapshotMeta{} },
		"no term":                  func(m *raftcore.SnapshotMeta) { m.Last.Term = 0 },
		"an index out of bounds":   func(m *raftcore.SnapshotMeta) { m.Last.Index = 1<<62 + 1 },
		"a later configuration":    func(m *raftcore.SnapshotMeta) { m.Conf.Index = m.Last.Index + 1 },
		"no voters":                func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Voters = nil },
		"voters out of order":      func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Voters = []raftcore.NodeID{2, 1} },
		"a voter twice":            func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Outgoing = []raftcore.NodeID{1, 1} },
		"a learner who votes":      func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Learners = []raftcore.NodeID{3} },
		"nobody":                   func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Learners = []raftcore.NodeID{0} },
		"more members than fit":    func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Voters = many(70_000) },
		"members by the ten bytes": func(m *raftcore.SnapshotMeta) { m.Conf.Conf.Outgoing = many(30_000) },
	} {
		m := meta(50)
		change(&m)
		if _, err := d.Create(cluster, m); err == nil {
			t.Errorf("%s: a snapshot could be written", name)
		}
		if _, err := d.Receive(Info{ID: 1, Meta: m, Size: 1 << 20}); err == nil {
			t.Errorf("%s: a snapshot could be received", name)
		}
	}
	if n := names(t, d); len(n) > 0 {
		t.Errorf("there is %q", n)
	}
	big := meta(50)
	big.Conf.Conf.Voters = many(6000)
	mustHold(t, d, commit(t, d, big, []byte("x")).ID, []byte("x"))
}

func many(n int) []raftcore.NodeID {
	ids := make([]raftcore.NodeID, n)
	for i := range ids {
		ids[i] = raftcore.NodeID(i+1) << 40
	}
	return ids
}

// The file of a snapshot of 250 bytes, in three blocks.
func example(t testing.TB) (disk *journaltest.Disk, d *Dir, info Info, content []byte, file string) {
	disk = journaltest.New(1)
	d = mustOpen(t, "d", small(disk))
	content = random(3, 250)
	info = commit(t, d, meta(7), content)
	return disk, d, info, content, filepath.Join("d", baseName(&info)+goodSuffix)
}

// withFile opens a directory that has a file with these bytes.
func withFile(t testing.TB, name string, b []byte) *Dir {
	disk := journaltest.New(1)
	disk.Put(name, b)
	return mustOpen(t, "d", small(disk))
}

// refuses makes sure that a damaged snapshot is never served beyond what is good.
func refuses(t testing.TB, d *Dir, id ID, content []byte, what string) {
	t.Helper()
	got, err := read(d, id)
	if !isCorrupt(err) {
		t.Fatalf("%s: reading ended with %v", what, err)
	}
	if !bytes.HasPrefix(content, got) {
		t.Fatalf("%s: reading gave what was never written", what)
	}
	if l := d.List(); len(l) != 1 || !isCorrupt(l[0].Damage) {
		t.Fatalf("%s: it is listed as %+v afterwards", what, l)
	}
	if _, err := d.Newest(); !isCorrupt(err) {
		t.Fatalf("%s: the newest is good: %v", what, err)
	}
	if _, err := d.Find(raftcore.EntryID{Term: 3, Index: 7}); !isCorrupt(err) {
		t.Fatalf("%s: it is found: %v", what, err)
	}
	if err := d.Keep(id); !isCorrupt(err) {
		t.Fatalf("%s: it is kept: %v", what, err)
	}
	if out, err := d.Send(id); !isCorrupt(err) {
		t.Fatalf("%s: it is sent: %v, %v", what, out, err)
	}
}

// S8: the checksums are over the bytes as they were written, all of them.
func TestS8_EveryFlippedBitIsNoticed(t *testing.T) {
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	for bit := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		what := fmt.Sprintf("bit %d of %d", bit, len(whole)*8)
		refuses(t, withFile(t, file, b), info.ID, content, what)

		// The same for a sender, and for a receiver who is sent it.
		d := withFile(t, file, b)
		if err := sendAll(d, info.ID, whole); !isCorrupt(err) {
			t.Fatalf("%s: sending it ended with %v", what, err)
		}
		in, err := mustOpen(t, "e", small(journaltest.New(1))).Receive(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := push(in, b, 40); !errors.Is(err, ErrInvalid) || isCorrupt(err) {
			t.Fatalf("%s: receiving it ended with %v", what, err)
		}
	}
}

func TestASnapshotThatIsShorterOrLongerIsNoticed(t *testing.T) {
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	for n := range len(whole) {
		refuses(t, withFile(t, file, whole[:n]), info.ID, content, fmt.Sprint("cut off at ", n))
		zeros := append(bytes.Clone(whole[:n]), make([]byte, len(whole)-n)...)
		refuses(t, withFile(t, file, zeros), info.ID, content, fmt.Sprint("zeros from ", n))
	}
	for _, more := range [][]byte{{0}, make([]byte, 4096), whole, whole[len(whole)-trailerBytes:]} {
		refuses(t, withFile(t, file, append(bytes.Clone(whole), more...)), info.ID, content, fmt.Sprint(len(more), " bytes more"))
	}
	// Cut off, or grown, after the directory was opened: nobody looked at its end.
	for _, b := range [][]byte{whole[:len(whole)-trailerBytes], whole[:len(whole)-1], append(bytes.Clone(whole), 0)} {
		d := withFile(t, file, whole)
		d.fs.(*journaltest.Disk).Put(file, b)
		refuses(t, d, info.ID, content, "changed under way")
	}
}

// S3: blocks of two snapshots, and of one in another order.
func TestS3_BlocksCannotStandInAnotherPlace(t *testing.T) {
	disk, d, info, content, file := example(t)
	whole := disk.Contents(file)
	twin := commit(t, d, meta(7), content) // all the same, but for its ID
	other := disk.Contents(filepath.Join("d", baseName(&twin)+goodSuffix))
	header := len(whole) - trailerBytes - 3*frameBytes - 250
	unit := func(b []byte, i int) []byte { return b[header+i*108 : min(header+(i+1)*108, len(b)-trailerBytes)] }
	end := whole[len(whole)-trailerBytes:]
	for what, parts := range map[string][][]byte{
		"two blocks swapped":          {whole[:header], unit(whole, 1), unit(whole, 0), unit(whole, 2), end},
		"a block twice":               {whole[:header], unit(whole, 0), unit(whole, 0), unit(whole, 2), end},
		"a block left out":            {whole[:header], unit(whole, 0), unit(whole, 2), end},
		"the last block left out":     {whole[:header], unit(whole, 0), unit(whole, 1), end},
		"the first block of a twin":   {whole[:header], unit(other, 0), unit(whole, 1), unit(whole, 2), end},
		"the second block of a twin":  {whole[:header], unit(whole, 0), unit(other, 1), unit(whole, 2), end},
		"all but the header of twins": {whole[:header], other[header:]},
		"the header of a twin":        {other[:header], whole[header:]},
		"the trailer of a twin":       {whole[:len(whole)-trailerBytes], other[len(whole)-trailerBytes:]},
		"all of a twin":               {other},
	} {
		refuses(t, withFile(t, file, bytes.Join(parts, nil)), info.ID, content, what)
	}
}

func TestADamagedNewestIsReportedAndAnOlderOneGivenToThoseWhoAsk(t *testing.T) {
	setup := func() (*journaltest.Disk, Info, Info, []byte, string) {
		disk, d, old, content, _ := example(t)
		newest := commit(t, d, meta(20), random(9, 300))
		d.Close()
		return disk, old, newest, content, filepath.Join("d", baseName(&newest)+goodSuffix)
	}
	for what, offset := range map[string]int{"its header": 20, "its trailer": -3} {
		disk, old, newest, content, file := setup()
		disk.Flip(file, (int(newest.Size)+offset)%int(newest.Size), 4)
		d := mustOpen(t, "d", small(disk))
		if _, err := d.Newest(); !isCorrupt(err) {
			t.Errorf("%s: the newest is %v", what, err)
		}
		if _, err := d.Find(newest.Meta.Last); !isCorrupt(err) {
			t.Errorf("%s: it is found: %v", what, err)
		}
		if l := d.List(); len(l) != 2 || !isCorrupt(l[0].Damage) || l[0].ID != newest.ID || l[1].Damage != nil {
			t.Fatalf("%s: the list is %+v", what, l)
		}
		mustHold(t, d, old.ID, content)
		in, err := d.Receive(newest) // it may come again
		if err != nil {
			t.Fatal(err)
		}
		in.Abort()
		info := commit(t, d, meta(21), nil)
		if err := d.Keep(old.ID); err != nil || len(d.List()) != 3 {
			t.Errorf("keeping the oldest: %v, and there is %+v", err, d.List())
		}
		if err := d.Keep(info.ID); err != nil || len(d.List()) != 1 {
			t.Errorf("keeping the newest: %v, and there is %+v", err, d.List())
		}
	}
	// A block: that is found when it is read.
	disk, _, newest, _, file := setup()
	disk.Flip(file, 150, 1)
	d := mustOpen(t, "d", small(disk))
	if _, err := d.Newest(); err != nil {
		t.Fatal(err)
	}
	var c *persistence.CorruptError
	if err := d.Verify(newest.ID); !errors.As(err, &c) || c.File != file || c.Offset <= 0 || c.Offset > 150 {
		t.Errorf("the damage is %v", err)
	}
	if _, err := d.Newest(); !isCorrupt(err) {
		t.Errorf("then the newest is %v", err)
	}
}

func TestAnotherVersionIsNotTakenForDamage(t *testing.T) {
	disk, _, info, _, file := example(t)
	b := disk.Contents(file)
	later := resealed(b, func(header []byte) { header[8] = 2 })
	d := withFile(t, file, later)
	if _, err := d.Newest(); !errors.Is(err, ErrVersion) || isCorrupt(err) {
		t.Errorf("it is %v", err)
	}
	if err := d.Verify(info.ID); !errors.Is(err, ErrVersion) {
		t.Errorf("it is %v", err)
	}
	if n := names(t, d); len(n) != 1 {
		t.Errorf("there is %q", n)
	}
	in, err := mustOpen(t, "e", small(journaltest.New(1))).Receive(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(in, later, 50); !errors.Is(err, ErrInvalid) || !errors.Is(err, ErrVersion) {
		t.Errorf("receiving it ended with %v", err)
	}
}

// resealed changes a header, and makes its checksum good.
func resealed(b []byte, change func(header []byte)) []byte {
	b = bytes.Clone(b)
	n, _ := headerLength(b)
	change(b[:n])
	sum := checksum(b[:n-4])
	b[n-4], b[n-3], b[n-2], b[n-1] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	return b
}

func TestKeepRemovesWhatIsNotNewerWhenNobodyReadsIt(t *testing.T) {
	disks(t, func(t *testing.T, dir string, fs journal.FS) {
		d := mustOpen(t, dir, small(fs))
		var infos []Info
		for i := range 4 {
			infos = append(infos, commit(t, d, meta(raftcore.Index(10+i)), random(uint64(i), 300)))
		}
		r, err := d.Read(infos[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		out, err := d.Send(infos[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Keep(99); !errors.Is(err, ErrNotFound) || len(d.List()) != 4 {
			t.Fatal(err)
		}
		if err := d.Keep(infos[2].ID); err != nil {
			t.Fatal(err)
		}
		if l := d.List(); len(l) != 2 || l[0].ID != infos[3].ID || l[1].ID != infos[2].ID {
			t.Errorf("the list is %+v", l)
		}
		if n := names(t, d); len(n) != 3 {
			t.Errorf("there is %q, one of them being read", n)
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, random(0, 300)) {
			t.Errorf("%v, %d bytes", err, len(b))
		}
		r.Close()
		r.Close()
		if _, err := out.Chunk(200, make([]byte, 100)); err != nil {
			t.Error(err)
		}
		if n := names(t, d); len(n) != 3 {
			t.Errorf("there is %q, one of them being sent", n)
		}
		out.Close()
		out.Close()
		if n := names(t, d); len(n) != 2 {
			t.Errorf("there is %q", n)
		}
		d.Close()
	})
}

// A failure is never tried again, has a type, and harms nothing.
func TestD6_AFailedWriteOrSyncEndsTheAttemptOnly(t *testing.T) {
	for n := 1; ; n++ {
		disk, d, old, content, _ := example(t)
		disk.FailAt(n)
		w, err := d.Create(cluster, meta(9))
		if err == nil {
			_, err = w.Write(random(4, 999))
		}
		if err == nil {
			_, err = w.Commit()
		}
		if err == nil {
			if n < 8 {
				t.Errorf("only %d changes", n)
			}
			return
		}
		if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("change %d: %v", n, err)
		}
		if w != nil {
			ops := disk.Ops()
			if _, again := w.Commit(); !errors.Is(again, ErrFailed) {
				t.Fatalf("change %d: Commit after it: %v", n, again)
			}
			if _, again := w.Write([]byte("x")); !errors.Is(again, ErrFailed) {
				t.Fatalf("change %d: Write after it: %v", n, again)
			}
			w.Abort()
			if disk.Ops() != ops {
				t.Fatalf("change %d: something was done to the disk after the failure", n)
			}
		}
		mustHold(t, d, old.ID, content)
		if l := names(t, d); len(l) != 1 {
			t.Fatalf("change %d: there is %q", n, l)
		}
		next := commit(t, d, meta(9), content)
		mustHold(t, d, next.ID, content)
	}
}

func TestAnAbortedSnapshotLeavesNothing(t *testing.T) {
	disks(t, func(t *testing.T, dir string, fs journal.FS) {
		d := mustOpen(t, dir, small(fs))
		defer d.Close()
		w, err := d.Create(cluster, meta(9))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(random(4, 999))
		if n := names(t, d); len(n) != 1 || len(d.List()) != 0 {
			t.Errorf("there is %q", n)
		}
		w.Abort()
		w.Abort()
		if n := names(t, d); len(n) != 0 {
			t.Errorf("there is %q", n)
		}
		if _, err := w.Commit(); err == nil {
			t.Error("it was committed after all")
		}
		if _, err := d.Newest(); !errors.Is(err, ErrNotFound) {
			t.Errorf("the newest is %v", err)
		}
		if _, err := d.Find(meta(9).Last); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestOpenSweepsWhatIsOfNoUseAndNothingElse(t *testing.T) {
	disk, d, info, content, file := example(t)
	d.Close()
	whole := disk.Contents(file)
	other := info
	other.ID, other.Meta = 0x77, meta(8)
	header, _, _ := encodeHeader(&other, 100)
	base := baseName(&other)
	for name, b := range map[string][]byte{
		base + draftSuffix:                                        whole,
		partialName(base, int64(len(header))-1):                   header,                                        // not even the header
		partialName(base, 120):                                    whole[:120],                                   // a header of another one
		partialName(base, 0):                                      header,                                        // nothing that is durable
		partialName(base, 99):                                     header[:30],                                   // shorter than it should be
		base + ".0099" + partialSuffix:                            header,                                        // no name that we give
		"x" + partialSuffix:                                       header,                                        // nor that
		"someone's " + goodSuffix:                                 {1},                                           // not ours: stays
		"notes.txt":                                               {1},                                           // nor that
		partialName(base, int64(len(header)+5)):                   append(bytes.Clone(header), 1, 2, 3, 4, 5, 6), // this one is good
		partialName("00000000000000000003-3-0000000000000001", 9): header,                                        // an older one
	} {
		disk.Put(filepath.Join("d", name), b)
	}
	d = mustOpen(t, "d", small(disk))
	want := []string{"notes.txt", "someone's " + goodSuffix, filepath.Base(file), partialName(base, int64(len(header)+5))}
	slices.Sort(want)
	if n := names(t, d); !slices.Equal(n, want) {
		t.Errorf("there is %q", n)
	}
	mustHold(t, d, info.ID, content)
	if strings.Contains(fmt.Sprint(d.List()), "someone") || len(d.List()) != 1 {
		t.Errorf("the list is %+v", d.List())
	}
}

func TestAFileUnderAnotherNameIsDamage(t *testing.T) {
	disk, _, info, _, file := example(t)
	named := info
	named.Meta.Last.Index = 70
	d := withFile(t, filepath.Join("d", baseName(&named)+goodSuffix), disk.Contents(file))
	if _, err := d.Newest(); !isCorrupt(err) {
		t.Errorf("it is %v", err)
	}
}

func TestReadOnlyErrorsOfTheDiskAreNotCorruption(t *testing.T) {
	disk, d, info, _, _ := example(t)
	r, err := d.Read(info.ID)
	if err != nil {
		t.Fatal(err)
	}
	disk.Crash(false) // the handle is dead
	if _, err := io.ReadAll(r); !errors.Is(err, journaltest.ErrCrashed) || isCorrupt(err) {
		t.Errorf("it is %v", err)
	}
	if _, err := d.Newest(); err != nil {
		t.Error("that was taken for damage")
	}
}

func TestRealFilesAreFoundByTheirNames(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir, small(journal.OS))
	info := commit(t, d, meta(42), []byte("state"))
	d.Close()
	name := filepath.Join(dir, fmt.Sprintf("00000000000000000042-3-%v.snapshot", info.ID))
	b, err := os.ReadFile(name)
	if err != nil || int64(len(b)) != info.Size {
		t.Fatal(err, len(b), info.Size)
	}
	b[len(b)-40] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, dir, small(journal.OS))
	defer d.Close()
	if err := d.Verify(info.ID); !isCorrupt(err) {
		t.Errorf("it is %v", err)
	}
}

// Everybody at once: run it with -race.
func TestADirectoryIsForManyGoroutines(t *testing.T) {
	from := mustOpen(t, "s", small(journaltest.New(2)))
	content := random(2, 900)
	var offers []Info
	for i := range 20 {
		offers = append(offers, commit(t, from, meta(raftcore.Index(310+20*i)), content))
	}
	d := mustOpen(t, "d", small(journaltest.New(1)))
	commit(t, d, meta(1), content)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 40 {
			commit(t, d, meta(raftcore.Index(200+20*i)), content)
		}
	})
	wg.Go(func() {
		for _, offer := range offers {
			transfer(t, from, d, offer.ID, 170)
		}
	})
	for range 2 {
		wg.Go(func() {
			for range 60 {
				l := d.List()
				got, err := read(d, l[0].ID)
				if err == nil && !bytes.Equal(got, content) || err != nil && !errors.Is(err, ErrNotFound) {
					t.Errorf("%v, %d bytes", err, len(got))
				}
				if out, err := d.Send(l[len(l)-1].ID); err == nil {
					_, err = out.Chunk(300, make([]byte, 300))
					if err := errors.Join(err, out.Close()); err != nil {
						t.Error(err)
					}
				} else if !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if err := d.Keep(l[0].ID); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, f := range d.List() {
		mustHold(t, d, f.ID, content)
	}
	if err := d.Keep(d.List()[0].ID); err != nil || len(names(t, d)) != 1 {
		t.Errorf("%v, there is %q", err, names(t, d))
	}
}

// TestD13_SnapshotsLeaveRoomForTheRest: a disk that gets full while one is written, or
// received, is not filled by it, and what was there before stays.
func TestD13_SnapshotsLeaveRoomForTheRest(t *testing.T) {
	disk := journaltest.New(1)
	const keep = 1 << 20
	d, err := Open("d", Options{FS: disk, KeepFree: keep, syncBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	disk.Limit(keep + 1<<20)
	w, err := d.Create(5, meta(10))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 32<<10)
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = w.Write(block)
	}
	if !errors.Is(err, persistence.ErrDiskFull) || !errors.Is(err, ErrFailed) {
		t.Fatalf("after %d blocks it ended with %v", n, err)
	}
	if n < 10 {
		t.Errorf("only %d blocks were written", n)
	}
	if free, _ := disk.Free("d"); free < keep+1<<19 {
		t.Errorf("%d bytes are free afterwards", free)
	}
	disk.Limit(keep)
	if _, err := d.Create(5, meta(10)); !errors.Is(err, persistence.ErrDiskFull) {
		t.Errorf("where there is no room, Create ended with %v", err)
	}
	if _, err := d.Receive(Info{ID: 7, Meta: meta(10), Size: 1 << 20}); !errors.Is(err, persistence.ErrDiskFull) {
		t.Errorf("where there is no room, Receive ended with %v", err)
	}
	disk.Limit(-1)
	w, err = d.Create(5, meta(10))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestInspectFindsWhatOpeningDoesNot: damage in the middle of a file, beside who has the
// directory open, and nothing is changed.
func TestInspectFindsWhatOpeningDoesNot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Folder("group"))
	if found, err := Inspect(dir, nil); err != nil || len(found) != 0 {
		t.Fatalf("of no directory: %v, %v", found, err)
	}
	d := mustOpen(t, dir, small(journal.OS))
	defer d.Close()
	old, now := commit(t, d, meta(10), random(1, 1000)), commit(t, d, meta(20), random(2, 3000))
	var done, total int64
	found, err := Inspect(dir, func(d, t int64) { done, total = d, t })
	if err != nil || len(found) != 2 || found[0].Info.ID != now.ID || found[1].Info.ID != old.ID || found[0].Damage != nil || found[1].Damage != nil || found[0].Size != now.Size {
		t.Fatalf("it found %+v, %v", found, err)
	}
	if !reflect.DeepEqual(found, d.List()) {
		t.Errorf("it found %+v, and who has it open %+v", found, d.List())
	}
	if done < 4000 || total != old.Size+now.Size || done > total {
		t.Errorf("it has read %d of %d bytes", done, total)
	}
	b, err := os.ReadFile(found[0].File)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(found[0].File, b, 0o644); err != nil {
		t.Fatal(err)
	}
	found, err = Inspect(dir, nil)
	if err != nil || len(found) != 2 || !isCorrupt(found[0].Damage) || found[1].Damage != nil {
		t.Errorf("it found %+v, %v", found, err)
	}
	if err := os.Rename(found[1].File, filepath.Join(dir, "00000000000000000011-3-0000000000000001.snapshot")); err != nil {
		t.Fatal(err)
	}
	if found, err = Inspect(dir, nil); err != nil || len(found) != 2 || !isCorrupt(found[1].Damage) {
		t.Errorf("under another name it found %+v, %v", found, err)
	}
}
