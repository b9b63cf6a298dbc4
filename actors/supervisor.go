package actors

import (
	"errors"
	"fmt"
	"time"

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
//	├── peer-<id> …     one for each other host
//	└── <group> …       a member
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
	gone     error // why there will be no other
	restarts restarts
	members  map[string]*Group // by the ID of their PIDs

	ending   map[string][]chan error // who waits for the end of a member
	stopping bool                    // nobody is spawned any more
}

// The messages of the host.
type (
	startGroup struct {
		group *Group
		done  chan error
	}
	stopGroup struct {
		group *Group
		done  chan error
	}
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
func (h *hostActor) HandleFailure(system *actor.ActorSystem, _ actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
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
		h.stopGroup(ctx, m)
	case *setPeers:
		m.done <- h.setPeers(ctx, m.addresses)
	case *sharedFailed:
		h.childFailed(ctx, m)
	case *actor.Terminated:
		h.childGone(ctx, m.Who)
	case *actor.Stopping:
		h.stopping = true
	case *actor.Stopped:
		close(h.ended)
	}
}

// start starts what all groups share. The store is opened by the log; only then
// has the host started.
func (h *hostActor) start(ctx actor.Context) {
	h.self = ctx.Self()
	h.members = map[string]*Group{}
	h.ending = map[string][]chan error{}
	h.spawnClock(ctx)
	for id, p := range *h.peers.Load() {
		h.spawnPeer(ctx, id, p)
	}
	h.spawnLog(ctx)
}

func (h *hostActor) spawnClock(ctx actor.Context) {
	h.spawned++
	h.clock.put(h.spawn(ctx, fmt.Sprintf("clock-%d", h.spawned), 0, func(box *mailbox) actor.Actor {
		return &clock{now: h.now, box: box}
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
	for _, g := range h.members {
		ctx.Send(g.pid, &storeLost{})
	}
	ctx.Stop(h.log.ref().pid)
}

// reopen opens the store again after a pause, unless it has failed too often. A disk
// that is full does not count: it will not be for ever.
func (h *hostActor) reopen(ctx actor.Context) {
	pause, ok := longestPause, true
	if !errors.Is(h.logErr, persistence.ErrDiskFull) {
		pause, ok = h.restarts.next(h.now())
	}
	if !ok {
		h.gone = fmt.Errorf("the store failed too often and stays closed: %w", h.logErr)
		h.logger.Error(h.gone.Error())
		for _, g := range h.members {
			ctx.Send(g.pid, &storeGone{err: h.gone})
		}
		return
	}
	h.logger.Error("the store failed, it will be opened again", "err", h.logErr, "in", pause)
	system, self := ctx.ActorSystem(), ctx.Self()
	time.AfterFunc(pause, func() { system.Root.Send(self, &reopenLog{}) })
}

func (h *hostActor) startGroup(ctx actor.Context, g *Group) error {
	if h.stopping {
		return ErrStopped
	}
	if h.gone != nil {
		return fmt.Errorf("%w: %w", ErrFaulted, h.gone)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if other := h.groups[g.key]; other != nil {
		if other.name != g.name {
			return fmt.Errorf("castaway: the names %q and %q have the same key: choose another", g.name, other.name)
		}
		return fmt.Errorf("castaway: group %q is open on this host already", g.name)
	}
	h.spawned++
	props := actor.PropsFromProducer(func() actor.Actor { return &member{host: h.Host, group: g} },
		actor.WithDispatcher(h.dispatcher), actor.WithMailbox(actor.Unbounded(lastWord{h.system, g})))
	pid, err := ctx.SpawnNamed(props, fmt.Sprintf("group-%d-%s", h.spawned, g.name))
	if err != nil {
		return fmt.Errorf("castaway: group %q: %w", g.name, err)
	}
	g.pid = pid
	h.groups[g.key] = g
	h.members[pid.Id] = g
	return nil
}

func (h *hostActor) stopGroup(ctx actor.Context, m *stopGroup) {
	if m.group.pid == nil || h.members[m.group.pid.Id] == nil {
		m.done <- nil // it has stopped, or never started
		return
	}
	h.ending[m.group.pid.Id] = append(h.ending[m.group.pid.Id], m.done)
	ctx.Stop(m.group.pid)
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
	if g := h.members[who.Id]; g != nil {
		delete(h.members, who.Id)
		h.mu.Lock()
		delete(h.groups, g.key)
		h.mu.Unlock()
		for _, done := range h.ending[who.Id] {
			done <- nil
		}
		delete(h.ending, who.Id)
		return
	}
	switch {
	case who.Equal(h.log.ref().pid):
		h.reopen(ctx)
	case who.Equal(h.clock.ref().pid):
		h.spawnClock(ctx)
		h.eachNode(func(node ref) { node.tell(woken{}) }) // they ask the new one
	default:
		for id, p := range *h.peers.Load() {
			if who.Equal(p.ref().pid) {
				h.spawnPeer(ctx, id, p)
			}
		}
	}
}
