package rafttest

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
)

// Queue runs whole hosts, with everything around them, in one goroutine: the turns of
// their actors, their timers, the packets between them, and whatever else a test has
// happen, all wait in one queue. Of those that are due the next one is drawn from the
// seed, so actors get on in any order, and the same seed gives the same history.
//
// It lives in a bubble of testing/synctest, which it takes the time from: when nothing
// is due it sleeps until something is. It is not safe for concurrent use.
type Queue struct {
	rng    *rand.Rand
	began  time.Time
	now    time.Duration
	later  laterEvents
	due    []*queued
	added  uint64
	ran    uint64
	guests int        // goroutines of Go that have not returned
	called int        // goroutines of Go that there have been
	back   chan guest // those that have returned
	trace  traceOfQueue
}

// queued is an event in a Queue.
type queued struct {
	at      time.Duration
	count   uint64
	process *Process // whose it is; nil: nobody's
	actor   string   // whose turn it is; "": nobody's
	what    string
	do      func()
	held    bool // until then, by Process.Hold
	over    bool // it has happened, or will not
}

// NewQueue returns an empty queue. Call it in the bubble that it is used in.
func NewQueue(seed uint64) *Queue {
	q := &Queue{began: time.Now(), back: make(chan guest, 1000), rng: rand.New(rand.NewPCG(seed, 0x71_75_65_75_65))}
	q.trace.hash = fnvOffset
	return q
}

// Now returns the time since the queue was made.
func (q *Queue) Now() time.Duration { return q.now }

// At has f happen at a time, or if that is past, soon. what is for the trace.
func (q *Queue) At(at time.Duration, what string, f func()) {
	q.add(&queued{at: at, what: what, do: f})
}

func (q *Queue) add(e *queued) *queued {
	q.added++
	e.at, e.count = max(e.at, q.now), q.added
	heap.Push(&q.later, e)
	return e
}

// Go makes a call that waits, such as actors.Start or Host.Open, in a goroutine of its
// own. When it has returned then is called, in the goroutine of all the rest. The call
// must not do more than wait once another event lets it go on.
func (q *Queue) Go(call, then func()) {
	q.guests++
	q.called++
	number := q.called
	go func() {
		call()
		q.back <- guest{number, then}
	}()
	q.hear()
}

// guest is a call of Go that has returned.
type guest struct {
	number int
	then   func()
}

// hear waits until no call of Go does anything, and goes on with those that have
// returned: in the order in which they were made, for which returns first is chance.
func (q *Queue) hear() {
	for q.guests > 0 {
		synctest.Wait()
		var returned []guest
		for len(q.back) > 0 {
			returned = append(returned, <-q.back)
		}
		if len(returned) == 0 {
			return
		}
		q.guests -= len(returned)
		slices.SortFunc(returned, func(a, b guest) int { return cmp.Compare(a.number, b.number) })
		for _, g := range returned {
			g.then()
		}
	}
}

// Run has events happen until a time, or until done says so after one of them.
func (q *Queue) Run(until time.Duration, done func() bool) {
	for q.step(until) {
		if done != nil && done() {
			return
		}
	}
}

// step has the next event happen; false: there is none until then.
func (q *Queue) step(until time.Duration) bool {
	for {
		for len(q.later) > 0 && q.later[0].at <= q.now {
			q.due = append(q.due, heap.Pop(&q.later).(*queued))
		}
		if len(q.due) == 0 {
			if len(q.later) == 0 || q.later[0].at > until {
				q.sleep(until)
				return false
			}
			q.sleep(q.later[0].at)
			continue
		}
		i, last := q.rng.IntN(len(q.due)), len(q.due)-1
		e := q.due[i]
		q.due[i], q.due[last] = q.due[last], nil
		q.due = q.due[:last]
		if q.happen(e) {
			return true
		}
	}
}

func (q *Queue) sleep(until time.Duration) {
	if until > q.now {
		time.Sleep(until - q.now)
		q.now = until
	}
}

// happen has an event happen, unless it must wait, or will never.
func (q *Queue) happen(e *queued) bool {
	p := e.process
	if e.over || p != nil && p.dead {
		return false
	}
	if p != nil {
		if held := p.heldUntil(e.actor); held > q.now {
			e.at, e.held = held, true
			heap.Push(&q.later, e)
			return false
		}
	}
	e.over = true
	q.ran++
	q.trace.note(q.now, p, e.what, "")
	e.do()
	q.hear()
	return true
}

// between draws a duration.
func (q *Queue) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(q.rng.Int64N(int64(hi-lo)+1))
}

// Process is the life of a process in a Queue. It is the actors.Runtime of what runs in
// it.
type Process struct {
	queue *Queue
	name  string
	dead  bool
	clock *queueClock
	held  map[string]time.Duration
	pace  func(kind string) time.Duration // how long a turn waits for the processor, or for the disk
}

// queueClock is the clock of a host. It need not go evenly.
type queueClock struct {
	rate  float64 // 1.05: it goes 5 % too fast
	shown time.Duration
	since time.Duration // when it showed that
}

func (c *queueClock) shows(now time.Duration) time.Duration {
	return c.shown + time.Duration(float64(now-c.since)*c.rate)
}

// goes has the clock go on at another rate.
func (c *queueClock) goes(now time.Duration, rate float64) {
	c.shown, c.since, c.rate = c.shows(now), now, rate
}

// Process begins the life of a process. The name is for the trace.
func (q *Queue) Process(name string) *Process {
	return &Process{queue: q, name: name, clock: &queueClock{rate: 1}, held: map[string]time.Duration{}, pace: func(string) time.Duration { return q.between(0, 20*time.Microsecond) }}
}

// Kill ends the process, as kill -9 does: no turn and no timer of it happens any more.
func (p *Process) Kill() { p.dead = true }

// Hold has the process stand still until a time: all of it, or if a kind of actors is
// named ("log", "machine", "node"), only these.
func (p *Process) Hold(kind string, until time.Duration) { p.held[kind] = until }

// Release ends all that Hold has begun.
func (p *Process) Release() {
	clear(p.held)
	for _, e := range p.queue.later {
		if e.process == p && e.held {
			e.at = p.queue.now
		}
	}
	heap.Init(&p.queue.later)
}

func (p *Process) heldUntil(kind string) time.Duration {
	return max(p.held[""], p.held[kind])
}

// Dispatcher is for actors.Runtime.
func (p *Process) Dispatcher(name string) actor.Dispatcher {
	kind, _, _ := strings.Cut(name, "-")
	return &turnsOf{p, name, kind}
}

// AfterFunc is for actors.Runtime.
func (p *Process) AfterFunc(d time.Duration, f func()) actors.Timer {
	t := &queueTimer{process: p, do: f}
	t.Reset(d)
	return t
}

// Now is for actors.Runtime: what the clock of the process shows, which is its own.
func (p *Process) Now() time.Time {
	return p.queue.began.Add(p.clock.shows(p.queue.now))
}

// turnsOf are the turns of one actor.
type turnsOf struct {
	process    *Process
	name, kind string
}

// Schedule is for protoactor: it has the actor take its turn.
func (t *turnsOf) Schedule(turn func()) {
	p := t.process
	if p.dead {
		return
	}
	p.queue.add(&queued{at: p.queue.now + p.pace(t.kind), process: p, actor: t.kind, what: t.name, do: turn})
}

// Throughput is for protoactor.
func (t *turnsOf) Throughput() int { return 300 }

// queueTimer is a timer. It is a little late, as they are.
type queueTimer struct {
	process *Process
	do      func()
	event   *queued
}

func (t *queueTimer) Stop() bool {
	waits := t.event != nil && !t.event.over
	if waits {
		t.event.over = true
	}
	return waits
}

func (t *queueTimer) Reset(d time.Duration) bool {
	waited := t.Stop()
	q := t.process.queue
	d = time.Duration(float64(d) / t.process.clock.rate)
	t.event = q.add(&queued{at: q.now + d + q.between(0, 50*time.Microsecond), process: t.process, what: "timer", do: t.do})
	return waited
}

// laterEvents is a heap, the earliest first.
type laterEvents []*queued

func (l laterEvents) Len() int { return len(l) }
func (l laterEvents) Less(i, k int) bool {
	return l[i].at < l[k].at || l[i].at == l[k].at && l[i].count < l[k].count
}
func (l laterEvents) Swap(i, k int) { l[i], l[k] = l[k], l[i] }
func (l *laterEvents) Push(x any)   { *l = append(*l, x.(*queued)) }
func (l *laterEvents) Pop() any {
	old := *l
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	return last
}

// traceOfQueue is what has happened: a hash of all of it, and the newest lines.
type traceOfQueue struct {
	hash  uint64
	tail  [256]traceLine
	lines uint64
	tell  func(string)
}

// traceLine is one thing that has happened. What is unlike in every run, such as the
// names of files, is in detail, which the hash does not have.
type traceLine struct {
	at           time.Duration
	who          string
	what, detail string
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func (t *traceOfQueue) note(at time.Duration, p *Process, what, detail string) {
	l := traceLine{at: at, what: what, detail: detail}
	if p != nil {
		l.who = p.name
	}
	t.tail[t.lines%uint64(len(t.tail))] = l
	t.lines++
	h := (t.hash ^ uint64(at)) * fnvPrime
	for _, s := range []string{l.who, what} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * fnvPrime
		}
		h *= fnvPrime
	}
	t.hash = h
	if t.tell != nil {
		t.tell(l.String())
	}
}

func (l traceLine) String() string {
	text := fmt.Sprintf("%14v  %-8s %s", l.at, l.who, l.what)
	if l.detail != "" {
		text += "  (" + l.detail + ")"
	}
	return text
}

// newest returns the last lines.
func (t *traceOfQueue) newest(n uint64) []string {
	var out []string
	for i := t.lines - min(n, t.lines, uint64(len(t.tail))); i < t.lines; i++ {
		out = append(out, t.tail[i%uint64(len(t.tail))].String())
	}
	return out
}

// note notes something in the trace.
func (q *Queue) note(p *Process, detail, format string, args ...any) {
	q.trace.note(q.now, p, fmt.Sprintf(format, args...), detail)
}
