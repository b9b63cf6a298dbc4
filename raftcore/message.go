package raftcore

// Message is what one node says to another. Messages may be lost, repeated,
// delayed and reordered; they may not be altered.
//
//	body            from       to          answered by    asks or says
//	VoteRequest     candidate  voters      VoteReply      vote for me (or: would you?)
//	AppendRequest   leader     all others  AppendReply    take these entries; I still lead
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
	// reads wait for that, and a repeated old heartbeat proves nothing.
	Round uint64
}

// AppendReply tells a leader how far the follower's log is known to equal its
// own, on disk; or that it does not at the entry the leader asked about.
type AppendReply struct {
	// Match is the last index that is both verified against this leader and
	// durable here. It never counts what the disk may still lose.
	Match Index
	Round uint64 // the newest that the follower has seen
	// Rejected: the follower has no entry Probed, or another one there. Hint is
	// the follower's newest entry that might still match: its index is at most
	// Probed, its term at most the probed one.
	Rejected bool
	Probed   EntryID
	Hint     EntryID
}

func (*VoteRequest) body()   {}
func (*VoteReply) body()     {}
func (*AppendRequest) body() {}
func (*AppendReply) body()   {}
