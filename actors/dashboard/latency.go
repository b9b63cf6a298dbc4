package dashboard

import (
	"fmt"
	"slices"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// latencyView is how long the proposals took that were applied since the last view: from
// their place in the leader's log on, on the leader's host. What a caller waits beside that,
// in queues and on the network, is not in it. Durations are in milliseconds.
type latencyView struct {
	N         int     `json:"n"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	Saved     float64 `json:"saved"`     // median from the queue to the leader's disk
	Committed float64 `json:"committed"` // median from the queue to a quorum's disks
}

// eventView is a line in the list of events; or a gap in it, of kind "missed", or of "more"
// about proposals that go well.
type eventView struct {
	At   int64           `json:"at"` // Unix milliseconds
	Host raftcore.NodeID `json:"host"`
	Kind string          `json:"kind"`
	Text string          `json:"text"`
	N    uint64          `json:"n,omitempty"` // events that the gap stands for
}

// journey is a proposal on its way.
type journey struct{ queued, saved, committed time.Time }

// took is what is kept of one that has arrived.
type took struct{ saved, committed, applied time.Duration }

// The bounds of what is kept between two views.
const (
	maxJourneys  = 8192
	maxTook      = 8192
	maxNews      = 48 // lines about leaders, states, what was abandoned
	maxProposals = 16 // lines about proposals that go well
)

// ear hears what happens in a group, on all hosts. Its methods are called with the lock of
// its feed.
type ear struct {
	journeys map[earKey]journey
	took     []took
	lines    []eventView
	news     int
	routine  int
	missed   uint64 // events of any kind that have no line, since the last line
	more     uint64 // events about proposals that go well, the same
}

type earKey struct {
	host  raftcore.NodeID
	entry raftcore.EntryID
}

func (e *ear) hear(host raftcore.NodeID, event actors.Event) {
	key := earKey{host, event.Entry}
	j, known := e.journeys[key]
	switch event.Kind {
	case actors.EventMissed:
		clear(e.journeys) // some of them have arrived, and nobody knows when
		e.missed += event.Missed
		return
	case actors.EventLeader, actors.EventAbandoned:
		delete(e.journeys, key)
		e.line(host, event.At, event.Kind.String(), text(event))
		return
	case actors.EventQueued:
		if len(e.journeys) < maxJourneys {
			e.journeys[key] = journey{queued: event.At}
		}
	case actors.EventSaved:
		if known {
			j.saved = event.At
			e.journeys[key] = j
		}
	case actors.EventCommitted:
		if known {
			j.committed = event.At
			e.journeys[key] = j
		}
	case actors.EventApplied:
		delete(e.journeys, key)
		if known && len(e.took) < maxTook {
			e.took = append(e.took, j.end(event.At))
		}
	}
	if e.routine++; e.routine > maxProposals {
		e.more++
		return
	}
	e.add(eventView{At: event.At.UnixMilli(), Host: host, Kind: event.Kind.String(), Text: text(event)})
}

// end returns what a journey took. A leader may hear of the quorum before its own disk has
// answered: then that was not waited for.
func (j journey) end(applied time.Time) took {
	t := took{applied: applied.Sub(j.queued)}
	t.saved, t.committed = t.applied, t.applied
	if !j.committed.IsZero() {
		t.committed = j.committed.Sub(j.queued)
	}
	if !j.saved.IsZero() {
		t.saved = j.saved.Sub(j.queued)
	}
	return t
}

func text(e actors.Event) string {
	switch e.Kind {
	case actors.EventLeader:
		if e.Leader == raftcore.Nobody {
			return fmt.Sprintf("no leader, term %d", e.Entry.Term)
		}
		return fmt.Sprintf("member %d leads, term %d", e.Leader, e.Entry.Term)
	case actors.EventAbandoned:
		return fmt.Sprintf("entry %d, term %d: %v", e.Entry.Index, e.Entry.Term, e.Err)
	}
	return fmt.Sprintf("entry %d, term %d", e.Entry.Index, e.Entry.Term)
}

// line adds a line about something that is rare, while there is room; or counts it.
func (e *ear) line(host raftcore.NodeID, at time.Time, kind, text string) {
	if e.news++; e.news > maxNews {
		e.missed++
		return
	}
	e.add(eventView{At: at.UnixMilli(), Host: host, Kind: kind, Text: text})
}

func (e *ear) add(line eventView) {
	e.gap()
	e.lines = append(e.lines, line)
}

// gap says how many events have no line here.
func (e *ear) gap() {
	if e.more > 0 {
		e.lines = append(e.lines, eventView{Kind: "more", N: e.more})
	}
	if e.missed > 0 {
		e.lines = append(e.lines, eventView{Kind: "missed", N: e.missed})
	}
	e.more, e.missed = 0, 0
}

// take returns what was heard since the last time.
func (e *ear) take() (*latencyView, []eventView) {
	e.gap()
	latency, lines := summary(e.took), e.lines
	e.took, e.lines, e.news, e.routine = e.took[:0], nil, 0, 0
	return latency, lines
}

func summary(all []took) *latencyView {
	if len(all) == 0 {
		return nil
	}
	of := func(part func(took) time.Duration, share float64) float64 {
		sorted := make([]time.Duration, len(all))
		for i, t := range all {
			sorted[i] = part(t)
		}
		slices.Sort(sorted)
		return float64(sorted[int(share*float64(len(sorted)-1))].Microseconds()) / 1000
	}
	applied := func(t took) time.Duration { return t.applied }
	return &latencyView{
		N: len(all), P50: of(applied, 0.5), P99: of(applied, 0.99), Max: of(applied, 1),
		Saved:     of(func(t took) time.Duration { return t.saved }, 0.5),
		Committed: of(func(t took) time.Duration { return t.committed }, 0.5),
	}
}
