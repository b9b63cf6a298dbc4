package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var redisAddress = flag.String("redis", "", "the `address` of a Redis 7.0 to record answers of, and to compare with; its data is removed. Without it one is started to compare with")

// testdata/redis.txt has what a Redis 7.0.15 answered to the commands in
// testdata/commands.txt. We answer the same, byte by byte.
func TestAnswersAreThoseOfRedis(t *testing.T) {
	if *redisAddress != "" {
		record(t)
	}
	recorded, err := os.ReadFile("testdata/redis.txt")
	if err != nil {
		t.Fatal(err)
	}
	conn := dialServer(t, newTestServer(t))
	lines := strings.Split(strings.TrimSpace(string(recorded)), "\n")
	for pair := range slices.Chunk(lines, 2) {
		if got := printReply(conn.do(t, splitLine(t, pair[0])...)); got != pair[1] {
			t.Errorf("%s\n got: %s\nwant: %s", pair[0], got, pair[1])
		}
	}
}

// record asks a real Redis.
func record(t *testing.T) {
	commands, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, *redisAddress)
	conn.do(t, []byte("FLUSHALL"))
	var out bytes.Buffer
	for line := range strings.Lines(string(commands)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fmt.Fprintf(&out, "%s\n%s\n", line, printReply(conn.do(t, splitLine(t, line)...)))
	}
	if err := os.WriteFile("testdata/redis.txt", out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// splitLine splits a line into words; those in quotes are as in Go.
func splitLine(t *testing.T, line string) (args [][]byte) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		word, rest, _ := strings.Cut(line, " ")
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			word, _ = strconv.Unquote(quoted)
			rest = line[len(quoted):]
		}
		args = append(args, []byte(word))
		line = rest
	}
	return args
}

// printReply puts RESP into one line.
func printReply(resp []byte) string {
	s := strconv.Quote(string(resp))
	return "    " + strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`)
}

// testConn is a connection to a server.
type testConn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, address string) *testConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &testConn{conn, bufio.NewReader(conn)}
}

func dialServer(t testing.TB, s *server) *testConn { return dial(t, s.ln.Addr().String()) }

// encode encodes a command as clients send it.
func encode(args ...[]byte) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b
}

// do sends a command and returns the reply as it came.
func (c *testConn) do(t testing.TB, args ...[]byte) []byte {
	t.Helper()
	c.send(t, encode(args...))
	return c.reply(t)
}

func (c *testConn) send(t testing.TB, data []byte) {
	t.Helper()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
}

// reply reads one reply.
func (c *testConn) reply(t testing.TB) []byte {
	t.Helper()
	line, err := c.r.ReadBytes('\n')
	if err != nil {
		t.Fatalf("reading a reply: %v (after %q)", err, line)
	}
	n, _ := strconv.Atoi(string(line[1 : len(line)-2]))
	switch line[0] {
	case '$':
		if n < 0 {
			return line
		}
		body := make([]byte, n+2)
		for read := 0; read < len(body); {
			k, err := c.r.Read(body[read:])
			if err != nil {
				t.Fatal(err)
			}
			read += k
		}
		return append(line, body...)
	case '*', '%':
		if line[0] == '%' {
			n *= 2
		}
		for range n {
			line = append(line, c.reply(t)...)
		}
	}
	return line
}

// aRedis returns the address of a Redis to compare with: the one that -redis names, or
// one that is started for the test.
func aRedis(t *testing.T) string {
	if *redisAddress != "" {
		return *redisAddress
	}
	version, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		t.Skipf("not compared with a real Redis: that needs redis-server 7.0, or -redis 127.0.0.1:6379: %v", err)
	}
	if !strings.Contains(string(version), "v=7.0.") {
		t.Skipf("not compared with a real Redis: the answers are those of 7.0, and here is %s", version)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // somebody else might take it meanwhile: then Redis says so and ends
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	said := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go io.Copy(io.Discard, out) // until it is killed
			return address
		}
	}
	t.Fatalf("redis-server did not start:\n%s", said)
	return ""
}

// Random commands are sent to a real Redis, and to us.
func TestRandomCommandsAreAnsweredAsByRedis(t *testing.T) {
	redis, ours := dial(t, aRedis(t)), dialServer(t, newTestServer(t))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	redis.do(t, []byte("FLUSHALL"))
	var history []string
	for range 50_000 {
		args := randomCommand(random)
		want, got := redis.do(t, args...), ours.do(t, args...)
		if is(args[0], "keys") {
			want, got = sortedReply(want), sortedReply(got)
		}
		history = append(history, fmt.Sprintf("%q", args))
		if !bytes.Equal(got, want) {
			t.Fatalf("%s\n got: %q\nwant: %q\nafter %s", history[len(history)-1], got, want, strings.Join(history[max(0, len(history)-20):], "\n"))
		}
	}
}

func randomCommand(random *rand.Rand) [][]byte {
	pick := func(list ...string) []byte { return []byte(list[random.IntN(len(list))]) }
	// No deadline is close: the clocks differ.
	argument := func() []byte {
		return pick("a", "b", "c", "d", "e", "0", "1", "-1", "5", "12", "-7", "100000", "99999999999", "99999999999999",
			"9223372036854775807", "-9223372036854775808", "x", "", "[ab]", "*", "?", "[^a]", "\\a", "nx", "XX", "gt", "LT", "get", "KEEPTTL",
			"exat", "PXAT", "some longer value")
	}
	for {
		name := slices.Sorted(maps.Keys(commands))[random.IntN(len(commands))]
		c := commands[name]
		if c.kind == local || c.kind == timed || name == "scan" || name == "randomkey" ||
			name == "dbsize" || // Redis counts keys that have expired and were not touched since
			strings.HasPrefix(name, "flush") && random.IntN(20) > 0 {
			continue
		}
		n := max(c.arity, -c.arity)
		if c.arity < 0 || random.IntN(20) == 0 {
			n += random.IntN(4)
		}
		args := [][]byte{[]byte(name)}
		for i := 1; i < n; i++ {
			a := argument()
			switch {
			case i == 1 && random.IntN(10) > 0:
				a = pick("a", "b", "c", "d", "e")
			case name == "expire" || name == "pexpire" || name == "setex" || name == "psetex":
				if i == 2 { // relative: the result would depend on the clock
					a = pick("-1", "0", "x", "9223372036854775807", "-9223372036854775808")
				}
			}
			args = append(args, a)
		}
		return args
	}
}

// sortedReply sorts the elements of an array of bulk strings.
func sortedReply(resp []byte) []byte {
	elements := bytes.Split(bytes.TrimSuffix(resp, []byte("\r\n")), []byte("\r\n$"))
	slices.SortFunc(elements[1:], bytes.Compare)
	return bytes.Join(elements, []byte("\r\n$"))
}
