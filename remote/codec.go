package remote

import (
	"errors"
	"fmt"
	"strings"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// encode turns a packet into the message that crosses the wire. It shares the
// payloads of requests and responses, which nobody changes; entries are in buffers that it
// borrows.
func encode(p *actors.Packet) *parcel {
	out := &parcel{Packet: &raftpb.Packet{Version: firstVersion, From: uint64(p.From)}}
	out.Messages = make([]*raftpb.Message, len(p.Messages))
	for i := range p.Messages {
		m := &p.Messages[i]
		out.Messages[i] = encodeMessage(m)
		if request, is := m.Message.Body.(*raftcore.AppendRequest); is && len(request.Entries) > 0 {
			out.Messages[i].GetAppendRequest().Entries = out.encodeEntries(request)
		}
	}
	for i := range p.Requests {
		out.Requests = append(out.Requests, encodeRequest(&p.Requests[i]))
	}
	for i := range p.Responses {
		r := &p.Responses[i]
		out.Responses = append(out.Responses, &raftpb.Response{
			Id: r.ID, Outcome: uint32(r.Outcome), Data: r.Data, Leader: uint64(r.Leader), Index: uint64(r.Index),
			Message: strings.ToValidUTF8(r.Message, "\uFFFD"), // or protobuf would refuse the packet
		})
	}
	for i := range p.Snapshots {
		out.Snapshots = append(out.Snapshots, encodeSnapshot(&p.Snapshots[i]))
	}
	if p.Beat != nil {
		out.Beat = encodeBeat(p.Beat)
	}
	out.Removed = ids[uint64](p.Removed)
	return out
}

func encodeBeat(b *actors.Beat) *raftpb.Beat {
	out := &raftpb.Beat{First: b.First, Resend: b.Resend, Count: b.Count, Sum: b.Sum}
	if n := len(b.Changes); n > 0 {
		out.Groups, out.Terms = make([]uint64, n), make([]uint64, n)
	}
	for i, c := range b.Changes {
		out.Groups[i], out.Terms[i] = uint64(c.Group), uint64(c.Term)
	}
	return out
}

func encodeRequest(r *actors.GroupRequest) *raftpb.Request {
	out := &raftpb.Request{Group: uint64(r.Group), Id: r.ID, Operation: uint32(r.Operation), Data: r.Data, To: uint64(r.To), Span: r.Span}
	if m := r.Members; m != nil {
		out.Voters, out.Learners, out.Witnesses, out.Expect = ids[uint64](m.Voters), ids[uint64](m.Learners), ids[uint64](m.Witnesses), uint64(m.Expect)
	}
	return out
}

// ids turns the IDs of nodes into what stands for them on the wire, or back.
func ids[To, From ~uint64](from []From) (to []To) {
	for _, id := range from {
		to = append(to, To(id))
	}
	return to
}

func encodeMessage(g *actors.GroupMessage) *raftpb.Message {
	m := &g.Message
	out := &raftpb.Message{
		Group: uint64(g.Group), From: uint64(m.From), To: uint64(m.To), Term: uint64(m.Term),
		Cluster: uint64(m.Cluster), Incarnation: uint64(m.Incarnation), ToIncarnation: uint64(m.ToIncarnation),
	}
	switch b := m.Body.(type) {
	case *raftcore.VoteRequest:
		out.Body = &raftpb.Message_VoteRequest{VoteRequest: &raftpb.VoteRequest{
			Pre: b.Pre, Last: encodeID(b.Last), Campaign: b.Campaign, Transfer: b.Transfer, Priority: int64(b.Priority),
		}}
	case *raftcore.VoteReply:
		out.Body = &raftpb.Message_VoteReply{VoteReply: &raftpb.VoteReply{Pre: b.Pre, Granted: b.Granted, Campaign: b.Campaign}}
	case *raftcore.AppendRequest:
		out.Body = &raftpb.Message_AppendRequest{AppendRequest: &raftpb.AppendRequest{
			Prev: encodeID(b.Prev), Commit: uint64(b.Commit), Round: b.Round, Admit: b.Admit, Quiesce: b.Quiesce, Urgent: b.Urgent,
		}}
	case *raftcore.AppendReply:
		out.Body = &raftpb.Message_AppendReply{AppendReply: &raftpb.AppendReply{
			Match: uint64(b.Match), Round: b.Round, Rejected: b.Rejected, Probed: encodeID(b.Probed), Hint: encodeID(b.Hint),
			Newcomer: b.Newcomer, Flooded: b.Flooded, Ahead: b.Ahead,
		}}
	case *raftcore.TimeoutNow:
		out.Body = &raftpb.Message_TimeoutNow{TimeoutNow: &raftpb.TimeoutNow{}}
	case *raftcore.ReadRequest:
		out.Body = &raftpb.Message_ReadRequest{ReadRequest: &raftpb.ReadRequest{Sequence: b.Sequence}}
	case *raftcore.ReadReply:
		out.Body = &raftpb.Message_ReadReply{ReadReply: &raftpb.ReadReply{Sequence: b.Sequence, Refused: b.Refused, Index: uint64(b.Index)}}
	case *raftcore.SnapshotRequest:
		out.Body = &raftpb.Message_SnapshotRequest{SnapshotRequest: encodeSnapshotRequest(b)}
	}
	return out
}

func (p *parcel) encodeEntries(b *raftcore.AppendRequest) []byte {
	size := 0
	for i := range b.Entries {
		size += len(b.Entries[i].Data) + 16
	}
	buf := buffers.Get(size)
	p.borrowed = append(p.borrowed, buf)
	return appendEntries((*buf)[:0], b.Prev, b.Entries)
}

func encodeID(id raftcore.EntryID) *raftpb.EntryID {
	if (id == raftcore.EntryID{}) {
		return nil
	}
	return &raftpb.EntryID{Term: uint64(id.Term), Index: uint64(id.Index)}
}

// decode turns what came from the wire into a packet, or says what is wrong
// with it. It takes nothing on trust; what a message means is for the core to
// judge. It shares what is bytes.
func decode(in *raftpb.Packet) (*actors.Packet, error) {
	p := &actors.Packet{From: raftcore.NodeID(in.From), Messages: make([]actors.GroupMessage, len(in.Messages))}
	for i, m := range in.Messages {
		if err := decodeMessage(&p.Messages[i], m); err != nil {
			return nil, fmt.Errorf("message %d of %d: %w", i+1, len(in.Messages), err)
		}
	}
	for _, r := range in.Requests {
		p.Requests = append(p.Requests, decodeRequest(r))
	}
	for _, r := range in.Responses {
		p.Responses = append(p.Responses, actors.GroupResponse{
			ID: r.GetId(), Outcome: actors.ResponseOutcome(min(r.GetOutcome(), 255)), Data: r.GetData(),
			Leader: raftcore.NodeID(r.GetLeader()), Message: r.GetMessage(), Index: raftcore.Index(r.GetIndex()),
		})
	}
	for _, s := range in.Snapshots {
		part, err := decodeSnapshot(s)
		if err != nil {
			return nil, err
		}
		p.Snapshots = append(p.Snapshots, part)
	}
	if in.Beat != nil {
		beat, err := decodeBeat(in.Beat)
		if err != nil {
			return nil, err
		}
		p.Beat = beat
	}
	p.Removed = ids[actors.GroupKey](in.Removed)
	return p, nil
}

func decodeBeat(in *raftpb.Beat) (*actors.Beat, error) {
	if len(in.Groups) != len(in.Terms) {
		return nil, fmt.Errorf("a beat has %d groups, and %d terms", len(in.Groups), len(in.Terms))
	}
	out := &actors.Beat{First: in.First, Resend: in.Resend, Count: in.Count, Sum: in.Sum}
	for i, group := range in.Groups {
		out.Changes = append(out.Changes, actors.BeatChange{Group: actors.GroupKey(group), Term: raftcore.Term(in.Terms[i])})
	}
	return out, nil
}

// decodeRequest leaves it to the host to refuse an operation that it does not know: that
// takes an answer, and nothing else in the packet is to suffer from it.
func decodeRequest(r *raftpb.Request) actors.GroupRequest {
	out := actors.GroupRequest{
		Group: actors.GroupKey(r.GetGroup()), ID: r.GetId(), Operation: actors.Operation(min(r.GetOperation(), 255)),
		Data: r.GetData(), To: raftcore.NodeID(r.GetTo()), Span: r.GetSpan(),
	}
	if out.Operation == actors.ChangeMembers || out.Operation == actors.CheckLearners {
		out.Members = &actors.Members{
			Voters: ids[raftcore.NodeID](r.GetVoters()), Learners: ids[raftcore.NodeID](r.GetLearners()), Witnesses: ids[raftcore.NodeID](r.GetWitnesses()), Expect: raftcore.Index(r.GetExpect()),
		}
	}
	return out
}

func decodeMessage(out *actors.GroupMessage, in *raftpb.Message) error {
	out.Group = actors.GroupKey(in.GetGroup())
	m := &out.Message
	decodeHead(m, in)
	switch body := in.GetBody().(type) {
	case *raftpb.Message_VoteRequest:
		b := body.VoteRequest
		m.Body = &raftcore.VoteRequest{Pre: b.GetPre(), Last: decodeID(b.GetLast()), Campaign: b.GetCampaign(), Transfer: b.GetTransfer(), Priority: int(b.GetPriority())}
	case *raftpb.Message_VoteReply:
		b := body.VoteReply
		m.Body = &raftcore.VoteReply{Pre: b.GetPre(), Granted: b.GetGranted(), Campaign: b.GetCampaign()}
	case *raftpb.Message_AppendRequest:
		b := body.AppendRequest
		prev := decodeID(b.GetPrev())
		entries, err := decodeEntries(b.GetEntries(), prev)
		if err != nil {
			return err
		}
		m.Body = &raftcore.AppendRequest{
			Prev: prev, Entries: entries, Commit: raftcore.Index(b.GetCommit()), Round: b.GetRound(), Admit: b.GetAdmit(), Quiesce: b.GetQuiesce(), Urgent: b.GetUrgent(),
		}
	case *raftpb.Message_AppendReply:
		b := body.AppendReply
		m.Body = &raftcore.AppendReply{
			Match: raftcore.Index(b.GetMatch()), Round: b.GetRound(), Rejected: b.GetRejected(),
			Probed: decodeID(b.GetProbed()), Hint: decodeID(b.GetHint()),
			Newcomer: b.GetNewcomer(), Flooded: b.GetFlooded(), Ahead: b.GetAhead(),
		}
	case *raftpb.Message_TimeoutNow:
		m.Body = &raftcore.TimeoutNow{}
	case *raftpb.Message_ReadRequest:
		m.Body = &raftcore.ReadRequest{Sequence: body.ReadRequest.GetSequence()}
	case *raftpb.Message_ReadReply:
		b := body.ReadReply
		m.Body = &raftcore.ReadReply{Sequence: b.GetSequence(), Refused: b.GetRefused(), Index: raftcore.Index(b.GetIndex())}
	case *raftpb.Message_SnapshotRequest:
		b, err := decodeSnapshotRequest(body.SnapshotRequest)
		if err != nil {
			return err
		}
		if !b.Bare {
			return errors.New("a snapshot comes in an offer")
		}
		m.Body = b
	default:
		return errors.New("it has no body, or one of a later version")
	}
	return nil
}

func decodeHead(m *raftcore.Message, in *raftpb.Message) {
	m.From, m.To, m.Term = raftcore.NodeID(in.GetFrom()), raftcore.NodeID(in.GetTo()), raftcore.Term(in.GetTerm())
	m.Cluster, m.Incarnation = raftcore.ClusterID(in.GetCluster()), raftcore.Incarnation(in.GetIncarnation())
	m.ToIncarnation = raftcore.Incarnation(in.GetToIncarnation())
}

func decodeID(id *raftpb.EntryID) raftcore.EntryID {
	return raftcore.EntryID{Term: raftcore.Term(id.GetTerm()), Index: raftcore.Index(id.GetIndex())}
}
