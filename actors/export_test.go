package actors

// Recording returns how many nodes of the host have a recording.
func (h *Host) Recording() int64 { return h.recording.Active() }

// Heard reports whether somebody listens to the events of the group.
func (g *Group) Heard() bool { return g.listeners.any() }
