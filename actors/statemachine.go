package actors

import (
	"context"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// StateMachine is what a group replicates: yours. Every member has one of its
// own, and gives it the same commands in the same order.
//
// All calls come from one goroutine at a time. A panic restarts the member: a
// fresh StateMachine is made, and every command is applied to it anew.
type StateMachine interface {
	// Apply carries out a committed command and returns the answer for whoever
	// proposed it. It must depend on nothing but the commands so far: no clock
	// but Entry.Time, no randomness, no map order, no I/O that can fail. Do not
	// keep or change e.Data, and do not change the answer afterwards.
	Apply(e Entry) []byte

	// Query answers a question without changing anything. An error is handed to
	// the asker as it is. Do not change the answer afterwards.
	Query(ctx context.Context, question []byte) ([]byte, error)
}

// Entry is a committed command.
type Entry struct {
	Index raftcore.Index
	Term  raftcore.Term
	// Time is when a leader took the command in, by its own clock, to the
	// millisecond. It is the same on every member and never goes back.
	Time time.Time
	Data []byte
}
