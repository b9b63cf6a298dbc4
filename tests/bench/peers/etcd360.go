//go:build !etcd370

package peers

import pb "go.etcd.io/raft/v3/raftpb"

// The types of v3.6.0.
const etcdVersion = "v3.6.0"

type (
	message   = pb.Message
	entry     = pb.Entry
	hardState = pb.HardState
	confState = pb.ConfState
	snapshot  = pb.Snapshot
)

func to(m message) uint64            { return m.To }
func index(e entry) uint64           { return e.Index }
func term(e entry) uint64            { return e.Term }
func newEntry() entry                { return pb.Entry{} }
func voters(ids ...uint64) confState { return pb.ConfState{Voters: ids} }

func proposal(entries []entry) message {
	return pb.Message{Type: pb.MsgProp, From: 3, Entries: entries}
}

// entriesFor returns the entries of a proposal. The node copies them, so one
// slice serves all rounds.
func (e *etcd) entriesFor(batch int, data []byte) []entry {
	if len(e.entries) != batch {
		e.entries = make([]entry, batch)
	}
	for i := range e.entries {
		e.entries[i] = pb.Entry{Data: data}
	}
	return e.entries
}

func dataOf(e entry) []byte     { return e.Data }
func entryOf(data []byte) entry { return pb.Entry{Data: data} }

// firstSnapshot is what three voters begin with.
func firstSnapshot() snapshot {
	return pb.Snapshot{Metadata: pb.SnapshotMetadata{Index: 1, Term: 1, ConfState: voters(1, 2, 3)}}
}
