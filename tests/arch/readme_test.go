package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The first program of the README is what people type: it compiles, and run
// twice it goes on where it stopped.
func TestTheProgramInTheReadmeRuns(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, program, found := strings.Cut(string(readme), "```go\npackage main\n")
	program, _, ended := strings.Cut(program, "```\n")
	if !found || !ended {
		t.Fatal("the README has no program")
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "counter")
	if err := os.WriteFile(source, []byte("package main\n"+program), 0o644); err != nil {
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
