package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// Effect is what a command does beside changing the state: one of Send, Append, SetTimer,
// StopTimer, Monitor and Demonitor. Apply says what is to be done (Entry.Do), on every
// member alike; the leader does it. Effects are replicated state: a new leader goes on
// with what the last one has not been seen to finish, and they are in every snapshot.
type Effect interface{ effect() }

// Send sends a *Sent to an actor, on the leader's host. It is sent at least once: a new
// leader sends again what it does not know to have been sent, with the same ID. Sent is
// handed to protoactor, no more: whether the actor is there, and takes it, nobody is told.
// One machine's Sends leave in the order in which it did them.
type Send struct {
	// To is the actor. With an empty Address it is the one of that ID in the system of
	// whoever leads.
	To   *actor.PID
	Data []byte
}

// Append proposes a command, which comes to Apply later, once.
type Append struct{ Data []byte }

// SetTimer has an Entry with Timer come, once, at a time or soon after it: by the leader's
// clock, and not before there is a leader. It takes the place of the timer of that name.
type SetTimer struct {
	Name string
	At   time.Time // to the millisecond
}

// StopTimer has the timer of that name not come any more.
type StopTimer struct{ Name string }

// Monitor has an Entry with Down come, once, when an actor has stopped, or cannot be
// reached, or is not there at all. An empty Address is as in Send: then a new leader
// watches another actor, its own.
type Monitor struct{ PID *actor.PID }

// Demonitor has that Entry not come any more.
type Demonitor struct{ PID *actor.PID }

func (Send) effect()      {}
func (Append) effect()    {}
func (SetTimer) effect()  {}
func (StopTimer) effect() {}
func (Monitor) effect()   {}
func (Demonitor) effect() {}

// Do has effects carried out. It is for Apply, while that runs.
func (e Entry) Do(effects ...Effect) {
	if e.Effects != nil {
		*e.Effects = append(*e.Effects, effects...)
	}
}

// Sent is what an actor receives that a Send was for.
type Sent struct {
	Group string
	// ID is the same however often this is sent: who must not do things twice remembers
	// it. IDs ascend.
	ID   EffectID
	Data []byte
}

// EffectID names an effect within its group: the entry that it was done for, and its
// number among that entry's.
type EffectID struct {
	Index raftcore.Index
	N     uint64
}

func (id EffectID) String() string { return fmt.Sprintf("%d.%d", id.Index, id.N) }

// Before reports whether id was done before other.
func (id EffectID) Before(other EffectID) bool {
	return id.Index < other.Index || id.Index == other.Index && id.N < other.N
}
