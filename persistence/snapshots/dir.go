package snapshots

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// The errors of this package, beside *persistence.CorruptError, persistence's
// ErrLocked and ErrClosed, and what a file system says when it cannot read. Test
// for them with errors.Is.
var (
	// ErrFailed: a write, a sync or a rename has failed. The attempt is over and
	// nothing is left of it; begin another one if the cause, which is wrapped, may
	// pass. Snapshots that were there before are untouched.
	ErrFailed = errors.New("writing the snapshot has failed")
	// ErrNotFound: there is no such snapshot.
	ErrNotFound = errors.New("there is no such snapshot")
	// ErrExists: what is offered is here already: act as if it had just arrived.
	ErrExists = errors.New("the snapshot is here already")
	// ErrReceiving: another snapshot is being received. Close or Abort that one.
	ErrReceiving = errors.New("another snapshot is being received")
	// ErrMismatch: an offer, a chunk or an offset does not fit the snapshot.
	ErrMismatch = errors.New("not of this snapshot")
	// ErrInvalid: every chunk is as it was sent, but together they are not the
	// snapshot that was offered, or no snapshot. The sender is at fault.
	ErrInvalid = errors.New("what was sent is not the snapshot that was offered")
	// ErrGap: a chunk begins after Incoming.Offset: send the one from there.
	ErrGap = errors.New("the chunk is not the next")
	// ErrChunk: a chunk was damaged on its way. Send it again.
	ErrChunk = errors.New("the chunk has a wrong checksum")
	// ErrIncomplete: not everything has arrived.
	ErrIncomplete = errors.New("the snapshot is not complete")
	// ErrNotEmpty: Export and Import take the place of nothing.
	ErrNotEmpty = errors.New("the directory is not empty")
	// ErrVersion: a file was written by a later version of this package.
	ErrVersion = errors.New("the snapshot has another format version")
)

// Options say how to open a directory. The zero value is for production.
type Options struct {
	// FS is the file system; journal.OS if it is nil.
	FS journal.FS
	// KeepFree is how many bytes of the disk are not for snapshots: writing or
	// receiving one fails with persistence.ErrDiskFull, beside ErrFailed, if it might
	// leave less. Default none.
	KeepFree int64

	// For tests.
	blockBytes int
	syncBytes  int64
	newID      func() ID
}

// defaultSyncBytes is how much is written between two syncs.
const defaultSyncBytes = 16 << 20

// Dir is the snapshots of one member of one group. Its methods may be called from
// any goroutine; nothing may overlap Close.
type Dir struct {
	path string
	fs   journal.FS
	opt  Options

	mu        sync.Mutex
	lock      io.Closer // nil: there was nothing in the directory, and it is not locked yet
	closed    bool
	list      []*entry          // newest first
	doomed    map[string]*entry // removed from the list, but still read
	receiving bool
	partial   string // the file that can be resumed; "" if there is none
}

// entry is a snapshot in the directory.
type entry struct {
	info    Info
	name    string
	damage  error // what is known to be wrong with it
	readers int
}

// Found is a snapshot in a directory.
type Found struct {
	// Info has no more than ID and Meta.Last if the header is damaged.
	Info
	// Damage is nil as far as is known: opening a directory looks at the beginning
	// and the end of each file only. Else it is a *persistence.CorruptError, which
	// says where, or ErrVersion, or what came of trying to read.
	Damage error
	// File is where it is.
	File string
}

// Open opens a directory. It sweeps what is left of attempts that were interrupted,
// except for an incoming snapshot that can be resumed. Snapshots it never removes, not
// even damaged ones: see List. It fails with persistence.ErrLocked if somebody has the
// directory open.
//
// A directory that is not there, or empty, is made, and locked, only when something is
// to be written: many a group never takes a snapshot. Until then the next Open succeeds,
// too, and of two that write the second fails with persistence.ErrLocked.
func Open(dir string, o Options) (*Dir, error) {
	if o.FS == nil {
		o.FS = journal.OS
	}
	if o.blockBytes == 0 {
		o.blockBytes = defaultBlockBytes
	}
	if o.syncBytes == 0 {
		o.syncBytes = defaultSyncBytes
	}
	if o.newID == nil {
		o.newID = func() ID { return ID(rand.Uint64()) }
	}
	d := &Dir{path: dir, fs: o.FS, opt: o, doomed: map[string]*entry{}}
	if names, err := o.FS.List(dir); errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return d, nil
	}
	if err := d.begin(); err != nil {
		return nil, err
	}
	return d, nil
}

// begin makes, locks and lists the directory, if that has not been done. The caller
// holds mu, or is the only one.
func (d *Dir) begin() error {
	if d.lock != nil {
		return nil
	}
	if err := d.fs.MkdirAll(d.path); err != nil {
		return err
	}
	lock, err := d.fs.Lock(filepath.Join(d.path, "lock"))
	if err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	d.list, d.partial = nil, ""
	if err := d.load(); err != nil {
		lock.Close()
		return err
	}
	d.lock = lock
	return nil
}

// beginToWrite is begin for who is about to write. The caller holds mu.
func (d *Dir) beginToWrite() error {
	if d.closed {
		return persistence.ErrClosed
	}
	if err := d.begin(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

// load lists the snapshots, and sweeps.
func (d *Dir) load() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	slices.Sort(names)
	slices.Reverse(names) // newest first: that is the one partial that stays
	var sweep []string
	for _, name := range names {
		base, good := strings.CutSuffix(name, goodSuffix)
		switch info, ok := parseBase(base); {
		case good && ok:
			e, err := d.look(name, info)
			if err != nil {
				return err
			}
			d.list = append(d.list, e)
		case strings.HasSuffix(name, draftSuffix):
			sweep = append(sweep, name)
		case strings.HasSuffix(name, partialSuffix) && d.partial == "" && d.resumable(name):
			d.partial = name
		case strings.HasSuffix(name, partialSuffix):
			sweep = append(sweep, name)
		}
	}
	d.sort()
	for _, name := range sweep {
		if err := d.fs.Remove(d.file(name)); err != nil {
			return err
		}
	}
	// Whatever was seen here stays: a rename may have been, that is not durable. The
	// contents were synced before.
	return d.fs.SyncDir(d.path)
}

// look checks a snapshot, but not its content. Its name gives the ID and the last
// entry.
func (d *Dir) look(name string, named Info) (*entry, error) {
	e := &entry{name: name, info: named}
	f, err := d.fs.Open(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err // whoever has the lock has not removed it
	}
	if err != nil {
		e.damage = err
		return e, nil
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		e.damage = err
		return e, nil
	}
	h, err := inspect(f, size, d.file(name), nil)
	switch {
	case err != nil:
		e.damage = err
		if h.bytes > 0 && baseName(&h.info) == baseName(&named) {
			e.info = h.info
		}
	case baseName(&h.info) != baseName(&named):
		e.damage = &persistence.CorruptError{File: d.file(name), Detail: fmt.Sprintf("it is %s by its header", baseName(&h.info))}
	default:
		e.info = h.info
	}
	return e, nil
}

// resumable reports whether the file of an incoming snapshot is of use: its
// header, at least, has arrived. What follows is checked when it is resumed.
func (d *Dir) resumable(name string) bool {
	base, mark, ok := parsePartial(name)
	if !ok || mark < minHeaderBytes {
		return false
	}
	f, err := d.fs.Open(d.file(name))
	if err != nil {
		return false
	}
	defer f.Close()
	s := scanner{file: d.file(name)}
	_, _, err = s.read(io.NewSectionReader(f, 0, mark), nil)
	return err == nil && baseName(&s.head.info) == base
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

func (d *Dir) sort() {
	slices.SortFunc(d.list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.info.Meta.Last.Index, a.info.Meta.Last.Index), cmp.Compare(b.info.Meta.Last.Term, a.info.Meta.Last.Term), cmp.Compare(b.info.ID, a.info.ID))
	})
}

// List returns the snapshots, newest first, damaged ones included.
func (d *Dir) List() []Found {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := make([]Found, len(d.list))
	for i, e := range d.list {
		found[i] = Found{e.info, e.damage, d.file(e.name)}
	}
	return found
}

// Newest returns the newest snapshot: ErrNotFound if there is none, and its
// Damage if it is damaged. An older one, which List may have, is for those who ask
// for it: it is not the state that was here last.
func (d *Dir) Newest() (Info, error) {
	if l := d.List(); len(l) > 0 {
		return l[0].Info, l[0].Damage
	}
	return Info{}, fmt.Errorf("%s: %w", d.path, ErrNotFound)
}

// Find returns the snapshot that stands for the log up to an entry, as a Store
// names it: ErrNotFound if there is none, and its Damage if it is damaged.
func (d *Dir) Find(last raftcore.EntryID) (Info, error) {
	var damaged *Found
	for _, f := range d.List() {
		if f.Meta.Last == last && f.Damage == nil {
			return f.Info, nil
		} else if f.Meta.Last == last {
			damaged = &f
		}
	}
	if damaged != nil {
		return damaged.Info, damaged.Damage
	}
	return Info{}, fmt.Errorf("%s, entry %v: %w", d.path, last, ErrNotFound)
}

// Keep removes every snapshot that is not newer than this one, but for itself.
// Call it when nothing needs them any more: when the Save that names this
// snapshot is durable. One that is being read or sent goes when that is over, or
// when the directory is next opened and Keep called. Keep refuses if the snapshot
// is not there or known to be damaged, and then removes nothing.
func (d *Dir) Keep(id ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, err := d.find(id)
	if err != nil {
		return err
	}
	var errs []error
	d.list = slices.DeleteFunc(d.list, func(e *entry) bool {
		if e == kept || e.info.Meta.Last.Index > kept.info.Meta.Last.Index {
			return false
		}
		if e.readers > 0 {
			d.doomed[e.name] = e
			return true
		}
		err := d.fs.Remove(d.file(e.name))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return true
		}
		e.damage = err // who knows what is left of it; another Keep removes it
		errs = append(errs, err)
		return false
	})
	return errors.Join(errs...)
}

// find returns a snapshot that is not known to be damaged.
func (d *Dir) find(id ID) (*entry, error) {
	if d.closed {
		return nil, persistence.ErrClosed
	}
	for _, e := range d.list {
		if e.info.ID == id {
			return e, e.damage
		}
	}
	return nil, fmt.Errorf("%s, snapshot %v: %w", d.path, id, ErrNotFound)
}

// hold opens a snapshot that is not known to be damaged. It is not removed before
// it is let go of.
func (d *Dir) hold(id ID) (*entry, journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := d.find(id)
	if err != nil {
		return nil, nil, err
	}
	f, err := d.fs.Open(d.file(e.name))
	if err != nil {
		return nil, nil, err
	}
	e.readers++
	return e, f, nil
}

// letGo ends a hold.
func (d *Dir) letGo(e *entry, f journal.File) error {
	err := f.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.readers--; e.readers == 0 && d.doomed[e.name] == e {
		delete(d.doomed, e.name)
		err = errors.Join(err, d.fs.Remove(d.file(e.name)))
	}
	return err
}

// note takes note of damage that was found in a snapshot.
func (d *Dir) note(e *entry, err error) {
	var corrupt *persistence.CorruptError
	if errors.As(err, &corrupt) {
		d.mu.Lock()
		defer d.mu.Unlock()
		e.damage = err
	}
}

// put makes a snapshot of a draft that is synced. It takes the place of a damaged
// one of the same name.
func (d *Dir) put(w *draft, info Info) error {
	d.mu.Lock() // nobody else removes or replaces a file of this name meanwhile
	defer d.mu.Unlock()
	if d.closed {
		w.abort()
		return persistence.ErrClosed
	}
	name := baseName(&info) + goodSuffix
	delete(d.doomed, name)
	d.list = slices.DeleteFunc(d.list, func(e *entry) bool { return e.name == name })
	if err := w.rename(name); err != nil {
		return err
	}
	w.err = errOver
	d.list = append(d.list, &entry{name: name, info: info})
	d.sort()
	return nil
}

// Verify reads a snapshot from beginning to end. If it is damaged, that is a
// *persistence.CorruptError, and from then on its Damage.
func (d *Dir) Verify(id ID) error {
	r, err := d.Read(id)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// Close lets others open the directory. Close readers and writers before.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return persistence.ErrClosed
	}
	d.closed = true
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}
