package actors

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is a protoactor mailbox that delivers everything that waits as one
// *delivery, so that an actor can take it all in and then act once: one Drain, one
// fsync, one packet. (protoactor's own deliver one message at a time, and are
// either unbounded or spin.)
//
// Requests of clients wait in a lane of their own, which is bounded, and come
// last in a delivery: the traffic of Raft itself passes them. A request that finds
// the lane full, or the actor gone, is refused on the spot; nothing is ever
// dropped without an answer.
type mailbox struct {
	bound int // of the request lane; 0: no requests are expected

	mu        sync.Mutex
	system    []any
	facts     []any // everything that is not a request
	requests  []any
	suspended bool
	closed    bool

	scheduled  atomic.Bool
	work       func()
	batch      delivery // this and the rest belong to the running goroutine
	spareSys   []any
	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
}

// A delivery is what a drain mailbox delivers: messages in the order of their
// arrival, requests last. It is valid until Receive returns.
type delivery struct{ Messages []any }

// maxBatch bounds the requests of one delivery: with more, the first would wait
// for the last.
const maxBatch = 4096

// refusable is a request: it waits in the bounded lane, and is refused if it
// cannot be delivered.
type refusable interface{ refuse(error) }

// orphan is another message that must know when it will not be acted upon,
// because its actor is gone.
type orphan interface{ orphaned() }

func newMailbox(bound int) *mailbox {
	m := &mailbox{bound: bound}
	m.work = m.process // once: to make it of m each time is to allocate each time
	return m
}

// producer hands this very mailbox to the one actor it is for.
func (m *mailbox) producer() actor.MailboxProducer { return func() actor.Mailbox { return m } }

func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.invoker, m.dispatcher = invoker, dispatcher
}

func (m *mailbox) Start() {}

func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.facts) + len(m.requests)
}

func (m *mailbox) PostUserMessage(message any) {
	request, isRequest := message.(refusable)
	m.mu.Lock()
	var err error
	switch {
	case m.closed:
		err = errGone
	case !isRequest:
		m.facts = append(m.facts, message)
	case len(m.requests) < m.bound:
		m.requests = append(m.requests, message)
	default:
		err = &BusyError{What: "requests that wait for the actor", Used: int64(m.bound), Limit: int64(m.bound)}
	}
	m.mu.Unlock()
	switch {
	case err == nil:
		m.schedule()
	case isRequest:
		request.refuse(err)
	default:
		orphaned(message)
	}
}

// maxFacts bounds the messages of other processes that wait.
const maxFacts = 1 << 14

// offer is for a message that may be lost on the way, and is, when too much
// waits already.
func (m *mailbox) offer(message any) {
	m.mu.Lock()
	full := len(m.facts) >= maxFacts
	m.mu.Unlock()
	if full {
		orphaned(message)
		return
	}
	m.PostUserMessage(message)
}

// lay leaves a message for the next turn that the actor takes, whenever that is.
func (m *mailbox) lay(message any) {
	m.mu.Lock()
	if !m.closed {
		m.facts = append(m.facts, message)
	}
	m.mu.Unlock()
}

func orphaned(message any) {
	if o, ok := message.(orphan); ok {
		o.orphaned()
	}
}

func (m *mailbox) PostSystemMessage(message any) {
	m.mu.Lock()
	m.system = append(m.system, message)
	m.mu.Unlock()
	m.schedule()
}

// close refuses what waits and what is still to come. The actor calls it as the
// last thing it does: protoactor drops such messages without a word.
func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	requests, facts := m.requests, m.facts
	m.requests, m.facts = nil, nil
	m.mu.Unlock()
	for _, message := range requests {
		message.(refusable).refuse(errGone)
	}
	for _, message := range facts {
		orphaned(message)
	}
}

// abandonBatch deals with the messages of a batch that a panic interrupted.
func (m *mailbox) abandonBatch() {
	for _, message := range m.batch.Messages {
		orphaned(message)
	}
}

func (m *mailbox) schedule() {
	if m.scheduled.CompareAndSwap(false, true) {
		m.dispatcher.Schedule(m.work)
	}
}

func (m *mailbox) process() {
	exiting := true
	defer func() {
		if exiting { // runtime.Goexit in Receive: this goroutine ends, the mailbox goes on
			m.scheduled.Store(false)
			if m.pending() {
				m.schedule()
			}
		}
	}()
	for {
		m.run()
		m.scheduled.Store(false)
		if !m.pending() || !m.scheduled.CompareAndSwap(false, true) {
			exiting = false
			return
		}
	}
}

func (m *mailbox) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.system) > 0 || !m.suspended && len(m.facts)+len(m.requests) > 0
}

var errGoexit = errors.New("runtime.Goexit was called")

// run delivers until nothing waits. Who panics is suspended by protoactor until
// its supervisor has decided, which for our actors means: until it is stopped.
func (m *mailbox) run() {
	var message any
	failed := true
	defer func() {
		if !failed {
			return
		}
		reason := recover()
		if reason == nil {
			reason = errGoexit
		}
		m.invoker.EscalateFailure(reason, message)
	}()
	for {
		system := m.takeSystem()
		for i := range system {
			message = system[i]
			switch message.(type) {
			case *actor.SuspendMailbox:
				m.suspend(true)
			case *actor.ResumeMailbox:
				m.suspend(false)
			default:
				m.invoker.InvokeSystemMessage(message)
			}
		}
		if len(system) > 0 {
			continue
		}
		if !m.takeBatch() {
			failed = false
			return
		}
		message = &m.batch
		m.invoker.InvokeUserMessage(message)
		clear(m.batch.Messages)
	}
}

func (m *mailbox) suspend(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.suspended = yes
}

func (m *mailbox) takeSystem() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.system
	m.system, m.spareSys = m.spareSys[:0], taken
	return taken
}

// takeBatch moves what waits into the batch.
func (m *mailbox) takeBatch() bool {
	b := m.batch.Messages[:0]
	m.mu.Lock()
	if m.suspended {
		m.mu.Unlock()
		return false
	}
	b = append(b, m.facts...)
	clear(m.facts)
	m.facts = m.facts[:0]
	if n := min(len(m.requests), maxBatch); n > 0 {
		b = append(b, m.requests[:n]...)
		rest := copy(m.requests, m.requests[n:])
		clear(m.requests[rest:])
		m.requests = m.requests[:rest]
	}
	m.mu.Unlock()
	m.batch.Messages = b
	return len(b) > 0
}
