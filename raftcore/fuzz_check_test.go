package raftcore_test

import (
	"slices"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// checker sees everything that the nodes of a script do, and knows what Raft
// promises (Figure 3 of the paper), and what Castaway promises those who ask.
//
// Logs are lists of EntryIDs: chains says which entries an ID stands for, its own
// and all before it.
type checker struct {
	t         testing.TB
	leaders   map[Term]NodeID
	led       map[NodeID]Term // the newest term that each has led
	votes     map[ballotOf]NodeID
	chains    map[EntryID]uint64
	entries   map[EntryID]Entry
	held      map[EntryID]uint16 // on whose disk an entry has been that counts, a bit for each node
	committed []committedEntry   // committed[i] has index i+1
	confs     []ConfigAt         // the committed configurations, from the founding one on
	recent    []EntryID          // entries that somebody appended lately
	rejected  map[EntryID]bool   // of which somebody said that they will never be committed

	requests map[Tag]*request
	commands map[string]Index // those that were committed
	never    map[string]Tag   // commands of which was said that they never will be
}

// ballotOf is a node in a term: it has one vote, whatever it forgets.
type ballotOf struct {
	id   NodeID
	term Term
}

// committedEntry is an entry and the term in which somebody first knew that it
// is committed.
type committedEntry struct {
	id   EntryID
	term Term
}

// request is something that a client asked a node for.
type request struct {
	in    Input
	node  NodeID
	boot  uint64
	floor Index // what was committed, as far as anybody knew, when it was asked for
	term  Term
	ended bool // with a Reply, in Apply, or in Reads
	reply bool // with a Reply
	stage Stage
	entry EntryID
}

// shadow is a node's log, as its Saves describe it.
type shadow struct {
	log    []EntryID
	leader Term // the term that the node leads, or 0
	commit Index
}

func (s *shadow) at(i Index) EntryID {
	if i == 0 || int(i) > len(s.log) {
		return EntryID{}
	}
	return s.log[i-1]
}

func newChecker(t testing.TB) *checker {
	return &checker{
		t: t, leaders: map[Term]NodeID{}, led: map[NodeID]Term{}, votes: map[ballotOf]NodeID{},
		chains: map[EntryID]uint64{}, entries: map[EntryID]Entry{}, held: map[EntryID]uint16{}, rejected: map[EntryID]bool{},
		requests: map[Tag]*request{}, commands: map[string]Index{}, never: map[string]Tag{},
	}
}

// restarted begins a node's shadow with what is on its disk.
func (c *checker) restarted(n *scriptedNode) {
	n.shadow = shadow{log: append(c.prefix(n.disk.base.Last.Index), ids(n.disk.entries)...)}
}

func (c *checker) prefix(i Index) []EntryID {
	log := []EntryID{}
	for _, k := range c.committed[:min(int(i), len(c.committed))] {
		log = append(log, k.id)
	}
	return log
}

// durable notes that a disk has completed a Save. What a newcomer holds counts
// from when it is none any more; what was held on a disk that was lost counts.
func (c *checker) durable(n *scriptedNode, s *Save, newcomer bool) {
	if !s.HardState.Joined {
		return
	}
	entries := s.Entries
	if newcomer {
		entries = n.disk.entries
	}
	if newcomer || s.Reset {
		for _, e := range c.prefix(n.disk.base.Last.Index) {
			c.held[e] |= 1 << n.id
		}
	}
	for i := range entries {
		c.held[entries[i].EntryID] |= 1 << n.id
	}
}

// observe checks what a node did in one step.
func (c *checker) observe(n *scriptedNode, before *Status) {
	c.t.Helper()
	out, st, s := &n.out, &n.state, &n.shadow
	if s.leader != st.Term {
		s.leader = 0 // deposed: what it saves now may overwrite what it had appended
	}
	if out.Save.Token.Sequence != 0 {
		c.saves(n, &out.Save)
	}
	c.becomes(n, before)
	c.commits(n, before)
	if r := out.Restore; r != nil {
		c.snapshot(n.id, r)
	}
	if n.cfg.Witness && (out.Restore != nil || len(out.Apply.Entries) > 0 || out.Compact) {
		c.t.Fatalf("node %d, a witness, has something for a machine: %+v, %+v", n.id, out.Restore, out.Apply)
	}
	for i := range out.Apply.Entries {
		if e := &out.Apply.Entries[i]; int(e.Index) > len(c.committed) || c.committed[e.Index-1].id != e.EntryID || string(c.entries[e.EntryID].Data) != string(e.Data) {
			c.t.Fatalf("state machine safety: node %d applies %v, which is not what was committed", n.id, e)
		}
	}
	for i := range out.Send {
		c.says(&out.Send[i])
	}
	c.answers(n)
	for _, e := range c.recent {
		c.asks(n, e)
	}
}

// saves follows a node's log by its Saves (log matching, leader append-only).
func (c *checker) saves(n *scriptedNode, save *Save) {
	c.t.Helper()
	s := &n.shadow
	if save.Snapshot != nil {
		c.snapshot(n.id, save.Snapshot)
	}
	if b := save.Base; b != nil {
		if save.Reset {
			s.log = c.prefix(b.Last.Index)
		}
		if int(b.Last.Index) > len(c.committed) || c.committed[b.Last.Index-1].id != b.Last || s.at(b.Last.Index) != b.Last {
			c.t.Fatalf("node %d begins its log after %v, which is not what was committed", n.id, b.Last)
		}
	}
	if len(save.Entries) == 0 {
		return
	}
	first := save.Entries[0].Index
	if int(first) > len(s.log)+1 {
		c.t.Fatalf("node %d saves entry %d after %d: a gap", n.id, first, len(s.log))
	}
	if int(first) <= len(s.log) && s.leader != 0 {
		c.t.Fatalf("leader append-only: node %d leads term %d and overwrites entry %d", n.id, s.leader, first)
	}
	s.log = s.log[:first-1]
	for i := range save.Entries {
		e := c.whole(n, save.Entries[i])
		before := s.at(e.Index - 1)
		chain := c.chain(c.chains[before], e)
		if known, ok := c.chains[e.EntryID]; ok && known != chain {
			c.t.Fatalf("log matching: node %d has %v after %v, others have %v", n.id, e, before, c.entries[e.EntryID])
		} else if !ok {
			c.chains[e.EntryID], c.entries[e.EntryID] = chain, *e
			c.recent = append(c.recent[max(0, len(c.recent)-5):], e.EntryID)
			if e.Time < c.entries[before].Time {
				c.t.Fatalf("the log's time goes back: %v of %d after %v of %d", e, e.Time, before, c.entries[before].Time)
			}
		}
		s.log = append(s.log, e.EntryID)
	}
}

// whole returns an entry with its data, which a witness has not.
func (c *checker) whole(n *scriptedNode, e Entry) *Entry {
	c.t.Helper()
	known := c.entries[e.EntryID]
	data := func(k EntryKind) bool { return k == EntryCommand || k == EntryHost }
	switch {
	case n.cfg.Witness && (data(e.Kind) || len(e.Data) > 0), !n.cfg.Witness && e.Kind == EntryMeta:
		c.t.Fatalf("node %d, a witness: %v, saves %v", n.id, n.cfg.Witness, e)
	case e.Kind != EntryMeta:
		return &e
	case !data(known.Kind) || known.Time != e.Time:
		c.t.Fatalf("node %d, a witness, saves %v, of which others know %v", n.id, e, known)
	}
	return &known
}

// chain is a hash of an entry and all before it.
func (c *checker) chain(before uint64, e *Entry) uint64 {
	h := uint64(14695981039346656037)
	mix := func(values ...uint64) {
		for _, v := range values {
			h = (h ^ v) * 1099511628211
			h ^= h >> 29
		}
	}
	mix(before, uint64(e.Term), uint64(e.Index), uint64(e.Kind), uint64(e.Time))
	for _, b := range e.Data {
		mix(uint64(b))
	}
	if e.Config != nil {
		for _, list := range [][]NodeID{e.Config.Voters, e.Config.Outgoing, e.Config.Learners, e.Config.Witnesses} {
			mix(uint64(len(list)))
			for _, id := range list {
				mix(uint64(id))
			}
		}
	}
	return h
}

// snapshot demands that a snapshot stands for what was committed.
func (c *checker) snapshot(id NodeID, s *SnapshotMeta) {
	c.t.Helper()
	if int(s.Last.Index) > len(c.committed) || c.committed[s.Last.Index-1].id != s.Last {
		c.t.Fatalf("state machine safety: node %d has a %v, which is not what was committed", id, s)
	}
	if time := c.entries[s.Last].Time; time != s.Time {
		c.t.Fatalf("node %d: %v says its time is %d, and it was %d", id, s, s.Time, time)
	}
	k := len(c.confs) - 1
	for k > 0 && c.confs[k].Index > s.Last.Index {
		k--
	}
	if want := &c.confs[k]; want.Index != s.Conf.Index || !want.Conf.Equal(s.Conf.Conf) {
		c.t.Fatalf("node %d: %v says its configuration is that of %d, and that of %d was in force: %v", id, s, s.Conf.Index, want.Index, &want.Conf)
	}
}

// decides reports whether enough voters have what it takes, in one of the
// configurations that were in force during a step: the one before it, those that
// it appended, and the one after it.
func decides(n *scriptedNode, before *Status, has func(NodeID) bool) bool {
	both := func(c *ConfState) bool {
		for _, set := range [][]NodeID{c.Voters, c.Outgoing} {
			count := 0
			for _, id := range set {
				if has(id) {
					count++
				}
			}
			if 2*count <= len(set) && len(set) > 0 {
				return false
			}
		}
		return true
	}
	yes := len(before.Conf.Voters) > 0 && both(&before.Conf) || both(&n.state.Conf)
	for i := range n.out.Save.Entries {
		if e := &n.out.Save.Entries[i]; e.Config != nil {
			yes = yes || both(e.Config)
		}
	}
	return yes
}

// becomes checks a node that has become the leader (election safety, leader
// completeness), and that a majority voted for it.
func (c *checker) becomes(n *scriptedNode, before *Status) {
	c.t.Helper()
	st, s := &n.state, &n.shadow
	if st.Role != Leader {
		s.leader = 0
		return
	}
	if s.leader == st.Term {
		return
	}
	s.leader = st.Term
	if n.cfg.Witness {
		c.t.Fatalf("node %d, a witness, leads term %d", n.id, st.Term)
	}
	if other, ok := c.leaders[st.Term]; ok {
		c.t.Fatalf("election safety: node %d leads term %d, and %d has led it", n.id, st.Term, other)
	}
	c.leaders[st.Term], c.led[n.id] = n.id, st.Term
	for i, k := range c.committed {
		if k.term < st.Term && s.at(Index(i+1)) != k.id {
			c.t.Fatalf("leader completeness: node %d leads term %d without %v, committed in term %d", n.id, st.Term, k.id, k.term)
		}
	}
	elected := decides(n, before, func(id NodeID) bool {
		own := id == n.id && n.disk.hard.Term == st.Term && n.disk.hard.Vote == n.id
		return own || c.votes[ballotOf{id, st.Term}] == n.id
	})
	if !elected {
		c.t.Fatalf("node %d leads term %d of %v, without a majority of votes", n.id, st.Term, &st.Conf)
	}
}

// commits follows a node's commit index (state machine safety). What a leader
// adds must be of its own term (Figure 8), and on the disks of a majority.
func (c *checker) commits(n *scriptedNode, before *Status) {
	c.t.Helper()
	st, s := &n.state, &n.shadow
	if st.Role == Leader && before.Role == Leader && before.Term == st.Term && st.Commit > before.Commit {
		last := s.at(st.Commit)
		if last.Term != st.Term {
			c.t.Fatalf("commit rule: node %d leads term %d, and commits %v by counting", n.id, st.Term, last)
		}
		if !decides(n, before, func(id NodeID) bool { return c.held[last]&(1<<id) != 0 }) {
			c.t.Fatalf("node %d leads %v, and commits %v, which no majority of the disks holds: %b", n.id, &st.Conf, last, c.held[last])
		}
	}
	for s.commit < st.Commit {
		s.commit++
		e := s.at(s.commit)
		if int(s.commit) <= len(c.committed) {
			if known := c.committed[s.commit-1].id; known != e {
				c.t.Fatalf("state machine safety: node %d commits %v at %d, where others committed %v", n.id, e, s.commit, known)
			}
			continue
		}
		c.committed = append(c.committed, committedEntry{e, st.Term})
		entry := c.entries[e]
		if entry.EntryID != e || e.Index != s.commit {
			c.t.Fatalf("node %d commits %d, which nobody has saved", n.id, s.commit)
		}
		if c.rejected[e] {
			c.t.Fatalf("node %d commits %v, of which somebody said that it never will be", n.id, e)
		}
		if entry.Config != nil {
			c.confs = append(c.confs, ConfigAt{Index: e.Index, Conf: *entry.Config})
		}
		if entry.Kind == EntryCommand {
			if tag := c.never[string(entry.Data)]; tag != 0 {
				c.t.Fatalf("node %d commits %v, which was refused (tag %d)", n.id, entry, tag)
			}
			if at := c.commands[string(entry.Data)]; at != 0 {
				c.t.Fatalf("node %d commits %v, which is entry %d, too", n.id, entry, at)
			}
			c.commands[string(entry.Data)] = e.Index
		}
	}
}

// says checks a message: one vote in a term.
func (c *checker) says(m *Message) {
	c.t.Helper()
	vote := Nobody
	switch b := m.Body.(type) {
	case *VoteRequest:
		if !b.Pre {
			vote = m.From
		}
	case *VoteReply:
		if !b.Pre && b.Granted {
			vote = m.To
		}
	case *SnapshotRequest:
		c.snapshot(m.From, &b.Snapshot)
	}
	if vote == Nobody {
		return
	}
	b := ballotOf{m.From, m.Term}
	if given, ok := c.votes[b]; ok && given != vote {
		c.t.Fatalf("one vote per term: node %d votes for %d in term %d, and has voted for %d", b.id, vote, b.term, given)
	}
	c.votes[b] = vote
}

// asks compares what a node says of an entry with what is known of it.
func (c *checker) asks(n *scriptedNode, e EntryID) {
	c.t.Helper()
	committed := int(e.Index) <= len(c.committed) && e.Index > 0
	known := committed && c.committed[e.Index-1].id == e
	switch status := n.node.CommitStatus(e); {
	case status == CommitCommitted && !known:
		c.t.Fatalf("node %d says that %v is committed, and it is not", n.id, e)
	case status == CommitRejected && known:
		c.t.Fatalf("node %d says that %v never will be committed, and it is", n.id, e)
	case status == CommitInProgress && n.shadow.at(e.Index) != e:
		c.t.Fatalf("node %d says that %v may be committed yet, and has %v there", n.id, e, n.shadow.at(e.Index))
	case status == CommitRejected:
		c.rejected[e] = true
	}
}

// ask notes what a client asks a node for.
func (c *checker) ask(n *scriptedNode, tag Tag, in Input) {
	c.requests[tag] = &request{in: in, node: n.id, boot: n.cfg.Boot, floor: Index(len(c.committed)), term: n.state.Term}
}

// end demands that a request is ended once, by the node that was asked.
func (c *checker) end(n *scriptedNode, tag Tag, how any) *request {
	c.t.Helper()
	r := c.requests[tag]
	if r == nil || r.node != n.id || r.boot != n.cfg.Boot || r.ended {
		c.t.Fatalf("node %d ends request %d with %v: %+v", n.id, tag, how, r)
	}
	r.ended = true
	return r
}

// answers checks what a node tells those who asked.
func (c *checker) answers(n *scriptedNode) {
	c.t.Helper()
	for _, t := range n.out.Apply.Tags {
		r := c.end(n, t.Tag, t)
		p, ok := r.in.(Propose)
		if !ok || c.commands[string(p.Data)] != t.Index {
			c.t.Fatalf("node %d says that %+v was applied at %d", n.id, r.in, t.Index)
		}
		if t.Index <= r.floor {
			c.t.Fatalf("node %d says that %q was applied at %d, and %d was committed before", n.id, p.Data, t.Index, r.floor)
		}
	}
	for _, read := range n.out.Reads {
		r := c.end(n, read.Tag, read)
		if _, ok := r.in.(Read); !ok || read.Index < r.floor {
			c.t.Fatalf("linearizability: node %d reads at %d, and %d was committed before the read began: %+v", n.id, read.Index, r.floor, r.in)
		}
	}
	for i := range n.out.Replies {
		c.replied(n, &n.out.Replies[i])
	}
	for _, at := range n.out.Stages {
		r := c.requests[at.Tag]
		if r == nil || r.node != n.id || r.boot != n.cfg.Boot || r.reply || at.Stage != r.stage+1 || r.stage > 0 && at.Entry != r.entry {
			c.t.Fatalf("node %d says that %d has come to %+v: %+v", n.id, at.Tag, at, r)
		}
		r.stage, r.entry = at.Stage, at.Entry
		if at.Stage == StageCommitted && (int(at.Entry.Index) > len(c.committed) || c.committed[at.Entry.Index-1].id != at.Entry) {
			c.t.Fatalf("node %d says that %v is committed, and it is not", n.id, at.Entry)
		}
	}
}

func (c *checker) replied(n *scriptedNode, reply *Reply) {
	c.t.Helper()
	r := c.end(n, reply.Tag, reply)
	r.reply = true
	right := true
	switch in := r.in.(type) {
	case Propose:
		right = reply.Outcome != Done
		if !reply.MaybeHappened {
			right = right && c.commands[string(in.Data)] == 0
			c.never[string(in.Data)] = reply.Tag
		}
	case Read:
		right = reply.Outcome != Done
	case Bootstrap:
		right = reply.Outcome == Done == (in.Cluster == cluster)
	case ChangeConfig:
		if reply.Outcome == Done {
			right = slices.ContainsFunc(c.confs, func(k ConfigAt) bool { return k.Conf.Equal(in.Conf) })
		}
	case Transfer:
		if reply.Outcome == Done && in.To != Nobody && in.To != n.id {
			right = c.led[in.To] >= r.term
		}
	}
	if !right {
		c.t.Fatalf("node %d answers %+v with %v", n.id, r.in, reply)
	}
}
