package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
)

// leftBehind returns the stacks of goroutines that run code of package actors, or of
// protoactor, when everything has come to rest.
func leftBehind() (stacks []string) {
	synctest.Wait()
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		of := func(pkg string) bool {
			return strings.Contains(stack, pkg+".") && !strings.Contains(stack, "testing.tRunner")
		}
		if of("castaway/actors") || of("protoactor-go/actor") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// pending are calls that wait for their answers.
type pending struct {
	mu   sync.Mutex
	open map[string]bool
	errs map[string]error
}

func (p *pending) begin(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[name] = true
}

func (p *pending) end(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, name)
	p.errs[name] = err
}

func (p *pending) call(name string, f func() error) {
	p.begin(name)
	go func() { p.end(name, f()) }()
}

// load asks the host's group for everything there is, directly and as an actor. Nobody
// gives up by himself.
func (h *hostUp) load(p *pending) {
	g, ctx := h.group, h.world.ctx
	for name, r := range map[string]*actors.Request{
		"propose": {Operation: actors.Propose, Data: []byte("x")},
		"read":    {Operation: actors.Read, Data: []byte("len")},
		"bounded": {Operation: actors.Read, Data: []byte("len"), Consistency: actors.BoundedStale, MaxAge: time.Second},
		"local":   {Operation: actors.Read, Data: []byte("len"), Consistency: actors.Local},
		"after":   {Operation: actors.Read, Data: []byte("len"), Consistency: actors.Local, After: 1 << 40},
		"session": {Operation: actors.OpenSession},
		"members": {Operation: actors.ChangeMembers, Members: voters(1, 2)},
		"skip":    {Operation: actors.SkipEntry, Entry: 1 << 40},
	} {
		p.call(name, func() error {
			_, err := g.Do(ctx, r)
			return err
		})
		p.begin("actor " + name)
		h.host.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Request(g.PID(), r)
			case *actors.Response:
				p.end("actor "+name, m.Err)
				ctx.Stop(ctx.Self())
			case *actor.DeadLetterResponse:
				p.end("actor "+name, actors.ErrStopped)
				ctx.Stop(ctx.Self())
			}
		}))
	}
	p.call("status", func() error {
		_, err := g.Status(ctx)
		return err
	})
	p.call("watch", func() error {
		for range g.Watch(ctx) {
		}
		return nil
	})
	synctest.Wait()
}

// TestC5_StopAnswersAndLeavesNothingBehind stops a group, or its host, in every state that
// it can be in, while everything is asked of it.
func TestC5_StopAnswersAndLeavesNothingBehind(t *testing.T) {
	type scene struct {
		name  string
		hosts int
		// stage brings the first host into the state, and returns what ends a stall.
		stage func(*world, *hostUp, *faultyDisk) (release func())
	}
	stallDisk := func(disk *faultyDisk) func() {
		stall := make(chan struct{})
		disk.stall.Store(&stall)
		return func() {
			disk.stall.Store(nil)
			close(stall)
		}
	}
	scenes := []scene{
		{"alone", 1, func(w *world, h *hostUp, _ *faultyDisk) func() { return nil }},
		{"of three", 3, func(w *world, h *hostUp, _ *faultyDisk) func() { w.leader(); return nil }},
		{"cut off", 3, func(w *world, h *hostUp, _ *faultyDisk) func() { w.leader(); w.net.Isolate(h.addr); return nil }},
		{"cut off from the leader that was asked", 2, func(w *world, h *hostUp, _ *faultyDisk) func() {
			if err := h.group.Transfer(w.ctx, 2); err != nil {
				w.t.Fatal(err)
			}
			w.until("it follows", func() bool { return h.status().Leader == 2 })
			w.hosts[1].group.Propose(w.ctx, nil)
			w.net.SetFaults(1, 0)
			return nil
		}},
		{"stalled disk", 1, func(w *world, h *hostUp, disk *faultyDisk) func() {
			h.propose("x")
			return stallDisk(disk)
		}},
		{"full disk", 1, func(w *world, h *hostUp, disk *faultyDisk) func() {
			h.propose("x")
			disk.full.Store(true)
			h.proposing("y")
			w.until("it says so", func() bool { return h.status().Fault != nil })
			return nil
		}},
		{"stalled machine", 1, func(w *world, h *hostUp, _ *faultyDisk) func() {
			h.propose("x")
			h.proposing("stall")
			synctest.Wait()
			return func() { close(w.stalled) }
		}},
		{"stalled query", 1, func(w *world, h *hostUp, _ *faultyDisk) func() {
			h.propose("x")
			go h.local(w.ctx, "stall")
			synctest.Wait()
			return func() { close(w.stalled) }
		}},
		{"query that waits for its context", 1, func(w *world, h *hostUp, _ *faultyDisk) func() {
			h.propose("x")
			h.host.System().Root.Send(h.group.PID(), &actors.Request{Operation: actors.Read, Consistency: actors.Local, Data: []byte("wait")})
			synctest.Wait()
			return nil
		}},
		{"recovering", 1, func(w *world, h *hostUp, disk *faultyDisk) func() {
			release := stallDisk(disk)
			if err := h.group.Stop(w.ctx); err != nil {
				w.t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
			defer cancel()
			h.group, _ = h.host.Open(ctx, actors.GroupConfig{Name: "group", Machine: h.machine})
			return release
		}},
		{"pausing", 1, func(w *world, h *hostUp, _ *faultyDisk) func() {
			h.propose("x")
			w.panicAt("boom")
			h.proposing("boom")
			w.until("it pauses", func() bool { return h.status().State == actors.Pausing })
			return nil
		}},
		{"store that is about to be opened again", 1, func(w *world, h *hostUp, disk *faultyDisk) func() {
			h.propose("x")
			disk.failOpen.Store(true)
			disk.failSave.Store(true)
			h.proposing("y")
			w.until("it pauses", func() bool { return h.status().State == actors.Pausing })
			return nil
		}},
		{"faulted", 1, func(w *world, h *hostUp, disk *faultyDisk) func() {
			h.propose("x")
			disk.failOpen.Store(true)
			disk.failSave.Store(true)
			h.proposing("y")
			w.until("it is faulted", func() bool { return h.status().State == actors.Faulted })
			return nil
		}},
		{"quarantined", 1, func(w *world, h *hostUp, _ *faultyDisk) func() {
			w.poison()
			return nil
		}},
	}
	for _, s := range scenes {
		for _, what := range []string{"group", "host"} {
			t.Run(what+" "+s.name, func(t *testing.T) {
				inWorld(t, s.hosts, func(w *world) {
					h := w.hosts[0]
					disk := faultyDisks(h)[h]
					w.leader()
					release := s.stage(w, h, disk)
					p := &pending{open: map[string]bool{}, errs: map[string]error{}}
					h.load(p)

					const patience = 5 * time.Second
					ctx, cancel := context.WithTimeout(w.ctx, patience)
					defer cancel()
					began := time.Now()
					var err error
					if what == "group" {
						err = h.group.Stop(ctx)
					} else {
						err = h.host.Stop(ctx)
					}
					if took := time.Since(began); took > patience || err != nil && (release == nil || !errors.Is(err, context.DeadlineExceeded)) {
						t.Errorf("Stop took %v of %v, and ended with %v", took, patience, err)
					}
					synctest.Wait()
					for name := range p.open {
						if name != "watch" || err == nil { // that ends when it has stopped
							t.Errorf("%s does not have an answer when Stop has ended with %v", name, err)
						}
					}
					for name, err := range p.errs {
						if rejected, unknown := errors.Is(err, actors.ErrRejected), errors.Is(err, actors.ErrUnknown); err != nil && rejected == unknown {
							t.Errorf("%s ended with %v, which is neither or both", name, err)
						}
					}
					if release != nil {
						release()
						synctest.Wait()
					}
					for _, h := range w.hosts {
						h.stop()
					}
					time.Sleep(time.Minute) // fake: protoactor's dead-letter throttle
					if len(p.open) > 0 {
						t.Errorf("%v do not have an answer when all has stopped", p.open)
					}
					if left := leftBehind(); len(left) > 0 {
						t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
					}
				})
			})
		}
	}
}

// An operator who reads of dead letters looks for what is wrong: nobody is told to stop who
// has stopped. It is a race, so many groups are stopped.
func TestNobodyIsToldToStopWhoHasStopped(t *testing.T) {
	for name, end := range map[string]func(*hostUp, *actors.Group){
		"with their groups": func(h *hostUp, g *actors.Group) {
			if err := g.Stop(h.world.ctx); err != nil {
				t.Error(err)
			}
		},
		"with their members, which are restarted": func(h *hostUp, g *actors.Group) {
			h.restart(g.PID())
			synctest.Wait()
			if _, err := g.Propose(h.world.ctx, []byte("b")); err != nil {
				t.Error(err)
			}
		},
		"with their host": func(*hostUp, *actors.Group) {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				h := w.hosts[0]
				var groups []*actors.Group
				for i := range 50 {
					groups = append(groups, h.open(fmt.Sprint("group-", i)))
				}
				for _, g := range groups {
					if _, err := g.Propose(w.ctx, []byte("a")); err != nil {
						t.Fatal(err)
					}
				}
				var dead atomic.Int32
				h.host.System().EventStream.Subscribe(func(e any) {
					if d, is := e.(*actor.DeadLetterEvent); is {
						if _, stop := d.Message.(*actor.Stop); stop {
							dead.Add(1)
						}
					}
				})
				for _, g := range groups {
					end(h, g)
				}
				h.stop()
				// An actor that stops by itself at the moment in which protoactor tells all
				// children may still be among them. It is not one in each group.
				if n := dead.Load(); int(n) >= len(groups) {
					t.Errorf("%d actors were told to stop when they had", n)
				}
			})
		})
	}
}
