package persistence

import (
	"errors"
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Store keeps what the groups of one process must not forget. See the package
// documentation for who calls what, and when.
type Store interface {
	// Open begins the use of a group, a fresh one if the name is new. Its
	// incarnation, at least, is durable when Open returns. A group that is open
	// already is refused with ErrGroupOpen: two members must not share a log. One that
	// was removed is refused with a *RemovedError: see Remove and Revive.
	Open(group string) (Opened, error)

	// Save makes the parts of several groups durable together, with one sync.
	// The parts of one group are in order. The Store may keep the entries: they
	// are immutable. A Save with a part that does not follow from what is saved
	// (ErrBadSave), or of a group that is not open (ErrGroupClosed), is refused
	// as a whole, before anything is written. So is one for which the disk has no
	// room (ErrDiskFull).
	Save(saves []Save) error

	// Load reads saved entries from load.From on, in order: at least one, none
	// after load.To, and no more than fit load.MaxBytes by their Data. It fails
	// rather than return anything that was not saved so.
	Load(group GroupID, load raftcore.Load) ([]raftcore.Entry, error)

	// CloseGroup ends the use of a group. Late Saves for it are refused.
	CloseGroup(group GroupID) error

	// Remove takes a group out for good, with all that it takes up, and leaves a
	// Tombstone, which is durable when Remove returns. A group that is open is refused
	// with ErrGroupOpen, one that was never there with ErrNoGroup, and one in which the
	// Removal's member votes with ErrStillVoter; nothing has happened then. Nor has it with
	// ErrDiskFull. To remove a group again changes nothing, and is no error. The space may
	// come back later.
	Remove(r Removal) error

	// Revive has a group begin again of which there is a Tombstone, or that is of no use
	// as it is, and not open: with nothing that was before, under a new incarnation, and
	// Recovered.Damaged, so that it neither votes nor founds anything before a leader has
	// admitted it. The incarnation is the one that ends: with another the error is a
	// *RemovedError, or ErrNoGroup if there is no Tombstone. A group that is open is
	// refused with ErrGroupOpen.
	Revive(group string, former raftcore.Incarnation) error

	// Tombstones returns those of all groups that were removed, by name.
	Tombstones() ([]Tombstone, error)

	// Close lets go of the disk. Nothing is lost that was saved. A poisoned
	// Store is closed, too, and says once more that it was.
	Close() error
}

// Founder is a Store that can make many groups with one sync.
type Founder interface {
	// Found makes those of the groups that are new, all or none of them, as durably as
	// Open does. A host that opens many groups at a time asks for it before.
	Found(groups ...string) error
}

// Owned is a Store that knows whose it is.
type Owned interface {
	// Own notes durably which host a Store is of that is nobody's yet, and refuses with
	// ErrOtherHost if it is another's. What was voted and acknowledged here was said under
	// that one's ID: two hosts whose disks are mistaken for each other would vote twice.
	Own(host raftcore.NodeID) error
}

// Opener opens a Store, again and again: a host opens its Store anew after a
// failure.
type Opener interface {
	// Open opens the Store. It refuses with ErrLocked if somebody else has it
	// open.
	Open() (Store, error)
}

// GroupID is a Store's number for an open group. It is valid until CloseGroup.
type GroupID uint64

// Opened is a group that was opened.
type Opened struct {
	Group GroupID
	// Boot numbers this opening; it is raftcore.Config.Boot.
	Boot      uint64
	Recovered raftcore.Recovered
}

// Save is one group's part of a Save.
type Save struct {
	Group GroupID
	raftcore.Save
}

// Removal says which group is to be removed.
type Removal struct {
	Group string
	// Member is whose disk this is. If it votes in the newest configuration of the group's
	// log, the group is not removed: the others count on it. Nobody: it is removed however
	// it is.
	Member raftcore.NodeID
	Time   int64 // now, in Unix milliseconds
}

// Check returns ErrStillVoter if a group must not be removed of which the disk has kept
// that. For Stores.
func (r *Removal) Check(kept *raftcore.Recovered) error {
	newest := kept.BaseConf
	if n := len(kept.Configs); n > 0 {
		newest = kept.Configs[n-1]
	}
	if r.Member != raftcore.Nobody && newest.Conf.Votes(r.Member) {
		return fmt.Errorf("group %q: member %d is one of %v: %w", r.Group, r.Member, &newest.Conf, ErrStillVoter)
	}
	return nil
}

// Tombstone is what is left of a group that was removed.
type Tombstone struct {
	Group string
	Time  int64 // when it was removed, in Unix milliseconds
	// Incarnation and HardState are those that its member had last: what it has voted and
	// acknowledged was said under that incarnation, which never speaks again.
	Incarnation raftcore.Incarnation
	HardState   raftcore.HardState
}

// RemovedError says that a group was removed, and is not there any more: its name is not
// given to a fresh one, because that would vote as if the old one had never voted.
type RemovedError struct{ Tombstone }

func (e *RemovedError) Error() string {
	return fmt.Sprintf("group %q was removed from this disk at %s; its incarnation was %x",
		e.Group, time.UnixMilli(e.Time).UTC().Format(time.RFC3339), uint64(e.Incarnation))
}

// The errors of a Store. Test for them with errors.Is.
var (
	// ErrPoisoned: a write or a sync has failed, then or earlier. Nothing that
	// was not acknowledged before counts. Close the Store and open it again.
	ErrPoisoned = errors.New("the store is poisoned by a failed write or sync")
	// ErrGroupOpen: the group is open already.
	ErrGroupOpen = errors.New("the group is open already")
	// ErrGroupClosed: the group is not open, or the Save is from an earlier
	// opening of it.
	ErrGroupClosed = errors.New("the group is not open")
	// ErrLocked: another process has the directory open, or another Store in
	// this one.
	ErrLocked = errors.New("the directory is in use")
	// ErrBadSave: a Save leaves a gap in the log, or takes back what was
	// promised. Nothing of it was written.
	ErrBadSave = errors.New("the save does not follow from what is saved")
	// ErrDiskFull: the disk has no room for it. If the error is not ErrPoisoned as
	// well, nothing was written, what was saved can still be read, and the same Save
	// may be made again, and again: it succeeds once there is room.
	ErrDiskFull = errors.New("the disk is full")
	// ErrNoGroup: there is no group of this name, or no Tombstone of one.
	ErrNoGroup = errors.New("there is no such group")
	// ErrStillVoter: the member that is to be removed votes in its group.
	ErrStillVoter = errors.New("it votes in its group still")
	// ErrOtherHost: the Store is another host's.
	ErrOtherHost = errors.New("the store is another host's")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("the store is closed")
)

// CorruptError says that something was once durable and is damaged now. It is
// never silently skipped.
type CorruptError struct {
	File   string // or a directory
	Offset int64  // in bytes
	Detail string // what is wrong, in words
	// Concerns are the groups and entries that it concerns, as far as that is known.
	Concerns []EntryRange
	Err      error // what reading ended with, if that is why
}

// EntryRange is a part of a group's log, or, if From is zero, something else of it.
type EntryRange struct {
	Group    string
	From, To raftcore.Index
}

func (e *CorruptError) Error() string {
	text := fmt.Sprintf("%s is corrupt at offset %d: %s", e.File, e.Offset, e.Detail)
	if e.Err != nil {
		text += fmt.Sprintf(": %v", e.Err)
	}
	for i, c := range e.Concerns {
		switch {
		case i == maxConcerns:
			return text + fmt.Sprintf(" and %d more", len(e.Concerns)-i)
		case i == 0:
			text += "; it concerns "
		default:
			text += ", "
		}
		text += c.String()
	}
	return text
}

// maxConcerns is how many ranges an error's text lists.
const maxConcerns = 4

func (e *CorruptError) Unwrap() error { return e.Err }

// String says which part of what group it is.
func (r EntryRange) String() string {
	switch {
	case r.From == 0:
		return fmt.Sprintf("group %q", r.Group)
	case r.From == r.To:
		return fmt.Sprintf("entry %d of group %q", r.From, r.Group)
	}
	return fmt.Sprintf("entries %d to %d of group %q", r.From, r.To, r.Group)
}
