package remote

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// BenchmarkRequestToResponse measures one client in another process, which asks a group of
// one member in memory, beside one that asks an actor with nothing but protoactor remote,
// as it is shipped. Both run by turns; the ratios are of the medians.
//
//	go test ./remote -run '^$' -bench RequestToResponse -benchtime 20000x
func BenchmarkRequestToResponse(b *testing.B) {
	host := &process{t: b, spec: "1," + freeAddresses(b, 1)[0]}
	host.start()
	b.Cleanup(host.kill)
	_, echo := startPlain(b)

	hosts, err := Dial(ClientConfig{Seeds: []string{host.address()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(hosts.Close)
	sum := hosts.Group("sum")
	system := quietSystem()
	protoremote.NewRemote(system, protoremote.Configure("127.0.0.1", 0)).Start()
	bare := actor.NewPID(echo, "echo")

	ctx := context.Background()
	command := []byte("1")
	kinds := []struct {
		name string
		ask  func() error
		took []time.Duration
	}{
		{name: "protoactor", ask: func() error {
			_, err := system.Root.RequestFuture(bare, &raftpb.ClientRequest{Version: 1, Operation: 1, Data: command}, 10*time.Second).Result()
			return err
		}},
		{name: "propose", ask: func() error { _, err := sum.Propose(ctx, command); return err }},
		{name: "read", ask: func() error { _, err := sum.Read(ctx, nil); return err }},
		{name: "local", ask: func() error {
			_, err := sum.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local})
			return err
		}},
	}
	for _, k := range kinds {
		for range 200 { // connect, and warm up
			if err := k.ask(); err != nil {
				b.Fatal(k.name, err)
			}
		}
	}
	b.ResetTimer()
	for range b.N {
		for i := range kinds {
			k := &kinds[i]
			began := time.Now()
			if err := k.ask(); err != nil {
				b.Fatal(k.name, err)
			}
			k.took = append(k.took, time.Since(began))
		}
	}
	b.StopTimer()
	var base float64
	for i := range kinds {
		k := &kinds[i]
		slices.Sort(k.took)
		median := float64(k.took[len(k.took)/2].Microseconds())
		b.ReportMetric(median, k.name+"-p50-µs")
		b.ReportMetric(float64(k.took[len(k.took)*99/100].Microseconds()), k.name+"-p99-µs")
		if i == 0 {
			base = median
		} else {
			b.ReportMetric(median/base, k.name+"/protoactor")
		}
	}
}
