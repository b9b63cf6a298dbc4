package raftcore

import (
	"fmt"
	"strings"
)

// The String forms are what traces and stories are made of: one line per
// arrow, so that a difference between two traces is a difference in behaviour.

func (id EntryID) String() string { return fmt.Sprintf("%d/%d", id.Term, id.Index) }

// named returns the name of one of a few numbered things.
func named[T ~uint8](what string, i T, names ...string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s-%d", what, uint8(i))
}

func (k EntryKind) String() string {
	return named("kind", k, "kind-0", "noop", "command", "config", "host", "meta")
}

func (e Entry) String() string {
	switch e.Kind {
	case EntryNoop:
		return fmt.Sprintf("%v noop", e.EntryID)
	case EntryConfig:
		return fmt.Sprintf("%v config %v", e.EntryID, e.Config)
	case EntryMeta:
		return fmt.Sprintf("%v meta", e.EntryID)
	}
	if len(e.Data) > 16 {
		return fmt.Sprintf("%v %q…(%d)", e.EntryID, e.Data[:13], len(e.Data))
	}
	return fmt.Sprintf("%v %q", e.EntryID, e.Data)
}

func (r Role) String() string {
	return named("role", r, "follower", "pre-candidate", "candidate", "leader")
}

func (c ConfState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "voters=%v", c.Voters)
	if c.Joint() {
		fmt.Fprintf(&b, " outgoing=%v", c.Outgoing)
	}
	if len(c.Learners) > 0 {
		fmt.Fprintf(&b, " learners=%v", c.Learners)
	}
	if len(c.Witnesses) > 0 {
		fmt.Fprintf(&b, " witnesses=%v", c.Witnesses)
	}
	return b.String()
}

func (o Outcome) String() string {
	return named("outcome", o, "done", "not leader", "busy", "overwritten", "too large", "not pristine",
		"bad configuration", "the configuration has changed", "a change is in progress", "not ready",
		"not caught up", "transferring", "not a voter", "timed out", "called off", "leadership lost",
		"compacted", "not in place")
}

func (m Message) String() string {
	return fmt.Sprintf("%d->%d term=%d %v", m.From, m.To, m.Term, m.Body)
}

func (b *VoteRequest) String() string {
	s := fmt.Sprintf("VoteRequest last=%v", b.Last)
	if b.Pre {
		s = "Pre" + s
	}
	if b.Transfer {
		s += " transfer"
	}
	if b.Priority != 0 {
		s += fmt.Sprintf(" priority=%d", b.Priority)
	}
	return s
}

func (b *VoteReply) String() string {
	name, answer := "VoteReply", "refused"
	if b.Pre {
		name = "PreVoteReply"
	}
	if b.Granted {
		answer = "granted"
	}
	return name + " " + answer
}

func (b *AppendRequest) String() string {
	s := fmt.Sprintf("AppendRequest prev=%v commit=%d round=%d", b.Prev, b.Commit, b.Round)
	if len(b.Entries) > 0 {
		s += " " + entriesString(b.Entries)
	}
	if b.Admit {
		s += " admit"
	}
	if b.Quiesce {
		s += " quiesce"
	}
	return s
}

func (s *SnapshotMeta) String() string {
	return fmt.Sprintf("snapshot of %v, %v", s.Last, &s.Conf.Conf)
}

func (b *SnapshotRequest) String() string {
	s := "SnapshotRequest " + b.Snapshot.String()
	if b.Bare {
		s += " bare"
	}
	return s
}

func (*TimeoutNow) String() string { return "TimeoutNow" }

// A sequence number begins with the number of the start, which traces leave out.
func (b *ReadRequest) String() string { return fmt.Sprintf("ReadRequest #%d", uint32(b.Sequence)) }

func (b *ReadReply) String() string {
	if b.Refused {
		return fmt.Sprintf("ReadReply #%d refused", uint32(b.Sequence))
	}
	return fmt.Sprintf("ReadReply #%d at %d", uint32(b.Sequence), b.Index)
}

func (s Stage) String() string {
	return named("stage", s, "none", "queued", "saved", "committed", "applied")
}

func (s CommitStatus) String() string {
	return named("status", s, "unknown", "in progress", "committed", "rejected")
}

func (b *AppendReply) String() string {
	s := fmt.Sprintf("AppendReply match=%d round=%d", b.Match, b.Round)
	if b.Rejected {
		s = fmt.Sprintf("AppendReply rejected probed=%v hint=%v round=%d", b.Probed, b.Hint, b.Round)
	}
	if b.Flooded {
		s += " flooded"
	}
	if b.Newcomer {
		s += " newcomer"
	}
	return s
}

func entriesString(entries []Entry) string {
	if len(entries) > 4 {
		return fmt.Sprintf("[%v … %v]", entries[0], entries[len(entries)-1])
	}
	return fmt.Sprint(entries)
}

func (s Save) String() string {
	out := fmt.Sprintf("Save #%d term=%d", s.Token.Sequence, s.HardState.Term)
	if s.HardState.Vote != Nobody {
		out += fmt.Sprintf(" vote=%d", s.HardState.Vote)
	}
	if s.Snapshot != nil {
		out += " " + s.Snapshot.String()
	}
	if s.Base != nil {
		out += fmt.Sprintf(" base=%v", s.Base.Last)
	}
	if s.Reset {
		out += " reset"
	}
	if s.Lineage {
		out += fmt.Sprintf(" begins lineage %x", uint64(s.HardState.Cluster))
	}
	if len(s.Entries) > 0 {
		out += " " + entriesString(s.Entries)
	}
	return out
}

func (l Load) String() string { return fmt.Sprintf("Load %d..%d for %d", l.From, l.To, l.For) }

func (a Apply) String() string { return "Apply " + entriesString(a.Entries) }

func (r Reply) String() string {
	s := fmt.Sprintf("Reply tag=%d %v", r.Tag, r.Outcome)
	if r.Limit != "" {
		s += " " + r.Limit
	}
	if r.MaybeHappened {
		s += " (may have happened)"
	}
	if r.Leader != Nobody {
		s += fmt.Sprintf(" leader=%d", r.Leader)
	}
	return s
}

func (s StageAt) String() string {
	return fmt.Sprintf("Stage tag=%d %v as %v", s.Tag, s.Stage, s.Entry)
}

func (r ReadReady) String() string { return fmt.Sprintf("Read tag=%d at %d", r.Tag, r.Index) }

func (s SnapshotStatus) String() string {
	return named("snapshot-status", s, "none", "moving", "delivered", "failed")
}

func (p PeerStatus) String() string {
	return fmt.Sprintf("peer %d %s match=%d next=%d", p.ID, p.State, p.Match, p.Next)
}

func (e TraceEvent) String() string {
	s := fmt.Sprintf("%d %v", e.Node, e.Kind)
	switch e.Kind {
	case TraceRole:
		s += fmt.Sprintf(" %v term=%d", e.Role, e.Term)
		if e.Leader != Nobody && e.Leader != e.Node {
			s += fmt.Sprintf(" leader=%d", e.Leader)
		}
	case TraceCommit:
		s += fmt.Sprintf(" %d", e.Commit)
	case TraceConfig:
		s += " " + e.Conf.String()
	case TraceAppend:
		s += fmt.Sprintf(" last=%v", e.Last)
	case TraceSaved:
		s += fmt.Sprintf(" %d", e.Saved)
	case TraceCompact, TraceSnapshot:
		s += fmt.Sprintf(" base=%v", e.Base)
	case TraceSend, TraceReceive:
		s += " " + e.Message.String()
	}
	return s
}

func (n *Node) String() string { return n.Status().String() }
