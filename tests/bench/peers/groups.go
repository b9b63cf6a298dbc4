package peers

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/bench/internal/hosts"
)

// group is three members in this process, and a client on the leader's.
type group interface {
	// propose returns when the leader has applied the command.
	propose(data []byte) error
	// read returns when a linearizable read of the leader's state may be answered.
	read() error
}

// Wirings: in memory, without sockets; or on the disk, and over TCP.
var (
	inMemory = hosts.Wiring{}
	onDisk   = hosts.Wiring{Durable: true, Remote: true}
)

// ours is a group of this library: its leader's.
type ours struct{ leader *actors.Group }

func newOurs(tb testing.TB, w hosts.Wiring) group {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return &ours{hosts.Open(ctx, tb, w.Start(tb, 3))[0]}
}

func (o *ours) propose(data []byte) error {
	_, err := o.leader.Propose(context.Background(), data)
	return err
}

func (o *ours) read() error {
	_, err := o.leader.Read(context.Background(), nil)
	return err
}

// run is a contender's turns.
type run struct {
	name    string
	group   group
	rates   []float64
	cpu     []float64 // seconds of an operation
	allocs  []float64
	latency []time.Duration // in the middle of each turn
}

// turn has clients do the same again and again for a while.
func (r *run) turn(tb testing.TB, clients int, length time.Duration, do func(group) error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	start, cpu := time.Now(), cpuTime()
	done := 0
	for range clients {
		wg.Go(func() {
			var mine []time.Duration
			n, last := 0, start
			for now := start; now.Sub(start) < length; n++ {
				if err := do(r.group); err != nil {
					tb.Errorf("%s: %v", r.name, err)
					return
				}
				now = time.Now()
				if clients == 1 {
					mine = append(mine, now.Sub(last))
				}
				last = now
			}
			mu.Lock()
			defer mu.Unlock()
			done, all = done+n, append(all, mine...)
		})
	}
	wg.Wait()
	took := time.Since(start)
	r.cpu = append(r.cpu, (cpuTime()-cpu).Seconds()/float64(done))
	runtime.ReadMemStats(&after)
	r.rates = append(r.rates, float64(done)/took.Seconds())
	r.allocs = append(r.allocs, float64(after.Mallocs-before.Mallocs)/float64(done))
	if len(all) > 0 {
		slices.Sort(all)
		r.latency = append(r.latency, all[len(all)/2])
	}
}

func median[T float64 | time.Duration](all []T) T {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

// compare has groups take turns, and reports what each did in the middle of its turns, and
// how much ours did against each other: the ratios of turns that stand together, the one in
// the middle. The noise of a shared machine falls on neighbours alike.
func compare(b *testing.B, clients int, runs []*run, do func(group) error) {
	const length = 400 * time.Millisecond
	for _, r := range runs {
		r.turn(b, clients, length, do) // to warm up
		r.rates, r.cpu, r.allocs, r.latency = nil, nil, nil, nil
	}
	b.ResetTimer()
	turns := max(b.N, 5)
	for range turns {
		for _, r := range runs {
			r.turn(b, clients, length, do)
		}
	}
	b.StopTimer()
	us := runs[0]
	for _, r := range runs {
		b.ReportMetric(median(r.rates), r.name+"/s")
		b.ReportMetric(median(r.allocs), r.name+"-allocs")
		if clients == 1 {
			b.ReportMetric(float64(median(r.latency).Microseconds()), r.name+"-p50-us")
		}
		if r == us {
			continue
		}
		var ratios, cheaper, slower []float64
		for i := range r.rates {
			ratios = append(ratios, us.rates[i]/r.rates[i])
			cheaper = append(cheaper, r.cpu[i]/us.cpu[i])
			if clients == 1 {
				slower = append(slower, float64(us.latency[i])/float64(r.latency[i]))
			}
		}
		b.ReportMetric(median(ratios), us.name+"/"+r.name)
		b.ReportMetric(median(cheaper), us.name+"/"+r.name+"-by-cpu")
		if clients == 1 {
			b.ReportMetric(median(slower), us.name+"/"+r.name+"-p50")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// cpuTime returns what this process has computed, the garbage collector
// included. Where others take the processors away it says more than the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
