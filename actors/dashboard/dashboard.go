// Package dashboard shows hosts, and the groups on them, to people and to machines: a live
// page, metrics and health, as one http.Handler that any application can mount.
//
//	handler, err := dashboard.New(dashboard.Config{Hosts: func() []*actors.Host { return []*actors.Host{host} }})
//	http.Handle("/raft/", http.StripPrefix("/raft", handler))
//
// What there is, below where it is mounted:
//
//	GET  /               the page; /#name shows the group of that name
//	GET  /events         what the page shows, as server-sent events; ?group=name
//	GET  /metrics        in the text format of Prometheus; ?groups=none leaves out what is a group's
//	GET  /healthz        503 if every member here is out of service: start the process anew
//	GET  /readyz         503 if a group here cannot answer; ?group=name asks for one
//	POST /actions/name   what Config.Actions allows
//
// It asks and listens through the public API of package actors, and only while somebody
// looks. A visitor who is slow misses some of it, and is told so; nobody waits for one. What
// is shown of a member that lives on another host is what the leader says of it, if the
// leader is here; with Config.Page there is a link to the page over there.
//
// What an open page costs is hearing of every proposal, for the latencies: pages that show the
// same group share that. Measured in turns on 2 cores, three hosts in one process, in memory, as
// busy as they can be: of 168,000 proposals a second one page left 139,000, and three 130,000
// (medians; go test ./actors/dashboard -run '^$' -bench Propose). A group that is not at its limit,
// or waits for disks, has that to spare; and nobody pays when no page is open.
//
// It has no login. The page reveals the names of groups and hosts, and the texts of errors:
// put it behind what guards the rest of your application, or on a loopback address.
package dashboard

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// Config says what is shown, and what visitors may do. Zero fields mean the default.
type Config struct {
	// Hosts returns the hosts to show, of this process: mostly one. It is called again and
	// again, from several goroutines. Required.
	Hosts func() []*actors.Host
	// Opening is what the stores of hosts tell that read their disks, so that the handler can be
	// served before actors.Start returns: the page shows how far they are, and /readyz says that
	// this is what there is to wait for. Default: nothing is known.
	Opening *Opening
	// Page returns the URL of the page of another host's process, as a visitor's browser finds
	// it, absolute or relative to this one, and "" if there is none: the page leads to those of
	// the members that are not here, to the leader's first, which knows more of the others. It
	// is called again and again, from several goroutines. Default: no links.
	Page func(host raftcore.NodeID) string
	// Actions are what visitors may do. Default: nothing.
	Actions Actions
	// Interval is how often the page is told something new. Default: half a second.
	Interval time.Duration
	// MaxVisitors bounds how many pages are open at a time. Default 32.
	MaxVisitors int
}

// Actions are what the page has buttons for. Who leaves one nil has no such button. They
// are called for whoever can reach the handler, with a context that ends after a minute;
// requests that another web site has made a browser send are refused before.
type Actions struct {
	// Transfer hands the leadership over.
	Transfer func(ctx context.Context, group string, to raftcore.NodeID) error
	// Snapshot has a member of this process take a snapshot.
	Snapshot func(ctx context.Context, group string, id raftcore.NodeID) error
	// AddLearner adds a learner, which one the application knows.
	AddLearner func(ctx context.Context, group string) error
	// RemoveLearner takes a learner out of the group.
	RemoveLearner func(ctx context.Context, group string, id raftcore.NodeID) error
}

// names are those of the actions that are allowed.
func (a Actions) names() (names []string) {
	if a.Transfer != nil {
		names = append(names, "transfer")
	}
	if a.Snapshot != nil {
		names = append(names, "snapshot")
	}
	if a.AddLearner != nil {
		names = append(names, "add-learner")
	}
	if a.RemoveLearner != nil {
		names = append(names, "remove-learner")
	}
	return names
}

//go:embed page
var page embed.FS

// New returns the handler; an error says what is wrong with cfg.
func New(cfg Config) (http.Handler, error) {
	switch {
	case cfg.Hosts == nil:
		return nil, errors.New("dashboard: Hosts is required")
	case cfg.Interval < 0:
		return nil, fmt.Errorf("dashboard: Interval is %v, negative", cfg.Interval)
	case cfg.MaxVisitors < 0:
		return nil, fmt.Errorf("dashboard: MaxVisitors is %d, negative", cfg.MaxVisitors)
	}
	if cfg.Interval == 0 {
		cfg.Interval = 500 * time.Millisecond
	}
	if cfg.MaxVisitors == 0 {
		cfg.MaxVisitors = 32
	}
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	h := &hub{cfg: cfg, visitors: map[*visitor]struct{}{}}
	mux := http.NewServeMux()
	mux.Handle("GET /", guarded(http.FileServerFS(files)))
	mux.HandleFunc("GET /events", h.serveEvents)
	mux.HandleFunc("GET /metrics", h.serveMetrics)
	mux.HandleFunc("GET /healthz", h.serveHealth)
	mux.HandleFunc("GET /readyz", h.serveReady)
	mux.Handle("POST /actions/{action}", http.NewCrossOriginProtection().Handler(http.HandlerFunc(h.serveAction)))
	return mux, nil
}

// guarded has browsers load nothing from elsewhere, and nobody show the page in a frame.
func guarded(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}

// order is the body of a request for an action.
type order struct {
	Group  string          `json:"group"`
	Member raftcore.NodeID `json:"member"`
}

// serveAction carries out an action. A body that says what it is, JSON, no browser sends
// across sites without having asked first, which is one more guard.
func (h *hub) serveAction(w http.ResponseWriter, r *http.Request) {
	var o order
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "the body is to be application/json", http.StatusUnsupportedMediaType)
		return
	}
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil || o.Group == "" {
		http.Error(w, "the body is to be {\"group\": name, \"member\": number}", http.StatusBadRequest)
		return
	}
	action := h.cfg.Actions.find(r.PathValue("action"))
	if action == nil {
		http.Error(w, "there is no such action here", http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	if err := action(ctx, o); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// find returns an action, or nil.
func (a Actions) find(name string) func(context.Context, order) error {
	switch {
	case name == "transfer" && a.Transfer != nil:
		return func(ctx context.Context, o order) error { return a.Transfer(ctx, o.Group, o.Member) }
	case name == "snapshot" && a.Snapshot != nil:
		return func(ctx context.Context, o order) error { return a.Snapshot(ctx, o.Group, o.Member) }
	case name == "add-learner" && a.AddLearner != nil:
		return func(ctx context.Context, o order) error { return a.AddLearner(ctx, o.Group) }
	case name == "remove-learner" && a.RemoveLearner != nil:
		return func(ctx context.Context, o order) error { return a.RemoveLearner(ctx, o.Group, o.Member) }
	}
	return nil
}
