package dashboard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// What takes longer is worth a word. The core has its own limits: these are only for
// people.
const (
	slowSave = 500 * time.Millisecond // of a Save
	noWord   = 3 * time.Second        // without hearing of a member
)

// trouble is something that an operator should know, in words.
type trouble struct {
	Bad  bool   `json:"bad"` // else it may pass by itself
	Text string `json:"text"`
}

// troubles are what is wrong with a group, the worst first.
func troubles(members []seen) (all []trouble) {
	bad := func(format string, args ...any) { all = append(all, trouble{true, fmt.Sprintf(format, args...)}) }
	warn := func(format string, args ...any) { all = append(all, trouble{false, fmt.Sprintf(format, args...)}) }
	knows := false // somebody here knows of a leader, or says why it cannot
	for i := range members {
		m := &members[i]
		knows = knows || m.runs() && m.Leader != raftcore.Nobody
		memberTroubles(m, bad, warn)
	}
	if l := leader(members); l != nil {
		peerTroubles(l, bad, warn)
	} else if !knows && slices.ContainsFunc(members, func(m seen) bool { return m.runs() && !m.Removed() }) {
		bad("no leader is known here: nothing is written, and no read is answered but local ones")
	}
	slices.SortStableFunc(all, func(a, b trouble) int {
		switch {
		case a.Bad == b.Bad:
			return 0
		case a.Bad:
			return -1
		}
		return 1
	})
	return all
}

type teller func(format string, args ...any)

// memberTroubles are what is wrong with a member of this process.
func memberTroubles(m *seen, bad, warn teller) {
	id := m.host.ID()
	switch {
	case m.State == actors.Faulted:
		bad("member %d is out of service: %v", id, m.Fault)
	case m.State == actors.Pausing:
		warn("member %d has failed, and starts again from its disk: %v", id, m.Fault)
	case m.State == actors.Recovering && m.Fault != nil:
		warn("member %d reads its disk after a failure: %v", id, m.Fault)
	case m.State == actors.Recovering:
		warn("member %d reads its disk", id)
	case m.mute:
		bad("member %d does not answer", id)
	case m.full():
		bad("member %d: the disk is full; it reads, and takes no writes, until there is room", id)
	case m.quarantined():
		bad("member %d applies nothing any more: %v", id, m.Fault)
	case m.Fault != nil:
		warn("member %d: %v", id, m.Fault)
	}
	if !m.runs() {
		return
	}
	if stall := m.since(m.SavingSince); m.Stalled {
		bad("member %d: the disk has not saved anything for %v; the member takes no proposals, and does not stand for election", id, round(stall))
	} else if stall > slowSave {
		warn("member %d: the disk takes %v, so far, to save", id, round(stall))
	}
	if len(m.Silent) > 0 {
		bad("member %d asks for votes, and hears nothing from %s", id, list(m.Silent))
	}
	if m.Removed() {
		warn("member %d is no member any more: its data can be removed from the host", id)
	} else if !m.Joined && m.Leader == raftcore.Nobody {
		warn("member %d is new, and waits for a leader that adds or admits it", id)
	}
}

// peerTroubles are what a leader sees of the others.
func peerTroubles(l *seen, bad, warn teller) {
	if l.HandingTo != raftcore.Nobody {
		warn("the leadership is being handed over to member %d: proposals wait", l.HandingTo)
	}
	if l.Conf.Joint() {
		warn("the voters are being changed, from %s to %s", list(l.Conf.Outgoing), list(l.Conf.Voters))
	}
	if l.WitnessesNeeded {
		warn("a voter with data does not keep up, and witnesses stand in: there may be one copy less of the newest entries")
	}
	gone := 0
	for _, p := range l.Peers {
		if l.Quiescent || p.CaughtUp || l.since(p.Heard) < noWord {
			continue
		}
		if l.Conf.Votes(p.ID) {
			gone++
		}
		warn("the leader has heard nothing from member %d for %v", p.ID, round(l.since(p.Heard)))
	}
	if spare := (len(l.Conf.Voters) - 1) / 2; gone > 0 && gone >= spare {
		bad("silent voters: %d of %d; with one more nothing can be written", gone, len(l.Conf.Voters))
	}
	for _, id := range l.Tombstones {
		bad("member %d was removed from its host, and still counts: change the members", id)
	}
}

// list is "1, 2 and 3".
func list(ids []raftcore.NodeID) string {
	var b strings.Builder
	for i, id := range ids {
		switch {
		case i > 0 && i == len(ids)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		fmt.Fprint(&b, id)
	}
	return b.String()
}

// round is for people.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
