package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestTheStoreKeepsTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New: func() actors.StateMachine { return newStore() },
		Command: func(r *rand.Rand) []byte {
			c := command{Key: json.RawMessage(strconv.Itoa(r.IntN(3))), To: json.RawMessage(strconv.Itoa(r.IntN(3)))}
			if r.IntN(2) == 0 {
				c.From = json.RawMessage(strconv.Itoa(r.IntN(3)))
			}
			return encode(c)
		},
		Canonical: true,
	})
}

func TestAPacketIsTheSameAfterwards(t *testing.T) {
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, 3}}
	meta := raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 2, Index: 7}, Conf: raftcore.ConfigAt{Index: 1, Conf: conf}}
	p := &actors.Packet{From: 1<<64 - 1, Requests: []actors.GroupRequest{{Group: 1<<64 - 1, Data: []byte{0, 255}}}, Beat: &actors.Beat{First: true}}
	for i, b := range []raftcore.Body{
		&raftcore.VoteRequest{Pre: true}, &raftcore.VoteReply{Granted: true}, &raftcore.AppendReply{Match: 4}, &raftcore.TimeoutNow{}, &raftcore.ReadRequest{Sequence: 5}, &raftcore.ReadReply{Index: 6},
		&raftcore.SnapshotRequest{Snapshot: meta},
		&raftcore.AppendRequest{Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Config: &conf}, {EntryID: raftcore.EntryID{Term: 1, Index: 2}, Data: []byte{}}, {Data: []byte{1}}}},
	} {
		p.Messages = append(p.Messages, actors.GroupMessage{Group: actors.GroupKey(i), Message: raftcore.Message{From: 1, To: 2, Term: 3, Body: b}})
	}
	p.Snapshots = []actors.SnapshotPart{
		{Chunk: &snapshots.Chunk{ID: 1<<64 - 1, Data: []byte{1, 2}, Sum: 9}},
		{Offer: &actors.SnapshotOffer{Message: raftcore.Message{Body: &raftcore.SnapshotRequest{Snapshot: meta}}, ID: 1, Size: 2}},
	}
	text, err := encodePacket(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodePacket(text)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%v: it is\n%+v, and was\n%+v", err, got, p)
	}
	for _, bad := range []string{"", "{", `{"Packet":{"Messages":[{}]}}`, `{"Packet":{"Messages":[{}]},"Bodies":[{"Kind":"Nothing"}]}`} {
		if p, err := decodePacket(bad); err == nil {
			t.Errorf("%q is %+v", bad, p)
		}
	}
}

// What overtakes is delivered in order; what comes twice, or too late, not at all.
func TestPacketsAreInOrder(t *testing.T) {
	var got []raftcore.NodeID
	w := newTransport(nil)
	if err := w.Start(nil, 1, func(p *actors.Packet) { got = append(got, p.From) }); err != nil {
		t.Fatal(err)
	}
	arrive := func(number uint64) {
		text, err := encodePacket(&actors.Packet{From: raftcore.NodeID(number)})
		if err != nil {
			t.Fatal(err)
		}
		w.arrived(&message{Src: "n2", Body: body{Number: number, Packet: text}})
	}
	for _, n := range []uint64{1, 3, 4, 3, 2, 1, 5} {
		arrive(n)
	}
	if want := []raftcore.NodeID{1, 2, 3, 4, 5}; !slices.Equal(got, want) {
		t.Fatalf("it has delivered %v", got)
	}
	for n := uint64(7); n < 8+maxHeld; n++ { // 6 is lost
		arrive(n)
	}
	arrive(6)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(got) != 6+maxHeld || got[5] != 7 || !slices.IsSorted(got) {
		t.Errorf("it has delivered %v", got)
	}
}

// What is lost is not waited for any longer than it takes, however much comes after it.
func TestALostPacketIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []raftcore.NodeID
		w := newTransport(nil)
		if err := w.Start(nil, 1, func(p *actors.Packet) { got = append(got, p.From) }); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for n := uint64(2); n < 100 && len(got) == 0; n++ { // 1 is lost
			text, err := encodePacket(&actors.Packet{From: raftcore.NodeID(n)})
			if err != nil {
				t.Fatal(err)
			}
			w.arrived(&message{Src: "n2", Body: body{Number: n, Packet: text}})
			time.Sleep(maxLate / 3) // fake
			synctest.Wait()
		}
		if took := time.Since(begin); len(got) < 3 || got[0] != 2 || !slices.IsSorted(got) || took > maxLate {
			t.Errorf("after %v it has delivered %v", took, got)
		}
	})
}

// workbench is what Maelstrom is to the nodes: it starts them, carries their lines, and asks.
type workbench struct {
	t     *testing.T
	names []string

	mu    sync.Mutex
	in    map[string]io.Writer
	asked map[int64]chan body
	last  int64
	cut   string // this node hears nothing of the others, and they nothing of it
}

func newWorkbench(t *testing.T, nodes int) *workbench {
	binary := filepath.Join(t.TempDir(), "maelstrom")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w := &workbench{t: t, in: map[string]io.Writer{}, asked: map[int64]chan body{}}
	for i := range nodes {
		w.names = append(w.names, fmt.Sprint("n", i))
	}
	for _, name := range w.names {
		cmd := exec.Command(binary)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go w.carry(name, out, over)
		w.in[name] = in
		t.Cleanup(func() {
			in.Close() // which ends it
			<-over
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s ends with %v\n%s", name, err, said.String())
			}
		})
	}
	var ready sync.WaitGroup
	for _, name := range w.names {
		ready.Go(func() {
			if a := w.ask(name, body{Type: "init", Node: name, Nodes: w.names}); a.Type != "init_ok" {
				t.Errorf("%s answers init with %+v", name, a)
			}
		})
	}
	ready.Wait()
	return w
}

// carry carries what a node says.
func (w *workbench) carry(from string, out io.Reader, over chan struct{}) {
	defer close(over)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil || m.Src != from {
			w.t.Errorf("%s says %s: %v", from, line, err)
			continue
		}
		w.mu.Lock()
		if to := w.in[m.Dest]; to != nil {
			if w.cut != from && w.cut != m.Dest {
				_, _ = to.Write(line)
			}
		} else if m.Body.InReplyTo == nil || w.asked[*m.Body.InReplyTo] == nil {
			w.t.Errorf("%s answers what nobody has asked: %s", from, line)
		} else {
			w.asked[*m.Body.InReplyTo] <- m.Body
			delete(w.asked, *m.Body.InReplyTo)
		}
		w.mu.Unlock()
	}
}

// ask sends a request, and waits for the answer.
func (w *workbench) ask(node string, b body) body {
	answer := make(chan body, 1)
	w.mu.Lock()
	id := w.last // from 0
	w.last++
	b.ID, w.asked[id] = &id, answer
	_, err := w.in[node].Write(append(encode(message{Src: "c1", Dest: node, Body: b}), '\n'))
	w.mu.Unlock()
	if err != nil {
		w.t.Error(err)
		return body{}
	}
	return <-answer
}

// request makes a request of JSON.
func request(t *testing.T, text string) (b body) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func said(b body) string {
	text := b.Type + string(b.Value)
	if b.Code != nil {
		text += strconv.Itoa(*b.Code)
	}
	return text
}

func TestItSpeaksLinKV(t *testing.T) {
	w := newWorkbench(t, 3)
	for _, step := range []struct{ node, request, answer string }{
		{"n0", `{"type":"read","key":1}`, "error20"},
		{"n0", `{"type":"cas","key":1,"from":1,"to":2}`, "error20"},
		{"n0", `{"type":"write","key":1,"value":[1, "x"]}`, "write_ok"},
		{"n1", `{"type":"read","key":1}`, `read_ok[1,"x"]`},
		{"n2", `{"type":"cas","key":1,"from":[2],"to":3}`, "error22"},
		{"n2", `{"type":"cas","key":1,"from":[1,"x"],"to":null}`, "cas_ok"},
		{"n1", `{"type":"read","key":1}`, "read_oknull"},
		{"n1", `{"type":"read","key":"1"}`, "error20"},
		{"n1", `{"type":"write","key":"<","value":"&"}`, "write_ok"},
		{"n2", `{"type":"cas","key":"<","from":"&","to":"<>"}`, "cas_ok"},
		{"n0", `{"type":"read","key":"<"}`, `read_ok"\u003c\u003e"`},
		{"n1", `{"type":"read"}`, "error12"},
		{"n1", `{"type":"write","key":1}`, "error12"},
		{"n1", `{"type":"cas","key":1,"to":1}`, "error12"},
		{"n1", `{"type":"txn","key":1}`, "error10"},
	} {
		if got := said(w.ask(step.node, request(t, step.request))); got != step.answer {
			t.Errorf("%s is answered %s, not %s", step.request, got, step.answer)
		}
	}
}

// Clients on all nodes count with cas, while one node after the other is cut off. Nothing
// that was answered is lost, and nothing happens twice.
func TestNothingIsLostWhenNodesAreCutOff(t *testing.T) {
	w := newWorkbench(t, 3)
	if got := said(w.ask("n0", request(t, `{"type":"write","key":"n","value":0}`))); got != "write_ok" {
		t.Fatal(got)
	}
	var mu sync.Mutex
	counted, unknown := 0, 0
	count := func(node string, times int) {
		for done := 0; done < times; {
			value, err := strconv.Atoi(string(w.ask(node, request(t, `{"type":"read","key":"n"}`)).Value))
			if err != nil {
				continue // it is cut off
			}
			got := said(w.ask(node, request(t, fmt.Sprintf(`{"type":"cas","key":"n","from":%d,"to":%d}`, value, value+1))))
			mu.Lock()
			switch got {
			case "cas_ok":
				counted++
				done++
			case "error0":
				unknown++
			case "error11", "error22":
			default:
				t.Errorf("it is answered %s", got)
				done = times
			}
			mu.Unlock()
		}
	}
	for _, cut := range append(w.names, "") {
		w.mu.Lock()
		w.cut = cut
		w.mu.Unlock()
		var clients sync.WaitGroup
		for _, name := range w.names {
			if name != cut {
				clients.Go(func() { count(name, 5) })
			}
		}
		clients.Wait()
	}
	for _, name := range w.names {
		value, err := strconv.Atoi(said(w.ask(name, request(t, `{"type":"read","key":"n"}`)))[len("read_ok"):])
		if err != nil || value < counted || value > counted+unknown {
			t.Errorf("%s stands at %d, %v; %d were counted, of %d nobody knows", name, value, err, counted, unknown)
		}
	}
}
