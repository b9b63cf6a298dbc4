package raftcore_test

import (
	"testing"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// allocs returns how many allocations one run of f costs, to a thousandth. What
// the node copies now and then (the window when its array is used up) counts
// with its share.
func allocs(f func()) float64 {
	const runs = 1000
	return testing.AllocsPerRun(10, func() {
		for range runs {
			f()
		}
	}) / runs
}

// bare is a node without the harness, which allocates.
type bare struct {
	node *Node
	out  Output
	now  Instant
}

func (b *bare) saved() {
	if b.out.Save.Token.Sequence != 0 {
		token := b.out.Save.Token
		b.node.Step(Saved{Token: token})
		b.node.Drain(&b.out)
	}
}

func TestAFollowerThatAppendsAndAcknowledgesAllocatesNothing(t *testing.T) {
	n := start(t, given{Term: 1})
	b := bare{node: n.node, now: n.now}
	request := &AppendRequest{}
	message := n.message(2, 1, request)
	// Entries are immutable: these are taken up again when nobody has them any more.
	var entries [64][]Entry
	for i := range entries {
		entries[i] = commands(1, 1)
	}
	next := 0
	step := func() {
		b.now++
		next++
		request.Entries = entries[next%len(entries)]
		request.Entries[0].Index = request.Prev.Index + 1
		request.Commit = request.Prev.Index
		b.node.Step(Tick{Now: b.now})
		b.node.Step(Receive{message})
		b.node.Drain(&b.out)
		if e := b.out.Apply.Entries; len(e) > 0 {
			applied := e[len(e)-1].Index
			b.saved()
			b.node.Step(Applied{Index: applied})
		} else {
			b.saved()
		}
		if len(b.out.Send) != 1 {
			t.Fatalf("it sends %v", b.out.Send)
		}
		request.Prev = request.Entries[0].EntryID
	}
	for range 100_000 { // until the window is full
		step()
	}
	// Two thousandths are the share of the window's array: entries are kept by whom they
	// are handed to, so it is not written again when they have moved through it.
	if got := allocs(step); got > 0.002 {
		t.Errorf("%.3f allocations for an append, a Save and an acknowledgement", got)
	}
}

func TestHeartbeatsAllocateNothing(t *testing.T) {
	l := lead(t, given{})
	leader := bare{node: l.node, now: l.now}
	var messages [2]Message
	var replies [2]AppendReply
	for i := range messages {
		messages[i] = l.message(NodeID(i+2), 1, &replies[i])
	}
	beat := func() {
		leader.now = leader.now.Add(heartbeatInterval)
		leader.node.Step(Tick{Now: leader.now})
		leader.node.Drain(&leader.out)
		if len(leader.out.Send) != 2 {
			t.Fatalf("the leader sends %v", leader.out.Send)
		}
		for i := range replies {
			replies[i] = AppendReply{Match: 1, Round: leader.out.Send[i].Body.(*AppendRequest).Round}
			leader.node.Step(Receive{messages[i]})
		}
		leader.node.Drain(&leader.out)
	}
	beat()
	if got := allocs(beat); got > 0 {
		t.Errorf("a leader: %.3f allocations for a heartbeat and its answers", got)
	}

	f := start(t, given{Log: terms(1)})
	follower := bare{node: f.node, now: f.now}
	request := &AppendRequest{Prev: id(1, 1), Commit: 1}
	message := f.message(2, 1, request)
	answer := func() {
		follower.now = follower.now.Add(heartbeatInterval)
		request.Round++
		follower.node.Step(Tick{Now: follower.now})
		follower.node.Step(Receive{message})
		follower.node.Drain(&follower.out)
		if len(follower.out.Send) != 1 {
			t.Fatalf("the follower sends %v", follower.out.Send)
		}
	}
	answer()
	follower.node.Step(Applied{Index: 1})
	if got := allocs(answer); got > 0 {
		t.Errorf("a follower: %.3f allocations for a heartbeat", got)
	}
}

func TestReadsAllocateNothing(t *testing.T) {
	l := lead(t, given{})
	b := bare{node: l.node, now: l.now}
	var reply AppendReply
	message := l.message(2, 1, &reply)
	read := func() {
		b.now = b.now.Add(time.Microsecond)
		b.node.Step(Tick{Now: b.now})
		for tag := range Tag(16) {
			b.node.Step(Read{Tag: tag + 1})
		}
		b.node.Drain(&b.out)
		reply = AppendReply{Match: 1, Round: b.out.Send[0].Body.(*AppendRequest).Round}
		b.node.Step(Receive{message})
		b.node.Drain(&b.out)
		if len(b.out.Reads) != 16 {
			t.Fatalf("%v", b.out.Reads)
		}
	}
	read()
	read()
	if got := allocs(read); got > 0 {
		t.Errorf("%.3f allocations for a round of sixteen reads", got)
	}
}

// pipeline is a leader of three that proposes in batches; its disk and its
// peers answer at once.
func pipeline(t testing.TB, batch int) func() {
	l := lead(t, given{})
	b := bare{node: l.node, now: l.now}
	var replies [2]AppendReply
	messages := [2]Message{l.message(2, 1, &replies[0]), l.message(3, 1, &replies[1])}
	data := make([]byte, 128)
	tag := Tag(0)
	last := l.state.Last
	return func() {
		b.now = b.now.Add(time.Microsecond)
		b.node.Step(Tick{Now: b.now})
		for range batch {
			tag++
			b.node.Step(Propose{Tag: tag, Data: data})
		}
		b.node.Drain(&b.out)
		last += Index(batch)
		token := b.out.Save.Token
		b.node.Step(Saved{Token: token})
		for i := range replies {
			replies[i] = AppendReply{Match: last, Round: 2}
			b.node.Step(Receive{messages[i]})
		}
		b.node.Drain(&b.out)
		if len(b.out.Apply.Entries) != batch || len(b.out.Apply.Tags) != batch {
			t.Fatalf("%d entries come out", len(b.out.Apply.Entries))
		}
		b.node.Step(Applied{Index: last})
	}
}

func TestALeaderAllocatesLittleForAProposal(t *testing.T) {
	const batch = 256
	run := pipeline(t, batch)
	for range 300 {
		run()
	}
	got := allocs(run) / batch
	t.Logf("%.4f allocations for a proposal, in batches of %d", got, batch)
	if got > 0.1 {
		t.Errorf("%.4f allocations for a proposal, in batches of %d", got, batch)
	}
}

func BenchmarkProposeReplicateCommit(b *testing.B) {
	run := pipeline(b, 256)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/proposal")
}
