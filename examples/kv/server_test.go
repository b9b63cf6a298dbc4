package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// pipeline sends commands at once, and returns the replies.
func (c *testConn) pipeline(t testing.TB, lines ...string) string {
	t.Helper()
	var all []byte
	for _, line := range lines {
		all = append(all, encode(words(line)...)...)
	}
	c.send(t, all)
	var got []byte
	for range lines {
		got = append(got, c.reply(t)...)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(got), "\r\n", " "))
}

func TestPipelineKeepsItsOrder(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	got := conn.pipeline(t, "SET k 1", "INCR k", "GET k", "PING", "INCR k", "NOSUCH x", "GET k", "GET", "DEL k", "GET k", "ECHO end")
	if want := "+OK :2 $1 2 +PONG :3 -ERR unknown command 'NOSUCH', with args beginning with: 'x'  $1 3 " +
		"-ERR wrong number of arguments for 'get' command :1 $-1 $3 end"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// Many clients, each with pipelines of its own: nobody gets another's reply.
func TestPipelinesOfManyClients(t *testing.T) {
	s := newTestServer(t)
	done := make(chan error)
	for client := range 20 {
		conn := dialServer(t, s)
		go func() {
			for i := range 50 {
				got := conn.pipeline(t, fmt.Sprintf("SET k%d %d", client, i), fmt.Sprintf("GET k%d", client), fmt.Sprintf("INCR k%d", client), "INCR shared")
				if want := fmt.Sprintf("+OK $%d %d :%d :", len(fmt.Sprint(i)), i, i+1); !strings.HasPrefix(got, want) {
					done <- fmt.Errorf("got %s, want %s", got, want)
					return
				}
			}
			done <- nil
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := dialServer(t, s).pipeline(t, "GET shared"); got != "$4 1000" {
		t.Errorf("shared is %s", got)
	}
}

// There are no transactions, so nothing of one is carried out.
func TestTransactionIsRefusedAsAWhole(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	const unknown = "-ERR unknown command '%s', with args beginning with:  "
	got := conn.pipeline(t, "SET k 1", "MULTI", "INCR k", "GET k", "EXEC")
	if want := "+OK " + fmt.Sprintf(unknown, "MULTI") + strings.Repeat("-EXECABORT not carried out: there are no transactions here ", 2) +
		strings.TrimSpace(fmt.Sprintf(unknown, "EXEC")); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := conn.pipeline(t, "INCR k"); got != ":2" {
		t.Errorf("afterwards: %s", got)
	}
}

// A run of writes is one entry of the log, a run of reads one question.
func TestPipelineTravelsInRuns(t *testing.T) {
	g := newFakeGroup()
	conn := dialServer(t, serveGroup(t, g, g.log.gauges))
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{"SET a 1", "INCR a", "APPEND a x", "TTL a"}, "1 proposals, 0 reads"},
		{[]string{"GET a", "GET b", "EXISTS a"}, "0 proposals, 1 reads"},
		{[]string{"SET a 1", "GET a", "SET a 2", "GET a"}, "2 proposals, 2 reads"},
		{[]string{"PING", "ECHO x", "NOSUCH"}, "0 proposals, 0 reads"},
	} {
		conn.pipeline(t, c.lines...)
		if got := g.counts(); got != c.want {
			t.Errorf("%v: %s, want %s", c.lines, got, c.want)
		}
	}
}

// A pipeline that is too long for one entry takes several.
func TestLongPipelineIsSplit(t *testing.T) {
	g := newFakeGroup()
	conn := dialServer(t, serveGroup(t, g, g.log.gauges))
	value := bytes.Repeat([]byte("v"), 300<<10)
	var all []byte
	for i := range 20 {
		all = append(all, encode([]byte("SET"), fmt.Append(nil, i), value)...)
	}
	for i := range 20 {
		all = append(all, encode([]byte("GET"), fmt.Append(nil, i))...)
	}
	go conn.Write(all)
	for range 20 {
		if got := conn.reply(t); string(got) != "+OK\r\n" {
			t.Fatalf("%.100q", got)
		}
	}
	for range 20 {
		if got := conn.reply(t); len(got) != len("$307200\r\n\r\n")+len(value) {
			t.Fatalf("%d bytes, %.100q", len(got), got)
		}
	}
}

func TestCommandThatIsTooLarge(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	fits := bytes.Repeat([]byte("v"), maxCommandBytes-20)
	if got := conn.do(t, []byte("SET"), []byte("k"), fits); string(got) != "+OK\r\n" {
		t.Errorf("%.200q", got)
	}
	if got := conn.do(t, []byte("SET"), []byte("k"), append(fits, make([]byte, 100)...)); !bytes.HasPrefix(got, []byte("-ERR the command has 4194394 bytes")) {
		t.Errorf("%.200q", got)
	}
	if got := conn.do(t, []byte("STRLEN"), []byte("k")); string(got) != fmt.Sprintf(":%d\r\n", len(fits)) {
		t.Errorf("%.200q", got)
	}
}

// Every error says what became of the command; and what follows one whose
// outcome is unknown is not tried.
func TestOutcomesAreTold(t *testing.T) {
	g := newFakeGroup()
	s := serveGroup(t, g, g.log.gauges)
	conn := dialServer(t, s)
	for _, c := range []struct {
		err         error
		first, rest string
	}{
		{fmt.Errorf("%w: %w", actors.ErrUnknown, context.DeadlineExceeded), "-UNKNOWN it may have been carried out, or may be yet: no answer within 10s", "-TRYAGAIN not carried out: the outcome of an earlier"},
		{actors.ErrUnknown, "-UNKNOWN it may have been carried out, or may be yet: outcome unknown", "-TRYAGAIN not carried out"},
		{actors.ErrBusy, "-TRYAGAIN not carried out: rejected: too much is waiting already", ""},
		{actors.ErrOverwritten, "-TRYAGAIN not carried out: ", ""},
		{actors.ErrTooLarge, "-ERR rejected: the command is too large", ""},
		{errors.Join(&actors.NotLeaderError{Group: "kv"}, context.DeadlineExceeded), "-CLUSTERDOWN not carried out: no leader could be reached within 10s", ""},
		{errors.Join(&actors.NotLeaderError{Group: "kv", Node: &raftcore.Status{Silent: []raftcore.NodeID{2, 3}}}, context.DeadlineExceeded), "-CLUSTERDOWN not carried out: no leader could be reached within 10s: members [2 3] do not answer", ""},
		{actors.ErrStopped, "-CLUSTERDOWN not carried out: rejected: stopped", ""},
		{fmt.Errorf("%w: disk\r\non fire", actors.ErrFaulted), "-CLUSTERDOWN not carried out: rejected: the member is faulted: disk; on fire", ""},
		{errors.New("no such question"), "-ERR no such question", ""},
	} {
		if c.rest == "" {
			c.rest = c.first
		}
		g.mu.Lock()
		g.fail = c.err
		g.mu.Unlock()
		conn.send(t, append(encode(words("SET k v")...), append(encode(words("GET k")...), encode(words("PING")...)...)...))
		if got := string(conn.reply(t)); !strings.HasPrefix(got, c.first) || strings.Count(got, "\n") != 1 {
			t.Errorf("%v: %q, want %q", c.err, got, c.first)
		}
		if got := string(conn.reply(t)); !strings.HasPrefix(got, c.rest) {
			t.Errorf("%v: then %q, want %q", c.err, got, c.rest)
		}
		if got := string(conn.reply(t)); got != "+PONG\r\n" {
			t.Errorf("%v: PING after it: %q", c.err, got)
		}
	}
	g.mu.Lock()
	g.fail = nil
	g.mu.Unlock()
	if got := conn.pipeline(t, "SET k v", "GET k"); got != "+OK $1 v" {
		t.Errorf("afterwards: %s", got)
	}
}

// TRAPS C7: the clock of the member that is asked is a reason to ask the log, and
// no answer. Here it is far ahead of the leader's, or behind it.
func TestClockOfTheFrontEndDoesNotMatter(t *testing.T) {
	g := newFakeGroup()
	conn := dialServer(t, serveGroup(t, g, g.log.gauges))
	hour := int64(time.Hour / time.Millisecond)

	g.now = time.Now().UnixMilli() - 2*hour // the front end is two hours ahead
	conn.pipeline(t, "SET k v EX 3600")
	g.counts()
	if got := conn.pipeline(t, "GET k"); got != "$1 v" || g.counts() != "1 proposals, 1 reads" {
		t.Errorf("GET by a clock that is ahead: %s", got)
	}
	if got := conn.pipeline(t, "TTL k"); got != ":3600" {
		t.Errorf("TTL by a clock that is ahead: %s", got)
	}
	g.mu.Lock()
	g.now += hour
	g.mu.Unlock()
	if got := conn.pipeline(t, "GET k", "EXISTS k"); got != "$-1 :0" {
		t.Errorf("after the deadline by log time: %s", got)
	}

	g.mu.Lock()
	g.now = time.Now().UnixMilli() + 2*hour // and now behind
	g.mu.Unlock()
	conn.pipeline(t, "SET k v EX 3600")
	g.counts()
	if got := conn.pipeline(t, "GET k"); got != "$1 v" || g.counts() != "0 proposals, 1 reads" {
		t.Errorf("GET by a clock that is behind: %s", got)
	}
}

// The leader, and nobody else, tells the log the time when a deadline passes.
func TestLeaderTicksWhenADeadlinePasses(t *testing.T) {
	g := newFakeGroup()
	g.role, g.proposed = raftcore.Leader, make(chan []byte, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		expire(ctx, g, g.log.gauges)
	}()
	g.mu.Lock()
	g.log.at(time.Now().UnixMilli(), "SET k v PX 30")
	g.now = time.Now().UnixMilli() + 30
	g.mu.Unlock()
	select {
	case data := <-g.proposed:
		if !bytes.Equal(data, tick) {
			t.Errorf("it proposed %x", data)
		}
	case <-ctx.Done():
		t.Fatal("nothing was proposed")
	}
	cancel()
	<-done
	if g.log.keys.size != 0 {
		t.Error("the key is still there")
	}
}

func TestFollowerDoesNotTick(t *testing.T) {
	g := newFakeGroup()
	g.role = raftcore.Follower
	g.log.at(1, "SET k v PX 1")
	tellTime(context.Background(), g)
	if got := g.counts(); got != "0 proposals, 0 reads" {
		t.Error(got)
	}
}

func TestInfoHasARaftSection(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	conn.pipeline(t, "SET k v EX 100", "SET l v")
	all := string(conn.do(t, []byte("INFO")))
	for _, want := range []string{"# Server\r\n", "redis_version:7.0.15\r\n", "# Clients\r\n", "connected_clients:1\r\n",
		"# Raft\r\n", "role:leader\r\n", "term:", "leader:1\r\n", "commit:3\r\n", "applied:3\r\n", "# Keyspace\r\ndb0:keys=2,expires=1"} {
		if !strings.Contains(all, want) {
			t.Errorf("INFO has no %q:\n%s", want, all)
		}
	}
	raft := string(conn.do(t, []byte("info"), []byte("raft")))
	if !strings.Contains(raft, "\n# Raft\r\n") || strings.Contains(raft, "# Server") {
		t.Errorf("INFO raft: %s", raft)
	}
	if got := string(conn.do(t, []byte("RAFT.STATUS"))); !strings.Contains(got, "\r\nrole:leader\r\n") {
		t.Errorf("RAFT.STATUS: %s", got)
	}
	if got := string(conn.do(t, []byte("RAFT.GET"), []byte("l"))); got != "$1\r\nv\r\n" {
		t.Errorf("RAFT.GET: %q", got)
	}
}

func TestHelloAgreesOnTheProtocol(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	const about = "$6 server $5 redis $7 version $6 7.0.15 $5 proto :%d $2 id :1 $4 mode $10 standalone $4 role $6 master $7 modules *0"
	two, three := "*14 "+fmt.Sprintf(about, 2), "%7 "+fmt.Sprintf(about, 3)
	for _, c := range [][2]string{
		{"HELLO", two},
		{"GET k", "$-1"},
		{"HELLO 4", "-NOPROTO unsupported protocol version"},
		{"HELLO 3 AUTH somebody x", "-WRONGPASS invalid username-password pair or user is disabled."},
		{"GET k", "$-1"},
		{"HELLO 3 AUTH default x SETNAME me", three},
		{"HELLO", three},
		{"CLIENT GETNAME", "$2 me"},
		{"GET k", "_"},
		{"SET k $-1", "+OK"},
		{"MGET k nosuch k", "*3 $3 $-1 _ $3 $-1"},
		{"SET k v NX", "_"},
		{"RAFT.GET nosuch", "_"},
		{"CONFIG GET timeout", "%1 $7 timeout $1 0"},
		{"COMMAND INFO nosuch", "*1 _"},
		{"CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."},
		{"RESET", "+RESET"},
		{"GET nosuch", "$-1"},
	} {
		if got := conn.pipeline(t, c[0]); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
	if got := conn.pipeline(t, "HELLO 2 SETNAME me", "CLIENT LIST"); !strings.Contains(got, "id=1 addr=127.0.0.1:") || !strings.Contains(got, "name=me") || !strings.Contains(got, "resp=2") {
		t.Errorf("CLIENT LIST: %s", got)
	}
	for _, line := range []string{"HELLO 3", "COMMAND", "COMMAND DOCS", "CLIENT HELP"} {
		conn.pipeline(t, line) // must be well formed
	}
}

// Whatever a web page can have a browser send to a port, it is not carried out.
func TestBrowsersAreCutOff(t *testing.T) {
	s := newTestServer(t)
	for _, request := range []string{
		"POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\nSET k v\r\n",
		"GET / HTTP/1.1\r\nHost: 127.0.0.1:6380\r\n\r\nSET k v\r\n",
	} {
		conn := dialServer(t, s)
		conn.send(t, []byte(request))
		rest, err := io.ReadAll(conn.r)
		if err != nil || bytes.Contains(rest, []byte("OK")) {
			t.Errorf("%q: %q %v", request, rest, err)
		}
	}
	if got := dialServer(t, s).pipeline(t, "EXISTS k"); got != ":0" {
		t.Errorf("EXISTS k: %s", got)
	}
}

// A client that comes while the member reads its disk waits for that no longer than for anything
// else, and is told that nothing has happened.
func TestClientsThatComeBeforeTheMemberIsOpen(t *testing.T) {
	address, err := freeAddress("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	redis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(memberConfig{
		id: 1, listen: address, peers: map[raftcore.NodeID]string{1: address}, redis: redis, dir: t.TempDir(),
		timeout: 50 * time.Millisecond, election: 100 * time.Millisecond, logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	conn := dialServer(t, m.server)
	for _, line := range []string{"SET k v", "GET k", "RAFT.GET k"} {
		if got := conn.pipeline(t, line); got != "-LOADING not carried out: the member has yet to read its disk, and did not within 50ms" {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := conn.pipeline(t, "PING"); got != "+PONG" {
		t.Errorf("PING: %s", got)
	}
	if err := m.open(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := conn.pipeline(t, "SET k v")
	for strings.HasPrefix(got, "-CLUSTERDOWN") || strings.HasPrefix(got, "-UNKNOWN") { // it is a short time
		got = conn.pipeline(t, "SET k v")
	}
	if got != "+OK" {
		t.Errorf("SET: %s", got)
	}
}

// When a client has gone, the group is not asked the rest of what it sent.
func TestPipelineOfAClientThatHasGone(t *testing.T) {
	g := newFakeGroup()
	s := serveGroup(t, g, g.log.gauges)
	conn := dialServer(t, s)
	conn.do(t, []byte("SET"), []byte("k"), make([]byte, maxUnflushed+1))
	const gets = 200 // few enough for redcon to read them at once
	conn.send(t, bytes.Repeat(encode([]byte("GET"), []byte("k")), gets))
	conn.reply(t)
	conn.Close()
	other := dialServer(t, s)
	for strings.Contains(other.pipeline(t, "CLIENT LIST"), "id=1 ") {
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reads > gets/2 {
		t.Errorf("the group was asked %d of %d questions", g.reads, gets)
	}
}

func TestCommandTellsOfEveryCommand(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	if got := conn.pipeline(t, "COMMAND COUNT"); got != fmt.Sprintf(":%d", len(commands)) {
		t.Errorf("COMMAND COUNT: %s", got)
	}
	if got := conn.pipeline(t, "COMMAND INFO get nosuch"); got != "*2 *10 $3 get :2 *1 +readonly :1 :1 :1 *0 *0 *0 *0 $-1" {
		t.Errorf("COMMAND INFO: %s", got)
	}
	if got := conn.pipeline(t, "COMMAND DOCS setnx"); got != "*2 $5 setnx *6 $7 summary $37 Give a key a value, unless it has one $5 group $6 string $9 arguments "+
		"*2 *4 $4 name $3 key $4 type $6 string *4 $4 name $5 value $4 type $6 string" {
		t.Errorf("COMMAND DOCS: %s", got)
	}
	for _, line := range []string{"COMMAND", "COMMAND DOCS", "COMMAND LIST", "COMMAND INFO"} {
		conn.pipeline(t, line) // must be well formed
	}
	for name, c := range commands {
		if c.name != name || c.about == "" || (c.run == nil) == (c.local == nil) || (c.kind == local) != (c.local != nil) || len(name) > 16 {
			t.Errorf("the table is wrong about %s", name)
		}
	}
}

func TestQuitClosesTheConnection(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	conn.send(t, append(encode([]byte("QUIT")), encode([]byte("SET"), []byte("k"), []byte("v"))...))
	rest, err := io.ReadAll(conn.r)
	if err != nil || string(rest) != "+OK\r\n" {
		t.Errorf("%q %v", rest, err)
	}
	if got := dialServer(t, newTestServer(t)).pipeline(t, "GET k"); got != "$-1" {
		t.Errorf("what came after QUIT was carried out: %s", got)
	}
}

func TestInlineCommands(t *testing.T) {
	conn := dialServer(t, newTestServer(t))
	conn.send(t, []byte("\r\nset k \"a b\"\r\nget k\nPING\r\n"))
	for _, want := range []string{"+OK\r\n", "$3\r\na b\r\n", "+PONG\r\n"} {
		if got := string(conn.reply(t)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
