package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/castaway-go/castaway/remote/raftpb"
)

// The guard stands between the network and protoactor remote, which lets
// whoever connects spawn actors, stop them, send them system messages, make it
// relay to third parties, and, with an index out of range or an unknown type,
// end the process. What comes through is: packets for our one inbox, from nobody in particular;
// and if there is a gateway, clients' requests for it, from where they can be answered. The
// guard hands them over itself. protoactor's reader sees how a stream begins, and its end.

var packetType = string((*raftpb.Packet)(nil).ProtoReflect().Descriptor().FullName())

// guardCall refuses every call that is not the stream: listing processes, and
// their diagnostics, are not for the network. Nothing of what is said in it is read.
func (t *Transport) guardCall(ctx context.Context, info *tap.Info) (context.Context, error) {
	if info.FullMethodName != streamMethod {
		t.refuse(badMessage, fmt.Sprintf("a call of %.100q", info.FullMethodName))
		return nil, status.Error(codes.PermissionDenied, "castaway: not offered")
	}
	return ctx, nil
}

const streamMethod = "/remote.Remoting/Receive"

// compressed reports whether what comes on a stream would be decompressed. gRPC does that if
// any package of the program has told it how, as exporters of telemetry do: then a few bytes
// become megabytes, and no bound on bytes is one.
func compressed(ctx context.Context) bool {
	s, is := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	return !is || s.RecvCompress() != "" && s.RecvCompress() != encoding.Identity
}

// unread counts what could not be read: it is no message of protoactor's, or too large. gRPC
// has told the other side by then.
func (t *Transport) unread(err error, address string) error {
	if code := status.Code(err); code == codes.Internal || code == codes.ResourceExhausted {
		t.refuse(badMessage, status.Convert(err).Message(), "address", address)
	}
	return err
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
	if compressed(stream.Context()) {
		t.refuse(badMessage, "what is compressed", "address", socketOf(stream.Context()))
		return status.Error(codes.Unimplemented, "castaway: nothing is decompressed")
	}
	first := new(protoremote.RemoteMessage)
	if err := stream.RecvMsg(first); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return t.unread(err, socketOf(stream.Context()))
	}
	if first.GetConnectRequest().GetClientConnection() != nil && t.cfg.MaxClients > 0 {
		return t.gateway.serve(stream)
	}
	in, err := t.newInbox(stream)
	if err != nil {
		return err
	}
	defer func() {
		if in.leave != nil {
			in.leave()
		}
	}()
	s := &guardedStream{ServerStream: stream, inbox: in, first: first}
	defer func() {
		if s.client != nil {
			s.client.end(io.EOF)
		}
	}()
	return handler(srv, s)
}

type guardedStream struct {
	grpc.ServerStream
	*inbox
	first  *protoremote.RemoteMessage // that was read, and protoactor has yet to be given
	from   string                     // the address that it was introduced with
	client *client                    // the actors there, if they ask the gateway
}

func (s *guardedStream) RecvMsg(m any) error {
	message, ok := m.(*protoremote.RemoteMessage)
	if !ok {
		return s.end(badMessage, codes.PermissionDenied, "not a remote message")
	}
	for {
		if s.first != nil {
			message.MessageType, s.first = s.first.MessageType, nil
		} else if err := s.ServerStream.RecvMsg(m); err != nil {
			return s.unread(err, s.socket)
		}
		switch m := message.GetMessageType().(type) {
		case *protoremote.RemoteMessage_ConnectRequest:
			if m.ConnectRequest.GetServerConnection() == nil || s.from != "" {
				return s.end(badMessage, codes.PermissionDenied, "a connect request that is not a host's first")
			}
			s.from = m.ConnectRequest.GetServerConnection().GetAddress()
			return nil
		case *protoremote.RemoteMessage_MessageBatch:
			if err := s.take(m.MessageBatch); err != nil {
				return err
			}
		default:
			return s.end(badMessage, codes.PermissionDenied, "not a batch of messages")
		}
	}
}

// take hands over what is in a batch.
func (s *guardedStream) take(b *protoremote.MessageBatch) error {
	if why := s.unclean(b); why != "" {
		return s.end(badMessage, codes.PermissionDenied, why)
	}
	for _, e := range b.Envelopes {
		if b.TypeNames[e.TypeId] == clientRequestType {
			if err := s.ask(b, e); err != nil {
				return err
			}
			continue
		}
		packet, err := open(e.MessageData)
		if err != nil {
			return s.end(badMessage, codes.InvalidArgument, err.Error())
		}
		if err := s.receive(packet); err != nil {
			return err
		}
	}
	return nil
}

// unclean says what is wrong with a batch, or nothing.
func (s *guardedStream) unclean(b *protoremote.MessageBatch) string {
	clients := s.cfg.MaxClients > 0
	for _, sender := range b.GetSenders() {
		if !clients || sender.GetAddress() != s.from {
			return "a sender to reply to"
		}
	}
	for _, name := range b.GetTypeNames() {
		if name != packetType && (name != clientRequestType || !clients) {
			return "a message of type " + name
		}
	}
	address, lane := s.Address(), laneSuffixes[s.lane]
	for _, target := range b.GetTargets() {
		id, at := target.GetId(), target.GetAddress()
		if !(id == inboxName && at == address+lane || id == gatewayName && at == address && clients) {
			return "a message for " + at + "/" + id + ", and not for " + address + lane + "/" + inboxName
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
		case (b.TypeNames[e.TypeId] == packetType) != (b.Targets[e.Target].Id == inboxName):
			return "a message for the other process"
		case e.Sender < 0 || int(e.Sender) > len(b.GetSenders()) || e.TargetRequestId != 0:
			return "a sender out of range, or a request"
		case b.TypeNames[e.TypeId] == packetType && (e.Sender != 0 || e.SenderRequestId != 0):
			return "a packet with a sender"
		case b.TypeNames[e.TypeId] == clientRequestType && e.Sender == 0:
			return "a client's request with nobody to be answered"
		case e.SerializerId != 0:
			return "a serializer that is not protobuf"
		}
	}
	return ""
}
