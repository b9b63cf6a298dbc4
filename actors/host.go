package actors

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/raftcore"
	"go.opentelemetry.io/otel/trace"
)

// HostConfig describes a host. It is a plain value: print it, copy it. Zero
// fields mean the default.
type HostConfig struct {
	// ID names this host among those it shares groups with. Its members have the
	// same ID in their groups. Required, and never given to another host.
	ID raftcore.NodeID
	// Store keeps the logs of all groups of this host, and says where their snapshots
	// are kept: badgerstore does, and snapshots.Beside has any other do so. Without
	// snapshots a log only grows. Required.
	Store persistence.Opener
	// Transport speaks to the other hosts. Without one this host is alone.
	Transport Transport
	// Peers are the addresses of the other hosts. This host's own may be among
	// them: then all hosts can be given the same map. SetPeers changes them later.
	Peers map[raftcore.NodeID]string
	// Authorize, if it is not nil, is asked about every request that comes to this host from
	// another process, of whatever operation and consistency, before anything is done for it:
	// an error is why it is refused, and what the client is told (ErrNotAllowed). It must not
	// block, and may be called concurrently.
	//
	// A client asks some host, any of them, and the hook there alone knows his Names. What a
	// member answers itself (a read, unless it is behind, and how it is) nobody else is asked
	// about. The rest goes to the leader's host, whose hook is asked, too: about the Host that
	// it comes from, with that one's Names. So all hosts are to have the same hook.
	//
	// The program of a host is not asked what it reads from its own member, whose state it
	// has; nor for anything while its member leads. Else what it asks comes to the leader's
	// host from another process. Where hosts are, and who leads, is told to every client
	// that the transport lets in; and what hosts need of each other is no request.
	Authorize func(Asked) error
	// Cluster tells groups of the same name in different installations apart.
	Cluster string
	// Raft has the timeouts and the bounds of every group. ID, Boot, Seed and Quiesce
	// are filled in: groups in which nothing happens are always silent. If none of
	// SnapshotEntries, SnapshotBytes and SnapshotAge is set, members take a snapshot after
	// 100,000 entries or 64 MiB of them; and none if the Store knows no place for them.
	Raft raftcore.Config
	// BalanceInterval is how often this host does by itself what Balance does, about: it
	// draws the moment each time, hands no more than 16 leaderships over, and leaves hosts
	// alone that come and go. Set it on all hosts; a minute is often enough. Default: never.
	BalanceInterval time.Duration
	// MaxPending bounds the requests that a member has taken and not answered;
	// beyond it they are refused with ErrBusy. Default 8,192.
	MaxPending int
	// MaxSnapshotBytesPerSecond bounds how many bytes of snapshots this host sends in a
	// second, to all hosts together. Default: no bound.
	MaxSnapshotBytesPerSecond int
	// MaxBytes bounds what this host holds of requests that are not answered, of sessions'
	// results and of effects that wait, for all groups together; beyond it requests are
	// refused with ErrBusy (see BusyError). Besides, half as much bounds the entries of other
	// hosts' leaders that wait for the disk: beyond it they are sent again, later.
	// Default: a quarter of the memory limit of the process (GOMEMLIMIT), or 256 MiB.
	MaxBytes int64
	// Restarts is for the Store, and for every group that does not say otherwise.
	Restarts Restarts
	// RecordBytes bounds what is kept in memory of what the nodes of this host were told
	// of late, all groups together: the story of an ErrInvariantFault is made of it.
	// Default 8 MiB; negative: nothing is recorded.
	RecordBytes int
	// Telemetry is told what is measured and traced. Default: nobody.
	Telemetry Telemetry
	// Logger is told what an operator wants to know. Default slog.Default().
	Logger *slog.Logger
	// Runtime runs the actors. Default: they take turns in one goroutine, and those that
	// block, or take long, in goroutines of their own.
	Runtime Runtime
}

func (c HostConfig) withDefaults() HostConfig {
	c.Raft.ID, c.Raft.Quiesce = c.ID, true
	if r := &c.Raft; c.keepsSnapshots() && r.SnapshotEntries == 0 && r.SnapshotBytes == 0 && r.SnapshotAge == 0 {
		r.SnapshotEntries, r.SnapshotBytes = 100_000, 64<<20
	}
	c.Raft = c.Raft.WithDefaults()
	if c.MaxPending == 0 {
		c.MaxPending = 8192
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = max(defaultMaxBytes(), 2*int64(c.Raft.MaxCommandBytes))
	}
	c.Restarts = c.Restarts.or(defaultRestarts)
	if c.RecordBytes == 0 {
		c.RecordBytes = 8 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// keepsSnapshots reports whether there is a place for snapshots.
func (c HostConfig) keepsSnapshots() bool {
	_, any := c.Store.(snapshotPlace)
	return any
}

// packetOverhead is more than a packet needs beside one command, or one answer.
const packetOverhead = 64 << 10

// maxPacket returns the size of the largest packet that the Transport takes.
func (c HostConfig) maxPacket() int {
	if t, ok := c.Transport.(interface{ PacketLimit() int }); ok {
		return t.PacketLimit()
	}
	return 8 << 20
}

// Validate returns every mistake in c at once, or nil.
func (c HostConfig) Validate() error {
	c = c.withDefaults()
	errs := []error{c.Raft.Validate(), c.Restarts.mistake()}
	if c.Store == nil {
		errs = append(errs, errors.New("there is no Store"))
	}
	r := c.Raft
	if r.Joins {
		errs = append(errs, errors.New("GroupConfig.Join says who joins: leave Raft.Joins false"))
	}
	if !c.keepsSnapshots() && (r.SnapshotEntries != 0 || r.SnapshotBytes != 0 || r.SnapshotAge != 0) {
		errs = append(errs, errors.New("the Store knows no place for snapshots: see snapshots.Beside"))
	}
	if c.BalanceInterval < 0 {
		errs = append(errs, fmt.Errorf("BalanceInterval is %v, negative", c.BalanceInterval))
	}
	if c.MaxPending < 0 {
		errs = append(errs, fmt.Errorf("MaxPending is %d, negative", c.MaxPending))
	}
	if c.MaxSnapshotBytesPerSecond < 0 {
		errs = append(errs, fmt.Errorf("MaxSnapshotBytesPerSecond is %d, negative", c.MaxSnapshotBytesPerSecond))
	}
	if least := int64(c.Raft.MaxCommandBytes) + 2*callOverhead; c.MaxBytes < least {
		errs = append(errs, fmt.Errorf("MaxBytes is %d: a command may have %d", c.MaxBytes, least))
	}
	if need := max(c.Raft.MaxCommandBytes, c.Raft.MaxAppendBytes) + packetOverhead; c.Transport != nil && need > c.maxPacket() {
		errs = append(errs, fmt.Errorf("the Transport takes packets of %d bytes; MaxCommandBytes and MaxAppendBytes need %d", c.maxPacket(), need))
	}
	at := map[string]raftcore.NodeID{}
	for _, id := range slices.Sorted(maps.Keys(c.Peers)) {
		if id == raftcore.Nobody {
			errs = append(errs, errors.New("a peer has the ID zero"))
		}
		if c.Peers[id] == "" && id != c.ID {
			errs = append(errs, fmt.Errorf("peer %d has no address", id))
		}
		if other := at[c.Peers[id]]; other != raftcore.Nobody && c.Peers[id] != "" {
			errs = append(errs, fmt.Errorf("peers %d and %d have the same address, %s", other, id, c.Peers[id]))
		}
		at[c.Peers[id]] = id
		if id != c.ID && c.Transport == nil {
			errs = append(errs, fmt.Errorf("there is peer %d, but no Transport", id))
		}
	}
	return errors.Join(errs...)
}

// Host is a process's share of its groups: one disk, one channel to each other
// process, one clock. Its methods may be called concurrently.
type Host struct {
	cfg        HostConfig
	system     *actor.ActorSystem
	logger     *slog.Logger
	dispatcher *dispatcher // what runs the actors, unless HostConfig.Runtime does
	epoch      time.Time
	pace       pace // of snapshots
	pid        *actor.PID
	ended      chan struct{} // closed when the host actor has stopped
	recording  *flight.Bounds
	meters     *meters      // nil: nothing is measured
	tracer     trace.Tracer // nil: nothing is traced
	maxAnswer  int          // the most bytes of an answer that travel

	log      place
	clock    place
	liveness place
	budget   budget
	unsaved  atomic.Int64 // bytes of entries that wait for the disk, or for a node that gives them to it
	swept    atomic.Int64 // when the peers were last told to forget calls: a raftcore.Instant
	balancer place
	saving   atomic.Int64          // the instant since when the Store executes a Save; 0: it does not
	full     atomic.Pointer[error] // why the log cannot save at the moment, if the disk is full
	peers    atomic.Pointer[peers] // replaced as a whole, by hostActor: who reads it takes no lock

	gone atomic.Pointer[error] // why the store stays closed, if it does

	answers sync.Pool // of channels for those who wait

	mu      sync.RWMutex
	groups  map[GroupKey]*Group
	closing bool // none is opened any more
	// Those that were removed, and those that are being removed.
	tombstones map[GroupKey]persistence.Tombstone
	removing   map[GroupKey]bool
}

// ref is one of our own actors: its PID, and its mailbox, which answers for it
// when it is gone.
type ref struct {
	pid *actor.PID
	box *mailbox
}

func (r ref) tell(message any) { r.box.PostUserMessage(message) }

// place is where one of our actors is found; after a failure, its successor.
type place struct{ at atomic.Pointer[ref] }

func (p *place) put(r ref) { p.at.Store(&r) }

// ref returns who is there: only after somebody was put there.
func (p *place) ref() ref { return *p.at.Load() }

func (p *place) tell(message any) {
	if r := p.at.Load(); r != nil {
		r.tell(message)
	} else {
		orphaned(message)
	}
}

// Start opens the Store and starts a host in system. It returns when the host
// can open groups, or the reason why it cannot: every mistake in cfg at once; that of the
// Transport; or that of the Store, persistence.ErrLocked, ErrOtherHost, ErrDiskFull or a
// *persistence.CorruptError, say. Nothing is left running then.
func Start(system *actor.ActorSystem, cfg HostConfig) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("castaway: bad host config: %w", err)
	}
	cfg = cfg.withDefaults()
	h := &Host{
		cfg:        cfg,
		system:     system,
		logger:     cfg.Logger.With("node", uint64(cfg.ID)),
		dispatcher: newDispatcher(cfg.Store),
		ended:      make(chan struct{}),
		recording:  flight.NewBounds(int64(cfg.RecordBytes)),
		maxAnswer:  cfg.maxPacket() - packetOverhead,
		groups:     map[GroupKey]*Group{},
		removing:   map[GroupKey]bool{},
		answers:    sync.Pool{New: func() any { return make(chan outcome, 1) }},
	}
	h.budget.limit = cfg.MaxBytes
	if h.cfg.Runtime == nil {
		h.cfg.Runtime = h.dispatcher
	}
	h.epoch = h.cfg.Runtime.Now().Add(-time.Second)
	h.peers.Store(h.nextPeers(cfg.Peers))
	if err := h.measure(); err != nil {
		return nil, fmt.Errorf("castaway: telemetry: %w", err)
	}
	if t := cfg.Transport; t != nil {
		if err := t.Start(system, cfg.ID, h.deliver); err != nil {
			return nil, errors.Join(fmt.Errorf("castaway: %w", err), h.meters.end())
		}
	}
	if err := h.start(); err != nil {
		h.dispatcher.stop()
		err = errors.Join(err, h.meters.end())
		if cfg.Transport != nil {
			err = errors.Join(err, cfg.Transport.Stop(context.Background()))
		}
		return nil, fmt.Errorf("castaway: %w", err)
	}
	if t, is := cfg.Transport.(Gateway); is {
		t.Serve(h)
	}
	return h, nil
}

// start spawns the host actor, and waits until it has opened the store.
func (h *Host) start() error {
	started := make(chan error, 1)
	name := fmt.Sprintf("castaway-%d", h.cfg.ID)
	props := actor.PropsFromProducer(func() actor.Actor { return &hostActor{Host: h, started: started} },
		h.runs(name), actor.WithGuardian(stopStrategy{}))
	pid, err := h.system.Root.SpawnNamed(props, name)
	if err != nil {
		return fmt.Errorf("this actor system has a host %d already: %w", h.cfg.ID, err)
	}
	h.pid = pid
	select {
	case err = <-started:
	case <-h.ended:
		err = errors.New("the host failed while it started")
	}
	if err != nil {
		h.system.Root.Stop(pid)
		<-h.ended
	}
	return err
}

// ID returns the host's ID.
func (h *Host) ID() raftcore.NodeID { return h.cfg.ID }

// Now returns the instant by this host's clock: that of Status.SavingSince, of a
// raftcore.PeerStatus's Heard, and of a SnapshotProgress.
func (h *Host) Now() raftcore.Instant { return h.now() }

// Groups returns those that are open on this host, by name.
func (h *Host) Groups() []*Group {
	groups := h.openGroups()
	slices.SortFunc(groups, func(a, b *Group) int { return strings.Compare(a.name, b.name) })
	return groups
}

// System returns the actor system that the host lives in.
func (h *Host) System() *actor.ActorSystem { return h.system }

// Open opens a group on this host. It returns when the member has recovered
// from the disk, or waits for the others because its snapshot is damaged; who leads is
// found out later. Founding a group that exists is the same as opening it.
//
// With an error and no Group nothing is open: cfg makes no sense; the group is open here
// already, or being removed (ErrChangeInProgress), or was (ErrRemoved, with a
// *persistence.RemovedError); the Store has failed for good (ErrFaulted); the host stops
// (ErrStopped). An error with a Group is about one that is open, until it is stopped: it is
// ErrFaulted, and says why; or ErrStopped; or that of ctx, and the member goes on recovering.
func (h *Host) Open(ctx context.Context, cfg GroupConfig) (*Group, error) {
	g, err := h.newGroup(cfg)
	if err != nil {
		return nil, fmt.Errorf("castaway: group %q: %w", cfg.Name, err)
	}
	err = h.order(ctx, func(done chan error) any { return &startGroup{group: g, done: done} })
	if err != nil {
		if ctx.Err() != nil { // it may be started yet, and nobody would have it
			h.system.Root.Send(h.pid, &stopGroup{g})
		}
		return nil, err
	}
	for s := range g.Watch(ctx) {
		switch s.State {
		case Running:
			return g, nil
		case Recovering:
			if errors.As(s.Fault, new(*lostSnapshot)) { // the others may have something to open, too, before they are well
				return g, nil
			}
		case Faulted, Stopped:
			return g, g.unavailable()
		}
	}
	return g, fmt.Errorf("castaway: group %q has not recovered yet: %w", cfg.Name, ctx.Err())
}

func (h *Host) newGroup(cfg GroupConfig) (*Group, error) {
	if cfg.Name == "" || cfg.Machine == nil && !cfg.Witness {
		return nil, errors.New("Name and Machine are required")
	}
	if cfg.Replaces != 0 && !cfg.Join {
		return nil, errors.New("the field Replaces is for a member that comes back to a group, and needs Join")
	}
	if cfg.Versions.Oldest > cfg.Versions.Newest {
		return nil, fmt.Errorf("Versions go from %d down to %d", cfg.Versions.Oldest, cfg.Versions.Newest)
	}
	members := slices.Clone(cfg.Members)
	if len(members) == 0 {
		members = append(slices.Collect(maps.Keys(*h.peers.Load())), h.cfg.ID)
	}
	slices.Sort(members)
	members = slices.Compact(members)
	for _, id := range members {
		if h.peer(id) == nil && id != h.cfg.ID {
			return nil, fmt.Errorf("member %d is not among the host's Peers", id)
		}
	}
	if err := cfg.witnessMistake(h.cfg.ID, members); err != nil {
		return nil, err
	}
	if cfg.Witness {
		cfg.Machine = func() StateMachine { return noMachine{} }
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = h.cfg.MaxBytes
	}
	if least := int64(h.cfg.Raft.MaxCommandBytes) + 2*callOverhead; cfg.MaxBytes < least {
		return nil, fmt.Errorf("MaxBytes is %d: a command may have %d", cfg.MaxBytes, least)
	}
	g := &Group{
		host: h, cfg: cfg, key: groupKey(h.cfg.Cluster, cfg.Name), board: newBoard(cfg.Name),
		restarts: cfg.Restarts.or(h.cfg.Restarts),
	}
	g.Client = Client{name: cfg.Name, group: g, heartbeat: h.cfg.Raft.HeartbeatInterval, election: h.cfg.Raft.ElectionTimeout}
	g.budget.limit = cfg.MaxBytes
	if err := g.restarts.mistake(); err != nil {
		return nil, err
	}
	if cfg.Autopilot != nil {
		g.target = cfg.Autopilot.withDefaults(&h.cfg.Raft)
		if err := g.target.mistake(&h.cfg.Raft); err != nil {
			return nil, err
		}
	}
	if !cfg.Join {
		g.founders = (&Members{Voters: members, Witnesses: cfg.Witnesses}).conf()
		g.cluster = clusterID(h.cfg.Cluster, cfg.Name, &g.founders)
	}
	return g, nil
}

// groupKey is a group's name on the wire. The cluster is part of it: a request
// names no lineage, and must not reach a group of another installation that
// answers at the same address.
func groupKey(cluster, name string) GroupKey {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q", cluster, name)
	return GroupKey(h.Sum64())
}

// clusterID names a lineage. Those who were told of different founders do not
// hear one another.
func clusterID(cluster, group string, founders *raftcore.ConfState) raftcore.ClusterID {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %v", cluster, group, founders.Voters)
	if len(founders.Witnesses) > 0 {
		fmt.Fprintf(h, " %v", founders.Witnesses)
	}
	return raftcore.ClusterID(max(h.Sum64(), 1))
}

// Stop stops all groups and lets go of the disk and the network. Calls that
// wait end as with Group.Stop. It returns when everything has stopped, or when
// ctx ends, with its error; what takes longer stops later.
func (h *Host) Stop(ctx context.Context) error {
	lives := h.close()
	h.system.Root.Stop(h.pid)
	var err error
	select {
	case <-h.ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	for _, l := range lives {
		if err == nil {
			err = l.wait(ctx)
		}
	}
	h.dispatcher.stop()
	if h.cfg.Transport != nil {
		err = errors.Join(err, h.cfg.Transport.Stop(ctx))
	}
	return errors.Join(err, h.meters.end())
}

// order gives the host actor an order and waits until it has been carried out,
// or cannot be any more.
func (h *Host) order(ctx context.Context, order func(done chan error) any) error {
	done := make(chan error, 1)
	h.system.Root.Send(h.pid, order(done))
	select {
	case err := <-done:
		return err
	case <-h.ended:
		return fmt.Errorf("castaway: the host: %w", ErrStopped)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// now returns the instant on the host's monotonic clock.
func (h *Host) now() raftcore.Instant { return raftcore.Instant(h.cfg.Runtime.Now().Sub(h.epoch)) }

// seed returns the seed of a group's election jitter.
func (h *Host) seed(key GroupKey) uint64 {
	if h.cfg.Raft.Seed != 0 {
		return h.cfg.Raft.Seed ^ uint64(key)
	}
	return rand.Uint64()
}

// runs has the Runtime run an actor.
func (h *Host) runs(name string) actor.PropsOption {
	return actor.WithDispatcher(h.cfg.Runtime.Dispatcher(name))
}

// spawn starts one of our own actors, with a drain mailbox.
func (h *Host) spawn(ctx actor.SpawnerContext, name string, bound int, produce func(*mailbox) actor.Actor) ref {
	box := newMailbox(bound)
	props := actor.PropsFromProducer(func() actor.Actor { return produce(box) },
		h.runs(name), actor.WithMailbox(box.producer()))
	pid, err := ctx.SpawnNamed(props, name)
	if err != nil {
		panic(err) // the names are ours, and never used twice
	}
	return ref{pid, box}
}

func entriesOf(m *raftcore.Message) []raftcore.Entry {
	if a, is := m.Body.(*raftcore.AppendRequest); is {
		return a.Entries
	}
	return nil
}

// group returns the open group with this key, or nil.
func (h *Host) group(key GroupKey) *Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[key]
}

// openGroups returns those that are open, in the same order each time.
func (h *Host) openGroups() (groups []*Group) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(h.groups)) {
		groups = append(groups, h.groups[key])
	}
	return groups
}

// eachNode calls f for every running node.
func (h *Host) eachNode(f func(ref)) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(h.groups)) {
		if node := h.groups[key].node.Load(); node != nil {
			f(*node)
		}
	}
}

// deliver takes a packet from another host apart. The transport calls it from
// its own goroutines; everything goes straight to where it belongs.
func (h *Host) deliver(p *Packet) {
	from := h.peer(p.From)
	if from == nil {
		return // nobody of ours, and nobody who could be answered
	}
	if p.Address != "" && p.Address != from.address {
		from.tell(&moved{p.From, p.Address})
	}
	var removed removedHere
	for i := range p.Messages {
		m := &p.Messages[i]
		if isSnapshot(&m.Message) {
			continue // without the snapshot: only the courier says that one is here
		}
		entries := entriesOf(&m.Message)
		if len(entries) > 0 && h.unsaved.Load() > h.cfg.MaxBytes/2 {
			continue // the disk is behind: it will come again
		}
		g, gone := h.find(m.Group)
		if gone && m.Message.From == p.From {
			removed = append(removed, m.Group)
		}
		if g != nil && m.Message.From == p.From {
			switch node := g.node.Load(); {
			case node == nil:
			case len(entries) > 0:
				node.box.offer(h.count(&m.Message, entries))
			default:
				node.box.offer(&m.Message)
			}
		}
	}
	for i := range p.Snapshots {
		part := &p.Snapshots[i]
		if o := part.Offer; o != nil && (o.Message.From != p.From || o.Message.To != h.cfg.ID || !isSnapshot(&o.Message)) {
			continue
		}
		g, gone := h.find(part.Group)
		if gone {
			removed = append(removed, part.Group)
		}
		if g != nil {
			courier := g.courier.Load()
			if courier != nil && (part.Chunk == nil || courier.box.UserMessageCount() < maxChunksWaiting) {
				courier.box.offer(&arrivedPart{from: p.From, part: part})
			}
		}
	}
	if l := h.liveness.at.Load(); l != nil && p.Beat != nil {
		l.box.offer(&heardBeat{from: p.From, beat: p.Beat})
	}
	if len(p.Responses) > 0 {
		from.tell(p.Responses)
	}
	for i := range p.Requests {
		h.request(from, p, &p.Requests[i])
	}
	if len(removed) > 0 {
		slices.Sort(removed)
		from.tell(slices.Compact(removed))
	}
	h.heardRemoved(p.From, p.Removed)
}

// request hands a request from another host to the node it is for.
func (h *Host) request(from *channel, p *Packet, r *GroupRequest) {
	c := &call{operation: r.Operation, data: r.Data, foreign: true, ctx: h.spanFrom(r)}
	if r.Members != nil || r.To != raftcore.Nobody {
		c.more = &particulars{members: r.Members, to: r.To}
	}
	id := r.ID
	c.answer = func(o outcome) {
		if len(o.data) > h.maxAnswer {
			o = c.tooLargeAnswer(len(o.data), h.maxAnswer)
		}
		from.tell(response(id, o))
	}
	g, removed := h.find(r.Group)
	if g != nil {
		if node := g.node.Load(); node != nil {
			if err := h.authorize(Asked{Group: g.name, Operation: r.Operation, Host: p.From, Names: p.Names}, r.Data); err != nil {
				c.finish(nil, err)
				return
			}
			if err := g.admit(c); err != nil {
				c.finish(nil, err)
				return
			}
			node.tell(c)
			return
		}
	}
	if removed {
		from.tell(removedHere{r.Group})
		c.finish(nil, &NotLeaderError{}) // nor will it ever
		return
	}
	c.finish(nil, errGone)
}
