package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	t.refuse("a call of " + info.FullMethod)
	return nil, status.Error(codes.PermissionDenied, "castaway: not offered")
}

// guardStream lets only clean messages through, and survives what gets past it.
func (t *Transport) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			t.refuse(fmt.Sprintf("a message that made protoactor panic: %v", reason))
			err = status.Error(codes.InvalidArgument, "castaway: malformed")
		}
	}()
	s := &guardedStream{ServerStream: stream, t: t, first: new(protoremote.RemoteMessage)}
	if err := stream.RecvMsg(s.first); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	if s.first.GetConnectRequest().GetClientConnection() != nil && t.cfg.MaxClients > 0 {
		return t.gateway.serve(stream)
	}
	return handler(srv, s)
}

type guardedStream struct {
	grpc.ServerStream
	t     *Transport
	first *protoremote.RemoteMessage // that was read, and protoactor has yet to be given
}

func (s *guardedStream) RecvMsg(m any) error {
	message, ok := m.(*protoremote.RemoteMessage)
	if !ok {
		return s.refuse("not a remote message")
	}
	if s.first != nil {
		message.MessageType, s.first = s.first.MessageType, nil
	} else if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	switch m := message.GetMessageType().(type) {
	case *protoremote.RemoteMessage_ConnectRequest:
		if m.ConnectRequest.GetServerConnection() == nil {
			return s.refuse("a connect request that is not a host's")
		}
		return nil
	case *protoremote.RemoteMessage_MessageBatch:
		if why := s.t.unclean(m.MessageBatch); why != "" {
			return s.refuse(why)
		}
		return nil
	}
	return s.refuse("not a batch of messages")
}

// refuse ends the stream: a host of ours never sends such a thing.
func (s *guardedStream) refuse(why string) error {
	s.t.refuse(why)
	return status.Error(codes.PermissionDenied, "castaway: "+why)
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
			return "a message for " + target.GetAddress() + "/" + target.GetId()
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
