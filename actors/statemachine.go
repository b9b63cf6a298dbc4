package actors

import (
	"context"
	"io"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// StateMachine is what a group replicates: yours. Every member has one of its
// own, and gives it the same commands in the same order.
//
// All calls come from one goroutine at a time, but for the writing of a snapshot. A
// panic restarts the member: a fresh StateMachine is made and restored from the
// newest snapshot, and every command since is applied to it anew. The one before is
// dropped without a word: it should hold nothing but memory.
//
// rafttest.TestStateMachine, under tests, checks one against what is said here.
type StateMachine interface {
	// Apply carries out a committed command and returns the answer for whoever
	// proposed it. Both must depend on nothing but the commands so far: no clock
	// but Entry.Time, no randomness, no map order, no state that machines share, no
	// time zone, no I/O that can fail. Whatever bytes a command has, answer them:
	// where this member panics, every other one does, again and again. Do not keep or
	// change e.Data, not as a part of the answer either, and do not change the answer
	// afterwards.
	Apply(e Entry) []byte

	// Query answers a question without changing anything. An error is handed to
	// the asker as it is. Nothing is applied meanwhile: do not wait for anything, and
	// when ctx is done nobody waits for the answer. Do not keep or change the question,
	// and do not change the answer afterwards.
	Query(ctx context.Context, question []byte) ([]byte, error)

	// Snapshot returns what will write the state as it is now: all that the commands
	// so far have made of it. Its WriteTo is called once at the most, later, from
	// another goroutine, while Apply goes on, and must write nothing of what that
	// changes. A small state is best encoded on the spot, into a bytes.Buffer, which
	// is an io.WriterTo; a large one is shared until it is changed. When Snapshot is
	// called again, nothing of the last one will be written any more. An error, also of
	// WriteTo, is logged, and a snapshot is asked for again later; WriteTo must return
	// that of its Writer. Two snapshots of one state need not have the same bytes.
	Snapshot() (io.WriterTo, error)

	// Restore reads a state that Snapshot has written, here or on another member. It
	// is called on a fresh StateMachine, before anything else. What it reads has been
	// checked, and is all of it when it ends with io.EOF; any other end is an error of r,
	// which Restore must return. An error restarts the member.
	Restore(r io.Reader) error
}

// SessionStateMachine is a StateMachine that wants to know when a session ends: to give back
// what it has locked, say.
type SessionStateMachine interface {
	StateMachine
	// SessionEnded is called when a session has ended: Entry.Session, which has been closed, or
	// has given no sign of life for its timeout, by the log's time. Nothing of that session comes
	// to Apply any more. All that is said of Apply is true of it, of its place in the log and of
	// effects, too; there is no Data, and no answer. The leader sees to it that the end of a
	// session is noted when its time has come, soon after. Sessions of which no command has come
	// are told of as well. What is not told, because a machine was of an earlier version then, or
	// because the entry is skipped (Group.SkipEntry), is not told later.
	SessionEnded(e Entry)
}

// Entry is a committed command; or with Timer or Down something that has happened, which an
// effect was to be told of. What Apply answers to that nobody gets.
type Entry struct {
	// Index grows from command to command, not always by one: not every entry of the
	// log is a command.
	Index raftcore.Index
	Term  raftcore.Term
	// Time is when a leader took the command in, by its own clock, to the
	// millisecond, in UTC. It is the same on every member and never goes back; many
	// entries may have the same.
	Time time.Time
	Data []byte // the command; nil for Timer and Down
	// Session is the one that the command was proposed in (Session.Propose), the same on
	// every member: who locks something for a client, say, knows whose it is. Zero: none. A
	// SessionStateMachine is told when it ends.
	Session SessionID
	// Version is what the state machine has to be of: see GroupConfig.Versions.
	Version uint64
	// Timer is the Name of a SetTimer whose time has come.
	Timer string
	// Down is the Actor of a Monitor: it is gone.
	Down string
	// Effects is where Do puts what this entry does. Who calls Apply himself gives a place
	// to see them, or none.
	Effects *[]Effect
}
