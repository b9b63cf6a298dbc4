package actors_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// Every call ends, once, and with the truth: also when something else goes
// wrong at the same moment.

// narrow is a transport that takes no packet of more than 8 MiB, and through
// which a test can have a packet arrive.
type narrow struct {
	actors.Transport
	mu      sync.Mutex
	deliver func(*actors.Packet)
	key     actors.GroupKey // of the latest message
}

func (n *narrow) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	n.mu.Lock()
	n.deliver = deliver
	n.mu.Unlock()
	return n.Transport.Start(system, self, func(p *actors.Packet) {
		n.mu.Lock()
		if len(p.Messages) > 0 {
			n.key = p.Messages[0].Group
		}
		n.mu.Unlock()
		deliver(p)
	})
}

func (n *narrow) heard() actors.GroupKey {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.key
}

func (n *narrow) arrive(p *actors.Packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deliver(p)
}

func (n *narrow) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	return narrowLink{n.Transport.Link(address, notify)}
}

type narrowLink struct{ actors.Link }

func (l narrowLink) Send(p *actors.Packet) bool {
	size := 0
	for _, r := range p.Requests {
		size += len(r.Data)
	}
	for _, r := range p.Responses {
		size += len(r.Data) + len(r.Message)
	}
	return size <= 8<<20 && l.Link.Send(p)
}

// through starts a host anew, over a narrow transport.
func (h *hostUp) through() *narrow {
	h.stop()
	n := &narrow{Transport: h.world.net.Transport(h.addr)}
	cfg := h.config()
	cfg.Transport = n
	h.startWith(cfg)
	return n
}

func TestC5_AnAnswerToAnEarlierLifeEndsNoCall(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		h := w.hosts[leader.id%3]
		transport := h.through()
		w.until("it knows the leader", func() bool { return h.status().Leader == leader.id })
		w.net.Cut(h.addr, leader.addr) // the leader will hear nothing of it
		outcome := make(chan error, 1)
		go func() {
			_, err := h.group.Propose(w.ctx, []byte("x"))
			outcome <- err
		}()
		time.Sleep(10 * time.Millisecond) // fake
		// Before it was restarted it had asked, too, and the leader answers now.
		late := &actors.Packet{From: leader.id}
		for id := range uint64(100) {
			late.Responses = append(late.Responses, actors.GroupResponse{ID: id, Outcome: actors.ResponseOK, Data: []byte("of an earlier life")})
		}
		transport.arrive(late)
		time.Sleep(10 * time.Millisecond) // fake
		select {
		case err := <-outcome:
			t.Fatalf("the proposal ends with %v, and nobody has seen it", err)
		default:
		}
		w.net.Heal()
		leader.stop()
		if err := <-outcome; err != nil && !errors.Is(err, actors.ErrUnknown) {
			t.Errorf("the proposal ends with %v", err)
		}
	})
}

// chatty answers "huge" with more than a packet holds, and "huge error" likewise.
type chatty struct{ register }

func (c *chatty) Apply(e actors.Entry) []byte {
	c.register.Apply(e)
	if string(e.Data) == "huge" {
		return make([]byte, 9<<20)
	}
	return nil
}

func (c *chatty) Query(ctx context.Context, question []byte) ([]byte, error) {
	switch string(question) {
	case "huge":
		return make([]byte, 9<<20), nil
	case "huge error":
		return nil, errors.New(strings.Repeat("x", 9<<20))
	}
	return c.register.Query(ctx, question)
}

func TestC5_AnAnswerThatIsTooLargeToTravelHoldsUpNoOther(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		defer cancel()
		groups := map[*hostUp]*actors.Group{}
		for _, h := range w.hosts {
			h.through()
			g, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "chatty", Machine: func() actors.StateMachine { return &chatty{register{world: w}} }})
			if err != nil {
				t.Fatal(err)
			}
			groups[h] = g
		}
		if _, err := groups[w.hosts[0]].Propose(ctx, []byte("a")); err != nil {
			t.Fatal(err)
		}
		for h, g := range groups {
			s, err := g.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			follows := s.Role != raftcore.Leader
			// What a read answers need not travel.
			if got, err := g.Read(ctx, []byte("huge")); len(got) != 9<<20 || err != nil {
				t.Errorf("host %d: a huge answer arrives as %d bytes, %v", h.id, len(got), err)
			}
			if _, err := g.Read(ctx, []byte("huge error")); err == nil || len(err.Error()) != 9<<20 {
				t.Errorf("host %d: a huge error does not arrive", h.id)
			}
			// It happens, but what Apply returned is lost.
			if _, err := g.Propose(ctx, []byte("huge")); follows && !errors.Is(err, actors.ErrUnknown) {
				t.Errorf("host %d: a proposal with a huge answer ends with %v", h.id, err)
			}
			if got, err := g.Read(ctx, nil); err != nil || string(got) != "huge" {
				t.Errorf("host %d: the next read answers %q, %v", h.id, got, err)
			}
			// Nor is a command asked about that no packet holds.
			if _, err := g.Propose(ctx, make([]byte, 9<<20)); !errors.Is(err, actors.ErrTooLarge) {
				t.Errorf("host %d: a huge command ends with %v", h.id, err)
			}
		}
	})
}

// gated is a machine that waits at "wait", until its gate is open.
type gated struct {
	register
	gate chan struct{}
}

func (g *gated) Apply(e actors.Entry) []byte {
	if string(e.Data) == "wait" {
		<-g.gate
	}
	return g.register.Apply(e)
}

func TestP5_RequestsThatWaitForASlowMachineAreBounded(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.stop()
		cfg := h.config()
		cfg.MaxPending = 10
		h.startWith(cfg)
		gate := make(chan struct{})
		g, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "slow", Machine: func() actors.StateMachine { return &gated{register{world: w}, gate} }})
		if err != nil {
			t.Fatal(err)
		}
		outcomes := make(chan error, 100)
		local := func(ctx context.Context, question []byte) ([]byte, error) {
			r, err := g.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local, Data: question})
			return r.Data, err
		}
		ask := func(f func(context.Context, []byte) ([]byte, error), data string) {
			go func() {
				_, err := f(w.ctx, []byte(data))
				outcomes <- err
			}()
			time.Sleep(time.Millisecond) // fake
		}
		ask(g.Propose, "wait")
		for i := range cap(outcomes) - 1 {
			ask([]func(context.Context, []byte) ([]byte, error){g.Read, local, g.Propose}[i%3], "x")
		}
		close(gate)
		busy := 0
		for range cap(outcomes) {
			if err := <-outcomes; errors.Is(err, actors.ErrBusy) {
				busy++
			} else if err != nil {
				t.Error(err)
			}
		}
		if busy != 90 {
			t.Errorf("%d of 100 requests were refused by a member that holds 10", busy)
		}
		if _, err := g.Read(w.ctx, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestO2_ToAHostThatHasStoppedEveryOrderEnds(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		host, group := h.host, h.group
		ctx := context.Background()
		done := make(chan error, 2)
		go func() { done <- host.Stop(ctx) }()
		go func() { done <- host.Stop(ctx) }()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("two stop it at once: %v", err)
			}
		}
		if err := host.Stop(ctx); err != nil {
			t.Errorf("stopping it again: %v", err)
		}
		if err := group.Stop(ctx); err != nil {
			t.Errorf("stopping its group: %v", err)
		}
		if _, err := host.Open(ctx, actors.GroupConfig{Name: "x", Machine: func() actors.StateMachine { return &register{world: w} }}); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("opening a group on it: %v", err)
		}
		if _, err := group.Propose(ctx, nil); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("proposing to its group: %v", err)
		}
	})
}

// The store fails, and is to be opened again; but the host is stopped first, and
// waits for a machine.
func TestAHostThatIsStoppingOpensNothingAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		disk := faultyDisks(h)[h]
		gate := make(chan struct{})
		g, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "slow", Machine: func() actors.StateMachine { return &gated{register{world: w}, gate} }})
		if err != nil {
			t.Fatal(err)
		}
		go g.Propose(w.ctx, []byte("wait"))
		time.Sleep(10 * time.Millisecond) // fake
		disk.failSave.Store(true)
		go h.group.Propose(w.ctx, []byte("lost"))
		w.until("the store has failed", func() bool { return h.status().State == actors.Pausing })
		stopped := make(chan error, 1)
		go func() { stopped <- h.host.Stop(w.ctx) }()
		time.Sleep(time.Second) // fake
		close(gate)
		if err := <-stopped; err != nil {
			t.Errorf("it stops with %v", err)
		}
		h.host = nil
		store, err := disk.Opener.Open()
		if err != nil {
			t.Fatalf("it has left its store open: %v", err)
		}
		store.Close()
	})
}

func TestAHostThatDoesNotStartLetsGoOfTheNetwork(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.stop()
		disk := &faultyDisk{Opener: h.disk}
		disk.failOpen.Store(true)
		h.disk = disk
		if _, err := actors.Start(newSystem(), h.config()); err == nil {
			t.Fatal("it starts without a disk")
		}
		disk.failOpen.Store(false)
		h.start() // at the same address
	})
}

// slowDisk is a disk on which opening a group waits for a gate.
type slowDisk struct {
	persistence.Opener
	gate chan struct{}
}

func (d *slowDisk) Open() (persistence.Store, error) {
	s, err := d.Opener.Open()
	return &slowStore{s, d}, err
}

type slowStore struct {
	persistence.Store
	disk *slowDisk
}

func (s *slowStore) Open(group string) (persistence.Opened, error) {
	<-s.disk.gate
	return s.Store.Open(group)
}

// stuckDisk is a disk whose next Save waits for a gate, if there is one.
type stuckDisk struct {
	persistence.Opener
	gate atomic.Pointer[chan struct{}]
}

func (d *stuckDisk) Open() (persistence.Store, error) {
	s, err := d.Opener.Open()
	return &stuckStore{s, d}, err
}

type stuckStore struct {
	persistence.Store
	disk *stuckDisk
}

func (s *stuckStore) Save(saves []persistence.Save) error {
	if gate := s.disk.gate.Load(); gate != nil {
		<-*gate
	}
	return s.Store.Save(saves)
}

func TestD14_ADiskThatDoesNotAnswerLeavesNoCallerWaitingForAHostThatStops(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.stop()
		disk := &stuckDisk{Opener: h.disk}
		h.disk = disk
		h.start()
		h.propose("a")
		gate := make(chan struct{})
		disk.gate.Store(&gate)
		outcomes := make(chan error, 10)
		for range cap(outcomes) {
			go func() {
				_, err := h.group.Propose(w.ctx, []byte("x"))
				outcomes <- err
			}()
		}
		time.Sleep(time.Second) // fake
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := h.host.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it stops with %v", err)
		}
		for range cap(outcomes) {
			if err := <-outcomes; !errors.Is(err, actors.ErrUnknown) {
				t.Errorf("a proposal ends with %v", err)
			}
		}
		close(gate)
		h.stop() // now it can
	})
}

func TestP8_AMemberThatIsStoppedWhileItRecoversHoldsNothing(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.stop()
		disk := &slowDisk{h.disk, make(chan struct{})}
		cfg := h.config()
		cfg.Store = disk
		host, err := actors.Start(newSystem(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.host = host
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		group := actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &register{world: w} }}
		g, err := host.Open(ctx, group)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a disk that does not answer: %v", err)
		}
		if err := g.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		close(disk.gate)
		if g, err = host.Open(w.ctx, group); err != nil {
			t.Fatalf("opening it again: %v", err)
		}
		if _, err := g.Propose(w.ctx, []byte("a")); err != nil {
			t.Error(err)
		}
	})
}

// What the log has opened for a member is not for the member that has taken its
// place meanwhile.
func TestP7_AMemberThatIsRestartedWhileItRecoversRecovers(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.stop()
		disk := &slowDisk{h.disk, make(chan struct{})}
		cfg := h.config()
		cfg.Store = disk
		host, err := actors.Start(newSystem(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.host = host
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		h.group, err = host.Open(ctx, actors.GroupConfig{Name: "group", Machine: func() actors.StateMachine { return &register{world: w} }})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a disk that does not answer: %v", err)
		}
		h.restart(h.group.PID())
		time.Sleep(time.Second) // fake
		close(disk.gate)
		time.Sleep(time.Second) // fake
		ctx, cancel = context.WithTimeout(w.ctx, 10*time.Second)
		defer cancel()
		if _, err := h.group.Propose(ctx, []byte("a")); err != nil {
			t.Errorf("%v; it is %v", err, h.status())
		}
	})
}

// restart does what a supervision strategy of protoactor's does.
func (h *hostUp) restart(pid *actor.PID) {
	if p, ok := h.host.System().ProcessRegistry.Get(pid); ok {
		p.SendSystemMessage(pid, &actor.Restart{})
	}
}

func TestP7_AMemberThatAUsersStrategyRestartsComesBackFromTheDisk(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		for range 3 { // the later ones while it recovers
			h.restart(h.group.PID())
		}
		time.Sleep(time.Second) // fake
		if got := h.propose("b"); got != "2:b" {
			t.Errorf("it answers %q", got)
		}
		h.restart(h.group.PID())
		time.Sleep(time.Second) // fake
		if got := h.propose("c"); got != "3:c" {
			t.Errorf("it answers %q", got)
		}
	})
}

func TestP8_ARestartDoesNotBringBackAMemberThatIsStopped(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		for range 20 {
			h.propose("a")
			pid := h.group.PID()
			p, _ := h.host.System().ProcessRegistry.Get(pid)
			done := make(chan error, 1)
			go func() { done <- h.group.Stop(w.ctx) }()
			for range 3 {
				p.SendSystemMessage(pid, &actor.Restart{})
				runtime.Gosched()
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			p.SendSystemMessage(pid, &actor.Restart{})
			h.group = h.open("group")
		}
	})
}

func TestAChildThatAStrangerStopsIsMissed(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		for _, child := range []string{"/node-1", "/machine-2"} {
			h.host.System().Root.Stop(actor.NewPID(h.group.PID().Address, h.group.PID().Id+child))
			w.until("the member pauses", func() bool { s := h.status(); return s.State == actors.Pausing && s.Fault != nil })
			if got := h.read(""); got != "a" {
				t.Errorf("after %s was stopped a read sees %q", child, got)
			}
		}
	})
}

// quitter ends its goroutine, as testing.T.FailNow does.
type quitter struct{ register }

func (q *quitter) Apply(e actors.Entry) []byte {
	if q.world.panics(string(e.Data), 0) {
		runtime.Goexit()
	}
	return q.register.Apply(e)
}

func TestP7_AMachineThatEndsItsGoroutineComesBackFromTheDisk(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		g, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "quitter", Machine: func() actors.StateMachine { return &quitter{register{world: w}} }})
		if err != nil {
			t.Fatal(err)
		}
		w.panicAt("boom")
		if _, err := g.Propose(w.ctx, []byte("boom")); !errors.Is(err, actors.ErrUnknown) {
			t.Errorf("a command at which the machine quits ends with %v", err)
		}
		w.panicAt("")
		if got, err := g.Propose(w.ctx, []byte("b")); err != nil || string(got) != "2:b" {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	})
}

func TestTheTransportMustTakeTheLargestCommand(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		cfg := w.hosts[0].config()
		cfg.Raft.MaxCommandBytes = 9 << 20
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "the Transport takes packets") {
			t.Errorf("commands that no packet holds: %v", err)
		}
	})
}

func TestC5_RequestsThatWaitForAMemberThatStopsAreAnswered(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.propose("a")
		answers := make(chan any, 100000)
		system := h.host.System()
		asker := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actors.Response, *actor.DeadLetterResponse:
				answers <- m
			}
		}))
		asked := 0
		for asked < cap(answers) && len(answers) < cap(answers) {
			if asked++; asked == 1000 {
				system.Root.Stop(h.group.PID())
			}
			system.Root.RequestWithCustomSender(h.group.PID(), &actors.Request{Operation: actors.Read, Consistency: actors.Local}, asker)
		}
		w.until("all are answered", func() bool { return len(answers) == asked })
		system.Root.Stop(asker)
	})
}

func TestM14_StrangersAreNotHeard(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.hosts[w.leader().id%3]
		transport := h.through()
		w.until("it follows", func() bool { return h.status().Leader != raftcore.Nobody })
		before := h.status().Term
		key := transport.heard() // as a stranger may, too
		transport.arrive(&actors.Packet{From: 9, Messages: []actors.GroupMessage{{Group: key, Message: raftcore.Message{
			From: 9, To: h.id, Term: before + 100, Body: &raftcore.AppendRequest{Round: 1},
		}}}})
		time.Sleep(time.Millisecond) // fake
		if after := h.status().Term; after != before {
			t.Errorf("a stranger has moved its term from %d to %d", before, after)
		}
	})
}
