package rafttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// toyDisk is a file of records on a disk that crashes and fails, and toyStore a
// Store on it that is as plain as can be: one record for each Save, one write, one
// sync. With a defect it has one of the faults that TestStore must notice.
type toyDisk struct {
	defect string

	mu      sync.Mutex
	rng     *rand.Rand
	next    uint64 // for boots and incarnations
	seen    []toyRecord
	durable []toyRecord
	pending []int // what of seen is to be written by the next sync

	locked          bool
	crashed         bool
	ops             int
	crashAt, failAt int
	life            int

	limited  bool
	free     int64
	overfull bool // it was full once
}

// toyRecord is what one write writes: a new group, or a Save.
type toyRecord struct {
	torn        bool // it was being written when the power failed
	name        string
	incarnation raftcore.Incarnation
	parts       []toyPart

	removed *persistence.Tombstone
	revived bool // by this name, under this incarnation
}

type toyPart struct {
	name string
	save raftcore.Save
}

var (
	errToyCrash = errors.New("the toy's machine has crashed")
	errToyDisk  = errors.New("the toy's disk has failed")
)

func newToyDisk(seed uint64, defect string) *toyDisk {
	return &toyDisk{defect: defect, rng: rand.New(rand.NewPCG(seed, 5)), next: seed << 20}
}

func (d *toyDisk) place() StorePlace {
	return StorePlace{
		Opener:  d,
		Crash:   d.crash,
		CrashAt: func(n int) { d.crashAt = d.after(n) },
		FailAt:  func(n int) { d.failAt = d.after(n) },
		Limit:   func(bytes int64) { d.limited, d.free = bytes >= 0, bytes },
	}
}

func (d *toyDisk) after(n int) int {
	if n == 0 {
		return 0
	}
	return d.ops + n
}

// is reports whether the toy has this defect.
func (d *toyDisk) is(defect string) bool { return d.defect == defect }

// change counts a change to the disk, and says what becomes of it.
func (d *toyDisk) change(life int) error {
	if d.crashed || life != d.life {
		return errToyCrash
	}
	d.ops++
	switch d.ops {
	case d.crashAt:
		d.crashed = true
		return errToyCrash
	case d.failAt:
		return errToyDisk
	}
	return nil
}

// grow takes the room that a record needs.
func (d *toyDisk) grow(r *toyRecord) error {
	bytes := int64(100)
	for i := range r.parts {
		for j := range r.parts[i].save.Entries {
			bytes += 100 + int64(len(r.parts[i].save.Entries[j].Data))
		}
	}
	if d.limited && bytes > d.free || d.overfull && d.is("does not look for room again") {
		d.overfull = true
		return persistence.ErrDiskFull
	}
	d.free -= bytes
	return nil
}

func (d *toyDisk) write(life int, r toyRecord) error {
	if err := d.change(life); err != nil {
		if d.rng.IntN(2) == 0 {
			r.torn = true
			d.seen = append(d.seen, r)
			d.pending = append(d.pending, len(d.seen)-1)
		}
		return err
	}
	d.seen = append(d.seen, r)
	d.pending = append(d.pending, len(d.seen)-1)
	return nil
}

// sync makes durable what was written. One that fails forgets some of it.
func (d *toyDisk) sync(life int) error {
	err := d.change(life)
	if errors.Is(err, errToyCrash) {
		return err
	}
	for _, i := range d.pending {
		if err != nil && d.rng.IntN(2) == 0 {
			break
		}
		if i == len(d.durable) { // else one before it was forgotten: a hole, behind which nothing is found
			d.durable = append(d.durable, d.seen[i])
		}
	}
	d.pending = nil
	return err
}

func (d *toyDisk) crash() {
	if d.rng.IntN(3) > 0 { // the power
		for _, i := range d.pending {
			if d.rng.IntN(2) == 0 || i != len(d.durable) {
				break
			}
			d.durable = append(d.durable, d.seen[i])
		}
		d.seen = slices.Clone(d.durable)
		d.pending = nil
	}
	d.life++
	d.locked, d.crashed = false, false
	d.crashAt, d.failAt = 0, 0
}

// rewrite writes anew what is seen, so that it is there for certain.
func (d *toyDisk) rewrite() error {
	if err := d.change(d.life); err != nil {
		return err
	}
	d.durable, d.pending = slices.Clone(d.seen), nil
	return nil
}

func (d *toyDisk) random() uint64 {
	d.next++
	return d.next
}

// Open reads the records, and cuts off what is torn.
func (d *toyDisk) Open() (persistence.Store, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, errToyCrash
	}
	if d.locked && !d.is("two can open it") {
		return nil, persistence.ErrLocked
	}
	d.locked = true
	s := &toyStore{disk: d, life: d.life, byID: map[persistence.GroupID]*toyGroup{}}
	err := s.replay()
	if err != nil {
		d.locked = d.is("a failed opening keeps the lock")
		return nil, err
	}
	return s, nil
}

type toyStore struct {
	disk   *toyDisk
	life   int
	groups []*toyGroup
	byID   map[persistence.GroupID]*toyGroup
	failed error
	closed bool
	torn   bool // the end was cut off
}

type toyGroup struct {
	contents
	name        string
	incarnation raftcore.Incarnation
	boot        uint64
	id          persistence.GroupID
	removed     *persistence.Tombstone
	damaged     bool
}

func (s *toyStore) replay() error {
	d := s.disk
	for i := range d.seen {
		if !d.seen[i].torn {
			continue
		}
		if d.is("takes a torn end for damage") {
			return &persistence.CorruptError{File: "toy", Detail: "a record is torn"}
		}
		d.seen, s.torn = d.seen[:i], true
		d.pending = slices.DeleteFunc(d.pending, func(k int) bool { return k >= i })
		break
	}
	if !d.is("trusts what the cache shows") {
		if err := d.rewrite(); err != nil {
			return err
		}
	} else {
		d.pending = nil
	}
	for i := range d.seen {
		r := &d.seen[i]
		switch {
		case r.removed != nil && d.is("forgets that a group was removed"):
			s.groups = slices.DeleteFunc(s.groups, func(g *toyGroup) bool { return g.name == r.name })
		case r.removed != nil:
			s.remove(s.group(r.name), r.removed)
		case r.revived:
			s.revive(s.group(r.name), r.incarnation)
		case r.incarnation != 0:
			s.found(r.name, r.incarnation)
		}
		for k := range r.parts {
			s.apply(s.group(r.parts[k].name), r.parts[k].save, true)
		}
	}
	for _, g := range s.groups {
		s.forget(g)
	}
	return nil
}

// forget is what goes wrong when a Store is opened again.
func (s *toyStore) forget(g *toyGroup) {
	d, n := s.disk, len(g.entries)
	switch {
	case d.is("forgets the vote"):
		g.hard.Vote = raftcore.Nobody
	case d.is("forgets that it has joined"):
		g.hard.Joined = false
	case d.is("forgets the cluster"):
		g.hard.Cluster = 0
	case d.is("drops the last entry") && n > 0:
		g.entries = g.entries[:n-1]
	case d.is("forgets the incarnation"):
		g.incarnation = raftcore.Incarnation(d.random())
	case d.is("forgets the snapshot"):
		g.snapshot = raftcore.SnapshotMeta{}
	case d.is("forgets the configuration of the base"):
		g.base.Conf = raftcore.ConfigAt{}
	case d.is("forgets the base"):
		g.base = raftcore.SnapshotMeta{}
	}
	for i := range g.entries {
		e := &g.entries[i]
		switch {
		case d.is("forgets the learners") && e.Config != nil:
			e.Config = &raftcore.ConfState{Voters: e.Config.Voters, Outgoing: e.Config.Outgoing, Witnesses: e.Config.Witnesses}
		case d.is("forgets whom a joint configuration leaves behind") && e.Config != nil:
			e.Config = &raftcore.ConfState{Voters: e.Config.Voters, Learners: e.Config.Learners, Witnesses: e.Config.Witnesses}
		case d.is("forgets the witnesses") && e.Config != nil:
			e.Config = &raftcore.ConfState{Voters: e.Config.Voters, Outgoing: e.Config.Outgoing, Learners: e.Config.Learners}
		case d.is("forgets the time of entries"):
			e.Time = 0
		case d.is("reads empty data as nil") && len(e.Data) == 0:
			e.Data = nil
		case d.is("cuts large data off"):
			e.Data = e.Data[:min(len(e.Data), 1<<20)]
		case d.is("keeps 32 bits of an index"):
			e.Index = raftcore.Index(uint32(e.Index))
		}
	}
}

func (s *toyStore) group(name string) *toyGroup {
	for _, g := range s.groups {
		if g.name == name || s.disk.is("takes names for file names") && strings.EqualFold(g.name, name) {
			return g
		}
	}
	return nil
}

func (s *toyStore) found(name string, incarnation raftcore.Incarnation) *toyGroup {
	g := &toyGroup{name: name, incarnation: incarnation}
	s.groups = append(s.groups, g)
	return g
}

// apply executes a part of a Save.
func (s *toyStore) apply(g *toyGroup, save raftcore.Save, replayed bool) {
	d, before, base, cluster := s.disk, g.entries, g.base.Last.Index, g.hard.Cluster
	if d.is("writes over what it has handed out") && save.Base == nil && len(save.Entries) > 0 {
		copy(before[min(int(save.Entries[0].Index-base-1), len(before)):], save.Entries)
	}
	g.contents.apply(save)
	g.damaged = g.damaged && !g.hard.Joined
	switch {
	case d.is("moves the base back") && save.Base != nil:
		g.base = *save.Base
	case d.is("writes the cluster once") && cluster != 0:
		g.hard.Cluster = cluster
	case d.is("keeps what was cut off") || replayed && d.is("what was cut off comes back"):
		if n := len(g.entries); g.base.Last.Index == base && n < len(before) {
			g.entries = append(slices.Clip(g.entries), before[n:]...)
		}
	case d.is("keeps the old entries behind a snapshot that was sent") && save.Reset && len(save.Entries) == 0:
		if at := int(g.base.Last.Index - base); at < len(before) {
			g.entries = slices.Clone(before[at:])
		}
	case d.is("ignores the entries beside a snapshot") && save.Snapshot != nil:
		g.entries = g.entries[:len(g.entries)-len(save.Entries)]
	}
}

func (s *toyStore) usable() error {
	if s.closed && !s.disk.is("answers after Close") {
		return persistence.ErrClosed
	}
	return s.failed
}

// fail poisons the store.
func (s *toyStore) fail(err error) error {
	d := s.disk
	if d.is("reports a failed write and goes on") {
		return fmt.Errorf("%w: %w", persistence.ErrPoisoned, err)
	}
	if d.is("does not say that it is poisoned") {
		s.failed = err
		return err
	}
	s.failed = fmt.Errorf("%w: %w", persistence.ErrPoisoned, err)
	return s.failed
}

// fullDisk is what comes of a full disk. Nothing.
func (s *toyStore) fullDisk(err error, r toyRecord) error {
	d := s.disk
	switch {
	case d.is("does not say that the disk is full"):
		return errToyDisk
	case d.is("ends when the disk is full"):
		s.failed = err
	case d.is("poisons itself when the disk is full"): // it may
		return s.fail(err)
	case d.is("poisons itself when the disk is full, and does not say why"):
		return s.fail(errToyDisk)
	case d.is("keeps some of what has no room") && len(r.parts) > 0:
		r.parts = r.parts[:1]
		_, _ = d.write(s.life, r), d.sync(s.life)
	case d.is("shows what has no room"):
		for _, part := range r.parts {
			s.apply(s.group(part.name), part.save, false)
		}
	}
	return err
}

// commit writes records, and syncs.
func (s *toyStore) commit(records ...toyRecord) error {
	d := s.disk
	for _, r := range records {
		if err := d.grow(&r); err != nil && !d.is("acknowledges what has no room") {
			return s.fullDisk(err, r)
		}
		if err := d.write(s.life, r); err != nil {
			return s.fail(err)
		}
	}
	if d.is("does not sync") || d.is("does not sync a new group") && records[0].incarnation != 0 || d.is("does not sync a removal") && records[0].removed != nil {
		return nil
	}
	err := d.sync(s.life)
	if err != nil && d.is("tries a failed sync again") {
		err = d.sync(s.life)
	}
	if err != nil && d.is("acknowledges after a failed sync") {
		err = nil
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *toyStore) Open(name string) (persistence.Opened, error) {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.usable(); err != nil {
		return persistence.Opened{}, err
	}
	g := s.group(name)
	if g == nil {
		incarnation := raftcore.Incarnation(d.random())
		if d.is("derives the incarnation from the name") {
			incarnation = raftcore.Incarnation(len(name)*1000 + int(name[0]))
		}
		if err := s.commit(toyRecord{name: name, incarnation: incarnation}); err != nil {
			return persistence.Opened{}, err
		}
		g = s.found(name, incarnation)
	}
	if g.removed != nil {
		return persistence.Opened{}, &persistence.RemovedError{Tombstone: *g.removed}
	}
	if g.boot != 0 && !d.is("opens a group twice") {
		return persistence.Opened{}, persistence.ErrGroupOpen
	}
	if g.boot = d.random(); d.is("counts boots from one each time") {
		g.boot = 1
	}
	if g.id == 0 {
		g.id = persistence.GroupID(len(s.byID) + 1)
	}
	s.byID[g.id] = g
	return persistence.Opened{Group: g.id, Boot: g.boot, Recovered: s.recovered(g)}, nil
}

func (s *toyStore) recovered(g *toyGroup) raftcore.Recovered {
	d := s.disk
	r := raftcore.Recovered{
		HardState: g.hard, Incarnation: g.incarnation, Snapshot: g.snapshot,
		Base: g.base.Last, BaseConf: g.base.Conf, Last: g.base.Last.Index, LastTime: g.base.Time,
	}
	for i := range g.entries {
		r.Note(&g.entries[i])
	}
	r.Tail = slices.Clone(g.entries[len(g.entries)/2:])
	r.Damaged = g.damaged || s.torn && d.is("says Damaged for a torn end")
	switch {
	case d.is("hands out a tail that ends too early") && len(r.Tail) > 0:
		r.Tail = r.Tail[:len(r.Tail)-1]
	case d.is("notes terms by entry"):
		r.Runs = nil
		for _, e := range g.entries {
			r.Runs = append(r.Runs, raftcore.TermRun{First: e.Index, Term: e.Term})
		}
	case d.is("does not say which configurations are in the log"):
		r.Configs = nil
	}
	return r
}

func (s *toyStore) Save(saves []persistence.Save) error {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.check(saves); err != nil {
		return err
	}
	var all toyRecord
	for i := range saves {
		all.parts = append(all.parts, toyPart{s.byID[saves[i].Group].name, saves[i].Save})
	}
	if err := s.commit(s.cut(all)...); err != nil {
		return err
	}
	if d.is("executes parts in any order") {
		slices.Reverse(all.parts)
	}
	for _, part := range all.parts {
		s.apply(s.group(part.name), part.save, false)
	}
	return nil
}

// cut makes several records of one, where a defect wants that.
func (s *toyStore) cut(all toyRecord) (records []toyRecord) {
	d := s.disk
	for _, part := range all.parts {
		entries, state := part, part
		state.save.Entries = nil
		entries.save.Snapshot, entries.save.Base, entries.save.Reset = nil, nil, false
		switch {
		case d.is("writes a group's parts one by one"):
			records = append(records, toyRecord{parts: []toyPart{part}})
		case d.is("writes the hard state after the entries"):
			g := s.group(part.name)
			early := part
			early.save.HardState = g.hard
			records = append(records, toyRecord{parts: []toyPart{early}}, toyRecord{parts: []toyPart{state}})
		case d.is("writes the hard state before the entries"):
			records = append(records, toyRecord{parts: []toyPart{state}}, toyRecord{parts: []toyPart{entries}})
		}
	}
	if records == nil {
		records = []toyRecord{all}
	}
	return records
}

func (s *toyStore) check(saves []persistence.Save) error {
	d := s.disk
	logs := map[persistence.GroupID]*persistence.Log{}
	for i := range saves {
		save := &saves[i]
		g := s.byID[save.Group]
		if g == nil || g.boot == 0 && !d.is("takes Saves for closed groups") {
			return persistence.ErrGroupClosed
		}
		if save.Token.Boot != g.boot && g.boot != 0 && !d.is("takes late Saves") {
			return persistence.ErrGroupClosed
		}
		l := logs[save.Group]
		if l == nil || d.is("checks each part by itself") {
			k := &g.contents
			l = &persistence.Log{HardState: k.hard, Snapshot: k.snapshot.Last.Index, Base: k.base.Last.Index, Last: k.id(k.last())}
			logs[save.Group] = l
		}
		switch {
		case d.is("takes a second vote"):
			l.HardState.Vote = raftcore.Nobody
		case d.is("takes a term that falls"):
			l.HardState.Term = 0
		case d.is("takes another cluster"):
			l.HardState.Cluster = 0
		case d.is("replaces what a snapshot covers"):
			l.Snapshot = l.Base
		case d.is("begins no new lineage") && save.Lineage:
			return persistence.ErrBadSave
		}
		if err := l.Follow(&save.Save); err != nil {
			return err
		}
		if d.is("keeps what precedes a bad part") {
			s.apply(g, save.Save, false)
		}
	}
	return nil
}

func (s *toyStore) Load(id persistence.GroupID, l raftcore.Load) ([]raftcore.Entry, error) {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.usable(); err != nil && (s.closed || !d.is("loads when it is poisoned")) {
		return nil, err
	}
	g := s.byID[id]
	if g == nil || g.boot == 0 {
		return nil, persistence.ErrGroupClosed
	}
	base, last := g.base.Last.Index, g.last()
	if d.is("returns what there is for what there is not") && l.From <= base && l.To > base {
		l.From = base + 1
	}
	if d.is("returns nothing, and no error, beyond the end") && l.From > last {
		return nil, nil
	}
	if l.From <= base || l.From > l.To || l.From > last {
		return nil, errors.New("there are no such entries")
	}
	to := min(l.To, last)
	if d.is("returns an entry beyond To") {
		to = min(to+1, last)
	}
	var entries []raftcore.Entry
	size := 0
	for i := l.From; i <= to; i++ {
		if d.is("loads without a lock") && i%16 == 0 {
			// Others get as long as they need on a busy machine, if there are any.
			for before, n := g.hard.Term, 0; g.hard.Term == before && n < 2000; n++ {
				d.mu.Unlock()
				runtime.Gosched()
				d.mu.Lock()
			}
		}
		if i > g.last() {
			break
		}
		e := g.entries[i-g.base.Last.Index-1]
		size += len(e.Data)
		if size > l.MaxBytes && (len(entries) > 0 || d.is("returns nothing where one entry is too large")) && !d.is("knows no MaxBytes") {
			break
		}
		entries = append(entries, e)
	}
	if d.is("writes over what it has handed out") {
		return g.entries[l.From-base-1:][:len(entries)], nil
	}
	return entries, nil
}

func (s *toyStore) CloseGroup(id persistence.GroupID) error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	g := s.byID[id]
	if g == nil || g.boot == 0 {
		return persistence.ErrGroupClosed
	}
	if !s.disk.is("leaves a group open that is closed") {
		g.boot = 0
	}
	return nil
}

// remove executes a removal.
func (s *toyStore) remove(g *toyGroup, t *persistence.Tombstone) {
	g.removed = t
	if !s.disk.is("keeps what was removed") {
		g.contents = contents{}
	}
}

// revive executes a revival.
func (s *toyStore) revive(g *toyGroup, incarnation raftcore.Incarnation) {
	if !s.disk.is("keeps what was removed") && !s.disk.is("revives a group with what it had") {
		g.contents = contents{}
	}
	g.removed, g.incarnation, g.damaged = nil, incarnation, !s.disk.is("revives a group that may found it again")
}

func (s *toyStore) Remove(r persistence.Removal) error {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	g := s.group(r.Group)
	switch {
	case g == nil && d.is("removes what was never there"):
		return nil
	case g == nil:
		return persistence.ErrNoGroup
	case g.removed != nil && d.is("removes a group once"):
		return persistence.ErrNoGroup
	case g.removed != nil:
		return nil
	case g.boot != 0 && !d.is("removes a group that is open"):
		return persistence.ErrGroupOpen
	}
	kept := s.recovered(g)
	switch {
	case d.is("removes voters"):
		r.Member = raftcore.Nobody
	case d.is("looks at the configuration of the base alone"):
		kept.Configs = nil
	}
	if err := r.Check(&kept); err != nil {
		return err
	}
	t := &persistence.Tombstone{Group: r.Group, Time: r.Time, Incarnation: g.incarnation, HardState: g.hard}
	switch {
	case d.is("writes no vote on a tombstone"):
		t.HardState.Vote = raftcore.Nobody
	case d.is("writes no time on a tombstone"):
		t.Time = 0
	}
	if err := s.commit(toyRecord{name: r.Group, removed: t}); err != nil {
		return err
	}
	s.remove(g, t)
	return nil
}

func (s *toyStore) Revive(name string, former raftcore.Incarnation) error {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	g := s.group(name)
	switch {
	case g == nil || g.removed == nil && g.incarnation != former && !d.is("revives whoever is there"):
		return persistence.ErrNoGroup
	case g.removed != nil && g.removed.Incarnation != former && !d.is("revives whatever is asked for"):
		return &persistence.RemovedError{Tombstone: *g.removed}
	case g.boot != 0 && !d.is("revives a group that is open"):
		return persistence.ErrGroupOpen
	}
	incarnation := raftcore.Incarnation(d.random())
	if d.is("revives a group as who it was") {
		incarnation = g.incarnation
	}
	if err := s.commit(toyRecord{name: name, incarnation: incarnation, revived: true}); err != nil {
		return err
	}
	s.revive(g, incarnation)
	return nil
}

func (s *toyStore) Tombstones() ([]persistence.Tombstone, error) {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	var all []persistence.Tombstone
	for _, g := range s.groups {
		if g.removed != nil {
			all = append(all, *g.removed)
		}
	}
	if !d.is("lists tombstones in any order") {
		slices.SortFunc(all, func(a, b persistence.Tombstone) int { return strings.Compare(a.Group, b.Group) })
	}
	return all, nil
}

func (s *toyStore) Close() error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.closed {
		return persistence.ErrClosed
	}
	s.closed = true
	if s.life == s.disk.life {
		s.disk.locked = false
	}
	if s.failed != nil && !s.disk.is("is silent about the poison at the end") {
		return s.failed
	}
	return nil
}
