package actors

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Consistency says how much a read has to see.
type Consistency uint8

// The consistencies.
const (
	// Linearizable: every command that was acknowledged to anybody before the read
	// was asked. It costs a round to a quorum, which all reads that wait share.
	// Where HostConfig.Raft.LeaseReads is set the leader may do without: see Lease.
	Linearizable Consistency = iota
	// Lease: the same without a round, as long as no clock drifts by more than
	// HostConfig.Raft.MaxClockDrift; without a lease there is a round. It is refused
	// unless HostConfig.Raft.LeaseReads is set.
	Lease
	// BoundedStale: every command that was acknowledged to anybody Request.MaxAge
	// before this member answered, or longer ago. No clock is trusted but how this
	// process measures time; time that it sleeps through with its whole machine is
	// not seen. All such reads share a round now and then. A member that cannot
	// prove how old it is does not answer.
	BoundedStale
	// Local: whatever this member has applied. That may be arbitrarily old, and a
	// later read on another member may see less. A witness has nothing, and answers neither
	// this nor BoundedStale: ErrWitness.
	Local
)

func (c Consistency) String() string {
	switch c {
	case Linearizable:
		return "linearizable"
	case Lease:
		return "lease"
	case BoundedStale:
		return "bounded stale"
	case Local:
		return "local"
	}
	return fmt.Sprintf("consistency-%d", uint8(c))
}

// reading is what a call knows of itself if it reads, and is BoundedStale or has an After.
type reading struct {
	maxAge time.Duration
	after  raftcore.Index   // whoever asked wants at least this
	asked  raftcore.Instant // when the node took it
	asOf   raftcore.Instant // it sees everything that was acknowledged before
}

// age returns how old the state may be that the answer shows, or that it is too
// old for who asked.
func (c *call) age(now raftcore.Instant) (time.Duration, error) {
	if c.consistency != BoundedStale {
		return 0, nil
	}
	age := now.Sub(c.more.asOf)
	if age > c.more.maxAge {
		return 0, ErrTooOld
	}
	return age, nil
}

// confirmTag is the tag of the node's own reads, which confirm how old it is.
const confirmTag = raftcore.Tag(math.MaxUint64)

// firstRound is before the tags of rounds of reads, and behind those of calls.
const firstRound = raftcore.Tag(1 << 63)

// reads are the queries that a node has taken and not handed on. Every member
// answers with its own machine: the leader is asked for an index, not for an
// answer, and however many read, they ask once. What the query and the answer
// weigh does not travel, and no member's machine works for another.
//
// A member that does not get as far as that index within a heartbeat's time is
// behind: it has been away, or its disk is slow. What waits then goes to the
// leader's host as it is, and so does every read until this member has applied
// what the first of them waited for. Not those that ask for this member, Local.
type reads struct {
	ready   []*call        // for the machine, with the next work
	held    []heldRead     // until the machine has been given what they need
	heldFor raftcore.Index // the least that any of them needs
	lookAt  raftcore.Instant
	given   raftcore.Index // the machine has been given all entries up to here
	behind  raftcore.Index // until that is as far as this, the leader's host is asked

	// asking have been taken in this batch, and ask the core together, as one read; rounds
	// are those that have. So the core has as much to do for a thousand as for one.
	asking []*call
	rounds map[raftcore.Tag]readRound
	round  raftcore.Tag // the last one
	spare  []*call

	// What this node knows of its age: all that had been acknowledged at asOf is
	// in a state that has applied index.
	asOf  raftcore.Instant
	index raftcore.Index
	// waiting are for a newer one. wanted: somebody will need a newer one soon;
	// askedAt: one is on its way, asked for then.
	waiting []*call
	wanted  bool
	askedAt raftcore.Instant
}

// heldRead is a read that is held, since then.
type heldRead struct {
	*call
	since raftcore.Instant
}

// readRound are reads that have asked the core together, and when.
type readRound struct {
	calls []*call
	asked raftcore.Instant
}

// read takes a client's query.
func (n *node) read(c *call) {
	leader := n.core.Leader()
	elsewhere := leader != n.host.cfg.ID
	switch {
	case c.state.Load() == callAnswered: // nobody waits for it any more
		c.release()
	case c.consistency != Local && len(c.data) > n.host.cfg.Raft.MaxCommandBytes:
		c.finish(nil, n.tooLarge(c)) // it may have to travel, and no link might take it
	case n.group.cfg.Witness && (c.consistency == Local || c.consistency == BoundedStale):
		c.finish(nil, ErrWitness)
	case n.group.cfg.Witness && !c.foreign && leader != raftcore.Nobody:
		n.elsewhere(c, leader)
	case n.calls.full():
		c.finish(nil, n.calls.busy())
	case c.consistency == Local:
		n.calls.working.Add(1)
		n.hold(c)
	case elsewhere && c.foreign, leader == raftcore.Nobody && c.consistency != BoundedStale:
		c.finish(nil, n.notLeader(leader))
	case elsewhere && n.reads.given < n.reads.behind && leader != raftcore.Nobody:
		n.elsewhere(c, leader)
	case c.consistency == BoundedStale:
		n.calls.working.Add(1)
		n.readBounded(c)
	default:
		n.calls.working.Add(1)
		n.reads.asking = append(n.reads.asking, c)
	}
}

// elsewhere has the leader's host answer a read.
func (n *node) elsewhere(c *call, leader raftcore.NodeID) {
	if c.more != nil {
		c.more.asOf = n.now
	}
	n.redirect(c, leader)
}

// askTogether asks the core for those that were taken.
func (n *node) askTogether() {
	r := &n.reads
	if len(r.asking) == 0 {
		return
	}
	if r.rounds == nil {
		r.rounds, r.round = map[raftcore.Tag]readRound{}, firstRound
	}
	r.round++
	r.rounds[r.round] = readRound{r.asking, n.now}
	r.asking, r.spare = r.spare, nil
	n.core.Step(raftcore.Read{Tag: r.round})
}

// takeRound returns the reads of a round, which is over. They are done with before others
// are asked for.
func (r *reads) takeRound(tag raftcore.Tag) readRound {
	round := r.rounds[tag]
	delete(r.rounds, tag)
	return round
}

// reuse clears the room that the reads of a round took, and uses it again.
func (r *reads) reuse(round readRound) {
	clear(round.calls)
	r.spare = round.calls[:0]
}

// hold keeps a read until the machine has been given what it needs.
func (n *node) hold(c *call) {
	r := &n.reads
	c.index = max(c.index, c.its().after)
	if c.index <= r.given {
		r.ready = append(r.ready, c)
		return
	}
	if len(r.held) == 0 {
		r.heldFor = c.index
		r.lookAt = n.now.Add(n.host.cfg.Raft.HeartbeatInterval)
	}
	r.held = append(r.held, heldRead{c, n.now})
	r.heldFor = min(r.heldFor, c.index)
}

// gave lets the reads go that waited for the machine to be given entries up to
// index.
func (n *node) gave(index raftcore.Index) {
	r := &n.reads
	r.given = index
	if len(r.held) == 0 || index < r.heldFor {
		return
	}
	held := r.held[:0]
	r.heldFor = math.MaxUint64
	for _, h := range r.held {
		if h.index <= index {
			r.ready = append(r.ready, h.call)
		} else {
			held = append(held, h)
			r.heldFor = min(r.heldFor, h.index)
		}
	}
	clear(r.held[len(held):])
	r.held = held
}

// sweepReads forgets the reads that nobody waits for any more, and has the
// leader's host answer those that have been held for too long.
func (n *node) sweepReads() {
	r := &n.reads
	if len(r.held) == 0 || n.now < r.lookAt {
		return
	}
	patience := n.host.cfg.Raft.HeartbeatInterval
	r.lookAt = n.now.Add(patience)
	leader := n.core.Leader()
	known := n.host.peer(leader) != nil
	r.held = slices.DeleteFunc(r.held, func(c heldRead) bool {
		givenUp := c.state.Load() == callAnswered
		late := known && c.consistency != Local && n.now >= c.since.Add(patience)
		if late && !givenUp {
			r.behind = max(r.behind, min(c.index, r.index)) // an After may be anything
			n.elsewhere(c.call, leader)
		}
		if givenUp {
			c.release()
		}
		if givenUp || late {
			n.calls.working.Add(-1)
		}
		return givenUp || late
	})
}

// readBounded takes a query that is content with a state of some age.
func (n *node) readBounded(c *call) {
	r := &n.reads
	maxAge, age := c.more.maxAge, n.now.Sub(r.asOf)
	c.index, c.more.asked, c.more.asOf = r.index, n.now, r.asOf
	if r.asOf == 0 || age > maxAge {
		r.waiting = append(r.waiting, c)
		r.wanted = true
		return
	}
	if age > maxAge/2 && r.askedAt == 0 {
		r.wanted = true // so that who comes later need not wait
	}
	n.hold(c)
}

// confirm asks how old this node is, if somebody wants to know.
func (n *node) confirm() {
	r := &n.reads
	if r.wanted && r.askedAt == 0 {
		r.wanted, r.askedAt = false, n.now
		n.core.Step(raftcore.Read{Tag: confirmTag})
	}
}

// confirmed takes the news that a state with index has all that was acknowledged
// before asOf.
func (n *node) confirmed(asOf raftcore.Instant, index raftcore.Index) {
	r := &n.reads
	if asOf <= r.asOf {
		return
	}
	r.asOf, r.index = asOf, index
	r.waiting = slices.DeleteFunc(r.waiting, func(c *call) bool {
		c.more.asOf, c.index = asOf, index
		_, err := c.age(n.now)
		switch {
		case err == nil:
			n.hold(c)
		case c.more.asked <= asOf: // asked for on its behalf, and that took too long
			n.calls.working.Add(-1)
			c.finish(nil, err)
		default:
			return false
		}
		return true
	})
	r.wanted = len(r.waiting) > 0
}

// notConfirmed ends the reads that waited for a confirmation.
func (n *node) notConfirmed(reply raftcore.Reply) {
	r := &n.reads
	err := n.notLeader(reply.Leader)
	if reply.Outcome == raftcore.Busy {
		err = n.notCommitted()
	}
	n.calls.working.Add(-int64(len(r.waiting)))
	for _, c := range r.waiting {
		c.finish(nil, err)
	}
	r.waiting, r.wanted, r.askedAt = nil, false, 0
}

// readsAt takes the indexes that the core has for the reads that asked for one.
func (n *node) readsAt(ready []raftcore.ReadReady) {
	for _, ready := range ready {
		if ready.Tag == confirmTag {
			asOf := n.reads.askedAt
			n.reads.askedAt = 0
			n.confirmed(asOf, ready.Index)
			continue
		}
		round := n.reads.takeRound(ready.Tag)
		n.confirmed(round.asked, ready.Index)
		for _, c := range round.calls {
			c.index = ready.Index
			n.hold(c)
		}
		n.reads.reuse(round)
	}
}

// abandon ends all reads.
func (r *reads) abandon() {
	all := slices.Concat(r.ready, r.waiting, r.asking)
	for _, h := range r.held {
		all = append(all, h.call)
	}
	for _, tag := range slices.Sorted(maps.Keys(r.rounds)) { // the same order each time: see peers.each
		all = append(all, r.rounds[tag].calls...)
	}
	for _, c := range all {
		c.abandon()
	}
	*r = reads{}
}

// judge says what the answer of the leader's host is worth to who asked.
func (c *call) judge(o outcome, now raftcore.Instant) outcome {
	if o.err != nil {
		return o
	}
	if o.age, o.err = c.age(now); o.err == nil && o.index < c.its().after {
		o.err = fmt.Errorf("%w: the group has no entry %d yet, its last is %d", ErrBadRequest, c.its().after, o.index)
	}
	if o.err != nil {
		o.data = nil
	}
	return o
}
