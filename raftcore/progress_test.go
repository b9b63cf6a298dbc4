package raftcore

import (
	"math/rand/v2"
	"testing"
)

// The inflight ring against a plain list.
func TestInflightIsWhatAPlainListSays(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		var ring inflight
		var list []sent
		last, match := Index(0), Index(0)
		for range 300 {
			switch r.IntN(5) {
			case 0, 1, 2:
				last += Index(1 + r.IntN(4))
				bytes := r.IntN(1000)
				ring.add(last, bytes)
				list = append(list, sent{last, bytes})
			case 3:
				match = min(last, match+Index(r.IntN(12)))
				if r.IntN(10) == 0 {
					match = match / 2 // an old acknowledgement frees nothing
				}
				ring.free(match)
				for len(list) > 0 && list[0].last <= match {
					list = list[1:]
				}
			case 4:
				if r.IntN(20) == 0 {
					ring.clear()
					list = nil
				}
			}
			bytes := 0
			for _, s := range list {
				bytes += s.bytes
			}
			if ring.count != len(list) || ring.bytes != bytes {
				t.Fatalf("seed %d: %d requests of %d bytes, should be %d of %d", seed, ring.count, ring.bytes, len(list), bytes)
			}
			for i, s := range list {
				if got := ring.ring[(ring.first+i)%len(ring.ring)]; got != s {
					t.Fatalf("seed %d: request %d is %v, should be %v", seed, i, got, s)
				}
			}
			for _, most := range []int{1, len(list), len(list) + 1} {
				if got, want := ring.full(most, 1<<40), len(list) >= most; got != want {
					t.Fatalf("seed %d: %d of %d are full: %v", seed, len(list), most, got)
				}
			}
			if ring.full(1<<40, bytes+1) || !ring.full(1<<40, bytes) {
				t.Fatalf("seed %d: %d bytes are counted wrong", seed, bytes)
			}
		}
	}
}

// The ring does not grow while as many come as go.
func TestInflightReusesItsRing(t *testing.T) {
	var ring inflight
	for i := range Index(1000) {
		ring.add(i+1, 1)
		if i >= 5 {
			ring.free(i - 4)
		}
	}
	if len(ring.ring) > 8 {
		t.Errorf("it has %d places for six requests", len(ring.ring))
	}
}

func TestProgressNeverSendsWhatThePeerHas(t *testing.T) {
	p := progress{match: 7, next: 12, state: ProgressReplicate}
	p.becomeProbe(3)
	if p.next != 8 || p.state != ProgressProbe {
		t.Errorf("%+v", p)
	}
	p.becomeReplicate()
	if p.next != 8 || p.state != ProgressReplicate {
		t.Errorf("%+v", p)
	}
}
