//go:build windows || plan9

package journal

// SyncDir does nothing: these systems do not sync directories. NTFS keeps names
// in a journal of its own, in order.
func (osFS) SyncDir(string) error { return nil }
