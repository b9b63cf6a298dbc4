package snapshots

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/persistence"
)

// Folder is the name of a group as that of a folder: some of it to be read, and a
// hash, because not everything may stand in the name of a folder.
func Folder(group string) string {
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, strings.ToLower(group))
	sum := sha256.Sum256([]byte(group))
	return fmt.Sprintf("%.40s-%x", readable, sum[:8])
}

// Inspect reads every snapshot in a directory from beginning to end, and returns them,
// newest first, with what is damaged in them. It changes nothing and takes no lock, so
// it may be called beside who has the directory open; what is removed meanwhile is left
// out. A directory that is not there has none. If progress is not nil, it is told how many
// bytes of how many have been read.
func Inspect(dir string, progress func(done, total int64)) ([]Found, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	d := Dir{}
	var total, done int64
	for _, name := range names {
		base, good := strings.CutSuffix(name.Name(), goodSuffix)
		named, ok := parseBase(base)
		if !good || !ok {
			continue
		}
		if info, err := name.Info(); err == nil {
			total, named.Size = total+info.Size(), info.Size()
		}
		d.list = append(d.list, &entry{name: filepath.Join(dir, name.Name()), info: named})
	}
	d.sort()
	d.list = slices.DeleteFunc(d.list, func(e *entry) bool {
		before := done
		gone := e.inspect(func(n int) {
			if done += int64(n); progress != nil {
				progress(done, total)
			}
		})
		done = before + e.info.Size
		return gone
	})
	return d.List(), nil
}

// inspect reads a snapshot, and notes what it is, and its damage. It reports whether it is
// not there any more.
func (e *entry) inspect(read func(n int)) (gone bool) {
	f, err := os.Open(e.name)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	} else if err != nil {
		e.damage = err
		return false
	}
	defer f.Close()
	named := e.info
	r := Reader{scan: scanner{file: e.name}, src: f, finish: func(err error) error { return err }}
	if e.damage = r.begin(); e.damage != nil {
		return false
	}
	if e.info = r.scan.head.info; baseName(&e.info) != baseName(&named) {
		e.info, e.damage = named, &persistence.CorruptError{File: e.name, Detail: fmt.Sprintf("it is %s by its header", baseName(&e.info))}
		return false
	}
	e.info.Size = named.Size
	buf := make([]byte, defaultBlockBytes)
	for {
		n, err := r.Read(buf)
		read(n)
		if err == io.EOF {
			return false
		} else if err != nil {
			e.damage = err
			return false
		}
	}
}
