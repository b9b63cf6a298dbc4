package actors

import (
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// effector carries out the effects of a group while this member leads, and has the log
// say what has been done, and what has happened. It also sees to upgrades (versions.go), and to
// sessions that give no sign of life, for a machine that wants to know.
//
//	machine  → effector  leadsOrder, effectsAdded
//	effector → node      *call, an order for the table; answered by effectNoted
//	effector → users     *Sent
//	effector → peers     forward, of askVersions; answered by ableAre
//
// It begins when the machine has applied an entry of the leader's own term, and so all that
// former leaders have noted. One that leads no more and does not know it may do what its
// successor does, too: IDs are for that.
type effector struct {
	group *Group
	host  *Host
	box   *mailbox
	self  ref

	table  *effects                  // of the machine; nil: this member does not lead
	sent   EffectID                  // everything up to here was sent
	noting string                    // the order by which the log is about to say so
	rung   []ring                    // timers that have gone off, and are still to be told
	watch  map[string]raftcore.Index // the entries that asked for it
	gone   map[string]bool           // the actors among them that are gone
	asked  map[string]bool           // orders that are under way
	alarm  Timer
	upgrading
}

// The messages of the effector.
type (
	// leadsOrder has the effector begin with a table, or with nil end.
	leadsOrder struct{ table *effects }
	// effectsAdded: there is something in the table.
	effectsAdded struct{}
	effectNoted  struct {
		order string // encoded
		err   error
	}
	effectsDue struct{} // the alarm speaking
)

// Bounds of what is under way: Appends, and timers or actors that are told of.
const (
	maxAppends = 64
	maxTold    = 256
)

func (f *effector) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		f.self = ref{ctx.Self(), f.box}
		f.alarm = f.host.cfg.Runtime.AfterFunc(time.Hour, func() { f.self.tell(effectsDue{}) })
		f.alarm.Stop()
	case *delivery:
		failed := false
		for _, message := range m.Messages {
			switch m := message.(type) {
			case leadsOrder:
				f.begin(ctx, m.table)
			case effectNoted:
				f.answered(m)
				failed = failed || m.err != nil
			case ableAre:
				f.heard(m)
			}
		}
		if f.table != nil {
			f.act(ctx, failed)
		}
	case *actor.Terminated:
		f.terminated(ctx, m.Who)
	case *actor.Stopped:
		f.alarm.Stop()
		f.box.close()
	}
}

// begin begins with a table, anew if there was one.
func (f *effector) begin(ctx actor.Context, table *effects) {
	for _, a := range sorted(f.watch) { // in the same order each time, as all that is sent
		ctx.Unwatch(f.local(a))
	}
	f.alarm.Stop()
	f.upgrading = upgrading{round: f.upgrading.round}
	f.table, f.sent, f.noting, f.rung = table, EffectID{}, "", nil
	f.watch, f.gone, f.asked = map[string]raftcore.Index{}, map[string]bool{}, map[string]bool{}
}

// answered takes the news that an order was carried out, or not.
func (f *effector) answered(m effectNoted) {
	delete(f.asked, m.order)
	if m.order == f.noting {
		f.noting = ""
	}
}

// act does what is to be done. After a failure it waits a little.
func (f *effector) act(ctx actor.Context, failed bool) {
	if failed {
		f.alarm.Reset(f.host.cfg.Raft.HeartbeatInterval)
		return
	}
	f.send()
	for _, q := range f.table.appendsNow(maxAppends) {
		f.order(effectOrder{kind: effectAppends, id: q.id}.encode())
	}
	f.watchAll(ctx)
	now := f.host.cfg.Runtime.Now()
	next := f.ring(now)
	for _, look := range []time.Time{f.upgrade(now), f.endSessions(now)} {
		if !look.IsZero() && (next.IsZero() || look.Before(next)) {
			next = look
		}
	}
	if !next.IsZero() {
		f.alarm.Reset(next.Sub(now))
	}
}

// send sends what was not sent yet, and then notes that, once at a time.
func (f *effector) send() {
	for _, q := range f.table.sendsAfter(f.sent) {
		f.host.system.Root.Send(f.local(q.to), &Sent{Group: f.group.name, ID: q.id, Data: slices.Clone(q.data)})
		f.sent = q.id
	}
	if f.table.unsaid(f.sent) && f.noting == "" {
		order := effectOrder{kind: effectSent, id: f.sent}.encode()
		f.noting = string(order)
		f.order(order)
	}
}

// local returns the actor of an ID, here.
func (f *effector) local(id string) *actor.PID { return actor.NewPID(f.host.system.Address(), id) }

// watchAll watches the actors that are monitored, and no other.
func (f *effector) watchAll(ctx actor.Context) {
	monitored := f.table.monitored()
	for _, a := range sorted(f.watch) {
		if monitored[a] != f.watch[a] {
			ctx.Unwatch(f.local(a))
			delete(f.watch, a)
			delete(f.gone, a)
		}
	}
	for _, a := range sorted(monitored) {
		if f.watch[a] == 0 {
			f.watch[a] = monitored[a]
			ctx.Watch(f.local(a))
		}
	}
	for i, a := range sorted(f.gone) {
		if i == maxTold {
			break // the rest when these are told
		}
		f.order(effectOrder{kind: effectDown, set: f.watch[a], name: a}.encode())
	}
}

// terminated takes the news that an actor is gone.
func (f *effector) terminated(ctx actor.Context, who *actor.PID) {
	if f.watch[who.Id] != 0 {
		f.gone[who.Id] = true
	}
	if f.table != nil {
		f.act(ctx, false)
	}
}

// ring tells of the timers that have gone off, and returns when the next will; zero: there
// is none.
func (f *effector) ring(now time.Time) time.Time {
	due, next := f.table.due(now.UnixMilli())
	rung := f.rung[:0]
	for _, r := range append(f.rung, due...) {
		if f.table.isSet(r) {
			if rung = append(rung, r); len(rung) > maxTold {
				continue // when those before it are told
			}
			f.order(effectOrder{kind: effectRings, set: r.set, name: r.name}.encode())
		}
	}
	f.rung = rung
	if next == 0 {
		return time.Time{}
	}
	return time.UnixMilli(next)
}

// endSessions has the log say what time it is when a session may have ended that gives no sign
// of life any more, and returns when it will be that time; zero: nobody wants to know.
func (f *effector) endSessions(now time.Time) time.Time {
	last := f.group.sessionEnds.Load()
	switch {
	case last == 0:
		return time.Time{}
	case now.UnixMilli() > last:
		f.order(lookAtSessions())
		return time.Time{}
	}
	return time.UnixMilli(last + 1)
}

// order has an order for one of the tables proposed, unless it is under way.
func (f *effector) order(data []byte) {
	order, node, self := string(data), f.group.node.Load(), f.self
	if f.asked[order] {
		return
	}
	f.asked[order] = true
	noted := func(o outcome) {
		if errors.Is(o.err, ErrSessionExpired) {
			o.err = nil // lookAtSessions, which is of no session
		}
		self.tell(effectNoted{order, o.err})
	}
	if node == nil {
		noted(outcome{err: errGone})
		return
	}
	node.tell(f.group.newOrder(orderEffects, data, noted))
}
