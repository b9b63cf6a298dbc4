package rafttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
)

// StateMachine is a state machine to be tested, and what can be said to it.
type StateMachine struct {
	// New makes a fresh one, as GroupConfig.Machine does.
	New func() actors.StateMachine

	// NewIn makes an actors.DiskStateMachine, instead of New. Its disk is a directory. That
	// is empty, or another one has used it, which was closed, or whose process was killed.
	NewIn func(dir string) actors.StateMachine

	// Command draws a command from r. The test finds what they reach: draw all kinds,
	// on few keys, so that they meet what others did, and some that are refused. The
	// log's time begins on 2000-01-01 UTC, or, now and then, much earlier or later. Some
	// commands come in sessions, of whose end an actors.SessionStateMachine is told.
	Command func(r *rand.Rand) []byte

	// Query draws a question whose answer the state decides, and nothing else. That is
	// how the test looks at a state: draw what there is to see of it. Without Query it
	// asks with no bytes.
	Query func(r *rand.Rand) []byte

	// Canonical says that machines of one state write one and the same snapshot. The
	// contract does not demand that. With it, the test compares the bytes, and so
	// sees what no answer shows.
	Canonical bool
}

// TestStateMachine checks a state machine against the contract of
// actors.StateMachine: that all members come to the same answers, also those that
// begin with a snapshot, that a snapshot is of its moment, and that nothing makes
// the machine panic.
//
//	func TestStateMachine(t *testing.T) {
//		rafttest.TestStateMachine(t, rafttest.StateMachine{
//			New:     func() actors.StateMachine { return newBank() },
//			Command: func(r *rand.Rand) []byte { return randomTransfer(r) },
//			Query:   func(r *rand.Rand) []byte { return randomAccount(r) },
//		})
//	}
//
// Make it pass from the top: the later tests take for granted what the earlier ones
// check. Run it with -race, too. A failure says what the contract demands, and ends
// with a line that repeats it. The environment has two switches:
//
//	RAFTTEST_SEED    the seed to begin with. Without it, a fresh one; with it, one
//	                 round of each test, with that seed
//	RAFTTEST_ROUNDS  how many rounds of each test. Without it, as many as fit a fifth
//	                 of a second, or a few with -short
//
// The machines have a clock of their own, of testing/synctest. One test starts the
// test binary once more, and compares with another process; what comes before
// TestStateMachine in your test happens there again.
//
// With NewIn it checks the contract of actors.DiskStateMachine, too: it closes machines and
// goes on with others on their disks, and has processes killed that are at it, the test
// binary again. A machine with a disk has the clock of the computer, for what it is built on
// may have goroutines that live by that; so what depends on the clock may stay unseen, and
// who waits for what never comes waits until go test has had enough.
//
// What it does not check: what your Command and Query do not reach; a snapshot that
// an earlier version of your program has written; what is left after a power cut; and how
// long anything takes.
func TestStateMachine(t *testing.T, sm StateMachine) {
	t.Helper()
	if (sm.New == nil) == (sm.NewIn == nil) || sm.Command == nil {
		t.Fatal("a StateMachine needs New, or NewIn if it is an actors.DiskStateMachine, and Command")
	}
	rounds := roundsFromEnvironment(t)
	for _, test := range sm.tests() {
		t.Run(test.name, func(t *testing.T) {
			r := &machineRun{StateMachine: sm, rounds: rounds, t: t}
			err := test.check(r)
			if r.stack != nil {
				t.Logf("%s", r.stack)
			}
			r.report(t, err)
		})
	}
}

// tests are those that concern the machine.
func (sm *StateMachine) tests() []machineTest {
	if sm.NewIn == nil {
		return machineTests
	}
	return slices.Concat(machineTests, diskTests)
}

// machineTest is one test of the suite.
type machineTest struct {
	name string
	run  func(r *machineRun)
	in   func(r *machineRun, test func()) // where it runs
}

// machineTests is the suite, in the order in which one makes a machine pass it.
var machineTests = []machineTest{
	{"TheSameCommandsGiveTheSameAnswers", answersTheSame, outside},
	{"WhatGoesInAndOutIsLeftAlone", leavesBytesAlone, inBubble},
	{"AQueryChangesNothing", queriesWithoutTrace, inBubble},
	{"TheLogsTimeMayBeAny", takesAnyTime, inBubble},
	{"WhatIsNoCommandHarmsNobody", survivesNonsense, inBubble},
	{"ASnapshotIsTheWholeState", snapshotsTheWhole, inBubble},
	{"SnapshotsFollowOneAnother", snapshotsAgainAndAgain, inBubble},
	{"ASnapshotIsOfTheMomentItWasAskedFor", snapshotsTheMoment, inBubble},
	{"BatchesOfAnySizeGiveTheSameAnswers", answersBatches, inBubble},
	{"ASnapshotThatComesToNothingChangesNothing", survivesFailedSnapshots, inBubble},
	{"RestoreReadsHoweverTheBytesCome", restoresFromAnyReader, inBubble},
	{"RestoreFailsWhenItsReaderDoes", failsWithItsReader, inBubble},
	{"AnotherProcessGivesTheSameAnswers", answersTheSameElsewhere, outside},
}

// check runs a test, in rounds.
func (test *machineTest) check(r *machineRun) error {
	if isElsewhere() {
		return r.answerElsewhere()
	}
	if file := os.Getenv(toBeKilled); file != "" {
		return r.workUntilKilled(file)
	}
	return failing(func() {
		r.each(r.t, time.Second/5, func(seed uint64) {
			r.Rand = rand.New(rand.NewPCG(seed, 0x6d_61_63_68))
			defer r.discard()
			test.in(r, func() { test.run(r) })
		})
	})
}

// machineRun is one run of a test.
type machineRun struct {
	StateMachine
	*rand.Rand // of the round
	rounds
	t     *testing.T
	doing atomic.Value // what was last asked of the machine: a string
	left  bool         // goroutines, and that has been said
	stack []byte       // of the panic that has ended the test
	open  []*subject   // with a disk
}

func outside(_ *machineRun, test func()) { test() }

// inBubble runs a test with a clock of its own, which moves on when nothing else
// does. So it is noticed when a machine waits for what never comes.
func inBubble(r *machineRun, test func()) {
	if r.NewIn != nil {
		test()
		return
	}
	var err error
	ended := false
	defer func() {
		p := recover()
		if p != nil && !strings.Contains(fmt.Sprint(p), "deadlock") {
			panic(p)
		}
		switch {
		case p != nil && !ended:
			must(broken(cReturns, "%v does not return: it waits for what never comes", r.doing.Load()))
		case p != nil && err == nil && !r.left:
			r.left = true
			r.t.Log("the machine leaves goroutines behind. Nobody tells it when it is not needed any more, so they stay")
		}
		must(err)
	}()
	synctest.Test(r.t, func(*testing.T) {
		err = failing(test)
		ended = true
	})
}

// noPanic is deferred around everything that is asked of a machine: a panic ends
// the test, too, but says where it came from.
func (r *machineRun) noPanic(contract string, doing func() string) {
	switch p := recover().(type) {
	case nil:
	case failure:
		panic(p)
	default:
		if r.stack == nil {
			r.stack = debug.Stack()
		}
		must(broken(contract, "%s panicked: %s", doing(), oneLine(fmt.Sprint(p))))
	}
}

// pass lets time pass, in a bubble.
func (r *machineRun) pass(d time.Duration) {
	if r.NewIn == nil {
		time.Sleep(d)
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// What the contract demands. Whoever writes a machine reads it when that is broken.
const (
	cNew      = "a fresh machine is nobody else's"
	cSame     = "Apply and what it makes of the state depend on nothing but the commands so far: no clock but Entry.Time, no randomness, no map order, nothing that machines share, nothing of the process or the host"
	cPanics   = "Apply and Query take whatever bytes there are: a panic restarts the member, and every other one, too, and nothing is applied any more"
	cReturns  = "every call returns, and no other is made meanwhile, but of WriteTo"
	cData     = "Apply neither keeps nor changes Entry.Data, and Query not its question: the memory is used again"
	cAnswer   = "an answer does not change after it was given"
	cBatch    = "ApplyBatch does what Apply would have done one by one, wherever the bounds of the batches are"
	cQuery    = "Query changes nothing"
	cWholly   = "a snapshot holds all that the commands so far have made of the state: a machine that Restore has read it into goes on exactly as the one that has written it"
	cMoment   = "a snapshot is of the state when Snapshot was called, whatever Apply changes before or while WriteTo writes"
	cBeside   = "a snapshot that is written, or fails, or is never written, changes nothing"
	cSnapshot = "Snapshot and WriteTo write the state, if nothing fails"
	cWriteErr = "WriteTo returns the error of what it writes to: else half a snapshot would be taken for one"
	cRestore  = "Restore reads what Snapshot has written"
	cReader   = "Restore reads until it has what it needs, in pieces of any size, also one that comes together with io.EOF"
	cReadErr  = "Restore returns an error when what it reads from does, and does not panic"
	cFails    = "Open, Save, Sync, Reset and Close do what they are to do, if nothing fails"
	cOpen     = "Open finds what the last Save has left: the state, and all that it was ever given to keep, and not to forget later"
	cClose    = "what was not saved when it is closed is dropped"
	cReset    = "after Reset it is a fresh machine, and until a Save has come Open finds nothing kept, and a fresh one"
	cReplaced = "Restore after Reset makes of it what the snapshot holds, and nothing is left of what was there before"
	cCrash    = "what Open finds is always as some Save has left it, all of it or nothing, and not older than the last Sync, whenever the process ends; or a fresh machine if it was Reset"
	cOutlives = "a snapshot that is written when the machine was Reset is of the state that it was asked for in, or fails"
	cBytes    = "Canonical says that machines of one state write one and the same snapshot"
)
