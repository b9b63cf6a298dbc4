package rafttest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// StorePlace is where a Store keeps what it keeps, a directory or a simulated
// disk, and what can be done to it. Only Opener is required. What else you can
// offer decides how much TestStore can check; what it cannot check it skips, and
// says so.
type StorePlace struct {
	// Opener opens the Store in this place, again and again.
	Opener persistence.Opener

	// Crash ends the process that has the Store open, or cuts the power, and starts
	// it anew: what the Store has not made durable may be lost, in whole or in part
	// and in any order, and what a crash sets free, like locks, is free. If a
	// Store was open, it is not used any more, and not closed; do that here if
	// something in it must end. Afterwards Opener opens what is left, and CrashAt
	// and FailAt are taken back.
	//
	// For a Store on files it is enough to copy the directory as it is and to open
	// the copy from then on; that is a killed process. To cut the power takes a
	// simulated disk: package journaltest, under persistence/journal, has one.
	Crash func()

	// CrashAt lets the machine fail in the middle of the nth change to the disk from
	// now on: a write, a sync, a new file, a new name. From then on everything that
	// needs the disk fails, until Crash. Zero takes that back.
	CrashAt func(n int)

	// FailAt lets the nth change from now on fail, once, in the middle. A sync that
	// failed has forgotten what it should have written: the next one succeeds and
	// does not write it either, as on Linux. Zero takes that back.
	FailAt func(n int)

	// Limit lets the disk take no more than so many bytes from now on, beside what is
	// given back by removing and cutting off: whatever needs more fails with ENOSPC.
	// Less than zero takes that back. It outlives a crash.
	Limit func(bytes int64)
}

// TestStore checks a Store against the contract in package persistence. open
// returns an empty place for a Store, a new one each time; what it draws at
// random it should draw from seed, so that a failure can be repeated.
//
//	func TestStore(t *testing.T) {
//		rafttest.TestStore(t, func(t testing.TB, seed uint64) rafttest.StorePlace {
//			return rafttest.StorePlace{Opener: mystore.Dir(t.TempDir())}
//		})
//	}
//
// Run it with -race, too. A failure says what the contract demands, and ends
// with a line that repeats it. The environment has two switches:
//
//	RAFTTEST_SEED    the seed to begin with. Without it, a fresh one; with it, one
//	                 round of the random test, with that seed
//	RAFTTEST_ROUNDS  how many rounds of the random test. Without it, as many as fit
//	                 a second, or a few with -short
//
// What it does not check: that a sync reaches the disk, which only your Crash
// can show; that what is damaged later is noticed; locks between processes; and
// how long anything takes.
func TestStore(t *testing.T, open func(t testing.TB, seed uint64) StorePlace) {
	t.Helper()
	rounds := roundsFromEnvironment(t)
	for _, test := range storeTests {
		t.Run(test.name, func(t *testing.T) {
			r := &storeRun{tb: t, open: open, rounds: rounds, patience: time.Minute}
			r.report(t, test.check(r))
		})
	}
}

// storeTest is one test of the suite.
type storeTest struct {
	name  string
	needs need
	run   func(r *storeRun)
}

// need is what a test needs of a StorePlace beside the Opener.
type need int

const (
	needsNothing need = iota
	needsCrash
	needsCrashAt
	needsFailAt
	needsLimit
)

// storeTests is the suite, in the order in which one makes a new Store pass it.
var storeTests = []storeTest{
	{"WhatIsSavedIsThereWhenTheStoreIsOpenedAgain", needsNothing, keepsWhatIsSaved},
	{"NoFieldOfTheHardStateIsForgotten", needsNothing, keepsTheHardState},
	{"EveryKindOfEntryIsReadAsItWasSaved", needsNothing, keepsEveryKindOfEntry},
	{"EntriesReplaceThoseThatWereThere", needsNothing, replacesEntries},
	{"ANewLineageBeginsOnlyWhereItIsSaid", needsNothing, beginsLineages},
	{"PartsOfOneGroupTakeEffectInOrder", needsNothing, executesPartsInOrder},
	{"WhatASnapshotStandsForGoesAndNothingElse", needsNothing, compacts},
	{"ALeadersSnapshotTakesThePlaceOfTheLog", needsNothing, resets},
	{"IndexesAndTermsAre64BitsWide", needsNothing, keepsLargeNumbers},
	{"ImpossibleSavesAreRefusedAsAWhole", needsNothing, refusesBadSaves},
	{"LoadReturnsWhatFitsAndFailsOnWhatIsNotThere", needsNothing, loadsWithinBounds},
	{"WhatWasHandedOutDoesNotChange", needsNothing, handsOutWhatStays},
	{"OnlyTheLatestOpeningOfAGroupMaySave", needsNothing, refusesLateSaves},
	{"IncarnationsAndBootsTellDisksAndStartsApart", needsNothing, numbersDisksAndStarts},
	{"GroupsAreToldByTheirNames", needsNothing, tellsNamesApart},
	{"ARemovedGroupIsGoneForGood", needsNothing, removes},
	{"AVoterAndAnOpenGroupAreNotRemoved", needsNothing, refusesRemovals},
	{"ARemovedGroupComesBackAsANewcomer", needsNothing, revives},
	{"ManyGroupsAreSavedTogether", needsNothing, savesManyGroups},
	{"AStoreIsOpenOnce", needsNothing, isOpenOnce},
	{"LoadsRunBesideEverythingElse", needsNothing, loadsBesideTheRest},
	{"WhatWasAcknowledgedSurvivesACrash", needsCrash, survivesCrashes},
	{"ACrashInASaveLeavesAllOfItOrNothing", needsCrashAt, savesWholly},
	{"ACrashInARemovalLeavesTheGroupOrItsTombstone", needsCrashAt, removesWholly},
	{"ACrashWhileItIsOpenedHarmsNothing", needsCrashAt, survivesCrashesWhileOpening},
	{"AFailureWhileItIsOpenedHarmsNothing", needsFailAt, survivesFailuresWhileOpening},
	{"AFailedWritePoisonsTheStoreUntilItIsOpenedAgain", needsFailAt, isPoisoned},
	{"WhatTheDiskHasNoRoomForIsRefusedUntilThereIsRoom", needsLimit, refusesWhatHasNoRoom},
	{"LargeAndManyEntriesAreKept", needsNothing, keepsMuch},
	{"AtRandom", needsNothing, storesAtRandom},
}

// check runs a test. The error is a *cannotCheck if it cannot be run here.
func (test *storeTest) check(r *storeRun) (err error) {
	place := r.open(r.tb, r.seed)
	for _, n := range []struct {
		missing    bool
		need       need
		name, what string
	}{
		{place.Crash == nil, needsCrash, "Crash", "what is left when the process or the power fails"},
		{place.Crash == nil || place.CrashAt == nil, needsCrashAt, "Crash and CrashAt", "that a crash in the middle of a write leaves all of a Save or nothing"},
		{place.FailAt == nil, needsFailAt, "FailAt", "that a failed write or sync poisons the Store"},
		{place.Limit == nil, needsLimit, "Limit", "what becomes of a Save for which the disk has no room"},
	} {
		if n.missing && n.need == test.needs {
			return &cannotCheck{fmt.Sprintf("not checked: %s. For that the StorePlace needs %s", n.what, n.name)}
		}
	}
	defer func() {
		if err != nil && !errors.As(err, new(*contractError)) {
			err = broken(cNoReason, "%v", err)
		}
	}()
	return failing(func() { test.run(r) })
}

// storeRun is one run of a test.
type storeRun struct {
	rounds
	tb   testing.TB
	open func(testing.TB, uint64) StorePlace

	patience time.Duration // with a Store that makes use of room in the background
}

// place is a StorePlace in use: with the Store that is open, and a model of what
// must be in it.
type place struct {
	StorePlace
	*StoreModel
	s persistence.Store
}

// place returns a new place. Its Store is not open yet.
func (r *storeRun) place(seed uint64) *place {
	p := &place{StorePlace: r.open(r.tb, seed), StoreModel: NewStoreModel(seed)}
	r.tb.Cleanup(func() {
		if p.s != nil {
			p.s.Close()
		}
	})
	return p
}

// fresh returns a new place, with the Store and some groups open.
func (r *storeRun) fresh(groups ...string) *place {
	p := r.place(r.seed)
	p.start()
	p.enter(groups...)
	return p
}

// start opens the Store.
func (p *place) start() {
	s, err := p.Opener.Open()
	if err != nil {
		must(broken(cOpens, "opening the Store ended with %v", err))
	}
	p.s = s
}

// enter opens groups, and compares them with what was saved.
func (p *place) enter(groups ...string) {
	for _, name := range groups {
		must(p.Open(p.s, name))
	}
}

// stop closes the Store.
func (p *place) stop() {
	err := p.s.Close()
	p.s = nil
	p.Restarted()
	if err != nil {
		must(broken("Close lets go of the disk, and nothing is lost that was saved", "Close ended with %v", err))
	}
}

// restart closes the Store, opens it again, and compares everything.
func (p *place) restart() {
	p.stop()
	p.start()
	must(p.CheckAll(p.s))
}

// crash lets the Store crash.
func (p *place) crash() {
	p.Crash()
	p.s = nil
	p.Restarted()
}

// save executes a Save, and takes note of it.
func (p *place) save(saves ...persistence.Save) { must(p.Save(p.s, saves)) }

// opened is how a group was last opened.
func (p *place) opened(group string) persistence.Opened { return p.group(group).opened }

// term is a part of a Save of a group: its hard state has this term.
func (p *place) term(group string, term raftcore.Term, entries ...raftcore.Entry) persistence.Save {
	o := p.opened(group)
	h := p.group(group).kept.hard
	if h.Term != term {
		h.Vote = raftcore.Nobody
	}
	h.Term, h.Cluster, h.Joined = term, max(h.Cluster, 5), true
	return persistence.Save{Group: o.Group, Save: raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: h, Entries: entries}}
}

// commands are the entries from first to last of a term.
func commands(term raftcore.Term, first, last raftcore.Index) []raftcore.Entry {
	var entries []raftcore.Entry
	for i := first; i <= last; i++ {
		entries = append(entries, raftcore.Entry{EntryID: raftcore.EntryID{Term: term, Index: i}, Kind: raftcore.EntryCommand, Time: int64(i), Data: fmt.Appendf(nil, "%d/%d", term, i)})
	}
	return entries
}
