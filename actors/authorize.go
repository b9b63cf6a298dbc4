package actors

import (
	"fmt"

	"github.com/castaway-go/castaway/raftcore"
)

// Asked is what HostConfig.Authorize is asked about: who wants what.
type Asked struct {
	Group     string
	Operation Operation // Propose also in a session
	// Host is the host that the request has come from, on behalf of its program, or of a
	// client that its own hook has let do that. 0: it comes from a client itself.
	Host raftcore.NodeID
	// Names are those that the other process has proved to have, in its certificate. None
	// without TLS: then Host, too, is only what it says.
	Names []string
}

// authorize returns why a request from another process is not carried out, or nil. data is
// that of the request as it travels. What hosts ask each other is no client's request.
func (h *Host) authorize(a Asked, data []byte) (err error) {
	if h.cfg.Authorize == nil || a.Operation.asks() {
		return nil
	}
	if a.Operation == orderSessions {
		o, err := decodeOrder(data)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRejected, err)
		}
		a.Operation = map[byte]Operation{sessionOpens: OpenSession, sessionCommand: Propose, sessionKeeps: KeepSession, sessionCloses: CloseSession}[o.kind]
	}
	defer func() {
		if reason := recover(); reason != nil { // who knows what it would have said
			h.logger.Error("Authorize has panicked", "why", fmt.Sprint(reason), "group", a.Group)
			err = fmt.Errorf("%w: it cannot be decided", ErrNotAllowed)
		}
	}()
	if why := h.cfg.Authorize(a); why != nil {
		return fmt.Errorf("%w: %v", ErrNotAllowed, why) // whatever it is else
	}
	return nil
}
