package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// network is three machines and a wire between them: each machine is a network namespace
// with a TCP stack of its own, whose one device (TUN) leads here, and here is the wire. It
// passes each packet on, or does what the fault of the moment wants. The machine on which
// the clients are is this one, with a device of its own.
//
// The faults are made here, and not by tc netem and nft, because then one needs nothing of
// the kernel but TUN and namespaces (netem is a module that many kernels come without), and
// because the wire can do what those cannot: forget connections, as a firewall does that was
// replaced.
type network struct {
	t      *testing.T
	prefix string // 10.x.y.
	rng    *rand.Rand

	mu       sync.RWMutex
	machines map[netip.Addr]*machine // by address
	raft     [4]string               // by number, the address for the other members
	made     int                     // namespaces

	paths     [4][4]atomic.Pointer[path] // from, to; 0 is the clients' machine
	flows     sync.Map                   // connections between members: flow to true, if it is forgotten
	forgotten atomic.Bool                // there are such
	forgot    atomic.Int64               // packets of those that were dropped
	weights   sync.Map                   // flow to *atomic.Int64, the bytes that it has had

	readers sync.WaitGroup
}

// machine is a namespace, or this one.
type machine struct {
	number    int
	namespace string
	device    string
	tun       *os.File
}

// path is what the wire does in one direction. The zero path is a good one.
type path struct {
	cut           bool
	closed        bool // to new connections
	loss          float64
	duplicate     float64
	delay, jitter time.Duration
	reorder       float64 // this share of packets is overtaken by others

	seen, lost, doubled, late atomic.Int64
}

// flow is a connection, in one direction.
type flow struct{ from, to netip.AddrPort }

const (
	raftPort  = 7001
	redisPort = 6380
	clientsAt = 250 // the last byte of the clients' address
)

// newNetwork returns a network, or skips the test where there can be none.
func newNetwork(t *testing.T, seed uint64) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not checked: faults of a real network. Its namespaces are for root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("not checked: faults of a real network. That needs ip: apt-get install iproute2")
	}
	n := &network{t: t, rng: rand.New(rand.NewPCG(seed, 1)), machines: map[netip.Addr]*machine{}}
	n.prefix = freePrefix(t, n.rng)
	for from := range n.paths {
		for to := range n.paths {
			n.paths[from][to].Store(&path{})
		}
	}
	t.Cleanup(n.close)
	for number := range 4 {
		n.raft[number] = fmt.Sprint(n.prefix, 100+number)
		n.add(number)
	}
	return n
}

// freePrefix returns the first three bytes of addresses that this machine does not use.
func freePrefix(t *testing.T, rng *rand.Rand) string {
	t.Helper()
	used, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for {
		prefix := fmt.Sprintf("10.%d.%d.", rng.IntN(256), rng.IntN(256))
		free := true
		for _, u := range used {
			ours := net.ParseIP(prefix + "1")
			free = free && !u.(*net.IPNet).Contains(ours)
		}
		if free {
			return prefix
		}
	}
}

// add gives a machine its namespace and its device. One that is there already is replaced,
// as when an address comes up on another machine: what the old one knew of connections is
// gone.
func (n *network) add(number int) {
	n.t.Helper()
	m := &machine{number: number}
	var err error
	if m.tun, m.device, err = openTUN(); err != nil {
		n.t.Skipf("this system does not give a TUN device: %v", err)
	}
	addresses := []string{n.prefix + fmt.Sprint(clientsAt)}
	in := []string{}
	if number > 0 {
		n.made++
		m.namespace = fmt.Sprintf("castaway-%d-%d", os.Getpid(), n.made)
		if err := ip("netns", "add", m.namespace); err != nil {
			m.tun.Close()
			n.t.Skipf("this system does not give a network namespace: %v", err)
		}
		in = []string{"-n", m.namespace}
		addresses = []string{n.clientsFor(number), n.raft[number]}
		n.must(ip("link", "set", m.device, "netns", m.namespace))
		n.must(ip(append(in, "link", "set", "lo", "up")...))
	}
	n.mu.Lock()
	old := n.machines[netip.MustParseAddr(addresses[0])]
	for _, a := range addresses {
		n.machines[netip.MustParseAddr(a)] = m
	}
	n.mu.Unlock()
	if old != nil {
		n.remove(old)
	}
	for _, a := range addresses {
		n.must(ip(append(in, "addr", "add", a+"/24", "dev", m.device)...))
	}
	n.must(ip(append(in, "link", "set", m.device, "up")...))
	seed := n.rng.Uint64()
	n.readers.Go(func() { n.read(m, rand.New(rand.NewPCG(seed, uint64(number)))) })
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) clientsFor(number int) string { return fmt.Sprint(n.prefix, number) }

// command is what a process on this machine is started with.
func (n *network) command(number int) []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return []string{"ip", "netns", "exec", n.machines[netip.MustParseAddr(n.clientsFor(number))].namespace}
}

// swap has two machines take each other's address for the other members.
func (n *network) swap(a, b int) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	one, two := netip.MustParseAddr(n.raft[a]), netip.MustParseAddr(n.raft[b])
	first, second := n.machines[one], n.machines[two]
	move := func(m *machine, from, to netip.Addr) {
		n.must(ip("-n", m.namespace, "addr", "del", from.String()+"/24", "dev", m.device))
		n.must(ip("-n", m.namespace, "addr", "add", to.String()+"/24", "dev", m.device))
		n.machines[to] = m
	}
	move(first, one, two)
	move(second, two, one)
	n.raft[a], n.raft[b] = n.raft[b], n.raft[a]
}

func (n *network) remove(m *machine) {
	m.tun.Close()
	if m.namespace != "" {
		if err := ip("netns", "del", m.namespace); err != nil {
			n.t.Error(err)
		}
	}
}

func (n *network) close() {
	n.mu.Lock()
	all := map[*machine]bool{}
	for _, m := range n.machines {
		all[m] = true
	}
	n.mu.Unlock()
	for m := range all {
		n.remove(m)
	}
	n.readers.Wait()
}

// set has packets of one direction go this way, until heal.
func (n *network) set(from, to int, p *path) *path {
	n.paths[from][to].Store(p)
	return p
}

// heal makes all paths good ones.
func (n *network) heal() {
	for from := range n.paths {
		for to := range n.paths {
			n.paths[from][to].Store(&path{})
		}
	}
}

// forget has the wire drop, without a word and for ever, what belongs to the connections
// that a member has now with others. New ones are let through.
func (n *network) forget(number int) {
	a := netip.MustParseAddr(n.clientsFor(number))
	b := netip.MustParseAddr(n.raft[number])
	touches := func(p netip.AddrPort) bool { return p.Addr() == a || p.Addr() == b }
	n.flows.Range(func(k, _ any) bool {
		if f := k.(flow); touches(f.from) || touches(f.to) {
			n.flows.Store(f, true)
		}
		return true
	})
	n.forgotten.Store(true)
}

// read takes what a machine sends, until it is removed.
func (n *network) read(m *machine, rng *rand.Rand) {
	for buf := make([]byte, 64<<10); ; {
		size, err := m.tun.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || size < 20 || buf[0]>>4 != 4 {
			continue // a device that is not up yet; and IPv6 says hello
		}
		n.pass(m, buf[:size], rng)
	}
}

// pass passes one packet on.
func (n *network) pass(m *machine, packet []byte, rng *rand.Rand) {
	n.mu.RLock()
	to := n.machines[netip.AddrFrom4([4]byte(packet[16:20]))]
	n.mu.RUnlock()
	if to == nil || n.isForgotten(m, to, packet) {
		return
	}
	p := n.paths[m.number][to.number].Load()
	p.seen.Add(1)
	if _, flags, is := flowOf(packet); p.cut || p.closed && is && flags&(syn|ack) == syn || p.loss > 0 && rng.Float64() < p.loss {
		p.lost.Add(1)
		return
	}
	copies := 1
	if p.duplicate > 0 && rng.Float64() < p.duplicate {
		p.doubled.Add(1)
		copies = 2
	}
	for range copies {
		wait := p.delay
		if p.jitter > 0 {
			wait += time.Duration(rng.Int64N(int64(2*p.jitter))) - p.jitter
		}
		if p.reorder > 0 && rng.Float64() < p.reorder {
			wait += time.Duration(rng.Int64N(int64(10 * time.Millisecond)))
		}
		if wait <= 0 {
			_, _ = to.tun.Write(packet) // what a machine cannot take is lost
			continue
		}
		p.late.Add(1)
		later := append([]byte(nil), packet...)
		time.AfterFunc(wait, func() { _, _ = to.tun.Write(later) })
	}
}

const syn, ack = 2, 16 // flags of TCP

// flowOf returns which connection a packet belongs to, and its flags.
func flowOf(packet []byte) (f flow, flags byte, is bool) {
	header := int(packet[0]&15) * 4
	if packet[9] != syscall.IPPROTO_TCP || len(packet) < header+20 {
		return flow{}, 0, false
	}
	return flow{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:16])), binary.BigEndian.Uint16(packet[header:])),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:20])), binary.BigEndian.Uint16(packet[header+2:])),
	}, packet[header+13], true
}

func (f flow) back() flow { return flow{f.to, f.from} }

// isForgotten reports whether a packet belongs to a connection that the wire has forgotten.
func (n *network) isForgotten(from, to *machine, packet []byte) bool {
	there, flags, is := flowOf(packet)
	if !is || from.number == 0 || to.number == 0 {
		return false
	}
	if flags&(syn|ack) == syn {
		n.flows.Store(there, false)
		n.flows.Store(there.back(), false)
		n.weights.Store(there, new(atomic.Int64))
		return false
	}
	if w, is := n.weights.Load(there); is {
		w.(*atomic.Int64).Add(int64(len(packet)))
	}
	if !n.forgotten.Load() {
		return false
	}
	gone, _ := n.flows.Load(there)
	if gone == true {
		n.forgot.Add(1)
	}
	return gone == true
}

// weigh returns how many bytes the connections had that one member has opened to another.
func (n *network) weigh(from, to int) map[flow]int64 {
	bytes := map[flow]int64{}
	n.mu.RLock()
	defer n.mu.RUnlock()
	n.weights.Range(func(k, w any) bool {
		if f := k.(flow); n.machines[f.from.Addr()].number == from && n.machines[f.to.Addr()].number == to {
			bytes[f] = w.(*atomic.Int64).Load()
		}
		return true
	})
	return bytes
}

// drop has the wire forget one connection.
func (n *network) drop(f flow) {
	n.flows.Store(f, true)
	n.flows.Store(f.back(), true)
	n.forgotten.Store(true)
}

// openTUN returns a new device, and its name.
func openTUN() (*os.File, string, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", os.NewSyscallError("open /dev/net/tun", err)
	}
	var request struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "castaway%d")
	request.flags = syscall.IFF_TUN | syscall.IFF_NO_PI
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request))); e != 0 {
		syscall.Close(fd)
		return nil, "", os.NewSyscallError("ioctl TUNSETIFF", e)
	}
	name := strings.TrimRight(string(request.name[:]), "\x00")
	return os.NewFile(uintptr(fd), name), name, nil
}

// ip runs ip, of iproute2.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
