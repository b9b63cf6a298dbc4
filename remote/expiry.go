package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// A connection may live for years, and a certificate is looked at when it begins. So each is
// looked at again: when the first of its certificates expires, and soon after the files have
// changed. Who would not be let in any more has to go.

// lookAfter is how often the files are read, and the hooks of a tls.Config asked. It is how
// long a connection may live on that would not be made any more.
const lookAfter = 10 * time.Second

// proven is a connection that is up, whose other side has proved who it is.
type proven struct {
	net.Conn
	raw     net.Conn // that it is on
	c       *credential
	address string
	dialled bool // by this side
	ended   atomic.Pointer[endedError]

	// verify does again what was done when the connection was made, and returns the ways to
	// the CA. It, and what follows, is for watch alone.
	verify func(*tls.Config) ([][]*x509.Certificate, error)
	config *tls.Config       // that it was verified with last
	own    *x509.Certificate // that this side has shown
	until  time.Time         // then something has expired
}

// endedError is why this side has ended a connection that it had let in.
type endedError struct{ why error }

func (e *endedError) Error() string {
	return "castaway: the connection has been ended: " + e.why.Error()
}

func (e *endedError) Unwrap() error { return e.why }

// keep has a connection looked at for as long as it is up.
func (c *credential) keep(s *proven) *proven {
	c.mu.Lock()
	c.live[s] = true
	c.mu.Unlock()
	signal(c.wake)
	return s
}

// watch looks at the connections, and the files, until life ends.
func (c *credential) watch(life context.Context) {
	again := time.NewTimer(lookAfter)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-c.wake:
		case <-life.Done():
			return
		}
		again.Reset(c.look())
	}
}

// look ends the connections that would not be made any more, and returns when to look again.
func (c *credential) look() time.Duration {
	config, err := c.read()
	if err != nil {
		return lookAfter
	}
	c.mu.Lock()
	all := slices.Collect(maps.Keys(c.live))
	c.mu.Unlock()
	next := lookAfter
	for _, s := range all {
		left, err := s.check(config)
		if err != nil {
			s.end(err)
			continue
		}
		next = min(next, max(left, 0)+time.Millisecond)
	}
	return next
}

// check returns why the connection has to go, or how long it may stay for sure.
func (s *proven) check(config *tls.Config) (left time.Duration, err error) {
	now := time.Now()
	if config.Time != nil {
		now = config.Time()
	}
	hooked := config.VerifyConnection != nil || config.VerifyPeerCertificate != nil
	if config == s.config && !hooked && !now.After(s.until) {
		return s.until.Sub(now), nil
	}
	if s.own != nil && now.After(s.own.NotAfter) {
		return 0, fmt.Errorf("this side's certificate has expired, at %v", s.own.NotAfter)
	}
	ways, err := s.verify(config)
	if err != nil {
		return 0, err
	}
	s.config, s.until = config, expiry(ways)
	if s.own != nil && s.own.NotAfter.Before(s.until) {
		s.until = s.own.NotAfter
	}
	return s.until.Sub(now), nil
}

// expiry returns when the last of some ways to a CA is none any more.
func expiry(ways [][]*x509.Certificate) (last time.Time) {
	for _, way := range ways {
		first := slices.MinFunc(way, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(last) {
			last = first.NotAfter
		}
	}
	return last
}

// end closes the connection at once. Who is at the other side is told why when he comes again.
func (s *proven) end(why error) {
	s.ended.Store(&endedError{why})
	s.c.forget(s)
	s.c.outlived(s.address, why)
	s.raw.Close()
}

func (c *credential) forget(s *proven) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, s)
}

func (s *proven) Close() error {
	s.c.forget(s)
	return s.Conn.Close()
}

// Read says why there is nothing more. And with TLS 1.3 the other side judges the certificate
// of who has dialled when he has done his part: what it thinks of it is read here.
func (s *proven) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err == nil {
		return n, nil
	}
	if ended := s.ended.Load(); ended != nil {
		return n, ended
	}
	var alert *net.OpError
	if s.dialled && errors.As(err, &alert) && alert.Op == "remote error" {
		s.c.rejected(s.address, fmt.Errorf("TLS: the other side does not take this certificate: %w", err))
	}
	return n, err
}

// shown notes which certificate this side shows at a handshake: nothing else tells. It chooses
// as crypto/tls does.
type shown struct{ leaf *x509.Certificate }

func (s *shown) show(c *tls.Certificate) *tls.Certificate {
	if s.leaf = c.Leaf; s.leaf == nil && len(c.Certificate) > 0 {
		s.leaf, _ = x509.ParseCertificate(c.Certificate[0]) // if it is none the other side refuses it
	}
	return c
}

// accepting has a configuration note what is shown to who connects.
func (s *shown) accepting(c *tls.Config) *tls.Config {
	certs, get := c.Certificates, c.GetCertificate
	c.Certificates = nil
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if get != nil && (len(certs) == 0 || hello.ServerName != "") {
			if cert, err := get(hello); err != nil {
				return nil, err
			} else if cert != nil {
				return s.show(cert), nil
			}
		}
		for i := range certs {
			if hello.SupportsCertificate(&certs[i]) == nil {
				return s.show(&certs[i]), nil
			}
		}
		if len(certs) == 0 {
			return nil, errors.New("there is no certificate to show")
		}
		return s.show(&certs[0]), nil
	}
	return c
}

// dialling has a configuration note what is shown to who is dialled.
func (s *shown) dialling(c *tls.Config) *tls.Config {
	certs, get := c.Certificates, c.GetClientCertificate
	c.GetClientCertificate = func(asks *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if get != nil {
			cert, err := get(asks)
			if err == nil && cert != nil {
				s.show(cert)
			}
			return cert, err
		}
		for i := range certs {
			if asks.SupportsCertificate(&certs[i]) == nil {
				return s.show(&certs[i]), nil
			}
		}
		return new(tls.Certificate), nil // there is none that would do
	}
	return c
}
