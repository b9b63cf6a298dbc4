package raftcore_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// The stages of a proposal, what a node knows of an entry, and the bounds that
// proposals meet.

// reached returns the stages that the newest Output tells of.
func (n *stage) reached() []string {
	var all []string
	for _, s := range n.out.Stages {
		all = append(all, fmt.Sprintf("%d %v %v", s.Tag, s.Stage, s.Entry))
	}
	return all
}

// reaches demands that the newest Output tells exactly of these stages.
func (n *stage) reaches(want ...string) {
	n.t.Helper()
	if got := n.reached(); !slices.Equal(got, want) {
		n.t.Fatalf("%v; it tells of %q, and should of %q", n.node, got, want)
	}
}

func TestAWatchedProposalIsFollowedFromStageToStage(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Watch: true})
	n.reaches("7 queued 1/2")
	n.savesOne()
	n.reaches("7 saved 1/2")
	n.accepted(2)
	n.reaches("7 committed 1/2")
	n.steps(Applied{Index: 2})
	n.reaches("7 applied 1/2")
	n.accepted(3)
	n.waits(heartbeatInterval)
	n.reaches()
}

func TestNoStageIsLeftOutIfSeveralArePassedAtOnce(t *testing.T) {
	n := lead(t, given{Voters: voters(1)})
	n.steps(Propose{Tag: 7, Watch: true}, Propose{Tag: 8, Watch: true})
	n.reaches("7 queued 1/2", "8 queued 1/3")
	n.savesOne()
	n.reaches("7 saved 1/2", "7 committed 1/2", "8 saved 1/3", "8 committed 1/3")
	n.steps(Applied{Index: 2})
	n.reaches("7 applied 1/2")
	n.steps(Applied{Index: 3})
	n.reaches("8 applied 1/3")
}

func TestOnlyWatchedProposalsAreFollowed(t *testing.T) {
	n := lead(t, given{Voters: voters(1)})
	n.steps(Propose{Tag: 7}, Propose{Watch: true}) // the other has no name
	n.reaches()
	n.savesOne()
	n.reaches()
}

func TestARefusedProposalHasNoStages(t *testing.T) {
	n := followed(t, given{})
	n.steps(Propose{Tag: 7, Watch: true})
	n.gave("Reply tag=7 not leader leader=2")
	n.reaches()
}

// Others may commit an entry before the leader's own disk has it. It is not
// saved here because of that.
func TestNothingCountsAsSavedBeforeTheLeadersDiskHasIt(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Watch: true})
	n.accepted(2)
	n.accepted(3)
	n.hasCommitted(2)
	n.reaches()
	n.savesOne()
	n.reaches("7 saved 1/2", "7 committed 1/2")
}

func TestADeposedLeaderFollowsItsProposalsToTheirEnd(t *testing.T) {
	n := lead(t, given{Limits: func(c *Config) { c.KeepEntries = -1 }})
	n.steps(Propose{Tag: 7, Watch: true}, Propose{Tag: 8, Watch: true})
	n.saves()
	n.ignore()
	n.hears(2, 2, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 2), Commit: 2, Round: 1})
	n.reaches("7 committed 1/2")
	n.gave()
	n.saves()
	n.reaches() // of 8 nothing is known
	n.hears(2, 2, &AppendRequest{Prev: id(2, 3), Commit: 3, Round: 2})
	n.gave("Reply tag=8 overwritten leader=2")
	n.reaches()
	n.steps(Applied{Index: 3})
	n.reaches("7 applied 1/2")
	// Nor is anything known of 8 when its place is forgotten.
	n.hears(2, 2, &AppendRequest{Prev: id(2, 3), Entries: commands(4, 2), Commit: 4, Round: 3})
	n.saves()
	n.applies()
	n.snapshotted(4)
	n.reaches()
	n.saves()
	n.reaches()
}

// What is on the disk at its place is not the proposal.
func TestAProposalThatWasCutOffReachesNoStage(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Watch: true}) // its Save is under way
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 1, Round: 1})
	for len(n.disk.pending) > 0 {
		n.savesOne()
		n.reaches()
	}
}

func TestAProposalThatComesBackGoesOn(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Data: []byte("x"), Watch: true})
	entry := n.out.Save.Entries[0]
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2), Commit: 1, Round: 1})
	n.saves()
	n.ignore()
	var told []string
	n.hears(3, 3, &AppendRequest{Prev: id(1, 1), Entries: append([]Entry{entry}, commands(3, 3)...), Commit: 3, Round: 1})
	told = append(told, n.reached()...)
	for len(n.disk.pending) > 0 {
		n.savesOne()
		told = append(told, n.reached()...)
	}
	n.steps(Applied{Index: 3})
	told = append(told, n.reached()...)
	n.gave()
	if want := []string{"7 saved 1/2", "7 committed 1/2", "7 applied 1/2"}; !slices.Equal(told, want) {
		t.Errorf("it tells of %q, and should of %q", told, want)
	}
}

func TestASnapshotInItsPlaceEndsAProposal(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 7, Watch: true}, Propose{Tag: 8, Watch: true})
	n.saves()
	n.ignore()
	m := n.message(2, 2, &SnapshotRequest{Snapshot: SnapshotMeta{Last: id(2, 2), Conf: ConfigAt{Conf: ConfState{Voters: voters(1, 2, 3)}}}})
	n.steps(Receive{m})
	n.gave("Reply tag=7 compacted (may have happened) leader=2", "Reply tag=8 overwritten leader=2")
	n.reaches()
	n.saves()
	n.reaches()
	n.restored()
	n.reaches()
}

// Whatever happens: the stages of a proposal come in their order, none twice and
// none left out, and nothing comes after its end.
func TestStagesComeInOrderWhateverHappens(t *testing.T) {
	const ended = StageApplied + 1
	for seed := range uint64(40) {
		c := newCourt(t, rand.New(rand.NewPCG(seed, 8)), nil)
		at := map[Tag]Stage{}
		entry := map[Tag]EntryID{}
		c.sees = func(m *groupMember) {
			for _, s := range m.out.Stages {
				if s.Stage != at[s.Tag]+1 || s.Stage > StageQueued && entry[s.Tag] != s.Entry {
					t.Fatalf("seed %d: %v of %v %v after %v of %v", seed, s.Stage, s.Tag, s.Entry, at[s.Tag], entry[s.Tag])
				}
				at[s.Tag], entry[s.Tag] = s.Stage, s.Entry
				switch status := m.node.CommitStatus(s.Entry); {
				case s.Stage >= StageCommitted && status != CommitCommitted, status == CommitRejected:
					t.Fatalf("seed %d: %v of %v, which is %v", seed, s.Stage, s.Entry, status)
				case s.Stage == StageSaved && m.state.Saved < s.Entry.Index:
					t.Fatalf("seed %d: %v of %v, and %v", seed, s.Stage, s.Entry, m.node)
				}
			}
			for _, r := range m.out.Replies {
				if at[r.Tag] > 0 && r.Outcome == Overwritten && at[r.Tag] >= StageCommitted {
					t.Fatalf("seed %d: %v after %v", seed, r, at[r.Tag])
				}
				at[r.Tag] = ended
			}
		}
		for range 400 {
			c.act()
		}
		c.calms(8 * electionTimeout)
	}
}

// --- CommitStatus ---

// dumbStatus says what can be known of an entry from a log, of which so much is
// committed and what lies before first is forgotten.
func dumbStatus(log []Term, first, commit Index, e EntryID) CommitStatus {
	if e.Index == 0 || e.Term == 0 {
		return CommitRejected // there are no such entries
	}
	if e.Index < first {
		return CommitUnknown
	}
	if e.Index <= commit {
		if log[e.Index-1] == e.Term {
			return CommitCommitted
		}
		return CommitRejected // another is
	}
	for i := first; i <= commit; i++ {
		if i > 0 && log[i-1] > e.Term {
			return CommitRejected // it would have to follow an entry of a later term
		}
	}
	if int(e.Index) <= len(log) && log[e.Index-1] == e.Term {
		return CommitInProgress
	}
	return CommitUnknown
}

func TestCommitStatusIsThatOfADumbTwin(t *testing.T) {
	seen := map[CommitStatus]int{}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 6))
		var log []Term
		term := Term(1)
		for range 1 + r.IntN(12) {
			if r.IntN(3) == 0 {
				term += Term(1 + r.IntN(2))
			}
			log = append(log, term)
		}
		last := Index(len(log))
		commit := Index(r.IntN(int(last) + 1))
		n := start(t, given{Log: log, Limits: func(c *Config) { c.KeepEntries = -1 }})
		n.hears(2, term, &AppendRequest{Prev: id(log[last-1], last), Commit: commit, Round: 1})
		n.hasCommitted(commit)
		first := Index(1)
		if n.applies(); commit > 0 && r.IntN(2) == 0 {
			first = Index(1 + r.IntN(int(commit)))
			n.steps(SnapshotTaken{Index: first, Time: n.time})
			n.saves()
		}
		for index := range last + 3 {
			for of := range term + 2 {
				e := id(of, index)
				got, want := n.node.CommitStatus(e), dumbStatus(log, first, commit, e)
				if seen[got]++; got != want {
					t.Fatalf("seed %d: the log %v from %d on, of which %d are committed: %v is %v, and should be %v", seed, log, first, commit, e, got, want)
				}
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("the test is too tame: %v", seen)
	}
}

// What any node says of an entry at any time must be true in the end.
func TestCommitStatusIsNeverTakenBack(t *testing.T) {
	for seed := range uint64(40) {
		c := newCourt(t, rand.New(rand.NewPCG(seed, 9)), nil)
		claims := map[EntryID]CommitStatus{}
		c.sees = func(m *groupMember) {
			index := Index(1 + c.r.IntN(int(m.state.Last)+2))
			e := id(Term(1+c.r.IntN(int(m.state.Term)+1)), index)
			if c.r.IntN(2) == 0 { // of an entry that there is
				for known := range c.history.entries {
					e = known
					break
				}
			}
			status := m.node.CommitStatus(e)
			if status != CommitCommitted && status != CommitRejected {
				return
			}
			if before, known := claims[e]; known && before != status {
				t.Fatalf("seed %d: node %d says that %v is %v, and somebody said %v", seed, m.id, e, status, before)
			}
			claims[e] = status
		}
		for range 300 {
			c.act()
		}
		c.calms(8 * electionTimeout)
		for e, status := range claims {
			final := int(e.Index) <= len(c.history.applied) && c.history.applied[e.Index-1].EntryID == e
			if final != (status == CommitCommitted) && int(e.Index) <= len(c.history.applied) {
				t.Fatalf("seed %d: %v was %v; is it committed in the end? %v", seed, e, status, final)
			}
		}
	}
}

// --- bounds ---

func TestMaxUnapplied(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.MaxUnapplied = 3 }})
	for tag := Tag(1); tag <= 3; tag++ {
		n.steps(Propose{Tag: tag})
		n.saves()
	}
	n.gave()
	last := n.state.Last
	n.steps(Propose{Tag: 4})
	n.gave("Reply tag=4 busy MaxUnapplied leader=1")
	if n.state.Last != last {
		t.Errorf("%v; a refused proposal took a place", n.node)
	}
	n.steps(Applied{Index: 2}, Propose{Tag: 5}, Propose{Tag: 6})
	n.gave("Reply tag=6 busy MaxUnapplied leader=1")
}

func TestMaxUnsavedBytes(t *testing.T) {
	const limit, one = 2000, 100 + overhead
	n := followed(t, given{Limits: func(c *Config) { c.MaxUnsavedBytes = limit }})
	entry := func(i Index) Entry {
		return Entry{EntryID: id(1, i), Kind: EntryCommand, Data: bytes(100)}
	}
	for i := Index(3); i < 200; i++ {
		n.hears(2, 1, &AppendRequest{Prev: id(1, i-1), Entries: []Entry{entry(i)}, Commit: 2, Round: 1})
	}
	took := int(n.state.Last - 2)
	if took*one < limit || took*one > limit+one {
		t.Errorf("it took in %d bytes, and the bound is %d", took*one, limit)
	}
	// It is not cut off from the leader by that.
	n.ignore()
	n.hears(2, 1, &AppendRequest{Prev: id(1, 2), Commit: 2, Round: 2})
	n.wants("1->2 term=1 AppendReply match=2 round=2")
	n.saves()
	n.hears(2, 1, &AppendRequest{Prev: id(1, n.state.Last), Entries: []Entry{entry(n.state.Last + 1)}, Commit: 2, Round: 2})
	if int(n.state.Last-2) != took+1 {
		t.Errorf("%v; its disk has everything, and it takes nothing in", n.node)
	}
}

func TestAFloodedFollowerRecovers(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.MaxUnsavedBytes = 1000; c.MaxAppendBytes = 300; c.MaxWindowBytes = 500 }})
	g.elects(1)
	flooded := g.member(3)
	flooded.stalled = true
	for i := range 100 {
		g.proposes(1, fmt.Sprint(i))
		g.settle()
		unsaved := 0
		for _, s := range flooded.disk.pending {
			unsaved += size(s.Entries)
		}
		if unsaved > 1000+300 {
			t.Fatalf("%d bytes wait for its disk", unsaved)
		}
	}
	g.passes(2 * electionTimeout)
	if g.member(1).state.Role != Leader || g.member(1).state.Term != 1 {
		t.Errorf("%v; it should lead on", g.member(1).node)
	}
	flooded.stalled = false
	g.settle()
	g.passes(electionTimeout)
	g.agree()
}

// A new leader does not know yet where the logs agree. What a follower says that
// drops everything must not pass for an answer to that: the leader would send its
// whole log from the first entry on.
func TestAFloodedFollowerDoesNotAgreeWithANewLeaderBySayingNothing(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: func(c *Config) { c.MaxUnsavedBytes = 1000; c.MaxAppendBytes = 300 }})
	g.elects(1)
	g.proposes(1, "durable everywhere")
	g.settle()
	flooded := g.member(3)
	flooded.stalled = true
	for i := range 100 {
		g.proposes(1, fmt.Sprint(i))
		g.settle()
	}
	again := 0
	g.filter(func(m *Message) fate {
		if r, ok := m.Body.(*AppendRequest); ok && m.To == 3 && len(r.Entries) > 0 && r.Entries[0].Index <= 2 {
			again++
		}
		return pass
	})
	g.crash(1, len(g.member(1).disk.pending))
	g.elects(2)
	g.passes(electionTimeout / 2)
	flooded.stalled = false
	g.settle()
	g.passes(electionTimeout)
	g.agree()
	if again > 0 {
		t.Errorf("what is long durable there was sent again, %d times", again)
	}
}

func TestALimitThatIsReachedIsNamedAsInConfig(t *testing.T) {
	limits := map[string]bool{}
	n := lead(t, given{Limits: func(c *Config) { c.MaxUncommittedBytes, c.MaxReads = 1, 1 }})
	n.steps(Propose{}, Propose{Tag: 1}, Read{}, Read{Tag: 2})
	for _, r := range n.out.Replies {
		limits[r.Limit] = true
	}
	n = lead(t, given{Limits: func(c *Config) { c.MaxUnapplied = 1 }})
	n.steps(Propose{}, Propose{Tag: 3})
	for _, r := range n.out.Replies {
		limits[r.Limit] = true
	}
	for name := range limits {
		if f, ok := reflect.TypeFor[Config]().FieldByName(name); !ok || f.Type.Kind() != reflect.Int {
			t.Errorf("Config has no bound %q", name)
		}
	}
	if len(limits) != 3 {
		t.Errorf("%v", limits)
	}
}
