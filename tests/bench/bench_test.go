// Package bench measures what a user feels: proposals and reads per second
// through the Go client, three members in one process.
//
//	go test ./tests/bench -run '^$' -bench . -benchtime 3s
//
// The figures of a shared machine are noise; compare those of one run.
package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// null is a state machine that costs nothing. Its answers have as many bytes as the
// question says.
type null struct{}

func (null) Apply(actors.Entry) []byte { return nil }
func (null) Query(_ context.Context, question []byte) ([]byte, error) {
	if len(question) == 0 {
		return nil, nil
	}
	return answers[:binary.BigEndian.Uint16(question)], nil
}

func (null) Snapshot() (io.WriterTo, error) { return &bytes.Buffer{}, nil }
func (null) Restore(io.Reader) error        { return nil }

var answers [1 << 16]byte

// wiring is what three members are made of.
type wiring struct {
	durable bool // journal and Badger, or memory
	remote  bool // protoactor remote on loopback, or direct calls
}

func (w wiring) String() string {
	s := "store=memory"
	if w.durable {
		s = "store=disk"
	}
	if w.remote {
		return s + "/wire=remote"
	}
	return s + "/wire=none"
}

// group starts three members and returns the leader's.
func (w wiring) group(b *testing.B) *actors.Group { return w.groups(b)[0] }

// groups starts three members, the leader's first.
func (w wiring) groups(b *testing.B) []*actors.Group {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	b.Cleanup(cancel)
	peers := map[raftcore.NodeID]string{}
	for id := range raftcore.NodeID(3) {
		peers[id+1] = freeAddress(b)
	}
	network := rafttest.NewNetwork(1)
	var groups []*actors.Group
	for id, address := range peers {
		cfg := actors.HostConfig{ID: id, Store: persistence.Memory(), Transport: network.Transport(address), Peers: peers}
		if w.durable {
			cfg.Store = badgerstore.Dir(b.TempDir())
		}
		if w.remote {
			cfg.Transport = remote.New(remote.Config{Listen: address})
		}
		host, err := actors.Start(quietSystem(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { host.Stop(context.Background()) })
		g, err := host.Open(ctx, actors.GroupConfig{Name: "bench", Machine: func() actors.StateMachine { return null{} }})
		if err != nil {
			b.Fatal(err)
		}
		groups = append(groups, g)
	}
	if _, err := groups[0].Read(ctx, nil); err != nil { // waits for a leader
		b.Fatal(err)
	}
	for i, g := range groups {
		if s, err := g.Status(ctx); err == nil && s.Role == raftcore.Leader {
			groups[0], groups[i] = groups[i], groups[0]
			return groups
		}
	}
	b.Fatal("nobody leads")
	return nil
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func quietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
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

var wirings = []wiring{{durable: false, remote: false}, {durable: false, remote: true}, {durable: true, remote: true}}

func BenchmarkPropose(b *testing.B) {
	for _, w := range wirings {
		for _, size := range []int{16, 128, 16 << 10} {
			for _, clients := range []int{1, 64, 256, 1024} {
				b.Run(fmt.Sprintf("%v/size=%d/clients=%d", w, size, clients), func(b *testing.B) {
					g := w.group(b)
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

func BenchmarkRead(b *testing.B) {
	for _, w := range wirings {
		for _, clients := range []int{1, 64, 256, 4096} {
			b.Run(fmt.Sprintf("%v/clients=%d", w, clients), func(b *testing.B) {
				g := w.group(b)
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
						followers := w.groups(b)[1:]
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
