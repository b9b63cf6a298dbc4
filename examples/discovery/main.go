// Command discovery has hosts find one another through a protoactor cluster: nobody is told
// an address of a host, each chooses a free port whenever it starts. It is a module of its
// own, because protoactor's automanaged provider needs what the library does not.
//
//	go -C examples/discovery run .        four hosts in one process, with protoactor's test provider
//
// Or one host per process, with the automanaged provider, in three terminals:
//
//	go -C examples/discovery build -o /tmp/discovery .
//	/tmp/discovery -id 1
//	/tmp/discovery -id 2
//	/tmp/discovery -id 3
//
// Kill one with kill -9, and start it again: it comes back at another port, with its disk, and
// the others hear where. A fourth joins; when a voter dies then, it is replaced.
//
// Look at discovery.go first: a host says its ID and address as a kind of its cluster member,
// which every provider hands around, and what the others say becomes Host.SetPeers. Then at
// member.go: addresses are discovered, but who founds the group is not. Hosts 1 to 3 do,
// which every process is told; so no two of them can found different groups, whoever they
// have heard of by then. All others wait, and an autopilot makes them members.
//
// Each process has two actor systems, for each has one protoactor remote. The cluster's trusts
// whoever reaches it, and the automanaged provider listens on all of the machine's addresses:
// keep both on a network of your own. Castaway's lets nobody in but hosts; with remote.TLS
// they prove who they are, and a wrong address that somebody has spread leads nowhere.
//
// To try next: another provider (Consul, etcd, Kubernetes, which wants other characters in a
// kind); stop two of three hosts, and see that nobody founds anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster/clusterproviders/automanaged"
	"github.com/asynkron/protoactor-go/cluster/clusterproviders/test"

	"github.com/castaway-go/castaway/examples/internal/progress"
	"github.com/castaway-go/castaway/raftcore"
)

const usage = `discovery has hosts find one another through a protoactor cluster.

  discovery         four hosts in this process, with protoactor's test provider; ends by itself
  discovery -id 1   one host, with the automanaged provider, until Ctrl-C; start 2 and 3, too

`

func main() {
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	id := flag.Uint64("id", 0, "which host this is, from 1 on; never given to another (default: four hosts in this process)")
	dir := flag.String("dir", "", "where the host's data is (default castaway-data-discovery/id)")
	founders := flag.Int("founders", 3, "hosts 1 to this one found the group, and so many vote: an odd number, the same for all")
	seeds := flag.String("seeds", "127.0.0.1:6331,127.0.0.1:6332,127.0.0.1:6333,127.0.0.1:6334",
		"where the cluster's members answer to one another, in the order of the hosts: those that may ever be there")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("%q is no flag", flag.Arg(0))
	case *founders < 1 || *founders%2 == 0:
		err = fmt.Errorf("-founders is %d: an odd number of them is to vote", *founders)
	case *id == 0:
		err = inOneProcess(ctx)
	default:
		err = oneHost(ctx, raftcore.NodeID(*id), *dir, *founders, strings.Split(*seeds, ","))
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "discovery: %v (-h explains the flags)\n", err)
		os.Exit(1)
	}
}

// screen shows what takes long as bars, and keeps lines apart from them.
var screen = progress.New(os.Stdout)

// oneHost runs one host, until ctx ends.
func oneHost(ctx context.Context, id raftcore.NodeID, dir string, founders int, seeds []string) error {
	if id > raftcore.NodeID(len(seeds)) || founders > len(seeds) {
		return fmt.Errorf("this is host %d, and %d found the group: there are %d seeds", id, founders, len(seeds))
	}
	_, port, err := net.SplitHostPort(seeds[id-1])
	if err != nil {
		return fmt.Errorf("seed %d: %w", id, err)
	}
	listen, err := net.Listen("tcp", ":"+port) // the provider would not say that it cannot
	if err != nil {
		return fmt.Errorf("seed %d: %w", id, err)
	}
	at := listen.Addr().(*net.TCPAddr).Port
	listen.Close()
	if dir == "" {
		dir = filepath.Join("castaway-data-discovery", strconv.FormatUint(uint64(id), 10))
	}
	go screen.Watch(ctx)
	m, err := start(id, dir, founders, automanaged.NewWithConfig(500*time.Millisecond, at, seeds...))
	if err != nil {
		return err
	}
	screen.Add(ctx, m.host)
	return errors.Join(m.run(ctx), m.stop())
}

// inOneProcess is a story with four hosts; it ends by itself.
func inOneProcess(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "castaway-discovery-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	agent := test.NewInMemAgent()
	hosts := map[raftcore.NodeID]*running{}
	defer func() {
		for _, h := range hosts {
			err = errors.Join(err, h.end())
		}
	}()
	begin := func(id raftcore.NodeID) error {
		m, err := start(id, filepath.Join(dir, fmt.Sprint(id)), 3, test.NewTestProvider(agent))
		if err != nil {
			return err
		}
		hosts[id] = &running{m, inBackground(ctx, m.run)}
		return nil
	}
	for id := raftcore.NodeID(1); id <= 3; id++ {
		if err := begin(id); err != nil {
			return err
		}
	}
	if err := hosts[1].await(ctx, raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}); err != nil {
		return err
	}
	fmt.Println("A fourth host comes:")
	if err := begin(4); err != nil {
		return err
	}
	if err := hosts[1].await(ctx, raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}, Learners: []raftcore.NodeID{4}}); err != nil {
		return err
	}
	fmt.Println("Host 2 is stopped:")
	if err := hosts[2].end(); err != nil {
		return err
	}
	delete(hosts, 2)
	if err := hosts[1].await(ctx, raftcore.ConfState{Voters: []raftcore.NodeID{1, 3, 4}}); err != nil {
		return err
	}
	fmt.Println("Host 2 comes back, at another port:")
	if err := begin(2); err != nil {
		return err
	}
	return hosts[2].await(ctx, raftcore.ConfState{Voters: []raftcore.NodeID{1, 3, 4}, Learners: []raftcore.NodeID{2}})
}

// running is a member in this process.
type running struct {
	*member
	*background
}

func (r *running) end() error { return errors.Join(r.background.end(), r.stop()) }

// await returns when the group's members are these, as this host sees it.
func (r *running) await(ctx context.Context, conf raftcore.ConfState) error {
	for {
		select {
		case now := <-r.changes:
			if now.Equal(conf) {
				return nil
			}
		case err := <-r.ended:
			r.ended <- err
			return fmt.Errorf("host %d has ended: %w", r.id, err)
		case <-ctx.Done():
			return fmt.Errorf("the members do not become %v: %w", conf.Members(), ctx.Err())
		}
	}
}

// newSystem returns an actor system that is quiet; protoactor tells everybody everything.
func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}
