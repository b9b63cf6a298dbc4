package raftcore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Node is one participant of one group: the Raft algorithm as a value. It is
// not safe for concurrent use; give it to one goroutine, or one actor.
//
// Use it in batches: Step a Tick, Step whatever waits, Drain once.
type Node struct {
	cfg         Config
	pcg         *rand.PCG // what rng draws from
	rng         *rand.Rand
	incarnation Incarnation

	hard    HardState
	log     log
	members membership
	tags    []TagAt // this node's proposals that are in its log and not handed to the machine

	now        Instant
	time       int64
	appendedAt Instant // when the log last grew

	role       Role
	leaderID   NodeID  // who leads in this term, if known
	electionAt Instant // when to campaign, unless something happens before
	following  following
	campaign   campaign
	leader     leading
	reads      reads
	promises   promises
	applying   applying
	snapshots  snapshots
	transfer   transferring
	overruled  []overruled
	watched    []watched
	lonelyFrom Instant // since when no leader is known; what CampaignOnDemand and Priority count from
	// holdUntil is until when this node has promised not to elect anybody else, by
	// echoing a round: a leader's lease counts on it, whatever term is heard of
	// meanwhile. A node that was restarted may have promised it before.
	holdUntil  Instant
	demandedAt Instant // the last campaign on demand
	quiet      bool    // quiescent
	stalled    bool    // the disk is
	trace      func(TraceEvent)
	recorder   Recorder

	sequence      uint64 // the newest Save
	savedSequence uint64 // the newest one that is durable
	hardSequence  uint64 // the one that carries hard
	hardDirty     bool   // hard is in no Save yet

	out           Output
	refused       uint64    // messages that were refused: another cluster, malformed, forged
	other         ClusterID // of the last message that another lineage sent
	checked       HardState
	checkedCommit Index
}

// New returns a node that continues from what its disk kept. The zero Recovered
// starts a pristine one, which does nothing until it is founded with Bootstrap
// or hears from a leader.
func New(cfg Config, r Recovered) (*Node, error) {
	cfg = cfg.WithDefaults()
	cfg.Joins = cfg.Joins || r.Damaged
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("raftcore: bad config: %w", err)
	}
	if cfg.Boot == 0 { // not Validate's: who checks a Config beforehand has not started anything yet
		return nil, fmt.Errorf("raftcore: bad config: Boot is zero, and does not tell this start from others")
	}
	if err := errors.Join(r.validate(), cfg.suits(&r)); err != nil {
		return nil, fmt.Errorf("raftcore: node %d: %w", cfg.ID, err)
	}
	n := &Node{
		cfg:         cfg,
		pcg:         rand.NewPCG(cfg.Seed, uint64(cfg.ID)),
		incarnation: r.Incarnation,
		hard:        r.HardState,
		checked:     r.HardState,
		log:         newLog(&r),
		members:     newMembership(r.BaseConf, r.Configs),
	}
	n.rng = rand.New(n.pcg)
	n.snapshots.newest = r.Snapshot
	n.applying.sent, n.applying.done = r.Base.Index, r.Base.Index
	if last := r.Snapshot.Last.Index; cfg.Witness {
		n.applying.sent, n.applying.done = n.log.commit, n.log.commit // there is nothing to apply to
	} else if last > 0 {
		if n.applying.sent, n.applying.done = r.Applied, r.Applied; r.Applied < last {
			n.restoreFrom(&n.snapshots.newest)
		}
	} else if r.Applied > 0 {
		n.applying.sent, n.applying.done = r.Applied, r.Applied
	}
	n.log.commit = max(n.log.commit, n.applying.done) // what was applied was committed
	// So that answers to an earlier start do not fit.
	n.campaign.number = cfg.Boot << 32
	n.reads.sequence = cfg.Boot << 32
	n.checkedCommit = n.log.commit
	n.check()
	return n, nil
}

// validate refuses a state that no node can have left behind: whoever read it
// from a disk read it wrong.
func (r *Recovered) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(string(RuleRecovered)+": "+format, args...))
	}
	first := r.Base.Index + 1
	if r.Last < r.Base.Index {
		bad("the log ends at %d, before its base %d", r.Last, r.Base.Index)
	}
	if len(r.Runs) == 0 != (r.Last == r.Base.Index) || len(r.Runs) > 0 && r.Runs[0].First != first {
		bad("term runs %v do not begin at %d", r.Runs, first)
	}
	term := r.Base.Term
	for i, run := range r.Runs {
		if run.Term < term || i > 0 && (run.Term == term || run.First <= r.Runs[i-1].First) || run.First > r.Last {
			bad("term runs %v do not ascend", r.Runs)
			break
		}
		term = run.Term
	}
	if r.Damaged && r.HardState.Joined {
		bad("a damaged disk, and its node counts among the voters")
	}
	if term > r.HardState.Term {
		bad("the log has term %d, the hard state only %d", term, r.HardState.Term)
	}
	if n := Index(len(r.Tail)); n > 0 && (n > r.Last-r.Base.Index || r.Tail[n-1].Index != r.Last || r.Tail[0].Index != r.Last-n+1) {
		bad("the tail is not the last %d entries", n)
	}
	if r.Last > maxIndex || (r.Base.Term == 0) != (r.Base.Index == 0) || len(r.Runs) > 0 && r.Runs[0].Term == 0 {
		bad("base %v, runs %v and last entry %d cannot be", r.Base, r.Runs, r.Last)
	}
	if r.HardState.Term == 0 && r.HardState.Vote != Nobody {
		bad("a vote for %d in no term", r.HardState.Vote)
	}
	if s := &r.Snapshot; s.Last != (EntryID{}) && !s.valid() || s.Last.Index < r.Base.Index || s.Last.Index > r.Last {
		bad("the snapshot is of %v, the log goes from %d to %d", s.Last, r.Base.Index, r.Last)
	}
	if r.Applied > r.Last || r.Applied > 0 && r.Applied < r.Base.Index && r.Applied >= r.Snapshot.Last.Index {
		bad("applied is %d, the log goes from %d to %d", r.Applied, r.Base.Index, r.Last)
	}
	l := log{base: r.Base, runs: r.Runs, last: r.Last}
	if s := r.Snapshot.Last; len(errs) == 0 && !l.has(s) {
		bad("the snapshot is of %v, and the log has another entry there", s)
	}
	for i := range r.Tail {
		if e := &r.Tail[i]; len(errs) == 0 && (e.Index != r.Tail[0].Index+Index(i) || !l.has(e.EntryID)) {
			bad("the tail has %v where the log has not", e.EntryID)
		}
	}
	before := r.BaseConf
	if c := before.Conf; before.Index > r.Base.Index || len(c.Members()) > 0 && !c.valid() {
		bad("the base's configuration is %v of %d", &before.Conf, before.Index)
	}
	for _, c := range r.Configs {
		if c.Index <= max(before.Index, r.Base.Index) || c.Index > r.Last || !c.Conf.valid() {
			bad("configuration %v of %d after that of %d", &c.Conf, c.Index, before.Index)
		}
		before = c
	}
	return errors.Join(errs...)
}

// Step takes one input. It never blocks and never fails: a refusal is a Reply.
// It panics with an InvariantError if a rule is broken.
func (n *Node) Step(in Input) {
	if n.recorder != nil {
		n.recorder.Input(n)
		recordInput(n.recorder, in)
	}
	if n.quiet && wakes(in) {
		n.wake(true)
	}
	switch in := in.(type) {
	case Tick:
		n.tick(in)
	case Receive:
		n.receive(&in.Message)
	case Propose:
		n.propose(in)
	case Read:
		n.read(in)
	case ChangeConfig:
		n.changeConfig(in)
	case Transfer:
		n.transferRequest(in)
	case Campaign:
		n.campaignNow()
	case Bootstrap:
		n.bootstrap(in)
	case SnapshotTaken:
		n.snapshotTaken(in)
	case SnapshotSent:
		n.snapshotSent(in)
	case Saved:
		n.saved(in.Token)
	case Loaded:
		n.loaded(in)
	case Applied:
		n.applied(in)
	case Unreachable:
		n.unreachable(in.Peer)
	default:
		n.broken(RuleKnownInput, "an unknown type")
	}
	if n.hardDirty {
		n.checkHard()
	}
	if deepChecks {
		n.CheckInvariants()
	}
}

// Drain hands over everything that is wanted since the last Drain and reuses
// the buffers of out.
//
// Timeouts fire here and not in the Tick, after everything that waited has been
// heard: a heartbeat that lay in the mailbox while the process was stalled
// beats the timeout that passed meanwhile.
func (n *Node) Drain(out *Output) {
	if n.recorder != nil {
		n.recorder.Drain(n)
	}
	n.expire()
	if n.role == Leader {
		n.advanceChange()
		n.yieldIfStalled()
		n.advanceTransfer()
		n.openRound()
		n.replicateAll()
		n.retire()
		n.fallSilent()
	} else {
		n.acknowledge()
		n.askLeader()
	}
	n.witnessCommitted()
	n.save()
	n.settle()
	n.apply()
	n.askForSnapshot()
	n.tellStages()
	n.letGo()
	for i := range n.out.Replies {
		n.out.Replies[i].Leader = n.leaderID // as it is now: who asked is to go there
	}
	n.out.Deadline, n.out.Quiescent = n.deadline(), n.quiet
	n.out.AwaitsApplied = n.awaitsApplied()
	n.check()
	if deepChecks {
		n.CheckInvariants()
	}
	n.out.handOver(out)
}

// letGo forgets entries that are durable and committed: those that neither the
// state machine nor a peer is known to lack, and of the others the oldest, as far
// as they are too many. They can be loaded.
func (n *Node) letGo() {
	needless := n.applying.sent
	for i := range n.leader.peers {
		needless = min(needless, n.leader.peers[i].match)
	}
	n.log.forget(needless, min(n.log.saved, n.log.commit), n.cfg.MaxWindowBytes)
	if len(n.log.window.entries) == 0 && (n.quiet || n.now >= n.appendedAt.Add(n.cfg.ElectionTimeout)) {
		n.log.window.clear() // thousands of idle groups should not keep an array each
	}
}

// tick moves the clock.
func (n *Node) tick(in Tick) {
	n.time = max(n.time, in.Time)
	if in.Now <= n.now {
		return
	}
	first := n.now == 0
	n.now = in.Now
	if first {
		n.lonelyFrom, n.snapshots.at = n.now, n.now
		if n.hard.Joined {
			n.holdUntil = n.now.Add(n.cfg.ElectionTimeout)
		}
		n.resetElection()
	}
}

// expire acts on the timeouts that have passed.
func (n *Node) expire() {
	n.noteStall()
	n.expireTransfer()
	switch {
	case n.now == 0 || n.quiet:
	case n.role == Leader:
		n.expireLeader()
	case n.now >= n.electionAt && n.promises.candidacy:
		n.resetElection() // the disk has not answered to this candidacy: another one would only wait behind it
	case n.now < n.electionAt:
	case n.mayCampaign() && !n.stalled:
		n.becomePreCandidate()
	case n.mayCampaign():
		n.setRole(Follower, Nobody)
		n.resetElection() // the disk may answer until then
	case n.leaderID != Nobody:
		n.setRole(Follower, Nobody) // who cannot lead loses sight of a dead leader, too
	}
}

// deadline returns when a Drain has something to do although nothing happened.
func (n *Node) deadline() Instant {
	var at Instant
	earliest := func(t Instant) {
		if t > n.now && (at == 0 || t < at) {
			at = t
		}
	}
	switch {
	case n.quiet:
	case n.role == Leader:
		at = n.leaderDeadline()
	case n.mayCampaign() || n.leaderID != Nobody:
		at = n.electionAt
	}
	earliest(n.applying.retryAt)
	earliest(n.reads.askAgainAt)
	earliest(n.transfer.deadline)
	earliest(n.stallAt())
	earliest(n.snapshotDue())
	return at
}

// resetElection draws the next election timeout. The jitter is what keeps
// elections from splitting for ever (Raft §5.2); half a timeout of it is ample,
// because pre-votes cost no term, and keeps the time without a leader short.
func (n *Node) resetElection() {
	timeout := n.cfg.ElectionTimeout
	n.electionAt = n.now.Add(timeout + time.Duration(n.rng.Int64N(int64(timeout/2)+1)))
}

// receive applies the rules that hold for every message, then hands it to the
// role.
func (n *Node) receive(m *Message) {
	n.traced(TraceReceive, m)
	foreign := m.Cluster != n.hard.Cluster && m.Cluster != 0 && n.hard.Cluster != 0
	late := n.late(m)
	if _, question := m.Body.(*AppendRequest); question {
		late = false // it is answered, so that its sender learns of this life
	}
	if m.To != n.cfg.ID || m.From == n.cfg.ID || m.From == Nobody || foreign || late || !m.wellFormed() {
		n.refused++
		if foreign && m.To == n.cfg.ID {
			n.hearOther(m)
		}
		return
	}
	if r, ok := m.Body.(*AppendRequest); n.quiet && !(ok && r.Quiesce && m.From == n.leaderID) {
		n.wake(true) // else the word of silence has come twice
	}
	switch b := m.Body.(type) {
	case *VoteRequest:
		if b.Pre {
			n.answerPreVote(m, b) // a pure question: it changes nothing here
			return
		}
		if m.Term > n.hard.Term && n.leaderAlive() && !b.Transfer {
			return // stickiness: somebody who lost sight of the leader must not depose it (thesis §4.2.3)
		}
	case *VoteReply:
		if b.Pre && m.Term <= n.hard.Term {
			n.preVoteReply(m, b)
			return
		}
	}

	// The term rule (Raft §5.1): who hears of a later term follows it; who is
	// told something of an earlier one says so.
	if m.Term > n.hard.Term {
		n.becomeFollower(m.Term)
	} else if m.Term < n.hard.Term {
		n.teachTerm(m)
		return
	}
	if n.hard.Cluster == 0 && m.Cluster != 0 {
		n.hard.Cluster = m.Cluster
		n.hardDirty = true
	}

	switch b := m.Body.(type) {
	case *VoteRequest:
		n.voteRequest(m, b)
	case *VoteReply:
		n.voteReply(m, b)
	case *AppendRequest:
		n.appendRequest(m, b)
	case *AppendReply:
		n.appendReply(m, b)
	case *SnapshotRequest:
		n.snapshotRequest(m, b)
	case *TimeoutNow:
		n.timeoutNow(m)
	case *ReadRequest:
		n.readRequest(m, b)
	case *ReadReply:
		n.readReply(m, b)
	default:
		n.refused++
	}
}

// late reports whether m is for who had this node's ID, or its disk, before.
func (n *Node) late(m *Message) bool {
	return m.ToIncarnation != n.incarnation && m.ToIncarnation != 0
}

// teachTerm answers a request of an earlier term, so that its sender learns of
// the later one: without that a node at a later term could neither join nor be
// deposed.
func (n *Node) teachTerm(m *Message) {
	if !n.hardDurable() {
		return // nothing names a term that a crash could take back; the sender asks again
	}
	switch b := m.Body.(type) {
	case *AppendRequest:
		n.sendAppendReply(m.From, AppendReply{Rejected: true, Probed: b.Prev})
	case *SnapshotRequest:
		n.sendAppendReply(m.From, AppendReply{Rejected: true, Probed: b.Snapshot.Last})
	case *VoteRequest:
		n.sendVoteReply(m.From, VoteReply{Campaign: b.Campaign})
	case *ReadRequest:
		n.send(m.From, &ReadReply{Sequence: b.Sequence, Refused: true})
	}
}

// save collects what the disk has to keep, if there is anything new.
func (n *Node) save() {
	s := &n.snapshots
	if !n.hardDirty && n.log.handed == n.log.last && n.log.replaced == 0 && !s.unsaved {
		return
	}
	n.sequence++
	if n.hardDirty {
		n.hardDirty = false
		n.hard.Witness = n.cfg.Witness // before there is anything else on the disk
		n.hardSequence = n.sequence
	}
	reset := n.log.replaced > 0
	n.out.Save = Save{
		Token:     Token{Boot: n.cfg.Boot, Sequence: n.sequence},
		HardState: n.hard,
		Reset:     reset,
		Entries:   n.log.toSave(n.sequence, n.now),
	}
	if s.unsaved {
		s.unsaved = false
		snapshot := s.newest
		n.out.Save.Snapshot = &snapshot
		if n.log.base.Index > 0 {
			n.out.Save.Base = &SnapshotMeta{Last: n.log.base, Time: snapshot.Time, Conf: n.members.asOf(n.log.base.Index)}
		}
	}
}

// saved takes the news that a Save is durable, and keeps what was promised on
// that condition.
func (n *Node) saved(t Token) {
	if t.Boot != n.cfg.Boot || t.Sequence <= n.savedSequence {
		return // of an earlier start of this member, or told before
	}
	if t.Sequence > n.sequence {
		n.broken(RuleSaveCompletes, "Save %d completed, only %d were handed out", t.Sequence, n.sequence)
	}
	n.savedSequence = t.Sequence
	n.log.complete(t.Sequence)
	n.traced(TraceSaved, nil)
	n.keepPromises()
	if n.role == Leader {
		n.advanceCommit()
	}
}

// hardDurable reports whether the disk holds the current term and vote.
func (n *Node) hardDurable() bool { return !n.hardDirty && n.hardSequence <= n.savedSequence }

// loaded takes entries that were read from the disk.
func (n *Node) loaded(in Loaded) {
	if in.Load.For == n.cfg.ID {
		n.applyLoaded(in)
	} else {
		n.sendLoaded(in)
	}
}

// follows reports whether loaded entries are the log's own, from l.From on.
func (n *Node) follows(in *Loaded) bool {
	for i := range in.Entries {
		e := &in.Entries[i]
		if t, known := n.log.term(e.Index); e.Index != in.Load.From+Index(i) || !known || t != e.Term {
			return false
		}
	}
	return len(in.Entries) > 0
}

func (n *Node) reply(tag Tag, outcome Outcome) { n.refuse(Reply{Tag: tag, Outcome: outcome}) }

func (n *Node) busy(tag Tag, limit string) { n.refuse(Reply{Tag: tag, Outcome: Busy, Limit: limit}) }

func (n *Node) refuse(r Reply) {
	if r.Tag != 0 {
		n.out.Replies = append(n.out.Replies, r)
	}
}

// send addresses a body. The body lies in n.out already.
func (n *Node) send(to NodeID, body Body) {
	m := Message{From: n.cfg.ID, To: to, Term: n.hard.Term, Cluster: n.hard.Cluster, Incarnation: n.incarnation, Body: body}
	if p := n.peer(to); p != nil {
		m.ToIncarnation = p.incarnation
	}
	n.out.Send = append(n.out.Send, m)
	n.traced(TraceSend, &n.out.Send[len(n.out.Send)-1])
}

func (n *Node) sendVoteRequest(to NodeID, b VoteRequest) {
	n.out.voteRequests = append(n.out.voteRequests, b)
	n.send(to, &n.out.voteRequests[len(n.out.voteRequests)-1])
}

func (n *Node) sendVoteReply(to NodeID, b VoteReply) {
	n.out.voteReplies = append(n.out.voteReplies, b)
	n.send(to, &n.out.voteReplies[len(n.out.voteReplies)-1])
}

func (n *Node) sendAppendRequest(to NodeID, b AppendRequest) {
	n.out.appendRequests = append(n.out.appendRequests, b)
	n.send(to, &n.out.appendRequests[len(n.out.appendRequests)-1])
}

func (n *Node) sendAppendReply(to NodeID, b AppendReply) {
	b.Newcomer = !n.hard.Joined
	n.out.appendReplies = append(n.out.appendReplies, b)
	n.send(to, &n.out.appendReplies[len(n.out.appendReplies)-1])
}
