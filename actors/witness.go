package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// A witness's member has the actors of any other, and most of them have nothing to do: the
// core gives its machine nothing, and takes no snapshots. See witness.go in raftcore.

// witnessMistake returns what c says of witnesses that cannot be.
func (c *GroupConfig) witnessMistake(self raftcore.NodeID, members []raftcore.NodeID) error {
	switch {
	case c.Witness && c.Machine != nil:
		return errors.New("a witness has no Machine")
	case c.Witness && c.Versions != Versions{}:
		return errors.New("a witness has no Machine that could be of Versions")
	case c.Join && len(c.Witnesses) > 0:
		return errors.New("GroupConfig.Witnesses are of those who found the group, and this host joins it")
	case !c.Join && slices.Contains(members, self) && slices.Contains(c.Witnesses, self) != c.Witness:
		return fmt.Errorf("GroupConfig.Witness is %v, and the Witnesses that found the group are %v", c.Witness, c.Witnesses)
	}
	if why := witnessMistake(c.Witnesses, members, nil); why != "" {
		return errors.New(why)
	}
	return nil
}

// noMachine is in the place of a witness's machine. Nothing comes to it.
type noMachine struct{}

var errNoMachine = errors.New("a witness has no state machine")

func (noMachine) Apply(Entry) []byte { panic(errNoMachine) }

func (noMachine) Query(context.Context, []byte) ([]byte, error) { return nil, ErrWitness }

func (noMachine) Snapshot() (io.WriterTo, error) { return nil, errNoMachine }

func (noMachine) Restore(io.Reader) error { return errNoMachine }
