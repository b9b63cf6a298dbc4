package seeds

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// systems are the files, and the items of each system, which are numbered from 1.
var systems = []struct {
	file   string
	letter string
	items  int
}{
	{"rast_test.go", "R", 25},
	{"raftbare_test.go", "B", 23},
	{"raftio_test.go", "I", 23},
	{"asyncraft_test.go", "A", 22},
	{"littleraft_test.go", "L", 17},
}

// Which tests there are the files say themselves: one for each item, in the file of its
// system, that runs wherever this one does, and that leaves nothing out.
func TestEveryItemHasATest(t *testing.T) {
	numbered := regexp.MustCompile(`^Test([A-Z])([0-9]+)_`)
	for _, system := range systems {
		f, err := parser.ParseFile(token.NewFileSet(), system.file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Comments {
			if strings.HasPrefix(c.List[0].Text, "//go:build") {
				t.Errorf("%s is not built everywhere", system.file)
			}
		}
		found := map[string]int{}
		for _, d := range f.Decls {
			test, is := d.(*ast.FuncDecl)
			if !is {
				continue
			}
			name := numbered.FindStringSubmatch(test.Name.Name)
			if name != nil && name[1] != system.letter {
				t.Errorf("%s is in %s", test.Name.Name, system.file)
			}
			if name != nil {
				found[name[1]+name[2]]++
			}
			ast.Inspect(test, func(n ast.Node) bool {
				if s, is := n.(*ast.SelectorExpr); is && strings.HasPrefix(s.Sel.Name, "Skip") {
					t.Errorf("%s skips something", test.Name.Name)
				}
				return true
			})
		}
		for i := range system.items {
			item := fmt.Sprint(system.letter, i+1)
			if found[item] != 1 {
				t.Errorf("%d tests of %s", found[item], item)
			}
			delete(found, item)
		}
		for item := range found {
			t.Errorf("there is no item %s", item)
		}
	}
}
