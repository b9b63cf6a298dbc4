package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"
)

// tabled makes a closed store of which Badger has tables, two at the least.
func tabled(t *testing.T) (dir string, log []raftcore.Entry) {
	t.Helper()
	dir = t.TempDir()
	for round := range raftcore.Index(2) {
		s := mustOpen(t, handedOverByHand(dir))
		g := mustOpenGroup(t, s, "orders")
		for i := range raftcore.Index(60) {
			n := 60*round + i + 1
			e := command(1, n, fmt.Sprint(n, string(bytes.Repeat([]byte("x"), 3000))))
			mustSave(t, s, saveOf(g, 1, e))
			log = append(log, e)
		}
		for s.(*store).sealed() > 0 {
			oldest, _ := s.(*store).journal.Segments()
			if err := s.(*store).handOver(oldest); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(tablesIn(t, dir)); n < 2 {
		t.Fatalf("there are %d tables", n)
	}
	return dir, log
}

func tablesIn(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, badgerName, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// appendNote writes a note to the MANIFEST, as Badger does.
func appendNote(t *testing.T, dir string, changes ...*pb.ManifestChange) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, badgerName, "MANIFEST"), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.Write(appendSet(t, nil, changes...))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// appendSet appends a note as it lies in the file.
func appendSet(t testing.TB, b []byte, changes ...*pb.ManifestChange) []byte {
	t.Helper()
	body, err := proto.Marshal(&pb.ManifestChangeSet{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	b = binary.BigEndian.AppendUint32(slices.Clip(b), uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

func creates(id uint64, level uint32) *pb.ManifestChange {
	return &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Level: level}
}

func deletes(id uint64) *pb.ManifestChange {
	return &pb.ManifestChange{Id: id, Op: pb.ManifestChange_DELETE}
}

// TestP3_TablesThatBadgerRemovedAgainAreTakenOutOfItsList: the sync of the list failed,
// when a memtable was written, or tables were merged, and Badger went on.
func TestP3_TablesThatBadgerRemovedAgainAreTakenOutOfItsList(t *testing.T) {
	for name, notes := range map[string]func(existing uint64) [][]*pb.ManifestChange{
		"of a memtable": func(uint64) [][]*pb.ManifestChange { return [][]*pb.ManifestChange{{creates(9001, 0)}} },
		"of a merger": func(old uint64) [][]*pb.ManifestChange {
			return [][]*pb.ManifestChange{{creates(9001, 6), creates(9002, 6), deletes(old)}}
		},
		"of two": func(old uint64) [][]*pb.ManifestChange {
			return [][]*pb.ManifestChange{{creates(9001, 0)}, {creates(9002, 6), deletes(old)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, log := tabled(t)
			tables := tablesIn(t, dir)
			var id uint64
			if _, err := fmt.Sscanf(filepath.Base(tables[0]), "%d.sst", &id); err != nil {
				t.Fatal(err)
			}
			for _, changes := range notes(id) {
				appendNote(t, dir, changes...)
			}
			wantFormat(t, dir, storeFormat) // who looks says that it will open
			s := mustOpen(t, handedOverByHand(dir))
			wantLog(t, s, mustOpenGroup(t, s, "orders"), log)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(tables[0]); err != nil {
				t.Error(err)
			}
			wantFormat(t, dir, storeFormat)
			s = mustOpen(t, handedOverByHand(dir))
			wantLog(t, s, mustOpenGroup(t, s, "orders"), log)
		})
	}
}

// A table that is missing for another reason is not forgotten.
func TestP1_AMissingTableIsMissed(t *testing.T) {
	dir, _ := tabled(t)
	for _, table := range tablesIn(t, dir) {
		copied := filepath.Join(t.TempDir(), "store")
		copyDir(t, dir, copied)
		if err := os.Remove(filepath.Join(copied, badgerName, filepath.Base(table))); err != nil {
			t.Fatal(err)
		}
		s, err := handedOverByHand(copied).Open()
		if err == nil {
			s.Close()
			t.Fatalf("the store was opened without %s", filepath.Base(table))
		}
		if !errors.As(err, new(*persistence.CorruptError)) {
			t.Logf("without %s: %v", filepath.Base(table), err)
		}
	}
}

// FuzzManifest: whatever is in the list of tables, nobody stumbles over it.
func FuzzManifest(f *testing.F) {
	b := []byte("Bdgr\x00\x00\x00\x08")
	f.Add(b)
	b = appendSet(f, b, creates(1, 0), deletes(2))
	f.Add(b)
	f.Add(appendSet(f, b, creates(3, 6), deletes(1))) // nor is the table there that was merged
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if kept, missing := withoutMissing(dir, b); missing > 0 && len(tablesOf(kept)) > 0 {
			t.Fatalf("%d notes of missing tables were kept", len(kept))
		}
	})
}
