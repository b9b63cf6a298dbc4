package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// foundSnapshot is a snapshot of a group.
type foundSnapshot struct {
	group string
	snapshots.Found
}

// inspectSnapshots reads the snapshots of all groups, and adds to the damage of the store
// what is wrong with them.
func (v *invocation) inspectSnapshots(in *badgerstore.Inspection) (all []foundSnapshot, err error) {
	defer v.clear()
	under, _ := badgerstore.Options{Dir: in.Dir}.Snapshots()
	for _, g := range in.Groups {
		if !g.Known || g.Tombstone != nil {
			continue
		}
		dir := filepath.Join(under, snapshots.Folder(g.Name))
		found, err := snapshots.Inspect(dir, v.progress)
		if err != nil {
			return nil, err
		}
		harm := func(err error) {
			in.Damage = append(in.Damage, badgerstore.Damage{CorruptError: *corruptOf(err, dir, g.Name)})
		}
		there := g.Log.Snapshot.Last.Index == 0
		for _, f := range found {
			all = append(all, foundSnapshot{g.Name, f})
			// Who has the store open may have taken a newer one since it was read.
			there = there || f.Meta.Last == g.Log.Snapshot.Last || in.InUse && f.Meta.Last.Index > g.Log.Snapshot.Last.Index
			if f.Damage != nil {
				harm(f.Damage)
			}
		}
		if !there {
			harm(fmt.Errorf("the snapshot of entry %d is not there, and the log begins behind entry %d", g.Log.Snapshot.Last.Index, g.Log.Base.Index))
		}
	}
	return all, nil
}

// corruptOf is what is wrong with a snapshot of a group.
func corruptOf(err error, file, group string) *persistence.CorruptError {
	c, is := err.(*persistence.CorruptError)
	if !is {
		return &persistence.CorruptError{File: file, Detail: err.Error(), Concerns: []persistence.EntryRange{{Group: group}}}
	}
	of := *c
	of.Concerns = []persistence.EntryRange{{Group: group}}
	return &of
}

// snapshotFileFacts is a file with a snapshot.
type snapshotFileFacts struct {
	Group string         `json:"group"`
	File  string         `json:"file"`
	Size  int64          `json:"size"`
	Index raftcore.Index `json:"index"`
	Term  raftcore.Term  `json:"term"`
	Good  bool           `json:"good"`
}

func snapshotFilesOf(found []foundSnapshot) []snapshotFileFacts {
	out := []snapshotFileFacts{}
	for _, f := range found {
		name, _ := nameOf(f.group)
		out = append(out, snapshotFileFacts{name, f.File, f.Size, f.Meta.Last.Index, f.Meta.Last.Term, f.Damage == nil})
	}
	return out
}

func snapshotsText(w io.Writer, files []snapshotFileFacts) {
	if len(files) == 0 {
		return
	}
	fmt.Fprintln(w, "\nsnapshots")
	table(w, func(w io.Writer) {
		for _, s := range files {
			fmt.Fprintf(w, "  %s\t%q\t%s\tof entry %d, term %d\n", verdict(s.Good), s.Group, bytesText(s.Size), s.Index, s.Term)
		}
	})
}
