//go:build linux

package disk

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestD6_AHostGoesOnAfterAFailedSync has one sync of the journal fail below
// examples/kv. The host opens its store again, from what is on the disk, and goes
// on; what its clients were told was written is there, then and after a kill.
func TestD6_AHostGoesOnAfterAFailedSync(t *testing.T) {
	requireStrace(t)
	binary := filepath.Join(t.TempDir(), "kv")
	build := exec.Command("go", "build", "-o", binary, "./examples/kv")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	k := &kv{t: t, binary: binary, dir: t.TempDir(), trace: filepath.Join(t.TempDir(), "trace"), redis: freePort(t), raft: freePort(t)}
	// Of this file only, or each thread would have its own fault.
	first := filepath.Join(k.dir, "store", "journal", "0000000001.segment")
	k.start(append(tracer(k.trace), "--seccomp-bpf", "-e", "trace=fdatasync", "-P", first, "--inject=fdatasync:error=EIO:when=20")...)

	acknowledged, refused, after := map[string]bool{}, 0, 0
	deadline := time.Now().Add(patience)
	for n := 0; after < 100; n++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d writes were acknowledged after the fault, %d refused\n%s", after, refused, &k.stderr)
		}
		key := fmt.Sprint("key", n)
		if k.do("SET "+key+" value-of-"+key) == "+OK" {
			acknowledged[key] = true
			if refused > 0 {
				after++
			}
			continue
		}
		refused++
		acknowledged[key] = false
	}
	t.Logf("%d writes were acknowledged, %d were not", len(acknowledged)-refused, refused)
	k.check(acknowledged)
	k.kill()
	k.notRetried()

	k.start()
	k.check(acknowledged)
	k.kill()
}

// kv is a process of examples/kv: a group with one member.
type kv struct {
	t                        *testing.T
	binary, dir, redis, raft string
	trace                    string

	cmd    *exec.Cmd
	stderr bytes.Buffer
	conn   net.Conn
	in     *bufio.Reader
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the process, as an argument of others if there are any, and waits
// until it serves.
func (k *kv) start(through ...string) {
	k.t.Helper()
	args := append(through, k.binary, "-id", "1", "-peers", "1="+k.raft, "-redis", k.redis, "-dir", k.dir, "-election", "200ms")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of it can be killed
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = &k.stderr
		err = cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.cmd = cmd
	k.t.Cleanup(k.kill)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it says when it serves
		k.kill()
		k.t.Fatalf("it did not start: %v\n%s", err, &k.stderr)
	}
	go io.Copy(io.Discard, out)
}

// kill is kill -9.
func (k *kv) kill() {
	if k.cmd == nil {
		return
	}
	syscall.Kill(-k.cmd.Process.Pid, syscall.SIGKILL)
	k.cmd.Wait()
	k.cmd = nil
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// do sends a command and returns the answer: of a bulk string, the string. It waits
// as long as the server does; if there is nobody, the answer is empty.
func (k *kv) do(command string) string {
	if k.conn == nil {
		conn, err := net.Dial("tcp", k.redis)
		if err != nil {
			return ""
		}
		k.conn, k.in = conn, bufio.NewReader(conn)
	}
	k.conn.SetDeadline(time.Now().Add(patience))
	line := ""
	_, err := fmt.Fprintf(k.conn, "%s\r\n", command)
	if err == nil {
		line, err = k.in.ReadString('\n')
	}
	if err == nil && strings.HasPrefix(line, "$") && line != "$-1\r\n" {
		line, err = k.in.ReadString('\n')
	}
	if err != nil {
		k.conn.Close()
		k.conn = nil
	}
	return strings.TrimSuffix(line, "\r\n")
}

// check reads every key. What was not acknowledged may be there.
func (k *kv) check(acknowledged map[string]bool) {
	k.t.Helper()
	for key, acked := range acknowledged {
		got := k.do("GET " + key)
		if got != "value-of-"+key && (acked || got != "$-1") {
			k.t.Fatalf("%s (acknowledged: %v) is %q\n%s", key, acked, got, &k.stderr)
		}
	}
}

// notRetried checks in what strace has seen of the file that its sync has failed,
// and that it was not synced again.
func (k *kv) notRetried() {
	k.t.Helper()
	text, err := os.ReadFile(k.trace)
	if err != nil {
		k.t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "INJECTED")
	if !found {
		k.t.Fatalf("no sync has failed:\n%s", text)
	}
	if strings.Contains(after, "fdatasync(") {
		k.t.Errorf("a failed sync was tried again: %s", after)
	}
}
