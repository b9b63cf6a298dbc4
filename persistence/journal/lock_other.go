//go:build !darwin && !dragonfly && !freebsd && !illumos && !linux && !netbsd && !openbsd && !windows

package journal

import (
	"errors"
	"io"
	"io/fs"
)

// lockFile refuses: without a lock two processes could write one journal.
func lockFile(name string) (io.Closer, error) {
	return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.ErrUnsupported}
}

// locked refuses for the same reason.
func locked(name string) (bool, error) {
	return false, &fs.PathError{Op: "lock", Path: name, Err: errors.ErrUnsupported}
}
