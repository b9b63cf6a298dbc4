package raftcore

// Message is what one node says to another. Messages may be lost, repeated,
// delayed and reordered; they may not be altered.
//
//	body            from       to          answered by    asks or says
//	VoteRequest     candidate  voters      VoteReply      vote for me (or: would you?)
//	AppendRequest   leader     all others  AppendReply    take these entries; I still lead
//	SnapshotRequest leader     who is far behind  AppendReply  take this in place of the log
//	TimeoutNow      leader     a voter     VoteRequest    campaign, I hand over to you
//	ReadRequest     any other  leader      ReadReply      where may I read?
//
// A message that was drained points into the Output it came with: see Output.
type Message struct {
	From NodeID
	To   NodeID
	// Term is the sender's current term. A pre-vote is asked in it too: the
	// question is about the term after it.
	Term Term
	// Cluster is the sender's lineage. A message of another one is refused.
	Cluster ClusterID
	// Incarnation is the sender's.
	Incarnation Incarnation
	// ToIncarnation is the receiver's, as far as the sender knows it: a message
	// to a life that has ended is not for the one after it.
	ToIncarnation Incarnation
	Body          Body
}

// Body is what a message says: a pointer to one of the types below.
type Body interface{ body() }

// VoteRequest asks for a vote in the sender's term (Raft §5.2), or, with Pre,
// whether one would be given in the term after it (thesis §9.6).
type VoteRequest struct {
	Pre bool
	// Transfer: the leader itself has asked the candidate to campaign, so its being
	// alive is no reason to refuse (thesis §3.10).
	Transfer bool
	// Priority is the candidate's Config.Priority.
	Priority int
	// Last is the last entry of the candidate's log.
	Last EntryID
	// Campaign numbers the candidate's attempts, so that an answer to an older
	// one is not counted.
	Campaign uint64
}

// VoteReply answers a VoteRequest.
type VoteReply struct {
	Pre      bool
	Granted  bool
	Campaign uint64 // of the request
}

// AppendRequest carries entries to a follower; without entries it is the
// heartbeat, or tells the commit index, or asks whether the leader still leads
// (Raft §5.3).
type AppendRequest struct {
	// Prev is the entry before Entries.
	Prev    EntryID
	Entries []Entry
	// Commit is the leader's commit index.
	Commit Index
	// Round numbers the leader's heartbeats in its term. The reply that echoes
	// it proves that the follower still followed when the round was sent:
	// reads wait for that, and a repeated old heartbeat proves nothing. Without
	// entries it is answered at once; with entries, by their acknowledgement.
	Round uint64
	// Admit: the receiver, a newcomer, may vote once it has everything up to Commit.
	// See newcomer.go.
	Admit bool
	// Quiesce: there is nothing to say until something happens. A follower that
	// has everything waits in silence, too.
	Quiesce bool
	// Urgent: it has no entries, and asks about none that may still be on its way. So it
	// may overtake what was sent before, and should: the leader's office hangs on it.
	Urgent bool
}

// AppendReply tells a leader how far the follower's log is known to equal its
// own, on disk; or that it does not at the entry the leader asked about.
type AppendReply struct {
	// Match is the last index that is both verified against this leader and
	// durable here. It never counts what the disk may still lose.
	Match Index
	Round uint64 // the newest that the follower has seen
	// Ahead is how much of Round is known from Urgent messages alone: what was sent in
	// rounds after Round-Ahead may still be on its way.
	Ahead uint64
	// Rejected: the follower has no entry Probed, or another one there. Hint is
	// the follower's newest entry that might still match: its index is at most
	// Probed, its term at most the probed one.
	Rejected bool
	Probed   EntryID
	Hint     EntryID
	// Flooded: the disk has not taken in what came before, so nothing more is, and
	// this reply says nothing of the request's Prev.
	Flooded bool
	// Newcomer: this member does not vote yet. See newcomer.go.
	Newcomer bool
}

// SnapshotRequest gives a follower a snapshot in place of entries that the
// leader has no more. The core sees what it stands for, and sees it when the
// snapshot itself has arrived whole: carrying it is up to the transport, which
// tells the leader how it stands with SnapshotSent. One that is Bare is a message
// like others. It is answered like an AppendRequest.
type SnapshotRequest struct {
	Snapshot SnapshotMeta
	// Bare: there is no snapshot to carry. It is for a witness, who has no state.
	Bare bool
}

// TimeoutNow has a voter campaign at once.
type TimeoutNow struct{}

// ReadRequest asks the leader for a point to read at, for all reads that wait
// here.
type ReadRequest struct{ Sequence uint64 }

// ReadReply answers a ReadRequest.
type ReadReply struct {
	Sequence uint64 // of the request
	Refused  bool   // its sender does not lead, or has too many reads waiting
	Index    Index
}

func (*VoteRequest) body()     {}
func (*VoteReply) body()       {}
func (*AppendRequest) body()   {}
func (*AppendReply) body()     {}
func (*SnapshotRequest) body() {}
func (*TimeoutNow) body()      {}
func (*ReadRequest) body()     {}
func (*ReadReply) body()       {}
