package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// hub looks at the hosts, for all visitors together, while there is one.
type hub struct {
	cfg Config

	mu       sync.Mutex
	visitors map[*visitor]struct{}
	stop     context.CancelFunc // ends the looking; nil: nobody looks
}

// visitor is a page that is open. What waits for it is one view, the newest.
type visitor struct {
	group string        // "": none was asked for, and none is open; guarded by the hub
	news  chan struct{} // has room for one: there is something to send

	mu    sync.Mutex
	view  []byte      // JSON
	lines []eventView // to be sent with it
	lost  uint64      // events that it was too slow for
}

// maxWaiting bounds the lines that wait for a visitor.
const maxWaiting = 256

// offer replaces what waits. Nobody waits for a visitor.
func (v *visitor) offer(view []byte, lines []eventView) {
	v.mu.Lock()
	v.view = view
	v.lines = append(v.lines, lines...)
	if over := len(v.lines) - maxWaiting; over > 0 {
		for _, l := range v.lines[:over] {
			v.lost += max(l.N, 1)
		}
		v.lines = slices.Delete(v.lines, 0, over)
	}
	v.mu.Unlock()
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// take returns what waits. The lines that were lost came before the others.
func (v *visitor) take() (view []byte, lines []eventView) {
	v.mu.Lock()
	defer v.mu.Unlock()
	view, lines = v.view, v.lines
	if v.lost > 0 {
		lines = append([]eventView{{Kind: "missed", N: v.lost}}, lines...)
	}
	v.view, v.lines, v.lost = nil, nil, 0
	return view, lines
}

// enter lets a visitor in, if there is room.
func (h *hub) enter(v *visitor) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.visitors) >= h.cfg.MaxVisitors {
		return false
	}
	h.visitors[v] = struct{}{}
	if h.stop == nil {
		var ctx context.Context
		ctx, h.stop = context.WithCancel(context.Background())
		go h.run(ctx)
	}
	return true
}

func (h *hub) leave(v *visitor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if delete(h.visitors, v); len(h.visitors) == 0 {
		h.stop()
		h.stop = nil
	}
}

// present returns the visitors, by the group that they look at. Those who asked for none look
// at the first, from now on: one that is in trouble.
func (h *hub) present(rows []groupRow) map[string][]*visitor {
	h.mu.Lock()
	defer h.mu.Unlock()
	present := map[string][]*visitor{}
	for v := range h.visitors {
		if v.group == "" && len(rows) > 0 {
			v.group = rows[0].Name
		}
		present[v.group] = append(present[v.group], v)
	}
	return present
}

// run looks, again and again, until ctx ends.
func (h *hub) run(ctx context.Context) {
	feeds := map[string]*feed{}
	defer func() {
		for _, f := range feeds {
			f.end()
		}
	}()
	ticker := time.NewTicker(h.cfg.Interval)
	defer ticker.Stop()
	for {
		h.tell(ctx, feeds)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell looks once, and offers every visitor a view.
func (h *hub) tell(ctx context.Context, feeds map[string]*feed) {
	s := look(ctx, &h.cfg)
	v := s.overview(&h.cfg)
	present := h.present(v.Groups)
	for name, f := range feeds {
		if present[name] == nil {
			f.end()
			delete(feeds, name)
		}
	}
	for name, visitors := range present {
		f := feeds[name]
		if f == nil {
			f = newFeed(ctx)
			feeds[name] = f
		}
		var lines []eventView
		v.Opening = s.openings(f.paces)
		v.Group, lines = f.look(s, name)
		v.Group.lead(h.cfg.Page)
		body, err := json.Marshal(v)
		if err != nil {
			continue // it is all numbers and texts
		}
		for _, to := range visitors {
			to.offer(body, lines)
		}
	}
}

// feed follows one group.
type feed struct {
	ctx   context.Context
	end   context.CancelFunc
	paces paces

	mu        sync.Mutex
	ear       ear
	listening map[*actors.Group]bool
}

func newFeed(ctx context.Context) *feed {
	f := &feed{paces: paces{}, ear: ear{journeys: map[earKey]journey{}}, listening: map[*actors.Group]bool{}}
	f.ctx, f.end = context.WithCancel(ctx)
	return f
}

// look returns how the group is, and what has happened since the last look. Members that
// it has not seen before it listens to from now on.
func (f *feed) look(s *sample, name string) (*groupView, []eventView) {
	v := s.view(name, f.paces)
	f.paces.sweep()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range s.groups[name] {
		if !f.listening[m.group] {
			f.listening[m.group] = true
			go f.listen(m.host.ID(), m.group)
			go f.watch(m.host.ID(), m.group)
		}
	}
	latency, lines := f.ear.take()
	if v != nil {
		v.Latency = latency
	}
	return v, lines
}

func (f *feed) listen(host raftcore.NodeID, g *actors.Group) {
	for e := range g.Events(f.ctx, 0) {
		f.mu.Lock()
		f.ear.hear(host, e)
		f.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listening, g) // it may be spawned again
}

// watch makes lines of the states that a member enters.
func (f *feed) watch(host raftcore.NodeID, g *actors.Group) {
	var last string
	for s := range g.Watch(f.ctx) {
		line := s.State.String()
		if s.State == actors.Running {
			line = fmt.Sprintf("%v in term %d", s.Role, s.Term)
			if s.Vote != raftcore.Nobody {
				line += fmt.Sprintf(", votes for %d", s.Vote)
			}
		}
		if s.Fault != nil {
			line += ": " + s.Fault.Error()
		}
		if line == last {
			continue
		}
		last = line
		f.mu.Lock()
		f.ear.line(host, time.Now(), "member", line)
		f.mu.Unlock()
	}
}

// writeTimeout is how long a visitor may take to take a view.
const writeTimeout = 10 * time.Second

// serveEvents tells a page what it shows, until it is closed.
func (h *hub) serveEvents(w http.ResponseWriter, r *http.Request) {
	v := &visitor{group: r.FormValue("group"), news: make(chan struct{}, 1)}
	if !h.enter(v) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer h.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies are to pass it on at once
	out := http.NewResponseController(w)
	for {
		select {
		case <-v.news:
		case <-r.Context().Done():
			return
		}
		view, lines := v.take()
		if view == nil {
			continue
		}
		events, err := json.Marshal(lines)
		if err != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // where that is not possible the server has its own
		if _, err := fmt.Fprintf(w, "event: view\ndata: %s\n\nevent: lines\ndata: %s\n\n", view, events); err != nil {
			return
		}
		if out.Flush() != nil {
			return
		}
	}
}
