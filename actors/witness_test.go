package actors_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// inWitnessed runs f with three hosts, of which the third is a witness.
func inWitnessed(t *testing.T, f func(w *world)) {
	inWorldWith(t, 3, []raftcore.NodeID{3}, f)
}

func TestWhatCannotBeAWitnessIsRefused(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		machine := w.hosts[0].machine
		for text, cfg := range map[string]actors.GroupConfig{
			"a witness has no Machine":                 {Name: "x", Witness: true, Machine: machine, Witnesses: []raftcore.NodeID{1}},
			"of Versions":                              {Name: "x", Witness: true, Versions: actors.Versions{Newest: 1}, Witnesses: []raftcore.NodeID{1}},
			"Witness is true, and the Witnesses":       {Name: "x", Witness: true},
			"Witness is false, and the Witnesses":      {Name: "x", Machine: machine, Witnesses: []raftcore.NodeID{1}},
			"this host joins":                          {Name: "x", Machine: machine, Join: true, Witnesses: []raftcore.NodeID{2}},
			"2 of 3 voters are to be witnesses":        {Name: "x", Machine: machine, Witnesses: []raftcore.NodeID{2, 3}},
			"host 3 is named twice":                    {Name: "x", Machine: machine, Witnesses: []raftcore.NodeID{3, 3}},
			"host 3 is to be a witness, and is no mem": {Name: "x", Machine: machine, Members: []raftcore.NodeID{1, 2}, Witnesses: []raftcore.NodeID{3}},
			"1 of 1 voters are to be witnesses":        {Name: "x", Witness: true, Members: []raftcore.NodeID{1}, Witnesses: []raftcore.NodeID{1}},
		} {
			_, err := w.hosts[0].host.Open(w.ctx, cfg)
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("opening ends with %v, and should say %q", err, text)
			}
		}
		if _, err := w.hosts[0].host.Open(w.ctx, actors.GroupConfig{Name: "x"}); err == nil {
			t.Error("a group is opened without a machine, and not as a witness")
		}
	})
}

// Everything can be asked of a witness's host but what would need data: it is passed on.
func TestAWitnessPassesRequestsOn(t *testing.T) {
	inWitnessed(t, func(w *world) {
		leader := w.settled()
		witness := w.hosts[2]
		for i := range 10 {
			witness.propose(fmt.Sprint(i))
		}
		if got := witness.read("len"); got != "10" {
			t.Errorf("a read at the witness's host: %q", got)
		}
		session, err := witness.group.OpenSession(w.ctx, time.Minute)
		if err == nil {
			_, err = session.Propose(w.ctx, []byte("once"))
		}
		if err != nil {
			t.Errorf("a session at the witness's host: %v", err)
		}
		for _, r := range []actors.Request{
			{Operation: actors.Read, Consistency: actors.Local},
			{Operation: actors.Read, Consistency: actors.BoundedStale, MaxAge: time.Hour},
		} {
			if _, err := witness.group.Do(w.ctx, &r); !errors.Is(err, actors.ErrWitness) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("a read that is %v ends with %v", r.Consistency, err)
			}
		}
		if err := witness.group.TakeSnapshot(w.ctx); !errors.Is(err, actors.ErrWitness) {
			t.Errorf("taking a snapshot ends with %v", err)
		}
		if err := witness.group.Transfer(w.ctx, 3); !errors.Is(err, actors.ErrNotVoter) {
			t.Errorf("the witness is to lead: %v", err)
		}
		s := witness.status()
		if !s.Witness || !s.Conf.Witness(3) || s.Role != raftcore.Follower {
			t.Errorf("it says %v", s)
		}
		w.until("the leader's status shows it", func() bool {
			for _, p := range leader.status().Peers {
				if p.Witness != (p.ID == 3) {
					t.Errorf("the leader shows %v, a witness: %v", p, p.Witness)
				}
			}
			return leader.status().Last == witness.status().Saved
		})
	})
}

// Whoever of the three is gone, the other two go on with all that was acknowledged; and a
// handing over chooses nobody but who has data.
func TestAWitnessReplacesNobodyButItsVote(t *testing.T) {
	for gone := range 3 {
		t.Run(fmt.Sprint("without host ", gone+1), func(t *testing.T) {
			inWitnessed(t, func(w *world) {
				leader := w.settled()
				leader.propose("before")
				if err := leader.group.Transfer(w.ctx, raftcore.Nobody); err != nil {
					t.Fatal(err)
				}
				if next := w.leader(leader); next.id == 3 {
					t.Fatal("the witness leads")
				}
				w.hosts[2].propose("all three")
				w.until("all have it", func() bool {
					s := w.leader().status()
					return s.Peers[0].Match == s.Last && s.Peers[1].Match == s.Last
				})
				w.hosts[gone].stop()
				for i, h := range w.hosts {
					if i != gone {
						h.propose(fmt.Sprint("without ", gone+1, " at ", i+1))
						if got := h.read("len"); got == "" || got == "0" {
							t.Errorf("host %d reads %q", h.id, got)
						}
					}
				}
				if l := w.leader(); l.id == 3 || l == w.hosts[gone] {
					t.Errorf("host %d leads", l.id)
				}
			})
		})
	}
}

// A witness is added, and can be removed; in place nothing is changed.
func TestAWitnessComesAndGoes(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.settled()
		w.hosts[0].propose("before")
		h := w.known()
		h.witness = true
		h.start()
		with := actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{3}}
		w.hosts[0].change(with)
		w.hosts[1].stop()
		w.hosts[0].propose("with the witness's help")
		w.hosts[1].start()
		w.hosts[1].read("len")
		for what, m := range map[string]actors.Members{
			"a voter, in place":        voters(1, 2, 3),
			"a learner, in place":      {Voters: []raftcore.NodeID{1, 2}, Learners: []raftcore.NodeID{3}},
			"another one, in place":    {Voters: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{2}},
			"nobody but it, and not 1": {Voters: []raftcore.NodeID{2, 3}, Witnesses: []raftcore.NodeID{2}},
		} {
			if err := w.hosts[2].group.ChangeMembers(w.ctx, m); !errors.Is(err, actors.ErrNotInPlace) || !errors.Is(err, actors.ErrRejected) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, m := range map[string]actors.Members{
			"a majority of witnesses": {Voters: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{2, 3}},
			"a witness that is none":  {Voters: []raftcore.NodeID{1, 2}, Witnesses: []raftcore.NodeID{3}},
			"a witness twice":         {Voters: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{3, 3}},
			"witnesses alone":         {Voters: []raftcore.NodeID{3}, Witnesses: []raftcore.NodeID{3}},
		} {
			if err := w.hosts[0].group.ChangeMembers(w.ctx, m); !errors.Is(err, actors.ErrBadMembers) {
				t.Errorf("%s: %v", what, err)
			}
		}
		w.hosts[0].change(voters(1, 2))
	})
}

// A disk that was a witness's is refused by who has data, and the other way round: the
// member is faulted, and says why.
func TestADiskIsAWitnessesForGood(t *testing.T) {
	inWitnessed(t, func(w *world) {
		w.settled().propose("before")
		for _, turned := range []*hostUp{w.hosts[2], w.hosts[1]} {
			turned.stop()
			cfg := turned.config()
			turned.startHost(cfg)
			open := actors.GroupConfig{Name: "group", Join: true}
			if open.Witness = !turned.witness; turned.witness {
				open.Machine = turned.machine
			}
			_, err := turned.host.Open(w.ctx, open)
			if wrong := (*raftcore.WitnessError)(nil); !errors.Is(err, actors.ErrFaulted) || !errors.As(err, &wrong) || wrong.Disk != turned.witness || strings.Contains(err.Error(), "gave up") {
				t.Errorf("host %d opens its disk as what it is not: %v", turned.id, err)
			}
			turned.stop()
			turned.start() // nothing has happened to it
			w.until("it is back", func() bool { return turned.status().Joined && turned.status().Leader != raftcore.Nobody })
		}
		w.hosts[0].propose("after")
	})
}

// Balance hands nothing over to a witness, and versions do not wait for it.
func TestAWitnessIsNoCandidate(t *testing.T) {
	inWitnessed(t, func(w *world) {
		for _, h := range w.hosts {
			if h.versions = (actors.Versions{Newest: 2}); h.witness {
				h.versions = actors.Versions{}
			}
			h.stop()
		}
		for _, h := range w.hosts {
			h.disk = persistence.Memory()
			h.start()
		}
		leader := w.settled()
		leader.propose("x")
		w.until("the version is the newest", func() bool { return w.leader().status().Version == 2 })
		for range 5 {
			for _, h := range w.hosts {
				if _, err := h.host.Balance(w.ctx); err != nil {
					t.Fatal(err)
				}
			}
			if w.leader().id == 3 {
				t.Fatal("the witness leads")
			}
		}
	})
}

// An autopilot replaces who is dead, makes nobody a witness, and lets the witness be.
func TestAnAutopilotLetsAWitnessBe(t *testing.T) {
	inWitnessed(t, func(w *world) {
		pilot := &actors.Autopilot{Voters: 3, DeadAfter: time.Second, StableFor: 500 * time.Millisecond}
		for _, h := range w.hosts {
			h.stop()
		}
		w.autopilot = pilot
		for _, h := range w.hosts {
			h.start()
		}
		w.settled().propose("before")
		w.founders = []raftcore.NodeID{1, 2, 3}
		w.newcomer()
		idle := w.known() // a witness that nobody has asked for: no learner
		idle.witness = true
		idle.start()
		w.until("the newcomer learns", func() bool { return w.leader().status().Conf.Contains(4) })
		dead := w.leader()
		dead.stop()
		w.until("the dead one is replaced", func() bool {
			c := w.leader(dead).status().Conf
			return !c.Joint() && !c.Votes(dead.id) && c.Votes(4)
		})
		s := w.leader(dead).status()
		if len(s.Conf.Voters) != 3 || !s.Conf.Votes(3) || !s.Conf.Witness(3) || len(s.Conf.Witnesses) != 1 || s.Conf.Contains(5) {
			t.Errorf("the members are %v", &s.Conf)
		}
	})
}

// Behind the log of the others a witness is sent what it needs, and no state is carried.
func TestAWitnessFarBehindIsCaughtUp(t *testing.T) {
	inWitnessed(t, func(w *world) {
		w.settled()
		for _, h := range w.hosts {
			h.stop()
			h.disk, h.every = snapshots.Beside(h.disk, t.TempDir(), snapshots.Options{}), 20
			h.start()
		}
		w.leader().propose("before")
		w.hosts[2].stop()
		for i := range 100 {
			w.hosts[i%2].propose(fmt.Sprint(i))
		}
		w.until("the log is cut", func() bool { return w.leader(w.hosts[2]).status().First > 50 })
		w.chunks.Store(0)
		w.hosts[2].start()
		w.until("it has caught up", func() bool {
			s := w.hosts[2].status()
			return s.First > 50 && s.Saved == w.leader().status().Last
		})
		if n := w.chunks.Load(); n > 0 {
			t.Errorf("%d bytes of snapshots were carried", n)
		}
	})
}

// Those who were told of different witnesses do not found a group together.
func TestFoundersAgreeOnTheWitnesses(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		for i, h := range w.hosts {
			cfg := actors.GroupConfig{Name: "other", Machine: h.machine, Witnesses: []raftcore.NodeID{3}}
			switch i {
			case 1:
				cfg.Witnesses = nil
			case 2:
				cfg.Machine, cfg.Witness = nil, true
			}
			if _, err := h.host.Open(w.ctx, cfg); err != nil {
				t.Fatal(err)
			}
		}
		var with, without actors.Status
		w.until("both have founded", func() bool {
			with, _ = w.hosts[0].host.Groups()[1].Status(w.ctx)
			without, _ = w.hosts[1].host.Groups()[1].Status(w.ctx)
			return with.Cluster != 0 && without.Cluster != 0
		})
		if with.Cluster == without.Cluster {
			t.Errorf("both are of the lineage %x", uint64(with.Cluster))
		}
	})
}
