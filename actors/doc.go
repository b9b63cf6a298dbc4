// Package actors is what users import first: hosts that open groups, the state
// machine that a group replicates, and the calls that reach it from anywhere.
//
//	host, err := actors.Start(system, actors.HostConfig{ID: 1, Store: badgerstore.Dir("data")})
//	group, err := host.Open(ctx, actors.GroupConfig{Name: "counter", Machine: newCounter})
//	answer, err := group.Propose(ctx, []byte("+1")) // replicated, durable, applied once
//	answer, err = group.Read(ctx, nil)              // linearizable
//
// Three types to know first: Host is a process's share of everything, Group its
// share of one replicated state machine and the client of it, StateMachine is
// yours.
//
// # The actors
//
// Orders are imperative, facts past participles. Who is sent what stands above
// each actor.
//
//	castaway-<id>        hostActor  owns what the groups share    supervisor.go
//	├── log-<n>          log        owns the Store                log.go
//	│   └── reader       logReader  reads old entries             log.go
//	├── clock-<n>        clock      wakes who has a deadline      clock.go
//	├── peer-<id>-<n>    peer       one for each other process    peer.go
//	└── group-<n>-<name> member     recovers, supervises          member.go
//	    ├── machine-<n>  machine    owns the StateMachine         machine.go
//	    ├── snapshots-<n>           writes its snapshots          snapshots.go
//	    ├── courier-<n>  courier    sends and receives them       courier.go
//	    └── node-<n>     node       hosts raftcore.Node           node.go
//
// An actor takes everything that waits in its mailbox and then acts once
// (mailbox.go): one Drain, one fsync, one packet. Its goroutine is kept warm
// while there is work, and given back when there is none (dispatcher.go).
//
// Every queue has a bound: a request beyond HostConfig.MaxPending is refused
// with ErrBusy before a log position is taken; the peers hold no queue at all.
//
// # Snapshots
//
// When enough has been applied, the core asks for a snapshot. The machine says what
// will write its state as it is now, and goes on applying; the snapshotter writes that
// to a file, and tells the node when it is durable; the log begins later with the next
// Save, and when that is durable, the snapshot before is removed. A member that starts
// restores the newest, and applies what came after. A follower that lacks what the
// leader's log has no more is sent the leader's newest snapshot, in chunks, and goes on
// where its disk was when anything interrupts that.
//
// # Who takes part
//
// Group.ChangeMembers changes the members of a group, Group.Transfer its leader, both
// from any host (members.go). Which hosts there are, and where, Host.SetPeers says
// (peers.go).
//
// # When something fails
//
// Nothing is restarted in place. A member whose node or machine panics stops
// both and starts fresh ones from the disk; a Store that fails a write is
// closed and opened again, and all members with it; who fails ten times within
// a minute is Faulted, and so is at once who finds its log damaged. No call is left
// without an answer.
//
// # Transport
//
// The hosts of different processes speak through a Transport. Package remote has
// the one on protoactor remote, tests/rafttest one without sockets.
//
// What must never live here: the rules of Raft, encoding, Badger, gRPC.
package actors
