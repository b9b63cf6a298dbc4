package badgerstore

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

var killsFlag = flag.Int("kills", 4, "how many times to kill a writing process")

const killDir = "CASTAWAY_TEST_KILL_DIR"

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var killedGroups = []string{"a", "b", "c"}

// writeUntilKilled saves entries whose data tell which they are, cuts some off
// again now and then, and says on its output what was acknowledged: the last
// index and the term of each group, which tells all before.
func writeUntilKilled(dir string) error {
	s, err := killOptions(dir).Open()
	if err != nil {
		return err
	}
	var opened []persistence.Opened
	for _, name := range killedGroups {
		o, err := s.Open(name)
		if err != nil {
			return err
		}
		opened = append(opened, o)
	}
	fmt.Println("begun")
	out := bufio.NewWriter(os.Stdout)
	for n := 0; ; n++ {
		var saves []persistence.Save
		for i := range opened {
			r := &opened[i].Recovered
			first := r.Last + 1
			if rand.IntN(10) == 0 && r.Last > 20 {
				first -= raftcore.Index(rand.IntN(20))
			}
			r.HardState.Term++
			last := first + raftcore.Index(rand.IntN(30))
			if last < r.Last {
				last = r.Last // so that the index never falls: what was acknowledged last tells the end
			}
			saves = append(saves, saveOf(opened[i], r.HardState.Term, commands(r.HardState.Term, first, last)...))
			r.Last = last
		}
		if err := s.Save(saves); err != nil {
			return err
		}
		for i := range saves {
			e := saves[i].Entries
			fmt.Fprintf(out, "%d %d %d %d\n", i, saves[i].HardState.Term, e[0].Index, e[len(e)-1].Index)
		}
		fmt.Fprintln(out, "saved")
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

func killOptions(dir string) Options {
	o := quiet(dir)
	o.SegmentBytes = 256 << 10
	return o
}

// TestD2_NothingAcknowledgedIsMissingAfterAKill kills a process that writes as
// fast as it can, again and again on the same directory, and looks whether
// everything is there that it was told was durable.
func TestD2_NothingAcknowledgedIsMissingAfterAKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	terms := make([][]raftcore.Term, len(killedGroups)) // of each entry that was acknowledged
	var acknowledged int
	for round := range *killsFlag {
		acknowledged += writeAndKill(t, dir, 20+rng.IntN(300), terms)
		s, err := killOptions(dir).Open()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for i, name := range killedGroups {
			o, err := s.Open(name)
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			terms[i] = checkKilled(t, s, o, terms[i])
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d Saves were acknowledged in %d lives", acknowledged, *killsFlag)
}

// writeAndKill lets a process save n times, kills it, and notes what it said.
func writeAndKill(t *testing.T, dir string, n int, terms [][]raftcore.Term) (acknowledged int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	stderr := &strings.Builder{}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var pending []string
	for killed := false; lines.Scan(); {
		switch line := lines.Text(); line {
		case "begun":
			if _, err := killOptions(dir).Open(); !errors.Is(err, persistence.ErrLocked) {
				t.Errorf("the directory of another process was opened with %v", err)
			}
		case "saved":
			for _, p := range pending {
				note(t, p, terms)
			}
			pending = nil
			acknowledged++
			if acknowledged >= n && !killed {
				killed = true
				cmd.Process.Kill()
			}
		default:
			pending = append(pending, line)
		}
	}
	cmd.Wait()
	if acknowledged < n {
		t.Fatalf("the process ended by itself: %s", stderr)
	}
	return acknowledged
}

// note notes what a line says: entries first to last of a group have this term.
func note(t *testing.T, line string, terms [][]raftcore.Term) {
	var group int
	var term raftcore.Term
	var first, last int
	if _, err := fmt.Sscan(line, &group, &term, &first, &last); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	terms[group] = terms[group][:first-1]
	for range last - first + 1 {
		terms[group] = append(terms[group], term)
	}
}

// checkKilled compares a group with what was acknowledged. One more Save may be
// there, of the term after the last: its entries take the place of others. It
// returns the terms that are there.
func checkKilled(t *testing.T, s persistence.Store, o persistence.Opened, want []raftcore.Term) []raftcore.Term {
	t.Helper()
	got, err := s.Load(o.Group, raftcore.Load{From: 1, To: o.Recovered.Last, MaxBytes: math.MaxInt})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < len(want) {
		t.Fatalf("there are %d entries, %d were acknowledged", len(got), len(want))
	}
	newest := want[len(want)-1]
	terms := make([]raftcore.Term, len(got))
	for i := range got {
		e := &got[i]
		if extra := e.Term == newest+1 && o.Recovered.HardState.Term == newest+1; !extra && (i >= len(want) || e.Term != want[i]) {
			t.Fatalf("entry %d has term %d; the newest acknowledged is %d", e.Index, e.Term, newest)
		}
		if string(e.Data) != fmt.Sprintf("%d/%d", e.Term, e.Index) {
			t.Fatalf("entry %v has data %q", e.EntryID, e.Data)
		}
		terms[i] = e.Term
	}
	if h := o.Recovered.HardState.Term; h != newest && h != newest+1 {
		t.Fatalf("the hard state has term %d, acknowledged is %d", h, newest)
	}
	return terms
}
