package arch

import (
	"bytes"
	"flag"
	"go/ast"
	"go/format"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files under testdata/api anew")

// public reports whether other modules are meant to import a package: not programs,
// nor what is generated, nor what is internal, nor what only tests need.
func public(s source) bool {
	switch {
	case s.test || s.ast.Name.Name == "main" || s.pkg == "remote/raftpb" || strings.Contains(s.pkg, "internal/"):
		return false
	case strings.HasPrefix(s.pkg, "tests/"):
		return s.pkg == "tests/rafttest"
	}
	return true
}

// receiver returns the name of the type that a method is of, "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	for {
		switch t := of.(type) {
		case *ast.StarExpr:
			of = t.X
		case *ast.IndexExpr:
			of = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

// declarations returns the exported declarations of a file, as Go, each without its
// comments, with what to sort it by. Values of variables are not part of it: those of
// constants are, for others may have been built with them.
func declarations(t *testing.T, s source) map[string]string {
	t.Helper()
	out := map[string]string{}
	put := func(key string, decl ast.Node) {
		var text bytes.Buffer
		if err := format.Node(&text, s.set, decl); err != nil {
			t.Fatalf("%s: %v", s.path, err)
		}
		out[key] = strings.TrimSpace(text.String())
		if lines := strings.Split(out[key], "\n"); len(lines) > 1 { // there may be gaps where comments were
			whole := slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
			clean, err := format.Source([]byte(strings.Join(whole, "\n")))
			if err != nil {
				t.Fatalf("%s: %v", s.path, err)
			}
			out[key] = string(clean)
		}
	}
	ast.FileExports(s.ast)
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			n.Doc = nil
		case *ast.FuncDecl:
			n.Doc, n.Body = nil, nil
		case *ast.TypeSpec:
			n.Doc, n.Comment = nil, nil
		case *ast.ValueSpec:
			n.Doc, n.Comment = nil, nil
		case *ast.Field:
			n.Doc, n.Comment = nil, nil
		}
		return true
	})
	for _, d := range s.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			of := receiver(d)
			if of != "" && !ast.IsExported(of) {
				continue
			}
			if d.Recv != nil {
				d.Recv.List[0].Names = nil
			}
			put("3 "+of+"."+d.Name.Name, d)
		case *ast.GenDecl:
			switch d.Tok {
			case token.CONST: // together: iota
				names := []string{}
				for _, spec := range d.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						names = append(names, name.Name)
					}
				}
				put("1 "+strings.Join(names, " "), d)
			case token.VAR:
				for _, spec := range d.Specs {
					v := spec.(*ast.ValueSpec)
					for _, name := range v.Names {
						put("2 "+name.Name, &ast.GenDecl{Tok: token.VAR, Specs: []ast.Spec{&ast.ValueSpec{Names: []*ast.Ident{ast.NewIdent(name.Name)}, Type: v.Type}}})
					}
				}
			case token.TYPE:
				for _, spec := range d.Specs {
					name := spec.(*ast.TypeSpec).Name.Name
					put("3 "+name, &ast.GenDecl{Tok: token.TYPE, TokPos: spec.Pos(), Specs: []ast.Spec{spec}})
				}
			}
		}
	}
	return out
}

// What others build upon is written down, so that no change of it goes unnoticed.
func TestTheAPIIsAsWrittenDown(t *testing.T) {
	packages := map[string]map[string]string{}
	for _, s := range readSources(t) {
		if !public(s) {
			continue
		}
		if packages[s.pkg] == nil {
			packages[s.pkg] = map[string]string{}
		}
		for key, text := range declarations(t, s) {
			packages[s.pkg][key] = text
		}
	}
	dir := filepath.Join("testdata", "api")
	files := map[string]bool{}
	for pkg, found := range packages {
		var text strings.Builder
		text.WriteString("package " + pkg + "\n")
		keys := []string{}
		for key := range found {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			text.WriteString("\n" + found[key] + "\n")
		}
		name := strings.ReplaceAll(pkg, "/", "-") + ".txt"
		files[name] = true
		if *update {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		was, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if gone, come := different(string(was), text.String()); len(gone)+len(come) > 0 {
			t.Errorf("the exported declarations of %s have changed. If that is meant: go test ./tests/arch -run API -update\nnot there any more:\n\t%s\nnew:\n\t%s",
				pkg, strings.Join(gone, "\n\t"), strings.Join(come, "\n\t"))
		}
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range there {
		switch {
		case files[f.Name()]:
		case *update:
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s is of a package that is not there: go test ./tests/arch -run API -update", f.Name())
		}
	}
}

// different returns the lines that one of two texts has and the other has not, or else
// has elsewhere.
func different(a, b string) (gone, come []string) {
	if a == b {
		return nil, nil
	}
	before, after := strings.Split(a, "\n"), strings.Split(b, "\n")
	left := map[string]int{}
	for _, line := range after {
		left[line]++
	}
	for _, line := range before {
		if left[line]--; left[line] < 0 {
			gone = append(gone, line)
		}
	}
	left = map[string]int{}
	for _, line := range before {
		left[line]++
	}
	for _, line := range after {
		if left[line]--; left[line] < 0 {
			come = append(come, line)
		}
	}
	if len(gone)+len(come) == 0 {
		come = []string{"(the same lines in another order)"}
	}
	return gone, come
}
