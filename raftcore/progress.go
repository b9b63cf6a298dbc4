package raftcore

import (
	"math"
	"time"
)

// ProgressState is how a leader sends to one peer.
type ProgressState uint8

// The states of progress.
const (
	// ProgressProbe: the leader does not know where the peer's log departs from its
	// own. It asks about one entry at a time, and waits for the answer.
	ProgressProbe ProgressState = iota
	// ProgressReplicate: the logs are known to agree up to Match; entries after it are
	// sent without waiting, as many as the inflight window holds.
	ProgressReplicate
	// ProgressSnapshot: the peer needs entries that the leader has no more. A snapshot is
	// on its way, and until it has arrived nothing else helps.
	ProgressSnapshot
)

func (s ProgressState) String() string { return named("progress", s, "probe", "replicate", "snapshot") }

// progress is a leader's view of one peer.
type progress struct {
	id      NodeID
	state   ProgressState
	witness bool // it keeps no data, and is sent none
	// match is the last entry that is known to be on the peer's disk. It never
	// falls, unless the disk was lost, or has lost its end. matchedIn is the newest
	// round that was open when it last grew.
	match     Index
	matchedIn uint64
	// next is the next entry to send. In replicate it runs ahead of match.
	next Index
	// incarnation is the life of the peer's disk that match speaks of; met is the
	// newest round that was open when it was last heard of, 0 if it never was.
	incarnation Incarnation
	met         uint64
	// since is the round that was open when the peer became a member. What it says
	// of a round before that was said in an earlier membership, maybe of another
	// disk.
	since uint64
	// departing: it is no member any more, and is sent the news of that.
	departing bool
	departBy  Instant // when to stop telling it
	newcomer  bool    // it does not vote yet, and nothing that it says is counted
	welcomed  bool    // it was told that it may count; heartbeats repeat it
	metAt     Index   // this leader's last entry when its present life was first heard of

	probed   bool   // in probe: an answer is awaited
	asked    uint64 // in probe: the first round that asked the present question
	loading  bool   // a Load is under way
	loads    loads
	inflight inflight

	snapshot   Index   // in snapshot: the last entry that it covers
	snapshotBy Instant // in snapshot: when to think that it was lost
	// behind is how much it lacked when its snapshot had arrived, or when the log was last cut
	// and waited for it. It is 0 if the log does not wait.
	behind  Index
	catchUp catchUp

	// round is the newest heartbeat round that the peer has echoed, and heardAt
	// when it came.
	round   uint64
	heardAt Instant
	// inOrder is the newest round that it knows not from Urgent messages alone, and
	// reachedAt when it last showed that entries reach it, or would have been of no use.
	inOrder   uint64
	reachedAt Instant
	// leaseFrom is when the newest round that the peer has echoed was opened. For
	// an election timeout after that, by its own clock, it elects nobody else.
	leaseFrom Instant

	heartbeatAt Instant // when it is to be sent a heartbeat
	question    bool    // it is to be asked to echo the newest round, at once: entries do not ask that
	sentRound   uint64  // the newest round sent
	sentCommit  Index   // the newest commit index sent
	reads       Index   // it was told to read at this
}

// becomeProbe goes back to asking, from next on.
func (p *progress) becomeProbe(next Index) {
	p.state = ProgressProbe
	p.next = max(next, p.match+1)
	p.probed = false
	p.asked = 0
	p.loading = false
	p.inflight.clear()
}

// becomeReplicate starts to send from the entry after match.
func (p *progress) becomeReplicate() {
	p.state = ProgressReplicate
	p.next = p.match + 1
	p.probed = false
	p.inflight.clear()
}

// becomeSnapshot waits for a snapshot to arrive.
func (p *progress) becomeSnapshot(last Index, by Instant) {
	p.state = ProgressSnapshot
	p.snapshot, p.snapshotBy = last, by
	p.loading = false
	p.inflight.clear()
}

// loads is how fast a peer is sent what the leader has to read from its disk: a peer that is far
// behind could otherwise have the disk, the processor and the wire to itself, while clients wait.
type loads struct {
	began  Instant // the newest one
	match  Index   // as it was then
	commit Index
	rests  Instant // until when; later than any instant: until it is clear how long the load takes
}

// yielding is how much longer than a load takes, until the peer has what it brings, the leader
// rests after it.
const yielding = 4

// yields reports whether the next load for a peer waits. It does so while others commit without
// the peer.
func (n *Node) yields(p *progress) bool {
	l := &p.loads
	if l.rests == math.MaxInt64 && p.inflight.count == 0 {
		l.rests = n.now
		if n.log.commit > l.commit {
			l.rests = n.now.Add(min(yielding*n.now.Sub(l.began), n.cfg.HeartbeatInterval))
		}
	}
	return n.now < l.rests
}

// load asks the disk for entries that have left the window. Nobody rests after it who would not
// catch up then: in the same time a peer comes twice as far as those who commit without it.
func (n *Node) load(p *progress) {
	if n.yields(p) {
		return
	}
	came, grew := p.match-min(p.match, p.loads.match), n.log.commit-p.loads.commit
	p.loads = loads{began: n.now, match: p.match, commit: n.log.commit}
	if grew > 0 && came/2 >= grew {
		p.loads.rests = math.MaxInt64
	}
	p.loading = true
	n.out.Load = append(n.out.Load, Load{
		For: p.id, Term: n.hard.Term, From: p.next, To: min(n.log.windowFirst()-1, n.lastFor(p)), MaxBytes: n.cfg.MaxAppendBytes,
	})
}

// catchUp measures whether a learner could vote without holding up the others
// (thesis §4.2.1). A round is over when the peer has what the leader's log had
// when the round began.
type catchUp struct {
	target Index
	began  Instant
	quick  bool // the last round took no longer than an election timeout
	slow   int  // how many rounds in a row took longer
	// grewAt is when the peer last came any further, or was to begin to.
	grewAt Instant
}

// note takes the news of a peer's match.
func (c *catchUp) note(match, last Index, now Instant, timeout time.Duration) {
	if match < c.target {
		return
	}
	if c.quick = now <= c.began.Add(timeout); c.quick {
		c.slow = 0
	} else {
		c.slow++
	}
	c.target, c.began, c.grewAt = last, now, now
}

// caughtUp reports whether a peer could vote now.
func (n *Node) caughtUp(p *progress) bool {
	c := &p.catchUp
	return !p.newcomer && c.quick && (p.match >= c.target || n.now < c.began.Add(n.cfg.ElectionTimeout)) &&
		p.match >= n.log.base.Index && n.now < p.heardAt.Add(n.cfg.ElectionTimeout)
}

// fromPresentLife reports whether a reply of life i, which echoes a round,
// speaks of the disk that the peer has now. Another life proves that it is a
// later one by echoing a round that was opened after the present one was last
// heard of: a life that ended before that cannot have heard such a round. Then
// the peer's progress begins anew, at next: the disk that held match is gone.
func (p *progress) fromPresentLife(i Incarnation, echoed, newest uint64, next Index) bool {
	if p.met == 0 && echoed <= p.since && p.since > 0 {
		return false
	}
	if i != p.incarnation && p.met != 0 {
		if echoed <= p.met {
			return false
		}
		p.match = 0
		p.becomeProbe(next)
	}
	if i != p.incarnation || p.met == 0 {
		p.metAt = next - 1
	}
	p.incarnation = i
	p.met = newest
	return true
}

// inflight is the window of AppendRequests with entries that a peer has not
// answered: a ring of their last indexes and sizes.
type inflight struct {
	ring  []sent
	first int
	count int
	bytes int
}

type sent struct {
	last  Index
	bytes int
}

func (f *inflight) clear() { f.first, f.count, f.bytes = 0, 0, 0 }

// full reports whether no more may be sent.
func (f *inflight) full(maxCount, maxBytes int) bool {
	return f.count >= maxCount || f.bytes >= maxBytes
}

func (f *inflight) add(last Index, bytes int) {
	if f.count == len(f.ring) {
		grown := make([]sent, max(8, 2*len(f.ring)))
		for i := range f.count {
			grown[i] = f.ring[(f.first+i)%len(f.ring)]
		}
		f.ring, f.first = grown, 0
	}
	f.ring[(f.first+f.count)%len(f.ring)] = sent{last, bytes}
	f.count++
	f.bytes += bytes
}

// free forgets what has been acknowledged up to match.
func (f *inflight) free(match Index) {
	for f.count > 0 && f.ring[f.first].last <= match {
		f.bytes -= f.ring[f.first].bytes
		f.first = (f.first + 1) % len(f.ring)
		f.count--
	}
}
