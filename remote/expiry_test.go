package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/actors"
)

// ends is a connection in a bubble of fake time: one end is a credential's, the other one
// that of somebody who looks at no certificate twice.
type ends struct {
	t     *testing.T
	other *tls.Conn
	heard chan byte  // here
	here  chan error // how it ends here
	there chan error
	told  chan error // why
}

// connect has a credential dial, or listen.
func connect(t *testing.T, c *credential, dials bool, other *tls.Config) *ends {
	t.Helper()
	e := &ends{t: t, heard: make(chan byte), here: make(chan error, 1), there: make(chan error, 1), told: make(chan error, 10)}
	bad := func(_ string, err error) { t.Errorf("it is refused: %v", err) }
	c.refused, c.rejected = bad, bad
	c.outlived = func(_ string, err error) { e.told <- err }
	other = other.Clone()
	other.ServerName, other.NextProtos = "127.0.0.1", []string{"h2"}
	a, b := net.Pipe()
	shaken := make(chan net.Conn)
	go func() {
		var conn net.Conn
		var err error
		if dials {
			conn, _, err = c.ClientHandshake(context.Background(), "127.0.0.1:1", a)
		} else {
			conn, _, err = c.ServerHandshake(a)
		}
		if err != nil {
			t.Errorf("the handshake: %v", err)
			a.Close()
		}
		shaken <- conn
	}()
	if e.other = tls.Client(b, other); dials {
		e.other = tls.Server(b, other)
	}
	if err := e.other.Handshake(); err != nil {
		t.Errorf("the other's handshake: %v", err)
	}
	go func() { _, err := e.other.Read(make([]byte, 1)); e.there <- err }()
	conn := <-shaken
	if conn == nil {
		t.FailNow()
	}
	go func() {
		for one := make([]byte, 1); ; e.heard <- one[0] {
			if _, err := conn.Read(one); err != nil {
				e.here <- err
				return
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		e.other.Close()
		if c.mu.Lock(); len(c.live) > 0 {
			t.Errorf("%d connections are looked at that have been closed", len(c.live))
		}
		c.mu.Unlock()
	})
	return e
}

// lives demands that the connection is up.
func (e *ends) lives(what string) {
	e.t.Helper()
	if _, err := e.other.Write([]byte("x")); err != nil {
		e.t.Fatalf("%s: it has ended: %v", what, err)
	}
	select {
	case <-e.heard:
	case err := <-e.here:
		e.t.Fatalf("%s: it has ended: %v", what, err)
	}
}

// ended demands that the connection has just been ended, and why.
func (e *ends) ended(what, why string) {
	e.t.Helper()
	synctest.Wait()
	if len(e.told) != 1 || len(e.here) == 0 || len(e.there) == 0 {
		e.t.Fatalf("%s: it is told %d times, and has ended here %v, there %v", what, len(e.told), len(e.here) > 0, len(e.there) > 0)
	}
	told, here := <-e.told, <-e.here
	if !strings.Contains(told.Error(), why) {
		e.t.Errorf("%s: it is ended because %v", what, told)
	}
	var ended *endedError
	if !errors.As(here, &ended) || !errors.Is(here, told) {
		e.t.Errorf("%s: who reads is told %v", what, here)
	}
	if there := <-e.there; there == nil {
		e.t.Errorf("%s: the other side has heard something", what)
	}
}

// until makes what a certificate is of one that lasts so long.
func until(c *x509.Certificate, left time.Duration) *x509.Certificate {
	return with(c, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(left) })
}

// credentialOf returns that of a TLS, until the test ends.
func credentialOf(t *testing.T, c *TLS) *credential {
	t.Helper()
	out, err := newCredential(t.Context(), c, false, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whoever's certificate expires, and whoever has dialled: the connection ends in that second.
func TestAConnectionEndsWhenACertificateExpires(t *testing.T) {
	const left = 1000 * time.Second
	for _, dials := range []bool{true, false} {
		for _, own := range []bool{true, false} { // the files are in a tls.Config
			for what, why := range map[string]string{"the other's": "x509: certificate has expired", "this side's": "this side's certificate has expired", "the CA's": "x509: certificate has expired"} {
				synctest.Test(t, func(t *testing.T) {
					ca := newAuthority(t)
					mine, theirs := host(1), host(2)
					switch what {
					case "the other's":
						until(theirs, left)
					case "this side's":
						until(mine, left)
					case "the CA's":
						ca = newAuthorityUntil(t, left)
					}
					files := ca.issue(mine)
					if own {
						config, err := ownConfig(files)
						if err != nil {
							t.Fatal(err)
						}
						files = &TLS{Config: config}
					}
					e := connect(t, credentialOf(t, files), dials, ca.config(theirs))
					time.Sleep(left) // fake
					e.lives(what)
					time.Sleep(2 * time.Millisecond) // fake
					e.ended(what, why)
				})
			}
		}
	}
}

// A certificate that is no more than replaced ends no connection: the one that was shown is
// good for as long as it says.
func TestAConnectionLivesOnWhenItsCertificateIsReplaced(t *testing.T) {
	for _, dials := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			ca := newAuthority(t)
			files := ca.issue(until(host(1), 1000*time.Second))
			e := connect(t, credentialOf(t, files), dials, ca.config(host(2)))
			time.Sleep(500 * time.Second) // fake
			cert, key := ca.pair(host(1))
			ca.write(files.CertFile, cert)
			ca.write(files.KeyFile, key)
			time.Sleep(500 * time.Second) // fake
			e.lives("with a new one on the disk")
			time.Sleep(2 * time.Millisecond) // fake
			e.ended("when the old one has expired", "this side's certificate has expired")
		})
	}
}

// Soon after a CA is not trusted any more, those have gone whom it has vouched for, and nobody
// else.
func TestAConnectionEndsWhenItsCAIsTrustedNoMore(t *testing.T) {
	for _, dials := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			stays, goes := newAuthority(t), newAuthority(t)
			files := stays.issue(host(1))
			both := func(theirs *authority) *ends {
				c := theirs.config(host(2))
				c.RootCAs, c.ClientCAs = stays.config(host(1)).RootCAs, stays.config(host(1)).ClientCAs
				return connect(t, credentialOf(t, files), dials, c)
			}
			stays.write(files.CAFile, slices.Concat(stays.pem, goes.pem))
			old, other := both(goes), both(stays)
			time.Sleep(time.Minute) // fake
			old.lives("while both are trusted")
			stays.write(files.CAFile, stays.pem[:len(stays.pem)/2])
			time.Sleep(time.Minute) // fake
			old.lives("while the file is half written")
			stays.write(files.CAFile, stays.pem)
			time.Sleep(lookAfter + time.Millisecond) // fake
			old.ended("when the CA has gone", "unknown authority")
			other.lives("of the CA that stays")
		})
	}
}

// What a hook of a tls.Config says no to later, because it is revoked, ends then.
func TestAConnectionEndsWhenAHookSaysNo(t *testing.T) {
	for name, hook := range map[string]func(*tls.Config, func() error){
		"VerifyConnection": func(c *tls.Config, say func() error) {
			c.VerifyConnection = func(s tls.ConnectionState) error {
				if len(s.VerifiedChains) == 0 {
					return errors.New("it is not told of whom")
				}
				return say()
			}
		},
		"VerifyPeerCertificate": func(c *tls.Config, say func() error) {
			c.VerifyPeerCertificate = func(raw [][]byte, ways [][]*x509.Certificate) error {
				if len(raw) != 1 || len(ways) != 1 {
					return errors.New("it is not told of whom")
				}
				return say()
			}
		},
	} {
		for _, dials := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				ca := newAuthority(t)
				config := ca.config(host(1))
				var mu sync.Mutex
				var revoked error
				hook(config, func() error {
					mu.Lock()
					defer mu.Unlock()
					return revoked
				})
				e := connect(t, credentialOf(t, &TLS{Config: config}), dials, ca.config(host(2)))
				time.Sleep(time.Minute) // fake
				e.lives(name)
				mu.Lock()
				revoked = errors.New("it is on the list")
				mu.Unlock()
				time.Sleep(lookAfter + time.Millisecond) // fake
				e.ended(name, "it is on the list")
			})
		}
	}
}

// Of several certificates, and of hooks that choose one, that is shown which crypto/tls would
// show.
func TestTheCertificateIsShownThatCryptoTLSWouldShow(t *testing.T) {
	ca := newAuthority(t)
	pair := func(id int) tls.Certificate { return ca.config(host(id)).Certificates[0] }
	named := func(id int, name string) tls.Certificate {
		return ca.config(with(host(id), func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{name} })).Certificates[0]
	}
	bare := named(7, "seven.test")
	bare.Leaf = nil
	hooked := pair(9)
	for what, change := range map[string]func(*tls.Config){
		"one":     func(c *tls.Config) { c.Certificates = []tls.Certificate{pair(3)} },
		"two":     func(c *tls.Config) { c.Certificates = []tls.Certificate{named(4, "four.test"), named(5, "asked.test")} },
		"no leaf": func(c *tls.Config) { c.Certificates = []tls.Certificate{bare} },
		"hooks": func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &hooked, nil }
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &hooked, nil }
		},
		"hooks that leave it": func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		},
	} {
		for _, name := range []string{"", "asked.test"} {
			for _, dials := range []bool{true, false} {
				show := func(noting *shown) *x509.Certificate {
					config := ca.config(host(1))
					change(config)
					config.InsecureSkipVerify = true
					if noting != nil && dials {
						config = noting.dialling(config)
					} else if noting != nil {
						config = noting.accepting(config)
					}
					other := ca.config(host(2))
					other.InsecureSkipVerify, other.ServerName = true, name
					a, b := sockets(t)
					defer a.Close()
					defer b.Close()
					here, there := tls.Server(a, config), tls.Client(b, other)
					if dials {
						here, there = tls.Client(a, config), tls.Server(b, other)
					}
					done := make(chan error, 1)
					go func() { done <- here.Handshake() }()
					if err := errors.Join(there.Handshake(), <-done); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					return there.ConnectionState().PeerCertificates[0]
				}
				var noted shown
				want, got := show(nil), show(&noted)
				if got.URIs[0].String() != want.URIs[0].String() || noted.leaf == nil || !noted.leaf.Equal(got) {
					t.Errorf("%s, asked for %q, dials %v: it shows %v, not %v, and notes %v", what, name, dials, got.URIs, want.URIs, noted.leaf)
				}
			}
		}
	}
}

// Streams end with their connections, of either direction; that is counted and logged, and
// who would be let in by now comes back.
func TestStreamsEndWithTheCA(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	files := before.issue(host(1))
	w := startWire(t, wireConfig{TLS: files})
	config := func(a *authority) *tls.Config {
		c := a.config(host(2))
		c.RootCAs, c.ClientCAs = x509.NewCertPool(), x509.NewCertPool()
		for _, pool := range []*x509.CertPool{c.RootCAs, c.ClientCAs} {
			pool.AddCert(before.cert)
			pool.AddCert(after.cert)
		}
		return c
	}
	stream := newStranger(t, w, secured(config(before))).stream()
	o := listenAs(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(config(before))))
	w.tell("link %s", o.address)
	w.await("link to " + o.address + ": 1")
	cert, key := after.pair(host(1))
	before.write(files.CertFile, cert)
	before.write(files.KeyFile, key)
	before.write(files.CAFile, after.pem)
	if err := newStranger(t, w, secured(config(after))).stream().Send(batch(newStranger(t, w).clean())); err != nil { // it reads the files
		t.Fatal(err)
	}
	w.await("a connection that was up has been ended", "unknown authority")
	w.await("link to " + o.address + ": 2")
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream of who is not known any more ends with %v", err)
	}
	if r, _ := w.refused(); r.Certificates < 2 || r.Messages != 0 {
		t.Errorf("refused %+v", r)
	}
	o.server.Stop()
	o = listenAs(t, o.address, grpc.Creds(credentials.NewTLS(config(after))))
	w.await("link to " + o.address + ": 1")
}

// A client lets go of a host, too, that it would not ask any more.
func TestAClientElsewhereLetsGoOfAHostItTrustsNoMore(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	h := &process{t: t, spec: "1," + freeAddresses(t, 1)[0], env: []string{tlsEnv + "=" + filepath.Dir(ours.issue(host(1)).CertFile)}}
	h.start()
	defer h.kill()
	files := ours.issue(with(host(8), func(c *x509.Certificate) { c.URIs[0].Path = "/client/8" }))
	logged := make(chan string, 100)
	logger := slog.New(slog.NewTextHandler(writer(func(b []byte) { logged <- string(b) }), nil))
	far, err := Dial(ClientConfig{Seeds: []string{h.address()}, TLS: files, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := far.Group("sum").Propose(t.Context(), []byte("1")); err != nil {
		t.Fatal(err)
	}
	far.mu.Lock()
	conn := far.conns[h.address()]
	far.mu.Unlock()
	if err := os.WriteFile(files.CAFile, others.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	signal(far.creds.(*credential).wake) // it is time to look
	<-conn.ended
	if line := <-logged; !strings.Contains(line, "the new certificates") {
		t.Errorf("it is logged that %s", line)
	}
	if line := <-logged; !strings.Contains(line, "a connection to a host has been ended") || !strings.Contains(line, "unknown authority") {
		t.Errorf("it is logged that %s", line)
	}
	if _, err := far.Ask(t.Context(), &actors.ClientRequest{Group: "sum", Request: actors.Request{Operation: actors.GetStatus}}); !errors.Is(err, actors.ErrUnreachable) {
		t.Errorf("asked once more it ends with %v", err)
	}
}
