package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// watched is a transport that counts what leaves a host because of reads.
type watched struct {
	actors.Transport
	requests     atomic.Int64 // that travelled to the leader's host
	readRequests atomic.Int64 // for an index
}

func (t *watched) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	return watchedLink{t.Transport.Link(address, notify), t}
}

type watchedLink struct {
	actors.Link
	transport *watched
}

func (l watchedLink) Send(p *actors.Packet) bool {
	l.transport.requests.Add(int64(len(p.Requests)))
	for i := range p.Messages {
		if _, ok := p.Messages[i].Message.Body.(*raftcore.ReadRequest); ok {
			l.transport.readRequests.Add(1)
		}
	}
	return l.Link.Send(p)
}

// watch starts a host anew, over a transport that counts.
func (h *hostUp) watch() *watched {
	h.stop()
	cfg := h.config()
	t := &watched{Transport: cfg.Transport}
	cfg.Transport = t
	h.startWith(cfg)
	return t
}

// follower returns a host that does not lead.
func (w *world) follower() *hostUp { return w.hosts[w.settled().id%3] }

// write proposes, and returns the index.
func (h *hostUp) write(command string) raftcore.Index {
	h.world.t.Helper()
	r, err := h.group.Do(h.world.ctx, &actors.Request{Operation: actors.Propose, Data: []byte(command)})
	if err != nil {
		h.world.t.Fatalf("proposing %q on host %d: %v", command, h.id, err)
	}
	return r.Index
}

func TestEveryMemberAnswersWithItsOwnMachine(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		var transports []*watched
		for _, h := range w.hosts {
			transports = append(transports, h.watch())
		}
		w.settled()
		for i := range 10 {
			want := fmt.Sprint("x", i)
			index := w.hosts[i%3].write(want)
			for _, tr := range transports {
				tr.requests.Store(0)
			}
			for _, h := range w.hosts {
				for _, c := range []actors.Consistency{actors.Linearizable, actors.BoundedStale} {
					maxAge := map[actors.Consistency]time.Duration{actors.BoundedStale: time.Nanosecond}[c]
					got, err := h.ask(w.ctx, c, maxAge, 0, "")
					if err != nil || string(got.Data) != want || got.Index != index {
						t.Errorf("host %d, %v: %q at %d, %v; %q was written at %d", h.id, c, got.Data, got.Index, err, want, index)
					}
				}
			}
			for i, tr := range transports {
				if n := tr.requests.Load(); n != 0 {
					t.Errorf("%d reads of host %d have travelled", n, i+1)
				}
			}
			time.Sleep(time.Millisecond) // fake: what was confirmed is too old then
		}
	})
}

// Q5: what is checked and what is read is one thing, whoever leads meanwhile.
func TestQ2Q5_ADeposedLeaderAnswersNothingOld(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.hosts[0].write("old")
		old := w.settled()
		w.net.Isolate(old.addr)
		type answer struct {
			r   *actors.Response
			err error
		}
		early := make(chan answer, 1)
		go func() { // while it believes that it leads
			r, err := old.ask(w.ctx, actors.Linearizable, 0, 0, "")
			early <- answer{r, err}
		}()
		w.leader(old).write("new")
		short, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		for range 3 {
			if r, err := old.ask(short, actors.Linearizable, 0, 0, ""); !errors.Is(err, actors.ErrRejected) {
				t.Fatalf("cut off, it answers %q, %v", r.Data, err)
			}
			if r, err := old.ask(short, actors.BoundedStale, time.Millisecond, 0, ""); !errors.Is(err, actors.ErrRejected) {
				t.Fatalf("cut off, it answers %q, %v, and claims to be young", r.Data, err)
			}
		}
		request := &actors.Request{Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: time.Millisecond}
		told, err := old.host.System().Root.RequestFuture(old.group.PID(), request, time.Minute).Result()
		if r, ok := told.(*actors.Response); !ok || !errors.Is(r.Err, actors.ErrNotLeader) {
			t.Errorf("cut off, it answers an actor with %+v, %v", told, err)
		}
		if got, err := old.local(w.ctx, ""); string(got) != "old" || err != nil {
			t.Errorf("what it has itself is %q, %v", got, err)
		}
		select {
		case a := <-early:
			t.Errorf("cut off, it has answered %q, %v", a.r.Data, a.err)
		default:
		}
		w.net.Heal()
		if a := <-early; a.err != nil || string(a.r.Data) != "new" {
			t.Errorf("when it is back it answers %q, %v", a.r.Data, a.err)
		}
	})
}

// history is what has been acknowledged, and when.
type history struct {
	mu      sync.Mutex
	entries []ack
}

type ack struct {
	at    time.Time
	index raftcore.Index
}

func (h *history) add(index raftcore.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.entries); n > 0 {
		index = max(index, h.entries[n-1].index)
	}
	h.entries = append(h.entries, ack{time.Now(), index})
}

// until returns the last index that was acknowledged before an instant.
func (h *history) until(at time.Time) (last raftcore.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.entries) - 1; i >= 0; i-- {
		if h.entries[i].at.Before(at) {
			return h.entries[i].index
		}
	}
	return 0
}

// writeOn has a host write every millisecond until the test is over.
func (h *hostUp) writeOn(ctx context.Context, done *sync.WaitGroup, acks *history) {
	done.Go(func() {
		for ctx.Err() == nil {
			if r, err := h.group.Do(ctx, &actors.Request{Operation: actors.Propose, Data: []byte("x")}); err == nil {
				acks.add(r.Index)
			}
			time.Sleep(time.Millisecond) // fake
		}
	})
}

func TestQ4_ABoundedReadIsNeverOlderThanItsBound(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.follower()
		other := w.leader()
		w.net.SetFaults(0, time.Millisecond)
		ctx, cancel := context.WithCancel(w.ctx)
		var done sync.WaitGroup
		defer done.Wait()
		defer cancel()
		var acks history
		other.writeOn(ctx, &done, &acks)
		const bound = 40 * time.Millisecond
		read := func() bool {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			r, err := h.ask(ctx, actors.BoundedStale, bound, 0, "len")
			if err != nil {
				return false
			}
			now := time.Now()
			if want := acks.until(now.Add(-bound)); r.Index < want {
				t.Errorf("it answers at entry %d; entry %d had been acknowledged %v before", r.Index, want, bound)
			}
			if want := acks.until(now.Add(-r.Age)); r.Age > bound || r.Index < want {
				t.Errorf("it answers at entry %d and says that this is %v old; entry %d had been acknowledged by then", r.Index, r.Age, want)
			}
			return true
		}
		for range 5 {
			for range 300 {
				read()
				time.Sleep(time.Millisecond) // fake
			}
			w.net.Isolate(h.addr)
			cut := time.Now()
			answers := 0
			for time.Since(cut) < 300*time.Millisecond {
				if read() {
					answers++
					if time.Since(cut) > bound {
						t.Fatalf("cut off for %v, it still claims to be younger than %v", time.Since(cut), bound)
					}
				}
				time.Sleep(time.Millisecond) // fake
			}
			if answers == 0 {
				t.Error("cut off, it does not answer at all, although it could for a while")
			}
			w.net.Heal()
			w.until("it answers again", read)
		}
	})
}

func TestManyBoundedReadsShareARound(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.follower()
		transport := h.watch()
		w.settled()
		if w.leader() == h {
			t.Fatal("a host that was away leads")
		}
		w.net.SetFaults(0, time.Millisecond)
		w.until("it knows the leader", func() bool { return h.status().Leader != raftcore.Nobody })
		transport.readRequests.Store(0)
		var clients sync.WaitGroup
		end := time.Now().Add(2 * time.Second)
		var reads atomic.Int64
		for range 50 {
			clients.Go(func() {
				for time.Now().Before(end) {
					if _, err := h.ask(w.ctx, actors.BoundedStale, 100*time.Millisecond, 0, ""); err != nil {
						t.Error(err)
						return
					}
					reads.Add(1)
					time.Sleep(time.Millisecond) // fake
				}
			})
		}
		clients.Wait()
		// One for half a bound, and the time that it takes.
		if n := transport.readRequests.Load(); n < 20 || n > 41 {
			t.Errorf("%d reads in 2 s, none of them older than 100 ms, cost %d rounds", reads.Load(), n)
		}
		if n := transport.requests.Load(); n != 0 || reads.Load() < 50000 {
			t.Errorf("%d of %d reads have travelled", n, reads.Load())
		}
	})
}

// A round may be good enough for who began it, and too old for who came later.
func TestQ7_AReadThatComesDuringARoundHasItsAnswer(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.follower()
		w.net.SetFaults(0, time.Millisecond)
		for range 50 {
			time.Sleep(50 * time.Millisecond) // fake: what is known of the age is of no use
			first := make(chan error, 1)
			go func() {
				_, err := h.ask(w.ctx, actors.BoundedStale, 20*time.Millisecond, 0, "")
				first <- err
			}()
			time.Sleep(time.Millisecond) // fake
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			if _, err := h.ask(ctx, actors.BoundedStale, 4*time.Millisecond, 0, ""); err != nil {
				t.Error(err)
			}
			cancel()
			if err := <-first; err != nil {
				t.Error(err)
			}
		}
	})
}

// A member answers what its machine waits too long to be asked about with the truth:
// that it is too old by then.
func TestQ4_AReadThatAMachineIsLateForIsAskedAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		gate := make(chan struct{})
		g, err := h.host.Open(w.ctx, actors.GroupConfig{Name: "slow", Machine: func() actors.StateMachine { return &gated{register{world: w}, gate} }})
		if err != nil {
			t.Fatal(err)
		}
		read := &actors.Request{Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: 10 * time.Millisecond}
		if _, err := g.Do(w.ctx, read); err != nil {
			t.Fatal(err)
		}
		go g.Propose(w.ctx, []byte("wait"))
		time.Sleep(time.Millisecond) // fake
		answers := make(chan *actors.Response, 2)
		asker := h.host.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if r, ok := ctx.Message().(*actors.Response); ok {
				answers <- r
			}
		}))
		defer h.host.System().Root.Stop(asker)
		h.host.System().Root.RequestWithCustomSender(g.PID(), read, asker)
		go func() {
			r, _ := g.Do(w.ctx, read)
			answers <- r
		}()
		time.Sleep(time.Second) // fake: both wait for the machine
		close(gate)
		if r := <-answers; !errors.Is(r.Err, actors.ErrTooOld) || r.Data != nil {
			t.Errorf("who asks once is told %q, %v", r.Data, r.Err)
		}
		if r := <-answers; r.Err != nil || string(r.Data) != "wait" || r.Age > read.MaxAge {
			t.Errorf("who asks again is told %q, %v, %v old", r.Data, r.Err, r.Age)
		}
	})
}

func TestAClientReadsItsWritesOnEveryHost(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.settled()
		w.net.SetFaults(0, 3*time.Millisecond)
		for i := range 30 {
			command := fmt.Sprint("w", i)
			index := w.hosts[i%3].write(command)
			for _, h := range w.hosts {
				for _, c := range []actors.Consistency{actors.Local, actors.BoundedStale, actors.Linearizable} {
					maxAge := map[actors.Consistency]time.Duration{actors.BoundedStale: time.Hour}[c]
					if r, err := h.ask(w.ctx, c, maxAge, index, ""); err != nil || string(r.Data) != command || r.Index < index {
						t.Fatalf("%q was written at %d; on host %d, %v, it reads %q at %d, %v", command, index, h.id, c, r.Data, r.Index, err)
					}
				}
			}
		}
		// And what has been seen on one host is seen on the next.
		for i := range 30 {
			go w.hosts[0].group.Propose(w.ctx, []byte("more"))
			seen, err := w.hosts[i%3].ask(w.ctx, actors.Local, 0, 0, "len")
			if err != nil {
				t.Fatal(err)
			}
			next, err := w.hosts[(i+1)%3].ask(w.ctx, actors.Local, 0, seen.Index, "len")
			if err != nil || number(next.Data) < number(seen.Data) {
				t.Fatalf("there are %s, and then %s, %v", seen.Data, next.Data, err)
			}
		}
	})
}

func number(data []byte) int {
	n, _ := strconv.Atoi(string(data))
	return n
}

func TestQ7_AReadThatWaitsForAnEntryEnds(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.follower()
		transport := h.watch()
		other := w.settled()
		w.net.Isolate(h.addr)
		index := other.write("x")
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if _, err := h.ask(ctx, actors.Local, 0, index, ""); !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with its context it ends with %v", err)
		}
		arrives := make(chan error, 1)
		go func() {
			r, err := h.ask(w.ctx, actors.Local, 0, index, "")
			if err == nil && string(r.Data) != "x" {
				err = fmt.Errorf("it reads %q", r.Data)
			}
			arrives <- err
		}()
		time.Sleep(time.Second) // fake
		w.net.Heal()
		if err := <-arrives; err != nil {
			t.Error(err)
		}
		// There is no such entry, and never was.
		never := make(chan error, 4)
		for _, c := range []actors.Consistency{actors.Local, actors.BoundedStale} {
			go func() {
				_, err := h.ask(w.ctx, c, map[actors.Consistency]time.Duration{actors.BoundedStale: time.Hour}[c], math.MaxInt64, "")
				never <- err
			}()
		}
		system := h.host.System()
		asker := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if r, ok := ctx.Message().(*actors.Response); ok {
				never <- r.Err
			}
		}))
		for _, c := range []actors.Consistency{actors.Local, actors.BoundedStale} {
			r := &actors.Request{Operation: actors.Read, Consistency: c, After: math.MaxInt64}
			if c == actors.BoundedStale {
				r.MaxAge = time.Hour
			}
			system.Root.RequestWithCustomSender(h.group.PID(), r, asker)
		}
		for range 2 { // an index that the leader's host has not seen either is not one
			if err := <-never; !errors.Is(err, actors.ErrBadRequest) {
				t.Errorf("a read of an entry that nobody has ends with %v", err)
			}
		}
		before := transport.requests.Load()
		if got := h.read(""); got != "x" || transport.requests.Load() != before {
			t.Errorf("after that it believes to be behind, and reads %q elsewhere", got)
		}
		time.Sleep(time.Minute) // fake
		if err := h.group.Stop(w.ctx); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-never; !errors.Is(err, actors.ErrRejected) {
				t.Errorf("when the member stops it ends with %v", err)
			}
		}
		system.Root.Stop(asker)
	})
}

// A member whose disk is stuck applies nothing.
func TestQ7_AMemberThatIsBehindHasTheLeadersHostAnswer(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.follower()
		h.stop()
		disk := &stuckDisk{Opener: h.disk}
		h.disk = disk
		transport := h.watch()
		other := w.settled()
		other.write("a")
		w.until("it has applied that", func() bool { got, err := h.local(w.ctx, ""); return err == nil && string(got) == "a" })
		gate := make(chan struct{})
		disk.gate.Store(&gate)
		other.write("b")
		for i := range 3 {
			before, start := transport.requests.Load(), time.Now()
			for _, c := range []actors.Consistency{actors.Linearizable, actors.BoundedStale} {
				maxAge := map[actors.Consistency]time.Duration{actors.BoundedStale: 50 * time.Millisecond}[c]
				if r, err := h.ask(w.ctx, c, maxAge, 0, ""); err != nil || string(r.Data) != "b" {
					t.Errorf("%v: %q, %v", c, r.Data, err)
				}
			}
			if n := transport.requests.Load() - before; n != 2 {
				t.Errorf("%d of 2 reads have travelled", n)
			}
			if took := time.Since(start); took > 20*time.Millisecond || i > 0 && took > 0 {
				t.Errorf("reads of round %d took %v", i, took) // it need not find out again that it is behind
			}
		}
		if got, err := h.local(w.ctx, ""); string(got) != "a" || err != nil {
			t.Errorf("it has applied %q, %v", got, err)
		}
		close(gate)
		w.until("it is not behind any more", func() bool {
			before := transport.requests.Load()
			return h.read("") == "b" && transport.requests.Load() == before
		})
	})
}

// tally counts the Saves of a disk.
type tally struct {
	persistence.Opener
	saves atomic.Int64
}

func (d *tally) Open() (persistence.Store, error) {
	s, err := d.Opener.Open()
	return tallied{s, d}, err
}

type tallied struct {
	persistence.Store
	disk *tally
}

func (s tallied) Save(saves []persistence.Save) error {
	s.disk.saves.Add(1)
	return s.Store.Save(saves)
}

func TestReadsWriteNothingToAnyDisk(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		var disks []*tally
		for _, h := range w.hosts {
			h.stop()
			d := &tally{Opener: h.disk}
			h.disk = d
			disks = append(disks, d)
			h.start()
		}
		w.settled()
		index := w.hosts[0].write("x")
		time.Sleep(time.Second) // fake: until everybody has it
		saves := func() (n int64) {
			for _, d := range disks {
				n += d.saves.Load()
			}
			return n
		}
		before := saves()
		if before == 0 {
			t.Fatal("nothing is counted")
		}
		for range 50 {
			for _, h := range w.hosts {
				for c := range actors.Local + 1 {
					if c == actors.Lease {
						continue // refused here
					}
					maxAge := map[actors.Consistency]time.Duration{actors.BoundedStale: 5 * time.Millisecond}[c]
					if r, err := h.ask(w.ctx, c, maxAge, index, ""); err != nil || string(r.Data) != "x" {
						t.Fatalf("%v on host %d: %q, %v", c, h.id, r.Data, err)
					}
				}
			}
			time.Sleep(10 * time.Millisecond) // fake
		}
		if n := saves() - before; n != 0 {
			t.Errorf("reads have caused %d Saves", n)
		}
	})
}

// Clocks run evenly here. A leader that is cut off may answer until its lease is over,
// and nothing is acknowledged by others before.
func TestQ3Q4_ALeaseIsOverBeforeAnybodyElseLeads(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for _, h := range w.hosts {
			h.stop()
		}
		for _, h := range w.hosts {
			cfg := h.config()
			cfg.Raft.LeaseReads = true
			h.startWith(cfg)
		}
		w.hosts[0].write("old")
		old := w.settled()
		old.write("new")             // a lease ends when nothing happens
		time.Sleep(time.Millisecond) // fake
		w.net.Isolate(old.addr)
		cut, answers := time.Now(), 0
		ctx, cancel := context.WithCancel(w.ctx)
		var done sync.WaitGroup
		defer done.Wait()
		defer cancel()
		var acks history
		w.hosts[old.id%3].writeOn(ctx, &done, &acks)
		for time.Since(cut) < time.Second {
			want := acks.until(time.Now().Add(1))
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			r, err := old.ask(ctx, actors.Lease, 0, 0, "")
			cancel()
			if err == nil {
				answers++
				if r.Index < want {
					t.Fatalf("it answers at entry %d, others have entry %d acknowledged", r.Index, want)
				}
			}
			time.Sleep(time.Millisecond) // fake
		}
		if answers == 0 || acks.until(time.Now()) == 0 {
			t.Errorf("it answered %d times, the others wrote up to %d", answers, acks.until(time.Now()))
		}
	})
}

func TestARequestThatMakesNoSenseIsRefused(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		h.write("x")
		system := h.host.System()
		for name, r := range map[string]*actors.Request{
			"no operation":           {},
			"an unknown operation":   {Operation: 99},
			"an unknown consistency": {Operation: actors.Read, Consistency: 99},
			"a lease":                {Operation: actors.Read, Consistency: actors.Lease},
			"no age":                 {Operation: actors.Read, Consistency: actors.BoundedStale},
			"an age below zero":      {Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: -1},
			"an age for nothing":     {Operation: actors.Read, MaxAge: 1},
			"a local proposal":       {Operation: actors.Propose, Consistency: actors.Local},
			"a proposal after":       {Operation: actors.Propose, After: 1},
		} {
			if answer, err := h.group.Do(w.ctx, r); !errors.Is(err, actors.ErrBadRequest) || !errors.Is(err, actors.ErrRejected) || answer.Err != err {
				t.Errorf("%s: %v", name, err)
			}
			answer, err := system.Root.RequestFuture(h.group.PID(), r, time.Minute).Result()
			if response, ok := answer.(*actors.Response); !ok || !errors.Is(response.Err, actors.ErrBadRequest) || response.Request != r {
				t.Errorf("%s, as a message: %+v, %v", name, answer, err)
			}
		}
		if got := h.read("len"); got != "1" {
			t.Errorf("%s commands were applied", got)
		}
		r := &actors.Request{Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: time.Second}
		answer, err := system.Root.RequestFuture(h.group.PID(), r, time.Minute).Result()
		if response, ok := answer.(*actors.Response); !ok || response.Err != nil || string(response.Data) != "x" || response.Index == 0 || response.Age > time.Second {
			t.Errorf("one that does, as a message: %+v, %v", answer, err)
		}
	})
}
