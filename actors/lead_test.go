package actors

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/raftcore"
)

// A peer that is taken out is not a member that restarts.
func TestC5_AForwardToAPeerThatIsGoneCannotReachTheLeader(t *testing.T) {
	var ends []error
	gone := idle(3)
	for i, c := range manyCalls(2, &ends) {
		gone.tell(&forward{call: c})
		if i == 0 {
			gone.box.close()
		}
	}
	if len(ends) != 2 || !errors.Is(ends[0], ErrUnreachable) || !errors.Is(ends[1], ErrUnreachable) {
		t.Errorf("who waits, and who comes later, are told %v", ends)
	}
}

// Who does not know what became of a call is told why nobody does.
func TestAnUnknownOutcomeSaysWhy(t *testing.T) {
	started := &call{operation: Propose}
	started.start()
	waited, _ := started.giveUp()
	var left error
	abandoned := &call{operation: Propose}
	abandoned.answer = func(o outcome) { left = o.err }
	abandoned.abandon()
	n := &node{}
	for what, err := range map[string]error{
		"the caller's time is over":      waited,
		"its actor has stopped":          left,
		"its leader does not lead":       n.refusal(raftcore.Reply{MaybeHappened: true}),
		"another host does not know":     responseOutcome(&GroupResponse{Outcome: responseUnknown}).err,
		"another host is of a later one": responseOutcome(&GroupResponse{Outcome: 255}).err,
	} {
		if !errors.Is(err, ErrUnknown) || errors.Is(err, ErrRejected) || err.Error() == ErrUnknown.Error() {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What a leader's host says of a change means the same where it was asked, and keeps
// what it says in detail.
func TestOutcomesOfChangesTravel(t *testing.T) {
	for _, known := range leadResponses {
		for _, err := range []error{known.err, fmt.Errorf("%w: because", known.err)} {
			r := response(7, outcome{err: err})
			got := responseOutcome(&r).err
			if r.Outcome != known.outcome || got == nil || got.Error() != err.Error() || !errors.Is(got, known.err) || errors.Is(got, ErrUnknown) == errors.Is(got, ErrRejected) {
				t.Errorf("%v is sent as %+v, and understood as %v", err, r, got)
			}
		}
	}
	long := response(7, outcome{err: fmt.Errorf("%w: %s", ErrBadMembers, strings.Repeat("x", 1<<20))})
	if len(long.Message) > maxMessage {
		t.Errorf("an error of %d bytes travels", len(long.Message))
	}
	for _, later := range []ResponseOutcome{0, 15, 100, 255} {
		if err := responseOutcome(&GroupResponse{Outcome: later, Message: "x"}).err; !errors.Is(err, ErrUnknown) || errors.Is(err, ErrRejected) {
			t.Errorf("outcome %d is understood as %v", later, err)
		}
	}
}
