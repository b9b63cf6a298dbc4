package raftcore

import "fmt"

// Rule names an invariant: something that is true of every node after every Step
// and Drain, whatever the network, the disks and the clocks do. A
// broken one means that the code is wrong or the disk lied; the node must not
// go on from memory, and panics with an InvariantError. Restart it from disk.
type Rule string

// The rules that are cheap enough to be checked always, by every Drain, before
// anything leaves the node.
const (
	RuleTermMonotonic      Rule = "a node's term never falls"
	RuleOneVotePerTerm     Rule = "a node votes at most once in a term"
	RuleCommitMonotonic    Rule = "a commit index never falls"
	RuleCommitInLog        Rule = "what is committed is in the log"
	RuleCommittedKept      Rule = "a committed entry is never cut off"
	RuleLeaderAppendOnly   Rule = "a leader never cuts off entries of its own log"
	RuleSavedInLog         Rule = "what is saved is in the log"
	RuleSaveCompletes      Rule = "only a Save that was handed out can complete"
	RuleLogContiguous      Rule = "entries follow one another without a gap"
	RuleAppliedCommitted   Rule = "only what is committed is applied, in order, once"
	RuleLeaderVotes        Rule = "who campaigns or leads is a voter"
	RuleKnownInput         Rule = "inputs are those of package raftcore"
	RuleRecovered          Rule = "a recovered state is consistent"
	RuleWitness            Rule = "a witness neither leads nor has data, and nobody else lacks it"
	RuleSnapshotCoversBase Rule = "a snapshot stands for what the log has no more"
)

// The rules that cost a walk through the state. They are checked in tests and
// in builds with the race detector.
const (
	RuleTermsAscend      Rule = "terms never fall along a log"
	RuleMatchBeforeNext  Rule = "what a peer has lies before what is sent next"
	RuleMatchInLog       Rule = "a peer cannot have what the leader has not"
	RuleConfigWellFormed Rule = "a configuration has voters, and nobody twice"
	RuleWindowIsTail     Rule = "the window ends where the log ends"
)

// InvariantError is what a node panics with.
type InvariantError struct {
	Rule   Rule
	Node   NodeID
	Detail string
}

func (e *InvariantError) Error() string {
	return fmt.Sprintf("raftcore: node %d broke the rule %q: %s", e.Node, string(e.Rule), e.Detail)
}

// broken panics. Callers test the condition themselves, so that a rule that
// holds costs a comparison and builds no arguments.
func (n *Node) broken(rule Rule, format string, args ...any) {
	panic(&InvariantError{Rule: rule, Node: n.cfg.ID, Detail: fmt.Sprintf(format, args...) + "; " + n.String()})
}

// checkHard runs in every Step that changes the hard state: two votes in one
// batch would look like one at its end.
func (n *Node) checkHard() {
	if n.hard.Term < n.checked.Term {
		n.broken(RuleTermMonotonic, "it was %d", n.checked.Term)
	}
	if n.hard.Term == n.checked.Term && n.checked.Vote != Nobody && n.hard.Vote != n.checked.Vote {
		n.broken(RuleOneVotePerTerm, "it had voted for %d", n.checked.Vote)
	}
	n.checked = n.hard
}

// check runs in every Drain: what a broken node wants never gets out.
func (n *Node) check() {
	l := &n.log
	n.checkHard()
	if l.commit < n.checkedCommit {
		n.broken(RuleCommitMonotonic, "it was %d", n.checkedCommit)
	}
	n.checkedCommit = l.commit
	if l.commit > l.last {
		n.broken(RuleCommitInLog, "commit %d, last %d", l.commit, l.last)
	}
	if l.saved > l.handed || l.handed > l.last {
		n.broken(RuleSavedInLog, "saved %d, handed %d, last %d", l.saved, l.handed, l.last)
	}
	if n.cfg.Witness && n.role != Follower {
		n.broken(RuleWitness, "it is a %v", n.role)
	}
	if n.applying.done > n.applying.sent || n.applying.sent > l.commit {
		n.broken(RuleAppliedCommitted, "applied %d, handed out %d, committed %d", n.applying.done, n.applying.sent, l.commit)
	}
}

// CheckInvariants checks all rules, also those that are too dear to be checked
// always, and panics with an InvariantError if one does not hold. Builds with the
// tags race or invariants do so after every Step and Drain.
func (n *Node) CheckInvariants() {
	n.check()
	l := &n.log
	if w := l.window.entries; len(w) > 0 && w[len(w)-1].EntryID != l.lastID() {
		n.broken(RuleWindowIsTail, "the window ends in %v, the log in %v", w[len(w)-1].EntryID, l.lastID())
	}
	if !n.suits(l.window.entries) {
		n.broken(RuleWitness, "the window is %v", l.window.entries)
	}
	for i := 1; i < len(l.runs); i++ {
		if l.runs[i].Term <= l.runs[i-1].Term || l.runs[i].First <= l.runs[i-1].First {
			n.broken(RuleTermsAscend, "runs %v", l.runs)
		}
	}
	if len(l.runs) > 0 && l.runs[0].First != l.base.Index+1 || len(l.runs) == 0 && l.last != l.base.Index {
		n.broken(RuleLogContiguous, "base %v, runs %v, last %d", l.base, l.runs, l.last)
	}
	if s := n.snapshots.newest.Last.Index; s < l.base.Index || s > l.last {
		n.broken(RuleSnapshotCoversBase, "the newest is of %d, the log goes from %v to %d", s, l.base, l.last)
	}
	if conf := n.members.current(); len(conf.Voters) > 0 && !conf.valid() {
		n.broken(RuleConfigWellFormed, "%v", conf)
	}
	if n.role != Leader {
		return
	}
	if conf := n.members.current(); !conf.Votes(n.cfg.ID) && conf.Joint() {
		n.broken(RuleLeaderVotes, "the configuration is %v", conf)
	}
	for i := range n.leader.peers {
		p := &n.leader.peers[i]
		if p.state != ProgressSnapshot && p.match >= p.next {
			n.broken(RuleMatchBeforeNext, "peer %d: match %d, next %d", p.id, p.match, p.next)
		}
		if p.match > l.last {
			n.broken(RuleMatchInLog, "peer %d: match %d, last %d", p.id, p.match, l.last)
		}
	}
}
