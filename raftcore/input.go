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

// Receive is a message from a peer.
type Receive struct{ Message Message }

// Propose asks for a command to be replicated. The outcome comes back under
// its Tag: a Reply if it was refused or overwritten, else in Apply.
type Propose struct {
	Tag  Tag
	Data []byte
}

// Read asks for a point in the log at which a query answers linearizably
// (thesis §6.4). The outcome comes back under its Tag: in Output.Reads, or as
// a Reply that refuses it.
type Read struct{ Tag Tag }

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
type Applied struct{ Index Index }

// Unreachable is the fact that messages to a peer were lost, or will be.
type Unreachable struct{ Peer NodeID }

func (Tick) input()        {}
func (Receive) input()     {}
func (Propose) input()     {}
func (Read) input()        {}
func (Bootstrap) input()   {}
func (Saved) input()       {}
func (Loaded) input()      {}
func (Applied) input()     {}
func (Unreachable) input() {}
