//go:build race

package badgerstore

// slowdown: the race detector makes everything so much slower, and finds what it finds
// in fewer rounds.
const slowdown = 8
