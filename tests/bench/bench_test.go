// Package bench measures what a user feels: proposals and reads per second
// through the Go client, three members in one process.
//
//	go test ./tests/bench -run '^$' -bench . -benchtime 3s
//
// The figures of a shared machine are noise; compare those of one run.
package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/bench/internal/hosts"
)

// startGroup starts three members, the leader's first.
func startGroup(b *testing.B, w hosts.Wiring) []*actors.Group {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return hosts.Open(ctx, b, w.Start(b, 3))
}

// run has clients do b.N operations, and reports how many a second.
func run(b *testing.B, clients int, unit string, do func(context.Context) error) float64 {
	ctx := context.Background()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	rate := float64(b.N) / time.Since(start).Seconds()
	b.StopTimer()
	b.ReportMetric(rate, unit)
	b.ReportMetric(0, "ns/op")
	return rate
}

var wirings = []hosts.Wiring{{}, {Remote: true}, {Durable: true, Remote: true}}

func BenchmarkPropose(b *testing.B) {
	for _, w := range wirings {
		for _, size := range []int{16, 128, 16 << 10} {
			for _, clients := range []int{1, 64, 256, 1024} {
				b.Run(fmt.Sprintf("%v/size=%d/clients=%d", w, size, clients), func(b *testing.B) {
					g := startGroup(b, w)[0]
					data := make([]byte, size)
					b.ReportAllocs()
					run(b, clients, "proposals/s", func(ctx context.Context) error {
						_, err := g.Propose(ctx, data)
						return err
					})
				})
			}
		}
	}
}

// BenchmarkCrowd has twice as many clients as a member takes requests of, and who is refused
// asks again at once.
func BenchmarkCrowd(b *testing.B) {
	g := startGroup(b, wirings[0])[0]
	data := make([]byte, 16)
	run(b, 16<<10, "proposals/s", func(ctx context.Context) (err error) {
		for err = actors.ErrBusy; errors.Is(err, actors.ErrBusy); {
			_, err = g.Propose(ctx, data)
		}
		return err
	})
}

func BenchmarkRead(b *testing.B) {
	for _, w := range wirings {
		for _, clients := range []int{1, 64, 256, 4096} {
			b.Run(fmt.Sprintf("%v/clients=%d", w, clients), func(b *testing.B) {
				g := startGroup(b, w)[0]
				b.ReportAllocs()
				run(b, clients, "reads/s", func(ctx context.Context) error {
					_, err := g.Read(ctx, nil)
					return err
				})
			})
		}
	}
}

// BenchmarkReadAnywhere reads on the two members that do not lead.
func BenchmarkReadAnywhere(b *testing.B) {
	reads := []*actors.Request{
		{Consistency: actors.Linearizable},
		{Consistency: actors.BoundedStale, MaxAge: 100 * time.Millisecond},
		{Consistency: actors.Local},
	}
	for _, w := range wirings[:2] {
		for _, size := range []int{16, 16 << 10} {
			for _, clients := range []int{1, 256} {
				for _, read := range reads {
					r := *read
					r.Operation = actors.Read
					r.Data = binary.BigEndian.AppendUint16(nil, uint16(size))
					b.Run(fmt.Sprintf("%v/answer=%d/clients=%d/%v", w, size, clients, r.Consistency), func(b *testing.B) {
						followers := startGroup(b, w)[1:]
						var turn atomic.Int64
						b.ReportAllocs()
						run(b, clients, "reads/s", func(ctx context.Context) error {
							_, err := followers[turn.Add(1)%2].Do(ctx, &r)
							return err
						})
					})
				}
			}
		}
	}
}
