//go:build unix

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// version1 is the last commit whose programs speak version 1 of the wire between hosts.
const version1 = "e90c73b08e9eb8080934f2549ff3d9e2d8bad50d"

// TRAPS O3: the members of a real old program become members of today's, one after the
// other, without a stop. On the way the old leads the new and the new lead the old; each
// takes over what the others' logs and disks have, while clients write.
func TestO3_ARollingUpgradeOfARealOldProgram(t *testing.T) {
	old := buildOld(t)
	ports := freePorts(t, 6)
	c := prepareCluster(t, ports[:3], ports[3:])
	for _, m := range c.members {
		m.binary = old
	}
	c.start()
	l := c.startLoad(*clients)
	n := &nemesis{cluster: c, load: l}
	for upgraded, m := range c.members {
		c.say("member %d is upgraded", m.id)
		m.kill()
		m.binary, _ = build()
		m.restart()
		for _, leader := range []int{upgraded + 1, upgraded} { // one of the old, if there are any, and one of the new
			if leader < len(c.members) {
				c.haveLead(n, c.members[leader])
			}
		}
	}
	history := l.finish()
	c.settle()
	c.checkAnswers(history)
	c.checkKept(history)
	c.checkLinearizable(history)
	if t.Failed() {
		c.writeHistory(history)
	}
}

// haveLead kills leaders until this member is the leader, and has committed something.
func (c *cluster) haveLead(n *nemesis, m *member) {
	c.t.Helper()
	for range 20 {
		leader := c.leader()
		if leader == m {
			c.say("member %d leads", m.id)
			n.takeover()
			return
		}
		leader.kill()
		n.takeover()
		leader.restart()
	}
	c.t.Errorf("member %d never leads", m.id)
}

// buildOld builds the program as it was.
func buildOld(t *testing.T) string {
	t.Helper()
	git := func(args ...string) *exec.Cmd {
		cmd := exec.Command("git", args...)
		cmd.Dir = "../.."
		return cmd
	}
	if out, err := git("cat-file", "-e", version1+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("the project's history, of which the old program is built, is not here: %v %s", err, bytes.TrimSpace(out))
	}
	dir := t.TempDir()
	archive := filepath.Join(dir, "archive.tar")
	if out, err := git("archive", "-o", archive, version1).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xf", archive, "-C", tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary, err := buildIn(tree, filepath.Join(dir, "kv"))
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
