package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/castaway-go/castaway/raftcore"
	"go.opentelemetry.io/otel/propagation"
)

// This file is about clients in other processes: what they are told, in words that travel,
// and what the host does for them. It makes one try of a request; the rest is the Client's,
// who may ask another host.

// Gateway is a Transport that lets clients in other processes in. It is given its host,
// which it asks for them with Host.Ask, when that can open groups.
type Gateway interface {
	Transport
	Serve(h *Host)
}

// ClientRequest is a request of a client in another process. Operation 0 asks for nothing
// but Hosts.
type ClientRequest struct {
	// Cluster and Group are the names of the installation (HostConfig.Cluster) and of the
	// group.
	Cluster, Group string
	Request
	// Hosts asks where the members are.
	Hosts bool
	// Names are those that the client has proved to have: see Asked.
	Names []string
	// Traceparent is the span of who asks, as the header of that name in W3C Trace Context;
	// empty if nobody wants to see it.
	Traceparent string
}

// ClientResponse answers a ClientRequest.
type ClientResponse struct {
	// Outcome says whether it is done, never happened, may have happened, or is a query's
	// error. Failure is why it is not done.
	Outcome ResponseOutcome
	Failure Failure
	Data    []byte
	Index   raftcore.Index // see Response.Index; and the entry of a QuarantineError
	Session SessionID
	Age     time.Duration
	// Busy, if it is not nil, is what is full, by the Failure.
	Busy *BusyError
	// Status is what was asked for. Its Fault is nil: StatusFault has it. The Instants in
	// it are of the host's own clock.
	Status      *Status
	StatusFault *Failure
	// Leader is who leads, if the host knows that, and is another host.
	Leader raftcore.NodeID
	// Hosts are where the members are, as the host knows them; if it has none, all hosts
	// that it knows. The address of the host itself is "": its Gateway puts it in.
	Hosts map[raftcore.NodeID]string
}

// Failure is an error in words that travel: its text, and everything that errors.Is says
// of it.
type Failure struct {
	Message string
	Reasons []ResponseOutcome
}

// causes are the errors that a client may test for.
var causes = slices.Concat([]cause{
	{responseNotLeader, ErrNotLeader},
	{responseBusy, ErrBusy},
	{responseTooLarge, ErrTooLarge},
	{responseDiskFull, ErrDiskFull},
	{responseOverwritten, ErrOverwritten},
	{responseStopped, ErrStopped},
	{responseFaulted, ErrFaulted},
	{responseTooOld, ErrTooOld},
	{responseBadRequest, ErrBadRequest},
	{responseUnreachable, ErrUnreachable},
	{responseGone, errGone},
	{responseCatchingUp, errCatchingUp},
	{responseRemoved, ErrRemoved},
	{responseNoGroup, ErrNoGroup},
	{responseSessionExpired, ErrSessionExpired},
	{responseQuarantined, ErrQuarantined},
	{responseSkipped, ErrSkipped},
	{responseMachineFault, ErrMachineFault},
	{responseStorageFault, ErrStorageFault},
	{responseInvariantFault, ErrInvariantFault},
	{responseWitness, ErrWitness},
}, leadResponses)

// failure puts an error into words.
func failure(err error) (f Failure) {
	f.Message = err.Error()
	f.Message = f.Message[:min(len(f.Message), maxMessage)]
	for _, r := range causes {
		if errors.Is(err, r.err) {
			f.Reasons = append(f.Reasons, r.outcome)
		}
	}
	return f
}

// toldError is an error that another host has told of.
type toldError struct {
	text string
	is   []error
	as   error // one that knows more; may be nil
}

func (e *toldError) Error() string { return e.text }

func (e *toldError) Is(target error) bool {
	return slices.Contains(e.is, target) || e.as != nil && errors.Is(e.as, target)
}

func (e *toldError) As(target any) bool { return e.as != nil && errors.As(e.as, target) }

// err understands what failure has said. Reasons of a later version are passed over.
func (f *Failure) err(family error) *toldError {
	e := &toldError{text: f.Message}
	if family != nil {
		e.is = append(e.is, family)
	}
	for _, r := range causes {
		if slices.Contains(f.Reasons, r.outcome) {
			e.is = append(e.is, r.err)
		}
	}
	return e
}

// clientResponse puts an outcome into words for a client.
func (o outcome) clientResponse(r *Request) *ClientResponse {
	out := &ClientResponse{Outcome: responseOK, Data: o.data, Index: o.index, Age: o.age}
	if o.err != nil {
		out.fail(o.err)
		return out
	}
	if r.Operation == OpenSession {
		out.Session, out.Data = sessionOpened(o.data), nil
	}
	if s := o.status; s != nil {
		told := *s
		if s.Fault != nil {
			f := failure(s.Fault)
			out.StatusFault, told.Fault = &f, nil
		}
		out.Status = &told
	}
	return out
}

// fail has the response be an error.
func (r *ClientResponse) fail(err error) {
	*r = ClientResponse{Outcome: responseQueryError, Failure: failure(err), Hosts: r.Hosts}
	switch {
	case errors.Is(err, ErrUnknown):
		r.Outcome = responseUnknown
	case errors.Is(err, ErrRejected):
		r.Outcome = responseRejected
	}
	var notLeader *NotLeaderError
	var quarantined *QuarantineError
	if errors.As(err, &notLeader) {
		r.Leader = notLeader.Leader
	}
	if errors.As(err, &quarantined) {
		r.Index = quarantined.Entry
	}
	errors.As(err, &r.Busy)
}

// Refused returns the response to a client whose request is not let in, for this reason,
// which is ErrRejected.
func Refused(why error) *ClientResponse {
	r := new(ClientResponse)
	r.fail(why)
	return r
}

// err returns what the response says went wrong.
func (r *ClientResponse) err(o Operation) error {
	var family error
	switch r.Outcome {
	case responseOK:
		return nil
	case responseRejected:
		family = ErrRejected
	case responseQueryError:
	default: // of a later version, too
		if family = ErrRejected; o.acts() {
			family = ErrUnknown
		}
	}
	e := r.Failure.err(family)
	switch has := func(o ResponseOutcome) bool { return slices.Contains(r.Failure.Reasons, o) }; {
	case has(responseNotLeader):
		e.as = &NotLeaderError{Leader: r.Leader}
	case r.Busy != nil && has(responseBusy):
		e.as = r.Busy
	case has(responseQuarantined):
		e.as = &QuarantineError{Entry: r.Index}
	}
	return e
}

// outcome understands the response to an operation.
func (r *ClientResponse) outcome(op Operation) outcome {
	if err := r.err(op); err != nil {
		return outcome{err: err}
	}
	o := outcome{data: r.Data, index: r.Index, age: r.Age, status: r.Status}
	if op.tells() && o.status == nil {
		return outcome{err: fmt.Errorf("%w: the answer has no status", ErrRejected)}
	}
	if op == OpenSession {
		o.session = r.Session
	}
	if r.StatusFault != nil && o.status != nil {
		o.status.Fault = r.StatusFault.err(nil)
	}
	return o
}

// Elsewhere reports whether another member may give a better answer: this one does not
// lead and knows of no leader, is down, has gone, or was never there.
func (r *ClientResponse) Elsewhere() bool {
	return r.Outcome == responseRejected && elsewhere(r.Failure.err(ErrRejected))
}

// Ask makes one try of a client's request, at this host's member of the group. It does not
// block; answer is called once, in any goroutine, and must not block either. When ctx ends
// the request is withdrawn, or if it may happen, the answer is ErrUnknown.
func (h *Host) Ask(ctx context.Context, r *ClientRequest, answer func(*ClientResponse)) {
	g, err := h.asked(r)
	if r.Hosts {
		say, hosts := answer, h.hosts(g)
		answer = func(c *ClientResponse) { c.Hosts = hosts; say(c) }
	}
	switch {
	case r.Operation == 0 && r.Hosts:
		out := &ClientResponse{Outcome: responseOK}
		if g != nil {
			s, _ := g.board.latest()
			out.Leader = s.Leader
		}
		answer(out)
		return
	case err != nil:
		answer(Refused(err))
		return
	}
	c := r.newCall()
	if c.ctx = ctx; r.Traceparent != "" {
		c.ctx = h.inSpan(ctx, propagation.MapCarrier{traceparent: r.Traceparent})
	}
	say := func(o outcome) {
		if len(o.data) > h.maxAnswer {
			o = c.tooLargeAnswer(len(o.data), h.maxAnswer)
		}
		out := o.clientResponse(&r.Request)
		if s, _ := g.board.latest(); out.Leader == raftcore.Nobody && s.Leader != h.cfg.ID {
			out.Leader = s.Leader
		}
		answer(out)
	}
	told := g.observeCall(c, r.Operation, say)
	end := context.AfterFunc(ctx, func() {
		if err, gaveUp := c.giveUp(); gaveUp {
			told(outcome{err: fmt.Errorf("%w: %w", err, ctx.Err())})
		}
	})
	c.answer = func(o outcome) {
		end()
		told(o)
	}
	g.take(c, &r.Request)
}

// asked returns the group that a client means. Whether this client may ask that of the group
// is to be asked here: nothing was taken yet.
func (h *Host) asked(r *ClientRequest) (*Group, error) {
	if r.Cluster != h.cfg.Cluster {
		return nil, fmt.Errorf("%w: this host is of another cluster", ErrNoGroup)
	}
	g := h.group(groupKey(h.cfg.Cluster, r.Group))
	if g == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoGroup, r.Group)
	}
	if err := r.check(&h.cfg); err != nil {
		return g, err
	}
	return g, h.authorize(Asked{Group: r.Group, Operation: r.Operation, Names: r.Names}, r.Data)
}

// hosts returns where the members of a group are, or if it is nil, where all hosts are.
func (h *Host) hosts(g *Group) map[raftcore.NodeID]string {
	out := map[raftcore.NodeID]string{}
	var conf *raftcore.ConfState
	if g != nil {
		if s, _ := g.board.latest(); len(s.Conf.Voters) > 0 {
			conf = &s.Conf
		}
	}
	for id, p := range *h.peers.Load() {
		if conf == nil || conf.Contains(id) {
			out[id] = p.address
		}
	}
	if conf == nil || conf.Contains(h.cfg.ID) {
		out[h.cfg.ID] = "" // as its Gateway knows best
	}
	return out
}

// take takes a call of who does not wait for it: an actor, or a client elsewhere.
func (g *Group) take(c *call, r *Request) {
	node := g.node.Load()
	switch err := r.check(&g.host.cfg); {
	case err != nil:
		c.finish(nil, err)
	case r.Members.WaitCaughtUp:
		c.finish(nil, fmt.Errorf("%w: this is one try of a ChangeMembers, and does not wait: ask for CheckLearners", ErrBadRequest))
	case r.Operation == AwaitChange:
		g.board.await(c, r.Seen, g.host.cfg.MaxPending)
	case node != nil:
		if err := g.admit(c); err != nil {
			c.finish(nil, err)
			return
		}
		node.tell(c)
	case r.Operation == GetStatus:
		s, _ := g.board.latest()
		c.end(outcome{status: &s})
	default:
		c.finish(nil, g.unavailable())
	}
}

// Acts reports whether the request may have an effect. Who does not know what became of
// one that has none may as well ask again.
func (r *ClientRequest) Acts() bool { return r.Operation != 0 && r.Operation.acts() }
