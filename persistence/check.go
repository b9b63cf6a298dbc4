package persistence

import (
	"fmt"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// Log is what a Store must know of a group to tell a Save that it may execute
// from one that it must refuse. What is refused here is what no node orders: it
// is the last chance to notice before it is on the disk.
type Log struct {
	HardState raftcore.HardState
	Snapshot  raftcore.Index   // the last entry that the newest snapshot covers
	Base      raftcore.Index   // the entry before the first one
	Last      raftcore.EntryID // the last entry, or the base
}

// Follow checks that a Save may follow, and moves on to what is there after it.
// The error is ErrBadSave; nothing has moved then.
func (l *Log) Follow(s *raftcore.Save) error {
	h := s.HardState
	switch {
	case h.Term < l.HardState.Term:
		return bad("the term would fall from %d to %d", l.HardState.Term, h.Term)
	case h.Term == l.HardState.Term && l.HardState.Vote != raftcore.Nobody && h.Vote != l.HardState.Vote:
		return bad("the vote of term %d would change from %d to %d", h.Term, l.HardState.Vote, h.Vote)
	case l.HardState.Witness && !h.Witness:
		return bad("a witness's disk would be another's")
	case s.Lineage:
		if err := l.begins(s); err != nil {
			return err
		}
	case l.HardState.Cluster != 0 && h.Cluster != l.HardState.Cluster:
		return bad("the cluster would change from %x to %x", uint64(l.HardState.Cluster), uint64(h.Cluster))
	case l.HardState.Joined && !h.Joined:
		return bad("a member that has joined would be a newcomer again")

	}
	snapshot, base, last := l.Snapshot, l.Base, l.Last
	if s.Snapshot != nil {
		if snapshot = s.Snapshot.Last.Index; snapshot < l.Snapshot || s.Snapshot.Last.Term > h.Term {
			return bad("the snapshot is of %v, the one before of %d, and the term is %d", s.Snapshot.Last, l.Snapshot, h.Term)
		}
	}
	switch b := s.Base; {
	case s.Reset && b == nil:
		return bad("a snapshot would take the log's place, and it is not said which")
	case b != nil && b.Last.Index > snapshot:
		return bad("the log would begin after %v, the snapshot is of %d", b.Last, snapshot)
	case s.Reset && b.Last.Index <= base:
		return bad("a snapshot of %v would take the place of a log that begins after %d", b.Last, base)
	case s.Reset:
		base, last = b.Last.Index, b.Last
	case b != nil: // not beyond the snapshot, and that not beyond the log
		base = max(base, b.Last.Index)
	}
	if snapshot > last.Index {
		return bad("the snapshot is of %d, and the log ends at %v", snapshot, last)
	}
	if len(s.Entries) == 0 {
		l.HardState, l.Snapshot, l.Base, l.Last = h, snapshot, base, last
		return nil
	}
	first := s.Entries[0].Index
	if first <= snapshot || first > last.Index+1 {
		return bad("its entries begin at %d, the log goes from %d to %d, and up to %d there is a snapshot", first, base+1, last.Index, snapshot)
	}
	var before raftcore.Term
	if first == last.Index+1 {
		before = last.Term
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		switch {
		case e.Index != first+raftcore.Index(i):
			return bad("entry %d stands where %d should", e.Index, first+raftcore.Index(i))
		case e.Term < before || e.Term > h.Term:
			return bad("entry %d has term %d, the one before it %d, the hard state %d", e.Index, e.Term, before, h.Term)
		case !e.Kind.Valid():
			return bad("entry %d is of no known kind: %d", e.Index, e.Kind)
		case (e.Kind == raftcore.EntryConfig) != (e.Config != nil):
			return bad("entry %d is of kind %d and its configuration is %v", e.Index, e.Kind, e.Config)
		}
		before = e.Term
	}
	l.HardState, l.Snapshot, l.Base, l.Last = h, snapshot, base, s.Entries[len(s.Entries)-1].EntryID
	return nil
}

// begins checks what is special about a Save that begins a new lineage: it is what
// raftcore.Lineage makes, and nothing else. The term and the vote have been checked.
func (l *Log) begins(s *raftcore.Save) error {
	h := s.HardState
	switch {
	case h.Cluster == 0 || h.Cluster == l.HardState.Cluster:
		return bad("a new lineage would have the cluster %x, and the old one has %x", uint64(h.Cluster), uint64(l.HardState.Cluster))
	case h.Term == l.HardState.Term || !h.Joined:
		return bad("a new lineage would begin in term %d, and the old one got to %d, or by a newcomer", h.Term, l.HardState.Term)
	case s.Snapshot != nil || s.Base != nil || s.Reset:
		return bad("a new lineage would begin with a snapshot")
	case len(s.Entries) != 1 || s.Entries[0].EntryID != raftcore.EntryID{Term: h.Term, Index: l.Last.Index + 1} || s.Entries[0].Config == nil:
		return bad("a new lineage would not begin with a configuration of term %d behind %v", h.Term, l.Last)
	case !slices.Equal(s.Entries[0].Config.Voters, []raftcore.NodeID{h.Vote}) || s.Entries[0].Config.Joint():
		return bad("the voters of a new lineage would be %v, and the vote is for %d", s.Entries[0].Config.Voters, h.Vote)
	}
	return nil
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadSave, fmt.Sprintf(format, args...))
}
