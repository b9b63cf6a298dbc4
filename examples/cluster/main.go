// Command cluster shows members that come and go while a group works. Five hosts, each
// with a disk and a socket of its own, in one process; one client that never stops
// counting, and every command that was acknowledged is there in the end.
//
//	go run ./examples/cluster
//
// First an operator changes the members: host 4 joins as a learner, is promoted, takes the
// place of host 3, and leads; host 3 is told, and its data is removed. Then an
// autopilot does it: nobody is there to replace a host that has died, and it is replaced.
//
// Look at byHand: ChangeMembers takes the members as they are to be, any number of changes
// in one step, and returns when that is in force. And at withAutopilot, where nobody calls it.
//
// To try next: stop two hosts of three at once, and see the autopilot explain why it does
// nothing (Status.Autopilot.Now); give it Zones; open the first group on host 3 again, which
// takes GroupConfig.Replaces.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "go run ./examples/cluster: members that come and go while a group works. It takes no arguments.")
	}
	flag.Parse()
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "castaway-cluster-")
	check(err)
	discard = func() { os.RemoveAll(dir) }
	defer discard()
	hosts := start(ctx, dir)
	for _, h := range hosts {
		defer h.Stop(context.Background())
	}
	byHand(ctx, hosts)
	withAutopilot(ctx, hosts)
}

// byHand is what an operator does, or a program of his: on any host, while the group works.
func byHand(ctx context.Context, hosts map[raftcore.NodeID]*actors.Host) {
	fmt.Println("By hand:")
	groups := map[raftcore.NodeID]*actors.Group{}
	for id := raftcore.NodeID(1); id <= 3; id++ {
		groups[id] = open(ctx, hosts[id], actors.GroupConfig{Name: "manual", Members: []raftcore.NodeID{1, 2, 3}})
	}
	client := count(ctx, groups[1])
	change := func(m actors.Members, what string) {
		check(groups[1].ChangeMembers(ctx, m))
		status, err := groups[1].Status(ctx)
		check(err)
		fmt.Printf("  %s: %s\n", what, describe(status.Conf))
	}
	groups[4] = open(ctx, hosts[4], actors.GroupConfig{Name: "manual", Join: true}) // it waits to be added
	change(actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}}, "4 joins, and learns")
	change(actors.Members{Voters: []raftcore.NodeID{1, 2, 3, 4}}, "4 is promoted")
	change(actors.Members{Voters: []raftcore.NodeID{1, 2, 4}}, "3 goes")
	for s := range groups[3].Watch(ctx) { // the leader tells 3, until it has heard
		if s.Removed() {
			break
		}
	}
	check(hosts[3].Remove(ctx, "manual"))
	fmt.Println("  3 knows it. Its data is removed, and a tombstone is left:", hosts[3].Tombstones()[0].Group)
	groups[5] = open(ctx, hosts[5], actors.GroupConfig{Name: "manual", Join: true})
	change(actors.Members{Voters: []raftcore.NodeID{1, 4, 5}}, "5 replaces 2, in one step")
	check(groups[1].Transfer(ctx, 4))
	fmt.Println("  4 is told to lead, and does")
	client.report(ctx)
	for _, id := range []raftcore.NodeID{1, 2, 4, 5} {
		check(groups[id].Stop(ctx))
	}
}

// withAutopilot is what happens when nobody is there to do it. All hosts open the group, with
// the same description of what its members are to be.
func withAutopilot(ctx context.Context, hosts map[raftcore.NodeID]*actors.Host) {
	fmt.Println("With an autopilot:")
	pilot := &actors.Autopilot{Voters: 3, DeadAfter: 4 * election, StableFor: election}
	groups := map[raftcore.NodeID]*actors.Group{}
	for id, host := range hosts {
		groups[id] = open(ctx, host, actors.GroupConfig{Name: "piloted", Members: []raftcore.NodeID{1, 2, 3}, Join: id > 3, Autopilot: pilot})
	}
	client := count(ctx, groups[5])
	conf := await(ctx, groups[5], "4 and 5 have opened the group, and learn", func(s actors.Status) bool {
		return len(s.Conf.Voters) == 3 && len(s.Conf.Learners) == 2
	})
	for range 2 {
		dead := conf.Voters[0] // never 5, where the client is
		check(hosts[dead].Stop(ctx))
		conf = await(ctx, groups[5], fmt.Sprintf("host %d is stopped, and replaced", dead), func(s actors.Status) bool {
			return len(s.Conf.Voters) == 3 && !s.Conf.Contains(dead)
		})
	}
	client.report(ctx)
}

// await returns the members when they are as they should be.
func await(ctx context.Context, group *actors.Group, what string, as func(actors.Status) bool) raftcore.ConfState {
	for s := range group.Watch(ctx) {
		if !s.Conf.Joint() && as(s) {
			fmt.Printf("  %s: %s\n", what, describe(s.Conf))
			return s.Conf
		}
	}
	check(fmt.Errorf("%s: it does not come to that: %v", what, ctx.Err()))
	return raftcore.ConfState{}
}

func describe(c raftcore.ConfState) string {
	if len(c.Learners) == 0 {
		return fmt.Sprint("voters ", c.Voters)
	}
	return fmt.Sprint("voters ", c.Voters, ", learners ", c.Learners)
}

// election is how long the others wait for a sign of the leader. It is short, so that the
// autopilot, which waits for some of it, is worth watching.
const election = 500 * time.Millisecond

// start starts five hosts, who know of each other.
func start(ctx context.Context, dir string) map[raftcore.NodeID]*actors.Host {
	hosts, addresses := map[raftcore.NodeID]*actors.Host{}, map[raftcore.NodeID]string{}
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	for id := raftcore.NodeID(1); id <= 5; id++ {
		wire := remote.New(remote.Config{Listen: "127.0.0.1:0"})
		host, err := actors.Start(actor.NewActorSystem(actor.WithLoggerFactory(quiet)), actors.HostConfig{
			ID:        id,
			Store:     badgerstore.Dir(filepath.Join(dir, fmt.Sprint("host-", id))),
			Transport: wire,
			Raft:      raftcore.Config{ElectionTimeout: election},
		})
		check(err)
		hosts[id], addresses[id] = host, wire.Address()
	}
	for _, host := range hosts {
		check(host.SetPeers(ctx, addresses))
	}
	return hosts
}

func open(ctx context.Context, host *actors.Host, cfg actors.GroupConfig) *actors.Group {
	cfg.Machine = func() actors.StateMachine { return &counter{} }
	group, err := host.Open(ctx, cfg)
	check(err)
	return group
}

// client counts, until it is asked how far it has come.
type client struct {
	group   *actors.Group
	end     context.CancelFunc
	counted chan int
}

func count(ctx context.Context, group *actors.Group) *client {
	session, err := group.OpenSession(ctx, 0) // or a command might be counted twice when a leader is lost
	check(err)
	c := &client{group: group, counted: make(chan int)}
	enough, end := context.WithCancel(ctx)
	c.end = end
	go func() {
		n := 0
		for ; enough.Err() == nil; n++ {
			_, err := session.Propose(ctx, nil)
			check(err)
		}
		c.counted <- n
	}()
	return c
}

func (c *client) report(ctx context.Context) {
	c.end()
	n := <-c.counted
	stands, err := c.group.Read(ctx, nil)
	check(err)
	fmt.Printf("  Meanwhile a client has counted to %d. The counter stands at %s.\n", n, stands)
}

// counter counts commands.
type counter struct{ n int }

func (c *counter) Apply(actors.Entry) []byte                     { c.n++; return nil }
func (c *counter) Query(context.Context, []byte) ([]byte, error) { return c.text(), nil }
func (c *counter) Snapshot() (io.WriterTo, error)                { return bytes.NewBuffer(c.text()), nil }
func (c *counter) Restore(r io.Reader) error                     { _, err := fmt.Fscan(r, &c.n); return err }
func (c *counter) text() []byte                                  { return strconv.AppendInt(nil, int64(c.n), 10) }

// discard throws the disks away, however the program ends.
var discard = func() {}

func check(err error) {
	if err != nil {
		discard()
		log.Fatal(err)
	}
}
