package snapshots

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/castaway-go/castaway/raftcore"
)

// A snapshot file is a header, the content in blocks, and a trailer. FORMAT.md,
// in the directory above, has the bytes. Each of these units has a checksum that
// continues the one of the unit before, so that a unit cannot stand in another
// place, or come from another file: the first of them covers the snapshot's ID.
const (
	magic    = "castsnap"
	endMagic = "snapdone"
	version  = 1

	fixedBytes     = 36       // of the header: what comes before the metadata
	maxHeaderBytes = 64 << 10 // some 6000 members
	minHeaderBytes = fixedBytes + 9 + 4
	frameBytes     = 8 // before the data of a block
	trailerBytes   = 32
	trailerMark    = 0xffffffff // where a block has its length

	// One read, one write and one checksum each; the memory that a reader or a
	// writer takes. Whoever writes a file chooses, and says so in the header.
	defaultBlockBytes = 256 << 10
	maxBlockBytes     = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ID tells two snapshots apart, even if they stand for the same: it is drawn at
// random for each that is created, and stays with it wherever it is sent.
type ID uint64

func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Info is what a snapshot is, apart from its content.
type Info struct {
	ID ID
	// Cluster is the lineage of the group. It is compared, not interpreted.
	Cluster raftcore.ClusterID
	// Meta is what the snapshot stands for. Its slices are not to be changed.
	Meta raftcore.SnapshotMeta
	// Size is that of the file, in bytes: the content, and less than a thousandth
	// more.
	Size int64
}

// same reports whether a and b are the same snapshot; of one that is being
// written the size is not known.
func (a *Info) same(b *Info) bool { return a.ID == b.ID && a.equivalent(b) }

// equivalent reports whether a and b stand for the same, and may take each
// other's place.
func (a *Info) equivalent(b *Info) bool {
	return a.Cluster == b.Cluster && bytes.Equal(appendMeta(nil, &a.Meta), appendMeta(nil, &b.Meta))
}

// header is the first unit of a file.
type header struct {
	info  Info // without Size
	block int  // bytes of content in every block but the last
	bytes int  // of the header itself
}

// encodeHeader returns the unit, and what a reader will make of it. It refuses
// what no reader would take.
func encodeHeader(info *Info, block int) ([]byte, header, error) {
	b := append(make([]byte, 0, 128), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(info.ID))
	b = binary.LittleEndian.AppendUint64(b, uint64(info.Cluster))
	b = binary.LittleEndian.AppendUint32(b, uint32(block))
	b = appendMeta(b, &info.Meta)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)+4))
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	h, err := decodeHeader(b)
	return b, h, err
}

// headerLength returns how long a header is that begins like this: at least 16
// bytes.
func headerLength(b []byte) (int, error) {
	if string(b[:8]) != magic {
		return 0, errors.New("it does not begin like a snapshot")
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n < minHeaderBytes || n > maxHeaderBytes {
		return 0, fmt.Errorf("its header cannot have %d bytes", n)
	}
	return int(n), nil
}

// decodeHeader reads a header, which has the length that it names. In every
// version the first 16 bytes mean the same, and the last 4 are the checksum: so a
// later version is not taken for damage.
func decodeHeader(b []byte) (h header, err error) {
	if len(b) < minHeaderBytes || len(b) > maxHeaderBytes {
		return h, fmt.Errorf("its header cannot have %d bytes", len(b))
	}
	body := b[:len(b)-4]
	if checksum(body) != binary.LittleEndian.Uint32(b[len(body):]) {
		return h, errors.New("its header has a wrong checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return h, fmt.Errorf("%w: it is %d, this program reads %d", ErrVersion, v, version)
	}
	h.bytes = len(b)
	h.info.ID = ID(binary.LittleEndian.Uint64(b[16:]))
	h.info.Cluster = raftcore.ClusterID(binary.LittleEndian.Uint64(b[24:]))
	block := binary.LittleEndian.Uint32(b[32:])
	if block == 0 || block > maxBlockBytes {
		return h, fmt.Errorf("it cannot have blocks of %d bytes", block)
	}
	h.block = int(block)
	if h.info.Meta, err = decodeMeta(body[fixedBytes:]); err != nil {
		return h, err
	}
	return h, nil
}

// fileBytes returns the size of a file with so much content.
func (h *header) fileBytes(content int64) int64 {
	blocks := (content + int64(h.block) - 1) / int64(h.block)
	return int64(h.bytes) + blocks*frameBytes + content + trailerBytes
}

// appendMeta encodes metadata as package badgerstore does.
func appendMeta(b []byte, m *raftcore.SnapshotMeta) []byte {
	b = binary.AppendUvarint(b, uint64(m.Last.Index))
	b = binary.AppendUvarint(b, uint64(m.Last.Term))
	b = binary.AppendVarint(b, m.Time)
	b = binary.AppendUvarint(b, uint64(m.Conf.Index))
	conf := &m.Conf.Conf
	learners := conf.Learners
	if len(conf.Witnesses) > 0 {
		learners = slices.Concat(conf.Learners, []raftcore.NodeID{raftcore.Nobody}, conf.Witnesses)
	}
	for _, list := range [][]raftcore.NodeID{conf.Voters, conf.Outgoing, learners} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, id := range list {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	return b
}

// decodeMeta reads what appendMeta has written, and nothing else: no number in
// more bytes than it needs, no configuration that cannot be.
func decodeMeta(b []byte) (m raftcore.SnapshotMeta, err error) {
	all, failed := b, false
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			failed, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	m.Last.Index = raftcore.Index(uvarint())
	m.Last.Term = raftcore.Term(uvarint())
	zigzag := uvarint()
	m.Time = int64(zigzag>>1) ^ -int64(zigzag&1)
	m.Conf.Index = raftcore.Index(uvarint())
	for _, list := range []*[]raftcore.NodeID{&m.Conf.Conf.Voters, &m.Conf.Conf.Outgoing, &m.Conf.Conf.Learners} {
		n := uvarint()
		if n > uint64(len(b)) { // each takes a byte at least
			return m, errMeta
		}
		if n > 0 {
			*list = make([]raftcore.NodeID, n)
		}
		for i := range *list {
			(*list)[i] = raftcore.NodeID(uvarint())
		}
	}
	if conf := &m.Conf.Conf; slices.Contains(conf.Learners, raftcore.Nobody) {
		at := slices.Index(conf.Learners, raftcore.Nobody)
		conf.Learners, conf.Witnesses = conf.Learners[:at:at], conf.Learners[at+1:]
		if at == 0 {
			conf.Learners = nil
		}
	}
	if failed || len(b) > 0 || !bytes.Equal(appendMeta(nil, &m), all) {
		return m, errMeta
	}
	return m, checkMeta(&m)
}

var errMeta = errors.New("its metadata is malformed")

// checkMeta holds metadata to the rules of raftcore.
func checkMeta(m *raftcore.SnapshotMeta) error {
	if m.Last.Index == 0 || m.Last.Index > 1<<62 || m.Last.Term == 0 || m.Conf.Index > m.Last.Index || len(m.Conf.Conf.Voters) == 0 {
		return fmt.Errorf("there is no snapshot of entry %v with a configuration of entry %d and %d voters", m.Last, m.Conf.Index, len(m.Conf.Conf.Voters))
	}
	for _, list := range [][]raftcore.NodeID{m.Conf.Conf.Voters, m.Conf.Conf.Outgoing, m.Conf.Conf.Learners, m.Conf.Conf.Witnesses} {
		before := raftcore.Nobody
		for _, id := range list {
			if id <= before {
				return errors.New("its configuration is not in order")
			}
			before = id
		}
	}
	for _, id := range m.Conf.Conf.Learners {
		if slices.Contains(m.Conf.Conf.Voters, id) {
			return fmt.Errorf("its configuration has %d as a voter and as a learner", id)
		}
	}
	for _, id := range m.Conf.Conf.Witnesses {
		if !m.Conf.Conf.Contains(id) {
			return fmt.Errorf("its configuration has %d as a witness, and not as a member", id)
		}
	}
	return nil
}

// trailer is the last unit of a file.
type trailer struct {
	content int64  // bytes
	whole   uint32 // checksum of the content alone
}

func (t trailer) encode(sum uint32) []byte {
	b := make([]byte, trailerBytes)
	binary.LittleEndian.PutUint32(b[4:], trailerMark)
	binary.LittleEndian.PutUint64(b[8:], uint64(t.content))
	binary.LittleEndian.PutUint32(b[16:], t.whole)
	copy(b[24:], endMagic)
	binary.LittleEndian.PutUint32(b, crc32.Update(sum, castagnoli, b[4:]))
	return b
}

// decodeTrailer reads a trailer that follows a unit with this checksum.
func decodeTrailer(b []byte, sum uint32) (t trailer, err error) {
	if crc32.Update(sum, castagnoli, b[4:]) != binary.LittleEndian.Uint32(b) {
		return t, errors.New("its trailer is missing, or has a wrong checksum")
	}
	t = trailer{content: int64(binary.LittleEndian.Uint64(b[8:])), whole: binary.LittleEndian.Uint32(b[16:])}
	if t.content < 0 || !bytes.Equal(t.encode(sum), b) {
		return t, errors.New("its trailer is malformed")
	}
	return t, nil
}

// The names of files: the last entry's index, in twenty digits so that they sort,
// its term, and the ID.
const (
	goodSuffix    = ".snapshot"
	draftSuffix   = ".draft"
	partialSuffix = ".partial"
)

func baseName(info *Info) string {
	return fmt.Sprintf("%020d-%d-%v", info.Meta.Last.Index, info.Meta.Last.Term, info.ID)
}

// partialName names an incoming file. Its first mark bytes are durable: it gets
// the name when they are.
func partialName(base string, mark int64) string {
	return fmt.Sprintf("%s.%d%s", base, mark, partialSuffix)
}

// parseBase reads what baseName wrote. Only that is in the Info.
func parseBase(base string) (info Info, ok bool) {
	parts := strings.Split(base, "-")
	if len(parts) != 3 {
		return info, false
	}
	index, err1 := strconv.ParseUint(parts[0], 10, 64)
	term, err2 := strconv.ParseUint(parts[1], 10, 64)
	id, err3 := strconv.ParseUint(parts[2], 16, 64)
	info.Meta.Last = raftcore.EntryID{Index: raftcore.Index(index), Term: raftcore.Term(term)}
	info.ID = ID(id)
	return info, errors.Join(err1, err2, err3) == nil && baseName(&info) == base
}

func parsePartial(name string) (base string, mark int64, ok bool) {
	rest, ok := strings.CutSuffix(name, partialSuffix)
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 {
		return "", 0, false
	}
	mark, err := strconv.ParseInt(rest[dot+1:], 10, 64)
	if _, good := parseBase(rest[:dot]); err != nil || mark < 0 || !good || partialName(rest[:dot], mark) != name {
		return "", 0, false
	}
	return rest[:dot], mark, true
}
