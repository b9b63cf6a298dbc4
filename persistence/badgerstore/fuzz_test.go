package badgerstore

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// FuzzRecord decodes any bytes as a record of the journal, and replays it into a
// store that has two groups. What was decoded must encode to the same again.
func FuzzRecord(f *testing.F) {
	entries, b, g, _ := examples()
	f.Add(appendGroupRecord(nil, 3, 5, "orders"))
	f.Add(appendDamageRecord(nil, &damage{number: 1, incarnation: 9, last: 5, base: &b}))
	f.Add(appendDamageRecord(nil, &damage{number: 2, incarnation: 9, last: 5}))
	f.Add(appendSaveRecord(nil, 1, g.hard, false, compaction{}, entries))
	f.Add(appendSaveRecord(nil, 2, g.hard, false, compaction{&b, &b, true}, entries[:1]))
	f.Add(appendMarkRecord(nil, 300))
	f.Add(appendRemovalRecord(nil, 1, &persistence.Tombstone{Time: 5, Incarnation: 5, HardState: g.hard}))
	f.Add(appendRevivalRecord(nil, 2, 77))
	f.Fuzz(func(t *testing.T, record []byte) {
		s := &store{names: map[string]*group{}, touched: map[uint32][]*group{}}
		r := replaying{s: s}
		for _, first := range [][]byte{appendGroupRecord(nil, 1, 5, "a"), appendGroupRecord(nil, 2, 6, "b")} {
			if err := r.record(journal.Position{Segment: 1}, first); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.record(journal.Position{Segment: 1, Length: uint32(len(record))}, record); err != nil {
			return
		}
		in := reader{b: record}
		if in.byte() != recordSave {
			return
		}
		save, err := in.saveRecord()
		if err != nil {
			t.Fatal(err)
		}
		again := appendSaveRecord(nil, save.number, save.hard, save.damaged, save.compaction, collect(t, save.body))
		in = reader{b: again[1:]}
		twice, err := in.saveRecord()
		if err != nil || twice.number != save.number || twice.hard != save.hard || !reflect.DeepEqual(twice.base, save.base) {
			t.Fatalf("%+v became %+v, %v", save, twice, err)
		}
		if err := equalEntries(collect(t, twice.body), collect(t, save.body)); err != nil {
			t.Fatal(err)
		}
	})
}

func collect(t *testing.T, body []byte) (entries []raftcore.Entry) {
	t.Helper()
	if err := decodeEntries(body, func(e *raftcore.Entry) error { entries = append(entries, *e); return nil }); err != nil {
		t.Fatal(err)
	}
	return entries
}

// FuzzValue decodes any bytes as a value of Badger, of every kind, with a good
// checksum. What was decoded must encode to the same again.
func FuzzValue(f *testing.F) {
	entries, _, g, r := examples()
	unsealed := func(value []byte) []byte { return value[:len(value)-4] }
	chunk := chunkValue{body: appendEntries(nil, entries)}
	f.Add(unsealed(r.encode()))
	f.Add(unsealed(encodeTicket(nil, 300)))
	f.Add(unsealed(g.encode(nil)))
	f.Add(unsealed(chunk.encode(nil)))
	f.Add(unsealed((&chunkValue{pieces: 3, length: 700_000}).encode(nil)))
	f.Add(unsealed((&chunkValue{pieces: 3, length: 700_000, sum: bodySum(nil)}).encode(nil)))
	f.Add(unsealed(encodePiece(nil, []byte("part"))))
	f.Fuzz(func(t *testing.T, value []byte) {
		sealed := func(key []byte) []byte { return seal(key, bytes.Clone(value)) }
		if d, err := decodeRoot(sealed(rootKey)); err == nil {
			if again, err := decodeRoot(d.encode()); err != nil || again != d {
				t.Fatalf("%+v became %+v, %v", d, again, err)
			}
		}
		decodeTicket(ticketKey(1), sealed(ticketKey(1)))
		key := groupKey(1)
		if _, d, err := decodeGroup(key, sealed(key)); err == nil {
			if _, again, err := decodeGroup(key, d.encode(key)); err != nil || !reflect.DeepEqual(again, d) {
				t.Fatalf("%+v became %+v, %v", d, again, err)
			}
			newGroup(1, &d)
		}
		key = chunkKey(1, 1)
		if d, err := decodeChunk(key, sealed(key)); err == nil {
			if again, err := decodeChunk(key, d.encode(key)); err != nil || !reflect.DeepEqual(again, d) {
				t.Fatalf("%+v became %+v, %v", d, again, err)
			}
			decodeEntries(d.body, func(*raftcore.Entry) error { return nil })
		}
		key = pieceKey(1, 1, 1)
		decodePiece(key, sealed(key))
		decodePiece(key, value)
	})
}

// FuzzMarker decodes any bytes as the marker of a directory.
func FuzzMarker(f *testing.F) {
	f.Add((&marker{format: storeFormat, id: 7}).encode())
	f.Add((&marker{format: storeFormat, id: 7, fresh: true}).encode())
	f.Add([]byte("castaway store\nformat 2\nchecksum 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMarker(b)
		if err == nil && !bytes.Equal(m.encode(), b) {
			t.Fatalf("%q was taken for %q", b, m.encode())
		}
	})
}
