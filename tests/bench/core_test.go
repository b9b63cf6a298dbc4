package bench

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/bench/internal/trio"
)

// The benchmarks of this file are of the bare core: no disk, no network, no
// clock but a number. tests/bench/peers compares BenchmarkCore with other cores.

// BenchmarkCore has three cores commit batches, in turns: an operation is one
// batch that all three have applied.
func BenchmarkCore(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			t, err := trio.New()
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 16)
			for n := 0; n < 1<<17; n += batch { // until buffers have grown
				t.Round(batch, data)
			}
			b.ReportAllocs()
			for b.Loop() {
				t.Round(batch, data)
			}
			b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}

// single is one core of three, of which the others are played.
type single struct {
	node *raftcore.Node
	out  raftcore.Output
	now  raftcore.Instant
}

const singleTerm raftcore.Term = 2

// newSingle returns node 1, with a log of the founding entry.
func newSingle(b *testing.B) *single {
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}
	founding := raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryConfig, Config: &conf}
	r := raftcore.Recovered{HardState: raftcore.HardState{Term: 1, Cluster: 1, Joined: true}}
	r.Note(&founding)
	node, err := raftcore.New(raftcore.Config{ID: 1, Boot: 1, Seed: 1}, r)
	if err != nil {
		b.Fatal(err)
	}
	return &single{node: node, now: 1}
}

// step takes inputs at a time, and does what is asked: a Save is done at once,
// and so is what is to be applied.
func (s *single) step(inputs ...raftcore.Input) {
	s.node.Step(raftcore.Tick{Now: s.now})
	for _, in := range inputs {
		s.node.Step(in)
	}
	s.node.Drain(&s.out)
	s.finish()
}

// finish does what is asked, once more if something comes of it.
func (s *single) finish() {
	token := s.out.Save.Token
	if n := len(s.out.Apply.Entries); n > 0 {
		s.node.Step(raftcore.Applied{Index: s.out.Apply.Entries[n-1].Index})
	}
	if token.Sequence != 0 {
		s.node.Step(raftcore.Saved{Token: token})
		s.node.Drain(&s.out)
		s.finish()
	}
}

func (s *single) from(id raftcore.NodeID, body raftcore.Body) raftcore.Receive {
	return raftcore.Receive{Message: raftcore.Message{From: id, To: 1, Term: singleTerm, Cluster: 1, Body: body}}
}

// lead makes it the leader of singleTerm, with the no-op at index 2 committed.
func (s *single) lead(b *testing.B) {
	s.step(raftcore.Campaign{})
	for pre := true; ; pre = false {
		request, ok := s.out.Send[0].Body.(*raftcore.VoteRequest)
		if !ok {
			b.Fatalf("it sends %v", s.out.Send)
		}
		reply := s.from(2, &raftcore.VoteReply{Pre: pre, Granted: true, Campaign: request.Campaign})
		if pre {
			reply.Message.Term = 1
		}
		s.step(reply)
		if !pre {
			break
		}
	}
	for id := raftcore.NodeID(2); id <= 3; id++ {
		s.step(s.from(id, &raftcore.AppendReply{Match: 2, Round: 1 << 62}), s.from(id, &raftcore.AppendReply{Match: 2, Round: 1}),
			s.from(id, &raftcore.AppendReply{Match: 2, Round: 2}))
	}
	if st := s.node.Status(); st.Role != raftcore.Leader || st.Commit != 2 {
		b.Fatalf("it does not lead: %v", st)
	}
}

// BenchmarkFollowerAppend is a follower that takes an entry, saves and
// acknowledges it, and applies the one before.
func BenchmarkFollowerAppend(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s := newSingle(b)
			// Entries are immutable, so there are enough to outlive all who keep them.
			const ring = 64
			var requests [ring]raftcore.AppendRequest
			var receives [ring]raftcore.Input
			for i := range requests {
				requests[i].Entries = make([]raftcore.Entry, batch)
				receives[i] = s.from(2, &requests[i])
			}
			last := raftcore.EntryID{Term: 1, Index: 1}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				r := &requests[i%ring]
				r.Prev, r.Commit = last, last.Index
				for k := range r.Entries {
					last = raftcore.EntryID{Term: singleTerm, Index: last.Index + 1}
					r.Entries[k] = raftcore.Entry{EntryID: last, Kind: raftcore.EntryCommand}
				}
				s.now++
				s.node.Step(raftcore.Tick{Now: s.now})
				s.node.Step(receives[i%ring])
				s.node.Drain(&s.out)
				s.finish()
				if reply, ok := s.out.Send[0].Body.(*raftcore.AppendReply); !ok || reply.Match != last.Index {
					b.Fatalf("it answers %v", s.out.Send)
				}
			}
		})
	}
}

// BenchmarkHeartbeat is one interval of a group that has nothing to do.
func BenchmarkHeartbeat(b *testing.B) {
	b.Run("leader", func(b *testing.B) {
		s := newSingle(b)
		s.lead(b)
		var replies [2]raftcore.AppendReply
		receives := [2]raftcore.Input{s.from(2, &replies[0]), s.from(3, &replies[1])}
		b.ReportAllocs()
		for b.Loop() {
			s.now = s.now.Add(100 * time.Millisecond)
			s.node.Step(raftcore.Tick{Now: s.now})
			s.node.Drain(&s.out)
			if len(s.out.Send) != 2 {
				b.Fatalf("it sends %v", s.out.Send)
			}
			for i := range replies {
				replies[i] = raftcore.AppendReply{Match: 2, Round: s.out.Send[i].Body.(*raftcore.AppendRequest).Round}
				s.node.Step(receives[i])
			}
			s.node.Drain(&s.out)
		}
	})
	b.Run("follower", func(b *testing.B) {
		s := newSingle(b)
		request := raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 1, Index: 1}, Commit: 1}
		receive := raftcore.Input(s.from(2, &request))
		s.step(receive)
		b.ReportAllocs()
		for b.Loop() {
			s.now = s.now.Add(100 * time.Millisecond)
			request.Round++
			s.node.Step(raftcore.Tick{Now: s.now})
			s.node.Step(receive)
			s.node.Drain(&s.out)
			if len(s.out.Send) != 1 {
				b.Fatalf("it answers %v", s.out.Send)
			}
		}
	})
}

// BenchmarkIdle is a Drain of a follower for which there is nothing to do. A
// quiescent one names no Deadline, and is not even drained.
func BenchmarkIdle(b *testing.B) {
	s := newSingle(b)
	quiesce := raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 1, Index: 1}, Commit: 1, Round: 1}
	s.step(s.from(2, &quiesce))
	b.Run("awake", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.node.Step(raftcore.Tick{Now: s.now})
			s.node.Drain(&s.out)
			if !s.out.Empty() || s.out.Deadline == 0 {
				b.Fatalf("it wants %v", s.out)
			}
		}
	})
	quiesce.Quiesce = true
	s.step(s.from(2, &quiesce))
	b.Run("quiescent", func(b *testing.B) {
		if !s.out.Quiescent || s.out.Deadline != 0 {
			b.Fatalf("quiescent %v, deadline %v: its host has to come back", s.out.Quiescent, s.out.Deadline)
		}
		b.ReportAllocs()
		for b.Loop() {
			s.now = s.now.Add(time.Hour)
			s.node.Step(raftcore.Tick{Now: s.now})
			s.node.Drain(&s.out)
			if !s.out.Empty() || s.out.Deadline != 0 {
				b.Fatalf("it wants %v", s.out)
			}
		}
	})
}

// BenchmarkFarBehind is a leader with a long log and a follower that stops some
// entries before its end, and then catches up: what has left memory is loaded.
// It reports how much memory the leader uses, at most, and how fast it sends.
func BenchmarkFarBehind(b *testing.B) {
	for _, behind := range []raftcore.Index{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("entries=%d", behind), func(b *testing.B) {
			var most uint64
			var sending time.Duration
			for range b.N {
				heap, took := farBehind(b, behind)
				most, sending = max(most, heap), sending+took
			}
			b.ReportMetric(float64(most)/(1<<20), "heap-MiB")
			b.ReportMetric(float64(behind)*float64(b.N)/sending.Seconds(), "entries/s")
		})
	}
}

// farBehind returns the most memory that was in use after a collection, beyond
// what was before, and how long it took to send what the follower lacked.
func farBehind(b *testing.B, behind raftcore.Index) (most uint64, took time.Duration) {
	const length, batch = 1_010_000, 1_000
	before := heapInUse()
	s := newSingle(b)
	s.lead(b)
	f := followers{single: s, data: make([]byte, 16), has: [2]raftcore.Index{2, 2}}
	sample := func() {
		if now := heapInUse(); now > before {
			most = max(most, now-before)
		}
	}
	for last := raftcore.Index(2); last < length; last += batch {
		s.now++
		s.node.Step(raftcore.Tick{Now: s.now})
		for range batch {
			s.node.Step(raftcore.Propose{Data: f.data})
		}
		f.away = last+batch > length-behind
		f.settle()
		if last/batch%50 == 0 {
			sample()
		}
	}
	s.step(raftcore.Unreachable{Peer: 3}) // what was sent ahead is lost
	f.away = false
	for f.has[1] < f.has[0] {
		has := f.has[1]
		s.now = s.now.Add(100 * time.Millisecond) // a heartbeat asks
		s.node.Step(raftcore.Tick{Now: s.now})
		start := time.Now()
		f.settle()
		took += time.Since(start)
		sample()
		if f.has[1] == has {
			b.Fatalf("it does not catch up: %d of %d", has, f.has[0])
		}
	}
	return most, took
}

// followers plays nodes 2 and 3, and the leader's disk.
type followers struct {
	*single
	data   []byte
	has    [2]raftcore.Index // the last entry of each
	away   bool              // node 3 hears nothing
	inputs []raftcore.Input
}

// settle drains the leader, and answers, until it wants nothing more.
func (f *followers) settle() {
	for {
		f.node.Drain(&f.out)
		f.inputs = f.inputs[:0]
		if n := len(f.out.Apply.Entries); n > 0 {
			f.inputs = append(f.inputs, raftcore.Applied{Index: f.out.Apply.Entries[n-1].Index})
		}
		if t := f.out.Save.Token; t.Sequence != 0 {
			f.inputs = append(f.inputs, raftcore.Saved{Token: t})
		}
		for _, l := range f.out.Load {
			f.inputs = append(f.inputs, raftcore.Loaded{Load: l, Entries: generate(l, f.data)})
		}
		for i := range f.out.Send {
			to := f.out.Send[i].To
			r, ok := f.out.Send[i].Body.(*raftcore.AppendRequest)
			if !ok || to == 3 && f.away {
				continue
			}
			has := &f.has[to-2]
			if r.Prev.Index > *has {
				hint := raftcore.EntryID{Term: singleTerm, Index: *has}
				f.inputs = append(f.inputs, f.from(to, &raftcore.AppendReply{Round: r.Round, Rejected: true, Probed: r.Prev, Hint: hint}))
				continue
			}
			*has = max(*has, r.Prev.Index+raftcore.Index(len(r.Entries)))
			f.inputs = append(f.inputs, f.from(to, &raftcore.AppendReply{Round: r.Round, Match: *has}))
		}
		if len(f.inputs) == 0 {
			return
		}
		for _, in := range f.inputs {
			f.node.Step(in)
		}
	}
}

// generate plays the disk.
func generate(l raftcore.Load, data []byte) []raftcore.Entry {
	e := raftcore.Entry{Kind: raftcore.EntryCommand, Data: data}
	n := min(int(l.To-l.From)+1, max(1, l.MaxBytes/e.Size()))
	entries := make([]raftcore.Entry, n)
	for i := range entries {
		e.EntryID = raftcore.EntryID{Term: singleTerm, Index: l.From + raftcore.Index(i)}
		entries[i] = e
	}
	return entries
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
