// Command lock shows locks that expire, and why whoever holds one needs a fencing
// token. Three hosts, each with a disk and a socket of its own, replicate who holds
// what; ann and bob want to write the same report.
//
//	go run ./examples/lock
//
// Look at locks.Apply: a lease ends by Entry.Time, which is the same on every member,
// and its token is Entry.Index, which only grows. Then at report.append, which is
// the reason for tokens: it refuses whoever held the lock before the last one.
// Each client has a Session: a command is carried out once, however often it had
// to be sent; without that, who asks again after a lost answer finds that he holds
// the lock himself, and was never told the token. And with his session whoever is gone
// gives back what he has: locks.SessionEnded.
//
// To try next: have ann renew her lease, with a command of its own; use Group.Propose
// instead of the sessions, and see what "release" answers when a leader is lost.
package main

import (
	"context"
	"encoding/json"
	"errors"
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
		fmt.Fprintln(flag.CommandLine.Output(), "go run ./examples/lock: locks that expire, and why whoever holds one needs a fencing token. It takes no arguments.")
	}
	flag.Parse()
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "castaway-lock-")
	check(err)
	discard = func() { os.RemoveAll(dir) }
	defer discard()
	hosts, groups := open(ctx, dir)
	for _, h := range hosts {
		defer h.Stop(context.Background())
	}
	ann, bob := newClient(ctx, "ann", groups[0]), newClient(ctx, "bob", groups[1])
	report := &report{path: filepath.Join(dir, "report.txt")}

	fmt.Println("ann locks the report, for one second.")
	hers := ann.acquire(ctx, "report", time.Second)
	fmt.Printf("  She has it, with token %d, and writes: %s.\n", hers.Token, said(report.append(hers.Token, "ann was here")))

	fmt.Println("bob wants it, too.")
	his := bob.acquire(ctx, "report", time.Minute)
	fmt.Printf("  It is %s's. He waits until that is over.\n", his.Owner)

	fmt.Println("ann's program stands still, and does not notice how the time passes.")
	for his.Owner != "bob" {
		time.Sleep(time.Until(his.Until)) // longer if the leader's clock is behind: then he asks once more
		his = bob.acquire(ctx, "report", time.Minute)
	}
	fmt.Printf("  bob has it, with token %d, and writes: %s.\n", his.Token, said(report.append(his.Token, "bob was here")))

	fmt.Printf("ann goes on, and believes that it is hers. She writes with token %d:\n", hers.Token)
	fmt.Printf("  %s.\n", said(report.append(hers.Token, "ann again")))
	fmt.Printf("  And she cannot unlock what is bob's: %s.\n", ann.release(ctx, "report", hers.Token).Refused)

	check(groups[0].Transfer(ctx, 3))
	fmt.Println("Host 3 leads. It is stopped while bob locks and unlocks a door, 100 times.")
	const rounds = 100
	stopped := make(chan error)
	for round := range rounds {
		if round == rounds/4 {
			go func() { stopped <- hosts[2].Stop(ctx) }()
		}
		a := bob.acquire(ctx, "door", time.Hour)
		if a.Refused == "" {
			a = bob.release(ctx, "door", a.Token)
		}
		if a.Refused != "" {
			check(fmt.Errorf("in round %d: %s", round, a.Refused))
		}
	}
	check(<-stopped)
	granted, err := groups[0].Read(ctx, []byte("door"))
	check(err)
	fmt.Printf("  He was told 100 times that it is his. It was granted %s times.\n", granted)

	fmt.Println("bob locks the door for an hour, and his program ends.")
	bob.acquire(ctx, "door", time.Hour)
	check(bob.session.Close(ctx)) // after a crash it would end by itself, in a minute
	fmt.Printf("  His session ends with it. The door is %s's at once.\n", ann.acquire(ctx, "door", time.Second).Owner)
}

// open starts three hosts, and opens the group on each.
func open(ctx context.Context, dir string) (hosts []*actors.Host, groups []*actors.Group) {
	addresses := map[raftcore.NodeID]string{}
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	for id := raftcore.NodeID(1); id <= 3; id++ {
		wire := remote.New(remote.Config{Listen: "127.0.0.1:0"})
		host, err := actors.Start(actor.NewActorSystem(actor.WithLoggerFactory(quiet)), actors.HostConfig{
			ID:        id,
			Store:     badgerstore.Dir(filepath.Join(dir, fmt.Sprint("host-", id))),
			Transport: wire,
		})
		check(err)
		hosts, addresses[id] = append(hosts, host), wire.Address()
	}
	for _, host := range hosts {
		check(host.SetPeers(ctx, addresses)) // before a group is opened: its founders are all peers
	}
	for _, host := range hosts {
		group, err := host.Open(ctx, actors.GroupConfig{Name: "locks", Machine: func() actors.StateMachine { return newLocks() }})
		check(err)
		groups = append(groups, group)
	}
	return hosts, groups
}

// client is somebody who wants locks.
type client struct {
	name    string
	session *actors.Session
}

func newClient(ctx context.Context, name string, g *actors.Group) client {
	session, err := g.OpenSession(ctx, 0)
	check(err)
	return client{name, session}
}

func (c client) acquire(ctx context.Context, lock string, lease time.Duration) answer {
	return c.send(ctx, command{Lock: lock, Owner: c.name, Lease: lease})
}

func (c client) release(ctx context.Context, lock string, token raftcore.Index) answer {
	return c.send(ctx, command{Lock: lock, Owner: c.name, Release: token})
}

func (c client) send(ctx context.Context, cmd command) (a answer) {
	data, err := json.Marshal(cmd)
	check(err)
	data, err = c.session.Propose(ctx, data)
	check(err)
	check(json.Unmarshal(data, &a))
	return a
}

// report is what the lock protects. It is no part of the group: it knows nothing of
// leases, and need not; it remembers the newest token that it has seen.
type report struct {
	path   string
	newest raftcore.Index
}

func (r *report) append(token raftcore.Index, line string) error {
	if token < r.newest {
		return fmt.Errorf("refused, for somebody came with token %d", r.newest)
	}
	r.newest = token
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return "done"
}

// discard throws the disks away, however the program ends.
var discard = func() {}

func check(err error) {
	if err != nil {
		discard()
		log.Fatal(err)
	}
}
