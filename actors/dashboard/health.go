package dashboard

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// serveHealth says whether the process should be started anew: yes, with 503, if there are
// members here and every one of them is out of service, or does not answer. One that comes
// back by itself, or others that work, would only be disturbed by that.
func (h *hub) serveHealth(w http.ResponseWriter, r *http.Request) {
	s := look(r.Context(), &h.cfg)
	var why []string
	alive, members := 0, 0
	for _, name := range s.names() {
		for i := range s.groups[name] {
			m := &s.groups[name][i]
			members++
			switch {
			case m.State == actors.Faulted:
				why = append(why, fmt.Sprintf("group %q, member %d: %v", name, m.host.ID(), m.Fault))
			case m.mute:
				why = append(why, fmt.Sprintf("group %q, member %d does not answer", name, m.host.ID()))
			default:
				alive++
			}
		}
	}
	answer(w, alive > 0 || members == 0, why)
}

// serveReady says whether calls that come here can be answered: every group that is open
// has a member here that runs, knows of a leader, and applies what is committed; or the one
// that is asked for. A host whose groups are not open yet is not ready, one that reads its disk
// (Config.Opening) says that, and neither is a member that has yet to be added.
func (h *hub) serveReady(w http.ResponseWriter, r *http.Request) {
	s := look(r.Context(), &h.cfg)
	names := s.names()
	if only := r.FormValue("group"); only != "" {
		names = []string{only}
	}
	why := s.unready()
	if len(why) == 0 && len(names) == 0 {
		why = append(why, "no group is open")
	}
	for _, name := range names {
		if len(s.groups[name]) == 0 {
			why = append(why, fmt.Sprintf("group %q is not open", name))
		}
		for i := range s.groups[name] {
			m := &s.groups[name][i]
			if reason := m.unready(); reason != "" {
				why = append(why, fmt.Sprintf("group %q, member %d: %s", name, m.host.ID(), reason))
			}
		}
	}
	answer(w, len(why) == 0, why)
}

// unready returns why a member cannot answer, if it cannot.
func (m *seen) unready() string {
	switch {
	case m.mute:
		return "it does not answer"
	case m.Removed():
		return "" // others answer, and nobody should wait for this one
	case m.State != actors.Running:
		return m.State.String()
	case m.quarantined():
		return m.Fault.Error()
	case m.Leader == raftcore.Nobody:
		return "it knows of no leader"
	}
	return ""
}

// answer says yes or no, and in a line each what is wrong.
func answer(w http.ResponseWriter, ok bool, why []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	status := "ok"
	if !ok {
		status = "not ok"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, strings.Join(append([]string{status}, why...), "\n"))
}
