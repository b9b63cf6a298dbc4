// Package witness kills the members of a group of two with data and a witness, one after
// the other: real processes, real disks, the real wire.
package witness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// list is a state machine that remembers its commands, each once: one of which it is
// not known whether it happened is proposed again.
type list struct{ all []string }

func (l *list) Apply(e actors.Entry) []byte {
	if command := string(e.Data); !slices.Contains(l.all, command) {
		l.all = append(l.all, command)
	}
	return nil
}

func (l *list) Query(context.Context, []byte) ([]byte, error) { return json.Marshal(l.all) }

func (l *list) Snapshot() (io.WriterTo, error) {
	var b bytes.Buffer
	return &b, json.NewEncoder(&b).Encode(l.all)
}

func (l *list) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(&l.all) }

// configuration is what a member's process is told, as JSON in its environment.
type configuration struct {
	ID      raftcore.NodeID
	Dir     string
	Peers   map[raftcore.NodeID]string
	Witness bool
}

const environment = "CASTAWAY_WITNESS_TEST_MEMBER"

func TestMain(m *testing.M) {
	if text := os.Getenv(environment); text != "" {
		var c configuration
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = c.serve()
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve is a member's process: it answers each line that it reads with one.
func (c *configuration) serve() error {
	quiet := slog.New(slog.DiscardHandler)
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	host, err := actors.Start(system, actors.HostConfig{
		ID:        c.ID,
		Store:     badgerstore.Options{Dir: c.Dir, Logger: quiet},
		Transport: remote.New(remote.Config{Listen: c.Peers[c.ID], Logger: quiet}),
		Peers:     c.Peers,
		Raft:      raftcore.Config{ElectionTimeout: 300 * time.Millisecond, SnapshotEntries: 100, KeepEntries: 10},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	config := actors.GroupConfig{Name: "list", Witnesses: []raftcore.NodeID{3}, Witness: c.Witness}
	if !c.Witness {
		config.Machine = func() actors.StateMachine { return &list{} }
	}
	group, err := host.Open(context.Background(), config)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		answer := reply{}
		what, data, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "propose":
			_, err = group.Propose(ctx, []byte(data))
		case "read":
			answer.Data, err = group.Read(ctx, nil)
		case "local":
			_, err = group.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local})
		case "transfer":
			err = group.Transfer(ctx, c.ID)
		case "full":
			err = group.ChangeMembers(ctx, actors.Members{Voters: []raftcore.NodeID{1, 2, 3}})
		case "status":
			answer.Status, err = group.Status(ctx)
			answer.Status.Fault = nil
		}
		cancel()
		if answer.OK = err == nil; err != nil {
			answer.Unknown, answer.Err = errors.Is(err, actors.ErrUnknown), err.Error()
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", text)
	}
	return lines.Err()
}

// reply is what a process answers.
type reply struct {
	OK, Unknown bool
	Err         string
	Data        []byte
	Status      actors.Status
}

// crew are the processes.
type crew struct {
	t            *testing.T
	above        string
	peers        map[raftcore.NodeID]string
	up           map[raftcore.NodeID]*process
	acknowledged []string
}

type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newCrew(t *testing.T) *crew {
	w := &crew{t: t, above: t.TempDir(), peers: map[raftcore.NodeID]string{}, up: map[raftcore.NodeID]*process{}}
	for id := raftcore.NodeID(1); id <= 3; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		w.peers[id] = l.Addr().String()
	}
	t.Cleanup(func() {
		for id := range w.up {
			w.kill(id)
		}
	})
	return w
}

func (w *crew) dir(id raftcore.NodeID) string { return filepath.Join(w.above, fmt.Sprint(id)) }

func (w *crew) start(id raftcore.NodeID) {
	w.t.Helper()
	text, err := json.Marshal(configuration{ID: id, Dir: w.dir(id), Peers: w.peers, Witness: id == 3})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), environment+"="+string(text))
	p.cmd.Stderr = w.t.Output()
	p.in, err = p.cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.up[id] = p
}

// kill is kill -9.
func (w *crew) kill(id raftcore.NodeID) {
	p := w.up[id]
	delete(w.up, id)
	if err := p.cmd.Process.Kill(); err != nil {
		w.t.Error(err)
	}
	_ = p.cmd.Wait() // it says that it was killed
}

// ask asks a process.
func (w *crew) ask(id raftcore.NodeID, line string) (r reply) {
	w.t.Helper()
	p := w.up[id]
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		w.t.Fatalf("host %d: %v", id, err)
	}
	text, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		w.t.Fatalf("host %d answers %q: %v", id, text, err)
	}
	return r
}

// propose has some commands acknowledged, asked for at these hosts in turn.
func (w *crew) propose(n int, at ...raftcore.NodeID) {
	w.t.Helper()
	for i := range n {
		command := fmt.Sprintf("secret-%d", len(w.acknowledged))
		r := w.ask(at[i%len(at)], "propose "+command)
		for r.Unknown {
			r = w.ask(at[i%len(at)], "propose "+command)
		}
		if !r.OK {
			w.t.Fatalf("%q at host %d: %s", command, at[i%len(at)], r.Err)
		}
		w.acknowledged = append(w.acknowledged, command)
	}
}

// reads demands that what is read at a host is all that was acknowledged.
func (w *crew) reads(at ...raftcore.NodeID) {
	w.t.Helper()
	for _, id := range at {
		var all []string
		r := w.ask(id, "read")
		if err := json.Unmarshal(r.Data, &all); !r.OK || err != nil {
			w.t.Fatalf("reading at host %d: %s %v", id, r.Err, err)
		}
		if !slices.Equal(all, w.acknowledged) {
			w.t.Fatalf("host %d has %d commands, and %d were acknowledged", id, len(all), len(w.acknowledged))
		}
	}
}

// await asks for the status of a host until it is as it should be: no event tells of indexes.
func (w *crew) await(id raftcore.NodeID, what string, is func(*actors.Status) bool) actors.Status {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		r := w.ask(id, "status")
		if r.OK && is(&r.Status) {
			return r.Status
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("host %d: after a minute, still not %s: %v %s", id, what, r.Status, r.Err)
		}
	}
}

// leader waits until a host with data leads.
func (w *crew) leader() raftcore.NodeID {
	w.t.Helper()
	some := raftcore.NodeID(1)
	if w.up[1] == nil {
		some = 2
	}
	return w.await(some, "knowing of a leader", func(s *actors.Status) bool { return s.Leader != raftcore.Nobody && w.up[s.Leader] != nil }).Leader
}

// well waits until all three have everything, and the witness is not needed.
func (w *crew) well() actors.Status {
	w.t.Helper()
	s := w.await(w.leader(), "well", func(s *actors.Status) bool {
		lagging := slices.ContainsFunc(s.Peers, func(p raftcore.PeerStatus) bool { return p.Match < s.Last })
		return s.Role != raftcore.Leader || s.Readable && len(s.Peers) == 2 && !lagging && !s.WitnessesNeeded
	})
	if s.Role != raftcore.Leader {
		return w.well()
	}
	return s
}

// TestEachIsLost kills each of the three while clients go on, whoever leads: nothing that
// was acknowledged is lost, and it comes back.
func TestEachIsLost(t *testing.T) {
	w := newCrew(t)
	for id := range w.peers {
		w.start(id)
	}
	w.propose(30, 1, 2, 3)
	w.reads(1, 2, 3)
	for round, victim := range []raftcore.NodeID{w.leader(), 3, 1, 2} {
		w.well()
		if round > 1 { // this one is to lead when it is killed
			if r := w.ask(victim, "transfer"); !r.OK {
				t.Fatalf("host %d is to lead: %s", victim, r.Err)
			}
			w.well()
		}
		w.kill(victim)
		others := slices.DeleteFunc([]raftcore.NodeID{1, 2, 3}, func(id raftcore.NodeID) bool { return id == victim })
		w.propose(30, others...)
		w.reads(others...)
		if l := w.leader(); l == 3 || l == victim {
			t.Fatalf("host %d is gone, and %d leads", victim, l)
		}
		w.start(victim)
	}
	w.well()
	w.reads(1, 2, 3)

	// What a witness is not asked for.
	if r := w.ask(3, "local"); !strings.Contains(r.Err, actors.ErrWitness.Error()) {
		t.Errorf("a local read at the witness's host: %q %s", r.Data, r.Err)
	}
	if r := w.ask(3, "transfer"); !strings.Contains(r.Err, actors.ErrNotVoter.Error()) {
		t.Errorf("the witness is to lead: %s", r.Err)
	}
	if r := w.ask(3, "full"); !strings.Contains(r.Err, actors.ErrNotInPlace.Error()) {
		t.Errorf("the witness is to have data: %s", r.Err)
	}
	w.noData(3)
}

// TestWitnessFarBehind has the witness away until the log of the others begins after what
// it has: it is sent what it needs, which is no state.
func TestWitnessFarBehind(t *testing.T) {
	w := newCrew(t)
	for id := range w.peers {
		w.start(id)
	}
	w.propose(10, 1, 2)
	before := w.well()
	w.kill(3)
	w.propose(250, 1, 2)
	leader := w.await(w.leader(), "compacted", func(s *actors.Status) bool { return s.First > before.Last+50 })
	w.start(3)
	w.well()
	s := w.await(3, "caught up", func(s *actors.Status) bool { return s.Saved >= leader.Last })
	if !s.Witness || s.First <= before.Last || s.Applied < leader.First {
		t.Fatalf("the witness has %v, from entry %d", s, s.First)
	}
	// It counts again: one with data may go.
	w.well()
	w.kill(1)
	w.propose(20, 2, 3)
	w.reads(2, 3)
	w.noData(3)
}

// noData demands that nothing of a command is on a witness's disk, as it is on that of
// a member with data.
func (w *crew) noData(id raftcore.NodeID) {
	w.t.Helper()
	if found := w.commandsIn(id); len(found) > 0 {
		w.t.Errorf("host %d has commands in %v", id, found)
	}
	if len(w.commandsIn(2)) == 0 {
		w.t.Error("host 2 has no command on its disk: this would not find one elsewhere either")
	}
}

// commandsIn returns the files of a host that have a command in them.
func (w *crew) commandsIn(id raftcore.NodeID) (found []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.dir(id), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("secret-")) {
			found = append(found, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its process is at work
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Error(err)
	}
	return found
}
