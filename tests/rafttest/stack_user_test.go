package rafttest

import (
	"regexp"
	"testing"
)

func TestAPlainMachineComesThroughTheStorm(t *testing.T) { TestStack(t, toy("")) }

// The storm finds, too, what the suite finds, where only members that differ show it.
func TestA5_TheStormCatchesBrokenMachines(t *testing.T) {
	const differs = "state machine safety|a machine that was given all commands" // who looks first
	for defect, word := range map[string]string{
		"asks the clock":                                       "applies entry",
		"draws at random":                                      differs,
		"shares its map":                                       differs,
		"sets a timer by the clock":                            differs,
		"forgets to write the count":                           differs,
		"forgets in a snapshot what has happened":              differs,
		"shares its words with the snapshot":                   differs,
		"counts batches":                                       differs,
		"takes a timer for a command":                          "has panicked",
		"writes words in any order, and says that it does not": "has written the snapshot",
	} {
		t.Run(defect, func(t *testing.T) {
			sm := toy(defect)
			for seed := uint64(1); seed < 20; seed++ {
				if _, err := runStack(t, drawStackPlanFor(seed), &sm, nil); err != nil {
					if !regexp.MustCompile(word).MatchString(err.Error()) {
						t.Errorf("seed %d: it does not speak of %q: %v", seed, word, err)
					}
					return
				}
			}
			t.Error("nobody has noticed it")
		})
	}
}
