//go:build !race

package lineage

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// TestM18_WhereverTheToolIsKilledEachGroupHasOneLineage kills castaway-disk in each
// system call that changes the disk, and has each of them fail. Afterwards both
// groups have their old lineage, or both the new one, and who runs it again gets
// there.
func TestM18_WhereverTheToolIsKilledEachGroupHasOneLineage(t *testing.T) {
	if out, err := exec.Command("strace", "-f", "-q", "-o", os.DevNull, "-e", "trace=fsync", "--inject=fsync:error=EIO:when=1", "true").CombinedOutput(); err != nil {
		t.Skipf("not checked: what becomes of a lineage when castaway-disk is killed. That needs strace, and that it may trace: %v %s", err, out)
	}
	w := newIslands(t, 0)
	whole := filepath.Join(w.above, "whole")
	found(t, whole, "a", "b")
	seen := map[string]int{}
	for _, call := range []string{"fdatasync", "pwrite64", "fallocate", "fsync", "msync", "/^rename", "ftruncate", "/^unlink", "write"} {
		for _, what := range []string{"signal=KILL", "error=EIO"} {
			for n, ended := 1, false; !ended; n++ {
				dir := filepath.Join(w.above, "broken")
				if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				fault := fmt.Sprintf("%s:%s:when=%d", call, what, n)
				trace := filepath.Join(w.above, "trace")
				out, _ := exec.Command("strace", "-f", "-q", "-o", trace, "-e", "trace="+call, "--inject="+fault,
					w.tool, "lineage", "-all", "-id", "1", "-accept-data-loss", dir).CombinedOutput()
				text, err := os.ReadFile(trace)
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				ended = !strings.Contains(string(text), "INJECTED") && !strings.Contains(string(text), "killed by SIGKILL")
				states := w.states(dir)
				seen[states]++
				durable := strings.Contains(string(out), "It is durable")
				if states != "ready ready" && states != "alone alone" || states == "ready ready" && (durable || ended) {
					t.Errorf("%s: the groups are %q, and it said\n%s", fault, states, out)
				}
				again, err := exec.Command(w.tool, "lineage", "-all", "-id", "1", "-accept-data-loss", dir).CombinedOutput()
				if now := w.states(dir); err != nil || now != "alone alone" {
					t.Errorf("%s: again, it ends with %v, and they are %q\n%s", fault, err, now, again)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if seen["ready ready"] == 0 || seen["alone alone"] == 0 {
		t.Errorf("the groups were %v: too early, or too late", seen)
	}
}

// states asks the tool what would become of the groups.
func (w *islands) states(dir string) string {
	w.t.Helper()
	var facts struct{ Groups []struct{ State string } }
	out, err := exec.Command(w.tool, "lineage", "-all", "-id", "1", "-json", dir).Output()
	if jsonErr := json.Unmarshal(out, &facts); jsonErr != nil {
		w.t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	var states []string
	for _, g := range facts.Groups {
		states = append(states, g.State)
	}
	return strings.Join(states, " ")
}

// found makes a store with groups of three in it, as hosts do.
func found(t *testing.T, dir string, groups ...string) {
	t.Helper()
	s, err := badgerstore.Dir(dir).Open()
	if err != nil {
		t.Fatal(err)
	}
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}
	for _, name := range groups {
		o, err := s.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		save := raftcore.Save{
			Token:     raftcore.Token{Boot: o.Boot, Sequence: 1},
			HardState: raftcore.HardState{Term: 1, Vote: 1, Cluster: 7, Joined: true},
			Entries:   []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryConfig, Config: &conf}},
		}
		if err := s.Save([]persistence.Save{{Group: o.Group, Save: save}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
