package remote

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/castaway-go/castaway/actors"
)

// speech is what a host can say and understand. The two sides of a stream tell each other
// before anything else, in the metadata of the call: so a later version can be rolled out
// host by host.
type speech struct {
	oldest, newest uint32   // versions of packets
	capabilities   []string // what may be left out; words without spaces
}

// The versions of packets.
const (
	firstVersion = 1
	lanesVersion = 2 // a stream is of a lane
)

// ours is what this package speaks.
var ours = speech{oldest: firstVersion, newest: lanesVersion}

// The keys of the metadata.
const (
	versionsKey     = "castaway-versions"     // the oldest and the newest: 1-2
	capabilitiesKey = "castaway-capabilities" // one value each
	laneKey         = "castaway-lane"         // of the opener: what follows the address
	addressKey      = "castaway-address"      // of the opener: where it is reached itself
	unknownKey      = "castaway-unknown"      // of the receiver: that address, if it leads to no host that it knows
)

func (s speech) metadata() metadata.MD {
	md := metadata.Pairs(versionsKey, fmt.Sprintf("%d-%d", s.oldest, s.newest))
	if len(s.capabilities) > 0 {
		md.Set(capabilitiesKey, s.capabilities...)
	}
	return md
}

// readSpeech reads what the other side says. Who says nothing speaks version 1.
func readSpeech(md metadata.MD) (speech, error) {
	s := speech{oldest: 1, newest: 1, capabilities: md.Get(capabilitiesKey)}
	if said := md.Get(versionsKey); len(said) > 0 {
		from, to, _ := strings.Cut(said[0], "-")
		oldest, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return s, fmt.Errorf("versions %.40q make no sense", said[0])
		}
		newest, err := strconv.ParseUint(to, 10, 32)
		if err != nil || oldest == 0 || newest < oldest {
			return s, fmt.Errorf("versions %.40q make no sense", said[0])
		}
		s.oldest, s.newest = uint32(oldest), uint32(newest)
	}
	return s, nil
}

// readLane reads which lane a stream is of.
func (s speech) readLane(md metadata.MD) (actors.Lane, error) {
	said := md.Get(laneKey)
	if len(said) == 0 || said[0] == "" {
		return actors.LaneControl, nil
	}
	i := slices.Index(laneSuffixes[:], said[0])
	if i < 0 || s.newest < lanesVersion {
		return 0, fmt.Errorf("a stream of lane %.40q, where version %d is spoken", said[0], s.newest)
	}
	return actors.Lane(i), nil
}

// with returns what is spoken with another host: the lower of both newest versions, if both
// speak it, and what both are capable of. oldest and newest are the same then.
func (s speech) with(other speech) (speech, error) {
	v := min(s.newest, other.newest)
	if v < s.oldest || v < other.oldest {
		return speech{}, fmt.Errorf("no version in common: this host speaks %d to %d, the other one %d to %d", s.oldest, s.newest, other.oldest, other.newest)
	}
	common := speech{oldest: v, newest: v}
	for _, c := range s.capabilities {
		if slices.Contains(other.capabilities, c) {
			common.capabilities = append(common.capabilities, c)
		}
	}
	return common, nil
}
