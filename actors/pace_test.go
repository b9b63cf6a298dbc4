package actors_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// weighed is a transport that notes when chunks of snapshots leave, and when they are said to
// be taken.
type weighed struct {
	actors.Transport
	mu    sync.Mutex
	steps []step
}

// step is a chunk that leaves, or the news of what was taken.
type step struct {
	at    time.Time
	taken bool
	upTo  int64 // bytes
}

func (w *weighed) note(taken bool, upTo int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, step{time.Now(), taken, upTo})
}

func (w *weighed) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	return w.Transport.Start(system, self, func(p *actors.Packet) {
		for _, part := range p.Snapshots {
			if a := part.Answer; a != nil && a.Outcome != actors.SnapshotArrived {
				w.note(true, a.Offset)
			}
		}
		deliver(p)
	})
}

func (w *weighed) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	return weighedLink{w.Transport.Link(address, notify), w}
}

type weighedLink struct {
	actors.Link
	w *weighed
}

func (l weighedLink) Send(p *actors.Packet) bool {
	taken := l.Link.Send(p)
	for _, part := range p.Snapshots {
		if c := part.Chunk; c != nil && taken {
			l.w.note(false, c.Offset+int64(len(c.Data)))
		}
	}
	return taken
}

// atWork is after how long the log has done something, if there is something to do each
// millisecond.
const atWork = 3 * time.Millisecond

// rounds are the windows of chunks that have left: a window begins when everything was taken
// that had left before it.
type round struct {
	chunks      int
	took, rests time.Duration // until all of it was taken, and then until the next one
	early       bool          // some of it has left later, and not all was taken
}

func (w *weighed) rounds() (all []round, whole time.Duration) {
	var sent, taken int64
	var began, done time.Time
	var r round
	for _, s := range w.steps {
		switch {
		case s.taken:
			if taken = s.upTo; taken == sent {
				r.took, done = s.at.Sub(began), s.at
			}
			continue
		case taken == sent:
			if r.chunks > 0 {
				r.rests = s.at.Sub(done)
				all = append(all, r)
			}
			r, began = round{}, s.at
		case s.at.Sub(began) >= atWork:
			r.early = true
		}
		r.chunks++
		sent = s.upTo
	}
	return all, w.steps[len(w.steps)-1].at.Sub(w.steps[0].at)
}

// While the log has something to do a snapshot goes a window at a time, and rests four times
// as long after each; but never for so long that the peer seems to be gone. While the log has
// nothing to do the snapshot takes all there is.
func TestSnapshotsYieldToTheLog(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, busy := range []bool{false, true} {
		inWorld(t, 3, func(w *world) {
			w.compacting(1 << 20) // never by itself
			l := w.settled()
			f := w.hosts[l.id%3]
			l.stop()
			cfg := l.config()
			wire := &weighed{Transport: cfg.Transport}
			cfg.Transport = wire
			l.startWith(cfg)
			w.until("it is back", func() bool { return l.status().Leader != raftcore.Nobody })
			for l != w.leader() {
				_ = w.leader().group.Transfer(w.ctx, l.id) // it may have to catch up
			}
			f.stop()
			big := strings.Repeat("x", 100_000)
			for i := range 60 {
				l.propose(fmt.Sprint(i, big))
			}
			if err := l.group.TakeSnapshot(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.until("the log begins after it", func() bool { return l.status().First > 60 })
			w.net.SetFaults(0, 5*time.Millisecond)
			f.start()
			var clients sync.WaitGroup
			for f.status().Applied < 60 {
				if busy {
					clients.Go(func() { _, _ = l.group.Propose(w.ctx, []byte("more")) }) // whoever leads in the end
				}
				time.Sleep(time.Millisecond) // fake
			}
			clients.Wait()
			if l != w.leader() {
				t.Error("it leads no more")
			}
			var all []round
			all, took[busy] = wire.rounds()
			if busy && len(all) < 5 {
				t.Errorf("%d windows have left: %+v", len(all), all)
			}
			for i, r := range all {
				least, most := min(4*r.took, 50*time.Millisecond), 60*time.Millisecond
				switch {
				case !busy && r.rests > 0:
					t.Errorf("window %d rests for %v, and the log has nothing to do", i, r.rests)
				case !busy || r.took < atWork:
				case r.early:
					t.Errorf("window %d has %d chunks, and not all of them left together", i, r.chunks)
				case r.rests < least || r.rests > most:
					t.Errorf("window %d took %v, and then it rests for %v", i, r.took, r.rests)
				}
			}
		})
	}
	if took[true] < 3*took[false] {
		t.Errorf("while the log has much to do a snapshot takes %v, else %v", took[true], took[false])
	}
}

// slow is a register that takes a quarter of a millisecond for each tenth of a megabyte of a
// snapshot.
type slow struct{ *register }

func (s slow) Snapshot() (io.WriterTo, error) {
	return piecemeal{slices.Clone(s.log), time.Millisecond / 4}, nil
}

// So does a snapshot that a member writes of its own state: of what it does a fifth of the time
// is left to it, for a disk and a processor that are busy with one are not with the other.
func TestWhoWritesASnapshotYieldsToTheLog(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, busy := range []bool{false, true} {
		inWorld(t, 1, func(w *world) {
			w.machine = func(h *hostUp) actors.StateMachine { return slow{&register{world: w, on: h.id}} }
			w.compacting(1 << 20) // never by itself
			l := w.settled()
			big := strings.Repeat("x", 100_000)
			for i := range 100 {
				l.propose(fmt.Sprint(i, big))
			}
			done := make(chan error)
			began := time.Now()
			go func() { done <- l.group.TakeSnapshot(w.ctx) }()
			var clients sync.WaitGroup
			for written := false; !written; {
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					took[busy], written = time.Since(began), true
				case <-time.After(time.Millisecond): // fake
					if busy {
						clients.Go(func() { l.propose("more") })
					}
				}
			}
			clients.Wait()
		})
	}
	if idle := took[false]; idle < 25*time.Millisecond || idle > 30*time.Millisecond || took[true] < 4*idle || took[true] > 7*idle {
		t.Errorf("while the log has much to do a snapshot takes %v to write, else %v", took[true], took[false])
	}
}
