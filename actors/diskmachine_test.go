package actors_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// platter is a disk of a state machine. Whenever it is opened, any number of the Saves that
// were not synced may be lost.
type platter struct {
	world   *world
	mu      sync.Mutex
	rng     *rand.Rand // nil: nothing is lost
	saves   []plate    // since the last Sync, which is the first
	open    bool
	writing atomic.Int64  // snapshots that are being written
	failing string        // the method that fails
	hold    chan struct{} // until it is closed, snapshots are not written any further; nil: they are

	applied, resets, restores atomic.Int64
}

// plate is what a Save has left.
type plate struct {
	log  []string // of the register; what is there does not change
	kept map[string][]byte
}

// firstNote returns the oldest entry whose answer is noted, 0 if none is.
func (p plate) firstNote() (first raftcore.Index) {
	for name := range p.kept {
		var index raftcore.Index
		if _, err := fmt.Sscanf(name, "note-%016x", &index); err == nil && (first == 0 || index < first) {
			first = index
		}
	}
	return first
}

// logged is a register, or a machine that is made of one: its log is its state.
type logged interface {
	actors.StateMachine
	logOf() *[]string
}

func (r *register) logOf() *[]string { return &r.log }

func (p *platter) fails(method string) error {
	if p.failing == method {
		return fmt.Errorf("%s does not like it", method)
	}
	return nil
}

// newest returns what the last Save has left.
func (p *platter) newest() plate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saves[len(p.saves)-1]
}

func (p *platter) failAt(method string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = method
}

// diskMachine keeps the state of another machine on a platter.
type diskMachine struct {
	logged
	make    func() actors.StateMachine
	p       *platter
	unsaved int
	bytes   int // in them, less those of the last
}

// batchDiskMachine applies in batches, too.
type batchDiskMachine struct{ diskMachine }

func (m *batchDiskMachine) ApplyBatch(entries []actors.Entry) [][]byte {
	var answers [][]byte
	for _, e := range entries {
		answers = append(answers, m.Apply(e))
	}
	return answers
}

// onDisks has all hosts start anew, with machines that keep their state on disks of their
// own, and take snapshots.
func (w *world) onDisks(seed uint64, every int) []*platter {
	w.t.Helper()
	inner := w.machine
	if inner == nil {
		inner = func(h *hostUp) actors.StateMachine { return &register{world: w, on: h.id} }
	}
	platters := make([]*platter, len(w.hosts))
	for i := range platters {
		platters[i] = &platter{world: w, saves: []plate{{}}}
		if seed != 0 {
			platters[i].rng = rand.New(rand.NewPCG(seed, uint64(i)))
		}
	}
	for _, h := range w.hosts {
		h.stop()
		h.disk, h.every = persistence.Memory(), 0
	}
	w.machine = func(h *hostUp) actors.StateMachine {
		m := diskMachine{make: func() actors.StateMachine { return inner(h) }, p: platters[h.id-1]}
		if h.id%2 == 0 || w.batches {
			return &batchDiskMachine{m}
		}
		return &m
	}
	for _, h := range w.hosts {
		h.start()
	}
	w.compacting(every)
	return platters
}

func (m *diskMachine) Open() (map[string][]byte, error) {
	p := m.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		p.world.t.Error("it is open already")
	}
	p.open = true
	if p.rng != nil {
		p.saves = p.saves[:1+p.rng.IntN(len(p.saves))]
	}
	last := p.saves[len(p.saves)-1]
	p.saves = []plate{last}
	m.begin(last.log)
	return maps.Clone(last.kept), p.fails("Open")
}

// begin has the machine have a state.
func (m *diskMachine) begin(log []string) {
	m.logged = m.make().(logged)
	*m.logOf() = log
	m.unsaved, m.bytes = 0, 0
}

func (m *diskMachine) Apply(e actors.Entry) []byte {
	m.p.mu.Lock()
	err := m.p.fails("Apply")
	m.p.mu.Unlock()
	if err != nil {
		panic(fmt.Errorf("%w: %w", actors.ErrStorageFault, err))
	}
	if m.bytes >= 1<<20 || m.unsaved > 1024 {
		m.p.world.t.Errorf("%d commands with %d bytes are not saved, and there comes another", m.unsaved, m.bytes)
	}
	m.unsaved++
	m.bytes += len(e.Data)
	m.p.applied.Add(1)
	return m.logged.Apply(e)
}

func (m *diskMachine) saved(method string) {
	if m.unsaved > 0 {
		m.p.world.t.Errorf("%s comes when %d commands are not saved", method, m.unsaved)
	}
}

func (m *diskMachine) Restore(r io.Reader) error {
	if len(m.p.newest().kept) > 0 {
		m.p.world.t.Error("a machine that has a state is given another")
	}
	m.p.restores.Add(1)
	return m.logged.Restore(r)
}

func (m *diskMachine) Save(keep map[string][]byte) error {
	p := m.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fails("Save"); err != nil {
		return err
	}
	kept := maps.Clone(p.saves[len(p.saves)-1].kept)
	if kept == nil {
		kept = map[string][]byte{}
	}
	for name, value := range keep {
		if value == nil {
			delete(kept, name)
		} else {
			kept[name] = bytes.Clone(value)
		}
	}
	log := *m.logOf()
	p.saves = append(p.saves, plate{log[:len(log):len(log)], kept})
	m.unsaved, m.bytes = 0, 0
	return nil
}

func (m *diskMachine) Sync() error {
	m.saved("Sync")
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	m.p.saves = m.p.saves[len(m.p.saves)-1:]
	return m.p.fails("Sync")
}

func (m *diskMachine) Reset() error {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	m.p.resets.Add(1)
	m.p.saves = append(m.p.saves, plate{})
	m.begin(nil)
	return m.p.fails("Reset")
}

func (m *diskMachine) Close() error {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	if n := m.p.writing.Load(); n > 0 || !m.p.open {
		m.p.world.t.Errorf("it is closed, and was open: %v, and %d snapshots are being written", m.p.open, n)
	}
	m.p.open = false
	return m.p.fails("Close")
}

// diskImage is a snapshot that is written from the disk.
type diskImage struct {
	io.WriterTo
	p *platter
}

func (m *diskMachine) Snapshot() (io.WriterTo, error) {
	m.saved("Snapshot")
	w, err := m.logged.Snapshot()
	return diskImage{w, m.p}, err
}

func (i diskImage) WriteTo(w io.Writer) (int64, error) {
	i.p.writing.Add(1)
	defer i.p.writing.Add(-1)
	i.p.mu.Lock()
	open, hold := i.p.open, i.p.hold
	i.p.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if !open {
		i.p.world.t.Error("a snapshot is written of a machine that is closed")
	}
	return i.WriterTo.WriteTo(w)
}

// TestA1_AMachineWithADiskGoesOnWhereItsStateIs: it is given again what its disk has lost,
// and nothing that it has; whether there is a snapshot or not.
func TestA1_AMachineWithADiskGoesOnWhereItsStateIs(t *testing.T) {
	for _, every := range []int{1000, 7} {
		for _, seed := range []uint64{0, 1, 2, 3} {
			t.Run(fmt.Sprint(every, " ", seed), func(t *testing.T) {
				inWorld(t, 1, func(w *world) {
					p := w.onDisks(seed, every)[0]
					h := w.hosts[0]
					want := []string{}
					for round := range 6 {
						for i := range 10 {
							c := fmt.Sprint(round, ".", i)
							want = append(want, c)
							h.propose(c)
						}
						h.stop()
						before := p.applied.Load()
						h.start()
						w.leader()
						if got := h.read("all"); got != strings.Join(want, "\n") {
							t.Fatalf("after the restart it has %q", got)
						}
						if again := p.applied.Load() - before; seed == 0 && again > 0 {
							t.Errorf("%d commands are applied again", again)
						}
					}
					if n := p.restores.Load(); n > 0 {
						t.Errorf("it was given a snapshot %d times", n)
					}
					if every == 7 && h.status().First < 50 {
						t.Errorf("the log begins at %d", h.status().First)
					}
				})
			})
		}
	}
}

// TestA1_AStateIsNotClosedUnderASnapshot: who stops a group waits for one that is being
// written.
func TestA1_AStateIsNotClosedUnderASnapshot(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		platters := w.onDisks(0, 5)
		f := w.hosts[w.settled().id%3]
		f.stop()
		h := w.leader(f)
		first := h.status().First
		w.until("the log is cut", func() bool {
			h.propose("command")
			return h.status().First > first+5
		})
		p, hold := platters[h.id-1], make(chan struct{})
		p.mu.Lock()
		p.hold = hold
		p.mu.Unlock()
		f.start() // needs the state
		w.until("a snapshot is being written", func() bool { return p.writing.Load() > 0 })
		stopped := make(chan error)
		go func() { stopped <- h.group.Stop(w.ctx) }()
		time.Sleep(time.Second) // fake
		select {
		case err := <-stopped:
			t.Errorf("it did not wait: %v", err)
		default:
		}
		close(hold)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// TestA1C1_WhatWasAnsweredIsKeptWithTheState: the answers of sessions' commands, and
// effects, of which there is no snapshot yet.
func TestA1C1_WhatWasAnsweredIsKeptWithTheState(t *testing.T) {
	for _, seed := range []uint64{0, 1, 2} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.machine = func(h *hostUp) actors.StateMachine { return &agent{register{world: w, on: h.id}} }
				w.onDisks(seed, 9)
				h := w.hosts[0]
				open, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.OpenSession, Timeout: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				first := map[uint64]string{}
				h.propose("timer late 60000")
				for i := range uint64(24) {
					r := &actors.Request{Operation: actors.Propose, Session: actors.InSession{ID: open.Session, Sequence: i + 1}, Data: fmt.Appendf(nil, "append %d", i)}
					answer, err := h.group.Do(w.ctx, r)
					if err != nil {
						t.Fatal(err)
					}
					first[r.Session.Sequence] = string(answer.Data)
					if i%8 == 5 {
						h.stop()
						h.start()
						w.leader()
					}
					for sequence, want := range first {
						again, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Session: actors.InSession{ID: open.Session, Sequence: sequence}, Data: []byte("again")})
						if err != nil || string(again.Data) != want {
							t.Fatalf("command %d was answered with %q, and is now with %q, %v", sequence, want, again.Data, err)
						}
					}
				}
				w.until("the timer goes off", func() bool { return count(h.log(), "rang late") == 1 })
				log := h.log()
				for i := range 24 {
					if count(log, fmt.Sprint(i)) != 1 {
						t.Errorf("%d was appended %d times", i, count(log, fmt.Sprint(i)))
					}
				}
			})
		})
	}
}

// What the state machine is not told of counts, too: the log is cut behind it.
func TestA1_ALogThatIsCutBehindAnEntryOfTheHostsGoesWithTheState(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.onDisks(0, 5)
		h := w.hosts[0]
		h.propose("command")
		for range 20 {
			h.session(time.Hour)
		}
		w.until("the log is cut", func() bool { return h.status().First > 15 })
		h.stop()
		h.start()
		w.leader()
		if got := h.read("all"); got != "command" {
			t.Errorf("it has %q", got)
		}
	})
}

// A follower that the log cannot help is sent a snapshot that was taken for it. Those that
// only cut the log have no state in them.
func TestS1_AStateOnADiskIsSentToAMemberThatNeedsIt(t *testing.T) {
	for _, more := range []int{0, 1, 4} { // commands after the last snapshot
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				platters := w.onDisks(0, 10)
				w.settled()
				f := w.hosts[w.leader().id%3]
				f.stop()
				l := w.leader(f)
				big := strings.Repeat("x", 10_000)
				for i := range 60 {
					l.propose(fmt.Sprint(i, big))
				}
				cut := l.status().First
				w.until("it is cut", func() bool {
					if l.status().First > cut {
						cut = l.status().First
						return true
					}
					l.propose("filler")
					return false
				})
				for range more {
					l.propose("more")
				}
				files := func() (bytes int64) {
					for _, name := range l.snapshotFiles() {
						info, err := os.Stat(name)
						switch {
						case err == nil:
							bytes = max(bytes, info.Size())
						case !errors.Is(err, os.ErrNotExist): // it was replaced just now
							t.Fatal(err)
						}
					}
					return bytes
				}
				n := files()
				w.until("there is one", func() bool { n = files(); return n > 0 })
				if n > 8192 {
					t.Errorf("a snapshot that nobody needs has %d bytes", n)
				}
				f.start()
				w.until("it has caught up", func() bool { return f.status().Applied >= l.status().Commit })
				if f.stale("all") != l.read("all") {
					t.Error("it has something else")
				}
				if platters[f.id-1].restores.Load() == 0 || platters[l.id-1].restores.Load() > 0 {
					t.Error("it was not given the state")
				}
				l = w.leader()
				time.Sleep(10 * time.Second) // fake
				for i := range 60 {
					l.propose(fmt.Sprint("after ", i))
				}
				w.until("snapshots have no state again", func() bool { return files() < 8192 })
				w.haveTheSame("all", w.hosts...)
			})
		})
	}
}

// haveTheSame waits until all of them have the same.
func (w *world) haveTheSame(question string, hosts ...*hostUp) {
	w.t.Helper()
	w.until("all have the same", func() bool {
		want := hosts[0].stale(question)
		for _, h := range hosts[1:] {
			if h.stale(question) != want {
				return false
			}
		}
		return true
	})
}

// A state that does not go with the log is not gone on with: neither is anything lost by
// that, nor anything told that is not so.
func TestA1M_AStateThatDoesNotGoWithTheLogIsRefused(t *testing.T) {
	for _, mishap := range []struct {
		what string
		do   func(h *hostUp, p *platter)
	}{
		{"the log was taken away", func(h *hostUp, p *platter) {
			h.disk, h.every = persistence.Memory(), 0
		}},
		{"the state was taken away", func(h *hostUp, p *platter) {
			p.saves = []plate{{}}
		}},
		{"the log was taken away, and another has begun", func(h *hostUp, p *platter) {
			h.disk, h.every = persistence.Memory(), 0
			saves := p.saves
			p.saves = []plate{{}}
			h.start()
			h.world.leader()
			for i := range 70 {
				h.propose(fmt.Sprint("other ", i))
			}
			h.stop()
			p.saves = saves
		}},
	} {
		t.Run(mishap.what, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				p := w.onDisks(0, 10)[0]
				h := w.hosts[0]
				for i := range 35 {
					h.propose(fmt.Sprint(i))
				}
				w.until("the log is cut", func() bool { return h.status().First > 20 })
				h.stop()
				mishap.do(h, p)
				before := p.newest()
				h.startHost(h.config())
				var err error
				h.group, err = h.host.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return w.machine(h) }})
				if err != nil && !errors.Is(err, actors.ErrFaulted) { // it may be so quick
					t.Fatal(err)
				}
				w.until("it is refused", func() bool {
					s := h.status()
					var wrong *actors.StateError
					return s.State == actors.Faulted && errors.As(s.Fault, &wrong) && errors.Is(s.Fault, actors.ErrMachineFault)
				})
				if _, err := h.group.Propose(w.ctx, []byte("x")); !errors.Is(err, actors.ErrFaulted) {
					t.Errorf("a proposal ends with %v", err)
				}
				if now := p.newest(); !slices.Equal(now.log, before.log) || !maps.EqualFunc(now.kept, before.kept, bytes.Equal) || p.resets.Load() > 0 {
					t.Error("the state has changed")
				}
			})
		})
	}
}

// TestA1_AStateOfAnotherMemberIsRefused: one that goes further than the log, as if the log
// had lost its end unnoticed; and one that has forgotten what the log and its snapshots would
// have to be asked for.
func TestA1_AStateOfAnotherMemberIsRefused(t *testing.T) {
	for _, test := range []struct {
		reason string
		more   int // commands that only the other has
	}{
		{"that ends at entry", 20},
		{"the state up to there was nowhere else", 0},
	} {
		t.Run(test.reason, func(t *testing.T) {
			inWorld(t, 3, func(w *world) {
				platters := w.onDisks(0, 25)
				l := w.settled() // which nobody sends a snapshot
				other := w.hosts[l.id%3]
				other.stop()
				other.every = 8
				other.start()
				session := l.session(time.Hour) // its answers are noted
				w.until("both logs are cut, and the other's further, and its state on its disk knows", func() bool {
					if _, err := session.Propose(w.ctx, []byte("command")); err != nil {
						t.Fatal(err)
					}
					first := l.status().First
					return first > 5 && platters[other.id-1].newest().firstNote() > first+1 && other.status().Applied == l.status().Last
				})
				if test.more > 0 {
					l.stop()
					for i := range test.more {
						w.leader(l).propose(fmt.Sprint("more ", i))
					}
					w.until("the other has them", func() bool { return other.status().Applied == w.leader(l).status().Last })
				}
				other.stop()
				if test.more == 0 {
					l.stop() // after the other: it would have the first entry of a new leader
				}
				platters[l.id-1].saves = slices.Clone(platters[other.id-1].saves)
				l.startHost(l.config())
				var err error
				l.group, err = l.host.Open(w.ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return w.machine(l) }})
				if err != nil && !errors.Is(err, actors.ErrFaulted) {
					t.Fatal(err)
				}
				w.until("it is refused", func() bool {
					s := l.status()
					var wrong *actors.StateError
					return s.State == actors.Faulted && errors.As(s.Fault, &wrong) && strings.Contains(wrong.Reason, test.reason)
				})
			})
		})
	}
}

// TestA2_AStateHasAnEntryThatIsSkippedTakenOutOfIt, if the log or a snapshot goes back so
// far.
func TestA2_AStateHasAnEntryThatIsSkippedTakenOutOfIt(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		platters := w.onDisks(0, 1000)
		l := w.settled()
		l.propose("before")
		f := w.hosts[l.id%3]
		w.mu.Lock()
		w.spared = f.id // has no trouble with it
		w.mu.Unlock()
		w.panicAt("boom")
		boom := l.proposing("boom")
		var others []*hostUp
		for _, h := range w.hosts {
			if h != f {
				others = append(others, h)
			}
		}
		entry := w.quarantined(others...)
		<-boom
		w.until("one has applied it", func() bool { return f.stale("last") == "boom" })
		w.until("it is skipped", func() bool {
			for _, h := range others {
				if h.status().Role == raftcore.Leader {
					return h.group.SkipEntry(w.ctx, entry) == nil
				}
			}
			if f.status().Role == raftcore.Leader {
				_ = f.group.Transfer(w.ctx, others[0].id)
			}
			return false
		})
		w.have("before", w.hosts...)
		w.again("after")
		w.have("before after", w.hosts...)
		if platters[f.id-1].resets.Load() == 0 {
			t.Error("the state with the entry in it was not given up")
		}
		w.mu.Lock()
		w.spared = 0
		w.mu.Unlock()
		w.panicAt("")
		w.restart()
		w.settled()
		w.have("before after", w.hosts...)
	})
}

func (w *world) again(command string) { w.leader().again(command) }

// A disk that fails has the member start again, and be Faulted in the end; nothing that was
// acknowledged is lost when it works again.
func TestA1D_ADiskOfAMachineThatFailsFaultsTheMember(t *testing.T) {
	for _, method := range []string{"Open", "Apply", "Save", "Sync", "Close"} {
		t.Run(method, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				p := w.onDisks(0, 10)[0]
				h := w.hosts[0]
				h.propose("first")
				if method == "Open" {
					h.stop()
				}
				p.failAt(method)
				if method == "Open" {
					h.start()
				}
				if method != "Close" {
					_ = h.proposing("second")
					for method == "Sync" && h.status().State == actors.Running {
						_ = h.proposing("more")
						time.Sleep(time.Millisecond) // fake
					}
					w.until("it is given up", func() bool { return h.status().State == actors.Faulted })
					if s := h.status(); !errors.Is(s.Fault, actors.ErrStorageFault) || !strings.Contains(s.Fault.Error(), method+" does not like it") {
						t.Errorf("its fault is %v", s.Fault)
					}
				}
				h.stop()
				p.failAt("")
				h.start()
				w.leader()
				h.propose("third")
				if all := h.read("all"); !strings.HasPrefix(all, "first") || !strings.HasSuffix(all, "third") {
					t.Errorf("it has %q", all)
				}
			})
		})
	}
}

// An old copy of the state is brought up to date from the log, and saved in portions.
func TestA1_AnOldCopyOfTheStateIsCaughtUp(t *testing.T) {
	for _, batches := range []bool{false, true} {
		for _, size := range []int{1, 3000} {
			t.Run(fmt.Sprint(batches, size), func(t *testing.T) {
				inWorld(t, 1, func(w *world) {
					w.batches = batches
					p := w.onDisks(0, 10000)[0]
					h := w.hosts[0]
					h.propose("first")
					old := p.newest()
					many := 2500
					for i := range many { // more than are saved at once
						_ = h.proposing(fmt.Sprint(i, strings.Repeat("x", size)))
					}
					w.until("all is applied", func() bool { return h.read("len") == fmt.Sprint(many+1) })
					all := h.read("all")
					h.every = 0
					h.stop()
					p.saves = []plate{old}
					h.start()
					w.leader()
					if h.read("all") != all {
						t.Error("it has something else")
					}
					if p.restores.Load() > 0 || p.resets.Load() > 0 {
						t.Error("it has begun anew")
					}
				})
			})
		}
	}
}

// TestStormOnDisks: the storms, with states on disks that lose what is not synced.
func TestStormOnDisks(t *testing.T) {
	eachSeed(t, 1, 3, func(w *world, seed uint64) {
		w.onDisks(seed, 25)
		storm(w, seed, nil, nil)
	})
}

func TestStormOfPoisonOnDisks(t *testing.T) {
	eachSeed(t, 1, 3, func(w *world, seed uint64) {
		w.onDisks(seed, 40)
		w.panicAt("boom")
		w.stormOfPoison(seed, func(*rand.Rand) {})
	})
}

func TestStormOfMembersOnDisks(t *testing.T) {
	eachSeed(t, 1, 5, func(w *world, seed uint64) {
		w.onDisks(seed, 20)
		w.stormOfMembers(seed)
	})
}

func TestStormOfEffectsOnDisks(t *testing.T) {
	eachSeed(t, 1, 3, func(w *world, seed uint64) {
		in := w.agents(20)
		w.onDisks(seed, 20)
		w.stormOfEffects(seed, in.everywhere(w))
	})
}
