package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protoremote "github.com/asynkron/protoactor-go/remote"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// The hosts of this file are processes of their own: this test binary, started
// again. Each reads a command a line, and answers with a line.
const (
	childEnv = "CASTAWAY_TEST_HOST" // the ID and the addresses of all hosts
	diskEnv  = "CASTAWAY_TEST_DISK" // a directory; without it the disk is memory
	joinEnv  = "CASTAWAY_TEST_JOIN" // set: it is not among the founders
	dirEnv   = "CASTAWAY_TEST_DIR"  // where a host keeps its snapshots
	// the requests and the bytes of clients that a host takes
	boundsEnv = "CASTAWAY_TEST_BOUNDS"
	// the address of a process that has nothing but protoactor remote, as it is shipped
	plainEnv = "CASTAWAY_TEST_PLAIN"

	listenEnv = "CASTAWAY_TEST_LISTEN" // where it listens, if not where the others know it
	tlsEnv    = "CASTAWAY_TEST_TLS"    // the directory of its certificates
	denyEnv   = "CASTAWAY_TEST_DENY"   // the name of whom it lets propose nothing
	speaksEnv = "CASTAWAY_TEST_SPEAKS" // the newest version of packets that it speaks
)

func TestMain(m *testing.M) {
	for env, run := range map[string]func(spec string) error{wireEnv: wireChild, sinkEnv: sinkChild, plainEnv: plain, childEnv: child} {
		spec := os.Getenv(env)
		if spec == "" {
			continue
		}
		if err := run(spec); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Else Go takes up to a minute to make each input smaller that is new, and there are hundreds.
	_ = flag.Set("test.fuzzminimizetime", "100x")
	// protoactor remote sets gRPC's logger when it starts, whoever is using that. So the one
	// of this process starts before anybody does.
	if _, err := sharedVictim(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// adder adds numbers up.
type adder struct{ sum int }

func (a *adder) Apply(e actors.Entry) []byte {
	n, _ := strconv.Atoi(string(e.Data))
	a.sum += n
	return strconv.AppendInt(nil, int64(a.sum), 10)
}

func (a *adder) Query(context.Context, []byte) ([]byte, error) {
	return strconv.AppendInt(nil, int64(a.sum), 10), nil
}

func (a *adder) Snapshot() (io.WriterTo, error) {
	return bytes.NewBufferString(strconv.Itoa(a.sum)), nil
}

func (a *adder) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &a.sum)
	return err
}

// child is a host's process.
func child(spec string) error {
	fields := strings.Split(spec, ",")
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	// A process that was killed has nothing left, if it is not given a disk, and the
	// others' logs begin late: it is sent a snapshot.
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "host-")
	if err != nil {
		return err
	}
	wire := Config{Listen: fields[id], TLS: tlsFromEnv()}
	if listen := os.Getenv(listenEnv); listen != "" {
		wire.Listen, wire.Advertise = listen, fields[id]
	}
	store := snapshots.Beside(persistence.Memory(), dir, snapshots.Options{})
	if dir := os.Getenv(diskEnv); dir != "" {
		store = badgerstore.Dir(dir)
	}
	refusals := make(refusals, 1000)
	wire.MaxClients, wire.Logger = 8, slog.New(refusals)
	_, _ = fmt.Sscan(os.Getenv(boundsEnv), &wire.MaxClientRequests, &wire.MaxClientBytes)
	transport := New(wire)
	_, _ = fmt.Sscan(os.Getenv(speaksEnv), &transport.speaks.newest)
	authorize := func(a actors.Asked) error {
		if deny := os.Getenv(denyEnv); a.Operation == actors.Propose && slices.Contains(a.Names, deny) {
			return fmt.Errorf("%s proposes nothing in %s", deny, a.Group)
		}
		return nil
	}
	host, err := actors.Start(quietSystem(), actors.HostConfig{
		Authorize: authorize, ID: raftcore.NodeID(id), Store: store, Transport: transport, Peers: peersAt(fields[1:]),
		Raft: raftcore.Config{ElectionTimeout: 500 * time.Millisecond, SnapshotEntries: 5, KeepEntries: -1},
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	group, err := host.Open(ctx, actors.GroupConfig{Name: "sum", Join: os.Getenv(joinEnv) != "", Machine: func() actors.StateMachine { return &adder{} }})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		switch verb {
		case "add":
			answer, err := group.Propose(ctx, []byte(arg))
			fmt.Println(string(answer), err)
		case "read":
			answer, err := group.Read(ctx, nil)
			fmt.Println(string(answer), err)
		case "local":
			answer, err := group.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local})
			fmt.Println(string(answer.Data), err)
		case "refused":
			fmt.Println(transport.Refused().Messages)
		case "refusals":
			fmt.Printf("%+v\n", transport.Refused())
		case "term":
			s, err := group.Status(ctx)
			fmt.Println(uint64(s.Term), err)
		case "why":
			fmt.Println(<-refusals)
		case "memory": // in MiB
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			fmt.Println(m.HeapAlloc>>20, m.Sys>>20)
		case "lanes": // that are up, to each of the others
			fmt.Println(transport.lanesUp())
		case "first":
			s, err := group.Status(ctx)
			fmt.Println(uint64(s.First), err)
		case "leader":
			s, err := group.Status(ctx)
			fmt.Println(uint64(s.Leader), err)
		case "voters":
			s, err := group.Status(ctx)
			fmt.Println(s.Conf.Voters, err)
		case "peers":
			fmt.Println(host.SetPeers(ctx, peersAt(strings.Split(arg, ","))))
		case "change":
			var m actors.Members
			err := json.Unmarshal([]byte(arg), &m.Voters)
			fmt.Println(errors.Join(err, group.ChangeMembers(ctx, m)))
		case "transfer":
			to, _ := strconv.Atoi(arg)
			fmt.Println(group.Transfer(ctx, raftcore.NodeID(to)))
		}
		cancel()
	}
	return host.Stop(ctx)
}

// peersAt returns the hosts at these addresses, from 1 on.
func peersAt(addresses []string) map[raftcore.NodeID]string {
	peers := map[raftcore.NodeID]string{}
	for i, address := range addresses {
		peers[raftcore.NodeID(i+1)] = address
	}
	return peers
}

// refusals are why something was refused, as a Logger is told.
type refusals chan string

func (r refusals) Enabled(context.Context, slog.Level) bool  { return true }
func (r refusals) WithGroup(string) slog.Handler             { return r }
func (r refusals) Handle(context.Context, slog.Record) error { return nil }

func (r refusals) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "why" {
			select {
			case r <- a.Value.String():
			default:
			}
		}
	}
	return r
}

// plain is a process of a user who has actors, and no host.
func plain(address string) error {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return err
	}
	system := quietSystem()
	protoremote.NewRemote(system, protoremote.Configure(host, port)).Start()
	_, err = system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		if r, is := ctx.Message().(*raftpb.ClientRequest); is {
			ctx.Respond(&raftpb.ClientResponse{Version: 1, Id: r.Id, Outcome: 1, Data: r.Data})
		}
	}), "echo")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var gateway, group string
		var operation uint32
		data := ""
		if _, err := fmt.Sscan(in.Text(), &gateway, &group, &operation, &data); err != nil && data != "" {
			return err
		}
		r := &raftpb.ClientRequest{Version: 1, Id: 7, Group: group, Operation: operation, Data: []byte(data)}
		answer, err := system.Root.RequestFuture(actor.NewPID(gateway, "castaway-gateway"), r, 20*time.Second).Result()
		if err != nil {
			fmt.Println("error", err)
			continue
		}
		a := answer.(*raftpb.ClientResponse)
		fmt.Println(a.Id, a.Outcome, string(a.Data), a.Failure.GetReasons())
	}
	return nil
}

// process is a host's process, seen from the test.
type process struct {
	t    testing.TB
	spec string
	env  []string // more of it
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(append(os.Environ(), childEnv+"="+p.spec, dirEnv+"="+p.t.TempDir()), p.env...)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if got := p.line(); got != "ready" {
		p.t.Fatalf("a host says %q", got)
	}
}

// address returns where the host listens.
func (p *process) address() string {
	fields := strings.Split(p.spec, ",")
	id, _ := strconv.Atoi(fields[0])
	return fields[id]
}

func (p *process) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func (p *process) ask(command string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	return p.line()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// threeHosts returns three processes that are not started yet.
func threeHosts(t *testing.T) []*process {
	t.Helper()
	addresses := freeAddresses(t, 3)
	hosts := make([]*process, 3)
	for i := range hosts {
		hosts[i] = &process{t: t, spec: strings.Join(append([]string{strconv.Itoa(i + 1)}, addresses...), ",")}
	}
	return hosts
}

func freeAddresses(t testing.TB, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = l.Addr().String()
		defer l.Close()
	}
	return addresses
}

// P6: hosts in processes of their own, over real connections. One is killed,
// one is stopped and goes on; the others are not delayed, and it is back soon.
func TestP6_ProcessesServeThroughKillsAndPauses(t *testing.T) {
	hosts := threeHosts(t)
	for _, h := range hosts {
		h.start()
		defer h.kill()
	}
	// Adding once may end unknown, when a leader goes away with it: then it may
	// have happened, or may still.
	sum, unknown := 0, 0
	inRange := func(what, answer string) {
		t.Helper()
		var n int
		if _, err := fmt.Sscanf(answer, "%d <nil>", &n); err != nil || n < sum || n > sum+unknown {
			t.Fatalf("%s answers %q, not from %d to %d", what, answer, sum, sum+unknown)
		}
	}
	add := func(h *process) {
		t.Helper()
		answer := h.ask("add 1")
		if strings.Contains(answer, "unknown") {
			unknown++
			return
		}
		sum++
		inRange("adding", answer)
	}
	leader := func(h *process) int {
		t.Helper()
		add(h)
		var id int
		if _, err := fmt.Sscan(h.ask("leader"), &id); err != nil || id == 0 {
			t.Fatalf("who leads: %d, %v", id, err)
		}
		return id - 1
	}
	for _, h := range hosts {
		add(h)
	}
	old := leader(hosts[0])
	hosts[old].signal(syscall.SIGSTOP)
	other := hosts[(old+1)%3]
	for range 20 {
		add(other) // elects another, and goes on
	}
	hosts[old].signal(syscall.SIGCONT)
	inRange("the host that was stopped", hosts[old].ask("read"))
	victim := leader(other)
	hosts[victim].kill()
	other = hosts[(victim+1)%3]
	for range 20 {
		add(other)
	}
	inRange("another host", hosts[(victim+2)%3].ask("read"))
	hosts[victim].start() // with nothing of what it had
	for deadline := time.Now().Add(time.Minute); ; {
		var first, n int
		_, _ = fmt.Sscan(hosts[victim].ask("first"), &first)
		_, _ = fmt.Sscan(hosts[victim].ask("local"), &n)
		if first > 1 && n >= sum {
			break // it was sent a snapshot
		}
		if time.Now().After(deadline) {
			t.Fatalf("the host that lost everything has %d of %d, and its log begins at %d", n, sum, first)
		}
	}
	add(hosts[victim])
	if unknown > 2 {
		t.Errorf("%d of %d ended unknown: one at each fault was to be expected", unknown, sum)
	}
}

// Three processes found a group, a fourth takes the place of one of them and leads.
// Then all are killed, and come back from their disks: what was acknowledged is there.
func TestAProcessIsReplacedAndNothingIsLost(t *testing.T) {
	addresses := freeAddresses(t, 4)
	spec := func(i, n int) string {
		return strings.Join(append([]string{strconv.Itoa(i + 1)}, addresses[:n]...), ",")
	}
	hosts := make([]*process, 4)
	for i := range hosts {
		hosts[i] = &process{t: t, spec: spec(i, 3), env: []string{diskEnv + "=" + t.TempDir()}}
		defer func() {
			if hosts[i].cmd != nil {
				hosts[i].kill()
			}
		}()
	}
	one, two, three, four := hosts[0], hosts[1], hosts[2], hosts[3]
	for _, h := range hosts[:3] {
		h.start()
	}
	sum, unknown := 0, 0
	inRange := func(what, answer string) {
		t.Helper()
		var n int
		if _, err := fmt.Sscanf(answer, "%d <nil>", &n); err != nil || n < sum || n > sum+unknown {
			t.Fatalf("%s answers %q, not from %d to %d", what, answer, sum, sum+unknown)
		}
	}
	add := func(h *process) {
		t.Helper()
		answer := h.ask("add 1")
		if strings.Contains(answer, "unknown") {
			unknown++
			return
		}
		sum++
		inRange("adding", answer)
	}
	fine := func(h *process, command string) {
		t.Helper()
		if answer := h.ask(command); answer != "<nil>" {
			t.Fatalf("%s ends with %q", command, answer)
		}
	}
	for i := range 30 {
		add(hosts[i%3])
	}

	four.spec, four.env = spec(3, 4), append(four.env, joinEnv+"=yes")
	four.start()
	for _, h := range hosts[:3] {
		fine(h, "peers "+strings.Join(addresses, ","))
	}
	fine(two, "change [1, 2, 4]")
	one.kill()
	for range 10 {
		add(two) // which it can do with the fourth alone
		add(four)
	}
	inRange("the new one", four.ask("read"))
	fine(two, "transfer 4")
	if got := four.ask("leader"); got != "4 <nil>" {
		t.Errorf("the leader is %q", got)
	}
	for { // until it has lost sight of the leader it is served
		answer := three.ask("read")
		// The news that it was removed may get lost: then it knows no leader.
		if strings.Contains(answer, "removed from the group") || strings.Contains(answer, "no leader is known") {
			break
		}
		inRange("the removed one", answer)
	}

	for _, h := range hosts[1:] {
		h.kill()
	}
	for i, h := range hosts {
		if h != three {
			h.spec = spec(i, 4)
			h.start()
		}
	}
	inRange("after all were killed the first", one.ask("read"))
	add(one)
	inRange("the new one", four.ask("read"))
	if got := four.ask("voters"); got != "[1 2 4] <nil>" {
		t.Errorf("the voters are %s", got)
	}
	if unknown > 2 {
		t.Errorf("%d of %d ended unknown", unknown, sum)
	}
}
