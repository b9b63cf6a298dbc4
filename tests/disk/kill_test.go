package disk

import (
	"errors"
	"flag"
	"path/filepath"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/tests/rafttest"
)

var killsFlag = flag.Int("kills", 8, "how many times to kill a process with a store")

// TestD2_NothingAcknowledgedIsMissingAfterAKill kills a process that saves as fast
// as it can, again and again on the same directory, and has another one look
// whether everything is there that the test was told is durable.
func TestD2_NothingAcknowledgedIsMissingAfterAKill(t *testing.T) {
	k := &killing{t: t, dir: t.TempDir(), m: rafttest.NewStoreModel(newSeed(t))}
	for range *killsFlag {
		k.life()
		k.look()
	}
	t.Logf("%d processes were killed: %d while they opened the store, %d with a Save under way, %d with segments to hand over; %d Saves were acknowledged",
		*killsFlag, k.opening, k.saving, k.handing, k.saves)
}

type killing struct {
	t   *testing.T
	dir string
	m   *rafttest.StoreModel

	opening, saving, handing, saves int
}

// life is that of one process. It ends some time after it was told to open the
// store, or after a number of steps: this time is chance, and nothing waits for
// it.
func (k *killing) life() {
	rng := k.m.Rand
	steps, delay := rng.IntN(300), time.Duration(rng.IntN(3000))*time.Microsecond
	soon := rng.IntN(4) == 0
	p := start(k.t, k.dir)
	if soon {
		delay = time.Duration(rng.IntN(150)) * time.Millisecond
		time.AfterFunc(delay, p.kill)
	}
	err := p.open()
	if errors.Is(err, errGone) {
		k.opening++
	}
	for n := 0; err == nil; n++ {
		if n == steps && !soon {
			time.AfterFunc(delay, p.kill)
		}
		saved := p.saves
		p.last = nil
		if err = k.m.Step(p); err != nil && p.last != nil && p.saves == saved {
			k.saving++
		}
	}
	if !errors.Is(err, errGone) {
		k.t.Fatal(err)
	}
	p.end()
	if p.crashed() {
		k.t.Fatalf("the process did not wait to be killed:\n%s", &p.stderr)
	}
	k.saves += p.saves
	if segments, _ := filepath.Glob(filepath.Join(k.dir, "journal", "*.segment")); len(segments) > options("").RetainSegments+1 {
		k.handing++
	}
	k.m.Restarted()
}

// look opens the store in another process, and compares everything.
func (k *killing) look() {
	p := start(k.t, k.dir)
	if err := p.open(); err != nil {
		k.t.Fatal(err)
	}
	if err := start(k.t, k.dir).open(); !errors.Is(err, persistence.ErrLocked) {
		k.t.Errorf("the directory of another process was opened with %v", err)
	}
	if err := k.m.CheckAll(p); err != nil {
		k.t.Fatal(err)
	}
	if k.m.Rand.IntN(2) == 0 {
		if err := p.Close(); err != nil {
			k.t.Fatal(err)
		}
	}
	p.end()
	k.m.Restarted()
}
