package journal

import (
	"io"
)

// FS is the little that a journal needs of a file system. Tests put a simulated
// one in its place that loses, tears and reorders what was not synced.
type FS interface {
	// MkdirAll makes a directory, and those above it, durably.
	MkdirAll(dir string) error
	// List names the files in a directory, in any order.
	List(dir string) ([]string, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Create makes a new file of this size, with space reserved for it where
	// that is possible. It fails if the file exists, and with
	// persistence.ErrDiskFull, leaving none, if there is not so much space.
	Create(name string, size int64) (File, error)
	// Rename gives a file another name. A file that has that name is replaced,
	// at once: there is never neither. A directory takes along what is in it.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(name string) error
	// SyncDir makes what Create, Rename and Remove did in a directory durable.
	SyncDir(dir string) error
	// Free returns how many bytes may still be written on the disk that a directory
	// is on. Where nobody knows that, it is math.MaxInt64.
	Free(dir string) (int64, error)
	// Lock takes the lock that a file stands for, and makes the file if need be.
	// It fails with persistence.ErrLocked if somebody has it, in whatever
	// process. The lock ends with the process at the latest.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the file's size in bytes.
	Size() (int64, error)
	// Truncate cuts the file off.
	Truncate(size int64) error
	// Sync makes what was written durable, and what is needed to read it.
	Sync() error
}
