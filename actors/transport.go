package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// Transport carries packets between the hosts of different processes. Package
// remote has the one for production, on protoactor remote; tests/rafttest has a
// simulated one.
//
// A packet may be lost, also one that was taken, and those of two senders may come in any
// order. No packet may come twice: a GroupRequest is not recognised, and its command would
// be carried out twice. So a Transport does not send again what may have arrived. What
// arrives is what was sent, whole.
//
// It takes packets of 8 MiB at least, or has a method PacketLimit() int that says
// how large they may be.
type Transport interface {
	// Start begins to receive. Every packet that arrives is given to deliver,
	// which does not block and may be called concurrently, but in order for the
	// packets of one sender.
	Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*Packet)) error

	// Link returns the channel to the process at an address. It does not block:
	// the link comes up, goes down and comes up again by itself, and tells so.
	// notify does not block either.
	Link(address string, notify func(LinkEvent)) Link

	// Stop lets go of everything. No packet is delivered after it returns.
	Stop(ctx context.Context) error
}

// Link sends to one process.
type Link interface {
	// Send takes a packet, or refuses it: the link is down, or more bytes are
	// under way on the packet's lane than the other side has taken. It does not block. A packet that
	// was taken may still be lost. The link does not touch it after Send has
	// returned.
	Send(p *Packet) bool
	// Close lets go of the link.
	Close()
}

// Lane is one of the ways on which packets go to a host. On one lane they arrive in the order
// in which they were sent; what is on one need not wait for what is on another, and may
// overtake it. A Transport may have one way for all; what is for LaneControl then goes with
// the log, in one packet. One that has more has a method LogWaits() bool on its links, which
// says when it should not.
type Lane uint8

// The lanes.
const (
	// LaneControl is for what keeps leaders in office, and for all that is small and answers
	// something: signs of life, votes, acknowledgements.
	LaneControl Lane = iota
	// LaneLog is for entries, and the requests of clients and the responses to them.
	LaneLog
	// LaneSnapshots is for the parts of snapshots.
	LaneSnapshots
	// Lanes is how many there are.
	Lanes
)

// LinkEvent is a change of a Link.
type LinkEvent uint8

// The events of a link.
const (
	LinkUp       LinkEvent = iota + 1 // packets can be sent
	LinkDown                          // what was under way, in either direction, may be lost
	LinkWritable                      // after Send refused: it takes packets again
)

// GroupKey is a group's name on the wire: a hash of it.
type GroupKey uint64

// Packet is everything that one host has to say to another at a time, whatever
// the number of groups.
type Packet struct {
	// From is the host that sent it.
	From raftcore.NodeID
	// Lane is the one that it takes.
	Lane Lane
	// Names are those that the sender has proved to have, if the Transport can tell: it sets
	// them on arrival.
	Names []string
	// Address, if it is not empty, is where packets for the sender go: the Transport sets it
	// on arrival, if that is news, and if nobody else can say so in the sender's name.
	Address   string
	Messages  []GroupMessage
	Requests  []GroupRequest
	Responses []GroupResponse
	Snapshots []SnapshotPart
	// Beat, if it is not nil, is a sign of life, for the groups that are silent.
	Beat *Beat
	// Removed are groups of which something came, and that this host has removed.
	Removed []GroupKey
}

// Beat tells a host which groups are silent between it and the sender: those in which
// one of the two leads and the other follows, and the sender's member sleeps.
type Beat struct {
	// First: whatever was told before is forgotten.
	First bool
	// Resend: what the other side has told does not add up. It is to tell everything.
	Resend bool
	// Changes are since the beat before.
	Changes []BeatChange
	// Count and Sum are of all groups that have been told of, and are silent.
	Count, Sum uint64
}

// BeatChange is a group that has fallen silent in a term, or with none, one that speaks
// again.
type BeatChange struct {
	Group GroupKey
	Term  raftcore.Term
}

// GroupMessage is a message of one group's Raft.
type GroupMessage struct {
	Group   GroupKey
	Message raftcore.Message
}

// GroupRequest is a client's request, sent on to the leader's host.
type GroupRequest struct {
	Group     GroupKey
	ID        uint64    // the sender's, for the response
	Operation Operation // the receiver refuses one that it does not know; a Read is Linearizable
	Data      []byte
	Members   *Members        // for ChangeMembers and CheckLearners
	To        raftcore.NodeID // for Transfer
	// Span is that of who asks, if he is traced: the ID of the trace (16 bytes), his own
	// (8), and the flags (1) of W3C Trace Context. What has another length is no span.
	Span []byte
}

// GroupResponse answers a GroupRequest.
type GroupResponse struct {
	ID      uint64
	Data    []byte
	Index   raftcore.Index // of what is done, see Response.Index; or which a machine is quarantined at
	Outcome ResponseOutcome
	Leader  raftcore.NodeID // where the sender should have asked
	Message string          // of a query's error, and of what concerns members, sessions and machines
}

// SnapshotPart is a piece of a snapshot's way from one host to another: an offer or
// a chunk, or the answer to that. One of its fields is set.
type SnapshotPart struct {
	Group  GroupKey
	Offer  *SnapshotOffer
	Chunk  *snapshots.Chunk
	Answer *SnapshotAnswer
}

// SnapshotOffer offers a snapshot to a member that the log cannot help any more.
type SnapshotOffer struct {
	// Message is the leader's, with a raftcore.SnapshotRequest. It is for the node when
	// the snapshot has arrived.
	Message raftcore.Message
	// ID, Cluster and Size are those of the snapshots.Info.
	ID      snapshots.ID
	Cluster raftcore.ClusterID
	Size    int64
}

// SnapshotAnswer is what a receiver says.
type SnapshotAnswer struct {
	ID      snapshots.ID
	Offset  int64 // what it has, in bytes
	Outcome SnapshotOutcome
	Message string // why, for SnapshotRefused
}

// SnapshotOutcome is what a receiver answers to an offer or a chunk.
type SnapshotOutcome uint8

// The outcomes of a SnapshotPart.
const (
	SnapshotFrom    SnapshotOutcome = iota + 1 // send what comes at Offset, and all that follows
	SnapshotTaken                              // what comes before Offset is here
	SnapshotArrived                            // all of it is, durably
	SnapshotRefused                            // give it up
)

// ResponseOutcome is how a request ended on another host. A Transport carries it as the number
// that it is, which remote/PROTOCOL.md explains, and a caller is told an error.
type ResponseOutcome uint8

// The outcomes of a GroupRequest.
const (
	responseOK ResponseOutcome = iota + 1
	responseNotLeader
	responseRejected
	responseBusy
	responseTooLarge
	responseUnknown
	responseQueryError // Query returned an error
	responseDiskFull
)

// The outcomes of a GroupRequest to change the members, or the leader, or to skip an entry.
const (
	responseBadMembers ResponseOutcome = iota + 16
	responseConfigChanged
	responseChangeInProgress
	responseNotCaughtUp
	responseNotVoter
	responseTransferFailed
	responseNotReady
	responseNotQuarantined // to SkipEntry: the leader's state machine is not, at that entry
	responseNotInPlace
)

// Other outcomes of a GroupRequest.
const (
	responseSessionExpired ResponseOutcome = iota + 32 // it is not open, or not any more
	responseQuarantined                                // the leader's state machine is, at the entry that Index says
	responseSkipped                                    // it was decided not to carry the command out
	responseNotAllowed                                 // Message says why
)

// What else a Failure may have for a reason, and who asked for another host is not told.
const (
	responseOverwritten ResponseOutcome = iota + 64
	responseStopped
	responseFaulted
	responseTooOld
	responseBadRequest
	responseUnreachable
	responseGone // the member is restarting
	responseCatchingUp
	responseRemoved
	responseNoGroup
	responseMachineFault
	responseStorageFault
	responseInvariantFault
	responseWitness
)
