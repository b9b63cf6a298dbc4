package raftcore

// bootstrap writes the first entry, the same on every founding member, so that
// they agree on it without having spoken.
func (n *Node) bootstrap(in Bootstrap) {
	outcome := Done
	switch {
	case in.Cluster == 0 || !in.Conf.valid() || in.Conf.Joint(), in.Conf.Contains(n.cfg.ID) && in.Conf.Witness(n.cfg.ID) != n.cfg.Witness:
		outcome = BadConfig
	case n.hard.Cluster != in.Cluster && n.hard != HardState{}:
		outcome = NotPristine
	case n.log.last > 0 && n.members.at() == founding && !n.members.current().Equal(in.Conf):
		outcome = NotPristine // founded with others
	case n.log.last > 0:
		// Founded before, or joined those who were: nothing to do.
	default:
		// Pristine, or a bystander: it heard of the lineage, and has no log yet.
		n.hard.Term = max(n.hard.Term, 1)
		n.hard.Cluster = in.Cluster
		n.hardDirty = true
		conf := in.Conf
		n.log.push(&Entry{EntryID: EntryID{Term: 1, Index: 1}, Kind: EntryConfig, Config: &conf})
		n.traced(TraceAppend, nil)
		n.adopt(1, &conf)
		n.resetElection()
		if len(conf.Voters) == 1 {
			n.electionAt = n.now // nobody to wait for
		}
	}
	n.reply(in.Tag, outcome)
}
