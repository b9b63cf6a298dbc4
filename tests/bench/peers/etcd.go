// Package peers compares this library with others, the same work for each, in
// one run. It is a module of its own, so that they stay out of the library's
// go.mod.
//
//	go test -run '^$' -bench Cores                                            # etcd's raft v3.6.0
//	go test -run '^$' -bench Cores -tags etcd370 -modfile etcd370.mod         # and v3.7.0
//	go test -run '^$' -bench 'Memory|Reads' -benchtime 9x -tags etcd370 -modfile etcd370.mod
//	go test -run '^$' -bench Disk -benchtime 9x
//
// (from this folder). Two versions of one module cannot be in one build, and
// v3.7.0 changed the types, so the second has a go.mod and a file of types of
// its own; the figure that counts is the smaller ratio of the two.
package peers

import (
	"fmt"

	"go.etcd.io/raft/v3"
)

// etcd is three of etcd's RawNodes, driven like package trio drives three of
// ours: one goroutine, direct calls, no disk, and the best settings found:
//
//   - a round's proposals are one MsgProp, because every MsgProp is sent on by
//     itself: one by one a batch of 256 is 30 times slower;
//   - no limits that a batch could reach;
//   - a Storage that is a slice without the mutex of MemoryStorage;
//   - both ways to write, Ready and Advance (async is false) and local messages
//     (async is true); the faster is compared with.
type etcd struct {
	members [3]etcdMember // the leader is the last
	leader  *etcdMember
	async   bool
	rounds  int
	entries []entry
}

type etcdMember struct {
	node    *raft.RawNode
	storage storage
	applied uint64
}

// tickRounds is how many rounds a tick takes: as much time as between two
// heartbeats of ours.
const tickRounds = 2000

func newEtcd(async bool) (*etcd, error) {
	e := &etcd{async: async}
	for i := range e.members {
		m := &e.members[i]
		m.storage.entries = make([]entry, 1)
		m.storage.entries[0] = newEntry()
		node, err := raft.NewRawNode(&raft.Config{
			ID: uint64(i + 1), Storage: &m.storage, ElectionTick: 10, HeartbeatTick: 1,
			MaxSizePerMsg: 16 << 20, MaxCommittedSizePerReady: 16 << 20, MaxInflightMsgs: 256,
			CheckQuorum: true, PreVote: true, AsyncStorageWrites: async, Logger: silent{},
		})
		if err != nil {
			return nil, err
		}
		m.node = node
	}
	e.leader = &e.members[2]
	if err := e.leader.node.Campaign(); err != nil {
		return nil, err
	}
	e.settle()
	if s := e.leader.node.BasicStatus(); s.RaftState != raft.StateLeader {
		return nil, fmt.Errorf("etcd: node %d is %v", s.ID, s.RaftState)
	}
	return e, nil
}

// round proposes a batch of commands, and returns when all three members have
// saved, committed and applied all of it, and nobody has anything left to say.
func (e *etcd) round(batch int, data []byte) {
	if e.rounds++; e.rounds%tickRounds == 0 {
		for i := range e.members {
			e.members[i].node.Tick()
		}
	}
	before := e.leader.applied
	e.step(proposal(e.entriesFor(batch, data)))
	e.settle()
	for i := range e.members {
		if got := e.members[i].applied - before; got != uint64(batch) {
			panic(fmt.Sprintf("etcd: a member applied %d of %d", got, batch))
		}
	}
}

// settle runs the members until nobody has anything to do: the followers as
// long as they have, then the leader once, and so on.
func (e *etcd) settle() {
	for moving := true; moving; {
		moving = false
		for i := range e.members {
			m := &e.members[i]
			for m.node.HasReady() {
				moving = true
				if e.async {
					e.handleAsync(m)
				} else {
					e.handle(m)
				}
				if m == e.leader {
					break
				}
			}
		}
	}
}

func (e *etcd) handle(m *etcdMember) {
	rd := m.node.Ready()
	m.storage.append(rd.Entries)
	if !raft.IsEmptyHardState(rd.HardState) {
		m.storage.hard = rd.HardState
	}
	for _, msg := range rd.Messages {
		e.step(msg)
	}
	m.apply(rd.CommittedEntries)
	m.node.Advance(rd)
}

func (e *etcd) handleAsync(m *etcdMember) {
	rd := m.node.Ready()
	for _, msg := range rd.Messages {
		switch to(msg) {
		case raft.LocalAppendThread:
			m.storage.append(msg.Entries)
			if !raft.IsEmptyHardState(rd.HardState) {
				m.storage.hard = rd.HardState
			}
		case raft.LocalApplyThread:
			m.apply(msg.Entries)
		default:
			e.step(msg)
			continue
		}
		for _, response := range msg.Responses {
			e.step(response)
		}
	}
}

func (e *etcd) step(m message) {
	id := to(m)
	if id == 0 {
		id = 3 // a proposal
	}
	if err := e.members[id-1].node.Step(m); err != nil {
		panic(err)
	}
}

func (m *etcdMember) apply(entries []entry) {
	if len(entries) == 0 {
		return
	}
	if first := index(entries[0]); first != m.applied+1 {
		panic(fmt.Sprintf("etcd: entry %d is applied after %d", first, m.applied))
	}
	m.applied = index(entries[len(entries)-1])
}

// storage is the log as a slice. The first entry stands for what was forgotten.
type storage struct {
	hard    hardState
	entries []entry
}

// keep and room are how many entries are kept, and how many more there may be
// before the others are forgotten: about as much as our window holds.
const (
	keep = 1 << 14
	room = 1 << 16
)

func (s *storage) append(entries []entry) {
	if len(entries) == 0 {
		return
	}
	if len(s.entries)+len(entries) > cap(s.entries) {
		kept := s.entries[max(0, len(s.entries)-keep):]
		s.entries = append(make([]entry, 0, keep+room+len(entries)), kept...)
	}
	s.entries = append(s.entries[:index(entries[0])-index(s.entries[0])], entries...)
}

func (s *storage) InitialState() (hardState, confState, error) {
	return s.hard, voters(1, 2, 3), nil
}

func (s *storage) Entries(lo, hi, maxSize uint64) ([]entry, error) {
	first := index(s.entries[0])
	if lo <= first {
		return nil, raft.ErrCompacted
	}
	found := s.entries[lo-first : hi-first]
	return found[:len(found):len(found)], nil // maxSize is more than a batch
}

func (s *storage) Term(i uint64) (uint64, error) {
	first := index(s.entries[0])
	switch {
	case i < first:
		return 0, raft.ErrCompacted
	case i-first >= uint64(len(s.entries)):
		return 0, raft.ErrUnavailable
	}
	return term(s.entries[i-first]), nil
}

func (s *storage) LastIndex() (uint64, error) {
	return index(s.entries[0]) + uint64(len(s.entries)) - 1, nil
}

func (s *storage) FirstIndex() (uint64, error) { return index(s.entries[0]) + 1, nil }

func (s *storage) Snapshot() (snapshot, error) {
	var none snapshot
	return none, raft.ErrSnapshotTemporarilyUnavailable
}

var _ raft.Storage = (*storage)(nil)

// silent is a logger that costs nothing.
type silent struct{}

func (silent) Debug(...any)                   {}
func (silent) Debugf(string, ...any)          {}
func (silent) Error(...any)                   {}
func (silent) Errorf(string, ...any)          {}
func (silent) Info(...any)                    {}
func (silent) Infof(string, ...any)           {}
func (silent) Warning(...any)                 {}
func (silent) Warningf(string, ...any)        {}
func (silent) Fatal(v ...any)                 { panic(fmt.Sprint(v...)) }
func (silent) Fatalf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }
func (silent) Panic(v ...any)                 { panic(fmt.Sprint(v...)) }
func (silent) Panicf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }
