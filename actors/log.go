package actors

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// log owns the Store. It takes every Save that waits, of every group, and makes
// them durable with one sync; meanwhile the next ones gather in its mailbox.
//
//	host   → log    Started
//	log    → host   logReady, logFailed
//	Host.Remove → log  removeGroup
//	member → log    openGroup (answered by groupOpened), closeGroup; saveOrder, before there is a node
//	node   → log    saveOrder (answered by raftcore.Saved), loadOrder
//	log    → reader loadOrder (answered to the node by raftcore.Loaded, or loadDamaged)
type log struct {
	host   *Host
	parent *actor.PID
	epoch  uint64 // which log of the host's life this is
	opener persistence.Opener
	box    *mailbox

	store  persistence.Store
	failed error // poisoned: nothing is answered any more
	reader ref
	open   map[persistence.GroupID]uint64 // the boot of each open group

	saves []persistence.Save // of this batch
	owed  []*saveOrder       // whom to tell when they are durable
	opens []*openGroup       // of this batch, too

	// While the disk is full the saves wait here, and are tried again together. The
	// bounds of the cores bound them; a leader that waits for too long hands over.
	full  bool
	again Timer
	due   bool // the timer has rung
}

// fullPause is how long a full disk is left alone.
const fullPause = 500 * time.Millisecond

// The messages of the log.
type (
	saveOrder struct {
		from    ref // who is told; the zero ref: nobody
		group   persistence.GroupID
		save    raftcore.Save
		waiting *atomic.Int64 // what counts those that are not done
		bytes   int64
	}
	loadOrder struct {
		from  ref
		group persistence.GroupID
		load  raftcore.Load
	}
	openGroup struct {
		name     string
		replaces raftcore.Incarnation // see GroupConfig.Replaces
		former   raftcore.Incarnation // a life that is of no use, and ends; 0: none
		reply    func(*groupOpened)
		log      ref  // to whom it was given, for closeGroup
		isOpen   bool // this and the rest are the log's
		group    persistence.GroupID
	}
	groupOpened struct {
		order  *openGroup
		opened persistence.Opened
		err    error
	}
	// closeGroup closes what an order has opened, if it has.
	closeGroup struct{ order *openGroup }

	// loadDamaged: what was saved is damaged.
	loadDamaged struct{ err error }

	// saveAgain is the timer of a log whose disk is full.
	saveAgain struct{}

	logReady  struct{ epoch uint64 }
	logFailed struct {
		epoch uint64
		err   error
	}
)

// count has the entries count as waiting for the disk, until done.
func (o *saveOrder) count(h *Host) {
	for i := range o.save.Entries {
		o.bytes += int64(o.save.Entries[i].Size())
	}
	o.waiting = &h.unsaved
	o.waiting.Add(o.bytes)
}

func (o *saveOrder) done() {
	if o.waiting != nil {
		o.waiting.Add(-o.bytes)
	}
}

func (o *saveOrder) orphaned() { o.done() }

// orphaned tells the member that there is no log at the moment.
func (o *openGroup) orphaned() { o.reply(&groupOpened{order: o, err: persistence.ErrClosed}) }

func (l *log) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		l.start(ctx)
	case *delivery:
		for _, message := range m.Messages {
			l.receive(ctx, message)
		}
		l.openGroups(ctx)
		l.flush(ctx)
	case *actor.Stopped:
		l.stop()
	}
}

func (l *log) start(ctx actor.Context) {
	store, err := l.opener.Open()
	if err != nil {
		l.fail(ctx, err)
		return
	}
	l.store = store
	if owned, knows := store.(persistence.Owned); knows {
		if err := owned.Own(l.host.cfg.ID); err != nil {
			l.fail(ctx, err)
			return
		}
	}
	l.tombstones()
	l.sweepFiles()
	l.open = map[persistence.GroupID]uint64{}
	l.reader = l.host.spawn(ctx, "reader", 0, func(box *mailbox) actor.Actor { return &logReader{store: store, box: box} })
	ctx.Send(l.parent, &logReady{epoch: l.epoch})
}

func (l *log) receive(ctx actor.Context, message any) {
	_, message, sender := actor.UnwrapEnvelope(message)
	if l.failed != nil {
		if m, ok := message.(*openGroup); ok {
			m.reply(&groupOpened{order: m, err: l.failed})
		}
		if m, ok := message.(*removeGroup); ok {
			m.done <- notNow(l.failed)
		}
		if m, ok := message.(*saveOrder); ok {
			m.done()
		}
		return // no acknowledgement may follow a failure
	}
	switch m := message.(type) {
	case *saveOrder:
		if l.open[m.group] != m.save.Token.Boot {
			m.done()
			return // of a node that has been stopped since: its successor has read the disk already
		}
		l.saves = append(l.saves, persistence.Save{Group: m.group, Save: m.save})
		l.owed = append(l.owed, m)
	case *loadOrder:
		l.reader.tell(m)
	case saveAgain:
		l.due = true
	case *openGroup:
		if l.opens = append(l.opens, m); len(l.opens) >= maxOpens {
			l.openGroups(ctx)
		}
	case *closeGroup:
		l.openGroups(ctx) // it may be one of them
		l.flush(ctx)
		if l.failed == nil && m.order.isOpen {
			m.order.isOpen = false
			l.drop(m.order.group)
			delete(l.open, m.order.group)
			if err := l.store.CloseGroup(m.order.group); errors.Is(err, persistence.ErrPoisoned) {
				l.fail(ctx, err)
			}
		}
	case *removeGroup:
		l.openGroups(ctx)
		l.flush(ctx)
		if l.failed != nil {
			m.done <- notNow(l.failed)
			return
		}
		err := l.remove(m.removal)
		if errors.Is(err, persistence.ErrPoisoned) {
			l.fail(ctx, err)
		}
		m.done <- err
	default:
		l.host.logger.Warn("the log was sent something it does not know", "type", fmt.Sprintf("%T", m), "actor", sender.String())
	}
}

// maxOpens bounds the groups that are opened together.
const maxOpens = 256

// openGroups opens the groups that were asked for, after what the last nodes of them have
// ordered. Those that are new take one sync together.
func (l *log) openGroups(ctx actor.Context) {
	if len(l.opens) == 0 {
		return
	}
	orders := l.opens
	l.opens = nil
	l.flush(ctx)
	if founder, ok := l.store.(persistence.Founder); ok && len(orders) > 1 && l.failed == nil {
		names := make([]string, len(orders))
		for i, o := range orders {
			names[i] = o.name
		}
		if err := founder.Found(names...); errors.Is(err, persistence.ErrPoisoned) {
			l.fail(ctx, err)
		} // else Open says to whom it happens
	}
	for _, o := range orders {
		if l.failed != nil {
			o.reply(&groupOpened{order: o, err: l.failed})
			continue
		}
		opened, err := l.openOrRevive(o)
		if err == nil {
			l.open[opened.Group] = opened.Boot
			o.group, o.isOpen = opened.Group, true
		} else if errors.Is(err, persistence.ErrPoisoned) {
			l.fail(ctx, err)
		}
		o.reply(&groupOpened{order: o, opened: opened, err: err})
	}
}

// flush makes the gathered Saves durable and says so.
func (l *log) flush(ctx actor.Context) {
	if len(l.saves) == 0 && !l.full || l.full && !l.due || l.failed != nil {
		return
	}
	l.due = false
	for len(l.saves) > 0 {
		n := l.portion()
		l.host.saving.Store(int64(l.host.now()))
		began := l.host.meters.now()
		l.host.pace.saves.Add(1)
		err := l.store.Save(l.saves[:n])
		l.host.meters.saved(began, err)
		l.host.saving.Store(0)
		if errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned) {
			l.waitForRoom(ctx, err)
			return
		}
		if err != nil {
			l.fail(ctx, err)
			return
		}
		l.saved(n)
	}
	l.roomAgain()
}

// maxPortion bounds the bytes of entries that are saved together: after a stall many
// groups may have gathered many.
const maxPortion = 64 << 20

// portion returns how many of the saves to save together.
func (l *log) portion() int {
	bytes := 0
	for i := range l.saves {
		for k := range l.saves[i].Entries {
			bytes += l.saves[i].Entries[k].Size()
		}
		if bytes > maxPortion && i > 0 {
			return i
		}
	}
	return len(l.saves)
}

// saved says of the first n saves that they are durable.
func (l *log) saved(n int) {
	for i, o := range l.owed[:n] {
		o.done()
		// A completion stands for all before it: one per node is enough.
		if (i+1 == n || l.owed[i+1].from != o.from) && o.from != (ref{}) {
			o.from.tell(raftcore.Saved{Token: o.save.Token})
		}
	}
	l.saves, l.owed = slices.Delete(l.saves, 0, n), slices.Delete(l.owed, 0, n)
}

// waitForRoom leaves the saves for later: nothing of them has been written. Until then
// nothing is proposed here.
func (l *log) waitForRoom(ctx actor.Context, err error) {
	if !l.full {
		l.full = true
		why := fmt.Errorf("%w: %w", ErrStorageFault, err)
		l.host.full.Store(&why)
		l.host.logger.Error("the disk is full: nothing is saved until there is room", "err", err)
	}
	self := ref{ctx.Self(), l.box}
	l.again = l.host.cfg.Runtime.AfterFunc(fullPause, func() { self.tell(saveAgain{}) })
}

// roomAgain ends what waitForRoom began.
func (l *log) roomAgain() {
	if l.full {
		l.full = false
		l.host.full.Store(nil)
		l.host.logger.Info("there is room on the disk again")
	}
}

// drop forgets the saves of a group that still wait when it is closed. Nobody was
// told that they are durable.
func (l *log) drop(group persistence.GroupID) {
	saves, owed := l.saves[:0], l.owed[:0]
	for i := range l.saves {
		if l.saves[i].Group != group {
			saves, owed = append(saves, l.saves[i]), append(owed, l.owed[i])
		} else {
			l.owed[i].done()
		}
	}
	clear(l.saves[len(saves):])
	clear(l.owed[len(owed):])
	l.saves, l.owed = saves, owed
}

// fail takes the store out of use. The host will stop everybody, and open it
// again from what is really there.
func (l *log) fail(ctx actor.Context, err error) {
	if l.failed == nil {
		l.failed = err
		l.host.full.Store(nil) // the members learn of it otherwise
		ctx.Send(l.parent, &logFailed{epoch: l.epoch, err: err})
	}
}

// stop closes the store. The reader, a child, has stopped before.
func (l *log) stop() {
	l.box.close()
	for i := range l.owed {
		l.owed[i].done()
	}
	if l.again != nil {
		l.again.Stop()
	}
	l.host.full.Store(nil)
	if l.store != nil {
		if err := l.store.Close(); err != nil {
			l.host.logger.Warn("closing the store", "err", err)
		}
	}
}

// logReader reads old entries for followers that are far behind, and for
// machines, without holding up the Saves.
type logReader struct {
	store persistence.Store
	box   *mailbox
}

func (r *logReader) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *delivery:
		for _, message := range m.Messages {
			order := message.(*loadOrder)
			entries, err := r.store.Load(order.group, order.load)
			if err != nil {
				ctx.Logger().Warn("castaway: loading entries failed", "number", uint64(order.group), "load", order.load.String(), "err", err)
			}
			if errors.As(err, new(*persistence.CorruptError)) {
				order.from.tell(loadDamaged{err})
				continue
			}
			// Without entries the core asks again, with its next heartbeat.
			order.from.tell(raftcore.Loaded{Load: order.load, Entries: entries})
		}
	case *actor.Stopped:
		r.box.close()
	}
}
