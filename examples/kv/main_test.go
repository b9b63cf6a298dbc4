package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run the program as a user does.

var buildDir string // empty if nothing was built

var build = sync.OnceValues(func() (binary string, err error) {
	if buildDir, err = os.MkdirTemp("", "castaway-kv-test-"); err != nil {
		return "", err
	}
	binary = filepath.Join(buildDir, "kv")
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

func program(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// A wrong flag is one line that says what to do, and exit code 2; what goes
// wrong later is one line, and exit code 1.
func TestMistakesAreOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := taken.Addr().String()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	foreign, three := filepath.Join(dir, "foreign"), filepath.Join(dir, "three")
	for _, of := range []string{foreign, filepath.Join(three, "1")} {
		if err := os.MkdirAll(of, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(of, markName), []byte("member 2 of [1]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	temp := t.TempDir() // for data when -dir is not given
	const peers = "1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003"
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"-nosuch", "flag provided but not defined: -nosuch", 2},
		{"-id x", `invalid value "x" for flag -id`, 2},
		{"-timeout 5", `invalid value "5" for flag -timeout`, 2},
		{"serve", `"serve" is not a flag`, 2},
		{"-id 0 -peers " + peers, "-id is 0", 2},
		{"-id 1", "-id needs -peers", 2},
		{"-peers " + peers, "-peers needs -id", 2},
		{"-id 4 -peers " + peers, "-peers has no address for member 4", 2},
		{"-id 1 -peers 127.0.0.1:7001", `"127.0.0.1:7001" is not NUMBER=HOST:PORT`, 2},
		{"-id 1 -peers 1=127.0.0.1", `member 1 cannot be reached at "127.0.0.1"`, 2},
		{"-id 1 -peers 1=127.0.0.1:0", `member 1 cannot be reached at "127.0.0.1:0"`, 2},
		{"-id 1 -peers 1=127.0.0.1:1,1=127.0.0.1:2", "-peers has member 1 twice", 2},
		{"-id 1 -peers 1=127.0.0.1:1,2=127.0.0.1:1", "-peers has 127.0.0.1:1 for members 1 and 2", 2},
		{"-pages " + peers, "-pages needs -id", 2},
		{"-id 1 -peers " + peers + " -pages 2=127.0.0.1:8082", "-pages has no address for member 1", 2},
		{"-id 1 -peers " + peers + " -pages 1=:8081", `-pages: member 1 cannot be reached at ":8081"`, 2},
		{"-id 1 -peers " + peers + " -pages 1=10.0.0.1:8081", "-pages 10.0.0.1:8081 can be reached by other machines", 2},
		{"-redis 6380", `-redis "6380": not HOST:PORT`, 2},
		{"-redis 127.0.0.1:99999", `"99999" is not a port`, 2},
		{"-redis :6380", "can be reached by other machines", 2},
		{"-listen 0.0.0.0:7380", "can be reached by other machines", 2},
		{"-http :8080", "-http :8080 can be reached by other machines", 2},
		{"-http 8080", `-http "8080": not HOST:PORT`, 2},
		{"-timeout 0s", "-timeout is 0s", 2},
		{"-tls-cert " + file, "-tls-cert, -tls-key and -tls-ca go together", 2},
		{"-redis 0.0.0.0:0 -tls-cert a -tls-key b -tls-ca c", "can be reached by other machines", 2},
		{"-redis 127.0.0.1:0 -listen 127.0.0.1:0 -tls-cert " + file + " -tls-key " + file + "x -tls-ca " + file, "no such file", 1},
		{"-election 1ms", "-election is 1ms", 2},
		{"-redis " + used + " -listen 127.0.0.1:0 -dir " + dir + "/a", "cannot serve Redis clients: " + used + ": address already in use", 1},
		{"-redis 127.0.0.1:0 -listen " + used + " -dir " + dir + "/b", "cannot listen for the other members: " + used + ": address already in use", 1},
		{"-redis 127.0.0.1:0 -listen 127.0.0.1:0 -http " + used + " -dir " + dir + "/e", "cannot serve the page: " + used + ": address already in use", 1},
		{"-redis 127.0.0.1:0 -id 1 -peers 1=" + used + " -dir " + dir + "/c", used, 1},
		{"-redis 127.0.0.1:65534 -listen 127.0.0.1:0 -dir " + dir + "/d", "leaves no room for three ports", 1},
		{"-redis 127.0.0.1:0 -listen 127.0.0.1:0 -dir " + file, "not a directory", 1},
		{"-redis 127.0.0.1:0 -id 1 -peers 1=127.0.0.1:1 -dir " + foreign, `belongs to "member 2 of [1]", this is "member 1 of [1]"`, 1},
		{"-redis 127.0.0.1:0 -id 2 -peers 1=127.0.0.1:1,2=127.0.0.1:2 -dir " + foreign, `belongs to "member 2 of [1]", this is "member 2 of [1 2]"`, 1},
		{"-redis 127.0.0.1:0 -listen 127.0.0.1:0 -dir " + foreign, "belongs to one member: name the one above it, or start the member with -id", 1},
		{"-redis 127.0.0.1:0 -id 2 -peers 2=127.0.0.1:1 -dir " + three, "belongs to three members: this one's is in " + three + "/2", 1},
		{"-redis no.such.host.invalid:6380 -insecure -listen 127.0.0.1:0", "cannot serve Redis clients: lookup no.such.host.invalid", 1},
		{"-redis " + used + " -listen 127.0.0.1:0", "address already in use", 1},
		{"-redis 127.0.0.1:0 -id 1 -peers 1=" + used, "address already in use", 1},
	} {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(program(t), strings.Fields(c.args)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != c.code {
			t.Errorf("%s: %v, want exit code %d", c.args, err, c.code)
		}
		line := stderr.String()
		if !strings.HasPrefix(line, "kv: ") || !strings.Contains(line, c.want) || strings.Count(line, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%s\n  says %q\n  want %q\n  and on stdout %q", c.args, line, c.want, stdout.String())
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("new directories are left behind: %v, %v", left, err)
	}
}

// One member of three says why nothing works, to whoever started it and to
// clients, and stops when it is told to.
func TestOneOfThreeSaysWhatIsMissing(t *testing.T) {
	p := start(t, "-id", "1", "-redis", "127.0.0.1:0", "-listen", "127.0.0.1:0", "-election", "50ms", "-timeout", "100ms",
		"-peers", "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3", "-dir", filepath.Join(t.TempDir(), "data"))
	p.until(t, "there is no leader yet: it takes 2 of the 3 members to elect one")
	conn := dial(t, p.redis[0])
	for _, line := range []string{"SET k v", "GET k", "TTL k"} {
		if got, want := conn.pipeline(t, line), "-CLUSTERDOWN not carried out: no leader could be reached within 100ms"; !strings.HasPrefix(got, want) { // and who does not answer, as soon as that is known
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	if got := conn.pipeline(t, "PING"); got != "+PONG" {
		t.Errorf("PING: %s", got)
	}
	p.stop(t, os.Interrupt)
}

func TestHelpExplainsEveryFlag(t *testing.T) {
	out, err := exec.Command(program(t), "-h").Output()
	if err != nil || string(out) != usage {
		t.Errorf("-h: %v\n%s", err, out)
	}
	var o options
	var peers, pages string
	o.flags(&peers, &pages).VisitAll(func(f *flag.Flag) {
		if !strings.Contains(usage, "\n  -"+f.Name+" ") {
			t.Errorf("the usage does not explain -%s", f.Name)
		}
	})
}

// process is a running kv.
type process struct {
	*exec.Cmd
	lines  chan string
	stderr bytes.Buffer
	redis  []string // addresses
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(program(t), args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, lines: make(chan string, 1000)}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	return p
}

// until waits for a line of the output that contains text, and returns it.
func (p *process) until(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, more := <-p.lines:
			if !more {
				t.Fatalf("it ended before it said %q; on stderr: %s", text, p.stderr.String())
			}
			if fields := strings.Fields(line); len(fields) > 3 && fields[0] == "member" && fields[2] == "redis" {
				p.redis = append(p.redis, fields[3])
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("it does not say %q; on stderr: %s", text, p.stderr.String())
		}
	}
}

// stop ends the process as a user does. It has had these complaints, one a line, and no more.
func (p *process) stop(t *testing.T, s os.Signal, complaints ...string) {
	t.Helper()
	began := time.Now()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	p.until(t, "stopped")
	for range p.lines {
	}
	err, stderr := p.Wait(), p.stderr.String()
	if err != nil || strings.Count(stderr, "\n") != len(complaints) || slices.ContainsFunc(complaints, func(c string) bool { return !strings.Contains(stderr, c) }) {
		t.Errorf("after %v: %v, %s", s, err, stderr)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

// TRAPS P8, double start: three members in one process, stopped and started
// again on the same directory, which meanwhile nobody else can use.
func TestThreeMembersInOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"-redis", "127.0.0.1:0", "-listen", "127.0.0.1:0", "-election", "200ms", "-dir", dir}
	for run := range 3 {
		p := start(t, args...)
		p.until(t, "leads (term")
		if len(p.redis) != 3 {
			t.Fatalf("it serves %v", p.redis)
		}
		for i, address := range p.redis {
			conn := dial(t, address)
			if got, want := conn.pipeline(t, "INCR n"), fmt.Sprintf(":%d", 3*run+i+1); got != want {
				t.Errorf("run %d, member %d: %s, want %s", run, i+1, got, want)
			}
		}
		other := exec.Command(program(t), args...)
		var stderr bytes.Buffer
		other.Stdout, other.Stderr = io.Discard, &stderr
		if err := other.Run(); err == nil || stderr.String() != "kv: the directory "+dir+"/1 is in use by another process\n" {
			t.Errorf("a second process on the same directory: %v, %s", err, stderr.String())
		}
		p.stop(t, []os.Signal{os.Interrupt, syscall.SIGTERM}[run%2])
	}
}
