package journal_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence/journal"
)

const (
	entryBytes   = 128
	segmentBytes = 64 << 20
	recordBytes  = 64 << 10 // as badgerstore cuts them
)

// sink makes a batch of entries durable: the journal, or what it is compared
// with.
type sink interface{ commit(entries int) }

// journalSink appends records as badgerstore does: up to 64 KiB of entries with
// 4 bytes of framing each, for every group its own.
type journalSink struct {
	b       *testing.B
	j       *journal.Journal
	batch   journal.Batch
	entry   []byte
	records bool // every entry is a group's, and a record of its own
}

func newJournalSink(b *testing.B, records bool) *journalSink {
	j, err := journal.Open(filepath.Join(b.TempDir(), "journal"), journal.Options{Create: true, SegmentBytes: segmentBytes}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	s := &journalSink{b: b, j: j, entry: make([]byte, entryBytes), records: records}
	// What is measured is a journal that has run for a while: the segment that it
	// fills was used before.
	for j.Spares() == 0 {
		s.commit(4096)
	}
	_, fresh := j.Segments()
	for active := fresh; active == fresh; _, active = j.Segments() {
		s.commit(4096)
	}
	return s
}

func (s *journalSink) commit(entries int) {
	s.batch.Reset()
	for entries > 0 {
		n := 1
		if !s.records {
			n = min(entries, recordBytes/(entryBytes+4))
		}
		s.batch.Add(func(buf []byte) []byte {
			buf = append(buf, make([]byte, 20)...) // group, hard state, first index
			for range n {
				buf = append(append(buf, 1, 2, 3, 4), s.entry...)
			}
			return buf
		})
		entries -= n
	}
	if _, err := s.j.Append(&s.batch); err != nil {
		s.b.Fatal(err)
	}
	for {
		oldest, active := s.j.Segments()
		if active-oldest < 2 {
			return
		}
		if err := s.j.Retire(oldest); err != nil {
			s.b.Fatal(err)
		}
	}
}

// plainSink appends the bare entries to a preallocated file, with one write and
// one fdatasync: what a disk can do. Making the next file is not on its time.
type plainSink struct {
	b       *testing.B
	dir     string
	file    journal.File
	files   int
	at      int64
	buf     []byte
	outside time.Duration // spent on what does not count
}

func newPlainSink(b *testing.B) *plainSink {
	s := &plainSink{b: b, dir: b.TempDir()}
	s.next()
	return s
}

func (s *plainSink) next() {
	start := time.Now()
	var err error
	if s.file != nil {
		s.file.Close()
		err = journal.OS.Remove(s.name())
	}
	s.files++
	s.at = 0
	if err == nil {
		s.file, err = journal.OS.Create(s.name(), segmentBytes)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		err = journal.OS.SyncDir(s.dir)
	}
	if err != nil {
		s.b.Fatal(err)
	}
	s.outside += time.Since(start)
}

func (s *plainSink) name() string { return filepath.Join(s.dir, fmt.Sprint(s.files)) }

func (s *plainSink) commit(entries int) {
	n := entries * entryBytes
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	if s.at+int64(n) > segmentBytes {
		s.next()
	}
	if _, err := s.file.WriteAt(s.buf[:n], s.at); err != nil {
		s.b.Fatal(err)
	}
	if err := s.file.Sync(); err != nil {
		s.b.Fatal(err)
	}
	s.at += int64(n)
}

// compare runs the same work on both sinks in turns, so that a noisy neighbour
// disturbs both, and reports how they compare.
func compare(b *testing.B, ours *journalSink, plain *plainSink, turn, entries int, work func(s sink, n int)) {
	work(ours, turn) // warm up: the first segments are not recycled ones
	work(plain, turn)
	var ourTime, plainTime time.Duration
	b.ResetTimer()
	for left := b.N; left > 0; left -= turn {
		n := min(left, turn)
		start := time.Now()
		work(ours, n)
		ourTime += time.Since(start)
		b.StopTimer()
		start, outside := time.Now(), plain.outside
		work(plain, n)
		plainTime += time.Since(start) - (plain.outside - outside)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N*entries)/ourTime.Seconds(), "entries/s")
	b.ReportMetric(plainTime.Seconds()/ourTime.Seconds(), "of-plain")
}

// BenchmarkAppend compares the journal with a plain preallocated file and one
// fdatasync per batch. of-plain is the ratio of entries per second.
func BenchmarkAppend(b *testing.B) {
	for _, entries := range []int{1, 16, 256, 4096} {
		b.Run(fmt.Sprintf("groups=1/batch=%d", entries), func(b *testing.B) {
			turn := 200
			if entries == 4096 {
				turn = 50
			}
			compare(b, newJournalSink(b, false), newPlainSink(b), turn, entries, func(s sink, n int) {
				for range n {
					s.commit(entries)
				}
			})
		})
	}
	for _, groups := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("groups=%d/concurrently", groups), func(b *testing.B) {
			compare(b, newJournalSink(b, true), newPlainSink(b), 200*groups, 1, func(s sink, n int) {
				concurrently(s, groups, n)
			})
		})
	}
}

// concurrently lets groups append n entries in all, each its next one when the
// one before is durable. Whatever waits is made durable together.
func concurrently(s sink, groups, n int) {
	var mu sync.Mutex
	var waiting []chan struct{}
	wake := make(chan struct{}, 1)
	for g := range groups {
		share := n / groups
		if g < n%groups {
			share++
		}
		go func() {
			done := make(chan struct{}, 1)
			for range share {
				mu.Lock()
				waiting = append(waiting, done)
				mu.Unlock()
				select {
				case wake <- struct{}{}:
				default:
				}
				<-done
			}
		}()
	}
	var batch []chan struct{}
	for n > 0 {
		<-wake
		mu.Lock()
		batch, waiting = waiting, batch[:0]
		mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		s.commit(len(batch))
		for _, done := range batch {
			done <- struct{}{}
		}
		n -= len(batch)
	}
}
