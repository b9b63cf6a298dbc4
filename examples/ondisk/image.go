package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// image is the ledger as it was when a snapshot was asked for: a transaction of Badger still
// sees that, whatever is written meanwhile. It is written only for a member that needs it.
//
//	image = account " " balance "\n" … count "\n"    in the order of the accounts
type image struct {
	ended atomic.Bool // nobody needs it any more
	mu    sync.Mutex
	txn   *badger.Txn // nil: it was written, or has ended
}

var errEnded = errors.New("this snapshot is not needed any more")

// Snapshot returns what will write the ledger as it is now.
func (l *ledger) Snapshot() (io.WriterTo, error) {
	l.image.end() // nobody writes the one before
	l.image = &image{txn: l.db.NewTransaction(false)}
	return l.image, nil
}

// end waits until nobody reads for the image.
func (i *image) end() {
	if i == nil {
		return
	}
	i.ended.Store(true)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.txn != nil {
		i.txn.Discard()
		i.txn = nil
	}
}

// WriteTo writes the image.
func (i *image) WriteTo(to io.Writer) (n int64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.txn == nil {
		return 0, errEnded
	}
	txn := i.txn
	i.txn = nil
	defer txn.Discard()
	w := bufio.NewWriterSize(to, 1<<16)
	line := func(format string, args ...any) error {
		more, err := fmt.Fprintf(w, format, args...)
		n += int64(more)
		return err
	}
	count := 0
	err = eachIn(txn, accountPrefix, func(account, value []byte) error {
		if i.ended.Load() {
			return errEnded
		}
		balance, err := decodeBalance(value)
		if err != nil {
			return err
		}
		count++
		return line("%s %d\n", account, balance)
	})
	if err == nil {
		err = line("%d\n", count)
	}
	return n, errors.Join(err, w.Flush())
}

// Restore reads an image into the ledger, which is empty: in many transactions, for nothing
// of it counts before the next Save.
func (l *ledger) Restore(r io.Reader) error {
	l.say("the ledger is the one that another member has sent")
	return l.inBatches(func(batch *badger.WriteBatch) error {
		lines := bufio.NewScanner(r)
		for count := 0; lines.Scan(); count++ {
			if n, err := strconv.Atoi(lines.Text()); err == nil && n == count {
				return nil // the last line
			}
			postings, err := parse(lines.Bytes())
			if err != nil {
				return err
			}
			w := write{[]byte(accountPrefix + postings[0].account), binary.BigEndian.AppendUint64(nil, uint64(postings[0].amount))}
			if err := w.to(batch); err != nil {
				return diskFailed(err)
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF
	})
}
