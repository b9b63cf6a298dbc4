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
	// the query of a Read that is not Local.
	ErrTooLarge = fmt.Errorf("%w: the command is too large", ErrRejected)
	// ErrOverwritten: another leader's entry took the command's place.
	ErrOverwritten = fmt.Errorf("%w: overwritten by another leader", ErrRejected)
	// ErrStopped: the group or its host has been stopped; or, with Host.Props, the member is
	// not spawned yet.
	ErrStopped = fmt.Errorf("%w: stopped", ErrRejected)
	// ErrFaulted: the member has failed too often, or in a way that does not pass, and is
	// out of service. The error is also that of its class: ErrMachineFault, ErrStorageFault
	// or ErrInvariantFault.
	ErrFaulted = fmt.Errorf("%w: the member is faulted", ErrRejected)
	// ErrTooOld: no state was found that is as young as a BoundedStale Read wants
	// it. Do tries again, and returns it only when the context ends first.
	ErrTooOld = fmt.Errorf("%w: this member cannot prove to be that young", ErrRejected)
	// ErrWitness: this host's member is a witness, which has no data: it answers no Local or
	// BoundedStale Read, and takes no snapshot. Other requests are passed on to the leader.
	ErrWitness = fmt.Errorf("%w: this host's member is a witness, and has no data", ErrRejected)
	// ErrBadRequest: the Request makes no sense. The text says why.
	ErrBadRequest = fmt.Errorf("%w: bad request", ErrRejected)
	// ErrNotAllowed: this client may not do that: see HostConfig.Authorize.
	ErrNotAllowed = fmt.Errorf("%w: not allowed", ErrRejected)
	// ErrUnreachable: the leader's process cannot be reached.
	ErrUnreachable = fmt.Errorf("%w: the leader cannot be reached", ErrRejected)
)

// ErrSessionExpired: the session has given no sign of life for its timeout, or was
// closed. It comes with ErrRejected, or with ErrUnknown if the command may have been
// carried out before. Open another.
var ErrSessionExpired = errors.New("the session has expired")

// ErrQuarantined: the state machine has panicked twice at the same entry, and applies
// neither that nor what comes after it. It comes with ErrRejected, or for a command that
// has its place behind that entry already, with ErrUnknown. Local reads are answered, with
// the state before. Open the group anew when the machine is mended, or see Group.SkipEntry.
var ErrQuarantined = errors.New("the state machine is quarantined")

// QuarantineError is the ErrQuarantined that knows more.
type QuarantineError struct {
	Entry  raftcore.Index // what it has panicked at
	Reason string         // with what; "" if that is known on another host only

	program bool // it is not the entry's fault: see VersionError
}

func (e *QuarantineError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%v on the leader's host, at entry %d", ErrQuarantined, e.Entry)
	}
	if e.program {
		return fmt.Sprintf("%v at entry %d: %s", ErrQuarantined, e.Entry, e.Reason)
	}
	return fmt.Sprintf("%v, it has panicked twice at entry %d: %s", ErrQuarantined, e.Entry, e.Reason)
}

// Is makes it a machine fault, too.
func (e *QuarantineError) Is(target error) bool {
	return target == ErrQuarantined || target == ErrMachineFault
}

// About entries that are skipped; each is also ErrRejected. See Group.SkipEntry.
var (
	// ErrSkipped: the command has a place in the log, and was not carried out there, nor
	// will be: it was decided so.
	ErrSkipped = fmt.Errorf("%w: it was decided to skip this entry", ErrRejected)
	// ErrNotQuarantined: the leader's state machine is not quarantined at the entry that is
	// to be skipped.
	ErrNotQuarantined = fmt.Errorf("%w: the leader's state machine is not quarantined at that entry", ErrRejected)
)

// SkippedError is why a member is faulted: its newest snapshot has an entry in it that the
// group has decided to skip, and nothing older is there. Take its data off its disk: then
// it comes back as a newcomer, and is sent what the others have.
type SkippedError struct {
	Entry    raftcore.Index // that is skipped
	Snapshot raftcore.Index // the last entry that the snapshot stands for
}

func (e *SkippedError) Error() string {
	return fmt.Sprintf("the snapshot of entry %d has entry %d in it, which the group has decided to skip: this member has to come back with an empty disk, as a newcomer", e.Snapshot, e.Entry)
}

// Unwrap makes it a machine fault: it is the state that is not that of the others.
func (e *SkippedError) Unwrap() error { return ErrMachineFault }

// errGone: the actor that was asked is not there any more; another may be.
var errGone = fmt.Errorf("%w: the member is restarting", ErrRejected)

// Why the outcome of a call is not known; each is ErrUnknown.
var (
	// errLostLead: the leader that has taken it does not lead any more, or not in that term.
	errLostLead = fmt.Errorf("%w: the leader that took it was lost before it was committed there", ErrUnknown)
	// errLeft: the actor that had it has stopped.
	errLeft = fmt.Errorf("%w: the member that had it has stopped, or starts again", ErrUnknown)
	// errUnanswered: who has asked waits no longer.
	errUnanswered = fmt.Errorf("%w: it is on its way, and not answered yet", ErrUnknown)
	// errElsewhere: another host says so.
	errElsewhere = fmt.Errorf("%w: the leader's host does not know it either", ErrUnknown)
)

// errNotReady: who leads has just begun to, or is handing its office over. It passes.
var errNotReady = fmt.Errorf("%w: the leader is not ready for that yet", ErrRejected)

// Why the members, or the leader, were not changed. Each of these but the last is also
// ErrRejected; or ErrUnknown instead, if an earlier try of the same call, at another
// leader, may have had its way.
var (
	// ErrBadMembers: the Members name no voter, or a host twice, or one that is not among
	// the peers of this host, or of the leader's; or a majority of witnesses.
	ErrBadMembers = fmt.Errorf("%w: bad members", ErrRejected)
	// ErrConfigChanged: another configuration is in force than the one expected.
	ErrConfigChanged = fmt.Errorf("%w: the configuration is not the expected one", ErrRejected)
	// ErrChangeInProgress: another change of the members, or of the leader, is under way,
	// or has called this one off.
	ErrChangeInProgress = fmt.Errorf("%w: another change is under way", ErrRejected)
	// ErrNotCaughtUp: a host that was to vote, or to lead, does not come to have what the
	// leader has: it is down, or too slow. One that was to vote stays a learner.
	ErrNotCaughtUp = fmt.Errorf("%w: a host does not catch up", ErrRejected)
	// ErrNotInPlace: a member would become a witness, or stop being one. Remove it, take what
	// its host has of the group off the disk (Host.Remove), and add it anew.
	ErrNotInPlace = fmt.Errorf("%w: nobody becomes a witness, or stops being one, in place", ErrRejected)
	// ErrNotVoter: who was to lead does not vote, or is a witness; or there is nobody else
	// who could lead.
	ErrNotVoter = fmt.Errorf("%w: it is not a voter", ErrRejected)
	// ErrRemoved: this host's member is none any more, and it does not know who leads. It
	// answers stale reads. It is ErrRejected, for every call. Or, with a
	// *persistence.RemovedError, it was removed with all that it had: see Host.Remove.
	ErrRemoved = fmt.Errorf("%w: this host has been removed from the group", ErrRejected)
	// ErrStillVoter: the member votes in its group, and is not removed from this host
	// (Host.Remove): change the members first.
	ErrStillVoter = fmt.Errorf("%w: this host still votes in the group", ErrRejected)
	// ErrNoGroup: this host has nothing of a group of that name.
	ErrNoGroup = fmt.Errorf("%w: there is no such group on this host", ErrRejected)
	// ErrTransferFailed: who was to lead was told so, and has not taken over in time. The
	// leader goes on. It is ErrUnknown: it may take over yet.
	ErrTransferFailed = fmt.Errorf("%w: who was to lead has not taken over in time", ErrUnknown)
)

// perhaps is a rejection that comes after a try of the same call whose outcome is not
// known.
type perhaps struct{ rejection error }

func (p *perhaps) Error() string {
	return fmt.Sprintf("%v: a leader was lost on the way; afterwards: %v", ErrUnknown, p.rejection)
}

// Is keeps the reason, and not the promise that nothing has happened.
func (p *perhaps) Is(target error) bool {
	return target == ErrUnknown || target != ErrRejected && errors.Is(p.rejection, target)
}

func (p *perhaps) As(target any) bool { return errors.As(p.rejection, target) }

// unawaited is why ChangeMembers does not wait for the learners any longer: what it was to
// change is changed, so the rejection is none of that.
type unawaited struct{ perhaps }

func (u *unawaited) Error() string {
	return fmt.Sprintf("%v: the members are changed, but not all learners are known to have caught up: %v", ErrUnknown, u.rejection)
}

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
	if len(s.Conf.Voters) > 0 && !s.Conf.Contains(s.ID) {
		out += fmt.Sprintf("; node %d is none of %v", s.ID, &s.Conf)
	}
	if s.OtherCluster != 0 {
		out += fmt.Sprintf("; messages of another lineage, %016x, are refused", uint64(s.OtherCluster))
	}
	return out
}

func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }
