package rafttest

import (
	"strings"
	"testing"
)

func TestAPlainMachineComesThroughTheStorm(t *testing.T) { TestStack(t, toy("")) }

// The storm finds, too, what the suite finds, where only members that differ show it.
func TestA5_TheStormCatchesBrokenMachines(t *testing.T) {
	for defect, word := range map[string]string{
		"asks the clock":                                       "applies entry",
		"draws at random":                                      "state machine safety",
		"shares its map":                                       "state machine safety",
		"sets a timer by the clock":                            "state machine safety",
		"forgets to write the count":                           "state machine safety",
		"forgets in a snapshot what has happened":              "state machine safety",
		"shares its words with the snapshot":                   "state machine safety",
		"counts batches":                                       "state machine safety",
		"takes a timer for a command":                          "has panicked",
		"writes words in any order, and says that it does not": "has written the snapshot",
	} {
		t.Run(defect, func(t *testing.T) {
			sm := toy(defect)
			for seed := uint64(1); seed < 20; seed++ {
				if _, err := runStack(t, drawStackPlanFor(seed), &sm, nil); err != nil {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("seed %d: it does not speak of %q: %v", seed, word, err)
					}
					return
				}
			}
			t.Error("nobody has noticed it")
		})
	}
}
