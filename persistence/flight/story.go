package flight

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/raftcore"
)

// Story is how a node came to fail.
type Story struct {
	Group   string
	Node    raftcore.NodeID
	Boot    uint64 // which of its starts that was
	Program string // the version of this module
	Fault   string
	parts   [2]part
}

// Story returns what was kept of a node that has failed. The Recorder is not to be
// used any more.
func (r *Recorder) Story(fault string) *Story {
	return &Story{Program: program(), Fault: oneLine(fault), parts: [2]part{r.past, r.present}}
}

// program returns the version of this module, as far as it was built with one.
func program() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const module = "github.com/castaway-go/castaway"
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == module {
			version := m.Version
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" && m == &info.Main {
					version += " " + s.Value
				}
			}
			return oneLine(version)
		}
	}
	return "unknown"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Recorded reports whether there is anything to be played back. There is not if the
// node's state was too large to be kept within the Bounds.
func (s *Story) Recorded() bool { return s.parts[0].inputs > 0 || s.parts[1].inputs > 0 }

// Replay plays the recording back, and returns what comes of it: a *Fault, nil if the
// node did not fail, or ErrMalformed. tell, if it is not nil, is given a line for
// everything that happened.
func (s *Story) Replay(tell func(line string)) error {
	_, err := play(s.parts, tell)
	return err
}

// Same reports whether a replay has come to the same end.
func (s *Story) Same(replayed error) bool {
	return replayed != nil && oneLine(replayed.Error()) == s.Fault
}

// The format of a story. Whoever changes what raftcore's walks go through, or this,
// raises it.
const firstLine = "castaway story 1"

const recordingLine = "---- the recording, to be played back ----"

// told is how many lines of what happened stand in a story to be read.
const told = 200

// Encode returns the story as a file. It plays it back, to say what happened.
func (s *Story) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ngroup %q\nnode %d\nboot %d\nprogram %s\nfault %s\n\n", firstLine, s.Group, uint64(s.Node), s.Boot, s.Program, s.Fault)
	if s.Recorded() {
		s.tell(&b)
	} else {
		b.WriteString("The state of the node was too large to be kept: there is no recording.\n")
	}
	fmt.Fprintf(&b, "%s\n", recordingLine)
	var raw []byte
	for _, p := range s.parts {
		raw = binary.AppendUvarint(binary.AppendUvarint(raw, uint64(p.inputs)), uint64(p.length))
		raw = append(raw, p.space[:p.length]...)
	}
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)))
	for text := base64.StdEncoding.EncodeToString(raw); text != ""; {
		n := min(100, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.Bytes()
}

// tell writes what the node was told last, and what it did.
func (s *Story) tell(b *bytes.Buffer) {
	var last []string
	count := 0
	err := s.Replay(func(line string) {
		if count++; len(last) >= 2*told {
			last = slices.Delete(last, 0, told)
		}
		last = append(last, line)
	})
	last = last[max(len(last)-told, 0):]
	fmt.Fprintf(b, "What the node was told, and, set in, what it did: the last %d of %d lines.\n\n", len(last), count)
	for _, line := range last {
		b.WriteString(strings.TrimRight(strings.ReplaceAll(line, "\n", " "), " ") + "\n")
	}
	b.WriteString("\n" + s.Verdict(err) + "\n")
}

// Verdict says in a sentence what came of a Replay.
func (s *Story) Verdict(replayed error) string {
	switch {
	case s.Same(replayed):
		return "Played back, it ends in the same fault."
	case replayed == nil:
		return "PLAYED BACK, IT DOES NOT FAIL: the fault is not in what the core does with its inputs, or this is another version of it."
	}
	return "PLAYED BACK, IT ENDS OTHERWISE: " + oneLine(replayed.Error())
}

// Parse reads a story back.
func Parse(file []byte) (*Story, error) {
	text, recording, found := strings.Cut(string(file), recordingLine+"\n")
	if !found || !strings.HasPrefix(text, firstLine+"\n") {
		return nil, ErrMalformed
	}
	s := &Story{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var err error
		switch key {
		case "group":
			_, err = fmt.Sscanf(value, "%q", &s.Group)
		case "node":
			_, err = fmt.Sscan(value, &s.Node)
		case "boot":
			_, err = fmt.Sscan(value, &s.Boot)
		case "program":
			s.Program = value
		case "fault":
			s.Fault = value
		}
		if err != nil {
			return nil, ErrMalformed
		}
		if line == "\n" {
			break // the end of the header
		}
	}
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(recording, "\n", ""))
	if err != nil || len(raw) < 4 {
		return nil, ErrMalformed
	}
	raw, sum := raw[:len(raw)-4], binary.BigEndian.Uint32(raw[len(raw)-4:])
	if crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return nil, ErrMalformed
	}
	for i := range s.parts {
		if s.parts[i], raw, err = parsePart(raw); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func parsePart(raw []byte) (p part, rest []byte, err error) {
	inputs, n := binary.Uvarint(raw)
	if n <= 0 {
		return part{}, nil, ErrMalformed
	}
	length, m := binary.Uvarint(raw[n:])
	if m <= 0 || length > uint64(len(raw)-n-m) || inputs > length {
		return part{}, nil, ErrMalformed
	}
	raw = raw[n+m:]
	return part{space: raw[:length], length: int(length), inputs: int(inputs)}, raw[length:], nil
}
