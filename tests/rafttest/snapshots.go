package rafttest

import (
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// snapshot has a node's machine take one: of what it has applied now, durable a
// little later. Now and then that fails.
func (c *cluster) snapshot(n *node) {
	m, boot := n.machine, n.boot
	failed := !c.calm && c.rng.IntN(10) == 0
	c.at(c.now+4*c.diskTime()+time.Duration(c.rng.Int64N(int64(20*time.Millisecond))), func() error {
		if n.core == nil || n.boot != boot {
			return nil
		}
		if failed || m.applied == 0 {
			return c.step(n, raftcore.SnapshotTaken{})
		}
		c.Stats.Snapshots++
		n.disk.keepFile(m)
		return c.step(n, raftcore.SnapshotTaken{Index: m.applied, Time: m.time})
	})
}

// restore has a node's machine become what a snapshot holds.
func (c *cluster) restore(n *node, s *raftcore.SnapshotMeta) error {
	if s == nil {
		return nil
	}
	file, ok := n.disk.files[s.Last.Index]
	if !ok {
		return fmt.Errorf("node %d restores a snapshot of %v that is not on its disk", n.id, s.Last)
	}
	c.tracef("%d restores %v", n.id, s)
	if int(s.Last.Index) > len(c.check.committed) || file.chain != c.check.committed[s.Last.Index-1].chain {
		return fmt.Errorf("state machine safety: node %d restores a snapshot of %v, which is not what was committed", n.id, s.Last)
	}
	n.machine = file
	boot := n.boot
	c.at(c.now+c.diskTime(), func() error {
		if n.core == nil || n.boot != boot {
			return nil
		}
		return c.step(n, raftcore.Applied{Index: s.Last.Index})
	})
	return nil
}

// transmitSnapshot carries a snapshot to a peer: slowly, with news for the sender
// that may be lost, too.
func (c *cluster) transmitSnapshot(m raftcore.Message, s raftcore.SnapshotMeta) {
	from, to := c.nodes[m.From-1], c.nodes[m.To-1]
	file, ok := from.disk.files[s.Last.Index]
	boot := from.boot
	report := func(status raftcore.SnapshotStatus) error {
		if from.core == nil || from.boot != boot || !c.calm && c.chance(0.3) {
			return nil // delivered, or not, and never reported
		}
		return c.step(from, raftcore.SnapshotSent{Peer: m.To, Index: s.Last.Index, Status: status})
	}
	half := c.now + c.between(c.plan.Delay, 10*c.plan.Delay)
	c.at(half, func() error { return report(raftcore.SnapshotMoving) })
	c.at(half+c.between(c.plan.Delay, 10*c.plan.Delay), func() error {
		if !ok || c.cut[link{m.From, m.To}] || to.core == nil || !c.calm && c.chance(c.plan.Loss) {
			c.Stats.Lost++
			return report(raftcore.SnapshotFailed)
		}
		c.Stats.Installs++
		to.disk.keepFile(file)
		c.tracef("%v", m)
		if err := c.step(to, raftcore.Receive{Message: m}); err != nil {
			return err
		}
		return report(raftcore.SnapshotDelivered)
	})
}
