package actors

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// Balance hands over leaderships that others are to have: first those of groups in which a
// host of a higher priority could lead (GroupConfig.Priority), then, among hosts of the same
// priority in a group, as long as this one leads at least two groups more than another, to
// the one that leads the fewest. One after the other; and to nobody who lacks an entry, has
// not been heard of while others were, or says that its disk stalls, or is full. Balance
// returns how many it has handed over.
//
// Call it on every host once in a while, or have all of them do it by themselves
// (HostConfig.BalanceInterval). Who leads one group more than others keeps it, and nobody
// hands over to a lower priority, so nothing goes back and forth. What has gone wrong with
// one host is not tried with it again before the next call. Who leads what is known from
// this host's own members; groups in which it has none do not count. Of more groups than a
// quarter of HostConfig.MaxPending has members, some are looked at in each call. A host whose own disk
// stalls hands nothing over here: the groups see to that themselves.
func (h *Host) Balance(ctx context.Context) (handed int, err error) {
	order := &balanceOrder{ctx: ctx, done: make(chan error, 1)}
	h.balancer.tell(order)
	select {
	case err = <-order.done:
	case <-h.ended:
		err = fmt.Errorf("castaway: the host: %w", ErrStopped)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return int(order.handed.Load()), err
}

// balancer hands over leaderships: in rounds, of which one is under way at a time, and in
// it one leadership.
//
//	Host.Balance, its timer → balancer  *balanceOrder
//	balancer → node, here   *call: GetStatus, Transfer
//	balancer → peer         forward: askCandidate
//	node, peer → balancer   candidateIs, statusIs, transferred
//
// Rounds that nobody has asked for are careful, so that a host that comes and goes does not
// have all leaders come and go with it: they hand over to a host only if it was ready in
// the round before, too; no more than maxHandovers; and if a leadership comes back, its host
// is left alone for some rounds, twice as many each time.
type balancer struct {
	host  *Host
	box   *mailbox
	self  ref
	rng   *rand.Rand
	timer Timer // for the next round that nobody has asked for; nil: there is none

	round  *balanceRound // nil: none is under way
	orders []*balanceOrder
	rounds uint64 // counts them

	// Of the rounds that nobody has asked for.
	own    uint64                      // counts them
	ready  map[raftcore.NodeID]uint64  // in which of them a host was ready the last time
	handed map[*Group]handedOver       // what was handed over, not long ago
	shuns  map[raftcore.NodeID]shunned // hosts that did not keep it
}

// handedOver is a leadership that was handed over.
type handedOver struct {
	to  raftcore.NodeID
	own uint64 // in this round
}

// shunned is a host that does not keep what it is given.
type shunned struct {
	until uint64 // this round
	pause uint64 // so many rounds
}

const (
	// maxHandovers bounds the leaderships that are handed over in a round that nobody has
	// asked for.
	maxHandovers = 16
	// maxShun bounds for how many rounds a host is left alone.
	maxShun = 64
	// keptFor is after how many rounds a host has kept what it was given.
	keptFor = 8
)

// The messages of the balancer.
type (
	// balanceOrder asks for a round.
	balanceOrder struct {
		ctx    context.Context
		handed atomic.Int64
		done   chan error // has room for one; nil: nobody has asked for it
	}
	// candidateIs is what a member says.
	candidateIs struct {
		round uint64
		group *Group
		from  raftcore.NodeID
		candidacy
		err error
	}
	// askedLongEnough ends the waiting for those who do not answer.
	askedLongEnough struct{ round uint64 }
	statusIs        struct {
		round  uint64
		status *Status
		err    error
	}
	transferred struct {
		round uint64
		err   error
	}
)

func (o *balanceOrder) orphaned() { o.finish(errGone) }

func (o *balanceOrder) finish(err error) {
	if o.done != nil {
		o.done <- err
	}
}

// balanceRound is a round.
type balanceRound struct {
	order      *balanceOrder
	number     uint64
	limit      int // of handovers; 0: none
	asked      int // members that have not answered yet
	begun      bool
	timer      Timer
	candidates map[*Group]map[raftcore.NodeID]candidacy
	failed     map[raftcore.NodeID]bool
	unfit      map[handover]bool
	moved      map[*Group]raftcore.NodeID // of which there may be no news yet
	next       handover
}

// handover is a leadership, and who is to have it.
type handover struct {
	group *Group
	to    raftcore.NodeID
}

func (b *balancer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		b.self = ref{ctx.Self(), b.box}
		b.rng = rand.New(rand.NewPCG(b.host.seed(0), uint64(b.host.cfg.ID)))
		b.ready, b.handed, b.shuns = map[raftcore.NodeID]uint64{}, map[*Group]handedOver{}, map[raftcore.NodeID]shunned{}
		b.later()
	case *delivery:
		for _, message := range m.Messages {
			b.receive(message)
		}
	case *actor.Stopping:
		if b.timer != nil {
			b.timer.Stop()
		}
		if b.round != nil {
			b.round.timer.Stop()
			b.round.order.finish(errGone)
		}
		for _, o := range b.orders {
			o.finish(errGone)
		}
	case *actor.Stopped:
		b.box.close()
	}
}

func (b *balancer) receive(message any) {
	switch m := message.(type) {
	case *balanceOrder:
		b.orders = append(b.orders, m)
		if b.round == nil {
			b.begin()
		}
	case candidateIs:
		if r := b.round; r != nil && m.round == r.number && !r.begun {
			b.heard(m)
		}
	case askedLongEnough:
		if r := b.round; r != nil && m.round == r.number && !r.begun {
			r.begun = true
			b.step()
		}
	case statusIs:
		if b.round != nil && m.round == b.round.number {
			b.judge(m)
		}
	case transferred:
		if b.round != nil && m.round == b.round.number {
			b.transferred(m.err)
		}
	}
}

// later has the next round begin that nobody has asked for. Hosts do not do it all at once.
func (b *balancer) later() {
	every := b.host.cfg.BalanceInterval
	if every <= 0 {
		return
	}
	self := b.self
	wait := every*3/4 + time.Duration(b.rng.Int64N(int64(every/2)+1))
	b.timer = b.host.cfg.Runtime.AfterFunc(wait, func() { self.tell(&balanceOrder{ctx: context.Background()}) })
}

// begin begins a round: it asks every member of every group that is led here.
func (b *balancer) begin() {
	order := b.orders[0]
	b.orders = b.orders[1:]
	b.rounds++
	r := &balanceRound{
		order: order, number: b.rounds, candidates: map[*Group]map[raftcore.NodeID]candidacy{},
		failed: map[raftcore.NodeID]bool{}, unfit: map[handover]bool{}, moved: map[*Group]raftcore.NodeID{},
	}
	b.round = r
	if order.done == nil {
		r.limit = maxHandovers
		b.own++
		b.cameBack()
	}
	self, number := b.self, r.number
	r.timer = b.host.cfg.Runtime.AfterFunc(b.host.cfg.Raft.ElectionTimeout, func() { self.tell(askedLongEnough{number}) })
	if !b.host.stalled() {
		b.askAll()
	}
	if r.asked == 0 && !r.begun {
		r.begun = true
		b.step()
	}
}

// askAll asks. Of very many groups some are asked in each round, and others in the next:
// clients' requests wait for answers in the same place.
func (b *balancer) askAll() {
	h, r := b.host, b.round
	groups := h.sorted()
	b.rng.Shuffle(len(groups), func(i, k int) { groups[i], groups[k] = groups[k], groups[i] })
	for _, g := range groups {
		s, _ := g.board.latest()
		if s.State != Running || s.Leader != h.cfg.ID {
			continue
		}
		if r.asked+len(s.Conf.Voters) > max(h.cfg.MaxPending/4, maxHandovers) {
			break
		}
		r.candidates[g] = map[raftcore.NodeID]candidacy{}
		for _, id := range s.Conf.Voters {
			p := h.peer(id)
			if id == h.cfg.ID || p == nil || s.Conf.Witness(id) {
				continue
			}
			r.asked++
			self, number := b.self, r.number
			p.tell(&forward{group: g.key, call: g.newOrder(askCandidate, nil, func(o outcome) {
				c, err := candidacy{}, o.err
				if err == nil {
					c, err = decodeCandidacy(o.data)
				}
				self.tell(candidateIs{number, g, id, c, err})
			})})
		}
	}
}

// heard takes the answer of a member.
func (b *balancer) heard(m candidateIs) {
	r := b.round
	if m.err == nil {
		r.candidates[m.group][m.from] = m.candidacy
	}
	if r.asked--; r.asked == 0 {
		r.begun = true
		b.step()
	}
}

// step goes on to the next leadership that is to be handed over, or ends the round.
func (b *balancer) step() {
	r := b.round
	full := r.limit > 0 && r.order.handed.Load() >= int64(r.limit)
	if err := r.order.ctx.Err(); err != nil || full || b.host.stalled() {
		b.end(err)
		return
	}
	next, any := b.choose()
	if !any {
		b.end(nil)
		return
	}
	r.next = next
	self, number := b.self, r.number
	next.group.order(GetStatus, raftcore.Nobody, func(o outcome) { self.tell(statusIs{number, o.status, o.err}) })
}

// judge looks whether the next one can be handed over at once.
func (b *balancer) judge(m statusIs) {
	r := b.round
	if m.err != nil || !m.status.couldLead(r.next.to, b.host.cfg.Raft) {
		r.unfit[r.next] = true
		b.step()
		return
	}
	self, number := b.self, r.number
	r.next.group.order(Transfer, r.next.to, func(o outcome) { self.tell(transferred{number, o.err}) })
}

// order has the node of this host do something.
func (g *Group) order(o Operation, to raftcore.NodeID, answer func(outcome)) {
	c := g.newOrder(o, nil, answer)
	c.more = &particulars{to: to}
	if node := g.node.Load(); node != nil {
		node.tell(c)
		return
	}
	c.finish(nil, errGone)
}

func (b *balancer) transferred(err error) {
	r := b.round
	switch {
	case err == nil:
		r.order.handed.Add(1)
		r.moved[r.next.group] = r.next.to
		if r.order.done == nil {
			b.handed[r.next.group] = handedOver{r.next.to, b.own}
		}
	case errors.Is(err, ErrUnknown): // it was told to lead, and does not
		r.failed[r.next.to] = true
		if r.order.done == nil {
			b.shun(r.next.to)
		}
	default:
		r.unfit[r.next] = true
	}
	b.step()
}

func (b *balancer) end(err error) {
	r := b.round
	r.timer.Stop()
	b.round = nil
	if r.order.done == nil {
		for _, candidates := range r.candidates {
			for id, c := range candidates {
				if c.ready {
					b.ready[id] = b.own
				}
			}
		}
		b.later()
	}
	r.order.finish(err)
	if len(b.orders) > 0 {
		b.begin()
	}
}

// cameBack looks whether hosts have kept what they were given.
func (b *balancer) cameBack() {
	broken := map[raftcore.NodeID]bool{}
	for g, given := range b.handed {
		switch s, _ := g.board.latest(); {
		case s.State == Running && s.Leader == b.host.cfg.ID:
			broken[given.to] = true
			delete(b.handed, g)
		case b.own-given.own > keptFor:
			delete(b.handed, g)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(broken)) {
		b.shun(id)
	}
	for id, s := range b.shuns {
		if b.own > s.until+keptFor {
			delete(b.shuns, id)
		}
	}
}

// shun leaves a host alone for some rounds.
func (b *balancer) shun(id raftcore.NodeID) {
	pause := min(2*max(b.shuns[id].pause, 1), maxShun)
	b.shuns[id] = shunned{until: b.own + pause, pause: pause}
	b.host.logger.Warn("a host does not keep the leaderships that it is handed: it is left alone for a while", "peer", uint64(id), "rounds", pause)
}

// trusts reports whether anything may be handed over to a host in this round.
func (b *balancer) trusts(id raftcore.NodeID) bool {
	r := b.round
	if r.failed[id] {
		return false
	}
	return r.order.done != nil || b.ready[id] == b.own-1 && b.own > 1 && b.own > b.shuns[id].until
}

// choose returns what is to be handed over next.
func (b *balancer) choose() (handover, bool) {
	self := b.host.cfg.ID
	leads, own := b.leads()
	fewest := func(x, y raftcore.NodeID) int { return cmp.Or(cmp.Compare(leads[x], leads[y]), cmp.Compare(x, y)) }
	for _, g := range own { // those that others are to lead
		best := handover{}
		for _, id := range slices.SortedFunc(maps.Keys(b.round.candidates[g]), fewest) {
			if priority := b.round.candidates[g][id].priority; b.could(g, id) && priority > g.priority() &&
				(best.group == nil || priority > b.round.candidates[g][best.to].priority) {
				best = handover{g, id}
			}
		}
		if best.group != nil {
			return best, true
		}
	}
	for _, to := range slices.SortedFunc(maps.Keys(leads), fewest) { // and those that are too many
		if leads[to] > leads[self]-2 {
			break
		}
		for _, g := range own {
			if b.could(g, to) && b.round.candidates[g][to].priority == g.priority() {
				return handover{g, to}, true
			}
		}
	}
	return handover{}, false
}

// could reports whether a host is a candidate for a group in this round.
func (b *balancer) could(g *Group, id raftcore.NodeID) bool {
	return b.round.candidates[g][id].ready && b.trusts(id) && !b.round.unfit[handover{g, id}]
}

// leads returns how many groups each host leads, and which this one does, in any order.
func (b *balancer) leads() (leads map[raftcore.NodeID]int, own []*Group) {
	leads = map[raftcore.NodeID]int{}
	for _, g := range b.host.sorted() {
		s, _ := g.board.latest()
		if s.State != Running || s.Leader == raftcore.Nobody {
			continue
		}
		if to := b.round.moved[g]; to != raftcore.Nobody {
			leads[to]++
			continue
		}
		leads[s.Leader]++
		if s.Leader != b.host.cfg.ID {
			continue
		}
		for _, id := range s.Conf.Voters {
			if !s.Conf.Witness(id) {
				leads[id] += 0 // whoever leads none
			}
		}
		if b.round.candidates[g] != nil { // else nobody was asked: it is led here since then
			own = append(own, g)
		}
	}
	b.rng.Shuffle(len(own), func(i, k int) { own[i], own[k] = own[k], own[i] })
	return leads, own
}

// sorted returns the open groups, in the same order each time.
func (h *Host) sorted() []*Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]*Group, 0, len(h.groups))
	for _, key := range slices.Sorted(maps.Keys(h.groups)) {
		all = append(all, h.groups[key])
	}
	return all
}

// couldLead reports whether the leader whose status this is could hand over to a voter at
// once. Who sleeps has heard of nobody for long, of all of them alike.
func (s *Status) couldLead(id raftcore.NodeID, cfg raftcore.Config) bool {
	if s.Role != raftcore.Leader || !s.Readable || s.Conf.Joint() || !s.Conf.Votes(id) || s.Conf.Witness(id) {
		return false
	}
	var peer raftcore.PeerStatus
	var newest raftcore.Instant
	for _, p := range s.Peers {
		if newest = max(newest, p.Heard); p.ID == id {
			peer = p
		}
	}
	return peer.ID == id && peer.Match == s.Last && peer.Heard.Add(cfg.ElectionTimeout) >= newest
}

// askCandidate asks a member what its priority is, and whether it would lead. It travels,
// and whoever has the member answers, whether he leads or not.
const askCandidate Operation = 50

// candidacy is what a member says of itself.
type candidacy struct {
	priority int
	ready    bool // it counts, and so does its disk
}

func (c candidacy) encode() []byte {
	b := binary.AppendVarint(nil, int64(c.priority))
	if c.ready {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeCandidacy(b []byte) (candidacy, error) {
	priority, n := binary.Varint(b)
	if n <= 0 || len(b) != n+1 || b[n] > 1 || int64(int(priority)) != priority {
		return candidacy{}, errors.New("this is no candidacy")
	}
	return candidacy{int(priority), b[n] == 1}, nil
}

// candidacy returns what this member says of itself.
func (n *node) candidacy() candidacy {
	s := n.core.Status()
	ready := s.Joined && !s.Witness && s.Conf.Votes(s.ID) && n.group.quarantine.Load() == nil && !n.host.stalled() && !n.group.ending()
	return candidacy{n.group.priority(), ready}
}

// priority is that of this host's member.
func (g *Group) priority() int {
	if p := g.cfg.Priority; p != 0 {
		return p
	}
	return g.host.cfg.Raft.Priority
}

// stalled reports whether this host's disk takes nothing at the moment: it is full, or has
// not come back from a Save for longer than others wait for a leader.
func (h *Host) stalled() bool {
	since := raftcore.Instant(h.saving.Load())
	return h.full.Load() != nil || since != 0 && h.now().Sub(since) > h.cfg.Raft.ElectionTimeout
}
