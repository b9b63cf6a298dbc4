package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/cluster"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

// member is a host, and the member of the cluster that speaks for it.
type member struct {
	id       raftcore.NodeID
	founders []raftcore.NodeID
	address  string
	host     *actors.Host
	cluster  *cluster.Cluster
	members  chan cluster.Members       // of the cluster: the newest
	changes  chan raftcore.ConfState    // of the group's members: the newest
	file     string                     // that has peers
	peers    map[raftcore.NodeID]string // all hosts that were ever heard of, where they were last
}

// start starts a host, and has it be heard of.
func start(id raftcore.NodeID, dir string, founders int, provider cluster.ClusterProvider) (*member, error) {
	m := &member{
		id:      id,
		members: make(chan cluster.Members, 1),
		changes: make(chan raftcore.ConfState, 1),
		file:    filepath.Join(dir, "peers.json"),
	}
	for i := range founders {
		m.founders = append(m.founders, raftcore.NodeID(i+1))
	}
	var err error
	if m.peers, err = readPeers(m.file); err != nil {
		m.say("begins without the addresses that it knew: %v", err)
	}
	wire := remote.New(remote.Config{Listen: "127.0.0.1:0"})
	// It gets its peers when the cluster has started: protoactor sets gRPC's logger then, which
	// nobody should be using.
	m.host, err = actors.Start(newSystem(), actors.HostConfig{
		ID:        id,
		Store:     badgerstore.Options{Dir: filepath.Join(dir, "log"), Opening: screen.Opening(fmt.Sprintf("host %d: reading the journal", id))},
		Transport: wire,
		Cluster:   "examples/discovery",
		Raft:      raftcore.Config{ElectionTimeout: election},
	})
	if err != nil {
		return nil, err
	}
	m.address = wire.Address()
	m.say("listens at %s", m.address)
	m.cluster, err = joinCluster(id, m.address, provider, func(now cluster.Members) { replace(m.members, now) })
	if err != nil {
		return nil, errors.Join(err, m.host.Stop(context.Background()))
	}
	return m, nil
}

func (m *member) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(leaveCluster(m.cluster), m.host.Stop(ctx))
}

// election is how long the others wait for a sign of the leader. It is short, so that the
// autopilot, which waits for some of it, is worth watching.
const election = 500 * time.Millisecond

// open opens the group: as one of its founders, or to be added by the autopilot. Who has the
// group on its disk goes on with that, either way.
func (m *member) open(ctx context.Context, founds bool) (*actors.Group, error) {
	cfg := actors.GroupConfig{
		Name:      "visits",
		Machine:   func() actors.StateMachine { return &visits{} },
		Join:      true,
		Autopilot: &actors.Autopilot{Voters: len(m.founders), DeadAfter: 4 * election, StableFor: election},
	}
	if founds {
		cfg.Join, cfg.Members = false, m.founders
	}
	return m.host.Open(ctx, cfg)
}

// run keeps the peers current until ctx ends. It founds the group, if this is one of those who
// are to, and there is none on its disk: when it has heard of all of them. Until then it waits
// to be added, as all others do, and as one does whose disk was lost.
func (m *member) run(ctx context.Context) error {
	if err := m.setPeers(ctx, m.peers); err != nil {
		return err
	}
	group, err := m.open(ctx, false)
	if err != nil {
		return err
	}
	status, err := group.Status(ctx)
	if err != nil {
		return err
	}
	if status.Last > 0 {
		m.say("has the group on its disk")
	}
	founds := status.Last == 0 && slices.Contains(m.founders, m.id)
	following := inBackground(ctx, func(ctx context.Context) error { return m.follow(ctx, group) })
	defer func() { following.end() }()
	for {
		select {
		case members := <-m.members:
			next, wrong := discover(m.peers, members)
			for _, err := range wrong {
				m.say("%v", err)
			}
			if err := m.setPeers(ctx, next); err != nil {
				m.say("%v", err) // what they say makes no sense together: all stay where they were
			}
		case err := <-following.ended:
			following.ended <- err
			return err
		case <-ctx.Done():
			return nil
		}
		if !founds || !m.knows(m.founders) {
			continue
		}
		founds = false
		if status, err = group.Status(ctx); err != nil {
			return err
		}
		if status.Last > 0 {
			continue // a leader has been here meanwhile: it has joined
		}
		m.say("knows all of %v, who found the group", m.founders)
		if err := errors.Join(following.end(), group.Stop(ctx)); err != nil {
			return err
		}
		if group, err = m.open(ctx, true); err != nil {
			return err
		}
		following = inBackground(ctx, func(ctx context.Context) error { return m.follow(ctx, group) })
	}
}

func (m *member) knows(hosts []raftcore.NodeID) bool {
	return !slices.ContainsFunc(hosts, func(id raftcore.NodeID) bool { return id != m.id && m.peers[id] == "" })
}

// setPeers has the host speak to others where they are now, and remembers it.
func (m *member) setPeers(ctx context.Context, next map[raftcore.NodeID]string) error {
	if at := next[m.id]; at != "" && at != m.address {
		m.say("was, or somebody else says that he is it, at %s", at)
	}
	next = maps.Clone(next)
	delete(next, m.id)
	if err := m.host.SetPeers(ctx, next); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(next)) {
		if m.peers[id] != next[id] {
			m.say("host %d is at %s", id, next[id])
		}
	}
	m.peers = next
	return writePeers(m.file, next)
}

// follow says who the members are, and who leads, and counts this visit.
func (m *member) follow(ctx context.Context, group *actors.Group) error {
	said, counting := "", false
	for s := range group.Watch(ctx) {
		if s.State == actors.Faulted {
			return s.Fault
		}
		if s.Leader == raftcore.Nobody || s.Conf.Joint() || len(s.Conf.Voters) == 0 {
			continue
		}
		if !counting {
			counting = true
			counted := inBackground(ctx, func(ctx context.Context) error { return m.visit(ctx, group) })
			defer counted.end()
		}
		now := fmt.Sprintf("voters %v, learners %v; host %d leads", s.Conf.Voters, s.Conf.Learners, s.Leader)
		if now != said {
			m.say("%s", now)
			replace(m.changes, s.Conf)
		}
		said = now
	}
	return nil
}

func (m *member) visit(ctx context.Context, group *actors.Group) error {
	session, err := group.OpenSession(ctx, 0) // or it might count twice when a leader is lost
	if err == nil {
		var n []byte
		if n, err = session.Propose(ctx, nil); err == nil {
			m.say("this is visit %s", n)
		}
		err = errors.Join(err, session.Close(ctx))
	}
	if err != nil && ctx.Err() == nil {
		m.say("this visit may not be counted: %v", err)
	}
	return err
}

// background is what runs beside.
type background struct {
	cancel context.CancelFunc
	ended  chan error
}

func inBackground(ctx context.Context, f func(context.Context) error) *background {
	ctx, cancel := context.WithCancel(ctx)
	b := &background{cancel, make(chan error, 1)}
	go func() { b.ended <- f(ctx) }()
	return b
}

// end returns what it ended with.
func (b *background) end() error {
	b.cancel()
	err := <-b.ended
	b.ended <- err // for whoever ends it, too
	return err
}

func (m *member) say(format string, args ...any) {
	screen.Println(fmt.Sprintf("host %d: %s", m.id, fmt.Sprintf(format, args...)))
}

// replace puts the newest into a channel of one.
func replace[T any](c chan T, newest T) {
	for {
		select {
		case c <- newest:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

// readPeers reads what writePeers has written: so a host that comes back knows at once where
// the others were. Without it the host waits to hear of them.
func readPeers(file string) (peers map[raftcore.NodeID]string, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &peers)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return peers, nil
}

func writePeers(file string, peers map[raftcore.NodeID]string) error {
	data, err := json.Marshal(peers)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// visits counts how often a host has come.
type visits struct{ n int }

func (v *visits) Apply(actors.Entry) []byte                     { v.n++; return v.text() }
func (v *visits) Query(context.Context, []byte) ([]byte, error) { return v.text(), nil }
func (v *visits) Snapshot() (io.WriterTo, error)                { return bytes.NewBuffer(v.text()), nil }
func (v *visits) Restore(r io.Reader) error                     { _, err := fmt.Fscan(r, &v.n); return err }
func (v *visits) text() []byte                                  { return strconv.AppendInt(nil, int64(v.n), 10) }
