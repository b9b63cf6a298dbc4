package badgerstore

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/tests/rafttest"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "run one round of the random tests, with this seed")
	roundsFlag = flag.Int("rounds", 60, "how many rounds of the random tests to run")
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
			t.Fatalf("%v\nreplay: go test ./persistence/badgerstore -run '^%s$' -seed %d", err, t.Name(), seed)
		}
	}
}

// simulated are the options of a store on a simulated disk. The test hands
// segments over itself, so that the same seed does the same.
func simulated(disk *journaltest.Disk) Options {
	return Options{
		Dir:            "d",
		SegmentBytes:   64 << 10,
		RetainSegments: 1,
		MaxSegments:    1 << 20,
		Logger:         slog.New(slog.NewTextHandler(io.Discard, nil)),
		hooks:          hooks{fs: disk, openTable: openLogTable(disk), removeTable: removeLogTable(disk), readTable: readLogTable(disk), noRetirer: true, commitBytes: 5000, dropBytes: 1000},
	}
}

// TestD2D4D7P2_AfterACrashAtAnyPointEveryGroupIsAsItWasSaved saves, cuts off,
// compacts, loads, removes and hands over at random, crashes or fails between or in the
// middle of any two operations of the disk, and compares what is there
// afterwards with what must be. Unlike rafttest.TestStore it knows what a
// hand-over is made of, and does other things in the middle of one.
func TestD2D4D7P2_AfterACrashAtAnyPointEveryGroupIsAsItWasSaved(t *testing.T) {
	rounds(t, func(seed uint64) error {
		m := rafttest.NewStoreModel(seed)
		disk := journaltest.New(seed)
		for life := range 2 + m.Rand.IntN(6) {
			if err := live(m, disk); err != nil {
				return fmt.Errorf("life %d: %w", life, err)
			}
		}
		return nil
	})
}

// live opens the store, uses it until something fails, and lets it crash.
func live(m *rafttest.StoreModel, disk *journaltest.Disk) error {
	power := m.Rand.IntN(2) == 0
	switch m.Rand.IntN(6) {
	case 0:
	case 1:
		disk.FailAt(1 + m.Rand.IntN(250))
	case 2:
		disk.CrashAt(1 + m.Rand.IntN(40)) // while it is being opened
	default:
		disk.CrashAt(1 + m.Rand.IntN(250))
	}
	opened, err := simulated(disk).Open()
	if err == nil {
		s := opened.(*store)
		err = use(m, s)
		if err == nil && m.Rand.IntN(2) == 0 {
			err = s.Close()
		}
		if errors.Is(err, syscall.EIO) && !errors.Is(err, persistence.ErrPoisoned) {
			return fmt.Errorf("a failed write or sync did not poison the store: %w", err)
		}
	}
	if err != nil && !errors.Is(err, journaltest.ErrCrashed) && !errors.Is(err, syscall.EIO) {
		return err
	}
	m.Restarted()
	disk.Crash(power)
	return nil
}

func use(m *rafttest.StoreModel, s *store) error {
	for range m.Rand.IntN(100) {
		if err := m.Step(s); err != nil {
			return err
		}
		if s.sealed() > s.o.RetainSegments && m.Rand.IntN(3) == 0 {
			if err := handOver(m, s); err != nil {
				return err
			}
		}
		if m.Rand.IntN(10) == 0 { // what the retirer does, too
			if err := s.drop(); err != nil {
				return s.fail(err)
			}
		}
	}
	return m.CheckAll(s)
}

// handOver hands the oldest segment over, and lets other things happen between
// its transactions.
func handOver(m *rafttest.StoreModel, s *store) error {
	logTableOf(s).between = func() error {
		for range m.Rand.IntN(3) {
			if err := m.Step(s); err != nil {
				return err
			}
		}
		return nil
	}
	defer func() { logTableOf(s).between = nil }()
	oldest, _ := s.journal.Segments()
	if err := s.handOver(oldest); err != nil {
		return s.fail(err)
	}
	return nil
}

// logTableOf returns a store's table, which is open.
func logTableOf(s *store) *logTable { return s.table.(*restingTable).table.(*logTable) }
