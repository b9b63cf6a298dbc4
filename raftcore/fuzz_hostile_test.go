package raftcore_test

import (
	"math"
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// founding is the index of the entry that Bootstrap writes.
const founding = Index(1)

// FuzzHostile is FuzzStep with a forger in the network, who has anybody be told
// anything, well formed or not. That breaks Raft, so nothing is demanded of the
// group. But a node may not panic, unless it finds that a committed entry is to be
// cut off or that a leader contradicts itself: these prove that somebody broke
// Raft, and its process starts again from its disk. And it keeps to what is its
// own affair: its invariants, what it promises its disk holds (obeysTheRules), the
// bounds of its outputs, and that it can start from what it saves.
func FuzzHostile(f *testing.F) {
	seeds(f, 24)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > longest {
			t.Skip("no input as long as this is tried: shorter ones find more in the same time")
		}
		hostileWorld(t, script)
	})
}

func hostileWorld(t testing.TB, script []byte) *world {
	w := newWorld(t, script)
	w.hostile = true
	for len(w.script) > 0 {
		switch what := w.next(); {
		case what >= 0x90:
			w.act(what, w.next())
		default:
			n := w.some(what)
			w.step(n, Receive{w.forge(n)})
			if what&0x40 != 0 {
				w.settle()
			}
		}
	}
	return w
}

// stepSafely steps a node, and starts it again if it finds that somebody broke
// Raft.
func (w *world) stepSafely(n *scriptedNode, inputs []Input) (alive bool) {
	defer func() {
		if r := recover(); r != nil {
			broken, ok := r.(*InvariantError)
			if !ok || broken.Rule != RuleCommittedKept && broken.Rule != RuleLeaderAppendOnly {
				panic(r)
			}
			w.did["found out"]++
			w.restart(n, len(n.disk.entries))
		}
	}()
	for i, in := range inputs { // a theatre that looks into every snapshot is no match for this one
		if r, ok := in.(Receive); ok && r.Message.Body == Body((*SnapshotRequest)(nil)) {
			n.node.Step(in)
			inputs = slices.Delete(slices.Clone(inputs), i, i+1)
			break
		}
	}
	n.run(inputs...)
	n.node.CheckInvariants()
	return true
}

// forge makes a message to n: one that is on the wire, with a few fields changed,
// or a new one.
func (w *world) forge(n *scriptedNode) Message {
	st := &n.state
	how := w.next()
	m := Message{From: NodeID(w.next()%5 + 1), To: n.id, Term: w.term(st), Cluster: cluster, ToIncarnation: n.life}
	if m.From == n.id {
		m.From = n.id%5 + 1
	}
	m.Incarnation = w.node(m.From).life
	if how%4 == 0 && len(w.wire) > 0 {
		m = cloneMessage(&w.wire[int(w.next())%len(w.wire)])
		m.To = n.id
		w.spoil(n, &m)
	} else {
		m.Body = w.body(n)
	}
	switch how / 4 { // of 64
	case 0:
		m.From = NodeID(w.next() % 8)
	case 1:
		m.To = NodeID(w.next() % 8)
	case 2:
		m.Cluster = ClusterID(w.next() % 3)
	case 3:
		m.Incarnation += 1000 * Incarnation(w.next()%2)
	case 4:
		m.ToIncarnation += 1000 * Incarnation(w.next()%2)
	case 5:
		m.ToIncarnation = 0
	case 6:
		m.Body = []Body{
			nil, (*VoteRequest)(nil), (*VoteReply)(nil), (*AppendRequest)(nil), (*AppendReply)(nil), (*SnapshotRequest)(nil),
			(*TimeoutNow)(nil), (*ReadRequest)(nil), (*ReadReply)(nil),
		}[w.next()%9]
	case 7:
		m.Term = Term(w.large())
	}
	return m
}

// large is one of the numbers where arithmetic ends.
func (w *world) large() uint64 {
	return []uint64{
		math.MaxUint64, math.MaxUint64 - 1, 1 << 63, 1<<63 - 1, 1<<62 + 1, 1 << 62, 1<<62 - 1, 1 << 32,
	}[w.next()%8]
}

// near draws a number close to some others, seldom far from them.
func (w *world) near(others ...uint64) uint64 {
	b := w.next()
	if b == 255 {
		return w.large()
	}
	return others[int(b/4)%len(others)] + []uint64{0, 0, 1, math.MaxUint64}[b%4]
}

func (w *world) term(st *Status) Term {
	return Term(w.near(uint64(st.Term), uint64(st.Term), uint64(st.Term), 0, 1, uint64(st.Term)+1))
}

func (w *world) index(st *Status) Index {
	return Index(w.near(uint64(st.Last), uint64(st.Commit), uint64(st.Saved), uint64(st.Applied), uint64(st.First), 0, uint64(st.Last)+5))
}

// entryID names an entry that the node has, or one that it might have.
func (w *world) entryID(n *scriptedNode) EntryID {
	i := w.index(&n.state)
	if e, known := n.disk.id(i); known && w.next()%4 > 0 {
		return e
	}
	return EntryID{Term: w.term(&n.state), Index: i}
}

func (w *world) flag() bool { return w.next()&1 != 0 }

// conf is a configuration, mostly a possible one.
func (w *world) conf() ConfState {
	set := func(bits byte) []NodeID {
		var s []NodeID
		for i := range 7 {
			if bits>>i&1 != 0 {
				s = append(s, NodeID(i+1))
			}
		}
		return s
	}
	c := ConfState{Voters: set(w.next())}
	switch w.next() % 8 {
	case 0, 1:
		c.Outgoing = set(w.next())
	case 2:
		c.Learners = set(w.next())
	case 3:
		c.Voters = append(c.Voters, NodeID(w.next()%4))
	}
	if w.next()%4 > 0 {
		c.Learners = slices.DeleteFunc(c.Learners, func(id NodeID) bool { return slices.Contains(c.Voters, id) })
	}
	return c
}

func (w *world) body(n *scriptedNode) Body {
	st := &n.state
	switch w.next() % 16 {
	case 0:
		return &VoteRequest{Pre: w.flag(), Transfer: w.flag(), Priority: int(w.next()%4) - 1, Last: w.entryID(n), Campaign: w.near(1)}
	case 1, 2:
		return &VoteReply{Pre: w.flag(), Granted: w.next()%4 > 0, Campaign: w.near(n.cfg.Boot<<32, n.cfg.Boot<<32+2)}
	case 3, 4, 5:
		return &AppendReply{
			Match: w.index(st), Round: w.near(0, 3, 6, 9), Rejected: w.next()%4 == 0, Probed: w.entryID(n), Hint: w.entryID(n),
			Flooded: w.next()%8 == 0, Newcomer: w.next()%8 == 0,
		}
	case 6, 7:
		return &SnapshotRequest{Snapshot: SnapshotMeta{Last: w.entryID(n), Conf: ConfigAt{Index: w.index(st), Conf: w.conf()}}, Bare: w.next()%16 == 0}
	case 8:
		return &TimeoutNow{}
	case 9:
		return &ReadRequest{Sequence: w.near(0, n.cfg.Boot<<32)}
	case 10:
		return &ReadReply{Sequence: w.near(n.cfg.Boot<<32, n.cfg.Boot<<32+2), Refused: w.next()%4 == 0, Index: w.index(st)}
	}
	r := &AppendRequest{Prev: w.entryID(n), Commit: w.index(st), Round: w.near(0, 3, 6, 9), Admit: w.flag(), Quiesce: w.flag()}
	e := r.Prev
	for range w.next() % 5 {
		e.Index++
		switch w.next() % 16 {
		case 0:
			e = w.entryID(n)
		case 1, 2:
			e.Term = max(e.Term, w.term(st))
		}
		entry := Entry{EntryID: e, Kind: EntryCommand}
		if e.Index == founding && w.next()%4 > 0 {
			entry.Kind, entry.Config = EntryConfig, &w.founded
			r.Entries = append(r.Entries, entry)
			continue
		}
		switch w.next() % 16 {
		case 0:
			entry.Kind = EntryKind(w.next())
		case 1:
			entry.Kind = EntryConfig
		case 2, 3, 4:
			conf := w.conf()
			entry.Kind, entry.Config = EntryConfig, &conf
		case 5:
			conf := w.conf()
			entry.Config = &conf
		case 6:
			entry.Data = make([]byte, w.next())
		}
		r.Entries = append(r.Entries, entry)
	}
	return r
}

// spoil changes something in a message that somebody has sent.
func (w *world) spoil(n *scriptedNode, m *Message) {
	st := &n.state
	if w.flag() {
		m.Term = w.term(st)
	}
	switch b := m.Body.(type) {
	case *VoteRequest:
		b.Pre, b.Transfer, b.Last = w.flag(), w.flag(), w.entryID(n)
	case *VoteReply:
		b.Pre, b.Granted = w.flag(), w.flag()
	case *AppendRequest:
		switch b.Entries = slices.Clone(b.Entries); w.next() % 4 {
		case 0:
			b.Prev = w.entryID(n)
		case 1:
			b.Commit = w.index(st)
		case 2:
			b.Round = w.near(b.Round, 0)
		case 3:
			if len(b.Entries) > 0 {
				b.Entries[int(w.next())%len(b.Entries)].EntryID = w.entryID(n)
			}
		}
	case *AppendReply:
		switch w.next() % 4 {
		case 0:
			b.Match = w.index(st)
		case 1:
			b.Round = w.near(b.Round, 0)
		case 2:
			b.Rejected, b.Probed, b.Hint = w.flag(), w.entryID(n), w.entryID(n)
		case 3:
			b.Newcomer, b.Flooded = w.flag(), w.flag()
		}
	case *SnapshotRequest:
		spoiled := SnapshotRequest{Snapshot: SnapshotMeta{Last: w.entryID(n), Conf: b.Snapshot.Conf}, Bare: b.Bare}
		m.Body = &spoiled
	case *ReadRequest:
		m.Body = &ReadRequest{Sequence: w.near(b.Sequence)}
	case *ReadReply:
		m.Body = &ReadReply{Sequence: b.Sequence, Refused: w.flag(), Index: w.index(st)}
	}
}

// FuzzMessages is one node to whom the forger is everybody else: it follows
// whomever he likes, and leads because he votes for it. Its host is honest, but for
// what it loads, which may be anything.
func FuzzMessages(f *testing.F) {
	seeds(f, 22)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > longest {
			t.Skip("no input as long as this is tried: shorter ones find more in the same time")
		}
		lonelyWorld(t, script)
	})
}

func lonelyWorld(t testing.TB, script []byte) *world {
	w := newWorld(t, script)
	w.hostile = true
	n := w.nodes[0]
	for len(w.script) > 0 {
		what := w.next()
		switch {
		case what < 0xa0:
			w.step(n, Receive{w.forge(n)})
		case what < 0xb8: // what it would like to hear
			if answer := w.pleases(n); answer != nil {
				w.step(n, Receive{*answer})
			}
		case what < 0xc0:
			w.passes(n, time.Duration(w.next())*electionTimeout/100)
			w.step(n)
		case what < 0xc8:
			w.timesOut(n)
		case what < 0xd0:
			w.step(n, Loaded{
				Load:    Load{For: NodeID(w.next()%5 + 1), Term: w.term(&n.state), From: w.index(&n.state), To: w.index(&n.state), MaxBytes: 200},
				Entries: commands(w.index(&n.state), w.term(&n.state), w.term(&n.state)),
			})
		case what < 0xd4:
			w.step(n, SnapshotSent{Peer: NodeID(w.next() % 8), Index: w.index(&n.state), Status: SnapshotStatus(w.next())})
		case what < 0xdc:
			w.crash(n, int(what)%4, int(w.next()))
		default: // of what FuzzStep does, that which does not need the others
			w.act([]byte{9, 12, 13, 14, 18, 22, 26, 29, 31, 32, 33, 49}[what%12], w.next()/8*8)
		}
		for !n.stalled && what%2 == 0 && len(n.disk.pending) > 0 {
			w.step(n, w.completes(n))
		}
		w.wire = w.wire[max(0, len(w.wire)-20):]
	}
	return w
}

// pleases answers the newest message of n that asks for something: yes.
func (w *world) pleases(n *scriptedNode) *Message {
	for i := len(w.wire) - 1; i >= 0; i-- {
		m := &w.wire[i]
		answer := Message{From: m.To, To: n.id, Term: m.Term, Cluster: cluster, Incarnation: w.node(m.To).life, ToIncarnation: n.life}
		switch b := m.Body.(type) {
		case *VoteRequest:
			answer.Body = &VoteReply{Pre: b.Pre, Granted: true, Campaign: b.Campaign}
		case *AppendRequest:
			answer.Body = &AppendReply{Match: b.Prev.Index + Index(len(b.Entries)), Round: b.Round}
		default:
			continue
		}
		w.wire = slices.Delete(slices.Clone(w.wire), i, i+1)
		return &answer
	}
	return nil
}
