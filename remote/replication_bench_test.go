package remote

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

const (
	batchEntries = 256 // in an append request
	entryBytes   = 128
	turnEntries  = 800 * batchEntries
)

// BenchmarkReplication measures how many entries of 128 bytes a second get from one process
// to another over loopback, by turns: in append requests of 256, through a link; a message of
// protoactor remote for each, as it is shipped; and in the same append requests, the same
// protobuf, on a plain TCP connection. The ratios are of the medians. Beside other work the
// time on the processors, of both processes, says more than the entries a second.
//
//	go test ./remote -run '^$' -bench Replication -benchtime 11x
func BenchmarkReplication(b *testing.B) {
	wire, each, stream := startSink(b, "castaway", ""), startSink(b, "protoactor", ""), startSink(b, "tcp", "")
	link := wire.link(b, wire.address)
	system := quietSystem()
	protoremote.NewRemote(system, protoremote.Configure("127.0.0.1", 0)).Start()
	bare := actor.NewPID(each.address, "sink")
	plain, err := net.Dial("tcp", stream.address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { plain.Close() })

	packet := appends()
	entry := packet.Messages[0].Message.Body.(*raftcore.AppendRequest).Entries[0]
	kinds := []struct {
		name string
		to   *sink
		send func()
		took []float64
		cpu  []float64
	}{
		{name: "castaway", to: wire, send: func() {
			for range turnEntries / batchEntries {
				link.send(packet)
			}
		}},
		{name: "protoactor", to: each, send: func() {
			for i := range uint64(turnEntries) {
				system.Root.Send(bare, &raftpb.Request{Group: 1, Id: i, Operation: uint32(entry.Kind), Data: entry.Data})
			}
		}},
		{name: "tcp", to: stream, send: func() {
			out := make([]byte, 4, 64<<10)
			for range turnEntries / batchEntries {
				out, err = proto.MarshalOptions{}.MarshalAppend(out[:4], encode(packet))
				if err != nil {
					b.Fatal(err)
				}
				binary.BigEndian.PutUint32(out, uint32(len(out)-4))
				if _, err := plain.Write(out); err != nil {
					b.Fatal(err)
				}
			}
		}},
	}
	for turn := range b.N + 1 {
		for i := range kinds {
			k := &kinds[i]
			began, cpu := time.Now(), processorTime()+k.to.processorTime(b)
			k.send()
			k.to.await(b, (turn+1)*turnEntries)
			if turn > 0 { // the first is to connect, and to warm up
				k.took = append(k.took, turnEntries/time.Since(began).Seconds())
				k.cpu = append(k.cpu, float64(processorTime()+k.to.processorTime(b)-cpu)/turnEntries)
			}
		}
	}
	medians, cpu := map[string]float64{}, map[string]float64{}
	for _, k := range kinds {
		slices.Sort(k.took)
		slices.Sort(k.cpu)
		medians[k.name], cpu[k.name] = k.took[len(k.took)/2], k.cpu[len(k.cpu)/2]
		b.ReportMetric(medians[k.name], k.name+"-entries/s")
		b.ReportMetric(cpu[k.name], k.name+"-cpu-ns/entry")
	}
	b.ReportMetric(cpu["protoactor"]/cpu["castaway"], "cpu-protoactor/castaway")
	b.ReportMetric(medians["castaway"]/medians["protoactor"], "castaway/protoactor")
	b.ReportMetric(medians["castaway"]/medians["tcp"], "castaway/tcp")
	b.ReportMetric(0, "ns/op")
}

// What a socket is given, in both directions, for append requests of 256 entries of 128
// bytes: 1.15 bytes at most for each byte of them.
func TestReplicationCostsFewBytesMore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var bytes atomic.Int64
	s := startSink(t, "castaway", l.Addr().String())
	go passAndCount(l, s.address, &bytes)
	link := s.link(t, l.Addr().String())
	connected := bytes.Load() // once, and not for each entry
	packet := appends()
	for range turnEntries / batchEntries {
		link.send(packet)
	}
	s.await(t, turnEntries)
	ratio := float64(bytes.Load()-connected) / (turnEntries * entryBytes)
	t.Logf("%d bytes for %d of entries: %.4f", bytes.Load()-connected, turnEntries*entryBytes, ratio)
	if ratio > 1.15 || ratio < 1 {
		t.Errorf("%.4f bytes for each byte of entries", ratio)
	}
}

// appends is a packet with an append request, as a leader sends it.
func appends() *actors.Packet {
	request := &raftcore.AppendRequest{Prev: raftcore.EntryID{Term: 7, Index: 1_000_000}, Commit: 1_000_000, Round: 1000}
	for i := range batchEntries {
		data := make([]byte, entryBytes)
		for j := range data {
			data[j] = byte(i * j)
		}
		request.Entries = append(request.Entries, raftcore.Entry{
			EntryID: raftcore.EntryID{Term: 7, Index: 1_000_001 + raftcore.Index(i)}, Kind: raftcore.EntryCommand, Time: 1_760_000_000_000, Data: data,
		})
	}
	return &actors.Packet{From: 1, Lane: actors.LaneLog, Messages: []actors.GroupMessage{{Group: 0x123456789abcdef0, Message: raftcore.Message{
		From: 1, To: 2, Term: 7, Cluster: 0x123456789abcdef0, Incarnation: 0x123456789abcdef0, ToIncarnation: 0x123456789abcdef0, Body: request,
	}}}}
}

// sinkEnv has this test binary, started again, only take what is sent to it: it says in what
// way, and by what address others know it, if not by its own.
const sinkEnv = "CASTAWAY_TEST_SINK"

// tally counts entries.
type tally struct {
	mu   sync.Mutex
	more sync.Cond
	n    int
}

func (t *tally) add(n int) {
	t.mu.Lock()
	t.n += n
	t.mu.Unlock()
	t.more.Broadcast()
}

func (t *tally) packet(p *actors.Packet) {
	for _, m := range p.Messages {
		if r, is := m.Message.Body.(*raftcore.AppendRequest); is {
			t.add(len(r.Entries))
		}
	}
}

// sinkChild is the process.
func sinkChild(spec string) error {
	kind, advertise, _ := strings.Cut(spec, " ")
	t := &tally{}
	t.more.L = &t.mu
	var transport *Transport
	var address string
	switch kind {
	case "castaway":
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		address = free.Addr().String()
		free.Close()
		transport = New(Config{Listen: address, Advertise: advertise})
		if err := transport.Start(quietSystem(), 2, t.packet); err != nil {
			return err
		}
	case "protoactor":
		system := quietSystem()
		protoremote.NewRemote(system, protoremote.Configure("127.0.0.1", 0)).Start()
		address = system.Address()
		_, err := system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
			if _, is := ctx.Message().(*raftpb.Request); is {
				t.add(1)
			}
		}), "sink")
		if err != nil {
			return err
		}
	case "tcp":
		plain, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		address = plain.Addr().String()
		go takePlain(plain, t)
	}
	fmt.Println(address)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch verb, arg, _ := strings.Cut(in.Text(), " "); verb {
		case "link": // the credit goes there
			transport.Link(arg, func(actors.LinkEvent) {})
			fmt.Println("linked")
		case "cpu":
			fmt.Println(int64(processorTime()))
		case "await":
			n, err := strconv.Atoi(arg)
			if err != nil {
				return err
			}
			t.mu.Lock()
			for t.n < n {
				t.more.Wait()
			}
			t.mu.Unlock()
			fmt.Println("there")
		}
	}
	return nil
}

// takePlain takes packets from a TCP connection, each after its length.
func takePlain(l net.Listener, t *tally) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	var size [4]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		buf = slices.Grow(buf[:0], n)[:n]
		packet := new(raftpb.Packet)
		if _, err := io.ReadFull(in, buf); err != nil || proto.Unmarshal(buf, packet) != nil {
			return
		}
		p, err := decode(packet)
		if err != nil {
			return
		}
		t.packet(p)
	}
}

// sink is the process, seen from the test.
type sink struct {
	in      io.Writer
	out     *bufio.Scanner
	address string
}

func startSink(t testing.TB, kind, advertise string) *sink {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkEnv+"="+kind+" "+advertise)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the sink ends with %v", err)
		}
	})
	s := &sink{in: in, out: bufio.NewScanner(out)}
	s.out.Scan()
	s.address = s.out.Text()
	return s
}

// passAndCount passes connections on to an address, and counts bytes, both ways.
func passAndCount(l net.Listener, address string, bytes *atomic.Int64) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		pass := func(to, from net.Conn) {
			defer to.Close()
			_, _ = io.Copy(to, io.TeeReader(from, writer(func(b []byte) { bytes.Add(int64(len(b))) })))
		}
		go pass(to, from)
		go pass(from, to)
	}
}

// await waits until it has that many entries.
func (s *sink) await(t testing.TB, entries int) {
	t.Helper()
	fmt.Fprintln(s.in, "await", entries)
	if !s.out.Scan() || s.out.Text() != "there" {
		t.Fatalf("the sink says %q", s.out.Text())
	}
}

// processorTime returns how long this process has run on processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (s *sink) processorTime(t testing.TB) time.Duration {
	t.Helper()
	fmt.Fprintln(s.in, "cpu")
	s.out.Scan()
	n, err := strconv.ParseInt(s.out.Text(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n)
}

// sender is a link that is waited for when it is full.
type sender struct {
	actors.Link
	events chan actors.LinkEvent
}

// link returns one that is up.
func (s *sink) link(t testing.TB, address string) *sender {
	t.Helper()
	v, err := sharedVictim()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(s.in, "link", v.Address())
	if !s.out.Scan() || s.out.Text() != "linked" { // or the sender is a stranger, who is cut off when he says much
		t.Fatalf("the sink says %q", s.out.Text())
	}
	l := &sender{events: make(chan actors.LinkEvent, 100)}
	l.Link = v.Link(address, func(e actors.LinkEvent) { l.events <- e })
	t.Cleanup(l.Close)
	for e := range l.events {
		if e == actors.LinkUp {
			break
		}
	}
	return l
}

func (l *sender) send(p *actors.Packet) {
	for !l.Send(p) {
		<-l.events
	}
}
