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
