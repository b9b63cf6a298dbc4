package rafttest

import (
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// clone copies a message out of the Output that it was drained into, as a
// transport does. The entries are shared: they are immutable.
func clone(m *raftcore.Message) raftcore.Message {
	out := *m
	switch b := m.Body.(type) {
	case *raftcore.VoteRequest:
		c := *b
		out.Body = &c
	case *raftcore.VoteReply:
		c := *b
		out.Body = &c
	case *raftcore.AppendRequest:
		c := *b
		out.Body = &c
	case *raftcore.AppendReply:
		c := *b
		out.Body = &c
	case *raftcore.SnapshotRequest, *raftcore.TimeoutNow, *raftcore.ReadRequest, *raftcore.ReadReply:
		// These are made for one message each.
	default:
		panic(fmt.Sprintf("rafttest: a message of type %T", m.Body))
	}
	return out
}

// transmit puts a message on the network.
func (c *cluster) transmit(m raftcore.Message) {
	c.Stats.Messages++
	if r, ok := m.Body.(*raftcore.SnapshotRequest); ok && r.Bare {
		c.Stats.Bare++ // a message like others
	} else if ok {
		c.transmitSnapshot(m, r.Snapshot)
		return
	}
	copies := 1
	if !c.calm && c.chance(c.plan.Duplicate) {
		copies = 2
	}
	for range copies {
		if !c.calm && c.chance(c.plan.Loss) {
			c.Stats.Lost++
			c.tracef("%v  (lost)", m)
			continue
		}
		delay := c.between(c.plan.Delay/10, 2*c.plan.Delay)
		if !c.calm && c.chance(c.plan.Straggler) {
			delay *= time.Duration(1 + c.rng.IntN(50))
		}
		c.at(c.now+delay, func() error { return c.deliver(m) })
	}
}

// deliver hands a message to the node it is for, unless a partition is in the
// way or the node is down.
func (c *cluster) deliver(m raftcore.Message) error {
	to := c.nodes[m.To-1]
	if c.cut[link{m.From, m.To}] || to.core == nil {
		c.Stats.Lost++
		from := c.nodes[m.From-1]
		if from.core != nil && c.chance(0.2) { // sometimes the transport notices
			return c.step(from, raftcore.Unreachable{Peer: m.To})
		}
		return nil
	}
	c.tracef("%v", m)
	return c.step(to, raftcore.Receive{Message: m})
}

// partition cuts links: a node off, a random split, or single links one-way.
func (c *cluster) partition() {
	c.Stats.Partitions++
	n := len(c.nodes)
	sideA := make([]bool, n)
	switch c.rng.IntN(3) {
	case 0:
		sideA[c.rng.IntN(n)] = true
	case 1:
		for i := range sideA {
			sideA[i] = c.rng.IntN(2) == 0
		}
	case 2: // one-way, and bridges
		for range 1 + c.rng.IntN(n) {
			c.cut[link{raftcore.NodeID(1 + c.rng.IntN(n)), raftcore.NodeID(1 + c.rng.IntN(n))}] = true
		}
		c.tracef("cut %v", c.cut)
		return
	}
	for i := range n {
		for k := range n {
			if sideA[i] != sideA[k] {
				c.cut[link{raftcore.NodeID(i + 1), raftcore.NodeID(k + 1)}] = true
			}
		}
	}
	c.tracef("partition %v", sideA)
}

func (c *cluster) heal() {
	clear(c.cut)
	c.tracef("healed")
}
