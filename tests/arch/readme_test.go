package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// around is what a block of a document may take for granted, as its reader does.
const around = `package document

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"github.com/castaway-go/castaway/tests/rafttest"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

var (
	ctx                        context.Context
	system                     *actor.ActorSystem
	host, third, fourth        *actors.Host
	group, elsewhere           *actors.Group
	newCounter                 func() actors.StateMachine
	peers                      map[raftcore.NodeID]string
	hostNames                  map[raftcore.NodeID]string
	logger                     *slog.Logger
	meterProvider              metric.MeterProvider
	tracerProvider             trace.TracerProvider
)

type counter struct{ actors.StateMachine }

type scheduler struct{ jobs map[string][]byte }

`

// goBlock is a block of Go in a document.
type goBlock struct {
	file string
	line int // of its first line
	text string
}

func goBlocks(t *testing.T, name string) (blocks []goBlock) {
	t.Helper()
	document, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	rest, line := string(document), 1
	for {
		before, after, found := strings.Cut(rest, "```go\n")
		if !found {
			return blocks
		}
		text, after, ended := strings.Cut(after, "```\n")
		if !ended {
			t.Fatalf("%s: the last block does not end", name)
		}
		line += strings.Count(before, "\n") + 1
		blocks = append(blocks, goBlock{name, line, text})
		line += strings.Count(text, "\n") + 1
		rest = after
	}
}

// exported returns an importer of what the compiler has written down of packages, and of all
// that they import.
func exported(t *testing.T, set *token.FileSet, packages []string) types.Importer {
	t.Helper()
	list := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Export"}, packages...)...)
	list.Dir = root
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	files := map[string]string{}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		files[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })
}

// program reports whether a block is a whole file.
func (b goBlock) program() bool { return strings.HasPrefix(b.text, "package ") }

// parse makes a file of a block: as it is if it is a program, else with what is around it, and
// inside of a function if it has statements. An ellipsis stands for what a reader would put there.
func (b goBlock) parse(set *token.FileSet) (*ast.File, error) {
	text := fmt.Sprintf("//line %s:%d\n%s", b.file, b.line, strings.ReplaceAll(b.text, "…", ""))
	if b.program() {
		return parser.ParseFile(set, b.file, text, 0)
	}
	if file, err := parser.ParseFile(set, b.file, around+text, 0); err == nil {
		return file, nil
	}
	return parser.ParseFile(set, b.file, around+"func _() {\n"+text+"}\n", 0)
}

// Every block of Go that people copy compiles. That a variable or an import is not used is no
// mistake in a fragment.
func TestTheBlocksOfTheDocumentsCompile(t *testing.T) {
	set := token.NewFileSet()
	preamble, err := parser.ParseFile(set, "around", around, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var packages []string
	for _, i := range preamble.Imports {
		packages = append(packages, strings.Trim(i.Path.Value, `"`))
	}
	from := exported(t, set, packages)
	for _, name := range []string{"README.md", "actors/OPERATORS.md"} {
		blocks := goBlocks(t, name)
		if name == "README.md" && len(blocks) < 10 {
			t.Errorf("%s has %d blocks of Go", name, len(blocks))
		}
		for _, b := range blocks {
			file, err := b.parse(set)
			if err != nil {
				t.Errorf("%v\n%s", err, b.text)
				continue
			}
			config := types.Config{Importer: from, Error: func(err error) {
				if e := (types.Error{}); b.program() || !errors.As(err, &e) || !e.Soft {
					t.Errorf("%v\n%s", err, b.text)
				}
			}}
			_, _ = config.Check("document", set, []*ast.File{file}, nil) // Error is told
		}
	}
}

// The first program of the README is what people type: run twice it goes on where it stopped.
func TestTheProgramInTheReadmeRuns(t *testing.T) {
	program := goBlocks(t, "README.md")[0].text
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "counter")
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, source)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"1 <nil>\n1 <nil>\n", "2 <nil>\n2 <nil>\n"} {
		run := exec.Command(binary)
		run.Dir = dir
		if out, err := run.Output(); err != nil || string(out) != want {
			t.Fatalf("it printed %q, %v; it should print %q", out, err, want)
		}
	}
}
