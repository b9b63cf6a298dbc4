package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/snapshots"
)

// Options says where a store is, and how it is kept. They are a
// persistence.Opener. Zero fields mean the default.
//
// A store keeps twice SegmentBytes and 64 MiB of the disk free: a Save that would
// need more of it ends with persistence.ErrDiskFull.
type Options struct {
	// Dir is the directory of the store. It is made if need be. Required.
	Dir string
	// SegmentBytes is the size of a file of the journal, in bytes. Default
	// 64 MiB; at least 64 KiB, a multiple of 4096.
	SegmentBytes int64
	// RetainSegments is how many full segments the journal keeps before what is
	// still needed of the oldest is handed over to Badger. The more, the less is
	// still needed then, because groups have compacted it; and the more disk and
	// the more time to open. Default 4.
	RetainSegments int
	// MaxSegments is how many full segments there may be: if Badger does not keep
	// up, Saves wait. Default 8.
	MaxSegments int
	// Repair has a store open that is damaged: its journal, the end of which may be lost,
	// or its Badger, also where the disk cannot read it. Of the journal what comes after
	// the damage is lost, acknowledged or not; of Badger what cannot be read, and in every
	// group what follows from it. So all of the groups come back
	// as newcomers (raftcore.Recovered.Damaged), who count for nothing until their
	// peers have sent them what is missing, and so do groups that are not known any
	// more, or new: until some segments have been filled, nobody can tell them apart.
	// Groups without other members never count again, unless castaway-disk lineage has
	// them go on. Without Repair such a store does not open, and the error names the place.
	// The damaged files are kept, as *.damaged. A Badger that is damaged is copied: that
	// takes as much of the disk again, and time.
	//
	// What only a Load has met is repaired when the store is opened the next time.
	//
	// A member whose newest snapshot is damaged, or missing, begins again as a newcomer,
	// too, when so many of its peers are well that they are a quorum without it; until then
	// it waits. Without Repair it is faulted.
	Repair bool
	// Opening hears how far Open has come with the journal, which is most of what it does:
	// so many bytes, of all that there are. It is called by Open, at the beginning, for every
	// MiB or so, and at the end, and should not take long. Where a damaged journal is repaired
	// it begins again. Default: nobody does.
	Opening func(done, total int64)
	// Logger hears what goes wrong in the background. Default slog.Default().
	Logger *slog.Logger

	hooks hooks
}

// hooks put something else in the place of disks, for tests.
type hooks struct {
	fs          journal.FS
	openTable   func(dir string, logger *slog.Logger, failed func(error)) (table, error)
	removeTable func(dir string) error
	readTable   func(dir string) (*remains, error)
	noRetirer   bool  // the test calls handOver itself
	commitBytes int   // instead of maxCommitBytes
	dropBytes   int64 // instead of dropBytes
	badgerRoom  int64 // instead of badgerRoom
	closeWait   time.Duration
	restAfter   time.Duration
	roomPause   time.Duration
	onWait      func() // a Save waits for room
}

// Dir returns an Opener of the store in a directory, with all options at their
// defaults.
func Dir(dir string) persistence.Opener { return Options{Dir: dir} }

// Snapshots returns the directory under which the snapshots of the groups are kept, a
// folder for each: for hosts.
func (o Options) Snapshots() (dir string, _ snapshots.Options) {
	o = o.withDefaults()
	return filepath.Join(o.Dir, "snapshots"), snapshots.Options{FS: o.hooks.fs, KeepFree: o.keepFree()}
}

// Repairs returns Repair: for hosts.
func (o Options) Repairs() bool { return o.Repair }

// keepFree is how much of the disk neither Saves nor snapshots take.
func (o Options) keepFree() int64 { return 2 * (o.SegmentBytes + o.hooks.badgerRoom) }

// Validate returns every mistake in o at once, or nil.
func (o Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("Dir is empty"))
	}
	if o.RetainSegments < 0 {
		errs = append(errs, fmt.Errorf("RetainSegments is %d, negative", o.RetainSegments))
	}
	if d := o.withDefaults(); d.MaxSegments < d.RetainSegments {
		errs = append(errs, fmt.Errorf("MaxSegments is %d, less than RetainSegments (%d)", d.MaxSegments, d.RetainSegments))
	}
	errs = append(errs, journal.Options{SegmentBytes: o.SegmentBytes}.Validate())
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.RetainSegments == 0 {
		o.RetainSegments = 4
	}
	if o.MaxSegments == 0 {
		o.MaxSegments = 2 * o.RetainSegments
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.hooks.fs == nil {
		o.hooks.fs = journal.OS
	}
	if o.hooks.openTable == nil {
		o.hooks.openTable = openBadger
	}
	if o.hooks.commitBytes == 0 {
		o.hooks.commitBytes = maxCommitBytes
	}
	if o.hooks.dropBytes == 0 {
		o.hooks.dropBytes = dropBytes
	}
	if o.hooks.badgerRoom == 0 {
		o.hooks.badgerRoom = badgerRoom
	}
	if o.hooks.closeWait == 0 {
		o.hooks.closeWait = closeWait
	}
	if o.hooks.restAfter == 0 {
		o.hooks.restAfter = restAfter
	}
	if o.hooks.roomPause == 0 {
		o.hooks.roomPause = roomPause
	}
	if o.hooks.removeTable == nil {
		o.hooks.removeTable = removeBadger
	}
	if o.hooks.readTable == nil {
		o.hooks.readTable = readBadger
	}
	return o
}
