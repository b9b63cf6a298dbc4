package journal

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Sync is fdatasync: it writes metadata only where it is needed to find the
// data, which is never the case in a segment that was written before.
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR { // interrupted by a signal: nothing has failed yet
			return explain(&fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err})
		}
	}
}

// Free returns what users without privileges may still write.
func (osFS) Free(dir string) (int64, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(dir, &s)
		if err == nil {
			return int64(s.Bavail) * s.Bsize, nil
		}
		if err != unix.EINTR {
			return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
}

// reserve gives the file its size and the disk space for it.
func reserve(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS):
			return f.Truncate(size) // this file system reserves nothing: the disk may turn out to be full later
		case err != unix.EINTR:
			return err
		}
	}
}
