package raftcore

import "math"

// This file is arithmetic only: no node, no log. tests check it against a
// version that is too simple to be wrong.

// majority is how many of n voters decide: more than half (Raft §5.2). Of 1 it
// is 1, of 2 it is 2, of 4 it is 3.
func majority(n int) int { return n/2 + 1 }

// quorumValue returns the largest value that a quorum of conf has reached, when
// value tells what each voter has reached. In a joint configuration both sets
// must have reached it. An empty set demands nothing.
func quorumValue(conf *ConfState, value func(NodeID) uint64) uint64 {
	return min(majorityValue(conf.Voters, value), majorityValue(conf.Outgoing, value))
}

func majorityValue(voters []NodeID, value func(NodeID) uint64) uint64 {
	if len(voters) == 0 {
		return math.MaxUint64
	}
	var buf [16]uint64 // groups larger than this allocate
	descending := buf[:0]
	for _, id := range voters {
		v := value(id)
		at := len(descending)
		descending = append(descending, v)
		for at > 0 && descending[at-1] < v {
			descending[at] = descending[at-1]
			at--
		}
		descending[at] = v
	}
	return descending[majority(len(voters))-1]
}

// ballot is how one voter answered.
type ballot uint8

const (
	silent ballot = iota
	granted
	refused
)

// electionResult says how an election stands: won, lost (no answer still
// missing could turn it), or neither.
func electionResult(conf *ConfState, vote func(NodeID) ballot) (won, lost bool) {
	won1, lost1 := majorityResult(conf.Voters, vote)
	won2, lost2 := majorityResult(conf.Outgoing, vote)
	return won1 && won2, lost1 || lost2
}

func majorityResult(voters []NodeID, vote func(NodeID) ballot) (won, lost bool) {
	if len(voters) == 0 {
		return true, false
	}
	yes, no := 0, 0
	for _, id := range voters {
		switch vote(id) {
		case granted:
			yes++
		case refused:
			no++
		}
	}
	need := majority(len(voters))
	return yes >= need, no > len(voters)-need
}
