// Package linear has porcupine judge the histories of simulated hosts. rafttest judges
// them, too, by the order that the members agreed on; porcupine knows nothing of that,
// and looks for an order of its own. It is a module of its own so that the library does
// not depend on porcupine.
package linear

import (
	"cmp"
	"flag"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
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

// asked is an operation as the model sees it. turn numbers, in the order of their calls,
// the adds to one counter of which nobody knows whether they happened.
type asked struct {
	rafttest.StackOp
	turn int
}

// object is what one of porcupine's searches is about: a register or a counter.
type object struct{ counter, key string }

func (o asked) object() object {
	if o.Kind == "add" || o.Kind == "sum" {
		return object{"counter", o.Key}
	}
	return object{"", o.Key}
}

// lost says that nobody knows whether the add happened.
func (o asked) lost() bool { return o.Kind == "add" && o.Outcome != rafttest.Happened }

// state is an object's value, and how many lost adds have taken their turn.
type state struct {
	value string
	lost  int
}

// model is a register, or a counter: each key of a history is one.
//
// Lost adds take their turns in the order of their calls, or never. This loses no order
// that matters: where a later one is before an earlier one, the two change places, and
// nobody sees a difference. Without it the search has to look at every subset of them,
// and did not end within a minute where two dozen adds were lost.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byObject := map[object][]porcupine.Operation{}
		for _, o := range history {
			of := o.Input.(asked).object()
			byObject[of] = append(byObject[of], o)
		}
		return slices.Collect(maps.Values(byObject))
	},
	Init: func() any { return state{} },
	Step: func(before, input, output any) (bool, any) {
		op, now := input.(asked), before.(state)
		if op.lost() {
			if op.turn != now.lost {
				return false, now
			}
			now.lost++
		}
		sum, _ := strconv.Atoi(now.value)
		answer := now.value
		switch op.Kind {
		case "set":
			now.value = op.Value
		case "add":
			now.value = strconv.Itoa(sum + 1)
			answer = now.value
		case "sum":
			answer = strconv.Itoa(sum)
		}
		return op.Outcome != rafttest.Happened || output.(string) == answer, now
	},
}

// operations are what porcupine is told. An operation whose outcome is unknown may have
// happened at any time since, or will; one that was rejected never.
//
// A set whose outcome is unknown has happened if somebody was told its value, which no other
// one has: before he was answered. If nobody was, it is left out. That loses no order that
// matters, either: whatever came right after it was lost, too, and nobody saw a difference.
//
// So are reads that took long, if somebody else has shown meanwhile that there was such a value:
// whatever order fits the others has a place for them beside him. A leader that is cut off has
// hundreds of them.
func operations(history []rafttest.StackOp) (operations []porcupine.Operation) {
	history = slices.Clone(history)
	slices.SortStableFunc(history, func(a, b rafttest.StackOp) int { return cmp.Compare(a.Call, b.Call) })
	turns, told, shown := map[object]int{}, firstTold(history), shows(history)
	for _, o := range history {
		if !o.Linearizable() || o.Outcome == rafttest.Rejected {
			continue
		}
		if shown.beside(o) {
			continue
		}
		back := int64(o.Return)
		if o.Outcome != rafttest.Happened {
			back = math.MaxInt64
		}
		if o.Kind == "set" && o.Outcome != rafttest.Happened {
			first, seen := told[o.Value]
			if !seen {
				continue
			}
			if first > o.Call { // else porcupine finds that nothing fits
				back = int64(first)
			}
		}
		op := asked{StackOp: o}
		if op.lost() {
			op.turn = turns[op.object()]
			turns[op.object()]++
		}
		operations = append(operations, porcupine.Operation{ClientId: o.Client, Input: op, Call: int64(o.Call), Output: o.Answer, Return: back})
	}
	return operations
}

// value is one that an object had.
type value struct {
	object
	value string
}

// shown are the operations that show that there was a value.
type shown map[value][]rafttest.StackOp

func shows(history []rafttest.StackOp) shown {
	all := shown{}
	for _, o := range history {
		of := asked{StackOp: o}.object()
		if o.Outcome == rafttest.Happened && o.Linearizable() {
			all[value{of, o.Answer}] = append(all[value{of, o.Answer}], o)
			if o.Kind == "set" {
				all[value{of, o.Value}] = append(all[value{of, o.Value}], o)
			}
		}
	}
	return all
}

// beside reports whether a read was asked before another operation that shows its value, and
// answered after it.
func (s shown) beside(o rafttest.StackOp) bool {
	if o.Outcome != rafttest.Happened || o.Kind != "get" && o.Kind != "sum" {
		return false
	}
	return slices.ContainsFunc(s[value{asked{StackOp: o}.object(), o.Answer}], func(other rafttest.StackOp) bool {
		return o.Call < other.Call && other.Return <= o.Return
	})
}

// firstTold returns when the value of a register was an answer for the first time.
func firstTold(history []rafttest.StackOp) map[string]uint64 {
	told := map[string]uint64{}
	for _, o := range history {
		if o.Outcome == rafttest.Happened && o.Linearizable() && (o.Kind == "set" || o.Kind == "get") {
			if first, seen := told[o.Answer]; !seen || o.Return < first {
				told[o.Answer] = o.Return
			}
		}
	}
	return told
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
// would notice nothing. It is one of the first hundred answers, and what was called later is
// left out: porcupine has to rule out every order, and the more was lost the more there are.
func spoil(t *testing.T, seed uint64, history []rafttest.StackOp) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	history = slices.DeleteFunc(slices.Clone(history), func(o rafttest.StackOp) bool { return !o.Linearizable() })
	slices.SortStableFunc(history, func(a, b rafttest.StackOp) int { return cmp.Compare(a.Return, b.Return) })
	var answered []int
	for i := range history {
		if history[i].Outcome == rafttest.Happened {
			answered = append(answered, i)
		}
	}
	i := answered[rng.IntN(min(100, len(answered)))]
	history[i].Answer += "!"
	told := history[i].Return
	history = slices.DeleteFunc(history, func(o rafttest.StackOp) bool { return o.Call > told })
	for k := range history {
		if o := &history[k]; o.Return > told && o.Outcome == rafttest.Happened {
			o.Outcome = rafttest.Unknown // it may have seen what was left out
		}
	}
	if result := porcupine.CheckOperationsTimeout(model, operations(history), time.Minute); result != porcupine.Illegal {
		t.Errorf("seed %d: a wrong answer is %v", seed, result)
	}
}
