// Command ondisk is a replicated ledger that may be larger than memory: its state machine
// is an actors.DiskStateMachine, on Badger. In three terminals:
//
//	go build ./examples/ondisk
//	./ondisk -id 1
//	./ondisk -id 2
//	./ondisk -id 3
//
// and in a fourth:
//
//	curl -d 'alice 100' localhost:8401/postings           100
//	printf 'alice -30\nbob 30' | curl --data-binary @- localhost:8402/postings
//	curl localhost:8403/accounts/alice                    70
//
// Kill a member with kill -9, and start it again: it reads no snapshot, and is given no more
// than the commands that came meanwhile; it says that it goes on from what is on its disk.
// If it was away for long it is sent the state of another, and says that. With -snapshot 100
// it takes no more than 200 commands to see it.
//
// The snapshots by which the log is cut have no state in them, so they are small, however
// large the ledger is, and so is the log:
//
//	ls -l castaway-data-ondisk/1/log/snapshots/*
//	go run ./persistence/cmd/castaway-disk groups -live castaway-data-ondisk/1/log
//
// To read it, begin with ledger.go, which is what it does; disk.go and image.go are how
// that gets to the disk and to other members.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/examples/internal/progress"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

// settings are the flags.
type settings struct {
	id       uint64
	peers    map[raftcore.NodeID]string
	http     string
	dir      string
	snapshot int
	election time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseFlags()
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "ondisk: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags() (o settings, err error) {
	flag.Uint64Var(&o.id, "id", 0, "which member this is, from 1 on")
	peers := flag.String("peers", "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403", "where the members talk to each other, in their order")
	flag.StringVar(&o.http, "http", "", "where to serve clients (default 127.0.0.1:8400 + id)")
	flag.StringVar(&o.dir, "dir", "", "where the data is (default castaway-data-ondisk/id)")
	flag.IntVar(&o.snapshot, "snapshot", 0, "after how many entries the log is cut (default: the library's)")
	flag.DurationVar(&o.election, "election", time.Second, "after how long without a leader another is elected")
	flag.Parse()
	o.peers = map[raftcore.NodeID]string{}
	for i, address := range strings.Split(*peers, ",") {
		o.peers[raftcore.NodeID(i+1)] = address
	}
	if o.peers[raftcore.NodeID(o.id)] == "" {
		return o, fmt.Errorf("-id is %d, and says which member this is, 1 to %d: start each of them (-h explains the flags)", o.id, len(o.peers))
	}
	if o.http == "" {
		o.http = fmt.Sprintf("127.0.0.1:%d", 8400+o.id)
	}
	if o.dir == "" {
		o.dir = filepath.Join("castaway-data-ondisk", strconv.FormatUint(o.id, 10))
	}
	return o, nil
}

// screen shows what takes long as bars, and keeps lines apart from them.
var screen = progress.New(os.Stdout)

func say(format string, args ...any) { screen.Println(fmt.Sprintf(format, args...)) }

// run serves clients until ctx ends.
func run(ctx context.Context, o settings) (err error) {
	self := raftcore.NodeID(o.id)
	go screen.Watch(ctx) // from the beginning: there is a journal to read
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler) // protoactor tells everybody everything
	}))
	host, err := actors.Start(system, actors.HostConfig{
		ID:        self,
		Store:     badgerstore.Options{Dir: filepath.Join(o.dir, "log"), Logger: logger, Opening: screen.Opening("reading the journal")},
		Transport: remote.New(remote.Config{Listen: o.peers[self], Advertise: o.peers[self], Logger: logger}),
		Peers:     o.peers,
		Cluster:   "examples/ondisk",
		Raft:      raftcore.Config{ElectionTimeout: o.election, SnapshotEntries: o.snapshot, KeepEntries: o.snapshot},
		Logger:    logger,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = errors.Join(err, host.Stop(ctx))
	}()
	screen.Add(ctx, host)
	group, err := host.Open(ctx, actors.GroupConfig{
		Name:    "ledger",
		Machine: func() actors.StateMachine { return newLedger(filepath.Join(o.dir, "ledger"), say) },
	})
	switch {
	case ctx.Err() != nil:
		return nil // stopped before it had started
	case err != nil:
		return err
	}
	listener, err := net.Listen("tcp", o.http)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: clients(group)}
	context.AfterFunc(ctx, func() { server.Close() })
	say("member %d serves http://%s", o.id, listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
