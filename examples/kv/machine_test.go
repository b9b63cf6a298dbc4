package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
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

// TRAPS A5: the same log on two machines leads to the same state and to the same
// answers, and so does the log read again from its beginning.
func TestMachinesAgree(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a, b := newHistory(), newHistory()
	now := int64(1000)
	var log []actors.Entry
	for i := range 20_000 {
		now += int64(random.IntN(50))
		batch := []byte{batchVersion}
		for range random.IntN(4) {
			batch = appendCommand(batch, randomTimedCommand(random, now))
		}
		e := actors.Entry{Index: a.index, Time: time.UnixMilli(now), Data: batch}
		log = append(log, e)
		if x, y := a.Apply(e), b.Apply(e); !bytes.Equal(x, y) {
			t.Fatalf("entry %d: %q and %q", i, x, y)
		}
	}
	again := newHistory()
	for _, e := range log {
		again.Apply(e)
	}
	if dump(a) == "" || dump(a) != dump(b) || dump(a) != dump(again) {
		t.Errorf("different states:\n%s\n%s\n%s", dump(a), dump(b), dump(again))
	}
}

// A snapshot holds what was there when it was asked for, whatever is changed while it
// is written; and the machine goes on from it as the first one does.
func TestASnapshotIsOfTheMomentItWasAskedFor(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a := newHistory()
	now := int64(1000)
	step := func(machines ...*history) {
		now += int64(random.IntN(50))
		e := actors.Entry{Time: time.UnixMilli(now), Data: appendCommand([]byte{batchVersion}, randomTimedCommand(random, now))}
		if random.IntN(500) == 0 {
			e.Data = appendCommand([]byte{batchVersion}, words("FLUSHALL"))
		}
		for _, m := range machines {
			m.Apply(e)
		}
	}
	for range 20 {
		for range random.IntN(400) {
			step(a)
		}
		before := dump(a)
		w, err := a.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var image bytes.Buffer
		written := make(chan error, 1)
		go func() {
			_, err := w.WriteTo(&image)
			written <- err
		}()
		b := newHistory()
		log := random.IntN(400)
		ahead := rand.New(rand.NewPCG(seed, uint64(log)))
		random = rand.New(rand.NewPCG(seed, uint64(log)))
		from := now
		for range log {
			step(a)
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		if err := b.Restore(&image); err != nil {
			t.Fatal(err)
		}
		if got := dump(b); got != before {
			t.Fatalf("restored\n%s\nfrom\n%s", got, before)
		}
		now, random = from, ahead // the same once more
		for range log {
			step(b)
		}
		if dump(a) != dump(b) {
			t.Fatalf("it goes on to\n%s\ninstead of\n%s", dump(b), dump(a))
		}
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

func randomTimedCommand(random *rand.Rand, now int64) [][]byte {
	if random.IntN(2) == 0 {
		return randomCommand(random)
	}
	key, in := fmt.Sprintf("key%d", random.IntN(200)), random.IntN(3000)
	return words([]string{
		fmt.Sprintf("SET %s v%d PX %d", key, now, in+1),
		fmt.Sprintf("PEXPIRE %s %d", key, in),
		fmt.Sprintf("PEXPIREAT %s %d", key, now+int64(in)-1000),
		fmt.Sprintf("GETEX %s PX %d", key, in+1),
		fmt.Sprintf("DEL %s", key),
		fmt.Sprintf("APPEND %s x", key),
		fmt.Sprintf("PERSIST %s", key),
		"DBSIZE",
		"SCAN 0 COUNT 20",
	}[random.IntN(9)])
}

// dump is all that a machine remembers.
func dump(h *history) string {
	var lines []string
	for _, shard := range h.keys.shards {
		for key, e := range shard {
			lines = append(lines, fmt.Sprintf("%q=%q until %d", key, e.value, e.deadline))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d keys at %d\n%s", h.keys.size, h.keys.now, strings.Join(lines, "\n"))
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

// The machine does not keep the memory of the log, and what it has answered does
// not change afterwards.
func TestMachineCopiesWhatItKeeps(t *testing.T) {
	h := newHistory()
	batch := appendBatch(nil, [][][]byte{words("SET key value"), words("APPEND other value"), words("GET key")})
	answer := h.Apply(actors.Entry{Time: time.UnixMilli(1), Data: batch})
	before := string(answer)
	clear(batch)
	h.at(2, "SET key VALUE", "APPEND other MORE")
	if string(answer) != before {
		t.Errorf("the answer became %q", answer)
	}
	if got := h.at(3, "GET key", "GET other"); got != "$5 VALUE $9 valueMORE" {
		t.Errorf("%q", got)
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
