package actors

import "github.com/castaway-go/castaway/raftcore"

const (
	ResponseOK         = responseOK
	ResponseRejected   = responseRejected
	ResponseBadMembers = responseBadMembers
	ResponseNotAllowed = responseNotAllowed
)

// Recording returns how many nodes of the host have a recording.
func (h *Host) Recording() int64 { return h.recording.Active() }

// Heard reports whether somebody listens to the events of the group.
func (g *Group) Heard() bool { return g.listeners.any() }

// PeerAddress returns where a host is looked for.
func (h *Host) PeerAddress(id raftcore.NodeID) string { return h.peer(id).address }
