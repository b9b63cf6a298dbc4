package main

// command is a command that clients can send.
type command struct {
	name  string
	arity int // arguments with the name; negative: at least so many
	kind  kind
	keys  keySpec
	args  string // as a human writes them
	about string
	run   func(k *keyspace, args [][]byte, r *reply) // in the machine; nil for local
	local func(c *client, args [][]byte, r *reply)   // in the front end
}

// kind is the way that a command goes.
type kind uint8

const (
	local kind = iota // answered by the member that was asked
	read              // a linearizable read
	timed             // a read that depends on the time: it goes through the log, like a write
	write             // through the log
)

// takes reports whether a command can have n arguments, its name included.
func (c *command) takes(n int) bool { return n == c.arity || c.arity < 0 && n >= -c.arity }

// keySpec tells which arguments are keys, as COMMAND does.
type keySpec struct{ first, last, step int }

var (
	noKeys  = keySpec{}
	oneKey  = keySpec{1, 1, 1}
	allKeys = keySpec{1, -1, 1}
	pairs   = keySpec{1, -1, 2}
)

// commands are all commands, by name. It is filled by init, because some of
// them look at it.
var commands = map[string]*command{}

func init() {
	for _, list := range [][]command{stringCommands, keyCommands, localCommands()} {
		for i := range list {
			commands[list[i].name] = &list[i]
		}
	}
}

const expiryArgs = "EX seconds|PX milliseconds|EXAT unix-seconds|PXAT unix-milliseconds"

var stringCommands = []command{
	{"get", 2, read, oneKey, "key", "The value of a key", cmdGet, nil},
	{"mget", -2, read, allKeys, "key [key ...]", "The values of several keys at one moment", cmdMget, nil},
	{"strlen", 2, read, oneKey, "key", "The length of a value", cmdStrlen, nil},
	{"getrange", 4, read, oneKey, "key start end", "A part of a value", cmdGetrange, nil},
	{"set", -3, write, oneKey, "key value [NX|XX] [GET] [" + expiryArgs + "|KEEPTTL]", "Give a key a value", cmdSet, nil},
	{"setnx", 3, write, oneKey, "key value", "Give a key a value, unless it has one", cmdSetnx, nil},
	{"setex", 4, write, oneKey, "key seconds value", "Give a key a value that expires", cmdSetex, nil},
	{"psetex", 4, write, oneKey, "key milliseconds value", "Give a key a value that expires", cmdPsetex, nil},
	{"getset", 3, write, oneKey, "key value", "Give a key a value and return the old one", cmdGetset, nil},
	{"getdel", 2, write, oneKey, "key", "Remove a key and return its value", cmdGetdel, nil},
	{"getex", -2, write, oneKey, "key [" + expiryArgs + "|PERSIST]", "The value of a key, and change when it expires", cmdGetex, nil},
	{"mset", -3, write, pairs, "key value [key value ...]", "Give several keys values at one moment", cmdMset, nil},
	{"msetnx", -3, write, pairs, "key value [key value ...]", "Give several keys values, unless one of them has one", cmdMsetnx, nil},
	{"incr", 2, write, oneKey, "key", "Add one to a number", cmdIncr, nil},
	{"incrby", 3, write, oneKey, "key increment", "Add to a number", cmdIncrby, nil},
	{"decr", 2, write, oneKey, "key", "Subtract one from a number", cmdDecr, nil},
	{"decrby", 3, write, oneKey, "key decrement", "Subtract from a number", cmdDecrby, nil},
	{"append", 3, write, oneKey, "key value", "Append to a value", cmdAppend, nil},
	{"setrange", 4, write, oneKey, "key offset value", "Overwrite a part of a value", cmdSetrange, nil},
}

var keyCommands = []command{
	{"exists", -2, read, allKeys, "key [key ...]", "How many of the keys exist", cmdExists, nil},
	{"touch", -2, read, allKeys, "key [key ...]", "How many of the keys exist", cmdExists, nil},
	{"type", 2, read, oneKey, "key", "The type of a value: string, or none", cmdType, nil},
	{"keys", 2, read, noKeys, "pattern", "The keys that match a pattern", cmdKeys, nil},
	{"scan", -2, read, noKeys, "cursor [MATCH pattern] [COUNT count] [TYPE type]", "Some of the keys, and where to go on", cmdScan, nil},
	{"randomkey", 1, read, noKeys, "", "A key", cmdRandomkey, nil},
	{"dbsize", 1, read, noKeys, "", "The number of keys", cmdDbsize, nil},
	{"expiretime", 2, read, oneKey, "key", "When a key expires, in Unix seconds", cmdExpiretime, nil},
	{"pexpiretime", 2, read, oneKey, "key", "When a key expires, in Unix milliseconds", cmdPexpiretime, nil},
	{"ttl", 2, timed, oneKey, "key", "In how many seconds a key expires", cmdTTL, nil},
	{"pttl", 2, timed, oneKey, "key", "In how many milliseconds a key expires", cmdPTTL, nil},
	{"del", -2, write, allKeys, "key [key ...]", "Remove keys", cmdDel, nil},
	{"unlink", -2, write, allKeys, "key [key ...]", "Remove keys", cmdDel, nil},
	{"expire", -3, write, oneKey, "key seconds [NX|XX|GT|LT]", "Have a key expire", cmdExpire, nil},
	{"pexpire", -3, write, oneKey, "key milliseconds [NX|XX|GT|LT]", "Have a key expire", cmdPexpire, nil},
	{"expireat", -3, write, oneKey, "key unix-seconds [NX|XX|GT|LT]", "Have a key expire at a moment", cmdExpireat, nil},
	{"pexpireat", -3, write, oneKey, "key unix-milliseconds [NX|XX|GT|LT]", "Have a key expire at a moment", cmdPexpireat, nil},
	{"persist", 2, write, oneKey, "key", "Have a key never expire", cmdPersist, nil},
	{"flushall", -1, write, noKeys, "[ASYNC|SYNC]", "Remove all keys", cmdFlush, nil},
	{"flushdb", -1, write, noKeys, "[ASYNC|SYNC]", "Remove all keys", cmdFlush, nil},
}

// localCommands are answered by the member that was asked. It is a function,
// because COMMAND looks at all commands.
func localCommands() []command {
	return []command{
		{"ping", -1, local, noKeys, "[message]", "Answers", nil, cmdPing},
		{"echo", 2, local, noKeys, "message", "Answers with the message", nil, cmdEcho},
		{"select", 2, local, noKeys, "index", "There is one database, 0", nil, cmdSelect},
		{"quit", -1, local, noKeys, "", "Closes the connection", nil, cmdQuit},
		{"reset", 1, local, noKeys, "", "Makes the connection as new", nil, cmdReset},
		{"hello", -1, local, noKeys, "[protover [AUTH username password] [SETNAME clientname]]", "Agrees on the protocol: RESP2 or RESP3", nil, cmdHello},
		{"auth", -2, local, noKeys, "[username] password", "There is no password", nil, cmdAuth},
		{"client", -2, local, noKeys, "ID|GETNAME|SETNAME name|SETINFO attribute value|INFO|LIST", "About this connection, and the others", nil, cmdClient},
		{"command", -1, local, noKeys, "[COUNT|DOCS [name ...]|INFO [name ...]|LIST]", "About the commands", nil, cmdCommand},
		{"config", -2, local, noKeys, "GET pattern [pattern ...]", "What Redis clients want to know", nil, cmdConfig},
		{"info", -1, local, noKeys, "[section ...]", "About this member", nil, cmdInfo},
		{"raft.status", 1, local, noKeys, "", "What this member knows of its group", nil, cmdRaftStatus},
		{"raft.get", 2, local, oneKey, "key", "What this member has applied: maybe old", nil, cmdRaftGet},
	}
}

// lookUp returns the command of a name in upper or lower case, or nil.
func lookUp(name []byte) *command {
	var lower [16]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return commands[string(lower[:len(name)])]
}
