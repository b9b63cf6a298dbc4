package journal_test

import (
	"errors"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
)

// FuzzOpen opens a journal whose two segments have any contents whatever. It must
// open, or be refused; and what it opened as once it must open as again. With
// fix the checksums are made good first, so that the fuzzer comes past them.
func FuzzOpen(f *testing.F) {
	disk := journaltest.New(1)
	j, _, err := open("d", small(disk))
	if err != nil {
		f.Fatal(err)
	}
	write(j, "zero")
	write(j, "one", "two")
	j.Close()
	if j, _, err = open("d", small(disk)); err != nil {
		f.Fatal(err)
	}
	write(j, "three")
	write(j, string(make([]byte, 5000)), "five")
	j.Close()
	files := disk.Files()
	cut := func(name string) []byte { b := disk.Contents(name); return b[:min(len(b), 24<<10)] }
	f.Add(cut(files[0]), cut(files[1]), true)
	f.Add(cut(files[0]), cut(files[1])[:9000], false)
	f.Add(cut(files[0]), []byte{}, true)
	f.Add([]byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, first, second []byte, fix bool) {
		if len(first)+len(second) > 1<<20 {
			return
		}
		disk := journaltest.New(1)
		for i, b := range [][]byte{first, second} {
			if len(b) == 0 {
				continue
			}
			if fix {
				journal.FixChecksums(b)
			}
			disk.Put([]string{"d/0000000001.segment", "d/0000000002.segment"}[i], b)
		}
		j, got, err := open("d", small(disk))
		if err != nil {
			return
		}
		if _, err := write(j, "end"); err != nil {
			t.Fatal(err)
		}
		j.Close()
		_, again, err := open("d", small(disk))
		var corrupt *persistence.CorruptError
		if errors.As(err, &corrupt) {
			t.Fatalf("what was opened is corrupt the next time: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, again, append(got, "end")...)
	})
}
