package main

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/cluster"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/examples/internal/slowdisk"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestVisitsKeepTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New:       func() actors.StateMachine { return &visits{} },
		Command:   func(*rand.Rand) []byte { return nil },
		Canonical: true,
	})
}

func TestWhatIsDiscovered(t *testing.T) {
	type peers = map[raftcore.NodeID]string
	say := func(kinds ...string) *cluster.Member { return &cluster.Member{Kinds: append(kinds, "prototopic")} }
	for name, c := range map[string]struct {
		known   peers
		members cluster.Members
		want    peers
		wrong   string // in one error for each line
	}{
		"nobody is there":         {nil, nil, peers{}, ""},
		"hosts are heard of":      {nil, cluster.Members{say(hostKind(1, "a:1")), say(hostKind(2, "[::1]:2"))}, peers{1: "a:1", 2: "[::1]:2"}, ""},
		"one has moved":           {peers{1: "a:1", 2: "b:1"}, cluster.Members{say(hostKind(1, "a:2"))}, peers{1: "a:2", 2: "b:1"}, ""},
		"one is away":             {peers{1: "a:1", 2: "b:1"}, cluster.Members{say(hostKind(2, "b:1"))}, peers{1: "a:1", 2: "b:1"}, ""},
		"its port is another's":   {peers{1: "a:1"}, cluster.Members{say(hostKind(2, "a:1"))}, peers{2: "a:1"}, ""},
		"two say the same":        {peers{1: "a:1"}, cluster.Members{say(hostKind(1, "a:2")), say(hostKind(1, "a:3"))}, peers{1: "a:1"}, "host 1, at a:2 and at a:3"},
		"two, of whom nobody was": {nil, cluster.Members{say(hostKind(1, "a:2")), say(hostKind(1, "a:3"))}, peers{}, "host 1, at a:2 and at a:3"},
		"another program":         {peers{1: "a:1"}, cluster.Members{say("user")}, peers{1: "a:1"}, ""},
		"garbage": {peers{1: "a:1"}, cluster.Members{say(kindPrefix + "1"), say(kindPrefix + "0@a:1"), say(kindPrefix + "-1@a:1"), say(kindPrefix + "x@a:1"), say(kindPrefix + "2@a")},
			peers{1: "a:1"}, "missing port\nno host\ninvalid syntax\ninvalid syntax\nmissing port"},
	} {
		t.Run(name, func(t *testing.T) {
			got, wrong := discover(c.known, c.members)
			if !maps.Equal(got, c.want) {
				t.Errorf("the hosts are %v, not %v", got, c.want)
			}
			var want []string
			if c.wrong != "" {
				want = strings.Split(c.wrong, "\n")
			}
			if len(wrong) != len(want) {
				t.Fatalf("wrong is %v", wrong)
			}
			for i := range want {
				if !strings.Contains(wrong[i].Error(), want[i]) {
					t.Errorf("%q is not said: %v", want[i], wrong[i])
				}
			}
		})
	}
}

var buildDir string // empty if nothing was built

var build = sync.OnceValues(func() (binary string, err error) {
	if buildDir, err = os.MkdirTemp("", "castaway-discovery-test-"); err != nil {
		return "", err
	}
	binary = filepath.Join(buildDir, "discovery")
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

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(binary, args...)
}

func TestInOneProcess(t *testing.T) {
	out, err := command(t).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, act := range []string{
		`(?s)host 1: knows all of \[1 2 3\], who found the group\n.*host 1: voters \[1 2 3\], learners \[\].*A fourth host comes:\n`,
		`(?s)A fourth host comes:\n.*host 1: host 4 is at .*host 1: voters \[1 2 3\], learners \[4\].*Host 2 is stopped:\n`,
		`(?s)Host 2 is stopped:\n.*host 1: voters \[1 3 4\], learners \[\].*Host 2 comes back, at another port:\n`,
		`(?s)at another port:\n.*host 1: host 2 is at .*host 2: voters \[1 3 4\], learners \[2\]`,
	} {
		if !regexp.MustCompile(act).Match(out) {
			t.Errorf("it is not %s:\n%s", act, out)
		}
	}
}

const patient = time.Minute // for what takes seconds

// process is a host, in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	stderr bytes.Buffer
}

func startProcess(t *testing.T, id int, dir, seeds string) *process {
	t.Helper()
	return startCommand(t, command(t, "-id", fmt.Sprint(id), "-dir", filepath.Join(dir, fmt.Sprint(id)), "-seeds", seeds))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, lines: make(chan string, 1000)}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	t.Cleanup(func() { p.end(os.Kill) })
	return p
}

// until returns what the next line says that has this text in it, after that.
func (p *process) until(text string) string {
	p.t.Helper()
	deadline := time.After(patient)
	for {
		select {
		case line, more := <-p.lines:
			if !more {
				p.t.Fatalf("it ended before it said %q; on stderr: %s", text, &p.stderr)
			}
			p.t.Log(line)
			if _, rest, found := strings.Cut(line, text); found {
				return rest
			}
		case <-deadline:
			p.t.Fatalf("it does not say %q", text)
		}
	}
}

// end ends it, and returns what it ended with.
func (p *process) end(how os.Signal) error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	_ = p.cmd.Process.Signal(how)
	for range p.lines { // else the pipe is closed before it is read
	}
	return p.cmd.Wait()
}

// freeAddresses returns four different ones.
func freeAddresses(t *testing.T) string {
	t.Helper()
	var addresses []string
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return strings.Join(addresses, ",")
}

// TestProcesses: three hosts find one another; one is killed, and comes back at another port;
// a fourth comes; and it takes the place of one that does not come back.
func TestProcesses(t *testing.T) {
	dir, all := t.TempDir(), freeAddresses(t)
	one, two := startProcess(t, 1, dir, all), startProcess(t, 2, dir, all)
	one.until("host 2 is at ")
	three := startProcess(t, 3, dir, all)
	before := three.until("listens at ")
	visits := map[string]bool{}
	for _, p := range []*process{one, two, three} {
		p.until("knows all of [1 2 3], who found the group")
		p.until("voters [1 2 3], learners []")
		visits[p.until("this is visit ")] = true
	}
	if !maps.Equal(visits, map[string]bool{"1": true, "2": true, "3": true}) {
		t.Errorf("the visits of one group are %v", visits)
	}

	_ = three.end(os.Kill)
	three = startProcess(t, 3, dir, all)
	after := three.until("listens at ")
	if after == before {
		t.Fatalf("host 3 has drawn port %s twice: this is not what was to be tested", after)
	}
	three.until("has the group on its disk")
	if n := three.until("this is visit "); n != "4" {
		t.Errorf("it is visit %s", n)
	}
	for _, p := range []*process{one, two} {
		if at := p.until("host 3 is at "); at != after {
			t.Errorf("host 3 is said to be at %s, not at %s", at, after)
		}
	}

	four := startProcess(t, 4, dir, all)
	if n := four.until("this is visit "); n != "5" {
		t.Errorf("it is visit %s", n)
	}
	two.until("voters [1 2 3], learners [4]")
	_ = three.end(os.Kill)
	two.until("voters [1 2 4], learners []")

	for _, p := range []*process{one, two, four} {
		if err := p.end(os.Interrupt); err != nil {
			t.Errorf("%v; on stderr: %s", err, &p.stderr)
		}
	}
}

// TestWhatTakesLongIsShown: a host whose disk reads slowly says how far it is with its journal.
func TestWhatTakesLongIsShown(t *testing.T) {
	args := []string{"-id", "1", "-founders", "1", "-dir", filepath.Join(t.TempDir(), "1"), "-seeds", freeAddresses(t)}
	p := startCommand(t, command(t, args...))
	p.until("this is visit 1")
	_ = p.end(os.Kill)
	p = startCommand(t, slowdisk.Command(t, args[5], command(t).Path, args...))
	if shown := p.until("host 1: reading the journal: "); !strings.Contains(shown, " % of 67.1 MB, ") {
		t.Errorf("it says %q", shown)
	}
	p.until("host 1: reading the journal: done, ")
	p.until("this is visit 2")
	if err := p.end(os.Interrupt); err != nil {
		t.Errorf("%v; on stderr: %s", err, &p.stderr)
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"-founders 2":                "-founders is 2: an odd number",
		"-id 5":                      "this is host 5",
		"-id 1 -founders 1 -seeds x": "seed 1: address x: missing port",
		"-id 1 -seeds a,b":           "there are 2 seeds",
		"-id 1 127.0.0.1:633":        "is no flag",
	} {
		out, err := command(t, strings.Fields(args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
}
