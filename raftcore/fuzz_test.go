package raftcore_test

import (
	"math/rand/v2"
	"testing"

	. "github.com/castaway-go/castaway/raftcore"
)

// FuzzStep reads bytes as a history of three nodes, and of two that may be added:
// what arrives next, what is lost, repeated or late; who is asked for what; whose
// disk, machine or clock goes on, and who dies or loses a disk. Every step is
// checked (checker, obeysTheRules, and the invariants inside the core). Then the
// faults end, and the members must come to the same log and have answered
// everybody.
//
//	go test ./raftcore -run '^$' -fuzz FuzzStep -fuzztime 5m
func FuzzStep(f *testing.F) {
	seeds(f, 21)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > longest {
			t.Skip("no input as long as this is tried: shorter ones find more in the same time")
		}
		w := newWorld(t, script)
		w.lives()
		w.heals()
	})
}

// longest is how long a script may be, in bytes: 500 things happen.
const longest = 1000

// seeds gives a target scripts to begin with: stories, and random ones.
func seeds(f *testing.F, stream uint64) {
	for _, s := range stories {
		f.Add(s)
	}
	for seed := range uint64(60) {
		f.Add(randomScript(seed, stream, 200))
	}
}

// randomScript is one of up to so many things that happen, and a few more.
func randomScript(seed, stream uint64, most int) []byte {
	r := rand.New(rand.NewPCG(seed, stream))
	script := make([]byte, 4+2*(20+r.IntN(most)))
	for i := range script {
		script[i] = byte(r.Uint32())
	}
	return script
}

// stories are scripts with a point. Four bytes say what kind of group it is, and
// two each what happens (world.act).
var stories = [][]byte{
	{},
	// Commands, and the leader dies with its Save under way; another one, and reads.
	{0, 0, 0, 1, 18, 8, 46, 0, 20, 24, 16, 0, 51, 1, 22, 8, 46, 0, 24, 0, 46, 0, 49, 0},
	// 4 and 5 come, 4 leads, 1 goes.
	{0, 0, 0, 1, 25, 24, 46, 0, 49, 0, 25, 32, 46, 0, 49, 0, 29, 32, 46, 0, 25, 40, 46, 0, 49, 24},
	// A snapshot after every entry, none kept behind it, and 3 loses its disk.
	{0, 1, 0, 1, 18, 24, 46, 0, 18, 24, 46, 0, 17, 2, 49, 24, 49, 24, 49, 24, 18, 8, 46, 0, 24, 2, 46, 0},
	// Leases: 1 is cut off and does not know it, 2 is elected, and both are read from.
	{2, 0, 0, 1, 49, 8, 24, 0, 38, 0, 24, 0, 51, 1, 18, 8, 46, 0, 24, 0, 24, 1, 46, 0, 39, 0, 49, 24},
	// Leases: what echoes the round of 1 is held up until 2 leads, and 1 is read from.
	{2, 0, 0, 1, 46, 0, 0, 56, 41, 1, 38, 0, 51, 1, 18, 8, 46, 0, 2, 1, 24, 0, 39, 0, 49, 24},
	// Silence, from which the death of the leader wakes the others.
	{8, 0, 0, 1, 18, 0, 46, 0, 49, 24, 49, 24, 16, 0, 46, 0, 49, 24, 49, 24, 49, 24, 49, 24, 18, 8, 46, 0},
	// Tiny bounds: a follower whose disk stalls is flooded.
	{1, 0, 0, 1, 35, 1, 18, 248, 46, 0, 18, 248, 46, 0, 18, 248, 46, 0, 49, 24, 18, 248, 46, 0, 35, 1, 46, 0, 49, 24},
	// Tiny bounds: a leader whose machine is lazy, and who is asked for too much.
	{1, 0, 0, 1, 35, 1, 36, 0, 18, 248, 18, 248, 46, 0, 18, 248, 18, 248, 46, 0, 21, 8, 46, 0, 35, 1, 36, 0, 49, 24},
	// A witness, and snapshots: without 2 it is needed; then 1 is cut off, and it elects 2.
	{0, 1, 0, 0x0d, 49, 24, 35, 1, 18, 8, 49, 24, 46, 0, 35, 1, 49, 24, 38, 0, 51, 1, 18, 8, 46, 0, 39, 0, 49, 24},
	// A witness that is not needed any more, at the moment when its heartbeat is due.
	{154, 136, 157, 181, 139, 31, 221, 75, 219, 104, 138, 72, 51, 105, 54, 165, 128, 131, 18, 193, 112, 215, 238, 84, 1, 174, 104, 102, 20, 186, 225, 122, 104, 125},
}

// A target that never gets anywhere finds nothing: what scripts are about must
// happen in those that every run of the tests begins with.
func TestScriptsGetSomewhere(t *testing.T) {
	did := map[string]int{}
	run := func(script []byte) {
		w := newWorld(t, script)
		w.lives()
		w.heals()
		for what, count := range w.did {
			did[what] += count
		}
	}
	for _, s := range stories {
		run(s)
	}
	for seed := range uint64(60) {
		run(randomScript(seed, 21, 200))
	}
	for _, what := range []string{
		"elections", "commits", "configurations", "joint", "joined", "wiped", "compacted", "snapshots sent", "restores", "loads",
		"bare snapshots sent", "votes of witnesses", "commits that witnesses were needed for",
		"quiet", "transfers", "stages", "reads of leaders", "reads of others",
		"reply: done", "reply: busy", "reply: overwritten", "reply: leadership lost", "reply: transferring",
	} {
		if did[what] < 3 {
			t.Errorf("%s: %d", what, did[what])
		}
	}
	t.Log(did)
}

// scripted is a group, and what its reads may not miss.
type scripted struct {
	*group
	floor map[Tag]Index // what had been acknowledged when a read was asked for
	acked Index
}

// checkReads demands that no read is older than what had been acknowledged, by
// anybody, when it was asked for.
func (s *scripted) checkReads() {
	s.t.Helper()
	for _, m := range s.members {
		for tag, index := range m.reads {
			if floor, known := s.floor[tag]; known && index < floor {
				s.t.Fatalf("node %d reads at %d what was acknowledged at %d before the read began", m.id, index, floor)
			}
			delete(s.floor, tag)
		}
		for tag, index := range m.done {
			s.acked = max(s.acked, index)
			delete(m.done, tag)
		}
	}
}

// settleDown ends the faults and demands that a command is committed and that
// everybody holds and has applied the same log.
func (s *scripted) settleDown() {
	s.t.Helper()
	s.settle()
	for range 20 {
		s.passes(electionTimeout)
		leader := s.members[0].state.Leader
		if leader == Nobody || s.member(leader).state.Role != Leader {
			continue
		}
		tag := s.proposes(leader, "the last word")
		s.settle()
		s.passes(2 * heartbeatInterval)
		if s.member(leader).done[tag] != 0 {
			s.agree()
			return
		}
	}
	for _, m := range s.members {
		s.t.Log(m.node)
	}
	s.t.Fatal("liveness: the faults have ended, and nothing is committed")
}
