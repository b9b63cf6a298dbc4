//go:build !race

// Package lineage loses a majority of a group for good, and goes on from what one
// member has kept: real hosts, real disks, the real wire, and castaway-disk as an
// operator uses it. Not with the race detector: three members in one process are three
// protoactor remotes, which race with each other.
package lineage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

// list is a state machine that remembers its commands.
type list struct{ all []string }

func (l *list) Apply(e actors.Entry) []byte {
	l.all = append(l.all, string(e.Data))
	return fmt.Append(nil, len(l.all))
}

func (l *list) Query(context.Context, []byte) ([]byte, error) {
	return []byte(strings.Join(l.all, "\n")), nil
}

func (l *list) Snapshot() (io.WriterTo, error) {
	var b bytes.Buffer
	return &b, json.NewEncoder(&b).Encode(l.all)
}

func (l *list) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(&l.all) }

const electionTimeout = 300 * time.Millisecond

// islands are the hosts of a group.
type islands struct {
	t     *testing.T
	ctx   context.Context
	above string
	peers map[raftcore.NodeID]string
	up    map[raftcore.NodeID]*island
	tool  string // castaway-disk
}

type island struct {
	host  *actors.Host
	group *actors.Group
}

func newIslands(t *testing.T, n int) *islands {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	w := &islands{t: t, ctx: ctx, above: t.TempDir(), peers: map[raftcore.NodeID]string{}, up: map[raftcore.NodeID]*island{}}
	w.tool = filepath.Join(w.above, "castaway-disk")
	if out, err := exec.Command("go", "build", "-o", w.tool, "../../persistence/cmd/castaway-disk").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		w.peers[raftcore.NodeID(i+1)] = l.Addr().String()
	}
	t.Cleanup(func() {
		for id := range w.up {
			w.stop(id)
		}
	})
	return w
}

func (w *islands) dir(id raftcore.NodeID) string { return filepath.Join(w.above, fmt.Sprint(id)) }

// start starts a host that is configured as it always was, or one that joins.
func (w *islands) start(id raftcore.NodeID, join bool) *island {
	w.t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	host, err := actors.Start(system, actors.HostConfig{
		ID:        id,
		Store:     badgerstore.Options{Dir: w.dir(id), Logger: quiet},
		Transport: remote.New(remote.Config{Listen: w.peers[id], Logger: quiet}),
		Peers:     w.peers,
		Raft:      raftcore.Config{ElectionTimeout: electionTimeout},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	group, err := host.Open(w.ctx, actors.GroupConfig{Name: "list", Join: join, Machine: func() actors.StateMachine { return &list{} }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.up[id] = &island{host, group}
	return w.up[id]
}

func (w *islands) stop(id raftcore.NodeID) {
	w.t.Helper()
	if err := w.up[id].host.Stop(context.Background()); err != nil {
		w.t.Error(err)
	}
	delete(w.up, id)
}

func (w *islands) wipe(id raftcore.NodeID) {
	w.t.Helper()
	if err := os.RemoveAll(w.dir(id)); err != nil {
		w.t.Fatal(err)
	}
}

// inVain proposes something where no leader is to be found, for as long as several
// elections take, and returns how that ended.
func (w *islands) inVain(id raftcore.NodeID) error {
	w.t.Helper()
	short, cancel := context.WithTimeout(w.ctx, 5*electionTimeout)
	defer cancel()
	_, err := w.up[id].group.Propose(short, []byte("in vain"))
	if !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatalf("on host %d, it ends with %v", id, err)
	}
	return err
}

func (w *islands) propose(id raftcore.NodeID, command string) {
	w.t.Helper()
	if _, err := w.up[id].group.Propose(w.ctx, []byte(command)); err != nil {
		w.t.Fatalf("proposing %q on host %d: %v", command, id, err)
	}
}

// reads returns what a host reads: linearizably, or what it has itself.
func (w *islands) reads(id raftcore.NodeID, local bool) string {
	w.t.Helper()
	r := &actors.Request{Operation: actors.Read}
	if local {
		r.Consistency = actors.Local
	}
	answer, err := w.up[id].group.Do(w.ctx, r)
	if err != nil {
		w.t.Fatalf("reading on host %d: %v", id, err)
	}
	return string(answer.Data)
}

func (w *islands) status(id raftcore.NodeID) actors.Status {
	w.t.Helper()
	s, err := w.up[id].group.Status(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// until waits for what no host tells by itself.
func (w *islands) until(what string, condition func() bool) {
	w.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-w.ctx.Done():
			w.t.Fatalf("it never happened that %s", what)
		}
	}
}

// lineage runs the tool, and demands an exit status.
func (w *islands) lineage(status int, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.tool, append([]string{"lineage", "-group", "list"}, args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		w.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestM18_AGroupGoesOnFromOneOfThree loses two of three, and has one of them come
// back with its old directory.
func TestM18_AGroupGoesOnFromOneOfThree(t *testing.T) {
	w := newIslands(t, 3)
	for id := range w.peers {
		w.start(id, false)
	}
	var acknowledged []string
	for i := range 30 {
		command := fmt.Sprint("command ", i)
		w.propose(raftcore.NodeID(1+i%3), command)
		acknowledged = append(acknowledged, command)
	}
	want := strings.Join(acknowledged, "\n")
	w.until("host 1 has everything", func() bool { return w.reads(1, true) == want })
	old := w.status(1)
	w.stop(2)
	w.stop(3)

	// What it looks like: nobody leads, and every call ends honestly.
	w.until("host 1 has lost its leader", func() bool { s := w.status(1); return s.Leader == raftcore.Nobody && s.State == actors.Running })
	w.until("host 1 knows who is missing", func() bool { return slices.Equal(w.status(1).Silent, []raftcore.NodeID{2, 3}) })
	missing := fmt.Sprintf("entry %d, committed up to %d at least; of voters=[1 2 3], these do not answer: [2 3]", w.status(1).Last, w.status(1).Commit)
	if err := w.inVain(1); !strings.Contains(err.Error(), missing) {
		t.Errorf("without a quorum, Propose ends with %v, without %q", err, missing)
	}
	if got := w.reads(1, true); got != want {
		t.Errorf("without a quorum, host 1 has %q", got)
	}
	if out := w.lineage(2, w.dir(1), "-id", "1", "-accept-data-loss"); !strings.Contains(out, "in use") {
		t.Errorf("while it runs: %s", out)
	}
	w.stop(1)

	// The operator.
	w.wipe(3)
	w.lineage(3, w.dir(1))
	w.lineage(0, w.dir(1), "-id", "1", "-learners", "2,3", "-accept-data-loss")
	w.start(1, false)
	if got := w.reads(1, false); got != want {
		t.Errorf("in the new lineage it reads %q, acknowledged was %q", got, want)
	}
	w.propose(1, "a new one")
	want += "\na new one"
	anew := w.status(1)
	if anew.Cluster == old.Cluster || anew.Role != raftcore.Leader || len(anew.Conf.Voters) != 1 {
		t.Errorf("it has not begun anew: %+v", anew)
	}

	// One of those who were lost comes back, as it was.
	w.start(2, false)
	before := w.status(2)
	w.until("they have refused each other", func() bool { return w.status(1).Refused > 0 && w.status(2).Refused > 0 })
	w.propose(1, "beside the old one")
	want += "\nbeside the old one"
	refusing := fmt.Sprintf("messages of another lineage, %016x, are refused", uint64(anew.Cluster))
	if err := w.inVain(2); !strings.Contains(err.Error(), refusing) {
		t.Errorf("the old one proposes, which ends with %v, without %q", err, refusing)
	}
	if now := w.status(2); now.Cluster != old.Cluster || now.Term != before.Term || now.Last != before.Last || now.Leader != raftcore.Nobody || now.Incarnation != before.Incarnation {
		t.Errorf("the old one was %v, and is %v", before, now)
	}
	if now := w.status(1); now.Term != anew.Term || now.Role != raftcore.Leader {
		t.Errorf("the new one was %v, and is %v", anew, now)
	}
	w.stop(2)
	w.wipe(2)

	// With fresh disks they would found the old group again. They hear that it has
	// been begun anew; 2 hears it before there is anybody to do it with.
	for _, id := range []raftcore.NodeID{2, 3} {
		w.start(id, false)
		w.until("it hears of the new lineage", func() bool { return w.status(id).OtherCluster == anew.Cluster })
	}
	for _, id := range []raftcore.NodeID{2, 3} {
		if err := w.inVain(id); !strings.Contains(err.Error(), refusing) {
			t.Errorf("who would found proposes, which ends with %v, without %q", err, refusing)
		}
	}
	for _, id := range []raftcore.NodeID{2, 3} {
		if s := w.status(id); s.Last != 1 || s.Joined {
			t.Errorf("they have founded: %v", s)
		}
		w.stop(id)
		w.wipe(id)
	}

	// They join, and have everything.
	for _, id := range []raftcore.NodeID{2, 3} {
		w.start(id, true)
	}
	for _, id := range []raftcore.NodeID{2, 3} {
		w.until("who joined has everything", func() bool { return w.reads(id, true) == want })
		if got := w.reads(id, false); got != want {
			t.Errorf("host %d reads %q", id, got)
		}
		w.propose(id, fmt.Sprint("by ", id))
		want += fmt.Sprint("\nby ", id)
		if s := w.status(id); s.Cluster != anew.Cluster {
			t.Errorf("who joined: %+v", s)
		}
	}
	w.stop(1)
	w.start(1, false)
	if got := w.reads(1, false); got != want {
		t.Errorf("started again, it reads %q and should %q", got, want)
	}
}
