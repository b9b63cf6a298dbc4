package dashboard_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/actors/dashboard"
)

// sampleLine is a sample in the text format of Prometheus.
var sampleLine = regexp.MustCompile(`^([a-z_]+)(\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)*\})? (\S+)$`)

// read reads metrics as Prometheus does, and finds what is malformed.
func read(t *testing.T, body string) map[string]float64 {
	t.Helper()
	samples, family, help := map[string]float64{}, "", ""
	ended := map[string]bool{}
	for text := range strings.Lines(body) {
		text = strings.TrimSuffix(text, "\n")
		if rest, is := strings.CutPrefix(text, "# HELP "); is {
			help, _, _ = strings.Cut(rest, " ")
			continue
		}
		if rest, is := strings.CutPrefix(text, "# TYPE "); is {
			name, kind, _ := strings.Cut(rest, " ")
			if name != help || ended[name] || kind != "gauge" && kind != "counter" || (kind == "counter") != strings.HasSuffix(name, "_total") {
				t.Errorf("%q after the help of %q", text, help)
			}
			family, ended[name] = name, true
			continue
		}
		m := sampleLine.FindStringSubmatch(text)
		if m == nil || m[1] != family {
			t.Errorf("%q in %q", text, family)
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if _, twice := samples[m[1]+m[2]]; err != nil || twice {
			t.Errorf("%q: %v, twice: %v", text, err, twice)
		}
		samples[m[1]+m[2]] = value
	}
	return samples
}

func TestMetricsAreWhatTheMembersSay(t *testing.T) {
	w := newWorld(t, 3, dashboard.Actions{})
	name := "a \"group\"\nof \\ 3"
	w.open(name)
	v := w.visit("a+%22group%22%0Aof+%5C+3")
	led := v.leads()
	w.propose("x")
	v.until("all have everything", func(v *view) bool {
		for _, m := range v.Group.Members {
			if m.Applied < 3 || m.Lag != nil && *m.Lag > 0 || m.Last != v.Group.Members[0].Last {
				return false
			}
		}
		return true
	})
	body, code := w.get("/metrics")
	if code != http.StatusOK {
		t.Fatal(code, body)
	}
	samples := read(t, body)
	for id := range 3 {
		of := fmt.Sprintf(`{node="%d",group="a \"group\"\nof \\ 3"}`, id+1)
		is := map[bool]float64{true: 1}[id+1 == int(led)]
		s, err := w.groups[id].Status(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for metric, want := range map[string]float64{
			"castaway_leader": is, "castaway_up": 1, "castaway_leader_known": 1, "castaway_quarantined": 0, "castaway_voters": 3,
			"castaway_term": float64(s.Term), "castaway_first_index": float64(s.First), "castaway_applied_index": float64(s.Applied),
			"castaway_commit_index": float64(s.Commit), "castaway_saved_index": float64(s.Saved), "castaway_last_index": float64(s.Last),
			"castaway_refused_messages_total": float64(s.Refused),
		} {
			if got, is := samples[metric+of]; !is || got != want {
				t.Errorf("%s%s is %v, %v; want %v", metric, of, got, is, want)
			}
		}
		host := fmt.Sprintf(`{node="%d"}`, id+1)
		for metric, want := range map[string]float64{"castaway_leaders": is, "castaway_leaderless_groups": 0, "castaway_disk_full": 0} {
			if got, is := samples[metric+host]; !is || got != want {
				t.Errorf("%s%s is %v, %v; want %v", metric, host, got, is, want)
			}
		}
		if got := samples[fmt.Sprintf(`castaway_groups{node="%d",state="running"}`, id+1)]; got != 1 {
			t.Errorf("%v groups run on host %d", got, id+1)
		}
		peer := fmt.Sprintf(`castaway_peer_lag_entries{node="%d",group="a \"group\"\nof \\ 3",peer="%d"}`, led, id+1)
		if got, is := samples[peer]; is != (id+1 != int(led)) || got != 0 {
			t.Errorf("%s is %v, %v", peer, got, is)
		}
	}
	short, _ := w.get("/metrics?groups=none")
	if samples := read(t, short); len(samples) == 0 || strings.Contains(short, "group=") {
		t.Errorf("%s", short)
	}
}
