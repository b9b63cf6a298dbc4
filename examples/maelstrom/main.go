// Command maelstrom is a node for Maelstrom, Jepsen's workbench for distributed systems
// (github.com/jepsen-io/maelstrom): it speaks the workload lin-kv, a linearizable store.
// Maelstrom starts the nodes, is the network between them, which it delays and cuts, asks
// them things, and judges the answers.
//
//	go build ./examples/maelstrom
//	maelstrom test -w lin-kv --bin ./maelstrom --node-count 3 --concurrency 4n \
//	    --rate 50 --time-limit 60 --nemesis partition --nemesis-interval 10
//
// A node reads messages on stdin, one JSON object a line, and writes them on stdout. So a host
// has no socket here: look at transport.go, which is an actors.Transport over these lines.
// store.go is the state machine; below is what becomes of a request.
//
// To try next: more nodes, --latency 100, and reads that are not linearizable (see
// actors.Consistency), which Maelstrom is to find.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// patience is how long a request may take. Then nobody knows what becomes of it.
const patience = 2 * time.Second

// message is a line.
type message struct {
	Src  string `json:"src"`
	Dest string `json:"dest"`
	Body body   `json:"body"`
}

// body has what all kinds of messages have, of which each has some.
type body struct {
	Type      string `json:"type"`
	ID        *int64 `json:"msg_id,omitempty"`
	InReplyTo *int64 `json:"in_reply_to,omitempty"`

	Node  string   `json:"node_id,omitempty"` // of init
	Nodes []string `json:"node_ids,omitempty"`

	command                 // of read, write and cas
	Value   json.RawMessage `json:"value,omitempty"` // of write and read_ok

	Code *int   `json:"code,omitempty"` // of error
	Text string `json:"text,omitempty"`

	Number uint64 `json:"number,omitempty"` // of packet
	Packet string `json:"packet,omitempty"`
}

// The codes of Maelstrom's errors. All but the first say that it has not happened.
const (
	codeUnknown      = 0
	codeNotSupported = 10
	codeUnavailable  = 11
	codeMalformed    = 12
	codeNoKey        = 20
	codeNotThat      = 22
)

func main() {
	dir, err := os.MkdirTemp("", "castaway-maelstrom-")
	if err == nil {
		err = run(os.Stdin, os.Stdout, dir)
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "maelstrom: %v\n", err)
		os.Exit(1)
	}
}

// node is this process.
type node struct {
	out   *output
	wire  *transport
	host  *actors.Host
	group *actors.Group
	work  sync.WaitGroup
}

// run speaks with Maelstrom until it says no more.
func run(in io.Reader, out io.Writer, dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{out: newOutput(out)}
	n.wire = newTransport(n.out)
	defer n.out.close()
	defer func() {
		cancel()
		n.work.Wait()
		if n.host != nil {
			_ = n.host.Stop(context.Background()) // the disk is thrown away
		}
	}()
	lines := bufio.NewReader(in)
	ready := make(chan struct{})
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var m message
			if err := json.Unmarshal(line, &m); err != nil {
				return fmt.Errorf("this is no message: %w: %s", err, line)
			}
			if err := n.receive(ctx, &m, dir, ready); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// receive takes a message. It does not wait for what comes of it.
func (n *node) receive(ctx context.Context, m *message, dir string, ready chan struct{}) error {
	switch m.Body.Type {
	case "packet":
		n.wire.arrived(m)
	case "init":
		if n.host != nil {
			return errors.New("init came twice")
		}
		if err := n.start(m, dir); err != nil {
			return err
		}
		n.work.Go(func() {
			group, err := n.host.Open(ctx, actors.GroupConfig{Name: "lin-kv", Machine: func() actors.StateMachine { return newStore() }})
			if err != nil && ctx.Err() != nil {
				return
			} else if err != nil {
				slog.Error("the group cannot be opened", "err", err)
				return
			}
			n.group = group
			close(ready)
			n.reply(m, body{Type: "init_ok"})
		})
	default:
		n.work.Go(func() {
			select {
			case <-ready:
				n.reply(m, n.answer(ctx, &m.Body))
			case <-ctx.Done():
			}
		})
	}
	return nil
}

// start starts the host. Its ID is its place in the list, which all nodes are given alike.
func (n *node) start(m *message, dir string) error {
	names := slices.Sorted(slices.Values(m.Body.Nodes))
	self := slices.Index(names, m.Body.Node)
	if self < 0 {
		return fmt.Errorf("node %q is none of %q", m.Body.Node, names)
	}
	peers := map[raftcore.NodeID]string{}
	for i, name := range names {
		peers[raftcore.NodeID(i+1)] = name
	}
	n.wire.self = m.Body.Node
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil)) // Maelstrom keeps it
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }))
	var err error
	n.host, err = actors.Start(system, actors.HostConfig{
		ID: raftcore.NodeID(self + 1), Store: badgerstore.Dir(filepath.Join(dir, "store")), Transport: n.wire, Peers: peers, Logger: logger,
	})
	return err
}

func (n *node) reply(to *message, b body) {
	b.InReplyTo = to.Body.ID
	n.out.write(message{Src: n.wire.self, Dest: to.Src, Body: b}, true)
}

// answer carries out a request.
func (n *node) answer(ctx context.Context, b *body) body {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := b.command
	if c.Key = compact(c.Key); c.Key == nil {
		return failure(codeMalformed, "there is no key")
	}
	var answer []byte
	var err error
	switch b.Type {
	case "read":
		answer, err = n.group.Read(ctx, c.Key)
	case "write":
		c.To, c.From = compact(b.Value), nil
		answer, err = n.propose(ctx, c)
	case "cas":
		if c.To, c.From = compact(c.To), compact(c.From); c.From == nil {
			return failure(codeMalformed, "there is nothing to compare with")
		}
		answer, err = n.propose(ctx, c)
	default:
		return failure(codeNotSupported, fmt.Sprintf("nobody here knows %q", b.Type))
	}
	var r result
	switch {
	case errors.Is(err, actors.ErrRejected):
		return failure(codeUnavailable, err.Error())
	case err != nil:
		return failure(codeUnknown, err.Error())
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return failure(codeUnknown, err.Error())
	}
	if r.Code != 0 {
		return failure(r.Code, r.Text)
	}
	return body{Type: b.Type + "_ok", Value: r.Value}
}

func (n *node) propose(ctx context.Context, c command) ([]byte, error) {
	if c.To == nil {
		return json.Marshal(result{Code: codeMalformed, Text: "there is no value"})
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return n.group.Propose(ctx, data)
}

func failure(code int, text string) body { return body{Type: "error", Code: &code, Text: text} }
