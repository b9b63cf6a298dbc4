package raftcore

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"unsafe"
)

// tape is an Archive in memory.
type tape struct {
	numbers []uint64
	at      int
	reads   bool
}

func (t *tape) Uint(x uint64) uint64 {
	if !t.reads {
		t.numbers = append(t.numbers, x)
		return x
	}
	t.at++
	return t.numbers[t.at-1]
}

func (t *tape) Len(n int) int { return int(t.Uint(uint64(n))) }

func (t *tape) Data(size int) []byte {
	if !t.reads {
		panic("who takes down has the commands")
	}
	return make([]byte, size)
}

// leftOut are the fields that the walk passes by: what no output depends on.
var leftOut = []string{
	"Node.pcg", "Node.rng", "Node.trace", "Node.recorder", "Node.out",
	"window.spent", "window.length", "inflight.ring", "inflight.first", "inflight.count",
}

// fill gives every field another value, lists one element or two, and what is
// interpreted something sound.
func fill(v reflect.Value, next *uint64) {
	*next++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*next))
	case reflect.Uint8:
		v.SetUint(*next % 250)
	case reflect.Uint64:
		v.SetUint(*next)
	case reflect.Slice:
		n := 1 + int(*next%2)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		if v.Type().Elem().Kind() != reflect.Uint8 { // commands are zeros when they come back
			fillElements(v, next)
		}
	case reflect.Array:
		fillElements(v, next)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), next)
	case reflect.Struct:
		for i := range v.NumField() {
			if !slices.Contains(leftOut, v.Type().Name()+"."+v.Type().Field(i).Name) {
				f := v.Field(i)
				fill(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), next)
			}
		}
	default:
		panic("a field of kind " + v.Kind().String() + ": say what the walk is to do with it")
	}
}

func fillElements(v reflect.Value, next *uint64) {
	for i := range v.Len() {
		fill(v.Index(i), next)
	}
}

// A field that the walk forgets would come back as zero.
func TestTheStateOfANodeIsAllThatItHas(t *testing.T) {
	n := &Node{pcg: rand.NewPCG(3, 4)}
	next := uint64(0)
	fill(reflect.ValueOf(n).Elem(), &next)
	ring := []sent{{11, 12}, {13, 14}}
	n.applying.batches.ring, n.applying.batches.count = ring, 2
	n.leader.peers[0].inflight.ring, n.leader.peers[0].inflight.count = ring, 2
	n.pcg.Uint64()
	kept := &tape{}
	n.State(kept)
	kept.reads = true
	again := Resume(kept)
	if kept.at != len(kept.numbers) {
		t.Errorf("%d of %d numbers were read", kept.at, len(kept.numbers))
	}
	if a, b := n.pcg.Uint64(), again.pcg.Uint64(); a != b {
		t.Errorf("the jitter would be %d instead of %d", b, a)
	}
	again.pcg, again.rng = n.pcg, n.rng
	compare(t, "Node", reflect.ValueOf(*n), reflect.ValueOf(*again))
}

// compare names the fields that differ.
func compare(t *testing.T, path string, a, b reflect.Value) {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			compare(t, path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			t.Errorf("%s: %d elements came back of %d", path, b.Len(), a.Len())
			return
		}
		for i := range a.Len() {
			compare(t, path, a.Index(i), b.Index(i))
		}
	case reflect.Pointer:
		if a.IsNil() != b.IsNil() {
			t.Errorf("%s: one of them is nil", path)
		} else if !a.IsNil() && path != "Node.pcg" && path != "Node.rng" {
			compare(t, path, a.Elem(), b.Elem())
		}
	case reflect.Func, reflect.Interface:
	default:
		if !a.Equal(b) {
			t.Errorf("%s: %v came back as %v", path, a, b)
		}
	}
}

// Every kind of input, and every body of a message, comes back as it was.
func TestInputsComeBackAsTheyWere(t *testing.T) {
	inputs := []Input{
		&Tick{}, &Receive{}, &Propose{}, &Read{}, &ChangeConfig{}, &Transfer{}, &Campaign{}, &Bootstrap{}, &Saved{},
		&Loaded{}, &Applied{}, &SnapshotTaken{}, &SnapshotSent{}, &Unreachable{},
	}
	bodies := []Body{
		&VoteRequest{}, &VoteReply{}, &AppendRequest{}, &AppendReply{}, &SnapshotRequest{}, &TimeoutNow{}, &ReadRequest{}, &ReadReply{},
	}
	next := uint64(0)
	var all []Input
	for _, in := range inputs {
		v := reflect.ValueOf(in).Elem()
		if _, message := in.(*Receive); message {
			continue
		}
		fill(v, &next)
		all = append(all, v.Interface().(Input))
	}
	for _, b := range bodies {
		fill(reflect.ValueOf(b).Elem(), &next)
		m := Message{Body: b}
		next++
		m.From, m.To, m.Term, m.Cluster, m.Incarnation, m.ToIncarnation = NodeID(next), 2, 3, 4, 5, 6
		all = append(all, Receive{m})
	}
	all = append(all, Receive{Message{From: 1}}) // nobody says anything
	// Entries that follow one another, and one that does not.
	run := []Entry{
		{EntryID: EntryID{1, 5}, Time: 9, Kind: EntryCommand, Data: make([]byte, 3)},
		{EntryID: EntryID{1, 6}, Time: 9, Kind: EntryNoop},
		{EntryID: EntryID{2, 7}, Time: 8, Kind: EntryConfig, Config: &ConfState{Voters: []NodeID{1}}},
		{EntryID: EntryID{1, 7}, Time: 8, Kind: EntryHost, Data: make([]byte, 1)},
	}
	all = append(all, Receive{Message{Body: &AppendRequest{Entries: run}}}, Loaded{Entries: run})
	kept := &tape{}
	for _, in := range all {
		recordInput(kept, in)
	}
	kept.reads = true
	for _, in := range all {
		if got := NextInput(kept); !reflect.DeepEqual(in, got) {
			t.Errorf("%#v came back as %#v", in, got)
		}
	}
}

// An input of a kind that nobody knows is told as one.
func TestAnUnknownInputComesBackAsOne(t *testing.T) {
	kept := &tape{}
	recordInput(kept, nil)
	kept.reads = true
	if got := NextInput(kept); got != nil {
		t.Errorf("%#v", got)
	}
}
