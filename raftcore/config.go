package raftcore

import (
	"errors"
	"fmt"
	"time"
)

// Config is what a node is told once. Zero fields mean the default. There is
// no switch for safety: pre-vote, leader stickiness and check-quorum are always
// on.
type Config struct {
	// ID names this node within its group. Required.
	ID NodeID
	// Boot numbers the starts of this node; no two starts from one disk share
	// it. Completions addressed to an earlier start are ignored. Required: a
	// persistence.Store draws one for each opening.
	Boot uint64
	// Seed draws the jitter of election timeouts. The same seed and inputs give
	// the same outputs.
	Seed uint64

	// ElectionTimeout is how long followers wait for a sign of the leader before
	// they ask for an election, and how long a leader goes on without a sign of a
	// quorum. The actual wait is drawn between it and one and a half of it. A leader
	// whose signs of life arrive, and whose entries do not, goes on for ten of it.
	// Default 1 s. It should be well over the network's round trip and the
	// longest usual fsync.
	ElectionTimeout time.Duration
	// HeartbeatInterval is how often an idle leader shows itself: a busy one does with
	// the entries that it sends, as long as they are acknowledged in time. Default: a
	// tenth of ElectionTimeout; at most a third of it.
	HeartbeatInterval time.Duration
	// Joins: this node was not among the founders, or its disk was lost: it waits to
	// be added to a group that exists, and takes no part in founding one. Set it
	// wherever it is true: founders that slept since the founding, together with
	// members that come back with a fresh disk and without this, could found the
	// group a second time.
	Joins bool
	// Witness: this node keeps no data. It votes, and acknowledges entries without having
	// what is in them, and has no state machine. It has to be a witness in the
	// configuration, too, and its disk another's never: see witness.go.
	Witness bool
	// Priority says who should lead if several could: for a few election timeouts a
	// member does not vote for one of a lower priority whose log is no better than its
	// own. That is its own vote alone: the others may elect somebody else. Default 0,
	// for all alike.
	Priority int
	// CampaignOnDemand has a proposal or read that finds no leader start an
	// election.
	CampaignOnDemand bool
	// Quiesce has a group fall silent that has had nothing to do for a few
	// heartbeats: no ticks, no messages. Only for hosts that notice when the host
	// of a leader is gone, and say so with Unreachable.
	Quiesce bool
	// LeaseReads has a leader answer reads without asking a quorum, for as long as
	// an earlier answer of one proves that nobody else can lead. That proof rests
	// on clocks that run evenly: see MaxClockDrift. Set it on all members alike.
	LeaseReads bool
	// MaxClockDrift bounds how much faster or slower than real time any member's
	// monotonic clock may run, in parts per thousand. Leases are cut short
	// accordingly. Default 50.
	MaxClockDrift int

	// SaveTimeout is how long a Save may take before the disk counts as stalled:
	// then a leader refuses proposals with Busy and hands its office over, and
	// nobody stands for election. Default: ten times ElectionTimeout.
	SaveTimeout time.Duration

	// SnapshotEntries, SnapshotBytes and SnapshotAge say when to ask for a
	// snapshot: when so many entries, or bytes of them, have been applied since
	// the last one, or when it is so old and something has been applied. Zero: not
	// for this reason.
	SnapshotEntries int
	SnapshotBytes   int
	SnapshotAge     time.Duration
	// KeepEntries is how many entries before a snapshot's last are kept for
	// followers that are a little behind. Default 1024; negative: none.
	KeepEntries int

	// MaxAppendBytes bounds the entries of one AppendRequest, and of one Load.
	// An entry that is larger travels alone. Default 256 KiB.
	MaxAppendBytes int
	// MaxInflight bounds the AppendRequests with entries that a peer has not
	// answered. Default 64.
	MaxInflight int
	// MaxInflightBytes bounds the bytes of these. Default 1 MiB.
	MaxInflightBytes int
	// MaxCommandBytes bounds one command. Default 4 MiB.
	MaxCommandBytes int
	// MaxUncommittedBytes bounds what a leader accepts before it is committed;
	// beyond it proposals are refused with Busy. Default 16 MiB.
	MaxUncommittedBytes int
	// MaxApplyBytes bounds the committed entries that are handed to the state
	// machine and not yet applied. Default 4 MiB.
	MaxApplyBytes int
	// MaxUnapplied bounds the entries in a leader's log that its state machine has
	// not applied; beyond it proposals are refused with Busy. Default 1,048,576.
	MaxUnapplied int
	// MaxUnsavedBytes bounds what a follower takes in before its disk has it;
	// beyond it entries are dropped, and the leader sends them again. Default
	// 16 MiB.
	MaxUnsavedBytes int
	// MaxReads bounds the reads that wait for confirmation. Default 65,536.
	MaxReads int
	// MaxWindowBytes bounds the entries that are held in memory after they are
	// durable and committed, as long as the state machine or a follower is not
	// known to have them. Older ones are loaded. Default 4 MiB.
	MaxWindowBytes int
}

// WithDefaults returns c with every zero field set to its default.
func (c Config) WithDefaults() Config {
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = time.Second
	}
	if c.HeartbeatInterval == 0 {
		c.HeartbeatInterval = c.ElectionTimeout / 10
	}
	if c.SaveTimeout == 0 {
		c.SaveTimeout = 10 * c.ElectionTimeout
	}
	def(&c.MaxAppendBytes, 256<<10)
	def(&c.MaxInflight, 64)
	def(&c.MaxInflightBytes, 1<<20)
	def(&c.MaxCommandBytes, 4<<20)
	def(&c.MaxUncommittedBytes, 16<<20)
	def(&c.MaxApplyBytes, 4<<20)
	def(&c.MaxUnapplied, 1<<20)
	def(&c.MaxUnsavedBytes, 16<<20)
	def(&c.MaxReads, 1<<16)
	def(&c.MaxClockDrift, 50)
	def(&c.KeepEntries, 1024)
	def(&c.MaxWindowBytes, 4<<20)
	return c
}

// Validate returns every mistake in c at once, or nil. It expects the defaults
// to be filled in.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.ID == Nobody {
		bad("ID is zero")
	}
	if c.ElectionTimeout <= 0 {
		bad("ElectionTimeout is %v, not positive", c.ElectionTimeout)
	}
	if c.HeartbeatInterval <= 0 || c.HeartbeatInterval > c.ElectionTimeout/3 {
		bad("HeartbeatInterval is %v, not between 0 and a third of ElectionTimeout (%v)", c.HeartbeatInterval, c.ElectionTimeout/3)
	}
	if c.SaveTimeout <= 0 {
		bad("SaveTimeout is %v, not positive", c.SaveTimeout)
	}
	if c.MaxClockDrift < 0 || c.MaxClockDrift >= 1000 {
		bad("MaxClockDrift is %d, not between 0 and 999", c.MaxClockDrift)
	}
	if c.SnapshotEntries < 0 || c.SnapshotBytes < 0 || c.SnapshotAge < 0 {
		bad("SnapshotEntries, SnapshotBytes and SnapshotAge are %d, %d and %v; none may be negative", c.SnapshotEntries, c.SnapshotBytes, c.SnapshotAge)
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxAppendBytes", c.MaxAppendBytes},
		{"MaxInflight", c.MaxInflight},
		{"MaxInflightBytes", c.MaxInflightBytes},
		{"MaxCommandBytes", c.MaxCommandBytes},
		{"MaxUncommittedBytes", c.MaxUncommittedBytes},
		{"MaxApplyBytes", c.MaxApplyBytes},
		{"MaxUnapplied", c.MaxUnapplied},
		{"MaxUnsavedBytes", c.MaxUnsavedBytes},
		{"MaxReads", c.MaxReads},
		{"MaxWindowBytes", c.MaxWindowBytes},
	} {
		if f.value <= 0 {
			bad("%s is %d, not positive", f.name, f.value)
		}
	}
	return errors.Join(errs...)
}
