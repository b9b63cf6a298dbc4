//go:build unix

// Command supervised shows what fails, and who decides what comes of it. The member of a
// group is a child of an actor of this program, the guardian, which has a strategy of its
// own: a state machine that panics is restarted, a disk that fails is not.
//
//	go run ./examples/supervised
//
// Look at guardian and decide: they are all that it takes, Host.Props and a strategy of
// protoactor's. The failures are real. The machine does panic; and for the disk to fail the
// program has the kernel refuse to let its files grow.
//
// Then look at what the counter stands at after each. No memory outlives a failure: the
// member always comes back from its disk, with all that was acknowledged. What was under
// way is ErrUnknown: it may be there or not.
//
// To try next: give the group Restarts of its own, with a Max of 10, and the member sees to
// panics itself, after a pause that grows; have decide return Resume, and the member stays
// Faulted: Group.Status says why, and add waits for it in vain.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "go run ./examples/supervised: what fails, and who decides what comes of it. It takes no arguments.")
	}
	flag.Parse()
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "castaway-supervised-")
	check(err)
	discard = func() { os.RemoveAll(dir) }
	defer discard()

	system := newSystem()
	host, group, stopped := supervise(system, dir)
	add(ctx, group, "+1")
	add(ctx, group, "+2")

	fmt.Println("A panic that passes, in the middle of a command:")
	glitch.Store(true)
	add(ctx, group, "+3")
	add(ctx, group, "+4")

	fmt.Println("A disk that fails:")
	mend := breakDisk()
	add(ctx, group, "+"+strings.Repeat("0", fileLimit)+"5") // does not fit
	select {
	case <-stopped: // its parent knows
	case <-ctx.Done():
		check(ctx.Err())
	}
	mend()
	fmt.Println("  the disk is well again; a new host opens it")
	check(host.Stop(ctx))
	host, group, stopped = supervise(system, dir)
	add(ctx, group, "+6")

	fmt.Println("A panic that comes again, whenever the command is applied:")
	add(ctx, group, "boom")
	var poison *actors.QuarantineError
	for s := range group.Watch(ctx) {
		if errors.As(s.Fault, &poison) {
			break // it was restarted, and has panicked at the same entry again
		}
	}
	if poison == nil {
		check(fmt.Errorf("it is not quarantined: %v", ctx.Err()))
	}
	fmt.Println("  the member is quarantined: it applies nothing any more")
	check(group.SkipEntry(ctx, poison.Entry))
	for s := range group.Watch(ctx) {
		if s.Readable && s.Fault == nil {
			break
		}
	}
	fmt.Println("  the group is told to skip the entry, and goes on")
	add(ctx, group, "+7")
	check(host.Stop(ctx))
	<-stopped
}

// supervise starts a host, and has its member of the group be the child of a guardian.
func supervise(system *actor.ActorSystem, dir string) (*actors.Host, *actors.Group, <-chan struct{}) {
	host, err := actors.Start(system, actors.HostConfig{
		ID: 1, Store: badgerstore.Options{Dir: filepath.Join(dir, "store"), Logger: slog.New(slog.DiscardHandler)},
		Restarts: actors.Restarts{Max: -1}, // every failure is the strategy's
	})
	check(err)
	group, props, err := host.Props(actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }})
	check(err)
	started, stopped := make(chan struct{}, 1), make(chan struct{}, 1)
	system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &guardian{props, started, stopped} },
		actor.WithSupervisor(actor.NewOneForOneStrategy(5, time.Minute, decide))))
	<-started // the group answers from then on
	return host, group, stopped
}

// guardian is the member's parent. It could have any number of other children.
type guardian struct {
	member           *actor.Props
	started, stopped chan<- struct{}
}

func (g *guardian) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Started:
		ctx.Spawn(g.member)
		g.started <- struct{}{}
	case *actor.Terminated: // a parent watches its children
		fmt.Println("  guardian: the member has stopped")
		g.stopped <- struct{}{}
	}
}

// decide is the strategy. The reason is always an error that says what class of fault it is.
func decide(reason any) actor.Directive {
	err, _ := reason.(error)
	switch {
	case errors.Is(err, actors.ErrMachineFault):
		fmt.Println("  guardian: the state machine failed: restart the member")
		return actor.RestartDirective
	case errors.Is(err, actors.ErrStorageFault):
		fmt.Println("  guardian: the storage failed: stop the member")
		return actor.StopDirective // this host's store stays closed
	}
	return actor.EscalateDirective
}

// add proposes a command, and says what came of it and what the counter stands at.
func add(ctx context.Context, group *actors.Group, command string) {
	name := command
	if len(name) > 10 {
		name = fmt.Sprintf("a command of %d bytes", len(command))
	}
	answer, err := group.Propose(ctx, []byte(command))
	for errors.Is(err, actors.ErrFaulted) && ctx.Err() == nil { // it has failed, and the guardian has yet to decide
		for s := range group.Watch(ctx) {
			if s.State == actors.Running {
				break
			}
		}
		answer, err = group.Propose(ctx, []byte(command)) // it was rejected: it cannot be there twice
	}
	switch {
	case errors.Is(err, actors.ErrUnknown):
		fmt.Printf("  %s: nobody knows yet what comes of it\n", name)
	case err != nil:
		fmt.Printf("  %s: %v\n", name, err)
	default:
		fmt.Printf("  %s makes %s\n", name, answer)
	}
}

// fileLimit is how many bytes a file may have, for the disk to fail.
const fileLimit = 64 << 10

// breakDisk has the kernel refuse every write to a file of this process behind its first
// fileLimit bytes, until mend is called.
func breakDisk() (mend func()) {
	signal.Ignore(syscall.SIGXFSZ) // the write fails instead
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	was := limit
	limit.Cur = fileLimit
	check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	return func() { check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was)) }
}

// glitch has the next command panic, once.
var glitch atomic.Bool

// counter is a state machine with bugs.
type counter struct{ n int }

func (c *counter) Apply(e actors.Entry) []byte {
	if glitch.CompareAndSwap(true, false) || string(e.Data) == "boom" {
		panic("a bug")
	}
	step, _ := strconv.Atoi(string(e.Data))
	c.n += step
	return c.text()
}

func (c *counter) Query(context.Context, []byte) ([]byte, error) { return c.text(), nil }
func (c *counter) Snapshot() (io.WriterTo, error)                { return bytes.NewBuffer(c.text()), nil }
func (c *counter) Restore(r io.Reader) error                     { _, err := fmt.Fscan(r, &c.n); return err }
func (c *counter) text() []byte                                  { return strconv.AppendInt(nil, int64(c.n), 10) }

// newSystem returns an actor system that does not log what is printed here anyway.
func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

// discard throws the disks away, however the program ends.
var discard = func() {}

func check(err error) {
	if err != nil {
		discard()
		log.Fatal(err)
	}
}
