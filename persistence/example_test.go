package persistence_test

import (
	"fmt"
	"log"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// Whoever writes a Store, or a tool that works on one, uses it as a host's log does: what is
// saved is there again when the group is opened the next time.
func Example() {
	store, err := persistence.Memory().Open()
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	group, err := store.Open("accounts")
	if err != nil {
		log.Fatal(err)
	}
	err = store.Save([]persistence.Save{{Group: group.Group, Save: raftcore.Save{
		Token:     raftcore.Token{Boot: group.Boot, Sequence: 1},
		HardState: raftcore.HardState{Term: 1, Vote: 2, Cluster: 7},
		Entries: []raftcore.Entry{
			{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}},
			{EntryID: raftcore.EntryID{Term: 1, Index: 2}, Kind: raftcore.EntryCommand, Data: []byte("+1")},
		},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	entries, err := store.Load(group.Group, raftcore.Load{From: 2, To: 2, MaxBytes: 1 << 10})
	fmt.Println(entries, err)

	if err := store.CloseGroup(group.Group); err != nil {
		log.Fatal(err)
	}
	again, err := store.Open("accounts")
	fmt.Println(again.Recovered.HardState.Vote, again.Recovered.Last, again.Boot != group.Boot, err)
	// Output:
	// [1/2 "+1"] <nil>
	// 2 2 true <nil>
}
