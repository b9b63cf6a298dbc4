//go:build unix

package e2e

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var down = flag.Duration("down", 12*time.Second, "how long TestP5P6_MemberDownUnderLoad keeps a member down")

// TRAPS P5, P6: one member is away while the others are written to as fast as
// they can. What is meant for it must not pile up in their memory; and when it
// is back, it is spoken to within two seconds, and catches up.
func TestP5P6_MemberDownUnderLoad(t *testing.T) {
	c := newCluster(t)
	stop := c.writeHard(16)
	defer stop()
	time.Sleep(3 * time.Second) // so that the heaps have their usual size

	leader := c.leader()
	gone := c.members[leader.id%3] // a follower
	others := []*member{leader, c.members[(leader.id+1)%3]}
	before := c.memory(others)
	began := written(t, leader)
	gone.kill()
	c.say("member %d is down; RSS of the others, in MiB: %v", gone.id, before)
	most := 0.0
	var line []string
	for range 10 {
		time.Sleep(*down / 10)
		now := c.memory(others)
		line = append(line, fmt.Sprint(now))
		most = max(most, now[0], now[1])
	}
	missed := written(t, leader) - began
	c.say("over %v: %s", *down, strings.Join(line, " "))
	// More than all bounds on what waits for a peer, and what Badger takes while it
	// compacts (100 to 200 MiB, reached with the first segments that are handed
	// over); less than what is written in a few minutes.
	const bound = 400
	if most > bound {
		t.Errorf("a member swelled to %.0f MiB, more than %d", most, bound)
	}

	gone.start()
	c.eventually("it serves nobody", func() bool { _, err := gone.status(); return err == nil })
	back := time.Now()
	c.eventually("it has no leader", func() bool { s, err := gone.status(); return err == nil && number(s, "leader") != 0 })
	heard := time.Since(back)
	if heard > 2*time.Second {
		t.Errorf("nobody spoke to it for %v", heard)
	}
	gone.caughtUp()
	c.say("it missed %d entries, heard of the leader %v after it was back, and had caught up after %v, under load",
		missed, heard.Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
	stop()
	c.settle()
}

// writeHard writes values of a kilobyte, to keys that are used again, through
// all members that are there. It returns how to stop it.
func (c *cluster) writeHard(clients int) (stop func()) {
	var stopped atomic.Bool
	var writers sync.WaitGroup
	value := strings.Repeat("v", 1024)
	for i := range clients {
		writers.Go(func() {
			for n := i; !stopped.Load(); n++ {
				conn := connect(c.members[n%len(c.members)].redis)
				for !stopped.Load() {
					pipe := conn.Pipeline()
					for k := range 8 {
						pipe.Set(context.Background(), fmt.Sprintf("hard%d.%d", i, (n+k)%100), value, 0)
					}
					if _, err := pipe.Exec(context.Background()); err != nil {
						break // the next member
					}
				}
				conn.Close()
			}
		})
	}
	return sync.OnceFunc(func() {
		stopped.Store(true)
		writers.Wait()
	})
}

func (c *cluster) memory(members []*member) []float64 {
	var list []float64
	for _, m := range members {
		list = append(list, float64(int(m.rss())))
	}
	return list
}

func written(t *testing.T, m *member) int {
	s, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	return number(s, "commit")
}
