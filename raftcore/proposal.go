package raftcore

import (
	"cmp"
	"slices"
)

// overruled is a proposal of this node whose entry was cut off its log.
type overruled struct {
	tag   Tag
	entry EntryID
}

// cutOff notes that entries from an index on are about to leave the log. That is
// not the end of their proposals: what one leader has overruled another may have
// in its log, and commit.
func (n *Node) cutOff(from Index) {
	keep := len(n.tags)
	for keep > 0 && n.tags[keep-1].Index >= from {
		keep--
	}
	for _, t := range n.tags[keep:] {
		term, _ := n.log.term(t.Index)
		n.overruled = append(n.overruled, overruled{t.Tag, EntryID{Term: term, Index: t.Index}})
	}
	n.tags = n.tags[:keep]
}

// settle ends the proposals that were cut off, when it is decided what has taken
// their places.
func (n *Node) settle() {
	if len(n.overruled) == 0 {
		return
	}
	open := n.overruled[:0]
	for _, o := range n.overruled {
		switch status := n.CommitStatus(o.entry); {
		case status == CommitRejected:
			n.reply(o.tag, Overwritten)
			n.unwatch(o.tag)
		case status == CommitCommitted && o.entry.Index > n.applying.sent: // it came back
			at, _ := slices.BinarySearchFunc(n.tags, o.entry.Index, func(t TagAt, i Index) int { return cmp.Compare(t.Index, i) })
			n.tags = slices.Insert(n.tags, at, TagAt{o.tag, o.entry.Index})
		case o.entry.Index <= n.log.commit:
			n.refuse(Reply{Tag: o.tag, Outcome: Compacted, MaybeHappened: true})
			n.unwatch(o.tag)
		default:
			open = append(open, o)
		}
	}
	n.overruled = open
}

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
		if !n.log.has(w.entry) {
			continue // it was cut off, and may come back
		}
		reached := StageQueued
		switch at := w.entry.Index; {
		case at <= n.applying.done:
			reached = StageApplied
		case at > n.log.saved: // a quorum of others may have committed it already
		case at <= n.log.commit:
			reached = StageCommitted
		default:
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
