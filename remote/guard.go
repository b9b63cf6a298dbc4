package remote

import (
	"context"
	"fmt"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/remote/raftpb"
)

// The guard stands between the network and protoactor remote, which lets
// whoever connects spawn actors, stop them, send them system messages, make it
// relay to third parties, and, with an index out of range or an unknown type,
// end the process. What passes is: our one message, for our one inbox, from
// nobody in particular.

var packetType = string((*raftpb.Packet)(nil).ProtoReflect().Descriptor().FullName())

// guardCall refuses every call that is not the stream: listing processes, and
// their diagnostics, are not for the network.
func (t *Transport) guardCall(_ context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	t.refuse(badMessage, "a call of "+info.FullMethod)
	return nil, status.Error(codes.PermissionDenied, "castaway: not offered")
}

// guardStream lets only clean messages through, and survives what gets past it. Each stream
// has an inbox of its own, which knows who is at the other end.
func (t *Transport) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			t.refuse(badMessage, fmt.Sprintf("a message that made protoactor panic: %v", reason))
			err = status.Error(codes.InvalidArgument, "castaway: malformed")
		}
	}()
	in, err := t.newInbox(stream)
	if err != nil {
		return err
	}
	defer t.system.ProcessRegistry.Remove(in.pid)
	err = handler(srv, &guardedStream{stream, in})
	if _, told := status.FromError(err); !told { // protoactor could not read a packet
		err = in.end(badMessage, codes.InvalidArgument, err.Error())
	}
	return err
}

type guardedStream struct {
	grpc.ServerStream
	*inbox
}

func (s *guardedStream) RecvMsg(m any) error {
	if s.ended != nil {
		return s.ended
	}
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	message, ok := m.(*protoremote.RemoteMessage)
	if !ok {
		return s.end(badMessage, codes.PermissionDenied, "not a remote message")
	}
	switch m := message.GetMessageType().(type) {
	case *protoremote.RemoteMessage_ConnectRequest:
		if m.ConnectRequest.GetServerConnection() == nil {
			return s.end(badMessage, codes.PermissionDenied, "a connect request that is not a host's")
		}
		return nil
	case *protoremote.RemoteMessage_MessageBatch:
		if why := s.unclean(m.MessageBatch); why != "" {
			return s.end(badMessage, codes.PermissionDenied, why)
		}
		for _, target := range m.MessageBatch.Targets { // from here on it is for this stream's inbox
			target.Id = s.pid.Id
		}
		return nil
	}
	return s.end(badMessage, codes.PermissionDenied, "not a batch of messages")
}

// unclean says what is wrong with a batch, or nothing.
func (t *Transport) unclean(b *protoremote.MessageBatch) string {
	if len(b.GetSenders()) > 0 {
		return "a sender to reply to"
	}
	for _, name := range b.GetTypeNames() {
		if name != packetType {
			return "a message of type " + name
		}
	}
	address := t.Address()
	for _, target := range b.GetTargets() {
		if target.GetAddress() != address || target.GetId() != inboxName {
			return "a message for " + target.GetAddress() + "/" + target.GetId() + ", and not for " + address + "/" + inboxName
		}
	}
	for _, e := range b.GetEnvelopes() {
		switch {
		case e == nil:
			return "an empty envelope"
		case e.TypeId < 0 || int(e.TypeId) >= len(b.GetTypeNames()):
			return "a type out of range"
		case e.Target < 0 || int(e.Target) >= len(b.GetTargets()):
			return "a target out of range"
		case e.Sender != 0 || e.SenderRequestId != 0 || e.TargetRequestId != 0:
			return "a sender, or a request"
		case e.SerializerId != 0:
			return "a serializer that is not protobuf"
		}
	}
	return ""
}
