// Command mutation puts known defects back into the core, one at a time, and
// demands that the tests notice every one of them.
//
//	go run ./tests/mutation             all mutants
//	go run ./tests/mutation -only R1    those of one line of the list of traps
//	go run ./tests/mutation -list       what there is
//
// A mutant is a small change of one file (mutants.go). The file itself is not
// touched: the Go tool is given a changed one in its place. What runs against it
// are the tests of raftcore, and, if those find nothing, the random simulations
// of tests/sim.
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
	list  = flag.Bool("list", false, "list the mutants and do nothing")
	seeds = flag.Int("seeds", 600, "how many seeds tests/sim has to find a mutant")
	both  = flag.Bool("both", false, "ask tests/sim about every mutant, also about those that a test has caught")
)

func main() {
	flag.Parse()
	chosen := mutants
	if *only != "" {
		chosen = nil
		for _, m := range mutants {
			if slices.Contains(strings.Split(*only, ","), m.trap) {
				chosen = append(chosen, m)
			}
		}
		if len(chosen) == 0 {
			fail("no mutant belongs to line %q; -list shows those that there are", *only)
		}
	}
	if *list {
		for _, m := range chosen {
			fmt.Printf("%-4s  %s\n", m.trap, m.name)
		}
		fmt.Printf("%d mutants\n", len(chosen))
		return
	}
	root := moduleRoot()
	if out, err := goTest(root, "", "./raftcore", "./tests/sim"); err != nil {
		fail("the tests fail without any mutant:\n%s", out)
	}
	fmt.Printf("%-4s  %-75s  %s\n", "line", "mutant", "caught by")
	caught := 0
	for _, m := range chosen {
		by, err := m.run(root)
		if err != nil {
			fail("%s, %s: %v", m.trap, m.name, err)
		}
		if by != "" {
			caught++
		} else {
			by = "NOBODY"
		}
		fmt.Printf("%-4s  %-75s  %s\n", m.trap, m.name, by)
	}
	fmt.Printf("%d mutants, %d caught\n", len(chosen), caught)
	if caught < len(chosen) {
		os.Exit(1)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "mutation: "+format+"\n", args...)
	os.Exit(2)
}

// mutant is a defect: some texts of raftcore changed for others.
type mutant struct {
	trap  string // its line in the list of traps
	name  string // what is wrong with it
	edits []edit
}

// edit is a change of one file of raftcore.
type edit struct{ file, old, new string }

// run runs the tests against a mutant and returns who caught it.
func (m *mutant) run(root string) (by string, err error) {
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return "", err
	}
	out, err := goTest(root, overlay, "./raftcore")
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
		return "", fmt.Errorf("it does not compile:\n%s", out)
	}
	if err != nil {
		by = failedTest(out)
	}
	if by == "" || *both {
		out, err = goTest(root, overlay, "./tests/sim", "-args", "-seeds", fmt.Sprint(*seeds))
		if err != nil {
			by = strings.TrimPrefix(by+", "+failedSeed(out), ", ")
		}
	}
	return by, nil
}

// overlay writes the changed files, and the list that the Go tool wants of them.
func (m *mutant) overlay(root, dir string) (string, error) {
	sources, replace := map[string]string{}, map[string]string{}
	for _, e := range m.edits {
		if _, known := sources[e.file]; !known {
			source, err := os.ReadFile(filepath.Join(root, "raftcore", e.file))
			if err != nil {
				return "", err
			}
			sources[e.file] = string(source)
		}
		if n := strings.Count(sources[e.file], e.old); n != 1 {
			return "", fmt.Errorf("the text to be changed is %d times in raftcore/%s, not once: bring the mutant up to date\n%s", n, e.file, e.old)
		}
		sources[e.file] = strings.Replace(sources[e.file], e.old, e.new, 1)
	}
	for file, source := range sources {
		changed := filepath.Join(dir, file)
		if err := os.WriteFile(changed, []byte(source), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(root, "raftcore", file)] = changed
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
	cmd := exec.Command("go", append(all, args...)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var (
	testFailed = regexp.MustCompile(`--- FAIL: (\w+)`)
	testPanic  = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*)$`)
	seedFailed = regexp.MustCompile(`seed (\d+): ([\w -]+)`)
)

func failedTest(out string) string {
	if m := testFailed.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	if m := testPanic.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return "the tests of raftcore"
}

func failedSeed(out string) string {
	if m := seedFailed.FindStringSubmatch(out); m != nil {
		return fmt.Sprintf("seed %s (%s)", m[1], strings.TrimSpace(m[2]))
	}
	return failedTest(out)
}

// moduleRoot returns the folder of go.mod.
func moduleRoot() string {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		fail("go env GOMOD: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
