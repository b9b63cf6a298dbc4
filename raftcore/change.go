package raftcore

import "slices"

// This file changes the members of a group, by joint consensus (Raft §6).
//
//	           new voters          all have
//	           are learners        caught up
//	C_old ────────────────→ C_old' ─────────→ C_old,new ────────→ C_new
//	       (or nothing new)        (or no voter changes)    by any leader
//
// Every arrow is an entry; the next one is appended when the one before is
// committed. The first two steps are the business of the leader that was asked,
// and forgotten with its office. The last one belongs to the state: whoever leads
// and finds a joint configuration committed, leaves it.

// change is a change of the configuration that a leader has been asked for.
type change struct {
	target ConfState
	tags   []Tag
}

// maxSlowRounds is how many slow rounds in a row a new voter may take to catch up
// (thesis §4.2.1); one that does not come any further for as many election
// timeouts is given up, too.
const maxSlowRounds = 10

func (n *Node) changeConfig(in ChangeConfig) {
	conf := n.members.current()
	c := n.leader.change
	switch {
	case n.role != Leader:
		n.reply(in.Tag, NotLeader)
	case !in.Conf.valid() || in.Conf.Joint():
		n.reply(in.Tag, BadConfig)
	case c != nil && c.target.Equal(in.Conf):
		c.tags = append(c.tags, in.Tag) // asked for again
	case c == nil && conf.Equal(in.Conf) && n.members.at() <= n.log.commit:
		n.reply(in.Tag, Done) // whatever the asker expects: it may have asked before
	case c == nil && n.leadsTo(&in.Conf):
		n.leader.change = &change{target: in.Conf.clone(), tags: []Tag{in.Tag}} // begun by an earlier leader
	case c != nil || conf.Joint():
		n.reply(in.Tag, ChangeInProgress)
	case n.log.commit < n.leader.start || n.members.at() > n.log.commit:
		// Without an entry of this term a configuration of an earlier leader, which
		// is not known here, may still be committed (the bug of 2015).
		n.reply(in.Tag, NotReady)
	case in.Expect != 0 && in.Expect != n.members.at():
		n.reply(in.Tag, ConfigChanged)
	case conf.turns(&in.Conf):
		n.reply(in.Tag, NotInPlace)
	case n.transfer.active():
		n.reply(in.Tag, Transferring)
	default:
		for i := range n.leader.peers {
			c := &n.leader.peers[i].catchUp
			c.slow, c.grewAt = 0, n.now
		}
		n.leader.change = &change{target: in.Conf.clone(), tags: []Tag{in.Tag}}
		n.advanceChange()
	}
}

// leadsTo reports whether the log already has the last steps towards a
// configuration, and they are not over.
func (n *Node) leadsTo(target *ConfState) bool {
	conf := n.members.current()
	if !conf.Joint() {
		return conf.Equal(*target) && n.members.at() > n.log.commit
	}
	return conf.settled().Equal(*target)
}

// advanceChange takes the next step of a change, when the one before it is
// committed.
func (n *Node) advanceChange() {
	for n.log.commit >= n.leader.start && n.members.at() <= n.log.commit {
		conf, c := n.members.current(), n.leader.change
		switch {
		case conf.Joint():
			n.appendConfig(conf.settled())
		case c == nil:
			return
		case conf.Equal(c.target):
			n.leader.change = nil
			for _, tag := range c.tags {
				n.reply(tag, Done)
			}
		default:
			if !n.stepTowards(c) {
				return
			}
		}
	}
}

// stepTowards takes a step of a change that is not joint yet, if there is one to
// be taken.
func (n *Node) stepTowards(c *change) bool {
	conf := n.members.current()
	newVoters := slices.DeleteFunc(slices.Clone(c.target.Voters), conf.Votes)
	strangers := slices.DeleteFunc(slices.Clone(newVoters), conf.Contains)
	if len(strangers) > 0 {
		learners := slices.Concat(conf.Learners, strangers)
		slices.Sort(learners)
		next := ConfState{Voters: conf.Voters, Learners: learners}
		next.Witnesses = conf.witnessesWith(&c.target, &next)
		n.appendConfig(next)
		return true
	}
	if !n.ready(c, newVoters) {
		return false
	}
	next := ConfState{Voters: c.target.Voters, Learners: c.target.Learners}
	if !slices.Equal(conf.Voters, c.target.Voters) {
		next.Outgoing = conf.Voters
	}
	next.Witnesses = conf.witnessesWith(&c.target, &next)
	n.appendConfig(next)
	return true
}

// ready reports whether the target's voters have what it takes: every new one has
// caught up, and a majority of all has. Not even the old ones may be counted on
// blindly: a majority that cannot be had would end the group. If those that are
// waited for do not come any further, the change is given up.
func (n *Node) ready(c *change, newVoters []NodeID) bool {
	ready, hopeless, waiting := 0, true, false
	for _, id := range c.target.Voters {
		p := n.peer(id)
		if id == n.cfg.ID || n.caughtUp(p) {
			ready++
			continue
		}
		stuck := n.now >= p.catchUp.grewAt.Add(maxSlowRounds*n.cfg.ElectionTimeout) || p.catchUp.slow > maxSlowRounds
		hopeless = hopeless && stuck
		if slices.Contains(newVoters, id) {
			waiting = true
			if stuck {
				n.abandonChange(NotCaughtUp)
				return false
			}
		}
	}
	if waiting {
		return false
	}
	if ready < majority(len(c.target.Voters)) {
		if hopeless {
			n.abandonChange(NotCaughtUp)
		}
		return false
	}
	return true
}

// appendConfig appends a configuration, and puts it in force.
func (n *Node) appendConfig(conf ConfState) {
	conf = conf.clone()
	index := n.appendOwn(Entry{Kind: EntryConfig, Config: &conf})
	n.adopt(index, &conf)
	n.reconfigure()
	// The quorum may be a smaller one now.
	n.advanceCommit()
	n.confirmReads()
}

// abandonChange ends the request for a change that is not carried on. What has
// been appended of it stands, and may still be committed.
func (n *Node) abandonChange(outcome Outcome) {
	c := n.leader.change
	if c == nil {
		return
	}
	n.leader.change = nil
	for _, tag := range c.tags {
		n.refuse(Reply{Tag: tag, Outcome: outcome, MaybeHappened: outcome == LeadershipLost})
	}
}

// retire ends the office of a leader that is not a voter any more. It leads until
// that is committed, without counting itself, and until the others have been told;
// then the one that is furthest takes over.
func (n *Node) retire() {
	if !n.leader.retiring || n.members.at() > n.log.commit {
		n.leader.farewell = 0
		return
	}
	if n.leader.farewell == 0 {
		n.leader.farewell = n.leader.round + 1
	}
	n.leader.peers = slices.DeleteFunc(n.leader.peers, func(p progress) bool {
		return p.departing && (p.match >= n.members.at() && p.round >= n.leader.farewell || n.now >= p.departBy)
	})
	if n.role != Leader || n.members.current().Votes(n.cfg.ID) || n.log.commit < n.leader.start {
		return
	}
	if heir := n.furthest(); heir != nil {
		n.send(heir.id, &TimeoutNow{})
	}
	// Nobody will tell this node what becomes of what is not committed yet.
	keep := len(n.tags)
	for keep > 0 && n.tags[keep-1].Index > n.log.commit {
		keep--
		n.refuse(Reply{Tag: n.tags[keep].Tag, Outcome: LeadershipLost, MaybeHappened: true})
		n.unwatch(n.tags[keep].Tag)
	}
	n.tags = n.tags[:keep]
	n.becomeFollower(n.hard.Term)
}

// furthest returns the voter with data whose log is known to be the most complete.
func (n *Node) furthest() *progress {
	var best *progress
	for i := range n.leader.peers {
		p := &n.leader.peers[i]
		if n.mayLead(p) && n.now < p.heardAt.Add(n.cfg.ElectionTimeout) && (best == nil || p.match > best.match) {
			best = p
		}
	}
	return best
}
