package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// StackOp is what a client asked for, and what it was told.
type StackOp struct {
	Client int
	Kind   string // "set", "add", "get" or "sum"; "tell" and "look" of other groups than the main one
	Key    string // the register or counter
	Value  string // of a set, unique; of an add, its name, unique
	Answer string
	// Call and Return number the events in which it was asked and answered.
	Call, Return uint64
	Outcome      StackOutcome
	Index        raftcore.Index // of the answer

	consistency actors.Consistency
	data        []byte // what was said, if it is not what command returns
	inSession   bool
}

// StackOutcome is how an operation has ended.
type StackOutcome string

// The outcomes of an operation.
const (
	Happened StackOutcome = "happened"
	Rejected StackOutcome = "rejected" // it did not happen and never will
	Unknown  StackOutcome = "unknown"  // it may have happened, or may still
)

// Linearizable reports whether the operation was promised to be: reads of other
// consistencies are not.
func (o StackOp) Linearizable() bool {
	return o.consistency == actors.Linearizable || o.consistency == actors.Lease
}

func (o StackOp) command() []byte {
	if o.data != nil {
		return o.data
	}
	return []byte(o.Kind + " " + o.Key + " " + o.Value)
}

// stackClient is a client. It is an actor: one on each host, whose turns are events like
// any other, so that it can ask the members there, as actors do: with Requests, and never
// waiting. What it knows outlives a host.
type stackClient struct {
	stack *stack
	of    *stackGroup // that it deals with
	id    int
	name  string
	step  func()        // what it does next, again and again
	asks  *stackOp      // what it waits for, if it has no session
	deals *stackDeals   // if it has one
	count int           // of what it has asked for
	until time.Duration // it is silent until then
	spoke time.Duration // when it last gave a sign of life
}

// stackOp is an operation that is under way.
type stackOp struct {
	StackOp
	client   *stackClient
	sequence uint64 // in a session
	maybe    bool   // a try may have had its way
	over     bool
	floor    raftcore.Index // a read must not be older
	leads    raftcore.Term  // that of the member that was asked, or 0
	led      raftcore.Term  // the newest in which anybody had led by then
}

// stackTry is one Request of an operation.
type stackTry struct {
	op      *stackOp
	request *actors.Request
	member  *stackMember
	process *Process
	sent    bool
	answers int
	ended   func(*actors.Response)
}

// door is a client on one host.
type door struct {
	host    *stackHost
	process *Process
	client  *stackClient
}

func (d *door) Receive(ctx actor.Context) {
	s := d.host.stack
	switch m := ctx.Message().(type) {
	case *stackTry:
		if d.host.process != d.process || !m.member.up() {
			m.end(&actors.Response{Request: m.request, Err: actors.ErrStopped})
			return
		}
		m.sent = true
		ctx.Request(m.member.group.PID(), m.request)
	case *actors.Response:
		t := s.tries[m.Request]
		if t == nil || !t.sent || t.process != d.process {
			s.fail("%s is answered what it has not asked there: %+v", d.client.name, m)
			return
		}
		if t.answers++; t.answers > 1 {
			s.fail("%s is answered %d times: %v", d.client.name, t.answers, t.op.StackOp)
			return
		}
		t.end(m)
	case *actor.DeadLetterResponse:
		s.fail("a request of %s has found no member on %v", d.client.name, d.host)
	}
}

func (t *stackTry) end(r *actors.Response) {
	s := t.op.client.stack
	text := "nothing"
	if r.Err != nil {
		text = r.Err.Error()
	}
	s.queue.note(t.process, text, "%s: %s %s %s at %d is answered %q, %d, %s", t.op.client.name, t.op.Kind, t.op.Key, t.op.Value, t.op.sequence, r.Data[:min(len(r.Data), 40)], r.Index, outcomeOf(r.Err))
	expected := t.op.Kind == "look" || t.op.Kind == "what?" && r.Err != nil && r.Err.Error() == errNoSuchQuestion.Error() // it is the machine's own
	if outcomeOf(r.Err) == "" && !expected {
		s.fail("%s: %v ends with %v, which is neither rejected nor unknown", t.op.client.name, t.op.StackOp, r.Err)
		return
	}
	t.ended(r)
}

// outcomeOf returns what an error says of the outcome, or "" if it says nothing, or both.
func outcomeOf(err error) StackOutcome {
	rejected, unknown := errors.Is(err, actors.ErrRejected), errors.Is(err, actors.ErrUnknown)
	switch {
	case err == nil:
		return Happened
	case rejected && !unknown:
		return Rejected
	case unknown && !rejected:
		return Unknown
	}
	return ""
}

// try sends a Request to a member, as an actor there; ended is called with the answer. One
// that is down is not asked.
func (o *stackOp) try(m *stackMember, r actors.Request, ended func(*actors.Response)) {
	s, h := o.client.stack, m.host
	if !m.up() {
		return
	}
	t := &stackTry{op: o, request: &r, member: m, process: h.process, ended: ended}
	s.tries[t.request] = t
	h.system.Root.Send(h.doors[o.client.id], t)
}

// answeredBy demands that a process has answered all that it was asked, or what it was
// asked of a group.
func (s *stack) answeredBy(p *Process, of *stackGroup) {
	for _, t := range s.tries {
		if t.process == p && t.sent && t.answers == 0 && (of == nil || t.member.of == of) {
			s.fail("%s was never answered by %v: %v, %+v", t.op.client.name, t.member, t.op.StackOp, *t.request)
		}
	}
}

func (s *stack) addClients() {
	of := s.main()
	add := func(kind string, step func(*stackClient) func()) {
		c := &stackClient{stack: s, of: of, id: len(s.clients), name: fmt.Sprint(kind, "-", len(s.clients))}
		c.step = step(c)
		s.clients = append(s.clients, c)
		s.again(c)
	}
	deal := func(c *stackClient) func() { c.deals = &stackDeals{client: c}; return c.deals.step }
	for range s.plan.Writers {
		add("writer", func(c *stackClient) func() { return c.write })
	}
	for range s.plan.Readers {
		add("reader", func(c *stackClient) func() { return c.read })
	}
	for range s.plan.Adders {
		add("adder", deal)
	}
	for _, of = range s.groups[1:] {
		for range s.plan.Askers {
			add("teller", func(c *stackClient) func() { return c.write })
			add("dealer", deal)
		}
		add("looker", func(c *stackClient) func() { return c.read })
	}
	of = s.main()
	add("operator", func(c *stackClient) func() { return func() {} })
}

// again has a client take its next step after a while.
func (s *stack) again(c *stackClient) {
	s.queue.At(s.queue.now+s.queue.between(0, 2*s.plan.Think), c.name+" goes on", func() {
		if s.quiet {
			return
		}
		if s.queue.now >= c.until || s.calm {
			c.step()
		}
		s.again(c)
	})
}

// operator is the last of the clients: it changes the members, and writes when all else
// has ended.
func (s *stack) operator() *stackClient { return s.clients[len(s.clients)-1] }

// begin begins an operation that is tried once.
func (c *stackClient) begin(o StackOp) *stackOp {
	c.count++
	o.Client, o.Call = c.id, c.stack.queue.ran
	return &stackOp{StackOp: o, client: c}
}

// tells is a command to a group. Those of the main group are of a kind.
func (c *stackClient) tells(kind string) StackOp {
	name := fmt.Sprintf("%s.%d", c.name, c.count)
	if c.of.command == nil {
		return StackOp{Kind: kind, Key: c.key(), Value: name}
	}
	return StackOp{Kind: "tell", Value: name, data: c.of.command(c.stack.queue.rng, name)}
}

const stackKeys = 4

func (c *stackClient) key() string { return fmt.Sprint("k", c.stack.queue.rng.IntN(stackKeys)) }

// patience draws for how long a client waits for an answer.
func (c *stackClient) patience() time.Duration {
	return c.stack.queue.between(c.stack.plan.ElectionTimeout/4, 6*c.stack.plan.ElectionTimeout)
}

// finish ends an operation: it is history.
func (o *stackOp) finish(outcome StackOutcome, answer string, index raftcore.Index) {
	s := o.client.stack
	o.over = true
	o.Outcome, o.Answer, o.Index, o.Return = outcome, answer, index, s.queue.ran
	switch outcome {
	case Rejected:
		s.stats.Rejected++
	case Unknown:
		s.stats.Unknown++
	}
	o.client.of.history = append(o.client.of.history, o.StackOp)
}

// write sets a register, once, unless it waits for an answer still.
func (c *stackClient) write() {
	s := c.stack
	if c.asks != nil || s.calm {
		return
	}
	c.set(c.begin(c.tells("set")), c.of.some())
}

// set sends the command of an operation, and gives up after a while.
func (c *stackClient) set(o *stackOp, m *stackMember) {
	s := c.stack
	if !m.up() {
		return
	}
	c.asks = o
	o.try(m, actors.Request{Operation: actors.Propose, Data: o.command()}, func(r *actors.Response) {
		if o.over {
			return // it was given up
		}
		c.asks = nil
		outcome := outcomeOf(r.Err)
		o.finish(outcome, string(r.Data), r.Index)
		if outcome == Happened {
			s.stats.Sets++
			c.of.seen.note(s.queue.now, r.Index)
		}
	})
	s.queue.At(s.queue.now+c.patience(), c.name+" waits no longer", func() {
		if !o.over {
			c.asks = nil
			o.finish(Unknown, "", 0)
		}
	})
}

// read asks a question.
func (c *stackClient) read() {
	s := c.stack
	if c.asks != nil || s.calm {
		return
	}
	m := c.of.some()
	if !m.up() {
		return
	}
	rng := s.queue.rng
	r := actors.Request{Operation: actors.Read}
	kinds := 6
	if c.of != s.main() { // their answers do not say when they were given
		kinds = 5
	}
	switch 5 - rng.IntN(kinds) {
	case 0:
		r.Consistency, r.MaxAge = actors.BoundedStale, s.queue.between(time.Millisecond, 4*s.plan.ElectionTimeout)
	case 1:
		r.Consistency, r.After = actors.Local, c.of.seen.newest()
	case 2:
		r.Consistency = actors.Local
	case 3:
		if s.plan.Leases {
			r.Consistency = actors.Lease
		}
	}
	o := c.question(m, r)
	c.asks = o
	s.queue.At(s.queue.now+c.patience(), c.name+" waits no longer", func() {
		if !o.over {
			c.asks, o.over = nil, true
		}
	})
}

// question has a client ask a member something.
func (c *stackClient) question(m *stackMember, r actors.Request) *stackOp {
	s, rng := c.stack, c.stack.queue.rng
	kind := []string{"get", "get", "sum", "what?"}[min(rng.IntN(50)/15, 3)]
	o := c.begin(StackOp{Kind: kind, Key: c.key(), consistency: r.Consistency})
	switch {
	case c.of != s.main():
		o.Kind, o.data = "look", c.of.query(rng)
		r.Data = o.data
	case kind == "what?":
		r.Data = []byte(kind)
	default:
		r.Data = []byte(strings.TrimSpace(o.Kind + " " + o.Key))
	}
	o.floor, o.led, o.leads = c.of.seen.newest(), c.of.led, m.leads()
	o.try(m, r, func(answer *actors.Response) { c.hasRead(m, o, &r, answer) })
	return o
}

// hasRead holds an answer against what its consistency promises. What it says is held
// against the log in the end.
func (c *stackClient) hasRead(m *stackMember, o *stackOp, asked *actors.Request, r *actors.Response) {
	s := c.stack
	if c.asks == o {
		c.asks = nil
	}
	own := o.Kind == "look" && outcomeOf(r.Err) == ""
	if r.Err != nil && !own || o.Kind == "what?" {
		if o.over = true; errors.Is(r.Err, actors.ErrBadRequest) && asked.After == 0 || errors.Is(r.Err, actors.ErrUnknown) {
			s.fail("%s: a read ends with %v", c.name, r.Err)
		}
		return
	}
	if own {
		return // with an error there is no index
	}
	at, answer := parseAnswer(r.Data)
	if o.Kind == "look" {
		c.of.reads = append(c.of.reads, stackRead{index: r.Index, question: o.data, answer: bytes.Clone(r.Data), by: m})
		answer = string(r.Data)
	}
	if c == s.operator() {
		s.stats.Clung++
	}
	var floor raftcore.Index
	switch asked.Consistency {
	case actors.Linearizable:
		floor, s.stats.Linearizable = o.floor, s.stats.Linearizable+1
	case actors.Lease:
		floor, s.stats.Leased = o.floor, s.stats.Leased+1
	case actors.BoundedStale:
		// The host's clock says how old it is, and that may be slow.
		slow := 1 - float64(s.plan.Drift)/1000
		floor, s.stats.Bounded = c.of.seen.before(at-time.Duration(float64(r.Age)/slow)-time.Microsecond), s.stats.Bounded+1
	case actors.Local:
		floor, s.stats.Local = asked.After, s.stats.Local+1
	}
	if r.Index < floor || r.Age > asked.MaxAge {
		s.fail("%s: a read that is %v (%v) is answered with the state at entry %d, %v old; entry %d was acknowledged before", c.name, asked.Consistency, asked.MaxAge, r.Index, r.Age, floor)
	}
	if asked.Consistency == actors.Linearizable || asked.Consistency == actors.Lease {
		c.of.seen.note(s.queue.now, r.Index)
		// Even if nothing was acknowledged since: that it could have been is chance.
		if o.leads != 0 && o.leads == m.leads() && o.leads < o.led {
			s.fail("%s: %v leads term %d, and answers a read that is %v; when it was asked somebody led term %d", c.name, m, o.leads, asked.Consistency, o.led)
		}
	}
	o.finish(Happened, answer, r.Index)
}

// seen is what has been acknowledged, or seen by a read that is as good.
type seen []struct {
	at    time.Duration
	index raftcore.Index
}

func (l *seen) note(at time.Duration, index raftcore.Index) {
	if index > l.newest() {
		*l = append(*l, struct {
			at    time.Duration
			index raftcore.Index
		}{at, index})
	}
}

func (l seen) newest() raftcore.Index {
	if len(l) == 0 {
		return 0
	}
	return l[len(l)-1].index
}

// before returns what had been seen before a time.
func (l seen) before(at time.Duration) raftcore.Index {
	for _, e := range slices.Backward(l) {
		if e.at < at {
			return e.index
		}
	}
	return 0
}

// stackDeals is a client's session, one after the other, and the commands in it.
type stackDeals struct {
	client  *stackClient
	id      actors.SessionID
	opening *stackOp
	next    uint64
	done    uint64
	open    []*stackOp
	closing bool          // it was told to end, and may
	ended   bool          // it has ended
	last    *stackOp      // the newest that was answered
	alive   time.Duration // what some clock showed, at least, when it gave its newest sign of life
}

// lives notes a sign of life that was answered, and asked for when clocks showed that.
func (d *stackDeals) lives(asked time.Duration) { d.alive = max(d.alive, asked) }

// hasExpired demands that a session that has ended by itself gave no sign of life for its
// timeout, by the clocks of those who may have led.
func (d *stackDeals) hasExpired() {
	s := d.client.stack
	if _, latest := s.clocks(); !d.closing && !d.ended && latest-d.alive < s.plan.SessionTimeout-time.Millisecond {
		s.fail("%s: session %d has expired, %v after it gave a sign of life, or less; its timeout is %v", d.client.name, d.id, latest-d.alive, s.plan.SessionTimeout)
	}
	d.ended = true
}

func (d *stackDeals) step() {
	c := d.client
	s := c.stack
	switch {
	case (d.ended || d.closing) && len(d.open) == 0:
		if !s.calm {
			*d = stackDeals{client: c}
		}
	case d.id == 0 && d.opening == nil && !s.calm:
		d.openSession()
	case d.id != 0 && !d.ended && !d.closing && !s.calm && len(d.open) < max(s.plan.Width, 1):
		d.add()
	}
	rng := s.queue.rng
	if d.id != 0 && !d.ended && len(d.open) == 0 && (s.calm || rng.IntN(40) == 0) && s.queue.now > c.spoke+s.plan.SessionTimeout/6 {
		c.spoke = s.queue.now
		d.give(actors.KeepSession)
	} else if d.id != 0 && !d.ended && len(d.open) == 0 && !s.calm && rng.IntN(150) == 0 {
		d.closing = true
		d.give(actors.CloseSession)
	}
}

// give sends a sign of life, or the end, and does not wait for the answer.
func (d *stackDeals) give(operation actors.Operation) {
	o := d.client.begin(StackOp{Kind: "session"})
	in := actors.InSession{ID: d.id}
	if operation == actors.KeepSession && d.last != nil { // that answer is asked for once more, in the end
		in.Done = min(d.done, d.last.sequence-1)
	}
	id := d.id
	asked, _ := d.client.stack.clocks()
	o.try(d.client.of.some(), actors.Request{Operation: operation, Session: in}, func(r *actors.Response) {
		switch {
		case d.id != id:
		case errors.Is(r.Err, actors.ErrSessionExpired):
			d.hasExpired()
		case r.Err == nil && operation == actors.CloseSession:
			d.ended = true
		case r.Err == nil:
			d.lives(asked)
		}
	})
}

func (d *stackDeals) openSession() {
	c := d.client
	s := c.stack
	m := c.of.some()
	if !m.up() {
		return
	}
	o := c.begin(StackOp{Kind: "open"})
	d.opening = o
	asked, _ := s.clocks()
	o.try(m, actors.Request{Operation: actors.OpenSession, Timeout: s.plan.SessionTimeout}, func(r *actors.Response) {
		if d.opening != o {
			return // it will end by itself
		}
		d.opening = nil
		if r.Err == nil {
			d.id, d.alive = r.Session, asked
		}
	})
	s.queue.At(s.queue.now+c.patience(), c.name+" waits no longer", func() {
		if d.opening == o {
			d.opening = nil
		}
	})
}

// add begins another command of the session.
func (d *stackDeals) add() {
	c := d.client
	o := c.begin(c.tells("add"))
	o.inSession = true
	d.next++
	o.sequence = d.next
	d.open = append(d.open, o)
	d.send(o)
	if c.stack.queue.rng.IntN(10) == 0 { // to another host at the same time
		d.send(o)
	}
}

// send sends a command, and again when there is no answer, or none that is final.
func (d *stackDeals) send(o *stackOp) {
	c := d.client
	s := c.stack
	var again func(when time.Duration)
	again = func(when time.Duration) {
		s.queue.At(s.queue.now+when, c.name+" asks again", func() {
			switch {
			case o.over || s.quiet:
			case s.queue.now < c.until && !s.calm: // it is silent
				again(20 * time.Millisecond)
			default:
				s.stats.Again++
				d.send(o)
			}
		})
	}
	m := c.of.some()
	if o.over || !m.up() {
		again(s.plan.ElectionTimeout / 4)
		return
	}
	answered, waits := false, true
	id := d.id
	asked, _ := s.clocks()
	r := actors.Request{Operation: actors.Propose, Data: o.command(), Session: actors.InSession{ID: d.id, Sequence: o.sequence, Done: d.done}}
	o.try(m, r, func(r *actors.Response) {
		answered = true
		if r.Err == nil && d.id == id {
			d.lives(asked)
		}
		d.answered(o, r)
		if !o.over && waits {
			waits = false
			again(s.queue.between(0, s.plan.ElectionTimeout/2))
		}
	})
	s.queue.At(s.queue.now+c.patience(), c.name+" waits no longer", func() {
		o.maybe = o.maybe || !answered
		if !o.over && waits {
			waits = false
			again(0)
		}
	})
}

// answered takes an answer to a command of the session. The first that is final counts;
// another one must say the same.
func (d *stackDeals) answered(o *stackOp, r *actors.Response) {
	s := d.client.stack
	outcome := outcomeOf(r.Err)
	expired := errors.Is(r.Err, actors.ErrSessionExpired)
	switch {
	case o.over:
		if outcome == Happened {
			if s.stats.AnsweredAgain++; o.Outcome == Happened && !bytes.Equal(r.Data, []byte(o.Answer)) {
				s.fail("%s: %v was answered %q before, and is answered %q", d.client.name, o.StackOp, o.Answer, r.Data)
			}
		}
		return
	case outcome == Happened:
		s.stats.Adds++
		d.client.of.seen.note(s.queue.now, r.Index)
		o.finish(Happened, string(r.Data), r.Index)
		d.last = o
	case expired:
		s.stats.Expired++
		d.hasExpired()
		if outcome = Rejected; o.maybe || o.underWay() {
			outcome = Unknown
		}
		o.finish(outcome, "", 0)
	case outcome == Unknown:
		o.maybe = true
		return
	default:
		return
	}
	d.open = slices.DeleteFunc(d.open, func(other *stackOp) bool { return other == o })
	d.done = d.next
	for _, other := range d.open {
		d.done = min(d.done, other.sequence-1)
	}
}

// underWay reports whether another try has not been answered.
func (o *stackOp) underWay() bool {
	for _, t := range o.client.stack.tries {
		if t.op == o && t.answers == 0 {
			return true
		}
	}
	return false
}

// operate changes the members of a group, or the leader.
func (g *stackGroup) operate(r actors.Request, kind string, done func(error)) {
	s := g.stack
	o := s.operator().begin(StackOp{Kind: kind})
	o.try(g.some(), r, func(answer *actors.Response) {
		if done(answer.Err); answer.Err == nil && kind == "change" {
			s.stats.ChangesDone++
		} else if answer.Err == nil {
			s.stats.TransfersDone++
		}
	})
}
