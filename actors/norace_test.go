//go:build !race

package actors_test

const slowdown = 1
