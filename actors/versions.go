package actors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// This file is about state machines that come in versions.
//
// Members that run different programs for a while, as in a rolling upgrade, must not do
// different things at the same entry. So it is replicated which version of itself a machine
// has to be, and that is raised by an entry, of kind raftcore.EntryHost:
//
//	upgrades = 6 version conf    version, conf = uvarint
//
// The leader proposes it when every member has said that it can be of that version. It
// counts only if those are the members still: conf is the entry that made them that.
// Who does not say, because it is down or runs a program that knows nothing of this, is
// waited for. Only a group that has not begun begins with a majority: otherwise a founder
// that never comes would keep it from beginning.
//
// A member that cannot be what it has to be, because somebody has put an older program in
// place, applies nothing: it is quarantined until it has the right one.

// Versions are the versions that a state machine can be of, from Oldest to Newest. Every
// group begins with version 0, which is what a machine is that has only one. Entry.Version
// says which it has to be.
//
// To change what Apply does, raise Newest, and keep doing what was done before at entries
// of a lower version, for as long as such entries may be in a log, or such a version be in
// force. When all members run the new program the group goes on to its Newest by itself.
// There is no way back: to wait with it, let Newest be as it was. Oldest is raised later,
// when no group is of a lower version any more and its snapshots are of that version, too.
type Versions struct{ Oldest, Newest uint64 }

func (v Versions) includes(version uint64) bool { return v.Oldest <= version && version <= v.Newest }

func (v Versions) String() string {
	if v.Oldest == v.Newest {
		return fmt.Sprint("version ", v.Newest)
	}
	return fmt.Sprintf("versions %d to %d", v.Oldest, v.Newest)
}

// VersionError is why a member is faulted, or quarantined: its program is too old for its
// group, or too new.
type VersionError struct {
	Needed uint64   // the version that is in force
	Able   Versions // what GroupConfig.Versions says
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the state machine has to be of version %d, and this program has %v: run one that has it", e.Needed, e.Able)
}

func (e *VersionError) Unwrap() error { return ErrMachineFault }

// askVersions asks a member which versions its machine can be of. It travels, and whoever
// has the member answers, whether he leads or not.
const askVersions Operation = 49

func (v Versions) encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, v.Oldest), v.Newest)
}

func decodeVersions(b []byte) (v Versions, err error) {
	r := tableReader{b: b}
	v = Versions{r.uvarint(), r.uvarint()}
	if r.bad || len(r.b) > 0 || v.Oldest > v.Newest {
		return v, errors.New("these are no versions")
	}
	return v, nil
}

const upgradesVersion byte = 6

// upgrade is an entry that raises the version.
type upgrade struct {
	version uint64
	conf    raftcore.Index
}

func (u upgrade) encode() []byte {
	b := binary.AppendUvarint([]byte{upgradesVersion}, u.version)
	return binary.AppendUvarint(b, uint64(u.conf))
}

func decodeUpgrade(b []byte) (u upgrade, err error) {
	r := tableReader{b: b[1:]}
	u = upgrade{r.uvarint(), raftcore.Index(r.uvarint())}
	if r.bad || len(r.b) > 0 {
		return u, errors.New("it is no upgrade")
	}
	return u, nil
}

func isUpgrade(data []byte) bool { return len(data) > 0 && data[0] == upgradesVersion }

// upgrade has the machine be of another version, from the next entry on.
func (m *machine) upgrade(e *raftcore.Entry) {
	u, err := decodeUpgrade(e.Data)
	if err != nil {
		// To skip it is to have another state than members of a later version.
		panic(fmt.Errorf("entry %d: %w, or one of a later version", e.Index, err))
	}
	if u.version <= m.version || u.conf != m.applied.Conf.Index {
		return // it was raised meanwhile, or the members are others
	}
	if able := m.group.cfg.Versions; !able.includes(u.version) {
		panic(&machinePanic{index: e.Index, reason: &VersionError{u.version, able}})
	}
	m.setVersion(u.version)
	m.host.logger.Info("the state machine is of another version from now on", "group", m.group.name, "version", u.version, "index", uint64(e.Index))
	m.effector.tell(effectsAdded{}) // there may be a newer one yet
}

func (m *machine) setVersion(version uint64) {
	m.version = version
	m.group.version.Store(version)
	m.group.board.update(func(s *Status) { s.Version = version })
}

// upgrading is what the effector knows of the versions of the others.
type upgrading struct {
	round  uint64 // counts how often they were asked
	conf   raftcore.Index
	voters []raftcore.NodeID
	others int // how many were asked
	able   map[raftcore.NodeID]Versions
	ends   time.Time // of the round
}

// ableAre is the answer of a member.
type ableAre struct {
	round uint64
	from  raftcore.NodeID
	able  Versions
	err   error
}

// upgrade has the version raised, if everybody can be of a newer one. It returns when to
// look again; zero: there is nothing to look for.
func (f *effector) upgrade(now time.Time) time.Time {
	mine, current := f.group.cfg.Versions, f.group.version.Load()
	u := &f.upgrading
	if mine.Newest <= current {
		return time.Time{}
	}
	if u.able != nil && (len(u.able) == u.others || !now.Before(u.ends)) {
		if version, can := u.agree(f.host.cfg.ID, mine, current); can {
			f.order(upgrade{version, u.conf}.encode())
		}
		u.able = nil
		u.ends = now.Add(f.host.cfg.Raft.ElectionTimeout) // the pause
	}
	if u.able == nil && !now.Before(u.ends) {
		f.askAll(now)
	}
	return u.ends
}

// askAll asks all other members.
func (f *effector) askAll(now time.Time) {
	u := &f.upgrading
	s, _ := f.group.board.latest()
	u.round++
	u.ends = now.Add(f.host.cfg.Raft.ElectionTimeout)
	if len(s.Conf.Outgoing) > 0 {
		return // the members are about to change
	}
	// Witnesses have no machine.
	u.voters = slices.DeleteFunc(slices.Clone(s.Conf.Voters), s.Conf.Witness)
	u.conf, u.able, u.others = s.ConfIndex, map[raftcore.NodeID]Versions{}, 0
	for _, id := range slices.Concat(s.Conf.Voters, s.Conf.Learners) {
		if id == f.host.cfg.ID || s.Conf.Witness(id) {
			continue
		}
		u.others++
		p := f.host.peer(id)
		if p == nil {
			continue
		}
		self, round := f.self, u.round
		p.tell(&forward{group: f.group.key, call: f.group.newOrder(askVersions, nil, func(o outcome) {
			able, err := Versions{}, o.err
			if err == nil {
				able, err = decodeVersions(o.data)
			}
			self.tell(ableAre{round, id, able, err})
		})})
	}
	if u.others == 0 {
		u.ends = now
	}
}

// heard takes the answer of a member.
func (u *upgrading) heard(m ableAre) {
	if m.round == u.round && m.err == nil && u.able != nil {
		u.able[m.from] = m.able
	}
}

// agree returns the newest version that all members can be of; or, if the group has none
// yet that this one can be of, those that have answered, with a majority.
func (u *upgrading) agree(self raftcore.NodeID, mine Versions, current uint64) (version uint64, can bool) {
	version = mine.Newest
	oldest, votes := mine.Oldest, 0
	for _, id := range u.voters {
		if _, answered := u.able[id]; answered || id == self {
			votes++
		}
	}
	for _, able := range u.able {
		version, oldest = min(version, able.Newest), max(oldest, able.Oldest)
	}
	enough := len(u.able) == u.others || current < mine.Oldest && votes > len(u.voters)/2
	return version, enough && version >= oldest && version > current
}
