package disk

import (
	"cmp"
	"flag"
	"slices"
	"testing"
	"time"
)

var (
	entriesFlag = flag.Int("entries", 400_000, "how many entries are saved under steady compaction; from a million on in segments of the usual size")
	cliffFlag   = flag.Duration("cliff", 2*time.Second, "for how long groups save as fast as they can, in turns with a plain file")
	everyFlag   = flag.Int("every", 2000, "how many entries of a group there are between two snapshots")
	stateFlag   = flag.Int("state", 64<<10, "how many bytes the file of a snapshot has; 0: there are no files")
	groupsFlag  = flag.Int("groups", 0, "how many groups use the store; 0: few, or 64 for the longer runs. Thousands of them have segments of the usual size")
)

// small makes the segments of a store so small that a short run hands over many.
func (j *job) small() { j.SegmentBytes, j.RetainSegments = 256<<10, 1 }

// TestP4_DiskUseIsBoundedUnderSteadyCompaction saves entries and takes snapshots,
// again and again. What the store takes of the disk does not depend on how many
// there were, and every entry that is still in a log is what was saved.
func TestP4_DiskUseIsBoundedUnderSteadyCompaction(t *testing.T) {
	j := job{Dir: t.TempDir(), Groups: cmp.Or(*groupsFlag, 64), Batch: 16, Every: *everyFlag, State: *stateFlag, Entries: *entriesFlag}
	if j.Entries < 1_000_000 {
		j.Groups, j.Batch = cmp.Or(*groupsFlag, 8), 32
		j.small()
	}
	r := j.do(t, "work")
	half := len(r.Disk) / 2
	t.Logf("%d entries, %d snapshots in %v, the longest Save %v; the store took %s of the disk at most, in the first half %s; memory %v",
		r.Entries, r.Snapshots, r.Elapsed, r.Longest, mib(slices.Max(r.Disk)), mib(slices.Max(r.Disk[:half])), r.Memory)
	j.lookAgain(t, &r)
}

// TestThroughputDoesNotCollapse says how fast groups save while segments are handed
// over to Badger and snapshots are written, and how fast a plain file is. It asserts
// nothing of that: those who share this machine have too much of a say.
func TestThroughputDoesNotCollapse(t *testing.T) {
	j := job{Dir: t.TempDir(), Groups: cmp.Or(*groupsFlag, 64), Batch: 16, Every: *everyFlag, State: *stateFlag, Time: *cliffFlag}
	j.Turn = min(6*time.Second, j.Time/2).Truncate(time.Second)
	r := j.do(t, "work")
	t.Logf("store: %s", inSeconds(r.Store, int(j.Turn/time.Second)))
	t.Logf("plain: %s", inSeconds(r.Plain, r.PlainTurn))
	t.Logf("of-plain: %.2f, the median of %d turns; %d snapshots, the longest Save %v, memory %v", r.ofPlain(), len(r.Plain)/r.PlainTurn, r.Snapshots, r.Longest, r.Memory)
	j.lookAgain(t, &r)
}

// TestAStoreHasThousandsOfGroups has each of them save a little, and opens all of
// them again.
func TestAStoreHasThousandsOfGroups(t *testing.T) {
	j := job{Dir: t.TempDir(), Groups: cmp.Or(*groupsFlag, 300), Batch: 4}
	j.Entries = 5 * j.Batch * j.Groups
	if j.Groups < 1000 {
		j.small()
	}
	r := j.do(t, "work")
	t.Logf("%d groups saved %d entries in %v; memory %v", j.Groups, r.Entries, r.Elapsed, r.Memory)
	j.lookAgain(t, &r)
}

// lookAgain has another process look what there is of a job that was done.
func (j job) lookAgain(t *testing.T, r *report) {
	t.Helper()
	if most, bound := slices.Max(r.Disk), j.bound(); most > bound {
		t.Errorf("the store took %s of the disk, more than %s: %v", mib(most), mib(bound), r.Disk)
	}
	l := j.do(t, "look")
	t.Logf("opened again in %v with all groups, memory %v; %d entries were read; the files of snapshots take %s", l.Elapsed, l.Idle, l.Read, mib(l.Files))
	if l.Entries != r.Entries {
		t.Errorf("%d entries were durable, and the logs end with %d", r.Entries, l.Entries)
	}
	if least := j.Groups * keepEntries; j.Every > 0 && l.Read < least {
		t.Errorf("%d entries are left, less than %d", l.Read, least)
	}
	if j.Every == 0 && l.Read != r.Entries {
		t.Errorf("%d entries are left of %d", l.Read, r.Entries)
	}
}
