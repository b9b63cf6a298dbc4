package dashboard

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// view is what the page is told. Durations are in seconds, sizes in bytes.
type view struct {
	At      int64      `json:"at"`    // Unix milliseconds
	Every   float64    `json:"every"` // how often
	Hosts   []hostView `json:"hosts"`
	Opening []workView `json:"opening"` // the hosts that read their disks
	Groups  []groupRow `json:"groups"`  // those in trouble first
	More    int        `json:"more"`    // groups that are not among them
	Group   *groupView `json:"group"`   // the one that is looked at
	Actions []string   `json:"actions"`
}

type hostView struct {
	ID     raftcore.NodeID `json:"id"`
	Groups int             `json:"groups"`
	Leads  int             `json:"leads"`
}

// groupRow is a group in the list of all.
type groupRow struct {
	Name    string          `json:"name"`
	Leader  raftcore.NodeID `json:"leader"`
	Term    raftcore.Term   `json:"term"`
	Commit  raftcore.Index  `json:"commit"`
	Bad     bool            `json:"bad"`
	Trouble string          `json:"trouble"` // the worst; "" if there is none
}

type groupView struct {
	Name      string          `json:"name"`
	Leader    raftcore.NodeID `json:"leader"`
	Term      raftcore.Term   `json:"term"`
	Quiet     bool            `json:"quiet"`
	Troubles  []trouble       `json:"troubles"`
	Members   []memberView    `json:"members"`
	Joint     bool            `json:"joint"`
	Autopilot string          `json:"autopilot"`
	Step      string          `json:"step"`
	Rate      *float64        `json:"rate"`    // entries that are committed, a second
	Latency   *latencyView    `json:"latency"` // of proposals; nil: nothing was proposed, or it leads elsewhere
}

// memberView is a member. What Seen is false for is what the leader says of it.
type memberView struct {
	ID        raftcore.NodeID `json:"id"`
	Kind      string          `json:"kind"`
	Seen      bool            `json:"seen"` // here
	Page      string          `json:"page"` // where more is known of it; "": nowhere, or here
	State     string          `json:"state"`
	Role      string          `json:"role"`
	Term      raftcore.Term   `json:"term"`
	Vote      raftcore.NodeID `json:"vote"`
	First     raftcore.Index  `json:"first"`
	Applied   raftcore.Index  `json:"applied"`
	Commit    raftcore.Index  `json:"commit"`
	Saved     raftcore.Index  `json:"saved"`
	Last      raftcore.Index  `json:"last"`
	Fault     string          `json:"fault"`
	Class     string          `json:"class"`
	Saving    float64         `json:"saving"` // for how long the disk has had a Save
	Stalled   bool            `json:"stalled"`
	Version   uint64          `json:"version"`
	Refused   uint64          `json:"refused"`
	Lag       *uint64         `json:"lag"`   // entries that it lacks, as the leader here sees it
	Sent      string          `json:"sent"`  // probe, replicate or snapshot
	Heard     *float64        `json:"heard"` // ago; nil: silent, or not known
	CaughtUp  bool            `json:"caughtUp"`
	Newcomer  bool            `json:"newcomer"`
	Closing   *float64        `json:"closing"`   // entries by which the lag shrinks, a second
	Left      *float64        `json:"left"`      // until it has caught up
	Behind    uint64          `json:"behind"`    // entries that are committed and not applied
	Applying  *float64        `json:"applying"`  // entries, a second
	ApplyLeft *float64        `json:"applyLeft"` // until all is applied
	Snapshots []workView      `json:"snapshots"`
}

// workView is how far long work is.
type workView struct {
	Stage string          `json:"stage"` // of a snapshot, or opening
	Peer  raftcore.NodeID `json:"peer"`  // or the host that opens its store
	Index raftcore.Index  `json:"index"`
	Done  int64           `json:"done"`
	Size  int64           `json:"size"` // 0: not known
	Rate  *float64        `json:"rate"`
	Left  *float64        `json:"left"`
}

// maxRows bounds the list of groups that goes to every page again and again.
const maxRows = 100

// overview returns what is the same for everybody.
func (s *sample) overview(cfg *Config) view {
	v := view{At: s.at.UnixMilli(), Every: cfg.Interval.Seconds(), Actions: cfg.Actions.names()}
	hosts := map[raftcore.NodeID]*hostView{}
	for _, h := range s.hosts {
		hosts[h.ID()] = &hostView{ID: h.ID()}
	}
	for _, name := range s.names() {
		members := s.groups[name]
		for i := range members {
			h := hosts[members[i].host.ID()]
			h.Groups++
			if members[i].leads() {
				h.Leads++
			}
		}
		best := authority(members)
		row := groupRow{Name: name, Leader: best.Leader, Term: best.Term, Commit: best.Commit}
		if all := troubles(members); len(all) > 0 {
			row.Bad, row.Trouble = all[0].Bad, all[0].Text
		}
		v.Groups = append(v.Groups, row)
	}
	slices.SortStableFunc(v.Groups, func(a, b groupRow) int { return severity(b) - severity(a) })
	if len(v.Groups) > maxRows {
		v.More = len(v.Groups) - maxRows
		v.Groups = v.Groups[:maxRows]
	}
	for _, id := range slices.Sorted(maps.Keys(hosts)) {
		v.Hosts = append(v.Hosts, *hosts[id])
	}
	return v
}

func severity(r groupRow) int {
	switch {
	case r.Bad:
		return 2
	case r.Trouble != "":
		return 1
	}
	return 0
}

// view returns what there is to see of a group.
func (s *sample) view(name string, all paces) *groupView {
	members := s.groups[name]
	if len(members) == 0 {
		return nil
	}
	best := authority(members)
	v := &groupView{
		Name: name, Leader: best.Leader, Term: best.Term, Quiet: best.Quiescent, Troubles: troubles(members), Joint: best.Conf.Joint(),
		Autopilot: best.Autopilot.Now, Step: best.Autopilot.Last,
	}
	commit := raftcore.Index(0)
	byID := map[raftcore.NodeID]*memberView{}
	for _, ids := range [][]raftcore.NodeID{best.Conf.Voters, best.Conf.Outgoing, best.Conf.Learners} {
		for _, id := range ids {
			byID[id] = &memberView{ID: id}
		}
	}
	for i := range members {
		m := &members[i]
		commit = max(commit, m.Commit)
		byID[m.host.ID()] = s.self(m, all)
	}
	v.Rate = all.move("commit", s.at, float64(commit)).perSecond()
	if l := leader(members); l != nil {
		for _, p := range l.Peers {
			if byID[p.ID] == nil {
				byID[p.ID] = &memberView{ID: p.ID}
			}
			s.peer(byID[p.ID], l, p, all)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		m := byID[id]
		m.Kind = kind(best.Conf, id)
		v.Members = append(v.Members, *m)
	}
	return v
}

// lead adds where the pages are of the members that are not here.
func (v *groupView) lead(page func(raftcore.NodeID) string) {
	if v == nil || page == nil {
		return
	}
	for i := range v.Members {
		if m := &v.Members[i]; !m.Seen {
			m.Page = page(m.ID)
		}
	}
}

// kind is what a member is in a configuration.
func kind(c raftcore.ConfState, id raftcore.NodeID) string {
	switch {
	case slices.Contains(c.Voters, id) && c.Witness(id):
		return "witness"
	case slices.Contains(c.Voters, id):
		return "voter"
	case slices.Contains(c.Outgoing, id):
		return "leaving voter"
	case slices.Contains(c.Learners, id):
		return "learner"
	}
	return "no member"
}

// self is what a member says of itself.
func (s *sample) self(m *seen, all paces) *memberView {
	v := &memberView{
		ID: m.host.ID(), Seen: true, State: m.State.String(), Role: strings.ToLower(m.Role.String()), Term: m.Term, Vote: m.Vote,
		First: m.First, Applied: m.Applied, Commit: m.Commit, Saved: m.Saved, Last: m.Last, Class: faultClass(m.Fault),
		Version: m.Version, Refused: m.Refused, Stalled: m.runs() && m.Stalled,
	}
	if m.mute {
		v.State = "does not answer"
	}
	if m.State != actors.Running {
		v.Role = ""
	}
	if m.Fault != nil {
		v.Fault = m.Fault.Error()
	}
	if m.runs() {
		v.Saving = m.since(m.SavingSince).Seconds()
		s.apply(v, m, all)
	}
	for _, p := range m.Snapshots {
		rate := all.move(fmt.Sprint("snapshot ", v.ID, p.Stage, p.Peer, p.Index), s.at, float64(p.Done)).perSecond()
		view := workView{Stage: p.Stage.String(), Peer: p.Peer, Index: p.Index, Done: p.Done, Size: p.Size, Rate: rate}
		if rate != nil && p.Size > 0 {
			view.Left = left(float64(p.Size-p.Done), *rate)
		}
		v.Snapshots = append(v.Snapshots, view)
	}
	return v
}

// apply adds how far the state machine is behind: after a start, with the whole log.
func (s *sample) apply(v *memberView, m *seen, all paces) {
	v.Behind = uint64(m.Commit - min(m.Applied, m.Commit))
	applied := all.move(fmt.Sprint("applied ", v.ID), s.at, float64(m.Applied))
	commit := all.move(fmt.Sprint("commit ", v.ID), s.at, float64(m.Commit))
	v.Applying = applied.perSecond()
	if applied.known && commit.known {
		v.ApplyLeft = left(float64(v.Behind), applied.rate-commit.rate)
	}
}

// peer adds how the leader sees a member.
func (s *sample) peer(v *memberView, l *seen, p raftcore.PeerStatus, all paces) {
	lag := uint64(l.Last - min(p.Match, l.Last))
	v.Lag, v.Sent, v.CaughtUp, v.Newcomer = &lag, p.State.String(), p.CaughtUp, p.Newcomer
	if !v.Seen {
		v.Last = p.Match // what it is known to have
	}
	if p.Heard != 0 && !l.Quiescent {
		heard := l.since(p.Heard).Seconds()
		v.Heard = &heard
	}
	match := all.move(fmt.Sprint("match ", l.host.ID(), l.Term, p.ID), s.at, float64(p.Match))
	last := all.move(fmt.Sprint("last ", l.host.ID(), l.Term), s.at, float64(l.Last))
	if lag > 0 && match.known && last.known {
		closing := match.rate - last.rate
		v.Closing, v.Left = &closing, left(float64(lag), closing)
	}
}
