//go:build !race

package badgerstore

const slowdown = 1
