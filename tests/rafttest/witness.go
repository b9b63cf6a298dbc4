package rafttest

import (
	"fmt"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// drawWitnesses names the witnesses of a configuration that is asked for. Now and then
// it names a member that is none, or leaves one out: that must be refused.
func (c *cluster) drawWitnesses(of *node, conf *raftcore.ConfState) {
	if c.plan.Witnesses == 0 {
		return
	}
	turned := raftcore.Nobody
	if known := of.core.Status().Conf.Members(); len(known) > 0 && c.chance(0.05) {
		turned = known[c.rng.IntN(len(known))]
	}
	for _, n := range c.nodes {
		if conf.Contains(n.id) && n.witness != (n.id == turned) {
			conf.Witnesses = append(conf.Witnesses, n.id)
		}
	}
}

// maybeMember reports whether a node is a member in a configuration that is in force, or
// may be any moment.
func (c *cluster) maybeMember(id raftcore.NodeID) bool {
	return slices.ContainsFunc(c.confs(), func(conf raftcore.ConfState) bool { return conf.Contains(id) })
}

// loseOne loses a member for good, at any moment of a time in which nothing else goes
// wrong, and demands that the others go on without it, with everything that was
// acknowledged: at least, if there is somebody with data who has what the witnesses have
// heard of. A leader takes care of that as long as everybody keeps up with it; with slow
// disks or a slow network nobody may.
func (c *cluster) loseOne() error {
	for i := range 20 {
		at := c.now + c.between(0, 2*c.plan.ElectionTimeout)
		c.at(at, func() error { return c.propose(fmt.Sprintf("calm %d", i)) })
	}
	if err := c.run(c.now+c.between(0, 2*c.plan.ElectionTimeout), nil); err != nil {
		return err
	}
	n := c.nodes[c.rng.IntN(len(c.nodes))]
	if n.core == nil || !c.converged() || !c.spares(n.id) {
		return nil // a disk that is found rotten just now; somebody who has not caught up; or two, who need each other
	}
	c.lost = n
	c.crash(n)
	c.Stats.Died++
	// What is on its way may still arrive, and Saves complete.
	if err := c.run(c.now+100*(c.plan.Delay+c.plan.Disk), nil); err != nil {
		return err
	}
	if c.lone() {
		c.Stats.Lone++
		return nil
	}
	return c.settle()
}

// spares reports whether the group can do without a member, in whichever configuration
// comes to be in force.
func (c *cluster) spares(id raftcore.NodeID) bool {
	needed := func(voters []raftcore.NodeID) bool { return len(voters) < 3 && slices.Contains(voters, id) }
	return c.conf.Contains(id) && !slices.ContainsFunc(c.confs(), func(conf raftcore.ConfState) bool {
		return needed(conf.Voters) || needed(conf.Outgoing)
	})
}

// lone reports whether a witness has heard of something that nobody with data has.
func (c *cluster) lone() bool {
	var best, heard raftcore.EntryID
	for _, n := range c.nodes {
		if n.core == nil || !c.conf.Votes(n.id) {
			continue
		}
		if last := n.disk.kept.lastID(); n.witness && last.AtLeast(heard) {
			heard = last
		} else if !n.witness && last.AtLeast(best) {
			best = last
		}
	}
	return !best.AtLeast(heard)
}
