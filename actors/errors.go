package actors

import (
	"errors"
	"fmt"

	"github.com/castaway-go/castaway/raftcore"
)

// Every call that fails says what became of it. There are two families: test
// for them with errors.Is before anything else.
var (
	// ErrRejected: it did not happen and never will. Retry freely.
	ErrRejected = errors.New("rejected")
	// ErrUnknown: it may have happened, or may still. A retry may do it twice.
	ErrUnknown = errors.New("outcome unknown")
)

// Why a call was rejected. Each of these is also ErrRejected.
var (
	// ErrNotLeader: the member that was asked does not lead its group. See
	// NotLeaderError for who does. The Group's own methods follow the leader and
	// return it only when the context ends first.
	ErrNotLeader = fmt.Errorf("%w: not the leader", ErrRejected)
	// ErrBusy: a bound is reached. Retry later, or offer less.
	ErrBusy = fmt.Errorf("%w: too much is waiting already", ErrRejected)
	// ErrDiskFull: the leader's disk has no room. Reads are answered. It passes when
	// there is room, or when another member leads, which it sees to itself.
	ErrDiskFull = fmt.Errorf("%w: the leader's disk is full", ErrRejected)
	// ErrTooLarge: the command is larger than HostConfig.Raft.MaxCommandBytes, or
	// the query of a Read.
	ErrTooLarge = fmt.Errorf("%w: the command is too large", ErrRejected)
	// ErrOverwritten: another leader's entry took the command's place.
	ErrOverwritten = fmt.Errorf("%w: overwritten by another leader", ErrRejected)
	// ErrStopped: the group or its host has been stopped.
	ErrStopped = fmt.Errorf("%w: stopped", ErrRejected)
	// ErrFaulted: the member has failed too often, or its log is damaged
	// (*persistence.CorruptError), and it waits for an operator.
	ErrFaulted = fmt.Errorf("%w: the member is faulted", ErrRejected)
	// ErrUnreachable: the leader's process cannot be reached.
	ErrUnreachable = fmt.Errorf("%w: the leader cannot be reached", ErrRejected)
)

// ErrSessionExpired: the session has given no sign of life for its timeout, or was
// closed. It comes with ErrRejected, or with ErrUnknown if the command may have been
// carried out before. Open another.
var ErrSessionExpired = errors.New("the session has expired")

// errGone: the actor that was asked is not there any more; another may be.
var errGone = fmt.Errorf("%w: the member is restarting", ErrRejected)

// NotLeaderError is the ErrNotLeader that knows more.
type NotLeaderError struct {
	Group  string
	Leader raftcore.NodeID // Nobody if unknown
	// Node is what this host's node knew when it knew of no leader: who does not
	// answer it, and how far its log goes. Otherwise nil.
	Node *raftcore.Status
}

func (e *NotLeaderError) Error() string {
	if e.Leader != raftcore.Nobody {
		return fmt.Sprintf("group %q: %v, node %d is", e.Group, ErrNotLeader, e.Leader)
	}
	out := fmt.Sprintf("group %q: %v, and no leader is known", e.Group, ErrNotLeader)
	s := e.Node
	if s == nil {
		return out
	}
	out += fmt.Sprintf(" to node %d, whose log ends at entry %d, committed up to %d at least", s.ID, s.Last, s.Commit)
	if len(s.Silent) > 0 {
		out += fmt.Sprintf("; of %v, these do not answer: %v", &s.Conf, s.Silent)
	}
	if s.OtherCluster != 0 {
		out += fmt.Sprintf("; messages of another lineage, %016x, are refused", uint64(s.OtherCluster))
	}
	return out
}

func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }
