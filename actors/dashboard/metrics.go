package dashboard

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/castaway-go/castaway/actors"
)

// The metrics are how the members are at the moment of asking, which costs nothing in
// between. Durations of proposals, reads and syncs, and what was refused, a host measures
// for OpenTelemetry: see actors.Telemetry. The labels are node, the host's ID; group;
// and peer, the ID of another host.

// family is a metric, and its samples.
type family struct {
	name, kind, help string
	lines            bytes.Buffer
}

// add adds a sample; labels are names and values in turn.
func (f *family) add(value float64, labels ...string) {
	f.lines.WriteString(f.name)
	for i := 0; i < len(labels); i += 2 {
		f.lines.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&f.lines, `%s="%s"`, labels[i], labelEscape.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		f.lines.WriteByte('}')
	}
	fmt.Fprintf(&f.lines, " %s\n", strconv.FormatFloat(value, 'g', -1, 64))
}

var labelEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// exposition is all metrics, in order.
type exposition struct{ families []*family }

func (e *exposition) gauge(name, help string) *family { return e.family(name, "gauge", help) }

func (e *exposition) family(name, kind, help string) *family {
	f := &family{name: name, kind: kind, help: help}
	e.families = append(e.families, f)
	return f
}

func (e *exposition) bytes() []byte {
	var b bytes.Buffer
	for _, f := range e.families {
		if f.lines.Len() > 0 {
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
			b.Write(f.lines.Bytes())
		}
	}
	return b.Bytes()
}

func (h *hub) serveMetrics(w http.ResponseWriter, r *http.Request) {
	s := look(r.Context(), &h.cfg)
	e := &exposition{}
	s.hostMetrics(e)
	if r.FormValue("groups") != "none" {
		s.groupMetrics(e)
		s.peerMetrics(e)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(e.bytes())
}

// hostMetrics are a few for each host, however many groups it has.
func (s *sample) hostMetrics(e *exposition) {
	groups := e.gauge("castaway_groups", "Open groups, by the state of the host's member.")
	leads := e.gauge("castaway_leaders", "Groups that the host leads.")
	leaderless := e.gauge("castaway_leaderless_groups", "Groups in which the host's member runs and knows of no leader.")
	stall := e.gauge("castaway_disk_stall_seconds", "For how long the disk has had the oldest write that is not durable yet.")
	full := e.gauge("castaway_disk_full", "1 if the disk has no room for a group's log.")
	for _, h := range s.hosts {
		node := nodeLabel(h)
		states := map[actors.MemberState]int{}
		leading, lost, slowest, noRoom := 0, 0, 0.0, false
		for _, members := range s.groups {
			for i := range members {
				m := &members[i]
				if m.host != h {
					continue
				}
				states[m.State]++
				switch {
				case m.leads():
					leading++
				case m.runs() && m.Leader == 0:
					lost++
				}
				if m.runs() {
					slowest = max(slowest, m.since(m.SavingSince).Seconds())
				}
				noRoom = noRoom || m.full()
			}
		}
		for state := actors.Recovering; state <= actors.Stopped; state++ {
			groups.add(float64(states[state]), "node", node, "state", state.String())
		}
		leads.add(float64(leading), "node", node)
		leaderless.add(float64(lost), "node", node)
		stall.add(slowest, "node", node)
		full.add(flag(noRoom), "node", node)
	}
}

// groupMetrics are of each member of the hosts.
func (s *sample) groupMetrics(e *exposition) {
	all := []struct {
		*family
		value func(m *seen) float64
	}{
		{e.gauge("castaway_up", "1 if the member runs and answers."), func(m *seen) float64 { return flag(m.runs()) }},
		{e.gauge("castaway_leader", "1 if the member leads the group."), func(m *seen) float64 { return flag(m.leads()) }},
		{e.gauge("castaway_leader_known", "1 if the member knows of a leader."), func(m *seen) float64 { return flag(m.runs() && m.Leader != 0) }},
		{e.gauge("castaway_quarantined", "1 if the state machine applies nothing any more."), func(m *seen) float64 { return flag(m.quarantined()) }},
		{e.gauge("castaway_term", "The member's term."), func(m *seen) float64 { return float64(m.Term) }},
		{e.gauge("castaway_first_index", "The first entry in the member's log."), func(m *seen) float64 { return float64(m.First) }},
		{e.gauge("castaway_applied_index", "The last entry that the state machine has applied."), func(m *seen) float64 { return float64(m.Applied) }},
		{e.gauge("castaway_commit_index", "The last entry that is known to be committed; it never goes back while the member runs."), func(m *seen) float64 { return float64(m.Commit) }},
		{e.gauge("castaway_saved_index", "The last entry that is durable in the member's log."), func(m *seen) float64 { return float64(m.Saved) }},
		{e.gauge("castaway_last_index", "The last entry in the member's log."), func(m *seen) float64 { return float64(m.Last) }},
		{e.gauge("castaway_voters", "How many voters the group has."), func(m *seen) float64 { return float64(len(m.Conf.Voters)) }},
		{e.family("castaway_refused_messages_total", "counter", "Messages that were not for this member, forged, or garbage; since it started anew."), func(m *seen) float64 { return float64(m.Refused) }},
	}
	fault := e.gauge("castaway_fault", "1 for the class of the member's fault, if it has one.")
	done := e.gauge("castaway_snapshot_done_bytes", "How much of a snapshot that is under way is done.")
	size := e.gauge("castaway_snapshot_size_bytes", "How large a snapshot that is under way is, where that is known.")
	for _, name := range s.names() {
		for i := range s.groups[name] {
			m := &s.groups[name][i]
			node := nodeLabel(m.host)
			for _, f := range all {
				f.add(f.value(m), "node", node, "group", name)
			}
			if m.Fault != nil {
				fault.add(1, "node", node, "group", name, "class", faultClass(m.Fault))
			}
			for _, p := range m.Snapshots {
				labels := []string{"node", node, "group", name, "stage", p.Stage.String(), "peer", fmt.Sprint(p.Peer), "index", fmt.Sprint(p.Index)}
				if done.add(float64(p.Done), labels...); p.Size > 0 {
					size.add(float64(p.Size), labels...)
				}
			}
		}
	}
}

// peerMetrics are how leaders see the other members.
func (s *sample) peerMetrics(e *exposition) {
	lag := e.gauge("castaway_peer_lag_entries", "Entries of the leader's log that are not known to be durable on the peer.")
	heard := e.gauge("castaway_peer_heard_seconds", "How long ago the leader has heard of the peer; absent while the group is silent.")
	for _, name := range s.names() {
		for i := range s.groups[name] {
			m := &s.groups[name][i]
			if !m.leads() {
				continue
			}
			for _, p := range m.Peers {
				labels := []string{"node", nodeLabel(m.host), "group", name, "peer", fmt.Sprint(p.ID)}
				lag.add(float64(m.Last-min(p.Match, m.Last)), labels...)
				if !m.Quiescent && p.Heard != 0 {
					heard.add(m.since(p.Heard).Seconds(), labels...)
				}
			}
		}
	}
}

func nodeLabel(h *actors.Host) string { return fmt.Sprint(h.ID()) }

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
