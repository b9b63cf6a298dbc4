package actors

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/castaway-go/castaway/raftcore"
)

// SnapshotProgress is how far a snapshot has come that a member has to do with at the moment.
type SnapshotProgress struct {
	Stage SnapshotStage
	Peer  raftcore.NodeID // whom it is sent to, or comes from; Nobody if it stays here
	Index raftcore.Index  // the last entry that it stands for
	// Done is how many bytes are written, are safe at the receiver, or have been read. One
	// that goes on after an interruption begins with what there was.
	Done int64
	Size int64            // of all of it, in bytes; 0: not known before it is written
	At   raftcore.Instant // when this began, by Host.Now
}

// SnapshotStage is what is done with a snapshot.
type SnapshotStage uint8

// The stages of a snapshot.
const (
	SnapshotWriting   SnapshotStage = iota + 1 // of the state of this member, to its disk
	SnapshotSending                            // to a follower that the log cannot help
	SnapshotReceiving                          // from the leader
	SnapshotRestoring                          // the state machine reads it
)

func (s SnapshotStage) String() string {
	names := [...]string{"none", "writing", "sending", "receiving", "restoring"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("stage-%d", uint8(s))
}

// underWay are the snapshots of a member that something is done with.
type underWay struct {
	mu  sync.Mutex
	all []*moving
}

// moving is one of them. Whoever moves it says so without a lock.
type moving struct {
	begun SnapshotProgress
	done  atomic.Int64
}

// begin adds one, until end.
func (u *underWay) begin(p SnapshotProgress) *moving {
	m := &moving{begun: p}
	m.done.Store(p.Done)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = append(u.all, m)
	return m
}

func (u *underWay) end(m *moving) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = slices.DeleteFunc(u.all, func(other *moving) bool { return other == m })
}

// list is in the order in which they began.
func (u *underWay) list() (list []SnapshotProgress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.all {
		p := m.begun
		p.Done = m.done.Load()
		list = append(list, p)
	}
	return list
}
