package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// authority is a CA of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	return newAuthorityUntil(t, time.Hour)
}

func newAuthorityUntil(t *testing.T, left time.Duration) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, a.cert, a.pem = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "a CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotAfter: time.Now().Add(left),
	})
	return a
}

// sign makes a certificate, and the key for it.
func (a *authority) sign(c *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate, []byte) {
	a.t.Helper()
	fine := func(err error) {
		if err != nil {
			a.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fine(err)
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	fine(err)
	c.NotBefore = time.Now().Add(-2 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	fine(err)
	out, err := x509.ParseCertificate(der)
	fine(err)
	return key, out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// host is what the certificate of a host has by default: it is at 127.0.0.1, and has an ID.
func host(id int) *x509.Certificate {
	uri, err := url.Parse("spiffe://test/host/" + strconv.Itoa(id))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, URIs: []*url.URL{uri}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func with(c *x509.Certificate, change func(*x509.Certificate)) *x509.Certificate {
	change(c)
	return c
}

// issue writes the files of a host, and returns them.
func (a *authority) issue(c *x509.Certificate) *TLS {
	a.t.Helper()
	files := filesIn(a.t.TempDir())
	cert, key := a.pair(c)
	a.write(files.CertFile, cert)
	a.write(files.KeyFile, key)
	a.write(files.CAFile, a.pem)
	return files
}

func filesIn(dir string) *TLS {
	return &TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "ca.pem")}
}

func (a *authority) write(file string, b []byte) {
	a.t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// pair returns a certificate and its key in PEM.
func (a *authority) pair(c *x509.Certificate) (cert, key []byte) {
	a.t.Helper()
	k, _, cert := a.sign(c)
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// config returns the bare configuration of whoever has a certificate of this CA.
func (a *authority) config(c *x509.Certificate) *tls.Config {
	a.t.Helper()
	cert, key := a.pair(c)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

func secured(c *tls.Config) grpc.DialOption {
	return grpc.WithTransportCredentials(credentials.NewTLS(c))
}

// attempt opens a stream, as soon as the connection is there or has failed.
func (s *stranger) attempt() (protoremote.Remoting_ReceiveClient, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.t.Cleanup(cancel)
	return s.try(ctx)
}

var threeNames = map[raftcore.NodeID]string{1: "spiffe://test/host/1", 2: "spiffe://test/host/2", 3: "spiffe://test/host/3"}

func TestWhoHasNoGoodCertificateIsRefused(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	files := ours.issue(host(1))
	files.Names = []string{"spiffe://test/host/*", "Two.Test"}
	good := ours.config(host(2))
	for _, own := range []bool{false, true} {
		w := startWire(t, wireConfig{TLS: files, Own: own})
		for name, option := range map[string]grpc.DialOption{
			"plain text":         grpc.WithTransportCredentials(insecure.NewCredentials()),
			"no certificate":     secured(&tls.Config{RootCAs: good.RootCAs}),
			"another CA":         secured(&tls.Config{RootCAs: good.RootCAs, Certificates: others.config(host(2)).Certificates}),
			"expired":            secured(ours.config(with(host(2), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }))),
			"not on the list":    secured(ours.config(with(host(2), func(c *x509.Certificate) { c.URIs[0].Path = "/client/2" }))),
			"a longer path":      secured(ours.config(with(host(2), func(c *x509.Certificate) { c.URIs[0].Path = "/host/2/3" }))),
			"no name":            secured(ours.config(with(host(2), func(c *x509.Certificate) { c.URIs = nil; c.Subject.CommonName = "two.test" }))),
			"not for a client":   secured(ours.config(with(host(2), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }))),
			"an earlier version": secured(with12(ours.config(host(2)))),
		} {
			before, _ := w.refused()
			if _, err := newStranger(t, w, option).attempt(); status.Code(err) != codes.Unavailable {
				t.Errorf("%s: it ends with %v", name, err)
			}
			after, lines := w.more(before)
			if after.Handshakes == before.Handshakes {
				t.Errorf("%s: refused %+v, then %+v", name, before, after)
			}
			if took(lines) {
				t.Errorf("%s: it was let in", name)
			}
		}
		// Whoever wants to know whether the port is open is nobody who was refused.
		before, _ := w.refused()
		for range 3 {
			conn, err := net.Dial("tcp", w.address)
			if err != nil {
				t.Fatal(err)
			}
			conn.(*net.TCPConn).CloseWrite()
			_, _ = conn.Read(make([]byte, 1)) // it has noticed
			conn.Close()
		}
		if after, _ := w.refused(); after != before {
			t.Errorf("connections without a word are counted: %+v, then %+v", before, after)
		}
		for _, c := range []*tls.Config{good, ours.config(with(host(2), func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"two.test"} }))} {
			s := newStranger(t, w, secured(c))
			if err := s.stream().Send(batch(s.clean())); err != nil {
				t.Fatal(err)
			}
			w.await("packet from 1")
		}
	}
}

func with12(c *tls.Config) *tls.Config {
	c.MaxVersion = tls.VersionTLS12
	return c
}

func TestAFloodOfRefusalsIsNotAFloodOfLogLines(t *testing.T) {
	ours := newAuthority(t)
	w := startWire(t, wireConfig{TLS: ours.issue(host(1))})
	for range 100 {
		conn, err := tls.Dial("tcp", w.address, &tls.Config{RootCAs: ours.config(host(2)).RootCAs, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Fatal("it is let in")
		}
		conn.Close()
	}
	r, lines := w.refused()
	if r.Handshakes != 100 || len(lines) != 7 { // 1, 2, 4 … 64
		t.Errorf("%d were refused, with %d lines", r.Handshakes, len(lines))
	}
}

// A host has a certificate, and with it the voice of no other.
func TestNobodySpeaksAsAnotherHost(t *testing.T) {
	ours := newAuthority(t)
	w := startWire(t, wireConfig{TLS: ours.issue(host(1)), Hosts: threeNames})
	two := newStranger(t, w, secured(ours.config(with(host(2), func(c *x509.Certificate) { c.DNSNames = []string{""} }))))
	from := func(id uint64) *protoremote.MessageBatch {
		p := encoded(&actors.Packet{From: raftcore.NodeID(id), Requests: everything().Requests})
		p.Sequence = 1
		return two.of(p)
	}
	for _, id := range []uint64{1, 3, 4} { // itself, another, and one that has no name
		before, _ := w.refused()
		stream := two.stream()
		if err := stream.Send(batch(from(id))); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "spiffe://test/host/2") {
			t.Errorf("as host %d: the stream ends with %v", id, err)
		}
		after, lines := w.more(before)
		if id == 1 && !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "refused=1 address=127.0.0.1:") }) {
			t.Errorf("the log does not say from where: %q", lines)
		}
		if after.Identities != before.Identities+1 {
			t.Errorf("as host %d: refused %+v, then %+v", id, before, after)
		}
		if took(lines) {
			t.Errorf("as host %d: it was heard", id)
		}
	}
	// What comes together with that is not heard either.
	both := from(3)
	both.Envelopes = append(both.Envelopes, from(2).Envelopes...)
	stream := two.stream()
	if err := stream.Send(batch(both)); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the stream ends with %v", err)
	}
	if _, lines := w.refused(); took(lines) {
		t.Error("what came together with a forged packet was heard")
	}
	if err := two.stream().Send(batch(from(2))); err != nil {
		t.Fatal(err)
	}
	w.await("packet from 2", "spiffe://test/host/2")
}

// Nor does it give credit, or start a session, in the place of another: by its address.
func TestNobodySpeaksOfAnotherHostsLink(t *testing.T) {
	ours := newAuthority(t)
	files := ours.issue(host(1))
	w := startWire(t, wireConfig{TLS: files, Hosts: threeNames})
	three := listenAs(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(ours.config(host(3)))))
	w.tell("link %s", three.address)
	w.await("link to " + three.address + ": 1")
	say := func(id int) {
		s := newStranger(t, w, secured(ours.config(host(id))))
		p := encoded(&actors.Packet{From: raftcore.NodeID(id), Requests: everything().Requests})
		p.Sequence, p.Session, p.Address = 1, 70+uint64(id), three.address
		b := s.of(p)
		b.Envelopes = append(b.Envelopes, b.Envelopes...)
		if err := s.stream().Send(batch(b)); err != nil {
			t.Fatal(err)
		}
		w.await("packet from " + strconv.Itoa(id))
		w.await("packet from " + strconv.Itoa(id)) // so what the first says has been noted
	}
	say(3)
	w.tell("theirs %s", three.address)
	w.await("theirs 73")
	say(2)
	w.tell("theirs %s", three.address)
	w.await("theirs 73")
}

func TestWhoIsDialledMustBeWhoWasMeant(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	elsewhere := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 9)} }
	for name, test := range map[string]struct {
		server *tls.Config
		names  []string
		want   string // what is said; "": it is connected
		own    bool   // the files are in a tls.Config
	}{
		"for the address":               {ours.config(host(2)), nil, "", false},
		"by a tls.Config":               {ours.config(host(2)), nil, "", true},
		"of another CA than Config has": {others.config(host(2)), nil, "unknown authority", true},
		"for the address, not on list":  {ours.config(host(2)), []string{"x.test"}, "", false},
		"on the list":                   {ours.config(with(host(2), elsewhere)), []string{"spiffe://test/host/*"}, "", false},
		"for another address":           {ours.config(with(host(2), elsewhere)), nil, "127.0.0.9", false},
		"for another, not on the list":  {ours.config(with(host(2), elsewhere)), []string{"x.test"}, "127.0.0.9", false},
		"of another CA":                 {others.config(host(2)), []string{"spiffe://test/host/*"}, "unknown authority", false},
		"expired":                       {ours.config(with(host(2), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })), nil, "expired", false},
		"not for a server":              {ours.config(with(host(2), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] })), nil, "usage", false},
		"an earlier version":            {with12(ours.config(host(2))), nil, "version", false},
		"it does not trust this host": {func() *tls.Config {
			c := ours.config(host(2))
			c.ClientCAs = others.config(host(2)).ClientCAs
			return c
		}(), nil, "does not take this certificate", false},
	} {
		files := ours.issue(host(1))
		files.Names = test.names
		w := startWire(t, wireConfig{TLS: files, Own: test.own})
		o := listenAs(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(test.server)))
		w.tell("link %s", o.address)
		if test.want == "" {
			w.await("link to " + o.address + ": 1")
			if got := <-o.peers; len(got) != 1 || got[0] != "spiffe://test/host/1" {
				t.Errorf("%s: it is %q who connects", name, got)
			}
			continue
		}
		line := w.await("cannot speak to another host", o.address)
		if !strings.Contains(line, test.want) {
			t.Errorf("%s: it says %s", name, line)
		}
		if len(o.peers) > 0 {
			t.Errorf("%s: there is a stream", name)
		}
	}
}

// Who resumes a session shows no certificate: it may have expired, and its CA be gone. So
// nobody does, whatever a Config asks for.
func TestSessionsAreNotResumed(t *testing.T) {
	ours := newAuthority(t)
	willing := func(id int) *tls.Config {
		c := ours.config(host(id))
		c.ServerName, c.ClientSessionCache, c.NextProtos = "127.0.0.1", tls.NewLRUClientSessionCache(10), []string{"h2"}
		c.SetSessionTicketKeys([][32]byte{{byte(id)}})
		return c
	}
	one, two := willing(1), willing(2)
	own := &TLS{Config: one}
	for what, ends := range map[string]struct {
		dials, listens func() *tls.Config
		resumes        bool
	}{
		"two others":  {func() *tls.Config { return two }, func() *tls.Config { return two }, true},
		"who dials":   {func() *tls.Config { c := own.dialling(one, "127.0.0.1"); c.ServerName = one.ServerName; return c }, func() *tls.Config { return two }, false},
		"who listens": {func() *tls.Config { return willing(2) }, func() *tls.Config { return own.accepting(one) }, false},
	} {
		dials := ends.dials()
		for i := range 2 {
			here, there := sockets(t)
			wrote := make(chan error, 1)
			go func() {
				_, err := tls.Server(there, ends.listens()).Write([]byte("x"))
				wrote <- err
			}()
			conn := tls.Client(here, dials)
			if _, err := conn.Read(make([]byte, 1)); err != nil { // and the ticket before it
				t.Fatalf("%s: %v", what, err)
			}
			if err := <-wrote; err != nil || i > 0 && conn.ConnectionState().DidResume != ends.resumes {
				t.Errorf("%s: resumed is %v, %v", what, !ends.resumes, err)
			}
			here.Close()
			there.Close()
		}
	}
}

// Certificates are replaced while connections come and go, also the CA; and not by what is
// only half there.
func TestCertificatesAreReplacedWithoutARestart(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	files := before.issue(host(1))
	w := startWire(t, wireConfig{TLS: files})
	// shown returns who the wire says it is, to one who may connect.
	shown := func(a *authority, trusts *authority) error {
		t.Helper()
		c := a.config(host(2))
		c.RootCAs = trusts.config(host(2)).RootCAs
		s := newStranger(t, w, secured(c))
		stream, err := s.attempt()
		if err != nil {
			s.conn.Close()
			return err
		}
		return stream.Send(batch(s.clean()))
	}
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error) {
		t.Helper()
		if status.Code(err) != codes.Unavailable {
			t.Fatalf("it ends with %v", err)
		}
	}
	fine(shown(before, before))
	w.await("packet from")
	cert, key := after.pair(host(1))
	// One file after the other, and each in two halves: the old ones stay in force.
	for _, change := range []func(){
		func() { before.write(files.CertFile, cert[:len(cert)/2]) },
		func() { before.write(files.CertFile, nil) },
		func() { before.write(files.CertFile, cert) }, // and the key is the old one
		func() { before.write(files.KeyFile, key[:len(key)/2]) },
		func() { fine(os.Remove(files.KeyFile)) },
		func() {
			before.write(files.CAFile, []byte("-----BEGIN CERTIFICATE-----\nabc"))
			before.write(files.KeyFile, key)
		},
		func() { before.write(files.CAFile, nil) },
		// The second of two CAs is cut off.
		func() {
			before.write(files.CAFile, append(before.pem[:len(before.pem):len(before.pem)], after.pem[:len(after.pem)/2]...))
		},
	} {
		change()
		fine(shown(before, before))
		fine(shown(before, before))
		told := 0
		_, lines := w.refused()
		for _, line := range lines {
			if strings.Contains(line, "ERROR") && strings.Contains(line, "those from before stay in force") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("it is told %d times that the files are no good: %q", told, lines)
		}
		refused(shown(after, before))
	}
	before.write(files.CAFile, after.pem)
	fine(shown(after, after))
	w.await("new connections use the new certificates")
	w.await("packet from")
	refused(shown(before, after)) // whom it does not let in any more
	refused(shown(after, before)) // to whom it does not show the old one any more
	// Whom it dials is shown the new one, too.
	o := listenAs(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(after.config(host(2)))))
	w.tell("link %s", o.address)
	w.await("link to " + o.address + ": 1")
	// And once more, with connections there: the next ones are of the third.
	third := newAuthority(t)
	cert, key = third.pair(host(1))
	third.write(files.CertFile, cert)
	third.write(files.KeyFile, key)
	third.write(files.CAFile, third.pem)
	w.tell("send %s", o.address)
	w.await("sent true")
	o.server.Stop()
	w.await("link to " + o.address + ": 2")
	o = listenAs(t, o.address, grpc.Creds(credentials.NewTLS(third.config(host(2)))))
	w.await("link to " + o.address + ": 1")
}

// There is no way to get TLS that is less than it is said to be.
func TestTLSIsAllThatItIsSaidToBe(t *testing.T) {
	ours := newAuthority(t)
	files := func(change func(*TLS)) *TLS {
		c := ours.issue(host(1))
		change(c)
		return c
	}
	own := func(change func(*tls.Config)) *TLS {
		c := ours.config(host(1))
		change(c)
		return &TLS{Config: c}
	}
	for name, test := range map[string]struct {
		tls  *TLS
		want string
	}{
		"nothing":           {&TLS{}, "are needed"},
		"no CA":             {files(func(c *TLS) { c.CAFile = "" }), "are needed"},
		"files and Config":  {files(func(c *TLS) { c.Config = ours.config(host(1)) }), "there are files, and a Config"},
		"no file":           {files(func(c *TLS) { c.KeyFile += "x" }), "no such file"},
		"another's key":     {files(func(c *TLS) { c.KeyFile = ours.issue(host(2)).KeyFile }), "private key does not match"},
		"a key for a CA":    {files(func(c *TLS) { c.CAFile = c.KeyFile }), "the CA"},
		"an empty CA":       {files(func(c *TLS) { ours.write(c.CAFile, nil) }), "has no certificate"},
		"none for a client": {ours.issue(with(host(1), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] })), "none for a client"},
		"none for a server": {ours.issue(with(host(1), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] })), "none for a server"},
		"a bad pattern":     {files(func(c *TLS) { c.Names = []string{"[x"} }), "no name"},
		"an empty name":     {files(func(c *TLS) { c.Names = []string{""} }), "no name"},
		"no certificate":    {own(func(c *tls.Config) { c.Certificates = nil }), "no certificate"},
		"none to connect with": {own(func(c *tls.Config) {
			c.Certificates = nil
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		}), "to connect with"},
		"none to show": {own(func(c *tls.Config) {
			c.Certificates = nil
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil }
		}), "for who connects"},
		"whom the system trusts": {own(func(c *tls.Config) { c.RootCAs, c.ClientCAs = nil, nil }), "neither RootCAs nor ClientCAs"},
		"no verification":        {own(func(c *tls.Config) { c.InsecureSkipVerify = true }), "InsecureSkipVerify"},
		"optional":               {own(func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven }), "always need"},
		"another for some": {own(func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}), "GetConfigForClient"},
		"an earlier version": {own(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "TLS 1.3"},
	} {
		err := New(Config{Listen: "127.0.0.1:0", TLS: test.tls}).Start(quietSystem(), 1, func(*actors.Packet) {})
		if !errors.Is(err, ErrBadConfig) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := New(Config{Listen: "127.0.0.1:0", TLS: ours.issue(host(1)), Insecure: true}).Start(quietSystem(), 1, func(*actors.Packet) {})
	if !errors.Is(err, ErrBadConfig) {
		t.Errorf("TLS and Insecure: %v", err)
	}
}

// sockets returns both ends of a connection.
func sockets(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial("tcp", l.Addr().String()); err == nil {
		there, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return here, there
}

// Of a user's own tls.Config the hooks are asked, on both sides.
func TestHooksOfATLSConfigAreAsked(t *testing.T) {
	ours := newAuthority(t)
	no := errors.New("the hook says no")
	for name, hook := range map[string]func(c *tls.Config){
		"VerifyConnection": func(c *tls.Config) { c.VerifyConnection = func(tls.ConnectionState) error { return no } },
		"VerifyPeerCertificate": func(c *tls.Config) {
			c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
				if len(raw) != 1 || len(chains) != 1 || len(chains[0]) != 2 {
					return errors.New("the hook is not told of whom")
				}
				return no
			}
		},
	} {
		own := ours.config(host(1))
		hook(own)
		hooked := &TLS{Config: own}
		for _, listens := range []bool{true, false} {
			here, there := sockets(t)
			ends := make(chan error, 1)
			other := ours.config(host(2))
			other.ServerName, other.MinVersion = "127.0.0.1", tls.VersionTLS13
			var conn *tls.Conn
			if listens {
				conn = tls.Server(here, hooked.accepting(own))
				go func() { ends <- tls.Client(there, other).Handshake(); there.Close() }()
			} else {
				conn = tls.Client(here, hooked.dialling(own, "127.0.0.1"))
				go func() { ends <- tls.Server(there, other).Handshake(); there.Close() }()
			}
			if err := conn.Handshake(); !errors.Is(err, no) {
				t.Errorf("%s, listens %v: %v", name, listens, err)
			}
			here.Close()
			<-ends
		}
	}
}

// The three processes of a group, each with a certificate of its own; one is restarted.
func TestHostsWithCertificatesServe(t *testing.T) {
	ours := newAuthority(t)
	hosts := threeHosts(t)
	for i, h := range hosts {
		h.env = append(h.env, tlsEnv+"="+filepath.Dir(ours.issue(host(i+1)).CertFile), diskEnv+"="+t.TempDir())
		h.start()
		defer func() { h.kill() }()
	}
	for i, h := range hosts {
		if got := h.ask("add 1"); got != strconv.Itoa(i+1)+" <nil>" {
			t.Fatalf("adding ends with %q", got)
		}
	}
	hosts[2].kill()
	hosts[2].start()
	if got := hosts[2].ask("read"); got != "3 <nil>" {
		t.Errorf("after a restart it reads %q", got)
	}
}

// A client in another process has a certificate, too: without one, or with one of another
// CA or another name, it reaches nobody; and what it may is said by its name.
func TestAClientProvesWhoItIs(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	hosts := threeHosts(t)
	var seeds []string
	for i, h := range hosts {
		h.env = append(h.env, tlsEnv+"="+filepath.Dir(ours.issue(host(i+1)).CertFile), denyEnv+"=spiffe://test/client/reader")
		h.start()
		defer h.kill()
		seeds = append(seeds, h.address())
	}
	client := func(name string) *x509.Certificate {
		uri, err := url.Parse("spiffe://test/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return &x509.Certificate{URIs: []*url.URL{uri}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	writer, reader := ours.issue(client("client/writer")), ours.issue(client("client/reader"))
	ask := func(by *TLS, patience time.Duration) (added, read error) {
		far, err := Dial(ClientConfig{Seeds: seeds, TLS: by})
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, added = far.Group("sum").Propose(ctx, []byte("1"))
		_, read = far.Group("sum").Read(ctx, nil)
		return added, read
	}
	if added, read := ask(writer, time.Minute); added != nil || read != nil {
		t.Errorf("who may do everything is told %v, %v", added, read)
	}
	if added, read := ask(reader, time.Minute); !errors.Is(added, actors.ErrNotAllowed) || !errors.Is(added, actors.ErrRejected) || read != nil {
		t.Errorf("who may only read is told %v, %v", added, read)
	}
	for name, by := range map[string]*TLS{
		"nobody": nil, "one of another CA": others.issue(client("client/writer")), "one with another name": ours.issue(client("stranger")),
	} {
		if added, read := ask(by, time.Second); !errors.Is(added, actors.ErrRejected) || read == nil {
			t.Errorf("%s is told %v, %v", name, added, read)
		}
	}
	if _, err := Dial(ClientConfig{Seeds: seeds, TLS: &TLS{}}); !errors.Is(err, ErrBadConfig) {
		t.Errorf("a TLS without certificates: %v", err)
	}
	refused := New(Config{Listen: "127.0.0.1:0", MaxClients: 1, TLS: ours.issue(host(1))})
	if err := refused.Start(quietSystem(), 1, nil); !errors.Is(err, ErrBadConfig) {
		t.Errorf("clients, and nothing tells them from hosts: %v", err)
	}
}

// Who may do what can be said by the names in certificates.
func TestWhoMayProposeIsSaidByName(t *testing.T) {
	ours := newAuthority(t)
	hosts := threeHosts(t)
	for i, h := range hosts {
		h.env = append(h.env, tlsEnv+"="+filepath.Dir(ours.issue(host(i+1)).CertFile), denyEnv+"=spiffe://test/host/2")
		h.start()
		defer h.kill()
	}
	for hosts[0].ask("leader") != "1 <nil>" {
		hosts[0].ask("transfer 1") // it may lead already, or nobody yet
	}
	if got := hosts[2].ask("add 1"); got != "1 <nil>" {
		t.Errorf("who may adds to %q", got)
	}
	if got, want := hosts[1].ask("add 1"), "rejected: not allowed: spiffe://test/host/2 proposes nothing in sum"; !strings.HasSuffix(got, want) {
		t.Errorf("who may not is told %q", got)
	}
	if got := hosts[1].ask("read"); got != "1 <nil>" {
		t.Errorf("it reads %q", got)
	}
}

// TestADNSNameIsNoURI: who signs both may look at the one and not at the other.
func TestADNSNameIsNoURI(t *testing.T) {
	uri, err := url.Parse("spiffe://castaway/host-2")
	if err != nil {
		t.Fatal(err)
	}
	names := namesOf(&x509.Certificate{DNSNames: []string{"Host-1.example", "spiffe://castaway/host-1"}, URIs: []*url.URL{uri}})
	if !slices.Equal(names, []string{"host-1.example", "spiffe://castaway/host-2"}) {
		t.Errorf("the names are %q", names)
	}
}
