// Package actors is what users import first: hosts that open groups, the state
// machine that a group replicates, and the calls that reach it from anywhere.
//
//	host, err := actors.Start(system, actors.HostConfig{ID: 1, Store: badgerstore.Dir("data")})
//	group, err := host.Open(ctx, actors.GroupConfig{Name: "counter", Machine: newCounter})
//	answer, err := group.Propose(ctx, []byte("+1")) // replicated, durable, applied once
//	answer, err = group.Read(ctx, nil)              // linearizable
//	response, err := group.Do(ctx, &actors.Request{ // less, and faster
//		Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: time.Second,
//	})
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
//	├── liveness-<n>     liveness   wakes who waits for the dead  liveness.go
//	├── balancer-<n>     balancer   hands leaderships over        balance.go
//	├── peer-<id>-<n>    peer       one for each other process    peer.go
//	└── group-<n>-<name> member     recovers, supervises          member.go
//	    ├── machine-<n>  machine    owns the StateMachine         machine.go
//	    ├── effector-<n> effector   carries out its effects       effector.go
//	    ├── snapshots-<n>           writes its snapshots          snapshots.go
//	    ├── courier-<n>  courier    sends and receives them       courier.go
//	    ├── pilot-<n>    pilot      runs the group's Autopilot    pilot.go
//	    └── node-<n>     node       hosts raftcore.Node           node.go
//
// An actor takes everything that waits in its mailbox and then acts once
// (mailbox.go): one Drain, one fsync, one packet. Those that do not block take
// turns in one goroutine of the host, or in more when that is not enough; those
// that do, and machines that take long, have others, kept warm while there is
// work (dispatcher.go).
//
// What runs them is a Runtime, the third thing that a host is given from outside, beside
// its Store and its Transport: it has an actor take its turn, and a timer go off, by its
// own clock, and nothing else that a host does begins anywhere else. In production that is dispatcher.go;
// tests/rafttest has one that runs hosts, network and disks in one goroutine, in an order
// drawn from a seed. Group's methods wait in their callers' goroutines, and a Session's
// sign of life in its own: they are clients. An actor that sends Requests is run by
// whatever it was given itself.
//
// Every queue has a bound: a request beyond HostConfig.MaxPending is refused
// with ErrBusy before a log position is taken; the peers hold no queue at all. In bytes the
// bounds are HostConfig.MaxBytes and GroupConfig.MaxBytes (budget.go); BusyError says which
// it was, and when to try again.
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
// A state that is on a disk of its own, as that of a DiskStateMachine, is not restored: the
// member goes on with what of the log the state has not. Its snapshots only cut the log, when
// the state is durable where it is; one that a follower needs is written when it does.
//
// # Effects
//
// A command may do more than change the state: Apply says with Entry.Do that something is to
// be sent to an actor, that a timer is to be set, that an actor is to be monitored, that
// another command is to follow (effect.go). Every member notes that as replicated state, and
// the leader does it. What has come of it is an entry in the log; so a new leader knows what
// is left, sets the timers, and watches the actors. What comes to the machine comes once;
// what is sent to an actor comes at least once, with an ID that is always the same.
//
// A machine that would rather take many commands at once, in one transaction, is a
// BatchStateMachine (batch.go). One that is to be told when a session has ended is a
// SessionStateMachine; for it the leader has the log say what time it is when that may be.
//
// # Versions
//
// In a rolling upgrade members run different programs. So which version of itself the state
// machine has to be of is replicated, every Entry says it, and it is raised, by the leader,
// when all members have said that they can be of it (GroupConfig.Versions, versions.go).
//
// # Who takes part
//
// Group.ChangeMembers changes the members of a group, Group.Transfer its leader, both
// from any host (members.go). Host.Balance hands over what a host leads too much of, and
// what others are to lead, or hosts do it by themselves (balance.go). With
// GroupConfig.Autopilot the leader's member changes the members by
// itself: who is dead is replaced, who has opened the group learns, and votes when voters
// are missing (autopilot.go, pilot.go). Which hosts there are, and where, Host.SetPeers says
// (peers.go).
//
// # Groups that leave
//
// Group.Stop stops a member, which comes back from its disk. Host.Remove takes it out for
// good, and gives back what it took up; a tombstone stays (remove.go). A name that was
// removed is not founded again, because a fresh member would vote as if it had never
// voted. The member may come back to its group, as a newcomer: GroupConfig.Replaces.
//
// # Many groups
//
// A group in which nothing happens is silent: its members send nothing and are never
// woken. Between two hosts one small message goes back and forth for all that are silent,
// and says which these are (liveness.go). A request wakes a group, on any of its members;
// a read that is Local needs nobody. The first request after a silence, and the first
// reads with a lease or of a bounded age, take a round to a quorum like any other. A
// group of which a member is down does not fall silent.
//
// # Reads
//
// Every member answers reads with its own machine, whoever leads; learners, too.
// For one that has to be linearizable it asks the leader for an index, once for all
// that wait, and answers when it has applied as much. A single read takes about as long as if the
// leader's host answered it; but the query and the answer do not travel, and the work
// is shared by all machines. Measured over remote, on one small computer, with 256
// readers on the two members that do not lead: 1.6 times as many reads with answers of
// 16 bytes, 12 times as many with 16 KiB. A lonely reader of small answers has 15 %
// fewer, of large ones 15 % more.
//
// Only a member that is behind sends its reads on to the leader's host: one that
// is not as far as such an index after a heartbeat's time, because it was away, has
// just come, or has a slow disk. It is not behind by what its machine has been given
// and works on: the leader's has the same to do. A member that does not run at all
// answers nothing: Group waits for it to come back, as long as the context allows.
//
// With BoundedStale a member needs to know that it is not too old, and asks the
// leader for nothing but that: it was at the index that comes back when it asked,
// or later. That is good for all reads until it has become too old for them, and
// renewed when half of that time is over, so reads seldom wait. Who has been cut
// off answers no more when the time is over. A member that starts knows nothing.
//
// With Request.After a client sees on one host what it has written or seen on
// another.
//
// # Looking on
//
// Group.Watch has the newest status of a member, and the changes; Group.Events what happens,
// one after the other: the leaders, and each proposal on its way, on the host that leads
// (events.go). Nobody waits for who looks on: who is slow misses some of it, and is told how
// much. Group.Lead calls a function for each time that this host leads.
//
// Status.Snapshots says how far each snapshot has come that is on its way (progress.go). Package
// dashboard shows all of that to people, and to Prometheus.
//
// Telemetry measures and traces, through the API of OpenTelemetry (telemetry.go, spans.go).
// HostConfig.Logger is told what an operator wants to know, and so are those of remote and
// badgerstore.
// These are all keys:
//
//	node      the host's ID, in every line of a host
//	group     the name of a group
//	number    of a group in the store
//	peer      the ID of another host
//	address   of another host
//	why       something was refused, or is as it is
//	refused   how many times that was
//	bytes     the size of something
//	max       how large it may be
//	actor     the ID of an actor
//	err       why
//	index     of an entry; term, last, newer, decided are of others that it is about
//	term      of a member, or of an entry
//	last      the end of a log
//	newer     the entry of the snapshot that takes the place of another
//	decided   the entry that has decided it
//	cluster   a lineage, in hexadecimal digits
//	version   of a state machine
//	in        the pause before it is tried again
//	rounds    so many times of balancing something is left alone
//	step      of an autopilot, in words
//	forced    it was not looked whether the member votes
//	load      which entries were wanted
//	type      of a message
//	stack     of a panic
//	story     of a broken invariant, as a whole
//	dir       of a store
//	file      its name
//	damage    what is damaged, and where
//	aside     where what was damaged has gone
//	kept      what is left
//	notes     what has become of something, in words
//
// # When something fails
//
// Nothing is restarted in place, and no memory is trusted that has failed: a member whose
// node or machine panics stops both, and starts fresh ones from the disk, after a pause
// that doubles each time (Restarts). When that does not help it gives up: it is Faulted,
// calls end with ErrFaulted, and its parent is told. Status.Fault says why; each change of
// state is published on the event stream of the actor system, as a *Status, to handlers
// that must only hand it over. No call is left without an answer.
//
//	class               for example                 what comes of it
//	(none: the          Query, or Snapshot,         who asked has the error; a snapshot is
//	application's own)  returns an error            tried again
//	ErrMachineFault     the StateMachine panics,    the member starts again; at the second
//	                    or cannot restore what      panic at one entry the machine is
//	                    is whole                    quarantined: QuarantineError
//	                    its own disk does not go    Faulted at once: StateError
//	                    with the log
//	ErrStorageFault     a write or fsync fails      nothing is acknowledged any more; the
//	                                                Store is closed, and opened again, and
//	                                                all members come back from it
//	                    a DiskStateMachine's disk   the member starts again
//	                    fails
//	                    the disk is full            no failure: nothing is proposed until
//	                                                there is room (ErrDiskFull)
//	                    the log is damaged          Faulted at once: persistence.CorruptError
//	                    the newest snapshot is      the same; but the member begins again as
//	                    damaged                     a newcomer if the Store is to be repaired
//	                                                and a quorum of others is well (rejoin.go)
//	ErrInvariantFault   the core breaks a rule,     the member starts again: what the rule
//	                    raftcore.InvariantError,    protects has not left it. How it came to
//	                    or anything else panics     that is written down, to be played back:
//	                                                see package flight
//
// # An entry that machines panic at
//
// It would be applied on every member, and again after every restart. A machine that has
// panicked at it twice is quarantined: its member votes and keeps the log, hands over if it
// leads, and answers nothing that needs the entry; other groups run on. There are two ways
// out. Mend the machine, and open the group anew, one host after the other. Or give the
// entry up: Group.SkipEntry decides for all members, in the log, that it is not carried out,
// also where it could be (skip.go).
//
// # Under a supervisor of yours
//
// Host.Open has the host be the parent of a member. Host.Props gives its Props to an actor
// of yours instead, which supervises it with any strategy of protoactor's: what a member
// that gives up comes to is decided there. With Restarts.Max negative that is every failure.
// A strategy may restart, stop or resume a member at any time, also when nothing has
// failed: a restart is "stop everything, come back from the disk", and one that comes when
// the member has stopped is of no effect.
//
// # All of it with messages
//
// An actor must not block. It sends a *Request to Group.PID, and is sent a *Response:
//
//	Group                        Request.Operation
//	Propose, Read, Do            Propose, Read
//	ChangeMembers, Transfer      ChangeMembers, Transfer; and CheckLearners until it is so, for
//	                             Members.WaitCaughtUp
//	SkipEntry                    SkipEntry
//	OpenSession, and Session's   OpenSession, KeepSession, CloseSession, and Propose with
//	methods                      Request.Session
//	Status, Watch                GetStatus, AwaitChange
//	Stop                         none: stop the PID, as any actor
//	TakeSnapshot, Events, Lead   none
//
// It is told the outcome of one try: what Group's methods do when a leader is lost, to ask
// again, is the actor's. A member that has stopped is a dead letter.
//
// # From another process
//
// Everything that Group does for its callers is a Client's (client.go), with the same
// outcomes, retries and sessions. Where the group is open on a host of the same process, one
// try is a call to the node. In a process that has no host an Asker makes it; package remote
// has one (remote.Dial), and on the hosts a Gateway, which has Host.Ask do what it is asked
// (gateway.go). A try goes to the host that leads, as far as the client knows, and to others
// as long as those who are asked do not lead, are down, or have gone.
//
// # Transport
//
// The hosts of different processes speak through a Transport. Package remote has
// the one on protoactor remote, tests/rafttest one without sockets.
//
// What must never live here: the rules of Raft, encoding, Badger, gRPC.
package actors
