package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// The hosts of these tests are processes; the client is in this one.

func dial(t *testing.T, seeds ...string) *actors.Client {
	t.Helper()
	hosts, err := Dial(ClientConfig{Seeds: seeds, SilenceTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	return hosts.Group("sum")
}

func startThree(t *testing.T) []*process {
	t.Helper()
	hosts := threeHosts(t)
	for _, h := range hosts {
		h.env = []string{diskEnv + "=" + t.TempDir()}
		h.start()
		t.Cleanup(func() {
			_ = h.cmd.Process.Signal(syscall.SIGCONT)
			h.kill()
		})
	}
	return hosts
}

// A client knows one host of three, and asks for everything that a Group is asked for.
func TestAClientElsewhereDoesWhatAGroupDoes(t *testing.T) {
	hosts := startThree(t)
	sum := dial(t, hosts[1].address())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	answer, err := sum.Propose(ctx, []byte("5"))
	if err != nil || string(answer) != "5" {
		t.Fatalf("Propose: %q, %v", answer, err)
	}
	if answer, err := sum.Read(ctx, nil); err != nil || string(answer) != "5" {
		t.Errorf("Read: %q, %v", answer, err)
	}
	written, err := sum.Do(ctx, &actors.Request{Operation: actors.Propose, Data: []byte("2")})
	if err != nil || written.Index == 0 {
		t.Fatalf("Do: %+v, %v", written, err)
	}
	for _, h := range hosts { // read-your-writes, on whichever member
		r, err := dial(t, h.address()).Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local, After: written.Index})
		if err != nil || string(r.Data) != "7" || r.Index < written.Index {
			t.Errorf("Local, after %d: %+v, %v", written.Index, r, err)
		}
	}
	r, err := sum.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: 10 * time.Second})
	if err != nil || string(r.Data) != "7" || r.Age > 10*time.Second {
		t.Errorf("BoundedStale: %+v, %v", r, err)
	}
	if _, err := sum.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Lease}); !errors.Is(err, actors.ErrBadRequest) || !errors.Is(err, actors.ErrRejected) {
		t.Errorf("a Lease that the hosts do not give ends with %v", err)
	}
	late, end := context.WithTimeout(ctx, 100*time.Millisecond)
	defer end()
	if _, err := sum.Do(late, &actors.Request{Operation: actors.Read, Consistency: actors.Local, After: 1 << 40}); !errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read of what is not there ends with %v", err)
	}
	if _, err := sum.Propose(ctx, make([]byte, 5<<20)); !errors.Is(err, actors.ErrTooLarge) {
		t.Errorf("a command of 5 MiB ends with %v", err)
	}
	if _, err := sum.Propose(ctx, make([]byte, 50<<20)); !errors.Is(err, actors.ErrTooLarge) {
		t.Errorf("a command of 50 MiB ends with %v", err)
	}

	s, err := sum.Status(ctx)
	if err != nil || s.Leader == raftcore.Nobody || len(s.Conf.Voters) != 3 || s.Group != "sum" || s.State != actors.Running {
		t.Fatalf("Status: %v, %v", s, err)
	}
	to := s.Leader%3 + 1
	if err := sum.Transfer(ctx, to); err != nil {
		t.Errorf("Transfer: %v", err)
	}
	for s := range sum.Watch(ctx) {
		if s.Leader == to {
			break
		}
	}
	if err := sum.Transfer(ctx, raftcore.Nobody); err != nil {
		t.Errorf("Transfer to anybody: %v", err)
	}
	if err := sum.Transfer(ctx, 9); !errors.Is(err, actors.ErrNotVoter) {
		t.Errorf("Transfer to a stranger: %v", err)
	}
	if err := sum.ChangeMembers(ctx, actors.Members{Voters: []raftcore.NodeID{1, 2}, Learners: []raftcore.NodeID{3}, WaitCaughtUp: true}); err != nil {
		t.Errorf("ChangeMembers: %v", err)
	}
	strangers := actors.Members{Learners: []raftcore.NodeID{3, 9}}
	if _, err := sum.Do(ctx, &actors.Request{Operation: actors.CheckLearners, Members: strangers}); !errors.Is(err, actors.ErrConfigChanged) || !errors.Is(err, actors.ErrRejected) {
		t.Errorf("CheckLearners of strangers: %v", err)
	}
	if err := sum.ChangeMembers(ctx, actors.Members{Voters: []raftcore.NodeID{1, 9}}); !errors.Is(err, actors.ErrBadMembers) {
		t.Errorf("ChangeMembers to strangers: %v", err)
	}
	if err := sum.SkipEntry(ctx, 1); !errors.Is(err, actors.ErrNotQuarantined) {
		t.Errorf("SkipEntry: %v", err)
	}
	none := actors.NewClient("no such group", asker(t, hosts[0].address()))
	late, end = context.WithTimeout(ctx, 300*time.Millisecond)
	defer end()
	if _, err := none.Propose(late, nil); !errors.Is(err, actors.ErrNoGroup) || errors.Is(err, actors.ErrUnknown) {
		t.Errorf("a group that is not there: %v", err)
	}

	session, err := sum.OpenSession(ctx, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := session.Propose(ctx, []byte("1")); err != nil || string(answer) != "8" {
		t.Errorf("Session.Propose: %q, %v", answer, err)
	}
	if err := session.Close(ctx); err != nil {
		t.Errorf("Session.Close: %v", err)
	}
	in := actors.InSession{ID: session.ID(), Sequence: 2, Done: 1}
	if _, err := sum.Do(ctx, &actors.Request{Operation: actors.Propose, Data: []byte("1"), Session: in}); !errors.Is(err, actors.ErrSessionExpired) || !errors.Is(err, actors.ErrRejected) {
		t.Errorf("a session that was closed: %v", err)
	}
}

// One seed is enough, also one that is no member, and knows only where others are.
func TestAClientElsewhereStartsFromAHostThatIsNoMember(t *testing.T) {
	hosts := startThree(t)
	fields := append(strings.Split(hosts[0].spec, ",")[1:], freeAddresses(t, 1)[0])
	stranger := &process{t: t, spec: "4," + strings.Join(fields, ","), env: []string{joinEnv + "=yes"}}
	stranger.start()
	t.Cleanup(stranger.kill)
	sum := dial(t, "127.0.0.1:1", stranger.address()) // nobody listens at the first
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if answer, err := sum.Propose(ctx, []byte("3")); err != nil || string(answer) != "3" {
		t.Errorf("Propose: %q, %v", answer, err)
	}
	stranger.kill() // is not needed any more
	if answer, err := sum.Read(ctx, nil); err != nil || string(answer) != "3" {
		t.Errorf("Read: %q, %v", answer, err)
	}
}

func asker(t *testing.T, seeds ...string) *Hosts {
	t.Helper()
	hosts, err := Dial(ClientConfig{Seeds: seeds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	return hosts
}

// C1, C4: clients count in sessions, while the leader is killed, which is the host that
// they talk to, then another is stopped, and leaders are changed. Each increment is there
// once.
func TestC1_SessionsOfAClientElsewhereCountOnce(t *testing.T) {
	hosts := startThree(t)
	sum := dial(t, hosts[0].address())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := sum.Propose(ctx, []byte("0")); err != nil {
		t.Fatal(err)
	}
	var counted atomic.Int64
	stop := make(chan struct{})
	step := make(chan struct{}, 1)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			session, err := sum.OpenSession(ctx, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := session.Propose(ctx, []byte("1")); err != nil {
					t.Error(err)
					return
				}
				counted.Add(1)
				signal(step)
			}
		})
	}
	some := func() { // increments go on
		t.Helper()
		for until := counted.Load() + 200; counted.Load() < until; {
			select {
			case <-step:
			case <-ctx.Done():
				t.Fatalf("after %d increments nothing goes on", counted.Load())
			}
		}
	}
	leader := func() *process {
		t.Helper()
		for s := range sum.Watch(ctx) {
			if s.Leader != raftcore.Nobody {
				return hosts[s.Leader-1]
			}
		}
		t.Fatal("nobody leads")
		return nil
	}
	some()
	old := leader()
	old.kill()
	some()
	old.start()
	some()
	old = leader()
	old.signal(syscall.SIGSTOP)
	some()
	old.signal(syscall.SIGCONT)
	if err := sum.Transfer(ctx, raftcore.Nobody); err != nil {
		t.Errorf("Transfer: %v", err)
	}
	some()
	close(stop)
	clients.Wait()
	answer, err := sum.Read(ctx, nil)
	if n, _ := strconv.ParseInt(string(answer), 10, 64); err != nil || n != counted.Load() {
		t.Errorf("the sum is %s (%v), and %d increments were acknowledged", answer, err, counted.Load())
	}
}

// C5: nobody is there any more. Calls end with their context, and say what is true: what
// was sent may have happened, what comes later has not.
func TestC5_WithoutHostsAClientElsewhereEndsWithItsContext(t *testing.T) {
	hosts := startThree(t)
	sum := dial(t, hosts[0].address(), hosts[1].address(), hosts[2].address())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := sum.Propose(ctx, []byte("1")); err != nil {
		t.Fatal(err)
	}
	s, err := sum.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		h.signal(syscall.SIGSTOP) // connected, and silent
	}
	short, end := context.WithTimeout(ctx, 500*time.Millisecond)
	defer end()
	if _, err := sum.Propose(short, []byte("1")); !errors.Is(err, actors.ErrUnknown) || errors.Is(err, actors.ErrRejected) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that was sent to host %d, which is stopped, ends with %v", s.Leader, err)
	}
	if _, err := sum.Propose(ctx, []byte("1")); !errors.Is(err, actors.ErrUnknown) || ctx.Err() != nil {
		t.Errorf("a command that was sent to a host that is silent from then on ends with %v", err)
	}
	for _, h := range hosts {
		h.kill()
	}
	for errors.Is(err, errBroken) || err == nil { // until the client knows that they are gone
		short, end = context.WithTimeout(ctx, time.Second)
		defer end()
		_, err = sum.Propose(short, []byte("1"))
	}
	if !errors.Is(err, actors.ErrRejected) || errors.Is(err, actors.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, actors.ErrUnreachable) {
		t.Errorf("a command that could not be sent ends with %v", err)
	}
	for _, h := range hosts {
		h.start()
	}
	answer, err := sum.Read(ctx, nil)
	var n int
	if _, _ = fmt.Sscan(string(answer), &n); err != nil || n < 1 || n > 4 {
		t.Errorf("when they are back the sum is %q, %v", answer, err)
	}
}
