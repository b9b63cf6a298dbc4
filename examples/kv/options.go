package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
)

const usage = `kv is a replicated key-value store that speaks the Redis protocol.

Three members in one process, to try it:

  kv [-dir D]

One member per process, on one machine or on three:

  kv -id 1 -redis 127.0.0.1:6380 -dir data1 \
     -peers 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003

The other two are started with -id 2 and -id 3, and with a -redis address and a
-dir of their own. A member that was stopped, or killed, is started again the
same way.

  -id N              Which member this is: one of those in -peers. Without it,
                     three members run in this process.
  -peers LIST        All members, this one included, and the addresses at which
                     they talk to each other: 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT.
                     The same for every member. Addresses may change when all are
                     stopped; who the members are, never.
  -dir D             Where the data is kept: for one member, or for three in
                     D/1, D/2 and D/3. Default: a new directory, which is printed.
  -redis ADDR        Where to serve Redis clients. Default 127.0.0.1:6380; three
                     members take three ports in a row, and any free ones with
                     port 0.
  -listen ADDR       Where to listen for the other members. Default: this member's
                     address in -peers; for three members in one process three
                     ports in a row from 127.0.0.1:7380. With -id it may differ
                     from -peers, say 0.0.0.0:7001.
  -http ADDR         Where to serve a page that shows all of it, live, with metrics for
                     Prometheus, and health. Default: nowhere. On the page the leadership
                     can be handed over; and learners come and go, when three members run
                     in this process. Default with -pages: this member's address there.
  -pages LIST        The addresses of all members' pages, for people's browsers:
                     1=HOST:PORT,2=HOST:PORT,3=HOST:PORT. The same for every member. Then
                     each page leads to the others, to the leader's first.
  -timeout D         How long a command may take, waiting for a leader included, and for
                     this member, which may have to read its disk first. Default 5s. In a
                     pipeline one command comes after the other.
  -election D        After how long without a sign of the leader the others elect
                     another. Default 1s; the same for every member.
  -snapshot N        After how many entries of the log a member writes a snapshot of all
                     keys, and how many entries it keeps beside it, for others that
                     are a little behind. Default 100000, or 64 MiB of entries.
  -tls-cert FILE     This member's certificate,
  -tls-key FILE      the key for it,
  -tls-ca FILE       and the CA that has signed those of all members, and no others:
                     members prove to each other who they are, and what they say is
                     encrypted. The files are read again when they change. Clients of
                     -redis have nothing of that.
  -insecure          Allow addresses that other machines can reach. There is no
                     password, and without -tls-cert no encryption: only for a network
                     you trust.
  -v                 Log all that the library reports, to stderr; warnings are
                     shown anyway.

Example, in one terminal and in another:

  go run ./examples/kv -dir /tmp/islands
  redis-cli -p 6381 set friday "a man"

And to look at it, with -http 127.0.0.1:8080, http://127.0.0.1:8080/
`

// options are the flags.
type options struct {
	id                 uint64
	peers              map[raftcore.NodeID]string
	dir, redis, listen string
	http               string
	pages              map[raftcore.NodeID]string // nil: the page leads nowhere
	timeout, election  time.Duration
	snapshot           int // 0: the library's default
	insecure, verbose  bool
	tls                remote.TLS // its files
	temporary          bool       // dir was not given
}

// flags returns the flags, to be read into o, peers and pages.
func (o *options) flags(peers, pages *string) *flag.FlagSet {
	f := flag.NewFlagSet("kv", flag.ContinueOnError)
	f.SetOutput(io.Discard) // usage is ours
	f.Uint64Var(&o.id, "id", 0, "")
	f.StringVar(peers, "peers", "", "")
	f.StringVar(&o.dir, "dir", "", "")
	f.StringVar(&o.redis, "redis", "127.0.0.1:6380", "")
	f.StringVar(&o.listen, "listen", "", "")
	f.StringVar(&o.http, "http", "", "")
	f.StringVar(pages, "pages", "", "")
	f.DurationVar(&o.timeout, "timeout", 5*time.Second, "")
	f.DurationVar(&o.election, "election", time.Second, "")
	f.IntVar(&o.snapshot, "snapshot", 0, "")
	f.StringVar(&o.tls.CertFile, "tls-cert", "", "")
	f.StringVar(&o.tls.KeyFile, "tls-key", "", "")
	f.StringVar(&o.tls.CAFile, "tls-ca", "", "")
	f.BoolVar(&o.insecure, "insecure", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	return f
}

func parseOptions(args []string) (o options, err error) {
	var peers, pages string
	f := o.flags(&peers, &pages)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is not a flag", f.Arg(0))
	}
	if peers != "" {
		if o.peers, err = parseAddresses("-peers", peers); err != nil {
			return o, err
		}
	}
	if pages != "" {
		if o.pages, err = parseAddresses("-pages", pages); err != nil {
			return o, err
		}
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return o, o.check(given["id"])
}

// check says what is wrong with flags that are well formed.
func (o *options) check(one bool) error {
	own := o.peers[raftcore.NodeID(o.id)]
	switch {
	case one && o.id == 0:
		return errors.New("-id is 0: members are numbered from 1")
	case one && o.peers == nil:
		return errors.New("-id needs -peers: the addresses of all members")
	case !one && o.peers != nil:
		return errors.New("-peers needs -id: which of them this member is")
	case one && own == "":
		return fmt.Errorf("-peers has no address for member %d, which is this one by -id", o.id)
	case !one && o.pages != nil:
		return errors.New("-pages needs -id: three members in one process have one page, by -http")
	case o.pages != nil && o.http == "" && o.pages[raftcore.NodeID(o.id)] == "":
		return fmt.Errorf("-pages has no address for member %d, which is this one by -id, and there is no -http", o.id)
	case o.hasTLS() && (o.tls.CertFile == "" || o.tls.KeyFile == "" || o.tls.CAFile == ""):
		return errors.New("-tls-cert, -tls-key and -tls-ca go together")
	case o.timeout <= 0:
		return fmt.Errorf("-timeout is %v: it must be positive", o.timeout)
	case o.snapshot < 0:
		return fmt.Errorf("-snapshot is %d: it must not be negative", o.snapshot)
	case o.election < 10*time.Millisecond:
		return fmt.Errorf("-election is %v: it must be 10ms at least, and well over a round trip and a sync of the disk", o.election)
	}
	if o.listen == "" {
		if o.listen = own; !one {
			o.listen = "127.0.0.1:7380"
		}
	}
	page := "-http"
	if o.http == "" {
		page, o.http = "-pages", o.pages[raftcore.NodeID(o.id)]
	}
	if err := checkAddress("-redis", o.redis, o.insecure); err != nil {
		return err
	}
	if o.http != "" {
		if err := checkAddress(page, o.http, o.insecure); err != nil {
			return err
		}
	}
	return checkAddress("-listen", o.listen, o.insecure || o.hasTLS())
}

func (o *options) hasTLS() bool { return o.tls.CertFile+o.tls.KeyFile+o.tls.CAFile != "" }

func checkAddress(name, address string, anywhere bool) error {
	host, _, err := splitAddress(address)
	if err != nil {
		return fmt.Errorf("%s %q: %w", name, address, err)
	}
	if ip := net.ParseIP(host); !anywhere && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s %s can be reached by other machines, and there is no password: allow it with -insecure", name, address)
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("not HOST:PORT")
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not a port", p)
	}
	return host, int(n), nil
}

// parseAddresses reads the list of a flag: an address for each member.
func parseAddresses(name, list string) (map[raftcore.NodeID]string, error) {
	addresses := map[raftcore.NodeID]string{}
	for item := range strings.SplitSeq(list, ",") {
		number, address, found := strings.Cut(item, "=")
		id, err := strconv.ParseUint(number, 10, 64)
		if !found || err != nil || id == 0 {
			return nil, fmt.Errorf("%s: %q is not NUMBER=HOST:PORT", name, item)
		}
		if host, port, err := splitAddress(address); err != nil || host == "" || port == 0 {
			return nil, fmt.Errorf("%s: member %d cannot be reached at %q", name, id, address)
		}
		if addresses[raftcore.NodeID(id)] != "" {
			return nil, fmt.Errorf("%s has member %d twice", name, id)
		}
		for other, taken := range addresses {
			if taken == address {
				return nil, fmt.Errorf("%s has %s for members %d and %d", name, address, other, id)
			}
		}
		addresses[raftcore.NodeID(id)] = address
	}
	return addresses, nil
}

// members returns what the flags ask for, with the clients' ports taken.
func (o *options) members() (configs []memberConfig, err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "castaway-kv-"); err != nil {
			return nil, err
		}
		o.temporary = true
	}
	if err := o.checkDir(); err != nil {
		return nil, err
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	base := memberConfig{
		id: raftcore.NodeID(o.id), listen: o.listen, peers: o.peers, dir: o.dir,
		timeout: o.timeout, election: o.election, snapshot: o.snapshot, insecure: o.insecure, logger: logger,
	}
	if o.hasTLS() {
		base.tls, base.insecure = &o.tls, false
	}
	configs = []memberConfig{base}
	if o.id == 0 {
		if configs, err = o.three(base); err != nil {
			return nil, err
		}
	}
	for i := range configs {
		address, err := portAfter(o.redis, i)
		if err == nil {
			configs[i].redis, err = net.Listen("tcp", address)
		}
		if err != nil {
			for _, c := range configs[:i] {
				c.redis.Close()
			}
			return nil, fmt.Errorf("cannot serve Redis clients: %w", listenError(err))
		}
	}
	return configs, nil
}

// checkDir notices a directory of one member that is given to three, and the other
// way round: they would start with nothing, and their data seem lost.
func (o *options) checkDir() error {
	if _, err := os.Stat(filepath.Join(o.dir, markName)); o.id == 0 && err == nil {
		return fmt.Errorf("the directory %s belongs to one member: name the one above it, or start the member with -id", o.dir)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "1", markName)); o.id != 0 && err == nil {
		return fmt.Errorf("the directory %s belongs to three members: this one's is in %s", o.dir, filepath.Join(o.dir, fmt.Sprint(o.id)))
	}
	return nil
}

// discard removes a new directory that nobody has been told of.
func (o *options) discard() {
	if o.temporary {
		_ = os.RemoveAll(o.dir)
	}
}

// three returns the members of a whole group.
func (o *options) three(base memberConfig) ([]memberConfig, error) {
	base.peers = map[raftcore.NodeID]string{}
	var configs []memberConfig
	for i := range 3 {
		address, err := portAfter(o.listen, i)
		if err != nil {
			return nil, fmt.Errorf("-listen: %w", err)
		}
		// Everybody must know every address before anybody listens, so a free port
		// is found by trying, and a used one is noticed here.
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("cannot listen for the other members: %w", listenError(err))
		}
		defer ln.Close()
		c := base
		c.id = raftcore.NodeID(i + 1)
		c.listen = ln.Addr().String()
		c.dir = filepath.Join(o.dir, fmt.Sprint(c.id))
		c.peers[c.id] = c.listen
		configs = append(configs, c)
	}
	return configs, nil
}

// portAfter returns the address whose port is n further on. Port 0 is any port.
func portAfter(address string, n int) (string, error) {
	host, port, err := splitAddress(address)
	switch {
	case err != nil:
		return "", err
	case port == 0:
		return address, nil
	case port+n > 65535:
		return "", fmt.Errorf("%s leaves no room for three ports", address)
	}
	return net.JoinHostPort(host, strconv.Itoa(port+n)), nil
}

// listenError says why an address cannot be listened on, without the system's
// ceremony.
func listenError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		var call *os.SyscallError
		if errors.As(op.Err, &call) {
			return fmt.Errorf("%v: %w", op.Addr, call.Err)
		}
		if op.Addr == nil {
			return op.Err // a name that is not known; the error has it
		}
		return fmt.Errorf("%v: %w", op.Addr, op.Err)
	}
	return err
}
