package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
)

// The commands about the connection, and about the commands: the front end
// answers them, the group never hears of them.

func cmdPing(_ *client, args [][]byte, r *reply) {
	switch len(args) {
	case 1:
		r.simple("PONG")
	case 2:
		r.bulk(args[1])
	default:
		r.fail("ERR wrong number of arguments for 'ping' command")
	}
}

func cmdEcho(_ *client, args [][]byte, r *reply) { r.bulk(args[1]) }

func cmdSelect(_ *client, args [][]byte, r *reply) {
	switch n, ok := parseInt(args[1]); {
	case !ok:
		r.fail(errNotInteger)
	case n != 0:
		r.fail("ERR DB index is out of range")
	default:
		r.ok()
	}
}

func cmdQuit(c *client, _ [][]byte, r *reply) {
	c.quit = true
	r.ok()
}

func cmdReset(c *client, _ [][]byte, r *reply) {
	c.name.Store(nil)
	c.resp3.Store(false)
	r.simple("RESET")
}

// cmdAuth is as in a Redis without a password: its one user may say anything.
func cmdAuth(_ *client, args [][]byte, r *reply) {
	switch {
	case len(args) > 3:
		r.fail(errSyntax)
	case len(args) == 2:
		r.fail("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	case string(args[1]) != "default":
		r.fail(errWrongPassword)
	default:
		r.ok()
	}
}

const errWrongPassword = "WRONGPASS invalid username-password pair or user is disabled."

// cmdHello agrees on RESP2 or RESP3.
func cmdHello(c *client, args [][]byte, r *reply) {
	resp3 := c.resp3.Load()
	if len(args) > 1 {
		version, ok := parseInt(args[1])
		if !ok {
			r.fail("ERR Protocol version is not an integer or out of range")
			return
		}
		if version != 2 && version != 3 {
			r.fail("NOPROTO unsupported protocol version")
			return
		}
		resp3 = version == 3
	}
	for i := 2; i < len(args); i++ {
		switch {
		case is(args[i], "SETNAME") && i+1 < len(args):
			i++
			if !c.setName(args[i], r) {
				return
			}
		case is(args[i], "AUTH") && i+2 < len(args):
			if string(args[i+1]) != "default" {
				r.fail(errWrongPassword)
				return
			}
			i += 2
		default:
			r.failf("ERR Syntax error in HELLO option '%s'", args[i])
			return
		}
	}
	c.resp3.Store(resp3)
	r.resp3 = resp3
	r.fields(7)
	r.texts("server", "redis", "version", redisVersion, "proto")
	r.integer(c.protocol())
	r.text("id")
	r.integer(c.id)
	r.texts("mode", "standalone", "role", "master", "modules") // any member takes writes
	r.array(0)
}

// protocol returns the version of the protocol that is spoken.
func (c *client) protocol() int64 {
	if c.resp3.Load() {
		return 3
	}
	return 2
}

// redisVersion is the version of Redis whose behaviour is followed.
const redisVersion = "7.0.15"

// setName gives the connection a name, or answers why not.
func (c *client) setName(name []byte, r *reply) bool {
	if bytes.ContainsFunc(name, func(c rune) bool { return c < '!' || c > '~' }) {
		r.fail("ERR Client names cannot contain spaces, newlines or special characters.")
		return false
	}
	s := string(name)
	c.name.Store(&s)
	return true
}

func (c *client) nameText() string {
	if s := c.name.Load(); s != nil {
		return *s
	}
	return ""
}

// subcommand is a second word of CLIENT, COMMAND or CONFIG.
type subcommand struct {
	arity int // as in command, with both words
	do    func(c *client, args [][]byte, r *reply)
}

// second carries out a command that has a second word.
func second(list map[string]subcommand, c *client, args [][]byte, r *reply) {
	first, word := strings.ToLower(string(args[0])), strings.ToLower(string(args[1]))
	switch sub, known := list[word]; {
	case word == "help" && len(args) == 2:
		r.array(2 + len(list))
		r.simple(strings.ToUpper(first) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
		for _, name := range slices.Sorted(maps.Keys(list)) {
			r.simple(strings.ToUpper(name))
		}
		r.simple("HELP")
	case !known:
		r.failf("ERR unknown subcommand '%s'. Try %s HELP.", args[1][:min(len(args[1]), 128)], strings.ToUpper(first))
	case len(args) != sub.arity && (sub.arity > 0 || len(args) < -sub.arity):
		r.failf("ERR wrong number of arguments for '%s|%s' command", first, word)
	default:
		sub.do(c, args, r)
	}
}

func okay(_ *client, _ [][]byte, r *reply) { r.ok() }

func onOff(_ *client, args [][]byte, r *reply) {
	if is(args[2], "ON") || is(args[2], "OFF") {
		r.ok()
	} else {
		r.fail(errSyntax)
	}
}

func cmdClient(c *client, args [][]byte, r *reply) { second(clientCommands, c, args, r) }

var clientCommands = map[string]subcommand{
	"id": {2, func(c *client, _ [][]byte, r *reply) { r.integer(c.id) }},
	"getname": {2, func(c *client, _ [][]byte, r *reply) {
		if name := c.nameText(); name != "" {
			r.text(name)
		} else {
			r.null()
		}
	}},
	"setname": {3, func(c *client, args [][]byte, r *reply) {
		if c.setName(args[2], r) {
			r.ok()
		}
	}},
	"setinfo":  {4, okay},  // the library's name and version: nobody asks for them
	"no-evict": {3, onOff}, // nothing is ever evicted
	"no-touch": {3, onOff},
	"info":     {2, func(c *client, _ [][]byte, r *reply) { r.text(c.describe()) }},
	"list": {-2, func(c *client, args [][]byte, r *reply) {
		if len(args) > 2 { // no filters
			r.fail(errSyntax)
			return
		}
		var all strings.Builder
		for _, other := range c.server.everybody() {
			all.WriteString(other.describe())
		}
		r.text(all.String())
	}},
}

// everybody returns the clients, the oldest first.
func (s *server) everybody() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *client) int { return int(a.id - b.id) })
	return all
}

func (c *client) describe() string {
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d db=0 flags=N resp=%d\n",
		c.id, c.conn.RemoteAddr(), c.server.ln.Addr(), c.nameText(), int(time.Since(c.since).Seconds()), c.protocol())
}

func cmdConfig(c *client, args [][]byte, r *reply) { second(configCommands, c, args, r) }

var configCommands = map[string]subcommand{
	"get": {-3, func(_ *client, args [][]byte, r *reply) {
		var found []string
		for _, setting := range settings {
			if slices.ContainsFunc(args[2:], func(pattern []byte) bool {
				return globMatch(bytes.ToLower(pattern), []byte(setting[0]))
			}) {
				found = append(found, setting[0], setting[1])
			}
		}
		r.fields(len(found) / 2)
		r.texts(found...)
	}},
	"set": {-4, func(_ *client, args [][]byte, r *reply) {
		r.failf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", args[2])
	}},
	"resetstat": {2, okay},
}

// settings are what Redis clients and tools ask for. They are all fixed.
var settings = [][2]string{
	{"appendonly", "yes"}, // every acknowledged write is on the disks of a majority
	{"appendfsync", "always"},
	{"databases", "1"},
	{"maxclients", fmt.Sprint(maxClients)},
	{"maxmemory", "0"},
	{"maxmemory-policy", "noeviction"},
	{"proto-max-bulk-len", fmt.Sprint(maxValueBytes)},
	{"save", ""},
	{"timeout", "0"},
}

func cmdCommand(c *client, args [][]byte, r *reply) {
	if len(args) == 1 {
		commandInfos(names(nil), r)
		return
	}
	second(commandCommands(), c, args, r)
}

func commandCommands() map[string]subcommand {
	return map[string]subcommand{
		"count": {2, func(_ *client, _ [][]byte, r *reply) { r.integer(int64(len(commands))) }},
		"list": {-2, func(_ *client, args [][]byte, r *reply) {
			if len(args) > 2 { // no filters
				r.fail(errSyntax)
				return
			}
			r.strings(names(nil)...)
		}},
		"info": {-2, func(_ *client, args [][]byte, r *reply) { commandInfos(names(args[2:]), r) }},
		"docs": {-2, func(_ *client, args [][]byte, r *reply) { commandDocs(names(args[2:]), r) }},
	}
}

// names returns the names that are asked for, or all of them.
func names(args [][]byte) []string {
	var list []string
	for _, a := range args {
		list = append(list, strings.ToLower(string(a)))
	}
	if len(args) == 0 {
		for name := range commands {
			list = append(list, name)
		}
		slices.Sort(list)
	}
	return list
}

func commandInfos(names []string, r *reply) {
	r.array(len(names))
	for _, name := range names {
		c := commands[name]
		if c == nil {
			r.null()
			continue
		}
		flag := "fast"
		switch c.kind {
		case read, timed:
			flag = "readonly"
		case write:
			flag = "write"
		}
		r.array(10)
		r.text(c.name)
		r.integer(int64(c.arity))
		r.array(1)
		r.simple(flag)
		r.integer(int64(c.keys.first))
		r.integer(int64(c.keys.last))
		r.integer(int64(c.keys.step))
		for range 4 { // access categories, hints, key specifications, subcommands
			r.array(0)
		}
	}
}

// commandDocs answers COMMAND DOCS, from which redis-cli takes its hints.
func commandDocs(names []string, r *reply) {
	names = slices.DeleteFunc(names, func(name string) bool { return commands[name] == nil })
	r.fields(len(names))
	for _, name := range names {
		c := commands[name]
		r.text(name)
		arguments := splitArguments(c.args)
		r.fields(3)
		r.texts("summary", c.about, "group", c.group())
		r.text("arguments")
		r.array(len(arguments))
		for _, a := range arguments {
			optional := a[0] == '['
			if !optional {
				r.fields(2)
				r.texts("name", a, "type", "string")
				continue
			}
			r.fields(3)
			r.texts("name", a[1:len(a)-1], "type", "string", "flags")
			r.array(1)
			r.simple("optional")
		}
	}
}

func (c *command) group() string {
	switch {
	case strings.HasPrefix(c.name, "raft."):
		return "server"
	case c.kind == local:
		return "connection"
	case slices.ContainsFunc(stringCommands, func(s command) bool { return s.name == c.name }):
		return "string"
	}
	return "generic"
}

// splitArguments splits "key [NX|XX] [EX seconds]" at the spaces outside of the
// brackets.
func splitArguments(s string) []string {
	var list []string
	depth, start := 0, 0
	for i, c := range s + " " {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ' ' && depth == 0:
			if i > start {
				list = append(list, s[start:i])
			}
			start = i + 1
		}
	}
	return list
}

// cmdRaftGet answers from what this member has applied, like nothing else here.
func cmdRaftGet(c *client, args [][]byte, r *reply) {
	ctx, cancel := context.WithTimeout(c.server.life, c.server.timeout)
	defer cancel()
	question := appendBatch(appendQuestion(nil, 0), [][][]byte{{[]byte("get"), args[1]}})
	var answer *actors.Response
	g, err := c.server.reach(ctx)
	if err == nil {
		answer, err = g.Do(ctx, &actors.Request{Operation: actors.Read, Consistency: actors.Local, Data: question})
	}
	if err != nil {
		text, _ := c.server.explain(err)
		r.fail(text)
		return
	}
	_, replies, _ := decodeAnswer(answer.Data)
	if r.resp3 {
		replies = toRESP3(replies)
	}
	r.b = append(r.b, replies...)
}
