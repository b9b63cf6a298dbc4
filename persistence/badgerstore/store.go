package badgerstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// store is an open Store. Its locks, from the outside in:
//
//	saving   one Open, Save, CloseGroup, Remove, Revive or Own at a time
//	mu       the groups in memory; never held while a disk works
//
// The retirer, a goroutine, hands full journal segments over to Badger. Groups
// are changed under both locks, except for what it changes: held, extents and
// version, under mu alone.
type store struct {
	o      Options
	logger *slog.Logger
	unlock func() error
	marker marker // what the file says

	journal *journal.Journal
	table   table

	saving  sync.Mutex
	batch   journal.Batch
	pieces  []piece // of the Save at hand
	saves   uint64  // counts them
	segment uint32  // the active one, as of the last Append

	mu      sync.RWMutex
	names   map[string]*group
	groups  []*group // by number - 1
	touched map[uint32][]*group
	root    root // the retirer's
	// repaired: the journal was cut off, not long ago. A group that is not known may
	// have been lost with the rest.
	repaired bool
	doomed   []*group // that were removed, for the retirer

	// The retirer's: those of them that Badger has something of, and how much.
	dead      []*group
	deadBytes int64

	noticed sync.Once // damage: there is a note of it
	failure atomic.Pointer[error]
	closed  atomic.Bool
	room    roomKeeper

	wake    chan struct{} // the retirer: there may be something to do
	quit    chan struct{}
	retired chan struct{} // the retirer has ended
}

// usable returns why the store answers nothing any more, if that is so.
func (s *store) usable() error {
	if s.closed.Load() {
		return persistence.ErrClosed
	}
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail poisons the store.
func (s *store) fail(err error) error {
	if errors.Is(err, persistence.ErrClosed) && s.closed.Load() {
		return err
	}
	if !errors.Is(err, persistence.ErrPoisoned) {
		err = fmt.Errorf("%w: %w", persistence.ErrPoisoned, err)
	}
	if errors.Is(err, syscall.ENOSPC) && !errors.Is(err, persistence.ErrDiskFull) { // Badger does not say so
		err = fmt.Errorf("%w: %w", persistence.ErrDiskFull, err)
	}
	err = fmt.Errorf("store %s: %w", s.o.Dir, err)
	if s.failure.CompareAndSwap(nil, &err) {
		s.logger.Error("the store is poisoned", "dir", s.o.Dir, "err", err)
		s.makeRoom()
	}
	return *s.failure.Load()
}

// Open begins the use of a group.
func (s *store) Open(name string) (persistence.Opened, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return persistence.Opened{}, err
	}
	if err := s.found(name); err != nil {
		return persistence.Opened{}, err
	}
	g := s.names[name]
	if g.tombstone != nil {
		return persistence.Opened{}, &persistence.RemovedError{Tombstone: *g.tombstone}
	}
	if g.boot != 0 {
		return persistence.Opened{}, fmt.Errorf("group %q: %w", name, persistence.ErrGroupOpen)
	}
	recovered, err := s.recovered(g)
	if err != nil {
		return persistence.Opened{}, fmt.Errorf("group %q: %w", name, s.notice(err))
	}
	boot := random()
	s.mu.Lock()
	g.boot = boot
	s.mu.Unlock()
	return persistence.Opened{Group: persistence.GroupID(g.number), Boot: boot, Recovered: recovered}, nil
}

// Found makes groups known, with one sync. See persistence.Founder.
func (s *store) Found(names ...string) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	return s.found(names...)
}

// found makes those of the groups that are new, durably, all or none.
func (s *store) found(names ...string) error {
	var groups []*group
	known := map[string]bool{}
	for _, name := range names {
		if s.names[name] != nil || known[name] {
			continue
		}
		if len(name) > maxNameBytes {
			return fmt.Errorf("the name of a group has %d bytes, more than %d", len(name), maxNameBytes)
		}
		known[name] = true
		g := &group{number: uint64(len(s.groups)+len(groups)) + 1, name: name}
		g.log.Incarnation = raftcore.Incarnation(random())
		groups = append(groups, g)
	}
	if len(groups) == 0 {
		return nil
	}
	if err := s.waitForRoom(); err != nil {
		return err
	}
	s.batch.Reset()
	for _, g := range groups {
		s.batch.Add(func(b []byte) []byte { return appendGroupRecord(b, g.number, g.log.Incarnation, g.name) })
		if s.repaired {
			d := damage{number: g.number, incarnation: g.log.Incarnation}
			g.damage(&d)
			s.batch.Add(func(b []byte) []byte { return appendDamageRecord(b, &d) })
		}
	}
	positions, err := s.append(&s.batch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, g := range groups {
		s.add(g)
		s.touch(g, positions[0].Segment) // one batch is in one segment
	}
	s.mu.Unlock()
	s.rolled(positions)
	return nil
}

// add makes a group known. The caller holds mu.
func (s *store) add(g *group) {
	s.groups = append(s.groups, g)
	s.names[g.name] = g
}

// touch notes that a segment says something of a group. The caller holds mu.
func (s *store) touch(g *group, segment uint32) {
	if g.touched != segment {
		g.touched = segment
		s.touched[segment] = append(s.touched[segment], g)
	}
}

// rolled wakes the retirer if a segment is full.
func (s *store) rolled(positions []journal.Position) {
	if segment := positions[0].Segment; segment != s.segment {
		s.segment = segment
		s.wakeRetirer()
	}
}

func (s *store) wakeRetirer() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// recovered returns what a node starts from.
func (s *store) recovered(g *group) (raftcore.Recovered, error) {
	s.mu.RLock()
	r := g.log
	r.Runs = slices.Clone(r.Runs)
	r.Configs = slices.Clone(r.Configs)
	r.LastTime = g.baseTime
	s.mu.RUnlock()
	tail, err := s.tail(g)
	if err != nil {
		return raftcore.Recovered{}, err
	}
	if n := len(tail); n > 0 {
		r.Tail, r.LastTime = tail, tail[n-1].Time
	}
	return r, nil
}

// CloseGroup ends the use of a group.
func (s *store) CloseGroup(id persistence.GroupID) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err == nil {
		g.boot = 0
	}
	return err
}

// group returns an open group. The caller holds mu, or saving.
func (s *store) group(id persistence.GroupID) (*group, error) {
	if id == 0 || id > persistence.GroupID(len(s.groups)) || s.groups[id-1].boot == 0 {
		return nil, persistence.ErrGroupClosed
	}
	return s.groups[id-1], nil
}

// Close lets go of the disk. It waits for what hangs on it, but not for ever: then
// the locks stay, too, until that has ended, and so they do if the disk is too full to
// close Badger, until there is room.
func (s *store) Close() error {
	if s.closed.Swap(true) {
		return persistence.ErrClosed
	}
	close(s.quit)
	s.makeRoom()
	err := s.roomForBadger(0)
	if errors.Is(err, persistence.ErrDiskFull) {
		go s.release()
		err = fmt.Errorf("badger is not closed yet: %w: %w", errStillOpen, err)
	} else {
		err = within(s.o.hooks.closeWait, "store "+s.o.Dir, s.release)
	}
	if p := s.failure.Load(); p != nil {
		return errors.Join(*p, err)
	}
	return err
}

// release closes what is open, and lets go of the locks when nothing is any more. Badger
// writes what it has in memory, although that is durable already: for that it waits
// until there is room.
func (s *store) release() error {
	<-s.retired
	for errors.Is(s.roomForBadger(0), persistence.ErrDiskFull) {
		time.Sleep(s.o.hooks.roomPause)
	}
	return errors.Join(s.table.close(), s.journal.Close(), s.unlock())
}

func (s *store) path(name string) string { return filepath.Join(s.o.Dir, name) }

// random draws a number that is not zero.
func random() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if n := binary.NativeEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}
