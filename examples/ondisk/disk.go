package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/castaway-go/castaway/actors"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// ledger is a state machine that keeps its state on a disk of its own: in Badger. What was
// applied since the last Save is in memory; all else is on the disk, and read when it is
// needed.
//
//	account/<name> = balance, as 8 bytes; an account that has nothing is not there
//	kept/<name>    = what the library wants kept with the state
//	saved          = there was a Save. Without it, all the rest is of a Restore that has
//	                 not come to one, and goes
//	next/<key>     = 1 value | 0: what the key is to be, or that it is to go; of a Save
//	                 that is too large for one transaction
//	decided        = what stands under next/ counts. Without it, it goes
type ledger struct {
	dir     string
	say     func(string, ...any)
	table   int64 // bytes that Badger gathers in memory, and writes at once
	db      *badger.DB
	changed map[string]int64 // balances, since the last Save
	image   *image           // the last snapshot; nil: there was none
}

const (
	accountPrefix = "account/"
	keptPrefix    = "kept/"
	nextPrefix    = "next/"
)

var savedKey, decidedKey = []byte("saved"), []byte("decided")

func newLedger(dir string, say func(string, ...any)) *ledger {
	return &ledger{dir: dir, table: 8 << 20, say: say, changed: map[string]int64{}}
}

// Open opens the state, and returns what the library had kept with it.
func (l *ledger) Open() (map[string][]byte, error) {
	if err := l.openBadger(); err != nil {
		return nil, err
	}
	if saved, err := l.has(savedKey); err != nil {
		return nil, err
	} else if !saved {
		return nil, l.Reset()
	}
	if err := l.finish(); err != nil {
		return nil, err
	}
	kept := map[string][]byte{}
	err := l.each(keptPrefix, func(name, value []byte) error {
		kept[string(name)] = bytes.Clone(value)
		return nil
	})
	l.say("the ledger is on the disk, and goes on from there")
	return kept, err
}

// Reset forgets everything: it moves Badger's directory out of the way, all at once. Not so
// DropAll: of processes that were killed in the middle of it, and synced nothing else, some
// have not opened Badger again, and some have lost what they wrote afterwards.
func (l *ledger) Reset() error {
	l.image.end()
	clear(l.changed)
	if l.db.MaxVersion() == 0 {
		return nil // nothing was ever written
	}
	db := l.db
	l.db = nil
	if err := db.Close(); err != nil {
		return err
	}
	if err := os.Rename(l.path(badgerName), l.path(oldName)); err != nil {
		return err
	}
	return l.openBadger()
}

// Close closes Badger.
func (l *ledger) Close() error {
	if l.db == nil {
		return nil
	}
	l.image.end()
	return l.db.Close()
}

// Badger's directory, and one that is not needed any more.
const badgerName, oldName = "badger", "badger.old"

func (l *ledger) path(name string) string { return filepath.Join(l.dir, name) }

func (l *ledger) openBadger() (err error) {
	if err := os.RemoveAll(l.path(oldName)); err != nil {
		return err
	}
	if err := os.MkdirAll(l.path(badgerName), 0o755); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	if err := removeEmpty(l.path(badgerName)); err != nil {
		return err
	}
	l.db, err = badger.Open(badger.DefaultOptions(l.path(badgerName)).
		WithLogger(nil).
		// A Save need not be durable, but Badger may not open after a power cut when its
		// files were not written in their order.
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
		// A sync costs what lies in the table. All values are small enough to be in it: what
		// goes into Badger's value log would have to be collected.
		WithMemTableSize(l.table).
		WithValueThreshold(l.table / 8).
		WithValueLogFileSize(max(1<<20, l.table)).
		WithNumMemtables(2).
		WithCompression(options.None).
		WithBlockCacheSize(0))
	return err
}

// removeEmpty removes the files that Badger had begun, and not yet given a size, when the
// process was killed: it does not open with them.
func removeEmpty(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog", "DISCARD"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, name := range names {
			info, err := os.Stat(name)
			if err == nil && info.Size() == 0 {
				err = os.Remove(name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// syncDir makes durable what a directory has in it.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Save makes all that was applied a part of the state, in one transaction.
func (l *ledger) Save(keep map[string][]byte) error {
	writes := []write{{savedKey, []byte{}}}
	for account, balance := range l.changed {
		w := write{key: []byte(accountPrefix + account)}
		if balance != 0 {
			w.value = binary.BigEndian.AppendUint64(nil, uint64(balance))
		}
		writes = append(writes, w)
	}
	for name, value := range keep {
		writes = append(writes, write{[]byte(keptPrefix + name), value})
	}
	err := l.commit(writes)
	if errors.Is(err, badger.ErrTxnTooBig) {
		err = l.commitMany(writes)
	}
	if err == nil {
		clear(l.changed)
	}
	return err
}

// Sync has nothing to do: every transaction is durable.
func (l *ledger) Sync() error { return nil }

// write sets a key, or deletes it if the value is nil.
type write struct{ key, value []byte }

// commit makes writes, all or none.
func (l *ledger) commit(writes []write) error {
	return l.db.Update(func(txn *badger.Txn) error {
		for _, w := range writes {
			if err := w.to(txn); err != nil {
				return err
			}
		}
		return nil
	})
}

// writer is a transaction, or as many as it takes.
type writer interface {
	Set(key, value []byte) error
	Delete(key []byte) error
}

func (w write) to(to writer) error {
	if w.value == nil {
		return to.Delete(w.key)
	}
	return to.Set(w.key, w.value)
}

// commitMany makes more writes than a transaction takes, all or none: first they are noted,
// then it is decided that they count, and then they are carried out.
func (l *ledger) commitMany(writes []write) error {
	err := l.inBatches(func(batch *badger.WriteBatch) error {
		for _, w := range writes {
			next := write{slices.Concat([]byte(nextPrefix), w.key), []byte{0}}
			if w.value != nil {
				next.value = slices.Concat([]byte{1}, w.value)
			}
			if err := next.to(batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = l.commit([]write{{savedKey, []byte{}}, {decidedKey, []byte{}}})
	}
	if err == nil {
		err = l.finish()
	}
	return err
}

// finish carries out what was decided, or drops what was not. If it is interrupted, Open
// does it again.
func (l *ledger) finish() error {
	decided, err := l.has(decidedKey)
	if err != nil {
		return err
	}
	err = l.inBatches(func(batch *badger.WriteBatch) error {
		return l.each(nextPrefix, func(key, value []byte) error {
			key = bytes.Clone(key)
			if decided {
				w := write{key: key}
				if value[0] == 1 {
					w.value = bytes.Clone(value[1:])
				}
				if err := w.to(batch); err != nil {
					return err
				}
			}
			return batch.Delete(slices.Concat([]byte(nextPrefix), key))
		})
	})
	if err == nil && decided {
		err = l.commit([]write{{key: decidedKey}})
	}
	return err
}

// inBatches makes writes in as many transactions as it takes.
func (l *ledger) inBatches(write func(*badger.WriteBatch) error) error {
	batch := l.db.NewWriteBatch()
	defer batch.Cancel()
	if err := write(batch); err != nil {
		return err
	}
	if err := batch.Flush(); err != nil {
		return diskFailed(err)
	}
	return nil
}

// diskFailed says that it was the disk, where an error could be the ledger's.
func diskFailed(err error) error { return fmt.Errorf("%w: %w", actors.ErrStorageFault, err) }

func (l *ledger) has(key []byte) (is bool, err error) {
	err = l.db.View(func(txn *badger.Txn) error {
		_, err := txn.Get(key)
		if is = err == nil; errors.Is(err, badger.ErrKeyNotFound) {
			err = nil
		}
		return err
	})
	return is, err
}

// saved is what an account had at the last Save.
func (l *ledger) saved(account string) (balance int64, err error) {
	err = l.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(accountPrefix + account))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			balance, err = decodeBalance(value)
			return err
		})
	})
	return balance, err
}

func decodeBalance(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errors.New("a balance does not have 8 bytes: the ledger is damaged")
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

// each hands on what is under a prefix, in the order of the keys.
func (l *ledger) each(prefix string, do func(rest, value []byte) error) error {
	return l.db.View(func(txn *badger.Txn) error { return eachIn(txn, prefix, do) })
}

func eachIn(txn *badger.Txn, prefix string, do func(rest, value []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix = []byte(prefix)
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		err := item.Value(func(value []byte) error { return do(item.Key()[len(prefix):], value) })
		if err != nil {
			return err
		}
	}
	return nil
}
