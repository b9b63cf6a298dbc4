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
// # Journeys
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
//	0  Read → 3 → ReadRequest to 1       anybody may be asked, and asks the leader
//	1  Read → 1                        many reads, one round
//	2  1 → AppendRequest to 2, 3, with a new round
//	3  2, 3 → AppendReply, at once       no disk
//	4  a quorum echoed → Reads           at the commit index of step 2
//	   … and for 3: ReadReply → 3 → Reads
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
//	A FOLLOWER WHOM THE LOG CANNOT HELP
//	1  1 → Compact                     enough was applied since the last snapshot
//	2  SnapshotTaken → 1 → Save          the log begins later now
//	3  3 rejects what the log begins with → 1 → SnapshotRequest to 3
//	4  the transport carries the snapshot, and tells 1 with SnapshotSent
//	5  Receive(SnapshotRequest) → 3 → Save, in the place of its log
//	6  Saved → 3 → Restore, AppendReply
//	7  Applied → 3 → Apply, what came after
//
//	A CHANGE OF THE MEMBERS, 3 for 4
//	1  ChangeConfig → 1 → an entry: 4 learns
//	2  4 has caught up → 1 → an entry: majorities of both 1 2 3 and 1 2 4 decide
//	3  committed by both → whoever leads → an entry: 1 2 4
//	4  committed → 1 → Reply; 3 is told, and forgotten
//
// # Where things are
//
// node.go has New, Step, Drain and the rules for every message; follower.go,
// candidate.go and leader.go one role each; log.go what a node knows of its log,
// window.go which entries it holds, progress.go what a leader knows of a peer, read.go the linearizable reads,
// apply.go the way to the state machine, proposal.go how proposals end,
// snapshot.go what stands in the log's place, bootstrap.go how a group begins, change.go
// how members come and go,
// transfer.go how a leader hands over, stall.go when a disk does not
// answer, quiesce.go how a group falls silent, newcomer.go who counts,
// witness.go who votes without having data, lineage.go what
// becomes of a group that has lost a majority for good. quorum.go and membership.go are arithmetic. trace.go
// tells of every transition to whoever wants to check a run. invariant.go names
// the rules that always hold; a node that finds one broken panics, and must be
// started again from its disk.
//
// What must never live here: I/O, clocks, goroutines, locks, loggers, global
// randomness, and the parsing of bytes.
//
// Numbers with a § refer to "In Search of an Understandable Consensus Algorithm
// (Extended Version)" by Ongaro and Ousterhout; "thesis" is Ongaro's.
package raftcore
