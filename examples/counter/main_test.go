package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestCounterKeepsTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New:       func() actors.StateMachine { return &counter{} },
		Command:   func(r *rand.Rand) []byte { return strconv.AppendInt(nil, r.Int64()>>r.IntN(64), 10) },
		Canonical: true,
	})
}

// The second run goes on where the first one stopped.
func TestCounterGoesOn(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "counter")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "data")
	for _, want := range []string{
		"The counter stands at 0.\n+1 makes 1.\n+2 makes 3.\n+3 makes 6.\n",
		"The counter stands at 6.\n+1 makes 7.\n+2 makes 9.\n+3 makes 12.\n",
	} {
		out, err := exec.Command(binary, "-dir", dir).CombinedOutput()
		if want += "The log is in " + dir + ". Run this again, and it goes on.\n"; err != nil || string(out) != want {
			t.Fatalf("%v\n got: %s\nwant: %s", err, out, want)
		}
	}
}

func TestCounterFitsOnAScreen(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), "\n"); n > 60 {
		t.Errorf("it has %d lines", n)
	}
}
