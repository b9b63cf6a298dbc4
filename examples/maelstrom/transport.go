package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// transport is an actors.Transport over Maelstrom's lines. What it may lose Maelstrom does
// lose; but it also delays each line by itself, and a host wants the packets of another in
// order: so they have numbers.
type transport struct {
	self string
	out  *output

	mu      sync.Mutex
	deliver func(*actors.Packet) // nil: not started, or stopped
	from    map[string]*arrivals
}

// arrivals are the packets of one host.
type arrivals struct {
	next    uint64                    // the number that is delivered next
	held    map[uint64]*actors.Packet // that have overtaken it
	awaited uint64                    // the last number for which there was a timer
}

// The bounds of what waits for a packet that is missing.
const (
	maxHeld = 256
	maxLate = 300 * time.Millisecond
)

func newTransport(out *output) *transport { return &transport{out: out, from: map[string]*arrivals{}} }

func (t *transport) Start(_ *actor.ActorSystem, _ raftcore.NodeID, deliver func(*actors.Packet)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deliver = deliver
	return nil
}

func (t *transport) Stop(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deliver = nil
	return nil
}

// arrived takes a packet. Nothing is delivered twice, nor before what was sent before it.
func (t *transport) arrived(m *message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := decodePacket(m.Body.Packet)
	if err != nil {
		slog.Error("a packet makes no sense", "err", err)
		return
	}
	a := t.from[m.Src]
	if a == nil {
		a = &arrivals{next: 1, held: map[uint64]*actors.Packet{}}
		t.from[m.Src] = a
	}
	if m.Body.Number < a.next || t.deliver == nil && len(a.held) >= maxHeld {
		return // it was given up, or is not waited for
	}
	a.held[m.Body.Number] = p
	t.release(a, len(a.held) > maxHeld)
}

// release delivers what is there in order, after the missing ones if those are given up.
func (t *transport) release(a *arrivals, giveUp bool) {
	for len(a.held) > 0 && t.deliver != nil {
		p, there := a.held[a.next]
		if !there && !giveUp {
			break
		}
		if there {
			t.deliver(p)
			giveUp = false // what else is missing may still come
		}
		delete(a.held, a.next)
		a.next++
	}
	missing := a.next
	if len(a.held) == 0 || t.deliver == nil || a.awaited == missing {
		return // or else who sends often would be waited for again and again
	}
	a.awaited = missing
	time.AfterFunc(maxLate, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if a.next == missing {
			t.release(a, true)
		}
	})
}

func (t *transport) Link(address string, notify func(actors.LinkEvent)) actors.Link {
	l := &link{t: t, to: address, notify: notify}
	notify(actors.LinkUp) // there is no connection that could break
	return l
}

// link sends to one host.
type link struct {
	t      *transport
	to     string
	notify func(actors.LinkEvent)

	mu     sync.Mutex
	number uint64
}

func (l *link) Send(p *actors.Packet) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, err := encodePacket(p)
	if err != nil {
		slog.Error("a packet cannot be said in JSON", "err", err)
		return false
	}
	if !l.t.out.write(message{Src: l.t.self, Dest: l.to, Body: body{Type: "packet", Number: l.number + 1, Packet: text}}, false) {
		l.t.out.whenWritable(func() { l.notify(actors.LinkWritable) })
		return false
	}
	l.number++
	return true
}

func (l *link) Close() {}

// line is a packet as text: its messages' bodies, of which JSON has to be told the kind, are
// beside it, in their order.
type line struct {
	Packet actors.Packet
	Bodies []kindOf `json:",omitempty"`
}

type kindOf struct {
	Kind string
	Body json.RawMessage
}

// kinds are all bodies that there are.
var kinds = map[string]reflect.Type{}

func init() {
	for _, b := range []raftcore.Body{
		&raftcore.VoteRequest{}, &raftcore.VoteReply{}, &raftcore.AppendRequest{}, &raftcore.AppendReply{},
		&raftcore.SnapshotRequest{}, &raftcore.TimeoutNow{}, &raftcore.ReadRequest{}, &raftcore.ReadReply{},
	} {
		of := reflect.TypeOf(b).Elem()
		kinds[of.Name()] = of
	}
}

func encodePacket(p *actors.Packet) (string, error) {
	l := line{Packet: *p}
	take := func(m *raftcore.Message) {
		l.Bodies = append(l.Bodies, kindOf{reflect.TypeOf(m.Body).Elem().Name(), encode(m.Body)})
		m.Body = nil
	}
	l.Packet.Messages = append([]actors.GroupMessage(nil), p.Messages...) // the host's own stay as they are
	for i := range l.Packet.Messages {
		take(&l.Packet.Messages[i].Message)
	}
	l.Packet.Snapshots = append([]actors.SnapshotPart(nil), p.Snapshots...)
	for i := range l.Packet.Snapshots {
		if s := &l.Packet.Snapshots[i]; s.Offer != nil {
			offer := *s.Offer
			take(&offer.Message)
			s.Offer = &offer
		}
	}
	b, err := json.Marshal(l)
	return string(b), err
}

func decodePacket(text string) (*actors.Packet, error) {
	var l line
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return nil, err
	}
	var failed error
	give := func(m *raftcore.Message) {
		if len(l.Bodies) == 0 || kinds[l.Bodies[0].Kind] == nil {
			failed = io.ErrUnexpectedEOF
			return
		}
		b := reflect.New(kinds[l.Bodies[0].Kind])
		if err := json.Unmarshal(l.Bodies[0].Body, b.Interface()); err != nil {
			failed = err
		}
		m.Body, l.Bodies = b.Interface().(raftcore.Body), l.Bodies[1:]
	}
	for i := range l.Packet.Messages {
		give(&l.Packet.Messages[i].Message)
	}
	for i := range l.Packet.Snapshots {
		if s := &l.Packet.Snapshots[i]; s.Offer != nil {
			give(&s.Offer.Message)
		}
	}
	return &l.Packet, failed
}

// output is stdout: who writes does not wait for who reads.
type output struct {
	mu     sync.Mutex
	more   sync.Cond
	lines  [][]byte
	bytes  int // in lines
	full   []func()
	closed bool
	done   chan struct{}
}

// maxUnderWay is how many bytes of packets may wait for stdout.
const maxUnderWay = 16 << 20

func newOutput(w io.Writer) *output {
	o := &output{done: make(chan struct{})}
	o.more.L = &o.mu
	go o.run(bufio.NewWriter(w))
	return o
}

// write takes a message, or refuses it if too much waits. An answer it takes always: who asks
// waits for it, so there are not many.
func (o *output) write(m message, always bool) bool {
	b := append(encode(m), '\n')
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.bytes > maxUnderWay && !always {
		return false
	}
	o.lines, o.bytes = append(o.lines, b), o.bytes+len(b)
	o.more.Signal()
	return true
}

// whenWritable has f called when write takes something again.
func (o *output) whenWritable(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full = append(o.full, f)
}

func (o *output) run(w *bufio.Writer) {
	defer close(o.done)
	for {
		o.mu.Lock()
		for len(o.lines) == 0 && !o.closed {
			o.more.Wait()
		}
		lines, full := o.lines, o.full
		if len(lines) == 0 {
			o.mu.Unlock()
			return
		}
		o.lines, o.bytes, o.full = nil, 0, nil
		o.mu.Unlock()
		for _, f := range full {
			f()
		}
		for _, line := range lines {
			_, _ = w.Write(line) // if Maelstrom has gone, stdin says so, too
		}
		_ = w.Flush()
	}
}

// close waits until everything is written.
func (o *output) close() {
	o.mu.Lock()
	o.closed = true
	o.more.Signal()
	o.mu.Unlock()
	<-o.done
}
