package raftcore

import "math/rand/v2"

// A node that is given the same state and the same inputs does the same. Here both
// are taken apart into numbers, for who keeps them, and put together again for who
// wants to see what happened: see package flight. Of commands only the sizes
// matter, so nothing else of them is kept.
//
// What is taken apart is never written to: entries, and what messages point to, are
// others' as well.

// Archive takes numbers down, or reads them back: the two are one walk. What it
// returns stands for what it is shown; who takes down returns just that.
type Archive interface {
	Uint(uint64) uint64
	// Len is shown the length of a list. Each element is at least one Uint more.
	Len(int) int
	// Data returns a command of a size; who takes down is not asked.
	Data(size int) []byte
}

// Recorder is an Archive that is shown what a node is told from now on, before the
// node does anything about it.
type Recorder interface {
	Archive
	// Input announces an input, which is shown next: see NextInput. Drain announces a
	// Drain. Both may ask the node for its State, if they are the first since Record or
	// since a Drain.
	Input(*Node)
	Drain(*Node)
}

// Record has r shown every input from now on; nil ends it. It is for a node that is new,
// or that has been drained.
func (n *Node) Record(r Recorder) { n.recorder = r }

// State shows a all that the next steps of a node depend on that is new, or drained.
func (n *Node) State(a Archive) { n.visit(a) }

// Resume returns the node whose State a reads back.
func Resume(a Archive) *Node {
	n := &Node{pcg: &rand.PCG{}}
	n.rng = rand.New(n.pcg)
	n.visit(a)
	return n
}

// The inputs, by number: they stand on disks.
const (
	inputTick = iota + 1
	inputReceive
	inputPropose
	inputRead
	inputChangeConfig
	inputTransfer
	inputCampaign
	inputBootstrap
	inputSaved
	inputLoaded
	inputApplied
	inputSnapshotTaken
	inputSnapshotSent
	inputUnreachable
)

// recordInput is a walk through a copy of an input, which stays on the stack.
func recordInput(a Archive, in Input) {
	switch in := in.(type) {
	case Tick:
		a.Uint(inputTick)
		in.visit(a)
	case Receive:
		a.Uint(inputReceive)
		in.Message.visit(a)
	case Propose:
		a.Uint(inputPropose | bit(in.Host, 4) | bit(in.Watch, 5) | uint64(len(in.Data))<<6)
		num(a, &in.Tag)
	case Read:
		a.Uint(inputRead)
		num(a, &in.Tag)
	case ChangeConfig:
		a.Uint(inputChangeConfig)
		in.visit(a)
	case Transfer:
		a.Uint(inputTransfer)
		in.visit(a)
	case Campaign:
		a.Uint(inputCampaign)
	case Bootstrap:
		a.Uint(inputBootstrap)
		in.visit(a)
	case Saved:
		a.Uint(inputSaved)
		in.Token.visit(a)
	case Loaded:
		a.Uint(inputLoaded)
		in.visit(a)
	case Applied:
		a.Uint(inputApplied)
		in.visit(a)
	case SnapshotTaken:
		a.Uint(inputSnapshotTaken)
		in.visit(a)
	case SnapshotSent:
		a.Uint(inputSnapshotSent)
		in.visit(a)
	case Unreachable:
		a.Uint(inputUnreachable)
		num(a, &in.Peer)
	default:
		a.Uint(0)
	}
}

// NextInput reads an input back; nil is one of an unknown type.
func NextInput(a Archive) Input {
	form := a.Uint(0)
	switch form & 15 {
	case inputTick:
		return back(a, (*Tick).visit)
	case inputReceive:
		return back(a, func(in *Receive, a Archive) { in.Message.visit(a) })
	case inputPropose:
		in := Propose{Host: form&16 != 0, Watch: form&32 != 0}
		command(a, &in.Data, form>>6)
		num(a, &in.Tag)
		return in
	case inputRead:
		return back(a, func(in *Read, a Archive) { num(a, &in.Tag) })
	case inputChangeConfig:
		return back(a, (*ChangeConfig).visit)
	case inputTransfer:
		return back(a, (*Transfer).visit)
	case inputCampaign:
		return Campaign{}
	case inputBootstrap:
		return back(a, (*Bootstrap).visit)
	case inputSaved:
		return back(a, func(in *Saved, a Archive) { in.Token.visit(a) })
	case inputLoaded:
		return back(a, (*Loaded).visit)
	case inputApplied:
		return back(a, (*Applied).visit)
	case inputSnapshotTaken:
		return back(a, (*SnapshotTaken).visit)
	case inputSnapshotSent:
		return back(a, (*SnapshotSent).visit)
	case inputUnreachable:
		return back(a, func(in *Unreachable, a Archive) { num(a, &in.Peer) })
	}
	return nil
}

func back[T Input](a Archive, visit func(*T, Archive)) Input {
	var in T
	visit(&in, a)
	return in
}

// put writes only what is another value: who takes down must not write.
func put[T comparable](p *T, x T) {
	if *p != x {
		*p = x
	}
}

func num[T ~uint64 | ~int64 | ~int | ~uint8](a Archive, p *T) { put(p, T(a.Uint(uint64(*p)))) }

func flag(a Archive, p *bool) { put(p, a.Uint(bit(*p, 0)) != 0) }

func bit(b bool, at int) uint64 {
	if b {
		return 1 << at
	}
	return 0
}

func list[T any](a Archive, s *[]T, visit func(*T, Archive)) {
	if n := a.Len(len(*s)); n != len(*s) {
		*s = make([]T, n)
	}
	for i := range *s {
		visit(&(*s)[i], a)
	}
}

func nums[T ~uint64](a Archive, s *[]T) { list(a, s, func(p *T, a Archive) { num(a, p) }) }

// pointer is a walk through what may not be there.
func pointer[T any](a Archive, p **T, visit func(*T, Archive)) {
	if there := a.Uint(bit(*p != nil, 0)) != 0; there && *p == nil {
		*p = new(T)
	}
	if *p != nil {
		visit(*p, a)
	}
}

// command makes a command one of this size. It is a number less to take down if the size
// stands in one with what else there is.
func command(a Archive, p *[]byte, size uint64) {
	if size != uint64(len(*p)) {
		*p = a.Data(int(size))
	}
}

// entries is a walk through entries that mostly follow one another, in one term, at
// about the same time.
func entries(a Archive, s *[]Entry) {
	if n := a.Len(len(*s)); n != len(*s) {
		*s = make([]Entry, n)
	}
	var before Entry
	for i := range *s {
		e := &(*s)[i]
		form := bit(e.Index == before.Index+1, 0) | bit(e.Term == before.Term, 1) | bit(e.Time == before.Time, 2) | bit(e.Config != nil, 3)
		form = a.Uint(form | uint64(e.Kind)<<4 | uint64(len(e.Data))<<12)
		put(&e.Kind, EntryKind(form>>4))
		command(a, &e.Data, form>>12)
		if form&1 != 0 {
			put(&e.Index, before.Index+1)
		} else {
			num(a, &e.Index)
		}
		if form&2 != 0 {
			put(&e.Term, before.Term)
		} else {
			num(a, &e.Term)
		}
		if form&4 != 0 {
			put(&e.Time, before.Time)
		} else {
			num(a, &e.Time)
		}
		if form&8 != 0 && e.Config == nil {
			e.Config = &ConfState{}
		}
		if e.Config != nil {
			e.Config.visit(a)
		}
		before.EntryID, before.Time = e.EntryID, e.Time
	}
}

func (in *Tick) visit(a Archive) { num(a, &in.Now); num(a, &in.Time) }

func (in *ChangeConfig) visit(a Archive) { num(a, &in.Tag); in.Conf.visit(a); num(a, &in.Expect) }

func (in *Transfer) visit(a Archive) { num(a, &in.Tag); num(a, &in.To) }

func (in *Bootstrap) visit(a Archive) { num(a, &in.Tag); num(a, &in.Cluster); in.Conf.visit(a) }

func (in *Loaded) visit(a Archive) {
	l := &in.Load
	num(a, &l.For)
	num(a, &l.Term)
	num(a, &l.From)
	num(a, &l.To)
	num(a, &l.MaxBytes)
	entries(a, &in.Entries)
}

func (in *Applied) visit(a Archive) { num(a, &in.Index); num(a, &in.Passed) }

func (in *SnapshotTaken) visit(a Archive) { num(a, &in.Index); num(a, &in.Time) }

func (in *SnapshotSent) visit(a Archive) { num(a, &in.Peer); num(a, &in.Index); num(a, &in.Status) }

func (t *Token) visit(a Archive) { num(a, &t.Boot); num(a, &t.Sequence) }

func (id *EntryID) visit(a Archive) { num(a, &id.Term); num(a, &id.Index) }

func (c *ConfState) visit(a Archive) {
	nums(a, &c.Voters)
	nums(a, &c.Outgoing)
	nums(a, &c.Learners)
	nums(a, &c.Witnesses)
}

func (c *ConfigAt) visit(a Archive) { num(a, &c.Index); c.Conf.visit(a) }

func (s *SnapshotMeta) visit(a Archive) { s.Last.visit(a); num(a, &s.Time); s.Conf.visit(a) }

func (h *HardState) visit(a Archive) {
	num(a, &h.Term)
	num(a, &h.Vote)
	num(a, &h.Cluster)
	flag(a, &h.Joined)
	flag(a, &h.Witness)
}

// The bodies of messages, by number.
const (
	bodyVoteRequest = iota + 1
	bodyVoteReply
	bodyAppendRequest
	bodyAppendReply
	bodySnapshotRequest
	bodyTimeoutNow
	bodyReadRequest
	bodyReadReply
)

func (m *Message) visit(a Archive) {
	num(a, &m.From)
	num(a, &m.To)
	num(a, &m.Term)
	num(a, &m.Cluster)
	num(a, &m.Incarnation)
	num(a, &m.ToIncarnation)
	switch b := m.Body.(type) {
	case *VoteRequest:
		a.Uint(bodyVoteRequest)
		b.visit(a)
	case *VoteReply:
		a.Uint(bodyVoteReply)
		b.visit(a)
	case *AppendRequest:
		a.Uint(bodyAppendRequest)
		b.visit(a)
	case *AppendReply:
		a.Uint(bodyAppendReply)
		b.visit(a)
	case *SnapshotRequest:
		a.Uint(bodySnapshotRequest)
		b.visit(a)
	case *TimeoutNow:
		a.Uint(bodyTimeoutNow)
	case *ReadRequest:
		a.Uint(bodyReadRequest)
		num(a, &b.Sequence)
	case *ReadReply:
		a.Uint(bodyReadReply)
		b.visit(a)
	default:
		m.bodyBack(a) // there is none: it is being read back, or unknown
	}
}

// bodyBack reads a body back, and takes down that there is none.
func (m *Message) bodyBack(a Archive) {
	switch a.Uint(0) {
	case bodyVoteRequest:
		b := &VoteRequest{}
		b.visit(a)
		m.Body = b
	case bodyVoteReply:
		b := &VoteReply{}
		b.visit(a)
		m.Body = b
	case bodyAppendRequest:
		b := &AppendRequest{}
		b.visit(a)
		m.Body = b
	case bodyAppendReply:
		b := &AppendReply{}
		b.visit(a)
		m.Body = b
	case bodySnapshotRequest:
		b := &SnapshotRequest{}
		b.visit(a)
		m.Body = b
	case bodyTimeoutNow:
		m.Body = &TimeoutNow{}
	case bodyReadRequest:
		b := &ReadRequest{}
		num(a, &b.Sequence)
		m.Body = b
	case bodyReadReply:
		b := &ReadReply{}
		b.visit(a)
		m.Body = b
	}
}

func (b *VoteRequest) visit(a Archive) {
	flag(a, &b.Pre)
	flag(a, &b.Transfer)
	num(a, &b.Priority)
	b.Last.visit(a)
	num(a, &b.Campaign)
}

func (b *VoteReply) visit(a Archive) {
	flag(a, &b.Pre)
	flag(a, &b.Granted)
	num(a, &b.Campaign)
}

func (b *AppendRequest) visit(a Archive) {
	b.Prev.visit(a)
	entries(a, &b.Entries)
	num(a, &b.Commit)
	num(a, &b.Round)
	form := a.Uint(bit(b.Admit, 0) | bit(b.Quiesce, 1) | bit(b.Urgent, 2))
	put(&b.Admit, form&1 != 0)
	put(&b.Quiesce, form&2 != 0)
	put(&b.Urgent, form&4 != 0)
}

func (b *AppendReply) visit(a Archive) {
	num(a, &b.Match)
	num(a, &b.Round)
	num(a, &b.Ahead)
	form := a.Uint(bit(b.Rejected, 0) | bit(b.Flooded, 1) | bit(b.Newcomer, 2))
	put(&b.Rejected, form&1 != 0)
	put(&b.Flooded, form&2 != 0)
	put(&b.Newcomer, form&4 != 0)
	b.Probed.visit(a)
	b.Hint.visit(a)
}

func (b *SnapshotRequest) visit(a Archive) { b.Snapshot.visit(a); flag(a, &b.Bare) }

func (b *ReadReply) visit(a Archive) {
	num(a, &b.Sequence)
	flag(a, &b.Refused)
	num(a, &b.Index)
}
