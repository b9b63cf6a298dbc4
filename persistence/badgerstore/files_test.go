package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/castaway-go/castaway/persistence"
)

// TestP1_WhatBadgerDoesNotOpenIsNamed: it would end the process, or return an error that
// says nothing of damage.
func TestP1_WhatBadgerDoesNotOpenIsNamed(t *testing.T) {
	dir, log := tabled(t)
	badger := filepath.Join(dir, badgerName)
	table := tablesIn(t, dir)[0]
	harm := func(name, what string, change func(b []byte) []byte) {
		t.Helper()
		whole, err := os.ReadFile(name)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, change(append([]byte{}, whole...)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = quiet(dir).Open()
		var corrupt *persistence.CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != name {
			t.Errorf("%s, %s: opening ended with %v", filepath.Base(name), what, err)
		}
		if in, err := Inspect(dir, InspectOptions{}); err != nil {
			t.Error(err)
		} else {
			if !slices.ContainsFunc(in.Damage, func(d Damage) bool { return d.File == name }) {
				t.Errorf("%s, %s: an inspection finds %v", filepath.Base(name), what, in.Damage)
			}
			in.Close()
		}
		if missing {
			err = os.Remove(name)
		} else {
			err = os.WriteFile(name, whole, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(fromEnd int) func(b []byte) []byte {
		return func(b []byte) []byte { b[len(b)-fromEnd] ^= 0x10; return b }
	}
	for fromEnd := range 18 { // the checksum and its length, the length of the index, and of that the end
		harm(table, fmt.Sprintf("a flipped bit %d bytes from the end", fromEnd+1), flip(fromEnd+1))
	}
	harm(table, "a flipped bit in the last block", func(b []byte) []byte {
		// The index ends 4 bytes before the checksum.
		sum := int(binary.BigEndian.Uint32(b[len(b)-4:]))
		index := int(binary.BigEndian.Uint32(b[len(b)-8-sum:]))
		return flip(8 + sum + index + 100)(b)
	})
	harm(table, "empty", func([]byte) []byte { return nil })
	harm(table, "one byte", func(b []byte) []byte { return b[:1] })
	harm(table, "cut off", func(b []byte) []byte { return b[:len(b)-1] })
	harm(table, "in the middle", func(b []byte) []byte { return b[:len(b)/2] })
	harm(table, "too long", func(b []byte) []byte { return append(b, make([]byte, 4096)...) })
	for _, log := range []string{"000001.vlog", "00003.mem"} {
		name := filepath.Join(badger, log)
		head := make([]byte, 100)
		harm(name, "a flipped bit in its head", func([]byte) []byte { head[7] = 1; return head })
	}
	harm(filepath.Join(badger, "MANIFEST"), "empty", func([]byte) []byte { return nil })
	harm(filepath.Join(badger, "KEYREGISTRY"), "cut off", func(b []byte) []byte { return b[:len(b)-1] })

	s := mustOpen(t, quiet(dir))
	wantLog(t, s, mustOpenGroup(t, s, "orders"), log)
}

// TestP1_WithoutItsListBadgerRemovesNoTable: it takes no list for an empty one.
func TestP1_WithoutItsListBadgerRemovesNoTable(t *testing.T) {
	dir, log := tabled(t)
	list := filepath.Join(dir, badgerName, "MANIFEST")
	aside := filepath.Join(t.TempDir(), "MANIFEST")
	if err := os.Rename(list, aside); err != nil {
		t.Fatal(err)
	}
	_, err := quiet(dir).Open()
	var corrupt *persistence.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != list {
		t.Errorf("opening ended with %v", err)
	}
	if err := os.Rename(aside, list); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, quiet(dir))
	wantLog(t, s, mustOpenGroup(t, s, "orders"), log)
}
