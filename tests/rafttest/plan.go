package rafttest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// Plan says what a simulated run is made of. Probabilities are per event, from
// 0 to 1. A Plan is comparable and prints itself: it is the first half of a bug
// report, the seed being the other.
type Plan struct {
	Seed   uint64
	Voters int // the founders
	Spares int // nodes that may be added
	// Witnesses are so many of the founders, the last ones; if there are any, the first of
	// the spares is one, too. A node that is no member may come back as another kind.
	Witnesses int

	Faults    time.Duration // how long faults go on, in virtual time
	Proposals int           // how many commands clients propose meanwhile
	Reads     int           // how many linearizable reads they ask for

	Burst int // up to so many proposals come at once

	Loss      float64       // a message is lost
	Duplicate float64       // a message arrives twice
	Delay     time.Duration // the usual one-way delay; drawn between a tenth and twice
	Straggler float64       // a message takes up to fifty times the usual delay

	Partition time.Duration // mean time between partitions; 0: none
	Heal      time.Duration // mean length of a partition
	Crash     time.Duration // mean time between crashes; 0: none
	Restart   time.Duration // mean time a crashed node stays down
	Together  float64       // another node crashes in the same moment
	Wipe      float64       // a node that crashes loses its disk, if it can be spared
	Damage    float64       // or only the end of what it holds
	Reckless  bool          // or if it cannot be spared: then no progress is demanded in the end
	Rot       time.Duration // mean time until something in the middle of a disk cannot be read any more, if it can be spared; 0: never

	Disk      time.Duration // the usual time of a Save; drawn between a tenth and twice
	SlowDisk  float64       // a Save takes up to a hundred times as long
	Forgetful bool          // restarted nodes recover without a tail: older entries must be loaded
	TinyLimit bool          // small windows and batches, so that bounds and loads come into play

	Change    time.Duration // mean time between changes of the configuration; 0: none
	Transfer  time.Duration // mean time between transfers of the leader's office; 0: none
	Snapshots int           // a snapshot is taken every so many entries; 0: never
	Keep      int           // how many entries are kept behind it
	Leases    bool          // reads by lease, with clocks that drift as much as is allowed
	Quiesce   bool          // idle groups fall silent
	Prefer    bool          // nodes have different priorities
	OnDemand  bool          // whoever finds no leader starts an election
	Dies      bool          // in the end, when all is well, a member is lost for good; see cluster.loseOne

	ElectionTimeout time.Duration
}

// clockDrift is how unevenly clocks run, in parts per thousand.
const clockDrift = 50

// DrawPlan draws a plan from a seed.
func DrawPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 0x70_6c_61_6e))
	pick := func(choices ...float64) float64 { return choices[r.IntN(len(choices))] }
	ms := func(choices ...int) time.Duration {
		return time.Duration(choices[r.IntN(len(choices))]) * time.Millisecond
	}
	p := Plan{
		Seed:            seed,
		Spares:          []int{0, 0, 1, 2, 3}[r.IntN(5)],
		Change:          ms(0, 500, 2000),
		Transfer:        ms(0, 0, 1000, 3000),
		Snapshots:       []int{0, 0, 5, 20, 100}[r.IntN(5)],
		Keep:            []int{-1, 5, 50}[r.IntN(3)],
		Wipe:            pick(0, 0, 0.1, 0.5),
		Leases:          r.IntN(3) == 0,
		Quiesce:         r.IntN(3) == 0,
		Prefer:          r.IntN(4) == 0,
		OnDemand:        r.IntN(3) == 0,
		Voters:          []int{1, 2, 3, 3, 3, 4, 5, 5}[r.IntN(8)],
		Faults:          time.Duration(5+r.IntN(20)) * time.Second,
		Proposals:       50 + r.IntN(300),
		Reads:           r.IntN(200),
		Loss:            pick(0, 0.01, 0.05, 0.2),
		Duplicate:       pick(0, 0.01, 0.1),
		Delay:           ms(1, 2, 10, 20),
		Straggler:       pick(0, 0.001, 0.02),
		Partition:       ms(0, 1000, 3000),
		Heal:            ms(200, 1000, 3000),
		Crash:           ms(0, 500, 2000, 5000),
		Restart:         ms(10, 300, 2000),
		Disk:            ms(0, 1, 5, 20),
		SlowDisk:        pick(0, 0.005, 0.05),
		Forgetful:       r.IntN(2) == 0,
		TinyLimit:       r.IntN(2) == 0,
		ElectionTimeout: ms(200, 500, 1000),
		Burst:           1 + r.IntN(20),
	}
	if r.IntN(4) == 0 { // a storm: hardly anybody leads for long enough to commit
		p.Partition, p.Heal = p.ElectionTimeout/2, p.ElectionTimeout
		p.Crash, p.Restart = 2*p.ElectionTimeout, p.ElectionTimeout/4
	}
	p.Damage = pick(0, 0, 0.1, 0.5)
	p.Together = pick(0, 0, 0.3, 0.7)
	p.Rot = ms(0, 0, 300, 1000, 4000)
	p.Reckless = r.IntN(10) == 0
	p.Witnesses = min(int(pick(0, 0, 1, 1, 2)), p.Voters/2) // a majority, less one
	p.Dies = r.IntN(3) == 0
	return p
}

func (p Plan) String() string {
	type fields Plan // without this method
	return fmt.Sprintf("%+v", fields(p))
}

// config returns the configuration of a node.
func (p Plan) config(n *node) raftcore.Config {
	id, boot := n.id, n.boot
	c := raftcore.Config{
		ID: id, Joins: !n.founder, Witness: n.witness, Boot: boot, Seed: p.Seed ^ boot<<32, ElectionTimeout: p.ElectionTimeout,
		SnapshotEntries: p.Snapshots, KeepEntries: p.Keep,
		LeaseReads: p.Leases, MaxClockDrift: clockDrift, Quiesce: p.Quiesce, CampaignOnDemand: p.OnDemand,
	}
	if p.Prefer {
		c.Priority = int(id) % 3
	}
	if p.TinyLimit {
		c.MaxAppendBytes = 300
		c.MaxInflight = 3
		c.MaxInflightBytes = 1000
		c.MaxUncommittedBytes = 4000
		c.MaxApplyBytes = 500
		c.MaxWindowBytes = 1000
		c.MaxUnapplied = 50
		c.MaxUnsavedBytes = 2000
	}
	return c
}
