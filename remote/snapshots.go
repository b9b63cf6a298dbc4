package remote

import (
	"errors"
	"fmt"
	"strings"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// The parts of a snapshot's way.

func encodeSnapshot(p *actors.SnapshotPart) *raftpb.SnapshotPart {
	out := &raftpb.SnapshotPart{Group: uint64(p.Group)}
	switch {
	case p.Offer != nil:
		o := p.Offer
		out.Part = &raftpb.SnapshotPart_Offer{Offer: &raftpb.SnapshotOffer{
			Message: encodeMessage(&actors.GroupMessage{Group: p.Group, Message: o.Message}),
			Id:      uint64(o.ID), Cluster: uint64(o.Cluster), Size: uint64(o.Size),
		}}
	case p.Chunk != nil:
		c := p.Chunk
		out.Part = &raftpb.SnapshotPart_Chunk{Chunk: &raftpb.SnapshotChunk{Id: uint64(c.ID), Offset: uint64(c.Offset), Data: c.Data, Sum: c.Sum}}
	case p.Answer != nil:
		a := p.Answer
		out.Part = &raftpb.SnapshotPart_Answer{Answer: &raftpb.SnapshotAnswer{
			Id: uint64(a.ID), Offset: uint64(a.Offset), Outcome: uint32(a.Outcome), Message: strings.ToValidUTF8(a.Message, "\uFFFD"),
		}}
	}
	return out
}

func encodeSnapshotRequest(r *raftcore.SnapshotRequest) *raftpb.SnapshotRequest {
	s := &r.Snapshot
	return &raftpb.SnapshotRequest{Last: encodeID(s.Last), Time: s.Time, ConfIndex: uint64(s.Conf.Index), Conf: appendConf(nil, &s.Conf.Conf), Bare: r.Bare}
}

func decodeSnapshotRequest(in *raftpb.SnapshotRequest) (*raftcore.SnapshotRequest, error) {
	conf, err := decodeConf(in.GetConf())
	if err != nil {
		return nil, err
	}
	return &raftcore.SnapshotRequest{Snapshot: raftcore.SnapshotMeta{
		Last: decodeID(in.GetLast()), Time: in.GetTime(),
		Conf: raftcore.ConfigAt{Index: raftcore.Index(in.GetConfIndex()), Conf: *conf},
	}, Bare: in.GetBare()}, nil
}

func decodeSnapshot(in *raftpb.SnapshotPart) (actors.SnapshotPart, error) {
	out := actors.SnapshotPart{Group: actors.GroupKey(in.GetGroup())}
	switch part := in.GetPart().(type) {
	case *raftpb.SnapshotPart_Offer:
		o := part.Offer
		request, is := o.GetMessage().GetBody().(*raftpb.Message_SnapshotRequest)
		if !is {
			return out, errors.New("an offer does not say of what")
		}
		body, err := decodeSnapshotRequest(request.SnapshotRequest)
		if err != nil {
			return out, err
		}
		out.Offer = &actors.SnapshotOffer{ID: snapshots.ID(o.GetId()), Cluster: raftcore.ClusterID(o.GetCluster())}
		decodeHead(&out.Offer.Message, o.GetMessage())
		out.Offer.Message.Body = body
		out.Offer.Size, err = decodeOffset(o.GetSize())
		return out, err
	case *raftpb.SnapshotPart_Chunk:
		c := part.Chunk
		offset, err := decodeOffset(c.GetOffset())
		out.Chunk = &snapshots.Chunk{ID: snapshots.ID(c.GetId()), Offset: offset, Data: c.GetData(), Sum: c.GetSum()}
		return out, err
	case *raftpb.SnapshotPart_Answer:
		a := part.Answer
		offset, err := decodeOffset(a.GetOffset())
		out.Answer = &actors.SnapshotAnswer{ID: snapshots.ID(a.GetId()), Offset: offset, Outcome: actors.SnapshotOutcome(min(a.GetOutcome(), 255)), Message: a.GetMessage()}
		return out, err
	}
	return out, errors.New("a part of a snapshot is empty, or of a later version")
}

// maxSnapshotBytes bounds what is believed of a size: no sum of two overflows.
const maxSnapshotBytes = 1 << 60

func decodeOffset(n uint64) (int64, error) {
	if n > maxSnapshotBytes {
		return 0, fmt.Errorf("%d bytes are more than any snapshot has", n)
	}
	return int64(n), nil
}
