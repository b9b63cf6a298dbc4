package dashboard_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/raftcore"
)

var shots = flag.String("shots", "", "the browser's test leaves pictures of the page in this directory")

// browser is a Chromium without a window, told what to do over two pipes.
type browser struct {
	t       *testing.T
	to      io.Writer
	from    *bufio.Reader
	session string
	calls   int
	errors  []string // that the page has caused
}

// newBrowser starts one, or skips the test.
func newBrowser(t *testing.T, ctx context.Context) *browser {
	t.Helper()
	name := ""
	for _, known := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(known); err == nil {
			name = found
			break
		}
	}
	if name == "" {
		t.Skip("there is no Chromium here to look at the page with: apt-get install chromium")
	}
	ours, theirs := make([]*os.File, 2), make([]*os.File, 2)
	for i := range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ours[i], theirs[i] = w, r
		if i == 1 {
			ours[i], theirs[i] = r, w
		}
	}
	// Without its sandbox, which root cannot have: it opens nothing but our own page.
	cmd := exec.CommandContext(ctx, name, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range theirs {
		f.Close()
	}
	b := &browser{t: t, to: ours[0], from: bufio.NewReader(ours[1])}
	t.Cleanup(func() {
		b.session = ""
		b.call("Browser.close", nil, nil)
		_ = cmd.Wait() // it is gone, whatever it says of that
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	b.session = session.SessionID
	for _, domain := range []string{"Runtime", "Log", "Page"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// call has the browser do something, and waits for what comes of it.
func (b *browser) call(method string, params any, result any) {
	b.t.Helper()
	b.calls++
	request := map[string]any{"id": b.calls, "method": method}
	if params != nil {
		request["params"] = params
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	message, err := json.Marshal(request)
	if err == nil {
		_, err = b.to.Write(append(message, 0))
	}
	for err == nil {
		var in []byte
		if in, err = b.from.ReadBytes(0); err != nil {
			break
		}
		var m struct {
			ID             int
			Method         string
			Params, Result json.RawMessage
			Error          *struct{ Message string }
		}
		if err = json.Unmarshal(in[:len(in)-1], &m); err != nil {
			break
		}
		switch {
		case m.Method == "Runtime.exceptionThrown" || m.Method == "Log.entryAdded":
			b.errors = append(b.errors, string(m.Params))
		case m.ID == b.calls && m.Error != nil:
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		case m.ID == b.calls && result == nil:
			return
		case m.ID == b.calls:
			if err = json.Unmarshal(m.Result, result); err == nil {
				return
			}
		}
	}
	b.t.Fatalf("%s: %v; the page has failed with %q", method, err, b.errors)
}

// run evaluates an expression, which may be a promise, and returns its value.
func (b *browser) run(expression string) (value any) {
	b.t.Helper()
	var result struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &result)
	if result.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, result.ExceptionDetails)
	}
	return result.Result.Value
}

// until waits until a condition holds, which is looked at whenever the page changes.
func (b *browser) until(condition string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`new Promise(done => {
		const look = () => { if (%s) { watch.disconnect(); done(true); } };
		const watch = new MutationObserver(look);
		watch.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
		look();
	})`, condition))
}

// goes opens a page.
func (b *browser) goes(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.run(`new Promise(done => document.readyState === "complete" && location.href !== "about:blank" ? done() : addEventListener("load", done))`)
}

// looks has the window be of a size, and light or dark, and leaves a picture if that is wanted.
func (b *browser) looks(name string, width, height int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.run(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))`)
	if *shots == "" {
		return
	}
	var picture struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &picture)
	data, err := base64.StdEncoding.DecodeString(picture.Data)
	if err == nil {
		err = errors.Join(os.MkdirAll(*shots, 0o755), os.WriteFile(filepath.Join(*shots, name+".png"), data, 0o644))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// faint finds text with less contrast than WCAG 2.1 AA asks for, and controls without a name.
const faint = `(() => {
	const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
	const rgb = text => (text.match(/[\d.]+/g) || []).map(Number);
	const found = [];
	for (const e of document.body.querySelectorAll("*")) {
		const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
		if (!own || !e.checkVisibility() || e.closest(".unseen, noscript")) continue;
		let back = e;
		while (back.parentElement && rgb(getComputedStyle(back).backgroundColor)[3] === 0) back = back.parentElement;
		const [a, b] = [light(rgb(getComputedStyle(e).color)), light(rgb(getComputedStyle(back).backgroundColor))].sort((x, y) => y - x);
		if ((a + .05) / (b + .05) < 4.5) found.push(e.tagName + " " + e.textContent.slice(0, 40) + ": " + ((a + .05) / (b + .05)).toFixed(1));
	}
	for (const e of document.querySelectorAll("button, input")) {
		if (!e.textContent.trim() && !(e.labels && e.labels.length) && !e.ariaLabel) found.push(e.outerHTML);
	}
	return found.join("; ");
})()`

// Who looks at a follower is led to the leader's page, and sees there how far the others are.
func TestAPageLeadsToTheLeadersInABrowser(t *testing.T) {
	w := newWorld(t, 3, dashboard.Actions{})
	w.open("this & that")
	urls := map[raftcore.NodeID]string{}
	for _, h := range w.hosts {
		handler, err := dashboard.New(dashboard.Config{
			Hosts: func() []*actors.Host { return []*actors.Host{h} }, Page: func(host raftcore.NodeID) string { return urls[host] },
			Interval: 20 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(handler)
		t.Cleanup(func() {
			server.CloseClientConnections()
			server.Close()
		})
		urls[h.ID()] = server.URL + "/"
	}
	led := w.visit("this+%26+that").leads()
	follower := led%3 + 1
	b := newBrowser(t, w.ctx)
	b.goes(urls[follower] + "#this%20%26%20that")
	b.until(fmt.Sprintf(`document.querySelectorAll("#pages a").length === 2 && document.querySelector("#pages a").textContent === "★ The leader's page: member %d"`, led))
	for _, look := range []struct {
		name          string
		width, height int
		scheme        string
	}{{"follower", 1280, 800, "light"}, {"follower-phone", 360, 800, "dark"}} {
		b.looks(look.name, look.width, look.height, look.scheme)
		if found := b.run(faint); found != "" {
			t.Errorf("%s: hard to read: %v", look.name, found)
		}
	}
	b.goes(b.run(`document.querySelector("#pages a").href`).(string))
	b.until(fmt.Sprintf(`[...document.querySelectorAll(".member")].find(m => m.getAttribute("aria-label") === "Member %d")?.textContent.includes("✓ has everything") &&
		document.querySelector(".member.leader h3").textContent.startsWith("Member %d")`, follower, led))
	b.looks("leader", 1280, 800, "light")
	if len(b.errors) > 0 {
		t.Errorf("the page has failed: %q", b.errors)
	}
}

// Who opens the page while a host reads its disk sees how far that is, and then the group.
func TestAHostThatReadsItsDiskInABrowser(t *testing.T) {
	var opening dashboard.Opening
	w := newWorldWith(t, 1, dashboard.Config{Interval: 20 * time.Millisecond, Opening: &opening})
	w.shown.Store(&[]*actors.Host{})
	reading := opening.Host(1)
	reading(10<<20, 400<<20)
	b := newBrowser(t, w.ctx)
	b.goes(w.url("/"))
	b.until(`document.querySelector("#opening label")?.textContent.startsWith("Host 1 reads its disk: 10.0 MiB of 400.0 MiB")`)
	reading(100<<20, 400<<20)
	b.until(`document.querySelector("#opening progress").value === 100 * 1048576 && / left$/.test(document.querySelector("#opening label").textContent)`)
	b.until(`document.querySelector("#verdict .trouble.warn").textContent === "groups are open when their hosts have read their disks"`)
	for _, look := range []struct {
		name          string
		width, height int
		scheme        string
	}{{"opening", 1280, 800, "light"}, {"opening-phone", 360, 800, "dark"}} {
		b.looks(look.name, look.width, look.height, look.scheme)
		if found := b.run(faint); found != "" {
			t.Errorf("%s: hard to read: %v", look.name, found)
		}
	}
	reading(400<<20, 400<<20)
	w.shown.Store(&w.hosts)
	w.open("group")
	b.until(`document.querySelector("#opening").hidden && document.querySelector(".member.leader h3")?.textContent.startsWith("Member 1")`)
	if len(b.errors) > 0 {
		t.Errorf("the page has failed: %q", b.errors)
	}
}

// What a person sees: who leads, and that another does after a button was pressed; on a large
// screen and on a phone, light and dark.
func TestInABrowser(t *testing.T) {
	var w *world
	w = newWorld(t, 3, dashboard.Actions{
		Transfer: func(ctx context.Context, _ string, to raftcore.NodeID) error { return w.groups[0].Transfer(ctx, to) },
	})
	w.open("poor")
	poor := w.groups
	w.open("islands")
	b := newBrowser(t, w.ctx)
	led := w.visit("islands").leads()
	b.goes(w.url("/#islands"))
	leads := func(id raftcore.NodeID) string {
		return fmt.Sprintf(`document.querySelector(".member.leader h3")?.textContent.startsWith("Member %d") && document.querySelectorAll(".member.leader").length === 1 &&
			document.querySelector("#verdict .fine")?.textContent.includes("member %d leads in term")`, id, id)
	}
	b.until(leads(led))
	next := led%3 + 1
	b.run(fmt.Sprintf(`[...document.querySelectorAll(".member")].find(m => m.getAttribute("aria-label") === "Member %d").querySelector("button").click()`, next))
	b.until(leads(next))
	b.until(fmt.Sprintf(`document.querySelector("#result").textContent === "Handing the leadership to member %d: done."`, next))
	b.until(fmt.Sprintf(`[...document.querySelectorAll("#events li")].some(e => e.textContent.includes("member %d leads, term"))`, next))
	ctx, enough := context.WithCancel(w.ctx)
	proposed := make(chan struct{})
	go func() {
		defer close(proposed)
		for ctx.Err() == nil {
			_, _ = w.groups[0].Propose(ctx, []byte("x"))
		}
	}()
	b.until(`document.querySelector("#latency").textContent.startsWith("median ")`)
	b.until(`document.querySelector("#rate-plot path.main")?.getAttribute("d").includes("L")`)
	enough()
	<-proposed
	for _, look := range []struct {
		name          string
		width, height int
		scheme        string
	}{{"light", 1280, 1100, "light"}, {"dark", 1280, 1100, "dark"}, {"phone", 360, 800, "light"}, {"phone-dark", 360, 800, "dark"}} {
		b.looks(look.name, look.width, look.height, look.scheme)
		if wide := b.run(`document.documentElement.scrollWidth`).(float64); int(wide) > look.width {
			t.Errorf("%s: the page is %v wide", look.name, wide)
		}
		if found := b.run(faint); found != "" {
			t.Errorf("%s: hard to read: %v", look.name, found)
		}
	}
	// The other group is in trouble: the list says so, and a press shows why.
	_, _ = poor[0].Propose(w.ctx, []byte("boom")) // whatever becomes of it
	b.until(`document.querySelector("#group-list a").textContent === "✕ poor"`)
	b.run(`document.querySelector("#group-list a").click()`)
	b.until(`document.title === "✕ poor · Castaway" && document.querySelector("#verdict .trouble.bad").textContent.includes("out of service") && document.querySelector(".member.bad .fault").textContent === "✕ machine fault"`)
	b.looks("trouble", 360, 800, "dark")
	if found := b.run(faint); found != "" {
		t.Errorf("hard to read: %v", found)
	}
	// What is old does not look as if it was new.
	w.shown.Store(&[]*actors.Host{})
	b.until(`document.querySelector("#verdict .trouble.bad").textContent === "no host here has the group “poor” open"`)
	w.server.CloseClientConnections()
	w.server.Listener.Close()
	before := len(b.errors)
	b.until(`document.querySelector("#link").textContent.startsWith("✕ no news for ")`)
	if before > 0 {
		t.Errorf("the page has failed: %q", b.errors[:before])
	}
}
