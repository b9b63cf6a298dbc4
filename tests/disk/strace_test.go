//go:build linux

package disk

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

var faultsFlag = flag.Int("faults", 0, "how many faults in each kind of system call; 0: one in some of them")

// changes are the system calls that change a disk, as strace knows them.
var changes = []change{
	{call: "fdatasync", most: 60, ours: true},
	{call: "pwrite64", most: 60, ours: true},
	{call: "fallocate", most: 6, ours: true},
	{call: "fsync", most: 12},
	{call: "msync", most: 12},
	{call: "/^rename", most: 8},
	{call: "ftruncate", most: 3},
	{call: "/^unlink", most: 3},
	{call: "write", most: 1, only: []string{"badger/MANIFEST"}},
}

type change struct {
	call string
	// most is how late the fault may come. Some calls are rare.
	most int
	// ours: nobody but the journal makes this call, and the error that it ends with
	// must be found in what Save returns. What Badger says is text.
	ours bool
	// only are the files for which the fault is meant. The Go runtime writes, too.
	only []string
}

// fault is something that befalls one system call of a process. strace counts the
// calls of each thread by itself: the calls are answered by one, and Badger and the
// hand-over have their own.
type fault struct {
	change
	when int
	what string // as strace has it: error=EIO
}

// straced starts a process with a fault in wait for it. What it does with its disk
// is in the file that is returned, when it has ended.
func straced(t *testing.T, dir string, f fault) (p *process, trace string) {
	t.Helper()
	trace = filepath.Join(t.TempDir(), "trace")
	args := tracer(trace)
	if !strings.HasPrefix(f.what, "signal") { // which does not get through then
		args = append(args, "--seccomp-bpf")
	}
	args = append(args, "-e", "trace="+f.call, fmt.Sprintf("--inject=%s:%s:when=%d", f.call, f.what, f.when))
	for _, name := range f.only {
		args = append(args, "-P", filepath.Join(dir, name))
	}
	return start(t, dir, args...), trace
}

// tracer follows all threads. With --seccomp-bpf it stops them at no other calls
// than those that are traced.
func tracer(trace string) []string {
	return []string{"strace", "-f", "-q", "-y", "-o", trace}
}

// requireStrace skips a test where nobody can be traced.
func requireStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("not checked: what failing system calls lead to. That needs strace: %v", err)
	}
	args := append(tracer(os.DevNull), "-e", "trace=fdatasync", "--inject=fdatasync:error=EIO:when=1", "true")
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Skipf("not checked: what failing system calls lead to. strace may trace nobody here: %v, %s", err, out)
	}
}

// TestD6_AFailedSystemCallFailsTheStore has each kind of system call fail once. A
// Save that met it fails, and every one after it; opened again, the store has what
// was acknowledged.
func TestD6_AFailedSystemCallFailsTheStore(t *testing.T) {
	eachFault(t, "error=EIO", (*faulty).fails)
}

// TestD13_AFullDiskFailsTheStoreUntilThereIsSpace is the same with the error that
// goes away by itself.
func TestD13_AFullDiskFailsTheStoreUntilThereIsSpace(t *testing.T) {
	eachFault(t, "error=ENOSPC", (*faulty).fails)
}

// TestD2_KilledInASystemCall kills the process as it makes a call.
func TestD2_KilledInASystemCall(t *testing.T) {
	eachFault(t, "signal=SIGKILL", (*faulty).dies)
}

// TestD12_ASlowSystemCallDelaysAndDoesNothingElse delays calls, by 100 ms.
func TestD12_ASlowSystemCallDelaysAndDoesNothingElse(t *testing.T) {
	eachFault(t, "delay_enter=100000", (*faulty).isSlow)
}

// eachFault has something befall one call of each kind, early or late.
func eachFault(t *testing.T, what string, check func(*faulty)) {
	requireStrace(t)
	rng := rand.New(rand.NewPCG(newSeed(t), 0))
	some := slices.Clone(changes)
	rounds := *faultsFlag
	if rounds == 0 {
		rng.Shuffle(len(some)-1, func(i, j int) { some[i+1], some[j+1] = some[j+1], some[i+1] })
		rounds, some = 1, some[:4] // a sync of the journal is always among them
	}
	for range rounds {
		for _, c := range some {
			f := fault{change: c, when: 1 + rng.IntN(c.most), what: what}
			seed := rng.Uint64()
			t.Run(fmt.Sprintf("%s-%d", strings.TrimPrefix(f.call, "/^"), f.when), func(t *testing.T) {
				t.Parallel() // most of it is waiting for the disk
				check(newFaulty(t, f, seed))
			})
		}
	}
}

// faulty is a store that meets a fault.
type faulty struct {
	t   *testing.T
	dir string
	m   *rafttest.StoreModel
	f   fault

	p     *process
	trace string
}

// newFaulty makes a store with something in it, and a process in which a fault is
// in wait.
func newFaulty(t *testing.T, f fault, seed uint64) *faulty {
	r := &faulty{t: t, dir: t.TempDir(), m: rafttest.NewStoreModel(seed), f: f}
	if r.m.Rand.IntN(4) > 0 {
		r.healthy(100)
	}
	r.p, r.trace = straced(t, r.dir, f)
	return r
}

// healthy opens the store without a fault, compares everything, and goes on with
// it for some steps.
func (r *faulty) healthy(steps int) {
	r.t.Helper()
	p := start(r.t, r.dir)
	err := p.open()
	if err == nil {
		err = r.m.CheckAll(p)
	}
	for n := 0; n < steps && err == nil; n++ {
		err = r.m.Step(p)
	}
	if err == nil && r.m.Rand.IntN(2) == 0 {
		err = p.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	p.end()
	r.m.Restarted()
}

// enough steps have every kind of call made.
const enough = 4000

// run opens the store and works with it until something fails.
func (r *faulty) run() error {
	err := r.p.open()
	for n := 0; n < enough && err == nil; n++ {
		err = r.m.Step(r.p)
	}
	return err
}

// fails expects that the fault fails the store, as is written in package
// persistence.
func (r *faulty) fails() {
	err := r.run()
	used := r.p.last != nil
	if err != nil && !errors.Is(err, errGone) {
		r.isTheFault(err)
		switch {
		case used && errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned):
			r.goesOnWhenThereIsRoom(err)
		case used:
			r.staysPoisoned(err)
			if r.m.Rand.IntN(2) == 0 {
				if err := r.p.Close(); !errors.Is(err, persistence.ErrPoisoned) {
					r.t.Errorf("Close of a poisoned store ended with %v", err)
				}
			}
		}
	}
	r.p.end()
	after := r.happened()
	r.t.Logf("%d Saves; then %v", r.p.saves, err)
	switch {
	case err == nil && r.f.ours:
		r.t.Errorf("nobody took notice of %s", after[0])
	case errors.Is(err, errGone) && !strings.Contains(r.p.stderr.String(), "dgraph-io/badger"):
		r.t.Errorf("the process died:\n%s", &r.p.stderr)
	}
	r.notRetried(after)
	r.m.Restarted()
	r.healthy(50)
	r.healthy(0)
}

// isTheFault checks that the error is the one of the system call: not damage, and
// not something that the test did wrong.
func (r *faulty) isTheFault(err error) {
	r.t.Helper()
	errno := syscall.EIO
	if strings.Contains(r.f.what, "ENOSPC") {
		errno = syscall.ENOSPC
	}
	var corrupt *persistence.CorruptError
	switch {
	case errors.As(err, &corrupt):
		r.t.Errorf("a failed call is taken for damage: %v", err)
	case r.f.ours && !errors.Is(err, errno):
		r.t.Errorf("the error does not wrap %v: %v", errno, err)
	case !strings.Contains(err.Error(), errno.Error()):
		r.t.Errorf("the error does not tell %v: %v", errno, err)
	}
}

// staysPoisoned checks that nothing works any more. What failed is tried again.
func (r *faulty) staysPoisoned(err error) {
	r.t.Helper()
	if !errors.Is(err, persistence.ErrPoisoned) {
		r.t.Errorf("the store is open, and is not poisoned: %v", err)
	}
	again := slices.Clone(r.p.last)
	for range 3 {
		if err := r.p.Save(again); !errors.Is(err, persistence.ErrPoisoned) {
			r.t.Errorf("the Save that failed was tried again and ended with %v", err)
		}
	}
	if _, err := r.p.Open("new"); !errors.Is(err, persistence.ErrPoisoned) {
		r.t.Errorf("Open of a group ended with %v", err)
	}
	if _, err := r.p.Load(1, raftcore.Load{From: 1, To: 1}); !errors.Is(err, persistence.ErrPoisoned) {
		r.t.Errorf("Load ended with %v", err)
	}
}

// goesOnWhenThereIsRoom checks that it was for want of room for another segment, when
// nothing is written yet, and that the same Save is taken when there is some.
func (r *faulty) goesOnWhenThereIsRoom(err error) {
	r.t.Helper()
	if !strings.Contains(err.Error(), ".spare") {
		r.t.Errorf("a write has failed, and the store is not poisoned: %v", err)
	}
	for deadline := time.Now().Add(patience); err != nil; err = r.m.Save(r.p, r.p.last) {
		if !errors.Is(err, persistence.ErrDiskFull) || errors.Is(err, persistence.ErrPoisoned) || time.Now().After(deadline) {
			r.t.Fatalf("there is room again, and the Save ends with %v", err)
		}
	}
}

// happened checks that the fault came, and returns the calls from there on.
func (r *faulty) happened() (after []string) {
	r.t.Helper()
	text, err := os.ReadFile(r.trace)
	if err != nil {
		r.t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	at := slices.IndexFunc(lines, func(l string) bool {
		return strings.Contains(l, "INJECTED") || strings.Contains(l, "DELAYED") || strings.Contains(l, "killed by SIGKILL")
	})
	if at < 0 {
		r.t.Fatalf("there was no fault in %d calls", len(lines))
	}
	return lines[at:]
}

// notRetried checks in what strace has seen that no sync follows one that has
// failed.
func (r *faulty) notRetried(after []string) {
	r.t.Helper()
	for _, line := range after[1:] {
		if r.f.call == "fdatasync" && strings.Contains(line, "fdatasync(") {
			r.t.Errorf("after a failed sync there was another: %s", line)
		}
	}
}

// dies expects that the process is killed.
func (r *faulty) dies() {
	if err := r.run(); !errors.Is(err, errGone) {
		r.t.Fatalf("it lives: %v", err)
	}
	r.p.end()
	r.t.Logf("after %d Saves", r.p.saves)
	r.happened()
	r.m.Restarted()
	r.healthy(50)
	r.healthy(0)
}

// isSlow expects that nothing fails.
func (r *faulty) isSlow() {
	if err := r.p.open(); err != nil {
		r.t.Fatal(err)
	}
	for range 300 {
		if err := r.m.Step(r.p); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.p.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.happened()
	r.m.Restarted()
	r.healthy(0)
}
