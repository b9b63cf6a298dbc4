package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
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
	return &ledger{dir: dir, table: 8 << 20, say: say}
}

// Open opens the state, and returns what the library had kept with it.
func (l *ledger) Open() (map[string][]byte, error) {
	l.changed = map[string]int64{}
	db, err := badger.Open(badger.DefaultOptions(l.dir).
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
	if err != nil {
		return nil, err
	}
	l.db = db
	if saved, err := l.has(savedKey); err != nil {
		return nil, err
	} else if !saved {
		return nil, l.db.DropAll()
	}
	if decided, err := l.has(decidedKey); err != nil {
		return nil, err
	} else if decided {
		err = l.carryOut()
	} else {
		err = l.db.DropPrefix([]byte(nextPrefix))
	}
	if err != nil {
		return nil, err
	}
	kept := map[string][]byte{}
	err = each(l.db.NewTransaction(false), keptPrefix, func(name, value []byte) error {
		kept[string(name)] = bytes.Clone(value)
		return nil
	})
	l.say("the ledger is on the disk, and goes on from there")
	return kept, err
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

// Reset forgets everything.
func (l *ledger) Reset() error {
	l.image.end()
	clear(l.changed)
	if err := l.commit([]write{{key: savedKey}}); err != nil { // else a crash could leave half of it
		return err
	}
	return l.db.DropAll()
}

// Close closes Badger.
func (l *ledger) Close() error {
	if l.db == nil {
		return nil
	}
	l.image.end()
	return l.db.Close()
}

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
		err = l.commit([]write{{decidedKey, []byte{}}, {savedKey, []byte{}}})
	}
	if err == nil {
		err = l.carryOut()
	}
	return err
}

// carryOut does what was decided. If it is interrupted, Open does it again.
func (l *ledger) carryOut() error {
	err := l.inBatches(func(batch *badger.WriteBatch) error {
		return each(l.db.NewTransaction(false), nextPrefix, func(key, value []byte) error {
			w := write{key: bytes.Clone(key)}
			if value[0] == 1 {
				w.value = bytes.Clone(value[1:])
			}
			return w.to(batch)
		})
	})
	if err == nil {
		err = l.commit([]write{{key: decidedKey}})
	}
	if err == nil {
		err = l.db.DropPrefix([]byte(nextPrefix))
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

// each hands on what is under a prefix, in the order of the keys, and ends the transaction.
func each(txn *badger.Txn, prefix string, do func(rest, value []byte) error) error {
	defer txn.Discard()
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
