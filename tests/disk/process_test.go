package disk

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

var seedFlag = flag.Uint64("seed", 0, "what the tests draw from; 0: something new. When a process dies is not drawn: the same seed does not repeat all")

// newSeed returns what a test draws from, and says it.
func newSeed(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	return seed
}

// storeDir is the variable that makes a process with a store of this program.
const storeDir = "CASTAWAY_TEST_STORE_DIR"

// TestMain is also the process that has the store.
func TestMain(m *testing.M) {
	if text := os.Getenv(storeJob); text != "" {
		if err := doJob(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(storeDir); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// options are those of a store that hands over to Badger all the time.
func options(dir string) badgerstore.Options {
	return badgerstore.Options{
		Dir: dir, SegmentBytes: 64 << 10, RetainSegments: 1, MaxSegments: 4,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// message is a call of the store, or its answer.
type message struct {
	Call  string
	Name  string
	Group persistence.GroupID
	Saves []persistence.Save
	Load  raftcore.Load

	Removal persistence.Removal
	Removed raftcore.Incarnation

	PID     int
	Opened  persistence.Opened
	Entries []raftcore.Entry
	Failure *failure

	Tombstones []persistence.Tombstone

	// Empty are the numbers of the entries with data of no length, which gob takes
	// for none.
	Empty []int
}

// entries are all those of a message.
func (m *message) entries() (all []*raftcore.Entry) {
	lists := [][]raftcore.Entry{m.Entries, m.Opened.Recovered.Tail}
	for i := range m.Saves {
		lists = append(lists, m.Saves[i].Entries)
	}
	for _, list := range lists {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}

// pipes are the two ends of a conversation.
type pipes struct {
	buf *bufio.Writer
	enc *gob.Encoder
	dec *gob.Decoder
}

func newPipes(in io.Reader, out io.Writer) *pipes {
	buf := bufio.NewWriter(out)
	return &pipes{buf: buf, enc: gob.NewEncoder(buf), dec: gob.NewDecoder(bufio.NewReader(in))}
}

func (p *pipes) send(m *message) error {
	for i, e := range m.entries() {
		if e.Data != nil && len(e.Data) == 0 {
			m.Empty = append(m.Empty, i)
		}
	}
	if err := p.enc.Encode(m); err != nil {
		return err
	}
	return p.buf.Flush()
}

func (p *pipes) receive() (*message, error) {
	m := &message{}
	if err := p.dec.Decode(m); err != nil {
		return nil, err
	}
	all := m.entries()
	for _, i := range m.Empty {
		all[i].Data = []byte{}
	}
	return m, nil
}

// The errors that are told from others on the far side of the pipe.
var known = []error{
	persistence.ErrPoisoned, persistence.ErrGroupOpen, persistence.ErrGroupClosed,
	persistence.ErrLocked, persistence.ErrBadSave, persistence.ErrClosed, persistence.ErrDiskFull,
	persistence.ErrNoGroup, persistence.ErrStillVoter,
}

// failure is an error that came through the pipe.
type failure struct {
	Text    string
	Known   []int
	Errno   syscall.Errno
	Corrupt *persistence.CorruptError
	Removed *persistence.RemovedError
}

func newFailure(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	for i, k := range known {
		if errors.Is(err, k) {
			f.Known = append(f.Known, i)
		}
	}
	errors.As(err, &f.Errno)
	errors.As(err, &f.Corrupt)
	errors.As(err, &f.Removed)
	return f
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Is(target error) bool {
	i := slices.Index(known, target)
	return i >= 0 && slices.Contains(f.Known, i) || f.Errno != 0 && target == f.Errno
}

func (f *failure) As(target any) bool {
	if r, ok := target.(**persistence.RemovedError); ok && f.Removed != nil {
		*r = f.Removed
		return true
	}
	c, ok := target.(**persistence.CorruptError)
	if ok && f.Corrupt != nil {
		*c = f.Corrupt
	}
	return ok && f.Corrupt != nil
}

// serve carries out calls until nobody is there any more. Then it ends without
// closing the store.
func serve(dir string) error {
	runtime.LockOSThread() // strace counts the calls of each thread
	p := newPipes(os.Stdin, os.Stdout)
	var s persistence.Store
	if err := p.send(&message{PID: os.Getpid()}); err != nil {
		return err
	}
	for {
		call, err := p.receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &message{}
		switch call.Call {
		case "open":
			s, err = options(dir).Open()
		case "repair":
			o := options(dir)
			o.Repair = true
			s, err = o.Open()
		case "group":
			answer.Opened, err = s.Open(call.Name)
		case "save":
			err = s.Save(call.Saves)
		case "load":
			answer.Entries, err = s.Load(call.Group, call.Load)
		case "closeGroup":
			err = s.CloseGroup(call.Group)
		case "remove":
			err = s.Remove(call.Removal)
		case "revive":
			err = s.Revive(call.Name, call.Removed)
		case "tombstones":
			answer.Tombstones, err = s.Tombstones()
		case "close":
			err = s.Close()
		default:
			return fmt.Errorf("there is no call %q", call.Call)
		}
		answer.Failure = newFailure(err)
		if err := p.send(answer); err != nil {
			return err
		}
	}
}

// patience is how long a call may take, whatever else runs on this machine.
const patience = time.Minute

// errGone: the process has ended, or was. It is an ErrPoisoned because that is what
// it comes to: nobody knows what became of the call.
var errGone = fmt.Errorf("the process with the store is gone: %w", persistence.ErrPoisoned)

// process is a store in a process of its own. It is a persistence.Store.
type process struct {
	*pipes
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer // to be read after end
	pid    int          // of the process with the store, which need not be cmd's

	saves int                // that were acknowledged
	last  []persistence.Save // the last that was sent

	mu    sync.Mutex
	ended bool
	late  bool // it was killed because it did not answer
}

// start starts a process, as an argument of others if there are any. It opens
// nothing yet.
func start(t *testing.T, dir string, through ...string) *process {
	t.Helper()
	args := append(through, os.Args[0])
	p := &process{t: t, cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.Env = append(os.Environ(), storeDir+"="+dir)
	p.cmd.Stderr = &p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.pipes = newPipes(out, in)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	hello, err := p.receive()
	if err != nil {
		p.cmd.Process.Kill()
		p.end()
		t.Fatalf("the process with the store did not start: %v\n%s", err, &p.stderr)
	}
	p.pid = hello.PID
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.pid == 0 {
		return
	}
	if victim, err := os.FindProcess(p.pid); err == nil {
		victim.Kill()
	}
}

// end ends the process, and waits until it has. What it said on stderr is complete
// then.
func (p *process) end() {
	p.kill()
	p.mu.Lock()
	ended := p.ended
	p.ended = true
	p.mu.Unlock()
	if !ended {
		p.cmd.Wait()
	}
}

// crashed reports whether a process that has ended did so by a panic.
func (p *process) crashed() bool { return p.cmd.ProcessState.ExitCode() == 2 }

// call makes a call and waits for the answer. Who waits too long has met a hang.
func (p *process) call(m message) (*message, error) {
	timer := time.AfterFunc(patience, func() {
		p.mu.Lock()
		p.late = true
		p.mu.Unlock()
		p.kill()
	})
	defer timer.Stop()
	err := p.send(&m)
	var answer *message
	if err == nil {
		answer, err = p.receive()
	}
	p.mu.Lock()
	late := p.late
	p.mu.Unlock()
	if late {
		p.t.Fatalf("%q hangs: no answer within %v", m.Call, patience)
	}
	if err != nil {
		return &message{}, errGone
	}
	if answer.Failure != nil {
		return answer, answer.Failure
	}
	return answer, nil
}

func (p *process) open() error {
	_, err := p.call(message{Call: "open"})
	return err
}

func (p *process) Open(name string) (persistence.Opened, error) {
	answer, err := p.call(message{Call: "group", Name: name})
	return answer.Opened, err
}

func (p *process) Save(saves []persistence.Save) error {
	p.last = slices.Clone(saves)
	_, err := p.call(message{Call: "save", Saves: saves})
	if err == nil {
		p.saves++
	}
	return err
}

func (p *process) Load(group persistence.GroupID, load raftcore.Load) ([]raftcore.Entry, error) {
	answer, err := p.call(message{Call: "load", Group: group, Load: load})
	return answer.Entries, err
}

func (p *process) CloseGroup(group persistence.GroupID) error {
	_, err := p.call(message{Call: "closeGroup", Group: group})
	return err
}

func (p *process) Remove(r persistence.Removal) error {
	_, err := p.call(message{Call: "remove", Removal: r})
	return err
}

func (p *process) Revive(group string, removed raftcore.Incarnation) error {
	_, err := p.call(message{Call: "revive", Name: group, Removed: removed})
	return err
}

func (p *process) Tombstones() ([]persistence.Tombstone, error) {
	answer, err := p.call(message{Call: "tombstones"})
	return answer.Tombstones, err
}

// Close closes the store, and ends the process.
func (p *process) Close() error {
	_, err := p.call(message{Call: "close"})
	p.end()
	return err
}
