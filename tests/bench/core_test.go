package bench

import (
	"fmt"
	"testing"

	"github.com/castaway-go/castaway/tests/bench/internal/trio"
)

func BenchmarkCore(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			t, err := trio.New()
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 16)
			for n := 0; n < 1<<17; n += batch { // until the windows are full
				t.Round(batch, data)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				t.Round(batch, data)
			}
			b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}
