package raftcore

// Input is one thing that happened to a node: a request, a message, a fact
// from a neighbour, or time. The set is closed.
type Input interface{ input() }

// Tick tells the time. The instants of earlier ticks are ignored. Step a Tick
// before the other inputs of a batch: what follows is taken to happen at Now.
type Tick struct {
	Now Instant
	// Time is the wall clock in Unix milliseconds; a leader stamps entries with
	// it. It may jump: the log's time never goes back.
	Time int64
}

// Receive is a message from a peer. The node may keep the slice of its entries.
type Receive struct{ Message Message }

// Propose asks for a command to be replicated. The outcome comes back under
// its Tag: a Reply if it was refused or overwritten, else in Apply.
type Propose struct {
	Tag  Tag
	Data []byte
	// Host makes it an EntryHost: a command not for the state machine, but for who
	// hosts it.
	Host bool
	// Watch asks to be told of every stage that the proposal goes through, in
	// Output.Stages.
	Watch bool
}

// Read asks for a point in the log at which a query answers linearizably
// (thesis §6.4), on any node: those that do not lead ask the leader. The outcome
// comes back under its Tag: in Output.Reads, or as a Reply that refuses it.
type Read struct{ Tag Tag }

// ChangeConfig asks for another configuration: voters, learners and witnesses as they
// are to be, any number of changes in one call (Raft §6). New voters join as
// learners first, and the change goes on when they have caught up (thesis
// §4.2.1). The outcome comes back as a Reply: Done when the new configuration
// alone is in force and committed. Asking again for the same is harmless.
type ChangeConfig struct {
	Tag  Tag
	Conf ConfState // Outgoing is empty
	// Expect, if it is not zero, is the index of the configuration that the asker
	// has seen (Status.ConfIndex). If another one is in force meanwhile, which is not
	// what is asked for either, the change is refused with ConfigChanged.
	Expect Index
}

// Transfer asks a leader to hand its office over (thesis §3.10). The outcome
// comes back as a Reply: Done when To leads. To is Nobody to let the leader
// choose, or the leader itself to call off the transfer that is under way.
type Transfer struct {
	Tag Tag
	To  NodeID
}

// Campaign asks a voter to try and become the leader now, as if its election
// timeout had passed. A leader that is alive is not deposed by it.
type Campaign struct{}

// Bootstrap founds a group on a pristine node. Every founding member must be
// given the same Cluster and Conf; any number of them may, at any time, and
// any number of times.
type Bootstrap struct {
	Tag     Tag
	Cluster ClusterID
	Conf    ConfState
}

// Saved is the fact that a Save, and every one before it, is durable.
type Saved struct{ Token Token }

// Loaded answers a Load. Entries begin at Load.From; they may be fewer than
// were asked for, and what exceeds Load.MaxBytes is cut off. None at all means
// that they could not be read: the core asks again later.
type Loaded struct {
	Load    Load
	Entries []Entry
}

// Applied is the fact that the state machine has applied all entries up to
// Index.
type Applied struct {
	Index Index
	// Passed, if it is beyond Index, is up to where the machine has looked at what it was
	// given and keeps nothing of it: one that can apply no more has room for more. It is
	// given none of that again.
	Passed Index
}

// SnapshotTaken is the fact that the state machine has a snapshot, durable, of
// what it was after applying entry Index. Zero says that taking one has failed.
type SnapshotTaken struct {
	Index Index
	Time  int64 // of that entry
}

// SnapshotSent tells how it stands with a snapshot on its way to a peer.
type SnapshotSent struct {
	Peer NodeID
	// Index of the last entry that the snapshot covers.
	Index  Index
	Status SnapshotStatus
}

// SnapshotStatus is how it stands with a transfer of a snapshot.
type SnapshotStatus uint8

// The states of a transfer.
const (
	SnapshotMoving    SnapshotStatus = iota + 1 // part of it has arrived since the last time
	SnapshotDelivered                           // all of it has; the peer will say so itself
	SnapshotFailed                              // it has been given up
)

// Unreachable is the fact that messages to a peer were lost, or will be. It
// wakes a quiescent node that leads the peer, or is led by it: the other may be gone.
type Unreachable struct{ Peer NodeID }

func (Tick) input()          {}
func (Receive) input()       {}
func (Propose) input()       {}
func (Read) input()          {}
func (Bootstrap) input()     {}
func (ChangeConfig) input()  {}
func (Transfer) input()      {}
func (Campaign) input()      {}
func (SnapshotTaken) input() {}
func (SnapshotSent) input()  {}
func (Saved) input()         {}
func (Loaded) input()        {}
func (Applied) input()       {}
func (Unreachable) input()   {}
