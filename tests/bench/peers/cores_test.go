package peers

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/castaway-go/castaway/tests/bench/internal/trio"
)

// contender is who is measured: one round of a batch at a time.
type contender struct {
	name    string
	round   func(batch int, data []byte)
	spent   time.Duration
	turns   []time.Duration
	cpu     time.Duration
	mallocs uint64
}

// BenchmarkCores has three bare cores of ours and of etcd's do the same, in turns
// of about a tenth of a second: the noise of a shared machine then falls on all
// alike, and everybody pays for the garbage that it makes, and for no other's. An
// operation is one turn of each.
func BenchmarkCores(b *testing.B) {
	for _, turn := range []struct{ batch, rounds int }{{1, 1 << 15}, {16, 1 << 14}, {256, 1 << 11}} {
		b.Run(fmt.Sprintf("etcd=%s/batch=%d", etcdVersion, turn.batch), func(b *testing.B) { cores(b, turn.batch, turn.rounds) })
	}
}

func cores(b *testing.B, batch, rounds int) {
	t, err := trio.New()
	if err != nil {
		b.Fatal(err)
	}
	contenders := []*contender{{name: "ours", round: t.Round}}
	for _, async := range []bool{false, true} {
		name := "etcd"
		if async {
			name = "etcd-async"
		}
		e, err := newEtcd(async)
		if err != nil {
			b.Fatal(err)
		}
		contenders = append(contenders, &contender{name: name, round: e.round})
	}

	data := make([]byte, 16)
	const most = 1 << 17 // entries, so that windows are full and arrays have grown
	for _, c := range contenders {
		for n := 0; n < most; n += batch {
			c.round(batch, data)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		for _, c := range contenders {
			c.run(rounds, batch, data)
		}
	}
	b.StopTimer()

	done := float64(b.N * rounds * batch)
	rate := func(c *contender) float64 { return done / c.spent.Seconds() }
	ours, best := contenders[0], contenders[1]
	for _, c := range contenders[2:] {
		if c.spent < best.spent {
			best = c
		}
	}
	for _, c := range contenders {
		b.ReportMetric(rate(c), c.name+"/s")
		b.ReportMetric(float64(c.mallocs)/done, c.name+"-allocs")
	}
	b.ReportMetric(rate(ours)/rate(best), "ours/etcd")
	b.ReportMetric(best.median().Seconds()/ours.median().Seconds(), "ours/etcd-by-median")
	b.ReportMetric(best.cpu.Seconds()/ours.cpu.Seconds(), "ours/etcd-by-cpu")
	b.ReportMetric(0, "ns/op")
}

// run has c do some rounds, and counts what they cost.
func (c *contender) run(rounds, batch int, data []byte) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, cpu := time.Now(), cpuTime()
	for range rounds {
		c.round(batch, data)
	}
	turn := time.Since(start)
	c.spent += turn
	c.turns = append(c.turns, turn)
	c.cpu += cpuTime() - cpu
	runtime.ReadMemStats(&after)
	c.mallocs += after.Mallocs - before.Mallocs
}

// median returns what the turn in the middle took.
func (c *contender) median() time.Duration {
	slices.Sort(c.turns)
	return c.turns[len(c.turns)/2]
}
