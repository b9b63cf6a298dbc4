package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// credential is what gRPC asks at each connection. It takes the certificates of that
// moment, and tells the operator what came of it: gRPC itself keeps it to itself.
type credential struct {
	tls  *TLS
	read func() (*tls.Config, error)
	// rejected is told that the other side, who was dialled, and this one do not get on;
	// refused, why somebody who has dialled is not let in.
	rejected func(address string, err error)
	refused  func(address string, err error)
}

// newCredential returns the credential of a TLS, or what is wrong with that. The files are
// looked at until life ends. A client's certificate need not be one for a server.
func newCredential(life context.Context, c *TLS, client bool, logger *slog.Logger) (*credential, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	out := &credential{tls: c, read: func() (*tls.Config, error) { return c.Config, nil }}
	if c.Config != nil {
		return out, nil
	}
	files := &certificates{files: [3]string{c.CertFile, c.KeyFile, c.CAFile}, client: client, logger: logger}
	if _, err := files.read(); err != nil {
		return nil, err
	}
	// Connections live long. Whether a new certificate is any good is to be known before
	// the next one.
	go func() {
		look := time.NewTicker(10 * time.Second)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				_, _ = files.read()
			case <-life.Done():
				return
			}
		}
	}()
	out.read = func() (*tls.Config, error) {
		config, err := files.read()
		if config != nil {
			err = nil
		}
		return config, err
	}
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
	conn, info, err := credentials.NewTLS(c.tls.dialling(config, name)).ClientHandshake(ctx, address, raw)
	if err != nil {
		c.rejected(address, fmt.Errorf("TLS: %w", err))
		return nil, nil, err
	}
	return &dialled{Conn: conn, c: c, address: address}, info, nil
}

func (c *credential) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	conn, info, err := credentials.NewTLS(c.tls.accepting(config)).ServerHandshake(raw)
	if err != nil {
		if !errors.Is(err, io.EOF) { // who leaves without a word wants to know whether the port is open
			c.refused(raw.RemoteAddr().String(), err)
		}
		return nil, nil, err
	}
	return conn, info, nil
}

func (c *credential) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c *credential) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is asked by nobody: the name is that of the address.
func (c *credential) OverrideServerName(string) error { return errors.ErrUnsupported }

// dialled is a connection to another host. With TLS 1.3 that judges our certificate when
// we have done our part, so what it thinks of it is read later.
type dialled struct {
	net.Conn
	c       *credential
	address string
}

func (d *dialled) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == "remote error" {
		d.c.rejected(d.address, fmt.Errorf("TLS: the other side does not take this certificate: %w", err))
	}
	return n, err
}

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
