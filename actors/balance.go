package actors

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// Balance hands over leaderships of which this host has too many: one after the other, as
// long as it leads at least two groups more than another host that votes in one of them,
// to the host that leads the fewest. It goes to nobody who lacks an entry, or has not been
// heard of while others were. Balance returns how many it has handed over.
//
// Call it on every host once in a while, each minute, say. Who leads one group more than
// others keeps it, so that nothing goes back and forth; and what has gone wrong with one
// host is not tried with it again before the next call. Who leads what is known from this
// host's own members; groups in which it has none do not count. So it is for hosts of one
// Raft.Priority: a host that is to lead more than others is not known to be.
func (h *Host) Balance(ctx context.Context) (handed int, err error) {
	failed := map[raftcore.NodeID]bool{}
	moved := map[*Group]raftcore.NodeID{}
	for ctx.Err() == nil {
		g, to, err := h.surplus(ctx, failed, moved)
		if g == nil || err != nil {
			return handed, err
		}
		switch err := g.Transfer(ctx, to); {
		case err == nil:
			handed++
			moved[g] = to
		case errors.Is(err, ErrStopped):
			return handed, err
		default:
			failed[to] = true
		}
	}
	return handed, ctx.Err()
}

// surplus returns a group that this host leads, and who is to lead it instead; or nil.
// Of those that were moved it may not have the news yet.
func (h *Host) surplus(ctx context.Context, failed map[raftcore.NodeID]bool, moved map[*Group]raftcore.NodeID) (*Group, raftcore.NodeID, error) {
	leads := map[raftcore.NodeID]int{}
	var own []*Group
	h.mu.RLock()
	groups := slices.Collect(maps.Values(h.groups)) // in no order: each time others come first
	h.mu.RUnlock()
	for _, g := range groups {
		s, _ := g.board.latest()
		if s.State != Running {
			continue
		}
		if to := moved[g]; to != raftcore.Nobody && s.Leader == h.cfg.ID {
			leads[to]++
			continue
		}
		leads[s.Leader]++
		if s.Leader == h.cfg.ID {
			own = append(own, g)
			for _, id := range s.Conf.Voters {
				leads[id] += 0 // whoever leads none
			}
		}
	}
	others := slices.SortedFunc(maps.Keys(leads), func(a, b raftcore.NodeID) int {
		return cmp.Or(cmp.Compare(leads[a], leads[b]), cmp.Compare(a, b))
	})
	for _, to := range others {
		if leads[to] > leads[h.cfg.ID]-2 {
			return nil, raftcore.Nobody, nil
		}
		if to == raftcore.Nobody || failed[to] {
			continue
		}
		for _, g := range own {
			s, err := g.Status(ctx)
			if err != nil {
				return nil, raftcore.Nobody, err
			}
			if s.couldLead(to, h.cfg.Raft) {
				return g, to, nil
			}
		}
	}
	return nil, raftcore.Nobody, nil
}

// couldLead reports whether the leader whose status this is could hand over to a voter at
// once. Who sleeps has heard of nobody for long, of all of them alike.
func (s *Status) couldLead(id raftcore.NodeID, cfg raftcore.Config) bool {
	if s.Role != raftcore.Leader || !s.Readable || s.Conf.Joint() || !s.Conf.Votes(id) {
		return false
	}
	var peer raftcore.PeerStatus
	var newest raftcore.Instant
	for _, p := range s.Peers {
		if newest = max(newest, p.Heard); p.ID == id {
			peer = p
		}
	}
	return peer.ID == id && peer.Match == s.Last && peer.Heard.Add(cfg.ElectionTimeout) >= newest
}
