package rafttest

import (
	"maps"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// strike has a node that is down lose its disk, or the end of what that holds, now
// and then, if it can be spared.
func (c *cluster) strike(n *node) {
	switch {
	case c.chance(c.plan.Wipe) && c.enough(n):
		c.wipe(n)
	case c.chance(c.plan.Damage) && c.enough(n):
		c.damage(n)
	}
}

// wipe gives a node a new disk. It joins, whatever it was before.
func (c *cluster) wipe(n *node) {
	c.tracef("%d lost its disk", n.id)
	c.Stats.Wiped++
	c.forget(n)
	n.disk = disk{incarnation: raftcore.Incarnation(c.rng.Uint64())}
	n.founder = false
}

// damage has a disk lose the newest Saves of its journal, and notice.
func (c *cluster) damage(n *node) {
	d := &n.disk
	lost := c.rng.IntN(min(len(d.journal), 5) + 1)
	if d.rot > 0 {
		lost = max(lost, len(d.journal)-d.rot+1)
	}
	c.Stats.Damaged++
	c.forget(n)
	c.cutOff(n, len(d.journal)-lost)
}

// rot has some Save of a journal become unreadable, if its node can be spared. If
// the node is up, it goes on, and does not notice before it reads what was in there.
func (c *cluster) rot(n *node) {
	d := &n.disk
	if len(d.journal) == 0 || d.rot > 0 || !c.enough(n) {
		return
	}
	c.Stats.Rotten++
	c.forget(n)
	n.forgot = true // whoever leads may make it a member
	d.rot = 1 + c.rng.IntN(len(d.journal))
	c.tracef("%d cannot read %d of its %d newest saves any more", n.id, d.rot, len(d.journal))
}

// cutOff has a disk that is damaged go on with the beginning of its journal.
func (c *cluster) cutOff(n *node, saves int) {
	d := &n.disk
	term, last := d.kept.hard.Term, d.kept.last()
	lost := len(d.journal) - saves
	d.cutOff(saves, c.chance(0.3), raftcore.Incarnation(c.rng.Uint64()))
	c.tracef("%d has lost its newest %d saves, and ends at %d, not at %d", n.id, lost, d.kept.last(), last)
	if now := d.kept.last(); now > 0 && now < min(last, raftcore.Index(len(c.check.committed))) {
		c.Stats.LostCommitted++
	}
	if d.kept.hard.Term < term {
		c.Stats.LostTerms++
	}
}

// forget notes that what a node knows is lost, or will be when it starts again.
func (c *cluster) forget(n *node) {
	isMember := func(id raftcore.NodeID) bool {
		return slices.ContainsFunc(c.confs(), func(conf raftcore.ConfState) bool { return conf.Contains(id) })
	}
	for _, o := range c.nodes {
		if o != n && o.forgot && isMember(o.id) {
			c.Stats.Together++
			break
		}
	}
	n.forgot = n.forgot || n.whole() && isMember(n.id)
}

// repaired takes note of a node that counts again.
func (c *cluster) repaired(n *node) {
	if n.forgot && n.whole() {
		n.forgot = false
		c.Stats.Repaired++
	}
}

// struck reports whether there is somebody who does not count yet, and of whom a
// leader may not know that.
func (c *cluster) struck() bool {
	return slices.ContainsFunc(c.nodes, func(n *node) bool { return n.forgot })
}

// whole reports whether a node's disk, as it is, lets it vote and acknowledge.
func (n *node) whole() bool { return n.disk.kept.hard.Joined && n.disk.rot == 0 }

// change is a configuration that a node was asked for.
type change struct {
	of   *node
	conf raftcore.ConfState
}

// confs returns the configurations that are in force, or may be any moment: the
// newest one that is known to be committed, those that leaders have put into their
// logs since then, and those that they were asked for.
func (c *cluster) confs() []raftcore.ConfState {
	all := []raftcore.ConfState{c.conf}
	maps.DeleteFunc(c.appended, func(id raftcore.EntryID, _ raftcore.ConfState) bool {
		overruled := int(id.Index) <= len(c.check.committed) && c.check.chains[id] != c.check.committed[id.Index-1].chain
		return id.Index <= c.check.confAt || overruled
	})
	for _, conf := range c.appended {
		all = append(all, conf)
	}
	for _, asked := range c.changes {
		all = append(all, asked.conf)
	}
	return all
}

// enough reports whether the group can do without what a node's disk holds, with
// another configuration asked for or not: it is how much damage raftcore promises to
// live through.
//
// What is promised is two things. Nothing that was acknowledged is lost, no two lead in
// a term, and so on, whatever becomes of whichever disks, as long as it is noticed: those
// who have forgotten something do not vote. That needs no guard, and some plans have none
// (Plan.Reckless). And the group goes on,
// as long as a majority of the voters have whole disks, which have held everything since
// they joined: they are enough to elect one of them, who sends the others what they lack
// and admits them. That is the guard. It does not matter who is up, how many disks were
// struck at once, or whether the same one is struck again before it is repaired.
//
// While the configuration changes, nobody knows which one will be in force, so there
// must be a majority in all of them. And it must be one of nodes that vote in all of them:
// whoever of these has the best log can lead then, since all others of them vote for it
// and are a quorum, whichever configuration it has. Others may not help it: one that
// is a voter in its configuration, and a learner in their own, with a better log, refuses
// it, and does not stand for election itself.
//
// Also a leader does not know at once that a disk was struck, and would go over to a
// configuration that counts on it. So while somebody is not repaired, the same is
// demanded of the configurations that are asked for.
func (c *cluster) enough(without *node, asked ...raftcore.ConfState) bool {
	if c.plan.Reckless {
		return true
	}
	confs := append(c.confs(), asked...)
	if slices.ContainsFunc(confs, func(conf raftcore.ConfState) bool { return len(conf.Witnesses) > 0 }) {
		// A witness may know of what only one other has. Whoever has data must keep it.
		for _, n := range c.nodes {
			if !n.witness && (n == without || n.forgot) && slices.ContainsFunc(confs, func(conf raftcore.ConfState) bool { return conf.Contains(n.id) }) {
				return false
			}
		}
	}
	counts := func(id raftcore.NodeID) bool {
		n := c.nodes[id-1]
		return n != without && n.whole() && !slices.ContainsFunc(confs, func(conf raftcore.ConfState) bool { return !conf.Votes(id) })
	}
	for i := range confs {
		for _, voters := range [][]raftcore.NodeID{confs[i].Voters, confs[i].Outgoing} {
			whole := 0
			for _, id := range voters {
				if counts(id) {
					whole++
				}
			}
			if len(voters) > 0 && whole <= len(voters)/2 {
				return false
			}
		}
	}
	return true
}
