// Command effects shows a replicated scheduler: a kitchen clock on three hosts. What its
// state machine is told to remind of rings on time, on the host that leads, whichever
// that is by then.
//
//	go run ./examples/effects
//
// Look at schedule.Apply, in schedule.go: it sends nothing and reads no clock, it says what is
// to be done (Entry.Do), as data, on all members alike. The leader does it, and what
// has come of it is an entry in the log: so the next leader knows what is left. Then at
// ringer, an actor like any other: it receives an *actors.Sent, and reports what it has done
// with an *actors.Request to the group.
//
// A Send comes at least once: the leader may be lost when it has sent and not noted
// it yet. A ringer that must not ring twice remembers Sent.ID.
//
// To try next: have a job come back every second, with another SetTimer when it is
// done; keep the hosts' directories, and start the program again.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "go run ./examples/effects: a replicated scheduler. It takes no arguments.")
	}
	flag.Parse()
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "castaway-effects-")
	check(err)
	discard = func() { os.RemoveAll(dir) }
	defer discard()
	done := make(chan string, 100)
	hosts, groups := open(ctx, dir, done)
	for _, h := range hosts {
		defer h.Stop(context.Background())
	}
	remind := func(command string) {
		answer, err := groups[0].Propose(ctx, []byte(command))
		check(err)
		fmt.Printf("  %s: %s\n", command, answer)
	}
	await := func(job string) {
		for {
			select {
			case d := <-done:
				if d == job {
					return
				}
			case <-ctx.Done():
				check(fmt.Errorf("%s is not done: %v", job, ctx.Err()))
			}
		}
	}
	check(groups[0].Transfer(ctx, 3))
	fmt.Println("Host 3 leads, so its bell is to ring:")
	remind("in 500ms tea")
	await("tea")

	fmt.Println("Host 3 is stopped before the time has come:")
	remind("in 3s eggs")
	check(hosts[2].Stop(ctx))
	fmt.Println("  it has stopped")
	await("eggs")

	fmt.Println("The bells are taken away. The group monitors them, and turns to the gong:")
	for _, h := range hosts[:2] {
		check(h.System().Root.StopFuture(actor.NewPID(h.System().Address(), "bell")).Wait())
	}
	remind("in 500ms bread")
	await("bread")
}

// open starts three hosts, and opens the group on each.
func open(ctx context.Context, dir string, done chan<- string) (hosts []*actors.Host, groups []*actors.Group) {
	addresses := map[raftcore.NodeID]string{}
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	for id := raftcore.NodeID(1); id <= 3; id++ {
		system := actor.NewActorSystem(actor.WithLoggerFactory(quiet))
		wire := remote.New(remote.Config{Listen: "127.0.0.1:0"})
		host, err := actors.Start(system, actors.HostConfig{
			ID: id, Store: badgerstore.Dir(filepath.Join(dir, fmt.Sprint("host-", id))), Transport: wire,
		})
		check(err)
		hosts, addresses[id] = append(hosts, host), wire.Address()
	}
	for _, host := range hosts {
		check(host.SetPeers(ctx, addresses))
	}
	for _, host := range hosts {
		ringers := spawnRingers(host, done)
		group, err := host.Open(ctx, actors.GroupConfig{Name: "kitchen", Machine: func() actors.StateMachine { return newSchedule() }})
		check(err)
		groups = append(groups, group)
		for _, pid := range ringers {
			host.System().Root.Send(pid, group)
		}
	}
	return hosts, groups
}

// spawnRingers spawns the actors that a host's group may send to. That is done before the group
// is opened: it may have something for them at once, and monitors whether they are there.
func spawnRingers(host *actors.Host, done chan<- string) (pids []*actor.PID) {
	for _, name := range []string{"bell", "gong"} {
		pid, err := host.System().Root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor {
			return &ringer{name: fmt.Sprintf("%s on host %d", name, host.ID()), done: done}
		}), name)
		check(err)
		pids = append(pids, pid)
	}
	return pids
}

// ringer is an actor that reminds.
type ringer struct {
	name  string
	done  chan<- string
	group *actors.Group
	early []*actors.Sent // that came before the group
}

func (r *ringer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actors.Group:
		r.group = m
		for _, s := range r.early {
			r.ring(ctx, s)
		}
	case *actors.Sent:
		if r.group == nil {
			r.early = append(r.early, m)
			return
		}
		r.ring(ctx, m)
	case *actors.Response: // to the report
		if m.Err == nil {
			r.done <- string(m.Data)
			return
		}
		root, self := ctx.ActorSystem().Root, ctx.Self() // perhaps nobody leads at the moment
		time.AfterFunc(100*time.Millisecond, func() { root.RequestWithCustomSender(r.group.PID(), m.Request, self) })
	}
}

func (r *ringer) ring(ctx actor.Context, s *actors.Sent) {
	fmt.Printf("  %s: %s! (%v)\n", r.name, s.Data, s.ID)
	ctx.Request(r.group.PID(), &actors.Request{Operation: actors.Propose, Data: append([]byte("done "), s.Data...)})
}

// discard throws the disks away, however the program ends.
var discard = func() {}

func check(err error) {
	if err != nil {
		discard()
		log.Fatal(err)
	}
}
