package story

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/castaway-go/castaway/raftcore"
)

// commands is what a story may say.
var commands []command

type command struct {
	name, usage string
	run         func(w *world, args words)
}

// words is what follows the name of a command.
type words []string

func (a words) at(i int) string {
	if i >= len(a) {
		fail("a word is missing")
	}
	return a[i]
}

func (a words) id(i int) NodeID {
	n, err := strconv.ParseUint(a.at(i), 10, 32)
	if err != nil {
		fail("%q is no number", a[i])
	}
	return NodeID(n)
}

func (a words) duration(i int) time.Duration {
	d, err := time.ParseDuration(a.at(i))
	if err != nil {
		fail("%q is no duration", a[i])
	}
	return d
}

// ids reads as many numbers as there are, and returns the words after them.
func (a words) ids() (ids []NodeID, rest words) {
	for len(a) > 0 && strings.ContainsAny(a[0][:1], "0123456789") {
		ids, a = append(ids, a.id(0)), a[1:]
	}
	return ids, a
}

// links reads 1->2, 1-> or ->2; or 3, for both ways; or nothing, for all.
func (a words) links() []link {
	if len(a) == 0 {
		return []link{{}}
	}
	from, to, ok := strings.Cut(a[0], "->")
	if !ok {
		return []link{{from: a.id(0)}, {to: a.id(0)}}
	}
	var l link
	if from != "" {
		l.from = words{from}.id(0)
	}
	if to != "" {
		l.to = words{to}.id(0)
	}
	return []link{l}
}

// node returns the node named by the first word, which must be up.
func (w *world) node(a words) *member {
	m := w.find(a.id(0))
	if m == nil {
		fail("there is no node %s", a[0])
	}
	if m.node == nil {
		fail("node %s is down", a[0])
	}
	return m
}

// down returns the node named by the first word, which must be down.
func (w *world) down(a words) *member {
	m := w.find(a.id(0))
	if m == nil || m.node != nil {
		fail("node %s is not down", a[0])
	}
	return m
}

// input is a command that gives the node named by its first word an input.
func input(in func(w *world, m *member, args words) Input) func(*world, words) {
	return func(w *world, args words) {
		m := w.node(args)
		w.step(m, in(w, m, args[1:]))
	}
}

// request is one with a tag.
func request(in func(tag Tag, m *member, args words) Input) func(*world, words) {
	return input(func(w *world, m *member, args words) Input {
		w.tag++
		return in(w.tag, m, args)
	})
}

func init() {
	commands = []command{
		{"group", "1 2 3 [witness 3] [leader 1]: founds a group, maybe with a witness; or one that has a leader already", group},
		{"given", "1 of 3 log 1 1 2 [term 4] [vote 2]: starts node 1 of 3 with these terms in its log", given},
		{"config", "Quiesce=true …: fields of raftcore.Config, for nodes that are started from now on", func(w *world, args words) {
			set(&Config{}, args)
			w.settings = append(w.settings, args...)
		}},
		{"anew", ": all this did not happen: the story begins again with nothing", func(w *world, _ words) { *w = *newWorld() }},
		{"join", "4: starts a node with an empty disk, which waits to be added", func(w *world, args words) { w.start(w.add(args.id(0), "Joins=true")) }},
		{"crash", "3 [keeping 1]: what is in memory is lost, and all Saves under way but the oldest 1", func(w *world, args words) {
			m := w.node(args)
			if len(args) > 1 {
				m.disk.save(int(args.id(2)))
			}
			m.node, m.disk.pending = nil, nil
		}},
		{"restart", "3: starts again from its disk", func(w *world, args words) { w.start(w.down(args)) }},
		{"replace", "3: starts again with an empty disk", func(w *world, args words) {
			m := w.down(args)
			m.disk, m.cfg.Joins, m.life = disk{}, true, m.life+100
			w.start(m)
		}},
		{"tick", "[2] 1s: so much time has passed when the node is next told the time; or all nodes", func(w *world, args words) {
			nodes, d := w.nodes, args.duration(max(0, len(args)-1))
			if len(args) > 1 {
				nodes = []*member{w.node(args)}
			}
			for _, m := range nodes {
				if m.now = m.now.Add(d); m.node != nil {
					w.step(m)
				}
			}
		}},
		{"pass", "1s: time passes; whatever falls due is done, and messages arrive at once", func(w *world, args words) { w.pass(args.duration(0)) }},
		{"deliver", "[1->2] [first]: messages that are under way arrive, or the first or last of them; 1-> and ->2 are links, too", func(w *world, args words) {
			from, which := 0, ""
			if n := len(args); n > 0 && (args[n-1] == "first" || args[n-1] == "last") {
				args, which = args[:n-1], args[n-1]
			}
			taken := w.take(args.links()[0])
			if len(taken) == 0 {
				fail("nothing is under way there")
			}
			if which == "last" {
				from = len(taken) - 1
			}
			now := taken[from:]
			if which != "" {
				now = now[:1]
				w.mail = slices.Concat(w.mail, taken[:from], taken[from+1:])
			}
			for _, msg := range now {
				w.arrive(msg)
			}
		}},
		{"drop", "[1->3]: messages that are under way are lost", func(w *world, args words) { w.lose(args.links()) }},
		{"cut", "3: nothing reaches node 3, nor comes from it; or 1->3, for one direction", func(w *world, args words) {
			w.cut = append(w.cut, args.links()...)
			w.lose(args.links())
		}},
		{"heal", ": no link is cut any more", func(w *world, _ words) { w.cut = nil }},
		{"settle", ": messages arrive, and what comes of them, until none is under way", func(w *world, _ words) { w.settle() }},
		{"disk", "2 slow: its Saves take until they are said to be durable; fast: no time", func(w *world, args words) {
			m := w.node(args)
			if m.slow = args.at(1) == "slow"; !m.slow && len(m.disk.pending) > 0 {
				w.step(m, m.disk.save(len(m.disk.pending)))
			}
		}},
		{"saved", "2: the oldest Save of a slow disk is durable", input(func(_ *world, m *member, _ words) Input {
			if len(m.disk.pending) == 0 {
				fail("node %d has no Save under way", m.id)
			}
			return m.disk.save(1)
		})},
		{"campaign", "2: its election timeout has passed", input(func(*world, *member, words) Input { return Campaign{} })},
		{"propose", "1 x=1: asks a node to replicate a command", request(func(tag Tag, _ *member, args words) Input {
			return Propose{Tag: tag, Data: []byte(args.at(0))}
		})},
		{"watch", "1 x=1: the same, and all its stages are told", request(func(tag Tag, _ *member, args words) Input {
			return Propose{Tag: tag, Data: []byte(args.at(0)), Watch: true}
		})},
		{"read", "1 x: asks a node for a value", request(func(tag Tag, m *member, args words) Input {
			m.reads = append(m.reads, query{tag: tag, key: args.at(0)})
			return Read{Tag: tag}
		})},
		{"change", "1 voters 1 2 4 [learners 5]: asks a leader for other members", request(func(tag Tag, _ *member, args words) Input {
			voters, rest := args[1:].ids()
			conf := ConfState{Voters: voters}
			if len(rest) > 0 {
				conf.Learners, _ = rest[1:].ids()
			}
			return ChangeConfig{Tag: tag, Conf: conf}
		})},
		{"transfer", "1 2: asks node 1 to hand its office to node 2", request(func(tag Tag, _ *member, args words) Input {
			return Transfer{Tag: tag, To: args.id(0)}
		})},
		{"snapshot", "1: its machine has taken a snapshot", input(func(_ *world, m *member, _ words) Input { return m.takeSnapshot() })},
		{"report", "1->3 failed: the transport tells node 1 that its snapshot for node 3 is moving, delivered or failed", func(w *world, args words) {
			l := args.links()[0]
			m := w.find(l.from)
			for s := SnapshotMoving; s <= SnapshotFailed; s++ {
				if s.String() == args.at(1) {
					w.step(m, SnapshotSent{Peer: l.to, Index: m.disk.snapshot.Last.Index, Status: s})
				}
			}
		}},
		{"unreachable", "2 1: the transport tells node 2 that node 1 cannot be reached", input(func(_ *world, _ *member, args words) Input {
			return Unreachable{Peer: args.id(0)}
		})},
		{"status", "1: what a node says of itself, and a leader of the others", func(w *world, args words) {
			st := w.node(args).node.Status()
			w.say("%v", st)
			for _, p := range st.Peers {
				w.say("%v", p)
			}
		}},
		{"mail", ": the messages that are under way", func(w *world, _ words) {
			for _, m := range w.mail {
				w.say("%v", m)
			}
		}},
		{"log", "1: its entries", func(w *world, args words) {
			for _, e := range w.find(args.id(0)).disk.log() {
				w.say("%v %v", args[0], e)
			}
		}},
		{"logs", ": all logs, by the terms of their entries; those before the bar are known to be committed", func(w *world, _ words) {
			for _, m := range w.nodes {
				w.say("%d  %s", m.id, m.terms())
			}
		}},
		{"state", "1: what its machine holds", func(w *world, args words) { w.say("%s %v", args[0], &w.node(args).machine) }},
		{"quietly", "pass 1s: any command, without its lines", func(w *world, args words) {
			w.do(args)
			w.hidden, w.said, w.role = w.said, nil, -1
		}},
		{"expect", "…: fails if it is not so, recorded or not; see README.md", func(w *world, args words) { w.expect(args) }},
	}
}

// run carries out a command and returns the lines that it prints.
func (w *world) run(line string) []string {
	w.before = slices.Concat(w.hidden, w.said)
	w.hidden, w.said, w.role = nil, nil, -1
	w.do(strings.Fields(line))
	return w.said
}

func (w *world) do(line words) {
	var all strings.Builder
	for _, c := range commands {
		if c.name == line.at(0) {
			c.run(w, line[1:])
			return
		}
		fmt.Fprintf(&all, "\n    %s %s", c.name, c.usage)
	}
	fail("there is no command %q. There are:%s", line[0], all.String())
}

// set sets fields of a Config by their names.
func set(cfg *Config, settings words) {
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		field := reflect.ValueOf(cfg).Elem().FieldByName(name)
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case !field.IsValid():
			fail("Config has no field %s", name)
		case field.Kind() == reflect.Bool:
			field.SetBool(value == "true")
		case field.CanInt() && err == nil:
			field.SetInt(n)
		default:
			fail("%s cannot be %q", name, value)
		}
	}
}

// add makes a node with an empty disk.
func (w *world) add(id NodeID, settings ...string) *member {
	if w.find(id) != nil {
		fail("there is a node %d", id)
	}
	m := &member{id: id, cfg: Config{ID: id, Seed: 1}, life: Incarnation(100 + id), now: Instant(time.Hour)}
	set(&m.cfg, append(slices.Clone(w.settings), settings...))
	w.nodes = append(w.nodes, m)
	return m
}

func group(w *world, args words) {
	ids, rest := args.ids()
	conf := ConfState{Voters: ids}
	if len(rest) > 0 && rest[0] == "witness" {
		conf.Witnesses, rest = []NodeID{rest.id(1)}, rest[2:]
	}
	for _, id := range ids {
		w.start(w.add(id, fmt.Sprint("Witness=", conf.Witness(id))))
		w.step(w.find(id), Bootstrap{Cluster: 1, Conf: conf})
	}
	if len(rest) > 0 {
		w.step(w.find(rest.id(1)), Campaign{})
		w.settle()
		w.pass(200 * time.Millisecond)
		w.said = nil
		w.expect(rest)
	}
}

func given(w *world, args words) {
	m := w.add(args.id(0))
	d := &m.disk
	for id := range args.id(2) {
		d.base.Conf.Conf.Voters = append(d.base.Conf.Conf.Voters, id+1)
	}
	terms, rest := args[4:].ids()
	for i, t := range terms {
		d.entries = append(d.entries, Entry{EntryID: EntryID{Term: Term(t), Index: Index(i + 1)}, Kind: EntryCommand, Data: fmt.Appendf(nil, "v%d=%d", i+1, t)})
		d.hard.Term = Term(t)
	}
	for ; len(rest) > 0; rest = rest[2:] {
		if rest[0] == "term" {
			d.hard.Term = Term(rest.id(1))
		} else {
			d.hard.Vote = rest.id(1)
		}
	}
	d.hard.Cluster, d.hard.Joined = 1, true
	w.start(m)
}

// lose loses the messages of links.
func (w *world) lose(links []link) {
	for _, l := range links {
		for _, msg := range w.take(l) {
			w.say("%v  (lost)", msg)
		}
	}
}

// terms tells a log by the terms of its entries.
func (m *member) terms() string {
	base, commit := m.disk.base.Last, Index(0)
	var s []string
	if base.Index > 0 {
		s = append(s, fmt.Sprintf("(snapshot to %v)", base))
	}
	if m.node != nil {
		commit = m.node.Status().Commit
	}
	for _, e := range m.disk.log() {
		if s = append(s, fmt.Sprint(e.Term)); e.Index == commit {
			s = append(s, "|")
		}
	}
	return strings.Join(s, " ")
}

// expect fails if something is not so.
func (w *world) expect(args words) {
	switch what := strings.Join(args, " "); {
	case args.at(0) == "leader":
		for _, m := range w.nodes {
			if leads := m.node != nil && m.node.Status().Role == Leader; leads != (m.id == args.id(1)) {
				fail("node %d %s", m.id, map[bool]string{true: "leads", false: "does not lead"}[leads])
			}
		}
	case what == "no leader":
		w.expect(words{"leader", "0"})
	case what == "silence":
		if n := len(w.before); n > 0 {
			fail("the command before printed %d lines", n)
		}
	case what == "same log":
		var first *member
		for _, m := range w.nodes {
			if m.node != nil && first == nil {
				first = m
			}
			if m.node != nil && fmt.Sprint(m.disk.log()) != fmt.Sprint(first.disk.log()) {
				fail("the logs of %d and %d differ: %s, %s", first.id, m.id, first.terms(), m.terms())
			}
		}
	case args[0] == "tag":
		want := strings.Join(args[2:], " ")
		if got := cmp.Or(w.outcomes[Tag(args.id(1))], "open"); got != want {
			fail("tag %s is %q, and %q was expected", args[1], got, want)
		}
	default:
		m := w.node(args)
		for _, want := range args[1:] {
			name, value, _ := strings.Cut(want, "=")
			if got := m.fact(name); got != value {
				fail("node %d has %s=%s, and %s was expected", m.id, name, got, want)
			}
		}
	}
}

// fact tells something of a node: voters, outgoing, learners, log, state, asleep,
// or a field of its Status.
func (m *member) fact(name string) string {
	st := m.node.Status()
	of := reflect.ValueOf(st)
	switch name {
	case "voters", "outgoing", "learners":
		of = reflect.ValueOf(st.Conf)
	case "log":
		return strings.ReplaceAll(m.terms(), " ", ",")
	case "state":
		return strings.ReplaceAll(strings.Trim(m.machine.String(), "{}"), " ", ",")
	case "asleep":
		return fmt.Sprint(m.asleep)
	}
	field := of.FieldByNameFunc(func(f string) bool { return strings.EqualFold(f, name) })
	if !field.IsValid() {
		fail("nothing is known of a node's %s", name)
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(field.Interface()), " ", ","), "[]")
}
