//go:build !linux

package journal

import (
	"math"
	"os"
)

// Sync makes the file durable. On Apple's systems File.Sync asks the disk
// itself to empty its cache, which plain fsync there does not.
func (f osFile) Sync() error { return explain(f.File.Sync()) }

// Free does not know.
func (osFS) Free(string) (int64, error) { return math.MaxInt64, nil }

// reserve gives the file its size. It reserves no space: the disk may turn out
// to be full later.
func reserve(f *os.File, size int64) error { return f.Truncate(size) }
