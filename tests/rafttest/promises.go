package rafttest

import (
	"fmt"

	"github.com/castaway-go/castaway/raftcore"
)

// promised checks a message that a node sends: it must not name a term, a vote
// or an entry that a crash could still take back.
func (d *disk) promised(m *raftcore.Message) error {
	return promised(m, d.kept.hard, d.kept.last())
}

// promised checks a message against what is on the sender's disk: this term and vote, and
// a log up to there.
func promised(m *raftcore.Message, hard raftcore.HardState, last raftcore.Index) error {
	named, voted := m.Term, raftcore.Nobody
	switch b := m.Body.(type) {
	case *raftcore.VoteRequest:
		if b.Pre {
			return nil
		}
		voted = m.From
	case *raftcore.VoteReply:
		if b.Pre {
			return nil
		}
		if b.Granted {
			voted = m.To
		}
	case *raftcore.AppendReply:
		if b.Match > last {
			return fmt.Errorf("durability: node %d acknowledges entry %d, its disk ends at %d", m.From, b.Match, last)
		}
	}
	if named > hard.Term {
		return fmt.Errorf("durability: node %d names term %d, its disk knows %d: %v", m.From, named, hard.Term, m)
	}
	if voted != raftcore.Nobody && (named == hard.Term && hard.Vote != voted) {
		return fmt.Errorf("durability: node %d has a vote for %d on the disk: %v", m.From, hard.Vote, m)
	}
	return nil
}

// voter is one life of a node in a term.
type voter struct {
	id   raftcore.NodeID
	life raftcore.Incarnation
	term raftcore.Term
}

// voted checks that a node gives one vote in a term. A disk that was lost may have
// voted, too, where its next life does: newcomer.go in raftcore says why that elects
// nobody, and election safety is checked by itself.
func (c *checker) voted(m *raftcore.Message) error {
	vote := raftcore.Nobody
	switch b := m.Body.(type) {
	case *raftcore.VoteRequest:
		if !b.Pre {
			vote = m.From
		}
	case *raftcore.VoteReply:
		if !b.Pre && b.Granted {
			vote = m.To
		}
	}
	v := voter{m.From, m.Incarnation, m.Term}
	if given, ok := c.votes[v]; ok && vote != raftcore.Nobody && given != vote {
		return fmt.Errorf("one vote per term: node %d votes for %d in term %d, and has voted for %d", v.id, vote, v.term, given)
	}
	if vote != raftcore.Nobody {
		c.votes[v] = vote
	}
	return nil
}

// durable checks entries that a node hands to its machine: its own disk must
// have them.
func (d *disk) durable(id raftcore.NodeID, entries []raftcore.Entry) error {
	for i := range entries {
		e := &entries[i]
		at := int(e.Index) - int(d.kept.base.Last.Index) - 1
		if at < 0 || at >= len(d.kept.entries) || d.kept.entries[at].EntryID != e.EntryID {
			return fmt.Errorf("durability: node %d applies %v, which its disk does not hold", id, e.EntryID)
		}
	}
	return nil
}
