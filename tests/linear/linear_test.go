// Package linear has porcupine judge the histories of simulated hosts. rafttest judges
// them, too, by the order that the members agreed on; porcupine knows nothing of that,
// and looks for an order of its own. It is a module of its own so that the library does
// not depend on porcupine.
package linear

import (
	"flag"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/castaway-go/castaway/tests/rafttest"
)

var (
	seed  = flag.Uint64("seed", 0, "run this one seed")
	seeds = flag.Int("seeds", 5, "how many seeds to run")
)

// model is a register, or a counter: each key of a history is one.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		type object struct{ counter, key string }
		byObject := map[object][]porcupine.Operation{}
		for _, o := range history {
			op := o.Input.(rafttest.StackOp)
			of := object{"", op.Key}
			if op.Kind == "add" || op.Kind == "sum" {
				of.counter = "counter"
			}
			byObject[of] = append(byObject[of], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byObject {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		op, now := input.(rafttest.StackOp), state.(string)
		sum, _ := strconv.Atoi(now)
		answer, next := now, now
		switch op.Kind {
		case "set":
			next = op.Value
		case "add":
			next = strconv.Itoa(sum + 1)
			answer = next
		case "sum":
			answer = strconv.Itoa(sum)
		}
		return op.Outcome != rafttest.Happened || output.(string) == answer, next
	},
}

// operations are what porcupine is told. An operation whose outcome is unknown may have
// happened at any time since, or will; one that was rejected never.
func operations(history []rafttest.StackOp) (operations []porcupine.Operation) {
	for _, o := range history {
		if !o.Linearizable() || o.Outcome == rafttest.Rejected {
			continue
		}
		back := int64(o.Return)
		if o.Outcome != rafttest.Happened {
			back = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{ClientId: o.Client, Input: o, Call: int64(o.Call), Output: o.Answer, Return: back})
	}
	return operations
}

func TestPorcupineFindsTheHistoriesLinearizable(t *testing.T) {
	start, n := rand.Uint64N(1<<40), *seeds
	if *seed != 0 {
		start, n = *seed, 1
	}
	for s := start; s < start+uint64(n); s++ {
		run, err := rafttest.RunStack(t, rafttest.DrawStackPlan(s), nil)
		if err != nil {
			t.Fatalf("seed %d: %v\nreplay: go test ./tests/sim -run 'TestStack$' -seed %d -v", s, err, s)
		}
		all := operations(run.History)
		if result := porcupine.CheckOperationsTimeout(model, all, time.Minute); result != porcupine.Ok {
			t.Errorf("seed %d: porcupine says that %d operations are %v\nreplay: go -C tests/linear test -seed %d", s, len(all), result, s)
		}
		spoil(t, s, run.History)
	}
}

// spoil has a client told something else than it was: porcupine has to notice, or it
// would notice nothing.
func spoil(t *testing.T, seed uint64, history []rafttest.StackOp) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	for {
		i := rng.IntN(len(history))
		if o := &history[i]; o.Outcome == rafttest.Happened && o.Linearizable() {
			o.Answer += "1"
			break
		}
	}
	if result := porcupine.CheckOperationsTimeout(model, operations(history), time.Minute); result != porcupine.Illegal {
		t.Errorf("seed %d: a wrong answer is %v", seed, result)
	}
}
