package flight

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// alone is a group of one, whose disk and machine are quick.
type alone struct {
	node *raftcore.Node
	out  raftcore.Output
	now  raftcore.Instant
}

func newAlone(t testing.TB) *alone {
	t.Helper()
	n, err := raftcore.New(raftcore.Config{ID: 1, Boot: 7, Seed: 5}, raftcore.Recovered{Incarnation: 3})
	if err != nil {
		t.Fatal(err)
	}
	return &alone{node: n, now: 1}
}

func (a *alone) found() {
	a.step(raftcore.Bootstrap{Cluster: 9, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}})
	for range 10 {
		a.step(raftcore.Tick{Now: a.now})
	}
}

// step steps, drains, and does what the node wants.
func (a *alone) step(in raftcore.Input) {
	a.now = a.now.Add(time.Millisecond)
	a.node.Step(raftcore.Tick{Now: a.now, Time: 1000})
	a.node.Step(in)
	a.node.Drain(&a.out)
	for !a.out.Empty() {
		if token := a.out.Save.Token; token.Sequence != 0 {
			a.node.Step(raftcore.Saved{Token: token})
		}
		if e := a.out.Apply.Entries; len(e) > 0 {
			a.node.Step(raftcore.Applied{Index: e[len(e)-1].Index})
		}
		a.node.Drain(&a.out)
	}
}

// fail tells the node of a Save that never was, and returns what it panics with.
func (a *alone) fail() (reason any) {
	defer func() { reason = recover() }()
	a.node.Step(raftcore.Saved{Token: raftcore.Token{Boot: 7, Sequence: math.MaxUint32}})
	return nil
}

func (r *Recorder) kept() int { return r.past.length + r.present.length }

func TestAStoryPlayedBackEndsInTheSameFault(t *testing.T) {
	for _, before := range []int{0, 10, 20_000} {
		a := newAlone(t)
		r := Record(a.node, NewBounds(0))
		a.found()
		for range before {
			a.step(raftcore.Propose{Tag: 4, Data: []byte("a secret")})
		}
		if err := r.Check(a.node); err != nil {
			t.Fatal(err)
		}
		reason := a.fail()
		var broken *raftcore.InvariantError
		if err, _ := reason.(error); !errors.As(err, &broken) || broken.Rule != raftcore.RuleSaveCompletes {
			t.Fatalf("it fails with %v", reason)
		}
		s := r.Story(fmt.Sprint(reason))
		s.Group, s.Node, s.Boot = "a \"group\"\nof mine", 1, 7
		file := s.Encode()
		if bytes.Contains(file, []byte("secret")) {
			t.Error("it tells what was proposed")
		}
		for _, want := range []string{"saved #4294967295", "Played back, it ends in the same fault.", string(raftcore.RuleSaveCompletes)} {
			if !bytes.Contains(file, []byte(want)) {
				t.Errorf("it does not say %q:\n%s", want, file)
			}
		}
		again, err := Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		if again.Group != s.Group || again.Node != 1 || again.Boot != 7 || again.Fault != s.Fault || again.Program != s.Program {
			t.Errorf("%+v came back as %+v", s, again)
		}
		broken = nil
		if err := again.Replay(nil); !errors.As(err, &broken) || broken.Rule != raftcore.RuleSaveCompletes || !again.Same(err) {
			t.Errorf("played back, it ends with %v", err)
		}
	}
}

// A story whose fault is not in it says so.
func TestAStoryThatDoesNotFailSaysSo(t *testing.T) {
	a := newAlone(t)
	r := Record(a.node, NewBounds(0))
	a.found()
	s := r.Story("something else")
	if file := s.Encode(); !bytes.Contains(file, []byte("DOES NOT FAIL")) {
		t.Errorf("it says\n%s", file)
	}
	if err := s.Replay(nil); err != nil || s.Same(err) {
		t.Errorf("played back, it ends with %v", err)
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	const recorders = 64
	b := NewBounds(recorders * 2 * minPart)
	var all []*Recorder
	for range recorders {
		a := newAlone(t)
		r := Record(a.node, b)
		all = append(all, r)
		a.found()
		for range 1000 {
			a.step(raftcore.Propose{Tag: 4, Data: []byte("a command")})
		}
		if err := r.Check(a.node); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.active.Load(); got != recorders {
		t.Errorf("%d of %d are counted", got, recorders)
	}
	for i, r := range all {
		part := max(int(b.bytes)/2/(i+1), minPart) // what was its share when it was told
		if most := 3 * min(part, maxPart); r.kept() > most || r.kept() == 0 {
			t.Errorf("recorder %d keeps %d bytes, more than %d", i, r.kept(), most)
		}
		r.Rest()
		r.Rest()
		if r.kept() != 0 || len(r.past.space)+len(r.present.space) != 0 {
			t.Error("a recorder that rests keeps something")
		}
	}
	if got := b.active.Load(); got != 0 {
		t.Errorf("%d are counted when all rest", got)
	}
}

func TestAStoryThatEndsOtherwiseSaysSo(t *testing.T) {
	a := newAlone(t)
	r := Record(a.node, NewBounds(0))
	a.found()
	a.fail()
	s := r.Story("something else")
	if err := s.Replay(nil); err == nil || s.Same(err) || !bytes.Contains(s.Encode(), []byte("ENDS OTHERWISE: raftcore: node 1 broke")) {
		t.Errorf("played back, it ends with %v, and says\n%s", err, s.Encode())
	}
}

// After a rest there is a story again.
func TestAStoryBeginsAnewAfterARest(t *testing.T) {
	a := newAlone(t)
	r := Record(a.node, NewBounds(0))
	a.found()
	r.Rest()
	a.step(raftcore.Propose{Tag: 4, Data: []byte("x")})
	if err := r.Check(a.node); err != nil {
		t.Fatal(err)
	}
	r.Rest()
	s := r.Story(fmt.Sprint(a.fail()))
	if err := s.Replay(nil); !s.Same(err) {
		t.Errorf("played back, it ends with %v", err)
	}
}

// A state that does not fit is not kept: the entries that wait for a disk that stalls, say.
func TestAStateThatIsTooLargeIsNotKept(t *testing.T) {
	a := newAlone(t)
	r := Record(a.node, NewBounds(0))
	a.found()
	drain := func() {
		for range 3 * minPart {
			a.now++
			a.node.Step(raftcore.Tick{Now: a.now})
			a.node.Drain(&a.out)
		}
	}
	for range minPart {
		a.node.Step(raftcore.Propose{Tag: 4, Data: []byte("x")})
	}
	a.node.Drain(&a.out)
	save, apply := a.out.Save.Token, a.out.Apply
	drain()
	if r.kept() != 0 {
		t.Fatalf("%d bytes are kept", r.kept())
	}
	file := r.Story("a fault").Encode()
	if s, err := Parse(file); err != nil || s.Recorded() || !errors.Is(s.Replay(nil), ErrMalformed) || !bytes.Contains(file, []byte("too large")) {
		t.Errorf("%v\n%s", err, file)
	}
	if len(apply.Entries) > 0 {
		t.Fatal("something is applied that is not saved")
	}
	a.node.Step(raftcore.Saved{Token: save})
	a.node.Drain(&a.out)
	for len(a.out.Apply.Entries) > 0 {
		a.node.Step(raftcore.Applied{Index: a.out.Apply.Entries[len(a.out.Apply.Entries)-1].Index})
		a.node.Drain(&a.out)
	}
	drain()
	if r.kept() == 0 {
		t.Error("nothing is kept when it fits again")
	}
	if err := r.Check(a.node); err != nil {
		t.Error(err)
	}
}

func TestARecordingThatGoesOnAllocatesNothing(t *testing.T) {
	a := newAlone(t)
	entries := []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 1, Index: 2}, Kind: raftcore.EntryCommand}}
	request := &raftcore.AppendRequest{Entries: entries}
	cost := func() float64 {
		n := raftcore.Tag(0)
		step := func() {
			n++
			a.node.Step(raftcore.Tick{Now: 5, Time: int64(n)})
			a.node.Step(raftcore.Propose{Tag: n})
			a.node.Step(raftcore.Read{Tag: n})
			a.node.Step(raftcore.Saved{Token: raftcore.Token{Boot: uint64(n)}})
			a.node.Step(raftcore.Applied{})
			a.node.Step(raftcore.Loaded{Load: raftcore.Load{For: 2}, Entries: entries})
			a.node.Step(raftcore.Unreachable{Peer: raftcore.NodeID(n)})
			a.node.Step(raftcore.SnapshotSent{Peer: 2, Index: raftcore.Index(n)})
			a.node.Step(raftcore.Receive{Message: raftcore.Message{From: 1, Body: request}}) // refused
			a.node.Drain(&a.out)
		}
		for range 10_000 {
			step()
		}
		return testing.AllocsPerRun(10_000, step)
	}
	without := cost()
	Record(a.node, NewBounds(0))
	if with := cost(); with > without {
		t.Errorf("%v allocations, and %v without a recorder", with, without)
	}
}

func TestDamagedStoriesAreRefused(t *testing.T) {
	a := newAlone(t)
	r := Record(a.node, NewBounds(0))
	a.found()
	file := r.Story(fmt.Sprint(a.fail())).Encode()
	at := bytes.LastIndex(file, []byte(recordingLine)) + len(recordingLine) + 1
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 4
		s, err := Parse(damaged)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if i >= at && err == nil {
			t.Fatalf("byte %d of the recording is damaged, and nobody notices", i-at)
		}
		if err == nil {
			_ = s.Replay(nil)
		}
		if _, err := Parse(file[:i]); err == nil && i < len(file)-1 { // the last one ends the line
			t.Fatalf("a story that ends after %d of %d bytes is taken", i, len(file))
		}
	}
}

// What comes from elsewhere may be anything: a replay ends, and takes no more memory than
// the recording says.
func FuzzReplay(f *testing.F) {
	a := newAlone(f)
	r := Record(a.node, NewBounds(0))
	a.found()
	f.Add(r.present.space[:r.present.length], r.present.inputs)
	f.Fuzz(func(_ *testing.T, recording []byte, inputs int) {
		if inputs > 0 && inputs <= len(recording) {
			s := Story{parts: [2]part{{}, {space: recording, length: len(recording), inputs: inputs}}}
			_ = s.Replay(func(string) {})
		}
	})
}

func TestTheFirstStoriesAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	a := newAlone(t)
	r := Record(a.node, NewBounds(0))
	a.found()
	s := r.Story(fmt.Sprint(a.fail()))
	for i := range MaxStories {
		s.Boot = uint64(i)
		name, err := s.Write(nil, dir)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(file, s.Encode()) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	s.Boot++
	if _, err := s.Write(nil, dir); !errors.Is(err, ErrEnough) || !strings.Contains(err.Error(), dir) {
		t.Errorf("one more: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != MaxStories {
		t.Errorf("there are %d files", len(left))
	}
}

// BenchmarkRecord is what a recording costs a proposal, on the node of a leader.
func BenchmarkRecord(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("recorded=%v", on), func(b *testing.B) {
			a := newAlone(b)
			if on {
				Record(a.node, NewBounds(8<<20))
			}
			a.found()
			data := make([]byte, 16)
			b.ReportAllocs()
			for b.Loop() {
				for range 255 {
					a.node.Step(raftcore.Propose{Tag: 1 << 20, Data: data})
				}
				a.step(raftcore.Propose{Tag: 1 << 20, Data: data})
			}
			b.ReportMetric(float64(b.Elapsed())/float64(256*b.N), "ns/proposal")
		})
	}
}
