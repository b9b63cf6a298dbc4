package raftcore

import (
	"errors"
	"fmt"
)

// A group that has lost a majority of its voters for good decides nothing any
// more, and nothing that it could decide by itself would be safe: those who are
// missing may be alive, and go on without it. So somebody outside has to say that
// they are lost. From what one member has kept a new lineage is begun: a group of
// its own, that has the old one's log and none of its members but one.
//
//	   … 4/118 4/119 4/120                  what the survivor has kept
//	   … 4/118 4/119 4/120 │ 5/121 config voters=[1]
//	          old lineage  │  new one: another ClusterID
//
// It is three things at once, in one Save:
//
//   - The cluster changes. Every message carries it, and a node refuses what comes
//     from another (Node.receive), so none of the old members is heard, and none hears,
//     whatever it remembers, learners included. It has to be one that no lineage had:
//     one that is made of names, as hosts make it of the founders, comes back when the
//     same member is the survivor twice, and with it the members of the first time.
//   - A configuration of a later term follows the log. Of the log everything stays,
//     what is not known to be committed, too: it may have been acknowledged, and
//     there is nobody left who could contradict it. The term is a new one because in the
//     old one another may have led, and have put something else at that index.
//   - The member votes for itself in that term, and counts (HardState.Joined): in the new
//     lineage it is the one disk that has held everything.
//
// The incarnation stays. It tells peers that a disk has forgotten something, and this
// one has not; and of those who knew it nobody is heard any more.
//
// There can be no other voters. Whoever comes to the new lineage comes with a fresh
// disk, as a newcomer, and newcomers do not vote: with a majority of them the group
// could not elect the leader who admits them. They come as learners.

// Lineage says what a new lineage begins with.
type Lineage struct {
	// Cluster is its name. It is drawn at random: no lineage may have had it before.
	Cluster ClusterID
	// Voter is the member that goes on, the only voter: the one whose disk it is.
	Voter NodeID
	// Learners are members that join anew, ascending. Their disks must be fresh.
	Learners []NodeID
	// Time is the wall clock, in Unix milliseconds.
	Time int64
}

// Begin returns the Save that begins the new lineage from what a disk has kept.
// Only its Token is missing. The error says what is wrong with l, or that the disk
// has nothing to go on with; whether it is wise to go on from this one is for
// others to say.
//
// It is for a member that is stopped. Everything that the others have and this disk
// has not is lost, acknowledged or not.
func (l Lineage) Begin(r *Recovered) (Save, error) {
	conf := ConfState{Voters: []NodeID{l.Voter}, Learners: l.Learners}
	conf = conf.clone()
	switch h := r.HardState; {
	case !conf.valid():
		return Save{}, fmt.Errorf("raftcore: a lineage of %v cannot be", &conf)
	case l.Cluster == 0 || l.Cluster == h.Cluster:
		return Save{}, fmt.Errorf("raftcore: a new lineage cannot have the cluster %x", uint64(l.Cluster))
	case h.Witness:
		return Save{}, fmt.Errorf("raftcore: %w", &WitnessError{Disk: true})
	case r.Last == 0:
		return Save{}, errors.New("raftcore: the log is empty: there is nothing to go on with")
	case h.Term >= maxTerm || r.Last >= maxIndex:
		return Save{}, fmt.Errorf("raftcore: no term comes after %d, or no entry after %d", h.Term, r.Last)
	}
	if err := r.validate(); err != nil {
		return Save{}, fmt.Errorf("raftcore: %w", err)
	}
	term := r.HardState.Term + 1
	return Save{
		HardState: HardState{Term: term, Vote: l.Voter, Cluster: l.Cluster, Joined: true},
		Lineage:   true,
		Entries: []Entry{{
			EntryID: EntryID{Term: term, Index: r.Last + 1},
			Time:    max(l.Time, r.LastTime),
			Kind:    EntryConfig,
			Config:  &conf,
		}},
	}, nil
}
