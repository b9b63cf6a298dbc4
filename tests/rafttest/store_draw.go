package rafttest

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// Step does one random thing to a Store, and compares. An error is either the
// Store's own or says what the contract does not allow.
func (m *StoreModel) Step(s persistence.Store) error {
	name := string(rune('a' + m.Rand.IntN(4)))
	g := m.group(name)
	switch n := m.Rand.IntN(120); {
	case g.tombstone != nil && n < 30:
		return m.Revive(s, name)
	case g.incarnation != 0 && n >= 118:
		return m.removeSomething(s, g)
	case g.incarnation != 0 && n == 117:
		return m.reviveSomething(s, g)
	case !g.open || n < 2:
		return m.Open(s, name)
	case n < 6:
		return m.Close(s, name)
	case n < 20:
		return m.loadSomething(s, g)
	case n < 24:
		return m.Save(s, m.drawLate())
	case n < 30:
		return m.Save(s, m.spoil(m.draw()))
	}
	return m.Save(s, m.draw())
}

func (m *StoreModel) loadSomething(s persistence.Store, g *modelGroup) error {
	base, n := g.kept.base.Last.Index, len(g.kept.entries)
	from := base + raftcore.Index(m.Rand.IntN(n+3))
	to := from + raftcore.Index(m.Rand.IntN(n+2))
	if m.Rand.IntN(20) == 0 {
		from, to = to, from
	}
	maxBytes := []int{0, 100, 5000, 1 << 20, math.MaxInt, -1}[m.Rand.IntN(6)]
	_, err := m.load(s, g, raftcore.Load{From: from, To: to, MaxBytes: maxBytes})
	return err
}

// draw makes a random Save of some of the open groups, and sometimes of none.
func (m *StoreModel) draw() []persistence.Save {
	var saves []persistence.Save
	for _, g := range m.groups {
		if !g.open || m.Rand.IntN(2) == 0 {
			continue
		}
		ahead := g.kept // as it will be after the parts so far
		for more := true; more; more = m.Rand.IntN(6) == 0 {
			part := m.part(g.name, &ahead)
			ahead.apply(part)
			part.Token = raftcore.Token{Boot: g.opened.Boot, Sequence: 1}
			saves = append(saves, persistence.Save{Group: g.opened.Group, Save: part})
		}
	}
	return saves
}

// drawLate makes a Save of which a part is meant for an opening that is over.
func (m *StoreModel) drawLate() []persistence.Save {
	saves := m.draw()
	if len(m.late) > 0 {
		o := m.late[m.Rand.IntN(len(m.late))]
		late := persistence.Save{Group: o.Group, Save: raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: 9}, HardState: raftcore.HardState{Term: 1 << 40}}}
		saves = slices.Insert(saves, m.Rand.IntN(len(saves)+1), late)
	}
	return saves
}

// part makes a random part of a Save of a group that is as c says.
func (m *StoreModel) part(name string, c *contents) raftcore.Save {
	if c.last() > 0 && m.Rand.IntN(30) == 0 {
		return m.lineage(c)
	}
	s := raftcore.Save{HardState: c.hard}
	h := &s.HardState
	if h.Term == 0 || m.Rand.IntN(6) == 0 {
		h.Term++
		h.Vote = raftcore.NodeID(m.Rand.IntN(4))
		h.Cluster = max(h.Cluster, 99)
		h.Joined = h.Joined || m.Rand.IntN(4) == 0
		h.Witness = h.Witness || m.Rand.IntN(8) == 0
	}
	after := *c
	if m.Rand.IntN(12) == 0 {
		m.compact(name, c, &s)
		after.apply(s)
	}
	first := after.last() + 1
	if m.Rand.IntN(4) == 0 { // cut off some
		free := after.last() - max(after.base.Last.Index, after.snapshot.Last.Index)
		first -= raftcore.Index(m.Rand.IntN(min(30, int(free)) + 1))
	}
	term := after.id(first - 1).Term
	if m.Rand.IntN(3) == 0 {
		term = h.Term
	}
	term = max(term, 1)
	for i := range m.Rand.IntN(1 + m.Rand.IntN(40)) {
		if m.Rand.IntN(20) == 0 {
			term = h.Term
		}
		s.Entries = append(s.Entries, m.entry(name, raftcore.EntryID{Term: term, Index: first + raftcore.Index(i)}))
	}
	return s
}

// lineage makes a part that begins a new lineage.
func (m *StoreModel) lineage(c *contents) raftcore.Save {
	return begins(c, c.hard.Cluster+1, raftcore.NodeID(1+m.Rand.IntN(4)))
}

// begins returns what begins a new lineage of a group that is as c says, as
// raftcore.Lineage does: but that asks for a log that some node could have.
func begins(c *contents, cluster raftcore.ClusterID, voter raftcore.NodeID) raftcore.Save {
	at, time := raftcore.EntryID{Term: c.hard.Term + 1, Index: c.last() + 1}, c.base.Time
	if n := len(c.entries); n > 0 {
		time = c.entries[n-1].Time
	}
	return raftcore.Save{
		HardState: raftcore.HardState{Term: at.Term, Vote: voter, Cluster: cluster, Joined: true, Witness: c.hard.Witness},
		Lineage:   true,
		Entries: []raftcore.Entry{{
			EntryID: at, Time: time, Kind: raftcore.EntryConfig,
			Config: &raftcore.ConfState{Voters: []raftcore.NodeID{voter}, Learners: []raftcore.NodeID{voter + 1}},
		}},
	}
}

// compact adds to a part that there is a snapshot: one of the group's own state,
// for which a prefix of the log goes, or none of it; or one that takes the place
// of all of it.
func (m *StoreModel) compact(name string, c *contents, s *raftcore.Save) {
	base, n := c.base.Last.Index, len(c.entries)
	if n == 0 || m.Rand.IntN(3) == 0 {
		at := raftcore.EntryID{Term: s.HardState.Term, Index: max(c.snapshot.Last.Index, base) + 1 + raftcore.Index(m.Rand.IntN(n+20))}
		s.Snapshot = &raftcore.SnapshotMeta{Last: at, Time: m.time(at), Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Outgoing: []raftcore.NodeID{3}}}}
		s.Base, s.Reset = s.Snapshot, true
		return
	}
	at := c.snapshot.Last
	if at.Index == 0 || m.Rand.IntN(4) > 0 {
		at = c.id(max(at.Index, base+1+raftcore.Index(m.Rand.IntN(n))))
		s.Snapshot = &raftcore.SnapshotMeta{Last: at, Time: c.timeOf(at.Index), Conf: c.conf(at.Index)}
	}
	if first := at.Index - raftcore.Index(m.Rand.IntN(int(at.Index-base)+1)); first > base {
		s.Base = &raftcore.SnapshotMeta{Last: c.id(first), Time: c.timeOf(at.Index), Conf: c.conf(first)}
	}
}

// timeOf returns the time of an entry, or of the snapshot before all of them.
func (c *contents) timeOf(at raftcore.Index) int64 {
	if at <= c.base.Last.Index {
		return c.base.Time
	}
	return c.entries[at-c.base.Last.Index-1].Time
}

// conf returns the configuration in force at an index.
func (c *contents) conf(at raftcore.Index) raftcore.ConfigAt {
	conf := c.base.Conf
	for i := range c.entries {
		if e := &c.entries[i]; e.Index <= at && e.Config != nil {
			conf = raftcore.ConfigAt{Index: e.Index, Conf: *e.Config}
		}
	}
	return conf
}

// time is that of an entry. It never decreases along a log.
func (m *StoreModel) time(id raftcore.EntryID) int64 {
	return int64(id.Index)*16 + int64(id.Term%16)
}

// entry makes the entry that has this place in this group.
func (m *StoreModel) entry(name string, id raftcore.EntryID) raftcore.Entry {
	h := fnv.New64a()
	fmt.Fprint(h, m.seed, name, id)
	rng := rand.New(rand.NewPCG(h.Sum64(), 3))
	e := raftcore.Entry{EntryID: id, Time: m.time(id), Kind: raftcore.EntryCommand}
	switch rng.IntN(20) {
	case 0:
		e.Kind = raftcore.EntryNoop
	case 1:
		e.Kind = raftcore.EntryConfig
		e.Config = &raftcore.ConfState{Voters: []raftcore.NodeID{1, raftcore.NodeID(2 + rng.IntN(9))}}
		if rng.IntN(2) == 0 {
			e.Config.Learners = []raftcore.NodeID{math.MaxUint64}
		}
		if rng.IntN(3) == 0 {
			e.Config.Outgoing = []raftcore.NodeID{1, 7}
		}
		if rng.IntN(3) == 0 {
			e.Config.Witnesses = []raftcore.NodeID{1}
		}
	case 2:
		e.Data = []byte{}
	case 3:
		e.Kind, e.Data = raftcore.EntryHost, []byte(name)
	default:
		size := 300
		if rng.IntN(300) == 0 {
			size = 600 << 10
		}
		e.Data = fmt.Appendf(make([]byte, 0, size), "%s %v ", name, id)
		for range rng.IntN(50) {
			e.Data = append(e.Data, byte(rng.Uint32()))
		}
		e.Data = e.Data[:max(len(e.Data), rng.IntN(size))]
	}
	return e
}

// spoil makes a bad Save of a good one, if it hits.
func (m *StoreModel) spoil(saves []persistence.Save) []persistence.Save {
	if len(saves) == 0 {
		return saves
	}
	spoilt := slices.Clone(saves)
	s := &spoilt[m.Rand.IntN(len(spoilt))].Save
	s.Entries = slices.Clone(s.Entries)
	n := len(s.Entries)
	switch kind := m.Rand.IntN(8); {
	case kind == 0:
		s.HardState.Term--
	case kind == 1:
		s.HardState.Vote++
	case kind == 2:
		s.HardState.Cluster++
	case kind == 3 && n > 1:
		s.Entries = slices.Delete(s.Entries, n/2, n/2+1)
	case kind == 4 && n > 0:
		s.Entries = s.Entries[1:]
	case kind == 5 && n > 0:
		s.Entries[n-1].Term = s.HardState.Term + 1
	case kind == 6 && n > 0:
		s.Entries[n/2].Kind = 0
	case kind == 7:
		s.Reset, s.Base = true, nil
	}
	if bad, _ := m.verdict(spoilt); bad == nil {
		return saves
	}
	return spoilt
}
