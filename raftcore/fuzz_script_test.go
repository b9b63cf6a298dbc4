package raftcore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// world is a group that bytes drive. The nodes 1, 2 and 3 found it, 4 and 5 may
// be added. The first bytes say what kind of group it is; then two at a time say
// what happens next, and to whom (act).
//
// Every script is a legal history: whatever its bytes, hosts, disks and machines
// do what they must, and nobody loses a disk that the others cannot spare. Only
// the forger (fuzz_hostile_test.go) keeps to no rule.
type world struct {
	t       testing.TB
	script  []byte
	nodes   []*scriptedNode
	wire    []Message
	cut     byte // a bit for each node on the one side of a partition
	slow    bool // it loses nothing: what crosses it comes late
	check   *checker
	lastTag Tag
	founded ConfState

	witnesses []NodeID // those of the nodes that keep no data, whatever they are members of

	leases  bool
	real    Instant // with leases: the time since dawn, which all clocks follow, more or less
	silent  bool    // nobody is told how a snapshot fares
	hostile bool
	starts  func(*scriptedNode) // is told of the end of a start, if set
	did     map[string]int      // what happened, and how often
}

// scriptedNode is a member and what surrounds it.
type scriptedNode struct {
	*member
	founder bool
	rate    int64   // of its clock, in parts per thousand
	inbox   []Input // what its disk, machine and host are about to say
	tokens  []Token // what its disk has said
	stalled bool    // its disk completes nothing unless it is told to
	lazy    bool    // nor does its machine
	quiet   bool
	shadow  shadow
	story   *script // where its inputs are written down, if they are
	told    []string
}

// dawn is what all clocks show in the beginning.
const dawn = Instant(time.Hour)

// newWorld founds a group as the first bytes say.
func newWorld(t testing.TB, bytes []byte) *world {
	w := &world{t: t, script: bytes, did: map[string]int{}}
	kind, snapshots, seed, head := w.next(), w.next(), w.next(), w.next()
	has := func(bit int) bool { return kind&(1<<bit) != 0 }
	w.leases, w.silent = has(1), has(7)
	w.founded = ConfState{Voters: voters(1, 2, 3)}
	first := int(seed % 3) // who is elected in the beginning
	if head&0x0c == 0x0c {
		w.witnesses, w.founded.Witnesses = voters(3), voters(3)
		first = int(seed % 2)
	}
	if head&0x30 == 0x30 { // maybe another one later
		w.witnesses = append(w.witnesses, 5)
	}
	for i := range 5 {
		g := given{ID: NodeID(i + 1), Voters: w.founded.Voters, Witnesses: w.witnesses, Durable: has(4), Pristine: true}
		g.Limits = func(c *Config) {
			c.Seed, c.Joins = uint64(seed), i >= 3
			c.LeaseReads, c.CampaignOnDemand, c.Quiesce = w.leases, has(2), has(3)
			if has(5) {
				c.Priority = i % 3
			}
			c.SnapshotEntries = []int{0, 1, 3, 8}[snapshots%4]
			c.KeepEntries = []int{-1, -1, 2, 5}[snapshots/4%4]
			if snapshots&0x10 != 0 {
				c.SnapshotAge = 3 * electionTimeout
			}
			if snapshots&0x60 == 0x60 {
				c.SnapshotBytes = 500
			}
			if has(0) {
				c.MaxAppendBytes, c.MaxInflight, c.MaxInflightBytes = 200, 2, 300
				c.MaxApplyBytes, c.MaxWindowBytes, c.MaxUncommittedBytes = 100, 100, 1000
				c.MaxUnapplied, c.MaxUnsavedBytes, c.MaxReads, c.MaxCommandBytes = 12, 200, 4, 40
			}
		}
		n := &scriptedNode{member: newMember(t, g), founder: i < 3}
		n.rate = []int64{1000, 950, 1050, 975, 1025}[(i+int(seed))%5]
		w.nodes = append(w.nodes, n)
	}
	w.check = newChecker(t)
	for _, n := range w.nodes {
		w.check.restarted(n)
		w.step(n)
	}
	if head&3 != 0 { // most groups begin with a leader
		for i := range 3 {
			w.bootstrap(w.nodes[i])
		}
		w.settle()
		w.elect(w.nodes[first])
	}
	return w
}

func (w *world) next() byte {
	if len(w.script) == 0 {
		return 0
	}
	b := w.script[0]
	w.script = w.script[1:]
	return b
}

func (w *world) node(id NodeID) *scriptedNode { return w.nodes[id-1] }

// some picks a node, the founders more often than others.
func (w *world) some(arg byte) *scriptedNode { return w.nodes[[]int{0, 1, 2, 0, 1, 2, 3, 4}[arg%8]] }

// leader returns who leads in the newest term, or nil.
func (w *world) leader() *scriptedNode {
	var best *scriptedNode
	for _, n := range w.nodes {
		if n.state.Role == Leader && (best == nil || n.state.Term > best.state.Term) {
			best = n
		}
	}
	return best
}

// leaderOr returns who leads, nearly always.
func (w *world) leaderOr(arg byte) *scriptedNode {
	if n := w.leader(); n != nil && arg%8 < 7 {
		return n
	}
	return w.some(arg / 8)
}

// step gives a node a batch of inputs and carries out what it wants.
func (w *world) step(n *scriptedNode, inputs ...Input) {
	w.t.Helper()
	if w.leases {
		n.now = max(n.now, dawn+w.real*Instant(n.rate)/1000)
	}
	before := n.state
	if w.hostile {
		if !w.stepSafely(n, inputs) {
			return
		}
	} else {
		n.run(inputs...)
		n.node.CheckInvariants()
		w.check.observe(n, &before)
	}
	w.bounded(n, len(inputs))
	w.count(n, &before)
	if n.story != nil {
		n.told = append(n.told, tell(&n.out))
	}
	out := &n.out
	for i := range out.Send {
		w.transmit(n, cloneMessage(&out.Send[i]))
	}
	if len(out.Apply.Entries) > 0 {
		n.inbox = append(n.inbox, Applied{Index: n.applied})
	}
	if r := out.Restore; r != nil {
		n.inbox = append(n.inbox, Applied{Index: r.Last.Index})
	}
	if out.Compact {
		n.inbox = append(n.inbox, SnapshotTaken{Index: n.applied, Time: n.time})
	}
	for _, l := range out.Load {
		n.inbox = append(n.inbox, Loaded{Load: l, Entries: n.disk.load(l)})
	}
	n.quiet = out.Quiescent
}

// bounded demands that an Output is no larger than Config allows.
func (w *world) bounded(n *scriptedNode, inputs int) {
	w.t.Helper()
	c := n.cfg.WithDefaults()
	fits := func(what string, entries []Entry, limit int) {
		bytes := 0
		for i := range entries {
			bytes += entries[i].Size()
		}
		if bytes > limit && len(entries) > 1 {
			w.t.Fatalf("node %d: %s of %d bytes, %d are allowed", n.id, what, bytes, limit)
		}
	}
	fits("Apply", n.out.Apply.Entries, c.MaxApplyBytes)
	for i := range n.out.Send {
		if r, ok := n.out.Send[i].Body.(*AppendRequest); ok {
			fits("AppendRequest", r.Entries, c.MaxAppendBytes)
		}
	}
	peers := len(n.state.Conf.Members()) + 10 // those who were let go included
	if len(n.out.Load) > peers+1 || len(n.out.Send) > (inputs+3)*peers+min(c.MaxInflight, 64)*peers {
		w.t.Fatalf("node %d: after %d inputs %d messages and %d Loads", n.id, inputs, len(n.out.Send), len(n.out.Load))
	}
}

// count notes what happened, so that scripts that test nothing are noticed.
func (w *world) count(n *scriptedNode, before *Status) {
	add := func(what string, yes bool) {
		if yes {
			w.did[what]++
		}
	}
	out := &n.out
	add("elections", n.state.Role == Leader && (before.Role != Leader || before.Term != n.state.Term))
	add("commits", n.state.Commit > before.Commit)
	add("joint", n.state.Conf.Joint() && !before.Conf.Joint())
	add("configurations", n.state.ConfIndex > before.ConfIndex)
	add("restores", out.Restore != nil)
	add("compacted", n.state.First > before.First)
	add("quiet", out.Quiescent && !n.quiet)
	add("joined", n.state.Joined && !before.Joined)
	add("loads", len(out.Load) > 0)
	add("stages", len(out.Stages) > 0)
	if n.state.Role == Leader {
		add("reads of leaders", len(out.Reads) > 0)
	} else {
		add("reads of others", len(out.Reads) > 0)
	}
	for _, r := range out.Replies {
		add("reply: "+r.Outcome.String(), true)
	}
	for i := range out.Send {
		_, told := out.Send[i].Body.(*TimeoutNow)
		add("transfers", told)
		r, sent := out.Send[i].Body.(*SnapshotRequest)
		add("snapshots sent", sent && !r.Bare)
		add("bare snapshots sent", sent && r.Bare)
		v, asked := out.Send[i].Body.(*VoteReply)
		add("votes of witnesses", asked && v.Granted && !v.Pre && n.cfg.Witness)
	}
	add("commits that witnesses were needed for", n.state.WitnessesNeeded && n.state.Commit > before.Commit)
}

// transmit puts a message on the wire.
func (w *world) transmit(from *scriptedNode, m Message) {
	if m.To < 1 || int(m.To) > len(w.nodes) || len(w.wire) > 300 {
		w.lose(m)
		return
	}
	w.wire = append(w.wire, m)
}

// lose drops a message, and tells its sender if that is about a snapshot.
func (w *world) lose(m Message) {
	if s, ok := m.Body.(*SnapshotRequest); ok {
		w.report(m, s, SnapshotFailed)
	}
}

func (w *world) report(m Message, s *SnapshotRequest, status SnapshotStatus) {
	if n := w.node(m.From); !w.silent && !s.Bare && m.Incarnation == n.life { // which is a message as any other
		n.inbox = append(n.inbox, SnapshotSent{Peer: m.To, Index: s.Snapshot.Last.Index, Status: status})
	}
}

// arrives takes message i off the wire. It says what its receiver is given; a
// partition may have swallowed it.
func (w *world) arrives(i int) (n *scriptedNode, in Input, ok bool) {
	m := w.wire[i]
	w.wire = slices.Delete(slices.Clone(w.wire), i, i+1)
	if w.crosses(&m) && !w.slow {
		w.lose(m)
		return nil, nil, false
	}
	if s, ok := m.Body.(*SnapshotRequest); ok {
		w.report(m, s, SnapshotDelivered)
	}
	return w.node(m.To), Receive{m}, true
}

func (w *world) crosses(m *Message) bool { return (w.cut>>m.From^w.cut>>m.To)&1 != 0 }

// deliver has message i arrive.
func (w *world) deliver(i int) {
	w.t.Helper()
	if n, in, ok := w.arrives(i); ok {
		w.step(n, in)
	}
}

// waiting takes everything that waits for a node off the wire, and is not held up.
func (w *world) waiting(id NodeID) []Input {
	var batch []Input
	for i := 0; i < len(w.wire); {
		if m := &w.wire[i]; m.To != id || w.slow && w.crosses(m) {
			i++
		} else if _, in, ok := w.arrives(i); ok {
			batch = append(batch, in)
		}
	}
	return batch
}

// completes has a disk complete its oldest Save.
func (w *world) completes(n *scriptedNode) Input {
	save, newcomer := n.disk.pending[0], !n.disk.hard.Joined
	token := n.disk.completeOldest()
	n.tokens = append(n.tokens, token)
	w.check.durable(n, &save, newcomer)
	return Saved{Token: token}
}

// pop takes something out of a node's inbox. The machine says what it has to say
// in order; the disk and the network do not.
func (n *scriptedNode) pop(k int) Input {
	machine := func(in Input) bool {
		switch in.(type) {
		case Applied, SnapshotTaken:
			return true
		}
		return false
	}
	k %= len(n.inbox)
	if machine(n.inbox[k]) {
		k = slices.IndexFunc(n.inbox, machine)
	}
	in := n.inbox[k]
	n.inbox = slices.Delete(slices.Clone(n.inbox), k, k+1)
	return in
}

// settle has everything happen that is about to, until nobody has anything to do.
// Time stands still.
func (w *world) settle() {
	w.t.Helper()
	for turn := 0; ; turn++ {
		busy := false
		for _, n := range w.nodes {
			batch := w.waiting(n.id)
			if !n.stalled && len(n.disk.pending) > 0 { // one at a time, so that others may be in doubt meanwhile
				batch = append(batch, w.completes(n))
			}
			for !n.lazy && len(n.inbox) > 0 {
				batch = append(batch, n.pop(0))
			}
			if len(batch) > 0 {
				busy = true
				w.step(n, batch...)
			}
		}
		if !busy || w.hostile && turn > 20 {
			return
		}
		if turn > 1000 {
			for _, m := range w.wire {
				w.t.Log(m)
			}
			w.t.Fatal("the group does not come to rest")
		}
	}
}

// passes lets time pass.
func (w *world) passes(n *scriptedNode, d time.Duration) {
	if w.leases {
		w.real = w.real.Add(d)
	} else {
		n.now = n.now.Add(d)
	}
}

// timesOut lets a clock run to its node's deadline.
func (w *world) timesOut(n *scriptedNode) {
	w.t.Helper()
	if at := n.out.Deadline; w.leases && at > n.now {
		w.real = max(w.real, (at-dawn)*1000/Instant(n.rate)+2)
	} else {
		n.now = max(n.now, at)
	}
	w.step(n)
}

// beats lets time pass for everybody.
func (w *world) beats(d time.Duration) {
	w.t.Helper()
	if w.leases {
		w.real = w.real.Add(d)
	}
	for _, n := range w.nodes {
		if !w.leases {
			n.now = n.now.Add(d)
		}
		w.step(n)
	}
	w.settle()
}

// elect has everybody lose sight of the leader, and one node try to be elected.
func (w *world) elect(n *scriptedNode) {
	w.t.Helper()
	if w.leases {
		w.real = w.real.Add(electionTimeout + electionTimeout/8)
	} else {
		for _, o := range w.nodes {
			if o != n && o.state.Role != Leader && o.out.Deadline > o.now {
				o.now = o.out.Deadline - 1
			}
		}
	}
	w.timesOut(n)
	w.settle()
}

// crash has a process die: of the Saves under way the first kept ones survive. It
// starts again at once, with so many of its newest entries; the others' hosts
// notice.
func (w *world) crash(n *scriptedNode, kept, tail int) {
	w.t.Helper()
	for range min(kept, len(n.disk.pending)) {
		w.completes(n)
	}
	w.restart(n, tail)
	for _, o := range w.nodes {
		if o != n {
			o.inbox = append(o.inbox, Unreachable{Peer: n.id})
		}
	}
	w.step(n)
}

func (w *world) restart(n *scriptedNode, tail int) {
	w.t.Helper()
	n.disk.pending, n.inbox = nil, nil
	n.cfg.Boot++
	tail = min(tail, len(n.disk.entries))
	n.open(tail)
	n.quiet = false
	w.check.restarted(n)
	if w.starts != nil {
		w.begin(n, tail)
	}
}

// wipe gives a node a new disk, if the others can spare the old one: it comes back
// as somebody who waits to be added.
func (w *world) wipe(n *scriptedNode) {
	w.t.Helper()
	if !w.spareable(n) {
		return
	}
	w.did["wiped"]++
	n.disk = disk{}
	n.life += 1000
	n.cfg.Joins, n.founder = true, false
	n.applied, n.time = 0, 0
	w.crash(n, 0, 0)
}

// spareable reports whether a disk may be lost: that of a node that is no member
// for anybody who could count on it; or, if the group is at rest, that of one of at
// least three voters, when all others have theirs.
func (w *world) spareable(n *scriptedNode) bool {
	if len(w.check.confs) == 0 {
		return false
	}
	last := w.check.confs[len(w.check.confs)-1]
	member := last.Conf.Contains(n.id)
	for _, o := range w.nodes {
		member = member || o != n && o.state.Conf.Contains(n.id)
	}
	if !member {
		return true
	}
	if last.Conf.Joint() || len(last.Conf.Voters) < 3 || w.underWay(last.Index) {
		return false
	}
	if len(w.witnesses) > 0 && !n.cfg.Witness {
		return false // what it has may be nowhere else, but in part
	}
	for _, r := range w.check.requests {
		if in, ok := r.in.(ChangeConfig); ok && !r.ended && r.boot == w.node(r.node).cfg.Boot && len(in.Conf.Voters) < 3 {
			return false
		}
	}
	for _, o := range w.nodes {
		if last.Conf.Contains(o.id) && (o.state.ConfIndex != last.Index || o.state.Commit < last.Index || o != n && !o.disk.hard.Joined) {
			return false
		}
	}
	return true
}

// underWay reports whether a configuration is on the wire that comes after one.
func (w *world) underWay(after Index) bool {
	return slices.ContainsFunc(w.wire, func(m Message) bool {
		r, ok := m.Body.(*AppendRequest)
		return ok && slices.ContainsFunc(r.Entries, func(e Entry) bool { return e.Config != nil && e.Index > after })
	})
}

// mourns reports whether a disk was lost and has not been made good.
func (w *world) mourns() bool {
	return slices.ContainsFunc(w.nodes, func(n *scriptedNode) bool { return n.life != lifeOf(n.id) && !n.disk.hard.Joined })
}

// asks steps a node with a request that is given a tag.
func (w *world) asks(n *scriptedNode, request func(Tag) Input) {
	w.t.Helper()
	w.lastTag++
	in := request(w.lastTag)
	w.check.ask(n, w.lastTag, in)
	w.step(n, in)
}

func (w *world) proposes(n *scriptedNode, count int, size int, watch bool) {
	w.t.Helper()
	var batch []Input
	for range count {
		w.lastTag++
		in := Propose{Tag: w.lastTag, Data: fmt.Appendf(nil, "%d %0*d", w.lastTag, size, 0), Watch: watch}
		w.check.ask(n, w.lastTag, in)
		batch = append(batch, in)
	}
	w.step(n, batch...)
}

func (w *world) bootstrap(n *scriptedNode) {
	w.t.Helper()
	if n.founder && (n.state.Last > 0 || n.state.Cluster == 0) {
		w.asks(n, func(tag Tag) Input { return Bootstrap{Tag: tag, Cluster: cluster, Conf: w.founded} })
	}
}

// changes asks for a configuration: what every node is in it, in base three.
// expect is the one that the asker has seen, if it says so.
func (w *world) changes(n *scriptedNode, what int, expect Index) {
	w.t.Helper()
	var conf ConfState
	for _, o := range w.nodes {
		switch what % 3 {
		case 1:
			conf.Voters = append(conf.Voters, o.id)
		case 2:
			conf.Learners = append(conf.Learners, o.id)
		}
		what /= 3
	}
	for _, id := range w.witnesses {
		if conf.Contains(id) {
			conf.Witnesses = append(conf.Witnesses, id)
		}
	}
	if len(conf.Voters) < 3 && w.mourns() {
		return // who counts on few must be able to count on them
	}
	w.asks(n, func(tag Tag) Input {
		return ChangeConfig{Tag: tag, Conf: conf, Expect: expect}
	})
}

// roles is what every node is in a configuration, in base three.
func (w *world) roles(c *ConfState) int {
	what := 0
	for i := len(w.nodes) - 1; i >= 0; i-- {
		what *= 3
		if id := w.nodes[i].id; slices.Contains(c.Voters, id) {
			what++
		} else if slices.Contains(c.Learners, id) {
			what += 2
		}
	}
	return what
}

// act has one thing happen. Random bytes should get somewhere: about half of what
// may happen lets the group live.
func (w *world) act(what, arg byte) {
	w.t.Helper()
	n, rest := w.some(arg), int(arg/8)
	at := 0
	if len(w.wire) > 0 {
		at = int(arg) % len(w.wire)
	}
	switch what % 56 {
	case 0, 1: // a clock runs
		w.passes(n, time.Duration(rest+1)*electionTimeout/64)
		w.step(n)
	case 2, 3, 4: // a message arrives, out of turn
		if len(w.wire) > 0 {
			w.deliver(at)
		}
	case 5, 6: // a message arrives, and will again
		if len(w.wire) > 0 {
			w.wire = append(slices.Clone(w.wire), w.wire[at])
			w.deliver(at)
		}
	case 7: // a message is lost
		if len(w.wire) > 0 {
			m := w.wire[at]
			w.wire = slices.Delete(slices.Clone(w.wire), at, at+1)
			w.lose(m)
		}
	case 8: // what waits for a node is lost
		w.wire = slices.DeleteFunc(slices.Clone(w.wire), func(m Message) bool {
			if m.To == n.id {
				w.lose(m)
			}
			return m.To == n.id
		})
	case 9, 10, 11: // a disk completes a Save
		if len(n.disk.pending) > 0 {
			w.step(n, w.completes(n))
		}
	case 12: // several at once, and only the newest is told of
		var in Input
		for range min(1+rest%4, len(n.disk.pending)) {
			in = w.completes(n)
		}
		if in != nil {
			w.step(n, in)
		}
	case 13: // the disk says it again, maybe to the next start
		if len(n.tokens) > 0 {
			w.step(n, Saved{Token: n.tokens[max(0, len(n.tokens)-1-rest)]})
		}
	case 14, 15: // the disk, the machine or the host says something
		if len(n.inbox) > 0 {
			in := n.pop(rest)
			switch fails := rest%4 == 3; said := in.(type) {
			case Loaded:
				if fails {
					said.Entries = nil
				}
				in = said
			case SnapshotTaken:
				if fails {
					said = SnapshotTaken{}
				}
				in = said
			}
			w.step(n, in)
		}
	case 16: // a process dies
		tail := rest / 4
		if tail > 5 {
			tail = len(n.disk.entries)
		}
		w.crash(n, rest%4, tail)
	case 17:
		w.wipe(n)
	case 18, 19, 20:
		w.proposes(w.leaderOr(arg), 1+rest%4, rest, rest%2 == 0)
	case 21:
		w.proposes(n, 1, 60*(rest%2), true)
	case 22, 23:
		w.asks(w.leaderOr(arg), func(tag Tag) Input { return Read{Tag: tag} })
	case 24:
		w.asks(n, func(tag Tag) Input { return Read{Tag: tag} })
	case 25, 26: // one member becomes something else
		l := w.leaderOr(arg)
		digit, what := []int{1, 3, 9, 27, 81}[rest%5], w.roles(&l.state.Conf)
		now := what / digit % 3
		expect := []Index{0, 0, 0, 0, 0, 0, l.state.ConfIndex, l.state.ConfIndex - 1}[rest%8]
		w.changes(l, what+((now+1+rest/5%2)%3-now)*digit, expect)
	case 27: // any configuration
		w.changes(w.leaderOr(0), int(arg), 0)
	case 28: // the same again
		l := w.leaderOr(arg)
		w.changes(l, w.roles(&l.state.Conf), 0)
	case 29, 30:
		w.asks(w.leaderOr(arg), func(tag Tag) Input { return Transfer{Tag: tag, To: NodeID(rest % 6)} })
	case 31:
		w.step(n, Campaign{})
	case 32:
		w.step(n, Unreachable{Peer: NodeID(rest%5 + 1)})
	case 33: // the machine takes a snapshot because it likes to
		if n.restoring == nil && n.applied > 0 {
			n.inbox = append(n.inbox, SnapshotTaken{Index: n.applied, Time: n.time})
		}
	case 34: // a snapshot moves, or is believed lost
		for _, m := range w.wire {
			if s, ok := m.Body.(*SnapshotRequest); ok {
				w.report(m, s, SnapshotStatus(1+rest%3))
			}
		}
	case 35:
		n.stalled = !n.stalled
	case 36:
		n.lazy = !n.lazy
	case 37: // a wall clock jumps; forged times would not fit
		if w.hostile {
			return
		}
		n.wall += int64(rest-8) * 1000
	case 38:
		w.slow = rest%2 == 0
		w.cut = []byte{1 << 1, 1 << 2, 1 << 3, 1<<1 | 1<<4, 1<<2 | 1<<4, 1<<3 | 1<<5, 1 << 4, 1<<2 | 1<<3}[arg%8]
	case 39:
		w.cut = 0
	case 40:
		if rest%4 == 0 && n.state.Cluster != 0 { // of another lineage
			w.asks(n, func(tag Tag) Input { return Bootstrap{Tag: tag, Cluster: cluster + 1, Conf: w.founded} })
		} else {
			w.bootstrap(n)
		}
	case 41, 42: // all that waits for a node arrives in one batch, with what its disk says
		batch := w.waiting(n.id)
		if rest%2 == 0 && len(n.disk.pending) > 0 {
			batch = slices.Insert(batch, rest%(len(batch)+1), w.completes(n))
		}
		w.step(n, batch...)
	case 43: // a timeout passes
		w.timesOut(n)
	case 44, 45: // some messages arrive in turn
		for range 1 + rest {
			if len(w.wire) > 0 {
				w.deliver(0)
			}
		}
	case 46, 47, 48:
		w.settle()
	case 49, 50:
		for range 1 + rest%4 {
			w.beats(heartbeatInterval)
		}
	case 51, 52:
		w.elect(n)
	case 53, 54, 55: // all is well for a while
		w.cut = 0
		for _, o := range w.nodes {
			o.stalled, o.lazy = false, false
		}
		w.settle()
		if w.leader() == nil {
			w.elect(n)
		}
		w.beats(heartbeatInterval)
	}
}

// lives has everything happen that the script says.
func (w *world) lives() {
	w.t.Helper()
	for len(w.script) > 0 {
		what := w.next()
		w.act(what, w.next())
	}
}

// heals ends the faults and demands that a command is committed, that every member
// applies all that was committed, and that everybody who asked is answered.
func (w *world) heals() {
	w.t.Helper()
	w.cut = 0
	for _, n := range w.nodes {
		n.stalled, n.lazy = false, false
		w.bootstrap(n)
	}
	w.settle()
	tag := Tag(0)
	for turn := range 90 {
		if w.unfinished(tag) == "" {
			return
		}
		if l := w.leader(); turn > 2 && l != nil && (w.check.requests[tag] == nil || w.check.requests[tag].ended) {
			w.proposes(l, 1, 1, true)
			tag = w.lastTag
			w.settle()
		}
		for range 10 {
			w.beats(heartbeatInterval)
		}
	}
	for _, n := range w.nodes {
		w.t.Logf("%v %v", n.node, &n.state.Conf)
	}
	w.t.Fatalf("liveness: the faults have ended, and %s", w.unfinished(tag))
}

// unfinished says what is still to be done, if anything is.
func (w *world) unfinished(last Tag) string {
	c := w.check
	if r := c.requests[last]; r == nil || !r.ended || r.reply {
		return "nothing is committed"
	}
	conf := c.confs[len(c.confs)-1].Conf
	if conf.Joint() {
		return "the configuration is still joint"
	}
	for _, n := range w.nodes {
		if !conf.Contains(n.id) {
			continue
		}
		if int(n.state.Applied) < len(c.committed) || !n.state.Joined {
			return fmt.Sprintf("node %d has not got everything: %v", n.id, n.node)
		}
		for tag, r := range c.requests {
			if r.node == n.id && r.boot == n.cfg.Boot && !r.ended {
				return fmt.Sprintf("node %d has not answered %d: %+v", n.id, tag, r.in)
			}
		}
	}
	return ""
}
