package raftcore

import "slices"

// ConfState says who takes part in a group. In a joint configuration (Outgoing
// is not empty) every decision needs a majority of both sets of voters (Raft
// §6).
type ConfState struct {
	Voters   []NodeID // ascending
	Outgoing []NodeID // the voters that are being left behind; ascending
	// Learners receive the log and do not vote; ascending. One that is in Outgoing,
	// too, is a voter until that is left behind.
	Learners []NodeID
	// Witnesses are those of all these that keep no data; ascending. Of the voters of each
	// set they are too few to decide anything alone. See witness.go.
	Witnesses []NodeID
}

// Joint reports whether c is between two configurations.
func (c ConfState) Joint() bool { return len(c.Outgoing) > 0 }

// Votes reports whether id is a voter, in either set.
func (c ConfState) Votes(id NodeID) bool {
	return slices.Contains(c.Voters, id) || slices.Contains(c.Outgoing, id)
}

// Witness reports whether id is a witness.
func (c ConfState) Witness(id NodeID) bool { return slices.Contains(c.Witnesses, id) }

// Contains reports whether id takes part at all.
func (c ConfState) Contains(id NodeID) bool {
	return c.Votes(id) || slices.Contains(c.Learners, id)
}

// Members returns everybody who takes part, ascending, each once.
func (c ConfState) Members() []NodeID {
	all := slices.Concat(c.Voters, c.Outgoing, c.Learners)
	slices.Sort(all)
	return slices.Compact(all)
}

// clone returns a copy that shares nothing with c.
func (c ConfState) clone() ConfState {
	return ConfState{Voters: slices.Clone(c.Voters), Outgoing: slices.Clone(c.Outgoing), Learners: slices.Clone(c.Learners), Witnesses: slices.Clone(c.Witnesses)}
}

// Equal reports whether c and d say the same.
func (c ConfState) Equal(d ConfState) bool {
	return slices.Equal(c.Voters, d.Voters) && slices.Equal(c.Outgoing, d.Outgoing) && slices.Equal(c.Learners, d.Learners) && slices.Equal(c.Witnesses, d.Witnesses)
}

// valid reports whether c is well formed: somebody votes, each list ascends
// strictly, nobody is named zero, no learner is to vote, and no majority is of
// witnesses alone, which are members.
func (c ConfState) valid() bool {
	for _, list := range [][]NodeID{c.Voters, c.Outgoing, c.Learners, c.Witnesses} {
		before := Nobody
		for _, id := range list {
			if id <= before {
				return false
			}
			before = id
		}
	}
	for _, id := range c.Learners {
		if slices.Contains(c.Voters, id) {
			return false
		}
	}
	if slices.ContainsFunc(c.Witnesses, func(id NodeID) bool { return !c.Contains(id) }) {
		return false
	}
	return len(c.Voters) > 0 && c.dataDecides(c.Voters) && c.dataDecides(c.Outgoing)
}

// dataDecides reports whether every majority of some voters has one with data: what it
// has acknowledged must be to be had from somebody.
func (c ConfState) dataDecides(voters []NodeID) bool {
	witnesses := 0
	for _, id := range voters {
		if c.Witness(id) {
			witnesses++
		}
	}
	return witnesses < majority(len(voters))
}

// settled returns what c is when the outgoing voters have been left behind.
func (c ConfState) settled() ConfState {
	next := ConfState{Voters: c.Voters, Learners: c.Learners}
	next.Witnesses = c.witnessesWith(&c, &next)
	return next
}

// membership is the history of configurations that the log holds: the newest
// one is in force from the moment its entry is appended, committed or not
// (Raft §6), and if that entry is cut off the one before it is in force again.
type membership struct {
	history []ConfigAt // never empty; ascending; the first is that of the log's base
}

func newMembership(base ConfigAt, later []ConfigAt) membership {
	return membership{history: append([]ConfigAt{base}, later...)}
}

// current returns the configuration in force.
func (m *membership) current() *ConfState { return &m.history[len(m.history)-1].Conf }

// previous returns the configuration before that, or nil if the log does not go back so far.
func (m *membership) previous() *ConfState {
	if k := len(m.history) - 2; k >= 0 {
		return &m.history[k].Conf
	}
	return nil
}

// at returns the index of the entry that set the configuration in force.
func (m *membership) at() Index { return m.history[len(m.history)-1].Index }

// asOf returns the configuration that was in force at an index.
func (m *membership) asOf(index Index) ConfigAt {
	k := len(m.history) - 1
	for k > 0 && m.history[k].Index > index {
		k--
	}
	return m.history[k]
}

// compact forgets the configurations that were replaced before a new base.
func (m *membership) compact(base Index) {
	k := 0
	for k+1 < len(m.history) && m.history[k+1].Index <= base {
		k++
	}
	m.history = slices.Delete(m.history, 0, k)
}

// reset begins anew with the configuration of a snapshot.
func (m *membership) reset(c ConfigAt) { m.history = []ConfigAt{c} }

// adopt puts the configuration of a newly appended entry in force.
func (m *membership) adopt(index Index, conf *ConfState) {
	m.history = append(m.history, ConfigAt{Index: index, Conf: *conf})
}

// truncate forgets the configurations of entries from index on, and reports
// whether the one in force changed.
func (m *membership) truncate(index Index) bool {
	n := len(m.history)
	for len(m.history) > 1 && m.history[len(m.history)-1].Index >= index {
		m.history = m.history[:len(m.history)-1]
	}
	return len(m.history) != n
}
