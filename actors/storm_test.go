package actors_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

var stormSeed = flag.Uint64("storm", 0, "run the storm with this seed; 0 draws a few")

// TestStorm has clients propose and read through any host while hosts are cut off,
// stopped and started, and packets are lost and late. Every read must see what its
// consistency promises. In the end every acknowledged command must have been applied
// once, in the same order everywhere, and no command that was rejected at all.
func TestStorm(t *testing.T) {
	eachSeed(t, 2, 3, func(w *world, seed uint64) { storm(w, seed, nil, nil) })
}

// TestStormOfMembers has somebody change the members and the leader all the time, too.
func TestStormOfMembers(t *testing.T) {
	eachSeed(t, 1, 5, func(w *world, seed uint64) { w.stormOfMembers(seed) })
}

func (w *world) stormOfMembers(seed uint64) {
	storm(w, seed, func(rng *rand.Rand, g *actors.Group) {
		ctx, cancel := context.WithTimeout(w.ctx, time.Duration(1+rng.IntN(2000))*time.Millisecond)
		defer cancel()
		var err error
		if rng.IntN(3) == 0 {
			err = g.Transfer(ctx, raftcore.NodeID(rng.IntN(6)))
		} else {
			err = g.ChangeMembers(ctx, someMembers(rng))
		}
		if rejected, unknown := errors.Is(err, actors.ErrRejected), errors.Is(err, actors.ErrUnknown); err != nil && rejected == unknown {
			w.t.Errorf("a change ends with %v, which is neither or both", err)
		}
	}, w.everybody)
}

// TestStormOfPoison has machines panic at some commands, and an operator who has those
// entries skipped; with snapshots in between. None of these commands is applied anywhere.
func TestStormOfPoison(t *testing.T) {
	eachSeed(t, 1, 3, func(w *world, seed uint64) {
		w.compacting(40)
		w.panicAt("boom")
		w.stormOfPoison(seed, func(*rand.Rand) {})
		for _, h := range w.hosts {
			if all, err := h.local(w.ctx, "all"); err != nil || strings.Contains(string(all), "boom") {
				t.Errorf("host %d has applied what was skipped (%v)", h.id, err)
			}
		}
	})
}

// TestStormOfPoisonThatIsNoneForSome has the machine of one host at a time take these
// commands, so that some have to be taken back: until then it has told that they are there.
// In the end all have the same.
func TestStormOfPoisonThatIsNoneForSome(t *testing.T) {
	eachSeed(t, 1, 3, func(w *world, seed uint64) {
		w.panicAt("boom")
		w.takenBack = true
		w.stormOfPoison(seed, func(rng *rand.Rand) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.spared = raftcore.NodeID(rng.IntN(4))
		})
	})
}

// stormOfPoison has commands proposed that machines panic at, one at a time, each of which
// is skipped when its leader allows that.
func (w *world) stormOfPoison(seed uint64, change func(*rand.Rand)) {
	var booms, skipped int
	skip := func(g *actors.Group) bool {
		s, err := g.Status(w.ctx)
		var q *actors.QuarantineError
		if err != nil || s.State != actors.Running || !errors.As(s.Fault, &q) {
			return false
		}
		ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second)
		defer cancel()
		if err := g.SkipEntry(ctx, q.Entry); err == nil {
			skipped++
		} else if rejected, unknown := errors.Is(err, actors.ErrRejected), errors.Is(err, actors.ErrUnknown); rejected == unknown {
			w.t.Errorf("skipping an entry ends with %v, which is neither or both", err)
		}
		return true
	}
	next := time.Now()
	storm(w, seed, func(rng *rand.Rand, g *actors.Group) {
		if skip(g) || time.Now().Before(next) {
			return
		}
		change(rng)
		booms++
		next = time.Now().Add(4 * time.Second)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		_, _ = g.Propose(ctx, fmt.Appendf(nil, "boom-%d", booms))
	}, func() {
		w.mu.Lock()
		w.spared = raftcore.Nobody
		w.mu.Unlock()
		if w.takenBack {
			w.restart() // whose machine had no trouble lets nothing be skipped
		}
		w.until("nothing is to be skipped any more", func() bool {
			for _, h := range w.hosts {
				if s := h.status(); s.State != actors.Running || skip(h.group) || s.Leader == raftcore.Nobody || s.Applied < s.Last {
					return false
				}
			}
			return true
		})
	})
	w.t.Logf("%d commands were poison, %d times one was skipped", booms, skipped)
	if booms < 3 || skipped == 0 {
		w.t.Error("the storm tested too little")
	}
}

// someMembers draws three to five of five voters, and makes learners of half of the rest.
func someMembers(rng *rand.Rand) (m actors.Members) {
	voters := 3 + rng.IntN(3)
	for i, k := range rng.Perm(5) {
		if id := raftcore.NodeID(k + 1); i < voters {
			m.Voters = append(m.Voters, id)
		} else if rng.IntN(2) == 0 {
			m.Learners = append(m.Learners, id)
		}
	}
	return m
}

// eachSeed runs f with a few worlds of as many hosts.
func eachSeed(t *testing.T, worlds, hosts int, f func(*world, uint64)) {
	seeds := []uint64{*stormSeed}
	if *stormSeed == 0 {
		seeds = nil
		for range max(1, worlds/slowdown) {
			seeds = append(seeds, rand.Uint64N(1<<32))
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { inWorld(t, hosts, func(w *world) { f(w, seed) }) })
	}
}

// storm has operate done all the time, and settle in the end.
func storm(w *world, seed uint64, operate func(*rand.Rand, *actors.Group), settle func()) {
	name, _, _ := strings.Cut(w.t.Name(), "/")
	w.t.Logf("replay: go test ./actors -run '%s$' -storm %d", name, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w.net.SetFaults(0.02, 2*time.Millisecond)
	const length = 20 * time.Second
	end := time.Now().Add(length)

	var (
		mu       sync.Mutex
		outcomes = map[string]error{}
		clients  sync.WaitGroup
		groups   = make([]*actors.Group, len(w.hosts)) // nil while the host is down
		readers  = readers{world: w, lengths: map[raftcore.Index]int{}, counts: map[actors.Consistency]int{}}
	)
	group := func(i int) *actors.Group {
		mu.Lock()
		defer mu.Unlock()
		return groups[i]
	}
	setGroup := func(i int, g *actors.Group) {
		mu.Lock()
		defer mu.Unlock()
		groups[i] = g
	}
	for i, h := range w.hosts {
		setGroup(i, h.group)
	}
	for c := range 5 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(c+100)))
			for n := 0; time.Now().Before(end); n++ {
				command := fmt.Sprintf("%d-%d", c, n)
				g := group(rng.IntN(len(groups)))
				if g == nil {
					time.Sleep(time.Millisecond)
					continue
				}
				ctx, cancel := context.WithTimeout(w.ctx, time.Duration(1+rng.IntN(1000))*time.Millisecond)
				r, err := g.Do(ctx, &actors.Request{Operation: actors.Propose, Data: []byte(command)})
				cancel()
				if err == nil {
					readers.acknowledged(r)
				}
				mu.Lock()
				outcomes[command] = err
				mu.Unlock()
			}
		})
	}
	if operate != nil {
		clients.Go(func() {
			for rng := rand.New(rand.NewPCG(seed, 50)); time.Now().Before(end); {
				if g := group(rng.IntN(len(groups))); g != nil {
					operate(rng, g)
				}
				time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			}
		})
	}
	for c := range 4 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(c+200)))
			for time.Now().Before(end) {
				if g := group(rng.IntN(len(groups))); g != nil {
					readers.read(g, rng)
				}
				time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
			}
		})
	}
	for time.Now().Before(end) {
		i := rng.IntN(len(groups))
		h := w.hosts[i]
		switch rng.IntN(4) {
		case 0:
			w.net.Isolate(h.addr)
		case 1:
			w.net.Cut(h.addr, w.hosts[rng.IntN(len(groups))].addr)
		case 2:
			setGroup(i, nil)
			h.stop()
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			h.start()
			setGroup(i, h.group)
		}
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		w.net.Heal()
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	}
	clients.Wait()
	w.net.SetFaults(0, 0)
	if settle != nil {
		settle()
	}
	checkStorm(w, outcomes)
	w.t.Logf("reads answered: %v", readers.counts)
	for c := range actors.Local + 1 {
		if c != actors.Lease && readers.counts[c] < 300 {
			w.t.Errorf("the storm tested too few reads: %v", readers.counts)
		}
	}
}

// everybody makes all hosts voters again. Who was removed while it was down does not know
// whom to ask.
func (w *world) everybody() {
	w.t.Helper()
	var all []raftcore.NodeID
	for _, h := range w.hosts {
		all = append(all, h.id)
	}
	var err error
	for i := range 4 * len(w.hosts) {
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		err = w.hosts[i%len(w.hosts)].group.ChangeMembers(ctx, voters(all...))
		cancel()
		if err == nil {
			return
		}
		time.Sleep(time.Second) // fake
	}
	w.t.Fatalf("the hosts do not come together again: %v", err)
}

// checkStorm compares what the hosts applied with what the clients were told.
func checkStorm(w *world, outcomes map[string]error) {
	w.hosts[0].propose("the end")
	length, _ := strconv.Atoi(w.hosts[0].read("len"))
	var want string
	for _, h := range w.hosts {
		w.until("a host has caught up", func() bool {
			answer, err := h.local(w.ctx, "len")
			return err == nil && string(answer) == strconv.Itoa(length)
		})
		all, err := h.local(w.ctx, "all")
		if err != nil {
			w.t.Fatal(err)
		}
		if want == "" {
			want = string(all)
		} else if want != string(all) {
			w.t.Fatalf("host %d has applied other commands, or in another order", h.id)
		}
	}
	times := map[string]int{}
	for _, command := range strings.Split(want, "\n") {
		times[command]++
	}
	count := map[string]int{}
	for command, err := range outcomes {
		switch n := times[command]; {
		case n > 1:
			w.t.Errorf("%s was applied %d times", command, n)
		case err == nil:
			count["acknowledged"]++
			if n != 1 {
				w.t.Errorf("%s was acknowledged, and is not there", command)
			}
		case errors.Is(err, actors.ErrRejected):
			count["rejected"]++
			if n != 0 {
				w.t.Errorf("%s was rejected (%v), and is there", command, err)
			}
		case errors.Is(err, actors.ErrUnknown):
			count["unknown"]++
		default:
			w.t.Errorf("%s ended with %v, which is neither", command, err)
		}
	}
	w.t.Logf("%v of %d", count, len(outcomes))
	if count["acknowledged"] < 1000 || count["unknown"] == 0 {
		w.t.Errorf("the storm tested too little: %v", count)
	}
}

// readers read in a storm, and check what they are told.
type readers struct {
	world *world
	acks  history // what has been acknowledged, or has been seen by a linearizable read

	mu      sync.Mutex
	lengths map[raftcore.Index]int // of the log of commands, at an index
	counts  map[actors.Consistency]int
}

// agrees checks that nobody has seen anything else at an index.
func (r *readers) agrees(index raftcore.Index, length int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, known := r.lengths[index]; known && other != length && !r.world.takenBack {
		r.world.t.Errorf("at entry %d there are %d commands, and %d", index, length, other)
	}
	r.lengths[index] = length
}

func (r *readers) acknowledged(answer *actors.Response) {
	n, _, _ := strings.Cut(string(answer.Data), ":")
	r.agrees(answer.Index, number([]byte(n)))
	r.acks.add(answer.Index)
}

// read reads once, with a consistency drawn at random.
func (r *readers) read(g *actors.Group, rng *rand.Rand) {
	request := &actors.Request{Operation: actors.Read, Data: []byte("len")}
	began := r.acks.until(time.Now().Add(1))
	switch rng.IntN(3) {
	case 0:
		request.Consistency, request.MaxAge = actors.BoundedStale, time.Duration(5+rng.IntN(200))*time.Millisecond
	case 1:
		request.Consistency, request.After = actors.Local, began
	}
	ctx, cancel := context.WithTimeout(r.world.ctx, time.Duration(1+rng.IntN(300))*time.Millisecond)
	defer cancel()
	answer, err := g.Do(ctx, request)
	if err != nil {
		if !errors.Is(err, actors.ErrRejected) || errors.Is(err, actors.ErrBadRequest) {
			r.world.t.Errorf("a read ends with %v", err)
		}
		return
	}
	want := began
	if request.Consistency == actors.BoundedStale {
		want = r.acks.until(time.Now().Add(-answer.Age))
	}
	if answer.Index < want || answer.Age > request.MaxAge {
		r.world.t.Errorf("a read that is %v (%v) answers at entry %d, %v old; entry %d was acknowledged before", request.Consistency, request.MaxAge, answer.Index, answer.Age, want)
	}
	r.agrees(answer.Index, number(answer.Data))
	if request.Consistency == actors.Linearizable {
		r.acks.add(answer.Index)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[request.Consistency]++
}
