package rafttest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"
)

// StackPlan says what a simulated run of whole hosts is made of. Durations between
// faults are means; zero: there are none of the kind.
type StackPlan struct {
	Seed     uint64
	Hosts    int // all of them
	Founders int // those who found the group; the others may be added

	Faults  time.Duration // how long faults go on
	Writers int           // clients that set registers
	Readers int           // clients that read
	Adders  int           // clients that add to counters, each in a session
	Width   int           // up to so many commands of a session are under way
	Think   time.Duration // how long a client waits from one request to the next

	ElectionTimeout time.Duration
	Delay           time.Duration // of a packet, up to twice
	Loss            float64       // a packet is lost
	Disk            time.Duration // how long a Save takes, up to twice
	MaxPending      int           // HostConfig.MaxPending
	TinyLimit       bool          // small windows and batches, so that bounds and loads come into play
	Leases          bool
	Snapshots       int // a snapshot is taken every so many entries
	Keep            int // how many entries are kept behind it
	Ballast         int // bytes that every snapshot has beside the state

	Kill      time.Duration // a process is killed
	Stop      float64       // or stopped, as it should be, or only its group
	Wipe      float64       // and one that was killed has lost its disk, if it can be spared
	Down      time.Duration // how long a process is down
	Partition time.Duration
	Heal      time.Duration // how long a partition lasts
	Break     time.Duration // a connection breaks
	Refuse    time.Duration // a connection takes nothing for a while
	Hold      time.Duration // a process stands still, or some of its actors
	HoldFor   time.Duration
	Full      time.Duration // a disk is full for a while
	FailSave  time.Duration // a Save fails
	FailFile  time.Duration // something fails when a snapshot is written
	Panic     time.Duration // a machine panics, once
	Poison    bool          // there is a command that every machine panics at, until it is mended
	Change    time.Duration // the members change
	Autopilot int           // as many voters the group's autopilot wants, beside that; 0: there is none
	Transfer  time.Duration // the leader's office is handed over
	Silence   time.Duration // a client is silent for so long that its session may end

	SessionTimeout time.Duration

	Effects  bool // there is a group whose machine has effects
	Upgrades bool // and one whose machine comes in versions, which are raised
	Askers   int  // pairs of clients of each of these
	Batches  bool // some machines take commands together

	Drift      int           // clocks go wrong by up to so many thousandths
	Remove     time.Duration // a member is removed, and comes back
	Balance    time.Duration // hosts balance by themselves, about as often
	BalanceNow time.Duration // and when they are told to
	Mortal     time.Duration // actors that are monitored end, or begin
	Witness    bool          // there is a group of which a founder is a witness
	Split      time.Duration // most voters have to go, while the network parts them
	Oust       time.Duration // the leader is cut off when it is worst, and asked on
}

// DrawStackPlan draws a plan from a seed.
func DrawStackPlan(seed uint64) StackPlan {
	r := rand.New(rand.NewPCG(seed, 0x73_74_61_63_6b))
	pick := func(choices ...float64) float64 { return choices[r.IntN(len(choices))] }
	number := func(choices ...int) int { return choices[r.IntN(len(choices))] }
	ms := func(choices ...int) time.Duration {
		return time.Duration(choices[r.IntN(len(choices))]) * time.Millisecond
	}
	p := StackPlan{
		Seed:            seed,
		Hosts:           number(3, 5, 5),
		Faults:          time.Duration(3+r.IntN(5)) * time.Second,
		Writers:         1 + r.IntN(4),
		Readers:         1 + r.IntN(3),
		Adders:          1 + r.IntN(4),
		Width:           number(1, 1, 2, 6),
		Think:           ms(3, 8, 20),
		ElectionTimeout: ms(60, 100, 200),
		Delay:           ms(0, 1, 1, 4),
		Loss:            pick(0, 0, 0.01, 0.05),
		Disk:            ms(0, 1, 1, 5),
		MaxPending:      number(0, 0, 0, 4),
		TinyLimit:       r.IntN(3) == 0,
		Leases:          r.IntN(2) == 0,
		Snapshots:       number(15, 30, 30, 100),
		Keep:            number(-1, 10, 40),
		Ballast:         number(0, 0, 0, 0, 300<<10),
		Kill:            ms(0, 800, 2000),
		Stop:            pick(0, 0.4),
		Down:            ms(50, 500, 2000),
		Partition:       ms(0, 1000, 2000),
		Heal:            ms(100, 500, 1500),
		Break:           ms(0, 300, 1000),
		Refuse:          ms(0, 0, 1000),
		Hold:            ms(0, 300, 1000),
		HoldFor:         ms(20, 200, 800),
		Full:            ms(0, 0, 2500),
		FailSave:        ms(0, 0, 2500),
		FailFile:        ms(0, 0, 1500),
		Panic:           ms(0, 0, 1000),
		Poison:          r.IntN(4) == 0,
		Change:          ms(0, 0, 400, 1500),
		Transfer:        ms(0, 500, 2000),
		Silence:         ms(0, 1000, 3000),
		SessionTimeout:  ms(300, 1000, 4000),
	}
	p.Founders = p.Hosts
	if p.Change > 0 {
		p.Founders = 3
		p.Autopilot = number(0, 3, min(p.Hosts, 5))
	} else {
		p.Wipe = pick(0, 0.6)
	}
	p.Effects, p.Upgrades = true, true
	p.Askers = number(1, 1, 2)
	p.Batches = r.IntN(2) == 0
	p.Drift = number(0, 50, 50) // as much as MaxClockDrift allows for
	if !p.Leases {
		p.Drift = number(0, 50, 300)
	}
	if p.Wipe == 0 {
		p.Remove = ms(0, 700, 2000)
	}
	p.Balance = ms(0, 0, 1000)
	p.BalanceNow = ms(0, 500)
	p.Mortal = ms(0, 200, 1000)
	// Of three one may be the only one that has the data; that disk must not be wiped.
	p.Witness = r.IntN(2) == 0 && (p.Wipe == 0 || p.Hosts > 3)
	p.drawPartings(ms)
	return p
}

// drawPartings draws the faults that are aimed at who leads, and who counts.
func (p *StackPlan) drawPartings(ms func(...int) time.Duration) {
	if p.Oust = ms(0, 0, 1000); p.Leases {
		// Clocks that drift allow for little: an election has to be quick, or they do no harm.
		p.Oust, p.Delay, p.Disk = ms(100, 200), ms(0, 0, 1, 4), ms(0, 0, 1, 5)
	}
	if p.Wipe == 0 { // the disk might be that of the only one who stays
		p.Split = ms(0, 500, 1000)
	}
}

func (p StackPlan) String() string {
	type fields StackPlan // without this method
	return fmt.Sprintf("%+v", fields(p))
}

// StackStats counts what happened in a run, so that one that tested nothing is noticed.
type StackStats struct {
	Events                                                                    int
	Sets, Adds, Linearizable, Leased, Bounded, Local                          int // that were answered
	Rejected, Unknown, Again, AnsweredAgain, Expired                          int
	Kills, Aimed, Stops, Reopened, Wiped, Partitions, Breaks, Holds, Refusals int
	Fulls, FailedSaves, FailedFiles, Panics, Poisoned, Mended                 int
	Snapshots, Restores, Installs                                             int
	Changes, ChangesDone, Steps, Transfers, TransfersDone                     int // Steps are the autopilot's
	Removals, Removed, NotRemoved, CameBack                                   int
	Sends, SentAgain, Appends, Timers, Downs, Mortals                         int // effects, and what came of them
	Upgrades, Raised                                                          int // versions that were gone on to; Raised counts each member
	Batches, Handed                                                           int // Handed are leaderships, for balance
	Overtakes                                                                 int // packets that arrived before one that was sent earlier, on another lane
	Witnesses                                                                 int // groups with one
	Splits, Met                                                               int // Met are those who had to go, and met the others that were back
	Ousted, Clung                                                             int // leaders that were cut off, and the answers that they gave all the same
	Probes                                                                    int // commands of sessions that were sent again in the end, to each leader
}

// Add returns the sum of both.
func (s StackStats) Add(o StackStats) StackStats {
	sum, other := reflect.ValueOf(&s).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + other.Field(i).Int())
	}
	return s
}

// Missing names what has never happened.
func (s StackStats) Missing() (names []string) {
	all := reflect.ValueOf(s)
	for i := range all.NumField() {
		if all.Field(i).Int() == 0 {
			names = append(names, all.Type().Field(i).Name)
		}
	}
	return names
}
