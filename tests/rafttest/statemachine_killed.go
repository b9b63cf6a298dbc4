package rafttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A process that is at work with a disk is killed. So the test binary runs once more, as
// far as the same test, and there it saves, syncs, resets and restores until it is killed.
// It says what it has done: what comes last tells what there may be on the disk.

// toBeKilled is the variable that names the file with what such a process needs.
const toBeKilled = "RAFTTEST_KILLED"

// killedWork is what it does.
type killedWork struct {
	Dir    string
	Seed   uint64
	Saves  int // before
	Log    machineLog
	Images [][]byte // of the log, at these points
	Points []int
}

// survivesKills: whenever it is killed, what is found is as some Save has left it.
func survivesKills(r *machineRun) {
	l := r.drawLog()
	for len(l.Entries) < 30 {
		l = r.drawLog()
	}
	x := &expected{machineLog: l, answers: r.fresh().play(l), contract: cCrash}
	w := &killedWork{Dir: r.t.TempDir(), Log: *l, Points: r.points(l)}
	s, at := r.fresh(), 0
	for _, point := range w.Points {
		x.who = "a second time"
		s.follow(x, at, point)
		at = point
		w.Images = append(w.Images, s.image())
	}
	s.close()
	var synced saved
	for range 3 {
		w.Seed = r.Uint64()
		told := r.kill(w, 1+r.IntN(1<<(1+r.IntN(8))))
		if told.synced.Since > 0 {
			synced = told.synced
		}
		s, found := r.opened(w.Dir, cCrash)
		who := fmt.Sprintf("when the process was killed that had said %q, Open has found %v", told.line, found)
		if found.Since == 0 {
			demand(told.reset || synced.Since == 0, cCrash, "%s, and Sync was after %v", who, synced)
			s.disk.last.Saves = max(told.saves, w.Saves)
		} else {
			demand(found.Saves >= synced.Saves, cCrash, "%s, and Sync was after %v", who, synced)
		}
		x.who = who + "; then"
		s.follow(x, found.At, min(found.At+1, len(l.Entries)))
		s.sync()
		s.close()
		synced, w.Saves = s.disk.last, s.disk.last.Saves
	}
	s, found := r.opened(w.Dir, cCrash)
	s.finish(x, found.At)
}

// told is what a process has said.
type told struct {
	line   string // the last
	saves  int    // the last one that was begun
	synced saved  // zero: none
	reset  bool   // there was a Reset since, perhaps only begun
}

// kill has a process work, and kills it when it has said so much.
func (r *machineRun) kill(w *killedWork, lines int) (t told) {
	file := filepath.Join(r.t.TempDir(), "work")
	must(save(file, w))
	cmd := exec.CommandContext(r.t.Context(), os.Args[0], r.again()...)
	cmd.Env = append(os.Environ(), toBeKilled+"="+file)
	stdin, err := cmd.StdinPipe() // it ends when that is closed
	must(err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	must(err)
	var other bytes.Buffer
	cmd.Stderr = &other
	must(cmd.Start())
	for in := bufio.NewReader(stdout); ; {
		line, err := in.ReadString('\n')
		if err != nil { // also when the last line is cut
			break
		}
		line, ours := strings.CutPrefix(strings.TrimSpace(line), killedSays)
		if !ours {
			other.WriteString(line + "\n")
			continue
		}
		t.hear(line)
		if failed, has := strings.CutPrefix(line, "failed "); has {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			must(broken(cCrash, "in a process that was to be killed it came to this: %s", failed))
		}
		if lines--; lines == 0 {
			_ = cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	if lines > 0 {
		must(&cannotCheck{fmt.Sprintf("not checked: what is left when a process is killed. It has ended by itself (%v): %.2000s", err, other.String())})
	}
	return t
}

const killedSays = "rafttest: "

func (t *told) hear(line string) {
	t.line = line
	var s saved
	switch n, _ := fmt.Sscanf(line, "synced %d %d %d", &s.Since, &s.Saves, &s.At); {
	case n == 3:
		t.synced, t.reset = s, false
	case line == "resetting":
		t.reset = true
	default:
		_, _ = fmt.Sscanf(line, "saving %d", &t.saves) // only if it is that
	}
}

// workUntilKilled is what the other process does.
func (r *machineRun) workUntilKilled(file string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // nobody is there any more to kill it
	}()
	var w killedWork
	if err := load(file, &w); err != nil {
		return err
	}
	r.Rand = rand.New(rand.NewPCG(w.Seed, 0))
	err := failing(func() { r.work(&w) })
	say("failed %v", oneLine(err.Error()))
	select {}
}

func say(format string, args ...any) { fmt.Printf(killedSays+format+"\n", args...) }

// work goes through the log, again and again.
func (r *machineRun) work(w *killedWork) {
	s, found := r.opened(w.Dir, cOpen)
	d := s.disk
	if found.Since == 0 {
		d.last.Saves = w.Saves
	}
	say("opened %v", found)
	for {
		n := min(1+r.IntN(20), len(w.Log.Entries)-d.at)
		s.unsaved(&w.Log, d.at, n)
		if d.due {
			say("saving %d", d.last.Saves+1)
			s.save()
			say("saved")
		}
		switch {
		case d.at == len(w.Log.Entries) || r.IntN(16) == 0:
			say("resetting")
			s.reset()
			say("reset")
			if i := r.IntN(2 * len(w.Images)); i < len(w.Images) {
				say("saving %d", d.last.Saves+1)
				s.resetTo(w.Images[i], w.Points[i])
				say("restored")
			}
		case r.IntN(4) == 0:
			say("syncing")
			s.sync()
			say("synced %d %d %d", d.last.Since, d.last.Saves, d.last.At)
		}
	}
}
