package rafttest

import (
	"slices"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// split is a group that shrinks to a few of its voters, when the network parts them. Who
// has to go was a majority with somebody, and must not be one any more; nor may those who
// stay do without the majority of all, as long as it counts.
type split struct {
	group  *stackGroup
	leader *stackMember
	stay   []*stackMember // with the leader
	leave  []*stackMember
}

// beginSplit begins one, if a group can be found that is well enough.
func (s *stack) beginSplit() {
	may := func(g *stackGroup) bool {
		return g.leaves == nil && g.witness == 0 && (g != s.main() || s.plan.Autopilot == 0)
	}
	g := s.group()
	for i := 0; i < len(s.groups) && !may(g); i++ {
		g = s.groups[i]
	}
	members := g.members()
	at := slices.IndexFunc(members, func(m *stackMember) bool { return m.leads() != 0 })
	if at < 0 || !may(g) {
		return
	}
	sp := &split{group: g, leader: members[at]}
	conf := sp.leader.status().Conf
	var others []*stackMember
	for _, i := range s.queue.rng.Perm(len(members)) {
		if i != at && conf.Votes(members[i].host.id) {
			others = append(others, members[i])
		}
	}
	if conf.Joint() || !conf.Votes(sp.leader.host.id) || len(others) < 2 {
		return
	}
	s.stats.Splits++
	g.leaves = sp.leader
	if s.queue.rng.IntN(2) == 0 {
		stay := s.queue.rng.IntN(len(others))
		sp.stay, sp.leave = others[:stay], others[stay:]
		sp.part()
		return
	}
	stay := (len(others) - 1) / 2 // so that those who leave are a majority
	sp.stay, sp.leave = others[:stay], others[stay:]
	sp.returns()
}

// part has the network part the members: before the leader does anything about the change,
// or while it does, or when it is over.
func (sp *split) part() {
	s := sp.group.stack
	rng, timeout := s.queue.rng, s.plan.ElectionTimeout
	side := slices.Clone(sp.stay[:(len(sp.stay)+1)/2]) // with the leader a majority of those who stay
	if rng.IntN(3) == 0 {
		side = slices.Clone(sp.leave)
	}
	side = append(side, sp.leader)
	done := func() {}
	switch rng.IntN(4) {
	case 0:
		sp.cut(side)
	case 1:
		s.queue.At(s.queue.now+s.queue.between(0, 2*s.plan.Delay+2*s.plan.Disk+timeout/20), "fault: the members are parted", func() { sp.cut(side) })
	default:
		done = func() { sp.cut(side) }
	}
	sp.shrink(done)
	s.queue.At(s.queue.now+8*timeout, "the split is over", sp.end)
}

// shrink asks the leader for the change.
func (sp *split) shrink(done func()) {
	target := actors.Members{Voters: []raftcore.NodeID{sp.leader.host.id}}
	for _, m := range sp.stay {
		target.Voters = append(target.Voters, m.host.id)
	}
	o := sp.group.stack.operator().begin(StackOp{Kind: "change"})
	o.try(sp.leader, actors.Request{Operation: actors.ChangeMembers, Members: target}, func(r *actors.Response) {
		if r.Err == nil {
			sp.group.stack.stats.ChangesDone++
			done()
		}
	})
}

// cut parts those on one side from all others.
func (sp *split) cut(side []*stackMember) {
	s := sp.group.stack
	if s.calm {
		return
	}
	s.queue.note(nil, "", "%v are parted from the others", side)
	for _, m := range side {
		for _, h := range s.hosts {
			if !slices.ContainsFunc(side, func(m *stackMember) bool { return m.host == h }) {
				s.sever(m.host, h)
			}
		}
	}
}

// returns cuts off one of those who leave, which does not hear of it, removes the others, and
// has it meet them when they are back with nothing.
func (sp *split) returns() {
	s := sp.group.stack
	timeout := s.plan.ElectionTimeout
	sp.cut(sp.leave[:1])
	sp.shrink(func() {
		var gone []*stackMember
		again := 20
		var next func()
		next = func() {
			if s.calm {
				return
			}
			for _, m := range sp.leave[1:] {
				switch {
				case slices.Contains(gone, m) || !m.up():
				case m.status().Conf.Votes(m.host.id):
				default:
					gone = append(gone, m)
					m.remove()
				}
			}
			back := !slices.ContainsFunc(gone, func(m *stackMember) bool { return !m.up() })
			if again--; back && len(gone) == len(sp.leave)-1 {
				s.stats.Met++
				s.net.Heal()
				sp.cut(sp.leave)
			} else if again > 0 {
				s.queue.At(s.queue.now+timeout/4, "who is left is removed", next)
			}
		}
		next()
	})
	s.queue.At(s.queue.now+12*timeout, "the split is over", sp.end)
}

// end has all be voters again.
func (sp *split) end() {
	s := sp.group.stack
	sp.group.leaves = nil
	if s.calm {
		return
	}
	s.net.Heal()
	all := actors.Members{Voters: founders(s.plan.Hosts)}
	s.queue.At(s.queue.now+s.around(2*s.plan.ElectionTimeout), "all are members again", func() {
		if !s.calm {
			sp.group.operate(actors.Request{Operation: actors.ChangeMembers, Members: all}, "change", func(error) {})
		}
	})
}
