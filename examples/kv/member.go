package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

// memberConfig is all that a member needs to know.
type memberConfig struct {
	id       raftcore.NodeID
	listen   string // for the other members
	peers    map[raftcore.NodeID]string
	redis    net.Listener // for the clients
	dir      string
	timeout  time.Duration
	election time.Duration
	snapshot int                     // entries between two; 0: the library's default
	opening  func(done, total int64) // hears how far it is with its journal
	tls      *remote.TLS             // nil: none
	insecure bool
	learner  bool // it was not there when the group was founded
	logger   *slog.Logger
}

// member is a process's share of the store: an actor system of its own, a host
// with its disk and its wire, the one group, and a Redis front end.
type member struct {
	memberConfig
	host   atomic.Pointer[actors.Host] // when it has started
	group  *actors.Group
	server *server
	life   context.Context // ends with close
	end    context.CancelFunc
	rest   sync.WaitGroup
}

// groupName is the one group's.
const groupName = "kv"

// newMember returns a member that is yet to be opened. Its clients are heard: they may have
// come while the disk is read, which can take long, and are not to wait for ever.
func newMember(cfg memberConfig) *member {
	m := &member{memberConfig: cfg}
	m.life, m.end = context.WithCancel(context.Background())
	m.server = newServer(cfg.id, cfg.redis, newGauges(), cfg.timeout)
	m.rest.Go(m.server.serve)
	return m
}

// open returns when the member serves clients. Whether there is a leader is another matter.
// After an error the member is to be closed.
func (m *member) open(ctx context.Context) error {
	cfg := m.memberConfig
	if err := cfg.claim(); err != nil {
		return err
	}
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler) // protoactor tells everybody everything
	}))
	host, err := actors.Start(system, actors.HostConfig{
		ID: cfg.id,
		Store: badgerstore.Options{
			Dir: filepath.Join(cfg.dir, "store"), Repair: true, Logger: cfg.logger,
			Opening: cfg.opening,
		},
		Transport: remote.New(remote.Config{
			Listen: cfg.listen, Advertise: cfg.peers[cfg.id], TLS: cfg.tls, Insecure: cfg.insecure, Logger: cfg.logger,
		}),
		Peers:   cfg.peers,
		Cluster: "examples/kv",
		Raft:    raftcore.Config{ElectionTimeout: cfg.election, SnapshotEntries: cfg.snapshot, KeepEntries: cfg.snapshot},
		Logger:  cfg.logger,
	})
	if err != nil {
		return cfg.explain(err)
	}
	m.host.Store(host)
	screen.Add(m.life, host)
	gauges := m.server.gauges
	m.group, err = host.Open(ctx, actors.GroupConfig{
		Name:    groupName,
		Join:    cfg.learner,
		Machine: func() actors.StateMachine { return newMachine(gauges) },
	})
	if err != nil {
		return cfg.explain(err)
	}
	m.server.open(m.group)
	m.rest.Go(func() { expire(m.life, m.group, gauges) })
	return nil
}

// claim marks the directory as this member's. A member that came back with the
// disk of another would vote twice; and who the members are was settled when the
// group was founded, so that a list which has others is a mistake. Their addresses
// may change.
func (cfg memberConfig) claim() error {
	mark := fmt.Sprintf("member %d of %v", cfg.id, slices.Sorted(maps.Keys(cfg.peers)))
	if cfg.learner {
		mark = fmt.Sprintf("learner %d", cfg.id) // others come and go
	}
	switch found, err := readOrWrite(cfg.dir, markName, mark); {
	case err != nil:
		return fmt.Errorf("cannot use the directory %s: %w", cfg.dir, err)
	case found != mark:
		return fmt.Errorf("the directory %s belongs to %.80q, this is %q", cfg.dir, found, mark)
	}
	return nil
}

// markName is the file that tells whose a directory is.
const markName = "member"

// readOrWrite returns the line that a file has. If there is none, it writes one:
// a power cut leaves it whole, or empty, which is as good as none.
func readOrWrite(dir, name, line string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name = filepath.Join(dir, name)
	found, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if len(found) > 0 {
		return strings.TrimSpace(string(found)), nil
	}
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(line + "\n")
	return line, errors.Join(err, f.Sync(), f.Close())
}

// explain puts the mistakes that people make into words for them.
func (cfg memberConfig) explain(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, persistence.ErrLocked):
		return fmt.Errorf("the directory %s is in use by another process", cfg.dir)
	case errors.As(err, &op) && op.Op == "listen":
		return fmt.Errorf("cannot listen for the other members: %w", listenError(err))
	}
	return err
}

// close stops the member. Clients are cut off; what they wait for has an unknown
// outcome.
func (m *member) close() error {
	m.end()
	m.server.close()
	m.rest.Wait()
	return m.stopHost()
}

func (m *member) stopHost() error {
	host := m.host.Load()
	if host == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return host.Stop(ctx)
}
