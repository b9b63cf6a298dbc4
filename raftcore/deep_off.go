//go:build !race && !invariants

package raftcore

// deepChecks is set by the build tags race and invariants.
const deepChecks = false
