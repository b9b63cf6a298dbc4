package main

// Defects that the simulations of whole hosts have to notice, and are alone asked about: of
// leases while clocks drift, of who counts in a quorum, and of what clients were promised.

// stormCore are those of raftcore.
var stormCore = []mutant{
	{"Q4", "a lease takes all clocks to run evenly", []edit{
		{"read.go", "/(1000+drift)*(1000-drift))", "+0*drift)"},
	}},
	{"Q4", "a lease counts from when its echo was heard", []edit{
		{"leader.go", "p.leaseFrom = max(p.leaseFrom, n.leader.opened[r.Round%rounds])", "p.leaseFrom = n.now"},
	}},
	{"Q4", "who comes back may elect another while a lease lasts", []edit{
		{"node.go", "if n.hard.Joined {\n\t\t\tn.holdUntil", "if false {\n\t\t\tn.holdUntil"},
	}},
	{"Q4", "who knows of no leader may elect one while a lease lasts", []edit{
		{"follower.go", "n.cfg.LeaseReads && n.now < n.holdUntil", "n.cfg.LeaseReads && n.leaderID != Nobody && n.now < n.holdUntil"},
	}},
	{"Q3", "a leader that hands over has a lease", []edit{
		{"read.go", "if !n.cfg.LeaseReads || n.leader.urged || n.transfer.active() {", "if !n.cfg.LeaseReads {"},
	}},
	{"Q3", "a leader that could not hand over has a lease", []edit{
		{"read.go", "|| n.leader.urged || n.transfer", "|| n.transfer"},
	}},
	{"M7", "voters are replaced in one step", []edit{
		{"change.go", "next.Outgoing = conf.Voters", "_ = conf.Voters"},
	}},
	{"E3", "the voters of before count for nothing", []edit{
		{"quorum.go", "return won1 && won2, lost1 || lost2", "return won1 && (won2 || !won2), lost1 || (lost2 && !lost2)"},
		{"quorum.go", "return min(majorityValue(conf.Voters, value), majorityValue(conf.Outgoing, value))", "return majorityValue(conf.Voters, value)"},
	}},
	{"M5", "who has to go helps to commit, as one of the others", []edit{
		{"leader.go", "quorum := Index(quorumValue(n.members.current(), func(id NodeID) uint64 {", "conf := *n.members.current()\n\tfor i := range n.leader.peers {\n\t\tif p := &n.leader.peers[i]; p.departing {\n\t\t\tconf.Outgoing = append(slices.Clone(conf.Outgoing), p.id)\n\t\t}\n\t}\n\tquorum := Index(ofAny(majority(len(conf.Voters)), conf.Members(), func(id NodeID) uint64 {"},
		{"leader.go", "func (n *Node) release() {", "func ofAny(needed int, ids []NodeID, value func(NodeID) uint64) uint64 {\n\tvar all []uint64\n\tfor _, id := range ids {\n\t\tall = append(all, value(id))\n\t}\n\tslices.Sort(all)\n\treturn all[len(all)-needed]\n}\n\nfunc (n *Node) release() {"},
	}},
	{"M5", "who was removed helps to elect", []edit{
		{"candidate.go", "for _, id := range n.members.current().Members() {\n\t\tif id != n.cfg.ID && n.members.current().Votes(id) {", "conf := *n.members.current()\n\tif p := n.members.previous(); p != nil {\n\t\tconf.Outgoing = slices.Concat(conf.Outgoing, p.Voters)\n\t}\n\tfor _, id := range conf.Members() {\n\t\tif id != n.cfg.ID && conf.Votes(id) {"},
		{"candidate.go", "\tif !n.members.current().Votes(from) {\n\t\treturn\n\t}\n", ""},
		{"candidate.go", "won, lost := electionResult(n.members.current(), n.campaign.ballot)", "won, lost := electionResult(n.members.current(), n.campaign.ballot)\n\tyes := 0\n\tfor _, v := range n.campaign.votes {\n\t\tif v.ballot == granted {\n\t\t\tyes++\n\t\t}\n\t}\n\twon = won || !n.members.current().Joint() && yes >= majority(len(n.members.current().Voters))"},
		{"candidate.go", "package raftcore\n", "package raftcore\n\nimport \"slices\"\n"},
	}},
	{"M13", "who was removed, and is back with nothing, votes", []edit{
		{"newcomer.go", "return n.hard.Joined || !n.cfg.Joins && last.Index <= founding && n.log.last <= founding", "return true"},
	}},
	{"C7", "the log's time goes back", []edit{
		{"leader.go", "e.Time = max(n.time, n.log.lastTime)", "e.Time = n.time"},
	}},
}

// stormActors are those of actors.
var stormActors = []mutant{
	{"C7", "a session ends although it is used", []edit{
		{"sessions.go", "\ts.last = e.Time\n", ""},
	}},
	{"C7", "a sign of life does not keep a session", []edit{
		{"sessions.go", "\ts.last = e.Time\n", "\tif o.kind != sessionKeeps {\n\t\ts.last = e.Time\n\t}\n"},
	}},
	{"C1", "what comes again is answered with nothing", []edit{
		{"sessions.go", "result.answer = bytes.Clone(result.answer)\n", "result.answer = bytes.Clone(nil)\n"},
	}},
	{"C3", "results do not come back with a snapshot", []edit{
		{"sessions.go", "s.results[sequence] = result\n\t\t\ts.bytes", "_ = sequence\n\t\t\ts.bytes"},
	}},
	{"A6", "what a new leader has to tell of a timer was told before", []edit{
		{"effects.go", "if now, is := t.timers[o.name]; !is || now.set != o.set {", "if _, is := t.timers[o.name]; !is {"},
	}},
	{"A6", "a new leader monitors nobody whom the last one did", []edit{
		{"effector.go", "for _, a := range sorted(monitored) {\n\t\tif f.watch[a] == 0 {", "for _, a := range sorted(monitored) {\n\t\tif f.watch[a] == 0 && f.sent == (EffectID{}) {\n\t\t\tf.watch[a] = monitored[a]\n\t\t} else if f.watch[a] == 0 {"},
	}},
	{"Q4", "a read confirms what was acknowledged after it was asked", []edit{
		{"read.go", "n.confirmed(round.asked, ready.Index)", "n.confirmed(n.now, ready.Index)"},
	}},
	{"Q5", "who reads does not see what he was told of", []edit{
		{"read.go", "c.index = max(c.index, c.its().after)", "_ = c"},
	}},
	{"A4", "learners need not be able to be of a version", []edit{
		{"versions.go", "slices.Concat(s.Conf.Voters, s.Conf.Learners)", "slices.Concat(s.Conf.Voters)"},
	}},
	{"A4", "one other member that can be of a version is enough", []edit{
		{"versions.go", "enough := len(u.able) == u.others ||", "enough := len(u.able) > 0 ||"},
	}},
}
