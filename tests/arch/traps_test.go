package arch

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"testing"
)

// traps are the lines of the list of traps that concern the core: how others
// lost data, hung or lied. E elections, R replication, M membership, S snapshots,
// Q reads, L transfer and liveness.
var traps = map[string]int{"E": 21, "R": 16, "M": 18, "S": 16, "Q": 9, "L": 8}

// Every trap has a test that names it: TestE1_…, or TestD2E4_… for several.
func TestEveryTrapHasATestThatNamesIt(t *testing.T) {
	prefix, line := regexp.MustCompile(`^Test((?:[A-Z][0-9]+)+)_`), regexp.MustCompile(`[A-Z][0-9]+`)
	var named []string
	for _, s := range readSources(t) {
		if !s.test || s.pkg == "tests/seeds" { // there the same letters name something else
			continue
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if m := prefix.FindStringSubmatch(f.Name.Name); m != nil {
					named = append(named, line.FindAllString(m[1], -1)...)
				}
			}
		}
	}
	for letter, last := range traps {
		for i := range last {
			if id := fmt.Sprint(letter, i+1); !slices.Contains(named, id) {
				t.Errorf("no test names %s", id)
			}
		}
	}
}
