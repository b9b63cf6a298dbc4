package remote

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// The door is where connections come in. gRPC takes as many as there are, and each costs
// goroutines and buffers before it has said who it is; so here those are bounded that nobody
// is known on: a stranger's.
//
// A connection is a stranger's until a packet of a host that this one knows has come on it,
// or a client was let in; and again when that stream has ended. One stranger too many takes
// the place of the oldest one from the address that has most: a flood from one address
// pushes itself out, and a host that comes in the middle of it is let in.
type door struct {
	t *Transport

	mu        sync.Mutex
	visitors  map[string]*visitor   // all of them, by their socket
	strangers map[string][]*visitor // by IP, the oldest first
	count     int                   // strangers
	lanes     map[string][]*visitor // those that a host is known on, by who that is and its lane, the oldest first
}

const (
	maxStrangers = 256      // connections
	maxUnknown   = 64 << 10 // bytes that come on one before anybody is known on it
	// maxOfLane is how many connections a lane of one host has. It needs one; those that it
	// has left without a word are there for a while. Lanes do not share it: one that breaks
	// over and over would push out the others, which have long been there.
	maxOfLane = 4
	// maxStreams is how many streams one connection has. A host needs one.
	maxStreams  = 8
	maxMetadata = 16 << 10 // bytes, of one stream
)

// visitor is a connection that has come in.
type visitor struct {
	net.Conn
	door   *door
	socket string
	ip     string

	known atomic.Bool  // somebody is known on it
	said  atomic.Int64 // bytes, while nobody was

	// Under door.mu:
	streams int    // on which somebody is known
	lane    string // in door.lanes; "": a client
	gone    bool
}

var errTooMuch = errors.New("too much of a stranger")

func newDoor(t *Transport) *door {
	return &door{t: t, visitors: map[string]*visitor{}, strangers: map[string][]*visitor{}, lanes: map[string][]*visitor{}}
}

// enter lets a connection in, as a stranger's.
func (d *door) enter(conn net.Conn) *visitor {
	v := &visitor{Conn: conn, door: d, socket: conn.RemoteAddr().String()}
	v.ip, _, _ = net.SplitHostPort(v.socket)
	d.mu.Lock()
	d.visitors[v.socket] = v
	oldest := d.estrange(v)
	d.mu.Unlock()
	d.end(oldest, "too many connections of strangers")
	return v
}

// estrange makes a connection a stranger's, and returns whose place it takes, if anybody's.
func (d *door) estrange(v *visitor) (oldest *visitor) {
	v.said.Store(0)
	v.known.Store(false)
	d.strangers[v.ip] = append(d.strangers[v.ip], v)
	if d.count++; d.count <= maxStrangers {
		return nil
	}
	most := v.ip
	for ip, list := range d.strangers {
		if len(list) > len(d.strangers[most]) {
			most = ip
		}
	}
	oldest = d.strangers[most][0]
	d.forget(oldest)
	return oldest
}

// know is told that somebody is known on a connection, until the stream ends: then it is to
// call what is returned. The lane is that of the host, with its name; or "" if it is a client.
func (d *door) know(socket, lane string) (end func()) {
	d.mu.Lock()
	v := d.visitors[socket]
	if v == nil || v.gone {
		d.mu.Unlock()
		return func() {} // it has just been closed
	}
	var oldest *visitor
	if v.streams++; v.streams == 1 {
		d.forget(v)
		v.known.Store(true)
		if v.lane = lane; lane != "" {
			d.lanes[lane] = append(d.lanes[lane], v)
			if len(d.lanes[lane]) > maxOfLane {
				oldest = d.lanes[lane][0]
				d.forget(oldest)
			}
		}
	}
	d.mu.Unlock()
	d.end(oldest, "too many connections of a lane of one host")
	return sync.OnceFunc(func() {
		d.mu.Lock()
		var oldest *visitor
		if v.streams--; v.streams == 0 && !v.gone {
			d.forget(v)
			oldest = d.estrange(v)
		}
		d.mu.Unlock()
		d.end(oldest, "too many connections of strangers")
	})
}

// forget takes a connection off the list that it is on.
func (d *door) forget(v *visitor) {
	lists, key := d.strangers, v.ip
	if v.known.Load() {
		lists, key = d.lanes, v.lane
	}
	i := slices.Index(lists[key], v)
	if i < 0 {
		return
	}
	if !v.known.Load() {
		d.count--
	}
	if lists[key] = slices.Delete(lists[key], i, i+1); len(lists[key]) == 0 {
		delete(lists, key)
	}
}

// end closes a connection that is one too many.
func (d *door) end(v *visitor, why string) {
	if v == nil {
		return
	}
	d.t.refuse(badConnection, why, "address", v.socket)
	v.Close()
}

// Read takes what comes; of a stranger not much.
func (v *visitor) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	if err == nil && !v.known.Load() {
		if v.said.Add(int64(n)) > maxUnknown {
			v.door.end(v, "a stranger who says too much")
			return 0, errTooMuch
		}
	}
	return n, err
}

// Close closes the connection, and has the door forget it.
func (v *visitor) Close() error {
	d := v.door
	d.mu.Lock()
	d.forget(v)
	v.gone = true
	if d.visitors[v.socket] == v {
		delete(d.visitors, v.socket)
	}
	d.mu.Unlock()
	return v.Conn.Close()
}

// doorway is a credential whose connections come in through the door.
type doorway struct {
	credentials.TransportCredentials
	door *door
}

func (w doorway) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	v := w.door.enter(raw)
	conn, info, err := w.TransportCredentials.ServerHandshake(v)
	if err != nil {
		v.Close()
	}
	return conn, info, err
}

func (w doorway) Clone() credentials.TransportCredentials { return w }
