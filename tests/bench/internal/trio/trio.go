// Package trio drives three bare cores in one goroutine: messages are delivered
// by direct calls, a Save is answered with Saved at once, and what is handed to
// the state machine with Applied. The clock is a number, so a run depends on
// nothing but the code.
//
// It is the floor of what the core itself costs, for tests/bench and for
// tests/bench/peers, which drives etcd's core in the same way.
package trio

import (
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// RoundTime is how far the clock moves in a round. With the default interval of
// 100 ms the leader sends a heartbeat every 2,000 rounds.
const RoundTime = 50 * time.Microsecond

// Trio is a group of three.
type Trio struct {
	members   [3]member // the leader is the last
	leader    *member
	byID      [4]*member
	now       raftcore.Instant
	tag       raftcore.Tag
	completed int
}

type member struct {
	node    *raftcore.Node
	out     raftcore.Output
	pending bool // something was stepped since the last Drain
	applied raftcore.Index
}

// New returns a group that has a leader, and nothing left to do.
func New() (*Trio, error) {
	t := &Trio{now: 1}
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}
	for i := range t.members {
		m := &t.members[i]
		id := raftcore.NodeID(i + 1)
		node, err := raftcore.New(raftcore.Config{ID: id, Boot: 1, Seed: 1}, raftcore.Recovered{Incarnation: raftcore.Incarnation(id)})
		if err != nil {
			return nil, err
		}
		m.node = node
		t.byID[id] = m
		t.step(m, raftcore.Bootstrap{Cluster: 1, Conf: conf})
	}
	t.leader = &t.members[2]
	t.settle()
	t.step(t.leader, raftcore.Campaign{})
	t.settle()
	for range 100 { // heartbeats, until everybody counts as one who has joined
		t.now = t.now.Add(50 * time.Millisecond)
		for i := range t.members {
			t.tick(&t.members[i])
		}
		t.settle()
	}
	if s := t.leader.node.Status(); s.Role != raftcore.Leader {
		return nil, fmt.Errorf("trio: node %d does not lead: %v", s.ID, s)
	}
	return t, nil
}

// Round proposes a batch of commands, and returns when all three members have
// saved, committed and applied all of it, and nobody has anything left to say.
func (t *Trio) Round(batch int, data []byte) {
	t.now = t.now.Add(RoundTime)
	before, completed := t.leader.applied, t.completed
	for range batch {
		t.tag++
		t.step(t.leader, raftcore.Propose{Tag: t.tag, Data: data})
	}
	t.settle()
	for i := range t.members {
		if got := t.members[i].applied - before; got != raftcore.Index(batch) {
			panic(fmt.Sprintf("trio: a member applied %d of %d", got, batch))
		}
	}
	if t.completed != completed+batch {
		panic(fmt.Sprintf("trio: %d of %d proposals completed", t.completed-completed, batch))
	}
}

// settle runs the members until nobody has anything to do: the followers as
// long as they have, then the leader once, and so on.
func (t *Trio) settle() {
	for moving := true; moving; {
		moving = false
		for i := range t.members {
			m := &t.members[i]
			for m.pending {
				moving = true
				t.drain(m)
				if m == t.leader {
					break
				}
			}
		}
	}
}

// step takes an input to m; the first one since it was drained comes after the time.
func (t *Trio) step(m *member, in raftcore.Input) {
	if !m.pending {
		t.tick(m)
	}
	m.node.Step(in)
}

func (t *Trio) tick(m *member) {
	m.node.Step(raftcore.Tick{Now: t.now, Time: int64(t.now) / 1e6})
	m.pending = true
}

// drain takes what m wants and does all of it.
func (t *Trio) drain(m *member) {
	m.pending = false
	m.node.Drain(&m.out)
	out := &m.out
	for i := range out.Send {
		t.step(t.byID[out.Send[i].To], raftcore.Receive{Message: out.Send[i]})
	}
	if out.Save.Token.Sequence != 0 {
		t.step(m, raftcore.Saved{Token: out.Save.Token})
	}
	if n := len(out.Apply.Entries); n > 0 {
		if first := out.Apply.Entries[0].Index; first != m.applied+1 {
			panic(fmt.Sprintf("trio: entry %d is applied after %d", first, m.applied))
		}
		m.applied = out.Apply.Entries[n-1].Index
		t.completed += len(out.Apply.Tags)
		t.step(m, raftcore.Applied{Index: m.applied})
	}
	if len(out.Replies) > 0 && out.Replies[0].Outcome != raftcore.Done {
		panic(fmt.Sprintf("trio: refused: %v", out.Replies[0]))
	}
}
