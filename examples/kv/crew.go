package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/raftcore"
)

// crew are the members of this process. When these are all that there are, learners may
// come to them, and go again.
type crew struct {
	options

	opening  dashboard.Opening
	started  atomic.Bool // all that there were are open
	changing sync.Mutex  // held by who changes who the members are
	mu       sync.Mutex
	members  []*member // that are open
	starting []*member // that are not, yet
}

func (c *crew) everybody() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

func (c *crew) add(members ...*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members, c.starting = append(slices.Clone(c.members), members...), nil
}

// begin has these be seen while they are being opened.
func (c *crew) begin(members ...*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = members
}

// reading returns what hears how far a member is with its journal.
func (c *crew) reading(id raftcore.NodeID) func(done, total int64) {
	bar, page := screen.Opening(fmt.Sprintf("member %d: reading its journal", id)), c.opening.Host(id)
	return func(done, total int64) {
		bar(done, total)
		page(done, total)
	}
}

// hosts returns those that have started.
func (c *crew) hosts() (hosts []*actors.Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range slices.Concat(c.members, c.starting) {
		if host := m.host.Load(); host != nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (c *crew) close() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return closeMembers(c.everybody())
}

// group returns the group, which any member finds the leader of.
func (c *crew) group() *actors.Group { return c.everybody()[0].group }

func (c *crew) transfer(ctx context.Context, _ string, to raftcore.NodeID) error {
	return c.group().Transfer(ctx, to)
}

func (c *crew) snapshot(ctx context.Context, _ string, id raftcore.NodeID) error {
	for _, m := range c.everybody() {
		if m.id == id {
			return m.group.TakeSnapshot(ctx)
		}
	}
	return fmt.Errorf("there is no member %d here", id)
}

// openLearners opens those that were there when this was stopped.
func (c *crew) openLearners(ctx context.Context) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.id != 0 {
		return nil
	}
	marks, err := filepath.Glob(filepath.Join(c.dir, "*", markName))
	if err != nil {
		return err
	}
	for _, mark := range marks {
		id, err := strconv.ParseUint(filepath.Base(filepath.Dir(mark)), 10, 64)
		if err != nil || id <= 3 {
			continue
		}
		if err := c.open(ctx, raftcore.NodeID(id)); err != nil {
			return fmt.Errorf("learner %d: %w", id, err)
		}
	}
	return nil
}

// addLearner opens another member, and adds it to the group.
func (c *crew) addLearner(ctx context.Context, _ string) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	status, err := c.conf(ctx)
	if err != nil {
		return err
	}
	last := slices.MaxFunc(c.everybody(), func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	id := last.id
	if status.Conf.Contains(id) { // else it was opened, and not added
		id++
		if err := c.open(ctx, id); err != nil {
			return err
		}
	}
	return c.group().ChangeMembers(ctx, actors.Members{
		Voters: status.Conf.Voters, Learners: append(status.Conf.Learners, id), Expect: status.ConfIndex,
	})
}

// removeLearner takes a learner out of the group, and off the disk.
func (c *crew) removeLearner(ctx context.Context, _ string, id raftcore.NodeID) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	status, err := c.conf(ctx)
	if err != nil {
		return err
	}
	all := c.everybody()
	i := slices.IndexFunc(all, func(m *member) bool { return m.id == id && m.learner })
	if i < 0 {
		return fmt.Errorf("there is no learner %d here", id)
	}
	learners := slices.DeleteFunc(status.Conf.Learners, func(l raftcore.NodeID) bool { return l == id })
	if err := c.group().ChangeMembers(ctx, actors.Members{Voters: status.Conf.Voters, Learners: learners, Expect: status.ConfIndex}); err != nil {
		return err
	}
	c.mu.Lock()
	c.members = slices.Delete(slices.Clone(c.members), i, i+1)
	c.mu.Unlock()
	err = errors.Join(all[i].close(), os.RemoveAll(all[i].dir))
	return errors.Join(err, c.introduce(ctx))
}

// conf returns the status that knows the newest of who the members are. Another may come
// before what is made of it: that is what Members.Expect is for.
func (c *crew) conf(ctx context.Context) (newest actors.Status, err error) {
	for _, m := range c.everybody() {
		s, err := m.group.Status(ctx)
		if err != nil {
			return newest, err
		}
		if s.ConfIndex >= newest.ConfIndex && len(s.Conf.Voters) > 0 {
			newest = s
		}
	}
	return newest, nil
}

// open opens a learner, which the others know from then on.
func (c *crew) open(ctx context.Context, id raftcore.NodeID) error {
	cfg := c.everybody()[0].memberConfig
	cfg.id, cfg.opening, cfg.learner, cfg.dir = id, c.reading(id), true, filepath.Join(c.dir, fmt.Sprint(id))
	var err error
	if cfg.listen, err = freeAddress(cfg.listen); err != nil {
		return err
	}
	cfg.peers = c.addresses()
	cfg.peers[id] = cfg.listen
	host, _, err := splitAddress(c.redis)
	if err != nil {
		return err
	}
	if cfg.redis, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return err
	}
	m := newMember(cfg)
	c.begin(m)
	if err := m.open(ctx); err != nil {
		c.begin()
		return errors.Join(err, m.close())
	}
	c.add(m)
	say("member %d is here, a learner: redis %s", id, m.redis.Addr())
	return c.introduce(ctx)
}

// introduce has all members know of each other.
func (c *crew) introduce(ctx context.Context) error {
	var errs []error
	for _, m := range c.everybody() {
		errs = append(errs, m.host.Load().SetPeers(ctx, c.addresses()))
	}
	return errors.Join(errs...)
}

func (c *crew) addresses() map[raftcore.NodeID]string {
	addresses := maps.Clone(c.everybody()[0].peers)
	for _, m := range c.everybody() {
		addresses[m.id] = m.listen
	}
	return addresses
}

// freeAddress returns an address like another one, whose port nobody has.
func freeAddress(like string) (string, error) {
	host, _, err := splitAddress(like)
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
