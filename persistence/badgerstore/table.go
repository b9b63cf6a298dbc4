package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// table is what the store needs of Badger. Tests put another one in its place
// that stops in the middle of things.
type table interface {
	// commit makes the writes durable as one transaction.
	commit(writes []write) error
	// scan hands the keys with a prefix to visit, ascending from a key on, until
	// it says stop. Key and value are valid until it returns.
	scan(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error
	// drop throws out all keys with these prefixes, and gives their room back. Nothing is
	// committed meanwhile. It may be left half done when the process ends.
	drop(prefixes [][]byte) error
	// size returns how much there is, in bytes, roughly.
	size() (int64, error)
	// sync makes certain that the files themselves do not vanish.
	sync() error
	close() error
}

// write sets a key, or deletes it if the value is nil.
type write struct{ key, value []byte }

// A transaction is committed when it has more than so many bytes or keys. With
// what the last write adds, of 256 KiB at most, that is within what Badger takes
// with our MemTableSize: 600 KiB. It refuses more with ErrTxnTooBig; its
// WriteBatch would not, but make several transactions of it.
const (
	maxCommitBytes = 256 << 10
	maxCommitKeys  = 4096
)

// blockBytes is the size of a block in a table of Badger: what is read and checked at
// a time.
const blockBytes = 32 << 10

// closeWait is how long Close waits.
const closeWait = 10 * time.Second

// badgerTable is the table that lasts.
type badgerTable struct {
	db  *badger.DB
	dir string
	log *badgerLog
}

// openBadger opens Badger in a directory. failed is called, from any goroutine,
// when Badger says of something in the background that it went wrong: there is
// no other way to learn of it.
func openBadger(dir string, logger *slog.Logger, failed func(error)) (t table, err error) {
	log := &badgerLog{logger: logger, failed: failed}
	o := badger.DefaultOptions(dir).
		WithLogger(log).
		// Two syncs per transaction, and without them acknowledged transactions are
		// lost and databases do not open (measured: 5 power cuts of 25).
		WithSyncWrites(true).
		// The log ahead of the memtable is mapped into memory, and a sync of it costs
		// what lies in it: flat up to 16 MiB, three times as much at 64. What is built
		// of a memtable takes four times its size.
		WithMemTableSize(4 << 20).
		WithNumMemtables(2).
		// Nothing goes into the value log: all values are smaller.
		WithValueThreshold(512 << 10).
		WithValueLogFileSize(16 << 20).
		// Blocks come from mapped files, and are read seldom. No cache is needed
		// where nothing is compressed; commands rarely compress well.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithNumCompactors(2).
		// Every table that is being built has memory of several times its size, and
		// Badger keeps that of eight for the next ones. Measured with 64 groups that
		// save as fast as they can, and compact so late that most entries come here:
		// 130 to 190 MiB, and 240 to 320 with the tables that are mapped.
		WithBaseTableSize(512 << 10).
		WithBlockSize(blockBytes).
		WithDetectConflicts(false). // there is one writer
		WithMetricsEnabled(false)
	defer func() {
		// Badger dereferences nil when some tables are damaged. What it does of that in
		// goroutines of its own, where nobody can catch it, checkFiles is against.
		if r := recover(); r != nil {
			t, err = nil, &persistence.CorruptError{File: dir, Detail: fmt.Sprintf("badger panicked: %v", r)}
		}
	}()
	if err := readyFiles(dir, logger); err != nil {
		return nil, err
	}
	db, err := badger.Open(o)
	if err != nil {
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("%s: %w", dir, persistence.ErrLocked)
		}
		return nil, fmt.Errorf("opening badger in %s: %w", dir, err)
	}
	t = &badgerTable{db: db, dir: dir, log: log}
	if complaint := log.opened(); complaint != nil {
		_ = within(closeWait, "badger in "+dir, db.Close) // a failure to close is the lesser one
		if errors.As(complaint, new(*fs.PathError)) {
			return nil, fmt.Errorf("opening badger in %s: %w", dir, complaint)
		}
		// It ignores tables with a wrong checksum, and says so in passing.
		return nil, &persistence.CorruptError{File: dir, Detail: complaint.Error()}
	}
	return t, nil
}

// readyFiles does for Badger what it does not do for itself.
func readyFiles(dir string, logger *slog.Logger) error {
	if err := makeDiscardFile(dir); err != nil {
		return err
	}
	if err := removeEmptyLogs(dir); err != nil {
		return err
	}
	notes, err := mendManifest(dir)
	if err != nil {
		return err
	}
	if notes > 0 {
		logger.Warn("badger could not sync its list of tables, and removed tables that are on it: they are taken out of it", "dir", dir, "notes", notes)
	}
	return checkFiles(dir)
}

// makeDiscardFile makes the file in which Badger counts what its value log does not
// need any more, with the size that Badger gives it, if it has none. On a full disk
// Badger would end the process here instead of returning an error.
func makeDiscardFile(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "DISCARD"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		err = f.Truncate(1 << 20)
	}
	return errors.Join(err, f.Close())
}

// removeEmptyLogs removes the log files of Badger that have no length. It makes one
// before it gives it a size, and cuts one off before it removes it; if the process
// ends in between, or the removal fails, Badger refuses to open with it. What one of
// them may have held that was damaged is missed as if Badger had dropped it.
func removeEmptyLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !isLog(e.Name()) {
			continue
		}
		info, err := e.Info()
		if err == nil && info.Size() == 0 {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *badgerTable) commit(writes []write) error {
	txn := t.db.NewTransaction(true)
	defer txn.Discard()
	for _, w := range writes {
		var err error
		if w.value == nil {
			err = txn.Delete(w.key)
		} else {
			err = txn.Set(w.key, w.value)
		}
		if err != nil {
			return fmt.Errorf("badger in %s: %w", t.dir, err)
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("badger in %s: %w", t.dir, err)
	}
	return nil
}

// scan relies on no more than that what is handed out has a good checksum: an
// iterator of Badger ends silently at a block that it cannot read. Whoever scans
// knows what must be there, and checks that it is.
func (t *badgerTable) scan(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	return t.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix = prefix
		o.PrefetchValues = false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			item := it.Item()
			more := false
			err := item.Value(func(value []byte) (err error) {
				more, err = visit(item.Key(), value)
				return err
			})
			if err != nil || !more {
				return err
			}
		}
		return nil
	})
}

func (t *badgerTable) drop(prefixes [][]byte) error {
	if err := t.db.DropPrefix(prefixes...); err != nil {
		return fmt.Errorf("badger in %s: %w", t.dir, err)
	}
	return nil
}

// size counts the tables: Badger itself does so once a minute.
func (t *badgerTable) size() (bytes int64, err error) {
	for _, table := range t.db.Tables() {
		bytes += int64(table.OnDiskSize)
	}
	return bytes, nil
}

// sync syncs the directory. Badger syncs what is in its files, but forgets the
// directory when it has made a new one for its memtable.
func (t *badgerTable) sync() error { return journal.OS.SyncDir(t.dir) }

// close closes Badger, which on a dead disk tries for ever to write what it has
// in memory, although that is durable already.
func (t *badgerTable) close() error { return t.db.Close() }

// within waits for something that may hang on a dead disk.
func within(limit time.Duration, what string, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s did not close within %v: %w", what, limit, errStillOpen)
	}
}

var errStillOpen = errors.New("its directory stays in use until that is over, or the process ends")

// removeBadger removes what an attempt to make a store left behind.
func removeBadger(dir string) error { return os.RemoveAll(dir) }

// badgerLog hands what Badger logs to slog: its chatter at debug level. What it
// calls an error is one: a flush that failed, a sync of which it does not tell
// the caller, a table that it leaves out.
type badgerLog struct {
	logger *slog.Logger
	failed func(error)

	mu         sync.Mutex
	open       bool
	complaints []error // while it was being opened
}

// opened returns what went wrong while Badger was being opened, or nil.
func (l *badgerLog) opened() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
	return errors.Join(l.complaints...)
}

func (l *badgerLog) Errorf(format string, args ...any) {
	message := strings.TrimSpace(fmt.Sprintf(format, args...))
	complaint := &complaint{message: message}
	for _, a := range args {
		if err, ok := a.(error); ok {
			complaint.cause = err
		}
	}
	l.logger.Error("badger", "err", message)
	l.mu.Lock()
	open := l.open
	if !open {
		l.complaints = append(l.complaints, complaint)
	}
	l.mu.Unlock()
	if open {
		l.failed(complaint)
	}
}

// complaint is what Badger says of an error, which it does not return.
type complaint struct {
	message string
	cause   error
}

func (c *complaint) Error() string { return "badger: " + c.message }

func (c *complaint) Unwrap() error { return c.cause }

func (l *badgerLog) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }

func (l *badgerLog) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

func (l *badgerLog) Debugf(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

func (l *badgerLog) log(level slog.Level, format string, args []any) {
	if ctx := context.Background(); l.logger.Enabled(ctx, level) {
		l.logger.Log(ctx, level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
