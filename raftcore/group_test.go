package raftcore_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// group is a few members, connected.
type group struct {
	t       testing.TB
	members []*groupMember // member i has ID i+1
	filters []func(*Message) fate
	wire    []Message
	parked  []Message
	history history
	silent  bool // nobody is told that a snapshot was dropped
	lastTag Tag
}

// groupMember adds to a member what a group needs to know of it.
type groupMember struct {
	*member
	inbox   []Input
	stalled bool // its disk completes nothing
	lazy    bool // its machine applies nothing
	down    bool
	done    map[Tag]Index // proposals that came out
	replies map[Tag]Outcome
	reads   map[Tag]Index
}

// fate is what a filter does with a message.
type fate int

const (
	pass fate = iota
	drop
	hold  // until release
	twice // deliver, and deliver again
)

// newGroup returns n voters that have been founded and have no leader.
func newGroup(t testing.TB, n int) *group { return newGroupOf(t, n, given{}) }

// newGroupOf returns n voters that all start from g.
func newGroupOf(t testing.TB, n int, g given) *group {
	t.Helper()
	var givens []given
	for range n {
		givens = append(givens, g)
	}
	return assemble(t, givens...)
}

// assemble returns a group of one voter for each given.
func assemble(t testing.TB, givens ...given) *group {
	t.Helper()
	g := &group{t: t, history: newHistory(t)}
	var all []NodeID
	for i := range givens {
		all = append(all, NodeID(i+1))
	}
	for i, each := range givens {
		each.ID = NodeID(i + 1)
		if each.Voters == nil {
			each.Voters = all
		}
		g.members = append(g.members, &groupMember{
			member: newMember(t, each), done: map[Tag]Index{}, replies: map[Tag]Outcome{}, reads: map[Tag]Index{},
		})
	}
	for _, m := range g.members {
		g.step(m)
	}
	return g
}

func (g *group) member(id NodeID) *groupMember { return g.members[id-1] }

// filter decides about every message from now on; the first filter that does
// not pass a message has its way.
func (g *group) filter(f func(*Message) fate) { g.filters = append(g.filters, f) }

// connected removes all filters.
func (g *group) connected() { g.filters = nil }

// isolate drops whatever goes to or comes from a member.
func (g *group) isolate(ids ...NodeID) {
	g.filter(func(m *Message) fate {
		if slices.Contains(ids, m.From) != slices.Contains(ids, m.To) {
			return drop
		}
		return pass
	})
}

// release puts the held messages on the wire.
func (g *group) release() {
	g.wire = append(g.wire, g.parked...)
	g.parked = nil
}

// step runs one member and puts what it sends on the wire.
func (g *group) step(m *groupMember, inputs ...Input) {
	g.t.Helper()
	if m.down {
		return
	}
	m.run(inputs...)
	g.history.observe(m.member)
	for i := range m.out.Send {
		g.send(cloneMessage(&m.out.Send[i]))
	}
	if !m.lazy && len(m.out.Apply.Entries) > 0 {
		m.inbox = append(m.inbox, Applied{Index: m.applied})
	}
	for _, t := range m.out.Apply.Tags {
		m.done[t.Tag] = t.Index
	}
	for _, r := range m.out.Replies {
		m.replies[r.Tag] = r.Outcome
	}
	for _, r := range m.out.Reads {
		m.reads[r.Tag] = r.Index
	}
	if r := m.out.Restore; r != nil && !m.lazy {
		m.inbox = append(m.inbox, Applied{Index: r.Last.Index})
	}
	if m.out.Compact && !m.lazy {
		m.inbox = append(m.inbox, SnapshotTaken{Index: m.applied, Time: m.time})
	}
	for _, l := range m.out.Load {
		m.inbox = append(m.inbox, Loaded{Load: l, Entries: m.disk.load(l)})
	}
}

func (g *group) send(m Message) {
	for _, f := range g.filters {
		switch f(&m) {
		case drop:
			if s, ok := m.Body.(*SnapshotRequest); ok && !g.silent {
				from := g.member(m.From)
				from.inbox = append(from.inbox, SnapshotSent{Peer: m.To, Index: s.Snapshot.Last.Index, Status: SnapshotFailed})
			}
			return
		case hold:
			g.parked = append(g.parked, m)
			return
		case twice:
			g.wire = append(g.wire, m, m)
			return
		}
	}
	g.wire = append(g.wire, m)
}

// settle delivers messages in the order in which they were sent, and completes
// Saves, Loads and Applies at once, until nobody has anything left to do. Time
// stands still.
func (g *group) settle() {
	g.t.Helper()
	for count := 0; ; count++ {
		if count > 20_000 {
			g.t.Fatalf("the group does not come to rest: %d messages on the wire, the first is %v", len(g.wire), g.wire[0])
		}
		busy := false
		for _, m := range g.members {
			if m.down {
				m.inbox = nil
				continue
			}
			if !m.stalled && len(m.disk.pending) > 0 {
				busy = true
				g.step(m, Saved{Token: m.disk.completeOldest()})
			}
			if len(m.inbox) > 0 {
				busy = true
				inbox := m.inbox
				m.inbox = nil
				g.step(m, inbox...)
			}
		}
		if len(g.wire) > 0 {
			busy = true
			m := g.wire[0]
			g.wire = g.wire[1:]
			g.step(g.member(m.To), Receive{Message: m})
		}
		if !busy {
			return
		}
	}
}

// passes lets time pass for everybody, heartbeat by heartbeat.
func (g *group) passes(d time.Duration) {
	g.t.Helper()
	const step = heartbeatInterval / 2
	for ; d > 0; d -= step {
		for _, m := range g.members {
			m.now = m.now.Add(min(step, d))
			g.step(m)
		}
		g.settle()
	}
}

// timesOut lets the clock of one member run to its deadline. Clocks have no
// common origin, so the others need not notice.
func (g *group) timesOut(id NodeID) {
	g.t.Helper()
	m := g.member(id)
	m.now = max(m.now, m.out.Deadline)
	g.step(m)
}

// loseSight lets the clocks of all members that do not lead run until just
// before they would campaign: nobody believes in a leader any more.
func (g *group) loseSight() {
	g.t.Helper()
	for _, m := range g.members {
		if m.state.Role != Leader && m.out.Deadline > m.now {
			m.now = m.out.Deadline - 1
			g.step(m)
		}
	}
}

// elects has a member campaign when the others have lost sight of the leader,
// and demands that it wins.
func (g *group) elects(id NodeID) {
	g.t.Helper()
	g.loseSight()
	g.timesOut(id)
	g.settle()
	if m := g.member(id); m.state.Role != Leader {
		g.t.Fatalf("%v; it should lead", m.node)
	}
}

// proposes has a member propose a command, and returns the tag.
func (g *group) proposes(id NodeID, data string) Tag {
	g.t.Helper()
	g.lastTag++
	g.step(g.member(id), Propose{Tag: g.lastTag, Data: []byte(data)})
	return g.lastTag
}

// reads has a member read, and returns the tag.
func (g *group) reads(id NodeID) Tag {
	g.t.Helper()
	g.lastTag++
	g.step(g.member(id), Read{Tag: g.lastTag})
	return g.lastTag
}

// crash stops a member and starts it again from its disk.
func (g *group) crash(id NodeID, kept int) {
	g.t.Helper()
	m := g.member(id)
	m.inbox = nil
	m.crash(kept)
	g.history.restarted(m.member)
	g.step(m)
}

// stops takes a member down; it loses all but its disk.
func (g *group) stops(ids ...NodeID) {
	for _, id := range ids {
		m := g.member(id)
		m.down, m.inbox, m.disk.pending = true, nil, nil
	}
}

// starts brings members that were down up again.
func (g *group) starts(ids ...NodeID) {
	g.t.Helper()
	for _, id := range ids {
		g.member(id).down = false
		g.crash(id, 0)
	}
}

// agree demands that all members hold, and have applied, the same log, as far
// as they have not compacted it.
func (g *group) agree() {
	g.t.Helper()
	first := g.members[0]
	for _, m := range g.members[1:] {
		base := max(m.disk.base.Last.Index, first.disk.base.Last.Index)
		if m.disk.last() != first.disk.last() || base > m.disk.last() {
			g.t.Fatalf("node %d has entries up to %d, node %d up to %d", m.id, m.disk.last(), first.id, first.disk.last())
		}
		got, want := ids(m.disk.entries[base-m.disk.base.Last.Index:]), ids(first.disk.entries[base-first.disk.base.Last.Index:])
		if !slices.Equal(got, want) {
			g.t.Fatalf("node %d has the log %v, node %d has %v", m.id, got, first.id, want)
		}
		if m.applied != first.applied {
			g.t.Fatalf("node %d has applied %d, node %d %d", m.id, m.applied, first.id, first.applied)
		}
	}
}

func ids(entries []Entry) []EntryID {
	all := []EntryID{}
	for i := range entries {
		all = append(all, entries[i].EntryID)
	}
	return all
}

// history remembers what a group has done, and demands what Raft promises
// (Figure 3).
type history struct {
	t       testing.TB
	leaders map[Term]NodeID
	applied []Entry // what anybody has applied
	entries map[EntryID]Entry
	before  map[EntryID]EntryID // the entry before each one
	logs    map[NodeID][]EntryID
}

func newHistory(t testing.TB) history {
	return history{
		t: t, leaders: map[Term]NodeID{}, entries: map[EntryID]Entry{}, before: map[EntryID]EntryID{}, logs: map[NodeID][]EntryID{},
	}
}

func (h *history) restarted(m *member) {
	h.logs[m.id] = append(h.upTo(m.disk.base.Last), ids(m.disk.entries)...)
}

// upTo returns what was committed up to an entry that a snapshot covers.
func (h *history) upTo(last EntryID) []EntryID {
	h.t.Helper()
	i := last.Index
	if i > 0 && (int(i) > len(h.applied) || h.applied[i-1].EntryID != last) {
		h.t.Fatalf("state machine safety: a snapshot of %v, %d entries were committed", last, len(h.applied))
	}
	return ids(h.applied[:i])
}

// observeSnapshot demands that a snapshot stands for what was committed, and for
// the configuration as of its last entry.
func (h *history) observeSnapshot(s *SnapshotMeta) {
	h.t.Helper()
	h.upTo(s.Last)
	var conf *Entry
	for i := range h.applied[:s.Last.Index] {
		if h.applied[i].Kind == EntryConfig {
			conf = &h.applied[i]
		}
	}
	if conf != nil && (conf.Index != s.Conf.Index || !conf.Config.Equal(s.Conf.Conf)) {
		h.t.Fatalf("%v says its configuration is that of %d, and %v was in force", s, s.Conf.Index, conf)
	}
	if time := h.applied[s.Last.Index-1].Time; time != s.Time {
		h.t.Fatalf("%v says its time is %d, and it was %d", s, s.Time, time)
	}
}

func (h *history) observe(m *member) {
	h.t.Helper()
	if _, known := h.logs[m.id]; !known {
		h.restarted(m)
	}
	h.observeLog(m)
	if m.out.Restore != nil {
		h.observeSnapshot(m.out.Restore)
	}
	if m.out.Save.Snapshot != nil {
		h.observeSnapshot(m.out.Save.Snapshot)
	}
	if st := &m.state; st.Role == Leader {
		if other, known := h.leaders[st.Term]; known && other != m.id {
			h.t.Fatalf("election safety: nodes %d and %d both lead term %d", other, m.id, st.Term)
		} else if !known {
			h.leaders[st.Term] = m.id
			for i := range h.applied {
				if log := h.logs[m.id]; i >= len(log) || log[i] != h.applied[i].EntryID {
					h.t.Fatalf("leader completeness: node %d leads term %d without %v", m.id, st.Term, h.applied[i])
				}
			}
		}
	}
	for _, e := range m.out.Apply.Entries {
		if int(e.Index) > len(h.applied) {
			h.applied = append(h.applied, e)
		} else if known := h.applied[e.Index-1]; known.EntryID != e.EntryID || string(known.Data) != string(e.Data) {
			h.t.Fatalf("state machine safety: node %d applies %v, others applied %v", m.id, e, known)
		}
	}
}

// observeLog follows a node's log by its Saves.
func (h *history) observeLog(m *member) {
	h.t.Helper()
	entries := m.out.Save.Entries
	if b := m.out.Save.Base; b != nil {
		if m.out.Save.Reset {
			h.logs[m.id] = h.upTo(b.Last)
		} else if log, i := h.logs[m.id], int(b.Last.Index); i > len(log) || log[i-1] != b.Last {
			h.t.Fatalf("node %d makes %v the base of a log that has not got it", m.id, b.Last)
		}
	}
	if m.out.Save.Token.Sequence == 0 || len(entries) == 0 {
		return
	}
	log := h.logs[m.id]
	first := entries[0].Index
	if int(first) > len(log)+1 {
		h.t.Fatalf("node %d saves %d after %d", m.id, first, len(log))
	}
	log = slices.Clone(log[:first-1])
	for _, e := range entries {
		var before EntryID
		if len(log) > 0 {
			before = log[len(log)-1]
		}
		known, ok := h.entries[e.EntryID]
		if ok && e.Kind == EntryMeta { // a witness's: it stands for what others have
			e.Data, e.Kind = known.Data, known.Kind
		}
		if ok && (string(known.Data) != string(e.Data) || known.Kind != e.Kind || h.before[e.EntryID] != before) {
			h.t.Fatalf("log matching: node %d has %v after %v, others have %v after %v", m.id, e, before, known, h.before[e.EntryID])
		}
		h.entries[e.EntryID], h.before[e.EntryID] = e, before
		log = append(log, e.EntryID)
	}
	h.logs[m.id] = log
}
