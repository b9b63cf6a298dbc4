package actors_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// setPeers tells hosts that are up who the others are.
func (w *world) setPeers(hosts ...*hostUp) {
	w.t.Helper()
	for _, h := range hosts {
		if err := h.host.SetPeers(w.ctx, w.peers); err != nil {
			w.t.Fatalf("host %d: %v", h.id, err)
		}
	}
}

func TestAHostMovesToAnotherAddressWhileTheOthersRun(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		moving, other := w.hosts[leader.id%3], w.hosts[(leader.id+1)%3]
		moving.propose("a")
		moving.stop()
		w.peers[moving.id] = "elsewhere"
		moving.addr = "elsewhere"
		moving.start()
		w.setPeers(leader, other)
		other.stop() // now nothing is committed without the one that has moved
		for _, h := range []*hostUp{leader, moving} {
			h.propose("b")
			if got := h.read(""); got != "b" {
				t.Errorf("host %d reads %q", h.id, got)
			}
		}
	})
}

// A host that has moved proves where it is now: then it is found without SetPeers. Where
// nobody can prove that, it is not; nor is a host that is there lost to another that claims
// its name.
func TestAHostThatProvesWhereItIsNeedsNoSetPeers(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		var says sync.Map // the address that a host proves to have, by its ID
		for _, h := range w.hosts {
			h.stop()
			cfg := h.config()
			cfg.Transport = located{cfg.Transport, &says}
			h.startWith(cfg)
		}
		leader := w.leader()
		moving, other := w.hosts[leader.id%3], w.hosts[(leader.id+1)%3]
		moving.propose("a")
		// It is there, and somebody says that it is elsewhere; or at another one's address.
		for _, address := range []string{"nowhere", other.addr} {
			says.Store(moving.id, address)
			moving.propose("still here")
			if got := leader.host.PeerAddress(moving.id); got != moving.addr {
				t.Errorf("it is there, and looked for at %q", got)
			}
		}
		says.Delete(moving.id)
		moving.stop()
		old := moving.addr
		moving.addr = "elsewhere"
		moving.start()
		leader.propose("b")
		time.Sleep(time.Second) // fake
		if got := leader.host.PeerAddress(moving.id); got != old {
			t.Errorf("nothing is proved, and it is looked for at %q", got)
		}
		says.Store(moving.id, other.addr)
		time.Sleep(time.Second) // fake
		if got := leader.host.PeerAddress(moving.id); got != old {
			t.Errorf("it is looked for at %q, where another is", got)
		}
		says.Store(moving.id, moving.addr)
		moving.propose("c")
		other.stop() // now nothing is committed without the one that has moved
		for _, h := range []*hostUp{leader, moving} {
			h.propose("d")
			if got := h.read(""); got != "d" {
				t.Errorf("host %d reads %q", h.id, got)
			}
		}
	})
}

// located is a transport that knows where the sender is.
type located struct {
	actors.Transport
	says *sync.Map
}

func (l located) Start(system *actor.ActorSystem, self raftcore.NodeID, deliver func(*actors.Packet)) error {
	return l.Transport.Start(system, self, func(p *actors.Packet) {
		if address, proved := l.says.Load(p.From); proved {
			p.Address = address.(string)
		}
		deliver(p)
	})
}

// Whoever waits for an answer from a host that is taken out is not left waiting.
func TestC5_CallsToAPeerThatIsTakenOutEnd(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		leader := w.leader()
		h := w.hosts[leader.id%3]
		h.propose("a")
		w.net.Cut(leader.addr, h.addr) // the leader hears of it, and its answers are lost
		outcomes := make(chan error, 20)
		for i := range cap(outcomes) {
			go func() {
				var err error
				if i%2 == 0 {
					_, err = h.group.Propose(w.ctx, []byte("x"))
				} else {
					_, err = h.group.Read(w.ctx, nil)
				}
				outcomes <- err
			}()
		}
		time.Sleep(10 * time.Millisecond) // fake
		without := maps.Clone(w.peers)
		delete(without, leader.id)
		if err := h.host.SetPeers(w.ctx, without); err != nil {
			t.Fatal(err)
		}
		unknown := 0
		for range cap(outcomes) / 2 {
			if err := <-outcomes; !errors.Is(err, actors.ErrUnknown) {
				t.Errorf("a proposal that was sent to it ends with %v", err)
			} else {
				unknown++
			}
		}
		if unknown == 0 {
			t.Error("no proposal was under way")
		}
		w.net.Heal()
		w.setPeers(h)
		for range cap(outcomes) / 2 { // the reads were asked anew
			if err := <-outcomes; err != nil {
				t.Errorf("a read ends with %v", err)
			}
		}
		h.propose("b")
	})
}

func TestBadPeersAreRefusedAndChangeNothing(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		h := w.hosts[0]
		for want, peers := range map[string]map[raftcore.NodeID]string{
			"peer 3 has no address": {2: "host-2", 3: ""},
			"the ID zero":           {0: "host-0"},
			"peers 2 and 3 have the same address, host-23": {2: "host-23", 3: "host-23"},
		} {
			if err := h.host.SetPeers(w.ctx, peers); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v are refused with %v, which does not mention %q", peers, err, want)
			}
		}
		h.propose("a")
		host := h.host
		h.stop()
		if err := host.SetPeers(w.ctx, w.peers); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("a host that has stopped says %v", err)
		}
	})
}

// Peers come, go and move while everybody calls: no call is lost, and none is
// answered wrongly.
func TestPeersChangeUnderCalls(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.leader().propose("0")
		end := time.Now().Add(5 * time.Second)
		var clients sync.WaitGroup
		var mu sync.Mutex
		acknowledged := 0
		for c := range 6 {
			clients.Go(func() {
				for i := 0; time.Now().Before(end); i++ {
					ctx, cancel := context.WithTimeout(w.ctx, time.Second)
					_, err := w.hosts[c%3].group.Propose(ctx, fmt.Appendf(nil, "%d-%d", c, i))
					cancel()
					switch {
					case err == nil:
						mu.Lock()
						acknowledged++
						mu.Unlock()
					case !errors.Is(err, actors.ErrRejected) && !errors.Is(err, actors.ErrUnknown):
						t.Errorf("a proposal ends with %v", err)
					}
					time.Sleep(time.Millisecond) // fake
				}
			})
		}
		for i := 0; time.Now().Before(end); i++ {
			h := w.hosts[i%3]
			without := maps.Clone(w.peers)
			delete(without, raftcore.NodeID((i/3)%3+1))
			if err := h.host.SetPeers(w.ctx, without); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond) // fake
			w.setPeers(h)
			time.Sleep(20 * time.Millisecond) // fake
		}
		clients.Wait()
		w.hosts[0].propose("the end")
		if acknowledged < 1000 {
			t.Errorf("only %d proposals were acknowledged", acknowledged)
		}
		var n int
		if _, err := fmt.Sscan(w.hosts[1].read("len"), &n); err != nil || n < acknowledged+2 {
			t.Errorf("%d commands were applied, %d acknowledged", n, acknowledged+2)
		}
	})
}
