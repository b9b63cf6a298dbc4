package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// This file is about groups that leave a host for good. In which order:
//
//  1. The member stops. Nobody opens the group meanwhile.
//  2. The Store puts a tombstone in its place, durably. From here on it is removed.
//  3. The snapshots are removed. Who is interrupted here is finished by the next start of
//     the host, or by asking again.
//
// Messages for a removed group are answered with the news that it is: Packet.Removed. The
// other side shows it in Status.Tombstones.

// Remove takes this host's member of a group out for good: it stops, if it is open, and
// what it has on the disk is thrown away. A Tombstone is left, so that no fresh member of
// that name votes again as if this one had never voted: Open refuses the name with
// ErrRemoved, and a *persistence.RemovedError, unless GroupConfig.Replaces says that the
// member is to come back.
//
// A member that votes is not removed: ErrStillVoter. Take it out of the group before, with
// ChangeMembers; when Status.Removed is true it may go. One that is not open is judged by
// the newest configuration in its log. To ask again is harmless, and finishes what was
// interrupted. The error is ErrRejected, or ErrUnknown if it may be removed yet; also
// ErrStorageFault if the disk is the reason. ErrStorageFault alone says that it is removed, and
// that its snapshots are still there: ask again, or let the next start of the host do it.
func (h *Host) Remove(ctx context.Context, name string) error { return h.remove(ctx, name, h.cfg.ID) }

// ForceRemove is Remove, also for a member that votes: the others have to do without it
// from then on, as if its disk was lost, and with it what only it had.
func (h *Host) ForceRemove(ctx context.Context, name string) error {
	return h.remove(ctx, name, raftcore.Nobody)
}

// Tombstones returns what is left of the groups that were removed from this host, by name.
func (h *Host) Tombstones() []persistence.Tombstone {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := slices.Collect(maps.Values(h.tombstones))
	slices.SortFunc(all, func(a, b persistence.Tombstone) int { return strings.Compare(a.Group, b.Group) })
	return all
}

func (h *Host) remove(ctx context.Context, name string, member raftcore.NodeID) error {
	key := groupKey(h.cfg.Cluster, name)
	if err := h.beginRemoval(key); err != nil {
		return fmt.Errorf("castaway: group %q: %w", name, err)
	}
	defer h.endRemoval(key)
	err := h.stopToRemove(ctx, key, name, member)
	if err == nil {
		err = h.bury(ctx, persistence.Removal{Group: name, Member: member, Time: h.cfg.Runtime.Now().UnixMilli()})
	}
	if err != nil {
		return fmt.Errorf("castaway: removing group %q: %w", name, err)
	}
	if err := h.removeFiles(name); err != nil {
		return fmt.Errorf("castaway: group %q is removed, and its snapshots are still there: %w: %w", name, ErrStorageFault, err)
	}
	h.logger.Info("the group was removed from this host", "group", name, "forced", member == raftcore.Nobody)
	return nil
}

// beginRemoval keeps everybody from opening the group.
func (h *Host) beginRemoval(key GroupKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.removing[key] {
		return ErrChangeInProgress
	}
	h.removing[key] = true
	return nil
}

func (h *Host) endRemoval(key GroupKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.removing, key)
}

// stopToRemove stops the member, if it is open and may be removed.
func (h *Host) stopToRemove(ctx context.Context, key GroupKey, name string, member raftcore.NodeID) error {
	g := h.group(key)
	if g == nil || g.name != name {
		return nil
	}
	if member != raftcore.Nobody {
		if err := g.removable(ctx); err != nil {
			return err
		}
	}
	if err := g.Stop(ctx); err != nil {
		return fmt.Errorf("%w: it has not stopped yet: %w", ErrRejected, err)
	}
	return nil
}

// removable returns why a member must not be removed. If it does not run, its disk knows.
func (g *Group) removable(ctx context.Context) error {
	s, err := g.Status(ctx)
	switch id := g.host.cfg.ID; {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRejected, err)
	case s.State != Running || s.Removed():
	case s.Conf.Votes(id):
		return fmt.Errorf("%w: host %d is one of %v", ErrStillVoter, id, &s.Conf)
	case s.Joined && s.ConfIndex > s.Commit:
		return fmt.Errorf("%w: %v is not known to be committed here", ErrStillVoter, &s.Conf)
	}
	return nil
}

// removeGroup asks the log to remove a group.
type removeGroup struct {
	removal persistence.Removal
	done    chan error // has room for one
}

func (r *removeGroup) orphaned() { r.done <- notNow(persistence.ErrClosed) }

// notNow is for a removal that has not come to the Store.
func notNow(err error) error { return fmt.Errorf("%w: %w: %w", ErrRejected, ErrStorageFault, err) }

// bury has the Store put a tombstone in the place of a group that is not open.
func (h *Host) bury(ctx context.Context, r persistence.Removal) error {
	order := &removeGroup{removal: r, done: make(chan error, 1)}
	h.log.tell(order)
	select {
	case err := <-order.done:
		return err
	case <-h.ended:
		return fmt.Errorf("%w: the host has stopped", ErrUnknown)
	case <-ctx.Done():
		return fmt.Errorf("%w: the disk has not answered yet: %w", ErrUnknown, ctx.Err())
	}
}

// remove has the Store remove a group, and says what has come of it. Its member has stopped,
// and closed it.
func (l *log) remove(r persistence.Removal) error {
	err := l.store.Remove(r)
	switch {
	case err == nil:
		l.buried(r.Group)
		return nil
	case errors.Is(err, persistence.ErrPoisoned):
		return fmt.Errorf("%w: %w: %w", ErrUnknown, ErrStorageFault, err)
	case errors.Is(err, persistence.ErrStillVoter):
		return fmt.Errorf("%w: %w", ErrStillVoter, err)
	case errors.Is(err, persistence.ErrNoGroup):
		return fmt.Errorf("%w: %w", ErrNoGroup, err)
	}
	return notNow(err)
}

// buried tells the host that a group was removed.
func (l *log) buried(name string) {
	var removed *persistence.RemovedError
	if _, err := l.store.Open(name); errors.As(err, &removed) {
		l.host.mu.Lock()
		l.host.tombstones[groupKey(l.host.cfg.Cluster, name)] = removed.Tombstone
		l.host.mu.Unlock()
	}
}

// tombstones tells the host which groups were removed.
func (l *log) tombstones() {
	all, err := l.store.Tombstones()
	if err != nil {
		return // it is poisoned, and about to be opened anew
	}
	h := l.host
	h.mu.Lock()
	h.tombstones = map[GroupKey]persistence.Tombstone{}
	for _, t := range all {
		h.tombstones[groupKey(h.cfg.Cluster, t.Group)] = t
	}
	h.mu.Unlock()
}

// openOrRevive opens a group, which comes back if it was removed and that is asked for, and
// begins again if that is.
func (l *log) openOrRevive(o *openGroup) (persistence.Opened, error) {
	if o.former != 0 {
		// The files first: if the group did not begin again it would only miss them, and ask for it once more.
		if err := l.host.removeFiles(o.name); err != nil {
			return persistence.Opened{}, err
		}
		if err := l.store.Revive(o.name, o.former); err != nil && !errors.Is(err, persistence.ErrNoGroup) { // it has been done
			return persistence.Opened{}, err
		}
	}
	opened, err := l.store.Open(o.name)
	var removed *persistence.RemovedError
	if !errors.As(err, &removed) || o.replaces != removed.Incarnation {
		return opened, err
	}
	if err := l.host.removeFiles(o.name); err != nil { // that a removal has left: they are not this life's
		return opened, err
	}
	if err := l.store.Revive(o.name, removed.Incarnation); err != nil {
		return opened, err
	}
	l.host.mu.Lock()
	delete(l.host.tombstones, groupKey(l.host.cfg.Cluster, o.name))
	l.host.mu.Unlock()
	return l.store.Open(o.name)
}

// removeFiles removes the snapshots of a group that is not open.
func (h *Host) removeFiles(name string) error {
	place, any := h.cfg.Store.(snapshotPlace)
	if !any {
		return nil
	}
	under, o := place.Snapshots()
	return snapshots.Remove(filepath.Join(under, snapshots.Folder(name)), o)
}

// sweepFiles removes the snapshots of groups that were removed when that was interrupted.
func (l *log) sweepFiles() {
	for _, t := range l.host.Tombstones() {
		if err := l.host.removeFiles(t.Group); err != nil {
			l.host.logger.Warn("the snapshots of a removed group are still there", "group", t.Group, "err", err)
		}
	}
}

// find returns the open group with this key, or reports that it was removed.
func (h *Host) find(key GroupKey) (g *Group, removed bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if g = h.groups[key]; g == nil {
		_, removed = h.tombstones[key]
	}
	return g, removed
}

// removedHere has the other side told of groups that were removed from this host.
type removedHere []GroupKey

// removedThere tells a node that another host has removed its member.
type removedThere struct{ peer raftcore.NodeID }

// heardRemoved passes on what another host says.
func (h *Host) heardRemoved(from raftcore.NodeID, groups []GroupKey) {
	for _, key := range groups {
		if g := h.group(key); g != nil {
			if node := g.node.Load(); node != nil {
				node.box.offer(removedThere{from})
			}
		}
	}
}

// removedThere takes note that a member is gone for good. What is sent to it is lost.
func (n *node) removedThere(peer raftcore.NodeID) {
	n.core.Step(raftcore.Unreachable{Peer: peer})
	if s := n.core.Status(); slices.Contains(n.tombstones, peer) || !s.Conf.Contains(peer) {
		return
	}
	n.tombstones = append(n.tombstones, peer)
	slices.Sort(n.tombstones)
	n.host.logger.Warn("a host has removed its member of the group, which still is one: change the members", "group", n.group.name, "peer", uint64(peer))
	n.publish()
}

// heardFrom forgets that a member was removed, when it speaks.
func (n *node) heardFrom(peer raftcore.NodeID) {
	if i := slices.Index(n.tombstones, peer); i >= 0 {
		n.tombstones = slices.Delete(slices.Clone(n.tombstones), i, i+1)
		n.publish()
	}
}

// tombstonesIn returns the members that were removed by their hosts.
func (n *node) tombstonesIn(conf *raftcore.ConfState) []raftcore.NodeID {
	var in []raftcore.NodeID
	for _, id := range n.tombstones {
		if conf.Contains(id) {
			in = append(in, id)
		}
	}
	return in
}

// removedError says that a group was removed from this host.
func removedError(t persistence.Tombstone) error {
	return fmt.Errorf("%w: %w", ErrRemoved, &persistence.RemovedError{Tombstone: t})
}
