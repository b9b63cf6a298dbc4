package actors

import (
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Effect is what a command does beside changing the state: one of Send, Append, SetTimer,
// StopTimer, Monitor and Demonitor. Apply says what is to be done (Entry.Do), on every
// member alike; the leader does it. Effects are replicated state: a new leader goes on
// with what the last one has not been seen to finish, and they are in every snapshot.
type Effect interface{ effect() }

// Send sends a *Sent to an actor of the leader's host. It is sent at least once: a new
// leader sends again what it does not know to have been sent, with the same ID. Sent is
// handed to protoactor, no more: whether the actor is there, and takes it, nobody is told.
// A mailbox of its that blocks holds up the effects of the group, and the stopping of it.
// One machine's Sends leave in the order in which it did them.
type Send struct {
	To   string // the ID of an actor in the actor system of whoever leads
	Data []byte
}

// Append proposes a command, which comes to Apply later, once.
type Append struct{ Data []byte }

// SetTimer has an Entry with Timer come, once, at a time or soon after it: by the leader's
// clock, and not before there is a leader. Where that clock is set forward meanwhile, it may
// come as late as it would have. It takes the place of the timer of that name.
type SetTimer struct {
	Name string
	At   time.Time // to the millisecond
}

// StopTimer has the timer of that name not come any more.
type StopTimer struct{ Name string }

// Monitor has an Entry with Down come, once, when the actor of that ID in the actor system
// of whoever leads has stopped, or is not there at all. A new leader watches its own.
type Monitor struct{ Actor string }

// Demonitor has that Entry not come any more.
type Demonitor struct{ Actor string }

func (Send) effect()      {}
func (Append) effect()    {}
func (SetTimer) effect()  {}
func (StopTimer) effect() {}
func (Monitor) effect()   {}
func (Demonitor) effect() {}

// Do has effects carried out. It is for Apply, while that runs. An effect that names no
// actor, or is none of those above, is a mistake: Do panics.
func (e Entry) Do(effects ...Effect) {
	for _, effect := range effects {
		if what := mistaken(effect); what != "" {
			panic(fmt.Sprintf("castaway: %s is no effect", what))
		}
	}
	if e.Effects != nil {
		*e.Effects = append(*e.Effects, effects...)
	}
}

// mistaken returns what cannot be done, or "".
func mistaken(effect Effect) string {
	named := true
	switch e := effect.(type) {
	case Send:
		named = e.To != ""
	case Monitor:
		named = e.Actor != ""
	case Demonitor:
		named = e.Actor != ""
	case Append, SetTimer, StopTimer:
	default:
		return fmt.Sprintf("a %T", effect)
	}
	if !named {
		return fmt.Sprintf("a %T to nobody", effect)
	}
	return ""
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
	N     uint64 // from 0 on
}

func (id EffectID) String() string { return fmt.Sprintf("%d.%d", id.Index, id.N) }

// Before reports whether id was done before other.
func (id EffectID) Before(other EffectID) bool {
	return id.Index < other.Index || id.Index == other.Index && id.N < other.N
}
