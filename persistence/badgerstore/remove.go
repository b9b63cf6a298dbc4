package badgerstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// A group that is removed keeps its number, for ever: what the journal says of that number
// before the removal is the old group's, and is skipped, or undone by the removal, when it
// is replayed. Removing is one record, and what was known of the group is forgotten at once;
// its space comes back by itself. In the journal it does when the segments are retired. In
// Badger it does when the segment with that record is handed over: nothing that is there is
// the log's any more (handover.clean). Many that are large are not waited for: see drop.

// Remove takes a group out for good.
func (s *store) Remove(r persistence.Removal) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	g := s.names[r.Group]
	switch {
	case g == nil:
		return fmt.Errorf("group %q: %w", r.Group, persistence.ErrNoGroup)
	case g.tombstone != nil:
		return nil
	case g.boot != 0:
		return fmt.Errorf("group %q: %w", r.Group, persistence.ErrGroupOpen)
	}
	if err := r.Check(&g.log); err != nil {
		return err
	}
	t := &persistence.Tombstone{Group: r.Group, Time: r.Time, Incarnation: g.log.Incarnation, HardState: g.log.HardState}
	return s.note(g, func() { s.remove(g, t) }, func(b []byte) []byte { return appendRemovalRecord(b, g.number, t) })
}

// Revive has a group begin again. One that was not removed is now, in the same write.
func (s *store) Revive(name string, former raftcore.Incarnation) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	g := s.names[name]
	switch {
	case g == nil || g.tombstone == nil && g.log.Incarnation != former:
		return fmt.Errorf("incarnation %x of group %q: %w", uint64(former), name, persistence.ErrNoGroup)
	case g.tombstone != nil && g.tombstone.Incarnation != former:
		return &persistence.RemovedError{Tombstone: *g.tombstone}
	case g.boot != 0:
		return fmt.Errorf("group %q: %w", name, persistence.ErrGroupOpen)
	}
	incarnation := raftcore.Incarnation(random())
	revival := func(b []byte) []byte { return appendRevivalRecord(b, g.number, incarnation) }
	if g.tombstone != nil {
		return s.note(g, func() { g.revive(incarnation) }, revival)
	}
	t := &persistence.Tombstone{Group: name, Incarnation: former, HardState: g.log.HardState}
	removal := func(b []byte) []byte { return appendRemovalRecord(b, g.number, t) }
	return s.note(g, func() { s.remove(g, t); g.revive(incarnation) }, removal, revival)
}

// Tombstones returns what is left of all groups that were removed.
func (s *store) Tombstones() ([]persistence.Tombstone, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []persistence.Tombstone
	for _, g := range s.groups {
		if g.tombstone != nil {
			all = append(all, *g.tombstone)
		}
	}
	slices.SortFunc(all, func(a, b persistence.Tombstone) int { return cmp.Compare(a.Group, b.Group) })
	return all, nil
}

// note appends records of a group that is not open, all or none, and changes it then. They
// may take up what the journal keeps free: where the disk is full, a removal makes room.
func (s *store) note(g *group, change func(), records ...func([]byte) []byte) error {
	s.batch.Reset()
	s.batch.Urgent = true
	defer func() { s.batch.Urgent = false }()
	for _, record := range records {
		s.batch.Add(record)
	}
	positions, err := s.append(&s.batch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.touch(g, positions[0].Segment)
	change()
	s.mu.Unlock()
	s.rolled(positions)
	return nil
}

// remove forgets a group. The caller holds mu, or is the only one.
func (s *store) remove(g *group, t *persistence.Tombstone) {
	if g.version > 0 {
		s.doomed = append(s.doomed, g)
		s.wakeRetirer()
	}
	g.forget()
	g.tombstone = t
	g.log.Incarnation, g.log.HardState = t.Incarnation, t.HardState
}

// there returns the groups that were not removed: what is gone can lose nothing.
func (s *store) there() []*group {
	return slices.DeleteFunc(slices.Clone(s.groups), func(g *group) bool { return g.tombstone != nil })
}

// forget forgets everything but who the group is.
func (g *group) forget() {
	g.changes++
	g.log, g.baseTime = raftcore.Recovered{}, 0
	g.held, g.extents, g.awaited = 0, nil, 0
}

// revive has a group begin again.
func (g *group) revive(incarnation raftcore.Incarnation) {
	g.forget()
	g.tombstone, g.revived = nil, true
	g.log.Incarnation, g.log.Damaged = incarnation, true
}

// dropBytes is how much removed groups have in Badger, at least, for it to be thrown out
// at once. Badger writes the tables anew in which that lies, and answers no Load meanwhile.
const dropBytes = 8 << 20

// drop throws what is in Badger of groups that were removed out of its tables, if that is
// much: to delete the keys would free nothing before Badger compacts them, which it does
// when more is written. It is not needed for anything but room. If the process ends in the
// middle, some keys are left, and others that were deleted before come up: all of a number
// that means nothing any more. The segments that have the removals are still there, so they
// are looked for when those are handed over, and a group that was revived since writes
// nothing before that.
func (s *store) drop() error {
	s.mu.Lock()
	doomed := s.doomed
	s.doomed = nil
	s.mu.Unlock()
	for _, g := range doomed {
		bytes, err := s.inTable(g)
		if err != nil {
			return err
		}
		if bytes > 0 {
			s.dead = append(s.dead, g)
			s.deadBytes += bytes
		}
	}
	if s.deadBytes < s.o.hooks.dropBytes {
		return nil
	}
	if size, err := s.table.size(); err != nil {
		return err
	} else if err := s.roomForBadger(size); err != nil {
		return noRoomYet(err)
	}
	var prefixes [][]byte
	s.mu.RLock()
	for _, g := range s.dead {
		if g.tombstone != nil { // else it was revived, and what is there may be its own again
			prefixes = append(prefixes, chunksOf(g.number), piecesOf(g.number))
		}
	}
	s.mu.RUnlock()
	s.dead, s.deadBytes = nil, 0
	if err := s.table.drop(prefixes); err != nil {
		return err
	}
	return s.table.sync()
}

// inTable returns how many bytes of entries Badger has of a group.
func (s *store) inTable(g *group) (bytes int64, err error) {
	for _, prefix := range [][]byte{chunksOf(g.number), piecesOf(g.number)} {
		err = errors.Join(err, s.table.scan(prefix, prefix, func(key, value []byte) (bool, error) {
			bytes += int64(len(key) + len(value))
			return true, nil
		}))
	}
	return bytes, err
}
