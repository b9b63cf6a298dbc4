// Package sim drives random simulations of whole groups: of bare cores (TestSim), and of
// whole hosts with all their actors (TestStack).
package sim

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/castaway-go/castaway/tests/rafttest"
)

var (
	seed  = flag.Uint64("seed", 0, "run this one seed, verbosely")
	seeds = flag.Int("seeds", 0, "how many seeds each test runs; 0: as many as take some seconds")
	first = flag.Uint64("first", 0, "the first of the seeds; 0 draws one")

	planFlag = flag.String("plan", "", "run this one plan, in JSON as -shrink prints it, verbosely")
	shrink   = flag.Bool("shrink", false, "with -seed: make the plan that fails as simple as possible")
)

// chosen returns which seeds to run: what the flags say, or otherwise so many.
func chosen(t *testing.T, otherwise int) (start uint64, n int) {
	start, n = *first, *seeds
	if start == 0 {
		start = rand.Uint64N(1 << 40)
	}
	if n == 0 {
		n = otherwise
	}
	t.Logf("seeds %d to %d", start, start+uint64(n)-1)
	return start, n
}

// TestSim runs groups of bare cores through random faults. Each seed is a run
// of its own; a failure prints the line that repeats it.
func TestSim(t *testing.T) {
	switch {
	case *planFlag != "":
		var plan rafttest.Plan
		if err := json.Unmarshal([]byte(*planFlag), &plan); err != nil {
			t.Fatalf("-plan: %v", err)
		}
		runOne(t, plan)
		return
	case *seed != 0 && *shrink:
		shrinkOne(t, rafttest.DrawPlan(*seed))
		return
	case *seed != 0:
		runOne(t, rafttest.DrawPlan(*seed))
		return
	}
	start, n := chosen(t, 50)
	var total rafttest.Stats
	for s := start; s < start+uint64(n); s++ {
		plan := rafttest.DrawPlan(s)
		stats, err := rafttest.Run(plan, nil)
		if err != nil {
			t.Errorf("seed %d: %v\n\tplan: %+v\n\treplay: go test ./tests/sim -run 'TestSim$' -seed %d -v\n\tshrink: go test ./tests/sim -run 'TestSim$' -seed %d -shrink -v", s, err, plan, s, s)
		}
		total = total.Add(stats)
	}
	t.Logf("%+v", total)
	if total.Elections == 0 || total.Acknowledged == 0 || total.Reads == 0 || total.Crashes == 0 || total.Lost == 0 || total.Loads == 0 {
		t.Errorf("the runs tested too little: %+v", total)
	}
	if rare := min(total.Wiped, total.Damaged, total.Rotten, total.RottenLoads, total.LostCommitted, total.LostTerms, total.Together, total.Repaired, total.Lame, total.Witnessed, total.Bare, total.Turned, total.Died); n >= 1000 && rare == 0 {
		t.Errorf("something was never done: %+v", total)
	}
}

// TestSimWitness runs two members with data and a witness, and loses one of the three for
// good, at any moment of a time in which all are well: whoever it is, the other two must go
// on, with everything that was acknowledged. A slow disk, or a slow network, before that
// may not change it.
func TestSimWitness(t *testing.T) {
	start, n := chosen(t, 50)
	var total rafttest.Stats
	for s := start; s < start+uint64(n); s++ {
		plan := rafttest.DrawPlan(s)
		plan.Voters, plan.Witnesses, plan.Spares, plan.Dies = 3, 1, 0, true
		plan.ElectionTimeout = time.Second
		plan.Delay, plan.Disk = min(plan.Delay, 5*time.Millisecond), min(plan.Disk, 5*time.Millisecond)
		plan.SlowDisk, plan.Straggler = 0, 0 // they are for all of the time
		stats, err := rafttest.Run(plan, nil)
		if err != nil {
			t.Errorf("seed %d: %v\n\tplan: %+v", s, err, plan)
		}
		total = total.Add(stats)
	}
	t.Logf("%+v", total)
	if total.Lone > 0 {
		t.Errorf("%d of %d groups ended with a witness that knew of what nobody had", total.Lone, total.Died)
	}
	if total.Died == 0 || total.Witnessed == 0 {
		t.Errorf("the runs tested too little: %+v", total)
	}
}

// runOne runs a plan and tells every event.
func runOne(t *testing.T, plan rafttest.Plan) {
	t.Logf("%+v", plan)
	stats, err := rafttest.Run(plan, func(line string) { t.Log(line) })
	t.Logf("%+v", stats)
	if err != nil {
		t.Fatal(err)
	}
}

// shrinkOne looks for the simplest plan that fails like this one.
func shrinkOne(t *testing.T, plan rafttest.Plan) {
	if _, err := rafttest.Run(plan, nil); err == nil {
		t.Fatalf("it does not fail: %+v", plan)
	}
	plan = rafttest.Shrink(plan, func(p rafttest.Plan) bool {
		_, err := rafttest.Run(p, nil)
		return err != nil
	})
	_, err := rafttest.Run(plan, nil)
	text, _ := json.Marshal(plan) // cannot fail: it is plain data
	t.Fatalf("%v\n\tplan: %+v\n\treplay: go test ./tests/sim -run 'TestSim$' -v -plan '%s'", err, plan, text)
}
