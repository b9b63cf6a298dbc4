package rafttest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
)

// On each lane packets arrive in the order in which they were sent, and between lanes in any,
// the same for the same seed; and a link knows when the log would wait.
func TestLanesOvertakeOneAnother(t *testing.T) {
	type packet struct {
		lane   actors.Lane
		number int
	}
	run := func(seed uint64) (arrived []packet) {
		synctest.Test(t, func(t *testing.T) {
			n := NewNetwork(seed)
			var mu sync.Mutex
			one, two := n.Transport("one"), n.Transport("two")
			sent := map[*actors.Packet]int{}
			for _, err := range []error{
				one.Start(nil, 1, func(*actors.Packet) {}),
				two.Start(nil, 2, func(p *actors.Packet) {
					mu.Lock()
					defer mu.Unlock()
					arrived = append(arrived, packet{p.Lane, sent[p]})
				}),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			link := one.Link("two", func(actors.LinkEvent) {})
			waits := link.(interface{ LogWaits() bool })
			n.SetFaults(0, 10*time.Millisecond)
			if waits.LogWaits() {
				t.Error("nothing is under way, and the log waits")
			}
			for i := range 300 {
				p := &actors.Packet{From: 1, Lane: actors.Lane(i) % actors.Lanes}
				mu.Lock()
				sent[p] = i
				mu.Unlock()
				if !link.Send(p) {
					t.Fatal("it is not taken")
				}
				if p.Lane == actors.LaneLog && !waits.LogWaits() {
					t.Error("entries are under way, and the log does not wait")
				}
			}
			time.Sleep(time.Second) // fake
			if waits.LogWaits() {
				t.Error("everything has arrived, and the log waits")
			}
			if n.overtakes == 0 {
				t.Error("nothing is counted")
			}
			for _, end := range []actors.Transport{one, two} {
				if err := end.Stop(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		})
		return arrived
	}
	arrived := run(1)
	if len(arrived) != 300 {
		t.Fatalf("%d of 300 have arrived", len(arrived))
	}
	byNumber := func(a, b packet) int { return a.number - b.number }
	if slices.IsSortedFunc(arrived, byNumber) {
		t.Error("nothing has overtaken anything")
	}
	for lane := range actors.Lanes {
		of := slices.DeleteFunc(slices.Clone(arrived), func(p packet) bool { return p.lane != lane })
		if !slices.IsSortedFunc(of, byNumber) {
			t.Errorf("on lane %d they arrive as %v", lane, of)
		}
	}
	if again := run(1); !slices.Equal(arrived, again) {
		t.Error("the same seed does something else")
	}
	if other := run(2); slices.Equal(arrived, other) {
		t.Error("another seed does the same")
	}
}
