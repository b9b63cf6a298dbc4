package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// looks are the commands that are tried on every store.
var looks = []string{"groups", "show orders", "entries orders -max 4 -bytes 12", "verify", "recovery"}

func TestAStoreWhoseProcessWasKilled(t *testing.T) {
	dir := full(t).copy()
	golden(t, "killed", dir, transcript(t, dir, append(looks,
		"show stock", "show idle", "show large", "show #4",
		"entries stock", "entries stock -data none -from 2 -to 4", "entries orders -from 96 -to 100 -data hex -bytes 6", "entries large -from 2 -bytes 5", "entries idle",
		"show nobody", "entries stock -from 50")...))
}

func TestAStoreThatWasClosed(t *testing.T) {
	m := full(t)
	m.close()
	golden(t, "closed", m.dir, transcript(t, m.dir, looks...))
}

// A batch of which a part is missing is a torn tail, unless the watermark says that it
// was durable.
func TestATornTail(t *testing.T) {
	m := full(t)
	before := m.copy()
	m.save("stock", raftcore.Save{Entries: sets(4, 13, 14, 5000)})
	dir := m.copy()
	names := segmentsOf(t, dir)
	last := names[len(names)-1]
	was, err := os.ReadFile(filepath.Join(before, "journal", filepath.Base(last)))
	if err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for at < len(was) && was[at] == now[at] {
		at++
	}
	at = at / 4096 * 4096
	clear(now[at+2*4096 : at+3*4096]) // of three blocks, the last has not arrived
	if err := os.WriteFile(last, now, 0o644); err != nil {
		t.Fatal(err)
	}
	golden(t, "lost-tail", dir, transcript(t, dir, "verify", "recovery", "show stock"))
	mark, err := os.ReadFile(filepath.Join(before, "journal", "watermark"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "journal", "watermark"), mark, 0o644); err != nil {
		t.Fatal(err)
	}
	golden(t, "torn", dir, transcript(t, dir, "verify", "recovery", "show stock"))
	now[at+28]++ // and the first, not as a whole
	if err := os.WriteFile(last, now, 0o644); err != nil {
		t.Fatal(err)
	}
	golden(t, "torn-header", dir, transcript(t, dir, "verify", "recovery"))
}

func TestAFlippedBitInASegment(t *testing.T) {
	dir := full(t).copy()
	names := segmentsOf(t, dir)
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	flip(t, names[0], int64(bytes.Index(b, []byte("set key126"))))
	golden(t, "segment", dir, transcript(t, dir, append(looks, "entries orders -from 118 -max 6 -bytes 12", "export orders")...))
}

func TestADamagedHeaderOfASegment(t *testing.T) {
	dir := full(t).copy()
	flip(t, segmentsOf(t, dir)[1], 20)
	golden(t, "header", dir, transcript(t, dir, "verify", "recovery"))
}

func TestAMissingSegment(t *testing.T) {
	dir := full(t).copy()
	if err := os.Remove(segmentsOf(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	golden(t, "missing", dir, transcript(t, dir, "groups", "show orders", "verify", "recovery"))
}

func TestAFlippedBitInATableOfBadger(t *testing.T) {
	m := full(t)
	m.close()
	tables, err := filepath.Glob(filepath.Join(m.dir, "badger", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte("set key95 ")); at >= 0 {
			flip(t, table, int64(at))
		}
	}
	golden(t, "table", m.dir, transcript(t, m.dir, append(looks, "entries orders -from 93 -max 4 -bytes 12")...))

	for _, table := range tables {
		info, err := os.Stat(table)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, table, info.Size()-40) // of the index
	}
	golden(t, "table-index", m.dir, transcript(t, m.dir, "groups", "verify", "recovery"))
}

// TestDamageThatWasMet: of a chunk that nobody has read yet, opening knows nothing.
func TestDamageThatWasMet(t *testing.T) {
	m := full(t)
	m.close()
	tables, err := filepath.Glob(filepath.Join(m.dir, "badger", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte("set key95 ")); at >= 0 {
			flip(t, table, int64(at))
		}
	}
	s, err := badgerstore.Options{Dir: m.dir}.Open()
	if err != nil {
		t.Fatal(err)
	}
	if o, err := s.Open("orders"); err == nil {
		_, err = s.Load(o.Group, raftcore.Load{From: 95, To: 95})
		if err == nil {
			t.Fatal("the damage was read")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{"recovery": "there is a note of it", "recovery -json": `"badger": true`} {
		if got := transcript(t, m.dir, line); !strings.Contains(got, want) {
			t.Errorf("%s does not say %q:\n%s", line, want, got)
		}
	}
}

// TestDamagedSnapshots: a bit in one, and one that is gone. Nothing is whole then.
func TestDamagedSnapshots(t *testing.T) {
	dir := full(t).copy()
	names, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", "*.snapshot"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	flip(t, names[0], 400_000) // in the second block: who opens it does not see it
	golden(t, "snapshot", dir, transcript(t, dir, "verify"))
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	golden(t, "snapshot-missing", dir, transcript(t, dir, "verify"))
}

func TestALogOfBadgerThatHasLostItsEnd(t *testing.T) {
	dir := full(t).copy()
	logs, err := filepath.Glob(filepath.Join(dir, "badger", "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	flip(t, logs[0], 5000)
	golden(t, "badger-log", dir, transcript(t, dir, "groups", "verify", "recovery"))
}

// TestJSONHasTheSameFacts makes the text out of the JSON: it must be the same.
func TestJSONHasTheSameFacts(t *testing.T) {
	whole := full(t).copy()
	spoilt := copyOf(t, whole)
	b, err := os.ReadFile(segmentsOf(t, spoilt)[0])
	if err != nil {
		t.Fatal(err)
	}
	flip(t, segmentsOf(t, spoilt)[0], int64(bytes.Index(b, []byte("set key126"))))
	for _, dir := range []string{whole, spoilt} {
		for line, f := range map[string]facts{"groups": &groupsFacts{}, "show orders": &showFacts{}, "show stock": &showFacts{}, "show idle": &showFacts{}, "verify": &verifyFacts{}, "recovery": &recoveryFacts{}} {
			args := strings.Fields(line)
			args = append([]string{args[0], dir}, args[1:]...)
			plain, asJSON := run("", args...), run("", append(args, "--json")...)
			in := json.NewDecoder(strings.NewReader(asJSON.stdout))
			in.DisallowUnknownFields()
			if err := in.Decode(f); err != nil || in.More() {
				t.Errorf("%s: this is not one document: %v\n%s", line, err, asJSON.stdout)
				continue
			}
			var text strings.Builder
			f.text(&text)
			if text.String() != plain.stdout || plain.status != asJSON.status || plain.stderr != asJSON.stderr {
				t.Errorf("%s: the JSON says\n%s%s\nand the text\n%s%s", line, text.String(), asJSON.stderr, plain.stdout, plain.stderr)
			}
		}
		transcript(t, dir, "groups -json", "show orders -json", "verify -json", "recovery -json", "entries orders -json", "export orders -json") // nothing changes
	}
}

func TestJSONOfEntries(t *testing.T) {
	dir := full(t).copy()
	r := run("", "entries", dir, "orders", "-json", "-from", "97", "-max", "3", "-data", "hex")
	var got struct {
		From, To, More raftcore.Index
		DataIs         string
		Entries        []struct {
			Index raftcore.Index
			Term  raftcore.Term
			Kind  string
			Bytes int
			Data  *string
		}
		Lost, Damage []any
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.status != exitGood {
		t.Fatalf("%v, %+v", err, r)
	}
	if got.From != 97 || got.To != 99 || got.More != 51 || got.DataIs != "hex" || len(got.Entries) != 3 || got.Lost == nil || got.Damage == nil {
		t.Errorf("it is %+v", got)
	}
	if e := got.Entries; *e[0].Data != hexOf(sets(1, 97, 97, 1000)[0].Data) || e[1].Kind != "noop" || e[1].Data != nil || e[1].Term != 2 || e[2].Bytes != len(*e[2].Data)/2 {
		t.Errorf("the entries are %+v", e)
	}
	empty := run("", "entries", dir, "idle", "-json")
	if err := json.Unmarshal([]byte(empty.stdout), &got); err != nil || got.From != 1 || got.To != 0 || len(got.Entries) != 0 {
		t.Errorf("of an empty log it is %+v, %v", got, err)
	}
}

func hexOf(b []byte) string { return dataText(b, "hex", 0) }

func TestAStoreThatIsOpen(t *testing.T) {
	m := full(t)
	r := run("", "groups", m.dir)
	if r.status != exitFailed || r.stdout != "" || !strings.Contains(r.stderr, "-live") {
		t.Errorf("it was %+v", r)
	}
	for _, line := range []string{"groups", "show orders", "entries orders", "verify"} {
		args := strings.Fields(line)
		args = append([]string{args[0], m.dir, "-live"}, args[1:]...)
		if r := run("", args...); r.status != exitGood || r.stderr != "" {
			t.Errorf("%s: it was %+v", line, r)
		}
	}
	for _, command := range []string{"recovery", "export"} {
		if r := run("", command, m.dir, "orders", "-live"); r.status != exitFailed || !strings.Contains(r.stderr, "not defined: -live") {
			t.Errorf("%s: it was %+v", command, r)
		}
	}
	for _, line := range [][]string{{"recovery", m.dir}, {"export", m.dir, "orders"}} {
		if r := run("", line...); r.status != exitFailed || !strings.Contains(r.stderr, "open") || strings.Contains(r.stderr, "-live") {
			t.Errorf("%s: a flag is recommended that it does not have: %+v", line[0], r)
		}
	}
}

func TestMistakes(t *testing.T) {
	dir := full(t).copy()
	above := filepath.Dir(dir)
	text := ""
	for _, args := range [][]string{
		{}, {"look"}, {"groups"}, {"groups", dir, "orders"}, {"show", dir}, {"groups", ""}, {"groups", "/nowhere/at/all"}, {"groups", above},
		{"groups", dir, "-from", "3"}, {"entries", dir, "orders", "-from", "x"}, {"entries", dir, "orders", "-from", "5", "-to", "4"},
		{"entries", dir, "orders", "-max", "-1"}, {"entries", dir, "orders", "-bytes", "-1"}, {"entries", dir, "orders", "-data", "yes"},
		{"import", dir, "orders", "-create"}, {"show", dir, "--", "-x"}, {"show", dir, ""},
	} {
		r := run("", args...)
		if r.status != exitFailed || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%v: it was %+v", args, r)
		}
		text += "$ castaway-disk " + strings.Join(args, " ") + "\n" + r.stderr
	}
	golden(t, "mistakes", dir, text)
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"help"}} {
		if r := run("", args...); r.status != exitGood || r.stdout != usage {
			t.Errorf("%v: it was %+v", args, r)
		}
	}
	for _, c := range commands {
		for _, args := range [][]string{{c.name, "-h"}, {"help", c.name}, {c.name, "x", "y", "--help"}} {
			r := run("", args...)
			if r.status != exitGood || r.stdout != c.help || !strings.Contains(usage, "castaway-disk "+c.name) {
				t.Errorf("%v: it was %+v", args, r)
			}
		}
		for _, f := range strings.Fields(c.flags) {
			if !strings.Contains(c.help, "\n  -"+f) || !strings.Contains(strings.SplitN(c.help, "\n", 2)[0], "-"+f) {
				t.Errorf("the help of %s does not explain -%s", c.name, f)
			}
		}
	}
	for _, text := range append([]string{usage}, helpGroups, helpShow, helpEntries, helpVerify, helpRecovery, helpExport, helpImport, helpLineage, helpReplay) {
		for _, line := range strings.Split(text, "\n") {
			if len(line) > 110 {
				t.Errorf("a line of the help is too long: %s", line)
			}
		}
	}
}
