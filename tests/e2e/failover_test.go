//go:build unix

package e2e

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var failovers = flag.Int("failovers", 10, "how often TestFailover kills the leader")

// How long nobody can write when the leader dies, in election timeouts: from
// kill -9 to the first write that another member acknowledges. It is printed,
// and not judged: the machine is not ours.
func TestFailover(t *testing.T) {
	c := newCluster(t)
	var times []time.Duration
	for i := range *failovers {
		leader := c.leader()
		for _, m := range c.members {
			m.caughtUp()
		}
		wrote := make(chan time.Time, len(c.members))
		leader.kill()
		killed := time.Now()
		for _, m := range c.members {
			if m != leader {
				go func() { wrote <- c.firstWrite(m, fmt.Sprintf("failover%d", i)) }()
			}
		}
		first := <-wrote
		if first.IsZero() {
			first = <-wrote
		}
		if first.IsZero() {
			t.Fatal("nobody could write for half a minute")
		}
		times = append(times, first.Sub(killed))
		leader.restart()
	}
	slices.Sort(times)
	var all []string
	for _, d := range times {
		all = append(all, fmt.Sprintf("%.2f", c.timeouts(d)))
	}
	c.say("from kill -9 of the leader to the first write, in election timeouts of %v: median %.2f, worst %.2f of %d",
		*election, c.timeouts(times[len(times)/2]), c.timeouts(times[len(times)-1]), len(times))
	c.say("all: %s", strings.Join(all, " "))
}

func (c *cluster) timeouts(d time.Duration) float64 { return d.Seconds() / election.Seconds() }

// firstWrite writes through one member until that succeeds, and returns when it
// did; zero if it never did.
func (c *cluster) firstWrite(m *member, key string) time.Time {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if m.admin.Set(ctx, key, m.id, 0).Err() == nil {
			return time.Now()
		}
	}
	return time.Time{}
}
