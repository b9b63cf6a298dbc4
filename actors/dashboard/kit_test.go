package dashboard_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// The tests have real hosts, with real groups, on a simulated network, and ask the handler
// over HTTP. Nothing is waited for but what the handler tells.

// counter counts its commands. At "boom" it panics.
type counter struct{ n int }

func (c *counter) Apply(e actors.Entry) []byte {
	if string(e.Data) == "boom" {
		panic("boom")
	}
	c.n++
	return fmt.Append(nil, c.n)
}

func (c *counter) Query(context.Context, []byte) ([]byte, error) { return fmt.Append(nil, c.n), nil }

func (c *counter) Snapshot() (io.WriterTo, error) { return bytes.NewBufferString(fmt.Sprint(c.n)), nil }

func (c *counter) Restore(r io.Reader) error { _, err := fmt.Fscan(r, &c.n); return err }

// world is some hosts that share groups, and a server that shows them.
type world struct {
	t      testing.TB
	ctx    context.Context
	net    *rafttest.Network
	hosts  []*actors.Host
	groups []*actors.Group // the first host's first, of the last that was opened
	shown  atomic.Pointer[[]*actors.Host]
	server *httptest.Server
}

func newWorld(t testing.TB, hosts int, actions dashboard.Actions) *world {
	return newWorldWith(t, hosts, dashboard.Config{Actions: actions, Interval: 20 * time.Millisecond, MaxVisitors: 4})
}

func newWorldWith(t testing.TB, hosts int, cfg dashboard.Config) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	w := &world{t: t, ctx: ctx, net: rafttest.NewNetwork(1)}
	peers := map[raftcore.NodeID]string{}
	for i := range hosts {
		peers[raftcore.NodeID(i+1)] = fmt.Sprintf("host-%d", i+1)
	}
	for id := raftcore.NodeID(1); int(id) <= hosts; id++ {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		h, err := actors.Start(system, actors.HostConfig{
			ID: id, Store: persistence.Memory(), Transport: w.net.Transport(peers[id]), Peers: peers,
			Raft: raftcore.Config{ElectionTimeout: 200 * time.Millisecond}, Restarts: actors.Restarts{Max: -1},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.hosts = append(w.hosts, h)
	}
	w.shown.Store(&w.hosts)
	cfg.Hosts = func() []*actors.Host { return *w.shown.Load() }
	handler, err := dashboard.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(http.StripPrefix("/raft", handler))
	t.Cleanup(func() {
		w.server.CloseClientConnections()
		w.server.Close()
		for _, h := range w.hosts {
			if err := h.Stop(ctx); err != nil {
				t.Error(err)
			}
		}
		cancel()
	})
	return w
}

// open opens a group on all hosts.
func (w *world) open(name string) {
	w.t.Helper()
	w.groups = nil
	for _, h := range w.hosts {
		g, err := h.Open(w.ctx, actors.GroupConfig{Name: name, Machine: func() actors.StateMachine { return &counter{} }})
		if err != nil {
			w.t.Fatal(err)
		}
		w.groups = append(w.groups, g)
	}
}

func (w *world) propose(command string) {
	w.t.Helper()
	if _, err := w.groups[0].Propose(w.ctx, []byte(command)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) url(path string) string { return w.server.URL + "/raft" + path }

// get asks, and returns the answer and its code.
func (w *world) get(path string) (string, int) {
	w.t.Helper()
	return w.do(w.request("GET", path, ""))
}

func (w *world) request(method, path, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.ctx, method, w.url(path), strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) do(r *http.Request) (string, int) {
	w.t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body), answer.StatusCode
}

// visit opens a page's stream.
func (w *world) visit(group string) *visit {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	answer, err := http.DefaultClient.Do(w.request("GET", "/events?group="+group, "").WithContext(ctx))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cancel()
		answer.Body.Close()
	})
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || got != "text/event-stream" {
		w.t.Fatalf("%v, %q", answer.Status, got)
	}
	in := bufio.NewScanner(answer.Body)
	in.Buffer(nil, 1<<20)
	return &visit{w: w, in: in, leave: cancel}
}

// visit is what a page is told.
type visit struct {
	w     *world
	in    *bufio.Scanner
	leave func()
	view  view
	lines []line // all that came
}

type view struct {
	Groups []struct {
		Name, Trouble string
		Leader        raftcore.NodeID
		Bad           bool
	}
	More    int
	Actions []string
	Opening []struct {
		Peer       raftcore.NodeID
		Done, Size int64
		Rate, Left *float64
	}
	Group *struct {
		Leader   raftcore.NodeID
		Term     raftcore.Term
		Rate     *float64
		Troubles []struct {
			Bad  bool
			Text string
		}
		Latency *struct{ N, P50, P99, Saved, Committed float64 }
		Members []shownMember
	}
}

type shownMember struct {
	ID, Vote              raftcore.NodeID
	Kind, Role, State     string
	Seen                  bool
	Lag                   *uint64
	Applied, Commit, Last raftcore.Index
	Class, Fault, Page    string
}

// member returns what is shown of a member.
func (v *view) member(id raftcore.NodeID) (m shownMember) {
	if v.Group != nil {
		for _, m := range v.Group.Members {
			if m.ID == id {
				return m
			}
		}
	}
	return m
}

type line struct{ Kind, Text string }

// next reads a view and its lines.
func (v *visit) next() {
	v.w.t.Helper()
	event := ""
	for v.in.Scan() {
		if name, is := strings.CutPrefix(v.in.Text(), "event: "); is {
			event = name
		}
		data, is := strings.CutPrefix(v.in.Text(), "data: ")
		if !is {
			continue
		}
		var err error
		var lines []line
		if event == "view" {
			v.view = view{}
			err = json.Unmarshal([]byte(data), &v.view)
		} else {
			err = json.Unmarshal([]byte(data), &lines)
		}
		if err != nil {
			v.w.t.Fatalf("%v: %s", err, data)
		}
		v.lines = append(v.lines, lines...)
		if event == "lines" {
			return
		}
	}
	v.w.t.Fatal(errors.Join(errors.New("the stream has ended"), v.in.Err()))
}

// until reads until a condition holds.
func (v *visit) until(what string, condition func(g *view) bool) {
	v.w.t.Helper()
	for {
		v.next()
		if condition(&v.view) {
			return
		}
		if v.w.ctx.Err() != nil {
			v.w.t.Fatalf("it never happened that %s: %+v", what, v.view)
		}
	}
}

// leads waits until somebody does, and is the leader of all, and returns who.
func (v *visit) leads() raftcore.NodeID {
	v.w.t.Helper()
	v.until("there is a leader", func(v *view) bool {
		if v.Group == nil || v.Group.Leader == raftcore.Nobody {
			return false
		}
		for _, m := range v.Group.Members {
			if m.ID != v.Group.Leader && m.Lag == nil {
				return false
			}
		}
		return true
	})
	return v.view.Group.Leader
}
