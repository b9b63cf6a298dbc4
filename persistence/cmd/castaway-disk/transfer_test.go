package main

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// imported opens a group and loads all of its log.
func imported(t *testing.T, dir, group string) (r raftcore.Recovered, boot uint64, entries []raftcore.Entry) {
	t.Helper()
	s, err := badgerstore.Dir(dir).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o, err := s.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	if r = o.Recovered; r.Last > r.Base.Index {
		if entries, err = s.Load(o.Group, raftcore.Load{From: r.Base.Index + 1, To: r.Last, MaxBytes: math.MaxInt}); err != nil {
			t.Fatal(err)
		}
	}
	return r, o.Boot, entries
}

// TestWhatIsExportedIsImported brings a log with everything in it from one store
// into another.
func TestWhatIsExportedIsImported(t *testing.T) {
	from := full(t).copy()
	for _, group := range []string{"orders", "stock", "large"} {
		to := filepath.Join(t.TempDir(), "new")
		file := run("", "export", from, group)
		if file.status != exitGood || file.stderr != "" || !json.Valid([]byte(file.stdout)) {
			t.Fatalf("the export: %+v", file)
		}
		if r := run(file.stdout, "import", to, group); r.status != exitGood || !strings.Contains(r.stdout, "Nothing was written") {
			t.Errorf("without -write: %+v", r)
		}
		if _, err := os.Stat(to); !os.IsNotExist(err) {
			t.Errorf("without -write, something was written: %v", err)
		}
		if r := run(file.stdout, "import", to, group, "-write"); r.status != exitFailed || !strings.Contains(r.stderr, "-create") {
			t.Errorf("without -create: %+v", r)
		}
		if r := run(file.stdout, "import", "-write", "-create", to, group); r.status != exitGood || !strings.Contains(r.stdout, "was imported") {
			t.Fatalf("the import: %+v", r)
		}
		if again := run("", "export", to, group); strip(t, again.stdout) != strip(t, file.stdout) {
			t.Errorf("exported again it is\n%.2000s\nand was\n%.2000s", again.stdout, file.stdout)
		}
		was, _, entries := imported(t, from, group)
		is, _, copied := imported(t, to, group)
		if is.HardState.Joined || is.Incarnation == was.Incarnation || is.Incarnation == 0 {
			t.Errorf("the copy would pass for the original: %+v, incarnation %x and %x", is.HardState, is.Incarnation, was.Incarnation)
		}
		is.HardState.Joined, is.Incarnation = was.HardState.Joined, was.Incarnation
		is.Tail, was.Tail = nil, nil // how many there are depends on how they lie
		if !reflect.DeepEqual(is, was) || !reflect.DeepEqual(copied, entries) {
			t.Errorf("imported was %+v with %d entries, exported %+v with %d", is, len(copied), was, len(entries))
		}
	}
}

// strip takes out of a file what an import changes.
func strip(t *testing.T, file string) string {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(file), &document); err != nil {
		t.Fatal(err)
	}
	delete(document, "from")
	delete(document, "checksum")
	delete(document["hardState"].(map[string]any), "joined")
	b, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAnImportedMemberDoesNotVote asks two nodes for their vote: the original, and
// its copy. It is why an import is allowed at all.
func TestAnImportedMemberDoesNotVote(t *testing.T) {
	from, to := full(t).copy(), t.TempDir()
	if r := run(run("", "export", from, "stock").stdout, "import", to, "stock", "-write", "-create"); r.status != exitGood {
		t.Fatalf("%+v", r)
	}
	for dir, votes := range map[string]bool{from: true, to: false} {
		r, boot, _ := imported(t, dir, "stock")
		n, err := raftcore.New(raftcore.Config{ID: 2, Boot: boot}, r)
		if err != nil {
			t.Fatal(err)
		}
		granted, answers, asks := false, 0, false
		handle := func(out *raftcore.Output) {
			for i := range out.Send {
				switch b := out.Send[i].Body.(type) {
				case *raftcore.VoteReply:
					granted, answers = granted || b.Granted, answers+1
				case *raftcore.VoteRequest:
					asks = true
				}
			}
			if out.Save.Token.Sequence != 0 {
				n.Step(raftcore.Saved{Token: out.Save.Token})
			}
		}
		var out raftcore.Output
		now := raftcore.Instant(time.Second)
		n.Step(raftcore.Tick{Now: now})
		n.Drain(&out)
		now = now.Add(time.Minute) // longer than what was promised to a leader before
		n.Step(raftcore.Tick{Now: now})
		last := raftcore.EntryID{Term: 9, Index: 1000}
		for range 2 { // the first is not refused aloud, because its term is not durable
			n.Step(raftcore.Receive{Message: raftcore.Message{From: 3, To: 2, ToIncarnation: r.Incarnation, Cluster: r.HardState.Cluster, Term: 10, Body: &raftcore.VoteRequest{Last: last, Campaign: 1}}})
			for range 2 {
				n.Drain(&out)
				handle(&out)
			}
		}
		for range 20 {
			now = now.Add(time.Minute)
			n.Step(raftcore.Tick{Now: now})
			n.Drain(&out)
			handle(&out)
		}
		if granted != votes || asks != votes || answers == 0 {
			t.Errorf("joined %v: it granted a vote: %v (%d answers); it campaigned: %v", votes, granted, answers, asks)
		}
	}
}

// reseal gives a file that was changed a good checksum.
func reseal(file string) string {
	at := strings.LastIndex(file, entriesClose) + len(entriesClose)
	return file[:at] + fmt.Sprintf("%08x", crc32.Checksum([]byte(file[:at]), castagnoli)) + documentEnd
}

func TestImportsThatAreRefused(t *testing.T) {
	m := full(t)
	m.open("alone", "new")
	alone := raftcore.ConfState{Voters: []raftcore.NodeID{7}, Learners: []raftcore.NodeID{8}}
	m.save("alone", raftcore.Save{HardState: hard(1, 7), Entries: []raftcore.Entry{{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryConfig, Config: &alone}, entry(1, 2, raftcore.EntryNoop, "")}})
	m.save("new", raftcore.Save{HardState: hard(1, 0), Entries: []raftcore.Entry{entry(1, 1, raftcore.EntryConfig, "")}})
	from := m.copy()
	good := run("", "export", from, "stock").stdout
	lines := strings.SplitAfter(good, "\n")
	spoilt := copyOf(t, from)
	flip(t, segmentsOf(t, spoilt)[0], 5000)
	swap := func(old, with string) string { return reseal(strings.Replace(good, old, with, 1)) }
	text := ""
	for _, c := range []struct{ what, group, file, dir string }{
		{"a store that has the group", "stock", good, from},
		{"a damaged store", "other", swap(`"group":"stock"`, `"group":"other"`), spoilt},
		{"another group", "orders", good, from},
		{"one voter", "alone", run("", "export", from, "alone").stdout, ""},
		{"nothing but the founding entry", "new", run("", "export", from, "new").stdout, ""},
		{"nothing at all", "idle", run("", "export", from, "idle").stdout, ""},
		{"an empty file", "stock", "", ""},
		{"what is no export", "stock", "{\"hello\":1}\n", ""},
		{"a broken off export", "stock", strings.Join(lines[:5], ""), ""},
		{"a flipped bit", "stock", strings.Replace(good, "\"term\":4", "\"term\":5", 1), ""},
		{"a later format", "stock", swap(`"format":1`, `"format":2`), ""},
		{"a missing entry", "stock", reseal(strings.Join(append(append([]string{}, lines[:4]...), lines[5:]...), "")), ""},
		{"terms that fall", "stock", swap(`{"index":3,"term":4`, `{"index":3,"term":1`), ""},
		{"an unknown kind", "stock", swap(`"kind":"noop"`, `"kind":"nop"`), ""},
		{"something behind the end", "stock", good + "x", ""},
		{"a line that is no entry", "stock", swap(`{"index":3`, `{"index":"3"`), ""},
	} {
		dir := c.dir
		if dir == "" {
			dir = filepath.Join(t.TempDir(), "new")
		}
		args := []string{"import", dir, c.group, "-write", "-create"}
		r := run(c.file, args...)
		if r.status == exitGood || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", c.what, r)
		}
		if c.dir == "" {
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("%s: something was written: %v", c.what, err)
			}
		}
		text += fmt.Sprintf("%s (exit %d)\n%s", c.what, r.status, strings.ReplaceAll(strings.ReplaceAll(r.stderr, dir, "DIR"), from, "DIR"))
	}
	golden(t, "refused", from, text)

	to := t.TempDir()
	s := newMaker(t, to)
	if r := run(good, "import", to, "stock", "-write"); r.status != exitFailed || !strings.Contains(r.stderr, "open") {
		t.Errorf("a store that is open: %+v", r)
	}
	s.close()
	if r := run(good, "import", to, "stock", "-write", "-json"); r.status != exitGood || !json.Valid([]byte(r.stdout)) {
		t.Errorf("a store without the group: %+v", r)
	}
}

func TestAnExportFromADamagedStore(t *testing.T) {
	dir := full(t).copy()
	b, err := os.ReadFile(segmentsOf(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	flip(t, segmentsOf(t, dir)[0], int64(strings.Index(string(b), "set key126")))
	if r := run("", "export", dir, "orders", "-damaged"); r.status != exitDamage || r.stdout != "" {
		t.Errorf("of a group that is not whole: %+v", r)
	}
	r := run("", "export", dir, "stock", "-damaged")
	if r.status != exitGood || !strings.Contains(r.stdout, `"damaged":true`) || !json.Valid([]byte(r.stdout)) {
		t.Errorf("of one that is: %+v", r)
	}
}

func TestTheFileOfAnExport(t *testing.T) {
	dir := full(t).copy()
	r := run("", "export", dir, "stock")
	text := r.stdout
	at := strings.LastIndex(text, entriesClose) + len(entriesClose)
	golden(t, "export", dir, text[:at]+"01234567"+documentEnd)
	if same := run("", "export", dir, "stock", "-json"); same != r {
		t.Errorf("with -json it is %+v", same)
	}
}

// FuzzImport reads any bytes as a file: an error, never a panic, and what is read
// follows from itself or is refused.
func FuzzImport(f *testing.F) {
	f.Add("{\"castaway\":\"group\",\"format\":1,\"group\":\"a\",\"hardState\":{\"cluster\":\"1\"},\"first\":1,\"last\":1,\"entries\":[\n{\"index\":1,\"term\":1,\"kind\":\"noop\"}\n],\"checksum\":\"")
	f.Add("{\"castaway\":\"group\",\"format\":1,\"entries\":[\n],\"checksum\":\"")
	f.Fuzz(func(t *testing.T, file string) {
		x, err := readExport(strings.NewReader(reseal(file + entriesClose)))
		if err == nil {
			_ = x.refuse()
			_ = x.rehearse()
		}
	})
}
