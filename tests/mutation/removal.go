package main

// The defects of removals, of who leads, and of hosts that balance: as in mutants.go, by
// their line in the list of traps.

// removedContract are those of package persistence.
var removedContract = []mutant{
	{"O5", "Memory opens a group that was removed", []edit{
		{"memory.go", "if g.removed != nil {\n\t\treturn Opened{}", "if false {\n\t\treturn Opened{}"},
	}},
	{"M13", "Memory revives a group under the incarnation that was removed", []edit{
		{"memory.go", "*g = memoryGroup{incarnation: raftcore.Incarnation(random()), damaged: true}", "*g = memoryGroup{incarnation: max(removed, raftcore.Incarnation(min(random(), 0))), damaged: true}"},
	}},
	{"M13", "Memory revives a group that may found it a second time", []edit{
		{"memory.go", "incarnation: raftcore.Incarnation(random()), damaged: true}", "incarnation: raftcore.Incarnation(random())}"},
	}},
	{"M15", "a voter is removed", []edit{
		{"store.go", "if r.Member != raftcore.Nobody && newest.Conf.Votes(r.Member) {", "if r.Member != raftcore.Nobody && newest.Conf.Votes(r.Member) && false {"},
	}},
	{"M15", "a removal looks at an older configuration", []edit{
		{"store.go", "newest = kept.Configs[n-1]", "newest = kept.Configs[0]"},
	}},
}

// removedStore are those of badgerstore.
var removedStore = []mutant{
	{"O5", "a group that was removed is opened", []edit{
		{"store.go", "if g.tombstone != nil {\n\t\treturn persistence.Opened{}", "if false {\n\t\treturn persistence.Opened{}"},
	}},
	{"O5", "what a removed group had stays", []edit{
		{"remove.go", "g.forget()\n\tg.tombstone = t", "g.tombstone = t"},
	}},
	{"D10", "a store is taken by any host", []edit{
		{"open.go", "if m.host != raftcore.Nobody {", "if false {"},
	}},
	{"P8", "a group that is open is removed", []edit{
		{"remove.go", "case g.boot != 0:\n\t\treturn fmt.Errorf(\"group %q: %w\", r.Group,", "case false:\n\t\treturn fmt.Errorf(\"group %q: %w\", r.Group,"},
	}},
	{"P8", "a group that is open begins again", []edit{
		{"remove.go", "case g.boot != 0:\n\t\treturn fmt.Errorf(\"group %q: %w\", name,", "case false:\n\t\treturn fmt.Errorf(\"group %q: %w\", name,"},
	}},
	{"D10", "a group begins again with what it had", []edit{
		{"remove.go", "func() { s.remove(g, t); g.revive(incarnation) }, removal, revival)", "func() { g.log.Incarnation, g.log.Damaged = incarnation, true }, removal, revival)"},
	}},
	{"P8", "a group that begins again is removed for a moment", []edit{
		{"remove.go", "return s.note(g, func() { s.remove(g, t); g.revive(incarnation) }, removal, revival)", "if err := s.note(g, func() { s.remove(g, t) }, removal); err != nil {\n\t\treturn err\n\t}\n\treturn s.note(g, func() { g.revive(incarnation) }, revival)"},
	}},
	{"M13", "a revived group may found it a second time", []edit{
		{"remove.go", "g.log.Incarnation, g.log.Damaged = incarnation, true", "g.log.Incarnation = incarnation"},
	}},
	{"M13", "a revival of another tombstone is carried out", []edit{
		{"remove.go", "case g.tombstone != nil && g.tombstone.Incarnation != former:", "case false:"},
	}},
	{"P1", "Badger is not told of removals", []edit{
		{"group.go", "if g.tombstone != nil {\n\t\treturn groupValue", "if false {\n\t\treturn groupValue"},
	}},
	{"M18", "what comes before a removal that only Badger knows of counts", []edit{
		{"open.go", "if g.tombstone != nil { // Badger knows", "if false { // Badger knows"},
	}},
	{"P4", "a group that was revived loses what it has since", []edit{
		{"remove.go", "if g.tombstone != nil { // else it was revived", "if g.number > 0 { // else it was revived"},
	}},
	{"P4", "what removed groups have in Badger is not thrown out", []edit{
		{"remove.go", "if s.deadBytes < s.o.hooks.dropBytes {", "if s.deadBytes >= 0 {"},
	}},
	{"D13", "a removal finds no room on a full disk", []edit{
		{"remove.go", "s.batch.Urgent = true", "s.batch.Urgent = false"},
	}},
	{"M18", "a repair of Badger brings removed groups back", []edit{
		{"rebuild.go", "return v.removed", "return nil"},
	}},
}

// removedSnapshots are those of package snapshots.
var removedSnapshots = []mutant{
	{"P8", "a directory that is in use is removed", []edit{
		{"remove.go", "if err != nil {\n\t\treturn err\n\t}\n\tfor _, name", "_ = err\n\tfor _, name"},
	}},
}

// removedActors are those of package actors.
var removedActors = []mutant{
	{"M15", "a member that votes is stopped, to be removed", []edit{
		{"remove.go", "case s.Conf.Votes(id):", "case false:"},
	}},
	{"M13", "a member is removed that may still vote", []edit{
		{"remove.go", "case s.Joined && s.ConfIndex > s.Commit:", "case false:"},
	}},
	{"O5", "a group that was removed is opened", []edit{
		{"props.go", "removed && (t.Group != g.name || t.Incarnation != g.cfg.Replaces)", "removed && t.Group != g.name"},
	}},
	{"P8", "a group is opened while it is removed", []edit{
		{"props.go", "if h.removing[g.key] {", "if false {"},
	}},
	{"D4", "a removal that was interrupted is not finished", []edit{
		{"log.go", "l.sweepFiles()\n", ""},
	}},
	{"O5", "a removed group leaves its snapshots", []edit{
		{"remove.go", "if err := h.removeFiles(name); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"L8", "who has removed a group is silent", []edit{
		{"host.go", "if len(removed) > 0 {", "if false {"},
	}},
	{"L8", "who is back is still taken for removed", []edit{
		{"node.go", "if len(n.tombstones) > 0 {", "if false {"},
	}},
	{"D12", "a removal that may have happened is called rejected", []edit{
		{"remove.go", "return fmt.Errorf(\"%w: the disk has not answered yet: %w\", ErrUnknown, ctx.Err())", "return fmt.Errorf(\"%w: the disk has not answered yet: %w\", ErrRejected, ctx.Err())"},
	}},
	{"D14", "a log that has failed does not answer who removes a group", []edit{
		{"log.go", "if m, ok := message.(*removeGroup); ok {\n\t\t\tm.done <- notNow(l.failed)\n\t\t}", ""},
	}},
	{"D15", "a member whose snapshot is damaged begins again whoever is well", []edit{
		{"rejoin.go", "r.fit[f.from] = f.fit; !r.quorum()", "r.fit[f.from] = f.fit; false"},
	}},
	{"D15", "a member whose snapshot is damaged takes any answer for a good one", []edit{
		{"rejoin.go", "err == nil && c.ready})", "true})"},
	}},
	{"D15", "a member whose snapshot is damaged asks once", []edit{
		{"member.go", "msg.round == m.rejoin.round && m.state == Recovering {", "msg.round < m.rejoin.round {"},
	}},
	{"L6", "a leadership goes to a lower priority", []edit{
		{"balance.go", "priority > g.priority() &&", "priority != g.priority() &&"},
	}},
	{"L6", "leaders are evened out against their priorities", []edit{
		{"balance.go", "b.could(g, to) && b.round.candidates[g][to].priority == g.priority()", "b.could(g, to)"},
	}},
	{"L6", "a host that is behind is handed a leadership", []edit{
		{"balance.go", "peer.ID == id && peer.Match == s.Last &&", "peer.ID == id &&"},
	}},
	{"D12", "a host whose disk stalls says that it would lead", []edit{
		{"balance.go", "n.group.quarantine.Load() == nil && !n.host.stalled() &&", "n.group.quarantine.Load() == nil &&"},
	}},
	{"D12", "a host whose disk stalls hands over", []edit{
		{"balance.go", "if !b.host.stalled() {", "if b.host != nil {"},
		{"balance.go", "full || b.host.stalled() {", "full {"},
	}},
	{"L6", "nothing is handed over to those who lead less", []edit{
		{"balance.go", "if leads[to] > leads[self]-2 {", "if leads[to] > leads[self]-20 {"},
	}},
	{"L6", "any number of leaderships is handed over in a round", []edit{
		{"balance.go", "r.limit = maxHandovers", "r.limit = 0 * maxHandovers"},
	}},
	{"L6", "who does not keep a leadership is handed it again at once", []edit{
		{"balance.go", "b.own > b.shuns[id].until", "b.shuns[id].until < maxShun+b.own"},
	}},
	{"L6", "a host balances once, and never again", []edit{
		{"balance.go", "\t\tb.later()\n\t}\n\tr.order.finish(err)", "\t}\n\tr.order.finish(err)"},
	}},
}
