package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
)

// A group that was removed is listed as such, with what its tombstone says, and is nothing
// to be damaged, or to be gone on with.
func TestAGroupThatWasRemovedIsShown(t *testing.T) {
	m := full(t)
	if err := m.store.CloseGroup(m.groups["stock"].Group); err != nil {
		t.Fatal(err)
	}
	if err := m.store.Remove(persistence.Removal{Group: "stock", Time: start}); err != nil {
		t.Fatal(err)
	}
	m.close()
	for command, wants := range map[string][]string{
		"groups":     {"stock", "gone", "removed 2025-11-25T"},
		"show stock": {"removed 2025-11-25T", "a tombstone is left"},
		"verify":     {`"stock"`, "removed", "Everything is whole."},
	} {
		out := transcript(t, m.dir, command)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, out)
			}
		}
	}
	out := transcript(t, m.dir, "show stock -json")
	var facts showFacts
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):strings.LastIndex(out, "}")+1]), &facts); err != nil {
		t.Fatal(err)
	}
	g := facts.Group
	if g.Removed == nil || *g.Removed != start || g.Entries != 0 || g.HardState.Term != m.hard["stock"].Term || g.Incarnation != hex64(m.groups["stock"].Recovered.Incarnation) {
		t.Errorf("it is shown as %+v", g)
	}
}
