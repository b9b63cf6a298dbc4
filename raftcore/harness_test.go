package raftcore_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// This file is the theatre that the tests of the core play in. No test sleeps,
// and none looks at a wall clock.
//
//	member   a node with its disk, its machine and its clock, and the rules that
//	         hold for every Output whatever the test is about
//	stage    one member; the test plays everybody else, and says word for word
//	         what the member wants:
//
//	             n := start(t, given{Log: terms(1, 1), Term: 4})
//	             n.hears(2, 5, &VoteRequest{Last: id(1, 2)})
//	             n.wants("Save #1 term=5 vote=2")
//	             n.saves()
//	             n.wants("1->2 term=5 VoteReply granted")
//
//	group    two to nine members that talk to one another through filters which
//	         drop, hold or repeat their messages

const (
	electionTimeout   = time.Second
	heartbeatInterval = 100 * time.Millisecond
	cluster           = ClusterID(1)
)

// lifeOf is the incarnation of a node's first disk.
func lifeOf(id NodeID) Incarnation { return Incarnation(100 + id) }

func id(term Term, index Index) EntryID { return EntryID{Term: term, Index: index} }

// terms describes a log by the terms of its entries, from index 1 on.
func terms(t ...Term) []Term { return t }

func voters(ids ...NodeID) []NodeID { return ids }

// commands returns the entries first, first+1, … with these terms.
func commands(first Index, t ...Term) []Entry {
	var entries []Entry
	for i, term := range t {
		entries = append(entries, Entry{EntryID: id(term, first+Index(i)), Kind: EntryCommand})
	}
	return entries
}

// metas returns what a witness has of such entries.
func metas(first Index, t ...Term) []Entry {
	entries := commands(first, t...)
	for i := range entries {
		entries[i].Kind = EntryMeta
	}
	return entries
}

// given is the state that a node starts from. Zero fields mean: node 1 of the
// voters 1, 2, 3, with an empty log, at the term of its last entry.
type given struct {
	ID       NodeID
	Voters   []NodeID
	Outgoing []NodeID
	Learners []NodeID
	// Witnesses are those of all these that keep no data; the node itself may be one.
	Witnesses []NodeID
	Log       []Term // the terms of its entries
	Term      Term
	Vote      NodeID
	Snapshot  EntryID // of its machine; the Log begins after it
	Forgets   bool    // starts with none of its entries in memory
	Durable   bool    // its machine keeps its state on a disk of its own
	Pristine  bool    // nothing on the disk at all, no configuration either
	Limits    func(*Config)
}

// disk is what a member's log has made durable, and the Saves under way.
type disk struct {
	hard     HardState
	snapshot SnapshotMeta
	base     SnapshotMeta // what the log begins after
	entries  []Entry      // entries[i] follows the base by i+1
	pending  []Save
	files    map[Index]int64 // the snapshots that are here, and the time of their last entries
}

func (d *disk) last() Index { return d.base.Last.Index + Index(len(d.entries)) }

// id returns the identity of entry i, if the disk knows it.
func (d *disk) id(i Index) (e EntryID, known bool) {
	switch at := int(i) - int(d.base.Last.Index); {
	case at == 0:
		return d.base.Last, true
	case at < 0 || at > len(d.entries):
		return EntryID{}, false
	default:
		return d.entries[at-1].EntryID, true
	}
}

// apply does what a Save asks for. It writes over no array.
func (d *disk) apply(s *Save) {
	d.hard = s.HardState
	if s.Snapshot != nil {
		d.snapshot = *s.Snapshot
	}
	if s.Reset {
		d.base, d.entries = *s.Base, nil
	} else if s.Base != nil && s.Base.Last.Index > d.base.Last.Index {
		d.entries = slices.Clone(d.entries[s.Base.Last.Index-d.base.Last.Index:])
		d.base = *s.Base
	}
	if len(s.Entries) > 0 {
		keep := s.Entries[0].Index - d.base.Last.Index - 1
		d.entries = append(slices.Clone(d.entries[:keep]), s.Entries...)
	}
}

func (d *disk) completeOldest() Token {
	s := d.pending[0]
	d.pending = slices.Clone(d.pending[1:])
	d.apply(&s)
	return s.Token
}

// possible returns what a crash may leave: some of the Saves under way survive,
// the oldest first.
func (d *disk) possible() []disk {
	all := []disk{*d}
	for i := range d.pending {
		next := all[i]
		next.apply(&d.pending[i])
		all = append(all, next)
	}
	return all
}

// keep puts a snapshot on the disk.
func (d *disk) keep(i Index, time int64) {
	d.files = maps.Clone(d.files)
	if d.files == nil {
		d.files = map[Index]int64{}
	}
	d.files[i] = time
}

func (d *disk) recovered(life Incarnation, tail int) Recovered {
	b := &d.base
	r := Recovered{
		HardState: d.hard, Incarnation: life, Snapshot: d.snapshot,
		Base: b.Last, BaseConf: b.Conf, Last: b.Last.Index, LastTime: b.Time,
	}
	for i := range d.entries {
		r.Note(&d.entries[i])
	}
	r.Tail = slices.Clone(d.entries[max(0, len(d.entries)-tail):])
	return r
}

func (d *disk) load(l Load) []Entry {
	var entries []Entry
	bytes := 0
	for i := l.From; i <= l.To && i > d.base.Last.Index && i <= d.last(); i++ {
		e := d.entries[i-d.base.Last.Index-1]
		if bytes += len(e.Data) + 64; bytes > l.MaxBytes && len(entries) > 0 {
			break
		}
		entries = append(entries, e)
	}
	return entries
}

// member is a node and its neighbours.
type member struct {
	t    testing.TB
	id   NodeID
	cfg  Config
	life Incarnation
	node *Node
	disk disk
	out  Output
	now  Instant
	wall int64

	record     func([]Input) // is told every batch, if set
	saved      Token         // the newest Save handed out
	applied    Index         // handed to the machine
	time       int64         // of the entry applied
	restoring  *SnapshotMeta // the machine was told to become this, and has not answered
	durable    bool          // the machine keeps its state on a disk of its own
	compacting bool          // the machine was asked for a snapshot, and has not answered
	state      Status
}

func newMember(t testing.TB, g given) *member {
	g.ID = cmp.Or(g.ID, 1)
	if g.Voters == nil {
		g.Voters = voters(1, 2, 3)
	}
	m := &member{
		t:    t,
		id:   g.ID,
		cfg:  Config{ID: g.ID, Boot: 1, Seed: 7, ElectionTimeout: electionTimeout, HeartbeatInterval: heartbeatInterval},
		life: lifeOf(g.ID),
		now:  Instant(time.Hour),

		durable: g.Durable,
	}
	m.cfg.Witness = slices.Contains(g.Witnesses, g.ID)
	if g.Limits != nil {
		g.Limits(&m.cfg)
	}
	if !g.Pristine {
		m.disk.base = SnapshotMeta{Last: g.Snapshot, Conf: ConfigAt{Conf: ConfState{Voters: g.Voters, Outgoing: g.Outgoing, Learners: g.Learners, Witnesses: g.Witnesses}}}
		if g.Snapshot.Index > 0 {
			m.disk.snapshot = m.disk.base
			m.disk.keep(g.Snapshot.Index, 0)
		}
		m.disk.entries = commands(g.Snapshot.Index+1, g.Log...)
		if m.cfg.Witness {
			m.disk.entries = metas(g.Snapshot.Index+1, g.Log...)
		}
		term := cmp.Or(g.Term, g.Snapshot.Term)
		if g.Term == 0 && len(g.Log) > 0 {
			term = g.Log[len(g.Log)-1]
		}
		m.disk.hard = HardState{Term: term, Vote: g.Vote, Cluster: cluster, Joined: true, Witness: m.cfg.Witness}
	}
	tail := len(m.disk.entries)
	if g.Forgets {
		tail = 0
	}
	m.open(tail)
	return m
}

// open starts the node from its disk, with so many of its newest entries.
func (m *member) open(tail int) {
	m.t.Helper()
	r := m.disk.recovered(m.life, tail)
	if !m.durable {
		m.applied, m.time = 0, 0
	}
	r.Applied = m.applied
	node, err := New(m.cfg, r)
	if err != nil {
		m.t.Fatalf("node %d does not start: %v", m.id, err)
	}
	m.node, m.out, m.saved = node, Output{}, Token{}
	m.restoring, m.compacting = nil, false
	m.state = node.Status()
}

// crash loses what the node had in memory, and of the Saves under way all but
// the first kept ones. The node starts again from its disk.
func (m *member) crash(kept int) {
	m.t.Helper()
	for range kept {
		m.disk.completeOldest()
	}
	m.disk.pending = nil
	m.cfg.Boot++
	m.open(len(m.disk.entries))
}

// run gives the node a batch of inputs and takes what it wants into m.out.
func (m *member) run(inputs ...Input) {
	m.t.Helper()
	inputs = append([]Input{Tick{Now: m.now, Time: m.wall}}, inputs...)
	if m.record != nil {
		m.record(inputs)
	}
	for _, in := range inputs {
		m.notes(in)
		m.node.Step(in)
	}
	m.node.Drain(&m.out)
	m.obeysTheRules()
	if m.out.Save.Token.Sequence != 0 {
		save := m.out.Save
		m.saved = save.Token
		m.disk.pending = append(m.disk.pending, save)
	}
}

// notes sees what an input says of the machine and its snapshots.
func (m *member) notes(in Input) {
	switch in := in.(type) {
	case Applied:
		if r := m.restoring; r != nil && in.Index >= r.Last.Index {
			m.applied, m.time, m.restoring = r.Last.Index, r.Time, nil
		}
	case SnapshotTaken:
		m.compacting = false
		if in.Index > 0 {
			m.disk.keep(in.Index, in.Time)
		}
	case Receive: // the snapshot itself has come with it
		if r, ok := in.Message.Body.(*SnapshotRequest); ok {
			m.disk.keep(r.Snapshot.Last.Index, r.Snapshot.Time)
		}
	}
}

// obeysTheRules checks what is true of every Output: nothing that the disk may
// still lose has been promised to anybody, what is applied is contiguous and
// durable, and the node does not ask for a tick in the past.
func (m *member) obeysTheRules() {
	m.t.Helper()
	durable := m.disk.hard
	for i := range m.out.Send {
		msg := &m.out.Send[i]
		if msg.From != m.id || msg.To == m.id || msg.To == Nobody || msg.Incarnation != m.life {
			m.t.Fatalf("node %d sends a message with a wrong address: %+v", m.id, msg)
		}
		var names Term // the term that the message commits this node to
		switch b := msg.Body.(type) {
		case *VoteRequest:
			if !b.Pre {
				names = msg.Term
				if durable.Vote != m.id {
					m.t.Fatalf("node %d asks for votes, and its own is not durable: %v", m.id, msg)
				}
			}
		case *VoteReply:
			if !b.Pre {
				names = msg.Term
				if b.Granted && durable.Vote != msg.To {
					m.t.Fatalf("node %d grants a vote that is not durable: %v", m.id, msg)
				}
			}
		default:
			names = msg.Term
		case *AppendReply:
			names = msg.Term
			m.holds(b.Match)
		case *SnapshotRequest:
			names = msg.Term
			m.hasSnapshot(&b.Snapshot, "sends")
		}
		if names > durable.Term {
			m.t.Fatalf("node %d names term %d, its disk only knows %d: %v", m.id, names, durable.Term, msg)
		}
	}
	for i := range m.out.Apply.Entries {
		e := &m.out.Apply.Entries[i]
		if e.Index != m.applied+1 {
			m.t.Fatalf("node %d applies %v after %d", m.id, e, m.applied)
		}
		if held, known := m.disk.id(e.Index); !known || held != e.EntryID {
			m.t.Fatalf("node %d applies %v, which its disk does not hold", m.id, e)
		}
		if m.restoring != nil {
			m.t.Fatalf("node %d applies %v while its machine is being restored to %v", m.id, e, m.restoring)
		}
		m.applied, m.time = e.Index, e.Time
	}
	if r := m.out.Restore; r != nil {
		m.hasSnapshot(r, "restores")
		if m.disk.snapshot.Last != r.Last {
			m.t.Fatalf("node %d restores %v, and its disk has %v", m.id, r, &m.disk.snapshot)
		}
		if r.Last.Index <= m.applied || m.restoring != nil && r.Last.Index <= m.restoring.Last.Index || len(m.out.Apply.Entries) > 0 {
			m.t.Fatalf("node %d restores %v after applying %d, restoring %v", m.id, r, m.applied, m.restoring)
		}
		m.restoring = r
	}
	if m.out.Compact {
		if m.compacting || m.restoring != nil { // it takes one at a time
			m.t.Fatalf("node %d asks for a snapshot while its machine is busy", m.id)
		}
		m.compacting = true
	}
	if s := &m.out.Save; s.Token.Sequence != 0 {
		if s.Snapshot != nil || s.Base != nil {
			m.survives()
		}
		for i := range s.Entries {
			if s.Entries[i].Term > s.HardState.Term {
				m.t.Fatalf("node %d saves %v before its term: %v", m.id, s.Entries[i], s)
			}
		}
	}
	if d := m.out.Deadline; d != 0 && d <= m.now {
		m.t.Fatalf("node %d wants a tick at %d, and it is %d: a busy loop", m.id, d, m.now)
	}
	m.state = m.node.Status()
}

// holds demands that entry i is on the disk, whichever of the Saves under way
// survive; or that a snapshot there stands for it.
func (m *member) holds(i Index) {
	m.t.Helper()
	d := m.disk
	if m.out.Save.Token.Sequence != 0 {
		d.pending = append(slices.Clone(d.pending), m.out.Save)
	}
	if len(d.pending) == 0 || len(d.entries) > 2000 {
		d.pending = nil
	}
	first, _ := d.id(i)
	for _, p := range d.possible() {
		if e, known := p.id(i); i > p.last() || known && first != (EntryID{}) && e != first {
			m.t.Fatalf("node %d acknowledges %d, and after a crash its disk may hold %v up to %d", m.id, i, e, p.last())
		}
	}
}

// hasSnapshot demands that a snapshot is on the disk.
func (m *member) hasSnapshot(s *SnapshotMeta, does string) {
	m.t.Helper()
	if time, here := m.disk.files[s.Last.Index]; !here || time != s.Time {
		m.t.Fatalf("node %d %s %v of time %d, and has those of %v", m.id, does, s, s.Time, m.disk.files)
	}
}

// survives demands that a node can start again whichever of the Saves under way
// survive a crash, the newest one included, and that the disk will hold what the
// node believes it will.
func (m *member) survives() {
	m.t.Helper()
	d := m.disk
	d.pending = append(slices.Clone(d.pending), m.out.Save)
	all := d.possible()
	for i, p := range all {
		if b := m.out.Save.Base; b != nil && !m.out.Save.Reset && i == len(all)-2 && b.Last.Index > p.base.Last.Index {
			if e, _ := p.id(b.Last.Index); e != b.Last {
				m.t.Fatalf("node %d makes %v the base of a log that has %v there", m.id, b.Last, e)
			}
		}
		r := p.recovered(m.life, len(p.entries))
		if _, err := New(m.cfg, r); err != nil {
			m.t.Fatalf("node %d would not start if %d of %d Saves survived: %v", m.id, i, len(d.pending), err)
		}
		if e, known := p.id(p.snapshot.Last.Index); known && p.snapshot.Last.Index > 0 && e != p.snapshot.Last {
			m.t.Fatalf("node %d: its disk may come to have a snapshot of %v and entry %v", m.id, p.snapshot.Last, e)
		}
	}
	st, p := m.node.Status(), &all[len(all)-1]
	if st.First != p.base.Last.Index+1 || st.Last != p.last() {
		m.t.Fatalf("node %d believes its log goes from %d to %d, its disk will have %d to %d", m.id, st.First, st.Last, p.base.Last.Index+1, p.last())
	}
}

// message returns a message to m as peer from would send it.
func (m *member) message(from NodeID, term Term, body Body) Message {
	return Message{From: from, To: m.id, Term: term, Cluster: cluster, Incarnation: lifeOf(from), Body: body}
}

// lines tells an Output, one line per arrow.
func lines(out *Output) []string {
	var s []string
	if out.Save.Token.Sequence != 0 {
		s = append(s, out.Save.String())
	}
	for _, l := range out.Load {
		s = append(s, l.String())
	}
	for _, m := range out.Send {
		s = append(s, m.String())
	}
	if len(out.Apply.Entries) > 0 {
		line := out.Apply.String()
		for _, t := range out.Apply.Tags {
			line += fmt.Sprintf(" tag=%d@%d", t.Tag, t.Index)
		}
		s = append(s, line)
	}
	if out.Restore != nil {
		s = append(s, "Restore "+out.Restore.String())
	}
	if out.Compact {
		s = append(s, "Compact")
	}
	for _, r := range out.Reads {
		s = append(s, fmt.Sprintf("Read tag=%d at %d", r.Tag, r.Index))
	}
	for _, r := range out.Replies {
		s = append(s, r.String())
	}
	return s
}

// cloneMessage copies a message out of the Output it was drained into, as a
// transport does.
func cloneMessage(m *Message) Message {
	out := *m
	switch b := m.Body.(type) {
	case *VoteRequest:
		c := *b
		out.Body = &c
	case *VoteReply:
		c := *b
		out.Body = &c
	case *AppendRequest:
		c := *b
		out.Body = &c
	case *AppendReply:
		c := *b
		out.Body = &c
	case *SnapshotRequest, *TimeoutNow, *ReadRequest, *ReadReply: // made for each message
	default:
		panic(fmt.Sprintf("a message of type %T", b))
	}
	return out
}

// stage is one member; the test plays the others.
type stage struct {
	*member
	said  []string  // what the member wanted since wants or ignore
	mail  []Message // what it sent, since it started
	loads []Load    // what it asked the disk for and was not given
}

func start(t testing.TB, g given) *stage {
	t.Helper()
	n := &stage{member: newMember(t, g)}
	n.steps()
	return n
}

// steps gives the member inputs, in one batch.
func (n *stage) steps(inputs ...Input) {
	n.t.Helper()
	n.run(inputs...)
	n.said = append(n.said, lines(&n.out)...)
	for i := range n.out.Send {
		n.mail = append(n.mail, cloneMessage(&n.out.Send[i]))
	}
	n.loads = append(n.loads, n.out.Load...)
}

// hears delivers a message.
func (n *stage) hears(from NodeID, term Term, body Body) {
	n.t.Helper()
	n.steps(Receive{Message: n.message(from, term, body)})
}

// waits lets time pass.
func (n *stage) waits(d time.Duration) {
	n.t.Helper()
	n.now = n.now.Add(d)
	n.steps()
}

// timesOut lets time pass until the deadline that the member named.
func (n *stage) timesOut() {
	n.t.Helper()
	if n.out.Deadline == 0 {
		n.t.Fatalf("node %d waits for no deadline: %v", n.id, n.node)
	}
	n.now = n.out.Deadline
	n.steps()
}

// saves has the disk complete every Save under way.
func (n *stage) saves() {
	n.t.Helper()
	for len(n.disk.pending) > 0 {
		n.savesOne()
	}
}

// savesOne has the disk complete the oldest Save under way.
func (n *stage) savesOne() {
	n.t.Helper()
	if len(n.disk.pending) == 0 {
		n.t.Fatalf("node %d has no Save under way", n.id)
	}
	n.steps(Saved{Token: n.disk.completeOldest()})
}

// reads has the disk answer the oldest Load.
func (n *stage) readsDisk() {
	n.t.Helper()
	if len(n.loads) == 0 {
		n.t.Fatalf("node %d asked for nothing from its disk", n.id)
	}
	l := n.loads[0]
	n.loads = n.loads[1:]
	n.steps(Loaded{Load: l, Entries: n.disk.load(l)})
}

// restored has the machine answer that it is what it was told to become.
func (n *stage) restored() {
	n.t.Helper()
	if n.restoring == nil {
		n.t.Fatalf("node %d restores nothing", n.id)
	}
	n.steps(Applied{Index: n.restoring.Last.Index})
}

// applies has the machine say that it has applied what it was given.
func (n *stage) applies() {
	n.t.Helper()
	n.steps(Applied{Index: n.applied})
}

// snapshotted has the machine say that it has a snapshot of entry i.
func (n *stage) snapshotted(i Index) {
	n.t.Helper()
	n.steps(SnapshotTaken{Index: i, Time: n.time})
}

// crashes loses everything but the disk, and starts again.
func (n *stage) crashes(kept int) {
	n.t.Helper()
	n.crash(kept)
	n.said, n.loads = nil, nil
	n.steps()
}

// wants demands that the member wanted exactly this since the last time.
func (n *stage) wants(want ...string) {
	n.t.Helper()
	if got := n.said; !slices.Equal(got, want) {
		n.t.Fatalf("node %d wants\n\t%s\nand should want\n\t%s", n.id, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	n.said = nil
}

// wantsNothing demands that the member wanted nothing since the last time.
func (n *stage) wantsNothing() {
	n.t.Helper()
	n.wants()
}

// ignore forgets what the member wanted so far.
func (n *stage) ignore() { n.said = nil }

// is demands a role and a term.
func (n *stage) is(role Role, term Term) {
	n.t.Helper()
	if n.state.Role != role || n.state.Term != term {
		n.t.Fatalf("%v; it should be a %v in term %d", n.node, role, term)
	}
}

func (n *stage) hasCommitted(i Index) {
	n.t.Helper()
	if n.state.Commit != i {
		n.t.Fatalf("%v; it should have committed %d", n.node, i)
	}
}

// sentTo returns the newest message to a peer.
func (n *stage) sentTo(peer NodeID) *Message {
	n.t.Helper()
	for i := len(n.mail) - 1; i >= 0; i-- {
		if n.mail[i].To == peer {
			return &n.mail[i]
		}
	}
	n.t.Fatalf("node %d has sent nothing to %d", n.id, peer)
	return nil
}

// askedOf returns the newest AppendRequest to a peer.
func (n *stage) askedOf(peer NodeID) *AppendRequest {
	n.t.Helper()
	r, ok := n.sentTo(peer).Body.(*AppendRequest)
	if !ok {
		n.t.Fatalf("the newest message to %d is %v", peer, n.sentTo(peer))
	}
	return r
}

// granted has peers grant the newest VoteRequest that they were sent.
func (n *stage) granted(peers ...NodeID) {
	n.t.Helper()
	n.answered(true, peers...)
}

// refused has peers refuse it.
func (n *stage) refused(peers ...NodeID) {
	n.t.Helper()
	n.answered(false, peers...)
}

func (n *stage) answered(yes bool, peers ...NodeID) {
	n.t.Helper()
	for _, p := range peers {
		m := n.sentTo(p)
		r, ok := m.Body.(*VoteRequest)
		if !ok {
			n.t.Fatalf("the newest message to %d is %v", p, m)
		}
		n.hears(p, m.Term, &VoteReply{Pre: r.Pre, Granted: yes, Campaign: r.Campaign})
	}
}

// accepted has peers report the newest AppendRequest that they were sent as
// verified and durable.
func (n *stage) accepted(peers ...NodeID) {
	n.t.Helper()
	for _, p := range peers {
		r := n.askedOf(p)
		n.acknowledged(p, r.Prev.Index+Index(len(r.Entries)))
	}
}

// acknowledged has a peer report that it has entries up to match, and that it
// has heard the newest round.
func (n *stage) acknowledged(peer NodeID, match Index) {
	n.t.Helper()
	n.hears(peer, n.state.Term, &AppendReply{Match: match, Round: n.askedOf(peer).Round})
}

// rejected has a peer reject the newest AppendRequest.
func (n *stage) rejected(peer NodeID, hint EntryID) {
	n.t.Helper()
	r := n.askedOf(peer)
	n.hears(peer, n.state.Term, &AppendReply{Rejected: true, Probed: r.Prev, Hint: hint, Round: r.Round})
}

// peers returns everybody but the member.
func (n *stage) peers() []NodeID {
	return slices.DeleteFunc(n.state.Conf.Members(), func(p NodeID) bool { return p == n.id })
}

// wins has the member elected by all other voters. Its disk keeps up, but for
// the entry that opens the term: that Save is under way.
func (n *stage) wins() {
	n.t.Helper()
	n.timesOut()
	n.elected()
}

// elected takes a member that has just timed out to leadership.
func (n *stage) elected() {
	n.t.Helper()
	var others []NodeID
	for _, p := range n.peers() {
		if n.state.Conf.Votes(p) {
			others = append(others, p)
		}
	}
	for _, p := range others {
		if n.state.Role == PreCandidate {
			n.granted(p)
		}
	}
	n.saves()
	for _, p := range others {
		if n.state.Role == Candidate {
			n.granted(p)
		}
	}
	if n.state.Role != Leader {
		n.t.Fatalf("%v; it should lead by now", n.node)
	}
}

// lead starts a member and has it elected: everybody has accepted the entry
// that opens its term, and it is committed and applied.
func lead(t testing.TB, g given) *stage {
	t.Helper()
	n := start(t, g)
	if n.restoring != nil {
		n.restored()
	}
	n.wins()
	n.saves()
	n.accepted(n.peers()...)
	n.steps(Applied{Index: n.applied})
	for len(n.loads) > 0 {
		n.readsDisk()
		n.steps(Applied{Index: n.applied})
	}
	n.hasCommitted(n.state.Last)
	n.ignore()
	return n
}
