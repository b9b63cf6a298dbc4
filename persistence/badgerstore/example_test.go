package badgerstore_test

import (
	"fmt"
	"log"
	"os"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// Mostly a store is given to a host: actors.HostConfig{Store: badgerstore.Dir("data")}. Here
// something is saved without one, and found again by who looks into the directory of a
// store that nobody has open.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := badgerstore.Dir(dir).Open()
	if err != nil {
		log.Fatal(err)
	}
	group, err := store.Open("accounts")
	if err != nil {
		log.Fatal(err)
	}
	err = store.Save([]persistence.Save{{Group: group.Group, Save: raftcore.Save{
		Token:     raftcore.Token{Boot: group.Boot, Sequence: 1},
		HardState: raftcore.HardState{Term: 1, Vote: 2, Cluster: 7},
		Entries: []raftcore.Entry{
			{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryConfig, Config: &raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}},
		},
	}}}) // durable from here on
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}

	found, err := badgerstore.Inspect(dir, badgerstore.InspectOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer found.Close()
	for _, g := range found.Groups {
		fmt.Println(g.Name, "has voted for", g.Log.HardState.Vote, "and its log ends at", g.Log.Last)
	}
	fmt.Println("damaged places:", len(found.Damage))
	// Output:
	// accounts has voted for 2 and its log ends at 1
	// damaged places: 0
}
