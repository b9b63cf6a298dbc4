package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Three members that speak TLS with each other, and with nobody who has no certificate.
func TestMembersHaveCertificates(t *testing.T) {
	cert, key := selfSigned(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peers := free.Addr().String()
	free.Close()
	p := start(t, "-redis", "127.0.0.1:0", "-id", "1", "-peers", "1="+peers, "-dir", filepath.Join(t.TempDir(), "one"),
		"-tls-cert", cert, "-tls-key", key, "-tls-ca", cert)
	p.until(t, "leads (term")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := x509.NewCertPool()
	ca.AddCert(pair.Leaf)
	for _, certs := range [][]tls.Certificate{nil, {pair}} {
		conn, err := tls.Dial("tcp", peers, &tls.Config{RootCAs: ca, Certificates: certs, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		if (err == nil) != (certs != nil) {
			t.Errorf("with %d certificates: %v", len(certs), err)
		}
		conn.Close()
	}
	p.stop(t, os.Interrupt, "tls: client didn't provide a certificate")

	three := start(t, "-redis", "127.0.0.1:0", "-listen", "127.0.0.1:0", "-dir", filepath.Join(t.TempDir(), "three"),
		"-tls-cert", cert, "-tls-key", key, "-tls-ca", cert)
	three.until(t, "leads (term")
	if len(three.redis) != 3 {
		t.Fatalf("it serves %v", three.redis)
	}
	for i, address := range three.redis {
		conn := dial(t, address)
		if got := conn.pipeline(t, "INCR n"); got != ":"+string(rune('1'+i)) {
			t.Errorf("member %d: %s", i+1, got)
		}
	}
	three.stop(t, os.Interrupt)
}

// selfSigned writes a certificate that is its own CA, and the key for it.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
