package actors

import (
	"container/heap"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// clock wakes nodes when their deadlines come. There is one for all groups of a
// host; it sleeps until the earliest deadline, so idle groups cost nothing.
//
//	node  → clock  wakeOrder
//	clock → node   woken
type clock struct {
	host  *Host
	grain time.Duration // it wakes at multiples of it, whoever is due by then together
	box   *mailbox
	due   wakeOrders
	timer Timer
	at    raftcore.Instant // what the timer is set to; 0: it is not
}

// wakeOrder asks for one woken, at an instant.
type wakeOrder struct {
	at   raftcore.Instant
	from ref
	of   *alarm // nil: there is none, and it is final
}

// alarm is when a node wants to be woken. Mostly it is put off again and again: what the
// node does next, it does because something has happened. So the clock looks at it before
// it wakes the node.
type alarm struct {
	mu  sync.Mutex
	due raftcore.Instant // 0: never
	set raftcore.Instant // when the clock will look; 0: it will not
}

// put sets the alarm, and reports whether the clock has to be told.
func (a *alarm) put(at raftcore.Instant) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due = at
	if at == 0 || a.set != 0 && a.set <= at {
		return false
	}
	a.set = at
	return true
}

// rings reports whether the alarm that was set for an instant rings now; if it was put off,
// it returns when to look again.
func (a *alarm) rings(at, now raftcore.Instant) (rings bool, again raftcore.Instant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case at != a.set: // it has been set for an earlier one since
		return false, 0
	case a.due > now:
		a.set = a.due
		return false, a.due
	}
	a.set = 0
	return a.due != 0, 0
}

// forget is when the clock is a new one.
func (a *alarm) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set = 0
}

// woken tells a node that an instant it asked for has come; with none, that the
// clock is a new one, which was asked for nothing.
type woken struct{ at raftcore.Instant }

// rung is the timer speaking to the clock.
type rung struct{}

func (c *clock) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		self := ref{ctx.Self(), c.box}
		c.timer = c.host.cfg.Runtime.AfterFunc(time.Hour, func() { self.tell(rung{}) })
		c.timer.Stop()
	case *delivery:
		for _, message := range m.Messages {
			switch m := message.(type) {
			case wakeOrder:
				heap.Push(&c.due, m)
			case rung:
				c.at = 0
			}
		}
		c.wake()
	case *actor.Stopped:
		c.timer.Stop()
		c.box.close()
	}
}

// wake wakes whom it is time for, and sets the timer for the next.
func (c *clock) wake() {
	now := c.host.now()
	for len(c.due) > 0 && c.due[0].at <= now {
		order := heap.Pop(&c.due).(wakeOrder)
		if order.of != nil {
			rings, again := order.of.rings(order.at, now)
			if again != 0 {
				order.at = again
				heap.Push(&c.due, order)
			}
			if !rings {
				continue
			}
		}
		order.from.tell(woken{order.at})
	}
	if len(c.due) > 0 && (c.at == 0 || c.due[0].at < c.at) {
		// The heartbeats of many groups then leave, and are answered, together: in a few
		// packets, where there would be one for each.
		grain := raftcore.Instant(c.grain)
		c.at = (c.due[0].at + grain - 1) / grain * grain
		c.timer.Reset(c.at.Sub(now))
	}
}

// wakeOrders is a heap, the earliest first.
type wakeOrders []wakeOrder

func (w wakeOrders) Len() int           { return len(w) }
func (w wakeOrders) Less(i, k int) bool { return w[i].at < w[k].at }
func (w wakeOrders) Swap(i, k int)      { w[i], w[k] = w[k], w[i] }
func (w *wakeOrders) Push(x any)        { *w = append(*w, x.(wakeOrder)) }
func (w *wakeOrders) Pop() any {
	old := *w
	last := old[len(old)-1]
	old[len(old)-1] = wakeOrder{}
	*w = old[:len(old)-1]
	return last
}
