package remote

import (
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// proxy stands between two hosts. It can break all connections, and hold back what goes to
// the one that it stands before.
type proxy struct {
	t        *testing.T
	listener net.Listener
	to       string
	done     sync.WaitGroup

	mu        sync.Mutex
	conns     map[net.Conn]bool
	accepted  int
	perSecond int // bytes to the host, on each connection; 0: any number
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l, to: to, conns: map[net.Conn]bool{}}
	p.done.Add(1)
	go p.run()
	t.Cleanup(p.close)
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.cut()
	p.done.Wait()
}

func (p *proxy) run() {
	defer p.done.Done()
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.accepted++
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.done.Add(2)
		go p.carry(out, in, true)
		go p.carry(in, out, false)
	}
}

func (p *proxy) carry(to, from net.Conn, slow bool) {
	defer p.done.Done()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			break
		}
		p.mu.Lock()
		perSecond := p.perSecond
		p.mu.Unlock()
		if slow && perSecond > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(perSecond)) // it is a slow wire
		}
		if _, err := to.Write(b[:n]); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	p.mu.Lock()
	delete(p.conns, to)
	delete(p.conns, from)
	p.mu.Unlock()
}

// cut breaks all connections, and returns how many there have been.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	return p.accepted
}

// files returns how many files this process has open.
func files(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("how many files are open is read from /proc/self/fd, which is not here: %v", err)
	}
	return len(open)
}

// sessions returns those of the lanes that are up, or 0.
func (l *link) sessions() (s [actors.Lanes]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.lanes {
		if l.lanes[i].up {
			s[i] = l.lanes[i].session
		}
	}
	return s
}

// The connections to a host break a thousand times, all lanes at once. Each time the link is
// back, and in the end there are neither more goroutines nor more open files than before.
func TestP6_AThousandReconnectsLeaveNothingBehind(t *testing.T) {
	v := newVictim(t)
	o := (&other{says: ours.metadata()}).listen(t, "127.0.0.1:0")
	p := newProxy(t, o.address)
	go func() {
		for range o.peers {
		}
	}()
	go func() {
		for range o.packets {
		}
	}()
	go func() {
		for range o.ended {
		}
	}()
	events, changes := make(chan actors.LinkEvent, 100), v.changes(t, p.address())
	l := v.Link(p.address(), func(e actors.LinkEvent) { events <- e }).(*link)
	defer l.Close()
	await(t, events, actors.LinkUp)
	awaitAll(t, changes)
	times := 1000
	if testing.Short() || raceDetector {
		times = 100
	}
	var opened, routines int
	for i := range times + 10 {
		if i == 10 { // what is made once has been made
			opened, routines = files(t), runtime.NumGoroutine()
		}
		was := l.sessions()
		p.cut()
		for renewed := 0; renewed < int(actors.Lanes); {
			c := <-changes
			if !c.up { // the other side is heard of, so the link does not wait to try again
				l.heard(c.lane, &raftpb.Packet{})
			}
			renewed = 0
			for lane, session := range l.sessions() {
				if session != was[lane] && session != 0 {
					renewed++
				}
			}
		}
		for len(events) > 0 {
			<-events
		}
	}
	// Those of the last connection are not those that were there before; there may be as many.
	for late := time.Now().Add(30 * time.Second); ; {
		now, open := runtime.NumGoroutine(), files(t)
		if now <= routines+5 && open <= opened+3 {
			break
		}
		if time.Now().After(late) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines and %d files, where there were %d and %d:\n%s", now, open, routines, opened, stacks[:runtime.Stack(stacks, true)])
		}
		<-time.After(10 * time.Millisecond)
	}
	l.Close()
	for len(o.ended) > 0 {
		<-o.ended
	}
	if p.cut() < (times+10)*int(actors.Lanes) {
		t.Error("not all lanes were connected each time")
	}
}

// However long a host was away, and however often it was tried to reach it, the next try is
// not far away.
func TestAHostThatWasAwayIsTriedAgainSoon(t *testing.T) {
	if most := max(greetAfter, greetUnwanted, connectBackoff.MaxDelay+connectBackoff.MaxDelay/5); most > time.Second {
		t.Errorf("between two tries there may be %v", most)
	}
	v := newVictim(t)
	address := freeAddresses(t, 1)[0]
	events := make(chan actors.LinkEvent, 100)
	l := v.Link(address, func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	// Nobody is there, until somebody who ends each connection is: he sees the tries.
	refuser, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	for range 12 { // gRPC has got to its longest pause by then
		c, err := refuser.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	refuser.Close()
	o := listenAs(t, address)
	<-o.peers
	await(t, events, actors.LinkUp)
}

// A wire that is slow is full of entries, and of chunks. What keeps leaders in office waits
// for neither: it arrives before what was given to the link long before.
func TestASignOfLifeOvertakesAMegabyteOnASlowWire(t *testing.T) {
	v := newVictim(t)
	o := (&other{says: ours.metadata()}).listen(t, "127.0.0.1:0")
	p := newProxy(t, o.address)
	events, changes := make(chan actors.LinkEvent, 100), v.changes(t, p.address())
	l := v.Link(p.address(), func(e actors.LinkEvent) { events <- e })
	defer l.Close()
	await(t, events, actors.LinkUp)
	awaitAll(t, changes)
	p.mu.Lock()
	p.perSecond = 256 << 10 // a megabyte takes four seconds
	p.mu.Unlock()
	bulk := &actors.Packet{From: 1, Lane: actors.LaneLog, Requests: []actors.GroupRequest{{Operation: actors.Propose, Data: make([]byte, 100<<10)}}}
	parts := snapshotParts()
	parts.Lane, parts.Snapshots[1].Chunk.Data = actors.LaneSnapshots, make([]byte, 100<<10)
	sent := 0
	for _, p := range []*actors.Packet{bulk, parts} {
		for l.Send(p) {
			sent++
		}
	}
	sign := beats()
	if sign.Lane = actors.LaneControl; !l.Send(sign) {
		t.Fatal("it is not taken")
	}
	before := 0
	for packet := range o.packets {
		if packet.Beat != nil {
			break
		}
		if packet.Sequence > 0 {
			before++
		}
	}
	if before > sent/2 {
		t.Errorf("%d of %d packets that were sent before it arrived before it", before, sent)
	}
	p.mu.Lock()
	p.perSecond = 0
	p.mu.Unlock()
	for ; before < sent; before++ {
		if packet := <-o.packets; packet.Sequence == 0 {
			before--
		}
	}
}
