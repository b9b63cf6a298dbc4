package badgerstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/castaway-go/castaway/persistence"
)

// Two things end: the number of segments that the journal may have, when Badger does
// not keep up, and the disk.
//
// When the disk is full nothing may hang, and nothing may be half done. So the
// journal keeps some of it free (journal.Options.KeepFree), with which full segments
// can still be handed over, and the store be opened again; and nothing is handed over
// unless there is room for all of it, because Badger writes into files that are mapped
// into memory: where it finds no room there, the kernel ends the process. A Save that
// finds no room ends with persistence.ErrDiskFull, and nothing has happened. Whoever
// makes it again has the retirer look again, too: so nobody has to watch the disk.

// badgerRoom is what Badger may need beside what it is given, in bytes: two logs ahead
// of memtables, and the tables that are being made of them.
const badgerRoom = 32 << 20

// roomPause is how long a store that is being closed waits before it looks again whether
// there is room.
const roomPause = 500 * time.Millisecond

// roomKeeper knows what Saves wait for.
type roomKeeper struct {
	mu      sync.Mutex
	changed *sync.Cond // on mu: a segment was retired, or could not be, or nothing matters any more
	wanted  bool       // a Save found no room: full segments are not kept for longer than they must
	full    error      // why the retirer could not go on when it last looked
}

// waitForRoom waits until the journal may grow: Badger sets the pace when it
// does not keep up. A batch begins one segment at the most, and so does the
// retirer, so the bound is exceeded by two.
func (s *store) waitForRoom() error {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	for {
		if err := s.usable(); err != nil {
			return err
		}
		if s.sealed() <= s.o.MaxSegments {
			return nil
		}
		if err := s.room.full; err != nil {
			s.wakeRetirer()
			return fmt.Errorf("the journal has %d full segments, and there is no room to take over what is needed of them: %w", s.sealed(), err)
		}
		if s.o.hooks.onWait != nil {
			s.o.hooks.onWait()
		}
		s.room.changed.Wait()
	}
}

// makeRoom lets those look again who wait for room.
func (s *store) makeRoom() { s.setRoom(nil) }

// setRoom notes whether a segment could be handed over.
func (s *store) setRoom(full error) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.full, s.room.wanted = full, false
	s.room.changed.Broadcast()
}

// noRoom notes that a Save found no room.
func (s *store) noRoom(err error) error {
	s.room.mu.Lock()
	s.room.wanted = true
	s.room.mu.Unlock()
	s.wakeRetirer()
	return fmt.Errorf("store %s: %w", s.o.Dir, err)
}

// spent reports whether the oldest segment is to be handed over.
func (s *store) spent() bool {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	n := s.sealed()
	return n > s.o.RetainSegments || n > 0 && s.room.wanted
}

// roomForBadger reports with persistence.ErrDiskFull if Badger might not find room
// for so many bytes. It writes them twice before it forgets where it had them first.
func (s *store) roomForBadger(bytes int64) error {
	free, err := s.o.hooks.fs.Free(s.o.Dir)
	if err != nil {
		return err
	}
	if need := 2*bytes + s.o.hooks.badgerRoom; free < need {
		return fmt.Errorf("%w: %d bytes are free in %s, and Badger may need %d", persistence.ErrDiskFull, free, filepath.Join(s.o.Dir, badgerName), need)
	}
	return nil
}

// sealed returns how many full segments the journal has.
func (s *store) sealed() int {
	oldest, active := s.journal.Segments()
	return int(active - oldest)
}
