package snapshots

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// files is a directory of a simulated disk, as others see it.
func files(disk *journaltest.Disk, dir string) fstest.MapFS {
	m := fstest.MapFS{}
	for _, name := range disk.Files() {
		if filepath.Dir(name) == dir {
			m[filepath.Base(name)] = &fstest.MapFile{Data: disk.Contents(name)}
		}
	}
	return m
}

func TestABackupIsImportedAsItWas(t *testing.T) {
	for _, size := range []int{0, 100, 2500} {
		dir := t.TempDir()
		to := filepath.Join(dir, "backups", "of today")
		d := mustOpen(t, filepath.Join(dir, "d"), small(journal.OS))
		content := random(uint64(size), size)
		info := commit(t, d, meta(7), content)
		if err := d.Export(info.ID, to); err != nil {
			t.Fatal(err)
		}
		if err := d.Export(info.ID, to); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("a second one ended with %v", err)
		}
		if err := d.Export(99, filepath.Join(dir, "x")); !errors.Is(err, ErrNotFound) {
			t.Errorf("one of nothing ended with %v", err)
		}
		file := baseName(&info) + goodSuffix
		a, err1 := os.ReadFile(filepath.Join(dir, "d", file))
		b, err2 := os.ReadFile(filepath.Join(to, file))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%v, %v, or the file is another", err1, err2)
		}
		text, _ := os.ReadFile(filepath.Join(to, manifestName))
		if !strings.Contains(string(text), fmt.Sprintf("\nsha256 %x\n", sha256.Sum256(b))) {
			t.Errorf("the manifest is %q", text)
		}
		if _, err := d.Import(os.DirFS(to)); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("importing it where something is ended with %v", err)
		}
		d.Close()

		e := mustOpen(t, filepath.Join(dir, "e"), Options{})
		got, err := e.Import(os.DirFS(to))
		if err != nil || !got.same(&info) || got.Size != info.Size {
			t.Fatalf("imported %+v, %v", got, err)
		}
		mustHold(t, e, info.ID, content)
		c, _ := os.ReadFile(filepath.Join(dir, "e", file))
		if !bytes.Equal(a, c) {
			t.Error("the imported file is another")
		}
		e.Close()
	}
}

// For disaster recovery: the same state, under another configuration.
func TestABackupIsReadForAnotherConfiguration(t *testing.T) {
	disk, d, info, content, _ := example(t)
	if err := d.Export(info.ID, "backup"); err != nil {
		t.Fatal(err)
	}
	r, err := OpenBackup(files(disk, "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := r.Info()
	if !got.same(&info) || got.Size != info.Size {
		t.Errorf("it is %+v", got)
	}
	m := got.Meta
	m.Conf = raftcore.ConfigAt{Index: 7, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{4}}}
	e := mustOpen(t, "e", small(disk))
	w, err := e.Create(got.Cluster+1, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	again, err := e.Find(info.Meta.Last)
	if err != nil || again.ID == info.ID || !again.Meta.Conf.Conf.Equal(m.Conf.Conf) {
		t.Errorf("%+v, %v", again, err)
	}
	mustHold(t, e, again.ID, content)
}

func TestADamagedBackupIsNotImported(t *testing.T) {
	disk, d, info, content, _ := example(t)
	if err := d.Export(info.ID, "backup"); err != nil {
		t.Fatal(err)
	}
	refused := func(m fs.FS, what string) {
		t.Helper()
		e := mustOpen(t, "e", small(journaltest.New(1)))
		if got, err := e.Import(m); err == nil {
			t.Fatalf("%s: it was imported as %+v", what, got)
		}
		if n := names(t, e); len(n) > 0 {
			t.Fatalf("%s: there is %q", what, n)
		}
		if _, err := e.Newest(); !errors.Is(err, ErrNotFound) {
			t.Fatalf("%s: %v", what, err)
		}
		if r, err := OpenBackup(m); err == nil {
			b, err := io.ReadAll(r)
			if err == nil || !bytes.HasPrefix(content, b) {
				t.Fatalf("%s: it was read: %v", what, err)
			}
		}
	}
	for name := range files(disk, "backup") {
		for at := range files(disk, "backup")[name].Data {
			m := files(disk, "backup")
			m[name].Data[at] ^= 1
			refused(m, fmt.Sprintf("%s, byte %d", name, at))
			m = files(disk, "backup")
			m[name].Data = m[name].Data[:at]
			refused(m, fmt.Sprintf("%s, cut off at %d", name, at))
		}
		m := files(disk, "backup")
		m[name].Data = append(m[name].Data, '\n')
		refused(m, name+", longer")
		m = files(disk, "backup")
		delete(m, name)
		refused(m, name+" missing")
	}
	// A good file that is not the one that the manifest tells of.
	twin := commit(t, d, meta(7), content)
	other := baseName(&twin) + goodSuffix
	m := files(disk, "backup")
	m[baseName(&info)+goodSuffix].Data = disk.Contents(filepath.Join("d", other))
	refused(m, "a twin")
	refused(fstest.MapFS{}, "nothing")
	refused(fstest.MapFS{manifestName: {Data: resumed("castaway backup\nformat 2\nfile x\n")}}, "a later format")
	if _, err := OpenBackup(fstest.MapFS{manifestName: {Data: resumed("castaway backup\nformat 2\nfile x\n")}}); !errors.Is(err, ErrVersion) {
		t.Errorf("a later format is %v", err)
	}
	for _, name := range []string{"../" + other, "/etc/passwd", ".", "lock", ""} {
		refused(fstest.MapFS{manifestName: {Data: resumed("castaway backup\nformat 1\nfile " + name + "\n")}}, "a file "+name)
	}
}

// resumed puts a good checksum behind a text.
func resumed(text string) []byte {
	return fmt.Appendf([]byte(text), "checksum %08x\n", checksum([]byte(text)))
}

// An export that was interrupted is no backup, or a whole one; and one that was
// not survives the power.
func TestS11_AnExportIsWholeOrNoBackup(t *testing.T) {
	for seed := range uint64(20) {
		for n := 1; ; n++ {
			for _, fail := range []bool{false, true} {
				disk := journaltest.New(seed)
				d := mustOpen(t, "d", small(disk))
				content := random(3, 250)
				info := commit(t, d, meta(7), content)
				if fail {
					disk.FailAt(n)
				} else {
					disk.CrashAt(n)
				}
				done := d.Export(info.ID, "backup")
				if fail && done != nil {
					if !errors.Is(done, ErrFailed) {
						t.Fatalf("change %d: %v", n, done)
					}
					mustHold(t, d, info.ID, content)
				}
				disk.Crash(true)
				e := mustOpen(t, "e", small(disk))
				got, err := e.Import(files(disk, "backup"))
				switch {
				case err == nil:
					if !got.same(&info) {
						t.Fatalf("change %d: it is %+v", n, got)
					}
					mustHold(t, e, info.ID, content)
				case done == nil:
					t.Fatalf("change %d: a backup that was done is not: %v", n, err)
				}
				mustHold(t, mustOpen(t, "d", small(disk)), info.ID, content)
				if done == nil && fail {
					if n < 10 {
						t.Fatalf("only %d changes", n)
					}
					goto next
				}
			}
		}
	next:
	}
}
