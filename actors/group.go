package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// GroupConfig describes a group, as one of its hosts opens it.
type GroupConfig struct {
	// Name tells the group from the others of its hosts. It is the same on all
	// of them, and for ever. Required.
	Name string
	// Machine makes the state machine of this host's member. It is called again
	// whenever the member starts anew. Required, but for a witness, which has none.
	Machine func() StateMachine
	// Witness: this host's member is a witness: it votes, and acknowledges commands without
	// having them. So two members with data and a witness, on a machine that may be small,
	// survive the loss of any one. It never leads, and answers no stale reads; other
	// requests are passed on to the leader. A member stays what it is, and its disk too: see
	// ErrNotInPlace, and *raftcore.WitnessError.
	Witness bool
	// Versions are those that Machine can be of. Default: it has one, 0.
	Versions Versions
	// Members are the hosts that found the group, the same on each of them. Every
	// one of them may open it at any time, and again and again: who finds that
	// the group exists joins it. Who has the group on its disk goes on with that,
	// whoever founded it: after castaway-disk lineage, and after ChangeMembers, too.
	// Default: every peer that this host has, and this one.
	Members []raftcore.NodeID
	// Witnesses are those of Members that are witnesses, the same on each of them, and fewer
	// than a majority.
	Witnesses []raftcore.NodeID
	// Join: this host does not found the group, it waits to be added to it by
	// ChangeMembers. A founder that comes back with an empty disk waits, too, once the
	// members are others than those who founded the group.
	Join bool
	// MaxBytes bounds what this host's member holds of requests that are not answered, of
	// sessions' results, and of effects that wait; beyond it requests are refused with
	// ErrBusy. Default: HostConfig.MaxBytes.
	MaxBytes int64
	// Priority says who is to lead, if several could: the host whose Priority in this group
	// is the greatest. In an election it is that of raftcore.Config; Balance, or a
	// HostConfig.BalanceInterval, hands over to it when it comes later. Default:
	// HostConfig.Raft.Priority.
	Priority int
	// Replaces has this host's member come back after Host.Remove, with Join: it is the
	// incarnation that was removed, which the *persistence.RemovedError says that Open
	// ends with otherwise. The member comes back with nothing, under another incarnation;
	// its word counts when a leader has admitted it, as with a disk that was lost. Once it
	// is back, Replaces means nothing. A group is not founded again under a name that was
	// removed: take another name.
	Replaces raftcore.Incarnation
	// Restarts says how often this host's member starts again by itself. Zero fields mean
	// those of HostConfig.Restarts. See Host.Props for what comes then.
	Restarts Restarts
	// Autopilot has the members be changed by themselves, towards what it describes. It is
	// the same on all hosts. Nil: only ChangeMembers does.
	Autopilot *Autopilot
}

// Group is this host's share of a replicated state machine, and the client of
// it. Its methods may be called concurrently.
type Group struct {
	Client
	host     *Host
	cfg      GroupConfig
	key      GroupKey
	cluster  raftcore.ClusterID
	founders raftcore.ConfState   // empty: joins
	life     atomic.Pointer[life] // of the member; the last one, if it has stopped
	node     atomic.Pointer[ref]
	courier  atomic.Pointer[ref] // while there is a node
	budget   budget
	outbox   atomic.Int64  // bytes of effects that wait to be carried out
	results  atomic.Int64  // bytes of sessions' results
	version  atomic.Uint64 // of the machine

	// sessionEnds is up to when, by the log's time, no session ends, in milliseconds; 0: none
	// does. It is of a leader's machine that is a SessionStateMachine.
	sessionEnds atomic.Int64

	board    *board
	restarts Restarts
	target   *Autopilot // with its defaults; nil: there is none

	listeners listeners // to the events

	quarantine atomic.Pointer[QuarantineError] // why nothing is proposed here, if the machine is quarantined
	skips      skips
	files      *files           // the member's; nil: not open, or there are none
	disk       DiskStateMachine // the member's; nil: not open, or it has none
	wholes     atomic.Bool      // a member waits for a snapshot with the state in it
	poison     raftcore.Index   // the member's: at which the machine has panicked the last time
}

// life is that of a member, from when it is spawned until it has stopped. A protoactor
// strategy may restart it meanwhile: that is the same life.
type life struct {
	pid    atomic.Pointer[actor.PID]
	ending atomic.Bool   // it has been told to stop
	gone   chan struct{} // closed when it has stopped
}

// over reports whether the member has stopped. protoactor may revive it even so.
func (l *life) over() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// PID returns the member, for actors: ask it with a *Request. Once the group has
// been stopped, protoactor answers with an *actor.DeadLetterResponse. It is nil before a
// member is spawned, which matters to who uses Host.Props.
func (g *Group) PID() *actor.PID {
	if l := g.life.Load(); l != nil {
		return l.pid.Load()
	}
	return nil
}

// await hands a call to the node and waits for the answer.
func (g *Group) await(ctx context.Context, c *call) outcome {
	if err := ctx.Err(); err != nil {
		return outcome{err: fmt.Errorf("%w: %w", ErrRejected, err)}
	}
	node := g.node.Load()
	if node == nil {
		return outcome{err: g.unavailable()}
	}
	o := g.answer(ctx, node, c)
	if o.err != nil && errors.Is(o.err, ErrBusy) {
		runtime.Gosched() // who asks again at once must not keep those from it who make room
	}
	return o
}

// answer has a node take a call, if there is room for it, and waits for the answer.
func (g *Group) answer(ctx context.Context, node *ref, c *call) outcome {
	if err := g.admit(c); err != nil {
		return outcome{err: err}
	}
	// Whoever ends a call sends, and nobody else, so the channel is empty again at the end.
	c.ctx, c.done = ctx, g.host.answers.Get().(chan outcome)
	defer g.host.answers.Put(c.done)
	node.tell(c)
	if ctx.Done() == nil {
		return <-c.done
	}
	select {
	case o := <-c.done:
		return o
	case <-ctx.Done():
		if err, gaveUp := c.giveUp(); gaveUp {
			return outcome{err: fmt.Errorf("%w: %w", err, ctx.Err())}
		}
		return <-c.done
	}
}

// newest returns a status with what the node says of itself now.
func (g *Group) newest(s Status, core raftcore.Status) *Status {
	s.Status = core
	if full := g.host.full.Load(); full != nil && s.State == Running {
		s.Fault = *full
	}
	return &s
}

// ending reports whether the member has been told to stop, or was never spawned.
func (g *Group) ending() bool {
	l := g.life.Load()
	return l == nil || l.ending.Load()
}

// unavailable returns why the member takes no requests.
func (g *Group) unavailable() error {
	switch s, _ := g.board.latest(); {
	case s.State == Stopped || g.ending():
		return ErrStopped
	case s.State == Faulted:
		return fmt.Errorf("%w: %w", ErrFaulted, s.Fault)
	default:
		return errGone
	}
}

// abandon ends the calls that were sent to other hosts, and are not answered.
func (g *Group) abandon() {
	for _, p := range g.host.peers.Load().each() {
		p.tell(deposed{g.key})
	}
}

// Stop stops this host's member. Calls that wait end with ErrStopped, or with
// ErrUnknown if they may have happened, at once. Stop returns when everything has stopped,
// or when ctx ends first: a state machine that does not return holds up the rest, and is
// not waited for any longer. The group can be opened again, when it has stopped.
func (g *Group) Stop(ctx context.Context) error {
	l := g.life.Load()
	if l == nil {
		return nil
	}
	l.stop(g.host.system)
	return l.wait(ctx)
}

// stop has the member stop; one that is just being spawned does so by itself.
func (l *life) stop(system *actor.ActorSystem) {
	l.ending.Store(true)
	if pid := l.pid.Load(); pid != nil {
		system.Root.Stop(pid)
	}
}

func (l *life) wait(ctx context.Context) error {
	select {
	case <-l.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// status returns the member's status, with the newest indexes if it is running.
func (g *Group) status(ctx context.Context) (Status, error) {
	s, _ := g.board.latest()
	node := g.node.Load()
	if node == nil {
		return s, nil
	}
	reply := make(chan raftcore.Status, 1)
	node.tell(askStatus{reply})
	select {
	case core, running := <-reply:
		if !running {
			s, _ = g.board.latest()
			return s, nil
		}
		return *g.newest(s, core), nil
	case <-ctx.Done():
		return s, ctx.Err()
	}
}

// awaitChange returns the first status that was not seen.
func (g *Group) awaitChange(ctx context.Context, seen uint64) outcome {
	for s := range g.Watch(ctx) {
		if s.Change != seen {
			return outcome{status: &s}
		}
	}
	if ctx.Err() == nil {
		return outcome{err: ErrStopped} // and that was seen
	}
	return outcome{err: fmt.Errorf("%w: %w", ErrRejected, ctx.Err())}
}
