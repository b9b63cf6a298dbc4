// Package raftcore is the Raft algorithm as a value.
//
// A Node has two methods. Step gives it one thing that happened; Drain takes
// everything that it wants done. It does no I/O, knows no clock, starts no
// goroutine, takes no lock, and draws its only randomness from a seed: the same
// inputs give the same outputs, so a list of inputs is a complete bug report.
//
//	node, err := raftcore.New(config, recovered)
//	for {
//		node.Step(raftcore.Tick{Now: now, Time: wall})
//		for each thing that waits { node.Step(thing) }
//		node.Drain(&out)
//		// hand each field of out to whom it is for
//	}
//
// # What may be done when
//
// Everything in an Output may be done at once, in any order, in parallel. There
// is no rule like "save before you send": a message that may leave only after
// the disk has spoken, a vote or an acknowledgement, is held inside the node
// until the Saved that it depends on (promise.go). Completions carry a token, so
// that one that comes too late says nothing.
//
// # Four journeys
//
// An arrow is one input or one field of an Output; what stands on one line
// happens in parallel.
//
//	A PROPOSAL (node 1 leads 2 and 3)
//	1  Propose → 1                     many proposals, one Drain
//	2  1 → Save, AppendRequest to 2, 3   its disk runs beside the network
//	3  2, 3 → Save
//	4  Saved → 2, 3 → AppendReply        the promise is kept
//	5  Saved → 1, AppendReply → 1        committed: by a quorum of disks
//	6  1 → Apply, with the proposal's tag
//
//	A READ
//	1  Read → 1                        many reads, one round
//	2  1 → AppendRequest to 2, 3, with a new round
//	3  2, 3 → AppendReply, at once       no disk
//	4  a quorum echoed → Reads           at the commit index of step 2
//
//	AN ELECTION
//	1  Tick, the timeout has passed → 2 → VoteRequest{Pre} to 1, 3
//	2  1, 3 → VoteReply{Pre}             nobody's term moved, nothing was written
//	3  a quorum would → 2 → Save{term, vote}
//	4  Saved → 2 → VoteRequest to 1, 3
//	5  3 → Save{term, vote}; Saved → 3 → VoteReply
//	6  a quorum did → 2 leads, and opens its term with a no-op: A PROPOSAL
//
//	A FOLLOWER FAR BEHIND
//	1  1 → AppendRequest{round}: does your log have this entry?
//	2  3 → AppendReply{rejected, hint}
//	3  1 looks the hint up among its terms, asks again, and finds where they agree
//	4  1 → Load                        what has left memory is on the disk
//	5  Loaded → 1 → AppendRequest, several without waiting
//
// # Where things are
//
// node.go has New, Step, Drain and the rules for every message; follower.go,
// candidate.go and leader.go one role each; log.go what a node knows of its log,
// progress.go what a leader knows of a peer, read.go the linearizable reads,
// apply.go the way to the state machine, newcomer.go who may vote. quorum.go and
// membership.go are arithmetic. invariant.go names the rules that always hold;
// a node that finds one broken panics, and must be started again from its disk.
//
// What must never live here: I/O, clocks, goroutines, locks, loggers, global
// randomness, and the parsing of bytes.
//
// Numbers with a § refer to "In Search of an Understandable Consensus Algorithm
// (Extended Version)" by Ongaro and Ousterhout; "thesis" is Ongaro's.
package raftcore
