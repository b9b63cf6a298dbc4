package actors

import (
	"errors"
	"fmt"
)

// maxMessage bounds the text of an error that travels.
const maxMessage = 4 << 10

// response puts an outcome into words for another host.
func response(id uint64, o outcome) GroupResponse {
	r := GroupResponse{ID: id, Data: o.data, Index: o.index}
	var notLeader *NotLeaderError
	var quarantined *QuarantineError
	var busy *BusyError
	switch {
	case o.err == nil:
		r.Outcome = responseOK
	case errors.As(o.err, &notLeader):
		r.Outcome, r.Leader = responseNotLeader, notLeader.Leader
	case errors.Is(o.err, ErrBusy):
		r.Outcome = responseBusy
		if errors.As(o.err, &busy) {
			r.Message = busy.What
		}
	case errors.Is(o.err, ErrDiskFull):
		r.Outcome = responseDiskFull
	case errors.Is(o.err, ErrTooLarge):
		r.Outcome = responseTooLarge
	case errors.Is(o.err, ErrSessionExpired):
		r.Outcome = responseSessionExpired
	case errors.As(o.err, &quarantined) && errors.Is(o.err, ErrRejected):
		r.Outcome, r.Index = responseQuarantined, quarantined.Entry
	case errors.Is(o.err, ErrSkipped):
		r.Outcome = responseSkipped
	case leadResponse(o.err) != 0:
		r.Outcome, r.Message = leadResponse(o.err), detail(o.err)
	case errors.Is(o.err, ErrUnknown):
		r.Outcome = responseUnknown
	case errors.Is(o.err, ErrRejected):
		r.Outcome = responseRejected
	default:
		r.Outcome, r.Message = responseQueryError, o.err.Error()
		r.Message = r.Message[:min(len(r.Message), maxMessage)]
	}
	return r
}

// responseOutcome understands what another host said.
func responseOutcome(r *GroupResponse) outcome {
	o := outcome{data: r.Data, index: r.Index}
	switch r.Outcome {
	case responseOK:
	case responseNotLeader:
		o.err = &NotLeaderError{Leader: r.Leader}
	case responseBusy:
		if o.err = ErrBusy; r.Message != "" {
			o.err = &BusyError{What: "the leader's host: " + r.Message}
		}
	case responseDiskFull:
		o.err = ErrDiskFull
	case responseQuarantined:
		o.err = fmt.Errorf("%w: %w", ErrRejected, &QuarantineError{Entry: r.Index})
	case responseSkipped:
		o.err = ErrSkipped
	case responseSessionExpired:
		o.err = errNoSession
	case responseTooLarge:
		o.err = ErrTooLarge
	case responseRejected:
		o.err = errGone
	case responseUnknown:
		o.err = errElsewhere
	case responseQueryError:
		o.err = errors.New(r.Message)
	default:
		if o.err = leadError(r); o.err == nil {
			o.err = fmt.Errorf("%w: the leader's host answered with outcome %d", ErrUnknown, r.Outcome)
		}
	}
	return o
}
