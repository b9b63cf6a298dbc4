package rafttest

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/castaway-go/castaway/actors"
)

// diskToy is a toyMachine with a disk: a file that each Save replaces. It answers from what
// was saved, so whoever asks it before that sees something else.
type diskToy struct {
	*toyMachine
	defect  string
	dir     string
	saved   *toyMachine
	kept    map[string][]byte
	reset   atomic.Bool
	written []byte // the state and what is kept, if the file has not got it yet
}

// toyFile is what is in the file.
type toyFile struct {
	State []byte
	Kept  map[string][]byte
}

// toyOnDisk is a machine with a disk that has a defect.
func toyOnDisk(defect string) StateMachine {
	sm := toy("")
	sm.New = nil
	sm.NewIn = func(dir string) actors.StateMachine { return &diskToy{defect: defect, dir: dir} }
	return sm
}

func (d *diskToy) has(defect string) bool { return d.defect == defect }

func (d *diskToy) file(name string) string { return filepath.Join(d.dir, name) }

func (d *diskToy) Open() (map[string][]byte, error) {
	d.toyMachine, d.saved, d.kept = newToyMachine(""), newToyMachine(""), map[string][]byte{}
	if d.has("locks its disk for ever") {
		if err := os.Mkdir(d.file("lock"), 0o777); err != nil {
			return nil, err
		}
	}
	b, err := os.ReadFile(d.file("state"))
	if errors.Is(err, fs.ErrNotExist) {
		if d.has("keeps something from the beginning") {
			return map[string][]byte{"format": []byte("1")}, nil
		}
		return nil, nil
	}
	var f toyFile
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(b)).Decode(&f)
	}
	if err == nil {
		err = errors.Join(d.toyMachine.Restore(bytes.NewReader(f.State)), d.saved.Restore(bytes.NewReader(f.State)))
	}
	d.kept = f.Kept
	if d.has("has the kept in a file beside it") {
		b, err := os.ReadFile(d.file("kept"))
		if err != nil {
			return nil, err
		}
		return d.kept, gob.NewDecoder(bytes.NewReader(b)).Decode(&d.kept)
	}
	if d.has("finds the state, and nothing kept") {
		return nil, err
	}
	return maps.Clone(d.kept), err
}

func (d *diskToy) Query(ctx context.Context, question []byte) ([]byte, error) {
	return d.saved.Query(ctx, question)
}

func (d *diskToy) Snapshot() (io.WriterTo, error) {
	w, err := d.saved.Snapshot()
	switch {
	case d.has("writes what it is when a snapshot is written"):
		return &toyWriter{m: d.saved, late: func() []byte { return d.saved.encode() }}, nil
	case d.has("writes a snapshot of what it is after Reset"):
		saved := d.saved
		d.reset.Store(false)
		return &toyWriter{m: saved, late: func() []byte {
			if d.reset.Load() {
				return newToyMachine("").encode()
			}
			return saved.encode()
		}}, nil
	}
	return w, err
}

func (d *diskToy) Restore(r io.Reader) error {
	before := maps.Clone(d.Words)
	err := d.toyMachine.Restore(r)
	if d.has("adds a snapshot to what is there") {
		for key, word := range before {
			if d.Words[key] == nil {
				d.Words[key] = word
			}
		}
	}
	if d.has("writes what it has read, before a Save") && d.Count > 0 {
		return errors.Join(err, d.write("state", toyFile{d.encode(), nil}))
	}
	return err
}

func (d *diskToy) Save(keep map[string][]byte) error {
	if d.has("forgets what it was given to keep before") {
		clear(d.kept)
	}
	if d.has("keeps what is to be forgotten") {
		keep = maps.Clone(keep)
		maps.DeleteFunc(keep, func(_ string, value []byte) bool { return value == nil })
	}
	for name, value := range keep {
		switch {
		case value == nil:
			delete(d.kept, name)
		case d.kept[name] == nil || !d.has("keeps the first under each name"):
			d.kept[name] = value
		}
	}
	if d.has("does not like many at once") && d.Count > d.saved.Count+1000 {
		return errors.New("too many")
	}
	f := toyFile{d.encode(), d.kept}
	d.saved = newToyMachine("")
	if err := d.saved.Restore(bytes.NewReader(f.State)); err != nil {
		return err
	}
	switch {
	case d.has("saves when it is closed"):
		d.written = f.encode()
		return nil
	case d.has("writes into the file that there is"):
		return os.WriteFile(d.file("state"), f.encode(), 0o666)
	case d.has("has the kept in a file beside it"):
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(d.kept); err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(d.file("kept.new"), b.Bytes(), 0o666), os.Rename(d.file("kept.new"), d.file("kept"))); err != nil {
			return err
		}
	}
	return d.write("state", f)
}

func (f *toyFile) encode() []byte {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(f); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// write has a file be replaced, all or nothing.
func (d *diskToy) write(name string, f toyFile) error {
	return errors.Join(os.WriteFile(d.file(name+".new"), f.encode(), 0o666), os.Rename(d.file(name+".new"), d.file(name)))
}

func (d *diskToy) Sync() error {
	if d.has("cannot be synced") {
		return errors.New("not now")
	}
	return nil
}

func (d *diskToy) Reset() error {
	if d.has("is not Reset") {
		return nil
	}
	d.reset.Store(true)
	d.toyMachine, d.saved = newToyMachine(""), newToyMachine("")
	if d.has("has what it was when it is opened after Reset") {
		return nil
	}
	if !d.has("keeps what it was given before Reset") {
		d.kept = map[string][]byte{}
	}
	d.written = nil
	err := os.Remove(d.file("state"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *diskToy) Close() error {
	switch {
	case d.has("saves all when it is closed"):
		return d.write("state", toyFile{d.encode(), d.kept})
	case d.written != nil:
		return os.WriteFile(d.file("state"), d.written, 0o666)
	case d.has("panics when not all was saved") && d.Count != d.saved.Count:
		panic(fmt.Sprintf("%d commands were not saved", d.Count-d.saved.Count))
	}
	return nil
}
