package snapshots

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
)

// draft is a file that is being written, under a name that makes nobody take it
// for anything. The first write, sync or rename that fails is the end of it:
// nobody knows what the disk holds then, and a second sync might be told that all
// is well.
type draft struct {
	fs     journal.FS
	dir    string
	name   string
	f      journal.File
	at     int64 // where the next write goes
	synced int64 // up to there it is durable
	stale  bool  // it was here before: somebody's writes may wait behind that
	every  int64 // bytes between two syncs
	keep   int64 // bytes of the disk that stay free
	room   int64 // up to there it is known that they do
	err    error // of what failed, or says that it is over
}

var errOver = errors.New("the snapshot has been committed, closed or aborted already")

func newDraft(fsys journal.FS, dir, name string, every, keep int64) (*draft, error) {
	d := &draft{fs: fsys, dir: dir, name: name, every: every, keep: keep}
	if err := d.makeRoom(); err != nil {
		return nil, failed(d.path(name), err)
	}
	f, err := fsys.Create(d.path(name), 0)
	if errors.Is(err, fs.ErrExist) { // left by an attempt that could not remove it
		if err = fsys.Remove(d.path(name)); err == nil {
			f, err = fsys.Create(d.path(name), 0)
		}
	}
	if err != nil {
		if !errors.Is(err, fs.ErrExist) {
			fsys.Remove(d.path(name)) // it may be there all the same
		}
		return nil, failed(d.path(name), err)
	}
	d.f = f
	return d, nil
}

func (d *draft) path(name string) string { return filepath.Join(d.dir, name) }

func failed(path string, err error) error { return fmt.Errorf("%s: %w: %w", path, ErrFailed, err) }

// fail ends the draft, and removes what there is of it.
func (d *draft) fail(err error, names ...string) error {
	d.err = failed(d.path(d.name), err)
	d.f.Close()
	for _, name := range append(names, d.name) {
		d.fs.Remove(d.path(name)) // what stays is swept when the directory is opened
	}
	return d.err
}

func (d *draft) append(p []byte) error {
	if d.err != nil {
		return d.err
	}
	if err := d.makeRoom(); err != nil {
		return d.fail(err)
	}
	if _, err := d.f.WriteAt(p, d.at); err != nil {
		return d.fail(err)
	}
	d.at += int64(len(p))
	return nil
}

// makeRoom reports with persistence.ErrDiskFull if what comes before the next sync
// might leave too little of the disk to others.
func (d *draft) makeRoom() error {
	if d.keep == 0 || d.at < d.room {
		return nil
	}
	free, err := d.fs.Free(d.dir)
	if err == nil && free < d.keep+d.every {
		err = fmt.Errorf("%w: %d bytes are free in %s, %d are to stay so", persistence.ErrDiskFull, free, d.dir, d.keep)
	}
	d.room = d.at + d.every
	return err
}

// due reports whether so much has been written that it should be synced: dirty
// pages by the gigabyte would hold up everybody's next sync.
func (d *draft) due() bool { return d.at-d.synced >= d.every }

func (d *draft) sync() error {
	if d.err != nil {
		return d.err
	}
	if d.synced == d.at && !d.stale {
		return nil
	}
	if err := d.f.Sync(); err != nil {
		return d.fail(err)
	}
	d.synced, d.stale = d.at, false
	return nil
}

func (d *draft) close() error {
	if err := d.f.Close(); err != nil {
		return d.fail(err)
	}
	return nil
}

func (d *draft) reopen() error {
	f, err := d.fs.Open(d.path(d.name))
	if err != nil {
		return d.fail(err)
	}
	d.f = f
	return nil
}

// rename gives the draft, which is synced, another name, durably. It is closed
// then: not every system renames open files.
func (d *draft) rename(to string) error {
	if err := d.close(); err != nil {
		return err
	}
	if err := d.fs.Rename(d.path(d.name), d.path(to)); err != nil {
		return d.fail(err, to)
	}
	d.name = to
	if err := d.fs.SyncDir(d.dir); err != nil {
		return d.fail(err)
	}
	return nil
}

// abort removes the draft, if it is not over.
func (d *draft) abort() {
	if d.err == nil {
		d.fail(errOver)
		d.err = errOver
	}
}
