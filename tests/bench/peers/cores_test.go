package peers

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/castaway-go/castaway/tests/bench/internal/trio"
)

// contender is who is measured: one round of a batch at a time.
type contender struct {
	name    string
	round   func(batch int, data []byte)
	spent   time.Duration
	mallocs uint64
}

// BenchmarkCores has three bare cores of ours and of etcd's do the same, in turns
// of a few milliseconds: the noise of a shared machine then falls on all alike.
// An operation is one turn of each.
func BenchmarkCores(b *testing.B) {
	for _, turn := range []struct{ batch, rounds int }{{1, 1024}, {16, 256}, {256, 32}} {
		b.Run(fmt.Sprintf("etcd=%s/batch=%d", etcdVersion, turn.batch), func(b *testing.B) { cores(b, turn.batch, turn.rounds) })
	}
}

func cores(b *testing.B, batch, rounds int) {
	ours, err := trio.New()
	if err != nil {
		b.Fatal(err)
	}
	contenders := []*contender{{name: "ours", round: ours.Round}}
	for _, async := range []bool{false, true} {
		e, err := newEtcd(async)
		if err != nil {
			b.Fatal(err)
		}
		contenders = append(contenders, &contender{name: fmt.Sprintf("etcd-async=%v", async), round: e.round})
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
	sync, async := contenders[1], contenders[2]
	best := sync
	if rate(async) > rate(sync) {
		best = async
	}
	for _, c := range contenders {
		b.ReportMetric(rate(c), c.name+"/s")
	}
	b.ReportMetric(float64(contenders[0].mallocs)/done, "ours-allocs")
	b.ReportMetric(float64(best.mallocs)/done, "etcd-allocs")
	b.ReportMetric(rate(contenders[0])/rate(best), "ours/etcd")
	b.ReportMetric(0, "ns/op")
}

// run has c do some rounds, and counts what they cost.
func (c *contender) run(rounds, batch int, data []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range rounds {
		c.round(batch, data)
	}
	c.spent += time.Since(start)
	runtime.ReadMemStats(&after)
	c.mallocs += after.Mallocs - before.Mallocs
}
