package actors

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
)

// Runtime runs the actors of a host and its timers: everything that a host does, it
// does in one of the two. A Runtime that decides itself who is next, and when, has
// whole hosts run in one goroutine, in an order that it can repeat, and by clocks that
// drift apart: rafttest.Queue, under tests.
type Runtime interface {
	// Dispatcher returns who runs the actor of this name. What is scheduled with it is
	// one turn of the actor, in which it takes all that waits for it: turns of one actor
	// never overlap.
	Dispatcher(name string) actor.Dispatcher
	// AfterFunc has f called when d has passed. f does not block.
	AfterFunc(d time.Duration, f func()) Timer
	// Now returns the time, by the clock of AfterFunc. What it shows for a duration must
	// not go back when the time of the day is set.
	Now() time.Time
}

// Timer is what Runtime.AfterFunc returns: a *time.Timer is one.
type Timer interface {
	Stop() bool
	Reset(d time.Duration) bool
}

// dispatcher is the Runtime for production. Actors that do not block take turns in a loop,
// in one goroutine as long as that is enough: a message from one to the other costs no
// switch of goroutines, what a group is made of stays in one processor's cache, and while
// others have their turn more comes for the next. Those that do block, like the log in its
// fsync, are run by goroutines of their own.
//
// Measured against goroutines for all: with 256 clients of a group a fifth more proposals
// and half as many reads again a second, with 1,000 busy groups twice as many proposals.
type dispatcher struct {
	blocking *blocking
	disk     bool // the Store has one, and the log waits for it

	mu      sync.Mutex
	queue   []turn
	head    int
	running int  // workers that are not idle
	stuck   int  // of them, in a turn that began before age
	age     int  // how often turns have taken so long
	idle    bool // one is, and waits for wake
	emptied bool // there was nothing to do since the watch last looked
	turns   int  // since then
	watched bool // it will look again
	watch   *time.Timer
	wake    chan int // the age
	quit    chan struct{}
	once    sync.Once
}

// turn is an actor's turn.
type turn struct {
	run func()
	of  *slowness // nil: it is never long
}

// An actor of the loop that blocks, or takes long, holds up the others for no longer than
// watchEvery: then they are given another goroutine. There are more, too, when many
// turns wait all the time, one for each processor at most.
const (
	watchEvery = 10 * time.Millisecond
	manyTurns  = 32
)

func newDispatcher(store persistence.Opener) *dispatcher {
	_, memory := store.(interface{ InMemory() })
	return &dispatcher{blocking: newBlocking(), disk: !memory, wake: make(chan int, 1), quit: make(chan struct{})}
}

// Dispatcher returns d for actors that never block, by their names. Machines are run by d,
// too, unless their turns turn out to be long.
func (d *dispatcher) Dispatcher(name string) actor.Dispatcher {
	switch kind, _, _ := strings.Cut(name, "-"); kind {
	case "node", "peer", "clock", "liveness", "balancer", "pilot":
		return d
	case "log":
		if !d.disk {
			return d
		}
	case "machine":
		return &slowness{dispatcher: d}
	}
	return d.blocking
}

// AfterFunc is time's.
func (d *dispatcher) AfterFunc(after time.Duration, f func()) Timer { return time.AfterFunc(after, f) }

// Now is time's, which has the monotonic clock in it.
func (d *dispatcher) Now() time.Time { return time.Now() }

// Throughput is what protoactor's own mailboxes yield after; ours yield by
// themselves.
func (d *dispatcher) Throughput() int { return 300 }

// Schedule runs fn soon.
func (d *dispatcher) Schedule(fn func()) { d.add(turn{run: fn}) }

// add has a turn taken soon.
func (d *dispatcher) add(t turn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.head == len(d.queue) {
		d.queue, d.head = d.queue[:0], 0
	} else if d.head > 1024 && 2*d.head > len(d.queue) {
		n := copy(d.queue, d.queue[d.head:])
		clear(d.queue[n:])
		d.queue, d.head = d.queue[:n], 0
	}
	d.queue = append(d.queue, t)
	switch {
	case d.running == d.stuck:
		d.another()
	case !d.watched:
		d.watched, d.emptied, d.turns = true, false, 0
		if d.watch == nil {
			d.watch = time.AfterFunc(watchEvery, d.look)
		} else {
			d.watch.Reset(watchEvery)
		}
	}
}

// another has one more worker take turns.
func (d *dispatcher) another() {
	d.running++
	if d.idle {
		d.idle = false
		d.wake <- d.age // has room for one
	} else {
		go d.worker(d.age)
	}
}

// look is the watch: it sees to it that turns are taken.
func (d *dispatcher) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.head == len(d.queue) {
		d.watched = false
		return
	}
	if d.turns == 0 {
		d.stuck = d.running
		d.age++
	}
	behind := len(d.queue)-d.head > manyTurns && !d.emptied
	if d.running == d.stuck || behind && d.running-d.stuck < runtime.GOMAXPROCS(0) {
		d.another()
	}
	d.emptied, d.turns = false, 0
	d.watch.Reset(watchEvery)
}

// worker takes turns until there are none. One waits for more.
func (d *dispatcher) worker(age int) {
	exiting := true
	defer func() {
		if exiting { // runtime.Goexit in an actor
			d.mu.Lock()
			defer d.mu.Unlock()
			d.done(age)
			if d.running--; d.running == d.stuck && d.head < len(d.queue) {
				d.another()
			}
		}
	}()
	for {
		t, more := d.next(&age)
		if t.run == nil {
			exiting = false
			return
		}
		if !more {
			yield()
		}
		if t.of == nil {
			t.run()
		} else {
			t.of.take(t.run)
		}
	}
}

// done takes note that a worker is not in a turn any more that began in some age.
func (d *dispatcher) done(age int) {
	if age < d.age {
		d.stuck--
	}
}

// next returns the next turn, and whether there are more; or nothing, if nobody is needed
// any more. The age is that in which the worker was last heard of.
func (d *dispatcher) next(age *int) (t turn, more bool) {
	d.mu.Lock()
	d.done(*age)
	for d.head == len(d.queue) {
		d.emptied = true
		d.running--
		if d.idle || d.running > d.stuck {
			d.mu.Unlock()
			return turn{}, false
		}
		d.idle = true
		d.mu.Unlock()
		select {
		case *age = <-d.wake:
			d.mu.Lock()
			d.done(*age)
		case <-d.quit:
			return d.last(age)
		}
	}
	t = d.queue[d.head]
	d.queue[d.head] = turn{}
	d.head++
	d.turns++
	*age = d.age
	more = d.head < len(d.queue)
	d.mu.Unlock()
	return t, more
}

// last is for the worker that has waited when the host stopped.
func (d *dispatcher) last(age *int) (turn, bool) {
	d.mu.Lock()
	woken := !d.idle
	d.idle = false
	d.mu.Unlock()
	if woken { // at the same moment
		*age = <-d.wake
		return d.next(age)
	}
	return turn{}, false
}

// stop lets the waiting goroutines go. Schedule still works afterwards: actors
// that are stopping have a last word.
func (d *dispatcher) stop() {
	d.once.Do(func() {
		close(d.quit)
		d.blocking.stop()
	})
}

// yield lets others onto the processor first: a little later more of them will have said
// what they want, and it is dealt with together. With 256 clients that is a third more a
// second on two idle processors, three times as much on two that others use, too, and a
// fifth of the allocations. One client does not notice.
func yield() { runtime.Gosched() }

// slowness runs an actor that may take long, or block: when a turn has been long the next
// ones are taken outside the loop.
type slowness struct {
	*dispatcher
	outside atomic.Int32 // so many turns
}

// A turn is long that takes a fifth of what the others wait for at most.
const (
	longTurn     = watchEvery / 5
	turnsOutside = 1024
)

// Schedule runs fn soon.
func (s *slowness) Schedule(fn func()) {
	if s.outside.Load() > 0 {
		s.outside.Add(-1)
		s.blocking.Schedule(fn)
		return
	}
	s.add(turn{fn, s})
}

func (s *slowness) take(run func()) {
	began := time.Now()
	run()
	if time.Since(began) > longTurn {
		s.outside.Store(turnsOutside)
	}
}

// blocking runs actors on goroutines that are kept warm. protoactor's own starts a
// goroutine for every wake-up, whose stack is then copied as it grows: 2.3 µs a hop
// against 0.3 µs here. An idle actor costs no goroutine.
//
// An actor that blocks keeps its goroutine meanwhile; whoever finds none waiting starts
// another.
type blocking struct {
	work chan func()
	park chan struct{} // one place for each goroutine that may wait for work
	quit chan struct{}
}

func newBlocking() *blocking {
	return &blocking{
		work: make(chan func()),
		park: make(chan struct{}, 4*runtime.GOMAXPROCS(0)),
		quit: make(chan struct{}),
	}
}

// Schedule runs fn soon.
func (b *blocking) Schedule(fn func()) {
	select {
	case b.work <- fn:
	default:
		go b.worker(fn)
	}
}

// Throughput is as the dispatcher's.
func (b *blocking) Throughput() int { return 300 }

func (b *blocking) worker(fn func()) {
	for {
		yield()
		fn()
		select {
		case b.park <- struct{}{}:
		default:
			return // enough others wait
		}
		select {
		case fn = <-b.work:
			<-b.park
		case <-b.quit:
			return
		}
	}
}

func (b *blocking) stop() { close(b.quit) }
