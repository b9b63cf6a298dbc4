package actors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The operations of sessions.
const (
	// OpenSession opens a session. Response.Session names it.
	OpenSession Operation = iota + 32
	// KeepSession is a sign of life of Request.Session, and says what it knows.
	KeepSession
	// CloseSession ends Request.Session.
	CloseSession
	// orderSessions is what becomes of these, and of a Propose in a session: an order for
	// the table of sessions, encoded. It is what travels, and what the log has.
	orderSessions
)

// InSession is a Request's place in a session. Session.Propose sees to all of it; this is
// for who sends Requests himself.
type InSession struct {
	// ID is the Response.Session of an OpenSession.
	ID SessionID
	// Sequence numbers the commands of the session, from 1 on. A command that is sent
	// again, with the same number, is carried out once. The numbers may come in any
	// order; no more than 1,024 beyond Done.
	Sequence uint64
	// Done says that all commands up to this one were answered: their results need
	// not be kept, and they will not be sent again. What comes of them later is not
	// carried out.
	Done uint64
}

// DefaultSessionTimeout is for how long nothing need be heard of a session.
const DefaultSessionTimeout = time.Minute

// order returns the order that a request is for the table of sessions, if it is one.
func (r *Request) order() (o sessionOrder, is bool) {
	o = sessionOrder{session: r.Session.ID, done: r.Session.Done}
	switch {
	case r.Operation == OpenSession:
		timeout := r.Timeout
		if timeout == 0 {
			timeout = DefaultSessionTimeout
		}
		return sessionOrder{kind: sessionOpens, timeout: uint64(timeout.Milliseconds())}, true
	case r.Operation == KeepSession:
		o.kind = sessionKeeps
	case r.Operation == CloseSession:
		o.kind, o.done = sessionCloses, 0
	case r.Operation == Propose && r.Session.ID != 0:
		o.kind, o.sequence, o.data = sessionCommand, r.Session.Sequence, r.Data
	default:
		return o, false
	}
	return o, true
}

// checkSession returns what is wrong with what r says of sessions, or "".
func (r *Request) checkSession() string {
	in := r.Session
	switch {
	case r.Operation == OpenSession && (r.Timeout < 0 || r.Timeout > maxSessionTimeout*time.Millisecond || r.Timeout > 0 && r.Timeout < time.Millisecond):
		return fmt.Sprintf("Timeout is %v, not between a millisecond and a year", r.Timeout)
	case r.Operation != OpenSession && r.Timeout != 0:
		return "Timeout is for OpenSession"
	case (r.Operation == KeepSession || r.Operation == CloseSession) && in.ID == 0:
		return "Session.ID says which session"
	case r.Operation == Propose && in.ID != 0 && in.Sequence == 0:
		return "Session.Sequence begins with 1"
	case r.Operation == Propose && in.Sequence <= in.Done && in.ID != 0:
		return "Session.Done says that this command was answered"
	case r.Operation != Propose && in.Sequence != 0, r.Operation != Propose && r.Operation != KeepSession && in.Done != 0,
		in.ID == 0 && in != InSession{}, in.ID != 0 && (r.Operation == Read || r.Operation == OpenSession || r.Operation == SkipEntry || r.Operation == CheckLearners || r.Operation.tells() || r.Operation.leads()):
		return "Session is for Propose, KeepSession and CloseSession"
	}
	return ""
}

// Session makes sure that a command is carried out once, however often it has to be
// sent: through leaders that are lost, members that restart, and answers that never
// come. It lives in the replicated state: when nothing is heard of it for its timeout, by
// the log's time, it ends, and what comes of it later is refused. A Session gives signs
// of life by itself, until Close.
//
// Its methods may be called concurrently, with up to 1,024 commands under way. Commands
// that are under way together may be carried out in any order. A process that starts
// again opens another session: what the last one left unanswered it cannot know.
type Session struct {
	client  *Client
	id      SessionID
	timeout time.Duration

	mu      sync.Mutex
	next    uint64          // the sequence number of the latest command
	done    uint64          // up to there all are answered
	open    map[uint64]bool // those that are not
	changed chan struct{}   // closed when done is another
	ended   error
	keep    *time.Timer
	spoke   time.Time // the last sign of life that was answered
}

// OpenSession opens a session that ends when nothing is heard of it for timeout; 0 stands
// for DefaultSessionTimeout. An error is ErrRejected, or ErrUnknown if ctx ends: then
// there may be a session that nobody has, and it ends by itself.
func (c *Client) OpenSession(ctx context.Context, timeout time.Duration) (*Session, error) {
	r := &Request{Operation: OpenSession, Timeout: timeout}
	maybe := false // an earlier try may have opened one
	for {
		try, cancel := c.try(ctx)
		response, err := c.Do(try, r)
		cancel()
		if err == nil {
			if timeout == 0 {
				timeout = DefaultSessionTimeout
			}
			s := &Session{
				client: c, id: response.Session, timeout: timeout,
				open: map[uint64]bool{}, changed: make(chan struct{}), spoke: time.Now(),
			}
			s.mu.Lock() // keepAlive, which sets it again, may be early
			s.keep = time.AfterFunc(timeout/3, s.keepAlive)
			s.mu.Unlock()
			return s, nil
		}
		again := errors.Is(err, ErrUnknown) || errors.Is(err, context.DeadlineExceeded)
		if maybe = maybe || errors.Is(err, ErrUnknown); maybe && !errors.Is(err, ErrUnknown) {
			err = &perhaps{err}
		}
		if !again {
			return nil, err
		}
		if err := c.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

// ID returns the name of the session.
func (s *Session) ID() SessionID { return s.id }

// Propose replicates a command and returns what Apply returned when it was carried out,
// which is once. It asks again by itself, until ctx ends. Then, if the command may have
// been sent, the error is ErrUnknown: it is carried out soon, or never. Other errors are
// ErrRejected: it was not carried out and never will be. When the session has ended,
// they are also ErrSessionExpired.
func (s *Session) Propose(ctx context.Context, data []byte) ([]byte, error) {
	if !s.client.observed() {
		return s.propose(ctx, data)
	}
	o := s.client.group.observe(ctx, Propose, func(ctx context.Context) (o outcome) {
		o.data, o.err = s.propose(ctx, data)
		return o
	})
	return o.data, o.err
}

func (s *Session) propose(ctx context.Context, data []byte) ([]byte, error) {
	sequence, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	defer s.answered(sequence)
	maybe := false // an earlier try may have been carried out
	for {
		try, cancel := s.client.try(ctx)
		o := s.client.ask(try, &Request{Operation: Propose, Data: data, Session: InSession{ID: s.id, Sequence: sequence, Done: s.known()}})
		cancel()
		again := false
		switch {
		case o.err == nil:
			s.spoken()
			return o.data, nil
		case errors.Is(o.err, ErrSessionExpired):
			s.end(o.err)
		case errors.Is(o.err, ErrSkipped):
			return nil, o.err // no other try is carried out either
		case errors.Is(o.err, ErrUnknown):
			maybe, again = true, true
		default:
			again = errors.Is(o.err, context.DeadlineExceeded) || s.client.worthAsking(o.err) || errors.Is(o.err, ErrBusy) || errors.Is(o.err, ErrDiskFull) || errors.Is(o.err, ErrOverwritten)
		}
		err := o.err
		if maybe && !errors.Is(err, ErrUnknown) {
			err = &perhaps{err}
		}
		if !again {
			return nil, err
		}
		if err := s.client.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

// take returns the next sequence number, when there is room for it.
func (s *Session) take(ctx context.Context) (uint64, error) {
	for {
		s.mu.Lock()
		if s.ended != nil {
			s.mu.Unlock()
			return 0, s.ended
		}
		if s.next-s.done < sessionWindow {
			s.next++
			sequence := s.next
			s.open[sequence] = true
			s.mu.Unlock()
			return sequence, nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrRejected, ctx.Err())
		}
	}
}

// answered notes that a command will not be sent again.
func (s *Session) answered(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sequence)
	for s.done < s.next && !s.open[s.done+1] {
		s.done++
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Session) known() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

func (s *Session) spoken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoke = time.Now()
}

func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = err
		s.keep.Stop()
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// keepAlive gives a sign of life if no command has for a while.
func (s *Session) keepAlive() {
	patience := s.timeout / 3
	s.mu.Lock()
	silent, done, ended := time.Since(s.spoke), s.done, s.ended
	s.mu.Unlock()
	if ended != nil {
		return
	}
	if silent >= patience {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err := s.client.Do(ctx, &Request{Operation: KeepSession, Session: InSession{ID: s.id, Done: done}})
		cancel()
		switch {
		case err == nil:
			s.spoken()
			silent = 0
		case errors.Is(err, ErrSessionExpired), (errors.Is(err, ErrStopped) || errors.Is(err, ErrFaulted)) && !s.client.worthAsking(err):
			s.end(err)
			return
		default:
			silent = patience - patience/8 // soon again
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.keep.Reset(patience - silent)
	}
}

// Close ends the session. Commands that are under way may be refused. If ctx ends before
// that is replicated the session ends when nothing was heard of it for its timeout.
func (s *Session) Close(ctx context.Context) error {
	s.end(errNoSession)
	_, err := s.client.Do(ctx, &Request{Operation: CloseSession, Session: InSession{ID: s.id}})
	return err
}

// sessionOpened returns the ID that the answer to an OpenSession has.
func sessionOpened(data []byte) SessionID {
	id, _ := binary.Uvarint(data)
	return SessionID(id)
}
