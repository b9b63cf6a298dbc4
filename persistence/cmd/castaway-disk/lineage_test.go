package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// survivor says what a member of a group of three has kept.
type survivor struct {
	terms   []raftcore.Term // of its log; the first entry is the founding one
	hard    raftcore.HardState
	conf    *raftcore.ConfState // in the last entry, if it is not nil
	damaged bool
	// compacted: the log is empty behind a snapshot of all of it.
	compacted bool
}

// survivors makes a directory for each, under one that is returned, with this group
// in it; DIR/1 is the first.
func survivors(t *testing.T, kept ...survivor) string {
	t.Helper()
	above := filepath.Join(t.TempDir(), "disks")
	for i, k := range kept {
		dir := filepath.Join(above, fmt.Sprint(i+1))
		m := newMaker(t, dir)
		m.open("kv", "idle")
		var entries []raftcore.Entry
		for i, term := range k.terms {
			e := entry(term, raftcore.Index(i+1), raftcore.EntryCommand, fmt.Sprint("set ", i+1))
			switch {
			case i == 0:
				e = entry(term, 1, raftcore.EntryConfig, "")
			case k.conf != nil && i+1 == len(k.terms):
				e = entry(term, raftcore.Index(i+1), raftcore.EntryConfig, "")
				e.Config = k.conf
			}
			entries = append(entries, e)
		}
		m.save("kv", raftcore.Save{HardState: k.hard, Entries: entries})
		if k.compacted {
			last := entries[len(entries)-1]
			all := &raftcore.SnapshotMeta{Last: last.EntryID, Time: last.Time, Conf: raftcore.ConfigAt{Index: 1, Conf: three}}
			m.save("kv", raftcore.Save{Snapshot: all, Base: all})
		}
		m.close()
		if k.damaged {
			damage(t, dir, "kv")
		}
	}
	return above
}

// damage has a store lose the end of its journal, and be repaired.
func damage(t *testing.T, dir, group string) {
	t.Helper()
	s, err := badgerstore.Dir(dir).Open()
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the last one is to be behind the damage, or it would be a torn end
		next := o.Recovered.Last + 1
		save := raftcore.Save{Token: raftcore.Token{Boot: o.Boot, Sequence: 1}, HardState: o.Recovered.HardState, Entries: []raftcore.Entry{entry(o.Recovered.HardState.Term, next, raftcore.EntryCommand, "the lost end")}}
		if err := s.Save([]persistence.Save{{Group: o.Group, Save: save}}); err != nil {
			t.Fatal(err)
		}
		o.Recovered.Last++
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names := segmentsOf(t, dir)
	last := names[len(names)-1]
	b, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, last, int64(strings.Index(string(b), "the lost end")))
	if _, err := badgerstore.Dir(dir).Open(); !errors.As(err, new(*persistence.CorruptError)) {
		t.Fatalf("it is not damaged: %v", err)
	}
	s, err = badgerstore.Options{Dir: dir, Repair: true}.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// at is a member that has joined, in a term.
func at(term raftcore.Term) raftcore.HardState { return hard(term, raftcore.Nobody) }

func ofTerms(t ...raftcore.Term) []raftcore.Term { return t }

// said runs lineage on directories under above, and returns a transcript. It checks
// that nothing is changed unless that is the result.
func said(t *testing.T, above, line string) (string, result) {
	t.Helper()
	before := files(t, above)
	args := []string{"lineage"}
	for _, word := range strings.Fields(line) {
		if len(word) == 1 && word[0] >= '1' && word[0] <= '9' && args[len(args)-1] != "-id" && args[len(args)-1] != "-learners" {
			word = filepath.Join(above, word)
		}
		args = append(args, word)
	}
	r := run("", args...)
	if after := files(t, above); !strings.Contains(r.stdout, "BEGUN") && !strings.Contains(r.stdout, `"written": true`) && !reflect.DeepEqual(before, after) {
		t.Errorf("%s has changed the files from %v to %v", line, before, after)
	}
	text := fmt.Sprintf("$ castaway-disk %s\n%s", strings.Join(args, " "), r.stdout)
	if r.stderr != "" {
		text += "(stderr) " + r.stderr
	}
	return text + fmt.Sprintf("(exit %d)\n\n", r.status), r
}

func TestALineageIsLookedAtAndBegun(t *testing.T) {
	above := survivors(t,
		survivor{terms: ofTerms(1, 1, 2, 2), hard: hard(3, 2)},
		survivor{terms: ofTerms(1, 1, 2, 2, 2), hard: hard(2, 2)})
	// Of five: two survive.
	five := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3, 4, 5}}
	of5 := survivors(t,
		survivor{terms: ofTerms(1, 1, 2, 2), hard: hard(3, 2), conf: &five},
		survivor{terms: ofTerms(1, 1, 2, 2, 2), hard: hard(2, 2), conf: &five})
	text := ""
	for _, line := range []string{
		"-group kv 1", "-all 1 -id 1", "-group kv 1 2", "-group idle 1 -id 1 -accept-data-loss", "-group nobody 1",
		"-group kv 1 -id 1 -learners 3,2 -accept-data-loss", "-group kv 1 -id 1 -learners 3,2 -accept-data-loss", "-all 1 -id 1",
		"-group kv 2 -id 2", "-group kv 2 1 -id 2 -accept-data-loss",
	} {
		more, _ := said(t, above, line)
		text += more
	}
	golden(t, "lineage", above, text)
	text = ""
	for _, line := range []string{
		"-group kv 1 2", "-group kv 1 2 -id 1 -accept-data-loss", "-group kv 2 1", "-group kv 1 2 -id 1 -accept-data-loss -despite worse",
	} {
		more, _ := said(t, of5, line)
		text += more
	}
	golden(t, "lineage-worse", of5, text)
}

// TestWhatSpeaksAgainstALineage goes through all that does, and demands that the
// word for it, and no other, lets it begin.
func TestWhatSpeaksAgainstALineage(t *testing.T) {
	newcomer := at(2)
	newcomer.Joined = false
	elsewhere := at(2)
	elsewhere.Cluster = 0xc2
	learner := raftcore.ConfState{Voters: []raftcore.NodeID{2, 3, 4}, Learners: []raftcore.NodeID{1}}
	without := raftcore.ConfState{Voters: []raftcore.NodeID{2, 3, 4}}
	leaving := raftcore.ConfState{Voters: []raftcore.NodeID{2, 3, 4}, Outgoing: []raftcore.NodeID{1, 2, 3}}
	one := raftcore.ConfState{Voters: []raftcore.NodeID{1}}
	alone := raftcore.ConfState{Voters: []raftcore.NodeID{1}, Learners: []raftcore.NodeID{2}}
	whole := survivor{terms: ofTerms(1, 1, 2), hard: at(2)}
	for _, c := range []struct {
		what, word string
		kept       []survivor
		line       string
	}{
		{"nothing", "", []survivor{whole}, "1"},
		{"nothing: a voter until its removal is committed", "", []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), conf: &leaving}}, "1"},
		{"nothing: the others are behind", "", []survivor{whole, {terms: ofTerms(1, 1, 1, 1), hard: newcomer}}, "1 2"},
		{"nothing: the others have nothing of it", "", []survivor{whole, {hard: raftcore.HardState{Term: 1}}}, "1 2"},
		{"nothing: a snapshot, and an empty log", "", []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), compacted: true}}, "1"},
		{"a snapshot that goes further", despiteWorse, []survivor{whole, {terms: ofTerms(1, 1, 2, 2), hard: newcomer, compacted: true}}, "1 2"},
		{"a longer log", despiteWorse, []survivor{whole, {terms: ofTerms(1, 1, 2, 2), hard: newcomer}}, "1 2"},
		{"a log of a later term", despiteWorse, []survivor{{terms: ofTerms(1, 1, 2, 2, 2), hard: at(3)}, {terms: ofTerms(1, 3), hard: raftcore.HardState{Term: 3, Cluster: 0xc1}}}, "1 2"},
		{"a majority", despiteQuorum, []survivor{whole, whole}, "1 2"},
		{"a majority: it is alone, and gets other learners", despiteQuorum, []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), conf: &alone}}, "1 -learners 2,3"},
		{"a damaged disk", despiteDamaged, []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), damaged: true}}, "1"},
		{"a damaged disk of a group of one, which nobody else could repair", despiteDamaged, []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), conf: &one, damaged: true}}, "1"},
		{"a newcomer", despiteNewcomer, []survivor{{terms: ofTerms(1, 1, 2), hard: newcomer}}, "1"},
		{"a learner", despiteLearner, []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), conf: &learner}}, "1"},
		{"a stranger", despiteStranger, []survivor{{terms: ofTerms(1, 1, 2), hard: at(2), conf: &without}}, "1"},
		{"another lineage", "?", []survivor{whole, {terms: ofTerms(1, 1, 2), hard: elsewhere}}, "1 2"},
	} {
		above := survivors(t, c.kept...)
		line := "-group kv -id 1 -accept-data-loss " + c.line
		others := slices.DeleteFunc(slices.Clone(despiteWords), func(word string) bool { return word == c.word })
		if c.word != "" {
			text, r := said(t, above, line+" -despite "+strings.Join(others, ","))
			if r.status != exitHeld || !strings.Contains(r.stderr, "nothing was changed") || c.word != "?" && !strings.Contains(r.stderr, "-despite "+c.word) {
				t.Errorf("%s, without its word: %s", c.what, text)
			}
			line += " -despite " + c.word
		}
		if c.word == "?" {
			continue
		}
		if text, r := said(t, above, line); r.status != exitGood || !strings.Contains(r.stdout, "BEGUN") {
			t.Errorf("%s, with its word: %s", c.what, text)
			continue
		}
		leadsAlone(t, c.what, filepath.Join(above, "1"))
	}
}

// leadsAlone has the core lead the group with what a directory holds, as member 1.
func leadsAlone(t *testing.T, what, dir string) {
	t.Helper()
	r, boot, _ := imported(t, dir, "kv")
	n, err := raftcore.New(raftcore.Config{ID: 1, Boot: boot}, r)
	if err != nil {
		t.Errorf("%s: it does not start: %v", what, err)
		return
	}
	var out raftcore.Output
	step := func(in raftcore.Input) {
		n.Step(in)
		for n.Drain(&out); out.Save.Token.Sequence > 0; n.Drain(&out) {
			n.Step(raftcore.Saved{Token: out.Save.Token})
		}
	}
	step(raftcore.Tick{Now: 1})
	step(raftcore.Tick{Now: out.Deadline})
	if s := n.Status(); s.Role != raftcore.Leader || s.Commit != r.Last+1 || s.Last != s.Commit || !s.Joined {
		t.Errorf("%s: it does not lead with all of it: %v", what, s)
	}
}

// TestAllGroupsAreBegunOrNone has one group of which something speaks against it.
func TestAllGroupsAreBegunOrNone(t *testing.T) {
	m := newMaker(t, filepath.Join(t.TempDir(), "disks", "1"))
	m.open("a", "b", "empty", "alone")
	learner := raftcore.ConfState{Voters: []raftcore.NodeID{2, 3, 4}, Learners: []raftcore.NodeID{1}}
	one := raftcore.ConfState{Voters: []raftcore.NodeID{1}}
	conf := entry(1, 2, raftcore.EntryConfig, "")
	m.save("a", raftcore.Save{HardState: hard(4, 1), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, "")}})
	conf.Config = &learner
	m.save("b", raftcore.Save{HardState: hard(1, 1), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, ""), conf}})
	conf.Config = &one
	m.save("alone", raftcore.Save{HardState: hard(1, 1), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, ""), conf}})
	m.close()
	above := filepath.Dir(m.dir)
	states := func(r result) map[string]string {
		var f lineageFacts
		if err := json.Unmarshal([]byte(r.stdout), &f); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		out := map[string]string{}
		for _, g := range f.Groups {
			out[g.Name] = g.State
		}
		return out
	}
	_, r := said(t, above, "-all -id 1 -accept-data-loss 1 -json")
	if got, want := states(r), (map[string]string{"a": stateReady, "b": stateHeld, "empty": stateEmpty, "alone": stateAlone}); !reflect.DeepEqual(got, want) || r.status != exitHeld {
		t.Errorf("they are %v (exit %d), and should be %v", got, r.status, want)
	}
	_, r = said(t, above, "-all -id 1 -accept-data-loss 1 -json -despite learner")
	if got, want := states(r), (map[string]string{"a": stateBegun, "b": stateBegun, "empty": stateEmpty, "alone": stateAlone}); !reflect.DeepEqual(got, want) || r.status != exitGood {
		t.Errorf("they are %v (exit %d), and should be %v", got, r.status, want)
	}
	_, r = said(t, above, "-all -id 1 -accept-data-loss 1 -json")
	if got, want := states(r), (map[string]string{"a": stateAlone, "b": stateAlone, "empty": stateEmpty, "alone": stateAlone}); !reflect.DeepEqual(got, want) || r.status != exitGood {
		t.Errorf("again, they are %v (exit %d), and should be %v", got, r.status, want)
	}
}

// TestALineageKeepsWhatTheMemberHad compares the log with what it was, down to its
// last entry, and has the core lead with it.
func TestALineageKeepsWhatTheMemberHad(t *testing.T) {
	m := full(t)
	m.close()
	above := filepath.Join(t.TempDir(), "disks")
	if err := errors.Join(os.Mkdir(above, 0o755), os.Rename(m.dir, filepath.Join(above, "1"))); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(above, "1")
	type kept struct {
		r       raftcore.Recovered
		entries []raftcore.Entry
	}
	before := map[string]kept{}
	groups := []string{"orders", "stock", "large"}
	for _, group := range groups {
		r, _, entries := imported(t, dir, group)
		before[group] = kept{r, entries}
	}
	if text, r := said(t, above, "-all 1 -id 2 -learners 3 -accept-data-loss"); r.status != exitGood {
		t.Fatal(text)
	}
	clusters := map[raftcore.ClusterID]bool{0xc1: true}
	for _, group := range groups {
		was := before[group]
		r, boot, entries := imported(t, dir, group)
		h := r.HardState
		if h.Term != was.r.HardState.Term+1 || h.Vote != 2 || !h.Joined || clusters[h.Cluster] || r.Incarnation != was.r.Incarnation || r.Last != was.r.Last+1 || r.Base != was.r.Base {
			t.Errorf("%s is %+v, and was %+v", group, r, was.r)
		}
		clusters[h.Cluster] = true
		if last := entries[len(entries)-1]; !reflect.DeepEqual(entries[:len(entries)-1], was.entries) || last.Term != h.Term || !last.Config.Equal(raftcore.ConfState{Voters: []raftcore.NodeID{2}, Learners: []raftcore.NodeID{3}}) {
			t.Errorf("%s: the log is another one, or ends with %v", group, &last)
		}
		if n, err := raftcore.New(raftcore.Config{ID: 2, Boot: boot}, r); err != nil {
			t.Errorf("%s does not start: %v, %v", group, n, err)
		}
	}
}

func TestMistakesWithLineages(t *testing.T) {
	above := survivors(t, survivor{terms: ofTerms(1, 1), hard: at(1)}, survivor{terms: ofTerms(1, 1), hard: at(1)})
	if err := os.CopyFS(filepath.Join(above, "3"), os.DirFS(filepath.Join(above, "1"))); err != nil {
		t.Fatal(err)
	}
	names := segmentsOf(t, filepath.Join(above, "2"))
	flip(t, names[0], 20)
	text := ""
	for _, line := range []string{
		"", "1", "-group kv", "-group kv -all 1", "-group kv 1 1", "-group kv 1 -id x", "-group kv 1 -accept-data-loss", "-group kv 1 -id 1 -learners 1,2",
		"-group kv 1 -learners 2,,3", "-group kv 1 -learners 2,2", "-group kv 1 -learners 0", "-group kv 1 -despite all", "-group kv 1 2", "-group kv 2 -id 2 -accept-data-loss", "-group kv 1 3", "-group kv 1 9",
	} {
		more, r := said(t, above, line)
		if r.status == exitGood || r.status == exitHeld || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: it was %+v", line, r)
		}
		text += more
	}
	golden(t, "lineage-mistakes", above, text)
}

// TestP8_AStoreThatIsOpenBeginsNoLineage: neither the one to go on from, nor one to
// compare with: who is alive is not lost.
func TestP8_AStoreThatIsOpenBeginsNoLineage(t *testing.T) {
	above := survivors(t, survivor{terms: ofTerms(1, 1), hard: at(1)}, survivor{terms: ofTerms(1), hard: at(1)})
	for open, line := range map[string]string{"1": "-group kv 1 -id 1 -accept-data-loss", "2": "-group kv 1 2 -id 1 -accept-data-loss -despite quorum"} {
		s, err := badgerstore.Dir(filepath.Join(above, open)).Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, r := said(t, above, line); r.status != exitFailed || !strings.Contains(r.stderr, "/"+open+" is in use") || r.stdout != "" {
			t.Errorf("%s: %+v", line, r)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJSONOfALineageHasTheSameFacts makes the text out of the JSON.
func TestJSONOfALineageHasTheSameFacts(t *testing.T) {
	five := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3, 4, 5}}
	above := survivors(t, survivor{terms: ofTerms(1, 1, 2), hard: at(2), conf: &five}, survivor{terms: ofTerms(1, 1, 2, 2), hard: at(2), conf: &five})
	for _, line := range []string{"-all 1 2", "-group kv 2 1 -learners 4", "-group kv 1 -id 9 -despite stranger"} {
		_, plain := said(t, above, line)
		_, asJSON := said(t, above, line+" -json")
		var f lineageFacts
		in := json.NewDecoder(strings.NewReader(asJSON.stdout))
		in.DisallowUnknownFields()
		if err := in.Decode(&f); err != nil || in.More() {
			t.Errorf("%s: this is not one document: %v\n%s", line, err, asJSON.stdout)
			continue
		}
		var text strings.Builder
		f.text(&text)
		if text.String() != plain.stdout || plain.status != asJSON.status || plain.stderr != asJSON.stderr {
			t.Errorf("%s: the JSON says\n%s%s\nand the text\n%s%s", line, text.String(), asJSON.stderr, plain.stdout, plain.stderr)
		}
	}
	more, _ := said(t, above, "-group kv 2 1 -json")
	golden(t, "lineage-json", above, more)
}
