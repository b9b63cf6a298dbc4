// Package journaltest simulates disks that do what disks do when the power or
// the process fails, for tests of package journal and of what is built upon it.
//
// A Disk is a journal.FS in memory. What was written and not synced may be lost
// when it crashes, in whole or in part: any sectors of any writes may have
// arrived, in any order, and any renames and removals. Blocks that were being
// written may be damaged altogether, with sectors beside those that were written
// to, as happens on disks whose physical sectors are larger than their logical
// ones. A sync can be made to fail, and then does what Linux does: it forgets
// that there was anything to write, and the next one succeeds.
//
//	disk := journaltest.New(seed)
//	disk.CrashAt(17)                 // the 17th change from now on is the last
//	j, err := journal.Open("d", journal.Options{FS: disk}, replay)
//	...                              // everything fails with ErrCrashed at some point
//	disk.Crash(true)                 // the power comes back
//	j, err = journal.Open("d", journal.Options{FS: disk}, replay)
//
// The same seed and calls give the same outcome.
package journaltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
)

const (
	sector = 512  // what a disk writes whole or not at all, if it keeps its word
	block  = 4096 // what it damages if it does not
)

// ErrCrashed is what everything ends with after a crash, until Crash.
var ErrCrashed = errors.New("the simulated machine has crashed")

// Disk is a simulated disk and the file system on it.
type Disk struct {
	mu    sync.Mutex
	rng   *rand.Rand
	names map[string]*inode // as the processes see it
	kept  map[string]*inode // as it is on the disk
	moves []move            // changes of names that are not durable, in order
	locks map[string]int    // the life that has the lock

	limited bool
	free    int64 // if limited: how much may still be written

	life    int // of the machine or the process; handles of earlier lives are dead
	crashed bool
	ops     int
	crashAt int
	failAt  int
}

// inode is a file whatever its name.
type inode struct {
	seen    []byte // as the processes see it
	kept    []byte // as it is on the disk
	pending []change
}

// change is a write or a new size that is not durable.
type change struct {
	offset int64
	data   []byte
	resize bool // to offset
}

// move is a change of a name: from is empty for a new file, to for a removal. Without
// a file it is that of a directory.
type move struct {
	from, to string
	file     *inode
}

// New returns an empty disk.
func New(seed uint64) *Disk {
	return &Disk{
		rng:   rand.New(rand.NewPCG(seed, 0)),
		names: map[string]*inode{},
		kept:  map[string]*inode{},
		locks: map[string]int{},
	}
}

// CrashAt lets the machine crash in the middle of the nth change from now on; 0
// takes that back. Everything but reading is a change.
func (d *Disk) CrashAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashAt = after(d.ops, n)
}

// FailAt lets the nth change from now on fail with EIO, in the middle; 0 takes
// that back.
func (d *Disk) FailAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt = after(d.ops, n)
}

func after(ops, n int) int {
	if n == 0 {
		return 0
	}
	return ops + n
}

// Limit lets no more than so many bytes be written from now on, beside what is
// given back by removing and cutting off. Less than none takes that back.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limited, d.free = bytes >= 0, bytes
}

// Free returns how many bytes may still be written.
func (d *Disk) Free(string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.limited {
		return math.MaxInt64, nil
	}
	return d.free, nil
}

// grow takes space for a file that is about to be so much larger.
func (d *Disk) grow(bytes int64) error {
	if d.limited && bytes > d.free {
		return fmt.Errorf("%w: %w", persistence.ErrDiskFull, syscall.ENOSPC)
	}
	d.free -= bytes
	return nil
}

// Ops returns the number of changes so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Crash ends the life of the processes that use the disk, and makes it usable
// again. If the power failed, what was not synced is lost or torn; if it did
// not, only the processes died, but the cache may have dropped what it takes for
// clean.
func (d *Disk) Crash(power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.crashed = false
	d.crashAt, d.failAt = 0, 0
	if power {
		d.loseNames()
		for _, name := range sorted(d.kept) { // in order: the random numbers must be the same each time
			d.kept[name].tear(d.rng)
		}
		d.names = clone(d.kept)
	} else if d.rng.IntN(2) == 0 {
		for _, f := range d.names {
			f.evict()
		}
	}
}

// Files returns the names of all files, ascending.
func (d *Disk) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sorted(d.names)
}

// Contents returns a copy of a file.
func (d *Disk) Contents(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.names[filepath.Clean(name)].seen)
}

// Flip changes bits of a byte of a file, as a failing disk does.
func (d *Disk) Flip(name string, offset int, bits byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[filepath.Clean(name)]
	f.seen[offset] ^= bits
	if offset < len(f.kept) {
		f.kept[offset] ^= bits
	}
}

// Put makes a file with these contents, durably, or replaces it.
func (d *Disk) Put(name string, contents []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &inode{seen: slices.Clone(contents), kept: slices.Clone(contents)}
	d.names[filepath.Clean(name)], d.kept[filepath.Clean(name)] = f, f
}

// Delete removes a file, durably.
func (d *Disk) Delete(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, filepath.Clean(name))
	delete(d.kept, filepath.Clean(name))
}

// verdict is what becomes of a change.
type verdict int

const (
	proceed verdict = iota
	failing         // in the middle
	dead            // before it began
)

// change counts a change and decides about it. A crash in the middle of one is
// one that fails; nothing after it happens.
func (d *Disk) change(life int) (verdict, error) {
	if d.crashed || life != d.life {
		return dead, ErrCrashed
	}
	d.ops++
	switch d.ops {
	case d.crashAt:
		d.crashed = true
		return failing, ErrCrashed
	case d.failAt:
		return failing, syscall.EIO
	}
	return proceed, nil
}

// MkdirAll does nothing: directories are there when they are named.
func (d *Disk) MkdirAll(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return ErrCrashed
	}
	return nil
}

// List names the files in a directory, and the directories in it that are not empty, in
// an order that is different each time.
func (d *Disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, ErrCrashed
	}
	var names []string
	below := filepath.Clean(dir) + string(filepath.Separator)
	for _, name := range sorted(d.names) {
		rest, ok := strings.CutPrefix(name, below)
		first, _, _ := strings.Cut(rest, string(filepath.Separator))
		if ok && !slices.Contains(names, first) {
			names = append(names, first)
		}
	}
	d.rng.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	return names, nil
}

// Open opens a file.
func (d *Disk) Open(name string) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, ErrCrashed
	}
	f := d.names[filepath.Clean(name)]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &handle{disk: d, life: d.life, name: name, file: f}, nil
}

// Create makes a file.
func (d *Disk) Create(name string, size int64) (journal.File, error) {
	name = filepath.Clean(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	f := &inode{}
	err := d.grow(size)
	if err == nil {
		err = d.rename(d.life, move{to: name, file: f})
	}
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	f.apply(change{resize: true, offset: size})
	return &handle{disk: d, life: d.life, name: name, file: f}, nil
}

// Rename gives a file another name, or a directory with all that is in it.
func (d *Disk) Rename(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[from]
	if f == nil && !d.crashed && !slices.ContainsFunc(sorted(d.names), func(name string) bool { return within(name, from) }) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	return d.rename(d.life, move{from: from, to: to, file: f})
}

// Remove removes a file.
func (d *Disk) Remove(name string) error {
	name = filepath.Clean(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	if f == nil && !d.crashed {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	return d.rename(d.life, move{from: name, file: f})
}

// rename carries out a change of names. One that fails in the middle may have
// happened.
func (d *Disk) rename(life int, m move) error {
	verdict, err := d.change(life)
	if verdict == dead || verdict == failing && d.rng.IntN(2) == 0 {
		return err
	}
	if old := d.names[m.to]; m.to != "" && old != nil {
		d.free += int64(len(old.seen))
	}
	if m.to == "" {
		d.free += int64(len(m.file.seen))
	}
	m.in(d.names)
	d.moves = append(d.moves, m)
	return err
}

func (m move) in(names map[string]*inode) {
	if m.file == nil {
		for _, name := range sorted(names) {
			if within(name, m.from) {
				names[m.to+strings.TrimPrefix(name, m.from)] = names[name]
				delete(names, name)
			}
		}
		return
	}
	if m.from != "" {
		if names[m.from] != m.file {
			return // what came before was lost
		}
		delete(names, m.from)
	}
	if m.to != "" {
		names[m.to] = m.file
	}
}

// SyncDir makes the names in a directory durable. One that fails has done so for
// some; unlike with a file's contents, the next one does the rest: file systems
// keep their own books better than their users'.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	verdict, err := d.change(d.life)
	switch verdict {
	case dead:
	case failing:
		n := d.rng.IntN(len(d.moves) + 1)
		for _, m := range d.moves[:n] {
			m.in(d.kept)
		}
		d.moves = d.moves[n:]
	default:
		for _, m := range d.moves {
			m.in(d.kept)
		}
		d.moves = nil
	}
	return err
}

// loseNames decides which changes of names have reached the disk: a beginning of
// them, as on file systems with a journal, or any.
func (d *Disk) loseNames() {
	n, any := d.rng.IntN(len(d.moves)+1), d.rng.IntN(2) == 0
	for i, m := range d.moves {
		if any && d.rng.IntN(2) == 0 || !any && i < n {
			m.in(d.kept)
		}
	}
	d.moves = nil
}

// Lock takes a lock. It ends with the process.
func (d *Disk) Lock(name string) (io.Closer, error) {
	name = filepath.Clean(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, ErrCrashed
	}
	if life, taken := d.locks[name]; taken && life == d.life {
		return nil, persistence.ErrLocked
	}
	d.locks[name] = d.life
	return &unlocker{disk: d, name: name, life: d.life}, nil
}

type unlocker struct {
	disk *Disk
	name string
	life int
}

func (u *unlocker) Close() error {
	u.disk.mu.Lock()
	defer u.disk.mu.Unlock()
	if u.disk.locks[u.name] == u.life {
		delete(u.disk.locks, u.name)
	}
	return nil
}

// within reports whether a file is in a directory.
func within(name, dir string) bool {
	return strings.HasPrefix(name, dir+string(filepath.Separator))
}

func sorted(names map[string]*inode) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func clone(names map[string]*inode) map[string]*inode {
	c := make(map[string]*inode, len(names))
	for name, f := range names {
		c[name] = f
	}
	return c
}

func (d *Disk) String() string {
	return fmt.Sprintf("disk after %d changes, life %d", d.ops, d.life)
}
