package rafttest

import "testing"

func TestShrinkKeepsWhatItTakesAndNothingElse(t *testing.T) {
	plan := DrawPlan(7)
	plan.Loss, plan.Proposals, plan.Crash, plan.Voters = 0.2, 300, 1e9, 5
	runs := 0
	got := Shrink(plan, func(p Plan) bool {
		runs++
		return p.Loss > 0 && p.Proposals >= 10
	})
	if got.Loss == 0 || got.Proposals < 10 || got.Proposals >= 20 || got.Crash != 0 || got.Voters != 3 || got.Reads != 0 {
		t.Errorf("%d runs have shrunk it to %+v", runs, got)
	}
}

// The same plan does the same: a seed is a complete bug report.
func TestARunIsRepeatable(t *testing.T) {
	for seed := range uint64(20) {
		var first, second []string
		a, errA := Run(DrawPlan(seed+1), func(line string) { first = append(first, line) })
		b, errB := Run(DrawPlan(seed+1), func(line string) { second = append(second, line) })
		if a != b || errA != nil || errB != nil || len(first) != len(second) {
			t.Fatalf("seed %d: %+v, %v, and %+v, %v", seed+1, a, errA, b, errB)
		}
		for i := range first {
			if first[i] != second[i] {
				t.Fatalf("seed %d, event %d: %s, and %s", seed+1, i, first[i], second[i])
			}
		}
	}
}
