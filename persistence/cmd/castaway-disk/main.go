// Command castaway-disk looks into the directory of a store.
//
//	go run ./persistence/cmd/castaway-disk groups DIR       which groups there are
//	go run ./persistence/cmd/castaway-disk verify DIR       whether everything is whole
//	go run ./persistence/cmd/castaway-disk recovery DIR     what opening it would do
//	go run ./persistence/cmd/castaway-disk lineage -h       when a majority is lost for good
//	go run ./persistence/cmd/castaway-disk replay FILE      how a node broke an invariant
//	go run ./persistence/cmd/castaway-disk -h               everything else
//
// This is a member that was stopped, of a group of three:
//
//	$ castaway-disk groups data
//	store 7d3f0a92c41be658 in data
//
//	#  group  term  vote   log     snapshot  member  incarnation
//	1  "kv"   2     for 1  1 to 5  none      joined  c20e94b67f1538ad
//
//	$ castaway-disk show data kv
//	store 7d3f0a92c41be658 in data
//
//	group "kv", number 1
//	  incarnation     c20e94b67f1538ad
//	  hard state      term 2, vote for 1, cluster 51ab7e03d9c6248f, joined
//	  snapshot        none
//	  base            none
//	  log             entries 1 to 5
//	  terms           1: entry 1
//	                  2: entries 2 to 5
//	  configurations  voters 1 2 3, since entry 1
//	  in Badger       nothing: no segment of the journal has been handed over since the group is there
//	  in the journal  segment 1: entries 1 to 5, in 2 records
//
//	$ castaway-disk verify data
//	store 7d3f0a92c41be658 in data
//
//	journal
//	  good  0000000001.segment  64 MiB  batches 1 to 3, 3 records
//	  good  watermark                   batch 3 was durable
//
//	Badger
//	  good  000001.sst   217 B  table, level 0, 2 records
//	  good  000001.vlog  20 B   nothing of ours is in it
//	  good  DISCARD      1 MiB  nothing of ours is in it
//	  good  KEYREGISTRY  28 B   nothing of ours is in it
//	  good  MANIFEST     28 B   list of tables
//	  1 transaction, and the journal vouches for 0; 0 groups, 0 chunks, 0 pieces
//
//	groups
//	  good  "kv"  entries 1 to 5
//
//	Everything is whole.
//
// It changes nothing, except for import with -write and lineage with
// -accept-data-loss. But for these two it keeps no lock either, so that no member is
// kept from starting; instead it looks at the end whether somebody has opened the
// store meanwhile, and if so says that its answer is void.
//
// To read it, begin with facts.go: what is found out, which is what -json prints.
// The texts are made of the same facts, in text.go. badgerstore/inspect.go and
// journal/inspect.go do the reading.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
)

// The exit statuses.
const (
	exitGood   = 0
	exitDamage = 1 // the answer is complete, and it is that something is damaged
	exitFailed = 2 // there is no answer: bad usage, or what cannot be read
	exitHeld   = 3 // the answer is complete, and what was asked for waits for a further word
)

func main() {
	info, err := os.Stderr.Stat()
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
	os.Exit(p.run(os.Args[1:]))
}

// program is what one run works with.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stderr is one: progress is shown
	shown          bool // progress is on the terminal's last line
	looksLive      bool // the command has the flag -live
}

// usageError is a mistake in the arguments.
type usageError struct{ error }

func badUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// damageError: the answer is out, and something is damaged.
type damageError struct{ error }

// heldError: the answer is out, and nothing was changed.
type heldError struct{ error }

// run carries out a command line and returns the exit status.
func (p *program) run(args []string) (status int) {
	defer func() {
		if r := recover(); r != nil { // whatever is on the disk, it is no reason for a stack trace
			status = p.fail(fmt.Errorf("this is a defect of castaway-disk, please report it: %v", r))
		}
	}()
	if len(args) == 0 {
		return p.fail(badUsage("which command? One of %s", strings.Join(commandNames(), ", ")))
	}
	name := args[0]
	if name == "-h" || name == "-help" || name == "--help" || name == "help" {
		return p.help(args[1:])
	}
	for _, c := range commands {
		if c.name != name {
			continue
		}
		p.looksLive = strings.Contains(c.flags, "live")
		v := &invocation{program: p, command: c, max: 100, data: "text", bytes: 64}
		err := v.parse(args[1:])
		if errors.Is(err, flag.ErrHelp) {
			return p.help([]string{name})
		}
		if err == nil {
			err = c.run(v)
		}
		if err != nil {
			return p.fail(err)
		}
		p.clear()
		return exitGood
	}
	return p.fail(badUsage("%q is no command. They are %s", name, strings.Join(commandNames(), ", ")))
}

// help prints the help of a command, or the whole.
func (p *program) help(args []string) int {
	text := usage
	for _, c := range commands {
		if len(args) > 0 && c.name == args[0] {
			text = c.help
		}
	}
	if _, err := io.WriteString(p.stdout, text); err != nil {
		return p.fail(err)
	}
	return exitGood
}

// fail says what went wrong, on one line, and returns the exit status.
func (p *program) fail(err error) int {
	p.clear()
	hint, status := "", exitFailed
	var usage usageError
	var damage damageError
	var held heldError
	switch {
	case errors.As(err, &usage):
		hint = " (-h explains everything)"
	case errors.As(err, &damage):
		status = exitDamage
	case errors.As(err, &held):
		status = exitHeld
	case errors.Is(err, persistence.ErrLocked):
		hint = ": a process has this store open. Stop that first"
		if p.looksLive {
			hint += ", or look at a moment's state with -live"
		}
	case errors.Is(err, badgerstore.ErrChanged):
		hint = ": what was printed is void. Try again"
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	fmt.Fprintf(p.stderr, "castaway-disk: %s%s\n", text, hint)
	return status
}

// progress shows how far the reading is.
func (p *program) progress(done, total int64) {
	if p.terminal && total > 16<<20 {
		fmt.Fprintf(p.stderr, "\rreading: %d of %d MiB", done>>20, total>>20)
		p.shown = true
	}
}

// clear takes the progress off the terminal.
func (p *program) clear() {
	if p.shown {
		fmt.Fprint(p.stderr, "\r\x1b[K")
		p.shown = false
	}
}

// command is one of the things that can be done.
type command struct {
	name  string
	args  []string // the names of its arguments; the last may stand for several: DIR...
	flags string   // the names of its flags
	help  string
	run   func(v *invocation) error
}

// invocation is a command with its arguments and flags.
type invocation struct {
	*program
	command    *command
	dir, group string
	dirs       []string // all arguments, if there may be several

	json, live, write, create, damaged, all, accept bool

	from, to, id            uint64
	max, bytes              int
	data, learners, despite string
}

func (v *invocation) flags() *flag.FlagSet {
	f := flag.NewFlagSet(v.command.name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // the help is ours
	bools := map[string]*bool{"json": &v.json, "live": &v.live, "write": &v.write, "create": &v.create, "damaged": &v.damaged, "all": &v.all, "accept-data-loss": &v.accept}
	for _, name := range strings.Fields(v.command.flags) {
		switch name {
		case "from":
			f.Uint64Var(&v.from, name, 0, "")
		case "to":
			f.Uint64Var(&v.to, name, 0, "")
		case "max":
			f.IntVar(&v.max, name, v.max, "")
		case "bytes":
			f.IntVar(&v.bytes, name, v.bytes, "")
		case "id":
			f.Uint64Var(&v.id, name, 0, "")
		case "data":
			f.StringVar(&v.data, name, v.data, "")
		case "group":
			f.StringVar(&v.group, name, "", "")
		case "learners":
			f.StringVar(&v.learners, name, "", "")
		case "despite":
			f.StringVar(&v.despite, name, "", "")
		default:
			f.BoolVar(bools[name], name, false, "")
		}
	}
	return f
}

// parse takes flags before, between and behind the arguments; behind -- there are
// arguments only.
func (v *invocation) parse(args []string) error {
	var words []string
	for i, a := range args {
		if a == "--" {
			args, words = args[:i], args[i+1:]
			break
		}
	}
	f := v.flags()
	var found []string
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return badUsage("%s: %w", v.command.name, err)
		}
		if f.NArg() == 0 {
			break
		}
		found, args = append(found, f.Arg(0)), f.Args()[1:]
	}
	found = append(found, words...)
	want := v.command.args
	several := strings.HasSuffix(want[len(want)-1], "...")
	if len(found) < len(want) || len(found) > len(want) && !several {
		return badUsage("%s takes %s, and was given %s", v.command.name, strings.Join(want, " and "), count(len(found), "argument"))
	}
	v.dir = found[0]
	if several {
		v.dirs = found
	} else if len(found) > 1 {
		v.group = found[1]
	}
	switch {
	case slices.Contains(found[:1], "") || slices.Contains(v.dirs, ""):
		return badUsage("the name of the directory is empty")
	case v.max < 0:
		return badUsage("-max is %d: it must not be negative", v.max)
	case v.bytes < 0:
		return badUsage("-bytes is %d: it must not be negative", v.bytes)
	case v.data != "hex" && v.data != "text" && v.data != "none":
		return badUsage("-data is %q: it must be hex, text or none", v.data)
	case v.to != 0 && v.to < v.from:
		return badUsage("-to is %d, less than -from (%d)", v.to, v.from)
	case v.create && !v.write:
		return badUsage("-create needs -write: without it nothing is written")
	}
	return nil
}

// liveAttempts is how often a store that is open is looked at, until one look was
// not disturbed.
const liveAttempts = 5

// inspect reads the store. What a process does meanwhile to a store that it has
// open can look like damage: then it is read again. Damage stays.
func (v *invocation) inspect(chunks bool) (*badgerstore.Inspection, error) {
	return v.inspectIn(v.dir, chunks)
}

func (v *invocation) inspectIn(dir string, chunks bool) (*badgerstore.Inspection, error) {
	o := badgerstore.InspectOptions{Live: v.live, Chunks: chunks, Progress: v.progress}
	for attempt := 1; ; attempt++ {
		in, err := badgerstore.Inspect(dir, o)
		v.clear()
		switch {
		case err == nil && (!in.InUse || len(in.Damage) == 0 || attempt >= liveAttempts):
			return in, nil
		case err == nil:
			in.Close()
		case !v.live || attempt >= liveAttempts || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, badgerstore.ErrChanged) || errors.Is(err, badgerstore.ErrNoStore):
			return nil, err
		}
	}
}

// with reads the store, hands it to do, and looks whether it is still the same.
func (v *invocation) with(chunks bool, do func(in *badgerstore.Inspection) error) error {
	in, err := v.inspect(chunks)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := do(in); err != nil {
		return err
	}
	if err := in.Unchanged(); err != nil {
		return err
	}
	if n := len(in.Damage); n > 0 {
		return damageError{fmt.Errorf("%s is damaged in %s", v.dir, count(n, "place"))}
	}
	return nil
}

// find finds a group by its name, or by # and its number.
func find(in *badgerstore.Inspection, name string) (*badgerstore.InspectedGroup, error) {
	for _, g := range in.Groups {
		if g.Name == name {
			return g, nil
		}
	}
	for _, g := range in.Groups {
		if fmt.Sprintf("#%d", g.Number) == name {
			return g, nil
		}
	}
	var names []string
	for _, g := range in.Groups {
		if names = append(names, fmt.Sprintf("%q", g.Name)); len(names) == 10 && len(in.Groups) > 10 {
			names = append(names, "…")
			break
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no group %q in %s: there is none at all", name, in.Dir)
	}
	return nil, fmt.Errorf("there is no group %q in %s: there are %s", name, in.Dir, strings.Join(names, ", "))
}
