package snapshots

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/castaway-go/castaway/persistence/journal"
)

// Remove removes a directory of snapshots with all that is in it, durably. One that is not
// there is as good. It fails with persistence.ErrLocked if somebody has it open. What was
// interrupted is gone on with when it is called again.
func Remove(dir string, o Options) error {
	if o.FS == nil {
		o.FS = journal.OS
	}
	names, err := o.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(names) > 0 {
		err = removeAll(dir, names, o.FS)
	}
	if err != nil {
		return err
	}
	if err := o.FS.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return o.FS.SyncDir(filepath.Dir(dir))
}

// removeAll removes what is in a directory, the lock last.
func removeAll(dir string, names []string, fsys journal.FS) error {
	const lockName = "lock"
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != lockName {
			err = errors.Join(err, fsys.Remove(filepath.Join(dir, name)))
		}
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err = errors.Join(err, lock.Close()); err != nil {
		return err
	}
	if err = fsys.Remove(filepath.Join(dir, lockName)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}
