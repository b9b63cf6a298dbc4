package rafttest

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// stackDisk is the disk of a simulated host: a Store in memory, and files for the
// snapshots. It outlives the process.
type stackDisk struct {
	host  *stackHost
	saved persistence.Opener
	files *journaltest.Disk
	open  *stackStore // what the process has open
	full  bool
	fails int // what becomes of the next Save: one of the below

	broken bool // the next Open fails

	kept    map[life]*keptLife   // what it holds, or held
	current map[string]*keptLife // of the lives that are not over, by group
}

// life is a member from when it was made until it is removed.
type life struct {
	group       string
	incarnation raftcore.Incarnation
}

// keptLife is what the disk has kept of it.
type keptLife struct {
	life
	hard    raftcore.HardState
	longest raftcore.Index // how far its log went, at most
	confs   []raftcore.ConfigAt
	over    bool // it was removed
}

const (
	saves      = iota
	failsAfter // it fails, and is on the disk
	failsFirst // it fails, and is not
)

func newStackDisk(h *stackHost, seed uint64) *stackDisk {
	return &stackDisk{
		host: h, saved: persistence.Memory(), files: journaltest.New(seed),
		kept: map[life]*keptLife{}, current: map[string]*keptLife{},
	}
}

// Open is for persistence.Opener.
func (d *stackDisk) Open() (persistence.Store, error) {
	if d.broken {
		d.broken = false
		return nil, fmt.Errorf("opening the store: %w", syscall.EIO)
	}
	store, err := d.saved.Open()
	if err != nil {
		return nil, err
	}
	d.open = &stackStore{Store: store, disk: d, groups: map[persistence.GroupID]*keptLife{}}
	return d.open, nil
}

// opens notes which life of a group goes on.
func (d *stackDisk) opens(group string, o *persistence.Opened) *keptLife {
	l := life{group, o.Recovered.Incarnation}
	kept := d.kept[l]
	if kept == nil {
		kept = &keptLife{life: l, hard: o.Recovered.HardState, longest: o.Recovered.Last}
		kept.confs = append([]raftcore.ConfigAt{o.Recovered.BaseConf}, o.Recovered.Configs...)
		d.kept[l] = kept
	}
	if kept.over {
		d.host.stack.fail("%v has removed group %s, and goes on with what was removed", d.host, group)
	}
	d.current[group] = kept
	return kept
}

// keeps notes what is on the disk.
func (k *keptLife) keeps(save *raftcore.Save) {
	k.hard = save.HardState
	if b := save.Base; b != nil {
		k.longest = max(k.longest, b.Last.Index)
		if save.Reset {
			k.confs = []raftcore.ConfigAt{b.Conf}
		}
	}
	if n := len(save.Entries); n > 0 {
		k.longest = max(k.longest, save.Entries[n-1].Index)
		k.confs = slices.DeleteFunc(k.confs, func(c raftcore.ConfigAt) bool { return c.Index >= save.Entries[0].Index })
	}
	for i := range save.Entries {
		if e := &save.Entries[i]; e.Kind == raftcore.EntryConfig {
			k.confs = append(k.confs, raftcore.ConfigAt{Index: e.Index, Conf: *e.Config})
		}
	}
}

// confAt returns the configuration that its log has in force at an entry.
func (k *keptLife) confAt(index raftcore.Index) (conf raftcore.ConfState) {
	for _, c := range k.confs {
		if c.Index <= index {
			conf = c.Conf
		}
	}
	return conf
}

// killed lets go of what a process had open that was killed. What it had saved stays.
func (d *stackDisk) killed() {
	if d.open != nil {
		d.open.release()
		d.open = nil
	}
	d.files.Crash(false)
}

// stackStore is a Store that fails when it is told to.
type stackStore struct {
	persistence.Store
	disk     *stackDisk
	groups   map[persistence.GroupID]*keptLife
	poison   error
	released bool
}

func (s *stackStore) release() {
	if !s.released {
		s.released = true
		if err := s.Store.Close(); err != nil {
			s.disk.host.stack.fail("closing the store of %v: %v", s.disk.host, err)
		}
	}
}

func (s *stackStore) Open(group string) (persistence.Opened, error) {
	if s.poison != nil {
		return persistence.Opened{}, s.poison
	}
	opened, err := s.Store.Open(group)
	if err == nil {
		s.groups[opened.Group] = s.disk.opens(group, &opened)
	}
	return opened, err
}

func (s *stackStore) Save(saves []persistence.Save) error {
	d := s.disk
	if s.poison != nil {
		d.host.stack.fail("%v saves although an earlier Save has failed", d.host)
		return s.poison
	}
	fails := d.fails
	if d.full && fails != failsFirst {
		return persistence.ErrDiskFull
	}
	d.fails = 0
	var err error
	if fails != failsFirst {
		err = s.Store.Save(saves)
	}
	for i := range saves {
		kept := s.groups[saves[i].Group]
		if kept == nil || kept.over {
			d.host.stack.fail("%v saves for a group that is not open", d.host)
			return s.poison
		}
		d.host.saved(kept.group, &saves[i].Save, err)
		if fails != failsFirst && err == nil {
			kept.keeps(&saves[i].Save)
		}
	}
	if err != nil { // the contract is broken, not the disk
		d.host.stack.fail("%v orders a Save that no Store executes: %v", d.host, err)
	}
	if fails > 0 {
		d.host.stack.stats.FailedSaves++
		s.poison = fmt.Errorf("%w: %w", persistence.ErrPoisoned, syscall.EIO)
		err = s.poison
	}
	return err
}

func (s *stackStore) Load(group persistence.GroupID, load raftcore.Load) ([]raftcore.Entry, error) {
	if s.poison != nil {
		return nil, s.poison
	}
	return s.Store.Load(group, load)
}

func (s *stackStore) CloseGroup(group persistence.GroupID) error {
	if s.poison != nil {
		return s.poison
	}
	return s.Store.CloseGroup(group)
}

func (s *stackStore) Remove(r persistence.Removal) error {
	if s.poison != nil {
		return s.poison
	}
	if s.disk.full {
		return persistence.ErrDiskFull
	}
	err := s.Store.Remove(r)
	if kept := s.disk.current[r.Group]; err == nil && kept != nil {
		kept.over = true
	}
	return err
}

func (s *stackStore) Revive(group string, former raftcore.Incarnation) error {
	if s.poison != nil {
		return s.poison
	}
	return s.Store.Revive(group, former)
}

func (s *stackStore) Close() error {
	s.release()
	return s.poison
}
