package main

import (
	"math"
	"strconv"
)

// The commands on keys, as the machine carries them out.

func cmdDel(k *keyspace, args [][]byte, r *reply) {
	n := int64(0)
	for _, key := range args[1:] {
		if e := k.get(key); e != nil {
			k.remove(e)
			n++
		}
	}
	r.integer(n)
}

func cmdExists(k *keyspace, args [][]byte, r *reply) {
	n := int64(0)
	for _, key := range args[1:] {
		if k.get(key) != nil {
			n++
		}
	}
	r.integer(n)
}

func cmdType(k *keyspace, args [][]byte, r *reply) {
	if k.get(args[1]) != nil {
		r.simple("string")
	} else {
		r.simple("none")
	}
}

func cmdExpire(k *keyspace, args [][]byte, r *reply) {
	expireCommand(k, "expire", 1000, k.now, args, r)
}
func cmdPexpire(k *keyspace, args [][]byte, r *reply) {
	expireCommand(k, "pexpire", 1, k.now, args, r)
}
func cmdExpireat(k *keyspace, args [][]byte, r *reply) {
	expireCommand(k, "expireat", 1000, 0, args, r)
}
func cmdPexpireat(k *keyspace, args [][]byte, r *reply) {
	expireCommand(k, "pexpireat", 1, 0, args, r)
}

// expireCommand gives a key the deadline base + args[2]×unit, unless a condition
// speaks against it.
func expireCommand(k *keyspace, name string, unit, base int64, args [][]byte, r *reply) {
	var nx, xx, gt, lt bool
	for _, option := range args[3:] {
		switch {
		case is(option, "NX"):
			nx = true
		case is(option, "XX"):
			xx = true
		case is(option, "GT"):
			gt = true
		case is(option, "LT"):
			lt = true
		default:
			r.failf("ERR Unsupported option %s", option)
			return
		}
	}
	if nx && (xx || gt || lt) {
		r.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	}
	if gt && lt {
		r.fail("ERR GT and LT options at the same time are not compatible")
		return
	}
	n, ok := parseInt(args[2])
	if !ok {
		r.fail(errNotInteger)
		return
	}
	if n > math.MaxInt64/unit || n < math.MinInt64/unit || n*unit > math.MaxInt64-base {
		r.fail(invalidExpire(name))
		return
	}
	at := base + n*unit
	e := k.get(args[1])
	// To GT and LT, no deadline is one in the infinite future.
	if e == nil || nx && e.deadline != 0 || xx && e.deadline == 0 ||
		gt && (e.deadline == 0 || at <= e.deadline) || lt && e.deadline != 0 && at >= e.deadline {
		r.integer(0)
		return
	}
	k.expire(e, at)
	r.integer(1)
}

func cmdPersist(k *keyspace, args [][]byte, r *reply) {
	e := k.get(args[1])
	r.flag(e != nil && k.persist(e))
}

func cmdTTL(k *keyspace, args [][]byte, r *reply) {
	r.remaining(k.get(args[1]), func(at int64) int64 { return seconds(at - k.now) })
}
func cmdPTTL(k *keyspace, args [][]byte, r *reply) {
	r.remaining(k.get(args[1]), func(at int64) int64 { return at - k.now })
}
func cmdExpiretime(k *keyspace, args [][]byte, r *reply) {
	r.remaining(k.get(args[1]), seconds)
}
func cmdPexpiretime(k *keyspace, args [][]byte, r *reply) {
	r.remaining(k.get(args[1]), func(at int64) int64 { return at })
}

// seconds rounds milliseconds, of which there may be as many as fit.
func seconds(ms int64) int64 { return ms/1000 + ms%1000/500 }

// remaining answers with what is told of a deadline, with -1 if there is none,
// and with -2 if there is no key.
func (r *reply) remaining(e *entry, tell func(deadline int64) int64) {
	switch {
	case e == nil:
		r.integer(-2)
	case e.deadline == 0:
		r.integer(-1)
	default:
		r.integer(tell(e.deadline))
	}
}

// find visits count keys from cursor on, and returns those that match a pattern,
// and where to go on. It stops early when they fill bytes.
func (k *keyspace) find(cursor uint64, count, bytes int, pattern []byte) (keys []string, next uint64) {
	k.all()
	next = k.scan(cursor, func(e *entry) bool {
		if globMatch(pattern, []byte(e.key)) {
			keys = append(keys, e.key)
			bytes -= len(e.key)
		}
		count--
		return count > 0 && bytes > 0
	})
	return keys, next
}

func cmdKeys(k *keyspace, args [][]byte, r *reply) {
	keys, next := k.find(0, math.MaxInt, maxReplyBytes, args[1])
	if next != 0 {
		r.fail(errReplyTooLarge)
		return
	}
	r.strings(keys...)
}

// What one SCAN visits, and returns, however much it asks for: Redis promises
// no more than that the whole iteration is complete.
const (
	maxScanCount = 10_000
	maxScanBytes = 1 << 20
)

func cmdScan(k *keyspace, args [][]byte, r *reply) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		r.fail("ERR invalid cursor")
		return
	}
	count, match, strings := int64(10), []byte("*"), true
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			r.fail(errSyntax)
			return
		}
		value := args[i+1]
		switch {
		case is(args[i], "COUNT"):
			var ok bool
			if count, ok = parseInt(value); !ok {
				r.fail(errNotInteger)
				return
			}
			if count < 1 {
				r.fail(errSyntax)
				return
			}
		case is(args[i], "MATCH"):
			match = value
		case is(args[i], "TYPE"):
			strings = is(value, "string") // of other types there are none
		default:
			r.fail(errSyntax)
			return
		}
	}
	keys, next := k.find(cursor, int(min(count, maxScanCount)), maxScanBytes, match)
	r.array(2)
	r.text(strconv.FormatUint(next, 10))
	if !strings {
		keys = nil
	}
	r.strings(keys...)
}

func cmdDbsize(k *keyspace, _ [][]byte, r *reply) {
	k.all()
	r.integer(int64(k.size))
}

func cmdRandomkey(k *keyspace, _ [][]byte, r *reply) {
	k.all()
	if e := k.random(); e != nil {
		r.text(e.key)
	} else {
		r.null()
	}
}

func cmdFlush(k *keyspace, args [][]byte, r *reply) {
	if len(args) > 2 || len(args) == 2 && !is(args[1], "SYNC") && !is(args[1], "ASYNC") {
		r.fail(errSyntax)
		return
	}
	k.clear()
	r.ok()
}
