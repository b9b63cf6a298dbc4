//go:build race

package remote

// The race detector takes several times the memory.
const raceDetector = true
