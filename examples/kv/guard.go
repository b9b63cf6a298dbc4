package main

import (
	"bytes"
	"errors"
	"net"
	"time"
)

// redcon believes what a client says of the lengths of things to come: it would
// gather a command of any size in memory, and numbers that overflow end the
// process. The guard reads along, and ends a connection before it comes to that,
// as Redis does.

const (
	maxBulkBytes   = 16 << 20 // of an argument; what the log does not take is refused more kindly
	maxArguments   = 1 << 20
	maxQueryBytes  = 64 << 20 // of a command
	maxInlineBytes = 64 << 10 // of a command without a header, and of a header
)

var errMalformed = errors.New("protocol error")

type guardListener struct{ net.Listener }

func (l guardListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			time.Sleep(10 * time.Millisecond) // the process may have too many files open, and redcon tries again at once
		}
		return nil, err
	}
	return &guardConn{Conn: conn}, nil
}

// guardConn is a connection whose commands are within bounds.
type guardConn struct {
	net.Conn
	skip  int    // bytes of an argument that are still to come, with its line end
	args  int    // arguments that are still to come
	size  int    // bytes of the command so far
	line  []byte // the beginning of a header line that is not complete
	wrong string // what was wrong with what came after the last Read
}

func (c *guardConn) Read(p []byte) (int, error) {
	if c.wrong == "" {
		n, err := c.Conn.Read(p)
		good := c.check(p[:n])
		if c.wrong == "" || good > 0 {
			return good, err
		}
	}
	// The client has been told everything it asked for before: redcon reads only
	// when it has answered.
	_, _ = c.Conn.Write([]byte("-ERR Protocol error: " + c.wrong + "\r\n"))
	return 0, errMalformed
}

// check returns how much of data may go on. If that is not all, wrong says why.
func (c *guardConn) check(data []byte) int {
	for at := 0; at < len(data); {
		if c.skip > 0 {
			n := min(c.skip, len(data)-at)
			c.skip -= n
			at += n
			continue
		}
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			if c.line = append(c.line, data[at:]...); len(c.line) > maxInlineBytes {
				c.wrong = "too big inline request"
				return at
			}
			break
		}
		line := data[at : at+end+1]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		if c.wrong = c.header(line); c.wrong != "" {
			return at
		}
		c.line = c.line[:0]
		at += end + 1
	}
	return len(data)
}

// header understands a line between the arguments, and says what is wrong with
// it.
func (c *guardConn) header(line []byte) string {
	if c.args > 0 {
		if line[0] != '$' {
			return "expected '$', got '" + string([]byte{max(line[0], ' ')}) + "'"
		}
		n, ok := headerNumber(line, '$')
		if !ok || n < 0 || n > maxBulkBytes {
			return "invalid bulk length"
		}
		if c.size += len(line) + int(n) + 2; c.size > maxQueryBytes {
			return "too big command"
		}
		c.args--
		c.skip = int(n) + 2
		return ""
	}
	if line[0] != '*' {
		return "" // a command without a header: redcon splits the line
	}
	n, ok := headerNumber(line, '*')
	if !ok || n < 1 || n > maxArguments {
		return "invalid multibulk length"
	}
	c.args, c.size = int(n), 0
	return ""
}

// headerNumber reads a line of a mark, a number, and a line end.
func headerNumber(line []byte, mark byte) (int64, bool) {
	if len(line) < 4 || line[0] != mark || line[len(line)-2] != '\r' {
		return 0, false
	}
	return parseInt(line[1 : len(line)-2])
}
