package badgerstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// Open opens the store. If somebody else has it open, the error is
// persistence.ErrLocked.
func (o Options) Open() (persistence.Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("badgerstore: bad options: %w", err)
	}
	o = o.withDefaults()
	s, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: opening %s: %w", o.Dir, err)
	}
	return s, nil
}

func open(o Options) (*store, error) {
	fsys := o.hooks.fs
	if err := fsys.MkdirAll(o.Dir); err != nil {
		return nil, err
	}
	s := &store{
		o:       o,
		logger:  o.Logger,
		names:   map[string]*group{},
		touched: map[uint32][]*group{},
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		retired: make(chan struct{}),
	}
	s.room.changed = sync.NewCond(&s.room.mu)
	lock, err := fsys.Lock(filepath.Join(o.Dir, lockName))
	if errors.Is(err, persistence.ErrLocked) {
		// Maybe by a store of this process that was closed: it waits for room, too.
		if full := s.roomForBadger(0); errors.Is(full, persistence.ErrDiskFull) {
			err = fmt.Errorf("%w; %w", err, full)
		}
	}
	if err != nil {
		return nil, err
	}
	s.unlock = lock.Close
	if err := s.open(); err != nil {
		if s.journal != nil {
			s.journal.Close()
		}
		var closing error
		if s.table != nil {
			closing = within(o.hooks.closeWait, "badger in "+s.path(badgerName), s.table.close)
		}
		if !errors.Is(closing, errStillOpen) && !errors.Is(err, errStillOpen) {
			lock.Close()
		}
		return nil, o.concern(err)
	}
	if o.hooks.noRetirer {
		close(s.retired)
		return s, nil
	}
	s.wakeRetirer() // segments may have been full before
	go s.retire()
	return s, nil
}

// concern adds to what is damaged whom it concerns, as far as can be made out.
func (o *Options) concern(err error) error {
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) {
		return err
	}
	in, looking := Inspect(o.Dir, InspectOptions{Live: true})
	if looking != nil {
		return err // what is damaged keeps us from looking, too
	}
	defer in.Close()
	in.concern(corrupt)
	return err
}

func (s *store) open() error {
	fsys := s.o.hooks.fs
	m, found, err := readMarker(fsys, s.o.Dir)
	if err != nil {
		return err
	}
	if err := s.roomForBadger(0); err != nil {
		return err
	}
	if !found || m.fresh {
		m = marker{format: storeFormat, id: random(), fresh: true}
		if err := s.prepare(m); err != nil {
			return err
		}
	}
	if err := s.finishRebuild(m); err != nil {
		return err
	}
	cause := s.noted(m)
	if cause == nil {
		cause = s.openParts(&m)
	}
	if err := s.rebuildIfNeeded(&m, cause); err != nil {
		return err
	}
	if m.fresh || m.damaged || m.format != storeFormat {
		m.format, m.fresh, m.damaged = storeFormat, false, false
		if err := writeMarker(fsys, s.o.Dir, m); err != nil {
			return err
		}
	}
	s.marker = m
	return s.usable() // Badger may have complained meanwhile
}

// Own notes whose store it is.
func (s *store) Own(host raftcore.NodeID) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	m := s.marker
	if m.host == host {
		return nil
	}
	if m.host != raftcore.Nobody {
		return fmt.Errorf("%w: %s is host %d's, not host %d's", persistence.ErrOtherHost, s.o.Dir, m.host, host)
	}
	m.host = host
	if err := writeMarker(s.o.hooks.fs, s.o.Dir, m); err != nil {
		return err // the one before is there still, or this one is
	}
	s.marker = m
	return nil
}

// openParts opens Badger and the journal, and reads what they have.
func (s *store) openParts(m *marker) error {
	failed := func(err error) error { return s.fail(s.notice(err)) }
	t, err := newRestingTable(s.o.hooks.restAfter, func() error { return s.roomForBadger(0) }, failed, func() (table, error) {
		return s.o.hooks.openTable(s.path(badgerName), s.logger, func(err error) { s.fail(err) })
	})
	if err != nil {
		return err
	}
	s.table = t
	if m.fresh {
		s.root = root{store: m.id, next: 1}
		if err = s.commitRoot(&s.root, nil); err == nil {
			err = s.table.sync()
		}
	} else {
		err = s.readTable(*m)
	}
	if err != nil {
		return err
	}
	return s.openJournal(m)
}

// openJournal opens the journal and replays it. If it is damaged, and that is to
// be repaired, it is cut off.
func (s *store) openJournal(m *marker) (err error) {
	o := journal.Options{
		ID: m.id, Create: m.fresh, SegmentBytes: s.o.SegmentBytes,
		KeepFree: s.o.keepFree(),
		Reading:  s.o.Opening,
		FS:       s.o.hooks.fs,
	}
	r := replaying{s: s}
	if !m.damaged {
		if s.journal, err = journal.Open(s.path(journalName), o, r.record); err == nil {
			err = r.finish()
		}
		var corrupt *persistence.CorruptError
		if err == nil || !s.o.Repair || !errors.As(err, &corrupt) || s.isBadgers(corrupt) {
			return err
		}
		if s.journal != nil {
			if err := s.journal.Close(); err != nil {
				return err
			}
			s.journal = nil
		}
		o.First = s.root.next
		if damage, other := journal.Damaged(s.path(journalName), o); other != nil || damage == nil && !r.short {
			return err // it is Badger, or the records are what was written, and make no sense
		}
	}
	o.First = s.root.next
	return s.salvage(m, o)
}

// salvage goes on with what a damaged journal has before the damage. Everything
// after it is lost, and nobody knows of which groups: all of them are damaged. That
// is durable before the journal looks whole.
func (s *store) salvage(m *marker, o journal.Options) error {
	if !m.damaged {
		m.damaged = true
		if err := writeMarker(s.o.hooks.fs, s.o.Dir, *m); err != nil {
			return err
		}
	}
	cut, err := journal.Salvage(s.path(journalName), o)
	if err != nil {
		return err
	}
	// From the beginning: a part of the journal may have been replayed.
	s.doomed = nil
	s.groups, s.names, s.touched = nil, map[string]*group{}, map[uint32][]*group{}
	if err := s.readTable(*m); err != nil {
		return err
	}
	o.Create = true
	r := replaying{s: s, cut: true}
	if s.journal, err = journal.Open(s.path(journalName), o, r.record); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	s.batch.Reset()
	s.repaired = true
	s.batch.Add(func(b []byte) []byte { return appendDamageRecord(b, &damage{}) })
	groups := s.there()
	for _, g := range groups {
		last, err := s.readable(g)
		if err != nil {
			return fmt.Errorf("group %q: %w", g.name, err)
		}
		g.truncate(last + 1)
		d := g.assess()
		if g.awaited != 0 { // the record of an earlier damage was cut off, and Badger knows of it
			d.incarnation = g.awaited
			s.batch.Add(func(b []byte) []byte { return appendDamageRecord(b, &d) })
		}
		d.incarnation = raftcore.Incarnation(random())
		g.damage(&d)
		g.awaited = 0
		s.batch.Add(func(b []byte) []byte { return appendDamageRecord(b, &d) })
	}
	positions, err := s.journal.Append(&s.batch)
	if err != nil {
		return err
	}
	for _, g := range groups {
		s.touch(g, positions[0].Segment) // one batch is in one segment
	}
	s.root.sequence = s.journal.Sequence() // the journal is shorter than it was
	if err := s.commitRoot(&s.root, nil); err != nil {
		return err
	}
	if err := s.table.sync(); err != nil {
		return err
	}
	for _, g := range groups {
		s.logger.Error("a group may have lost what came last", "dir", s.o.Dir, "group", g.name, "kept", fmt.Sprintf("entries up to %v", g.lastID()))
	}
	if cut != nil {
		s.logger.Error("the journal was damaged, and is cut off; all groups of this store have to be repaired by their peers", "dir", s.o.Dir, "err", cut.Damage, "aside", cut.Aside)
	}
	return nil
}

// prepare begins to make a store: the marker first, so that an attempt that was
// interrupted is told from a store of which a part is missing.
func (s *store) prepare(m marker) error {
	fsys := s.o.hooks.fs
	if err := writeMarker(fsys, s.o.Dir, m); err != nil {
		return err
	}
	// What an earlier attempt has left. Nothing was ever saved in it.
	if err := s.o.hooks.removeTable(s.path(badgerName)); err != nil {
		return err
	}
	journals := s.path(journalName)
	if err := fsys.MkdirAll(journals); err != nil {
		return err
	}
	names, err := fsys.List(journals)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := fsys.Remove(filepath.Join(journals, name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(journals)
}

// readTable reads what Badger has of every group, and checks that no transaction
// is missing, as far as can be told without reading all of it.
func (s *store) readTable(m marker) error {
	found := false
	err := s.table.scan(rootKey, rootKey, func(_, value []byte) (_ bool, err error) {
		found = true
		if s.root, err = decodeRoot(value); err != nil {
			return false, s.corruptTable("the root: %v", err)
		}
		return false, nil
	})
	switch {
	case err != nil:
		return err
	case !found:
		return s.corruptTable("the root is missing: Badger has lost what was in it")
	case s.root.store != m.id:
		return s.corruptTable("it belongs to store %016x, not to %016x", s.root.store, m.id)
	}
	if err := s.readGroups(); err != nil {
		return err
	}
	return s.checkTickets()
}

func (s *store) readGroups() error {
	versions := uint64(0)
	err := s.table.scan([]byte{prefixGroup}, []byte{prefixGroup}, func(key, value []byte) (bool, error) {
		number, v, err := decodeGroup(key, value)
		if err != nil {
			return false, s.corruptTable("the value of group %d: %v", len(s.groups)+1, err)
		}
		if number != uint64(len(s.groups))+1 {
			return false, s.corruptTable("the value of group %d is missing", len(s.groups)+1)
		}
		versions += v.version
		s.add(newGroup(number, &v))
		return true, nil
	})
	if err != nil {
		return err
	}
	if n := uint64(len(s.groups)); n != s.root.groups || versions != s.root.versions {
		return s.corruptTable("transactions are lost: it has %d groups with %d versions, and should have %d with %d", n, versions, s.root.groups, s.root.versions)
	}
	return nil
}

// checkTickets checks that the last transactions are all there.
func (s *store) checkTickets() error {
	oldest := uint64(1)
	if s.root.generation > tickets {
		oldest = s.root.generation - tickets + 1
	}
	n := uint64(0)
	err := s.table.scan([]byte{prefixTicket}, []byte{prefixTicket}, func(key, value []byte) (bool, error) {
		generation, err := decodeTicket(key, value)
		if err != nil {
			return false, s.corruptTable("a ticket: %v", err)
		}
		if generation < oldest || generation > s.root.generation {
			return false, s.corruptTable("transaction %d, or one of those before, is lost: there is the ticket of %d", s.root.generation, generation)
		}
		n++
		return true, nil
	})
	if err == nil && n != s.root.generation-oldest+1 {
		err = s.corruptTable("transactions are lost: of the last %d there are the tickets of %d", s.root.generation-oldest+1, n)
	}
	return err
}

func (s *store) corruptTable(format string, args ...any) error {
	return &persistence.CorruptError{File: s.path(badgerName), Detail: fmt.Sprintf(format, args...)}
}

// replaying brings the groups from what Badger has to what the journal says.
type replaying struct {
	s    *store
	mark uint64 // Badger must have had so many transactions
	cut  bool   // the end of the journal is known to be lost
	// short: the journal is whole, and lacks what must have come next.
	short bool

	// The first record that does not fit what came before, and why: the journal
	// may be wrong, or Badger, which the marks behind it tell.
	misfit   error
	misfitAt journal.Position
}

// record takes the next record of the journal. An error says that it is none.
func (r *replaying) record(at journal.Position, record []byte) error {
	in := reader{b: record}
	switch kind := in.byte(); kind {
	case recordGroup:
		number, incarnation, name, err := in.groupRecord()
		if err != nil {
			return fmt.Errorf("the record of a group is %w", err)
		}
		r.fit(at, func() error { return r.group(at, number, incarnation, name) })
		return nil
	case recordSave:
		save, err := in.saveRecord()
		if err != nil {
			return fmt.Errorf("the record of a save is %w", err)
		}
		first, last, err := rangeOf(save.body)
		if err == nil {
			err = decodeEntries(save.body, func(*raftcore.Entry) error { return nil })
		}
		if err != nil {
			return fmt.Errorf("the entries of a save are %w", err)
		}
		r.fit(at, func() error { return r.save(at, &save, first, last) })
		return nil
	case recordMark:
		mark, err := in.markRecord()
		if err != nil {
			return fmt.Errorf("a mark is %w", err)
		}
		r.mark = max(r.mark, mark)
		return nil
	case recordDamage:
		d, err := in.damageRecord()
		if err != nil {
			return fmt.Errorf("the record of a damage is %w", err)
		}
		r.fit(at, func() error { return r.damage(at, &d) })
		return nil
	case recordRemoval:
		number, t, err := in.removalRecord()
		if err != nil {
			return fmt.Errorf("the record of a removal is %w", err)
		}
		r.fit(at, func() error { return r.removal(at, number, &t) })
		return nil
	case recordRevival:
		number, incarnation, err := in.revivalRecord()
		if err != nil {
			return fmt.Errorf("the record of a revival is %w", err)
		}
		r.fit(at, func() error { return r.revival(at, number, incarnation) })
		return nil
	default:
		return fmt.Errorf("the record is of no known kind: %d", kind)
	}
}

func (r *replaying) group(at journal.Position, number uint64, incarnation raftcore.Incarnation, name string) error {
	s := r.s
	switch next := uint64(len(s.groups)) + 1; {
	case number > next:
		return fmt.Errorf("group %d appears before group %d", number, next)
	case number < next: // Badger knows it already
		g := s.groups[number-1]
		if g.name != name {
			return fmt.Errorf("group %d is %q here, and %q in Badger", number, name, g.name)
		}
		if g.tombstone == nil && g.log.Incarnation != incarnation {
			g.log.Incarnation, g.awaited = incarnation, g.log.Incarnation
		}
	case s.names[name] != nil:
		return fmt.Errorf("groups %d and %d are both named %q", s.names[name].number, number, name)
	default:
		g := &group{number: number, name: name}
		g.log.Incarnation = incarnation
		s.add(g)
	}
	s.touch(s.groups[number-1], at.Segment)
	return nil
}

func (r *replaying) save(at journal.Position, save *saveRecord, first, last raftcore.Index) error {
	s := r.s
	if save.number > uint64(len(s.groups)) {
		return fmt.Errorf("group %d is not known", save.number)
	}
	g := s.groups[save.number-1]
	s.touch(g, at.Segment)
	if g.tombstone != nil { // Badger knows of the removal that is still to come
		return nil
	}
	g.log.HardState, g.log.Damaged = save.hard, save.damaged
	g.begin(&save.compaction)
	if last == 0 {
		return nil
	}
	g.append(first, last, at)
	return decodeEntries(save.body, func(e *raftcore.Entry) error {
		if e.Index > g.log.Base.Index {
			g.log.Note(e)
		}
		return nil
	})
}

func (r *replaying) damage(at journal.Position, d *damage) error {
	s := r.s
	if d.number == 0 {
		s.repaired = true
		return nil
	}
	if d.number > uint64(len(s.groups)) {
		return fmt.Errorf("group %d is not known", d.number)
	}
	g := s.groups[d.number-1]
	s.touch(g, at.Segment)
	if g.tombstone == nil { // as above
		g.damage(d)
	}
	return nil
}

func (r *replaying) removal(at journal.Position, number uint64, t *persistence.Tombstone) error {
	s := r.s
	if number > uint64(len(s.groups)) {
		return fmt.Errorf("group %d is not known", number)
	}
	g := s.groups[number-1]
	s.touch(g, at.Segment)
	t.Group = g.name
	s.remove(g, t)
	return nil
}

func (r *replaying) revival(at journal.Position, number uint64, incarnation raftcore.Incarnation) error {
	s := r.s
	if number > uint64(len(s.groups)) {
		return fmt.Errorf("group %d is not known", number)
	}
	s.touch(s.groups[number-1], at.Segment)
	s.groups[number-1].revive(incarnation)
	return nil
}

// readable returns the last entry of a group up to which its log can be read, and
// can be one. What Badger has of it may be from later than the cut: an interrupted
// hand-over, or one beside which entries were replaced, leaves there what only the
// records that are lost now would have put right.
func (s *store) readable(g *group) (raftcore.Index, error) {
	last, before := g.log.Last, g.log.Base.Term
	for _, e := range g.extents {
		if e.gap() { // of which the entries were to follow
			last = e.first - 1
			break
		}
	}
	for _, run := range g.log.Runs {
		if run.Term < before {
			last = min(last, run.First-1)
		}
		before = run.Term
	}
	for next, maxBytes := g.log.Base.Index+1, 1<<20; next <= last; {
		to := last
		if maxBytes == 0 { // one at a time
			to = next
		}
		entries, err := s.load(g, next, to, maxBytes)
		var corrupt *persistence.CorruptError
		switch {
		case err == nil:
			next += raftcore.Index(len(entries))
		case !errors.As(err, &corrupt):
			return 0, err
		case maxBytes == 0:
			return next - 1, nil
		default:
			maxBytes = 0
		}
	}
	return last, nil
}

// fit takes note of what a record says, unless an earlier one did not fit.
func (r *replaying) fit(at journal.Position, note func() error) {
	if r.misfit == nil {
		r.misfit, r.misfitAt = note(), at
	}
}

// finish checks what the whole has come to.
func (r *replaying) finish() error {
	s := r.s
	oldest, active := s.journal.Segments()
	s.segment = active
	switch {
	case s.root.generation < r.mark:
		return s.corruptTable("transactions are lost: there are %d, the journal says that there were %d", s.root.generation, r.mark)
	case oldest > s.root.next:
		return &persistence.CorruptError{File: s.journal.File(s.root.next), Detail: "the segment is missing"}
	case !r.cut && s.journal.Sequence() < s.root.sequence:
		r.short = true
		return &persistence.CorruptError{File: s.journal.File(active), Detail: fmt.Sprintf("the end of the journal is lost: it ends with batch %d, and batch %d was durable when Badger was last written to", s.journal.Sequence(), s.root.sequence)}
	case r.misfit != nil:
		return &persistence.CorruptError{File: s.journal.File(r.misfitAt.Segment), Offset: int64(r.misfitAt.Offset), Detail: r.misfit.Error()}
	}
	for _, g := range s.groups {
		if r.cut { // what would make it whole was to follow
			continue
		}
		if err := g.whole(); err != nil {
			r.short = true
			return &persistence.CorruptError{File: s.o.Dir, Detail: fmt.Sprintf("group %q: %v", g.name, err)}
		}
		g.extents = slices.Clip(g.extents)
	}
	return nil
}
