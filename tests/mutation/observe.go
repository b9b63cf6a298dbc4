package main

// The defects of what looks on: a flight recorder whose stories are not what happened
// is worse than none.

// recordMutants are those of the walks through a node's state and its inputs.
var recordMutants = []mutant{
	{"O1", "a state comes back without the election timeout", []edit{
		{"state.go", "\tnum(a, &n.electionAt)\n", ""},
	}},
	{"O1", "a state comes back with another chance", []edit{
		{"state.go", "\tn.visitChance(a)\n", ""},
	}},
	{"O1", "what is in flight comes back in another order", []edit{
		{"state.go", "s := &f.ring[(f.first+i)%len(f.ring)]", "s := &f.ring[i]"},
	}},
	{"O1", "an entry that does not follow the one before comes back as one that does", []edit{
		{"record.go", "form := bit(e.Index == before.Index+1, 0)", "form := bit(true, 0)"},
	}},
	{"O1", "commands come back without their sizes", []edit{
		{"record.go", "if size != uint64(len(*p)) {", "if size != uint64(len(*p)) && false {"},
	}},
	{"O1", "nobody is told that a leader can answer reads", []edit{
		{"leader.go", "			n.out.StatusChanged = true // it can answer reads from now on\n", ""},
	}},
	{"O1", "a Drain is not recorded", []edit{
		{"node.go", "\t\tn.recorder.Drain(n)\n", ""},
	}},
}

// flightMutants are those of package flight.
var flightMutants = []mutant{
	{"O1", "the older part is played back without the newer one", []edit{
		{"replay.go", "range parts[first:] {", "range parts[first : first+1] {"},
	}},
	{"O1", "a part has no end", []edit{
		{"recorder.go", "&& p.length-p.inputs < r.limit {", "{"},
	}},
	{"O1", "what many keep has no bound together", []edit{
		{"recorder.go", "b.bytes/(2*max(b.active.Load(), 1))", "b.bytes/2"},
	}},
	{"O1", "a state of any size is kept", []edit{
		{"recorder.go", "p.length > r.limit {", "p.length < 0 {"},
	}},
	{"O1", "who rests keeps what it has", []edit{
		{"recorder.go", "r.past, r.present, r.wait = part{}, part{}, 0", "r.wait = 0"},
	}},
	{"O1", "who rests is counted", []edit{
		{"recorder.go", "r.bounds.active.Add(-1)", ""},
	}},
	{"O1", "any fault is the same", []edit{
		{"story.go", "return replayed != nil && oneLine(replayed.Error()) == s.Fault", "return replayed != nil"},
	}},
	{"O1", "a damaged recording is played back", []edit{
		{"story.go", "crc32.MakeTable(crc32.Castagnoli)) != sum {", "crc32.MakeTable(crc32.Castagnoli)) != sum && false {"},
	}},
	{"O1", "stories fill the disk", []edit{
		{"write.go", "if stories >= MaxStories {", "if false {"},
	}},
}

// watchMutants are those of the actors.
var watchMutants = []mutant{
	{"O1", "a node waits for who listens", []edit{
		{"events.go", `	select {
	case l.news <- struct{}{}:
	default:
	}
`, `	l.news <- struct{}{}
`},
	}},
	{"O1", "events of a slow listener are lost without a word", []edit{
		{"events.go", "		l.missed++\n", ""},
	}},
	{"O1", "after a gap the events come before it", []edit{
		{"events.go", "if len(l.waiting) < l.room && l.missed == 0 {", "if len(l.waiting) < l.room+int(l.missed)/2 {"},
	}},
	{"O1", "what waits for a listener has no bound", []edit{
		{"events.go", "if len(l.waiting) < l.room && l.missed == 0 {", "if l.missed == 0 {"},
	}},
	{"O1", "who does not listen any more is told", []edit{
		{"events.go", "		defer g.listeners.remove(l)\n", ""},
	}},
	{"O1", "what is overwritten is not abandoned", []edit{
		{"node.go", "		n.abandoned(r.Tag, err)\n", ""},
	}},
	{"O1", "a member that fails abandons nothing", []edit{
		{"node.go", "		n.abandonProposals()\n", ""},
	}},
	{"O1", "the events go on when the member has stopped", []edit{
		{"member.go", "		m.group.listeners.end()\n", ""},
	}},
	{"O1", "an office does not end", []edit{
		{"events.go", `		end = func() {
			cancel()
			<-done
		}`, `		end = func() { _, _ = cancel, done }`},
	}},
	{"O1", "a node that rests keeps its recording", []edit{
		{"node.go", `	if out.Quiescent {
		n.rest()
	}
`, ""},
	}},
	{"O1", "a node that has stopped is counted among those that record", []edit{
		{"node.go", `	case *actor.Stopped:
		n.rest()
`, `	case *actor.Stopped:
`},
	}},
	{"O1", "no story is written", []edit{
		{"member.go", "err = m.tellStory(err, f.reason)", "_ = m.tellStory"},
	}},
	{"O1", "a story is written of everything that fails", []edit{
		{"member.go", "errors.Is(err, ErrInvariantFault) && n > 0 && f.child.Equal(m.children[n-1].pid) {", "n > 0 {"},
	}},
}

// telemetryMutants are those of what OpenTelemetry is told.
var telemetryMutants = []mutant{
	{"O1", "hosts that have stopped are observed", []edit{
		{"telemetry.go", "	return m.registration.Unregister()\n", "	return nil\n"},
	}},
	{"O1", "every group has its own series, though nobody asked for that", []edit{
		{"telemetry.go", "if m.perGroup && group != nil {", "if group != nil {"},
		{"telemetry.go", `if m.perGroup && group != "" {`, `if group != "" {`},
	}},
	{"O1", "a proposal that was rejected is counted as done", []edit{
		{"telemetry.go", "	outcome, reason := outcomeOf(err)\n	with :=", "	outcome, reason := outcomeOf(nil)\n	with :="},
	}},
	{"O1", "a restart is not counted", []edit{
		{"member.go", "	m.host.meters.restarted(m.group, m.lastFault)\n", ""},
	}},
	{"O1", "the sizes of snapshots are not measured", []edit{
		{"snapshots.go", "		s.host.meters.tookSnapshot(s.group, size)\n", "		_ = size\n"},
	}},
	{"O1", "a Save is not measured", []edit{
		{"log.go", "		l.host.meters.saved(began, err)\n", "		_ = began\n"},
	}},
	{"O1", "a proposal that is forwarded leaves its span behind", []edit{
		{"peer.go", ", Span: p.host.spanOf(f.call),", ","},
	}},
	{"O1", "a span of any length is taken", []edit{
		{"spans.go", "len(r.Span) != spanBytes", "len(r.Span) < spanBytes"},
	}},
	{"O1", "the spans of the leader are not those of the commit", []edit{
		{"spans.go", `span(within, "castaway.save"`, `span(p.ctx, "castaway.save"`},
	}},
	{"O1", "a span does not say that its proposal has failed", []edit{
		{"spans.go", "		span.SetStatus(codes.Error, o.err.Error())\n", ""},
	}},
	{"O1", "who is not traced is watched", []edit{
		{"spans.go", "return h.tracer != nil && c != nil && c.ctx != nil && trace.SpanContextFromContext(c.ctx).IsSampled()", "return c != nil && c.ctx != nil"},
	}},
}

// progressMutants are those of what a status says of snapshots, and a host of its groups.
var progressMutants = []mutant{
	{"S1", "who has a snapshot taken is told before the member starts from it", []edit{
		{"snapshots.go", "case o.told == nil:\n\t\to.from.tell(taken)", "case true:\n\t\to.told.end(nil)\n\t\to.from.tell(taken)"},
	}},
	{"S1", "who has a snapshot taken that was taken before waits for ever", []edit{
		{"member.go", "named: o.opened.Recovered.Snapshot.Last.Index,", ""},
	}},
	{"S1", "who has a snapshot taken is not told when the member starts from it", []edit{
		{"node.go", "n.named = last.Index\n\t\tn.keepPromises()", "n.named = last.Index"},
	}},
	{"O1", "nobody sees how much of a snapshot is sent", []edit{
		{"courier.go", "\td.moving.done.Store(d.taken)\n", ""},
	}},
	{"O1", "nobody sees how much of a snapshot has arrived", []edit{
		{"courier.go", "\t\tin.moving.done.Store(in.file.Offset())\n", ""},
	}},
	{"O1", "nobody sees how much of a snapshot is written", []edit{
		{"snapshots.go", "\tl.moving.done.Add(int64(n))\n\tl.share", "\tl.share"},
	}},
	{"O1", "nobody sees how much of a snapshot is restored", []edit{
		{"snapshots.go", "\t\tl.moving.done.Add(int64(n))\n\t}", "\t}"},
	}},
	{"O1", "a snapshot that is written seems to be written for ever", []edit{
		{"snapshots.go", "\ts.group.board.snapshots.end(m)\n", ""},
	}},
	{"O1", "a snapshot that was sent seems to be sent for ever", []edit{
		{"courier.go", "\t\tc.group.board.snapshots.end(d.moving)\n", ""},
	}},
	{"O1", "a snapshot that has arrived seems to arrive for ever", []edit{
		{"courier.go", "\tc.group.board.snapshots.end(c.in.moving)\n", ""},
	}},
	{"O1", "groups are listed in the order of their keys", []edit{
		{"host.go", "return strings.Compare(a.name, b.name)", "return 0 * strings.Compare(a.name, b.name)"},
	}},
}

// dashboardMutants are those of package dashboard.
var dashboardMutants = []mutant{
	{"O1", "another web site may press the buttons", []edit{
		{"dashboard.go", "http.NewCrossOriginProtection().Handler(http.HandlerFunc(h.serveAction))", "http.HandlerFunc(h.serveAction)"},
	}},
	{"O1", "a form of another web site may press the buttons", []edit{
		{"dashboard.go", `if r.Header.Get("Content-Type") != "application/json" {`, "if false {"},
	}},
	{"O1", "an action may be as long as memory allows", []edit{
		{"dashboard.go", "http.MaxBytesReader(w, r.Body, 64<<10)", "r.Body"},
	}},
	{"O1", "any number of pages is open", []edit{
		{"hub.go", "if len(h.visitors) >= h.cfg.MaxVisitors {", "if false {"},
	}},
	{"O1", "who is slow has everything kept for it", []edit{
		{"hub.go", "over > 0 {", "over > 1<<20 {"},
	}},
	{"O1", "who is slow is not told that it has missed something", []edit{
		{"hub.go", "v.lost += max(l.N, 1)", "_ = l"},
	}},
	{"O1", "somebody looks when nobody does", []edit{
		{"hub.go", "\t\th.stop()\n", ""},
	}},
	{"O1", "a latency is that of half a journey", []edit{
		{"latency.go", "\t\tclear(e.journeys) // some", "\t\t// some"},
	}},
	{"O1", "what is frequent pushes out what is rare", []edit{
		{"latency.go", "e.routine > maxProposals {", "e.routine < 0 {"},
	}},
	{"O1", "a name can be more than a label", []edit{
		{"metrics.go", "labelEscape.Replace(labels[i+1])", "labels[i+1]"},
	}},
	{"O1", "a member without a leader is ready", []edit{
		{"health.go", "case m.Leader == raftcore.Nobody:", "case m.Leader == raftcore.Nobody && false:"},
	}},
	{"O1", "one group out of service has the process started anew", []edit{
		{"health.go", "alive > 0 || members == 0", "len(why) == 0"},
	}},
	{"O1", "a host without groups is ready", []edit{
		{"health.go", "if len(why) == 0 && len(names) == 0 {", "if false {"},
	}},
	{"O1", "nobody is told that a host reads its disk", []edit{
		{"health.go", "why := s.unready()", "why := []string(nil)"},
	}},
	{"O1", "who has failed to read its disk reads it for ever", []edit{
		{"opening.go", "m.State != actors.Recovering && m.State != actors.Pausing", "m.State == actors.Running"},
	}},
	{"O1", "who came before there was a group sees none", []edit{
		{"hub.go", `if v.group == "" && len(rows) > 0 {`, "if false {"},
	}},
	{"O1", "a silent group seems to have lost its members", []edit{
		{"trouble.go", "if l.Quiescent || p.CaughtUp", "if p.CaughtUp"},
	}},
}

// yieldMutants are defects of how snapshots yield to the log.
var yieldMutants = []mutant{
	{"P5", "a snapshot does not rest", []edit{
		{"courier.go", "d.rests = now.Add(min(yielding", "_ = (min(yielding"},
	}},
	{"P5", "a snapshot rests as long as it has worked", []edit{
		{"pace.go", "const yielding = 4", "const yielding = 1"},
	}},
	{"P5", "a snapshot rests for any time", []edit{
		{"courier.go", "min(yielding*now.Sub(d.sent), c.host.cfg.Raft.ElectionTimeout/2)", "yielding*now.Sub(d.sent) + c.host.cfg.Raft.ElectionTimeout"},
	}},
	{"P5", "windows of a snapshot overlap while the log works", []edit{
		{"courier.go", "busy && d.taken < d.next {", "busy && false {"},
	}},
	{"P5", "a snapshot does not know that the log works", []edit{
		{"log.go", "\t\tl.host.pace.saves.Add(1)\n", ""},
	}},
	{"P5", "who writes a snapshot does not rest", []edit{
		{"pace.go", "s.host.logBusy(s.saves) {", "false {"},
	}},
	{"P5", "who writes a snapshot rests although the log does nothing", []edit{
		{"pace.go", "s.host.cfg.Runtime == s.host.dispatcher && s.host.logBusy(s.saves) {", "s.host.cfg.Runtime == s.host.dispatcher {"},
	}},
}

// loadMutants are defects of how a peer that is far behind yields to the others.
var loadMutants = []mutant{
	{"P5", "a peer that is far behind does not yield", []edit{
		{"progress.go", "return n.now < l.rests", "return false"},
	}},
	{"P5", "a peer that is far behind rests as long as it has worked", []edit{
		{"progress.go", "const yielding = 4", "const yielding = 1"},
	}},
	{"P5", "a peer that is far behind rests for any time", []edit{
		{"progress.go", "min(yielding*n.now.Sub(l.began), n.cfg.HeartbeatInterval)", "yielding * n.now.Sub(l.began)"},
	}},
	{"P5", "loads overlap while others commit", []edit{
		{"progress.go", "l.rests == math.MaxInt64 && p.inflight.count == 0", "l.rests == math.MaxInt64"},
	}},
	{"P5", "a peer yields to nobody", []edit{
		{"progress.go", "if n.log.commit > l.commit {", "if true {"},
	}},
	{"P5", "a peer falls behind because it yields", []edit{
		{"progress.go", "grew > 0 && came/2 >= grew", "grew > 0"},
	}},
	{"P5", "nobody wakes a leader that rests", []edit{
		{"leader.go", "at = min(at, p.loads.rests)", "_ = p"},
	}},
}
