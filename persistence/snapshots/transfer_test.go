package snapshots

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// transfer brings a snapshot from one directory to another, from wherever that
// has got.
func transfer(t testing.TB, from, to *Dir, id ID, chunk int) {
	t.Helper()
	out, err := from.Send(id)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := to.Receive(out.Info())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for buf := make([]byte, chunk); ; {
		c, err := out.Chunk(in.Offset(), buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Write(c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Commit(); err != nil {
		t.Fatal(err)
	}
}

// sendAll reads a snapshot as a sender does, and compares it with the file's
// bytes as far as that goes.
func sendAll(d *Dir, id ID, whole []byte) error {
	out, err := d.Send(id)
	if err != nil {
		return err
	}
	defer out.Close()
	for at, buf := 0, make([]byte, 70); ; {
		c, err := out.Chunk(int64(at), buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(c.Data, whole[at:min(at+70, len(whole))]) || c.sum() != c.Sum || c.Offset != int64(at) {
			return fmt.Errorf("the chunk at %d is not the file's", at)
		}
		at += len(c.Data)
	}
}

// push sends bytes in chunks whose checksums are good, and commits.
func push(in *Incoming, b []byte, chunk int) error {
	for at := int(in.Offset()); at < len(b); at += chunk {
		if err := in.Write(chunkOf(in.Info().ID, b, at, chunk)); err != nil {
			return err
		}
	}
	_, err := in.Commit()
	return err
}

func chunkOf(id ID, b []byte, at, n int) Chunk {
	c := Chunk{ID: id, Offset: int64(at), Data: b[at:min(at+n, len(b))]}
	c.Sum = c.sum()
	return c
}

func TestWhatIsSentArrivesByteByByte(t *testing.T) {
	disks(t, func(t *testing.T, dir string, fs journal.FS) {
		d, e := mustOpen(t, dir+"1", small(fs)), mustOpen(t, dir+"2", small(fs))
		for i, size := range []int{0, 1, 100, 250, 2000} {
			for k, chunk := range []int{1, 40, 99, 108, 1000, 1 << 20} {
				if chunk == 1 && size > 300 || fs == journal.OS && (i+k)%4 > 0 {
					continue // each is a write
				}
				m := meta(raftcore.Index(100*i + k + 1))
				content := random(uint64(size), size)
				info := commit(t, d, m, content)
				transfer(t, d, e, info.ID, chunk)
				mustHold(t, e, info.ID, content)
				if got, err := e.Find(m.Last); err != nil || !got.same(&info) || got.Size != info.Size {
					t.Fatalf("found %+v, %v", got, err)
				}
			}
		}
		d.Close()
		e.Close()
		e = mustOpen(t, dir+"2", small(fs))
		for _, f := range e.List() {
			if f.Damage != nil || e.Verify(f.ID) != nil {
				t.Errorf("%+v", f)
			}
		}
		e.Close()
	})
}

// S12: after a restart it goes on, with any number of restarts it ends, and it is
// not begun anew.
func TestS12_ATransferGoesOnAfterARestart(t *testing.T) {
	disk, d, info, content, file := example(t)
	whole := disk.Contents(file)
	header := int64(len(whole) - trailerBytes - 3*frameBytes - 250)
	for _, how := range []string{"closed", "killed", "powerless"} {
		for chunk := 1; chunk < len(whole); chunk += 13 {
			other := journaltest.New(uint64(chunk))
			var reached int64
			for life := 0; ; life++ {
				e := mustOpen(t, "e", small(other))
				in, err := e.Receive(info)
				if err != nil {
					t.Fatal(err)
				}
				// Synced after each 250 bytes, or when it was closed: up to the last whole
				// block that is there.
				if in.Offset() < reached {
					t.Fatalf("%s: it goes on at %d, it was at %d", how, in.Offset(), reached)
				}
				reached = in.Offset()
				sent := 0
				for in.Offset() < info.Size && sent < 260 {
					c := chunkOf(info.ID, whole, int(in.Offset()), chunk)
					if err := in.Write(c); err != nil {
						t.Fatal(err)
					}
					sent += len(c.Data)
				}
				if in.Offset() == info.Size {
					if _, err := in.Commit(); err != nil {
						t.Fatal(err)
					}
					mustHold(t, e, info.ID, content)
					break
				}
				switch {
				case how == "closed":
					if err := in.Close(); err != nil {
						t.Fatal(err)
					}
					if whole := in.Offset() - header; whole >= 0 {
						reached = header + whole/108*108
					}
					e.Close()
				default:
					reached = max(reached, reached+250-108)
					other.Crash(how == "powerless")
				}
				if life > 10 {
					t.Fatalf("%s, chunks of %d: it does not end", how, chunk)
				}
			}
		}
	}
	d.Close()
}

// S3: what there is of one snapshot is never continued with another, however
// alike they are.
func TestS3_APartialSnapshotIsContinuedWithItselfOnly(t *testing.T) {
	_, d, info, content, _ := example(t)
	twin := commit(t, d, meta(7), content)
	out, err := d.Send(info.ID)
	if err != nil {
		t.Fatal(err)
	}
	half, err := out.Chunk(0, make([]byte, 200))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(i *Info)) Info { i := info; change(&i); return i }
	for what, offer := range map[string]Info{
		"a twin":                     twin,
		"another ID":                 changed(func(i *Info) { i.ID++ }),
		"another term":               changed(func(i *Info) { i.Meta.Last.Term++ }),
		"another index":              changed(func(i *Info) { i.Meta.Last.Index++ }),
		"another cluster":            changed(func(i *Info) { i.Cluster++ }),
		"another time":               changed(func(i *Info) { i.Meta.Time++ }),
		"another configuration":      changed(func(i *Info) { i.Meta.Conf.Conf.Learners = nil }),
		"less than there is already": changed(func(i *Info) { i.Size = 150 }),
	} {
		for _, restart := range []bool{false, true} {
			e := mustOpen(t, "e", small(journaltest.New(1)))
			in, err := e.Receive(info)
			if err != nil {
				t.Fatal(err)
			}
			if err := in.Write(half); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Receive(offer); !errors.Is(err, ErrReceiving) {
				t.Errorf("%s: a second one beside the first: %v", what, err)
			}
			in.Close()
			if restart {
				e.Close()
				e = mustOpen(t, "e", Options{FS: e.fs, blockBytes: 100, syncBytes: 250})
			}
			in, err = e.Receive(offer)
			if err != nil {
				t.Fatal(err)
			}
			if in.Offset() != 0 {
				t.Errorf("%s: it goes on at %d", what, in.Offset())
			}
			if n := names(t, e); len(n) != 1 {
				t.Errorf("%s: there is %q", what, n)
			}
			// And a sender that says one thing and sends another gets nowhere.
			c := half
			c.ID = offer.ID
			if c.Sum = c.sum(); what == "less than there is already" {
				c.Data = c.Data[:140]
				c.Sum = c.sum()
				if err := in.Write(c); err != nil {
					t.Error(err)
				}
				if _, err := in.Commit(); !errors.Is(err, ErrIncomplete) {
					t.Error(err)
				}
			} else if err := in.Write(c); what != "a twin" && what != "another ID" && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: the first bytes of what was not offered: %v", what, err)
			}
			in.Close()
		}
	}
}

func TestS3S16_ChunksThatAreNotWantedDoNoHarm(t *testing.T) {
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	e := mustOpen(t, "e", small(journaltest.New(1)))
	in, err := e.Receive(info)
	if err != nil {
		t.Fatal(err)
	}
	next := func() Chunk { return chunkOf(info.ID, whole, int(in.Offset()), 50) }
	for in.Offset() < info.Size {
		at := in.Offset()
		foreign, damaged, moved, gap, long, before := next(), next(), next(), next(), next(), next()
		foreign.ID++
		foreign.Sum = foreign.sum()
		damaged.Data = bytes.Clone(damaged.Data)
		damaged.Data[len(damaged.Data)/2] ^= 8
		moved.Offset--
		gap.Offset++
		gap.Data = gap.Data[:len(gap.Data)-1]
		gap.Sum = gap.sum()
		long.Data = append(bytes.Clone(whole[at:]), 1)
		long.Sum = long.sum()
		before.Offset = -1
		before.Sum = before.sum()
		for _, c := range []struct {
			Chunk
			want error
		}{{foreign, ErrMismatch}, {damaged, ErrChunk}, {moved, ErrChunk}, {gap, ErrGap}, {long, ErrMismatch}, {before, ErrMismatch}} {
			if err := in.Write(c.Chunk); len(gap.Data) > 0 && !errors.Is(err, c.want) {
				t.Fatalf("at %d: a chunk at %d ended with %v, not %v", at, c.Offset, err, c.want)
			}
		}
		if _, err := in.Commit(); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("Commit ended with %v", err)
		}
		if in.Offset() != at {
			t.Fatalf("at %d it went on to %d", at, in.Offset())
		}
		// One that overlaps what is here, the same again, and an earlier one.
		overlap := chunkOf(info.ID, whole, int(at)/2, int(at)-int(at)/2+25)
		for _, c := range []Chunk{overlap, overlap, chunkOf(info.ID, whole, int(at)/3, 5)} {
			if err := in.Write(c); err != nil {
				t.Fatal(err)
			}
		}
		if in.Offset() != overlap.Offset+int64(len(overlap.Data)) {
			t.Fatalf("at %d it went on to %d", at, in.Offset())
		}
	}
	if _, err := in.Commit(); err != nil {
		t.Fatal(err)
	}
	mustHold(t, e, info.ID, content)
	if err := in.Write(chunkOf(info.ID, whole, 0, 50)); err == nil {
		t.Error("a late chunk was taken")
	}
	in.Abort()
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	mustHold(t, e, info.ID, content)
}

// S16: what is here is not received again, and that is no failure.
func TestS16_ASnapshotThatIsHereIsNotReceivedAgain(t *testing.T) {
	_, d, info, content, file := example(t)
	twin := info
	twin.ID++ // somebody else's, of the same state
	for _, offer := range []Info{info, twin} {
		if _, err := d.Receive(offer); !errors.Is(err, ErrExists) {
			t.Errorf("it ended with %v", err)
		}
	}
	mustHold(t, d, info.ID, content)
	// Unless it is damaged. Then the one that arrives takes its place.
	disk := d.fs.(*journaltest.Disk)
	whole := disk.Contents(file)
	disk.Flip(file, 150, 1)
	if err := d.Verify(info.ID); !isCorrupt(err) {
		t.Fatal(err)
	}
	in, err := d.Receive(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(in, whole, 40); err != nil {
		t.Fatal(err)
	}
	mustHold(t, d, info.ID, content)
	if l := d.List(); len(l) != 1 || l[0].Damage != nil {
		t.Errorf("the list is %+v", l)
	}
}

// A snapshot that is replaced while somebody reads its damaged file, after Keep
// wanted that removed, is not removed with it.
func TestS4_AReaderOfTheOldFileDoesNotTakeTheNewOneAlong(t *testing.T) {
	disk, d, info, content, file := example(t)
	whole := disk.Contents(file)
	r, err := d.Read(info.ID)
	if err != nil {
		t.Fatal(err)
	}
	newer := commit(t, d, meta(30), nil)
	if err := d.Keep(newer.ID); err != nil {
		t.Fatal(err)
	}
	in, err := d.Receive(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(in, whole, 100); err != nil {
		t.Fatal(err)
	}
	r.Close()
	mustHold(t, d, info.ID, content)
}

func TestAFailedWriteOrSyncEndsTheReceivingOnly(t *testing.T) {
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	for n := 1; ; n++ {
		other := journaltest.New(uint64(n))
		e := mustOpen(t, "e", small(other))
		old := commit(t, e, meta(3), content)
		other.FailAt(n)
		in, err := e.Receive(info)
		if err == nil {
			err = push(in, whole, 60)
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
		if in != nil {
			ops := other.Ops()
			if err := in.Write(chunkOf(info.ID, whole, 0, 10)); !errors.Is(err, ErrFailed) {
				t.Fatalf("change %d: Write after it: %v", n, err)
			}
			if _, err := in.Commit(); !errors.Is(err, ErrFailed) {
				t.Fatalf("change %d: Commit after it: %v", n, err)
			}
			if in.Close(); other.Ops() != ops {
				t.Fatalf("change %d: something was done to the disk after the failure", n)
			}
		}
		if l := names(t, e); len(l) != 1 {
			t.Fatalf("change %d: there is %q", n, l)
		}
		mustHold(t, e, old.ID, content)
		if in, err = e.Receive(info); err != nil || in.Offset() != 0 {
			t.Fatalf("change %d: then %v", n, err)
		}
		if err := push(in, whole, 60); err != nil {
			t.Fatal(err)
		}
		mustHold(t, e, info.ID, content)
	}
}

// S12: a part that was damaged on the disk is received again, and not the rest.
func TestS12_ADamagedPartialGoesOnBeforeTheDamage(t *testing.T) {
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	header := len(whole) - trailerBytes - 3*frameBytes - 250
	for at := range 300 {
		other := journaltest.New(1)
		e := mustOpen(t, "e", small(other))
		in, err := e.Receive(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Write(chunkOf(info.ID, whole, 0, 300)); err != nil {
			t.Fatal(err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		e.Close()
		other.Flip(filepath.Join("e", partialName(baseName(&info), int64(header+216))), at, 0x10)
		e = mustOpen(t, "e", small(other))
		if in, err = e.Receive(info); err != nil {
			t.Fatal(err)
		}
		good := header + 216
		switch {
		case at < header:
			good = 0
		case at < header+108:
			good = header
		case at < header+216:
			good = header + 108
		}
		if in.Offset() != int64(good) {
			t.Fatalf("byte %d is damaged, it goes on at %d, not %d", at, in.Offset(), good)
		}
		if err := push(in, whole, 60); err != nil {
			t.Fatal(err)
		}
		mustHold(t, e, info.ID, content)
	}
}

func TestSendingReadsAnywhere(t *testing.T) {
	disk, d, info, _, file := example(t)
	whole := disk.Contents(file)
	out, err := d.Send(info.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for at := range whole {
		for _, n := range []int{1, 8, 107, 108, 1000} {
			c, err := out.Chunk(int64(at), make([]byte, n))
			if err != nil || !bytes.Equal(c.Data, whole[at:min(at+n, len(whole))]) || c.Sum != c.sum() || c.ID != info.ID || c.Offset != int64(at) {
				t.Fatalf("%d bytes at %d: %v", n, at, err)
			}
		}
	}
	if _, err := out.Chunk(info.Size, make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	for _, at := range []int64{-1, info.Size + 1, 1 << 62} {
		if _, err := out.Chunk(at, make([]byte, 1)); !errors.Is(err, ErrMismatch) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	// Damage that comes while it is sent.
	disk.Flip(file, 150, 2)
	if _, err := out.Chunk(0, make([]byte, 1000)); !isCorrupt(err) {
		t.Errorf("it is %v", err)
	}
	if _, err := d.Send(info.ID); !isCorrupt(err) {
		t.Errorf("then it is %v", err)
	}
}
