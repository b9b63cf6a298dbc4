package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"
)

// Badger notes in its MANIFEST which tables there are. If the sync of a note fails, it
// removes the new tables again, and the note stays: then it does not open any more
// (badger v4.9, levels.go, revertToManifest), though nothing is lost. What was to go
// into the tables is where it was, in the log ahead of a memtable or in older tables.
//
// So before Badger is opened, notes of which all tables are missing are taken out,
// where that leaves a list of tables that are all there. If it was something else that
// removed them, what they held is missed when the store is read (see values.go).

// mendManifest takes such notes out of the MANIFEST in a directory. It returns how many
// there were. The one from before is kept as MANIFEST.damaged.
func mendManifest(dir string) (int, error) {
	name := filepath.Join(dir, badger.ManifestFilename)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	kept, notes := withoutMissing(dir, b)
	if notes == 0 {
		return 0, nil
	}
	mended := slices.Clone(b[:manifestHeader])
	for _, n := range kept {
		mended = append(mended, n.bytes...)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{name + ".damaged", b}, {name + ".mended", mended}} {
		if err := writeDurably(f.name, f.data); err != nil {
			return 0, err
		}
	}
	if err := os.Rename(name+".mended", name); err != nil {
		return 0, err
	}
	return notes, journal.OS.SyncDir(dir)
}

func writeDurably(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// withoutMissing returns the notes in a MANIFEST without those of which all tables are
// missing, and how many those are; none if that would not make a list of tables that
// are all there.
func withoutMissing(dir string, b []byte) (kept []note, missing int) {
	exists := func(id uint64) bool {
		_, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%06d.sst", id)))
		return err == nil
	}
	all, ok := splitManifest(b)
	if !ok {
		return nil, 0
	}
	tables := tablesOf(all)
	kept = slices.DeleteFunc(slices.Clone(all), func(n note) bool {
		created := n.created()
		return !slices.ContainsFunc(created, exists) && slices.ContainsFunc(created, func(id uint64) bool { _, is := tables[id]; return is })
	})
	for id := range tablesOf(kept) {
		if !exists(id) {
			return nil, 0
		}
	}
	return kept, len(all) - len(kept)
}

const manifestHeader = 8

// note is one change of the list of tables, as it lies in the MANIFEST.
type note struct {
	bytes   []byte
	changes []*pb.ManifestChange
}

func (n *note) created() (ids []uint64) {
	for _, c := range n.changes {
		if c.Op == pb.ManifestChange_CREATE {
			ids = append(ids, c.Id)
		}
	}
	return ids
}

// splitManifest returns the notes in a MANIFEST, up to a torn one at its end. It reports
// false if anything else is wrong, which Badger says better.
func splitManifest(b []byte) (notes []note, ok bool) {
	if len(b) < manifestHeader || !bytes.HasPrefix(b, []byte("Bdgr")) {
		return nil, false
	}
	for b = b[manifestHeader:]; len(b) >= 8; {
		length := uint64(binary.BigEndian.Uint32(b))
		if length > uint64(len(b)-8) {
			break
		}
		body := b[8 : 8+length]
		var set pb.ManifestChangeSet
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[4:]) || proto.Unmarshal(body, &set) != nil {
			return nil, false
		}
		notes = append(notes, note{b[:8+length], set.Changes})
		b = b[8+length:]
	}
	return notes, true
}

// tablesOf returns the tables that are listed after all notes.
func tablesOf(notes []note) map[uint64]badger.TableManifest {
	tables := map[uint64]badger.TableManifest{}
	for _, n := range notes {
		for _, c := range n.changes {
			if c.Op == pb.ManifestChange_CREATE {
				tables[c.Id] = badger.TableManifest{Level: uint8(c.Level), KeyID: c.KeyId, Compression: options.CompressionType(c.Compression)}
			} else {
				delete(tables, c.Id)
			}
		}
	}
	return tables
}
