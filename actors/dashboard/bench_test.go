package dashboard_test

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/castaway-go/castaway/actors/dashboard"
)

// BenchmarkPropose is what open pages cost a group that is as busy as it can be: three hosts
// in one process, in memory, 64 clients, and pages that are told something every half second.
// The proposals are those that one host takes.
func BenchmarkPropose(b *testing.B) {
	for _, pages := range []int{0, 1, 3} {
		b.Run(fmt.Sprint("pages=", pages), func(b *testing.B) {
			w := newWorldWith(b, 3, dashboard.Config{})
			w.open("group")
			w.propose("begin")
			for range pages {
				v := w.visit("group")
				go func() {
					for v.in.Scan() {
						_, _ = io.WriteString(io.Discard, v.in.Text())
					}
				}()
			}
			const clients = 64
			var busy sync.WaitGroup
			b.ResetTimer()
			for c := range clients {
				busy.Go(func() {
					for range b.N / clients {
						if _, err := w.groups[0].Propose(w.ctx, fmt.Append(nil, c)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			busy.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}
