package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// When Badger is damaged, and that is to be repaired, another one is made beside it of
// what can still be read, and takes its place (doc.go, Repair). The danger is not what
// cannot be read, but what can: where the newest value of a key is lost, an older one
// comes up. So of a group's log only this is believed:
//
//   - An entry is told by its index and its term, and so is all that is before it. An old
//     chunk does no harm: what is in it is what the group's value says, or does not count.
//   - A group's value, however old, says what the log once was. But the journal may not be
//     replayed over an old one: records that were retired are missing in between. It is,
//     where nothing but chunks and pieces is lost, and the root and the marks say so, too.
//   - Otherwise a group has what its value says, or what the journal says alone: up to the
//     first entry that is in neither. The one that goes further counts.
//
// Whatever that comes to, all groups are damaged, and know it.

// remains is what can be read of a damaged Badger, whose files stay as they are.
type remains struct {
	table
	damage  error // the first that was found, or nil
	partial bool  // more may be lost than chunks and pieces
	bytes   int64 // how much there is
}

// readBadger reads the files of Badger without opening it.
func readBadger(dir string) (*remains, error) {
	in := &Inspection{}
	t := &tableFiles{dir: dir, in: in, cells: map[string]cell{}, progress: func(int64) {}}
	if err := t.read(); err != nil {
		return nil, err
	}
	r := &remains{table: t, partial: t.partial}
	for _, f := range in.Table.Files {
		if f.Kind == "table" || f.Kind == "log" {
			r.bytes += max(f.End, 0)
		}
	}
	if len(in.Damage) > 0 {
		d := in.Damage[0].CorruptError
		d.Detail = strings.ReplaceAll(d.Detail, "\x00", "")
		r.damage = &d
	}
	return r, nil
}

// notice leaves a note in the directory when damage of Badger's is met, by which the next
// opening with Repair knows of it. Without that it would have to read all of Badger each
// time, which may take minutes, and who always asks for repairs would wait for that always.
// It returns the error, with what helps.
func (s *store) notice(err error) error {
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || strings.HasPrefix(corrupt.File, s.path(journalName)) {
		return err // opening reads all of the journal
	}
	s.noticed.Do(func() {
		if err := s.writeNote(corrupt.Error()); err != nil && !errors.Is(err, fs.ErrExist) {
			s.logger.Error("there is no note that the store is damaged: opening it with Repair will not find that by itself", "dir", s.o.Dir, "damage", corrupt, "err", err)
		}
	})
	return fmt.Errorf("what was saved is damaged (opening the store with Options.Repair goes on without it): %w", err)
}

func (s *store) writeNote(text string) error {
	f, err := s.o.hooks.fs.Create(s.path(noteName), 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text+"\n"), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.o.hooks.fs.SyncDir(s.o.Dir)
}

// noted returns the damage that there is a note of, if it is to be repaired.
func (s *store) noted(m marker) error {
	if !s.o.Repair && !m.damaged || m.fresh {
		return nil
	}
	f, err := s.o.hooks.fs.Open(s.path(noteName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f.Close()
	return &persistence.CorruptError{File: s.path(badgerName), Detail: "damage was met when it was read, see " + s.path(noteName)}
}

// rebuildIfNeeded has Badger made anew if opening the store has failed because it is
// damaged, and opens the store then. It returns the cause if that is not so.
func (s *store) rebuildIfNeeded(m *marker, cause error) error {
	var corrupt *persistence.CorruptError
	switch {
	case cause == nil || m.fresh || !s.o.Repair && !m.damaged:
		return cause
	case errors.Is(cause, persistence.ErrLocked) || errors.Is(cause, persistence.ErrDiskFull):
		return cause
	case errors.As(cause, &corrupt) && !s.isBadgers(corrupt):
		return cause // the journal, or a marker
	case s.table != nil && corrupt == nil:
		return cause // only what Badger says of its own files may mean more than it says
	}
	if err := s.closeParts(); err != nil {
		return errors.Join(cause, err)
	}
	s.failure.Store(nil) // of the damaged one
	if err := s.rebuild(m, cause); err != nil {
		return err
	}
	return s.openParts(m)
}

// isBadgers reports whether damage is Badger's.
func (s *store) isBadgers(corrupt *persistence.CorruptError) bool {
	return corrupt.File == s.path(badgerName) || filepath.Dir(corrupt.File) == s.path(badgerName)
}

func (s *store) closeParts() (err error) {
	if s.journal != nil {
		err = s.journal.Close()
	}
	if s.table != nil {
		err = errors.Join(err, within(s.o.hooks.closeWait, "badger in "+s.path(badgerName), s.table.close))
	}
	s.journal, s.table, s.root = nil, nil, root{}
	s.groups, s.names, s.touched, s.doomed = nil, map[string]*group{}, map[uint32][]*group{}, nil
	return err
}

// rebuild makes another Badger. From when the marker says so, every group ends up
// damaged, whatever happens: the journal that follows is made by salvage. Until the new
// one takes its place, the damaged one is as it was, and all of this is done again.
func (s *store) rebuild(m *marker, cause error) error {
	t, err := s.o.hooks.readTable(s.path(badgerName))
	if err != nil {
		return errors.Join(cause, err)
	}
	defer t.close()
	if t.damage != nil {
		cause = t.damage
	} else if !errors.As(cause, new(*persistence.CorruptError)) {
		return cause
	}
	if r, ok := readRoot(t); ok && r.store != m.id {
		return cause // it is whole, maybe, and somebody else's
	}
	if err := s.roomForBadger(t.bytes); err != nil {
		return errors.Join(cause, err)
	}
	// One that is missing would say that the draft is whole.
	if err := s.o.hooks.fs.MkdirAll(s.path(badgerName)); err != nil {
		return err
	}
	if !m.damaged {
		m.damaged = true
		if err := writeMarker(s.o.hooks.fs, s.o.Dir, *m); err != nil {
			return err
		}
	}
	from := &salvor{s: s, m: *m, t: t}
	defer from.close()
	if err := from.read(); err != nil {
		return err
	}
	if err := from.write(); err != nil {
		return err
	}
	from.close()
	aside, err := s.putInPlace(*m)
	if err != nil {
		return err
	}
	s.logger.Error("badger was damaged, and is made anew of what can be read of it; all groups of this store have to be repaired by their peers", "dir", s.o.Dir, "err", cause, "aside", aside, "kept", len(from.kept))
	return nil
}

// finishRebuild goes on where a repair was interrupted between two renames.
func (s *store) finishRebuild(m marker) error {
	if !m.damaged {
		return nil
	}
	names, err := s.o.hooks.fs.List(s.o.Dir)
	if err == nil && !slices.Contains(names, badgerName) && slices.Contains(names, anewName) {
		_, err = s.putInPlace(m)
	}
	return err
}

// putInPlace puts the new Badger, which is whole, in the place of the damaged one. That
// is kept aside, and so is the journal: what it says of groups by their numbers is not
// true of the new one's, and all that was to be had of it is there.
func (s *store) putInPlace(m marker) (aside string, err error) {
	fsys := s.o.hooks.fs
	names, err := fsys.List(s.o.Dir)
	if err != nil {
		return "", err
	}
	if slices.Contains(names, badgerName) {
		aside = asideName
		for n := 2; slices.Contains(names, aside); n++ {
			aside = fmt.Sprintf("%s.%d", asideName, n)
		}
		aside = s.path(aside)
		if err := fsys.Rename(s.path(badgerName), aside); err != nil {
			return "", err
		}
		if err := fsys.SyncDir(s.o.Dir); err != nil { // before the note of why is gone
			return aside, err
		}
	}
	old := s.journalOptions(m)
	old.First = math.MaxUint32 // that there is not, so nothing is of use
	if _, err := journal.Salvage(s.path(journalName), old); err != nil {
		return aside, err
	}
	if err := fsys.Remove(s.path(noteName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return aside, err
	}
	if err := fsys.SyncDir(s.o.Dir); err != nil {
		return aside, err
	}
	if err := fsys.Rename(s.path(anewName), s.path(badgerName)); err != nil {
		return aside, err
	}
	return aside, fsys.SyncDir(s.o.Dir)
}

// readRoot returns the root, if it can be read.
func readRoot(t table) (r root, ok bool) {
	_ = t.scan(rootKey, rootKey, func(_, value []byte) (_ bool, err error) {
		r, err = decodeRoot(value)
		ok = err == nil
		return false, nil
	})
	return r, ok
}

// salvor takes from a damaged Badger, and from the journal, what can be believed.
type salvor struct {
	s *store
	m marker
	t *remains

	j      *journal.Journal // cut off before its own damage, if it has one; nobody writes to it
	values map[uint64]groupValue
	alone  *store // what the journal says without Badger, group by group
	known  map[uint64]bool
	mark   uint64

	source *store // that has the groups, and reads their entries
	kept   []*group
}

// beside returns a store that reads, or writes, the same groups elsewhere.
func (s *store) beside(t table) *store {
	return &store{o: s.o, logger: s.logger, table: t, names: map[string]*group{}, touched: map[uint32][]*group{}, quit: s.quit}
}

func (w *salvor) read() error {
	if err := w.readJournal(); err != nil {
		return err
	}
	if err := w.replayOver(); err != nil {
		return err
	}
	if w.source != nil {
		return w.keep(w.source.groups, nil)
	}
	w.source = w.alone
	return w.keep(w.alone.groups, w.values)
}

// close closes the journal. Badger's files are the caller's.
func (w *salvor) close() {
	if w.j != nil {
		w.j.Close()
		w.j = nil
	}
}

// journalOptions are those by which the old journal is read.
func (s *store) journalOptions(m marker) journal.Options {
	return journal.Options{ID: m.id, Create: true, SegmentBytes: s.o.SegmentBytes, FS: s.o.hooks.fs}
}

// readJournal cuts the journal off before its first damage, and reads what it says alone.
func (w *salvor) readJournal() error {
	dir := w.s.path(journalName)
	if err := w.s.o.hooks.fs.MkdirAll(dir); err != nil {
		return err
	}
	if _, err := journal.Salvage(dir, w.s.journalOptions(w.m)); err != nil {
		return err
	}
	if err := w.readValues(); err != nil {
		return err
	}
	r := replaying{s: w.alone, cut: true}
	var err error
	w.j, _, err = journal.Rehearse(dir, w.s.journalOptions(w.m), func(at journal.Position, record []byte) error {
		w.expect(record)
		return r.record(at, record)
	})
	w.alone.journal, w.mark = w.j, r.mark
	return err
}

// readValues reads the values of groups that can be read, and makes the groups known to
// whom the journal is replayed alone.
func (w *salvor) readValues() error {
	w.values, w.known, w.alone = map[uint64]groupValue{}, map[uint64]bool{}, w.s.beside(w.t)
	return w.t.scan([]byte{prefixGroup}, []byte{prefixGroup}, func(key, value []byte) (bool, error) {
		if number, v, err := decodeGroup(key, value); err == nil && w.upTo(number) {
			w.values[number], w.known[number] = v, true
			w.alone.groups[number-1].name = v.name
		}
		return true, nil
	})
}

// upTo makes room for groups up to a number, unless that cannot be one.
func (w *salvor) upTo(number uint64) bool {
	if number == 0 || number > uint64(len(w.alone.groups))+maxMissingGroups {
		return false
	}
	for next := uint64(len(w.alone.groups)) + 1; next <= number; next++ {
		w.alone.groups = append(w.alone.groups, &group{number: next})
	}
	return true
}

// expect makes the group known that a record speaks of.
func (w *salvor) expect(record []byte) {
	r := reader{b: record}
	kind := r.byte()
	if kind != recordGroup && kind != recordSave && kind != recordDamage && kind != recordRemoval && kind != recordRevival {
		return
	}
	head := r
	number := head.uvarint()
	if !w.upTo(number) || kind != recordGroup {
		return
	}
	if _, _, name, err := r.groupRecord(); err == nil && !w.known[number] {
		w.known[number] = true
		w.alone.groups[number-1].name = name
	}
}

// replayOver replays the journal over what Badger has, if that is certainly the newest.
func (w *salvor) replayOver() error {
	if w.t.partial {
		return nil
	}
	full := w.s.beside(w.t)
	err := full.readTable(w.m)
	if errors.As(err, new(*persistence.CorruptError)) {
		return nil
	}
	if err != nil {
		return err
	}
	oldest, active := w.j.Segments()
	if full.root.generation < w.mark || full.root.next < oldest || full.root.next > active {
		return nil
	}
	r := replaying{s: full, cut: true}
	j, _, err := journal.Rehearse(w.s.path(journalName), w.s.journalOptions(w.m), r.record)
	if err != nil {
		return err
	}
	if r.misfit == nil {
		full.journal = w.j
		w.source = full
	}
	return j.Close()
}

// keep decides what is kept of every group: what it has, or what its value in Badger
// says, if that goes further.
func (w *salvor) keep(groups []*group, values map[uint64]groupValue) error {
	for _, g := range groups {
		v, valued := values[g.number]
		if values != nil && !w.known[g.number] {
			w.s.logger.Error("a group is lost, and nobody knows which", "dir", w.s.o.Dir, "number", g.number)
			continue
		}
		if gone := g.gone(&v); gone != nil {
			best := &group{number: g.number, name: g.name}
			gone.Group = g.name
			w.s.remove(best, gone)
			w.kept = append(w.kept, best)
			continue
		}
		candidates := []*group{g}
		if valued && v.removed == nil {
			candidates = append(candidates, newGroup(g.number, &v))
			merge := &candidates[1].log
			if s := g.log.Snapshot; s.Last.Index > merge.Snapshot.Last.Index {
				merge.Snapshot = s
			}
			if s := merge.Snapshot; s.Last.Index > g.log.Snapshot.Last.Index {
				g.log.Snapshot = s
			}
			term := max(g.log.HardState.Term, v.hard.Term)
			if g.log.HardState == (raftcore.HardState{}) {
				g.log.HardState = v.hard
			}
			g.log.HardState.Term = term
			merge.HardState = g.log.HardState
		}
		best, err := w.best(candidates)
		if err != nil {
			return fmt.Errorf("group %q: %w", g.name, err)
		}
		w.kept = append(w.kept, best)
	}
	return nil
}

// gone returns the tombstone of a group that was removed, as far as its value in Badger
// says, which may be an older one, or the journal. To take a group for removed that was
// revived since loses nothing that counts: it would come back as a newcomer either way.
func (g *group) gone(v *groupValue) *persistence.Tombstone {
	if g.tombstone != nil || g.revived {
		return g.tombstone
	}
	return v.removed
}

// best returns the candidate whose log goes furthest, cut off where it cannot be read.
func (w *salvor) best(candidates []*group) (best *group, err error) {
	for _, g := range candidates {
		if g.log.Snapshot.Last.Index < g.log.Base.Index {
			continue // what the log follows from is not known
		}
		last, err := w.source.readable(g)
		if err != nil {
			return nil, err
		}
		g.truncate(last + 1)
		d := g.assess()
		d.incarnation = raftcore.Incarnation(random())
		g.damage(&d)
		if a, b := g.lastID(), best; b == nil || a.Term > b.lastID().Term || a.Term == b.lastID().Term && a.Index > b.lastID().Index {
			best = g
		}
	}
	if best == nil {
		best = &group{number: candidates[0].number, name: candidates[0].name}
		best.log.HardState = candidates[0].log.HardState
		best.damage(&damage{incarnation: raftcore.Incarnation(random())})
	}
	return best, nil
}

// write makes the new Badger. The journal's entries are in it, too: a new journal
// follows, which has none of them.
func (w *salvor) write() error {
	s := w.s
	entries := int64(0)
	for _, g := range w.kept {
		for i := range g.extents {
			entries += int64(g.extents[i].at.Length)
		}
	}
	if err := s.roomForBadger(w.t.bytes + entries); err != nil {
		return err
	}
	dir := s.path(anewName)
	if err := s.o.hooks.removeTable(dir); err != nil {
		return err
	}
	t, err := s.o.hooks.openTable(dir, s.logger, func(err error) { s.fail(err) })
	if err != nil {
		return err
	}
	err = w.fill(t)
	closing := within(s.o.hooks.closeWait, "badger in "+dir, t.close)
	return errors.Join(err, s.usable(), closing)
}

func (w *salvor) fill(t table) error {
	to := w.s.beside(t)
	to.journal = w.j
	_, active := w.j.Segments()
	txn := transaction{s: to, root: root{store: w.m.id, next: active + 1}}
	for i, g := range w.kept {
		if err := w.copy(&txn, uint64(i)+1, g); err != nil {
			return fmt.Errorf("group %q: %w", g.name, err)
		}
	}
	if err := txn.commit(); err != nil {
		return err
	}
	return t.sync()
}

// copy writes a group under a number.
func (w *salvor) copy(txn *transaction, number uint64, from *group) error {
	g := &group{number: number, name: from.name, log: from.log, baseTime: from.baseTime}
	g.tombstone = from.tombstone
	h := handover{s: txn.s, t: txn, g: g}
	for next := g.log.Base.Index + 1; next <= g.log.Last; {
		entries, err := w.source.load(from, next, g.log.Last, 1<<20)
		if errors.As(err, new(*persistence.CorruptError)) {
			// An old chunk reaches into the next one: one at a time they can be read.
			entries, err = w.source.load(from, next, next, 0)
		}
		if err != nil {
			return err
		}
		for i := range entries {
			if err := h.add(&entries[i]); err != nil {
				return err
			}
		}
		next += raftcore.Index(len(entries))
	}
	if err := h.flush(); err != nil {
		return err
	}
	return txn.done(g, g.log.Last, 0)
}
