// Package slowdisk has tests run programs whose disk reads slowly, as real ones do that are
// busy, or far away: what they show meanwhile is there to be seen then.
package slowdisk

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Command returns the command that runs a program to which each read of a journal or a snapshot
// under dir takes 30 ms longer: a segment of a journal takes 2 s then. The process is the
// program's, for who signals it. It needs strace; without it the test is skipped.
func Command(t testing.TB, dir, binary string, args ...string) *exec.Cmd {
	t.Helper()
	// The tracer is the grandchild, and the program the child: signals reach that.
	trace := []string{"-D", "-f", "-q", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=read,pread64", "--inject=read,pread64:delay_enter=30000"}
	if out, err := exec.Command("strace", append(trace, "true")...).CombinedOutput(); err != nil {
		t.Skipf("not checked: what is shown while a disk is read. That needs strace, and that it may trace: %v %s", err, out)
	}
	found := false
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		journal := strings.HasSuffix(path, ".segment")
		if found = found || journal; journal || strings.HasSuffix(path, ".snapshot") {
			trace = append(trace, "-P", path)
		}
		return err
	})
	if err != nil || !found {
		t.Fatalf("there is no journal in %s: %v", dir, err)
	}
	return exec.Command("strace", append(append(trace, binary), args...)...)
}
