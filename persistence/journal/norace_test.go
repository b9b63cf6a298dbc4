//go:build !race

package journal_test

const slowdown = 1
