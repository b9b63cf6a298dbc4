package story

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// world is what a story plays with: nodes, each with a clock, a disk and a state
// machine, and the messages between them. Nothing happens in it by itself.
type world struct {
	nodes    []*member
	settings []string  // of Config, for nodes that are started from now on
	mail     []Message // under way, the oldest first
	cut      []link    // what is sent there is lost

	said, hidden, before []string // what this command prints, or quietly does not; and both of the one before

	role    int // where in said a role is told that the next line may replace; or -1
	sending int // where in said the present step's messages begin; or -1

	tag      Tag            // the newest request
	outcomes map[Tag]string // what has become of them
	applied  map[Index]Entry
	leaders  map[Term]NodeID
}

// link leads from one node to another; zero stands for any.
type link struct{ from, to NodeID }

func (l link) fits(m *Message) bool {
	return (l.from == 0 || l.from == m.From) && (l.to == 0 || l.to == m.To)
}

// member is a node with what belongs to it. While it is down, node is nil.
type member struct {
	id            NodeID
	cfg           Config
	life          Incarnation
	node          *Node
	now, deadline Instant
	asleep        bool
	joined        bool
	slow          bool // its disk
	disk          disk
	machine       machine
	reads         []query
}

// machine keeps values under keys.
type machine struct {
	applied Index
	time    int64
	values  map[string]string
}

func (m *machine) String() string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m.values)) {
		s = append(s, k+"="+m.values[k])
	}
	return "{" + strings.Join(s, " ") + "}"
}

// query is a read: of a key, when the machine has come to an index.
type query struct {
	tag Tag
	key string
	at  Index
}

// disk is what was saved. A crash loses the Saves that are pending.
type disk struct {
	hard           HardState
	snapshot, base SnapshotMeta
	entries        []Entry // after the base
	pending        []Save
	files          map[Index]machine // snapshots
}

// save completes the oldest pending Saves.
func (d *disk) save(n int) (done Saved) {
	for _, s := range d.pending[:n] {
		d.hard = s.HardState
		if s.Snapshot != nil {
			d.snapshot = *s.Snapshot
		}
		if s.Reset {
			d.base, d.entries = *s.Base, nil
		} else if s.Base != nil && s.Base.Last.Index > d.base.Last.Index {
			d.base, d.entries = *s.Base, d.entries[s.Base.Last.Index-d.base.Last.Index:]
		}
		if len(s.Entries) > 0 {
			d.entries = append(slices.Clone(d.entries[:s.Entries[0].Index-d.base.Last.Index-1]), s.Entries...)
		}
		done.Token = s.Token
	}
	d.pending = slices.Clone(d.pending[n:])
	return done
}

// log returns the entries that the node has: those that wait for the disk, too.
func (d disk) log() []Entry {
	d.save(len(d.pending))
	return d.entries
}

// keep puts a snapshot on the disk.
func (d *disk) keep(i Index, m machine) {
	if d.files = maps.Clone(d.files); d.files == nil {
		d.files = map[Index]machine{}
	}
	d.files[i] = m
}

func newWorld() *world {
	return &world{outcomes: map[Tag]string{}, applied: map[Index]Entry{}, leaders: map[Term]NodeID{}}
}

func (w *world) say(format string, args ...any) {
	w.said, w.role = append(w.said, fmt.Sprintf("    "+format, args...)), -1
}

func fail(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// start has a node continue from what is on its disk.
func (w *world) start(m *member) {
	d := &m.disk
	r := Recovered{HardState: d.hard, Incarnation: m.life, Snapshot: d.snapshot, Base: d.base.Last, BaseConf: d.base.Conf, Last: d.base.Last.Index, LastTime: d.base.Time, Tail: d.entries}
	for i := range d.entries {
		r.Note(&d.entries[i])
	}
	m.cfg.Boot++
	node, err := New(m.cfg, r)
	if err != nil {
		fail("%v", err)
	}
	m.node, m.machine, m.reads, m.asleep, m.joined = node, machine{values: map[string]string{}}, nil, false, d.hard.Joined
	w.say("%d %v", m.id, &r)
	node.Trace(w.traced)
	w.step(m)
}

// traced prints what a node becomes, and what it sends. A role that is only passed
// through is left out.
func (w *world) traced(e TraceEvent) {
	switch e.Kind {
	case TraceRole:
		if e.Role == Leader {
			if other := w.leaders[e.Term]; other != 0 && other != e.Node {
				fail("election safety: %d and %d lead term %d", other, e.Node, e.Term)
			}
			w.leaders[e.Term] = e.Node
		}
		same := fmt.Sprintf("    %d %v %v term=%d", e.Node, e.Kind, e.Role, e.Term)
		if w.role >= 0 && strings.HasPrefix(w.said[w.role], same) {
			w.said = w.said[:w.role]
		}
		w.say("%v", e)
		w.role = len(w.said) - 1
	case TraceCommit, TraceConfig, TraceCompact:
		w.say("%v", e)
	case TraceSend:
		if w.sending < 0 {
			w.sending = len(w.said)
		}
		w.post(*e.Message)
	}
}

// step gives a node inputs and carries out what it wants. What its disk and its
// machine do at once is told to it in another step.
func (w *world) step(m *member, inputs ...Input) {
	w.sending = -1
	m.node.Step(Tick{Now: m.now, Time: int64(m.now) / int64(time.Millisecond)})
	for _, in := range inputs {
		m.node.Step(in)
	}
	var out Output
	m.node.Drain(&out)
	m.node.CheckInvariants()
	if m.deadline = out.Deadline; m.deadline != 0 && m.deadline <= m.now {
		fail("node %d wants to be told the time again, and no time has passed", m.id)
	}
	var facts []Input
	if out.Save.Token.Sequence != 0 {
		w.say("%d %v", m.id, out.Save)
		if last := len(w.said) - 1; w.sending >= 0 { // it goes out with the messages, and is read before them
			w.said = slices.Insert(w.said[:last], w.sending, w.said[last])
		}
		m.disk.pending = append(m.disk.pending, out.Save)
		if !m.slow {
			facts = append(facts, m.disk.save(len(m.disk.pending)))
		}
	}
	if st := m.node.Status(); st.Joined != m.joined {
		m.joined = st.Joined
		w.say("%d joined", m.id)
	}
	for _, l := range out.Load {
		w.say("%d %v", m.id, l)
		base := m.disk.base.Last.Index + 1
		facts = append(facts, Loaded{Load: l, Entries: m.disk.entries[l.From-base : l.To-base+1]})
	}
	facts = append(facts, w.tellMachine(m, &out)...)
	for _, s := range out.Stages {
		w.say("%d %v", m.id, s)
	}
	for _, r := range out.Replies {
		w.say("%d %v", m.id, r)
		w.outcomes[r.Tag] = r.Outcome.String()
	}
	if out.Quiescent != m.asleep {
		m.asleep = out.Quiescent
		w.say("%d %s", m.id, map[bool]string{true: "asleep", false: "awake"}[m.asleep])
	}
	if len(facts) > 0 {
		w.step(m, facts...)
	}
}

// tellMachine carries out what is for the state machine, and returns its answers.
func (w *world) tellMachine(m *member, out *Output) (facts []Input) {
	k := &m.machine
	if out.Restore != nil {
		w.say("%d Restore %v", m.id, out.Restore)
		*k = m.disk.files[out.Restore.Last.Index]
		facts = append(facts, Applied{Index: k.applied})
	}
	if entries := out.Apply.Entries; len(entries) > 0 {
		line := fmt.Sprintf("%d %v", m.id, out.Apply)
		for _, t := range out.Apply.Tags {
			line += fmt.Sprintf(" tag=%d", t.Tag)
			w.outcomes[t.Tag] = "applied"
		}
		w.say("%s", line)
		k.values = maps.Clone(k.values)
		for _, e := range entries {
			if c, known := w.applied[e.Index]; known && (c.EntryID != e.EntryID || string(c.Data) != string(e.Data)) {
				fail("state machine safety: node %d applies %v, and another has applied %v", m.id, e, c)
			}
			w.applied[e.Index] = e
			if key, value, ok := strings.Cut(string(e.Data), "="); ok {
				k.values[key] = value
			}
			k.applied, k.time = e.Index, e.Time
		}
		facts = append(facts, Applied{Index: k.applied})
	}
	if out.Compact {
		w.say("%d Compact", m.id)
		facts = append(facts, m.takeSnapshot())
	}
	for _, r := range out.Reads {
		w.say("%d %v", m.id, r)
		m.reads[slices.IndexFunc(m.reads, func(q query) bool { return q.tag == r.Tag })].at = r.Index
	}
	m.reads = slices.DeleteFunc(m.reads, func(q query) bool {
		answers := q.at > 0 && q.at <= k.applied
		if answers {
			w.outcomes[q.tag] = q.key + "=" + k.values[q.key]
			w.say("%d answers tag=%d %s", m.id, q.tag, w.outcomes[q.tag])
		}
		return answers
	})
	return facts
}

func (m *member) takeSnapshot() Input {
	m.disk.keep(m.machine.applied, m.machine)
	return SnapshotTaken{Index: m.machine.applied, Time: m.machine.time}
}

// post puts a message on its way. What it promises must be on its sender's disk.
func (w *world) post(msg Message) {
	d := &w.find(msg.From).disk
	kept := true
	switch b := msg.Body.(type) {
	case *VoteReply:
		kept = !b.Granted || b.Pre || d.hard.Vote == msg.To && d.hard.Term == msg.Term
	case *VoteRequest:
		kept = b.Pre || d.hard.Vote == msg.From && d.hard.Term == msg.Term
	case *AppendReply:
		kept = b.Rejected || d.base.Last.Index+Index(len(d.entries)) >= b.Match
	}
	if !kept {
		fail("this promises what is not on the disk: %v", msg)
	}
	line := msg.String()
	if w.isCut(&msg) {
		line += "  (lost)"
	} else {
		w.mail = append(w.mail, msg)
	}
	w.say("%s", line)
}

func (w *world) isCut(msg *Message) bool {
	to := w.find(msg.To)
	return to == nil || to.node == nil || slices.ContainsFunc(w.cut, func(l link) bool { return l.fits(msg) })
}

// arrive gives a message to whom it is for. A snapshot has come with it, whole.
func (w *world) arrive(msg Message) {
	to := w.find(msg.To)
	if to.node == nil {
		w.say("%v  (lost)", msg)
		return
	}
	if r, ok := msg.Body.(*SnapshotRequest); ok {
		to.disk.keep(r.Snapshot.Last.Index, w.find(msg.From).disk.files[r.Snapshot.Last.Index])
	}
	w.step(to, Receive{Message: msg})
}

// take takes the messages of a link from those that are under way.
func (w *world) take(l link) (taken []Message) {
	w.mail = slices.DeleteFunc(w.mail, func(m Message) bool {
		if l.fits(&m) {
			taken = append(taken, m)
		}
		return l.fits(&m)
	})
	return taken
}

// settle has everything arrive that is under way, and all that comes of it.
func (w *world) settle() {
	for n := 0; len(w.mail) > 0; n++ {
		if n == 2000 {
			fail("the nodes do not come to rest; the last line is %s", w.said[len(w.said)-1])
		}
		msg := w.mail[0]
		w.mail = slices.Clone(w.mail[1:])
		w.arrive(msg)
	}
}

// pass lets time pass. Every node does in time what it wants to do in time, and
// what is sent arrives at once.
func (w *world) pass(d time.Duration) {
	for {
		next, who := d, (*member)(nil)
		for _, m := range w.nodes {
			if wait := max(0, m.deadline.Sub(m.now)); m.node != nil && m.deadline != 0 && wait <= d && (who == nil || wait < next) {
				next, who = wait, m
			}
		}
		for _, m := range w.nodes {
			m.now = m.now.Add(next)
		}
		if d -= next; who == nil {
			return
		}
		w.step(who)
		w.settle()
	}
}

// find returns a node, or nil.
func (w *world) find(id NodeID) *member {
	for _, m := range w.nodes {
		if m.id == id {
			return m
		}
	}
	return nil
}
