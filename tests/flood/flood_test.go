// Package flood has clients propose more than hosts can deal with, while something of theirs
// stalls, and looks at the memory that the process takes for it.
package flood

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

const (
	commandBytes = 256 << 10
	clients      = 1000 // without bounds, what they propose in one go is 250 MiB
	memoryLimit  = 96 << 20
	// The limit is for the memory that Go manages, and not a hard one: three hosts have taken
	// their budgets, and are served by what is no part of it.
	mostResident = 3 * memoryLimit
)

// TestF1F4_AFloodTakesBoundedMemory: what a core holds, what waits for it, and what is on its
// way between hosts, together, when a follower's disk, the disks of a quorum, or the
// leader's machine stalls: three hosts with real disks and sockets, in a process of their
// own, which has a memory limit. Every client is refused with ErrBusy again and again; when
// nothing stalls any more, everything is taken again.
func TestF1F4_AFloodTakesBoundedMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory that a process has taken at most is read from /proc")
	}
	if raceDetector {
		t.Skip("the race detector takes memory itself; it is run without: go test ./tests/flood")
	}
	for _, stalled := range []string{"nothing", "follower", "quorum", "machine"} {
		t.Run(stalled, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
			defer cancel()
			child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestFloodedProcess$", "-test.v")
			child.Env = append(os.Environ(), "FLOOD="+stalled, "FLOOD_DIR="+t.TempDir(), fmt.Sprint("GOMEMLIMIT=", memoryLimit))
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, rest, told := strings.Cut(string(out), "resident ")
			most, err := strconv.Atoi(strings.Fields(rest + " x")[0])
			if !told || err != nil {
				t.Fatalf("it has not told what it took:\n%s", out)
			}
			t.Logf("%d MiB", most>>20)
			if most > mostResident {
				t.Errorf("the process has taken %d MiB, the bound is %d", most>>20, mostResident>>20)
			}
		})
	}
}

// TestFloodedProcess is the process; it is started by the test above.
func TestFloodedProcess(t *testing.T) {
	stalled := os.Getenv("FLOOD")
	if stalled == "" {
		t.Skip("the test above starts it")
	}
	ctx := context.Background()
	f := startFlooded(ctx, t)
	leader := f.leader(ctx, t)
	release := f.stall(stalled, leader)

	flooding, stop := context.WithCancel(ctx)
	defer stop()
	var busy, taken atomic.Int64
	enough := make(chan struct{})
	var once sync.Once
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() {
			refused := 0
			for n := 0; ; n++ {
				select {
				case <-enough:
					return
				default:
				}
				_, err := f.groups[(i+n)%3].Propose(flooding, make([]byte, commandBytes))
				switch {
				case err == nil:
					taken.Add(1)
				case errors.Is(err, actors.ErrBusy):
					if refused++; refused == 3 && busy.Add(1) == clients/2 {
						once.Do(func() { close(enough) })
					}
					pause(flooding, err)
				case errors.Is(err, actors.ErrUnknown), errors.Is(err, actors.ErrRejected):
				default:
					t.Errorf("a proposal ends with %v", err)
				}
				if stalled == "nothing" && taken.Load() > 200 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	stop()
	release()
	wait.Wait()
	for err := errors.New(""); err != nil; {
		if _, err = f.groups[0].Propose(ctx, make([]byte, commandBytes)); err != nil && !errors.Is(err, actors.ErrRejected) && !errors.Is(err, actors.ErrUnknown) {
			t.Fatal(err)
		}
	}
	for _, h := range f.hosts {
		if err := h.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	fmt.Println("resident", mostTaken(t))
}

// pause waits as long as it was told to.
func pause(ctx context.Context, err error) {
	var full *actors.BusyError
	if errors.As(err, &full) && full.RetryAfter > 0 {
		select {
		case <-time.After(full.RetryAfter):
		case <-ctx.Done():
		}
	}
}

// flooded are three hosts.
type flooded struct {
	hosts    []*actors.Host
	groups   []*actors.Group
	disks    []*stallingDisk
	machines []*stallingMachine
}

func startFlooded(ctx context.Context, t *testing.T) *flooded {
	f := &flooded{}
	peers := map[raftcore.NodeID]string{}
	for id := range raftcore.NodeID(3) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		peers[id+1] = l.Addr().String()
		l.Close()
	}
	for id := raftcore.NodeID(1); id <= 3; id++ {
		disk := &stallingDisk{Opener: badgerstore.Dir(fmt.Sprint(os.Getenv("FLOOD_DIR"), "/", id))}
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.NewTextHandler(io.Discard, nil))
		}))
		h, err := actors.Start(system, actors.HostConfig{ID: id, Store: disk, Transport: remote.New(remote.Config{Listen: peers[id]}), Peers: peers})
		if err != nil {
			t.Fatal(err)
		}
		m := &stallingMachine{}
		g, err := h.Open(ctx, actors.GroupConfig{Name: "flood", Machine: func() actors.StateMachine { return m }})
		if err != nil {
			t.Fatal(err)
		}
		f.hosts, f.groups, f.disks, f.machines = append(f.hosts, h), append(f.groups, g), append(f.disks, disk), append(f.machines, m)
	}
	return f
}

// leader returns which of them leads.
func (f *flooded) leader(ctx context.Context, t *testing.T) int {
	if _, err := f.groups[0].Read(ctx, nil); err != nil { // waits for one
		t.Fatal(err)
	}
	s, err := f.groups[0].Status(ctx)
	if err != nil || s.Leader == raftcore.Nobody {
		t.Fatal("nobody leads", s, err)
	}
	return int(s.Leader) - 1
}

// stall has something stall, until it is released.
func (f *flooded) stall(what string, leader int) (release func()) {
	gate := make(chan struct{})
	switch what {
	case "follower":
		f.disks[(leader+1)%3].stall.Store(&gate)
	case "quorum":
		f.disks[(leader+1)%3].stall.Store(&gate)
		f.disks[(leader+2)%3].stall.Store(&gate)
	case "machine":
		for _, m := range f.machines {
			m.stall.Store(&gate)
		}
	}
	return func() {
		for i := range f.disks {
			f.disks[i].stall.Store(nil)
			f.machines[i].stall.Store(nil)
		}
		close(gate)
	}
}

// stallingDisk is a disk that may stop to save.
type stallingDisk struct {
	persistence.Opener
	stall atomic.Pointer[chan struct{}]
}

func (d *stallingDisk) Open() (persistence.Store, error) {
	s, err := d.Opener.Open()
	if err != nil {
		return nil, err
	}
	return stallingStore{s, d}, nil
}

type stallingStore struct {
	persistence.Store
	disk *stallingDisk
}

func (s stallingStore) Save(saves []persistence.Save) error {
	if gate := s.disk.stall.Load(); gate != nil {
		<-*gate
	}
	return s.Store.Save(saves)
}

// stallingMachine counts commands, and may stop to.
type stallingMachine struct {
	stall atomic.Pointer[chan struct{}]
	n     int
}

func (m *stallingMachine) Apply(actors.Entry) []byte {
	if gate := m.stall.Load(); gate != nil {
		<-*gate
	}
	m.n++
	return nil
}

func (m *stallingMachine) Query(context.Context, []byte) ([]byte, error) { return nil, nil }

func (m *stallingMachine) Snapshot() (io.WriterTo, error) {
	return bytes.NewBufferString(strconv.Itoa(m.n)), nil
}

func (m *stallingMachine) Restore(r io.Reader) error { _, err := fmt.Fscan(r, &m.n); return err }

// mostTaken returns how many bytes of memory this process has taken at most.
func mostTaken(t *testing.T) int {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	for s := bufio.NewScanner(status); s.Scan(); {
		if kib, is := strings.CutPrefix(s.Text(), "VmHWM:"); is {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("the process does not know")
	return 0
}
