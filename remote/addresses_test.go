package remote

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

func TestAnAddressThatNobodyCanReachIsNotAdvertised(t *testing.T) {
	for _, c := range []Config{
		{Listen: ":0", Insecure: true},
		{Listen: ":7001", Insecure: true},
		{Listen: "[::]:7001", Insecure: true},
		{Listen: "127.0.0.1:0", Advertise: ":7001"},
		{Listen: "127.0.0.1:0", Advertise: "0.0.0.0:7001"},
		{Listen: "127.0.0.1:0", Advertise: "host.test:0"},
		{Listen: "127.0.0.1:0", Advertise: "host.test"},
		{Listen: "127.0.0.1:0", Advertise: "host.test:x"},
		{Listen: "127.0.0.1:0", Advertise: "::1:7001"},
	} {
		err := New(c).Start(quietSystem(), 1, func(*actors.Packet) {})
		if !errors.Is(err, ErrBadConfig) {
			t.Errorf("%s as %s: %v", c.Listen, c.Advertise, err)
		}
	}
}

// Hosts listen on other addresses than those that the others know, all of them IPv6, or
// names.
func TestHostsAreKnownByOtherAddressesThanTheyListenOn(t *testing.T) {
	for name, test := range map[string]struct{ listen, advertise string }{
		"IPv6":                {"[::1]", "[::1]"},
		"everywhere, by IPv6": {"[::]", "[::1]"},
		"everywhere, by IPv4": {"0.0.0.0", "127.0.0.2"},
		"by name":             {"localhost", "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			probe, err := net.Listen("tcp", test.advertise+":0")
			if err != nil {
				t.Skip("this machine has no such addresses: ", err)
			}
			probe.Close()
			ours := newAuthority(t)
			var ports, addresses []string
			for _, address := range freeAddresses(t, 3) {
				_, port, _ := net.SplitHostPort(address)
				ports, addresses = append(ports, port), append(addresses, test.advertise+":"+port)
			}
			hosts := make([]*process, 3)
			for i := range hosts {
				hosts[i] = &process{t: t, spec: strings.Join(append([]string{strconv.Itoa(i + 1)}, addresses...), ","), env: []string{
					listenEnv + "=" + test.listen + ":" + ports[i], tlsEnv + "=" + filepath.Dir(ours.issue(host(i+1)).CertFile),
				}}
				hosts[i].start()
				defer hosts[i].kill()
			}
			for i, h := range hosts {
				if got := h.ask("add 1"); got != strconv.Itoa(i+1)+" <nil>" {
					t.Fatalf("adding ends with %q", got)
				}
			}
		})
	}
}

// A host comes back on another address. It finds the others, which have the old one, and
// speaks; they find it when SetPeers says so, or by themselves, because its certificate
// says who it is. The members are what they were.
func TestAHostComesBackOnAnotherAddress(t *testing.T) {
	t.Run("SetPeers", func(t *testing.T) { comesBack(t, true) })
	t.Run("by itself", func(t *testing.T) { comesBack(t, false) })
}

func comesBack(t *testing.T, told bool) {
	ours := newAuthority(t)
	addresses := freeAddresses(t, 4)
	moved := strings.Join([]string{addresses[0], addresses[1], addresses[3]}, ",")
	hosts := make([]*process, 3)
	for i := range hosts {
		hosts[i] = &process{t: t, spec: strconv.Itoa(i+1) + "," + strings.Join(addresses[:3], ","), env: []string{
			diskEnv + "=" + t.TempDir(), tlsEnv + "=" + filepath.Dir(ours.issue(host(i+1)).CertFile),
		}}
		hosts[i].start()
		defer func() { hosts[i].kill() }()
	}
	add := func(h *process, want int) {
		t.Helper()
		if got := h.ask("add 1"); got != strconv.Itoa(want)+" <nil>" {
			t.Fatalf("adding ends with %q, not %d", got, want)
		}
	}
	add(hosts[2], 1)
	hosts[2].kill()
	add(hosts[0], 2)
	hosts[2].spec = "3," + moved
	hosts[2].start()
	for _, h := range hosts[:2] {
		if !told {
			break
		}
		if got := h.ask("peers " + moved); got != "<nil>" {
			t.Fatalf("SetPeers ends with %q", got)
		}
	}
	add(hosts[2], 3)
	hosts[1].kill()
	if got := hosts[2].ask("read"); got != "3 <nil>" { // if that has led, somebody else does then
		t.Fatalf("it reads %q", got)
	}
	add(hosts[2], 4) // with it alone: it votes, and takes entries, at the new address
	add(hosts[0], 5)
	if got := hosts[0].ask("voters"); got != "[1 2 3] <nil>" {
		t.Errorf("the voters are %s", got)
	}
}

// Where a host is it may say itself, if nobody else can say so in its name.
func TestOnlyWhoIsBoundToANameSaysWhereItIs(t *testing.T) {
	ours := newAuthority(t)
	for _, hosts := range []map[raftcore.NodeID]string{nil, threeNames} {
		w := startWire(t, wireConfig{TLS: ours.issue(host(1)), Hosts: hosts})
		o := listenAs(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(ours.config(host(3)))))
		w.tell("link %s", o.address)
		w.await("link to " + o.address + ": 1")
		s := newStranger(t, w, secured(ours.config(host(2))))
		stream := s.stream()
		for address, good := range map[string]bool{"two.test:7001": true, "[::1]:7001": true, "0.0.0.0:7001": false, "two.test": false, "": false, o.address: false} {
			p := encoded(&actors.Packet{From: 2, Requests: everything().Requests})
			p.Sequence, p.Address = 1, address
			if err := stream.Send(batch(s.of(p))); err != nil {
				t.Fatal(err)
			}
			want := ""
			if good && hosts != nil {
				want = address
			}
			if line := w.await("packet from 2"); !strings.HasSuffix(line, fmt.Sprintf("at %q", want)) {
				t.Errorf("at %q, names bound %v: %s", address, hosts != nil, line)
			}
		}
	}
}

// A host speaks from an address that is not known here yet, and fills its window. When the
// address is known it is given the credit that it waits for.
func TestWhoSpokeBeforeHisAddressWasKnownGetsHisCredit(t *testing.T) {
	v := newVictim(t)
	o := listenAs(t, "127.0.0.1:0")
	stream := newStranger(t, v).stream()
	say := func(p *raftpb.Packet) {
		t.Helper()
		p.Address, p.Session = o.address, 99
		if err := stream.Send(batch((&stranger{t: t, v: v}).of(p))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(3) {
		p := encoded(&actors.Packet{From: 2, Requests: everything().Requests})
		p.Sequence = i + 1
		say(p)
		<-v.delivered
	}
	l := v.Link(o.address, func(actors.LinkEvent) {}).(*link)
	defer l.Close()
	say(&raftpb.Packet{From: 2})
	for {
		select {
		case p := <-o.packets:
			if p.TakenSession == 99 && p.Taken == 3 {
				l.missed(actors.LaneControl, 98, 7) // a connection of before is slow to break
				l.mu.Lock()
				theirs, taken := l.lanes[0].theirs, l.lanes[0].taken
				l.mu.Unlock()
				if theirs != 99 || taken != 3 {
					t.Errorf("of session %d, %d are said to be taken", theirs, taken)
				}
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatal("it is not told")
		}
	}
}

// A host is known by a name, and comes to have another address: the name is resolved
// again. Its certificate is for the name.
func TestANameIsResolvedAgain(t *testing.T) {
	ours := newAuthority(t)
	named := grpc.Creds(credentials.NewTLS(ours.config(with(host(2), func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"two.test"} }))))
	var now atomic.Pointer[net.IP]
	for i, ip := range []net.IP{net.IPv4(127, 0, 0, 2).To4(), net.IPv4(127, 0, 0, 3).To4()} {
		l, err := net.Listen("tcp", ip.String()+":0")
		if err != nil {
			t.Skip("this machine has no such address: ", err)
		}
		l.Close()
		if i == 0 {
			now.Store(&ip)
		}
	}
	w := startWire(t, wireConfig{TLS: ours.issue(host(1)), DNS: nameServer(t, &now)})
	first := listenAs(t, "127.0.0.2:0", named)
	_, port, _ := net.SplitHostPort(first.address)
	w.tell("link two.test:%s", port)
	w.await("link to two.test:" + port + ": 1")
	moved := net.IPv4(127, 0, 0, 3).To4()
	second := listenAs(t, "127.0.0.3:"+port, named)
	now.Store(&moved)
	first.server.Stop()
	w.await("link to two.test:" + port + ": 2")
	w.await("link to two.test:" + port + ": 1")
	<-second.peers
	w.tell("send two.test:%s", port)
	w.await("sent true")
	for p := range second.packets {
		if p.Sequence > 0 {
			return
		}
	}
}

// nameServer is a DNS server that gives every name the same IPv4 address.
func nameServer(t *testing.T, ip *atomic.Pointer[net.IP]) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for b := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := dnsAnswer(b[:n], *ip.Load()); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// dnsAnswer answers a question with one name in it.
func dnsAnswer(question []byte, ip net.IP) []byte {
	if len(question) < 17 {
		return nil
	}
	end := 12
	for end < len(question) && question[end] != 0 {
		end += 1 + int(question[end])
	}
	if end += 5; end > len(question) {
		return nil
	}
	kind := binary.BigEndian.Uint16(question[end-4:])
	out := append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
	if kind == 1 { // an A record, that may not be kept
		out[7] = 1
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, ip...)
	}
	return out
}
