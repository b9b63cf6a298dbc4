package rafttest

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What is the same for all machines of a process, another process shows: seeds that
// are drawn when it starts, where things are in memory, its environment, its time
// zone. So the test binary runs once more, as far as the same test, and there it
// does nothing but apply the logs in a file.

// elsewhereLogs is the variable that names that file, and tells that this is the
// other process.
const elsewhereLogs = "RAFTTEST_ELSEWHERE"

func isElsewhere() bool { return os.Getenv(elsewhereLogs) != "" }

// fromElsewhere is what comes back from there.
type fromElsewhere struct {
	Answers []*answers
	Failed  string
}

// answersTheSameElsewhere: nothing around a process shows, either.
func answersTheSameElsewhere(r *machineRun) {
	var logs []*machineLog
	var here []*answers
	many := 20
	if r.NewIn != nil {
		many = 5 // disks take their time
	}
	for range many {
		l := r.drawLog()
		logs = append(logs, l)
		inBubble(r, func() { here = append(here, r.fresh().play(l)) })
	}
	there := r.elsewhere(logs)
	demand(there.Failed == "", cSame, "in another process it came to this: %s", there.Failed)
	for i, l := range logs {
		x := &expected{l, here[i], "in another process, with another environment and time zone", cSame}
		x.compare(there.Answers[i])
	}
}

// elsewhere has another process answer.
func (r *machineRun) elsewhere(logs []*machineLog) (there fromElsewhere) {
	file := filepath.Join(r.t.TempDir(), "logs")
	must(save(file, logs))
	cmd := exec.CommandContext(r.t.Context(), os.Args[0], r.again()...)
	cmd.Env = append(os.Environ(), elsewhereLogs+"="+file, "TZ=Asia/Kathmandu", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=1")
	output, err := cmd.CombinedOutput()
	if read := load(file+".answers", &there); read != nil {
		must(&cannotCheck{fmt.Sprintf("not checked: what another process answers. It has not come as far as that (%v, %v): %.2000s", err, read, output)})
	}
	return there
}

// again has the test binary run this test once more.
func (r *machineRun) again() []string {
	args := []string{"-test.run=" + runPattern(r.t.Name()), "-test.count=1", "-test.timeout=5m"}
	for _, arg := range os.Args[1:] {
		if !strings.HasPrefix(arg, "-test.") {
			args = append(args, arg)
		}
	}
	return args
}

// answerElsewhere is what the other process does.
func (r *machineRun) answerElsewhere() error {
	file := os.Getenv(elsewhereLogs)
	if _, err := os.Stat(file + ".answers"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var logs []*machineLog
	if err := load(file, &logs); err != nil {
		return err
	}
	var there fromElsewhere
	defer r.discard()
	err := failing(func() {
		for _, l := range logs {
			there.Answers = append(there.Answers, r.fresh().play(l))
		}
	})
	if err != nil {
		there.Failed = err.Error()
	}
	return save(file+".answers", there)
}

func save(file string, v any) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(f).Encode(v), f.Close())
}

func load(file string, v any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return gob.NewDecoder(f).Decode(v)
}
