package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/examples/internal/progress"
	"github.com/castaway-go/castaway/raftcore"
)

// What a person reads who started this in a terminal.

// greet says where everything is, and what to type.
func (o *options) greet(members []*member, page *pageServer) {
	if o.id == 0 {
		fmt.Println("Three members in this process:")
	} else {
		fmt.Printf("Member %d of %d:\n", o.id, len(o.peers))
	}
	fmt.Println()
	for _, m := range members {
		fmt.Printf("  member %d   redis %s   raft %s   data %s\n", m.id, m.redis.Addr(), m.listen, m.dir)
	}
	if url := page.url(); url != "" {
		fmt.Printf("\nTo look at it: %s\n", url)
	}
	first, last := redisFlags(members[0]), redisFlags(members[len(members)-1])
	fmt.Printf(`
Any member takes any command. In another terminal:

  redis-cli %s set friday "a man"
  redis-cli %s get friday
  redis-cli %s raft.status
  redis-benchmark %s -t set,get -n 100000 -c 50 -P 16 -q

Ctrl-C stops it.

`, first, last, last, first)
}

// redisFlags are what redis-cli needs to find a member.
func redisFlags(m *member) string {
	host, port, _ := net.SplitHostPort(m.redis.Addr().String())
	if ip := net.ParseIP(host); ip.IsLoopback() || ip.IsUnspecified() {
		return "-p " + port
	}
	return "-h " + host + " -p " + port
}

// farewell says where the data is.
func (o *options) farewell() {
	if o.temporary {
		say("stopped; the data is still there: go on with -dir %s", o.dir)
	} else {
		say("stopped")
	}
}

func say(format string, args ...any) {
	screen.Println(time.Now().Format("15:04:05.000") + "  " + fmt.Sprintf(format, args...))
}

// screen shows what takes long as bars, and keeps lines apart from them.
var screen = progress.New(os.Stdout)

// announce tells of every change of leader, and of members that fail, until ctx
// ends.
func announce(ctx context.Context, members []*member) {
	type report struct {
		id raftcore.NodeID
		actors.Status
	}
	reports := make(chan report)
	for _, m := range members {
		go func() {
			for s := range m.group.Watch(ctx) {
				select {
				case reports <- report{m.id, s}:
				case <-ctx.Done():
				}
			}
		}()
	}
	n := newNews(len(members))
	patience := time.NewTimer(3 * members[0].election) // the first election is done by then
	defer patience.Stop()
	for {
		select {
		case r := <-reports:
			for _, line := range n.hear(r.id, r.Status) {
				say("%s", line)
			}
			if n.leaderless() {
				patience.Reset(100 * time.Millisecond) // an election that succeeds is done by then
			}
		case <-patience.C:
			switch {
			case n.leaderless():
				n.leader = raftcore.Nobody
				say("there is no leader at the moment")
			case n.term == 0: // none ever
				all := len(members[0].peers)
				say("there is no leader yet: it takes %d of the %d members to elect one", all/2+1, all)
			}
		case <-ctx.Done():
			return
		}
	}
}

// news finds out what is worth telling in what the members report. Several of
// them report the same.
type news struct {
	members int                                 // how many report
	knows   map[raftcore.NodeID]raftcore.NodeID // whom each takes for the leader
	state   map[raftcore.NodeID]actors.MemberState
	leader  raftcore.NodeID // as was told
	term    raftcore.Term
}

func newNews(members int) *news {
	return &news{members: members, knows: map[raftcore.NodeID]raftcore.NodeID{}, state: map[raftcore.NodeID]actors.MemberState{}}
}

func (n *news) hear(id raftcore.NodeID, s actors.Status) (lines []string) {
	if before, known := n.state[id]; s.State != before || !known {
		n.state[id] = s.State
		switch s.State {
		case actors.Pausing:
			lines = append(lines, fmt.Sprintf("member %d failed and starts again from its disk: %v", id, s.Fault))
		case actors.Faulted:
			lines = append(lines, fmt.Sprintf("member %d is out of service: %v", id, s.Fault))
		}
	}
	n.knows[id] = s.Leader
	if s.Leader != raftcore.Nobody && (s.Term > n.term || s.Term == n.term && n.leader == raftcore.Nobody) {
		n.leader, n.term = s.Leader, s.Term
		who := fmt.Sprintf("member %d", s.Leader)
		if n.members == 1 && s.Leader == id {
			who = "this member"
		}
		lines = append(lines, fmt.Sprintf("%s leads (term %d)", who, s.Term))
	}
	return lines
}

// leaderless reports whether a leader was told of, and nobody knows of one now.
func (n *news) leaderless() bool {
	for _, leader := range n.knows {
		if leader != raftcore.Nobody {
			return false
		}
	}
	return n.leader != raftcore.Nobody
}
