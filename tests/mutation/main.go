// Command mutation puts known defects back into the core, the disk and the
// actors, one at a time, and demands that the tests notice every one of them.
//
//	go run ./tests/mutation                                 all mutants
//	go run ./tests/mutation -only R1                        those of one line of the list of traps
//	go run ./tests/mutation -package persistence/journal    those of one package
//	go run ./tests/mutation -list                           what there is
//
// A mutant is a small change of a package (mutants.go, witness.go, disk.go, observe.go, clients.go, storm.go). Its files are not
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
	storm := []string{"./tests/sim", "-run", "TestStack$", "-args", "-seeds", "100"}
	return []suite{
		{"raftcore", [][]string{{"./raftcore"}, {"./tests/sim", "-run", "TestSim$", "-args", "-seeds", fmt.Sprint(*seeds)}}, coreMutants},
		{"raftcore", [][]string{{"./raftcore", "-run", "Witness|FuzzStep|ScriptsGet"}, {"./tests/sim", "-run", "TestSim", "-args", "-seeds", fmt.Sprint(*seeds)}}, witnessMutants},
		{"persistence", [][]string{{"./persistence"}, {contract}, {store}}, slices.Concat(contractMutants, removedContract)},
		{"persistence/journal", [][]string{{journal}, {store}}, journalMutants},
		{"persistence/badgerstore", [][]string{{store}}, slices.Concat(storeMutants, removedStore)},
		{"persistence/snapshots", [][]string{{"./persistence/snapshots"}}, slices.Concat(snapshotMutants, removedSnapshots)},
		{"persistence/cmd/castaway-disk", [][]string{{"./persistence/cmd/castaway-disk", "-run", "Lineage|GroupsAreBegun"}}, toolMutants},
		{"actors", [][]string{{"./actors"}, {"./tests/repair"}, {"./tests/sim", "-run", "TestStack$", "-args", "-seeds", "40"}}, slices.Concat(actorMutants, removedActors)},
		{"raftcore", [][]string{storm}, stormCore},
		{"actors", [][]string{storm}, stormActors},
		{"raftcore", [][]string{{"./raftcore", "-run", "State|Input|Readable"}, {"./tests/sim", "-run", "TestSim$", "-args", "-seeds", "40"}}, recordMutants},
		{"persistence/flight", [][]string{{"./persistence/flight"}, {"./tests/sim", "-run", "TestSim$", "-args", "-seeds", "40"}}, flightMutants},
		{"actors", [][]string{{"./actors", "-run", "Witness|ADiskIs"}}, witnessActors},
		{"actors", [][]string{{"./actors", "-run", "Story|Recording|O1_|LeadIs"}}, watchMutants},
		{"actors", [][]string{{"./actors", "-run", "O1_|FewWords|ASpan"}, {"-C", "tests/otel", "."}}, telemetryMutants},
		{"actors", [][]string{{"./actors", "-run", "SnapshotsShow|HostLists"}}, progressMutants},
		{"actors", [][]string{{"./actors", "-run", "SnapshotsYield|ASnapshotYields"}}, yieldMutants},
		{"raftcore", [][]string{{"./raftcore", "-run", "APeerThat|APeerDoesNot|ARestIs"}}, loadMutants},
		{"actors/dashboard", [][]string{{"./actors/dashboard"}}, dashboardMutants},
		{"actors", [][]string{{"./actors", "-run", "AnotherProcess|NotUnderstood|AClientElsewhere|OwnHook|IsAskedAbout"}}, clientMutants},
		{"actors", [][]string{{"./actors", "-run", "Learner"}}, learnerMutants},
		{"actors", [][]string{{"./actors", "-run", "Session|Table"}}, sessionMutants},
		{"remote", [][]string{{"./remote", "-run", "Client|Elsewhere", "-timeout", "3m"}}, gatewayMutants},
		{"remote", [][]string{{"./remote", "-run", "Buffer|AFewEntries|FuzzOpen|APacketIsWritten|FewBytesDoNot"}}, batchMutants},
		{"remote", [][]string{{"./remote", "-run", "Stranger|Door|PushesOut|PushOut|LiveLane|Metadata|NobodyKnows|NotKnownIsTold|FirstPacket", "-skip", "Flood"}}, doorMutants},
		{"remote", [][]string{{"./remote", "-run", "AConnection|CryptoTLS|StreamsEnd|LetsGo"}}, certificateMutants},
	}
}

func main() {
	flag.Parse()
	chosen := suites()
	total, wide := 0, 0
	for i := range chosen {
		s := &chosen[i]
		s.mutants = slices.DeleteFunc(s.mutants, func(m mutant) bool { return !wanted(s, &m) })
		if total += len(s.mutants); len(s.mutants) > 0 {
			wide = max(wide, len(s.dir))
		}
	}
	if total == 0 {
		fail("there is no such mutant; -list shows those that there are")
	}
	row := fmt.Sprintf("%%-4s  %%-%ds  %%-75s  %%s\n", wide)
	if *list {
		for _, s := range chosen {
			for _, m := range s.mutants {
				fmt.Println(strings.TrimSpace(fmt.Sprintf(row, m.trap, s.dir, m.name, "")))
			}
		}
		fmt.Printf("%d mutants\n", total)
		return
	}
	root := moduleRoot()
	soundWithout(root, chosen)
	fmt.Printf(row, "line", "package", "mutant", "caught by")
	caught := 0
	for i := range chosen {
		for _, m := range chosen[i].mutants {
			by, err := m.run(root, &chosen[i])
			switch {
			case err != nil:
				fmt.Fprintf(os.Stderr, "mutation: %s, %s: %v\n", m.trap, m.name, err)
				by = "IT CANNOT BE RUN"
			case by == "":
				by = "NOBODY"
			default:
				caught++
			}
			fmt.Printf(row, m.trap, chosen[i].dir, m.name, by)
		}
	}
	fmt.Printf("%d mutants, %d caught\n", total, caught)
	if caught < total {
		os.Exit(1)
	}
}

// wanted reports whether the flags ask for a mutant.
func wanted(s *suite, m *mutant) bool {
	ofPackage := func(p string) bool { return s.dir == p || strings.HasSuffix(s.dir, "/"+p) }
	return (*only == "" || slices.Contains(strings.Split(*only, ","), m.trap)) &&
		(*in == "" || slices.ContainsFunc(strings.Split(*in, ","), ofPackage)) &&
		strings.Contains(m.name, *name)
}

// soundWithout runs the tests that are going to be asked without any mutant: what
// fails anyway catches nothing.
func soundWithout(root string, chosen []suite) {
	asked := map[string]bool{}
	for _, s := range chosen {
		for _, run := range s.tests {
			if key := strings.Join(run, " "); len(s.mutants) > 0 && !asked[key] {
				asked[key] = true
				if out, err := goTest(root, "", run...); err != nil {
					fail("the tests fail without any mutant:\n%s", out)
				}
			}
		}
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "mutation: "+format+"\n", args...)
	os.Exit(2)
}

// mutant is a defect: some texts of a package changed for others.
type mutant struct {
	trap  string // its line in the list of traps
	name  string // what is wrong with it
	edits []edit
}

// edit is a change of one file of the package.
type edit struct{ file, old, new string }

// run runs the tests against a mutant of a package and returns who caught it.
func (m *mutant) run(root string, s *suite) (by string, err error) {
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(root, s.dir, dir)
	if err != nil {
		return "", err
	}
	for _, run := range m.asked(s) {
		if by != "" && !*both {
			break
		}
		out, err := goTest(root, overlay, run...)
		if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
			return "", fmt.Errorf("it does not compile:\n%s", out)
		}
		if err != nil {
			by = strings.TrimPrefix(by+", "+whoFailed(out, run[0]), ", ")
		}
	}
	return by, nil
}

// asked returns what is run against a mutant. The tests of the package that name its
// line come first: most mutants are caught there, in a fraction of the time.
func (m *mutant) asked(s *suite) [][]string {
	own := s.tests[0]
	if *both || len(own) > 1 {
		return s.tests
	}
	return append([][]string{{own[0], "-run", m.trap + "([^0-9]|$)"}}, s.tests...)
}

// overlay writes the changed files, and the list that the Go tool wants of them.
func (m *mutant) overlay(root, pkg, dir string) (string, error) {
	sources, replace := map[string]string{}, map[string]string{}
	for _, e := range m.edits {
		if _, known := sources[e.file]; !known {
			source, err := os.ReadFile(filepath.Join(root, pkg, e.file))
			if err != nil {
				return "", err
			}
			sources[e.file] = string(source)
		}
		if n := strings.Count(sources[e.file], e.old); n != 1 {
			return "", fmt.Errorf("the text to be changed is %d times in %s/%s, not once: bring the mutant up to date\n%s", n, pkg, e.file, e.old)
		}
		sources[e.file] = strings.Replace(sources[e.file], e.old, e.new, 1)
	}
	for file, source := range sources {
		changed := filepath.Join(dir, file)
		if err := os.WriteFile(changed, []byte(source), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(root, pkg, file)] = changed
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o644)
}

// goTest runs tests, until the first that fails.
func goTest(root, overlay string, args ...string) (string, error) {
	all := []string{"test", "-failfast", "-count=1", "-vet=off", "-timeout", (5 * time.Minute).String()}
	if overlay != "" {
		all = append(all, "-overlay", overlay)
	}
	dir := root
	if args[0] == "-C" { // a module of its own
		dir, args = filepath.Join(root, args[1]), args[2:]
	}
	cmd := exec.Command("go", append(all, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var (
	testFailed = regexp.MustCompile(`--- FAIL: (\w+)`)
	testHangs  = regexp.MustCompile(`(?s)panic: test timed out.*running tests:\s+(\w+)`)
	testPanic  = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*)$`)
	seedFailed = regexp.MustCompile(`seed (\d+): ([\w -]+)`)
	replayWith = regexp.MustCompile(`replay: go test .* -seed (\d+)`)
)

// whoFailed returns the test that failed, and its seed if it has one.
func whoFailed(out, run string) string {
	if m := seedFailed.FindStringSubmatch(out); m != nil && run == "./tests/sim" {
		return fmt.Sprintf("seed %s (%s)", m[1], strings.TrimSpace(m[2]))
	}
	if m := testHangs.FindStringSubmatch(out); m != nil {
		return m[1] + " (hangs)"
	}
	if m := testFailed.FindStringSubmatch(out); m != nil {
		if seed := replayWith.FindStringSubmatch(out); seed != nil {
			return fmt.Sprintf("%s (seed %s)", m[1], seed[1])
		}
		return m[1]
	}
	if m := testPanic.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return "the tests of " + strings.TrimPrefix(run, "./")
}

// moduleRoot returns the folder of go.mod.
func moduleRoot() string {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		fail("go env GOMOD: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
