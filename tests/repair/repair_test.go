// Package repair damages the disks of real hosts, one after the other, and has their
// peers repair them.
package repair

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
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

// Query answers with how many there are, and what they are.
func (l *list) Query(context.Context, []byte) ([]byte, error) { return []byte(summary(l.all)), nil }

func summary(commands []string) string {
	return fmt.Sprintf("%d: %x", len(commands), sha256.Sum256([]byte(strings.Join(commands, "\n"))))
}

func (l *list) Snapshot() (io.WriterTo, error) {
	var b bytes.Buffer
	return &b, json.NewEncoder(&b).Encode(l.all)
}

func (l *list) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(&l.all) }

// fleet are three hosts with disks, and what was acknowledged.
type fleet struct {
	t         *testing.T
	ctx       context.Context
	above     string
	network   *rafttest.Network
	peers     map[raftcore.NodeID]string
	up        map[raftcore.NodeID]*member
	snapshots int // after so many entries; 0: hardly ever

	acknowledged []string
	lost         int // entries that damage has taken
}

type member struct {
	host  *actors.Host
	group *actors.Group
}

func newFleet(t *testing.T, snapshots int) *fleet {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &fleet{
		t: t, ctx: ctx, above: t.TempDir(), network: rafttest.NewNetwork(1), up: map[raftcore.NodeID]*member{},
		peers: map[raftcore.NodeID]string{1: "one", 2: "two", 3: "three"}, snapshots: snapshots,
	}
	t.Cleanup(func() {
		for _, id := range slices.Collect(maps.Keys(f.up)) {
			f.stop(id)
		}
	})
	return f
}

func (f *fleet) store(id raftcore.NodeID) badgerstore.Options {
	return badgerstore.Options{Dir: filepath.Join(f.above, fmt.Sprint(id)), SegmentBytes: 64 << 10, Logger: slog.New(slog.DiscardHandler)}
}

func (f *fleet) start(id raftcore.NodeID) {
	f.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store := f.store(id)
	store.Repair = true
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	host, err := actors.Start(system, actors.HostConfig{
		ID: id, Store: store, Transport: f.network.Transport(f.peers[id]), Peers: f.peers,
		Raft: raftcore.Config{ElectionTimeout: 300 * time.Millisecond, SnapshotEntries: f.snapshots, KeepEntries: 10},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	group, err := host.Open(f.ctx, actors.GroupConfig{Name: "list", Machine: func() actors.StateMachine { return &list{} }})
	if err != nil {
		f.t.Fatal(err)
	}
	f.up[id] = &member{host, group}
}

func (f *fleet) stop(id raftcore.NodeID) {
	f.t.Helper()
	if err := f.up[id].host.Stop(context.Background()); err != nil {
		f.t.Error(err)
	}
	delete(f.up, id)
}

// propose has some commands acknowledged, by whoever is up.
func (f *fleet) propose(n int) {
	f.t.Helper()
	ids := slices.Sorted(maps.Keys(f.up))
	for i := range n {
		command := fmt.Sprintf("command %d %s", len(f.acknowledged), strings.Repeat("x", 3000))
		_, err := f.up[ids[i%len(ids)]].group.Propose(f.ctx, []byte(command))
		for errors.Is(err, actors.ErrUnknown) && f.ctx.Err() == nil {
			_, err = f.up[ids[i%len(ids)]].group.Propose(f.ctx, []byte(command))
		}
		if err != nil {
			f.t.Fatalf("command %d: %v", len(f.acknowledged), err)
		}
		f.acknowledged = append(f.acknowledged, command)
	}
}

// agree demands that everybody who is up reads what was acknowledged, and has it.
func (f *fleet) agree() {
	f.t.Helper()
	want := summary(f.acknowledged)
	for id, m := range f.up {
		if got, err := m.group.Read(f.ctx, nil); err != nil || string(got) != want {
			f.t.Fatalf("host %d reads %s, %v; acknowledged is %s", id, got, err, want)
		}
		f.until(id, "it has what was acknowledged", func(actors.Status) bool {
			got, err := m.group.Do(f.ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local})
			return err == nil && string(got.Data) == want
		})
	}
}

func (f *fleet) status(id raftcore.NodeID) actors.Status {
	f.t.Helper()
	s, err := f.up[id].group.Status(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// until waits for what no host tells by itself.
func (f *fleet) until(id raftcore.NodeID, what string, condition func(actors.Status) bool) {
	f.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		s := f.status(id)
		if condition(s) {
			return
		}
		if s.State == actors.Faulted {
			f.t.Fatalf("host %d is faulted, and it is awaited that %s: %v", id, what, s)
		}
		select {
		case <-look.C:
		case <-f.ctx.Done():
			f.t.Fatalf("on host %d, it never happened that %s: %v", id, what, s)
		}
	}
}

// strike damages the disk of a host that is stopped for that, and has its peers repair
// it. Afterwards it counts: with one of them gone, the group goes on.
func (f *fleet) strike(id, gone raftcore.NodeID, harm func(*testing.T, []journal.SegmentInfo)) {
	f.t.Helper()
	before := f.status(id)
	f.stop(id)
	harm(f.t, segments(f.t, filepath.Join(f.store(id).Dir, "journal")))
	var corrupt *persistence.CorruptError
	if s, err := f.store(id).Open(); err == nil {
		s.Close()
		f.t.Fatal("nothing is damaged")
	} else if !errors.As(err, &corrupt) {
		f.t.Fatal(err)
	}
	f.propose(3)

	f.network.Isolate(f.peers[id])
	f.start(id)
	alone := f.status(id)
	f.lost += int(before.Last) - int(alone.Last)
	if alone.Joined || alone.Incarnation == before.Incarnation || alone.Last > before.Last {
		f.t.Errorf("host %d was %v, joined %v, incarnation %x; with a damaged disk it is %v, %v, %x", id,
			before.Status, before.Joined, before.Incarnation, alone.Status, alone.Joined, alone.Incarnation)
	}
	f.network.Heal()
	f.until(id, "it counts", func(s actors.Status) bool { return s.Joined })
	f.agree()

	f.stop(gone)
	f.propose(3) // by two of three, and it is one of them
	f.agree()
	f.start(gone)
	f.until(gone, "it leads or follows", func(s actors.Status) bool { return s.Leader != raftcore.Nobody })
	f.agree()
}

// segments returns the segments of a journal, oldest first.
func segments(t *testing.T, dir string) []journal.SegmentInfo {
	t.Helper()
	in, err := journal.Inspect(dir, journal.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if len(in.Segments) < 3 || in.Damage != nil {
		t.Fatalf("the journal has the segments %+v, and damage %v", in.Segments, in.Damage)
	}
	return in.Segments
}

// within returns a place in the middle of what counts in a segment.
func within(s journal.SegmentInfo) int64 { return (block + s.End) / 2 }

// block is where that begins.
const block = 4096

const inTheMiddle = "a bit in the middle"

// TestD9D15_PeersRepairADamagedDisk: a disk of three is damaged, and then another.
func TestD9D15_PeersRepairADamagedDisk(t *testing.T) {
	for name, harm := range map[string]func(*testing.T, []journal.SegmentInfo){
		inTheMiddle: func(t *testing.T, all []journal.SegmentInfo) {
			middle := all[len(all)/2]
			data, err := os.ReadFile(middle.File)
			if err != nil {
				t.Fatal(err)
			}
			data[within(middle)] ^= 0x10
			if err := os.WriteFile(middle.File, data, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a lost tail": func(t *testing.T, all []journal.SegmentInfo) {
			last := all[len(all)-1]
			if err := os.Truncate(last.File, within(last)); err != nil {
				t.Fatal(err)
			}
		},
		"a lost newest segment": func(t *testing.T, all []journal.SegmentInfo) {
			if err := os.Remove(all[len(all)-1].File); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, snapshots := range []int{1_000_000, 7} {
			t.Run(fmt.Sprintf("%s, a snapshot every %d", name, snapshots), func(t *testing.T) {
				f := newFleet(t, snapshots)
				for id := range f.peers {
					f.start(id)
				}
				f.propose(80)
				for id := range f.peers {
					f.until(id, "it counts", func(s actors.Status) bool { return s.Joined })
				}
				f.agree()
				f.strike(2, 3, harm)
				f.strike(3, 1, harm)
				if f.lost == 0 && name == inTheMiddle { // else it may be what is no entry
					t.Error("no entries were lost")
				}
			})
		}
	}
}

// snapshotFiles are those of a host: one, or two if it was stopped between them.
func (f *fleet) snapshotFiles(id raftcore.NodeID) []string {
	f.t.Helper()
	files, err := filepath.Glob(filepath.Join(f.store(id).Dir, "snapshots", "*", "*.snapshot"))
	if err != nil || len(files) == 0 {
		f.t.Fatalf("host %d has the snapshots %v, %v", id, files, err)
	}
	return files
}

// flip flips a bit of a file, so far from its beginning, or from its end.
func flip(t *testing.T, file string, at int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 0x10
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// started is a fleet that has taken snapshots.
func started(t *testing.T) *fleet {
	f := newFleet(t, 7)
	for id := range f.peers {
		f.start(id)
	}
	f.propose(80)
	for id := range f.peers {
		f.until(id, "it counts", func(s actors.Status) bool { return s.Joined })
	}
	f.agree()
	return f
}

// TestD15_PeersRepairADamagedSnapshot: the snapshot that the log of one of three follows is
// damaged, and then another's.
func TestD15_PeersRepairADamagedSnapshot(t *testing.T) {
	for name, harm := range map[string]func(*testing.T, string){
		"a bit of the header": func(t *testing.T, file string) { flip(t, file, 9) },
		inTheMiddle:           func(t *testing.T, file string) { flip(t, file, 40_000) },
		"a bit at the end":    func(t *testing.T, file string) { flip(t, file, -9) },
		"a lost end": func(t *testing.T, file string) {
			if err := os.Truncate(file, 50_000); err != nil {
				t.Fatal(err)
			}
		},
		"a lost file": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := started(t)
			for _, id := range []raftcore.NodeID{2, 3} {
				before := f.status(id)
				f.stop(id)
				for _, file := range f.snapshotFiles(id) {
					harm(t, file)
				}
				f.propose(3)
				f.network.Isolate(f.peers[id])
				f.start(id)
				f.until(id, "it waits for the others", func(s actors.Status) bool {
					return s.State == actors.Recovering && errors.Is(s.Fault, actors.ErrStorageFault)
				})
				f.network.Heal()
				f.until(id, "it counts again", func(s actors.Status) bool { return s.State == actors.Running && s.Joined })
				if s := f.status(id); s.Incarnation == before.Incarnation || s.Fault != nil {
					t.Errorf("host %d had incarnation %x, and has %x; its fault is %v", id, before.Incarnation, s.Incarnation, s.Fault)
				}
				f.agree()
				f.stop(id - 1)
				f.propose(3) // by two of three, and it is one of them
				f.agree()
				f.start(id - 1)
				f.agree()
			}
		})
	}
}

// TestD15_WhoseSnapshotsAreDamagedGiveNothingUpTogether: the snapshots of two of three are
// damaged. Neither begins again, because there would be no quorum without it. When somebody
// brings the files back, everything is there.
func TestD15_WhoseSnapshotsAreDamagedGiveNothingUpTogether(t *testing.T) {
	f := started(t)
	ids := []raftcore.NodeID{1, 2}
	before := map[raftcore.NodeID]actors.Status{}
	kept := map[string][]byte{}
	for _, id := range ids {
		before[id] = f.status(id)
		f.stop(id)
	}
	for _, id := range ids {
		for _, file := range f.snapshotFiles(id) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			kept[file] = data
			flip(t, file, 40_000)
		}
		f.start(id)
	}
	for range 3 { // rounds of asking
		for _, id := range ids {
			from := f.status(id).Change
			f.until(id, "it waits for the others", func(s actors.Status) bool {
				return s.State == actors.Recovering && errors.Is(s.Fault, actors.ErrStorageFault) && s.Change >= from
			})
		}
	}
	if _, err := f.up[3].group.Do(f.ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local}); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		f.stop(id)
	}
	for file, data := range kept {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		f.start(id)
		f.until(id, "it runs", func(s actors.Status) bool { return s.State == actors.Running && s.Fault == nil })
		if s := f.status(id); s.Incarnation != before[id].Incarnation {
			t.Errorf("host %d has begun again", id)
		}
	}
	f.agree()
}
