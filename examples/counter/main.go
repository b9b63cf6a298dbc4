// Command counter is the smallest replicated state machine: a number that
// survives. Run it twice.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
)

// counter is the state machine. Every member of its group applies the same
// commands in the same order, and so arrives at the same number.
type counter struct{ n int }

func (c *counter) Apply(e actors.Entry) []byte {
	step, _ := strconv.Atoi(string(e.Data))
	c.n += step
	return c.text()
}

func (c *counter) Query(context.Context, []byte) ([]byte, error) { return c.text(), nil }
func (c *counter) Snapshot() (io.WriterTo, error)                { return bytes.NewBuffer(c.text()), nil }
func (c *counter) Restore(r io.Reader) error                     { _, err := fmt.Fscan(r, &c.n); return err }
func (c *counter) text() []byte                                  { return strconv.AppendInt(nil, int64(c.n), 10) }

func main() {
	ctx, dir := context.Background(), flag.String("dir", "castaway-data-counter", "where the log is kept")
	flag.Parse()
	slog.SetLogLoggerLevel(slog.LevelWarn) // what goes wrong, and nothing else
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.Default() }
	host, err := actors.Start(actor.NewActorSystem(actor.WithLoggerFactory(quiet)), actors.HostConfig{ID: 1, Store: badgerstore.Dir(*dir)})
	check(err)
	defer host.Stop(ctx)
	group, err := host.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }})
	check(err)
	now, err := group.Read(ctx, nil) // sees everything that was ever acknowledged
	check(err)
	fmt.Printf("The counter stands at %s.\n", now)
	for _, step := range []string{"+1", "+2", "+3"} {
		now, err = group.Propose(ctx, []byte(step)) // when it returns, it is on the disk
		check(err)
		fmt.Printf("%s makes %s.\n", step, now)
	}
	fmt.Printf("The log is in %s. Run this again, and it goes on.\n", *dir)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
