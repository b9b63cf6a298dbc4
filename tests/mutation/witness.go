package main

// witnessActors are those of the hosts.
var witnessActors = []mutant{
	{"W8", "a bare snapshot is for the courier", []edit{
		{"node.go", "return is && !r.Bare", "return is && (r.Bare || !r.Bare)"},
	}},
	{"W8", "a witness is there to become a learner", []edit{
		{"node.go", `if n.group.cfg.Witness {
			c.finish(nil, ErrWitness) //`, `if false {
			c.finish(nil, ErrWitness) //`},
	}},
	{"W8", "a version waits for a witness", []edit{
		{"versions.go", "if id == f.host.cfg.ID || s.Conf.Witness(id) {", "if id == f.host.cfg.ID {"},
	}},
	{"W8", "stale reads are asked of a witness", []edit{
		{"read.go", "case n.group.cfg.Witness && (c.consistency == Local || c.consistency == BoundedStale):", "case false:"},
	}},
	{"W8", "reads wait at a witness's host", []edit{
		{"read.go", "case n.group.cfg.Witness && !c.foreign && leader != raftcore.Nobody:", "case false:"},
	}},
	{"W8", "a member starts again and again from a disk of the other kind", []edit{
		{"member.go", "|| errors.As(err, new(*raftcore.WitnessError)) {", "{"},
	}},
	{"W8", "an autopilot replaces witnesses", []edit{
		{"autopilot.go", "if v.conf.Witness(id) { // it stays what it is", "if false {"},
		{"autopilot.go", "able = slices.DeleteFunc(able, v.conf.Witness)", ""},
	}},
	{"W8", "an autopilot has a witness lead", []edit{
		{"autopilot.go", "if v.conf.Votes(id) && !v.conf.Witness(id) && v", "if v.conf.Votes(id) && v"},
	}},
	{"W8", "an autopilot forgets who is a witness", []edit{
		{"autopilot.go", "next.Witnesses = append(next.Witnesses, id)", ""},
	}},
	{"W8", "founders who differ about the witnesses found a group", []edit{
		{"host.go", "if len(founders.Witnesses) > 0 {", "if false {"},
	}},
}

// witnessMutants are the defects of voters without data: what loses data, has somebody
// lead who has none, or has the group stand still for ever.
var witnessMutants = []mutant{
	{"W1", "witnesses may be a majority", []edit{
		{"membership.go", "return witnesses < majority(len(voters))", "return witnesses < len(voters)"},
	}},
	{"W1", "witnesses may be a majority of the outgoing voters", []edit{
		{"membership.go", "c.dataDecides(c.Voters) && c.dataDecides(c.Outgoing)", "c.dataDecides(c.Voters)"},
	}},
	{"W1", "a witness may be no member", []edit{
		{"membership.go", "if slices.ContainsFunc(c.Witnesses, func(id NodeID) bool { return !c.Contains(id) }) {", "if false {"},
	}},
	{"W2", "a witness is sent data", []edit{
		{"leader.go", `if p.witness {
		entries = withoutData(entries)`, `if false {
		entries = withoutData(entries)`},
	}},
	{"W2", "a host's commands are sent to a witness as they are", []edit{
		{"witness.go", "e.Kind == EntryCommand || e.Kind == EntryHost {", "e.Kind == EntryCommand {"},
	}},
	{"W2", "anybody takes entries without data, and a witness those with", []edit{
		{"follower.go", "|| !n.suits(r.Entries) {", "{"},
	}},
	{"W2", "anybody takes a snapshot without state", []edit{
		{"snapshot.go", "|| r.Bare != n.cfg.Witness {", "{"},
	}},
	{"W2", "a witness is sent a snapshot with its state", []edit{
		{"snapshot.go", "Bare: p.witness})", "Bare: false})"},
	}},
	{"W3", "a witness campaigns", []edit{
		{"candidate.go", "return votes && !n.witness() && n", "return votes && n"},
	}},
	{"W3", "who is called a witness campaigns, if it does not know", []edit{
		{"witness.go", "return n.cfg.Witness || n.members.current().Witness(n.cfg.ID)", "return n.cfg.Witness"},
	}},
	{"W3", "a witness is an heir", []edit{
		{"witness.go", "&& !p.witness && !p.newcomer\n", "&& !p.newcomer\n"},
	}},
	{"W4", "a witness is sent everything at once", []edit{
		{"witness.go", "if !p.witness {\n", "if p.id != 0 {\n"},
	}},
	{"W4", "a witness is sent what the leader's disk has not", []edit{
		{"witness.go", "best = max(best, n.log.saved)", "best = max(best, n.log.last)"},
	}},
	{"W4", "a witness is sent what only a leader that leaves has", []edit{
		{"witness.go", "last := min(n.bestWithData(conf.Voters), n.bestWithData(conf.Outgoing))", "last := max(n.log.saved, n.bestWithData(conf.Voters))"},
	}},
	{"W4", "all is never well", []edit{
		{"witness.go", "if !n.leader.witnessed {", "if false {"},
	}},
	{"W4", "a witness that is not needed any more misses a heartbeat", []edit{
		{"leader.go", "\t\tn.needWitnesses() // first: whether entries are about to be sent to one depends on it\n", ""},
		{"leader.go", "\t\tif n.unheeded() {\n", "\t\tn.needWitnesses()\n\t\tif n.unheeded() {\n"},
	}},
	{"W4", "a witness is never needed", []edit{
		{"witness.go", "n.leader.witnessed = n.leastWithData() < n.leader.lastBefore", "n.leader.witnessed = false"},
	}},
	{"W4", "a witness is needed for ever", []edit{
		{"witness.go", "n.leader.witnessed = n.leastWithData() < n.leader.lastBefore", "n.leader.witnessed = n.leader.witnessed || n.leastWithData() < n.leader.lastBefore"},
	}},
	{"W5", "a member becomes a witness in place, or stops being one", []edit{
		{"change.go", "case conf.turns(&in.Conf):", "case false:"},
	}},
	{"W5", "a node starts from a disk of the other kind", []edit{
		{"witness.go", "&& r.HardState.Witness != c.Witness {", "&& false {"},
	}},
	{"W5", "a witness's disk is not marked", []edit{
		{"node.go", "n.hard.Witness = n.cfg.Witness //", "//"},
	}},
	{"W5", "a lineage begins from a witness's disk", []edit{
		{"lineage.go", "case h.Witness:", "case false:"},
	}},
	{"W5", "founders need not be what they are said to be", []edit{
		{"bootstrap.go", "in.Conf.Contains(n.cfg.ID) && in.Conf.Witness(n.cfg.ID) != n.cfg.Witness:", "false:"},
	}},
	{"W6", "behind a joint configuration nobody is a witness any more", []edit{
		{"membership.go", "next.Witnesses = c.witnessesWith(&c, &next)", ""},
	}},
	{"W6", "a joint configuration forgets the witnesses that leave", []edit{
		{"change.go", `}
	next.Witnesses = conf.witnessesWith(&c.target, &next)`, `}
	next.Witnesses = c.target.Witnesses`},
	}},
	{"W6", "who learns to become a witness is sent data", []edit{
		{"change.go", `next := ConfState{Voters: conf.Voters, Learners: learners}
		next.Witnesses = conf.witnessesWith(&c.target, &next)`, `next := ConfState{Voters: conf.Voters, Learners: learners}
		next.Witnesses = conf.Witnesses`},
	}},
	{"W7", "a witness forgets what its disk has not", []edit{
		{"witness.go", "upTo := min(n.log.commit, n.log.saved)", "upTo := n.log.commit"},
	}},
	{"W7", "a witness keeps all of its log", []edit{
		{"witness.go", "n.compact(upTo)", ""},
	}},
	{"W7", "a witness is to restore a snapshot", []edit{
		{"apply.go", "if n.cfg.Witness {", "if false {"},
	}},
	{"W7", "a witness is asked for a snapshot", []edit{
		{"snapshot.go", "if n.cfg.Witness || applied <=", "if applied <="},
	}},
	{"W7", "a witness waits to be asked for a snapshot", []edit{
		{"snapshot.go", "case n.cfg.Witness || s.asked", "case s.asked"},
	}},
	{"W7", "reads wait at a witness", []edit{
		{"read.go", "case n.leaderID == Nobody || n.cfg.Witness:", "case n.leaderID == Nobody:"},
	}},
}
