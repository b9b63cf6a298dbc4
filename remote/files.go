package remote

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
)

// certificates are the files of a TLS, as they were when they last made sense. What they
// hold is compared, not when they were written: a file that is put in place of another may
// be older, and two may be of the same second.
type certificates struct {
	files  [3]string // the certificate, the key, the CA
	client bool      // they are not for a server
	logger *slog.Logger

	changed func() // is told that they say something else

	mu     sync.Mutex
	seen   [3][]byte // what was read last, good or bad
	failed string    // why it made no sense; "": it did
	config *tls.Config
}

// read reads the files, and returns what they say; or, if they make no sense, what they
// said before. The error is for who has nothing from before.
func (c *certificates) read() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var now [3][]byte
	var err error
	for i := 0; i < len(now) && err == nil; i++ {
		now[i], err = os.ReadFile(c.files[i])
	}
	if err == nil && c.config != nil && c.failed == "" && slices.EqualFunc(now[:], c.seen[:], bytes.Equal) {
		return c.config, nil
	}
	var config *tls.Config
	if err == nil {
		config, err = parse(now, c.client)
	}
	if err != nil {
		if c.config != nil && err.Error() != c.failed {
			c.logger.Error("the certificates on the disk are not good; those from before stay in force", "file", c.files[0], "err", err)
		}
		c.failed = err.Error()
		return c.config, err
	}
	if c.config != nil && !slices.EqualFunc(now[:], c.seen[:], bytes.Equal) {
		c.logger.Info("new connections use the new certificates", "file", c.files[0])
		c.changed()
	}
	c.seen, c.failed, c.config = now, "", config
	return config, nil
}

// parse makes a configuration of the three files.
func parse(files [3][]byte, client bool) (*tls.Config, error) {
	for i, b := range files {
		if !whole(b) {
			return nil, fmt.Errorf("the file of the %s is cut off, or damaged", [...]string{"certificate", "key", "CA"}[i])
		}
	}
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return nil, fmt.Errorf("the certificate and its key: %w", err)
	}
	for use, what := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server", x509.ExtKeyUsageClientAuth: "client"} {
		if client && use == x509.ExtKeyUsageServerAuth {
			continue
		}
		if uses := pair.Leaf.ExtKeyUsage; len(uses) > 0 && !slices.Contains(uses, use) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
			return nil, fmt.Errorf("the certificate is none for a %s, and a host is both", what)
		}
	}
	roots, n := x509.NewCertPool(), 0
	for rest := files[2]; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the CA: %w", err)
		}
		roots.AddCert(root)
	}
	if n == 0 {
		return nil, errors.New("the file of the CA has no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}

// whole reports whether every block of a PEM file that begins also ends: the standard
// library passes over others, as if they were not there.
func whole(b []byte) bool {
	begun := bytes.Count(b, []byte("-----BEGIN "))
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			return begun == 0
		}
		begun, b = begun-1, rest
	}
}
