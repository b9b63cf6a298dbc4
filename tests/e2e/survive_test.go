//go:build unix

package e2e

import (
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	duration = flag.Duration("duration", 20*time.Second, "how long TestD2E4C1_AcknowledgedWritesSurvive goes on")
	clients  = flag.Int("clients", 12, "how many clients it has")
)

// TRAPS D2, E4, C1, C4, C6: members are killed and paused under load, again and
// again. What was acknowledged is there at the end, once, on all members; what
// was rejected is not; and all reads and writes are linearizable.
func TestD2E4C1_AcknowledgedWritesSurvive(t *testing.T) {
	c := newCluster(t)
	l := c.startLoad(*clients)
	n := &nemesis{cluster: c, load: l}
	deadline := time.Now().Add(*duration)
	for i := 0; time.Now().Before(deadline); i++ {
		n.strike(i)
		n.breathe()
	}
	history := l.finish()
	n.report(history)
	c.settle()
	c.checkAnswers(history)
	c.checkKept(history)
	c.checkLinearizable(history)
	if n.leaders == 0 || n.pauses == 0 {
		t.Errorf("too short to prove anything: %v", *duration)
	}
	if t.Failed() {
		c.writeHistory(history)
	}
}

// nemesis does harm.
type nemesis struct {
	*cluster
	load                                         *load
	leaders, followers, majorities, alls, pauses int
	takeovers                                    []time.Duration
}

// strike does one kind of harm after the other, mostly to the leader, and mends
// it.
func (n *nemesis) strike(i int) {
	leader := n.leader()
	followers := slices.DeleteFunc(slices.Clone(n.members), func(m *member) bool { return m == leader })
	rand.Shuffle(len(followers), func(i, j int) { followers[i], followers[j] = followers[j], followers[i] })
	switch i % 8 {
	case 0, 3, 6:
		n.say("kill -9 the leader, member %d", leader.id)
		n.leaders++
		leader.kill()
		n.takeovers = append(n.takeovers, n.takeover())
		leader.restart()
	case 1:
		n.say("stop the leader, member %d, for six election timeouts", leader.id)
		n.pauses++
		leader.signal(syscall.SIGSTOP)
		n.checkDoubleStart(leader)
		n.wait(6)
		leader.signal(syscall.SIGCONT)
		leader.caughtUp()
	case 4:
		n.say("kill -9 a follower, member %d, and then the leader, member %d", followers[0].id, leader.id)
		n.majorities++
		followers[0].kill()
		leader.kill()
		n.wait(1)
		followers[0].start()
		leader.restart()
		followers[0].caughtUp()
	case 5:
		n.say("stop a follower, member %d, for six election timeouts", followers[0].id)
		n.pauses++
		followers[0].signal(syscall.SIGSTOP)
		n.wait(6)
		followers[0].signal(syscall.SIGCONT)
		followers[0].caughtUp()
	case 2:
		n.say("kill -9 all three")
		n.alls++
		for _, m := range n.members {
			m.signal(syscall.SIGKILL)
		}
		for _, m := range n.members {
			m.kill()
			m.start()
		}
		for _, m := range n.members {
			m.caughtUp()
		}
	case 7:
		n.say("kill -9 a follower, member %d", followers[0].id)
		n.followers++
		followers[0].kill()
		n.wait(2)
		followers[0].restart()
	}
}

// takeover waits until clients are served again, and returns how long that took.
func (n *nemesis) takeover() time.Duration {
	began, done := time.Now(), n.load.done.Load()
	// The clients of the other members were waiting for the leader as well; some
	// of their requests may have been answered before it died.
	n.eventually("nobody is served after the leader died", func() bool { return n.load.done.Load() >= done+int64(*clients) })
	return time.Since(began)
}

// checkDoubleStart: TRAPS P8. While the process lives, and be it stopped, nobody
// else opens its directory.
func (n *nemesis) checkDoubleStart(m *member) {
	args := m.args()
	for i, a := range args {
		if strings.HasPrefix(a, "127.0.0.1:") {
			args[i] = "127.0.0.1:0"
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	second := exec.CommandContext(ctx, m.binary, append(args, "-listen", "127.0.0.1:0")...)
	second.Stdout = io.Discard
	var stderr strings.Builder
	second.Stderr = &stderr
	if err := second.Run(); err == nil || !strings.Contains(stderr.String(), "in use by another process") {
		n.t.Errorf("a second process on the directory of member %d: %v, %s", m.id, err, stderr.String())
	}
}

// breathe lets the clients work for a moment.
func (n *nemesis) breathe() {
	done := n.load.done.Load()
	n.eventually("nobody is served", func() bool { return n.load.done.Load() > done+200 })
	time.Sleep(time.Duration(rand.Int64N(int64(*election))))
}

func (n *nemesis) wait(timeouts int) { time.Sleep(time.Duration(timeouts) * *election) }

func (n *nemesis) report(history []op) {
	kinds := map[string]int{}
	outcomes := map[outcome]int{}
	for _, o := range history {
		kinds[o.kind]++
		outcomes[o.outcome]++
	}
	n.say("killed: the leader %d times, a follower %d times, both %d times, all three %d times; stopped: one member %d times",
		n.leaders, n.followers, n.majorities, n.alls, n.pauses)
	n.say("%d requests (%d get, %d set, %d once, %d append): %d acknowledged, %d unknown, %d rejected",
		len(history), kinds["get"], kinds["set"], kinds["once"], kinds["append"], outcomes[happened], outcomes[unknown], outcomes[rejected])
	n.say("all clients were served again after the leader's death within %v", rounded(n.takeovers))
}

func rounded(list []time.Duration) []time.Duration {
	var out []time.Duration
	for _, d := range list {
		out = append(out, d.Round(time.Millisecond))
	}
	return out
}
