package actors

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What a leader's host says of a change means the same where it was asked, and keeps
// what it says in detail.
func TestOutcomesOfChangesTravel(t *testing.T) {
	for _, known := range leadResponses {
		for _, err := range []error{known.err, fmt.Errorf("%w: because", known.err)} {
			r := response(7, outcome{err: err})
			_, got := responseOutcome(&r)
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
		if _, err := responseOutcome(&GroupResponse{Outcome: later, Message: "x"}); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrRejected) {
			t.Errorf("outcome %d is understood as %v", later, err)
		}
	}
}
