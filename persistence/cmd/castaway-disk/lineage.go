package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// A new lineage is begun in three steps: the directories are looked at, without
// changing anything; what speaks against it is listed; and if all of that has been
// named on the command line, one Save does it, for all groups together. So after
// a crash each of them has its old lineage or its new one, and the next run says
// which. What the Save has in it, and why, is in raftcore/lineage.go.
//
// # Whose log goes furthest
//
// Of several survivors, one whose last entry is of a later term, or of the same term
// and has a higher index, has everything committed that the others have: the rule by
// which voters compare logs (Raft §5.4.1). That holds for logs that have lost their
// end, too, because what is left of them is a beginning of what they were.
//
// # Which lineage, and how a host finds it
//
// The new cluster is drawn at random, and not made of names as hosts make that of
// the founders: member 1 that is the survivor twice would begin the same lineage
// twice, and the members of the first time would be heard. A host that finds a
// lineage on its disk goes on with it, whoever the founders are by its
// configuration, so the survivor is started as it always was.

// The words that -despite takes, each for something that speaks against going on
// from a directory.
const (
	despiteWorse    = "worse"
	despiteQuorum   = "quorum"
	despiteDamaged  = "damaged"
	despiteNewcomer = "newcomer"
	despiteLearner  = "learner"
	despiteStranger = "stranger"
)

var despiteWords = []string{despiteWorse, despiteQuorum, despiteDamaged, despiteNewcomer, despiteLearner, despiteStranger}

// What becomes of a group.
const (
	stateReady = "ready" // -accept-data-loss begins it
	stateHeld  = "held"  // something speaks against it that was not named
	stateAlone = "alone" // the member is the only voter already: nothing to do
	stateEmpty = "empty" // nothing of it is kept here: nothing to go on with
	stateBegun = "begun"
)

// lineageFacts is what was done, or would be.
type lineageFacts struct {
	storeFacts
	Written  bool              `json:"written"`
	Member   raftcore.NodeID   `json:"member"` // 0: it was not said
	Learners []raftcore.NodeID `json:"learners"`
	Groups   []lineageGroup    `json:"groups"`
}

type lineageGroup struct {
	Name      string       `json:"name"`
	NameBytes []byte       `json:"nameBytes,omitempty"`
	State     string       `json:"state"`
	Best      string       `json:"best"`
	Disks     []diskFacts  `json:"disks"`
	Against   []againstOne `json:"against"`
	Begun     *begunFacts  `json:"begun"`

	kept *badgerstore.InspectedGroup // by the first directory
}

// diskFacts is what a directory has of a group.
type diskFacts struct {
	Dir       string         `json:"dir"`
	First     raftcore.Index `json:"first"`
	Last      raftcore.Index `json:"last"`
	LastTerm  raftcore.Term  `json:"lastTerm"`
	HardState hardFacts      `json:"hardState"`
	Damaged   bool           `json:"damaged"`
	Committed raftcore.Index `json:"committed"` // 0: the disk does not say
	Config    *configFacts   `json:"config"`
}

// againstOne is something that speaks against it.
type againstOne struct {
	Word   string `json:"word"` // "": no word helps
	Named  bool   `json:"named"`
	Detail string `json:"detail"`
}

type begunFacts struct {
	Cluster string         `json:"cluster"`
	Term    raftcore.Term  `json:"term"`
	Index   raftcore.Index `json:"index"`
}

func (d *diskFacts) last() raftcore.EntryID {
	return raftcore.EntryID{Term: d.LastTerm, Index: d.Last}
}

// lineage is a run of the command.
type lineage struct {
	*invocation
	learners []raftcore.NodeID
	despite  []string
	facts    lineageFacts
	stores   map[uint64]string // the directories, by the id of their store
}

func runLineage(v *invocation) error {
	l := &lineage{invocation: v, stores: map[uint64]string{}}
	if err := l.check(); err != nil {
		return err
	}
	if err := l.look(); err != nil {
		return err
	}
	held := l.judge()
	if held == nil && v.accept {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if err := v.answer(&l.facts); err != nil {
		return err
	}
	if held == nil && !v.accept && l.any(stateReady) {
		held = errors.New("nothing was changed: -accept-data-loss does it")
	}
	if held != nil {
		return heldError{held}
	}
	return nil
}

// check looks at the flags.
func (l *lineage) check() (err error) {
	v := l.invocation
	if l.learners, err = parseIDs(v.learners); err != nil {
		return badUsage("-learners: %w", err)
	}
	if v.despite != "" {
		l.despite = strings.Split(v.despite, ",")
	}
	for _, word := range l.despite {
		if !slices.Contains(despiteWords, word) {
			return badUsage("-despite: %q is none of %s", word, strings.Join(despiteWords, ", "))
		}
	}
	switch {
	case v.all == (v.group != ""):
		return badUsage("lineage takes -group NAME or -all")
	case v.accept && v.id == 0:
		return badUsage("-accept-data-loss needs -id N: which member %s belongs to", v.dir)
	case slices.Contains(l.learners, raftcore.NodeID(v.id)):
		return badUsage("-learners has member %d, which is to be the voter", v.id)
	}
	return nil
}

// parseIDs reads a list of members, and sorts it.
func parseIDs(text string) (ids []raftcore.NodeID, err error) {
	if text == "" {
		return nil, nil
	}
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil || n == 0 || slices.Contains(ids, raftcore.NodeID(n)) {
			return nil, fmt.Errorf("%q is not a list of members, each once: 2,3", text)
		}
		ids = append(ids, raftcore.NodeID(n))
	}
	slices.Sort(ids)
	return ids, nil
}

// look reads the directories: the first is the one to go on from.
func (l *lineage) look() error {
	l.facts.Member, l.facts.Learners, l.facts.Groups = raftcore.NodeID(l.id), list(l.learners), []lineageGroup{}
	for i, dir := range l.dirs {
		in, err := l.inspectIn(dir, true)
		if errors.Is(err, persistence.ErrLocked) {
			return fmt.Errorf("%s is in use: a member of it runs. Stop all that there are, and look whether it is true that a majority is lost", dir)
		}
		if err != nil {
			return err
		}
		err = l.take(in, i == 0)
		if err == nil {
			err = in.Unchanged()
		}
		in.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// take takes note of what a directory has.
func (l *lineage) take(in *badgerstore.Inspection, first bool) error {
	if n := len(in.Damage); n > 0 || in.Cutting {
		return damageError{fmt.Errorf("%s is damaged in %s: nobody knows how far its logs went. Leave it out, or have it repaired first (badgerstore.Options.Repair)", in.Dir, count(max(n, 1), "place"))}
	}
	if other, again := l.stores[in.ID]; again && in.ID != 0 {
		return fmt.Errorf("%s and %s are the same store, or a copy: a member is to be compared with others", other, in.Dir)
	}
	l.stores[in.ID] = in.Dir
	if first && l.id != 0 && in.Host != raftcore.Nobody && in.Host != raftcore.NodeID(l.id) {
		return fmt.Errorf("%s is host %d's, and -id says %d", in.Dir, in.Host, l.id)
	}
	if first {
		return l.takeGroups(in)
	}
	for i := range l.facts.Groups {
		f, d := &l.facts.Groups[i], diskFacts{Dir: in.Dir}
		for _, g := range in.Groups {
			if g.Name == f.kept.Name {
				d = diskOf(in.Dir, g)
			}
		}
		f.Disks = append(f.Disks, d)
	}
	return nil
}

// takeGroups takes note of the groups that are asked for, which the first directory
// has.
func (l *lineage) takeGroups(in *badgerstore.Inspection) error {
	groups := in.Groups
	if !l.all {
		g, err := find(in, l.group)
		if err != nil {
			return err
		}
		groups = []*badgerstore.InspectedGroup{g}
	}
	l.facts.storeFacts = storeOf(in)
	for _, g := range groups {
		f := lineageGroup{Disks: []diskFacts{diskOf(in.Dir, g)}, Against: []againstOne{}, kept: g}
		f.Name, f.NameBytes = nameOf(g.Name)
		l.facts.Groups = append(l.facts.Groups, f)
	}
	return nil
}

func diskOf(dir string, g *badgerstore.InspectedGroup) diskFacts {
	f := groupOf(g)
	d := diskFacts{Dir: dir, First: f.First, Last: f.Last, LastTerm: lastOf(&g.Log).Term, HardState: f.HardState, Damaged: f.Damaged}
	d.Committed = max(g.Log.Snapshot.Last.Index, g.Log.Base.Index)
	if c := inForce(&g.Log); len(c.Conf.Voters) > 0 {
		conf := confOf(&c)
		d.Config = &conf
	}
	return d
}

// lastOf returns the last entry of a log, or its base.
func lastOf(r *raftcore.Recovered) raftcore.EntryID {
	if n := len(r.Runs); n > 0 {
		return raftcore.EntryID{Term: r.Runs[n-1].Term, Index: r.Last}
	}
	return r.Base
}

// inForce returns the configuration at the end of a log.
func inForce(r *raftcore.Recovered) raftcore.ConfigAt {
	if n := len(r.Configs); n > 0 {
		return r.Configs[n-1]
	}
	return r.BaseConf
}

// judge says of every group what becomes of it, and returns why it must not be.
func (l *lineage) judge() (held error) {
	for i := range l.facts.Groups {
		g := &l.facts.Groups[i]
		l.judgeGroup(g)
		for _, a := range g.Against {
			if held == nil && !a.Named {
				held = fmt.Errorf("nothing was changed: group %s: %s", g.title(), a.Detail)
				if a.Word != "" {
					held = fmt.Errorf("%w. To do it all the same: -despite %s", held, a.Word)
				}
			}
		}
		if g.State == stateEmpty && !l.all {
			held = fmt.Errorf("nothing was changed: %s keeps nothing of group %s to go on with", l.dir, g.title())
		}
	}
	return held
}

func (l *lineage) any(state string) bool {
	return slices.ContainsFunc(l.facts.Groups, func(g lineageGroup) bool { return g.State == state })
}

func (g *lineageGroup) title() string {
	return (&groupFacts{Name: g.Name, NameBytes: g.NameBytes}).title()
}

func (l *lineage) judgeGroup(g *lineageGroup) {
	d, best := &g.Disks[0], &g.Disks[0]
	for i := range g.Disks {
		if other := &g.Disks[i]; !best.last().AtLeast(other.last()) && !d.apart(other) {
			best = other
		}
	}
	g.Best = best.Dir
	switch {
	case d.Last == 0 || d.Config == nil:
		g.State = stateEmpty
		return
	case l.alone(d):
		g.State = stateAlone
		return
	}
	l.against(g, d, best)
	g.State = stateReady
	for _, a := range g.Against {
		if !a.Named {
			g.State = stateHeld
		}
	}
}

// alone reports whether a member needs nobody else already, and has the learners that
// are asked for.
func (l *lineage) alone(d *diskFacts) bool {
	c, f := d.Config, &l.facts
	return d.HardState.Joined && len(c.Voters) == 1 && len(c.Outgoing) == 0 &&
		(f.Member == raftcore.Nobody || c.Voters[0] == f.Member) &&
		(len(f.Learners) == 0 || slices.Equal(c.Learners, f.Learners))
}

// against lists what speaks against going on from d.
func (l *lineage) against(g *lineageGroup, d, best *diskFacts) {
	is := func(against bool, word, format string, args ...any) {
		if against {
			g.Against = append(g.Against, againstOne{word, slices.Contains(l.despite, word), fmt.Sprintf(format, args...)})
		}
	}
	for i := range g.Disks {
		other := &g.Disks[i]
		is(d.apart(other), "", "%s is of another lineage (cluster %s, not %s): the group may have been begun anew there already, and then that is the one. If not, leave it out", other.Dir, other.HardState.Cluster, d.HardState.Cluster)
	}
	is(best != d, despiteWorse, "%s goes further: its last entry is %d of term %d, that of %s is %d of term %d. What was committed behind that would be lost", best.Dir, best.Last, best.LastTerm, d.Dir, d.Last, d.LastTerm)
	is(g.quorum(), despiteQuorum, "as many members that count are here as decide (%s): if they are voters, nothing need be lost. Start them", d.Config.text())
	is(d.Damaged, despiteDamaged, "the disk has lost the end of its log, and nobody knows how much: also what the member itself had acknowledged may be missing")
	is(d.HardState.Witness, "", "the member is a witness: it has no data, and nobody can go on from its disk")
	is(!d.Damaged && !d.HardState.Joined, despiteNewcomer, "the member is a newcomer: its log may be a small part of the group's, and nothing that it acknowledged was ever counted")
	c, id := d.Config, l.facts.Member
	voter := slices.Contains(c.Voters, id) || slices.Contains(c.Outgoing, id)
	learner := !voter && slices.Contains(c.Learners, id)
	is(id != 0 && learner, despiteLearner, "member %d is a learner (%s): no commit has ever waited for its log, so it may lack what any voter has", id, c.text())
	is(id != 0 && !voter && !learner, despiteStranger, "member %d is none of this group (%s): it was removed, or the directory is another member's. Then its own host would never lead", id, c.text())
}

// apart reports whether two directories are of different lineages.
func (d *diskFacts) apart(other *diskFacts) bool {
	none := hex64(raftcore.ClusterID(0))
	a, b := d.HardState.Cluster, other.HardState.Cluster
	return other.Config != nil && a != b && a != none && b != none
}

// quorum reports whether the directories are those of a quorum: as many members
// who count as there have to be.
func (g *lineageGroup) quorum() bool {
	d, count := &g.Disks[0], 0
	for i := range g.Disks {
		if other := &g.Disks[i]; other.HardState.Joined && !d.apart(other) && other.Config != nil {
			count++
		}
	}
	return count > len(d.Config.Voters)/2 && (len(d.Config.Outgoing) == 0 || count > len(d.Config.Outgoing)/2)
}

// begin does it: one Save for all groups.
func (l *lineage) begin() (err error) {
	if !l.any(stateReady) {
		return nil
	}
	store, err := badgerstore.Dir(l.dir).Open()
	if err != nil {
		return err
	}
	defer func() {
		closing := store.Close()
		if closing != nil && err == nil {
			closing = fmt.Errorf("it is done, and durable; what failed is closing the store: %w", closing)
		}
		err = errors.Join(err, closing)
	}()
	var batch []persistence.Save
	for i := range l.facts.Groups {
		g := &l.facts.Groups[i]
		if g.State != stateReady {
			continue
		}
		save, err := l.saveOf(store, &g.kept.Log, g.kept.Name)
		if err != nil {
			return fmt.Errorf("group %s: %w", g.title(), err)
		}
		batch = append(batch, save)
		first := &save.Entries[0]
		g.State, g.Begun = stateBegun, &begunFacts{hex64(save.HardState.Cluster), first.Term, first.Index}
	}
	if err := store.Save(batch); err != nil {
		return fmt.Errorf("nobody knows whether it was done: run it again, without -accept-data-loss first: %w", err)
	}
	l.facts.Written = true
	return nil
}

// saveOf opens a group, looks whether it is still what was looked at, and returns
// what begins its new lineage.
func (l *lineage) saveOf(store persistence.Store, was *raftcore.Recovered, name string) (s persistence.Save, err error) {
	opened, err := store.Open(name)
	if err != nil {
		return s, err
	}
	r := &opened.Recovered
	if r.HardState != was.HardState || r.Incarnation != was.Incarnation || r.Damaged != was.Damaged || lastOf(r) != lastOf(was) {
		return s, fmt.Errorf("it has changed since it was looked at: %w", badgerstore.ErrChanged)
	}
	begun, err := raftcore.Lineage{
		Cluster: newCluster(), Voter: l.facts.Member, Learners: l.learners, Time: time.Now().UnixMilli(),
	}.Begin(r)
	begun.Token = raftcore.Token{Boot: opened.Boot, Sequence: 1}
	return persistence.Save{Group: opened.Group, Save: begun}, err
}

// newCluster draws a name that no lineage has had.
func newCluster() raftcore.ClusterID {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return raftcore.ClusterID(max(binary.NativeEndian.Uint64(b[:]), 1))
}

func (f *lineageFacts) text(w io.Writer) {
	f.storeFacts.text(w)
	for i := range f.Groups {
		f.groupText(w, &f.Groups[i])
	}
	if f.Written {
		fmt.Fprintf(w, "\nIt is durable. Start the host of member %d as it always was. Before any of the others is\nstarted, its directory has to be wiped, and its host told to join (GroupConfig.Join):\nlineage -h tells why.\n", f.Member)
	}
}

func (f *lineageFacts) groupText(w io.Writer, g *lineageGroup) {
	fmt.Fprintf(w, "\ngroup %s\n", g.title())
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "  \tlast entry\tof term\tterm\tvote\tcommitted\tmember\tcluster\tmembers\tdirectory")
		for i := range g.Disks {
			g.Disks[i].text(w, g.Best)
		}
	})
	d := &g.Disks[0]
	switch g.State {
	case stateEmpty:
		fmt.Fprintln(w, "Nothing of it is kept here: there is nothing to go on with.")
		return
	case stateAlone:
		fmt.Fprintf(w, "Member %d is its only voter: it needs nobody else, and there is nothing to do.\n", d.Config.Voters[0])
		return
	case stateBegun:
		fmt.Fprintf(w, "BEGUN: cluster %s, in term %d, with entry %d: member %d is the only voter%s.\n", g.Begun.Cluster, g.Begun.Term, g.Begun.Index, f.Member, learnersText(f.Learners))
	}
	known := "The disk does not say which of them are committed;\n"
	if d.Committed >= d.First {
		known = fmt.Sprintf("Those up to %d are known to be committed;\n", d.Committed)
	}
	if d.Last < d.First {
		fmt.Fprintf(w, "Kept: the snapshot of entry %d. The log behind it is empty.\n", d.Last)
	} else {
		fmt.Fprintf(w, "Kept: all of the log, %s. %sin the new lineage all of them are: nobody is left to contradict them.\n", span(d.First, d.Last), known)
	}
	fmt.Fprintf(w, "Lost: what the others had behind entry %d of term %d, acknowledged or not. Nobody can say\nwhether there was anything.\n", d.Last, d.LastTerm)
	for _, a := range g.Against {
		switch {
		case a.Named:
			fmt.Fprintf(w, "Despite %q: %s.\n", a.Word, a.Detail)
		case a.Word == "":
			fmt.Fprintf(w, "AGAINST IT: %s.\n", a.Detail)
		default:
			fmt.Fprintf(w, "AGAINST IT, unless -despite %s is said: %s.\n", a.Word, a.Detail)
		}
	}
}

// text prints a line of the table; the best has a mark.
func (d *diskFacts) text(w io.Writer, best string) {
	mark := " "
	if d.Dir == best && d.Config != nil {
		mark = "*"
	}
	if d.Config == nil {
		fmt.Fprintf(w, "  %s\tnone\t\t\t\t\t\t\t\t%s\n", mark, d.Dir)
		return
	}
	committed := "unknown"
	if d.Committed > 0 {
		committed = fmt.Sprintf("up to %d", d.Committed)
	}
	g := groupFacts{HardState: d.HardState, Damaged: d.Damaged}
	fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", mark, d.Last, d.LastTerm, d.HardState.Term, vote(d.HardState.Vote), committed, g.standing(), d.HardState.Cluster, d.Config.text(), d.Dir)
}

func learnersText(ids []raftcore.NodeID) string {
	if len(ids) == 0 {
		return ", and nobody learns"
	}
	return ", and learners are " + strings.Trim(fmt.Sprint(ids), "[]")
}
