package rafttest

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/raftcore"
)

// cluster is a simulated group. Its only source of events is one queue ordered
// by virtual time; its only source of chance is one seeded generator. It is not
// safe for concurrent use.
type cluster struct {
	plan  Plan
	rng   *rand.Rand
	now   time.Duration
	queue events
	count uint64 // events scheduled: breaks ties in the queue
	nodes []*node

	founders raftcore.ConfState
	conf     raftcore.ConfState // the newest committed one
	// appended are those that leaders have put into their logs after it.
	appended map[raftcore.EntryID]raftcore.ConfState

	check *checker
	cut   map[link]bool // links that a partition cuts, one-way
	calm  bool          // no faults any more
	lost  *node         // it never comes back

	reads   map[raftcore.Tag]raftcore.Index // what was acknowledged when a read was asked for
	writes  map[raftcore.Tag]raftcore.Index // and a proposal
	changes map[raftcore.Tag]change
	lastTag raftcore.Tag
	trace   func(string)
	unlike  error // what was played back has come to another state

	// Stats count what happened, so that a run that tested nothing is noticed.
	Stats Stats
}

// Stats counts what happened in a run.
type Stats struct {
	Steps, Messages, Lost, Elections, Crashes, Partitions int
	Proposed, Acknowledged, Refused, Overwritten          int
	Reads, FollowerReads, ReadsRefused, Loads             int
	Changes, ChangesDone, Transfers, TransfersDone        int
	Snapshots, Installs, Quiescent                        int

	Wiped, Damaged, Rotten int // disks that were lost, have lost their end, have rotted in the middle
	RottenLoads            int // rot that a Load has met; else it is found at the next start
	LostCommitted          int // disks that have lost committed entries, and not all they had
	LostTerms              int // and have gone back to an earlier term
	Together               int // disks that were struck while another member was not repaired
	Lame                   int // groups that had no majority left in the end, as their plan allowed
	Repaired               int // members whose disks were struck, and who count again

	Witnessed  int // entries that witnesses have saved, without their data
	Bare       int // snapshots that witnesses were sent, without their state
	Turned     int // changes that were refused because somebody's kind would change in place
	Died, Lone int // members that were lost in the end; and what only they and a witness had
}

type link struct{ from, to raftcore.NodeID }

// node is a simulated process: a core, or nothing while it is down, and a disk.
type node struct {
	id      raftcore.NodeID
	rate    float64 // of its clock
	core    *raftcore.Node
	flight  *flight.Recorder
	boot    uint64
	founder bool
	witness bool // it has no machine, and no data on its disk
	machine machine
	disk    disk
	shadow  shadow
	out     raftcore.Output
	wake    time.Duration // when a tick is scheduled for; 0: none
	diskAt  time.Duration // when the newest pending Save completes
	quiet   bool
	forgot  bool // the disk of a member was struck, and it does not count again yet
}

// machine is a simulated state machine: its state is the chain hash of what it
// has applied.
type machine struct {
	applied raftcore.Index // handed out to it
	chain   uint64
	time    int64
}

// clock is what the node's own clock shows.
func (n *node) clock(now time.Duration) raftcore.Instant {
	return raftcore.Instant(float64(now) * n.rate)
}

// due is when the node's own clock shows an instant.
func (n *node) due(at raftcore.Instant) time.Duration {
	return time.Duration(float64(at)/n.rate) + time.Nanosecond
}

// newCluster returns a group of plan.Voters fresh nodes, founded.
func newCluster(plan Plan) (*cluster, error) {
	c := &cluster{
		plan:     plan,
		rng:      rand.New(rand.NewPCG(plan.Seed, 0x73_69_6d)),
		now:      time.Millisecond,
		check:    newChecker(),
		cut:      map[link]bool{},
		appended: map[raftcore.EntryID]raftcore.ConfState{},
		reads:    map[raftcore.Tag]raftcore.Index{},
		writes:   map[raftcore.Tag]raftcore.Index{},
		changes:  map[raftcore.Tag]change{},
	}
	conf := raftcore.ConfState{}
	for i := range plan.Voters {
		conf.Voters = append(conf.Voters, raftcore.NodeID(i+1))
	}
	conf.Witnesses = slices.Clone(conf.Voters[plan.Voters-plan.Witnesses:])
	if plan.Witnesses == 0 {
		conf.Witnesses = nil
	}
	for i := range plan.Voters + plan.Spares {
		n := &node{id: raftcore.NodeID(i + 1), founder: i < plan.Voters, rate: 1}
		n.witness = plan.Witnesses > 0 && i >= plan.Voters-plan.Witnesses && i <= plan.Voters
		if plan.Leases { // clocks run as unevenly as is declared
			n.rate += float64(c.rng.IntN(2*clockDrift+1)-clockDrift) / 1000
		}
		n.disk.incarnation = raftcore.Incarnation(c.rng.Uint64())
		c.nodes = append(c.nodes, n)
	}
	c.founders, c.conf = conf, conf
	for _, n := range c.nodes {
		if err := c.start(n); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) tracef(format string, args ...any) {
	if c.trace != nil {
		c.trace(fmt.Sprintf("%12v  ", c.now) + fmt.Sprintf(format, args...))
	}
}

// start brings a node up from its disk.
func (c *cluster) start(n *node) error {
	if n.disk.rot > 0 {
		c.cutOff(n, n.disk.rot-1)
	}
	n.boot++
	tail := 0
	if !c.plan.Forgetful {
		tail = c.rng.IntN(20)
	}
	r := n.disk.recovered(tail)
	core, err := raftcore.New(c.plan.config(n), r)
	if err != nil {
		return err
	}
	n.core, n.machine, n.wake, n.quiet = core, machine{}, 0, false
	n.flight = flight.Record(core, flight.NewBounds(0)) // in small parts
	n.shadow = shadow{chain: c.check.prefix(r.Base.Index)}
	for i := range n.disk.kept.entries {
		e := &n.disk.kept.entries[i]
		chain, err := c.check.chainOf(n.shadow.chainAt(e.Index-1), e)
		if err != nil {
			return err
		}
		n.shadow.chain = append(n.shadow.chain, chain)
	}
	c.tracef("%d start %v", n.id, &r)
	if !n.founder {
		return c.step(n)
	}
	// Every start founds the group, as the actor shell does: it is idempotent,
	// and the first one may not have reached the disk.
	return c.step(n, raftcore.Bootstrap{Cluster: 1, Conf: c.founders})
}

// crash takes a node down. Of the Saves under way a random number made it.
func (c *cluster) crash(n *node) {
	kept := c.rng.IntN(len(n.disk.pending) + 1)
	c.tracef("%d crash, %d of %d pending saves kept", n.id, kept, len(n.disk.pending))
	n.disk.crash(kept)
	c.playBack(n)
	n.core, n.diskAt = nil, 0
	maps.DeleteFunc(c.changes, func(_ raftcore.Tag, asked change) bool { return asked.of == n })
	c.repaired(n)
	c.Stats.Crashes++
}

// playBack has a node of its own told what this one was, of late: it has to come to the
// same state.
func (c *cluster) playBack(n *node) {
	if n.core != nil && c.unlike == nil {
		c.unlike = n.flight.Check(n.core)
	}
}

// step gives a node its inputs and carries out what it wants.
func (c *cluster) step(n *node, inputs ...raftcore.Input) error {
	c.Stats.Steps++
	n.core.Step(raftcore.Tick{Now: n.clock(c.now), Time: c.now.Milliseconds()})
	for _, in := range inputs {
		n.core.Step(in)
	}
	n.core.Drain(&n.out)
	n.core.CheckInvariants()
	if err := c.check.kind(n, &n.out); err != nil {
		return err
	}
	if n.witness {
		c.Stats.Witnessed += len(n.out.Save.Entries)
	}
	return c.act(n, &n.out)
}

// act carries out an Output.
func (c *cluster) act(n *node, out *raftcore.Output) error {
	st := n.core.Status()
	if n.shadow.leader != st.Term {
		n.shadow.leader = 0 // deposed: what it saves now may overwrite what it had appended
	}
	if out.Save.Token.Sequence != 0 {
		c.tracef("%d -> disk  %v", n.id, out.Save)
		if err := c.check.saved(n.id, &n.shadow, &out.Save); err != nil {
			return err
		}
		save := out.Save
		for _, e := range save.Entries {
			if e.Kind == raftcore.EntryConfig {
				c.appended[e.EntryID] = *e.Config
			}
		}
		n.disk.pending = append(n.disk.pending, save)
		n.diskAt = max(n.diskAt, c.now) + c.diskTime()
		c.at(n.diskAt, func() error { return c.diskDone(n, save.Token) })
	}
	if st.Role == raftcore.Leader && n.shadow.leader != st.Term {
		c.Stats.Elections++
		c.tracef("%d leads term %d", n.id, st.Term)
	}
	if st.Role == raftcore.Leader && n.shadow.leader == st.Term && n.shadow.commit < st.Commit && n.core.CommitStatus(raftcore.EntryID{Term: st.Term, Index: st.Commit}) != raftcore.CommitCommitted {
		return fmt.Errorf("commit rule (Figure 8): node %d leads term %d and commits entry %d, of an earlier term, by counting", n.id, st.Term, st.Commit)
	}
	if err := c.check.status(&st, &n.shadow); err != nil {
		return err
	}
	if out.Quiescent && !n.quiet {
		c.Stats.Quiescent++
	}
	n.quiet = out.Quiescent
	if err := c.restore(n, out.Restore); err != nil {
		return err
	}
	if err := c.apply(n, out); err != nil {
		return err
	}
	if out.Compact {
		c.snapshot(n)
	}
	for _, l := range out.Load {
		c.load(n, l)
	}
	for _, r := range out.Reads {
		if err := c.readDone(n, r); err != nil {
			return err
		}
	}
	for _, r := range out.Replies {
		c.replied(n, r)
	}
	for i := range out.Send {
		if err := n.disk.promised(&out.Send[i]); err != nil {
			return err
		}
		if err := c.check.voted(&out.Send[i]); err != nil {
			return err
		}
		c.transmit(clone(&out.Send[i]))
	}
	if out.Deadline != 0 {
		c.arm(n, n.due(out.Deadline))
	}
	return nil
}

// load has a node's disk read entries, or fail to.
func (c *cluster) load(n *node, l raftcore.Load) {
	c.Stats.Loads++
	boot := n.boot
	c.at(c.now+c.diskTime(), func() error {
		if n.core == nil || n.boot != boot {
			return nil
		}
		loaded := raftcore.Loaded{Load: l}
		if c.calm || c.rng.IntN(20) > 0 {
			loaded.Entries = n.disk.load(l)
		}
		if n.disk.rotten(loaded.Entries) { // its host stops such a member at once
			c.tracef("%d cannot read what it has saved", n.id)
			c.Stats.RottenLoads++
			c.crash(n)
			c.at(c.now+c.around(c.plan.Restart), func() error { return c.restart(n) })
			return nil
		}
		return c.step(n, loaded)
	})
}

// arm schedules a tick for the node's deadline. An earlier one stays: the node
// is asked again then.
func (c *cluster) arm(n *node, deadline time.Duration) {
	if n.wake != 0 && n.wake <= deadline {
		return
	}
	deadline = max(deadline, c.now+time.Microsecond)
	n.wake = deadline
	boot := n.boot
	c.at(deadline, func() error {
		if n.core == nil || n.boot != boot || n.wake != deadline {
			return nil
		}
		n.wake = 0
		return c.step(n)
	})
}

// diskDone makes the oldest pending Save of a node durable.
func (c *cluster) diskDone(n *node, token raftcore.Token) error {
	if n.core == nil || token.Boot != n.boot || len(n.disk.pending) == 0 || n.disk.pending[0].Token != token {
		return nil // lost in a crash
	}
	n.disk.complete()
	c.repaired(n)
	c.tracef("disk -> %d  Saved #%d", n.id, token.Sequence)
	return c.step(n, raftcore.Saved{Token: token})
}

// apply has a node's machine apply entries, a little later.
func (c *cluster) apply(n *node, out *raftcore.Output) error {
	entries := out.Apply.Entries
	if len(entries) == 0 {
		return nil
	}
	if err := c.check.applied(n.id, &out.Apply, n.machine.applied); err != nil {
		return err
	}
	if err := n.disk.durable(n.id, entries); err != nil {
		return err
	}
	m := &n.machine
	for i := range entries {
		e := &entries[i]
		m.applied, m.chain, m.time = e.Index, chainHash(m.chain, e), e.Time
		if e.Kind == raftcore.EntryConfig && e.Index > c.check.confAt {
			c.check.confAt, c.conf = e.Index, *e.Config
		}
	}
	last := m.applied
	c.Stats.Acknowledged += len(out.Apply.Tags)
	for _, t := range out.Apply.Tags {
		if floor := c.writes[t.Tag]; t.Index <= floor {
			return fmt.Errorf("linearizability: node %d applies at %d what was proposed after %d was acknowledged", n.id, t.Index, floor)
		}
		c.check.acked = max(c.check.acked, t.Index)
	}
	boot := n.boot
	c.at(c.now+time.Duration(c.rng.Int64N(int64(2*time.Millisecond))), func() error {
		if n.core == nil || n.boot != boot {
			return nil
		}
		return c.step(n, raftcore.Applied{Index: last})
	})
	return nil
}

// readDone checks a read's index against what had been acknowledged, by
// anybody, when it was asked for.
func (c *cluster) readDone(n *node, r raftcore.ReadReady) error {
	c.Stats.Reads++
	if n.shadow.leader == 0 {
		c.Stats.FollowerReads++
	}
	if floor := c.reads[r.Tag]; r.Index < floor {
		return fmt.Errorf("linearizability: node %d reads at %d what was acknowledged at %d before the read began", n.id, r.Index, floor)
	}
	delete(c.reads, r.Tag)
	return nil
}

func (c *cluster) replied(n *node, r raftcore.Reply) {
	c.tracef("%d -> client  %v", n.id, r)
	if _, isRead := c.reads[r.Tag]; isRead {
		delete(c.reads, r.Tag)
		c.Stats.ReadsRefused++
		return
	}
	_, isChange := c.changes[r.Tag]
	delete(c.changes, r.Tag)
	switch r.Outcome {
	case raftcore.Done:
		switch {
		case r.Tag == 0:
		case isChange:
			c.Stats.ChangesDone++
		default:
			c.Stats.TransfersDone++
		}
	case raftcore.NotInPlace:
		c.Stats.Turned++
	case raftcore.Overwritten:
		c.Stats.Overwritten++
	default:
		c.Stats.Refused++
	}
}

// propose has a client propose a command to the node that leads, as far as the
// client can see, or to any.
func (c *cluster) propose(data string) error {
	n := c.target(0.05)
	if n == nil {
		return nil
	}
	c.lastTag++
	c.writes[c.lastTag] = c.check.acked
	c.Stats.Proposed++
	return c.step(n, raftcore.Propose{Tag: c.lastTag, Data: []byte(data)})
}

// read has a client ask for a linearizable read.
func (c *cluster) read() error {
	n := c.target(0.4)
	if n == nil {
		return nil
	}
	c.lastTag++
	c.reads[c.lastTag] = c.check.acked
	return c.step(n, raftcore.Read{Tag: c.lastTag})
}

// target picks a node that believes it leads, usually; during a partition there
// may be two. With some chance it picks any node.
func (c *cluster) target(any float64) *node {
	var up, leading []*node
	for _, n := range c.nodes {
		if n.core != nil {
			up = append(up, n)
			if n.core.Status().Role == raftcore.Leader {
				leading = append(leading, n)
			}
		}
	}
	if len(leading) > 0 && c.rng.Float64() >= any {
		return leading[c.rng.IntN(len(leading))]
	}
	if len(up) == 0 {
		return nil
	}
	return up[c.rng.IntN(len(up))]
}

// diskTime draws how long the disk takes.
func (c *cluster) diskTime() time.Duration {
	if c.plan.Disk == 0 {
		return 0
	}
	d := c.between(c.plan.Disk/10, 2*c.plan.Disk)
	if !c.calm && c.chance(c.plan.SlowDisk) {
		d *= time.Duration(1 + c.rng.IntN(100))
	}
	return d
}

func (c *cluster) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(c.rng.Int64N(int64(hi-lo)+1))
}

func (c *cluster) chance(p float64) bool { return p > 0 && c.rng.Float64() < p }

// around draws a duration with the given mean, at least a millisecond.
func (c *cluster) around(mean time.Duration) time.Duration {
	return max(time.Millisecond, time.Duration(c.rng.ExpFloat64()*float64(mean)))
}

// at schedules f.
func (c *cluster) at(t time.Duration, f func() error) {
	c.count++
	heap.Push(&c.queue, event{at: t, count: c.count, run: f})
}

// run carries out events until the virtual time t, or until done says so.
func (c *cluster) run(t time.Duration, done func() bool) error {
	for len(c.queue) > 0 && c.queue[0].at <= t {
		if done != nil && done() {
			return nil
		}
		e := heap.Pop(&c.queue).(event)
		c.now = max(c.now, e.at)
		if err := e.run(); err != nil {
			return err
		}
	}
	if done == nil {
		c.now = max(c.now, t)
	}
	return nil
}

// converged reports whether every member is up, counts, and has applied everything
// that was ever committed, and no change is under way.
func (c *cluster) converged() bool {
	for _, id := range c.conf.Members() {
		n := c.nodes[id-1]
		if n == c.lost {
			continue
		}
		if n.core == nil || !n.disk.kept.hard.Joined || int(n.core.Status().Commit) < len(c.check.committed) || !n.witness && int(n.machine.applied) < len(c.check.committed) {
			return false
		}
	}
	return !c.conf.Joint()
}

// event is something that will happen.
type event struct {
	at    time.Duration
	count uint64
	run   func() error
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].count < q[j].count
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = slices.Delete(old, len(old)-1, len(old))
	return last
}

// Add returns the sums of two Stats.
func (s Stats) Add(o Stats) Stats {
	s.Steps += o.Steps
	s.Messages += o.Messages
	s.Lost += o.Lost
	s.Elections += o.Elections
	s.Crashes += o.Crashes
	s.Partitions += o.Partitions
	s.Proposed += o.Proposed
	s.Acknowledged += o.Acknowledged
	s.Refused += o.Refused
	s.Overwritten += o.Overwritten
	s.Reads += o.Reads
	s.ReadsRefused += o.ReadsRefused
	s.FollowerReads += o.FollowerReads
	s.Loads += o.Loads
	s.Changes += o.Changes
	s.ChangesDone += o.ChangesDone
	s.Transfers += o.Transfers
	s.TransfersDone += o.TransfersDone
	s.Snapshots += o.Snapshots
	s.Installs += o.Installs
	s.Quiescent += o.Quiescent
	s.Wiped += o.Wiped
	s.Damaged += o.Damaged
	s.Rotten += o.Rotten
	s.RottenLoads += o.RottenLoads
	s.LostCommitted += o.LostCommitted
	s.LostTerms += o.LostTerms
	s.Together += o.Together
	s.Lame += o.Lame
	s.Repaired += o.Repaired
	s.Witnessed += o.Witnessed
	s.Bare += o.Bare
	s.Turned += o.Turned
	s.Died += o.Died
	s.Lone += o.Lone
	return s
}
