package raftcore_test

import (
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// What FuzzHostile and FuzzMessages found: messages that nobody sends who runs this
// code, and that must not do any harm all the same.

func TestAVoteAskedForInNoTermIsRefused(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.hears(2, 0, &VoteRequest{Last: id(0, 0)})
	n.saves()
	if n.state.Vote != Nobody || n.state.Refused != 1 {
		t.Errorf("%v", n.node)
	}
	n.crashes(0) // a vote in no term would be refused by New
}

func TestNobodyIsAdmittedInNoTerm(t *testing.T) {
	n := start(t, given{Pristine: true})
	n.hears(2, 0, &AppendRequest{Round: 1, Admit: true})
	n.saves()
	if n.state.Joined || n.state.Vote != Nobody || n.state.Refused != 1 {
		t.Errorf("%v", n.node)
	}
	n.crashes(0)
}

func TestAnEmptyMessageDoesNotPanicWhoIsSilent(t *testing.T) {
	n := asleep(t, given{})
	n.hears(2, 1, (*AppendRequest)(nil))
	if !n.out.Quiescent {
		t.Error("it is awake")
	}
}

func TestARefusedMessageDoesNotWake(t *testing.T) {
	for name, spoil := range map[string]func(m *Message){
		"of another cluster": func(m *Message) { m.Cluster = 77 },
		"to somebody else":   func(m *Message) { m.To = 3 },
		"from nobody":        func(m *Message) { m.From = Nobody },
		"to an earlier life": func(m *Message) { m.ToIncarnation = 77 },
	} {
		n := asleep(t, given{})
		m := n.message(2, 1, &VoteRequest{Pre: true})
		spoil(&m)
		n.steps(Receive{m})
		if !n.out.Quiescent {
			t.Errorf("a message %s wakes it", name)
		}
	}
}

func TestNobodySavesASnapshotWithoutAConfiguration(t *testing.T) {
	n := start(t, given{Pristine: true, Limits: compacts(1, 0)})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1), Commit: 1, Round: 1})
	n.saves()
	n.steps(Applied{Index: 1}, SnapshotTaken{Index: 1})
	n.saves()
	if n.state.First != 1 {
		t.Errorf("its log begins at %d", n.state.First)
	}
	n.crashes(0)
}
