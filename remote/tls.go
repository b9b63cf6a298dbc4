package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// TLS says how hosts prove to one another who they are. Both sides always do, and TLS 1.3
// is spoken: no field of this can change that.
//
// Either the three files are given, or Config.
type TLS struct {
	// CertFile has this host's certificate, and those between it and the CA; KeyFile its
	// key; CAFile the certificates of all CAs that are trusted, and those alone. All are
	// PEM. They are read again when they have changed, and new connections use what they
	// say. As long as they make no sense, half written for example, what they said before
	// stays in force, and the Logger is told.
	//
	// A connection ends when a certificate has expired that one side has shown, or that was
	// needed to verify it; and within ten seconds after the CAFile has changed, if it would not be made
	// any more.
	CertFile, KeyFile, CAFile string
	// Config is for certificates that come from elsewhere: GetCertificate and
	// GetClientCertificate are asked for each connection. Of RootCAs and ClientCAs one
	// may be left out, and is as the other. VerifyPeerCertificate and VerifyConnection are
	// asked again about each connection that is up, every ten seconds or more often: what has
	// been revoked ends.
	Config *tls.Config
	// Names are those of whom is let in: the DNS names and URIs (SPIFFE IDs, say) of a
	// certificate, one of which must be in the list. In a name of the list a star stands
	// for anything but a slash. Default: whomever the CA has given a certificate; so then
	// it must be a CA for these hosts alone.
	//
	// Whoever is dialled must have a certificate for the name or IP in the address, or
	// one of these Names.
	Names []string
	// HostName returns which of the names in its certificate tells a host from all others.
	// A packet is taken only from who has it; and a host that comes back on another address
	// is found there without SetPeers. Default: whoever is let in can speak as any host.
	HostName func(raftcore.NodeID) string
}

// check returns every mistake in c that can be seen without reading files.
func (c *TLS) check() error {
	var errs []error
	files := 0
	for _, file := range []string{c.CertFile, c.KeyFile, c.CAFile} {
		if file != "" {
			files++
		}
	}
	switch {
	case c.Config != nil && files > 0:
		errs = append(errs, errors.New("there are files, and a Config"))
	case c.Config == nil && files < 3:
		errs = append(errs, errors.New("CertFile, KeyFile and CAFile are needed, or Config"))
	case c.Config != nil:
		errs = append(errs, checkConfig(c.Config))
	}
	for _, name := range c.Names {
		if _, err := path.Match(name, ""); err != nil || name == "" {
			errs = append(errs, fmt.Errorf("%q is no name, nor a pattern of names", name))
		}
	}
	return errors.Join(errs...)
}

// checkConfig refuses what would undo what is promised. It is not corrected in silence: who
// has asked for it expects something else.
func checkConfig(c *tls.Config) error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Certificates) == 0 && c.GetCertificate == nil, "Config has no certificate for who connects: Certificates or GetCertificate")
	bad(len(c.Certificates) == 0 && c.GetClientCertificate == nil, "Config has no certificate to connect with: Certificates or GetClientCertificate")
	bad(c.RootCAs == nil && c.ClientCAs == nil, "Config has neither RootCAs nor ClientCAs: whoever the system trusts would be let in")
	bad(c.InsecureSkipVerify, "Config.InsecureSkipVerify is set: certificates are always verified")
	bad(c.ClientAuth != tls.NoClientCert && c.ClientAuth != tls.RequireAndVerifyClientCert, "Config.ClientAuth is %v: clients always need a certificate", c.ClientAuth)
	bad(c.GetConfigForClient != nil, "Config.GetConfigForClient is set: it could undo what the other fields demand")
	bad(c.MaxVersion != 0 && c.MaxVersion < tls.VersionTLS13, "Config.MaxVersion is %s: TLS 1.3 is spoken", tls.VersionName(c.MaxVersion))
	return errors.Join(errs...)
}

// harden returns what both sides have in common, of what Config or the files say.
func (c *TLS) harden(from *tls.Config) *tls.Config {
	out := from.Clone()
	out.MinVersion, out.MaxVersion = tls.VersionTLS13, 0
	if out.RootCAs == nil {
		out.RootCAs = out.ClientCAs
	}
	if out.ClientCAs == nil {
		out.ClientCAs = out.RootCAs
	}
	// A session that is resumed shows no certificate, and may be older than the CA.
	out.SessionTicketsDisabled = true
	return out
}

// accepting returns the configuration for those who connect.
func (c *TLS) accepting(from *tls.Config) *tls.Config {
	out := c.harden(from)
	out.ClientAuth = tls.RequireAndVerifyClientCert
	out.VerifyConnection = func(s tls.ConnectionState) error {
		if names := namesOf(s.PeerCertificates[0]); !c.lists(names) {
			return fmt.Errorf("the certificate is for %q: none of that is on the list", names)
		}
		return verifyToo(from.VerifyConnection, s)
	}
	return out
}

// verifyAccepted verifies who has connected once more, as crypto/tls did when that was, and
// returns the ways to a CA.
func (c *TLS) verifyAccepted(from *tls.Config, s tls.ConnectionState) (ways [][]*x509.Certificate, err error) {
	now := c.accepting(from)
	if s.VerifiedChains, err = verify(s.PeerCertificates, now.ClientCAs, x509.ExtKeyUsageClientAuth, now.Time); err != nil {
		return nil, err
	}
	if from.VerifyPeerCertificate != nil {
		if err := from.VerifyPeerCertificate(rawOf(s.PeerCertificates), s.VerifiedChains); err != nil {
			return nil, err
		}
	}
	return s.VerifiedChains, now.VerifyConnection(s)
}

// dialling returns the configuration to connect to the host that has a name, or an IP. The
// standard library would look for that alone; so what it does is done here.
func (c *TLS) dialling(from *tls.Config, name string) *tls.Config {
	out := c.harden(from)
	out.InsecureSkipVerify, out.VerifyPeerCertificate = true, nil
	out.VerifyConnection = func(s tls.ConnectionState) error {
		_, err := c.verifyDialled(from, name, s)
		return err
	}
	return out
}

// verifyDialled verifies who was dialled, and returns the ways to a CA.
func (c *TLS) verifyDialled(from *tls.Config, name string, s tls.ConnectionState) (ways [][]*x509.Certificate, err error) {
	if s.VerifiedChains, err = verify(s.PeerCertificates, c.harden(from).RootCAs, x509.ExtKeyUsageServerAuth, from.Time); err != nil {
		return nil, err
	}
	leaf := s.PeerCertificates[0]
	if err := leaf.VerifyHostname(name); err != nil && (len(c.Names) == 0 || !c.lists(namesOf(leaf))) {
		return nil, err
	}
	if from.VerifyPeerCertificate != nil {
		if err := from.VerifyPeerCertificate(rawOf(s.PeerCertificates), s.VerifiedChains); err != nil {
			return nil, err
		}
	}
	return s.VerifiedChains, verifyToo(from.VerifyConnection, s)
}

func verifyToo(verify func(tls.ConnectionState) error, s tls.ConnectionState) error {
	if verify == nil {
		return nil
	}
	return verify(s)
}

// verify looks for ways from a certificate to a CA, as crypto/tls does.
func verify(certs []*x509.Certificate, roots *x509.CertPool, use x509.ExtKeyUsage, now func() time.Time) ([][]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{use}}
	if now != nil {
		options.CurrentTime = now()
	}
	for _, between := range certs[1:] {
		options.Intermediates.AddCert(between)
	}
	return certs[0].Verify(options)
}

func rawOf(certs []*x509.Certificate) (raw [][]byte) {
	for _, c := range certs {
		raw = append(raw, c.Raw)
	}
	return raw
}

// namesOf returns the names that a certificate proves.
func namesOf(cert *x509.Certificate) (names []string) {
	for _, name := range cert.DNSNames {
		if !strings.ContainsAny(name, ":/") { // it would pass for a URI
			names = append(names, strings.ToLower(name))
		}
	}
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	return names
}

// lists reports whether one of these names is let in.
func (c *TLS) lists(names []string) bool {
	return len(c.Names) == 0 || slices.ContainsFunc(names, func(name string) bool {
		return slices.ContainsFunc(c.Names, func(pattern string) bool {
			if !strings.Contains(pattern, "/") {
				pattern = strings.ToLower(pattern)
			}
			matches, _ := path.Match(pattern, name)
			return matches
		})
	})
}

// binds reports whether nobody can speak as another host.
func (c *TLS) binds() bool { return c != nil && c.HostName != nil }

// speaksFor reports whether who has these names may speak as a host.
func (c *TLS) speaksFor(names []string, host raftcore.NodeID) bool {
	if !c.binds() {
		return true
	}
	want := c.HostName(host)
	if !strings.Contains(want, "/") {
		want = strings.ToLower(want)
	}
	return want != "" && slices.Contains(names, want)
}
