package actors

import (
	"maps"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// liveness lets groups fall silent. The members of a silent group send nothing and
// expect nothing, so nobody in it would notice that its leader, or a quorum, is gone.
// Instead each pair of hosts exchanges a Beat three times an election timeout, one for
// all groups that are silent between them: those in which one leads and the other
// follows, both asleep, in the same term. It wakes a node (raftcore.Unreachable) whose
// opposite is not known to sleep any more.
//
// A Beat does not say that a host is alive; it says which of its nodes sleep. What
// stands in it is told by the nodes themselves, and taken back when a member fails, is
// stopped, or waits for its machine to end: a dead member cannot hide behind a living
// host.
//
// Beats carry what has changed, and the count and the sum of all that was told. Who
// receives them keeps a copy of the other's set; if the copy does not add up, beats
// were lost, or the other host has had another life. Such a beat is no sign of life,
// and the whole set is sent for. What follows from that:
//
//   - A host that is down, stalled, or cut off, in one direction or both: beats are
//     missing, and all that is silent between the two wakes.
//   - A leader whose member is gone, or leads no more: it is taken out of the set, and
//     its followers wake. A follower that is gone, or was woken by somebody else, or has
//     missed the word of silence: its leader wakes, and finds out.
//   - A node that fell asleep on the word of a leader that has died since: it is in no
//     set of the other host, and wakes.
//   - Sets that change all the time: what was told and what was meant may differ for as
//     long as a message takes. Who is missing is given the same time as a host that is
//     not heard of.
//   - A process that was stopped and goes on: it counts missing beats by its own looks
//     at the clock, and a stall, however long, is one look.
//
// None of that touches safety: who wakes in vain asks for votes that nobody grants.
//
//	node, member → liveness  asleep, awake
//	host         → liveness  *heardBeat
//	clock        → liveness  woken
//	liveness     → clock     wakeOrder
//	liveness     → peer      *Beat
//	liveness     → node      raftcore.Unreachable
type liveness struct {
	host *Host
	box  *mailbox

	self  ref
	pairs map[raftcore.NodeID]*pair
	nodes map[GroupKey]asleep
	wake  raftcore.Instant // when the clock will wake this actor; 0: it will not
}

// The messages of the liveness.
type (
	// asleep is a node that is silent, and with whom.
	asleep struct {
		group *Group
		node  ref
		term  raftcore.Term
		with  []raftcore.NodeID
	}
	// awake: it is not silent any more, or there is no node any more.
	awake struct{ group GroupKey }
	// heardBeat is what another host has sent.
	heardBeat struct {
		from raftcore.NodeID
		beat *Beat
	}
	// tellSleep asks a node to say anew whether it is silent: the liveness is another.
	tellSleep struct{}
)

// pair is what is known of the groups that are silent between this host and another.
type pair struct {
	groups map[GroupKey]*between
	// Of these, what the other was told, and what it says.
	told, said digest
	changed    []GroupKey // the other has to be told of them
	first      bool       // it has to be told of everything, as if it knew nothing
	resend     bool       // what it said does not add up
	missed     int        // looks since its last beat that does
}

// between is a group, as seen from both sides: the term in which a side sleeps, 0 if it
// does not.
type between struct {
	here    raftcore.Term
	told    raftcore.Term // what the other side knows of that
	there   raftcore.Term
	doubted int  // looks since only this side sleeps
	changed bool // it is among the pair's changed
}

// digest tells one set of silent groups from another.
type digest struct{ count, sum uint64 }

// replace takes a group in one term out, and puts it in in another.
func (d *digest) replace(group GroupKey, before, after raftcore.Term) {
	if before != 0 {
		d.count--
		d.sum -= mixed(group, before)
	}
	if after != 0 {
		d.count++
		d.sum += mixed(group, after)
	}
}

// mixed spreads the bits of a group and a term, so that sums of it do not agree by
// accident (the finalizer of SplitMix64, twice).
func mixed(group GroupKey, term raftcore.Term) uint64 {
	mix := func(x uint64) uint64 {
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	return mix(mix(uint64(group)) + uint64(term)*0x9e3779b97f4a7c15)
}

const (
	looks = 3 // at the clock, in an election timeout
	// patience is after how many looks a host is taken to be gone, or a node of it.
	patience = looks
	// maxChanges bounds the changes in one Beat, so that nothing waits long behind it.
	maxChanges = 4096
	// maxSilent bounds the groups that are known of a pair: whoever makes up groups without
	// end is not given memory without end. What is beyond it does not add up.
	maxSilent = 1 << 20
)

func (l *liveness) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		l.self = ref{ctx.Self(), l.box}
		l.pairs = map[raftcore.NodeID]*pair{}
		l.nodes = map[GroupKey]asleep{}
	case *delivery:
		for _, message := range m.Messages {
			l.receive(message)
		}
		l.lookAgain()
	case *actor.Stopped:
		l.box.close()
	}
}

func (l *liveness) receive(message any) {
	switch m := message.(type) {
	case asleep:
		l.fellAsleep(m)
	case awake:
		l.woke(m.group)
	case *heardBeat:
		l.pair(m.from).heard(m.beat)
	case woken:
		if m.at == l.wake {
			l.look()
		}
		if m.at == l.wake || m.at == 0 { // else it was asked of a clock before
			l.wake = 0
		}
	}
}

func (l *liveness) pair(id raftcore.NodeID) *pair {
	p := l.pairs[id]
	if p == nil {
		p = &pair{groups: map[GroupKey]*between{}, first: true}
		l.pairs[id] = p
	}
	return p
}

func (l *liveness) fellAsleep(m asleep) {
	l.woke(m.group.key)
	if node := m.group.node.Load(); node == nil || node.box != m.node.box {
		return // it has been stopped since, or is about to be
	}
	if len(m.with) > 0 {
		l.nodes[m.group.key] = m
	}
	for _, id := range m.with {
		l.pair(id).set(m.group.key, m.term)
	}
}

func (l *liveness) woke(group GroupKey) {
	for _, id := range l.nodes[group].with {
		l.pair(id).set(group, 0)
	}
	delete(l.nodes, group)
}

// lookAgain has the clock wake this actor, as long as anything is silent with somebody, or
// somebody has yet to be told of a change.
func (l *liveness) lookAgain() {
	if l.wake != 0 {
		return
	}
	busy := len(l.nodes) > 0
	for _, p := range l.pairs {
		busy = busy || len(p.changed) > 0
	}
	if busy {
		l.wake = l.host.now().Add(l.host.cfg.Raft.ElectionTimeout / looks)
		l.host.clock.tell(wakeOrder{at: l.wake, from: l.self})
	}
}

// look sends the beats, and wakes whose opposite does not sleep.
func (l *liveness) look() {
	for _, id := range slices.Sorted(maps.Keys(l.pairs)) {
		p := l.pairs[id]
		for _, group := range p.doubtful() {
			l.nodes[group].node.tell(raftcore.Unreachable{Peer: id})
		}
		beats, to := p.beats(), l.host.peer(id)
		if to == nil {
			p.first = true // it was taken out, and may be put in again
			continue
		}
		for _, b := range beats {
			to.tell(b)
		}
	}
}

// get returns what is known of a group.
func (p *pair) get(group GroupKey) *between {
	b := p.groups[group]
	if b == nil {
		b = &between{}
		p.groups[group] = b
	}
	return b
}

// set notes the term in which this side sleeps.
func (p *pair) set(group GroupKey, term raftcore.Term) {
	b := p.get(group)
	b.here, b.doubted = term, 0
	if !b.changed {
		b.changed = true
		p.changed = append(p.changed, group)
	}
}

// say notes the term in which the other side sleeps.
func (p *pair) say(group GroupKey, term raftcore.Term) {
	if p.groups[group] == nil && len(p.groups) >= maxSilent {
		return
	}
	b := p.get(group)
	p.said.replace(group, b.there, term)
	switch {
	case term == b.here:
		b.doubted = 0
	case b.there == b.here:
		b.doubted = patience - 1 // it is gone, or what has woken it will be here soon
	}
	b.there = term
	p.forget(group, b)
}

// forget forgets a group of which there is nothing to know.
func (p *pair) forget(group GroupKey, b *between) {
	if b.here == 0 && b.told == 0 && b.there == 0 && !b.changed {
		delete(p.groups, group)
	}
}

// heard takes a beat from the other side. If its set adds up, it is a sign of life.
func (p *pair) heard(beat *Beat) {
	if beat.First {
		for group := range p.groups {
			p.say(group, 0)
		}
	}
	for _, c := range beat.Changes {
		p.say(c.Group, c.Term)
	}
	p.resend = p.said != digest{beat.Count, beat.Sum}
	if !p.resend {
		p.missed = 0
	}
	p.first = p.first || beat.Resend
}

// doubtful returns the groups in which this side sleeps, and the other has not been known to
// for too long.
func (p *pair) doubtful() (groups []GroupKey) {
	p.missed++
	gone := p.missed > patience
	if gone {
		p.missed = 0 // they are told once, and again if they sleep still
	} else if p.told == p.said && len(p.changed) == 0 {
		return nil // both sides agree: that is so nearly always
	}
	for group, b := range p.groups {
		if b.here == 0 || b.here == b.there && !gone {
			b.doubted = 0
			continue
		}
		if b.doubted++; gone || b.doubted > patience {
			b.doubted = 0
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return groups
}

// beats returns what the other side has to be told: at least a sign of life, if
// anything is silent between the two.
func (p *pair) beats() (beats []*Beat) {
	first := p.first
	if first {
		p.first = false
		for group, b := range p.groups {
			p.told.replace(group, b.told, 0)
			if b.told = 0; !b.changed && b.here != 0 {
				b.changed = true
				p.changed = append(p.changed, group)
			}
		}
		slices.Sort(p.changed)
	}
	for {
		beat := &Beat{First: first}
		n := min(len(p.changed), maxChanges)
		for _, group := range p.changed[:n] {
			b := p.groups[group]
			b.changed = false
			if b.told != b.here {
				p.told.replace(group, b.told, b.here)
				b.told = b.here
				beat.Changes = append(beat.Changes, BeatChange{group, b.here})
			}
			p.forget(group, b)
		}
		p.changed = p.changed[n:]
		if p.told.count == 0 && len(beat.Changes) == 0 && !first {
			break
		}
		beat.Count, beat.Sum, beat.Resend = p.told.count, p.told.sum, p.resend
		beats = append(beats, beat)
		if first = false; len(p.changed) == 0 {
			break
		}
	}
	if len(p.changed) == 0 {
		p.changed = nil
	}
	return beats
}

// sleep tells the liveness with whom this node is silent, or that it is not any more.
func (n *node) sleep(quiescent, changed bool) {
	if quiescent == n.asleep && !(quiescent && changed) {
		return
	}
	n.tellPilot(n.asleep && !quiescent)
	n.asleep = quiescent
	n.tellSleep()
}

func (n *node) tellSleep() {
	if !n.asleep {
		n.host.liveness.tell(awake{n.group.key})
		return
	}
	s := n.core.Status()
	m := asleep{group: n.group, node: n.self, term: s.Term}
	if s.Leader != n.host.cfg.ID {
		m.with = []raftcore.NodeID{s.Leader}
	}
	for _, p := range s.Peers {
		m.with = append(m.with, p.ID)
	}
	n.host.liveness.tell(m)
}
