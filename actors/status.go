package actors

import (
	"fmt"
	"slices"
	"sync"

	"github.com/castaway-go/castaway/raftcore"
)

// Status is what a member says of itself.
type Status struct {
	Group string
	State MemberState
	// Fault is why the member pauses, recovers or is faulted: ErrMachineFault,
	// ErrStorageFault or ErrInvariantFault; while it runs, why it cannot save what it is told at the moment:
	// the disk is full, an ErrStorageFault; or why its machine applies nothing any more:
	// ErrQuarantined, an ErrMachineFault.
	Fault error
	// Version is that of the state machine: see Versions.
	Version uint64
	// Autopilot is what the group's autopilot is about.
	Autopilot AutopilotStatus
	// Tombstones are members whose hosts say that they have removed them (Host.Remove). They
	// count, and will never answer: change the members.
	Tombstones []raftcore.NodeID
	// Snapshots are those that are being written, sent, received or restored.
	Snapshots []SnapshotProgress
	// Change counts the changes that Watch tells of.
	Change uint64
	// Status is the node's; while the member does not run, the last one known.
	raftcore.Status
}

func (s Status) String() string {
	out := fmt.Sprintf("group %q %v %v", s.Group, s.State, s.Status)
	if s.Fault != nil {
		out += fmt.Sprintf(" (%v)", s.Fault)
	}
	if now := s.Autopilot.Now; now != "" {
		out += fmt.Sprintf(" (autopilot: %s)", now)
	}
	return out
}

// Removed reports whether this host was a member of the group, and is none any more: a
// committed configuration says so. It is false where nobody could say it, because the host
// was down. A host that was removed may stop its group, or wait to be added again.
func (s Status) Removed() bool { return removed(s.Status) }

// removed does not mean who has yet to be added, and reads of configurations that were
// before it: such a node has not joined.
func removed(s raftcore.Status) bool {
	return s.Joined && len(s.Conf.Voters) > 0 && !s.Conf.Contains(s.ID) && s.ConfIndex <= s.Commit
}

// MemberState is how a member is.
type MemberState uint8

// The states of a member.
const (
	Recovering MemberState = iota // reading its disk
	Running
	Pausing // failed; about to start again from the disk
	Faulted // failed too often, or cannot read its log; out of service until it is opened anew
	Stopped
)

func (s MemberState) String() string {
	switch s {
	case Recovering:
		return "recovering"
	case Running:
		return "running"
	case Pausing:
		return "pausing"
	case Faulted:
		return "faulted"
	case Stopped:
		return "stopped"
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// board shows the latest status of a member to whoever looks. Writing never
// waits for a reader.
type board struct {
	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed when status is replaced
	waiting []*call       // until then

	snapshots underWay
}

func newBoard(group string) *board {
	return &board{status: Status{Group: group}, changed: make(chan struct{})}
}

func (b *board) update(change func(*Status)) {
	b.mu.Lock()
	change(&b.status)
	b.status.Change++
	close(b.changed)
	b.changed = make(chan struct{})
	s, waiting := b.read(), b.waiting
	b.waiting = nil
	b.mu.Unlock()
	for _, c := range waiting {
		c.end(outcome{status: &s})
	}
}

// await answers an actor when there is a status that it has not seen.
func (b *board) await(c *call, seen uint64, most int) {
	b.mu.Lock()
	s := b.read()
	wait, busy := s.Change == seen, len(b.waiting) >= most
	if wait && busy { // of those who were, some may have given up
		b.waiting = slices.DeleteFunc(b.waiting, func(c *call) bool { return c.state.Load() == callAnswered })
		busy = len(b.waiting) >= most
	}
	if wait && !busy {
		b.waiting = append(b.waiting, c)
	}
	b.mu.Unlock()
	switch {
	case !wait:
		c.end(outcome{status: &s})
	case busy:
		c.finish(nil, ErrBusy)
	}
}

func (b *board) publish(s raftcore.Status, tombstones []raftcore.NodeID) {
	b.update(func(st *Status) { st.Status, st.Tombstones = s, tombstones })
}

// enter enters a state, and returns the status in it.
func (b *board) enter(s MemberState, fault error) (entered Status) {
	b.update(func(st *Status) {
		st.State, st.Fault = s, fault
		if s != Running {
			st.Role, st.Leader = raftcore.Follower, raftcore.Nobody
		}
		entered = *st
	})
	return entered
}

// latest returns the status, and a channel that is closed when there is a newer
// one.
func (b *board) latest() (Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read(), b.changed
}

// read returns the status; mu is held.
func (b *board) read() Status {
	s := b.status
	s.Snapshots = b.snapshots.list()
	return s
}
