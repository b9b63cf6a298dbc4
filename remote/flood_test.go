package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/remote/raftpb"
)

const (
	floodLimit    = 128 << 20 // GOMEMLIMIT of the host
	floodResident = 256       // MiB that it may ever have: its stacks, and what Go has yet to give back, too
)

// TRAPS P5, P6: whoever can reach the port does what he can to it, thousands of times, while
// a group works. The host never ends, its memory stays small, nothing has changed but by its
// clients, and they are served; and a host that comes in the middle of it is let in.
func TestP5P6_AFloodOfStrangersStopsNobody(t *testing.T) {
	hosts := threeHosts(t)
	two := hosts[1]
	floodsStopNobody(t, hosts, nil, []flooding{
		{"connections that say nothing", 4000, (*flood).silent},
		{"connections that are idle HTTP/2", 3000, (*flood).idle},
		{"garbage", 3000, (*flood).garbage},
		{"HTTP/2 that makes no sense", 3000, (*flood).nonsense},
		{"streams with huge metadata", 3000, (*flood).metadata},
		{"messages that never end", 600, (*flood).endless},
		{"streams that are reset", 100_000, (*flood).resets},
		{"pings whose answers are not read", 100_000, (*flood).pings},
		{"connect requests", 3000, (*flood).connects},
		{"packets in the name of others", 3000, func(f *flood) { f.forged("127.0.0.1:1") }},
		{"packets in the name of a host", 3000, func(f *flood) { f.forged(two.address()) }},
	})
}

// The same where certificates are asked for: by those who have none, and by a client that has
// a good one and no good will.
func TestP5P6_AFloodOfStrangersStopsNobodyWithTLS(t *testing.T) {
	ca := newAuthority(t)
	hosts := threeHosts(t)
	for i, h := range hosts {
		h.env = []string{tlsEnv + "=" + filepath.Dir(ca.issue(host(i+1)).CertFile)}
	}
	nobody := &tls.Config{RootCAs: ca.config(host(9)).RootCAs, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}
	client := ca.config(with(host(9), func(c *x509.Certificate) { c.URIs[0].Path = "/client/9" }))
	client.ServerName, client.NextProtos = nobody.ServerName, nobody.NextProtos
	two := hosts[1]
	floodsStopNobody(t, hosts, client, []flooding{
		{"handshakes that never end", 3000, (*flood).hello},
		{"handshakes without a certificate", 1000, func(f *flood) { f.handshake(nobody) }},
		{"handshakes with a good certificate", 1000, func(f *flood) { f.handshake(client) }},
		{"connections that are idle HTTP/2", 1000, (*flood).idle},
		{"HTTP/2 that makes no sense", 1000, (*flood).nonsense},
		{"messages that never end", 300, (*flood).endless},
		{"streams that are reset", 30_000, (*flood).resets},
		{"connect requests", 1000, (*flood).connects},
		{"packets in the name of a host", 1000, func(f *flood) { f.forged(two.address()) }},
	})
}

// flooding is something to be done until it has been done often enough.
type flooding struct {
	name   string
	enough int64
	do     func(*flood)
}

// floodsStopNobody floods the first of three hosts, with a certificate if there is one.
func floodsStopNobody(t *testing.T, hosts []*process, cert *tls.Config, floods []flooding) {
	t.Helper()
	for _, h := range hosts {
		h.env = append(h.env, fmt.Sprint("GOMEMLIMIT=", floodLimit))
		h.start()
		defer h.kill()
	}
	one, two := hosts[0], hosts[1]
	// A host that is killed may lead; then what it was asked may have happened.
	sum, unknown := 0, 0
	inRange := func(answer string) bool {
		var n int
		_, err := fmt.Sscanf(answer, "%d <nil>", &n)
		return err == nil && n >= sum && n <= sum+unknown
	}
	add := func(h *process) {
		t.Helper()
		answer := h.ask("add 1")
		for ; strings.Contains(answer, "rejected"); answer = h.ask("add 1") {
		}
		if strings.Contains(answer, "unknown") {
			unknown++
		} else if sum++; !inRange(answer) {
			t.Fatalf("after %d times 1, and %d times perhaps, a client is told %s", sum, unknown, answer)
		}
	}
	for _, h := range hosts {
		add(h)
	}
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			fl := startFlood(t, one.address(), cert, f.do)
			for range 30 {
				add(one)
			}
			two.kill()
			two.start() // with nothing: it needs everything that the others have
			for deadline := time.Now().Add(time.Minute); !inRange(two.ask("local")); {
				if time.Now().After(deadline) {
					t.Fatal("a host that has come back meanwhile is not there")
				}
			}
			for fl.done.Load() < f.enough {
				add(one)
				add(two)
			}
			fl.stop()
			if got := one.ask("read"); !inRange(got) {
				t.Errorf("the sum is %s, and not %d, or up to %d more", got, sum, unknown)
			}
			if unknown > 2*len(floods) {
				t.Errorf("%d of %d ended unknown", unknown, sum)
			}
			var term int
			if _, err := fmt.Sscan(one.ask("term"), &term); err != nil || term > 1000 {
				t.Errorf("the term is %d, %v", term, err)
			}
			most := resident(t, one)
			t.Logf("%d of them; the host has had %d MiB, and has refused %s", fl.done.Load(), most, one.ask("refusals"))
			if most > floodResident && !raceDetector {
				t.Errorf("the host has had %d MiB, more than %d", most, floodResident)
			}
		})
	}
}

// resident returns the most memory in MiB that a process has had; zero if this system does
// not tell.
func resident(t *testing.T, p *process) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest + " x")[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// flood does one thing again and again, on many connections.
type flood struct {
	address string
	tls     *tls.Config // nil: it says what it says in plain text
	ctx     context.Context
	stop    func()
	done    atomic.Int64

	mu   sync.Mutex
	kept []io.Closer // connections that are only there, the oldest first
}

const flooders = 4

func startFlood(t *testing.T, address string, cert *tls.Config, do func(*flood)) *flood {
	f := &flood{address: address, tls: cert}
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	var flooding sync.WaitGroup
	for range flooders {
		flooding.Go(func() {
			for ctx.Err() == nil {
				do(f)
			}
		})
	}
	f.stop = sync.OnceFunc(func() {
		cancel()
		flooding.Wait()
		for _, c := range f.kept {
			c.Close()
		}
	})
	t.Cleanup(f.stop)
	return f
}

// keep keeps a connection open, as long as this side has room for it.
func (f *flood) keep(c io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept = append(f.kept, c); len(f.kept) > 4000 {
		f.kept[0].Close()
		f.kept = f.kept[1:]
	}
}

func (f *flood) dial() net.Conn {
	var d net.Dialer
	conn, err := d.DialContext(f.ctx, "tcp", f.address)
	if err != nil {
		return nil // it has no room
	}
	context.AfterFunc(f.ctx, func() { conn.Close() })
	return conn
}

// hello begins a handshake, and says no more.
func (f *flood) hello() {
	conn := f.dial()
	if conn == nil {
		return
	}
	f.keep(conn)
	_ = tls.Client(firstWord{conn}, f.tls).Handshake()
	f.done.Add(1)
}

// firstWord is a connection that nobody answers on.
type firstWord struct{ net.Conn }

func (firstWord) Read([]byte) (int, error) { return 0, io.EOF }

// handshake does its part of a handshake, and waits for what the other side thinks of it.
func (f *flood) handshake(as *tls.Config) {
	if conn := f.dial(); conn != nil {
		defer conn.Close()
		_, _ = tls.Client(conn, as).Read(make([]byte, 1))
		f.done.Add(1)
	}
}

func (f *flood) silent() {
	if conn := f.dial(); conn != nil {
		f.keep(conn)
		f.done.Add(1)
	}
}

// http2 returns a connection that has begun well.
func (f *flood) http2() *raw {
	conn := f.dial()
	if conn == nil {
		return nil
	}
	if f.tls != nil {
		conn = tls.Client(conn, f.tls)
	}
	r := &raw{Conn: conn, w: bufio.NewWriterSize(conn, 64<<10)}
	r.w.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	r.frame(0x4, 0, 0, nil)
	r.w.Flush()
	return r
}

func (f *flood) idle() {
	if r := f.http2(); r != nil {
		f.keep(r)
		f.done.Add(1)
	}
}

func (f *flood) garbage() {
	conn := f.dial()
	if conn == nil {
		return
	}
	defer conn.Close()
	b := make([]byte, 16<<10)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	if rand.IntN(2) == 0 {
		copy(b, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	_, _ = conn.Write(b)
	f.done.Add(1)
}

func (f *flood) nonsense() {
	r := f.http2()
	if r == nil {
		return
	}
	defer r.Close()
	for range 50 {
		b := make([]byte, rand.IntN(300))
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		r.frame(byte(rand.IntN(12)), byte(rand.Uint32()), rand.Uint32N(9), b)
	}
	r.w.Flush()
	f.done.Add(1)
}

// metadata opens streams that say nothing but 40 KiB before.
func (f *flood) metadata() {
	r := f.http2()
	if r == nil {
		return
	}
	f.keep(r)
	go io.Copy(io.Discard, r)
	value := strings.Repeat("x", 10_000)
	for id := uint32(1); id < 128; id += 2 {
		if !r.open(id, "a", value, "b", value, "c", value, "d", value) {
			return
		}
		f.done.Add(1)
	}
}

// endless sends most of a message that is as large as one may be, and never the rest.
func (f *flood) endless() {
	r := f.http2()
	if r == nil {
		return
	}
	f.keep(r)
	go io.Copy(io.Discard, r)
	part := make([]byte, 16<<10)
	for id := uint32(1); id < 128; id += 2 {
		r.open(id)
		head := binary.BigEndian.AppendUint32([]byte{0}, 9<<20)
		r.frame(0x0, 0, id, head)
		for range 3 { // what a stream's window takes
			if !r.frame(0x0, 0, id, part) {
				return
			}
		}
		r.w.Flush()
		f.done.Add(1)
	}
}

func (f *flood) resets() {
	r := f.http2()
	if r == nil {
		return
	}
	defer r.Close()
	go io.Copy(io.Discard, r)
	for id := uint32(1); f.ctx.Err() == nil; id += 2 {
		r.open(id)
		if !r.frame(0x3, 0, id, []byte{0, 0, 0, 8}) {
			return
		}
		f.done.Add(1)
	}
}

func (f *flood) pings() {
	r := f.http2()
	if r == nil {
		return
	}
	defer r.Close()
	for f.ctx.Err() == nil {
		_ = r.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // when it is not read on any more
		if !r.frame(0x6, 0, 0, make([]byte, 8)) {
			return
		}
		f.done.Add(1)
	}
}

// connection returns one that gRPC makes when it is used.
func (f *flood) connection() *grpc.ClientConn {
	creds := insecure.NewCredentials()
	if f.tls != nil {
		creds = credentials.NewTLS(f.tls)
	}
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil
	}
	return conn
}

func (f *flood) connects() {
	conn := f.connection()
	f.keep(conn)
	for range maxStreams { // another waits for one of these
		stream, err := protoremote.NewRemotingClient(conn).Receive(f.ctx)
		if err != nil {
			return
		}
		connect := asHost("127.0.0.1:1")
		if rand.IntN(2) == 0 {
			connect = asClient
		}
		if stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectRequest{ConnectRequest: connect}}) != nil {
			return
		}
		f.done.Add(1)
	}
}

// forged sends what a host sends that is at an address, as fast as it is taken.
func (f *flood) forged(address string) {
	conn := f.connection()
	defer conn.Close()
	stream, err := protoremote.NewRemotingClient(conn).Receive(f.ctx)
	if err != nil {
		return
	}
	_ = stream.Send(&protoremote.RemoteMessage{MessageType: &protoremote.RemoteMessage_ConnectRequest{ConnectRequest: asHost("127.0.0.1:1")}})
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	s := &stranger{v: addressed(f.address)}
	for n := uint64(1); ; n++ {
		p := encoded(everything())
		p.Address, p.Session, p.Sequence, p.From = address, 1, n, rand.Uint64N(3)+1
		for _, m := range p.Messages {
			m.Term = 1 << 50
		}
		b, err := proto.Marshal(p)
		if err != nil {
			return
		}
		out := s.of(&raftpb.Packet{})
		out.Envelopes = nil
		for range 50 {
			out.Envelopes = append(out.Envelopes, &protoremote.MessageEnvelope{MessageData: b})
		}
		if stream.Send(batch(out)) != nil {
			return
		}
		f.done.Add(50)
	}
}

type addressed string

func (a addressed) Address() string { return string(a) }

// raw is a connection of HTTP/2, frame by frame.
type raw struct {
	net.Conn
	w *bufio.Writer
}

// frame sends a frame, or reports that it cannot.
func (r *raw) frame(kind, flags byte, stream uint32, body []byte) bool {
	head := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
	_, _ = r.w.Write(binary.BigEndian.AppendUint32(head, stream))
	_, err := r.w.Write(body)
	return err == nil
}

// open opens a stream, with more of metadata. A frame has 16 KiB at most.
func (r *raw) open(id uint32, more ...string) bool {
	fields := append([]string{
		":method", "POST", ":scheme", "http", ":path", "/remote.Remoting/Receive", ":authority", "x",
		"content-type", "application/grpc", "te", "trailers",
	}, more...)
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		b = append(b, 0) // literally, and not to be kept
		for _, s := range fields[i : i+2] {
			if n := uint64(len(s)); n < 127 {
				b = append(b, byte(n))
			} else {
				b = binary.AppendUvarint(append(b, 127), n-127)
			}
			b = append(b, s...)
		}
	}
	kind := byte(0x1) // and then continuations
	for {
		part := b[:min(len(b), 16<<10)]
		b = b[len(part):]
		flags := byte(0)
		if len(b) == 0 {
			flags = 0x4
		}
		if !r.frame(kind, flags, id, part) {
			return false
		}
		if kind = 0x9; len(b) == 0 {
			break
		}
	}
	return r.w.Flush() == nil
}
