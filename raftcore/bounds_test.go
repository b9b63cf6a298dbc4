package raftcore_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// overhead is what an entry counts for beside its data.
const overhead = 64

func bytes(n int) []byte { return make([]byte, n) }

func TestMaxCommandBytes(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.MaxCommandBytes = 100 }})
	n.steps(Propose{Tag: 1, Data: bytes(100)}, Propose{Tag: 2, Data: bytes(101)}, Propose{Tag: 3})
	if n.state.Last != 3 {
		t.Errorf("%v; two of three fit", n.node)
	}
	if got := n.out.Replies; len(got) != 1 || got[0] != (Reply{Tag: 2, Outcome: TooLarge, Leader: 1}) {
		t.Errorf("%v", got)
	}
}

func TestMaxUncommittedBytes(t *testing.T) {
	const limit = 10 * (overhead + 100)
	n := lead(t, given{Limits: func(c *Config) { c.MaxUncommittedBytes = limit }})
	accepted := 0
	for tag := Tag(1); ; tag++ {
		last := n.state.Last
		n.steps(Propose{Tag: tag, Data: bytes(100)})
		if len(n.out.Replies) == 0 {
			accepted++
			continue
		}
		if n.out.Replies[0] != (Reply{Tag: tag, Outcome: Busy, Limit: "MaxUncommittedBytes", Leader: 1}) || n.state.Last != last {
			t.Fatalf("%v; %v", n.out.Replies, n.node)
		}
		break
	}
	if accepted != 11 { // the one that passes the bound is the last
		t.Errorf("%d were accepted", accepted)
	}
	n.saves()
	n.steps(Propose{Tag: 99})
	if len(n.out.Replies) != 1 {
		t.Error("a disk alone commits nothing, so nothing is released")
	}
	n.accepted(2)
	if got := n.node.UncommittedBytes(); got != 0 {
		t.Errorf("everything is committed, and %d bytes count as uncommitted", got)
	}
	n.steps(Propose{Tag: 100})
	if len(n.out.Replies) != 0 {
		t.Errorf("%v, and everything is committed", n.out.Replies)
	}
}

func TestUncommittedBytesDoNotLeak(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.MaxUncommittedBytes = 1000 }})
	for round := range 30 {
		leader := NodeID(round%3 + 1)
		g.connected()
		g.elects(leader)
		g.isolate(leader)
		for range 20 {
			g.proposes(leader, "lost")
		}
		g.connected()
		g.passes(2 * heartbeatInterval)
		if got := g.member(leader).node.UncommittedBytes(); got != 0 {
			t.Fatalf("reign %d: %d bytes are left", round, got)
		}
	}
	g.agree()
}

func TestABusyLeaderAcceptsAgainWhateverTheSizes(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.MaxUncommittedBytes = 1 }})
	for range 10 {
		n.steps(Propose{Tag: 1, Data: bytes(1000)}, Propose{Tag: 2})
		if len(n.out.Replies) != 1 || n.out.Replies[0].Tag != 2 {
			t.Fatalf("%v", n.out.Replies)
		}
		n.saves()
		n.steps(Applied{Index: n.applied})
	}
}

// requests returns the AppendRequests with entries that were sent to a peer.
func (n *stage) requests(peer NodeID) []*AppendRequest {
	var all []*AppendRequest
	for _, m := range n.mail {
		if r, ok := m.Body.(*AppendRequest); ok && m.To == peer && len(r.Entries) > 0 {
			all = append(all, r)
		}
	}
	return all
}

func size(entries []Entry) int {
	total := 0
	for i := range entries {
		total += len(entries[i].Data) + overhead
	}
	return total
}

func TestMaxInflight(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxInflight = 3; c.MaxAppendBytes = 1 }})
	n.mail = nil
	for range 20 {
		n.node.Step(Propose{})
	}
	n.steps()
	if got := len(n.requests(2)); got != 3 {
		t.Errorf("%d requests are under way, the bound is 3", got)
	}
	n.saves()
	n.mail = nil
	n.hears(3, 1, &AppendReply{Match: 1, Round: 1}) // the other peer's window is its own
	n.hears(2, 1, &AppendReply{Match: 3, Round: 1})
	if got := len(n.requests(2)); got != 2 {
		t.Errorf("two were acknowledged, and %d follow", got)
	}
	if got := len(n.requests(3)); got != 0 {
		t.Errorf("nothing was acknowledged, and %d follow", got)
	}
}

func TestMaxInflightBytes(t *testing.T) {
	const limit = 1000
	n := lead(t, given{Limits: func(c *Config) { c.MaxInflightBytes = limit; c.MaxAppendBytes = 300 }})
	n.mail = nil
	for range 50 {
		n.node.Step(Propose{Data: bytes(36)})
	}
	n.steps()
	total := 0
	for _, r := range n.requests(2) {
		total += size(r.Entries)
	}
	if total < limit || total > limit+300 {
		t.Errorf("%d bytes are under way; the bound is %d, and the request that passes it", total, limit)
	}
}

func TestMaxAppendBytes(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxAppendBytes = 300 }})
	n.mail = nil
	for _, data := range []int{36, 36, 36, 36, 1000, 36, 236, 36} {
		n.node.Step(Propose{Data: bytes(data)})
	}
	n.steps()
	var got []int
	for _, r := range n.requests(2) {
		got = append(got, len(r.Entries))
		if s := size(r.Entries); s > 300 && len(r.Entries) > 1 {
			t.Errorf("%d entries of together %d bytes", len(r.Entries), s)
		}
	}
	if want := []int{3, 1, 1, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("requests of %v entries, should be %v", got, want)
	}
}

func TestMaxReads(t *testing.T) {
	n := start(t, given{Limits: func(c *Config) { c.MaxReads = 4 }})
	n.wins()
	n.saves()
	n.ignore()
	for tag := Tag(1); tag <= 4; tag++ {
		n.steps(Read{Tag: tag})
	}
	n.wantsNothing()
	n.steps(Read{Tag: 5})
	n.wants("Reply tag=5 busy MaxReads leader=1")
	n.accepted(2, 3)
	n.accepted(2, 3)
	n.steps(Read{Tag: 6})
	if len(n.out.Replies) > 0 {
		t.Errorf("%v, and no read waits", n.out.Replies)
	}
}

// --- what a slow machine costs ---

func TestMaxApplyBytes(t *testing.T) {
	const limit = 1000
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.MaxApplyBytes = limit }})
	done := n.applied
	for range 100 {
		n.steps(Propose{Data: bytes(136)})
		n.saves()
	}
	if out := int(n.applied-done) * 200; out < limit || out > limit+200 {
		t.Errorf("the machine was given %d bytes; the bound is %d, and the entry that passes it", out, limit)
	}
	for n.applied < n.state.Commit {
		before := n.applied
		n.steps(Applied{Index: n.applied})
		for len(n.loads) > 0 {
			n.readsDisk()
		}
		if out := int(n.applied-before) * 200; n.applied == before || out > limit+200 {
			t.Fatalf("the machine was given %d bytes after %d", out, before)
		}
	}
}

func TestASlowMachineCostsNoMemory(t *testing.T) {
	const limit = 10_000
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.MaxApplyBytes = limit; c.MaxWindowBytes = limit }})
	g.elects(1)
	g.member(2).lazy = true
	for range 300 {
		g.proposes(1, strings.Repeat("x", 136))
		g.settle()
	}
	if got := g.member(2).node.WindowBytes(); got > limit+200 {
		t.Errorf("node 2 holds %d bytes in memory, the bound is %d", got, limit)
	}
	if m := g.member(2); m.applied > 100 || m.state.Commit != 301 {
		t.Errorf("%v, applied %d", m.node, m.applied)
	}
	g.member(2).lazy = false
	g.member(2).inbox = append(g.member(2).inbox, Applied{Index: g.member(2).applied})
	g.settle()
	g.passes(heartbeatInterval)
	g.agree()
}

// --- what a follower that is far behind costs ---

func TestMaxWindowBytes(t *testing.T) {
	const limit = 2000
	g := newGroupOf(t, 3, given{Limits: func(c *Config) {
		c.MaxWindowBytes, c.MaxAppendBytes, c.MaxInflight = limit, 500, 2
	}})
	g.elects(1)
	g.isolate(3)
	most := 0
	for range 500 {
		g.proposes(1, strings.Repeat("x", 136))
		g.settle()
		most = max(most, g.member(1).node.WindowBytes())
	}
	if most > limit+200 {
		t.Errorf("the leader held %d bytes for a follower that is away; the bound is %d", most, limit)
	}
	g.connected()
	loads := 0
	for range 300 {
		for _, m := range g.members {
			m.now = m.now.Add(heartbeatInterval / 2)
			g.step(m)
		}
		loads += len(g.member(1).out.Load)
		g.settle()
		most = max(most, g.member(1).node.WindowBytes())
		if g.member(3).applied == 501 {
			break
		}
	}
	g.agree()
	if most > limit+200 {
		t.Errorf("the leader held %d bytes while the follower caught up; the bound is %d", most, limit)
	}
	if first := g.member(1).node.WindowFirst(); first < 480 {
		t.Errorf("entries from %d on are in memory", first)
	}
}

// The window lets go of nothing that could not be loaded: what is not durable
// here, or not committed, stays.
func TestTheWindowKeepsWhatIsNotDurableOrNotCommitted(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.MaxWindowBytes = 1 }})
	for range 10 {
		n.steps(Propose{})
	}
	if n.node.WindowFirst() != 2 {
		t.Errorf("entries from %d on are in memory, and nothing is durable", n.node.WindowFirst())
	}
	n.saves()
	if n.node.WindowFirst() != 2 {
		t.Errorf("entries from %d on are in memory, and nothing is committed", n.node.WindowFirst())
	}
	n.acknowledged(2, 8)
	if n.node.WindowFirst() != 9 {
		t.Errorf("entries from %d on are in memory, and 8 is committed", n.node.WindowFirst())
	}
}

// --- config ---

func TestTheZeroConfigHasDefaultsAndNeedsAnID(t *testing.T) {
	if err := (Config{ID: 1}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).WithDefaults().Validate(); err == nil || err.Error() != "ID is zero" {
		t.Error(err)
	}
	c := Config{ID: 3, ElectionTimeout: 3 * time.Second, MaxReads: 5}.WithDefaults()
	if c.HeartbeatInterval != 300*time.Millisecond || c.MaxReads != 5 || c.ElectionTimeout != 3*time.Second {
		t.Errorf("%+v", c)
	}
}

func TestValidateReportsEveryMistakeAtOnce(t *testing.T) {
	err := Config{
		ElectionTimeout: -1, HeartbeatInterval: -1, MaxAppendBytes: -1, MaxInflight: -1, MaxInflightBytes: -1, MaxCommandBytes: -1,
		MaxUncommittedBytes: -1, MaxApplyBytes: -1, MaxReads: -1, MaxWindowBytes: -1,
	}.Validate()
	if err == nil {
		t.Fatal("no mistake was found")
	}
	for _, name := range []string{
		"ID", "ElectionTimeout", "HeartbeatInterval", "MaxAppendBytes", "MaxInflight ", "MaxInflightBytes", "MaxCommandBytes",
		"MaxUncommittedBytes", "MaxApplyBytes", "MaxReads", "MaxWindowBytes",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not mentioned in:\n%v", name, err)
		}
	}
	if _, err := New(Config{ID: 1}, Recovered{}); err == nil || !strings.Contains(err.Error(), "Boot") {
		t.Errorf("a start that nothing tells from others: %v", err)
	}
	if _, err := New(Config{ID: 1, Boot: 1, MaxReads: -1}, Recovered{}); err == nil {
		t.Error("New accepts it")
	}
}

func TestAHeartbeatMustFitIntoTheTimeoutThreeTimes(t *testing.T) {
	for _, c := range []struct {
		heartbeat time.Duration
		ok        bool
	}{{1, true}, {300 * time.Millisecond, true}, {301 * time.Millisecond, false}, {time.Hour, false}} {
		err := Config{ID: 1, ElectionTimeout: 900 * time.Millisecond, HeartbeatInterval: c.heartbeat}.WithDefaults().Validate()
		if (err == nil) != c.ok {
			t.Errorf("%v: %v", c.heartbeat, err)
		}
	}
}

// --- recovered states ---

func TestRecoveredStatesThatCannotBeAreRefused(t *testing.T) {
	good := func() Recovered {
		r := Recovered{HardState: HardState{Term: 3, Cluster: cluster}, BaseConf: ConfigAt{Conf: ConfState{Voters: voters(1, 2, 3)}}}
		for _, e := range commands(1, 1, 1, 2, 3, 3) {
			r.Note(&e)
			r.Tail = append(r.Tail, e)
		}
		return r
	}
	for name, spoil := range map[string]func(r *Recovered){
		"the log ends before its base":        func(r *Recovered) { r.Base = id(3, 9) },
		"the log is shorter than its runs":    func(r *Recovered) { r.Last = 3; r.Tail = nil },
		"the log has no runs":                 func(r *Recovered) { r.Runs = nil },
		"there are runs and no log":           func(r *Recovered) { r.Last = 0; r.Tail = nil },
		"the runs begin late":                 func(r *Recovered) { r.Runs[0].First = 2 },
		"the runs begin early":                func(r *Recovered) { r.Runs[0].First = 0 },
		"a term falls":                        func(r *Recovered) { r.Runs[1].Term = 0 },
		"a run has the term before":           func(r *Recovered) { r.Runs[1].Term = 1 },
		"a run begins before the one before":  func(r *Recovered) { r.Runs[2].First = 3 },
		"a run is later than the hard state":  func(r *Recovered) { r.HardState.Term = 2 },
		"the base is later than the log":      func(r *Recovered) { r.Base = id(2, 0) },
		"the base is later than hard state":   func(r *Recovered) { *r = Recovered{Base: id(7, 7), Last: 7} },
		"the tail ends early":                 func(r *Recovered) { r.Tail = r.Tail[:3] },
		"the tail ends late":                  func(r *Recovered) { r.Tail = append(r.Tail, commands(6, 3)...) },
		"the tail is longer than the log":     func(r *Recovered) { r.Tail = append(commands(0, 1), r.Tail...) },
		"the tail begins at the wrong place":  func(r *Recovered) { r.Tail[0].Index = 3 },
		"indexes as large as they can be":     func(r *Recovered) { r.Base.Index = math.MaxUint64; r.Last = 3 },
		"a run as late as it can be":          func(r *Recovered) { r.Runs[2].First = math.MaxUint64 },
		"an empty log with runs of the base ": func(r *Recovered) { *r = Recovered{HardState: r.HardState, Runs: []TermRun{{1, 1}}} },
	} {
		r := good()
		spoil(&r)
		if _, err := New(Config{ID: 1, Boot: 1}, r); err == nil {
			t.Errorf("%s: it was accepted", name)
		} else if !strings.Contains(err.Error(), string(RuleRecovered)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{ID: 1, Boot: 1}, good()); err != nil {
		t.Errorf("a good one was refused: %v", err)
	}
}

func TestSeveralMistakesOfARecoveredStateAreReportedAtOnce(t *testing.T) {
	_, err := New(Config{ID: 1, Boot: 1}, Recovered{Base: id(9, 9), Last: 3, Tail: commands(7, 1)})
	if err == nil || strings.Count(err.Error(), string(RuleRecovered)) < 3 {
		t.Errorf("%v", err)
	}
}
