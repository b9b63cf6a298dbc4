package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "run one round of the random tests, with this seed")
	roundsFlag = flag.Int("rounds", 300, "how many rounds of the random tests to run")
)

// rounds runs a test with many seeds, and says how to repeat the one that
// failed.
func rounds(t *testing.T, run func(seed uint64) error) {
	seeds, n := rand.Uint64(), *roundsFlag/slowdown
	if *seedFlag != 0 {
		seeds, n = *seedFlag, 1
	} else if testing.Short() {
		n /= 10
	}
	t.Logf("%d rounds from seed %d", n, seeds)
	for i := range n {
		seed := seeds + uint64(i)
		if seed == 0 {
			continue // stands for "none" in the flag
		}
		if err := run(seed); err != nil {
			t.Fatalf("%v\nreplay: go test ./persistence/journal -run '^%s$' -seed %d", err, t.Name(), seed)
		}
	}
}

// history is what a journal must hold.
type history struct {
	rng     *rand.Rand
	disk    *journaltest.Disk
	records []record // acknowledged ones, numbered from 0 on
	flight  []record // those of the Append that failed, if any
	retired uint32   // segments up to here are retired for certain
	leaving uint32   // and up to here maybe
}

type record struct {
	data []byte
	at   journal.Position
}

// draw makes the next record: its number, and random bytes.
func (h *history) draw(n int) record {
	size := []int{0, 10, 100, 1000, 5000, 40000}[h.rng.IntN(6)]
	if size == 40000 && h.rng.IntN(8) > 0 {
		size = 300
	}
	data := make([]byte, 8+h.rng.IntN(size+1))
	binary.LittleEndian.PutUint64(data, uint64(n))
	for i := 8; i < len(data); i++ {
		data[i] = byte(h.rng.Uint32())
	}
	return record{data: data}
}

// append appends a random batch.
func (h *history) append(j *journal.Journal) error {
	var b journal.Batch
	h.flight = nil
	for range 1 + h.rng.IntN(1+h.rng.IntN(20)) {
		r := h.draw(len(h.records) + len(h.flight))
		h.flight = append(h.flight, r)
		b.Add(func(buf []byte) []byte { return append(buf, r.data...) })
	}
	positions, err := j.Append(&b)
	if errors.Is(err, persistence.ErrDiskFull) {
		// Nothing has happened, and as soon as there is room it goes on.
		h.disk.Limit(-1)
		positions, err = j.Append(&b)
	}
	if err != nil {
		return err
	}
	for i, p := range positions {
		h.flight[i].at = p
	}
	h.records = append(h.records, h.flight...)
	h.flight = nil
	return nil
}

// replayed compares what the journal holds with what it must hold, and takes
// note of it.
func (h *history) replayed(got []record) error {
	all := append(h.records[:len(h.records):len(h.records)], h.flight...)
	h.flight = nil
	first := len(h.records)
	for i, r := range h.records {
		if r.at.Segment > h.leaving {
			first = i
			break
		}
	}
	if len(got) == 0 {
		if first < len(h.records) {
			return fmt.Errorf("nothing was replayed, acknowledged are %d records and not all retired", len(h.records))
		}
		return nil
	}
	number := func(r record) int { return int(binary.LittleEndian.Uint64(r.data)) }
	from := number(got[0])
	if from > first {
		return fmt.Errorf("the replay begins with record %d, record %d was acknowledged and not retired", from, first)
	}
	if from < len(h.records) && h.records[from].at.Segment <= h.retired {
		return fmt.Errorf("record %d of segment %d was replayed, which had been retired", from, h.records[from].at.Segment)
	}
	for i, r := range got {
		if from+i >= len(all) || !bytes.Equal(r.data, all[from+i].data) {
			return fmt.Errorf("record %d was replayed altered, or in the wrong place, or should not exist", from+i)
		}
		all[from+i].at = r.at
	}
	switch end := from + len(got); end {
	case len(h.records), len(all):
		h.records = all[:end]
	default:
		return fmt.Errorf("the replay ends with record %d, acknowledged are %d, with those in flight %d", end, len(h.records), len(all))
	}
	return nil
}

// read reads some records back.
func (h *history) read(j *journal.Journal) error {
	oldest, _ := j.Segments()
	from := 0
	for from < len(h.records) && h.records[from].at.Segment < oldest {
		from++
	}
	var positions []journal.Position
	var want [][]byte
	for _, r := range h.records[from:] {
		if h.rng.IntN(3) > 0 {
			positions = append(positions, r.at)
			want = append(want, r.data)
		}
	}
	got, err := j.Read(positions)
	if err != nil {
		return err
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			return fmt.Errorf("the record at %+v was read altered", positions[i])
		}
	}
	return nil
}

// use appends, retires and reads until something fails or enough is done.
func (h *history) use(j *journal.Journal) error {
	for range h.rng.IntN(60) {
		var err error
		switch oldest, active := j.Segments(); {
		case h.rng.IntN(10) == 0:
			err = h.read(j)
		case active-oldest > 3 || active > oldest && h.rng.IntN(10) == 0:
			h.leaving = oldest
			if err = j.Retire(oldest); err == nil {
				h.retired = oldest
			}
		default:
			err = h.append(j)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestD2D15_NothingAcknowledgedIsLostAndNoCrashLooksLikeCorruption lets the
// machine crash, the power fail and the disk report errors between and in the
// middle of any two operations, many times on the same disk.
func TestD2D15_NothingAcknowledgedIsLostAndNoCrashLooksLikeCorruption(t *testing.T) {
	rounds(t, func(seed uint64) error {
		disk := journaltest.New(seed)
		h := &history{rng: rand.New(rand.NewPCG(seed, 1)), disk: disk}
		for life := range 2 + h.rng.IntN(6) {
			if err := live(h, disk); err != nil {
				return fmt.Errorf("life %d: %w", life, err)
			}
		}
		return nil
	})
}

// live opens the journal, uses it until it fails, and ends with a crash or in
// peace.
func live(h *history, disk *journaltest.Disk) error {
	power := h.rng.IntN(2) == 0
	switch h.rng.IntN(5) {
	case 0:
	case 1:
		disk.FailAt(1 + h.rng.IntN(120))
	case 2:
		disk.CrashAt(1 + h.rng.IntN(12)) // while it is being opened
	default:
		disk.CrashAt(1 + h.rng.IntN(120))
	}
	disk.Limit(-1)
	if h.rng.IntN(3) == 0 {
		disk.Limit(h.rng.Int64N(512 << 10))
	}
	var got []record
	keep := int64(h.rng.IntN(3)) * 50000
	j, err := journal.Open("d", journal.Options{ID: 7, Create: true, SegmentBytes: 64 << 10, KeepFree: keep, FS: disk}, func(p journal.Position, data []byte) error {
		got = append(got, record{data: bytes.Clone(data), at: p})
		return nil
	})
	if err == nil {
		if err := h.replayed(got); err != nil {
			return err
		}
		err = h.use(j)
		if err == nil && h.rng.IntN(2) == 0 {
			err = j.Close()
			power = power && h.rng.IntN(2) == 0
		} else if errors.Is(err, syscall.EIO) {
			if later := h.clone().append(j); !errors.Is(later, persistence.ErrPoisoned) || !errors.Is(later, syscall.EIO) {
				return fmt.Errorf("an Append after a failure ended with %v", later)
			}
		}
	}
	if err != nil && !errors.Is(err, journaltest.ErrCrashed) && !errors.Is(err, syscall.EIO) && !errors.Is(err, persistence.ErrDiskFull) {
		return err
	}
	disk.Crash(power)
	return nil
}

func (h *history) clone() *history {
	c := *h
	return &c
}
