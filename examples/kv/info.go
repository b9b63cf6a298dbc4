package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
)

// section is a part of INFO.
type section struct {
	name  string
	facts func(s *server) []fact
}

// fact is a line of INFO, and of RAFT.STATUS.
type fact struct {
	name  string
	value any
}

func (f fact) String() string { return fmt.Sprintf("%s:%v", f.name, f.value) }

var infoSections = []section{
	{"Server", serverFacts},
	{"Clients", clientFacts},
	{"Memory", memoryFacts},
	{"Stats", statsFacts},
	{"Raft", raftFacts},
	{"Keyspace", keyspaceFacts},
}

// cmdInfo answers about this member alone. It asks nobody else, so it works
// when nothing else does.
func cmdInfo(c *client, args [][]byte, r *reply) {
	var out strings.Builder
	for _, section := range infoSections {
		if !wanted(section.name, args[1:]) {
			continue
		}
		if out.Len() > 0 {
			out.WriteString("\r\n")
		}
		fmt.Fprintf(&out, "# %s\r\n", section.name)
		for _, f := range section.facts(c.server) {
			fmt.Fprintf(&out, "%v\r\n", f)
		}
	}
	r.text(out.String())
}

func wanted(section string, asked [][]byte) bool {
	for _, a := range asked {
		if is(a, section) || is(a, "all") || is(a, "everything") || is(a, "default") {
			return true
		}
	}
	return len(asked) == 0
}

func serverFacts(s *server) []fact {
	up := time.Since(s.started)
	_, port, _ := strings.Cut(s.ln.Addr().String(), ":")
	return []fact{
		{"redis_version", redisVersion},
		{"redis_mode", "standalone"},
		{"server_name", "castaway examples/kv"},
		{"go_version", runtime.Version()},
		{"os", runtime.GOOS + " " + runtime.GOARCH},
		{"process_id", os.Getpid()},
		{"tcp_port", port},
		{"uptime_in_seconds", int(up.Seconds())},
		{"uptime_in_days", int(up.Hours() / 24)},
	}
}

func clientFacts(s *server) []fact {
	return []fact{
		{"connected_clients", len(s.everybody())},
		{"maxclients", maxClients},
	}
}

func memoryFacts(*server) []fact {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return []fact{
		{"used_memory", m.HeapAlloc},
		{"used_memory_human", fmt.Sprintf("%.1fM", float64(m.HeapAlloc)/(1<<20))},
	}
}

func statsFacts(s *server) []fact {
	return []fact{
		{"total_connections_received", s.total.Load()},
		{"total_commands_processed", s.commands.Load()},
	}
}

func keyspaceFacts(s *server) []fact {
	if s.gauges.keys.Load() == 0 {
		return nil
	}
	return []fact{{"db0", fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", s.gauges.keys.Load(), s.gauges.volatile.Load())}}
}

// raftFacts are what this member knows of its group.
func raftFacts(s *server) []fact {
	ctx, cancel := context.WithTimeout(s.life, time.Second)
	defer cancel()
	var status actors.Status
	g, err := s.reach(ctx)
	if err == nil {
		status, err = g.Status(ctx)
	}
	facts := []fact{
		{"member", s.id},
		{"state", status.State},
		{"role", roleName(status)},
		{"term", status.Term},
		{"leader", status.Leader},
		{"commit", status.Commit},
		{"applied", status.Applied},
		{"saved", status.Saved},
		{"last", status.Last},
		{"first", status.First},
		{"log_time", time.UnixMilli(s.gauges.now.Load()).UTC().Format(time.RFC3339Nano)},
		{"voters", strings.Trim(fmt.Sprint(status.Conf.Voters), "[]")},
	}
	for _, p := range status.Peers {
		facts = append(facts, fact{fmt.Sprintf("peer_%d", p.ID), fmt.Sprintf("state=%s,match=%d,next=%d", p.State, p.Match, p.Next)})
	}
	if status.Fault != nil {
		facts = append(facts, fact{"fault", oneLine(status.Fault)})
	}
	if err != nil {
		facts = append(facts, fact{"error", oneLine(err)})
	}
	return facts
}

func roleName(s actors.Status) string { return strings.ToLower(s.Role.String()) }

func cmdRaftStatus(c *client, _ [][]byte, r *reply) {
	facts := raftFacts(c.server)
	r.array(len(facts))
	for _, f := range facts {
		r.text(f.String())
	}
}
