package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// storeJob is the variable that makes a process of this program which does one job
// with a store, and nothing else: its memory is what the store takes.
const storeJob = "CASTAWAY_TEST_JOB"

// job is what such a process is told.
type job struct {
	Do  string // work or look
	Dir string
	// SegmentBytes and RetainSegments are those of the store; zero is the default.
	SegmentBytes   int64
	RetainSegments int

	Groups int // how many use the store
	Batch  int // entries in every group's part of a Save
	Every  int // entries between two snapshots of a group; 0: there are none
	State  int // bytes in the file of a snapshot; 0: there are no files

	Entries int           // work until so many are durable,
	Time    time.Duration // or for so long,
	Turn    time.Duration // in turns with a plain file
}

// report is what it answers.
type report struct {
	Entries   int   // in the logs of all groups, those that were compacted included
	Snapshots int   // that were saved
	Read      int   // entries that were read, and compared
	Store     []int // entries that became durable in every second
	Plain     []int // in the plain file
	PlainTurn int   // its turns, in seconds
	Elapsed   time.Duration
	Longest   time.Duration // Save
	Disk      []int64       // bytes that the store takes, from time to time
	Files     int64         // bytes that the files of snapshots take
	Idle      memory        // when the groups are open, and nothing was done yet
	Memory    memory        // in the end
}

// do has a process do a job.
func (j job) do(t *testing.T, what string) report {
	t.Helper()
	j.Do = what
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience+10*j.Time+time.Duration(j.Entries)*100*time.Microsecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), storeJob+"="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var r report
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("%+v: %v\n%s", j, err, &stderr)
	}
	return r
}

// doJob is what the process does.
func doJob(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	r := &report{}
	var err error
	switch j.Do {
	case "work":
		err = j.work(r)
	case "look":
		err = j.look(r)
	default:
		err = fmt.Errorf("there is no job %q", j.Do)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func (j *job) open() (persistence.Store, error) {
	o := options(filepath.Join(j.Dir, "store"))
	o.SegmentBytes, o.RetainSegments, o.MaxSegments = j.SegmentBytes, j.RetainSegments, 0
	return o.Open()
}

// bound is how many bytes such a store may take. The journal has the segments that it
// may have, two that a batch and the retirer may begin beyond that, the active one,
// and two to be used again. Badger has what the logs have, several times until it
// tidies up, and what it takes for itself.
func (j *job) bound() int64 {
	segment, retain := j.SegmentBytes, j.RetainSegments
	if segment == 0 {
		segment, retain = 64<<20, 4
	}
	log := j.Entries / j.Groups // of a group
	if j.Every > 0 {
		log = 2*j.Every + keepEntries
	}
	return segment*int64(2*retain+5) + int64(3*j.Groups*log*(entryBytes+4)) + 32<<20
}

const entryBytes = 128

func groupName(g int) string { return fmt.Sprintf("group-%d", g) }

// entryData is what an entry of a group has: nothing else is like it.
func entryData(b []byte, g int, index raftcore.Index) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(g))
	for n := uint64(index); len(b) < start+entryBytes; n = n*6364136223846793005 + 1442695040888963407 {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// jobConf is the configuration of all groups.
var jobConf = raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}

func jobEntry(g int, index raftcore.Index, data []byte) raftcore.Entry {
	e := raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: index}, Kind: raftcore.EntryCommand, Time: int64(index), Data: data}
	if index == 1 { // as a group begins
		e.Kind, e.Data, e.Config = raftcore.EntryConfig, nil, &jobConf
	}
	return e
}

func jobMeta(last raftcore.Index) *raftcore.SnapshotMeta {
	return &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 1, Index: last}, Time: int64(last), Conf: raftcore.ConfigAt{Index: 1, Conf: jobConf}}
}

var jobHardState = raftcore.HardState{Term: 1, Vote: 1, Cluster: 5, Joined: true}

// checkLog reads all that the log of a group has, and compares it.
func checkLog(s persistence.Store, g int, o *persistence.Opened) (entries int, err error) {
	var want []byte
	for next := o.Recovered.Base.Index + 1; next <= o.Recovered.Last; {
		got, err := s.Load(o.Group, raftcore.Load{From: next, To: o.Recovered.Last, MaxBytes: 1 << 20})
		if err != nil {
			return 0, err
		}
		for i := range got {
			want = entryData(want[:0], g, next)
			e := jobEntry(g, next, want)
			if a := got[i]; a.EntryID != e.EntryID || a.Kind != e.Kind || a.Time != e.Time || !bytes.Equal(a.Data, e.Data) {
				return 0, fmt.Errorf("%s: entry %d is %+v", groupName(g), next, a)
			}
			next++
		}
		entries += len(got)
	}
	return entries, nil
}

// memory is what a process has in RAM, in bytes.
type memory struct {
	RSS  int64
	Anon int64 // without the files that are mapped into memory
	Peak int64 // RSS at most since it began
}

func (m memory) String() string {
	return fmt.Sprintf("%s (%s without mapped files, at most %s)", mib(m.RSS), mib(m.Anon), mib(m.Peak))
}

// readMemory reads what this process has. It is all zero on systems that do not say.
func readMemory() (m memory, err error) {
	text, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	into := map[string]*int64{"VmRSS": &m.RSS, "RssAnon": &m.Anon, "VmHWM": &m.Peak}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if n := into[name]; n != nil && err == nil {
			*n, err = strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			*n <<= 10
		}
	}
	return m, err
}

// diskUse returns how many bytes the files below a directory take on the disk.
func diskUse(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				bytes += blocks(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return nil
		}
		return err
	})
	return bytes, err
}

// ofPlain compares every turn of the store with that of the plain file behind it, and
// returns the median.
func (r *report) ofPlain() float64 {
	turns := len(r.Plain) / r.PlainTurn
	var ratios []float64
	for ours, plain := range pairs(r.Store, r.Plain, turns) {
		ratios = append(ratios, mean(ours)/mean(plain))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// pairs cuts two lists into as many parts each.
func pairs(a, b []int, parts int) iter.Seq2[[]int, []int] {
	return func(yield func([]int, []int) bool) {
		n, m := len(a)/parts, len(b)/parts
		for i := range parts {
			if !yield(a[i*n:(i+1)*n], b[i*m:(i+1)*m]) {
				return
			}
		}
	}
}

func mean(list []int) float64 {
	sum := 0
	for _, n := range list {
		sum += n
	}
	return float64(sum) / float64(len(list))
}

// inSeconds says how steady a rate was: over all, and within each turn. A machine
// that others use is twice as fast in one minute as in the next.
func inSeconds(list []int, turn int) string {
	ratio := 1.0
	for part := range slices.Chunk(list, turn) {
		ratio = min(ratio, worst(part))
	}
	return fmt.Sprintf("%.0f entries/s in %d seconds, the worst second %.2f of the median, and %.2f of that of its turn: %v", mean(list), len(list), worst(list), ratio, list)
}

// worst compares the worst second with the median.
func worst(list []int) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return float64(sorted[0]) / float64(sorted[len(sorted)/2])
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
