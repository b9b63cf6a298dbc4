package snapshots

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// A backup is a directory with a snapshot file and a text that says what it is,
// for people, and for programs that know nothing of Raft: FORMAT.md has the lines.
const (
	manifestName     = "castaway-backup"
	manifestVersion  = 1
	maxManifestBytes = 256 << 10 // twice what the largest configuration takes
)

// manifest writes the text. It says everything twice that the file says, so that
// one of them alone cannot change.
func manifest(info *Info, sum []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "castaway backup\nformat %d\n", manifestVersion)
	fmt.Fprintf(&b, "file %s\nbytes %d\nsha256 %x\n", baseName(info)+goodSuffix, info.Size, sum)
	fmt.Fprintf(&b, "cluster %016x\nindex %d\nterm %d\ntime %d\n", uint64(info.Cluster), info.Meta.Last.Index, info.Meta.Last.Term, info.Meta.Time)
	fmt.Fprintf(&b, "configured %d\n", info.Meta.Conf.Index)
	conf := &info.Meta.Conf.Conf
	for _, l := range []struct {
		word string
		ids  []raftcore.NodeID
	}{{"voters", conf.Voters}, {"outgoing", conf.Outgoing}, {"learners", conf.Learners}} {
		b.WriteString(l.word)
		for _, id := range l.ids {
			fmt.Fprintf(&b, " %d", id)
		}
		b.WriteByte('\n')
	}
	if len(conf.Witnesses) > 0 {
		b.WriteString("witnesses")
		for _, id := range conf.Witnesses {
			fmt.Fprintf(&b, " %d", id)
		}
		b.WriteByte('\n')
	}
	return fmt.Appendf(b.Bytes(), "checksum %08x\n", checksum(b.Bytes()))
}

// Export writes a backup of a snapshot into another directory, which is made if
// need be, and must be empty: ErrNotEmpty. The backup is durable when Export
// returns nil. If it fails, or is interrupted, what is in the directory is no
// backup, and Import says so. Other snapshots may be taken meanwhile.
func (d *Dir) Export(id ID, to string) error {
	r, err := d.Read(id)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := d.fs.MkdirAll(to); err != nil {
		return err
	}
	if names, err := d.fs.List(to); err != nil {
		return err
	} else if len(names) > 0 {
		return fmt.Errorf("%s: %w", to, ErrNotEmpty)
	}
	if err := r.begin(); err != nil {
		return err
	}
	unit, h, err := encodeHeader(&r.info, r.scan.head.block)
	if err != nil {
		return err
	}
	info := r.Info()
	file, err := newDraft(d.fs, to, baseName(&info)+draftSuffix, d.opt.syncBytes, 0)
	if err != nil {
		return err
	}
	defer file.abort()
	sum := sha256.New()
	enc := encoder{file: file, tee: sum}
	if err := enc.begin(unit, h); err != nil {
		return err
	}
	if _, err := io.Copy(&enc, r); err != nil {
		return err
	}
	if _, err := enc.end(); err != nil {
		return err
	}
	if err := file.rename(baseName(&info) + goodSuffix); err != nil {
		return err
	}
	if err := d.exportManifest(to, manifest(&info, sum.Sum(nil))); err != nil {
		return err // and the file is removed again
	}
	file.err = errOver
	return nil
}

// exportManifest writes the text that makes a backup of a directory.
func (d *Dir) exportManifest(to string, text []byte) error {
	w, err := newDraft(d.fs, to, manifestName+draftSuffix, d.opt.syncBytes, 0)
	if err != nil {
		return err
	}
	if err := w.append(text); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	return w.rename(manifestName)
}

// Import puts the snapshot of a backup into d, which must have none: ErrNotEmpty.
// It takes effect after everything has been checked. Import(os.DirFS(dir)) reads a
// directory.
//
// The snapshot keeps its configuration and cluster. For a group whose members are
// lost, and whose snapshot has to name others, read it with OpenBackup, and write
// it with Create.
func (d *Dir) Import(from fs.FS) (Info, error) {
	if len(d.List()) > 0 {
		return Info{}, fmt.Errorf("%s: %w", d.path, ErrNotEmpty)
	}
	r, err := OpenBackup(from)
	if err != nil {
		return Info{}, err
	}
	defer r.Close()
	w, err := d.create(r.info, r.scan.head.block) // the same bytes again
	if err != nil {
		return Info{}, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return Info{}, err
	}
	return w.Commit()
}

// OpenBackup opens a backup for reading its content. It fails with an error that
// is fs.ErrNotExist if there is none, or none that is whole. As with every Reader,
// only io.EOF says that all was there and undamaged, the manifest included.
func OpenBackup(from fs.FS) (*Reader, error) {
	text, name, err := readManifest(from)
	if err != nil {
		return nil, err
	}
	f, err := from.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the backup lacks its file: %w", err)
	}
	hashed := &hashedReader{r: f, sum: sha256.New()}
	r := &Reader{scan: scanner{file: name}, src: hashed, close: f.Close}
	r.finish = func(err error) error {
		if err != io.EOF {
			return err
		}
		info := r.info
		info.Size = hashed.n
		if !bytes.Equal(manifest(&info, hashed.sum.Sum(nil)), text) {
			return &persistence.CorruptError{File: manifestName, Detail: "it does not say what the file says"}
		}
		return err
	}
	if err := r.begin(); err != nil {
		f.Close()
		return nil, err
	}
	r.info = r.scan.head.info
	if stat, err := f.Stat(); err == nil {
		r.info.Size = stat.Size()
	}
	return r, nil
}

// readManifest reads the text, and returns the name of the file in it. The rest is
// compared with what the file turns out to be.
func readManifest(from fs.FS) (text []byte, name string, err error) {
	f, err := from.Open(manifestName)
	if err != nil {
		return nil, "", fmt.Errorf("it is no backup, or was not finished: %w", err)
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, maxManifestBytes)); err != nil {
		return nil, "", err
	}
	if name, err = parseManifest(text); errors.Is(err, ErrVersion) {
		return nil, "", fmt.Errorf("%s: %w", manifestName, err)
	} else if err != nil {
		return nil, "", &persistence.CorruptError{File: manifestName, Detail: err.Error()}
	}
	return text, name, nil
}

func parseManifest(text []byte) (name string, err error) {
	at := bytes.LastIndex(text, []byte("checksum "))
	if at < 0 || string(text[at:]) != fmt.Sprintf("checksum %08x\n", checksum(text[:at])) {
		return "", errors.New("it has a wrong checksum, or none")
	}
	lines := strings.SplitN(string(text), "\n", 4)
	if len(lines) < 4 || lines[0] != "castaway backup" {
		return "", errors.New("it does not begin like one")
	}
	if lines[1] != fmt.Sprintf("format %d", manifestVersion) {
		return "", fmt.Errorf("%w: %s", ErrVersion, lines[1])
	}
	name, named := strings.CutPrefix(lines[2], "file ")
	base, suffixed := strings.CutSuffix(name, goodSuffix)
	if _, ok := parseBase(base); !named || !suffixed || !ok || filepath.Base(name) != name {
		return "", errors.New("it names no file")
	}
	return name, nil
}

// hashedReader counts and hashes what is read.
type hashedReader struct {
	r   io.Reader
	sum hash.Hash
	n   int64
}

func (h *hashedReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	h.n += int64(n)
	return n, err
}
