package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// reply is what a client reads: RESP2 values, one after the other, or RESP3.
type reply struct {
	b     []byte
	limit int  // of len(b), for the command that is being carried out; 0: none
	resp3 bool // the machine never does: see toRESP3
}

// tooLarge reports whether there is no point in adding more.
func (r *reply) tooLarge() bool { return r.limit > 0 && len(r.b) > r.limit }

// The errors that more than one command answers with, as Redis words them.
const (
	errNotInteger  = "ERR value is not an integer or out of range"
	errSyntax      = "ERR syntax error"
	errOverflow    = "ERR increment or decrement would overflow"
	errOffset      = "ERR offset is out of range"
	errValueTooBig = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

func (r *reply) ok()             { r.b = append(r.b, "+OK\r\n"...) }
func (r *reply) simple(s string) { r.b = append(append(append(r.b, '+'), s...), "\r\n"...) }
func (r *reply) integer(n int64) { r.header(':', n) }
func (r *reply) array(n int)     { r.header('*', int64(n)) }
func (r *reply) bulk(b []byte)   { r.header('$', int64(len(b))); r.line(b) }
func (r *reply) text(s string) {
	r.header('$', int64(len(s)))
	r.b = append(append(r.b, s...), "\r\n"...)
}
func (r *reply) line(b []byte)    { r.b = append(append(r.b, b...), "\r\n"...) }
func (r *reply) fail(text string) { r.b = append(append(append(r.b, '-'), text...), "\r\n"...) }
func (r *reply) texts(list ...string) {
	for _, s := range list {
		r.text(s)
	}
}
func (r *reply) strings(list ...string) { r.array(len(list)); r.texts(list...) }

func (r *reply) null() {
	if r.resp3 {
		r.b = append(r.b, null3...)
	} else {
		r.b = append(r.b, null2...)
	}
}

// fields begins a map of n names and values.
func (r *reply) fields(n int) {
	if r.resp3 {
		r.header('%', int64(n))
	} else {
		r.array(2 * n)
	}
}

const null2, null3 = "$-1\r\n", "_\r\n"

// toRESP3 translates what the machine replies: it does not know whom it talks
// to. Null is the only one of its values that the two protocols write in
// different ways.
func toRESP3(replies []byte) []byte {
	if !bytes.Contains(replies, []byte(null2)) {
		return replies
	}
	out := make([]byte, 0, len(replies))
	for len(replies) > 0 {
		end := bytes.IndexByte(replies, '\n') + 1
		switch n, _ := parseInt(replies[1 : end-2]); {
		case replies[0] != '$':
			out = append(out, replies[:end]...)
		case n < 0:
			out = append(out, null3...)
		default:
			end += int(n) + 2
			out = append(out, replies[:end]...)
		}
		replies = replies[end:]
	}
	return out
}

// failf answers with an error that quotes what a client sent. An error is one
// line, so what would break it is replaced.
func (r *reply) failf(format string, args ...any) {
	text := fmt.Appendf(nil, format, args...)
	for i, c := range text {
		if c == '\r' || c == '\n' {
			text[i] = ' '
		}
	}
	r.fail(string(text))
}

func (r *reply) header(kind byte, n int64) {
	r.b = append(r.b, kind)
	r.b = strconv.AppendInt(r.b, n, 10)
	r.b = append(r.b, '\r', '\n')
}

// flag answers with 1 or 0.
func (r *reply) flag(yes bool) {
	if yes {
		r.integer(1)
	} else {
		r.integer(0)
	}
}

// parseInt reads an integer as strictly as Redis does: no sign but a minus, no
// leading zeros, no spaces.
func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	digits := b
	if b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' || n > (1<<64-1-9)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if len(digits) < len(b) {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

// is reports whether an argument is a word, in upper or lower case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i := range arg {
		if c := arg[i] ^ word[i]; c != 0 && (c != 0x20 || arg[i]|0x20 < 'a' || arg[i]|0x20 > 'z') {
			return false
		}
	}
	return true
}
