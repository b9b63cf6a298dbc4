package rafttest

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/actors"
)

// The plain machine passes; so what the broken ones fail with is their defect.
func TestAPlainMachineKeepsTheContract(t *testing.T) { TestStateMachine(t, toy("")) }

// What is compared when there is a promise that bytes can be compared is there.
func TestAPlainMachineWritesTheSameBytes(t *testing.T) {
	sm := toy("")
	sm.Canonical = true
	TestStateMachine(t, sm)
}

// The contract allows that, too.
func TestSnapshotsOfOneStateMayDiffer(t *testing.T) {
	TestStateMachine(t, toy("writes words in any order"))
}

// A machine that has a disk, too. What it answers is what was saved.
func TestAPlainMachineWithADiskKeepsTheContract(t *testing.T) {
	sm := toyOnDisk("")
	sm.Canonical = true
	TestStateMachine(t, sm)
}

func TestQueriesMayBeMissing(t *testing.T) {
	sm := toy("")
	sm.Query = nil
	TestStateMachine(t, sm)
}

// machineDefects are what state machines get wrong, and what the suite must say
// then.
var machineDefects = map[string]string{
	// What Apply depends on.
	"is none":                       "New returned nil",
	"is always the same":            "a second time",
	"shares its map":                "that machines share",
	"counts all machines' commands": "a second time",
	"lists words in any order":      "map order",
	"asks the clock":                "another time",
	"sets a timer by the clock":     "had the effects",
	// What effects come to.
	"takes a timer for a command":               "timer",
	"takes an actor that is gone for a command": "is gone",
	"forgets in a snapshot what has happened":   "restored",
	"asks the clock when a timer goes off":      "no clock",
	// The ends of sessions.
	"forgets in a snapshot whose something is": "restored",
	"asks the clock when a session ends":       "no clock",
	"expects that every session has something": "panicked",
	// How batches are applied.
	"forgets the last of a batch":       "ApplyBatch has answered",
	"applies a batch backwards":         "in batches",
	"counts batches":                    "in batches",
	"draws at random":                   "randomness",
	"has a cache that shows":            "",
	"asks for processors":               "processor",
	"hashes with a seed of the process": "another process",
	"tells the time of its place":       "another process",
	"asks the environment":              "another process",

	// What it takes.
	"expects every index":                  "panicked",
	"divides by the time between commands": "panicked",
	"panics where a word is missing":       "whatever bytes",
	"panics at a bad question":             "whatever bytes",

	// Bytes that are lent.
	"keeps the data":          "used again",
	"changes the data":        "Apply has made",
	"writes behind the data":  "written behind",
	"changes the question":    "Query has made",
	"answers with the data":   "used again",
	"answers from one buffer": "has become",

	// Queries.
	"counts queries":                          "Query changes nothing",
	"makes what is asked for":                 "Query changes nothing",
	"waits in a query":                        "Query does not return",
	"waits in a query for which nobody waits": "Query does not return",

	// What a snapshot holds.
	"forgets to write the count":                                 "restored",
	"forgets to write the time":                                  "restored",
	"forgets to read what no answer shows":                       "Canonical",
	"forgets empty words":                                        "restored",
	"adds a snapshot to what is there":                           "restored",
	"writes only what is new":                                    "restored from snapshots",
	"writes nothing when there is nothing":                       "Restore of",
	"writes words in any order, and says that it does not":       "Canonical",
	"takes no snapshot":                                          "Snapshot ended with",
	"takes a snapshot that is none":                              "Snapshot returned",
	"starts anew with a snapshot":                                "changes nothing",
	"shares its words with the snapshot":                         "written after more commands",
	"shares the memory of words with the snapshot":               "more commands",
	"shares the second half with the snapshot":                   "piece by piece",
	"waits until a snapshot is written":                          "one at a time",
	"forgets the words that are not written while a snapshot is": "while a snapshot is written",
	"refuses all when a snapshot has failed":                     "came to nothing",
	"waits for what never comes when it writes":                  "WriteTo does not return",
	"panics when it cannot write":                                "WriteTo panicked",
	"does not say that it could not write":                       "had failed",

	// How a snapshot is read.
	"reads once":                          "one byte at a time",
	"drops what comes with the end":       "io.EOF",
	"takes what is there of a snapshot":   "although its Reader failed",
	"panics when a snapshot is cut short": "Restore panicked",
	"reads for ever":                      "goes on reading",
}

// diskDefects are what those get wrong that have a disk, and which test must say what then.
var diskDefects = map[string]struct{ test, word string }{
	"keeps something from the beginning":            {"AMachineGoesOnWhereItWasSaved", "that every Save was given"},
	"locks its disk for ever":                       {"AMachineGoesOnWhereItWasSaved", "Open ended with"},
	"finds the state, and nothing kept":             {"AMachineGoesOnWhereItWasSaved", "nothing kept, instead of"},
	"forgets what it was given to keep before":      {"AMachineGoesOnWhereItWasSaved", "ever given to keep"},
	"keeps what is to be forgotten":                 {"AMachineGoesOnWhereItWasSaved", "forget later"},
	"keeps the first under each name":               {"AMachineGoesOnWhereItWasSaved", "ever given to keep"},
	"cannot be synced":                              {"AMachineGoesOnWhereItWasSaved", "Sync ended with"},
	"saves all when it is closed":                   {"WhatWasNotSavedIsDropped", "given again what was not saved"},
	"panics when not all was saved":                 {"WhatWasNotSavedIsDropped", "Close panicked"},
	"does not like many at once":                    {"ManyCommandsAreSavedAtOnce", "Save ended with"},
	"is not Reset":                                  {"ResetLeavesNothing", "after Reset"},
	"has what it was when it is opened after Reset": {"ResetLeavesNothing", "after Reset"},
	"keeps what it was given before Reset":          {"ResetLeavesNothing", "after Reset"},
	"adds a snapshot to what is there":              {"RestoreReplacesAll", "nothing is left"},
	"writes what it has read, before a Save":        {"ARestoreThatComesToNothingLeavesNothing", ""},
	"writes what it is when a snapshot is written":  {"ASnapshotIsOfTheMomentItWasAskedFor", "after more commands"},
	"writes a snapshot of what it is after Reset":   {"ASnapshotOutlivesReset", "when its machine was Reset"},
	"saves when it is closed":                       {"WheneverItIsKilledItIsAsSomeSaveHasLeftIt", "Sync was after"},
	"writes into the file that there is":            {"WheneverItIsKilledItIsAsSomeSaveHasLeftIt", "Open ended with"},
	"has the kept in a file beside it":              {"WheneverItIsKilledItIsAsSomeSaveHasLeftIt", "whenever the process ends"},
}

func TestA2A5_TheSuiteCatchesBrokenMachines(t *testing.T) {
	for defect, word := range machineDefects {
		t.Run(defect, func(t *testing.T) {
			if underRace && defect == "shares the memory of words with the snapshot" {
				t.Skip("where the race detector sees it first, it is the test that fails")
			}
			catches(t, toy(defect), word)
		})
	}
}

func TestA1_TheSuiteCatchesBrokenDisks(t *testing.T) {
	for defect, seen := range diskDefects {
		t.Run(defect, func(t *testing.T) { catches(t, toyOnDisk(defect), seen.word, seen.test) })
	}
}

// catches demands that the suite fails, or some tests of it, and that it says why.
func catches(t *testing.T, sm StateMachine, word string, tests ...string) {
	var name string
	var err error
	for limit := uint64(2); err == nil; limit *= 4 { // most are easy to see
		if limit > 32 {
			t.Fatal("the suite has not noticed it")
		}
		name, err = firstFailure(t, sm, limit, tests...)
	}
	t.Logf("%s: %v", name, err)
	if !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
		t.Errorf("it does not speak of %q in one line", word)
	}
}

func firstFailure(t *testing.T, sm StateMachine, limit uint64, tests ...string) (test string, err error) {
	for _, test := range sm.tests() {
		if len(tests) > 0 && !slices.Contains(tests, test.name) {
			continue
		}
		r := &machineRun{StateMachine: sm, rounds: rounds{seed: 1, limit: limit}, t: t}
		if err := test.check(r); err != nil {
			return test.name, err
		}
	}
	return "", nil
}

// Each kind of machine is made in its own way. Else nobody would open it.
func TestTheSuiteSaysWhichWayAMachineIsToBeMade(t *testing.T) {
	plain, onDisk := toy(""), toyOnDisk("")
	wrong := StateMachine{
		New:     func() actors.StateMachine { return onDisk.NewIn("") },
		Command: plain.Command,
	}
	if _, err := firstFailure(t, wrong, 1); err == nil || !strings.Contains(err.Error(), "needs NewIn instead") {
		t.Errorf("a machine with a disk: %v", err)
	}
	wrong = StateMachine{
		NewIn:   func(string) actors.StateMachine { return plain.New() },
		Command: plain.Command,
	}
	if _, err := firstFailure(t, wrong, 1); err == nil || !strings.Contains(err.Error(), "Use New for it") {
		t.Errorf("a machine without one: %v", err)
	}
}

// Where the test does not come as far in another process, that is said.
func TestTheSuiteSaysWhenThereIsNoOtherProcess(t *testing.T) {
	if isElsewhere() {
		os.Exit(3)
	}
	r := &machineRun{StateMachine: toy(""), rounds: rounds{seed: 1, limit: 1}, t: t}
	err := machineTests[len(machineTests)-1].check(r)
	if missing := (*cannotCheck)(nil); !errors.As(err, &missing) || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("it ended with %v", err)
	}
}

// A machine that has goroutines keeps the contract, as long as they do not show.
func TestMachinesMayHaveGoroutines(t *testing.T) {
	sm := toy("")
	plain := sm.New
	sm.New = func() actors.StateMachine {
		go func() { select {} }()
		return plain()
	}
	for i := range machineTests {
		r := &machineRun{StateMachine: sm, rounds: rounds{seed: 1, limit: 1}, t: t}
		if err := machineTests[i].check(r); err != nil || i == 1 && !r.left {
			t.Errorf("%s ended with %v; whether it left goroutines: %v", machineTests[i].name, err, r.left)
		}
	}
}
