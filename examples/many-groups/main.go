// Command many-groups shows a thousand groups on three hosts. They share what costs: a
// journal with one sync for all that waits, a connection, a clock; and a group in which
// nothing happens sends nothing and is never woken.
//
//	go run ./examples/many-groups
//	go run ./examples/many-groups -groups 2000
//
// Look at the figures: how evenly the hosts lead after Host.Balance, how soon all groups are
// silent, and how long it takes a thousand groups to lose a host and to find
// other leaders. Then at openAll: opening is concurrent, and one sync founds many groups.
//
// To try next: leave Balance to the hosts (HostConfig.BalanceInterval); give groups a
// Priority on some host, and see them move there.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	n := flag.Int("groups", 1000, "how many groups")
	flag.Parse()
	if *n < 1 || flag.NArg() > 0 {
		log.Fatal("many-groups takes -groups, a number from 1 on, and nothing else")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "castaway-many-groups-")
	check(err)
	discard = func() { os.RemoveAll(dir) }
	defer discard()
	hosts, groups := start(ctx, dir), make([][]*actors.Group, 3)
	for _, h := range hosts {
		defer h.Stop(context.Background())
	}

	took := stopwatch()
	each(len(hosts), func(i int) { groups[i] = openAll(ctx, hosts[i], *n) })
	fmt.Printf("%d groups are open on each of 3 hosts, after %v: %d members, in %d goroutines.\n", *n, took(), 3**n, runtime.NumGoroutine())

	took = stopwatch()
	proposeAll(ctx, groups[0], 1)
	fmt.Printf("Each has elected a leader and taken a command, after %v.\n", took())
	fmt.Printf("  %s\n", leaders(ctx, groups))

	took = stopwatch()
	handed := balance(ctx, hosts)
	fmt.Printf("Balanced: %d leaderships were handed over, in %v.\n", handed, took())
	fmt.Printf("  %s\n", leaders(ctx, groups))

	took = stopwatch()
	for !silent(ctx, groups) {
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Printf("All are silent after %v: from now on they cost memory, and nothing else.\n", took())

	took = stopwatch()
	check(hosts[2].Stop(ctx))
	proposeAll(ctx, groups[0], 2)
	fmt.Printf("Host 3 is stopped, and each group has taken another command, after %v.\n", took())
	fmt.Printf("  %s\n", leaders(ctx, groups[:2]))

	fmt.Printf("Host 2 sees that command in %d groups.\n", count(ctx, groups[1], 2))
}

func start(ctx context.Context, dir string) (hosts []*actors.Host) {
	addresses := map[raftcore.NodeID]string{}
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	for id := raftcore.NodeID(1); id <= 3; id++ {
		wire := remote.New(remote.Config{Listen: "127.0.0.1:0"})
		host, err := actors.Start(actor.NewActorSystem(actor.WithLoggerFactory(quiet)), actors.HostConfig{
			ID: id, Store: badgerstore.Dir(filepath.Join(dir, fmt.Sprint("host-", id))), Transport: wire,
		})
		check(err)
		hosts, addresses[id] = append(hosts, host), wire.Address()
	}
	for _, host := range hosts {
		check(host.SetPeers(ctx, addresses))
	}
	return hosts
}

// openAll opens all groups on a host, at the same time.
func openAll(ctx context.Context, host *actors.Host, n int) []*actors.Group {
	groups := make([]*actors.Group, n)
	each(n, func(i int) {
		group, err := host.Open(ctx, actors.GroupConfig{
			Name: fmt.Sprint("group-", i), Machine: func() actors.StateMachine { return &register{} },
		})
		check(err)
		groups[i] = group
	})
	return groups
}

// proposeAll sets all groups to a value, at the same time. Who sets it twice has set it: so
// when nobody knows what came of it, because a leader was lost, it is done once more.
func proposeAll(ctx context.Context, groups []*actors.Group, value byte) {
	each(len(groups), func(i int) {
		_, err := groups[i].Propose(ctx, []byte{value})
		for errors.Is(err, actors.ErrUnknown) && ctx.Err() == nil {
			_, err = groups[i].Propose(ctx, []byte{value})
		}
		check(err)
	})
}

// count counts the groups that have a value.
func count(ctx context.Context, groups []*actors.Group, value byte) int {
	var found atomic.Int64
	each(len(groups), func(i int) {
		answer, err := groups[i].Read(ctx, nil)
		check(err)
		if answer[0] == value {
			found.Add(1)
		}
	})
	return int(found.Load())
}

// balance has the hosts hand over, one after the other, until nobody has anything to hand over.
func balance(ctx context.Context, hosts []*actors.Host) (handed int) {
	for before := -1; handed != before; {
		before = handed
		for _, h := range hosts {
			moved, err := h.Balance(ctx)
			check(err)
			handed += moved
		}
	}
	return handed
}

// leaders says how many groups each host leads.
func leaders(ctx context.Context, groups [][]*actors.Group) string {
	var says []string
	for i := range groups {
		leads := 0
		for _, g := range groups[i] {
			status, err := g.Status(ctx)
			check(err)
			if status.Role == raftcore.Leader {
				leads++
			}
		}
		says = append(says, fmt.Sprintf("host %d leads %d", i+1, leads))
	}
	return strings.Join(says, ", ")
}

// silent reports whether nothing happens in any group.
func silent(ctx context.Context, groups [][]*actors.Group) bool {
	for _, g := range slices.Concat(groups...) {
		status, err := g.Status(ctx)
		check(err)
		if !status.Quiescent {
			return false
		}
	}
	return true
}

// each calls f with 0 to n-1, at the same time.
func each(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

func stopwatch() func() time.Duration {
	since := time.Now()
	return func() time.Duration { return time.Since(since).Round(time.Millisecond) }
}

// register is the last value that was set.
type register struct{ value byte }

func (r *register) Apply(e actors.Entry) []byte {
	if len(e.Data) == 1 {
		r.value = e.Data[0]
	}
	return nil
}

func (r *register) Query(context.Context, []byte) ([]byte, error) { return []byte{r.value}, nil }
func (r *register) Snapshot() (io.WriterTo, error)                { return bytes.NewReader([]byte{r.value}), nil }
func (r *register) Restore(in io.Reader) error                    { return binary.Read(in, binary.BigEndian, &r.value) }

// discard throws the disks away, however the program ends.
var discard = func() {}

func check(err error) {
	if err != nil {
		discard()
		log.Fatal(err)
	}
}
