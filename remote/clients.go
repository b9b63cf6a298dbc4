package remote

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// What clients in other processes and a gateway say to one another.

// clientVersion is the version of the messages of clients that this package writes, and
// the only one that it reads.
const clientVersion = 1

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") } // or protobuf would refuse it

func encodeClientRequest(id uint64, r *actors.ClientRequest) *raftpb.ClientRequest {
	return &raftpb.ClientRequest{
		Version: clientVersion, Id: id, Cluster: valid(r.Cluster), Group: valid(r.Group), Hosts: r.Hosts,
		Operation: uint32(r.Operation), Data: r.Data,
		Voters: ids[uint64](r.Members.Voters), Learners: ids[uint64](r.Members.Learners), Witnesses: ids[uint64](r.Members.Witnesses), Expect: uint64(r.Members.Expect), To: uint64(r.To),
		Entry: uint64(r.Entry), Seen: r.Seen,
		Session: uint64(r.Session.ID), Sequence: r.Session.Sequence, Done: r.Session.Done, SessionTimeout: uint64(r.Timeout.Milliseconds()),
		Consistency: uint32(r.Consistency), MaxAge: uint64(r.MaxAge), After: uint64(r.After),
		Traceparent: valid(r.Traceparent),
	}
}

// decodeClientRequest leaves it to the host to refuse what makes no sense.
func decodeClientRequest(in *raftpb.ClientRequest) (*actors.ClientRequest, error) {
	switch {
	case in.Version != clientVersion:
		return nil, fmt.Errorf("a client of version %d, this process speaks %d", in.Version, clientVersion)
	case in.SessionTimeout > maxMilliseconds || in.MaxAge > math.MaxInt64:
		return nil, errors.New("a client's request with an absurd time")
	case len(in.Voters)+len(in.Learners)+len(in.Witnesses) > maxHosts:
		return nil, errors.New("a client's request with too many members")
	}
	return &actors.ClientRequest{
		Cluster: in.Cluster, Group: in.Group, Hosts: in.Hosts, Traceparent: in.Traceparent,
		Request: actors.Request{
			Operation: actors.Operation(min(in.Operation, 255)), Data: in.Data,
			Members: actors.Members{
				Voters: ids[raftcore.NodeID](in.Voters), Learners: ids[raftcore.NodeID](in.Learners), Witnesses: ids[raftcore.NodeID](in.Witnesses), Expect: raftcore.Index(in.Expect),
			},
			To: raftcore.NodeID(in.To), Entry: raftcore.Index(in.Entry), Seen: in.Seen,
			Session: actors.InSession{ID: actors.SessionID(in.Session), Sequence: in.Sequence, Done: in.Done},
			Timeout: time.Duration(in.SessionTimeout) * time.Millisecond, Consistency: actors.Consistency(min(in.Consistency, 255)),
			MaxAge: time.Duration(in.MaxAge), After: raftcore.Index(in.After),
		},
	}, nil
}

const (
	maxMilliseconds = uint64(math.MaxInt64 / int64(time.Millisecond))
	maxHosts        = 4096 // that a message may name
)

func encodeClientResponse(id uint64, r *actors.ClientResponse) *raftpb.ClientResponse {
	out := &raftpb.ClientResponse{
		Version: clientVersion, Id: id, Outcome: uint32(r.Outcome), Failure: encodeFailure(&r.Failure), Data: r.Data, Index: uint64(r.Index),
		Session: uint64(r.Session), Age: uint64(r.Age), Leader: uint64(r.Leader),
	}
	if b := r.Busy; b != nil {
		out.Busy = &raftpb.Busy{What: valid(b.What), Used: b.Used, Limit: b.Limit, RetryAfter: uint64(b.RetryAfter)}
	}
	if r.Status != nil {
		out.Status = encodeStatus(r.Status, r.StatusFault)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Hosts)) {
		out.Hosts = append(out.Hosts, &raftpb.HostAddress{Id: uint64(id), Address: valid(r.Hosts[id])})
	}
	return out
}

func encodeFailure(f *actors.Failure) *raftpb.Failure {
	if f == nil || f.Message == "" && len(f.Reasons) == 0 {
		return nil
	}
	out := &raftpb.Failure{Message: valid(f.Message)}
	for _, r := range f.Reasons {
		out.Reasons = append(out.Reasons, uint32(r))
	}
	return out
}

func decodeFailure(in *raftpb.Failure) (out actors.Failure) {
	out.Message = in.GetMessage()
	for _, r := range in.GetReasons() {
		if r <= math.MaxUint8 { // others are of a later version
			out.Reasons = append(out.Reasons, actors.ResponseOutcome(r))
		}
	}
	return out
}

func decodeClientResponse(in *raftpb.ClientResponse) (*actors.ClientResponse, error) {
	switch {
	case in.Version != clientVersion:
		return nil, fmt.Errorf("a gateway of version %d, this process speaks %d", in.Version, clientVersion)
	case in.Age > math.MaxInt64 || in.Busy.GetRetryAfter() > math.MaxInt64:
		return nil, errors.New("a gateway's response with an absurd time")
	case len(in.Hosts) > maxHosts:
		return nil, errors.New("a gateway's response with too many hosts")
	}
	r := &actors.ClientResponse{
		Outcome: actors.ResponseOutcome(min(in.Outcome, 255)), Failure: decodeFailure(in.Failure), Data: in.Data, Index: raftcore.Index(in.Index),
		Session: actors.SessionID(in.Session), Age: time.Duration(in.Age), Leader: raftcore.NodeID(in.Leader),
	}
	if b := in.Busy; b != nil {
		r.Busy = &actors.BusyError{What: b.What, Used: b.Used, Limit: b.Limit, RetryAfter: time.Duration(b.RetryAfter)}
	}
	for _, h := range in.Hosts {
		if r.Hosts == nil {
			r.Hosts = map[raftcore.NodeID]string{}
		}
		r.Hosts[raftcore.NodeID(h.GetId())] = h.GetAddress()
	}
	if in.Status != nil {
		status, fault, err := decodeStatus(in.Status)
		if err != nil {
			return nil, err
		}
		r.Status, r.StatusFault = status, fault
	}
	return r, nil
}

func encodeStatus(s *actors.Status, fault *actors.Failure) *raftpb.MemberStatus {
	out := &raftpb.MemberStatus{
		Group: valid(s.Group), State: uint32(s.State), Fault: encodeFailure(fault), Version: s.Version,
		AutopilotNow: valid(s.Autopilot.Now), AutopilotLast: valid(s.Autopilot.Last), Tombstones: ids[uint64](s.Tombstones), Change: s.Change,
		Id: uint64(s.ID), Cluster: uint64(s.Cluster), Incarnation: uint64(s.Incarnation), Role: uint32(s.Role), Term: uint64(s.Term), Vote: uint64(s.Vote),
		Joined: s.Joined, Leader: uint64(s.Leader), Commit: uint64(s.Commit), Applied: uint64(s.Applied), Saved: uint64(s.Saved),
		SavingSince: int64(s.SavingSince), Last: uint64(s.Last), First: uint64(s.First), Conf: appendConf(nil, &s.Conf), ConfIndex: uint64(s.ConfIndex),
		Readable: s.Readable, Refused: s.Refused, OtherCluster: uint64(s.OtherCluster), Silent: ids[uint64](s.Silent), Quiescent: s.Quiescent,
		Stalled: s.Stalled, HandingTo: uint64(s.HandingTo), Witness: s.Witness, WitnessesNeeded: s.WitnessesNeeded,
	}
	for _, p := range s.Snapshots {
		out.Snapshots = append(out.Snapshots, &raftpb.SnapshotProgress{
			Stage: uint32(p.Stage), Peer: uint64(p.Peer), Index: uint64(p.Index), Done: p.Done, Size: p.Size, At: int64(p.At),
		})
	}
	for _, p := range s.Peers {
		out.Peers = append(out.Peers, &raftpb.PeerStatus{
			Id: uint64(p.ID), State: p.State.String(), Match: uint64(p.Match), Next: uint64(p.Next), Heard: int64(p.Heard), Newcomer: p.Newcomer, CaughtUp: p.CaughtUp, Witness: p.Witness,
		})
	}
	return out
}

// progressState returns the state that has this name on the wire, or one that nobody knows.
func progressState(name string) raftcore.ProgressState {
	for s := range raftcore.ProgressSnapshot + 1 {
		if s.String() == name {
			return s
		}
	}
	return 255
}

func decodeStatus(in *raftpb.MemberStatus) (*actors.Status, *actors.Failure, error) {
	conf, err := decodeConf(in.Conf)
	if err != nil {
		return nil, nil, fmt.Errorf("a status: %w", err)
	}
	s := &actors.Status{
		Group: in.Group, State: actors.MemberState(min(in.State, 255)), Version: in.Version,
		Autopilot: actors.AutopilotStatus{Now: in.AutopilotNow, Last: in.AutopilotLast}, Tombstones: ids[raftcore.NodeID](in.Tombstones), Change: in.Change,
	}
	s.Status = raftcore.Status{
		ID: raftcore.NodeID(in.Id), Cluster: raftcore.ClusterID(in.Cluster), Incarnation: raftcore.Incarnation(in.Incarnation),
		Role: raftcore.Role(min(in.Role, 255)), Term: raftcore.Term(in.Term), Vote: raftcore.NodeID(in.Vote),
		Joined: in.Joined, Leader: raftcore.NodeID(in.Leader), Commit: raftcore.Index(in.Commit), Applied: raftcore.Index(in.Applied), Saved: raftcore.Index(in.Saved),
		SavingSince: raftcore.Instant(in.SavingSince), Last: raftcore.Index(in.Last), First: raftcore.Index(in.First), Conf: *conf, ConfIndex: raftcore.Index(in.ConfIndex),
		Readable: in.Readable, Refused: in.Refused, OtherCluster: raftcore.ClusterID(in.OtherCluster), Silent: ids[raftcore.NodeID](in.Silent), Quiescent: in.Quiescent,
		Stalled: in.Stalled, HandingTo: raftcore.NodeID(in.HandingTo), Witness: in.Witness, WitnessesNeeded: in.WitnessesNeeded,
	}
	for _, p := range in.Snapshots {
		s.Snapshots = append(s.Snapshots, actors.SnapshotProgress{
			Stage: actors.SnapshotStage(min(p.GetStage(), 255)), Peer: raftcore.NodeID(p.GetPeer()), Index: raftcore.Index(p.GetIndex()),
			Done: p.GetDone(), Size: p.GetSize(), At: raftcore.Instant(p.GetAt()),
		})
	}
	for _, p := range in.Peers {
		s.Peers = append(s.Peers, raftcore.PeerStatus{
			ID: raftcore.NodeID(p.GetId()), State: progressState(p.GetState()), Match: raftcore.Index(p.GetMatch()), Next: raftcore.Index(p.GetNext()),
			Heard: raftcore.Instant(p.GetHeard()), Newcomer: p.GetNewcomer(), CaughtUp: p.GetCaughtUp(), Witness: p.GetWitness(),
		})
	}
	if in.Fault == nil {
		return s, nil, nil
	}
	fault := decodeFailure(in.Fault)
	return s, &fault, nil
}
