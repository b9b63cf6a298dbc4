package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/castaway-go/castaway/persistence/journal"
)

// logTable stands for Badger on a simulated disk: transactions that are atomic
// and durable when commit returns, and nothing else. It is as plain as can be: a
// log of transactions, of which a damaged end is cut off.
type logTable struct {
	fs     journal.FS
	dir    string
	file   journal.File
	offset int64

	mu   sync.Mutex // Loads scan beside a commit
	data map[string][]byte
	keys []string // ascending

	// between is called before each commit; tests let other things happen there.
	between func() error
}

func openLogTable(fsys journal.FS) func(string, *slog.Logger, func(error)) (table, error) {
	return func(dir string, _ *slog.Logger, _ func(error)) (table, error) {
		t := &logTable{fs: fsys, dir: dir, data: map[string][]byte{}}
		return t, t.open()
	}
}

func removeLogTable(fsys journal.FS) func(dir string) error {
	return func(dir string) error {
		for _, name := range []string{"log", "log.new", onlyEntriesName} {
			if err := fsys.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
}

// onlyEntriesName is the file by which a test says that a log has lost nothing but chunks
// and pieces: Badger's own files tell.
const onlyEntriesName = "only-entries"

// readLogTable reads a log, and changes nothing.
func readLogTable(fsys journal.FS) func(string) (*remains, error) {
	return func(dir string) (*remains, error) {
		t := &logTable{fs: fsys, dir: dir, data: map[string][]byte{}}
		names, err := fsys.List(dir)
		if err != nil {
			return nil, err
		}
		return &remains{table: t, partial: !slices.Contains(names, onlyEntriesName)}, t.read()
	}
}

// open reads the log, and writes all of it anew, so that what it shows is on the
// disk for certain.
func (t *logTable) open() error {
	if err := t.read(); err != nil {
		return err
	}
	name := filepath.Join(t.dir, "log")
	draft := name + ".new"
	if err := t.fs.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	if t.file, err = t.fs.Create(draft, 0); err != nil {
		return err
	}
	var kept []write
	for _, key := range t.keys {
		kept = append(kept, write{key: []byte(key), value: t.data[key]})
	}
	if err := t.append(encodeTransaction(kept)); err != nil {
		return err
	}
	if err := t.fs.Rename(draft, name); err != nil {
		return err
	}
	return t.fs.SyncDir(t.dir)
}

// read reads the log.
func (t *logTable) read() error {
	name := filepath.Join(t.dir, "log")
	if f, err := t.fs.Open(name); err == nil {
		size, err := f.Size()
		if err != nil {
			return err
		}
		all := make([]byte, size)
		if _, err := f.ReadAt(all, 0); err != nil && size > 0 {
			return err
		}
		for rest := all; ; {
			writes, n := parseTransaction(rest)
			if n == 0 {
				break
			}
			t.apply(writes)
			rest = rest[n:]
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (t *logTable) append(b []byte) error {
	if _, err := t.file.WriteAt(b, t.offset); err != nil {
		return err
	}
	t.offset += int64(len(b))
	return t.file.Sync()
}

func (t *logTable) commit(writes []write) error {
	if t.between != nil {
		if err := t.between(); err != nil {
			return err
		}
	}
	size := 0
	for _, w := range writes {
		size += len(w.key) + len(w.value)
	}
	if size > 1200<<10 {
		return errors.New("the transaction is too big for Badger")
	}
	if err := t.append(encodeTransaction(writes)); err != nil {
		return err
	}
	t.apply(writes)
	return nil
}

func (t *logTable) apply(writes []write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range writes {
		if w.value == nil {
			delete(t.data, string(w.key))
		} else {
			t.data[string(w.key)] = w.value
		}
	}
	t.keys = t.keys[:0]
	for key := range t.data {
		t.keys = append(t.keys, key)
	}
	slices.Sort(t.keys)
}

func (t *logTable) scan(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	for _, w := range t.snapshot(prefix, from) {
		// Copies that are spoilt afterwards: they are valid only until visit returns.
		value := slices.Clone(w.value)
		more, err := visit(w.key, value)
		for i := range value {
			value[i] = 0xdb
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// snapshot is what a scan sees, whatever is committed meanwhile.
func (t *logTable) snapshot(prefix, from []byte) (seen []write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearch(t.keys, string(from))
	for _, key := range t.keys[i:] {
		if !strings.HasPrefix(key, string(prefix)) {
			break
		}
		seen = append(seen, write{key: []byte(key), value: t.data[key]})
	}
	return seen
}

func (t *logTable) drop(prefixes [][]byte) error {
	for _, prefix := range prefixes {
		for _, w := range t.snapshot(prefix, prefix) {
			if err := t.commit([]write{{key: w.key}}); err != nil { // one at a time: it may be left half done
				return err
			}
		}
	}
	return nil
}

func (t *logTable) size() (bytes int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, value := range t.data {
		bytes += int64(len(key) + len(value))
	}
	return bytes, nil
}

func (t *logTable) sync() error { return nil }

func (t *logTable) close() error { return nil }

func encodeTransaction(writes []write) []byte {
	b := make([]byte, 8)
	for _, w := range writes {
		b = binary.AppendUvarint(b, uint64(len(w.key)))
		b = append(b, w.key...)
		b = binary.AppendUvarint(b, uint64(len(w.value)))
		b = append(b, w.value...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint32(b[4:], checksum(string(b[8:])))
	return append(b, make([]byte, -len(b)&4095)...) // the next one must not damage this one
}

// parseTransaction returns nothing at the end of the log. n is in whole blocks.
func parseTransaction(b []byte) (writes []write, n int) {
	if len(b) < 8 {
		return nil, 0
	}
	n = int(binary.LittleEndian.Uint32(b))
	if n < 8 || n > len(b) || binary.LittleEndian.Uint32(b[4:]) != checksum(string(b[8:n])) {
		return nil, 0
	}
	r := reader{b: bytes.Clone(b[8:n])}
	for len(r.b) > 0 {
		w := write{key: r.bytes(r.uvarint())}
		if value := r.bytes(r.uvarint()); len(value) > 0 {
			w.value = value
		}
		writes = append(writes, w)
	}
	return writes, min((n+4095)&^4095, len(b))
}
