package actors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

var someMark = mark{last: raftcore.EntryID{Index: 300, Term: 7}, time: -5, forgotten: 200, skips: []raftcore.Index{3, 250}}

var someNote = note{[]byte("answer"), []Effect{
	Send{"to", []byte("data")}, Append{[]byte("command")}, SetTimer{"timer", time.UnixMilli(-1).UTC()},
	StopTimer{"stopped"}, Monitor{"monitored"}, Demonitor{"not"},
}}

// The bytes are on the disks of others' state machines: they stay as they are.
func TestWhatAStateKeepsHasItsBytes(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{fmt.Sprintf("%x", someMark.encode()), "01ac020709c8010203fa01"},
		{fmt.Sprintf("%x", someNote.encode()), "0106616e737765720601" + "02746f0464617461" + "0207636f6d6d616e64" + "030574696d657201" + "0407" + "73746f70706564" + "05096d6f6e69746f726564" + "06036e6f74"},
		{fmt.Sprintf(noteName, uint64(300)), "note-000000000000012c"},
	} {
		if c.got != c.want {
			t.Errorf("it is %s, not %s", c.got, c.want)
		}
	}
}

func TestWhatAStateKeepsIsReadAgain(t *testing.T) {
	if got, err := decodeMark(someMark.encode()); err != nil || !reflect.DeepEqual(got, someMark) {
		t.Errorf("the mark is read as %+v, %v", got, err)
	}
	if got, err := decodeNote(someNote.encode()); err != nil || !reflect.DeepEqual(got, someNote) {
		t.Errorf("the note is read as %+v, %v", got, err)
	}
	for _, kept := range []map[string][]byte{
		{"mark": nil},
		{"mark": append(someMark.encode(), 0)},
		{"mark": (&mark{}).encode()},
		{"mark": {2, 1, 1, 0, 0, 0}},
		{"mark": someMark.encode(), "another": nil},
		{"mark": someMark.encode(), "note-1": {9}},
		{"note-0000000000000001": someNote.encode()}, // without a mark
	} {
		if err := newOwnDisk(nil).take(kept); err == nil {
			t.Errorf("%v is taken", kept)
		}
	}
	if err := newOwnDisk(nil).take(map[string][]byte{"mark": {2}}); !errors.Is(err, errBadKept) {
		t.Errorf("another version ends with %v", err)
	}
}

func FuzzKept(f *testing.F) {
	f.Add(someMark.encode())
	f.Add(someNote.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMark(b); err == nil {
			if again, err := decodeMark(m.encode()); err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%+v is read again as %+v, %v", m, again, err)
			}
		}
		if n, err := decodeNote(b); err == nil {
			if again, err := decodeNote(n.encode()); err != nil || !bytes.Equal(again.encode(), n.encode()) {
				t.Errorf("%+v is read again as %+v, %v", n, again, err)
			}
		}
	})
}

// fullMachine has no room on its disk for what it reads.
type fullMachine struct{ DiskStateMachine }

func (fullMachine) Restore(io.Reader) error { return fmt.Errorf("%w: no room", ErrStorageFault) }

// What cannot be restored because the disk of the machine is full is no fault of the machine.
func TestADiskThatIsFullIsNoFaultOfTheMachine(t *testing.T) {
	err := restoreFrom(fullMachine{}, &leavingReader{})
	if !errors.Is(err, ErrStorageFault) || errors.Is(err, ErrMachineFault) {
		t.Errorf("it ends with %v", err)
	}
}
