package arch

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documentedKeys returns the keys of log lines: the table in the documentation of package
// actors, under "These are all keys".
func documentedKeys(t *testing.T) (keys []string) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(root, "actors/doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "// These are all keys:\n//\n")
	table, _, ended := strings.Cut(table, "//\n// #")
	if !found || !ended {
		t.Fatal("there is no table of keys")
	}
	for line := range strings.Lines(table) {
		key := regexp.MustCompile(`^//\t([a-z]+) `).FindStringSubmatch(line)
		if key == nil {
			t.Fatalf("%q is no line of a table", line)
		}
		keys = append(keys, key[1])
	}
	return keys
}

// logged returns the keys of a call of a logger, or nil if it is none.
func logged(pkg string, call *ast.CallExpr) []ast.Expr {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	if pkg == "remote" && method.Sel.Name == "refuse" && len(call.Args) > 1 { // it logs
		return alternating(call.Args[2:])
	}
	name := ""
	switch on := method.X.(type) {
	case *ast.Ident:
		name = on.Name
	case *ast.SelectorExpr:
		name = on.Sel.Name
	case *ast.CallExpr:
		if f, ok := on.Fun.(*ast.SelectorExpr); ok {
			name = f.Sel.Name
		}
	}
	if name = strings.ToLower(name); name != "logger" && name != "slog" {
		return nil
	}
	switch {
	case method.Sel.Name == "With":
		return alternating(call.Args)
	case call.Ellipsis != token.NoPos: // they were looked at where they are given
		return nil
	case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method.Sel.Name) && len(call.Args) > 0:
		return alternating(call.Args[1:])
	}
	return nil
}

func alternating(args []ast.Expr) (keys []ast.Expr) {
	for i := 0; i < len(args); i += 2 {
		keys = append(keys, args[i])
	}
	return keys
}

// Who searches logs needs one key for one thing.
func TestKeysOfLogLinesAreDocumented(t *testing.T) {
	keys, used := documentedKeys(t), map[string]bool{}
	for _, s := range readSources(t) {
		if s.test || !of(s.pkg, []string{"actors", "remote/...", "persistence/..."}) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, k := range logged(s.pkg, call) {
				literal, ok := k.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					t.Errorf("%v: a key is to be a word between quotes", s.set.Position(k.Pos()))
					continue
				}
				key, _ := strconv.Unquote(literal.Value)
				if used[key] = true; !slices.Contains(keys, key) {
					t.Errorf("%v: the key %q is not documented in actors/doc.go", s.set.Position(k.Pos()), key)
				}
			}
			return true
		})
	}
	for _, key := range keys {
		if !used[key] {
			t.Errorf("the key %q is documented, and nobody uses it", key)
		}
	}
}
