package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

func (h *hostUp) session(timeout time.Duration) *actors.Session {
	h.world.t.Helper()
	s, err := h.group.OpenSession(h.world.ctx, timeout)
	if err != nil {
		h.world.t.Fatal(err)
	}
	return s
}

// TestC1C3_ACommandIsCarriedOutOnce in a storm: hosts are cut off, stopped and started,
// and come back from snapshots; packets are lost. Clients send everything again until it
// is answered. In the end every command is there once.
func TestC1C3_ACommandIsCarriedOutOnce(t *testing.T) {
	eachSeed(t, 2, 3, func(w *world, seed uint64) {
		w.compacting(20)
		rng := rand.New(rand.NewPCG(seed, 9))
		w.net.SetFaults(0.05, 3*time.Millisecond)
		end := time.Now().Add(20 * time.Second)
		var mu sync.Mutex
		groups := map[int]*actors.Group{}
		for i, h := range w.hosts {
			groups[i] = h.group
		}
		// A client that asks any host, again and again with the same place in its session,
		// as one does whose host has died.
		client := func(c int) (acknowledged []string) {
			rng := rand.New(rand.NewPCG(seed, uint64(c)))
			send := func(r *actors.Request) *actors.Response {
				for {
					mu.Lock()
					g := groups[rng.IntN(3)]
					mu.Unlock()
					if g == nil {
						time.Sleep(time.Millisecond) // fake
						continue
					}
					ctx, cancel := context.WithTimeout(w.ctx, time.Duration(1+rng.IntN(300))*time.Millisecond)
					response, err := g.Do(ctx, r)
					cancel()
					if err == nil {
						return response
					}
					if errors.Is(err, actors.ErrSessionExpired) {
						w.t.Errorf("client %d: %v", c, err)
						return response
					}
				}
			}
			id := send(&actors.Request{Operation: actors.OpenSession, Timeout: time.Hour}).Session
			for n := uint64(1); time.Now().Before(end); n++ {
				command := fmt.Sprintf("%d-%d", c, n)
				in := actors.InSession{ID: id, Sequence: n, Done: n - 1}
				first := send(&actors.Request{Operation: actors.Propose, Data: []byte(command), Session: in})
				acknowledged = append(acknowledged, command)
				if rng.IntN(3) == 0 { // the answer was lost
					again := send(&actors.Request{Operation: actors.Propose, Data: []byte(command), Session: in})
					if string(again.Data) != string(first.Data) {
						w.t.Errorf("%s was answered with %q first, and with %q then", command, first.Data, again.Data)
					}
				}
			}
			return acknowledged
		}
		all := make([][]string, 4)
		var clients sync.WaitGroup
		for c := range all {
			clients.Go(func() { all[c] = client(c) })
		}
		for time.Now().Before(end) {
			i := rng.IntN(3)
			h := w.hosts[i]
			switch rng.IntN(3) {
			case 0:
				w.net.Isolate(h.addr)
			case 1:
				mu.Lock()
				groups[i] = nil
				mu.Unlock()
				h.stop()
				time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
				h.start()
				mu.Lock()
				groups[i] = h.group
				mu.Unlock()
			}
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			w.net.Heal()
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		}
		clients.Wait()
		w.net.SetFaults(0, 0)
		log := strings.Split(w.hosts[0].read("all"), "\n")
		times := map[string]int{}
		for _, command := range log {
			times[command]++
		}
		sent := 0
		for _, commands := range all {
			for _, command := range commands {
				if sent++; times[command] != 1 {
					w.t.Errorf("%s is there %d times", command, times[command])
				}
			}
		}
		if len(log) != sent || sent < 100 {
			w.t.Errorf("%d commands were carried out, %d were acknowledged", len(log), sent)
		}
		if first := w.hosts[0].status().First; first < 20 {
			w.t.Errorf("the log begins at %d: no snapshot was taken", first)
		}
	})
}

// TestC1_ASessionSendsAgainByItself: through a leader that is lost.
func TestC1_ASessionSendsAgainByItself(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		s := w.hosts[l.id%3].session(time.Minute)
		w.net.SetFaults(0.1, 2*time.Millisecond)
		var clients sync.WaitGroup
		for c := range 10 {
			clients.Go(func() {
				for n := range 20 {
					if _, err := s.Propose(w.ctx, fmt.Append(nil, c, "-", n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond) // fake
		w.net.Isolate(l.addr)
		clients.Wait()
		w.net.Heal()
		w.net.SetFaults(0, 0)
		times := map[string]int{}
		for _, command := range strings.Split(w.hosts[0].read("all"), "\n") {
			times[command]++
		}
		if len(times) != 200 {
			t.Errorf("there are %d commands", len(times))
		}
		for command, n := range times {
			if n != 1 {
				t.Errorf("%s is there %d times", command, n)
			}
		}
		if err := s.Close(w.ctx); err != nil {
			t.Error(err)
		}
		if _, err := s.Propose(w.ctx, []byte("late")); !errors.Is(err, actors.ErrSessionExpired) || !errors.Is(err, actors.ErrRejected) {
			t.Errorf("after Close it ends with %v", err)
		}
	})
}

// TestC2C7_ASessionLivesAsLongAsItIsHeardOf: it gives signs of life by itself, and ends by
// the time of the log when it does not.
func TestC2C7_ASessionLivesAsLongAsItIsHeardOf(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		f := w.hosts[l.id%3]
		s := f.session(10 * time.Second)
		time.Sleep(5 * time.Minute) // fake
		if _, err := s.Propose(w.ctx, []byte("after minutes")); err != nil {
			t.Errorf("a session that was kept alive ends with %v", err)
		}
		w.net.Isolate(f.addr)
		time.Sleep(time.Minute)
		l = w.leader(f)
		l.propose("the time") // moves the log's time on
		w.net.Heal()
		if _, err := s.Propose(w.ctx, []byte("too late")); !errors.Is(err, actors.ErrSessionExpired) {
			t.Errorf("a session that was cut off ends with %v", err)
		}
		if all := l.read("all"); strings.Contains(all, "too late") {
			t.Errorf("a command of an expired session was carried out: %q", all)
		}
	})
}

// When the context ends the outcome is told as what it is.
func TestC4_ASessionSaysWhatItDoesNotKnow(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.leader()
		s := l.session(time.Minute)
		for _, h := range w.hosts {
			if h != l {
				w.net.Isolate(h.addr)
			}
		}
		ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
		_, err := s.Propose(ctx, []byte("maybe"))
		cancel()
		if !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("what was sent ends with %v", err)
		}
		ctx, cancel = context.WithCancel(w.ctx)
		cancel()
		if _, err := s.Propose(ctx, []byte("never")); !errors.Is(err, actors.ErrRejected) || errors.Is(err, actors.ErrUnknown) {
			t.Errorf("what was never sent ends with %v", err)
		}
		w.net.Heal()
		if _, err := s.Propose(w.ctx, []byte("surely")); err != nil {
			t.Error(err)
		}
		if all := l.read("all"); strings.Contains(all, "never") || strings.Count(all, "maybe") > 1 {
			t.Errorf("there is %q", all)
		}
	})
}

// What nobody could mean is refused, by name.
func TestSessionRequestsAreChecked(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.leader()
		for _, r := range []actors.Request{
			{Operation: actors.OpenSession, Timeout: -1},
			{Operation: actors.OpenSession, Timeout: time.Microsecond},
			{Operation: actors.OpenSession, Timeout: 1 << 62},
			{Operation: actors.Propose, Timeout: time.Second},
			{Operation: actors.KeepSession},
			{Operation: actors.CloseSession},
			{Operation: actors.CloseSession, Session: actors.InSession{ID: 1, Done: 1}},
			{Operation: actors.Propose, Session: actors.InSession{ID: 1}},
			{Operation: actors.Propose, Session: actors.InSession{Sequence: 1}},
			{Operation: actors.Propose, Session: actors.InSession{ID: 1, Sequence: 2, Done: 2}},
			{Operation: actors.Read, Session: actors.InSession{ID: 1}},
			{Operation: 35, Data: []byte{4, 1}},
		} {
			if _, err := h.group.Do(w.ctx, &r); !errors.Is(err, actors.ErrBadRequest) {
				t.Errorf("%+v ends with %v", r, err)
			}
		}
		if _, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.KeepSession, Session: actors.InSession{ID: 12345}}); !errors.Is(err, actors.ErrSessionExpired) {
			t.Errorf("a session that never was ends with %v", err)
		}
	})
}

// TestC3_ASessionIsInTheSnapshot: a member that has nothing but a snapshot knows what was
// answered.
func TestC3_ASessionIsInTheSnapshot(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.compacting(10)
		h := w.hosts[0]
		open, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.OpenSession})
		if err != nil {
			t.Fatal(err)
		}
		command := &actors.Request{Operation: actors.Propose, Data: []byte("once"), Session: actors.InSession{ID: open.Session, Sequence: 7}}
		first, err := h.group.Do(w.ctx, command)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			h.propose(fmt.Sprint(i))
		}
		w.until("the log begins behind it", func() bool { return h.status().First > 20 })
		h.stop()
		h.start()
		w.leader()
		again, err := h.group.Do(w.ctx, command)
		if err != nil || string(again.Data) != string(first.Data) {
			t.Errorf("after the restart it is answered with %q, %v; before with %q", again.Data, err, first.Data)
		}
		if n := strings.Count(h.read("all"), "once"); n != 1 {
			t.Errorf("it was carried out %d times", n)
		}
	})
}

// Names that hosts and groups have are no matter for a session: another group knows
// nothing of it.
func TestASessionIsOfOneGroup(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.leader()
		s := h.session(0)
		other := h.open("other")
		_, err := other.Do(w.ctx, &actors.Request{Operation: actors.Propose, Session: actors.InSession{ID: s.ID(), Sequence: 1}})
		if !errors.Is(err, actors.ErrSessionExpired) {
			t.Errorf("in another group it ends with %v", err)
		}
	})
}

// A group that is stopped ends what waits on its sessions, at once and truthfully.
func TestC5_ASessionOfAStoppedGroupEnds(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.leader()
		s := h.session(time.Minute)
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if _, err := s.Propose(w.ctx, []byte("x")); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("Propose ends with %v", err)
		}
		if _, err := h.group.OpenSession(w.ctx, 0); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("OpenSession ends with %v", err)
		}
		if took := time.Since(before); took > time.Second {
			t.Errorf("that took %v", took)
		}
	})
}

// TestC5_ASessionThatMayHaveBeenOpenedIsNotSaidNotToBe: its leader was lost, and then the
// group was stopped.
func TestC5_ASessionThatMayHaveBeenOpenedIsNotSaidNotToBe(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		l := w.settled()
		w.net.Isolate(l.addr)
		ended := make(chan error, 1)
		go func() {
			_, err := l.group.OpenSession(w.ctx, time.Minute)
			ended <- err
		}()
		w.until("it leads no more", func() bool { return l.status().Role != raftcore.Leader })
		time.Sleep(time.Second) // fake
		if err := l.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, actors.ErrStopped) {
			t.Errorf("it ends with %v", err)
		}
	})
}
