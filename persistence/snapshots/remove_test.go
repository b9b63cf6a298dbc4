package snapshots

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// takeTwo writes two snapshots into a directory, and begins to receive a third.
func takeTwo(t *testing.T, dir string, o Options) *Dir {
	t.Helper()
	d, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := raftcore.Index(1); i <= 2; i++ {
		w, err := d.Create(5, meta(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("state")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestADirectoryIsRemovedWithAllThatIsInIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "group")
	d := takeTwo(t, dir, Options{})
	if err := Remove(dir, Options{}); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("while it is open it is removed with %v", err)
	}
	if list := d.List(); len(list) != 2 {
		t.Errorf("and has %v", list)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "00000000000000000003-1-00000000000000ab.draft"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(dir, Options{}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, Options{FS: journal.OS}); err != nil {
		t.Error(err)
	}
}

// Whatever fails, and whenever the process ends, it is done when it is done again.
func TestD4_ARemovalOfADirectoryIsFinishedByTheNext(t *testing.T) {
	for _, fails := range []bool{false, true} {
		for at := 1; ; at++ {
			disk := journaltest.New(uint64(at))
			o := Options{FS: disk}
			if err := takeTwo(t, "d/group", o).Close(); err != nil {
				t.Fatal(err)
			}
			if fails {
				disk.FailAt(at)
			} else {
				disk.CrashAt(at)
			}
			err := Remove("d/group", o)
			if fails {
				disk.FailAt(0)
			} else {
				disk.Crash(at%2 == 0)
			}
			if again := Remove("d/group", o); again != nil {
				t.Fatalf("change %d: it ended with %v, and again with %v", at, err, again)
			}
			disk.Crash(true)
			if names, listing := disk.List("d/group"); listing != nil || len(names) > 0 {
				t.Fatalf("change %d: there is %v, %v", at, names, listing)
			}
			if err == nil {
				if at < 4 {
					t.Errorf("it makes %d changes", at-1)
				}
				break
			}
		}
	}
}
