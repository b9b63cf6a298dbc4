package bench

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"github.com/castaway-go/castaway/tests/bench/internal/hosts"
)

var stateMiB = flag.Int64("state", 1024, "MiB of state that BenchmarkSnapshot moves")

// BenchmarkSnapshot has a learner that knows nothing join a group whose state is a gigabyte,
// while clients propose: on real disks, over real sockets. It reports proposals a second
// before, while the state moves, while the learner catches up with what was proposed meanwhile,
// and after; the ratios to those before; the elections; and how long the two took. Once is enough:
//
//	go test ./tests/bench -run '^$' -bench Snapshot -benchtime 1x -timeout 30m
func BenchmarkSnapshot(b *testing.B) {
	for range b.N {
		moveState(b, *stateMiB<<20)
	}
	b.ReportMetric(0, "ns/op")
}

// large has a state of so many bytes. All members go on writing it, as members do.
type large struct {
	actors.StateMachine
	size int64
}

func (l *large) Snapshot() (io.WriterTo, error) { return state(l.size), nil }

func (l *large) Restore(r io.Reader) error {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != l.size {
		err = fmt.Errorf("%d bytes arrived, of %d", n, l.size)
	}
	return err
}

type state int64

func (s state) WriteTo(w io.Writer) (n int64, err error) {
	for n < int64(s) && err == nil {
		var wrote int
		wrote, err = w.Write(answers[:min(int64(len(answers)), int64(s)-n)])
		n += int64(wrote)
	}
	return n, err
}

var answers [1 << 16]byte

func moveState(b *testing.B, size int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	peers := map[raftcore.NodeID]string{}
	var taken []net.Listener // none is given twice
	for id := range raftcore.NodeID(4) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		peers[id+1] = l.Addr().String()
		taken = append(taken, l)
	}
	for _, l := range taken {
		l.Close()
	}
	start := func(id raftcore.NodeID, known map[raftcore.NodeID]string) *actors.Host {
		host, err := actors.Start(hosts.QuietSystem(), actors.HostConfig{
			ID: id, Store: badgerstore.Dir(b.TempDir()), Transport: remote.New(remote.Config{Listen: peers[id]}), Peers: known,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { host.Stop(context.Background()) })
		return host
	}
	open := func(h *actors.Host, join bool) *actors.Group {
		g, err := h.Open(ctx, actors.GroupConfig{Name: "large", Join: join, Machine: func() actors.StateMachine {
			return &large{StateMachine: hosts.NewNull(), size: size}
		}})
		if err != nil {
			b.Fatal(err)
		}
		return g
	}
	founders := maps.Clone(peers)
	delete(founders, 4)
	var all []*actors.Host
	for id := range raftcore.NodeID(3) {
		all = append(all, start(id+1, founders))
	}
	var groups []*actors.Group
	for _, h := range all {
		groups = append(groups, open(h, false))
	}
	status := func(g *actors.Group) actors.Status {
		s, err := g.Status(ctx)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	await := func(what string, done func() bool) time.Duration {
		began, said := time.Now(), time.Now()
		for !done() {
			if ctx.Err() != nil {
				b.Fatalf("%s: %v", what, ctx.Err())
			}
			if time.Since(said) > 5*time.Second {
				fmt.Fprintf(os.Stderr, "%s: %v\n", what, time.Since(began).Round(time.Second))
				said = time.Now()
			}
			<-time.After(20 * time.Millisecond)
		}
		return time.Since(began)
	}

	// Clients propose all the time.
	var proposed atomic.Int64
	var clients sync.WaitGroup
	quit := make(chan struct{})
	for i := range 64 {
		clients.Go(func() {
			data := make([]byte, 128)
			for {
				select {
				case <-quit:
					return
				default:
				}
				if _, err := groups[i%3].Propose(ctx, data); err != nil {
					b.Error(err)
					return
				}
				proposed.Add(1)
			}
		})
	}
	defer clients.Wait()
	defer close(quit)
	rate := func(f func()) float64 {
		n, began := proposed.Load(), time.Now()
		f()
		return float64(proposed.Load()-n) / time.Since(began).Seconds()
	}

	await("snapshots are taken", func() bool {
		return !slices.ContainsFunc(groups, func(g *actors.Group) bool { return status(g).First < 500 })
	})
	leads := status(groups[0])
	before := rate(func() { <-time.After(time.Minute) })
	fmt.Fprintf(os.Stderr, "before: %.0f proposals/s\n", before)
	for _, h := range all {
		if err := h.SetPeers(ctx, peers); err != nil {
			b.Fatal(err)
		}
	}
	learner := open(start(4, peers), true)
	if err := groups[0].ChangeMembers(ctx, actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}}); err != nil {
		b.Fatal(err)
	}
	var took, catchingUp time.Duration
	meanwhile := rate(func() {
		took = await("it moves", func() bool { return status(learner).First >= 500 })
	})
	caughtUp := rate(func() {
		catchingUp = await("it catches up", func() bool { return status(learner).Last+1000 > status(groups[0]).Last })
	})
	after := rate(func() { <-time.After(time.Minute) })
	now := status(groups[0])
	b.ReportMetric(before, "before/s")
	b.ReportMetric(meanwhile, "meanwhile/s")
	b.ReportMetric(caughtUp, "catching-up/s")
	b.ReportMetric(after, "after/s")
	b.ReportMetric(meanwhile/before, "meanwhile/before")
	b.ReportMetric(caughtUp/before, "catching-up/before")
	b.ReportMetric(after/before, "after/before")
	b.ReportMetric(float64(now.Term-leads.Term), "elections")
	b.ReportMetric(took.Seconds(), "s/move")
	b.ReportMetric(catchingUp.Seconds(), "s/catch-up")
}
