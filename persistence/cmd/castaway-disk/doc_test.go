package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// What the documentation of the program shows is what it prints, of a store like this one.
func TestTheSessionInTheDocumentation(t *testing.T) {
	m := &maker{t: t, dir: filepath.Join(t.TempDir(), "data"), groups: map[string]persistence.Opened{}, hard: map[string]raftcore.HardState{}}
	var err error
	if m.store, err = badgerstore.Dir(m.dir).Open(); err != nil {
		t.Fatal(err)
	}
	m.open("kv")
	m.save("kv", raftcore.Save{HardState: hard(2, 1), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, ""), entry(2, 2, raftcore.EntryNoop, "")}})
	m.save("kv", raftcore.Save{Entries: sets(2, 3, 5, 5)})
	m.close()

	file, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	_, session, _ := strings.Cut(file.Doc.Text(), "\t$ ")
	var want, got strings.Builder
	for _, line := range strings.SplitAfter("\t$ "+session, "\n") {
		line, is := strings.CutPrefix(line, "\t")
		if !is && line != "\n" {
			break // the session is over
		}
		want.WriteString(line)
		if command, is := strings.CutPrefix(line, "$ castaway-disk "); is {
			args := strings.Fields(strings.Replace(command, "data", m.dir, 1))
			r := run("", args...)
			if r.status != exitGood {
				t.Errorf("%s: exit status %d, %s", command, r.status, r.stderr)
			}
			fmt.Fprintf(&got, "%s%s\n", line, strings.ReplaceAll(r.stdout, m.dir, "data"))
		}
	}
	if want, got := masked(want.String()), masked(got.String()); strings.Count(want, "$ ") < 3 || want != got {
		t.Errorf("the documentation has\n%s\nand it prints\n%s", want, got)
	}
}
