package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

func TestWhatItSays(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "otel")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if tree := regexp.MustCompile(`^A proposal to host 1, while host 3 leads:
  handle a request +\S+  the application
    castaway\.propose +\S+  host 1
      castaway\.commit +\S+  host \d
(?:        castaway\.(?:save|replicate) +\S+  host \d
){2}      castaway\.apply +\S+  host \d
What host 3 has measured, after 100 proposals and 100 reads of its own:
`); !tree.Match(out) {
		t.Errorf("the tree of spans is another one:\n%s", out)
	}
	for _, line := range []string{
		`castaway\.proposals +100 proposal castaway\.outcome=done`,
		`castaway\.proposal\.duration +100 times, on average \S+ s castaway\.outcome=done`,
		`castaway\.read\.duration +100 times, on average \S+ s castaway\.outcome=done`,
		`castaway\.save\.duration +\d+ times, on average \S+ s`,
		`castaway\.groups +1 group castaway\.state=running`,
		`castaway\.disk\.stall +\S+ s`,
	} {
		if !regexp.MustCompile(`(?m)^  ` + line + `$`).Match(out) {
			t.Errorf("it does not say %q:\n%s", line, out)
		}
	}
}
