package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/examples/internal/slowdisk"
)

// page returns where the page is, when the process has said so.
func (p *process) page(t *testing.T) string {
	t.Helper()
	line := p.until(t, "To look at it: ")
	_, url, _ := strings.Cut(line, "To look at it: ")
	return url
}

func httpDo(t *testing.T, r *http.Request) (string, int) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), answer.StatusCode
}

func httpRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// press presses a button of the page.
func press(t *testing.T, url, action string, member int) {
	t.Helper()
	body, code := httpDo(t, httpRequest(t, "POST", url+"actions/"+action, fmt.Sprintf(`{"group": "kv", "member": %d}`, member)))
	if code != http.StatusNoContent {
		t.Fatalf("%s %d: %d %s", action, member, code, body)
	}
}

// shown reads what the page shows, until it is as wanted: the leader, and the members with
// their kinds.
func shown(t *testing.T, url string, wanted func(leader int, members string) bool) {
	t.Helper()
	answer, err := http.Get(url + "events?group=kv")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	in := bufio.NewScanner(answer.Body)
	in.Buffer(nil, 1<<20)
	last := ""
	for in.Scan() {
		data, is := strings.CutPrefix(in.Text(), `data: {`)
		if !is {
			continue
		}
		var view struct {
			Group struct {
				Leader  int
				Members []struct {
					ID                int
					Kind              string
					CaughtUp, Seen    bool
					Applied, Last     int
					Stalled, Newcomer bool
					Page              string
				}
			}
		}
		if err := json.Unmarshal([]byte("{"+data), &view); err != nil {
			t.Fatal(err)
		}
		var members []string
		for _, m := range view.Group.Members {
			text := fmt.Sprint(m.ID, " ", m.Kind)
			if m.CaughtUp {
				text += " caught up"
			}
			if m.Page != "" {
				text += " " + m.Page
			}
			members = append(members, text)
		}
		if last = strings.Join(members, ", "); wanted(view.Group.Leader, last) {
			return
		}
	}
	t.Fatalf("the page ends with %q: %v", last, in.Err())
}

// The page shows the members, has the leadership handed over, and has a learner come, which
// is there again after a restart, and go.
func TestThePageShowsAndChangesTheMembers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"-redis", "127.0.0.1:0", "-listen", "127.0.0.1:0", "-http", "127.0.0.1:0", "-election", "200ms", "-dir", dir}
	p := start(t, args...)
	url := p.page(t)
	if body, code := httpDo(t, httpRequest(t, "GET", url, "")); code != http.StatusOK || !strings.Contains(body, "<title>Castaway</title>") {
		t.Fatalf("%d %s", code, body)
	}
	led := 0
	shown(t, url, func(leader int, members string) bool {
		led = leader
		return leader != 0 && strings.Count(members, "voter caught up") == 2
	})
	next := led%3 + 1
	press(t, url, "transfer", next)
	shown(t, url, func(leader int, _ string) bool { return leader == next })

	for id := range 3 {
		press(t, url, "snapshot", id+1)
		if files, err := filepath.Glob(filepath.Join(dir, fmt.Sprint(id+1), "store", "snapshots", "*", "*.snapshot")); err != nil || len(files) != 1 {
			t.Errorf("member %d has the snapshots %q, %v", id+1, files, err)
		}
	}

	press(t, url, "add-learner", 0)
	shown(t, url, func(_ int, members string) bool { return strings.Contains(members, "4 learner caught up") })
	conn := dial(t, p.redis[0])
	if got := conn.pipeline(t, "SET friday man"); got != "+OK" {
		t.Errorf("SET: %s", got)
	}
	p.stop(t, os.Interrupt)

	p = start(t, args...)
	url = p.page(t)
	shown(t, url, func(_ int, members string) bool { return strings.Contains(members, "4 learner caught up") })
	press(t, url, "add-learner", 0)
	shown(t, url, func(_ int, members string) bool { return strings.Contains(members, "5 learner caught up") })
	press(t, url, "remove-learner", 4)
	shown(t, url, func(_ int, members string) bool {
		return !strings.Contains(members, "4 ") && strings.Contains(members, "5 learner caught up")
	})
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || !slices.Equal(left, []string{dir + "/1", dir + "/2", dir + "/3", dir + "/5"}) {
		t.Errorf("the directories are %q, %v", left, err)
	}
	for what, c := range map[string][]string{"a voter": {"1", "there is no learner 1 here"}, "nobody": {"9", "there is no learner 9 here"}} {
		body, code := httpDo(t, httpRequest(t, "POST", url+"actions/remove-learner", `{"group": "kv", "member": `+c[0]+`}`))
		if code != http.StatusConflict || !strings.Contains(body, c[1]) {
			t.Errorf("removing %s: %d %s", what, code, body)
		}
	}
	p.stop(t, os.Interrupt)
}

// While a member reads its disk, /healthz, /readyz and the page answer, and say how far that is; so
// does the terminal. Nobody presses a button before there are members.
func TestAMemberThatReadsItsDiskSaysHowFarItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var addresses []string
	for range 2 {
		address, err := freeAddress("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, address)
	}
	args := []string{"-id", "1", "-peers", "1=" + addresses[0], "-redis", "127.0.0.1:0", "-http", addresses[1], "-election", "100ms", "-dir", dir}
	p := start(t, args...)
	url := p.page(t)
	p.until(t, "leads (term")
	conn := dial(t, p.redis[0])
	for i := range 8 {
		conn.do(t, []byte("SET"), fmt.Append(nil, "key", i), bytes.Repeat([]byte("x"), 1<<20))
	}
	press(t, url, "snapshot", 1)
	conn.do(t, []byte("SET"), []byte("after"), []byte("it")) // when that is saved, it is too that there is a snapshot
	p.stop(t, os.Interrupt)

	p = startCommand(t, slowdisk.Command(t, dir, program(t), args...))
	for deadline := time.Now().Add(30 * time.Second); ; {
		answer, err := http.Get(url + "healthz")
		if err == nil {
			if answer.Body.Close(); answer.StatusCode != http.StatusOK {
				t.Errorf("/healthz: %s", answer.Status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err) // it listens first of all
		}
	}
	shownOpening(t, url)
	if body, code := httpDo(t, httpRequest(t, "GET", url+"readyz", "")); code != http.StatusServiceUnavailable || !strings.Contains(body, "host 1 reads its disk: ") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if body, code := httpDo(t, httpRequest(t, "POST", url+"actions/snapshot", `{"group": "kv", "member": 1}`)); code != http.StatusServiceUnavailable || !strings.Contains(body, "yet to be opened") {
		t.Errorf("a button: %d %s", code, body)
	}
	p.until(t, " % of 67.1 MB, ")
	p.until(t, "member 1: reading its journal: done, ")
	p.until(t, "member 1: restoring snapshot ")
	p.until(t, ": done")
	if body, code := httpDo(t, httpRequest(t, "GET", url+"readyz", "")); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if got := dial(t, p.redis[0]).pipeline(t, "STRLEN key7"); got != ":1048576" {
		t.Errorf("STRLEN: %s", got)
	}
	p.stop(t, os.Interrupt)
}

// shownOpening reads what the page shows, until a host has read some of its disk.
func shownOpening(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answer, err := http.DefaultClient.Do(httpRequest(t, "GET", url+"events", "").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	in := bufio.NewScanner(answer.Body)
	for in.Scan() {
		data, is := strings.CutPrefix(in.Text(), `data: {`)
		if !is {
			continue
		}
		var view struct {
			Opening []struct{ Peer, Done, Size int64 }
		}
		if err := json.Unmarshal([]byte("{"+data), &view); err != nil {
			t.Fatal(err)
		}
		if len(view.Opening) == 1 && view.Opening[0].Peer == 1 && view.Opening[0].Done > 0 && view.Opening[0].Size == 64<<20 {
			return
		}
	}
	t.Fatalf("the page does not show it: %v", in.Err())
}

// A web site that has its own name lead here is not let in; and one member of three has
// buttons for what it can do alone, and leads to the others' pages.
func TestThePageIsForThisMachine(t *testing.T) {
	p := start(t, "-id", "1", "-redis", "127.0.0.1:0", "-listen", "127.0.0.1:0", "-http", "127.0.0.1:0",
		"-peers", "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3", "-pages", "2=127.0.0.1:8082", "-dir", filepath.Join(t.TempDir(), "data"))
	url := p.page(t)
	shown(t, url, func(_ int, members string) bool { return members == "1 voter, 2 voter http://127.0.0.1:8082/, 3 voter" })
	for host, code := range map[string]int{"elsewhere.example": 421, "elsewhere.example:80": 421, "localhost": 200, "localhost:8080": 200, "127.0.0.1": 200, "[::1]:80": 200} {
		r := httpRequest(t, "GET", url+"healthz", "")
		r.Host = host
		if body, got := httpDo(t, r); got != code {
			t.Errorf("as %s: %d %s", host, got, body)
		}
	}
	if body, code := httpDo(t, httpRequest(t, "GET", url+"readyz", "")); code != http.StatusServiceUnavailable || !strings.Contains(body, "knows of no leader") {
		t.Errorf("%d %s", code, body)
	}
	if body, code := httpDo(t, httpRequest(t, "POST", url+"actions/add-learner", `{"group": "kv"}`)); code != http.StatusNotFound {
		t.Errorf("%d %s", code, body)
	}
	p.stop(t, os.Interrupt)
}
