package snapshots_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// A snapshot is taken, sent to another member, and read there.
func Example() {
	root, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	leader, err := snapshots.Open(filepath.Join(root, "leader"), snapshots.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer leader.Close()
	follower, err := snapshots.Open(filepath.Join(root, "follower"), snapshots.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer follower.Close()

	w, err := leader.Create(7, raftcore.SnapshotMeta{
		Last: raftcore.EntryID{Term: 2, Index: 1000},
		Conf: raftcore.ConfigAt{Index: 1, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Abort() // nothing after Commit
	fmt.Fprint(w, "the state")
	info, err := w.Commit()
	if err != nil {
		log.Fatal(err)
	}

	out, err := leader.Send(info.ID)
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	in, err := follower.Receive(out.Info())
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	for buf := make([]byte, 256<<10); in.Offset() < info.Size; {
		chunk, err := out.Chunk(in.Offset(), buf)
		if err != nil {
			log.Fatal(err)
		}
		if err := in.Write(chunk); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := in.Commit(); err != nil {
		log.Fatal(err)
	}

	r, err := follower.Read(info.ID)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	state, err := io.ReadAll(r)
	fmt.Printf("%s of %v, %v\n", state, r.Info().Meta.Last, err)
	// Output: the state of 2/1000, <nil>
}
