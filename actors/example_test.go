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
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
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

// Hosts 1 and 2 have the data, and host 3 is a witness. One that has the data dies, the one
// that leads at that: the other takes over, with the witness's vote.
func ExampleGroupConfig_witness() {
	ctx := context.Background()
	network := rafttest.NewNetwork(1) // in the place of package remote: all three are in this process
	peers := map[raftcore.NodeID]string{1: "one", 2: "two", 3: "three"}
	hosts, groups := map[raftcore.NodeID]*actors.Host{}, map[raftcore.NodeID]*actors.Group{}
	for id, address := range peers {
		host, err := actors.Start(newSystem(), actors.HostConfig{ID: id, Store: persistence.Memory(), Transport: network.Transport(address), Peers: peers})
		if err != nil {
			panic(err)
		}
		defer host.Stop(ctx)
		cfg := actors.GroupConfig{Name: "counter", Witnesses: []raftcore.NodeID{3}}
		if cfg.Witness = id == 3; !cfg.Witness {
			cfg.Machine = func() actors.StateMachine { return &counting{} }
		}
		group, err := host.Open(ctx, cfg)
		if err != nil {
			panic(err)
		}
		hosts[id], groups[id] = host, group
	}
	answer, err := groups[3].Propose(ctx, []byte("+1")) // passed on to who leads
	fmt.Println(string(answer), err)

	var leader raftcore.NodeID
	for _, group := range groups {
		for s := range group.Watch(ctx) {
			if leader = s.Leader; s.Joined && leader != raftcore.Nobody {
				break // it counts: a leader has seen to it that its fresh disk is not a lost one
			}
		}
	}
	hosts[leader].Stop(ctx)
	other := groups[3-leader]
	answer, err = other.Propose(ctx, []byte("+1"))
	fmt.Println(string(answer), err)
	answer, err = other.Read(ctx, nil)
	fmt.Println(string(answer), err)
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 2 <nil>
}
