package dashboard

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// Opening is how far hosts are that read their disks, which is what actors.Start waits for: there
// is no Host then that could be asked. A zero Opening is ready to use.
//
//	var opening dashboard.Opening
//	handler, err := dashboard.New(dashboard.Config{Opening: &opening, …}) // and have it served
//	store := badgerstore.Options{Dir: "data", Opening: opening.Host(1)}
//	host, err := actors.Start(system, actors.HostConfig{ID: 1, Store: store, …})
type Opening struct {
	mu    sync.Mutex
	hosts map[raftcore.NodeID]read
}

// read is how many bytes of its journal a host has read, of all that there are.
type read struct{ done, total int64 }

// Host returns what the store of a host tells how far it is: badgerstore.Options.Opening.
func (o *Opening) Host(id raftcore.NodeID) func(done, total int64) {
	return func(done, total int64) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if done >= total {
			delete(o.hosts, id)
			return
		}
		if o.hosts == nil {
			o.hosts = map[raftcore.NodeID]read{}
		}
		o.hosts[id] = read{done, total}
	}
}

// now returns the hosts that are at it.
func (o *Opening) now() map[raftcore.NodeID]read {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.hosts)
}

// starting returns the hosts that are at it, as far as is known: who has failed with it says
// nothing more, but what has become of its members is known.
func (s *sample) starting() (ids []raftcore.NodeID) {
	for id := range s.opening {
		ended := false
		for _, members := range s.groups {
			ended = ended || slices.ContainsFunc(members, func(m seen) bool {
				return m.host.ID() == id && m.State != actors.Recovering && m.State != actors.Pausing
			})
		}
		if !ended {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// openings is how far they are, for the page.
func (s *sample) openings(all paces) (views []workView) {
	for _, id := range s.starting() {
		r := s.opening[id]
		rate := all.move(fmt.Sprint("opening ", id), s.at, float64(r.done)).perSecond()
		v := workView{Stage: "opening", Peer: id, Done: r.done, Size: r.total, Rate: rate}
		if rate != nil {
			v.Left = left(float64(r.total-r.done), *rate)
		}
		views = append(views, v)
	}
	return views
}

// unready says of the hosts that are at it why nothing of theirs can be answered.
func (s *sample) unready() (why []string) {
	for _, id := range s.starting() {
		r := s.opening[id]
		why = append(why, fmt.Sprintf("host %d reads its disk: %d %%", id, 100*r.done/r.total))
	}
	return why
}
