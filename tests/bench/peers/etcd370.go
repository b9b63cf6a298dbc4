//go:build etcd370

package peers

import pb "go.etcd.io/raft/v3/raftpb"

// The types of v3.7.0.
const etcdVersion = "v3.7.0"

type (
	message   = *pb.Message
	entry     = *pb.Entry
	hardState = *pb.HardState
	confState = *pb.ConfState
	snapshot  = *pb.Snapshot
)

func to(m message) uint64            { return m.GetTo() }
func index(e entry) uint64           { return e.GetIndex() }
func term(e entry) uint64            { return e.GetTerm() }
func newEntry() entry                { return &pb.Entry{} }
func voters(ids ...uint64) confState { return &pb.ConfState{Voters: ids} }

func proposal(entries []entry) message {
	return &pb.Message{Type: pb.MsgProp.Enum(), From: new(uint64(3)), Entries: entries}
}

// entriesFor returns the entries of a proposal. The node keeps them, so they are
// new ones every time; the pointers to them are copied.
func (e *etcd) entriesFor(batch int, data []byte) []entry {
	if len(e.entries) != batch {
		e.entries = make([]entry, batch)
	}
	slab := make([]pb.Entry, batch)
	for i := range slab {
		slab[i].Data = data
		e.entries[i] = &slab[i]
	}
	return e.entries
}

func dataOf(e entry) []byte     { return e.GetData() }
func entryOf(data []byte) entry { return &pb.Entry{Data: data} }

// firstSnapshot is what three voters begin with.
func firstSnapshot() snapshot {
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(1)), Term: new(uint64(1)), ConfState: voters(1, 2, 3)}}
}
