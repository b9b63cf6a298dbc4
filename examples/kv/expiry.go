package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// gauges are what a member's machine shows of itself without being asked. They
// outlive it: after a failure there is another.
type gauges struct {
	keys, volatile atomic.Int64
	now            atomic.Int64  // log time, Unix milliseconds
	earliest       atomic.Int64  // the first deadline, or zero
	changed        chan struct{} // earliest has changed
}

func newGauges() *gauges { return &gauges{changed: make(chan struct{}, 1)} }

func (g *gauges) show(k *keyspace) {
	g.keys.Store(int64(k.size))
	g.volatile.Store(int64(len(k.volatile)))
	g.now.Store(k.now)
	if e := k.earliest(); g.earliest.Swap(e) != e {
		select {
		case g.changed <- struct{}{}:
		default:
		}
	}
}

// expirePause is the least time between two entries that only tell the time. It
// is how often Redis looks for expired keys.
const expirePause = 100 * time.Millisecond

// expire has the log told the time when the first deadline has passed, if this
// member leads: then the machines free the memory of what nobody asks for. It
// returns when ctx ends.
func expire(ctx context.Context, group group, g *gauges) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.changed:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		deadline := g.earliest.Load()
		if deadline == 0 {
			timer.Stop()
			continue
		}
		if wait := time.Until(time.UnixMilli(deadline)); wait > 0 {
			timer.Reset(wait)
			continue
		}
		tellTime(ctx, group)
		timer.Reset(expirePause)
	}
}

// tellTime appends an entry without commands, if this member leads. If that
// fails, there will be another.
func tellTime(ctx context.Context, group group) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s, err := group.Status(ctx); err == nil && s.Role == raftcore.Leader {
		_, _ = group.Propose(ctx, tick)
	}
}
