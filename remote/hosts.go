package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// ClientConfig is what Dial is told. Zero fields mean the default.
type ClientConfig struct {
	// Seeds are addresses of hosts: one that answers is enough, the others are learned of.
	// Their Config.MaxClients says how many clients they serve. Required.
	Seeds []string
	// Cluster is that of the hosts: actors.HostConfig.Cluster.
	Cluster string
	// TLS has the hosts and this process prove to one another who they are, as hosts do.
	// HostName is not used. Default: none; then hosts that have it are not reached.
	TLS *TLS
	// ConnectTimeout is when a host that does not answer is taken to be down. Default 2 s.
	ConnectTimeout time.Duration
	// SilenceTimeout is when a host that is asked, and says nothing at all any more, is
	// taken to be down: a proposal ends ErrUnknown then, and whatever may be sent again goes
	// to others. Default 3 s.
	SilenceTimeout time.Duration
	// MaxPending and MaxBytes bound what is asked and not answered; beyond it calls end with
	// actors.ErrBusy. Default: 8,192, and 64 MiB.
	MaxPending, MaxBytes int
	// MaxPacketBytes is that of the hosts: a larger request is not sent. Default 8 MiB.
	MaxPacketBytes int
	// Logger is told what an operator wants to know. Default slog.Default().
	Logger *slog.Logger
}

func (c ClientConfig) withDefaults() ClientConfig {
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	def(&c.MaxPending, 8192)
	def(&c.MaxBytes, 64<<20)
	def(&c.MaxPacketBytes, 8<<20)
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 2 * time.Second
	}
	if c.SilenceTimeout == 0 {
		c.SilenceTimeout = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Hosts are the hosts of an installation, for a process that is none of them and has
// neither members nor a disk. Its methods may be called concurrently.
type Hosts struct {
	cfg   ClientConfig
	creds credentials.TransportCredentials
	life  context.Context // ends with Close
	end   context.CancelFunc

	mu      sync.Mutex
	conns   map[string]*conn // by address
	routes  map[string]*route
	pending int
	bytes   int
}

// Dial returns the hosts that some of them know of. It does not connect before somebody
// asks: no host need be up yet.
func Dial(cfg ClientConfig) (*Hosts, error) {
	cfg = cfg.withDefaults()
	switch {
	case len(cfg.Seeds) == 0 || slices.Contains(cfg.Seeds, ""):
		return nil, errors.New("castaway: to find hosts, the address of one is needed: Seeds")
	case cfg.MaxPending < 0 || cfg.MaxBytes < 0 || cfg.MaxPacketBytes < 0 || cfg.ConnectTimeout < 0 || cfg.SilenceTimeout < 0:
		return nil, errors.New("castaway: a bound of the ClientConfig is negative")
	}
	cfg.Seeds = slices.Clone(cfg.Seeds)
	h := &Hosts{cfg: cfg, conns: map[string]*conn{}, routes: map[string]*route{}}
	h.life, h.end = context.WithCancel(context.Background())
	h.creds = insecure.NewCredentials()
	if cfg.TLS != nil {
		c, err := newCredential(h.life, cfg.TLS, true, cfg.Logger)
		if err != nil {
			h.end()
			return nil, fmt.Errorf("castaway: %w: TLS: %w", ErrBadConfig, err)
		}
		c.rejected = func(address string, err error) {
			cfg.Logger.Warn("a host and this client do not get on", "address", address, "err", err)
		}
		c.outlived = func(address string, err error) {
			cfg.Logger.Warn("a connection to a host has been ended", "address", address, "err", err)
		}
		h.creds = c
	}
	return h, nil
}

// Group returns the client of a group. Its calls find the members, follow the leader, and
// end as those of an actors.Group do: applied, ErrRejected or ErrUnknown. A group that no host
// has yet is asked for until the call's context ends, for it may be about to be opened.
func (h *Hosts) Group(name string) *actors.Client { return actors.NewClient(name, h) }

// Close lets go of all connections. Calls that wait end as if the hosts were lost, and
// later ones with actors.ErrStopped.
func (h *Hosts) Close() {
	h.end()
	h.mu.Lock()
	conns := slices.Collect(maps.Values(h.conns))
	h.mu.Unlock()
	for _, c := range conns {
		c.fail(errClosed)
	}
	for _, c := range conns {
		<-c.ended
	}
}

var errClosed = fmt.Errorf("the client was closed: %w", actors.ErrStopped)

// route is how the members of a group are found.
type route struct {
	seeds []string

	mu      sync.Mutex
	hosts   map[raftcore.NodeID]string
	learned time.Time // when hosts were
	current string    // who has answered last, or leads
	leader  raftcore.NodeID
}

func (h *Hosts) route(group string) *route {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routes[group]
	if r == nil {
		r = &route{seeds: h.cfg.Seeds}
		h.routes[group] = r
	}
	return r
}

// learnAgain is how old what is known of the hosts may be.
const learnAgain = 10 * time.Second

// wantsHosts reports whether to ask where the members are.
func (r *route) wantsHosts() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.learned) > learnAgain || r.leader != raftcore.Nobody && r.hosts[r.leader] == ""
}

// next returns an address that was not tried: that of the leader, if it is known, then of
// who has answered last, then of any member, then of the seeds. "" if there is none.
func (r *route) next(tried []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	try := func(address string) bool { return address != "" && !slices.Contains(tried, address) }
	if leader := r.hosts[r.leader]; try(leader) {
		return leader
	}
	if try(r.current) {
		return r.current
	}
	for _, address := range r.hosts { // in any order: so many clients go to many hosts
		if try(address) {
			return address
		}
	}
	for _, address := range r.seeds {
		if try(address) {
			return address
		}
	}
	return ""
}

// answered takes what a host has said.
func (r *route) answered(address string, response *actors.ClientResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(response.Hosts) > 0 {
		r.hosts, r.learned = response.Hosts, time.Now()
	}
	if response.Elsewhere() {
		if r.hosts[r.leader] == address {
			r.leader = raftcore.Nobody
		}
		if r.current == address {
			r.current = ""
		}
	} else {
		r.current = address
	}
	if response.Leader != raftcore.Nobody {
		r.leader = response.Leader
	}
}

// failed notes that a host cannot be reached.
func (r *route) failed(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts[r.leader] == address {
		r.leader = raftcore.Nobody
	}
	if r.current == address {
		r.current = ""
	}
	r.learned = time.Time{} // it may be somewhere else by now
}

// Ask makes one try of a request. See actors.Asker.
func (h *Hosts) Ask(ctx context.Context, r *actors.ClientRequest) (*actors.ClientResponse, error) {
	r.Cluster = h.cfg.Cluster
	route := h.route(r.Group)
	var tried []string
	var last *actors.ClientResponse
	var failed error
	for address := route.next(nil); address != ""; address = route.next(tried) {
		tried = append(tried, address)
		r.Hosts = route.wantsHosts()
		response, err := h.call(ctx, address, r)
		switch {
		case errors.Is(err, actors.ErrUnreachable):
			route.failed(address)
			failed = err
		case err != nil:
			if errors.Is(err, errBroken) {
				route.failed(address)
			}
			return nil, err
		default:
			route.answered(address, response)
			if !response.Elsewhere() {
				return response, nil
			}
			last = response
		}
	}
	if last != nil {
		return last, nil
	}
	return nil, failed
}

// call asks one host.
func (h *Hosts) call(ctx context.Context, address string, r *actors.ClientRequest) (*actors.ClientResponse, error) {
	size := len(r.Data) + requestOverhead
	if size > h.cfg.MaxPacketBytes {
		return nil, fmt.Errorf("%w: with what goes with it, it has %d bytes, and ClientConfig.MaxPacketBytes is %d", actors.ErrTooLarge, size, h.cfg.MaxPacketBytes)
	}
	c, err := h.admit(address, size)
	if err != nil {
		return nil, err
	}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pending--
		h.bytes -= size
	}()
	return c.call(ctx, r)
}

// admit counts a request, and returns the connection to a host.
func (h *Hosts) admit(address string, size int) (*conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.life.Err() != nil:
		return nil, actors.ErrStopped
	case h.pending >= h.cfg.MaxPending:
		return nil, &actors.BusyError{What: "requests of this client", Used: int64(h.pending), Limit: int64(h.cfg.MaxPending)}
	case h.bytes+size > h.cfg.MaxBytes && h.pending > 0:
		return nil, &actors.BusyError{What: "bytes of requests of this client", Used: int64(h.bytes), Limit: int64(h.cfg.MaxBytes)}
	}
	h.pending++
	h.bytes += size
	c := h.conns[address]
	if c == nil {
		c = newConn(h, address)
		h.conns[address] = c
	}
	return c, nil
}

// forget lets a connection be that has ended.
func (h *Hosts) forget(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[c.address] == c {
		delete(h.conns, c.address)
	}
}
