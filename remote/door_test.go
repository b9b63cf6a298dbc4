package remote

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// caller has opened a connection; its process may be gone without a word.
type caller struct {
	net.Conn
	at net.Addr
}

func (c caller) RemoteAddr() net.Addr { return c.at }

// visits are those who come to a door.
type visits struct {
	*door
	n int
}

// come lets a connection in, whose other side sees when it is closed.
func (v *visits) come(ip byte) (socket string, open func() bool) {
	here, there := net.Pipe()
	v.n++
	c := caller{here, &net.TCPAddr{IP: net.IPv4(10, 0, 0, ip), Port: v.n}}
	v.enter(c)
	socket = c.at.String()
	return socket, func() bool {
		v.mu.Lock()
		_, is := v.door.visitors[socket]
		v.mu.Unlock()
		if !is {
			if _, err := there.Read(make([]byte, 1)); err == nil {
				panic("it was forgotten, and not closed")
			}
		}
		return is
	}
}

// A host restarts over and over, and its connections break without a word; or one lane alone
// does. What it has left is pushed out, and never what it uses.
func TestALiveLaneIsNotPushedOutByStaleOnes(t *testing.T) {
	v := &visits{door: New(Config{}).door}
	var live [actors.Lanes]func() bool
	opens := func(lane actors.Lane) {
		socket, open := v.come(1)
		v.know(socket, fmt.Sprint("host 2", laneSuffixes[lane]))
		live[lane] = open
	}
	still := func() {
		t.Helper()
		for lane, open := range live {
			if !open() {
				t.Fatalf("lane %d was closed", lane)
			}
		}
	}
	for range 50 {
		for lane := range actors.Lanes {
			opens(lane)
		}
		still()
	}
	for lane := range actors.Lanes {
		for range 50 {
			opens(lane)
			still()
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.visitors); n != int(actors.Lanes)*maxOfLane {
		t.Errorf("%d connections are left", n)
	}
}

// Strangers push out one another, the oldest from the address that has most, and nobody who
// is known; who is not known any more is one of them.
func TestStrangersPushOutStrangers(t *testing.T) {
	v := &visits{door: New(Config{}).door}
	first, firstOpen := v.come(1)
	leave := v.know(first, "host 2")
	_, quiet := v.come(2)
	var flood []func() bool
	for range 2 * maxStrangers {
		_, open := v.come(3)
		flood = append(flood, open)
	}
	if !firstOpen() || !quiet() {
		t.Error("a flood from one address has pushed out somebody else")
	}
	left := 0
	for i, open := range flood {
		if open() {
			if left++; i < maxStrangers {
				t.Fatal("the oldest is there yet")
			}
		}
	}
	if left != maxStrangers-1 {
		t.Errorf("%d of the flood are left", left)
	}
	leave()
	leave() // says nothing new
	if !firstOpen() {
		t.Error("it had to go, and not one of the flood")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count != maxStrangers || len(v.lanes) != 0 || len(v.visitors) != maxStrangers {
		t.Errorf("%d strangers, %d lanes, %d in all", v.count, len(v.lanes), len(v.visitors))
	}
}

// Who opens a stream says where it is reached: if that is a host that is known, its first
// packet may be as large as any, for it is on its way before anybody has dealt with a greeting.
func TestP5_WhoSaysWhereItIsReachedIsNoStranger(t *testing.T) {
	v := newVictim(t)
	defer v.Link("127.0.0.1:1", func(actors.LinkEvent) {}).Close()
	for address, known := range map[string]bool{"127.0.0.1:1": true, "127.0.0.1:2": false} {
		s := newStranger(t, v)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream, err := s.try(metadata.AppendToOutgoingContext(ctx, addressKey, address))
		if err != nil {
			t.Fatal(err)
		}
		p := encoded(everything())
		p.Sequence, p.Address, p.Requests[0].Data = 1, address, make([]byte, 1<<20)
		_ = stream.Send(batch(s.of(p))) // it may be cut off while it is being sent
		ended := make(chan error, 1)
		go func() {
			_, err := stream.Recv()
			ended <- err
		}()
		select {
		case <-v.delivered:
			if !known {
				t.Errorf("a megabyte of a stranger's was taken")
			}
		case err := <-ended:
			if known || status.Code(err) != codes.Unavailable {
				t.Errorf("the stream of %s ends with %v", address, err)
			}
		}
	}
}

// A host whose address stands in nobody's Peers is a stranger, and cut off when it has said a
// little. It says why, and when the others know it, no more.
func TestP5_AHostThatNobodyKnowsIsToldSo(t *testing.T) {
	one, two := startWire(t, wireConfig{}), startWire(t, wireConfig{})
	say := func() {
		for range 100 { // 64 KiB, and more
			one.tell("send %s", two.address)
		}
	}
	one.tell("link %s", two.address)
	one.await("link to " + two.address + ": 1")
	say()
	line := one.await("cannot speak to another host", "refused=1")
	if want := "does not know this host by the address " + one.address + "; is that in its Peers?"; !strings.Contains(line, want) {
		t.Errorf("it says %s", line)
	}
	two.tell("link %s", one.address)
	two.await("link to " + one.address + ": 1")
	one.await("link to " + two.address + ": 1") // it has been heard: nothing is waited for
	_, _ = two.refused()                        // and the packets from before
	say()
	for range 100 {
		two.await("packet from 1")
	}
	// It is not the reason why the next connection breaks; nor where a host has come to know
	// this one meanwhile.
	three := startWire(t, wireConfig{})
	one.tell("link %s", three.address)
	one.await("link to " + three.address + ": 1")
	three.tell("link %s", one.address)
	three.await("link to " + one.address + ": 1")
	three.tell("send %s", one.address)
	one.await("packet from 1")
	for _, other := range []*wire{two, three} {
		other.in.Close() // it stops
		one.await("link to " + other.address + ": 2")
	}
	if _, lines := one.refused(); slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "Peers") }) {
		t.Errorf("it says %q", lines)
	}
}

// Who is told by his certificate needs no address; and who says none has asked nothing.
func TestWhoIsNotKnownIsTold(t *testing.T) {
	v, w := New(Config{}), New(Config{TLS: &TLS{HostName: func(raftcore.NodeID) string { return "" }}})
	v.links["known:1"] = newLink(v, "known:1", nil)
	for _, test := range []struct {
		t    *Transport
		says []string
		want []string
	}{
		{v, nil, nil}, {v, []string{"known:1"}, nil}, {v, []string{"other:1"}, []string{"other:1"}}, {w, []string{"other:1"}, nil},
	} {
		if got := test.t.greeting(metadata.MD{addressKey: test.says}).Get(unknownKey); !slices.Equal(got, test.want) {
			t.Errorf("to %q it says %q", test.says, got)
		}
	}
}

// Of a stranger a little is read, and of who is known anything; and who was known is a stranger
// anew.
func TestAStrangerSaysALittle(t *testing.T) {
	d := New(Config{}).door
	here, there := net.Pipe()
	v := d.enter(caller{here, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}})
	says := func(n int) error {
		go func() { _, _ = there.Write(make([]byte, n)) }()
		_, err := io.ReadFull(v, make([]byte, n))
		return err
	}
	fine := func(n int) {
		t.Helper()
		if err := says(n); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	fine(maxUnknown)
	leave := d.know(v.socket, "host 2")
	fine(3 * maxUnknown)
	also := d.know(v.socket, "host 2")
	leave()
	leave()              // says nothing new
	fine(3 * maxUnknown) // somebody is known on it yet
	also()
	fine(maxUnknown)
	if err := says(1); !errors.Is(err, errTooMuch) {
		t.Fatalf("one byte too many: %v", err)
	}
	if _, err := there.Read(make([]byte, 1)); err == nil {
		t.Error("it is not closed")
	}
	if r := d.t.Refused(); r.Connections != 1 {
		t.Errorf("refused %+v", r)
	}
}

// Whatever has ended is forgotten: a stranger's connection, that of a host, that of a client, and one
// whose stream ends later.
func TestTheDoorForgetsWhoHasGone(t *testing.T) {
	v := &visits{door: New(Config{}).door}
	for _, known := range []string{"no", "host 2", ""} {
		for _, left := range []bool{true, false} {
			socket, _ := v.come(1)
			conn := v.visitors[socket]
			leave := func() {}
			if known != "no" {
				leave = v.know(socket, known)
			}
			if left {
				leave()
			}
			conn.Close()
			conn.Close() // gRPC may do so
			leave()
			v.know(socket, "host 2")() // it comes too late
			if len(v.visitors) != 0 || len(v.strangers) != 0 || len(v.lanes) != 0 || v.count != 0 {
				t.Errorf("known %q, left before %v: %d connections, %d strangers, %d lanes", known, left, len(v.visitors), v.count, len(v.lanes))
			}
		}
	}
}

// Who does not get through a handshake has gone, and gRPC does not say so.
func TestTheDoorForgetsWhoseHandshakeFails(t *testing.T) {
	unreadable := &credential{read: func() (*tls.Config, error) { return nil, os.ErrNotExist }}
	for _, creds := range []credentials.TransportCredentials{credentials.NewTLS(newAuthority(t).config(host(1))), unreadable} {
		d := New(Config{}).door
		here, there := net.Pipe()
		go func() {
			_, _ = there.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			_, _ = io.Copy(io.Discard, there)
		}()
		if _, _, err := (doorway{creds, d}).ServerHandshake(caller{here, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}}); err == nil {
			t.Fatal("it is let in")
		}
		if d.count != 0 || len(d.visitors) != 0 {
			t.Errorf("%d strangers, %d in all", d.count, len(d.visitors))
		}
		if _, err := here.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("it is not closed: %v", err)
		}
	}
}

// A place that is free is nobody's who has left it: those that come and go push out nobody.
func TestWhoHasGonePushesOutNobody(t *testing.T) {
	v := &visits{door: New(Config{}).door}
	_, quiet := v.come(2)
	lane, still := v.come(3)
	v.know(lane, "host 3")
	for range 2 * maxStrangers {
		socket, _ := v.come(1)
		v.visitors[socket].Close()
	}
	for range 3 * maxOfLane {
		socket, _ := v.come(3)
		v.know(socket, "host 3")
		v.visitors[socket].Close()
	}
	if !quiet() || !still() {
		t.Errorf("who was there is there no more: a stranger %v, a host %v", quiet(), still())
	}
}

// Clients are bounded by their number, and not by lanes.
func TestClientsDoNotPushOutOneAnother(t *testing.T) {
	v := &visits{door: New(Config{}).door}
	var all []func() bool
	for range 2 * maxStrangers {
		socket, open := v.come(1)
		v.know(socket, "")
		all = append(all, open)
	}
	for i, open := range all {
		if !open() {
			t.Fatalf("client %d has been closed", i)
		}
	}
}

// What one connection may have of streams and of metadata is said when it begins.
func TestP5_StreamsAndMetadataOfAConnectionAreBounded(t *testing.T) {
	v := newVictim(t)
	r := (&flood{address: v.Address(), ctx: t.Context()}).http2()
	if r == nil {
		t.Fatal("it cannot be reached")
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head); err != nil || head[3] != 0x4 {
		t.Fatalf("it begins with %x, %v", head, err)
	}
	settings := make([]byte, int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(r, settings); err != nil {
		t.Fatal(err)
	}
	said := map[uint16]uint32{}
	for ; len(settings) > 0; settings = settings[6:] {
		said[binary.BigEndian.Uint16(settings)] = binary.BigEndian.Uint32(settings[2:])
	}
	if streams, metadata := said[0x3], said[0x6]; streams != 8 || metadata != 16<<10 {
		t.Errorf("it allows %d streams, and %d bytes of metadata", streams, metadata)
	}
}

// A stream that ends leaves a stranger's connection behind.
func TestP5_WhoseStreamHasEndedIsAStranger(t *testing.T) {
	v := newVictim(t)
	defer v.Link("127.0.0.1:1", func(actors.LinkEvent) {}).Close()
	known := func() (n int) {
		v.door.mu.Lock()
		defer v.door.mu.Unlock()
		for lane, list := range v.door.lanes {
			if strings.HasPrefix(lane, "127.0.0.1:1") {
				n += len(list)
			}
		}
		return n
	}
	for _, says := range []bool{true, false} { // where it is reached, when it opens the stream
		s := newStranger(t, v)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if says {
			ctx = metadata.AppendToOutgoingContext(ctx, addressKey, "127.0.0.1:1")
		}
		stream, err := s.try(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := encoded(everything())
		p.Sequence, p.Address = 1, "127.0.0.1:1"
		if err := stream.Send(batch(s.of(p))); err != nil {
			t.Fatal(err)
		}
		<-v.delivered
		if n := known(); n != 1 {
			t.Errorf("says so %v: it is known on %d connections", says, n)
		}
		p.From = 0
		if err := stream.Send(batch(s.of(p))); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("the stream ends with %v", err)
		}
		if n := known(); n != 0 {
			t.Errorf("says so %v: when the stream has ended it is known on %d connections", says, n)
		}
	}
}

// With certificates nobody takes the places of another host's connections, whatever he says
// that he is reached at; nor does another lane of the same host.
func TestP5_NobodyPushesOutAnotherHost(t *testing.T) {
	ours := newAuthority(t)
	w := startWire(t, wireConfig{TLS: ours.issue(host(1)), Hosts: threeNames})
	three := listenAs(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(ours.config(host(3)))))
	w.tell("link %s", three.address)
	w.await("link to " + three.address + ": 1")
	open := func(id int, says, lane string) (send func()) {
		s := newStranger(t, w, secured(ours.config(host(id))))
		s.v = addressed(w.address + lane)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		if says != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, addressKey, says)
		}
		if lane != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, laneKey, lane, versionsKey, "1-2")
		}
		stream, err := s.try(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			t.Helper()
			p := encoded(&actors.Packet{From: raftcore.NodeID(id), Requests: everything().Requests})
			if p.Sequence, p.Address = 1, three.address; lane != "" {
				p.Version = lanesVersion
			}
			if err := stream.Send(batch(s.of(p))); err != nil {
				t.Fatalf("the connection of host %d has been closed: %v", id, err)
			}
			w.await(fmt.Sprint("packet from ", id))
		}
	}
	said, silent := open(3, three.address, ""), open(3, "", "")
	said()
	silent()
	for range 2 * maxOfLane {
		open(2, three.address, "")()
		open(2, "", "")()
		open(3, three.address, laneSuffixes[actors.LaneLog])()
		open(3, "", laneSuffixes[actors.LaneLog])()
	}
	said()
	silent()
}
