package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
)

// counting counts its commands.
type counting struct{ n int }

func (c *counting) Apply(actors.Entry) []byte {
	c.n++
	return fmt.Append(nil, c.n)
}

func (c *counting) Query(context.Context, []byte) ([]byte, error) { return fmt.Append(nil, c.n), nil }
func (c *counting) Snapshot() (io.WriterTo, error)                { return strings.NewReader(fmt.Sprint(c.n)), nil }

func (c *counting) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &c.n)
	return err
}

// A member is a child of an actor of the application, which restarts it up to five times
// an hour, unless it is the disk that has failed.
func ExampleHost_Props() {
	system := newSystem()
	host, err := actors.Start(system, actors.HostConfig{ID: 1, Store: persistence.Memory()})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer host.Stop(ctx)

	group, props, err := host.Props(actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counting{} }})
	if err != nil {
		panic(err)
	}
	decide := func(reason any) actor.Directive {
		if err, is := reason.(error); is && errors.Is(err, actors.ErrStorageFault) {
			return actor.StopDirective
		}
		return actor.RestartDirective
	}
	spawned := make(chan struct{})
	system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, started := ctx.Message().(*actor.Started); started {
			ctx.Spawn(props)
			close(spawned)
		}
	}, actor.WithSupervisor(actor.NewOneForOneStrategy(5, time.Hour, decide))))
	<-spawned

	answer, err := group.Propose(ctx, []byte("+1"))
	fmt.Println(string(answer), err)
	// Output: 1 <nil>
}
