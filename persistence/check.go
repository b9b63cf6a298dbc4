package persistence

import (
	"fmt"

	"github.com/castaway-go/castaway/raftcore"
)

// Log is what a Store must know of a group to tell a Save that it may execute
// from one that it must refuse. What is refused here is what no node orders: it
// is the last chance to notice before it is on the disk.
type Log struct {
	HardState raftcore.HardState
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
	case l.HardState.Cluster != 0 && h.Cluster != l.HardState.Cluster:
		return bad("the cluster would change from %x to %x", uint64(l.HardState.Cluster), uint64(h.Cluster))
	case l.HardState.Joined && !h.Joined:
		return bad("a member that has joined would be a newcomer again")
	}
	if len(s.Entries) == 0 {
		l.HardState = h
		return nil
	}
	first := s.Entries[0].Index
	if first <= l.Base || first > l.Last.Index+1 {
		return bad("its entries begin at %d, the log goes from %d to %d", first, l.Base+1, l.Last.Index)
	}
	var before raftcore.Term
	if first == l.Last.Index+1 {
		before = l.Last.Term
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		switch {
		case e.Index != first+raftcore.Index(i):
			return bad("entry %d stands where %d should", e.Index, first+raftcore.Index(i))
		case e.Term < before || e.Term > h.Term:
			return bad("entry %d has term %d, the one before it %d, the hard state %d", e.Index, e.Term, before, h.Term)
		case e.Kind < raftcore.EntryNoop || e.Kind > raftcore.EntryConfig:
			return bad("entry %d is of no known kind: %d", e.Index, e.Kind)
		case (e.Kind == raftcore.EntryConfig) != (e.Config != nil):
			return bad("entry %d is of kind %d and its configuration is %v", e.Index, e.Kind, e.Config)
		}
		before = e.Term
	}
	l.HardState, l.Last = h, s.Entries[len(s.Entries)-1].EntryID
	return nil
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadSave, fmt.Sprintf(format, args...))
}
