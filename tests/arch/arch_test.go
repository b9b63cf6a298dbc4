// Package arch holds the house to its plan: the map in the README says who may
// import whom, and the rules below say what the core must never touch.
package arch

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/castaway-go/castaway"
)

// drawn is what the map says of a package.
type drawn struct{ mayImport []string }

// readMap reads the table under "## The map" in the README: package, what lives
// there, what of this module it may import.
func readMap(t *testing.T) map[string]drawn {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packages := map[string]drawn{}
	inMap := false
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		if strings.HasPrefix(line, "## ") {
			inMap = line == "## The map"
		}
		columns := strings.Split(line, "|")
		if !inMap || len(columns) != 5 || strings.Contains(columns[1], "---") || strings.TrimSpace(columns[1]) == "package" {
			continue
		}
		d := drawn{}
		for _, p := range strings.Split(columns[3], ",") {
			if p = strings.Trim(strings.TrimSpace(p), "`"); p != "" {
				d.mayImport = append(d.mayImport, p)
			}
		}
		packages[strings.Trim(strings.TrimSpace(columns[1]), "`")] = d
	}
	if len(packages) < 5 {
		t.Fatalf("the README's map has %d packages", len(packages))
	}
	return packages
}

// source is a parsed file of this module.
type source struct {
	path string // from the root
	pkg  string // the folder
	test bool
	set  *token.FileSet
	ast  *ast.File
}

func readSources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && rel != "." {
				return filepath.SkipDir // a module of its own
			}
			if name := d.Name(); rel != "." && (name == "testdata" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{filepath.ToSlash(rel), filepath.ToSlash(filepath.Dir(rel)), strings.HasSuffix(path, "_test.go"), set, file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s source) imports() []string {
	var out []string
	for _, i := range s.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		out = append(out, p)
	}
	return out
}

// of reports whether pkg is in the list, where "x/..." means x and all below.
func of(pkg string, list []string) bool {
	return slices.ContainsFunc(list, func(l string) bool {
		below, all := strings.CutSuffix(l, "/...")
		return pkg == l || all && (pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}

// rulesFor returns what the map says of a package; examples and tests have one
// line each.
func rulesFor(packages map[string]drawn, pkg string) (drawn, bool) {
	if d, ok := packages[pkg]; ok {
		return d, true
	}
	for name, d := range packages {
		if below, all := strings.CutSuffix(name, "/..."); all && (pkg == below || strings.HasPrefix(pkg, below+"/")) {
			return d, true
		}
	}
	return drawn{}, false
}

func TestImportsFollowTheMapInTheREADME(t *testing.T) {
	packages := readMap(t)
	for _, s := range readSources(t) {
		rules, onMap := rulesFor(packages, s.pkg)
		if !onMap {
			t.Errorf("%s: its package is not on the README's map", s.path)
			continue
		}
		for _, p := range s.imports() {
			ours, isOurs := strings.CutPrefix(p, module+"/")
			if isOurs && !s.test && !of(ours, rules.mayImport) {
				t.Errorf("%s imports %s: the map does not allow it", s.path, ours)
			}
		}
	}
}

// Who is linked by whom: Badger costs megabytes, gRPC more.
func TestHeavyLibrariesAreImportedInOneRoomOnly(t *testing.T) {
	rooms := map[string][]string{
		"github.com/dgraph-io/badger":                   {"persistence/badgerstore/...", "examples/ondisk"},
		"google.golang.org/grpc":                        {"remote"},
		"google.golang.org/protobuf":                    {"remote/...", "persistence/badgerstore"}, // there for Badger's own files
		"github.com/asynkron/protoactor-go/remote":      {"remote"},
		"github.com/asynkron/protoactor-go/actor":       {"actors/...", "remote", "examples/...", "tests/..."},
		"go.opentelemetry.io/otel":                      {"actors", "tests/seeds"}, // its API: see telemetry.go
		"github.com/tidwall/redcon":                     {"examples/kv"},
		"golang.org/x/sys":                              {"persistence/...", "examples/...", "tests/..."},
		"github.com/asynkron/protoactor-go/eventstream": {"remote"},
	}
	for _, s := range readSources(t) {
		for _, p := range s.imports() {
			best := ""
			for library := range rooms {
				if (p == library || strings.HasPrefix(p, library+"/")) && len(library) > len(best) {
					best = library
				}
			}
			switch {
			case best != "" && !of(s.pkg, rooms[best]):
				t.Errorf("%s imports %s: that is for %v", s.path, p, rooms[best])
			case best == "" && strings.Contains(p, ".") && !strings.HasPrefix(p, module):
				t.Errorf("%s imports %s: no room is known for it", s.path, p)
			}
		}
	}
}

// The core is a value: no clock, no goroutine, no lock, no I/O, no chance but
// its own.
func TestTheCoreIsPure(t *testing.T) {
	pure := []string{"cmp", "errors", "fmt", "math", "math/rand/v2", "slices", "strings", "time"}
	for _, s := range readSources(t) {
		if s.pkg != "raftcore" || s.test {
			continue
		}
		for _, p := range s.imports() {
			if !slices.Contains(pure, p) {
				t.Errorf("%s imports %s", s.path, p)
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			at := func() token.Position { return s.set.Position(n.Pos()) }
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%v: goroutines and channels are for others", at())
			case *ast.SelectorExpr:
				x, _ := n.X.(*ast.Ident)
				if x == nil {
					return true
				}
				if x.Name == "time" && !slices.Contains([]string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second"}, n.Sel.Name) {
					t.Errorf("%v: time.%s: time is an input", at(), n.Sel.Name)
				}
				if x.Name == "rand" && !slices.Contains([]string{"New", "NewPCG", "PCG", "Rand"}, n.Sel.Name) {
					t.Errorf("%v: rand.%s: chance comes from the seed", at(), n.Sel.Name)
				}
				if x.Name == "fmt" && strings.HasPrefix(n.Sel.Name, "Print") {
					t.Errorf("%v: fmt.%s: the core does not print", at(), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// long are the functions that are longer than they should be, with their
// lengths. They may shrink, and leave the list; nothing joins it.
var long = map[string]int{}

func TestFunctionsAreShort(t *testing.T) {
	const limit = 70
	for _, s := range readSources(t) {
		if s.test || strings.HasSuffix(s.path, ".pb.go") {
			continue
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1
			if name := s.pkg + "." + f.Name.Name; lines > max(limit, long[name]) {
				t.Errorf("%s: %s has %d lines", s.path, f.Name.Name, lines)
			}
		}
	}
}

func TestExportedNamesHaveComments(t *testing.T) {
	for _, s := range readSources(t) {
		if s.test || strings.HasSuffix(s.path, ".pb.go") || s.ast.Name.Name == "main" {
			continue
		}
		for _, d := range s.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !obvious(d) {
					t.Errorf("%v: %s has no comment", s.set.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil {
							t.Errorf("%v: %s has no comment", s.set.Position(spec.Pos()), spec.Name.Name)
						}
					case *ast.ValueSpec: // one for a whole list will do
						if spec.Names[0].IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
							t.Errorf("%v: %s has no comment", s.set.Position(spec.Pos()), spec.Names[0].Name)
						}
					}
				}
			}
		}
	}
}

// obvious reports whether a method is one whose meaning is the interface's, or
// belongs to a type that is not exported.
func obvious(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return false
	}
	receiver := f.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	id, ok := receiver.(*ast.Ident)
	return ok && !id.IsExported() || slices.Contains([]string{"String", "Error", "Unwrap", "Is"}, f.Name.Name)
}

// TestEveryFolderIsExplained: a newcomer finds the room by its name, and in it
// somebody who explains it.
func TestEveryPackageHasADocComment(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range readSources(t) {
		if !s.test || strings.HasPrefix(s.pkg, "tests/") {
			documented[s.pkg] = documented[s.pkg] || s.ast.Doc != nil
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}
