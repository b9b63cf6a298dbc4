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
		r.Outcome = ResponseOK
	case errors.As(o.err, &notLeader):
		r.Outcome, r.Leader = ResponseNotLeader, notLeader.Leader
	case errors.Is(o.err, ErrBusy):
		r.Outcome = ResponseBusy
		if errors.As(o.err, &busy) {
			r.Message = busy.What
		}
	case errors.Is(o.err, ErrDiskFull):
		r.Outcome = ResponseDiskFull
	case errors.Is(o.err, ErrTooLarge):
		r.Outcome = ResponseTooLarge
	case errors.Is(o.err, ErrSessionExpired):
		r.Outcome = ResponseSessionExpired
	case errors.As(o.err, &quarantined) && errors.Is(o.err, ErrRejected):
		r.Outcome, r.Index = ResponseQuarantined, quarantined.Entry
	case errors.Is(o.err, ErrSkipped):
		r.Outcome = ResponseSkipped
	case leadResponse(o.err) != 0:
		r.Outcome, r.Message = leadResponse(o.err), detail(o.err)
	case errors.Is(o.err, ErrUnknown):
		r.Outcome = ResponseUnknown
	case errors.Is(o.err, ErrRejected):
		r.Outcome = ResponseRejected
	default:
		r.Outcome, r.Message = ResponseQueryError, o.err.Error()
		r.Message = r.Message[:min(len(r.Message), maxMessage)]
	}
	return r
}

// responseOutcome understands what another host said.
func responseOutcome(r *GroupResponse) outcome {
	o := outcome{data: r.Data, index: r.Index}
	switch r.Outcome {
	case ResponseOK:
	case ResponseNotLeader:
		o.err = &NotLeaderError{Leader: r.Leader}
	case ResponseBusy:
		if o.err = ErrBusy; r.Message != "" {
			o.err = &BusyError{What: "the leader's host: " + r.Message}
		}
	case ResponseDiskFull:
		o.err = ErrDiskFull
	case ResponseQuarantined:
		o.err = fmt.Errorf("%w: %w", ErrRejected, &QuarantineError{Entry: r.Index})
	case ResponseSkipped:
		o.err = ErrSkipped
	case ResponseSessionExpired:
		o.err = errNoSession
	case ResponseTooLarge:
		o.err = ErrTooLarge
	case ResponseRejected:
		o.err = errGone
	case ResponseUnknown:
		o.err = errElsewhere
	case ResponseQueryError:
		o.err = errors.New(r.Message)
	default:
		if o.err = leadError(r); o.err == nil {
			o.err = fmt.Errorf("%w: the leader's host answered with outcome %d", ErrUnknown, r.Outcome)
		}
	}
	return o
}
