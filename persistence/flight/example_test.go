package flight_test

import (
	"fmt"
	"log"

	"github.com/castaway-go/castaway/persistence/flight"
	"github.com/castaway-go/castaway/raftcore"
)

// A node is told of a Save that never was. What it was told before is played back, also from
// a file, and ends in the same fault.
func Example() {
	node, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1}, raftcore.Recovered{})
	if err != nil {
		log.Fatal(err)
	}
	recorder := flight.Record(node, flight.NewBounds(1<<20))
	node.Step(raftcore.Bootstrap{Cluster: 7, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}})
	fault := func() (reason any) {
		defer func() { reason = recover() }()
		node.Step(raftcore.Saved{Token: raftcore.Token{Boot: 1, Sequence: 99}})
		return nil
	}()

	file := recorder.Story(fmt.Sprint(fault)).Encode()
	story, err := flight.Parse(file)
	if err != nil {
		log.Fatal(err)
	}
	steps := 0
	replayed := story.Replay(func(string) { steps++ })
	fmt.Println("it happens again:", story.Same(replayed), "and there is more to read:", steps > 0)
	// Output: it happens again: true and there is more to read: true
}
