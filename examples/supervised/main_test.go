//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWhatItSays(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "supervised")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var guardian, others []string // they speak at the same time
	for line := range strings.Lines(string(out)) {
		if line, is := strings.CutPrefix(line, "  guardian: "); is {
			guardian = append(guardian, strings.TrimSpace(line))
		} else {
			others = append(others, line)
		}
	}
	if want := []string{
		"the state machine failed: restart the member",
		"the storage failed: stop the member",
		"the member has stopped",
		"the state machine failed: restart the member",
		"the member has stopped",
	}; !slices.Equal(guardian, want) {
		t.Errorf("the guardian says %q", guardian)
	}
	// The disk may fail before it is asked for this command.
	if !regexp.MustCompile(`^  \+1 makes 1
  \+2 makes 3
A panic that passes, in the middle of a command:
  \+3: nobody knows yet what comes of it
  \+4 makes 10
A disk that fails:
  a command of 65538 bytes: (?:nobody knows yet what comes of it|rejected: .*)
  the disk is well again; a new host opens it
  \+6 makes 16
A panic that comes again, whenever the command is applied:
  boom: nobody knows yet what comes of it
  the member is quarantined: it applies nothing any more
  the group is told to skip the entry, and goes on
  \+7 makes 23
$`).MatchString(strings.Join(others, "")) {
		t.Errorf("it says\n%s", out)
	}
}
