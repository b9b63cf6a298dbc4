package raftcore

import "slices"

// watched is a proposal whose stages somebody wants to hear of.
type watched struct {
	tag   Tag
	entry EntryID
	stage Stage
}

func (n *Node) watch(tag Tag, entry EntryID) {
	n.watched = append(n.watched, watched{tag, entry, StageQueued})
	n.out.Stages = append(n.out.Stages, StageAt{Tag: tag, Stage: StageQueued, Entry: entry})
}

// unwatch forgets a proposal that ended otherwise.
func (n *Node) unwatch(tag Tag) {
	n.watched = slices.DeleteFunc(n.watched, func(w watched) bool { return w.tag == tag })
}

// tellStages tells how far the watched proposals have come, no stage left out.
func (n *Node) tellStages() {
	if len(n.watched) == 0 {
		return
	}
	for i := range n.watched {
		w := &n.watched[i]
		reached := StageQueued
		switch at := w.entry.Index; {
		case at <= n.applying.done:
			reached = StageApplied
		case at <= n.log.commit:
			reached = StageCommitted
		case at <= n.log.saved:
			reached = StageSaved
		}
		for w.stage < reached {
			w.stage++
			n.out.Stages = append(n.out.Stages, StageAt{Tag: w.tag, Stage: w.stage, Entry: w.entry})
		}
	}
	n.watched = slices.DeleteFunc(n.watched, func(w watched) bool { return w.stage == StageApplied })
}

// CommitStatus is what a node knows of an entry.
type CommitStatus uint8

// What a node knows of an entry.
const (
	// CommitUnknown: the node does not have the entry, and it may or may not be
	// committed; or the node had it, and has compacted its log since.
	CommitUnknown CommitStatus = iota
	// CommitInProgress: the node has the entry, and it may be committed yet.
	CommitInProgress
	// CommitCommitted: the entry is committed.
	CommitCommitted
	// CommitRejected: the entry is not committed and never will be.
	CommitRejected
)

// CommitStatus returns what this node knows of an entry.
func (n *Node) CommitStatus(id EntryID) CommitStatus {
	committed, _ := n.log.term(n.log.commit)
	switch term, known := n.log.term(id.Index); {
	case id.Index == 0 || id.Term == 0:
		return CommitRejected
	case id.Index <= n.log.commit && !known:
		return CommitUnknown
	case id.Index <= n.log.commit && term == id.Term:
		return CommitCommitted
	case id.Index <= n.log.commit:
		return CommitRejected
	case id.Term < committed:
		return CommitRejected // terms never fall along a log, and this much of it is certain
	case known && term == id.Term:
		return CommitInProgress
	}
	return CommitUnknown
}
