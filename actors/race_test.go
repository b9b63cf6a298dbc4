//go:build race

package actors_test

// slowdown: the race detector makes everything so much slower, and finds what it finds
// in fewer worlds.
const slowdown = 3
