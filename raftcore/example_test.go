package raftcore_test

import (
	"fmt"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// A node of a group of one elects itself, and commits. Its disk is a slice, its network
// nobody, and its clock a loop.
func Example() {
	node, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1}, raftcore.Recovered{})
	if err != nil {
		panic(err)
	}
	node.Step(raftcore.Bootstrap{Cluster: 7, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}})

	var disk []raftcore.Entry
	var out raftcore.Output
	now := raftcore.Instant(1)
	for proposed, applied := false, false; !applied; now = now.Add(100 * time.Millisecond) {
		node.Step(raftcore.Tick{Now: now})
		if node.Leader() == 1 && !proposed {
			node.Step(raftcore.Propose{Data: []byte("x = 1")})
			proposed = true
		}
		node.Drain(&out)
		if out.Save.Token.Sequence != 0 {
			disk = append(disk, out.Save.Entries...)
			node.Step(raftcore.Saved{Token: out.Save.Token})
		}
		for _, e := range out.Apply.Entries {
			fmt.Println("apply", e)
			node.Step(raftcore.Applied{Index: e.Index})
			applied = e.Kind == raftcore.EntryCommand
		}
	}
	fmt.Println(len(disk), "entries on the disk")
	fmt.Println(node.Status().Role, "is node", node.Leader())
	// Output:
	// apply 1/1 config voters=[1]
	// apply 2/2 noop
	// apply 2/3 "x = 1"
	// 3 entries on the disk
	// leader is node 1
}
