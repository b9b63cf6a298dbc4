package actors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
)

const kib = 1 << 10

// bounded has the hosts start anew with these bounds.
func (w *world) bounded(host, group int64) {
	w.t.Helper()
	for _, h := range w.hosts {
		h.stop()
		cfg := h.config()
		cfg.MaxBytes, cfg.Raft.MaxCommandBytes = host, 64*kib
		h.startHost(cfg)
		h.group = h.openBounded("group", group)
	}
}

func (h *hostUp) openBounded(name string, bytes int64) *actors.Group {
	h.world.t.Helper()
	g, err := h.host.Open(h.world.ctx, actors.GroupConfig{Name: name, Machine: h.machine, MaxBytes: bytes})
	if err != nil {
		h.world.t.Fatal(err)
	}
	return g
}

// fill proposes until nothing more is taken, and returns the answers to what was, and why.
func fill(w *world, g *actors.Group) (answers []chan error, full *actors.BusyError) {
	w.t.Helper()
	command := []byte(strings.Repeat("x", 16*kib))
	for range 1000 {
		answer := make(chan error, 1)
		go func() {
			_, err := g.Propose(w.ctx, command)
			answer <- err
		}()
		time.Sleep(time.Millisecond) // fake
		select {
		case err := <-answer:
			if !errors.As(err, &full) || !errors.Is(err, actors.ErrBusy) || !errors.Is(err, actors.ErrRejected) {
				w.t.Fatalf("a command more ends with %v", err)
			}
			return answers, full
		default:
			answers = append(answers, answer)
		}
	}
	w.t.Fatal("everything is taken")
	return nil, nil
}

// TestF4_WhatWaitsForAMachineIsBoundedInBytes: in each group, and in all groups of a host.
func TestF4_WhatWaitsForAMachineIsBoundedInBytes(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.bounded(512*kib, 256*kib)
		h := w.hosts[0]
		groups := []*actors.Group{h.group, h.openBounded("second", 256*kib), h.openBounded("third", 256*kib)}
		for _, g := range groups {
			if _, err := g.Propose(w.ctx, []byte("first")); err != nil {
				t.Fatal(err)
			}
			go g.Propose(w.ctx, []byte("stall"))
		}
		time.Sleep(time.Second) // fake
		var all []chan error
		for i, g := range groups[:2] {
			answers, full := fill(w, g)
			all = append(all, answers...)
			if len(answers) != 15 || !strings.Contains(full.What, "group") || full.Limit != 256*kib || full.Used > full.Limit || full.RetryAfter <= 0 {
				t.Errorf("group %d has taken %d commands, and then: %v", i, len(answers), full)
			}
		}
		answers, full := fill(w, groups[2])
		all = append(all, answers...)
		if len(answers) != 0 || !strings.Contains(full.What, "host") {
			t.Errorf("a third group has taken %d commands, and then: %v", len(answers), full)
		}
		if _, err := groups[2].Read(w.ctx, []byte(strings.Repeat("x", 20*kib))); !errors.Is(err, actors.ErrBusy) {
			t.Errorf("a large question ends with %v", err)
		}
		close(w.stalled)
		for _, answer := range all {
			if err := <-answer; err != nil {
				t.Errorf("a command that was taken ends with %v", err)
			}
		}
		if calls, _ := h.host.Waiting(); calls != 0 {
			t.Errorf("when all are answered %d bytes wait", calls)
		}
		if _, err := groups[2].Propose(w.ctx, []byte(strings.Repeat("x", 16*kib))); err != nil {
			t.Errorf("afterwards a command ends with %v", err)
		}
	})
}

// TestF4_WhatIsTakenForAnotherHostIsBounded: what was sent to a leader that does not answer
// takes room until nobody waits for it, and no longer.
func TestF4_WhatIsTakenForAnotherHostIsBounded(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.bounded(512*kib, 256*kib)
		l := w.settled()
		h := w.hosts[l.id%3]
		_ = l.proposing("stall")
		time.Sleep(time.Second) // fake
		ctx, cancel := context.WithCancel(w.ctx)
		command := []byte(strings.Repeat("x", 16*kib))
		for range 15 {
			go h.group.Propose(ctx, command)
		}
		time.Sleep(time.Second) // fake
		if calls, _ := h.host.Waiting(); calls < 15*16*kib {
			t.Fatalf("%d bytes wait", calls)
		}
		if _, err := h.group.Propose(w.ctx, command); !errors.Is(err, actors.ErrBusy) {
			t.Errorf("a command more ends with %v", err)
		}
		cancel()
		time.Sleep(time.Second) // fake
		w.until("there is room again", func() bool {
			ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
			defer cancel()
			_, err := h.group.Propose(ctx, command)
			return !errors.Is(err, actors.ErrBusy) || !strings.Contains(err.Error(), "bytes of requests, results and effects in the group") || strings.Contains(err.Error(), "leader")
		})
		close(w.stalled)
	})
}

// TestF4_WhatOtherHostsSendIsBounded: each sends no more than it may take itself, and all
// together send more than the leader takes.
func TestF4_WhatOtherHostsSendIsBounded(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.bounded(512*kib, 256*kib)
		l := w.settled()
		_ = l.proposing("stall")
		time.Sleep(time.Second) // fake
		command := []byte(strings.Repeat("x", 16*kib))
		answers := make(chan error, 24)
		for i := range cap(answers) {
			go func() {
				_, err := w.hosts[(int(l.id)+i%2)%3].group.Propose(w.ctx, command)
				answers <- err
			}()
		}
		time.Sleep(time.Second) // fake
		calls, _ := l.host.Waiting()
		if calls < 200*kib || calls > 256*kib {
			t.Errorf("%d bytes wait at the leader", calls)
		}
		close(w.stalled)
		busy := 0
		for range cap(answers) {
			switch err := <-answers; {
			case errors.Is(err, actors.ErrBusy):
				busy++
			case err != nil:
				t.Error(err)
			}
		}
		if busy != 9 { // 15 of 16 KiB go into 256
			t.Errorf("%d are refused", busy)
		}
	})
}

// What clients have not said that they know counts; to say so is always allowed.
func TestC4F4_SessionsThatSayNothingFillTheGroupAndMayEmptyIt(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.bounded(512*kib, 256*kib)
		h := w.hosts[0]
		open, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.OpenSession, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		place := actors.InSession{ID: open.Session}
		for err == nil && place.Sequence < 1000 {
			place.Sequence++
			_, err = h.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Session: place, Data: []byte(strings.Repeat("x", 10*kib))})
		}
		if !errors.Is(err, actors.ErrBusy) || place.Sequence < 20 {
			t.Fatalf("command %d ends with %v", place.Sequence, err)
		}
		if h.host.Tables() < 200*kib {
			t.Errorf("%d bytes of results are counted", h.host.Tables())
		}
		if _, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.OpenSession, Timeout: time.Hour}); err != nil {
			t.Errorf("there is little room, and it is enough for a session: %v", err)
		}
		err = nil
		for place.Sequence--; err == nil; { // until there is none
			place.Sequence++
			_, err = h.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Session: place, Data: []byte("x")})
		}
		if !errors.Is(err, actors.ErrBusy) {
			t.Fatal(err)
		}
		keep := actors.InSession{ID: open.Session, Done: place.Sequence - 1}
		if _, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.KeepSession, Session: keep}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.group.Do(w.ctx, &actors.Request{Operation: actors.Propose, Session: place, Data: []byte("small")}); err != nil {
			t.Errorf("when that is known a command ends with %v", err)
		}
		if n := h.host.Tables(); n > kib {
			t.Errorf("%d bytes of results are counted", n)
		}
		if err := h.group.Stop(w.ctx); err != nil || h.host.Tables() != 0 {
			t.Errorf("a group that has stopped counts %d bytes, %v", h.host.Tables(), err)
		}
	})
}

// TestF1_AFollowerWhoseDiskStallsTakesInSoMuchAndNoMore, of all groups together. Then it
// catches up.
func TestF1_AFollowerWhoseDiskStallsTakesInSoMuchAndNoMore(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.bounded(512*kib, 512*kib)
		l := w.settled()
		f := w.hosts[l.id%3]
		f.stop()
		disk := &faultyDisk{Opener: f.disk}
		cfg := f.config()
		cfg.MaxBytes, cfg.Raft.MaxCommandBytes, cfg.Store = 512*kib, 64*kib, disk
		f.startHost(cfg)
		var names []string
		for i := range 12 {
			names = append(names, fmt.Sprint("group-", i))
		}
		f.group = f.openBounded("group", 512*kib)
		leaders := map[string]*actors.Group{}
		for _, h := range w.hosts {
			for _, name := range names {
				g := h.openBounded(name, 512*kib)
				leaders[name] = g
			}
		}
		for _, name := range names {
			if _, err := leaders[name].Propose(w.ctx, []byte("first")); err != nil {
				t.Fatal(err)
			}
			if s, err := leaders[name].Status(w.ctx); err != nil || s.Leader == f.id {
				if err := leaders[name].Transfer(w.ctx, l.id); err != nil {
					t.Fatal(err)
				}
			}
		}
		stall := make(chan struct{})
		disk.stall.Store(&stall)
		release := sync.OnceFunc(func() {
			disk.stall.Store(nil)
			close(stall)
		})
		defer release()
		command := []byte(strings.Repeat("x", 16*kib))
		most := int64(0)
		for range 8 {
			for _, name := range names {
				ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
				_, err := leaders[name].Propose(ctx, command)
				cancel()
				if err != nil {
					for _, h := range w.hosts {
						calls, saves := h.host.Waiting()
						t.Logf("%d: %d %d", h.id, calls, saves)
					}
					s, _ := leaders[name].Status(w.ctx)
					t.Fatalf("%s: %v %v", name, err, s)
				}
			}
			_, saves := f.host.Waiting()
			most = max(most, saves)
		}
		// Two hosts may deliver at once what they have of a group.
		if bound := int64(512*kib/2 + 2*8*17*kib); most > bound || most < 128*kib {
			t.Errorf("%d bytes have waited for the disk, the bound is %d", most, bound)
		}
		release()
		w.until("it has caught up", func() bool { _, saves := f.host.Waiting(); return saves == 0 })
		if got := f.read("len"); got == "" {
			t.Error("it does not answer")
		}
	})
}

func TestBoundsThatNoCommandFitsAreRefused(t *testing.T) {
	cfg := actors.HostConfig{ID: 1, Store: persistence.Memory(), MaxBytes: 1 * kib}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "MaxBytes") {
		t.Errorf("the host is taken: %v", err)
	}
	inWorld(t, 1, func(w *world) {
		if _, err := w.hosts[0].host.Open(w.ctx, actors.GroupConfig{Name: "small", Machine: w.hosts[0].machine, MaxBytes: kib}); err == nil {
			t.Error("the group is taken")
		}
	})
}
