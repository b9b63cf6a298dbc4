package raftcore

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The functions of quorum.go against twins that are too simple to be wrong:
// they try every subset of the voters.

// subsets calls f with every subset of voters.
func subsets(voters []NodeID, f func([]NodeID)) {
	for mask := range 1 << len(voters) {
		var subset []NodeID
		for i, id := range voters {
			if mask&(1<<i) != 0 {
				subset = append(subset, id)
			}
		}
		f(subset)
	}
}

// decides reports whether a set of voters is more than half of all.
func decides(subset, voters []NodeID) bool {
	return len(voters) == 0 || 2*len(subset) > len(voters)
}

// dumbMajorityValue is the largest value v such that some majority has all
// reached v.
func dumbMajorityValue(voters []NodeID, value func(NodeID) uint64) uint64 {
	if len(voters) == 0 {
		return math.MaxUint64
	}
	var best uint64
	subsets(voters, func(subset []NodeID) {
		if !decides(subset, voters) {
			return
		}
		least := uint64(math.MaxUint64)
		for _, id := range subset {
			least = min(least, value(id))
		}
		best = max(best, least)
	})
	return best
}

// dumbResult is the result of an election in one set: won if those who granted
// contain a majority, lost if that cannot come true however the silent answer.
func dumbResult(voters []NodeID, vote func(NodeID) ballot) (won, lost bool) {
	lost = true
	subsets(voters, func(subset []NodeID) {
		if !decides(subset, voters) {
			return
		}
		all, possible := true, true
		for _, id := range subset {
			all = all && vote(id) == granted
			possible = possible && vote(id) != refused
		}
		won = won || all
		lost = lost && !possible
	})
	return won, lost
}

// someVoters draws a set of n voters.
func someVoters(r *rand.Rand, n int) []NodeID {
	var ids []NodeID
	for _, i := range r.Perm(12)[:n] {
		ids = append(ids, NodeID(i+1))
	}
	slices.Sort(ids)
	return ids
}

func TestE3_MajorityIsMoreThanHalf(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4, 8: 5, 9: 5, 10: 6, 100: 51, 101: 51} {
		if got := majority(n); got != want {
			t.Errorf("of %d: %d, should be %d", n, got, want)
		}
	}
}

func TestE3_QuorumValueIsWhatTheDumbTwinSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for voters := 1; voters <= 9; voters++ {
		for outgoing := 0; outgoing <= 9; outgoing += 1 + r.IntN(3) {
			for range 20 {
				conf := &ConfState{Voters: someVoters(r, voters), Outgoing: someVoters(r, outgoing)}
				values := map[NodeID]uint64{}
				for id := range NodeID(13) {
					values[id] = uint64(r.IntN(6))
				}
				value := func(id NodeID) uint64 { return values[id] }
				want := min(dumbMajorityValue(conf.Voters, value), dumbMajorityValue(conf.Outgoing, value))
				if got := quorumValue(conf, value); got != want {
					t.Fatalf("%v with %v: %d, should be %d", conf, values, got, want)
				}
			}
		}
	}
}

func TestE3_ElectionResultIsWhatTheDumbTwinSays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for voters := 1; voters <= 9; voters++ {
		for outgoing := 0; outgoing <= 9; outgoing += 1 + r.IntN(3) {
			for range 20 {
				conf := &ConfState{Voters: someVoters(r, voters), Outgoing: someVoters(r, outgoing)}
				ballots := map[NodeID]ballot{}
				for id := range NodeID(13) {
					ballots[id] = ballot(r.IntN(3))
				}
				vote := func(id NodeID) ballot { return ballots[id] }
				won1, lost1 := dumbResult(conf.Voters, vote)
				won2, lost2 := dumbResult(conf.Outgoing, vote)
				if len(conf.Outgoing) == 0 {
					lost2 = false
				}
				won, lost := electionResult(conf, vote)
				if won != (won1 && won2) || lost != (lost1 || lost2) {
					t.Fatalf("%v with %v: won %v, lost %v", conf, ballots, won, lost)
				}
				if won && lost {
					t.Fatalf("%v with %v: both won and lost", conf, ballots)
				}
			}
		}
	}
}

// Two quorums have a voter in common: that is what all of Raft rests on.
func TestE3_AnyTwoQuorumsIntersect(t *testing.T) {
	for n := 1; n <= 7; n++ {
		var voters []NodeID
		for i := range n {
			voters = append(voters, NodeID(i+1))
		}
		conf := &ConfState{Voters: voters}
		wins := func(set []NodeID) bool {
			won, _ := electionResult(conf, func(id NodeID) ballot {
				if slices.Contains(set, id) {
					return granted
				}
				return silent
			})
			return won
		}
		subsets(voters, func(set []NodeID) {
			rest := slices.DeleteFunc(slices.Clone(voters), func(id NodeID) bool { return slices.Contains(set, id) })
			if wins(set) && wins(rest) {
				t.Errorf("of %v both %v and %v are quorums", voters, set, rest)
			}
		})
	}
}

func TestR8_QuorumValueDoesNotDependOnTheOrderOfVoters(t *testing.T) {
	value := func(id NodeID) uint64 { return []uint64{0, 7, 3, 9, 1, 5}[id] }
	for _, order := range [][]NodeID{{1, 2, 3, 4, 5}, {5, 4, 3, 2, 1}, {3, 1, 4, 5, 2}, {2, 5, 1, 3, 4}} {
		if got := majorityValue(order, value); got != 5 {
			t.Errorf("%v: %d, should be 5", order, got)
		}
	}
}

func TestQuorumValueOfManyVoters(t *testing.T) {
	for _, n := range []int{15, 16, 17, 33, 100} {
		var voters []NodeID
		for i := range n {
			voters = append(voters, NodeID(i+1))
		}
		got := majorityValue(voters, func(id NodeID) uint64 { return uint64(id) })
		if want := uint64(n - majority(n) + 1); got != want {
			t.Errorf("of %d: %d, should be %d", n, got, want)
		}
	}
}

func TestAnEmptySetDemandsNothing(t *testing.T) {
	if got := majorityValue(nil, nil); got != math.MaxUint64 {
		t.Error(got)
	}
	if won, lost := majorityResult(nil, nil); !won || lost {
		t.Error(won, lost)
	}
}

// --- membership.go ---

func TestConfStateIsValidWhenItNamesVotersInOrderAndNobodyTwice(t *testing.T) {
	ids := func(i ...NodeID) []NodeID { return i }
	for _, c := range []struct {
		conf ConfState
		want bool
	}{
		{ConfState{}, false},
		{ConfState{Learners: ids(1)}, false},
		{ConfState{Outgoing: ids(1)}, false},
		{ConfState{Voters: ids(1)}, true},
		{ConfState{Voters: ids(0)}, false},
		{ConfState{Voters: ids(1, 1)}, false},
		{ConfState{Voters: ids(2, 1)}, false},
		{ConfState{Voters: ids(1, 2), Outgoing: ids(1, 2)}, true},
		{ConfState{Voters: ids(1, 2), Outgoing: ids(3, 3)}, false},
		{ConfState{Voters: ids(1, 2), Outgoing: ids(3), Learners: ids(4)}, true},
		{ConfState{Voters: ids(1, 2), Learners: ids(2)}, false},
		{ConfState{Voters: ids(1, 2), Outgoing: ids(3), Learners: ids(3)}, true}, // a voter that is being demoted
		{ConfState{Voters: ids(1, 2), Learners: ids(4, 3)}, false},
	} {
		if got := c.conf.valid(); got != c.want {
			t.Errorf("%+v: %v", c.conf, got)
		}
	}
}

func TestMembersAreNamedOnceInOrder(t *testing.T) {
	c := ConfState{Voters: []NodeID{2, 5}, Outgoing: []NodeID{1, 2, 9}, Learners: []NodeID{3, 7}}
	if got := fmt.Sprint(c.Members()); got != "[1 2 3 5 7 9]" {
		t.Error(got)
	}
	for id, want := range map[NodeID][2]bool{1: {true, true}, 2: {true, true}, 3: {false, true}, 4: {false, false}, 9: {true, true}} {
		if c.Votes(id) != want[0] || c.Contains(id) != want[1] {
			t.Errorf("%d: votes %v, contained %v", id, c.Votes(id), c.Contains(id))
		}
	}
}

// The configuration in force is the newest one in the log (Raft §6); cutting it
// off brings the one before back.
func TestMembershipFollowsTheLog(t *testing.T) {
	m := newMembership(ConfigAt{Conf: ConfState{Voters: []NodeID{1}}}, []ConfigAt{{Index: 3, Conf: ConfState{Voters: []NodeID{1, 2}}}})
	m.adopt(5, &ConfState{Voters: []NodeID{1, 2, 3}})
	m.adopt(8, &ConfState{Voters: []NodeID{3}})
	for _, c := range []struct {
		cut     Index
		changed bool
		at      Index
		voters  int
	}{{9, false, 8, 1}, {8, true, 5, 3}, {6, false, 5, 3}, {4, true, 3, 2}, {1, true, 0, 1}, {1, false, 0, 1}} {
		if got := m.truncate(c.cut); got != c.changed || m.at() != c.at || len(m.current().Voters) != c.voters {
			t.Errorf("cut at %d: changed %v, now of %d: %v", c.cut, got, m.at(), m.current())
		}
	}
}
