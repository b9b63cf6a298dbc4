package main

import (
	"bytes"
	"math"
	"strconv"
)

// The commands on strings, as the machine carries them out. They depend on the
// keyspace and its log time, and on nothing else.

// maxValueBytes bounds what APPEND and SETRANGE can make: any value can be sent
// to any member, and through any other.
const maxValueBytes = 4 << 20

func cmdGet(k *keyspace, args [][]byte, r *reply) { r.entry(k.get(args[1])) }

// entry answers with a value, or with null if there is none.
func (r *reply) entry(e *entry) {
	if e == nil {
		r.null()
	} else {
		r.bulk(e.value)
	}
}

func cmdMget(k *keyspace, args [][]byte, r *reply) {
	r.array(len(args) - 1)
	for _, key := range args[1:] {
		if r.tooLarge() {
			return
		}
		r.entry(k.get(key))
	}
}

func cmdSet(k *keyspace, args [][]byte, r *reply) {
	o, why := parseSet(k, args)
	if why != "" {
		r.fail(why)
		return
	}
	e := k.get(args[1])
	if o.get {
		r.entry(e)
	}
	if o.nx && e != nil || o.xx && e == nil {
		if !o.get {
			r.null()
		}
		return
	}
	if e == nil {
		e = k.make(args[1])
	}
	k.assign(e, args[2])
	if !o.keepTTL {
		k.persist(e)
	}
	if o.deadline != 0 {
		k.expire(e, o.deadline)
	}
	if !o.get {
		r.ok()
	}
}

type setOptions struct {
	nx, xx, get, keepTTL bool
	deadline             int64 // 0: none
}

func parseSet(k *keyspace, args [][]byte) (o setOptions, why string) {
	var unit, expiry []byte
	for i := 3; i < len(args); i++ {
		switch option := args[i]; {
		case is(option, "NX"):
			o.nx = true
		case is(option, "XX"):
			o.xx = true
		case is(option, "GET"):
			o.get = true
		case is(option, "KEEPTTL"):
			o.keepTTL = true
		case isExpiry(option) && (unit == nil || bytes.EqualFold(option, unit)) && i+1 < len(args):
			unit, expiry = option, args[i+1]
			i++
		default:
			return o, errSyntax
		}
	}
	if o.nx && o.xx || o.keepTTL && unit != nil {
		return o, errSyntax
	}
	if unit != nil {
		o.deadline, why = k.deadline("set", unit, expiry)
	}
	return o, why
}

func isExpiry(option []byte) bool {
	return is(option, "EX") || is(option, "PX") || is(option, "EXAT") || is(option, "PXAT")
}

// deadline understands an expiry as the options EX, PX, EXAT and PXAT give it. It
// lies after the present, in log time, or has passed, but is never zero.
func (k *keyspace) deadline(command string, unit, expiry []byte) (at int64, why string) {
	at, ok := parseInt(expiry)
	if !ok {
		return 0, errNotInteger
	}
	seconds := is(unit, "EX") || is(unit, "EXAT")
	relative := is(unit, "EX") || is(unit, "PX")
	if at <= 0 || seconds && at > math.MaxInt64/1000 {
		return 0, invalidExpire(command)
	}
	if seconds {
		at *= 1000
	}
	if relative {
		if at > math.MaxInt64-k.now {
			return 0, invalidExpire(command)
		}
		at += k.now
	}
	return at, ""
}

func invalidExpire(command string) string {
	return "ERR invalid expire time in '" + command + "' command"
}

func cmdSetnx(k *keyspace, args [][]byte, r *reply) {
	fresh := k.get(args[1]) == nil
	if fresh {
		k.set(args[1], args[2])
	}
	r.flag(fresh)
}

func cmdSetex(k *keyspace, args [][]byte, r *reply)  { setExpiring(k, "setex", []byte("EX"), args, r) }
func cmdPsetex(k *keyspace, args [][]byte, r *reply) { setExpiring(k, "psetex", []byte("PX"), args, r) }

func setExpiring(k *keyspace, command string, unit []byte, args [][]byte, r *reply) {
	at, why := k.deadline(command, unit, args[2])
	if why != "" {
		r.fail(why)
		return
	}
	k.expire(k.set(args[1], args[3]), at)
	r.ok()
}

func cmdGetset(k *keyspace, args [][]byte, r *reply) {
	r.entry(k.get(args[1]))
	k.set(args[1], args[2])
}

func cmdGetdel(k *keyspace, args [][]byte, r *reply) {
	e := k.get(args[1])
	r.entry(e)
	if e != nil {
		k.remove(e)
	}
}

func cmdGetex(k *keyspace, args [][]byte, r *reply) {
	persist := len(args) == 3 && is(args[2], "PERSIST")
	expire := len(args) == 4 && isExpiry(args[2])
	if len(args) > 2 && !persist && !expire {
		r.fail(errSyntax)
		return
	}
	e := k.get(args[1])
	if e == nil {
		r.null()
		return
	}
	var at int64
	if expire {
		var why string
		if at, why = k.deadline("getex", args[2], args[3]); why != "" {
			r.fail(why)
			return
		}
	}
	r.bulk(e.value)
	if persist {
		k.persist(e)
	}
	if expire {
		k.expire(e, at)
	}
}

func cmdMset(k *keyspace, args [][]byte, r *reply) {
	if len(args)%2 == 0 {
		r.fail("ERR wrong number of arguments for 'mset' command")
		return
	}
	for i := 1; i < len(args); i += 2 {
		k.set(args[i], args[i+1])
	}
	r.ok()
}

func cmdMsetnx(k *keyspace, args [][]byte, r *reply) {
	if len(args)%2 == 0 {
		r.fail("ERR wrong number of arguments for 'msetnx' command")
		return
	}
	for i := 1; i < len(args); i += 2 {
		if k.get(args[i]) != nil {
			r.integer(0)
			return
		}
	}
	for i := 1; i < len(args); i += 2 {
		k.set(args[i], args[i+1])
	}
	r.integer(1)
}

func cmdIncr(k *keyspace, args [][]byte, r *reply) { k.add(args[1], 1, r) }
func cmdDecr(k *keyspace, args [][]byte, r *reply) { k.add(args[1], -1, r) }

func cmdIncrby(k *keyspace, args [][]byte, r *reply) {
	if by, ok := parseInt(args[2]); ok {
		k.add(args[1], by, r)
	} else {
		r.fail(errNotInteger)
	}
}

func cmdDecrby(k *keyspace, args [][]byte, r *reply) {
	switch by, ok := parseInt(args[2]); {
	case !ok:
		r.fail(errNotInteger)
	case by == math.MinInt64:
		r.fail("ERR decrement would overflow")
	default:
		k.add(args[1], -by, r)
	}
}

// add changes a number, and leaves its deadline alone.
func (k *keyspace) add(key []byte, by int64, r *reply) {
	e := k.get(key)
	n := int64(0)
	if e != nil {
		var ok bool
		if n, ok = parseInt(e.value); !ok {
			r.fail(errNotInteger)
			return
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		r.fail(errOverflow)
		return
	}
	e = k.make(key)
	e.value = strconv.AppendInt(e.value[:0], n+by, 10)
	r.integer(n + by)
}

func cmdAppend(k *keyspace, args [][]byte, r *reply) {
	e := k.get(args[1])
	if e != nil && len(e.value)+len(args[2]) > maxValueBytes {
		r.fail(errValueTooBig)
		return
	}
	e = k.make(args[1])
	e.value = append(e.value, args[2]...)
	r.integer(int64(len(e.value)))
}

func cmdStrlen(k *keyspace, args [][]byte, r *reply) {
	if e := k.get(args[1]); e != nil {
		r.integer(int64(len(e.value)))
	} else {
		r.integer(0)
	}
}

func cmdGetrange(k *keyspace, args [][]byte, r *reply) {
	from, ok1 := parseInt(args[2])
	to, ok2 := parseInt(args[3])
	if !ok1 || !ok2 {
		r.fail(errNotInteger)
		return
	}
	var value []byte
	if e := k.get(args[1]); e != nil {
		value = e.value
	}
	n := int64(len(value))
	if from < 0 && to < 0 && from > to {
		r.bulk(nil)
		return
	}
	if from < 0 {
		from = max(from+n, 0)
	}
	if to < 0 {
		to = max(to+n, 0)
	}
	if to = min(to, n-1); from > to || n == 0 {
		r.bulk(nil)
		return
	}
	r.bulk(value[from : to+1])
}

func cmdSetrange(k *keyspace, args [][]byte, r *reply) {
	at, ok := parseInt(args[2])
	if !ok {
		r.fail(errNotInteger)
		return
	}
	if at < 0 {
		r.fail(errOffset)
		return
	}
	e, part := k.get(args[1]), args[3]
	switch {
	case len(part) == 0 && e == nil:
		r.integer(0)
		return
	case len(part) == 0:
		r.integer(int64(len(e.value)))
		return
	case at > maxValueBytes-int64(len(part)):
		r.fail(errValueTooBig)
		return
	}
	e = k.make(args[1])
	if grow := int(at) + len(part) - len(e.value); grow > 0 {
		e.value = append(e.value, make([]byte, grow)...)
	}
	copy(e.value[at:], part)
	r.integer(int64(len(e.value)))
}
