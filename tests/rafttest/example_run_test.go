package rafttest_test

import (
	"fmt"
	"testing"

	"github.com/castaway-go/castaway/tests/rafttest"
)

// A group of bare cores in a storm that a seed has drawn. The same plan gives the same run.
func ExampleRun() {
	plan := rafttest.DrawPlan(17)
	stats, err := rafttest.Run(plan, nil)
	if err != nil {
		fmt.Println(err, plan)
	}
	again, _ := rafttest.Run(plan, nil)
	fmt.Println(stats.Acknowledged > 0, stats == again)
	// Output: true true
}

func TestTheExamplePasses(t *testing.T) { rafttest.TestStateMachine(t, totals) }
