package rafttest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/castaway-go/castaway/actors"
)

// A machine with a disk is treated as the host does it: it is opened, saved before it is
// asked for anything, Reset before it reads a snapshot, and closed. What a Save is given to
// keep says which one it was, so that what is found tells what else must be there.

// subjectDisk is the disk of a machine that is tested.
type subjectDisk struct {
	actors.DiskStateMachine
	dir    string
	at     int   // after so many commands of the log
	last   saved // the last Save
	due    bool  // something was applied or restored since
	many   int   // commands
	size   int   // of them
	closed bool
}

// saved is what a Save has left.
type saved struct {
	Since, Saves int // the number of the first one since Reset, 0: there was none; and its own
	At           int // after so many commands of the log
}

const (
	markName = "mark"
	noteName = "note-%016x"
	// There is a Save after so much.
	maxUnsaved      = 1024
	maxUnsavedBytes = 1 << 20
)

// keep is what a Save is given: one thing changes each time, one is new, and most that are
// old are forgotten, some of them again and again.
func (s saved) keep() map[string][]byte {
	keep := map[string][]byte{
		markName:                       fmt.Append(nil, s.Since, s.Saves, s.At),
		fmt.Sprintf(noteName, s.Saves): note(s.Saves),
	}
	for old := max(0, s.Saves-6); old <= s.Saves-4; old++ {
		if old%8 != 0 {
			keep[fmt.Sprintf(noteName, old)] = nil
		}
	}
	return keep
}

// kept is what Open finds then.
func (s saved) kept() map[string][]byte {
	kept := map[string][]byte{}
	if s.Since == 0 {
		return kept
	}
	kept[markName] = s.keep()[markName]
	for n := s.Since; n <= s.Saves; n++ {
		if n > s.Saves-4 || n%8 == 0 {
			kept[fmt.Sprintf(noteName, n)] = note(n)
		}
	}
	return kept
}

// note is some bytes, of any kind.
func note(n int) []byte {
	return bytes.Repeat([]byte{byte(n), 0, 0xff, '\n', byte(n >> 8)}, 1+n%50)
}

// took reads what a Save was given.
func took(kept map[string][]byte) (s saved, err error) {
	if len(kept) == 0 {
		return s, nil
	}
	_, err = fmt.Sscan(string(kept[markName]), &s.Since, &s.Saves, &s.At)
	return s, err
}

// next is the Save that comes now, at a point of the log.
func (s saved) next(at int) saved {
	s.Saves++
	s.At = at
	if s.Since == 0 {
		s.Since = s.Saves
	}
	return s
}

// freshOnDisk makes a machine with an empty disk.
func (r *machineRun) freshOnDisk() *subject {
	dir, err := os.MkdirTemp(r.t.TempDir(), "disk")
	must(err)
	s, found := r.opened(dir, cOpen)
	demand(found == saved{}, cOpen, "Open has found %v on an empty disk", found)
	return s
}

// opened makes a machine with a disk, opens it, and tells what it has found.
func (r *machineRun) opened(dir, contract string) (s *subject, found saved) {
	func() {
		defer r.noPanic(cNew, func() string { return "NewIn" })
		m := r.NewIn(dir)
		demand(m != nil, cNew, "NewIn returned nil")
		d, is := m.(actors.DiskStateMachine)
		demand(is, cNew, "NewIn made no actors.DiskStateMachine: the host would not open it. Use New for it")
		s = &subject{r: r, m: m, between: func(int) {}, disk: &subjectDisk{DiskStateMachine: d, dir: dir}}
	}()
	r.open = append(r.open, s)
	var kept map[string][]byte
	s.does("Open", func() (err error) {
		kept, err = s.disk.Open()
		return err
	})
	found, err := took(kept)
	if err != nil {
		must(broken(contract, "Open has found %d kept, but not the %q that every Save was given", len(kept), markName))
	}
	if wrong := keptApart(kept, found.kept()); wrong != "" {
		must(broken(contract, "Open has found %v; but %s", found, wrong))
	}
	s.disk.at, s.disk.last = found.At, found
	return s, found
}

// keptApart says where what was found is not what was kept; "": nowhere.
func keptApart(found, want map[string][]byte) string {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, has := found[name]; !has {
			return fmt.Sprintf("%q is missing, which was kept", name)
		} else if !bytes.Equal(value, want[name]) {
			return fmt.Sprintf("under %q there is %s", name, apart(value, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, has := want[name]; !has {
			return fmt.Sprintf("%q is there, which was not kept, or forgotten", name)
		}
	}
	return ""
}

func (s saved) String() string {
	if s.Since == 0 {
		return "nothing kept"
	}
	return fmt.Sprintf("what Save %d has left, after command %d", s.Saves, s.At)
}

// does does something with the disk.
func (s *subject) does(what string, do func() error) {
	defer s.r.noPanic(cFails, func() string { return what })
	err := do()
	demand(err == nil, cFails, "%s ended with “%v”", what, err)
}

// applied notes that commands were applied. They are saved after some, or many.
func (s *subject) applied(entries ...actors.Entry) {
	d := s.disk
	if d == nil {
		return
	}
	d.due = true
	d.at += len(entries)
	d.many += len(entries)
	for _, e := range entries {
		d.size += len(e.Data)
	}
	if d.many >= maxUnsaved || d.size >= maxUnsavedBytes {
		s.save()
	}
}

// save saves what was applied.
func (s *subject) save() {
	d := s.disk
	if d == nil || !d.due {
		return
	}
	d.last = d.last.next(d.at)
	keep := d.last.keep()
	s.does("Save", func() error { return d.Save(keep) })
	d.due, d.many, d.size = false, 0, 0
}

func (s *subject) sync() {
	s.save()
	s.does("Sync", s.disk.Sync)
}

// reset forgets the state, if it is on a disk.
func (s *subject) reset() {
	d := s.disk
	if d == nil {
		return
	}
	s.does("Reset", d.Reset)
	// The numbers go on, so that what was kept before can be told from what is kept then.
	d.at, d.last = 0, saved{Saves: d.last.Saves}
	d.due, d.many, d.size = false, 0, 0
}

// close closes it, if it has a disk.
func (s *subject) close() {
	if d := s.disk; d != nil && !d.closed {
		d.closed = true
		s.does("Close", d.Close)
	}
}

// again closes it, and opens another one on its disk, which must find what was saved.
func (s *subject) again(contract string) *subject {
	s.close()
	next, found := s.r.opened(s.disk.dir, contract)
	want := s.disk.last
	if want.Since == 0 { // Reset
		want = saved{}
	}
	demand(found == want, contract, "Open has found %v, instead of %v", found, want)
	next.disk.last = s.disk.last
	return next
}

// discard closes all disks, when it does not matter any more how.
func (r *machineRun) discard() {
	for _, s := range r.open {
		if !s.disk.closed {
			func() {
				defer func() { _ = recover() }() // what has ended the test is told
				_ = s.disk.Close()
			}()
		}
		os.RemoveAll(s.disk.dir)
	}
	r.open = nil
}
