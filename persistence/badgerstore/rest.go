package badgerstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/castaway-go/castaway/persistence"
)

// restAfter is how long Badger stays open when nobody asks it for anything.
const restAfter = 10 * time.Second

// restingTable is a table that is closed while nobody needs it. Badger looks for something
// to compact forty times a second, which is most of what a host does whose groups are idle;
// and most of the time nobody asks it for anything: what is new is in the journal, and
// what members need is in their memory. Who asks next waits until it is open again.
type restingTable struct {
	open   func() (table, error)
	room   func() error      // persistence.ErrDiskFull if Badger can be neither opened nor closed
	failed func(error) error // hears that it can be used no more, and returns what users are told

	mu    sync.Mutex // held while Badger is opened or closed
	table table      // nil while it rests
	users int
	after time.Duration
	timer *time.Timer // runs while it is open and nobody uses it
	gone  error       // why it can be used no more
}

func newRestingTable(after time.Duration, room func() error, failed func(error) error, open func() (table, error)) (*restingTable, error) {
	r := &restingTable{open: open, room: room, failed: failed, after: after}
	if err := r.wake(); err != nil {
		return nil, err
	}
	r.timer = time.AfterFunc(r.after, r.rest)
	return r, nil
}

// wake opens it. One that takes long to open rests later, so that what it saves is more
// than what that costs. The caller holds mu, or has it alone.
func (r *restingTable) wake() (err error) {
	began := time.Now()
	if r.table, err = r.open(); err != nil {
		r.table = nil // not one that is nil inside
		return err
	}
	r.after = max(r.after, 100*time.Since(began))
	return nil
}

// rest closes it, unless it is in use.
func (r *restingTable) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone != nil || r.users > 0 || r.table == nil {
		return
	}
	if r.room() != nil {
		r.timer.Reset(r.after)
		return
	}
	err := r.table.close()
	r.table = nil
	if err != nil {
		r.gone = r.failed(fmt.Errorf("closing badger: %w", err))
	}
}

// use does something with it.
func (r *restingTable) use(do func(table) error) error {
	t, err := r.take()
	if err != nil {
		return err
	}
	defer r.giveBack()
	return do(t)
}

// take has it stay open until it is given back, as often as it was taken.
func (r *restingTable) take() (table, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil && r.table == nil {
		if err := r.room(); err != nil {
			return nil, noRoomYet(err)
		}
		if err := r.wake(); err != nil {
			r.gone = r.failed(err)
		}
	}
	if r.gone != nil {
		return nil, r.gone
	}
	r.users++
	r.timer.Stop()
	return r.table, nil
}

func (r *restingTable) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users--; r.users == 0 && r.gone == nil {
		r.timer.Reset(r.after)
	}
}

func (r *restingTable) commit(writes []write) error {
	return r.use(func(t table) error { return t.commit(writes) })
}

func (r *restingTable) scan(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	return r.use(func(t table) error { return t.scan(prefix, from, visit) })
}

func (r *restingTable) drop(prefixes [][]byte) error {
	return r.use(func(t table) error { return t.drop(prefixes) })
}

func (r *restingTable) size() (bytes int64, err error) {
	err = r.use(func(t table) error {
		bytes, err = t.size()
		return err
	})
	return bytes, err
}

func (r *restingTable) sync() error { return r.use(table.sync) }

// close closes it for good. Nobody uses it any more.
func (r *restingTable) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer.Stop()
	r.gone = persistence.ErrClosed
	if r.table == nil {
		return nil
	}
	return r.table.close()
}
