package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
)

// When Badger is opened it reads the list of its tables, and the end of each: the last
// block, an index of all blocks, its checksum. Where these are damaged it panics, some
// times, in a goroutine of its own, and nobody can keep that from ending the process;
// other times, and where the head of a log is damaged, it returns an error that does not
// tell damage from anything else. And without a list it removes all tables. So we look
// first (badger v4.9, table.go, levels.go and memtable.go).

// checkFiles reads what Badger reads when it is opened, but for what is in its logs.
// Damage is a *persistence.CorruptError.
func checkFiles(dir string) error {
	tables, err := listedTables(dir)
	if err != nil {
		return err
	}
	if _, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true}); err != nil {
		return damagedOr(err, filepath.Join(dir, badger.KeyRegistryFileName), "")
	}
	for id := range tables {
		if err := checkEnd(filepath.Join(dir, fmt.Sprintf("%06d.sst", id))); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isLog(e.Name()) {
			if err := checkHead(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// isLog reports whether a file of Badger begins like a log: those ahead of memtables,
// and those of values.
func isLog(name string) bool { return filepath.Ext(name) == ".mem" || filepath.Ext(name) == ".vlog" }

// checkHead reads the head of a log. Where that is shorter, Badger makes a new one.
func checkHead(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [badgerLogHeader]byte
	if _, err := f.ReadAt(b[:], 0); err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	if wrong := wrongHead(b[:]); wrong != "" {
		return &persistence.CorruptError{File: name, Detail: wrong}
	}
	return nil
}

// wrongHead says what is wrong with the head of a log, of which the first 8 bytes name
// a key: Badger does not open one that it does not know.
func wrongHead(b []byte) string {
	if len(b) >= badgerLogHeader && binary.BigEndian.Uint64(b) != 0 {
		return "its head names an encryption key, and nothing of ours is encrypted"
	}
	return ""
}

// listedTables reads the list of tables. It may be missing only if there are none.
func listedTables(dir string) (map[uint64]badger.TableManifest, error) {
	name := filepath.Join(dir, badger.ManifestFilename)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) == ".sst" }) {
			err = &persistence.CorruptError{File: name, Detail: "the list of tables is missing, and there are tables"}
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := replayManifest(dir, f)
	return m.Tables, damagedOr(err, name, "the list of tables: ")
}

// damagedOr makes a *persistence.CorruptError of an error of Badger's, unless it comes
// from the disk.
func damagedOr(err error, file, prefix string) error {
	if err == nil || errors.As(err, new(*fs.PathError)) {
		return err
	}
	return &persistence.CorruptError{File: file, Detail: prefix + err.Error()}
}

func replayManifest(dir string, f *os.File) (m badger.Manifest, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("badger panicked: %v", r)
		}
	}()
	m, _, err = badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	return m, err
}

// checkEnd reads the end of a table. One that is missing is for others to miss.
func checkEnd(name string) (err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	damage := func(offset int64, detail string) error {
		return &persistence.CorruptError{File: name, Offset: offset, Detail: detail}
	}
	defer func() {
		if r := recover(); r != nil { // the index has its checksum, and yet makes no sense
			err = damage(0, fmt.Sprintf("the table is malformed: %v", r))
		}
	}()
	raw, start, wrong, err := readIndex(f, info.Size())
	if err != nil {
		return err
	}
	if wrong != "" {
		return damage(0, wrong)
	}
	index := fb.GetRootAsTableIndex(raw, 0)
	var last fb.BlockOffset
	if !index.Offsets(&last, index.OffsetsLength()-1) {
		return damage(0, "the table is malformed: it has no blocks")
	}
	from, n := int64(last.Offset()), int64(last.Len())
	if from+n > start {
		return damage(from, "the last block of the table does not end before its index")
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, from); err != nil {
		return err
	}
	if rest, sum, ok := cutChecksum(b); !ok || crc32.Checksum(rest, castagnoli) != sum {
		return damage(from, "the last block of the table has a wrong checksum")
	}
	return nil
}

// maxFooterBytes is more than what follows the index of a table.
const maxFooterBytes = 64

// readIndex reads the index at the end of a table, and says where it begins, or what is
// wrong with it.
func readIndex(f io.ReaderAt, size int64) (index []byte, start int64, wrong string, err error) {
	footer := make([]byte, min(size, maxFooterBytes))
	if _, err := f.ReadAt(footer, size-int64(len(footer))); err != nil {
		return nil, 0, "", err
	}
	rest, sum, ok := cutChecksum(footer)
	if !ok || len(rest) < 4 {
		return nil, 0, "the end of the table is damaged", nil
	}
	length := int64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	start = size - int64(len(footer)-len(rest)) - 4 - length
	if length == 0 || start < 0 {
		return nil, 0, "the end of the table is damaged", nil
	}
	index = make([]byte, length)
	if _, err := f.ReadAt(index, start); err != nil {
		return nil, 0, "", err
	}
	if crc32.Checksum(index, castagnoli) != sum {
		return nil, 0, "the index of the table has a wrong checksum", nil
	}
	return index, start, "", nil
}

// cutChecksum cuts off what ends a block, and an index: a protobuf with a checksum,
// and its length. It reports false unless that is a CRC-32C.
func cutChecksum(b []byte) (rest []byte, sum uint32, ok bool) {
	if len(b) < 4 {
		return nil, 0, false
	}
	length := uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	b = b[:len(b)-4]
	if length > uint64(len(b)) {
		return nil, 0, false
	}
	at := uint64(len(b)) - length
	r := reader{b: b[at:]}
	for len(r.b) > 0 && !r.failed {
		switch tag, value := r.byte(), r.uvarint(); {
		case tag == 0x08 && value == 0: // the algorithm
		case tag == 0x10 && value <= math.MaxUint32:
			sum = uint32(value)
		default:
			return nil, 0, false
		}
	}
	return b[:at], sum, !r.failed
}
