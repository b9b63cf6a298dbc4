package actors

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// Operation is what a Request asks for.
type Operation uint8

// The operations.
const (
	// Propose replicates Data as a command and answers with what Apply returned.
	Propose Operation = iota + 1
	// Read answers the query Data, without changing anything.
	Read
)

// The operations for actors that want to know how a member is: what Group.Status and
// Group.Watch tell. The answer is Response.Status.
const (
	// GetStatus answers with the newest one.
	GetStatus Operation = iota + 64
	// AwaitChange answers when there is another one than that whose Change is Request.Seen:
	// to watch a member, ask again with each answer. A member that starts anew counts on.
	AwaitChange
)

// known reports whether this host knows what to do.
func (o Operation) known() bool {
	return o == Propose || o == Read || o.leads() || o == CheckLearners || o == SkipEntry || o.tells() || o >= OpenSession && o <= orderSessions || o == orderEffects || o.asks()
}

// asks reports whether o is what hosts ask each other, of any member.
func (o Operation) asks() bool { return o == askVersions || o == askCandidate }

// leads reports whether o is about the group itself.
func (o Operation) leads() bool { return o == ChangeMembers || o == Transfer }

// tells reports whether o asks how a member is.
func (o Operation) tells() bool { return o == GetStatus || o == AwaitChange }

// acts reports whether o has an effect. Who does not know what became of an operation
// without one may as well ask again.
func (o Operation) acts() bool { return o != Read && o != CheckLearners && !o.tells() }

// writes reports whether o needs room on the leader's disk.
func (o Operation) writes() bool { return o != Read && o != Transfer }

// Request is what Group.Do asks for. An actor, which must not block, sends it to
// Group.PID with Request, and receives a *Response.
type Request struct {
	Operation Operation
	Data      []byte          // the command of a Propose, the query of a Read
	Members   Members         // for ChangeMembers and CheckLearners
	To        raftcore.NodeID // for Transfer
	Entry     raftcore.Index  // for SkipEntry
	Seen      uint64          // for AwaitChange
	Session   InSession       // for Propose, KeepSession and CloseSession
	Timeout   time.Duration   // for OpenSession; 0: DefaultSessionTimeout
	// Consistency is how much a Read has to see. Default: Linearizable.
	Consistency Consistency
	// MaxAge is how old the answer of a BoundedStale Read may be. A member needs a
	// round trip to a quorum to prove its age: less than that is never answered.
	MaxAge time.Duration
	// After has a Read see this entry: it waits until the member has applied it, or
	// the context ends, or, for an actor, the member stops. With the Index of the
	// Response to a Propose a client reads what it wrote, with that of a Read what it
	// has seen, on any host, for example with Local. An index means nothing in another
	// group, or in another lineage of the same.
	After raftcore.Index
}

// check returns what is wrong with r.
func (r *Request) check(cfg *HostConfig) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrBadRequest}, args...)...)
	}
	switch {
	case !r.Operation.known() || r.Operation == orderSessions || r.Operation == orderEffects || r.Operation.asks():
		return bad("operation %d is unknown", r.Operation)
	case (r.Operation == SkipEntry) != (r.Entry != 0):
		return bad("Entry is for SkipEntry, which needs one")
	case r.Operation != ChangeMembers && r.Members.WaitCaughtUp:
		return bad("WaitCaughtUp is for ChangeMembers")
	case r.Operation != AwaitChange && r.Seen != 0:
		return bad("Seen is for AwaitChange")
	case r.checkSession() != "":
		return bad("%s", r.checkSession())
	case r.Operation != Read && (r.Consistency != Linearizable || r.MaxAge != 0 || r.After != 0):
		return bad("Consistency, MaxAge and After are for a Read")
	case r.Consistency > Local:
		return bad("%v is unknown", r.Consistency)
	case r.Consistency == Lease && !cfg.Raft.LeaseReads:
		return bad("Lease needs HostConfig.Raft.LeaseReads")
	case r.Consistency == BoundedStale && r.MaxAge <= 0:
		return bad("BoundedStale needs a positive MaxAge, it is %v", r.MaxAge)
	case r.Consistency != BoundedStale && r.MaxAge != 0:
		return bad("MaxAge is for BoundedStale")
	}
	return nil
}

// Response answers a Request.
type Response struct {
	Request *Request // what is answered
	Data    []byte   // what Apply, or Query, returned
	// Index is the entry that a Propose became, or the last one that the answer to
	// a Read reflects.
	Index raftcore.Index
	// Session is what an OpenSession has opened.
	Session SessionID
	// Status is what a GetStatus or AwaitChange has asked for.
	Status *Status
	// Age is, after a BoundedStale Read, how old the answer was at most when it was
	// given.
	Age time.Duration
	// Err is nil, ErrRejected or ErrUnknown (see there), or what Query returned.
	Err error
}

// call is a request on its way: from whoever asked, through the node and the
// machine, back to whoever asked. It is answered exactly once.
//
// There is one for each proposal and each read, so it is small.
type call struct {
	data   []byte
	ctx    context.Context // for Query; of a caller who waits, else nil
	done   chan outcome    // for a caller who waits
	answer func(outcome)
	group  *Group         // that it counts with
	index  raftcore.Index // of a read: the machine must have applied this
	more   *particulars   // nil: none

	state       atomic.Uint32
	counts      atomic.Bool
	operation   Operation
	consistency Consistency // of a read
	foreign     bool        // it came from another process, and goes to no third
}

// particulars are what few calls have.
type particulars struct {
	members *Members
	to      raftcore.NodeID
	own     raftcore.Term // it is a step of the group's autopilot, for the leader of this term; 0: it is not
	reading
}

// its returns the particulars of a call, to be read.
func (c *call) its() *particulars {
	if c.more == nil {
		return &nothingMore
	}
	return c.more
}

var nothingMore particulars

// The states of a call.
const (
	callWaiting  uint32 = iota // nobody has acted on it: it can still be withdrawn
	callStarted                // it may happen
	callAnswered               // whoever asked knows, or has given up
)

// outcome is how a call ended.
type outcome struct {
	data  []byte
	index raftcore.Index
	age   time.Duration
	err   error

	status  *Status
	session SessionID // from another process; else it is in data
}

func (o outcome) response(r *Request) *Response {
	out := &Response{Request: r, Data: o.data, Index: o.index, Status: o.status, Age: o.age, Err: o.err}
	if r.Operation == OpenSession && o.err == nil {
		if out.Session, out.Data = o.session, nil; o.session == 0 {
			out.Session = sessionOpened(o.data)
		}
	}
	return out
}

// mistake returns what is wrong with a call, wherever it came from.
func (c *call) mistake(h *Host) error {
	switch c.operation {
	case OpenSession, KeepSession, CloseSession, GetStatus, AwaitChange: // the first travel as orders
		return fmt.Errorf("%w: operation %d does not travel", ErrRejected, c.operation)
	case orderSessions:
		if _, err := decodeOrder(c.data); err != nil {
			return fmt.Errorf("%w: %w", ErrRejected, err)
		}
	case orderEffects:
		if c.foreign {
			return fmt.Errorf("%w: operation %d does not travel", ErrRejected, c.operation)
		}
	case SkipEntry:
		if _, err := decodeSkip(c.data); err != nil {
			return fmt.Errorf("%w: %w", ErrRejected, err)
		}
	case ChangeMembers:
		return c.its().members.mistake(h)
	case CheckLearners:
		if m := c.its().members; m == nil || len(m.Learners) == 0 {
			return fmt.Errorf("%w: nobody learns", ErrBadMembers)
		}
	default:
		if !c.operation.known() {
			return fmt.Errorf("%w: operation %d is unknown", ErrRejected, c.operation)
		}
	}
	return nil
}

// start reports whether to go on with the call. From here on it may happen.
func (c *call) start() bool { return c.state.CompareAndSwap(callWaiting, callStarted) }

// giveUp is for a caller who waits no longer. It returns the error that tells
// what he may assume, or false if the answer is there already.
func (c *call) giveUp() (error, bool) {
	switch c.state.Swap(callAnswered) {
	case callWaiting:
		return ErrRejected, true
	case callStarted:
		if c.operation.acts() {
			return errUnanswered, true
		}
		return ErrRejected, true // a read has no effect
	}
	return nil, false
}

// finish answers the call, unless it has been answered.
func (c *call) finish(data []byte, err error) { c.end(outcome{data: data, err: err}) }

func (c *call) end(o outcome) {
	c.release()
	if c.state.Swap(callAnswered) == callAnswered {
		return
	}
	if c.done != nil {
		c.done <- o // has room for one
	} else {
		c.answer(o)
	}
}

// refuse is for the mailbox: the call never reached an actor.
func (c *call) refuse(err error) { c.finish(nil, err) }

// orphaned ends the call if nobody has acted on it.
func (c *call) orphaned() {
	if c.start() {
		c.finish(nil, errGone)
	}
}

// abandon ends a call whose actor is going away before it knows the outcome. A
// read has no effect, so it was merely not answered.
func (c *call) abandon() {
	if c.operation.acts() {
		c.finish(nil, errLeft)
	} else {
		c.finish(nil, errGone)
	}
}

// tooLargeAnswer is the outcome of a call whose answer no link would take.
func (c *call) tooLargeAnswer(size, limit int) outcome {
	err := fmt.Errorf("the answer has %d bytes, more than %d do not travel between hosts", size, limit)
	if c.operation.acts() {
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return outcome{err: err}
}

// newCall makes a call of a Request. Who will answer it, and to whom, is added.
func (r *Request) newCall() *call {
	if o, is := r.order(); is {
		return &call{operation: orderSessions, data: o.encode()}
	}
	if r.Operation == SkipEntry {
		return &call{operation: SkipEntry, data: encodeSkip(r.Entry)}
	}
	c := &call{operation: r.Operation, data: r.Data, consistency: r.Consistency}
	switch {
	case r.Operation == ChangeMembers || r.Operation == CheckLearners:
		members := r.Members // or all Requests would be allocated
		c.more = &particulars{members: &members}
	case r.Operation == Transfer:
		c.more = &particulars{to: r.To}
	case r.Consistency == BoundedStale || r.After != 0:
		c.more = &particulars{reading: reading{maxAge: r.MaxAge, after: r.After}}
	}
	return c
}

// newOrder makes a call that nobody waits for.
func (g *Group) newOrder(operation Operation, data []byte, answer func(outcome)) *call {
	return &call{operation: operation, data: data, ctx: context.Background(), answer: answer}
}

// requestCall makes a call of an actor's Request.
func requestCall(system *actor.ActorSystem, r *Request, sender *actor.PID) *call {
	c := r.newCall()
	c.answer = func(o outcome) {
		if sender != nil {
			system.Root.Send(sender, o.response(r))
		}
	}
	return c
}

// calls are the requests that a node has given tags to: a table whose rows are
// used again.
type calls struct {
	rows    []*call // rows[i] has tag i+1
	free    []raftcore.Tag
	working atomic.Int64 // calls without a tag: the machine has them, or reads has
	limit   int          // of both
}

func (t *calls) full() bool {
	return len(t.rows)-len(t.free)+int(t.working.Load()) >= t.limit
}

func (t *calls) busy() error {
	return &BusyError{What: "requests of the member", Used: int64(t.limit), Limit: int64(t.limit)}
}

// add returns a tag for c, or zero if there are too many calls.
func (t *calls) add(c *call) raftcore.Tag {
	if t.full() {
		return 0
	}
	if n := len(t.free); n > 0 {
		tag := t.free[n-1]
		t.free = t.free[:n-1]
		t.rows[tag-1] = c
		return tag
	}
	t.rows = append(t.rows, c)
	return raftcore.Tag(len(t.rows))
}

// take returns the call with this tag, and frees it.
func (t *calls) take(tag raftcore.Tag) *call {
	c := t.rows[tag-1]
	t.rows[tag-1] = nil
	t.free = append(t.free, tag)
	return c
}

// abandon ends all calls.
func (t *calls) abandon() {
	for _, c := range t.rows {
		if c != nil {
			c.abandon()
		}
	}
	t.rows, t.free = nil, nil
}
