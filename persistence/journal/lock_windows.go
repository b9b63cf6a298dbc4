package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/castaway-go/castaway/persistence"
	"golang.org/x/sys/windows"
)

// lockFile takes a lock on the file's first byte. It belongs to the handle:
// another opener is refused in this process as in any other.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return nil, persistence.ErrLocked
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
}

// locked reports whether somebody has the lock. The file is not made, and nobody
// is kept out for longer than the question takes.
func locked(name string) (bool, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return true, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return false, nil
}
