package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// The files of a store, in its directory.
const (
	markerName  = "castaway-store"
	draftName   = "castaway-store.draft"
	lockName    = "lock"
	journalName = "journal"
	badgerName  = "badger"
	anewName    = "badger.draft"   // one that is being made in the place of a damaged one
	asideName   = "badger.damaged" // such a one
	noteName    = "damage"         // it has been met

	maxMarkerBytes = 4096
)

// The formats that a store may have: what it is made with, and the oldest that is
// read. Opening an older one makes it one of today's. See FORMAT.md for what differs.
const (
	storeFormat  = 4
	oldestFormat = 1
)

// marker is the file that says that a directory is a store, and which. It is
// text, for whoever finds it.
type marker struct {
	format int
	id     uint64
	// fresh: the store is being made. Nobody has been told that it is there, so
	// if that was interrupted, it begins anew.
	fresh bool
	// damaged: the journal is damaged, and is being cut off, or Badger is, and is being
	// made anew. Until all groups know, they must not be taken for whole because they
	// look so.
	damaged bool
	// host is whose store it is; raftcore.Nobody: that is not known yet.
	host raftcore.NodeID
}

func (m *marker) encode() []byte {
	state := "ready"
	switch {
	case m.fresh:
		state = "fresh"
	case m.damaged:
		state = "damaged"
	}
	text := fmt.Sprintf("castaway store\nformat %d\nid %016x\nstate %s\n", m.format, m.id, state)
	if m.format >= 4 {
		text += fmt.Sprintf("host %d\n", m.host)
	}
	return fmt.Appendf(nil, "%schecksum %08x\n", text, checksum(text))
}

// decodeMarker reads a marker. Unlike the rest of the store it says what version
// it has if it is not ours.
func decodeMarker(b []byte) (m marker, err error) {
	body, sum, ok := strings.Cut(string(b), "checksum ")
	want, err := strconv.ParseUint(strings.TrimSuffix(sum, "\n"), 16, 32)
	if !ok || err != nil || uint32(want) != checksum(body) {
		return m, errors.New("it has a wrong checksum, or none")
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 2 || lines[0] != "castaway store" {
		return m, errors.New("it does not begin like one")
	}
	m.format, err = strconv.Atoi(strings.TrimPrefix(lines[1], "format "))
	if err != nil {
		return m, errors.New("it names no format")
	}
	if m.format < oldestFormat || m.format > storeFormat {
		return m, &versionError{m.format}
	}
	if m.format < 4 && len(lines) != 5 || m.format >= 4 && len(lines) != 6 {
		return m, errors.New("it has the wrong number of lines")
	}
	if m.format >= 4 {
		host, err := strconv.ParseUint(strings.TrimPrefix(lines[4], "host "), 10, 64)
		if err != nil {
			return m, errors.New("it names no host")
		}
		m.host = raftcore.NodeID(host)
	}
	m.id, err = strconv.ParseUint(strings.TrimPrefix(lines[2], "id "), 16, 64)
	m.fresh = lines[3] == "state fresh"
	m.damaged = lines[3] == "state damaged"
	if err != nil || string(m.encode()) != string(b) {
		return m, errors.New("it is malformed")
	}
	return m, nil
}

type versionError struct{ version int }

func (e *versionError) Error() string {
	return fmt.Sprintf("the store has format %d; this program reads formats %d to %d", e.version, oldestFormat, storeFormat)
}

// readMarker looks what a directory is. Without a marker it must be empty.
func readMarker(fsys journal.FS, dir string) (m marker, found bool, err error) {
	name := filepath.Join(dir, markerName)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		names, err := fsys.List(dir)
		if err != nil {
			return m, false, err
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == lockName || name == draftName })
		if len(names) > 0 {
			slices.Sort(names)
			return m, false, fmt.Errorf("%s is not a store and not empty: it has %q", dir, names[0])
		}
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return m, false, err
	}
	b := make([]byte, min(size, maxMarkerBytes))
	if _, err := f.ReadAt(b, 0); err != nil {
		return m, false, err
	}
	if m, err = decodeMarker(b); err != nil {
		var version *versionError
		if errors.As(err, &version) {
			return m, false, fmt.Errorf("%s: %w", dir, err)
		}
		return m, false, &persistence.CorruptError{File: name, Detail: err.Error()}
	}
	return m, true, nil
}

// writeMarker puts a marker in the place of the one before, durably.
func writeMarker(fsys journal.FS, dir string, m marker) error {
	draft := filepath.Join(dir, draftName)
	if err := fsys.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(draft, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(m.encode(), 0); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fsys.Rename(draft, filepath.Join(dir, markerName)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
