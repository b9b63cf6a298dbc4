package actors

import (
	"errors"
	"fmt"
)

// maxMessage bounds the text of an error that travels.
const maxMessage = 4 << 10

// response puts an outcome into words for another host.
func response(id uint64, o outcome) GroupResponse {
	r := GroupResponse{ID: id, Data: o.data}
	var notLeader *NotLeaderError
	switch {
	case o.err == nil:
		r.Outcome = ResponseOK
	case errors.As(o.err, &notLeader):
		r.Outcome, r.Leader = ResponseNotLeader, notLeader.Leader
	case errors.Is(o.err, ErrBusy):
		r.Outcome = ResponseBusy
	case errors.Is(o.err, ErrDiskFull):
		r.Outcome = ResponseDiskFull
	case errors.Is(o.err, ErrTooLarge):
		r.Outcome = ResponseTooLarge
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
func responseOutcome(r *GroupResponse) ([]byte, error) {
	switch r.Outcome {
	case ResponseOK:
		return r.Data, nil
	case ResponseNotLeader:
		return nil, &NotLeaderError{Leader: r.Leader}
	case ResponseBusy:
		return nil, ErrBusy
	case ResponseDiskFull:
		return nil, ErrDiskFull
	case ResponseTooLarge:
		return nil, ErrTooLarge
	case ResponseRejected:
		return nil, errGone
	case ResponseQueryError:
		return r.Data, errors.New(r.Message)
	}
	if err := leadError(r); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: the leader's host answered with outcome %d", ErrUnknown, r.Outcome)
}
