package raftcore

// Output is everything that a node wants since the last Drain, one field per
// neighbour. Every field may be acted upon at once, in any order, in parallel:
// what has to wait for the disk has been held inside the core.
//
// The slices of an Output, and what the Bodies of its messages point to, belong
// to it until the next Drain into the same Output, which reuses them. Entries
// and their data are immutable and may be kept.
type Output struct {
	// Save is for the log, when Token.Sequence is not zero. Saves must be
	// executed in their order, each one whole; completions may skip: Saved
	// for one stands for all before it.
	Save Save
	// Load is for the log, too: reading may overlap saving.
	Load []Load
	// Send is for the peers. Messages may be dropped; Unreachable tells.
	Send []Message
	// Apply is for the state machine, when it has Entries: contiguous, after
	// those of the Apply before it.
	Apply Apply
	// Restore is for the state machine, if it is not nil: it must become what this
	// snapshot holds, and say Applied for it. Nothing is handed out in Apply
	// before it has.
	Restore *SnapshotMeta
	// Compact is for the state machine, too: take a snapshot, of whatever is
	// applied by then, and say SnapshotTaken, also if it comes to nothing: until
	// then it is not asked again.
	Compact bool
	// Reads are for the state machine: each may be answered as soon as it has
	// applied all entries up to the read's Index.
	Reads []ReadReady
	// Replies are for those who asked.
	Replies []Reply
	// Stages are what watched proposals have come to.
	Stages []StageAt
	// StatusChanged says that role, term, leader, or configuration changed, that the
	// configuration is committed now, or that this leader is Readable now.
	StatusChanged bool
	// Quiescent: this node has nothing to do until something happens; it sends
	// nothing, and expects nothing, not even from its leader. Its host must step
	// Unreachable when the leader is gone, or is gone already when this turns true; for
	// a leader it should do so when a follower is, else it may lead nobody for long.
	Quiescent bool
	// AwaitsApplied: there will be something to do when the state machine has applied what it
	// was given. Otherwise Applied may wait until the node is given another input.
	AwaitsApplied bool
	// Deadline is when the node wants a Tick even if nothing else happens; zero
	// if time means nothing to it.
	Deadline Instant

	// What the Bodies of Send point into, reused like the rest.
	voteRequests   []VoteRequest
	voteReplies    []VoteReply
	appendRequests []AppendRequest
	appendReplies  []AppendReply
}

// handOver moves what o wants to out, and leaves o empty, with the buffers that
// out had. What is empty on both sides stays where it is: nearly all of it,
// nearly always.
func (o *Output) handOver(out *Output) {
	clear(out.Send)
	clear(out.appendRequests) // they would keep the window's old arrays alive
	if out.Save = o.Save; o.Save.Token.Sequence != 0 {
		o.Save = Save{}
	}
	out.Apply.Entries, o.Apply.Entries = o.Apply.Entries, nil
	out.Restore, o.Restore = o.Restore, nil
	out.Compact, o.Compact = o.Compact, false
	out.StatusChanged, o.StatusChanged = o.StatusChanged, false
	out.Quiescent, out.Deadline, out.AwaitsApplied = o.Quiescent, o.Deadline, o.AwaitsApplied
	exchange(&out.Load, &o.Load)
	exchange(&out.Send, &o.Send)
	exchange(&out.Apply.Tags, &o.Apply.Tags)
	exchange(&out.Reads, &o.Reads)
	exchange(&out.Replies, &o.Replies)
	exchange(&out.Stages, &o.Stages)
	exchange(&out.voteRequests, &o.voteRequests)
	exchange(&out.voteReplies, &o.voteReplies)
	exchange(&out.appendRequests, &o.appendRequests)
	exchange(&out.appendReplies, &o.appendReplies)
}

// exchange gives theirs what own holds, and own the buffer that theirs was.
func exchange[T any](theirs, own *[]T) {
	if len(*theirs)+len(*own) > 0 {
		*theirs, *own = *own, (*theirs)[:0]
	}
}

// Empty reports whether o asks for nothing but time.
func (o *Output) Empty() bool {
	return o.Save.Token.Sequence == 0 && len(o.Load) == 0 && len(o.Send) == 0 && len(o.Apply.Entries) == 0 &&
		o.Restore == nil && !o.Compact && len(o.Reads) == 0 && len(o.Replies) == 0 && len(o.Stages) == 0 && !o.StatusChanged
}

// Token names a Save. It comes back in Saved.
type Token struct {
	// Boot is the node's Config.Boot: a completion that was meant for an earlier
	// start is ignored.
	Boot uint64
	// Sequence counts the Saves of this start, from 1.
	Sequence uint64
}

// Save asks for the hard state and the entries to be made durable together:
// after a crash there are both, or what was there before.
type Save struct {
	Token Token
	// HardState is the current one, changed or not.
	HardState HardState
	// Snapshot, if it is not nil, is the newest snapshot from now on.
	Snapshot *SnapshotMeta
	// Base, if it is not nil, is where the log begins from now on: entries up to
	// Base.Last are not needed any more. Its Time is that of the snapshot. It comes
	// before Entries.
	Base *SnapshotMeta
	// Reset says that a leader's snapshot takes the place of the whole log: of the
	// entries that were saved before none is left, and the log begins after Base.
	Reset bool
	// Entries follow what was saved before, or replace it: every saved entry
	// with an index of at least Entries[0].Index is gone afterwards.
	Entries []Entry
	// Lineage says that a new lineage begins here: the cluster of the hard state
	// is another one. No node asks for that; see Lineage.Begin.
	Lineage bool
}

// Load asks for saved entries that the node no longer holds.
type Load struct {
	// For is the peer that needs them, or the node itself, which will apply them.
	For NodeID
	// Term is the node's when it asked.
	Term Term
	// From and To are the first and the last entry wanted.
	From, To Index
	// MaxBytes bounds the answer. One entry is always wanted, however large.
	MaxBytes int
}

// Apply hands committed entries to the state machine.
type Apply struct {
	Entries []Entry
	// Tags are the proposals of this node among the entries, in log order.
	Tags []TagAt
}

// TagAt says which entry a proposal became.
type TagAt struct {
	Tag   Tag
	Index Index
}

// Stage is how far a watched proposal has come.
type Stage uint8

// The stages, in their order. A proposal that leaves this path ends in a Reply.
const (
	StageQueued    Stage = iota + 1 // it has a place in the leader's log
	StageSaved                      // it is on the leader's disk
	StageCommitted                  // it is on a quorum's, and will be applied everywhere
	StageApplied                    // this node's state machine has applied it
)

// StageAt says that a proposal has come to a stage.
type StageAt struct {
	Tag   Tag
	Stage Stage
	Entry EntryID
}

// ReadReady says at which index a read answers linearizably.
type ReadReady struct {
	Tag   Tag
	Index Index
}

// Reply is the outcome of a request that ended inside the core.
type Reply struct {
	Tag     Tag
	Outcome Outcome
	// Leader is where to ask instead, if known.
	Leader NodeID
	// Limit names the bound in Config that is reached, for Busy.
	Limit string
	// MaybeHappened: nobody here knows whether it happened, or may yet. Without it
	// every Outcome but Done says that it did not and never will.
	MaybeHappened bool
}

// Outcome is how a request ended inside the core.
type Outcome uint8

// The outcomes.
const (
	// Done: the request was carried out.
	Done Outcome = iota
	// NotLeader: this node does not lead, or stopped leading before a read was
	// confirmed.
	NotLeader
	// Busy: a bound in Config is reached. Ask again when something has completed.
	Busy
	// Overwritten: another leader's entry has taken the proposal's place, and is
	// committed there.
	Overwritten
	// TooLarge: the command alone exceeds Config.MaxCommandBytes.
	TooLarge
	// NotPristine: the node has a log, of another lineage than the one to found.
	NotPristine
	// BadConfig: the configuration names no voter, or a node twice, or so many witnesses
	// that they would be a majority; or it says that the node to be founded is a witness,
	// and it is none, or the other way round.
	BadConfig
	// ConfigChanged: another configuration is in force than the one expected.
	ConfigChanged
	// ChangeInProgress: another change of the configuration is under way.
	ChangeInProgress
	// NotReady: this leader has not yet committed an entry of its term, or the
	// configuration in force: ask again soon.
	NotReady
	// NotCaughtUp: a new voter does not catch up. It stays a learner.
	NotCaughtUp
	// Transferring: the leader is handing its office over.
	Transferring
	// NotVoter: the target of a transfer cannot lead: it has no vote, or no data.
	NotVoter
	// TimedOut: the transfer was not over in time, and has been called off.
	TimedOut
	// CalledOff: the transfer was called off, by a request or by a change of the
	// configuration.
	CalledOff
	// LeadershipLost: this node stopped leading before the request was carried out.
	LeadershipLost
	// Compacted: a snapshot has taken the place of the proposal's entry, and the
	// result, if there was one, is not known here.
	Compacted
	// NotInPlace: a member would become a witness, or stop being one. Remove it, and add it
	// anew, with a fresh disk.
	NotInPlace
)
