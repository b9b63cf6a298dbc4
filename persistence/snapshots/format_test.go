package snapshots

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// TestTheFormatIsPinned compares with bytes that were written once.
// UPDATE_GOLDEN=1 writes them: only for a new version of the format, with an entry
// in the changelog.
func TestTheFormatIsPinned(t *testing.T) {
	disk := journaltest.New(1)
	d := mustOpen(t, "d", Options{FS: disk, blockBytes: 24, newID: func() ID { return 0xaabbccddeeff0011 }})
	m := raftcore.SnapshotMeta{
		Last: raftcore.EntryID{Term: 300, Index: 1000}, Time: 1_700_000_000_000,
		Conf: raftcore.ConfigAt{Index: 7, Conf: raftcore.ConfState{
			Voters: []raftcore.NodeID{1, 2, math.MaxUint64}, Outgoing: []raftcore.NodeID{2}, Learners: []raftcore.NodeID{300},
		}},
	}
	info := commit(t, d, m, []byte("the state of a machine, in two blocks"))
	name := baseName(&info) + goodSuffix
	if err := d.Export(info.ID, "backup"); err != nil {
		t.Fatal(err)
	}
	c := chunkOf(info.ID, disk.Contents(filepath.Join("d", name)), 80, 5)
	var got strings.Builder
	fmt.Fprintf(&got, "file: %s\n%s\n", name, hex.Dump(disk.Contents(filepath.Join("d", name))))
	fmt.Fprintf(&got, "file that is arriving: %s\n\n", partialName(baseName(&info), 101))
	fmt.Fprintf(&got, "chunk: snapshot %v, offset %d, % x, sum %08x\n\n", c.ID, c.Offset, c.Data, c.Sum)
	fmt.Fprintf(&got, "file: %s\n%s", manifestName, disk.Contents(filepath.Join("backup", manifestName)))
	golden := filepath.Join("testdata", "snapshot.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the format has changed; it is now\n%s", got.String())
	}
}

func TestMetadataIsDecodedAsItWas(t *testing.T) {
	big := meta(1 << 62)
	big.Last.Term, big.Time, big.Conf.Index = math.MaxUint64, math.MinInt64, 1<<62
	big.Conf.Conf.Outgoing = []raftcore.NodeID{9, math.MaxUint64}
	small := raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: 1}, Conf: raftcore.ConfigAt{Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}}
	late := meta(5)
	late.Time = math.MaxInt64
	for _, m := range []raftcore.SnapshotMeta{small, meta(77), big, late} {
		if got, err := decodeMeta(appendMeta(nil, &m)); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
	}
	b := appendMeta(nil, &small)
	for n := range b {
		if m, err := decodeMeta(b[:n]); err == nil {
			t.Errorf("% x became %+v", b[:n], m)
		}
	}
	for _, b := range [][]byte{append(b[:len(b):len(b)], 0), append([]byte{0x81, 0}, b[1:]...)} {
		if m, err := decodeMeta(b); err == nil {
			t.Errorf("% x became %+v", b, m)
		}
	}
}

// Lengths that come from a disk do not decide how much memory is taken.
func TestLengthsOutOfBoundsAreRefused(t *testing.T) {
	m := meta(7)
	b := appendMeta(nil, &m)
	list := len(binary.AppendUvarint(binary.AppendVarint(binary.AppendUvarint(binary.AppendUvarint(nil, 7), 3), m.Time), 1))
	for _, n := range []uint64{5000, 1 << 40, math.MaxUint64} {
		if got, err := decodeMeta(append(binary.AppendUvarint(bytes.Clone(b[:list]), n), b[list+1:]...)); err == nil {
			t.Errorf("%d voters became %+v", n, got)
		}
	}
	for _, block := range []int{0, maxBlockBytes + 1, math.MaxInt32, math.MaxUint32} {
		if _, h, err := encodeHeader(&Info{Meta: m}, block); err == nil {
			t.Errorf("blocks of %d became %+v", block, h)
		}
	}
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	n, _ := headerLength(whole)
	for _, length := range []uint32{0, 101, 1 << 20, 1 << 31, math.MaxUint32 - 1} {
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(b[n+4:], length)
		refuses(t, withFile(t, file, mended(b)), info.ID, content, fmt.Sprint("a block of ", length))
	}
	for _, length := range []uint32{0, 15, minHeaderBytes - 1, maxHeaderBytes + 1, math.MaxUint32} {
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(b[12:], length)
		refuses(t, withFile(t, file, b), info.ID, content, fmt.Sprint("a header of ", length))
	}
}

// Every block but the last is full: so it is known where each of them is.
func TestOnlyTheLastBlockIsShort(t *testing.T) {
	m := meta(7)
	unit, h, err := encodeHeader(&Info{ID: 5, Meta: m}, 100)
	if err != nil {
		t.Fatal(err)
	}
	b := unit
	for _, size := range []int{100, 60, 100} {
		b = append(binary.LittleEndian.AppendUint32(append(b, 0, 0, 0, 0), uint32(size)), random(uint64(size), size)...)
	}
	b = mended(append(append(b, 0, 0, 0, 0, 255, 255, 255, 255), make([]byte, trailerBytes-8)...))
	if int64(len(b)) != h.fileBytes(260) {
		t.Fatal("it has another size")
	}
	d := withFile(t, filepath.Join("d", baseName(&h.info)+goodSuffix), b)
	if got, err := read(d, 5); !isCorrupt(err) {
		t.Errorf("%d bytes were read: %v", len(got), err)
	}
	mismatches(t, h.info, b)
}

// mismatches makes sure that nobody takes these bytes who is sent them.
func mismatches(t *testing.T, info Info, b []byte) {
	t.Helper()
	e := mustOpen(t, "e", small(journaltest.New(1)))
	info.Size = int64(len(b))
	in, err := e.Receive(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(in, b, 50); !errors.Is(err, ErrInvalid) {
		t.Errorf("receiving it ended with %v", err)
	}
	in.Close()
	if n := names(t, e); len(n) > 0 {
		t.Errorf("there is %q", n)
	}
}

// The trailer says what the content is once more, apart from the chain.
func TestATrailerThatSaysSomethingElseIsRefused(t *testing.T) {
	disk, _, info, content, file := example(t)
	whole := disk.Contents(file)
	end := len(whole) - trailerBytes
	sum := binary.LittleEndian.Uint32(whole[end-frameBytes-50:])
	for what, tr := range map[string]trailer{
		"another checksum": {250, checksum(content) + 1},
		"less":             {249, checksum(content)},
		"more":             {300, checksum(content)},
		"no sensible size": {-1, checksum(content)},
		"far too much":     {math.MaxInt64, checksum(content)},
	} {
		b := append(bytes.Clone(whole[:end]), tr.encode(sum)...)
		d := withFile(t, file, b)
		if err := d.Verify(info.ID); !isCorrupt(err) {
			t.Errorf("%s: it is %v", what, err)
		}
		mismatches(t, info, b)
	}
}

func TestNamesAreReadAsTheyWereWritten(t *testing.T) {
	info := Info{ID: 0x1f, Meta: meta(1234)}
	base := baseName(&info)
	if base != "00000000000000001234-3-000000000000001f" {
		t.Errorf("the name is %s", base)
	}
	if got, ok := parseBase(base); !ok || got.ID != info.ID || got.Meta.Last != info.Meta.Last {
		t.Errorf("it is read as %+v", got)
	}
	if b, mark, ok := parsePartial(partialName(base, 1<<40)); !ok || b != base || mark != 1<<40 {
		t.Errorf("it is read as %s, %d", b, mark)
	}
	for _, name := range []string{"", "-", "--", "1-1-1", "00000000000000001234-3-000000000000001F", "00000000000000001234-03-000000000000001f",
		"00000000000000001234-3-000000000000001f-", "+0000000000000001234-3-000000000000001f", "99999999999999999999-3-000000000000001f"} {
		if got, ok := parseBase(name); ok {
			t.Errorf("%q is read as %+v", name, got)
		}
	}
	for _, name := range []string{base + ".partial", base + ".-1.partial", base + ".01.partial", base + ".99999999999999999999.partial", base + ".1", ".1.partial"} {
		if _, mark, ok := parsePartial(name); ok {
			t.Errorf("%q is read as %d", name, mark)
		}
	}
}

// mended makes the checksums of a file good, as far as it looks like one, so that
// a fuzzer comes past them.
func mended(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < minHeaderBytes {
		return b
	}
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	n := int(binary.LittleEndian.Uint32(b[12:]))
	if n < minHeaderBytes || n > len(b) {
		return b
	}
	sum := checksum(b[:n-4])
	binary.LittleEndian.PutUint32(b[n-4:], sum)
	var content int64
	var whole uint32
	for at := n; len(b)-at >= frameBytes; {
		end := at + frameBytes + int(binary.LittleEndian.Uint32(b[at+4:]))
		if last := binary.LittleEndian.Uint32(b[at+4:]) == trailerMark && at+trailerBytes <= len(b); last {
			copy(b[at:], trailer{content, whole}.encode(sum))
			break
		}
		if end > len(b) {
			break
		}
		sum = crc32.Update(sum, castagnoli, b[at+4:end])
		binary.LittleEndian.PutUint32(b[at:], sum)
		content += int64(end - at - frameBytes)
		whole = crc32.Update(whole, castagnoli, b[at+frameBytes:end])
		at = end
	}
	return b
}

// FuzzFile takes any bytes for a snapshot. Reading, sending and receiving it must
// come to the same verdict; and what was read must be the same bytes when it is
// written again.
func FuzzFile(f *testing.F) {
	for _, size := range []int{0, 1, 24, 60} {
		disk := journaltest.New(1)
		d := mustOpen(f, "d", Options{FS: disk, blockBytes: 24, newID: func() ID { return 5 }})
		info := commit(f, d, meta(7), random(1, size))
		b := disk.Contents(filepath.Join("d", baseName(&info)+goodSuffix))
		f.Add(b, true)
		f.Add(b, false)
		f.Add(b[:len(b)-1], true)
		f.Add(append(b, b...), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = mended(b)
		}
		named := Info{ID: 5, Meta: meta(7)}
		n := 0
		if len(b) >= minHeaderBytes {
			n, _ = headerLength(b)
		}
		if n > 0 && n <= len(b) {
			if h, err := decodeHeader(b[:n]); err == nil {
				named = h.info
			}
		}
		name := filepath.Join("d", baseName(&named)+goodSuffix)
		d := withFile(t, name, b)
		list := d.List()
		content, err := read(d, named.ID)
		if len(list) != 1 || list[0].Damage != nil && err == nil {
			t.Fatalf("it is listed as %+v and read: %v", list, err)
		}
		if err != nil {
			return
		}
		// Good.
		info := list[0].Info
		h, err := decodeHeader(b[:n])
		if err != nil {
			t.Fatal(err)
		}
		disk := journaltest.New(1)
		e := mustOpen(t, "d", Options{FS: disk, blockBytes: h.block, newID: func() ID { return info.ID }})
		w, err := e.Create(info.Cluster, info.Meta)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(content)
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(disk.Contents(name), b) {
			t.Fatal("written again, it is another")
		}
		if err := sendAll(d, info.ID, b); err != nil {
			t.Fatal(err)
		}
		in, err := mustOpen(t, "e", small(disk)).Receive(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := push(in, b, 50); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzReceive sends any bytes in any chunks: what is put in place is whole, and
// what was sent.
func FuzzReceive(f *testing.F) {
	disk := journaltest.New(1)
	d := mustOpen(f, "d", Options{FS: disk, blockBytes: 24, newID: func() ID { return 5 }})
	content := random(1, 60)
	info := commit(f, d, meta(7), content)
	whole := disk.Contents(filepath.Join("d", baseName(&info)+goodSuffix))
	f.Add(whole, []byte{0, 50, 50, 50, 1, 40, 200, 0, 200}, false)
	f.Add(whole[:80], []byte{0, 50, 50, 50}, true)
	f.Add(append(bytes.Clone(whole), 1), []byte{0, 255, 254, 255}, true)
	f.Fuzz(func(t *testing.T, b, plan []byte, mend bool) {
		if mend {
			b = mended(b)
		}
		e := mustOpen(t, "e", small(journaltest.New(1)))
		in, err := e.Receive(info)
		if err != nil {
			t.Fatal(err)
		}
		for ; len(plan) >= 2; plan = plan[2:] {
			if plan[1] == 0 { // go on after a restart
				in.Close()
				e.Close()
				e = mustOpen(t, "e", small(e.fs))
				if in, err = e.Receive(info); err != nil {
					t.Fatal(err)
				}
				continue
			}
			at := min(int(plan[0]), len(b))
			in.Write(chunkOf(info.ID, b, at, int(plan[1])))
		}
		if _, err := in.Commit(); err != nil {
			if l := e.List(); len(l) > 0 {
				t.Fatalf("%v, and there is %+v", err, l)
			}
			return
		}
		if !mend { // else the fuzzer is a sender that lies about the content
			mustHold(t, e, info.ID, content)
		}
		if err := e.Verify(info.ID); err != nil {
			t.Fatal(err)
		}
		if got := e.fs.(*journaltest.Disk).Contents(filepath.Join("e", baseName(&info)+goodSuffix)); !bytes.Equal(got, b[:info.Size]) {
			t.Fatal("it is not what was sent")
		}
	})
}

// FuzzManifest takes any text for the manifest of a backup.
func FuzzManifest(f *testing.F) {
	disk := journaltest.New(1)
	d := mustOpen(f, "d", Options{FS: disk, blockBytes: 24, newID: func() ID { return 5 }})
	info := commit(f, d, meta(7), random(1, 60))
	name := baseName(&info) + goodSuffix
	file := disk.Contents(filepath.Join("d", name))
	sum := sha256.Sum256(file)
	good := manifest(&info, sum[:])
	f.Add(good[:len(good)-len("checksum 00000000\n")], true)
	f.Add(good, false)
	f.Add([]byte("castaway backup\nformat 2\nfile x\n"), true)
	f.Add([]byte("castaway backup\nformat 1\nfile ../"+name+"\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, mend bool) {
		if mend {
			text = resumed(string(text))
		}
		disk := journaltest.New(1)
		disk.Put(filepath.Join("b", manifestName), text)
		disk.Put(filepath.Join("b", name), file)
		_, err := mustOpen(t, "e", small(disk)).Import(files(disk, "b"))
		if (err == nil) != bytes.Equal(text, good) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
