package remote

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// inboxName is whom packets are addressed to. No process here has that name: the guard takes
// them.
const inboxName = "castaway"

// inbox is where the packets of a stream arrive. It is no actor, and has no mailbox: it runs
// in the goroutine of the stream, so a host that sends faster than it is heard is held back
// by its own connection.
type inbox struct {
	*Transport
	names  []string // those of the other side's certificate
	socket string   // that it speaks from
	spoken speech
	lane   actors.Lane
	leave  func() // the door, which knows who is on the connection; nil: it does not

	session, taken uint64 // of the newest packet that was taken
}

// newInbox returns the inbox for a stream, or why there is none.
func (t *Transport) newInbox(stream grpc.ServerStream) (*inbox, error) {
	select {
	case <-t.started:
	case <-stream.Context().Done():
		return nil, stream.Context().Err()
	}
	in := &inbox{Transport: t, names: peerNames(stream.Context())}
	in.socket = socketOf(stream.Context())
	md, _ := metadata.FromIncomingContext(stream.Context())
	if err := stream.SetHeader(t.greeting(md)); err != nil {
		return nil, err
	}
	theirs, err := readSpeech(md)
	if err == nil {
		in.spoken, err = t.speaks.with(theirs)
	}
	if err == nil {
		in.lane, err = in.spoken.readLane(md)
	}
	if err != nil {
		return nil, in.end(badVersion, codes.FailedPrecondition, err.Error())
	}
	if said := md.Get(addressKey); len(said) > 0 && t.link(said[0]) != nil {
		// With a certificate nobody takes the connections of another one's host.
		in.leave = t.door.know(in.socket, strings.Join(append(in.names[:len(in.names):len(in.names)], said[0]+laneSuffixes[in.lane]), " "))
	}
	return in, nil
}

// greeting returns what is said to who opens a stream. A host that nobody here knows is cut
// off before long; it could not guess why.
func (t *Transport) greeting(to metadata.MD) metadata.MD {
	md := t.speaks.metadata()
	if said := to.Get(addressKey); len(said) > 0 && t.link(said[0]) == nil && !t.cfg.TLS.binds() {
		md.Set(unknownKey, said[0])
	}
	return md
}

// end returns the error that ends the stream, and tells the other side why. A host of ours
// gives no reason to.
func (in *inbox) end(r reason, code codes.Code, why string) error {
	in.refuse(r, why, "address", in.socket)
	return status.Error(code, "castaway: "+why)
}

// receive takes a packet. Whoever has sent it is cut off if there is an error.
func (in *inbox) receive(packet *raftpb.Packet) error {
	from := raftcore.NodeID(packet.From)
	switch {
	case from == raftcore.Nobody:
		return in.end(badMessage, codes.PermissionDenied, "a packet from nobody")
	case !in.cfg.TLS.speaksFor(in.names, from):
		return in.end(badIdentity, codes.PermissionDenied, fmt.Sprintf("the certificate is for %q, and the packet from host %d", in.names, from))
	case packet.Sequence > 0 && packet.Version != in.spoken.newest:
		return in.end(badVersion, codes.FailedPrecondition, fmt.Sprintf("a packet of version %d, where %d is spoken", packet.Version, in.spoken.newest))
	}
	l := in.link(packet.Address)
	elsewhere := "" // where the host is now, that has proved which one it is
	if l == nil && in.cfg.TLS.binds() && checkAdvertised(packet.Address) == nil {
		elsewhere = packet.Address
	}
	if l != nil && !l.leadsTo(from) {
		l = nil // what it says of another host's link is not heard
	}
	if in.leave == nil {
		switch {
		case in.cfg.TLS.binds():
			in.leave = in.door.know(in.socket, fmt.Sprint("host ", from, laneSuffixes[in.lane]))
		case l != nil:
			in.leave = in.door.know(in.socket, packet.Address+laneSuffixes[in.lane])
		}
	}
	if packet.Sequence == 0 {
		if l != nil {
			l.heard(in.lane, packet)
		}
		if l != nil && packet.Session == in.session && in.taken > 0 {
			l.missed(in.lane, in.session, in.taken)
		}
		if elsewhere != "" { // it may have nothing to say before it hears from somebody
			in.deliver(&actors.Packet{From: from, Names: in.names, Address: elsewhere})
		}
		return nil
	}
	p, err := decode(packet)
	if err != nil {
		in.refuse(badMessage, err.Error(), "address", packet.GetAddress())
		return nil
	}
	p.Names, p.Address, p.Lane = in.names, elsewhere, in.lane
	if l != nil {
		l.heard(in.lane, packet)
	}
	in.deliver(p)
	in.session, in.taken = packet.Session, packet.Sequence
	if l != nil {
		l.took(in.lane, packet)
	}
	return nil
}

// socketOf returns where a stream comes from.
func socketOf(ctx context.Context) string {
	if p, is := peer.FromContext(ctx); is {
		return p.Addr.String()
	}
	return ""
}
