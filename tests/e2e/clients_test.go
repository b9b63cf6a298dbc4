//go:build unix

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// op is one request of a client, from when it was sent to when the answer was
// there. Times are nanoseconds on one clock.
type op struct {
	client  int
	member  int // that was asked
	kind    string
	key     string
	value   string // written, or read
	call    int64
	back    int64
	outcome outcome
	err     string
}

func (o op) String() string {
	return fmt.Sprintf("%12.6f %12.6f client %d member %d %-6s %-12s %q %v %s",
		float64(o.call)/1e9, float64(o.back)/1e9, o.client, o.member, o.kind, o.key, o.value, o.outcome, o.err)
}

// load is clients that ask and remember.
type load struct {
	*cluster
	stop    atomic.Bool
	clients sync.WaitGroup
	ops     [][]op // by client
	done    atomic.Int64
}

// startLoad starts clients. Each asks one member until that fails, then the
// next; together they ask all.
func (c *cluster) startLoad(clients int) *load {
	l := &load{cluster: c, ops: make([][]op, clients)}
	for i := range clients {
		l.clients.Go(func() { l.client(i) })
	}
	return l
}

// finish stops the clients and returns their history, in order of the calls.
func (l *load) finish() []op {
	l.stop.Store(true)
	l.clients.Wait()
	all := slices.Concat(l.ops...)
	slices.SortStableFunc(all, func(a, b op) int { return int(a.call - b.call) })
	return all
}

// client does four things:
//
//   - it gives registers, which it shares with the other clients, values that
//     nobody else gives, and reads them: that must be linearizable;
//   - it gives keys of its own a value, once: that must be there at the end;
//   - it appends numbers to a key of its own: each must be there once, in order.
//
// Registers are changed for new ones often enough: what the checker has to
// search grows fast with the requests whose outcome nobody knows.
func (l *load) client(id int) {
	var conns []*redis.Client
	for _, m := range l.members {
		conn := connect(m.redis)
		defer conn.Close()
		conns = append(conns, conn)
	}
	const registers, generation = 8, 800 * time.Millisecond
	at := id % len(conns)
	for n := 0; !l.stop.Load(); n++ {
		o := op{client: id, kind: "get", member: at + 1, value: fmt.Sprintf("%d.%d", id, n)}
		o.key = fmt.Sprintf("r%d.%d", time.Since(l.began)/generation, rand.IntN(registers))
		switch p := rand.IntN(10); {
		case p < 4:
			o.kind = "set"
		case p == 8:
			o.kind, o.key = "once", fmt.Sprintf("once%d.%d", id, n)
		case p == 9:
			o.kind, o.key, o.value = "append", fmt.Sprintf("list%d", id), fmt.Sprintf("%d ", n)
		}
		l.do(conns[at], &o)
		l.ops[id] = append(l.ops[id], o)
		switch o.outcome {
		case happened:
			l.done.Add(1)
		case rejected:
			time.Sleep(5 * time.Millisecond) // nobody is there
			fallthrough
		default:
			at = (at + 1) % len(conns)
		}
	}
}

func (l *load) do(conn *redis.Client, o *op) {
	ctx := context.Background()
	o.call = int64(time.Since(l.began))
	var err error
	switch o.kind {
	case "get":
		o.value, err = conn.Get(ctx, o.key).Result()
	case "append":
		err = conn.Append(ctx, o.key, o.value).Err()
	default:
		err = conn.Set(ctx, o.key, o.value, 0).Err()
	}
	o.back = int64(time.Since(l.began))
	if o.outcome = outcomeOf(err); o.outcome != happened {
		o.err = err.Error()
	}
}

// writeHistory keeps a history for whoever looks for what went wrong.
func (c *cluster) writeHistory(history []op) {
	f, err := os.Create(filepath.Join(c.dir, "history.txt"))
	if err != nil {
		c.t.Error(err)
		return
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for _, o := range history {
		fmt.Fprintln(w, o)
	}
	if err := w.Flush(); err != nil {
		c.t.Error(err)
	}
}
