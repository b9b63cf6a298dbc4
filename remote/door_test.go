package remote

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
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
	// It is not the reason why the next connection breaks.
	two.in.Close() // it stops
	one.await("link to " + two.address + ": 2")
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
