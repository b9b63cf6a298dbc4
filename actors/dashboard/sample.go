package dashboard

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// sampleTimeout bounds how long all nodes together are waited for.
const sampleTimeout = time.Second

// sample is how everything is at a moment.
type sample struct {
	at      time.Time
	hosts   []*actors.Host
	opening map[raftcore.NodeID]read
	groups  map[string][]seen // by name; the members in the order of the hosts
}

// seen is a member, as it says of itself.
type seen struct {
	host  *actors.Host
	group *actors.Group
	now   raftcore.Instant // by its host's clock
	mute  bool             // it did not answer in time: what is known is older
	actors.Status
}

// lookers is how many members are asked at a time: one that does not answer is not to make
// the others seem mute.
const lookers = 16

// look asks all members how they are.
func look(ctx context.Context, cfg *Config) *sample {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	opening := cfg.Opening.now() // before the hosts are asked for: who is done meanwhile is not missed
	hosts := cfg.Hosts()
	s := &sample{at: time.Now(), hosts: hosts, opening: opening, groups: map[string][]seen{}}
	var found []seen
	for _, h := range hosts {
		for _, g := range h.Groups() {
			found = append(found, seen{host: h, group: g})
		}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(lookers, len(found)) {
		all.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(found); i = next.Add(1) - 1 {
				m := &found[i]
				status, err := m.group.Status(ctx)
				m.Status, m.mute, m.now = status, err != nil, m.host.Now()
			}
		})
	}
	all.Wait()
	for _, m := range found {
		s.groups[m.Group] = append(s.groups[m.Group], m)
	}
	return s
}

func (s *sample) names() []string { return slices.Sorted(maps.Keys(s.groups)) }

// since returns for how long something has been, by the host's clock.
func (m *seen) since(at raftcore.Instant) time.Duration {
	if at == 0 {
		return 0
	}
	return max(m.now.Sub(at), 0)
}

// runs reports whether what the node says counts.
func (m *seen) runs() bool { return m.State == actors.Running && !m.mute }

func (m *seen) leads() bool { return m.runs() && m.Role == raftcore.Leader }

// full reports whether the disk is. It passes by itself when there is room.
func (m *seen) full() bool { return m.runs() && errors.Is(m.Fault, persistence.ErrDiskFull) }

func (m *seen) quarantined() bool { return errors.Is(m.Fault, actors.ErrQuarantined) }

// leader returns the member here that leads, if one does: of two, that of the later term.
func leader(members []seen) *seen {
	var best *seen
	for i := range members {
		if m := &members[i]; m.leads() && (best == nil || m.Term > best.Term) {
			best = m
		}
	}
	return best
}

// authority returns the member that knows best who the members are.
func authority(members []seen) *seen {
	if l := leader(members); l != nil {
		return l
	}
	best := &members[0]
	for i := range members[1:] {
		if m := &members[i+1]; m.Term > best.Term || m.Term == best.Term && m.ConfIndex > best.ConfIndex {
			best = m
		}
	}
	return best
}

// faultClass is the word for a fault.
func faultClass(err error) string {
	for _, c := range []struct {
		err  error
		word string
	}{
		{persistence.ErrDiskFull, "disk full"}, {actors.ErrQuarantined, "quarantined"}, {actors.ErrMachineFault, "machine"},
		{actors.ErrStorageFault, "storage"}, {actors.ErrInvariantFault, "invariant"},
	} {
		if errors.Is(err, c.err) {
			return c.word
		}
	}
	if err != nil {
		return "other"
	}
	return ""
}
