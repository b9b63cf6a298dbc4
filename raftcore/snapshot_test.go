package raftcore_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// Every test in this package also passes through member.obeysTheRules: what is
// restored is on the disk, nothing is applied meanwhile, and whatever the disk may
// hold after a crash, a node starts from it.

// snap is a snapshot that a leader of the voters 1, 2, 3 might send.
func snap(term Term, index Index) SnapshotMeta {
	return SnapshotMeta{Last: id(term, index), Time: 10 * int64(index), Conf: ConfigAt{Conf: ConfState{Voters: voters(1, 2, 3)}}}
}

func gives(term Term, index Index) *SnapshotRequest {
	return &SnapshotRequest{Snapshot: snap(term, index)}
}

// compacts has a node want a snapshot after so many entries, and keep so many
// before it.
func compacts(every, keep int) func(*Config) {
	return func(c *Config) {
		c.SnapshotEntries, c.KeepEntries = every, keep
		if keep == 0 {
			c.KeepEntries = -1
		}
	}
}

// peerState is how the leader sends to a peer.
func (n *stage) peerState(peer NodeID) string {
	for _, p := range n.state.Peers {
		if p.ID == peer {
			return p.State.String()
		}
	}
	return "no peer"
}

// snapshotsTo counts the snapshots that a peer was sent.
func (n *stage) snapshotsTo(peer NodeID) int {
	count := 0
	for i := range n.mail {
		if _, ok := n.mail[i].Body.(*SnapshotRequest); ok && n.mail[i].To == peer {
			count++
		}
	}
	return count
}

// following starts a node that follows 2 in term 3, and has applied a log of the
// given terms.
func following(t *testing.T, g given) *stage {
	t.Helper()
	g.Term = 3
	n := start(t, g)
	last := id(g.Log[len(g.Log)-1], Index(len(g.Log)))
	n.hears(2, 3, &AppendRequest{Prev: last, Commit: last.Index, Round: 1})
	for len(n.loads) > 0 {
		n.readsDisk()
	}
	n.applies()
	n.ignore()
	return n
}

// leading starts a leader in term 2 whose log begins after a snapshot of 1/10.
// Node 2 keeps up with it; of node 3 it knows nothing.
func leading(t *testing.T, limits func(*Config)) *stage {
	t.Helper()
	n := start(t, given{Snapshot: id(1, 10), Log: terms(1), Limits: limits})
	n.restored()
	n.wins()
	n.saves()
	n.accepted(2)
	n.applies()
	n.hasCommitted(12)
	n.ignore()
	return n
}

// sending is a leader that has just sent a snapshot to node 3, whose log is empty.
func sending(t *testing.T) *stage {
	t.Helper()
	n := leading(t, nil)
	n.rejected(3, EntryID{})
	n.rejected(3, EntryID{})
	n.wants("1->3 term=2 AppendRequest prev=1/10 commit=12 round=3", "1->3 term=2 SnapshotRequest snapshot of 1/10, voters=[1 2 3]")
	return n
}

// beats lets heartbeats pass. Node 2 answers them; node 3 rejects them, because
// its log is empty still.
func (n *stage) beats(count int) {
	n.t.Helper()
	for range count {
		n.waits(heartbeatInterval)
		n.acknowledged(2, n.state.Last)
		if r, ok := n.sentTo(3).Body.(*AppendRequest); ok {
			n.hears(3, n.state.Term, &AppendReply{Rejected: true, Probed: r.Prev, Round: r.Round})
		}
	}
}

// --- S1, S2, S14, S15, S16: what a follower does with a snapshot ---

func TestS1_ASnapshotTakesThePlaceOfALogThatConflicts(t *testing.T) {
	for name, log := range map[string][]Term{
		"another entry there": terms(1, 1, 1, 2, 2),
		"and more after it":   terms(1, 1, 1, 2, 2, 2, 2),
		"a log that is short": terms(1, 1, 1),
		"an empty log":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, given{Log: log, Term: 3})
			n.hears(2, 3, gives(3, 5))
			n.wants("Save #1 term=3 snapshot of 3/5, voters=[1 2 3] base=3/5 reset", "1->2 term=3 AppendReply match=0 round=0")
			n.saves()
			n.wants("1->2 term=3 AppendReply match=5 round=0", "Restore snapshot of 3/5, voters=[1 2 3]")
			if n.state.First != 6 || n.state.Last != 5 || len(n.disk.entries) > 0 {
				t.Errorf("%v, and its disk holds %v", n.node, n.disk.entries)
			}
			n.hears(2, 3, &AppendRequest{Prev: id(3, 5), Entries: commands(6, 3), Commit: 6, Round: 1})
			n.saves()
			n.ignore()
			n.restored()
			n.wants(`Apply [3/6 ""]`)
		})
	}
}

func TestS2_AStaleSnapshotMovesNothingBack(t *testing.T) {
	stale := gives(1, 2)
	stale.Snapshot.Conf.Conf.Voters = voters(7, 8, 9)
	for name, n := range map[string]*stage{
		"a whole log":     following(t, given{Log: terms(1, 1, 1, 2, 2)}),
		"a compacted log": following(t, given{Log: terms(1, 1, 1, 2, 2), Limits: compacts(100, 0)}),
	} {
		if strings.Contains(name, "compacted") {
			n.snapshotted(4)
			n.saves()
			n.ignore()
		}
		before := n.state
		n.hears(2, 3, stale)
		n.wants("1->2 term=3 AppendReply match=5 round=1")
		if !reflect.DeepEqual(n.state, before) {
			t.Errorf("%s: it was\n%v\nand is\n%v", name, before, n.state)
		}
	}
}

// Of an earlier term, from somebody who does not lead, or to a leader.
func TestS2_ASnapshotFromWhoDoesNotLeadIsRefused(t *testing.T) {
	n := following(t, given{Log: terms(1)})
	n.hears(3, 2, gives(2, 9))
	n.wants("1->3 term=3 AppendReply rejected probed=2/9 hint=0/0 round=0")
	n.hears(3, 3, gives(3, 9))
	n.wantsNothing()
	n = lead(t, given{})
	n.hears(3, 1, gives(1, 9))
	n.wantsNothing()
	if n.state.Refused != 1 || n.state.Last != 1 {
		t.Errorf("%v", n.node)
	}
}

func TestS14_ASnapshotOfAPrefixKeepsTheEntriesAfterIt(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 2, 2), Term: 3})
	n.hears(2, 3, gives(1, 3))
	n.wants("1->2 term=3 AppendReply match=3 round=0", `Apply [1/1 "" 1/2 "" 1/3 ""]`) // it proves that they are committed
	if n.state.Last != 5 || n.state.First != 1 || len(n.disk.entries) != 5 {
		t.Errorf("%v", n.node)
	}
	n.hears(2, 3, gives(2, 5)) // all of the log
	n.wants("1->2 term=3 AppendReply match=5 round=0", `Apply [2/4 "" 2/5 ""]`)
}

func TestS15_ALogThatEndsExactlyInItsSnapshotGoesOnInALaterTerm(t *testing.T) {
	n := start(t, given{Snapshot: id(2, 5), Term: 4})
	n.restored()
	n.ignore()
	n.hears(2, 5, &AppendRequest{Prev: id(2, 5), Entries: commands(6, 5), Commit: 6, Round: 1})
	n.saves()
	n.wants(`Save #1 term=5 [5/6 ""]`, "1->2 term=5 AppendReply match=6 round=1", `Apply [5/6 ""]`)
	n.crashes(0)
	if n.state.First != 6 || n.state.Last != 6 {
		t.Errorf("%v", n.node)
	}

	n = lead(t, given{Snapshot: id(2, 5), Term: 4}) // and as a leader
	n.is(Leader, 5)
	n.hasCommitted(6)
	n.hears(3, 6, &VoteRequest{Transfer: true, Last: id(2, 5)}) // whose log ends in the snapshot loses
	n.saves()
	n.is(Follower, 6)
	if n.state.Vote != Nobody {
		t.Errorf("%v", n.node)
	}
}

func TestS16_ASnapshotThatComesAgainChangesNothing(t *testing.T) {
	n := following(t, given{Log: terms(1)})
	reply := func(match Index) string { return fmt.Sprintf("1->2 term=3 AppendReply match=%d round=1", match) }
	n.hears(2, 3, gives(3, 5))
	n.wants("Save #1 term=3 snapshot of 3/5, voters=[1 2 3] base=3/5 reset", reply(1))
	n.hears(2, 3, gives(3, 5)) // before it is saved
	n.wants(reply(1))
	n.saves()
	n.wants(reply(5), "Restore snapshot of 3/5, voters=[1 2 3]")
	n.hears(2, 3, gives(3, 5)) // before it is restored
	n.wants(reply(5))
	n.restored()
	n.hears(2, 3, gives(3, 5)) // after that
	n.wants(reply(5))
	n.crashes(0)
	n.ignore()
	n.hears(2, 3, gives(3, 5)) // and after a restart
	n.wants("1->2 term=3 AppendReply match=5 round=0")
}

func TestANewerSnapshotOvertakesOneThatIsBeingInstalled(t *testing.T) {
	for _, saved := range []bool{false, true} {
		n := following(t, given{Log: terms(1)})
		n.hears(2, 3, gives(3, 5))
		if saved {
			n.saves() // the machine has begun
		}
		n.ignore()
		n.hears(2, 3, gives(3, 9))
		n.steps(Applied{Index: 5}) // it may have become the first one meanwhile
		n.saves()
		if n.restoring == nil || n.restoring.Last != id(3, 9) {
			t.Fatalf("saved %v: it restores %v", saved, n.restoring)
		}
		n.restored()
		n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Entries: commands(10, 3), Commit: 10, Round: 2})
		n.saves()
		if n.applied != 10 || n.state.Applied != 9 {
			t.Errorf("%v", n.node)
		}
	}
}

// --- S3, S6, S12, S13: the way to a peer ---

func TestS3_NewsOfAnotherSnapshotChangesNothing(t *testing.T) {
	for name, news := range map[string]SnapshotSent{
		"an earlier one has failed": {Peer: 3, Index: 9, Status: SnapshotFailed},
		"a later one has failed":    {Peer: 3, Index: 11, Status: SnapshotFailed},
		"somebody else's":           {Peer: 2, Index: 10, Status: SnapshotFailed},
		"a stranger's":              {Peer: 7, Index: 10, Status: SnapshotFailed},
		"an earlier one moves":      {Peer: 3, Index: 9, Status: SnapshotMoving},
	} {
		n := sending(t)
		for range 10 { // just as long as the leader is patient
			n.steps(news)
			if n.peerState(3) != "snapshot" || n.peerState(2) != "replicate" {
				t.Fatalf("%s: %v", name, n.state.Peers)
			}
			n.beats(10)
		}
		n.beats(1)
		if n.peerState(3) == "snapshot" && n.snapshotsTo(3) == 1 {
			t.Errorf("%s: the transfer was kept alive by it", name)
		}
	}
	n := lead(t, given{}) // and who is sent none is not concerned
	n.steps(SnapshotSent{Peer: 3, Index: 1, Status: SnapshotFailed})
	if n.peerState(3) != "replicate" {
		t.Errorf("%v", n.state.Peers)
	}
}

func TestS6_ASnapshotIsSentOnce(t *testing.T) {
	n := sending(t)
	n.beats(50)
	for range 5 { // nor do proposals send it again
		n.steps(Propose{})
		n.saves()
		n.accepted(2)
	}
	if got := n.snapshotsTo(3); got != 1 {
		t.Errorf("it was sent %d times", got)
	}
}

func TestS6_TwoRejectionsInOneBatchSendOneSnapshot(t *testing.T) {
	n := leading(t, nil)
	n.rejected(3, EntryID{})
	r := n.askedOf(3)
	no := Receive{n.message(3, 2, &AppendReply{Rejected: true, Probed: r.Prev, Round: r.Round})}
	n.steps(no, no)
	if got := n.snapshotsTo(3); got != 1 || n.peerState(3) != "snapshot" {
		t.Errorf("it was sent %d times; %v", got, n.state.Peers)
	}
}

// A transfer that takes long would be in vain if what follows the snapshot were
// compacted meanwhile: the next one would be, too.
func TestS6_WhatFollowsASnapshotThatIsUnderWayIsKept(t *testing.T) {
	n := leading(t, compacts(100, 0))
	n.rejected(3, EntryID{})
	n.rejected(3, EntryID{})
	for range 5 {
		n.steps(Propose{})
		n.saves()
		n.accepted(2)
	}
	n.applies()
	n.steps(SnapshotTaken{Index: n.applied, Time: n.time})
	if n.applied <= 11 || n.state.First != 11 {
		t.Errorf("a snapshot of 10 is under way, and the log begins at %d", n.state.First)
	}
	n.hears(3, 2, &AppendReply{Match: 10, Round: n.askedOf(2).Round})
	n.accepted(3)
	if got := n.snapshotsTo(3); got != 1 || n.peerState(3) != "replicate" {
		t.Fatalf("%d snapshots were sent; %v", got, n.state.Peers)
	}
	n.steps(Propose{})
	n.saves()
	n.accepted(2, 3)
	n.applies()
	n.steps(SnapshotTaken{Index: n.applied, Time: n.time})
	if n.state.First != n.applied+1 {
		t.Errorf("it has arrived, and the log begins at %d", n.state.First)
	}
}

// growsAndCuts has a leader and node 2 commit so many entries, and its machine take a snapshot of
// all of them.
func (n *stage) growsAndCuts(by int) {
	n.t.Helper()
	for range by {
		n.steps(Propose{})
	}
	n.saves()
	n.acknowledged(2, n.state.Last)
	n.applies()
	n.steps(SnapshotTaken{Index: n.applied, Time: n.time})
	n.saves()
}

// Who has taken a snapshot in lacks what came after it was taken. A log that is cut meanwhile
// waits for him as long as he comes nearer, or he would be sent one snapshot after the other.
func TestS6_TheLogWaitsForWhoCatchesUpAfterASnapshot(t *testing.T) {
	n := leading(t, compacts(100, 0))
	n.rejected(3, EntryID{})
	n.rejected(3, EntryID{})
	n.growsAndCuts(20)
	n.hears(3, 2, &AppendReply{Match: 10, Round: n.askedOf(2).Round}) // it has arrived
	lacked := n.state.Last - 10
	for match := Index(10); match+5 < n.state.Last; {
		match += 5
		n.acknowledged(3, match)
		n.growsAndCuts(3)
		if lacks := n.state.Last - match; lacks >= lacked {
			t.Fatalf("%d entries are lacking, and %d were: this is no test", lacks, lacked)
		} else {
			lacked = lacks
		}
		if want := min(match, n.applied) + 1; n.state.First != want || n.peerState(3) != "replicate" {
			t.Fatalf("it has %d of %d, and the log begins at %d; %v", match, n.state.Last, n.state.First, n.state.Peers)
		}
	}
	if n.snapshotsTo(3) != 1 {
		t.Errorf("%d snapshots were sent", n.snapshotsTo(3))
	}
}

// Who comes no nearer than at the cut before has the log wait for nothing. It would grow without
// end.
func TestS6_TheLogWaitsForNobodyWhoComesNoNearer(t *testing.T) {
	for _, nearer := range []bool{false, true} { // at first
		n := leading(t, compacts(100, 0))
		n.rejected(3, EntryID{})
		n.rejected(3, EntryID{})
		n.growsAndCuts(20)
		has := Index(10)
		n.hears(3, 2, &AppendReply{Match: has, Round: n.askedOf(2).Round})
		if nearer {
			has += 12
			n.acknowledged(3, has)
			if n.growsAndCuts(2); n.state.First != has+1 {
				t.Fatalf("it has %d of %d, and the log begins at %d", has, n.state.Last, n.state.First)
			}
		}
		has += 3
		n.acknowledged(3, has)
		if n.growsAndCuts(3); n.state.First != n.applied+1 {
			t.Errorf("it has %d of %d, as far away as before, and the log begins at %d", has, n.state.Last, n.state.First)
		}
	}
}

// Who failed at once is not sent it again at once.
func TestS6_AFailedTransferBeginsAgainWithTheNextHeartbeat(t *testing.T) {
	n := sending(t)
	n.steps(SnapshotSent{Peer: 3, Index: 10, Status: SnapshotFailed})
	n.steps()
	n.wantsNothing()
	n.beats(1)
	if got := n.snapshotsTo(3); got != 2 {
		t.Errorf("it was sent %d times", got)
	}
}

func TestS12_ATransferThatMovesIsNotBegunAgain(t *testing.T) {
	n := sending(t)
	for range 20 {
		n.beats(99)
		n.steps(SnapshotSent{Peer: 3, Index: 10, Status: SnapshotMoving})
	}
	if got := n.snapshotsTo(3); got != 1 || n.peerState(3) != "snapshot" {
		t.Fatalf("it was sent %d times", got)
	}
	n.beats(103) // silence
	if got := n.snapshotsTo(3); got != 2 || n.peerState(3) != "snapshot" {
		t.Errorf("it was sent %d times; %v", got, n.state.Peers)
	}
}

func TestS12_ADeliveredSnapshotOfWhichNothingIsHeardIsSentAgain(t *testing.T) {
	n := sending(t)
	n.steps(SnapshotSent{Peer: 3, Index: 10, Status: SnapshotDelivered})
	n.beats(50)
	if got := n.snapshotsTo(3); got != 1 {
		t.Errorf("it was sent %d times", got)
	}
	n.beats(60)
	if got := n.snapshotsTo(3); got != 2 {
		t.Errorf("it was sent %d times", got)
	}
}

func TestAnAcknowledgementAloneEndsATransfer(t *testing.T) {
	n := sending(t)
	n.hears(3, 2, &AppendReply{Match: 10, Round: n.askedOf(2).Round})
	n.wants(`1->3 term=2 AppendRequest prev=1/10 commit=12 round=3 [1/11 "" 2/12 noop]`)
	if n.peerState(3) != "replicate" {
		t.Errorf("%v", n.state.Peers)
	}
	n.steps(SnapshotSent{Peer: 3, Index: 10, Status: SnapshotFailed}) // a late word
	n.wantsNothing()
	n.hears(3, 2, &AppendReply{Match: 12, Round: n.askedOf(3).Round})
	if n.peerState(3) != "replicate" || n.snapshotsTo(3) != 1 {
		t.Errorf("%v", n.state.Peers)
	}
}

// What the peer has meanwhile acknowledged of its old log is not the snapshot.
func TestAnAcknowledgementOfLessDoesNotEndATransfer(t *testing.T) {
	n := sending(t)
	n.hears(3, 2, &AppendReply{Match: 9, Round: n.askedOf(2).Round})
	if n.peerState(3) != "snapshot" {
		t.Errorf("%v", n.state.Peers)
	}
}

// The transfer was given up, the leader has compacted on, and has lost what comes
// after the snapshot. When that arrives after all, the peer is sent another one.
func TestAPeerWhoseSnapshotIsTooOldWhenItArrivesIsSentANewerOne(t *testing.T) {
	n := leading(t, compacts(100, 0))
	n.rejected(3, EntryID{})
	n.rejected(3, EntryID{})
	n.steps(SnapshotSent{Peer: 3, Index: 10, Status: SnapshotFailed})
	n.snapshotted(12)
	n.saves()
	n.ignore()
	n.hears(3, 2, &AppendReply{Match: 10, Round: n.askedOf(2).Round})
	n.beats(1)
	if n.snapshotsTo(3) != 2 || n.sentTo(3).Body.(*SnapshotRequest).Snapshot.Last != id(2, 12) {
		t.Errorf("it was sent %v", n.sentTo(3))
	}
}

func TestS13_HeartbeatsDoNotAbortASnapshot(t *testing.T) {
	n := following(t, given{Log: terms(1)})
	n.hears(2, 3, gives(3, 5))
	n.ignore()
	for round := range uint64(5) {
		n.hears(2, 3, &AppendRequest{Prev: id(3, 5), Commit: 5, Round: round + 2}) // one that fits
		n.wants(fmt.Sprintf("1->2 term=3 AppendReply match=1 round=%d", round+2))
		n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Commit: 5, Round: round + 2}) // one that does not
		n.ignore()
	}
	n.saves()
	n.wants("1->2 term=3 AppendReply match=5 round=6", "Restore snapshot of 3/5, voters=[1 2 3]")
}

func TestS13_ALongRestoreDoesNotTripTheElectionTimer(t *testing.T) {
	n := following(t, given{Log: terms(1)})
	n.hears(2, 3, gives(3, 5))
	n.saves()
	for round := range uint64(50) {
		n.waits(heartbeatInterval)
		n.hears(2, 3, &AppendRequest{Prev: id(3, 5), Entries: commands(6, 3), Commit: 6, Round: round + 2})
		n.saves()
		n.is(Follower, 3)
	}
	if n.state.Applied != 1 || n.state.Saved != 6 {
		t.Errorf("%v", n.node)
	}
	n.ignore()
	n.restored()
	n.wants(`Apply [3/6 ""]`)
}

// --- S4: an install races with the machine ---

func TestS4_AnInstallRacesWithApply(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1), Term: 3})
	n.hears(2, 3, &AppendRequest{Prev: id(1, 3), Commit: 3, Round: 1})
	n.hears(2, 3, gives(3, 9))
	n.ignore()
	n.steps(Applied{Index: 2}) // what it was doing
	n.saves()
	n.wants("1->2 term=3 AppendReply match=9 round=1", "Restore snapshot of 3/9, voters=[1 2 3]")
	n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Entries: commands(10, 3), Commit: 10, Round: 1})
	n.saves()
	n.ignore()
	n.steps(Applied{Index: 3})
	n.wantsNothing()
	n.restored()
	n.wants(`Apply [3/10 ""]`)
}

func TestS4_AnInstallRacesWithALoad(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1), Term: 3, Forgets: true})
	n.hears(2, 3, &AppendRequest{Prev: id(1, 3), Commit: 3, Round: 1})
	n.hears(2, 3, gives(3, 9))
	n.saves()
	n.ignore()
	n.steps(Loaded{Load: n.loads[0], Entries: commands(1, 1, 1, 1)})
	n.wantsNothing()
	n.restored()
	n.steps(Loaded{Load: n.loads[0], Entries: commands(1, 1, 1, 1)})
	n.wantsNothing()
}

// Entries for a peer were asked of the disk; before they come the log is compacted
// up to the first of them. What stands before that one is not known any more.
func TestS4_ACompactionRacesWithALoadForAPeer(t *testing.T) {
	for at := Index(1); at <= 4; at++ { // before, just there, and after it
		n := start(t, given{Log: terms(1, 1, 1, 1), Forgets: true, Limits: compacts(100, 0)})
		n.wins()
		n.saves()
		n.accepted(3)
		n.readsDisk()
		n.applies()
		n.rejected(2, id(1, 1))
		n.ignore()
		n.acknowledged(2, 1)
		n.wants("Load 2..4 for 2")
		load := n.loads[0]
		n.steps(SnapshotTaken{Index: at, Time: n.time}, Loaded{Load: load, Entries: n.disk.load(load)})
		for i := range n.out.Send {
			if r := n.out.Send[i].Body.(*AppendRequest); r.Prev.Index < at || r.Prev.Term == 0 {
				t.Errorf("compacted up to %d, it sends what follows %v", at, r.Prev)
			}
		}
		n.is(Leader, 2)
	}
}

func TestS4_ALocalSnapshotThatIsFinishedAfterAnInstallCompactsNothing(t *testing.T) {
	for _, saved := range []bool{false, true} {
		n := following(t, given{Log: terms(1, 1, 1), Limits: compacts(3, 0)})
		if !n.compacting {
			t.Fatal("it should have asked for a snapshot")
		}
		n.hears(2, 3, gives(3, 9))
		n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Entries: commands(10, 3), Commit: 10, Round: 1})
		if saved {
			n.saves()
		}
		n.ignore()
		n.snapshotted(3)
		n.wantsNothing()
		n.saves()
		n.restored()
		n.applies()
		if n.state.First != 10 || n.state.Last != 10 || n.state.Applied != 10 {
			t.Errorf("%v", n.node)
		}
		n.snapshotted(10) // and the next one does
		if n.out.Save.Base == nil || n.out.Save.Base.Last != id(3, 10) {
			t.Errorf("%v", n.out.Save)
		}
	}
}

// A machine takes one snapshot at a time. It was at one when the install came: it
// is asked for the next when it has answered.
func TestS4_AMachineIsNotAskedAgainBeforeItHasAnsweredAcrossAnInstall(t *testing.T) {
	n := following(t, given{Log: terms(1, 1, 1), Limits: compacts(3, 0)})
	n.hears(2, 3, gives(3, 9))
	n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Entries: commands(10, 3, 3, 3, 3), Commit: 13, Round: 1})
	n.saves()
	n.restored()
	n.ignore()
	n.applies()
	n.wantsNothing()
	n.snapshotted(3)
	n.wants("Compact")
	n.snapshotted(13)
	if n.state.First != 14 {
		t.Errorf("%v", n.node)
	}
}

// --- S5, S8: what a snapshot stands for ---

// changingHistory is a log in which entry 2 adds a learner, 4 begins to make it a voter,
// and 5 ends that.
func changingHistory() []Entry {
	entries := commands(1, 1, 1, 1, 2, 2, 2)
	for i, conf := range map[int]ConfState{
		1: {Voters: voters(1, 2, 3), Learners: voters(4)},
		3: {Voters: voters(1, 2, 3, 4), Outgoing: voters(1, 2, 3)},
		4: {Voters: voters(1, 2, 3, 4)},
	} {
		entries[i].Kind, entries[i].Config = EntryConfig, &conf
	}
	for i := range entries {
		entries[i].Time = int64(100 * (i + 1))
	}
	return entries
}

// confAsOf is the configuration after so many of these entries.
func confAsOf(entries []Entry, i Index) ConfigAt {
	c := ConfigAt{Conf: ConfState{Voters: voters(1, 2, 3)}}
	for k := range entries[:i] {
		if e := &entries[k]; e.Kind == EntryConfig {
			c = ConfigAt{Index: e.Index, Conf: *e.Config}
		}
	}
	return c
}

func TestS5_ASnapshotCarriesTheConfigurationAsOfItsIndex(t *testing.T) {
	entries := changingHistory()
	for keep := range 4 {
		for at := Index(1); at <= 6; at++ {
			n := start(t, given{Term: 3, Limits: compacts(1, keep)})
			n.hears(2, 3, &AppendRequest{Entries: entries, Commit: at, Round: 1}) // what comes after is there, and uncommitted
			n.saves()
			n.applies()
			n.snapshotted(at)
			want := SnapshotMeta{Last: entries[at-1].EntryID, Time: int64(100 * at), Conf: confAsOf(entries, at)}
			if got := n.out.Save.Snapshot; got == nil || !reflect.DeepEqual(*got, want) {
				t.Fatalf("snapshot %v, should be %v", got, want)
			}
			base := max(0, int(at)-keep)
			switch got := n.out.Save.Base; {
			case base == 0:
				if got != nil {
					t.Fatalf("keeping %d before %d, the base is %v", keep, at, got)
				}
			case got == nil || got.Last != entries[base-1].EntryID || !reflect.DeepEqual(got.Conf, confAsOf(entries, Index(base))):
				t.Fatalf("keeping %d before %d, the base is %v", keep, at, got)
			}
			if want := confAsOf(entries, 6); n.state.ConfIndex != want.Index || !n.state.Conf.Equal(want.Conf) {
				t.Fatalf("compacting has changed the configuration in force: %v", &n.state.Conf)
			}
		}
	}
}

func TestS5_AnInstalledSnapshotBringsItsConfiguration(t *testing.T) {
	s := snap(3, 9)
	s.Conf = ConfigAt{Index: 7, Conf: ConfState{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3), Learners: voters(2, 6)}}
	n := start(t, given{Term: 3, Log: terms(1, 1)})
	n.hears(2, 3, &SnapshotRequest{Snapshot: s})
	in := func() {
		t.Helper()
		if n.state.ConfIndex != 7 || !n.state.Conf.Equal(s.Conf.Conf) {
			t.Errorf("in force is %v of %d", &n.state.Conf, n.state.ConfIndex)
		}
	}
	in()
	if !n.out.StatusChanged {
		t.Error("nobody is told")
	}
	n.saves()
	n.crashes(0)
	in()
	// A configuration that is cut off gives way to that of the snapshot.
	e := commands(10, 3)
	e[0].Kind, e[0].Config = EntryConfig, &ConfState{Voters: voters(1, 4, 5)}
	n.hears(2, 3, &AppendRequest{Prev: id(3, 9), Entries: e, Round: 1})
	n.hears(4, 4, &AppendRequest{Prev: id(3, 9), Entries: commands(10, 4), Round: 1})
	in()
}

// The machine's clock is part of what a snapshot stands for: the log's time never
// goes back behind it.
func TestS5_TheLogsTimeGoesOnFromTheSnapshots(t *testing.T) {
	n := start(t, given{Term: 1, Limits: compacts(1, 0)})
	s := snap(1, 5)
	s.Time = 5000
	n.hears(2, 1, &SnapshotRequest{Snapshot: s})
	n.saves()
	n.hears(2, 1, &AppendRequest{Prev: id(1, 5), Round: 1})
	n.crashes(0)
	n.restored()
	n.wall = 10
	n.wins()
	if e := n.out.Save.Entries; len(e) != 1 || e[0].Time != 5000 {
		t.Errorf("it opens its term with %v", n.out.Save)
	}
}

func TestS8_WhatASnapshotStandsForIsTheSameEverywhere(t *testing.T) {
	entries := changingHistory()
	for _, keep := range []int{0, 2, 100} {
		n := start(t, given{Term: 3, Limits: compacts(1, keep)})
		n.hears(2, 3, &AppendRequest{Entries: entries, Commit: 5, Round: 1})
		n.saves()
		n.applies()
		n.snapshotted(4)
		want := *n.out.Save.Snapshot
		n.saves()
		n.crashes(0) // through the disk
		if got := n.out.Restore; got == nil || !reflect.DeepEqual(*got, want) {
			t.Fatalf("restored is %v, taken was %v", got, want)
		}
		n.restored()
		n.timesOut() // and to a peer
		for n.state.Role != Leader {
			n.saves()
			for _, p := range n.peers() {
				if _, asked := n.sentTo(p).Body.(*VoteRequest); asked && n.state.Role != Leader {
					n.granted(p)
				}
			}
		}
		if keep > 3 {
			continue // nobody needs a snapshot
		}
		for n.snapshotsTo(3) == 0 {
			n.rejected(3, EntryID{})
		}
		sent := n.sentTo(3).Body.(*SnapshotRequest).Snapshot
		if !reflect.DeepEqual(sent, want) {
			t.Fatalf("sent is %v, taken was %v", sent, want)
		}
		m := start(t, given{ID: 3, Pristine: true}) // and through its disk
		m.hears(1, 4, &SnapshotRequest{Snapshot: sent})
		m.saves()
		m.crashes(0)
		if got := m.out.Restore; got == nil || !reflect.DeepEqual(*got, want) {
			t.Fatalf("installed is %v, taken was %v", got, want)
		}
	}
}

// --- S7: when to take one ---

func TestS7_ASnapshotIsAskedForOnceUntilItIsTaken(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: compacts(3, 0)})
	propose := func() {
		n.steps(Propose{})
		n.saves()
		n.applies()
	}
	propose()
	if n.compacting {
		t.Fatal("too early")
	}
	n.steps(Propose{})
	n.saves()
	n.ignore()
	n.applies()
	n.wants("Compact")
	for range 10 {
		propose()
		if n.out.Compact {
			t.Fatal("it asks again")
		}
	}
	n.ignore()
	n.snapshotted(3) // and there are ten more meanwhile: the trigger is not lost
	n.wants("Save #15 term=1 vote=1 snapshot of 1/3, voters=[1] base=1/3", "Compact")
	n.saves()
	n.snapshotted(13)
	if n.state.First != 14 || n.compacting {
		t.Errorf("%v", n.node)
	}
}

// By bytes, while one is running: as many again have been applied, so the next one
// is due at once.
func TestS7_BytesAppliedWhileASnapshotIsTakenCount(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.SnapshotBytes = 1000 }})
	propose := func(bytes int) {
		n.steps(Propose{Data: make([]byte, bytes)})
		n.saves()
		n.applies()
	}
	propose(800)
	if n.compacting {
		t.Fatal("too early")
	}
	propose(100)
	if !n.compacting {
		t.Fatal("it should have asked")
	}
	propose(5000)
	n.snapshotted(3)
	if !n.compacting {
		t.Error("the 5000 bytes after the snapshot were forgotten")
	}
}

// Bytes count when they have been applied, not when they are handed out.
func TestS7_BytesCountFromTheSnapshotOn(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.SnapshotBytes = 1000 }})
	n.steps(Propose{Data: make([]byte, 2000)})
	n.saves()
	n.applies()
	n.snapshotted(2)
	n.steps(Propose{Data: make([]byte, 800)})
	n.saves()
	n.applies()
	if n.compacting {
		t.Error("too early")
	}
	n.steps(Propose{Data: make([]byte, 200)})
	n.saves()
	n.applies()
	if !n.compacting {
		t.Error("too late")
	}
}

func TestS7_ASnapshotIsAskedForByAge(t *testing.T) {
	n := lead(t, given{Voters: voters(1), Limits: func(c *Config) { c.SnapshotAge = time.Minute }})
	n.timesOut() // it names the moment
	n.wants("Compact")
	n.snapshotted(1)
	n.saves()
	n.ignore()
	if n.out.Deadline != 0 {
		t.Errorf("it waits for %v, and nothing has been applied since", n.out.Deadline.Sub(n.now))
	}
	n.waits(time.Hour)
	n.wantsNothing()
	n.steps(Propose{})
	n.saves()
	n.ignore()
	n.applies()
	n.wants("Compact")
	n.snapshotted(2)
	n.saves()
	n.steps(Propose{})
	n.saves()
	n.applies()
	if got := n.out.Deadline.Sub(n.now); got != time.Minute {
		t.Errorf("it waits for %v", got)
	}
}

func TestS7_AFailedSnapshotIsAskedForAgain(t *testing.T) {
	for name, limits := range map[string]func(*Config){
		"by entries":                     compacts(2, 0),
		"by entries, and the age is far": func(c *Config) { c.SnapshotEntries, c.SnapshotAge = 2, time.Hour },
		"by bytes":                       func(c *Config) { c.SnapshotBytes = 70 },
		"by age":                         func(c *Config) { c.SnapshotAge = time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			n := lead(t, given{Voters: voters(1), Limits: limits})
			n.steps(Propose{})
			n.saves()
			n.applies()
			if !n.compacting {
				n.timesOut()
			}
			for range 3 {
				n.ignore()
				n.steps(SnapshotTaken{})
				n.wantsNothing()
				if got := n.out.Deadline.Sub(n.now); got <= 0 || got > 2*electionTimeout {
					t.Fatalf("it waits for %v", got)
				}
				n.timesOut()
				n.wants("Compact")
			}
		})
	}
}

func TestS7_TheLogNeverBeginsAfterTheSnapshot(t *testing.T) {
	for keep, first := range map[int]Index{0: 6, 2: 4, 4: 2, 5: 1, 100: 1} {
		n := following(t, given{Log: terms(1, 1, 1, 2, 2, 2), Limits: compacts(100, keep)})
		n.snapshotted(5)
		if n.state.First != first {
			t.Errorf("keeping %d: the log begins at %d", keep, n.state.First)
		}
		n.saves()
		n.snapshotted(3) // an older one does not bring anything back
		n.snapshotted(5)
		if n.state.First != first || n.out.Save.Token.Sequence > 0 {
			t.Errorf("keeping %d: the log begins at %d, %v", keep, n.state.First, n.out.Save)
		}
	}
}

func TestASnapshotOfWhatWasNeverHandedOutBreaksARule(t *testing.T) {
	n := following(t, given{Log: terms(1, 1)})
	n.hears(2, 3, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 3), Round: 1})
	n.saves()
	breaks(t, RuleAppliedCommitted, func() { n.node.Step(SnapshotTaken{Index: 3}) })
}

// --- S9: whoever does not lead takes a snapshot ---

func TestS9_CandidatesTakeASnapshot(t *testing.T) {
	n := start(t, given{Log: terms(1), Term: 2})
	n.timesOut()
	n.is(PreCandidate, 2)
	n.ignore()
	n.hears(2, 2, gives(2, 5))
	n.is(Follower, 2)
	n.wants("Save #1 term=2 snapshot of 2/5, voters=[1 2 3] base=2/5 reset", "1->2 term=2 AppendReply match=0 round=0")

	for _, saved := range []bool{false, true} { // its candidacy
		n = start(t, given{Log: terms(1), Term: 2})
		n.timesOut()
		n.granted(2)
		n.is(Candidate, 3)
		if saved {
			n.saves()
		}
		n.hears(2, 3, gives(2, 5))
		n.is(Follower, 3)
		if n.state.Leader != 2 {
			t.Errorf("%v", n.node)
		}
		n.ignore()
		n.saves()
		want := []string{"1->2 term=3 AppendReply match=5 round=0", "Restore snapshot of 2/5, voters=[1 2 3]"}
		if !saved { // its term first
			want = append([]string{"1->2 term=3 AppendReply match=0 round=0"}, want...)
		}
		n.wants(want...)
	}
}

func TestS9_ALeaderOfAnEarlierTermTakesASnapshot(t *testing.T) {
	n := lead(t, given{Log: terms(1)})
	n.hears(2, 5, gives(4, 9))
	n.is(Follower, 5)
	n.saves()
	n.wants("Save #3 term=5 snapshot of 4/9, voters=[1 2 3] base=4/9 reset", "1->2 term=5 AppendReply match=9 round=0", "Restore snapshot of 4/9, voters=[1 2 3]")
}

// --- S10: who waits for a proposal ---

func TestS10_ProposalsThatASnapshotJumpsOverAreAnswered(t *testing.T) {
	n := lead(t, given{})
	for tag := range Tag(4) { // entries 2 to 5
		n.steps(Propose{Tag: tag + 1, Watch: true})
	}
	n.ignore()
	n.hears(2, 2, gives(2, 3))
	n.wants("Save #7 term=2 snapshot of 2/3, voters=[1 2 3] base=2/3 reset",
		"Reply tag=1 compacted (may have happened) leader=2", "Reply tag=2 compacted (may have happened) leader=2",
		"Reply tag=3 overwritten leader=2", "Reply tag=4 overwritten leader=2")
	n.saves()
	n.restored()
	n.hears(2, 2, &AppendRequest{Prev: id(2, 3), Entries: commands(4, 2), Commit: 4, Round: 1})
	n.ignore()
	n.saves()
	n.applies()
	n.wants("1->2 term=2 AppendReply match=4 round=1", `Apply [2/4 ""]`)
	if len(n.out.Stages) > 0 {
		t.Errorf("%v", n.out.Stages)
	}
}

// What was handed to the machine is the machine's to answer, once.
func TestS10_ProposalsThatWereHandedOutAreNotAnsweredByASnapshot(t *testing.T) {
	n := lead(t, given{})
	n.steps(Propose{Tag: 1})
	n.saves()
	n.accepted(2)
	if !slices.Equal(n.out.Apply.Tags, []TagAt{{Tag: 1, Index: 2}}) {
		t.Fatalf("handed out is %v", n.out.Apply.Tags)
	}
	n.hears(2, 2, gives(2, 9))
	n.saves()
	n.restored()
	if len(n.out.Replies) > 0 {
		t.Errorf("%v", n.out.Replies)
	}
}

func TestS10_ReadsAreAnsweredAcrossASnapshot(t *testing.T) {
	n := following(t, given{Log: terms(1)})
	n.steps(Read{Tag: 1})
	ask := n.sentTo(2).Body.(*ReadRequest)
	n.hears(2, 3, gives(3, 9))
	n.ignore()
	n.hears(2, 3, &ReadReply{Sequence: ask.Sequence, Index: 8})
	n.wants("Read tag=1 at 8")
}

// --- S11: crashes ---

// A crash at any point of an install, with any number of the Saves under way kept,
// leaves the old log or the snapshot, and a node starts from either.
func TestS11_ACrashDuringAnInstallLeavesTheOldLogOrTheSnapshot(t *testing.T) {
	for name, log := range map[string][]Term{"conflicts": terms(1, 1, 1, 2, 2, 2, 2, 2), "is short": terms(1, 1, 1), "is empty": nil} {
		for kept := range 5 {
			for saved := 0; saved+kept <= 4; saved++ {
				n := start(t, given{Log: log, Term: 3})
				last := Index(len(log))
				n.hears(2, 4, gives(3, 6))                                                                     // a term, and a snapshot
				n.hears(2, 4, &AppendRequest{Prev: id(3, 6), Entries: commands(7, 4, 4), Commit: 6, Round: 1}) // entries
				n.hears(2, 4, gives(4, 9))                                                                     // another one
				n.hears(2, 4, &AppendRequest{Prev: id(4, 9), Entries: commands(10, 4), Commit: 10, Round: 2})  // more entries
				for range saved {
					n.savesOne()
				}
				n.crashes(kept)
				want := [][2]Index{{0, last}, {6, 6}, {6, 8}, {9, 9}, {9, 10}}[saved+kept]
				if n.state.First != want[0]+1 || n.state.Last != want[1] {
					t.Fatalf("the old log %s, %d+%d Saves: %v", name, saved, kept, n.node)
				}
				if (n.restoring != nil) != (want[0] > 0) || n.restoring != nil && n.restoring.Last.Index != want[0] {
					t.Fatalf("the old log %s, %d+%d Saves: it restores %v", name, saved, kept, n.restoring)
				}
				n.hears(2, 4, gives(4, 9)) // and from there it gets to where the others are
				n.hears(2, 4, &AppendRequest{Prev: id(4, 9), Entries: commands(10, 4), Commit: 10, Round: 3})
				n.saves()
				n.restored()
				if n.applied != 10 || n.disk.last() != 10 {
					t.Fatalf("the old log %s, %d+%d Saves: %v", name, saved, kept, n.node)
				}
			}
		}
	}
}

func TestS11_ACrashDuringACompactionLeavesTheOldLogOrTheNew(t *testing.T) {
	for keep, base := range map[int]Index{0: 4, 1: 3, 3: 1, 9: 0} {
		for kept := range 3 {
			n := following(t, given{Log: terms(1, 1, 1, 2, 2), Limits: compacts(9, keep)})
			n.snapshotted(4)
			n.hears(2, 3, &AppendRequest{Prev: id(2, 5), Entries: commands(6, 3), Commit: 5, Round: 2})
			n.crashes(kept)
			first, last := Index(1), Index(5)
			if kept > 0 {
				first = base + 1
			}
			if kept == 2 {
				last = 6
			}
			if n.state.First != first || n.state.Last != last || (n.restoring != nil) != (kept > 0) {
				t.Fatalf("keeping %d, %d Saves: %v restores %v", keep, kept, n.node, n.restoring)
			}
		}
	}
}

// A disk that wrote the snapshot and did not delete the log that conflicts with it
// is not started from: what it calls committed is not.
func TestS11_ASnapshotThatTheLogContradictsIsNotStartedFrom(t *testing.T) {
	r := Recovered{
		HardState: HardState{Term: 3, Cluster: cluster, Joined: true}, Incarnation: 1,
		Snapshot: snap(3, 4), BaseConf: snap(1, 1).Conf, Runs: []TermRun{{1, 1}, {3, 2}}, Last: 6,
	}
	if _, err := New(Config{ID: 1, Boot: 1}, r); err == nil {
		t.Error("the snapshot is of 3/4, the log has 2/4, and it starts")
	}
	r.Snapshot.Last = id(2, 4)
	if _, err := New(Config{ID: 1, Boot: 1}, r); err != nil {
		t.Error(err)
	}
	r.Snapshot.Last = id(2, 7)
	if _, err := New(Config{ID: 1, Boot: 1}, r); err == nil {
		t.Error("the log ends before the snapshot, and it starts")
	}
	r.Snapshot, r.Base, r.Runs = SnapshotMeta{}, id(1, 2), []TermRun{{3, 2}}
	if _, err := New(Config{ID: 1, Boot: 1}, r); err == nil {
		t.Error("nothing stands for what was compacted, and it starts")
	}
}

// In one batch a leader cuts off the tail, and the next one sends a snapshot of what
// had stood there: the disk has never heard of the cut. It must not keep what
// follows the snapshot's last entry in its own log, because the node does not.
func TestS11_TheDiskDiscardsTheLogThatTheNodeHasDiscarded(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 1, 1, 1), Term: 1})
	n.steps(
		Receive{n.message(2, 2, &AppendRequest{Prev: id(1, 2), Entries: commands(3, 2), Round: 1})},
		Receive{n.message(3, 3, gives(1, 4))},
	) // member.survives compares
	n.saves()
	n.crashes(0)
	if n.state.First != 5 || n.state.Last != 4 {
		t.Errorf("%v", n.node)
	}
}

// A Save of old entries is under way when a snapshot replaces them. When it
// completes, what it has written does not count, although the indexes do.
func TestALateSaveDoesNotCountEntriesThatASnapshotHasReplaced(t *testing.T) {
	n := start(t, given{Term: 1})
	n.hears(2, 1, &AppendRequest{Entries: commands(1, 1, 1, 1, 1, 1, 1), Round: 1}) // Save #1
	n.hears(3, 2, gives(2, 4))                                                      // Save #2
	n.hears(3, 2, &AppendRequest{Prev: id(2, 4), Entries: commands(5, 2, 2), Commit: 6, Round: 1})
	n.ignore()
	n.savesOne()
	n.wantsNothing() // the disk holds 1/1 … 1/6, and the term is not there
	if n.state.Saved != 0 {
		t.Errorf("%v", n.node)
	}
	n.savesOne()
	n.wants("1->3 term=2 AppendReply match=4 round=1", "Restore snapshot of 2/4, voters=[1 2 3]")
	n.savesOne()
	n.wants("1->3 term=2 AppendReply match=6 round=1")
}

// The same in one term, where acknowledgements do not wait for the term.
func TestALateSaveDoesNotRestoreASnapshot(t *testing.T) {
	n := start(t, given{Term: 2, Log: terms(1)})
	n.hears(2, 2, &AppendRequest{Prev: id(1, 1), Entries: commands(2, 2, 2), Commit: 2, Round: 1}) // Save #1: up to 3
	n.hears(2, 2, gives(2, 9))                                                                     // Save #2
	n.ignore()
	n.savesOne()
	n.wantsNothing()
	n.savesOne()
	n.wants("1->2 term=2 AppendReply match=9 round=1", "Restore snapshot of 2/9, voters=[1 2 3]")
}

// --- restarts ---

func TestAMachineInMemoryIsRestoredFirst(t *testing.T) {
	n := start(t, given{Snapshot: id(2, 5), Log: terms(2, 3)})
	n.wants("Restore snapshot of 2/5, voters=[1 2 3]")
	n.hasCommitted(5)
	n.hears(2, 3, &AppendRequest{Prev: id(3, 7), Commit: 7, Round: 1})
	n.wants("1->2 term=3 AppendReply match=7 round=1")
	n.steps(Applied{Index: 3}) // not yet
	n.wantsNothing()
	n.restored()
	n.wants(`Apply [2/6 "" 3/7 ""]`)
}

func TestAMachineOnDiskIsNotRestored(t *testing.T) {
	n := start(t, given{Log: terms(1, 1, 1, 2, 2), Term: 3, Durable: true, Limits: compacts(3, 0)})
	n.hears(2, 3, &AppendRequest{Prev: id(2, 5), Commit: 4, Round: 1})
	n.snapshotted(3)
	n.saves()
	n.crashes(0)
	n.wantsNothing() // it has applied 4
	n.hasCommitted(4)
	if n.state.Applied != 4 {
		t.Errorf("%v", n.node)
	}
	n.hears(2, 3, &AppendRequest{Prev: id(2, 5), Commit: 5, Round: 1})
	n.wants("1->2 term=3 AppendReply match=5 round=1", `Apply [2/5 ""]`)

	n.hears(2, 3, gives(3, 9)) // but it is, if the snapshot is newer
	n.saves()
	n.crashes(0)
	n.wants("Restore snapshot of 3/9, voters=[1 2 3]")
}

func TestAnIdleNodeThatWasRestoredTakesNoNewSnapshot(t *testing.T) {
	n := start(t, given{Snapshot: id(1, 10), Limits: func(c *Config) {
		c.SnapshotEntries, c.SnapshotBytes, c.SnapshotAge = 1, 1, time.Minute
	}})
	n.restored()
	n.ignore()
	for round := range uint64(1000) {
		n.waits(heartbeatInterval)
		n.hears(2, 1, &AppendRequest{Prev: id(1, 10), Commit: 10, Round: round + 1})
	}
	if n.compacting {
		t.Error("of the same state")
	}
}

// --- R12, and whole groups ---

// A leader that has compacted everything, and a member that has nothing.
func TestR12_AMemberWithoutALogJoinsALeaderWithoutOne(t *testing.T) {
	g := newGroupOf(t, 3, given{Limits: compacts(5, 0)})
	g.isolate(3)
	g.elects(1)
	for range 29 {
		g.proposes(1, "x")
		g.settle()
	}
	if m := g.member(1); m.state.First != m.state.Last+1 {
		t.Fatalf("%v: its log begins at %d, and should be empty", m.node, m.state.First)
	}
	g.connected()
	snapshots, messages := 0, 0
	g.filter(func(m *Message) fate {
		messages++
		if _, ok := m.Body.(*SnapshotRequest); ok {
			snapshots++
		}
		return pass
	})
	g.passes(5 * heartbeatInterval)
	g.agree()
	if snapshots != 1 || messages > 100 {
		t.Errorf("%d snapshots, %d messages", snapshots, messages)
	}
	tag := g.proposes(1, "y")
	g.settle()
	g.passes(heartbeatInterval)
	g.agree()
	if g.member(1).done[tag] == 0 {
		t.Error("nothing is committed any more")
	}
}

func TestALostSnapshotIsSentAgain(t *testing.T) {
	for _, silent := range []bool{false, true} {
		g := newGroupOf(t, 3, given{Limits: compacts(5, 0)})
		g.silent = silent
		g.isolate(3)
		g.elects(1)
		for range 9 {
			g.proposes(1, "x")
			g.settle()
		}
		g.connected()
		lost := 0
		g.filter(func(m *Message) fate {
			if _, ok := m.Body.(*SnapshotRequest); ok && lost < 2 {
				lost++
				return drop
			}
			return pass
		})
		g.passes(25 * electionTimeout)
		g.agree()
		if lost != 2 {
			t.Errorf("%d were lost", lost)
		}
	}
}

// A leader and two that take turns in being away, with snapshots at every turn:
// messages are lost, repeated and late, disks stall, machines are slow, processes
// die with any number of their Saves kept. Then it heals.
func TestRandomHistoriesWithSnapshots(t *testing.T) {
	runs := 100
	if testing.Short() {
		runs = 20
	}
	sent := 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 31))
		keep, away := r.IntN(4), NodeID(0)
		s := &scripted{floor: map[Tag]Index{}}
		s.group = newGroupOf(t, 3, given{Durable: r.IntN(3) == 0, Limits: func(c *Config) {
			compacts(1+r.IntN(6), keep)(c)
			c.Seed = seed
			if r.IntN(2) == 0 {
				c.MaxAppendBytes, c.MaxInflight, c.MaxApplyBytes, c.MaxWindowBytes = 200, 2, 200, 200
			}
		}})
		chaos := func(m *Message) fate {
			if m.From == away || m.To == away {
				return drop
			}
			if _, ok := m.Body.(*SnapshotRequest); ok {
				sent++
				return []fate{pass, pass, twice, drop, hold}[r.IntN(5)]
			}
			return []fate{drop, twice, hold, pass}[min(r.IntN(60), 3)]
		}
		s.filter(chaos)
		for range 400 {
			m := s.members[r.IntN(3)]
			switch r.IntN(24) {
			case 0:
				s.crash(m.id, r.IntN(len(m.disk.pending)+1))
			case 1:
				away = NodeID(r.IntN(4))
			case 2:
				m.stalled = !m.stalled
			case 3:
				s.release()
			case 4:
				s.floor[s.lastTag+1] = s.acked
				s.reads(m.id)
			case 5:
				s.timesOut(m.id)
			case 6, 7, 8, 9, 10:
				for _, m := range s.members {
					if m.state.Role == Leader {
						s.proposes(m.id, fmt.Sprint(r.IntN(1000)))
					}
				}
			default:
				for _, m := range s.members {
					m.now = m.now.Add(time.Duration(r.IntN(int(heartbeatInterval))))
					s.step(m)
				}
			}
			if r.IntN(3) > 0 {
				s.settle()
			} else if len(s.wire) > 0 { // out of turn
				at := r.IntN(len(s.wire))
				m := s.wire[at]
				s.wire = slices.Delete(slices.Clone(s.wire), at, at+1)
				s.step(s.member(m.To), Receive{m})
			}
			s.checkReads()
		}
		for _, m := range s.members {
			m.stalled = false
		}
		s.connected()
		s.release()
		s.settle()
		s.passes(12 * electionTimeout) // a transfer may have been lost, and nobody was told
		s.settleDown()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d snapshots were sent", sent)
	if sent < runs {
		t.Errorf("only %d snapshots were sent", sent)
	}
}

// Terms and configurations, before and after compactions, against a list of
// entries: what is still in the log is the same for everybody who asks.
func TestCompactionForgetsNothingAfterTheBase(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 33))
		keep := r.IntN(5)
		n := start(t, given{Term: 50, Limits: compacts(1000, keep)})
		var log []Entry // the dumb twin
		snapshot := Index(0)
		for range 20 {
			before := EntryID{}
			if len(log) > 0 {
				before = log[len(log)-1].EntryID
			}
			var entries []Entry
			e := before
			for range r.IntN(6) {
				e.Index++
				e.Term = max(e.Term, 1) + Term(r.IntN(4)/3)
				entry := Entry{EntryID: e, Kind: EntryCommand, Time: int64(10 * e.Index)}
				if r.IntN(4) == 0 {
					entry.Kind, entry.Config = EntryConfig, &ConfState{Voters: voters(1, 2, NodeID(3+r.IntN(9)))}
				}
				entries = append(entries, entry)
			}
			log = append(log, entries...)
			n.hears(2, 50, &AppendRequest{Prev: before, Entries: entries, Commit: Index(len(log)), Round: 1})
			n.saves()
			n.applies()
			if r.IntN(3) > 0 && Index(len(log)) > snapshot {
				snapshot += 1 + Index(r.IntN(len(log)-int(snapshot)))
				n.steps(SnapshotTaken{Index: snapshot, Time: log[snapshot-1].Time})
				if got, want := n.out.Save.Snapshot.Conf, confAsOf(log, snapshot); got.Index != want.Index || !got.Conf.Equal(want.Conf) {
					t.Fatalf("seed %d: as of %d: %v, should be %v", seed, snapshot, got, want)
				}
				n.saves()
			}
			if r.IntN(8) == 0 && len(log) > 0 {
				n.crashes(0)
				if n.restoring != nil {
					n.restored()
				}
				n.hears(2, 50, &AppendRequest{Prev: log[len(log)-1].EntryID, Commit: Index(len(log)), Round: 1})
				n.applies()
			}
			base := Index(max(0, int(snapshot)-keep))
			if n.state.First != base+1 || n.state.Last != Index(len(log)) {
				t.Fatalf("seed %d: %v, and its base should be %d", seed, n.node, base)
			}
			for i := max(base, 1); i <= Index(len(log)); i++ {
				want := log[i-1].EntryID
				if n.node.CommitStatus(want) != CommitCommitted || n.node.CommitStatus(id(want.Term+1, i)) != CommitRejected {
					t.Fatalf("seed %d: the term of %d is not %d", seed, i, want.Term)
				}
			}
			if base > 1 && n.node.CommitStatus(log[base-2].EntryID) != CommitUnknown {
				t.Fatalf("seed %d: it knows more than it holds", seed)
			}
			if want := confAsOf(log, Index(len(log))); !n.state.Conf.Equal(want.Conf) || n.state.ConfIndex != want.Index {
				t.Fatalf("seed %d: in force is %v, should be %v", seed, &n.state.Conf, &want.Conf)
			}
			if got := ids(n.disk.entries); !slices.Equal(got, ids(log[base:])) {
				t.Fatalf("seed %d: the disk holds %v, should hold %v", seed, got, ids(log[base:]))
			}
		}
	}
}
