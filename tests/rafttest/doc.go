// Package rafttest simulates whole groups of Raft nodes in one goroutine: with
// a virtual clock, a network that loses, repeats, delays, reorders and
// partitions, and disks that lose what was not saved when a node crashes, and also
// what was: all of it, the end, or what comes after a place that has rotted, of as many
// nodes at once as the group can spare (enough, in strike.go).
// Everything is drawn from one seed, so a run that fails can be run again.
//
// Run has a group of bare cores (package raftcore). After every step it checks the
// five safety properties of the Raft paper (Figure 3), and that no linearizable
// read is older than what had been acknowledged when it was asked for. When
// the faults end it demands progress: every node must come to the same log.
//
//	plan := rafttest.DrawPlan(seed)
//	if _, err := rafttest.Run(plan, nil); err != nil {
//		t.Fatalf("%v\nreplay: go test ./tests/sim -run TestSim -seed %d", err, seed)
//	}
//
// A Queue runs whole hosts, with all their actors: every turn of one, every timer and every
// packet is an event in one queue, of which the next is drawn from the seed. RunStack puts
// clients on them that are actors, too, and everything that can go wrong around them; then
// it demands that all comes to rest, that every request was answered once, that each
// command of a session was carried out once, and that the members' own log proves that
// what the clients were told is linearizable (checkHistory, in stack_check.go). Each host
// has a member of several groups. One has a machine with effects, one a machine of several
// versions; what members of a group apply is one record (stack_watch.go), which must be the
// same for all, and must have come to every effect (checkRecord, in stack_record.go).
//
//	plan := rafttest.DrawStackPlan(seed)
//	run, err := rafttest.RunStack(t, plan, nil)
//
// TestStack has a group of your own StateMachine in that storm. It takes what TestStateMachine
// does.
//
// With a Queue you can have actors of your own take part: give their Props the Dispatcher
// of a Process, and the host beside them the Process itself.
//
//	q := rafttest.NewQueue(seed) // in a bubble of testing/synctest
//	p := q.Process("host-1")
//	cfg := actors.HostConfig{ID: 1, Runtime: p, Transport: q.Network().Transport("host-1"), ...}
//	q.Go(func() { host, err = actors.Start(system, cfg) }, func() { ... })
//	q.At(time.Second, "host-1 is killed", p.Kill)
//	q.Run(time.Minute, nil)
//
// TestStore checks a Store, yours too, against the contract in package
// persistence, with crashes and failures as far as you can offer them. Write
//
//	func TestStore(t *testing.T) {
//		rafttest.TestStore(t, func(t testing.TB, seed uint64) rafttest.StorePlace {
//			return rafttest.StorePlace{Opener: mystore.Dir(t.TempDir())}
//		})
//	}
//
// and make it pass from the top. Then read what it has skipped, and give the
// StorePlace what that needs. A StoreModel helps with random tests of what only
// you know of your Store.
//
// TestStateMachine checks a state machine against the contract of
// actors.StateMachine: you say how to make one, and how to draw a command and a
// question. The example under it is a whole test. For an actors.DiskStateMachine you say
// how to make one for a directory: examples/ondisk has such a test.
package rafttest
