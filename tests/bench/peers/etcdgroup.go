package peers

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
)

// etcdGroup is three of etcd's nodes, each with a goroutine, its MemoryStorage, and a
// channel by which the others reach it. It is made to be as fast as such a driver can be:
// what waits is taken together, proposals are one MsgProp, all readers that wait share one
// ReadIndex, what is applied is told to whoever proposed it by its place in a queue.
type etcdGroup struct {
	nodes [3]*etcdNode
	wg    sync.WaitGroup
	quit  chan struct{}
}

type etcdNode struct {
	group   *etcdGroup
	raw     *raft.RawNode
	storage *raft.MemoryStorage
	inbox   chan message
	asked   chan asking

	applied  uint64
	proposed []chan error // by their order in the log
	entries  []entry

	readers []chan error // that wait for the next ReadIndex
	round   uint64       // of the one under way; 0: none is
	rounds  uint64
	sharing []chan error // who shares it
	ready   []etcdRead   // that wait for an index
}

// asking is a client's proposal, or with nil a read.
type asking struct {
	data []byte
	done chan error
}

type etcdRead struct {
	index   uint64
	readers []chan error
}

func newEtcdGroup(tb testing.TB) group {
	g := &etcdGroup{quit: make(chan struct{})}
	for i := range g.nodes {
		s := raft.NewMemoryStorage()
		if err := s.ApplySnapshot(firstSnapshot()); err != nil {
			tb.Fatal(err)
		}
		raw, err := raft.NewRawNode(&raft.Config{
			ID: uint64(i + 1), Storage: s, Applied: 1, ElectionTick: 10, HeartbeatTick: 1,
			MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 16 << 20, MaxInflightMsgs: 256,
			CheckQuorum: true, PreVote: true, Logger: silent{},
		})
		if err != nil {
			tb.Fatal(err)
		}
		g.nodes[i] = &etcdNode{
			group: g, raw: raw, storage: s, applied: 1,
			inbox: make(chan message, 4096), asked: make(chan asking, 8192),
		}
	}
	if err := g.nodes[2].raw.Campaign(); err != nil {
		tb.Fatal(err)
	}
	for _, n := range g.nodes {
		g.wg.Go(n.loop)
	}
	tb.Cleanup(g.close)
	if err := g.read(); err != nil {
		tb.Fatal(err)
	}
	return g
}

var waiters = sync.Pool{New: func() any { return make(chan error, 1) }}

func (g *etcdGroup) ask(data []byte) error {
	done := waiters.Get().(chan error)
	g.nodes[2].asked <- asking{data, done}
	err := <-done
	waiters.Put(done)
	return err
}

func (g *etcdGroup) propose(data []byte) error { return g.ask(data) }
func (g *etcdGroup) read() error               { return g.ask(nil) }

func (g *etcdGroup) close() {
	select {
	case <-g.quit:
	default:
		close(g.quit)
	}
	g.wg.Wait()
}

func (n *etcdNode) loop() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		n.handle()
		select {
		case m := <-n.inbox:
			n.raw.Step(m)
		case a := <-n.asked:
			n.take(a)
		case <-ticker.C:
			n.raw.Tick()
		case <-n.group.quit:
			return
		}
		n.takeAll()
		n.act()
	}
}

// takeAll takes what waits, without waiting.
func (n *etcdNode) takeAll() {
	for range 256 {
		select {
		case m := <-n.inbox:
			n.raw.Step(m)
			continue
		default:
		}
		break
	}
	for len(n.entries) < 1024 {
		select {
		case a := <-n.asked:
			n.take(a)
			continue
		default:
		}
		break
	}
}

func (n *etcdNode) take(a asking) {
	if a.data == nil {
		n.readers = append(n.readers, a.done)
		return
	}
	n.entries = append(n.entries, entryOf(a.data))
	n.proposed = append(n.proposed, a.done)
}

// act proposes what was taken, and asks for an index if somebody wants one.
func (n *etcdNode) act() {
	if len(n.entries) > 0 {
		if err := n.raw.Step(proposal(n.entries)); err != nil {
			panic(err) // the queue would not fit any more
		}
		n.entries = nil
	}
	if len(n.readers) > 0 && n.round == 0 && n.raw.BasicStatus().RaftState == raft.StateLeader && n.applied > 1 {
		n.rounds++
		n.round = n.rounds
		n.sharing, n.readers = n.readers, nil
		n.raw.ReadIndex(binary.BigEndian.AppendUint64(nil, n.round))
	}
}

func (n *etcdNode) handle() {
	for n.raw.HasReady() {
		rd := n.raw.Ready()
		if !raft.IsEmptyHardState(rd.HardState) {
			n.storage.SetHardState(rd.HardState)
		}
		n.storage.Append(rd.Entries)
		for _, m := range rd.Messages {
			select {
			case n.group.nodes[to(m)-1].inbox <- m:
			default: // it is full; Raft repeats itself
			}
		}
		for _, s := range rd.ReadStates {
			if binary.BigEndian.Uint64(s.RequestCtx) == n.round {
				n.ready = append(n.ready, etcdRead{s.Index, n.sharing})
				n.round, n.sharing = 0, nil
			}
		}
		n.apply(rd.CommittedEntries)
		n.raw.Advance(rd)
		n.act()
	}
}

func (n *etcdNode) apply(entries []entry) {
	for _, e := range entries {
		n.applied = index(e)
		if len(n.proposed) > 0 && len(dataOf(e)) > 0 {
			n.proposed[0] <- nil
			n.proposed = n.proposed[1:]
		}
	}
	for len(n.ready) > 0 && n.ready[0].index <= n.applied {
		for _, r := range n.ready[0].readers {
			r <- nil
		}
		n.ready = n.ready[1:]
	}
	if first, _ := n.storage.FirstIndex(); n.applied > first+keep+room {
		n.storage.Compact(n.applied - keep)
	}
}
