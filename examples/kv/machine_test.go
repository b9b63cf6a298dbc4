package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// What Redis answers is in testdata/redis.txt. Here is what depends on the time:
// each line is an entry, with its log time.
func TestTimeIsTheLogs(t *testing.T) {
	h := newHistory()
	for _, step := range []struct {
		ms            int64
		command, want string
	}{
		{1000, "SET k v PX 500", "+OK"},
		{1000, "PTTL k", ":500"},
		{1100, "TTL k", ":0"},
		{1499, "GET k", "$1 v"},
		{1500, "GET k", "$-1"},
		{1500, "PTTL k", ":-2"},
		{1500, "SET k v EX 10", "+OK"},
		{2000, "TTL k", ":10"}, // 9.5 s
		{2001, "TTL k", ":9"},
		{2001, "PEXPIRETIME k", ":11500"},
		{2001, "EXPIRETIME k", ":12"},
		{2001, "PERSIST k", ":1"},
		{2001, "TTL k", ":-1"},
		{20000, "GET k", "$1 v"},
		{20000, "PEXPIREAT k 20001", ":1"},
		{20000, "EXISTS k", ":1"},
		{20001, "EXISTS k", ":0"},
		{20001, "SET k v", "+OK"},
		{20001, "PEXPIREAT k 20001", ":1"}, // at once
		{20001, "DBSIZE", ":0"},
		{20001, "SETEX k 1 v", "+OK"},
		{20002, "APPEND k w", ":2"}, // keeps the deadline
		{20003, "PTTL k", ":998"},
		{20003, "GETSET k x", "$2 vw"}, // does not
		{20004, "PTTL k", ":-1"},
		{20005, "SET k 5 PX 10", "+OK"},
		{20006, "INCR k", ":6"}, // keeps it
		{20007, "SET k 7 KEEPTTL", "+OK"},
		{20014, "PTTL k", ":1"},
		{20015, "INCR k", ":1"}, // begins anew
		{20015, "GETEX k PX 5", "$1 1"},
		{20019, "SETNX k x", ":0"},
		{20020, "SETNX k x", ":1"},
		{20020, "EXPIRE k 1 NX", ":1"},
		{20020, "EXPIRE k 5 NX", ":0"},
		{20020, "EXPIRE k 5 GT", ":1"},
		{20020, "EXPIRE k 9 LT", ":0"},
		{20020, "PTTL k", ":5000"},
		{19000, "PTTL k", ":5000"}, // time does not go back
	} {
		if got := h.at(step.ms, step.command); got != step.want {
			t.Errorf("at %d ms, %s: %s, want %s", step.ms, step.command, got, step.want)
		}
	}
}

// A read is answered by log time. When the asker's clock says that the answer
// may be out of date, the machine does not answer at all, whatever the key is.
func TestQueryDoesNotAnswerWhatOnlyTheLogCanTell(t *testing.T) {
	h := newHistory()
	h.at(1000, "SET volatile v PX 500", "SET other v")
	for _, q := range []struct {
		asOf        int64
		query, want string
	}{
		{1499, "GET volatile", "$1 v"},
		{1500, "GET volatile", ""},
		{9999, "EXISTS other volatile", ""},
		{9999, "MGET other volatile", ""},
		{9999, "GET other", "$1 v"},
		{9999, "DBSIZE", ""},
		{9999, "KEYS o*", ""},
		{9999, "SCAN 0", ""},
		{9999, "RANDOMKEY", ""},
		{0, "GET volatile", "$1 v"}, // RAFT.GET: does not ask
		{9999, "SET a b", "-ERR a query cannot change anything"},
	} {
		if got := h.ask(q.asOf, q.query); got != q.want {
			t.Errorf("as of %d, %s: %q, want %q", q.asOf, q.query, got, q.want)
		}
	}
	h.at(1600) // the time, and nothing else
	if got := h.ask(9999, "EXISTS volatile", "DBSIZE"); got != ":0 :1" {
		t.Errorf("after the deadline: %s", got)
	}
}

func TestTickFreesWhatHasExpired(t *testing.T) {
	h := newHistory()
	for i := range 1000 {
		h.at(1000, fmt.Sprintf("SET key%d v PX %d", i, 1+i))
	}
	h.at(1500)
	if h.keys.size != 500 || len(h.keys.volatile) != 500 {
		t.Errorf("%d keys, %d of them volatile; want 500", h.keys.size, len(h.keys.volatile))
	}
	if e := h.gauges.earliest.Load(); e != 1501 {
		t.Errorf("the first deadline is %d, want 1501", e)
	}
	h.at(2000)
	if h.keys.size != 0 || h.gauges.earliest.Load() != 0 {
		t.Errorf("%d keys are left", h.keys.size)
	}
}

// The machine keeps the contract: with keys that expire, and with all commands.
func TestMachineKeepsTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New: func() actors.StateMachine { return newMachine(newGauges()) },
		Command: func(random *rand.Rand) []byte {
			var commands [][][]byte
			for range random.IntN(4) {
				commands = append(commands, randomTimedCommand(random))
			}
			return appendBatch(nil, commands)
		},
		Query: func(random *rand.Rand) []byte {
			key := randomKey(random)
			ask := [][][]byte{words("DBSIZE"), words("GET " + key), words("PEXPIRETIME " + key)}
			if random.IntN(5) == 0 {
				ask = append(ask, words("KEYS *")) // takes long
			}
			return appendBatch(appendQuestion(nil, 0), ask)
		},
	})
}

// A snapshot takes long to write. If another one is asked for meanwhile, the first
// one is not taken for whole.
func TestAnImageThatIsNotWantedAnyMoreIsNotWritten(t *testing.T) {
	h := newHistory()
	h.at(1, "SET a b")
	first, _ := h.Snapshot()
	second, _ := h.Snapshot()
	if _, err := first.WriteTo(io.Discard); !errors.Is(err, errGone) {
		t.Errorf("the first was written: %v", err)
	}
	var image bytes.Buffer
	if _, err := second.WriteTo(&image); err != nil {
		t.Fatal(err)
	}
	if err := h.Restore(&image); err != nil || h.at(2, "GET a") != "$1 b" {
		t.Errorf("the second: %v", err)
	}
}

// RANDOMKEY finds every key, the same one at the same place in the log, and nothing
// where there is none.
func TestRandomKeysAreDrawnFromTheLog(t *testing.T) {
	h, again := newHistory(), newHistory()
	if got := h.at(1, "RANDOMKEY"); got != "$-1" {
		t.Errorf("of no keys, %s", got)
	}
	again.index = h.index
	met := map[string]bool{}
	for i := range 2000 {
		set := fmt.Sprintf("SET key%d v", i%20)
		got := h.at(1, set, "RANDOMKEY", "RANDOMKEY")
		if other := again.at(1, set, "RANDOMKEY", "RANDOMKEY"); other != got {
			t.Fatalf("%s and %s", got, other)
		}
		met[string(words(got)[2])] = true
	}
	asked := map[string]bool{}
	for range 2000 {
		asked[h.ask(0, "RANDOMKEY")] = true
	}
	if len(met) != 20 || len(asked) < 10 { // some keys have little room before them
		t.Errorf("of 20 keys, the log has drawn %d, and queries %d", len(met), len(asked))
	}
}

// What is no image, or not all of one, is refused.
func TestNoPartOfAnImageIsTakenForOne(t *testing.T) {
	h := newHistory()
	h.at(5, "SET a b", "SET c d PX 100")
	w, _ := h.Snapshot()
	var image bytes.Buffer
	if _, err := w.WriteTo(&image); err != nil {
		t.Fatal(err)
	}
	for n := range image.Len() {
		if err := newHistory().Restore(bytes.NewReader(image.Bytes()[:n])); err == nil {
			t.Errorf("%d of %d bytes were restored", n, image.Len())
		}
	}
	if err := newHistory().Restore(strings.NewReader("\x02\x00\x00\x00")); err == nil {
		t.Error("an image of a later version was read")
	}
	if err := newHistory().Restore(strings.NewReader("\x01\x00\x01\xff\xff\xff\xff\xff\xff\x7f")); err == nil {
		t.Error("a key of petabytes was read")
	}
}

func randomKey(random *rand.Rand) string { return fmt.Sprintf("key%d", random.IntN(20)) }

func randomTimedCommand(random *rand.Rand) [][]byte {
	switch random.IntN(100) {
	case 0:
		return words("FLUSHALL")
	case 1, 2, 3:
		return words("SET " + randomKey(random) + " " + strings.Repeat("x", random.IntN(10_000)))
	}
	if random.IntN(2) == 0 {
		return randomCommand(random)
	}
	key, in := randomKey(random), random.IntN(3000)
	return words([]string{
		fmt.Sprintf("SET %s v%d PX %d", key, in, in+1),
		fmt.Sprintf("PEXPIRE %s %d", key, in),
		fmt.Sprintf("PEXPIREAT %s %d", key, 946684800_000+in), // near the beginning of the log
		fmt.Sprintf("GETEX %s PX %d", key, in+1),
		fmt.Sprintf("DEL %s", key),
		fmt.Sprintf("APPEND %s x", key),
		fmt.Sprintf("SETRANGE %s 2 x", key),
		fmt.Sprintf("PERSIST %s", key),
		fmt.Sprintf("PTTL %s", key),
		"DBSIZE",
		"RANDOMKEY",
		fmt.Sprintf("SCAN %d COUNT 5", random.Uint64()>>(16+random.IntN(48))),
	}[random.IntN(12)])
}

// A batch whose replies are long is carried out in part: the rest waits for
// another entry. No reply is so long that it could not be sent.
func TestLongAnswersComeInParts(t *testing.T) {
	h := newHistory()
	big := strings.Repeat("x", 700<<10)
	h.at(1, "SET a "+big, "SET b "+big)
	batch := appendBatch(nil, [][][]byte{words("GET a"), words("GET b"), words("INCR n"), words("INCR n")})
	count, got, _ := decodeAnswer(h.Apply(actors.Entry{Time: time.UnixMilli(2), Data: batch}))
	if count != 2 || len(got) < 1400<<10 {
		t.Errorf("%d commands, %d bytes", count, len(got))
	}
	if got := h.at(3, "GET n"); got != "$-1" {
		t.Errorf("what was left for later has happened: %s", got)
	}
	if got := h.at(4, "MGET a a a a a a a a a a", "GET n"); got != "-"+errReplyTooLarge+" $-1" {
		t.Errorf("%.100s", got)
	}
	for i := range 200 {
		h.at(5, fmt.Sprintf("SET %s%d v", big[:64<<10], i))
	}
	if got := h.at(6, "KEYS *"); got != "-"+errReplyTooLarge {
		t.Errorf("%.100s", got)
	}
	if got := h.at(6, "SCAN 0 COUNT 1000"); len(got) > 2<<20 {
		t.Errorf("a SCAN of %d bytes", len(got))
	}
}

func TestValuesAreBounded(t *testing.T) {
	h := newHistory()
	big := strings.Repeat("x", maxValueBytes)
	for _, step := range [][2]string{
		{"SETRANGE a 4194303 x", ":4194304"},
		{"APPEND a x", "-" + errValueTooBig},
		{"SETRANGE a 4194304 x", "-" + errValueTooBig},
		{"SETRANGE b 9223372036854775807 x", "-" + errValueTooBig},
		{"STRLEN a", ":4194304"},
		{"EXISTS b", ":0"},
	} {
		if got := h.at(1, step[0]); got != step[1] {
			t.Errorf("%s: %.100s", step[0], got)
		}
	}
	if got := h.at(1, "APPEND c "+big[:maxValueBytes-10]); got != fmt.Sprintf(":%d", maxValueBytes-10) {
		t.Errorf("%.100s", got)
	}
}

func TestMachineSurvivesEntriesThatMakeNoSense(t *testing.T) {
	h := newHistory()
	for _, data := range []string{"", "02", "0101", "010105", "01ffffffffffffffffff01", "0100", "0102034745540347"} {
		b, _ := hex.DecodeString(data)
		if got := replies(h.Apply(actors.Entry{Time: time.UnixMilli(1), Data: b})); !strings.HasPrefix(got, "-ERR the batch ") {
			t.Errorf("%s: %q", data, got)
		}
	}
	if got := h.at(1, "NOSUCH a", "SET k v", "GET k v", "PING"); got != "-ERR the state machine does not know this command +OK -ERR wrong number of arguments for 'get' command -ERR the state machine does not know this command" {
		t.Errorf("%s", got)
	}
	if _, err := h.Query(context.Background(), nil); err == nil {
		t.Error("an empty question was answered")
	}
}

// Whatever bytes there are in an entry, the machine carries out what it
// understands and goes on; and what was encoded is decoded.
func FuzzBatch(f *testing.F) {
	f.Add([]byte{batchVersion})
	f.Add(appendBatch(nil, [][][]byte{words("SET k v PX 100"), words("GET k")}))
	f.Add(appendBatch(nil, [][][]byte{words("SCAN 0 COUNT 3 MATCH [a-"), words("INCR n"), words("SETRANGE k 10 v")}))
	f.Add([]byte{batchVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	h := newHistory()
	f.Fuzz(func(t *testing.T, data []byte) {
		h.Apply(actors.Entry{Time: time.UnixMilli(1), Data: data})
		_, _ = h.Query(context.Background(), data)
		var b batchReader
		var commands [][][]byte
		for b.open(data); b.next(); {
			if len(b.args) == 0 {
				t.Fatal("an empty command")
			}
			commands = append(commands, slices.Clone(b.args))
		}
		encoded := appendBatch(nil, commands)
		var again batchReader
		again.open(encoded)
		for i := 0; again.next(); i++ {
			if !slices.EqualFunc(again.args, commands[i], bytes.Equal) {
				t.Fatalf("%q became %q", commands[i], again.args)
			}
		}
		if again.err != nil || len(again.rest) > 0 {
			t.Fatalf("%v with %d bytes left of %x", again.err, len(again.rest), encoded)
		}
	})
}
