package remote

import (
	"context"
	"fmt"
	"strings"
	"time"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/actors"
)

// options configures protoactor remote. As shipped it is not fit for Raft:
// measured, its batches exceed gRPC's limit and are lost without a word, each
// attempt to reach a dead host leaks connections and sleeps for seconds, and
// one message of a stranger ends the process.
func (t *Transport) options() ([]protoremote.ConfigOption, error) {
	creds := insecure.NewCredentials()
	if t.cfg.TLS != nil {
		c, err := newCredential(t.life, t.cfg.TLS, false, t.cfg.Logger)
		if err != nil {
			return nil, err
		}
		c.rejected = t.rejected
		c.refused = func(address string, err error) { t.refuse(badHandshake, err.Error(), "address", address) }
		c.outlived = func(address string, err error) { t.refuse(badCertificate, err.Error(), "address", address) }
		creds = c
	}
	maxMessage := t.cfg.WindowBytes + t.cfg.MaxPacketBytes + 1<<20 // all that can be under way, in one batch
	window := int32(min(2*t.cfg.WindowBytes, 1<<30))               // ours is the one that counts
	options := []protoremote.ConfigOption{
		protoremote.WithEndpointWriterBatchSize(16),         // more large packets than that leave the processor's caches while each is copied
		protoremote.WithEndpointWriterQueueSize(256),        // the initial size; the credit is the bound
		func(c *protoremote.Config) { c.MaxRetryCount = 1 }, // connect retries, and does not sleep
		protoremote.WithDialOptions(
			grpc.WithTransportCredentials(creds),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           connectBackoff,
				MinConnectTimeout: 2 * time.Second,
			}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
			grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessage), grpc.ForceCodecV2(newBatchCodec())),
			grpc.WithStaticStreamWindowSize(window), // to find one out gRPC pings at every packet
			grpc.WithStaticConnWindowSize(window),
			grpc.WithMaxHeaderListSize(maxMetadata),
			grpc.WithStreamInterceptor(t.connect),
		),
		protoremote.WithServerOptions(
			grpc.Creds(doorway{creds, t.door}),
			grpc.ConnectionTimeout(10*time.Second), // to show a certificate
			grpc.MaxHeaderListSize(maxMetadata),
			grpc.MaxRecvMsgSize(maxMessage),
			grpc.ForceServerCodecV2(newBatchCodec()),
			experimental.BufferPool(&buffers), // gRPC's own clears what it hands out
			grpc.StaticStreamWindowSize(window),
			grpc.StaticConnWindowSize(window),
			grpc.MaxConcurrentStreams(maxStreams),
			grpc.WaitForHandlers(true), // Stop returns when nothing is delivered any more
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
			grpc.StreamInterceptor(t.guardStream),
			grpc.InTapHandle(t.guardCall),
		),
	}
	if t.cfg.Advertise != "" {
		options = append(options, protoremote.WithAdvertisedHost(t.cfg.Advertise))
	}
	return options, nil
}

// connectBackoff is between two tries to connect: never long, so that a host is found soon
// after it has come back, however long it was away.
var connectBackoff = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}

// connect opens the stream to another host, and waits until there is one. That
// may take for ever, so it ends with the link: protoactor's own attempt could
// not be ended.
func (t *Transport) connect(_ context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	life, pass := t.life, func(any) {}
	md := t.speaks.metadata()
	if w := t.lane(cc.Target()); w != nil {
		life = w.l.life
		md.Set(addressKey, t.Address()) // so that the door knows who comes before much is said
		if w.is != actors.LaneControl {
			md.Set(laneKey, laneSuffixes[w.is])
		} else {
			pass = func(any) { w.l.written() }
		}
	} else if c := t.gateway.foreign.client(cc.Target()); c != nil {
		life, pass = c.ctx, c.pass
	} else if t.cfg.MaxClients > 0 {
		return nil, errNobody
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(life, md))
	opts = append(opts, grpc.WaitForReady(true))
	s := &clientStream{t: t, address: cc.Target(), ctx: ctx, cancel: cancel, pass: pass, open: func() (grpc.ClientStream, error) {
		return streamer(ctx, desc, cc, method, opts...)
	}}
	var err error
	if s.ClientStream, err = s.open(); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// clientStream is a stream to another host whose handshake does not fail: a
// host that is just going down, or coming up, may break it, and protoactor would
// then sleep for two seconds.
type clientStream struct {
	grpc.ClientStream
	t       *Transport
	address string
	ctx     context.Context
	cancel  context.CancelFunc
	open    func() (grpc.ClientStream, error)
	pass    func(any) // is told what was written
	first   any       // the connect request
	agreed  bool
}

func (s *clientStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if s.first == nil {
		s.first = m
		return nil // RecvMsg will notice, and do it again
	}
	if err == nil {
		s.pass(m)
	}
	return err
}

func (s *clientStream) RecvMsg(m any) error {
	for {
		err := s.ClientStream.RecvMsg(m)
		if err == nil && !s.agreed {
			err = s.agree()
		}
		if err == nil {
			return nil
		}
		pause := s.lost(err)
		if s.agreed || err == errOneLane {
			s.cancel()
			return err
		}
		if err := s.reopen(pause); err != nil {
			s.cancel()
			return err
		}
	}
}

// lost returns how long to wait after the stream has ended with err.
func (s *clientStream) lost(err error) time.Duration {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.FailedPrecondition, codes.InvalidArgument: // see guard.go
		s.t.rejected(s.address, err)
		return greetUnwanted
	}
	if why := s.unknown(); why != nil {
		s.t.rejected(s.address, why)
		return greetUnwanted
	}
	return greetAfter
}

// unknown returns why the other side may have ended the stream without a word: to it this
// host is a stranger.
func (s *clientStream) unknown() error {
	w := s.t.lane(s.address)
	if w == nil {
		return nil
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.l.unknown == "" {
		return nil
	}
	return fmt.Errorf("it does not know this host by the address %s; is that in its Peers?", w.l.unknown)
}

// agree looks what the other side speaks, and who it is.
func (s *clientStream) agree() error {
	md, err := s.Header()
	if err != nil {
		return err
	}
	theirs, err := readSpeech(md)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	spoken, err := s.t.speaks.with(theirs)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if w := s.t.lane(s.address); w != nil {
		if w.is != actors.LaneControl && spoken.newest < lanesVersion {
			return errOneLane // it was another one that had more
		}
		w.l.met(w, spoken, peerNames(s.Context()), strings.Join(md.Get(unknownKey), ""))
	}
	s.agreed = true
	return nil
}

var errOneLane = status.Error(codes.Unavailable, "castaway: the host speaks a version without lanes")

// reopen begins the handshake again, after a pause.
func (s *clientStream) reopen(after time.Duration) error {
	pause := time.NewTimer(after)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	stream, err := s.open()
	if err != nil {
		return err
	}
	s.ClientStream = stream
	_ = stream.SendMsg(s.first) // if it fails, so does the next RecvMsg
	return nil
}
