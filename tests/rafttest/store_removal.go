package rafttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// Groups that are removed, and what is left of them.

// isRemoved takes note that a group is not there any more. That it is may be due to a
// Remove that failed, or still to a Revive that did.
func (g *modelGroup) isRemoved(got *persistence.Tombstone) error {
	want := g.tombstone
	if want == nil {
		want = g.removing
	}
	if want == nil {
		return broken(cNoReason, "group %.30q was never removed, and Open says so: %+v", g.name, *got)
	}
	if *got != *want {
		return broken(cTombstone, "the tombstone of group %.30q is %+v, it should be %+v", g.name, *got, *want)
	}
	*g = modelGroup{name: g.name, incarnation: g.incarnation, tombstone: want}
	return nil
}

// isThere takes note that a group is there, under this incarnation.
func (g *modelGroup) isThere(incarnation raftcore.Incarnation) error {
	if g.tombstone != nil && !g.reviving {
		return broken(cRemoved, "group %.30q was opened, and it was removed", g.name)
	}
	g.removing = nil
	if g.tombstone != nil || g.reviving && incarnation != g.incarnation {
		g.revived()
	}
	g.reviving = false
	return nil
}

// revived has the group begin again.
func (g *modelGroup) revived() {
	*g = modelGroup{name: g.name, damaged: true}
}

// Remove removes a group, and takes note of it. What must be refused is expected to be.
func (m *StoreModel) Remove(s persistence.Store, r persistence.Removal) error {
	g := m.group(r.Group)
	if err := m.findOut(s, g); err != nil {
		return err
	}
	err := s.Remove(r)
	var refusal error
	switch {
	case g.tombstone != nil:
		if err != nil && !errors.Is(err, persistence.ErrPoisoned) && !full(err) {
			return broken("to remove a group again changes nothing, and is no error", "for group %.30q it ended with %v", g.name, err)
		}
		return err
	case g.open:
		refusal = persistence.ErrGroupOpen
	case r.Member != raftcore.Nobody && g.kept.newest().Votes(r.Member):
		refusal = persistence.ErrStillVoter
	}
	switch {
	case errors.Is(err, persistence.ErrPoisoned) && refusal != nil:
		return err
	case refusal != nil && !errors.Is(err, refusal):
		return broken(cRemove, "Remove of group %.30q ended with %v where it must refuse: %v", g.name, err, refusal)
	case refusal != nil:
		return nil
	case full(err):
		return err
	}
	t := &persistence.Tombstone{Group: g.name, Time: r.Time, Incarnation: g.incarnation, HardState: g.kept.hard}
	switch {
	case err == nil:
		*g = modelGroup{name: g.name, incarnation: g.incarnation, tombstone: t}
		return nil
	case errors.Is(err, persistence.ErrGroupOpen) || errors.Is(err, persistence.ErrStillVoter) || errors.Is(err, persistence.ErrNoGroup):
		return broken(cRemove, "Remove of group %.30q was refused: %v", g.name, err)
	}
	g.removing = t
	return fmt.Errorf("removing group %.30q: %w", g.name, err)
}

// findOut finds out what is there of a group, if nobody knows.
func (m *StoreModel) findOut(s persistence.Store, g *modelGroup) error {
	if len(g.flight) == 0 && g.removing == nil && !g.reviving && g.incarnation != 0 {
		return nil
	}
	if err := m.Open(s, g.name); err != nil || !g.open {
		return err
	}
	return m.Close(s, g.name)
}

// newest is the configuration in force.
func (c *contents) newest() *raftcore.ConfState {
	conf := c.conf(c.last())
	return &conf.Conf
}

// Revive revives a group that was removed, or is there.
func (m *StoreModel) Revive(s persistence.Store, name string) error {
	g := m.group(name)
	if g.tombstone != nil && g.reviving {
		return nil
	}
	if err := m.findOut(s, g); err != nil {
		return err
	}
	err := s.Revive(name, g.incarnation+1)
	removed := (*persistence.RemovedError)(nil)
	switch {
	case errors.Is(err, persistence.ErrPoisoned):
		return err
	case g.tombstone == nil && !errors.Is(err, persistence.ErrNoGroup),
		g.tombstone != nil && (!errors.As(err, &removed) || removed.Tombstone != *g.tombstone):
		return broken(cRevive, "with another incarnation than that of group %.30q, of which there is the tombstone %+v, it ended with %v", name, g.tombstone, err)
	}
	err = s.Revive(name, g.incarnation)
	switch {
	case g.open && errors.Is(err, persistence.ErrPoisoned):
		return err
	case g.open && !errors.Is(err, persistence.ErrGroupOpen):
		return broken(cRevive, "with group %.30q, which is open, it ended with %v", name, err)
	case g.open:
		return nil
	case err == nil:
		g.revived()
		return nil
	case full(err):
		return err
	}
	g.reviving = true
	return fmt.Errorf("reviving group %.30q: %w", name, err)
}

// ReviveAll revives all groups that were removed, and opens what is not open.
func (m *StoreModel) ReviveAll(s persistence.Store) error {
	for _, g := range m.groups {
		if g.tombstone != nil {
			if err := m.Revive(s, g.name); err != nil {
				return err
			}
		}
		if !g.open {
			if err := m.Open(s, g.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTombstones compares all of them.
func (m *StoreModel) checkTombstones(s persistence.Store) error {
	var want []persistence.Tombstone
	for _, g := range m.groups {
		if g.tombstone != nil {
			want = append(want, *g.tombstone)
		}
	}
	slices.SortFunc(want, func(a, b persistence.Tombstone) int { return strings.Compare(a.Group, b.Group) })
	got, err := s.Tombstones()
	if err != nil {
		return fmt.Errorf("reading the tombstones: %w", err)
	}
	if !slices.Equal(got, want) {
		return broken(cTombstone, "they are %s, and should be %s", short(got), short(want))
	}
	return nil
}

// reviveSomething has a group begin again.
func (m *StoreModel) reviveSomething(s persistence.Store, g *modelGroup) error {
	if err := m.mayClose(s, g); err != nil {
		return err
	}
	return m.Revive(s, g.name)
}

// mayClose closes a group, mostly.
func (m *StoreModel) mayClose(s persistence.Store, g *modelGroup) error {
	if g.open && m.Rand.IntN(8) > 0 {
		return m.Close(s, g.name)
	}
	return nil
}

// removeSomething draws a group, and whose disk it is.
func (m *StoreModel) removeSomething(s persistence.Store, g *modelGroup) error {
	if err := m.mayClose(s, g); err != nil {
		return err
	}
	return m.Remove(s, persistence.Removal{Group: g.name, Member: raftcore.NodeID(m.Rand.IntN(4)), Time: m.Rand.Int64N(1 << 42)})
}

// The tests of the contract.

// configAt is the entry of a configuration.
func configAt(id raftcore.EntryID, conf raftcore.ConfState) raftcore.Entry {
	return raftcore.Entry{EntryID: id, Time: int64(id.Index), Kind: raftcore.EntryConfig, Config: &conf}
}

func removes(r *storeRun) {
	p := r.fresh("b", "a", "stays")
	vote := p.term("a", 4, commands(4, 1, 9)...)
	vote.HardState.Vote = 3
	p.save(vote, p.term("b", 2, commands(2, 1, 30)...), p.term("stays", 1, commands(1, 1, 3)...))
	must(p.checkTombstones(p.s))
	was := p.opened("a")
	for i, name := range []string{"b", "a"} {
		must(p.Close(p.s, name))
		must(p.Remove(p.s, persistence.Removal{Group: name, Time: 1_700_000_000_000 + int64(i)}))
		must(p.Remove(p.s, persistence.Removal{Group: name, Time: 5}))
	}
	late := p.term("a", 4)
	late.Group, late.Token.Boot = was.Group, was.Boot
	must(p.Save(p.s, []persistence.Save{late}))
	_, err := p.s.Load(was.Group, raftcore.Load{From: 1, To: 1, MaxBytes: 1})
	demand(errors.Is(err, persistence.ErrGroupClosed), cGroupClosed, "Load of a group that was removed ended with %v", err)
	must(p.CheckAll(p.s))
	p.restart()
	p.enter("c") // a number that is free now, or is not: it is another group
	p.save(p.term("c", 1, commands(1, 1, 9)...), p.term("stays", 2, commands(2, 4, 9)...))
	must(p.Remove(p.s, persistence.Removal{Group: "a", Time: 7}))
	p.restart()
}

func refusesRemovals(r *storeRun) {
	voters := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Outgoing: []raftcore.NodeID{2, 3}, Learners: []raftcore.NodeID{4}}
	p := r.fresh("a", "old", "left")
	p.save(p.term("a", 1, configAt(raftcore.EntryID{Term: 1, Index: 1}, voters)))
	later := p.term("old", 1, configAt(raftcore.EntryID{Term: 1, Index: 1}, voters), configAt(raftcore.EntryID{Term: 1, Index: 2}, voters))
	p.save(later)
	p.save(p.compacted(p.term("old", 1), 2, 2)) // it is the base's alone
	p.save(p.term("left", 1, configAt(raftcore.EntryID{Term: 1, Index: 1}, voters), configAt(raftcore.EntryID{Term: 1, Index: 2}, raftcore.ConfState{Voters: []raftcore.NodeID{7}})))
	err := p.s.Remove(persistence.Removal{Group: "never there"})
	demand(errors.Is(err, persistence.ErrNoGroup), cRemove, "Remove of a group that was never there ended with %v", err)
	must(p.Remove(p.s, persistence.Removal{Group: "a"})) // is open
	for _, name := range []string{"a", "old", "left"} {
		must(p.Close(p.s, name))
	}
	for member := range raftcore.NodeID(4) {
		must(p.Remove(p.s, persistence.Removal{Group: "a", Member: 3 - member})) // at last, whoever it is
		p.enter("a")
		if member < 3 {
			must(p.Close(p.s, "a"))
		}
	}
	must(p.Remove(p.s, persistence.Removal{Group: "old", Member: 2}))
	must(p.Remove(p.s, persistence.Removal{Group: "old", Member: 4})) // who only learns
	must(p.Remove(p.s, persistence.Removal{Group: "left", Member: 7}))
	must(p.Remove(p.s, persistence.Removal{Group: "left", Member: 1}))
	p.restart()
}

func revives(r *storeRun) {
	p := r.fresh("a", "b")
	p.save(p.term("a", 4, commands(4, 1, 90)...), p.term("b", 1, commands(1, 1, 3)...))
	err := p.s.Revive("never there", p.group("b").incarnation)
	demand(errors.Is(err, persistence.ErrNoGroup), cRevive, "Revive of a group that was never there ended with %v", err)
	must(p.Revive(p.s, "b")) // is open
	must(p.CheckAll(p.s))
	for round := range raftcore.Term(3) {
		must(p.Close(p.s, "a"))
		if round < 2 {
			must(p.Remove(p.s, persistence.Removal{Group: "a", Time: int64(round)}))
		}
		if round == 1 {
			p.restart()
		}
		must(p.Revive(p.s, "a"))
		p.enter("a")
		must(p.CheckAll(p.s))
		p.restart()
		newcomer := p.term("a", 1, commands(1, 1, 5)...)
		newcomer.HardState.Joined = false
		p.save(newcomer)
		p.restart()
		p.save(p.term("a", 2+round, commands(2, 4, 40)...))
		p.restart()
	}
}

// removesWholly crashes in every change to the disk that a removal makes, and a revival.
func removesWholly(r *storeRun) {
	for _, call := range []func(p *place) error{
		func(p *place) error { return p.Remove(p.s, persistence.Removal{Group: "z", Time: 77}) },
		func(p *place) error { return p.Revive(p.s, "y") },
		func(p *place) error { return p.Revive(p.s, "z") },
	} {
		for n, done := 1, false; !done; n++ {
			for seed := range uint64(3) {
				p := r.prepared(r.seed + seed + 3*uint64(n))
				p.CrashAt(n)
				err := call(p)
				must(acceptable(err))
				p.crash()
				p.start()
				p.goOn()
				p.stop()
				done = err == nil
			}
		}
	}
}
