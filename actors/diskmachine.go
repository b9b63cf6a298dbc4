package actors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// This file is about state machines that keep their state on a disk of their own.
//
// How far such a state goes, it alone knows: the mark is written with it, all or nothing.
// What the log has up to there is not applied again. But what the host keeps beside the
// state, the tables of sessions and effects, is in memory; it comes from the snapshot, and
// from the log after it. For that it takes what Apply has answered and what effects it had.
// So those are kept with the state, too, in notes, until a snapshot has the entry behind it.
//
//	mark = 1 index term time forgotten count entry …
//	       what the state goes up to; the entries up to which no notes are kept any more; the
//	       entries that it skips
//	note-<index, 16 hexadecimal digits> = 1 size answer count effect …
//	effect = 1 size to size data | 2 size data | 3 size name at | 4 size name | 5 size actor | 6 size actor
//	all numbers are uvarint, but for time and at, which are varint
//
// A snapshot need not have the state in it, as long as that is durable where it is. It is
// written whole only for another member that needs it: see courier.

// DiskStateMachine is a StateMachine that keeps its state on a disk of its own: a member that
// starts need not be given it again, it may be larger than memory, and the log is cut short
// without a copy of it being written.
//
// One value is opened and closed, and another made for the next life; never are there two of
// a member at a time. Restore comes after Reset, and a Save after that. All calls come from
// one goroutine at a time, but for the writing of a snapshot.
//
// rafttest.TestStateMachine, under tests, checks one against what is said here, and
// examples/ondisk is one, on Badger.
//
// An error of these methods, as of a disk that is full, restarts the member, as a fault of
// the storage; see HostConfig.Restarts. Apply has no error to return: when it cannot read its
// disk it panics with one that wraps ErrStorageFault, or else its command would be blamed.
// Restore returns such a one. Whoever puts an old copy of the state in its place
// loses nothing, as long as the log goes back so far: see StateError.
type DiskStateMachine interface {
	StateMachine

	// Open opens the state before anything else is called. It returns all that Save was
	// ever given to keep, and not to forget later; nothing if there was no Save since Reset.
	Open() (kept map[string][]byte, err error)

	// Save makes all that was applied, or restored, since the last Save a part of what Open
	// finds, together with what it is given: to keep, under its name, or with a nil value to
	// forget. All of it or nothing: what Open finds is always as some Save has left it. It
	// need not be durable: what a crash takes is applied again. Save comes after each
	// Restore, and after at most 1024 commands or 1 MiB of them, and one more; Query and
	// Snapshot are only called when it has come. What there is to keep is a few hundred bytes for
	// each session's command, and each command with effects, since the last snapshot, and
	// their answers and data.
	Save(keep map[string][]byte) error

	// Sync makes durable what was saved. The log that led there is given up afterwards.
	Sync() error

	// Reset forgets the state, and what is kept: it is that of a fresh machine. Open finds
	// that, too, until there is a Save again, also if a Restore has begun; after a crash it
	// may find what was there before, as a Save has left it. A snapshot may be on its way
	// meanwhile: its WriteTo writes the state that it was asked for in, or fails.
	Reset() error

	// Close ends it all, also when Open has failed. What was not saved is dropped. Nobody
	// writes a snapshot any more.
	Close() error
}

// StateError is why a member is faulted: the state that its DiskStateMachine has does not
// go with its log. Put back what was taken away, or take the data of both off their disks:
// then the member comes back as a newcomer, and is sent what the others have.
type StateError struct {
	State  raftcore.EntryID // what the state goes up to; zero: it is empty
	Reason string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("the state machine's own disk, which goes up to entry %d of term %d, does not go with the log of this member: %s", e.State.Index, e.State.Term, e.Reason)
}

// Unwrap makes it a machine fault.
func (e *StateError) Unwrap() error { return ErrMachineFault }

// errCatchingUp: the tables are not as far as the state.
var errCatchingUp = fmt.Errorf("%w: the member has just started, and has yet to hear what of its log is committed", ErrRejected)

// ownDisk is what a machine knows of the disk of a DiskStateMachine.
type ownDisk struct {
	DiskStateMachine
	mark  mark
	notes map[raftcore.Index]note // of entries that the state has behind it, and the tables do not
	noted []raftcore.Index        // whose notes are kept, ascending

	begun bool              // it has been looked at
	keep  map[string][]byte // with the next Save
	due   bool              // something was applied since the last one
	size  int               // of it, in bytes
	many  int               // commands
}

func newOwnDisk(d DiskStateMachine) *ownDisk {
	return &ownDisk{DiskStateMachine: d, notes: map[raftcore.Index]note{}, keep: map[string][]byte{}}
}

// mark is what a state goes up to.
type mark struct {
	last      raftcore.EntryID
	time      int64
	forgotten raftcore.Index // there are no notes of entries up to here
	skips     []raftcore.Index
}

// note is what came of an entry.
type note struct {
	answer  []byte
	effects []Effect
}

const (
	markName = "mark"
	noteName = "note-%016x"
	// There is a Save after so much.
	maxUnsavedBytes = 1 << 20
	maxUnsaved      = maxApplied
)

// openDisk opens the disk of a machine that has one; nil: it has none.
func (m *machine) openDisk(sm StateMachine) *ownDisk {
	d, is := sm.(DiskStateMachine)
	if !is {
		return nil
	}
	m.group.disk = d // the member closes it, also when this fails
	own := newOwnDisk(d)
	onDisk("opening the disk", func() error {
		kept, err := d.Open()
		if err == nil {
			err = own.take(kept)
		}
		return err
	})
	return own
}

// onDisk does something with the disk of a machine. An error is a fault of the storage.
func onDisk(doing string, do func() error) {
	err := func() error {
		defer panicsAt(0)
		return do()
	}()
	if err != nil {
		panic(fmt.Errorf("%w: %s of the state machine: %w", ErrStorageFault, doing, err))
	}
}

// beginDisk looks at what the disk has, before the first snapshot or entry.
func (m *machine) beginDisk(w *work) {
	d := m.disk
	if d == nil || d.begun {
		return
	}
	d.begun = true
	if d.mark.last.Index > m.recovered.Last && !m.recovered.Damaged {
		panic(m.stateError("that ends at entry %d", m.recovered.Last))
	}
	m.group.skips.add(d.mark.skips...)
	if w.restore == nil && (d.mark.forgotten > 0 || m.group.skips.within(d.mark) != 0) {
		m.reset() // all of the log is there
	}
}

func (m *machine) stateError(reason string, args ...any) error {
	return &StateError{State: m.disk.mark.last, Reason: fmt.Sprintf(reason, args...)}
}

// upTo returns those up to an entry.
func (s *skips) upTo(entry raftcore.Index) []raftcore.Index {
	list := s.list()
	n, _ := slices.BinarySearch(list, entry+1)
	return list[:n:n]
}

// within returns an entry that is to be skipped, and that a state has carried out; 0: none.
func (s *skips) within(m mark) raftcore.Index {
	for _, entry := range s.list() {
		if entry <= m.last.Index && !slices.Contains(m.skips, entry) {
			return entry
		}
	}
	return 0
}

// reset has the state be that of a fresh machine.
func (m *machine) reset() {
	d := m.disk
	m.host.logger.Warn("the state machine begins anew", "group", m.group.name, "index", uint64(d.mark.last.Index))
	onDisk("emptying the disk", d.Reset)
	*d = *newOwnDisk(d.DiskStateMachine)
	d.begun = true
}

// behind reports whether an entry is one that the state has behind it, and the tables do not.
func (m *machine) behind(index raftcore.Index) bool {
	return m.disk != nil && index <= m.disk.mark.last.Index
}

// catchingUp reports whether the state is ahead of the tables.
func (m *machine) catchingUp() bool { return m.behind(m.applied.Last.Index + 1) }

// passBehind looks at an entry that the state has behind it: it must be what it was.
func (m *machine) passBehind(w *work, e *raftcore.Entry) {
	mark := &m.disk.mark
	k := w.answered
	switch {
	case e.Time > mark.time, e.Term > mark.last.Term, e.Index == mark.last.Index && (e.Term != mark.last.Term || e.Time != mark.time):
		panic(m.stateError("the log has another entry %d, of term %d", e.Index, e.Term))
	case k < len(w.callers) && w.callers[k].index == e.Index:
		panic(m.stateError("entry %d is proposed only now", e.Index))
	}
}

// replay returns what came of an entry that the state has behind it.
func (m *machine) replay(index raftcore.Index) result {
	n := m.disk.notes[index]
	delete(m.disk.notes, index)
	m.did(index, n.effects)
	return result{answer: n.answer}
}

// ran notes what came of an entry that was applied now.
func (m *machine) ran(e *raftcore.Entry, answer []byte, effects []Effect) {
	d := m.disk
	if d == nil {
		return
	}
	d.due = true
	d.many++
	d.size += len(e.Data)
	if e.Kind == raftcore.EntryCommand || isEffectOrder(e.Data) {
		answer = nil // nobody asks for it a second time
	}
	if len(answer)+len(effects) > 0 {
		n := note{answer, effects}
		b := n.encode()
		d.size += len(b)
		d.keep[fmt.Sprintf(noteName, uint64(e.Index))] = b
		d.noted = append(d.noted, e.Index)
	}
}

// saveDisk has the state saved, if there is anything to be saved, and it is much or has to be.
func (m *machine) saveDisk(now bool) {
	d := m.disk
	if d == nil || !d.due || !now && d.size < maxUnsavedBytes && d.many < maxUnsaved {
		return
	}
	d.mark.last, d.mark.time, d.mark.skips = m.applied.Last, m.applied.Time, m.group.skips.upTo(m.applied.Last.Index)
	d.keep[markName] = d.mark.encode()
	onDisk("saving to the disk", func() error { return d.Save(d.keep) })
	d.keep = map[string][]byte{} // it may hold on to the last one
	d.due, d.size, d.many = false, 0, 0
}

// syncDisk makes the state durable, with the mark of what the log is to be cut to: what came
// since the last Save need not have been a command.
func (m *machine) syncDisk() {
	m.disk.due = m.disk.due || m.disk.mark.last != m.applied.Last
	m.saveDisk(true)
	onDisk("syncing the disk", m.disk.Sync)
}

// forget has the notes be forgotten that a durable snapshot has behind it.
func (d *ownDisk) forget(snapshot raftcore.Index) {
	for len(d.noted) > 0 && d.noted[0] <= snapshot {
		d.keep[fmt.Sprintf(noteName, uint64(d.noted[0]))] = nil
		d.mark.forgotten = d.noted[0]
		d.noted = d.noted[1:]
	}
}

// restoreDisk goes on with a snapshot, and returns what the host has in it. The state is
// read only if the one on the disk does not go so far.
func (m *machine) restoreDisk(meta *raftcore.SnapshotMeta) (h head, err error) {
	d := m.disk
	if d.mark.last.Index >= meta.Last.Index && d.mark.forgotten <= meta.Last.Index {
		if h, err = m.files.restore(nil, meta.Last, m.group.cfg.Versions); err != nil {
			return h, err
		}
		if d.mark.last.Index == meta.Last.Index && (d.mark.last != meta.Last || d.mark.time != meta.Time) {
			return h, m.stateError("its snapshot is of entry %d of term %d", meta.Last.Index, meta.Last.Term)
		}
		m.group.skips.add(h.skips...)
		if entry := m.group.skips.within(d.mark); entry == 0 {
			d.forget(meta.Last.Index)
			return h, nil
		} else if entry <= meta.Last.Index {
			return h, &SkippedError{Entry: entry, Snapshot: meta.Last.Index}
		}
	}
	if _, bare, err := m.files.find(meta.Last); err != nil {
		return h, err
	} else if bare {
		return h, m.stateError("the log begins after entry %d, and the state up to there was nowhere else", meta.Last.Index)
	}
	m.reset()
	if h, err = m.files.restore(d, meta.Last, m.group.cfg.Versions); err != nil {
		return h, err
	}
	d.due = true
	return h, nil
}

// take decodes what was kept.
func (d *ownDisk) take(kept map[string][]byte) (err error) {
	for _, name := range sorted(kept) {
		var index uint64
		switch _, err := fmt.Sscanf(name, noteName, &index); {
		case name == markName:
			if d.mark, err = decodeMark(kept[name]); err != nil {
				return err
			}
		case err == nil:
			n, err := decodeNote(kept[name])
			if err != nil {
				return err
			}
			d.notes[raftcore.Index(index)] = n
			d.noted = append(d.noted, raftcore.Index(index)) // the names are in order
		default:
			return fmt.Errorf("%q is nothing that it was given", name)
		}
	}
	if len(kept) > 0 && d.mark.last.Index == 0 {
		return fmt.Errorf("%q is missing", markName)
	}
	return nil
}

const keptVersion = 1

var errBadKept = errors.New("it was written by another version, or is damaged")

func (m *mark) encode() []byte {
	b := binary.AppendUvarint([]byte{keptVersion}, uint64(m.last.Index))
	b = binary.AppendUvarint(b, uint64(m.last.Term))
	b = binary.AppendVarint(b, m.time)
	b = binary.AppendUvarint(b, uint64(m.forgotten))
	b = binary.AppendUvarint(b, uint64(len(m.skips)))
	for _, entry := range m.skips {
		b = binary.AppendUvarint(b, uint64(entry))
	}
	return b
}

func decodeMark(b []byte) (m mark, err error) {
	r := tableReader{b: b}
	if r.uvarint() != keptVersion {
		return m, errBadKept
	}
	m.last = raftcore.EntryID{Index: raftcore.Index(r.uvarint()), Term: raftcore.Term(r.uvarint())}
	m.time, m.forgotten = r.varint(), raftcore.Index(r.uvarint())
	for range r.count() {
		m.skips = append(m.skips, raftcore.Index(r.uvarint()))
	}
	if r.bad || len(r.b) > 0 || m.last.Index == 0 {
		return m, errBadKept
	}
	return m, nil
}

// The kinds of effects in a note.
const (
	noteSend byte = iota + 1
	noteAppend
	noteSetTimer
	noteStopTimer
	noteMonitor
	noteDemonitor
)

func (n *note) encode() []byte {
	text := func(b []byte, s string) []byte {
		return append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	data := func(b, d []byte) []byte {
		return append(binary.AppendUvarint(b, uint64(len(d))), d...)
	}
	b := data([]byte{keptVersion}, n.answer)
	b = binary.AppendUvarint(b, uint64(len(n.effects)))
	for _, e := range n.effects {
		switch e := e.(type) {
		case Send:
			b = data(text(append(b, noteSend), e.To), e.Data)
		case Append:
			b = data(append(b, noteAppend), e.Data)
		case SetTimer:
			b = binary.AppendVarint(text(append(b, noteSetTimer), e.Name), e.At.UnixMilli())
		case StopTimer:
			b = text(append(b, noteStopTimer), e.Name)
		case Monitor:
			b = text(append(b, noteMonitor), e.Actor)
		case Demonitor:
			b = text(append(b, noteDemonitor), e.Actor)
		}
	}
	return b
}

func decodeNote(b []byte) (n note, err error) {
	r := tableReader{b: b}
	if r.uvarint() != keptVersion {
		return n, errBadKept
	}
	n.answer = r.bytes()
	for range r.count() {
		var e Effect
		switch kind := byte(r.uvarint()); kind {
		case noteSend:
			e = Send{string(r.bytes()), r.bytes()}
		case noteAppend:
			e = Append{r.bytes()}
		case noteSetTimer:
			e = SetTimer{string(r.bytes()), time.UnixMilli(r.varint()).UTC()}
		case noteStopTimer:
			e = StopTimer{string(r.bytes())}
		case noteMonitor:
			e = Monitor{string(r.bytes())}
		case noteDemonitor:
			e = Demonitor{string(r.bytes())}
		default:
			return n, errBadKept
		}
		n.effects = append(n.effects, e)
	}
	if r.bad || len(r.b) > 0 {
		return n, errBadKept
	}
	return n, nil
}
