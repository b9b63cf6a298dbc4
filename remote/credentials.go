package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// credential is what gRPC asks at each connection. It takes the certificates of that
// moment, and tells the operator what came of it: gRPC itself keeps it to itself.
type credential struct {
	tls  *TLS
	read func() (*tls.Config, error)
	// rejected is told that the other side, who was dialled, and this one do not get on;
	// refused, why somebody who has dialled is not let in; outlived, why a connection was
	// ended that had been up.
	rejected func(address string, err error)
	refused  func(address string, err error)
	outlived func(address string, err error)

	mu   sync.Mutex
	live map[*proven]bool // see expiry.go
	wake chan struct{}    // there is another one, or the files have changed
}

// newCredential returns the credential of a TLS, or what is wrong with that. The files are
// looked at until life ends. A client's certificate need not be one for a server.
func newCredential(life context.Context, c *TLS, client bool, logger *slog.Logger) (*credential, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	out := &credential{tls: c, live: map[*proven]bool{}, wake: make(chan struct{}, 1)}
	if c.Config != nil {
		out.read = func() (*tls.Config, error) { return c.Config, nil }
	} else {
		files := &certificates{files: [3]string{c.CertFile, c.KeyFile, c.CAFile}, client: client, logger: logger, changed: func() { signal(out.wake) }}
		if _, err := files.read(); err != nil {
			return nil, err
		}
		out.read = func() (*tls.Config, error) {
			config, err := files.read()
			if config != nil {
				err = nil
			}
			return config, err
		}
	}
	// Whether a new certificate is any good is to be known before the next connection, too.
	go out.watch(life)
	return out, nil
}

func (c *credential) ClientHandshake(ctx context.Context, address string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	var own shown
	conn, info, err := credentials.NewTLS(own.dialling(c.tls.dialling(config, name))).ClientHandshake(ctx, address, raw)
	if err != nil {
		c.rejected(address, fmt.Errorf("TLS: %w", err))
		return nil, nil, err
	}
	state := info.(credentials.TLSInfo).State
	return c.keep(&proven{Conn: conn, raw: raw, c: c, address: address, dialled: true, own: own.leaf, verify: func(now *tls.Config) ([][]*x509.Certificate, error) {
		return c.tls.verifyDialled(now, name, state)
	}}), info, nil
}

func (c *credential) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	var own shown
	address := raw.RemoteAddr().String()
	conn, info, err := credentials.NewTLS(own.accepting(c.tls.accepting(config))).ServerHandshake(raw)
	if err != nil {
		if !errors.Is(err, io.EOF) { // who leaves without a word wants to know whether the port is open
			c.refused(address, err)
		}
		return nil, nil, err
	}
	state := info.(credentials.TLSInfo).State
	return c.keep(&proven{Conn: conn, raw: raw, c: c, address: address, own: own.leaf, verify: func(now *tls.Config) ([][]*x509.Certificate, error) {
		return c.tls.verifyAccepted(now, state)
	}}), info, nil
}

func (c *credential) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c *credential) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is asked by nobody: the name is that of the address.
func (c *credential) OverrideServerName(string) error { return errors.ErrUnsupported }

// peerNames returns the names that the other side of a stream has proved to have; none
// without TLS.
func peerNames(ctx context.Context) []string {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return nil
	}
	if info, is := p.AuthInfo.(credentials.TLSInfo); is && len(info.State.PeerCertificates) > 0 {
		return namesOf(info.State.PeerCertificates[0])
	}
	return nil
}
