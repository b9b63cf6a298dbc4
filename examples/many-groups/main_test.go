package main

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestRegisterKeepsTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New:       func() actors.StateMachine { return &register{} },
		Command:   func(r *rand.Rand) []byte { return []byte{byte(r.Uint32())} },
		Canonical: true,
	})
}

func TestWhatItSays(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "many-groups")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	said := regexp.MustCompile(`^1000 groups are open on each of 3 hosts, after \S+: 3000 members, in \d+ goroutines\.
Each has elected a leader and taken a command, after \S+\.
  host 1 leads \d+, host 2 leads \d+, host 3 leads \d+
Balanced: \d+ leaderships were handed over, in \S+\.
  host 1 leads (\d+), host 2 leads (\d+), host 3 leads (\d+)
All are silent after \S+: from now on they cost memory, and nothing else\.
Host 3 is stopped, and each group has taken another command, after \S+\.
  host 1 leads (\d+), host 2 leads (\d+)
Host 2 sees that command in 1000 groups\.
$`).FindStringSubmatch(string(out))
	if err != nil || said == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, leads := range said[1:4] { // a third, but for what a slow machine has elected meanwhile
		if n, _ := strconv.Atoi(leads); n < 200 || n > 500 {
			t.Errorf("it is not balanced:\n%s", out)
		}
	}
}
