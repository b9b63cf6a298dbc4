package actors

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Client asks a group: a Group, which is open on a host of this process, or one whose
// members are all in other processes (remote.Dial). What a call means, how it ends, and
// when it is made again, is the same for both. Its methods may be called concurrently.
type Client struct {
	name  string
	group *Group // in this process; nil: its members are elsewhere, and asker knows where
	asker Asker

	heartbeat, election time.Duration
}

// Asker reaches the members of groups in other processes. Package remote has one, on
// protoactor remote.
type Asker interface {
	// Ask makes one try of a request, at whichever member is most likely to know, and
	// goes on to others as long as the answers are ClientResponse.Elsewhere. It returns
	// when ctx ends. An error is what this side knows of a try that was not answered:
	// ErrRejected if the request has not left, or has no effect, else ErrUnknown.
	Ask(ctx context.Context, r *ClientRequest) (*ClientResponse, error)
}

// NewClient returns the client of a group whose members asker reaches.
func NewClient(group string, asker Asker) *Client {
	patience := raftcore.Config{}.WithDefaults()
	return &Client{name: group, asker: asker, heartbeat: patience.HeartbeatInterval, election: patience.ElectionTimeout}
}

// Name returns the group's name.
func (c *Client) Name() string { return c.name }

// Propose replicates a command and returns what Apply returned for it on the
// leader. It may be called on any host: it finds the leader, and waits for one
// as long as ctx allows.
//
// When it returns without an error, the command is durable on a majority, and
// every later Read sees it. An error is ErrRejected (it did not happen and
// never will) or ErrUnknown (it may have). Data must not be changed afterwards, nor the
// answer: the machine may hold on to it.
func (c *Client) Propose(ctx context.Context, data []byte) ([]byte, error) {
	return c.plain(ctx, Propose, data)
}

// Read answers a query linearizably: it sees every command that was
// acknowledged to anybody before Read was called. It may be called on any host,
// whose own member answers, and waits for a leader as long as ctx allows. It
// writes nothing to any disk. An error is ErrRejected, or what Query returned. The
// answer must not be changed: the machine may hold on to it.
func (c *Client) Read(ctx context.Context, query []byte) ([]byte, error) {
	return c.plain(ctx, Read, query)
}

// plain makes a call that is nothing but an operation and its data. As most calls are
// like that, and end well, it makes no Request of it first.
func (c *Client) plain(ctx context.Context, operation Operation, data []byte) ([]byte, error) {
	if c.group == nil || c.observed() {
		return c.full(ctx, operation, data, nil)
	}
	o := c.group.await(ctx, &call{operation: operation, data: data})
	if o.err != nil {
		return c.full(ctx, operation, data, &o)
	}
	return o.data, nil
}

// full makes the same call with a Request, or again after a try.
func (c *Client) full(ctx context.Context, operation Operation, data []byte, tried *outcome) ([]byte, error) {
	r := &Request{Operation: operation, Data: data}
	var o outcome
	if tried == nil {
		o = c.do(ctx, r)
	} else {
		o = c.insist(ctx, r, *tried)
	}
	return o.data, o.err
}

// Do is the other calls for who wants to say or to know more: reads of other
// consistencies, and the index that a command was applied at. The error is that
// of the Response, which is never nil.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	o := outcome{err: r.check(c.hostConfig())}
	switch g := c.group; {
	case o.err != nil:
	case r.Operation == GetStatus && g != nil:
		o.status = new(Status)
		*o.status, o.err = g.status(ctx)
	case r.Operation == AwaitChange && g != nil:
		o = g.awaitChange(ctx, r.Seen)
	case r.Operation == ChangeMembers:
		o.err = c.change(ctx, r)
	case r.Operation.leads() || r.Operation == SkipEntry:
		o.err = c.lead(ctx, r)
	default:
		o = c.do(ctx, r)
	}
	return o.response(r), o.err
}

// anyHost has everything that some host may have.
var anyHost = HostConfig{Raft: raftcore.Config{LeaseReads: true}}

// hostConfig returns that of the host that is asked, as far as it is known.
func (c *Client) hostConfig() *HostConfig {
	if c.group == nil {
		return &anyHost // whoever is asked looks at the request as well
	}
	return &c.group.host.cfg
}

// do asks until it has an answer, or an outcome that asking again could make worse, or no
// time any more. It is measured and traced if somebody wants to know.
func (c *Client) do(ctx context.Context, r *Request) outcome {
	if c.observed() {
		return c.group.observe(ctx, r.Operation, func(ctx context.Context) outcome { return c.insist(ctx, r, c.ask(ctx, r)) })
	}
	o := c.ask(ctx, r)
	if o.err != nil {
		o = c.insist(ctx, r, o)
	}
	return o
}

// observed reports whether somebody measures or traces what is asked.
func (c *Client) observed() bool { return c.group != nil && c.group.host.observed() }

// insist asks again, if that is worth it after an outcome.
func (c *Client) insist(ctx context.Context, r *Request, o outcome) outcome {
	if o.err == nil || !c.worthAsking(o.err) {
		return o
	}
	why := o.err
	for pause := c.heartbeat; ; {
		changed := c.news() // first: what has changed meanwhile may do, and is not to be missed
		o := c.ask(ctx, r)
		if o.err != nil && ctx.Err() != nil && errors.Is(o.err, ErrRejected) && errors.Is(o.err, ctx.Err()) {
			return outcome{err: errors.Join(why, ctx.Err())} // this try was cut short, and knows less than the one before
		}
		if o.err == nil || !c.worthAsking(o.err) {
			return o
		}
		why = o.err
		// The leader is about to change, or has: wait for the news, but not for
		// ever, because the news may be on another host. Many who ask again and again
		// would keep those from electing one who are short of time already.
		waitFor(ctx, changed, pause)
		pause = min(2*pause, c.election)
		if ctx.Err() != nil { // asking again would hide why
			return outcome{err: errors.Join(why, ctx.Err())}
		}
	}
}

// worthAsking reports whether a rejection is one that passes by itself.
func (c *Client) worthAsking(err error) bool {
	return passes(err) || errors.As(err, new(*toldError)) && elsewhere(err)
}

// passes reports whether a rejection passes by itself, also if the same member is asked.
func passes(err error) bool {
	return errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrTooOld) || errors.Is(err, errGone) || errors.Is(err, errNotReady) || errors.Is(err, errCatchingUp)
}

// elsewhere reports whether another member may give a better answer than this rejection,
// which is about the member that was asked.
func elsewhere(err error) bool {
	about := errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrTooOld) || errors.Is(err, errGone) || errors.Is(err, errCatchingUp) ||
		errors.Is(err, ErrStopped) || errors.Is(err, ErrFaulted) || errors.Is(err, ErrRemoved) || errors.Is(err, ErrNoGroup) || errors.Is(err, ErrWitness)
	return about && !errors.Is(err, ErrUnknown)
}

// ask makes one try.
func (c *Client) ask(ctx context.Context, r *Request) outcome {
	if c.group != nil {
		return c.group.await(ctx, r.newCall())
	}
	if err := ctx.Err(); err != nil {
		return outcome{err: fmt.Errorf("%w: %w", ErrRejected, err)}
	}
	answer, err := c.asker.Ask(ctx, &ClientRequest{Group: c.name, Request: *r, Traceparent: traceparentOf(ctx)})
	if err != nil {
		return outcome{err: err}
	}
	return answer.outcome(r.Operation)
}

// news returns what is closed when something changes, as far as that is known here.
func (c *Client) news() <-chan struct{} {
	if c.group == nil {
		return nil
	}
	_, changed := c.group.board.latest()
	return changed
}

// waitFor waits for the news, but no longer than the pause, or until ctx ends.
func waitFor(ctx context.Context, news <-chan struct{}, pause time.Duration) {
	retry := time.NewTimer(pause)
	defer retry.Stop()
	if ctx.Err() != nil {
		return
	}
	select {
	case <-news:
	case <-retry.C:
	case <-ctx.Done():
	}
}

// try bounds one try of a call that may be sent again: an answer that is lost on the way
// never comes.
func (c *Client) try(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 5*c.election)
}

// pause waits for news of the group, or for a little while. When ctx ends it returns why
// that is the end of a call.
func (c *Client) pause(ctx context.Context, why error) error {
	waitFor(ctx, c.news(), c.heartbeat)
	if ctx.Err() != nil {
		return errors.Join(why, ctx.Err())
	}
	return nil
}

// lead asks until it has an answer that does not pass by itself. Unlike a proposal, a
// request about the group itself can be repeated when its outcome is not known.
func (c *Client) lead(ctx context.Context, r *Request) error {
	unknown := false          // an earlier try may have had its way
	before := raftcore.Nobody // who led then
	anybody := r.Operation == Transfer && r.To == raftcore.Nobody
	for {
		s, changed, err := c.leader(ctx, anybody)
		switch vacant := s.Leader == raftcore.Nobody; {
		case err != nil:
		case anybody && unknown && !vacant && s.Leader != before:
			return nil
		case anybody && vacant:
			err = c.vacant(s) // nobody is asked: whoever leads next is not to be deposed by mistake
		default:
			before = s.Leader
			err = c.ask(ctx, r).err
		}
		if err == nil || unknown && errors.Is(err, ErrRemoved) && c.removedBy(r) {
			return nil
		}
		again := c.worthAsking(err)
		if errors.Is(err, ErrUnknown) {
			unknown = true
			again = !errors.Is(err, ErrTransferFailed)
		} else if unknown {
			err = &perhaps{err}
		}
		if !again || ctx.Err() != nil {
			return err
		}
		waitFor(ctx, changed, c.heartbeat)
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// leader returns who leads, as far as that is known here, or if it is needed, elsewhere.
func (c *Client) leader(ctx context.Context, needed bool) (s Status, changed <-chan struct{}, err error) {
	switch {
	case c.group != nil:
		s, changed = c.group.board.latest()
	case needed:
		if o := c.ask(ctx, &Request{Operation: GetStatus}); o.err == nil {
			s = *o.status
		} else {
			err = o.err
		}
	}
	return s, changed, err
}

// vacant returns why nobody can be asked who leads.
func (c *Client) vacant(s Status) error {
	switch {
	case s.State != Running && c.group != nil:
		return c.group.unavailable()
	case s.Removed():
		return ErrRemoved
	}
	return &NotLeaderError{Group: c.name}
}

// removedBy reports whether this host's member was removed by the very request that it
// made: it will not find anybody who would tell it more.
func (c *Client) removedBy(r *Request) bool {
	if c.group == nil {
		return false // others are asked
	}
	s, _ := c.group.board.latest()
	conf := r.Members.conf()
	return r.Operation == ChangeMembers && s.Conf.Equal(conf)
}

// Status returns a member's status, with the newest indexes if it is running: that of
// this host's, if there is one. Then an error is that of ctx, and the indexes are older; from
// another process it is one that any call may end with.
func (c *Client) Status(ctx context.Context) (Status, error) {
	if c.group != nil {
		return c.group.status(ctx)
	}
	o := c.do(ctx, &Request{Operation: GetStatus})
	if o.err != nil {
		return Status{Group: c.name}, o.err
	}
	return *o.status, nil
}

// Watch returns the present status and every later one, until the context ends
// or the member is stopped. Who is slow misses some, but never the latest. It
// tells of changes of state, role, term, leader and configuration, of a configuration that
// is committed (ConfIndex <= Commit), of a leader that becomes Readable, and of what the
// autopilot is about; for the newest indexes, and for how far Snapshots have come, call
// Status.
//
// From another process it is the status of whichever member is asked, which may be another
// one later, and it ends with the context alone.
func (c *Client) Watch(ctx context.Context) iter.Seq[Status] {
	if c.group == nil {
		return c.watchElsewhere(ctx)
	}
	return func(yield func(Status) bool) {
		for {
			s, changed := c.group.board.latest()
			if !yield(s) || s.State == Stopped {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// watchElsewhere asks again and again. Members count their changes each for itself, so a
// wait does not last for ever: another member may have been asked to wait for what the one
// before has counted.
func (c *Client) watchElsewhere(ctx context.Context) iter.Seq[Status] {
	return func(yield func(Status) bool) {
		var last Status
		for ctx.Err() == nil {
			s, err := c.Status(ctx)
			if err != nil {
				waitFor(ctx, nil, c.heartbeat)
				continue
			}
			if s.ID != last.ID || s.Change != last.Change {
				if last = s; !yield(s) {
					return
				}
			}
			wait, cancel := c.try(ctx)
			if o := c.ask(wait, &Request{Operation: AwaitChange, Seen: s.Change}); o.err != nil && wait.Err() == nil {
				waitFor(ctx, nil, c.heartbeat)
			}
			cancel()
		}
	}
}
