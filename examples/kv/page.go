package main

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/raftcore"
)

// pageServer serves the page that shows the members of this process; nil serves nothing.
type pageServer struct {
	ln       net.Listener
	server   http.Server
	insecure bool
}

// listenHTTP listens, if that is wanted, so that a port which is taken is noticed at once.
func (o *options) listenHTTP() (*pageServer, error) {
	if o.http == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", o.http)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the page: %w", listenError(err))
	}
	return &pageServer{ln: ln, insecure: o.insecure}, nil
}

func (p *pageServer) serve(c *crew) error {
	if p == nil {
		return nil
	}
	cfg := dashboard.Config{Hosts: c.hosts, Opening: &c.opening, Page: c.page, Actions: dashboard.Actions{Transfer: c.transfer, Snapshot: c.snapshot}}
	if c.id == 0 {
		cfg.Actions.AddLearner, cfg.Actions.RemoveLearner = c.addLearner, c.removeLearner
	}
	handler, err := dashboard.New(cfg)
	if err != nil {
		return err
	}
	p.server.Handler = p.local(c.settled(handler))
	p.server.ReadHeaderTimeout = 10 * time.Second
	go func() { _ = p.server.Serve(p.ln) }() // until Close
	return nil
}

// local refuses who asks by a name: a web site could have its own name lead here, and then
// its page would be allowed to press the buttons. Who may be reached from other machines has
// said that he knows.
func (p *pageServer) local(handler http.Handler) http.Handler {
	if p.insecure {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if host != "localhost" && net.ParseIP(host) == nil {
			http.Error(w, "ask for it by its address, or as localhost", http.StatusMisdirectedRequest)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// settled refuses to press buttons before there are all members that they are about.
func (c *crew) settled(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && !c.started.Load() {
			http.Error(w, "the members have yet to be opened", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// page is where another member's page is, or "".
func (o *options) page(id raftcore.NodeID) string {
	if o.pages[id] == "" {
		return ""
	}
	return fmt.Sprintf("http://%s/", o.pages[id])
}

// url is where the page is, or "".
func (p *pageServer) url() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("http://%s/", p.ln.Addr())
}

// Close ends all requests.
func (p *pageServer) Close() {
	if p != nil {
		p.server.Close()
		p.ln.Close()
	}
}
