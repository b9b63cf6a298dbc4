package persistence

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/castaway-go/castaway/raftcore"
)

// Memory returns an Opener of a Store that lives as long as the returned value:
// what was saved is there when it is closed and opened again, so members can be
// restarted, but it is gone with the process. For tests and examples.
//
// It has no place for snapshots: a host with it takes none and sends none, and its logs
// only grow. snapshots.Beside gives it a directory for them.
func Memory() Opener { return &memory{groups: map[string]*memoryGroup{}} }

// memory is the disk.
type memory struct {
	mu     sync.Mutex
	open   bool            // somebody has it
	host   raftcore.NodeID // whose it is
	groups map[string]*memoryGroup
	byID   []*memoryGroup // by GroupID - 1
}

// InMemory says that nobody waits for a disk here: hosts need no goroutine for that.
func (*memory) InMemory() {}

type memoryGroup struct {
	boot        uint64     // 0: not open
	removed     *Tombstone // all that is left
	damaged     bool       // it was revived, and has not joined since
	hard        raftcore.HardState
	incarnation raftcore.Incarnation
	snapshot    raftcore.SnapshotMeta
	base        raftcore.SnapshotMeta
	// runs are the entries after the base, as they came: what a Save has in it does not
	// change, and is not copied.
	runs [][]raftcore.Entry
}

func (g *memoryGroup) last() raftcore.EntryID {
	if n := len(g.runs); n > 0 {
		run := g.runs[n-1]
		return run[len(run)-1].EntryID
	}
	return g.base.Last
}

// at returns the run that entry i is in, or would be in if it came next, and its place there.
func (g *memoryGroup) at(i raftcore.Index) (run, place int) {
	run, _ = slices.BinarySearchFunc(g.runs, i, func(run []raftcore.Entry, i raftcore.Index) int {
		return cmp.Compare(run[len(run)-1].Index, i)
	})
	if run < len(g.runs) {
		place = int(i - g.runs[run][0].Index)
	}
	return run, place
}

// cut forgets the entries from i on.
func (g *memoryGroup) cut(i raftcore.Index) {
	run, place := g.at(i)
	if place > 0 {
		g.runs[run] = g.runs[run][:place]
		run++
	}
	clear(g.runs[min(run, len(g.runs)):])
	g.runs = g.runs[:min(run, len(g.runs))]
}

// drop forgets the entries up to i.
func (g *memoryGroup) drop(i raftcore.Index) {
	run, place := g.at(i + 1)
	g.runs = slices.Delete(g.runs, 0, run)
	if place > 0 {
		g.runs[0] = g.runs[0][place:]
	}
}

// read returns entries from one on, up to another, and no more than fit into maxBytes; but
// one in any case.
func (g *memoryGroup) read(from, to raftcore.Index, maxBytes int) (entries []raftcore.Entry) {
	bytes := 0
	for run, place := g.at(from); run < len(g.runs); run, place = run+1, 0 {
		for _, e := range g.runs[run][place:] {
			if bytes += len(e.Data); e.Index > to || bytes > maxBytes && len(entries) > 0 {
				return entries
			}
			entries = append(entries, e)
		}
	}
	return entries
}

func (m *memory) Open() (Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open {
		return nil, ErrLocked
	}
	m.open = true
	return &memoryStore{memory: m}, nil
}

// memoryStore is the Store, from Open to Close: one that is closed stays so when
// the next one is opened.
type memoryStore struct {
	*memory
	closed bool
}

func (s *memoryStore) Open(name string) (Opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Opened{}, ErrClosed
	}
	g := s.groups[name]
	if g == nil {
		g = &memoryGroup{incarnation: raftcore.Incarnation(random())}
		s.groups[name] = g
		s.byID = append(s.byID, g)
	}
	if g.removed != nil {
		return Opened{}, &RemovedError{*g.removed}
	}
	if g.boot != 0 {
		return Opened{}, fmt.Errorf("group %q: %w", name, ErrGroupOpen)
	}
	g.boot = random()
	return Opened{Group: GroupID(slices.Index(s.byID, g) + 1), Boot: g.boot, Recovered: g.recovered()}, nil
}

func (s *memoryStore) Save(saves []Save) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	// All of it is checked before any of it is executed.
	logs := map[GroupID]*Log{}
	for i := range saves {
		save := &saves[i]
		g, err := s.group(save.Group)
		if err != nil {
			return err
		}
		if save.Token.Boot != g.boot {
			return fmt.Errorf("the save is from an earlier opening: %w", ErrGroupClosed)
		}
		if logs[save.Group] == nil {
			logs[save.Group] = g.log()
		}
		if err := logs[save.Group].Follow(&save.Save); err != nil {
			return err
		}
	}
	for i := range saves {
		g := s.byID[saves[i].Group-1]
		g.hard = saves[i].HardState
		g.damaged = g.damaged && !g.hard.Joined
		g.compact(&saves[i].Save)
		g.append(saves[i].Entries)
	}
	return nil
}

func (s *memoryStore) Load(id GroupID, l raftcore.Load) ([]raftcore.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	base := g.base.Last.Index
	if last := g.last().Index; l.From <= base || l.From > l.To || l.To > last {
		return nil, fmt.Errorf("entries %d to %d are not all in the log, which goes from %d to %d", l.From, l.To, base+1, last)
	}
	return g.read(l.From, l.To, l.MaxBytes), nil
}

func (s *memoryStore) CloseGroup(id GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(id)
	if err == nil {
		g.boot = 0
	}
	return err
}

func (s *memoryStore) Remove(r Removal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	g := s.groups[r.Group]
	switch {
	case g == nil:
		return fmt.Errorf("group %q: %w", r.Group, ErrNoGroup)
	case g.removed != nil:
		return nil
	case g.boot != 0:
		return fmt.Errorf("group %q: %w", r.Group, ErrGroupOpen)
	}
	kept := g.recovered()
	if err := r.Check(&kept); err != nil {
		return err
	}
	*g = memoryGroup{removed: &Tombstone{Group: r.Group, Time: r.Time, Incarnation: g.incarnation, HardState: g.hard}}
	return nil
}

func (s *memoryStore) Revive(group string, former raftcore.Incarnation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	g := s.groups[group]
	switch {
	case g == nil || g.removed == nil && g.incarnation != former:
		return fmt.Errorf("incarnation %x of group %q: %w", uint64(former), group, ErrNoGroup)
	case g.removed != nil && g.removed.Incarnation != former:
		return &RemovedError{*g.removed}
	case g.boot != 0:
		return fmt.Errorf("group %q: %w", group, ErrGroupOpen)
	}
	*g = memoryGroup{incarnation: raftcore.Incarnation(random()), damaged: true}
	return nil
}

func (s *memoryStore) Own(host raftcore.NodeID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host != raftcore.Nobody && s.host != host {
		return fmt.Errorf("%w: it is host %d's, not host %d's", ErrOtherHost, s.host, host)
	}
	s.host = host
	return nil
}

func (s *memoryStore) Tombstones() ([]Tombstone, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	var all []Tombstone
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		if t := s.groups[name].removed; t != nil {
			all = append(all, *t)
		}
	}
	return all, nil
}

func (s *memoryStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed, s.open = true, false
	for _, g := range s.groups {
		g.boot = 0
	}
	return nil
}

func (s *memoryStore) group(id GroupID) (*memoryGroup, error) {
	if s.closed {
		return nil, ErrClosed
	}
	if id == 0 || id > GroupID(len(s.byID)) || s.byID[id-1].boot == 0 {
		return nil, ErrGroupClosed
	}
	return s.byID[id-1], nil
}

func (g *memoryGroup) log() *Log {
	return &Log{HardState: g.hard, Snapshot: g.snapshot.Last.Index, Base: g.base.Last.Index, Last: g.last()}
}

// compact notes a snapshot, and forgets what it stands for.
func (g *memoryGroup) compact(s *raftcore.Save) {
	if s.Snapshot != nil {
		g.snapshot = *s.Snapshot
	}
	switch {
	case s.Reset:
		g.base, g.runs = *s.Base, nil
	case s.Base != nil && s.Base.Last.Index > g.base.Last.Index:
		g.drop(s.Base.Last.Index)
		g.base = *s.Base
	}
}

// append adds entries after those before the first of them.
func (g *memoryGroup) append(entries []raftcore.Entry) {
	if len(entries) == 0 {
		return
	}
	if entries[0].Index <= g.last().Index {
		g.cut(entries[0].Index)
	}
	g.runs = append(g.runs, entries)
}

func (g *memoryGroup) recovered() raftcore.Recovered {
	r := raftcore.Recovered{
		HardState: g.hard, Incarnation: g.incarnation, Damaged: g.damaged, Snapshot: g.snapshot,
		Base: g.base.Last, BaseConf: g.base.Conf, Last: g.base.Last.Index, LastTime: g.base.Time,
	}
	for _, run := range g.runs {
		for i := range run {
			r.Note(&run[i])
		}
	}
	if first := g.base.Last.Index + 1; first <= r.Last {
		r.Tail = g.read(max(first, r.Last-min(r.Last, 1023)), r.Last, math.MaxInt)
	}
	return r
}

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
