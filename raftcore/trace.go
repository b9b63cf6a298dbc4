package raftcore

// TraceEvent is one transition of a node, with its state after it (before it,
// for a message that was received): enough to check a run against the
// specification of Raft in TLA+.
type TraceEvent struct {
	Kind   TraceKind
	Node   NodeID
	Role   Role
	Term   Term
	Vote   NodeID
	Leader NodeID
	Commit Index
	Saved  Index // durable in this node's log
	Base   EntryID
	Last   EntryID
	Conf   *ConfState // in force; not to be changed
	// Message is the one sent or received, valid until the hook returns.
	Message *Message
}

// TraceKind is what a TraceEvent tells of.
type TraceKind uint8

// The transitions.
const (
	TraceInit     TraceKind = iota + 1 // the node was recovered
	TraceRole                          // its role, or the leader it follows, may be another
	TraceAppend                        // entries were appended, in a follower maybe over others
	TraceCommit                        // the commit index has risen
	TraceConfig                        // another configuration is in force
	TraceSaved                         // the disk has completed Saves
	TraceCompact                       // the beginning of the log was forgotten
	TraceSnapshot                      // a leader's snapshot has taken the log's place
	TraceSend                          // a message was handed out
	TraceReceive                       // a message has come
)

func (k TraceKind) String() string {
	return named("trace", k, "none", "init", "role", "append", "commit", "config", "saved", "compact", "snapshot", "send", "receive")
}

// Trace has hook told of every transition from now on, from within Step and
// Drain, which it must not call. It begins with TraceInit; nil ends it.
func (n *Node) Trace(hook func(TraceEvent)) {
	n.trace = hook
	n.traced(TraceInit, nil)
}

func (n *Node) traced(kind TraceKind, m *Message) {
	if n.trace != nil {
		n.tell(kind, m)
	}
}

func (n *Node) tell(kind TraceKind, m *Message) {
	event := TraceEvent{
		Kind: kind, Node: n.cfg.ID, Role: n.role, Term: n.hard.Term, Vote: n.hard.Vote, Leader: n.leaderID,
		Commit: n.log.commit, Saved: n.log.saved, Base: n.log.base, Last: n.log.lastID(), Conf: n.members.current(),
	}
	if m != nil {
		copied := *m // so that messages need not be on the heap when nobody listens
		event.Message = &copied
	}
	n.trace(event)
}
