package raftcore

import (
	"fmt"
	"time"
)

// NodeID names one participant of a group. It is never zero: zero means "nobody".
type NodeID uint64

// Nobody is the absence of a node: no leader is known, no vote was cast.
const Nobody NodeID = 0

// maxTerm and maxIndex bound what is believed: no group gets that far, and
// counting on from there would wrap around.
const (
	maxTerm  Term  = 1 << 62
	maxIndex Index = 1 << 62
)

// Term numbers the reigns of leaders (Raft §5.1). It only ever rises.
type Term uint64

// Index is a position in the log. The first entry has index 1.
type Index uint64

// ClusterID names the lineage of a group: two groups that were founded apart
// never exchange a message, whatever addresses they were given. Zero means
// that the node does not belong to a lineage yet.
type ClusterID uint64

// Incarnation names one life of a member's disk. It is drawn at random when
// the disk is fresh, so a member that lost its disk is told from the one that
// its peers knew.
type Incarnation uint64

// Tag is the caller's name for a request: the core carries it, never reads it,
// and hands it back with the outcome. Zero asks for no outcome.
type Tag uint64

// Instant is a point on a monotonic clock, in nanoseconds, after an origin of the
// caller's choice. It is positive: zero means never.
type Instant int64

// Add returns the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Sub returns how much later t is than u.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

// EntryID is the identity of a log entry: where it stands and which leader put
// it there. Two entries with the same EntryID are the same entry, and so are
// all entries before them (Raft §5.3, Log Matching).
type EntryID struct {
	Term  Term
	Index Index
}

// AtLeast reports whether a log that ends in a is at least as complete as one
// that ends in b: the later term wins, then the longer log (Raft §5.4.1).
func (a EntryID) AtLeast(b EntryID) bool {
	return a.Term > b.Term || a.Term == b.Term && a.Index >= b.Index
}

// EntryKind says whom an entry speaks to.
type EntryKind uint8

// The kinds of entries. Zero is none of them, so that a forgotten kind is
// noticed.
const (
	EntryNoop    EntryKind = 1 // opens a leader's term, speaks to nobody (Raft §8)
	EntryCommand EntryKind = 2 // speaks to the state machine
	EntryConfig  EntryKind = 3 // speaks to Raft: the members from here on
	EntryHost    EntryKind = 4 // speaks to who hosts the state machine: sessions, say
	EntryMeta    EntryKind = 5 // in a witness's log: stands where others have a command, without its data
)

// Valid reports whether k is one of the kinds. What is of a later version must be
// refused, not skipped: members would apply different logs.
func (k EntryKind) Valid() bool { return k >= EntryNoop && k <= EntryMeta }

// Entry is one position of the replicated log. Entries are immutable: whoever
// holds one may keep it, nobody may change it, Data included.
type Entry struct {
	EntryID
	// Time is the leader's wall clock when it appended the entry, in Unix
	// milliseconds. It never decreases along a log: this is the only clock that
	// every replica agrees on.
	Time int64
	Kind EntryKind
	// Data is the command, opaque to the core. It may be nil for callers that
	// keep payloads by index themselves.
	Data []byte
	// Config is set for EntryConfig only.
	Config *ConfState
}

// entryOverhead is what an entry costs in memory and on the wire beside its
// data, in bytes, roughly. It keeps floods of empty commands within the bounds.
const entryOverhead = 64

// Size is what e counts for in every bound of Config and Load, in bytes.
func (e *Entry) Size() int { return len(e.Data) + entryOverhead }

// HardState is what a node must not forget before it answers anybody (Raft
// Figure 2, "persistent state"), beside its log.
type HardState struct {
	Term    Term
	Vote    NodeID    // whom it voted for in Term
	Cluster ClusterID // the lineage it belongs to; written once, but see Lineage
	// Joined: this disk has once held everything that was committed. Before that
	// its node is a newcomer, who may be one that lost its disk: see newcomer.go.
	Joined bool
	// Witness: this disk is a witness's. Of commands its log has the places alone, so
	// nobody else can go on with it: see witness.go.
	Witness bool
}

// Role is what a node is at the moment.
type Role uint8

// The roles of Raft §5.1, and the one before candidate: a pre-candidate asks
// whether it would be elected, and disturbs nobody by asking (thesis §9.6).
const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

// TermRun says that the entries from First on, up to the next run or the end
// of the log, have this term. A log has as many runs as it saw leaders, so it
// can name the term of any of its entries without holding them.
type TermRun struct {
	First Index
	Term  Term
}

// ConfigAt is a configuration and the index of the entry that set it.
type ConfigAt struct {
	Index Index
	Conf  ConfState
}

// SnapshotMeta is what Raft must know of a snapshot of the state machine: what
// stands in the log's place (Raft §7). The zero value is no snapshot.
type SnapshotMeta struct {
	Last EntryID  // the last entry that the snapshot covers
	Time int64    // of that entry
	Conf ConfigAt // in force as of that entry, a joint one included
}

// valid reports whether m can be a snapshot.
func (m *SnapshotMeta) valid() bool {
	return m.Last.Index > 0 && m.Last.Index <= maxIndex && m.Last.Term > 0 && m.Conf.Index <= m.Last.Index && m.Conf.Conf.valid()
}

// Recovered is what a node starts from: everything that its disk kept. The
// zero value is a pristine node.
type Recovered struct {
	HardState   HardState
	Incarnation Incarnation
	// Damaged: the disk has lost some of what it held, at the end of the log or of
	// the hard state, nobody knows how much. It is as if it had been lost as a whole:
	// HardState.Joined is false, Incarnation is a new one, and so the node counts for
	// nothing until a leader has sent it what is missing, and has admitted it.
	Damaged bool
	// Snapshot is the newest snapshot of the state machine; zero if there is none.
	Snapshot SnapshotMeta
	// Applied is the last entry that a machine has applied which keeps its state
	// on a disk of its own. Zero for machines in memory: they are restored from
	// Snapshot.
	Applied Index
	// Base is the entry before the first one of the log: zero, or one that the
	// snapshot covers. Some entries before the snapshot's last may be kept.
	Base EntryID
	// BaseConf is the configuration as of Base.
	BaseConf ConfigAt
	// Runs are the terms of the entries after Base.
	Runs []TermRun
	// Last is the index of the last entry; Base.Index for an empty log.
	Last Index
	// LastTime is the Time of the last entry, or that of the snapshot.
	LastTime int64
	// Configs are the configuration entries after Base, in order.
	Configs []ConfigAt
	// Tail may hold the newest entries, contiguous and ending in Last, so that
	// they need not be loaded again. The node may keep the slice.
	Tail []Entry
}

// Pristine reports whether nothing was ever kept.
func (r *Recovered) Pristine() bool {
	return r.HardState == HardState{} && r.Last == 0 && r.Base == EntryID{}
}

// Note adds to what r says of the log that its next entry is e: the term run,
// the configuration, the time. Stores call it for one entry after the other.
func (r *Recovered) Note(e *Entry) {
	if n := len(r.Runs); n == 0 || r.Runs[n-1].Term != e.Term {
		r.Runs = append(r.Runs, TermRun{First: e.Index, Term: e.Term})
	}
	if e.Kind == EntryConfig {
		r.Configs = append(r.Configs, ConfigAt{Index: e.Index, Conf: *e.Config})
	}
	r.Last = e.Index
	r.LastTime = max(r.LastTime, e.Time)
}

func (r *Recovered) String() string {
	return fmt.Sprintf("recovered term=%d vote=%d cluster=%x base=%v last=%d", r.HardState.Term, r.HardState.Vote, uint64(r.HardState.Cluster), r.Base, r.Last)
}
