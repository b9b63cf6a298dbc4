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
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/castaway-go/castaway/persistence"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/y"
)

// Badger itself is of no use for looking at its files. Opened with ReadOnly it refuses
// a directory whose process was killed, because its log would have to be cut
// (ErrTruncateNeeded); it takes a lock, and a damaged table makes it panic in a
// goroutine where nobody can catch it. So they are read here, by their checksums: the
// list of tables with Badger's own function, the tables and the logs with the hundred
// lines below. They know no more of Badger than our options let it do: no encryption,
// no compression, nothing in the value log.

// cell says where the newest version of a key's value is.
type cell struct {
	version uint64
	file    int
	offset  int64
	length  int
	deleted bool
}

// tableFiles is a table that reads Badger's files and nothing else.
type tableFiles struct {
	dir      string
	in       *Inspection
	progress func(int64)
	refused  error // why Badger would not open this
	// partial: more may be lost than chunks of entries and pieces of them.
	partial bool

	cells map[string]cell
	keys  []string // those that are not deleted, ascending

	open   *os.File // the file that was read last
	opened int
}

const (
	badgerDeleted      = 1 << 0 // the bits of an entry's meta byte
	badgerValuePointer = 1 << 1
	badgerInTxn        = 1 << 6
	badgerTxnEnd       = 1 << 7
	badgerLogHeader    = 20
	badgerOwnPrefix    = "!badger!"
)

func (t *tableFiles) path(file int) string { return filepath.Join(t.dir, t.in.Table.Files[file].Name) }

// refuse notes a damage because of which Badger does not open.
func (t *tableFiles) refuse(file string, offset, bytes int64, format string, args ...any) {
	t.partial = true
	d := t.in.damage(file, offset, bytes, format, args...)
	if t.refused == nil {
		corrupt := d.CorruptError
		t.refused = &corrupt
	}
}

// read reads every file. The error is that of a file that cannot be read.
func (t *tableFiles) read() error {
	names, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if !t.in.Fresh {
			t.refuse(t.dir, 0, 0, "the directory is missing")
		}
		return nil
	}
	if err != nil {
		return err
	}
	tables, listed := t.manifest()
	if _, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: t.dir, ReadOnly: true}); err != nil {
		t.refuse(filepath.Join(t.dir, badger.KeyRegistryFileName), 0, 0, "%v", err)
	}
	for _, name := range names {
		info, err := name.Info()
		if err != nil {
			return err
		}
		if name.Name() == "LOCK" {
			continue
		}
		t.in.Table.Files = append(t.in.Table.Files, TableFile{Name: name.Name(), Kind: "other", Size: info.Size(), End: info.Size()})
		if err := t.file(len(t.in.Table.Files)-1, tables, listed); err != nil {
			return err
		}
	}
	for id := range tables {
		if name := fmt.Sprintf("%06d.sst", id); !slices.ContainsFunc(names, func(e fs.DirEntry) bool { return e.Name() == name }) {
			t.refuse(filepath.Join(t.dir, name), 0, 0, "the table is missing")
		}
	}
	t.in.Table.Keys = map[string]int{}
	kinds := map[byte]string{prefixRoot: "root", prefixTicket: "ticket", prefixGroup: "group", prefixChunk: "chunk", prefixPiece: "piece"}
	for key, c := range t.cells {
		if !c.deleted && !strings.HasPrefix(key, badgerOwnPrefix) {
			t.keys = append(t.keys, key)
			kind := ""
			if key != "" {
				kind = kinds[key[0]]
			}
			t.in.Table.Keys[kind]++
		}
	}
	slices.Sort(t.keys)
	return nil
}

// manifest reads the list of tables. Without one that can be read, all that there are
// count: one that Badger has merged into others, and not removed yet, has nothing that is
// newer than theirs.
func (t *tableFiles) manifest() (tables map[uint64]badger.TableManifest, listed bool) {
	name := filepath.Join(t.dir, badger.ManifestFilename)
	f, err := os.Open(name)
	if err != nil {
		if !t.in.Fresh {
			t.refuse(name, 0, 0, "the list of tables cannot be read: %v", err)
		}
		return nil, false
	}
	defer f.Close()
	m, err := replayManifest(t.dir, f)
	if err != nil {
		t.refuse(name, 0, 0, "the list of tables: %v", err)
		return nil, false
	}
	if b, err := os.ReadFile(name); err == nil {
		if kept, notes := withoutMissing(t.dir, b); notes > 0 { // as they will be when the store is opened
			return tablesOf(kept), true
		}
	}
	return m.Tables, true
}

// file reads a file of Badger.
func (t *tableFiles) file(n int, tables map[uint64]badger.TableManifest, listed bool) error {
	f := &t.in.Table.Files[n]
	stem, isTable := strings.CutSuffix(f.Name, ".sst")
	id, err := strconv.ParseUint(stem, 10, 64)
	m, lists := tables[id]
	switch {
	case f.Name == badger.ManifestFilename:
		f.Kind = "list of tables"
	case isTable && err == nil && listed && !lists:
		f.Kind, f.Void = "table", true
	case isTable && err == nil:
		f.Kind, f.Level = "table", int(m.Level)
		b, err := t.contents(n)
		if b == nil {
			return err
		}
		if m.Compression != 0 || m.KeyID != 0 {
			t.refuse(t.path(n), 0, f.Size, "the table is compressed or encrypted: no table of ours is")
			return nil
		}
		t.table(n, b)
	case filepath.Ext(f.Name) == ".mem":
		f.Kind = "log"
		b, err := t.contents(n)
		if b == nil {
			return err
		}
		if wrong := wrongHead(b); wrong != "" {
			t.refuse(t.path(n), 0, badgerLogHeader, "%s", wrong)
		}
		t.log(n, b)
	case isLog(f.Name):
		if err := checkHead(t.path(n)); errors.As(err, new(*persistence.CorruptError)) {
			t.refuse(t.path(n), 0, badgerLogHeader, "%s", detail(err))
		} else if err != nil {
			return err
		}
	}
	t.progress(f.Size)
	return nil
}

// contents reads a file as a whole, or returns nil: if the disk cannot read it, that is
// damage, not an error.
func (t *tableFiles) contents(n int) ([]byte, error) {
	b, err := os.ReadFile(t.path(n))
	if errors.Is(err, syscall.EIO) {
		t.refuse(t.path(n), 0, 0, "it cannot be read: %v", err)
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// table reads a table: blocks, and an index of them at the end.
func (t *tableFiles) table(n int, b []byte) {
	name := t.path(n)
	defer func() {
		if r := recover(); r != nil { // the index has its checksum, and yet makes no sense
			t.refuse(name, 0, int64(len(b)), "the table is malformed: %v", r)
		}
	}()
	raw, start, wrong, _ := readIndex(bytes.NewReader(b), int64(len(b))) // reading memory does not fail
	if wrong != "" {
		t.refuse(name, 0, int64(len(b)), "%s", wrong)
		return
	}
	index := fb.GetRootAsTableIndex(raw, 0)
	blocks := index.OffsetsLength()
	var this, next fb.BlockOffset
	for i := range blocks {
		index.Offsets(&this, i)
		from, to := int64(this.Offset()), int64(this.Offset())+int64(this.Len())
		if to > start || !t.block(n, b[from:to], from) {
			until := "the end of the table"
			if i+1 < blocks && index.Offsets(&next, i+1) {
				until = describe(next.KeyBytes())
				t.partial = t.partial || !onlyEntries(this.KeyBytes(), next.KeyBytes())
			} else {
				t.partial = true // nobody knows where it ends
			}
			t.in.damage(name, from, to-from, "block %d of the table has a wrong checksum; it begins with %s and ends before %s", i, describe(this.KeyBytes()), until)
		}
	}
}

// onlyEntries reports whether there are only chunks, or only pieces, from one key up to
// another.
func onlyEntries(from, to []byte) bool {
	return len(from) > 0 && len(to) > 0 && from[0] == to[0] && (from[0] == prefixChunk || from[0] == prefixPiece)
}

// block reads a block of a table. It reports false if that is damaged.
func (t *tableFiles) block(n int, b []byte, offset int64) bool {
	b, sum, ok := cutChecksum(b)
	if !ok || len(b) < 4 || crc32.Checksum(b, castagnoli) != sum {
		return false
	}
	count := uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	b = b[:len(b)-4]
	if count > uint64(len(b))/4 {
		return false
	}
	ends := b[uint64(len(b))-4*count:]
	b = b[:uint64(len(b))-4*count]
	var base []byte
	for i := range count {
		from, to := uint64(binary.NativeEndian.Uint32(ends[4*i:])), uint64(len(b))
		if i+1 < count {
			to = uint64(binary.NativeEndian.Uint32(ends[4*(i+1):]))
		}
		if from+4 > to || to > uint64(len(b)) {
			return false
		}
		overlap, diff := int(binary.NativeEndian.Uint16(b[from:])), uint64(binary.NativeEndian.Uint16(b[from+2:]))
		if from+4+diff+3 > to || overlap > len(base) {
			return false
		}
		key := append(slices.Clone(base[:overlap]), b[from+4:from+4+diff]...)
		if i == 0 {
			base = key
		}
		value := b[from+4+diff : to]
		_, expires := binary.Uvarint(value[2:])
		if len(key) < 8 || expires <= 0 {
			return false
		}
		skip := uint64(2 + expires)
		t.put(n, key, value[0], offset+int64(from+4+diff+skip), len(value)-int(skip))
	}
	return true
}

// put takes note of a version of a key.
func (t *tableFiles) put(n int, key []byte, meta byte, offset int64, length int) {
	t.in.Table.Files[n].Records++
	name, version := string(y.ParseKey(key)), y.ParseTs(key)
	if c, ok := t.cells[name]; ok && c.version > version {
		return
	}
	if meta&badgerValuePointer != 0 {
		t.partial = true
		t.in.damage(t.path(n), offset, int64(length), "%s lies in the value log: no value of ours does", describe(key))
	}
	t.cells[name] = cell{version, n, offset, length, meta&badgerDeleted != 0}
}

// log reads the log ahead of a memtable. What Badger drops at its end is the last
// transaction, which the journal has, too; that nothing else is missing is what
// the root and the marks are for.
func (t *tableFiles) log(n int, b []byte) {
	f := &t.in.Table.Files[n]
	type entry struct {
		key    []byte
		meta   byte
		offset int64
		length int
	}
	var pending []entry
	version := uint64(0)
	at := min(badgerLogHeader, len(b))
	f.End = int64(at)
	for {
		r := reader{b: b[at:]}
		meta, _ := r.byte(), r.byte()
		keyLength, length, _ := r.uvarint(), r.uvarint(), r.uvarint()
		offset := len(b) - len(r.b) + int(min(keyLength, uint64(len(r.b))))
		key := r.bytes(keyLength)
		value := r.bytes(length)
		body := b[at : len(b)-len(r.b)]
		sum := r.bytes(4)
		if r.failed || len(key) == 0 || keyLength > 1<<16 || crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(sum) {
			break
		}
		if len(key) < 8 || meta&badgerInTxn == 0 && meta&badgerTxnEnd == 0 && version != 0 {
			break
		}
		at = len(b) - len(r.b)
		if meta&badgerTxnEnd != 0 && meta&badgerInTxn == 0 {
			if commit, err := strconv.ParseUint(string(value), 10, 64); err != nil || commit != version {
				break
			}
			for _, e := range pending {
				t.put(n, e.key, e.meta, e.offset, e.length)
			}
			pending, version, f.End = nil, 0, int64(at)
			continue
		}
		if meta&badgerInTxn == 0 {
			t.put(n, key, meta, int64(offset), len(value))
			f.End = int64(at)
			continue
		}
		if ts := y.ParseTs(key); version == 0 {
			version = ts
		} else if version != ts {
			break
		}
		pending = append(pending, entry{key, meta, int64(offset), len(value)})
	}
	for _, c := range b[f.End:] {
		f.Torn = f.Torn || c != 0
	}
}

// describe says what a key of Badger is for. Groups are named later: see named.
func describe(key []byte) string {
	if len(key) >= 8 {
		key = y.ParseKey(key)
	}
	switch {
	case len(key) == 1 && key[0] == prefixRoot:
		return "the root"
	case len(key) == 3 && key[0] == prefixTicket:
		return fmt.Sprintf("ticket %d", binary.BigEndian.Uint16(key[1:]))
	case len(key) == 9 && key[0] == prefixGroup:
		return fmt.Sprintf("the value of group \x00%d\x00", binary.BigEndian.Uint64(key[1:]))
	case len(key) == 17 && key[0] == prefixChunk:
		return fmt.Sprintf("the chunk of group \x00%d\x00 from entry %d on", binary.BigEndian.Uint64(key[1:]), firstOf(key))
	case len(key) == 21 && key[0] == prefixPiece:
		return fmt.Sprintf("piece %d of the chunk of group \x00%d\x00 from entry %d on", binary.BigEndian.Uint32(key[17:]), binary.BigEndian.Uint64(key[1:]), firstOf(key))
	}
	return fmt.Sprintf("key %x", key)
}

func (t *tableFiles) scan(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	for at := sort.SearchStrings(t.keys, string(from)); at < len(t.keys) && strings.HasPrefix(t.keys[at], string(prefix)); at++ {
		value, err := t.value(t.cells[t.keys[at]])
		if err != nil {
			return err
		}
		if more, err := visit([]byte(t.keys[at]), value); err != nil || !more {
			return err
		}
	}
	return nil
}

func (t *tableFiles) value(c cell) ([]byte, error) {
	if t.open == nil || t.opened != c.file {
		if err := t.close(); err != nil {
			return nil, err
		}
		f, err := os.Open(t.path(c.file))
		if err != nil {
			return nil, err
		}
		t.open, t.opened = f, c.file
	}
	b := make([]byte, c.length)
	_, err := t.open.ReadAt(b, c.offset)
	return b, err
}

func (t *tableFiles) commit([]write) error { return errors.ErrUnsupported }

func (t *tableFiles) drop([][]byte) error { return errors.ErrUnsupported }

func (t *tableFiles) size() (int64, error) { return 0, errors.ErrUnsupported }

func (t *tableFiles) sync() error { return errors.ErrUnsupported }

func (t *tableFiles) close() error {
	f := t.open
	if t.open = nil; f == nil {
		return nil
	}
	return f.Close()
}
