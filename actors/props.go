package actors

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
)

// Props returns the Props of this host's member of a group, for an actor that wants to be
// its parent, and to supervise it with a strategy of its own; and the group, which answers
// from when they are spawned on. Open is for who does not. All that a member needs is the
// host's: it has to be in the same actor system.
//
// A member sees to its own failures, within GroupConfig.Restarts. When it gives up it
// fails, with an error that is ErrFaulted and says why: the strategy decides.
//
//	Restart   it comes back from the disk, with all its Restarts
//	Stop      it stops
//	Resume    it stays Faulted: calls end with ErrFaulted, and Status says why
//	Escalate  as the parent's parent decides
//
// With Restarts.Max negative every failure is the strategy's. However it decides, and
// whenever, no state but that of the disk survives.
//
// The Props may be spawned again when their actor has stopped, and it is the same Group. To
// spawn them while it lives is an error, or a panic where protoactor's Spawn has none to
// return; so is what Open refuses. Host.Stop stops the member, wherever it is. The error of
// Props itself is that cfg makes no sense.
func (h *Host) Props(cfg GroupConfig) (*Group, *actor.Props, error) {
	g, err := h.newGroup(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("castaway: group %q: %w", cfg.Name, err)
	}
	return g, g.props(), nil
}

func (g *Group) props() *actor.Props {
	h := g.host
	return actor.PropsFromProducer(nil, actor.WithSpawnFunc(func(system *actor.ActorSystem, id string, _ *actor.Props, parent actor.SpawnerContext) (*actor.PID, error) {
		if system != h.system {
			return nil, errors.New("castaway: a member lives in the actor system of its host")
		}
		l := &life{gone: make(chan struct{})}
		if err := h.enter(g, l); err != nil {
			return nil, err
		}
		props := actor.PropsFromProducer(func() actor.Actor { return &member{host: h, group: g, life: l} },
			h.runs(id), actor.WithMailbox(actor.Unbounded(lastWord{system, l})))
		pid, err := actor.DefaultSpawner(system, id, props, parent)
		if err != nil {
			h.exit(g, l)
			return pid, fmt.Errorf("castaway: group %q: %w", g.name, err)
		}
		l.pid.Store(pid)
		return pid, nil
	}))
}

// enter has a group be open on this host, with a member that is about to be spawned.
func (h *Host) enter(g *Group, l *life) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return fmt.Errorf("castaway: the host: %w", ErrStopped)
	}
	if gone := h.gone.Load(); gone != nil {
		return fmt.Errorf("%w: %w", ErrFaulted, *gone)
	}
	if h.removing[g.key] {
		return fmt.Errorf("castaway: group %q: it is being removed: %w", g.name, ErrChangeInProgress)
	}
	if t, removed := h.tombstones[g.key]; removed && (t.Group != g.name || t.Incarnation != g.cfg.Replaces) {
		return fmt.Errorf("castaway: %w", removedError(t))
	}
	if other := h.groups[g.key]; other != nil {
		if other.name != g.name {
			return fmt.Errorf("castaway: the names %q and %q have the same key: choose another", g.name, other.name)
		}
		return fmt.Errorf("castaway: group %q is open on this host already", g.name)
	}
	g.life.Store(l)
	g.quarantine.Store(nil)
	g.poison = 0
	g.version.Store(0)
	g.board.update(func(s *Status) { *s = Status{Group: g.name, Change: s.Change} })
	h.groups[g.key] = g
	return nil
}

// exit ends a life. Another may begin.
func (h *Host) exit(g *Group, l *life) {
	l.ending.Store(true)
	h.mu.Lock()
	if h.groups[g.key] == g && g.life.Load() == l {
		delete(h.groups, g.key)
	}
	h.mu.Unlock()
	g.holds(&g.outbox, 0)
	g.holds(&g.results, 0)
	close(l.gone)
}

// lives returns those of all groups that are open, in the same order each time.
func (h *Host) lives() (lives []*life) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(h.groups)) {
		lives = append(lives, h.groups[key].life.Load())
	}
	return lives
}

// close has all members stop, and opens none any more.
func (h *Host) close() []*life {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	lives := h.lives()
	for _, l := range lives {
		l.stop(h.system)
	}
	return lives
}
