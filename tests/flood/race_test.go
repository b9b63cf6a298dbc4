//go:build race

package flood

// raceDetector: the race detector takes several times the memory.
const raceDetector = true
