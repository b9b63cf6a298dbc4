package rafttest

import (
	"fmt"
	"hash/fnv"

	"github.com/castaway-go/castaway/raftcore"
)

// checker watches every node and knows what Raft promises (Figure 3 of the
// paper). Logs are compared by chain hashes: the hash at an index stands for
// the entry there and all before it.
type checker struct {
	leaders   map[raftcore.Term]raftcore.NodeID
	votes     map[voter]raftcore.NodeID // that were given, whatever a crash took back
	chains    map[raftcore.EntryID]uint64
	bare      map[raftcore.EntryID]uint64 // what stands for the same in a witness's log
	committed []committedAt               // committed[i] is index i+1
	acked     raftcore.Index
	confAt    raftcore.Index // of the newest configuration that was applied
}

// prefix returns the chains of what was committed, up to an index: what a
// snapshot of it stands for.
func (c *checker) prefix(index raftcore.Index) []uint64 {
	chain := make([]uint64, 0, index)
	for i := range min(int(index), len(c.committed)) {
		chain = append(chain, c.committed[i].chain)
	}
	return chain
}

// committedAt is a committed entry: its chain, and the term in which the first
// node committed it.
type committedAt struct {
	chain uint64
	term  raftcore.Term
}

func newChecker() *checker {
	return &checker{leaders: map[raftcore.Term]raftcore.NodeID{}, votes: map[voter]raftcore.NodeID{}, chains: map[raftcore.EntryID]uint64{}, bare: map[raftcore.EntryID]uint64{}}
}

// shadow is a node's log as its Saves describe it, whether durable or not.
type shadow struct {
	chain  []uint64      // chain[i] is index i+1
	leader raftcore.Term // the term that the node leads in, or 0
	commit raftcore.Index
}

func (s *shadow) chainAt(i raftcore.Index) uint64 {
	if i == 0 || int(i) > len(s.chain) {
		return 0
	}
	return s.chain[i-1]
}

func chainHash(before uint64, e *raftcore.Entry) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %d %d %d ", before, e.Term, e.Index, e.Kind, e.Time)
	h.Write(e.Data)
	if e.Config != nil {
		fmt.Fprint(h, e.Config)
	}
	return h.Sum64()
}

// chainOf returns the chain up to an entry. That of a witness's entry is the one of the
// entry that it stands for: same place, term and time, after the same others.
func (c *checker) chainOf(before uint64, e *raftcore.Entry) (uint64, error) {
	if e.Kind != raftcore.EntryMeta {
		return chainHash(before, e), nil
	}
	if known, ok := c.bare[e.EntryID]; !ok || known != chainHash(before, e) {
		return 0, fmt.Errorf("log matching: a witness has an entry %v that stands for nobody's, or others before it", e.EntryID)
	}
	return c.chains[e.EntryID], nil
}

// kind checks that a witness neither leads nor has data, and wants nothing that only
// others do; and that nobody else saves a witness's entries.
func (c *checker) kind(n *node, out *raftcore.Output) error {
	for i := range out.Save.Entries {
		if e := &out.Save.Entries[i]; n.witness && (e.Kind == raftcore.EntryCommand || e.Kind == raftcore.EntryHost || len(e.Data) > 0) {
			return fmt.Errorf("witness %d saves data: %v", n.id, e)
		} else if !n.witness && e.Kind == raftcore.EntryMeta {
			return fmt.Errorf("node %d, which is no witness, saves %v", n.id, e)
		}
	}
	for i := range out.Send {
		_, offers := out.Send[i].Body.(*raftcore.TimeoutNow)
		if r, stands := out.Send[i].Body.(*raftcore.VoteRequest); n.witness && (offers || stands) {
			return fmt.Errorf("witness %d stands for election, or hands over: %v", n.id, r)
		}
	}
	if !n.witness {
		return nil
	}
	if st := n.core.Status(); st.Role != raftcore.Follower {
		return fmt.Errorf("witness %d is a %v in term %d", n.id, st.Role, st.Term)
	}
	if len(out.Apply.Entries)+len(out.Reads)+len(out.Load) > 0 || out.Restore != nil || out.Compact {
		return fmt.Errorf("witness %d is to apply, to read, or to have a snapshot taken: %v", n.id, out)
	}
	return nil
}

// saved checks a Save that node id hands out.
func (c *checker) saved(id raftcore.NodeID, s *shadow, save *raftcore.Save) error {
	if b := save.Base; b != nil {
		if int(b.Last.Index) > len(c.committed) {
			return fmt.Errorf("node %d compacts its log to %v, which is not committed", id, b.Last)
		}
		if save.Reset {
			s.chain = c.prefix(b.Last.Index) // a snapshot has taken the log's place
		}
		if want := c.committed[b.Last.Index-1].chain; s.chainAt(b.Last.Index) != want || c.chains[b.Last] != want {
			return fmt.Errorf("node %d begins its log at %v, which is not what was committed", id, b.Last)
		}
	}
	if len(save.Entries) == 0 {
		return nil
	}
	first := save.Entries[0].Index
	if int(first) > len(s.chain)+1 {
		return fmt.Errorf("node %d saves entry %d after %d: a gap", id, first, len(s.chain))
	}
	if int(first) <= len(s.chain) && s.leader != 0 {
		return fmt.Errorf("leader append-only: node %d leads term %d and overwrites entry %d", id, s.leader, first)
	}
	s.chain = s.chain[:first-1]
	for i := range save.Entries {
		e := &save.Entries[i]
		chain, err := c.chainOf(s.chainAt(e.Index-1), e)
		if err != nil {
			return fmt.Errorf("node %d: %w", id, err)
		}
		if known, ok := c.chains[e.EntryID]; ok && known != chain {
			return fmt.Errorf("log matching: node %d has another entry %v, or others before it", id, e.EntryID)
		}
		c.chains[e.EntryID] = chain
		if e.Kind == raftcore.EntryCommand || e.Kind == raftcore.EntryHost {
			c.bare[e.EntryID] = chainHash(s.chainAt(e.Index-1), &raftcore.Entry{EntryID: e.EntryID, Time: e.Time, Kind: raftcore.EntryMeta})
		}
		s.chain = append(s.chain, chain)
	}
	return nil
}

// status checks a node's status after a step.
func (c *checker) status(st *raftcore.Status, s *shadow) error {
	if st.Role == raftcore.Leader && s.leader != st.Term {
		if other, ok := c.leaders[st.Term]; ok && other != st.ID {
			return fmt.Errorf("election safety: nodes %d and %d both lead term %d", other, st.ID, st.Term)
		}
		c.leaders[st.Term] = st.ID
		for i, k := range c.committed {
			if k.term < st.Term && s.chainAt(raftcore.Index(i+1)) != k.chain {
				return fmt.Errorf("leader completeness: node %d leads term %d without entry %d, committed in term %d", st.ID, st.Term, i+1, k.term)
			}
		}
	}
	s.leader = 0
	if st.Role == raftcore.Leader {
		s.leader = st.Term
	}
	for s.commit < st.Commit {
		s.commit++
		chain := s.chainAt(s.commit)
		if int(s.commit) > len(c.committed) {
			c.committed = append(c.committed, committedAt{chain, st.Term})
		} else if c.committed[s.commit-1].chain != chain {
			return fmt.Errorf("state machine safety: node %d commits another entry %d", st.ID, s.commit)
		}
	}
	return nil
}

// applied checks an Apply: what is applied is what was committed.
func (c *checker) applied(id raftcore.NodeID, a *raftcore.Apply, before raftcore.Index) error {
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Index != before+1 {
			return fmt.Errorf("state machine safety: node %d applies %d after %d", id, e.Index, before)
		}
		before = e.Index
		if int(e.Index) > len(c.committed) || c.chains[e.EntryID] != c.committed[e.Index-1].chain {
			return fmt.Errorf("state machine safety: node %d applies %v, which is not what was committed", id, e.EntryID)
		}
	}
	return nil
}
