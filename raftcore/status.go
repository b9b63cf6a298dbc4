package raftcore

import "fmt"

// Status is what a node can say of itself at one moment.
type Status struct {
	ID          NodeID
	Cluster     ClusterID
	Incarnation Incarnation
	Role        Role
	Term        Term
	Vote        NodeID  // whom it voted for in Term; Nobody if it did not
	Joined      bool    // it votes; a newcomer does not yet
	Witness     bool    // it keeps no data
	Leader      NodeID  // Nobody if unknown
	Commit      Index   // known to be committed
	Applied     Index   // by the state machine
	Saved       Index   // durable in this node's log
	SavingSince Instant // when the oldest Save that is under way was handed out; zero if none is
	// Stalled: that Save takes longer than Config.SaveTimeout. This node takes no proposals,
	// and does not campaign.
	Stalled   bool
	Last      Index     // in this node's log
	First     Index     // the first entry that the log still names
	Conf      ConfState // in force, whether it is committed or not
	ConfIndex Index     // the entry that set Conf
	// Readable: this node leads, and has committed an entry of its term.
	Readable bool
	// HandingTo is whom this leader hands over to at the moment, and takes no proposals
	// meanwhile; Nobody if it does not.
	HandingTo NodeID
	// WitnessesNeeded: some voter with data does not keep up with this leader, so that what
	// is committed may be on its disk, and on witnesses', alone: see witness.go.
	WitnessesNeeded bool
	// Refused counts messages that were not for this node, forged, or garbage.
	Refused uint64
	// OtherCluster is the lineage that the last message was of that was refused for
	// being of another one; zero if there was none.
	OtherCluster ClusterID
	// Silent are the voters that this node asks in vain to elect it, ascending. It is
	// empty as long as there is a leader, and until a whole campaign has been in vain.
	Silent []NodeID
	// Quiescent: this node is silent, and so is everybody that it knows of. A leader's
	// Peers are then as they were when that began.
	Quiescent bool
	// Peers is how a leader sees the others.
	Peers []PeerStatus
}

// PeerStatus is a leader's view of one other member.
type PeerStatus struct {
	ID    NodeID
	State ProgressState
	Match Index // durable there
	Next  Index // sent next
	// Heard is when it last echoed a new heartbeat round. A leader that has just been
	// elected, or has woken, takes everybody to be alive: then it is when that was.
	Heard Instant
	// Newcomer: it does not count yet, whether it votes or not.
	Newcomer bool
	// Witness: it keeps no data. It is sent what all voters with data have: see witness.go.
	Witness bool
	// CaughtUp: it counts, is heard of, and has what the leader has, as far as a voter
	// must: what a change of the members asks of a new one.
	CaughtUp bool
}

// Status returns the node's present state. The slices are the caller's.
func (n *Node) Status() Status {
	s := Status{
		ID: n.cfg.ID, Cluster: n.hard.Cluster, Incarnation: n.incarnation,
		Role: n.role, Term: n.hard.Term, Vote: n.hard.Vote, Joined: n.hard.Joined, Witness: n.cfg.Witness, Leader: n.leaderID,
		Commit: n.log.commit, Applied: n.applying.done, Saved: n.log.saved, SavingSince: n.log.savingSince(), Stalled: n.stalled, Last: n.log.last, First: n.log.base.Index + 1,
		Conf: n.members.current().clone(), ConfIndex: n.members.at(),
		Readable: n.role == Leader && n.log.commit >= n.leader.start,
		Refused:  n.refused, OtherCluster: n.other,
		Silent: n.silentVoters(), Quiescent: n.quiet,
	}
	if n.role == Leader {
		s.HandingTo = n.transfer.to
		s.WitnessesNeeded = n.leader.witnessed && len(s.Conf.Witnesses) > 0
	}
	for i := range n.leader.peers {
		p := &n.leader.peers[i]
		s.Peers = append(s.Peers, PeerStatus{ID: p.id, State: p.state, Match: p.match, Next: p.next, Heard: p.heardAt, Newcomer: p.newcomer, Witness: p.witness, CaughtUp: !p.departing && (n.caughtUp(p) || n.quiet && !p.newcomer)})
	}
	return s
}

func (s Status) String() string {
	out := fmt.Sprintf("node %d %v term=%d vote=%d leader=%d commit=%d applied=%d saved=%d last=%d", s.ID, s.Role, s.Term, s.Vote, s.Leader, s.Commit, s.Applied, s.Saved, s.Last)
	if !s.Joined && s.Cluster != 0 {
		out += " newcomer"
	}
	if s.Witness {
		out += " witness"
	}
	return out
}

// Leader returns who leads, as far as this node knows.
func (n *Node) Leader() NodeID { return n.leaderID }
