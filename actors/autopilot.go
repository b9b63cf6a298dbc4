package actors

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// This file says what an autopilot wants, and what it does next; pilot.go is the actor that
// looks and acts. Nothing here knows the time, or sends anything.
//
// Others have lost quorums by such helpers, each in one of these ways:
//
//   - Who is dead was taken out, and the group got smaller each time, until it was too small.
//     Here nobody leaves before his successor is there: one joint step has both.
//   - The successor came first and the dead one left later, so that there was an even number
//     meanwhile, and a dead one among them. It is the same step here; and a group does not
//     grow to an even number, which would survive no more failures.
//   - Who had just been elected took those for dead of whom it had not heard yet. Here
//     it waits until it has heard of them, or has missed them for DeadAfter.
//   - Members that come and go were put in and out. Here who is to vote must have been well
//     for StableFor.
//   - It fought with the operator. Here each step names the configuration that it was thought
//     of for, an operator's change goes first, and for a while nothing follows it.

// Autopilot has a group come to the members that it describes, and stay there, without an
// operator: a voter that is dead is replaced by a learner that is well, hosts that have
// opened the group become learners, and voters when there are too few. The leader's member
// does it, one change (Group.ChangeMembers) at a time, and none that could cost the group
// its quorum. All hosts are to have the same.
//
// An operator may change the members meanwhile, and is not disturbed; but a while later
// the group is brought back to what is described here. To have a host go for good, stop its
// group, or let it be none of Hosts. Learners that are none of Hosts are an operator's own:
// they stay what they are. So do witnesses, wherever they are: they are some of the Voters,
// and are neither made nor replaced.
type Autopilot struct {
	// Voters is how many hosts are to vote: an odd number, for an even one survives no more
	// failures than that below it. As long as fewer are well it is fewer; it is never made
	// less by who dies. Default 3.
	Voters int
	// Hosts may be members; those at the front are to vote rather than those behind them. A
	// voter that is none of them is replaced, and leaves the group. Default: all that the
	// leader's host has among its peers, and itself; then who votes and is well goes on.
	Hosts []raftcore.NodeID
	// Zones says what each host may fail together with: no two of a zone vote, where another
	// can be had. A host without one is alone.
	Zones map[raftcore.NodeID]string
	// DeadAfter is after how long without a word a member is dead. Default: 60 times
	// HostConfig.Raft.ElectionTimeout, a minute.
	DeadAfter time.Duration
	// StableFor is how long a learner must have been well, without a break, before it may
	// vote; how long nothing is done after somebody else's change; and how often hosts that
	// are no members are asked whether they have opened the group. Default: 10 times
	// HostConfig.Raft.ElectionTimeout.
	StableFor time.Duration
	// KeepDead has members that are dead stay, as learners. Otherwise they leave the group,
	// and become learners when they are back. A group with a dead member does not fall silent.
	KeepDead bool
}

// AutopilotStatus is what a group's autopilot says of itself, on the leader's host. On
// others it is empty, unless nobody leads.
type AutopilotStatus struct {
	// Now is what it does, or waits for, or why no step is safe; AsDescribed if there is
	// nothing to be done.
	Now string
	// Last is the newest step that it has tried since its member leads, and what came of it.
	Last string
}

// AsDescribed is the AutopilotStatus.Now of a group that is as its Autopilot wants it.
const AsDescribed = "as described"

func (a Autopilot) withDefaults(cfg *raftcore.Config) *Autopilot {
	a.Voters = cmp.Or(a.Voters, 3)
	a.DeadAfter = cmp.Or(a.DeadAfter, 60*cfg.ElectionTimeout)
	a.StableFor = cmp.Or(a.StableFor, 10*cfg.ElectionTimeout)
	a.Hosts, a.Zones = slices.Clone(a.Hosts), maps.Clone(a.Zones)
	return &a
}

// mistake returns every mistake in a at once, or nil. It expects the defaults.
func (a *Autopilot) mistake(cfg *raftcore.Config) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("Autopilot."+format, args...))
	}
	if a.Voters < 0 {
		bad("Voters is %d, negative", a.Voters)
	} else if a.Voters%2 == 0 {
		bad("Voters is %d: an even number survives no more failures than %d", a.Voters, a.Voters-1)
	}
	if n := len(a.Hosts); n > 0 && n < a.Voters {
		bad("Hosts has %d hosts, and %d are to vote", n, a.Voters)
	}
	for i, id := range a.Hosts {
		if id == raftcore.Nobody {
			bad("Hosts names host 0")
		} else if slices.Contains(a.Hosts[:i], id) {
			bad("Hosts names host %d twice", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.Zones)) {
		if len(a.Hosts) > 0 && !slices.Contains(a.Hosts, id) {
			bad("Zones names host %d, which is none of Hosts", id)
		}
	}
	if least := 3 * cfg.ElectionTimeout; a.DeadAfter < least {
		bad("DeadAfter is %v, less than three election timeouts (%v): the living are silent for so long at times", a.DeadAfter, least)
	}
	if a.StableFor < cfg.ElectionTimeout {
		bad("StableFor is %v, less than an election timeout (%v)", a.StableFor, cfg.ElectionTimeout)
	}
	return errors.Join(errs...)
}

// health is how a leader sees a member, itself included.
type health uint8

const (
	dead   health = iota // nothing was heard of it for DeadAfter; or it is no member
	silent               // nothing was heard of it lately, or it does not count
	heard
	stable // it has been well for StableFor
)

// view is what an autopilot knows when it decides.
type view struct {
	self    raftcore.NodeID
	conf    raftcore.ConfState // not joint, and committed
	hosts   []raftcore.NodeID  // that may be members
	members map[raftcore.NodeID]health
	present []raftcore.NodeID // no members, and have opened the group
}

// decision is what an autopilot does next.
type decision struct {
	members *Members          // what the members are to be; nil: what they are
	heirs   []raftcore.NodeID // one of whom is to lead first, the best in front
	why     string
}

// decide returns what is to be done next. If nothing may be done about the voters, the
// learners may be seen to: one of them may be what is missing.
func (a *Autopilot) decide(v *view) decision {
	d := a.step(v, a.voters(v))
	if d.members == nil && d.why != "" {
		if learners := a.step(v, v.conf.Voters); learners.members != nil {
			return learners
		}
	}
	if d.members == nil && d.why == "" {
		d.why = a.waits(v)
	}
	return d
}

// step returns the step to these voters, and the learners that go with them; or why it must
// not be taken; or neither, if they are there.
func (a *Autopilot) step(v *view, voters []raftcore.NodeID) decision {
	next := &Members{Voters: voters, Learners: a.learners(v, voters)}
	for _, id := range v.conf.Witnesses {
		if slices.Contains(next.Voters, id) || slices.Contains(next.Learners, id) {
			next.Witnesses = append(next.Witnesses, id)
		}
	}
	conf := next.conf()
	if conf.Equal(v.conf) {
		return decision{}
	}
	if why := v.unsafe(&conf); why != "" {
		return decision{why: why}
	}
	d := decision{members: next}
	if !conf.Votes(v.self) {
		for _, id := range voters {
			if v.conf.Votes(id) && !v.conf.Witness(id) && v.members[id] >= heard {
				d.heirs = append(d.heirs, id)
			}
		}
	}
	return d
}

// learners returns who is to learn, beside these voters.
func (a *Autopilot) learners(v *view, voters []raftcore.NodeID) (learners []raftcore.NodeID) {
	for _, id := range v.conf.Members() {
		switch ours := slices.Contains(v.hosts, id); {
		case slices.Contains(voters, id):
		case !ours && v.conf.Votes(id): // it is replaced
		case !ours, v.members[id] != dead, a.KeepDead:
			learners = append(learners, id)
		}
	}
	return append(learners, v.present...)
}

// voters returns the best voters that can be had, the best first: as many as there are to be,
// or as many as there are if there cannot be more, and an odd number if that is not less.
func (a *Autopilot) voters(v *view) (chosen []raftcore.NodeID) {
	able := slices.Clone(v.conf.Voters)
	for _, id := range v.conf.Learners {
		if v.members[id] == stable && slices.Contains(v.hosts, id) {
			able = append(able, id)
		}
	}
	used := map[string]int{} // zones
	for _, id := range v.conf.Voters {
		if v.conf.Witness(id) { // it stays what it is
			chosen = append(chosen, id)
			used[a.zone(id)]++
		}
	}
	able = slices.DeleteFunc(able, v.conf.Witness)
	n := min(a.Voters, len(able)+len(chosen))
	if n%2 == 0 {
		n--
	}
	n = max(n, min(a.Voters, len(v.conf.Voters)))
	if w := len(chosen); w > 0 {
		n = max(n, min(2*w+1, len(v.conf.Voters))) // those with data stay more
	}
	for len(chosen) < n {
		best := slices.MinFunc(able, func(x, y raftcore.NodeID) int {
			return cmp.Or(
				cmp.Compare(v.rank(x), v.rank(y)),
				cmp.Compare(used[a.zone(x)], used[a.zone(y)]),
				cmp.Compare(a.place(v, x), a.place(v, y)),
				cmp.Compare(x, y),
			)
		})
		chosen = append(chosen, best)
		used[a.zone(best)]++
		able = slices.DeleteFunc(able, func(id raftcore.NodeID) bool { return id == best })
	}
	return chosen
}

// zone returns what a host may fail together with.
func (a *Autopilot) zone(id raftcore.NodeID) string {
	if z := a.Zones[id]; z != "" {
		return z
	}
	return fmt.Sprintf("\x00host %d", id)
}

// place returns how far in front a host stands.
func (a *Autopilot) place(v *view, id raftcore.NodeID) int {
	if len(a.Hosts) > 0 {
		return slices.Index(a.Hosts, id)
	}
	if v.conf.Votes(id) {
		return 0
	}
	return 1
}

// rank returns who is to vote in the first place: the living before the dead, and of these
// those who are to be members.
func (v *view) rank(id raftcore.NodeID) (rank int) {
	if v.members[id] == dead {
		rank += 2
	}
	if !slices.Contains(v.hosts, id) {
		rank++
	}
	return rank
}

// unsafe returns what stands against a step to conf, or "". Both sets of voters must have a
// majority that is heard of: the step is committed by both, and the group lives on with the
// new one. And what need not be done now waits until it is known of all voters whether
// they live: a change of voters that replaces no dead one, and adds none.
func (v *view) unsafe(conf *raftcore.ConfState) string {
	for _, voters := range [][]raftcore.NodeID{v.conf.Voters, conf.Voters} {
		alive := 0
		for _, id := range voters {
			if v.members[id] >= heard {
				alive++
			}
		}
		if alive <= len(voters)/2 {
			return fmt.Sprintf("of the voters %v only %d are heard of: no step is safe", voters, alive)
		}
	}
	if slices.Equal(conf.Voters, v.conf.Voters) || len(conf.Voters) > len(v.conf.Voters) {
		return ""
	}
	for _, id := range v.conf.Voters {
		if v.members[id] == dead && !conf.Votes(id) {
			return ""
		}
	}
	for _, id := range v.conf.Voters {
		if v.members[id] == silent {
			return fmt.Sprintf("the voters are to be %v, when it is known whether voter %d is dead", conf.Voters, id)
		}
	}
	return ""
}

// waits returns what is waited for, if there is nothing to be done.
func (a *Autopilot) waits(v *view) string {
	var gone, quiet, growing []raftcore.NodeID
	wrong, narrow := len(v.conf.Voters) != a.Voters, false
	zones := map[string]int{}
	for _, id := range v.conf.Voters {
		switch v.members[id] {
		case dead:
			gone = append(gone, id)
		case silent:
			quiet = append(quiet, id)
		}
		zones[a.zone(id)]++
		wrong = wrong || !slices.Contains(v.hosts, id) && !v.conf.Witness(id)
	}
	for _, id := range v.conf.Learners {
		if slices.Contains(v.hosts, id) && v.members[id] < stable && v.members[id] != dead {
			growing = append(growing, id)
		}
	}
	for _, n := range zones {
		narrow = narrow || n > 1
	}
	missing := slices.ContainsFunc(v.hosts, func(id raftcore.NodeID) bool { return v.members[id] == dead })
	switch {
	case len(gone) > 0 && len(growing) > 0:
		return fmt.Sprintf("voters %v are dead; learners %v have to be well for %v before they replace them", gone, growing, a.StableFor)
	case len(gone) > 0:
		return fmt.Sprintf("voters %v are dead, and nobody is there to replace them", gone)
	case len(quiet) > 0:
		return fmt.Sprintf("voters %v are silent: dead after %v", quiet, a.DeadAfter)
	case (wrong || narrow) && len(growing) > 0:
		return fmt.Sprintf("learners %v have to be well for %v before they vote", growing, a.StableFor)
	case len(v.conf.Voters) < a.Voters:
		return fmt.Sprintf("%d voters, and %d are wanted: nobody else is there", len(v.conf.Voters), a.Voters)
	case wrong || narrow && missing:
		return "there are no other voters to be had"
	}
	return AsDescribed
}
