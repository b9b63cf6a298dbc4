package raftcore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// FuzzStep reads bytes as a history of three nodes: which message arrives next,
// which is lost, repeated or late, whose disk completes a Save, whose clock runs
// and who crashes. Every step is checked (obeysTheRules, history, and the
// invariants inside the core), and so is every read. Then the faults end, and
// the three must come to the same log.
//
//	go test ./raftcore -run XXX -fuzz FuzzStep -fuzztime 5m
func FuzzStep(f *testing.F) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 21))
		script := make([]byte, 2*(50+r.IntN(400)))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		f.Add(script)
	}
	f.Add([]byte("\x00\x00\x0e\x00\x0f\x00\x0f\x00\x06\x00\x0f\x00\x06\x01\x0f\x00\x06\x00\x08\x00\x0f\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 3000 {
			t.Skip("long enough is long enough")
		}
		runScript(t, script)
	})
}

// scripted is a group that a script drives, and what its reads may not miss.
type scripted struct {
	*group
	floor map[Tag]Index // what had been acknowledged when a read was asked for
	acked Index
}

func runScript(t *testing.T, script []byte) {
	s := &scripted{floor: map[Tag]Index{}}
	s.group = newGroupOf(t, 3, given{Limits: func(c *Config) {
		if len(script) > 0 && script[0]&0x80 != 0 {
			c.MaxAppendBytes, c.MaxInflight, c.MaxInflightBytes = 200, 2, 300
			c.MaxApplyBytes, c.MaxWindowBytes, c.MaxUncommittedBytes = 100, 100, 1000
		}
	}})
	for len(script) >= 2 {
		s.act(script[0]&0x7f, int(script[1]))
		s.checkReads()
		script = script[2:]
	}
	s.settleDown()
}

func (s *scripted) act(what byte, arg int) {
	m := s.members[arg%3]
	arg /= 3
	at := 0
	if len(s.wire) > 0 {
		at = arg % len(s.wire)
	}
	switch what % 16 {
	case 0: // a clock runs
		m.now = m.now.Add(time.Duration(arg) * electionTimeout / 64)
		s.step(m)
	case 1, 2: // a message arrives, out of turn
		if len(s.wire) > 0 {
			message := s.wire[at]
			s.wire = slices.Delete(slices.Clone(s.wire), at, at+1)
			s.step(s.member(message.To), Receive{message})
		}
	case 3: // a message arrives, and will again
		if len(s.wire) > 0 {
			s.step(s.member(s.wire[at].To), Receive{s.wire[at]})
		}
	case 4: // messages are lost
		if len(s.wire) > 0 {
			s.wire = slices.Clone(s.wire[:at])
		}
	case 5, 6: // a disk completes a Save
		if len(m.disk.pending) > 0 {
			s.step(m, Saved{Token: m.disk.completeOldest()})
		}
	case 7: // a process dies
		if arg%4 == 0 {
			s.crash(m.id, arg/4%(len(m.disk.pending)+1))
		}
	case 8:
		s.proposes(m.id, fmt.Sprint("command ", arg))
	case 9:
		s.floor[s.lastTag+1] = s.acked
		s.reads(m.id)
	case 10:
		s.step(m, Unreachable{Peer: NodeID(arg%3 + 1)})
	case 11: // the disk, or the machine, answers
		if len(m.inbox) > 0 {
			in := m.inbox[0]
			m.inbox = m.inbox[1:]
			if loaded, ok := in.(Loaded); ok && arg%4 == 0 {
				loaded.Entries = nil // it could not read
				in = loaded
			}
			s.step(m, in)
		}
	case 12: // several disks complete several Saves at once
		for _, m := range s.members {
			var token Token
			for range min(arg%4, len(m.disk.pending)) {
				token = m.disk.completeOldest()
			}
			if token.Sequence != 0 {
				s.step(m, Saved{Token: token})
			}
		}
	case 13: // all that waits for a node arrives in one batch
		var batch []Input
		s.wire = slices.DeleteFunc(slices.Clone(s.wire), func(message Message) bool {
			if message.To == m.id {
				batch = append(batch, Receive{message})
			}
			return message.To == m.id
		})
		s.step(m, batch...)
	case 14: // a timeout passes
		m.now = max(m.now, m.out.Deadline)
		s.step(m)
	case 15: // some messages arrive in turn
		for range min(1+arg%8, len(s.wire)) {
			message := s.wire[0]
			s.wire = s.wire[1:]
			s.step(s.member(message.To), Receive{message})
		}
	}
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

// FuzzMessages gives one node whatever bytes say, well formed or not, from
// whomever. It may refuse, and it may find that a committed entry is to be cut
// off, or that a leader contradicts itself: these prove that somebody broke
// Raft. It may not panic otherwise.
func FuzzMessages(f *testing.F) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 22))
		script := make([]byte, 20+r.IntN(400))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		defer func() {
			if r := recover(); r != nil {
				broken, ok := r.(*InvariantError)
				if !ok || broken.Rule != RuleCommittedKept && broken.Rule != RuleLeaderAppendOnly {
					panic(r)
				}
			}
		}()
		babble(t, script)
	})
}

// babble turns bytes into messages and steps a node with them.
func babble(t *testing.T, script []byte) {
	n, err := New(Config{ID: 1, MaxWindowBytes: 200, MaxApplyBytes: 200}, Recovered{
		HardState: HardState{Term: 2, Cluster: cluster, Joined: true}, Runs: []TermRun{{1, 1}, {3, 2}}, Last: 4,
		BaseConf: ConfigAt{Conf: ConfState{Voters: voters(1, 2, 3)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	next := func() byte {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return b
	}
	small := func() uint64 { return uint64(next() % 10) }
	entryID := func() EntryID { return id(Term(small()), Index(small())) }
	var out Output
	now := Instant(time.Hour)
	for len(script) > 0 {
		m := Message{
			From: NodeID(next()%4 + 1), To: 1, Term: Term(small()), Cluster: ClusterID(next() % 8 / 7 * 2), Incarnation: Incarnation(next() % 8 / 6),
		}
		switch next() % 8 {
		case 0:
			m.Body = &VoteRequest{Pre: next()%2 == 0, Last: entryID(), Campaign: small()}
		case 1, 2:
			m.Body = &VoteReply{Pre: next()%2 == 0, Granted: next()%4 > 0, Campaign: small()}
		case 3:
			m.Body = &AppendReply{Match: Index(small()), Round: small(), Rejected: next()%2 == 0, Probed: entryID(), Hint: entryID()}
		case 4, 5, 6:
			r := &AppendRequest{Prev: entryID(), Commit: Index(small()), Round: small()}
			e := r.Prev
			for range next() % 4 {
				e.Index++
				e.Term += Term(next() % 8 / 6)
				if next()%16 == 0 {
					e = entryID()
				}
				r.Entries = append(r.Entries, Entry{EntryID: e, Kind: EntryCommand})
			}
			m.Body = r
		case 7:
			now = now.Add(time.Duration(next()) * electionTimeout / 100)
		}
		n.Step(Tick{Now: now})
		n.Step(Receive{m})
		n.Drain(&out)
		if token := out.Save.Token; token.Sequence != 0 && next()%3 > 0 {
			n.Step(Saved{Token: token})
		}
	}
}
