package e2e

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	faults = flag.Int("faults", 7, "how many faults TestE14E15P6_FaultsOfTheNetwork has")
	seed   = flag.Uint64("seed", 0, "the seed of its faults; 0: any")
)

// TRAPS E14, E15, P6, C1: three members, each on a machine of its own, and a network that
// does what networks do, under load. After each fault the member is back, and clients are
// served; at the end nothing that was acknowledged is missing, and all reads and writes are
// linearizable.
func TestE14E15P6_FaultsOfTheNetwork(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	again := fmt.Sprintf("go -C tests/e2e test -run FaultsOfTheNetwork -v -faults %d -seed %d", *faults, *seed)
	fmt.Fprintln(t.Output(), "         ", again)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(again)
		}
	})
	s := newStorm(t, *seed)
	s.load = s.startLoad(*clients)
	for range *faults {
		s.strike(s.draw())
	}
	history := s.load.finish()
	s.report(history)
	s.settle()
	s.checkAnswers(history)
	s.checkKept(history)
	s.checkLinearizable(history)
	if t.Failed() {
		s.writeHistory(history)
	}
}

// TRAPS E14: nothing that the leader sends on the lane of its log arrives, and nothing else
// is wrong: its signs of life keep the others from electing somebody. It steps down, another
// one is elected, and clients are served.
func TestE14_ALeaderWhoseLogReachesNobodyIsReplaced(t *testing.T) {
	s := newStorm(t, rand.Uint64N(1<<32))
	s.load = s.startLoad(*clients)
	s.strike(fault{"the leader's log reaches nobody, and its signs of life do", (*storm).muteLog})
	history := s.load.finish()
	s.settle()
	s.checkAnswers(history)
	s.checkKept(history)
	s.checkLinearizable(history)
}

// muteLog cuts the connections on which the leader's log goes to the others. It cannot make
// new ones.
func (s *storm) muteLog() {
	// Each had its turn already, so the log is what has most bytes from now on.
	before, logs := map[flow]int64{}, map[int]flow{}
	for _, m := range s.members {
		for f, bytes := range s.net.weigh(s.leader.id, m.id) {
			before[f] = bytes
		}
	}
	heaviest := func(to int) (log flow, most, rest int64) {
		for f, bytes := range s.net.weigh(s.leader.id, to) {
			if more := bytes - before[f]; more > most {
				log, most, rest = f, more, max(rest, most)
			} else {
				rest = max(rest, more)
			}
		}
		return log, most, rest
	}
	s.eventually("the leader sends no entries", func() bool {
		for _, m := range s.members {
			log, most, rest := heaviest(m.id)
			if m != s.leader && (most < 256<<10 || most < 4*rest) {
				return false
			}
			logs[m.id] = log
		}
		return true
	})
	old, forgot, began := s.leader, s.net.forgot.Load(), time.Now()
	alive := map[int]int64{}
	for _, m := range s.members {
		if m != old {
			s.net.set(old.id, m.id, &path{closed: true})
			s.net.drop(logs[m.id])
			alive[m.id] = s.others(m.id, logs[m.id])
		}
	}
	// While next to nothing waits there, signs of life take that way, too, and are missed.
	bulk := connect(old.redis)
	defer bulk.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer cancel()
	for i := range 8 {
		writers.Go(func() {
			_ = bulk.Set(ctx, fmt.Sprint("bulk", i), make([]byte, 64<<10), 0).Err() // nobody needs it
		})
	}
	s.eventually("the leader leads on, and its log reaches nobody", func() bool {
		for _, m := range s.members {
			if f, err := m.status(); m != old && err == nil && f["role"] == "leader" {
				return true
			}
		}
		return false
	})
	s.say("    another one leads after %v", time.Since(began).Round(time.Millisecond))
	for to, before := range alive {
		if s.others(to, logs[to]) == before {
			s.t.Errorf("meanwhile member %d has heard nothing else of the leader", to)
		}
	}
	if s.net.forgot.Load() == forgot {
		s.t.Error("there was nothing to cut")
	}
	s.hold()
}

// others returns what the leader's other connections to a member have had.
func (s *storm) others(to int, log flow) (bytes int64) {
	for f, b := range s.net.weigh(s.leader.id, to) {
		if f != log {
			bytes += b
		}
	}
	return bytes
}

// storm does harm to the network, and to those that are on it.
type storm struct {
	*cluster
	net  *network
	load *load
	rng  *rand.Rand
	left []fault // of a round, in which each comes once

	leader, follower *member         // of the fault
	felt             []*atomic.Int64 // the packets that did, by path

	returns []back
}

// fault does harm, and mends what the network cannot.
type fault struct {
	name string
	do   func(*storm)
}

// back is how long it took until all was well after a fault.
type back struct {
	fault string
	took  time.Duration
}

func newStorm(t *testing.T, seed uint64) *storm {
	t.Helper()
	n := newNetwork(t, seed)
	var raft, clients []string
	for number := 1; number <= 3; number++ {
		raft = append(raft, net.JoinHostPort(n.raft[number], fmt.Sprint(raftPort)))
		clients = append(clients, net.JoinHostPort(n.clientsFor(number), fmt.Sprint(redisPort)))
	}
	s := &storm{cluster: prepareCluster(t, raft, clients), net: n, rng: rand.New(rand.NewPCG(seed, 0))}
	s.flags = []string{"-insecure", "-snapshot", "3000"} // clients have no password
	secure := s.rng.IntN(2) == 0
	if secure {
		cert, key := s.certificate()
		s.flags = append(s.flags, "-tls-cert", cert, "-tls-key", key, "-tls-ca", cert)
	}
	for _, m := range s.members {
		m.in = n.command(m.id)
	}
	s.start()
	s.say("three members, at %s1 to 3, TLS: %v", n.prefix, secure)
	return s
}

// certificate writes one for all members, which is its own CA, and the key for it.
func (s *storm) certificate() (cert, key string) {
	s.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	s.net.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	for _, address := range s.net.raft {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &private.PublicKey, private)
	s.net.must(err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	s.net.must(err)
	cert, key = filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")
	s.net.must(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	s.net.must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

// draw returns the next fault.
func (s *storm) draw() fault {
	if len(s.left) == 0 {
		s.left = slices.Clone(allFaults)
		s.rng.Shuffle(len(s.left), func(i, j int) { s.left[i], s.left[j] = s.left[j], s.left[i] })
	}
	f := s.left[0]
	s.left = s.left[1:]
	return f
}

var allFaults = []fault{
	{"the leader is cut off", func(s *storm) { s.cutOff(s.leader, true, true); s.hold() }},
	{"a follower is cut off", func(s *storm) { s.cutOff(s.follower, true, true); s.hold() }},
	{"the leader hears, and is not heard", func(s *storm) { s.cutOff(s.leader, true, false); s.hold() }},
	{"the leader is heard, and hears nothing", func(s *storm) { s.cutOff(s.leader, false, true); s.hold() }},
	{"a follower hears, and is not heard", func(s *storm) { s.cutOff(s.follower, true, false); s.hold() }},
	{"a follower is heard, and hears nothing", func(s *storm) { s.cutOff(s.follower, false, true); s.hold() }},
	{"the leader and a follower do not hear each other, the third hears both", (*storm).part},
	{"all packets take 50 ms, give or take 20", func(s *storm) {
		s.everywhere(func(p *path) *atomic.Int64 {
			p.delay, p.jitter = 50*time.Millisecond, 20*time.Millisecond
			return &p.late
		})
	}},
	{"5 % of the packets are lost", func(s *storm) {
		s.everywhere(func(p *path) *atomic.Int64 { p.loss = 0.05; return &p.lost })
	}},
	{"30 % of the packets are lost", func(s *storm) {
		s.everywhere(func(p *path) *atomic.Int64 { p.loss = 0.3; return &p.lost })
	}},
	{"20 % of the packets come twice", func(s *storm) {
		s.everywhere(func(p *path) *atomic.Int64 { p.duplicate = 0.2; return &p.doubled })
	}},
	{"25 % of the packets are overtaken", func(s *storm) {
		s.everywhere(func(p *path) *atomic.Int64 { p.reorder = 0.25; return &p.late })
	}},
	{"the leader is stopped", func(s *storm) { s.stop(s.leader) }},
	{"a follower is stopped", func(s *storm) { s.stop(s.follower) }},
	{"kill -9 the leader", func(s *storm) { s.leader.kill(); s.hold(); s.leader.start() }},
	{"kill -9 a follower", func(s *storm) { s.follower.kill(); s.hold(); s.follower.start() }},
	{"the network forgets the leader's connections", func(s *storm) { s.forget(s.leader) }},
	{"the network forgets a follower's connections", func(s *storm) { s.forget(s.follower) }},
	{"the leader is another process, and nobody was told", func(s *storm) { s.replace(s.leader, false) }},
	{"a follower is another process, and nobody was told", func(s *storm) { s.replace(s.follower, false) }},
	{"the leader is on another machine, with its address, and nobody was told", func(s *storm) { s.replace(s.leader, true) }},
	{"a follower is on another machine, with its address, and nobody was told", func(s *storm) { s.replace(s.follower, true) }},
	{"the followers have each other's address, and the leader was not told", (*storm).swap},
}

// strike does a fault to whoever leads, and waits until all is well.
func (s *storm) strike(f fault) {
	s.leader = s.cluster.leader()
	followers := slices.DeleteFunc(slices.Clone(s.members), func(m *member) bool { return m == s.leader })
	s.follower = followers[s.rng.IntN(2)]
	s.say("%s (members %d and %d)", f.name, s.leader.id, s.follower.id)
	s.felt = nil
	f.do(s)
	felt := int64(0)
	for _, f := range s.felt {
		felt += f.Load()
	}
	if len(s.felt) > 0 && felt == 0 {
		s.t.Errorf("no packet felt it")
	}
	s.net.heal()
	healed, done := time.Now(), s.load.done.Load()
	s.eventually("nobody is served", func() bool { return s.load.done.Load() > done })
	served := time.Since(healed)
	for _, m := range s.members {
		m.caughtUp()
	}
	b := back{f.name, time.Since(healed)}
	s.returns = append(s.returns, b)
	s.say("    healed: somebody is served after %v, and all members are there after %v", served.Round(time.Millisecond), b.took.Round(time.Millisecond))
	s.eventually("clients are not served as before", func() bool { return s.load.done.Load() >= done+20*int64(*clients) })
}

// hold lets a fault last for four election timeouts, and until clients were served in spite
// of it.
func (s *storm) hold() {
	s.t.Helper()
	done := s.load.done.Load()
	time.Sleep(4 * *election)
	s.eventually("nobody is served while that lasts", func() bool { return s.load.done.Load() >= done+2*int64(*clients) })
}

// hurt has a path do harm. What it does that with counts the packets that felt it.
func (s *storm) hurt(from, to int, harm func(*path) *atomic.Int64) {
	p := new(path)
	s.felt = append(s.felt, harm(p))
	s.net.set(from, to, p)
}

func cut(p *path) *atomic.Int64 { p.cut = true; return &p.lost }

// cutOff cuts a member off from the others: what they hear of it, what it hears of them, or
// both. Clients reach it all the time.
func (s *storm) cutOff(m *member, heard, hears bool) {
	for _, other := range s.members {
		if other != m && heard {
			s.hurt(m.id, other.id, cut)
		}
		if other != m && hears {
			s.hurt(other.id, m.id, cut)
		}
	}
}

// part cuts one connection of three.
func (s *storm) part() {
	s.hurt(s.leader.id, s.follower.id, cut)
	s.hurt(s.follower.id, s.leader.id, cut)
	s.hold()
}

// everywhere does harm to what all members say to each other.
func (s *storm) everywhere(harm func(*path) *atomic.Int64) {
	for _, from := range s.members {
		for _, to := range s.members {
			if from != to {
				s.hurt(from.id, to.id, harm)
			}
		}
	}
	s.hold()
}

// stop stops a process, and has it go on.
func (s *storm) stop(m *member) {
	m.signal(syscall.SIGSTOP)
	s.hold()
	m.signal(syscall.SIGCONT)
}

// forget has the network drop what belongs to the connections of a member, as if it had
// never seen them: a firewall was replaced. Both sides have to find out.
func (s *storm) forget(m *member) {
	before := s.net.forgot.Load()
	s.net.forget(m.id)
	s.hold()
	if s.net.forgot.Load() == before {
		s.t.Errorf("there was nothing to forget")
	}
}

// replace kills a member where nobody hears of it, and has another process take its place,
// perhaps on another machine. What the others send to the old one from then on is dropped
// without a word: their connections are half open.
func (s *storm) replace(m *member, machine bool) {
	before := s.net.forgot.Load()
	s.cutOff(m, true, true)
	s.net.forget(m.id)
	m.kill()
	if machine {
		s.net.add(m.id)
		m.in = s.net.command(m.id)
	}
	m.start()
	s.net.heal()
	s.felt = nil // that was the old connections'
	s.hold()
	if s.net.forgot.Load() == before {
		s.t.Error("nobody has sent anything on an old connection")
	}
}

// swap has the followers come back at each other's address for members. The leader, which
// was not told, says to each what is meant for the other. The two can do without it; and
// when it has been told, it is back.
func (s *storm) swap() {
	var followers []*member
	for _, m := range s.members {
		if m != s.leader {
			followers = append(followers, m)
			m.kill()
		}
	}
	one, two := followers[0], followers[1]
	s.net.swap(one.id, two.id)
	one.raft, two.raft = two.raft, one.raft
	one.start()
	two.start()
	s.hold()
	term := 0
	s.eventually("the two that know each other do not elect one of them", func() bool {
		for _, m := range followers {
			if f, err := m.status(); err == nil && f["role"] == "leader" {
				term = number(f, "term")
			}
		}
		return term > 0
	})
	s.leader.kill()
	s.leader.start()
}

func (s *storm) report(history []op) {
	outcomes := map[outcome]int{}
	for _, o := range history {
		outcomes[o.outcome]++
	}
	s.say("%d faults; %d requests: %d acknowledged, %d unknown, %d rejected", len(s.returns), len(history), outcomes[happened], outcomes[unknown], outcomes[rejected])
	slices.SortFunc(s.returns, func(a, b back) int { return cmp.Compare(b.took, a.took) })
	within := 0
	for _, b := range s.returns {
		if b.took <= 2*time.Second {
			within++
		}
	}
	s.say("all members were there within 2 s of healing after %d of %d faults; median %v, the slowest:", within, len(s.returns), s.returns[len(s.returns)/2].took.Round(time.Millisecond))
	for _, b := range s.returns[:min(5, len(s.returns))] {
		s.say("    %6d ms  %s", b.took.Milliseconds(), b.fault)
	}
}
