package actors

// Recording returns how many nodes of the host have a recording.
func (h *Host) Recording() int64 { return h.recording.Active() }
