package raftcore_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// script is what a node was given, batch by batch: with its Config and what it
// recovered, a complete bug report.
type script struct {
	cfg       Config
	recovered Recovered
	batches   [][]Input
}

// record plays a random hour of three nodes and writes down what each start of
// each node was given.
func record(t *testing.T, seed uint64) []*script {
	r := rand.New(rand.NewPCG(seed, 9))
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.Seed = seed; c.MaxWindowBytes = 300; c.MaxApplyBytes = 200 }})
	var all []*script
	current := map[NodeID]*script{}
	begin := func(m *groupMember) {
		s := &script{cfg: m.cfg, recovered: m.disk.recovered(m.life, len(m.disk.entries))}
		all = append(all, s)
		current[m.id] = s
	}
	for _, m := range g.members {
		m.crash(0)
		begin(m)
		m.record = func(batch []Input) { current[m.id].batches = append(current[m.id].batches, batch) }
	}
	g.filter(func(*Message) fate {
		switch r.IntN(20) {
		case 0:
			return drop
		case 1:
			return twice
		}
		return pass
	})
	for range 400 {
		m := g.members[r.IntN(3)]
		switch r.IntN(30) {
		case 0:
			m.inbox = nil
			m.crash(r.IntN(len(m.disk.pending) + 1))
			g.history.restarted(m.member)
			begin(m)
		case 1, 2:
			g.proposes(m.id, fmt.Sprint(r.IntN(1000)))
		case 3:
			g.reads(m.id)
		case 4:
			m.stalled = !m.stalled
		default:
			m.now = m.now.Add(time.Duration(r.IntN(int(heartbeatInterval))))
			g.step(m)
		}
		if r.IntN(3) == 0 {
			g.settle()
		}
	}
	return all
}

// perform gives a script to a new node, and copies what it wants.
func (s *script) perform(t *testing.T) []Output {
	t.Helper()
	n, err := New(s.cfg, s.recovered)
	if err != nil {
		t.Fatal(err)
	}
	var outputs []Output
	for _, batch := range s.batches {
		for _, in := range batch {
			n.Step(in)
		}
		var out Output // a new one every time, so nothing is reused
		n.Drain(&out)
		outputs = append(outputs, out)
	}
	return outputs
}

func TestTheSameInputsGiveTheSameOutputs(t *testing.T) {
	for seed := range uint64(10) {
		batches := 0
		for i, s := range record(t, seed) {
			first, second := s.perform(t), s.perform(t)
			batches += len(first)
			for k := range first {
				if !reflect.DeepEqual(first[k], second[k]) {
					t.Fatalf("seed %d, start %d, batch %d:\n\t%v\n\t%v", seed, i, k, lines(&first[k]), lines(&second[k]))
				}
			}
		}
		if batches < 400 {
			t.Errorf("seed %d: only %d batches", seed, batches)
		}
	}
}

// Reused buffers say what fresh ones say.
func TestAReusedOutputSaysTheSame(t *testing.T) {
	for _, s := range record(t, 3) {
		fresh := s.perform(t)
		n, err := New(s.cfg, s.recovered)
		if err != nil {
			t.Fatal(err)
		}
		var out Output
		for k, batch := range s.batches {
			for _, in := range batch {
				n.Step(in)
			}
			n.Drain(&out)
			if got, want := lines(&out), lines(&fresh[k]); !slices.Equal(got, want) || out.Deadline != fresh[k].Deadline {
				t.Fatalf("batch %d:\n\t%v\n\t%v", k, got, want)
			}
		}
	}
}

func TestSeedsMakeADifference(t *testing.T) {
	deadline := func(seed uint64, node NodeID) Instant {
		n := start(t, given{ID: node, Limits: func(c *Config) { c.Seed = seed }})
		return n.out.Deadline
	}
	if deadline(1, 1) == deadline(2, 1) || deadline(1, 1) == deadline(1, 2) {
		t.Error("two nodes draw the same timeout")
	}
	if first, second := deadline(5, 1), deadline(5, 1); first != second {
		t.Error("a node draws two timeouts from one seed")
	}
}

// An Output stays as it is until the next Drain into it, whatever the node is
// given meanwhile; and with two Outputs in turn, one Drain longer.
func TestAnOutputStaysAsItIsUntilTheNextDrainIntoIt(t *testing.T) {
	n := lead(t, given{})
	var outs [2]Output
	var told [2][]string
	round := n.askedOf(2).Round
	for i := range 200 {
		n.now = n.now.Add(heartbeatInterval / 3)
		n.node.Step(Tick{Now: n.now})
		for tag := range Tag(i % 5) {
			n.node.Step(Propose{Tag: tag + 1, Data: fmt.Append(nil, i)})
			n.node.Step(Read{Tag: tag + 100})
		}
		n.node.Step(Receive{n.message(2, 1, &AppendReply{Match: n.node.Status().Last, Round: round})})
		n.node.Step(Receive{n.message(3, 0, &AppendRequest{Round: 1})})
		n.node.Step(Receive{n.message(3, 1, &VoteRequest{Pre: true})})
		for k := range outs {
			if told[k] != nil && !slices.Equal(lines(&outs[k]), told[k]) {
				t.Fatalf("batch %d: an Output said\n\t%v\nand says\n\t%v", i, told[k], lines(&outs[k]))
			}
		}
		out := &outs[i%2]
		n.node.Drain(out)
		told[i%2] = lines(out)
		for _, m := range out.Send {
			if r, ok := m.Body.(*AppendRequest); ok {
				round = r.Round
			}
		}
		if out.Save.Token.Sequence != 0 {
			n.node.Step(Saved{Token: out.Save.Token})
		}
		if e := out.Apply.Entries; len(e) > 0 {
			n.node.Step(Applied{Index: e[len(e)-1].Index})
		}
	}
	n.state = n.node.Status()
	n.is(Leader, 1)
}

func TestADrainedOutputIsEmptyWhenNothingIsWanted(t *testing.T) {
	n := lead(t, given{Voters: voters(1)})
	n.steps()
	if !n.out.Empty() {
		t.Errorf("%v", lines(&n.out))
	}
	for name, in := range map[string]Input{"a proposal": Propose{}, "a read": Read{Tag: 1}, "a refusal": Bootstrap{Tag: 1}} {
		n.steps(in)
		if n.out.Empty() {
			t.Errorf("%s, and the Output is empty", name)
		}
	}
}
