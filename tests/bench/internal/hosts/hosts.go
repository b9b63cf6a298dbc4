// Package hosts starts hosts in this process, to be measured.
package hosts

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// Wiring is what hosts are made of.
type Wiring struct {
	Durable bool // journal and Badger, or memory
	Remote  bool // protoactor remote on loopback, or direct calls
}

func (w Wiring) String() string {
	s := "store=memory"
	if w.Durable {
		s = "store=disk"
	}
	if w.Remote {
		return s + "/wire=remote"
	}
	return s + "/wire=none"
}

// Start starts n hosts, each with the others for peers, until the test ends.
func (w Wiring) Start(tb testing.TB, n int) (hosts []*actors.Host) {
	tb.Helper()
	peers := map[raftcore.NodeID]string{}
	for id := range raftcore.NodeID(n) {
		peers[id+1] = freeAddress(tb)
	}
	network := rafttest.NewNetwork(1)
	for id := range raftcore.NodeID(n) {
		address := peers[id+1]
		cfg := actors.HostConfig{ID: id + 1, Store: persistence.Memory(), Transport: network.Transport(address), Peers: peers}
		if w.Durable {
			cfg.Store = badgerstore.Dir(tb.TempDir())
		}
		if w.Remote {
			cfg.Transport = remote.New(remote.Config{Listen: address})
		}
		host, err := actors.Start(QuietSystem(), cfg)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { host.Stop(context.Background()) })
		hosts = append(hosts, host)
	}
	return hosts
}

// Open opens a group on all hosts, and returns when somebody leads it: that member is the
// first.
func Open(ctx context.Context, tb testing.TB, hosts []*actors.Host) (groups []*actors.Group) {
	tb.Helper()
	for _, h := range hosts {
		g, err := h.Open(ctx, actors.GroupConfig{Name: "bench", Machine: NewNull})
		if err != nil {
			tb.Fatal(err)
		}
		groups = append(groups, g)
	}
	if _, err := groups[0].Read(ctx, nil); err != nil { // waits for a leader
		tb.Fatal(err)
	}
	for i, g := range groups {
		if s, err := g.Status(ctx); err == nil && s.Role == raftcore.Leader {
			groups[0], groups[i] = groups[i], groups[0]
			return groups
		}
	}
	tb.Fatal("nobody leads")
	return nil
}

func init() { slog.SetLogLoggerLevel(slog.LevelError + 1) }

// QuietSystem returns an actor system that logs nothing.
func QuietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
}

func freeAddress(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// NewNull returns a state machine that costs nothing. Its answers have as many bytes as the
// question says: two, big-endian.
func NewNull() actors.StateMachine { return null{} }

type null struct{}

var answers [1 << 16]byte

func (null) Apply(actors.Entry) []byte { return nil }
func (null) Query(_ context.Context, question []byte) ([]byte, error) {
	if len(question) == 0 {
		return nil, nil
	}
	return answers[:binary.BigEndian.Uint16(question)], nil
}

func (null) Snapshot() (io.WriterTo, error) { return &bytes.Buffer{}, nil }
func (null) Restore(io.Reader) error        { return nil }
