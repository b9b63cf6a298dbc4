package raftcore

import "slices"

// applying is what the state machine has been given.
type applying struct {
	sent    Index    // handed out
	done    Index    // applied
	batches inflight // what lies between, in bytes
	loading bool
	retryAt Instant // after a Load that failed

	restore   *SnapshotMeta // to be handed out when it is durable
	restoring bool          // the machine is being restored to sent
}

// restoreFrom has the state machine begin from a snapshot.
func (n *Node) restoreFrom(s *SnapshotMeta) {
	if n.cfg.Witness {
		n.applying = applying{sent: s.Last.Index, done: s.Last.Index}
		return
	}
	own := *s
	n.applying = applying{sent: s.Last.Index, done: n.applying.done, restore: &own}
}

// apply hands committed entries to the state machine, as far as they are on
// this node's disk: a machine that keeps its own state must never be ahead of
// the log that explains it.
func (n *Node) apply() {
	a := &n.applying
	if a.restore != nil && n.log.saved >= a.restore.Last.Index {
		n.out.Restore = a.restore
		a.restore, a.restoring = nil, true
	}
	if a.restore != nil || a.restoring {
		return
	}
	upTo := min(n.log.commit, n.log.saved)
	room := n.cfg.MaxApplyBytes - a.batches.bytes
	if a.sent >= upTo || room <= 0 || a.loading || n.now < a.retryAt || len(n.out.Apply.Entries) > 0 {
		return
	}
	entries := n.log.slice(a.sent+1, upTo, room)
	if entries == nil {
		a.loading = true
		n.out.Load = append(n.out.Load, Load{
			For: n.cfg.ID, Term: n.hard.Term, From: a.sent + 1, To: min(upTo, n.log.windowFirst()-1), MaxBytes: room,
		})
		return
	}
	n.handOut(entries)
}

func (n *Node) handOut(entries []Entry) {
	a := &n.applying
	bytes := 0
	for i := range entries {
		if entries[i].Kind == EntryMeta {
			n.broken(RuleWitness, "entry %v has no data, and is to be applied", entries[i].EntryID)
		}
		bytes += entries[i].Size()
	}
	a.sent = entries[len(entries)-1].Index
	n.snapshots.bytes += bytes
	a.batches.add(a.sent, bytes)
	n.out.Apply.Entries = entries
	n.settle()
	done := 0
	for done < len(n.tags) && n.tags[done].Index <= a.sent {
		done++
	}
	n.out.Apply.Tags = append(n.out.Apply.Tags, n.tags[:done]...)
	n.tags = slices.Delete(n.tags, 0, done)
}

// applyLoaded hands out committed entries that were read from the disk. If they
// could not be read, or are not what the log says, the node asks again after a
// heartbeat's time.
func (n *Node) applyLoaded(in Loaded) {
	a := &n.applying
	if !a.loading {
		return
	}
	a.loading = false
	if in.Load.From == a.sent+1 && n.follows(&in) && in.Entries[len(in.Entries)-1].Index <= min(n.log.commit, n.log.saved) {
		n.handOut(within(in.Entries, in.Load.MaxBytes))
	} else {
		a.retryAt = n.now.Add(n.cfg.HeartbeatInterval)
	}
}

// awaitsApplied reports whether something waits for the machine: more entries than it had
// room for, a snapshot, somebody who is told; or nothing but the machine will wake this node.
func (n *Node) awaitsApplied() bool {
	a, s, c := &n.applying, &n.snapshots, &n.cfg
	return a.done < a.sent && (n.out.Deadline == 0 || a.restore != nil || a.restoring || a.sent < min(n.log.commit, n.log.saved) || len(n.watched) > 0 ||
		c.SnapshotEntries > 0 && a.sent-s.newest.Last.Index >= Index(c.SnapshotEntries) || c.SnapshotBytes > 0 && s.bytes >= c.SnapshotBytes)
}

// applied takes the news how far the machine has come.
func (n *Node) applied(in Applied) {
	a := &n.applying
	if max(in.Index, in.Passed) > a.sent {
		n.broken(RuleAppliedCommitted, "applied %d, passed %d, handed out %d", in.Index, in.Passed, a.sent)
	}
	if (a.restore != nil || a.restoring) && in.Index < a.sent {
		return // what it had applied before
	}
	a.restoring = false
	a.done = max(a.done, in.Index)
	a.batches.free(max(a.done, in.Passed))
}
