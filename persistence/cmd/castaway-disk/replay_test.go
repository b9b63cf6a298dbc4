package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/raftcore"
)

// brokenNode writes the story of a node that was told of a Save that never was, or,
// with another fault, of something that did not happen.
func brokenNode(t *testing.T, fault string) (file string) {
	t.Helper()
	node, err := raftcore.New(raftcore.Config{ID: 2, Boot: 3}, raftcore.Recovered{Incarnation: 1})
	if err != nil {
		t.Fatal(err)
	}
	r := flight.Record(node, flight.NewBounds(0))
	var out raftcore.Output
	for i := range 3 {
		node.Step(raftcore.Tick{Now: raftcore.Instant(i + 1)})
		node.Drain(&out)
	}
	func() {
		defer func() {
			if reason := fmt.Sprint(recover()); fault == "" {
				fault = reason
			}
		}()
		node.Step(raftcore.Saved{Token: raftcore.Token{Boot: 3, Sequence: 4711}})
	}()
	s := r.Story(fault)
	s.Group, s.Node, s.Boot = "orders", 2, 3
	if file, err = s.Write(nil, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReplayMeetsTheSameFault(t *testing.T) {
	file := brokenNode(t, "")
	r := run("", "replay", file)
	for _, want := range []string{`group    "orders", node 2, its start number 3`, "saved #4711", string(raftcore.RuleSaveCompletes), "it ends in the same fault"} {
		if r.status != exitGood || !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in %+v", want, r)
		}
	}
	r = run("", "replay", file, "-max", "2", "-json")
	var f storyFacts
	if err := json.Unmarshal([]byte(r.stdout), &f); err != nil || !f.Same || f.Group != "orders" || f.Node != 2 || f.Boot != 3 || len(f.Last) != 2 || f.Lines <= 2 || f.Last[1] != "saved #4711" {
		t.Errorf("%v: %+v", err, r)
	}
}

func TestReplayThatDoesNotMeetTheFault(t *testing.T) {
	if r := run("", "replay", brokenNode(t, "another")); r.status != exitDamage || !strings.Contains(r.stdout, "IT ENDS OTHERWISE") || !strings.Contains(r.stderr, "does not end in the fault") {
		t.Errorf("%+v", r)
	}
}

func TestReplayOfWhatIsNoStory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "story")
	if r := run("", "replay", file); r.status != exitFailed {
		t.Errorf("of a file that is not there: %+v", r)
	}
	if err := os.WriteFile(file, []byte("castaway story 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run("", "replay", file); r.status != exitFailed || !strings.Contains(r.stderr, "damaged, or of another version") {
		t.Errorf("%+v", r)
	}
}
