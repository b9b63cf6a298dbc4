//go:build race

package flood

// The race detector takes several times the memory; and it sees that each remote of a process
// sets the one logger of gRPC, which is not this library's.
const raceDetector = true
