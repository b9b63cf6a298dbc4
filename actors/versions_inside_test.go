package actors

import (
	"io"
	"log/slog"
	"testing"

	"github.com/castaway-go/castaway/raftcore"
)

// TestA4_AnUpgradeCountsForTheMembersThatWereAsked, once, and upwards.
func TestA4_AnUpgradeCountsForTheMembersThatWereAsked(t *testing.T) {
	box := newMailbox(0)
	box.close()
	m := &machine{
		group: &Group{board: newBoard("g"), cfg: GroupConfig{Versions: Versions{0, 3}}}, effector: ref{box: box},
		host:    &Host{cfg: HostConfig{Runtime: &dispatcher{}}, logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
		applied: raftcore.SnapshotMeta{Conf: raftcore.ConfigAt{Index: 5}},
	}
	for _, step := range []struct {
		upgrade
		want uint64
	}{{upgrade{2, 4}, 0}, {upgrade{2, 6}, 0}, {upgrade{2, 5}, 2}, {upgrade{1, 5}, 2}, {upgrade{3, 5}, 3}} {
		m.upgrade(&raftcore.Entry{Kind: raftcore.EntryHost, Data: step.encode()})
		if m.version != step.want {
			t.Errorf("after %+v the version is %d", step.upgrade, m.version)
		}
	}
}

func TestA4_WhatMembersCanBeOf(t *testing.T) {
	all := func(vs ...Versions) map[raftcore.NodeID]Versions {
		able := map[raftcore.NodeID]Versions{}
		for i, v := range vs {
			if v != (Versions{}) {
				able[raftcore.NodeID(i+2)] = v
			}
		}
		return able
	}
	for i, test := range []struct {
		mine    Versions
		current uint64
		able    map[raftcore.NodeID]Versions
		others  int
		want    uint64 // 0: none
	}{
		{Versions{0, 3}, 0, all(Versions{0, 3}, Versions{0, 3}), 2, 3},
		{Versions{0, 3}, 0, all(Versions{0, 3}, Versions{0, 2}), 2, 2},
		{Versions{0, 3}, 2, all(Versions{0, 3}, Versions{0, 2}), 2, 0},
		{Versions{0, 3}, 0, all(Versions{0, 3}), 2, 0},                         // one does not answer
		{Versions{1, 3}, 0, all(Versions{0, 3}), 2, 3},                         // nor does it here, but the group has not begun
		{Versions{1, 3}, 0, all(), 2, 0},                                       // a minority
		{Versions{1, 3}, 0, all(Versions{}, Versions{}, Versions{0, 3}), 3, 0}, // and a learner
		{Versions{2, 3}, 0, all(Versions{0, 1}, Versions{0, 1}), 2, 0},
		{Versions{0, 1}, 0, all(Versions{2, 3}, Versions{0, 1}), 2, 0},
		{Versions{0, 1}, 0, nil, 0, 1}, // alone
	} {
		u := upgrading{voters: []raftcore.NodeID{1, 2, 3}, others: test.others, able: test.able}
		if test.others == 0 {
			u.voters = u.voters[:1]
		}
		if got, can := u.agree(1, test.mine, test.current); can != (test.want != 0) || can && got != test.want {
			t.Errorf("case %d: %v, %d", i, can, got)
		}
	}
}
