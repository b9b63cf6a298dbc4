package raftcore_test

import (
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// What a machine has applied may be told late where nobody waits for it.
func TestWhoAwaitsTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		limits func(*Config)
		does   func(*stage)
		awaits bool
	}{
		"nobody":                            {does: func(n *stage) { n.commits(1) }},
		"nobody: it has applied everything": {does: func(n *stage) { n.commits(1); n.applies() }, limits: func(c *Config) { c.SnapshotEntries = 2 }},
		"who takes a snapshot":              {limits: func(c *Config) { c.SnapshotEntries = 3 }, does: func(n *stage) { n.commits(3) }, awaits: true},
		"who takes one of some size":        {limits: func(c *Config) { c.SnapshotBytes = 200 }, does: func(n *stage) { n.commits(3) }, awaits: true},
		"entries for which there is no room": {limits: func(c *Config) { c.MaxApplyBytes = 100 }, does: func(n *stage) { n.commits(3) },
			awaits: true},
		"who watches": {does: func(n *stage) {
			n.steps(Propose{Tag: 1, Watch: true})
			n.saves()
			n.acknowledged(2, n.state.Last)
		}, awaits: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, given{Limits: c.limits})
			c.does(n)
			if n.out.AwaitsApplied != c.awaits {
				t.Errorf("it awaits the machine: %v", n.out.AwaitsApplied)
			}
		})
	}
	alone := start(t, given{Voters: voters(1)})
	alone.timesOut()
	alone.saves()
	if !alone.out.AwaitsApplied {
		t.Error("nothing else will wake it")
	}
	behind := start(t, given{Voters: voters(1, 2, 3), Snapshot: id(1, 5)})
	if !behind.out.AwaitsApplied {
		t.Error("its machine is being restored")
	}
}

// commits has a leader commit so many proposals at once.
func (n *stage) commits(many int) {
	n.t.Helper()
	inputs := make([]Input, many)
	for i := range inputs {
		inputs[i] = Propose{Tag: Tag(100 + i), Data: []byte("x")}
	}
	n.steps(inputs...)
	n.saves()
	n.acknowledged(2, n.state.Last)
	n.hasCommitted(n.state.Last)
}
