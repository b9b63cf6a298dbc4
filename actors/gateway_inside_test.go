package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// What errors.Is says of an error, and its text, are the same in another process.
func TestC4_ErrorsAreTheSameInAnotherProcess(t *testing.T) {
	errs := []error{
		ErrRejected, ErrUnknown, ErrOverwritten, ErrStopped, ErrTooOld, ErrBadRequest, ErrUnreachable, ErrDiskFull, ErrTooLarge, ErrBusy,
		ErrBadMembers, ErrConfigChanged, ErrChangeInProgress, ErrNotCaughtUp, ErrNotVoter, ErrNotInPlace, ErrWitness, ErrRemoved, ErrNoGroup, ErrTransferFailed,
		ErrSkipped, ErrNotQuarantined, errGone, errNotReady, errCatchingUp, errNoSession, errAnswered, errTooManySessions,
		errors.New("the query's own"),
		&NotLeaderError{Group: "g", Leader: 3}, &NotLeaderError{Group: "g", Node: &raftcore.Status{ID: 1}},
		&BusyError{What: "bytes", Used: 3, Limit: 2, RetryAfter: time.Second},
		fmt.Errorf("%w: %w", ErrFaulted, fmt.Errorf("%w: %w", ErrStorageFault, persistence.ErrPoisoned)),
		fmt.Errorf("%w: %w", ErrFaulted, ErrInvariantFault),
		fmt.Errorf("%w: %w", ErrRejected, &QuarantineError{Entry: 9, Reason: "boom"}),
		fmt.Errorf("%w: %w", ErrUnknown, &QuarantineError{Entry: 9}),
		fmt.Errorf("%w: host 9 is named twice", ErrBadMembers),
	}
	judges := []error{ErrRejected, ErrUnknown}
	for _, c := range causes {
		judges = append(judges, c.err)
	}
	for _, err := range errs {
		told := (outcome{err: err}).clientResponse(&Request{Operation: Propose}).outcome(Propose).err
		if told == nil || told.Error() != err.Error() {
			t.Errorf("%v is told as %v", err, told)
		}
		for _, judge := range judges {
			if errors.Is(told, judge) != errors.Is(err, judge) {
				t.Errorf("%v: that it is %q is %v here and %v there", err, judge, errors.Is(err, judge), errors.Is(told, judge))
			}
		}
	}
	// Those that know more say more.
	again := func(err error) error {
		return (outcome{err: err}).clientResponse(&Request{Operation: Read}).outcome(Read).err
	}
	var notLeader *NotLeaderError
	if err := again(&NotLeaderError{Leader: 3}); !errors.As(err, &notLeader) || notLeader.Leader != 3 {
		t.Errorf("the leader is told as %+v", notLeader)
	}
	var busy *BusyError
	if err := again(errs[len(errs)-6]); !errors.As(err, &busy) || *busy != (BusyError{What: "bytes", Used: 3, Limit: 2, RetryAfter: time.Second}) {
		t.Errorf("what is busy is told as %+v", busy)
	}
	var quarantined *QuarantineError
	if err := again(errs[len(errs)-3]); !errors.As(err, &quarantined) || quarantined.Entry != 9 {
		t.Errorf("the quarantine is told as %+v", quarantined)
	}
	if err := again(errors.New(strings.Repeat("x", maxMessage+1))); len(err.Error()) != maxMessage {
		t.Errorf("a text of %d bytes travels", len(err.Error()))
	}
}

// A response of a later version is not taken for more than it says.
func TestAResponseThatIsNotUnderstoodIsUnknown(t *testing.T) {
	r := &ClientResponse{Outcome: 200, Failure: Failure{Message: "?", Reasons: []ResponseOutcome{201}}}
	if err := r.outcome(Propose).err; !errors.Is(err, ErrUnknown) || errors.Is(err, ErrRejected) {
		t.Errorf("a proposal ends with %v", err)
	}
	if err := r.outcome(Read).err; !errors.Is(err, ErrRejected) || errors.Is(err, ErrUnknown) {
		t.Errorf("a read, which has no effect, ends with %v", err)
	}
	if err := (&ClientResponse{Outcome: responseOK}).outcome(GetStatus).err; !errors.Is(err, ErrRejected) {
		t.Errorf("an answer without the status that was asked for ends with %v", err)
	}
}

// script is an Asker that answers as it is told.
type script struct {
	answers []func(*ClientRequest) (*ClientResponse, error)
	asked   []ClientRequest
}

func (s *script) Ask(_ context.Context, r *ClientRequest) (*ClientResponse, error) {
	s.asked = append(s.asked, *r)
	next := s.answers[0]
	s.answers = s.answers[1:]
	return next(r)
}

func says(r *ClientResponse) func(*ClientRequest) (*ClientResponse, error) {
	return func(*ClientRequest) (*ClientResponse, error) { return r, nil }
}

func fails(err error) func(*ClientRequest) (*ClientResponse, error) {
	return func(*ClientRequest) (*ClientResponse, error) { return nil, err }
}

// C1: what is asked again, and what is not, is the same for a client elsewhere.
func TestC1_AClientElsewhereAsksAgainOnlyWhatIsSafe(t *testing.T) {
	done := says(&ClientResponse{Outcome: responseOK, Data: []byte("done"), Index: 7})
	ctx := context.Background()
	for name, c := range map[string]struct {
		answers []func(*ClientRequest) (*ClientResponse, error)
		err     error
	}{
		"a member that is restarting": {append([]func(*ClientRequest) (*ClientResponse, error){says(Refused(errGone)), says(Refused(ErrStopped)), says(Refused(ErrNoGroup))}, done), nil},
		"nobody can be reached":       {append([]func(*ClientRequest) (*ClientResponse, error){fails(ErrUnreachable)}, done), nil},
		"it may have happened":        {append([]func(*ClientRequest) (*ClientResponse, error){says(Refused(ErrUnknown))}, done), ErrUnknown},
		"the connection broke":        {append([]func(*ClientRequest) (*ClientResponse, error){fails(ErrUnknown)}, done), ErrUnknown},
		"too much waits":              {append([]func(*ClientRequest) (*ClientResponse, error){says(Refused(ErrBusy))}, done), ErrBusy},
		"this client was closed":      {append([]func(*ClientRequest) (*ClientResponse, error){fails(ErrStopped)}, done), ErrStopped},
	} {
		s := &script{answers: c.answers}
		answer, err := NewClient("g", s).Propose(ctx, []byte("command"))
		if !errors.Is(err, c.err) || err == nil && string(answer) != "done" {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
		if left := len(s.answers); (left == 0) != (c.err == nil) {
			t.Errorf("%s: %d answers were not asked for", name, left)
		}
	}

	// When the time is over in the middle of a try, what came of the one before says why.
	short, cancel := context.WithCancel(ctx)
	cut := func(*ClientRequest) (*ClientResponse, error) {
		cancel()
		return nil, fmt.Errorf("%w: %w", ErrRejected, short.Err())
	}
	_, err := NewClient("g", &script{answers: []func(*ClientRequest) (*ClientResponse, error){says(Refused(ErrNoGroup)), cut}}).Propose(short, []byte("command"))
	if !errors.Is(err, ErrNoGroup) || !errors.Is(err, ErrRejected) || !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was cut short ends with %v", err)
	}

	// In a session it is asked again whatever came of it, as the same command.
	s := &script{answers: []func(*ClientRequest) (*ClientResponse, error){
		says(&ClientResponse{Outcome: responseOK, Session: 5}), fails(ErrUnknown), says(Refused(ErrBusy)), fails(ErrUnreachable), says(Refused(ErrUnknown)), done,
		says(&ClientResponse{Outcome: responseOK}),
	}}
	session, err := NewClient("g", s).OpenSession(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := session.Propose(ctx, []byte("command")); err != nil || string(answer) != "done" {
		t.Errorf("Propose: %q, %v", answer, err)
	}
	if err := session.Close(ctx); err != nil {
		t.Error(err)
	}
	for _, r := range s.asked[1:6] {
		if r.Session != (InSession{ID: 5, Sequence: 1}) || string(r.Data) != "command" {
			t.Errorf("asked again is %+v", r)
		}
	}

	// Whoever is to hand over, and to whomever, is not asked twice for that.
	led := func(by raftcore.NodeID) func(*ClientRequest) (*ClientResponse, error) {
		s := &Status{State: Running}
		s.Leader = by
		return says(&ClientResponse{Outcome: responseOK, Status: s})
	}
	s = &script{answers: []func(*ClientRequest) (*ClientResponse, error){led(1), fails(ErrUnknown), led(raftcore.Nobody), led(2)}}
	if err := NewClient("g", s).Transfer(ctx, raftcore.Nobody); err != nil || len(s.answers) > 0 {
		t.Errorf("Transfer: %v, and %d answers were not asked for", err, len(s.answers))
	}
}

// askerFunc is an Asker.
type askerFunc func(ctx context.Context, r *ClientRequest) (*ClientResponse, error)

func (f askerFunc) Ask(ctx context.Context, r *ClientRequest) (*ClientResponse, error) {
	return f(ctx, r)
}

// C1: a session lives on while all that are asked for a sign of life say that they have
// stopped: they are not the group. It ends when the client is closed.
func TestC1_ASessionElsewhereOutlivesMembersThatStop(t *testing.T) {
	synctest.Test(t, sessionElsewhere)
}

func sessionElsewhere(t *testing.T) {
	var stopped, closed atomic.Bool
	signs := make(chan bool, 100) // of life, and whether they were refused
	asker := askerFunc(func(ctx context.Context, r *ClientRequest) (*ClientResponse, error) {
		switch {
		case closed.Load():
			return nil, ErrStopped
		case r.Operation == OpenSession:
			return &ClientResponse{Outcome: responseOK, Session: 5}, nil
		case r.Operation == KeepSession && stopped.Load():
			select {
			case signs <- true:
			default:
			}
			return Refused(ErrStopped), nil
		}
		if r.Operation == KeepSession {
			select {
			case signs <- false:
			default:
			}
		}
		return &ClientResponse{Outcome: responseOK}, nil
	})
	ctx := context.Background()
	session, err := NewClient("g", asker).OpenSession(ctx, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	await := func(refused bool, n int) {
		for n > 0 {
			if <-signs == refused {
				n--
			}
		}
	}
	await(false, 2)
	stopped.Store(true)
	await(true, 20)
	stopped.Store(false)
	await(false, 2)
	if _, err := session.Propose(ctx, nil); err != nil {
		t.Errorf("a session that goes on: %v", err)
	}
	closed.Store(true)
	time.Sleep(10 * time.Second) // of the bubble's time: a sign of life is due
	if _, err := session.Propose(ctx, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("a session of a client that was closed: %v", err)
	}
}
