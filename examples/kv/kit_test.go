package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// history is a machine and its log, without Raft.
type history struct {
	*machine
	index raftcore.Index
}

func newHistory() *history { return &history{machine: newMachine(newGauges())} }

// at carries out commands as an entry of the given log time would, and returns
// the replies.
func (h *history) at(ms int64, lines ...string) string {
	h.index++
	var commands [][][]byte
	for _, line := range lines {
		commands = append(commands, words(line))
	}
	answer := h.Apply(actors.Entry{Index: h.index, Term: 1, Time: time.UnixMilli(ms), Data: appendBatch(nil, commands)})
	return replies(answer)
}

// ask queries, with the asker's clock. It returns nothing if the machine does
// not want to answer.
func (h *history) ask(asOf int64, lines ...string) string {
	question := appendQuestion(nil, asOf)
	var commands [][][]byte
	for _, line := range lines {
		commands = append(commands, words(line))
	}
	answer, err := h.Query(context.Background(), appendBatch(question, commands))
	if err != nil {
		return err.Error()
	}
	return replies(answer)
}

func replies(answer []byte) string {
	_, replies, ok := decodeAnswer(answer)
	if !ok {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(replies), "\r\n", " "))
}

func words(line string) (args [][]byte) {
	for _, w := range strings.Fields(line) {
		args = append(args, []byte(w))
	}
	return args
}

// fakeGroup is a group whose log is a slice: every proposal is an entry at once,
// unless fail says otherwise.
type fakeGroup struct {
	mu        sync.Mutex
	log       *history
	now       int64 // Unix milliseconds, of whoever leads
	proposals int
	reads     int
	fail      error
	role      raftcore.Role
	proposed  chan []byte // if not nil, told of every proposal
}

func newFakeGroup() *fakeGroup { return &fakeGroup{log: newHistory(), now: time.Now().UnixMilli()} }

func (g *fakeGroup) Propose(_ context.Context, data []byte) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proposals++
	if g.proposed != nil {
		g.proposed <- data
	}
	if g.fail != nil {
		return nil, g.fail
	}
	g.log.index++
	return g.log.Apply(actors.Entry{Index: g.log.index, Term: 1, Time: time.UnixMilli(g.now), Data: data}), nil
}

func (g *fakeGroup) Read(ctx context.Context, query []byte) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads++
	if g.fail != nil {
		return nil, g.fail
	}
	return g.log.Query(ctx, query)
}

func (g *fakeGroup) Do(ctx context.Context, r *actors.Request) (*actors.Response, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer, err := g.log.Query(ctx, r.Data)
	return &actors.Response{Request: r, Data: answer, Index: g.log.index, Err: err}, err
}

func (g *fakeGroup) Status(context.Context) (actors.Status, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.log == nil {
		return actors.Status{}, errors.New("no status")
	}
	s := actors.Status{State: actors.Running}
	s.Role, s.Applied = g.role, g.log.index
	return s, nil
}

func (g *fakeGroup) counts() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := fmt.Sprintf("%d proposals, %d reads", g.proposals, g.reads)
	g.proposals, g.reads = 0, 0
	return s
}

// newTestServer returns a front end on a real group with one member, without a
// network and a disk.
func newTestServer(t testing.TB) *server {
	t.Helper()
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	host, err := actors.Start(system, actors.HostConfig{ID: 1, Store: persistence.Memory(), Raft: raftcore.Config{ElectionTimeout: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(func() {
		if err := host.Stop(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	})
	gauges := newGauges()
	group, err := host.Open(ctx, actors.GroupConfig{Name: "kv", Machine: func() actors.StateMachine { return newMachine(gauges) }})
	if err != nil {
		t.Fatal(err)
	}
	return serveGroup(t, group, gauges)
}

// serveGroup returns a front end on a group.
func serveGroup(t testing.TB, g group, gauges *gauges) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(1, ln, gauges, 10*time.Second)
	s.open(g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.serve()
	}()
	t.Cleanup(func() {
		s.close()
		<-served
	})
	return s
}
