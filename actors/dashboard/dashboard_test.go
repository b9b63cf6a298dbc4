package dashboard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/raftcore"
)

func TestMistakesInAConfigAreTold(t *testing.T) {
	hosts := func() []*actors.Host { return nil }
	for want, cfg := range map[string]dashboard.Config{
		"Hosts is required":   {},
		"Interval is -1ns":    {Hosts: hosts, Interval: -1},
		"MaxVisitors is -1, ": {Hosts: hosts, MaxVisitors: -1},
	} {
		if _, err := dashboard.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// All that the page is made of comes from the handler, wherever that is mounted.
func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	w := newWorld(t, 1, dashboard.Actions{})
	r, err := http.Get(w.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	page, _ := w.get("/")
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 5 {
		t.Fatalf("the page has %d links", len(links))
	}
	for _, link := range links {
		if strings.HasPrefix(link[1], "data:") || link[1] == "readyz" {
			continue
		}
		if body, code := w.get("/" + link[1]); code != http.StatusOK {
			t.Errorf("%s: %d %s", link[1], code, body)
		}
	}
	for _, file := range []string{"/", "/page.js", "/page.css"} {
		body, _ := w.get(file)
		if from := regexp.MustCompile(`(?:https?:)?//[a-z]\S*`).FindString(strings.ReplaceAll(body, "http://www.w3.org/2000/svg", "")); from != "" {
			t.Errorf("%s names %s", file, from)
		}
	}
}

func TestThePageIsToldHowTheGroupIs(t *testing.T) {
	w := newWorld(t, 3, dashboard.Actions{})
	w.open("first")
	w.open("second & last")
	v := w.visit("second+%26+last")
	led := v.leads()
	for i := range 3 {
		w.propose(fmt.Sprint(i))
	}
	if names := []string{v.view.Groups[0].Name, v.view.Groups[1].Name}; !slices.Contains(names, "first") || !slices.Contains(names, "second & last") {
		t.Errorf("the groups are %q", names)
	}
	if len(v.view.Actions) > 0 {
		t.Errorf("it offers %q", v.view.Actions)
	}
	if len(v.view.Group.Members) != 3 {
		t.Fatalf("%+v", v.view.Group)
	}
	for _, m := range v.view.Group.Members {
		if m.State != "running" || m.Kind != "voter" || !m.Seen || (m.Role == "leader") != (m.ID == led) {
			t.Errorf("%+v", m)
		}
	}
	v.until("all have applied all", func(v *view) bool {
		all := v.Group.Members
		return len(v.Group.Troubles) == 0 && !slices.ContainsFunc(all, func(m shownMember) bool {
			return m.Applied < 5 || m.Applied != all[0].Last || m.Lag != nil && *m.Lag > 0
		})
	})
	for i := 0; v.view.Group.Latency == nil || v.view.Group.Rate == nil || *v.view.Group.Rate == 0; i++ {
		w.propose(fmt.Sprint(i))
		v.next()
	}
	if l := v.view.Group.Latency; l.N < 1 || l.P50 > l.P99 || l.Committed > l.P50 && l.N == 1 {
		t.Errorf("%+v", l)
	}
	next := raftcore.NodeID(led%3 + 1)
	if err := w.groups[0].Transfer(w.ctx, next); err != nil {
		t.Fatal(err)
	}
	v.until("another leads, and is voted for", func(v *view) bool {
		return v.Group.Leader == next && v.member(next).Vote == next
	})
	for _, want := range []line{{"leader", fmt.Sprintf("member %d leads, term %d", next, v.view.Group.Term)}, {"queued", ""}, {"applied", ""}, {"member", ""}} {
		for !slices.ContainsFunc(v.lines, func(l line) bool { return l.Kind == want.Kind && strings.Contains(l.Text, want.Text) }) {
			v.next()
		}
	}
}

// Where the leader is elsewhere, the page has what is here, says so, and leads to the others'
// pages.
func TestAHostShowsWhatItKnows(t *testing.T) {
	page := func(host raftcore.NodeID) string { return fmt.Sprintf("http://host-%d.test/", host) }
	w := newWorldWith(t, 3, dashboard.Config{Page: page, Interval: 20 * time.Millisecond, MaxVisitors: 4})
	w.open("group")
	led := w.visit("group").leads()
	i := int(led % 3) // one that follows
	one := w.hosts[i : i+1]
	w.shown.Store(&one)
	v := w.visit("group")
	v.until("the others are shown", func(v *view) bool { return v.Group != nil && v.Group.Leader == led && len(v.Group.Members) == 3 })
	for _, m := range v.view.Group.Members {
		if here := m.ID == one[0].ID(); m.Seen != here || m.Lag != nil || here != (m.State == "running") || here != (m.Page == "") || !here && m.Page != page(m.ID) {
			t.Errorf("%+v", m)
		}
	}
	one = w.hosts[led-1 : led]
	w.shown.Store(&one)
	v = w.visit("group")
	v.until("the leader tells of the others", func(v *view) bool {
		a, b := v.member(led%3+1), v.member((led+1)%3+1)
		return !a.Seen && !b.Seen && a.Lag != nil && b.Lag != nil && a.Last > 0 && b.Last > 0
	})
}

func TestFaultsAreShownWithTheirReasons(t *testing.T) {
	w := newWorld(t, 1, dashboard.Actions{})
	w.open("fine")
	w.open("poor")
	v := w.visit("poor")
	v.leads()
	if body, code := w.get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	if _, err := w.groups[0].Propose(w.ctx, []byte("boom")); !errors.Is(err, actors.ErrUnknown) {
		t.Fatal(err)
	}
	v.until("it is out of service", func(v *view) bool { return v.member(1).State == "faulted" })
	if m := v.view.member(1); m.Class != "machine" || !strings.Contains(m.Fault, "boom") {
		t.Errorf("%+v", m)
	}
	if all := v.view.Group.Troubles; len(all) == 0 || !all[0].Bad || !strings.Contains(all[0].Text, "member 1 is out of service") {
		t.Errorf("%+v", all)
	}
	if first := v.view.Groups[0]; first.Name != "poor" || !first.Bad || first.Trouble == "" {
		t.Errorf("the first in the list is %+v", first)
	}
	for !slices.ContainsFunc(v.lines, func(l line) bool { return l.Kind == "member" && strings.Contains(l.Text, "faulted: ") }) {
		v.next()
	}
	// Who asks for no group is shown the one in trouble.
	if other := w.visit(""); true {
		if other.next(); other.view.Group == nil || other.view.member(1).State != "faulted" {
			t.Errorf("%+v", other.view.Group)
		}
	}
	if body, code := w.get("/healthz"); code != http.StatusOK || !strings.Contains(body, `group "poor", member 1: `) {
		t.Errorf("one of two groups works: %d %q", code, body)
	}
	if body, code := w.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, `group "poor", member 1: faulted`) {
		t.Errorf("one of two groups works: %d %q", code, body)
	}
	if body, code := w.get("/readyz?group=fine"); code != http.StatusOK {
		t.Errorf("the other works: %d %q", code, body)
	}
	if body, _ := w.get("/metrics"); !strings.Contains(body, "castaway_fault{node=\"1\",group=\"poor\",class=\"machine\"} 1\n") || !strings.Contains(body, "castaway_up{node=\"1\",group=\"poor\"} 0\n") {
		t.Errorf("%s", body)
	}
	if err := w.hosts[0].Groups()[0].Stop(w.ctx); err != nil {
		t.Fatal(err)
	}
	if body, code := w.get("/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("nothing works: %d %q", code, body)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t, 3, dashboard.Actions{})
	if body, code := w.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no group is open") {
		t.Errorf("%d %q", code, body)
	}
	if body, code := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("nothing is wrong: %d %q", code, body)
	}
	w.open("group")
	v := w.visit("group")
	led := v.leads()
	v.until("nothing is wrong", func(v *view) bool { return len(v.Group.Troubles) == 0 })
	if body, code := w.get("/readyz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	if body, code := w.get("/readyz?group=other"); code != http.StatusServiceUnavailable || !strings.Contains(body, `group "other" is not open`) {
		t.Errorf("%d %q", code, body)
	}
	// One that is cut off knows of no leader, after a while, and says whom it asks in vain.
	one := w.hosts[led%3 : led%3+1]
	w.shown.Store(&one)
	w.net.Isolate(fmt.Sprintf("host-%d", one[0].ID()))
	v.until("it is cut off", func(v *view) bool {
		return v.Group != nil && slices.ContainsFunc(v.Group.Troubles, func(t struct {
			Bad  bool
			Text string
		}) bool {
			return t.Bad && strings.Contains(t.Text, "hears nothing from ")
		})
	})
	if body, code := w.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "it knows of no leader") {
		t.Errorf("%d %q", code, body)
	}
	if body, code := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("a new process would not help: %d %q", code, body)
	}
}

// A host that reads its disk is none yet, and is shown; who looks at the page then sees its
// groups, when they are open.
func TestAHostThatReadsItsDisk(t *testing.T) {
	var opening dashboard.Opening
	w := newWorldWith(t, 1, dashboard.Config{Interval: 20 * time.Millisecond, Opening: &opening})
	w.shown.Store(&[]*actors.Host{})
	if body, code := w.get("/readyz"); code != http.StatusServiceUnavailable || body != "not ok\nno group is open\n" {
		t.Errorf("before: %d %q", code, body)
	}
	reading := opening.Host(1)
	reading(0, 4000)
	v := w.visit("")
	v.until("it reads", func(v *view) bool { return len(v.Opening) == 1 && v.Opening[0].Peer == 1 && v.Opening[0].Size == 4000 })
	reading(1000, 4000)
	v.until("it has read some", func(v *view) bool {
		return len(v.Opening) == 1 && v.Opening[0].Done == 1000 && v.Opening[0].Rate != nil && v.Opening[0].Left != nil
	})
	if body, code := w.get("/readyz"); code != http.StatusServiceUnavailable || body != "not ok\nhost 1 reads its disk: 25 %\n" {
		t.Errorf("meanwhile: %d %q", code, body)
	}
	if body, code := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("a new process would have to read it, too: %d %q", code, body)
	}
	reading(4000, 4000)
	w.shown.Store(&w.hosts)
	w.open("group")
	v.until("the group is shown", func(v *view) bool { return len(v.Opening) == 0 && v.Group != nil && v.Group.Leader == 1 })
	if body, code := w.get("/readyz"); code != http.StatusOK {
		t.Errorf("after: %d %q", code, body)
	}
}

// What is asked for by the button must be allowed, and come from the page itself.
func TestActions(t *testing.T) {
	var calls []string
	fails := errors.New("not now")
	w := newWorld(t, 1, dashboard.Actions{
		Transfer: func(ctx context.Context, group string, to raftcore.NodeID) error {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("it may take for ever")
			}
			calls = append(calls, fmt.Sprint(group, " to ", to))
			return nil
		},
		Snapshot: func(_ context.Context, group string, id raftcore.NodeID) error {
			calls = append(calls, fmt.Sprint(group, " on ", id))
			return nil
		},
		AddLearner: func(context.Context, string) error { return fails },
	})
	w.open("group")
	post := func(action, body string, head ...string) (string, int) {
		r := w.request("POST", "/actions/"+action, body)
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(head); i += 2 {
			r.Header.Set(head[i], head[i+1])
		}
		return w.do(r)
	}
	good := `{"group": "group", "member": 2}`
	for _, c := range []struct {
		action, body string
		head         []string
		code         int
		says         string
	}{
		{"transfer", good, nil, http.StatusNoContent, ""},
		{"transfer", good, []string{"Sec-Fetch-Site", "same-origin"}, http.StatusNoContent, ""},
		{"transfer", good, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden, "cross-origin"},
		{"transfer", good, []string{"Origin", "http://elsewhere.example"}, http.StatusForbidden, "cross-origin"},
		{"transfer", good, []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType, "application/json"},
		{"transfer", `{"group": ""}`, nil, http.StatusBadRequest, "the body is to be"},
		{"transfer", `{"group": "group", "who": 1}`, nil, http.StatusBadRequest, "the body is to be"},
		{"transfer", `{"group": "` + strings.Repeat("x", 1<<17) + `"}`, nil, http.StatusBadRequest, "the body is to be"},
		{"snapshot", good, nil, http.StatusNoContent, ""},
		{"add-learner", good, nil, http.StatusConflict, "not now"},
		{"remove-learner", good, nil, http.StatusNotFound, "no such action"},
		{"nothing", good, nil, http.StatusNotFound, "no such action"},
	} {
		if body, code := post(c.action, c.body, c.head...); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s %.40s %q: %d %q, want %d %q", c.action, c.body, c.head, code, body, c.code, c.says)
		}
	}
	if want := []string{"group to 2", "group to 2", "group on 2"}; !slices.Equal(calls, want) {
		t.Errorf("the calls were %q, want %q", calls, want)
	}
	if _, code := w.get("/actions/transfer"); code != http.StatusMethodNotAllowed && code != http.StatusNotFound {
		t.Errorf("with GET: %d", code)
	}
	v := w.visit("group")
	if v.next(); !slices.Equal(v.view.Actions, []string{"transfer", "snapshot", "add-learner"}) {
		t.Errorf("it offers %q", v.view.Actions)
	}
}

// There are so many visitors, and who goes makes room.
func TestVisitorsAreBounded(t *testing.T) {
	w := newWorld(t, 1, dashboard.Actions{})
	w.open("group")
	var visits []*visit
	for range 4 {
		visits = append(visits, w.visit("group"))
	}
	if body, code := w.get("/events"); code != http.StatusServiceUnavailable {
		t.Fatalf("%d %q", code, body)
	}
	visits[0].leave()
	for { // it is noticed when the server is told
		ctx, cancel := context.WithCancel(w.ctx)
		answer, err := http.DefaultClient.Do(w.request("GET", "/events", "").WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			break
		}
	}
	visits[1].next()
}

// stuck is a connection that takes nothing until it is freed.
type stuck struct {
	http.ResponseWriter
	reached, freed chan struct{}
	once           sync.Once
}

func (s *stuck) Write([]byte) (int, error) {
	s.once.Do(func() { close(s.reached) })
	<-s.freed
	return 0, errors.New("it was cut")
}

// A visitor whose connection takes nothing holds up neither the others nor the host; and
// what was told meanwhile is not kept for it.
func TestAVisitorWhoReadsNothingHoldsUpNobody(t *testing.T) {
	w := newWorld(t, 1, dashboard.Actions{})
	w.open("group")
	slow := &stuck{ResponseWriter: httptest.NewRecorder(), reached: make(chan struct{}), freed: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.server.Config.Handler.ServeHTTP(slow, httptest.NewRequest("GET", "/raft/events?group=group", nil))
	}()
	<-slow.reached
	v := w.visit("group")
	v.leads()
	for i := range 200 {
		w.propose(fmt.Sprint(i))
	}
	v.until("all is applied", func(v *view) bool { return v.member(1).Applied > 200 })
	close(slow.freed)
	<-ended // it leaves when its connection fails
}
