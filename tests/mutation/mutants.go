package main

// coreMutants are the defects of raftcore, by their line in the list of traps: what
// others lost data by, hung or lied. Every text that is changed must be in its file
// once.
var coreMutants = []mutant{
	{"E1", "a vote compares only the index", []edit{
		{"types.go", "return a.Term > b.Term || a.Term == b.Term && a.Index >= b.Index", "return a.Index >= b.Index"},
	}},
	{"E1", "a vote compares nothing", []edit{
		{"candidate.go", "|| !r.Last.AtLeast(n.log.lastID()) || !n.mayVoteFor(r.Last) {", "|| !n.mayVoteFor(r.Last) {"},
	}},
	{"E1", "a pre-vote compares nothing", []edit{
		{"candidate.go", "!n.leaderAlive() && r.Last.AtLeast(n.log.lastID()) && n.mayVoteFor(r.Last)", "!n.leaderAlive() && n.mayVoteFor(r.Last)"},
	}},
	{"E1", "neither a vote nor a pre-vote compares anything", []edit{
		{"candidate.go", "!n.leaderAlive() && r.Last.AtLeast(n.log.lastID()) && n.mayVoteFor(r.Last)", "!n.leaderAlive() && n.mayVoteFor(r.Last)"},
		{"candidate.go", "|| !r.Last.AtLeast(n.log.lastID()) || !n.mayVoteFor(r.Last) {", "|| !n.mayVoteFor(r.Last) {"},
	}},
	{"E2", "vote compared as a vector AND", []edit{
		{"types.go", "return a.Term > b.Term || a.Term == b.Term && a.Index >= b.Index", "return a.Term >= b.Term && a.Index >= b.Index"},
	}},
	{"E3", "majority of n is (n+1)/2", []edit{
		{"quorum.go", "return n/2 + 1", "return (n + 1) / 2"},
	}},
	{"E3", "the outgoing set does not count for commits", []edit{
		{"quorum.go", "return min(majorityValue(conf.Voters, value), majorityValue(conf.Outgoing, value))", "return majorityValue(conf.Voters, value)"},
	}},
	{"E3", "the outgoing set does not count in elections", []edit{
		{"quorum.go", "return won1 && won2, lost1 || lost2", "return won1 && (won2 || !won2), lost1 || (lost2 && !lost2)"},
	}},
	{"E3", "an empty set never agrees", []edit{
		{"quorum.go", "return math.MaxUint64", "return 0 & math.MaxUint64"},
	}},
	{"E4", "the vote leaves before it is durable", []edit{
		{"promise.go", `if !n.hardDurable() {
		return
	}
	p := n.promises`, "p := n.promises"},
	}},
	{"E4", "a candidate asks before its own vote is durable", []edit{
		{"candidate.go", `n.setRole(Candidate, Nobody)
	n.resetElection()
	n.campaign.begin()`, `n.setRole(Candidate, Nobody)
	n.resetElection()
	n.campaign.begin()
	n.askForVotes(false)`},
	}},
	{"E4", "a term is taught before it is durable", []edit{
		{"node.go", `if !n.hardDurable() {
		return // nothing`, `if false {
		return // nothing`},
	}},
	{"E5", "the vote is taken back on becoming a follower in the same term", []edit{
		{"follower.go", `led := n.role == Leader
	n.setRole(Follower, Nobody)`, `n.hard.Vote = Nobody
	led := n.role == Leader
	n.setRole(Follower, Nobody)`},
	}},
	{"E5", "a candidate that lost takes its vote back", []edit{
		{"candidate.go", "n.setRole(Follower, Nobody) // until the next timeout", `n.hard.Vote = Nobody
		n.setRole(Follower, Nobody) // until the next timeout`},
	}},
	{"E5", "a second vote in the term, and the rule that would notice is off", []edit{
		{"candidate.go", "if n.leaderID != Nobody || n.leaderAlive() && !r.Transfer || n.hard.Vote != Nobody && n.hard.Vote != m.From || ", "if "},
		{"candidate.go", "if n.hard.Vote == Nobody {", "if n.hard.Vote != m.From {"},
		{"invariant.go", "if n.hard.Term == n.checked.Term && n.checked.Vote", "if false && n.checked.Vote"},
	}},
	{"E5", "the vote is taken back when a leader is heard, and the rule that would notice is off", []edit{
		{"follower.go", "n.setRole(Follower, m.From) // a candidate yields, too (Raft \u00a75.2)", `n.hard.Vote = Nobody
		n.hardDirty = true
		n.setRole(Follower, m.From)`},
		{"invariant.go", "if n.hard.Term == n.checked.Term && n.checked.Vote", "if false && n.checked.Vote"},
	}},
	{"E6", "a message of an earlier term lowers the term", []edit{
		{"node.go", `if m.Term > n.hard.Term {
		n.becomeFollower(m.Term)`, `if m.Term != n.hard.Term {
		n.becomeFollower(m.Term)`},
		{"follower.go", "if term > n.hard.Term {", "if term != n.hard.Term {"},
	}},
	{"E6", "a restart forgets the vote", []edit{
		{"node.go", `hard:        r.HardState,
		checked:     r.HardState,`, "hard:        HardState{Term: r.HardState.Term, Cluster: r.HardState.Cluster, Joined: r.HardState.Joined},"},
	}},
	{"E6", "a restart takes the term from the log", []edit{
		{"node.go", `hard:        r.HardState,
		checked:     r.HardState,`, "hard:        HardState{Term: lastTermOf(&r), Cluster: r.HardState.Cluster, Joined: r.HardState.Joined},"},
		{"node.go", "// validate refuses", `func lastTermOf(r *Recovered) Term {
	l := newLog(r)
	return l.lastTerm()
}

// validate refuses`},
	}},
	{"E7", "vote replies are counted, not voters", []edit{
		{"candidate.go", "if c.ballot(from) == silent {", "if b != silent {"},
		{"candidate.go", "won, lost := electionResult(n.members.current(), n.campaign.ballot)", `yes, no, all := 0, 0, len(n.members.current().Voters)
	for _, v := range n.campaign.votes {
		if v.ballot == granted {
			yes++
		} else {
			no++
		}
	}
	won, lost := yes >= majority(all), no > all-majority(all)`},
	}},
	{"E7", "votes of strangers count", []edit{
		{"candidate.go", `if !n.members.current().Votes(from) {
		return
	}
`, ""},
		{"candidate.go", "won, lost := electionResult(n.members.current(), n.campaign.ballot)", `yes, all := 0, len(n.members.current().Voters)
	for _, v := range n.campaign.votes {
		if v.ballot == granted {
			yes++
		}
	}
	won, lost := yes >= majority(all), false`},
	}},
	{"E8", "a candidate ignores the leader of its own term", []edit{
		{"follower.go", "if n.role == Leader || n.leaderID", "if n.role == Leader || n.role == Candidate || n.leaderID"},
	}},
	{"E9", "who voted for the loser refuses the winner", []edit{
		{"follower.go", "if n.role == Leader || n.leaderID", "if n.role == Leader || n.hard.Vote != Nobody && n.hard.Vote != m.From || n.leaderID"},
	}},
	{"E10", "pre-votes of an earlier campaign count", []edit{
		{"candidate.go", "if n.role == PreCandidate && r.Campaign == n.campaign.number {", "if n.role == PreCandidate {"},
	}},
	{"E10", "votes of an earlier campaign count", []edit{
		{"candidate.go", "if n.role == Candidate && !r.Pre && r.Campaign == n.campaign.number {", "if n.role == Candidate {"},
	}},
	{"E10", "campaigns are numbered from the same number in every life", []edit{
		{"node.go", "n.campaign.number = cfg.Boot << 32", "n.campaign.number = 0"},
	}},
	{"E11", "a pre-vote question resets the timer", []edit{
		{"candidate.go", "n.sendVoteReply(m.From, VoteReply{Pre: true,", `n.resetElection()
	n.sendVoteReply(m.From, VoteReply{Pre: true,`},
	}},
	{"E11", "a pre-vote question raises the term", []edit{
		{"node.go", "n.answerPreVote(m, b) // a pure", `n.becomeFollower(max(m.Term, n.hard.Term))
			n.answerPreVote(m, b) // a pure`},
	}},
	{"E12", "who is behind is not told", []edit{
		{"node.go", `n.teachTerm(m)
		return`, "return"},
	}},
	{"E13", "a leader of an earlier term is not told", []edit{
		{"node.go", "n.sendAppendReply(m.From, AppendReply{Rejected: true, Probed: b.Prev})", "_ = b"},
	}},
	{"E14", "a leader without a quorum leads on", []edit{
		{"leader.go", `if n.now >= n.leader.quorumUntil {
			n.becomeFollower`, `if n.now < 0 {
			n.becomeFollower`},
	}},
	{"E14", "a leader whose entries reach nobody leads on", []edit{
		{"leader.go", "if n.unheeded() {", "if n.now < 0 && n.unheeded() {"},
	}},
	{"E15", "sending counts as hearing", []edit{
		{"leader.go", `p.sentRound = n.leader.round
`, `p.sentRound = n.leader.round
	p.heardAt = n.now
`},
	}},
	{"E15", "entries that nobody acknowledges take the place of heartbeats", []edit{
		{"leader.go", "p.heartbeatAt = max(p.heartbeatAt, min(sent.Add(n.cfg.HeartbeatInterval), n.showBy(p)))", "p.heartbeatAt = max(p.heartbeatAt, sent.Add(n.cfg.HeartbeatInterval))"},
	}},
	{"E15", "entries that are about to be sent take the place of a heartbeat that is late", []edit{
		{"leader.go", "return n.takesEntries(p) && n.now < n.showBy(p)", "return n.takesEntries(p)"},
	}},
	{"L7", "entries take no round along", []edit{
		{"leader.go", "if n.now >= n.leader.opened[n.leader.round%rounds]", "if n.now < 0*n.leader.opened[n.leader.round%rounds]"},
	}},
	{"F4", "heartbeats come beside entries", []edit{
		{"leader.go", "	n.postponeHeartbeat(p)\n	if p.state == ProgressProbe && p.asked", "	if p.state == ProgressProbe && p.asked"},
	}},
	{"E16", "a vote request deposes a living leader", []edit{
		{"node.go", "if m.Term > n.hard.Term && n.leaderAlive() && !b.Transfer {", "if m.Term < 0*n.hard.Term && n.leaderAlive() {"},
		{"candidate.go", "|| n.leaderAlive() && !r.Transfer ||", "||"},
	}},
	{"E16", "no pre-vote", []edit{
		{"node.go", "n.becomePreCandidate()", "n.becomeCandidate()"},
	}},
	{"E17", "any vote request resets the timer", []edit{
		{"candidate.go", "if n.leaderID != Nobody || n.leaderAlive() && !r.Transfer || n.hard.Vote", `n.resetElection()
	if n.leaderID != Nobody || n.leaderAlive() && !r.Transfer || n.hard.Vote`},
	}},
	{"E17", "who cannot lead believes in a dead leader for ever", []edit{
		{"node.go", `case n.leaderID != Nobody:
		n.setRole`, `case false:
		n.setRole`},
	}},
	{"E18", "the clock goes back", []edit{
		{"node.go", "if in.Now <= n.now {", "if in.Now == n.now {"},
	}},
	{"E18", "timeouts fire before the mailbox is read", []edit{
		{"node.go", `n.holdUntil = n.now.Add(n.cfg.ElectionTimeout)
		}
		n.resetElection()
	}`, `n.holdUntil = n.now.Add(n.cfg.ElectionTimeout)
		}
		n.resetElection()
	}
	n.expire()`},
	}},
	{"E19", "an old heartbeat is a sign of life", []edit{
		{"follower.go", "fresh := r.Round > f.round", "fresh := r.Round+1 > 0"},
	}},
	{"E19", "an old reply is a sign of life", []edit{
		{"leader.go", "if r.Round > p.round {", "if r.Round > 0 {"},
	}},
	{"E20", "a vote request of its own term crashes a leader", []edit{
		{"candidate.go", "if n.leaderID != Nobody || n.leaderAlive() && !r.Transfer || n.hard.Vote", `if n.role == Leader {
		n.broken(RuleLeaderVotes, "asked")
	}
	if n.leaderID != Nobody || n.leaderAlive() && !r.Transfer || n.hard.Vote`},
	}},
	{"R1", "entries of earlier terms are committed by counting", []edit{
		{"leader.go", "if quorum >= n.leader.start {", "if quorum > 0 {"},
	}},
	{"R2", "commit = min(leaderCommit, last)", []edit{
		{"follower.go", "min(r.Commit, f.verified))", "min(r.Commit, n.log.last))"},
	}},
	{"R2", "commit = leaderCommit", []edit{
		{"follower.go", "n.commitTo(min(r.Commit, f.verified))", "n.commitTo(r.Commit)"},
	}},
	{"R2", "what was verified in an earlier term still is", []edit{
		{"follower.go", "n.following = following{}", "n.following = following{verified: n.following.verified}"},
	}},
	{"R3", "a heartbeat is not checked", []edit{
		{"follower.go", "if !n.log.has(r.Prev) || n.late(m) {", "if len(r.Entries) > 0 && !n.log.has(r.Prev) || n.late(m) {"},
	}},
	{"R3", "an echo advances match to what was sent", []edit{
		{"leader.go", "if r.Match > p.match {", "if p.next-1 > p.match {"},
		{"leader.go", "p.match, p.matchedIn = r.Match,", "p.match, p.matchedIn = p.next-1,"},
	}},
	{"R3", "a follower acknowledges all of its log", []edit{
		{"promise.go", "match := min(f.verified, n.log.saved)", "match := n.log.saved"},
	}},
	{"R4", "what follows a request is cut off", []edit{
		{"follower.go", "last := r.Prev.Index + Index(len(entries))", `last := r.Prev.Index + Index(len(entries))
	if last < n.log.last {
		n.truncate(last + 1)
	}`},
	}},
	{"R4", "entries that match are replaced, and the rules that would notice are off", []edit{
		{"follower.go", "for len(entries) > 0 && n.log.has(entries[0].EntryID) {", "for len(entries) > 0 && entries[0].Index <= n.log.commit {"},
		{"follower.go", "if from <= n.following.verified {", "if from < 1 {"},
	}},
	{"R5", "an acknowledgement of an earlier term counts", []edit{
		{"node.go", `} else if m.Term < n.hard.Term {
		n.teachTerm(m)`, `} else if _, reply := m.Body.(*AppendReply); m.Term < n.hard.Term && !reply {
		n.teachTerm(m)`},
	}},
	{"R5", "a reply of an earlier life counts", []edit{
		{"progress.go", "if echoed <= p.met {", "if echoed > newest {"},
	}},
	{"R5", "match survives the disk", []edit{
		{"progress.go", `p.match = 0
`, ""},
	}},
	{"R5", "more than the leader has is believed", []edit{
		{"leader.go", "if r.Match > n.log.last {", "if r.Match > maxIndex {"},
	}},
	{"R5", "a round that was never opened is believed", []edit{
		{"leader.go", "if r.Round > n.leader.round || !p.fromPresentLife", "if !p.fromPresentLife"},
	}},
	{"R5", "a life that follows a lost disk is never heard", []edit{
		{"node.go", "late = false // it is answered", "late = n.late(m) // it is answered"},
	}},
	{"R6", "a missing entry matches term 0", []edit{
		{"log.go", "return known && t == id.Term", "return (known || !known) && t == id.Term"},
	}},
	{"R6", "what the snapshot stands for is a conflict", []edit{
		{"log.go", `if id.Index < l.base.Index {
		return true`, `if id.Index < l.base.Index {
		return false`},
	}},
	{"R7", "loaded entries are sent unseen", []edit{
		{"leader.go", "if p.state == ProgressReplicate && p.next == in.Load.From && p.next > n.log.base.Index && n.follows(&in) {", "if p.state == ProgressReplicate && len(in.Entries) > 0 {"},
	}},
	{"R7", "a Load that a compaction has overtaken is sent", []edit{
		{"leader.go", "if p.state == ProgressReplicate && p.next == in.Load.From && p.next > n.log.base.Index && n.follows(&in) {", "if p.state == ProgressReplicate && p.next == in.Load.From && n.follows(&in) {"},
	}},
	{"R7", "entries that the disk made up are sent", []edit{
		{"leader.go", "p.next > n.log.base.Index && n.follows(&in) {", "p.next > n.log.base.Index {"},
	}},
	{"R8", "the quorum value is taken from an unsorted list", []edit{
		{"quorum.go", "for at > 0 && descending[at-1] < v {", "for at > len(voters) {"},
	}},
	{"R9", "a stray rejection moves next back", []edit{
		{"leader.go", "if p.state == ProgressSnapshot || r.Probed.Index <= p.match || r.Probed.Index >= p.next {", "if p.state == ProgressSnapshot || r.Probed.Index > maxIndex {"},
	}},
	{"R9", "a rejection of another question is an answer", []edit{
		{"leader.go", "if p.state == ProgressProbe && r.Probed.Index != p.next-1 {", "if p.state == ProgressProbe && r.Probed.Index > maxIndex {"},
	}},
	{"R10", "one step back per round trip", []edit{
		{"follower.go", "Hint: n.log.newestUpTo(r.Prev)}", "Hint: EntryID{Term: r.Prev.Term, Index: max(r.Prev.Index, 1) - 1}}"},
	}},
	{"R11", "entries that were handed out are written over", []edit{
		{"window.go", "w.entries = w.entries[:n:n]", "w.entries = w.entries[:n]"},
	}},
	{"R11", "the array of entries that were handed in is written on", []edit{
		{"window.go", "slices.Clip(entries)", "slices.Grow(entries, 0)"},
	}},
	{"R11", "what the disk does not have is forgotten", []edit{
		{"log.go", "w.excess(before(safe), maxBytes)", "w.excess(len(w.entries), maxBytes)"},
	}},
	{"R12", "who is behind the log is asked for ever", []edit{
		{"leader.go", `if r.Probed.Index <= n.log.base.Index {
		n.sendSnapshot(p)`, `if false {
		n.sendSnapshot(p)`},
	}},
	{"R13", "the commit index of a follower falls", []edit{
		{"follower.go", "if index > n.log.commit {", "if index != n.log.commit {"},
	}},
	{"R14", "the window leaks bytes", []edit{
		{"progress.go", "f.bytes -= f.ring[f.first].bytes", "f.bytes -= 0"},
	}},
	{"R14", "a rejection leaves the window full", []edit{
		{"progress.go", `p.asked = 0
	p.loading = false
	p.inflight.clear()`, `p.asked = 0
	p.loading = false`},
		{"progress.go", `p.next = p.match + 1
	p.probed = false
	p.inflight.clear()`, `p.next = p.match + 1
	p.probed = false`},
	}},
	{"R16", "answered and applied before it is committed, and the rule that would notice is off", []edit{
		{"apply.go", "upTo := min(n.log.commit, n.log.saved)", "upTo := n.log.saved"},
		{"invariant.go", "|| n.applying.sent > l.commit {", "|| n.applying.sent > l.saved {"},
	}},
	{"R16", "an overruled proposal is told that it never happens", []edit{
		{"proposal.go", "switch status := n.CommitStatus(o.entry); {", "switch status := CommitStatus(CommitRejected); {"},
	}},
	{"D1", "a leader counts its own entry when it appends it", []edit{
		{"leader.go", "return uint64(l.saved)", "return uint64(l.last)"},
	}},
	{"D2", "a follower acknowledges before its disk has spoken", []edit{
		{"promise.go", "match := min(f.verified, n.log.saved)", "match := f.verified"},
	}},
	{"F4", "what a machine passes over leaves no room for more", []edit{
		{"apply.go", "a.batches.free(max(a.done, in.Passed))", "a.batches.free(a.done)"},
	}},
	{"F4", "what a machine passes over is taken for applied", []edit{
		{"apply.go", "a.done = max(a.done, in.Index)", "a.done = max(a.done, in.Index, in.Passed)"},
	}},
	{"D2", "applied before it is durable here", []edit{
		{"apply.go", "upTo := min(n.log.commit, n.log.saved)", "upTo := n.log.commit"},
	}},
	{"D3", "a completion counts what a Save under way replaces", []edit{
		{"log.go", "durable = min(durable, s.first-1)", "durable = min(durable, l.handed)"},
	}},
	{"D3", "a completion of an earlier start counts", []edit{
		{"node.go", "if t.Boot != n.cfg.Boot || t.Sequence <= n.savedSequence {", "if t.Sequence <= n.savedSequence {"},
	}},
	{"D3", "a completion counts whatever it covers", []edit{
		{"log.go", `durable = min(durable, l.handed)
`, `durable = l.handed
`},
		{"log.go", "durable = min(durable, s.first-1)", "durable = min(durable, l.handed)"},
	}},
	{"D3", "a completion is not bounded by a truncation", []edit{
		{"log.go", `durable = min(durable, l.handed)
`, `durable = min(durable, l.last)
`},
	}},
	{"D4", "entries are acknowledged before their term is durable", []edit{
		{"promise.go", "if n.role != Follower || n.leaderID == Nobody || !n.hardDurable() {", "if n.role != Follower || n.leaderID == Nobody {"},
	}},
	{"D4", "entries are saved before their term", []edit{
		{"node.go", "hardDirty     bool   // hard is in no Save yet", `hardDirty     bool   // hard is in no Save yet
	lastHard      HardState`},
		{"node.go", "checked:     r.HardState,", `checked:     r.HardState,
		lastHard:    r.HardState,`},
		{"node.go", `if n.hardDirty {
		n.hardDirty = false`, `if n.hardDirty && n.log.handed == n.log.last {
		n.lastHard = n.hard
		n.hardDirty = false`},
		{"node.go", `HardState: n.hard,
`, `HardState: n.lastHard,
`},
	}},
	{"D5", "a new leader counts itself for its opening entry", []edit{
		{"leader.go", "return uint64(l.saved)", "return uint64(max(l.saved, n.leader.start))"},
	}},
	{"D8", "a gap in a request is taken", []edit{
		{"follower.go", "if e.Index != before.Index+1 || e.Term < before.Term", "if e.Term < before.Term"},
	}},
	{"D9", "a commit index is believed before it is checked", []edit{
		{"follower.go", "if !n.log.has(r.Prev) || n.late(m) {", `n.log.commit = max(n.log.commit, min(r.Commit, n.log.last))
	if !n.log.has(r.Prev) || n.late(m) {`},
	}},
	{"D9", "a commit index beyond the log panics", []edit{
		{"follower.go", "if !n.log.has(r.Prev) || n.late(m) {", `if r.Commit > n.log.last && len(r.Entries) == 0 {
		n.broken(RuleCommitInLog, "the leader says %d", r.Commit)
	}
	if !n.log.has(r.Prev) || n.late(m) {`},
	}},
	{"D9", "who lost its tail is asked the same for ever", []edit{
		{"leader.go", "p.match = 0 // it says", "_ = p.match // it says"},
	}},
	{"D9", "an old rejection makes a leader forget what a peer has", []edit{
		{"leader.go", "r.Hint.Index < r.Probed.Index && r.Round > p.matchedIn {", "r.Hint.Index < r.Probed.Index {"},
	}},
	{"D9", "a damaged disk helps to found the group again", []edit{
		{"node.go", "cfg.Joins = cfg.Joins || r.Damaged", "cfg.Joins = cfg.Joins || false"},
	}},
	{"M18", "a new lineage keeps the name of the old one", []edit{
		{"lineage.go", "Vote: l.Voter, Cluster: l.Cluster, Joined: true", "Vote: l.Voter, Cluster: r.HardState.Cluster, Joined: true"},
	}},
	{"M18", "a new lineage begins in the term of the old one", []edit{
		{"lineage.go", "term := r.HardState.Term + 1", "term := max(r.HardState.Term, 1)"},
	}},
	{"M18", "a new lineage forgets what is not known to be committed", []edit{
		{"lineage.go", "Index: r.Last + 1}", "Index: max(r.Base.Index, r.Snapshot.Last.Index) + 1}"},
	}},
	{"M18", "founders who hear of a new lineage found the old one", []edit{
		{"newcomer.go", "n.cfg.Joins = true", "n.other = m.Cluster"},
	}},
	{"M18", "any word of another lineage keeps founders from founding", []edit{
		{"newcomer.go", "leads && n.members.current().Votes(m.From)", "leads || n.members.current().Votes(m.From)"},
	}},
	{"M18", "a new lineage keeps the learners of the old one", []edit{
		{"lineage.go", "conf = conf.clone()", `if n := len(r.Configs); n > 0 {
		conf.Learners = r.Configs[n-1].Conf.Learners
	} else {
		conf.Learners = r.BaseConf.Conf.Learners
	}
	conf = conf.clone()`},
	}},
	{"D10", "a wiped disk votes", []edit{
		{"newcomer.go", "return n.hard.Joined || !n.cfg.Joins", "return n.hard.Joined || n.hard.Term < maxTerm || !n.cfg.Joins"},
	}},
	{"D10", "a newcomer joins before it has what was committed", []edit{
		{"newcomer.go", "&& n.following.verified >= r.Commit {", "{"},
	}},
	{"D10", "a newcomer joins by the word to the disk before", []edit{
		{"newcomer.go", "r.Admit && m.ToIncarnation == n.incarnation", "r.Admit"},
		{"follower.go", "if !n.log.has(r.Prev) || n.late(m) {", "if !n.log.has(r.Prev) {"},
	}},
	{"D10", "a leader admits a newcomer without committing anything first", []edit{
		{"newcomer.go", "return p.met != 0 && n.log.commit > p.metAt", "return p.met != 0 && n.log.commit >= n.leader.start"},
	}},
	{"D10", "an entry from before it came admits a newcomer", []edit{
		{"newcomer.go", "n.log.commit > p.metAt", "n.log.commit >= p.metAt"},
	}},
	{"D10", "a newcomer votes in the term in which it is admitted", []edit{
		{"newcomer.go", "if n.hard.Vote == Nobody {", "if n.now < 0 {"},
	}},
	{"D10", "what a newcomer acknowledges is counted", []edit{
		{"leader.go", `if p := n.peer(id); p != nil && !p.newcomer {
			return uint64(p.match)`, `if p := n.peer(id); p != nil {
			return uint64(p.match)`},
	}},
	{"D10", "what a newcomer echoes confirms reads", []edit{
		{"read.go", `if p := n.peer(id); p != nil && !p.newcomer {
			return p.round`, `if p := n.peer(id); p != nil {
			return p.round`},
	}},
	{"D9", "a damaged disk counts at once, because it has a log", []edit{
		{"node.go", "b.Newcomer = !n.hard.Joined", "b.Newcomer = !n.hard.Joined && n.log.last <= founding"},
	}},
	{"D9", "a damaged disk votes, because it has a log", []edit{
		{"newcomer.go", "return n.hard.Joined || !n.cfg.Joins", "return n.hard.Joined || n.log.last > founding || !n.cfg.Joins"},
	}},
	{"D9", "a damaged log counts for what it was", []edit{
		{"newcomer.go", "n.following.verified >= r.Commit", "n.log.last >= r.Commit"},
	}},
	{"D10", "what admitted one life admits the next", []edit{
		{"progress.go", "if i != p.incarnation || p.met == 0 {", "if p.met == 0 {"},
	}},
	{"D10", "who was welcome once counts in every life", []edit{
		{"leader.go", "if p.newcomer = r.Newcomer; p.newcomer", "if p.newcomer = r.Newcomer && !p.welcomed; p.newcomer"},
	}},
	{"D10", "a newcomer is told once that it may count", []edit{
		{"leader.go", "Admit: p.newcomer && n.mayAdmit(p),", "Admit: p.newcomer && !p.welcomed && n.mayAdmit(p),"},
		{"leader.go", "	p.welcomed = p.newcomer && n.mayAdmit(p)", "	p.welcomed = p.welcomed || p.newcomer && n.mayAdmit(p)"},
	}},
	{"D10", "who is to join a group helps to found it again", []edit{
		{"newcomer.go", "!n.cfg.Joins && last", "last"},
	}},
	{"D12", "a leader with a stalled disk leads on", []edit{
		{"stall.go", "others < n.log.last {", "others <= n.log.last {"},
	}},
	{"D12", "a leader hands over although a quorum's disks stall", []edit{
		{"stall.go", "others < n.log.last {", "others > n.log.last {"},
	}},
	{"D12", "a leader with a stalled disk takes proposals", []edit{
		{"leader.go", "case n.stalled:", "case n.now < 0:"},
	}},
	{"D12", "who has a stalled disk stands for election", []edit{
		{"node.go", "case n.mayCampaign() && !n.stalled:", "case n.mayCampaign():"},
		{"node.go", "	case n.mayCampaign():\n\t\tn.setRole(Follower, Nobody)", "	case n.now < 0:\n\t\tn.setRole(Follower, Nobody)"},
	}},
	{"M1", "a change before an entry of this term is committed", []edit{
		{"change.go", "case n.log.commit < n.leader.start || n.members.at() > n.log.commit:", "case n.members.at() > n.log.commit+maxIndex:"},
		{"change.go", "for n.log.commit >= n.leader.start && n.members.at() <= n.log.commit {", "for n.members.at() <= n.log.commit {"},
	}},
	{"M1", "a second change before the first is committed", []edit{
		{"change.go", "for n.log.commit >= n.leader.start && n.members.at() <= n.log.commit {", "for n.log.commit >= n.leader.start {"},
	}},
	{"M2", "a non-voter campaigns", []edit{
		{"candidate.go", "return votes && !n.witness() && n.mayVoteFor(n.log.lastID())", "return !n.witness() && n.mayVoteFor(n.log.lastID())"},
	}},
	{"M3", "a restart forgets the configurations of the log", []edit{
		{"types.go", `if e.Kind == EntryConfig {
		r.Configs`, `if e.Kind > EntryConfig {
		r.Configs`},
	}},
	{"M3", "a snapshot forgets the outgoing half", []edit{
		{"snapshot.go", "Time: in.Time, Conf: n.members.asOf(in.Index)}", "Time: in.Time, Conf: ConfigAt{n.members.asOf(in.Index).Index, ConfState{Voters: n.members.asOf(in.Index).Conf.Voters, Learners: n.members.asOf(in.Index).Conf.Learners}}}"},
	}},
	{"M3", "a snapshot names the newest configuration, not the one at its index", []edit{
		{"snapshot.go", "Time: in.Time, Conf: n.members.asOf(in.Index)}", "Time: in.Time, Conf: n.members.history[len(n.members.history)-1]}"},
	}},
	{"M4", "only the leader that was asked leaves the joint configuration", []edit{
		{"change.go", `case conf.Joint():
			n.appendConfig`, `case conf.Joint() && c == nil:
			return
		case conf.Joint():
			n.appendConfig`},
	}},
	{"M5", "a removed leader counts itself", []edit{
		{"quorum.go", "return descending[majority(len(voters))-1]", "return descending[max(0, majority(len(voters))-2)]"},
	}},
	{"M6", "a removed leader stops before the removal is committed", []edit{
		{"change.go", "!n.leader.retiring || n.members.at() > n.log.commit", "!n.leader.retiring"},
	}},
	{"M6", "a removed leader leads on", []edit{
		{"change.go", "if n.role != Leader || n.members.current().Votes(n.cfg.ID) || n.log.commit", "if n.role == Leader || n.log.commit"},
	}},
	{"M6", "who is removed is told once, and the news may get lost", []edit{
		{"change.go", "p.round >= n.leader.farewell", "p.sentCommit >= n.members.at()"},
	}},
	{"M6", "who is removed is told by the leader that has done it, or by nobody", []edit{
		{"leader.go", "if old := n.members.previous(); old != nil {", "if old := n.members.previous(); old != nil && false {"},
	}},
	{"M6", "who comes back fresh is told that it was removed", []edit{
		{"leader.go", "p.newcomer && p.departing {", "p.newcomer && p.departing && false {"},
	}},
	{"M7", "a smaller quorum is not looked at", []edit{
		{"change.go", `n.advanceCommit()
	n.confirmReads()`, ""},
	}},
	{"M8", "who is being demoted does not vote any more", []edit{
		{"membership.go", "return slices.Contains(c.Voters, id) || slices.Contains(c.Outgoing, id)", "return slices.Contains(c.Voters, id) || slices.Contains(c.Outgoing, id) && !slices.Contains(c.Learners, id)"},
	}},
	{"M9", "who has left the configuration, uncommitted, cannot be elected", []edit{
		{"candidate.go", "if h := n.members.history; !votes && len(h) > 1", "if h := n.members.history; false && !votes && len(h) > 1"},
	}},
	{"M11", "a learner votes before it has caught up", []edit{
		{"change.go", "if id == n.cfg.ID || n.caughtUp(p) {", "if id == n.cfg.ID || p != nil {"},
	}},
	{"M12", "a truncated configuration stays", []edit{
		{"follower.go", "if n.members.truncate(from) {", "if from == 0 {"},
	}},
	{"M13", "who comes back is taken for who it was", []edit{
		{"leader.go", "if stays && !departed || !stays", "if stays || !stays"},
		{"progress.go", "if p.met == 0 && echoed <= p.since && p.since > 0 {", "if false {"},
	}},
	{"M13", "what was said before it became a member counts", []edit{
		{"progress.go", "if p.met == 0 && echoed <= p.since && p.since > 0 {", "if false {"},
	}},
	{"M14", "messages of another cluster are taken", []edit{
		{"node.go", "foreign := m.Cluster != n.hard.Cluster && m.Cluster != 0", "foreign := m.Cluster != n.hard.Cluster && m.Cluster > 1<<63"},
	}},
	{"M11", "a silence is a round of catching up that has taken long", []edit{
		{"quiesce.go", "p.catchUp.began = n.now // the", "_ = p.catchUp // the"},
	}},
	{"M15", "a change that takes the majority from under the group", []edit{
		{"change.go", "if ready < majority(len(c.target.Voters)) {", "if ready < 0 {"},
	}},
	{"M16", "a used node is founded again", []edit{
		{"bootstrap.go", "case n.hard.Cluster != in.Cluster && n.hard != HardState{}:", "case in.Cluster == 0:"},
	}},
	{"S1", "the log is kept behind a snapshot that contradicts it", []edit{
		{"snapshot.go", "if s.Last.Index <= n.log.commit || n.log.has(s.Last) {", "if s.Last.Index <= n.log.last {"},
	}},
	{"S2", "an old snapshot takes the place of the log", []edit{
		{"snapshot.go", "if s.Last.Index <= n.log.commit || n.log.has(s.Last) {", "if n.log.has(s.Last) && s.Last.Index > n.log.commit {"},
	}},
	{"S4", "a snapshot of its own that was overtaken counts", []edit{
		{"snapshot.go", `if in.Index <= s.newest.Last.Index {
		return // one`, `if in.Index == s.newest.Last.Index {
		return // one`},
	}},
	{"S6", "a snapshot with every heartbeat", []edit{
		{"leader.go", "if p.state == ProgressSnapshot || r.Probed.Index <= p.match", "if r.Probed.Index <= p.match"},
	}},
	{"S6", "the log is compacted under a transfer", []edit{
		{"snapshot.go", "base = min(base, p.snapshot)", "_ = p"},
	}},
	{"S6", "the log is compacted under who catches up after a transfer", []edit{
		{"snapshot.go", "base = min(base, p.match)", "_ = p"},
	}},
	{"S6", "the log waits for who comes no nearer", []edit{
		{"snapshot.go", "case n.log.last-p.match < p.behind:", "case p.behind > 0:"},
	}},
	{"S6", "the log waits for who was near at first", []edit{
		{"snapshot.go", "\t\t\tp.behind = n.log.last - p.match\n", ""},
	}},
	{"S7", "a snapshot that failed is never asked for again", []edit{
		{"snapshot.go", `s.asked = false
	if in.Index == 0`, "if in.Index == 0"},
	}},
	{"S9", "a candidate ignores a snapshot of its own term", []edit{
		{"snapshot.go", "if n.role == Leader || n.leaderID != Nobody", "if n.role != Follower || n.leaderID != Nobody"},
	}},
	{"S10", "proposals that a snapshot jumps over are forgotten", []edit{
		{"snapshot.go", "n.refuse(Reply{Tag: n.tags[passed].Tag, Outcome: Compacted, MaybeHappened: true})", ""},
	}},
	{"S11", "the machine begins before the snapshot is durable", []edit{
		{"apply.go", "if a.restore != nil && n.log.saved >= a.restore.Last.Index {", "if a.restore != nil {"},
	}},
	{"S11", "what a snapshot replaces still counts as saved", []edit{
		{"log.go", `l.saved = min(l.saved, l.commit)
`, ""},
	}},
	{"S11", "a Save under way brings back what a snapshot replaced", []edit{
		{"log.go", `if l.replaced > 0 {
		durable = min(durable, l.replaced-1)
	}`, ""},
		{"log.go", `if l.replaced > 0 {
		s.first, s.last = l.replaced, l.last`, `if l.replaced > 0 {
		s.first, s.last = l.last, l.last`},
	}},
	{"S11", "a snapshot that the log contradicts is started from", []edit{
		{"node.go", "len(errs) == 0 && !l.has(s)", "false && !l.has(s)"},
	}},
	{"S12", "a transfer that moves is given up", []edit{
		{"snapshot.go", "p.snapshotBy = n.now.Add(snapshotPatience * n.cfg.ElectionTimeout)", ""},
	}},
	{"S14", "a snapshot of a prefix deletes what comes after it", []edit{
		{"snapshot.go", "if s.Last.Index <= n.log.commit || n.log.has(s.Last) {", "if s.Last.Index <= n.log.commit {"},
		{"snapshot.go", "if n.following.verified >= s.Last.Index {", "if false {"},
	}},
	{"S16", "a snapshot that comes twice is not answered", []edit{
		{"snapshot.go", "f.owes, f.rejecting = true, false", "f.owes, f.rejecting = s.Last.Index > n.log.commit, false"},
	}},
	{"Q1", "a read before the first commit of the term", []edit{
		{"read.go", "|| r.round != 0 || n.log.commit < n.leader.start {", "|| r.round != 0 {"},
	}},
	{"Q2", "the round before confirms", []edit{
		{"read.go", "if n.echoed() >= r.round {", "if n.echoed()+1 >= r.round {"},
	}},
	{"Q2", "the round after counts as this one", []edit{
		{"read.go", `if p := n.peer(id); p != nil && !p.newcomer {
			return p.round`, `if p := n.peer(id); p != nil && !p.newcomer {
			return p.round + 1`},
	}},
	{"Q2", "replies of other terms confirm", []edit{
		{"node.go", `} else if m.Term < n.hard.Term {
		n.teachTerm(m)`, `} else if b, reply := m.Body.(*AppendReply); reply && m.Term < n.hard.Term && b.Round <= n.leader.round {
		if p := n.peer(m.From); p != nil {
			p.round = max(p.round, b.Round)
			n.confirmReads()
		}
		return
	} else if m.Term < n.hard.Term {
		n.teachTerm(m)`},
	}},
	{"Q3", "a lease outlives the start of a transfer", []edit{
		{"read.go", "if !n.cfg.LeaseReads || n.leader.urged || n.transfer.active() {", "if !n.cfg.LeaseReads {"},
	}},
	{"Q3", "a lease comes back after a transfer that failed", []edit{
		{"read.go", "|| n.leader.urged || n.transfer", "|| n.transfer"},
	}},
	{"Q4", "a lease counts from when the answer came", []edit{
		{"leader.go", "p.leaseFrom = max(p.leaseFrom, n.leader.opened[r.Round%rounds])", "p.leaseFrom = n.now"},
	}},
	{"Q4", "a lease lasts as long as an election timeout by its own clock", []edit{
		{"read.go", "return from + Instant(int64(n.cfg.ElectionTimeout)/(1000+drift)*(1000-drift))", "return from + Instant(int64(n.cfg.ElectionTimeout)+0*drift)"},
	}},
	{"Q4", "a restarted voter forgets that it held still for a lease", []edit{
		{"node.go", `if n.hard.Joined {
			n.holdUntil`, `if false {
			n.holdUntil`},
	}},
	{"Q4", "the promise that a lease rests on ends with the term", []edit{
		{"follower.go", "n.cfg.LeaseReads && n.now < n.holdUntil", "n.cfg.LeaseReads && n.leaderID != Nobody && n.now < n.holdUntil"},
	}},
	{"Q6", "a read waits for the disks of those who are sent entries", []edit{
		{"leader.go", "if len(entries) == 0 {\n		p.question = false", "if len(entries) >= 0 {\n		p.question = false"},
	}},
	{"Q6", "who reads elsewhere waits for the proposals of others", []edit{
		{"leader.go", "|| p.sentCommit < p.reads ||", "||"},
	}},
	{"R13", "the commit index waits for entries that nobody proposes", []edit{
		{"leader.go", "|| n.now >= n.tellBy() ||", "||"},
	}},
	{"R13", "the commit index of a lone client waits for entries", []edit{
		{"leader.go", "(!n.leader.crowded || n.now", "(n.now"},
	}},
	{"A1", "a machine with room again is not noticed", []edit{
		{"apply.go", "a.sent < min(n.log.commit, n.log.saved) || len(n.watched)", "len(n.watched)"},
	}},
	{"A1", "a node that nothing else wakes hears late of its machine", []edit{
		{"apply.go", "(n.out.Deadline == 0 || a.restore", "(a.restore"},
	}},
	{"Q6", "a read joins a round that is open already", []edit{
		{"read.go", "n.reads.waiting = append(n.reads.waiting, waitingRead{tag: in.Tag})", `if n.reads.round != 0 {
			n.reads.confirming = append(n.reads.confirming, waitingRead{tag: in.Tag})
		} else {
			n.reads.waiting = append(n.reads.waiting, waitingRead{tag: in.Tag})
		}`},
	}},
	{"Q6", "the answer to a read of an earlier life counts", []edit{
		{"node.go", `n.reads.sequence = cfg.Boot << 32
`, ""},
	}},
	{"Q6", "any answer to a read counts", []edit{
		{"read.go", "|| r.askAgainAt == 0 || reply.Sequence != r.sequence {", "|| r.askAgainAt == 0 {"},
	}},
	{"Q7", "reads vanish with the office", []edit{
		{"follower.go", "n.refuseReads() // whoever", "n.reads = reads{sequence: n.reads.sequence} // whoever"},
	}},
	{"Q9", "a read is confirmed by one half", []edit{
		{"quorum.go", "return min(majorityValue(conf.Voters, value), majorityValue(conf.Outgoing, value))", "return majorityValue(conf.Voters, value)"},
	}},
	{"L1", "a transfer never ends", []edit{
		{"transfer.go", "if n.transfer.active() && n.now >= n.transfer.deadline {", "if false {"},
	}},
	{"L1", "writes during a transfer", []edit{
		{"leader.go", `case n.transfer.active():
`, `case false:
`},
	}},
	{"L2", "a transfer to who is not a voter any more goes on", []edit{
		{"transfer.go", "case p == nil || p.departing || !n.mayLead(p):", "case p == nil:"},
	}},
	{"L3", "a transfer needs a pre-vote", []edit{
		{"transfer.go", `n.becomeCandidate()
	n.campaign.transfer = true`, "n.becomePreCandidate()"},
	}},
	{"L3", "stickiness refuses a transfer", []edit{
		{"node.go", "&& n.leaderAlive() && !b.Transfer {", "&& n.leaderAlive() {"},
	}},
	{"L4", "anybody can have a node campaign", []edit{
		{"transfer.go", "if n.role != Follower || n.leaderID != m.From || !n.mayCampaign()", "if n.role != Follower || !n.mayCampaign()"},
	}},
	{"L5", "the target of a transfer is judged by what was sent", []edit{
		{"transfer.go", "case p.match == n.log.last &&", "case p.next > n.log.last &&"},
	}},
	{"L7", "a quiet follower sleeps on when its leader is gone", []edit{
		{"leader.go", "n.wake(false)", ""},
	}},
}
