package actors

// Waiting returns how many bytes of requests a host counts that are not answered, and of
// entries that wait for its disk. What has stopped counts none.
func (h *Host) Waiting() (calls, saves int64) { return h.budget.calls.Load(), h.unsaved.Load() }

// Tables returns how many bytes of results and effects a host counts.
func (h *Host) Tables() int64 { return h.budget.tables.Load() }
