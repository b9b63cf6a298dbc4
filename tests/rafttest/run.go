package rafttest

import (
	"errors"
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// ErrLiveness is what Run fails with when the faults have ended and the group
// still makes no progress. Every other failure is one of safety.
var ErrLiveness = errors.New("liveness: the faults have ended, and the nodes do not come to the same log")

// Run carries out a plan: faults and clients, then calm, then the demand for
// progress. It returns the first violation, or what happened. trace may be nil.
func Run(plan Plan, trace func(string)) (stats Stats, err error) {
	defer func() {
		if r := recover(); r != nil {
			broken, ok := r.(*raftcore.InvariantError)
			if !ok {
				panic(r)
			}
			err = broken
		}
	}()
	c, err := newCluster(plan)
	if err != nil {
		return Stats{}, err
	}
	c.trace = trace
	defer func() { stats = c.Stats }()

	c.scheduleClients()
	c.scheduleFaults()
	if err := c.run(plan.Faults, nil); err != nil {
		return stats, err
	}
	if err := c.settle(); err != nil {
		return stats, err
	}
	if plan.Dies {
		if err := c.loseOne(); err != nil {
			return stats, err
		}
	}
	for _, n := range c.nodes {
		c.playBack(n)
	}
	return stats, c.unlike
}

// scheduleClients spreads proposals and reads over the run.
func (c *cluster) scheduleClients() {
	for i := 0; i < c.plan.Proposals; {
		at := c.between(0, c.plan.Faults)
		for range 1 + c.rng.IntN(c.plan.Burst) { // a few at once, while Saves are under way
			at += c.between(0, c.plan.Disk/2)
			c.at(at, func() error { return c.propose(fmt.Sprintf("command %d %0*d", i, c.rng.IntN(100), 0)) })
			i++
		}
	}
	for range c.plan.Reads {
		c.at(c.between(0, c.plan.Faults), c.read)
	}
}

// scheduleFaults has partitions and crashes follow one another.
func (c *cluster) scheduleFaults() {
	if c.plan.Partition > 0 && len(c.nodes) > 1 {
		var cut func() error
		cut = func() error {
			if c.calm {
				return nil
			}
			c.partition()
			healed := c.now + c.around(c.plan.Heal)
			c.at(healed, func() error { c.heal(); return nil })
			c.at(healed+c.around(c.plan.Partition), cut)
			return nil
		}
		c.at(c.around(c.plan.Partition), cut)
	}
	c.every(c.plan.Rot, func() error { c.rot(c.nodes[c.rng.IntN(len(c.nodes))]); return nil })
	c.every(c.plan.Change, c.changeConfig)
	c.every(c.plan.Transfer, c.transferLeader)
	if c.plan.Crash > 0 {
		var crash func() error
		crash = func() error {
			if c.calm {
				return nil
			}
			for again := true; again; again = c.chance(c.plan.Together) {
				n := c.nodes[c.rng.IntN(len(c.nodes))]
				if n.core != nil {
					c.crash(n)
					c.at(c.now+c.around(c.plan.Restart), func() error { return c.restart(n) })
				}
				c.strike(n)
			}
			c.at(c.now+c.around(c.plan.Crash), crash)
			return nil
		}
		c.at(c.around(c.plan.Crash), crash)
	}
}

// every has f happen again and again while the faults go on.
func (c *cluster) every(mean time.Duration, f func() error) {
	if mean == 0 {
		return
	}
	var again func() error
	again = func() error {
		if c.calm {
			return nil
		}
		if err := f(); err != nil {
			return err
		}
		c.at(c.now+c.around(mean), again)
		return nil
	}
	c.at(c.around(mean), again)
}

// changeConfig has an operator ask for a configuration drawn at random. Now and
// then a node that is no member loses its disk before.
func (c *cluster) changeConfig() error {
	n := c.target(0.05)
	if n == nil {
		return nil
	}
	var conf raftcore.ConfState
	for _, m := range c.nodes {
		switch c.rng.IntN(6) {
		case 0:
			conf.Learners = append(conf.Learners, m.id)
		case 1, 2, 3:
			conf.Voters = append(conf.Voters, m.id)
		}
	}
	c.drawWitnesses(n, &conf)
	if len(conf.Voters) == 0 || c.struck() && !c.enough(nil, conf) {
		return nil
	}
	for _, m := range c.nodes {
		if known := c.nodes[n.id-1].core.Status().Conf; m.core == nil && !c.conf.Contains(m.id) && !known.Contains(m.id) && c.chance(0.3) && c.enough(m, conf) {
			c.wipe(m)
			if c.plan.Witnesses > 0 && !conf.Contains(m.id) && !c.maybeMember(m.id) && c.chance(0.5) {
				m.witness = !m.witness // for the next time that it is asked for
			}
		}
	}
	c.lastTag++
	c.changes[c.lastTag] = change{n, conf}
	c.Stats.Changes++
	in := raftcore.ChangeConfig{Tag: c.lastTag, Conf: conf}
	if c.chance(0.3) {
		in.Expect = n.core.Status().ConfIndex
	}
	c.tracef("%d is asked for %v", n.id, &conf)
	return c.step(n, in)
}

// transferLeader has an operator ask for another leader.
func (c *cluster) transferLeader() error {
	n := c.target(0.05)
	if n == nil {
		return nil
	}
	c.lastTag++
	c.Stats.Transfers++
	to := raftcore.NodeID(c.rng.IntN(len(c.nodes) + 1))
	c.tracef("%d is asked to hand over to %d", n.id, to)
	return c.step(n, raftcore.Transfer{Tag: c.lastTag, To: to})
}

func (c *cluster) restart(n *node) error {
	if n.core != nil {
		return nil
	}
	return c.start(n)
}

// settle ends the faults and demands that the group makes progress: a new
// command must be committed, and every node must come to the same log.
func (c *cluster) settle() error {
	c.calm = true
	c.heal()
	for _, n := range c.nodes {
		if n == c.lost {
			continue
		}
		if err := c.restart(n); err != nil {
			return err
		}
	}
	// Disks may still be busy with what was asked of them, and followers far
	// behind; beyond that, a few election timeouts are plenty.
	limit := c.now + 200*c.plan.Disk + 200*c.plan.Delay + 60*c.plan.ElectionTimeout + time.Minute
	want := c.check.acked + 1
	for c.now < limit {
		before := c.Stats.Acknowledged
		if err := c.propose("settle"); err != nil {
			return err
		}
		next := c.now + c.plan.ElectionTimeout
		c.at(next, func() error { return nil })
		if err := c.run(next, func() bool { return c.Stats.Acknowledged > before && c.check.acked >= want && c.converged() }); err != nil {
			return err
		}
		if c.check.acked >= want && c.converged() {
			return nil
		}
		c.now = max(c.now, next)
	}
	if c.plan.Reckless {
		c.Stats.Lame++
		return nil
	}
	return fmt.Errorf("%w: %v", ErrLiveness, c.states())
}

func (c *cluster) states() []string {
	var out []string
	for _, n := range c.nodes {
		if n.core == nil {
			out = append(out, fmt.Sprintf("node %d down", n.id))
		} else {
			out = append(out, n.core.String())
		}
	}
	return out
}
