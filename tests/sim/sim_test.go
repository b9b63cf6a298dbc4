// Package sim drives random simulations of whole groups.
package sim

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/castaway-go/castaway/tests/rafttest"
)

var (
	seed  = flag.Uint64("seed", 0, "run this one seed, verbosely")
	seeds = flag.Int("seeds", 50, "how many seeds to run")
	first = flag.Uint64("first", 0, "the first of the seeds; 0 draws one")
)

// TestSim runs groups of bare cores through random faults. Each seed is a run
// of its own; a failure prints the line that repeats it.
func TestSim(t *testing.T) {
	if *seed != 0 {
		plan := rafttest.DrawPlan(*seed)
		t.Logf("%+v", plan)
		stats, err := rafttest.Run(plan, func(line string) { t.Log(line) })
		t.Logf("%+v", stats)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	start := *first
	if start == 0 {
		start = rand.Uint64N(1 << 40)
	}
	t.Logf("seeds %d to %d", start, start+uint64(*seeds)-1)
	var total rafttest.Stats
	for s := start; s < start+uint64(*seeds); s++ {
		plan := rafttest.DrawPlan(s)
		stats, err := rafttest.Run(plan, nil)
		if err != nil {
			t.Errorf("seed %d: %v\n\tplan: %+v\n\treplay: go test ./tests/sim -run 'TestSim$' -seed %d -v", s, err, plan, s)
		}
		total = total.Add(stats)
	}
	t.Logf("%+v", total)
	if total.Elections == 0 || total.Acknowledged == 0 || total.Reads == 0 || total.Crashes == 0 || total.Lost == 0 || total.Loads == 0 {
		t.Errorf("the runs tested too little: %+v", total)
	}
}
