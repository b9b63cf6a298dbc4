package raftcore

import "slices"

// A witness is a voter without data. It votes, and acknowledges entries, by the same rules
// as everybody, so that two machines with data and a small third one survive the loss of
// any of them. Of a command it is sent the place alone (EntryMeta): that is all that votes,
// matching and commits ask for. It has no state machine, answers no reads, and never leads,
// because it could serve nobody.
//
// What is acknowledged must be to be had from somebody. So witnesses are always fewer than
// a majority of the voters (ConfState.valid): whatever quorum commits an entry, one of it
// has the data on its disk; and whoever is elected has, as everywhere, a log that is as good
// as that of a quorum, and is one with data.
//
// That is safe, and not enough: a witness refuses its vote to who has not got what it has
// heard of, rightly so, and cannot lead in its place. If that were lost the group would stand
// still for ever; if only one voter with data had it, until that one is back. So there are
// two rules about what a leader sends a witness (lastFor):
//
//   - Only what a voter with data has on its disk, in each set of voters, the leader's own
//     disk included. That holds up no commit: each quorum needs such a one. Without it a
//     leader might crash before its own disk has what the witness has; or leave the group,
//     with entries that nobody who stays has got.
//   - As long as all is well, only what all voters with data have on their disks: then any
//     of them can take over. If one of them does not keep up, for a heartbeat's time, the
//     witness is needed, and is sent the rest as well, until that one has caught up again.
//     Meanwhile the newest entries have one copy fewer.
//
//	1 leads, 2 has data, 3 is a witness
//	all is well    1 → 2 entries · 2 → 1 acknowledged: committed · 1 → 3 the same entries, bare
//	2 is away      1 → 1 saved · 1 → 3 entries, bare · 3 → 1 acknowledged: committed
//
// A witness's log has holes where others have commands. It is told by a mark on its disk
// (HardState.Witness), which is refused as any other member's; by the kind of its entries,
// which others refuse; and it cannot become another kind of member in place.
// It forgets what is committed by itself: the snapshot in its place is the metadata alone,
// and so is one that a leader sends to it (SnapshotRequest.Bare).

// witnessEntries is how many committed entries a witness keeps at most, unless
// Config.SnapshotEntries says another number.
const witnessEntries = 4096

// WitnessError: a node was to be started from a disk that is not for it. A witness's log has
// no data, so nobody else can go on with it; and who becomes a witness begins anew.
type WitnessError struct {
	Disk bool // the disk is a witness's, and the node was to be none; else the other way round
}

func (e *WitnessError) Error() string {
	if e.Disk {
		return "this is the disk of a witness: its log has no data, so it is of no use for anything else"
	}
	return "this is the disk of a member with data, not of a witness: remove the member, and add the witness with a fresh disk"
}

// suits returns why this node cannot start from a disk, if that is of another kind.
func (c *Config) suits(r *Recovered) error {
	if (r.HardState != HardState{} || r.Last > 0) && r.HardState.Witness != c.Witness {
		return &WitnessError{Disk: r.HardState.Witness}
	}
	return nil
}

// witness reports whether this node keeps no data, or is not to be counted on for it.
func (n *Node) witness() bool { return n.cfg.Witness || n.members.current().Witness(n.cfg.ID) }

// suits reports whether entries are for one like this: without data for a witness, and
// with it for all others.
func (n *Node) suits(entries []Entry) bool {
	for i := range entries {
		switch e := &entries[i]; e.Kind {
		case EntryCommand, EntryHost:
			if n.cfg.Witness {
				return false
			}
		case EntryMeta:
			if !n.cfg.Witness || len(e.Data) > 0 {
				return false
			}
		}
	}
	return true
}

// withoutData returns what a witness is sent of some entries.
func withoutData(entries []Entry) []Entry {
	bare := slices.Clone(entries)
	for i := range bare {
		if e := &bare[i]; e.Kind == EntryCommand || e.Kind == EntryHost {
			e.Kind, e.Data = EntryMeta, nil
		}
	}
	return bare
}

// size is what an entry counts for on its way to a peer.
func (p *progress) size(e *Entry) int {
	if p.witness {
		return entryOverhead
	}
	return e.Size()
}

// mayLead reports whether a peer could lead: it votes, counts, and has data.
func (n *Node) mayLead(p *progress) bool {
	return n.members.current().Votes(p.id) && !p.witness && !p.newcomer
}

// lastFor returns the last entry that a peer is to be sent.
func (n *Node) lastFor(p *progress) Index {
	if !p.witness {
		return n.log.last
	}
	conf := n.members.current()
	last := min(n.bestWithData(conf.Voters), n.bestWithData(conf.Outgoing))
	if !n.leader.witnessed {
		last = min(last, n.leastWithData())
	}
	return last
}

// bestWithData returns the last entry that some voter with data has on its disk.
func (n *Node) bestWithData(voters []NodeID) Index {
	if len(voters) == 0 {
		return n.log.last
	}
	best := Index(0)
	for _, id := range voters {
		if id == n.cfg.ID {
			best = max(best, n.log.saved)
		} else if p := n.peer(id); p != nil && !p.witness && !p.newcomer {
			best = max(best, p.match)
		}
	}
	return best
}

// leastWithData returns the last entry that all other voters with data have on their disks.
func (n *Node) leastWithData() Index {
	least := n.log.last
	for i := range n.leader.peers {
		switch p := &n.leader.peers[i]; {
		case p.witness || !n.members.current().Votes(p.id):
		case p.newcomer:
			return 0
		default:
			least = min(least, p.match)
		}
	}
	return least
}

// needWitnesses notes, with every heartbeat, whether witnesses are needed: some voter with
// data lacks what was there at the heartbeat before.
func (n *Node) needWitnesses() {
	n.leader.witnessed = n.leastWithData() < n.leader.lastBefore
	n.leader.lastBefore = n.log.last
}

// witnessCommitted is what a witness does instead of applying: it forgets what is committed,
// now and then.
func (n *Node) witnessCommitted() {
	upTo := min(n.log.commit, n.log.saved)
	if !n.cfg.Witness || upTo <= n.applying.sent {
		return
	}
	n.applying.sent, n.applying.done = upTo, upTo
	most := Index(witnessEntries)
	if n.cfg.SnapshotEntries > 0 {
		most = Index(n.cfg.SnapshotEntries)
	}
	last := n.log.slice(upTo, upTo, 0)
	if upTo-n.log.base.Index < most || last == nil {
		return // or it has left the window, and the next one will do
	}
	meta := SnapshotMeta{Last: last[0].EntryID, Time: last[0].Time, Conf: n.members.asOf(upTo)}
	if !meta.valid() {
		return // of a log without members: nobody founds such a group, so it is forged
	}
	n.snapshots = snapshots{newest: meta, unsaved: true, at: n.now}
	n.compact(upTo)
}

// turns reports whether somebody who is in both configurations would become a witness, or
// stop being one.
func (c ConfState) turns(d *ConfState) bool {
	return slices.ContainsFunc(c.Members(), func(id NodeID) bool { return d.Contains(id) && c.Witness(id) != d.Witness(id) })
}

// witnessesWith returns who of next's members is a witness, in c or in what it leads to.
func (c ConfState) witnessesWith(target, next *ConfState) (ids []NodeID) {
	for _, id := range next.Members() {
		if c.Witness(id) || target.Witness(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
