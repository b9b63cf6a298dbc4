//go:build !race

package rafttest

// underRace: the race detector is at work.
const underRace = false
