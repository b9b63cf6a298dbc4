package actors

import "testing"

// P10: these numbers cross the wire, and PROTOCOL.md has them. A later version may have more,
// and none of these for anything else.
func TestP10_NumbersAreWhatTheyWere(t *testing.T) {
	for _, n := range []struct {
		is   Operation
		want uint8
	}{
		{Propose, 1}, {Read, 2}, {ChangeMembers, 16}, {Transfer, 17}, {SkipEntry, 18}, {OpenSession, 32}, {KeepSession, 33}, {CloseSession, 34},
		{orderSessions, 35}, {orderEffects, 48}, {askVersions, 49}, {askCandidate, 50}, {GetStatus, 64}, {AwaitChange, 65},
	} {
		if uint8(n.is) != n.want {
			t.Errorf("operation %d was %d", n.is, n.want)
		}
	}
	for _, n := range []struct {
		is   ResponseOutcome
		want uint8
	}{
		{ResponseOK, 1}, {ResponseNotLeader, 2}, {ResponseRejected, 3}, {ResponseBusy, 4}, {ResponseTooLarge, 5}, {ResponseUnknown, 6}, {ResponseQueryError, 7}, {ResponseDiskFull, 8},
		{ResponseBadMembers, 16}, {ResponseConfigChanged, 17}, {ResponseChangeInProgress, 18}, {ResponseNotCaughtUp, 19}, {ResponseNotVoter, 20}, {ResponseTransferFailed, 21},
		{ResponseNotReady, 22}, {ResponseNotQuarantined, 23}, {ResponseNotInPlace, 24},
		{ResponseSessionExpired, 32}, {ResponseQuarantined, 33}, {ResponseSkipped, 34}, {ResponseNotAllowed, 35},
		{ResponseOverwritten, 64}, {ResponseStopped, 65}, {ResponseFaulted, 66}, {ResponseTooOld, 67}, {ResponseBadRequest, 68}, {ResponseUnreachable, 69}, {ResponseGone, 70},
		{ResponseCatchingUp, 71}, {ResponseRemoved, 72}, {ResponseNoGroup, 73}, {ResponseMachineFault, 74}, {ResponseStorageFault, 75}, {ResponseInvariantFault, 76}, {ResponseWitness, 77},
	} {
		if uint8(n.is) != n.want {
			t.Errorf("outcome %d was %d", n.is, n.want)
		}
	}
	for _, n := range []struct{ is, want uint8 }{
		{uint8(Linearizable), 0}, {uint8(Lease), 1}, {uint8(BoundedStale), 2}, {uint8(Local), 3},
		{uint8(SnapshotFrom), 1}, {uint8(SnapshotTaken), 2}, {uint8(SnapshotArrived), 3}, {uint8(SnapshotRefused), 4},
		{uint8(Recovering), 0}, {uint8(Running), 1}, {uint8(Pausing), 2}, {uint8(Faulted), 3}, {uint8(Stopped), 4},
	} {
		if n.is != n.want {
			t.Errorf("%d was %d", n.is, n.want)
		}
	}
}
