// Package story tells how Raft works: numbered stories, played by the real
// core. README.md says how to read one, and how to write one.
package story

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Record again only if you know what has changed, and why. What a story expects
// is not recorded: that fails all the same.
var update = flag.Bool("update", false, "write what the commands print now into the stories")

func TestStories(t *testing.T) {
	for _, path := range stories(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			now, differences, err := play(string(old))
			switch {
			case err != nil:
				t.Fatalf("%s:%v", path, err)
			case len(differences) > 0 && *update:
				if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
			case len(differences) > 0:
				for _, d := range differences[:min(3, len(differences))] {
					t.Errorf("%s:%s", path, d)
				}
				t.Logf("%d commands print something else than is written. If that is right: go test ./tests/story -update", len(differences))
			}
		})
	}
}

// stories returns the files, in the order in which they are read.
func stories(t *testing.T) []string {
	paths, err := filepath.Glob("stories/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	return paths
}

// play plays a story. It returns its text with what the commands print now, and
// where that differs from what was written. An error begins with a line number.
func play(text string) (now string, differences []string, err error) {
	w, lines, at := newWorld(), strings.Split(text, "\n"), 0
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%d: %v", at+1, r)
		}
	}()
	var out []string
	for ; at < len(lines); at++ {
		out = append(out, lines[at])
		command, ok := strings.CutPrefix(lines[at], "> ")
		if !ok {
			continue
		}
		said := w.run(command)
		first := at
		for at+1 < len(lines) && strings.HasPrefix(lines[at+1], "    ") {
			at++
		}
		if written := lines[first+1 : at+1]; !slices.Equal(written, said) {
			differences = append(differences, fmt.Sprintf("%d: > %s\n%s", first+1, command, difference(written, said)))
		}
		out = append(out, said...)
	}
	return strings.Join(out, "\n"), differences, nil
}

// difference shows what is written and not printed any more (-), and what is
// printed and not written (+).
func difference(a, b []string) string {
	var s strings.Builder
	for len(a)+len(b) > 0 {
		switch {
		case len(a) > 0 && len(b) > 0 && a[0] == b[0]:
			fmt.Fprintf(&s, "  %s\n", a[0])
			a, b = a[1:], b[1:]
		case len(a) > 0 && (len(b) == 0 || !slices.Contains(b, a[0])):
			fmt.Fprintf(&s, "- %s\n", a[0])
			a = a[1:]
		default:
			fmt.Fprintf(&s, "+ %s\n", b[0])
			b = b[1:]
		}
	}
	return s.String()
}

func TestAWrongStoryFails(t *testing.T) {
	for story, want := range map[string]string{
		"> dance 1":                                                 `1: there is no command "dance". There are:`,
		"> tick":                                                    "1: a word is missing",
		"> group 1 2 3\n> tick 4 1s":                                "2: there is no node 4",
		"> config Colour=1":                                         "1: Config has no field Colour",
		"> group 1 2 3\n> deliver 1-2":                              `2: "1-2" is no number`,
		"> group 1 2 3\n\n> expect leader 1":                        "3: node 1 does not lead",
		"> group 1 2 3 leader 1\n> expect 2 commit=7":               "2: node 2 has commit=2, and commit=7 was expected",
		"> group 1 2 3 leader 1\n> expect 2 mood=good":              "2: nothing is known of a node's mood",
		"> group 1 2 3 leader 1\n> propose 1 x=1\n> expect silence": "3: the command before printed 3 lines",
		"> group 1 2 3 leader 1\n> quietly propose 1 x=1\n> expect silence": "3: the command before printed 3 lines",
		"> group 1 2 3 leader 1\n> propose 1 x=1\n> expect same log":        "3: the logs of 1 and 2 differ",
		"> group 1 2 3 leader 1\n> propose 1 x=1\n> expect tag 1 applied":   `3: tag 1 is "open", and "applied" was expected`,
	} {
		if _, _, err := play(story); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q ends with %v, and should with %s", story, err, want)
		}
	}
}

func TestADifferenceIsShown(t *testing.T) {
	_, differences, err := play("> group 1 leader 1\n> state 1\n    1 {x=1}\n> expect 1 commit=2")
	if want := []string{"2: > state 1\n-     1 {x=1}\n+     1 {}\n"}; err != nil || !slices.Equal(differences, want) {
		t.Errorf("%q, %v", differences, err)
	}
}

// The README lists the stories by their titles, and the commands.
func TestTheReadmeKnowsTheStories(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i, path := range stories(t) {
		text, _ := os.ReadFile(path)
		title, _, _ := strings.Cut(string(text), "\n")
		name, ok := strings.CutPrefix(title, fmt.Sprintf("%d. ", i+1))
		if !ok {
			t.Errorf("%s begins with %q, and should with its number", path, title)
		}
		want = append(want, fmt.Sprintf("%d. [%s](%s)", i+1, name, filepath.ToSlash(path)))
	}
	got := regexp.MustCompile(`(?m)^\d+\. \[.*?\]\(.*?\)`).FindAllString(string(readme), -1)
	if !slices.Equal(got, want) {
		t.Errorf("the README lists\n%s\nand there are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
