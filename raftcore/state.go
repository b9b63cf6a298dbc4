package raftcore

// The walk through a node's state: every field that its next steps depend on. What
// is left out is in no output: buffers and their sizes, who listens, and the Output,
// which is empty between a Drain and a Step. A test compares this with the fields
// that there are.

func (n *Node) visit(a Archive) {
	n.cfg.visit(a)
	n.visitChance(a)
	num(a, &n.incarnation)
	n.hard.visit(a)
	n.log.visit(a)
	list(a, &n.members.history, (*ConfigAt).visit)
	list(a, &n.tags, (*TagAt).visit)
	num(a, &n.now)
	num(a, &n.time)
	num(a, &n.appendedAt)
	num(a, &n.role)
	num(a, &n.leaderID)
	num(a, &n.electionAt)
	n.following.visit(a)
	n.campaign.visit(a)
	n.leader.visit(a)
	n.reads.visit(a)
	num(a, &n.promises.voteTo)
	n.promises.vote.visit(a)
	flag(a, &n.promises.candidacy)
	n.applying.visit(a)
	n.snapshots.visit(a)
	n.transfer.visit(a)
	list(a, &n.overruled, func(o *overruled, a Archive) { num(a, &o.tag); o.entry.visit(a) })
	list(a, &n.watched, func(w *watched, a Archive) { num(a, &w.tag); w.entry.visit(a); num(a, &w.stage) })
	num(a, &n.lonelyFrom)
	num(a, &n.holdUntil)
	num(a, &n.demandedAt)
	flag(a, &n.quiet)
	flag(a, &n.stalled)
	num(a, &n.sequence)
	num(a, &n.savedSequence)
	num(a, &n.hardSequence)
	flag(a, &n.hardDirty)
	num(a, &n.refused)
	num(a, &n.other)
	n.checked.visit(a)
	num(a, &n.checkedCommit)
}

// visitChance is a walk through the generator of the jitter, whose state is to be had
// as four letters and sixteen bytes only.
func (n *Node) visitChance(a Archive) {
	var space [20]byte
	state, _ := n.pcg.AppendBinary(space[:0])
	for i := 4; i < len(state); i += 8 {
		x := uint64(0)
		for _, b := range state[i : i+8] {
			x = x<<8 | uint64(b)
		}
		x = a.Uint(x)
		for k := range 8 {
			state[i+k] = byte(x >> (56 - 8*k))
		}
	}
	if err := n.pcg.UnmarshalBinary(state); err != nil {
		panic(err) // it has just been marshalled
	}
}

func (c *Config) visit(a Archive) {
	num(a, &c.ID)
	num(a, &c.Boot)
	num(a, &c.Seed)
	num(a, &c.ElectionTimeout)
	num(a, &c.HeartbeatInterval)
	flag(a, &c.Joins)
	flag(a, &c.Witness)
	num(a, &c.Priority)
	flag(a, &c.CampaignOnDemand)
	flag(a, &c.Quiesce)
	flag(a, &c.LeaseReads)
	num(a, &c.MaxClockDrift)
	num(a, &c.SaveTimeout)
	num(a, &c.SnapshotEntries)
	num(a, &c.SnapshotBytes)
	num(a, &c.SnapshotAge)
	num(a, &c.KeepEntries)
	num(a, &c.MaxAppendBytes)
	num(a, &c.MaxInflight)
	num(a, &c.MaxInflightBytes)
	num(a, &c.MaxCommandBytes)
	num(a, &c.MaxUncommittedBytes)
	num(a, &c.MaxApplyBytes)
	num(a, &c.MaxUnapplied)
	num(a, &c.MaxUnsavedBytes)
	num(a, &c.MaxReads)
	num(a, &c.MaxWindowBytes)
}

func (l *log) visit(a Archive) {
	l.base.visit(a)
	list(a, &l.runs, func(r *TermRun, a Archive) { num(a, &r.First); num(a, &r.Term) })
	num(a, &l.last)
	num(a, &l.lastTime)
	num(a, &l.commit)
	entries(a, &l.window.entries)
	num(a, &l.window.bytes)
	num(a, &l.handed)
	num(a, &l.saved)
	list(a, &l.saving, func(s *saving, a Archive) { num(a, &s.sequence); num(a, &s.first); num(a, &s.last); num(a, &s.since) })
	num(a, &l.replaced)
}

func (t *TagAt) visit(a Archive) { num(a, &t.Tag); num(a, &t.Index) }

func (f *following) visit(a Archive) {
	num(a, &f.verified)
	num(a, &f.acked)
	num(a, &f.round)
	num(a, &f.inOrder)
	num(a, &f.heardAt)
	flag(a, &f.owes)
	flag(a, &f.flooded)
	flag(a, &f.doubtful)
	flag(a, &f.rejecting)
	f.rejection.visit(a)
}

func (c *campaign) visit(a Archive) {
	num(a, &c.number)
	list(a, &c.votes, (*vote).visit)
	list(a, &c.before, (*vote).visit)
	flag(a, &c.transfer)
}

func (v *vote) visit(a Archive) { num(a, &v.from); num(a, &v.ballot) }

func (l *leading) visit(a Archive) {
	list(a, &l.peers, (*progress).visit)
	num(a, &l.start)
	num(a, &l.uncommittedBytes)
	num(a, &l.released)
	num(a, &l.committedAt)
	flag(a, &l.crowded)
	num(a, &l.round)
	num(a, &l.quorumUntil)
	flag(a, &l.retiring)
	num(a, &l.farewell)
	for i := range l.opened {
		num(a, &l.opened[i])
	}
	pointer(a, &l.change, func(c *change, a Archive) { c.target.visit(a); nums(a, &c.tags) })
	flag(a, &l.urged)
	num(a, &l.yieldedTo)
	num(a, &l.idleSince)
	flag(a, &l.witnessed)
	num(a, &l.lastBefore)
}

func (p *progress) visit(a Archive) {
	num(a, &p.id)
	num(a, &p.state)
	flag(a, &p.witness)
	num(a, &p.match)
	num(a, &p.matchedIn)
	num(a, &p.next)
	num(a, &p.incarnation)
	num(a, &p.met)
	num(a, &p.since)
	flag(a, &p.departing)
	num(a, &p.departBy)
	flag(a, &p.newcomer)
	flag(a, &p.welcomed)
	num(a, &p.metAt)
	flag(a, &p.probed)
	num(a, &p.asked)
	flag(a, &p.loading)
	num(a, &p.loads.began)
	num(a, &p.loads.match)
	num(a, &p.loads.commit)
	num(a, &p.loads.rests)
	p.inflight.visit(a)
	num(a, &p.snapshot)
	num(a, &p.snapshotBy)
	num(a, &p.behind)
	num(a, &p.catchUp.target)
	num(a, &p.catchUp.began)
	flag(a, &p.catchUp.quick)
	num(a, &p.catchUp.slow)
	num(a, &p.catchUp.grewAt)
	num(a, &p.round)
	num(a, &p.heardAt)
	num(a, &p.inOrder)
	num(a, &p.reachedAt)
	num(a, &p.leaseFrom)
	num(a, &p.heartbeatAt)
	flag(a, &p.question)
	num(a, &p.sentRound)
	num(a, &p.sentCommit)
	num(a, &p.reads)
}

// visit walks through what is in flight, oldest first, wherever in the ring it lies.
func (f *inflight) visit(a Archive) {
	if n := a.Len(f.count); n != f.count {
		*f = inflight{ring: make([]sent, n), count: n}
	}
	for i := range f.count {
		s := &f.ring[(f.first+i)%len(f.ring)]
		num(a, &s.last)
		num(a, &s.bytes)
	}
	num(a, &f.bytes)
}

func (r *reads) visit(a Archive) {
	list(a, &r.waiting, (*waitingRead).visit)
	list(a, &r.confirming, (*waitingRead).visit)
	num(a, &r.round)
	num(a, &r.index)
	num(a, &r.sequence)
	num(a, &r.askAgainAt)
}

func (w *waitingRead) visit(a Archive) { num(a, &w.tag); num(a, &w.from); num(a, &w.sequence) }

func (p *applying) visit(a Archive) {
	num(a, &p.sent)
	num(a, &p.done)
	p.batches.visit(a)
	flag(a, &p.loading)
	num(a, &p.retryAt)
	pointer(a, &p.restore, (*SnapshotMeta).visit)
	flag(a, &p.restoring)
}

func (s *snapshots) visit(a Archive) {
	s.newest.visit(a)
	flag(a, &s.unsaved)
	flag(a, &s.asked)
	num(a, &s.retryAt)
	num(a, &s.at)
	num(a, &s.bytes)
	num(a, &s.before)
}

func (t *transferring) visit(a Archive) {
	num(a, &t.to)
	nums(a, &t.tags)
	num(a, &t.deadline)
	num(a, &t.toldAt)
}
