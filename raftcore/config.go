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
	// it. Completions addressed to an earlier start are ignored.
	Boot uint64
	// Seed draws the jitter of election timeouts. The same seed and inputs give
	// the same outputs.
	Seed uint64

	// ElectionTimeout is how long followers wait for a sign of the leader before
	// they ask for an election, and how long a leader goes on without a sign of a
	// quorum. The actual wait is drawn between it and one and a half of it.
	// Default 1 s. It should be well over the network's round trip and the
	// longest usual fsync.
	ElectionTimeout time.Duration
	// HeartbeatInterval is how often an idle leader shows itself. Default: a
	// tenth of ElectionTimeout; at most a third of it.
	HeartbeatInterval time.Duration

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
	// MaxReads bounds the reads that wait for confirmation. Default 65,536.
	MaxReads int
	// MaxWindowBytes bounds the entries that are held in memory after they are
	// durable and committed, for the state machine and for followers that are a
	// little behind. Older ones are loaded. Default 4 MiB.
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
	def(&c.MaxAppendBytes, 256<<10)
	def(&c.MaxInflight, 64)
	def(&c.MaxInflightBytes, 1<<20)
	def(&c.MaxCommandBytes, 4<<20)
	def(&c.MaxUncommittedBytes, 16<<20)
	def(&c.MaxApplyBytes, 4<<20)
	def(&c.MaxReads, 1<<16)
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
		{"MaxReads", c.MaxReads},
		{"MaxWindowBytes", c.MaxWindowBytes},
	} {
		if f.value <= 0 {
			bad("%s is %d, not positive", f.name, f.value)
		}
	}
	return errors.Join(errs...)
}
