package main

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestCounterKeepsTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New:       func() actors.StateMachine { return &counter{} },
		Command:   func(*rand.Rand) []byte { return nil },
		Canonical: true,
	})
}

func TestWhatItSays(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	said := regexp.MustCompile(`^By hand:
  4 joins, and learns: voters \[1 2 3\], learners \[4\]
  4 is promoted: voters \[1 2 3 4\]
  3 goes: voters \[1 2 4\]
  3 knows it\. Its data is removed, and a tombstone is left: manual
  5 replaces 2, in one step: voters \[1 4 5\]
  4 is told to lead, and does
  Meanwhile a client has counted to (\d+)\. The counter stands at (\d+)\.
With an autopilot:
  4 and 5 have opened the group, and learn: voters .*
  host (\d) is stopped, and replaced: voters (\[.*)
  host (\d) is stopped, and replaced: voters (\[.*)
  Meanwhile a client has counted to (\d+)\. The counter stands at (\d+)\.
$`).FindStringSubmatch(string(out))
	if err != nil || said == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if said[1] != said[2] || said[7] != said[8] {
		t.Errorf("what was counted is not there:\n%s", out)
	}
	if strings.Contains(said[4], said[3]) || strings.ContainsAny(said[6], said[3]+said[5]) {
		t.Errorf("who is dead is a member:\n%s", out)
	}
}
