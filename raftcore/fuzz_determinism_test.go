package raftcore_test

import (
	"encoding/json"
	"fmt"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// FuzzDeterminism lets a script of FuzzStep happen twice, and writes down what
// every start of every node was given and what it wanted. All of that must be the
// same, byte for byte; and so must what a node wants that begins with the same
// Recovered and is given the same inputs again.
func FuzzDeterminism(f *testing.F) {
	seeds(f, 23)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > longest/2 {
			t.Skip("no input as long as this is tried: shorter ones find more in the same time")
		}
		first, second := writtenDown(t, script), writtenDown(t, script)
		if len(first) != len(second) {
			t.Fatalf("%d starts, then %d", len(first), len(second))
		}
		for i, s := range first {
			same(t, i, "when all of it happens again", s.told, second[i].told)
			same(t, i, "when it is started from the same disk", s.told, s.again(t))
		}
	})
}

// chapter is one start of a node: what it was given, and what it wanted.
type chapter struct {
	*script
	told []string
}

func same(t *testing.T, start int, when string, first, second []string) {
	t.Helper()
	for k := range max(len(first), len(second)) {
		if k >= len(first) || k >= len(second) || first[k] != second[k] {
			t.Fatalf("start %d wants something else %s, in batch %d:\n\t%v\n\t%v", start, when, k, first[k:min(k+1, len(first))], second[k:min(k+1, len(second))])
		}
	}
}

// again gives a new node the same inputs.
func (c *chapter) again(t *testing.T) []string {
	t.Helper()
	var told []string
	for _, out := range c.perform(t) {
		told = append(told, tell(&out))
	}
	return told
}

// writtenDown runs a script.
func writtenDown(t *testing.T, bytes []byte) []chapter {
	w := newWorld(t, bytes)
	var all []chapter
	w.starts = func(n *scriptedNode) {
		if n.story != nil {
			all = append(all, chapter{n.story, n.told})
		}
	}
	for _, n := range w.nodes {
		w.crash(n, 0, 2)
	}
	w.lives()
	for _, n := range w.nodes {
		w.starts(n)
	}
	return all
}

// begin opens a new chapter for a node that has just been started.
func (w *world) begin(n *scriptedNode, tail int) {
	w.starts(n)
	r := n.disk.recovered(n.life, tail)
	r.Applied = n.applied
	s := &script{cfg: n.cfg, recovered: r}
	n.story, n.told = s, nil
	n.record = func(batch []Input) { s.batches = append(s.batches, batch) }
}

// tell tells an Output to the last byte; that a slice is nil or empty it does
// not.
func tell(out *Output) string {
	type message struct {
		Message
		Kind string
	}
	var all []message
	for _, m := range out.Send {
		all = append(all, message{m, fmt.Sprintf("%T", m.Body)})
	}
	tags := func(a Apply) Apply {
		return Apply{Entries: append([]Entry(nil), a.Entries...), Tags: append([]TagAt(nil), a.Tags...)}
	}
	text, err := json.Marshal(struct {
		Save    Save
		Load    []Load
		Send    []message
		Apply   Apply
		Restore *SnapshotMeta
		Reads   []ReadReady
		Replies []Reply
		Stages  []StageAt
		Flags   []bool
		At      Instant
	}{
		out.Save, append([]Load(nil), out.Load...), all, tags(out.Apply), out.Restore,
		append([]ReadReady(nil), out.Reads...), append([]Reply(nil), out.Replies...), append([]StageAt(nil), out.Stages...),
		[]bool{out.Compact, out.StatusChanged, out.Quiescent}, out.Deadline,
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}
