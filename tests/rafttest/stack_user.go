package rafttest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestStack has a state machine in the storm of RunStack: a group of it on several whole
// hosts, with clients of every kind, while processes are killed, disks fail, networks part,
// clocks drift and members come and go. It needs not know what the machine does, to demand
// that all members have the same answers, effects and states at each entry, and a fresh one
// that is given all of it anew, too; that each command happens once if it was acknowledged,
// and never if it was rejected, in sessions and without; and that its effects are carried
// out: each timer goes off once, and so on.
//
//	func TestStack(t *testing.T) {
//		rafttest.TestStack(t, rafttest.StateMachine{ ... }) // what TestStateMachine is given
//	}
//
// Have TestStateMachine pass before: what it finds is easier to understand. The environment
// has the same two switches; a round here takes about a second. Timers that are set for
// more than a minute ahead may never go off here. Machines with a disk of
// their own cannot be tested so: they have a real one.
func TestStack(t *testing.T, sm StateMachine) {
	t.Helper()
	if sm.New == nil || sm.NewIn != nil || sm.Command == nil {
		t.Fatal("TestStack needs a StateMachine with New, and not NewIn, and Command")
	}
	r := roundsFromEnvironment(t)
	r.each(t, 5*time.Second, func(seed uint64) {
		plan := drawStackPlanFor(seed)
		if run, err := runStack(t, plan, &sm, nil); err != nil {
			r.report(t, fmt.Errorf("%w\nplan: %v\nthe newest events:\n%s", err, plan, strings.Join(run.Tail, "\n")))
		}
	})
}

// drawStackPlanFor draws a plan in which there is one other group, that of the machine that
// is tested.
func drawStackPlanFor(seed uint64) StackPlan {
	p := DrawStackPlan(seed)
	p.Writers, p.Readers, p.Adders, p.Askers = 1, 1, 1, 2
	p.Effects, p.Upgrades, p.Poison, p.Autopilot = false, false, false, 0
	p.Faults /= 2
	return p
}
