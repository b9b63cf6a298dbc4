package badgerstore

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// What a restart and a follower that is behind wait for. of-plain compares with
// reading as many bytes from plain files, in turns with ours: 0.5 takes twice as
// long.
//
//	go test ./persistence/badgerstore -run '^$' -bench .
//
// Longer runs, and what the memory and the disk have to say to it, are in
// tests/disk.

const benchEntryBytes = 128

// unsynced is the real disk without its syncs, which nobody waits for while a
// benchmark is being prepared.
type unsynced struct{ journal.FS }

func (u unsynced) Open(name string) (journal.File, error) {
	f, err := u.FS.Open(name)
	return unsyncedFile{f}, err
}

func (u unsynced) Create(name string, size int64) (journal.File, error) {
	f, err := u.FS.Create(name, size)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ journal.File }

func (unsyncedFile) Sync() error { return nil }

// fill makes a store of so many entries, a number of them in every group's part
// of a Save, and closes it. Its options are the default ones.
func fill(b *testing.B, groups, entries, batch int) Options {
	b.Helper()
	o := Options{Dir: b.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	preparing := o
	preparing.hooks.fs = unsynced{journal.OS}
	s, err := preparing.Open()
	if err != nil {
		b.Fatal(err)
	}
	opened := make([]persistence.Opened, groups)
	for g := range opened {
		if opened[g], err = s.Open(fmt.Sprintf("group-%d", g)); err != nil {
			b.Fatal(err)
		}
	}
	data := strings.Repeat("x", benchEntryBytes)
	saves := make([]persistence.Save, groups)
	for next := raftcore.Index(1); int(next) <= entries/groups; next += raftcore.Index(batch) {
		for g := range saves {
			saves[g] = saveOf(opened[g], 1)
			for i := range raftcore.Index(batch) {
				saves[g].Entries = append(saves[g].Entries, command(1, next+i, data))
			}
		}
		if err := s.Save(saves); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return o
}

// files are those of a store that hold something.
func files(b *testing.B, dir string) (names []string) {
	b.Helper()
	for _, pattern := range []string{filepath.Join(journalName, "*.segment"), filepath.Join(badgerName, "*.sst"), filepath.Join(badgerName, "*.mem")} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

// readPlainly reads files from front to back, and does nothing with it.
func readPlainly(b *testing.B, names []string) {
	b.Helper()
	buf := make([]byte, 1<<20)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkRecover opens a store of a million entries, and all of its groups: from
// what the last process has left to where a node could start. cold: what was in the
// page cache is not there any more, as after a power loss.
func BenchmarkRecover(b *testing.B) {
	const entries = 1_000_000
	for _, c := range []struct{ groups, batch int }{{1, 1}, {1, 16}, {64, 16}} {
		b.Run(fmt.Sprintf("groups=%d/batch=%d", c.groups, c.batch), func(b *testing.B) {
			o := fill(b, c.groups, entries, c.batch)
			for _, cold := range []bool{false, true} {
				cache := "warm"
				if cold {
					cache = "cold"
				}
				b.Run(cache, func(b *testing.B) { benchmarkRecover(b, o, c.groups, entries, cold) })
			}
		})
	}
}

func benchmarkRecover(b *testing.B, o Options, groups, entries int, cold bool) {
	var ours, plain []time.Duration
	for b.Loop() {
		b.StopTimer()
		names := files(b, o.Dir)
		forget(b, names, cold)
		start := time.Now()
		readPlainly(b, names)
		plain = append(plain, time.Since(start))
		forget(b, names, cold)
		b.StartTimer()

		start = time.Now()
		s, err := o.Open()
		if err != nil {
			b.Fatal(err)
		}
		total := 0
		for g := range groups {
			opened, err := s.Open(fmt.Sprintf("group-%d", g))
			if err != nil {
				b.Fatal(err)
			}
			total += int(opened.Recovered.Last)
		}
		ours = append(ours, time.Since(start))

		b.StopTimer()
		if want := entries / groups * groups; total < want {
			b.Fatalf("%d entries are there, %d were saved", total, want)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	report(b, entries, ours, plain)
}

// report reports how long ours takes for so many entries, and how that compares:
// medians, because on a shared machine the mean is the neighbours'.
func report(b *testing.B, entries int, ours, plain []time.Duration) {
	slices.Sort(ours)
	slices.Sort(plain)
	median := ours[len(ours)/2]
	b.ReportMetric(float64(median.Nanoseconds())/1e3, "µs-median")
	b.ReportMetric(float64(entries)/median.Seconds(), "entries/s")
	b.ReportMetric(plain[len(plain)/2].Seconds()/median.Seconds(), "of-plain")
	b.ReportMetric(0, "ns/op")
}

// forget has the page cache forget files, if it is to.
func forget(b *testing.B, names []string, cold bool) {
	b.Helper()
	if !cold {
		return
	}
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		if err := dropCache(f); err != nil {
			b.Skipf("not measured: what is read from a disk that was not read before: %v", err)
		}
		f.Close()
	}
}

// BenchmarkLoad reads 1,000 entries of the log of a group, from where a Save has
// brought them, and from where they have been handed over to.
func BenchmarkLoad(b *testing.B) {
	const wanted = 1000
	for _, groups := range []int{1, 64} {
		for _, from := range []string{"journal", "badger"} {
			b.Run(fmt.Sprintf("groups=%d/from=%s", groups, from), func(b *testing.B) {
				s, opened, last := loadable(b, groups, from == "badger")
				plain, err := os.Create(filepath.Join(b.TempDir(), "plain"))
				if err != nil {
					b.Fatal(err)
				}
				defer plain.Close()
				if _, err := plain.Write(make([]byte, int(last)*benchEntryBytes)); err != nil {
					b.Fatal(err)
				}
				var ours, plainly []time.Duration
				n := 0
				b.ReportAllocs()
				for b.Loop() {
					at := raftcore.Index(n*977%(int(last)-wanted)) + 1
					n++
					start := time.Now()
					entries, err := s.Load(opened[n%groups].Group, raftcore.Load{From: at, To: at + wanted - 1, MaxBytes: math.MaxInt})
					ours = append(ours, time.Since(start))
					if err != nil || len(entries) != wanted {
						b.Fatalf("%d entries, %v", len(entries), err)
					}
					b.StopTimer()
					start = time.Now()
					if _, err := plain.ReadAt(make([]byte, wanted*benchEntryBytes), int64(at-1)*benchEntryBytes); err != nil {
						b.Fatal(err)
					}
					plainly = append(plainly, time.Since(start))
					b.StartTimer()
				}
				report(b, wanted, ours, plainly)
			})
		}
	}
}

// loadable opens a store whose groups have entries up to last in the journal, or
// in Badger.
func loadable(b *testing.B, groups int, handedOver bool) (*store, []persistence.Opened, raftcore.Index) {
	b.Helper()
	o := fill(b, groups, 200_000, 16)
	o.hooks.noRetirer = true
	opened, err := o.Open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { opened.Close() })
	s := opened.(*store)
	for handedOver && s.sealed() > 0 {
		oldest, _ := s.journal.Segments()
		if err := s.handOver(oldest); err != nil {
			b.Fatal(err)
		}
	}
	last := raftcore.Index(math.MaxUint64)
	var all []persistence.Opened
	for g := range groups {
		o, err := s.Open(fmt.Sprintf("group-%d", g))
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, o)
		if held := s.groups[g].held; handedOver {
			last = min(last, held)
		} else {
			last = min(last, o.Recovered.Last)
		}
	}
	return s, all, last
}
