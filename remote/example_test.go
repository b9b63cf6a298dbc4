//go:build !race

// Not with the race detector: the second protoactor remote of a process races with what uses
// gRPC's logger.

package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

// counter counts.
type counter struct{ n int }

func (c *counter) Apply(actors.Entry) []byte {
	c.n++
	return strconv.AppendInt(nil, int64(c.n), 10)
}

func (c *counter) Query(context.Context, []byte) ([]byte, error) {
	return strconv.AppendInt(nil, int64(c.n), 10), nil
}

func (c *counter) Snapshot() (io.WriterTo, error) {
	return bytes.NewBufferString(strconv.Itoa(c.n)), nil
}

func (c *counter) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &c.n)
	return err
}

// Three hosts in one process, each on a port that was free. Who listens where is known when
// all of them have started: then they are told.
func ExampleTransport_Address() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hosts, peers := map[raftcore.NodeID]*actors.Host{}, map[raftcore.NodeID]string{}
	for id := raftcore.NodeID(1); id <= 3; id++ {
		transport := remote.New(remote.Config{Listen: "127.0.0.1:0"})
		host, err := actors.Start(actor.NewActorSystem(), actors.HostConfig{ID: id, Store: persistence.Memory(), Transport: transport})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer host.Stop(ctx)
		hosts[id], peers[id] = host, transport.Address()
	}
	groups := map[raftcore.NodeID]*actors.Group{}
	for id, host := range hosts {
		err := host.SetPeers(ctx, peers)
		if err == nil {
			groups[id], err = host.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }})
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	answer, err := groups[1].Propose(ctx, []byte("+1"))
	fmt.Println(string(answer), err)
	answer, err = groups[3].Read(ctx, nil)
	fmt.Println(string(answer), err)
	// Output:
	// 1 <nil>
	// 1 <nil>
}

// A client asks a group whose members are in other processes. Here there is one member, in
// this process, to have the example run.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	transport := remote.New(remote.Config{Listen: "127.0.0.1:0", MaxClients: 100})
	host, err := actors.Start(actor.NewActorSystem(), actors.HostConfig{ID: 1, Store: persistence.Memory(), Transport: transport})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer host.Stop(ctx)
	if _, err := host.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }}); err != nil {
		fmt.Println(err)
		return
	}

	// What follows may be in any process. One seed is enough.
	hosts, err := remote.Dial(remote.ClientConfig{Seeds: []string{transport.Address()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer hosts.Close()
	group := hosts.Group("counter")
	session, err := group.OpenSession(ctx, 0) // so that each increment counts once, whatever fails
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		answer, err := session.Propose(ctx, []byte("+1"))
		fmt.Println(string(answer), err)
	}
	answer, err := group.Read(ctx, nil)
	fmt.Println(string(answer), err)
	fmt.Println(session.Close(ctx))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 2 <nil>
	// <nil>
}
