package flight

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/castaway-go/castaway/persistence/journal"
)

// MaxStories is how many stories are kept in a directory. The first ones stay: what
// comes after them is mostly the same once more.
const MaxStories = 16

// ErrEnough: there are MaxStories in the directory. Move them away.
var ErrEnough = errors.New("flight: there are enough stories already")

const suffix = ".story"

// Write writes the story to a directory, durably, and returns the name of the file. fs is
// journal.OS if it is nil.
func (s *Story) Write(fs journal.FS, dir string) (name string, err error) {
	if fs == nil {
		fs = journal.OS
	}
	if err := fs.MkdirAll(dir); err != nil {
		return "", err
	}
	names, err := fs.List(dir)
	if err != nil {
		return "", err
	}
	stories := 0
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			stories++
		}
	}
	if stories >= MaxStories {
		return "", fmt.Errorf("%w: %d in %s", ErrEnough, stories, dir)
	}
	name = filepath.Join(dir, fmt.Sprintf("fault-%d%s", s.Boot, suffix))
	return name, write(fs, name, s.Encode())
}

// write makes a file durable before it has its name. What is left of an attempt that
// was interrupted is swept by package snapshots, whose directory that mostly is.
func write(fs journal.FS, name string, content []byte) (err error) {
	draft := name + ".draft"
	f, err := fs.Create(draft, int64(len(content)))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fs.Rename(draft, name)
	}
	if err != nil {
		return errors.Join(err, fs.Remove(draft))
	}
	return fs.SyncDir(filepath.Dir(name))
}
