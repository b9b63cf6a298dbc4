package actors

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// This file is about how much memory a host takes when more comes than it can deal with: a
// disk stalls, a machine, or whoever is needed for a quorum.
//
// A request counts from when it is taken until it is answered, wherever it is meanwhile;
// one that nobody waits for any more counts on, as long as it is somewhere. Beside the
// requests count the tables of a group, of what its sessions were answered and of effects
// that wait: they are as long as clients and actors let them be. What a leader sends counts
// with those who take it, until their disk has it. The rest has bounds of its own, in
// raftcore.Config, for each group.

// BusyError is the ErrBusy that knows what is full.
type BusyError struct {
	What        string // the bound, in words
	Used, Limit int64  // 0: not known here. Bytes, or requests: What says
	// RetryAfter is when to try again, at the soonest; 0: not known. A bound that was
	// reached once is often reached again: let the pause grow.
	RetryAfter time.Duration
}

func (e *BusyError) Error() string {
	text := fmt.Sprintf("%v: %s", ErrBusy, e.What)
	if e.Limit > 0 {
		text += fmt.Sprintf(" (%d of %d)", e.Used, e.Limit)
	}
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(", try again in %v", e.RetryAfter)
	}
	return text
}

// Unwrap makes it ErrBusy, which is ErrRejected.
func (e *BusyError) Unwrap() error { return ErrBusy }

// budget is what is used of MaxBytes, by a host or by a group.
type budget struct {
	limit  int64
	calls  atomic.Int64 // of requests that are not answered
	tables atomic.Int64 // of sessions' results, and effects
}

// callOverhead is about what a request takes beside its data.
const callOverhead = 512

// admit counts a request, or returns why it is not taken. What makes room is always taken,
// and so is what an operator wants. It is counted before it is looked at what was: others are
// admitted at the same time.
func (g *Group) admit(c *call) error {
	h, bytes := g.host, c.bytes()
	if used := g.budget.take(bytes); used > g.budget.limit && c.needsRoom() {
		g.budget.take(-bytes)
		return h.noRoom("in the group", used-bytes, g.budget.limit)
	}
	if used := h.budget.take(bytes); used > h.budget.limit && c.needsRoom() {
		g.budget.take(-bytes)
		h.budget.take(-bytes)
		return h.noRoom("on the host", used-bytes, h.budget.limit)
	}
	c.group = g
	c.counts.Store(true)
	return nil
}

// noRoom is for a request that does not fit.
func (h *Host) noRoom(where string, used, limit int64) error {
	h.sweepPeers()
	return &BusyError{What: "bytes of requests, results and effects " + where, Used: used, Limit: limit, RetryAfter: h.cfg.Raft.HeartbeatInterval}
}

// take counts bytes of requests, and returns what is used with them.
func (b *budget) take(bytes int64) (used int64) { return b.calls.Add(bytes) + b.tables.Load() }

// bytes are what a call counts for.
func (c *call) bytes() int64 { return int64(len(c.data)) + callOverhead }

// needsRoom reports whether c is one of those that fill a host.
func (c *call) needsRoom() bool {
	switch c.operation {
	case Propose, Read:
		return true
	case orderSessions:
		return len(c.data) == 0 || c.data[0] == sessionOpens || c.data[0] == sessionCommand
	}
	return false
}

// release is for a call that is nowhere any more.
func (c *call) release() {
	if c.counts.Load() && c.counts.Swap(false) {
		bytes := c.bytes()
		c.group.budget.take(-bytes)
		c.group.host.budget.take(-bytes)
	}
}

// arrived is a message with entries. They count as waiting for the disk until its node has
// given them to the log, where they count again.
type arrived struct {
	message *raftcore.Message
	waiting *atomic.Int64
	bytes   int64
}

// count counts a message with entries.
func (h *Host) count(m *raftcore.Message, entries []raftcore.Entry) *arrived {
	a := &arrived{message: m, waiting: &h.unsaved}
	for i := range entries {
		a.bytes += int64(entries[i].Size())
	}
	a.waiting.Add(a.bytes)
	return a
}

// done is for one that the node has dealt with.
func (a *arrived) done() {
	a.waiting.Add(-a.bytes)
	a.bytes = 0 // it may be said twice, after a panic
}

func (a *arrived) orphaned() { a.done() }

// holds notes how large a table of the group is.
func (g *Group) holds(table *atomic.Int64, bytes int) {
	more := int64(bytes) - table.Swap(int64(bytes))
	g.budget.tables.Add(more)
	g.host.budget.tables.Add(more)
}

// sweepPeers has the calls forgotten that were sent to other hosts, are not answered, and
// that nobody waits for any more.
func (h *Host) sweepPeers() {
	now := h.now()
	if last := raftcore.Instant(h.swept.Load()); now >= last.Add(h.cfg.Raft.HeartbeatInterval) && h.swept.CompareAndSwap(int64(last), int64(now)) {
		for _, p := range h.peers.Load().each() {
			p.tell(sweepCalls{})
		}
	}
}

// defaultMaxBytes is a quarter of the process's memory limit, if it has one.
func defaultMaxBytes() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return max(limit/4, 16<<20)
	}
	return 256 << 20
}
