package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// hostActor owns what the groups share, and supervises all of it.
//
//	castaway-<id>
//	├── log-<n>         the Store; a new one each time it is opened
//	│   └── reader
//	├── clock
//	├── liveness
//	├── balancer
//	├── peer-<id> …     one for each other host
//	└── <group> …       a member, unless it has another parent: see Host.Props
//	    ├── machine-<n>
//	    └── node-<n>
//
// When the log fails, nobody can go on: all members stop, the store is closed
// and opened again, and they come back from what is on the disk.
type hostActor struct {
	*Host
	self    *actor.PID
	started chan error // told once whether the host could start
	running bool       // it was told that it could

	spawned  uint64 // counts all that were spawned, for names that are never used twice
	logEpoch uint64
	logErr   error // why the present log is going away
	restarts restarts
	stopping bool // nobody is spawned any more
}

// The messages of the host.
type (
	startGroup struct {
		group *Group
		done  chan error
	}
	stopGroup    struct{ group *Group } // nobody has waited for its start
	reopenLog    struct{}
	sharedFailed struct { // a child that all members need
		child  *actor.PID
		reason any
	}
)

// stopStrategy stops whatever fails: nothing of ours is restarted in place.
type stopStrategy struct{}

func (stopStrategy) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, _, _ any) {
	supervisor.StopChildren(child)
}

// HandleFailure makes the host its children's supervisor. What becomes of the
// child, which stays suspended meanwhile, is decided in Receive.
//
// A member that has given up stays, as a Faulted one: it says why to who asks.
func (h *hostActor) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	if err, is := reason.(error); is && errors.Is(err, ErrFaulted) {
		supervisor.ResumeChildren(child)
		return
	}
	system.Root.Send(h.self, &sharedFailed{child: child, reason: reason})
}

func (h *hostActor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		h.start(ctx)
	case *logReady:
		h.logReady(m)
	case *logFailed:
		h.logFailed(ctx, m)
	case *reopenLog:
		if !h.stopping {
			h.spawnLog(ctx)
		}
	case *startGroup:
		m.done <- h.startGroup(ctx, m.group)
	case *stopGroup:
		if l := m.group.life.Load(); l != nil {
			l.stop(h.system)
		}
	case *setPeers:
		m.done <- h.setPeers(ctx, m.addresses)
	case *moved:
		h.moved(ctx, m)
	case *sharedFailed:
		h.childFailed(ctx, m)
	case *actor.Terminated:
		h.childGone(ctx, m.Who)
	case *actor.Stopping:
		h.stopping = true
		h.close() // nobody may have called Stop
	case *actor.Stopped:
		close(h.ended)
	}
}

// start starts what all groups share. The store is opened by the log; only then
// has the host started.
func (h *hostActor) start(ctx actor.Context) {
	h.self = ctx.Self()
	h.spawnClock(ctx)
	h.spawnLiveness(ctx)
	h.spawnBalancer(ctx)
	for id, p := range h.peers.Load().each() {
		h.spawnPeer(ctx, id, p)
	}
	h.spawnLog(ctx)
}

// clockGrains is how often the clock wakes at most, in the interval of heartbeats.
const clockGrains = 8

func (h *hostActor) spawnClock(ctx actor.Context) {
	h.spawned++
	h.clock.put(h.spawn(ctx, fmt.Sprintf("clock-%d", h.spawned), 0, func(box *mailbox) actor.Actor {
		return &clock{host: h.Host, grain: max(h.cfg.Raft.HeartbeatInterval/clockGrains, 1), box: box}
	}))
}

func (h *hostActor) spawnLiveness(ctx actor.Context) {
	h.spawned++
	h.liveness.put(h.spawn(ctx, fmt.Sprintf("liveness-%d", h.spawned), 0, func(box *mailbox) actor.Actor {
		return &liveness{host: h.Host, box: box}
	}))
}

func (h *hostActor) spawnBalancer(ctx actor.Context) {
	h.spawned++
	h.balancer.put(h.spawn(ctx, fmt.Sprintf("balancer-%d", h.spawned), 0, func(box *mailbox) actor.Actor {
		return &balancer{host: h.Host, box: box}
	}))
}

func (h *hostActor) spawnPeer(ctx actor.Context, id raftcore.NodeID, p *channel) {
	h.spawned++
	p.put(h.spawn(ctx, fmt.Sprintf("peer-%d-%d", id, h.spawned), h.cfg.MaxPending, func(box *mailbox) actor.Actor {
		return &peer{host: h.Host, id: id, addr: p.address, box: box}
	}))
}

func (h *hostActor) spawnLog(ctx actor.Context) {
	h.spawned++
	h.logErr = nil
	epoch := h.spawned
	h.log.put(h.spawn(ctx, fmt.Sprintf("log-%d", epoch), 0, func(box *mailbox) actor.Actor {
		return &log{host: h.Host, parent: ctx.Self(), epoch: epoch, opener: h.cfg.Store, box: box}
	}))
	h.logEpoch = epoch
}

func (h *hostActor) logReady(m *logReady) {
	if m.epoch != h.logEpoch {
		return
	}
	if !h.running {
		h.running = true
		h.started <- nil
		return
	}
	h.logger.Info("the store is open again") // the members are trying already
}

// logFailed stops everybody, and the log. childGone goes on from there.
func (h *hostActor) logFailed(ctx actor.Context, m *logFailed) {
	if m.epoch != h.logEpoch || h.logErr != nil {
		return
	}
	h.logErr = m.err
	if !h.running {
		h.started <- m.err // Start stops this host
		return
	}
	h.eachMember(&storeLost{m.err})
	ctx.Stop(h.log.ref().pid)
}

// reopen opens the store again after a pause, unless it has failed too often. A disk
// that is full does not count: it will not be for ever.
func (h *hostActor) reopen(ctx actor.Context) {
	pause, ok := h.cfg.Restarts.LongestPause, true
	if !errors.Is(h.logErr, persistence.ErrDiskFull) {
		pause, ok = h.restarts.next(h.cfg.Restarts, h.now())
	}
	if !ok {
		err := fmt.Errorf("%w: the store failed too often and stays closed: %w", ErrStorageFault, h.logErr)
		h.gone.Store(&err)
		h.logger.Error(err.Error())
		h.eachMember(&storeGone{err})
		return
	}
	h.logger.Error("the store failed, it will be opened again", "err", h.logErr, "in", pause)
	system, self := ctx.ActorSystem(), ctx.Self()
	h.cfg.Runtime.AfterFunc(pause, func() { system.Root.Send(self, &reopenLog{}) })
}

// eachMember tells every member something, also those that have another parent.
func (h *hostActor) eachMember(message any) {
	for _, l := range h.lives() {
		if pid := l.pid.Load(); pid != nil { // else it asks the log, and is told
			h.system.Root.Send(pid, message)
		}
	}
}

func (h *hostActor) startGroup(ctx actor.Context, g *Group) error {
	if h.stopping {
		return ErrStopped
	}
	h.spawned++
	_, err := ctx.SpawnNamed(g.props(), fmt.Sprintf("group-%d-%s", h.spawned, g.name))
	return err
}

// childFailed deals with a panic. A member, or a peer, fails alone. The log and
// the clock serve all members.
func (h *hostActor) childFailed(ctx actor.Context, f *sharedFailed) {
	h.logger.Error("an actor of the host failed", "actor", f.child.Id, "err", f.reason)
	if l := h.log.ref(); f.child.Equal(l.pid) {
		h.logFailed(ctx, &logFailed{epoch: h.logEpoch, err: fmt.Errorf("panic: %v", f.reason)})
		return
	}
	ctx.Stop(f.child)
}

// childGone goes on after a child has stopped: whoever is still needed is
// spawned anew.
func (h *hostActor) childGone(ctx actor.Context, who *actor.PID) {
	if h.stopping || !h.running {
		return
	}
	switch {
	case who.Equal(h.log.ref().pid):
		h.reopen(ctx)
	case who.Equal(h.clock.ref().pid):
		h.spawnClock(ctx)
		h.eachNode(func(node ref) { node.tell(woken{}) }) // they ask the new one
		h.liveness.tell(woken{})
	case who.Equal(h.liveness.ref().pid):
		h.spawnLiveness(ctx)
		h.eachNode(func(node ref) { node.tell(tellSleep{}) })
	case who.Equal(h.balancer.ref().pid):
		h.spawnBalancer(ctx)
	default:
		for id, p := range *h.peers.Load() {
			if who.Equal(p.ref().pid) {
				h.spawnPeer(ctx, id, p)
			}
		}
	}
}
