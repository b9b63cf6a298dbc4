package peers

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/castaway-go/castaway/tests/bench/internal/hosts"
)

// hashicorp is three members of hashicorp/raft: with its own in-memory stores and
// transport, or with raft-wal and its TCP transport. Batches are as large as it allows.
type hashicorp struct {
	members []*raft.Raft
	leader  atomic.Pointer[raft.Raft]
	closers []io.Closer
}

// fsm does nothing, in batches.
type fsm struct{}

func (fsm) Apply(*raft.Log) any                  { return nil }
func (fsm) ApplyBatch(logs []*raft.Log) []any    { return make([]any, len(logs)) }
func (fsm) Snapshot() (raft.FSMSnapshot, error)  { return fsm{}, nil }
func (fsm) Restore(r io.ReadCloser) error        { return r.Close() }
func (fsm) Persist(sink raft.SnapshotSink) error { return sink.Close() }
func (fsm) Release()                             {}

func newHashicorp(tb testing.TB, w hosts.Wiring) group {
	h := &hashicorp{}
	tb.Cleanup(h.close)
	var servers []raft.Server
	var transports []raft.Transport
	for i := range 3 {
		var transport raft.Transport
		var address raft.ServerAddress
		if w.Durable {
			tcp, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 10*time.Second, io.Discard)
			if err != nil {
				tb.Fatal(err)
			}
			address, transport = tcp.LocalAddr(), tcp
			h.closers = append(h.closers, tcp)
		} else {
			address, transport = raft.NewInmemTransport("")
		}
		transports = append(transports, transport)
		servers = append(servers, raft.Server{ID: raft.ServerID(fmt.Sprint(i + 1)), Address: address})
	}
	if !w.Durable {
		for _, from := range transports {
			for i, to := range transports {
				if from != to {
					from.(*raft.InmemTransport).Connect(servers[i].Address, to)
				}
			}
		}
	}
	for i, transport := range transports {
		cfg := raft.DefaultConfig()
		cfg.LocalID = servers[i].ID
		cfg.Logger = hclog.NewNullLogger()
		cfg.BatchApplyCh = true
		cfg.MaxAppendEntries = 1024
		cfg.SnapshotInterval = time.Hour
		var logs raft.LogStore
		var stable raft.StableStore
		if w.Durable {
			log, err := wal.Open(tb.TempDir())
			if err != nil {
				tb.Fatal(err)
			}
			h.closers = append(h.closers, log)
			logs, stable = log, log
		} else {
			memory := raft.NewInmemStore()
			logs, stable = memory, memory
		}
		snapshots := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(cfg, logs, stable, snapshots, transport, raft.Configuration{Servers: servers}); err != nil {
			tb.Fatal(err)
		}
		member, err := raft.NewRaft(cfg, fsm{}, logs, stable, snapshots, transport)
		if err != nil {
			tb.Fatal(err)
		}
		h.members = append(h.members, member)
	}
	if err := h.find(); err != nil {
		tb.Fatal(err)
	}
	return h
}

// find waits until somebody leads.
func (h *hashicorp) find() error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, m := range h.members {
			if m.State() == raft.Leader {
				h.leader.Store(m)
				return nil
			}
		}
	}
	return errors.New("nobody leads")
}

func (h *hashicorp) propose(data []byte) error {
	return h.follow(func(leader *raft.Raft) error { return leader.Apply(data, 0).Error() })
}

// read is a local read after VerifyLeader.
func (h *hashicorp) read() error {
	return h.follow(func(leader *raft.Raft) error { return leader.VerifyLeader().Error() })
}

// follow does something with the leader, and with the next one if that has lost its
// leadership: on a busy machine it does.
func (h *hashicorp) follow(do func(leader *raft.Raft) error) error {
	for {
		err := do(h.leader.Load())
		if !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrLeadershipLost) {
			return err
		}
		if err := h.find(); err != nil {
			return err
		}
	}
}

func (h *hashicorp) close() {
	for _, m := range h.members {
		m.Shutdown().Error()
	}
	for _, c := range h.closers {
		c.Close()
	}
	h.members, h.closers = nil, nil
}
