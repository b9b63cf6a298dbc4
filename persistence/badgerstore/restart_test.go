package badgerstore

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "run one round of the random tests, with this seed")
	roundsFlag = flag.Int("rounds", 60, "how many rounds of the random tests to run")
)

// rounds runs a test with many seeds, and says how to repeat the one that
// failed.
func rounds(t *testing.T, run func(seed uint64) error) {
	seeds, n := rand.Uint64(), *roundsFlag
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
		hooks:          hooks{fs: disk, openTable: openLogTable(disk), removeTable: removeLogTable(disk), noRetirer: true, commitBytes: 5000},
	}
}

// TestD2D4D7P2_AfterACrashAtAnyPointEveryGroupIsAsItWasSaved saves, cuts off,
// compacts, loads and hands over at random, crashes or fails between or in the
// middle of any two operations of the disk, and compares what is there
// afterwards with what must be.
func TestD2D4D7P2_AfterACrashAtAnyPointEveryGroupIsAsItWasSaved(t *testing.T) {
	rounds(t, func(seed uint64) error {
		m := newModel(seed)
		disk := journaltest.New(seed)
		for life := range 2 + m.rng.IntN(6) {
			if err := m.live(disk); err != nil {
				return fmt.Errorf("life %d: %w", life, err)
			}
		}
		return nil
	})
}

// live opens the store, uses it until something fails, and lets it crash.
func (m *model) live(disk *journaltest.Disk) error {
	power := m.rng.IntN(2) == 0
	switch m.rng.IntN(6) {
	case 0:
	case 1:
		disk.FailAt(1 + m.rng.IntN(250))
	case 2:
		disk.CrashAt(1 + m.rng.IntN(40)) // while it is being opened
	default:
		disk.CrashAt(1 + m.rng.IntN(250))
	}
	opened, err := simulated(disk).Open()
	if err == nil {
		s := opened.(*store)
		err = m.use(s)
		if err == nil && m.rng.IntN(2) == 0 {
			err = s.Close()
		}
		if errors.Is(err, syscall.EIO) && !errors.Is(err, persistence.ErrPoisoned) {
			return fmt.Errorf("a failed write or sync did not poison the store: %w", err)
		}
	}
	if err != nil && !errors.Is(err, journaltest.ErrCrashed) && !errors.Is(err, syscall.EIO) {
		return err
	}
	for _, g := range m.groups {
		g.opened = persistence.Opened{}
	}
	disk.Crash(power)
	return nil
}

func (m *model) use(s *store) error {
	if err := m.settle(s); err != nil {
		return err
	}
	for range m.rng.IntN(100) {
		if err := m.step(s); err != nil {
			return err
		}
		if s.sealed() > s.o.RetainSegments && m.rng.IntN(3) == 0 {
			if err := m.handOver(s); err != nil {
				return err
			}
		}
	}
	return m.loadAll(s)
}

// settle finds out whether the Save that failed is there: all of it, or nothing.
func (m *model) settle(s *store) error {
	saves := m.flight
	m.flight = nil
	opened := map[string]persistence.Opened{}
	for _, g := range m.sorted() {
		if m.rng.IntN(4) > 0 || len(saves) > 0 {
			o, err := s.Open(g.name)
			if err != nil {
				return err
			}
			opened[g.name] = o
		}
	}
	check := func() error {
		for _, g := range m.sorted() {
			if o, ok := opened[g.name]; ok {
				if err := g.check(o); err != nil {
					return fmt.Errorf("group %s: %w", g.name, err)
				}
			}
		}
		return nil
	}
	if err := check(); err != nil {
		if len(saves) == 0 {
			return err
		}
		m.apply(saves)
		if with := check(); with != nil {
			return fmt.Errorf("neither without the save in flight: %w, nor with it: %w", err, with)
		}
	}
	for name, o := range opened {
		m.groups[name].opened = o
		m.groups[name].incarnation = o.Recovered.Incarnation
	}
	return nil
}

func (m *model) sorted() []*modelGroup {
	var out []*modelGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		if g := m.groups[name]; g != nil {
			out = append(out, g)
		}
	}
	return out
}

// step does one random thing.
func (m *model) step(s *store) error {
	name := string(rune('a' + m.rng.IntN(4)))
	g := m.groups[name]
	switch {
	case g == nil || g.opened.Group == 0:
		return m.open(s, name)
	case m.rng.IntN(30) == 0:
		g.opened = persistence.Opened{}
		return s.CloseGroup(persistence.GroupID(s.names[name].number))
	case m.rng.IntN(8) == 0:
		return m.load(s, g)
	}
	saves := m.draw()
	if err := s.Save(calls(saves)); err != nil {
		m.flight = saves
		return err
	}
	m.apply(saves)
	return nil
}

func (m *model) open(s *store, name string) error {
	g := m.groups[name]
	if g == nil {
		g = &modelGroup{name: name}
	}
	o, err := s.Open(name)
	if err != nil {
		return err
	}
	if err := g.check(o); err != nil {
		return fmt.Errorf("group %s: %w", name, err)
	}
	g.opened, g.incarnation = o, o.Recovered.Incarnation
	m.groups[name] = g
	return nil
}

// handOver hands the oldest segment over, and lets other things happen between
// its transactions.
func (m *model) handOver(s *store) error {
	s.table.(*logTable).between = func() error {
		for range m.rng.IntN(3) {
			if err := m.step(s); err != nil {
				return err
			}
		}
		return nil
	}
	defer func() { s.table.(*logTable).between = nil }()
	oldest, _ := s.journal.Segments()
	if err := s.handOver(oldest); err != nil {
		return s.fail(err)
	}
	return nil
}

// loadAll compares all entries of all groups.
func (m *model) loadAll(s *store) error {
	for _, g := range m.sorted() {
		if g.opened.Group == 0 || len(g.entries) == 0 {
			continue
		}
		if err := m.loadRange(s, g, g.base.Last.Index+1, g.last(), math.MaxInt); err != nil {
			return err
		}
	}
	return nil
}
