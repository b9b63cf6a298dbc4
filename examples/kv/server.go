package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/redcon"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// group is what the front end needs of an *actors.Group.
type group interface {
	Propose(ctx context.Context, data []byte) ([]byte, error)
	Read(ctx context.Context, query []byte) ([]byte, error)
	Do(ctx context.Context, r *actors.Request) (*actors.Response, error)
	Status(ctx context.Context) (actors.Status, error)
}

// server is the Redis front end of a member. Any member's serves any command:
// the group finds the leader.
type server struct {
	id      raftcore.NodeID
	group   group         // once it is open
	opened  chan struct{} // closed then
	gauges  *gauges
	timeout time.Duration // of one request
	started time.Time
	life    context.Context // ends with close
	end     context.CancelFunc
	ln      net.Listener
	redcon  *redcon.Server

	commands atomic.Int64 // carried out, or refused
	total    atomic.Int64 // connections ever

	mu      sync.Mutex
	clients map[*client]struct{}
}

// Bounds of what clients can make this member hold.
const (
	maxClients      = 10_000
	maxBatchBytes   = 1 << 20   // of a batch, unless it has a single command
	maxCommandBytes = 4<<20 - 1 // what raftcore.Config.MaxCommandBytes leaves beside the version
	maxUnflushed    = 1 << 20   // of replies that wait for the end of a pipeline
)

// newServer returns a server whose clients come through ln.
func newServer(id raftcore.NodeID, ln net.Listener, gauges *gauges, timeout time.Duration) *server {
	s := &server{
		id: id, ln: ln, opened: make(chan struct{}), gauges: gauges, timeout: timeout,
		started: time.Now(), clients: map[*client]struct{}{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.redcon = redcon.NewServer("", s.handle, s.accept, s.closed)
	return s
}

// serve serves until close.
func (s *server) serve() { _ = s.redcon.Serve(guardListener{s.ln}) }

// open has the commands carried out that come, and those that wait.
func (s *server) open(g group) {
	s.group = g
	close(s.opened)
}

// reach returns the group, when the member has it open.
func (s *server) reach(ctx context.Context) (group, error) {
	select {
	case <-s.opened:
		return s.group, nil
	case <-ctx.Done():
		return nil, errLoading
	}
}

var errLoading = errors.New("the member has yet to read its disk")

// close cuts the clients off.
func (s *server) close() {
	s.end()
	_ = s.ln.Close() // redcon then closes the connections
}

func (s *server) accept(conn redcon.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= maxClients {
		conn.WriteError("ERR max number of clients reached")
		return false
	}
	c := &client{server: s, conn: conn, id: s.total.Add(1), since: time.Now()}
	s.clients[c] = struct{}{}
	conn.SetContext(c)
	return true
}

func (s *server) closed(conn redcon.Conn, _ error) {
	if c, ok := conn.Context().(*client); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients, c)
	}
}

// handle is called by redcon with the first command of a pipeline, that is, of
// what one read of the connection brought. It takes the others as well.
func (s *server) handle(conn redcon.Conn, first redcon.Command) {
	c := conn.Context().(*client)
	c.trouble, c.unsent = "", 0
	c.take(first.Args)
	for _, command := range conn.ReadPipeline() {
		if c.quit {
			break
		}
		c.take(command.Args)
	}
	c.flush()
	if c.quit {
		conn.Close()
	}
}

// client is one connection. All of it but the atomics belongs to the connection's
// goroutine.
type client struct {
	server *server
	conn   redcon.Conn
	id     int64
	since  time.Time
	name   atomic.Pointer[string]
	resp3  atomic.Bool // as HELLO has agreed
	quit   bool        // no more commands are taken

	// A run of commands that go the same way, and that the group has not been
	// asked yet.
	run   [][][]byte
	way   kind // read or write
	bytes int

	trouble string // why the rest of the pipeline is refused
	scratch reply
	unsent  int // bytes of replies that redcon holds
}

// take carries a command out, or adds it to the run of those before it that go
// the same way. One proposal carries them all: a pipeline costs as many round
// trips, and syncs of the disk, as it has changes between reading and writing.
// And whatever the way, the commands of a connection keep their order.
func (c *client) take(args [][]byte) {
	c.server.commands.Add(1)
	command := lookUp(args[0])
	if command == nil && (is(args[0], "POST") || is(args[0], "Host:")) {
		// A web page had a browser send this: it must not give us commands.
		c.flush()
		c.quit = true
		return
	}
	if command == nil || !command.takes(len(args)) || command.kind == local {
		c.flush()
		c.answer(command, args)
		return
	}
	size := commandSize(args)
	if size > maxCommandBytes {
		c.flush()
		c.fail(fmt.Sprintf("ERR the command has %d bytes, and a log entry takes %d at most", size, maxCommandBytes))
		return
	}
	way := command.kind
	if way == timed {
		way = write
	}
	if len(c.run) > 0 && (way != c.way || c.bytes+size > maxBatchBytes) {
		c.flush()
	}
	c.run, c.way, c.bytes = append(c.run, args), way, c.bytes+size
}

// answer answers what does not concern the group.
func (c *client) answer(command *command, args [][]byte) {
	r := &c.scratch
	r.b, r.resp3 = r.b[:0], c.resp3.Load()
	switch {
	case command == nil:
		unknownCommand(args, r)
		if is(args[0], "MULTI") {
			// Who sends a transaction at once takes it for refused: then none of it
			// may be carried out.
			c.trouble = "EXECABORT not carried out: there are no transactions here"
		}
	case !command.takes(len(args)):
		r.failf("ERR wrong number of arguments for '%s' command", command.name)
	default:
		command.local(c, args, r)
	}
	c.send(r.b)
}

func unknownCommand(args [][]byte, r *reply) {
	const room = 128 // as Redis
	var list []byte
	for _, a := range args[1:] {
		if len(list) >= room {
			break
		}
		list = fmt.Appendf(list, "'%s' ", a[:min(len(a), room-len(list))])
	}
	r.failf("ERR unknown command '%s', with args beginning with: %s", args[0][:min(len(args[0]), room)], list)
}

// flush asks the group what the run wants.
func (c *client) flush() {
	run := c.run
	for len(run) > 0 && c.trouble == "" && !c.quit {
		count, replies, err := c.server.ask(c.way, run, c.bytes)
		if err != nil {
			run = c.failed(run, err)
			break
		}
		if c.resp3.Load() {
			replies = toRESP3(replies)
		}
		c.send(replies)
		run = run[count:]
	}
	if !c.quit {
		for range run {
			c.fail(c.trouble)
		}
	}
	clear(c.run)
	c.run, c.bytes = c.run[:0], 0
}

// failed tells the client what became of a run, and returns those of its
// commands that have not happened. What follows in the pipeline is not tried: it
// must not overtake what may still happen.
func (c *client) failed(run [][][]byte, err error) [][][]byte {
	text, unknown := c.server.explain(err)
	if !unknown {
		c.trouble = text
		return run
	}
	for range run {
		c.fail(text)
	}
	c.trouble = "TRYAGAIN not carried out: the outcome of an earlier command of this pipeline is unknown"
	return nil
}

// explain puts an error of the group into the words of Redis. Its first word is
// what clients go by: those that know clusters try again after TRYAGAIN and
// CLUSTERDOWN, and LOADING, and may, because nothing has happened. UNKNOWN they hand to the
// application, which alone knows whether doing it twice would hurt.
func (s *server) explain(err error) (text string, unknown bool) {
	why := oneLine(err)
	switch {
	case errors.Is(err, errLoading):
		return fmt.Sprintf("LOADING not carried out: %s, and did not within %v", why, s.timeout), false
	case errors.Is(err, actors.ErrUnknown):
		if errors.Is(err, context.DeadlineExceeded) {
			why = fmt.Sprintf("no answer within %v", s.timeout)
		}
		return "UNKNOWN it may have been carried out, or may be yet: " + why, true
	case errors.Is(err, actors.ErrTooLarge):
		return "ERR " + why, false
	case errors.Is(err, actors.ErrBusy), errors.Is(err, actors.ErrOverwritten):
		return "TRYAGAIN not carried out: " + why, false
	case errors.Is(err, actors.ErrRejected):
		if errors.Is(err, context.DeadlineExceeded) {
			why = fmt.Sprintf("no leader could be reached within %v", s.timeout)
			if e := (*actors.NotLeaderError)(nil); errors.As(err, &e) && e.Node != nil && len(e.Node.Silent) > 0 {
				why += fmt.Sprintf(": members %v do not answer", e.Node.Silent)
			}
		}
		return "CLUSTERDOWN not carried out: " + why, false
	}
	return "ERR " + why, false // the query's own
}

// oneLine returns the text of an error as RESP can carry it.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func (c *client) fail(text string) {
	c.scratch.b = c.scratch.b[:0]
	c.scratch.fail(text)
	c.send(c.scratch.b)
}

// send hands redcon a reply. It goes out at the end of the pipeline, or when
// there is much of it: then a client that does not listen holds up itself, and
// nothing else. For one that has gone, the rest of the pipeline is not carried out.
func (c *client) send(replies []byte) {
	w := redcon.BaseWriter(c.conn)
	w.WriteRaw(replies)
	if c.unsent += len(replies); c.unsent > maxUnflushed {
		c.unsent = 0
		if w.Flush() != nil {
			c.quit = true
		}
	}
}

// ask has the group carry out commands, all of which go the same way. It returns
// how many of them were, and their replies.
func (s *server) ask(way kind, commands [][][]byte, size int) (count int, replies []byte, err error) {
	ctx, cancel := context.WithTimeout(s.life, s.timeout)
	defer cancel()
	g, err := s.reach(ctx)
	if err != nil {
		return 0, nil, err
	}
	var answer []byte
	if way == read {
		question := make([]byte, 0, size+16)
		question = appendQuestion(question, time.Now().UnixMilli())
		answer, err = g.Read(ctx, appendBatch(question, commands))
	}
	if way == write || err == nil && len(answer) == 0 {
		// A write, or a question that depends on the time: see machine.
		answer, err = g.Propose(ctx, appendBatch(make([]byte, 0, size+1), commands))
	}
	if err != nil {
		return 0, nil, err
	}
	count, replies, ok := decodeAnswer(answer)
	if !ok || count < 1 || count > len(commands) {
		return 0, nil, fmt.Errorf("%w: the machine's answer is malformed", actors.ErrUnknown)
	}
	return count, replies, nil
}
