package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// What would fill the memory, or end the process, ends the connection; what came
// before it is answered.
func TestMalformedCommandsEndTheConnection(t *testing.T) {
	s := newTestServer(t)
	for _, c := range [][2]string{
		{"*1\r\n$9223372036854775807\r\n", "invalid bulk length"},
		{"*1\r\n$99999999999999999999999\r\n", "invalid bulk length"},
		{"*1\r\n$2000000000\r\n", "invalid bulk length"},
		{"*1\r\n$-1\r\n", "invalid bulk length"},
		{"*1\r\nGET\r\n", "expected '$', got 'G'"},
		{"*1\r\n\r\n", "expected '$', got ' '"},
		{"*9223372036854775807\r\n", "invalid multibulk length"},
		{"*2000000\r\n", "invalid multibulk length"},
		{"*x\r\n", "invalid multibulk length"},
		{"*-1\r\n", "invalid multibulk length"},
		{"*1\n", "invalid multibulk length"},
		{strings.Repeat("x", 100_000), "too big inline request"},
		{"*" + strings.Repeat("1", 100_000), "too big inline request"},
		{"*100\r\n" + strings.Repeat("$1000000\r\n"+strings.Repeat("x", 1_000_000)+"\r\n", 70), "too big command"},
	} {
		conn := dialServer(t, s)
		go conn.Write(append(encode([]byte("ECHO"), []byte("before")), c[0]...))
		if got := string(conn.reply(t)); got != "$6\r\nbefore\r\n" {
			t.Errorf("%.30q: %q", c[0], got)
		}
		if got := string(conn.reply(t)); got != "-ERR Protocol error: "+c[1]+"\r\n" {
			t.Errorf("%.30q: %q", c[0], got)
		}
		if _, err := conn.r.ReadByte(); err == nil {
			t.Errorf("%.30q: the connection is still open", c[0])
		}
	}
	if got := dialServer(t, s).pipeline(t, "PING"); got != "+PONG" {
		t.Errorf("afterwards: %s", got)
	}
}

// However the bytes arrive, what is well formed passes unchanged.
func TestGuardLetsCommandsThrough(t *testing.T) {
	var all []byte
	for _, args := range [][][]byte{words("SET k v"), {[]byte("SET"), {}, []byte("a\r\n*$\n")}, {[]byte("ECHO"), bytes.Repeat([]byte("$"), 10_000)}} {
		all = append(all, encode(args...)...)
		all = append(all, "PING\r\n"...)
	}
	for _, r := range []io.Reader{bytes.NewReader(all), iotest.OneByteReader(bytes.NewReader(all)), iotest.HalfReader(bytes.NewReader(all))} {
		got, err := io.ReadAll(&guardConn{Conn: readConn{Reader: r}})
		if err != nil || !bytes.Equal(got, all) {
			t.Errorf("%d bytes of %d, %v", len(got), len(all), err)
		}
	}
}

// readConn is a connection that is only read.
type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c readConn) Write(p []byte) (int, error) { return len(p), nil }

// The guard never lets through what it should not, and never panics.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n"))
	f.Add([]byte("*1\r\n$9223372036854775807\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, _ := io.ReadAll(&guardConn{Conn: readConn{Reader: bytes.NewReader(data)}})
		bytewise, _ := io.ReadAll(&guardConn{Conn: readConn{Reader: iotest.OneByteReader(bytes.NewReader(data))}})
		if !bytes.HasPrefix(data, whole) {
			t.Fatalf("%q became %q", data, whole)
		}
		// Byte by byte, the beginning of the wrong line has passed already.
		if !bytes.HasPrefix(bytewise, whole) {
			t.Fatalf("%q byte by byte, %q at once", bytewise, whole)
		}
	})
}
