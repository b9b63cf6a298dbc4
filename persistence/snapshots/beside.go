package snapshots

import "github.com/castaway-go/castaway/persistence"

// Beside returns a Store with a place for snapshots, for hosts: under dir, a folder
// for each group. badgerstore has one of its own.
func Beside(store persistence.Opener, dir string, o Options) persistence.Opener {
	return beside{store, dir, o}
}

type beside struct {
	persistence.Opener
	dir string
	o   Options
}

// Snapshots says where the snapshots are kept.
func (b beside) Snapshots() (dir string, o Options) { return b.dir, b.o }
