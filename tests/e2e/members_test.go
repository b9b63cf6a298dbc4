//go:build unix

package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var election = flag.Duration("election", 500*time.Millisecond, "the members' election timeout")

// build builds the program once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "castaway-e2e-kv-")
	if err != nil {
		return "", err
	}
	return buildIn("../..", filepath.Join(dir, "kv"))
})

// buildIn builds the program of a source tree.
func buildIn(tree, binary string) (string, error) {
	cmd := exec.Command("go", "build", "-o", binary, "./examples/kv")
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return binary, fmt.Errorf("building examples/kv in %s: %w\n%s", tree, err, out)
	}
	return binary, nil
}

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	code := m.Run()
	if binary, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// silence is the logger of go-redis: that connections are refused is the point.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// cluster is three members, each a process.
type cluster struct {
	t       *testing.T
	dir     string
	flags   []string  // more of them, for every member
	members []*member // by ID - 1
	began   time.Time
}

type member struct {
	*cluster
	id    int
	raft  string
	redis string
	dir   string
	in    []string // what its command begins with

	binary string

	process *exec.Cmd
	exited  chan struct{}
	admin   *redis.Client
}

// newCluster starts three members, and waits until one of them leads.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	ports := freePorts(t, 6)
	c := prepareCluster(t, ports[:3], ports[3:])
	c.start()
	return c
}

// prepareCluster returns three members that are not started, with these addresses.
func prepareCluster(t *testing.T, raft, redis []string) *cluster {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "castaway-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, began: time.Now()}
	for i := range 3 {
		c.members = append(c.members, &member{cluster: c, id: i + 1, raft: raft[i], redis: redis[i], dir: filepath.Join(dir, strconv.Itoa(i+1)), binary: binary})
	}
	t.Cleanup(c.close)
	return c
}

// start starts all members, and waits until one of them leads.
func (c *cluster) start() {
	c.t.Helper()
	for _, m := range c.members {
		m.start()
	}
	c.leader()
}

// close stops the members; and if the test has failed, it says where to look.
func (c *cluster) close() {
	for _, m := range c.members {
		if m.running() {
			m.signal(syscall.SIGCONT)
			m.signal(syscall.SIGTERM)
			select {
			case <-m.exited:
				if !m.process.ProcessState.Success() {
					c.t.Errorf("member %d ended with %v after SIGTERM", m.id, m.process.ProcessState)
				}
			case <-time.After(10 * time.Second):
				c.t.Errorf("member %d did not end within 10 s after SIGTERM", m.id)
				m.kill()
			}
		}
		if m.admin != nil {
			m.admin.Close()
		}
	}
	if !c.t.Failed() {
		os.RemoveAll(c.dir)
		return
	}
	fmt.Fprintf(c.t.Output(), `
What happened is in %[1]s:
  member-1.log …  what the members said, and the library in them (-v)
  1, 2, 3         their data: go run ./examples/kv -dir %[1]s -listen 127.0.0.1:7380 opens all three
  history.txt     what the clients asked and were answered, if this test keeps it
  history.html    the same as a picture, if it is not linearizable
Look at the end of the logs first: a panic, a fault, a term that never ends.
Compare raft.status of the members, and raft.get of a key that is wrong.
`, c.dir)
}

// say notes an event, with its time since the start.
func (c *cluster) say(format string, args ...any) {
	fmt.Fprintf(c.t.Output(), "%7.2fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// freePorts returns addresses that nobody listens on. They are below the ports
// that the system gives to outgoing connections: a member that is down must get
// its own port back.
func freePorts(t *testing.T, n int) (addresses []string) {
	for len(addresses) < n {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(18_000))
		ln, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer ln.Close()
		addresses = append(addresses, address)
	}
	return addresses
}

func (m *member) args() []string {
	var peers []string
	for _, p := range m.members {
		peers = append(peers, fmt.Sprintf("%d=%s", p.id, p.raft))
	}
	return append([]string{"-id", strconv.Itoa(m.id), "-peers", strings.Join(peers, ","), "-redis", m.redis, "-dir", m.dir,
		"-election", election.String(), "-timeout", "4s", "-snapshot", "300", "-v"}, m.flags...)
}

// start starts the process. It does not wait for anything.
func (m *member) start() {
	m.t.Helper()
	log, err := os.OpenFile(filepath.Join(m.cluster.dir, fmt.Sprintf("member-%d.log", m.id)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "\n---- started at %.2fs\n", time.Since(m.began).Seconds())
	command := slices.Concat(m.in, []string{m.binary}, m.args())
	m.process = exec.Command(command[0], command[1:]...)
	m.process.Stdout, m.process.Stderr = log, log
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	process, exited := m.process, make(chan struct{})
	m.exited = exited
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	if m.admin == nil {
		m.admin = connect(m.redis)
	}
}

func (m *member) running() bool {
	if m.exited == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

func (m *member) signal(s syscall.Signal) { _ = m.process.Process.Signal(s) }

// kill is kill -9.
func (m *member) kill() {
	m.signal(syscall.SIGKILL)
	<-m.exited
}

// restart starts a member that was killed, and waits until it has caught up.
func (m *member) restart() {
	m.start()
	m.caughtUp()
}

// status is RAFT.STATUS.
func (m *member) status() (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	lines, err := m.admin.Do(ctx, "RAFT.STATUS").StringSlice()
	if err != nil {
		return nil, err
	}
	facts := map[string]string{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		facts[name] = value
	}
	return facts, nil
}

func number(facts map[string]string, name string) int {
	n, _ := strconv.Atoi(facts[name])
	return n
}

// eventually asks again and again until f returns true.
func (c *cluster) eventually(what string, f func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("after a minute, still: %s", what)
		}
		for _, m := range c.members {
			if m.exited != nil && !m.running() && m.process.ProcessState.ExitCode() >= 0 {
				c.t.Fatalf("member %d ended by itself: %v", m.id, m.process.ProcessState)
			}
		}
	}
}

// leader waits until a member leads, and has everything that was acknowledged
// before.
func (c *cluster) leader() (leader *member) {
	c.t.Helper()
	c.eventually("nobody leads", func() bool {
		term := 0
		for _, m := range c.members {
			if s, err := m.status(); err == nil && s["role"] == "leader" && number(s, "term") > term {
				leader, term = m, number(s, "term")
			}
		}
		return leader != nil
	})
	return leader
}

// caughtUp waits until this member has applied what was committed when it was
// asked, by a leader that it knows.
func (m *member) caughtUp() {
	m.t.Helper()
	commit := -1
	m.eventually(fmt.Sprintf("member %d has not caught up", m.id), func() bool {
		mine, err := m.status()
		if err != nil {
			return false
		}
		leader := number(mine, "leader")
		if leader == 0 {
			return false
		}
		if commit < 0 {
			if s, err := m.members[leader-1].status(); err == nil {
				commit = number(s, "commit")
			}
			return false
		}
		return number(mine, "applied") >= commit
	})
}

// rss is the resident memory of the process in MiB, or zero if this system does
// not tell.
func (m *member) rss() float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.process.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(data, []byte("RssAnon:"))
	var kb float64
	fmt.Sscan(string(rest), &kb)
	return kb / 1024
}

// connect returns a client that asks once, so that what it says happened
// happened once.
func connect(address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: address, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: time.Second, ReadTimeout: 6 * time.Second,
		ContextTimeoutEnabled: true,
	})
}

// outcome is what a client may believe of a request that it sent.
type outcome int

const (
	happened outcome = iota
	rejected         // it did not happen and never will
	unknown          // it may have happened, or may still
	broken           // an answer that should not be
)

func (o outcome) String() string { return [...]string{"ok", "rejected", "unknown", "BROKEN"}[o] }

// outcomeOf understands an error of go-redis.
func outcomeOf(err error) outcome {
	var dial *net.OpError
	var answer redis.Error
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return happened
	case errors.As(err, &dial) && dial.Op == "dial":
		return rejected // it was never sent
	case errors.As(err, &answer):
		for prefix, o := range map[string]outcome{"UNKNOWN ": unknown, "TRYAGAIN ": rejected, "CLUSTERDOWN ": rejected, "LOADING ": rejected} {
			if strings.HasPrefix(answer.Error(), prefix) {
				return o
			}
		}
		return broken
	}
	return unknown // the connection broke, or took too long
}
