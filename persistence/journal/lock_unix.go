//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/castaway-go/castaway/persistence"
	"golang.org/x/sys/unix"
)

// lockFile takes an flock, which belongs to the open file: another opener is
// refused in this process as in any other, and the kernel lets go of it when the
// process ends, however it ends.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, persistence.ErrLocked
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
}

// locked reports whether somebody has the lock, and leaves no trace: the file is
// not made, and nobody is kept out for longer than the question takes.
func locked(name string) (bool, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return false, nil
}
