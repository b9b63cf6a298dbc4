//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/bench/internal/hosts"
)

// Many groups on three hosts, or on one, in this one process.
//
//	go test ./tests/bench -run '^$' -bench Many -benchtime 1x

// fleet is some hosts, and the groups that they share.
type fleet struct {
	hosts  []*actors.Host
	groups [][]*actors.Group // of each host
}

func startFleet(b *testing.B, w hosts.Wiring, n int) *fleet {
	b.Helper()
	return &fleet{hosts: w.Start(b, n), groups: make([][]*actors.Group, n)}
}

// open opens groups on all hosts, many at a time, and returns when each of them has
// answered on every host.
func (f *fleet) open(b *testing.B, groups int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	first := len(f.groups[0])
	for i := range f.groups {
		f.groups[i] = append(f.groups[i], make([]*actors.Group, groups)...)
	}
	each(b, groups*len(f.hosts), func(k int) error {
		host, i := k%len(f.hosts), first+k/len(f.hosts)
		g, err := f.hosts[host].Open(ctx, actors.GroupConfig{Name: fmt.Sprint("many-", i), Machine: hosts.NewNull})
		f.groups[host][i] = g
		return err
	})
	each(b, groups*len(f.hosts), func(k int) error {
		_, err := f.groups[k%len(f.hosts)][first+k/len(f.hosts)].Read(ctx, nil)
		return err
	})
}

// each calls do for all of n, some at a time.
func each(b *testing.B, n int, do func(int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= n {
					return
				}
				if err := do(k); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// cpu is what this process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// idle waits until the process uses hardly less from one look to the next, and
// returns its share of one core.
func idle() float64 {
	const look = 3 * time.Second
	before := 1e9
	for {
		used := cpu()
		time.Sleep(look)
		share := float64(cpu()-used) / float64(look)
		if share > 0.8*before {
			return share
		}
		before = share
	}
}

// reportMemory reports what the process holds after everything needless is given back.
func reportMemory(b *testing.B) {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MB")
	b.ReportMetric(rss(b), "rss-MB")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
}

func rss(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skipf("what memory the process has is read from /proc/self/status, which is not here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
			if err != nil {
				b.Fatal(err)
			}
			return float64(n) / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// BenchmarkManyIdle has three hosts with many groups in which nothing happens.
func BenchmarkManyIdle(b *testing.B) {
	for _, w := range wirings {
		b.Run(w.String(), func(b *testing.B) {
			for range b.N {
				f := startFleet(b, w, 3)
				start := time.Now()
				f.open(b, 1000)
				b.ReportMetric(time.Since(start).Seconds(), "open-s")
				if w.Durable {
					time.Sleep(12 * time.Second) // until Badger rests
				}
				b.ReportMetric(100*idle(), "%core")
				reportMemory(b)
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// BenchmarkManyBusy compares many busy groups, with some clients each, with one that
// has a thousand, in turns: the medians of five. What a proposal takes of the processor
// says more than how many there are, where others use the machine, too.
func BenchmarkManyBusy(b *testing.B) {
	const groups, turns, turn = 1000, 5, 3 * time.Second
	for _, w := range wirings {
		for _, clients := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%v/clients=%d", w, clients), func(b *testing.B) {
				f := startFleet(b, w, 3)
				f.open(b, groups+1)
				leaders := f.leaders(b)
				one, many := leaders[:1], leaders[1:]
				before := f.terms(b)
				var ones, manys, ratios, oneCPU, manyCPU []float64
				for range turns {
					o, oc := rate(b, one, 1000, turn)
					m, mc := rate(b, many, clients*groups, turn)
					ones, manys, ratios = append(ones, o), append(manys, m), append(ratios, m/o)
					oneCPU, manyCPU = append(oneCPU, oc), append(manyCPU, mc)
				}
				b.ReportMetric(f.terms(b)-before, "elections")
				b.ReportMetric(median(ones), "one/s")
				b.ReportMetric(median(manys), "many/s")
				b.ReportMetric(median(ratios), "many/one")
				b.ReportMetric(median(oneCPU), "one-cpu-µs")
				b.ReportMetric(median(manyCPU), "many-cpu-µs")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// terms returns the sum of all groups' terms.
func (f *fleet) terms(b *testing.B) (sum float64) {
	b.Helper()
	for _, g := range f.groups[0] {
		s, err := g.Status(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		sum += float64(s.Term)
	}
	return sum
}

// leaders returns who leads each group.
func (f *fleet) leaders(b *testing.B) []*actors.Group {
	b.Helper()
	leaders := make([]*actors.Group, len(f.groups[0]))
	each(b, len(leaders), func(i int) error {
		for {
			for host := range f.hosts {
				s, err := f.groups[host][i].Status(context.Background())
				if err != nil {
					return err
				}
				if s.Role == raftcore.Leader {
					leaders[i] = f.groups[host][i]
					return nil
				}
			}
			if _, err := f.groups[0][i].Read(context.Background(), nil); err != nil {
				return err
			}
		}
	})
	return leaders
}

// rate has clients propose to groups for some time, each to one of them, and returns
// how many proposals a second were carried out, and the microseconds of processor time
// that each took.
func rate(b *testing.B, groups []*actors.Group, clients int, d time.Duration) (perSecond, cost float64) {
	b.Helper()
	data := make([]byte, 16)
	var done atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	start, used := time.Now(), cpu()
	for c := range clients {
		wg.Go(func() {
			for !over.Load() {
				_, err := groups[c%len(groups)].Propose(context.Background(), data)
				switch {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, actors.ErrRejected) && !errors.Is(err, actors.ErrUnknown): // a leader was lost
					b.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(d)
	took := time.Since(start)
	n := float64(done.Load())
	used = cpu() - used
	over.Store(true)
	wg.Wait()
	return n / took.Seconds(), float64(used.Microseconds()) / n
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// BenchmarkManyAlone has one host, with a disk, and many groups of one member.
func BenchmarkManyAlone(b *testing.B) {
	const groups = 10_000
	for range b.N {
		cfg := actors.HostConfig{ID: 1, Store: badgerstore.Dir(b.TempDir())}
		start := func() *fleet {
			host, err := actors.Start(hosts.QuietSystem(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			return &fleet{hosts: []*actors.Host{host}, groups: make([][]*actors.Group, 1)}
		}
		opens := func(f *fleet, unit string) {
			start := time.Now()
			f.open(b, groups)
			b.ReportMetric(time.Since(start).Seconds(), unit)
		}
		f := start()
		opens(f, "found-s")
		perSecond, cost := rate(b, f.groups[0], groups, 3*time.Second)
		b.ReportMetric(perSecond, "proposals/s")
		b.ReportMetric(cost, "cpu-µs")
		b.ReportMetric(100*idle(), "%core")
		reportMemory(b)
		begin := time.Now()
		if err := f.hosts[0].Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "stop-s")
		begin = time.Now()
		f = start()
		b.ReportMetric(time.Since(begin).Seconds(), "start-s")
		opens(f, "open-s")
		if err := f.hosts[0].Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkManyRemoved has one host, with a disk, and removes many groups of one member.
func BenchmarkManyRemoved(b *testing.B) {
	const groups = 2000
	for range b.N {
		cfg := actors.HostConfig{ID: 1, Store: badgerstore.Dir(b.TempDir())}
		start := func() *fleet {
			host, err := actors.Start(hosts.QuietSystem(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			return &fleet{hosts: []*actors.Host{host}, groups: make([][]*actors.Group, 1)}
		}
		f := start()
		f.open(b, groups)
		begin := time.Now()
		each(b, groups, func(k int) error {
			return f.hosts[0].ForceRemove(context.Background(), fmt.Sprint("many-", k))
		})
		b.ReportMetric(time.Since(begin).Seconds(), "remove-s")
		reportMemory(b)
		if err := f.hosts[0].Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		begin = time.Now()
		f = start()
		b.ReportMetric(time.Since(begin).Seconds(), "start-s")
		if n := len(f.hosts[0].Tombstones()); n != groups {
			b.Errorf("%d tombstones", n)
		}
		if err := f.hosts[0].Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(0, "ns/op")
	}
}
