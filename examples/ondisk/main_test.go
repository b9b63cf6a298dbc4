package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/examples/internal/slowdisk"
	"github.com/castaway-go/castaway/persistence/badgerstore"
)

// These tests run the program as a user does, one process a member, and kill it.

var buildDir string // empty if nothing was built

var build = sync.OnceValues(func() (binary string, err error) {
	if buildDir, err = os.MkdirTemp("", "castaway-ondisk-test-"); err != nil {
		return "", err
	}
	binary = filepath.Join(buildDir, "ondisk")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

const patient = time.Minute // for what takes milliseconds

// member is a process that is started again and again.
type member struct {
	t    *testing.T
	dir  string
	args []string

	cmd    *exec.Cmd
	lines  chan string
	stderr *bytes.Buffer

	mu   sync.Mutex
	http string // where it serves clients; empty: it does not run
}

// newMembers starts three members.
func newMembers(t *testing.T, args ...string) (members []*member) {
	t.Helper()
	var peers []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // they are three different ones
		peers = append(peers, l.Addr().String())
	}
	dir := t.TempDir()
	for i := range peers {
		m := &member{t: t, dir: filepath.Join(dir, fmt.Sprint(i+1))}
		m.args = append([]string{"-id", fmt.Sprint(i + 1), "-peers", strings.Join(peers, ","), "-http", "127.0.0.1:0", "-dir", m.dir, "-election", "300ms"}, args...)
		members = append(members, m)
		t.Cleanup(m.kill)
	}
	return members
}

// start starts it; it serves clients then.
func (m *member) start() {
	m.t.Helper()
	m.launch(exec.Command(program(m.t), m.args...))
	m.serves()
}

func program(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// launch starts it with a command.
func (m *member) launch(cmd *exec.Cmd) {
	m.t.Helper()
	m.cmd, m.stderr = cmd, &bytes.Buffer{}
	m.cmd.Stderr = m.stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	lines := make(chan string, 1000)
	m.lines = lines
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	}()
}

// serves waits until it serves clients.
func (m *member) serves() {
	m.t.Helper()
	line := m.until("serves http://")
	m.mu.Lock()
	defer m.mu.Unlock()
	_, m.http, _ = strings.Cut(line, "serves ")
}

// until returns a line of the output that contains a text.
func (m *member) until(text string) string {
	m.t.Helper()
	deadline := time.After(patient)
	for {
		select {
		case line, more := <-m.lines:
			if !more {
				m.t.Fatalf("it ended before it said %q; on stderr: %s", text, m.stderr)
			}
			m.t.Logf("%s: %s", filepath.Base(m.dir), line)
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			m.t.Fatalf("it does not say %q", text)
		}
	}
}

// kill is kill -9.
func (m *member) kill() {
	m.mu.Lock()
	m.http = ""
	m.mu.Unlock()
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		for range m.lines { // else the pipe is closed before it is read
		}
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

var client = &http.Client{Timeout: time.Second}

// try asks a member once.
func (m *member) try(method, path, body string) (answer string, ok bool) {
	m.mu.Lock()
	at := m.http
	m.mu.Unlock()
	if at == "" {
		return "", false
	}
	r, err := http.NewRequest(method, at+path, strings.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return "", false
	}
	response, err := client.Do(r)
	if err != nil {
		return "", false
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return strings.TrimSpace(string(b)), err == nil && response.StatusCode == http.StatusOK
}

// ask asks members, one after the other, until one has answered.
func ask(t *testing.T, members []*member, method, path, body string) string {
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); {
		for _, m := range members {
			if answer, ok := m.try(method, path, body); ok {
				return answer
			}
		}
	}
	t.Errorf("nobody answers %s %s", method, path)
	return ""
}

// TestA1C1_NothingIsLostOrDoubledByKills: members are killed, one after the other, while a
// client counts. What it was told is there, once; and who was killed goes on with what he has.
func TestA1C1_NothingIsLostOrDoubledByKills(t *testing.T) {
	members := newMembers(t, "-snapshot", "100")
	for _, m := range members {
		m.start()
	}
	ask(t, members, "POST", "/postings", "opened 1")
	for _, m := range members {
		ask(t, []*member{m}, "GET", "/accounts/opened", "") // so it has something
	}
	session := ask(t, members, "POST", "/sessions", "")
	counted, enough, ended := make(chan int, 1), make(chan bool), make(chan int)
	go func() {
		for n := 1; ; n++ {
			path := fmt.Sprintf("/postings?session=%s&sequence=%d", session, n)
			if answer := ask(t, slices.Concat(members[n%3:], members[:n%3]), "POST", path, "visits 1"); answer != fmt.Sprint(n) {
				t.Errorf("when it was counted the %dth time there were %q", n, answer)
			}
			select {
			case counted <- n:
			default: // one is enough to see that it goes on
			}
			select {
			case <-enough:
				ended <- n
				return
			default:
			}
		}
	}()
	for round := range 9 {
		for range 10 {
			<-counted
		}
		m := members[round%3]
		m.kill()
		m.start()
		m.until("the ledger is on the disk, and goes on from there")
	}
	close(enough)
	total := <-ended
	for _, m := range members {
		if got := ask(t, []*member{m}, "GET", "/accounts/visits", ""); got != fmt.Sprint(total) {
			t.Errorf("%s has %s, instead of %d", m.dir, got, total)
		}
	}
	t.Logf("%d were counted", total)
}

// TestS1_AMemberThatWasAwayIsSentTheState, when the log does not go back so far. Nobody
// else has written it: the snapshots that cut the log are small.
func TestS1_AMemberThatWasAwayIsSentTheState(t *testing.T) {
	members := newMembers(t, "-snapshot", "20")
	for _, m := range members {
		m.start()
	}
	here, away := members[:2], members[2]
	ask(t, members, "POST", "/postings", "before 1")
	if got := ask(t, []*member{away}, "GET", "/accounts/before", ""); got != "1" {
		t.Fatalf("it has %s", got)
	}
	away.kill()
	for i := range 100 {
		var command strings.Builder
		for k := range 200 {
			fmt.Fprintf(&command, "account-%d 1\n", i*100+k)
		}
		ask(t, here, "POST", "/postings", command.String())
	}
	for deadline := time.Now().Add(patient); ; {
		var role, state string
		var first int
		status, _ := here[0].try("GET", "/status", "")
		if n, _ := fmt.Sscanf(status, "%s %s the log from %d", &state, &role, &first); n == 3 && first > 40 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log is not cut: %s", status)
		}
		ask(t, here, "POST", "/postings", "filler 1")
	}
	for _, m := range here {
		size := largestSnapshot(t, m.dir)
		for deadline := time.Now().Add(patient); size == 0 && time.Now().Before(deadline); {
			size = largestSnapshot(t, m.dir) // one took another's place while it was looked for
		}
		if size == 0 || size > 8<<10 {
			t.Errorf("the largest snapshot of %s has %d bytes", m.dir, size)
		}
	}
	away.start()
	away.until("another member has sent")
	for account, want := range map[string]string{"account-5000": "2", "account-0": "1", "before": "1", "nobody": "0"} {
		if got := ask(t, []*member{away}, "GET", "/accounts/"+account, ""); got != want {
			t.Errorf("it has %s in %s, instead of %s", got, account, want)
		}
	}
	away.kill()
	away.start()
	away.until("goes on from there")
	if got := ask(t, []*member{away}, "GET", "/accounts/account-9999", ""); got != "2" {
		t.Errorf("when it is started again it has %s", got)
	}
}

// TestWhatTakesLongIsShown: a member of which the disk reads slowly says how far it is with its
// journal.
func TestWhatTakesLongIsShown(t *testing.T) {
	members := newMembers(t)
	for _, m := range members {
		m.start()
	}
	ask(t, members, "POST", "/postings", "alice 100")
	m := members[0]
	ask(t, []*member{m}, "GET", "/accounts/alice", "") // so it has it
	m.kill()
	m.launch(slowdisk.Command(t, m.dir, program(t), m.args...))
	if line := m.until("reading the journal: "); !strings.Contains(line, " % of 67.1 MB, ") {
		t.Errorf("it says %q", line)
	}
	m.until("reading the journal: done, ")
	m.serves()
	if got := ask(t, []*member{m}, "GET", "/accounts/alice", ""); got != "100" {
		t.Errorf("it has %s", got)
	}
}

func largestSnapshot(t *testing.T, dir string) (size int64) {
	t.Helper()
	under, _ := badgerstore.Options{Dir: filepath.Join(dir, "log")}.Snapshots()
	err := filepath.WalkDir(under, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size = max(size, info.Size())
		}
		if os.IsNotExist(err) { // it was removed meanwhile
			return nil
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	return size
}
