// Command mutation puts known defects back into the core, the disk and the
// actors, one at a time, and demands that the tests notice every one of them.
//
//	go run ./tests/mutation                                 all mutants
//	go run ./tests/mutation -only R1                        those of one line of the list of traps
//	go run ./tests/mutation -package persistence/journal    those of one package
//	go run ./tests/mutation -list                           what there is
//
// A mutant is a small change of a package (mutants.go, disk.go, observe.go, clients.go). Its files are not
// touched: the Go tool is given changed ones in their place. What runs against it
// are the package's own tests, and, as long as nobody finds anything, the tests of
// those that stand on it: for raftcore the random simulations of tests/sim, for
// what the Store is made of the tests of badgerstore, which hold it against the
// contract (rafttest.TestStore), with crashes at random, and for actors those of
// tests/repair, with real disks, and the simulations of whole hosts.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	only  = flag.String("only", "", "run the mutants of this trap line, such as R1, or of several: R1,R2")
	in    = flag.String("package", "", "run the mutants of this package, such as raftcore or persistence/journal, or of several; the end of the path is enough")
	name  = flag.String("name", "", "run the mutants with this text in their name")
	list  = flag.Bool("list", false, "list the mutants and do nothing")
	seeds = flag.Int("seeds", 600, "how many seeds tests/sim has to find a mutant")
	both  = flag.Bool("both", false, "ask everybody about every mutant, also about those that somebody has caught")
)

// suite is a package, its mutants, and who has to notice them: arguments of go
// test, for one run after the other.
type suite struct {
	dir     string
	tests   [][]string
	mutants []mutant
}

// suites returns all of them, as the flags have it.
func suites() []suite {
	const (
		journal  = "./persistence/journal"
		store    = "./persistence/badgerstore"
		contract = "./tests/rafttest"
	)
	return []suite{
		{"raftcore", [][]string{{"./raftcore"}, {"./tests/sim", "-run", "TestSim$", "-args", "-seeds", fmt.Sprint(*seeds)}}, coreMutants},
		{"persistence", [][]string{{"./persistence"}, {contract}, {store}}, slices.Concat(contractMutants, removedContract)},
		{"persistence/journal", [][]string{{journal}, {store}}, journalMutants},
		{"persistence/badgerstore", [][]string{{store}}, slices.Concat(storeMutants, removedStore)},
		{"persistence/snapshots", [][]string{{"./persistence/snapshots"}}, slices.Concat(snapshotMutants, removedSnapshots)},
		{"persistence/cmd/castaway-disk", [][]string{{"./persistence/cmd/castaway-disk", "-run", "Lineage|GroupsAreBegun"}}, toolMutants},
		{"actors", [][]string{{"./actors"}, {"./tests/repair"}, {"./tests/sim", "-run", "TestStack$", "-args", "-seeds", "40"}}, slices.Concat(actorMutants, removedActors)},
		{"raftcore", [][]string{{"./raftcore", "-run", "State|Input|Readable"}, {"./tests/sim", "-run", "TestSim$", "-args", "-seeds", "40"}}, recordMutants},
		{"persistence/flight", [][]string{{"./persistence/flight"}, {"./tests/sim", "-run", "TestSim$", "-args", "-seeds", "40"}}, flightMutants},
		{"actors", [][]string{{"./actors", "-run", "Story|Recording|O1_|LeadIs"}}, watchMutants},
		{"actors", [][]string{{"./actors", "-run", "O1_|FewWords|ASpan"}, {"-C", "tests/otel", "."}}, telemetryMutants},
		{"actors", [][]string{{"./actors", "-run", "SnapshotsShow|HostLists"}}, progressMutants},
		{"actors", [][]string{{"./actors", "-run", "SnapshotsYield"}}, yieldMutants},
		{"actors/dashboard", [][]string{{"./actors/dashboard"}}, dashboardMutants},
		{"actors", [][]string{{"./actors", "-run", "AnotherProcess|NotUnderstood|AClientElsewhere|OwnHook|IsAskedAbout"}}, clientMutants},
		{"remote", [][]string{{"./remote", "-run", "Client|Elsewhere", "-timeout", "3m"}}, gatewayMutants},
		{"remote", [][]string{{"./remote", "-run", "Stranger|Door|PushesOut|PushOut|LiveLane|Metadata|NobodyKnows|NotKnownIsTold|FirstPacket", "-skip", "Flood"}}, doorMutants},
		{"remote", [][]string{{"./remote", "-run", "AConnection|CryptoTLS|StreamsEnd|LetsGo"}}, certificateMutants},
