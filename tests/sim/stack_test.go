package sim

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/castaway-go/castaway/tests/rafttest"
)

// TestStack runs whole hosts, with clients that are actors, through random faults. Each
// seed is a run of its own; a failure prints the line that repeats it.
func TestStack(t *testing.T) {
	if *seed != 0 {
		runStack(t, *seed, func(line string) { t.Log(line) })
		return
	}
	start, n := chosen(t, 6)
	var total rafttest.StackStats
	var mu sync.Mutex
	eachSeed(t, start, n, func(t *testing.T, seed uint64) {
		stats := runStack(t, seed, nil).Stats
		mu.Lock()
		defer mu.Unlock()
		total = total.Add(stats)
	})
	t.Logf("%+v", total)
	if missing := total.Missing(); n >= 100 && len(missing) > 0 && !t.Failed() {
		t.Errorf("these have never happened: %v", missing)
	}
}

// eachSeed runs f with seeds, as many at a time as there are processors, until the first
// that fails.
func eachSeed(t *testing.T, start uint64, n int, f func(*testing.T, uint64)) {
	var workers sync.WaitGroup
	var next atomic.Uint64
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < uint64(n) && !t.Failed(); i = next.Add(1) - 1 {
				t.Run(fmt.Sprint("seed=", start+i), func(t *testing.T) { f(t, start+i) })
			}
		})
	}
	workers.Wait()
}

// runStack runs one seed.
func runStack(t *testing.T, seed uint64, trace func(string)) rafttest.StackRun {
	t.Helper()
	plan := rafttest.DrawStackPlan(seed)
	run, err := rafttest.RunStack(t, plan, trace)
	if trace != nil {
		t.Logf("%v\n%+v\nhash %x", plan, run.Stats, run.Hash)
	}
	if err != nil {
		t.Errorf("seed %d: %v\n\tplan: %v\n\tthe newest events:\n%s\n\treplay: go test ./tests/sim -run 'TestStack$' -seed %d -v", seed, err, plan, strings.Join(run.Tail, "\n"), seed)
	}
	return run
}

// TestStackRepeats runs a few seeds twice: every event must be the same.
func TestStackRepeats(t *testing.T) {
	start, n := chosen(t, 2)
	eachSeed(t, start, min(n, 4), repeat)
}

func repeat(t *testing.T, seed uint64) {
	t.Helper()
	plan := rafttest.DrawStackPlan(seed)
	plan.Faults /= 2
	var lines []string
	run, _ := rafttest.RunStack(t, plan, func(line string) { lines = append(lines, line) })
	n, differs := 0, false
	again, _ := rafttest.RunStack(t, plan, func(line string) {
		if !differs && (n == len(lines) || event(lines[n]) != event(line)) {
			differs = true
			t.Errorf("seed %d: event %d differs:\n%s\nthe second time:\n%s", seed, n, strings.Join(lines[max(0, n-20):min(n+1, len(lines))], "\n"), line)
		}
		n++
	})
	if run.Stats != again.Stats || !reflect.DeepEqual(run.History, again.History) {
		t.Errorf("seed %d: the clients were told something else: %+v, and then %+v", seed, run.Stats, again.Stats)
	}
	if run.Hash != again.Hash {
		t.Errorf("seed %d: %d events with the hash %x, and %d with %x\n\treplay: go test ./tests/sim -run 'TestStackRepeats$' -first %d -seeds 1", seed, run.Stats.Events, run.Hash, again.Stats.Events, again.Hash, seed)
	}
}

// event is what of a line of the trace is the same each time.
func event(line string) string {
	event, _, _ := strings.Cut(line, "  (")
	return event
}
