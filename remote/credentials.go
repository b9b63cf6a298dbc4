package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// credential is what gRPC asks at each connection. It takes the certificates of that
// moment, and tells the operator what came of it: gRPC itself keeps it to itself.
type credential struct {
	t    *Transport
	read func() (*tls.Config, error)
}

// newCredential returns the credential of the Transport's TLS, or what is wrong with that.
func (t *Transport) newCredential() (*credential, error) {
	c := t.cfg.TLS
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Config != nil {
		return &credential{t, func() (*tls.Config, error) { return c.Config, nil }}, nil
	}
	files := &certificates{files: [3]string{c.CertFile, c.KeyFile, c.CAFile}, logger: t.cfg.Logger}
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
			case <-t.life.Done():
				return
			}
		}
	}()
	return &credential{t, func() (*tls.Config, error) {
		config, err := files.read()
		if config != nil {
			err = nil
		}
		return config, err
	}}, nil
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
	conn, info, err := credentials.NewTLS(c.t.cfg.TLS.dialling(config, name)).ClientHandshake(ctx, address, raw)
	if err != nil {
		c.t.rejected(address, fmt.Errorf("TLS: %w", err))
		return nil, nil, err
	}
	return &dialled{Conn: conn, t: c.t, address: address}, info, nil
}

func (c *credential) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	conn, info, err := credentials.NewTLS(c.t.cfg.TLS.accepting(config)).ServerHandshake(raw)
	if err != nil {
		if !errors.Is(err, io.EOF) { // who leaves without a word wants to know whether the port is open
			c.t.refuse(badHandshake, err.Error(), "address", raw.RemoteAddr().String())
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
	t       *Transport
	address string
}

func (d *dialled) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == "remote error" {
		d.t.rejected(d.address, fmt.Errorf("TLS: the other side does not take this host's certificate: %w", err))
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
