package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// A wire is a Transport in a process of its own: this test binary, started again. It reads
// a command a line, and writes what happens, a line each.
const wireEnv = "CASTAWAY_TEST_WIRE" // its wireConfig, in JSON

type wireConfig struct {
	Listen, Advertise string
	TLS               *TLS `json:"-"` // has a function; what else is in it crosses as:
	Files             [3]string
	Names             []string
	Hosts             map[raftcore.NodeID]string // for HostName
	Own               bool                       // it has a tls.Config, made of the files
	DNS               string                     // the server to ask for names; "": as others do
}

// config returns what it is in the process.
func (c *wireConfig) config() (Config, error) {
	out := Config{Listen: c.Listen, Advertise: c.Advertise}
	if c.Files[0] == "" {
		return out, nil
	}
	out.TLS = &TLS{CertFile: c.Files[0], KeyFile: c.Files[1], CAFile: c.Files[2], Names: c.Names}
	if c.Own {
		own, err := ownConfig(out.TLS)
		if err != nil {
			return out, err
		}
		out.TLS = &TLS{Config: own, Names: c.Names}
	}
	if c.Hosts != nil {
		out.TLS.HostName = func(id raftcore.NodeID) string { return c.Hosts[id] }
	}
	return out, nil
}

// wireChild is the process.
func wireChild(spec string) error {
	var c wireConfig
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	config.Logger = slog.New(slog.NewTextHandler(writer(func(b []byte) { say("log %s", strings.TrimSpace(string(b))) }), nil))
	if c.DNS != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", c.DNS)
		}}
	}
	w := New(config)
	if err := w.Start(quietSystem(), 1, func(p *actors.Packet) { say("packet from %d, who is %q, at %q", p.From, p.Names, p.Address) }); err != nil {
		return err
	}
	say("address %s", w.Address())
	links := map[string]actors.Link{}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch verb, arg, _ := strings.Cut(in.Text(), " "); verb {
		case "refused":
			say("refused %+v", w.Refused())
		case "link":
			links[arg] = w.Link(arg, func(e actors.LinkEvent) { say("link to %s: %d", arg, e) })
		case "send":
			say("sent %v", links[arg].Send(everything()))
		case "close":
			links[arg].Close()
			say("closed")
		case "theirs": // what is known of the other direction of a link
			l := links[arg].(*link)
			l.mu.Lock()
			say("theirs %d", l.lanes[0].theirs)
			l.mu.Unlock()
		}
	}
	return w.Stop(context.Background())
}

// ownConfig makes a tls.Config of files.
func ownConfig(files *TLS) (*tls.Config, error) {
	pem, err := os.ReadFile(files.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		return &pair, err
	}
	return &tls.Config{
		ClientCAs:            pool,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() },
	}, nil
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// wire is the process, seen from the test.
type wire struct {
	t       *testing.T
	address string
	in      io.WriteCloser
	lines   chan string
}

func (w *wire) Address() string { return w.address }

func startWire(t *testing.T, c wireConfig) *wire {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.TLS != nil {
		c.Files, c.Names = [3]string{c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile}, c.TLS.Names
	}
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), wireEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, in: in, lines: make(chan string, 10000)}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.lines <- lines.Text()
		}
		close(w.lines)
	}()
	t.Cleanup(func() {
		in.Close() // it stops, and would say so if it raced
		for range w.lines {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the wire ends with %v", err)
		}
	})
	w.address = strings.TrimPrefix(w.await("address "), "address ")
	return w
}

// await returns the next line that begins so, or has all of these words.
func (w *wire) await(words ...string) string {
	w.t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	var heard []string
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatalf("it ended, and nothing had %q:\n%s", words, strings.Join(heard, "\n"))
			}
			heard = append(heard, line)
			has := true
			for _, word := range words {
				has = has && strings.Contains(line, word)
			}
			if has {
				return line
			}
		case <-late.C:
			w.t.Fatalf("nothing has %q:\n%s", words, strings.Join(heard, "\n"))
		}
	}
}

func (w *wire) tell(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.in, format+"\n", args...); err != nil {
		w.t.Fatal(err)
	}
}

// refused returns what it has refused, and the lines before the answer.
func (w *wire) refused() (r Refused, before []string) {
	w.t.Helper()
	w.tell("refused")
	for line := range w.lines {
		if _, err := fmt.Sscanf(line, "refused {Handshakes:%d Identities:%d Versions:%d Messages:%d Connections:%d Certificates:%d}", &r.Handshakes, &r.Identities, &r.Versions, &r.Messages, &r.Connections, &r.Certificates); err == nil {
			return r, before
		}
		before = append(before, line)
	}
	w.t.Fatal("it does not answer")
	return r, nil
}

// more returns what it has refused, when it has refused more than before. Who is refused may
// know before that is counted.
func (w *wire) more(than Refused) (r Refused, heard []string) {
	w.t.Helper()
	for late := time.Now().Add(30 * time.Second); time.Now().Before(late); {
		now, lines := w.refused()
		if heard = append(heard, lines...); now != than {
			return now, heard
		}
	}
	w.t.Errorf("it was not counted: %+v", than)
	return than, heard
}

// took reports whether a packet was let in, by these lines.
func took(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "packet from") })
}

// tlsFromEnv is for a host's process: its certificates, and names like those of issue.
func tlsFromEnv() *TLS {
	dir := os.Getenv(tlsEnv)
	if dir == "" {
		return nil
	}
	return &TLS{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
		Names: []string{"spiffe://test/host/*", "spiffe://test/client/*"}, HostName: func(id raftcore.NodeID) string { return fmt.Sprintf("spiffe://test/host/%d", id) },
	}
}
