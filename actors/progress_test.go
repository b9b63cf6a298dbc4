package actors_test

import (
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// leisurely is a register that takes its time to write a snapshot, and to read one.
type leisurely struct{ *register }

func (l leisurely) Snapshot() (io.WriterTo, error) {
	return piecemeal{slices.Clone(l.log), 5 * time.Millisecond}, nil
}

func (l leisurely) Restore(from io.Reader) error {
	return l.register.Restore(pausing{from})
}

type piecemeal struct {
	log   []string
	pause time.Duration // before each piece
}

func (p piecemeal) WriteTo(w io.Writer) (int64, error) {
	all, err := json.Marshal(p.log)
	for piece := range slices.Chunk(all, 100_000) {
		if err == nil {
			time.Sleep(p.pause) // fake
			_, err = w.Write(piece)
		}
	}
	return int64(len(all)), err
}

type pausing struct{ io.Reader }

func (p pausing) Read(b []byte) (int, error) {
	time.Sleep(5 * time.Millisecond) // fake
	return p.Reader.Read(b[:min(len(b), 100_000)])
}

// An operator sees how far a snapshot has come, on the host that sends it and on the one
// that takes it in, and when the last one is done nothing is left to see.
func TestSnapshotsShowHowFarTheyHaveCome(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.machine = func(h *hostUp) actors.StateMachine { return leisurely{&register{world: w, on: h.id}} }
		w.net.SetFaults(0, 5*time.Millisecond)
		l, f := w.leftBehind(60, 50_000)
		seen := map[actors.SnapshotStage]map[int64]bool{} // the Dones of each stage
		look := func(h *hostUp, peer raftcore.NodeID) {
			now := h.host.Now()
			for _, p := range h.status().Snapshots {
				if seen[p.Stage] == nil {
					seen[p.Stage] = map[int64]bool{}
				}
				seen[p.Stage][p.Done] = true
				moves := p.Stage == actors.SnapshotSending || p.Stage == actors.SnapshotReceiving
				switch {
				case p.Index == 0 || p.At > now || now.Sub(p.At) > time.Minute:
					t.Errorf("at %v: %+v", now, p)
				case p.Stage == actors.SnapshotWriting && p.Size != 0, p.Stage != actors.SnapshotWriting && p.Done > p.Size:
					t.Errorf("%v: %d of %d bytes", p.Stage, p.Done, p.Size)
				case moves && p.Peer != peer, !moves && p.Peer != raftcore.Nobody:
					t.Errorf("%v: the peer is %d", p.Stage, p.Peer)
				}
			}
		}
		f.start()
		w.until("it has caught up", func() bool {
			look(l, f.id)
			look(f, l.id)
			return f.status().Applied >= l.status().Commit
		})
		l.propose("one more")
		for range 10 { // and the next snapshot is written
			l.propose("small")
		}
		w.until("nothing goes on", func() bool {
			look(l, f.id)
			look(f, l.id)
			return len(seen[actors.SnapshotWriting]) > 2 && len(l.status().Snapshots) == 0 && len(f.status().Snapshots) == 0
		})
		for stage := actors.SnapshotWriting; stage <= actors.SnapshotRestoring; stage++ {
			if len(seen[stage]) < 3 {
				t.Errorf("%v: it was seen at %v bytes only", stage, seen[stage])
			}
		}
	})
}

func TestAHostListsItsGroups(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		for _, name := range []string{"zebra", "ant"} {
			h.open(name)
		}
		names := func() (names []string) {
			for _, g := range h.host.Groups() {
				names = append(names, g.Name())
			}
			return names
		}
		if got, want := names(), []string{"ant", h.group.Name(), "zebra"}; !slices.Equal(got, want) {
			t.Errorf("the groups are %q, want %q", got, want)
		}
		if err := h.host.Groups()[0].Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := names(), []string{h.group.Name(), "zebra"}; !slices.Equal(got, want) {
			t.Errorf("when one has stopped the groups are %q, want %q", got, want)
		}
	})
}
