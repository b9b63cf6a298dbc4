package rafttest

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// The plain Store passes; so what the broken ones fail with is their defect.
func TestAPlainStoreKeepsTheContract(t *testing.T) {
	TestStore(t, func(_ testing.TB, seed uint64) StorePlace { return newToyDisk(seed, "").place() })
}

// The contract allows that, too.
func TestAStoreMayBePoisonedByAFullDisk(t *testing.T) {
	TestStore(t, func(_ testing.TB, seed uint64) StorePlace {
		return newToyDisk(seed, "poisons itself when the disk is full").place()
	})
}

// defects are what Stores get wrong, and a word of what the suite must say then.
var defects = map[string]string{
	// What is saved.
	"forgets the vote":                                      "HardState",
	"forgets that it has joined":                            "HardState",
	"forgets the cluster":                                   "HardState",
	"writes the cluster once":                               "",
	"begins no new lineage":                                 "a good Save",
	"forgets the incarnation":                               "incarnation",
	"derives the incarnation from the name":                 "incarnation",
	"drops the last entry":                                  "Last",
	"forgets the snapshot":                                  "Snapshot",
	"forgets the base":                                      "",
	"forgets the configuration of the base":                 "BaseConf",
	"forgets the learners":                                  "Configs",
	"forgets the witnesses":                                 "Configs",
	"forgets whom a joint configuration leaves behind":      "Configs",
	"forgets the time of entries":                           "LastTime",
	"reads empty data as nil":                               "data",
	"cuts large data off":                                   "data",
	"keeps 32 bits of an index":                             "",
	"keeps what was cut off":                                "",
	"what was cut off comes back":                           "Last",
	"keeps the old entries behind a snapshot that was sent": "",
	"ignores the entries beside a snapshot":                 "",
	"moves the base back":                                   "",
	"executes parts in any order":                           "",
	"takes names for file names":                            "names",
	"hands out a tail that ends too early":                  "tail",
	"notes terms by entry":                                  "Runs",
	"does not say which configurations are in the log":      "Configs",

	// What is refused.
	"takes a second vote":                "ErrBadSave",
	"takes a term that falls":            "ErrBadSave",
	"takes another cluster":              "ErrBadSave",
	"replaces what a snapshot covers":    "ErrBadSave",
	"checks each part by itself":         "",
	"keeps what precedes a bad part":     "",
	"takes late Saves":                   "ErrGroupClosed",
	"takes Saves for closed groups":      "ErrGroupClosed",
	"opens a group twice":                "ErrGroupOpen",
	"counts boots from one each time":    "Boot",
	"leaves a group open that is closed": "CloseGroup",
	"two can open it":                    "ErrLocked",
	"answers after Close":                "ErrClosed",

	// What is loaded.
	"returns an entry beyond To":                    "To",
	"knows no MaxBytes":                             "MaxBytes",
	"returns nothing where one entry is too large":  "at least one",
	"returns what there is for what there is not":   "not in the log",
	"returns nothing, and no error, beyond the end": "not in the log",
	"writes over what it has handed out":            "immutable",
	"loads without a lock":                          "together",

	// What is durable.
	"does not sync":                            "",
	"does not sync a new group":                "incarnation",
	"acknowledges after a failed sync":         "",
	"tries a failed sync again":                "",
	"reports a failed write and goes on":       "ErrPoisoned",
	"does not say that it is poisoned":         "ErrPoisoned",
	"loads when it is poisoned":                "ErrPoisoned",
	"is silent about the poison at the end":    "ErrPoisoned",
	"writes a group's parts one by one":        "all of its parts",
	"writes the hard state after the entries":  "",
	"writes the hard state before the entries": "all of its parts",
	"trusts what the cache shows":              "",
	"says Damaged for a torn end":              "Damaged",
	"takes a torn end for damage":              "torn",
	"a failed opening keeps the lock":          "",

	// What is removed.
	"forgets that a group was removed":             "removed",
	"keeps what was removed":                       "",
	"does not sync a removal":                      "",
	"removes what was never there":                 "ErrNoGroup",
	"removes a group once":                         "again",
	"removes a group that is open":                 "ErrGroupOpen",
	"removes voters":                               "ErrStillVoter",
	"looks at the configuration of the base alone": "ErrStillVoter",
	"writes no vote on a tombstone":                "Tombstone",
	"writes no time on a tombstone":                "Tombstone",
	"lists tombstones in any order":                "Tombstone",
	"revives a group as who it was":                "incarnation",
	"revives a group that may found it again":      "Damaged",
	"revives whatever is asked for":                "Tombstone",
	"revives whoever is there":                     "Tombstone",
	"revives a group that is open":                 "Revive",
	"revives a group with what it had":             "",

	// What a full disk does.
	"acknowledges what has no room":                              "where there was room",
	"does not say that the disk is full":                         "ErrDiskFull",
	"ends when the disk is full":                                 "",
	"poisons itself when the disk is full, and does not say why": "ErrDiskFull",
	"keeps some of what has no room":                             "",
	"shows what has no room":                                     "not in the log",
	"does not look for room again":                               "made again",
}

func TestD2D4D6D8P2P8_TheSuiteCatchesBrokenStores(t *testing.T) {
	for defect, word := range defects {
		t.Run(defect, func(t *testing.T) {
			for i := range storeTests {
				test := &storeTests[i]
				r := &storeRun{tb: t, open: func(_ testing.TB, seed uint64) StorePlace { return newToyDisk(seed, defect).place() }, rounds: rounds{seed: 1, limit: 30}, patience: time.Second}
				err := test.check(r)
				if err == nil {
					continue
				}
				t.Logf("%s: %v", test.name, err)
				if !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
					t.Errorf("it does not speak of %q in one line", word)
				}
				return
			}
			t.Error("the suite has not noticed it")
		})
	}
}

// What a field holds that is new, the suite does not know.
func TestTheSuiteKnowsEveryField(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		want int
	}{
		{reflect.TypeFor[raftcore.Entry](), 5}, {reflect.TypeFor[raftcore.Recovered](), 12}, {reflect.TypeFor[raftcore.SnapshotMeta](), 3},
		{reflect.TypeFor[raftcore.ConfState](), 4}, {reflect.TypeFor[raftcore.Save](), 7}, {reflect.TypeFor[raftcore.Load](), 5}, {reflect.TypeFor[persistence.Opened](), 3},
		{reflect.TypeFor[persistence.Tombstone](), 4}, {reflect.TypeFor[persistence.Removal](), 3},
	} {
		if n := c.of.NumField(); n != c.want {
			t.Errorf("%v has %d fields, TestStore knows %d: look where it compares them", c.of, n, c.want)
		}
	}
}

// What cannot be checked is said, not passed over.
func TestTheSuiteSaysWhatItCannotCheck(t *testing.T) {
	skipped := 0
	for i := range storeTests {
		test := &storeTests[i]
		if test.needs == needsNothing {
			continue
		}
		r := &storeRun{tb: t, rounds: rounds{seed: 1}, open: func(testing.TB, uint64) StorePlace { return StorePlace{Opener: persistence.Memory()} }}
		err := test.check(r)
		if missing := (*cannotCheck)(nil); !errors.As(err, &missing) || !strings.Contains(err.Error(), "not checked") {
			t.Errorf("%s ended with %v", test.name, err)
		}
		skipped++
	}
	if skipped < 5 {
		t.Errorf("only %d tests need a disk that fails", skipped)
	}
}
