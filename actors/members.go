package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/raftcore"
)

// This file is about who is a member of a group, and who of them leads. The rules are
// the core's; here is who may ask for it, from where, and what he is told.

// The operations that change the group itself. There is no Data in them, nor in their
// Responses.
const (
	// ChangeMembers makes Request.Members the group's members.
	ChangeMembers Operation = iota + 16
	// Transfer has Request.To lead the group.
	Transfer
)

// CheckLearners asks whether the learners among Request.Members are members, and have what
// the leader has, as far as a voter must. It changes nothing. It is refused with
// ErrNotCaughtUp as long as one of them has not, and with ErrConfigChanged if one is none.
const CheckLearners Operation = 19

// Members are the hosts that take part in a group, as they are to be.
type Members struct {
	// Voters decide. Learners are sent everything, too, but nobody waits for them, unless
	// WaitCaughtUp says so.
	Voters, Learners []raftcore.NodeID
	// Witnesses are those of the Voters that keep no data, fewer than a majority: see
	// GroupConfig.Witness. Nobody becomes one, or stops being one, in place.
	Witnesses []raftcore.NodeID
	// Expect, if it is not zero, is the Status.ConfIndex of the configuration that was
	// there when these Members were thought of. If it is another one by then, nothing is
	// changed: so of two who change at the same time one is told.
	Expect raftcore.Index
	// WaitCaughtUp has ChangeMembers return only when the Learners have caught up, too. An
	// actor, whose Request is one try, asks for CheckLearners until that is so.
	WaitCaughtUp bool
}

// conf returns the configuration that is asked for.
func (m *Members) conf() raftcore.ConfState {
	conf := raftcore.ConfState{Voters: slices.Clone(m.Voters), Learners: slices.Clone(m.Learners), Witnesses: slices.Clone(m.Witnesses)}
	slices.Sort(conf.Voters)
	slices.Sort(conf.Learners)
	slices.Sort(conf.Witnesses)
	return conf
}

// learnersCaughtUp returns why m's learners are not known to this leader to have caught up.
func (n *node) learnersCaughtUp(m *Members) error {
	s := n.core.Status()
	for _, id := range m.Learners {
		if !s.Conf.Contains(id) {
			return fmt.Errorf("%w: host %d is no member any more", ErrConfigChanged, id)
		}
		behind := func(p raftcore.PeerStatus) bool { return p.ID == id && !p.CaughtUp }
		if slices.ContainsFunc(s.Peers, behind) {
			return fmt.Errorf("%w: host %d has not yet", ErrNotCaughtUp, id)
		}
	}
	return nil
}

// mistake returns what is wrong with m. Members that this host does not speak to are wrong,
// too, also if it does not lead: it may have to.
func (m *Members) mistake(h *Host) error {
	known := len(*h.peers.Load()) + 1
	switch {
	case m == nil || len(m.Voters) == 0:
		return fmt.Errorf("%w: nobody votes", ErrBadMembers)
	case len(m.Voters)+len(m.Learners) > known:
		return fmt.Errorf("%w: these are %d hosts, and host %d knows of %d", ErrBadMembers, len(m.Voters)+len(m.Learners), h.cfg.ID, known)
	}
	all := slices.Concat(m.Voters, m.Learners)
	for i, id := range all {
		if slices.Contains(all[:i], id) {
			return fmt.Errorf("%w: host %d is named twice", ErrBadMembers, id)
		}
		if id != h.cfg.ID && h.peer(id) == nil {
			return fmt.Errorf("%w: host %d is not among the peers of host %d", ErrBadMembers, id, h.cfg.ID)
		}
	}
	if why := witnessMistake(m.Witnesses, m.Voters, m.Learners); why != "" {
		return fmt.Errorf("%w: %s", ErrBadMembers, why)
	}
	return nil
}

// witnessMistake returns what is wrong with the witnesses of a group, or "".
func witnessMistake(witnesses, voters, learners []raftcore.NodeID) string {
	vote := 0
	for i, id := range witnesses {
		switch votes := slices.Contains(voters, id); {
		case slices.Contains(witnesses[:i], id):
			return fmt.Sprintf("host %d is named twice", id)
		case !votes && !slices.Contains(learners, id):
			return fmt.Sprintf("host %d is to be a witness, and is no member", id)
		case votes:
			vote++
		}
	}
	if vote > len(voters)/2 {
		return fmt.Sprintf("%d of %d voters are to be witnesses, a majority: nobody might have the data", vote, len(voters))
	}
	return ""
}

// leadOutcome returns what the core's reply means for who has asked.
func (n *node) leadOutcome(op Operation, r raftcore.Reply) error {
	switch r.Outcome {
	case raftcore.Done:
		return nil
	case raftcore.NotLeader:
		return n.notLeader(r.Leader)
	case raftcore.BadConfig:
		return ErrBadMembers
	case raftcore.ConfigChanged:
		return ErrConfigChanged
	case raftcore.ChangeInProgress:
		if n.step {
			return errNotReady // the autopilot's is over soon, and an operator's goes before the next
		}
		return ErrChangeInProgress
	case raftcore.NotReady:
		return errNotReady
	case raftcore.NotCaughtUp:
		return ErrNotCaughtUp
	case raftcore.NotVoter:
		return ErrNotVoter
	case raftcore.NotInPlace:
		return ErrNotInPlace
	case raftcore.Transferring:
		if op == ChangeMembers {
			return errNotReady // it is over soon
		}
		return ErrChangeInProgress
	case raftcore.TimedOut, raftcore.CalledOff:
		switch {
		case r.MaybeHappened:
			return ErrTransferFailed
		case r.Outcome == raftcore.TimedOut:
			return ErrNotCaughtUp // or it would have been told to lead
		}
		return ErrChangeInProgress
	}
	if r.MaybeHappened {
		return errLostLead
	}
	return n.notLeader(r.Leader)
}

// cause is what an error is called on the wire.
type cause struct {
	outcome ResponseOutcome
	err     error
}

// leadResponses are what such an outcome is called on the wire.
var leadResponses = []cause{
	{responseBadMembers, ErrBadMembers},
	{responseConfigChanged, ErrConfigChanged},
	{responseChangeInProgress, ErrChangeInProgress},
	{responseNotCaughtUp, ErrNotCaughtUp},
	{responseNotVoter, ErrNotVoter},
	{responseNotInPlace, ErrNotInPlace},
	{responseTransferFailed, ErrTransferFailed},
	{responseNotReady, errNotReady},
	{responseNotQuarantined, ErrNotQuarantined},
	{responseNotAllowed, ErrNotAllowed},
}

// leadResponse returns what err is called on the wire, or zero if it is none of these.
func leadResponse(err error) ResponseOutcome {
	for _, r := range leadResponses {
		if errors.Is(err, r.err) {
			return r.outcome
		}
	}
	return 0
}

// leadError returns what another host said, or nil if it is none of these.
func leadError(r *GroupResponse) error {
	for _, known := range leadResponses {
		if r.Outcome == known.outcome {
			if r.Message != "" {
				return fmt.Errorf("%w: %s", known.err, r.Message)
			}
			return known.err
		}
	}
	return nil
}

// detail returns what err says beyond what its outcome says.
func detail(err error) string {
	for _, known := range leadResponses {
		if errors.Is(err, known.err) {
			text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), known.err.Error()), ": ")
			return text[:min(len(text), maxMessage)]
		}
	}
	return ""
}

// ChangeMembers makes m the group's members: any number of changes in one call, in one
// step. It may be called on any host, and returns nil when nothing but the new
// configuration is in force any more, and committed. Hosts that are to vote catch up
// first, as learners; they have opened the group before, with GroupConfig.Join, and all
// hosts have each other among their peers (Host.SetPeers). A host that is none of m any
// more hears of it: see Status.Removed. The leader may be one of them.
//
// To ask again for the same is harmless, and ChangeMembers does so by itself, until ctx
// ends, when a leader was lost on the way. The end of ctx ends the waiting, not the
// change: the error is ErrUnknown then, unless nobody has begun with it. With Expect the
// first steps of a leader that was lost count as a change by somebody else. Otherwise it is
// ErrBadMembers, ErrConfigChanged, ErrChangeInProgress, ErrNotCaughtUp, ErrNotInPlace, or one
// that any call may end with.
//
// With WaitCaughtUp it waits for the learners as well, when the members are changed, through
// other leaders if need be. An error from then on is ErrUnknown: it ends the waiting, and takes
// nothing back. It is also ErrNotCaughtUp if ctx ends before one of them has caught up, or
// ErrConfigChanged if somebody has removed one meanwhile.
func (c *Client) ChangeMembers(ctx context.Context, m Members) error {
	m.Voters, m.Learners, m.Witnesses = slices.Clone(m.Voters), slices.Clone(m.Learners), slices.Clone(m.Witnesses)
	return c.change(ctx, &Request{Operation: ChangeMembers, Members: m})
}

// change changes the members, and waits for the learners if it is to. That is asked for apart:
// to ask for the change again would undo what somebody else has changed since.
func (c *Client) change(ctx context.Context, r *Request) error {
	if err := c.lead(ctx, r); err != nil || !r.Members.WaitCaughtUp || len(r.Members.Learners) == 0 {
		return err
	}
	check := &Request{Operation: CheckLearners, Members: Members{Learners: r.Members.Learners}}
	var behind error // the last word about them
	for {
		err := c.do(ctx, check).err
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrNotCaughtUp) || errors.Is(err, ErrBusy):
			behind = err
			if err = c.pause(ctx, err); err == nil {
				continue
			}
		case ctx.Err() != nil:
			err = errors.Join(behind, err)
		}
		return &unawaited{perhaps{err}}
	}
}

// Transfer hands the leadership over to a voter with data, or with raftcore.Nobody to the one that
// is furthest. It may be called on any host, and returns nil when that host leads, or
// with Nobody another than before; also if it has come to that in another way. Meanwhile,
// for an election timeout at most, the leader takes no commands: proposals wait, and go to
// the next one.
//
// An error is ErrNotVoter, ErrNotCaughtUp, ErrChangeInProgress, ErrTransferFailed, or one
// that any call may end with.
func (c *Client) Transfer(ctx context.Context, to raftcore.NodeID) error {
	return c.lead(ctx, &Request{Operation: Transfer, To: to})
}
