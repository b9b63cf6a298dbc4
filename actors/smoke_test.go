package actors_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

type counter struct{ n int }

func (c *counter) Apply(e actors.Entry) []byte { c.n++; return fmt.Append(nil, c.n) }
func (c *counter) Query(context.Context, []byte) ([]byte, error) {
	return fmt.Append(nil, c.n), nil
}

func quiet() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }))
}

func TestSmoke(t *testing.T) {
	system := quiet()
	h, err := actors.Start(system, actors.HostConfig{ID: 1, Store: persistence.Memory()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	g, err := h.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		b, err := g.Propose(ctx, []byte("x"))
		t.Log(string(b), err)
	}
	b, err := g.Read(ctx, nil)
	t.Log(string(b), err)
	st, err := g.Status(ctx)
	t.Log(st, err)
	start := time.Now()
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for range 2000 {
				if _, err := g.Propose(ctx, []byte("0123456789abcdef")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Log(float64(256*2000)/time.Since(start).Seconds(), "proposals/s")
	t.Log(h.Stop(ctx))
}

func TestSmoke3(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	net := rafttest.NewNetwork(1)
	peers := map[raftcore.NodeID]string{1: "a", 2: "b", 3: "c"}
	var gs []*actors.Group
	for id, addr := range peers {
		h, err := actors.Start(quiet(), actors.HostConfig{ID: id, Store: persistence.Memory(), Transport: net.Transport(addr), Peers: peers, Raft: raftcore.Config{ElectionTimeout: 300 * time.Millisecond},
			Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Stop(ctx)
		g, err := h.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }})
		if err != nil {
			t.Fatal(err)
		}
		gs = append(gs, g)
	}
	for i := range 9 {
		b, err := gs[i%3].Propose(ctx, []byte("x"))
		t.Log(string(b), err)
	}
	for i := range 3 {
		b, err := gs[i].Read(ctx, nil)
		t.Log(string(b), err)
		st, err := gs[i].Status(ctx)
		t.Log(st, err)
	}
	for _, clients := range []int{1, 64, 256} {
		for i := range gs {
			st, _ := gs[i].Status(ctx)
			start := time.Now()
			var wg sync.WaitGroup
			const total = 200000
			n := total / 256 * clients
			if clients == 1 {
				n = 20000
			}
			for range clients {
				wg.Go(func() {
					for range n / clients {
						if _, err := gs[i].Propose(ctx, []byte("0123456789abcdef")); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			t.Log(st.Role, clients, float64(n)/time.Since(start).Seconds(), "proposals/s")
			start = time.Now()
			for range clients {
				wg.Go(func() {
					for range n / clients {
						if _, err := gs[i].Read(ctx, []byte("0123456789abcdef")); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			t.Log(st.Role, clients, float64(n)/time.Since(start).Seconds(), "reads/s")
		}
	}
}
