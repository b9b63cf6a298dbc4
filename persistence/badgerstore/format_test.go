package badgerstore

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// examples are one of each thing that is encoded.
func examples() (entries []raftcore.Entry, b raftcore.SnapshotMeta, g groupValue, r root) {
	conf := raftcore.ConfState{Voters: []raftcore.NodeID{1, 2, math.MaxUint64}, Outgoing: []raftcore.NodeID{2}, Learners: []raftcore.NodeID{300}}
	entries = []raftcore.Entry{
		{EntryID: raftcore.EntryID{Term: 3, Index: 1000}, Time: 1_700_000_000_000, Kind: raftcore.EntryNoop},
		{EntryID: raftcore.EntryID{Term: 3, Index: 1001}, Time: 1_700_000_000_005, Kind: raftcore.EntryCommand, Data: []byte("a command")},
		{EntryID: raftcore.EntryID{Term: 4, Index: 1002}, Time: 1_700_000_000_005, Kind: raftcore.EntryCommand, Data: []byte{}},
		{EntryID: raftcore.EntryID{Term: 4, Index: 1003}, Time: 1_700_000_000_004, Kind: raftcore.EntryCommand},
		{EntryID: raftcore.EntryID{Term: 500, Index: 1004}, Time: 1_700_000_100_000, Kind: raftcore.EntryConfig, Config: &conf},
	}
	b = raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 2, Index: 999}, Time: 1_600_000_000_000, Conf: raftcore.ConfigAt{Index: 7, Conf: conf}}
	g = groupValue{
		name: "orders", incarnation: 0x0102030405060708, version: 9,
		hard:     raftcore.HardState{Term: 500, Vote: 2, Cluster: 0x1122334455667788, Joined: true},
		snapshot: b, base: b, last: 1004,
		runs:    []raftcore.TermRun{{First: 1000, Term: 3}, {First: 1002, Term: 4}, {First: 1004, Term: 500}},
		configs: []raftcore.ConfigAt{{Index: 1004, Conf: conf}},
	}
	r = root{store: 0xaabbccddeeff0011, generation: 300, groups: 2, versions: 400, next: 17, sequence: 70_000}
	return entries, b, g, r
}

// TestTheFormatIsPinned compares with bytes that were written once. See golden in
// package journal's tests for what to do if they differ.
func TestTheFormatIsPinned(t *testing.T) {
	entries, b, g, r := examples()
	var out strings.Builder
	show := func(what string, key, value []byte) {
		fmt.Fprintf(&out, "%s\n", what)
		for _, part := range [][]byte{key, value} {
			if part != nil {
				fmt.Fprint(&out, hex.Dump(part))
			}
		}
	}
	show("record: a group", nil, appendGroupRecord(nil, 300, 0x0102030405060708, "orders"))
	show("record: a save", nil, appendSaveRecord(nil, 300, g.hard, false, compaction{}, entries))
	show("record: a save without entries that compacts", nil, appendSaveRecord(nil, 300, g.hard, false, compaction{&b, &b, false}, nil))
	show("record: a save of a snapshot that takes the log's place", nil, appendSaveRecord(nil, 300, g.hard, false, compaction{&b, &b, true}, entries))
	show("record: a mark", nil, appendMarkRecord(nil, 300))
	show("record: a damage", nil, appendDamageRecord(nil, &damage{number: 300, incarnation: 0x0102030405060708, last: 999}))
	show("record: a damage that leaves a snapshot", nil, appendDamageRecord(nil, &damage{number: 300, incarnation: 7, last: 999, base: &b}))
	show("record: a save of a group that is damaged", nil, appendSaveRecord(nil, 300, raftcore.HardState{Term: 500}, true, compaction{}, nil))
	tomb := persistence.Tombstone{Group: "orders", Time: 1_700_000_000_000, Incarnation: g.incarnation, HardState: g.hard}
	show("record: a removal", nil, appendRemovalRecord(nil, 300, &tomb))
	show("record: a revival", nil, appendRevivalRecord(nil, 300, 0x0102030405060708))
	show("root", rootKey, r.encode())
	show("ticket", ticketKey(4097), encodeTicket(ticketKey(4097), 4097))
	show("group", groupKey(300), g.encode(groupKey(300)))
	removed := groupValue{name: "orders", incarnation: g.incarnation, version: 10, hard: g.hard, removed: &tomb}
	show("group that was removed", groupKey(300), removed.encode(groupKey(300)))
	whole := chunkValue{body: appendEntries(nil, entries)}
	show("chunk", chunkKey(300, 1000), whole.encode(chunkKey(300, 1000)))
	parted := chunkValue{pieces: 2, length: 300_000, sum: bodySum([]byte("parted"))}
	show("chunk in pieces", chunkKey(300, 1000), parted.encode(chunkKey(300, 1000)))
	show("piece", pieceKey(300, 1000, 1), encodePiece(pieceKey(300, 1000, 1), []byte("part")))
	show("marker", nil, (&marker{format: storeFormat, id: 0xaabbccddeeff0011, host: 7}).encode())
	name := filepath.Join("testdata", "store.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the format has changed; it is now\n%s", out.String())
	}
}

func TestWhatIsEncodedIsDecodedTheSame(t *testing.T) {
	entries, b, g, r := examples()
	record := reader{b: appendSaveRecord(nil, 300, g.hard, false, compaction{&b, &b, true}, entries)}
	if record.byte() != recordSave {
		t.Error("it is no save")
	}
	save, err := record.saveRecord()
	if err != nil || save.number != 300 || save.hard != g.hard || !reflect.DeepEqual(save.compaction, compaction{&b, &b, true}) {
		t.Errorf("the save is %+v, %v", save, err)
	}
	var got []raftcore.Entry
	if err := decodeEntries(save.body, func(e *raftcore.Entry) error { got = append(got, *e); return nil }); err != nil {
		t.Error(err)
	}
	if err := equalEntries(got, entries); err != nil {
		t.Error(err)
	}
	number, group, err := decodeGroup(groupKey(300), g.encode(groupKey(300)))
	if err != nil || number != 300 || !reflect.DeepEqual(group, g) {
		t.Errorf("the group is %+v, %v", group, err)
	}
	tomb := &persistence.Tombstone{Group: "orders", Time: -5, Incarnation: g.incarnation, HardState: g.hard}
	removed := groupValue{name: "orders", incarnation: g.incarnation, version: 10, hard: g.hard, removed: tomb}
	if _, group, err := decodeGroup(groupKey(300), removed.encode(groupKey(300))); err != nil || !reflect.DeepEqual(group, removed) {
		t.Errorf("the group that was removed is %+v, %v", group, err)
	}
	if d, err := decodeRoot(r.encode()); err != nil || d != r {
		t.Errorf("the root is %+v, %v", d, err)
	}
	m := marker{format: storeFormat, id: 77, fresh: true, host: 1<<64 - 1}
	if d, err := decodeMarker(m.encode()); err != nil || d != m {
		t.Errorf("the marker is %+v, %v", d, err)
	}
}

func TestAValueUnderAnotherKeyOrWithAFlippedBitIsRefused(t *testing.T) {
	_, _, g, r := examples()
	key := groupKey(300)
	value := g.encode(key)
	if _, _, err := decodeGroup(groupKey(301), value); err == nil {
		t.Error("a value was taken for another group's")
	}
	for bit := range len(value) * 8 {
		spoilt := bytes.Clone(value)
		spoilt[bit/8] ^= 1 << (bit % 8)
		if _, _, err := decodeGroup(key, spoilt); err == nil {
			t.Fatalf("the flipped bit %d went unnoticed", bit)
		}
	}
	spoilt := (&marker{format: storeFormat, id: 77}).encode()
	for bit := range len(spoilt) * 8 {
		spoilt[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeMarker(spoilt); err == nil {
			t.Fatalf("the flipped bit %d of the marker went unnoticed", bit)
		}
		spoilt[bit/8] ^= 1 << (bit % 8)
	}
	if _, err := decodeRoot(r.encode()[:5]); err == nil {
		t.Error("a root that was cut off was taken")
	}
}
