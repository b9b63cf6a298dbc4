//go:build race

package journal_test

// slowdown: the race detector makes everything so much slower, and finds what it finds
// in fewer rounds.
const slowdown = 3
