package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

func TestNews(t *testing.T) {
	report := func(term raftcore.Term, leader raftcore.NodeID) actors.Status {
		s := actors.Status{State: actors.Running}
		s.Term, s.Leader = term, leader
		return s
	}
	failed := actors.Status{State: actors.Pausing, Fault: errors.New("its disk")}
	type heard struct {
		id         raftcore.NodeID
		s          actors.Status
		want       []string
		leaderless bool
	}
	for _, c := range []struct {
		members int
		heard   []heard
	}{
		{3, []heard{
			{1, report(0, 0), nil, false}, // nobody was told of a leader yet
			{2, report(1, 2), []string{"member 2 leads (term 1)"}, false},
			{1, report(1, 2), nil, false}, // everybody knows
			{3, report(1, 2), nil, false},
			{1, report(2, 0), nil, false},
			{2, report(2, 0), nil, false}, // one still has a leader
			{3, report(2, 0), nil, true},
			{3, report(2, 3), []string{"member 3 leads (term 2)"}, false},
			{1, report(1, 2), nil, false}, // old news
			{1, report(2, 3), nil, false},
			{2, failed, []string{"member 2 failed and starts again from its disk: its disk"}, false},
			{2, failed, nil, false},
			{2, report(2, 3), nil, false},
			{1, report(3, 1), []string{"member 1 leads (term 3)"}, false},
		}},
		{1, []heard{
			{2, report(1, 2), []string{"this member leads (term 1)"}, false},
			{2, report(2, 0), nil, true},
			{2, report(2, 3), []string{"member 3 leads (term 2)"}, false},
			{2, actors.Status{State: actors.Faulted, Fault: errors.New("no more")}, []string{"member 2 is out of service: no more"}, true},
		}},
	} {
		n := newNews(c.members)
		for i, h := range c.heard {
			got := n.hear(h.id, h.s)
			if !slices.Equal(got, h.want) || n.leaderless() != h.leaderless {
				t.Errorf("%d members, report %d: %q, want %q; leaderless %v", c.members, i, got, h.want, n.leaderless())
			}
		}
	}
}
