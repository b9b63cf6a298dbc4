package actors

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Turns that block, or never come back, hold up the others for so long and no longer: in
// the end only those wait that nobody lets go.
func TestADispatcherGetsOverTurnsThatBlock(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			d := newDispatcher(nil)
			defer d.stop()
			var taken atomic.Int64
			release := make(chan struct{})
			blocked, want := 0, int64(0)
			for range 200 {
				for range rng.IntN(4) {
					want++
					d.Schedule(func() { taken.Add(1) })
				}
				switch rng.IntN(20) {
				case 0:
					blocked++
					d.Schedule(func() { <-release; taken.Add(1) })
				case 1:
					want++
					d.Schedule(func() { time.Sleep(3 * watchEvery); taken.Add(1) }) // fake
				case 2:
					want++
					d.Schedule(func() { taken.Add(1); runtime.Goexit() })
				case 3:
					time.Sleep(time.Duration(rng.Int64N(int64(5 * watchEvery)))) // fake
				}
			}
			time.Sleep(time.Duration(blocked+20) * 4 * watchEvery) // fake
			if got := taken.Load(); got != want {
				t.Errorf("%d turns of %d were taken, and %d block", got, want, blocked)
			}
			// Who has nothing in its way is not held up, however many are stuck.
			began := time.Now()
			var now sync.WaitGroup
			now.Add(1)
			d.Schedule(now.Done)
			now.Wait()
			if d := time.Since(began); d > watchEvery {
				t.Errorf("with %d stuck one has waited for %v", blocked, d)
			}
			close(release)
			synctest.Wait()
			if got := taken.Load(); got != want+int64(blocked) {
				t.Errorf("in the end %d turns of %d were taken", got, want+int64(blocked))
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.stuck != 0 || d.running != 0 || !d.idle {
				t.Errorf("%d workers of %d are stuck, one idle: %v", d.stuck, d.running, d.idle)
			}
		})
	}
}

// After stop turns are still taken, and no goroutine waits for more.
func TestADispatcherThatHasStoppedTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(nil)
		var taken atomic.Int64
		d.Schedule(func() { taken.Add(1) })
		synctest.Wait()
		d.stop()
		for range 10 {
			d.Schedule(func() { taken.Add(1) })
			d.Dispatcher("log-1").Schedule(func() { taken.Add(1) })
			synctest.Wait()
		}
		if taken.Load() != 21 {
			t.Errorf("%d turns were taken", taken.Load())
		}
	}) // which waits for the goroutines
}

// One goroutine is enough as long as turns are short.
func TestADispatcherTakesTurnsInOneGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(nil)
		defer d.stop()
		var at, most atomic.Int64
		for range 100 {
			d.Schedule(func() {
				most.Store(max(most.Load(), at.Add(1)))
				runtime.Gosched()
				at.Add(-1)
			})
		}
		synctest.Wait()
		if most.Load() != 1 {
			t.Errorf("%d turns were taken at a time", most.Load())
		}
	})
}

// A machine that takes long holds up the others once, and then no more for a long time.
func TestAMachineThatTakesLongIsTakenOutOfTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(nil)
		defer d.stop()
		machine := d.Dispatcher("machine-1")
		var long, short int
		for range 100 {
			done := make(chan struct{})
			machine.Schedule(func() { time.Sleep(3 * longTurn); close(done) }) // fake
			time.Sleep(longTurn / 2)
			began := time.Now()
			var taken sync.WaitGroup
			taken.Add(1)
			d.Schedule(taken.Done)
			taken.Wait()
			if time.Since(began) > 0 {
				long++
			} else {
				short++
			}
			<-done
		}
		if long > 1 || short < 99 {
			t.Errorf("%d times of 100 another actor was held up", long)
		}
	})
}
