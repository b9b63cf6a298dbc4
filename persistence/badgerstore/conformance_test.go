package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// TestStoreKeepsTheContract runs the tests that any Store must pass: on a real
// disk, where a crash is that of the process, and on a simulated one that loses
// power and fails.
func TestStoreKeepsTheContract(t *testing.T) {
	t.Run("disk", func(t *testing.T) { rafttest.TestStore(t, onDisk(0)) })
	t.Run("disk, with a Badger that rests", func(t *testing.T) { rafttest.TestStore(t, onDisk(time.Millisecond)) })
	t.Run("simulated", func(t *testing.T) { rafttest.TestStore(t, onSimulatedDisk) })
}

// onDisk is a directory. A crash leaves it as it is, and a copy is used from then
// on: the Store that had it open may go on with the old one.
func onDisk(restAfter time.Duration) func(testing.TB, uint64) rafttest.StorePlace {
	return func(t testing.TB, _ uint64) rafttest.StorePlace {
		d := &crashingDir{t: t, dir: t.TempDir(), restAfter: restAfter}
		_, d.disk = crowded(Options{})
		return rafttest.StorePlace{Opener: d, Crash: d.crash, Limit: d.limit}
	}
}

type crashingDir struct {
	t    testing.TB
	dir  string
	disk *crowdedFS
	s    persistence.Store

	restAfter time.Duration
}

// limit has the disk full of what others have on it.
func (d *crashingDir) limit(bytes int64) {
	if bytes < 0 {
		bytes = math.MaxInt64
	}
	d.disk.free.Store(bytes)
}

func (d *crashingDir) Open() (persistence.Store, error) {
	o := quiet(d.dir)
	o.hooks.fs, o.hooks.restAfter = d.disk, d.restAfter
	s, err := o.Open()
	if err == nil {
		d.s = s
	}
	return s, err
}

func (d *crashingDir) crash() {
	s, opened := d.s.(*store)
	if !opened || s.closed.Load() { // it was too full to be opened, or is closed
		return
	}
	close(s.quit) // nothing may happen while it is copied: a process dies at one moment
	s.makeRoom()
	<-s.retired
	after := filepath.Join(d.t.TempDir(), "after")
	for tries := 1; ; tries++ { // Badger goes on by itself, for a moment
		before := listing(d.dir)
		err := copyAll(d.dir, after)
		if err == nil && before == listing(d.dir) {
			break
		}
		if tries == 100 {
			d.t.Fatalf("%s does not come to rest: %v", d.dir, err)
		}
	}
	s.table.close()
	s.journal.Close()
	s.unlock()
	d.s, d.dir = nil, after
}

// onSimulatedDisk is a disk that crashes and fails, and a Store that hands
// segments over to Badger's stand-in at times that the seed decides.
func onSimulatedDisk(_ testing.TB, seed uint64) rafttest.StorePlace {
	disk := journaltest.New(seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	return rafttest.StorePlace{
		Opener:  &handingOver{disk: disk, rng: rng},
		Crash:   func() { disk.Crash(rng.IntN(2) == 0) },
		CrashAt: disk.CrashAt,
		FailAt:  disk.FailAt,
		Limit:   disk.Limit,
	}
}

// handingOver does now and then what the retirer does, but within Save, so that
// the same seed does the same.
type handingOver struct {
	disk *journaltest.Disk
	rng  *rand.Rand
}

func (h *handingOver) Open() (persistence.Store, error) {
	s, err := simulated(h.disk).Open()
	if err != nil {
		return nil, err
	}
	return &handingStore{s.(*store), h.rng}, nil
}

type handingStore struct {
	*store
	rng *rand.Rand
}

func (h *handingStore) Save(saves []persistence.Save) error {
	if h.usable() == nil && h.sealed() > h.o.RetainSegments && h.rng.IntN(3) == 0 {
		oldest, _ := h.journal.Segments()
		if err := h.handOver(oldest); err != nil && !errors.Is(err, errNoRoomYet) {
			return h.fail(err)
		}
	}
	if h.rng.IntN(3) == 0 {
		h.table.(*restingTable).rest()
	}
	return h.store.Save(saves)
}

// listing names the files of a directory, with their sizes and times.
func listing(dir string) string {
	var out strings.Builder
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has vanished
		}
		if info, err := e.Info(); err == nil {
			fmt.Fprintln(&out, path, info.Size(), info.ModTime())
		}
		return nil
	})
	return out.String()
}
